import datetime
import errno
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar
from zlib import crc32

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, tables

import attribution
from attribution import (
    MODELS,
    FirstClick,
    InputError,
    Journeys,
    Linear,
    Markov,
    MarkovPathLevel,
    PositionBased,
    Shapley,
    TimeDecay,
    TransitionCounts,
    coalition_worths,
)
from attribution.models import AdditiveHazard, BaggedLogistic
from attribution.spec import EventSpec
from attribution.statistics import ChannelCredit, CoalitionCounts, Statistic
from attribution.storage import (
    CHECKSUM,
    KEY,
    SCHEMA,
    load_statistics,
    load_with_extra,
    save_statistics,
)

ALL = [
    *(model() for model in MODELS.values()),
    PositionBased(first=1 / 3, last=0.1),
    TimeDecay(half_life="1min"),
    TimeDecay(half_life=datetime.timedelta(days=3, microseconds=1)),
    Markov(order=2),
    Markov(order=3, removal="redistribute"),
    MarkovPathLevel(order=2),
    MarkovPathLevel(order=3),
    Shapley(worth="rate", scale="total", random_state=3, max_permutations=4000, tolerance=None),
    Shapley(worth="markov"),
    Shapley(worth={("b", "a"): 1 / 3, "ü": -2.0, (): 0.0}),
    Shapley(worth=BaggedLogistic(n_models=3, penalty=0.1), scale="total"),
    Shapley(worth=AdditiveHazard(half_life="3D")),
    AdditiveHazard(half_life=datetime.timedelta(hours=7)),
]
every_model = pytest.mark.parametrize("model", ALL, ids=lambda model: model.name)

A = [Row(("a", "b", "a"), 2, 1, 0.1), Row((), 1, 4, 2.0)]
B = [Row(("b", "z", "b"), 4, 0, 1 / 3), Row(("aa",), 0, 3)]
DAY = 86_400_000_000


def of(model, rows=A, **options):
    return model.summarize(as_journeys(rows, ages=True, **options))


def there_and_back(statistic, folder):
    path = folder / "one.parquet"
    save_statistics({"it": statistic}, path)
    return load_statistics(path)["it"]


def require_same_bits(a, b):
    """Raise unless all fields are equal, arrays byte by byte, which tells -0.0 and every NaN."""
    assert type(a) is type(b)
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, Statistic):
            require_same_bits(x, y)
        elif isinstance(x, np.ndarray):
            assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()), field.name
        else:
            assert type(x) is type(y)
            assert x == y, field.name
            assert repr(x) == repr(y), field.name


def rewrite(path, change=lambda about: None, columns=lambda table: table, checksum=True):
    """Change what a file says of itself."""
    table = pq.ParquetFile(path).read()
    about = json.loads(table.schema.metadata[KEY])
    change(about)
    text = json.dumps(about).encode()
    marks = {KEY: text, CHECKSUM: str(crc32(text)) if checksum else table.schema.metadata[CHECKSUM]}
    pq.write_table(columns(table).replace_schema_metadata(marks), path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept.parquet"


# --- what is read back ------------------------------------------------------------------------


@pytest.mark.parametrize("values", [True, False], ids=["values", "none"])
@every_model
def test_every_bit_comes_back(tmp_path, model, values):
    statistic = of(model, A + B, values=values)
    back = there_and_back(statistic, tmp_path)
    require_same_bits(statistic, back)
    assert back.equals(statistic)


@every_model
def test_every_bit_of_random_journeys_comes_back(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("random")

    @settings(max_examples=8)
    @given(rows=tables(names=("a", "b", "ü", "搜索 > 广告", "😀", "")), values=st.booleans())
    def check(rows, values):
        statistic = of(model, rows, values=values)
        require_same_bits(statistic, there_and_back(statistic, folder))

    check()


@pytest.mark.parametrize("rows", [[], [Row((), 3, 1, 2.0)], [Row(("a",), 0, 0)]], ids=len)
@every_model
def test_next_to_nothing_comes_back(tmp_path, model, rows):
    statistic = of(model, rows)
    require_same_bits(statistic, there_and_back(statistic, tmp_path))


@every_model
def test_many_channels_come_back(tmp_path, model):
    names = [f"channel {i}" for i in range(200)]
    statistic = of(model, [Row(tuple(names), 1, 2, 0.3), Row(tuple(names[::-3]), 5, 0, 0.7)])
    assert len(statistic.channels) == 200
    require_same_bits(statistic, there_and_back(statistic, tmp_path))


def test_floats_keep_the_sign_of_zero_and_the_bits_of_nan(tmp_path):
    odd = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, 1 + 2**-52, 0.1 + 0.2])
    payload = np.array([0x7FF8000000000001, 0xFFF8000000000002], dtype=np.uint64).view(np.float64)
    odd = np.concatenate([odd, payload, odd])
    statistic = replace(of(Linear()), conversions=odd, values=-odd)
    require_same_bits(statistic, there_and_back(statistic, tmp_path))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64])
