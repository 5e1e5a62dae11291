import linecache
import warnings

import numpy as np
import pandas as pd
import pytest

import attribution
from attribution import (
    AttributionError,
    AttributionWarning,
    ColumnNotFoundError,
    InputError,
    Journeys,
    MissingDependencyError,
    compare,
)
from attribution.errors import nearest, require_rows, warn


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (InputError, (AttributionError, ValueError)),
        (ColumnNotFoundError, (InputError,)),
        (MissingDependencyError, (AttributionError, ImportError)),
        (AttributionWarning, (UserWarning,)),
    ],
)
def test_errors_can_be_caught_as_what_they_are(kind, bases):
    assert all(issubclass(kind, base) for base in bases)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("chanel", ["user", "channel"], " Did you mean 'channel'?"),
        ("channels", ["channel", "chance"], " Did you mean 'channel'?"),
        ("xyz", ["channel"], ""),
        ("channel", [], ""),
    ],
)
def test_the_nearest_name_is_suggested_if_any_is_near(name, known, expected):
    assert nearest(name, known) == expected


def test_rows_that_fit_are_no_error():
    require_rows(np.zeros(3, dtype=bool), "a hole", "mend it.")
    require_rows(np.zeros(0, dtype=bool), "a hole", "mend it.")


def test_one_bad_row_is_named():
    with pytest.raises(InputError) as error:
        require_rows(np.array([False, False, True]), "a hole", "mend it.")
    assert str(error.value) == "1 row has a hole, first in row 2. Hint: mend it."


def test_the_first_of_many_bad_rows_is_shown():
    bad = np.arange(1_502) >= 2
    with pytest.raises(InputError) as error:
        require_rows(bad, "a hole", "mend it.", np.arange(1_502) * 10)
    assert str(error.value) == "1,500 rows have a hole, first in row 2 (20). Hint: mend it."


# --- a warning points at the line that called the library -------------------------------


def line_of(caught):
    (warning,) = caught
    assert warning.filename == __file__
    return linecache.getline(warning.filename, warning.lineno).strip()


def test_a_warning_points_at_the_line_that_issued_it_outside_the_library():
    with pytest.warns(AttributionWarning, match="look") as caught:
        warn("look")
    assert line_of(caught) == 'warn("look")'


def test_a_warning_of_ingestion_points_at_the_caller():
    table = pd.DataFrame({"path": ["a > b"], "conversions": [0]})
    with pytest.warns(AttributionWarning, match="no conversions") as caught:
        Journeys.from_paths(table)
    assert line_of(caught) == "Journeys.from_paths(table)"


def test_a_warning_of_a_model_within_a_comparison_points_at_the_caller():
    journeys = Journeys.from_paths(pd.DataFrame({"path": ["a > b"], "conversions": [1]}))
    with pytest.warns(AttributionWarning, match="base rate") as caught:
        compare(journeys, ["markov"])
    assert line_of(caught) == 'compare(journeys, ["markov"])'


def test_a_neighbour_of_the_package_whose_name_begins_alike_is_a_caller():
    neighbour = attribution.__path__[0] + "_study.py"
    code = compile("\n\nwarn('look')", neighbour, "exec")
    with pytest.warns(AttributionWarning, match="look") as caught:
        exec(code, {"warn": warn})
    assert [(w.filename, w.lineno) for w in caught] == [(neighbour, 3)]


def test_warnings_can_be_turned_into_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttributionWarning)
        with pytest.raises(AttributionWarning, match="look"):
            warn("look")
