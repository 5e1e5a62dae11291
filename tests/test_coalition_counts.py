import pickle
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, channels_of, tables

from attribution import InputError, MarkovPathLevel, Shapley
from attribution.statistics import CoalitionCounts, PathLevelCounts, Totals

MODEL = Shapley(worth="rate")
MODELS = [MODEL, Shapley(worth="markov"), MarkovPathLevel(order=2)]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
few = settings(max_examples=30)
FIELDS = ("conversions", "nulls", "value")
A = [Row(("a", "b", "a"), 2, 1, 3.0), Row((), 1, 4, 2.0), Row(("b", "a"), 1, 0, 0.5)]
B = [Row(("b", "z"), 4, 0, 1.0), Row(("aa",), 0, 3), Row(("z", "b", "a"), 1, 1, 2.0)]


def listed(rows):
    """Journeys by their set of channels, by plain loops."""
    sums = defaultdict(lambda: [0.0, 0.0, 0.0])
    for row in rows:
        for i, field in enumerate(FIELDS if row.path else ()):
            sums[tuple(sorted(set(row.path)))][i] += getattr(row, field)
    return dict(sums)


def touches(rows):
    counts = dict.fromkeys(channels_of(rows), 0.0)
    for row in rows:
        for channel in row.path:
            counts[channel] += row.conversions + row.nulls
    return counts


def sets_in(counts):
    """The same, read from the statistic."""
    names = [
        tuple(counts.channels[code] for code in counts.members[start:stop])
        for start, stop in pairwise(counts.offsets.tolist())
    ]
    assert len(set(names)) == len(names)
    columns = (counts.conversions, counts.nulls, counts.values)
    return dict(
        zip(names, map(list, zip(*map(np.ndarray.tolist, columns), strict=True)), strict=True)
    )


def hold(counts, rows):
    """Compare with the oracle, exactly: whole numbers and quarters add without rounding."""
    assert sets_in(counts) == listed(rows)
    assert dict(zip(counts.channels, counts.touches.tolist(), strict=True)) == touches(rows)
    assert counts.totals == Totals.of(as_journeys(rows))


def coalitions(statistic):
    return statistic.coalitions if isinstance(statistic, PathLevelCounts) else statistic


def summed(model, parts):
    return sum(model.summarize(as_journeys(part)) for part in parts)


# --- counting ---------------------------------------------------------------------------


@given(rows=tables())
def test_sets_are_counted_as_by_plain_loops(rows):
    counts = MODEL.summarize(as_journeys(rows))
    assert isinstance(counts, CoalitionCounts)
    assert counts.channels == tuple(channels_of(rows))
    hold(counts, rows)


@given(rows=tables())
def test_sets_are_sorted_smaller_ones_first_with_sorted_members(rows):
    counts = MODEL.summarize(as_journeys(rows))
    sets = [tuple(part.tolist()) for part in np.split(counts.members, counts.offsets[1:-1])]
    sets = sets[: len(counts.conversions)]
    assert sets == sorted(sets, key=lambda codes: (len(codes), codes))
    assert all(list(codes) == sorted(set(codes)) for codes in sets)


def test_repeated_and_reordered_paths_are_one_set():
    counts = MODEL.summarize(as_journeys(A))
    assert counts.members.tolist() == [0, 1]
    assert counts.offsets.tolist() == [0, 2]
    columns = [counts.conversions, counts.nulls, counts.values, counts.touches]
    assert [column.tolist() for column in columns] == [[3], [1], [3.5], [7, 4]]


def test_without_value_there_is_none():
    parts = [MODEL.summarize(as_journeys(rows, values=False)) for rows in (A, B)]
    assert parts[0].values is None
    assert sum(parts).values is None


# --- adding -----------------------------------------------------------------------------


@few
@given(first=tables(), second=tables(names=("b", "x", "aa")))
def test_parts_of_different_channels_add_up_to_the_whole_exactly(first, second):
    added = summed(MODEL, [first, second])
    assert added.equals(MODEL.summarize(as_journeys(first + second)))
    hold(added, first + second)


@few
@given(rows=tables(), cuts=st.tuples(st.integers(0, 10), st.integers(0, 10)))
def test_any_split_adds_up_to_the_whole(rows, cuts):
    low, high = sorted(cuts)
    parts = [rows[:low], rows[low:high], rows[high:]]
    whole = MODEL.summarize(as_journeys(rows))
    left, middle, right = (MODEL.summarize(as_journeys(part)) for part in parts)
    assert (left + middle + right).equals(whole)
    assert (left + (middle + right)).equals(whole)
    assert (right + left + middle).equals(whole)


@pytest.mark.parametrize("model", MODELS[1:], ids=lambda model: model.name)
@few
@given(first=tables(), second=tables(names=("b", "x", "aa")))
def test_path_level_counts_add_both_of_their_parts(model, first, second):
    added, whole = summed(model, [first, second]), model.summarize(as_journeys(first + second))
    assert (added.totals, added.channels) == (whole.totals, whole.channels)
    assert added.coalitions.equals(whole.coalitions)
    assert added.transitions.totals == whole.totals
    assert added.transitions.channels == whole.channels
    for name in ("states", "starts", "conversions", "nulls", "values", "sources", "targets"):
        one, other = getattr(added.transitions, name), getattr(whole.transitions, name)
        assert one.tolist() == other.tolist()
    assert added.transitions.counts.tolist() == whole.transitions.counts.tolist()


