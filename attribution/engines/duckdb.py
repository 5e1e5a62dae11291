"""DuckDB, the embedded engine: events in files or a database, larger than memory.

`scan` reads files, a query or a table through DuckDB in batches, spreads the events over users on
disk (only if they do not fit into memory) and returns a stream of journeys in partitions by user.
DuckDB carries the data, the kernel that works in memory cuts the journeys: same numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from attribution.errors import InputError, MissingDependencyError, StorageError
from attribution.ingest.batches import Batch, Batches, fill
from attribution.ingest.store import STORE_SHARE, EventStore
from attribution.ingest.stream import JourneyStream
from attribution.progress import progress
from attribution.sizes import Size, n_bytes
from attribution.spec import EventSpec

try:
    import duckdb
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingDependencyError(
        "attribution.engines.duckdb needs DuckDB. "
        "Hint: pip install 'multitouch-attribution[duckdb]'."
    ) from error

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from attribution.ingest.identity import Identity

SMALLEST = 100_000_000
SMALLEST_BATCH = 2**14  # rows
DUCKDB_SHARE, ROW_SHARE = 2, 4096  # memory_limit over that of each
KINDS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}
IS_QUERY = re.compile(r"\s*(select|from|with)\s", re.IGNORECASE)


def scan(
    source: Any,
    *,
    conversion_events: Any = None,
    connection: DuckDBPyConnection | None = None,
    memory_limit: Size = "1GB",
    spill_folder: str | Path | None = None,
    partitions: int | None = None,
    identity: Identity | None = None,
    **options: Any,
) -> JourneyStream:
    """Read an event log of any size and return its journeys as a stream.

    The log is read once, here, so that bad rows are an error here; the stream can be read any
    number of times. Files are read one by one in the order of their names, and an error names the
    file and the row in it. In CSV files ids, channels and times are read as text (ids keep their
    leading zeros).

    Parameters
    ----------
    source
        A path or glob of Parquet, CSV or JSON files, or a list of them; a query (text that begins
        with SELECT, FROM or WITH); the name of a table of `connection`, such as "events" or
        "attached.main.events"; or a DuckDB relation.
    conversion_events
        A table of conversions of its own, likewise.
    connection
        An open connection that queries and names refer to. Its settings stay as they are: the
        memory limit is then yours to set for what DuckDB does. None: one of our own.
    memory_limit
        About how much memory the scan may take beside Python and its libraries, DuckDB's share
        included: "1GB", or bytes. At least 100 MB. Events that do not fit are spilled.
    spill_folder
        Where to spill; None: where the system keeps temporary files. A touch takes 20 bytes, a
        conversion 36; order, session and lookback by type 8 more each, an attribute 4.
    partitions
        Into how many parts to spread the users; by default one per million events.
    identity
        Which ids are one person.
    **options
        The columns and options of `Journeys.from_events`.

    Returns
    -------
    JourneyStream
        For `compare` and every model.

    Raises
    ------
    InputError
        If an option or the data do not fit, or a file cannot be read.
    StorageError
        If the disk is full.
    FileNotFoundError
        If no file matches.
    """
    spec = EventSpec.of(**options)
    memory = n_bytes(memory_limit, "memory_limit")
    if partitions is not None and partitions < 1:
        raise InputError(f"partitions={partitions!r} is not a positive number.")
    store = EventStore(memory // STORE_SHARE, spill_folder)
    try:
        with tables_of(source, conversion_events, spec, store, memory, connection) as tables:
            fill(store, tables, spec, identity)
        return JourneyStream(store, spec, partitions)
    except BaseException:
        store.close()
        raise


@contextmanager
def tables_of(
    source: Any,
    conversion_events: Any,
    spec: EventSpec,
    store: EventStore,
    memory: int,
    connection: DuckDBPyConnection | None = None,
) -> Iterator[list[Batches]]:
    """Open the tables of a log for reading in batches; see `scan`.

    Parameters
    ----------
    memory
        Bytes; DuckDB gets half of it, and spills beside the store.
    """
    if memory < SMALLEST:
        raise InputError(
            f"memory_limit={memory:,} bytes is less than {SMALLEST:,}, the least that a scan "
            "needs. Hint: memory_limit='500MB'."
        )
    folder = str(store.scratch.path / "duckdb")
    settings: dict[str, Any] = {
        "memory_limit": f"{memory // DUCKDB_SHARE}B",
        "temp_directory": folder,
    }
    own = duckdb.connect(config=settings) if connection is None else None
    batch = max(SMALLEST_BATCH, memory // ROW_SHARE)
    try:
        used = connection if own is None else own
        assert used is not None
        alone = conversion_events is None
        tables = [_Source(source, used, spec, batch).batches(with_conversions=alone)]
        if not alone:
            conversions = _Source(conversion_events, used, spec, batch)
            tables.append(conversions.batches(of_conversions=True))
        yield tables
    finally:
        if own is not None:
            own.close()


class _Source:
    """One table of the log: its pieces by name, each a file or the whole."""

    def __init__(
        self, source: Any, connection: DuckDBPyConnection, spec: EventSpec, batch: int
    ) -> None:
        self.connection, self.spec, self.batch = connection, spec, batch
        self.relation: DuckDBPyRelation | None = None
        self.files: list[str] = []
        if isinstance(source, duckdb.DuckDBPyRelation):
            self.relation = source
        elif isinstance(source, str) and IS_QUERY.match(source) and not os.path.exists(source):
            with _errors("the query"):
                self.relation = connection.sql(source)
        elif isinstance(source, str) and _is_table(source, connection):
            with _errors(f"table {source!r}"):
                self.relation = connection.table(source)
        elif isinstance(source, str | Path | list | tuple):
            self.files = _files(source, connection)
        else:
            raise InputError(
                f"source is a {type(source).__name__}. Hint: give a path or glob, a query, the "
                "name of a table with connection=, or a DuckDB relation; for a table in memory "
                "use Journeys.from_events."
            )

    def batches(self, of_conversions: bool = False, with_conversions: bool = True) -> Batches:
        """Return what reads the table, again and again."""
        what = "conversion_events" if of_conversions else "events"

        def read(names: list[str]) -> Iterator[Batch]:
            if self.relation is not None:
                yield from self._piece(what, self.relation, names)
                return
            for file in progress(self.files, len(self.files), "files"):
                with _errors(repr(file)):
                    relation = self._open(file)
                yield from self._piece(repr(file), relation, names)

        return Batches(read, of_conversions, with_conversions)

    def _piece(
        self, name: str, relation: DuckDBPyRelation, names: Sequence[str]
    ) -> Iterator[Batch]:
        """Yield the wanted columns of one file or table, those that it has."""
        present = [column for column in relation.columns if column in names]
        chosen = present or relation.columns[:1]  # no column at all is an error later on
        first_row = 0
        with _errors(name):
            reader = relation.project(", ".join(map(_quoted, chosen))).to_arrow_reader(self.batch)
            while True:
                try:
                    record = reader.read_next_batch()
                except StopIteration:
                    return
                table = pa.Table.from_batches([record])
                del record
                yield Batch(table, name, first_row)
                first_row += len(table)

    def _open(self, file: str) -> DuckDBPyRelation:
        """Open a file by its ending."""
        kind = _kind(file)
        file = re.sub(r"[\[*?]", r"[\g<0>]", file)  # DuckDB takes every path for a pattern
        if kind == "parquet":
            return self.connection.read_parquet(file)
        if kind == "json":
            return self.connection.read_json(file)
        spec = self.spec
        text = [spec.user, spec.time, *spec.channel, spec.conversion_id, spec.session]
        options: dict[str, Any] = {"delimiter": "\t"} if ".tsv" in Path(file).suffixes else {}
        found = self.connection.read_csv(file, **options)
        types = {name: "VARCHAR" for name in found.columns if name in text}
        return self.connection.read_csv(file, dtype=types, **options)


def _is_table(name: str, connection: DuckDBPyConnection) -> bool:
    """Tell whether a text that is no file's name is the name of a table."""
    if _kind(name) is not None or re.search(r"[*?/\\]", name):
        return False
    try:
        connection.table(name)
    except duckdb.Error:
        return False
    return True


