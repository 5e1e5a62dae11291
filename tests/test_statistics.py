import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from model_oracles import Row, as_journeys, tables

from attribution import (
    FirstClick,
    InputError,
    Linear,
    Markov,
    MarkovPathLevel,
    Shapley,
    TimeDecay,
)
from attribution.spec import EventSpec
from attribution.statistics import Totals

A = [Row(("a", "b"), 2, 1, 3.0), Row((), 1, 4, 2.0)]
B = [Row(("b", "z", "b"), 4, 0, 1.0), Row(("aa",), 0, 3)]


def test_totals_count_everything_and_set_apart_what_has_no_touch():
    totals = Totals.of(as_journeys(A))
    assert totals == Totals(conversions=3, nulls=5, value=5, unattributed=1, unattributed_value=2)


def test_totals_without_value_stay_without_value():
    totals = Totals.of(as_journeys(A, values=False)) + Totals.of(as_journeys(B, values=False))
    assert totals == Totals(
        conversions=7, nulls=8, value=None, unattributed=1, unattributed_value=None
    )


@pytest.mark.parametrize("model", [Linear(), Markov()], ids=str)
def test_parts_with_and_without_value_do_not_add(model):
    with_value = model.summarize(as_journeys(A))
    without = model.summarize(as_journeys(B, values=False))
    for pair in ((with_value, without), (without, with_value)):
        with pytest.raises(InputError, match=r"One part has values.*Hint"):
            sum(pair)


def test_credit_of_different_channels_aligns_by_name():
    total = FirstClick().summarize(as_journeys(A)) + FirstClick().summarize(as_journeys(B))
    assert total.channels == ("a", "aa", "b", "z")
    assert total.conversions.tolist() == [2, 0, 4, 0]
    assert total.values.tolist() == [3, 0, 1, 0]
    assert (total.totals.conversions, total.totals.unattributed) == (7, 1)


def chain_of(statistic):
    """The counts of a chain by names, without those that are zero."""
    names = [tuple(statistic.channels[c] for c in s if c >= 0) for s in statistic.states]
    counts = {}
    for field in ("starts", "conversions", "nulls", "values"):
        column = getattr(statistic, field)
        counts |= {(field, name): x for name, x in zip(names, column, strict=True) if x}
    edges = zip(statistic.sources, statistic.targets, statistic.counts, strict=True)
    counts |= {(names[i], names[j]): count for i, j, count in edges}
    return counts


def test_transitions_of_different_channels_align_by_name():
    total = Markov().summarize(as_journeys(A)) + Markov().summarize(as_journeys(B))
    assert total.channels == ("a", "aa", "b", "z")
    assert chain_of(total) == {
        ("starts", ("a",)): 3,
        ("starts", ("b",)): 4,
        ("starts", ("aa",)): 3,
        ("conversions", ("b",)): 6,
        ("nulls", ("b",)): 1,
        ("nulls", ("aa",)): 3,
        ("values", ("b",)): 4,
        (("a",), ("b",)): 3,
        (("b",), ("z",)): 4,
        (("z",), ("b",)): 4,
    }
    assert total.split_conversions.tolist() == [1, 0, 3, 2]
    assert total.split_values.tolist() == [1.5, 0, 2, 0.5]
    assert total.touches.tolist() == [3, 3, 11, 4]
    assert total.n_journeys == 10


@pytest.mark.parametrize("order", [1, 2, 3])
@given(first=tables(), second=tables(names=("b", "x", "aa")))
def test_added_transitions_are_those_of_all_journeys(order, first, second):
    model = Markov(order=order)
    added = model.summarize(as_journeys(first)) + model.summarize(as_journeys(second))
    whole = model.summarize(as_journeys(first + second))
    assert chain_of(added) == chain_of(whole)  # counts and quarters add exactly
    states = added.states.tolist()
    assert states == sorted(states)
    edges = list(zip(added.sources.tolist(), added.targets.tolist(), strict=True))
    assert edges == sorted(set(edges))


@given(rows=tables())
def test_every_state_is_entered_as_often_as_it_is_left(rows):
    statistic = Markov(order=2).summarize(as_journeys(rows))
    n = len(statistic.states)
    entered = statistic.starts + np.bincount(statistic.targets, statistic.counts, n)
    assert entered.tolist() == statistic.visits.tolist()


def test_adding_leaves_the_parts_as_they_were():
    first, second = Markov().summarize(as_journeys(A)), Markov().summarize(as_journeys(B))
    before = copy.deepcopy(first)
    _ = first + second
    assert first.equals(before)


def test_sum_starts_from_nothing():
    parts = [Shapley().summarize(as_journeys(rows)) for rows in (A, B)]
    assert sum(parts).equals(parts[0] + parts[1])
    with pytest.raises(TypeError):
        sum(parts, start=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FirstClick(), Linear()),
        (Linear(), Markov()),
        (Markov(), Markov(order=2)),
        (TimeDecay(), TimeDecay(half_life="1D")),
    ],
    ids=str,
)
def test_statistics_of_different_models_or_options_do_not_add(one, other):
    parts = [model.summarize(as_journeys(A, ages=True)) for model in (one, other)]
    with pytest.raises(InputError, match="different models cannot be added") as caught:
        sum(parts)
    assert str(one) in str(caught.value)
    assert str(other) in str(caught.value)


def test_statistics_do_not_add_to_anything_else():
    with pytest.raises(InputError, match="cannot be added"):
        Linear().summarize(as_journeys(A)) + 3


def test_parts_of_different_journey_options_do_not_add():
    specs = [EventSpec.of(lookback="30D"), EventSpec.of(lookback="90D")]
    parts = [Linear().summarize(replace(as_journeys(A), spec=spec)) for spec in specs]
    with pytest.raises(InputError, match="different options cannot be added: lookback is"):
        sum(parts)


def test_parts_whose_columns_merely_have_other_names_add():
    specs = [EventSpec.of(channel="source"), EventSpec.of(channel="channel")]
    parts = [Linear().summarize(replace(as_journeys(A), spec=spec)) for spec in specs]
    assert sum(parts).totals.conversions == 6


def test_parts_of_different_transforms_do_not_add():
    parts = [as_journeys(A), replace(as_journeys(A), transforms=("collapse_repeats",))]
    with pytest.raises(InputError, match=r"different transforms.*collapse_repeats"):
        Linear().attribute(parts)


@pytest.mark.parametrize("model", [Linear(), Markov(order=2)], ids=str)
def test_statistics_are_read_only_also_after_pickling(model):
    statistic = model.summarize(as_journeys(A))
    for each in (statistic, pickle.loads(pickle.dumps(statistic)), copy.deepcopy(statistic)):
        assert each.equals(statistic)
        with pytest.raises(ValueError, match="read-only"):
            each.conversions[0] = 7


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (Linear(), "ChannelCredit of linear"),
        (Markov(order=2), "TransitionCounts of markov(order=2)"),
        (MarkovPathLevel(), "PathLevelCounts of markov_path_level"),
        (Shapley(worth="rate"), "CoalitionCounts of shapley(worth='rate')"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_statistic_says_what_it_is_in_one_line(model, kind):
    rows = [Row(("a", "b"), 2, 1), Row((), 1, 0)]
    statistic = model.summarize(as_journeys(rows, values=False))
    assert repr(statistic) == f"<{kind}: 4 journeys, 2 channels, 3 conversions>"