def test_integers_keep_their_type_and_shape(tmp_path, dtype):
    info = np.iinfo(dtype)
    states = np.array([[info.min, 0, info.max], [1, 2, 3]], dtype=dtype)
    for each in (states, np.asfortranarray(states), states[:, ::2], states[:0]):
        statistic = replace(of(Markov()), states=each)
        require_same_bits(statistic, there_and_back(statistic, tmp_path))


def test_options_and_transforms_of_journeys_come_back(tmp_path):
    spec = EventSpec.of(
        channel=("source", "medium"),
        lookback={"click": "30D", "view": "1D"},
        touch_type="kind",
        conversion_type="type",
        conversion_types=["sale", "lead"],
        observed_until="2024-05-01",
        attributes=["campaign"],
        reuse_touches=True,
    )
    statistic = replace(of(Markov()), spec=spec, transforms=("drop('x')", "collapse()"))
    back = there_and_back(statistic, tmp_path)
    require_same_bits(statistic, back)
    assert hash(back.spec) == hash(spec)


def test_a_table_of_worths_comes_back_as_the_same_tuples(tmp_path):
    journeys = as_journeys(A + B)
    model = Shapley(worth=coalition_worths(journeys, "rate")["worth"])
    back = there_and_back(model.summarize(journeys), tmp_path)
    assert back.model == model
    assert hash(back.model) == hash(model)
    assert back.model.name == model.name


@pytest.mark.parametrize(
    "model",
    [Shapley(random_state=np.int64(3)), TimeDecay(half_life=pd.Timedelta("36h"))],
    ids=["numpy", "pandas"],
)
def test_options_in_other_types_come_back_equal(tmp_path, model):
    back = there_and_back(of(model), tmp_path)
    assert back.model == model
    assert (back + of(model)).totals.conversions == 6


def test_options_of_journeys_in_types_of_numpy_come_back_equal(tmp_path):
    spec = EventSpec.of(reuse_touches=np.bool_(True))
    statistic = replace(of(Linear()), spec=spec)
    back = there_and_back(statistic, tmp_path)
    assert back.spec == spec
    assert (back + statistic).totals.conversions == 6


def test_what_came_from_an_edge_table_comes_back(tmp_path):
    statistic = TransitionCounts.from_frame(of(Markov(order=2)).to_frame(), order=2)
    require_same_bits(statistic, there_and_back(statistic, tmp_path))


def test_what_comes_back_cannot_be_written_to(tmp_path):
    back = there_and_back(of(MarkovPathLevel()), tmp_path)
    for part in (back.transitions, back.coalitions):
        for field in fields(part):
            value = getattr(part, field.name)
            assert not isinstance(value, np.ndarray) or not value.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        back.transitions.starts[0] = 1


@pytest.mark.parametrize("key", MODELS)
def test_the_credit_is_that_of_the_original(tmp_path, key):
    model = MODELS[key]()
    statistic = of(model, [*A, *B, Row(("a", "b", "ü", "b"), 1, 3, 1.0)])
    assert model.solve(there_and_back(statistic, tmp_path)).equals(model.solve(statistic))


# --- files ------------------------------------------------------------------------------------


def test_a_file_holds_all_models_under_any_name(path):
    kept = {f"{i} {model.name}": of(model) for i, model in enumerate(ALL)}
    kept["yesterday's 'ü'"] = of(Linear(), B)
    kept["it"], kept["it.transitions"] = of(MarkovPathLevel()), of(MarkovPathLevel(), B)
    save_statistics(kept, path)
    back = load_statistics(path)
    assert list(back) == list(kept)
    for name, statistic in kept.items():
        require_same_bits(statistic, back[name])


def test_a_file_holds_nothing_but_what_is_kept_beside(path):
    extra = {"watermark": 2**60 + 1, "audit": {"ü": 0.1, "none": None}, "nested": [[1], []]}
    save_statistics({}, path, extra=extra)
    assert load_with_extra(path) == ({}, extra)
    save_statistics({}, str(path))
    assert load_with_extra(str(path)) == ({}, {})


