"""A log in parts, spilled and cut by partition, gives the journeys of the log as a whole."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from event_oracle import Event, Rules, expected, frame, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_events_oracle import AUDITED, is_empty, logs, rules

import attribution.ingest.events as ingestion
import attribution.ingest.stream as streaming
from attribution import AttributionWarning, InputError, Journeys, LastClick, Markov, compare
from attribution.ingest import columns
from attribution.ingest.batches import Batch, Batches, fill
from attribution.ingest.store import EventStore, cut_evenly
from attribution.ingest.stream import JourneyStream
from attribution.spec import EventSpec


def batches(table: pd.DataFrame, cuts: list[int], **kind: bool) -> Batches:
    """Cut a table into batches, named as if each were a file."""
    arrow = columns.as_table(table, list(table.columns), "events")
    edges = [0, *sorted(cut % (len(table) + 1) for cut in cuts), len(table)]

    def read(names):
        for i, (low, high) in enumerate(pairwise(edges)):
            part = arrow.slice(low, high - low)
            yield Batch(part.select([n for n in part.column_names if n in names]), f"file {i}", 0)

    return Batches(read, **kind)


def stream_of(table, cuts=(), *, memory=10**9, partitions=None, conversions=None, **options):
    store = EventStore(memory)
    tables = [batches(table, list(cuts), with_conversions=conversions is None)]
    if conversions is not None:
        tables.append(batches(conversions, [1], of_conversions=True))
    spec = EventSpec.of(**options)
    fill(store, tables, spec)
    return JourneyStream(store, spec, partitions)


@pytest.mark.filterwarnings("ignore::attribution.AttributionWarning")
@settings(max_examples=250)
@given(
    log=logs,
    options=rules(),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    spill=st.booleans(),
    partitions=st.sampled_from([None, 1, 2, 5]),
    block=st.sampled_from([1, 3, 50_000]),
)
def test_partitions_hold_the_journeys_and_audit_of_the_oracle(
    log: list[Event], options: Rules, cuts: list[int], spill: bool, partitions: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attribution.ingest.store.BLOCK", block)
        settings_ = {"memory": 0 if spill else 10**9, "partitions": partitions}
        if is_empty(log, options):
            with pytest.raises(InputError, match="No touch and no conversion is left"):
                stream_of(frame(log), cuts, **settings_, **options.options())
            return
        wanted, audit = expected(log, options)
        with stream_of(frame(log), cuts, **settings_, **options.options()) as stream:
            for _ in range(2):  # as often as wanted
                joined = Journeys.concat(stream)
                assert Counter(rows_of(joined)) == Counter(wanted)
                found = {name: joined.audit.get(name, 0.0) for name in AUDITED}
                assert found == {name: float(audit[name]) for name in AUDITED}
            assert stream.audit == joined.audit


def log_of(n: int = 3_000, users: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    converted = rng.random(n) < 0.1
    minutes = rng.integers(0, 60 * 24 * 90, n)
    return pd.DataFrame(
        {
            "user_id": rng.integers(0, users, n),
            "timestamp": pd.Timestamp("2025-01-01") + pd.to_timedelta(minutes, unit="min"),
            "channel": rng.choice(list("abcdef"), n),
            "converted": converted,
            "value": np.where(converted, rng.random(n).round(2), np.nan),
            "order_id": [f"o{i}" if c else None for i, c in enumerate(converted)],
        }
    )


def test_every_model_takes_a_stream_and_finds_what_it_finds_in_memory():
    log = log_of()
    whole = Journeys.from_events(log, value="value", lookback="9D")
    with stream_of(log, [500, 900], memory=0, partitions=7, value="value", lookback="9D") as stream:
        assert stream.n_partitions == 7
        assert "7 partitions" in repr(stream)
        found, wanted = compare(stream), compare(whole)
        pd.testing.assert_frame_equal(found.to_frame(), wanted.to_frame(), rtol=1e-11)
        pd.testing.assert_frame_equal(found.to_frame("value"), wanted.to_frame("value"), rtol=1e-11)
        again = Markov(order=2).attribute(stream)
        assert again.equals(Markov(order=2).attribute(stream))
        assert stream.audit == pytest.approx(dict(whole.audit))


def test_users_of_one_partition_are_in_no_other():
    with stream_of(log_of(), partitions=5) as stream:
        users = [set(part.users.tolist()) for part in stream]
    assert sum(map(len, users)) == len(set.union(*users)) == 300


def test_runs_are_spilled_only_when_they_do_not_fit_and_go_when_the_stream_is_closed():
    roomy, tight = stream_of(log_of()), stream_of(log_of(), [100], memory=0)
    folders = [s._store.scratch.path for s in (roomy, tight)]
    assert [sorted(p.name for p in folder.iterdir()) for folder in folders] == [
        [],
        ["run-0", "run-1"],
    ]
    for stream in (roomy, tight):
        stream.close()
        stream.close()
        assert "closed" in repr(stream)
        with pytest.raises(InputError, match="The stream is closed"):
            list(stream)
    assert not any(folder.exists() for folder in folders)


def test_a_stream_nobody_holds_leaves_nothing_behind():
    stream = stream_of(log_of(), memory=0)
    folder = stream._store.scratch.path
    assert folder.exists()
    del stream
    assert not folder.exists()


def test_reading_on_after_a_break_starts_over():
    with stream_of(log_of(), partitions=6) as stream:
        for part in stream:
            first = part
            break
        assert next(iter(stream)).equals(first)
        assert LastClick().attribute(stream).total_conversions > 0


def test_conversions_of_their_own_meet_their_touches_in_any_partition():
    log = log_of()
    touches = log[~log["converted"]].drop(columns=["converted", "value"])
    conversions = log[log["converted"]].drop(columns=["converted", "channel"])
    options = {"value": "value", "conversion_id": "order_id"}
    whole = Journeys.from_events(touches, conversion_events=conversions, **options)
    with stream_of(touches, [700], conversions=conversions, partitions=4, **options) as stream:
        joined = Journeys.concat(stream)
    pd.testing.assert_frame_equal(joined.to_paths(), whole.to_paths())
    assert joined.audit == pytest.approx(dict(whole.audit))


@pytest.mark.parametrize("spill", [0, 10**9])
def test_a_repeated_conversion_id_is_found_across_parts(spill: int):
    log = log_of()
    again = log[log["converted"]].sample(40, random_state=1)
    moved = again.iloc[:20].assign(user_id=7, timestamp=again["timestamp"] - pd.Timedelta("1D"))
    log = pd.concat([log, again, moved, again.iloc[:3]], ignore_index=True)
    options = {"value": "value", "conversion_id": "order_id"}
    with pytest.raises(InputError, match="63 rows have a conversion id in column 'order_id'"):
        stream_of(log, [900, 2_000], memory=spill, **options)
    options["on_invalid"] = "drop"
    whole = Journeys.from_events(log, **options)
    assert whole.audit["repeated_conversion_ids"] == 63
    with stream_of(log, [900, 3_010], memory=spill, partitions=5, **options) as stream:
        joined = Journeys.concat(stream)
    pd.testing.assert_frame_equal(joined.to_paths(), whole.to_paths())
    assert joined.audit == pytest.approx(dict(whole.audit))


def test_an_error_names_the_part_and_the_row_in_it():
    log = log_of()
    log["converted"] = log["converted"].astype(float)
    log.loc[1_203, "converted"] = -1.0
    with pytest.raises(InputError, match=r"^file 1: 1 row has .* first in row 203 \(-1.0\)"):
        stream_of(log, [1_000, 2_000])


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("user_id", str, "User ids are integers in file 0 and text in file 1"),
        ("timestamp", lambda t: t.tz_localize("UTC"), "Times are without a zone in file 0 and"),
        ("visit", str, "Session ids are integers in file 0 and text in file 1"),
        ("order", str, "The order of touches is fractions in file 0 and text in file 1"),
    ],
)
def test_parts_whose_columns_cannot_be_compared_are_refused(column, change, message):
    parts = [log_of(50, seed=i).assign(order=1.0, visit=3) for i in (0, 1)]
    parts[1][column] = parts[1][column].map(change)
    tables = [columns.as_table(part, list(part.columns), "events") for part in parts]

    def read(names):
        yield from (Batch(t, f"file {i}", 0) for i, t in enumerate(tables))

    with pytest.raises(InputError, match=message):
        fill(EventStore(10**9), [Batches(read)], EventSpec.of(order="order", session="visit"))


@pytest.mark.filterwarnings("ignore:In .* journeys the first")
def test_text_orders_touches_the_same_way_in_parts_and_in_one():
    log = log_of(400, users=5)
    log["timestamp"] = log["timestamp"].dt.floor("D")
    rng = np.random.default_rng(3)
    whole, late = (rng.choice(names, 400) for names in (["b", "d"], ["a", "c", "e"]))
    log["step"] = np.where(np.arange(400) < 200, whole, late)
    expected_paths = Journeys.from_events(log, order="step").to_paths()
    with stream_of(log, [200], partitions=2, order="step") as stream:
        pd.testing.assert_frame_equal(Journeys.concat(stream).to_paths(), expected_paths)


@settings(max_examples=60)
@given(
    kinds=st.lists(
        st.sampled_from(["int8", "int64", "uint32", "uint64", "float32", "float64", "none"]),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 99),
)
@pytest.mark.filterwarnings("ignore:In .* journeys the first")
def test_numbers_of_any_type_in_any_part_order_touches_by_size(kinds, seed):
    rng = np.random.default_rng(seed)
    log = log_of(12 * len(kinds), users=2, seed=seed)
    log["timestamp"] = log["timestamp"].dt.floor("30D")
    log["hit"] = rng.integers(0, 60, len(log)).astype(float)
    parts = []
    for i, kind in enumerate(kinds):
        part = log.iloc[12 * i : 12 * i + 12]
        if kind == "none":
            log.loc[part.index, "hit"] = np.nan
            parts.append(part.assign(hit=None))
        else:
            parts.append(part.assign(hit=part["hit"].astype(kind)))
    wanted = Journeys.from_events(log, order="hit").to_paths()
    tables = [columns.as_table(part, list(part.columns), "events") for part in parts]
    store, spec = EventStore(0), EventSpec.of(order="hit")
    fill(store, [Batches(lambda names: (Batch(t, "a part", 0) for t in tables))], spec)
    with JourneyStream(store, spec) as stream:
        found = Journeys.concat(stream).to_paths()
    pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.parametrize("low", [["a", "b"], ["b", "a", "c"]])
def test_categories_of_another_order_are_refused(low):
    tables = []
    for categories in (["b", "a"], low):
        kind = pd.CategoricalDtype(categories, ordered=True)
        part = log_of(40).assign(step=pd.Series(["a", "b"] * 20, dtype=kind))
        tables.append(columns.as_table(part, list(part.columns), "events"))
    read = Batches(lambda names: (Batch(t, f"file {i}", 0) for i, t in enumerate(tables)))
    with pytest.raises(InputError, match=r"order of touches is categories \('b', 'a'\) in file 0"):
        fill(EventStore(10**9), [read], EventSpec.of(order="step"))


def test_a_stream_closed_while_it_is_read_says_so():
    stream = stream_of(log_of(), memory=0, partitions=40)
    parts = iter(stream)
    next(parts)
    stream.close()
    with pytest.raises(InputError, match="The stream is closed"):
        list(parts)


@pytest.mark.parametrize("kind", ["int8", "uint64", "float64", "datetime64[us]"])
def test_numbers_and_times_order_touches_by_size(kind: str):
    values = np.array([3, 1, 2, 0, 5, 4])
    if kind == "float64":
        values = values - 2.5
    log = pd.DataFrame(
        {
            "user_id": 1,
            "timestamp": pd.Timestamp("2025-01-01"),
            "channel": list("dbcafe"),
            "converted": values == values.max(),
            "hit": values.astype(kind),
        }
    )
    assert Journeys.from_events(log, order="hit").to_paths()["path"].tolist() == [
        "a > b > c > d > e > f"
    ]


def test_what_surprises_is_said_once_and_of_the_whole():
    log = pd.DataFrame(
        {
            "user_id": [1, 2, 3],
            "timestamp": pd.Timestamp("2025-01-01"),
            "channel": ["a", "b", "(start)"],
            "converted": False,
        }
    )
    with stream_of(log, partitions=3) as stream:
        with pytest.warns(AttributionWarning) as said:
            list(stream)
        assert [str(w.message)[:22] for w in said] == [
            "Channels named (start)",
            "There are no conversio",
        ]
        list(stream)  # a second time would be an error here


def test_an_empty_log_is_refused():
    with pytest.raises(InputError, match="events is empty: 0 rows"):
        fill(EventStore(10**9), [Batches(lambda names: iter(()))], EventSpec.of())


def test_buckets_are_cut_into_ranges_of_about_the_size_that_keep_them_whole():
    offsets = np.array([0, 5, 5, 6, 20, 21, 22])
    assert cut_evenly(offsets, 6) == [(0, 3), (3, 4), (4, 6)]
    assert cut_evenly(offsets, 100) == [(0, 6)]
    assert cut_evenly(np.zeros(5, dtype=int), 3) == [(0, 4)]


def test_large_logs_have_a_partition_per_million_events(monkeypatch):
    monkeypatch.setattr(streaming, "PARTITION", 1_000)
    with stream_of(log_of()) as stream:
        sizes = [len(part.codes) for part in stream]
    assert len(sizes) == 4
    assert max(sizes) < 1_500
    assert ingestion.BLOCK == 50_000
