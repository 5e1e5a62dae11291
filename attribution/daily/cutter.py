"""The events of a state and of today, cut into journeys that are closed and those still open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from attribution.compare import Summaries, summarize
from attribution.daily.carry import carried
from attribution.ingest.events import Context, cut_block, journeys_of
from attribution.ingest.log import Log
from attribution.ingest.store import EventStore
from attribution.ingest.stream import PARTITION
from attribution.ingest.table import Table
from attribution.journeys import Journeys
from attribution.models.base import Model, sum_over
from attribution.progress import progress
from attribution.spec import EventSpec
from attribution.threads import ahead


@dataclass(frozen=True)
class Cutter:
    """Cuts the events in a store into journeys that are closed now and those that are open.

    Attributes
    ----------
    spec
        The options, without `observed_until`.
    models, only_type
        What is counted.
    now
        Up to when events are complete.
    before
        Journeys settled by then have been counted; None: none have.
    """

    spec: EventSpec
    models: Mapping[str, Model]
    only_type: str | None
    now: int
    before: int | None

    def cut(self, store: EventStore) -> Iterator[Cut]:
        """Yield what is cut from each partition of users."""
        if not store.n_events:
            return
        assert store.facts is not None
        whole = replace(self.spec, observed_until=self.now, report_from=None, report_until=None)
        context = Context.of(whole, store.facts)
        ranges = store.ranges(PARTITION)
        work = partial(self._cut, store, context)
        yield from ahead(work, progress(ranges, len(ranges), "partitions"))

    def _cut(self, store: EventStore, context: Context, buckets: tuple[int, int]) -> Cut:
        blocks, waiting = [], []
        for touches, conversions in store.read(*buckets, context.facts):
            now = [each.take(each.time <= self.now) for each in (touches, conversions)]
            later = [each.take(each.time > self.now) for each in (touches, conversions)]
            block = cut_block(context, now[0], now[1])
            keep = carried(now[0], now[1], block, context.options)
            kept = [each.take(mask) for each, mask in zip(now, keep, strict=True)]
            waiting.append([Table.concat(pair) for pair in zip(kept, later, strict=True)])
            blocks.append(block)
        types = context.spec.conversion_types
        journeys = replace(
            journeys_of(blocks, context, {}), spec=replace(self.spec, conversion_types=types)
        )
        settled = np.concatenate([block.settled for block in blocks])
        new = settled <= self.now
        if self.before is not None:
            new &= settled > self.before
        left_out: dict[str, float] = {}
        closed = self._summarize(self._reported(journeys.select(new), left_out))
        still = self._summarize(self._reported(journeys.select(settled > self.now), {}))
        tables = [Table.concat([pair[i] for pair in waiting]) for i in (0, 1)]
        return Cut(closed, still, Log(tables[0], tables[1], context.facts), left_out)

    def _reported(self, journeys: Journeys, left_out: dict[str, float]) -> Journeys:
        """Keep the journeys that end in the reporting window; count the others."""
        low, high = self.spec.report_from, self.spec.report_until
        ends = journeys.ends
        if (low is None and high is None) or ends is None:
            return journeys
        inside = np.ones(len(ends), dtype=bool)
        if low is not None:
            inside &= ends >= low
        if high is not None:
            inside &= ends < high
        out = journeys.select(~inside)
        left_out["journeys_outside_report"] = out.n_journeys
        left_out["conversions_outside_report"] = float(out.conversions.sum())
        if out.values is not None:
            left_out["value_outside_report"] = float(out.values.sum())
        return journeys.select(inside)

    def _summarize(self, journeys: Journeys) -> Summaries:
        if self.only_type is not None:
            journeys = journeys.of_type(self.only_type)
        return sum_over(journeys, partial(summarize, self.models))


@dataclass(frozen=True)
class Cut:
    """What is cut from one partition of users.

    Attributes
    ----------
    closed, open
        Statistics of journeys newly closed, and of those open.
    waiting
        The events that the next update needs.
    left_out
        Closed journeys outside the reporting window, for the audit.
    """

    closed: Summaries
    open: Summaries
    waiting: Log
    left_out: Mapping[str, float]
