"""What the counts in `Journeys.audit` mean.

Conversions and value are conserved: what was read is what the journeys hold, plus what is
outside the report, not closed, or after `observed_until`.
"""

from __future__ import annotations

MEANING = {
    "rows_read": "rows of the table or tables",
    "touches_read": "events with a channel, after bad rows were dropped",
    "conversions_read": "conversions, after bad rows were dropped",
    "value_read": "their value",
    "rows_without_user": "dropped: no user",
    "rows_without_time": "dropped: no time",
    "rows_with_unreadable_time": "dropped: a time that cannot be read",
    "rows_with_invalid_conversion": "dropped: a missing, negative or infinite conversion",
    "rows_with_infinite_value": "dropped: an infinite value",
    "rows_with_value_but_no_conversion": "dropped: a value without a conversion",
    "conversions_without_type": "dropped: a conversion without its type",
    "conversions_of_other_types": "dropped: a type that conversion_types lacks",
    "repeated_conversion_ids": "dropped, with their touch: the id of an earlier conversion",
    "touches_without_lookback": "dropped: a type of touch that lookback= does not name",
    "touches_without_channel": "neither channel nor conversion: dropped, or named direct",
    "conversions_without_value": "conversions whose value is missing and counts as 0",
    "touches_late": "left out of an update: not after the observed_until of the last one",
    "conversions_late": "left out likewise",
    "value_late": "left out likewise",
    "touches_after_observed_until": "left out: after the end of observation",
    "conversions_after_observed_until": "left out: after the end of observation",
    "value_after_observed_until": "left out: after the end of observation",
    "rows_of_joined_ids": "rows whose user id became that of a person or account",
    "duplicate_events": "kept: touches and conversions equal to another one",
    "touches_merged_in_sessions": "left out: not the first of their channel and session",
    "touches_older_than_lookback": "in a null journey: a conversion follows, but too late",
    "conversions_cut_off": "unattributed only because an earlier conversion claimed the touches; "
    "reuse_touches=True shares them",
    "conversions_left_truncated": "their lookback begins before the log does",
    "first_touch_ties": "journeys whose first touch the name of a channel decides; see order=",
    "last_touch_ties": "journeys whose last touch the name of a channel decides; see order=",
    "journeys_outside_report": "left out: ended before report_from or from report_until on",
    "conversions_outside_report": "left out likewise",
    "value_outside_report": "left out likewise",
    "journeys_not_closed": "left out by closed_only: began within a lookback of the end",
    "conversions_not_closed": "left out likewise",
    "value_not_closed": "left out likewise",
    "events_forgotten": "removed from the open journeys of a state by attribution.daily.forget",
    "rows_without_journeys": "rows of a path table with neither conversions nor nulls",
}
