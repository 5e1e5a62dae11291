"""Worlds with a story: what is confounded there, and how.

- "random exposure": nothing is confounded; who sees what is chance, so only touches that happen to
  stand near a conversion mislead ("affiliate" does nothing).
- "retargeting": whoever visits wants to buy already, and only visitors are retargeted, so that
  "retargeting" stands in most journeys that convert and causes few of them ("direct" does nothing).
- "brand search": people search for the brand when they have made up their minds, more than in
  proportion to intent, and the search takes the last click from what "tv" and "paid_social" have
  brought about, also together ("direct" does nothing).
- "long consideration": channels that work take weeks to do so, while people who want to buy anyway
  visit a "comparison_site" (which does nothing) at any time, also just before they buy.
- "B2B": four people of an account share one conversion, so that what moved the account is often
  what a colleague of the buyer saw, and accounts in the market visit and search more of their own
  accord ("direct" does nothing).

Sources: Lewis, Rao and Reiley (2011), Here, there, and everywhere: correlated online behaviors can
lead to overestimates of the effects of advertising; Lambrecht and Tucker (2013), When does
retargeting work?; Blake, Nosko and Tadelis (2015), Consumer heterogeneity and paid search
effectiveness (brand search); Chapelle (2014), Modeling delayed feedback in display advertising
(long consideration).
"""

from __future__ import annotations

from attribution.arrays import FrozenDict
from attribution.simulate.world import Channel, World

RANDOM_EXPOSURE = World(
    channels=(
        Channel(name="affiliate", touches=0.5, effect=0.0, click_rate=0.5),
        Channel(name="display", touches=0.9, effect=6.0, half_life=5.0, click_rate=0.02),
        Channel(name="email", touches=0.5, effect=12.0, half_life=7.0, click_rate=0.2),
        Channel(name="paid_search", touches=0.35, effect=36.0, half_life=4.0, click_rate=0.9),
        Channel(name="paid_social", touches=0.5, effect=18.0, half_life=7.0, click_rate=0.05),
        Channel(name="video", touches=0.4, effect=23.0, half_life=10.0, click_rate=0.01),
    ),
    base_rate=0.0002,
    intent_spread=0.7,
)

RETARGETING = World(
    channels=(
        Channel(name="direct", touches=1.0, effect=0.0, targeting=1.0, click_rate=1.0),
        Channel(name="display", touches=0.8, effect=6.0, half_life=7.0, click_rate=0.02),
        Channel(name="email", touches=0.4, effect=5.0, targeting=0.5, click_rate=0.2),
        Channel(
            name="paid_search",
            touches=0.4,
            effect=8.0,
            half_life=4.0,
            targeting=0.5,
            click_rate=0.9,
        ),
        Channel(
            name="retargeting",
            touches=2.0,
            effect=0.5,
            half_life=3.0,
            targeting=1.0,
            after="direct",
            click_rate=0.05,
        ),
        Channel(name="video", touches=0.5, effect=8.0, half_life=10.0, click_rate=0.01),
    ),
    base_rate=0.0004,
    intent_spread=1.0,
)

BRAND_SEARCH = World(
    channels=(
        Channel(
            name="brand_search",
            touches=0.8,
            effect=0.5,
            half_life=2.0,
            targeting=1.5,
            click_rate=0.9,
        ),
        Channel(name="direct", touches=0.7, effect=0.0, targeting=1.0, click_rate=1.0),
        Channel(
            name="generic_search",
            touches=0.4,
            effect=10.0,
            half_life=4.0,
            targeting=0.3,
            click_rate=0.9,
        ),
        Channel(name="paid_social", touches=0.6, effect=6.0, click_rate=0.05),
        Channel(name="tv", touches=1.0, effect=5.0, half_life=14.0, click_rate=0.0),
    ),
    base_rate=0.0004,
    intent_spread=1.0,
    synergies={("paid_social", "tv"): 4.0},
)

LONG_CONSIDERATION = World(
    channels=(
        Channel(name="comparison_site", touches=0.7, effect=0.0, targeting=1.0, click_rate=1.0),
        Channel(name="display", touches=0.9, effect=4.0, half_life=21.0, delay=14, click_rate=0.02),
        Channel(
            name="email", touches=0.8, effect=2.0, half_life=7.0, targeting=0.5, click_rate=0.2
        ),
        Channel(
            name="paid_search",
            touches=0.5,
            effect=5.0,
            half_life=5.0,
            targeting=0.7,
            click_rate=0.9,
        ),
        Channel(name="podcast", touches=0.4, effect=6.0, half_life=30.0, delay=21, click_rate=0.0),
        Channel(name="tv", touches=0.8, effect=5.0, half_life=30.0, delay=28, click_rate=0.0),
    ),
    base_rate=0.00015,
    n_days=180,
    intent_spread=0.8,
)

B2B = World(
    channels=(
        Channel(name="content", touches=0.5, effect=4.0, half_life=21.0, click_rate=1.0),
        Channel(name="direct", touches=0.7, effect=0.0, targeting=1.0, click_rate=1.0),
        Channel(
            name="email", touches=0.8, effect=2.0, half_life=7.0, targeting=0.5, click_rate=0.2
        ),
        Channel(name="event", touches=0.1, effect=8.0, half_life=30.0, delay=7, click_rate=1.0),
        Channel(
            name="paid_search",
            touches=0.2,
            effect=3.0,
            half_life=5.0,
            targeting=1.0,
            click_rate=0.9,
        ),
        Channel(name="paid_social", touches=0.6, effect=3.0, half_life=10.0, click_rate=0.03),
    ),
    base_rate=0.0001,
    n_days=120,
    intent_spread=1.0,
    synergies={("email", "event"): 4.0},
    people_per_account=4,
)

WORLDS: FrozenDict[World] = FrozenDict(
    {
        "random exposure": RANDOM_EXPOSURE,
        "retargeting": RETARGETING,
        "brand search": BRAND_SEARCH,
        "long consideration": LONG_CONSIDERATION,
        "B2B": B2B,
    }
)
"""The worlds by name; see the module for what is confounded in each."""
