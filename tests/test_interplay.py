from fractions import Fraction
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import (
    Row,
    all_subsets,
    as_journeys,
    channels_of,
    exact_rate_worth,
    interaction_index,
    markov_worth,
    rate_worth,
    subset_worth,
    tables,
)
from model_oracles import ordered_shapley as oracle_of_positions

from attribution import AttributionWarning, InputError, Journeys, Shapley
from attribution.interplay import coalition_worths, ordered_shapley, shapley_interactions

# Sums of up to 64 rates, or solves of six well-conditioned equations.
EXACT = {"rel": 1e-12, "abs": 1e-12}
few = settings(max_examples=30)
ORACLES = {
    "conversions": lambda rows: subset_worth(rows, "conversions"),
    "rate": rate_worth,
    "markov": markov_worth,
}
SAMPLE = [
    Row(("a", "b", "a", "c"), 3, 2, 30.5),
    Row(("direct",), 1, 4, 7.0),
    Row(("b", "direct"), 2, 1, 11.25),
    Row((), 2, 1, 5.0),
    Row(("c", "c", "b"), 0, 6, 0.0),
]


def scattered(members):
    """A worth without any structure; 0 for the empty set."""
    return float(sum(map(ord, "".join(sorted(members)))) % 17)


def table_of(rows, worth):
    return {frozenset(s): float(worth(s)) for s in all_subsets(channels_of(rows)) if s}


def in_parts(rows, cut):
    return (as_journeys(part) for part in (rows[:cut], rows[cut:]))


# --- worths of sets ---------------------------------------------------------------------


def journeys_in(rows, where):
    chosen = [row for row in rows if row.path and where(set(row.path))]
    conversions = sum(row.conversions for row in chosen)
    return conversions + sum(row.nulls for row in chosen), conversions


@pytest.mark.parametrize("kind", ["conversions", "rate", "markov"])
@given(rows=tables())
def test_sets_are_listed_with_their_journeys_and_worths(kind, rows):
    frame = coalition_worths(as_journeys(rows), kind, min_journeys=0)
    sets = [s for s in all_subsets(channels_of(rows)) if s]
    assert frame.index.tolist() == [tuple(sorted(s)) for s in sets]
    assert frame.index.name == "coalition"
    counted = [journeys_in(rows, lambda path, s=s: path <= s) for s in sets]
    assert list(zip(frame["journeys"], frame["conversions"], strict=True)) == counted
    worth = ORACLES[kind](rows)
    assert frame["worth"].tolist() == pytest.approx([float(worth(s)) for s in sets], **EXACT)


@given(rows=tables())
def test_exact_rates_are_listed_for_the_sets_that_occur(rows):
    frame = coalition_worths(as_journeys(rows), min_journeys=0)
    sets = {tuple(sorted(set(row.path))) for row in rows if row.path}
    assert frame.index.tolist() == sorted(sets, key=lambda names: (len(names), names))
    counted = [journeys_in(rows, lambda path, s=s: path == set(s)) for s in frame.index]
    assert list(zip(frame["journeys"], frame["conversions"], strict=True)) == counted
    worth = exact_rate_worth(rows)
    expected = [float(worth(set(names))) for names in frame.index]
    assert frame["worth"].tolist() == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("kind", ["exact_rate", "conversions", "rate", "markov"])
@few
@given(rows=tables(), least=st.integers(1, 12), cut=st.integers(0, 10))
def test_sets_of_few_journeys_are_left_out_and_counted(kind, rows, least, cut):
    everything = coalition_worths(as_journeys(rows), kind, min_journeys=0)
    frame = coalition_worths(in_parts(rows, cut), kind, min_journeys=least)
    kept = everything[everything["journeys"] >= least]
    assert frame.index.tolist() == kept.index.tolist()
    # A chain is solved from counts that are summed in another order.
    assert frame["worth"].tolist() == pytest.approx(kept["worth"].tolist(), **EXACT)
    assert frame[["journeys", "conversions"]].equals(kept[["journeys", "conversions"]])
    assert frame.attrs["left_out"] == len(everything) - len(kept)


