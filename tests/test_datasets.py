from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from attribution.datasets import load_events, load_paths, load_spend, load_truth
from attribution.datasets.make import aggregate_paths, build_tables, write_table
from attribution.datasets.simulation import decide_without
from attribution.datasets.world import NAMES, make_needs, make_people

BOT = "p004711"
PER_TOUCH = ["campaign", "medium", "ownership", "setting", "activity", "touch_type", "stage"]


@pytest.fixture(scope="module")
def events():
    return load_events()


@pytest.fixture(scope="module")
def touches(events):
    return events[events["channel"].notna()]


@pytest.fixture(scope="module")
def conversions(events):
    return events[events["converted"] == 1]


@pytest.fixture(scope="module")
def purchases(events):
    return events[events["conversion_type"] == "purchase"]


@pytest.fixture(scope="module")
def truth():
    return load_truth().set_index("channel")


@pytest.fixture(scope="module")
def spend():
    return load_spend()


@pytest.fixture(scope="module")
def rebuilt():
    return build_tables()


def weeks(timestamps):
    return (timestamps - pd.to_timedelta(timestamps.dt.day_of_week, unit="D")).dt.normalize()


@pytest.mark.parametrize(
    ("name", "load"), [("events", load_events), ("spend", load_spend), ("truth", load_truth)]
)
def test_making_the_data_again_gives_the_shipped_tables(rebuilt, tmp_path, name, load):
    write_table(rebuilt[name], tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "again.parquet"), load(), check_exact=True
    )


def test_the_shipped_paths_are_those_of_the_events(events, tmp_path):
    write_table(aggregate_paths(events), tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "again.parquet"), load_paths())


def test_the_paths_hold_every_purchase_and_its_value(purchases):
    paths = load_paths()
    assert list(paths.columns) == ["path", "conversions", "value", "nulls"]
    assert paths["conversions"].sum() == len(purchases)
    assert paths["value"].sum() == pytest.approx(purchases["value"].sum(), rel=1e-11)
    assert paths["nulls"].sum() > paths["conversions"].sum()


def test_the_package_stays_small():
    folder = files("attribution.datasets")
    tables = [f"{name}.parquet" for name in ("events", "paths", "spend", "truth")]
    assert sum(len(folder.joinpath(name).read_bytes()) for name in tables) < 2_000_000


@pytest.mark.parametrize("load", [load_events, load_paths, load_spend, load_truth])
def test_each_call_returns_a_table_of_its_own(load):
    first = load()
    first.iloc[:, 0] = first.iloc[::-1, 0].to_numpy()
    assert not first.equals(load())


def test_about_fifty_thousand_touches_of_twelve_channels_over_fourteen_months(events, touches):
    assert 48_000 < len(touches) < 52_000
    assert touches["channel"].nunique() == 12
    assert touches.groupby("channel")["campaign"].nunique().between(2, 4).all()
    months = touches["timestamp"].dt.strftime("%Y-%m").value_counts()
    assert len(months) == 14
    assert months.min() > 2_000
    assert str(events["timestamp"].min().date()) == "2024-01-01"
    assert str(events["timestamp"].max().date()) == "2025-02-28"


def test_events_are_sorted_by_time_and_user_with_hardly_a_tie(events):
    assert str(events["timestamp"].dtype) == "datetime64[us, UTC]"
    pd.testing.assert_frame_equal(events, events.sort_values(["timestamp", "user_id"]))
    assert events.duplicated(["timestamp", "user_id"]).mean() < 1e-3


def test_touches_are_described_in_full_and_other_rows_not_at_all(events, touches):
    assert touches[PER_TOUCH].notna().all(axis=None)
    assert events.loc[events["channel"].isna(), PER_TOUCH].isna().all(axis=None)
    described = {name: set(touches[name]) for name in PER_TOUCH[2:]}
    assert described == {
        "ownership": {"paid", "owned", "earned"},
        "setting": {"online", "offline"},
        "activity": {"active", "passive"},
        "touch_type": {"click", "view"},
        "stage": {"awareness", "consideration", "conversion", "retention", "advocacy"},
    }
    assert (touches.groupby(["channel", "campaign"])[PER_TOUCH].nunique() == 1).all(axis=None)


