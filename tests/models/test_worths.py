from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_oracles import (
    Row,
    all_subsets,
    as_journeys,
    channels_of,
    markov_worth,
    rate_worth,
    tables,
)

from attribution import InputError, Shapley
from attribution.models import worths
from attribution.models.shapley import game_of

# Quotients of sums of whole numbers and quarters, or a solve of six well-conditioned equations.
EXACT = {"rel": 1e-12, "abs": 1e-12}
OUTCOMES = ("conversions", "value")


def game(worth, rows, values=True):
    model = Shapley(worth=worth)
    return game_of(model.worth, model.summarize(as_journeys(rows, values=values)))


def names_in(mask, channels):
    return {channel for bit, channel in enumerate(channels) if mask >> bit & 1}


def by_mask(worth, rows):
    """The oracle's worth of every set, in the order of the bit masks."""
    channels = channels_of(rows)
    return [float(worth(names_in(mask, channels))) for mask in range(2 ** len(channels))]


def scattered(members):
    """A worth without any structure, the same on every run; 0 for the empty set."""
    return float(sum(map(ord, "".join(sorted(members)))) % 17)


def table_of(rows, worth):
    return {frozenset(s): float(worth(s)) for s in all_subsets(channels_of(rows)) if s}


# --- all worths -------------------------------------------------------------------------


def all_worths(played):
    """The worths of every outcome, and the sets never observed."""
    found = [played.worths(outcome) for outcome in range(played.n_outcomes)]
    assert len({unobserved for _, unobserved in found}) == 1
    return [array for array, _ in found], found[0][1]


@pytest.mark.parametrize(("worth", "oracle"), [("rate", rate_worth), ("markov", markov_worth)])
@given(rows=tables())
def test_every_set_is_worth_what_the_oracle_says(worth, oracle, rows):
    found, _ = all_worths(game(worth, rows))
    assert len(found) == 2
    for array, of in zip(found, OUTCOMES, strict=True):
        assert array.tolist() == pytest.approx(by_mask(oracle(rows, of), rows), **EXACT)


