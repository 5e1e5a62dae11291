"""Journeys of a log in partitions by user, as often as wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from attribution.arrays import FrozenDict
from attribution.errors import InputError
from attribution.ingest.checks import warn_of_contents
from attribution.ingest.events import Context, cut_block, journeys_of, warn_of_ties
from attribution.ingest.store import EventStore
from attribution.journeys import Journeys
from attribution.progress import progress
from attribution.spec import EventSpec
from attribution.sums import add_up
from attribution.threads import ahead

T = TypeVar("T")

PARTITION = 1_000_000


@dataclass(frozen=True)
class Counted(Generic[T]):
    """Some figure of a part of the journeys, and what was counted on the way; additive.

    Attributes
    ----------
    audit
        See `attribution.audit`.
    n_filled
        Rows that have touches.
    n_converted
        Conversions.
    result
        The figure; None where there is no journey at all.
    """

    audit: Mapping[str, float]
    n_filled: int
    n_converted: float
    result: T

    def __add__(self, other: Counted[Any]) -> Counted[Any]:
        keys = sorted({*self.audit, *other.audit})
        return Counted(
            {key: self.audit.get(key, 0.0) + other.audit.get(key, 0.0) for key in keys},
            self.n_filled + other.n_filled,
            self.n_converted + other.n_converted,
            self.result + other.result,
        )

    def warn(self, channels: tuple[str, ...]) -> None:
        """Warn of what surprises in the whole log."""
        warn_of_ties(self.audit, self.n_filled)
        warn_of_contents(channels, self.n_converted > 0)


def count_partitions(
    store: EventStore,
    context: Context,
    ranges: Sequence[tuple[int, int]],
    function: Callable[[Journeys], T],
    threads: int | None = None,
) -> Iterator[Counted[T]]:
    """Yield a function of the journeys of each range of buckets, called in threads, in order."""

    def work(number: int) -> Counted[T]:
        blocks = [cut_block(context, *b) for b in store.read(*ranges[number], context.facts)]
        journeys = journeys_of(blocks, context, context.facts.audit if number == 0 else {})
        del blocks
        n_filled = int((journeys.lengths > 0).sum())
        converted = float(journeys.conversions.sum())
        return Counted(journeys.audit, n_filled, converted, function(journeys))

    return ahead(work, progress(range(len(ranges)), len(ranges), "partitions"), threads)


class JourneyStream(Iterable[Journeys]):
    """The journeys of a log in partitions by user; iterate it any number of times.

    `compare` and every model take it in place of `Journeys`. Partitions are cut in threads, a few
    ahead. Spill files go when it is closed, collected, or the process ends:

        with duckdb.scan("events/*.parquet") as journeys:
            comparison = compare(journeys)

    Attributes
    ----------
    spec
        The options of ingestion, with what was found in the log.
    channels
        The n_channels names, sorted.
    n_events
        Number of touches and conversions.
    n_partitions
        Into how many parts the users are spread.
    """

    def __init__(self, store: EventStore, spec: EventSpec, partitions: int | None = None) -> None:
        assert store.facts is not None
        self._context = Context.of(spec, store.facts)
        self._store: EventStore | None = store
        self.spec = self._context.spec
        self.channels = self._context.facts.channels
        self.n_events = store.n_events
        size = PARTITION if partitions is None else max(1, -(-self.n_events // partitions))
        self._ranges = store.ranges(size)
        self._audit: dict[str, float] | None = None

    def __repr__(self) -> str:
        state = ", closed" if self._store is None else ""
        return (
            f"<JourneyStream: {self.n_events:,} events, {len(self.channels):,} channels, "
            f"{self.n_partitions:,} partitions{state}>"
        )

    @property
    def n_partitions(self) -> int:
        """Into how many parts the users are spread."""
        return len(self._ranges)

    @property
    def audit(self) -> Mapping[str, float]:
        """What was read, used, dropped and why; complete once every partition was read."""
        return FrozenDict(self._context.facts.audit if self._audit is None else self._audit)

    def __iter__(self) -> Iterator[Journeys]:
        return self.map(_itself)

    def map(self, function: Callable[[Journeys], T]) -> Iterator[T]:
        """Yield a function of the journeys of each partition, called in threads, in order."""
        total = Counted({}, 0, 0.0, 0)
        for part in count_partitions(self._opened(), self._context, self._ranges, function):
            total += Counted(part.audit, part.n_filled, part.n_converted, 0)
            yield part.result
        if self._audit is None:
            self._audit = dict(total.audit)
            total.warn(self.channels)

    def sum_of(self, function: Callable[[Journeys], T]) -> T:
        """Return the sum of an additive function of the journeys of each partition."""
        total: T = add_up(self.map(function))
        return total

    def close(self) -> None:
        """Remove the spill files; the stream cannot be read any more."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(self) -> EventStore:
        if self._store is None:
            raise InputError("The stream is closed. Hint: scan again, or read it before closing.")
        return self._store


def _itself(journeys: Journeys) -> Journeys:
    return journeys
