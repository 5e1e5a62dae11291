"""Weekly spend whose true response is known in closed form: a yardstick for budgets.

**Spend.** Channel c gets the spend x_c(w) in week w: its mean, times a random factor of its own,
times (demand shock of the week)^follows_demand, factors scaled to mean 1. A touch costs cost_c, so
on each of the seven days there is a Poisson number of touches with mean x_c(w) / (7 cost_c). They
are handed to people at random, or with targeting in proportion to intent^targeting_c.

**Stocks** are those of `attribution.simulate`: a touch reaches the stock of its channel, with its
weight w, on the day after it (`delay` days later still); the stock keeps kappa = 2^(-1 / half_life)
from one day to the next and acts through s = 1 - exp(-stock).

**Demand** is D(day) = (1 + season sin(2 pi years) + trend (years - middle)) * shock(week), its mean
about 1. The shocks are lognormal and autoregressive.

**Conversions** recur: a person of intent i buys at the daily rate

    base_rate * i * (D(day) + sum_c effect_c s_c(day)),

a Poisson process. Advertising adds to demand and is not multiplied by it, and channels do not touch
each other: there are no synergies. Intents are scaled to a mean of exactly 1 over the N people.

**Truth.** Let Lambda(day) = sum_k touches(day - 1 - delay - k) g_k, with g_k = 1 - exp(-w kappa^k)
and `touches` the expected touches of a day. Poisson arrivals make the stock shot noise, so that of
the person who gets a share e_i / N of them

    E s(day) = 1 - exp(-e_i Lambda(day) / N),    e_i = i^targeting / mean of i^targeting,

exactly. At steady spend x, with A = sum_k g_k, channel c brings per week

    scale * mean_i [i (1 - exp(-e_i x A / (7 cost N)))],    scale = 7 N base_rate effect.

Without targeting this is scale (1 - 2^(-x / half_saturation)), an exponential curve, whose
half_saturation is 7 cost N ln 2 / A. With targeting the mean goes over the simulated people.

The weeks before the log are lived too, so that stocks are in full swing when it begins; nothing of
them is shown.

Sources: Campbell (1909), The study of discontinuous phenomena (shot noise); Kingman (1993), Poisson
processes, section 3.2 (Campbell's theorem); Broadbent (1979), One way TV advertisements work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray
from attribution.durations import MICROSECONDS_PER_DAY, moment
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.simulate.spend_draws import (
    Events,
    demand_of,
    draw_conversions,
    draw_intent,
    draw_plan,
    draw_touches,
    generators,
)
from attribution.simulate.spend_truth import SpendTruth, incremental_per_day
from attribution.simulate.spend_worlds import DAYS, PAST_WEEKS, SPEND_WORLDS, SpendWorld
from attribution.simulate.world import named_world, require_channel, require_number

if TYPE_CHECKING:
    import pandas as pd

FIRST_WEEK = "2024-01-01"  # a Monday
LOOKBACK = "30D"


@dataclass(frozen=True, eq=False)
class SpendSimulation:
    """A log, the spend that paid for it, and the truth.

    Attributes
    ----------
    journeys
        Cut from the log by `Journeys.from_events` with a lookback of 30 days; a conversion
        without touch in it is a row without touches. The users are numbers from 0 on.
    spend
        Table of week (its Monday, UTC), channel and spend.
    truth
        What the spend brings.
    """

    journeys: Journeys
    spend: pd.DataFrame
    truth: SpendTruth

    def lift(
        self,
        channel: str,
        weeks: range,
        holdout: float = 0.5,
        random_state: int | None = None,
    ) -> tuple[float, float]:
        """Return what a randomised test of a channel would report.

        A share of the people, chosen by lot, does not see the channel during these weeks nor in
        those before whose touches would still act. Compared are conversions per head.

        Parameters
        ----------
        channel
            Its name.
        weeks
            Numbers of the weeks, from 0 on.
        holdout
            Share of the people who do not see the channel; between 0 and 1.
        random_state
            Seed of the test. None: seed 0.

        Returns
        -------
        incremental, standard_error
            Conversions that the channel causes in these weeks if everybody can see it.

        Raises
        ------
        InputError
            If there is no such channel, or weeks or holdout are out of range.

        Notes
        -----
        Let m and m' be the expected conversions per head with the channel and without it, v the
        variance of the intents and h the holdout. The N people are given, chance are their
        purchases and who is held out. The estimate then has the variance

            N [m / (1 - h) + m' / h + v (m h + m' (1 - h))^2 / (h (1 - h))];

        that some see more touches than others adds little and is left out. The report is the true
        figure plus a normal error.
        """
        truth = self.truth
        require_channel(channel, truth.channels, "channel")
        require_number(holdout, "holdout", above=True)
        if holdout >= 1:
            raise InputError(f"holdout is {holdout!r}. Hint: a share below 1.")
        known = range(len(truth.weeks))
        if not isinstance(weeks, range) or not len(weeks) or not set(weeks) <= set(known):
            raise InputError(f"weeks is {weeks!r}. Hint: a range within {known}.")
        caused = truth.incremental[weeks, truth.channels.index(channel)].sum()
        seen = truth.baseline[weeks].sum() + truth.incremental[weeks].sum()
        n_people = len(truth.intent)
        others, held = seen / n_people, (seen - caused) / n_people
        luck = others / (1.0 - holdout) + held / holdout
        mix = (others * holdout + held * (1.0 - holdout)) ** 2 / (holdout * (1.0 - holdout))
        error = float(np.sqrt(n_people * (luck + truth.intent.var() * mix)))
        (rng,) = generators(random_state, 1)
        return float(rng.normal(caused, error)), error

    def __repr__(self) -> str:
        return (
            f"<SpendSimulation: {len(self.truth.weeks)} weeks, "
            f"{len(self.truth.intent):,} people, {len(self.journeys.codes):,} touches, "
            f"{self.journeys.conversions.sum():,.0f} conversions>"
        )


def simulate_spend(
    world: str | SpendWorld = "random spend", random_state: int | None = None
) -> SpendSimulation:
    """Simulate weeks of advertising and what the spend really brings.

    `attribution.simulate.spending` states the model.

    Parameters
    ----------
    world
        A name in `SPEND_WORLDS`, or a world of your own.
    random_state
        Seed. None: seed 0, so that the same input gives the same output.

    Returns
    -------
    SpendSimulation
        Journeys, spend and truth.

    Raises
    ------
    InputError
        If there is no such world, the seed is none, or nothing happens in this world.

    Examples
    --------
    >>> from attribution.simulate import SpendChannel, SpendWorld, simulate_spend
    >>> tv = SpendChannel(name="tv", cost=2.0, spend=900.0, effect=0.5)
    >>> world = SpendWorld(channels=[tv], base_rate=0.01, n_weeks=10, n_people=500)
    >>> simulated = simulate_spend(world)
    >>> simulated.spend.shape, simulated.truth.incremental.shape
    ((10, 3), (10, 1))
    >>> truth = simulated.truth
    >>> float(truth.value(truth.half_saturation)[0] / truth.scale[0])
    0.5
    """
    chosen = named_world(world, SPEND_WORLDS, SpendWorld)
    people, plan, media, buying = generators(random_state, 4)
    intent = draw_intent(chosen, people)
    shock, spend = draw_plan(chosen, plan)
    demand = demand_of(chosen, shock)
    touches = draw_touches(chosen, intent, spend, media)
    conversions = draw_conversions(chosen, intent, demand, touches, buying)
    week = DAYS * MICROSECONDS_PER_DAY
    truth = SpendTruth(
        world=chosen,
        intent=intent,
        weeks=moment(FIRST_WEEK, "FIRST_WEEK") + week * np.arange(chosen.n_weeks),
        spend=spend[PAST_WEEKS:],
        incremental=_per_week(incremental_per_day(chosen, intent, spend)),
        baseline=_per_week(chosen.n_people * chosen.base_rate * demand),
    )
    return SpendSimulation(_journeys(chosen, touches, conversions), _spend_table(truth), truth)


def _per_week(daily: FloatArray) -> FloatArray:
    """Sum the days of each week of the log."""
    weekly = daily.reshape(-1, DAYS, *daily.shape[1:]).sum(axis=1)
    return np.asarray(weekly[PAST_WEEKS:])


def _journeys(world: SpendWorld, touches: Events, conversions: Events) -> Journeys:
    import pandas as pd

    begin = PAST_WEEKS * DAYS * MICROSECONDS_PER_DAY
    start = moment(FIRST_WEEK, "FIRST_WEEK") - begin
    shown = np.searchsorted(touches.time >= begin, True)
    touches = Events(*(column[shown:] for column in touches))
    counts = (len(touches.time), len(conversions.time))
    if not all(counts):
        raise InputError(
            f"This world has {counts[0]} touches and {counts[1]} conversions. Hint: there must be "
            "some of both; raise spend, base_rate, n_people or n_weeks."
        )

    def table(events: Events) -> dict[str, Any]:
        time = (start + events.time).astype("datetime64[us]")
        return {"user_id": events.person, "timestamp": time}

    names = pd.CategoricalDtype(list(world.names))
    channel = pd.Categorical.from_codes(touches.channel, dtype=names)
    last = start + world.n_days * MICROSECONDS_PER_DAY - 1
    return Journeys.from_events(
        pd.DataFrame(table(touches) | {"channel": channel, "converted": False}),
        conversion_events=pd.DataFrame(table(conversions)),
        lookback=LOOKBACK,
        observed_until=pd.Timestamp(last, unit="us", tz="UTC"),
    )


def _spend_table(truth: SpendTruth) -> pd.DataFrame:
    import pandas as pd

    weeks = pd.to_datetime(truth.weeks, unit="us", utc=True)
    n_weeks, n_channels = truth.spend.shape
    return pd.DataFrame(
        {
            "week": np.repeat(weeks, n_channels),
            "channel": np.tile(np.array(truth.channels, dtype=object), n_weeks),
            "spend": truth.spend.ravel(),
        }
    )
