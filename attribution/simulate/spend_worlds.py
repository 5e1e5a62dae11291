"""Worlds in which channels cost money, and presets; `attribution.simulate.spending` has the model.

Both are shops of 3,000 regular buyers with about 400 conversions a week, half of them by
advertising, who see many faint ads: under 3 million touches in two years.

- "random spend": every week's spend is chance, varied widely on purpose, and exposure is random.
  So the weeks are an experiment: a regression of conversions on spend is not confounded
  ("affiliate" does nothing).
- "spend follows demand": more is spent when people want to buy anyway. "brand_search" does so in
  more than proportion to demand, and reaches those who are about to buy, yet has hardly any
  effect: both its share of journeys and its correlation with conversions speak for it
  ("affiliate" does nothing).

Sources: Blake, Nosko and Tadelis (2015), Consumer heterogeneity and paid search effectiveness
(brand search); Lewis and Rao (2015), The unfavorable economics of measuring the returns to
advertising.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np

from attribution.arrays import Array, FrozenDict, Immutable
from attribution.errors import InputError
from attribution.simulate.world import Channel, World, require_number, require_whole

DAYS = 7  # of a week
PAST_WEEKS = 8  # lived before the log begins
DAYS_PER_YEAR = 365.25
_WIDE: dict[str, Any] = {"variation": 1.0, "weight": 0.3}  # spend varied on purpose; faint touches


@dataclass(frozen=True, kw_only=True)
class SpendChannel:
    """A channel that is paid for by the touch.

    Attributes
    ----------
    name
        Its name.
    cost
        Money per touch; above 0.
    spend
        Mean money per week; 0 or more.
    effect
        What a saturated stock adds to the hazard, in multiples of the base hazard; 0 or more.
    variation
        Standard deviation of the logarithm of a week's random spend, independent over weeks and
        channels; 0 or more.
    follows_demand
        Exponent of the week's demand shock in its spend; 0 or more. 0 is spend that knows nothing
        of demand.
    half_life
        Days after which half of the stock is left; above 0.
    targeting
        Exponent of the intent in the chance of a touch; 0 or more. 0 is random exposure.
    weight
        What a touch adds to the stock; above 0.
    delay
        Whole days by which a touch reaches the stock later than on the following day.
    """

    name: str
    cost: float
    spend: float
    effect: float
    variation: float = 0.5
    follows_demand: float = 0.0
    half_life: float = 7.0
    targeting: float = 0.0
    weight: float = 1.0
    delay: int = 0

    def __post_init__(self) -> None:
        self.hazard_channel()  # checks what both kinds of channel have
        of = f" of channel {self.name!r}"
        require_number(self.cost, "cost" + of, above=True)
        require_number(self.half_life, "half_life" + of, above=True)
        for name in ("spend", "variation", "follows_demand"):
            require_number(getattr(self, name), name + of)

    def hazard_channel(self) -> Channel:
        """Return what makes the hazard; touches are drawn from the spend."""
        shared = {each.name for each in fields(Channel)} & {each.name for each in fields(self)}
        return Channel(touches=0.0, **{name: getattr(self, name) for name in shared})


@dataclass(frozen=True, kw_only=True, eq=False)
class SpendWorld(Immutable):
    """People, the channels that reach them for money, and the demand that comes by itself.

    Attributes
    ----------
    channels
        At least one; kept sorted by name.
    base_rate
        Conversions per day of a person of intent 1 without advertising at mean demand; above 0.
    n_weeks
        Weeks of the log; at least 1.
    n_people
        People who live through all of them.
    intent_spread
        Standard deviation of intent, whose mean is 1; 0 for equal people.
    season
        Amplitude of the yearly wave of demand, as a share of its mean.
    trend
        Change of demand per year, as a share of its mean; may be negative.
    demand_sd
        Standard deviation of the logarithm of a week's demand shock.
    demand_persistence
        Correlation of the shocks (their logarithms) of two weeks that follow each other; from 0
        to below 1.

    Examples
    --------
    >>> from attribution.simulate import SpendChannel, SpendWorld
    >>> tv = SpendChannel(name="tv", cost=2.0, spend=900.0, effect=0.5)
    >>> world = SpendWorld(channels=[tv], base_rate=0.003)
    >>> world.n_weeks, world.names
    (104, ('tv',))
    """

    channels: tuple[SpendChannel, ...]
    base_rate: float
    n_weeks: int = 104
    n_people: int = 3000
    intent_spread: float = 0.7
    season: float = 0.15
    trend: float = 0.05
    demand_sd: float = 0.1
    demand_persistence: float = 0.6

    def __post_init__(self) -> None:
        require_whole(self.n_weeks, "n_weeks")
        require_whole(self.n_people, "n_people")
        require_number(self.season, "season")
        require_number(self.demand_sd, "demand_sd")
        require_number(self.demand_persistence, "demand_persistence")
        if self.demand_persistence >= 1:
            raise InputError(
                f"demand_persistence is {self.demand_persistence!r}. Hint: it lies below 1."
            )
        object.__setattr__(self, "channels", _sorted_channels(self.channels))
        self.hazard_world()  # checks what both kinds of world have
        if not isinstance(self.trend, Real) or not np.isfinite(float(self.trend)):
            raise InputError(f"trend is {self.trend!r}. Hint: give a finite number.")
        lowest = 1.0 - self.season - abs(self.trend) * self.years / 2
        if lowest <= 0:
            raise InputError(
                f"season={self.season!r} and trend={self.trend!r} let demand fall to {lowest:.2g} "
                f"times its mean in {self.n_weeks} weeks. Hint: make them smaller."
            )
        super().__post_init__()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, sorted."""
        return tuple(channel.name for channel in self.channels)

    @property
    def n_days(self) -> int:
        """Days lived, those before the log among them."""
        return DAYS * (PAST_WEEKS + self.n_weeks)

    @property
    def years(self) -> float:
        """Years lived."""
        return self.n_days / DAYS_PER_YEAR

    def column(self, name: str) -> Array:
        """Return one attribute of all channels, shape (n_channels,)."""
        return np.array([getattr(channel, name) for channel in self.channels])

    def hazard_world(self) -> World:
        """Return the world of the hazard, without touches."""
        return World(
            channels=tuple(channel.hazard_channel() for channel in self.channels),
            base_rate=self.base_rate,
            n_days=self.n_days,
            intent_spread=self.intent_spread,
        )

    def __repr__(self) -> str:
        options = {f.name: getattr(self, f.name) for f in fields(self)} | {"channels": self.names}
        return f"<SpendWorld: {', '.join(f'{name}={value}' for name, value in options.items())}>"


