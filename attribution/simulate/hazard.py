"""From touches to hazards, day by day, for many people at once.

All hazards here are in multiples of a person's own base hazard, base_rate * intent, and all
cumulated hazards in days of it. A person's *need* is the threshold in this unit,
E / (base_rate * intent): without advertising the conversion comes after so many days.

The *terms* of the hazard are the saturated stocks s_c of the channels that have an effect, then
the products s_a s_b of the pairs that have a synergy. `strengths` are their factors; switching
channel c off takes out s_c and every product with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.segments import keep_entries
from attribution.simulate.world import World


@dataclass(frozen=True, eq=False)
class Arrivals:
    """When what reaches which stock.

    Attributes
    ----------
    stock
        Shape (n_arrivals,), sorted by day; row * n_units + unit of the stock.
    weight
        Shape (n_arrivals,).
    offsets
        Shape (n_days + 1,); the arrivals of each day.
    """

    stock: IntArray
    weight: FloatArray
    offsets: IntArray

    def keep(self, chosen: BoolArray) -> Arrivals:
        """Return the marked arrivals."""
        return replace(
            self,
            stock=self.stock[chosen],
            weight=self.weight[chosen],
            offsets=keep_entries(self.offsets, chosen),
        )


@dataclass(frozen=True, eq=False)
class Hazard:
    """The hazard of a world as a sum of terms.

    Attributes
    ----------
    n_days
        Days of the watch.
    row
        Shape (n_channels,); the stock of each channel, -1 where the channel does nothing.
    arrival, weight
        Shape (n_channels,); days from a touch to its arrival in the stock, and what it adds.
    kept
        Shape (n_stocks,); share of a stock that is left after a day.
    pairs
        The stocks whose product is a term.
    strengths
        Shape (n_terms,).
    strengths_without
        Shape (n_channels + 1, n_terms); with each channel off, then with all.
    """

    n_days: int
    row: IntArray
    arrival: IntArray
    weight: FloatArray
    kept: FloatArray
    pairs: list[tuple[int, int]]
    strengths: FloatArray
    strengths_without: FloatArray

    @classmethod
    def of(cls, world: World) -> Hazard:
        """Read the hazard off a world."""
        names = world.names
        synergies = {pair: strength for pair, strength in world.synergies.items() if strength > 0}
        together = {name for pair in synergies for name in pair}
        acting = [c.name for c in world.channels if c.effect > 0 or c.name in together]
        row = np.array([acting.index(name) if name in acting else -1 for name in names])
        effects = [channel.effect for channel in world.channels if channel.name in acting]
        strengths = np.array([*effects, *synergies.values()], dtype=np.float64)
        terms: list[tuple[str, ...]] = [*((name,) for name in acting), *synergies]
        on = np.array([[name not in term for term in terms] for name in names])
        return cls(
            n_days=world.n_days,
            row=row,
            arrival=1 + world.column("delay"),
            weight=world.column("weight").astype(np.float64),
            kept=0.5 ** (1.0 / world.column("half_life")[row >= 0]),
            pairs=[(acting.index(a), acting.index(b)) for a, b in synergies],
            strengths=strengths,
            strengths_without=np.vstack((strengths * on, np.zeros_like(strengths))),
        )

    def arrivals(
        self, unit: IntArray, channel: IntArray, time: IntArray, n_units: int
    ) -> tuple[Arrivals, IntArray]:
        """Sort touches, columns of shape (n_touches,), by the day on which they arrive.

        Returns
        -------
        arrivals, touch
            The touches that arrive within the watch at a stock that does something, and which
            touch each is.
        """
        day = time // MICROSECONDS_PER_DAY + self.arrival[channel]
        touch = np.flatnonzero((day < self.n_days) & (self.row[channel] >= 0))
        touch = touch[np.argsort(day[touch], kind="stable")]
        offsets = np.searchsorted(day[touch], np.arange(self.n_days + 1))
        stock = self.row[channel[touch]] * n_units + unit[touch]
        return Arrivals(stock, self.weight[channel[touch]], offsets), touch

    def days(self, arrivals: Arrivals, n_units: int) -> Iterator[FloatArray]:
        """Yield the terms of each day, shape (n_terms, n_units), always in the same array."""
        n_stocks = len(self.kept)
        debt = np.zeros((n_stocks, n_units))  # stocks with their sign changed
        terms = np.empty((len(self.strengths), n_units))
        saturated = terms[:n_stocks]
        for first, last in zip(arrivals.offsets[:-1], arrivals.offsets[1:], strict=True):
            debt *= self.kept[:, None]
            np.subtract.at(
                debt.reshape(-1), arrivals.stock[first:last], arrivals.weight[first:last]
            )
            np.expm1(debt, out=saturated)
            np.negative(saturated, out=saturated)
            for product, (a, b) in zip(terms[n_stocks:], self.pairs, strict=True):
                np.multiply(terms[a], terms[b], out=product)
            yield terms


def weighted_sum(strengths: FloatArray, terms: FloatArray) -> FloatArray:
    """Add terms, shape (n_terms, n_units), times their strengths; always in the same order.

    Unlike a product by BLAS, equal strengths give equal bits.
    """
    total = np.zeros(terms.shape[1])
    for strength, term in zip(strengths, terms, strict=True):
        if strength:
            total += strength * term
    return total


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of people.

    Attributes
    ----------
    day
        Shape (n_units,); the conversion in days since the watch began; n_days where there is none.
    converted
        Shape (n_units,).
    converted_without
        Shape (n_channels + 1, n_units); with each channel off, then with all.
    """

    day: FloatArray
    converted: BoolArray
    converted_without: BoolArray


def decide(hazard: Hazard, arrivals: Arrivals, need: FloatArray) -> Outcome:
    """Find who converts and when, and who would have without the channels.

    Parameters
    ----------
    hazard
        Of the world.
    arrivals
        Of these people.
    need
        Shape (n_units,); days of base hazard.
    """
    day = np.full(len(need), float(hazard.n_days))
    cumulated = np.zeros(len(need))
    sums = np.zeros((len(hazard.strengths), len(need)))
    for today, terms in enumerate(hazard.days(arrivals, len(need))):
        rate = 1.0 + weighted_sum(hazard.strengths, terms)
        after = cumulated + rate
        hit = np.flatnonzero((cumulated < need) & (need <= after))
        day[hit] = today + (need[hit] - cumulated[hit]) / rate[hit]
        cumulated = after
        sums += terms

    def reached(strengths: FloatArray) -> BoolArray:
        return np.asarray(hazard.n_days + weighted_sum(strengths, sums) >= need)

    converted = reached(hazard.strengths)
    without = np.array([reached(strengths) for strengths in hazard.strengths_without])
    return Outcome(np.where(converted, day, hazard.n_days), converted, without)
