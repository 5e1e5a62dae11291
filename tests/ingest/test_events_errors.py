"""Bad events and contradicting options are refused with a message that says what to do."""

from __future__ import annotations

import datetime
import decimal
import traceback
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from attribution import ColumnNotFoundError, InputError, Journeys

SECRET = "secret-person-4711"


def good(**columns: Any) -> pd.DataFrame:
    """Return a log of two rows that works, with columns replaced or added."""
    frame = pd.DataFrame(
        {
            "user_id": [SECRET, SECRET],
            "timestamp": ["2025-01-01", "2025-01-02"],
            "channel": ["a", "b"],
            "converted": [0, 1],
        }
    )
    return frame.assign(**columns)


def refused(
    match: str,
    events: Any = None,
    error: type[Exception] = InputError,
    **options: Any,
) -> None:
    """Check that the events are refused with the message, and that it names no user."""
    with pytest.raises(error, match=match) as caught:
        Journeys.from_events(good() if events is None else events, **options)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def objects(*values: Any) -> pd.Series:
    return pd.Series(list(values), dtype=object)


def test_the_good_log_works() -> None:
    assert Journeys.from_events(good()).conversions.tolist() == [1]


# tables and columns


@pytest.mark.parametrize("table", [[{"user_id": 1}], {"user_id": [1]}, None, "log.csv", 7])
def test_what_is_no_table(table: Any) -> None:
    with pytest.raises(InputError, match=r"events is a .*, not a table\. Hint: give a pandas"):
        Journeys.from_events(table)


@pytest.mark.parametrize("convert", [lambda f: f, pa.Table.from_pandas])
def test_an_empty_table(convert: Any) -> None:
    refused("events is empty: 0 rows. Hint: check the filter", convert(good()[:0]))


def test_an_empty_table_of_conversions() -> None:
    orders = good()[["user_id", "timestamp"]][:0]
    touches = good().drop(columns="converted")
    refused("conversion_events is empty: 0 rows", touches, conversion_events=orders)


def test_a_table_of_conversions_that_is_no_table() -> None:
    refused("conversion_events is a list, not a table", good(converted=0), conversion_events=[1])


@pytest.mark.parametrize(
    ("column", "near"),
    [
        ("user_id", "userid"),
        ("timestamp", "time_stamp"),
        ("channel", "chanel"),
        ("converted", "convertd"),
    ],
)
def test_a_missing_column_names_the_nearest(column: str, near: str) -> None:
    refused(
        rf"events has no column '{column}'\. Did you mean '{near}'\? Its columns are '",
        good().rename(columns={column: near}),
        ColumnNotFoundError,
    )


