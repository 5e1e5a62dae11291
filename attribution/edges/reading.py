"""An edge table becomes the counts of a chain; what no journey can have walked is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray
from attribution.edges.table import Edges
from attribution.edges.writing import CONVERSION, NULL, START, joined, mark_of
from attribution.errors import InputError
from attribution.ingest.checks import MARKERS
from attribution.models.markov import Markov
from attribution.segments import count_keys, group, sum_by
from attribution.statistics import Totals, TransitionCounts

BALANCE = 1e-9


def counts_from_edges(table: Any, *, order: int = 1, separator: str = " > ") -> TransitionCounts:
    """Return the chain of an edge table, ready for `Markov(order=order).solve`.

    An edge table does not say which channels met in one journey: `split_conversions` and
    `split_values` are 0, so that credit per touch goes evenly over the touches of a channel.
    Credit per channel needs neither.

    Parameters
    ----------
    table
        A pandas or polars DataFrame, Arrow table or DuckDB relation with the columns source,
        target, count and perhaps value (see this module); other columns are not read. Counts
        may be fractions. Rows of one edge are added; a missing value is 0. White space around
        channels does not matter. From a file, read it without turning names such as "NA" into
        missing ones (pandas: keep_default_na=False).
    order
        Channels per state. A state of fewer channels is a whole journey: it comes from the start
        and goes to an end.
    separator
        What stands between the channels of a state, white space around it aside.

    Returns
    -------
    TransitionCounts
        Of `Markov(order=order)`; every conversion in the totals has touches.

    Raises
    ------
    ColumnNotFoundError
        If source, target or count is missing.
    InputError
        If the table is empty; a name is missing; a state has too many channels or does not
        follow from the one before; an edge leads to the start, from an end or past all channels;
        a count or value is negative or not finite; there is value without conversion; a state is
        not left as often as it is entered, or not reached from the start.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "source": ["(start)", "(start)", "a", "b", "b"],
    ...     "target": ["a", "b", "b", "(conversion)", "(null)"],
    ...     "count": [3, 5, 3, 2, 6],
    ... })
    >>> counts = counts_from_edges(table)
    >>> counts.channels, counts.touches.tolist(), counts.totals.conversions
    (('a', 'b'), [3.0, 8.0], 2.0)
    >>> Markov().solve(counts).to_frame()["removal_effect"].to_dict()
    {'a': 0.375, 'b': 1.0}
    """
    model, mark = Markov(order=order), mark_of(separator)
    edges = Edges.read(table, mark)
    _check_states(edges, model.order, mark)
    channels, grams = edges.grams(model.order)
    _check_steps(edges, grams)
    _check_value(edges)
    counts = _counted(edges, model, channels, grams)
    _check_flow(counts, separator)
    return counts


def _check_states(edges: Edges, order: int, mark: str) -> None:
    """Refuse states that are none at this order."""
    edges.refuse_labels(
        ["" in path for path in edges.paths],
        "an empty channel name",
        f"look for a leading, trailing or doubled {mark!r}.",
    )
    edges.refuse_labels(
        [not set(MARKERS).isdisjoint(path) for path in edges.paths],
        "the start or an end within a state",
        f"{', '.join(MARKERS)} stand alone; a state at the start of a journey is its first "
        "channels.",
    )
    longest = max(map(len, edges.paths))
    edges.refuse_labels(
        [len(path) > order for path in edges.paths],
        f"a state of more channels than the order, {order}",
        f"order={longest}, or another separator= if {mark!r} is part of a name.",
    )


def _check_steps(edges: Edges, grams: IntArray) -> None:
    """Refuse edges that no journey can walk; `grams` are the codes of the labels."""
    order = grams.shape[1]
    finished = edges.starts_at(CONVERSION) | edges.starts_at(NULL)
    edges.refuse(
        edges.ends_at(START) | finished,
        "an edge into the start or out of an end",
        f"journeys begin at {START} and are over at {CONVERSION} or {NULL}.",
    )
    begins, over = edges.starts_at(START), edges.ends_at(CONVERSION) | edges.ends_at(NULL)
    edges.refuse(
        begins & over,
        "an edge from the start to an end",
        "journeys without touches enter no chain; leave these rows out.",
    )
    source, target = edges.sources, edges.targets
    full = grams[target, -1] >= 0
    slides = (grams[source, 1:] == grams[target, :-1]).all(axis=1)
    edges.refuse(
        ~begins & ~over & ~(full & slides),
        f"a target that does not follow from its source at order {order}",
        f"a state of {order} channels is followed by its last {order - 1} and a new one; a state "
        "of fewer channels comes from the start and goes to an end.",
    )


def _check_value(edges: Edges) -> None:
    if edges.value is not None:
        edges.refuse(
            (edges.value > 0) & ~(edges.ends_at(CONVERSION) & (edges.count > 0)),
            "a value but no conversion",
            f"value stands on the rows to {CONVERSION}; set it to 0 elsewhere.",
        )


def _counted(
    edges: Edges, model: Markov, channels: tuple[str, ...], grams: IntArray
) -> TransitionCounts:
    """Add up checked edges."""
    is_state = grams[:, 0] >= 0
    first, inverse = group(list(grams[is_state].T))
    states, n = grams[is_state][first], len(first)
    number = np.full(len(grams), -1)
    number[is_state] = inverse
    source, target, count = number[edges.sources], number[edges.targets], edges.count

    def add(rows: BoolArray, state: IntArray, figures: FloatArray) -> FloatArray:
        return sum_by(state[rows], figures[rows], n)

    to_conversion = edges.ends_at(CONVERSION)
    starts = add(edges.starts_at(START), target, count)
    conversions = add(to_conversion, source, count)
    nulls = add(edges.ends_at(NULL), source, count)
    values = None if edges.value is None else add(to_conversion, source, edges.value)
    inner = (source >= 0) & (target >= 0)
    keys, counts = count_keys(source[inner] * n + target[inner], count[inner], n**2)
    valued, nothing = values is not None, np.zeros(len(channels))
    return TransitionCounts(
        model=model,
        channels=channels,
        totals=Totals(
            conversions=float(conversions.sum()),
            nulls=float(nulls.sum()),
            value=None if values is None else float(values.sum()),
            unattributed=0.0,
            unattributed_value=0.0 if valued else None,
        ),
        states=states,
        starts=starts,
        conversions=conversions,
        nulls=nulls,
        values=values,
        sources=keys // n,
        targets=keys % n,
        counts=counts,
        split_conversions=nothing,
        split_values=nothing if valued else None,
        touches=_touches(states, starts, keys % n, counts, len(channels)),
    )


def _touches(
    states: IntArray, starts: FloatArray, targets: IntArray, counts: FloatArray, n_channels: int
) -> FloatArray:
    """Return the touches of each channel: those of the first states, then one per transition."""
    codes, weight = states.ravel(), np.repeat(starts, states.shape[1])
    begun = sum_by(codes[codes >= 0], weight[codes >= 0], n_channels)
    return begun + sum_by(states[targets, -1], counts, n_channels)


def _check_flow(counts: TransitionCounts, separator: str) -> None:
    """Refuse states that are not left as often as entered, or that the start does not lead to."""
    n, left = len(counts.states), counts.visits
    entered = counts.starts + sum_by(counts.targets, counts.counts, n)
    uneven = np.abs(entered - left) > BALANCE * np.maximum(entered, left)
    if uneven.any():
        i = int(np.argmax(uneven))
        raise InputError(
            f"State {joined(counts, counts.states[i].tolist(), separator)!r} is entered "
            f"{entered[i]:.12g} times and left {left[i]:.12g} times (states out of balance: "
            f"{int(uneven.sum()):,}). Hint: the table must hold counts, not probabilities, and "
            "every edge of its journeys."
        )
    lost = (left > 0) & ~_reached(counts)
    if lost.any():
        i = int(np.argmax(lost))
        raise InputError(
            f"No edge leads from {START} to state "
            f"{joined(counts, counts.states[i].tolist(), separator)!r}, entered {entered[i]:.12g} "
            f"times (such states: {int(lost.sum()):,}). Hint: the table must hold every edge of "
            "its journeys; a loop that no journey enters is none."
        )


def _reached(counts: TransitionCounts) -> BoolArray:
    """Mark the states that edges lead to from the start, shape (n_states,)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    n = len(counts.states)
    first = np.flatnonzero(counts.starts)
    rows = np.concatenate([counts.sources, np.full(len(first), n)])
    to = np.concatenate([counts.targets, first])
    graph = csr_array((np.ones(len(rows)), (rows, to)), shape=(n + 1, n + 1))
    reached = np.zeros(n + 1, dtype=bool)
    reached[breadth_first_order(graph, n, return_predecessors=False)] = True
    return reached[:n]
