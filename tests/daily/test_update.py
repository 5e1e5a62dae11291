"""A state fed piece by piece says what one run over everything says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import (
    AttributionWarning,
    Identity,
    InputError,
    Journeys,
    Linear,
    Markov,
    Shapley,
    compare,
    daily,
)
from attribution.models.base import sum_over
from attribution.storage import load_statistics

FEW = ["last_click", "time_decay", "markov", Markov(order=2), "shapley"]
DAY = pd.Timedelta("1D")
BEGIN = pd.Timestamp("2025-01-01")
MODELS = [
    "first_click",
    "last_click",
    "linear",
    "time_decay",
    "markov",
    Markov(order=2),
    Shapley(worth="rate", scale="total"),
    "shapley",
    "position_based",
]

pytestmark = [
    pytest.mark.filterwarnings("ignore:In .* journeys the first"),
    pytest.mark.filterwarnings("ignore:There are no conversions"),
    pytest.mark.filterwarnings("ignore:The game does not know volume"),
]


def log_of(days: int, seed: int = 0, per_day: int = 12, users: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = days * per_day
    minutes = np.sort(rng.integers(0, days * 24 * 4, n)) * 15
    converted = rng.random(n) < 0.1
    return pd.DataFrame(
        {
            "user_id": [f"person {i}" for i in rng.integers(0, users, n)],
            "timestamp": BEGIN + pd.to_timedelta(minutes, unit="min"),
            "channel": rng.choice(list("abcde"), n),
            "converted": converted,
            "value": np.where(converted, rng.lognormal(3, 1, n), np.nan),
        }
    )


def fed(path, log, moments, **options):
    """Update a state at each moment with the events since the one before; yield the states."""
    for low, high in pairwise([pd.Timestamp("1900-01-01"), *moments]):
        part = log[(log["timestamp"] > low) & (log["timestamp"] <= high)]
        yield high, daily.update(path, part, observed_until=high, **options)


def at_once(log, moment, **options):
    seen = log[log["timestamp"] <= moment]
    return Journeys.from_events(seen, observed_until=moment, **options)


def assert_same(state, journeys, models=MODELS):
    found, wanted = state.compare(), compare(journeys, models)
    assert list(found.attributions) == list(wanted.attributions)
    for name, attribution in wanted.attributions.items():
        other = found[name]
        assert other.channels == attribution.channels
        assert other.total_conversions == attribution.total_conversions
        assert other.unattributed == attribution.unattributed
        np.testing.assert_allclose(other.conversions, attribution.conversions, rtol=1e-11)
        np.testing.assert_allclose(other.values, attribution.values, rtol=1e-11)
    counts = sum_over(journeys, Markov().summarize)
    ours = state.closed.statistics["markov"]
    if state.open is not None:
        ours = ours + state.open.statistics["markov"]
    for name in ("states", "starts", "conversions", "nulls", "sources", "targets", "counts"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(counts, name), err_msg=name)


@pytest.mark.parametrize("step", [1, 7, 365])
def test_a_year_day_by_day_week_by_week_and_at_once(tmp_path, step):
    log = log_of(365)
    options = {"value": "value", "lookback": "14D"}
    path = tmp_path / "state.parquet"
    moments = [BEGIN + DAY * min(day + step, 365) for day in range(0, 365, step)]
    for number, (moment, state) in enumerate(fed(path, log, moments, models=MODELS, **options)):
        if number % 40 == 39 or moment == moments[-1]:
            journeys = at_once(log, moment, **options)
            assert_same(state, journeys)
            assert_same(daily.load(path), journeys)
            assert state.audit["conversions_read"] == journeys.audit["conversions_read"]
    assert moment == BEGIN + DAY * 365
    assert 0 < state.n_open_events < 14 * 12 * 2
    assert sorted(p.name.partition("-")[0] for p in tmp_path.iterdir()) == [
        "state.parquet",
        "state.parquet.open",
    ]


@st.composite
def event_options(draw):
    windows = st.sampled_from(["1D", "2D", "5D"])
    options = {"lookback": draw(windows)}
    if draw(st.booleans()):
        options["lookback"] = {"click": draw(windows), "view": draw(windows)}
        options["touch_type"] = "touch_type"
    options["inactivity"] = draw(st.sampled_from([None, "12h", "1D", "7D"]))
    options["reuse_touches"] = draw(st.booleans())
    options["order"] = draw(st.sampled_from([None, "step", "place"]))
    sessions = draw(st.sampled_from(["no", "no", "gap", "column"]))
    if sessions == "gap":
        options["session_gap"] = draw(st.sampled_from(["3h", "1D"]))
    elif sessions == "column":
        options["session"] = "session"
    if draw(st.booleans()):
        options |= {"conversion_type": "kind", "conversion_types": ["deal", "lead", "visit"]}
    low, high = draw(st.sampled_from([(None, None), (3, None), (None, 9), (4, 10)]))
    options["report_from"] = None if low is None else BEGIN + low * DAY
    options["report_until"] = None if high is None else BEGIN + high * DAY
    return options


@settings(max_examples=150)
@given(
    options=event_options(),
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(1, 14 * 8), min_size=1, max_size=6, unique=True),
    own_table=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::attribution.AttributionWarning")
def test_any_pieces_under_any_options_say_what_one_run_says(
    tmp_path_factory, options, seed, cuts, own_table
):
    rng = np.random.default_rng(seed)
    log = log_of(14, seed, per_day=6, users=5)
    hours = (log["timestamp"] - BEGIN) // pd.Timedelta("1h")
    log["session"] = hours // 9 * 2 + rng.integers(0, 2, len(log))
    log["touch_type"] = rng.choice(["click", "view"], len(log))
    log["kind"] = np.where(log["converted"], rng.choice(["deal", "lead"], len(log)), None)
    log["step"] = rng.integers(0, 3, len(log))
    log["place"] = rng.choice(["x", "y"], len(log))
    moments = [BEGIN + pd.Timedelta(hours=3 * cut) for cut in sorted(cuts)] + [BEGIN + 15 * DAY]
    options = {**options, "value": "value"}
    path = tmp_path_factory.mktemp("state") / "state.parquet"
    only = "deal" if "conversion_type" in options and seed % 2 else None
    for low, high in pairwise([pd.Timestamp("1900-01-01"), *moments]):
        part = log[(log["timestamp"] > low) & (log["timestamp"] <= high)]
        tables = {"events": part, "conversion_events": None}
        if own_table:
            tables["conversion_events"] = part[part["converted"]].drop(columns="converted")
            tables["events"] = part.drop(columns=["converted", "value", "kind"])
        if not len(log[log["timestamp"] <= high]):
            continue
        state = daily.update(
            path, **tables, observed_until=high, models=FEW, only_type=only, **options
        )
    if not path.exists():
        return
    seen = log[log["timestamp"] <= moments[-1]]
    separate = {}
    if own_table:
        separate["conversion_events"] = seen[seen["converted"]].drop(columns="converted")
        seen = seen.drop(columns=["converted", "value", "kind"])
    journeys = Journeys.from_events(seen, observed_until=moments[-1], **separate, **options)
    if only is not None:
        journeys = journeys.of_type(only)
    # a channel may be known to memory only from touches outside the report
    assert_same(state, journeys, FEW)


def test_early_events_wait_and_late_ones_are_refused_and_counted(tmp_path):
    log = log_of(20)
    path, options = tmp_path / "s.parquet", {"value": "value", "lookback": "3D"}
    first, second = BEGIN + 8 * DAY, BEGIN + 20 * DAY
    head = log[log["timestamp"] <= first + 2 * DAY]  # two days too many
    tail = log[log["timestamp"] > first + 2 * DAY]
    state = daily.update(path, head, observed_until=first, models=MODELS, **options)
    assert_same(state, at_once(log, first, **options))
    late = log[log["timestamp"] <= first].iloc[-9:]
    with pytest.warns(AttributionWarning, match="9 touches and . conversions are not after"):
        state = daily.update(
            path, pd.concat([tail, late]), observed_until=second, models=MODELS, **options
        )
    assert_same(state, at_once(log, second, **options))
    assert state.audit["touches_late"] == 9
    assert state.audit["conversions_late"] == late["converted"].sum()
    read, kept = state.audit["conversions_read"], state.compare()["linear"].total_conversions
    assert read == kept + state.audit["conversions_late"]


def test_a_quiet_day_changes_only_the_moment(tmp_path):
    log, path = log_of(9), tmp_path / "s.parquet"
    options = {"value": "value", "lookback": "3D", "models": MODELS}
    daily.update(path, log, observed_until=BEGIN + 9 * DAY, **options)
    state = daily.update(path, log.iloc[:0], observed_until=BEGIN + 30 * DAY, **options)
    assert state.n_open_events == 0
    assert state.open is not None  # nothing was open any more, but it was looked at
    again = daily.update(path, log.iloc[:0], observed_until=BEGIN + 31 * DAY, **options)
    assert_same(again, at_once(log, BEGIN + 31 * DAY, value="value", lookback="3D"))
    assert_same(daily.load(path), at_once(log, BEGIN + 31 * DAY, value="value", lookback="3D"))


def test_files_are_read_through_duckdb(tmp_path):
    log, path = log_of(20), tmp_path / "s.parquet"
    options = {"value": "value", "lookback": "3D"}
    for low, high in ((-1, 8), (8, 20)):
        moments = BEGIN + low * DAY, BEGIN + high * DAY
        part = log[(log["timestamp"] > moments[0]) & (log["timestamp"] <= moments[1])]
        part.to_parquet(tmp_path / f"{high}.parquet")
        state = daily.update(
            path,
            str(tmp_path / f"{high}.parquet"),
            observed_until=moments[1],
            models=MODELS,
            **options,
        )
    assert_same(state, at_once(log, BEGIN + 20 * DAY, **options))


def test_the_statistics_hold_nobody_and_open_journeys_can_forget(tmp_path):
    log, path = log_of(10, users=12), tmp_path / "s.parquet"
    options = {"value": "value", "lookback": "5D"}
    daily.update(path, log, observed_until=BEGIN + 10 * DAY, models=MODELS, **options)
    assert all(
        b"person %d" % i not in file.read_bytes() for i in range(12) for file in tmp_path.iterdir()
    )
    before = pq.read_table(next(tmp_path.glob("*.open-*")))
    who = log["user_id"].iloc[-1]
    n = daily.forget(path, [who, "nobody"])
    after = pq.read_table(next(tmp_path.glob("*.open-*")))
    assert 0 < n == len(before) - len(after)
    assert len(set(before["user"].to_pylist()) - set(after["user"].to_pylist())) == 1
    state = daily.load(path)
    assert state.audit["events_forgotten"] == n
    assert state.n_open_events == len(after)
    assert daily.forget(path, [who]) == 0
    rest = log_of(16, users=12)
    rest = rest[rest["timestamp"] > BEGIN + 10 * DAY]
    daily.update(path, rest, observed_until=BEGIN + 16 * DAY, models=MODELS, **options)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(InputError, match="User ids are text in the events, but integers here"):
        daily.forget(path, [17])


def test_people_found_later_are_joined_with_their_open_journeys(tmp_path):
    rows = [("c1", 0, "a", False), ("c2", 1, "b", False), ("login", 3, "c", True)]
    log = pd.DataFrame(rows, columns=["user_id", "day", "channel", "converted"])
    log["timestamp"] = BEGIN + pd.to_timedelta(log.pop("day"), unit="D")
    path, options = tmp_path / "s.parquet", {"lookback": "9D", "models": ["linear"]}
    edges = pd.DataFrame({"id": ["c1", "c2"], "other_id": ["c2", "login"]})
    for number, (low, high, day) in enumerate([(0, 2, 2), (2, 3, 4)]):
        identity = Identity.from_edges(edges.iloc[: number + 1])
        state = daily.update(
            path,
            log.iloc[low:high],
            observed_until=BEGIN + day * DAY,
            identity=identity,
            **options,
        )
    assert state.compare()["linear"].conversions.tolist() == pytest.approx([1 / 3] * 3)
    assert daily.forget(path, ["c1"], identity) == 0  # closed: only counts are left


# what goes wrong


@pytest.fixture
def begun(tmp_path):
    path = tmp_path / "s.parquet"
    daily.update(
        path,
        log_of(9),
        observed_until=BEGIN + 9 * DAY,
        value="value",
        lookback="3D",
        models=["linear", "markov"],
    )
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lookback": "4D"}, "begun with lookback=259200000000, not 345600000000"),
        ({"models": ["linear"]}, "holds the models linear, markov, not linear"),
        ({"channel": ["channel", "user_id"]}, r"begun with channel=\('channel',\), not"),
        ({"value": None}, "was begun with value="),
        ({"only_type": "x", "conversion_type": "t", "conversion_types": ["x"]}, "towards None"),
        ({"observed_until": BEGIN + 9 * DAY}, "is not after that of .*2025-01-10T00:00:00"),
        ({"lookback": None}, "An update needs a lookback"),
        ({"closed_only": True}, "closed_only picks a cohort"),
        ({"conversion_type": "t"}, "needs all types of conversion from the beginning"),
        ({"only_type": "x"}, "only_type='x' is none of conversion_types"),
        ({"attributes": ["channel"]}, "Attributes are no part of a statistic"),
        ({"lookbak": "1D"}, "Unknown option 'lookbak'"),
        ({"memory_limit": "x"}, "memory_limit='x' is no size"),
    ],
)
def test_an_update_of_another_kind_is_refused_and_leaves_the_state(begun, changes, message):
    before = {p.name: p.read_bytes() for p in begun.parent.iterdir()}
    options = {
        "observed_until": BEGIN + 20 * DAY,
        "value": "value",
        "lookback": "3D",
        "models": ["linear", "markov"],
    }
    with pytest.raises(InputError, match=message):
        daily.update(begun, log_of(20), **{**options, **changes})
    assert {p.name: p.read_bytes() for p in begun.parent.iterdir()} == before


def test_a_bad_row_leaves_the_state(begun):
    before = {p.name: p.read_bytes() for p in begun.parent.iterdir()}
    log = log_of(20).iloc[120:].assign(channel=None)
    with pytest.raises(InputError, match="neither a channel"):
        daily.update(
            begun,
            log,
            observed_until=BEGIN + 20 * DAY,
            value="value",
            lookback="3D",
            models=["linear", "markov"],
        )
    assert {p.name: p.read_bytes() for p in begun.parent.iterdir()} == before


def test_a_model_without_statistic_stays_skipped(tmp_path):
    log = log_of(6)
    log.loc[log["converted"], "value"] = -1.0
    path = tmp_path / "s.parquet"
    options = {"value": "value", "lookback": "3D", "models": ["linear", "markov"]}
    daily.update(path, log.iloc[:40], observed_until=log["timestamp"].iloc[39], **options)
    rest = log[log["timestamp"] > log["timestamp"].iloc[39]]
    state = daily.update(path, rest, observed_until=BEGIN + 6 * DAY, **options)
    with pytest.warns(AttributionWarning, match="markov is skipped: .*negative value"):
        assert list(state.compare().attributions) == ["linear"]


def test_other_files_are_no_state(tmp_path, begun):
    counts = Linear().summarize(Journeys.from_events(log_of(3), value="value"))
    counts.save(tmp_path / "counts.parquet")
    with pytest.raises(InputError, match="holds statistics but no state"):
        daily.load(tmp_path / "counts.parquet")
    with pytest.raises(FileNotFoundError):
        daily.load(tmp_path / "nowhere.parquet")
    assert set(load_statistics(begun)) == {"linear", "markov"}
    opened = next(tmp_path.glob("s.parquet.open-*"))
    table = pq.read_table(opened)
    pq.write_table(table.replace_schema_metadata({"attribution.open": '{"schema": 9}'}), opened)
    with pytest.raises(InputError, match="no open journeys of schema 1, but of 9"):
        daily.load(begun)
    opened.write_bytes(opened.read_bytes()[:-50])
    with pytest.raises(InputError, match="cannot be read"):
        daily.load(begun)


@pytest.mark.parametrize("where", ["open", "statistics"])
def test_a_killed_update_leaves_the_state_of_before(begun, where):
    before = {p.name: p.read_bytes() for p in begun.parent.iterdir()}
    code = f"""
    import os, signal, sys
    sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
    import attribution.daily.state as state
    from attribution import daily
    from test_update import BEGIN, DAY, log_of

    def die(*a, **k):
        os.kill(os.getpid(), signal.SIGKILL)

    if {where!r} == "open":
        state.add_up = die
    else:
        state._remove_others = die
        import attribution.storage as storage
        storage.pq.ParquetWriter.write_batch = die
    log = log_of(20)
    daily.update({str(begun)!r}, log[log.timestamp > BEGIN + 9 * DAY], value="value",
                 observed_until=BEGIN + 20 * DAY, lookback="3D", models=["linear", "markov"])
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    for name, content in before.items():
        assert (begun.parent / name).read_bytes() == content
    assert daily.load(begun).observed_until == (BEGIN + 9 * DAY).value // 1000
    log = log_of(20)
    state = daily.update(
        begun,
        log[log["timestamp"] > BEGIN + 9 * DAY],
        observed_until=BEGIN + 20 * DAY,
        value="value",
        lookback="3D",
        models=["linear", "markov"],
    )
    whole = at_once(log_of(20), BEGIN + 20 * DAY, value="value", lookback="3D")
    seen = pd.concat([log_of(9), log[log["timestamp"] > BEGIN + 9 * DAY]])
    whole = at_once(seen, BEGIN + 20 * DAY, value="value", lookback="3D")
    assert_same(state, whole, ["linear", "markov"])
    assert len(list(begun.parent.iterdir())) == 2


