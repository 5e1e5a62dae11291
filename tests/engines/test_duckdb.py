"""DuckDB: the same answers as in memory from every kind of source, and clear errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hard_log import OPTIONS, assert_same_answers, hard_log, in_memory, write_parts

from attribution import (
    ColumnNotFoundError,
    Identity,
    InputError,
    Journeys,
    LastClick,
    compare,
)
from attribution.engines import duckdb as engine
from attribution.engines.duckdb import scan

duckdb = pytest.importorskip("duckdb")
pytestmark = pytest.mark.filterwarnings("ignore:In .* journeys the first")


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    return hard_log()


@pytest.fixture(scope="module")
def whole(log) -> Journeys:
    return in_memory(log)


@pytest.fixture
def files(tmp_path, log) -> str:
    return write_parts(tmp_path, log)


@pytest.mark.parametrize("partitions", [None, 1, 2, 17, 300])
@pytest.mark.parametrize("memory", ["100MB", "2GB"])
def test_partitions_and_memory_change_no_answer(files, whole, partitions, memory):
    with scan(files, partitions=partitions, memory_limit=memory, **OPTIONS) as stream:
        assert_same_answers(stream, whole)
        assert stream.audit == pytest.approx(dict(whole.audit), rel=1e-11)


@pytest.mark.parametrize("memory", [2_000, 60_000, 400_000])
def test_what_does_not_fit_is_spilled_and_changes_no_answer(monkeypatch, files, whole, memory):
    monkeypatch.setattr(engine, "SMALLEST", 1)
    monkeypatch.setattr(engine, "SMALLEST_BATCH", 500)
    connection = duckdb.connect()
    with scan(files, connection=connection, partitions=5, memory_limit=memory, **OPTIONS) as stream:
        assert list(stream._store.scratch.path.iterdir()) != []
        assert_same_answers(stream, whole)


def sources(folder: Path, log: pd.DataFrame) -> dict[str, object]:
    """Return the log in every form that scan takes, with the options it needs."""
    utc = log.assign(timestamp=log["timestamp"].dt.tz_convert("UTC"))
    utc.to_csv(folder / "log.csv", index=False)
    utc.to_csv(folder / "log.tsv.gz", index=False, sep="\t")
    utc.to_json(
        folder / "log.jsonl",
        orient="records",
        lines=True,
        date_format="iso",
        date_unit="us",
        double_precision=15,
    )
    utc.to_parquet(folder / "log.parquet", index=False)
    connection = duckdb.connect()
    connection.execute("SET TimeZone='America/New_York'")
    events = pa.Table.from_pandas(log, preserve_index=False)
    connection.register("registered", events)
    connection.execute("CREATE TABLE events AS SELECT * FROM registered")
    database = str(folder / "other.duckdb")
    connection.execute(f"ATTACH '{database}' AS other")
    connection.execute("CREATE TABLE other.main.log AS SELECT * FROM registered")
    parquet = str(folder / "log.parquet")
    return {
        "parquet": (parquet, {}),
        "path": (folder / "log.parquet", {}),
        "list": ([parquet], {}),
        "csv": (str(folder / "log.csv"), {}),
        "tsv": (str(folder / "log.tsv.gz"), {}),
        "json": (str(folder / "log.jsonl"), {}),
        "query": (f"SELECT * FROM '{parquet}'", {}),
        "query of a connection": ("FROM events", {"connection": connection}),
        "table": ("events", {"connection": connection}),
        "attached": ("other.main.log", {"connection": connection}),
        "relation": (connection.table("events"), {}),
    }


def test_every_source_gives_the_same_journeys(tmp_path, log):
    small = log.iloc[:1_500].copy()
    small["value"] = small["value"].round(2)
    wanted = in_memory(small).to_paths()
    for name, (source, options) in sources(tmp_path, small).items():
        with scan(source, partitions=3, **options, **OPTIONS) as stream:
            found = Journeys.concat(stream).to_paths()
        pd.testing.assert_frame_equal(found, wanted, obj=name)


def test_a_connection_keeps_its_settings_and_stays_open(tmp_path, log):
    connection = duckdb.connect(config={"memory_limit": "333MB"})
    before = connection.sql("SELECT current_setting('memory_limit')").fetchall()
    connection.register("events", pa.Table.from_pandas(log, preserve_index=False))
    scan("events", connection=connection, **OPTIONS).close()
    assert connection.sql("SELECT current_setting('memory_limit')").fetchall() == before


def test_ids_in_text_files_keep_their_zeros(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user_id,timestamp,channel,converted\n"
        "007,2025-01-01 10:00:00,01,0\n7,2025-01-02T10:00:00,1,1\n007,2025-01-03,01,1\n"
    )
    with scan(tmp_path / "log.csv") as stream:
        paths = Journeys.concat(stream).to_paths()
    assert paths["path"].tolist() == ["01 > 01", "1"]


def test_conversions_of_their_own_may_lie_elsewhere(tmp_path, log):
    touches = log[~log["converted"]].drop(columns=["converted", "value"])
    conversions = log[log["converted"]].drop(columns=["converted", "channel"])
    wanted = Journeys.from_events(touches, conversion_events=conversions, **OPTIONS)
    glob = write_parts(tmp_path, touches, 3)
    connection = duckdb.connect()
    connection.register("orders", pa.Table.from_pandas(conversions, preserve_index=False))
    with scan(
        glob, conversion_events="orders", connection=connection, partitions=4, **OPTIONS
    ) as stream:
        found = compare(stream)
    pd.testing.assert_frame_equal(found.to_frame(), compare(wanted).to_frame(), rtol=1e-11)


def test_people_are_joined_before_journeys_are_built(tmp_path, log):
    rng = np.random.default_rng(8)
    ids = log["user_id"].unique()
    edges = pd.DataFrame({"id": rng.choice(ids, 600), "other_id": rng.choice(ids, 600)})
    identity = Identity.from_edges(edges, max_ids=None)
    wanted = Journeys.from_events(log, identity=identity, **OPTIONS)
    assert wanted.audit["rows_of_joined_ids"] > 100
    assert wanted.n_journeys != in_memory(log).n_journeys
    with scan(write_parts(tmp_path, log), identity=identity, partitions=6, **OPTIONS) as stream:
        assert_same_answers(stream, wanted)
        assert stream.audit["rows_of_joined_ids"] == wanted.audit["rows_of_joined_ids"]


def test_later_times_of_nanoseconds_are_read_as_in_memory(tmp_path):
    table = pa.table(
        {
            "user_id": [1, 1, 2],
            "timestamp": pa.array([10**18, 10**18 + 1, 10**18 - 1], pa.timestamp("ns")),
            "channel": ["b", "a", "c"],
            "converted": [False, False, True],
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    with scan(tmp_path / "log.parquet") as stream:
        found = Journeys.concat(stream)
    assert found.to_paths().equals(Journeys.from_events(table).to_paths())


# what goes wrong


def nothing_spilled(folder: Path) -> bool:
    return not list(folder.glob("attribution-spill-*"))


@pytest.fixture
def spill(tmp_path) -> Path:
    folder = tmp_path / "spill"
    folder.mkdir()
    return folder


def refused(source, spill, error=InputError, **options) -> str:
    with pytest.raises(error) as caught:
        scan(source, spill_folder=spill, **options)
    assert nothing_spilled(spill)
    assert "user-ü" not in str(caught.value)
    return str(caught.value)


def test_a_truncated_file_is_named(tmp_path, files, spill):
    broken = tmp_path / "part-2.parquet"
    broken.write_bytes(broken.read_bytes()[:-2_000])
    assert "part-2.parquet' cannot be read" in refused(files, spill, **OPTIONS)


def test_a_corrupt_page_is_named(tmp_path, files, spill):
    broken = tmp_path / "part-1.parquet"
    content = bytearray(broken.read_bytes())
    content[100:20_000] = os.urandom(19_900)
    broken.write_bytes(content)
    assert "part-1.parquet" in refused(files, spill, **OPTIONS)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.drop(columns="channel"), ColumnNotFoundError, "no column 'channel'"),
        (lambda t: t.assign(user_id=1), InputError, "User ids are text in .*part-0.* and integers"),
        (lambda t: t.assign(value="x"), InputError, "Column 'value' holds"),
        (lambda t: t.assign(timestamp=5), InputError, "Column 'timestamp' holds"),
        (
            lambda t: t.assign(timestamp=t["timestamp"].dt.tz_localize(None)),
            InputError,
            "Times are with a zone in .*part-0.* and without one in",
        ),
    ],
)
def test_a_schema_that_changes_between_files_is_refused(
    tmp_path, log, files, spill, change, error, message
):
    changed = change(log.iloc[:100]).reset_index(drop=True)
    changed.to_parquet(tmp_path / "part-3.parquet", index=False)
    said = refused(files, spill, error, **OPTIONS)
    assert "part-3.parquet" in said
    assert pd.Series([said]).str.contains(message).all(), said


def test_integers_of_other_widths_and_order_of_columns_are_no_change(tmp_path):
    for i, kind in enumerate(["int32", "int64", "uint16"]):
        table = pd.DataFrame(
            {
                "user_id": np.array([1, 2, 1], dtype=kind),
                "timestamp": pd.Timestamp("2025-01-01") + pd.to_timedelta([i, 2, 5], unit="h"),
                "channel": ["a", "b", "c"],
                "converted": np.array([0, 1, 0], dtype=kind),
            }
        )
        table[table.columns[:: 1 - 2 * (i % 2)]].to_parquet(tmp_path / f"{i}.parquet")
    with scan(str(tmp_path / "*.parquet")) as stream:
        assert LastClick().attribute(stream).total_conversions == 3


def test_a_bad_row_is_named_with_its_file_and_row(tmp_path, log, files, spill):
    bad = log.iloc[:2_500].reset_index(drop=True)
    bad["converted"] = bad["converted"].astype(float)
    bad.loc[[2_100, 2_300], "converted"] = np.nan
    bad.to_parquet(tmp_path / "part-3.parquet", index=False)
    said = refused(files, spill, **OPTIONS)
    assert "part-3.parquet': 2 rows have" in said
    assert "first in row 2100" in said


def test_a_text_file_that_does_not_parse_is_named_without_its_content(tmp_path, spill):
    rows = ["user_id,timestamp,channel,converted,value"]
    rows += [f"user-ü{i},2025-01-01 10:00:00,a,1,{i}" for i in range(50_000)]
    rows[40_000] = "user-ü1,2025-01-01 10:00:00,a,1,secret"
    (tmp_path / "log.csv").write_text("\n".join(rows))
    said = refused(tmp_path / "log.csv", spill, value="value")
    assert "log.csv" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere/*.parquet", FileNotFoundError, "no file 'nowhere/"),
        ("SELECT * FROM nowhere", InputError, "the query cannot be read: .*nowhere"),
        ("SELEC * FROM nowhere", FileNotFoundError, "no file"),
        (17, InputError, "source is a int. Hint"),
        ([], InputError, "source names no file"),
    ],
)
def test_a_source_that_is_none_is_refused(source, error, message, spill):
    with pytest.raises(error, match=message):
        scan(source, spill_folder=spill)
    assert nothing_spilled(spill)


def test_an_unknown_ending_is_refused(tmp_path, spill):
    (tmp_path / "log.xlsx").write_text("")
    assert "no known ending" in refused(tmp_path / "log.xlsx", spill)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_limit": "10MB"}, "least that a scan needs"),
        ({"memory_limit": "much"}, "memory_limit='much' is no size"),
        ({"partitions": 0}, "partitions=0 is not a positive number"),
        ({"chanel": "x"}, "Unknown option 'chanel'. Did you mean 'channel'"),
        ({"spill_folder": "/no/such/folder"}, "no folder .*'/no/such/folder'"),
    ],
)
def test_options_that_do_not_fit_are_refused(files, options, message):
    with pytest.raises(InputError, match=message):
        scan(files, **options)


def test_an_empty_log_is_refused(tmp_path, log, spill):
    log.iloc[:0].to_parquet(tmp_path / "none.parquet")
    assert "events is empty" in refused(tmp_path / "none.parquet", spill)


def run(code: str, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


SCAN = """
import sys
from attribution.engines import duckdb as engine
engine.SMALLEST = 1
engine.SMALLEST_BATCH = 500
connection = engine.duckdb.connect()
def scan(files, spill):
    return engine.scan(files, connection=connection, memory_limit=2_000, spill_folder=spill,
                       value="value", lookback="20D")
