from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import segments

rows = st.lists(st.lists(st.integers(-3, 3), max_size=5), max_size=12)
wide = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)


def cut(listed):
    """Entries and offsets of a list of lists."""
    values = np.array([x for row in listed for x in row], dtype=np.int64)
    return values, segments.offsets_of(np.array([len(row) for row in listed], dtype=np.int64))


def lists(values, offsets):
    return [values[a:b].tolist() for a, b in pairwise(offsets)]


@given(listed=rows)
def test_offsets_cut_entries_into_their_rows(listed):
    values, offsets = cut(listed)
    assert lists(values, offsets) == listed
    index = segments.row_index(offsets)
    assert index.tolist() == [i for i, row in enumerate(listed) for _ in row]


@pytest.mark.parametrize(("ufunc", "reduce"), [(np.add, sum), (np.minimum, min), (np.maximum, max)])
@given(listed=rows)
def test_reduce_rows_reduces_each_row_and_gives_0_for_none(ufunc, reduce, listed):
    result = segments.reduce_rows(ufunc, *cut(listed))
    assert result.tolist() == [reduce(row) if row else 0 for row in listed]


@given(pairs=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5))))
def test_ranges_are_ranges_one_after_the_other(pairs):
    starts = np.array([a for a, _ in pairs], dtype=np.int64)
    stops = starts + np.array([n for _, n in pairs], dtype=np.int64)
    assert segments.ranges(starts, stops).tolist() == [x for a, n in pairs for x in range(a, a + n)]


@given(listed=rows, data=st.data())
def test_take_rows_takes_rows_by_index_or_mask(listed, data):
    values, offsets = cut(listed)
    mask = np.array(data.draw(st.tuples(*[st.booleans()] * len(listed))), dtype=bool)
    chosen = [row for row, keep in zip(listed, mask, strict=True) if keep]
    for rows_taken in (mask, np.flatnonzero(mask)):
        entries, new = segments.take_rows(offsets, rows_taken)
        assert lists(values[entries], new) == chosen


@given(listed=rows, data=st.data())
def test_keep_entries_keeps_rows_and_drops_entries(listed, data):
    values, offsets = cut(listed)
    keep = np.array(data.draw(st.tuples(*[st.booleans()] * len(values))), dtype=bool)
    kept = lists(values[keep], segments.keep_entries(offsets, keep))
    flags = iter(keep)
    assert kept == [[x for x in row if next(flags)] for row in listed]


@given(columns=st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[wide] * n))))
def test_group_numbers_equal_rows_alike_in_lexicographic_order(columns):
    width = len(columns[0]) if columns else 1
    matrix = np.array(columns, dtype=np.int64).reshape(len(columns), width)
    first, inverse = segments.group(list(matrix.T))
    distinct = sorted(set(columns))
    assert [columns[i] for i in first] == distinct
    assert inverse.tolist() == [distinct.index(row) for row in columns]
    assert first.tolist() == [columns.index(row) for row in distinct]


@pytest.mark.parametrize("bound", [10, segments.TABLE + 1])
@given(pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3))))
def test_count_keys_adds_weights_of_keys_that_have_any(bound, pairs):
    keys = np.array([key for key, _ in pairs], dtype=np.int64)
    weights = np.array([weight for _, weight in pairs], dtype=np.float64)
    sums = {}
    for key, weight in pairs:
        sums[key] = sums.get(key, 0) + weight
    expected = sorted((key, total) for key, total in sums.items() if total)
    found, totals = segments.count_keys(keys, weights, bound)
    assert list(zip(found.tolist(), totals.tolist(), strict=True)) == expected


def test_sum_by_of_nothing_is_floats():
    sums = segments.sum_by(np.array([], dtype=np.int64), np.array([]), 3)
    assert (sums.dtype, sums.tolist()) == (np.float64, [0, 0, 0])


@given(listed=rows)
def test_group_paths_numbers_equal_paths_and_only_them_alike(listed):
    number = segments.group_paths(*cut(listed)).tolist()
    pairs = {(n, tuple(row)) for n, row in zip(number, listed, strict=True)}
    assert len(pairs) == len(set(number)) == len({tuple(row) for row in listed})
