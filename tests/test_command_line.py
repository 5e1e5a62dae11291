"""The command line, run in this process; one test runs it as a user does."""

import io
import json
import re
import subprocess
import sys

import pandas as pd
import pytest

from attribution import AttributionWarning, Comparison, Journeys, compare
from attribution.budget import Spend, allocate, attribute_by, incremental_curves
from attribution.commands import main
from attribution.commands.files import sample
from attribution.datasets import load_events, load_paths
from attribution.simulate import SpendChannel, SpendWorld, simulate_spend

EVENTS = pd.DataFrame(
    {
        "who": ["007", "007", "7", "7"],
        "when": ["2025-03-01T09:00:00Z", "2025-03-02T09:00:00Z", "2025-03-01", "2025-03-09"],
        "source": ["search", "mail", "search", "mail"],
        "medium": ["paid", "owned", "paid", "owned"],
        "bought": [0, 1, 0, 0],
        "revenue": [0.0, 50.0, 0.0, 0.0],
    }
)
EVENTS["when"] = pd.to_datetime(EVENTS["when"], format="ISO8601", utc=True)
COLUMNS = [
    "--user",
    "who",
    "--time",
    "when",
    "--channel",
    "source",
    "--conversion",
    "bought",
    "--value",
    "revenue",
]
PATHS = pd.DataFrame({"path": ["a > b", "b", "a"], "conversions": [2, 1, 0], "nulls": [1, 4, 2]})


def frame_of(capsys):
    return pd.read_csv(io.StringIO(capsys.readouterr().out), index_col="channel")


@pytest.fixture
def events_file(tmp_path):
    file = tmp_path / "events.csv"
    EVENTS.to_csv(file, index=False)
    return str(file)


@pytest.fixture
def paths_file(tmp_path):
    file = tmp_path / "paths.csv"
    PATHS.to_csv(file, index=False)
    return str(file)


def test_without_a_file_it_compares_seven_models_on_the_sample(capsys):
    assert main(["compare", "--format", "csv"]) == 0
    frame = frame_of(capsys)
    events = load_events()
    purchases = (events["conversion_type"] == "purchase").sum()
    assert frame.shape == (events["channel"].nunique(), 7)
    bare = sample().conversions[sample().lengths == 0].sum()
    assert frame.sum().to_numpy() == pytest.approx(purchases - bare)


