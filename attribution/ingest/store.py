"""A log larger than memory: its parts, sorted by user and spilled to disk, read back by partition.

Users are spread over buckets by a hash of their key. Each part of the log becomes a *run*: its
touches and conversions sorted by bucket, so that any range of buckets is one slice of every
column. Runs are spilled together, bucket by bucket, as one. A partition is a range of buckets, read
from all runs; its blocks are what the kernel cuts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attribution.arrays import Array, IntArray
from attribution.errors import InputError
from attribution.ingest.cutting import mixed, pick
from attribution.ingest.events import BLOCK
from attribution.ingest.facts import Facts
from attribution.ingest.log import Log
from attribution.ingest.table import Table, end_to_end
from attribution.scratch import Scratch, disk_errors
from attribution.segments import offsets_of
from attribution.sums import add_up

BUCKET_BITS = 10  # of runs
STORE_SHARE = 32  # memory for a whole job, over that of the runs in it
FINE_BITS = 16  # of a partition, whose blocks are smaller than a bucket where the log is large


@dataclass(frozen=True)
class Spilled:
    """A column in the file of its run: where it starts, and its type."""

    start: int
    dtype: Any

    def read(self, file: FileIO, first: int, last: int) -> Array:
        """Return some rows."""
        file.seek(self.start + first * self.dtype.itemsize)
        return np.fromfile(file, dtype=self.dtype, count=last - first)


@dataclass(frozen=True)
class SortedTable:
    """A table sorted by bucket, its columns in memory or in the file of its run.

    Attributes
    ----------
    offsets
        Shape (n_buckets + 1,); rows in the buckets before each.
    columns
        By name; a column in a file has one entry per line (attributes have several).
    """

    offsets: IntArray
    columns: dict[str, Array | list[Spilled]]

    @classmethod
    def of(cls, table: Table, bits: int = BUCKET_BITS) -> SortedTable:
        """Sort a table by the 2**bits buckets of its users."""
        bucket = (mixed(table.user) >> np.uint64(64 - bits)).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")
        offsets = offsets_of(np.bincount(bucket, minlength=2**bits))
        return cls(offsets, {name: pick(column, order) for name, column in vars(table).items()})

    @classmethod
    def spilled(
        cls, tables: Sequence[Table], offsets: Sequence[IntArray], file: FileIO
    ) -> SortedTable:
        """Write sorted tables to a file as one; constant columns stay in memory."""
        cuts = [each.tolist() for each in offsets]
        columns: dict[str, Array | list[Spilled]] = {}
        for field in fields(Table):
            column = _interleaved([getattr(table, field.name) for table in tables], cuts)
            if column.strides == (0,):
                columns[field.name] = column
            else:
                lines = column if column.ndim == 2 else [column]
                columns[field.name] = [_write(file, line) for line in lines]
        total: IntArray = np.sum(offsets, axis=0)
        return cls(total, columns)

    @property
    def n_bytes(self) -> int:
        """Memory of the columns that are not constant."""
        arrays = [column for column in self.columns.values() if isinstance(column, np.ndarray)]
        return sum(column.nbytes for column in arrays if column.strides != (0,))

    def rows(self, low: int, high: int, file: FileIO | None = None) -> Table:
        """Return the rows of the buckets low .. high - 1."""
        first, last = int(self.offsets[low]), int(self.offsets[high])

        def read(name: str, column: Array | list[Spilled]) -> Array:
            if isinstance(column, np.ndarray):
                return column[..., first:last]
            assert file is not None
            lines = [place.read(file, first, last) for place in column]
            if name == "attributes":
                return np.stack(lines) if lines else np.zeros((0, last - first), dtype=np.int32)
            return lines[0]

        return Table(**{name: read(name, column) for name, column in self.columns.items()})


def _interleaved(columns: Sequence[Array], cuts: Sequence[list[int]]) -> Array:
    """Join the same column of sorted tables bucket by bucket."""
    if len(columns) == 1:
        return columns[0]
    if all(column.strides == (0,) for column in columns):
        joined = end_to_end(columns)
        if joined.strides == (0,):
            return joined
    n_buckets = len(cuts[0]) - 1
    return np.concatenate(
        [
            column[..., cut[i] : cut[i + 1]]
            for i in range(n_buckets)
            for column, cut in zip(columns, cuts, strict=True)
        ],
        axis=-1,
    )


def _write(file: FileIO, column: Array) -> Spilled:
    """Append a column to a file."""
    column = np.ascontiguousarray(column)
    place = Spilled(file.tell(), column.dtype)
    left = column.view(np.uint8).data
    while len(left):
        left = left[file.write(left) :]
    return place


class Run:
    """One part of the log, sorted by bucket."""

    def __init__(self, log: Log) -> None:
        self.facts = log.facts
        self.touches, self.conversions = (
            SortedTable.of(log.touches),
            SortedTable.of(log.conversions),
        )
        self.path: Path | None = None

    @classmethod
    def spilled(cls, runs: Sequence[Run], path: Path) -> Run:
        """Write runs to a new file as one."""
        facts: Facts = add_up(run.facts for run in runs)
        logs = [run.read(0, 2**BUCKET_BITS).aligned(facts) for run in runs]
        whole = cls.__new__(cls)
        whole.facts, whole.path = facts, path
        with open(path, "xb", buffering=0) as file:
            whole.touches = SortedTable.spilled(
                [log.touches for log in logs], [run.touches.offsets for run in runs], file
            )
            whole.conversions = SortedTable.spilled(
                [log.conversions for log in logs], [run.conversions.offsets for run in runs], file
            )
        return whole

    @property
    def n_bytes(self) -> int:
        """Memory of the columns."""
        return self.touches.n_bytes + self.conversions.n_bytes

    @property
    def offsets(self) -> IntArray:
        """Number of events in the buckets before each."""
        return self.touches.offsets + self.conversions.offsets

    def read(self, low: int, high: int) -> Log:
        """Return the events of the buckets low .. high - 1, sorted by bucket."""
        tables = self.touches, self.conversions
        if self.path is None:
            touches, conversions = (table.rows(low, high) for table in tables)
        else:
            with open(self.path, "rb", buffering=0) as file:
                touches, conversions = (table.rows(low, high, file) for table in tables)
        return Log(touches, conversions, self.facts)


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
        self._in_memory: list[Run] = []
        self._on_disk: list[Run] = []
        self._closed = False

    def add(self, run: Run) -> None:
        """Take in one part of the log.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        self.facts = run.facts if self.facts is None else self.facts + run.facts
        run.facts = replace(run.facts, audit={})
        self._in_memory.append(run)
        if sum(each.n_bytes for each in self._in_memory) > self.memory:
            path = self.scratch.path / f"run-{len(self._on_disk)}"
            with disk_errors(self.scratch.path, "give spill_folder= a folder on a larger disk"):
                self._on_disk.append(Run.spilled(self._in_memory, path))
            self._in_memory.clear()

    @property
    def _runs(self) -> list[Run]:
        return self._on_disk + self._in_memory

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
        if self._closed:
            raise InputError("The stream is closed. Hint: scan again, or read it before closing.")
        logs = [run.read(low, high).aligned(facts) for run in self._runs]
        touches = SortedTable.of(Table.concat([log.touches for log in logs]), FINE_BITS)
        conversions = SortedTable.of(Table.concat([log.conversions for log in logs]), FINE_BITS)
        del logs
        for start, stop in cut_evenly(touches.offsets + conversions.offsets, BLOCK):
            yield touches.rows(start, stop), conversions.rows(start, stop)

    def close(self) -> None:
        """Remove what was spilled."""
        self._closed = True
        self._in_memory.clear()
        self._on_disk.clear()
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