def _sorted_channels(channels: Any) -> tuple[SpendChannel, ...]:
    channels = tuple(channels) if isinstance(channels, Iterable) else ()
    if not channels or not all(isinstance(channel, SpendChannel) for channel in channels):
        raise InputError(f"channels={channels!r}. Hint: give one SpendChannel or more.")
    return tuple(sorted(channels, key=lambda channel: channel.name))


RANDOM_SPEND = SpendWorld(
    channels=(
        SpendChannel(name="affiliate", cost=0.7, spend=900.0, effect=0.0, half_life=4.0, **_WIDE),
        SpendChannel(name="display", cost=0.22, spend=600.0, effect=0.7, half_life=4.0, **_WIDE),
        SpendChannel(name="podcast", cost=1.0, spend=1500.0, effect=0.8, half_life=8.0, **_WIDE),
        SpendChannel(name="search", cost=0.26, spend=2400.0, effect=0.9, half_life=2.0, **_WIDE),
        SpendChannel(name="social", cost=0.24, spend=1400.0, effect=0.8, half_life=5.0, **_WIDE),
        SpendChannel(name="video", cost=0.4, spend=1800.0, effect=0.6, half_life=6.0, **_WIDE),
    ),
    base_rate=0.009,
    demand_sd=0.04,
)

SPEND_FOLLOWS_DEMAND = SpendWorld(
    channels=(
        SpendChannel(name="affiliate", cost=0.7, spend=900.0, effect=0.0, half_life=4.0, **_WIDE),
        SpendChannel(
            name="brand_search",
            cost=0.33,
            spend=1300.0,
            effect=0.05,
            variation=0.15,
            follows_demand=2.0,
            half_life=2.0,
            targeting=1.0,
            weight=0.3,
        ),
        SpendChannel(name="podcast", cost=1.0, spend=1500.0, effect=0.9, half_life=8.0, **_WIDE),
        SpendChannel(
            name="search",
            cost=0.26,
            spend=2400.0,
            effect=1.0,
            follows_demand=0.5,
            half_life=2.0,
            **_WIDE,
        ),
        SpendChannel(name="social", cost=0.24, spend=1400.0, effect=0.9, half_life=5.0, **_WIDE),
        SpendChannel(name="video", cost=0.4, spend=1800.0, effect=0.7, half_life=6.0, **_WIDE),
    ),
    base_rate=0.009,
    demand_sd=0.15,
)

SPEND_WORLDS: FrozenDict[SpendWorld] = FrozenDict(
    {"random spend": RANDOM_SPEND, "spend follows demand": SPEND_FOLLOWS_DEMAND}
)
"""The worlds by name; see the module."""
