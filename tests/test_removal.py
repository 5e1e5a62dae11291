import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_oracles import (
    Chain,
    Row,
    as_journeys,
    holds,
    null_removal_effect,
    redistributed_removal_effect,
    tables,
)

from attribution import InputError, Linear, Markov, MarkovPathLevel
from attribution.models import removals as kernel
from attribution.models.chains import states_of_channels
from attribution.removal import removal_effects

# Random tables often have no journey without conversion, or none longer than the order;
# test_markov holds the warnings.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)

# Both sides solve a system of at most some tens of well-conditioned equations.
SOLVED = {"rel": 1e-9, "abs": 1e-11}
EFFECT = {"conversions": "removal_effect", "value": "removal_effect_value"}


def counts_of(rows, order=1, values=True):
    return Markov(order=order).summarize(as_journeys(rows, values=values))


@st.composite
def removals(draw, max_order=5):
    """Rows, an order, and by name: a channel, two sets of channels, and sequences that occur."""
    rows = draw(tables(converting=True))
    order = draw(st.integers(1, max_order))
    channels = sorted({channel for row in rows for channel in row.path})
    some = st.sets(st.sampled_from(channels), min_size=1)
    groups = {
        "channel": draw(st.sampled_from(channels)),
        "set": draw(some),
        "frozen": frozenset(draw(some)),
    }
    for i in range(2):
        path = draw(st.sampled_from([row.path for row in rows if row.path]))
        begin = draw(st.integers(0, len(path) - 1))
        length = draw(st.integers(1, order))
        groups[f"sequence {i}"] = path[begin : begin + length]
    return rows, order, groups


# --- null ---------------------------------------------------------------------------------


@settings(max_examples=120)
@given(drawn=removals())
def test_effects_equal_one_solve_of_the_chain_without_the_states_of_the_group(drawn):
    rows, order, groups = drawn
    frame = removal_effects(counts_of(rows, order), groups)
    for of, column in EFFECT.items():
        chain = Chain(rows, order, of)
        expected = {name: null_removal_effect(chain, group) for name, group in groups.items()}
        assert frame[column].to_dict() == pytest.approx(expected, **SOLVED)


@given(drawn=removals(max_order=3))
def test_walks_give_the_same_effects(drawn):
    rows, order, groups = drawn
    counts = counts_of(rows, order)
    for removal in ("null", "redistribute"):
        dense = removal_effects(counts, groups, removal=removal)
        assert (dense.attrs["solver"], dense.attrs["error_bound"]) == ("dense", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "ALWAYS_DENSE", 0)
            patch.setattr(kernel, "DENSE_STATES", 0)
            walked = removal_effects(counts, groups, removal=removal)
        assert walked.attrs["solver"] == "iterative"
        assert walked.attrs["error_bound"] <= 1e-10
        pd.testing.assert_frame_equal(walked, dense, check_exact=False, rtol=1e-9, atol=1e-9)


@given(drawn=removals(), data=st.data())
def test_at_the_longest_path_an_effect_is_the_share_of_outcome_that_the_group_is_part_of(
    drawn, data
):
    rows, _, groups = drawn
    order = max(len(row.path) for row in rows) + data.draw(st.integers(0, 2))
    frame = removal_effects(counts_of(rows, order), groups)
    for of, column in EFFECT.items():
        total = sum(getattr(row, of) for row in rows if row.path)
        expected = {
            name: sum(getattr(row, of) for row in rows if holds(row.path, group)) / total
            for name, group in groups.items()
        }
        assert frame[column].to_dict() == pytest.approx(expected, **SOLVED)


@given(rows=tables(), order=st.integers(1, 3))
def test_each_channel_is_removed_where_no_groups_are_given(rows, order):
    frame = removal_effects(counts_of(rows, order))
    model = Markov(order=order).attribute(as_journeys(rows)).to_frame()
    for column in EFFECT.values():
        assert frame[column].to_dict() == model[column].to_dict()


@given(drawn=removals())
def test_a_set_loses_no_less_than_its_members_and_no_more_than_their_sum(drawn):
    rows, order, groups = drawn
    assume(len(groups["set"]) > 1)
    frame = removal_effects(counts_of(rows, order), [groups["set"], *groups["set"]])
    for column in EFFECT.values():
        whole, *single = frame[column]
        assert max(single) - 1e-11 <= whole <= sum(single) + 1e-11


def test_a_sequence_of_one_channel_is_the_channel():
    counts = counts_of([Row(tuple("abcab"), 2, 1, 3.0), Row(tuple("cb"), 1, 2, 5.0)], 2)
    frame = removal_effects(counts, {"tuple": ("a",), "set": {"a"}, "name": "a"})
    assert frame.nunique().tolist() == [1] * len(frame.columns)


