"""Curves of attributed credit against spend: how credit went with spend, channel by channel.

    credit_ct = f_c(a_ct) + e_ct

No baseline: where nothing acts, no credit arises. Credit is a split of what happened. A channel
that reaches many who would have bought anyway gets much of it, and more the more is spent. So the
curve describes; it does not say what spend causes. Calibrated credit has the level that
experiments found, the shape remains that of credit. For effects see
`attribution.budget.incremental`.

Credit by touch date stands in the period of its spend: there is nothing to carry over, and an
estimate would only take noise for some. By conversion date it comes later, and carry-over is
estimated.

`attribution.budget.shapes` has the curves and their priors, `attribution.budget.least_squares` the
estimate and its draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from attribution.arrays import BoolArray, FloatArray, FrozenDict
from attribution.budget.fit import STATEMENTS, CurveFit, Kind, quality_of
from attribution.budget.least_squares import Estimate, estimate, nothing
from attribution.budget.over_time import CreditOverTime
from attribution.budget.panel import (
    STEADY,
    Data,
    Panel,
    curve_of,
    family_of,
    half_lives,
    informed,
    never_varied,
    panel_of,
    require_finite,
    require_options,
    require_periods,
)
from attribution.budget.shapes import Family, FamilyName
from attribution.budget.spend import Spend
from attribution.errors import InputError, nearest
from attribution.models.base import Outcome
from attribution.models.sampling import generator_of

if TYPE_CHECKING:
    from attribution.results import Attribution

NORMAL_90 = 1.6448536269514722  # standard deviations from the middle to an end of 90 %


def descriptive_curves(
    credit: CreditOverTime,
    spend: Spend,
    *,
    family: FamilyName = "power",
    of: Outcome = "conversions",
    carry_over: float | Mapping[str, float] | None = None,
    calibrated: Attribution | None = None,
    n_draws: int = 500,
    random_state: int | np.random.Generator | None = None,
) -> CurveFit:
    """Fit attributed credit against spend, each channel by itself; see the module for what it says.

    Parameters
    ----------
    credit
        By period; incomplete periods are left out. Channels without spend have no curve.
    spend
        With periods; its lines are channels. One without credit gets a curve of scale 0. Mean spend
        of all periods is `today` of the result; pass today= to `allocate` where spend has changed
        since.
    family
        Form of the curves: "power" never levels off, "exponential" and "hill" do.
    of
        What the credit counts.
    carry_over
        Share of an effect that is left after a period, by line or one for all. None, or a line left
        out: 0 for credit by touch date, which stands where its spend does; estimated otherwise.
    calibrated
        What `calibrate` returned for the same model: its factors scale the credit, and their doubt
        joins the draws.
    n_draws
        Draws of the curves, for intervals and plans.
    random_state
        Seed of the draws. None: seed 0.

    Returns
    -------
    CurveFit
        Of kind "descriptive", or "calibrated credit".

    Raises
    ------
    InputError
        If spend, credit, factors or an option do not fit; there are fewer periods than
        parameters; or the spend of a channel never varied.

    Warns
    -----
    AttributionWarning
        If credit or spend has periods that the other lacks.

    Examples
    --------
    >>> from attribution.budget import CreditOverTime, Spend
    >>> import numpy as np, pandas as pd
    >>> weeks = pd.date_range("2024-01-01", periods=30, freq="7D")
    >>> euros = np.random.default_rng(0).uniform(200, 2000, 30)
    >>> table = pd.DataFrame({"week": weeks, "channel": "tv", "spend": euros})
    >>> spend = Spend.from_frame(table, period="week", freq="W")
    >>> credit = CreditOverTime(
    ...     model="linear", by="touch", period="W", tz="UTC", starts=spend.starts,
    ...     channels=("tv",), conversions=2.0 * np.sqrt(spend.amounts), values=None,
    ...     unattributed=np.zeros(30), unattributed_values=None, totals=np.full(30, 100.0),
    ...     total_values=None, complete=np.ones(30, dtype=bool),
    ... )
    >>> curves = descriptive_curves(credit, spend)
    >>> curves.kind, [round(float(x), 2) for x in curves["tv"].value([0, 100, 400])]
    ('descriptive', [0.0, 20.0, 40.0])
    """
    require_options(of, n_draws)
    if not isinstance(credit, CreditOverTime):
        raise InputError(f"credit is a {type(credit).__name__}. Hint: give attribute_by(...).")
    form, rng, panel = family_of(family), generator_of(random_state), panel_of(spend, credit)
    amounts = _credit_of(credit, panel, of)
    factors = _factors(calibrated, credit.model, panel.spend.lines, int(n_draws), rng)
    v, fixed = half_lives(panel, carry_over, 0.0 if credit.by == "touch" else None)
    require_periods(panel, 3 if not fixed.all() else 2, "of each line")
    fits = [
        _fitted(panel, i, amounts[:, i], form, v, fixed, int(n_draws), rng)
        for i in range(len(panel.spend.lines))
    ]
    return _result(panel, form, amounts, fits, factors, family, of)


class _Factors(NamedTuple):
    """What scales credit: (n_lines,), and draws (n_draws, n_lines)."""

    mean: FloatArray
    draws: FloatArray
    calibrated: bool


def _credit_of(credit: CreditOverTime, panel: Panel, of: Outcome) -> FloatArray:
    """Return the credit of each line, shape (n, n_lines); 0 for lines without any."""
    table = credit.credit(of)
    lines, place = panel.spend.lines, {name: i for i, name in enumerate(credit.channels)}
    if not set(lines) & set(place):
        raise InputError(
            f"No line of the spend, such as {lines[0]!r}, is a channel of the credit, such as "
            f"{credit.channels[0] if credit.channels else None!r}. Hint: use the same names."
        )
    amounts = np.zeros((len(panel.rows), len(lines)))
    for i, line in enumerate(lines):
        if line in place:
            amounts[:, i] = table[panel.places, place[line]]
            require_finite(amounts[:, i])
    return amounts


def _factors(
    calibrated: Attribution | None,
    model: str,
    lines: tuple[str, ...],
    n_draws: int,
    rng: np.random.Generator,
) -> _Factors:
    """Return the factors of the lines; draws are lognormal with the interval's ends as given."""
    ones = np.ones(len(lines))
    if calibrated is None:
        return _Factors(ones, np.ones((n_draws, len(lines))), False)
    columns = calibrated.extra
    if "factor" not in columns:
        raise InputError(
            f"calibrated={calibrated.model!r} has no factors. Hint: give what calibrate() returned."
        )
    if calibrated.model != f"{model}, calibrated":
        raise InputError(
            f"The credit is by {model!r}, the factors are of {calibrated.model!r}: those of one "
            "model do not fit the credit of another. Hint: calibrate what this model gave."
        )
    place = {name: i for i, name in enumerate(calibrated.channels)}
    for line in lines:
        if line not in place:
            raise InputError(
                f"{line!r} has spend, but is no channel of the calibrated credit."
                f"{nearest(line, place)} Hint: use the same names."
            )
    where = [place[line] for line in lines]
    low, high = (np.log(columns[f"factor_{end}"][where]) for end in ("low", "high"))
    errors = rng.standard_normal((n_draws, len(lines))) * (high - low) / (2.0 * NORMAL_90)
    return _Factors(columns["factor"][where], np.exp((low + high) / 2.0 + errors), True)


