"""Options of an event log on the command line: their help, and from text to arguments."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from attribution.errors import InputError

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
    "memory-limit": "read FILE through DuckDB within this memory, such as 2GB (the default is 1GB "
    "for globs and for files that do not fit into half of this machine's)",
    "lookback": "greatest age of a credited touch: 90D (the default), none, or click=30D,view=1D",
    "inactivity": "pause that ends a journey without conversion (default: the lookback)",
    "session-gap": "pause that starts a new session, such as 30min",
    "report-from": "keep journeys that end at or after this moment",
    "report-until": "keep journeys that end before this moment",
    "observed-until": "end of the log (default: the last event)",
    "conversion-types": "all types of conversion, joined by commas",
    "channel-missing": "touches without channel: raise, direct or drop (default raise)",
    "on-invalid": "bad rows: raise or drop (default raise)",
}
EVENT_SWITCHES = {
    "reuse-touches": "let conversions share touches",
    "closed-only": "keep only journeys that began a lookback before the end",
}


def key(name: str) -> str:
    """Return the name of an option as an argument of a function."""
    return name.replace("-", "_")


EVENTS = {key(n) for n in (*EVENT_COLUMNS, *EVENT_OPTIONS, *EVENT_SWITCHES)}
EVENTS |= {"conversion_events", "only_type", "value"}


def add_event_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Describe the options of an event log, and return their group."""
    events = command.add_argument_group("columns and options of events")
    for name, text in EVENT_COLUMNS.items():
        events.add_argument(f"--{name}", metavar="COLUMN", help=text)
    events.add_argument("--conversion-events", metavar="FILE", help="conversions of their own")
    for name, text in EVENT_OPTIONS.items():
        events.add_argument(f"--{name}", metavar="X", help=text)
    for name, text in EVENT_SWITCHES.items():
        events.add_argument(f"--{name}", action="store_true", help=text)
    events.add_argument("--only-type", metavar="TYPE", help="journeys towards this conversion type")
    return events


def chosen_among(names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options of these names as arguments of `Journeys.from_...`."""
    chosen = {name: given[name] for name in sorted(set(names) & set(given))}
    if "channel" in chosen:
        chosen["channel"] = listed(chosen["channel"])
    if "lookback" in chosen:
        chosen["lookback"] = _lookback(chosen["lookback"])
    if "conversion_types" in chosen:
        chosen["conversion_types"] = listed(chosen["conversion_types"])
    return chosen


def refuse(names: Iterable[str], given: Mapping[str, Any], complaint: str) -> None:
    """Raise `InputError` if any of these options was given."""
    for name in sorted(set(names) & set(given)):
        raise InputError(f"--{name.replace('_', '-')} {complaint}")


def listed(text: str) -> list[str]:
    """Return the parts of a text joined by commas."""
    return [part.strip() for part in text.split(",")]


def _lookback(text: str) -> str | dict[str, str] | None:
    """Read one window, none, or windows by type of touch."""
    if text.lower() == "none":
        return None
    if "=" not in text:
        return text
    pairs = (part.partition("=") for part in text.split(","))
    return {kind.strip(): window for kind, _, window in pairs}
