"""A plan: what to spend on which line, what it brings, and what holds each line where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attribution.arrays import Coded, FloatArray, FrozenDict, Immutable
from attribution.budget.calendar import NAMES
from attribution.budget.cents import units_within, whole_units
from attribution.budget.limits import SLACK
from attribution.budget.problem import Problem, Wanted
from attribution.errors import InputError
from attribution.models.base import Outcome

if TYPE_CHECKING:
    import pandas as pd

N_BUDGETS = 21
SHOWN = 60  # rows


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Plan(Immutable):
    """The best split of a budget; immutable. Money and outcome are per period.

    Attributes
    ----------
    lines
        The n names.
    spend, outcome, marginal
        Shape (n,); money, what it brings, and what one more unit would bring. Outcome and marginal
        are NaN where the plan is by credit.
    today, outcome_today
        Shape (n,); spend of today and what it brings by the same curves; None where not known.
    budget
        Money that could be spent.
    objective
        What the plan makes as large as it can; "credit" for `allocate_by_credit`.
    of
        What outcome counts.
    shadow_price
        What one more unit of the budget brings, in outcome or profit; 0 where not all is spent.
        With whole steps, the next step's gain by unit of money.
    group_prices
        What one more unit allowed to a group brings on top (asked of a group: costs, below 0), by
        the group's name; 0 for a group that its limits do not hold.
    kind
        What the plan stands on: "descriptive", "calibrated credit" or "incremental" curves of a
        `CurveFit`, curves "as given", or no curves: "in proportion to credit".
    basis
        The same in sentences: what such curves, or such a heuristic, can say.
    period
        What money and outcome are per: "D", "W", "MS", "QS" or "YS"; None where not known.
    held
        Shape (n,); see `bound`.
    observed
        Shape (n, 2); least and most spend per period in the data; None where not known.
    problem
        What `frontier` and `robustness` solve again.
    """

    lines: Sequence[str]
    spend: FloatArray
    outcome: FloatArray
    marginal: FloatArray
    today: FloatArray | None
    outcome_today: FloatArray | None
    budget: float
    objective: Wanted
    of: Outcome
    shadow_price: float
    group_prices: Mapping[str, float]
    kind: str
    basis: str
    period: str | None
    held: Coded
    observed: FloatArray | None
    problem: Problem

    @property
    def unspent(self) -> float:
        """Money of the budget that is left."""
        left = self.budget - float(self.spend.sum())
        return left if left > SLACK * self.budget else 0.0

    @property
    def bound(self) -> tuple[str, ...]:
        """What holds each line.

        "floor" (0 is one) or "ceiling" of its own, "fixed", the name of a group whose limit holds
        it, else "step" where money goes in whole steps, and "" where it has the return of the
        whole.
        """
        return tuple(self.held.to_numpy())

    @cached_property
    def totals(self) -> Mapping[str, float]:
        """Sums over lines.

        spend, unspent, outcome; spend_today and outcome_today where known; profit where it is the
        objective.
        """
        sums = {"spend": float(self.spend.sum()), "unspent": self.unspent}
        sums["outcome"] = float(self.outcome.sum())
        if self.today is not None and self.outcome_today is not None:
            sums["spend_today"] = float(self.today.sum())
            sums["outcome_today"] = float(self.outcome_today.sum())
        if self.objective == "profit":
            sums["profit"] = self.problem.profit(self.spend, self.outcome)
        return FrozenDict(sums)

    @property
    def attrs(self) -> dict[str, Any]:
        """What its tables say of themselves: kind, basis, objective, of and period."""
        names = ("kind", "basis", "objective", "of", "period")
        return {name: getattr(self, name) for name in names}

    def rounded(self, unit: float) -> FloatArray:
        """Return spend in whole units, shape (n,); 0.01 for cents.

        No limit of a line or a group is passed, and no more is spent than by the plan, unless
        floors in whole units need it; never more than the budget. Fixed lines stay as they are. A
        return asked of the whole plan is kept but for what rounding moves.

        Raises
        ------
        InputError
            If the limits leave no room for whole units.
        """
        limits = self.problem.limits
        limits = replace(limits, high=self.problem.ceilings(self.budget))
        spent = self.budget if self.unspent == 0 else float(self.spend.sum())
        free, most = (max(money - limits.spent, 0.0) for money in (spent, self.budget))
        return units_within(self.spend, unit, limits, free, most)

    def to_frame(self, unit: float | None = None) -> pd.DataFrame:
        """Return the plan as a table.

        Parameters
        ----------
        unit
            Round today, spend and change to whole units, 0.01 for cents: spend as in `rounded`,
            so that it adds up to what the plan spends, rounded down. None does not round.

        Returns
        -------
        pandas.DataFrame
            Index line; today, spend, change (spend less today), outcome_today, outcome, marginal,
            held_by, and beyond_data (whether no period of the data has so little or so much) where
            known. `.attrs` hold kind, basis, objective, of and period.

        Raises
        ------
        InputError
            If the limits leave no room for whole units.
        """
        import pandas as pd

        spend = self.spend if unit is None else self.rounded(unit)
        outcome, marginal = figures(self.problem, spend, self.objective)
        columns: dict[str, Any] = {"spend": spend}
        if self.today is not None:
            today = self.today if unit is None else whole_units(self.today, unit)
            columns = {"today": today, "spend": spend, "change": spend - today}
            columns["outcome_today"], _ = figures(self.problem, today, self.objective)
        columns |= {"outcome": outcome, "marginal": marginal, "held_by": self.bound}
        if self.observed is not None:
            least, most = self.observed.T
            columns["beyond_data"] = (spend < least) | (spend > most)
        index = pd.Index(list(self.lines), name="line", dtype="str")
        return self.described(pd.DataFrame(columns, index=index))

    def described(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a table that says in its attrs what it stands on."""
        frame.attrs.update(self.attrs)
        return frame

    def frontier(self, budgets: npt.ArrayLike | None = None) -> pd.DataFrame:
        """Return what other budgets would bring, each split anew under the same limits.

        Parameters
        ----------
        budgets
            Money per period, one or several; 21 from the floors to twice the budget where None.

        Returns
        -------
        pandas.DataFrame
            budget, spend, outcome, profit (where it is the objective) and shadow_price; NaN where
            the return asked of the whole plan cannot be had. Of a plan by credit, budget and spend.
            `.attrs` as in `to_frame`.

        Raises
        ------
        InputError
            If a budget is below the floors, or is not a number.
        """
        import pandas as pd

        floor = self.problem.limits.floor
        if budgets is None:
            budgets = np.linspace(floor, max(2.0 * self.budget, floor), N_BUDGETS)
        try:
            asked = np.atleast_1d(np.asarray(budgets, dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError(f"budgets={budgets!r} are no numbers. Hint: [500, 1000].") from None
        if asked.ndim != 1 or not len(asked):
            raise InputError(f"budgets has shape {asked.shape}. Hint: [500, 1000].")
        bad = ~(np.isfinite(asked) & (asked >= floor * (1 - SLACK)))
        if bad.any():
            raise InputError(
                f"budgets has {asked[bad][0]:,.10g} in row {bad.argmax()}; floors need "
                f"{floor:,.10g}. Hint: ask for that much or more."
            )
        return self.described(pd.DataFrame([self._at(float(budget)) for budget in asked]))

    def _at(self, budget: float) -> dict[str, float]:
        solved = self.problem.solve(budget)
        row = {"spend": float(solved.spend.sum())}
        if self.objective == "credit":
            return {"budget": budget, **row}
        outcome, _ = figures(self.problem, solved.spend, self.objective)
        row["outcome"] = float(outcome.sum())
        if self.objective == "profit":
            row["profit"] = self.problem.profit(solved.spend, outcome)
        row["shadow_price"] = solved.price
        reached = solved.reaches
        return {"budget": budget, **{k: v if reached else np.nan for k, v in row.items()}}

    def __repr__(self) -> str:
        return f"{self._known().to_string(max_rows=SHOWN)}\n{self._summary()}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"{self._known().to_html(max_rows=SHOWN)}<p>{escape(self._summary())}</p>"

    def _known(self) -> pd.DataFrame:
        """Return the table without columns that a plan by credit cannot fill."""
        frame = self.to_frame()
        return frame.dropna(axis=1, how="all") if self.objective == "credit" else frame

    def _summary(self) -> str:
        known = {name: amount for name, amount in self.totals.items() if not np.isnan(amount)}
        totals = ", ".join(f"{name} {amount:,.6g}" for name, amount in known.items())
        price = "" if self.objective == "credit" else f"; shadow price {self.shadow_price:.4g}"
        per = f" per {NAMES[self.period]}" if self.period in NAMES else ""
        return f"budget {self.budget:,.10g}{per}: {totals}{price}\n{self.basis}"


def figures(problem: Problem, spend: FloatArray, wanted: Wanted) -> tuple[FloatArray, FloatArray]:
    """Return outcome and marginal of each line, NaN where the plan is by credit."""
    if wanted == "credit":
        return np.full(len(spend), np.nan), np.full(len(spend), np.nan)
    return problem.curves.value(spend), problem.curves.marginal(spend)
