"""Any table becomes Arrow, and Arrow columns become plain numpy arrays, checked.

Every function that reads a column returns its values together with what was missing or invalid
as a mask, or raises an error that names the column, the count, the first row and the way out.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attribution.arrays import BoolArray, Coded, FloatArray, IntArray, label_order
from attribution.errors import ColumnNotFoundError, InputError, nearest

_EXACT = 2.0**53
_FOLD = np.uint64(0x9E3779B97F4A7C15)


def as_table(frame: Any, columns: Sequence[str], what: str) -> pa.Table:
    """Return the named columns of a `readable` table as Arrow, in that order.

    Parameters
    ----------
    frame
        What `readable` returns.
    columns
        Names; repeated ones are taken once.
    what
        What the table is called in messages, such as "events".

    Raises
    ------
    InputError
        If it is empty, or holds a column that Arrow cannot read.
    ColumnNotFoundError
        If a column does not exist.
    """
    wanted = list(dict.fromkeys(columns))
    require_columns(frame, wanted, what)
    is_arrow = isinstance(frame, pa.Table)
    table = frame.select(wanted) if is_arrow else _from_pandas(frame[wanted], what)
    if not len(table):
        raise InputError(f"{what} is empty: 0 rows. Hint: check the filter or the file it is from.")
    return table


def require_columns(frame: Any, columns: Sequence[str], what: str) -> None:
    """Raise unless the table has each of the columns, once.

    Raises
    ------
    ColumnNotFoundError
        If a column does not exist, with the nearest name.
    InputError
        If a name is there twice, or is no text.
    """
    names = table_columns(frame)
    for name in columns:
        if name in names and not isinstance(name, str):
            raise InputError(
                f"{what} has a column named {name!r}, which is no text. Hint: rename it first, "
                "such as frame.rename(columns=str)."
            )
        if name not in names:
            near = nearest(str(name), [str(known) for known in names])
            shown = ", ".join(map(repr, names[:20]))
            if len(names) == 1 and ";" in str(names[0]):
                near += " The columns seem to be separated by semicolons, not commas."
            raise ColumnNotFoundError(
                f"{what} has no column {name!r}.{near} Its columns are {shown}."
            )
        if names.count(name) > 1:
            raise InputError(f"{what} has {names.count(name)} columns named {name!r}.")


def readable(frame: Any, what: str) -> Any:
    """Return a pandas DataFrame as it is and anything else that Arrow can read as a table.

    Raises
    ------
    InputError
        If it is no table.
    """
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return frame
    if isinstance(frame, pa.Table):
        return frame
    if hasattr(frame, "__arrow_c_stream__") or isinstance(frame, pa.RecordBatch):
        with suppress(pa.ArrowException, TypeError, ValueError):
            return pa.table(frame)
    raise InputError(
        f"{what} is a {type(frame).__name__}, not a table. Hint: give a pandas or polars "
        "DataFrame, a pyarrow Table or a DuckDB relation; read files first."
    )


def table_columns(frame: Any) -> list[str]:
    """Return the names of the columns of a `readable` table."""
    return list(frame.schema.names if isinstance(frame, pa.Table) else frame.columns)


def _from_pandas(frame: Any, what: str) -> pa.Table:
    """Convert column by column, so that a failure names its column."""
    arrays = []
    for name in frame.columns:
        try:
            array = pa.array(frame[name], from_pandas=True)
        except pa.ArrowException:
            raise _mixed(frame[name], name, what) from None  # Arrow's message holds a value
        if frame[name].dtype == object and pa.types.is_temporal(array.type):
            _refuse_mixed_times(frame[name], name, what)
        arrays.append(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]))
    return pa.table(arrays, names=[str(name) for name in frame.columns])


def _mixed(values: Any, name: object, what: str) -> InputError:
    kinds = sorted({type(v).__name__ for v in values[values.notna()]})
    return InputError(
        f"Column {name!r} of {what} mixes {', '.join(kinds)}. Hint: convert it to one type."
    )


def _refuse_mixed_times(values: Any, name: object, what: str) -> None:
    """Refuse objects that Arrow brings to one type in silence: dates cut times, zones are lost."""
    found = [v for v in values[values.notna()] if isinstance(v, datetime.date)]
    n_times = sum(isinstance(v, datetime.datetime) for v in found)
    if 0 < n_times < len(found):
        raise _mixed(values, name, what)
    zones = sum(getattr(v, "tzinfo", None) is not None for v in found)
    if 0 < zones < len(found):
        raise _mixed_zones(name, zones, len(found) - zones)


def _mixed_zones(name: object, n_aware: int, n_naive: int) -> InputError:
    return InputError(
        f"Column {name!r} mixes times with a zone ({n_aware:,}) and without ({n_naive:,}). "
        "Hint: bring them to UTC first."
    )


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo dictionary and view encodings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        if pa.types.is_string_view(kind.value_type):
            kind = pa.dictionary(kind.index_type, pa.large_string())
            parts = [(c.indices, c.dictionary.cast(kind.value_type)) for c in column.chunks]
            column = pa.chunked_array([pa.DictionaryArray.from_arrays(*p) for p in parts], kind)
        return plain(column.cast(kind.value_type))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return column.cast(
            pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
        )
    return column


def is_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type is a plain string."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def missing(column: pa.ChunkedArray) -> BoolArray:
    """Return a mask of nulls, shape (n,)."""
    if not column.null_count:
        return np.zeros(len(column), dtype=bool)
    return np.asarray(pc.is_null(column).to_numpy())


def text_codes(column: pa.ChunkedArray) -> Coded:
    """Code a column of names: trimmed; numbers become text; null and empty are missing (-1)."""
    coded = label_codes(column)
    names = [_name(label) for label in coded.labels]
    labels = tuple(sorted({name for name in names if name}))
    place = {name: code for code, name in enumerate(labels)}
    lookup = np.array([place.get(name, -1) for name in names] + [-1], dtype=np.int32)
    return Coded(lookup[coded.codes], labels)


def _name(label: object) -> str:
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
    return text.strip()


def label_codes(column: pa.ChunkedArray) -> Coded:
    """Code any column by its distinct values; null and NaN are missing (-1)."""
    given = pa.types.is_dictionary(column.type)
    if not given:
        column = pc.dictionary_encode(plain(column))
    column = column.unify_dictionaries()
    if not column.num_chunks:
        return Coded(np.zeros(0, dtype=np.int32), ())
    values = column.chunk(0).dictionary.to_pylist()
    chunks = [chunk.indices for chunk in column.chunks]
    chunks = [chunk.fill_null(len(values)) if chunk.null_count else chunk for chunk in chunks]
    indices = np.concatenate([chunk.to_numpy() for chunk in chunks])
    occurs = np.ones(len(values) + 1, dtype=bool)
    if given:
        occurs[:] = False
        occurs[indices] = True
    used = {v for v, here in zip(values, occurs[:-1], strict=True) if here and v is not None}
    labels = tuple(sorted((v for v in used if v == v), key=label_order))
    place = {label: code for code, label in enumerate(labels)}
    lookup = np.array([place.get(v, -1) for v in values] + [-1], dtype=np.int32)
    return Coded(lookup[indices], labels)


def counts(column: pa.ChunkedArray, name: str) -> FloatArray:
    """Read booleans or numbers as float64; a null is NaN. Shape (n,)."""
    column = plain(column)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_null(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InputError(
            f"Column {name!r} holds {kind}, not numbers. Hint: convert it, such as "
            f"frame[{name!r}].astype(float)."
        )
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(), dtype=np.float64)


def user_keys(column: pa.ChunkedArray, name: str) -> tuple[IntArray, BoolArray, bool]:
    """Return a stable 64-bit key of each user.

    Integers are their own key (those above 2^63 less 2^64); text is hashed by its bytes, the same
    on every machine and in every run. Two of n texts share a key with a probability of about
    n^2 / 2^65 (for ten million users, 3 in a million).

    Returns
    -------
    keys, missing, hashed
        Shapes (n,), (n,), and whether the keys are hashes.
    """
    column = plain(column)
    kind = column.type
    absent = missing(column)
    if pa.types.is_floating(kind):
        numbers = column.to_numpy()
        absent = absent | np.isnan(numbers)
        filled = np.where(absent, 0, numbers)
        if (filled != np.floor(filled)).any():
            raise InputError(f"Column {name!r} holds fractions as ids. Hint: use integers or text.")
        if (np.abs(filled) > _EXACT).any():
            raise InputError(
                f"Column {name!r} holds ids as floats above 2^53, where different ids become "
                "equal. Hint: read them as integers or text."
            )
        return filled.astype(np.int64), absent, False
    if kind == pa.uint64():
        return column.fill_null(0).to_numpy().view(np.int64), absent, False
    if pa.types.is_integer(kind):
        return column.fill_null(0).to_numpy().astype(np.int64, copy=False), absent, False
    if not is_text(kind):
        try:
            column = column.cast(pa.string())
        except pa.ArrowException:
            raise InputError(
                f"Column {name!r} holds {kind}, not ids. Hint: use integers or text."
            ) from None
    empty = pc.equal(pc.binary_length(column), 0).fill_null(True).to_numpy()
    keys = [hash_text(chunk) for chunk in column.chunks] or [np.zeros(0, dtype=np.int64)]
    return np.concatenate(keys), np.asarray(absent | empty), True


def hash_text(array: pa.Array) -> IntArray:
    """Hash the bytes of each text into 64 bits; null as the empty text. Shape (n,).

    Each text is cut into words of eight bytes, the last padded with zeros; a word is folded in
    by xor, multiplication and a shift, the length at the end.
    """
    lengths = np.asarray(pc.binary_length(array).fill_null(0).to_numpy()).astype(np.int64)
    longest = int(lengths.max(initial=0))
    width = -(-longest // 8) * 8
    step = max(1, 2**26 // max(width, 1))
    if len(array) > step:
        pieces = [hash_text(array.slice(i, step)) for i in range(0, len(array), step)]
        return np.concatenate(pieces)
    keys = np.zeros(len(array), dtype=np.uint64)
    if width:
        padded = pc.ascii_rpad(array.fill_null("").cast(pa.large_string()), width, "\0")
        start = padded.offset * width
        text = np.frombuffer(padded.buffers()[2], dtype=np.uint8, count=start + len(array) * width)
        words = text[start:].view(np.uint64).reshape(len(array), -1)
        for k in range(words.shape[1]):
            folded = _mix(keys ^ words[:, k])
            keys = np.where(lengths > 8 * k, folded, keys)
    return np.asarray(_mix(keys ^ lengths.view(np.uint64))).view(np.int64)


def _mix(words: Any) -> Any:
    """Spread every bit of a 64-bit word over all of them (multiply and shift, twice)."""
    words = (words ^ (words >> np.uint64(32))) * _FOLD
    words = (words ^ (words >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return words ^ (words >> np.uint64(32))


def moments(
    column: pa.ChunkedArray, name: str, refuse: Callable[..., None]
) -> tuple[IntArray, BoolArray, bool]:
    """Read points in time as microseconds since 1970 UTC, finer resolutions rounded down.

    Parameters
    ----------
    column, name
        The column and its name in messages.
    refuse
        Called with text that is no time, see `RowFilter.refuse`.

    Returns
    -------
    times, missing, aware
        Shapes (n,), (n,), and whether the column carries a zone (else it is read as UTC).

    Raises
    ------
    InputError
        If the column holds numbers, or mixes zones and none.
    """
    column = plain(column)
    if is_text(column.type):
        column, aware = _parse(column, name, refuse)
    elif pa.types.is_date(column.type):
        column, aware = column.cast(pa.timestamp("us")), False
    elif pa.types.is_timestamp(column.type):
        aware = column.type.tz is not None
    else:
        raise InputError(
            f"Column {name!r} holds {column.type}, not times. Hint: convert it first, such as "
            f"pandas.to_datetime(frame[{name!r}], unit='s', utc=True)."
        )
    absent = missing(column)
    ticks = column.cast(pa.int64()).fill_null(0).to_numpy()
    scale = {"s": 10**6, "ms": 10**3, "us": 1, "ns": -(10**3)}[column.type.unit]
    if scale == 1:
        return ticks, absent, aware
    return (ticks * scale if scale > 0 else ticks // -scale), absent, aware


def _parse(
    column: pa.ChunkedArray, name: str, refuse: Callable[..., None]
) -> tuple[pa.ChunkedArray, bool]:
    """Parse ISO text."""
    import pandas as pd

    filled = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    aware = pc.match_substring_regex(filled, r"\d[T ]\d.*(Z|[+-]\d\d(:?\d\d)?)$").drop_null()
    zones = int(pc.sum(aware).as_py() or 0)
    if 0 < zones < len(aware):
        raise _mixed_zones(name, zones, len(aware) - zones)
    text = pd.Series(pd.array(filled.to_pylist(), dtype=object))
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    bad = parsed.isna().to_numpy() & ~text.isna().to_numpy()
    refuse(
        bad,
        "rows_with_unreadable_time",
        f"a time in column {name!r} that cannot be read",
        "write ISO 8601, such as 2025-01-31 13:45:00+00:00, or parse the column first.",
        text.to_numpy(),
    )
    ticks = parsed.dt.as_unit("us")
    return pa.chunked_array([pa.array(ticks)]), zones > 0
