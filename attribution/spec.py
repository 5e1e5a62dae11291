"""The frozen options by which an event log becomes journeys; shared by every engine.

Conventions (microseconds since 1970 UTC throughout; differences are elapsed time, never calendar
days):

- a user's events are ordered by time, touches before conversions, then `order` (missing first),
  channel name and attributes;
- a journey is cut after each conversion of its type; conversions of one user and type at one
  instant are one;
- a conversion claims the touches of its journey that are at most `lookback` old (with
  `reuse_touches`: all touches of its user in that window, also those before earlier conversions);
- touches that no conversion claims form journeys without conversion (nulls), cut at conversions
  and wherever two follow each other by more than `inactivity`; their end is the moment that
  observation stopped: `inactivity` after the last touch, but no later than the next conversion
  and the end of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from attribution.durations import Duration, Moment, microseconds, moment
from attribution.errors import InputError, nearest

ChannelMissing = Literal["raise", "direct", "drop"]
OnInvalid = Literal["raise", "drop"]

_JOURNEY_OPTIONS = (
    "conversion_types",
    "session_gap",
    "lookback",
    "inactivity",
    "reuse_touches",
    "report_from",
    "report_until",
    "closed_only",
    "observed_until",
)


@dataclass(frozen=True, kw_only=True)
class EventSpec:
    """Columns and options of `Journeys.from_events`, checked and in canonical units.

    Build one with `EventSpec.of`, which takes the arguments of `from_events`. Durations and
    moments are microseconds.
    """

    user: str = "user_id"
    time: str = "timestamp"
    channel: tuple[str, ...] = ("channel",)
    conversion: str = "converted"
    value: str | None = None
    conversion_type: str | None = None
    conversion_types: tuple[str, ...] | None = None
    conversion_id: str | None = None
    order: str | None = None
    session: str | None = None
    session_gap: int | None = None
    lookback: int | tuple[tuple[str, int], ...] | None = None
    inactivity: int | None = None
    reuse_touches: bool = False
    report_from: int | None = None
    report_until: int | None = None
    closed_only: bool = False
    observed_until: int | None = None
    touch_type: str | None = None
    attributes: tuple[str, ...] = ()
    journey_attributes: tuple[str, ...] = ()
    channel_missing: ChannelMissing = "raise"
    on_invalid: OnInvalid = "raise"

    @property
    def longest_lookback(self) -> int | None:
        """The lookback, the longest where it depends on the type of touch."""
        if isinstance(self.lookback, tuple):
            return max(window for _, window in self.lookback)
        return self.lookback

    @property
    def journey_options(self) -> dict[str, Any]:
        """The options that decide what a journey is, without names of columns."""
        return {name: getattr(self, name) for name in _JOURNEY_OPTIONS}

    @classmethod
    def of(
        cls,
        *,
        channel: str | tuple[str, ...] | list[str] = "channel",
        lookback: Duration | Mapping[str, Duration] | None = "90D",
        inactivity: Duration | None = None,
        session_gap: Duration | None = None,
        report_from: Moment | None = None,
        report_until: Moment | None = None,
        observed_until: Moment | None = None,
        attributes: tuple[str, ...] | list[str] | str = (),
        journey_attributes: tuple[str, ...] | list[str] | str = (),
        conversion_types: tuple[str, ...] | list[str] | str | None = None,
        **options: Any,
    ) -> EventSpec:
        """Check the arguments of `Journeys.from_events` and bring them to canonical units.

        Raises
        ------
        InputError
            If an option is unknown, cannot be read, or contradicts another.
        """
        _known(options)
        windows: int | tuple[tuple[str, int], ...] | None
        if isinstance(lookback, Mapping):
            windows = tuple(
                sorted((str(k), microseconds(v, f"lookback[{k!r}]")) for k, v in lookback.items())
            )
        else:
            windows = None if lookback is None else microseconds(lookback, "lookback")
        spec = cls(
            channel=_names(channel),
            lookback=windows,
            inactivity=None if inactivity is None else microseconds(inactivity, "inactivity"),
            session_gap=None if session_gap is None else microseconds(session_gap, "session_gap"),
            report_from=None if report_from is None else moment(report_from, "report_from"),
            report_until=None if report_until is None else moment(report_until, "report_until"),
            observed_until=(
                None if observed_until is None else moment(observed_until, "observed_until")
            ),
            conversion_types=(
                None if conversion_types is None else tuple(sorted(_names(conversion_types)))
            ),
            attributes=_names(attributes),
            journey_attributes=_names(journey_attributes),
            **options,
        )
        spec._check()
        return spec

    def _check(self) -> None:
        """Refuse options that contradict each other."""
        if not self.channel:
            raise InputError("channel= names no column. Hint: channel='channel'.")
        if isinstance(self.lookback, tuple) and not self.lookback:
            raise InputError("lookback={} is empty. Hint: lookback={'click': '30D'} or '90D'.")
        if isinstance(self.lookback, tuple) and self.touch_type is None:
            raise InputError(
                "lookback is a mapping per touch type, but touch_type= names no column. "
                "Hint: touch_type='touch_type'."
            )
        if self.conversion_types is not None and self.conversion_type is None:
            raise InputError(
                "conversion_types are given, but conversion_type= names no column. "
                "Hint: conversion_type='conversion_type'."
            )
        if self.closed_only and self.lookback is None:
            raise InputError(
                "closed_only needs a lookback: without one no journey is ever closed. "
                "Hint: lookback='90D'."
            )
        if self.session is not None and self.session_gap is not None:
            raise InputError("session= and session_gap= are two ways to say one thing: give one.")
        if (
            self.report_from is not None
            and self.report_until is not None
            and self.report_from >= self.report_until
        ):
            raise InputError("report_from is not before report_until; the window is empty.")
        for name, allowed in (
            ("channel_missing", get_args(ChannelMissing)),
            ("on_invalid", get_args(OnInvalid)),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)!r} is not one of {allowed}.")


def _known(options: Mapping[str, Any]) -> None:
    """Refuse an option that does not exist, naming the nearest that does."""
    names = [field.name for field in fields(EventSpec)]
    for name in options:
        if name not in names:
            raise InputError(f"Unknown option {name!r}.{nearest(name, names)}")


def _names(columns: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)
