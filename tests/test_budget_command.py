"""`python -m attribution budget`, run in this process against what the library gives."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest

from attribution import AttributionWarning, Journeys
from attribution.budget import (
    Spend,
    allocate,
    allocate_by_credit,
    attribute_by,
    descriptive_curves,
    incremental_curves,
    robustness,
)
from attribution.commands import budget, main, proposal
from attribution.models import MODELS
from attribution.simulate import SpendChannel, SpendWorld, simulate_spend

CHANNELS = [("tv", 4.0, 900.0, 0.9), ("mail", 3.0, 400.0, 0.5), ("radio", 3.0, 500.0, 0.6)]
BUDGET = ["budget", "log.parquet", "--spend", "spend.csv"]
BERLIN = "Europe/Berlin"
NOTHING = ["budget", "missing.parquet", "--spend", "missing.csv"]  # neither file is there


@pytest.fixture(scope="module")
def world():
    """The log and the spend of two years of weeks."""
    channels = [
        SpendChannel(name=name, cost=cost, spend=spend, effect=effect, variation=0.9)
        for name, cost, spend, effect in CHANNELS
    ]
    simulated = simulate_spend(SpendWorld(channels=channels, base_rate=0.03, n_people=300), 1)
    rows = simulated.journeys.to_frame()
    touches = rows[["user", "path", "times"]].explode(["path", "times"]).dropna()
    touches = touches.rename(columns={"user": "user_id", "path": "channel", "times": "timestamp"})
    ends = rows.loc[rows["conversions"] > 0, ["user", "end"]]
    ends = ends.rename(columns={"user": "user_id", "end": "timestamp"})
    log = pd.concat([touches.assign(converted=0), ends.assign(converted=1, revenue=20.0)])
    log["timestamp"] = pd.to_datetime(log["timestamp"], utc=True)
    return log, simulated.spend


@pytest.fixture
def shop(world, tmp_path, monkeypatch):
    """The log and the spend as files, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    log, spend = world
    log.to_parquet("log.parquet")
    spend.to_csv("spend.csv", index=False)
    return Journeys.from_events(log), Spend.from_frame(spend, period="week")


def saved(name="budget.csv"):
    return pd.read_csv(name, index_col="line")


def respend(change):
    """Write the spend anew, changed."""
    change(pd.read_csv("spend.csv", parse_dates=["week"])).to_csv("spend.csv", index=False)


def renamed(**names):
    respend(lambda table: table.assign(channel=table["channel"].replace(names)))


def money(amounts):
    return pytest.approx(amounts, abs=0.01)  # cents that add up move an amount by less than one


@pytest.mark.parametrize("curves", ["incremental", "descriptive", "none"])
def test_a_budget_is_split_to_the_cent_and_says_what_it_stands_on(shop, capsys, curves):
    total = 123_456.78
    command = [*BUDGET, "--total", str(total), "--curves", curves]
    assert main(command) == 0
    out = capsys.readouterr().out
    frame = saved()
    assert frame["spend"].sum().round(2) == total
    assert [float(f"{x:.2f}") for x in frame["spend"]] == frame["spend"].tolist()
    spent = pd.read_csv("spend.csv").groupby("channel")["spend"].sum()
    assert frame["today"].to_numpy() == pytest.approx(spent[frame.index].to_numpy(), abs=0.01)
    assert frame["curves"].tolist() == [curves] * 3
    stands_on = {"incremental": "Incremental: ", "descriptive": "Descriptive: "}
    assert stands_on.get(curves, "A heuristic, not an optimum") in out
    assert "saved to budget.csv" in out
    assert f"budget {total:,.2f} over 104 weeks, " in out


@pytest.mark.parametrize("curves", ["incremental", "descriptive", "none"])
def test_cents_add_up_where_rounding_one_by_one_misses_the_total(shop, monkeypatch, curves):
    third = "33333.3333333:33333.3333334"
    limits = ",".join(f"{name}={third}" for name, *_ in CHANNELS)
    command = [*BUDGET, "--total", "100000", "--curves", curves, "--bounds", limits]
    with monkeypatch.context() as patch:
        patch.setattr(proposal, "whole_units", lambda amounts, unit: np.round(amounts, 2))
        assert main(command) == 0
        assert saved()["spend"].sum().round(2) == 99_999.99
    assert main(command) == 0
    assert saved()["spend"].sum().round(2) == 100_000.00
    assert sorted(saved()["spend"]) == [33_333.33, 33_333.33, 33_333.34]


