from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from model_oracles import Row, as_journeys, rows_of, tables

from attribution import AttributionError
from attribution.models import AdditiveHazard, BaggedLogistic, LeaveOneOut
from attribution.models.coalitions import coalitions_of

other_names = tables(names=("b", "x", "direct", "y"))


def counted(rows):
    """Conversions, nulls and value by path."""
    counts = {}
    for row in rows:
        if row.path:
            counts.setdefault(row.path, Counter()).update(
                conversions=row.conversions, nulls=row.nulls, value=row.value
            )
    return counts


def by_path(paths):
    cuts, names = paths.offsets.tolist(), paths.channels
    return {
        tuple(names[c] for c in paths.codes[cuts[i] : cuts[i + 1]]): {
            "conversions": paths.conversions[i],
            "nulls": paths.nulls[i],
            "value": paths.values[i],
        }
        for i in range(len(cuts) - 1)
    }


@given(first=tables(), second=other_names)
def test_paths_are_counted_once_each_over_any_parts(first, second):
    model = LeaveOneOut()
    whole = model.summarize(as_journeys(first + second))
    assert by_path(whole) == counted(first + second)
    parts = model.summarize(as_journeys(first)) + model.summarize(as_journeys(second))
    assert parts.equals(whole)  # counts and quarters add exactly, and paths are in one order
    back = model.summarize(as_journeys(second)) + model.summarize(as_journeys(first))
    assert back.equals(whole)


@given(first=tables(), second=other_names)
def test_timed_rows_are_kept_one_after_the_other(first, second):
    model = AdditiveHazard()
    parts = [model.summarize(as_journeys(rows, ages=True)) for rows in (first, second)]
    both = as_journeys(first + second, ages=True)
    joined, whole = sum(parts), model.summarize(both)
    assert joined.equals(whole)
    touched = both.select(both.lengths > 0)
    kept = rows_of(touched)
    cuts = whole.offsets.tolist()
    assert [tuple(whole.channels[c] for c in whole.codes[i:j]) for i, j in pairwise(cuts)] == [
        row.path for row in kept
    ]
    assert whole.conversions.tolist() == [row.conversions for row in kept]
    assert whole.ages.tolist() == touched.ages.tolist()


@given(rows=tables())
def test_sets_of_timed_rows_are_those_of_their_journeys(rows):
    model, journeys = AdditiveHazard(), as_journeys(rows, ages=True)
    assert model.summarize(journeys).coalitions.equals(coalitions_of(model, journeys))


def test_values_on_one_side_only_are_refused():
    rows = [Row(("a",), 1, 1, 2.0, (1,))]
    for model in (LeaveOneOut(), AdditiveHazard(), BaggedLogistic()):
        with_value, without = (
            model.summarize(as_journeys(rows, values=values, ages=True)) for values in (True, False)
        )
        with pytest.raises(AttributionError, match="other has none"):
            with_value + without


def test_no_users_or_dates_are_kept():
    for model in (LeaveOneOut(), AdditiveHazard()):
        statistic = model.summarize(as_journeys([Row(("a",), 1, 1, 2.0, (1,))], ages=True))
        names = {name for name, x in vars(statistic).items() if isinstance(x, np.ndarray)}
        assert names <= {"codes", "offsets", "ages", "days", "conversions", "nulls", "values"}
