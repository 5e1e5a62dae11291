"""Statistics as things to keep: Parquet files that say what they are of.

A file holds any number of statistics, such as those of all models of a comparison: one row for each
of their arrays, and as metadata the model with its options, channels, totals, and the options and
transforms of the journeys. What is read back is equal bit by bit, so it merges with what is counted
later and refuses to where options differ. Checksums tell a damaged file from a whole one.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import attribution
from attribution.errors import InputError
from attribution.models import MODELS
from attribution.models.base import Model
from attribution.models.records import PathCounts, TimedPaths
from attribution.scratch import written_whole
from attribution.spec import EventSpec
from attribution.statistics import (
    ChannelCredit,
    CoalitionCounts,
    PathLevelCounts,
    Statistic,
    Totals,
    TransitionCounts,
)

SCHEMA = 1
KEY, CHECKSUM = b"attribution", b"attribution.crc32"
LONGEST = 2**31 - 1  # bytes of metadata; the default of Parquet readers is 100 MB
MICROSECONDS = "microseconds"
MODEL = "model", "options"  # of a model that is an option of another
KINDS = {
    kind.__name__: kind
    for kind in (
        ChannelCredit,
        TransitionCounts,
        CoalitionCounts,
        PathLevelCounts,
        PathCounts,
        TimedPaths,
    )
}
COLUMNS = pa.schema(
    {
        "statistic": pa.string(),
        "array": pa.string(),
        "dtype": pa.string(),
        "shape": pa.list_(pa.int64()),
        "integers": pa.large_list(pa.int64()),
        "floats": pa.large_list(pa.float64()),
    }
)


def save_statistics(
    statistics: Mapping[str, Statistic] | Statistic,
    path: str | Path,
    *,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write statistics to a Parquet file, whole or not at all.

    Parameters
    ----------
    statistics
        By name; a single one goes by the name of its model.
    path
        The file; one of that name is replaced.
    extra
        Anything else to keep, ready for JSON.

    Raises
    ------
    InputError
        If a model has a function as option or is not in `MODELS`, or `extra` is not ready for JSON.
    StorageError
        If the disk is full.
    """
    if isinstance(statistics, Statistic):
        statistics = {statistics.model.name: statistics}
    about = {
        "schema": SCHEMA,
        "version": attribution.__version__,
        "statistics": {name: _described(each) for name, each in statistics.items()},
        "extra": _ready(extra),
    }
    text = json.dumps(about, default=_plain).encode()
    with (
        written_whole(path) as partial,
        pq.ParquetWriter(
            partial,
            COLUMNS,
            compression="zstd",
            use_dictionary=False,  # of numbers that hardly repeat: larger, and slow to write
            write_page_checksum=True,
        ) as file,
    ):
        for name, statistic in statistics.items():
            for array_name, array in _arrays(statistic):
                file.write_batch(_row(name, array_name, array))
        file.add_key_value_metadata({KEY: text, CHECKSUM: str(crc32(text))})


def load_statistics(path: str | Path) -> dict[str, Statistic]:
    """Read the statistics of a file, by name.

    Raises
    ------
    InputError
        If it is no such file, cannot be read, or was written by a newer version.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> from attribution import Journeys, Linear
    >>> table = {"path": ["a > b", "b"], "conversions": [2, 1]}
    >>> counts = Linear().summarize(Journeys.from_paths(pa.table(table)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_statistics({"monday": counts}, f"{folder}/counts.parquet")
    ...     monday = load_statistics(f"{folder}/counts.parquet")["monday"]
    >>> Linear().solve(monday + counts).conversions.tolist()
    [2.0, 4.0]
    """
    return load_with_extra(path)[0]


