"""Files that the command line reads, and the sample data that stand for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution import Journeys, datasets
from attribution.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

EXPANSION = 15  # memory for the journeys of a compressed file, over its size


@contextmanager
def opened(file: str, chosen: Mapping[str, Any]) -> Iterator[Any]:
    """Give the journeys of an event log: in memory, or as a stream through DuckDB."""
    options = dict(chosen)
    only_type = options.pop("only_type", None)
    limit = options.pop("memory_limit", None)
    if limit is None and not larger_than_memory(file):
        journeys = in_memory(file, options)
        yield journeys if only_type is None else journeys.of_type(only_type)
        return
    from attribution.engines import duckdb

    with duckdb.scan(file, memory_limit=limit or "1GB", **options) as stream:
        yield stream if only_type is None else stream.map(lambda part: part.of_type(only_type))


def larger_than_memory(file: str) -> bool:
    """Tell whether a file must be read in parts: it is a glob, or would take half the memory."""
    if not Path(file).is_file():
        return any(sign in file for sign in "*?[")
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows does not say
        return False
    return Path(file).stat().st_size * EXPANSION > memory / 2


def in_memory(file: str, chosen: dict[str, Any]) -> Journeys:
    """Read an event log, and perhaps a table of conversions."""
    ids = [chosen.get("user", "user_id"), *chosen.get("channel", ["channel"])]
    ids += [chosen[name] for name in ("conversion_id", "session") if name in chosen]
    if "conversion_events" in chosen:
        chosen["conversion_events"] = read_table(chosen["conversion_events"], text=ids)
    return Journeys.from_events(read_table(file, text=ids), **chosen)


def sample() -> Journeys:
    """Return the journeys towards a purchase of the sample data."""
    journeys = Journeys.from_events(
        datasets.load_events(),
        value="value",
        conversion_type="conversion_type",
        conversion_id="conversion_id",
    )
    return journeys.of_type("purchase")


def read_table(file: str, text: Sequence[str] = ()) -> pa.Table:
    """Read a file by its ending; the named columns stay text in CSV (ids keep leading zeros).

    Raises
    ------
    InputError
        If the ending is unknown or the content cannot be read.
    FileNotFoundError
        If there is no such file.
    """
    import pyarrow as pa
    from pyarrow import csv, json, parquet

    endings = Path(file).suffixes
    kind = next((e for e in reversed(endings) if e not in (".gz", ".zst", ".bz2")), "")
    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file!r}")
    try:
        if kind in (".csv", ".tsv", ".txt"):
            types = dict.fromkeys(text, pa.string())
            return csv.read_csv(
                file,
                parse_options=csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ","),
                convert_options=csv.ConvertOptions(
                    column_types=types, strings_can_be_null=True, null_values=[""]
                ),
            )
        if kind in (".parquet", ".pq"):
            return parquet.read_table(file)
        if kind in (".jsonl", ".ndjson", ".json"):
            return json.read_json(file)
    except pa.ArrowException as error:
        reason = re.sub(r"(got \d+).*", r"\1", str(error).splitlines()[0])
        if "Expected 1 columns" in reason:
            reason += ". Hint: columns are separated by commas, and decimals have a point."
        raise InputError(f"{file!r} cannot be read: {reason}") from error
    raise InputError(f"{file!r} has no known ending. Hint: .csv, .tsv, .parquet or .jsonl.")
