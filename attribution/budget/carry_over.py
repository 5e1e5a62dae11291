"""Carry-over: advertising works on after it was paid.

Of what acts, the share r (`carry_over`) is left after a period. Money is spent and outcomes are
counted all through a period: with the stock S_t = (1 - r) x_t + r S_(t-1) at the end of period t
(a mean of past spend whose weights fall by r per period), what acts within it is the mean of the
stock over the period,

    a_t = x_t + late (S_(t-1) - x_t),    late = (1 - r) / log(1 / r),    0 where r = 0.

Even where little is left after a period, what was paid on its last days works in the next one.
Spend that never changes acts as it is. What was spent before the first period is not known: the
first period's spend stands for it.

Source: Broadbent (1979), One way TV advertisements work (half-lives).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray
from attribution.errors import InputError

Parameter = float | FloatArray


def carried_over(spend: npt.ArrayLike, carry_over: Parameter) -> FloatArray:
    """Return the spend that acts in each period; see the module.

    Parameters
    ----------
    spend
        Shape (n_periods,) or (n_periods, n).
    carry_over
        r, a number or shape (n,); from 0 to below 1.

    Returns
    -------
    numpy.ndarray
        Of the shape of spend.

    Raises
    ------
    InputError
        If spend is negative.

    Examples
    --------
    >>> carried_over([8.0, 0.0, 0.0], 0.5).round(3).tolist()
    [8.0, 5.771, 2.885]
    """
    paid = money(spend)
    acting, stock, late = paid.copy(), paid[:1].sum(axis=0), late_share(carry_over)
    for period in range(1, len(paid)):
        gap = stock - paid[period]
        acting[period] += late * gap
        stock = paid[period] + carry_over * gap
    return acting


def late_share(carry_over: npt.ArrayLike) -> Any:
    """Return the share of a stock that is left on average over the next period."""
    r = np.asarray(carry_over, dtype=np.float64)
    with np.errstate(divide="ignore"):
        rate = -np.log(r)
    return np.where(r > 0, -np.expm1(-rate) / np.maximum(rate, 1e-300), 0.0)[()]


def money(spend: npt.ArrayLike) -> FloatArray:
    """Return amounts of money, or raise `InputError` if one is negative."""
    amounts = np.asarray(spend, dtype=np.float64)
    if (amounts < 0).any():
        raise InputError(f"spend={amounts[amounts < 0].flat[0]} is negative.")
    return amounts