def test_a_budget_is_that_of_the_library(shop, capsys):
    assert main([*BUDGET, "--total", "50000", "--periods", "10", "--max-change", "0.5"]) == 0
    journeys, spend = shop
    weekly = attribute_by(journeys, "last_click", period="W")
    with pytest.warns(AttributionWarning, match="is not spent"):
        plan = allocate(incremental_curves(weekly, spend), 5000, max_change=0.5)
    wanted, frame = plan.to_frame(), saved()
    assert frame["spend"].to_numpy() == pytest.approx(10 * wanted["spend"].to_numpy(), abs=0.01)
    assert frame["outcome"].to_numpy() == pytest.approx(10 * wanted["outcome"].to_numpy())
    said = capsys.readouterr()
    assert "warning: (money per week, 1/10 of the totals) " in said.err
    (unspent,) = re.findall(r"([\d,.]+) unspent", said.out)
    assert float(unspent.replace(",", "")) == money(50_000 - frame["spend"].sum())


def test_curves_of_credit_stand_on_the_dates_of_touches(shop):
    journeys, spend = shop
    assert main([*BUDGET, "--curves", "descriptive"]) == 0
    found = {
        by: allocate(
            descriptive_curves(attribute_by(journeys, "linear", by=by, period="W"), spend),
            sum(spend.today.values()),
        ).spend
        * 104
        for by in ("touch", "conversion")
    }
    assert saved()["spend"].to_numpy() == pytest.approx(found["touch"], abs=0.01)
    assert np.abs(found["touch"] - found["conversion"]).max() > 1


def test_the_model_and_the_family_are_those_that_were_asked_for(shop):
    journeys, spend = shop
    total = sum(spend.today.values())
    assert main([*BUDGET, "--curves", "descriptive", "--model", "first_click"]) == 0
    found = saved()["spend"].to_numpy()
    plans = {
        model: allocate(
            descriptive_curves(attribute_by(journeys, model, by="touch", period="W"), spend), total
        ).spend
        for model in ("first_click", "linear")
    }
    assert found == pytest.approx(plans["first_click"] * 104, abs=0.01)
    assert np.abs(plans["first_click"] - plans["linear"]).max() > 1
    assert main([*BUDGET, "--curves", "none", "--model", "first_click"]) == 0
    by_credit = {
        model: allocate_by_credit(MODELS[model]().attribute(journeys), total).spend
        for model in ("first_click", "linear")
    }
    assert saved()["spend"].to_numpy() == pytest.approx(by_credit["first_click"] * 104, abs=0.01)
    assert np.abs(by_credit["first_click"] - by_credit["linear"]).max() > 1
    assert main([*BUDGET, "--family", "power"]) == 0
    weekly = attribute_by(journeys, "last_click", period="W")
    of_families = {
        family: allocate(incremental_curves(weekly, spend, family=family), total).spend
        for family in ("power", "exponential")
    }
    assert saved()["spend"].to_numpy() == pytest.approx(of_families["power"] * 104, abs=0.01)
    assert np.abs(of_families["power"] - of_families["exponential"]).max() > 1


def test_limits_of_a_budget_are_totals_of_all_periods(shop):
    options = ["--total", "20000", "--periods", "4", "--bounds", "tv=:2500, mail=100:"]
    assert main([*BUDGET, *options, "--of", "value", "--value", "revenue"]) == 0
    assert saved().loc["tv", "spend"] == pytest.approx(2500, abs=0.01)
    assert main([*BUDGET, "--total", "1500", "--periods", "4", "--step", "500"]) == 0
    assert saved()["spend"].sum() == 1500.0  # none would be spent in steps of 500 a week
    assert set(saved()["spend"] % 500) == {0.0}


