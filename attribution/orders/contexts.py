"""Contexts of every order, and the symbols seen after them.

The context of order k after x_j is the context of order k - 1 after x_{j-1} together with x_j; the
counts of order k - 1 are sums of those of order k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray
from attribution.orders.folds import Folds
from attribution.segments import group, sum_by


@dataclass(frozen=True, eq=False)
class Level:
    """What is seen at one order: events, each a symbol after a context.

    Symbols are the channels' codes, then conversion, then null. Context 0 is the start.

    Attributes
    ----------
    order
        Its order.
    context, symbol
        Shape (n_events,).
    target
        Shape (n_events,); the context that follows, -1 after an end.
    event
        The event here of each event of the next higher order; at the highest order of each entry
        of `_entries`.
    fresh
        Shape (n_contexts,); whether the context differs from that of the next lower order.
    n_states
        Number of states of `Markov(order=order)`.
    moment
        Shape (n_long,); the context after the first max_order touches of each path of so many.
    """

    order: int
    context: IntArray
    symbol: IntArray
    target: IntArray
    event: IntArray
    fresh: BoolArray
    n_states: int
    moment: IntArray


def levels_of(folds: Folds, max_order: int) -> list[Level]:
    """Return the levels of the orders 1 .. max_order.

    A path of n touches has n + 1 positions, from before its first touch to after its last.
    """
    lengths = np.diff(folds.offsets)
    starts = folds.offsets[:-1] + np.arange(len(lengths))
    depth = np.arange(len(folds.codes) + len(lengths)) - np.repeat(starts, lengths + 1)
    contexts = _contexts(folds.codes, depth, max_order)
    long = starts[lengths >= max_order] + max_order
    position, symbol = _entries(folds)
    levels = []
    for order in range(max_order, 0, -1):
        context, first = contexts.pop()
        chosen, event = group([context[position], symbol])
        position, symbol = position[chosen], symbol[chosen]
        touch = symbol < folds.n_channels
        target = np.full(len(symbol), -1)
        target[touch] = context[position[touch] + 1]
        reach = depth[first]
        state = reach >= order
        state[context[position[~touch]]] = True
        levels.append(
            Level(
                order=order,
                context=context[position],
                symbol=symbol,
                target=target,
                event=event,
                fresh=reach >= order - 1,
                n_states=int(state.sum()),
                moment=context[long],
            )
        )
    return levels[::-1]


def _contexts(codes: IntArray, depth: IntArray, max_order: int) -> list[tuple[IntArray, IntArray]]:
    """Return for each order the context of every position and a position of every context.

    Parameters
    ----------
    codes
        Shape (n_touches,).
    depth
        Shape (n_positions,); touches so far, 0 where a path starts.
    """
    start = depth == 0
    touch = np.full(len(depth), -1)
    touch[~start] = codes
    context: IntArray = np.zeros(len(depth), dtype=np.int64)
    result: list[tuple[IntArray, IntArray]] = []
    for _ in range(max_order):
        before = np.where(start, -1, np.roll(context, 1))
        first, context = group([before, touch])
        result.append((context, first))
    return result


def _entries(folds: Folds) -> tuple[IntArray, IntArray]:
    """Return position and symbol of every touch, then every conversion and null that occurs."""
    rows = np.arange(len(folds.offsets) - 1)
    touches = np.arange(len(folds.codes)) + np.repeat(rows, np.diff(folds.offsets))
    ends = folds.offsets[1:] + rows
    converting, null = folds.conversions.any(axis=1), folds.nulls.any(axis=1)
    position = np.concatenate([touches, ends[converting], ends[null]])
    sizes = [len(folds.codes), int(converting.sum()), int(null.sum())]
    symbol = np.repeat([0, folds.n_channels, folds.n_channels + 1], sizes)
    symbol[: len(folds.codes)] = folds.codes
    return position, symbol


def counts_of(folds: Folds, levels: list[Level], chosen: BoolArray) -> list[FloatArray]:
    """Return for each level the count of every event in the chosen folds, shape (n_events,)."""
    conversions = folds.conversions[:, chosen].sum(axis=1)
    nulls = folds.nulls[:, chosen].sum(axis=1)
    count = np.concatenate(
        [
            np.repeat(conversions + nulls, np.diff(folds.offsets)),
            conversions[folds.conversions.any(axis=1)],
            nulls[folds.nulls.any(axis=1)],
        ]
    )
    result = []
    for level in levels[::-1]:
        count = sum_by(level.event, count, len(level.context))
        result.append(count)
    return result[::-1]
