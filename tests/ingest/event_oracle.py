"""Cutting an event log into journeys, slowly: one user, one type, one event at a time.

Written from the conventions in `attribution.spec` and `Journeys.from_events`, not from the kernel.
Times are whole hours on a small grid; lists and loops only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from attribution import Journeys

HOUR = 3_600_000_000
START = pd.Timestamp("2025-01-01", tz="UTC")
START_US = START.value // 1000
ENDLESS = 10**9


@dataclass(frozen=True)
class Event:
    """One row of a log: a touch if it has a channel, a conversion if its count is not 0."""

    user: int
    time: int
    channel: str | None = None
    count: int = 0
    value: int | None = None
    kind: str | None = None
    touch_type: str = "click"
    session: str | None = None
    order: int | None = None
    campaign: str | None = None


@dataclass(frozen=True)
class Rules:
    """The options of `from_events` in hours; `kinds` says whether conversion types count."""

    lookback: int | dict[str, int] | None = 5
    inactivity: int | None = None
    reuse_touches: bool = False
    report_from: int | None = None
    report_until: int | None = None
    closed_only: bool = False
    observed_until: int | None = None
    session_gap: int | None = None
    session: bool = False
    order: bool = False
    kinds: bool = False
    channel_missing: str = "drop"

    def window(self, touch: Event) -> int:
        if isinstance(self.lookback, dict):
            return self.lookback[touch.touch_type]
        return ENDLESS if self.lookback is None else self.lookback

    @property
    def longest(self) -> int:
        if isinstance(self.lookback, dict):
            return max(self.lookback.values())
        return ENDLESS if self.lookback is None else self.lookback

    @property
    def pause(self) -> int:
        return self.longest if self.inactivity is None else self.inactivity

    def options(self) -> dict[str, Any]:
        """Return the same rules as arguments of `from_events`."""

        def hours(n: int | None) -> str | None:
            return None if n is None else f"{n}h"

        def moment(n: int | None) -> pd.Timestamp | None:
            return None if n is None else START + pd.Timedelta(hours=n)

        by_type = isinstance(self.lookback, dict)
        return {
            "lookback": (
                {name: hours(n) for name, n in self.lookback.items()}
                if isinstance(self.lookback, dict)
                else hours(self.lookback)
            ),
            "touch_type": "touch_type" if by_type else None,
            "inactivity": hours(self.inactivity),
            "reuse_touches": self.reuse_touches,
            "report_from": moment(self.report_from),
            "report_until": moment(self.report_until),
            "closed_only": self.closed_only,
            "observed_until": moment(self.observed_until),
            "session_gap": hours(self.session_gap),
            "session": "session" if self.session else None,
            "order": "order" if self.order else None,
            "conversion_type": "kind" if self.kinds else None,
            "channel_missing": self.channel_missing,
            "value": "value",
            "attributes": ["campaign"],
            "journey_attributes": ["campaign"],
        }


class Row(NamedTuple):
    """One journey; of a conversion of count 2 there is one row with conversions 2."""

    user: int
    path: tuple[str, ...]
    times: tuple[int, ...]
    campaigns: tuple[str | None, ...]
    end: int
    conversions: int
    nulls: int
    value: int
    kind: str | None


def expected(log: list[Event], rules: Rules) -> tuple[list[Row], Counter[str]]:
    """Return the journeys of a log, and what the audit should count."""
    audit: Counter[str] = Counter()
    touches, conversions = [], []
    for event in log:
        if event.count:
            conversions.append(event)
        if event.channel is not None:
            touches.append(event)
        elif not event.count:
            audit["touches_without_channel"] += 1
            if rules.channel_missing == "direct":
                touches.append(Event(**{**vars(event), "channel": "direct"}))
    audit["touches_read"] = len(touches)
    audit["conversions_read"] = sum(c.count for c in conversions)
    audit["value_read"] = sum(c.value or 0 for c in conversions)
    if rules.observed_until is not None:
        late = [c for c in conversions if c.time > rules.observed_until]
        audit["conversions_after_observed_until"] = sum(c.count for c in late)
        audit["value_after_observed_until"] = sum(c.value or 0 for c in late)
        conversions = [c for c in conversions if c.time <= rules.observed_until]
        n_read = len(touches)
        touches = [t for t in touches if t.time <= rules.observed_until]
        audit["touches_after_observed_until"] = n_read - len(touches)
    every = touches + conversions
    if not every:
        return [], audit
    first = min(e.time for e in every)
    observed = rules.observed_until
    if observed is None:
        observed = max(e.time for e in every)
    kinds = sorted({c.kind for c in conversions}) if rules.kinds and conversions else [None]
    rows = []
    for user in sorted({e.user for e in every}):
        mine = in_order([t for t in touches if t.user == user], rules)
        kept = one_per_session(mine, rules)
        audit["touches_merged_in_sessions"] += len(mine) - len(kept)
        for kind in kinds:
            ends = [c for c in conversions if c.user == user and kind in (None, c.kind)]
            rows += cut_one(user, kept, ends, kind, observed, first, rules, audit)
    return rows, audit


def in_order(touches: list[Event], rules: Rules) -> list[Event]:
    """Sort by time, `order`, channel, attribute; what is missing comes first."""

    def key(t: Event) -> tuple[Any, ...]:
        place = -1 if t.order is None or not rules.order else t.order
        return (t.time, place, t.channel, t.campaign or "", rules.window(t))

    return sorted(touches, key=key)


def one_per_session(touches: list[Event], rules: Rules) -> list[Event]:
    """Keep the first touch of each session, channel and lookback."""
    if not rules.session and rules.session_gap is None:
        return touches
    kept, seen, number = [], set(), 0
    for i, touch in enumerate(touches):
        if rules.session_gap is not None:
            if i and touch.time - touches[i - 1].time > rules.session_gap:
                number += 1
            session: Any = number
        else:
            session = touch.session
        key = (session, touch.channel, rules.window(touch))
        if session is None or key not in seen:
            kept.append(touch)
        seen.add(key)
    return kept


def cut_one(
    user: int,
    touches: list[Event],
    conversions: list[Event],
    kind: str | None,
    observed: int,
    first: int,
    rules: Rules,
    audit: Counter[str],
) -> list[Row]:
    """Return the journeys of one user towards one type of conversion."""
    ends = sorted({c.time for c in conversions})
    claimed: set[int] = set()
    found: list[tuple[Row, list[Event]]] = []
    for end in ends:
        inside: list[Event] = []
        would = 0
        for i, touch in enumerate(touches):
            if touch.time > end or end - touch.time > rules.window(touch):
                continue
            would += 1
            earlier = any(touch.time <= other < end for other in ends)
            if rules.reuse_touches or not earlier:
                inside.append(touch)
                claimed.add(i)
        together = [c for c in conversions if c.time == end]
        count = sum(c.count for c in together)
        value = sum(c.value or 0 for c in together)
        found.append((_row(user, inside, end, count, value, kind), inside))
        if would and not inside:
            audit["conversions_cut_off"] += count
        if end - rules.longest < first and rules.lookback is not None:
            audit["conversions_left_truncated"] += count
    for i, touch in enumerate(touches):
        if i not in claimed and any(end >= touch.time for end in ends):
            audit["touches_older_than_lookback"] += 1
    null: list[Event] = []
    for touch in [t for i, t in enumerate(touches) if i not in claimed] + [None]:
        if null:
            last = null[-1].time
            over = (
                touch is None
                or touch.time - last > rules.pause
                or any(last <= end < touch.time for end in ends)
            )
            if over:
                until = min([end for end in ends if end >= last] + [last + rules.pause, observed])
                found.append((_row(user, null, until, 0, 0, kind), null))
                null = []
        null.append(touch)
    kept = [(row, path) for row, path in found if _reported(row, observed, rules, audit)]
    audit["first_touch_ties"] += sum(decided_by_name(path, 0, rules) for _, path in kept)
    audit["last_touch_ties"] += sum(decided_by_name(path, -1, rules) for _, path in kept)
    return [row for row, _ in kept]


def decided_by_name(touches: list[Event], at: int, rules: Rules) -> bool:
    """Tell whether a touch shares its instant and `order` with another channel's."""
    if not touches:
        return False
    outer = touches[at]
    return any(
        t.time == outer.time
        and (not rules.order or t.order == outer.order)
        and t.channel != outer.channel
        for t in touches
    )