def _fitted(
    panel: Panel,
    i: int,
    credit: FloatArray,
    form: Family,
    v: FloatArray,
    fixed: BoolArray,
    n_draws: int,
    rng: np.random.Generator,
) -> Estimate:
    """Fit one line."""
    relative = panel.relative[:, [i]]
    if relative[panel.rows].std() < STEADY:
        way_out = "from one amount. Hint: leave the line out"
        raise never_varied(panel.spend.lines[i], float(panel.today[i]), way_out)
    baseline = np.zeros((len(credit), 0))
    data = Data(credit, baseline, relative, panel.rows, form, v[[i]], fixed[[i]])
    return estimate(data, n_draws, rng) if credit.any() else nothing(data, n_draws)


def _result(
    panel: Panel,
    form: Family,
    amounts: FloatArray,
    fits: list[Estimate],
    factors: _Factors,
    family: FamilyName,
    of: Outcome,
) -> CurveFit:
    lines, means = panel.spend.lines, panel.today.tolist()
    kind: Kind = "calibrated credit" if factors.calibrated else "descriptive"
    idle = [line for i, line in enumerate(lines) if not amounts[:, i].any()]
    note = f" No credit at all: {', '.join(map(repr, idle))}." if idle else ""
    residuals = np.stack([fit.residuals for fit in fits], axis=1)
    by_line = zip(lines, fits, means, factors.mean, factors.draws.T, strict=True)
    made = {
        line: (
            curve_of(form, fit.beta[0], fit.u[0], fit.v[0], mean, of, factor),
            curve_of(
                form, fit.beta_draws[:, 0], fit.u_draws[:, 0], fit.v_draws[:, 0], mean, of, drawn
            ),
        )
        for line, fit, mean, factor, drawn in by_line
    }
    return CurveFit(
        kind=kind,
        of=of,
        family=family,
        curves={line: curve for line, (curve, _) in made.items()},
        draws={line: drawn for line, (_, drawn) in made.items()},
        today=dict(zip(lines, means, strict=True)),
        observed=panel.observed(),
        period=panel.period,
        quality=quality_of(panel, amounts, residuals, fits[0].lags),
        lines={
            line: FrozenDict(
                {
                    "informed": 0.0 if line in idle else informed(fits[i].u_draws[:, 0], form),
                    "r2": quality_of(panel, amounts[:, [i]], residuals[:, [i]], 0)["r2"],
                }
            )
            for i, line in enumerate(lines)
        },
        statement=STATEMENTS[kind] + note,
    )
