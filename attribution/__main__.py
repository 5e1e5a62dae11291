"""The command line: `python -m attribution compare [FILE]`.

Thin: it reads a file, calls the functions of the library and prints what they return. Bad input
ends with one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution import Comparison, Journeys, compare, datasets
from attribution.errors import AttributionError, AttributionWarning, InputError
from attribution.models import DEFAULT_MODELS, MODELS

if TYPE_CHECKING:
    import pyarrow as pa

EVENT_COLUMNS = {
    "user": "customer (default user_id)",
    "time": "moment of the event (default timestamp)",
    "channel": "channel; several joined by commas, such as source,medium (default channel)",
    "conversion": "marks rows that convert (default converted)",
    "conversion-type": "type of conversion",
    "conversion-id": "id of the conversion",
    "order": "orders touches of one instant",
    "session": "session; one touch per session and channel is kept",
    "touch-type": "type of touch, for --lookback by type",
}
EVENT_OPTIONS = {
    "lookback": "greatest age of a credited touch: 90D (the default), none, or click=30D,view=1D",
    "inactivity": "pause that ends a journey without conversion (default: the lookback)",
    "session-gap": "pause that starts a new session, such as 30min",
    "report-from": "keep journeys that end at or after this moment",
    "report-until": "keep journeys that end before this moment",
    "observed-until": "end of the log (default: the last event)",
    "conversion-types": "all types of conversion, joined by commas (with --state)",
    "channel-missing": "touches without channel: raise, direct or drop (default raise)",
    "on-invalid": "bad rows: raise or drop (default raise)",
}
STATE_OPTIONS = {
    "memory-limit": "read FILE through DuckDB within this memory, such as 2GB (the default is 1GB "
    "for globs and for files that do not fit into half of this machine's)",
    "state": "add the events to the statistics in this file (made by the first run) and show what "
    "is known then; without FILE, just show it",
}
EVENT_SWITCHES = {
    "reuse-touches": "let conversions share touches",
    "closed-only": "keep only journeys that began a lookback before the end",
}
PATH_COLUMNS = {
    "path": "path (default path)",
    "conversions": "journeys that converted (default conversions)",
    "nulls": "journeys that did not convert",
}

EXPANSION = 15  # memory for the journeys of a compressed file, over its size


def _key(name: str) -> str:
    return name.replace("-", "_")


EVENTS = {_key(n) for n in (*EVENT_COLUMNS, *EVENT_OPTIONS, *EVENT_SWITCHES, *STATE_OPTIONS)}
EVENTS |= {"conversion_events", "only_type"}
PATHS = {_key(n) for n in PATH_COLUMNS} | {"separator", "empty"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", AttributionWarning)
        warnings.showwarning = _show_warning
        try:
            _print(_compare(options), options)
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nobody reads on; stay silent
        except (AttributionError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m attribution", description="How much each channel earned."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "compare",
        help="credit per channel under several models",
        description="Compare attribution models. Without FILE, on the sample data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    command.add_argument(
        "file", nargs="?", metavar="FILE", help="CSV, Parquet or JSON lines; for events also a glob"
    )
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--events", action="store_true", help="FILE has one row per event")
    kind.add_argument("--paths", action="store_true", help="FILE has one row per path")
    command.add_argument("--value", metavar="COLUMN", help="value of the conversions")
    events = command.add_argument_group("columns and options of events")
    for name, text in EVENT_COLUMNS.items():
        events.add_argument(f"--{name}", metavar="COLUMN", help=text)
    events.add_argument("--conversion-events", metavar="FILE", help="conversions of their own")
    for name, text in EVENT_OPTIONS.items():
        events.add_argument(f"--{name}", metavar="X", help=text)
    for name, text in EVENT_SWITCHES.items():
        events.add_argument(f"--{name}", action="store_true", help=text)
    for name, text in STATE_OPTIONS.items():
        events.add_argument(f"--{name}", metavar="X", help=text)
    events.add_argument("--only-type", metavar="TYPE", help="journeys towards this conversion type")
    paths = command.add_argument_group("columns and options of paths")
    for name, text in PATH_COLUMNS.items():
        paths.add_argument(f"--{name}", metavar="COLUMN", help=text)
    paths.add_argument("--separator", metavar="TEXT", help="between two channels (default >)")
    paths.add_argument("--empty", choices=("raise", "unattributed"), help="paths without channel")
    output = command.add_argument_group("models and output")
    output.add_argument(
        "--models",
        metavar="NAMES",
        help=f"{', '.join(MODELS)} (default {', '.join(DEFAULT_MODELS)})",
    )
    output.add_argument("--exclude", metavar="NAMES", help="models to leave out")
    output.add_argument(
        "--of", choices=("conversions", "value"), default="conversions", help="what"
    )
    output.add_argument(
        "--confidence",
        type=float,
        metavar="X",
        help="of intervals by resampling users, such as 0.9",
    )
    output.add_argument("--share", action="store_true", default=False, help="shares, not amounts")
    output.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="json holds everything"
    )
    return parser


def _compare(options: argparse.Namespace) -> Comparison:
    """Build journeys from the file, or from the sample, and compare."""
    given = vars(options)
    how: dict[str, Any] = {
        "models": _listed(given.get("models", ",".join(DEFAULT_MODELS))),
        "exclude": _listed(given["exclude"]) if "exclude" in given else None,
    }
    if "confidence" in given:
        how["confidence"] = given["confidence"]
        if "state" in given:
            raise InputError("A state holds no single users, so it gives no intervals.")
    if "file" not in given:
        return _without_file(given, how)
    chosen = _chosen(given)
    if "paths" in given:
        table = read_table(given["file"], text=[given.get("path", "path")])
        return compare(Journeys.from_paths(table, **chosen), **how)
    return _compare_events(given["file"], chosen, how)


def _without_file(given: Mapping[str, Any], how: Mapping[str, Any]) -> Comparison:
    """Compare on the sample, or as of the last update of a state."""
    unused = sorted((EVENTS | PATHS | {"events", "paths", "value"}) & set(given) - {"state"})
    if unused:
        raise InputError(f"--{unused[0].replace('_', '-')} needs a FILE.")
    if "state" in given and {"models", "exclude"} & set(given):
        raise InputError("A state has its models. Hint: --models and --exclude go with a FILE.")
    if "state" not in given:
        return compare(sample(), **how)
    from attribution import daily

    return daily.load(given["state"]).compare()


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that go with the kind of file, after checking that all do."""
    if "events" not in given and "paths" not in given:
        raise InputError("Say what FILE holds: --events (a row per event) or --paths (per path).")
    allowed, other = (EVENTS, PATHS) if "events" in given else (PATHS, EVENTS)
    for name in sorted(other & set(given)):
        kind = "--paths" if "events" in given else "--events"
        raise InputError(f"--{name.replace('_', '-')} goes with {kind}.")
    chosen = {name: given[name] for name in sorted((allowed | {"value"}) & set(given))}
    if "channel" in chosen:
        chosen["channel"] = _listed(chosen["channel"])
    if "lookback" in chosen:
        chosen["lookback"] = _lookback(chosen["lookback"])
    if "conversion_types" in chosen:
        chosen["conversion_types"] = _listed(chosen["conversion_types"])
    return chosen


