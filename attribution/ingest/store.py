"""A log larger than memory: its parts, sorted by user and spilled to disk, read back by partition.

Users are spread over buckets by a hash of their key. Each part of the log becomes a *run*: its
touches and conversions sorted by bucket, so that any range of buckets is one slice of every
column. A partition is a range of buckets, read from all runs; its blocks are what the kernel cuts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attribution.arrays import Array, IntArray
from attribution.ingest.cutting import mixed, pick
from attribution.ingest.events import BLOCK
from attribution.ingest.log import Facts, Log
from attribution.ingest.table import Table
from attribution.scratch import Scratch, disk_errors
from attribution.segments import offsets_of

BUCKET_BITS = 12


@dataclass(frozen=True)
class Spilled:
    """A column in the file of its run: where it starts, its type and number of rows."""

    start: int
    dtype: Any
    n_rows: int


class SortedTable:
    """A table sorted by bucket, its columns in memory or in the file of its run."""

    def __init__(self, table: Table) -> None:
        bucket = (mixed(table.user) >> np.uint64(64 - BUCKET_BITS)).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")
        self.offsets = offsets_of(np.bincount(bucket, minlength=2**BUCKET_BITS))
        self.columns: dict[str, Array | list[Spilled]] = {
            name: pick(column, order) for name, column in vars(table).items()
        }

    @property
    def n_bytes(self) -> int:
        """Memory of the columns that are not constant."""
        arrays = [column for column in self.columns.values() if isinstance(column, np.ndarray)]
        return sum(column.nbytes for column in arrays if column.strides != (0,))

    def spill(self, file: FileIO) -> None:
        """Append the columns to a file and let go of their memory."""
        for name, column in self.columns.items():
            if isinstance(column, np.ndarray) and column.strides != (0,):
                places = []
                for line in column if column.ndim == 2 else [column]:
                    line = np.ascontiguousarray(line)
                    places.append(Spilled(file.tell(), line.dtype, len(line)))
                    _write(file, line)
                self.columns[name] = places

    def rows(self, low: int, high: int, file: FileIO | None) -> Table:
        """Return the rows of the buckets low .. high - 1."""
        first, last = int(self.offsets[low]), int(self.offsets[high])

        def read(name: str, column: Array | list[Spilled]) -> Array:
            if isinstance(column, np.ndarray):
                return column[..., first:last]
            assert file is not None
            lines = [_read(file, place, first, last) for place in column]
            if name == "attributes":
                return np.stack(lines) if lines else np.zeros((0, last - first), dtype=np.int32)
            return lines[0]

        return Table(**{name: read(name, column) for name, column in self.columns.items()})


def _write(file: FileIO, column: Array) -> None:
    left = column.view(np.uint8).data
    while len(left):
        left = left[file.write(left) :]


def _read(file: FileIO, place: Spilled, first: int, last: int) -> Array:
    file.seek(place.start + first * place.dtype.itemsize)
    return np.fromfile(file, dtype=place.dtype, count=last - first)


class Run:
    """One part of the log, sorted by bucket."""

    def __init__(self, log: Log) -> None:
        self.facts = log.facts
        self.touches, self.conversions = SortedTable(log.touches), SortedTable(log.conversions)
        self.path: Path | None = None

    @property
    def n_bytes(self) -> int:
        """Memory of the columns."""
        return self.touches.n_bytes + self.conversions.n_bytes

    @property
    def offsets(self) -> IntArray:
        """Number of events in the buckets before each."""
        return self.touches.offsets + self.conversions.offsets

    def spill(self, path: Path) -> None:
        """Move the columns to a new file."""
        with open(path, "xb", buffering=0) as file:
            self.touches.spill(file)
            self.conversions.spill(file)
        self.path = path

    def read(self, low: int, high: int) -> Log:
        """Return the events of the buckets low .. high - 1, sorted by bucket."""
        if self.path is None:
            tables = [t.rows(low, high, None) for t in (self.touches, self.conversions)]
        else:
            with open(self.path, "rb", buffering=0) as file:
                tables = [t.rows(low, high, file) for t in (self.touches, self.conversions)]
        return Log(tables[0], tables[1], self.facts)


class EventStore:
    """The runs of a log, in memory as long as they fit and on disk beyond.

    Parameters
    ----------
    memory
        Bytes of runs to keep in memory.
    folder
        Where to make the folder for spill files; None: where the system keeps temporary files.
    """

    def __init__(self, memory: int, folder: str | Path | None = None) -> None:
        self.scratch = Scratch(folder)
        self.memory = memory
        self.facts: Facts | None = None
        self._runs: list[Run] = []
        self._in_memory = 0
        self._spills = False

    def add(self, run: Run) -> None:
        """Take in one part of the log.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        self.facts = run.facts if self.facts is None else self.facts + run.facts
        run.facts = replace(run.facts, audit={})
        self._runs.append(run)
        self._in_memory += run.n_bytes
        if self._in_memory > self.memory:
            with disk_errors(self.scratch.path, "give spill_folder= a folder on a larger disk"):
                for number, each in enumerate(self._runs):
                    if each.path is None:
                        each.spill(self.scratch.path / f"run-{number}")
            self._in_memory = 0

    @property
    def n_events(self) -> int:
        """Number of touches and conversions."""
        return 0 if self.facts is None else self.facts.n_touches + self.facts.n_conversions

    def ranges(self, n_events: int) -> list[tuple[int, int]]:
        """Cut the buckets into ranges of about so many events."""
        offsets = sum((run.offsets for run in self._runs), np.zeros(2**BUCKET_BITS + 1, np.int64))
        return cut_evenly(offsets, n_events)

    def read(self, low: int, high: int, facts: Facts) -> Iterator[tuple[Table, Table]]:
        """Yield the blocks of a range of buckets: touches and conversions coded as in the facts."""
        logs = [run.read(low, high).aligned(facts) for run in self._runs]
        touches = SortedTable(Table.concat([log.touches for log in logs]))
        conversions = SortedTable(Table.concat([log.conversions for log in logs]))
        del logs
        for start, stop in cut_evenly(touches.offsets + conversions.offsets, BLOCK):
            yield touches.rows(start, stop, None), conversions.rows(start, stop, None)

    def close(self) -> None:
        """Remove what was spilled."""
        self._runs.clear()
        self.scratch.close()


def cut_evenly(offsets: IntArray, size: int) -> list[tuple[int, int]]:
    """Cut buckets into consecutive ranges of about `size` entries; a bucket stays whole.

    Parameters
    ----------
    offsets
        Shape (n_buckets + 1,); entries before each bucket.
    size
        Wanted number of entries.

    Returns
    -------
    list of (low, high)
        At least one range; together all buckets.
    """
    inner = np.searchsorted(offsets, np.arange(size, int(offsets[-1]), size))
    cuts = np.unique([0, *inner.tolist(), len(offsets) - 1]).tolist()
    return list(pairwise(cuts))
