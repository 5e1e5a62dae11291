"""An edge table as read: names, counts and values, before it is a chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from attribution.arrays import BoolArray, Coded, FloatArray, IntArray
from attribution.errors import InputError, require_rows
from attribution.ingest import columns
from attribution.ingest.checks import MARKERS


@dataclass(frozen=True)
class Edges:
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
    def read(cls, table: Any, mark: str) -> Edges:
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
