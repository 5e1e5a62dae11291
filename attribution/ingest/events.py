"""An event log becomes journeys: read, spread over blocks of users, cut, join.

Users are spread over blocks by a hash of their key. A block fits into the processor's cache, is
sorted and cut by `attribution.ingest.cutting`, and blocks run in threads: the result does not
depend on how many. What a block must know of the whole log is its `Context`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import Coded, FloatArray, IntArray, read_only
from attribution.errors import InputError, warn
from attribution.ingest.checks import warn_about
from attribution.ingest.cutting import (
    FOREVER,
    Events,
    Options,
    Rows,
    count_cut_off,
    count_duplicates,
    count_ties,
    cut,
    filter_rows,
    first_of_sessions,
    mixed,
    sort_events,
)
from attribution.ingest.facts import Facts
from attribution.ingest.log import read_log
from attribution.ingest.table import Source, Table, end_to_end
from attribution.journeys import Journeys
from attribution.progress import progress
from attribution.segments import offsets_of
from attribution.spec import EventSpec

if TYPE_CHECKING:
    from attribution.ingest.identity import Identity

BLOCK = 50_000
TIE_WARNING = 0.01


@dataclass(frozen=True)
class Context:
    """What must be known of the whole log to cut the events of some users.

    Attributes
    ----------
    spec
        The options; with types, and moments that decide, as found in the log.
    facts
        Of the whole log, `types` as in the spec.
    options
        What the kernel needs of them.
    first_event
        Where the log begins.
    """

    spec: EventSpec
    facts: Facts
    options: Options
    first_event: int

    @classmethod
    def of(cls, spec: EventSpec, facts: Facts) -> Context:
        """Return the context of a log.

        Raises
        ------
        InputError
            If there is no event, or an attribute that no table has.
        """
        facts.require_attributes()
        if facts.first is None or facts.last is None:
            raise InputError(
                "No touch and no conversion is left to build journeys from. Hint: look at "
                "observed_until, on_invalid and channel_missing."
            )
        types = spec.conversion_types or facts.types
        observed = facts.last if spec.observed_until is None else spec.observed_until
        options = Options(
            inactivity=spec.inactivity or spec.longest_lookback or int(FOREVER),
            observed_until=observed,
            longest_lookback=spec.longest_lookback or int(FOREVER),
            reuse_touches=spec.reuse_touches,
            session_gap=spec.session_gap,
            sessions=spec.session is not None,
            by_type=bool(types),
        )
        if types:
            spec = replace(spec, conversion_types=types)
        if spec.closed_only or spec.report_from is not None or spec.report_until is not None:
            spec = replace(spec, observed_until=observed)
        return cls(spec, replace(facts, types=types), options, facts.first)

    @property
    def types(self) -> tuple[str, ...]:
        """The types of conversion; none where there is but one kind."""
        return self.facts.types or ()


@dataclass(frozen=True)
class Block:
    """The journeys of one block of users, per touch and per row."""

    codes: IntArray
    times: IntArray
    touch_ids: IntArray
    touch_attributes: IntArray
    lengths: IntArray
    end: IntArray
    user: IntArray
    count: FloatArray
    value: FloatArray
    type_code: IntArray
    journey_attributes: IntArray
    settled: IntArray
    n_events: int
    audit: dict[str, float]


def journeys_from_events(
    events: Any, conversion_events: Any, spec: EventSpec, identity: Identity | None = None
) -> Journeys:
    """Build journeys from an event log; see `Journeys.from_events`."""
    log = read_log(events, conversion_events, spec, Source(identity=identity))
    context = Context.of(spec, log.facts)
    log = log.aligned(context.facts)
    n_events = log.facts.n_touches + log.facts.n_conversions
    bits = min(16, max(0, int(np.ceil(np.log2(n_events / BLOCK)))))
    touch_blocks = spread(log.touches.user, bits)
    conversion_blocks = spread(log.conversions.user, bits)

    def make(touches: IntArray, conversions: IntArray) -> Block:
        return cut_block(context, log.touches.take(touches), log.conversions.take(conversions))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(make, touch_blocks, conversion_blocks)
        blocks = list(progress(made, 2**bits, "journeys"))
        journeys = journeys_of(blocks, context, log.facts.audit, pool)
    warn_of_ties(journeys.audit, int((journeys.lengths > 0).sum()))
    return warn_about(journeys)


def journeys_of(
    blocks: Sequence[Block],
    context: Context,
    audit: dict[str, float],
    pool: ThreadPoolExecutor | None = None,
) -> Journeys:
    """Join blocks into one immutable table, with the audit of their reading and their own."""
    spec, facts, types = context.spec, context.facts, context.types
    skipped = {"n_events", "audit", "settled"}
    if not spec.reuse_touches and len(types) < 2:
        skipped.add("touch_ids")
    names = [field.name for field in fields(Block) if field.name not in skipped]
    each = map if pool is None else pool.map
    columns: dict[str, Any] = dict(zip(names, each(partial(_joined, blocks), names), strict=True))
    total = defaultdict(float, audit)
    for block in blocks:
        for key, count in block.audit.items():
            total[key] += count
    count = columns["count"]
    return Journeys(
        channels=facts.channels,
        codes=columns["codes"],
        offsets=read_only(offsets_of(columns["lengths"])),
        conversions=count,
        nulls=read_only((count == 0).astype(np.float64)),
        values=None if spec.value is None else columns["value"],
        times=columns["times"],
        touch_ids=columns.get("touch_ids"),
        ends=columns["end"],
        users=columns["user"],
        conversion_types=Coded(columns["type_code"], types) if types else None,
        touch_attributes=_coded(columns["touch_attributes"], spec.attributes, facts),
        journey_attributes=_coded(columns["journey_attributes"], spec.journey_attributes, facts),
        spec=spec,
        audit=dict(sorted(total.items())),
    )


def _joined(blocks: Sequence[Block], name: str) -> Any:
    """Join one column of all blocks."""
    if name == "touch_ids":
        base = np.cumsum([0] + [block.n_events for block in blocks])
        parts = [block.touch_ids + first for block, first in zip(blocks, base, strict=False)]
    else:
        parts = [getattr(block, name) for block in blocks]
    return read_only(np.concatenate(parts, axis=-1))


def spread(users: IntArray, bits: int) -> list[IntArray]:
    """Return for each of 2**bits blocks the index of its users' events, in order."""
    if bits == 0:
        return [np.arange(len(users))]
    block = mixed(users)
    block >>= np.uint64(64 - bits)
    block = block.astype(np.uint8 if bits <= 8 else np.uint16)
    order = np.argsort(block, kind="stable")
    return np.split(order, np.cumsum(np.bincount(block, minlength=2**bits))[:-1])


