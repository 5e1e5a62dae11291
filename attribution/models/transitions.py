"""Counting the transitions of chains of any order.

The states of an order-k chain are the runs of k touches that occur; the first state of a journey
is its first k touches, or all of them if it has fewer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.segments import count_keys, group, offsets_of, ranges, sum_by
from attribution.statistics import TransitionCounts


def count_transitions(
    codes: IntArray,
    offsets: IntArray,
    conversions: FloatArray,
    nulls: FloatArray,
    values: FloatArray | None,
    order: int,
) -> dict[str, Any]:
    """Count starts, transitions and ends over the states of an order-k chain.

    Parameters
    ----------
    codes, offsets
        Paths; shapes (n_touches,) and (n_rows + 1,).
    conversions, nulls, values
        Shape (n_rows,); values may be None.
    order
        Touches per state.

    Returns
    -------
    dict
        The arrays of `TransitionCounts` by name. Rows without touches do not enter.
    """
    lengths = np.diff(offsets)
    if (lengths == 0).any():
        filled = lengths > 0
        offsets = np.append(offsets[:-1][filled], offsets[-1])
        conversions, nulls, lengths = conversions[filled], nulls[filled], lengths[filled]
        values = None if values is None else values[filled]
    states, state, at = steps_of(codes, offsets, order)
    n_states = len(states)
    begin, end = state[at[:-1]], state[at[1:] - 1]
    weight = np.repeat(conversions + nulls, np.diff(at))
    weight[at[1:] - 1] = 0.0
    keys, counts = count_keys(state[:-1] * n_states + state[1:], weight[:-1], n_states**2)
    return {
        "states": states,
        "starts": sum_by(begin, conversions + nulls, n_states),
        "conversions": sum_by(end, conversions, n_states),
        "nulls": sum_by(end, nulls, n_states),
        "values": None if values is None else sum_by(end, values, n_states),
        "sources": keys // max(1, n_states),
        "targets": keys % max(1, n_states),
        "counts": counts,
    }


def steps_of(codes: IntArray, offsets: IntArray, order: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return the states of an order-k chain, and where each row steps.

    Returns
    -------
    states
        Shape (n_states, order); codes of the channels, -1 for none; distinct and sorted.
    state, at
        The states that the rows step on, one row after the other, cut by the offsets `at`.
    """
    columns, steps = _windows(codes, offsets, order)
    first, state = group(columns)
    states = np.stack([column[first] for column in columns], axis=1).astype(np.int64)
    return states, state, offsets_of(steps)


def _windows(codes: IntArray, offsets: IntArray, order: int) -> tuple[list[IntArray], IntArray]:
    """Return the sliding windows of each row, one column per place (-1: none), and their number.

    A row no longer than the order has one window, itself; an empty one none.
    """
    lengths = np.diff(offsets)
    if order == 1:
        return [codes], lengths
    steps = np.where(lengths > 0, np.maximum(lengths - order + 1, 1), 0)
    position = ranges(offsets[:-1], offsets[:-1] + steps)
    stop = np.repeat(offsets[1:], steps)
    columns = []
    for j in range(min(order, int(lengths.max(initial=1)))):
        inside = position + j < stop
        columns.append(np.where(inside, codes[np.minimum(position + j, len(codes) - 1)], -1))
    columns += [np.full(len(position), -1)] * (order - len(columns))
    return columns, steps


def rates_at_end(counts: TransitionCounts, codes: IntArray, offsets: IntArray) -> FloatArray:
    """Return the share that converts of the journeys that end in the last state of each row.

    Parameters
    ----------
    counts
        Of a chain of any order.
    codes, offsets
        Paths over the same channels; negative codes stand for any other.

    Returns
    -------
    numpy.ndarray
        Shape (n_rows,); the base rate where no journey ended in that state, NaN for empty rows.
    """
    order, lengths = counts.states.shape[1], np.diff(offsets)
    filled, ended = lengths > 0, counts.conversions + counts.nulls
    begin, stop = np.maximum(offsets[1:] - order, offsets[:-1])[filled], offsets[1:][filled]
    longest = min(order, int(lengths.max(initial=0)))
    last = np.full((len(begin), order), -1, dtype=np.int64)
    for j in range(longest):
        at = np.minimum(begin + j, len(codes) - 1)
        other = np.where(codes[at] < 0, -2, codes[at])
        last[:, j] = np.where(begin + j < stop, other, -1)
    both = np.concatenate([counts.states, last])
    base = counts.conversions.sum() / ended.sum() if ended.any() else np.nan
    rates = np.full(len(lengths), np.nan)
    if len(begin):
        first, number = group(list(both.T))
        known = np.full(len(first), base)
        rate = np.divide(counts.conversions, ended, out=np.full(len(ended), base), where=ended > 0)
        known[number[: len(rate)]] = rate
        rates[filled] = known[number[len(rate) :]]
    return rates
