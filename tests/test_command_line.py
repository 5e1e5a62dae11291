"""The command line, run in this process; one test runs it as a user does."""

import io
import json
import re
import subprocess
import sys

import pandas as pd
import pytest

from attribution import Comparison, Journeys, compare
from attribution.commands import main
from attribution.commands.files import sample
from attribution.datasets import load_events, load_paths

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