@pytest.mark.parametrize(
    "option",
    [
        {"value": "nowhere"},
        {"conversion_type": "nowhere"},
        {"conversion_id": "nowhere"},
        {"order": "nowhere"},
        {"session": "nowhere"},
        {"touch_type": "nowhere", "lookback": {"click": "1D"}},
        {"attributes": ["nowhere"]},
        {"journey_attributes": ["nowhere"]},
        {"channel": ["channel", "nowhere"]},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_named_column_must_exist(option: dict[str, Any]) -> None:
    refused("events has no column 'nowhere'", error=ColumnNotFoundError, **option)


@pytest.mark.parametrize("option", ["value", "conversion_type", "conversion_id"])
def test_columns_of_conversions_must_exist_in_their_table(option: str) -> None:
    refused(
        "conversion_events has no column 'nowhere'",
        good(converted=0, nowhere=[1, 2]),
        ColumnNotFoundError,
        conversion_events=good()[["user_id", "timestamp"]],
        **{option: "nowhere"},
    )


def test_a_column_that_is_there_twice() -> None:
    twice = pd.concat([good(), good()[["channel"]]], axis=1)
    refused("events has 2 columns named 'channel'", twice)


# users


@pytest.mark.parametrize("absent", [None, np.nan, ""])
def test_a_missing_user(absent: Any) -> None:
    frame = good(user_id=objects(SECRET, absent))
    refused(r"1 row has no user in column 'user_id', first in row 1\. Hint: drop them", frame)


def test_ids_of_two_kinds_in_one_column() -> None:
    refused("Column 'user_id' of events mixes int, str", good(user_id=objects(7, SECRET)))


@pytest.mark.parametrize(
    ("ids", "orders"),
    [([1, 2], ["1", "2"]), (["1", "2"], [1, 2])],
)
def test_ids_of_two_kinds_in_two_tables(ids: Any, orders: Any) -> None:
    refused(
        "User ids are .* in events and .* in conversion_events. Hint: convert one column",
        good(user_id=ids, converted=0),
        conversion_events=good(user_id=orders)[["user_id", "timestamp"]],
    )


@pytest.mark.parametrize("bad", [1.5, np.inf])
def test_float_ids_that_are_no_integers(bad: float) -> None:
    refused("Column 'user_id' holds (fractions|ids as floats above)", good(user_id=[1.0, bad]))


def test_float_ids_too_large_to_tell_apart() -> None:
    one, other = 2**53 + 2, 2**53 + 3
    assert float(one) != one + 1
    frame = good(user_id=[float(one), float(other)])
    refused(r"ids as floats above 2\^53, where different ids become equal", frame)


def test_lists_are_no_ids() -> None:
    refused("Column 'user_id' holds list.*, not ids", good(user_id=objects([1], [2])))


# times


@pytest.mark.parametrize("absent", [None, pd.NaT])
def test_a_missing_time(absent: Any) -> None:
    frame = good(timestamp=objects(pd.Timestamp("2025-01-01"), absent))
    refused(r"1 row has no time in column 'timestamp', first in row 1\.", frame)


@pytest.mark.parametrize("text", ["soon", "31.01.2025", "2025-02-30", ""])
def test_an_unreadable_time_is_shown_with_its_row(text: str) -> None:
    frame = pd.concat([good(), good(timestamp=text)], ignore_index=True)
    refused(
        rf"2 rows have a time in column 'timestamp' that cannot be read, first in row 2 "
        rf"\({text}\)\. Hint: write ISO 8601",
        frame,
    )


@pytest.mark.parametrize("times", [[1735689600, 1735776000], [1735689600.5, 1735776000.0]])
def test_epoch_numbers_are_no_times(times: Any) -> None:
    refused(
        r"Column 'timestamp' holds (int64|double), not times\. Hint: convert it first, such as "
        r"pandas\.to_datetime\(frame\['timestamp'\], unit='s', utc=True\)",
        good(timestamp=times),
    )


def test_epoch_numbers_as_text_are_no_times() -> None:
    refused("cannot be read, first in row 0", good(timestamp=["1735689600", "1735776000"]))


@pytest.mark.parametrize(
    "times",
    [
        ["2025-01-01 10:00", "2025-01-02 10:00Z"],
        ["2025-01-01T10:00+02:00", "2025-01-02"],
        ["20250101T100000", "20250102T100000Z"],
        [datetime.datetime(2025, 1, 1), datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC)],
        [pd.Timestamp("2025-01-01", tz="Europe/Berlin"), pd.Timestamp("2025-01-02")],
    ],
    ids=["text", "text with a date", "basic text", "datetimes", "timestamps"],
)
def test_naive_and_aware_times_in_one_column(times: list[Any]) -> None:
    refused(
        r"Column 'timestamp' mixes times with a zone \(1\) and without \(1\)",
        good(timestamp=objects(*times)),
    )


def test_dates_among_datetimes_would_lose_their_time() -> None:
    times = objects(datetime.date(2025, 1, 1), datetime.datetime(2025, 1, 2, 5))
    refused("Column 'timestamp' of events mixes date, datetime", good(timestamp=times))


def test_text_among_datetimes() -> None:
    times = objects("2025-01-01", pd.Timestamp("2025-01-02"))
    refused("Column 'timestamp' of events mixes Timestamp, str", good(timestamp=times))


@pytest.mark.parametrize(
    ("zone", "other"), [("", "Z"), ("Z", "")], ids=["naive events", "aware events"]
)
def test_naive_and_aware_times_in_two_tables(zone: str, other: str) -> None:
    refused(
        "Times are with(out)? a zone in events and with(out)? one in conversion_events",
        good(converted=0, timestamp=f"2025-01-01 10:00{zone}"),
        conversion_events=good(timestamp=f"2025-01-02 10:00{other}")[["user_id", "timestamp"]],
    )


# channels, conversions, values


@pytest.mark.parametrize("absent", [None, np.nan, ""])
def test_a_missing_channel(absent: Any) -> None:
    refused(
        r"1 row has neither a channel in column 'channel' nor a conversion, first in row 0\. "
        "Hint: channel_missing='direct'",
        good(channel=objects(absent, "b")),
    )


@pytest.mark.parametrize(
    ("bad", "shown"), [(np.nan, "nan"), (-1, "-1.0"), (np.inf, "inf"), (-np.inf, "-inf")]
)
def test_a_conversion_that_is_no_count(bad: float, shown: str) -> None:
    refused(
        r"1 row has a missing, negative or infinite conversion in column 'converted', first in "
        rf"row 1 \({shown}\)\. Hint: use True / False or a count",
        good(converted=[0, bad]),
    )


def test_a_missing_boolean_conversion() -> None:
    frame = good(converted=pd.array([True, None], dtype="boolean"))
    refused("1 row has a missing, negative or infinite conversion", frame)


def test_text_is_no_conversion() -> None:
    refused("Column 'converted' holds .*string.*, not numbers", good(converted=["no", "yes"]))


def test_a_bad_count_in_the_table_of_conversions() -> None:
    refused(
        "1 row has a missing, negative or infinite conversion .* first in row 1",
        good().drop(columns="converted"),
        conversion_events=good(converted=[1, -2])[["user_id", "timestamp", "converted"]],
    )


def test_a_value_without_a_conversion() -> None:
    refused(
        r"1 row has a value in column 'revenue' but no conversion in 'converted', first in row 0 "
        r"\(5\.0\)\. Hint: mark the row as a conversion",
        good(revenue=[5, 7]),
        value="revenue",
    )


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_value(bad: float) -> None:
    refused(
        rf"1 row has an infinite value in column 'revenue', first in row 1 \({bad}\)",
        good(revenue=[0, bad]),
        value="revenue",
    )


def test_text_is_no_value() -> None:
    refused("Column 'revenue' holds .*, not numbers", good(revenue=["0", "9.99"]), value="revenue")


def test_conversions_marked_in_events_beside_a_table_of_conversions() -> None:
    refused(
        "Column 'converted' of events marks 1 conversions, but conversion_events is given too",
        conversion_events=good()[["user_id", "timestamp"]],
    )


def test_a_type_of_touch_that_the_lookback_does_not_name() -> None:
    refused(
        r"1 row has a type of touch in column 'kind' that lookback= does not name, first in row 1 "
        r"\(view\)\. Hint: lookback names 'click'",
        good(kind=["click", "view"]),
        touch_type="kind",
        lookback={"click": "30D"},
    )


def test_a_touch_without_a_type_where_the_lookback_needs_one() -> None:
    refused(
        r"first in row 0 \(missing\)",
        good(kind=[None, "click"]),
        touch_type="kind",
        lookback={"click": "30D"},
    )


def test_repeated_conversion_ids_are_not_shown() -> None:
    refused(
        r"1 row has a conversion id in column 'order_id' that another conversion has, first in "
        r"row 1\. Hint",
        good(converted=1, order_id=f"order of {SECRET}"),
        conversion_id="order_id",
    )


@pytest.mark.parametrize("until", ["2024-12-31", datetime.date(2024, 12, 31)])
def test_nothing_is_left(until: Any) -> None:
    refused("No touch and no conversion is left .* observed_until", observed_until=until)


def test_nothing_is_left_when_every_row_is_dropped() -> None:
    refused("No touch and no conversion is left", good(user_id=None), on_invalid="drop")


def test_the_last_error_of_many_rows_counts_them_all() -> None:
    frame = pd.concat([good()] * 1000 + [good(converted=-1)] * 600, ignore_index=True)
    refused(r"1,200 rows have a missing, negative .*, first in row 2000 \(-1\.0\)", frame)


# options


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"on_invalid": "ignore"}, r"on_invalid='ignore' is not one of \('raise', 'drop'\)"),
        (
            {"channel_missing": "unknown"},
            r"channel_missing='unknown' is not one of \('raise', 'direct', 'drop'\)",
        ),
        ({"lookback": 30}, "lookback=30 has no unit. Hint: .*lookback='7D'"),
        ({"lookback": "30"}, "lookback='30' has no unit"),
        ({"lookback": "a while"}, "lookback='a while' is not a length of time"),
        ({"lookback": "0D"}, "lookback='0D' is not positive"),
        ({"inactivity": "-1D"}, "inactivity='-1D' is not positive"),
        ({"session_gap": "30 potatoes"}, "session_gap='30 potatoes' is not a length of time"),
        (
            {"lookback": {"click": "x"}, "touch_type": "channel"},
            r"lookback\['click'\]='x' is not a length",
        ),
        ({"lookback": {}, "touch_type": "channel"}, "lookback={} is empty"),
        ({"lookback": {"click": "1D"}}, "mapping per touch type, but touch_type= names no column"),
        ({"closed_only": True, "lookback": None}, "closed_only needs a lookback"),
        ({"session": "channel", "session_gap": "1h"}, "session= and session_gap= are two ways"),
        (
            {"report_from": "2025-01-02", "report_until": "2025-01-02"},
            "report_from is not before report_until; the window is empty",
        ),
        ({"report_from": 20250101}, "report_from=20250101 is a number without a unit"),
        ({"report_until": "tomorrow-ish"}, "report_until='tomorrow-ish' is not a point in time"),
        ({"observed_until": "2025-13-01"}, "observed_until='2025-13-01' is not a point in time"),
        ({"channel": []}, "channel= names no column"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_options_that_cannot_be_read_or_contradict(options: dict[str, Any], match: str) -> None:
    refused(match, **options)


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'look_back'"):
        Journeys.from_events(good(), look_back="30D")  # type: ignore[call-arg]


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        Journeys.from_events(good(), "user_id")  # type: ignore[misc]


def test_decimal_times_are_no_times() -> None:
    times = objects(decimal.Decimal("1735689600.1"), decimal.Decimal("1735776000.2"))
    refused("Column 'timestamp' holds decimal.*, not times", good(timestamp=times))
