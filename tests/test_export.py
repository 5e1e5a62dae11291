import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from journey_tables import facts_of, paths_of, tables, touches_of

from attribution import InputError, Journey, Journeys, Touchpoint

# Hypothesis draws tables of every kind; these two warnings are tested with from_paths.
pytestmark = [
    pytest.mark.filterwarnings("ignore:There are no conversions"),
    pytest.mark.filterwarnings("ignore:No path contains the separator"),
]
READ = {"nulls": "nulls", "value": "value", "empty": "unattributed"}


def read(paths, conversions, **columns):
    options = {name: name for name in ("nulls", "value") if name in columns}
    frame = pd.DataFrame({"path": paths, "conversions": conversions, **columns})
    return Journeys.from_paths(frame, empty="unattributed", **options)


def outcomes(journeys):
    figures = zip(journeys.conversions, journeys.nulls, journeys.values, strict=True)
    paths = [tuple(path) for path in paths_of(journeys)]
    return dict(zip(paths, figures, strict=True))


# --- round trips ----------------------------------------------------------------------


@given(journeys=tables())
def test_paths_written_and_read_are_the_compressed_journeys(journeys):
    back = Journeys.from_paths(journeys.to_paths(), **READ)
    assert outcomes(back) == outcomes(journeys.compress())
    assert back.channels == journeys.channels


@given(journeys=tables())
def test_the_path_table_is_the_same_after_reading_it_back(journeys):
    table = journeys.to_paths()
    again = Journeys.from_paths(table, **READ).to_paths()
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.parametrize("separator", [" > ", ",", "|", " -> ", " "])
@given(journeys=tables())
def test_any_separator_can_be_written_and_read(separator, journeys):
    table = journeys.to_paths(separator=separator)
    back = Journeys.from_paths(table, separator=separator.strip() or separator, **READ)
    assert outcomes(back) == outcomes(journeys.compress())


@given(journeys=tables())
def test_a_frame_read_back_has_the_same_rows(journeys):
    back = Journeys.from_paths(journeys.to_frame(), **READ)
    assert paths_of(back) == paths_of(journeys)
    for name in ("conversions", "nulls", "values"):
        assert np.array_equal(getattr(back, name), getattr(journeys, name))


# --- to_paths -------------------------------------------------------------------------


def test_the_most_frequent_path_comes_first_and_ties_by_name():
    journeys = read(["c > a", "b", "a", "c > a"], [1, 2, 0, 1], nulls=[1, 2, 4, 4])
    expected = pd.DataFrame(
        {"path": ["c > a", "a", "b"], "conversions": [2.0, 0.0, 2.0], "nulls": [5.0, 4.0, 2.0]}
    )
    pd.testing.assert_frame_equal(journeys.to_paths(), expected)


def test_value_is_written_where_there_is_one():
    table = read(["a > b", "a > b"], [1, 2], value=[1.5, 2.0]).to_paths()
    assert table.columns.tolist() == ["path", "conversions", "value", "nulls"]
    assert table["value"].tolist() == [3.5]


def test_rows_without_touches_are_an_empty_path():
    table = read(["a", None, None], [1, 2, 3]).to_paths()
    assert table["path"].tolist() == ["", "a"]
    assert table["conversions"].tolist() == [5.0, 1.0]


def test_rare_paths_become_one_other_path():
    journeys = read(
        ["a > b", "b", "c", "a", "c > a"],
        [3, 1, 2, 0, 9],
        nulls=[2, 1, 2, 1, 9],
        value=[30.0, 10.0, 20.0, 0.0, 90.0],
    )
    expected = pd.DataFrame(
        {
            "path": ["c > a", "(other)", "a > b"],
            "conversions": [9.0, 3.0, 3.0],
            "value": [90.0, 30.0, 30.0],
            "nulls": [9.0, 4.0, 2.0],
        }
    )
    pd.testing.assert_frame_equal(journeys.to_paths(min_count=5), expected)


def test_paths_of_exactly_the_least_count_are_shown():
    journeys = read(["a", "b"], [2, 1], nulls=[1, 1])
    assert journeys.to_paths(min_count=3)["path"].tolist() == ["a", "(other)"]
    assert journeys.to_paths(min_count=2)["path"].tolist() == ["a", "b"]


@given(journeys=tables())
def test_hiding_rare_paths_conserves_and_shows_none(journeys):
    table = journeys.to_paths(min_count=4)
    for column in ("conversions", "nulls"):
        assert table[column].sum() == getattr(journeys, column).sum()
    assert table["value"].sum() == journeys.values.sum()
    shown = table[~table["path"].isin(["", "(other)"])]
    assert (shown["conversions"] + shown["nulls"] >= 4).all()


@pytest.mark.parametrize(
    ("name", "separator"),
    [("a > b", " > "), (">", " > "), ("a,b", ","), ("x y", " "), ("->", "->")],
)
def test_a_name_that_contains_the_separator_is_refused(name, separator):
    journeys = read([[name, "c"]], [1])
    with pytest.raises(InputError, match=r"contains the separator.*Hint: choose another one"):
        journeys.to_paths(separator=separator)
    assert journeys.to_paths(separator=" | ")["path"].tolist() == [f"{name} | c"]


# --- to_frame -------------------------------------------------------------------------


def test_a_frame_of_aggregated_paths_has_only_what_is_known():
    frame = read(["a > b", "b"], [2, 1], nulls=[0, 4]).to_frame()
    assert frame.columns.tolist() == ["path", "conversions", "nulls"]
    assert frame["path"].tolist() == [["a", "b"], ["b"]]
    assert frame["nulls"].tolist() == [0.0, 4.0]


def test_a_frame_holds_everything_that_is_known():
    noon = dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC)
    night = dt.datetime(2025, 3, 2, tzinfo=dt.UTC)
    touchpoints = [Touchpoint("a", noon, {"device": "phone"}), Touchpoint("b", night)]
    known = {"customer": 7, "end": night, "conversion_type": "lead", "attributes": {"region": "EU"}}
    frame = Journeys.from_journeys([Journey(touchpoints, 2, 5.0, **known)]).to_frame()
    (row,) = frame.to_dict("records")
    assert row == {
        "path": ["a", "b"],
        "conversions": 2.0,
        "nulls": 0.0,
        "value": 5.0,
        "user": 7,
        "conversion_type": "lead",
        "end": night,
        "times": [noon, night],
        "region": "EU",
        "device": ["phone", None],
    }


@given(journeys=tables())
def test_a_frame_has_one_line_per_row(journeys):
    frame = journeys.to_frame()
    assert frame["path"].tolist() == paths_of(journeys)
    assert frame["user"].tolist() == [facts[3] for facts in facts_of(journeys)]
    microseconds = [[t.value // 1000 for t in times] for times in frame["times"]]
    assert microseconds == [[touch[2] for touch in row] for row in touches_of(journeys)]


def test_journeys_without_rows_are_empty_tables():
    none = read(["a > b"], [1]).select(np.array([], dtype=int))
    assert none.to_frame().empty
    assert none.to_paths().empty
    assert none.to_paths().columns.tolist() == ["path", "conversions", "nulls"]
    assert len(none.compress()) == 0