def test_all_sets_are_listed_unless_few_journeys_are_to_be_left_out():
    rows = [Row(("a",), 0.5, 0.25), Row(("b",), 1, 1)]
    frame = coalition_worths(as_journeys(rows, values=False), min_journeys=1)
    assert (frame.index.tolist(), frame.attrs) == ([("b",)], {"left_out": 1})
    everything = coalition_worths(as_journeys(rows, values=False))
    assert everything["worth"].tolist() == pytest.approx([2 / 3, 1 / 2])


def test_sixteen_channels_are_listed_and_seventeen_are_too_many():
    names = [f"c{i:02}" for i in range(17)]
    rows = [Row((name,), 1, 1) for name in names]
    frame = coalition_worths(as_journeys(rows[:16]), "rate")
    assert len(frame) == 2**16 - 1
    assert set(frame["worth"]) == {0.5}
    for kind in ("rate", "markov", "conversions"):
        with pytest.raises(InputError, match=r"17 channels have 2\*\*17 sets.*Hint: .*exact_rate"):
            coalition_worths(as_journeys(rows), kind)
    assert len(coalition_worths(as_journeys(rows))) == 17


@pytest.mark.parametrize("kind", ["exact_rate", "conversions", "rate", "markov"])
def test_without_channels_there_are_no_sets(kind):
    frame = coalition_worths(as_journeys([Row((), 2, 1)]), kind)
    assert frame.shape == (0, 3)
    assert frame.attrs["left_out"] == 0


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match=r"kind='exact' is not one of \('exact_rate', 'conv"):
        coalition_worths(as_journeys(SAMPLE), "exact")


# --- interactions -----------------------------------------------------------------------


def hold_interactions(frame, expected):
    """The frame is symmetric, labelled, and has these values by pair."""
    channels = frame.index.tolist()
    assert channels == frame.columns.tolist() == sorted(channels)
    assert (frame.index.name, frame.columns.name) == ("channel", "other")
    assert (frame.to_numpy() == frame.to_numpy().T).all()
    assert (np.diag(frame) == 0).all()
    found = {pair: frame.loc[pair] for pair in combinations(channels, 2)}
    scale = max([1.0, *(abs(float(x)) for x in expected.values())])
    wanted = {pair: float(expected[pair]) for pair in found}
    assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12 * scale)


@pytest.mark.parametrize("worth", ["conversions", "rate", "markov"])
@given(rows=tables(converting=True))
def test_interactions_of_journeys_are_the_definition(worth, rows):
    frame = shapley_interactions(as_journeys(rows), worth)
    hold_interactions(frame, interaction_index(channels_of(rows), ORACLES[worth](rows)))


@given(rows=tables(converting=True))
def test_interactions_of_functions_and_tables_are_the_definition(rows):
    expected = interaction_index(channels_of(rows), scattered)
    table = table_of(rows, scattered)
    for worth in (scattered, table, pd.Series(table)):
        hold_interactions(shapley_interactions(as_journeys(rows), worth), expected)


@given(rows=tables())
def test_interactions_of_conversions_have_a_closed_form(rows):
    frame = shapley_interactions(as_journeys(rows), "conversions")
    expected = {
        pair: sum(
            Fraction(row.conversions, len(set(row.path)) - 1)
            for row in rows
            if set(pair) <= set(row.path)
        )
        for pair in combinations(channels_of(rows), 2)
    }
    hold_interactions(frame, expected)


@pytest.mark.parametrize("worth", ["conversions", "markov"])
@given(rows=tables())
def test_interactions_of_conversions_and_of_a_chain_are_never_negative(worth, rows):
    frame = shapley_interactions(as_journeys(rows), worth)
    # Second differences of worths of some conversions each leave some units in the last place.
    assert (frame.to_numpy() >= -1e-13).all()


def test_rates_may_be_of_either_sign():
    substitutes = [Row(("a",), 1, 1), Row(("b",), 1, 1), Row(("a", "b"), 1, 1)]
    complements = [Row(("a",), 0, 1), Row(("b",), 0, 1), Row(("a", "b"), 1, 1)]
    # 1 / 2 - 1 / 2 - 1 / 2, and 1 / 4 - 0 - 0
    for rows, expected in ((substitutes, -0.5), (complements, 0.25)):
        frame = shapley_interactions(as_journeys(rows), "rate")
        assert frame.loc["a", "b"] == pytest.approx(expected, **EXACT)


