"""Lengths of time and points in time as whole microseconds."""

from __future__ import annotations

import datetime

from attribution.errors import InputError

MICROSECONDS_PER_DAY = 86_400_000_000

Duration = str | datetime.timedelta
Moment = str | datetime.datetime | datetime.date


def microseconds(duration: Duration, name: str) -> int:
    """Return a duration such as "7D", "30min" or a `datetime.timedelta` in microseconds.

    Parameters
    ----------
    duration
        Anything that `pandas.Timedelta` reads; whole or fractional units.
    name
        The option it belongs to, for the message.

    Raises
    ------
    InputError
        If it cannot be read, carries no unit, or is not positive.

    Examples
    --------
    >>> microseconds("30min", "session_gap")
    1800000000
    """
    import pandas as pd

    hint = f"Hint: write a number with a unit, such as {name}='7D' or '30min'."
    if isinstance(duration, int | float) or str(duration).strip().lstrip("+-").isdigit():
        raise InputError(f"{name}={duration!r} has no unit. {hint}")
    if isinstance(duration, str) and duration.strip().endswith("m"):
        raise InputError(f"{name}={duration!r} could be minutes or months. {hint}")
    try:
        value = pd.Timedelta(duration)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}={duration!r} is not a length of time. {hint}") from error
    if pd.isna(value) or value <= pd.Timedelta(0):
        raise InputError(f"{name}={duration!r} is not positive. {hint}")
    if value < pd.Timedelta("1us"):
        raise InputError(f"{name}={duration!r} is shorter than a microsecond. {hint}")
    return value // pd.Timedelta("1us")


def moment(point: Moment, name: str) -> int:
    """Return a point in time in microseconds since 1970 UTC; without a zone it is read as UTC.

    Raises
    ------
    InputError
        If it cannot be read.

    Examples
    --------
    >>> moment("1970-01-02", "report_from")
    86400000000
    """
    import pandas as pd

    hint = f"Hint: write {name}='2025-01-31' or give a datetime."
    if isinstance(point, int | float):
        raise InputError(f"{name}={point!r} is a number without a unit. {hint}")
    try:
        value = pd.Timestamp(point)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}={point!r} is not a point in time. {hint}") from error
    if pd.isna(value):
        raise InputError(f"{name}={point!r} is not a point in time. {hint}")
    return int(value.asm8.astype("datetime64[us]").astype("int64"))
