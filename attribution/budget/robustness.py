"""How far a plan can be trusted: the same problem solved anew under other curves that fit as well.

Draw d of the curves has a best plan x_d of its own, and x is the plan:

    robust share of a line     quantile (1 - confidence) over draws of min(x_d, x), over x
    robust share of the plan   mean over draws of sum min(x_d, x), over sum x
    gain                       outcome of x less that of today's spend, both under the draw
    regret                     outcome of x_d less that of x, under the draw
    regret of doing nothing    outcome of x_d less that of today's spend

A robust euro is one that nearly every draw would also spend there. Where profit counts, outcome is
the profit. Under a draw that does not reach the returns that were asked for, x_d is the nearest
plan. A plan by credit has no outcome, only amounts.

Gain and regret of doing nothing set the plan's whole budget against what is spent today. Where the
two differ, they hold more or less money as well as a better split of it: for the split alone, plan
with today's total as the budget.

Source: Savage (1951), The theory of statistical decision, for regret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, Immutable
from attribution.budget.curves import Curve
from attribution.budget.equal_returns import Families, Part
from attribution.budget.heuristic import CreditCurve
from attribution.budget.plan import Plan
from attribution.budget.problem import Problem
from attribution.errors import InputError
from attribution.progress import progress

if TYPE_CHECKING:
    import pandas as pd

Draw = Callable[[int], Families]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Robustness(Immutable):
    """A plan against the best plans of many draws; see the module.

    Attributes
    ----------
    plan
        The plan.
    confidence
        Of the ranges, and of robust shares.
    spend
        Shape (n_draws, n); the best plan of each draw.
    outcomes
        Shape (n_draws, 3); what the plan, today's spend (NaN where not known) and the draw's own
        best plan bring under the draw, profit where that counts; None for a plan by credit.
    """

    plan: Plan
    confidence: float
    spend: FloatArray
    outcomes: FloatArray | None

    @property
    def robust(self) -> FloatArray:
        """Share of each line's money that nearly every draw would spend there, shape (n,).

        NaN for a line that the plan gives nothing.
        """
        kept = np.quantile(np.minimum(self.spend, self.plan.spend), 1 - self.confidence, axis=0)
        nothing = np.full(len(kept), np.nan)
        return np.asarray(np.divide(kept, self.plan.spend, out=nothing, where=self.plan.spend > 0))

    @property
    def robust_share(self) -> float:
        """Share of the plan's money that a draw would spend where it is, on average."""
        total = self.plan.spend.sum()
        kept = np.minimum(self.spend, self.plan.spend).sum(axis=1).mean()
        return float(kept / total) if total > 0 else np.nan

    def to_frame(self) -> pd.DataFrame:
        """Return a table; index line, columns spend, spend_low, spend_high and robust.

        `.attrs` are those of the plan's own table.
        """
        import pandas as pd

        low, high = np.quantile(self.spend, _ends(self.confidence), axis=0)
        columns = {"spend": self.plan.spend, "spend_low": low, "spend_high": high}
        index = pd.Index(list(self.plan.lines), name="line", dtype="str")
        frame = pd.DataFrame(columns | {"robust": self.robust}, index=index)
        return self.plan.described(frame)

    def summary(self) -> pd.DataFrame:
        """Return totals; columns mean, low and high.

        Rows are the robust_share and, where there is an outcome, outcome (of the plan),
        outcome_today, gain, regret and regret_of_doing_nothing; see the module. `.attrs` are those
        of the plan's own table.
        """
        import pandas as pd

        planned = self.plan.spend.sum()
        kept = np.minimum(self.spend, self.plan.spend).sum(axis=1)
        rows = {"robust_share": kept / planned if planned > 0 else np.full(len(kept), np.nan)}
        if self.outcomes is not None:
            plan, today, best = self.outcomes.T
            rows |= {"outcome": plan, "outcome_today": today, "gain": plan - today}
            rows |= {"regret": best - plan, "regret_of_doing_nothing": best - today}
        table = {
            name: [row.mean(), *np.quantile(row, _ends(self.confidence))]
            for name, row in rows.items()
        }
        names = ["mean", "low", "high"]
        return self.plan.described(pd.DataFrame.from_dict(table, orient="index", columns=names))

    def __repr__(self) -> str:
        return f"{self.summary().to_string()}\n{self.plan.basis}"


def robustness(
    plan: Plan, draws: Mapping[str, Curve] | Mapping[str, Any] | Any, *, confidence: float = 0.9
) -> Robustness:
    """Solve a plan's problem anew under each draw of the curves.

    Parameters
    ----------
    plan
        From `allocate` or `allocate_by_credit`.
    draws
        A `CurveFit`, or by line a curve with parameters of shape (n_draws,), draw i of all lines
        belonging together. For a plan by credit: credit, shape (n_draws, n), or by line
        (n_draws,). At least 2 draws.
    confidence
        Between 0 and 1.

    Returns
    -------
    Robustness

    Raises
    ------
    InputError
        If lines are missing, or draws do not fit, such as those of a `CurveFit` of another kind
        or period than the plan's.

    Examples
    --------
    >>> from attribution.budget.allocation import allocate
    >>> from attribution.budget.curves import PowerCurve
    >>> plan = allocate({"a": PowerCurve(2.0, 0.5), "b": PowerCurve(2.0, 0.5)}, 100)
    >>> draws = {line: PowerCurve(np.array(s), 0.5) for line, s in (("a", [1, 3]), ("b", [3, 1]))}
    >>> robustness(plan, draws).to_frame().round(2)
          spend  spend_low  spend_high  robust
    line
    a      50.0       14.0        86.0    0.28
    b      50.0       14.0        86.0    0.28
    """
    if not (isinstance(confidence, int | float) and 0 < confidence < 1):
        raise InputError(f"confidence={confidence!r} is not between 0 and 1. Hint: 0.9.")
    problem = plan.problem
    by_credit = plan.objective == "credit"
    n_draws, draw = _credit_draws(plan, draws) if by_credit else _curve_draws(plan, draws)
    guess = 0.0 if by_credit else plan.shadow_price + problem.cost
    spend, outcomes = np.empty((n_draws, len(plan.lines))), np.empty((n_draws, 3))
    for i in progress(range(n_draws), n_draws, "draws of the curves"):
        curves = draw(i)
        spend[i] = problem.solve(plan.budget, curves, guess).spend
        if not by_credit:
            outcomes[i] = _outcomes(problem, curves, plan, spend[i])
    found = None if by_credit else outcomes
    return Robustness(plan=plan, confidence=float(confidence), spend=spend, outcomes=found)