def test_a_pair_that_is_worth_something_only_together_interacts_alone():
    rows = [Row(("a", "b", "c", "d"), 1, 1)]
    frame = shapley_interactions(as_journeys(rows), lambda s: float({"b", "d"} <= s))
    hold_interactions(frame, {p: p == ("b", "d") for p in combinations("abcd", 2)})


def test_an_additive_worth_has_no_interactions():
    rows = [Row(("a", "b", "c", "d"), 1, 1)]
    frame = shapley_interactions(as_journeys(rows), lambda s: float(sum(map(ord, s))))
    assert np.abs(frame.to_numpy()).max() < 1e-12


def test_by_default_rates_interact():
    expected = shapley_interactions(as_journeys(SAMPLE), "rate")
    pd.testing.assert_frame_equal(shapley_interactions(as_journeys(SAMPLE)), expected)


@pytest.mark.parametrize("worth", ["conversions", "rate", "markov", scattered], ids=str)
@few
@given(rows=tables(converting=True), cut=st.integers(0, 10))
def test_interactions_of_parts_are_those_of_the_whole(worth, rows, cut):
    whole = shapley_interactions(as_journeys(rows), worth)
    parts = shapley_interactions(in_parts(rows, cut), worth)
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-11, atol=1e-12)


def test_a_worth_of_nothing_for_all_channels_still_interacts():
    # Shapley would refuse to share nothing; the second difference is -2.
    frame = shapley_interactions(as_journeys([Row(("a", "b"), 0, 1)]), {"a": 1.0, "b": 1.0})
    assert frame.loc["a", "b"] == -2


@pytest.mark.parametrize("worth", ["conversions", "rate", "markov", scattered], ids=str)
def test_one_channel_or_none_has_nothing_to_interact_with(worth):
    one = shapley_interactions(as_journeys([Row(("a", "a"), 1, 1)]), worth)
    assert one.to_numpy().tolist() == [[0]]
    assert shapley_interactions(as_journeys([Row((), 1, 1)]), worth).shape == (0, 0)


@pytest.mark.parametrize("worth", ["conversions", "rate", "markov", scattered], ids=str)
def test_more_than_24_channels_are_too_many_to_interact(worth):
    rows = [Row((f"c{i:02}",), 1, 1) for i in range(25)]
    with pytest.raises(InputError, match=r"25 channels have 2\*\*25 sets.*24.*Hint: .*regroup"):
        shapley_interactions(as_journeys(rows), worth)


def test_interactions_of_what_is_no_game_are_refused():
    with pytest.raises(InputError, match=r"worth='rates' is not one of .*Did you mean 'rate'"):
        shapley_interactions(as_journeys(SAMPLE), "rates")
    with pytest.raises(InputError, match=r"channel 'z', which no journey has"):
        shapley_interactions(as_journeys(SAMPLE), {"z": 1.0})
    with pytest.raises(InputError, match=r"worth of \('a', 'b'\) is nan"):
        shapley_interactions(as_journeys(SAMPLE), lambda s: np.nan if s == {"a", "b"} else 1.0)


# --- positions --------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["conversions", "value"])
@given(rows=tables())
def test_positions_are_credited_as_by_a_plain_loop(of, rows):
    frame = ordered_shapley(as_journeys(rows), of)
    assert frame.index.tolist() == channels_of(rows)
    longest = max((len(row.path) for row in rows if row.conversions), default=0)
    assert frame.columns.tolist() == list(range(1, longest + 1))
    assert (frame.index.name, frame.columns.name) == ("channel", "position")
    credit = oracle_of_positions(rows, of)
    expected = [float(credit.get(key, 0)) for key in frame.stack().index]
    assert frame.stack().tolist() == pytest.approx(expected, **EXACT)
    assert frame.to_numpy().sum() == pytest.approx(float(sum(credit.values())), **EXACT)


