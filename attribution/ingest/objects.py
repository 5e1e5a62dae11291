"""`Journey` objects, written by hand, become `Journeys`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from attribution.arrays import Coded, FloatArray, IntArray
from attribution.durations import moment
from attribution.errors import InputError, require_rows
from attribution.ingest.checks import warn_about
from attribution.ingest.columns import user_keys
from attribution.journeys import Journeys
from attribution.segments import offsets_of
from attribution.touchpoints import Journey, Touchpoint


def journeys_from_objects(journeys: Iterable[Journey]) -> Journeys:
    """Collect journeys; see `Journeys.from_journeys`."""
    listed = list(journeys)
    if not listed:
        raise InputError("There are no journeys. Hint: from_journeys takes an iterable of Journey.")
    _require(listed, Journey)
    touches = [touch for journey in listed for touch in journey.touchpoints]
    _require(touches, Touchpoint)
    names = [_name(touch.channel) for touch in touches]
    coded = Coded.of(names)
    rows = np.repeat(np.arange(len(listed)), [len(j.touchpoints) for j in listed])
    holes = np.zeros(len(listed), dtype=bool)
    holes[rows[[not name for name in names]]] = True
    require_rows(holes, "a touchpoint without a channel", "name its channel.")
    conversions = np.array([j.conversions for j in listed], dtype=np.float64)
    nulls = [float(not j.conversions) if j.nulls is None else j.nulls for j in listed]
    missed = np.array(nulls, dtype=np.float64)
    for name, counts in (("conversions", conversions), ("nulls", missed)):
        bad = ~np.isfinite(counts) | (counts < 0)
        hint = f"{name} is 0, 1 or another count."
        require_rows(bad, f"a missing, negative or infinite number of {name}", hint, counts)
    offsets = offsets_of(np.array([len(j.touchpoints) for j in listed]))
    times = _moments([t.time for t in touches], "touchpoints", "time")
    ends = _moments([j.end for j in listed], "journeys", "end")
    _require_order(rows, offsets, times, ends)
    return warn_about(
        Journeys(
            channels=coded.labels,
            codes=coded.codes,
            offsets=offsets,
            conversions=conversions,
            nulls=missed,
            values=_values(listed, conversions),
            times=times,
            ends=ends,
            users=_users([j.customer for j in listed]),
            conversion_types=_optional([j.conversion_type for j in listed]),
            touch_attributes=_attributes([t.attributes for t in touches]),
            journey_attributes=_attributes([j.attributes for j in listed]),
            audit={"rows_read": float(len(listed)), "conversions_read": float(conversions.sum())},
        )
    )


def _require(items: Sequence[object], kind: type) -> None:
    """Refuse an item of another kind."""
    for item in items:
        if not isinstance(item, kind):
            raise InputError(
                f"Got a {type(item).__name__} instead of a {kind.__name__}. Hint: "
                "Journey([Touchpoint('email')], conversions=1)."
            )


def _name(channel: object) -> str:
    return "" if channel is None or channel != channel else str(channel).strip()


def _require_order(
    rows: IntArray, offsets: IntArray, times: IntArray | None, ends: IntArray | None
) -> None:
    """Refuse touchpoints that precede the one before, or follow the end of their journey."""
    if times is None:
        return
    early = np.zeros(len(offsets) - 1, dtype=bool)
    early[rows[1:][(np.diff(times) < 0) & (np.diff(rows) == 0)]] = True
    require_rows(early, "touchpoints out of order", "sort them by time.")
    if ends is not None:
        late = np.zeros(len(offsets) - 1, dtype=bool)
        late[rows[times > ends[rows]]] = True
        hint = "end is the conversion, or when observation stopped."
        require_rows(late, "a touchpoint after the end of the journey", hint)


def _values(journeys: list[Journey], conversions: FloatArray) -> FloatArray | None:
    if all(journey.value is None for journey in journeys):
        return None
    values = np.array([j.value or 0.0 for j in journeys], dtype=np.float64)
    hint = "value is the total value of the journey's conversions."
    require_rows(~np.isfinite(values), "a missing or infinite value", hint, values)
    bare = (values != 0) & (conversions == 0)
    require_rows(bare, "a value but no conversion", "set conversions=1, or value=None.", values)
    return values


def _moments(points: Sequence[datetime.datetime | None], what: str, name: str) -> IntArray | None:
    """Return all points in time, or None where none is given."""
    given = [point for point in points if point is not None]
    if not given:
        return None
    if len(given) < len(points):
        raise InputError(
            f"{len(points) - len(given):,} of {len(points):,} {what} have no {name}. "
            "Hint: give all of them one, or none."
        )
    for point in given:
        if not isinstance(point, datetime.datetime):
            raise InputError(f"A {name} of {what} is {point!r}, not a datetime.")
    if len({point.tzinfo is None for point in given}) > 1:
        raise InputError(f"Some {what} have a time zone in {name} and some have none.")
    return np.array([moment(point, name) for point in given], dtype=np.int64)


def _users(customers: Sequence[int | str | None]) -> IntArray | None:
    if all(customer is None for customer in customers):
        return None
    absent = np.array([customer is None for customer in customers])
    require_rows(absent, "no customer", "name the customer of every journey, or of none.")
    if len({isinstance(customer, str) for customer in customers}) > 1:
        raise InputError("Some customers are text and some are numbers. Hint: use one kind.")
    keys, absent, _ = user_keys(pa.chunked_array([pa.array(customers)]), "customer")
    require_rows(absent, "an empty customer", "name the customer of every journey, or of none.")
    return keys


def _optional(values: Sequence[Any]) -> Coded | None:
    return None if all(value is None for value in values) else Coded.of(values)


def _attributes(attributes: Sequence[Any]) -> dict[str, Coded]:
    names = sorted({name for each in attributes for name in each})
    return {name: Coded.of([each.get(name) for each in attributes]) for name in names}
