"""Chains as edge tables: one row per transition, to keep, to look at, and to bring from elsewhere.

A chain of order k walks from a start over states (the last k channels) to a conversion or to null.
Its edge table has a row for each pair that journeys walked:

- source: "(start)" or a state, its channels joined by the separator ("email > search");
- target: a state, "(conversion)" or "(null)";
- count: how many journeys walked it (once for each time they did);
- value: of the conversions, on the rows to "(conversion)", 0 elsewhere; only where it is known.

What a chain does follows from these counts n_ij alone. In a table of counts every state i is left
as often as it is entered,

    starts_i + sum_j n_ji = sum_j n_ij + conversions_i + nulls_i,

which a table of probabilities or one that lacks rows does not fulfil: flow balance is therefore
checked when a table is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attribution.arrays import BoolArray, Coded, FloatArray, IntArray
from attribution.errors import InputError, require_rows
from attribution.export import overlaps
from attribution.ingest import columns
from attribution.ingest.checks import MARKERS
from attribution.models.markov import Markov
from attribution.segments import count_keys, group, sum_by
from attribution.statistics import Totals, TransitionCounts

if TYPE_CHECKING:
    import pandas as pd

START, CONVERSION, NULL = MARKERS
BALANCE = 1e-9


def state_labels(counts: TransitionCounts, *, separator: str = " > ") -> list[str]:
    """Return the states as text, in their order: channels joined by the separator.

    Raises
    ------
    InputError
        If a channel could not be read back: it contains the separator, is called like the start
        or an end, or begins or ends with white space.
    """
    mark = _mark(separator)
    for name in counts.channels:
        if mark in name or overlaps(name, separator):
            raise InputError(
                f"Channel {name!r} contains the separator {mark!r}. Hint: rename the channel with "
                "transforms.rename; an edge table also takes another separator=."
            )
        if name in MARKERS:
            raise InputError(
                f"Channel {name!r} is called like the start or an end of every journey. Hint: "
                "leave it out with transforms.without, or rename it with transforms.rename."
            )
        if name != name.strip() or not name:
            raise InputError(
                f"Channel {name!r} is empty or has white space around it. Hint: rename it with "
                "transforms.rename."
            )
    return [_joined(counts, state, separator) for state in counts.states.tolist()]


def edges_frame(counts: TransitionCounts, separator: str = " > ") -> pd.DataFrame:
    """Return the transitions of a chain as an edge table.

    States, channels and rows that stand for no journey, and journeys without touches, leave no
    edge.

    Parameters
    ----------
    counts
        Of a chain of any order, from `Markov(order=...).summarize(journeys)`.
    separator
        What stands between the channels of a state.

    Returns
    -------
    pandas.DataFrame
        Columns source, target, count, and value where it was given; sorted by source (the start,
        then the states), then by target (the states, then the conversion, then null).

    Raises
    ------
    InputError
        If a channel contains the separator or is called like the start or an end.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution import Journeys, Markov
    >>> table = pd.DataFrame({"path": ["a > b > b", "b"], "conversions": [2, 0], "nulls": [1, 4]})
    >>> counts = Markov().summarize(Journeys.from_paths(table, nulls="nulls"))
    >>> edges_frame(counts)
        source        target  count
    0  (start)             a    3.0
    1  (start)             b    4.0
    2        a             b    3.0
    3        b             b    3.0
    4        b  (conversion)    2.0
    5        b        (null)    5.0
    """
    import pandas as pd

    n = len(counts.states)
    labels = [START, *state_labels(counts, separator=separator), CONVERSION, NULL]
    states, start = np.arange(1, n + 1), np.zeros(n, dtype=np.int64)
    source = np.concatenate([start, counts.sources + 1, states, states])
    target = np.concatenate([states, counts.targets + 1, start + n + 1, start + n + 2])
    count = np.concatenate([counts.starts, counts.counts, counts.conversions, counts.nulls])
    order = np.lexsort((target, source))
    order = order[count[order] > 0]
    names = np.array(labels, dtype=object)
    frame = {"source": names[source[order]], "target": names[target[order]], "count": count[order]}
    if counts.values is not None:
        elsewhere = np.zeros(n + len(counts.counts))
        frame["value"] = np.concatenate([elsewhere, counts.values, np.zeros(n)])[order]
    return pd.DataFrame(frame)


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
    model, mark = Markov(order=order), _mark(separator)
    edges = _Edges.read(table, mark)
    _check_states(edges, model.order, mark)
    channels, grams = edges.grams(model.order)
    _check_steps(edges, grams)
    _check_value(edges)
    counts = _counted(edges, model, channels, grams)
    _check_flow(counts, separator)
    return counts


def _mark(separator: str) -> str:
    """Return what a separator is searched by: itself without white space, if that leaves any."""
    if not separator:
        raise InputError("separator='' is empty. Hint: separator=' > '.")
    return separator.strip() or separator


def _joined(counts: TransitionCounts, state: list[int], separator: str) -> str:
    return separator.join([counts.channels[code] for code in state if code >= 0])


@dataclass(frozen=True)
class _Edges:
    """An edge table as read.

    Attributes
    ----------
    labels, paths
        The n_labels distinct names of both columns, and the channels of each; none for the
        start and the ends.
    sources, targets
        Shape (n_rows,); index of a label.
    count, value
        Shape (n_rows,); value None where there is no such column.
    """

    labels: tuple[str, ...]
    paths: list[tuple[str, ...]]
    sources: IntArray
    targets: IntArray
    count: FloatArray
    value: FloatArray | None

    @classmethod
    def read(cls, table: Any, mark: str) -> _Edges:
        """Read the columns; refuse missing names, and counts that are none."""
        what = "the edge table"
        frame = columns.readable(table, what)
        valued = "value" in columns.table_columns(frame)
        wanted = ["source", "target", "count", *["value"] * valued]
        arrow = columns.as_table(frame, wanted, what)
        nodes = Coded.concat([_names(arrow, name) for name in ("source", "target")])
        count = columns.counts(arrow["count"], "count")
        hint = "a count is a number of journeys, 0 or more."
        bad = ~np.isfinite(count) | (count < 0)
        require_rows(bad, "a missing, negative or infinite count", hint, count)
        return cls(
            labels=nodes.labels,
            paths=[_channels(label, mark) for label in nodes.labels],
            sources=nodes.codes[: len(count)],
            targets=nodes.codes[len(count) :],
            count=count,
            value=_value(arrow) if valued else None,
        )

    def starts_at(self, label: str) -> BoolArray:
        """Mark the rows with this source."""
        return self._named(self.sources, label)

    def ends_at(self, label: str) -> BoolArray:
        """Mark the rows with this target."""
        return self._named(self.targets, label)

    def _named(self, nodes: IntArray, label: str) -> BoolArray:
        return np.asarray(nodes == (self.labels.index(label) if label in self.labels else -1))

    def grams(self, order: int) -> tuple[tuple[str, ...], IntArray]:
        """Return the sorted channels, and the codes of each label, -1 where it has none.

        The codes have shape (n_labels, order).
        """
        channels = tuple(sorted({channel for path in self.paths for channel in path}))
        place = {channel: code for code, channel in enumerate(channels)}
        rows = [[place[c] for c in path] + [-1] * (order - len(path)) for path in self.paths]
        return channels, np.array(rows, dtype=np.int64)

    def refuse(self, bad: BoolArray, what: str, hint: str) -> None:
        """Raise if any row is bad, showing the first such edge."""
        if bad.any():
            pairs = zip(self.sources, self.targets, strict=True)
            shown = [f"{self.labels[i]!r} to {self.labels[j]!r}" for i, j in pairs]
            require_rows(bad, what, hint, shown)

    def refuse_labels(self, bad: list[bool], what: str, hint: str) -> None:
        """Raise if any row names a bad label, showing the first such edge."""
        flags = np.array(bad)
        self.refuse(flags[self.sources] | flags[self.targets], what, hint)


def _names(table: pa.Table, name: str) -> Coded:
    """Read a column of names, none missing."""
    kind = table.schema.field(name).type
    if pa.types.is_nested(kind):
        raise InputError(
            f"Column {name!r} holds {kind}, not text. Hint: join the channels of a state by the "
            "separator."
        )
    names = columns.text_codes(table[name])
    hint = "name the start, a state or an end; where 'NA' is a name, read it as text."
    require_rows(names.codes < 0, f"a missing name in column {name!r}", hint)
    return names


def _value(table: pa.Table) -> FloatArray:
    """Read the column of values; missing is 0."""
    value = columns.counts(table["value"], "value")
    value = np.where(np.isnan(value), 0.0, value)
    hint = "give the value of the edge's conversions; attribute refunds separately."
    require_rows(np.isinf(value) | (value < 0), "a negative or infinite value", hint, value)
    return value


def _channels(label: str, mark: str) -> tuple[str, ...]:
    if label in MARKERS:
        return ()
    return tuple(channel.strip() for channel in label.split(mark))


def _check_states(edges: _Edges, order: int, mark: str) -> None:
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


def _check_steps(edges: _Edges, grams: IntArray) -> None:
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


def _check_value(edges: _Edges) -> None:
    if edges.value is not None:
        edges.refuse(
            (edges.value > 0) & ~(edges.ends_at(CONVERSION) & (edges.count > 0)),
            "a value but no conversion",
            f"value stands on the rows to {CONVERSION}; set it to 0 elsewhere.",
        )


def _counted(
    edges: _Edges, model: Markov, channels: tuple[str, ...], grams: IntArray
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
            f"State {_joined(counts, counts.states[i].tolist(), separator)!r} is entered "
            f"{entered[i]:.12g} times and left {left[i]:.12g} times (states out of balance: "
            f"{int(uneven.sum()):,}). Hint: the table must hold counts, not probabilities, and "
            "every edge of its journeys."
        )
    lost = (left > 0) & ~_reached(counts)
    if lost.any():
        i = int(np.argmax(lost))
        raise InputError(
            f"No edge leads from {START} to state "
            f"{_joined(counts, counts.states[i].tolist(), separator)!r}, entered {entered[i]:.12g} "
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