def test_a_file_is_replaced_whole(path):
    save_statistics({"a": of(Linear()), "b": of(Markov())}, path, extra={"n": 1})
    save_statistics({"c": of(Linear())}, path)
    statistics, extra = load_with_extra(path)
    assert list(statistics) == ["c"]
    assert extra == {}
    assert os.listdir(path.parent) == [path.name]


def test_other_tools_find_one_row_for_each_array(path):
    statistic = of(MarkovPathLevel(order=2))
    save_statistics({"it": statistic}, path)
    table = pq.read_table(path)
    rows = {row["array"]: row for row in table.to_pylist()}
    assert set(table["statistic"].to_pylist()) == {"it"}
    states = rows["transitions.states"]
    assert states["integers"] == statistic.transitions.states.ravel().tolist()
    assert states["shape"] == list(statistic.transitions.states.shape)
    assert states["floats"] is None
    assert rows["coalitions.values"]["floats"] == statistic.coalitions.values.tolist()
    assert rows["coalitions.values"]["integers"] is None
    about = json.loads(pq.read_metadata(path).metadata[KEY])
    assert about["schema"] == SCHEMA
    assert about["version"] == attribution.__version__
    column = pq.read_metadata(path).row_group(0).column(0)
    assert column.compression == "ZSTD"


@pytest.mark.parametrize("name", ["statistic=1", "shape=2", "_hidden", ".dot", "a b ü"])
def test_the_name_of_a_folder_means_nothing(tmp_path, name):
    (tmp_path / name).mkdir()
    require_same_bits(of(Markov()), there_and_back(of(Markov()), tmp_path / name))


def test_large_arrays_never_become_lists(path):
    n = 1_000_000
    rng = np.random.default_rng(0)
    statistic = replace(
        of(Markov()),
        sources=np.sort(rng.integers(0, n, n)),
        targets=rng.integers(0, n, n),
        counts=rng.random(n),
    )
    tracemalloc.start()
    save_statistics({"it": statistic}, path)
    back = load_statistics(path)["it"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    require_same_bits(statistic, back)
    assert peak < 3 * 8 * n  # a list of n numbers alone takes 40 bytes for each


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of the size of files")
def test_a_full_disk_leaves_the_old_file(path):
    save_statistics({"old": of(Linear())}, path)
    lines = [
        "import resource, sys",
        "import numpy as np",
        "from attribution import Journeys, Linear, StorageError",
        "from attribution.storage import save_statistics",
        "names = tuple(f'{i:05d}' for i in range(20_000))",
        "counts = np.random.default_rng(0).random(20_000)",
        "journeys = Journeys(channels=names, codes=np.arange(20_000, dtype=np.int32),",
        "    offsets=np.arange(20_001), conversions=counts, nulls=counts)",
        "statistic = Linear().summarize(journeys)",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))",
        "try:",
        "    save_statistics({'new': statistic}, sys.argv[1])",
        "except StorageError as error:",
        "    print(error)",
    ]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines), str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(attribution.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"The disk of {str(path)!r} is full")
    assert "Hint: make room" in result.stdout
    assert os.listdir(path.parent) == [path.name]
    assert list(load_statistics(path)) == ["old"]


# --- one statistic ----------------------------------------------------------------------------


def test_a_statistic_saves_and_loads_itself(path):
    statistic = of(Markov(order=2))
    statistic.save(path)
    assert list(load_statistics(path)) == ["markov(order=2)"]
    for kind in (Statistic, TransitionCounts):
        require_same_bits(statistic, kind.load(path))


@pytest.mark.parametrize(
    ("names", "count"), [("", "0 statistics"), ("ab", "2 statistics")], ids=["none", "two"]
)
def test_one_of_none_or_several_is_refused(path, names, count):
    save_statistics({name: of(Linear()) for name in names}, path)
    with pytest.raises(InputError, match=rf"kept\.parquet.*{count}.*Hint:.*load_statistics"):
        ChannelCredit.load(path)


def test_another_kind_is_refused(path):
    of(Markov()).save(path)
    for kind in (ChannelCredit, CoalitionCounts):
        with pytest.raises(
            InputError, match=rf"kept\.parquet.*TransitionCounts, not {kind.__name__}"
        ):
            kind.load(path)


# --- merging through files --------------------------------------------------------------------