@given(rows=tables(), together=st.integers(0, 6))
def test_markov_worths_do_not_depend_on_how_many_channels_are_decided_together(rows, together):
    expected, _ = all_worths(game("markov", rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worths, "AT_ONCE", together)
        found, _ = all_worths(game("markov", rows))
    for one, other in zip(found, expected, strict=True):
        assert one.tolist() == other.tolist()


@given(rows=tables(converting=True))
def test_markov_worth_of_all_channels_is_the_base_rate_and_of_none_is_0(rows):
    (conversions, value), unobserved = all_worths(game("markov", rows))
    touched = [row for row in rows if row.path]
    journeys = sum(row.conversions + row.nulls for row in touched)
    assert conversions[-1] == pytest.approx(sum(r.conversions for r in touched) / journeys, **EXACT)
    assert value[-1] == pytest.approx(sum(r.value for r in touched) / journeys, **EXACT)
    assert (conversions[0], value[0], unobserved) == (0, 0, 0)


def test_markov_worths_of_long_loops_stay_exact():
    rows = [Row(("a", "b") * 2500 + ("c",), 1, 0), Row(("a",), 0, 1), Row(("c",), 0, 1)]
    found, _ = all_worths(game("markov", rows, values=False))
    # Every other visit to c converts: of the third of journeys that begin there and, once a and b
    # are in, of half of the two thirds that begin at a.
    assert found[0].tolist() == pytest.approx([0] * 4 + [1 / 6] * 3 + [1 / 3], rel=1e-9, abs=1e-12)


@given(rows=tables())
def test_functions_and_tables_are_asked_for_every_set_but_the_empty_one(rows):
    expected = by_mask(scattered, rows)
    asked = []

    def worth(members):
        assert isinstance(members, frozenset)
        asked.append(members)
        return scattered(members)

    assert all_worths(game(worth, rows))[0][0].tolist() == expected
    assert sorted(map(sorted, asked)) == sorted(map(sorted, table_of(rows, scattered)))
    assert all_worths(game(table_of(rows, scattered), rows))[0][0].tolist() == expected


@given(rows=tables())
def test_sets_that_no_journey_lies_within_are_counted(rows):
    sets = [members for members in all_subsets(channels_of(rows)) if members]
    filled = [row for row in rows if row.path and row.conversions + row.nulls]
    bare = [s for s in sets if not any(set(row.path) <= s for row in filled)]
    assert all_worths(game("rate", rows))[1] == len(bare)


def test_sets_that_a_table_lacks_are_worth_0_and_counted():
    rows = [Row(("a", "b", "c"), 1, 1)]
    found, unobserved = all_worths(game({("a", "c"): 2.0, (): 0.0, "b": 0.0}, rows))
    assert found[0].tolist() == [0, 0, 0, 0, 0, 2, 0, 0]
    assert unobserved == 5
    assert all_worths(game({("a", "c"): 2.0, "b": 0.0}, rows))[1] == 5


@pytest.mark.parametrize("worth", ["rate", "markov"])
def test_journeys_without_value_play_one_game(worth):
    one = game(worth, [Row(("a", "b"), 1, 1)], values=False)
    assert (one.n, one.n_outcomes, len(all_worths(one)[0])) == (2, 1, 1)
    assert game(worth, [Row(("a", "b"), 1, 1)]).n_outcomes == 2


@pytest.mark.parametrize("worth", ["rate", "markov", scattered, {}], ids=str)
def test_without_channels_only_the_empty_set_is_left(worth):
    none = game(worth, [Row((), 3, 2, 1.0)])
    assert none.n == 0
    assert all_worths(none)[0][0].tolist() == [0]


# --- marginal worths along orders -------------------------------------------------------


@st.composite
def rows_and_orders(draw):
    rows = draw(tables())
    n = len(channels_of(rows))
    return rows, draw(st.lists(st.permutations(range(n)), min_size=1, max_size=5)) if n else []


def differences(worths_by_mask, orders):
    """What each player adds to those before it, column i for player i."""
    gains = np.zeros((len(orders), len(orders[0])))
    for row, order in enumerate(orders):
        masks = np.cumsum([0, *(1 << player for player in order)])
        for player, (before, after) in zip(order, pairwise(masks), strict=True):
            gains[row, player] = worths_by_mask[after] - worths_by_mask[before]
    return gains


def games(rows):
    return [game(w, rows) for w in ("rate", "markov", scattered, table_of(rows, scattered))]


@given(given_case=rows_and_orders())
def test_marginals_are_the_differences_of_the_exact_worths_along_each_order(given_case):
    rows, orders = given_case
    if not orders:
        return
    oracles = {"rate": rate_worth, "markov": markov_worth}
    for worth, oracle in oracles.items():
        played = game(worth, rows)
        for outcome, of in enumerate(OUTCOMES):
            expected = differences(by_mask(oracle(rows, of), rows), orders)
            found = played.marginals(outcome)(np.array(orders))
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    for worth in (scattered, table_of(rows, scattered)):
        expected = differences(by_mask(scattered, rows), orders)
        assert game(worth, rows).marginals(0)(np.array(orders)).tolist() == expected.tolist()


@given(given_case=rows_and_orders(), at_once=st.sampled_from([1, 2, 40]))
def test_marginals_do_not_depend_on_how_many_orders_are_walked_at_once(given_case, at_once):
    rows, orders = given_case
    if not orders:
        return
    for played in games(rows):
        expected = played.marginals(0)(np.array(orders))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worths, "ORDERS_AT_ONCE", at_once)
            assert played.marginals(0)(np.array(orders)).tolist() == expected.tolist()


@given(rows=tables(), seed=st.integers(0, 99))
def test_marginals_of_an_order_add_up_to_the_worth_of_all(rows, seed):
    n = len(channels_of(rows))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (3, 1)), axis=1)
    for played in games(rows) if n else []:
        total = all_worths(played)[0][0][-1]
        np.testing.assert_allclose(played.marginals(0)(orders).sum(axis=1), total, atol=1e-12)


