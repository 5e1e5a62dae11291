"""An event log, and perhaps a table of conversions, become touches and conversions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attribution.arrays import Coded, FloatArray
from attribution.errors import InputError, warn
from attribution.ingest.reading import ConversionReader, EventReader, Reader, Table
from attribution.spec import EventSpec


@dataclass(frozen=True)
class Log:
    """Everything read from the user's tables, and what was counted on the way."""

    touches: Table
    conversions: Table
    channels: tuple[str, ...]
    types: tuple[Any, ...]
    attributes: dict[str, tuple[Any, ...]]
    audit: dict[str, float]


def read_log(events: Any, conversion_events: Any, spec: EventSpec) -> Log:
    """Read and check the columns that the options name.

    Raises
    ------
    ColumnNotFoundError
        If a column does not exist.
    InputError
        If a row does not fit and `spec.on_invalid` is "raise".
    """
    audit: dict[str, float] = {}
    log = EventReader(events, spec, audit, with_conversions=conversion_events is None)
    table: Reader = log
    if conversion_events is not None:
        table = ConversionReader(conversion_events, spec, audit)
        _refuse_different_kinds(log, table)
    is_touch, channels = log.touches()
    window = log.window(is_touch)
    is_conversion = table.conversions()
    types = table.types
    names = dict.fromkeys(spec.attributes + spec.journey_attributes)
    attributes = {name: _joint_labels(name, log, table) for name in names}
    touches = log.collect(
        is_touch,
        attributes,
        code=channels.codes,
        order=log.ranks(spec.order),
        session=log.session_keys(),
        window=window,
    )
    conversions = table.collect(
        is_conversion,
        attributes,
        code=None if types is None else types.codes,
        count=table.count,
        value=table.value,
        window=np.broadcast_to(window[:1], table.n_rows),
    )
    audit["rows_read"] = float(log.n_rows + (0 if table is log else table.n_rows))
    audit["touches_read"] = float(len(touches.user))
    audit["conversions_read"] = _total(conversions.count)
    if spec.value is not None:
        audit["value_read"] = _total(conversions.value)
    if spec.observed_until is not None:
        late = conversions.time > spec.observed_until
        audit["conversions_after_observed_until"] = _total(conversions.count[late])
        audit["value_after_observed_until"] = _total(conversions.value[late])
        conversions = conversions.take(~late)
        late = touches.time > spec.observed_until
        audit["touches_after_observed_until"] = float(late.sum())
        touches = touches.take(~late)
    labels: tuple[Any, ...] = ()
    if types is not None:
        converting = [types.labels[code] for code in np.unique(conversions.code)]
        labels = spec.conversion_types or tuple(converting)
        place = {label: code for code, label in enumerate(labels)}
        lookup = np.array([place.get(label, -1) for label in types.labels], dtype=np.int32)
        conversions = replace(conversions, code=lookup[conversions.code])
    return Log(touches, conversions, channels.labels, labels, attributes, audit)


def _total(column: FloatArray) -> float:
    """Return a sum that does not depend on the order of the rows."""
    return float(np.sort(column).sum())


def _refuse_different_kinds(log: Reader, table: Reader) -> None:
    """Refuse ids or times that cannot be compared between the two tables."""
    if log.hashed != table.hashed:
        kinds = ["text" if reader.hashed else "integers" for reader in (log, table)]
        raise InputError(
            f"User ids are {kinds[0]} in events and {kinds[1]} in conversion_events. "
            "Hint: convert one column to the type of the other."
        )
    if log.aware != table.aware:
        kinds = ["with" if reader.aware else "without" for reader in (log, table)]
        raise InputError(
            f"Times are {kinds[0]} a zone in events and {kinds[1]} one in conversion_events. "
            "Hint: bring both to UTC."
        )


def _joint_labels(name: str, log: Reader, table: Reader) -> tuple[Any, ...]:
    """Return the labels of an attribute over both tables; at least one must have it."""
    readers = [log] if table is log else [log, table]
    found = [c for c in (reader.labels(name) for reader in readers) if c is not None]
    if not found:
        log.require(name)
    elif table.labels(name) is None and name in table.spec.journey_attributes:
        warn(f"conversion_events has no column {name!r}: journeys that convert lack it.")
    return Coded.concat(found).labels
