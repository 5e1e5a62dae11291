"""Periods of the calendar, from the date alone."""

import datetime


def first_day(day, period):
    """Return the first day of the period of a day."""
    return {
        "D": day,
        "W": day - datetime.timedelta(days=day.weekday()),
        "MS": day.replace(day=1),
        "QS": day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
        "YS": day.replace(month=1, day=1),
    }[period]
