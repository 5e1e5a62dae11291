"""`Spend`: what was spent, per channel or campaign and, where known, per period."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from attribution.arrays import BoolArray, Coded, FloatArray, Immutable, IntArray
from attribution.budget.calendar import (
    NAMES,
    Period,
    calendar_of,
    edges,
    from_local,
    place_in,
    require_period,
    require_zone,
    timestamps,
)
from attribution.budget.touches import (
    JOINT,
    first_of_events,
    joined,
    require_money,
    touch_attribute,
    touch_costs,
)
from attribution.errors import ColumnNotFoundError, InputError, nearest, require_rows
from attribution.ingest.columns import (
    as_table,
    counts,
    moments,
    readable,
    table_columns,
    text_codes,
)
from attribution.journeys import Journeys
from attribution.models.base import require_journeys
from attribution.segments import group, sum_by

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Spend(Immutable):
    """Money spent per line and period; immutable.

    Attributes
    ----------
    lines
        The n_lines names, sorted: channels, or "channel / campaign".
    channels
        The channel of each line; the lines themselves where left out.
    amounts
        Shape (n_periods, n_lines); 0 or more.
    starts
        Shape (n_periods,); when each period begins, microseconds since 1970 UTC, without gaps;
        None where spend is not by period, and then n_periods is 1.
    period
        "D", "W", "MS", "QS" or "YS"; None likewise.
    tz
        Time zone of the calendar.
    currency
        Code of the currency, where given.
    """

    lines: tuple[str, ...]
    amounts: FloatArray
    starts: IntArray | None = None
    period: Period | None = None
    tz: str = "UTC"
    currency: str | None = None
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels or self.lines))
        if len(self.channels) != len(self.lines) or np.shape(self.amounts)[1:] != (
            len(self.lines),
        ):
            raise InputError(
                f"{len(self.lines)} lines, {len(self.channels)} channels and amounts of shape "
                f"{np.shape(self.amounts)} do not fit together."
            )
        super().__post_init__()

    def __repr__(self) -> str:
        money = f"{self.total:,.10g} {self.currency or ''}".strip()
        when = "" if self.period is None else f", {len(self.amounts):,} {NAMES[self.period]}s"
        return f"<Spend: {money}, {len(self.lines):,} lines{when}>"

    @property
    def totals(self) -> FloatArray:
        """Money per line over all periods, shape (n_lines,)."""
        return np.asarray(self.amounts.sum(axis=0))

    @property
    def total(self) -> float:
        """All money."""
        return float(self.amounts.sum())

    @property
    def today(self) -> dict[str, float]:
        """Mean money per period of each line, over all periods; see `latest`."""
        return self.latest(len(self.amounts))

    def latest(self, n_periods: int) -> dict[str, float]:
        """Return the mean money per period of each line over the last periods.

        Raises
        ------
        InputError
            If there are not so many.
        """
        if not 1 <= n_periods <= len(self.amounts):
            raise InputError(f"n_periods={n_periods!r} is not from 1 to {len(self.amounts)}.")
        means = self.amounts[-n_periods:].mean(axis=0).tolist()
        return dict(zip(self.lines, means, strict=True))

    def by_channel(self, known: Collection[str] = ()) -> Self:
        """Return the spend of channels, campaigns added up; a line among `known` stays as it is."""
        pairs = zip(self.lines, self.channels, strict=True)
        of = np.array([line if line in known else channel for line, channel in pairs])
        names = tuple(sorted(set(of.tolist())))
        sums = [self.amounts[:, of == name].sum(axis=1) for name in names]
        amounts = np.array(sums).reshape(len(names), len(self.amounts)).T
        return replace(self, lines=names, channels=names, amounts=amounts)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per period and line: period (where known), line and spend."""
        import pandas as pd

        n_periods, n_lines = self.amounts.shape
        columns: dict[str, Any] = {}
        if self.starts is not None:
            columns["period"] = timestamps(np.repeat(self.starts, n_lines), self.tz)
        columns["line"] = pd.array(self.lines * n_periods, dtype="str")
        return pd.DataFrame({**columns, "spend": self.amounts.ravel()})

    @classmethod
    def from_frame(
        cls,
        table: Any,
        *,
        channel: str = "channel",
        spend: str = "spend",
        period: str | None = None,
        campaign: str | None = None,
        freq: Period | None = None,
        currency: str | None = None,
        tz: str = "UTC",
        missing: Literal["raise", "zero"] = "raise",
    ) -> Self:
        """Read a table of spend; rows of the same line and period add up.

        Before its first row a line has spent nothing: it was launched then.

        Parameters
        ----------
        table
            pandas, polars, pyarrow, a DuckDB relation, or anything with the Arrow interface.
        channel, spend
            Columns of the channel and of the money.
        period
            Column of the start of the period (dates, timestamps or ISO text; without a zone in
            `tz`). None: the table is about one stretch of time.
        campaign
            Column of the campaign; lines are then "channel / campaign".
        freq
            "D", "W", "MS", "QS" or "YS"; the longest that all starts fit where None.
        currency
            A code such as "EUR", or the column that holds it.
        tz
            Time zone of the periods.
        missing
            A period without a row after the first of a line is an error, or "zero".

        Raises
        ------
        ColumnNotFoundError
            If a column does not exist.
        InputError
            If the table is empty, an amount is missing or negative, currencies are mixed, a
            moment starts no period, a period is missing, or it cannot be told what periods these
            are.

        Examples
        --------
        >>> from attribution.datasets import load_spend
        >>> Spend.from_frame(load_spend(), period="week", currency="EUR")
        <Spend: 21,776.96 EUR, 8 lines, 61 weeks>
        """
        if missing not in ("raise", "zero"):
            raise InputError(f"missing={missing!r} is not one of ('raise', 'zero').")
        require_zone(tz)
        frame = readable(table, "spend")
        coded = currency is not None and _is_column(currency, table_columns(frame))
        asked = [channel, spend, period, campaign, currency if coded else None]
        columns = as_table(frame, [name for name in asked if name is not None], "spend")
        lines, of = _lines(columns, [name for name in (channel, campaign) if name is not None])
        amounts = counts(columns[spend], spend)
        require_money(amounts, f"column {spend!r}", "row")
        code = _one_currency(text_codes(columns[currency])) if coded else currency
        if period is None:
            if freq is not None:
                raise InputError(f"freq={freq!r} is of a period column. Hint: period=.")
            sums = sum_by(lines.codes, amounts, len(lines.labels))[None]
            return cls(lines=lines.labels, channels=of, amounts=sums, currency=code, tz=tz)
        times = _times(columns[period], period, tz)
        found, starts = calendar_of(times, period, freq, tz)
        shape = (len(starts), len(lines.labels))
        key = place_in(starts, times) * shape[1] + lines.codes
        if missing == "raise":
            there = np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape) > 0
            _require_all(there, lines.labels, timestamps(starts, tz), NAMES[found])
        sums = sum_by(key, amounts, shape[0] * shape[1]).reshape(shape)
        return cls(
            lines=lines.labels,
            channels=of,
            amounts=sums,
            starts=starts,
            period=found,
            tz=tz,
            currency=code,
        )

    @classmethod
    def from_journeys(
        cls,
        journeys: Journeys,
        *,
        cost: str = "cost",
        campaign: str | None = None,
        period: Period | None = None,
        tz: str = "UTC",
        currency: str | None = None,
    ) -> Self:
        """Add up the cost of single touches, where the log has it.

        An event counts once, however many journeys it stands in. Touches that ingestion left out,
        such as those of journeys outside the reporting window, cost nothing here.

        Parameters
        ----------
        journeys
            From from_events(..., attributes=["cost"]); rows of one journey each.
        cost, campaign
            Touch attributes.
        period
            Cut by touch date into "D", "W", "MS", "QS" or "YS"; None for one stretch of time.
        tz, currency
            As in `from_frame`.

        Raises
        ------
        InputError
            If the journeys lack touches, cost or times, or a cost is negative or missing.
        """
        require_zone(tz)
        once = first_of_events(require_journeys(journeys))
        if not len(once):
            raise InputError("These journeys have no touches, so nothing was paid for one.")
        paid = touch_costs(journeys, cost)[once]
        parts = [Coded(journeys.codes[once], journeys.channels)]
        if campaign is not None:
            parts.append(touch_attribute(journeys, campaign).take(once))
        names, of = _named(parts)
        n = len(names.labels)
        if period is None:
            sums = sum_by(names.codes, paid, n)[None]
            return cls(lines=names.labels, channels=of, amounts=sums, tz=tz, currency=currency)
        require_period(period)
        if journeys.times is None:
            raise InputError("These journeys have no times. Hint: build them with from_events.")
        times = journeys.times[once]
        starts = edges(int(times.min()), int(times.max()), period, tz)[:-1]
        key = place_in(starts, times) * n + names.codes
        sums = sum_by(key, paid, len(starts) * n).reshape(len(starts), n)
        return cls(
            lines=names.labels,
            channels=of,
            amounts=sums,
            starts=starts,
            period=period,
            tz=tz,
            currency=currency,
        )


