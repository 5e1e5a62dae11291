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

from attribution.arrays import FloatArray, is_number
from attribution.errors import InputError

Parameter = float | FloatArray


def carried_over(spend: npt.ArrayLike, carry_over: Parameter) -> FloatArray:
    """Return the spend that acts in each period; see the module.

    Parameters
    ----------
    spend
        Shape (n_periods, ...); such as (n_periods,) or (n_periods, n).
    carry_over
        r, a number or one for each series, shape (...); from 0 to below 1.

    Returns
    -------
    numpy.ndarray
        Of the shape of spend.

    Raises
    ------
    InputError
        If spend is negative, NaN or a single number; or a share does not fit.

    Examples
    --------
    >>> carried_over([8.0, 0.0, 0.0], 0.5).round(3).tolist()
    [8.0, 5.771, 2.885]
    """
    paid = money(spend)
    r = _shares(carry_over, paid.shape)
    acting, stock, late = paid.copy(), paid[:1].sum(axis=0), late_share(r)
    for period in range(1, len(paid)):
        gap = stock - paid[period]
        acting[period] += late * gap
        stock = paid[period] + r * gap
    return acting


def _shares(carry_over: Parameter, shape: tuple[int, ...]) -> FloatArray:
    r = np.asarray(carry_over, dtype=np.float64)
    bad = ~((r >= 0) & (r < 1))
    if bad.any():
        raise InputError(
            f"carry_over={r[bad].flat[0]} is no share. Hint: it lies from 0 to below 1."
        )
    if not shape or r.shape not in ((), shape[1:]):
        raise InputError(
            f"spend has the shape {shape} and carry_over {r.shape}. Hint: one row per period, and "
            "one column for each carry_over if there are several."
        )
    return r


def late_share(carry_over: npt.ArrayLike) -> Any:
    """Return the share of a stock that is left on average over the next period."""
    r = np.asarray(carry_over, dtype=np.float64)
    with np.errstate(divide="ignore"):
        rate = -np.log(r)
    return np.where(r > 0, -np.expm1(-rate) / np.maximum(rate, 1e-300), 0.0)[()]


def money(spend: npt.ArrayLike) -> FloatArray:
    """Return amounts of money, or raise `InputError` if one is negative or NaN."""
    amounts = np.asarray(spend, dtype=np.float64)
    bad = ~(amounts >= 0)
    if bad.any():
        wrong = amounts[bad].flat[0]
        what = "no amount" if np.isnan(wrong) else "negative"
        raise InputError(f"spend={wrong} is {what}. Hint: 0 where nothing was spent.")
    return amounts


def worth(value_per_conversion: float) -> float:
    """Return the value of a conversion, or raise `InputError` if it is no number above 0."""
    value = value_per_conversion
    if not (is_number(value) and 0 < value < np.inf):
        raise InputError(
            f"value_per_conversion={value!r} is not a number above 0. Hint: what a conversion is "
            "worth, in the currency of the spend."
        )
    return float(value)


def require_columns(spend: npt.ArrayLike, n: list[int]) -> None:
    """Raise `InputError` unless spend has one column for each of the n curves, if there are any."""
    shape = np.shape(spend)
    if n and list(shape[1:]) != n:
        raise InputError(
            f"spend has the shape {shape} for {n[0]:,} curves. Hint: one row per period, and one "
            "column per curve."
        )
