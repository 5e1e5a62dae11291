"""Arrays cut into rows by offsets (CSR), the shape of every journey table.

`offsets` has length n_rows + 1; row r owns the entries offsets[r] : offsets[r + 1], and may be
empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attribution.arrays import Array, BoolArray, FloatArray, IntArray

TABLE = 2**22  # keys below this are counted in a table, others are sorted


def offsets_of(lengths: IntArray) -> IntArray:
    """Return the offsets, shape (n_rows + 1,), of rows with the given lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_index(offsets: IntArray) -> IntArray:
    """Return the row number of every entry."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def reduce_rows(ufunc: np.ufunc, values: Array, offsets: IntArray) -> Array:
    """Reduce the entries of each row; 0 for an empty row. Shape (n_rows,)."""
    filled = np.diff(offsets) > 0
    result = np.zeros(len(offsets) - 1, dtype=values.dtype)
    if filled.any():
        result[filled] = ufunc.reduceat(values, offsets[:-1][filled])
    return result


def ranges(starts: IntArray, stops: IntArray) -> IntArray:
    """Concatenate the integer ranges starts[i] : stops[i]."""
    lengths = stops - starts
    shift = np.repeat(starts - offsets_of(lengths)[:-1], lengths)
    return np.asarray(np.arange(len(shift)) + shift)


def take_rows(offsets: IntArray, rows: Array) -> tuple[IntArray, IntArray]:
    """Return the entry index and the new offsets of the chosen rows (index or mask)."""
    starts, stops = offsets[:-1][rows], offsets[1:][rows]
    return ranges(starts, stops), offsets_of(stops - starts)


def keep_entries(offsets: IntArray, keep: BoolArray) -> IntArray:
    """Return the offsets of the same rows when only the marked entries stay."""
    kept = np.zeros(len(keep) + 1, dtype=np.int64)
    np.cumsum(keep, out=kept[1:])
    return kept[offsets]


def group(columns: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Group equal rows of several integer columns, exactly, for any range of values.

    Parameters
    ----------
    columns
        At least one column, each of shape (n,).

    Returns
    -------
    first, inverse
        The index of the first row of each group, groups in lexicographic order of the columns,
        and the group of every row, shape (n,).
    """
    key, bound = _ranks(columns[0])
    for column in columns[1:]:
        rank, size = _ranks(column)
        if bound * size >= 2**62:
            key, bound = _ranks(key)
        key, bound = key * size + rank, bound * size
    if bound > TABLE:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        return first, inverse
    table = np.full(bound, len(key))
    table[key[::-1]] = np.arange(len(key))[::-1]
    present = table < len(key)
    if present.all():
        return table, key
    return table[present], (np.cumsum(present) - 1)[key]


def count_keys(keys: IntArray, weights: FloatArray, bound: int) -> tuple[IntArray, FloatArray]:
    """Add weights by key in 0 .. bound - 1; return the sorted keys of weight and their sums."""
    if bound <= TABLE:
        sums = sum_by(keys, weights, bound)
        present = np.flatnonzero(sums)
        return present, sums[present]
    distinct, inverse = np.unique(keys, return_inverse=True)
    sums = sum_by(inverse, weights, len(distinct))
    present = np.flatnonzero(sums)
    return distinct[present], sums[present]


def sum_by(codes: IntArray, weights: Array, n: int) -> FloatArray:
    """Add weights by code, shape (n,); float64 also when there is nothing to add."""
    return np.asarray(np.bincount(codes, weights, n), dtype=np.float64)


def _ranks(column: IntArray) -> tuple[IntArray, int]:
    """Shift a column to 0 .. size - 1; to dense ranks where its range is wide."""
    if not len(column):
        return column.astype(np.int64), 1
    low, high = int(column.min()), int(column.max())
    if high - low < 2**31:
        return column.astype(np.int64) - low, high - low + 1
    values, ranks = np.unique(column, return_inverse=True)
    return ranks, len(values)


def group_paths(codes: IntArray, offsets: IntArray) -> IntArray:
    """Return a number for each row such that equal rows, and only they, share it.

    Rows of equal length are compared column by column: cost grows with the number of entries.
    """
    lengths = np.diff(offsets)
    result = np.zeros(len(lengths), dtype=np.int64)
    if not len(lengths):
        return result
    order = np.argsort(lengths, kind="stable")
    cuts = np.flatnonzero(np.diff(lengths[order], prepend=-1))
    base = 0
    for start, stop in zip(cuts, np.append(cuts[1:], len(order)), strict=True):
        rows = order[start:stop]
        length = int(lengths[rows[0]])
        result[rows] = base
        if length and len(rows) > 1:
            matrix = codes[offsets[:-1][rows, None] + np.arange(length)]
            first, inverse = group([matrix[:, j] for j in range(length)])
            result[rows] += inverse
            base += len(first) - 1
        base += 1
    return result
