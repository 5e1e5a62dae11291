"""What is said of a plan that leaves money, or that its curves or its lines do not bear out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attribution.arrays import BoolArray, FloatArray
from attribution.budget.calendar import NAMES
from attribution.budget.curves import HillEnvelope
from attribution.budget.limits import SLACK
from attribution.budget.plan import Plan
from attribution.errors import warn

SHOWN = 5
FLAT = 1e-250  # what a unit of money brings where a curve has levelled off to the last bit
FAR = 3.0  # times the most that was ever spent in a period


def warn_of_rest(plan: Plan) -> None:
    """Warn of money that is left, and say what holds it.

    Where profit counts, money that would not pay is left without a word.
    """
    step = plan.problem.limits.step or 0.0
    if plan.unspent == 0 or plan.unspent < step * (1 - SLACK):
        return
    reasons, ways = _reasons(plan)
    if reasons:
        warn(
            f"{plan.unspent:,.10g} of the budget of {plan.budget:,.10g} is not spent: "
            f"{'; '.join(reasons)}. Hint: {', or '.join(['keep it', *ways])}."
        )


def _reasons(plan: Plan) -> tuple[list[str], list[str]]:
    """Return why money is left, and what would let it be spent."""
    problem, limits = plan.problem, plan.problem.limits
    high = problem.ceilings(plan.budget)
    own, full = limits.full(plan.spend, limits.high), limits.full(plan.spend, high)
    pays, free = _pays(plan), limits.free
    asked, held, short = free & pays & ~full, free & pays & own, free & pays & full & ~own
    reasons, ways = [], []
    if problem.roas is not None and asked.any():
        reasons.append(f"min_roas={problem.roas:g} holds the plan")
    if held.any():
        reasons.append(f"ceilings hold {_named(plan, held)}, which would bring more")
        ways.append("raise bounds, groups or max_change")
    if short.any():
        reasons.append(f"min_roas holds {_named(plan, short)}")
    if short.any() or (problem.roas is not None and asked.any()):
        ways.append("lower min_roas")
    if plan.objective != "profit" and not asked.any():
        flat = free & ~pays
        what = "has credit" if plan.objective == "credit" else "brings more, by its curve"
        if flat.any():
            reasons.append(f"no {'other ' if reasons else ''}line that is free {what}")
        if not free.any():
            reasons.append("every line is fixed")
    return reasons, ways


def _pays(plan: Plan) -> BoolArray:
    """Tell for which lines the next unit of money, or step, brings more than it costs."""
    problem, step = plan.problem, plan.problem.limits.step
    if step is None or plan.objective == "credit":
        more = problem.curves.marginal(plan.spend)
    else:
        more = (problem.curves.value(plan.spend + step) - plan.outcome) / step
    weight = problem.weight
    gain = np.multiply(weight, more, out=np.zeros(len(more)), where=weight > 0) - problem.cost
    return np.asarray(gain > max(SLACK * problem.cost, FLAT))


def warn_of_turns(plan: Plan) -> None:
    """Warn of lines inside the straight part of a `HillEnvelope`."""
    inside: list[tuple[int, float]] = []
    for part in plan.problem.curves.parts:
        if isinstance(part.curve, HillEnvelope):
            places = np.arange(len(plan.lines))[part.at]
            ends = np.broadcast_to(part.curve.tangent, len(places))
            spend = plan.spend[part.at]
            short = (spend > 0) & (spend < ends * (1 - SLACK)) & plan.problem.limits.free[part.at]
            inside += zip(places[short].tolist(), ends[short].tolist(), strict=True)
    if inside:
        named = ", ".join(
            f"{plan.lines[at]!r} spends {plan.spend[at]:,.10g} of {end:,.10g}"
            for at, end in sorted(inside)[:SHOWN]
        )
        at, end = min(inside)
        warn(
            f"{len(inside):,} lines end below the point from which their curve holds: {named}. "
            "Their own S-shaped curve brings less there. Hint: 0, or at least "
            f"{end:,.10g} for {plan.lines[at]!r}, with bounds or step."
        )


def warn_of_scale(plan: Plan) -> None:
    """Warn of a budget far beyond what any periods of the data have spent."""
    if plan.observed is None:
        return
    most = float(plan.observed[:, 1].sum())
    if plan.budget > FAR * most:
        unit = NAMES.get(plan.period or "", "period")
        warn(
            f"budget={plan.budget:,.10g} is more than {FAR:g} times {most:,.10g}, the largest "
            f"spend of a {unit} in the data, summed over lines: curves are not known there. "
            f"Hint: the budget is per {unit}; divide a total by the number of its {unit}s."
        )


def warn_of_unpaid(plan: Plan, credit: FloatArray) -> None:
    """Warn of lines that get money for their credit and have no spend today."""
    if plan.today is None:
        return
    unpaid = plan.problem.limits.free & (credit > 0) & (plan.today == 0) & (plan.spend > 0)
    if unpaid.any():
        line = plan.lines[int(unpaid.argmax())]
        one = unpaid.sum() == 1
        has, it = ("has", "it") if one else ("have", "they")
        warn(
            f"{_named(plan, unpaid)} {has} credit and no spend today: can {it} be bought? "
            f"Hint: leave {'it' if one else 'them'} out, or fixed={{{line!r}: 0}}."
        )


def _named(plan: Plan, chosen: BoolArray) -> str:
    """Return the first names, and how many there are where they are more."""
    lines: Sequence[Any] = [plan.lines[at] for at in np.flatnonzero(chosen).tolist()]
    names = ", ".join(map(repr, lines[:SHOWN]))
    return names if len(lines) <= SHOWN else f"{len(lines):,} lines ({names}, ...)"
