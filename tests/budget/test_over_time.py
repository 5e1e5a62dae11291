import datetime
from collections import defaultdict
from dataclasses import replace
from zoneinfo import ZoneInfo

import calendar_oracle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import InputError, Journeys, Linear, Markov, Shapley, TimeDecay
from attribution.budget.over_time import attribute_by
from attribution.datasets import load_events

HOUR = 3_600_000_000
PERIODS = ("D", "W", "MS", "QS", "YS")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland")
BEGIN = int(datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC).timestamp()) * 10**6
CHANNELS = ("a", "b", "c")
TOUCHES = st.lists(st.tuples(st.sampled_from(CHANNELS), st.integers(0, 2_000)), max_size=4)
ROWS = st.lists(
    st.tuples(
        TOUCHES, st.integers(0, 3), st.integers(0, 2), st.integers(-2, 9), st.integers(0, 10_000)
    ),
    min_size=1,
    max_size=8,
)


def journeys_of(rows, channels=CHANNELS, **options):
    """Build journeys of (touches with hours before the end, conversions, nulls, value, end)."""
    ends = np.array([BEGIN + row[4] * HOUR for row in rows], dtype=np.int64)
    touches = [(name, ends[i] - age * HOUR) for i, row in enumerate(rows) for name, age in row[0]]
    return Journeys(
        channels=channels,
        codes=np.array([channels.index(name) for name, _ in touches], dtype=np.int32),
        offsets=np.cumsum([0, *(len(row[0]) for row in rows)]),
        conversions=np.array([row[1] for row in rows], dtype=float),
        nulls=np.array([row[2] for row in rows], dtype=float),
        values=np.array([row[3] * (row[1] > 0) for row in rows], dtype=float),
        times=np.array([time for _, time in touches], dtype=np.int64),
        ends=ends,
        **options,
    )


