"""One small case, worked by hand, for each convention by which events become journeys."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attribution import AttributionWarning, InputError, Journeys
from attribution.ingest import events, identity

DAY = 86_400_000_000
COLUMNS = ["user_id", "timestamp", "channel", "converted"]
quiet_ties = pytest.mark.filterwarnings("ignore:In .* journeys the first or last touch")
no_conversions = pytest.mark.filterwarnings("ignore:There are no conversions")


def log(*rows: tuple[Any, ...], more: tuple[str, ...] = (), user: str | None = "ann") -> Any:
    """Return a log; rows are (time, channel, converted, *more) of one user, or begin with one."""
    if user is not None:
        rows = tuple((user, *row) for row in rows)
    return pd.DataFrame(list(rows), columns=[*COLUMNS, *more])


def build(*rows: tuple[Any, ...], **options: Any) -> Journeys:
    return Journeys.from_events(log(*rows), **options)


def paths(journeys: Journeys) -> list[tuple[str, float]]:
    """Return (path, conversions) of each row in its order; a null journey has 0."""
    assert (journeys.nulls == (journeys.conversions == 0)).all()
    return [
        (" ".join(t.channel for t in journey.touchpoints), journey.conversions)
        for journey in journeys
    ]


def ends(journeys: Journeys) -> list[pd.Timestamp]:
    return [pd.Timestamp(journey.end).tz_convert(None) for journey in journeys]


# order of events


def test_touches_are_ordered_by_time_whatever_the_order_of_rows() -> None:
    journeys = build(("2025-01-03", "c", 1), ("2025-01-01", "a", 0), ("2025-01-02", "b", 0))
    assert paths(journeys) == [("a b c", 1)]


def test_a_touch_comes_before_a_conversion_of_the_same_instant() -> None:
    journeys = build(("2025-01-01", None, 1), ("2025-01-01", "a", 0))
    assert paths(journeys) == [("a", 1)]


@quiet_ties
def test_simultaneous_touches_are_ordered_by_channel_name() -> None:
    journeys = build(("2025-01-01", "b", 0), ("2025-01-01", "a", 0), ("2025-01-02", "z", 1))
    assert paths(journeys) == [("a b z", 1)]


def test_simultaneous_touches_of_one_channel_are_ordered_by_attributes() -> None:
    events = log(
        ("2025-01-01", "a", 0, "x", "late"),
        ("2025-01-01", "a", 0, "x", "early"),
        ("2025-01-01", "a", 1, None, "z"),
        more=("campaign", "device"),
    )
    journeys = Journeys.from_events(events, attributes=["campaign", "device"])
    assert journeys.touch_attributes["campaign"].to_numpy().tolist() == [None, "x", "x"]
    assert journeys.touch_attributes["device"].to_numpy().tolist() == ["z", "early", "late"]


def test_order_column_comes_before_the_channel_name_and_missing_comes_first() -> None:
    rows = [("b", 1), ("a", 2), ("c", np.nan)]
    events = log(*(("2025-01-01", name, 0, n) for name, n in rows), more=("hit",))
    journeys = Journeys.from_events(
        pd.concat([events, log(("2025-01-02", "z", 1, 0), more=("hit",))]), order="hit"
    )
    assert paths(journeys) == [("c b a z", 1)]


def test_order_column_decides_only_within_one_instant() -> None:
    events = log(("2025-01-01", "a", 0, 9), ("2025-01-02", "b", 1, 1), more=("hit",))
    assert paths(Journeys.from_events(events, order="hit")) == [("a b", 1)]


@quiet_ties
def test_touches_alike_but_for_their_lookback_do_not_show_the_order_of_rows() -> None:
    rows = [("2025-01-01", "a", 0, "view"), ("2025-01-01", "a", 0, "click")]
    rows += [("2025-01-04", None, 1, None), ("2025-01-05", None, 1, None)]
    options: dict[str, Any] = {
        "touch_type": "kind",
        "lookback": {"click": "30D", "view": "1D"},
        "reuse_touches": True,
    }
    one = Journeys.from_events(log(*rows, more=("kind",)), **options)
    other = Journeys.from_events(log(*rows[::-1], more=("kind",)), **options)
    assert paths(one) == [("a", 0), ("a", 1), ("a", 1)]
    assert one.equals(other)


# ties


def tied_log(n_tied: int) -> pd.DataFrame:
    rows = [(user, f"2025-01-0{1 + (user >= n_tied)}", "a", 0) for user in range(100)]
    rows += [(user, "2025-01-01", "b", 0) for user in range(100)]
    rows += [(user, "2025-01-05", "c", 1) for user in range(100)]
    return log(*rows, user=None)


def test_ties_in_one_journey_of_a_hundred_are_counted_without_a_warning() -> None:
    audit = Journeys.from_events(tied_log(1)).audit
    assert (audit["first_touch_ties"], audit["last_touch_ties"]) == (1, 0)


def test_ties_in_over_one_percent_of_journeys_warn_and_point_to_order() -> None:
    with pytest.warns(AttributionWarning, match=r"In 2 of 100 journeys .* order="):
        journeys = Journeys.from_events(tied_log(2))
    assert journeys.audit["first_touch_ties"] == 2
    assert journeys.summary().quality["first_touch_ties"] == 2


def test_no_tie_where_the_order_column_decides() -> None:
    events = tied_log(50)
    events["hit"] = np.arange(len(events))
    audit = Journeys.from_events(events, order="hit").audit
    assert (audit["first_touch_ties"], audit["last_touch_ties"]) == (0, 0)


def test_no_tie_between_touches_of_one_channel() -> None:
    audit = build(("2025-01-01", "a", 0), ("2025-01-01", "a", 1)).audit
    assert (audit["first_touch_ties"], audit["last_touch_ties"]) == (0, 0)


@quiet_ties
def test_a_tie_behind_repeats_of_the_channel_is_seen() -> None:
    rows = [("2025-01-01", "a", 0), ("2025-01-01", "a", 0), ("2025-01-01", "b", 0)]
    audit = build(*rows, ("2025-01-02", "z", 1)).audit
    assert (audit["first_touch_ties"], audit["last_touch_ties"]) == (1, 0)


# same instant


def test_conversions_of_one_instant_are_one_end_with_counts_and_values_added() -> None:
    events = log(
        ("2025-01-01", "a", 0, None),
        ("2025-01-02", None, 1, 10),
        ("2025-01-02", None, 2, 5),
        more=("revenue",),
    )
    journeys = Journeys.from_events(events, value="revenue")
    assert paths(journeys) == [("a", 3)]
    assert journeys.values.tolist() == [15]
    assert journeys.n_journeys == 3


# time


def test_times_without_a_zone_are_utc() -> None:
    journeys = build(("1970-01-01 00:00:01", "a", 0), ("1970-01-02", "b", 1))
    assert journeys.times.tolist() == [1_000_000, DAY]
    assert journeys.ends.tolist() == [DAY]


def test_times_with_a_zone_are_brought_to_utc() -> None:
    journeys = build(("2025-01-01 01:00+02:00", "a", 0), ("2025-01-01 00:30+01:00", "b", 1))
    assert paths(journeys) == [("a b", 1)]
    assert ends(journeys) == [pd.Timestamp("2024-12-31 23:30")]


@pytest.mark.parametrize(
    ("touch", "conversion", "claimed"),
    [
        ("2025-03-29 12:00", "2025-03-30 13:00", True),  # 24 hours: the clocks went forward
        ("2025-03-29 11:59", "2025-03-30 13:00", False),
        ("2025-10-25 13:00", "2025-10-26 12:00", True),  # 24 hours: the clocks went back
        ("2025-10-25 12:00", "2025-10-26 12:00", False),  # 25 hours between two noons
    ],
)
def test_lookback_is_elapsed_time_across_daylight_saving(
    touch: str, conversion: str, claimed: bool
) -> None:
    events = log((touch, "a", 0), (conversion, None, 1))
    events["timestamp"] = pd.to_datetime(events["timestamp"]).dt.tz_localize("Europe/Berlin")
    journeys = Journeys.from_events(events, lookback="1D")
    assert paths(journeys) == ([("a", 1)] if claimed else [("a", 0), ("", 1)])


def test_options_without_a_zone_are_utc() -> None:
    journeys = build(
        ("2025-01-01T00:00+02:00", "a", 1),
        ("2025-01-02T00:00+00:00", "b", 1),
        report_from="2025-01-01",
    )
    assert paths(journeys) == [("b", 1)]


# several conversions


def test_a_journey_is_cut_after_each_conversion() -> None:
    journeys = build(
        ("2025-01-01", "a", 0),
        ("2025-01-02", "b", 1),
        ("2025-01-03", "c", 0),
        ("2025-01-04", None, 1),
    )
    assert paths(journeys) == [("a b", 1), ("c", 1)]


def test_the_cut_leaves_an_immediate_second_conversion_without_touches() -> None:
    journeys = build(("2025-01-01", "a", 1), ("2025-01-02", None, 2))
    assert paths(journeys) == [("a", 1), ("", 2)]
    assert journeys.audit["conversions_cut_off"] == 2
    assert journeys.summary().quality["unattributed_share"] == pytest.approx(2 / 3, rel=1e-15)


def test_a_conversion_without_any_touch_in_reach_is_not_called_cut_off() -> None:
    journeys = build(("2024-01-01", "a", 1), ("2025-01-02", None, 1), lookback="90D")
    assert paths(journeys) == [("a", 1), ("", 1)]
    assert journeys.audit["conversions_cut_off"] == 0


def test_reused_touches_serve_every_conversion_in_whose_window_they_lie() -> None:
    journeys = build(
        ("2025-01-01", "a", 0),
        ("2025-01-02", "b", 1),
        ("2025-01-11", "c", 0),
        ("2025-01-12", None, 1),
        lookback="10D",
        reuse_touches=True,
    )
    assert paths(journeys) == [("a b", 1), ("b c", 1)]
    assert journeys.audit["conversions_cut_off"] == 0


def test_reused_touches_count_once_in_the_summary() -> None:
    journeys = build(
        ("2025-01-01", "a", 1), ("2025-01-02", "b", 1), ("2025-01-03", None, 1), reuse_touches=True
    )
    assert paths(journeys) == [("a", 1), ("a b", 1), ("a b", 1)]
    summary = journeys.summary()
    assert summary.figures["touches"] == 2
    assert summary.channels["touches"].to_dict() == {"a": 1, "b": 1}
    assert summary.channels["journeys"].to_dict() == {"a": 3, "b": 2}


def test_a_touch_before_a_conversion_of_count_two_counts_once_in_the_summary() -> None:
    summary = build(("2025-01-01", "a", 0), ("2025-01-02", "b", 2)).summary()
    assert summary.figures["journeys"] == 2
    assert summary.channels["touches"].to_dict() == {"a": 1, "b": 1}


# lookback


def test_a_touch_exactly_one_lookback_old_is_claimed() -> None:
    journeys = build(("2025-01-01", "a", 0), ("2025-01-08", "b", 1), lookback="7D")
    assert paths(journeys) == [("a b", 1)]


def test_a_touch_older_than_the_lookback_becomes_a_null_journey() -> None:
    journeys = build(("2024-12-31 23:59:59.999999", "a", 0), ("2025-01-08", "b", 1), lookback="7D")
    assert paths(journeys) == [("a", 0), ("b", 1)]
    assert journeys.audit["touches_older_than_lookback"] == 1


def test_touches_after_the_last_conversion_are_not_older_than_the_lookback() -> None:
    journeys = build(("2025-01-01", "a", 1), ("2025-01-02", "b", 0))
    assert paths(journeys) == [("a", 1), ("b", 0)]
    assert journeys.audit["touches_older_than_lookback"] == 0


def test_lookback_is_90_days_by_default() -> None:
    start = pd.Timestamp("2025-01-01")
    exactly, over = start + pd.Timedelta("90D"), start + pd.Timedelta("90D1us")
    assert paths(build((start, "a", 0), (exactly, "b", 1))) == [("a b", 1)]
    assert paths(build((start, "a", 0), (over, "b", 1))) == [("a", 0), ("b", 1)]


def test_lookback_none_has_no_limit() -> None:
    journeys = build(("1990-01-01", "a", 0), ("2025-01-01", "b", 1), lookback=None)
    assert paths(journeys) == [("a b", 1)]


def test_lookback_per_type_of_touch() -> None:
    events = log(
        ("2025-01-01", "old click", 0, "click"),
        ("2025-01-02", "click", 0, "click"),
        ("2025-01-10", "old view", 0, "view"),
        ("2025-01-31", "view", 0, "view"),
        ("2025-02-01", None, 1, None),
        more=("kind",),
    )
    windows = {"click": "30D", "view": "1D"}
    journeys = Journeys.from_events(events, touch_type="kind", lookback=windows)
    assert paths(journeys) == [("old click old view", 0), ("click view", 1)]
    assert journeys.audit["touches_older_than_lookback"] == 2


def test_conversions_whose_window_begins_before_the_log_are_counted_as_left_truncated() -> None:
    journeys = build(
        ("2025-01-01", "a", 0),
        ("2025-01-07", "b", 3),
        ("2025-01-08", "c", 2),
        lookback="7D",
    )
    assert paths(journeys) == [("a b", 3), ("c", 2)]
    assert journeys.audit["conversions_left_truncated"] == 3


# null journeys


@no_conversions
def test_a_pause_longer_than_inactivity_ends_a_null_journey() -> None:
    journeys = build(
        ("2025-01-01", "a", 0),
        ("2025-01-08", "b", 0),
        ("2025-01-15 00:00:00.000001", "c", 0),
        inactivity="7D",
    )
    assert paths(journeys) == [("a b", 0), ("c", 0)]
    assert journeys.nulls.tolist() == [1, 1]


@no_conversions
def test_inactivity_is_the_lookback_by_default() -> None:
    rows = [("2025-01-01", "a", 0), ("2025-01-06", "b", 0), ("2025-01-12", "c", 0)]
    assert paths(build(*rows, lookback="5D")) == [("a b", 0), ("c", 0)]
    assert paths(build(*rows, lookback="6D")) == [("a b c", 0)]
    assert paths(build(*rows, lookback=None)) == [("a b c", 0)]


@no_conversions
def test_inactivity_is_the_longest_lookback_where_that_depends_on_the_type() -> None:
    rows = [("2025-01-01", "a", 0, "v"), ("2025-01-06", "b", 0, "v"), ("2025-01-12", "c", 0, "v")]
    journeys = Journeys.from_events(
        log(*rows, more=("kind",)), touch_type="kind", lookback={"c": "5D", "v": "1D"}
    )
    assert paths(journeys) == [("a b", 0), ("c", 0)]


def test_inactivity_does_not_cut_a_journey_that_converts() -> None:
    journeys = build(
        ("2025-01-01", "a", 0), ("2025-02-01", "b", 0), ("2025-03-01", "c", 1), inactivity="2D"
    )
    assert paths(journeys) == [("a b c", 1)]


def test_a_null_journey_does_not_reach_across_a_conversion() -> None:
    journeys = build(
        ("2025-01-01", "a", 0),
        ("2025-01-04", None, 1),
        ("2025-01-05", "b", 0),
        lookback="2D",
        inactivity="30D",
    )
    assert paths(journeys) == [("a", 0), ("", 1), ("b", 0)]


def test_a_null_journey_ends_when_its_observation_stops() -> None:
    journeys = build(
        ("2025-01-01", "ends by inactivity", 0),
        ("2025-01-11", "ends at the conversion", 0),
        ("2025-01-14", None, 1),
        ("2025-01-20", "ends with the log", 0),
        ("2025-01-22", "ends with the log", 0),
        lookback="2D",
        inactivity="5D",
    )
    assert [path for path, _ in paths(journeys)] == [
        "ends by inactivity",
        "ends at the conversion",
        "",
        "ends with the log ends with the log",
    ]
    assert ends(journeys) == [
        pd.Timestamp(day) for day in ("2025-01-06", "2025-01-14", "2025-01-14", "2025-01-22")
    ]


# reporting window


def test_the_report_counts_ends_from_inclusive_until_exclusive() -> None:
    journeys = build(
        ("2025-01-31", "before", 1),
        ("2025-02-01", "first", 1),
        ("2025-02-28", "last", 1),
        ("2025-03-01", "after", 2),
        report_from="2025-02-01",
        report_until="2025-03-01",
    )
    assert paths(journeys) == [("first", 1), ("last", 1)]
    assert journeys.audit["conversions_outside_report"] == 3
    assert journeys.audit["journeys_outside_report"] == 3


def test_events_before_the_report_feed_its_lookbacks() -> None:
    journeys = build(("2025-01-31", "a", 0), ("2025-02-01", "b", 1), report_from="2025-02-01")
    assert paths(journeys) == [("a b", 1)]


def test_a_null_journey_is_reported_where_it_ends() -> None:
    rows = [("2025-01-29", "a", 0), ("2025-03-01", "z", 1)]
    inside = {"report_from": "2025-02-01", "report_until": "2025-02-04"}
    options: dict[str, Any] = {"lookback": "1D", **inside}
    with pytest.warns(AttributionWarning, match="no conversions"):
        assert paths(build(*rows, inactivity="5D", **options)) == [("a", 0)]
    with pytest.warns(AttributionWarning, match="no conversions"):
        journeys = build(*rows, inactivity="2D", **options)
    assert paths(journeys) == []
    assert journeys.audit["journeys_outside_report"] == 2


# end of data


def test_open_journeys_are_kept_as_null() -> None:
    journeys = build(("2025-01-01", "a", 1), ("2025-01-02", "b", 0))
    assert paths(journeys) == [("a", 1), ("b", 0)]


def test_events_after_observed_until_are_left_out_and_counted() -> None:
    events = log(
        ("2025-01-01", "a", 1, 5), ("2025-01-02", "b", 0, 0), ("2025-01-03", "c", 2, 7), more=("v",)
    )
    journeys = Journeys.from_events(events, value="v", observed_until="2025-01-02")
    assert paths(journeys) == [("a", 1), ("b", 0)]
    assert ends(journeys)[1] == pd.Timestamp("2025-01-02")
    assert journeys.audit["touches_after_observed_until"] == 1
    assert journeys.audit["conversions_after_observed_until"] == 2
    assert journeys.audit["value_after_observed_until"] == 7


def test_closed_only_keeps_the_cohort_that_began_one_lookback_before_the_end() -> None:
    rows = [
        ("kept null", "2025-01-21", "a", 0),
        ("young null", "2025-01-21 00:00:01", "b", 0),
        ("kept", "2025-01-21", "c", 0),
        ("kept", "2025-01-30", "c", 1),
        ("young", "2025-01-22", "d", 2),
        ("bare", "2025-01-30", None, 1),
    ]
    journeys = Journeys.from_events(
        log(*rows, user=None), lookback="10D", closed_only=True, observed_until="2025-01-31"
    )
    assert sorted(paths(journeys)) == [("a", 0), ("c c", 1)]
    audit = journeys.audit
    assert audit["journeys_not_closed"] == 4
    assert audit["conversions_not_closed"] == 3


def test_closed_only_counts_back_from_the_last_event_by_default() -> None:
    journeys = build(
        ("2025-01-01", "a", 1), ("2025-01-10", "b", 0), lookback="9D", closed_only=True
    )
    assert paths(journeys) == [("a", 1)]


# types of conversion


def typed() -> pd.DataFrame:
    return log(
        ("2025-01-01", "a", 0, "ignored"),
        ("2025-01-02", "b", 1, "lead"),
        ("2025-01-03", "c", 0, None),
        ("2025-01-04", None, 2, "purchase"),
        ("2025-01-05", None, 1, "lead"),
        more=("kind",),
    )


def test_a_conversion_cuts_only_journeys_of_its_own_type() -> None:
    journeys = Journeys.from_events(typed(), conversion_type="kind")
    assert paths(journeys.of_type("lead")) == [("a b", 1), ("c", 1)]
    assert paths(journeys.of_type("purchase")) == [("a b c", 2)]
    assert len(journeys) == 3


def test_every_touch_stands_in_one_journey_per_type_and_counts_once() -> None:
    journeys = Journeys.from_events(typed(), conversion_type="kind")
    assert len(journeys.codes) == 6
    assert journeys.summary().channels["touches"].to_dict() == {"a": 1, "b": 1, "c": 1}


def test_the_types_are_those_of_conversions_not_of_touches() -> None:
    journeys = Journeys.from_events(typed(), conversion_type="kind")
    assert journeys.conversion_types.labels == ("lead", "purchase")


def test_without_conversion_type_every_conversion_cuts() -> None:
    assert paths(Journeys.from_events(typed())) == [("a b", 1), ("c", 2), ("", 1)]


def test_conversions_of_two_types_at_one_instant_stay_apart() -> None:
    events = log(
        ("2025-01-01", "a", 0, None),
        ("2025-01-02", None, 1, "lead"),
        ("2025-01-02", None, 1, "purchase"),
        more=("kind",),
    )
    journeys = Journeys.from_events(events, conversion_type="kind")
    assert [(j.conversion_type, j.conversions) for j in journeys] == [("lead", 1), ("purchase", 1)]


def test_of_type_names_the_nearest_type() -> None:
    journeys = Journeys.from_events(typed(), conversion_type="kind")
    with pytest.raises(InputError, match=r"No conversion type 'purchas'.*mean 'purchase'"):
        journeys.of_type("purchas")


def test_a_conversion_without_a_type_is_refused_or_dropped() -> None:
    events = log(("2025-01-01", "a", 1, "lead"), ("2025-01-02", "b", 1, None), more=("kind",))
    with pytest.raises(InputError, match="1 row has a conversion without a type in column 'kind'"):
        Journeys.from_events(events, conversion_type="kind")
    journeys = Journeys.from_events(events, conversion_type="kind", on_invalid="drop")
    assert paths(journeys) == [("a", 1)]
    assert journeys.audit["conversions_without_type"] == 1


# repeated conversions


def repeated() -> pd.DataFrame:
    return log(
        ("2025-01-01", "a", 0, None),
        ("2025-01-03", None, 1, "o1"),
        ("2025-01-02", None, 1, "o1"),
        ("2025-01-04", "b", 1, "o2"),
        ("2025-01-05", "c", 1, None),
        ("2025-01-06", "d", 1, None),
        more=("order_id",),
    )


def test_a_repeated_conversion_id_is_refused() -> None:
    with pytest.raises(InputError, match="1 row has a conversion id in column 'order_id' that"):
        Journeys.from_events(repeated(), conversion_id="order_id")


def test_of_a_repeated_conversion_id_the_earliest_is_kept_and_missing_ids_never_repeat() -> None:
    journeys = Journeys.from_events(repeated(), conversion_id="order_id", on_invalid="drop")
    assert paths(journeys) == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]
    assert ends(journeys)[0] == pd.Timestamp("2025-01-02")
    assert journeys.audit["repeated_conversion_ids"] == 1
    assert journeys.audit["conversions_read"] == 4


def test_which_repeated_conversion_is_kept_does_not_depend_on_the_order_of_rows() -> None:
    rows = [("2025-01-02", c, n, "o1", k) for c in "ab" for n in (1, 2) for k in ("x", "y")]
    wanted = None
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        events = log(*rows, more=("order_id", "kind"))
        journeys = Journeys.from_events(
            events, conversion_id="order_id", conversion_type="kind", on_invalid="drop"
        )
        assert len(journeys) == 1
        wanted = wanted or journeys
        assert journeys.equals(wanted)


# channels


def test_several_channel_columns_are_joined() -> None:
    events = pd.DataFrame(
        {
            "user_id": "ann",
            "timestamp": pd.date_range("2025-01-01", periods=4),
            "source": ["google", "google", None, None],
            "medium": ["cpc", None, "email", None],
            "converted": [0, 0, 0, 1],
        }
    )
    journeys = Journeys.from_events(events, channel=["source", "medium"])
    assert [t.channel for t in journeys[0].touchpoints] == [
        "google / cpc",
        "google / (none)",
        "(none) / email",
    ]
    assert journeys[0].conversions == 1


def test_integer_channels_are_names() -> None:
    assert paths(build(("2025-01-01", 7, 0), ("2025-01-02", 10, 1))) == [("7 10", 1)]


def test_a_converting_row_with_a_channel_is_a_touch_and_without_one_a_conversion_only() -> None:
    journeys = build(("2025-01-01", "a", True), ("2025-01-02", None, True))
    assert paths(journeys) == [("a", 1), ("", 1)]
    assert journeys.audit["touches_read"] == 1


def test_a_row_without_channel_or_conversion_is_refused() -> None:
    with pytest.raises(InputError, match=r"1 row has neither a channel .*first in row 1\."):
        build(("2025-01-01", "a", 1), ("2025-01-02", None, 0))


def test_empty_text_is_a_missing_channel() -> None:
    with pytest.raises(InputError, match="1 row has neither a channel"):
        build(("2025-01-01", "a", 1), ("2025-01-02", "", 0))


def test_a_missing_channel_can_be_direct_but_a_bare_conversion_stays_bare() -> None:
    journeys = build(
        ("2025-01-01", None, 0),
        ("2025-01-02", "zoo", 0),
        ("2025-01-03", None, 1),
        channel_missing="direct",
    )
    assert paths(journeys) == [("direct zoo", 1)]
    assert journeys.audit["touches_without_channel"] == 1


def test_a_missing_channel_can_be_dropped_and_counted() -> None:
    journeys = build(
        ("2025-01-01", None, 0),
        ("2025-01-02", "a", 0),
        ("2025-01-03", None, 1),
        channel_missing="drop",
    )
    assert paths(journeys) == [("a", 1)]
    assert journeys.audit["touches_without_channel"] == 1
    assert journeys.audit["touches_read"] == 1


# a table of conversions


def test_conversions_may_stand_in_a_table_of_their_own() -> None:
    touches = log(("2025-01-01", "a", 0), ("2025-01-03", "b", 0)).drop(columns="converted")
    orders = pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob"],
            "timestamp": ["2025-01-02", "2025-01-04", "2025-01-04"],
            "revenue": [10.0, 20.0, 40.0],
        }
    )
    journeys = Journeys.from_events(touches, conversion_events=orders, value="revenue")
    found = {(p, c, v) for (p, c), v in zip(paths(journeys), journeys.values, strict=True)}
    assert found == {("a", 1, 10), ("b", 1, 20), ("", 1, 40)}
    assert journeys.audit["rows_read"] == 5


def test_a_table_of_conversions_may_have_counts() -> None:
    touches = log(("2025-01-01", "a", 0)).drop(columns="converted")
    orders = pd.DataFrame(
        {"user_id": "ann", "timestamp": ["2025-01-02", "2025-01-03"], "converted": [3, 0]}
    )
    assert paths(Journeys.from_events(touches, conversion_events=orders)) == [("a", 3)]


def test_an_all_zero_conversion_column_may_stay_beside_a_table_of_conversions() -> None:
    orders = pd.DataFrame({"user_id": ["ann"], "timestamp": ["2025-01-02"]})
    journeys = Journeys.from_events(log(("2025-01-01", "a", 0)), conversion_events=orders)
    assert paths(journeys) == [("a", 1)]


def test_type_id_and_journey_attributes_come_from_the_table_of_conversions() -> None:
    touches = log(("2025-01-01", "a", 0)).drop(columns="converted")
    orders = pd.DataFrame(
        {
            "user_id": "ann",
            "timestamp": ["2025-01-02", "2025-01-03"],
            "kind": ["lead", "purchase"],
            "order_id": [1, 2],
            "country": ["de", "fr"],
        }
    )
    journeys = Journeys.from_events(
        touches,
        conversion_events=orders,
        conversion_type="kind",
        conversion_id="order_id",
        journey_attributes="country",
    )
    found = {(j.conversion_type, j.attributes["country"]) for j in journeys}
    assert found == {("lead", "de"), ("purchase", "fr")}


# sessions


def test_a_session_keeps_its_first_touch_per_channel() -> None:
    events = log(
        ("2025-01-01 10:00", "a", 0, "s1"),
        ("2025-01-01 10:01", "b", 0, "s1"),
        ("2025-01-01 10:02", "a", 0, "s1"),
        ("2025-01-01 10:03", "a", 0, "s2"),
        ("2025-01-01 10:04", "a", 0, None),
        ("2025-01-01 10:05", "a", 0, None),
        ("2025-01-01 10:06", None, 1, "s1"),
        more=("sid",),
    )
    journeys = Journeys.from_events(events, session="sid")
    assert paths(journeys) == [("a b a a a", 1)]
    minutes = [pd.Timestamp(t.time).minute for t in journeys[0].touchpoints]
    assert minutes == [0, 1, 3, 4, 5]
    assert journeys.audit["touches_merged_in_sessions"] == 1


def test_a_session_id_shared_by_two_users_is_two_sessions() -> None:
    rows = [("ann", "2025-01-01", "a", 1, 7), ("bob", "2025-01-01", "a", 1, 7)]
    journeys = Journeys.from_events(log(*rows, more=("sid",), user=None), session="sid")
    assert paths(journeys) == [("a", 1), ("a", 1)]


def test_a_pause_longer_than_session_gap_starts_a_new_session() -> None:
    journeys = build(
        ("2025-01-01 10:00", "a", 0),
        ("2025-01-01 10:30", "b", 0),
        ("2025-01-01 11:00", "a", 0),  # each pause is exactly the gap: still the session of 10:00
        ("2025-01-01 11:30:00.000001", "a", 0),
        ("2025-01-02", None, 1),
        session_gap="30min",
    )
    assert paths(journeys) == [("a b a", 1)]
    assert journeys.audit["touches_merged_in_sessions"] == 1


def test_merged_converting_hits_still_convert() -> None:
    journeys = build(
        ("2025-01-01 10:00", "a", 0), ("2025-01-01 10:10", "a", 1), session_gap="30min"
    )
    assert paths(journeys) == [("a", 1)]
    assert ends(journeys) == [pd.Timestamp("2025-01-01 10:10")]
    assert journeys.times.tolist() == [pd.Timestamp("2025-01-01 10:00").value // 1000]


# attributes


def test_attributes_are_kept_per_touch_and_per_journey() -> None:
    events = log(
        ("2025-01-01", "a", 0, "x", "de"),
        ("2025-01-02", "b", 1, None, "fr"),
        ("2025-01-03", "c", 0, "y", "it"),
        ("2025-01-04", "d", 0, "z", "es"),
        more=("campaign", "country"),
    )
    journeys = Journeys.from_events(events, attributes="campaign", journey_attributes=["country"])
    assert [[t.attributes["campaign"] for t in j.touchpoints] for j in journeys] == [
        ["x", None],
        ["y", "z"],
    ]
    # from the conversion; for a null journey from its last touch
    assert [j.attributes["country"] for j in journeys] == ["fr", "es"]


def test_a_column_may_be_an_attribute_of_touches_and_of_journeys() -> None:
    events = log(("2025-01-01", "a", 0, 1), ("2025-01-02", "b", 1, 2), more=("stage",))
    journeys = Journeys.from_events(events, attributes=["stage"], journey_attributes=["stage"])
    assert [t.attributes["stage"] for t in journeys[0].touchpoints] == [1, 2]
    assert journeys[0].attributes["stage"] == 2


# bad rows


def test_on_invalid_drop_counts_each_bad_row_once_under_its_reason() -> None:
    events = pd.DataFrame(
        {
            "user_id": ["ann", None, "ann", "ann", "ann", "ann", "ann", "", None],
            "timestamp": ["2025-01-01"] * 2 + [None, "soon"] + ["2025-01-02"] * 4 + [None],
            "channel": ["a", "b", "c", "d", "e", "f", None, "g", "h"],
            "converted": [1, 1, 1, 1, -1, 0, 0, 0, np.nan],
            "revenue": [9.0, 1, 1, 1, 0, 5, 0, 0, np.inf],
        }
    )
    journeys = Journeys.from_events(events, value="revenue", on_invalid="drop")
    assert paths(journeys) == [("a", 1)]
    assert {k: v for k, v in journeys.audit.items() if k.startswith(("rows_w", "touches_w"))} == {
        "rows_without_user": 3,
        "rows_without_time": 1,
        "rows_with_unreadable_time": 1,
        "rows_with_invalid_conversion": 1,
        "rows_with_value_but_no_conversion": 1,
        "touches_without_channel": 1,
    }
    assert journeys.audit["rows_read"] == 9
    assert journeys.audit["conversions_read"] == 1
    assert journeys.audit["value_read"] == 9


def test_a_missing_value_is_zero_and_counted() -> None:
    events = log(("2025-01-01", "a", 1, None), ("2025-01-02", "b", 1, 5), more=("revenue",))
    journeys = Journeys.from_events(events, value="revenue")
    assert journeys.values.tolist() == [0, 5]
    assert journeys.audit["conversions_without_value"] == 1


def test_a_negative_value_is_a_refund_and_accepted() -> None:
    events = log(("2025-01-01", "a", 1, -5), more=("revenue",))
    assert Journeys.from_events(events, value="revenue").values.tolist() == [-5]


def test_duplicate_events_are_kept_and_counted() -> None:
    journeys = build(("2025-01-01", "a", 0), ("2025-01-01", "a", 0), ("2025-01-02", "b", 1))
    assert paths(journeys) == [("a a b", 1)]
    assert journeys.audit["duplicate_events"] == 1


@no_conversions
def test_a_log_without_conversions_is_all_null() -> None:
    assert paths(build(("2025-01-01", "a", 0))) == [("a", 0)]


def test_a_log_without_conversions_warns() -> None:
    with pytest.warns(AttributionWarning, match="There are no conversions"):
        build(("2025-01-01", "a", False))


def test_declared_types_make_parts_of_a_log_add_up() -> None:
    log = pd.DataFrame(
        {
            "user_id": [1, 1, 2, 2],
            "timestamp": pd.to_datetime(["2025-01-01", "2025-01-02"] * 2, utc=True),
            "channel": ["a", None, "b", None],
            "converted": [0, 1, 0, 1],
            "kind": [None, "lead", None, "purchase"],
        }
    )
    options = {"conversion_type": "kind", "observed_until": "2025-02-01"}
    parts = [log[log["user_id"] == user] for user in (1, 2)]
    alone = [Journeys.from_events(part, **options) for part in parts]
    with pytest.raises(InputError, match="conversion_types is"):
        Journeys.concat(alone)
    options["conversion_types"] = ["lead", "purchase"]
    joined = Journeys.concat([Journeys.from_events(part, **options) for part in parts])
    whole = Journeys.from_events(log, **options)
    for kind in ("lead", "purchase"):
        expected = whole.of_type(kind).to_paths()
        pd.testing.assert_frame_equal(joined.of_type(kind).to_paths(), expected)
    assert joined.n_journeys == 4


def test_a_conversion_of_an_undeclared_type_is_an_error_or_counted() -> None:
    log = pd.DataFrame(
        {
            "user_id": [1, 1],
            "timestamp": ["2025-01-01", "2025-01-02"],
            "channel": ["a", "b"],
            "converted": [1, 1],
            "kind": ["lead", "deal"],
        }
    )
    options = {"conversion_type": "kind", "conversion_types": ["lead"]}
    with pytest.raises(InputError, match=r"conversion_types lacks, first in row 1 \(deal\)"):
        Journeys.from_events(log, **options)
    journeys = Journeys.from_events(log, **options, on_invalid="drop")
    assert journeys.audit["conversions_of_other_types"] == 1


def test_parts_reported_up_to_their_own_last_event_do_not_join() -> None:
    log = pd.DataFrame(
        {
            "user_id": [1, 2],
            "timestamp": ["2025-01-01", "2025-03-02"],
            "channel": ["a", "b"],
            "converted": [1, 1],
        }
    )
    parts = [
        Journeys.from_events(log[log["user_id"] == user], report_until="2026-01-01")
        for user in (1, 2)
    ]
    with pytest.raises(InputError, match="observed_until is"):
        Journeys.concat(parts)


def test_ordered_categories_order_touches_of_one_instant() -> None:
    sizes = pd.Categorical(["high", "low"], categories=["low", "high"], ordered=True)
    log = pd.DataFrame(
        {
            "user_id": [1, 1],
            "timestamp": ["2025-01-01", "2025-01-01"],
            "channel": ["a", "b"],
            "converted": [False, True],
            "size": sizes,
        }
    )
    journeys = Journeys.from_events(log, order="size")
    assert journeys.to_paths()["path"].tolist() == ["b > a"]


def test_every_count_of_the_audit_has_a_meaning() -> None:
    from attribution.audit import MEANING

    def keys(file: Path) -> set[str]:
        return set(re.findall(r'audit\["(\w+)"\]', file.read_text()))

    files = set(Path(events.__file__).parent.glob("*.py"))
    own = Path(identity.__file__)  # has an audit of its own
    found = set.union(*(keys(file) for file in files - {own}))
    assert "conversions_read" in found
    assert found <= set(MEANING)
    documented = set(re.findall(r"- (\w+):", identity.Identity.__doc__ or ""))
    assert keys(own) == documented
