"""A plan in money and outcome of all periods: as a table that is saved, and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attribution.budget import CurveFit, Plan, Robustness, Spend
from attribution.budget.calendar import NAMES
from attribution.budget.cents import whole_units

if TYPE_CHECKING:
    import pandas as pd

CENT = 0.01
OUTCOMES = ["outcome_today", "outcome", "marginal"]
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A plan and what it stands on.

    Attributes
    ----------
    plan
        Per period.
    spend
        Of today.
    curves
        Which ones were asked for.
    of
        The outcome.
    n_periods
        Periods that are planned for.
    credit
        By channel.
    fit, sure
        The curves, and how the plan does under their draws; None without curves.
    """

    plan: Plan
    spend: Spend
    curves: str
    of: str
    n_periods: int
    credit: Mapping[str, float]
    fit: CurveFit | None
    sure: Robustness | None

    def to_frame(self) -> pd.DataFrame:
        """Return the plan of all periods, in cents that add up, with what its money is in."""
        frame = self.plan.to_frame()
        for name in ("today", "spend", "outcome_today", "outcome"):
            frame[name] *= self.n_periods
        for name in ("today", "spend"):
            frame[name] = whole_units(frame[name].to_numpy(), CENT)
        frame["change"] = (frame["spend"] - frame["today"]).round(2) + 0.0  # no -0.00
        if self.fit is None:
            frame = frame.drop(columns=OUTCOMES)
        about: dict[str, str | int] = {"curves": self.curves, "periods": self.n_periods}
        if self.spend.currency is not None:
            about["currency"] = self.spend.currency
        if self.spend.period is not None:
            about["period"] = NAMES[self.spend.period]
        return frame.assign(**about)

    def text(self) -> str:
        """Return a readable table with its total, and what it stands on."""
        parts = [self._head(), _table(self.to_frame()), self.plan.basis]
        if self.fit is not None:
            quality, n = self.fit.quality, len(self.spend.amounts)
            fitted = f"fitted to {quality['n_periods']:,.0f} of {self._length(n)}"
            parts[-1] += f"\n{fitted}, r2 {quality['r2']:.2f}"
        if self.curves != "incremental":
            parts += self._left_out()
        if self.sure is not None:
            parts.append(self._sureness(self.sure))
        return "\n\n".join(parts)

    def _head(self) -> str:
        plan, n = self.plan, self.n_periods
        aim = f"for the most {self.of}" if self.fit else f"in proportion to credit ({self.of})"
        each = f" over {self._length(n)}"
        each += f", {plan.budget:,.2f} each" if n > 1 else ""
        unspent = f"{plan.unspent * n:,.2f} unspent"
        return f"budget {self._money(plan.budget * n)}{each}; {unspent}; {aim}"

    def _left_out(self) -> list[str]:
        """Say which channels have credit, but no spend to plan."""
        left = {k: v for k, v in self.credit.items() if v > 0 and k not in self.plan.lines}
        largest = sorted(left, key=lambda name: -left[name])
        total = sum(self.credit.values())
        named = ", ".join(f"{name} ({left[name]:,.1f} of {total:,.1f})" for name in largest[:SHOWN])
        rest = f" and {len(largest) - SHOWN:,} more" if len(largest) > SHOWN else ""
        return [f"credit without spend, not planned: {named}{rest}"] if left else []

    def _sureness(self, sure: Robustness) -> str:
        """Say whether the plan is likely to be better than today."""
        plan, n = self.plan, self.n_periods
        if plan.today is not None and np.abs(plan.spend - plan.today).max() * n < CENT:
            return "The plan is what is spent today."
        rows = sure.summary().to_dict("index")
        mean, low, high = (rows["gain"][end] * n for end in ("mean", "low", "high"))
        best = (plan.totals["outcome"] - plan.totals["outcome_today"]) * n
        more = (plan.totals["spend"] - plan.totals["spend_today"]) * n
        money = (
            ""
            if abs(more) < CENT
            else f", with {abs(more):,.2f} {'more' if more > 0 else 'less'} money"
        )
        lines = [
            f"gain over today in {self.of} of {self._length(n)}{money}, by draws of these curves: "
            f"{mean:,.1f} on average, 90 % interval {low:,.1f} to {high:,.1f}",
            f"the table is of the best estimate, and its gain of {best:,.1f} flatters the plan: it "
            "is biased upwards, as the plan is the best one for just that estimate",
        ]
        if not all(held and held != "step" for held in plan.bound):
            share = rows["robust_share"]["mean"]
            lines.append(f"{share:.0%} of the money would be spent alike under the draws")
        if high < 0:
            lines.append("It brings less than today.")
        elif low <= 0 and more <= -CENT:
            lines.append("It may bring less than today.")
        elif low <= 0:
            lines.append(
                "It may be no better than today: these data do not tell the channels apart well "
                "enough. Hint: vary spend on purpose, test channels, move in small steps "
                "(--max-change)."
            )
        return "\n".join(lines)

    def _length(self, n: int) -> str:
        """Return a number of periods with its unit."""
        unit = "period" if self.spend.period is None else NAMES[self.spend.period]
        return f"{n:,} {unit}{'' if n == 1 else 's'}"

    def _money(self, amount: float) -> str:
        return f"{amount:,.2f} {self.spend.currency or ''}".strip()


def _table(frame: pd.DataFrame) -> str:
    """Return the rows and their total as text."""
    import pandas as pd

    shown = frame.drop(columns=["curves", "periods", "currency", "period"], errors="ignore")
    sums = [name for name in ("today", "spend", "change", *OUTCOMES[:2]) if name in shown]
    total = pd.DataFrame([frame[sums].sum().round(2) + 0.0], index=["total"])
    if "marginal" in shown:
        shown["marginal"] *= 1000
    if "beyond_data" in shown:
        shown["beyond_data"] = shown["beyond_data"].map({True: "yes", False: ""})
    shown = pd.concat([shown, total]).rename(columns={"marginal": "per 1,000 more"})
    names = [name for name in ("held_by", "beyond_data") if name in shown]
    shown[names] = shown[names].fillna("")
    return shown.to_string(float_format="{:,.2f}".format, na_rep="")