def test_every_row_is_a_touch_or_a_conversion_and_few_are_both(events, touches, conversions):
    assert len(touches.index.union(conversions.index)) == len(events)
    both = conversions[conversions["channel"].notna()]
    assert 0 < len(both) < 0.05 * len(conversions)
    assert set(both["channel"]) == {"store_visit"}
    assert set(both["conversion_type"]) == {"purchase"}


def test_conversions_have_type_id_and_value_and_other_rows_none(events, conversions):
    columns = ["conversion_type", "conversion_id", "value"]
    assert conversions[columns].notna().all(axis=None)
    assert events.loc[events["converted"] == 0, columns].isna().all(axis=None)
    assert conversions["conversion_id"].is_unique
    assert (conversions["value"] > 0).equals(conversions["conversion_type"] == "purchase")


def test_thousands_of_leads_and_purchases_each_purchase_after_a_lead(conversions, purchases):
    leads = conversions[conversions["conversion_type"] == "lead"]
    assert len(leads) > 3_000
    assert 1_500 < len(purchases) < 3_000
    user = conversions["user_id"]
    leads_so_far = (conversions["conversion_type"] == "lead").groupby(user).cumsum()
    purchases_so_far = (conversions["conversion_type"] == "purchase").groupby(user).cumsum()
    assert (leads_so_far >= purchases_so_far).all()


def test_some_people_buy_again_and_most_never(events, touches, purchases):
    assert (purchases["user_id"].value_counts() >= 2).sum() > 100
    assert touches["user_id"].nunique() > 3 * purchases["user_id"].nunique()


def test_some_people_convert_without_any_touch(touches, conversions):
    untouched = ~conversions["user_id"].isin(touches["user_id"])
    assert untouched.sum() > 50
    assert (conversions.loc[untouched, "conversion_type"] == "purchase").any()


def test_customers_hear_from_us_only_after_a_purchase(touches, purchases):
    later = touches[touches["stage"].isin(["retention", "advocacy"])]
    first = purchases.groupby("user_id")["timestamp"].min()
    assert (later["timestamp"] > later["user_id"].map(first)).all()


def test_people_have_several_devices_and_devices_one_person(events):
    assert (events.groupby("user_id")["device_id"].nunique() >= 2).sum() > 1_000
    owners = events.groupby("device_id")[["user_id", "device"]].nunique()
    assert (owners == 1).all(axis=None)


def test_companies_have_several_people_with_roles_and_consumers_none(events):
    people = events.drop_duplicates("user_id")
    assert (people.groupby("account_id")["user_id"].nunique() >= 2).sum() > 150
    assert people["role"].notna().equals(people["account_id"].notna())
    assert people["role"].nunique() == 4
    assert (events.groupby("user_id")[["account_id", "role"]].nunique() <= 1).all(axis=None)


def test_the_podcast_is_launched_late(touches, spend):
    launch = pd.Timestamp("2024-09-02", tz="UTC")
    for table, time in ((touches, "timestamp"), (spend, "week")):
        start = table.loc[table["channel"] == "podcast", time].min()
        assert launch <= start < launch + pd.Timedelta(days=7)


def test_the_bot_clicks_a_lot_at_all_hours_and_converts_never(events):
    bot = events[events["user_id"] == BOT]
    assert (
        len(bot)
        == 1_500
        > 10 * events.loc[events["user_id"] != BOT, "user_id"].value_counts().max()
    )
    assert bot["converted"].sum() == 0
    assert bot["device_id"].nunique() == 1
    assert bot["timestamp"].dt.hour.value_counts().min() > 30


def test_exactly_three_days_have_no_event(events):
    seen = pd.DatetimeIndex(events["timestamp"].dt.normalize().unique())
    missing = pd.date_range("2024-01-01", "2025-02-28", tz="UTC").difference(seen)
    assert [str(day.date()) for day in missing] == ["2024-08-13", "2024-08-14", "2024-08-15"]


