import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from journey_tables import paths_of, tables

from attribution import AttributionWarning, Journey, Journeys, Touchpoint
from attribution.transforms import without


def paths(*rows):
    """Read rows of (path, conversions, nulls, value)."""
    names = ["path", "conversions", "nulls", "value"]
    frame = pd.DataFrame(rows, columns=names)
    return Journeys.from_paths(frame, nulls="nulls", value="value", empty="unattributed")


def events(*rows, **options):
    """Read rows of (user, time, channel, converted)."""
    names = ["user_id", "timestamp", "channel", "converted"]
    return Journeys.from_events(pd.DataFrame(rows, columns=names), **options)


# --- a small table by hand ------------------------------------------------------------


@pytest.fixture
def summary():
    return paths(
        ("a > b > a", 2, 1, 30.0),  # 3 journeys of 3 touches
        ("b", 1, 3, 5.0),  # 4 journeys of 1 touch
        ("direct > b", 0, 2, 0.0),  # 2 journeys of 2 touches
        (None, 1, 0, 7.0),  # 1 journey of no touch
    ).summary()


def test_figures_of_a_path_table(summary):
    assert dict(summary.figures) == {
        "journeys": 10,
        "conversions": 4,
        "conversion_rate": 0.4,
        "value": 42,
        "touches": 17,
        "touches_per_journey": 1.7,
    }


def test_quality_of_a_path_table(summary):
    quality = dict(summary.quality)
    assert math.isnan(quality.pop("days_without_events"))
    assert quality == {
        "duplicate_rows": 0,
        "long_journeys": 0,
        "long_journey_touch_share": 0,
        "single_touch_share": 0.4,
        "direct_touch_share": pytest.approx(2 / 17),
        "unattributed_share": 0.25,
    }


def test_channels_of_a_path_table(summary):
    expected = pd.DataFrame(
        {"touches": [6.0, 9.0, 2.0], "journeys": [3.0, 9.0, 2.0]},
        index=pd.Index(["a", "b", "direct"], name="channel", dtype=object),
    )
    pd.testing.assert_frame_equal(summary.channels, expected)


def test_the_audit_is_that_of_the_journeys(summary):
    assert summary.audit == {
        "conversions_read": 4,
        "rows_read": 4,
        "rows_without_journeys": 0,
        "value_read": 42,
    }


def test_it_prints_and_converts_to_one_column(summary):
    frame = summary.to_frame()
    assert frame.loc[("figures", "conversion_rate"), "value"] == 0.4
    assert frame.loc[("quality", "unattributed_share"), "value"] == 0.25
    assert frame.loc[("audit", "rows_read"), "value"] == 4
    assert len(frame) == 6 + 7 + 4
    for text in (repr(summary), summary._repr_html_()):
        assert all(name in text for name in ("touches_per_journey", "rows_read", "direct"))


def test_without_value_the_value_is_missing():
    frame = pd.DataFrame({"path": ["a > b"], "conversions": [1]})
    assert math.isnan(Journeys.from_paths(frame).summary().figures["value"])


def test_without_any_journey_shares_are_missing():
    summary = paths(("a > b", 1, 1, 0.0)).select(np.array([], dtype=int)).summary()
    assert summary.figures["journeys"] == 0
    for group, name in (
        ("figures", "conversion_rate"),
        ("figures", "touches_per_journey"),
        ("quality", "single_touch_share"),
        ("quality", "direct_touch_share"),
        ("quality", "unattributed_share"),
        ("quality", "long_journey_touch_share"),
    ):
        assert math.isnan(getattr(summary, group)[name])


# --- quality --------------------------------------------------------------------------


def test_long_journeys_have_more_than_100_touches():
    summary = paths(
        (" > ".join(["a"] * 101), 1, 2, 0.0), (" > ".join(["a"] * 100), 1, 0, 0.0), ("a", 1, 0, 0.0)
    ).summary()
    assert summary.quality["long_journeys"] == 3
    assert summary.quality["long_journey_touch_share"] == pytest.approx(303 / 404)


def test_direct_touches_are_known_by_every_spelling():
    summary = paths(("Direct > (direct) / (none) > a > direct mail", 1, 0, 0.0)).summary()
    assert summary.quality["direct_touch_share"] == 0.5