def test_a_sequence_is_lost_only_where_its_touches_follow_each_other():
    # Search follows email at once in 3 of 8 conversions, later in 2, before it in 1.
    rows = [
        Row(("email", "search"), 3, 1),
        Row(("email", "social", "search"), 2, 0),
        Row(("search", "email"), 1, 4),
        Row(("search",), 2, 2),
    ]
    frame = removal_effects(counts_of(rows, 3), [("email", "search"), ("search", "email"), "email"])
    effects = {"email > search": 3 / 8, "search > email": 1 / 8, "email": 6 / 8}
    assert frame["removal_effect"].to_dict() == pytest.approx(effects)


# --- redistribute ---------------------------------------------------------------------------


@settings(max_examples=100)
@given(drawn=removals(max_order=3))
def test_redistributed_effects_equal_a_solve_of_the_rescaled_chain(drawn):
    rows, order, groups = drawn
    frame = removal_effects(counts_of(rows, order), groups, removal="redistribute")
    for of, column in EFFECT.items():
        expected = {
            name: redistributed_removal_effect(rows, order, group, of)
            for name, group in groups.items()
        }
        assert frame[column].to_dict() == pytest.approx(expected, **SOLVED)


def test_redistribution_by_hand():
    # From a: 1 of 4 journeys ends without conversion, 1 goes to b, 2 go to c. All start at a or c.
    rows = [Row(("a",), 0, 1), Row(("a", "b"), 1, 0), Row(("a", "c"), 1, 1), Row(("c",), 1, 1)]
    frame = removal_effects(counts_of(rows), list("abc"), removal="redistribute")
    # Base 3 / 6. Without a all start at c, which converts in 2 of 4.
    # Without b, a leads to c in 2 of 3: 4/6 * 2/3 * 1/2 + 2/6 * 1/2 = 7/18.
    # Without c all start at a, which leads to b in 1 of 2: 1/2.
    expected = {"a": 0, "b": 1 - (7 / 18) / (1 / 2), "c": 0}
    assert frame["removal_effect"].to_dict() == pytest.approx(expected, abs=1e-15)


def test_what_is_lost_by_redistribution_may_be_negative():
    rows = [Row(("a", "bad"), 0, 2), Row(("a", "good"), 2, 0, 8.0)]
    frame = removal_effects(counts_of(rows), ["bad"], removal="redistribute")
    row = frame.loc["bad"].to_dict()
    assert row == pytest.approx(
        {
            "removal_effect": -1,
            "removal_effect_value": -1,
            "conversion_probability": 1,
            "conversions_lost": -2,
            "value_lost": -8,
        }
    )


@pytest.mark.parametrize("always_dense", [500, 0])
def test_journeys_that_would_walk_for_ever_do_not_convert(monkeypatch, always_dense):
    # Without "out" the loop between a and b has no end; c still converts in 1 of 2.
    monkeypatch.setattr(kernel, "ALWAYS_DENSE", always_dense)
    rows = [Row((*"abab", "out"), 1, 0), Row((*"ba", "out"), 1, 1), Row(("c",), 1, 1)]
    counts = counts_of(rows)
    # Every state of the loop leads on: none of them ends a journey.
    assert not counts.nulls[:2].any()
    frame = removal_effects(counts, ["out"], removal="redistribute")
    # 3 of 5 journeys convert; of the 5 that start again only the 2 at c can, and 1 of them does.
    assert frame.loc["out", "removal_effect"] == pytest.approx(1 - (1 / 5) / (3 / 5))


@pytest.mark.parametrize("always_dense", [500, 0])
@pytest.mark.parametrize("many", [10**6, 10**12, 10**15])
def test_the_one_journey_in_very_many_that_does_not_go_there_speaks_for_all(
    monkeypatch, always_dense, many
):
    monkeypatch.setattr(kernel, "ALWAYS_DENSE", always_dense)
    rows = [Row(("a", "gone"), 0, many), Row(("a", "b"), 1, 0), Row(("a", "c"), 0, 3)]
    frame = removal_effects(counts_of(rows), ["gone"], removal="redistribute")
    assert frame.loc["gone", "conversion_probability"] == pytest.approx(1 / 4, rel=1e-12)


def test_without_the_only_start_nothing_is_left():
    counts = counts_of([Row(("a", "b"), 3, 1, 6.0)])
    frame = removal_effects(counts, ["a", {"a", "b"}], removal="redistribute")
    assert frame["removal_effect"].tolist() == frame["removal_effect_value"].tolist() == [1, 1]
    assert frame["conversion_probability"].tolist() == [0, 0]