def test_the_truth_adds_up_to_the_log(truth, conversions, purchases):
    assert set(truth.index) == {*load_events()["channel"].dropna(), "(all)", "(organic)"}
    total = truth.loc["(all)"] + truth.loc["(organic)"]
    assert total["purchases_lost"] == len(purchases)
    assert total["value_lost"] == pytest.approx(purchases["value"].sum(), rel=1e-9)
    assert total["leads_lost"] == (conversions["conversion_type"] == "lead").sum()


def test_no_channel_gains_from_being_off_and_all_together_lose_most(truth):
    channels = truth.drop(index=["(all)", "(organic)"])
    assert (channels >= 0).all(axis=None)
    assert (truth.loc["(all)"] >= channels.max()).all()
    idle = channels.index[(channels == 0).all(axis=1)]
    assert list(idle) == ["affiliate"]


def test_without_a_channel_no_lead_or_purchase_comes_earlier():
    rng = np.random.default_rng(7)
    people = make_people(rng)
    needs = make_needs(people, rng)
    stock = rng.random((len(NAMES), len(needs.need)))
    actual, without = decide_without(people, needs, stock)
    for outcome in without:
        assert (outcome.lead >= actual.lead).all()
        assert (outcome.purchase >= actual.purchase).all()
    later = [name for name, o in zip(NAMES, without, strict=False) if (o.lead > actual.lead).any()]
    assert later == [name for name in NAMES if name != "affiliate"]


def test_the_last_click_flatters_channels_that_follow_intent(truth, touches, purchases):
    last = pd.merge_asof(
        purchases[["timestamp", "user_id"]],
        touches[["timestamp", "user_id", "channel"]],
        on="timestamp",
        by="user_id",
    )["channel"].value_counts()
    for channel in ("affiliate", "brand_search", "retargeting"):
        assert last[channel] > 2 * truth.loc[channel, "purchases_lost"]


def test_spend_is_weekly_and_covers_the_paid_campaigns(spend, touches):
    keys = ["week", "channel", "campaign"]
    assert not spend.duplicated(keys).any()
    assert (spend["week"].dt.day_of_week == 0).all()
    assert spend["week"].nunique() == 61
    paid = touches[touches["ownership"] == "paid"]
    spent = pd.MultiIndex.from_frame(spend.loc[spend["spend"] > 0, keys])
    assert (
        pd.MultiIndex.from_frame(paid.assign(week=weeks(paid["timestamp"]))[keys]).isin(spent).all()
    )
    assert (touches.loc[touches["ownership"] != "paid", "cost"] == 0).all()


def test_costs_of_touches_are_the_spend_of_their_week(spend, touches):
    keys = ["week", "channel", "campaign"]
    costs = touches.assign(week=weeks(touches["timestamp"])).groupby(keys)["cost"].sum()
    joined = spend.set_index(keys).join(costs, how="inner")
    np.testing.assert_allclose(joined["cost"], joined["spend"], atol=1e-6)  # sums of cents


def test_more_spend_buys_more_touches_with_diminishing_returns(spend, touches):
    human = touches[touches["user_id"] != BOT]
    keys = ["week", "channel", "campaign"]
    counts = human.assign(week=weeks(human["timestamp"])).groupby(keys).size().rename("touches")
    joined = spend[spend["week"] < "2025-02-24"].set_index(keys).join(counts).fillna({"touches": 0})
    assert (joined.loc[joined["spend"] == 0, "touches"] == 0).all()
    assert (joined["spend"] == 0).groupby("channel").any().sum() == joined.index.unique(1).size
    active = joined[joined["spend"] > 0]
    usual = active.groupby(["channel", "campaign"]).transform("mean")
    relative = active / usual
    low, high = relative["spend"] < 0.8, relative["spend"] > 1.5
    assert relative.loc[high, "touches"].mean() > 1.1 * relative.loc[low, "touches"].mean()
    yields = relative["touches"] / relative["spend"]
    assert yields[high].mean() < 0.9 * yields[low].mean()
