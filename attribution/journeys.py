"""The data model: one columnar table of journeys, for raw and for aggregated data.

A row stands for
`conversions + nulls` journeys that share one path; a path is a run of `codes` into the sorted
`channels`, cut by `offsets`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attribution.arrays import (
    Array,
    Coded,
    FloatArray,
    Immutable,
    IntArray,
    read_only,
)
from attribution.durations import MICROSECONDS_PER_DAY, Duration, Moment
from attribution.errors import InputError, nearest
from attribution.fields import KINDS, PER_ROW, PER_TOUCH, cast, check_shapes
from attribution.segments import keep_entries, row_index, take_rows
from attribution.spec import ChannelMissing, EventSpec, OnInvalid
from attribution.touchpoints import Journey, Touchpoint

if TYPE_CHECKING:
    import pandas as pd

    from attribution.ingest.identity import Identity
    from attribution.summary import Summary

PART = 250_000


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Journeys(Immutable):
    """Many journeys in columns; immutable.

    Build with `from_events`, `from_paths` or `from_journeys`.

    Attributes
    ----------
    channels
        The n_channels names, sorted.
    codes
        Shape (n_touches,); int32; the channel of each touch, in order within its row.
    offsets
        Shape (n_rows + 1,); the touches of row r are offsets[r] : offsets[r + 1], perhaps none.
    conversions, nulls
        Shape (n_rows,); how many journeys of that path converted and did not.
    values
        Shape (n_rows,); total value of the row's conversions; None where no value was given.
    times
        Shape (n_touches,); microseconds since 1970 UTC.
    given_ages
        Shape (n_touches,); age of each touch at the end of its journey in days, where there are
        no times; see `ages`.
    touch_ids
        Shape (n_touches,); touches with one id are one event that stands in several rows.
        None: every touch is an event of its own.
    ends
        Shape (n_rows,); microseconds: the conversion, or when observation of a null stopped.
    users
        Shape (n_rows,); a stable 64-bit key of the customer: the id itself where it is an
        integer, a hash where it is text.
    conversion_types
        Shape (n_rows,); the type of conversion that the row is a journey towards.
    touch_attributes, journey_attributes
        Further columns, per touch and per row.
    spec
        The options of ingestion, where the journeys come from events.
    transforms
        The transforms applied since, in order.
    audit
        What was read, used, dropped and why; see `attribution.audit`.
    """

    channels: tuple[str, ...]
    codes: IntArray
    offsets: IntArray
    conversions: FloatArray
    nulls: FloatArray
    values: FloatArray | None = None
    times: IntArray | None = None
    given_ages: FloatArray | None = None
    touch_ids: IntArray | None = None
    ends: IntArray | None = None
    users: IntArray | None = None
    conversion_types: Coded | None = None
    touch_attributes: Mapping[str, Coded] = field(default_factory=dict)
    journey_attributes: Mapping[str, Coded] = field(default_factory=dict)
    spec: EventSpec | None = None
    transforms: tuple[str, ...] = ()
    audit: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        for name in KINDS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, cast(getattr(self, name), name))
        super().__post_init__()
        check_shapes(self)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return (
            f"<Journeys: {self.n_journeys:,.15g} journeys in {len(self):,} rows, "
            f"{len(self.codes):,} touches, {len(self.channels):,} channels, "
            f"{self.conversions.sum():,.15g} conversions>"
        )

    def __iter__(self) -> Iterator[Journey]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Journey:
        """Return one row as a `Journey` (its counts are those of the row)."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        first, last = int(self.offsets[row]), int(self.offsets[row + 1])
        touchpoints = [
            Touchpoint(
                self.channels[self.codes[i]],
                None if self.times is None else _datetime(self.times[i]),
                {k: c.take(np.array([i])).to_numpy()[0] for k, c in self.touch_attributes.items()},
            )
            for i in range(first, last)
        ]
        at = np.array([row])
        types = self.conversion_types
        return Journey(
            touchpoints,
            float(self.conversions[row]),
            None if self.values is None else float(self.values[row]),
            None if self.users is None else int(self.users[row]),
            None if self.ends is None else _datetime(self.ends[row]),
            None if types is None else types.take(at).to_numpy()[0],
            {name: c.take(at).to_numpy()[0] for name, c in self.journey_attributes.items()},
            float(self.nulls[row]),
        )

    @property
    def n_journeys(self) -> float:
        """Number of journeys: conversions plus nulls over all rows."""
        return float(self.conversions.sum() + self.nulls.sum())

    @cached_property
    def lengths(self) -> IntArray:
        """Number of touches of each row, shape (n_rows,). Computed once."""
        return read_only(np.diff(self.offsets))

    @property
    def rows(self) -> IntArray:
        """Row of each touch, shape (n_touches,)."""
        return row_index(self.offsets)

    @property
    def has_ages(self) -> bool:
        """Whether the touches have an age."""
        return self.given_ages is not None or (self.times is not None and self.ends is not None)

    @property
    def ages(self) -> FloatArray | None:
        """Age of each touch at the end of its journey in days, shape (n_touches,), or None."""
        if self.given_ages is not None:
            return self.given_ages
        if self.times is None or self.ends is None:
            return None
        return (np.repeat(self.ends, self.lengths) - self.times) / MICROSECONDS_PER_DAY

    @cached_property
    def converting(self) -> Journeys:
        """The rows that have touches and convert; all that a rule needs. Computed once."""
        outcome = (self.conversions > 0) & (self.lengths > 0)
        return self if outcome.all() else self.select(outcome)

    @cached_property
    def distinct(self) -> tuple[IntArray, IntArray]:
        """Row and channel of each pair that occurs, both (n_pairs,), sorted. Computed once."""
        n = max(1, len(self.channels))
        key = self.rows * np.int64(n) + self.codes
        key.sort()
        key = key[np.append(True, key[1:] != key[:-1])] if len(key) else key
        row = key // n
        return row, key - row * n

    def select(self, rows: Array) -> Journeys:
        """Return the chosen rows, by integer index or boolean mask of shape (n_rows,)."""
        touches, offsets = take_rows(self.offsets, rows)
        return self._replace(touches, rows, offsets)

    def parts(self, n_touches: int = PART) -> Iterator[Journeys]:
        """Cut into consecutive rows without copying.

        Parameters
        ----------
        n_touches
            About so many touches each; a longer row stays whole, and so do the rows of a user
            that stand together.

        Yields
        ------
        Journeys
            Parts that `concat` would join to the whole.
        """
        bounds = np.searchsorted(self.offsets, np.arange(n_touches, len(self.codes), n_touches))
        if self.users is not None and len(bounds):
            begins = np.flatnonzero(self.users[1:] != self.users[:-1]) + 1
            bounds = np.append(begins, len(self))[np.searchsorted(begins, bounds)]
        cuts = np.unique([0, *bounds.tolist(), len(self)]).tolist()
        if len(cuts) <= 2:
            yield self
            return
        for first, last in pairwise(cuts):
            touches = slice(int(self.offsets[first]), int(self.offsets[last]))
            offsets = self.offsets[first : last + 1] - self.offsets[first]
            yield self._replace(touches, slice(first, last), offsets)

    def keep_touches(self, keep: Array) -> Journeys:
        """Return the same rows with only the marked touches, mask of shape (n_touches,)."""
        return self._replace(keep, None, keep_entries(self.offsets, keep))

    def _replace(
        self, touches: Array | slice, rows: Array | slice | None, offsets: IntArray
    ) -> Journeys:
        """Index every column by touch and, unless None, by row."""
        changes: dict[str, Any] = {"offsets": read_only(offsets)}
        for names, index in ((PER_TOUCH, touches), (PER_ROW, rows)):
            for name in names:
                column = getattr(self, name)
                if column is not None and index is not None:
                    is_coded = isinstance(column, Coded)
                    changes[name] = column.take(index) if is_coded else read_only(column[index])
        changes["touch_attributes"] = {k: c.take(touches) for k, c in self.touch_attributes.items()}
        if rows is not None:
            items = self.journey_attributes.items()
            changes["journey_attributes"] = {k: c.take(rows) for k, c in items}
        return replace(self, **changes)

    def of_type(self, conversion_type: str) -> Journeys:
        """Return the journeys towards one type of conversion, such as "purchase".

        Raises
        ------
        InputError
            If there are no types, or not this one.
        """
        if self.conversion_types is None:
            raise InputError(
                "These journeys have no conversion types. Hint: name their column with "
                "from_events(..., conversion_type='conversion_type')."
            )
        labels = self.conversion_types.labels
        if conversion_type not in labels:
            known = ", ".join(map(repr, labels))
            raise InputError(
                f"No conversion type {conversion_type!r}; there are {known}."
                f"{nearest(str(conversion_type), map(str, labels))}"
            )
        chosen = self.select(self.conversion_types.codes == labels.index(conversion_type))
        note = f"of_type({conversion_type!r})"
        return replace(chosen, transforms=(*chosen.transforms, note))

    def compress(self, keep: Sequence[str] = ()) -> Journeys:
        """Merge rows with equal paths and add their counts and values.

        Times, ages, ends, ids and whatever else is not kept in the key are dropped. Rows come
        out in the order in which their path first appears.

        Parameters
        ----------
        keep
            What to keep apart: "users", "conversion_types", or names of journey attributes.

        Returns
        -------
        Journeys
            With the same total of conversions, nulls and value.
        """
        from attribution.merging import compress

        return compress(self, keep)

    @classmethod
    def concat(cls, parts: Iterable[Journeys]) -> Journeys:
        """Join journeys one after the other, aligning channels.

        Columns that not every part has are dropped; audits are added up. The parts must come
        from the same options of ingestion and transforms.
        """
        from attribution.merging import concat

        return concat(list(parts))

    @classmethod
    def from_events(
        cls,
        events: Any,
        *,
        user: str = "user_id",
        time: str = "timestamp",
        channel: str | Sequence[str] = "channel",
        conversion: str = "converted",
        value: str | None = None,
        conversion_events: Any = None,
        conversion_type: str | None = None,
        conversion_types: Sequence[str] | None = None,
        conversion_id: str | None = None,
        order: str | None = None,
        session: str | None = None,
        session_gap: Duration | None = None,
        lookback: Duration | Mapping[str, Duration] | None = "90D",
        inactivity: Duration | None = None,
        reuse_touches: bool = False,
        report_from: Moment | None = None,
        report_until: Moment | None = None,
        closed_only: bool = False,
        observed_until: Moment | None = None,
        touch_type: str | None = None,
        attributes: Sequence[str] | str = (),
        journey_attributes: Sequence[str] | str = (),
        channel_missing: ChannelMissing = "raise",
        on_invalid: OnInvalid = "raise",
        identity: Identity | None = None,
    ) -> Journeys:
        """Cut an event log into journeys; `attribution.spec` states the conventions.

        Parameters
        ----------
        events
            A table with one row per event: pandas, polars, pyarrow, a DuckDB relation, or
            anything else with the Arrow PyCapsule interface.
        user, time
            Columns of the customer (text or integer) and of the moment (timestamps of any
            resolution, dates, or ISO text; without a zone read as UTC).
        channel
            Column of the channel, or several that are joined by " / " (source and medium).
        conversion
            Column that marks rows that convert: boolean or a count. Such a row is also a touch
            where it has a channel, else a conversion only.
        value
            Column of the value of the row's conversions; missing counts as 0.
        conversion_events
            A table of conversions of its own, with the user, time and value columns under the
            same names, each row one conversion unless it has the `conversion` column.
        conversion_type
            Column of the type; a conversion cuts only journeys of its own type, so every touch
            stands in one journey per type.
        conversion_types
            The types; by default those that a conversion has. Name them when the log is read in
            parts, so that a part without any purchase still has journeys towards one.
        conversion_id
            Column of ids; a repeated id is an error, or dropped and counted (`on_invalid`).
        order
            Column that orders touches of one instant: numbers, times or ordered categories by
            their order, text alphabetically.
        session, session_gap
            Keep one touch per session, channel and type of touch, before journeys are cut: a
            column of session ids, or the pause after which a new session starts.
        lookback
            Greatest age of a touch that is credited: one window, one per touch type, or None
            for no limit.
        inactivity
            Pause that ends a journey without conversion; by default the (longest) lookback.
        reuse_touches
            Let each conversion look back over touches that earlier conversions have claimed.
        report_from, report_until
            Keep only journeys that end in this window (from inclusive, until exclusive).
        closed_only
            Keep only journeys that began at least one lookback before `observed_until`.
        observed_until
            When the log ends; later events are left out. By default the last event.
        touch_type
            Column of the type of touch, such as click and view, for `lookback` by type.
        attributes, journey_attributes
            Columns to keep for each touch, and for each journey (from its conversion, missing
            where the table of conversions lacks them; for a null journey from its last touch).
        channel_missing
            What a row without conversion and channel is: an error, "direct", or dropped.
        on_invalid
            Bad rows are an error, or dropped and counted in `audit`.
        identity
            Which ids are one person, and which people one account; see `attribution.Identity`.

        Returns
        -------
        Journeys
            The rows of one user and conversion type stand together, in order of time; the order
            of users carries no meaning.

        Raises
        ------
        ColumnNotFoundError
            If a column does not exist.
        InputError
            If a row or an option does not fit.

        Examples
        --------
        >>> import pandas as pd
        >>> events = pd.DataFrame({
        ...     "user_id": ["ann", "ann", "bob"],
        ...     "timestamp": ["2025-03-01", "2025-03-04", "2025-03-02"],
        ...     "channel": ["email", "search", "search"],
        ...     "converted": [False, True, False],
        ... })
        >>> Journeys.from_events(events).to_paths()
                     path  conversions  nulls
        0  email > search          1.0    0.0
        1          search          0.0    1.0
        """
        from attribution.ingest.events import journeys_from_events

        given = {k: v for k, v in locals().items() if k in EventSpec.__dataclass_fields__}
        spec = EventSpec.of(**given)
        return journeys_from_events(events, conversion_events, spec, identity)

    @classmethod
    def from_paths(
        cls,
        frame: Any,
        *,
        path: str = "path",
        conversions: str = "conversions",
        value: str | None = None,
        nulls: str | None = None,
        separator: str = ">",
        empty: Literal["raise", "unattributed"] = "raise",
    ) -> Journeys:
        """Read an aggregated path table, one row per path.

        Parameters
        ----------
        frame
            A table, see `from_events`.
        path
            Column of paths: text cut by `separator`, or lists of names. White space around a
            name is trimmed.
        conversions, nulls
            Columns of the number of journeys that converted, and did not.
        value
            Column of the total value of the conversions of the row; missing counts as 0.
        separator
            What stands between two names.
        empty
            A path without touches is an error, or a row whose conversions are "unattributed".

        Returns
        -------
        Journeys
            One row per row of the table, in its order.

        Raises
        ------
        ColumnNotFoundError
            If a column does not exist.
        InputError
            If a row does not fit.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": ["a > b", "b"], "conversions": [2, 1]})
        >>> Journeys.from_paths(table)
        <Journeys: 3 journeys in 2 rows, 3 touches, 2 channels, 3 conversions>
        """
        from attribution.ingest.paths import journeys_from_paths

        return journeys_from_paths(
            frame,
            path=path,
            conversions=conversions,
            value=value,
            nulls=nulls,
            separator=separator,
            empty=empty,
        )

    @classmethod
    def from_journeys(cls, journeys: Iterable[Journey]) -> Journeys:
        """Collect `Journey` objects.

        Raises
        ------
        InputError
            If a count or value does not fit, or only some journeys or touches have a time.

        Examples
        --------
        >>> Journeys.from_journeys([Journey([Touchpoint("email")], conversions=1)])
        <Journeys: 1 journeys in 1 rows, 1 touches, 1 channels, 1 conversions>
        """
        from attribution.ingest.objects import journeys_from_objects

        return journeys_from_objects(journeys)

    def to_frame(self) -> pd.DataFrame:
        """Return one line per row: path (list of names), counts, value, and what else is known."""
        from attribution.export import journeys_frame

        return journeys_frame(self)

    def to_paths(self, min_count: float | None = None, separator: str = " > ") -> pd.DataFrame:
        """Return the aggregated path table, the most frequent path first.

        Rows without touches have the path ""; read them back with
        from_paths(..., empty="unattributed").

        Parameters
        ----------
        min_count
            Merge the paths of fewer journeys than this into one path "(other)".
        separator
            What to write between two names.

        Raises
        ------
        InputError
            If a channel name contains the separator, or is "(other)" where rare paths merge.
        """
        from attribution.export import paths_frame

        return paths_frame(self, min_count, separator)

    def summary(self) -> Summary:
        """Return the headline figures and the quality of the data."""
        from attribution.summary import summarize

        return summarize(self)


def _datetime(microseconds: np.integer[Any]) -> datetime.datetime:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return epoch + datetime.timedelta(microseconds=int(microseconds))