@pytest.mark.parametrize("of", ["conversions", "value"])
@given(rows=tables())
def test_positions_of_a_channel_sum_to_its_shapley_value(of, rows):
    frame = ordered_shapley(as_journeys(rows), of)
    expected = Shapley().attribute(as_journeys(rows)).to_frame()[of]
    assert frame.sum(axis=1).to_dict() == pytest.approx(expected.to_dict(), **EXACT)


@few
@given(first=tables(), second=tables(names=("b", "x", "aa", "direct")), third=tables())
def test_positions_of_parts_of_different_channels_and_lengths_add_up(first, second, third):
    whole = ordered_shapley(as_journeys(first + second + third))
    parts = ordered_shapley(as_journeys(rows) for rows in (first, second, third))
    pd.testing.assert_frame_equal(parts, whole, check_column_type=False, rtol=1e-11, atol=1e-12)


def test_a_repeated_channel_shares_its_part_over_its_positions():
    frame = ordered_shapley(as_journeys([Row(tuple("abac"), 6), Row(tuple("ab"), 0, 9)]))
    assert frame.loc["a"].tolist() == [1, 0, 1, 0]
    assert frame.loc["b"].tolist() == [0, 2, 0, 0]
    assert frame.loc["c"].tolist() == [0, 0, 0, 2]


def test_refunds_have_positions_too():
    frame = ordered_shapley(as_journeys([Row(("a", "b"), 1, 0, -4.0)]), of="value")
    assert frame.to_numpy().tolist() == [[-2, 0], [0, -2]]


def test_without_conversions_there_are_no_positions():
    frame = ordered_shapley(as_journeys([Row(("a", "b"), 0, 3)]))
    assert (frame.index.tolist(), frame.columns.tolist()) == (["a", "b"], [])
    assert ordered_shapley(as_journeys([Row((), 3)])).shape == (0, 0)


def test_positions_of_an_unknown_outcome_or_without_value_are_refused():
    with pytest.raises(InputError, match="of='clicks' is not one of"):
        ordered_shapley(as_journeys(SAMPLE), of="clicks")
    with pytest.raises(InputError, match=r"have no value.*Hint"):
        ordered_shapley(as_journeys(SAMPLE, values=False), of="value")


# --- what they share --------------------------------------------------------------------

each_function = pytest.mark.parametrize(
    "function", [coalition_worths, shapley_interactions, ordered_shapley]
)


@each_function
def test_no_parts_at_all_are_an_error(function):
    with pytest.raises(InputError, match="no journeys: the iterable is empty"):
        function([])


@each_function
@pytest.mark.parametrize("what", ["a > b", 5, ["a > b"], pd.DataFrame({"path": ["a"]})], ids=str)
def test_what_are_no_journeys_is_refused(function, what):
    with pytest.raises(InputError, match=r"Got a \w+, not Journeys. Hint: .*from_paths"):
        function(what)


@each_function
def test_large_journeys_are_read_in_parts_of_memory(function, monkeypatch):
    whole = function(as_journeys(SAMPLE))
    first = np.arange(len(SAMPLE)) < 2
    halves = [as_journeys(SAMPLE).select(rows) for rows in (first, ~first)]
    cut = Journeys.parts
    monkeypatch.setattr(
        Journeys, "parts", lambda self: iter(halves) if len(self) == len(SAMPLE) else cut(self)
    )
    in_two = function(as_journeys(SAMPLE))
    pd.testing.assert_frame_equal(in_two, whole, check_column_type=False, rtol=1e-12)


@pytest.mark.parametrize("function", [coalition_worths, shapley_interactions])
def test_value_plays_no_part_even_if_negative(function):
    refunded = as_journeys([Row(("a", "b"), 1, 1, -5.0), Row(("b",), 1, 3)])
    without = as_journeys([Row(("a", "b"), 1, 1), Row(("b",), 1, 3)], values=False)
    pd.testing.assert_frame_equal(function(refunded), function(without))


@each_function
def test_results_do_not_warn_of_journeys_without_conversion(function, recwarn):
    function(as_journeys([Row(("a", "b"), 1), Row(("b",), 1)]))
    assert [w for w in recwarn if w.category is AttributionWarning] == []