def test_numbers_that_turn_into_fractions_still_order_touches(tmp_path):
    rows = [("third", 3, 0), ("first", 1, 0), (None, None, 1)]
    log = pd.DataFrame(rows, columns=["channel", "seq", "converted"]).assign(user_id=1)
    log["timestamp"] = BEGIN + pd.to_timedelta([5, 5, 6], unit="h")
    head = log.iloc[:1].astype({"seq": "int64"})
    options = {"order": "seq", "models": ["first_click"], "lookback": "1D"}
    path = tmp_path / "s.parquet"
    daily.update(path, head, observed_until=BEGIN, **options)  # early: it waits
    state = daily.update(path, log.iloc[1:], observed_until=BEGIN + DAY, **options)
    assert state.compare()["first_click"].conversions.tolist() == [1.0, 0.0]


def test_states_beside_each_other_do_not_touch(tmp_path):
    options = {"observed_until": BEGIN + 9 * DAY, "models": ["linear"]}
    for name in ("s.parquet", "s.state", "s", "s.parquet.open-x"):
        daily.update(tmp_path / name, log_of(9), **options)
    assert len(list(tmp_path.iterdir())) == 8
    for name in ("s.parquet", "s.state", "s", "s.parquet.open-x"):
        assert daily.load(tmp_path / name).n_open_events > 0
    next(tmp_path.glob("s.state.open-*")).unlink()
    with pytest.raises(InputError, match="the open journeys of a state, cannot be read"):
        daily.load(tmp_path / "s.state")


