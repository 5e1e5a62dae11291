"""Let the people of `attribution.datasets.world` live: touches, carry-over, conversions, truth.

1. **Touches** are drawn per campaign: a share over everybody in proportion to activity, the
   rest over the days of people with a need, in proportion to intent. Campaigns for awareness
   meet a need early, those for conversion late. Campaigns for retention and advocacy reach
   people only after a purchase.
2. **Carry-over**: a touch adds 1 to the stock of its channel for this person and half of that,
   shared, to the stock of colleagues; stock decays with the half-life of the channel and counts
   as ``1 - exp(-stock)``.
3. **Hazards**: on each day of a need, ``P(lead) = 1 - exp(-rate * intent * (1 + lift))`` with
   lift the sum of effect times stock over channels; from the lead on, the same for the
   purchase. A random number per need and day, drawn beforehand, decides.
4. **Truth**: the world is decided again from the same touches and random numbers with one
   channel, or all, removed. Less stock can only make a lead or purchase later or never, so no
   channel gains from being switched off, and one without effect loses exactly nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribution.datasets.world import (
    BOT,
    BOT_DAYS,
    CAMPAIGNS,
    CHANNEL_OF,
    CHANNELS,
    CUSTOMER_STAGES,
    N_DAYS,
    N_PEOPLE,
    NAMES,
    OUTAGE,
    Floats,
    Ints,
    Needs,
    People,
)

LEAD_RATE, PURCHASE_RATE = 0.009, 0.040
SPILLOVER = 0.5
N_BOT_TOUCHES = 1_500
DAY = 86_400  # seconds
HOURS = np.array(
    [6, 3, 2, 1, 1, 2, 5, 11, 17, 20, 22, 23, 26, 24, 22, 22, 23, 25, 28, 33, 37, 36, 27, 15],
    dtype=float,
)
STORE_HOURS = np.where((np.arange(24) >= 9) & (np.arange(24) < 19), HOURS, 0.0)


@dataclass(frozen=True, eq=False)
class Touches:
    """Touches in no particular order; ``second`` counts from midnight UTC of ``day``."""

    person: Ints
    day: Ints
    second: Ints
    campaign: Ints

    def __add__(self, other: Touches) -> Touches:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Touches(*(np.concatenate(pair) for pair in pairs))

    def take(self, rows: Ints) -> Touches:
        """Return these rows in this order."""
        return Touches(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True, eq=False)
class Outcome:
    """Per need the cell of the lead and of the purchase; where none, the number of cells."""

    lead: Ints
    purchase: Ints


def draw(weights: Floats, n: int, rng: np.random.Generator) -> Ints:
    """Draw n indices in proportion to the weights."""
    cumulated = np.cumsum(weights)
    indices: Ints = np.searchsorted(cumulated, rng.random(n) * cumulated[-1], side="right")
    return indices


def draw_seconds(n: int, rng: np.random.Generator, hours: Floats = HOURS) -> Ints:
    """Draw n times of day in seconds, in proportion to the weights of the 24 hours."""
    return 3600 * draw(hours, n, rng) + rng.integers(0, 3600, n)


def draw_touches(people: People, needs: Needs, reach: Floats, rng: np.random.Generator) -> Touches:
    """Draw the touches of all campaigns but those for customers."""
    timing = {
        "awareness": np.exp(-3.0 * needs.progress),
        "consideration": np.sin(np.pi * needs.progress),
        "conversion": needs.progress**2,
    }
    interest = needs.intent * people.activity[needs.person[needs.need]]
    parts = []
    for code, (channel, campaign) in enumerate(CAMPAIGNS):
        if campaign.stage in CUSTOMER_STAGES:
            continue
        share = CHANNELS[channel].intent_share
        weights = interest * timing[campaign.stage] * reach[code, needs.day]
        cells = draw(weights, rng.poisson(share * campaign.touches), rng)
        n_anyone = rng.poisson((1.0 - share) * campaign.touches)
        person = np.append(needs.person[needs.need[cells]], draw(people.activity, n_anyone, rng))
        day = np.append(needs.day[cells], draw(reach[code], n_anyone, rng))
        hours = STORE_HOURS if channel == "store_visit" else HOURS
        seconds = draw_seconds(len(person), rng, hours)
        parts.append(Touches(person, day, seconds, np.full(len(person), code)))
    return sum(parts[1:], parts[0])


def draw_customer_touches(needs: Needs, outcome: Outcome, rng: np.random.Generator) -> Touches:
    """Draw the touches of campaigns for retention and advocacy, days to months after a purchase."""
    bought = np.flatnonzero(outcome.purchase < len(needs.need))
    sizes = [c.touches if c.stage in CUSTOMER_STAGES else 0 for _, c in CAMPAIGNS]
    campaign = np.repeat(np.arange(len(CAMPAIGNS)), sizes)
    need = rng.choice(bought, len(campaign))
    wait = 1 + rng.exponential(45.0, len(campaign)).astype(np.int64)
    day = needs.day[outcome.purchase[need]] + wait
    touches = Touches(needs.person[need], day, draw_seconds(len(day), rng), campaign)
    return touches.take(np.flatnonzero(day < N_DAYS))


def draw_bot(reach: Floats, rng: np.random.Generator) -> Touches:
    """Draw the clicks of the bot: three channels, while their campaigns run, at any hour."""
    channels = [NAMES.index(name) for name in ("affiliate", "display", "paid_search")]
    codes = np.flatnonzero(np.isin(CHANNEL_OF, channels))
    cells = draw(reach[codes, BOT_DAYS.start : BOT_DAYS.stop].ravel(), N_BOT_TOUCHES, rng)
    campaign, day = np.divmod(cells, len(BOT_DAYS))
    seconds = rng.integers(0, DAY, N_BOT_TOUCHES)
    return Touches(np.full(N_BOT_TOUCHES, BOT), BOT_DAYS.start + day, seconds, codes[campaign])


def carry_over(touches: Touches, people: People, needs: Needs) -> Floats:
    """Return the saturated stock of each channel in each cell, (channels, cells), in [0, 1)."""
    touches = touches.take(np.argsort(touches.day, kind="stable"))
    by_day = np.argsort(needs.day, kind="stable")
    days = np.arange(N_DAYS + 1)
    touch_bounds = np.searchsorted(touches.day, days)
    cell_bounds = np.searchsorted(needs.day[by_day], days)
    decay = 0.5 ** (1.0 / np.array([channel.half_life for channel in CHANNELS.values()]))
    stock = np.zeros((len(NAMES), N_PEOPLE))
    result = np.zeros((len(NAMES), len(needs.day)))
    for day in range(N_DAYS):
        today = slice(touch_bounds[day], touch_bounds[day + 1])
        stock *= decay[:, None]
        np.add.at(stock, (CHANNEL_OF[touches.campaign[today]], touches.person[today]), 1.0)
        cells = by_day[cell_bounds[day] : cell_bounds[day + 1]]
        shared = _share_with_colleagues(stock, people)
        result[:, cells] = shared[:, needs.person[needs.need[cells]]]
    return -np.expm1(-result)


def _share_with_colleagues(stock: Floats, people: People) -> Floats:
    """Add half of the mean stock of the other members of the account; members come first."""
    account = people.account[people.account >= 0]
    starts = np.flatnonzero(np.diff(account, prepend=-1))
    sizes = np.diff(starts, append=len(account))
    own = stock[:, : len(account)]
    others = np.maximum(np.add.reduceat(own, starts, axis=1)[:, account] - own, 0.0)
    shared = stock.copy()
    shared[:, : len(account)] += SPILLOVER * others / (sizes[account] - 1)
    return shared


def decide(people: People, needs: Needs, lead_lift: Floats, purchase_lift: Floats) -> Outcome:
    """Return the outcome of the needs under these lifts, (cells,)."""
    cells = np.arange(len(needs.need))
    possible = ~np.isin(needs.day, OUTAGE)
    rate = LEAD_RATE * needs.intent * (1.0 + lead_lift)
    hit = possible & (needs.lead_draw < -np.expm1(-rate))
    lead = np.minimum.reduceat(np.where(hit, cells, len(cells)), needs.starts)
    authority = people.authority[needs.person[needs.need]]
    rate = PURCHASE_RATE * authority * needs.intent * (1.0 + purchase_lift)
    hit = possible & (cells >= lead[needs.need]) & (needs.purchase_draw < -np.expm1(-rate))
    return Outcome(lead, np.minimum.reduceat(np.where(hit, cells, len(cells)), needs.starts))


def decide_without(people: People, needs: Needs, stock: Floats) -> tuple[Outcome, list[Outcome]]:
    """Return the outcome as it is, then those without each channel in turn and without all."""
    lead_lifts = np.array([channel.lead_effect for channel in CHANNELS.values()])[:, None] * stock
    purchase_lifts = np.array([c.purchase_effect for c in CHANNELS.values()])[:, None] * stock
    lead_total, purchase_total = lead_lifts.sum(axis=0), purchase_lifts.sum(axis=0)
    without = [
        decide(
            people,
            needs,
            np.maximum(lead_total - lead, 0.0),
            np.maximum(purchase_total - purchase, 0.0),
        )
        for lead, purchase in zip(lead_lifts, purchase_lifts, strict=True)
    ]
    nothing = np.zeros_like(lead_total)
    without.append(decide(people, needs, nothing, nothing))
    return decide(people, needs, lead_total, purchase_total), without


def make_truth(needs: Needs, actual: Outcome, without: list[Outcome]) -> pd.DataFrame:
    """Return what each channel, all of them, and none of them (organic) account for."""

    def totals(outcome: Outcome) -> Ints:
        bought = outcome.purchase < len(needs.need)
        n_leads = np.count_nonzero(outcome.lead < len(needs.need))
        return np.array([np.count_nonzero(bought), needs.value[bought].sum(), n_leads])

    rows = [totals(actual) - totals(outcome) for outcome in without] + [totals(without[-1])]
    purchases, cents, leads = np.array(rows).T
    return pd.DataFrame(
        {
            "channel": [*NAMES, "(all)", "(organic)"],
            "purchases_lost": purchases,
            "value_lost": cents / 100.0,
            "leads_lost": leads,
        }
    )