# --- the table ------------------------------------------------------------------------------

SAMPLE = [Row(("a", "b"), 3, 1, 12.0), Row(("b", "a", "c"), 1, 4, 8.0), Row(("c",), 2, 3, 4.0)]


@pytest.mark.parametrize("removal", ["null", "redistribute"])
@given(drawn=removals(max_order=3))
def test_columns_follow_from_the_effects(removal, drawn):
    rows, order, groups = drawn
    frame = removal_effects(counts_of(rows, order), groups, removal=removal)
    touched = [row for row in rows if row.path]
    conversions, value = (sum(getattr(r, of) for r in touched) for of in EFFECT)
    base = conversions / sum(row.conversions + row.nulls for row in touched)
    assert frame.attrs["base_rate"] == pytest.approx(base)
    assert list(frame.columns) == [
        *EFFECT.values(),
        "conversion_probability",
        "conversions_lost",
        "value_lost",
    ]
    effect = frame["removal_effect"]
    np.testing.assert_allclose(frame["conversion_probability"], base * (1 - effect), atol=1e-12)
    np.testing.assert_allclose(frame["conversions_lost"], conversions * effect, rtol=1e-9)
    lost = value * frame["removal_effect_value"]
    np.testing.assert_allclose(frame["value_lost"], lost, rtol=1e-9, atol=1e-9)


def test_columns_of_value_are_there_where_value_is():
    frame = removal_effects(counts_of(SAMPLE, values=False))
    columns = ["removal_effect", "conversion_probability", "conversions_lost"]
    assert list(frame.columns) == columns


def test_rows_are_named_by_the_mapping_or_by_what_they_remove():
    counts, groups = counts_of(SAMPLE, 2), ["c", {"b", "a"}, frozenset("c"), ("b", "a")]
    named = dict(zip(["first", "second", "third", "fourth"], groups, strict=True))
    by_name = removal_effects(counts, named)
    assert by_name.index.tolist() == list(named)
    assert by_name.index.name == "group"
    assert removal_effects(counts, [groups[0], *groups[1:2], groups[3]]).index.tolist() == [
        "c",
        "a + b",
        "b > a",
    ]
    unnamed = removal_effects(counts, iter(groups[1:]))
    pd.testing.assert_frame_equal(
        unnamed.reset_index(drop=True), by_name.iloc[1:].reset_index(drop=True)
    )
    assert removal_effects(counts, "c").index.tolist() == ["c"]
    assert removal_effects(counts).index.tolist() == ["a", "b", "c"]


def test_no_groups_give_an_empty_table():
    for removal in ("null", "redistribute"):
        for groups in ([], {}):
            frame = removal_effects(counts_of(SAMPLE), groups, removal=removal)
            assert (len(frame), len(frame.columns)) == (0, 5)


@pytest.mark.parametrize("removal", ["null", "redistribute"])
def test_journeys_without_conversion_or_without_touches_lose_nothing(removal):
    frame = removal_effects(counts_of([Row(("a", "b"), 0, 2)]), removal=removal)
    assert frame["removal_effect"].tolist() == frame["conversion_probability"].tolist() == [0, 0]
    assert frame.attrs["base_rate"] == 0
    frame = removal_effects(counts_of([Row((), 1, 2)]), removal=removal)
    assert len(frame) == 0
    assert np.isnan(frame.attrs["base_rate"])


def test_a_sum_of_statistics_is_as_good_as_the_whole():
    parts = [counts_of([row], 2) for row in SAMPLE]
    groups = ["a", {"b", "c"}, ("b", "a")]
    pd.testing.assert_frame_equal(
        removal_effects(sum(parts), groups), removal_effects(counts_of(SAMPLE, 2), groups)
    )


