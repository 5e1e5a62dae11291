import io
from collections import defaultdict
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import ColumnNotFoundError, InputError, Journeys
from attribution.arrays import Coded
from attribution.budget.spend import Spend
from attribution.budget.touches import joined
from attribution.datasets import load_events, load_spend

US = 10**6
PERIODS = ("D", "W", "MS", "QS", "YS")
# clocks change at midnight in Sao Paulo (to 2019) and Havana, and skip a day in Apia (2011)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kathmandu",
    "Pacific/Apia",
)
# Tables

AMOUNTS = st.sampled_from([0.0, 0.25, 1.0, 12.5, 1e6])
ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 5), AMOUNTS),
    min_size=2,
    max_size=20,
).filter(lambda rows: len({row[2] for row in rows}) > 1)
DAYS = {
    "D": [f"2025-01-{day:02}" for day in range(29, 32)]
    + ["2025-02-01", "2025-02-02", "2025-02-03"],
    "W": ["2024-12-30", "2025-01-06", "2025-01-13", "2025-01-20", "2025-01-27", "2025-02-03"],
    "MS": [f"2025-{month:02}-01" for month in (2, 3, 4, 5, 6, 7)],
    "QS": ["2024-01-01", "2024-04-01", "2024-07-01", "2024-10-01", "2025-01-01", "2025-04-01"],
    "YS": [f"{year}-01-01" for year in range(2020, 2026)],
}


def table_of(rows, period):
    return pd.DataFrame(rows, columns=["channel", "campaign", "when", "spend"]).assign(
        when=lambda frame: [DAYS[period][i] for i in frame["when"]]
    )


