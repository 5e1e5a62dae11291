"""Spend beside an outcome, period by period, checked and made ready for a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from attribution.arrays import BoolArray, FloatArray, Immutable, IntArray, is_number
from attribution.budget.autocorrelation import steps
from attribution.budget.calendar import Period, from_local, timestamps
from attribution.budget.curves import Curve
from attribution.budget.over_time import CreditOverTime
from attribution.budget.shapes import (
    FAMILIES,
    HALF_LIFE_DAYS,
    HALF_LIFE_SD,
    Family,
    carry_over_of,
    half_life_of,
)
from attribution.budget.spend import Spend
from attribution.errors import InputError, nearest, warn
from attribution.models.base import Outcome, require_outcome

PERIOD_DAYS = {"D": 1.0, "W": 7.0, "MS": 365.25 / 12, "QS": 365.25 / 4, "YS": 365.25}
STEADY = 1e-3  # spend whose standard deviation is a smaller share of its mean never varied


@dataclass(frozen=True, eq=False)
class Panel(Immutable):
    """Spend, and the periods of it that have an outcome.

    Attributes
    ----------
    spend
        With periods.
    rows
        Shape (n,); periods of the spend, increasing.
    places
        Shape (n,); the same periods in the outcome.
    n_left_out
        Periods left out because the outcome covers only a part of them.
    n_unmatched
        Periods of the spend without outcome, and whole periods of the outcome without spend.
    """

    spend: Spend
    rows: IntArray
    places: IntArray
    n_left_out: int
    n_unmatched: int

    @property
    def today(self) -> FloatArray:
        """Mean spend per period, shape (n_lines,)."""
        return np.asarray(self.spend.amounts.mean(axis=0))

    @property
    def relative(self) -> FloatArray:
        """Spend in multiples of the line's mean, shape (n_periods, n_lines)."""
        return np.asarray(self.spend.amounts / self.today)

    @property
    def period(self) -> Period:
        """Length of a period."""
        period: Any = self.spend.period
        return period  # type: ignore[no-any-return]

    @property
    def starts(self) -> IntArray:
        """When the periods of the spend begin, shape (n_periods,); microseconds UTC."""
        return np.asarray(self.spend.starts, dtype=np.int64)

    def observed(self) -> dict[str, tuple[float, float]]:
        """Return the least and largest spend of a period, by line."""
        low, high = self.spend.amounts.min(axis=0), self.spend.amounts.max(axis=0)
        ends = zip(low.tolist(), high.tolist(), strict=True)
        return dict(zip(self.spend.lines, ends, strict=True))


class LiftRow(NamedTuple):
    """A lift: sum over periods of weights times what a line brings, with its error."""

    line: int
    weights: FloatArray
    incremental: float
    standard_error: float


