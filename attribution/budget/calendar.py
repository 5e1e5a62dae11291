"""Periods of the calendar, cut in a time zone: days, weeks from Monday on, months, quarters, years.

A period begins at local midnight (or at the first moment after it, where a clock change skips
midnight) and lasts until the next one begins, so that a day may have 23 or 25 hours. Where clocks
show midnight twice, the first counts. A day that a zone skipped as a whole is no period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from attribution.arrays import IntArray
from attribution.errors import InputError, require_rows

if TYPE_CHECKING:
    import pandas as pd

Period = Literal["D", "W", "MS", "QS", "YS"]
NAMES = {"D": "day", "W": "week", "MS": "month", "QS": "quarter", "YS": "year"}
_SPANS = {"D": "D", "W": "W-SUN", "MS": "M", "QS": "Q", "YS": "Y"}  # of pandas.Period


def edges(first: int, last: int, period: Period, tz: str) -> IntArray:
    """Return where the periods begin that hold all moments from the first to the last.

    Parameters
    ----------
    first, last
        Microseconds since 1970 UTC.
    period
        "D", "W" (from Monday on), "MS", "QS" or "YS".
    tz
        Time zone of the calendar.

    Returns
    -------
    numpy.ndarray
        Shape (n_periods + 1,); microseconds since 1970 UTC; period i is edges[i] : edges[i + 1].

    Raises
    ------
    InputError
        If there is no such period or time zone.

    Examples
    --------
    >>> from attribution.durations import MICROSECONDS_PER_DAY as day
    >>> (edges(0, 8 * day, "W", "UTC") // day).tolist()  # 1970-01-01 was a Thursday
    [-3, 4, 11]
    """
    import pandas as pd

    require_period(period)
    ends = _moments(np.array([first, last]), tz).tz_localize(None).to_period(_SPANS[period])
    begins = pd.period_range(ends[0], ends[1] + 2).start_time
    found = np.unique(from_local(begins.as_unit("us").asi8, tz))
    return found[: np.searchsorted(found, last, side="right") + 1]


def place_in(starts: IntArray, times: IntArray) -> IntArray:
    """Return the period of each moment: the last that has begun; -1 before the first."""
    return np.searchsorted(starts, times, side="right") - 1


def from_local(times: IntArray, tz: str) -> IntArray:
    """Return what clocks show in a time zone as microseconds since 1970 UTC, shape (n,).

    The first moment where clocks show it twice, the first one after it where they skip it.

    Raises
    ------
    InputError
        If there is no such time zone.
    """
    import pandas as pd

    require_zone(tz)
    naive = pd.DatetimeIndex(np.asarray(times, dtype="datetime64[us]"))

    def moment(shown: pd.DatetimeIndex) -> pd.DatetimeIndex:
        first = np.ones(len(shown), dtype=bool)
        return shown.tz_localize(tz, ambiguous=first, nonexistent="shift_forward")

    local, days = moment(naive), naive.normalize()
    skipped = local.tz_localize(None).normalize() != days  # the whole day
    if skipped.any():
        local = local.where(~skipped, moment(days + pd.Timedelta(days=1)))
    return np.asarray(local.as_unit("us").asi8)


def timestamps(starts: IntArray, tz: str) -> pd.DatetimeIndex:
    """Return moments in microseconds since 1970 UTC as timestamps in a time zone."""
    return _moments(starts, tz).rename("period")


def period_of(starts: IntArray, tz: str) -> Period | None:
    """Return the longest period that begins at each of these moments, or None."""
    for period in reversed(get_args(Period)):
        if np.isin(starts, edges(int(starts.min()), int(starts.max()), period, tz)).all():
            found: Period = period
            return found
    return None


def calendar_of(
    times: IntArray, name: str, freq: Period | None, tz: str
) -> tuple[Period, IntArray]:
    """Return the length of periods, and where those from the first to the last begin.

    Parameters
    ----------
    times
        Shape (n,); where periods begin, in any order and perhaps with gaps; microseconds UTC.
    name
        The column they are from.
    freq
        The length; the longest that all of them fit where None.
    tz
        Time zone of the calendar.

    Raises
    ------
    InputError
        If a moment starts no period, or the moments do not tell the length.
    """
    if freq is not None:
        require_period(freq, "freq")
    found = period_of(times, tz) if freq is None else freq
    if found is None:
        raise InputError(
            f"Column {name!r} holds moments that are no midnights in {tz}. Hint: give the start of "
            "each period, and tz= where days begin elsewhere."
        )
    bounds = edges(int(times.min()), int(times.max()), found, tz)
    if freq is None:
        _require_recognisable(np.unique(times), bounds, found, name, tz)
    starts = bounds[:-1]
    require_rows(
        starts[place_in(starts, times)] != times,
        f"a moment in column {name!r} at which no {NAMES[found]} begins",
        f"weeks begin on Monday, and days at midnight in {tz}; see freq= and tz=.",
        timestamps(times, tz).astype(str).to_numpy(),
    )
    return found, starts


def require_period(period: object, option: str = "period") -> None:
    """Raise `InputError` if this is no period."""
    if period not in get_args(Period):
        raise InputError(
            f"{option}={period!r} is not one of {get_args(Period)}: day, week (from Monday on), "
            "month, quarter, year."
        )


def require_zone(tz: object) -> None:
    """Raise `InputError` if this is no time zone."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(tz)  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(f"tz={tz!r} is no time zone. Hint: tz='Europe/Berlin'.") from error


def _moments(times: IntArray, tz: str) -> pd.DatetimeIndex:
    import pandas as pd

    require_zone(tz)
    return pd.DatetimeIndex(np.asarray(times, dtype="datetime64[us]"), tz="UTC").tz_convert(tz)


def _require_recognisable(
    distinct: IntArray, bounds: IntArray, found: Period, name: str, tz: str
) -> None:
    """Refuse starts that tell no length: a single one, or days none of which is the next one."""
    if len(distinct) == 1:
        raise InputError(
            f"Column {name!r} holds one moment, {timestamps(distinct, tz)[0]:%Y-%m-%d}, which does "
            "not tell how long the period is. Hint: freq='W', or leave period= out."
        )
    neighbours = np.diff(place_in(bounds, distinct)) == 1
    if found == "D" and not neighbours.any():
        raise InputError(
            f"Column {name!r} holds {len(distinct):,} moments that start no weeks, months, "
            "quarters or years, and no two are neighbouring days. Hint: weeks begin on Monday; "
            "freq='D' where these are days."
        )
