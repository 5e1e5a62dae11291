"""Response curves: what a channel brings per period as a function of what is spent on it.

With x the spend per period, s the `scale`, k the `half_saturation` and h the `exponent`:

    PowerCurve          s x^h                                      0 < h <= 1
    ExponentialCurve    s (1 - 2^(-x / k))
    HillCurve           s x^h / (k^h + x^h)                        0 < h <= 1
    HillEnvelope        the least concave curve above the S-shaped Hill curve of h > 1: a straight
                        line from 0 to the tangent point k (h - 1)^(1/h), the Hill curve beyond

All are concave, so that a split of a budget with equal marginal returns is the best one. The last
three level off at s, and the exponential and Hill curves reach half of it at k.

**Carry-over.** `carry_over` is the share of what acts that is left after a period, see
`attribution.budget.carry_over`. Steady spend acts as it is, so a curve reads the same at steady
state whatever it is; it matters for `over_time`, and for fits.

A parameter is a number, or an array of shape (n,) that makes one object stand for n curves.

Sources: Hill (1910), The possible effects of the aggregation of the molecules of haemoglobin;
Jin, Wang, Sun, Chan and Koehler (2017), Bayesian methods for media mix modeling with carryover and
shape effects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray, Immutable
from attribution.budget.carry_over import Parameter, carried_over, money, require_columns, worth
from attribution.errors import InputError
from attribution.models.base import Outcome, require_outcome

LN2 = float(np.log(2.0))
STEPS = 100  # of Newton's method, which needs about eight


@dataclass(frozen=True, eq=False)
class Curve(Immutable, ABC):
    """A concave response; see the module for the equations.

    Attributes
    ----------
    scale
        Outcome per period; 0 or more.
    carry_over
        Share of what acts that stays for the next period; from 0 to below 1.
    of
        What the outcome counts.
    """

    scale: Parameter
    carry_over: Parameter = field(default=0.0, kw_only=True)
    of: Outcome = field(default="conversions", kw_only=True)

    ranges: ClassVar[dict[str, tuple[str, Any]]] = {
        "scale": ("from 0 on", lambda x: x >= 0),
        "half_saturation": ("above 0", lambda x: x > 0),
        "exponent": ("above 0 and at most 1", lambda x: (x > 0) & (x <= 1)),
        "carry_over": ("from 0 to below 1", lambda x: (x >= 0) & (x < 1)),
    }

    def __post_init__(self) -> None:
        require_outcome(self.of)
        shapes = {np.shape(getattr(self, name)) for name in self.parameters} - {()}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise InputError(
                f"The parameters have shapes {sorted(shapes)}. Hint: numbers, or arrays of (n,)."
            )
        for name in self.parameters:
            object.__setattr__(self, name, self._checked(name))
        super().__post_init__()

    def _checked(self, name: str) -> Parameter:
        text, fits = self.ranges[name]
        try:
            numbers = np.asarray(getattr(self, name), dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        bad = ~(np.isfinite(numbers) & fits(numbers))
        if bad.any():
            value = getattr(self, name) if numbers.ndim == 0 else numbers[bad][0]
            where = "" if numbers.ndim == 0 else f" in {bad.sum():,} curves, first {bad.argmax()}"
            raise InputError(
                f"{type(self).__name__} has {name}={value}{where}. Hint: it lies {text}."
                f"{self._way_out(name)}"
            )
        return numbers if numbers.ndim else float(numbers)

    def _way_out(self, name: str) -> str:
        return ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the numbers that make the curve."""
        return tuple(each.name for each in fields(self) if each.name != "of")

    def value(self, spend: npt.ArrayLike) -> Any:
        """Return the outcome per period at steady spend, of the shape of spend and parameters.

        Raises
        ------
        InputError
            If spend is negative or NaN.
        """
        return self._value(money(spend))[()]

    def marginal(self, spend: npt.ArrayLike) -> Any:
        """Return what one more unit of money brings, the slope; infinite at 0 where h < 1.

        Raises
        ------
        InputError
            If spend is negative or NaN.
        """
        return self._marginal(money(spend))[()]

    def inverse_marginal(self, price: npt.ArrayLike) -> Any:
        """Return the spend at which the slope has fallen to a price.

        Parameters
        ----------
        price
            Outcome per unit of money; above 0.

        Returns
        -------
        float or numpy.ndarray
            The largest spend with a slope of at least the price; 0 where no spend has.

        Raises
        ------
        InputError
            If a price is not above 0.
        """
        prices = np.asarray(price, dtype=np.float64)
        if not (prices > 0).all():
            raise InputError(f"price={prices[~(prices > 0)][0]} is not above 0.")
        return np.asarray(self._inverse(prices))[()]

    @abstractmethod
    def _value(self, spend: FloatArray) -> FloatArray:
        """Return `value` of spend that is not negative."""

    @abstractmethod
    def _marginal(self, spend: FloatArray) -> FloatArray:
        """Return `marginal` of spend that is not negative."""

    @abstractmethod
    def _inverse(self, price: FloatArray) -> FloatArray:
        """Return `inverse_marginal` of prices above 0."""

    def over_time(self, spend: npt.ArrayLike) -> FloatArray:
        """Return the outcome of each period from the spend of all periods, of the shape of spend.

        Spend has the shape (n_periods,), or (n_periods, n) where one object stands for n curves.

        Raises
        ------
        InputError
            If spend is negative, NaN, or of another shape.
        """
        sizes = [np.size(x) for x in map(self.__getattribute__, self.parameters) if np.ndim(x)]
        require_columns(spend, sizes[:1])
        return np.asarray(self.value(carried_over(spend, self.carry_over)))

    def valued(self, value_per_conversion: float) -> Self:
        """Return the same curve in money: every conversion is worth so much.

        Raises
        ------
        InputError
            If the curve is of value already, or the value of a conversion is not above 0.
        """
        if self.of == "value":
            raise InputError("This curve is of value already.")
        return replace(self, scale=self.scale * worth(value_per_conversion), of="value")

    def take(self, index: Any) -> Self:
        """Return the curves at an index of a stack of them."""
        chosen = {name: getattr(self, name) for name in self.parameters}
        return replace(self, **{k: v[index] if np.ndim(v) else v for k, v in chosen.items()})

    @classmethod
    def stack(cls, curves: Sequence[Self]) -> Self:
        """Return one object for n curves of this class, each of plain numbers.

        Raises
        ------
        InputError
            If some curves count conversions and others value.
        """
        if len({curve.of for curve in curves}) > 1:
            raise InputError(
                "Some of the curves are of conversions, others of value. Hint: curve.valued(...)."
            )
        names = curves[0].parameters
        columns = {name: np.array([getattr(c, name) for c in curves]) for name in names}
        return cls(**columns, of=curves[0].of)


