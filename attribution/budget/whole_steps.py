"""Money in whole steps: what lines ask for when each spends a multiple of one amount.

The k-th step of a line brings f(k step) - f((k - 1) step), less with every step as f is concave.
So the steps that bring the most are a best plan, and they are found by a price as well: a step is
worth its money at price p if it brings p step or more. With y the spend at which the slope has
fallen to p, all steps up to floor(y / step) do, the one that holds y may, and none beyond does.
Amounts are numbers of steps here, prices are per unit of money. Steps that tie are given in the
order of lines, those of groups after the others.

Source: Fox (1966), Discrete optimization via marginal analysis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attribution.arrays import FloatArray
from attribution.budget.equal_returns import Supply


@dataclass(frozen=True)
class Steps(Supply):
    """`Supply` in numbers of steps."""

    step: float

    whole: ClassVar[bool] = True

    def _within(self, price: float) -> FloatArray:
        asked = self.curves.inverse_marginal(price) / self.step
        number = np.floor(np.minimum(np.maximum(asked, self.low), self.high))
        return np.asarray(np.minimum(number + (self.next(number) >= price), self.high))

    def next(self, amounts: FloatArray) -> FloatArray:
        """Return what the next step brings to each line, per unit of money, shape (n,)."""
        after, before = (self.curves.value((amounts + more) * self.step) for more in (1, 0))
        return np.asarray((after - before) / self.step)
