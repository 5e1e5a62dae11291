"""Credit per channel and period: `attribute_by`.

The credit of every touch (`Model.credit`) goes to the period of its conversion, or to that of the
touch itself, where spend and credit meet. So the sum over periods is the attribution. Credit by
touch date of the latest periods is still to grow: the conversions of their touches are yet to come.
Periods cover all of the log, also where nothing was credited: journeys without conversion tell that
it was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from attribution.arrays import BoolArray, FloatArray, Immutable, IntArray
from attribution.budget.calendar import (
    Period,
    edges,
    place_in,
    require_period,
    require_zone,
    timestamps,
)
from attribution.compare import choose
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.merging import require_same_origin
from attribution.models.base import (
    Model,
    Outcome,
    Partitioned,
    outcome_of,
    require_outcome,
    sum_over,
)
from attribution.results import Attribution
from attribution.segments import sum_by
from attribution.spec import EventSpec

if TYPE_CHECKING:
    import pandas as pd

By = Literal["conversion", "touch"]
WHOLE = "(whole)"  # what belongs to no channel
_NAMES: dict[Outcome, tuple[str, str, str]] = {
    "conversions": ("conversions", "unattributed", "totals"),
    "value": ("values", "unattributed_values", "total_values"),
}
_WHOLES = [name for names in _NAMES.values() for name in names[1:]]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CreditOverTime(Immutable):
    """Credit per channel and period; immutable.

    Attributes
    ----------
    model
        Name of the model with its options.
    by
        Whether credit stands in the period of the conversion or of the touch.
    period, tz
        The calendar: "D", "W", "MS", "QS" or "YS", and its time zone.
    starts
        Shape (n_periods,); when each period begins, microseconds since 1970 UTC, without gaps.
    channels
        The n_channels names, sorted.
    conversions, values
        Shape (n_periods, n_channels); credit; values None where none were given.
    unattributed, unattributed_values
        Shape (n_periods,); of journeys without touches, by conversion date.
    totals, total_values
        Shape (n_periods,); all that came in, by conversion date whatever `by` is.
    complete
        Shape (n_periods,); False where the log begins or ends inside the period, by more than a day
        (a seventh of a day, where periods are days).
    """

    model: str
    by: By
    period: Period
    tz: str
    starts: IntArray
    channels: tuple[str, ...]
    conversions: FloatArray
    values: FloatArray | None
    unattributed: FloatArray
    unattributed_values: FloatArray | None
    totals: FloatArray
    total_values: FloatArray | None
    complete: BoolArray

    def __repr__(self) -> str:
        return (
            f"<CreditOverTime by {self.model}: {len(self.starts):,} periods ({self.period!r}, by "
            f"{self.by} date), {len(self.channels):,} channels, {self.totals.sum():,.10g} "
            "conversions>"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per period and channel.

        Returns
        -------
        pandas.DataFrame
            Index (period, channel): the start of the period in its time zone, and the channel;
            columns conversions and, where given, value.
        """
        import pandas as pd

        index = pd.MultiIndex.from_product(
            [timestamps(self.starts, self.tz), pd.Index(self.channels, dtype="str")],
            names=["period", "channel"],
        )
        columns = {"conversions": self.conversions.ravel()}
        if self.values is not None:
            columns["value"] = self.values.ravel()
        return pd.DataFrame(columns, index=index)

    def wide(self, of: Outcome = "conversions") -> pd.DataFrame:
        """Return one row per period and one column per channel.

        Raises
        ------
        InputError
            If there is no such outcome.
        """
        import pandas as pd

        return pd.DataFrame(
            self.credit(of),
            index=timestamps(self.starts, self.tz),
            columns=pd.Index(self.channels, name="channel", dtype="str"),
        )

    def credit(self, of: Outcome) -> FloatArray:
        """Return conversions or value per period and channel, shape (n_periods, n_channels)."""
        return self._outcome(of, self.conversions, self.values)

    def outcome(self, of: Outcome) -> FloatArray:
        """Return all conversions or value per period by conversion date, shape (n_periods,)."""
        return self._outcome(of, self.totals, self.total_values)

    @staticmethod
    def _outcome(of: Outcome, conversions: FloatArray, values: FloatArray | None) -> FloatArray:
        require_outcome(of)
        if of == "conversions":
            return conversions
        if values is None:
            raise InputError("This credit has no value. Hint: name its column with value=.")
        return values