def test_today_is_the_mean_of_a_period_times_the_periods_of_the_plan(shop):
    assert main([*BUDGET, "--periods", "4"]) == 0
    _, spend = shop
    assert saved()["today"].to_dict() == {k: money(4 * v) for k, v in spend.today.items()}
    assert saved()["spend"].sum() == pytest.approx(4 * sum(spend.today.values()), abs=0.01)


def test_help_says_that_money_is_of_all_periods(capsys):
    with pytest.raises(SystemExit):
        main(["budget", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "amounts are of all periods together" in text
    assert "least and most per channel over all periods" in text
    assert "each channel spends a multiple of it over all periods" in text
    assert "over all periods of the spend, times this number" in text


def test_the_sample_has_a_budget(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["budget", "--output", "plan.csv"]) == 0
    printed = capsys.readouterr()
    assert saved("plan.csv")["spend"].sum().round(2) == 21_776.96
    assert "may be no better than today" in printed.out
    assert "spend varied too little" in printed.err


def gains(text):
    found = re.search(
        r"gain over today in conversions of (\d+) weeks(.*), by draws of these curves: "
        r"(\S+) on average, 90 % interval (\S+) to (\S+)\n",
        text,
    )
    return found[1], found[2], *(float(x.replace(",", "")) for x in found.groups()[2:])


def test_the_gain_is_of_all_periods_and_says_how_sure_it_is(shop, capsys):
    assert main([*BUDGET, "--periods", "10"]) == 0
    text = capsys.readouterr().out
    journeys, spend = shop
    fit = incremental_curves(attribute_by(journeys, "last_click", period="W"), spend)
    plan = allocate(fit, sum(spend.today.values()))
    rows = robustness(plan, fit).summary()
    n, more, *gain = gains(text)
    assert (n, more) == ("10", "")
    assert gain == pytest.approx(10 * rows.loc["gain"].to_numpy(), abs=0.051)
    best = saved()["outcome"].sum() - saved()["outcome_today"].sum()
    assert f"its gain of {best:,.1f} flatters the plan: it is biased upwards" in text
    assert f"{rows.loc['robust_share', 'mean']:.0%} of the money would be spent alike" in text
    assert f"fitted to {fit.quality['n_periods']:.0f} of 104 weeks, r2 {fit.quality['r2']:.2f}" in (
        text
    )


def test_only_a_gain_that_may_be_none_brings_advice(shop, capsys):
    assert main([*BUDGET, "--total", "300000"]) == 0
    text = capsys.readouterr().out
    _, more, _, low, _ = gains(text)
    assert low > 0
    assert re.fullmatch(r", with [\d,.]+ more money", more)
    assert "It may" not in text
    assert main([*BUDGET, "--total", "20000"]) == 0
    text = capsys.readouterr().out
    _, more, _, low, high = gains(text)
    assert low < high < 0
    assert re.fullmatch(r", with [\d,.]+ less money", more)
    assert "It brings less than today." in text


def test_a_plan_of_what_is_spent_today_says_only_that(shop, capsys):
    assert main([*BUDGET, "--max-change", "0"]) == 0
    text = capsys.readouterr().out
    assert "The plan is what is spent today." in text
    assert "flatters" not in text
    assert "--max-change" not in text


def test_money_is_shown_in_its_currency_and_return_per_thousand(shop, capsys):
    respend(lambda table: table.assign(currency="CHF"))
    assert main([*BUDGET, "--total", "4000", "--periods", "1"]) == 0
    text = capsys.readouterr().out
    frame = saved()
    assert "budget 4,000.00 CHF over 1 week;" in text
    assert frame["currency"].tolist() == ["CHF"] * 3
    assert frame["periods"].tolist() == [1] * 3
    assert frame["period"].tolist() == ["week"] * 3
    (head,) = (line for line in text.splitlines() if "per 1,000 more" in line)
    assert "marginal" not in head
    (row,) = (line.split() for line in text.splitlines() if line.startswith("tv "))
    assert row[6] == f"{frame.loc['tv', 'marginal'] * 1000:,.2f}"
    assert frame.loc["tv", "marginal"] > 0
    respend(lambda table: table.assign(currency=["EUR", *table["currency"][1:]]))
    assert main(BUDGET) == 2
    assert "mixed currencies" in capsys.readouterr().err


def test_months_are_named_and_no_currency_is_made_up(shop, capsys):
    respend(
        lambda table: (
            table.assign(month=table["week"].dt.strftime("%Y-%m-01"))
            .groupby(["month", "channel"], as_index=False)["spend"]
            .sum()
        )
    )
    assert main([*BUDGET, "--curves", "none", "--total", "100"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"budget 100.00 over \d+ months, ", text)
    frame = saved()
    assert set(frame["period"]) == {"month"}
    assert list(frame) == ["today", "spend", "change", "held_by", "curves", "periods", "period"]
    for unknown in ("outcome", "per 1,000"):
        assert unknown not in text.split("\n\n")[1]


def test_a_channel_named_total_keeps_its_money(shop, capsys):
    renamed(tv="total")
    log = pd.read_parquet("log.parquet")
    log.assign(channel=log["channel"].replace("tv", "total")).to_parquet("log.parquet")
    assert main([*BUDGET, "--curves", "none"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    frame = saved()
    sums = frame[["today", "spend"]].sum()
    assert [row for row in rows if row[:1] == ["total"]] == [
        ["total", *(f"{x:,.2f}" for x in frame.loc["total", ["today", "spend"]])],
        ["total", *(f"{x:,.2f}" for x in sums)],
    ]


@pytest.mark.parametrize("curves", ["incremental", "descriptive", "none"])
def test_channels_on_one_side_only_are_named(shop, capsys, curves):
    renamed(tv="TV", radio="radios")
    assert main([*BUDGET, "--curves", curves]) == 0
    said = capsys.readouterr()
    assert "spend without credit: 'TV'. Did you mean 'tv'?" in said.err
    assert "spend without credit: 'radios'. Did you mean 'radio'?" in said.err
    assert "'mail'" not in said.err
    credit = MODELS["linear"]().attribute(shop[0]).to_frame()["conversions"]
    tv = f"tv ({credit['tv']:,.1f} of {credit.sum():,.1f})"
    left = [line for line in said.out.splitlines() if "not planned" in line]
    if curves == "incremental":
        assert left == []
    else:
        assert len(left) == 1
        assert left[0].startswith("credit without spend, not planned: ")
        assert tv in left[0]
        assert "mail" not in left[0]


@pytest.mark.parametrize("curves", ["descriptive", "none"])
def test_spend_of_no_channel_of_the_log_is_an_error(shop, capsys, curves):
    renamed(tv="TV", mail="Mail", radio="Radio")
    assert main([*BUDGET, "--curves", curves]) == 2
    error = capsys.readouterr().err
    assert "No channel with spend, such as 'Mail', has credit. Did you mean 'mail'?" in error
    assert "such as 'mail', 'radio', 'tv'." in error


@pytest.mark.parametrize("curves", ["incremental", "descriptive", "none"])
def test_spend_and_log_of_different_times_are_an_error(shop, capsys, curves):
    respend(lambda table: table.assign(week=table["week"] + pd.Timedelta(days=7 * 200)))
    assert main([*BUDGET, "--curves", curves]) == 2
    assert "none in common" in capsys.readouterr().err


def test_one_week_in_common_is_enough_to_go_by_credit(shop, capsys):
    respend(lambda table: table.assign(week=table["week"] + pd.Timedelta(days=7 * 103)))
    assert main([*BUDGET, "--curves", "none"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--of", "value"], "--of value needs --value"),
        (["--output", ""], "--output has no name"),
        (["--output", "."], "--output '.' is a folder"),
        (["--output", "plan.xlsx"], "--output 'plan.xlsx' does not end in .csv or .csv.gz"),
        (["--output", "nowhere/plan.csv"], "there is no folder 'nowhere'"),
        (["--output", "missing.csv"], "--output 'missing.csv' is a file that is read here"),
        (["--output", "./missing.csv"], "--output './missing.csv' is a file that is read here"),
        (
            ["--conversion-events", "sales.csv", "--output", "sales.csv"],
            "--output 'sales.csv' is a file that is read here",
        ),
        (["--periods", "0"], "--periods 0 is not a whole number of at least 1"),
        (["--total", "0"], "--total 0 is not above 0"),
        (["--total", "inf"], "--total inf is not above 0 and finite"),
        (["--total", "nan"], "--total nan is not above 0 and finite"),
        (["--step", "0"], "--step 0 is not above 0"),
        (["--max-change", "-1"], "--max-change -1 is not 0 or more"),
        (["--model", "linear"], "--model goes with --curves descriptive or none"),
        (["--curves", "none", "--family", "hill"], "--family goes with"),
    ],
)
def test_options_are_checked_before_a_file_is_read(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main([*NOTHING, *options]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(
    "option",
    [
        ["--user", "who"],
        ["--spend", "spend.csv"],
        ["--spend-column", "money"],
        ["--spend-channel", "line"],
        ["--spend-period", "week"],
        ["--tz", "UTC"],
    ],
)
def test_options_of_files_need_events(capsys, option):
    assert main(["budget", *option]) == 2
    assert f"{option[0]} needs EVENTS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["budget", "log.parquet"], "What was spent? Hint: --spend FILE"),
        ([*BUDGET, "--bounds", "tv"], "--bounds 'tv' is no limit"),
        ([*BUDGET, "--bounds", "TV=1:2"], "--bounds names 'TV', which has no spend. Did you mean"),
        ([*BUDGET, "--bounds", "tv=1:2,tv=3:4"], "--bounds names 'tv' twice"),
        ([*BUDGET, "--bounds", "tv=2000:1000"], "--bounds 'tv=2000:1000' is no range of money"),
        ([*BUDGET, "--bounds", "tv=nan:"], "--bounds 'tv=nan:' is no range of money"),
        (
            [*BUDGET, "--total", "10", "--bounds", "tv=100:"],
            "error: (money per week, 1/104 of the totals) budget=0.09",
        ),
        ([*BUDGET, "--spend-column", "money"], "no column 'money'"),
        ([*BUDGET, "--spend-period", "channel"], "time in column 'channel' that cannot be read"),
        (
            [*BUDGET, "--spend-period", "channel", "--curves", "none"],
            "time in column 'channel' that cannot be read",
        ),
        ([*BUDGET, "--spend-period", "when", "--curves", "none"], "no column 'when'"),
        ([*BUDGET, "--tz", "Europe/Berlin"], "no midnights in Europe/Berlin"),
        ([*BUDGET, "--tz", "Mars"], "'Mars' is no time zone"),
    ],
)
def test_a_budget_that_cannot_be_made(shop, capsys, options, message):
    assert main(options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_errors_of_several_lines_are_one(shop, capsys):
    limits = "tv=900000:,mail=900000:"
    assert main([*BUDGET, "--max-change", "0.1", "--bounds", limits]) == 2
    error = capsys.readouterr().err
    assert error.count("max_change=0.1 lets") == 2
    assert "; max_change=0.1 lets" in error
    assert error.count("\n") == 1


def test_a_plan_can_be_compressed_and_is_the_same_each_time(shop):
    assert main([*BUDGET, "--curves", "none"]) == 0
    assert main([*BUDGET, "--curves", "none", "--output", "plan.csv.gz"]) == 0
    with open("budget.csv", "rb") as plain, open("plan.csv.gz", "rb") as zipped:
        assert gzip.decompress(zipped.read()) == plain.read()
    with open("plan.csv.gz", "rb") as zipped:
        assert zipped.read(8)[4:] == bytes(4)  # no time of writing


def test_what_is_read_is_never_overwritten(shop, tmp_path, capsys):
    (tmp_path / "link.csv").symlink_to("spend.csv")
    before = (tmp_path / "spend.csv").read_bytes()
    assert main([*BUDGET, "--curves", "none", "--output", "link.csv"]) == 2
    assert "'link.csv' is a file that is read here" in capsys.readouterr().err
    assert (tmp_path / "spend.csv").read_bytes() == before
    pd.read_parquet("log.parquet").to_csv("log-1.csv", index=False)
    command = ["budget", "log-*.csv", "--spend", "spend.csv", "--output", "log-1.csv"]
    assert main(command) == 2
    assert "'log-1.csv' is a file that is read here" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named_as_typed(shop, monkeypatch, capsys):
    def refuse(path):
        raise PermissionError(13, "Permission denied", ".plan.csv.0.partial")

    monkeypatch.setattr(budget, "written_whole", refuse)
    assert main([*BUDGET, "--curves", "none", "--output", "plan.csv"]) == 2
    error = capsys.readouterr().err
    assert error == "error: --output 'plan.csv' cannot be written: Permission denied.\n"


def test_spend_without_periods_goes_by_credit_only(shop, capsys):
    pd.read_csv("spend.csv").groupby("channel")["spend"].sum().to_csv("whole.csv")
    command = ["budget", "log.parquet", "--spend", "whole.csv"]
    assert main(command) == 2
    assert "none of the columns period, week, month, date, day" in capsys.readouterr().err
    command += ["--curves", "none", "--total", "1000"]
    assert main(command) == 0
    assert saved()["spend"].sum().round(2) == 1000.0
    assert "period" not in saved()
    assert "budget 1,000.00 over 1 period;" in capsys.readouterr().out
    for option in (["--periods", "2"], ["--tz", "UTC"]):
        assert main([*command, *option]) == 2
        assert f"{option[0]} needs spend by period" in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--spend-period", "week"]])
def test_a_single_period_is_enough_to_go_by_credit(shop, capsys, option):
    respend(lambda table: table[table["week"] == table["week"].min()])
    assert main([*BUDGET, *option]) == 2
    assert "holds one moment" in capsys.readouterr().err
    assert main([*BUDGET, *option, "--curves", "none"]) == 0
    assert saved()["today"].sum() == money(pd.read_csv("spend.csv")["spend"].sum())
    assert capsys.readouterr().err == ""


def test_periods_that_do_not_work_are_left_aside_aloud(shop, capsys):
    respend(lambda table: table.drop(index=[5, 6, 7]))
    assert main(BUDGET) == 2
    assert "has no row for" in capsys.readouterr().err
    assert main([*BUDGET, "--curves", "none"]) == 0
    assert saved()["today"].sum() == money(pd.read_csv("spend.csv")["spend"].sum())
    error = capsys.readouterr().err
    assert "warning: The spend is taken as a whole, without its periods: " in error
    assert main([*BUDGET, "--curves", "none", "--spend-period", "week"]) == 2
    assert "has no row for" in capsys.readouterr().err


def test_periods_of_another_time_zone(shop, capsys):
    respend(
        lambda table: table.assign(week=table["week"].dt.tz_localize(None).dt.tz_localize(BERLIN))
    )
    assert main(BUDGET) == 2
    assert "no midnights in UTC" in capsys.readouterr().err
    for curves in ("incremental", "none"):
        assert main([*BUDGET, "--tz", "Europe/Berlin", "--curves", curves]) == 0
        assert "over 104 weeks" in capsys.readouterr().out


@pytest.mark.parametrize("curves", ["incremental", "none"])
def test_a_table_without_its_columns_says_which_it_has(shop, capsys, curves):
    table = pd.read_csv("spend.csv")
    table.to_csv("semicolons.csv", index=False, sep=";")
    table.to_csv("decimals.csv", index=False, sep=";", decimal=",")
    table.drop(columns=["week"]).rename(columns={"channel": "chanel"}).to_csv("typo.csv")
    for file, message in (
        ("semicolons", "seem to be separated by semicolons"),
        ("decimals", "columns are separated by commas"),
        ("typo", "no column 'channel'. Did you mean 'chanel'?"),
    ):
        command = ["budget", "log.parquet", "--spend", f"{file}.csv", "--curves", curves]
        assert main(command) == 2
        assert message in capsys.readouterr().err
