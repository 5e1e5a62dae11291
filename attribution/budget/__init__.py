"""From credit to budget: spend joined to credit, response curves, and what to spend where.

- `returns`: spend joined to an attribution: what a conversion costs today.
- `attribute_by`: credit per channel and period; `lags`, `payback`: after how long it comes.
- `descriptive_curves`, `incremental_curves`: what more money would bring.
- `allocate`: the best split of a budget within limits; `allocate_by_credit` without curves.
- `robustness`, `break_down`, `what_if`: how sure, down to campaigns, and what else.
"""

from attribution.budget.allocation import allocate, allocate_by_credit
from attribution.budget.breakdown import break_down
from attribution.budget.carry_over import carried_over
from attribution.budget.curves import (
    Curve,
    ExponentialCurve,
    HillCurve,
    HillEnvelope,
    PowerCurve,
)
from attribution.budget.descriptive import descriptive_curves
from attribution.budget.fit import CurveFit
from attribution.budget.incremental import incremental_curves
from attribution.budget.lags import lags, payback
from attribution.budget.over_time import CreditOverTime, attribute_by
from attribution.budget.plan import Plan
from attribution.budget.returns import returns
from attribution.budget.robustness import Robustness, robustness
from attribution.budget.spend import Spend
from attribution.budget.what_if import what_if

__all__ = [
    "CreditOverTime",
    "Curve",
    "CurveFit",
    "ExponentialCurve",
    "HillCurve",
    "HillEnvelope",
    "Plan",
    "PowerCurve",
    "Robustness",
    "Spend",
    "allocate",
    "allocate_by_credit",
    "attribute_by",
    "break_down",
    "carried_over",
    "descriptive_curves",
    "incremental_curves",
    "lags",
    "payback",
    "returns",
    "robustness",
    "what_if",
]
