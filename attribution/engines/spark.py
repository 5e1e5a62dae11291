"""Spark, the distributed engine: events in a DataFrame, cut on the executors.

`scan` looks at the log once (where it ends, which types and channels there are, whether rows fit).
Every pass over the result then brings all events of a user to one partition, where the kernel that
works in memory cuts journeys and sums the statistics up; partial sums are added on the executors
and solved on the driver.

The library must be installed on the executors, in the Python that Spark starts there
(`PYSPARK_PYTHON`). Only DataFrame operations are used, so that Spark Connect works too.

Sizing
------
A Python worker needs about 150 MB for the libraries and, beside that, `memory_limit` at most:
events beyond it are spilled to the worker's temporary folder. So a partition may have any size;
1 to 5 million touches keep all in memory (20 bytes a touch, and about 160 while a million of them
is cut). Allow for it in `spark.executor.memoryOverhead`: executor cores x (150 MB + memory_limit).
All events of one user are in one partition, whoever is much larger than the rest; a user of a
million touches still takes but a second. What Spark's shuffle needs is the executor's own memory.

Spark has no timestamps in nanoseconds and refuses to read Parquet files with them ("Illegal Parquet
type: INT64 (TIMESTAMP(NANOS,...))"): write microseconds, or set
`spark.sql.legacy.parquet.nanosAsLong` and convert the number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from attribution.arrays import FrozenDict
from attribution.errors import (
    AttributionError,
    ColumnNotFoundError,
    InputError,
    MissingDependencyError,
)
from attribution.ingest import columns
from attribution.ingest.batches import Batches, wanted
from attribution.ingest.events import Context
from attribution.ingest.facts import Facts
from attribution.ingest.log import repeated_conversions
from attribution.ingest.repeats import RepeatedConversions
from attribution.ingest.store import EventStore, Run
from attribution.ingest.stream import PARTITION, Counted, count_partitions
from attribution.ingest.table import Source
from attribution.journeys import Journeys
from attribution.sizes import Size, n_bytes
from attribution.spec import EventSpec
from attribution.sums import add_up

try:
    from pyspark import cloudpickle
    from pyspark.sql import functions as F  # noqa: N812 - as everybody names it
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingDependencyError(
        "attribution.engines.spark needs pyspark. "
        "Hint: pip install 'multitouch-attribution[spark]'."
    ) from error

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from attribution.ingest.identity import Identity

T = TypeVar("T")

FAN = 16  # partial sums that one task adds up
ROWS = 500_000  # of the small batches that Spark sends, read at once
TABLE, PERSON = "attribution_table", "attribution_person"
PAYLOAD = "number int, payload binary"


@dataclass(frozen=True)
class _Job:
    """What a task needs: travels to the executors."""

    spec: EventSpec
    identity: Identity | None
    tables: tuple[tuple[str, ...], ...]
    repeated: tuple[RepeatedConversions | None, ...]
    memory: int

    def batches(self, number: int) -> Batches:
        """Return how table `number` is read: events, then conversions of their own."""
        return Batches(
            lambda names: (), of_conversions=number == 1, with_conversions=len(self.tables) == 1
        )

    def runs(self, records: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, Run]]:
        """Read the rows of a partition; yield the number of their table too."""
        name = f"partition {_partition_id()}"
        first_row = 0
        for table in _gathered(records):
            for number, columns_ in enumerate(self.tables):
                rows = _rows_of(table, number, columns_)
                if len(rows):
                    source = Source(name, first_row, self.identity, self.repeated[number])
                    yield number, Run(self.batches(number).log(rows, self.spec, source))
            first_row += len(table)


class SparkJourneys:
    """The journeys of a log in Spark; `compare` and every model take it in place of `Journeys`.

    Every pass over it is a Spark job. Cache the DataFrame where it is expensive to make.

    Attributes
    ----------
    spec
        The options of ingestion, with what was found in the log.
    channels
        The n_channels names, sorted.
    n_events
        Number of touches and conversions.
    n_partitions
        Over how many partitions the users are spread.
    """

    def __init__(self, rows: DataFrame, job: _Job, facts: Facts, n_partitions: int) -> None:
        self._context = Context.of(job.spec, facts)
        self._rows, self._job = rows, job
        self.n_partitions = n_partitions
        self.spec, self.channels = self._context.spec, self._context.facts.channels
        self.n_events = facts.n_touches + facts.n_conversions
        self._audit: Mapping[str, float] | None = None

    def __repr__(self) -> str:
        return (
            f"<SparkJourneys: {self.n_events:,} events, {len(self.channels):,} channels, "
            f"{self.n_partitions:,} partitions>"
        )

    @property
    def audit(self) -> Mapping[str, float]:
        """What was read, used, dropped and why; complete after the first pass."""
        return FrozenDict(self._context.facts.audit if self._audit is None else self._audit)

    def sum_of(self, function: Callable[[Journeys], T]) -> T:
        """Return the sum of an additive function of the journeys, added up on the executors."""
        task = partial(_summarize, self._job, self._context, function)
        sums = self._rows.mapInArrow(task, PAYLOAD)
        left = self.n_partitions
        while left > FAN:
            group = F.floor(F.col("number") / FAN).alias("group")
            sums = sums.groupBy(group).applyInArrow(_add_up, PAYLOAD)
            left = -(-left // FAN)
        total: Counted[T] = add_up(_unpacked(sums.toArrow()))
        if self._audit is None:
            self._audit = total.audit
            total.warn(self.channels)
        return total.result


def scan(
    events: DataFrame,
    *,
    conversion_events: DataFrame | None = None,
    partitions: int | None = None,
    memory_limit: Size = "1GB",
    identity: Identity | None = None,
    **options: Any,
) -> SparkJourneys:
    """Look at an event log in Spark and return its journeys, which are cut where they lie.

    Parameters
    ----------
    events
        A Spark DataFrame of any session, with one row per event.
    conversion_events
        A table of conversions of its own, likewise.
    partitions
        Over how many partitions to spread the users; by default one per million events, at least
        as many as the session's parallelism.
    memory_limit
        About how much memory one Python worker may take beside Python and its libraries.
    identity
        Which ids are one person.
    **options
        The columns and options of `Journeys.from_events`.

    Returns
    -------
    SparkJourneys
        For `compare` and every model.

    Raises
    ------
    InputError
        If an option or the data do not fit; rows are counted within a partition of `events`.
    """
    spec = EventSpec.of(**options)
    frames = [events] if conversion_events is None else [events, conversion_events]
    for what, frame in zip(("events", "conversion_events"), frames, strict=False):
        if not hasattr(frame, "mapInArrow"):
            raise InputError(
                f"{what} is a {type(frame).__name__}, not a Spark DataFrame. Hint: "
                "spark.createDataFrame(table) or spark.read.parquet(path)."
            )
    if partitions is not None and partitions < 1:
        raise InputError(f"partitions={partitions!r} is not a positive number.")
    frames = [_chosen(frame, spec) for frame in frames]
    job = _Job(
        spec,
        identity,
        tuple(tuple(frame.columns) for frame in frames),
        tuple(
            _repeated(frame, spec, identity, number, len(frames))
            for number, frame in enumerate(frames)
        ),
        n_bytes(memory_limit, "memory_limit") // 4,
    )
    rows = _united(frames)
    found = list(_unpacked(rows.mapInArrow(partial(_survey, job), PAYLOAD).toArrow()))
    for number, what in enumerate(("events", "conversion_events")[: len(frames)]):
        if not any(facts[number] for facts in found):
            raise InputError(f"{what} is empty: 0 rows. Hint: check the filter or the files.")
    facts = add_up(each for facts in found for each in facts if each is not None)
    n_events = facts.n_touches + facts.n_conversions
    if partitions is None:
        partitions = max(-(-n_events // PARTITION), _parallelism(events))
    if identity is not None or len(frames) > 1:
        rows = _with_person(rows, job).repartition(partitions, PERSON)
    else:
        rows = rows.repartition(partitions, _name(0, spec.user))
    return SparkJourneys(rows, job, facts, partitions)


def _chosen(frame: DataFrame, spec: EventSpec) -> DataFrame:
    """Keep only the columns that the options name, those that there are."""
    present = [name for name in frame.columns if name in wanted(spec)]
    if spec.user not in present:
        known = ", ".join(map(repr, frame.columns[:20]))
        raise ColumnNotFoundError(f"No column {spec.user!r}. The columns are {known}.")
    return frame.select(*(F.col(f"`{name.replace('`', '``')}`") for name in present))


def _name(number: int, column: str) -> str:
    return f"`{number}|{column.replace('`', '``')}`"


def _united(frames: list[DataFrame]) -> DataFrame:
    """Put tables one under the other, each in columns of its own, so that no type changes."""
    marked = [
        frame.toDF(*(f"{number}|{name}" for name in frame.columns)).withColumn(TABLE, F.lit(number))
        for number, frame in enumerate(frames)
    ]
    if len(marked) == 1:
        return marked[0]
    return marked[0].unionByName(marked[1], allowMissingColumns=True)


def _rows_of(table: pa.Table, number: int, names: tuple[str, ...]) -> pa.Table:
    """Return the rows of one of the united tables under their own names."""
    chosen = table.filter(pc.equal(table[TABLE], number))
    return chosen.select([f"{number}|{name}" for name in names]).rename_columns(list(names))


def _with_person(rows: DataFrame, job: _Job) -> DataFrame:
    """Add the key of each row's person."""

    def add(records: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in _gathered(records):
            for number in range(len(job.tables)):
                mine = table.filter(pc.equal(table[TABLE], number))
                if len(mine):
                    name = job.spec.user
                    keys, _, _ = columns.user_keys(mine[f"{number}|{name}"], name)
                    if job.identity is not None:
                        keys, _ = job.identity.apply(keys)
                    yield from mine.append_column(PERSON, pa.array(keys)).to_batches()

    schema = rows.withColumn(PERSON, F.lit(0).cast("long")).schema
    return rows.mapInArrow(add, schema)


def _repeated(
    frame: DataFrame, spec: EventSpec, identity: Identity | None, number: int, n_tables: int
) -> RepeatedConversions | None:
    """Find the conversion ids that several rows have, if ids are given."""
    name = spec.conversion_id
    if name is None or number != n_tables - 1 or name not in frame.columns:
        return None
    id_ = F.col(f"`{name}`")
    rows = frame.where(id_.isNotNull())
    if spec.conversion in frame.columns:
        rows = rows.where(F.col(f"`{spec.conversion}`").try_cast("double") > 0)
    twice = rows.groupBy(id_).count().where("count > 1").drop("count")
    table = rows.join(twice, name, "left_semi").toArrow()
    if not len(table):
        return RepeatedConversions({})
    return repeated_conversions(table, spec, Source(identity=identity), number == 1)


def _survey(job: _Job, records: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the facts of each table in a partition, or what does not fit."""
    found: list[Facts | None] = [None] * len(job.tables)
    try:
        lenient = replace(job, repeated=(RepeatedConversions({}),) * len(job.tables))
        for number, run in lenient.runs(records):
            known = found[number]
            found[number] = run.facts if known is None else known + run.facts
    except AttributionError as error:
        yield _packed(error)
        return
    yield _packed(found)


def _summarize(
    job: _Job,
    context: Context,
    function: Callable[[Journeys], Any],
    records: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Return the sum of a function of the journeys of a partition, with what was counted."""
    store = EventStore(job.memory)
    try:
        try:
            for _, run in job.runs(records):
                store.add(run)
            if store.facts is None:
                return
            here = replace(context, facts=replace(context.facts, audit=store.facts.audit))
            parts = count_partitions(store, here, store.ranges(PARTITION), function, threads=1)
            yield _packed(add_up(parts))
        except AttributionError as error:
            yield _packed(error)
    finally:
        store.close()


def _add_up(group: pa.Table) -> pa.Table:
    """Add up some partial sums in the order of their partitions."""
    number = min(group["number"].to_pylist()) // FAN
    try:
        return pa.Table.from_batches([_packed(add_up(_unpacked(group)), number)])
    except AttributionError as error:
        return pa.Table.from_batches([_packed(error, number)])


def _packed(result: Any, number: int | None = None) -> pa.RecordBatch:
    number = _partition_id() if number is None else number
    payload = pa.array([cloudpickle.dumps(result)], pa.binary())  # type: ignore[no-untyped-call]
    return pa.RecordBatch.from_arrays(
        [pa.array([number], pa.int32()), payload], ["number", "payload"]
    )


def _unpacked(table: pa.Table) -> list[Any]:
    """Return what tasks have returned, in order; raise what they have found wrong.

    Raises
    ------
    InputError
        The one of the first partition that has one.
    """
    pairs = zip(table["number"].to_pylist(), table["payload"].to_pylist(), strict=True)
    results = [cloudpickle.loads(payload) for _, payload in sorted(pairs, key=lambda p: p[0])]
    for result in results:
        if isinstance(result, AttributionError):
            raise result
    return results


def _gathered(records: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join small batches into tables of some hundred thousand rows."""
    waiting: list[pa.RecordBatch] = []
    n_rows = 0
    for record in records:
        waiting.append(record)
        n_rows += len(record)
        if n_rows >= ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, n_rows = [], 0
    if n_rows:
        yield pa.Table.from_batches(waiting)


def _partition_id() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else context.partitionId()


def _parallelism(frame: DataFrame) -> int:
    """Return the default parallelism of the session; 1 where it does not say (Connect)."""
    try:
        return int(frame.sparkSession.sparkContext.defaultParallelism)
    except Exception:  # Connect raises its own error; there the size of the log decides
        return 1
