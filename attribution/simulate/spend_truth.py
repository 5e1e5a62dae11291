"""The response to spend in closed form; `attribution.simulate.spending` derives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray, Immutable, IntArray, read_only
from attribution.errors import InputError
from attribution.simulate.spend_draws import touches_per_day
from attribution.simulate.spend_worlds import DAYS, SpendChannel, SpendWorld

NEGLIGIBLE = 1e-12  # of a stock


@dataclass(frozen=True, kw_only=True, eq=False)
class SpendTruth(Immutable):
    """What every channel brings at any spend, in expected conversions per week.

    Attributes
    ----------
    world
        The world they live in.
    intent
        Shape (n_people,); their mean is 1.
    weeks
        Shape (n_weeks,); microseconds UTC of the Mondays on which they begin.
    spend
        Shape (n_weeks, n_channels); money.
    incremental
        Shape (n_weeks, n_channels); conversions of the week that the channel causes, expected
        given spend and intents, also through touches of earlier weeks.
    baseline
        Shape (n_weeks,); expected conversions that no channel causes.
    """

    world: SpendWorld
    intent: FloatArray
    weeks: IntArray
    spend: FloatArray
    incremental: FloatArray
    baseline: FloatArray

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, sorted."""
        return self.world.names

    @property
    def scale(self) -> FloatArray:
        """Conversions per week that unlimited spend brings, shape (n_channels,)."""
        everybody = DAYS * self.world.n_people * self.world.base_rate
        return np.asarray(everybody * self.world.column("effect"))

    @cached_property
    def half_saturation(self) -> FloatArray:
        """Steady spend per week that brings half of it, shape (n_channels,)."""
        return read_only(np.array([each.half_saturation() for each in self._responses]))

    @cached_property
    def _responses(self) -> list[StockResponse]:
        return [StockResponse.of(channel, self.intent) for channel in self.world.channels]

    def value(self, spend: npt.ArrayLike) -> FloatArray:
        """Return the expected incremental conversions per week at steady spend.

        Parameters
        ----------
        spend
            Shape (..., n_channels); money per week.

        Returns
        -------
        numpy.ndarray
            Of the same shape.

        Raises
        ------
        InputError
            If spend is of another shape, negative or not finite.
        """
        columns = zip(self._responses, self._columns(spend), strict=True)
        return self.scale * np.stack([each.reached(column) for each, column in columns], axis=-1)

    def marginal(self, spend: npt.ArrayLike) -> FloatArray:
        """Return what one more unit of money per week brings; shapes and raises as `value`."""
        columns = zip(self._responses, self._columns(spend), strict=True)
        return self.scale * np.stack([each.slope(column) for each, column in columns], axis=-1)

    def _columns(self, spend: npt.ArrayLike) -> Iterator[FloatArray]:
        amounts = np.asarray(spend, dtype=np.float64)
        if amounts.ndim == 0 or amounts.shape[-1] != len(self.channels):
            raise InputError(
                f"spend has the shape {amounts.shape} for {len(self.channels)} channels. Hint: "
                f"give one amount for each of {', '.join(map(repr, self.channels))}."
            )
        bad = amounts[~(np.isfinite(amounts) & (amounts >= 0))]
        if bad.size:
            raise InputError(f"spend has {bad.size:,} amounts such as {bad[0]}. Hint: 0 or more.")
        return (amounts[..., place] for place in range(amounts.shape[-1]))


def incremental_per_day(world: SpendWorld, intent: FloatArray, spend: FloatArray) -> FloatArray:
    """Return the conversions that each channel causes on each day, expected given the spend.

    Parameters
    ----------
    world
        The world.
    intent
        Shape (n_people,).
    spend
        Shape (n_weeks, n_channels), the weeks before the log among them.

    Returns
    -------
    numpy.ndarray
        Shape (n_days, n_channels).
    """
    touches = touches_per_day(world, spend)
    caused = np.zeros_like(touches)
    for place, channel in enumerate(world.channels):
        gathered = np.convolve(touches[:, place], kernel(channel))
        first = 1 + channel.delay
        caused[first:, place] = StockResponse.of(channel, intent).reached_by(
            gathered[: max(world.n_days - first, 0)]
        )
    return world.n_people * world.base_rate * world.column("effect") * caused


@dataclass(frozen=True, eq=False)
class StockResponse:
    """The saturated stock of a channel, averaged over people with their intents as weights.

    Attributes
    ----------
    per_money
        What one unit of money per week, spent steadily, gathers: A / (7 cost), for all people.
    intent, exposure
        Shape (n_people,); i, and e / N. One person stands for all where exposure is random.
    """

    per_money: float
    intent: FloatArray
    exposure: FloatArray

    @classmethod
    def of(cls, channel: SpendChannel, intent: FloatArray) -> StockResponse:
        """Return that of a channel among people of these intents."""
        per_money = float(kernel(channel).sum()) / (DAYS * channel.cost)
        if not channel.targeting:
            return cls(per_money, np.ones(1), np.array([1.0 / len(intent)]))
        chance = intent**channel.targeting
        return cls(per_money, intent / len(intent), chance / chance.sum())

    def reached_by(self, gathered: FloatArray) -> FloatArray:
        """Return the mean of i s where so much is gathered, of the same shape."""
        each = [self.intent @ -np.expm1(-self.exposure * x) for x in gathered.ravel()]
        return np.array(each).reshape(gathered.shape)

    def reached(self, spend: FloatArray) -> FloatArray:
        """Return the mean of i s at steady spend."""
        return self.reached_by(self.per_money * spend)

    def slope(self, spend: FloatArray) -> FloatArray:
        """Return the derivative of `reached`."""
        weight = self.per_money * self.intent * self.exposure
        each = [weight @ np.exp(-self.exposure * self.per_money * x) for x in spend.ravel()]
        return np.array(each).reshape(spend.shape)

    def half_saturation(self) -> float:
        """Return the spend at which the mean of i s is 1/2."""
        from scipy.optimize import brentq

        def lacking(gathered: float) -> float:
            return float(self.reached_by(np.array(gathered))) - 0.5

        high = 1.0 / self.exposure.mean()
        while lacking(high) < 0:
            high *= 2
        return float(brentq(lacking, 0.0, high, xtol=1e-12 * high)) / self.per_money


def kernel(channel: SpendChannel) -> FloatArray:
    """Return g_k of a touch that reached the stock k days ago, until it is negligible."""
    days = channel.half_life * np.log2(max(channel.weight / NEGLIGIBLE, 1.0))
    return -np.expm1(-channel.weight * 0.5 ** (np.arange(int(days) + 1) / channel.half_life))
