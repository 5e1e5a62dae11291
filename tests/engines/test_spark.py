"""Spark on this machine: the same answers as in memory, on any number of partitions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hard_log import OPTIONS, assert_same_answers, hard_log, in_memory, write_parts

from attribution import (
    DEFAULT_MODELS,
    AttributionWarning,
    ColumnNotFoundError,
    Identity,
    InputError,
    Journeys,
    Linear,
    compare,
    resample,
    select_order,
)
from attribution.compare import choose, summarize

pytest.importorskip("pyspark")
pytestmark = [
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
    pytest.mark.filterwarnings("ignore:In .* journeys the first"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
]
if shutil.which("java") is None:
    if os.environ.get("ATTRIBUTION_TEST_ALL"):
        raise RuntimeError("the tests of Spark need Java")
    pytest.skip("Spark needs Java", allow_module_level=True)


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2,4]")  # four tries of each task
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "America/New_York")
        .config("spark.sql.shuffle.partitions", "3")
        .config("spark.log.level", "OFF")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def scan():
    from attribution.engines.spark import scan

    return scan


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    return hard_log()


@pytest.fixture(scope="module")
def whole(log) -> Journeys:
    return in_memory(log)


@pytest.fixture(scope="module")
def events(spark, log, tmp_path_factory):
    return spark.read.parquet(write_parts(tmp_path_factory.mktemp("log"), log))


@pytest.mark.parametrize("partitions", [1, 2, 17])
def test_partitions_change_no_answer(scan, events, whole, partitions):
    journeys = scan(events, partitions=partitions, **OPTIONS)
    assert journeys.n_partitions == partitions
    assert_same_answers(journeys, whole)
    assert journeys.audit == pytest.approx(dict(whole.audit), rel=1e-11)


def test_a_task_that_fails_and_is_retried_changes_nothing(scan, events, whole, tmp_path):
    journeys = scan(events, partitions=5, **OPTIONS)
    chosen = choose(DEFAULT_MODELS, None)
    folder = str(tmp_path)

    def fails_at_first(part):
        from pyspark import TaskContext

        context = TaskContext.get()
        if context.attemptNumber() == 0 and context.partitionId() in (1, 3):
            with open(f"{folder}/{context.partitionId()}", "x"):
                raise RuntimeError("failed on purpose")
        return summarize(chosen, part)

    found = journeys.sum_of(fails_at_first)
    assert sorted(os.listdir(folder)) == ["1", "3"]
    undisturbed = journeys.sum_of(lambda part: summarize(chosen, part))
    for name, statistic in undisturbed.statistics.items():
        assert found.statistics[name].equals(statistic)
    assert found.statistics["linear"].totals.conversions == whole.conversions.sum()


def test_what_a_worker_cannot_hold_is_spilled(scan, events, whole):
    journeys = scan(events, partitions=2, memory_limit="10kB", **OPTIONS)
    wanted = Linear().attribute(whole)
    np.testing.assert_allclose(
        Linear().attribute(journeys).conversions, wanted.conversions, rtol=1e-11
    )


def test_people_are_joined_before_users_are_spread(scan, events, log):
    rng = np.random.default_rng(8)
    ids = log["user_id"].unique()
    edges = pd.DataFrame({"id": rng.choice(ids, 600), "other_id": rng.choice(ids, 600)})
    identity = Identity.from_edges(edges, max_ids=None)
    wanted = Journeys.from_events(log, identity=identity, **OPTIONS)
    journeys = scan(events, identity=identity, partitions=4, **OPTIONS)
    pd.testing.assert_frame_equal(
        compare(journeys).to_frame(), compare(wanted).to_frame(), rtol=1e-11
    )
    assert journeys.audit == pytest.approx(dict(wanted.audit), rel=1e-11)


def test_conversions_of_their_own_meet_their_touches_and_repeated_ids_are_dropped(
    spark, scan, log, tmp_path
):
    touches = log[~log["converted"]].drop(columns=["converted", "value"])
    conversions = log[log["converted"]].drop(columns=["converted", "channel"])
    conversions["order_id"] = np.arange(len(conversions)) // 2
    conversions["kind"] = np.where(np.arange(len(conversions)) % 3 == 0, "lead", "deal")
    options = {**OPTIONS, "conversion_id": "order_id", "conversion_type": "kind"}
    touches.to_parquet(tmp_path / "touches.parquet")
    conversions.to_parquet(tmp_path / "orders.parquet")
    events, orders = (
        spark.read.parquet(str(tmp_path / f"{name}.parquet")) for name in ("touches", "orders")
    )
    with pytest.raises(InputError, match="rows have a conversion id in column 'order_id'"):
        scan(events, conversion_events=orders, **options)
    options["on_invalid"] = "drop"
    wanted = Journeys.from_events(touches, conversion_events=conversions, **options)
    journeys = scan(events, conversion_events=orders, partitions=3, **options)
    assert journeys.spec.conversion_types == ("deal", "lead")
    with pytest.warns(AttributionWarning, match="'deal' and 'lead' are compared as one kind"):
        found = compare(journeys)
    with pytest.warns(AttributionWarning, match="'deal' and 'lead' are compared as one kind"):
        expected = compare(wanted)
    pd.testing.assert_frame_equal(found.to_frame(), expected.to_frame(), rtol=1e-11)
    assert journeys.audit == pytest.approx(dict(wanted.audit), rel=1e-11)


def test_times_without_a_zone_are_utc_whatever_the_session_says(spark, scan, tmp_path):
    log = pd.DataFrame(
        {
            "user_id": [1, 1, 1],
            "timestamp": pd.to_datetime(
                ["2025-03-09 02:30", "2025-03-09 03:30", "2025-03-10 00:00"]
            ),
            "channel": ["a", "b", "c"],
            "converted": [False, True, False],
        }
    )
    log["timestamp"] = log["timestamp"].astype("datetime64[us]")
    log.to_parquet(tmp_path / "log.parquet")
    journeys = scan(spark.read.parquet(str(tmp_path / "log.parquet")), lookback="61min")
    assert journeys.sum_of(lambda part: part.to_paths()["path"].tolist()) == ["a > b", "c"]


def test_spark_itself_refuses_nanoseconds_as_the_module_says(spark, tmp_path):
    from pyspark.errors import PySparkException

    import attribution.engines.spark as engine

    times = pa.array([10**18], pa.timestamp("ns"))
    pq.write_table(pa.table({"timestamp": times}), tmp_path / "ns.parquet", version="2.6")
    with pytest.raises(PySparkException, match=r"TIMESTAMP\(NANOS"):
        spark.read.parquet(str(tmp_path / "ns.parquet")).collect()
    assert "nanosAsLong" in engine.__doc__


# what goes wrong


def frame_of(spark, folder, log, **changes):
    changed = log.iloc[:600].reset_index(drop=True).assign(**changes)
    changed.to_parquet(folder / "changed.parquet")
    return spark.read.parquet(str(folder / "changed.parquet"))


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({"value": "x"}, {}, InputError, "partition 0: Column 'value' holds string"),
        ({"converted": -1}, {}, InputError, "partition 0: 600 rows have a missing, negative"),
        ({}, {"channel": "chanel"}, ColumnNotFoundError, "no column 'chanel'"),
        ({}, {"user": "who"}, ColumnNotFoundError, "No column 'who'. The columns are 'user_id'"),
        ({}, {"partitions": 0}, InputError, "partitions=0 is not a positive number"),
        ({}, {"lookbak": "1D"}, InputError, "Unknown option 'lookbak'"),
    ],
)
def test_what_does_not_fit_is_an_error_of_this_library(
    spark, scan, log, tmp_path, changes, options, error, message
):
    events = frame_of(spark, tmp_path, log, **changes)
    with pytest.raises(error, match=message) as caught:
        scan(events, **{"value": "value", **options})
    assert "user-ü" not in str(caught.value)


def test_a_model_that_refuses_says_so_on_the_driver(spark, scan, log, tmp_path):
    events = frame_of(spark, tmp_path, log, value=-1.0)
    events = events.withColumn("value", events["value"] * events["converted"].cast("int"))
    journeys = scan(events, value="value", partitions=20)
    with pytest.warns(AttributionWarning, match="markov is skipped: .*negative value"):
        assert "markov" not in compare(journeys).attributions
    from attribution import Markov

    with pytest.raises(InputError, match="negative value"):
        Markov().attribute(journeys)


def test_other_tables_and_other_uses_are_refused_with_a_hint(scan, log, events):
    with pytest.raises(InputError, match=r"events is a DataFrame, not a Spark DataFrame"):
        scan(log)
    with pytest.raises(InputError, match=r"needs Journeys, not SparkJourneys. Hint"):
        select_order(scan(events, **OPTIONS))


def test_an_empty_log_is_refused(spark, scan, events):
    with pytest.raises(InputError, match="events is empty: 0 rows"):
        scan(events.where("false"))


def test_without_pyspark_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['pyspark'] = None\n"
        "try:\n    import attribution.engines.spark\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "MissingDependencyError attribution.engines.spark needs pyspark" in done.stdout
    assert "multitouch-attribution[spark]" in done.stdout


def test_intervals_are_those_of_memory(scan, events, log):
    options = {name: option for name, option in OPTIONS.items() if name != "inactivity"}
    journeys = scan(events, partitions=5, **options)
    whole = Journeys.from_events(log, **options)
    models = ["linear", "time_decay", "markov", "additive_hazard"]
    found, expected = (
        resample(each, models, n_resamples=15, random_state=4) for each in (journeys, whole)
    )
    assert found.n_units == expected.n_units
    for name in models:
        for column, draws in expected.draws[name].items():
            if name != "additive_hazard":
                np.testing.assert_allclose(found.draws[name][column], draws, rtol=1e-9, atol=1e-12)
    for of in ("conversions", "value"):  # a fitted likelihood is as exact as its climb, 1e-8
        first, second = (each.draws["additive_hazard"][of] for each in (found, expected))
        np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6 * second.max())
