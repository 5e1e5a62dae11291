"""`python -m attribution compare`: credit per channel under several models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from attribution import Comparison, Journeys, compare
from attribution.commands.files import opened, read_table, sample
from attribution.commands.options import EVENTS, add_event_options, chosen_among, listed, refuse
from attribution.errors import InputError
from attribution.models import DEFAULT_MODELS, MODELS

DESCRIPTION = "Compare attribution models. Without FILE, on the sample data."
PATH_COLUMNS = {
    "path": "path (default path)",
    "conversions": "journeys that converted (default conversions)",
    "nulls": "journeys that did not convert",
}
PATHS = {*PATH_COLUMNS, "separator", "empty", "value"}


def describe(command: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    command.add_argument(
        "file", nargs="?", metavar="FILE", help="CSV, Parquet or JSON lines; for events also a glob"
    )
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--events", action="store_true", help="FILE has one row per event")
    kind.add_argument("--paths", action="store_true", help="FILE has one row per path")
    command.add_argument("--value", metavar="COLUMN", help="value of the conversions")
    events = add_event_options(command)
    events.add_argument(
        "--state",
        metavar="X",
        help="add the events to the statistics in this file (made by the first run) and show what "
        "is known then; without FILE, just show it",
    )
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


def run(options: argparse.Namespace) -> str:
    """Build journeys from the file, or from the sample, compare, and return what to print."""
    comparison = _compare(vars(options))
    if options.format == "json":
        return comparison.to_json()
    sure = "confidence" in options
    if options.format == "table":
        return _table(comparison, options.of, options.share, sure)
    frame = comparison.to_frame(options.of, share=options.share, intervals=sure)
    if sure:
        frame.columns = frame.columns.map("_".join).str.removesuffix("_estimate")
    text: str = frame.to_csv()
    return text.removesuffix("\n")


def _compare(given: Mapping[str, Any]) -> Comparison:
    """Compare on the file, or on the sample."""
    how: dict[str, Any] = {
        "models": listed(given.get("models", ",".join(DEFAULT_MODELS))),
        "exclude": listed(given["exclude"]) if "exclude" in given else None,
    }
    if "confidence" in given:
        how["confidence"] = given["confidence"]
        if "state" in given:
            raise InputError("A state holds no single users, so it gives no intervals.")
    if "file" not in given:
        return _without_file(given, how)
    if "events" not in given and "paths" not in given:
        raise InputError("Say what FILE holds: --events (a row per event) or --paths (per path).")
    if "paths" in given:
        refuse((EVENTS | {"state"}) - PATHS, given, "goes with --events.")
        table = read_table(given["file"], text=[given.get("path", "path")])
        return compare(Journeys.from_paths(table, **chosen_among(PATHS, given)), **how)
    refuse(PATHS - EVENTS, given, "goes with --paths.")
    chosen = chosen_among(EVENTS, given)
    if "state" in given:
        return _update(given["file"], given["state"], chosen, how)
    with opened(given["file"], chosen) as journeys:
        return compare(journeys, **how)


def _without_file(given: Mapping[str, Any], how: Mapping[str, Any]) -> Comparison:
    """Compare on the sample, or as of the last update of a state."""
    refuse(EVENTS | PATHS | {"events", "paths"}, given, "needs a FILE.")
    if "state" in given and {"models", "exclude"} & set(given):
        raise InputError("A state has its models. Hint: --models and --exclude go with a FILE.")
    if "state" not in given:
        return compare(sample(), **how)
    from attribution import daily

    return daily.load(given["state"]).compare()


def _update(file: str, state: str, chosen: Mapping[str, Any], how: Mapping[str, Any]) -> Comparison:
    """Add the events of a file to a state."""
    from attribution import daily

    if "observed_until" not in chosen:
        raise InputError(
            "--state needs --observed-until: up to when the events are complete. "
            "Hint: --observed-until 2025-01-31."
        )
    return daily.update(state, file, **how, **chosen).compare()


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
