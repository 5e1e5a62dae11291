"""What a plan was made to do, kept so that it can be done again: other budgets, other curves.

With w_i the weight of line i's outcome (its margin where profit counts, else 1) and c the cost of
a unit of money (1 where profit counts, else 0), a plan has the largest sum of w_i f_i - c x_i.

**A return of the whole plan** of at least r, sum f_i >= r sum x_i, joins by a multiplier mu:

    (w_i + mu) f_i' = c + mu r + price    or, with a = mu / (1 + mu),
    ((1 - a) w_i + a) f_i' = (1 - a) c + a r + (1 - a) price,

so it is the same split with other weights, and no money is spent below the price (1 - a) c + a r.
From a = 0 to a = 1, where sum f_i - r sum x_i itself is largest, the return rises; the a at which
it is just enough is searched.

**A return of one line** of at least r is a ceiling, as f_i is concave: the spend up to which
f_i(x) >= r x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from attribution.arrays import Coded, FloatArray, Immutable, IntArray
from attribution.budget.equal_returns import (
    WIDTH,
    Families,
    Node,
    Split,
    Supply,
    between,
    crossing,
    split,
)
from attribution.budget.limits import HELD, SLACK, Group, Limits, inwards
from attribution.budget.whole_steps import Steps

Objective = Literal["conversions", "value", "profit"]
Wanted = Literal["conversions", "value", "profit", "credit"]

SAME = 1e-14  # width of the search for a


class Solved(NamedTuple):
    """A plan in figures.

    Attributes
    ----------
    spend
        Shape (n,); money per period.
    price
        What one more unit of the budget brings; 0 where it does not bind.
    group_prices
        What one more unit allowed to (asked of) a group brings on top.
    held
        Shape (n,); codes into HELD and then the groups, outer ones first.
    reaches
        Whether the whole plan has the return that was asked for.
    """

    spend: FloatArray
    price: float
    group_prices: dict[str, float]
    held: Coded
    reaches: bool


@dataclass(frozen=True, eq=False)
class Problem(Immutable):
    """Lines, limits and what is wanted.

    Attributes
    ----------
    weight
        Shape (n,); w in the module.
    cost
        c in the module.
    roas
        The return asked of the whole plan, or None.
    line_roas
        Shape (n,); the return asked of each line, NaN for none; None for none at all.
    """

    limits: Limits
    curves: Families
    wanted: Wanted
    weight: FloatArray
    cost: float
    roas: float | None
    line_roas: FloatArray | None

    def solve(self, budget: float, curves: Families | None = None, guess: float = 0.0) -> Solved:
        """Find the best plan for a budget, or under other curves, which no limit is checked for.

        Where other curves do not reach the returns that were asked for, the nearest plan is taken:
        floors stand, and the whole plan has the largest sum of f_i - r x_i.
        """
        curves = curves or self.curves
        search = _Search(self, budget, curves, self.ceilings(budget, curves), guess)
        a, found, reaches = (0.0, search.at(0.0), True)
        if self.roas is not None and search.slack(found.amounts) < 0:
            a, found, reaches = search.returning()
        return self._solved(search, a, found, reaches)

    def ceilings(self, budget: float, curves: Families | None = None) -> FloatArray:
        """Return the ceilings of lines, lowered to where they have their return, shape (n,)."""
        if self.line_roas is None:
            return self.limits.high
        found = ceilings_of(curves or self.curves, self.line_roas, budget)
        return np.asarray(np.maximum(np.minimum(self.limits.high, found), self.limits.low))

    def _solved(self, search: _Search, a: float, found: Split, reaches: bool) -> Solved:
        rest = max(1.0 - a, SAME)
        price = max(found.price - search.least(a), 0.0) / rest if found.binding else 0.0
        prices: dict[str, float] = {}
        _group_prices(self.limits.root, found, found.price, rest, prices)
        return Solved(search.spend(found.amounts), price, prices, search.held(found), reaches)

    def profit(self, spend: FloatArray, outcome: FloatArray) -> float:
        """Return what the objective counts."""
        return float(self.weight @ outcome) - self.cost * float(spend.sum())


class _Search:
    """Plans of one budget for any a; see the module."""

    def __init__(
        self, problem: Problem, budget: float, curves: Families, high: FloatArray, guess: float
    ) -> None:
        limits = problem.limits
        self.problem, self.limits, self.curves, self.guess = problem, limits, curves, guess
        self.unit = limits.step or 1.0
        money = max(budget - limits.spent, 0.0)
        step = limits.step
        self.budget = money if step is None else float(inwards(money, step, up=False))
        self.low, self.high = limits.units(high)
        floors = float(self.low[limits.free].sum())
        room = 2.0 * max(self.budget - floors, 0.0) + max(self.budget, 1.0)  # finite, never reached
        self.ceiling = np.minimum(self.high, self.low + room)
        least, most = limits.reach(limits.root, self.low, self.ceiling)
        self.target = min(max(self.budget, least), most)
        self.split_at: Callable[[float], Split] = cache(self._split)

    def at(self, a: float) -> Split:
        """Return the plan for a."""
        return self.split_at(a)

    def least(self, a: float) -> float:
        """Return the price below which no money is spent."""
        return (1.0 - a) * self.problem.cost + a * (self.problem.roas or 0.0)

    def spend(self, amounts: FloatArray) -> FloatArray:
        """Return the money of each line, fixed ones included."""
        return np.where(self.limits.free, amounts * self.unit, self.limits.fixed)

    def slack(self, amounts: FloatArray) -> float:
        """Return sum f_i - r sum x_i."""
        spend = self.spend(amounts)
        return float((self.curves.value(spend) - (self.problem.roas or 0.0) * spend).sum())

    def returning(self) -> tuple[float, Split, bool]:
        """Return the plan with just the return asked for; its a, and whether it has it."""
        best = self.at(1.0)
        spend = self.spend(best.amounts)
        if self.slack(best.amounts) < -SLACK * float(self.curves.value(spend).sum()):
            return 1.0, best, False
        if self.slack(best.amounts) <= 0:
            return 1.0, best, True
        a, enough = crossing(lambda a: -self.slack(self.at(a).amounts), 0.0, 1.0, SAME)
        found, short = self.at(enough), self.at(a).amounts
        if self.slack(short) < 0 < self.slack(found.amounts):
            found.amounts = self._mixed(short, found.amounts)
        return enough, found, True

    def _mixed(self, short: FloatArray, enough: FloatArray) -> FloatArray:
        """Return the plan between two that has the return asked for, nearest to the first."""
        if self.limits.step is None:
            way = enough - short
            _, share = crossing(lambda share: -self.slack(short + share * way), 0.0, 1.0, SAME)
            return np.asarray(short + share * way)
        few, many = np.minimum(short, enough), np.maximum(short, enough)
        totals = range(round(few.sum()), round(many.sum()) + 1)
        plans = totals if short.sum() > enough.sum() else totals[::-1]
        low, high = 0, len(plans) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.slack(between(few, many, plans[middle], True)) >= 0:
                low = middle
            else:
                high = middle - 1
        return between(few, many, plans[low], True)

    def _split(self, a: float) -> Split:
        weight = (1.0 - a) * self.problem.weight + a
        gains = self.curves if (weight == 1.0).all() else self.curves.times(weight)
        root = self._node(self.limits.root, gains)
        found = split(root, self.target, gains.n, self.least(a), self.guess or self._even(root))
        if found.binding:
            self.guess = found.price
        return found

    def _node(self, group: Group, gains: Families) -> Node:
        own = group.own
        curves, low, high = gains.take(own), self.low[own], self.ceiling[own]
        step = self.limits.step
        supply = Supply(curves, low, high) if step is None else Steps(curves, low, high, step)
        inner = tuple(self._node(each, gains) for each in group.groups.values())
        return Node(group.name, own, supply, inner, *self.limits.span(group))

    def _even(self, root: Node) -> float:
        """Return a typical price where the budget is split evenly."""
        supply = root.supply
        share = self.budget / max(len(self.low), 1)
        slopes = supply.next(np.minimum(np.maximum(share, supply.low), supply.high))
        slopes = slopes[np.isfinite(slopes) & (slopes > 0)]
        return float(np.exp(np.log(slopes).mean())) if len(slopes) else 1.0

    def held(self, found: Split) -> Coded:
        """Say for each line what holds it, shape (n,)."""
        codes = np.where(self.limits.step is None, 0, HELD.index("step"))
        codes = np.full(len(self.low), codes, dtype=np.int32)
        names: list[str] = []
        _mark(self.limits.root, found, codes, names)
        codes[found.amounts == self.low] = HELD.index("floor")
        codes[(found.amounts == self.high) & (self.high > self.low)] = HELD.index("ceiling")
        codes[~self.limits.free] = HELD.index("fixed")
        return Coded(codes, (*HELD, *names))


def _mark(group: Group, found: Split, codes: IntArray, names: list[str]) -> None:
    for inner in group.groups.values():
        if inner.name in found.held:
            codes[inner.lines] = len(HELD) + len(names)
            names.append(inner.name)
        _mark(inner, found, codes, names)


def _group_prices(
    group: Group, found: Split, price: float, rest: float, prices: dict[str, float]
) -> None:
    """Add the price of each group within one whose own price is given."""
    for inner in group.groups.values():
        own = found.returns.get(inner.name, price)
        more = (own - price) / rest
        upwards = found.held.get(inner.name) == "ceiling"
        prices[inner.name] = max(more, 0.0) if upwards else min(more, 0.0)
        _group_prices(inner, found, own, rest, prices)


def ceilings_of(curves: Families, returns: FloatArray, budget: float) -> FloatArray:
    """Return the spend up to which f(x) >= r x, infinite where that holds for the whole budget.

    Parameters
    ----------
    curves
        n lines.
    returns
        Shape (n,); r, NaN for none.
    budget
        The largest spend that matters.

    Returns
    -------
    numpy.ndarray
        Shape (n,).
    """
    ceilings = np.full(curves.n, np.inf)
    for at in np.flatnonzero(~np.isnan(returns)):
        only = curves.take(np.array([at]))
        r = float(returns[at])
        top = math.log(max(budget, 1.0))

        def excess(log_spend: float, only: Families = only, r: float = r) -> float:
            spend = math.exp(log_spend)
            value = float(only.value(np.array([spend]))[0])
            return math.log(value / spend / r) if value > 0 else -math.inf

        if r == 0 or excess(top) >= 0:
            continue
        steep = float(only.inverse_marginal(r)[0])  # up to there every unit brings r
        peak = math.log(steep) if steep > 0 else top
        inside = peak < top and excess(peak) > 0
        ceilings[at] = math.exp(crossing(excess, peak, top, WIDTH)[0]) if inside else steep
    return ceilings