@pytest.mark.parametrize("worth", ["rate", "markov"])
def test_channels_in_rows_that_stand_for_no_journey_add_nothing(worth):
    rows = [Row(("ghost", "a"), 0, 0), Row(("a",), 1, 3), Row(("ghost",), 0, 0)]
    played = game(worth, rows)
    assert played.marginals(0)(np.array([[0, 1], [1, 0]])).tolist() == [[0.25, 0], [0.25, 0]]
    assert all_worths(played)[0][0].tolist() == [0, 0.25, 0, 0.25]


@pytest.mark.parametrize("worth", ["rate", "markov"])
def test_channels_that_no_journey_touches_are_worth_nothing(worth):
    journeys = replace(as_journeys([Row((), 1, 2, 3.0)]), channels=("a", "b"))
    played = game_of(worth, Shapley(worth=worth).summarize(journeys))
    assert [each.tolist() for each in all_worths(played)[0]] == [[0] * 4] * 2
    assert played.marginals(0)(np.array([[0, 1], [1, 0]])).tolist() == [[0, 0], [0, 0]]


# --- checks -----------------------------------------------------------------------------


def test_masks_have_a_bit_for_each_member():
    masks = worths.masks_of(np.array([0, 2, 1, 40]), np.array([0, 2, 3, 4]))
    assert masks.tolist() == [0b101, 0b10, 1 << 40]
    assert worths.masks_of(np.zeros(0, np.int64), np.zeros(1, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("worth", "number"), [(2, 2.0), (True, 1.0), (np.float32(0.5), 0.5), (-1, -1.0)]
)
def test_worths_may_be_any_finite_number(worth, number):
    assert worths.finite_worth(worth, ("a",)) == number


@pytest.mark.parametrize("worth", [None, np.nan, np.inf, -np.inf, "much", 1j, [1.0], pd.NA])
def test_a_worth_that_is_no_finite_number_names_its_set(worth):
    with pytest.raises(InputError, match=r"worth of \('a', 'b'\) is .*, not a finite.*Hint: .*0"):
        worths.finite_worth(worth, ("a", "b"))


def test_tables_may_have_keys_of_any_collection_in_any_order():
    entries = (((), 0.0), (("a",), 1.0), (("a", "b"), 3.0), (("a", "b", "c"), 4.0))
    table = {"a": 1, ("b", "a"): 3.0, frozenset("cab"): 4, (): 0}
    assert worths.table_of_worths(table) == entries
    assert worths.table_of_worths(dict(reversed(table.items()))) == entries
    assert worths.table_of_worths({("a", "a"): 1}) == ((("a",), 1.0),)


def test_names_of_several_letters_are_one_channel():
    assert worths.table_of_worths({"search": 2.0}) == ((("search",), 2.0),)


def test_series_with_tuples_of_different_lengths_are_tables():
    # pandas makes a MultiIndex of tuples and fills up with NaN.
    index = pd.MultiIndex.from_tuples([("a", np.nan), ("a", "b")])
    series = pd.Series([1.0, 2.0], index=index)
    assert worths.table_of_worths(series) == ((("a",), 1.0), (("a", "b"), 2.0))


def test_a_set_that_stands_twice_is_refused():
    with pytest.raises(InputError, match=r"has \('a', 'b'\) twice. Hint: order does not matter"):
        worths.table_of_worths({("a", "b"): 1.0, ("b", "a"): 1.0})
    with pytest.raises(InputError, match=r"has \('a',\) twice"):
        worths.table_of_worths({"a": 1.0, ("a",): 1.0})


def test_an_empty_set_that_is_worth_something_is_refused():
    with pytest.raises(InputError, match=r"no channels at all a worth of 0.1; .*Hint: subtract it"):
        worths.table_of_worths({(): 0.1, "a": 1.0})


@pytest.mark.parametrize("key", [5, ("a", 3), None, (None, "a")])
def test_keys_that_are_no_names_are_refused(key):
    with pytest.raises(InputError, match=r"has the key .*, which is no set of channels. Hint"):
        worths.table_of_worths({key: 1.0})


def test_channels_of_a_table_that_no_journey_has_are_refused_by_name():
    with pytest.raises(InputError, match=r"has channel 'emial', .* Did you mean 'email'\? Hint"):
        game({("email", "search"): 1.0, "emial": 1.0, "zz": 1.0}, [Row(("email", "search"), 1)])
