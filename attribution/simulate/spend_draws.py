"""What chance decides where channels cost money; `attribution.simulate.spending` has the model.

Intents, plans (demand and spend), touches and conversions each have a random stream of their own,
so that worlds which differ only in effects share people, plans and touches.

Touches and conversions are drawn as numbers per day and then handed to people, which is the same
as independent Poisson processes of the people (superposition) and fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.simulate.draws import seeds_of
from attribution.simulate.hazard import Hazard, weighted_sum
from attribution.simulate.spend_worlds import DAYS, DAYS_PER_YEAR, PAST_WEEKS, SpendWorld


class Events(NamedTuple):
    """Touches or conversions, in order of their days.

    Attributes
    ----------
    person, channel
        Shape (n_events,); the channel is -1 for a conversion.
    time
        Shape (n_events,); microseconds since the first day lived.
    """

    person: IntArray
    channel: IntArray
    time: IntArray


def generators(random_state: int | None, n: int) -> list[np.random.Generator]:
    """Return n independent streams of a seed, see `seeds_of`."""
    return [np.random.default_rng(seed) for seed in seeds_of(random_state, n)]


def draw_intent(world: SpendWorld, rng: np.random.Generator) -> FloatArray:
    """Draw intents and scale them to mean 1, shape (n_people,)."""
    if not world.intent_spread:
        return np.ones(world.n_people)
    variance = world.intent_spread**2
    intent = rng.gamma(1.0 / variance, variance, world.n_people)
    return np.asarray(intent / intent.mean())


def draw_plan(world: SpendWorld, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw the demand shocks, shape (n_weeks,), and the spend, shape (n_weeks, n_channels).

    The weeks before the log are among them.
    """
    n_weeks = PAST_WEEKS + world.n_weeks
    news = rng.standard_normal(n_weeks)
    news[1:] *= np.sqrt(1.0 - world.demand_persistence**2)
    log_shock = np.empty(n_weeks)
    level = 0.0
    for week in range(n_weeks):
        level = world.demand_persistence * level + news[week]
        log_shock[week] = world.demand_sd * level
    own = world.column("variation") * rng.standard_normal((n_weeks, len(world.channels)))
    followed = log_shock[:, None] * world.column("follows_demand")
    variance = world.column("variation") ** 2
    variance = variance + (world.demand_sd * world.column("follows_demand")) ** 2
    spend = world.column("spend") * np.exp(own + followed - variance / 2)
    return np.exp(log_shock - world.demand_sd**2 / 2), spend


def demand_of(world: SpendWorld, shock: FloatArray) -> FloatArray:
    """Return the demand of each day, shape (n_days,), from the shocks of the weeks."""
    years = np.arange(world.n_days) / DAYS_PER_YEAR
    wave = world.season * np.sin(2 * np.pi * years)
    level = 1.0 + wave + world.trend * (years - world.years / 2)
    return np.asarray(level * np.repeat(shock, DAYS))


def touches_per_day(world: SpendWorld, spend: FloatArray) -> FloatArray:
    """Return the expected touches of each day, shape (n_days, n_channels)."""
    return np.repeat(spend / (DAYS * world.column("cost")), DAYS, axis=0)


def draw_touches(
    world: SpendWorld, intent: FloatArray, spend: FloatArray, rng: np.random.Generator
) -> Events:
    """Draw the touches that the spend pays for and hand them to people."""
    counts = rng.poisson(touches_per_day(world, spend))
    day, channel = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), len(world.channels))
    person = rng.integers(0, world.n_people, len(day))
    for code, targeting in enumerate(world.column("targeting")):
        if targeting:
            own = np.flatnonzero(channel == code)
            person[own] = _handed(intent**targeting, len(own), rng)
    return Events(person, channel, _within(day, rng))


def rates(
    world: SpendWorld, intent: FloatArray, demand: FloatArray, touches: Events
) -> Iterator[FloatArray]:
    """Yield the conversions per day of each person, shape (n_people,), for all days lived."""
    hazard = Hazard.of(world.hazard_world())
    arrivals, _ = hazard.arrivals(touches.person, touches.channel, touches.time, len(intent))
    base = world.base_rate * intent
    for today, terms in zip(demand, hazard.days(arrivals, len(intent)), strict=True):
        yield base * (today + weighted_sum(hazard.strengths, terms))


def draw_conversions(
    world: SpendWorld,
    intent: FloatArray,
    demand: FloatArray,
    touches: Events,
    rng: np.random.Generator,
) -> Events:
    """Draw the conversions of the weeks of the log."""
    people, days = [], []
    for day, rate in enumerate(rates(world, intent, demand, touches)):
        if day >= DAYS * PAST_WEEKS:
            people.append(_handed(rate, int(rng.poisson(rate.sum())), rng))
            days.append(np.full(len(people[-1]), day))
    person = np.concatenate(people)
    return Events(person, np.full(len(person), -1), _within(np.concatenate(days), rng))


def _handed(chance: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
    """Draw n people with chances in proportion to these."""
    cumulated = np.cumsum(chance)
    person = np.searchsorted(cumulated, rng.random(n) * cumulated[-1], side="right")
    return np.asarray(np.minimum(person, len(chance) - 1))


def _within(day: IntArray, rng: np.random.Generator) -> IntArray:
    """Spread events evenly over their days."""
    return day * MICROSECONDS_PER_DAY + rng.integers(0, MICROSECONDS_PER_DAY, len(day))