def _is_column(currency: str, columns: Sequence[str]) -> bool:
    """Tell whether this names a column, or else is a code."""
    if currency in columns:
        return True
    if not (len(currency) == 3 and currency.isalpha() and currency.isupper()):
        raise ColumnNotFoundError(
            f"currency={currency!r} is neither a column nor a code such as 'EUR'."
            f"{nearest(currency, map(str, columns))}"
        )
    return False


def _named(parts: Sequence[Coded]) -> tuple[Coded, tuple[str, ...]]:
    """Return lines of channel and, perhaps, campaign, and the channel of each line.

    A channel without campaigns keeps its labels, used or not.
    """
    if len(parts) == 1:
        return parts[0], tuple(map(str, parts[0].labels))
    lines = joined(parts)
    first, _ = group([lines.codes, *(part.codes for part in parts)])
    of_pair = lines.codes[first]
    if len(of_pair) > len(lines.labels):
        twice = lines.labels[of_pair[np.flatnonzero(of_pair[1:] == of_pair[:-1])[0]]]
        raise InputError(
            f"Two lines would be named {twice!r}. Hint: rename a channel or campaign that holds "
            f"{JOINT!r}."
        )
    channels = np.array([*parts[0].labels, "(none)"], dtype=object)[parts[0].codes[first]]
    return lines, tuple(map(str, channels))