def cut_block(context: Context, touches: Table, conversions: Table) -> Block:
    """Cut the events of one block of users into journeys of every type."""
    spec, options = context.spec, context.options
    events = sort_events(_events(touches, conversions))
    audit: defaultdict[str, float] = defaultdict(float)
    audit["duplicate_events"] = count_duplicates(events)
    if options.sessions or options.session_gap is not None:
        keep = first_of_sessions(events, options)
        audit["touches_merged_in_sessions"] = float((~keep).sum())
        events = events.take(keep)
    parts = []
    for code in range(max(1, len(context.types))):
        rows = cut(events, code, options)
        audit["touches_older_than_lookback"] += rows.touches_too_old
        audit["conversions_cut_off"] += count_cut_off(events, rows, code, options)
        parts.append(_report(rows, events, context, audit))
    rows = parts[0] if len(parts) == 1 else _concat(parts)
    first, last = count_ties(events, rows)
    audit["first_touch_ties"], audit["last_touch_ties"] = first, last
    names = list(context.facts.attributes)
    per_touch = [names.index(name) for name in spec.attributes]
    per_row = [names.index(name) for name in spec.journey_attributes]
    return Block(
        codes=events.code[rows.touch].astype(np.int32),
        times=events.time[rows.touch],
        touch_ids=rows.touch,
        touch_attributes=events.attributes[per_touch][:, rows.touch],
        lengths=np.diff(rows.offsets).astype(np.int32),
        end=rows.end,
        user=rows.user,
        count=rows.count,
        value=rows.value,
        type_code=rows.type_code,
        journey_attributes=events.attributes[per_row][:, rows.event],
        settled=rows.settled,
        n_events=len(events.user),
        audit=dict(audit),
    )


def _events(touches: Table, conversions: Table) -> Events:
    """Join the touches and conversions of a block."""
    shared = [f.name for f in fields(Events) if f.name != "is_conversion"]
    n_touches, n_conversions = len(touches.user), len(conversions.user)
    return Events(
        is_conversion=np.repeat([False, True], [n_touches, n_conversions]),
        **{
            name: end_to_end([getattr(touches, name), getattr(conversions, name)])
            for name in shared
        },
    )


def _report(rows: Rows, events: Events, context: Context, audit: dict[str, float]) -> Rows:
    """Count what the lookback left out, and keep the journeys that the options ask for."""
    spec, options = context.spec, context.options
    n_touches = np.diff(rows.offsets)
    window = spec.longest_lookback
    converts = rows.count > 0
    begin = rows.end.copy()
    begin[n_touches > 0] = events.time[rows.touch[rows.offsets[:-1][n_touches > 0]]]
    if window is not None:
        truncated = converts & (rows.end - window < context.first_event)
        audit["conversions_left_truncated"] += float(rows.count[truncated].sum())
    keep = np.ones(len(converts), dtype=bool)
    if spec.report_from is not None:
        keep &= rows.end >= spec.report_from
    if spec.report_until is not None:
        keep &= rows.end < spec.report_until
    _count_left_out(rows, ~keep, "outside_report", audit)
    if spec.closed_only and window is not None:
        open_ = keep & (begin > options.observed_until - window)
        _count_left_out(rows, open_, "not_closed", audit)
        keep &= ~open_
    return rows if keep.all() else filter_rows(rows, keep)


def _count_left_out(rows: Rows, out: Any, why: str, audit: dict[str, float]) -> None:
    if out.any():
        audit[f"journeys_{why}"] += float(np.maximum(rows.count[out], rows.count[out] == 0).sum())
        audit[f"conversions_{why}"] += float(rows.count[out].sum())
        audit[f"value_{why}"] += float(rows.value[out].sum())


def _concat(parts: list[Rows]) -> Rows:
    """Join the rows of several types."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    columns = {field.name for field in fields(Rows)} - {"offsets", "touches_too_old"}
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in columns}
    too_old = sum(part.touches_too_old for part in parts)
    return Rows(offsets=offsets_of(lengths), touches_too_old=too_old, **joined)


def _coded(matrix: IntArray, names: tuple[str, ...], facts: Facts) -> dict[str, Coded]:
    return {
        name: Coded(read_only(matrix[i]), facts.attributes[name] or ())
        for i, name in enumerate(names)
    }


def warn_of_ties(audit: Mapping[str, float], n_rows: int) -> None:
    """Warn where the order of simultaneous touches decides more than 1 % of journeys."""
    ties = max(audit["first_touch_ties"], audit["last_touch_ties"])
    if ties > TIE_WARNING * max(1, n_rows):
        warn(
            f"In {ties:,.0f} of {n_rows:,} journeys the first or last touch is decided by the name "
            "of its channel, because two touches have the same time. Hint: name a column that "
            "orders them with order=, or keep finer times."
        )