def attribute_by(
    journeys: Journeys | Iterable[Journeys] | Partitioned,
    model: str | Model = "linear",
    *,
    period: Period = "W",
    by: By = "conversion",
    tz: str = "UTC",
    attribution: Attribution | None = None,
) -> CreditOverTime:
    """Attribute per channel and period, by summing the credit of touches.

    Parameters
    ----------
    journeys
        Journeys, an iterable of disjoint parts, or what an engine has scanned. Rules read them
        once; other models once more, to solve, unless `attribution` is given.
    model
        A model or its name.
    period
        "D", "W" (weeks from Monday on), "MS", "QS" or "YS".
    by
        Whether credit goes to the period of the conversion, or of the touch.
    tz
        Time zone in which periods begin.
    attribution
        The model's result for all journeys.

    Returns
    -------
    CreditOverTime
        Its sum over periods is the attribution.

    Raises
    ------
    InputError
        If the journeys have no times, parts are of different options, an option does not fit, the
        attribution is another model's, or a model that is no rule meets a stream that can be read
        only once.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({
    ...     "user_id": ["ann", "ann", "bob"],
    ...     "timestamp": ["2025-03-07", "2025-03-11", "2025-03-12"],
    ...     "channel": ["email", "search", "search"],
    ...     "converted": [False, True, True],
    ... })
    >>> journeys = Journeys.from_events(events)
    >>> by_touch = attribute_by(journeys, "linear", by="touch")
    >>> by_touch.wide()
    channel                    email  search
    period
    2025-03-03 00:00:00+00:00    0.5     0.0
    2025-03-10 00:00:00+00:00    0.0     1.5
    """
    (chosen,) = choose([model], None).values()
    chosen.require_credit()
    require_period(period)
    if by not in get_args(By):
        raise InputError(f"by={by!r} is not one of {get_args(By)}.")
    require_zone(tz)
    if attribution is not None and attribution.model != chosen.name:
        raise InputError(
            f"The attribution is of {attribution.model}, not of {chosen.name}. Hint: pass the "
            "result of this model."
        )
    if attribution is None and chosen.kind != "rule":
        if hasattr(journeys, "__next__"):
            raise InputError(
                f"{chosen.name} has to read these journeys twice, and the stream can be read only "
                "once. Hint: give attribution=model.attribute(...), or a list of parts."
            )
        attribution = chosen.attribute(journeys)
    sums = sum_over(
        journeys, partial(_sums, model=chosen, attribution=attribution, by=by, period=period, tz=tz)
    )
    return sums.finish(chosen.name, by)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sums:
    """What a part of the journeys adds, aligned by channel and period.

    Attributes
    ----------
    period, tz
        The calendar.
    spec, transforms
        Of the journeys.
    channels
        Those of the journeys.
    first, last
        The first and last moment in the log.
    starts
        Shape (n_periods,), none where the part has no rows.
    columns
        By name: by channel, or WHOLE, shape (n_periods,). What is not there is 0.
    """

    period: Period
    tz: str
    spec: EventSpec | None
    transforms: tuple[str, ...]
    channels: frozenset[str]
    first: int
    last: int
    starts: IntArray
    columns: Mapping[str, Mapping[str, FloatArray]]

    def __add__(self, other: _Sums) -> _Sums:
        require_same_origin([self, other])
        if self.columns.keys() != other.columns.keys():
            raise InputError(
                "One part has values and the other has none. Hint: name the value column for both."
            )
        channels = self.channels | other.channels
        if not len(self.starts) or not len(other.starts):
            return replace(self if len(self.starts) else other, channels=channels)
        first, last = min(self.first, other.first), max(self.last, other.last)
        starts = edges(first, last, self.period, self.tz)[:-1]
        columns: dict[str, dict[str, FloatArray]] = {name: {} for name in self.columns}
        for part in (self, other):
            place = int(place_in(starts, part.starts[:1])[0])
            within = slice(place, place + len(part.starts))
            for name, into in columns.items():
                for channel, column in part.columns[name].items():
                    into.setdefault(channel, np.zeros(len(starts)))[within] += column
        return replace(
            self, channels=channels, first=first, last=last, starts=starts, columns=columns
        )

    def finish(self, model: str, by: By) -> CreditOverTime:
        if not len(self.starts):
            raise InputError("There are no journeys: 0 rows. Hint: check the filter they are from.")
        nothing = np.zeros(len(self.starts))
        channels = tuple(sorted(self.channels))

        def credit(name: str) -> FloatArray:
            by_channel = [self.columns[name].get(channel, nothing) for channel in channels]
            return np.array(by_channel).reshape(len(channels), len(nothing)).T

        has_values = "values" in self.columns
        whole = {name: self.columns[name][WHOLE] for name in _WHOLES if name in self.columns}
        return CreditOverTime(
            model=model,
            by=by,
            period=self.period,
            tz=self.tz,
            starts=self.starts,
            channels=channels,
            conversions=credit("conversions"),
            values=credit("values") if has_values else None,
            unattributed=whole["unattributed"],
            unattributed_values=whole.get("unattributed_values"),
            totals=whole["totals"],
            total_values=whole.get("total_values"),
            complete=self._complete(),
        )

    def _complete(self) -> BoolArray:
        """Tell of each period whether the log, and what is reported of it, cover it."""
        first, last, spec = self.first, self.last, self.spec
        if spec is not None:
            first = max(first, first if spec.report_from is None else spec.report_from)
            last = max(last, last if spec.observed_until is None else spec.observed_until)
            if spec.closed_only and spec.longest_lookback is not None:
                last -= spec.longest_lookback  # later journeys are there only in part
            last = min(last, last if spec.report_until is None else spec.report_until)
        ends = edges(int(self.starts[0]), int(self.starts[-1]), self.period, self.tz)[1:]
        slack = np.minimum(MICROSECONDS_PER_DAY, (ends - self.starts) // 7)
        return np.asarray((first <= self.starts + slack) & (last >= ends - slack))


def _sums(
    part: Journeys,
    model: Model,
    attribution: Attribution | None,
    by: By,
    period: Period,
    tz: str,
) -> _Sums:
    """Return what a part adds."""
    if part.times is None or part.ends is None:
        raise InputError(
            "These journeys have no times, so they fall into no period. Hint: build them with "
            "from_events."
        )
    model.require(part)
    first, last = _range(part.times, part.ends)
    starts = edges(first, last, period, tz)[:-1] if len(part) else np.zeros(0, dtype=np.int64)
    of_row, n = place_in(starts, part.ends), len(starts)
    of_touch = (
        np.repeat(of_row, part.lengths) if by == "conversion" else place_in(starts, part.times)
    )
    key = part.codes * np.int64(n) + of_touch
    bare = part.lengths == 0
    columns: dict[str, dict[str, FloatArray]] = {}
    for of, (name, rest, total) in _NAMES.items():
        if of == "value" and part.values is None:
            continue
        outcome = outcome_of(part, of)
        credit = sum_by(key, model.credit(part, attribution, of), len(part.channels) * n)
        by_channel = credit.reshape(len(part.channels), n)
        columns[name] = dict(zip(part.channels, by_channel, strict=True))
        columns[rest] = {WHOLE: sum_by(of_row[bare], outcome[bare], n)}
        columns[total] = {WHOLE: sum_by(of_row, outcome, n)}
    return _Sums(
        period=period,
        tz=tz,
        spec=part.spec,
        transforms=part.transforms,
        channels=frozenset(part.channels),
        first=first,
        last=last,
        starts=starts,
        columns=columns,
    )


def _range(*moments: IntArray) -> tuple[int, int]:
    """Return the first and the last of moments, 0 where there are none."""
    filled = [each for each in moments if len(each)]
    first = min((int(each.min()) for each in filled), default=0)
    return first, max((int(each.max()) for each in filled), default=0)
