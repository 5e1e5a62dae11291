"""People whose true advertising effects are known: a yardstick for attribution.

**People.** Each person has an intent i, drawn once, with mean 1 and standard deviation
`intent_spread` (a gamma distribution; 0 gives everybody intent 1). They are watched for `n_days`.

**Touches.** A person has a Poisson number of touches of channel c, with mean
touches_c * i^targeting_c, at times spread evenly over the watch. With targeting 0 the exposure is
random; above 0 people who would buy anyway see more of the channel. That is confounding. Visits of
people's own accord are a channel like any other, say "direct", whose effect is 0.

**Hazard.** On day d a person converts at the rate, per day,

    base_rate * i * (1 + sum_c effect_c s_c(d) + sum_ab synergy_ab s_a(d) s_b(d)),

    s_c(d) = 1 - exp(-stock_c(d)),    stock_c(d) = 2^(-1 / half_life_c) stock_c(d - 1) + arrivals.

A touch arrives in the stock, with its weight, at the start of the day after it (and `delay` days
later still). Stocks carry over and fade; their effect saturates.

**Conversion.** Each person has a threshold E, drawn once from the unit exponential distribution,
and converts when the hazard cumulated so far reaches E: within a day, since the rate is constant
there. Nobody converts twice. The log shows the touches before the conversion.

**Truth.** The same people with the same touches and thresholds live again with one channel
ineffective, then with all of them. What does not happen then was caused by them. An effect of 0
loses exactly 0, and because effects are never negative nobody converts who did not before.

**Accounts.** With `people_per_account` above 1 the intent, the stocks and the conversion are those
of an account, and all its people have touches.

`simulate` yields journeys and truth; `Response` tells how conversions rise with exposure. Worlds
come from `WORLDS` or are built from `Channel` and `World`.

**Money.** In the worlds of `SPEND_WORLDS`, or those built from `SpendChannel` and `SpendWorld`,
touches are bought week by week and people convert again and again, so that the response to spend
is known in closed form: `simulate_spend` yields journeys, spend and `SpendTruth`, and
`attribution.simulate.spending` states that model.

Sources: Broadbent (1979), One way TV advertisements work (carry-over); Jin, Wang, Sun, Chan and
Koehler (2017), Bayesian methods for media mix modeling with carryover and shape effects; Bender,
Augustin and Blettner (2005), Generating survival times to simulate Cox proportional hazards models
(thresholds).
"""

from attribution.simulate.presets import WORLDS
from attribution.simulate.response import Response, expected_conversions
from attribution.simulate.simulation import Simulation, Truth, simulate
from attribution.simulate.spend_truth import SpendTruth
from attribution.simulate.spend_worlds import SPEND_WORLDS, SpendChannel, SpendWorld
from attribution.simulate.spending import SpendSimulation, simulate_spend
from attribution.simulate.world import Channel, World

__all__ = [
    "SPEND_WORLDS",
    "WORLDS",
    "Channel",
    "Response",
    "Simulation",
    "SpendChannel",
    "SpendSimulation",
    "SpendTruth",
    "SpendWorld",
    "Truth",
    "World",
    "expected_conversions",
    "simulate",
    "simulate_spend",
]
