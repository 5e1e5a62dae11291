"""Journeys cut by the library equal those cut by hand, whatever the log and the options."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from event_oracle import Event, Rules, expected, frame, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

import attribution.ingest.events as ingestion
from attribution import InputError, Journeys

pytestmark = pytest.mark.filterwarnings("ignore::attribution.AttributionWarning")

AUDITED = (
    "touches_read",
    "conversions_read",
    "value_read",
    "touches_without_channel",
    "touches_merged_in_sessions",
    "touches_after_observed_until",
    "conversions_after_observed_until",
    "value_after_observed_until",
    "touches_older_than_lookback",
    "first_touch_ties",
    "last_touch_ties",
    "conversions_cut_off",
    "conversions_left_truncated",
    "journeys_outside_report",
    "conversions_outside_report",
    "value_outside_report",
    "journeys_not_closed",
    "conversions_not_closed",
    "value_not_closed",
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    count = draw(st.sampled_from([0, 0, 0, 1, 1, 2]))
    return Event(
        user=draw(st.integers(1, 3)),
        time=draw(st.integers(0, 12)),
        channel=draw(st.sampled_from(["a", "a", "b", "c", None])),
        count=count,
        value=draw(st.sampled_from([None, 0, 3, 5, -2])) if count else None,
        kind=draw(st.sampled_from(["lead", "purchase"])),
        touch_type=draw(st.sampled_from(["click", "view"])),
        session=draw(st.sampled_from([None, "s", "t"])),
        order=draw(st.sampled_from([None, 1, 2])),
        campaign=draw(st.sampled_from([None, "x", "y"])),
    )


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    windows = st.integers(1, 8)
    by_type = st.fixed_dictionaries({"click": windows, "view": windows})
    lookback = draw(st.one_of(st.none(), windows, by_type))
    window = draw(st.sampled_from([(None, None), (4, None), (None, 9), (3, 8)]))
    sessions = draw(st.sampled_from(["no", "no", "gap", "column"]))
    return Rules(
        lookback=lookback,
        inactivity=draw(st.one_of(st.none(), st.integers(1, 6))),
        reuse_touches=draw(st.booleans()),
        report_from=window[0],
        report_until=window[1],
        closed_only=lookback is not None and draw(st.booleans()),
        observed_until=draw(st.sampled_from([None, None, 6, 10, 14])),
        session_gap=draw(st.integers(1, 3)) if sessions == "gap" else None,
        session=sessions == "column",
        order=draw(st.booleans()),
        kinds=draw(st.booleans()),
        channel_missing=draw(st.sampled_from(["drop", "direct"])),
    )


logs = st.lists(events(), min_size=1, max_size=25)


def build(log: list[Event], options: Rules, **changes: object) -> Journeys:
    return Journeys.from_events(frame(log), **{**options.options(), **changes})


def is_empty(log: list[Event], options: Rules) -> bool:
    last = options.observed_until
    return not any(
        (last is None or e.time <= last)
        and (e.count or e.channel is not None or options.channel_missing == "direct")
        for e in log
    )


@settings(max_examples=400, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_journeys_and_audit_equal_the_oracle(log: list[Event], options: Rules) -> None:
    if is_empty(log, options):
        with pytest.raises(InputError, match="No touch and no conversion is left"):
            build(log, options)
        return
    wanted, audit = expected(log, options)
    journeys = build(log, options)
    assert Counter(rows_of(journeys)) == Counter(wanted)
    found = {name: journeys.audit.get(name, 0.0) for name in AUDITED}
    assert found == {name: float(audit[name]) for name in AUDITED}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules(), seed=st.integers(0, 99))
def test_row_order_of_the_input_does_not_matter(
    log: list[Event], options: Rules, seed: int
) -> None:
    if is_empty(log, options):
        return
    shuffled = log.copy()
    random.Random(seed).shuffle(shuffled)
    assert build(shuffled, options).equals(build(log, options))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules(), block=st.sampled_from([1, 2, 5]))
def test_many_small_blocks_give_the_journeys_of_one(
    log: list[Event], options: Rules, block: int
) -> None:
    if is_empty(log, options):
        return
    whole = build(log, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingestion, "BLOCK", block)
        blocks = build(log, options)
    assert Counter(rows_of(blocks)) == Counter(rows_of(whole))
    assert blocks.audit == whole.audit
    assert touches_once(blocks) == touches_once(whole)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_conversions_in_a_table_of_their_own_give_the_same_journeys(
    log: list[Event], options: Rules
) -> None:
    touches = [replace(e, count=0, value=None) for e in log if e.channel is not None]
    conversions = [e for e in log if e.count]
    options = replace(options, observed_until=None)
    if not touches or not conversions:
        return
    joint = build(touches + [replace(e, channel=None) for e in conversions], options)
    columns = ["user_id", "timestamp", "converted", "value", "kind", "campaign"]
    apart = Journeys.from_events(
        frame(touches).drop(columns=["converted", "value", "kind"]),
        conversion_events=frame(conversions)[columns],
        **options.options(),
    )
    assert apart.equals(joint)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_a_log_that_ends_early_equals_observed_until(log: list[Event], options: Rules) -> None:
    options = replace(options, observed_until=8)
    early = [e for e in log if e.time <= 8]
    if is_empty(log, options):
        return
    assert Counter(rows_of(build(log, options))) == Counter(rows_of(build(early, options)))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_users_do_not_influence_each_other(log: list[Event], options: Rules) -> None:
    options = replace(options, observed_until=12, kinds=False)
    parts = [[e for e in log if e.user == user] for user in (1, 2, 3)]
    parts = [part for part in parts if part and not is_empty(part, options)]
    if not parts:
        return
    apart: Counter = Counter()
    for part in parts:
        apart.update(rows_of(build(part, options)))
    assert apart == Counter(rows_of(build(log, options)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_rows_of_a_user_and_type_stand_together_in_order_of_time(
    log: list[Event], options: Rules
) -> None:
    if is_empty(log, options):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingestion, "BLOCK", 4)
        rows = rows_of(build(log, options))
    keys = [(row.user, row.kind) for row in rows]
    assert len([key for key, _ in groupby(keys)]) == len(set(keys))
    for key in set(keys):
        ends = [row.end for row in rows if (row.user, row.kind) == key]
        assert ends == sorted(ends)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_each_touch_stands_once_per_type_unless_reused(log: list[Event], options: Rules) -> None:
    options = replace(
        options, reuse_touches=False, report_from=None, report_until=None, closed_only=False
    )
    if is_empty(log, options):
        return
    journeys = build(log, options)
    n_types = 1 if journeys.conversion_types is None else len(journeys.conversion_types.labels)
    audit = journeys.audit
    kept = (
        audit["touches_read"]
        - audit.get("touches_after_observed_until", 0)
        - audit.get("touches_merged_in_sessions", 0)
    )
    assert len(journeys.codes) == n_types * kept
    assert journeys.summary().figures["touches"] == kept


@settings(max_examples=80, deadline=None, derandomize=True)
@given(log=logs, options=rules())
def test_every_conversion_and_all_value_is_accounted_for(log: list[Event], options: Rules) -> None:
    if is_empty(log, options):
        return
    journeys = build(log, options)
    for name, column in (("conversions", journeys.conversions), ("value", journeys.values)):
        left_out = [
            journeys.audit.get(f"{name}_{why}", 0.0)
            for why in ("after_observed_until", "outside_report", "not_closed")
        ]
        assert column.sum() + sum(left_out) == journeys.audit[f"{name}_read"]
    total = sum(e.count for e in log)
    assert journeys.audit["conversions_read"] == total


def touches_once(journeys: Journeys) -> Counter:
    """Count the distinct touch events behind the touches, by user, time and channel."""
    if journeys.touch_ids is None:
        once = np.arange(len(journeys.codes))
    else:
        _, once = np.unique(journeys.touch_ids, return_index=True)
    users = journeys.users[journeys.rows]
    return Counter((int(users[i]), int(journeys.times[i]), int(journeys.codes[i])) for i in once)
