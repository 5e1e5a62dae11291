"""One log in every kind of table, id and time: always the same journeys."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from attribution import Journeys

OPTIONS: dict[str, Any] = {
    "value": "revenue",
    "conversion_type": "kind",
    "order": "hit",
    "attributes": ["campaign"],
    "journey_attributes": ["country"],
    "channel_missing": "direct",
}
WHEN = [
    "2025-01-01 08:00:00",
    "2025-01-01 08:00:00",
    "2025-01-02 09:30:00",
    "2025-01-03 23:59:59",
    "2025-01-04 00:00:00",
    "2025-01-05 12:00:00",
]


def base() -> pd.DataFrame:
    """Return the log: two users, six rows, with gaps in every column that may have them."""
    return pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob", "ann", "bob", "ann"],
            "timestamp": pd.to_datetime(pd.Series(WHEN)),
            "channel": ["b", "a", "Žluť", None, "b", None],
            "converted": [False, False, False, False, True, True],
            "revenue": [None, None, None, None, 12.5, 20.0],
            "kind": [None, None, None, None, "lead", "purchase"],
            "hit": [1.0, None, 1.0, 2.0, 3.0, 4.0],
            "campaign": ["x", None, "y", "x", None, None],
            "country": ["de", "de", "fr", None, "fr", "it"],
        }
    )


def schema() -> pa.Schema:
    types = [pa.string(), pa.timestamp("us"), pa.string(), pa.bool_(), pa.float64()]
    types += [pa.string(), pa.float64(), pa.string(), pa.string()]
    return pa.schema(list(zip(base().columns, types, strict=True)))


def arrow(frame: pd.DataFrame | None = None) -> pa.Table:
    return pa.Table.from_pandas(base() if frame is None else frame, schema=schema())


def test_the_reference_is_what_the_log_says() -> None:
    journeys = Journeys.from_events(base(), **OPTIONS)
    found = {
        (
            " ".join(t.channel for t in j.touchpoints),
            j.conversion_type,
            j.conversions,
            j.value,
            j.attributes["country"],
            " ".join(str(t.attributes["campaign"]) for t in j.touchpoints),
        )
        for j in journeys
    }
    assert found == {
        ("a b direct", "purchase", 1, 20, "it", "None x x"),
        ("a b direct", "lead", 0, 0, None, "None x x"),
        ("Žluť b", "lead", 1, 12.5, "fr", "y None"),
        ("Žluť b", "purchase", 0, 0, "fr", "y None"),
    }


# pandas


def nullable(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.convert_dtypes()


def object_columns(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.astype(object)
    return frame.where(frame.notna(), None)


def object_columns_with_nan(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.astype(object)
    return frame.where(frame.notna(), np.nan)


def categorical(frame: pd.DataFrame) -> pd.DataFrame:
    for name in ("user_id", "channel", "kind", "campaign", "country"):
        kept = sorted(frame[name].dropna().unique())
        frame[name] = pd.Categorical(frame[name], categories=["unused", *kept[::-1]])
    return frame


def arrow_backed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.convert_dtypes(dtype_backend="pyarrow")


def other_index(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(pd.Index([3, 3, 1, 9, 2, 2], name="row"))


def whole_counts(frame: pd.DataFrame) -> pd.DataFrame:
    frame["converted"] = frame["converted"].astype("int8")
    return frame


def float_counts(frame: pd.DataFrame) -> pd.DataFrame:
    frame["converted"] = frame["converted"].astype("float32")
    return frame


def more_columns(frame: pd.DataFrame) -> pd.DataFrame:
    frame["unrelated"] = [object()] * len(frame)
    return frame


@pytest.mark.parametrize(
    "change",
    [
        nullable,
        object_columns,
        object_columns_with_nan,
        categorical,
        arrow_backed,
        other_index,
        whole_counts,
        float_counts,
        more_columns,
    ],
)
def test_pandas(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    reference = Journeys.from_events(base(), **OPTIONS)
    assert Journeys.from_events(change(base()), **OPTIONS).equals(reference)


# pyarrow


def plain_table() -> pa.Table:
    return arrow()


def chunked() -> pa.Table:
    table = arrow()
    return pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 3), table[4:]])


def dictionaries() -> pa.Table:
    """Return chunks whose dictionaries differ."""
    names = ("user_id", "channel", "kind", "campaign", "country")
    parts = []
    for part in (arrow()[:3], arrow()[3:]):
        for name in names:
            i = part.schema.get_field_index(name)
            part = part.set_column(i, name, part[name].combine_chunks().dictionary_encode())
        parts.append(part)
    return pa.concat_tables(parts)


def large_text() -> pa.Table:
    fields = [f.with_type(pa.large_string()) if f.type == pa.string() else f for f in schema()]
    return arrow().cast(pa.schema(fields))


def text_views() -> pa.Table:
    fields = [f.with_type(pa.string_view()) if f.type == pa.string() else f for f in schema()]
    return arrow().cast(pa.schema(fields))


def record_batch() -> pa.RecordBatch:
    return arrow().combine_chunks().to_batches()[0]


def nan_for_null() -> pa.Table:
    table = arrow()
    for name in ("revenue", "hit"):
        i = table.schema.get_field_index(name)
        table = table.set_column(i, name, table[name].fill_null(float("nan")))
    return table


def decimals() -> pa.Table:
    table = arrow()
    for name in ("revenue", "hit"):
        values = [None if v is None else decimal.Decimal(v) for v in table[name].to_pylist()]
        column = pa.array(values, pa.decimal128(20, 4))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


@pytest.mark.parametrize(
    "make",
    [
        plain_table,
        chunked,
        dictionaries,
        large_text,
        text_views,
        record_batch,
        nan_for_null,
        decimals,
    ],
)
def test_pyarrow(make: Callable[[], Any]) -> None:
    reference = Journeys.from_events(base(), **OPTIONS)
    assert Journeys.from_events(make(), **OPTIONS).equals(reference)


def test_decimals_order_by_size_not_by_text() -> None:
    table = pa.table(
        {
            "user_id": [1, 1],
            "timestamp": ["2025-01-01"] * 2,
            "channel": ["nine", "ten"],
            "converted": [False, True],
            "hit": [decimal.Decimal(9), decimal.Decimal(10)],
        }
    )
    assert Journeys.from_events(table, order="hit").to_paths()["path"].tolist() == ["nine > ten"]


# polars and DuckDB


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    reference = Journeys.from_events(base(), **OPTIONS)
    frame = pl.from_arrow(arrow())
    assert Journeys.from_events(frame, **OPTIONS).equals(reference)
    text = ["user_id", "channel", "kind", "campaign", "country"]
    categories = frame.with_columns(pl.col(text).cast(pl.Categorical))
    assert Journeys.from_events(categories, **OPTIONS).equals(reference)
    enum = pl.Enum(["unused", "b", "a", "Žluť"])
    assert Journeys.from_events(frame.with_columns(pl.col("channel").cast(enum)), **OPTIONS).equals(
        reference
    )
    assert Journeys.from_events(pl.concat([frame[:2], frame[2:]], rechunk=False), **OPTIONS).equals(
        reference
    )


def test_duckdb_relation() -> None:
    duckdb = pytest.importorskip("duckdb")
    reference = Journeys.from_events(base(), **OPTIONS)
    table = arrow()
    with duckdb.connect() as connection:
        connection.register("events", table)
        relation = connection.sql("SELECT * FROM events")
        assert Journeys.from_events(relation, **OPTIONS).equals(reference)
        enums = connection.sql(
            "SELECT * REPLACE (channel::ENUM ('b', 'a', 'Žluť') AS channel) FROM events"
        )
        assert Journeys.from_events(enums, **OPTIONS).equals(reference)
        huge = connection.sql("SELECT * REPLACE (hit::HUGEINT AS hit) FROM events")
        assert Journeys.from_events(huge, **OPTIONS).equals(reference)


def test_events_and_conversions_may_be_tables_of_different_kinds() -> None:
    pl = pytest.importorskip("polars")
    frame = base()
    touches = frame[~frame["converted"]].drop(columns=["converted", "revenue", "kind"])
    orders = frame[frame["converted"]].drop(columns=["channel", "hit"])
    reference = Journeys.from_events(touches, conversion_events=orders, **OPTIONS)
    mixed = Journeys.from_events(
        pl.from_pandas(touches), conversion_events=pa.Table.from_pandas(orders), **OPTIONS
    )
    assert mixed.equals(reference)


# ids


def with_ids(ids: Any) -> Journeys:
    frame = base()
    frame["user_id"] = ids
    return Journeys.from_events(frame, **OPTIONS)


INTEGER_IDS = [2, 2, 1, 2, 1, 2]


@pytest.mark.parametrize(
    "dtype", ["int64", "int8", "uint32", "float64", "Int64", "int64[pyarrow]", "category", "object"]
)
def test_integer_ids_of_any_type_are_their_own_key(dtype: str) -> None:
    reference = with_ids(np.array(INTEGER_IDS))
    assert set(reference.users.tolist()) == {1, 2}
    assert with_ids(pd.Series(INTEGER_IDS).astype(dtype)).equals(reference)


@pytest.mark.parametrize("dtype", ["object", "string", "string[pyarrow]", "category"])
def test_text_ids_of_any_type_have_the_same_key(dtype: str) -> None:
    names = ["ann", "ann", "bob", "ann", "bob", "ann"]
    assert with_ids(pd.Series(names).astype(dtype)).equals(Journeys.from_events(base(), **OPTIONS))


@pytest.mark.parametrize(
    "ids",
    [
        INTEGER_IDS,
        [-5, -5, 2**62, -5, 2**62, -5],
        np.array([2**64 - 1, 2**64 - 1, 1, 2**64 - 1, 1, 2**64 - 1], dtype="uint64"),
        ["2", "2", "1", "2", "1", "2"],
        ["x" * 40 + "a", "x" * 40 + "a", "x" * 40, "x" * 40 + "a", "x" * 40, "x" * 40 + "a"],
        ["é", "é", "e\u0301", "é", "e\u0301", "é"],
    ],
    ids=["integers", "wide integers", "unsigned", "digits", "long text", "unicode"],
)
def test_ids_only_tell_users_apart(ids: Any) -> None:
    reference = Journeys.from_events(base(), **OPTIONS)
    journeys = with_ids(ids)
    pd.testing.assert_frame_equal(journeys.to_paths(), reference.to_paths())
    assert len(set(journeys.users.tolist())) == 2


def test_float_ids_beside_missing_ones_are_integers() -> None:
    frame = base()
    frame["user_id"] = [2.0, 2.0, 1.0, 2.0, 1.0, np.nan]
    journeys = Journeys.from_events(frame, on_invalid="drop", **OPTIONS)
    assert set(journeys.users.tolist()) == {1, 2}
    assert journeys.audit["rows_without_user"] == 1


def hashed(text: str) -> int:
    """Hash a text as `hash_text` documents, word by word in plain integers."""

    def mix(word: int) -> int:
        word = (word ^ (word >> 32)) * 0x9E3779B97F4A7C15 % 2**64
        word = (word ^ (word >> 29)) * 0xBF58476D1CE4E5B9 % 2**64
        return word ^ (word >> 32)

    data, key = text.encode(), 0
    for start in range(0, len(data), 8):
        key = mix(key ^ int.from_bytes(data[start : start + 8], "little"))
    key = mix(key ^ len(data))
    return key - 2**64 if key >= 2**63 else key


def test_keys_of_text_are_a_fixed_function_of_its_bytes() -> None:
    ids = ["a", "eight888", "nine99999", "Žluťoučký kůň", "x" * 100, "a\0"]
    journeys = with_ids(ids)
    assert set(journeys.users.tolist()) == {hashed(text) for text in ids}
    assert len({hashed(text) for text in ids}) == 6


# times


def with_times(times: Any, frame: pd.DataFrame | None = None) -> Journeys:
    frame = base() if frame is None else frame
    frame["timestamp"] = times
    return Journeys.from_events(frame, **OPTIONS)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Asia/Kolkata"])
def test_times_of_any_resolution_and_zone(unit: str, zone: str | None) -> None:
    times = pd.to_datetime(pd.Series(WHEN)).dt.as_unit(unit)
    if zone is not None:
        times = times.dt.tz_localize("UTC").dt.tz_convert(zone)
    assert with_times(times).equals(Journeys.from_events(base(), **OPTIONS))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_and_polars_times_of_any_resolution(unit: str) -> None:
    reference = Journeys.from_events(base(), **OPTIONS)
    table = arrow()
    table = table.set_column(1, "timestamp", table["timestamp"].cast(pa.timestamp(unit, "UTC")))
    assert Journeys.from_events(table, **OPTIONS).equals(reference)


@pytest.mark.parametrize("zone", ["", "Z", "+00:00", "+0000", "+00"])
@pytest.mark.parametrize("separator", [" ", "T"])
def test_iso_text(zone: str, separator: str) -> None:
    times = [text.replace(" ", separator) + zone for text in WHEN]
    assert with_times(times).equals(Journeys.from_events(base(), **OPTIONS))


def test_iso_text_of_mixed_precision_and_zones() -> None:
    times = [
        "2025-01-01T08:00Z",
        "2025-01-01T09:00:00.000000+01:00",
        "2025-01-02 04:30:00-05:00",
        "2025-01-03T23:59:59.000Z",
        "2025-01-04T05:30+05:30",
        "2025-01-05 12:00:00+00:00",
    ]
    assert with_times(times).equals(Journeys.from_events(base(), **OPTIONS))


def test_python_datetimes_of_several_zones() -> None:
    zones = [datetime.UTC, datetime.timezone(datetime.timedelta(hours=-8))]
    aware = [
        pd.Timestamp(text, tz="UTC").to_pydatetime().astimezone(zones[i % 2])
        for i, text in enumerate(WHEN)
    ]
    times = pd.Series(aware, dtype=object)
    assert with_times(times).equals(Journeys.from_events(base(), **OPTIONS))


def test_dates_are_midnight_utc() -> None:
    days = pd.to_datetime(pd.Series(WHEN)).dt.normalize()
    reference = with_times(days)
    assert set((reference.times % 86_400_000_000).tolist()) == {0}
    assert with_times(days.dt.date).equals(reference)
    assert with_times(days.dt.strftime("%Y-%m-%d")).equals(reference)
    for kind in (pa.date32(), pa.date64()):
        table = arrow()
        column = table["timestamp"].cast(pa.date32()).cast(kind)
        table = table.set_column(1, "timestamp", column)
        assert Journeys.from_events(table, **OPTIONS).equals(reference)


def test_times_before_1970_round_down_like_later_ones() -> None:
    times = np.array([-1, -1001, 1, 1001], dtype="datetime64[ns]")
    frame = pd.DataFrame(
        {"user_id": 1, "timestamp": times, "channel": list("bacd"), "converted": [0, 0, 0, 1]}
    )
    journeys = Journeys.from_events(frame)
    assert journeys.times.tolist() == [-2, -1, 0, 1]
    assert [t.channel for t in journeys[0].touchpoints] == ["a", "b", "c", "d"]
