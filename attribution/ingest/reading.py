"""The columns of an event log, and of a table of conversions, read and checked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from attribution.arrays import Array, BoolArray, Coded, FloatArray, IntArray
from attribution.errors import InputError
from attribution.ingest import columns
from attribution.ingest.checks import RowFilter
from attribution.ingest.cutting import FOREVER, pick
from attribution.ingest.repeats import RepeatedConversions
from attribution.ingest.table import Source, Table
from attribution.spec import EventSpec

MISSING = np.iinfo(np.int64).min  # orders before everything that is there
INTEGERS, FRACTIONS = "integers", "fractions"
REPEATED_HINT = "remove the repeated ones, or on_invalid='drop' keeps the first of each."


class Reader:
    """What the two tables have in common: users, times, conversions, attributes."""

    what = "events"

    def __init__(
        self, frame: Any, spec: EventSpec, source: Source, required: list[str | None]
    ) -> None:
        self.spec, self.source = spec, source
        self.audit: dict[str, float] = {}
        self.frame = frame = columns.readable(frame, self.what)
        names = columns.table_columns(frame)
        shared = [spec.conversion, spec.conversion_type, *spec.attributes, *spec.journey_attributes]
        wanted = [spec.user, spec.time, *(name for name in required if name is not None)]
        wanted += [name for name in shared if name in names]
        self.arrow = columns.as_table(frame, wanted, self.what)
        self.n_rows = len(self.arrow)
        drop = spec.on_invalid == "drop"
        self.filter = RowFilter(self.n_rows, drop, self.audit, source.first_row)
        self.user, absent, self.hashed = columns.user_keys(self.arrow[spec.user], spec.user)
        self.filter.refuse(
            absent,
            "rows_without_user",
            f"no user in column {spec.user!r}",
            "drop them with on_invalid='drop', or give anonymous events an id of their own.",
        )
        self.time, absent, self.aware = columns.moments(
            self.arrow[spec.time], spec.time, self.filter.refuse
        )
        self.filter.refuse(
            absent,
            "rows_without_time",
            f"no time in column {spec.time!r}",
            "drop them with on_invalid='drop'.",
        )
        self._labels: dict[str, Coded | None] = {}
        self.joined = np.zeros(0, dtype=bool)
        if source.identity is not None and self.filter.keep.any():
            source.identity.require_kind(self.hashed)
            self.user, self.joined = source.identity.apply(self.user)

    def has(self, name: str | None) -> bool:
        """Tell whether the table has, and has read, a column."""
        return name is not None and name in self.arrow.column_names

    def require(self, *names: str | None) -> None:
        """Raise `ColumnNotFoundError` unless the table has the columns."""
        columns.require_columns(self.frame, [n for n in names if n is not None], self.what)

    def labels(self, name: str | None) -> Coded | None:
        """Return a column coded by its labels, or None where there is no such column."""
        if name is None or not self.has(name):
            return None
        if name not in self._labels:
            self._labels[name] = columns.label_codes(self.arrow[name])
        return self._labels[name]

    @cached_property
    def types(self) -> Coded | None:
        """The type of conversion of each row, or None where there is no such column."""
        name = self.spec.conversion_type
        return columns.text_codes(self.arrow[name]) if name and self.has(name) else None

    @cached_property
    def count(self) -> FloatArray:
        """How often each row converts, checked."""
        name = self.spec.conversion
        count = columns.counts(self.arrow[name], name)
        bad = ~np.isfinite(count) | (count < 0)
        self.filter.refuse(
            bad,
            "rows_with_invalid_conversion",
            f"a missing, negative or infinite conversion in column {name!r}",
            "use True / False or a count of 0 or more.",
            count,
        )
        return np.where(bad, 0.0, count) if bad.any() else count

    @cached_property
    def value(self) -> FloatArray:
        """The value of each row, checked; 0 where missing."""
        name = self.spec.value
        if name is None:
            return np.broadcast_to(0.0, self.n_rows)
        value = columns.counts(self.arrow[name], name)
        absent = np.isnan(value)
        self.filter.refuse(
            np.isinf(value),
            "rows_with_infinite_value",
            f"an infinite value in column {name!r}",
            "give the value of the conversion in units of currency.",
            value,
        )
        self.filter.refuse(
            (value != 0) & ~absent & (self.count == 0),
            "rows_with_value_but_no_conversion",
            f"a value in column {name!r} but no conversion in {self.spec.conversion!r}",
            "mark the row as a conversion, or set its value to 0.",
            value,
        )
        n_bare = float((absent & (self.count > 0)).sum())
        if n_bare:
            self.audit["conversions_without_value"] = n_bare
        return np.where(np.isfinite(value), value, 0.0)

    def conversions(self) -> BoolArray:
        """Mark the rows that are conversions, after checking type, value and id."""
        self.check_conversions()
        if self.spec.conversion_id is not None:
            self._refuse_repeated(self.spec.conversion_id)
        return np.asarray(self.count > 0)

    def check_conversions(self) -> None:
        """Check type and value of the rows that convert."""
        spec = self.spec
        self.require(spec.conversion_type)
        _ = self.value
        if self.types is not None:
            self.filter.refuse(
                (self.types.codes < 0) & (self.count > 0),
                "conversions_without_type",
                f"a conversion without a type in column {spec.conversion_type!r}",
                "give each conversion a type, or on_invalid='drop'.",
            )
            if spec.conversion_types is not None:
                known = [label in spec.conversion_types for label in self.types.labels]
                shown = np.array([*self.types.labels, None], dtype=object)[self.types.codes]
                self.filter.refuse(
                    ~np.array([*known, True])[self.types.codes] & (self.count > 0),
                    "conversions_of_other_types",
                    f"a type in column {spec.conversion_type!r} that conversion_types lacks",
                    "name it there too, or on_invalid='drop'.",
                    shown,
                )

    def _refuse_repeated(self, name: str) -> None:
        """Refuse conversions whose id an earlier one has (by time, user and value)."""
        ids, rows, by = self._by_id(name)
        repeated = np.zeros(self.n_rows, dtype=bool)
        known = self.source.repeated
        if known is None:
            repeated[rows[1:]] = ids[rows[1:]] == ids[rows[:-1]]
        else:
            for row in rows[known.among(ids[rows])]:
                repeated[row] = not known.stays(int(ids[row]), self._content(row, by))
        self.filter.refuse(
            repeated,
            "repeated_conversion_ids",
            f"a conversion id in column {name!r} that another conversion has",
            REPEATED_HINT,
        )

    def repeated(self, name: str) -> tuple[int, RepeatedConversions]:
        """Count the rows of an id that an earlier one has, and say which row of each id stays."""
        ids, rows, by = self._by_id(name)
        again = np.append(False, ids[rows[1:]] == ids[rows[:-1]])[: len(rows)]
        several = np.isin(ids[rows], ids[rows[again]]) & ~again
        kept = {int(ids[row]): self._content(row, by) for row in rows[several]}
        return int(again.sum()), RepeatedConversions(kept)

    def _by_id(self, name: str) -> tuple[IntArray, IntArray, list[Coded | Array]]:
        """Return ids, the rows that convert sorted by id and what follows it, and that."""
        ids, absent, _ = columns.user_keys(self.arrow[name], name)
        rows = np.flatnonzero((self.count > 0) & ~absent & self.filter.keep)
        spec = self.spec
        names = (*spec.channel, spec.conversion_type, *spec.attributes, *spec.journey_attributes)
        coded = [c for c in (self.labels(name) for name in names) if c is not None]
        by: list[Coded | Array] = [*coded, self.count, self.value, self.user, self.time, ids]
        keys = [column.codes if isinstance(column, Coded) else column for column in by]
        return ids, rows[np.lexsort([column[rows] for column in keys])], by

    @staticmethod
    def _content(row: int, by: list[Coded | Array]) -> tuple[Any, ...]:
        at = np.array([row])
        return tuple(
            column.take(at).to_numpy()[0] if isinstance(column, Coded) else column[row].item()
            for column in by
        )

    def collect(
        self,
        mask: BoolArray,
        attributes: Iterable[str],
        code: IntArray | None,
        **given: Array,
    ) -> Table:
        """Collect the marked rows that no check has dropped; columns not given are 0."""
        mask = mask & self.filter.keep
        every = bool(mask.all())
        source = np.arange(self.n_rows) if every else np.flatnonzero(mask)
        zeros = np.broadcast_to(np.int64(0), len(source))

        def chosen(column: Array) -> Array:
            return column if every else pick(column, source)

        coded = [self.labels(name) for name in attributes]
        matrix = np.full((len(coded), len(source)), -1, dtype=np.int32)
        for row, column in zip(matrix, coded, strict=True):
            if column is not None:
                row[:] = chosen(column.codes)
        optional: dict[str, Array] = {
            name: chosen(given[name]) if name in given else zeros
            for name in ("count", "value", "order", "session", "window")
        }
        return Table(
            user=chosen(self.user),
            time=chosen(self.time),
            code=np.zeros(len(source), dtype=np.int32) if code is None else chosen(code),
            attributes=matrix,
            **optional,
        )


class ConversionReader(Reader):
    """A table of conversions of its own; each row is one unless it has the count column."""

    what = "conversion_events"

    def __init__(self, frame: Any, spec: EventSpec, source: Source) -> None:
        required = [spec.value, spec.conversion_type, spec.conversion_id]
        super().__init__(frame, spec, source, required)
        if not self.has(spec.conversion):
            self.__dict__["count"] = np.ones(self.n_rows)


class EventReader(Reader):
    """The log of touches, and of conversions too unless they have a table of their own."""

    def __init__(self, frame: Any, spec: EventSpec, source: Source, with_conversions: bool) -> None:
        required = [*spec.channel, *spec.attributes, spec.order, spec.session, spec.touch_type]
        required = [name for name in required if name not in spec.journey_attributes]
        if with_conversions:
            required += [spec.conversion, spec.value, spec.conversion_type, spec.conversion_id]
        super().__init__(frame, spec, source, required)
        if not with_conversions:
            self._refuse_second_source()

    def _refuse_second_source(self) -> None:
        """Refuse a log that marks conversions beside a table of conversions."""
        name = self.spec.conversion
        if self.has(name) and (self.count > 0).any():
            raise InputError(
                f"Column {name!r} of events marks {int((self.count > 0).sum()):,} conversions, but "
                "conversion_events is given too. Hint: drop one of them."
            )
        self.__dict__["count"] = np.zeros(self.n_rows)

    def touches(self) -> tuple[BoolArray, Coded]:
        """Mark the rows that are touches; return the channel of every row too."""
        spec = self.spec
        parts = [columns.text_codes(self.arrow[name]) for name in spec.channel]
        channels = parts[0] if len(parts) == 1 else _joined(parts)
        absent = (channels.codes < 0) & (self.count == 0) & self.filter.keep
        if spec.channel_missing == "raise":
            names = ", ".join(map(repr, spec.channel))
            self.filter.refuse(
                absent,
                "touches_without_channel",
                f"neither a channel in column {names} nor a conversion",
                "channel_missing='direct' names them so, channel_missing='drop' counts and drops.",
            )
        elif absent.any():
            self.audit["touches_without_channel"] = float(absent.sum())
        if spec.channel_missing == "direct" and absent.any():
            labels = tuple(sorted({*channels.labels, "direct"}))
            codes = channels.place_in(labels)[channels.codes]
            codes = np.where(absent, np.int32(labels.index("direct")), codes)
            channels = Coded(codes, labels)
        return channels.codes >= 0, channels

    @staticmethod
    def one_window(spec: EventSpec, n_rows: int) -> IntArray:
        """Return the longest lookback for every row, without memory of its own."""
        every = np.full(1, spec.longest_lookback or FOREVER, dtype=np.int64)
        return np.broadcast_to(every, n_rows)

    def window(self, is_touch: BoolArray) -> IntArray:
        """Return the lookback of every row in microseconds."""
        lookback, name = self.spec.lookback, self.spec.touch_type
        if not isinstance(lookback, tuple) or name is None:
            return self.one_window(self.spec, self.n_rows)
        types = columns.text_codes(self.arrow[name])
        known = dict(lookback)
        windows = np.array([known.get(n, -1) for n in types.labels] + [-1], dtype=np.int64)
        window = windows[types.codes]
        shown = np.array([*types.labels, "missing"], dtype=object)
        self.filter.refuse(
            (window < 0) & is_touch,
            "touches_without_lookback",
            f"a type of touch in column {name!r} that lookback= does not name",
            f"lookback names {', '.join(map(repr, known))}; add the others.",
            shown[types.codes],
        )
        return window

    def order_keys(self, name: str | None) -> tuple[IntArray, str | None, tuple[Any, ...] | None]:
        """Return a key per row that orders touches of one instant; missing ones come first.

        Returns
        -------
        keys, kind, labels
            Keys of one kind compare across the parts of a log; where labels is not None they are
            codes into it. The kind is None where no row has a value.
        """
        if name is None:
            return np.broadcast_to(np.int64(0), self.n_rows), None, None
        column = self.arrow[name]
        if column.null_count == len(column):
            return np.broadcast_to(np.int64(MISSING), self.n_rows), None, None
        if pa.types.is_dictionary(column.type) and column.type.ordered:
            column = column.unify_dictionaries()
            found = [c.indices.cast(pa.int64()).fill_null(-1).to_numpy() for c in column.chunks]
            labels = tuple(column.chunk(0).dictionary.to_pylist())
            return np.concatenate(found), f"categories {labels}", labels
        column = columns.plain(column)
        kind = column.type
        if pa.types.is_temporal(kind) and not pa.types.is_time32(kind):
            keys = column.cast(pa.int64()).fill_null(MISSING).to_numpy()
            return keys, str(pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind), None
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            coded = columns.label_codes(column)
            return coded.codes.astype(np.int64), "text", coded.labels
        absent = columns.missing(column)
        values = column.fill_null(0).to_numpy()
        if values.dtype.kind == "f" or (values > np.uint64(2**63 - 1)).any():
            return (
                np.where(absent | (values != values), MISSING, ordered_bits(values)),
                FRACTIONS,
                None,
            )
        return np.where(absent, MISSING, values.astype(np.int64)), INTEGERS, None

    def session_keys(self) -> tuple[IntArray, bool | None]:
        """Return a key of each row's session, not negative; -1 where it has none.

        Returns
        -------
        keys, hashed
            Shape (n_rows,), and whether the ids are text; None where there is none.
        """
        name = self.spec.session
        if name is None:
            return np.broadcast_to(np.int64(0), self.n_rows), None
        keys, absent, hashed = columns.user_keys(self.arrow[name], name)
        kind = None if absent.all() else hashed
        return np.where(absent, -1, keys & np.int64(2**63 - 1)), kind


def ordered_bits(values: Array) -> IntArray:
    """Return integers that are ordered as the numbers are, rounded to float64."""
    bits = (values.astype(np.float64) + 0.0).view(np.int64)
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def _joined(parts: list[Coded]) -> Coded:
    """Join several columns of names by " / "; a missing part reads "(none)" unless all are."""
    size = 1
    key = np.zeros(len(parts[0]), dtype=np.int64)
    for part in parts:
        key = key * (len(part.labels) + 1) + (part.codes + 1)
        size *= len(part.labels) + 1
    if size >= 2**62:
        raise InputError("The channel columns have too many distinct values to combine.")
    seen, inverse = np.unique(key, return_inverse=True)
    first = np.zeros(len(seen), dtype=np.int64)
    first[inverse] = np.arange(len(key))
    names: list[str | None] = []
    for row in first:
        picked = [p.labels[p.codes[row]] if p.codes[row] >= 0 else None for p in parts]
        names.append(" / ".join(n or "(none)" for n in picked) if any(picked) else None)
    coded = Coded.of(names)
    return Coded(coded.codes[inverse], coded.labels)
