"""The events of open journeys as a file of their own: personal data, kept apart from statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attribution.arrays import Array, BoolArray, IntArray
from attribution.errors import InputError
from attribution.ingest import columns
from attribution.ingest.facts import Facts
from attribution.ingest.log import Log
from attribution.ingest.table import Table

SCHEMA = 1
KEY = b"attribution.open"
PLAIN = ("user", "time", "count", "value", "session", "window")


def open_table(log: Log) -> pa.Table:
    """Return the events of a log as an Arrow table: touches first, names instead of codes."""
    facts = log.facts
    return pa.concat_tables(
        [
            _table(log.touches, facts.channels, False),
            _table(log.conversions, facts.types or (), True),
        ]
    ).replace_schema_metadata(
        {
            KEY: json.dumps(
                {
                    "schema": SCHEMA,
                    "hashed": facts.hashed,
                    "aware": facts.aware,
                    "types": facts.types is not None,
                    "session_hashed": facts.session_hashed,
                    "order_kind": facts.order_kind,
                    "order_labels": facts.order_labels,
                }
            )
        }
    )


def _table(table: Table, names: tuple[str, ...], converts: bool) -> pa.Table:
    arrays: dict[str, pa.Array] = {
        name: pa.array(np.ascontiguousarray(getattr(table, name))) for name in PLAIN
    }
    arrays["count"] = arrays["count"].cast(pa.float64())
    arrays["value"] = arrays["value"].cast(pa.float64())
    arrays["converts"] = pa.array(np.full(len(table.user), converts))
    arrays["name"] = _named(table.code, names)
    arrays["order"] = pa.array(np.ascontiguousarray(table.order))
    return pa.table(arrays)


def _named(codes: Array, names: tuple[str, ...]) -> pa.Array:
    """Return the name of each code; null where there is none."""
    if not names:
        return pa.nulls(len(codes), pa.string())
    absent = pa.array(codes < 0)
    index = pa.array(np.maximum(codes, 0).astype(np.int32))
    return pc.if_else(
        absent, pa.scalar(None, pa.string()), pa.array(map(str, names), pa.string()).take(index)
    )


def read_open(path: Path) -> Iterator[tuple[pa.Table, dict[str, Any]]]:
    """Yield the events of an open file in parts of bounded size, with what they share.

    Raises
    ------
    InputError
        If it is missing or damaged, no such file, or of a newer schema.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            about = json.loads((file.schema_arrow.metadata or {}).get(KEY, b"{}"))
            if about.get("schema") != SCHEMA:
                raise InputError(
                    f"{str(path)!r} holds no open journeys of schema {SCHEMA}, but of "
                    f"{about.get('schema')!r}. Hint: upgrade the library, or restore the file."
                )
            for record in file.iter_batches(1_000_000):
                yield pa.Table.from_batches([record]), about
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{str(path)!r}, the open journeys of a state, cannot be read: {reason} Hint: restore "
            "both files of the state."
        ) from error


def log_of(table: pa.Table, about: dict[str, Any]) -> Log:
    """Return a part of an open file as touches and conversions."""
    converts = np.asarray(table["converts"].to_numpy())
    names = {
        kind: columns.label_codes(table["name"].filter(pa.array(mask)))
        for kind, mask in (("touch", ~converts), ("conversion", converts))
    }

    def part(mask: BoolArray, code: IntArray, ranks: IntArray) -> Table:
        plain = {name: table[name].to_numpy()[mask] for name in PLAIN}
        nothing = np.zeros((0, int(mask.sum())), dtype=np.int32)
        return Table(code=code, order=ranks, attributes=nothing, **plain)

    given = table["order"].to_numpy()
    touches = part(~converts, names["touch"].codes, given[~converts])
    conversions = part(
        converts,
        names["conversion"].codes if about["types"] else np.zeros(int(converts.sum()), np.int32),
        np.zeros(int(converts.sum()), dtype=np.int64),
    )
    times = table["time"].to_numpy()
    return Log(
        touches,
        conversions,
        Facts(
            source="the open journeys",
            n_touches=len(touches.user),
            n_conversions=len(conversions.user),
            first=int(times.min()) if len(times) else None,
            last=int(times.max()) if len(times) else None,
            channels=names["touch"].labels,
            types=names["conversion"].labels if about["types"] else None,
            order_kind=about["order_kind"],
            order_labels=None if about["order_labels"] is None else tuple(about["order_labels"]),
            attributes={},
            hashed=about["hashed"],
            aware=about["aware"],
            session_hashed=about["session_hashed"],
            audit={},
        ),
    )