def _lines(columns: Any, names: Sequence[str]) -> tuple[Coded, tuple[str, ...]]:
    parts = [text_codes(columns[name]) for name in names]
    for name, part in zip(names, parts, strict=True):
        require_rows(part.codes < 0, f"no name in column {name!r}", "name all that was paid for.")
    return _named(parts)


def _one_currency(codes: Coded) -> str:
    counts = np.bincount(codes.codes + 1, minlength=len(codes.labels) + 1)
    if counts[0] or len(codes.labels) != 1:
        named = [f"{code} in {n:,}" for code, n in zip(codes.labels, counts[1:], strict=True)]
        named += [f"none in {counts[0]:,}"] if counts[0] else []
        first = int(np.argmax(codes.codes != codes.codes[0]))
        raise InputError(
            f"Spend is in mixed currencies: {', '.join(named)} rows, the first other one in row "
            f"{first}. Hint: convert to one currency first."
        )
    return str(codes.labels[0])


def _times(column: Any, name: str, tz: str) -> IntArray:
    """Read the starts of periods, naive ones in the time zone."""

    def refuse(bad: Any, _: str, what: str, hint: str, values: Any = None) -> None:
        require_rows(bad, what, hint, values)

    times, absent, aware = moments(column, name, refuse)
    require_rows(absent, f"no moment in column {name!r}", "give the start of each period.")
    return times if aware else from_local(times, tz)


def _require_all(
    there: BoolArray, lines: Sequence[str], starts: pd.DatetimeIndex, what: str
) -> None:
    """Refuse a period without a row after the first row of a line."""
    gaps = np.maximum.accumulate(there, axis=0) & ~there
    if not gaps.any():
        return
    worst = int(gaps.sum(axis=0).argmax())
    number, n_lines = int(gaps[:, worst].sum()), int(gaps.any(axis=0).sum())
    raise InputError(
        f"{lines[worst]!r} has no row for {number:,} {what}{'s' if number > 1 else ''} after its "
        f"first one, the first from {starts[gaps[:, worst]][0]:%Y-%m-%d}; {n_lines:,} of "
        f"{len(lines):,} lines have gaps. Hint: give a row with 0 where nothing was spent, "
        f"missing='zero', or freq= where these are no {what}s."
    )
