"""Money in proportion to credit, for when there is too little data for curves.

With c_i the credit of line i, a split in proportion to credit has the largest sum of c_i log x_i:
the slope c_i / x_i is the same for all. So limits, groups and steps are kept by the same search as
that of `allocate`, and what they leave free stays in proportion.

This is a heuristic. Credit says who was there when conversions came, not what more money would
bring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.arrays import FloatArray
from attribution.budget.curves import Curve
from attribution.errors import InputError
from attribution.models.base import Outcome, require_outcome
from attribution.results import Attribution


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


def read_credit(credit: Any, of: Outcome) -> tuple[tuple[str, ...], FloatArray]:
    """Return lines and their credit, shape (n,).

    Raises
    ------
    InputError
        If credit is negative, NaN, or 0 for all.
    """
    if isinstance(credit, Attribution):
        require_outcome(of)
        given = credit.conversions if of == "conversions" else credit.values
        if given is None:
            raise InputError("This attribution has no value. Hint: of='conversions'.")
        lines, amounts = credit.channels, given
    elif isinstance(credit, Mapping):
        lines = tuple(credit)
        try:
            amounts = np.array([float(credit[line]) for line in lines])
        except (TypeError, ValueError):
            raise InputError("credit holds what is no number. Hint: {line: credit}.") from None
    else:
        raise InputError(
            f"credit is a {type(credit).__name__}. Hint: an Attribution, or a mapping."
        )
    bad = ~(np.isfinite(amounts) & (amounts >= 0))
    if bad.any():
        raise InputError(
            f"Credit of {lines[bad.argmax()]!r} is {amounts[bad][0]:g}, and {bad.sum():,} do not "
            "fit. Hint: credit is 0 or more; leave such lines out, or fix their spend."
        )
    if not amounts.sum() > 0:
        raise InputError("All credit is 0, so nothing tells lines apart. Hint: check the model.")
    return lines, amounts