def test_the_table_names_total_unattributed_and_what_is_driven_by_data(capsys):
    assert main(["compare"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"1,893 in all, of which 284 without any touch", text)
    assert "driven by data: markov" in text
    assert "total" in text


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl"])
def test_every_kind_of_file_gives_what_the_library_gives(tmp_path, capsys, ending):
    file = str(tmp_path / f"events.{ending}")
    if ending == "parquet":
        EVENTS.to_parquet(file)
    elif ending == "jsonl":
        EVENTS.assign(when=EVENTS["when"].astype(str)).to_json(file, orient="records", lines=True)
    else:
        EVENTS.to_csv(file, index=False)
    assert main(["compare", file, "--events", *COLUMNS, "--format", "csv"]) == 0
    options = {"user": "who", "time": "when", "channel": "source", "conversion": "bought"}
    expected = compare(Journeys.from_events(EVENTS, value="revenue", **options)).to_frame()
    pd.testing.assert_frame_equal(frame_of(capsys), expected, check_index_type=False)


def test_ids_in_csv_keep_their_leading_zeros(events_file, capsys):
    assert main(["compare", events_file, "--events", *COLUMNS, "--format", "json"]) == 0
    result = Comparison.from_json(capsys.readouterr().out)
    assert result["linear"].to_frame()["conversions"].to_dict() == {"mail": 0.5, "search": 0.5}


def test_options_of_events_reach_the_library(events_file, capsys):
    several = [c if c != "source" else "source,medium" for c in COLUMNS]
    arguments = ["compare", events_file, "--events", *several, "--lookback", "12h"]
    assert main([*arguments, "--models", "linear,last_click", "--format", "csv"]) == 0
    frame = frame_of(capsys)
    assert frame["linear"].to_dict() == {"mail / owned": 1.0, "search / paid": 0.0}
    assert list(frame) == ["linear", "last_click"]


def test_lookback_by_type_of_touch(tmp_path, capsys):
    file = tmp_path / "log.csv"
    EVENTS.assign(kind=["view", "click", "view", "click"]).to_csv(file, index=False)
    arguments = ["compare", str(file), "--events", *COLUMNS, "--touch-type", "kind"]
    assert main([*arguments, "--lookback", "click=30D,view=1h", "--format", "csv"]) == 0
    assert frame_of(capsys)["first_click"].to_dict() == {"mail": 1.0, "search": 0.0}


def test_conversions_in_a_file_of_their_own(tmp_path, capsys):
    log, sales = tmp_path / "log.csv", tmp_path / "sales.csv"
    EVENTS.drop(columns=["bought", "revenue"]).to_csv(log, index=False)
    sale = {"who": ["007"], "when": ["2025-03-02T10:00:00Z"], "revenue": [20.0]}
    pd.DataFrame(sale).to_csv(sales, index=False)
    columns = ["--user", "who", "--time", "when", "--channel", "source", "--value", "revenue"]
    arguments = ["compare", str(log), "--events", *columns, "--conversion-events", str(sales)]
    assert main([*arguments, "--of", "value", "--format", "csv"]) == 0
    assert frame_of(capsys)["linear"].to_dict() == {"mail": 10.0, "search": 10.0}


def test_paths_and_shares(paths_file, capsys):
    arguments = ["compare", paths_file, "--paths", "--nulls", "nulls", "--exclude", "time_decay"]
    assert main([*arguments, "--share", "--format", "csv"]) == 0
    frame = frame_of(capsys)
    assert frame["first_click"].to_dict() == pytest.approx({"a": 2 / 3, "b": 1 / 3})


def test_only_type_selects_a_type_of_conversion(tmp_path, capsys):
    file = str(tmp_path / "sample.parquet")
    load_events().to_parquet(file)
    arguments = ["--events", "--conversion-type", "conversion_type", "--only-type", "purchase"]
    assert main(["compare", file, *arguments, "--models", "linear", "--format", "csv"]) == 0
    assert frame_of(capsys)["linear"].sum() == pytest.approx(1893 - 284)


def test_the_sample_paths_are_the_sample_events(capsys):
    paths = Journeys.from_paths(load_paths(), value="value", nulls="nulls", empty="unattributed")
    one, other = (compare(j, ["linear", "markov"]).to_frame() for j in (paths, sample()))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


def test_warnings_are_one_line_on_standard_error(paths_file, capsys):
    assert main(["compare", paths_file, "--paths", "--nulls", "nulls"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: time_decay is skipped")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv", "--paths"], "no file 'missing.csv'"),
        (["{paths}"], "Say what FILE holds"),
        (["{paths}", "--paths", "--path", "pth"], "no column 'pth'. Did you mean 'path'?"),
        (["{paths}", "--paths", "--lookback", "3D"], "--lookback goes with --events"),
        (
            ["{paths}", "--paths", "--nulls", "nulls", "--models", "markow"],
            "Did you mean 'markov'?",
        ),
        (["--lookback", "3D"], "--lookback needs a FILE"),
        (["{events}", "--events", *COLUMNS, "--lookback", "soon"], "is not a length of time"),
        (["{log}", "--events"], "has no known ending"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path, events_file, paths_file, capsys, arguments, message
):
    log = tmp_path / "events.log"
    log.write_text("?")
    files = {"paths": paths_file, "events": events_file, "log": str(log)}
    assert main(["compare", *(argument.format(**files) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_unreadable_content_names_the_file(tmp_path, capsys, ending):
    file = tmp_path / f"broken.{ending}"
    file.write_bytes(b'{"a": [1,\n\x00"b,c\n1')
    assert main(["compare", str(file), "--paths"]) == 2
    assert f"broken.{ending}" in capsys.readouterr().err


def test_as_a_user_runs_it():
    command = [sys.executable, "-m", "attribution", "compare", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["attributions"]) == 7
    assert done.stderr == ""


def test_a_channel_named_total_keeps_its_credit(tmp_path, capsys):
    file = tmp_path / "paths.csv"
    file.write_text("path,conversions,nulls\ntotal,2,1\na,1,5\n")
    arguments = ["compare", str(file), "--paths", "--nulls", "nulls", "--models", "linear, markov"]
    assert main(arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line[:1] == ["total"]] == [
        ["total", "2.0", "2.0"],
        ["total", "3.0", "3.0"],
    ]


def test_words_like_na_stay_channels(tmp_path, capsys):
    file = tmp_path / "paths.csv"
    file.write_text("path,conversions,nulls\nNA > null,2,1\n")
    arguments = ["compare", str(file), "--paths", "--nulls", "nulls", "--models", "linear"]
    assert main([*arguments, "--format", "csv"]) == 0
    assert "NA,1.0\nnull,1.0" in capsys.readouterr().out


def test_a_broken_line_is_reported_without_its_content(tmp_path, capsys):
    file = tmp_path / "log.csv"
    file.write_text("path,conversions\na,1\nsecret@example.com,2,3\n")
    assert main(["compare", str(file), "--paths"]) == 2
    error = capsys.readouterr().err
    assert "Expected 2 columns, got 3" in error
    assert "secret" not in error


def test_paths_without_touches_can_stay_unattributed(tmp_path, capsys):
    file = tmp_path / "paths.csv"
    load_paths().to_csv(file, index=False)
    arguments = ["compare", str(file), "--paths", "--nulls", "nulls", "--value", "value"]
    assert main([*arguments, "--empty", "unattributed", "--exclude", "time_decay"]) == 0
    assert "1,893 in all, of which 284 without any touch" in capsys.readouterr().out


@pytest.fixture
def months(tmp_path):
    """The events in one file each of CSV, by day; with a glob for all of them."""
    folder = tmp_path / "months"
    folder.mkdir()
    for i, (_, rows) in enumerate(EVENTS.groupby(EVENTS["when"].dt.date)):
        rows.to_csv(folder / f"log-{i}.csv", index=False)
    return folder


def test_a_glob_of_files_is_read_through_duckdb(months, events_file, capsys):
    options = ["--events", *COLUMNS, "--format", "csv"]
    assert main(["compare", events_file, *options]) == 0
    wanted = frame_of(capsys)
    assert main(["compare", str(months / "*.csv"), *options]) == 0
    pd.testing.assert_frame_equal(frame_of(capsys), wanted)
    assert main(["compare", events_file, *options, "--memory-limit", "200MB"]) == 0
    pd.testing.assert_frame_equal(frame_of(capsys), wanted)


def test_a_file_that_would_take_half_the_memory_is_read_in_parts(events_file, capsys, monkeypatch):
    from attribution.commands import files as program
    from attribution.engines import duckdb

    scanned = []
    scan = duckdb.scan
    monkeypatch.setattr(duckdb, "scan", lambda *a, **k: scanned.append(k) or scan(*a, **k))
    assert not program.larger_than_memory(events_file)
    assert main(["compare", events_file, "--events", *COLUMNS]) == 0
    assert scanned == []
    monkeypatch.setattr(program, "EXPANSION", 10**12)
    assert main(["compare", events_file, "--events", *COLUMNS, "--only-type", "x"]) == 2
    assert "no conversion types" in capsys.readouterr().err
    assert main(["compare", events_file, "--events", *COLUMNS]) == 0
    assert [call["memory_limit"] for call in scanned] == ["1GB", "1GB"]


def test_only_one_type_of_a_glob(months, capsys):
    options = [*COLUMNS, "--conversion-type", "source", "--format", "csv", "--only-type"]
    assert main(["compare", str(months / "*.csv"), "--events", *options, "mail"]) == 0
    assert frame_of(capsys)["last_click"].to_dict() == {"mail": 1.0, "search": 0.0}
    assert main(["compare", str(months / "*.csv"), "--events", *options, "post"]) == 2
    assert "No conversion type 'post'" in capsys.readouterr().err


def test_a_state_is_updated_day_by_day_and_shown(months, events_file, tmp_path, capsys):
    options = ["--events", *COLUMNS, "--format", "csv", "--exclude", "markov"]
    whole = [*options, "--observed-until", "2025-03-10"]
    assert main(["compare", events_file, *whole]) == 0
    wanted = frame_of(capsys)
    state = str(tmp_path / "state.parquet")
    for i, day in enumerate(["2025-03-02", "2025-03-03", "2025-03-10"]):
        update = ["compare", str(months / f"log-{i}.csv"), *options, "--state", state]
        assert main([*update, "--observed-until", day]) == 0
        last = frame_of(capsys)
    pd.testing.assert_frame_equal(last, wanted, rtol=1e-11)
    assert main(["compare", "--state", state, "--format", "csv"]) == 0
    pd.testing.assert_frame_equal(frame_of(capsys), wanted, rtol=1e-11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}", "--events", "--state", "s.parquet"], "--state needs --observed-until"),
        (["{file}", "--paths", "--state", "s.parquet"], "--state goes with --events"),
        (["--state", "x", "--models", "linear"], "A state has its models"),
        (["--state", "nowhere.parquet"], "no file 'nowhere.parquet'"),
        (["--state", "x", "--lookback", "1D"], "--lookback needs a FILE"),
        (["nowhere/*.csv", "--events"], "no file 'nowhere/*.csv'"),
        (["{file}", "--events", "--memory-limit", "1kB"], "least that a scan needs"),
    ],
)
def test_states_and_limits_that_do_not_fit_end_with_one_line(
    arguments, message, events_file, capsys
):
    given = [each.format(file=events_file) for each in arguments]
    assert main(["compare", *given]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_intervals(capsys, paths_file):
    arguments = ["compare", paths_file, "--paths", "--nulls", "nulls", "--models", "linear,markov"]
    assert main([*arguments, "--confidence", "0.8", "--format", "csv"]) == 0
    found = frame_of(capsys)
    journeys = Journeys.from_paths(PATHS, nulls="nulls")
    expected = compare(journeys, ["linear", "markov"], confidence=0.8)
    assert list(found) == [f"{m}{end}" for m in ("linear", "markov") for end in ENDS]
    markov = expected["markov"].to_frame()
    for end in ENDS:
        assert found[f"markov{end}"].to_numpy() == pytest.approx(markov[f"conversions{end}"])
    assert main([*arguments, "--confidence", "0.8", "--share"]) == 0
    text = capsys.readouterr().out
    low, high = (markov.loc["a", f"conversions_share{end}"] for end in ("_low", "_high"))
    assert f"[{low:.1%}, {high:.1%}]" in text
    assert "80% intervals over 10 users" in text


ENDS = ("", "_low", "_high", "_se")


def test_intervals_that_cannot_be(capsys, paths_file, tmp_path):
    assert main(["compare", "--confidence", "90"]) == 2
    assert "confidence=90.0 is not between 0 and 1" in capsys.readouterr().err
    assert main(["compare", "--state", str(tmp_path / "s.parquet"), "--confidence", "0.9"]) == 2
    assert "gives no intervals" in capsys.readouterr().err


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Two years of a log and of its spend, as files, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    tv = SpendChannel(name="tv", cost=4.0, spend=900.0, effect=0.9, variation=0.9)
    mail = SpendChannel(name="mail", cost=3.0, spend=400.0, effect=0.5, variation=0.9)
    world = SpendWorld(channels=[tv, mail], base_rate=0.03, n_people=300)
    simulated = simulate_spend(world, 1)
    rows = simulated.journeys.to_frame()
    touches = rows[["user", "path", "times"]].explode(["path", "times"]).dropna()
    touches = touches.rename(columns={"user": "user_id", "path": "channel", "times": "timestamp"})
    ends = rows.loc[rows["conversions"] > 0, ["user", "end"]]
    ends = ends.rename(columns={"user": "user_id", "end": "timestamp"})
    log = pd.concat([touches.assign(converted=0), ends.assign(converted=1, revenue=20.0)])
    log["timestamp"] = pd.to_datetime(log["timestamp"], utc=True)
    log.to_parquet("log.parquet")
    simulated.spend.to_csv("spend.csv", index=False)
    return simulated


BUDGET = ["budget", "log.parquet", "--spend", "spend.csv"]


def saved(name="budget.csv"):
    return pd.read_csv(name, index_col="line")


@pytest.mark.parametrize("curves", ["incremental", "descriptive", "none"])
def test_a_budget_is_split_to_the_cent_and_says_what_it_stands_on(shop, capsys, curves):
    total = 123_456.78
    assert main([*BUDGET, "--total", str(total), "--curves", curves]) == 0
    out = capsys.readouterr().out
    frame = saved()
    assert frame["spend"].sum().round(2) == total
    assert [float(f"{x:.2f}") for x in frame["spend"]] == frame["spend"].tolist()
    spent = pd.read_csv("spend.csv").groupby("channel")["spend"].sum()
    assert frame["today"].to_numpy() == pytest.approx(spent[frame.index].to_numpy(), abs=0.01)
    assert frame["curves"].tolist() == [curves] * 2
    stands_on = {"incremental": "Incremental: ", "descriptive": "Descriptive: "}
    assert stands_on.get(curves, "A heuristic, not an optimum") in out
    assert "saved to budget.csv" in out
    assert "104 periods" in out


def test_a_budget_is_that_of_the_library(shop, capsys):
    assert main([*BUDGET, "--total", "50000", "--periods", "10", "--max-change", "0.5"]) == 0
    spend = Spend.from_frame(pd.read_csv("spend.csv"), period="week")
    journeys = Journeys.from_events(pd.read_parquet("log.parquet"))
    weekly = attribute_by(journeys, "last_click", period="W")
    with pytest.warns(AttributionWarning, match="is not spent"):
        plan = allocate(incremental_curves(weekly, spend), 5000, max_change=0.5)
    wanted = plan.to_frame()
    frame = saved()
    assert frame["spend"].to_numpy() == pytest.approx(10 * wanted["spend"].to_numpy(), abs=0.01)
    assert frame["outcome"].to_numpy() == pytest.approx(10 * wanted["outcome"].to_numpy())
    assert "warning: " in capsys.readouterr().err


def test_limits_of_a_budget_are_totals_of_all_periods(shop, capsys):
    options = ["--total", "20000", "--periods", "4", "--bounds", "tv=:2500,mail=100:"]
    assert main([*BUDGET, *options, "--of", "value", "--value", "revenue"]) == 0
    assert saved().loc["tv", "spend"] == pytest.approx(2500, abs=0.01)
    assert main([*BUDGET, "--total", "20000", "--periods", "4", "--step", "500"]) == 0
    assert (saved()["spend"] % 500).abs().max() < 0.011
    capsys.readouterr()


def test_the_sample_has_a_budget(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["budget", "--output", "plan.csv"]) == 0
    printed = capsys.readouterr()
    assert saved("plan.csv")["spend"].sum().round(2) == 21_776.96
    assert "may be no better than today" in printed.out
    assert "spend varied too little" in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["budget", "log.parquet"], "What was spent? Hint: --spend FILE"),
        (["budget", "--user", "who"], "--user needs EVENTS"),
        ([*BUDGET, "--periods", "0"], "--periods 0 is not a whole number of at least 1"),
        ([*BUDGET, "--bounds", "tv"], "--bounds 'tv' is no limit"),
        ([*BUDGET, "--bounds", "tx=1:2"], "Did you mean 'tv'?"),
        ([*BUDGET, "--total", "10", "--bounds", "tv=100:"], "below the floors"),
        ([*BUDGET, "--spend-column", "money"], "no column 'money'"),
        ([*BUDGET, "--spend-period", "channel"], "time in column 'channel' that cannot be read"),
        ([*BUDGET, "--output", "nowhere/plan.csv"], "nowhere"),
    ],
)
def test_a_budget_that_cannot_be_made(shop, capsys, options, message):
    assert main(options) == 2
    assert message in capsys.readouterr().err


def test_spend_without_periods_goes_by_credit_only(shop, capsys):
    pd.read_csv("spend.csv").groupby("channel")["spend"].sum().to_csv("whole.csv")
    command = ["budget", "log.parquet", "--spend", "whole.csv"]
    assert main(command) == 2
    assert "none of the columns period, week, month, date, day" in capsys.readouterr().err
    assert main([*command, "--curves", "none", "--total", "1000"]) == 0
    assert saved()["spend"].sum().round(2) == 1000.0
