"""An event log, and perhaps a table of conversions, become touches and conversions.

A log may be read in parts: each becomes a `Log` with its `Facts`, and the facts of all parts, added
up, are what must be known before the events of any user can be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attribution.arrays import Array, BoolArray, Coded, FloatArray, IntArray
from attribution.errors import InputError, warn
from attribution.ingest.facts import Facts, Labels
from attribution.ingest.reading import (
    FRACTIONS,
    INTEGERS,
    MISSING,
    REPEATED_HINT,
    ConversionReader,
    EventReader,
    Reader,
    ordered_bits,
)
from attribution.ingest.repeats import RepeatedConversions
from attribution.ingest.table import Source, Table
from attribution.spec import EventSpec


@dataclass(frozen=True)
class Log:
    """Touches and conversions of a table, coded by the labels in its facts."""

    touches: Table
    conversions: Table
    facts: Facts

    def aligned(self, facts: Facts) -> Log:
        """Return the log coded by the labels of a larger one."""
        channels = place(self.facts.channels, facts.channels)
        types = place(self.facts.types, facts.types)
        touches = replace(self.touches, order=self._order(facts))
        attributes = [
            place(labels, facts.attributes[name]) for name, labels in self.facts.attributes.items()
        ]
        return Log(
            recoded(touches, channels, attributes),
            recoded(self.conversions, types, attributes),
            facts,
        )

    def _order(self, facts: Facts) -> IntArray:
        """Return the keys that order touches as in a larger log."""
        keys, own = self.touches.order, self.facts
        if own.order_kind is None and facts.order_labels is not None:
            return np.broadcast_to(np.int64(-1), len(keys))
        lookup = place(own.order_labels, facts.order_labels)
        if lookup is not None:
            return lookup[keys].astype(np.int64)
        if own.order_kind == INTEGERS and facts.order_kind == FRACTIONS:
            return np.where(keys == MISSING, MISSING, ordered_bits(keys))
        return keys


def place(labels: Labels | None, among: Labels | None) -> Array | None:
    """Return the code of each label among others, -1 at the end; None where codes stay."""
    if labels is None or among is None or labels == among:
        return None
    return Coded(np.zeros(0, dtype=np.int32), labels).place_in(among)


def recoded(table: Table, code: Array | None, attributes: Sequence[Array | None]) -> Table:
    """Look up the coded columns of a table; None leaves a column as it is."""
    changes: dict[str, Array] = {}
    if code is not None and len(table.code):
        changes["code"] = code[table.code]
    if any(lookup is not None for lookup in attributes):
        changes["attributes"] = np.stack(
            [
                column if lookup is None else lookup[column]
                for column, lookup in zip(table.attributes, attributes, strict=True)
            ]
        )
    return replace(table, **changes) if changes else table


def read_log(
    events: Any, conversion_events: Any, spec: EventSpec, source: Source | None = None
) -> Log:
    """Read and check the columns that the options name.

    Raises
    ------
    ColumnNotFoundError
        If a column does not exist.
    InputError
        If a row does not fit and `spec.on_invalid` is "raise".
    """
    source = source or Source()
    if conversion_events is None:
        return read_events(events, spec, source)
    logs = [
        read_events(events, spec, source, with_conversions=False),
        read_conversions(conversion_events, spec, replace(source, name="conversion_events")),
    ]
    facts = logs[0].facts + logs[1].facts
    facts.require_attributes()
    logs = [log.aligned(facts) for log in logs]
    return Log(
        Table.concat([log.touches for log in logs]),
        Table.concat([log.conversions for log in logs]),
        facts,
    )


def read_events(frame: Any, spec: EventSpec, source: Source, with_conversions: bool = True) -> Log:
    """Read a log of touches, and of conversions unless those have a table of their own."""
    reader = EventReader(frame, spec, source, with_conversions)
    is_touch, channels = reader.touches()
    window = reader.window(is_touch)
    is_conversion = reader.conversions() if with_conversions else None
    attributes = _labels(spec, reader)
    if with_conversions:
        reader.require(*attributes)
    order, order_kind, order_labels = reader.order_keys(spec.order)
    session, session_hashed = reader.session_keys()
    touches = reader.collect(
        is_touch,
        attributes,
        code=channels.codes,
        order=order,
        session=session,
        window=window,
    )
    if is_conversion is None:
        conversions = _nothing(reader, attributes, window)
    else:
        conversions = _conversions(reader, is_conversion, attributes, window)
    log = _log(spec, reader, touches, conversions, attributes, channels.labels)
    return replace(
        log,
        facts=replace(
            log.facts,
            order_kind=order_kind,
            order_labels=order_labels,
            session_hashed=session_hashed,
        ),
    )


def read_conversions(frame: Any, spec: EventSpec, source: Source) -> Log:
    """Read a table of conversions."""
    reader = ConversionReader(frame, spec, source)
    every = EventReader.one_window(spec, reader.n_rows)
    is_conversion = reader.conversions()
    attributes = _labels(spec, reader)
    for name, labels in attributes.items():
        if labels is None and name in spec.journey_attributes:
            warn(f"conversion_events has no column {name!r}: journeys that convert lack it.")
    conversions = _conversions(reader, is_conversion, attributes, every)
    touches = _nothing(reader, attributes, every)
    return _log(spec, reader, touches, conversions, attributes, ())


def repeated_conversions(
    frame: Any, spec: EventSpec, source: Source, own_table: bool
) -> RepeatedConversions:
    """Say which row stays of every conversion id that several rows of a log in parts have.

    Parameters
    ----------
    frame
        All rows of the log with such ids; others do no harm.
    spec, source
        As for the parts.
    own_table
        Whether it is a table of conversions.

    Raises
    ------
    InputError
        If there is such an id and `spec.on_invalid` is "raise".
    """
    assert spec.conversion_id is not None
    lenient = replace(spec, on_invalid="drop")  # the parts complain of other bad rows
    reader: Reader
    if own_table:
        reader = ConversionReader(frame, lenient, source)
    else:
        reader = EventReader(frame, lenient, source, with_conversions=True)
        is_touch, _ = reader.touches()
        reader.window(is_touch)
    reader.check_conversions()
    n_repeated, kept = reader.repeated(spec.conversion_id)
    if n_repeated and spec.on_invalid == "raise":
        rows = "1 row has" if n_repeated == 1 else f"{n_repeated:,} rows have"
        raise InputError(
            f"{rows} a conversion id in column {spec.conversion_id!r} that another conversion "
            f"has. Hint: {REPEATED_HINT}"
        )
    return kept


def _conversions(
    reader: Reader, mask: Any, attributes: dict[str, Labels | None], window: Array
) -> Table:
    types = reader.types
    return reader.collect(
        mask,
        attributes,
        code=None if types is None else types.codes,
        count=reader.count,
        value=reader.value,
        window=np.broadcast_to(window[:1], reader.n_rows),
    )


def _nothing(reader: Reader, attributes: dict[str, Labels | None], window: Array) -> Table:
    return reader.collect(np.zeros(reader.n_rows, bool), attributes, code=None, window=window)


def _log(
    spec: EventSpec,
    reader: Reader,
    touches: Table,
    conversions: Table,
    attributes: dict[str, Labels | None],
    channels: tuple[str, ...],
) -> Log:
    """Count what was read, leave out what is after the end, and state the facts."""
    audit = reader.audit
    audit["rows_read"] = float(reader.n_rows)
    audit["touches_read"] = float(len(touches.user))
    audit["conversions_read"] = _total(conversions.count)
    if spec.value is not None:
        audit["value_read"] = _total(conversions.value)
    if reader.joined.any():
        audit["rows_of_joined_ids"] = float((reader.joined & reader.filter.keep).sum())
    after, until = reader.source.after, spec.observed_until
    if after is not None:
        late = touches.time <= after, conversions.time <= after
        touches, conversions = _left_out(touches, conversions, late, "late", audit)
    if until is not None:
        late = touches.time > until, conversions.time > until
        why = "after_observed_until"
        touches, conversions = _left_out(touches, conversions, late, why, audit)
    types = None
    if reader.types is not None:
        present = np.unique(conversions.code)
        types = tuple(reader.types.labels[code] for code in present)
        lookup = np.full(len(reader.types.labels) + 1, -1, dtype=np.int32)
        lookup[present] = np.arange(len(present))
        conversions = replace(conversions, code=lookup[conversions.code])
    times = [table.time for table in (touches, conversions) if len(table.time)]
    facts = Facts(
        source=reader.source.name,
        n_touches=len(touches.user),
        n_conversions=len(conversions.user),
        first=min((int(time.min()) for time in times), default=None),
        last=max((int(time.max()) for time in times), default=None),
        channels=channels,
        types=types,
        order_kind=None,
        order_labels=None,
        attributes=attributes,
        hashed=reader.hashed if times else None,
        aware=reader.aware if times else None,
        session_hashed=None,
        audit=audit,
    )
    return Log(touches, conversions, facts)


def _left_out(
    touches: Table,
    conversions: Table,
    out: tuple[BoolArray, BoolArray],
    why: str,
    audit: dict[str, float],
) -> tuple[Table, Table]:
    """Return the other touches and conversions, and count these."""
    audit[f"touches_{why}"] = float(out[0].sum())
    audit[f"conversions_{why}"] = _total(conversions.count[out[1]])
    audit[f"value_{why}"] = _total(conversions.value[out[1]])
    return touches.take(~out[0]), conversions.take(~out[1])


def _labels(spec: EventSpec, reader: Reader) -> dict[str, Labels | None]:
    names = dict.fromkeys(spec.attributes + spec.journey_attributes)
    coded = {name: reader.labels(name) for name in names}
    return {name: None if column is None else column.labels for name, column in coded.items()}


def _total(column: FloatArray) -> float:
    """Return a sum that does not depend on the order of the rows."""
    return float(np.sort(column).sum())
