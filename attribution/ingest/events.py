"""An event log becomes journeys: read, spread over blocks of users, cut, join.

Users are spread over blocks by a hash of their key. A block fits into the processor's cache, is
sorted and cut by `attribution.ingest.cutting`, and blocks run in threads: the result does not
depend on how many.
"""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from attribution.arrays import Array, Coded, FloatArray, IntArray, read_only
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
from attribution.ingest.log import Log, read_log
from attribution.ingest.reading import Table
from attribution.journeys import Journeys
from attribution.progress import progress
from attribution.segments import offsets_of
from attribution.spec import EventSpec

BLOCK = 50_000
TIE_WARNING = 0.01


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
    n_events: int
    audit: dict[str, float]


def journeys_from_events(events: Any, conversion_events: Any, spec: EventSpec) -> Journeys:
    """Build journeys from an event log; see `Journeys.from_events`."""
    log = read_log(events, conversion_events, spec)
    times = [table.time for table in (log.touches, log.conversions) if len(table.time)]
    if not times:
        raise InputError(
            "No touch and no conversion is left to build journeys from. Hint: look at "
            "observed_until, on_invalid and channel_missing."
        )
    observed = spec.observed_until
    if observed is None:
        observed = max(int(t.max()) for t in times)
    options = Options(
        inactivity=spec.inactivity or spec.longest_lookback or int(FOREVER),
        observed_until=observed,
        longest_lookback=spec.longest_lookback or int(FOREVER),
        reuse_touches=spec.reuse_touches,
        session_gap=spec.session_gap,
        sessions=spec.session is not None,
        by_type=len(log.types) > 0,
    )
    first_event = min(int(t.min()) for t in times)
    n_events = len(log.touches.user) + len(log.conversions.user)
    bits = min(16, max(0, int(np.ceil(np.log2(n_events / BLOCK)))))
    touch_blocks = spread(log.touches.user, bits)
    conversion_blocks = spread(log.conversions.user, bits)
    make = partial(_block, log, spec, options, first_event)
    skipped = {"n_events", "audit"}
    if not spec.reuse_touches and len(log.types) < 2:
        skipped.add("touch_ids")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(make, touch_blocks, conversion_blocks)
        blocks = list(progress(made, 2**bits, "journeys"))
        names = [field.name for field in fields(Block) if field.name not in skipped]
        columns = dict(zip(names, pool.map(partial(_joined, blocks), names), strict=True))
    if log.types:
        spec = replace(spec, conversion_types=log.types)
    if spec.closed_only or spec.report_from is not None or spec.report_until is not None:
        spec = replace(spec, observed_until=observed)
    return warn_about(_journeys(blocks, columns, log, spec))


def _joined(blocks: list[Block], name: str) -> Any:
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


def _block(
    log: Log,
    spec: EventSpec,
    options: Options,
    first_event: int,
    touch_index: IntArray,
    conversion_index: IntArray,
) -> Block:
    """Cut the events of one block of users into journeys of every type."""
    events = sort_events(
        _events(log.touches.take(touch_index), log.conversions.take(conversion_index))
    )
    audit: defaultdict[str, float] = defaultdict(float)
    audit["duplicate_events"] = count_duplicates(events)
    if options.sessions or options.session_gap is not None:
        keep = first_of_sessions(events, options)
        audit["touches_merged_in_sessions"] = float((~keep).sum())
        events = events.take(keep)
    parts = []
    for code in range(max(1, len(log.types))):
        rows = cut(events, code, options)
        audit["touches_older_than_lookback"] += rows.touches_too_old
        audit["conversions_cut_off"] += count_cut_off(events, rows, code, options)
        parts.append(_report(rows, events, spec, options, first_event, audit))
    rows = parts[0] if len(parts) == 1 else _concat(parts)
    first, last = count_ties(events, rows)
    audit["first_touch_ties"], audit["last_touch_ties"] = first, last
    names = list(log.attributes)
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
            name: _end_to_end(getattr(touches, name), getattr(conversions, name)) for name in shared
        },
    )


def _end_to_end(a: Array, b: Array) -> Array:
    """Join two columns; where both are constant and equal, without memory of its own."""
    if a.strides == b.strides == (0,) and a[:1].sum() == b[:1].sum():
        return np.broadcast_to(a[:1].sum(), len(a) + len(b))
    return np.concatenate([a, b], axis=-1)


def _report(
    rows: Rows,
    events: Events,
    spec: EventSpec,
    options: Options,
    first_event: int,
    audit: dict[str, float],
) -> Rows:
    """Count what the lookback left out, and keep the journeys that the options ask for."""
    n_touches = np.diff(rows.offsets)
    window = spec.longest_lookback
    converts = rows.count > 0
    begin = rows.end.copy()
    begin[n_touches > 0] = events.time[rows.touch[rows.offsets[:-1][n_touches > 0]]]
    if window is not None:
        truncated = converts & (rows.end - window < first_event)
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


def _journeys(blocks: list[Block], columns: dict[str, Any], log: Log, spec: EventSpec) -> Journeys:
    """Make one immutable table of the joined columns, with its audit."""
    audit = defaultdict(float, log.audit)
    for block in blocks:
        for key, count in block.audit.items():
            audit[key] += count
    count = columns["count"]
    journeys = Journeys(
        channels=log.channels,
        codes=columns["codes"],
        offsets=read_only(offsets_of(columns["lengths"])),
        conversions=count,
        nulls=read_only((count == 0).astype(np.float64)),
        values=None if spec.value is None else columns["value"],
        times=columns["times"],
        touch_ids=columns.get("touch_ids"),
        ends=columns["end"],
        users=columns["user"],
        conversion_types=Coded(columns["type_code"], log.types) if log.types else None,
        touch_attributes=_coded(columns["touch_attributes"], spec.attributes, log),
        journey_attributes=_coded(columns["journey_attributes"], spec.journey_attributes, log),
        spec=spec,
        audit=dict(sorted(audit.items())),
    )
    _warn_of_ties(journeys)
    return journeys


def _coded(matrix: IntArray, names: tuple[str, ...], log: Log) -> dict[str, Coded]:
    return {name: Coded(matrix[i], log.attributes[name]) for i, name in enumerate(names)}


def _warn_of_ties(journeys: Journeys) -> None:
    """Warn where the order of simultaneous touches decides more than 1 % of journeys."""
    n_rows = max(1, int((journeys.lengths > 0).sum()))
    ties = max(journeys.audit["first_touch_ties"], journeys.audit["last_touch_ties"])
    if ties > TIE_WARNING * n_rows:
        warn(
            f"In {ties:,.0f} of {n_rows:,} journeys the first or last touch is decided by the name "
            "of its channel, because two touches have the same time. Hint: name a column that "
            "orders them with order=, or keep finer times."
        )
