"""The simulated world behind the sample data: channels, people, their needs, and money.

A **person** meets channels on several devices; some people belong to the account of a company,
where they play a role. A **need** is a span of days in which a person wants what the shop
sells: ``intent`` rises from nothing, peaks half way and falls back. The days of all needs are
the **cells** of the simulation; nobody converts outside a need, and each need ends in at most
one lead and at most one purchase after it.

Spend of a campaign varies over weeks (season, pulses, pauses, a late launch) and drives its
**reach** with diminishing returns. Reach is spread partly over everybody and partly over people
with intent (``Channel.intent_share``); the second part is what confounds brand search and
retargeting with the wish to buy that was there anyway. ``Channel.lead_effect`` and
``Channel.purchase_effect`` are the truth: by how much a full carry-over stock of the channel
raises the daily hazard, in multiples of the organic hazard.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FIRST_DAY = date(2024, 1, 1)  # a Monday
N_DAYS = 425  # up to and including 2025-02-28
N_WEEKS = 61  # the last one has five days
N_PEOPLE = 9_000
N_ACCOUNTS = 250
OUTAGE = range(225, 228)  # 2024-08-13 to 2024-08-15
PODCAST_LAUNCH = 35  # week of 2024-09-02
LONGEST_NEED = 60
BOT, BOT_DAYS = 4_711, range(126, 147)  # 2024-05-06 to 2024-05-26

DEVICES = ("phone", "laptop", "tablet", "tv", "loyalty_card")
ROLES = ("buyer", "decision_maker", "influencer", "user")
CUSTOMER_STAGES = ("retention", "advocacy")
CPM = {"audio": 20.0, "cpc": 25.0, "display": 4.0, "paid_social": 9.0, "referral": 15.0, "tv": 12.0}
MONTH_DEMAND = np.array([0.9, 0.9, 1.0, 1.0, 1.0, 0.9, 0.8, 0.85, 1.0, 1.1, 1.5, 1.45])


class Campaign(NamedTuple):
    """A campaign: about ``touches`` touches over the whole time, at ``cost`` each."""

    name: str
    stage: str
    touch_type: str
    touches: int
    cost: float = 0.0


class Channel(NamedTuple):
    """A channel, its true effects, the half-life of their carry-over in days, and its campaigns."""

    medium: str
    ownership: str
    setting: str
    activity: str
    intent_share: float
    lead_effect: float
    purchase_effect: float
    half_life: float
    campaigns: tuple[Campaign, ...]


CHANNELS: dict[str, Channel] = {
    "affiliate": Channel(
        "referral", "paid", "online", "active", 0.97, 0.0, 0.0, 3.0,
        (
            Campaign("coupons", "conversion", "click", 1_500, 0.70),
            Campaign("cashback", "conversion", "click", 700, 0.80),
            Campaign("bloggers", "consideration", "click", 400, 0.60),
        ),
    ),
    "brand_search": Channel(
        "cpc", "paid", "online", "active", 0.97, 0.8, 0.6, 2.0,
        (
            Campaign("brand_exact", "conversion", "click", 2_500, 0.35),
            Campaign("brand_plus_product", "conversion", "click", 1_000, 0.45),
        ),
    ),
    "direct": Channel(
        "none", "owned", "online", "active", 0.90, 0.4, 0.3, 1.0,
        (
            Campaign("homepage", "consideration", "click", 2_200),
            Campaign("product_page", "conversion", "click", 1_500),
            Campaign("app", "retention", "click", 800),
        ),
    ),
    "display": Channel(
        "display", "paid", "online", "passive", 0.15, 1.6, 0.4, 5.0,
        (
            Campaign("prospecting", "awareness", "view", 2_800, 0.18),
            Campaign("contextual", "awareness", "view", 1_900, 0.22),
            Campaign("lookalike", "consideration", "view", 1_300, 0.25),
        ),
    ),
    "email": Channel(
        "email", "owned", "online", "passive", 0.50, 1.8, 2.4, 4.0,
        (
            Campaign("newsletter", "consideration", "click", 1_800),
            Campaign("cart_reminder", "conversion", "click", 700),
            Campaign("loyalty", "retention", "click", 1_200),
            Campaign("refer_a_friend", "advocacy", "click", 600),
        ),
    ),
    "paid_search": Channel(
        "cpc", "paid", "online", "active", 0.80, 3.0, 1.6, 5.0,
        (
            Campaign("generic", "consideration", "click", 3_000, 1.10),
            Campaign("category", "consideration", "click", 2_000, 0.95),
            Campaign("competitor", "conversion", "click", 1_000, 1.40),
        ),
    ),
    "podcast": Channel(
        "audio", "paid", "online", "passive", 0.10, 5.0, 1.2, 14.0,
        (
            Campaign("host_read", "awareness", "view", 1_300, 0.80),
            Campaign("sponsored_series", "awareness", "view", 700, 1.00),
        ),
    ),
    "retargeting": Channel(
        "display", "paid", "online", "passive", 0.95, 0.4, 1.0, 2.0,
        (
            Campaign("site_visitors", "consideration", "view", 2_500, 0.30),
            Campaign("cart_abandoners", "conversion", "click", 1_200, 0.55),
            Campaign("dynamic_products", "conversion", "click", 800, 0.50),
        ),
    ),
    "social_organic": Channel(
        "social", "earned", "online", "passive", 0.35, 2.2, 1.2, 5.0,
        (
            Campaign("brand_posts", "awareness", "view", 1_800),
            Campaign("video_reviews", "consideration", "click", 1_100),
            Campaign("customer_posts", "advocacy", "view", 600),
        ),
    ),
    "social_paid": Channel(
        "paid_social", "paid", "online", "passive", 0.30, 3.2, 1.0, 5.0,
        (
            Campaign("video_views", "awareness", "view", 2_500, 0.25),
            Campaign("carousel", "consideration", "click", 2_400, 0.60),
            Campaign("lead_ads", "consideration", "click", 1_600, 0.85),
        ),
    ),
    "store_visit": Channel(
        "store", "owned", "offline", "active", 0.85, 3.0, 4.5, 5.0,
        (
            Campaign("flagship", "conversion", "click", 800),
            Campaign("pop_up", "consideration", "click", 600),
        ),
    ),
    "tv": Channel(
        "tv", "paid", "offline", "passive", 0.05, 3.6, 0.8, 12.0,
        (
            Campaign("brand_film", "awareness", "view", 2_700, 0.90),
            Campaign("product_spot", "awareness", "view", 1_800, 0.75),
        ),
    ),
}  # fmt: skip
NAMES = tuple(CHANNELS)
CAMPAIGNS = tuple((name, c) for name, channel in CHANNELS.items() for c in channel.campaigns)
CHANNEL_OF = np.array([NAMES.index(name) for name, _ in CAMPAIGNS], dtype=np.int64)
PAID = np.array([CHANNELS[name].ownership == "paid" for name, _ in CAMPAIGNS])


@dataclass(frozen=True, eq=False)
class People:
    """Who lives in the world; all arrays have one entry per person.

    ``account`` and ``role`` are -1 for consumers. ``activity`` scales how much a person meets
    channels, ``strength`` how strong the intent is, ``authority`` the hazard of buying.
    ``owns`` is (people, 5), aligned with `DEVICES`, and ``device_numbers`` (people, 5) numbers
    the devices.
    """

    account: Ints
    role: Ints
    activity: Floats
    strength: Floats
    authority: Floats
    owns: Bools
    device_numbers: Ints


@dataclass(frozen=True, eq=False)
class Needs:
    """Needs (``person``, ``value`` in cents of the purchase they may end in) and their cells.

    The cells of a need are neighbours, in order of days, beginning at ``starts``. Per cell:
    ``need``, ``day``, ``progress`` through the need in (0, 1), ``intent``, and the random
    numbers ``lead_draw`` and ``purchase_draw``, uniform on [0, 1), which every counterfactual
    world shares.
    """

    person: Ints
    value: Ints
    starts: Ints
    need: Ints
    day: Ints
    progress: Floats
    intent: Floats
    lead_draw: Floats
    purchase_draw: Floats


def make_people(rng: np.random.Generator) -> People:
    """Draw people; the first ones are the members of the accounts."""
    sizes = rng.integers(2, 7, N_ACCOUNTS)
    n_members = int(sizes.sum())
    account = np.full(N_PEOPLE, -1, dtype=np.int64)
    role = np.full(N_PEOPLE, -1, dtype=np.int64)
    account[:n_members] = np.repeat(np.arange(N_ACCOUNTS), sizes)
    place = np.arange(n_members) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    role[:n_members] = np.where(place < 2, place, 2 + rng.integers(0, 2, n_members))
    owns = rng.random((N_PEOPLE, len(DEVICES))) < np.array([1.0, 0.65, 0.25, 1.0, 1.0])
    owns[:n_members, 1] = True
    owns[BOT, :3] = False, True, False
    activity = rng.lognormal(0.0, 0.8, N_PEOPLE)
    activity[BOT] = 0.0
    return People(
        account=account,
        role=role,
        activity=activity,
        strength=rng.lognormal(0.0, 0.5, N_PEOPLE),
        authority=np.array([1.5, 0.5, 0.0, 0.0, 1.0])[role],
        owns=owns,
        device_numbers=rng.permutation(owns.size).reshape(owns.shape),
    )


def make_needs(people: People, rng: np.random.Generator) -> Needs:
    """Draw needs, more of them in November and December; colleagues have theirs together."""
    count = rng.choice(5, N_PEOPLE, p=[0.12, 0.52, 0.23, 0.09, 0.04])
    timing = rng.random((N_PEOPLE, 5))  # one number per need, and one which turns the calendar
    member = people.account >= 0
    leader = np.searchsorted(people.account[member], people.account[member])
    count[member], timing[member] = count[leader], timing[leader]
    count[BOT] = 0
    person = np.repeat(np.arange(N_PEOPLE), count)
    rank = np.arange(len(person)) - np.repeat(np.cumsum(count) - count, count)
    quantile = ((rank + 0.6 * timing[person, rank]) / count[person] + timing[person, 4]) % 1.0
    demand = np.cumsum(daily_demand(-LONGEST_NEED // 2))
    first = np.searchsorted(demand / demand[-1], quantile) - LONGEST_NEED // 2
    first = first + np.where(member[person], rng.integers(0, 5, len(person)), 0)
    length = rng.integers(14, LONGEST_NEED + 1, len(person))
    value = np.exp(rng.normal(4.1, 0.55, len(person)) + 1.6 * member[person])
    return _cells(people, person, first, length, np.rint(100 * value).astype(np.int64), rng)


def _cells(
    people: People, person: Ints, first: Ints, length: Ints, value: Ints, rng: np.random.Generator
) -> Needs:
    """Lay out the days of the needs, as far as they lie inside the simulated time."""
    seen = (first + length > 0) & (first < N_DAYS)
    person, first, length, value = person[seen], first[seen], length[seen], value[seen]
    need = np.repeat(np.arange(len(person)), length)
    step = np.arange(len(need)) - np.repeat(np.cumsum(length) - length, length)
    day = first[need] + step
    inside = (day >= 0) & (day < N_DAYS)
    need, day = need[inside], day[inside]
    progress = (step[inside] + 0.5) / length[need]
    return Needs(
        person=person,
        value=value,
        starts=np.searchsorted(need, np.arange(len(person))),
        need=need,
        day=day,
        progress=progress,
        intent=people.strength[person[need]] * np.sin(np.pi * progress),
        lead_draw=rng.random(len(need)),
        purchase_draw=rng.random(len(need)),
    )


def daily_demand(first: int = 0) -> Floats:
    """Demand per day from day ``first`` on, 1 on an average day."""
    days = np.datetime64(FIRST_DAY) + np.arange(first, N_DAYS)
    return MONTH_DEMAND[days.astype("datetime64[M]").astype(np.int64) % 12]


def make_spend(rng: np.random.Generator) -> Ints:
    """Draw the weekly spend in cents, (campaigns, weeks); 0 for campaigns which cost nothing."""
    shape = (len(CAMPAIGNS), N_WEEKS)
    season = daily_demand()[np.arange(N_WEEKS) * 7]
    plan = season * np.exp(rng.normal(0.0, 0.15, shape))
    pulses = rng.random(shape) < 0.12
    plan = np.where(pulses, 1.9 * plan, plan)
    pauses, pause_lengths = rng.integers(4, N_WEEKS - 6, shape[0]), rng.integers(2, 5, shape[0])
    for row, (channel, campaign) in enumerate(CAMPAIGNS):
        plan[row, pauses[row] : pauses[row] + pause_lengths[row]] = 0.0
        if channel == "tv":  # flights of four weeks, then four weeks of silence
            plan[row, (np.arange(N_WEEKS) + 2 * (row % 2)) % 8 >= 4] = 0.0
        if channel == "podcast":
            plan[row, :PODCAST_LAUNCH] = 0.0
        plan[row] *= _days_of_weeks()
        plan[row] *= 100 * campaign.cost * campaign.touches / plan[row].sum()
    return np.rint(plan).astype(np.int64)


def daily_reach(spend: Ints) -> Floats:
    """Reach per campaign and day, (campaigns, days): saturating in spend, steady where free."""
    rate = spend / _days_of_weeks()
    usual = np.where(PAID, rate.sum(axis=1) / np.maximum((rate > 0).sum(axis=1), 1), 1.0)
    relative = rate / usual[:, None]
    reach = np.where(PAID[:, None], relative / (1.0 + relative), 0.5)
    days = np.arange(N_DAYS)
    workday = np.where(days % 7 < 5, 1.0, 0.85)
    return reach[:, days // 7] * workday


def _days_of_weeks() -> Ints:
    return np.minimum(7, N_DAYS - 7 * np.arange(N_WEEKS))