@every_model
def test_parts_merge_through_files(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("parts")

    @settings(max_examples=5)
    @given(tables(names=("a", "c", "e")), tables(names=("b", "c", "d")))
    def check(rows, others):
        parts = [of(model, rows), of(model, others)]
        kept = [there_and_back(part, folder) for part in parts]
        require_same_bits(sum(parts), sum(kept))
        require_same_bits(sum(parts), kept[0] + parts[1])

    check()


def test_channels_of_different_files_align_by_name(tmp_path):
    total = there_and_back(of(FirstClick()), tmp_path) + there_and_back(
        of(FirstClick(), B), tmp_path
    )
    assert total.channels == ("a", "aa", "b", "z")
    assert total.conversions.tolist() == [2, 0, 4, 0]
    assert total.totals.conversions == 7


def test_different_options_of_journeys_refuse_to_merge(tmp_path):
    def kept(lookback):
        spec = EventSpec.of(lookback=lookback, touch_type="kind")
        return there_and_back(replace(of(Linear()), spec=spec), tmp_path)

    windows = {"click": "30D", "view": "1D"}
    for same in ("7D", windows, None):
        assert (kept(same) + kept(same)).totals.conversions == 6
    with pytest.raises(InputError, match=rf"lookback is {7 * DAY} and {8 * DAY}"):
        kept("7D") + kept("8D")
    with pytest.raises(InputError, match="lookback is"):
        kept(windows) + kept({**windows, "view": "2D"})
    with pytest.raises(InputError, match="lookback is None"):
        there_and_back(of(Linear()), tmp_path) + kept("7D")


def test_different_transforms_and_models_refuse_to_merge(tmp_path):
    plain = there_and_back(of(Linear()), tmp_path)
    with pytest.raises(InputError, match="different transforms"):
        plain + there_and_back(replace(of(Linear()), transforms=("collapse()",)), tmp_path)
    for other in (FirstClick(), PositionBased()):
        with pytest.raises(InputError, match="different models"):
            plain + there_and_back(of(other), tmp_path)
    with pytest.raises(InputError, match="different models"):
        there_and_back(of(TimeDecay()), tmp_path) + of(TimeDecay(half_life="1D"))


def test_counts_of_events_merge_with_those_of_the_next_day(tmp_path):
    def day(number):
        times = pd.Timestamp("2024-05-01") + pd.to_timedelta([24 * number, 24 * number + 1], "h")
        return Journeys.from_events(
            pd.DataFrame(
                {
                    "user_id": [number] * 2,
                    "timestamp": times,
                    "channel": ["a", f"day {number}"],
                    "converted": [0, 1],
                }
            ),
            lookback="7D",
        )

    parts = [Markov().summarize(day(number)) for number in range(3)]
    require_same_bits(sum(there_and_back(part, tmp_path) for part in parts), sum(parts))


# --- what cannot be kept ----------------------------------------------------------------------


class Named:
    def __call__(self, coalition):
        return len(coalition)


@pytest.mark.parametrize("worth", [len, lambda coalition: len(coalition), Named()], ids=str)
def test_a_function_is_refused_before_anything_is_written(path, worth):
    save_statistics({"old": of(Linear())}, path)
    whole = path.read_bytes()
    statistic = of(Shapley(worth=worth, scale="total"))
    with pytest.raises(InputError, match=r"shapley.*cannot be saved.*worth.*Hint: a table"):
        save_statistics({"fine": of(Linear()), "it": statistic}, path)
    with pytest.raises(InputError, match="cannot be saved"):
        statistic.save(path.with_name("new"))
    assert path.read_bytes() == whole
    assert os.listdir(path.parent) == [path.name]


def test_an_option_that_would_not_come_back_equal_is_refused(path):
    model = TimeDecay(half_life=pd.Timedelta(1500, "ns"))
    with pytest.raises(InputError, match=r"cannot be saved.*half_life.*Timedelta.*Hint"):
        of(model).save(path)
    assert not path.exists()


def test_a_model_of_the_user_is_refused(path):
    class Mine(Linear):
        pass

    class Other(Linear):
        key: ClassVar[str] = "other"

    for model in (Mine(), Other()):
        with pytest.raises(InputError, match=r"cannot be saved.*MODELS.*Hint"):
            of(model).save(path)
    assert not path.exists()


@pytest.mark.parametrize("extra", [{"when": datetime.date(2024, 5, 1)}, {"array": np.arange(3)}])
def test_what_is_not_ready_for_json_is_refused(path, extra):
    with pytest.raises(InputError, match=r"extra=.*JSON.*Hint"):
        save_statistics({}, path, extra=extra)
    assert not path.exists()


# --- what cannot be read ----------------------------------------------------------------------


def test_a_newer_schema_is_refused_by_name(path):
    of(Linear()).save(path)

    def newer(about):
        about |= {"schema": SCHEMA + 1, "version": "9.8", "statistics": "something new"}

    rewrite(path, newer)
    pattern = (
        rf"kept\.parquet.*was written by attribution 9\.8 with schema {SCHEMA + 1}; this version "
        rf"reads up to {SCHEMA}\. Hint: upgrade"
    )
    with pytest.raises(InputError, match=pattern):
        load_statistics(path)
    with pytest.raises(InputError, match=pattern):
        Statistic.load(path)


def test_the_tool_that_tampers_with_files_changes_nothing_by_itself(path):
    statistic = of(Markov())
    statistic.save(path)
    rewrite(path)
    require_same_bits(statistic, Statistic.load(path))


def only(about):
    (described,) = about["statistics"].values()
    return described


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda about: only(about).update(model="prophet"), "model 'prophet'.*Hint: upgrade"),
        (lambda about: only(about).update(kind="Dice"), "'Dice'.*Hint: upgrade"),
        (lambda about: only(about)["options"].update(mood=1), "'mood'.*Hint: upgrade"),
        (lambda about: only(about)["options"].update(order=0), "order=0 is not.*Hint"),
        (lambda about: only(about)["spec"].update(moon="new"), "'moon'.*Hint: upgrade"),
        (lambda about: only(about).pop("channels"), "channels"),
        (lambda about: only(about)["totals"].pop("nulls"), "nulls"),
        (lambda about: about.pop("schema"), "schema"),
        (lambda about: about.update(schema="1"), "damaged"),
        (lambda about: about.pop("extra"), "extra"),
        (lambda about: about.update(statistics=[]), "damaged"),
    ],
)
def test_what_this_version_does_not_know_is_refused(path, change, complaint):
    replace(of(Markov()), spec=EventSpec.of()).save(path)
    rewrite(path, change)
    with pytest.raises(InputError, match=rf"kept\.parquet'.*{complaint}"):
        load_statistics(path)