@pytest.mark.parametrize("users", [["person 1"], ["person 2"], ["person 3", "person 1"]])
def test_forgetting_knows_who_became_one_person_since(tmp_path, users):
    log = log_of(9, users=5)
    log.loc[log["user_id"] != "person 4", "converted"] = False
    log.loc[~log["converted"], "value"] = np.nan
    path = tmp_path / "s.parquet"
    daily.update(path, log, observed_until=BEGIN + 9 * DAY, models=["linear"])
    edges = pd.DataFrame({"id": ["person 1"], "other_id": ["person 2"]})
    gone = daily.forget(path, users, Identity.from_edges(edges))
    people = {"person 1", "person 2", *users}
    assert gone == log["user_id"].isin(people).sum()
    left = pq.read_table(next(tmp_path.glob("s.parquet.open-*")))["user"]
    assert len(left) + gone >= (log["user_id"] != "person 4").sum()
    assert len(left.unique()) >= 4 - len(people)


@pytest.mark.parametrize(
    ("users", "message"),
    [("person 1", "users is one text, not a list"), (["a", 1], "users mixes int, str")],
)
def test_forgetting_takes_a_list_of_ids_of_one_type(begun, users, message):
    with pytest.raises(InputError, match=message):
        daily.forget(begun, users)


def test_a_state_does_not_begin_with_nothing(tmp_path):
    with pytest.raises(InputError, match="no event to begin a state with"):
        daily.update(tmp_path / "s.parquet", log_of(9).iloc[:0], observed_until=BEGIN)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_saved_is_refused_before_anything_is_read(tmp_path):
    model = Shapley(worth=lambda channels: float(len(channels)), scale="total")
    with pytest.raises(InputError, match="cannot be saved"):
        daily.update(tmp_path / "s.parquet", None, observed_until=BEGIN, models=[model])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_no_personal_data(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("attribution.daily.state.save_statistics", full)
    with pytest.raises(OSError, match="No space left"):
        daily.update(
            tmp_path / "s.parquet", log_of(9), observed_until=BEGIN + 9 * DAY, models=["linear"]
        )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_open_file_is_refused(begun):
    opened = next(begun.parent.glob("s.parquet.open-*"))
    content = bytearray(opened.read_bytes())
    for at in range(10, 400, 30):
        content[at] ^= 255
    opened.write_bytes(content)
    with pytest.raises(InputError, match="open journeys of a state, cannot be read"):
        daily.load(begun)


def test_a_session_that_comes_back_after_all_that_time_is_another(tmp_path):
    log = pd.DataFrame({"user_id": 1, "channel": ["a", "a", None], "session": ["s", "s", None]})
    log["converted"] = [0, 0, 1]
    log["timestamp"] = BEGIN + pd.to_timedelta([0, 30, 31], unit="h")
    options = {"lookback": "5h", "session": "session", "models": ["linear"]}
    moments = [BEGIN + pd.Timedelta(hours=20), BEGIN + pd.Timedelta(hours=40)]
    *_, (_, state) = fed(tmp_path / "s.parquet", log, moments, **options)
    assert state.compare()["linear"].conversions.tolist() == [1.0]
    whole = at_once(log, moments[-1], lookback="5h", session="session")
    assert compare(whole, ["linear"])["linear"].unattributed == 1.0
