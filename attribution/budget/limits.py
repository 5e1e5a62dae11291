"""What a plan must keep to: limits per line and per group.

Every line has a floor and a ceiling: those of `bounds`, narrowed by `max_change` about today's
spend. A fixed line has one amount and takes no further part: it is subtracted from the budget and
from the limits of its groups. Groups are nested or disjoint and so make a tree, whose root is the
whole plan. `reader` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attribution.arrays import BoolArray, FloatArray, Immutable, IntArray

SLACK = 1e-9  # relative; what sums of rounded numbers may differ by
MOST_SLACK = 1e-4  # of a step or unit; more of it would be money
HELD = ("", "floor", "ceiling", "fixed", "step")  # what may hold a line, other than a group


@dataclass(frozen=True, eq=False)
class Group(Immutable):
    """Free lines under common limits, from which fixed lines are subtracted.

    Attributes
    ----------
    lines, own
        Places of all its free lines, and of those in no group within it, in rising order.
    groups
        The groups within it, by name.
    """

    name: str
    lines: IntArray
    own: IntArray
    groups: Mapping[str, Group]
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class Limits(Immutable):
    """Limits of n lines; amounts are money per period.

    Attributes
    ----------
    lines
        The n names.
    fixed
        Shape (n,); the amount of a fixed line, NaN of a free one.
    low, high
        Shape (n,); of free lines.
    root
        All free lines, with the groups.
    step
        Every free line spends a multiple of it; None for any amount.
    """

    lines: Sequence[str]
    fixed: FloatArray
    low: FloatArray
    high: FloatArray
    root: Group
    step: float | None

    @property
    def free(self) -> BoolArray:
        """Tell which lines are not fixed, shape (n,)."""
        return np.isnan(self.fixed)

    @property
    def spent(self) -> float:
        """Money on fixed lines."""
        return math.fsum(self.fixed[~self.free])

    def units(self, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return floors and the given ceilings in steps, rounded inwards, or as they are."""
        if self.step is None:
            return self.low, high
        return inwards(self.low, self.step, up=True), inwards(high, self.step, up=False)

    def span(self, group: Group) -> tuple[float, float]:
        """Return the limits of a group in steps, rounded inwards, or as they are."""
        if self.step is None:
            return group.low, group.high
        ends = (inwards(group.low, self.step, up=True), inwards(group.high, self.step, up=False))
        return float(ends[0]), float(ends[1])

    def reach(self, group: Group, low: FloatArray, high: FloatArray) -> tuple[float, float]:
        """Return the least and the most that a group can take, given ends of lines in units."""
        least, most = float(low[group.own].sum()), float(high[group.own].sum())
        for inner in group.groups.values():
            ends = self.reach(inner, low, high)
            least, most = least + ends[0], most + ends[1]
        floor, ceiling = self.span(group)
        return max(least, floor), min(most, ceiling)

    def full(self, spend: FloatArray, high: FloatArray) -> BoolArray:
        """Tell which lines the given ceilings, or that of a group, let take no more, shape (n,)."""
        amounts, (_, ends) = spend / (self.step or 1.0), self.units(high)
        full: BoolArray = self._reached(amounts, ends)

        def mark(group: Group) -> None:
            if self._reached(amounts[group.lines].sum(), np.float64(self.span(group)[1])):
                full[group.lines] = True
            for inner in group.groups.values():
                mark(inner)

        mark(self.root)
        return full

    def _reached(self, amounts: Any, ends: Any) -> Any:
        """Tell whether amounts in units are not below their ceilings."""
        slack = SLACK * np.where(np.isfinite(ends), ends, 0.0) if self.step is None else 0.5
        return np.asarray(amounts >= ends - slack)

    @cached_property
    def floor(self) -> float:
        """The least that a plan must spend, fixed lines included."""
        least, _ = self.reach(self.root, *self.units(self.high))
        return self.spent + least * (self.step or 1.0)


def inwards(amounts: Any, step: float, *, up: bool) -> Any:
    """Return numbers of steps: the least from an amount on, or the most up to it."""
    with np.errstate(invalid="ignore"):
        steps = np.asarray(amounts) / step
        size = np.abs(np.where(np.isfinite(steps), steps, 0.0))
        slack = np.minimum(SLACK * np.maximum(1.0, size), MOST_SLACK)
        return np.ceil(steps - slack) if up else np.floor(steps + slack)
