"""Curves of what spend causes: the outcome of all periods against the spend of all lines at once.

    y_t = baseline_t + sum_c f_c(a_ct) + e_t

The baseline has an intercept, a linear trend, the first harmonics of the year and, where periods
are days, a level for each weekday; f_c is the curve of line c at the spend that acts, and is 0 or
more. `attribution.budget.shapes` has the curves and their priors,
`attribution.budget.least_squares` the estimate and its draws.

All that the curves bring in the fitted periods is pulled to no more than what came in, as no
baseline is below 0 on average: one standard deviation of that row is 1 % of what came in, and draws
that bring more are left out. A lift test that found more can go beyond, and so do the draws where
hardly any is left.

Whether this is causal rests on one thing: that spend moved for reasons which did not move the
outcome themselves. Trend and season are allowed for, other demand is not. A lift test mends it:
it joins the least squares as one more row, sum over its periods of coverage f_c(a_ct) against
what the test found, in units of its standard error.

Alone that row would be outvoted. Where spend follows demand, a hundred periods agree on a wrong
answer with a smaller standard error than any test has. So the spend x_ct of a tested line also
joins the baseline, with a coefficient of any sign: it takes up what moves with spend in the same
period, demand and effect alike, and the level of f_c is left to the test. Demand that shows in this
spend is then also allowed for in the other lines.

Sources: Jin, Wang, Sun, Chan and Koehler (2017), Bayesian methods for media mix modeling with
carryover and shape effects; Chan and Perry (2017), Challenges and opportunities in media mix
modeling (confounding).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray, FrozenDict, IntArray
from attribution.budget.calendar import edges, timestamps
from attribution.budget.fit import STATEMENTS, CurveFit, quality_of
from attribution.budget.least_squares import FEW, Estimate, estimate
from attribution.budget.over_time import CreditOverTime
from attribution.budget.panel import (
    PERIOD_DAYS,
    STEADY,
    Data,
    LiftRow,
    Panel,
    curve_of,
    family_of,
    half_lives,
    informed,
    never_varied,
    numbers,
    panel_of,
    require_finite,
    require_options,
    require_periods,
)
from attribution.budget.shapes import Family, FamilyName
from attribution.budget.spend import Spend
from attribution.calibration import Lift
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.errors import InputError, nearest, warn
from attribution.models.base import Outcome
from attribution.models.sampling import generator_of

DAYS_PER_YEAR = 365.25
ONE_LINE = 0.999  # correlation from which two lines are one
HARD_TO_TELL = 0.9
HALF = 0.5


def incremental_curves(
    outcome: CreditOverTime | npt.ArrayLike,
    spend: Spend,
    *,
    family: FamilyName = "exponential",
    of: Outcome = "conversions",
    carry_over: float | Mapping[str, float] | None = None,
    trend: bool = True,
    season: int | None = None,
    lifts: Sequence[Lift] | None = None,
    n_draws: int = 500,
    random_state: int | np.random.Generator | None = None,
) -> CurveFit:
    """Fit what spend causes, all lines at once; see the module for what that rests on.

    Parameters
    ----------
    outcome
        A `CreditOverTime`, whose totals count and whose incomplete periods are left out; or one
        number per period of the spend, in its order. A pandas Series with dates for its index must
        have those of the spend.
    spend
        With periods. Mean spend of all periods is `today` of the result; pass today= to `allocate`
        where spend has changed since.
    family
        Form of the curves: "power" never levels off, "exponential" and "hill" do.
    of
        What the outcome counts.
    carry_over
        Share of an effect that is left after a period, by line or one for all; None estimates it.
    trend
        Whether the baseline may change by the same amount every period.
    season
        Harmonics of the year in the baseline. None: two where 18 months are covered, one from a
        year on, none below; no more than the periods can show.
    lifts
        Experiments, which count conversions; without a period they stand for all periods of the
        spend. The level of a tested line comes from its tests alone.
    n_draws
        Draws of the curves, for intervals and plans.
    random_state
        Seed of the draws. None: seed 0.

    Returns
    -------
    CurveFit
        Of kind "incremental".

    Raises
    ------
    InputError
        If spend, outcome, lifts or an option do not fit; there are fewer periods than parameters;
        the spend of a line never varied, or varied only with trend and season; or two lines always
        moved together.

    Warns
    -----
    AttributionWarning
        If two lines mostly moved together, outcome or spend has periods that the other lacks, or
        spend varied so little that curves may well bring more than came in.

    Examples
    --------
    >>> from attribution.budget import Spend
    >>> import numpy as np, pandas as pd
    >>> weeks = pd.date_range("2024-01-01", periods=60, freq="7D")
    >>> euros = np.random.default_rng(0).uniform(200, 2000, 60)
    >>> table = pd.DataFrame({"week": weeks, "channel": "tv", "spend": euros})
    >>> spend = Spend.from_frame(table, period="week", freq="W")
    >>> sold = 100 + 80 * (1 - 2 ** (-euros / 1000))
    >>> curves = incremental_curves(sold, spend, carry_over=0.0)
    >>> [round(float(x), 2) for x in curves["tv"].value([0, 1000, 2000])]
    [0.0, 40.0, 60.0]
    """
    require_options(of, n_draws)
    form, rng, panel = family_of(family), generator_of(random_state), panel_of(spend, outcome)
    y = _outcome_of(outcome, panel, of)
    harmonics = _harmonics(panel, season)
    tests = tuple(_test(lift, panel) for lift in _lifts(lifts, of))
    tested = sorted({test.line for test in tests})
    plain = _baseline(panel, trend, harmonics)
    baseline = _with_controls(panel, plain, tested)
    v, fixed = half_lives(panel, carry_over)
    n_shapes = 2 * len(v) + int((~fixed).sum())
    what = f"{baseline.shape[1]} of the baseline, {n_shapes} of {len(v)} lines"
    require_periods(panel, baseline.shape[1] + n_shapes, what)
    _require_movement(panel, plain, tested)
    data = Data(y, baseline, panel.relative, panel.rows, form, v, fixed, tests)
    found = estimate(data, int(n_draws), rng)
    _warn_of_excess(found, bool(data.tests))
    return _result(panel, data, found, family, of, harmonics)


def _result(
    panel: Panel, data: Data, found: Estimate, family: FamilyName, of: Outcome, harmonics: int
) -> CurveFit:
    lines, means = panel.spend.lines, panel.today.tolist()
    form: Family = data.family
    quality = quality_of(panel, data.outcome[:, None], found.residuals[:, None], found.lags)
    return CurveFit(
        kind="incremental",
        of=of,
        family=family,
        curves={
            line: curve_of(form, found.beta[i], found.u[i], found.v[i], means[i], of)
            for i, line in enumerate(lines)
        },
        draws={
            line: curve_of(
                form,
                found.beta_draws[:, i],
                found.u_draws[:, i],
                found.v_draws[:, i],
                means[i],
                of,
            )
            for i, line in enumerate(lines)
        },
        today=dict(zip(lines, means, strict=True)),
        observed=panel.observed(),
        period=panel.period,
        quality=quality,
        lines={
            line: FrozenDict({"informed": informed(found.u_draws[:, i], form)})
            for i, line in enumerate(lines)
        },
        statement=_statement(panel, data, harmonics),
    )


def _warn_of_excess(found: Estimate, tested: bool) -> None:
    """Warn if the draws leave little to what would have come anyway."""
    if found.kept < HALF:
        stand = "They stand, as hardly any other is left: intervals reach too high"
        rest = stand if found.kept < FEW else "They are left out"
        asked = "lifts ask for more than there is, or " if tested else ""
        warn(
            f"{100 * (1 - found.kept):.0f} % of the draws of curves bring more than came in, and "
            f"leave nothing to what would have come anyway: {asked}advertising brings nearly all, "
            f"or spend varied too little to tell. {rest}. Hint: vary it on purpose, test, or take "
            "fewer lines."
        )


def _statement(panel: Panel, data: Data, harmonics: int) -> str:
    season = {0: "no season", 1: "1 harmonic of the year"}.get(
        harmonics, f"{harmonics} harmonics of the year"
    )
    tested = f"{len(data.tests):,} lift test{'' if len(data.tests) == 1 else 's'}"
    level = ", and alone set the level of their lines" if data.tests else ""
    days = " and a level for each weekday" if panel.period == "D" else ""
    return (
        f"{STATEMENTS['incremental']} The baseline has {season}{days}; {tested} joined the "
        f"fit{level}."
    )


def _outcome_of(outcome: Any, panel: Panel, of: Outcome) -> FloatArray:
    series = outcome.outcome(of) if isinstance(outcome, CreditOverTime) else outcome
    y = numbers(series)[panel.places]
    require_finite(y)
    if len(y) and not y.any():
        raise InputError(
            f"The outcome is 0 in all {len(y):,} periods: there is nothing to tell effects by. "
            "Hint: is it the right column?"
        )
    return y


def _years(panel: Panel) -> FloatArray:
    """Return the years from the first to the beginning of each period of the outcome."""
    starts = panel.starts[panel.rows]
    return np.asarray((starts - starts[0]) / (MICROSECONDS_PER_DAY * DAYS_PER_YEAR))


def _harmonics(panel: Panel, season: int | None) -> int:
    per_year = DAYS_PER_YEAR / PERIOD_DAYS[panel.period]
    most = max(0, int((per_year - 1.0) // 2))
    if season is None:
        span = (int(np.ptp(panel.rows)) + 2.0) / per_year if len(panel.rows) else 0.0
        return min(most, 2 if span >= 1.5 else int(span >= 1.0))
    if isinstance(season, bool) or not isinstance(season, int) or season < 0:
        raise InputError(f"season={season!r} is not a number of harmonics. Hint: 0, 1, 2 ...")
    if season > most:
        raise InputError(
            f"season={season!r}, but periods {panel.period!r} show at most {most} harmonics of "
            "the year. Hint: fewer, or shorter periods."
        )
    return season


def _baseline(panel: Panel, trend: bool, harmonics: int) -> FloatArray:
    years = _years(panel)
    columns = [np.ones(len(years))]
    columns += [years - years.mean()] if trend and len(years) else []
    for each in range(1, harmonics + 1):
        angle = 2.0 * np.pi * each * years
        columns += [np.cos(angle), np.sin(angle)]
    columns += _weekdays(panel) if panel.period == "D" else []
    return np.stack(columns, axis=1)


def _weekdays(panel: Panel) -> list[FloatArray]:
    """Return a column of 0 and 1 for each weekday but the first, in the time zone of the spend."""
    days = timestamps(panel.starts[panel.rows], panel.spend.tz).day_of_week.to_numpy()
    return [(days == day).astype(np.float64) for day in np.unique(days)[1:]]


def _with_controls(panel: Panel, baseline: FloatArray, tested: list[int]) -> FloatArray:
    """Return the baseline with the spend of tested lines, where it moved apart from the rest."""
    for line in tested:
        spend = panel.relative[panel.rows, line][:, None]
        if np.sqrt((_apart(spend, baseline) ** 2).mean()) >= STEADY:
            baseline = np.hstack([baseline, spend])
    return baseline


def _apart(columns: FloatArray, baseline: FloatArray) -> FloatArray:
    """Return what the baseline does not explain of columns."""
    return np.asarray(columns - baseline @ np.linalg.lstsq(baseline, columns, rcond=None)[0])


def _require_movement(panel: Panel, baseline: FloatArray, tested: list[int]) -> None:
    """Raise `InputError` for lines that the data cannot tell from the baseline or each other."""
    moved = panel.relative[panel.rows]
    left = _apart(moved, baseline)
    size, lines = np.sqrt((left**2).mean(axis=0)), panel.spend.lines
    for i, line in enumerate(lines):
        if size[i] < STEADY and i not in tested:
            still = moved[:, i].std() < STEADY
            weekday = ", weekday" if panel.period == "D" else ""
            why = "" if still else f" but with trend{weekday} and season"
            way_out = "from the baseline. Hint: leave the line out, give a lift of it"
            raise never_varied(line, float(panel.today[i]), way_out, why)
    for i in range(len(lines)):
        for j in range(i):
            if min(size[i], size[j]) >= STEADY and not (i in tested and j in tested):
                together = float((left[:, i] * left[:, j]).mean() / (size[i] * size[j]))
                _judge(lines[j], lines[i], together)


def _judge(one: str, other: str, together: float) -> None:
    both = f"The spend of {one!r} and of {other!r} moved together (correlation {together:.3f}"
    if abs(together) >= ONE_LINE:
        raise InputError(
            f"{both}): nothing tells their effects apart. Hint: make them one line, or give a "
            "lift of each of them."
        )
    if abs(together) >= HARD_TO_TELL:
        warn(
            f"{both}): their effects can hardly be told apart. Hint: expect wide intervals; a "
            "lift of each of them helps."
        )


def _lifts(lifts: Sequence[Lift] | None, of: Outcome) -> Sequence[Lift]:
    if lifts and of == "value":
        raise InputError(
            "of='value', but lifts count conversions. Hint: fit conversions and use .valued(...)."
        )
    for lift in lifts or ():
        if not isinstance(lift, Lift):
            raise InputError(f"lifts holds a {type(lift).__name__}. Hint: give Lift(...).")
    return lifts or ()


def _test(lift: Lift, panel: Panel) -> LiftRow:
    lines, weights = panel.spend.lines, np.full(len(panel.spend.amounts), lift.coverage)
    if lift.channel not in lines:
        raise InputError(
            f"The lift of {lift.channel!r} is of no line of the spend."
            f"{nearest(lift.channel, lines)} Hint: use its names."
        )
    if lift.window is not None:
        starts = panel.starts
        bounds = edges(int(starts[0]), int(starts[-1]), panel.period, panel.spend.tz)
        ends = np.searchsorted(bounds, lift.window)
        if not np.isin(lift.window, bounds).all():
            raise InputError(
                f"The lift of {lift.channel!r} has the period {lift.period!r}, which does not "
                f"begin and end with whole periods {panel.period!r} of the spend. Hint: choose "
                f"two of {_nearby(bounds, ends, panel.spend.tz)}."
            )
        weights[: ends[0]] = weights[ends[1] :] = 0.0
    return LiftRow(lines.index(lift.channel), weights, lift.incremental, lift.standard_error)


def _nearby(bounds: IntArray, ends: IntArray, tz: str) -> str:
    places = sorted({int(p) for end in ends for p in (end - 1, end) if 0 <= p < len(bounds)})
    return ", ".join(str(each) for each in timestamps(bounds[places], tz))
