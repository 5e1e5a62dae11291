"""The best split of a budget: equal marginal returns, within limits on lines and on groups.

With f_i the concave gain of line i and p a price of money (gain per unit of it), line i asks for

    x_i(p) = clip(the spend at which f_i' has fallen to p, low_i, high_i),

which never rises with p. Groups of lines form a tree; a group asks for what its members ask for,
within limits of its own: S_g(p) = clip(sum of x_i(p) and S_c(p) in g, low_g, high_g). No search is
needed inside of that. The whole is best where it asks for the budget at one price; then each group
that its limit holds is split in itself, at a price of its own.

**Ties.** Where gains have straight parts, x_i(p) jumps. The search ends with two prices 1e-12 apart
that ask for too much and too little. All that lies between has the same marginal return, so that
any mixture of the two is best; the one that meets the budget is taken.

At price 0 a line takes all that it may, at an infinite price its floor.

Sources: Gibbs (1876) and Koopman (1953) for equal marginal returns; Hochbaum (1994), Lower and
upper bounds for the allocation problem, for limits on nested groups; Brent (1973) for the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from attribution.arrays import FloatArray, Immutable, IntArray
from attribution.budget.curves import Curve, HillEnvelope, PowerCurve
from attribution.errors import InputError

WIDTH = 1e-12  # of the bracket about the price, in its logarithm
FARTHEST = 650.0  # the largest logarithm of a price, either way
SMALLEST = 1e-9  # ratio of demand to target that the search tells apart


@dataclass(frozen=True, eq=False)
class Part(Immutable):
    """Curves of one class, stacked, and their places among all: an array, or a slice of all."""

    at: Any
    curve: Curve


@dataclass(frozen=True, eq=False)
class Families(Immutable):
    """n curves of several classes, evaluated class by class."""

    n: int
    parts: tuple[Part, ...]

    def equals(self, other: object) -> bool:
        """Tell whether the other object has the same curves, bit by bit."""
        if not isinstance(other, Families) or self.n != other.n:
            return False
        pairs = zip(self.parts, other.parts, strict=False)
        return len(self.parts) == len(other.parts) and all(a.equals(b) for a, b in pairs)

    @classmethod
    def of(cls, curves: Sequence[Curve] | Curve) -> Families:
        """Join curves of plain numbers, or take one object that stands for n."""
        if isinstance(curves, Curve):
            n = max([np.size(getattr(curves, name)) for name in curves.parameters])
            whole = replace(curves, scale=np.broadcast_to(curves.scale, n))
            return cls(n, (Part(slice(None), whole),))
        classes = list(dict.fromkeys(type(curve) for curve in curves))
        kinds = np.array([classes.index(type(curve)) for curve in curves])
        places = [np.flatnonzero(kinds == kind) for kind in range(len(classes))]
        members = [[curves[i] for i in at.tolist()] for at in places]
        stacked = [each[0].stack(each) for each in members]
        one = len(classes) == 1
        pairs = zip(places, stacked, strict=True)
        parts = tuple(Part(slice(None) if one else at, each) for at, each in pairs)
        return cls(len(curves), parts)

    def value(self, spend: FloatArray) -> FloatArray:
        """Return the outcome of each line, shape (n,)."""
        return self._each(lambda curve, at: curve.value(spend[at]))

    def marginal(self, spend: FloatArray) -> FloatArray:
        """Return the slope of each line, shape (n,)."""
        return self._each(lambda curve, at: curve.marginal(spend[at]))

    def inverse_marginal(self, price: float) -> FloatArray:
        """Return the spend at which the slope of each line has fallen to a price, shape (n,)."""
        return self._each(lambda curve, _: curve.inverse_marginal(price))

    def straight(self) -> FloatArray:
        """Return the slopes of straight parts, where `inverse_marginal` jumps."""
        kinds = (HillEnvelope, PowerCurve)
        curves = [part.curve for part in self.parts if isinstance(part.curve, kinds)]
        slopes = [np.ravel(curve.marginal(0.0)) for curve in curves]
        found = np.concatenate([np.zeros(0), *slopes])
        return np.asarray(found[np.isfinite(found) & (found > 0)])

    def times(self, weight: FloatArray) -> Families:
        """Return the curves with each outcome multiplied, by shape (n,)."""

        def heavier(part: Part) -> Part:
            return Part(part.at, replace(part.curve, scale=part.curve.scale * weight[part.at]))

        return Families(self.n, tuple(heavier(part) for part in self.parts))

    def take(self, lines: IntArray) -> Families:
        """Return the curves of some lines, given in rising order."""
        if len(lines) == self.n:
            return self
        parts = []
        for part in self.parts:
            if isinstance(part.at, slice):
                return Families(len(lines), (Part(part.at, part.curve.take(lines)),))
            chosen = np.isin(part.at, lines)
            if chosen.any():
                places = np.searchsorted(lines, part.at[chosen])
                parts.append(Part(places, part.curve.take(chosen)))
        return Families(len(lines), tuple(parts))

    def _each(self, function: Callable[[Curve, Any], Any]) -> FloatArray:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            first = self.parts[0] if self.parts else None
            if first is not None and isinstance(first.at, slice):
                return np.asarray(function(first.curve, first.at))
            result = np.empty(self.n)
            for part in self.parts:
                result[part.at] = function(part.curve, part.at)
            return result


@dataclass(frozen=True)
class Supply:
    """What lines ask for at a price; low and high have shape (n,)."""

    curves: Families
    low: FloatArray
    high: FloatArray

    whole: ClassVar[bool] = False

    def at(self, price: float) -> FloatArray:
        """Return the amount of each line at a price from 0 to infinity, shape (n,)."""
        if price == 0.0:
            return self.high
        if price == math.inf:
            return self.low
        return self._within(price)

    def _within(self, price: float) -> FloatArray:
        return np.minimum(np.maximum(self.curves.inverse_marginal(price), self.low), self.high)

    def next(self, amounts: FloatArray) -> FloatArray:
        """Return what the next unit of money brings to each line, shape (n,)."""
        return self.curves.marginal(amounts)


@dataclass(frozen=True)
class Node:
    """A group: its own lines (their places among all), the groups within it, and its limits."""

    name: str
    lines: IntArray
    supply: Supply
    groups: tuple[Node, ...]
    low: float
    high: float

    def demand(self, price: float) -> float:
        """Return what its members ask for together."""
        return float(self.supply.at(price).sum()) + sum(each.total(price) for each in self.groups)

    def jumps(self) -> FloatArray:
        """Return prices at which the demand may jump."""
        return np.concatenate([self.supply.curves.straight(), *(g.jumps() for g in self.groups)])

    def total(self, price: float) -> float:
        """Return what it asks for within its own limits."""
        return min(max(self.demand(price), self.low), self.high)


class Prices(NamedTuple):
    """Two prices, at which a group asks for at most and for at least what it is to get."""

    above: float
    below: float


@dataclass
class Split:
    """The best split; `returns` are those of one more unit, within the whole and held groups.

    Attributes
    ----------
    amounts
        Shape (n,).
    returns
        What one more unit brings within a group that its limit holds, by the group's name.
    held
        Those groups, with "floor" or "ceiling".
    price
        What one more unit for all brings; the least price where the budget does not bind.
    binding
        Whether all was given away at a price above the least.
    """

    amounts: FloatArray
    returns: dict[str, float] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    price: float = 0.0
    binding: bool = True

    def fill(self, node: Node, target: float, guess: float) -> float:
        """Give a group so much, and return what one more unit would bring there."""
        return self.share(node, target, price_of(node.demand, target, guess, node.jumps()))

    def share(self, node: Node, target: float, prices: Prices) -> float:
        """Give a group so much, which lies between what it asks for at the two prices."""
        few, many = (self._asked(node, price) for price in prices)
        given = between(few, many, target, node.supply.whole)
        n_own = len(node.lines)
        own = given[:n_own]
        self.amounts[node.lines] = own
        growing = own < node.supply.high
        best = float(node.supply.next(own)[growing].max()) if growing.any() else 0.0
        for group, amount in zip(node.groups, given[n_own:], strict=True):
            more = self._group(group, float(amount), prices)
            if amount < group.high:
                best = max(best, more)
        return min(best, prices.above)

    def _asked(self, node: Node, price: float) -> FloatArray:
        groups = [group.total(price) for group in node.groups]
        return np.concatenate([node.supply.at(price), groups])

    def _group(self, group: Node, amount: float, prices: Prices) -> float:
        least, most = group.demand(prices.above), group.demand(prices.below)
        if group.low <= least and most <= group.high:
            return self.share(group, amount, prices)
        more = self.fill(group, amount, prices.above)
        if least >= group.high or most <= group.low:
            self.held[group.name] = "ceiling" if least >= group.high else "floor"
            self.returns[group.name] = more
        return more


def split(root: Node, budget: float, n: int, least: float, guess: float) -> Split:
    """Split a budget over n lines.

    Parameters
    ----------
    root
        The tree of lines and groups; it can take the budget, or all members their ceilings.
    budget
        In the unit of the tree.
    n
        Number of lines.
    least
        Price below which money is not spent, other than on floors.
    guess
        A price to begin the search with.
    """
    least = max(least * (1.0 + WIDTH), math.exp(-FARTHEST))
    result = Split(np.zeros(n))
    asked = root.demand(least)
    if asked <= budget:
        result.share(root, asked, Prices(least, least))
        result.price, result.binding = least, False
    else:
        result.price = result.fill(root, budget, guess)
    return result


def between(few: FloatArray, many: FloatArray, target: float, whole: bool) -> FloatArray:
    """Return amounts of sum target from `few` to `many`: in proportion, or filled up in order."""
    room = np.maximum(many - few, 0.0)
    rest, gap = target - float(few.sum()), float(room.sum())
    if whole:
        return np.asarray(few + np.clip(np.rint(rest) - (np.cumsum(room) - room), 0.0, room))
    return np.asarray(few + room * min(max(rest / gap, 0.0), 1.0)) if gap > 0 else few


def price_of(
    demand: Callable[[float], float], target: float, guess: float, jumps: FloatArray
) -> Prices:
    """Find the price at which a demand that falls with it meets the target.

    Parameters
    ----------
    demand
        Of a price from 0 to infinity; not rising.
    target
        From the demand at an infinite price to that at price 0; beyond, the end is returned.
    guess
        A price to begin with; above 0.
    jumps
        Prices at which the demand is known to jump: looked at first, so that the search proper,
        which is slow at a jump, is spared them.
    """
    if target <= demand(math.inf):
        return Prices(math.inf, math.inf)
    if target >= demand(0.0):
        return Prices(0.0, 0.0)

    @cache
    def excess(log_price: float) -> float:
        return math.log(max(demand(math.exp(log_price)) / target, SMALLEST))

    start = math.log(guess) if 0 < guess < math.inf else 0.0
    at = min(max(start, -FARTHEST), FARTHEST)
    last, step, direction = at, 0.5, 1.0 if excess(at) > 0 else -1.0
    while excess(at) * direction > 0:
        if at == direction * FARTHEST:
            end = math.exp(at)
            return Prices(math.inf, end) if direction > 0 else Prices(end, 0.0)
        last, at = at, min(max(at + direction * step, -FARTHEST), FARTHEST)
        step *= 2.0
    left, right = _between_jumps(excess, min(last, at), max(last, at), np.unique(np.log(jumps)))
    if right - left > WIDTH:
        left, right = crossing(excess, left, right, WIDTH)
    return Prices(math.exp(right), math.exp(left))


def _between_jumps(
    excess: Callable[[float], float], left: float, right: float, jumps: FloatArray
) -> tuple[float, float]:
    """Narrow a bracket to one jump, or to where there is none; jumps in rising order."""
    half = WIDTH / 2
    jumps = jumps[(jumps > left + half) & (jumps < right - half)]
    while len(jumps):
        middle = len(jumps) // 2
        at = float(jumps[middle])
        if excess(at + half) > 0:
            left, jumps = at + half, jumps[middle + 1 :]
        elif excess(at - half) < 0:
            right, jumps = at - half, jumps[:middle]
        else:
            return at - half, at + half
    return left, right


def crossing(
    function: Callable[[float], float], low: float, high: float, width: float
) -> tuple[float, float]:
    """Return two places so close, the function 0 or more at the first, 0 or less at the other.

    The function falls from low to high, by jumps also. It is called again at its ends.
    """
    from scipy.optimize import brentq

    seen: dict[float, float] = {}

    def watched(at: float) -> float:
        seen[at] = function(at)
        return seen[at]

    root = brentq(watched, low, high, xtol=width / 4, rtol=1e-15)
    reach = width / 2
    while True:
        left = max(at for at, found in seen.items() if found >= 0)
        right = min(at for at, found in seen.items() if found <= 0)
        if right - left <= 2 * reach:
            return left, right
        watched(max(root - reach, low))
        watched(min(root + reach, high))
        reach *= 2.0


def require_plain(line: str, curve: Curve) -> None:
    """Refuse a curve that stands for several.

    Raises
    ------
    InputError
        If a parameter is an array.
    """
    arrays = [name for name in curve.parameters if np.ndim(getattr(curve, name))]
    if arrays:
        raise InputError(
            f"The curve of {line!r} has an array as {arrays[0]}. Hint: one curve per line, "
            "curve.take(i), or one stacked curve in place of the mapping."
        )
