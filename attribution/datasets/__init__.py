"""Sample data: the log of a simulated shop whose true advertising effects are known.

Four tables cover 2024-01-01 to 2025-02-28: the event log (`load_events`), the paths of its
purchases (`load_paths`), the weekly spend (`load_spend`) and the truth (`load_truth`). Nobody real
is in them. `attribution.datasets.make` writes them and says how the world behind them works.

Things to find in the log, as in real ones: people with several devices, accounts of companies with
several people, repeat buyers, journeys without conversion, conversions without a touch, a channel
launched late (``podcast``), a bot (``p004711``), three days without any event (2024-08-13 to 15,
tracking and checkout were down), channels that follow the wish to buy rather than cause it
(``retargeting``, ``brand_search``), and one channel that does nothing at all (``affiliate``).
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_events", "load_paths", "load_spend", "load_truth"]


def load_events() -> pd.DataFrame:
    """Load the event log, one row per touch or conversion, sorted by time and user.

    A row with a channel is a touch; a row with ``converted`` 1 is a conversion. Few rows are both:
    purchases during a store visit. Money is in currency units.

    Returns
    -------
    pandas.DataFrame
        - ``timestamp``: moment of the event in UTC, to the second.
        - ``user_id``: person, such as "p000123".
        - ``account_id``: company the person belongs to, such as "a0042"; missing for consumers.
        - ``role``: "buyer", "decision_maker", "influencer" or "user" within the company; missing
          for consumers.
        - ``device_id``: device, such as "d012345"; each belongs to one person.
        - ``device``: "phone", "laptop", "tablet", "tv" or "loyalty_card" (store visits).
        - ``channel``: one of 12, such as "paid_search"; missing where the row is no touch, and
          with it the next seven columns.
        - ``campaign``: campaign of the channel, 2 to 4 each.
        - ``medium``: such as "cpc", "email", "display"; "none" for direct visits.
        - ``ownership``: "paid", "owned" or "earned".
        - ``setting``: "online" or "offline".
        - ``activity``: "active" where the person sought the contact, else "passive".
        - ``touch_type``: "click" where the person acted, "view" where something was shown.
        - ``stage``: what the campaign is for: "awareness", "consideration", "conversion",
          "retention" or "advocacy".
        - ``cost``: cost of the touch, the week's spend of the campaign in equal parts; 0 for
          owned and earned channels and rows without touch.
        - ``converted``: 1 for a conversion, else 0.
        - ``conversion_type``: "lead" or "purchase"; missing where there is no conversion.
        - ``conversion_id``: unique per conversion, such as "c00017"; missing likewise.
        - ``value``: value of the purchase, 0 for a lead; missing where there is no conversion.

    Examples
    --------
    >>> from attribution.datasets import load_events
    >>> events = load_events()
    >>> events["conversion_type"].value_counts().to_dict()
    {'lead': 3528, 'purchase': 1893}
    """
    return _load("events")


def load_paths() -> pd.DataFrame:
    """Load the paths of the purchases, aggregated from the events by this library.

    The journeys are cut with the default options (a lookback of 90 days).

    Returns
    -------
    pandas.DataFrame
        The most frequent path first:

        - ``path``: channels in order, separated by " > "; empty for purchases without a touch.
        - ``conversions``: number of purchases.
        - ``value``: their total value in currency units.
        - ``nulls``: number of journeys with this path that ended without a purchase.

    Examples
    --------
    >>> from attribution.datasets import load_paths
    >>> float(load_paths()["conversions"].sum())
    1893.0
    >>> from attribution import Journeys
    >>> paths = load_paths()
    >>> journeys = Journeys.from_paths(paths, value="value", nulls="nulls", empty="unattributed")
    >>> journeys.n_journeys
    16025.0
    """
    return _load("paths")


def load_spend() -> pd.DataFrame:
    """Load the spend per week and campaign of the paid channels.

    A campaign is listed from its first week with spend on; weeks in which it was paused have spend
    0. The last week has five days.

    Returns
    -------
    pandas.DataFrame
        - ``week``: Monday on which the week starts, midnight UTC.
        - ``channel``, ``campaign``: as in the events.
        - ``spend``: currency units spent in the week.
        - ``impressions``: number of ads delivered; most reach people the log does not know.

    Examples
    --------
    >>> from attribution.datasets import load_spend
    >>> load_spend()["channel"].nunique()
    8
    """
    return _load("spend")


def load_truth() -> pd.DataFrame:
    """Load what each channel truly caused: what is lost in the same world without it.

    The same people with the same random numbers live again, the touches of one channel removed
    (also those during the outage, which the log lacks) and all others left as they were. Losses of
    single channels need not add up to the loss of all: channels reach the same people, and some
    need one another.

    Returns
    -------
    pandas.DataFrame
        - ``channel``: name of the channel switched off, "(all)" for all at once, or "(organic)",
          whose row holds what happens without any advertising. "(all)" and "(organic)" add up to
          what the events hold.
        - ``purchases_lost``: number of purchases.
        - ``value_lost``: value of these purchases in currency units.
        - ``leads_lost``: number of leads.

    Examples
    --------
    >>> from attribution.datasets import load_truth
    >>> truth = load_truth().set_index("channel")
    >>> int(truth.loc["affiliate", "purchases_lost"])
    0
    """
    return _load("truth")


def _load(name: str) -> pd.DataFrame:
    import pandas as pd

    with files(__package__).joinpath(f"{name}.parquet").open("rb") as source:
        return pd.read_parquet(source)