def _outcomes(problem: Problem, curves: Families, plan: Plan, best: FloatArray) -> list[float]:
    plans = (plan.spend, plan.today, best)
    return [np.nan if x is None else problem.profit(x, curves.value(x)) for x in plans]


def _curve_draws(plan: Plan, draws: Any) -> tuple[int, Draw]:
    """Return the number of draws, and what gives the curves of one."""
    by_line = getattr(draws, "draws", draws)
    _require_alike(plan, draws)
    _require_lines(plan, by_line, "a curve with parameters of shape (n_draws,)")
    curves = [by_line[line] for line in plan.lines]
    for line, curve in zip(plan.lines, curves, strict=True):
        if not isinstance(curve, Curve) or curve.of != plan.of:
            what = f"of {curve.of}" if isinstance(curve, Curve) else f"a {type(curve).__name__}"
            raise InputError(f"The draws of {line!r} are {what}. Hint: curves of {plan.of}.")
    sizes = {max(np.size(getattr(each, name)) for name in each.parameters) for each in curves}
    if len(sizes) != 1:
        raise InputError(f"Lines have {sorted(sizes)} draws. Hint: as many of each, joint ones.")
    (n_draws,) = sizes
    if n_draws < 2:
        raise InputError(
            "Every line has one curve, not several draws of it. Hint: a fit, or fit.draws."
        )
    classes = list(dict.fromkeys(type(curve) for curve in curves))
    parts = []
    for each in classes:
        at = np.flatnonzero([type(curve) is each for curve in curves])
        names = curves[at[0]].parameters
        columns = [[getattr(curves[i], name) for i in at.tolist()] for name in names]
        tables = [np.stack([np.broadcast_to(c, n_draws) for c in many], axis=1) for many in columns]
        parts.append(
            (slice(None) if len(classes) == 1 else at, each, dict(zip(names, tables, strict=True)))
        )

    def draw(i: int) -> Families:
        made = (
            Part(at, kind(**{k: v[i] for k, v in rows.items()}, of=plan.of))
            for at, kind, rows in parts
        )
        return Families(len(curves), tuple(made))

    return n_draws, draw


def _credit_draws(plan: Plan, draws: Any) -> tuple[int, Draw]:
    """Return the number of draws, and what gives the credit of one as curves."""
    if isinstance(draws, Mapping):
        _require_lines(plan, draws, "credit of shape (n_draws,)")
        columns = [np.asarray(draws[line], dtype=np.float64) for line in plan.lines]
        if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
            shapes = sorted({column.shape for column in columns})
            raise InputError(f"Lines have credit of shapes {shapes}. Hint: (n_draws,) for all.")
        draws = np.stack(columns, axis=1)
    table = np.asarray(draws, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(plan.lines) or len(table) < 2:
        raise InputError(
            f"draws have shape {table.shape}. Hint: (n_draws, {len(plan.lines)}), 2 draws or more."
        )
    bad = ~(np.isfinite(table) & (table >= 0)).all(axis=1)
    if bad.any():
        raise InputError(
            f"{bad.sum():,} draws have credit that is negative or NaN, first draw {bad.argmax()}. "
            "Hint: credit is 0 or more."
        )
    empty = table.sum(axis=1) == 0
    if empty.any():
        raise InputError(
            f"{empty.sum():,} draws have no credit for any line, first draw {empty.argmax()}. "
            "Hint: leave them out, and check the model."
        )
    return len(table), lambda i: Families.of(CreditCurve(table[i], of=plan.of))


def _require_alike(plan: Plan, draws: Any) -> None:
    """Refuse a fit of another kind or period than the plan's, where both are known."""
    known = {"period": plan.period, "kind": None if plan.kind == "as given" else plan.kind}
    for name, own in known.items():
        other = getattr(draws, name, None)
        if own is not None and other is not None and own != other:
            raise InputError(
                f"The plan has {name}={own!r}, the draws {name}={other!r}. "
                "Hint: the fit that the plan was made from."
            )


def _require_lines(plan: Plan, draws: Any, what: str) -> None:
    if not isinstance(draws, Mapping):
        raise InputError(f"draws is a {type(draws).__name__}. Hint: {{line: {what}}}.")
    lacking = [line for line in plan.lines if line not in draws]
    if lacking:
        raise InputError(
            f"draws lacks {len(lacking):,} of {len(plan.lines):,} lines, first {lacking[0]!r}. "
            f"Hint: {what}, for every line of the plan."
        )


def _ends(confidence: float) -> list[float]:
    return [(1 - confidence) / 2, (1 + confidence) / 2]