@dataclass(frozen=True)
class Data:
    """What is fitted.

    Attributes
    ----------
    outcome
        Shape (n,).
    baseline
        Shape (n, n_baseline), of full rank; may have no columns.
    spend
        Shape (n_periods, n_lines), in multiples of the line's mean.
    rows
        Shape (n,); the periods of the outcome.
    family
        Form of the curves.
    v
        Shape (n_lines,); prior means of v, or its fixed values.
    fixed
        Shape (n_lines,); True where v is not estimated.
    tests
        Lifts.
    """

    outcome: FloatArray
    baseline: FloatArray
    spend: FloatArray
    rows: IntArray
    family: Family
    v: FloatArray
    fixed: BoolArray
    tests: tuple[LiftRow, ...] = ()

    @property
    def n_lines(self) -> int:
        """Number of lines."""
        return int(self.spend.shape[1])

    @property
    def came_in(self) -> float | None:
        """The sum of the outcome, which a fit with a baseline cannot exceed; None for none."""
        total = float(self.outcome.sum())
        return total if self.baseline.shape[1] and total > 0 else None

    @cached_property
    def apart(self) -> FloatArray:
        """Periods from the row before, inf for the first; shape (n,)."""
        return steps(self.rows)

    @cached_property
    def prior(self) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Mean, standard deviation and whether free, of u and v in a row; shape (2 n_lines,)."""
        u = np.full(self.n_lines, self.family.prior_mean)
        sd = np.repeat([self.family.prior_sd, HALF_LIFE_SD], self.n_lines)
        free = np.concatenate([np.ones(self.n_lines, dtype=bool), ~self.fixed])
        return np.concatenate([u, self.v]), sd, free


def panel_of(spend: Spend, outcome: Any) -> Panel:
    """Match an outcome with spend by period.

    Parameters
    ----------
    spend
        With periods, and money in every line.
    outcome
        A `CreditOverTime`, or any sequence of one number per period of the spend; a pandas Series
        with dates for its index must have those of the spend.

    Raises
    ------
    InputError
        If the spend has no periods or a line without any, or periods do not match.

    Warns
    -----
    AttributionWarning
        If one side has periods that the other lacks.
    """
    if not isinstance(spend, Spend):
        raise InputError(f"spend is a {type(spend).__name__}. Hint: Spend.from_frame(...).")
    if spend.starts is None or spend.period is None:
        raise InputError(
            "The spend has no periods, and a curve needs to see it vary. Hint: "
            "Spend.from_frame(..., period=...)."
        )
    for line, total in zip(spend.lines, spend.amounts.sum(axis=0), strict=True):
        if not total > 0:
            raise InputError(f"{line!r} has no spend in any period. Hint: leave the line out.")
    if not isinstance(outcome, CreditOverTime):
        rows = np.arange(len(spend.starts))
        if np.shape(outcome) != rows.shape:
            raise InputError(
                f"outcome has the shape {np.shape(outcome)}, the spend {len(rows):,} periods. "
                "Hint: give one number per period, in the order of the spend."
            )
        _require_dates(outcome, spend)
        return Panel(spend, rows, rows, 0, 0)
    return _matched(spend, outcome)


def _matched(spend: Spend, outcome: CreditOverTime) -> Panel:
    if (outcome.period, outcome.tz) != (spend.period, spend.tz):
        raise InputError(
            f"Spend is by {spend.period!r} in {spend.tz}, the outcome by {outcome.period!r} in "
            f"{outcome.tz}. Hint: cut both alike."
        )
    _, rows, places = np.intersect1d(
        np.asarray(spend.starts), np.asarray(outcome.starts), return_indices=True
    )
    if not len(rows):
        raise InputError(
            f"Spend has {len(spend.amounts):,} periods, the outcome {len(outcome.starts):,}, and "
            "none in common. Hint: give both for the same time."
        )
    whole = outcome.complete[places]
    n_unmatched = _unmatched(spend, outcome, rows, places)
    return Panel(spend, rows[whole], places[whole], int((~whole).sum()), n_unmatched)


def _unmatched(spend: Spend, outcome: CreditOverTime, rows: IntArray, places: IntArray) -> int:
    """Count, and warn of, periods that one side lacks; the outcome's only if they are whole."""
    unsold = np.delete(np.asarray(spend.starts), rows)
    unpaid = np.delete(outcome.starts, places)[np.delete(outcome.complete, places)]
    found = [
        f"{_some(starts, spend.tz)} of the {one} without {other}"
        for starts, one, other in ((unsold, "spend", "outcome"), (unpaid, "outcome", "spend"))
        if len(starts)
    ]
    if found:
        warn(
            f"Left out of the fit: {'; '.join(found)}. Hint: give both for the same time, with a "
            "row of 0 where nothing was spent."
        )
    return len(unsold) + len(unpaid)


def _some(starts: IntArray, tz: str) -> str:
    dates = [f"{each:%Y-%m-%d}" for each in timestamps(starts[[0, -1]], tz)]
    if len(starts) == 1:
        return f"1 period ({dates[0]})"
    return f"{len(starts):,} periods (from {dates[0]} to {dates[1]})"


def _require_dates(outcome: Any, spend: Spend) -> None:
    """Raise `InputError` if a pandas Series has other dates than the spend."""
    import pandas as pd

    if not (isinstance(outcome, pd.Series) and isinstance(outcome.index, pd.DatetimeIndex)):
        return
    shown = outcome.index.as_unit("us")
    moments = shown.asi8 if shown.tz is not None else from_local(shown.asi8, spend.tz)
    other = moments != np.asarray(spend.starts)
    if other.any():
        first = int(other.argmax())
        begins = timestamps(np.asarray(spend.starts)[[first]], spend.tz)[0]
        raise InputError(
            f"outcome has other dates than the spend in {int(other.sum()):,} of {len(other):,} "
            f"periods, first {outcome.index[first]} for {begins} in row {first}. Hint: give it in "
            "the order of the spend; dates without a time zone are those of its tz."
        )