def _compare_events(file: str, chosen: dict[str, Any], how: Mapping[str, Any]) -> Comparison:
    """Compare on an event log: in memory, through DuckDB, or as the update of a state."""
    if "state" in chosen:
        return _update(file, chosen, how)
    only_type = chosen.pop("only_type", None)
    limit = chosen.pop("memory_limit", None)
    if limit is None and not larger_than_memory(file):
        journeys = _in_memory(file, chosen)
        return compare(journeys if only_type is None else journeys.of_type(only_type), **how)
    from attribution.engines import duckdb

    with duckdb.scan(file, memory_limit=limit or "1GB", **chosen) as stream:
        if only_type is None:
            return compare(stream, **how)
        return compare(stream.map(lambda part: part.of_type(only_type)), **how)


def _update(file: str, chosen: dict[str, Any], how: Mapping[str, Any]) -> Comparison:
    """Add the events of a file to a state."""
    from attribution import daily

    if "observed_until" not in chosen:
        raise InputError(
            "--state needs --observed-until: up to when the events are complete. "
            "Hint: --observed-until 2025-01-31."
        )
    state = chosen.pop("state")
    return daily.update(state, file, **how, **chosen).compare()


def larger_than_memory(file: str) -> bool:
    """Tell whether a file must be read in parts: it is a glob, or would take half the memory."""
    if not Path(file).is_file():
        return any(sign in file for sign in "*?[")
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows does not say
        return False
    return Path(file).stat().st_size * EXPANSION > memory / 2


