"""Conversions whose id stands in several rows, where the rows are read in parts.

In one table the first of each id (by time, user, value) stays. A part cannot know that by itself:
it is told which row stays of every repeated id, found beforehand among only those rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from attribution.arrays import BoolArray, IntArray


class RepeatedConversions:
    """Which row stays of every id that several rows have.

    Rows that are equal in everything are of one user, so one reader sees them all: it keeps the
    first and remembers that.

    Parameters
    ----------
    kept
        Id -> content of the row that stays.
    """

    def __init__(self, kept: Mapping[int, Hashable]) -> None:
        self._kept = kept
        self._seen: dict[int, object] = {}
        self._ids = np.array(sorted(kept), dtype=np.int64)

    def among(self, ids: IntArray) -> BoolArray:
        """Mark the ids that are repeated."""
        return np.isin(ids, self._ids)

    def stays(self, id_: int, content: Hashable) -> bool:
        """Tell whether this row of a repeated id stays; True once."""
        if self._kept[id_] != content:
            return False
        me = object()
        return self._seen.setdefault(id_, me) is me  # one step: several threads may ask