@dataclass(frozen=True, eq=False)
class PowerCurve(Curve):
    """s x^h: every doubling of spend multiplies the outcome by 2^h; it never levels off.

    Attributes
    ----------
    exponent
        The elasticity, above 0 and at most 1 (proportional).

    Examples
    --------
    >>> curve = PowerCurve(10.0, 0.5)
    >>> float(curve.value(400)), float(curve.marginal(400)), float(curve.inverse_marginal(0.25))
    (200.0, 0.25, 400.0)
    """

    exponent: Parameter

    def _value(self, spend: FloatArray) -> FloatArray:
        return np.asarray(self.scale * spend**self.exponent)

    def _marginal(self, spend: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.multiply(self.scale, self.exponent) * spend ** np.subtract(self.exponent, 1)
        return np.where(np.equal(self.scale, 0.0), 0.0, slope)

    def _inverse(self, price: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", over="ignore"):
            ratio = np.multiply(self.scale, self.exponent) / price
            found = ratio ** (1.0 / np.subtract(1.0, self.exponent))
        return np.where(np.equal(self.exponent, 1.0) & (ratio >= 1.0), np.inf, found)


@dataclass(frozen=True, eq=False)
class ExponentialCurve(Curve):
    """s (1 - 2^(-x / k)): a share of those not yet reached is reached by every unit of money.

    Attributes
    ----------
    half_saturation
        Spend per period that brings half of the scale; above 0.

    Examples
    --------
    >>> curve = ExponentialCurve(80.0, 1000.0)
    >>> [float(x) for x in curve.value([0, 1000, 2000])]
    [0.0, 40.0, 60.0]
    """

    half_saturation: Parameter

    def _value(self, spend: FloatArray) -> FloatArray:
        return np.asarray(-self.scale * np.expm1(-LN2 / self.half_saturation * spend))

    def _marginal(self, spend: FloatArray) -> FloatArray:
        return np.asarray(
            LN2 * self.scale / self.half_saturation * np.exp(-LN2 / self.half_saturation * spend)
        )

    def _inverse(self, price: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            doublings = np.log2(LN2 * self.scale / self.half_saturation / price)
        return np.maximum(self.half_saturation * doublings, 0.0)


@dataclass(frozen=True, eq=False)
class HillCurve(Curve):
    """s x^h / (k^h + x^h) with h of at most 1.

    Attributes
    ----------
    half_saturation
        Spend per period that brings half of the scale; above 0.
    exponent
        Above 0 and at most 1; for more see `HillEnvelope`.

    Examples
    --------
    >>> curve = HillCurve(80.0, 1000.0, 1.0)
    >>> [float(x) for x in curve.value([0, 1000, 3000])]
    [0.0, 40.0, 60.0]
    >>> round(float(curve.inverse_marginal(0.02)), 6)
    1000.0
    """

    half_saturation: Parameter
    exponent: Parameter

    def _way_out(self, name: str) -> str:
        return " HillEnvelope takes more." if name == "exponent" else ""

    def _value(self, spend: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            power = (spend / self.half_saturation) ** self.exponent
        return np.asarray(self.scale * _share(power))

    def _marginal(self, spend: FloatArray) -> FloatArray:
        ratio = spend / self.half_saturation
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            power = ratio**self.exponent
            rise = ratio ** np.subtract(self.exponent, 1) * _share(1.0 / power) ** 2
            slope = np.multiply(self.scale, self.exponent) / self.half_saturation * rise
        return np.where(np.equal(self.scale, 0.0), 0.0, slope)

    def _inverse(self, price: FloatArray) -> FloatArray:
        scale, k, h = np.broadcast_arrays(self.scale, self.half_saturation, self.exponent)
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.log(price) + np.log(k) - np.log(scale) - np.log(h)
        level, k, h = np.broadcast_arrays(level, k, h)
        bent = np.isfinite(level) & (h != 1.0)
        with np.errstate(over="ignore"):
            ratio = np.where(np.isfinite(level), np.maximum(np.expm1(-level / 2), 0.0), 0.0)
            ratio[bent] = np.exp(_log_ratio(level[bent], h[bent]))
        return np.asarray(k * ratio)


@dataclass(frozen=True, eq=False)
class HillEnvelope(HillCurve):
    """The least concave curve above an S-shaped Hill curve; h is above 1.

    On the straight part, below `tangent`, it promises more than the Hill curve holds: what it says
    there is reached only by taking turns between nothing and the tangent point.

    Attributes
    ----------
    half_saturation
        Spend per period at which the Hill curve has half of the scale; above 0.
    exponent
        Above 1.

    Examples
    --------
    >>> curve = HillEnvelope(80.0, 1000.0, 2.0)
    >>> float(curve.tangent), [float(x) for x in curve.value([0, 500, 1000, 2000])]
    (1000.0, [0.0, 20.0, 40.0, 64.0])
    """

    ranges: ClassVar[dict[str, tuple[str, Any]]] = {
        **Curve.ranges,
        "exponent": ("above 1", lambda x: x > 1),
    }

    def _way_out(self, name: str) -> str:
        return " HillCurve takes less." if name == "exponent" else ""

    @property
    def tangent(self) -> Any:
        """Spend at which the straight part ends, k (h - 1)^(1/h)."""
        h = np.asarray(self.exponent)
        return (self.half_saturation * (h - 1.0) ** (1.0 / h))[()]

    @property
    def _slope(self) -> Any:
        """Slope of the straight part."""
        h = np.asarray(self.exponent)
        return self.scale * ((h - 1.0) / h) / self.tangent

    def _value(self, spend: FloatArray) -> FloatArray:
        return np.where(spend < self.tangent, self._slope * spend, super()._value(spend))

    def _marginal(self, spend: FloatArray) -> FloatArray:
        return np.where(spend < self.tangent, self._slope, super()._marginal(spend))

    def _inverse(self, price: FloatArray) -> FloatArray:
        beyond = np.maximum(super()._inverse(np.minimum(price, self._slope)), self.tangent)
        return np.where((price <= self._slope) & np.greater(self.scale, 0.0), beyond, 0.0)


def _share(power: FloatArray) -> FloatArray:
    """Return power / (1 + power), also where the power is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(power), 1.0, power / (1.0 + power))


def _log_ratio(level: FloatArray, h: FloatArray) -> FloatArray:
    """Solve (h - 1) t - 2 log(1 + e^(h t)) = level for the largest t, shape (n,).

    The left side is concave in t. Newton's method begins to the right of the solution, where the
    tangent's root never falls short of it, and so comes down to it step by step. The error of a
    step is at most about the square of the step.
    """
    t = -level / (1.0 + h)
    low = h < 1.0
    t[low] = np.minimum(t[low], -level[low] / (1.0 - h[low]))
    for _ in range(STEPS):
        excess = (h - 1.0) * t - 2.0 * np.logaddexp(0.0, h * t) - level
        step = excess / (h - 1.0 - 2.0 * h / (1.0 + np.exp(-h * t)))
        t = t - step
        if not (np.abs(step) > 1e-8).any():
            break
    return t
