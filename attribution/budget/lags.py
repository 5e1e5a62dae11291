"""After how long credit comes, and after how long spend has come back: `lags` and `payback`.

Touch i of a channel has the credit w_i and the age a_i, the days from the touch to the conversion.
W(a) is the credit of touches no older than a, W the credit of all of them:

    W(a) = sum of w_i with a_i <= a                  share within a = W(a) / W
    mean = sum w_i a_i / W                           quantile q = least a_i with W(a_i) >= q W
    paid back after = least a_i from which on W(a) >= spend

A quantile is always the age of a touch; nothing is interpolated. Rounding does not count: sums
that differ by less than 1e-9 of the whole are equal.

What this cannot say. No touch is older than the lookback or the log, and the latest touches have
not yet brought all they will: lags come out too short and paid shares too low, the more so the
shorter the log. Credit is a split of what happened and not what a channel caused: spend that is
paid back by credit may still have been lost, and the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import FloatArray, is_number
from attribution.budget.spend import Spend
from attribution.compare import choose
from attribution.errors import InputError, warn
from attribution.journeys import Journeys
from attribution.models.base import Model, Outcome, require_journeys
from attribution.results import Attribution
from attribution.segments import sum_by

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = {"median_days": 0.5, "p90_days": 0.9}
WITHIN = (1, 7, 30, 90)  # days
NOISE = 1e-9  # of the whole; what is nearer is equal


def lags(
    journeys: Journeys,
    model: str | Model = "linear",
    *,
    of: Outcome = "conversions",
    attribution: Attribution | None = None,
) -> pd.DataFrame:
    """Say per channel how long before the conversion the touches stand that have its credit.

    Ages end at the lookback and at the log; see the module for what that hides.

    Parameters
    ----------
    journeys
        Journeys with ages, in memory: quantiles of parts do not add up.
    model
        A model or its name.
    of
        The outcome.
    attribution
        The model's result, where `journeys` are a part of those it is from.

    Returns
    -------
    pandas.DataFrame
        Index channel; credit, mean_days, median_days, p90_days, and within_1d, within_7d,
        within_30d, within_90d: the share of credit from touches at most that old. NaN for a
        channel without credit.

    Warns
    -----
    AttributionWarning
        If a channel has touches of negative credit (refunds, signed models): its lags are NaN.

    Raises
    ------
    InputError
        If the journeys have no ages or lack the outcome, or the model gives no credit.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({
    ...     "user_id": ["ann", "ann", "bob", "bob"],
    ...     "timestamp": ["2025-03-01", "2025-03-11", "2025-03-02", "2025-03-05"],
    ...     "channel": ["email", "search", "email", "search"],
    ...     "converted": [False, True, False, True],
    ... })
    >>> found = lags(Journeys.from_events(events))
    >>> found[["credit", "mean_days", "median_days", "p90_days", "within_7d"]]
             credit  mean_days  median_days  p90_days  within_7d
    channel
    email       1.0        6.5          3.0      10.0        0.5
    search      1.0        0.0          0.0       0.0        1.0
    """
    import pandas as pd

    found = dict(_touches(journeys, model, of, attribution))
    mixed = [channel for channel, (_, credit) in found.items() if _has_negative(credit)]
    if mixed:
        warn(
            f"{len(mixed):,} channels have touches of negative credit, first {mixed[0]!r}; their "
            "lags are NaN. Hint: leave refunds out, or use a model without negative credit."
        )
    rows = [_lag(ages, credit) for ages, credit in found.values()]
    columns = ["credit", "mean_days", *QUANTILES, *(f"within_{days}d" for days in WITHIN)]
    return pd.DataFrame(rows, index=_index(list(found)), columns=columns, dtype=np.float64)


def payback(
    journeys: Journeys,
    model: str | Model = "linear",
    *,
    spend: Spend,
    value_per_conversion: float | None = None,
    attribution: Attribution | None = None,
) -> pd.DataFrame:
    """Say per channel after how many days credited value has paid back what was spent.

    `spend` must be that of the touches in the journeys. Touches from before it add value that it
    did not pay for, and touches too recent have not brought their value yet: for a channel with
    much recent spend, days come out too long and paid_share too low. Credit is not cause.

    Parameters
    ----------
    journeys
        Journeys with ages, in memory.
    model
        A model or its name.
    spend
        Of channels, or of campaigns, which are added up.
    value_per_conversion
        Money that one conversion is worth, where journeys have no value; None takes their value.
    attribution
        The model's result, where `journeys` are a part of those it is from.

    Returns
    -------
    pandas.DataFrame
        Index channel, those of either side; spend (0 where none is given), value, days: the age
        of touch from which on all value up to it is at least the spend, and paid_share: value by
        spend. Refunds lower the value at the age of their touches. days is NaN where spend is not
        paid back, both are NaN where there is none.

    Raises
    ------
    InputError
        If the journeys have no ages or no value, the model gives no credit, or an option does not
        fit.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({
    ...     "user_id": ["ann", "ann", "bob", "bob"],
    ...     "timestamp": ["2025-03-01", "2025-03-11", "2025-03-02", "2025-03-05"],
    ...     "channel": ["email", "search", "email", "search"],
    ...     "converted": [False, True, False, True],
    ...     "value": [None, 50, None, 30],
    ... })
    >>> journeys = Journeys.from_events(events, value="value")
    >>> money = pd.DataFrame({"channel": ["email", "tv"], "spend": [20.0, 10.0]})
    >>> payback(journeys, spend=Spend.from_frame(money))
             spend  value  days  paid_share
    channel
    email     20.0   40.0  10.0         2.0
    search     0.0   40.0   NaN         NaN
    tv        10.0    0.0   NaN         0.0
    """
    import pandas as pd

    if not isinstance(spend, Spend):
        raise InputError(f"spend is a {type(spend).__name__}. Hint: Spend.from_frame(table).")
    worth = _worth(value_per_conversion)
    of: Outcome = "value" if value_per_conversion is None else "conversions"
    found = dict(_touches(journeys, model, of, attribution))
    by_channel = spend.by_channel(found)
    paid = dict(zip(by_channel.lines, by_channel.totals.tolist(), strict=True))
    nothing = (np.zeros(0), np.zeros(0))
    rows = []
    for channel in sorted({*found, *paid}):
        ages, credit = found.get(channel, nothing)
        rows.append(_payback(ages, worth * credit, paid.get(channel, 0.0)))
    columns = ["spend", "value", "days", "paid_share"]
    index = _index(sorted({*found, *paid}))
    return pd.DataFrame(rows, index=index, columns=columns, dtype=np.float64)


def _touches(
    journeys: Journeys, model: str | Model, of: Outcome, attribution: Attribution | None
) -> Iterator[tuple[str, tuple[FloatArray, FloatArray]]]:
    """Yield for each channel the ages of its touches, rising, and their credit."""
    (chosen,) = choose([model], None).values()
    chosen.require_credit()
    chosen.require(require_journeys(journeys))
    ages = journeys.ages
    if ages is None:
        raise InputError(
            "These journeys have no ages, so nothing is known on lags. Hint: build them with "
            "from_events."
        )
    credit = chosen.credit(journeys, attribution, of)
    order = np.lexsort((ages, journeys.codes))
    cuts = np.searchsorted(journeys.codes[order], np.arange(len(journeys.channels) + 1))
    for i, channel in enumerate(journeys.channels):
        own = order[cuts[i] : cuts[i + 1]]
        yield channel, (ages[own], credit[own])


def _lag(ages: FloatArray, credit: FloatArray) -> list[float]:
    """Return a row of `lags`, from ages in rising order."""
    whole = float(credit.sum())
    if not whole > 0 or _has_negative(credit):
        return [whole] + [math.nan] * (1 + len(QUANTILES) + len(WITHIN))
    reached = np.cumsum(credit)
    least = [(share - NOISE) * whole for share in QUANTILES.values()]
    quantiles = ages[np.searchsorted(reached, least)].tolist()
    within = [float(credit[ages <= days].sum()) / whole for days in WITHIN]
    return [whole, float(credit @ ages) / whole, *quantiles, *within]


def _has_negative(credit: FloatArray) -> bool:
    return bool((credit < -NOISE * np.abs(credit).sum()).any())


def _payback(ages: FloatArray, value: FloatArray, spend: float) -> list[float]:
    """Return a row of `payback`."""
    whole = float(value.sum())
    if not spend > 0:
        return [spend, whole, math.nan, math.nan]
    distinct, place = np.unique(ages, return_inverse=True)
    back = np.cumsum(sum_by(place, value, len(distinct)))
    short = np.flatnonzero(back < spend * (1 - NOISE))
    after = short[-1] + 1 if len(short) else 0
    days = float(distinct[after]) if after < len(distinct) else math.nan
    return [spend, whole, days, whole / spend]


def _worth(value_per_conversion: float | None) -> float:
    if value_per_conversion is None:
        return 1.0
    if not (is_number(value_per_conversion) and 0 < value_per_conversion < math.inf):
        raise InputError(
            f"value_per_conversion={value_per_conversion!r} is not above 0. Hint: the money that "
            "one conversion is worth."
        )
    return float(value_per_conversion)


def _index(channels: list[str]) -> pd.Index[str]:
    import pandas as pd

    return pd.Index(channels, name="channel", dtype="str")