def test_a_chain_over_many_states_says_how_it_was_walked():
    rng = np.random.default_rng(0)
    rows = [
        Row(tuple(f"c{c}" for c in rng.integers(15, size=5)), i % 3, 1, i % 3) for i in range(600)
    ]
    counts = counts_of(rows, 3)
    sequence = tuple(counts.channels[code] for code in counts.states[100, :2])
    groups = {"one": "c3", "set": {"c1", "c2"}, "sequence": sequence}
    for removal in ("null", "redistribute"):
        frame = removal_effects(counts, groups, removal=removal)
        assert frame.attrs["solver"] == "iterative"
        assert 0 <= frame.attrs["error_bound"] <= 1e-10
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "ALWAYS_DENSE", 10_000)
            dense = removal_effects(counts, groups, removal=removal)
        pd.testing.assert_frame_equal(frame, dense, check_exact=False, rtol=1e-9, atol=1e-9)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statistic",
    [
        as_journeys(SAMPLE),
        Linear().summarize(as_journeys(SAMPLE)),
        Markov().attribute(as_journeys(SAMPLE)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_other_things_than_transition_counts_are_refused(statistic):
    kind = type(statistic).__name__
    with pytest.raises(InputError, match=rf"Got a {kind}, not TransitionCounts. Hint: Markov\("):
        removal_effects(statistic)


def test_path_level_counts_hold_the_same_transitions():
    frame = removal_effects(MarkovPathLevel(order=2).summarize(as_journeys(SAMPLE)))
    expected = removal_effects(Markov(order=2).summarize(as_journeys(SAMPLE)))
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize("group", ["a", {"a", "b"}, ("a", "b")])
def test_a_group_may_stand_alone(group):
    counts = Markov(order=2).summarize(as_journeys(SAMPLE))
    alone, listed = removal_effects(counts, group), removal_effects(counts, [group])
    assert len(alone) == 1
    pd.testing.assert_frame_equal(alone, listed)


def test_a_sequence_within_a_set_is_refused():
    counts = Markov(order=2).summarize(as_journeys(SAMPLE))
    with pytest.raises(InputError, match=r"\('a', 'b'\) in group .* is no channel's name. Hint"):
        removal_effects(counts, [{"c", ("a", "b")}])


def test_order_0_is_refused_before_anything_is_counted():
    with pytest.raises(InputError, match=r"order=0 is not a positive whole number. Hint"):
        removal_effects(Markov(order=0).summarize(as_journeys(SAMPLE)))


@pytest.mark.parametrize("removal", ["Null", "link", None])
def test_unknown_removal_is_refused_with_the_way_out(removal):
    with pytest.raises(InputError, match=r"removal=.* is not one of .*Hint: removal='null'"):
        removal_effects(counts_of(SAMPLE), removal=removal)


@pytest.mark.parametrize("group", ["serch", {"email", "serch"}, ("email", "serch")])
def test_unknown_channel_is_refused_with_the_nearest(group):
    counts = counts_of([Row(("email", "search"), 1, 1)], 2)
    with pytest.raises(InputError, match=r"No channel 'serch'. Did you mean 'search'\?"):
        removal_effects(counts, {"any": group})


@pytest.mark.parametrize("group", [["a", "b"], 5, None, {"a": 1}])
def test_a_group_of_another_kind_is_refused(group):
    for groups in ([group], {"any": group}):
        with pytest.raises(InputError, match=r"is no group. Hint: .*a set of channels.*a tuple"):
            removal_effects(counts_of(SAMPLE), groups)


def test_what_holds_no_groups_is_refused():
    with pytest.raises(InputError, match=r"groups=5 holds no groups. Hint: a list of channels"):
        removal_effects(counts_of(SAMPLE), 5)


def test_the_states_of_all_channels_are_found_at_once(monkeypatch):
    called = []

    def spy(*arguments):
        called.append(arguments)
        return states_of_channels(*arguments)

    monkeypatch.setattr("attribution.removal.states_of_channels", spy)
    assert len(removal_effects(counts_of(SAMPLE))) == 3
    assert len(called) == 1


@pytest.mark.parametrize("group", [set(), frozenset(), ()])
def test_an_empty_group_is_refused(group):
    with pytest.raises(InputError, match=r"A group is empty. Hint: leave it out"):
        removal_effects(counts_of(SAMPLE), {"any": group})


def test_a_sequence_longer_than_the_order_is_refused_with_the_order_it_takes():
    message = r"'b > a > c' has 3 touches, but the chain remembers 2. Hint: Markov\(order=3\)"
    with pytest.raises(InputError, match=message):
        removal_effects(counts_of(SAMPLE, 2), [("b", "a", "c")])
    assert len(removal_effects(counts_of(SAMPLE, 3), [("b", "a", "c")])) == 1


@pytest.mark.parametrize("sequence", [("c", "a"), ("a", "a"), ("b", "c")])
def test_a_sequence_that_no_journey_has_is_refused(sequence):
    said = rf"No journey has the sequence '{' > '.join(sequence)}'. Hint: .*collapse_repeats"
    with pytest.raises(InputError, match=said):
        removal_effects(counts_of(SAMPLE, 3), [sequence])


@pytest.mark.parametrize(
    "groups",
    [["a", "a"], ["a", {"a"}], [{"a", "b"}, frozenset("ba")], {1: "a", "1": "b"}],
    ids=str,
)
def test_two_groups_of_one_name_are_refused(groups):
    with pytest.raises(InputError, match=r"is given twice. Hint: name them apart with a mapping"):
        removal_effects(counts_of(SAMPLE), groups)