def first_day(moment, period, tz):
    """Return the first day of the period of a moment, by the clock of the zone."""
    day = datetime.datetime.fromtimestamp(moment // 10**6, ZoneInfo(tz)).date()
    return calendar_oracle.first_day(day, period)


def next_day(day, period):
    """Return the first day of the next period."""
    days = {"D": 1, "W": 7, "MS": 31, "QS": 92, "YS": 366}[period]
    after = day + datetime.timedelta(days=days)
    if period in ("MS", "QS"):
        return after.replace(day=1)
    return after.replace(month=1, day=1) if period == "YS" else after


def slow(rows, period, by, tz, values=False):
    """Return days, credit by (day, channel), unattributed and totals by day."""
    credit, bare, totals = defaultdict(float), defaultdict(float), defaultdict(float)
    seen = []
    for touches, conversions, _, value, hours in rows:
        end = BEGIN + hours * HOUR
        outcome = (value if conversions else 0) if values else conversions
        day = first_day(end, period, tz)
        seen.append(day)
        totals[day] += outcome
        if not touches:
            bare[day] += outcome
        for name, age in touches:
            own = first_day(end - age * HOUR, period, tz)
            seen.append(own)
            credit[own if by == "touch" else day, name] += outcome / len(touches)
    days = [min(seen)]
    while days[-1] < max(seen):
        days.append(next_day(days[-1], period))
    return days, credit, bare, totals


@given(
    ROWS, st.sampled_from(PERIODS), st.sampled_from(["conversion", "touch"]), st.sampled_from(ZONES)
)
def test_credit_falls_into_the_periods_of_the_oracle(rows, period, by, tz):
    found = attribute_by(journeys_of(rows), "linear", period=period, by=by, tz=tz)
    for of, rest in (
        ("conversions", found.unattributed),
        ("value", found.unattributed_values),
    ):
        days, credit, bare, totals = slow(rows, period, by, tz, values=of == "value")
        assert [stamp.date() for stamp in found.wide().index] == days
        expected = [[credit[day, name] for name in CHANNELS] for day in days]
        # sums of at most 32 shares of small whole numbers
        np.testing.assert_allclose(found.credit(of), expected, rtol=0, atol=1e-12)
        assert rest.tolist() == [bare[day] for day in days]
        assert found.outcome(of).tolist() == [totals[day] for day in days]


@given(ROWS, st.sampled_from(PERIODS), st.sampled_from(["conversion", "touch"]))
def test_periods_add_up_to_the_attribution(rows, period, by):
    journeys = journeys_of(rows)
    for model in (Linear(), TimeDecay(), Shapley()):
        found = attribute_by(journeys, model, period=period, by=by)
        result = model.attribute(journeys)
        assert (found.model, found.channels) == (result.model, result.channels)
        frame = result.to_frame()
        for of in ("conversions", "value"):
            sums = found.credit(of).sum(axis=0)
            np.testing.assert_allclose(sums, frame[of], rtol=1e-9, atol=1e-9)
        assert found.unattributed.sum() == result.unattributed
        assert found.unattributed_values.sum() == result.unattributed_value
        assert found.totals.sum() == result.total_conversions
        assert found.total_values.sum() == result.total_value


@given(ROWS, st.lists(st.integers(0, 3), min_size=8, max_size=8), st.sampled_from(PERIODS))
def test_parts_with_channels_and_times_of_their_own_add_up(rows, place, period):
    rows = [(*row[:3], abs(row[3]), row[4]) for row in rows]
    whole = journeys_of(rows)
    parts = [[row for row, at in zip(rows, place, strict=False) if at == i] for i in range(4)]
    cut = []
    for part in parts:
        used = tuple(sorted({name for row in part for name, _ in row[0]}))
        cut.append(journeys_of(part, used))
    cut.append(journeys_of([]))
    for by in ("conversion", "touch"):
        expected = attribute_by(whole, period=period, by=by)
        found = attribute_by(iter(cut), period=period, by=by)
        same_credit(found, expected)


def same_credit(found, expected):
    assert found.channels == expected.channels
    assert found.starts.tolist() == expected.starts.tolist()
    assert found.complete.tolist() == expected.complete.tolist()
    names = ("conversions", "values", "unattributed", "unattributed_values", "totals")
    for name in (*names, "total_values"):
        pair = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(*pair, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def sample():
    return Journeys.from_events(
        load_events(), conversion_type="conversion_type", value="value"
    ).of_type("purchase")


@pytest.mark.parametrize("model", [Markov(), Markov(order=2)], ids=["1", "2"])
def test_a_model_of_all_journeys_agrees_part_by_part(sample, model):
    """A channel's total is spread over all its touches, whatever part they are in."""
    result = model.attribute(sample)
    expected = attribute_by(sample, model, by="touch", period="MS")
    parts = list(sample.parts(5_000))
    assert len(parts) > 2
    same_credit(attribute_by(parts, model, by="touch", period="MS"), expected)
    same_credit(
        attribute_by(iter(parts), model, by="touch", period="MS", attribution=result), expected
    )
    for of in ("conversions", "value"):
        sums = expected.credit(of).sum(axis=0)
        np.testing.assert_allclose(sums, result.to_frame()[of], rtol=1e-9)


def test_what_an_engine_holds_is_summed_where_it_lies(sample):
    class Elsewhere:
        calls = 0

        def sum_of(self, function):
            self.calls += 1
            halves = np.arange(len(sample)) < len(sample) // 2
            return function(sample.select(halves)) + function(sample.select(~halves))

    for model, passes in (("linear", 1), ("markov", 2)):
        elsewhere = Elsewhere()
        found = attribute_by(elsewhere, model, period="QS")
        same_credit(found, attribute_by(sample, model, period="QS"))
        assert elsewhere.calls == passes


def test_the_sample_by_conversion_date_is_that_of_pandas(sample):
    found = attribute_by(sample, "last_click", period="W")
    events = load_events()
    bought = events[events["conversion_type"] == "purchase"]
    monday = bought["timestamp"].dt.tz_convert("UTC").dt.tz_localize(None).dt.to_period("W-SUN")
    counts = bought.groupby(monday.dt.start_time)["value"].agg(["size", "sum"])
    weeks = found.wide().index.tz_localize(None)
    counts = counts.reindex(weeks, fill_value=0)
    assert found.totals.tolist() == counts["size"].tolist()
    np.testing.assert_allclose(found.total_values, counts["sum"], rtol=1e-12)
    # 2024-01-01 is a Monday, and 2025-02-28 a Friday
    assert found.complete.tolist() == [True] * (len(weeks) - 1) + [False]


def logged(first, last, **options):
    """Return journeys of two touches and conversions, the first and last event of the log."""
    events = pd.DataFrame(
        {
            "user_id": ["u", "v"],
            "timestamp": [first, last],
            "channel": "a",
            "converted": True,
        }
    )
    return Journeys.from_events(events, **options)


@pytest.mark.parametrize(
    ("first", "last", "complete"),
    [
        ("2025-03-03", "2025-03-23 23:59", [True, True, True]),
        ("2025-03-04 00:00", "2025-03-23 00:00", [True, True, True]),  # a day is let pass
        ("2025-03-04 00:01", "2025-03-22 23:59", [False, True, False]),
        ("2025-03-06", "2025-03-07", [False]),
    ],
)
def test_a_period_is_complete_if_the_log_covers_it_but_for_a_day(first, last, complete):
    for by in ("conversion", "touch"):
        assert attribute_by(logged(first, last), by=by).complete.tolist() == complete


def test_a_day_is_complete_but_for_a_seventh_of_it():
    found = attribute_by(logged("2025-03-03 03:00", "2025-03-05 20:00"), period="D")
    assert found.complete.tolist() == [True, True, False]
    found = attribute_by(logged("2025-03-03 04:00", "2025-03-05 21:00"), period="D")
    assert found.complete.tolist() == [False, True, True]


def test_of_closed_journeys_the_last_lookback_is_not_complete():
    events = pd.DataFrame(
        {
            "user_id": range(70),
            "timestamp": pd.date_range("2025-03-03", periods=70),
            "channel": "a",
            "converted": True,
        }
    )
    options = {"observed_until": "2025-05-12", "lookback": "14D"}
    every = attribute_by(Journeys.from_events(events, **options))
    closed = attribute_by(Journeys.from_events(events, closed_only=True, **options))
    assert every.complete.tolist() == [True] * 10
    assert closed.complete.tolist() == [True] * 8 + [False] * (len(closed.complete) - 8)
    # what counts as complete holds every conversion
    assert closed.totals[:8].tolist() == every.totals[:8].tolist()


def test_what_the_options_say_of_the_log_counts():
    dates = ("2025-03-03", "2025-03-20")
    assert attribute_by(logged(*dates)).complete.tolist() == [True, True, False]
    known = logged(*dates, observed_until="2025-03-24")
    assert attribute_by(known).complete.tolist() == [True, True, True]
    for until, last in (("2025-03-22 23:59", False), ("2025-03-23", True)):
        window = logged(*dates, report_until=until, observed_until="2025-03-31")
        assert attribute_by(window).complete.tolist() == [True, True, last]


def test_periods_before_the_reporting_window_are_not_complete():
    events = pd.DataFrame(
        {
            "user_id": ["u", "u", "v", "v"],
            "timestamp": ["2025-03-04", "2025-03-12", "2025-03-03", "2025-03-23 12:00"],
            "channel": "a",
            "converted": [False, True, False, True],
        }
    )
    journeys = Journeys.from_events(events, report_from="2025-03-10", report_until="2025-03-24")
    found = attribute_by(journeys, by="touch")
    assert found.conversions[:, 0].tolist() == [1.0, 0.5, 0.5]
    assert found.complete.tolist() == [False, True, True]


def test_journeys_without_conversion_tell_that_the_log_was_kept():
    rows = [([("a", 0)], 1, 0, 5, 0), ([("b", 24)], 0, 1, 0, 24 * 31)]
    found = attribute_by(journeys_of(rows), period="MS")
    # 2024-03-01 to 2024-04-01 00:00, the end of a null journey
    assert found.totals.tolist() == [1, 0]
    assert found.complete.tolist() == [True, False]


def test_a_row_may_stand_for_many_journeys():
    one = [([("a", 5), ("b", 1)], 1, 0, 2, 100)]
    many = [([("a", 5), ("b", 1)], 3, 4, 6, 100)]
    found, expected = attribute_by(journeys_of(many)), attribute_by(journeys_of(one * 3))
    same_credit(found, expected)


def test_tables(sample):
    found = attribute_by(sample, "linear", period="MS", tz="Europe/Berlin")
    wide = found.wide("value")
    assert wide.columns.tolist() == list(found.channels)
    # the first event of the log is at 2024-01-01 UTC or later
    assert wide.index[0] == pd.Timestamp("2024-01-01", tz="Europe/Berlin")
    long = found.to_frame()
    assert long.index.names == ["period", "channel"]
    assert long.columns.tolist() == ["conversions", "value"]
    unstacked = long["value"].unstack()
    assert np.array_equal(unstacked[list(found.channels)].to_numpy(), wide.to_numpy())
    assert found.credit("conversions").sum() == long["conversions"].sum()
    text = repr(found)
    assert "linear" in text
    assert "1,893 conversions" in text


def test_without_value_there_is_none():
    found = attribute_by(logged("2025-03-03", "2025-03-20"))
    assert found.values is found.unattributed_values is found.total_values is None
    assert found.to_frame().columns.tolist() == ["conversions"]
    with pytest.raises(InputError, match=r"no value.*Hint"):
        found.wide("value")


def test_results_are_frozen_and_comparable():
    found, other = (attribute_by(logged("2025-03-03", "2025-03-20")) for _ in range(2))
    assert found.equals(other)
    assert not found.equals(replace(found, by="touch"))
    with pytest.raises(ValueError, match="read-only"):
        found.conversions[0, 0] = 1


ONE = [([("a", 5)], 1, 0, 2, 100)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": "h"}, "period='h' is not one of .*'D', 'W', 'MS', 'QS', 'YS'"),
        ({"period": None}, "period=None is not one of"),
        ({"by": "both"}, "by='both' is not one of"),
        ({"tz": "Mars"}, "tz='Mars' is no time zone.*Hint"),
        ({"model": "liner"}, "No model 'liner'"),
        (
            {"attribution": Markov().attribute(journeys_of([*ONE, ([("b", 1)], 0, 1, 0, 1)]))},
            "attribution is of markov, not of linear.*Hint",
        ),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        attribute_by(journeys_of(ONE), **options)


def test_journeys_that_do_not_fit():
    with pytest.raises(InputError, match=r"Got a int, not Journeys"):
        attribute_by(5)
    untimed = replace(journeys_of(ONE), times=None, given_ages=np.array([1.0]))
    with pytest.raises(InputError, match=r"no times.*Hint"):
        attribute_by(untimed)
    with pytest.raises(InputError, match=r"no times.*Hint"):
        attribute_by(replace(journeys_of(ONE), ends=None))
    with pytest.raises(InputError, match="There are no journeys: the iterable is empty"):
        attribute_by([])
    with pytest.raises(InputError, match=r"0 rows.*Hint"):
        attribute_by(journeys_of([]))


def test_parts_that_do_not_fit_together():
    bare = replace(journeys_of(ONE), values=None)
    with pytest.raises(InputError, match=r"One part has values.*Hint"):
        attribute_by([journeys_of(ONE), bare])
    logs = [logged("2025-03-03", "2025-03-20", lookback=f"{n}D") for n in (7, 8)]
    with pytest.raises(InputError, match="Journeys of different options"):
        attribute_by(logs)


def test_a_stream_cannot_be_read_twice(sample):
    with pytest.raises(InputError, match=r"markov has to read these journeys twice.*Hint"):
        attribute_by(iter([sample]), "markov")
