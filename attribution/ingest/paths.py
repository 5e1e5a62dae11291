"""Aggregated path tables: "a > b > c", how often it converted, how often not, and its value."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attribution.arrays import BoolArray, FloatArray, IntArray, read_only
from attribution.errors import InputError, require_rows, warn
from attribution.ingest import columns
from attribution.ingest.checks import warn_about
from attribution.journeys import Journeys
from attribution.segments import keep_entries, offsets_of, reduce_rows

SLICE = 10_000
NULL_WORDS = ("null", "non_conv", "nonconv", "no_conv")


def journeys_from_paths(
    frame: Any,
    *,
    path: str,
    conversions: str,
    value: str | None,
    nulls: str | None,
    separator: str,
    empty: Literal["raise", "unattributed"],
) -> Journeys:
    """Read a path table; see `Journeys.from_paths`."""
    if not separator:
        raise InputError("separator='' is empty. Hint: separator='>'.")
    if empty not in ("raise", "unattributed"):
        raise InputError(f"empty={empty!r} is not one of ('raise', 'unattributed').")
    names = [path, conversions, *(name for name in (value, nulls) if name is not None)]
    frame = columns.readable(frame, "the path table")
    table = columns.as_table(frame, names, "the path table")
    column, is_list = _path_column(table, path)
    channels, codes, offsets = _codes(column, None if is_list else separator)
    blank = codes < 0
    void = _void(is_list, blank, offsets)
    if empty == "raise":
        hint = "drop them, or empty='unattributed' keeps their conversions apart."
        require_rows(void, f"an empty or missing path in column {path!r}", hint)
    if blank.any():
        inner = blank & ~np.repeat(void, np.diff(offsets))
        hint = (
            "remove empty and missing names from the lists."
            if is_list
            else f"look for a leading, trailing or doubled {separator!r}."
        )
        holes = reduce_rows(np.add, inner.astype(np.float64), offsets) > 0
        require_rows(holes, f"an empty channel name in column {path!r}", hint)
        codes, offsets = codes[~blank], keep_entries(offsets, ~blank)
    converted = _counts(table, conversions)
    missed = np.zeros(len(table)) if nulls is None else _counts(table, nulls)
    values: FloatArray | None = None
    audit: dict[str, float] = {}
    if value is not None:
        values, audit = _values(table, value, converted, conversions)
    journeys = Journeys(
        channels=channels,
        codes=read_only(codes),
        offsets=read_only(offsets),
        conversions=converted,
        nulls=missed,
        values=values,
        audit={
            "conversions_read": float(converted.sum()),
            "rows_read": float(len(table)),
            "rows_without_journeys": float(((converted == 0) & (missed == 0)).sum()),
            **audit,
        },
    )
    if nulls is None:
        _warn_of_nulls(frame, names)
    if not is_list:
        _warn_of_separator(journeys, separator)
    return warn_about(journeys)


def _path_column(table: pa.Table, path: str) -> tuple[pa.ChunkedArray, bool]:
    """Return the column of paths as text or as lists of names, and whether it is lists."""
    column = columns.plain(table[path])
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    nested = is_list and pa.types.is_nested(column.type.value_type)
    if nested or not (is_list or columns.is_text(column.type)):
        raise InputError(
            f"Column {path!r} holds {column.type}, neither text nor lists. Hint: write paths as "
            "'email > search' or as lists of names."
        )
    return column, is_list


def _codes(
    column: pa.ChunkedArray, separator: str | None
) -> tuple[tuple[str, ...], IntArray, IntArray]:
    """Return the sorted names, the code of each touch (-1: no name) and the offsets.

    Some rows at a time, in threads: of the names only their codes are kept.
    """

    def coded(start: int) -> tuple[IntArray, list[pa.DictionaryArray]]:
        """Return the lengths and the coded names of the rows from `start` on."""
        rows = column.slice(start, SLICE)
        lists = rows if separator is None else pc.split_pattern(rows, separator)
        names = columns.plain(pc.list_flatten(lists))
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
        return lengths, pc.dictionary_encode(names).chunks

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lengths, codes = zip(*pool.map(coded, range(0, len(column), SLICE)), strict=True)
    found = [chunk for chunks in codes for chunk in chunks] or [pa.array([], pa.string())]
    names = columns.text_codes(pa.chunked_array(found))
    return names.labels, names.codes, offsets_of(np.concatenate(lengths))


def _void(is_list: bool, blank: BoolArray, offsets: IntArray) -> BoolArray:
    """Mark the rows without any touch: missing, an empty list, or nothing but white space."""
    lengths = np.diff(offsets)
    void = lengths == 0
    if not is_list and blank.any():
        single = np.flatnonzero(lengths == 1)
        void[single] = blank[offsets[single]]
    return np.asarray(void)


def _counts(table: pa.Table, name: str) -> FloatArray:
    """Read a column of counts: numbers, finite, not negative."""
    counts = columns.counts(table[name], name)
    require_rows(
        ~np.isfinite(counts),
        f"a missing or infinite count in column {name!r}",
        "fill missing counts with 0 where that is what they mean.",
        counts,
    )
    require_rows(
        counts < 0,
        f"a negative count in column {name!r}",
        "counts are numbers of journeys; attribute refunds as negative value.",
        counts,
    )
    return counts


def _values(
    table: pa.Table, name: str, converted: FloatArray, conversions: str
) -> tuple[FloatArray, dict[str, float]]:
    """Read the column of values, and what to note of it; missing is 0."""
    values = columns.counts(table[name], name)
    require_rows(
        np.isinf(values),
        f"an infinite value in column {name!r}",
        "give the total value of the row's conversions in units of currency.",
        values,
    )
    absent = np.isnan(values)
    values = np.where(absent, 0.0, values)
    require_rows(
        (values != 0) & (converted == 0),
        f"a value in column {name!r} but no conversion in {conversions!r}",
        "set the value to 0, or count the conversions it is from.",
        values,
    )
    audit = {"value_read": float(values.sum())}
    bare = float(converted[absent].sum())
    return values, {**audit, "conversions_without_value": bare} if bare else audit


def _warn_of_nulls(frame: Any, used: list[str]) -> None:
    """Warn when an unused column looks like the journeys that did not convert."""
    for name in columns.table_columns(frame):
        looks = any(word in str(name).lower() for word in NULL_WORDS)
        if looks and name not in used and _is_number(frame, name):
            warn(
                f"Column {name!r} looks like the number of journeys without conversion, but is not "
                f"used; Markov chains need it. Hint: nulls={str(name)!r}."
            )


def _is_number(frame: Any, name: Any) -> bool:
    """Tell whether a column holds whole or fractional numbers."""
    try:
        kind = columns.plain(columns.as_table(frame, [name], "the path table")[name]).type
    except InputError:
        return False
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _warn_of_separator(journeys: Journeys, separator: str) -> None:
    """Warn when no path was cut anywhere, or names end in half an arrow: wrong separator."""
    half = [name for name in journeys.channels if name.endswith(("-", "="))]
    if half and separator == ">":
        warn(
            f"Channel {half[0]!r} ends with {half[0][-1]!r}: is the separator "
            f"{half[0][-1] + separator!r}? Hint: separator= names what stands between two channels."
        )
    if len(journeys.channels) > 1 and (journeys.lengths <= 1).all():
        warn(
            f"No path contains the separator {separator!r}: every path is one channel, such as "
            f"{journeys.channels[0]!r}. Hint: separator= names what stands between two channels."
        )