def _row(
    user: int, touches: list[Event], end: int, count: int, value: int, kind: str | None
) -> Row:
    return Row(
        user,
        tuple(t.channel for t in touches),
        tuple(t.time for t in touches),
        tuple(t.campaign for t in touches),
        end,
        count,
        0 if count else 1,
        value,
        kind,
    )


def _reported(row: Row, observed: int, rules: Rules, audit: Counter[str]) -> bool:
    begin = row.times[0] if row.times else row.end
    if (rules.report_from is not None and row.end < rules.report_from) or (
        rules.report_until is not None and row.end >= rules.report_until
    ):
        why = "outside_report"
    elif rules.closed_only and observed - begin < rules.longest:
        why = "not_closed"
    else:
        return True
    audit[f"journeys_{why}"] += row.conversions + row.nulls
    audit[f"conversions_{why}"] += row.conversions
    audit[f"value_{why}"] += row.value
    return False


def frame(log: list[Event]) -> pd.DataFrame:
    """Return the log as the table that a user would have."""
    table = pd.DataFrame([vars(event) for event in log])
    table["timestamp"] = START + pd.to_timedelta(table.pop("time"), unit="h")
    table = table.rename(columns={"user": "user_id", "count": "converted"})
    table["value"] = table["value"].astype(float)
    table["order"] = table["order"].astype(float)
    return table


def rows_of(journeys: Journeys) -> list[Row]:
    """Return the rows of journeys on the grid of hours."""
    kinds = journeys.conversion_types
    campaigns = journeys.touch_attributes["campaign"].to_numpy()
    rows = []
    for r in range(len(journeys)):
        inside = slice(int(journeys.offsets[r]), int(journeys.offsets[r + 1]))
        rows.append(
            Row(
                int(journeys.users[r]),
                tuple(journeys.channels[c] for c in journeys.codes[inside]),
                tuple(_hours(t) for t in journeys.times[inside]),
                tuple(campaigns[inside]),
                _hours(journeys.ends[r]),
                float(journeys.conversions[r]),
                float(journeys.nulls[r]),
                float(journeys.values[r]),
                None if kinds is None else kinds.take([r]).to_numpy()[0],
            )
        )
    return rows


def _hours(microseconds: int) -> int:
    hours, rest = divmod(int(microseconds) - START_US, HOUR)
    assert rest == 0
    return hours
