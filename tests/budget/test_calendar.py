import datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from calendar_oracle import first_day
from hypothesis import given
from hypothesis import strategies as st

from attribution import InputError
from attribution.budget.calendar import edges, from_local, period_of, place_in, timestamps

US = 10**6
DAY = 86_400 * US
PERIODS = ("D", "W", "MS", "QS", "YS")
# (zone, day about which clocks do something odd)
ODD = (
    ("UTC", "2024-02-29"),
    ("Europe/Berlin", "2025-03-30"),
    ("Europe/Berlin", "2025-10-26"),
    ("America/Sao_Paulo", "2018-11-04"),  # midnight is skipped
    ("America/Sao_Paulo", "2018-02-18"),  # 23:00 comes twice
    ("America/Havana", "2020-11-01"),  # midnight comes twice
    ("America/St_Johns", "2010-11-07"),  # the first minute of the day comes before its eve ends
    ("America/St_Johns", "2011-03-13"),
    ("Pacific/Apia", "2011-12-30"),  # the whole day is skipped
    ("Pacific/Kiritimati", "1994-12-31"),  # so is the last one of the year
    ("Asia/Kathmandu", "2023-12-31"),
)


def at(text, tz="UTC"):
    return (
        round(datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp()) * US
    )


def local(moment, tz):
    return datetime.datetime.fromtimestamp(moment // US, ZoneInfo(tz))


def next_first(day, period):
    """The first day of the next period, by walking there."""
    after = day
    while first_day(after, period) == day:
        after += datetime.timedelta(days=1)
    return after


@cache
def begin(day, tz):
    """The first moment at which clocks show this day or a later one, minute by minute."""
    minute = round(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp())
    minute -= 15 * 3600
    while local(minute * US, tz).date() < day:
        minute += 60
    return minute * US


def slow_edges(first, last, period, tz):
    """Walk from period to period until the last moment lies before the next begin."""
    day = first_day(local(first, tz).date(), period)
    while begin(next_first(day, period), tz) <= first:  # clocks went back behind a begin
        day = next_first(day, period)
    found = [begin(day, tz)]
    while found[-1] <= last:
        day = next_first(day, period)
        if begin(day, tz) != found[-1]:
            found.append(begin(day, tz))
    return found


@given(
    st.sampled_from(ODD),
    st.integers(-3 * 1440, 2 * 1440),
    st.integers(0, 4 * 1440),
    st.sampled_from(PERIODS),
)
def test_edges_are_those_of_a_walk_by_the_clock(odd, shift, minutes, period):
    tz, day = odd
    first = at(day, tz) + shift * 60 * US
    last = first + minutes * 60 * US
    assert edges(first, last, period, tz).tolist() == slow_edges(first, last, period, tz)


@given(st.integers(0, 3_000), st.integers(0, 900), st.sampled_from(("W", "MS", "QS", "YS")))
def test_long_spans_are_those_of_a_walk_by_the_clock(start, days, period):
    first = at("2018-01-01") + start * DAY + 5
    found = edges(first, first + days * DAY, period, "Europe/Berlin").tolist()
    assert found == slow_edges(first, first + days * DAY, period, "Europe/Berlin")


def test_odd_days():
    def shown(first, last, tz):
        return [f"{each:%m-%d %H:%M}" for each in timestamps(edges(first, last, "D", tz), tz)]

    noon = at("2018-11-04T12:00", "America/Sao_Paulo")
    assert shown(noon, noon, "America/Sao_Paulo") == ["11-04 01:00", "11-05 00:00"]
    days = [at("2011-12-29", "Pacific/Apia"), at("2011-12-31", "Pacific/Apia")]
    assert shown(*days, "Pacific/Apia") == ["12-29 00:00", "12-31 00:00", "01-01 00:00"]
    hours = np.diff(edges(at("2025-03-29"), at("2025-03-31"), "D", "Europe/Berlin")) / 3600 / US
    assert hours.tolist() == [24, 23, 24]


def test_one_moment_lies_within_one_period_whose_first_moment_is_its_own():
    bounds = edges(at("2024-05-15"), at("2024-05-15"), "D", "UTC")
    assert bounds.tolist() == [at("2024-05-15"), at("2024-05-16")]
    before = edges(at("2024-05-15") - 1, at("2024-05-15") - 1, "D", "UTC")
    assert before.tolist() == [at("2024-05-14"), at("2024-05-15")]


@given(st.lists(st.integers(-50, 50), min_size=1), st.lists(st.integers(-60, 60)))
def test_a_moment_lies_in_the_last_period_that_has_begun(starts, times):
    starts = sorted(set(starts))
    expected = [sum(start <= time for start in starts) - 1 for time in times]
    assert place_in(np.array(starts), np.array(times, dtype=np.int64)).tolist() == expected


@given(st.sampled_from(ODD), st.integers(-2 * 1440, 2 * 1440))
def test_clocks_are_read_as_the_first_moment_that_shows_it(odd, shift):
    tz, day = odd
    shown = datetime.datetime.fromisoformat(day) + datetime.timedelta(minutes=shift)
    minute = round(shown.replace(tzinfo=datetime.UTC).timestamp()) - 15 * 3600
    exact = [m for m in range(minute, minute + 32 * 3600, 60) if same(m, shown, tz)]
    if exact:
        assert from_local(np.array([at(shown.isoformat())]), tz).tolist() == [exact[0] * US]


@given(st.sampled_from(ODD), st.integers(-2, 2))
def test_midnights_that_clocks_skip_are_the_first_moment_after(odd, shift):
    tz, day = odd
    midnight = datetime.date.fromisoformat(day) + datetime.timedelta(days=shift)
    found = from_local(np.array([at(midnight.isoformat())]), tz)
    assert found.tolist() == [begin(midnight, tz)]


def same(second, shown, tz):
    return local(second * US, tz).replace(tzinfo=None) == shown


@given(
    st.sampled_from(ODD),
    st.sampled_from(PERIODS),
    st.integers(13, 20),
    st.randoms(use_true_random=False),
)
def test_the_period_is_the_longest_that_begins_at_every_start(odd, period, n, random):
    tz, day = odd
    bounds = [at(day, tz)]
    for _ in range(n):
        bounds.append(int(edges(bounds[-1], bounds[-1], period, tz)[-1]))
    starts = bounds[1:]
    random.shuffle(starts)
    # 13 in a row: a longer period would have to begin at each of them
    assert period_of(np.array(starts), tz) == period
    assert period_of(np.array([*starts, starts[0] + 60 * US]), tz) is None


def test_the_longest_of_several_periods_is_meant():
    assert period_of(np.array([at("2024-01-01"), at("2026-01-01")]), "UTC") == "YS"
    assert period_of(np.array([at("2024-01-01"), at("2024-04-01")]), "UTC") == "QS"
    assert period_of(np.array([at("2024-01-01"), at("2024-02-01")]), "UTC") == "MS"
    assert period_of(np.array([at("2024-01-01"), at("2024-01-08")]), "UTC") == "W"
    assert period_of(np.array([at("2024-01-01"), at("2024-01-09")]), "UTC") == "D"
    assert period_of(np.array([at("2024-01-01", "Europe/Berlin")]), "UTC") is None


def test_timestamps_show_the_clock_of_the_zone():
    index = timestamps(np.array([at("2018-11-04T03:00")]), "America/Sao_Paulo")
    assert index.name == "period"
    assert index[0].isoformat() == "2018-11-04T01:00:00-02:00"


def test_what_is_no_period_and_no_zone():
    with pytest.raises(InputError, match=r"period='week' is not one of .*Monday"):
        edges(0, 0, "week", "UTC")
    with pytest.raises(InputError, match=r"tz='Mars/Olympus' is no time zone. Hint: tz="):
        edges(0, 0, "D", "Mars/Olympus")
    with pytest.raises(InputError, match=r"tz='Mars/Olympus'"):
        from_local(np.zeros(1, dtype=np.int64), "Mars/Olympus")