@each_model
def test_nothing_added_changes_nothing(model):
    statistic = model.summarize(as_journeys(A))
    for empty in ([], [Row((), 0, 0)]):
        nothing = model.summarize(as_journeys(empty))
        for added in (statistic + nothing, nothing + statistic):
            assert added.totals == statistic.totals
            assert coalitions(added).equals(coalitions(statistic))
            assert model.solve(added).equals(model.solve(statistic))


@each_model
@pytest.mark.parametrize("rows", [[], [Row((), 2, 3, 1.0)]], ids=["no rows", "no touches"])
def test_journeys_without_touches_belong_to_no_set(model, rows):
    one = model.summarize(as_journeys(rows))
    for statistic, times in ((one, 1), (one + one, 2)):
        counts = coalitions(statistic)
        assert (counts.channels, counts.offsets.tolist()) == ((), [0])
        for column in (counts.members, counts.conversions, counts.values, counts.touches):
            assert len(column) == 0
        assert statistic.totals.conversions == times * sum(row.conversions for row in rows)


def test_rows_that_stand_for_no_journey_are_sets_of_none():
    counts = MODEL.summarize(as_journeys([Row(("a", "b"), 0, 0), Row(("a",), 1, 2, 3.0)]))
    assert sets_in(counts) == {("a",): [1, 2, 3], ("a", "b"): [0, 0, 0]}


@given(rows=tables(), randomness=st.randoms(use_true_random=False))
def test_renamed_channels_give_renamed_sets(rows, randomness):
    names = channels_of(rows)
    new = [f"new {i}" for i in range(len(names))]
    randomness.shuffle(new)
    name = dict(zip(names, new, strict=True))
    renamed = [row._replace(path=tuple(name[c] for c in row.path)) for row in rows]
    counts = MODEL.summarize(as_journeys(renamed))
    expected = {tuple(sorted(name[c] for c in members)): x for members, x in listed(rows).items()}
    assert sets_in(counts) == expected


def test_channels_that_a_part_lacks_move_its_codes():
    added = MODEL.summarize(as_journeys(A)) + MODEL.summarize(as_journeys(B))
    assert added.channels == ("a", "aa", "b", "z")
    assert sets_in(added) == {
        ("aa",): [0, 3, 0],
        ("a", "b"): [3, 1, 3.5],
        ("b", "z"): [4, 0, 1],
        ("a", "b", "z"): [1, 1, 2],
    }
    assert added.touches.tolist() == [7 + 2, 3, 4 + 4 + 2, 4 + 2]


@each_model
def test_adding_leaves_the_parts_as_they_were(model):
    first, second = (model.summarize(as_journeys(rows)) for rows in (A, B))
    before = pickle.loads(pickle.dumps((first, second)))
    _ = first + second
    assert first.equals(before[0])
    assert second.equals(before[1])


@each_model
def test_statistics_are_read_only_also_after_pickling(model):
    statistic = model.summarize(as_journeys(A))
    for each in (statistic, pickle.loads(pickle.dumps(statistic))):
        assert each.equals(statistic)
        for name in ("members", "offsets", "conversions", "nulls", "values", "touches"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(coalitions(each), name)[0] = 7


@each_model
def test_parts_with_and_without_value_do_not_add(model):
    parts = [model.summarize(as_journeys(A)), model.summarize(as_journeys(B, values=False))]
    for pair in (parts, parts[::-1]):
        with pytest.raises(InputError, match=r"One part has values.*Hint"):
            sum(pair)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MODEL, replace(MODEL, scale="total")),
        (MODEL, Shapley(worth={"a": 1.0})),
        (Shapley(worth="markov"), MarkovPathLevel()),
        (MarkovPathLevel(), MarkovPathLevel(order=2)),
    ],
    ids=str,
)
def test_statistics_of_different_models_or_options_do_not_add(one, other):
    with pytest.raises(InputError, match="different models cannot be added"):
        sum(model.summarize(as_journeys(A)) for model in (one, other))


@each_model
def test_parts_of_different_transforms_do_not_add(model):
    parts = [as_journeys(A), replace(as_journeys(A), transforms=("collapse_repeats",))]
    with pytest.raises(InputError, match=r"different transforms.*collapse_repeats"):
        model.attribute(parts)


def test_merged_sets_take_repeated_and_empty_sets_in_any_order():
    merged = CoalitionCounts.merged_sets(
        np.array([1, 2, 0, 1, 2, 0]),
        np.array([0, 2, 2, 3, 5, 6]),
        np.array([1.0, 100.0, 2.0, 3.0, 4.0]),
        np.array([0.5, 100.0, 0.0, 0.25, 0.0]),
        None,
    )
    assert {name: None if x is None else x.tolist() for name, x in merged.items()} == {
        "members": [0, 1, 2],
        "offsets": [0, 1, 3],
        "conversions": [6, 4],
        "nulls": [0, 0.75],
        "values": None,
    }
