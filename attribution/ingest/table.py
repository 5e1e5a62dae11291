"""Touches and conversions as plain columns, and what is known of where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import Array, FloatArray, IntArray
from attribution.ingest.cutting import pick
from attribution.ingest.repeats import RepeatedConversions

if TYPE_CHECKING:
    from attribution.ingest.identity import Identity


@dataclass(frozen=True)
class Table:
    """Checked columns of touches or of conversions, each of shape (n,).

    `code` is the channel of a touch and the type of a conversion; `attributes` has one row per
    attribute. Columns that do not apply are constant and take no memory.
    """

    user: IntArray
    time: IntArray
    code: IntArray
    count: FloatArray
    value: FloatArray
    order: IntArray
    session: IntArray
    window: IntArray
    attributes: IntArray

    def take(self, index: Array) -> Table:
        """Return the rows at an index or mask."""
        return Table(**{name: pick(column, index) for name, column in vars(self).items()})

    @classmethod
    def concat(cls, tables: Sequence[Table]) -> Table:
        """Join tables one after the other."""
        if len(tables) == 1:
            return tables[0]
        names = [field.name for field in fields(cls)]
        return cls(**{name: end_to_end([getattr(t, name) for t in tables]) for name in names})


@dataclass(frozen=True)
class Source:
    """What is known of a table beside its columns.

    Attributes
    ----------
    name
        What it is called in messages.
    first_row
        Number of its first row, where it is a part of a longer table.
    identity
        Which ids are one person.
    repeated
        Conversions whose id stands in several rows of the whole log, where the table is a part.
    after
        Events up to this moment are late: left out and counted.
    """

    name: str = "events"
    first_row: int = 0
    identity: Identity | None = None
    repeated: RepeatedConversions | None = None
    after: int | None = None


def end_to_end(parts: Sequence[Array]) -> Array:
    """Join columns; where all are constant and equal, without memory of its own."""
    filled = [part for part in parts if part.shape[-1]] or parts[:1]
    if len(filled) == 1:
        return filled[0]
    if all(part.strides == (0,) for part in filled):
        constants = {part[0] for part in filled}
        if len(constants) == 1:
            return np.broadcast_to(constants.pop(), sum(map(len, filled)))
    return np.concatenate(filled, axis=-1)
