import datetime as dt

import numpy as np
import pandas as pd
import pytest

from attribution import InputError
from attribution.durations import microseconds, moment

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("7D", 7 * DAY),
        ("7 days", 7 * DAY),
        ("1W", 7 * DAY),
        ("30min", HOUR // 2),
        ("1.5h", HOUR + HOUR // 2),
        ("1D 2h", 26 * HOUR),
        ("250ms", SECOND // 4),
        ("1us", 1),
        (dt.timedelta(hours=1, microseconds=5), HOUR + 5),
        pytest.param(
            dt.timedelta(days=146_000),
            146_000 * DAY,
            marks=pytest.mark.skipif(
                int(pd.__version__.split(".")[0]) < 3,
                reason="pandas 2 holds no more than 292 years in nanoseconds",
            ),
        ),
        (np.timedelta64(2, "h"), 2 * HOUR),
        (pd.Timedelta("1h"), HOUR),
    ],
)
def test_a_duration_is_whole_microseconds(duration, expected):
    assert microseconds(duration, "lookback") == expected


def test_nanoseconds_are_rounded_down():
    assert microseconds("1999ns", "lookback") == 1


@pytest.mark.parametrize(
    ("duration", "complaint"),
    [
        (7, "has no unit"),
        (7.5, "has no unit"),
        ("7", "has no unit"),
        ("-7", "has no unit"),
        (True, "has no unit"),
        ("soon", "is not a length of time"),
        ("1M", "is not a length of time"),
        ("", "is not"),
        ("0D", "is not positive"),
        ("-3D", "is not positive"),
        (dt.timedelta(0), "is not positive"),
        (None, "is not positive"),
        ("NaT", "is not positive"),
        ("500ns", "is shorter than a microsecond"),
    ],
)
def test_a_duration_that_cannot_be_used_is_refused_by_its_option(duration, complaint):
    with pytest.raises(InputError) as error:
        microseconds(duration, "half_life")
    message = str(error.value)
    assert message.startswith(f"half_life={duration!r} {complaint}")
    assert message.endswith("Hint: write a number with a unit, such as half_life='7D' or '30min'.")


PARIS = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("1970-01-02", DAY),
        ("1970-01-01 00:00:01", SECOND),
        ("1970-01-01T02:00:00+01:00", HOUR),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31", -DAY),
        (dt.date(1970, 1, 3), 2 * DAY),
        (dt.datetime(1970, 1, 1, 1), HOUR),
        (dt.datetime(1970, 1, 1, 1, tzinfo=PARIS), 0),
        (pd.Timestamp("1970-01-01 01:00", tz="Europe/Paris"), 0),
        (np.datetime64("1970-01-01T00:00:01"), SECOND),
    ],
)
def test_a_moment_is_microseconds_since_1970_utc(point, expected):
    assert moment(point, "report_from") == expected


@pytest.mark.parametrize(("text", "year"), [("0001-01-01", 1), ("9999-12-31", 9999)])
def test_a_moment_may_lie_beyond_the_range_of_nanoseconds(text, year):
    epoch = dt.date(1970, 1, 1)
    days = (dt.date.fromisoformat(text) - epoch).days
    assert dt.date.fromisoformat(text).year == year
    assert moment(text, "report_until") == days * DAY


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1970-01-01T00:00:00.0000019", 1), ("1969-12-31T23:59:59.9999999", -1)],
)
def test_a_moment_between_microseconds_is_rounded_down(text, expected):
    assert moment(text, "report_from") == expected


@pytest.mark.parametrize(
    ("point", "complaint"),
    [
        (5, "is a number without a unit"),
        (1.5, "is a number without a unit"),
        ("soon", "is not a point in time"),
        ("2025-02-30", "is not a point in time"),
        ("", "is not a point in time"),
        (None, "is not a point in time"),
        (pd.NaT, "is not a point in time"),
    ],
)
def test_a_moment_that_cannot_be_used_is_refused_by_its_option(point, complaint):
    with pytest.raises(InputError) as error:
        moment(point, "report_from")
    message = str(error.value)
    assert message.startswith(f"report_from={point!r} {complaint}")
    assert message.endswith("Hint: write report_from='2025-01-31' or give a datetime.")