def _files(source: Any, connection: DuckDBPyConnection) -> list[str]:
    """Return the files that a path, a glob or a list of them stands for, sorted."""
    found: list[str] = []
    if isinstance(source, list | tuple) and not source:
        raise InputError("source names no file: the list is empty.")
    for pattern in source if isinstance(source, list | tuple) else [source]:
        if os.path.isfile(pattern):
            found.append(str(pattern))
            continue
        if os.path.isdir(pattern):
            raise InputError(f"{str(pattern)!r} is a folder. Hint: '{pattern}/*.parquet'.")
        rows = connection.execute("SELECT file FROM glob(?)", [str(pattern)]).fetchall()
        if not rows:
            raise FileNotFoundError(f"no file {str(pattern)!r}")
        found += [file for (file,) in rows]
    for file in found:
        if _kind(file) is None:
            raise InputError(
                f"{file!r} has no known ending. Hint: .parquet, .csv, .tsv or .jsonl; read others "
                "with a query, such as scan(\"FROM read_csv('events.log')\")."
            )
    return sorted(dict.fromkeys(found))


def _kind(file: str) -> str | None:
    endings = [e.lower() for e in Path(file).suffixes if e not in (".gz", ".zst", ".bz2")]
    return KINDS.get(endings[-1]) if endings else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn errors of DuckDB into ours that name the file; no row's content in the message."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise InputError(
            f"{name} does not fit into DuckDB's share of the memory, half of memory_limit. "
            f"Hint: a larger memory_limit=, or fewer columns in the query. ({_reason(error)})"
        ) from None
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if "No space left" in str(error):
            raise StorageError(
                f"The disk is full while DuckDB sorts or joins {name}. Hint: give spill_folder= "
                "a folder on a larger disk."
            ) from None
        if isinstance(error, FileNotFoundError):
            raise
        raise InputError(f"{name} cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the first line of a message without the content of a row."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    first = re.sub(r"(Original Line|Could not convert string).*", "", lines[0] if lines else "")
    return first.strip() or type(error).__name__
