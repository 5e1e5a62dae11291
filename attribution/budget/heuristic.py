"""Money in proportion to credit, for when there is too little data for curves.

With c_i the credit of line i, a split in proportion to credit has the largest sum of c_i log x_i:
the slope c_i / x_i is the same for all. So limits, groups and steps are kept by the same search as
that of `allocate`, and what they leave free stays in proportion.

This is a heuristic. Credit says who was there when conversions came, not what more money would
bring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.arrays import FloatArray
from attribution.budget.curves import Curve


@dataclass(frozen=True, eq=False)
class CreditCurve(Curve):
    """c log x, no response: its scale c is the credit of a line."""

    def _value(self, spend: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            logs = np.log(spend)
        return np.where(np.greater(self.scale, 0.0), np.maximum(self.scale, 1e-300) * logs, 0.0)

    def _marginal(self, spend: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.greater(self.scale, 0.0), np.asarray(self.scale) / spend, 0.0)

    def _inverse(self, price: FloatArray) -> FloatArray:
        return np.asarray(self.scale / price)
