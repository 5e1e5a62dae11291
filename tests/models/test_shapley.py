import numpy as np
import pytest
from hypothesis import given
from model_oracles import (
    Row,
    as_journeys,
    distinct,
    exact_set_worth,
    shapley_values,
    subset_worth,
    tables,
)

from attribution import Linear, Shapley, transforms
from attribution.models.spread import unanimity_values

# A division, a product and a sum of a few terms: some units in the last place.
EXACT = {"rel": 1e-12, "abs": 1e-12}


def credit_of(rows, of="conversions"):
    return Shapley().attribute(as_journeys(rows)).to_frame()[of].to_dict()


def as_floats(values):
    return {name: float(value) for name, value in values.items()}


@given(rows=tables())
def test_shapley_is_the_definition_over_all_subsets(rows):
    players = sorted({channel for row in rows for channel in row.path})
    for of in ("conversions", "value"):
        expected = shapley_values(players, subset_worth(rows, of))
        assert credit_of(rows, of) == pytest.approx(as_floats(expected), **EXACT)


@given(rows=tables())
def test_touch_weights_split_journeys_equally_over_distinct_channels(rows):
    weights = Shapley().weights(as_journeys(rows))
    expected = [float(weight) for row in rows for weight in (distinct(row) if row.path else [])]
    assert weights.tolist() == pytest.approx(expected, **EXACT)


@given(rows=tables())
def test_shapley_is_linear_on_first_occurrences(rows):
    once = transforms.first_occurrences(as_journeys(rows))
    expected = Linear().attribute(once).to_frame()["conversions"].to_dict()
    assert credit_of(rows) == pytest.approx(expected, **EXACT)


# github.com/eeghor/mta, tests/test_shapley.py
def test_published_subset_sum_game_of_mta():
    assert credit_of([Row(("a",), 4), Row(("a", "b"), 6)]) == pytest.approx({"a": 7, "b": 3})
    single = credit_of([Row(tuple("abcd"), 10)])
    assert single == pytest.approx(dict.fromkeys("abcd", 2.5))


# do-attribution 0.0.2 (PyPI), README quick start; Aaron Goodin
DO_ATTRIBUTION = [
    Row(("Email", "Social"), 1, 0),
    Row(("Search", "Email"), 1, 0),
    Row(("Social",), 1, 0),
    Row(("Email", "Search"), 0, 1),
    Row(("Search", "Social", "Email"), 1, 0),
    Row(("Direct",), 1, 0),
    Row(("Email", "Social"), 0, 1),
    Row(("Search", "Email", "Social"), 1, 0),
    Row(("Social", "Email"), 1, 0),
    Row(("Search",), 0, 1),
]


def test_game_of_exact_sets_is_another_game_than_ours():
    players = ["Direct", "Email", "Search", "Social"]
    published = {"Direct": -0.5833, "Email": 0.25, "Search": -0.0833, "Social": 0.4167}
    exact_sets = shapley_values(players, exact_set_worth(DO_ATTRIBUTION))
    assert as_floats(exact_sets) == pytest.approx(published, abs=5e-5)
    ours = {"Direct": 1, "Email": 13 / 6, "Search": 7 / 6, "Social": 8 / 3}
    assert credit_of(DO_ATTRIBUTION) == pytest.approx(ours, **EXACT)


def test_unanimity_values_add_each_share_to_every_member():
    values = unanimity_values(np.array([0, 0, 1]), np.array([0, 2, 2]), np.array([3.0, 5.0]), 4)
    assert values.tolist() == [3, 0, 8, 0]
