"""What a plan must keep to: limits per line and per group.

Every line has a floor and a ceiling: those of `bounds`, narrowed by `max_change` about today's
spend. A fixed line has one amount and takes no further part: it is subtracted from the budget and
from the limits of its groups. Groups are nested or disjoint and so make a tree, whose root is the
whole plan. `reader` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray

SLACK = 1e-9  # relative; what sums of rounded numbers may differ by


@dataclass(frozen=True)
class Group:
    """Free lines under common limits, from which fixed lines are subtracted.

    Attributes
    ----------
    lines, own
        Places of all its free lines, and of those in no group within it, in rising order.
    groups
        The groups within it.
    """

    name: str
    lines: IntArray
    own: IntArray
    groups: tuple[Group, ...]
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True)
class Limits:
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
        for inner in group.groups:
            ends = self.reach(inner, low, high)
            least, most = least + ends[0], most + ends[1]
        floor, ceiling = self.span(group)
        return max(least, floor), min(most, ceiling)

    @cached_property
    def floor(self) -> float:
        """The least that a plan must spend, fixed lines included."""
        least, _ = self.reach(self.root, *self.units(self.high))
        return self.spent + least * (self.step or 1.0)


def inwards(amounts: Any, step: float, *, up: bool) -> Any:
    """Return numbers of steps: the least from an amount on, or the most up to it."""
    with np.errstate(invalid="ignore"):
        steps = np.asarray(amounts) / step
        slack = SLACK * np.maximum(1.0, np.abs(np.where(np.isfinite(steps), steps, 0.0)))
        return np.ceil(steps - slack) if up else np.floor(steps + slack)