def load_with_extra(path: str | Path) -> tuple[dict[str, Statistic], dict[str, Any]]:
    """Read the statistics of a file and what was kept beside them; see `load_statistics`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    with (
        _refusals(path),
        pq.ParquetFile(
            path,
            page_checksum_verification=True,
            thrift_string_size_limit=LONGEST,
        ) as file,
    ):
        about = _about(file.metadata.metadata or {})
        table = file.read()
        arrays: dict[str, dict[str, Any]] = {name: {} for name in about["statistics"]}
        names = zip(table["statistic"].to_pylist(), table["array"].to_pylist(), strict=True)
        for i, (name, array_name) in enumerate(names):
            arrays[name][array_name] = _array(table, i)
        found = {name: _restored(d, arrays[name]) for name, d in about["statistics"].items()}
        return found, about["extra"]


@contextmanager
def _refusals(path: str | Path) -> Iterator[None]:
    """Let every refusal to read name the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error
    except (
        pa.ArrowException,
        OSError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise  # says nothing of the file
        raise InputError(
            f"{str(path)!r} is damaged, or not of this library: {str(error).partition(chr(10))[0]} "
            "Hint: take a copy, or summarize the journeys again."
        ) from error


def _about(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what a file says of itself.

    Raises
    ------
    InputError
        If it is of a newer schema, or says nothing.
    """
    if KEY not in metadata:
        raise InputError(
            "it holds no statistics of this library. Hint: name a file that save_statistics wrote."
        )
    text = metadata[KEY]
    if str(crc32(text)) != metadata[CHECKSUM].decode():
        raise ValueError("the checksum of its metadata does not match.")
    about: dict[str, Any] = json.loads(text)
    if about["schema"] > SCHEMA:
        raise InputError(
            f"it was written by attribution {about['version']} with schema {about['schema']}; "
            f"this version reads up to {SCHEMA}. Hint: upgrade multitouch-attribution."
        )
    return about


def _ready(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what goes beside the statistics, if it is ready for JSON."""
    try:
        json.dumps(extra)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"extra= is not ready for JSON: {error}. Hint: text, numbers, None, lists and mappings."
        ) from error
    return dict(extra or {})


def require_savable(model: Any) -> dict[str, Any]:
    """Return the options of a model, ready for JSON.

    Raises
    ------
    InputError
        If they would not come back as they are.
    """
    if type(model) is not MODELS.get(getattr(model, "key", "")):
        raise InputError(
            f"The statistic of {model} cannot be saved: the model is not in MODELS. Hint: keep "
            "its result (Attribution.to_json)."
        )
    options = {field.name: getattr(model, field.name) for field in fields(model)}
    for name, option in options.items():
        try:
            options[name] = json.loads(json.dumps(option, default=_plain))
            if _tuples(options[name]) == option:
                continue
        except TypeError:
            pass
        raise InputError(
            f"{model.name} cannot be saved: no file can hold its {name}, a "
            f"{type(option).__name__}. Hint: a table (such as coalition_worths gives) instead of "
            "a function, or keep its result (Attribution.to_json)."
        )
    return options


def _described(statistic: Statistic) -> dict[str, Any]:
    """Return everything of a statistic but its arrays, ready for JSON.

    Raises
    ------
    InputError
        If it would not come back as it is.
    """
    model = statistic.model
    options = require_savable(model)
    return {
        "kind": type(statistic).__name__,
        "model": model.key,
        "options": options,
        "channels": statistic.channels,
        "totals": asdict(statistic.totals),
        "spec": None if statistic.spec is None else asdict(statistic.spec),
        "transforms": statistic.transforms,
        "arrays": [name for name, _ in _arrays(statistic) if "." not in name],
        "parts": {name: _described(part) for name, part in _parts(statistic)},
    }


def _restored(described: dict[str, Any], arrays: Mapping[str, Any]) -> Statistic:
    """Return the statistic of a description and its arrays."""
    kind: Any = _known("kind of statistic", described["kind"], KINDS)
    model = _known("model", described["model"], MODELS)
    spec = described["spec"]
    contents = dict.fromkeys(
        {field.name for field in fields(kind)} - {field.name for field in fields(Statistic)}
    )
    contents |= {name: arrays[name] for name in described["arrays"]}
    for name, part in described["parts"].items():
        start = f"{name}."
        own = {k.removeprefix(start): each for k, each in arrays.items() if k.startswith(start)}
        contents[name] = _restored(part, own)
    statistic: Statistic = kind(
        model=_with_options(model, described["options"]),
        channels=tuple(described["channels"]),
        totals=Totals(**described["totals"]),
        spec=None if spec is None else _with_options(EventSpec, spec),
        transforms=tuple(described["transforms"]),
        **contents,
    )
    return statistic


def _known(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise InputError(
            f"this version knows no {what} {name!r}. Hint: upgrade multitouch-attribution."
        )
    return known[name]


def _with_options(kind: Any, options: Mapping[str, Any]) -> Any:
    """Return a model or spec with options as read."""
    known = {field.name: field for field in fields(kind)}
    for name in options:
        _known(f"option of {kind.__name__}", name, known)
    return kind(**{name: _tuples(option) for name, option in options.items()})


def _parts(statistic: Statistic) -> Iterator[tuple[str, Statistic]]:
    for field in fields(statistic):
        value = getattr(statistic, field.name)
        if isinstance(value, Statistic):
            yield field.name, value


def _arrays(statistic: Statistic) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a statistic by name, those of its parts with a dotted one."""
    for field in fields(statistic):
        value = getattr(statistic, field.name)
        if isinstance(value, np.ndarray):
            yield field.name, value
        elif isinstance(value, Statistic):
            for name, array in _arrays(value):
                yield f"{field.name}.{name}", array


def _row(name: str, array_name: str, array: Any) -> pa.RecordBatch:
    """Return the row of one array, its numbers taken over without a copy."""
    is_float = array.dtype.kind == "f"
    flat = pa.array(np.ascontiguousarray(array).reshape(-1), "f8" if is_float else "i8")
    filled = pa.LargeListArray.from_arrays([0, len(flat)], flat)
    empty = pa.array([None], pa.large_list(pa.int64() if is_float else pa.float64()))
    columns = [
        pa.array([name]),
        pa.array([array_name]),
        pa.array([array.dtype.name]),
        pa.array([list(array.shape)], pa.list_(pa.int64())),
        empty if is_float else filled,
        filled if is_float else empty,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=COLUMNS)


def _array(table: pa.Table, row: int) -> Any:
    dtype = np.dtype(table["dtype"][row].as_py())
    column = table["floats" if dtype.kind == "f" else "integers"]
    values = column[row].values.to_numpy().astype(dtype, copy=False)
    return values.reshape(table["shape"][row].as_py())


def _plain(option: Any) -> Any:
    """Return for JSON what it has no type for: lengths of time, numbers of numpy, models."""
    if isinstance(option, datetime.timedelta):
        return {MICROSECONDS: option // datetime.timedelta(microseconds=1)}
    if isinstance(option, np.generic):
        return option.item()
    if isinstance(option, Model):
        return dict(zip(MODEL, (option.key, require_savable(option)), strict=True))
    raise TypeError(type(option).__name__)


def _tuples(value: Any) -> Any:
    """Turn what JSON has no type for back: its lists into tuples, lengths of time, models."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        if value.keys() == {MICROSECONDS}:
            return datetime.timedelta(microseconds=value[MICROSECONDS])
        if tuple(value) == MODEL:
            return _with_options(_known("model", value["model"], MODELS), value["options"])
        return {key: _tuples(item) for key, item in value.items()}
    return value