@given(ROWS, st.sampled_from(PERIODS), st.booleans(), st.sampled_from(ZONES))
def test_a_table_is_summed_by_line_and_period(rows, period, by_campaign, tz):
    options = {"campaign": "campaign"} if by_campaign else {}
    spend = Spend.from_frame(
        table_of(rows, period), period="when", freq=period, tz=tz, missing="zero", **options
    )
    sums = defaultdict(float)
    for channel, campaign, when, amount in rows:
        sums[f"{channel} / {campaign}" if by_campaign else channel, when] += amount
    lines = sorted({line for line, _ in sums})
    used = range(min(row[2] for row in rows), max(row[2] for row in rows) + 1)
    assert spend.lines == tuple(lines)
    assert spend.amounts.tolist() == [[sums[line, when] for line in lines] for when in used]
    begin = [pd.Timestamp(DAYS[period][i], tz=tz) for i in used]
    assert spend.starts.tolist() == [stamp.value // 1000 for stamp in begin]
    assert (spend.period, spend.tz, spend.currency) == (period, tz, None)
    assert spend.total == sum(row[3] for row in rows)
    assert dict(zip(lines, spend.totals, strict=True)) == {
        line: sum(sums[line, when] for when in used) for line in lines
    }
    assert spend.today == {
        line: pytest.approx(sum(sums[line, when] for when in used) / len(used)) for line in lines
    }
    again = Spend.from_frame(spend.to_frame(), channel="line", period="period", freq=period, tz=tz)
    assert again.equals(replace(spend, channels=()))


@given(ROWS)
def test_channels_are_the_sums_of_their_campaigns(rows):
    table = table_of(rows, "W")
    options = {"period": "when", "freq": "W", "missing": "zero"}
    by_campaign = Spend.from_frame(table, campaign="campaign", **options)
    assert by_campaign.by_channel().equals(Spend.from_frame(table, **options))


def test_names_of_channels_may_hold_what_joins_them_to_campaigns():
    channels = ["google / cpc", "google / cpc", "google / organic", "mail"]
    table = pd.DataFrame(
        {"channel": channels, "campaign": ["a / b", "c", "c", "c"], "spend": [1.0, 2.0, 4.0, 8.0]}
    )
    plain = Spend.from_frame(table)
    assert plain.by_channel().equals(plain)
    assert plain.lines == ("google / cpc", "google / organic", "mail")
    spend = Spend.from_frame(table, campaign="campaign")
    assert spend.channels == ("google / cpc", "google / cpc", "google / organic", "mail")
    assert spend.by_channel().equals(plain)


def test_two_lines_of_one_name_are_refused():
    table = pd.DataFrame(
        {"channel": ["a", "a / b"], "campaign": ["b / c", "c"], "spend": [10.0, 20.0]}
    )
    with pytest.raises(InputError, match="Two lines would be named 'a / b / c'"):
        Spend.from_frame(table, campaign="campaign")


def test_the_latest_periods_by_hand():
    weeks = pd.date_range("2025-01-06", periods=4, freq="7D")
    table = pd.DataFrame({"week": weeks, "channel": "tv", "spend": [1.0, 2.0, 4.0, 9.0]})
    spend = Spend.from_frame(table, period="week", freq="W")
    assert spend.latest(2) == {"tv": 6.5}
    assert spend.latest(4) == spend.today == {"tv": 4.0}
    for n_periods in (0, 5):
        with pytest.raises(InputError, match=f"n_periods={n_periods} is not from 1 to 4"):
            spend.latest(n_periods)


def test_parts_that_do_not_fit_together():
    with pytest.raises(InputError, match="2 lines, 2 channels and amounts of shape"):
        Spend(lines=("a", "b"), amounts=np.zeros((3, 1)))


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("tz", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_length_of_periods_is_recognised(period, tz):
    table = pd.DataFrame({"channel": "a", "when": DAYS[period], "spend": 1.0})
    for when in (
        table["when"],
        pd.to_datetime(table["when"]),
        pd.to_datetime(table["when"]).dt.date,
        pd.to_datetime(table["when"]).dt.tz_localize(tz),
        pd.to_datetime(table["when"]).dt.tz_localize(tz).dt.tz_convert("UTC"),
    ):
        spend = Spend.from_frame(table.assign(when=when), period="when", tz=tz)
        assert spend.period == period
        assert spend.to_frame()["period"].tolist() == [
            pd.Timestamp(day, tz=tz) for day in DAYS[period]
        ]


def test_every_kind_of_table_is_read_alike():
    frame = load_spend()
    expected = Spend.from_frame(frame, period="week", campaign="campaign")
    written = io.BytesIO()
    frame.to_parquet(written)
    tables = (
        pl.from_pandas(frame),
        pa.Table.from_pandas(frame),
        duckdb.sql("select * from frame order by random()"),
        frame.assign(channel=frame["channel"].astype("category")),
        frame.astype({"week": str}),
        frame.sample(frac=1, random_state=0),
    )
    for table in tables:
        found = Spend.from_frame(table, period="week", campaign="campaign")
        assert found.lines == expected.lines
        assert found.starts.tolist() == expected.starts.tolist()
        np.testing.assert_allclose(found.amounts, expected.amounts, rtol=1e-12)


def test_a_table_without_periods_is_of_one_stretch_of_time():
    table = pd.DataFrame({"channel": ["b", "a", "b"], "spend": [1, 2, 3]})
    spend = Spend.from_frame(table, currency="EUR")
    assert (spend.lines, spend.amounts.tolist()) == (("a", "b"), [[2, 4]])
    assert spend.starts is spend.period is None
    assert spend.currency == "EUR"
    assert spend.today == {"a": 2.0, "b": 4.0}
    assert spend.to_frame().to_dict("list") == {"line": ["a", "b"], "spend": [2, 4]}
    assert repr(spend) == "<Spend: 6 EUR, 2 lines>"


def test_a_line_spends_nothing_before_its_launch_and_must_go_on_from_there():
    rows = [("a", 0, 1.0), ("a", 1, 1.0), ("a", 2, 1.0), ("a", 3, 1.0), ("b", 2, 5.0)]
    frame = pd.DataFrame(rows, columns=["channel", "week", "spend"])
    frame["week"] = [DAYS["W"][i] for i in frame["week"]]
    late = pd.concat([frame, frame.tail(1).assign(week=DAYS["W"][3])])
    assert Spend.from_frame(late, period="week").amounts[:, 1].tolist() == [0, 0, 5, 5]
    message = "'b' has no row for 1 week after its first one, the first from 2025-01-20; 1 of 2"
    for tz in ("UTC", "Europe/Berlin", "America/New_York"):
        with pytest.raises(InputError, match=message):
            Spend.from_frame(frame, period="week", tz=tz)
    filled = Spend.from_frame(frame, period="week", missing="zero")
    assert filled.amounts[:, 1].tolist() == [0, 0, 5, 0]
    every_second = late[late["week"].isin(DAYS["W"][::2])]
    thinned = Spend.from_frame(every_second, period="week", missing="zero")
    assert (thinned.period, thinned.amounts[:, 0].tolist()) == ("W", [1, 0, 1])
    nobody = late[late["week"] != DAYS["W"][2]]
    with pytest.raises(InputError, match=r"'a' has no row for 1 week .* from 2025-01-13; 1 of 2"):
        Spend.from_frame(nobody, period="week")
    early = pd.DataFrame({"channel": ["b", "c"], "week": [DAYS["W"][0]] * 2, "spend": [1.0, 1.0]})
    message = "'c' has no row for 3 weeks .* from 2025-01-06; 2 of 3 lines have gaps.*Hint"
    with pytest.raises(InputError, match=message):
        Spend.from_frame(pd.concat([frame, early]), period="week")


GOOD = {"channel": ["a", "a", "b"], "week": DAYS["W"][:2] + DAYS["W"][1:2], "spend": [1.0, 2, 3]}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"spend": [1, -2, -3]}, {}, r"2 rows have negative spend .*'spend'.*row 1 \(-2.*Hint"),
        ({"spend": [1, np.nan, 3]}, {}, r"1 row has no finite amount .*row 1 \(nan\).*Hint"),
        ({"spend": [1, np.inf, 3]}, {}, r"1 row has no finite amount .*row 1 \(inf\)"),
        ({"spend": ["1 €", "2", "3"]}, {}, "Column 'spend' holds .*string, not numbers.*Hint"),
        ({"channel": ["a", None, "b"]}, {}, "1 row has no name in column 'channel'.*row 1.*Hint"),
        ({"channel": ["a", " ", "b"]}, {}, "1 row has no name in column 'channel'.*row 1"),
        ({"week": ["2025-01-06", None, "2025-01-13"]}, {}, "1 row has no moment .*row 1.*Hint"),
        ({"week": ["2025-01-06", "soon", "2025-01-13"]}, {}, "cannot be read.*row 1.*Hint"),
        ({"week": [1, 2, 3]}, {}, "holds int64, not times.*Hint"),
        (
            {"week": ["2025-01-06", "2025-01-13", "2025-01-14"]},
            {"freq": "W"},
            r"1 row has a moment in column 'week' at which no week begins.*2025-01-14.*Hint",
        ),
        (
            {"week": ["2025-01-06 08:00", "2025-01-13", "2025-01-14"]},
            {},
            "'week' holds moments that are no midnights in UTC.*Hint",
        ),
        (
            {"week": ["2025-01-05", "2025-01-12", "2025-01-19"]},
            {},
            "'week' holds 3 moments that start no weeks.*no two are neighbouring days.*Hint",
        ),
        (
            {"week": ["2025-01-06"] * 3},
            {},
            "'week' holds one moment, 2025-01-06, which does not tell.*Hint: freq='W'",
        ),
        ({}, {"freq": "h"}, "freq='h' is not one of .*'D', 'W', 'MS', 'QS', 'YS'"),
        ({}, {"tz": "Mars"}, "tz='Mars' is no time zone.*Hint"),
        ({}, {"missing": "fill"}, "missing='fill' is not one of"),
        (
            {"money": ["EUR", "USD", "EUR"]},
            {"currency": "money"},
            "mixed currencies: EUR in 2, USD in 1 rows, the first other one in row 1.*Hint",
        ),
        ({"money": ["EUR", None, "EUR"]}, {"currency": "money"}, "EUR in 2, none in 1"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit(change, options, message):
    frame = pd.DataFrame({**GOOD, **change})
    with pytest.raises(InputError, match=message):
        Spend.from_frame(frame, period="week", **options)


def test_missing_columns_are_named():
    frame = pd.DataFrame(GOOD)
    for option, name in (
        ("channel", "chanel"),
        ("spend", "cost"),
        ("period", "weeks"),
        ("campaign", "c"),
    ):
        with pytest.raises(ColumnNotFoundError, match=f"spend has no column '{name}'"):
            Spend.from_frame(frame, **{"period": "week", option: name})
    with pytest.raises(ColumnNotFoundError, match=r"'chanel' is neither a column .*mean 'channel'"):
        Spend.from_frame(frame, currency="chanel")
    with pytest.raises(InputError, match=r"spend is empty: 0 rows.*Hint"):
        Spend.from_frame(frame.head(0))
    with pytest.raises(InputError, match=r"spend is a list, not a table.*Hint"):
        Spend.from_frame([1, 2])


def test_a_column_of_one_currency_names_it():
    frame = pd.DataFrame(GOOD).assign(money="USD")
    assert Spend.from_frame(frame, period="week", currency="money").currency == "USD"
    assert Spend.from_frame(frame, period="week", currency="SEK").currency == "SEK"
    assert Spend.from_frame(frame, period="week").currency is None


def test_freq_makes_a_single_period_clear():
    frame = pd.DataFrame({"channel": ["a"], "when": ["2024-01-01"], "spend": [7.0]})
    for period in PERIODS:
        spend = Spend.from_frame(frame, period="when", freq=period)
        assert (spend.period, spend.amounts.tolist()) == (period, [[7.0]])


def test_spend_is_frozen_and_comparable():
    one, other = (Spend.from_frame(pd.DataFrame(GOOD), period="week") for _ in range(2))
    assert one.equals(other)
    assert not one.equals(Spend.from_frame(pd.DataFrame(GOOD)))
    with pytest.raises(ValueError, match="read-only"):
        one.amounts[0, 0] = 9


# Journeys


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=4),
        min_size=1,
        max_size=6,
    ).filter(any)
)
def test_an_event_costs_once_however_many_rows_it_stands_in(rows):
    """Event i is in week i // 3, costs i and is of campaign "x" or None."""
    touches = [touch for row in rows for touch in row]
    ids = [2 * event + (name == "b") for name, event in touches]
    monday = pd.Timestamp("2025-01-06", tz="UTC").value // 1000
    journeys = Journeys(
        channels=("a", "b"),
        codes=np.array(["ab".index(name) for name, _ in touches], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, rows)]),
        conversions=np.ones(len(rows)),
        nulls=np.zeros(len(rows)),
        times=np.array([monday + 7 * 86400 * US * (event // 3) for _, event in touches]),
        touch_ids=np.array(ids),
        touch_attributes={
            "cost": Coded.of([event for _, event in touches]),
            "campaign": Coded.of(["x" if event % 2 else None for _, event in touches]),
        },
    )
    events = sorted(set(touches))
    whole = Spend.from_journeys(journeys, currency="EUR")
    used = sorted({name for name, _ in events})
    # a channel without touches was paid nothing
    assert whole.lines == ("a", "b")
    sums = {name: sum(cost for other, cost in events if other == name) for name in "ab"}
    assert dict(zip(whole.lines, whole.totals, strict=True)) == sums
    assert (whole.currency, whole.starts) == ("EUR", None)
    weekly = Spend.from_journeys(journeys, campaign="campaign", period="W")
    found = weekly.to_frame().set_index(["period", "line"])["spend"]
    expected = defaultdict(float)
    for name, event in events:
        begin = pd.Timestamp(monday + 7 * 86400 * US * (event // 3), unit="us", tz="UTC")
        expected[begin, f"{name} / {'x' if event % 2 else '(none)'}"] += event
    for key, amount in found.items():
        assert amount == expected.pop(key, 0.0)
    assert not expected
    assert weekly.by_channel().lines == tuple(used)


def test_the_sample_tables_of_spend_and_of_events_agree():
    events = load_events()
    journeys = Journeys.from_events(
        events, conversion_type="conversion_type", attributes=["cost", "campaign"]
    )
    options = {"campaign": "campaign", "currency": "EUR"}
    logged = Spend.from_journeys(journeys, period="W", **options)
    told = Spend.from_frame(load_spend(), period="week", **options)
    assert told.period == logged.period == "W"
    assert logged.starts.tolist() == told.starts.tolist()
    # ingestion leaves no touch out, so every cost in the log is there, once
    assert logged.total == pytest.approx(events["cost"].sum(), rel=1e-9)
    both = sorted(set(logged.lines) & set(told.lines))
    assert both == list(told.lines)
    frames = [
        spend.to_frame().pivot(index="period", columns="line", values="spend")
        for spend in (logged, told)
    ]
    paid = frames[0][both]
    # a week's spend is in equal parts on its touches; weeks without a touch have no cost in the log
    shown = paid.to_numpy() > 0
    np.testing.assert_allclose(paid.to_numpy()[shown], frames[1].to_numpy()[shown], rtol=1e-9)


def test_touches_are_cut_in_the_time_zone():
    events = pd.DataFrame(
        {
            "user_id": ["u", "v"],
            "timestamp": ["2025-01-05 23:30", "2025-01-06 12:00"],
            "channel": ["a", "a"],
            "converted": [False, False],
            "cost": [1.0, 2.0],
        }
    )
    with pytest.warns(match="no conversions"):
        journeys = Journeys.from_events(events, attributes=["cost"])
    found = Spend.from_journeys(journeys, period="W")
    assert found.amounts.tolist() == [[1.0], [2.0]]
    found = Spend.from_journeys(journeys, period="W", tz="Europe/Berlin")
    assert (found.amounts.tolist(), found.tz) == ([[3.0]], "Europe/Berlin")


def costing(costs, **options):
    n = len(costs)
    return Journeys(
        channels=("a",),
        codes=np.zeros(n, dtype=np.int32),
        offsets=np.arange(n + 1),
        conversions=np.ones(n),
        nulls=np.zeros(n),
        touch_attributes={"cost": Coded.of(costs)},
        **options,
    )


@pytest.mark.parametrize(
    ("journeys", "options", "message"),
    [
        (costing([1, -2, -3]), {}, r"2 rows have negative spend in attribute.*row 1 \(-2.*Hint"),
        (costing([1, None, 3]), {}, r"1 row has no finite amount in attribute 'cost'.*row 1.*Hint"),
        (costing([1, "two"]), {}, "attribute 'cost' holds what is no number"),
        (costing([1]), {"cost": "price"}, "no attribute 'price', but 'cost'.*Hint"),
        (costing([1]), {"campaign": "c"}, "no attribute 'c', but 'cost'.*Hint"),
        (costing([1]), {"period": "W"}, "no times.*Hint"),
        (costing([1]), {"period": "h"}, "period='h' is not one of"),
        (costing([1]), {"tz": "Mars"}, "tz='Mars' is no time zone"),
        (costing([]), {}, "no touches"),
        ("log", {}, "Got a str, not Journeys"),
    ],
)  # fmt: skip
def test_journeys_that_do_not_fit(journeys, options, message):
    with pytest.raises(InputError, match=message):
        Spend.from_journeys(journeys, **options)


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from([1, 2.5, None])), max_size=9
    )
)
def test_joined_names_are_those_of_each_row(rows):
    columns = [Coded.of([row[i] for row in rows]) for i in range(2)]
    found = joined(columns)
    expected = [" / ".join("(none)" if v is None else str(v) for v in row) for row in rows]
    assert found.to_numpy().tolist() == expected
    assert list(found.labels) == sorted(set(expected))