def test_rows_with_the_path_of_an_earlier_row_are_duplicates():
    summary = paths(
        ("a > b", 1, 0, 0.0), ("b", 1, 0, 0.0), ("a>b", 1, 0, 0.0), ("b > a", 1, 0, 0.0)
    ).summary()
    assert summary.quality["duplicate_rows"] == 1


def test_conversions_that_lost_their_touches_are_unattributed():
    journeys = paths(("direct", 1, 5, 0.0), ("a > direct", 3, 0, 0.0))
    assert journeys.summary().quality["unattributed_share"] == 0
    left = without(journeys, "direct", keep_if_only=False)
    assert left.summary().quality["unattributed_share"] == 0.25


# --- event logs -----------------------------------------------------------------------


def test_days_between_events_count_from_first_to_last_in_utc():
    summary = events(
        (1, "2025-03-01 23:00", "a", 0),
        (1, "2025-03-03 01:00", "b", 0),
        (2, "2025-03-03 02:00", "a", 0),
        (2, "2025-03-07 00:00", None, 1),
    ).summary()
    assert summary.quality["days_without_events"] == 4  # the 2nd, 4th, 5th and 6th


def test_the_end_of_a_journey_without_conversion_is_no_event():
    touch = Touchpoint("a", dt.datetime(2025, 3, 1))
    late = dt.datetime(2025, 3, 9)
    null, converted = (
        Journey([touch], 0, end=late),
        Journey([touch], 1, end=dt.datetime(2025, 3, 3)),
    )
    summary = Journeys.from_journeys([null, converted]).summary()
    assert summary.quality["days_without_events"] == 1


def test_duplicates_and_ties_of_a_log_are_shown():
    with pytest.warns(AttributionWarning, match="two touches have the same time"):
        journeys = events(
            (1, "2025-03-01 10:00", "a", 0),
            (1, "2025-03-01 10:00", "a", 0),
            (1, "2025-03-01 10:00", "b", 0),
            (1, "2025-03-02 10:00", "c", 0),
            (1, "2025-03-03 10:00", None, 1),
        )
    quality = journeys.summary().quality
    assert quality["duplicate_events"] == 1
    assert quality["first_touch_ties"] == 1
    assert quality["last_touch_ties"] == 0
    assert "duplicate_rows" not in quality


def test_a_touch_that_two_conversions_look_back_on_counts_once():
    rows = [
        (1, "2025-03-01", "a", 0),
        (1, "2025-03-02", "b", 1),
        (1, "2025-03-03", "a", 0),
        (1, "2025-03-04", None, 1),
    ]
    reused = events(*rows, reuse_touches=True)
    assert paths_of(reused) == [["a", "b"], ["a", "b", "a"]]
    summary = reused.summary()
    assert summary.figures["touches"] == 3
    assert summary.figures["touches_per_journey"] == 2.5
    assert summary.channels["touches"].to_dict() == {"a": 2, "b": 1}
    assert summary.channels["journeys"].to_dict() == {"a": 2, "b": 2}


def test_a_conversion_of_two_counts_its_touches_once():
    summary = events((1, "2025-03-01", "a", 0), (1, "2025-03-02", "b", 2)).summary()
    assert summary.figures["journeys"] == 2
    assert summary.figures["touches"] == 2
    assert summary.figures["touches_per_journey"] == 2


# --- against plain Python ---------------------------------------------------------------


@given(journeys=tables())
def test_figures_equal_plain_loops(journeys):
    rows = list(zip(paths_of(journeys), journeys.conversions, journeys.nulls, strict=True))
    weights = [conversions + nulls for _, conversions, nulls in rows]
    pairs = list(zip(rows, weights, strict=True))
    summary = journeys.summary()
    reached = {c: sum(w for r, w in pairs if c in r[0]) for c in journeys.channels}
    touched = {c: sum(r[0].count(c) for r in rows) for c in journeys.channels}
    total, converted = sum(weights), sum(row[1] for row in rows)
    single = sum(w for r, w in pairs if len(r[0]) == 1)
    bare = sum(row[1] for row in rows if not row[0])
    assert summary.channels["journeys"].to_dict() == reached
    assert summary.channels["touches"].to_dict() == touched
    assert summary.figures["journeys"] == total
    share = pytest.approx(single / total if total else math.nan, nan_ok=True)
    assert summary.quality["single_touch_share"] == share
    share = pytest.approx(bare / converted if converted else math.nan, nan_ok=True)
    assert summary.quality["unattributed_share"] == share