@pytest.mark.parametrize(
    "columns",
    [
        lambda table: table.slice(1),
        lambda table: table.drop_columns("floats"),
        lambda table: table.set_column(
            table.column_names.index("shape"), "shape", pa.array([[7]] * len(table))
        ),
        lambda table: table.set_column(0, "statistic", pa.array(["other"] * len(table))),
    ],
    ids=["row", "column", "shape", "name"],
)
def test_missing_or_wrong_contents_are_refused(path, columns):
    of(Markov()).save(path)
    rewrite(path, columns=columns)
    with pytest.raises(InputError, match=r"kept\.parquet'.*Hint"):
        load_statistics(path)


def test_changed_metadata_is_refused(path):
    of(Markov()).save(path)
    rewrite(path, lambda about: only(about)["totals"].update(nulls=7.0), checksum=False)
    with pytest.raises(InputError, match=r"kept\.parquet'.*checksum"):
        load_statistics(path)


def test_other_files_are_refused(path):
    contents = {
        "nothing": b"",
        "text": b"user,channel\n1,a\n",
        "marks of parquet": b"PAR1" + bytes(100) + b"PAR1",
    }
    for content in contents.values():
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"kept\.parquet'.*Hint"):
            load_statistics(path)
    table = pa.table({"statistic": ["x"], "array": ["y"]})
    for marks in ({}, {KEY: b"no JSON"}, {KEY: b"[1]", CHECKSUM: str(crc32(b"[1]"))}):
        pq.write_table(table.replace_schema_metadata(marks), path)
        with pytest.raises(InputError, match=r"kept\.parquet'.*Hint"):
            load_statistics(path)


def test_a_missing_file_is_missing(path):
    for load in (load_statistics, load_with_extra, Statistic.load):
        with pytest.raises(FileNotFoundError, match=r"kept\.parquet"):
            load(path)
        path.mkdir()
        with pytest.raises(FileNotFoundError, match=r"kept\.parquet"):
            load(path)
        path.rmdir()


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
        pa.ArrowMemoryError("malloc of size 64 failed"),
    ],
    ids=["rights", "disk", "memory"],
)
def test_what_says_nothing_of_the_file_passes_as_it_is(path, monkeypatch, error):
    of(Linear()).save(path)

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(type(error)) as caught:
        load_statistics(path)
    assert caught.value is error


def test_a_truncated_file_is_refused(path):
    of(Markov()).save(path)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 97), *range(len(whole) - 12, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"kept\.parquet'"):
            load_statistics(path)


def test_a_flipped_bit_is_refused_or_harmless(path):
    statistic = of(Markov())
    statistic.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.choice(len(whole), 400, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            back = load_statistics(path)
        except InputError as error:
            assert "kept.parquet'" in str(error)  # noqa: PT017
            refused += 1
        else:
            require_same_bits(statistic, back["markov"])
    assert refused > 100