def _in_memory(file: str, chosen: dict[str, Any]) -> Journeys:
    """Read an event log, and perhaps a table of conversions."""
    ids = [chosen.get("user", "user_id"), *chosen.get("channel", ["channel"])]
    ids += [chosen[name] for name in ("conversion_id", "session") if name in chosen]
    if "conversion_events" in chosen:
        chosen["conversion_events"] = read_table(chosen["conversion_events"], text=ids)
    return Journeys.from_events(read_table(file, text=ids), **chosen)


def _lookback(text: str) -> str | dict[str, str] | None:
    """Read one window, none, or windows by type of touch."""
    if text.lower() == "none":
        return None
    if "=" not in text:
        return text
    pairs = (part.partition("=") for part in text.split(","))
    return {kind.strip(): window for kind, _, window in pairs}


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
        raise InputError(f"{file!r} cannot be read: {reason}") from error
    raise InputError(f"{file!r} has no known ending. Hint: .csv, .tsv, .parquet or .jsonl.")


def _print(comparison: Comparison, options: argparse.Namespace) -> None:
    """Print the comparison in the wanted format."""
    if options.format == "json":
        print(comparison.to_json())
        return
    sure = "confidence" in options
    if options.format == "csv":
        frame = comparison.to_frame(options.of, share=options.share, intervals=sure)
        if sure:
            frame.columns = frame.columns.map("_".join).str.removesuffix("_estimate")
        print(frame.to_csv(), end="")
        return
    print(_table(comparison, options.of, options.share, sure))


def _table(comparison: Comparison, of: Any, share: bool, sure: bool) -> str:
    """Return a readable table with its total, what is unattributed, and what kind models are."""
    frame = comparison.to_frame(of, share=share)
    style = "{:.1%}".format if share else "{:,.1f}".format
    rows = [*frame.index.to_list(), "total"]
    numbers = [*frame.to_numpy().tolist(), frame.sum().tolist()]
    if sure:
        ends = comparison.to_frame(of, share=share, intervals=True)
        low, high = (ends.xs(end, axis=1, level=1).to_numpy().tolist() for end in ("low", "high"))
        numbers[:-1] = [
            [f"{style(x)} [{style(a)}, {style(b)}]" for x, a, b in zip(*line, strict=True)]
            for line in zip(numbers[:-1], low, high, strict=True)
        ]
        numbers[-1] = list(map(style, numbers[-1]))
    shown = type(frame)(numbers, index=rows, columns=frame.columns)
    first = next(iter(comparison.attributions.values()))
    total = first.total_conversions if of == "conversions" else first.total_value
    left = first.unattributed if of == "conversions" else first.unattributed_value
    data = [name for name, kind in comparison.kinds.items() if kind == "data"]
    lines = [
        f"{of} per channel{' (share)' if share else ''}; {total:,.10g} in all, "
        f"of which {left:,.10g} without any touch",
        "",
        shown.to_string(float_format=style),
        "",
        f"driven by data: {', '.join(data) or 'none'}; the others are rules of thumb, not evidence",
    ]
    if sure:
        about = first.details["intervals"]
        lines.append(
            f"[low, high]: {about['confidence']:.0%} intervals over {about['n_units']:,.10g} users "
            "(journeys, where there are no users); they say how far other people would move a "
            "figure, not whether a model is right"
        )
    return "\n".join(lines)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
