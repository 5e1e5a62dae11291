"""What a curve is made of when it is fitted: shape, carry-over, and what is believed beforehand.

Spend is measured in multiples of the line's mean per period, z = spend / mean. A line brings

    f = beta g(a; u),    a = acting(z; v),

with beta what one more unit of z brings at z = 1, so that g'(1) = 1, and g one of

    power         z^h / h                                      u = log(h / (1 - h)),  0 < h < 1
    exponential   (1 - 2^(-z / k)) / slope at 1                u = log k
    hill          z / (k + z) / slope at 1                     u = log k

k is the half-saturation in multiples of mean spend. Written this way beta, the return at today's
spend, hardly depends on u, which spend that moves around its mean cannot tell well.

**Carry-over** is that of `attribution.budget.carry_over`: a share r = 2^(-1 / e^v) of what acts is
left after a period, so that e^v is the half-life in periods.

**Priors** are weak and normal, on u and v; beta, 0 or more, has none.

    power         u ~ N(0, 1)               exponents from 0.16 to 0.84 in 9 of 10 cases
    others        u ~ N(log 1.5, 0.8^2)     half-saturation 0.4 to 5.6 times today's spend
    carry-over    v ~ N(log(5 days / period), 0.8^2)     half-lives from 1.3 to 19 days

Spend that is far below saturation looks proportional, and far above it useless: either is
visible, and what is left to believe lies between. Media that people see online and click are
forgotten within days to a few weeks; give `carry_over` where you know better.

Sources: Broadbent (1979), One way TV advertisements work (half-lives); Jin, Wang, Sun, Chan and
Koehler (2017), Bayesian methods for media mix modeling with carryover and shape effects (priors).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attribution.arrays import FloatArray
from attribution.budget.carry_over import carried_over, late_share
from attribution.budget.curves import LN2, Curve, ExponentialCurve, HillCurve, PowerCurve
from attribution.models.base import Outcome

FamilyName = Literal["power", "exponential", "hill"]

HALF_LIFE_DAYS = 5.0
HALF_LIFE_SD = 0.8

Basis = tuple[FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class Family:
    """Curves of one form.

    Attributes
    ----------
    basis
        (a, u) -> g, dg/da, dg/du, each of the broadcast shape.
    curve
        (beta, u, r, mean spend, outcome) -> Curve in money; numbers or shape (n,).
    prior_mean, prior_sd
        Of u.
    """

    basis: Callable[[FloatArray, FloatArray], Basis]
    curve: Callable[..., Curve]
    prior_mean: float
    prior_sd: float


def acting(spend: FloatArray, v: FloatArray) -> FloatArray:
    """Return the spend that acts, shape (n_sets, n_periods, n_lines); see the module.

    Parameters
    ----------
    spend
        Shape (n_periods, n_lines).
    v
        Shape (n_sets, n_lines); logarithms of the half-life in periods, -inf for none.
    """
    paid = np.broadcast_to(spend[:, None], (len(spend), *v.shape))
    return np.moveaxis(carried_over(paid, carry_over_of(v)), 0, 1)


def acting_slope(spend: FloatArray, v: FloatArray) -> FloatArray:
    """Return the derivative of `acting` by v, shape (n_periods, n_lines), v of (n_lines,)."""
    kept = carry_over_of(v)
    late = late_share(kept)
    with np.errstate(over="ignore", invalid="ignore"):
        rate = LN2 * np.exp(-v)
        kept_slope = np.where(kept > 0, kept * rate, 0.0)
        late_slope = np.where(kept > 0, late - kept, 0.0)
    stock, moved = spend[0], np.zeros(spend.shape[1])
    slope = np.zeros(spend.shape)
    for t in range(1, len(spend)):
        gap = stock - spend[t]
        slope[t] = late_slope * gap + late * moved
        moved = kept_slope * gap + kept * moved
        stock = spend[t] + kept * gap
    return slope


def carry_over_of(v: FloatArray) -> FloatArray:
    """Return the share r that is left after a period, below 1."""
    with np.errstate(over="ignore"):
        return np.minimum(np.exp(-LN2 * np.exp(-v)), np.nextafter(1.0, 0.0))


def half_life_of(carry_over: FloatArray) -> FloatArray:
    """Return v of a share r, -inf for 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(LN2) - np.log(-np.log(carry_over)))


def _power(a: FloatArray, u: FloatArray) -> Basis:
    h = _share(u)
    with np.errstate(divide="ignore", invalid="ignore"):
        g = a**h / h
        slope = np.where(a > 0, a ** (h - 1.0), 0.0)
        by_h = np.where(a > 0, g * (np.log(a) - 1.0 / h), 0.0)
    return g, slope, by_h * h * (1.0 - h)


def _exponential(a: FloatArray, u: FloatArray) -> Basis:
    c = LN2 * np.exp(-u)
    left = np.exp(c * (1.0 - a))
    g = np.exp(c) * -np.expm1(-c * a) / c
    return g, left, g * (1.0 - c) - a * left


def _hill(a: FloatArray, u: FloatArray) -> Basis:
    k = np.exp(u)
    g = a / (k + a) * (1.0 + k) ** 2 / k
    return g, ((1.0 + k) / (k + a)) ** 2, g * (2.0 * k / (1.0 + k) - 1.0 - k / (k + a))


def _share(u: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-u)))


def _power_curve(
    beta: FloatArray, u: FloatArray, r: FloatArray, mean: float, of: Outcome
) -> PowerCurve:
    h = _share(u)
    return PowerCurve(beta / h / mean**h, h, carry_over=r, of=of)


def _exponential_curve(
    beta: FloatArray, u: FloatArray, r: FloatArray, mean: float, of: Outcome
) -> ExponentialCurve:
    c = LN2 * np.exp(-u)
    return ExponentialCurve(beta * np.exp(c) / c, mean * np.exp(u), carry_over=r, of=of)


def _hill_curve(
    beta: FloatArray, u: FloatArray, r: FloatArray, mean: float, of: Outcome
) -> HillCurve:
    k = np.exp(u)
    exponent = np.ones(np.shape(u))[()]
    return HillCurve(beta * (1.0 + k) ** 2 / k, mean * k, exponent, carry_over=r, of=of)


FAMILIES: dict[str, Family] = {
    "power": Family(_power, _power_curve, 0.0, 1.0),
    "exponential": Family(_exponential, _exponential_curve, float(np.log(1.5)), 0.8),
    "hill": Family(_hill, _hill_curve, float(np.log(1.5)), 0.8),
}