"""


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(files, spill):
    code = (
        SCAN
        + f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
scan({files!r}, {str(spill)!r})
"""
    )
    done = run(code)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("attribution.errors.StorageError: The disk of "), done.stderr
    assert "Hint: give spill_folder= a folder on a larger disk." in last
    assert nothing_spilled(spill)


def test_a_killed_run_leaves_nothing_after_the_next_start(files, spill):
    code = (
        SCAN
        + f"""
stream = scan({files!r}, {str(spill)!r})
print("scanned", flush=True)
sys.stdin.read()
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "scanned\n"
    left = list(spill.glob("attribution-spill-*"))
    assert any(path.is_dir() and list(path.iterdir()) for path in left)
    with scan(files, spill_folder=spill, **OPTIONS):  # while the other lives
        assert all(path.exists() for path in left)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all(path.exists() for path in left)
    with scan(files, spill_folder=spill, **OPTIONS):
        assert not any(path.exists() for path in left)
    assert nothing_spilled(spill)


@pytest.mark.parametrize("how", [signal.SIGINT])
def test_an_interrupted_run_cleans_up(files, spill, how):
    code = (
        SCAN
        + f"""
import time
from attribution.ingest.store import EventStore
add = EventStore.add
def slowly(store, run):
    add(store, run)
    print("added", flush=True)
    time.sleep(0.05)
EventStore.add = slowly
scan({files!r}, {str(spill)!r})
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "added\n"
    time.sleep(0.1)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert nothing_spilled(spill)


def test_without_duckdb_the_error_names_the_extra():
    done = run(
        """
        import sys
        sys.modules["duckdb"] = None
        try:
            import attribution.engines.duckdb
        except ImportError as error:
            print(type(error).__name__, error)
        """
    )
    assert "MissingDependencyError attribution.engines.duckdb needs DuckDB" in done.stdout
    assert "multitouch-attribution[duckdb]" in done.stdout


def test_the_package_loads_no_engine():
    done = run(
        "import sys, attribution; "
        "print([m for m in sys.modules if m.partition('.')[0] in ('duckdb', 'pyspark')])"
    )
    assert done.stdout.strip() == "[]"


def test_spill_files_go_to_the_temporary_folder_by_default(files):
    with scan(files, **OPTIONS) as stream:
        assert stream._store.scratch.path.parent == Path(tempfile.gettempdir())


def test_names_with_signs_of_patterns_are_names(tmp_path, log):
    names = ["log1", "log[1]", "log*", "log?"]
    for name, rows in zip(names, np.array_split(np.arange(len(log)), 4), strict=True):
        log.iloc[rows].to_parquet(tmp_path / f"{name}.parquet")
    with scan(str(tmp_path / "*.parquet"), **OPTIONS) as stream:
        assert stream.audit["rows_read"] == len(log)
    with scan(tmp_path / "log[1].parquet", **OPTIONS) as stream:
        assert stream.audit["rows_read"] == len(log) / 4


def test_a_folder_and_a_long_query_are_understood(tmp_path, files, spill):
    assert "is a folder. Hint: " in refused(str(tmp_path), spill)
    column = "x" * 300
    query = f"SELECT *, 1 AS {column} FROM '{files}'"
    with scan(query, **OPTIONS) as stream:
        assert stream.n_partitions == 1


def test_ids_of_conversions_of_another_type_are_refused_by_file(tmp_path, log, spill):
    for i, ids in enumerate([range(3_000), [f"o{n}" for n in range(3_000)]]):
        log.iloc[:3_000].assign(oid=list(ids)).to_parquet(tmp_path / f"{i}.parquet")
    said = refused(str(tmp_path / "*.parquet"), spill, conversion_id="oid", **OPTIONS)
    assert "Ids of conversions are text in " in said
    assert "1.parquet' and integers in " in said
