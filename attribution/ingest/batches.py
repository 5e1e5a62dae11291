"""A log that comes in batches of Arrow rows, from files or an engine, goes into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attribution.arrays import IntArray
from attribution.errors import InputError
from attribution.ingest import columns
from attribution.ingest.log import Log, read_conversions, read_events, repeated_conversions
from attribution.ingest.repeats import RepeatedConversions
from attribution.ingest.store import EventStore, Run
from attribution.ingest.table import Source
from attribution.spec import EventSpec
from attribution.threads import ahead

if TYPE_CHECKING:
    from attribution.ingest.identity import Identity


@dataclass(frozen=True)
class Batch:
    """Some rows of a table.

    Attributes
    ----------
    table
        The rows.
    name
        What the table is called in messages.
    first_row
        Number of the first row in its table.
    """

    table: pa.Table
    name: str
    first_row: int


@dataclass(frozen=True)
class Batches:
    """One table of the log in batches: of events, or of conversions if those have their own.

    Attributes
    ----------
    read
        Called with the names of columns, starts to read them from the beginning (those that there
        are).
    of_conversions, with_conversions
        Whether it is a table of conversions; for events, whether they mark conversions.
    """

    read: Callable[[list[str]], Iterable[Batch]]
    of_conversions: bool = False
    with_conversions: bool = True

    def runs(self, spec: EventSpec, shared: Source) -> Iterator[Run]:
        """Read and sort every batch that has rows, in threads."""

        def run(batch: Batch) -> Run:
            source = replace(shared, name=batch.name, first_row=batch.first_row)
            return Run(self.log(batch.table, spec, source))

        return ahead(run, (b for b in self.read(wanted(spec)) if len(b.table)))

    def log(self, table: pa.Table, spec: EventSpec, source: Source) -> Log:
        """Read one batch; an error names the table where it has a name of its own."""
        with _naming(source.name):
            if self.of_conversions:
                return read_conversions(table, spec, source)
            return read_events(table, spec, source, self.with_conversions)

    def repeated(self, spec: EventSpec, identity: Identity | None) -> RepeatedConversions | None:
        """Find the conversion ids that several rows have, if ids are given."""
        name = spec.conversion_id
        if name is None or not (self.of_conversions or self.with_conversions):
            return None
        seen: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        kinds: dict[bool, str] = {}
        for batch in self.read([name, spec.conversion]):
            with _naming(batch.name):
                ids, hashed = self._ids(batch, spec)
            if len(ids):
                kinds.setdefault(hashed, batch.name)
            seen.append(ids)
        if len(kinds) > 1:
            raise InputError(
                f"Ids of conversions are text in {kinds[True]} and integers in {kinds[False]}. "
                "Hint: convert one column to the type of the other."
            )
        ids = np.sort(np.concatenate(seen))
        twice = np.unique(ids[1:][ids[1:] == ids[:-1]])
        if not len(twice):
            return RepeatedConversions({})
        rows = []
        for batch in self.read(wanted(spec)):
            keys = columns.user_keys(batch.table[name], name)[0]
            rows.append(batch.table.filter(pa.array(np.isin(keys, twice))))
        try:
            table = pa.concat_tables(rows, promote_options="permissive")
        except pa.ArrowException as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"The files of the log have columns of different types: {reason} Hint: convert "
                "them to one type."
            ) from None
        source = Source("the log", identity=identity)
        return repeated_conversions(table, spec, source, self.of_conversions)

    def _ids(self, batch: Batch, spec: EventSpec) -> tuple[IntArray, bool]:
        """Return the key of each conversion's id, and whether the ids are text."""
        assert spec.conversion_id is not None
        columns.require_columns(batch.table, [spec.conversion_id], batch.name)
        ids, absent, hashed = columns.user_keys(batch.table[spec.conversion_id], spec.conversion_id)
        if spec.conversion in batch.table.column_names:
            absent |= ~(columns.counts(batch.table[spec.conversion], spec.conversion) > 0)
        return ids[~absent], hashed


@contextmanager
def _naming(table: str) -> Iterator[None]:
    """Let an error name its table, where that has a name of its own."""
    try:
        yield
    except InputError as error:
        if table in ("events", "conversion_events"):
            raise
        raise type(error)(f"{table}: {error}") from None


def fill(
    store: EventStore,
    tables: Iterable[Batches],
    spec: EventSpec,
    identity: Identity | None = None,
    after: int | None = None,
) -> None:
    """Read all tables of a log into a store.

    Parameters
    ----------
    after
        Only later events: others are counted as late. Then a table may be empty, too.

    Raises
    ------
    InputError
        If a row does not fit and `spec.on_invalid` is "raise", or a table is empty.
    """
    for table in tables:
        shared = Source(identity=identity, repeated=table.repeated(spec, identity), after=after)
        empty = after is None
        for run in table.runs(spec, shared):
            empty = False
            store.add(run)
        if empty:
            what = "conversion_events" if table.of_conversions else "events"
            raise InputError(f"{what} is empty: 0 rows. Hint: check the filter or the files.")


def in_memory(frame: Any, of_conversions: bool = False, with_conversions: bool = True) -> Batches:
    """Return a table in memory as one batch."""
    what = "conversion_events" if of_conversions else "events"
    table = columns.readable(frame, what)

    def read(names: list[str]) -> Iterator[Batch]:
        present = [name for name in columns.table_columns(table) if name in names]
        if len(table):
            yield Batch(columns.as_table(table, present, what), what, 0)

    return Batches(read, of_conversions, with_conversions)


def wanted(spec: EventSpec) -> list[str]:
    """Return the names of the columns that the options name."""
    names = [spec.user, spec.time, *spec.channel, spec.conversion, spec.value]
    names += [spec.conversion_type, spec.conversion_id, spec.order, spec.session, spec.touch_type]
    names += [*spec.attributes, *spec.journey_attributes]
    return list(dict.fromkeys(name for name in names if name is not None))