def numbers(outcome: Any) -> FloatArray:
    """Return an outcome as numbers, or raise `InputError`."""
    try:
        return np.asarray(outcome, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"outcome holds what is no number ({error}). Hint: one number per period."
        ) from error


def family_of(name: str) -> Family:
    """Return a form of curves by its name, or raise `InputError`."""
    if name not in FAMILIES:
        raise InputError(
            f"family={name!r} is not one of {tuple(FAMILIES)}.{nearest(name, FAMILIES)}"
        )
    return FAMILIES[name]


def require_options(of: str, n_draws: object) -> None:
    """Raise `InputError` for options that fit no fit."""
    require_outcome(of)
    if isinstance(n_draws, bool) or not isinstance(n_draws, int | np.integer) or n_draws < 2:
        raise InputError(f"n_draws={n_draws!r} is not a whole number of at least 2. Hint: 500.")


def half_lives(
    panel: Panel, carry_over: float | Mapping[str, float] | None, unless: float | None = None
) -> tuple[FloatArray, BoolArray]:
    """Return v of each line and whether it is fixed; lines without carry_over take `unless`.

    A line that has neither takes the mean of the prior, and is to be estimated.
    """
    lines = panel.spend.lines
    prior = float(np.log(HALF_LIFE_DAYS / PERIOD_DAYS[panel.period]))
    given = carry_over if isinstance(carry_over, Mapping) else dict.fromkeys(lines, carry_over)
    for line, share in given.items():
        if line not in lines:
            raise InputError(f"carry_over: there is no line {line!r}.{nearest(str(line), lines)}")
        if share is not None and not (is_number(share) and 0 <= share < 1):
            raise InputError(
                f"carry_over={share!r} of {line!r} is no share. Hint: a number from 0 to below 1, "
                "what is left of an effect after one period; None estimates it."
            )
    taken = [unless if given.get(line) is None else given[line] for line in lines]
    fixed = np.array([share is not None for share in taken])
    shares = np.array([share or 0.0 for share in taken], dtype=np.float64)
    return np.where(fixed, half_life_of(shares), prior), fixed


def require_periods(panel: Panel, parameters: int, what: str) -> None:
    """Raise `InputError` unless there are more periods than parameters."""
    n, more = len(panel.rows), panel.n_left_out
    left_out = f" ({more:,} more are left out as incomplete)" if more else ""
    if n <= parameters:
        raise InputError(
            f"There are {n:,} periods{left_out} for {parameters:,} parameters ({what}). Hint: at "
            f"least {parameters + 1:,} periods are needed; shorter periods, fewer lines, or a "
            "given carry_over help."
        )


def require_finite(outcome: FloatArray) -> None:
    """Raise `InputError` if the outcome of a period is not finite."""
    if not np.isfinite(outcome).all():
        first = int(np.argmin(np.isfinite(outcome)))
        raise InputError(f"outcome has {outcome[first]} in period {first}. Hint: finite numbers.")


def never_varied(line: str, spend: float, way_out: str, why: str = "") -> InputError:
    """Return the error of a line whose response the data cannot show."""
    return InputError(
        f"The spend of {line!r} never varied{why}: it is {spend:,.10g} per period "
        f"{'on average' if why else 'throughout'}, and what it brings cannot be told {way_out}, "
        "vary its spend on purpose, or use allocate_by_credit."
    )


def curve_of(
    family: Family, beta: Any, u: Any, v: Any, mean: float, of: Outcome, factor: Any = 1.0
) -> Curve:
    """Return a curve, or one object for many, from what was fitted."""
    return family.curve(np.multiply(beta, factor), u, carry_over_of(np.asarray(v)), mean, of)


def informed(draws: FloatArray, family: Family) -> float:
    """Return the share of the prior variance of the shape that is gone in draws of u."""
    return max(0.0, 1.0 - float(np.var(draws)) / family.prior_sd**2)
