"""What a conversion costs, and what money brings back: spend joined to an attribution.

With s the spend of a channel, c its credited conversions and v its credited value:

    cpa  = s / c              roas = v / s              roi = (v - s) / s

are averages: they say what the channel cost and brought, not what the next unit of money does.
That is the slope f'(x) of its response curve at today's spend x per period:

    marginal_cpa = 1 / f'(x)    (f in conversions)      marginal_roas = f'(x)    (f in value)

On a concave curve that starts at 0 the next conversion never costs less than the average one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import FloatArray
from attribution.budget.calendar import edges, timestamps
from attribution.budget.curves import Curve
from attribution.budget.equal_returns import require_plain
from attribution.budget.fit import CurveFit
from attribution.budget.spend import Spend
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.errors import InputError, nearest, warn
from attribution.results import Attribution, share

if TYPE_CHECKING:
    import pandas as pd


def returns(
    attribution: Attribution,
    spend: Spend,
    *,
    curves: Mapping[str, Curve] | None = None,
    currency: str | None = None,
) -> pd.DataFrame:
    """Join spend to credit per channel: costs and returns, on average and at the margin.

    Spend and credit must be of the same stretch of time. Campaigns are added up to channels, but a
    line that is itself a channel of the attribution stays as it is.

    Parameters
    ----------
    attribution
        Credit; with intervals the figures have them too.
    spend
        Money per channel or campaign.
    curves
        A fit, or curves by channel, of outcome per period of the spend; read at the channel's mean
        spend per period.
    currency
        Of the attribution's value.

    Returns
    -------
    pandas.DataFrame
        Index channel, every one of either side; spend, conversions, value (where given), cpa, roas
        and roi (where there is value), spend_share, conversions_share, value_share; with intervals
        also cpa, roas and roi with _low and _high, of credit alone, as spend is known; with curves
        marginal_cpa or marginal_roas and marginal_roi, NaN for channels without a curve.

        Credit without spend: cpa 0, roas and roi NaN. Spend without credit: cpa infinite, roas 0,
        roi -1. Neither: NaN.

        `attrs` hold model, currency, "total" (a dict of the sums, in which conversions,
        unattributed and baseline add up to total_conversions, with cpa, roas and roi of the
        credit), and kind and statement of a fit.

    Raises
    ------
    InputError
        If currencies or periods differ, or a curve stands for several.

    Warns
    -----
    AttributionWarning
        If spend and the attribution's reporting window are not of the same time.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution import Journeys, Linear
    >>> paths = pd.DataFrame({"path": ["tv > email", "tv"], "conversions": [20, 10]})
    >>> credit = Linear().attribute(Journeys.from_paths(paths))
    >>> money = pd.DataFrame({"channel": ["tv", "radio"], "spend": [400.0, 100.0]})
    >>> frame = returns(credit, Spend.from_frame(money))
    >>> frame[["spend", "conversions", "cpa", "spend_share", "conversions_share"]].round(2)
             spend  conversions   cpa  spend_share  conversions_share
    channel
    email      0.0         10.0   0.0          0.0               0.33
    radio    100.0          0.0   inf          0.2               0.00
    tv       400.0         20.0  20.0          0.8               0.67
    """
    import pandas as pd

    if not isinstance(spend, Spend):
        raise InputError(f"spend is a {type(spend).__name__}. Hint: Spend.from_frame(table).")
    _require_currency(spend.currency, currency)
    _warn_of_other_time(attribution, spend)
    spend = spend.by_channel(set(attribution.channels))
    channels = sorted({*attribution.channels, *spend.lines})
    paid = _placed(spend.lines, spend.totals, channels)
    credit = {
        name: _placed(attribution.channels, column, channels)
        for name, column in attribution.columns.items()
    }
    columns = {"spend": paid, **_averages(paid, credit), **_ends(paid, credit)}
    if curves is not None:
        columns |= _marginals(curves, spend, channels)
    frame = pd.DataFrame(columns, index=pd.Index(channels, name="channel", dtype="str"))
    frame.attrs |= {"model": attribution.model, "currency": spend.currency or currency}
    frame.attrs["total"] = _total(attribution, spend)
    if isinstance(curves, CurveFit):
        frame.attrs |= {"kind": curves.kind, "statement": curves.statement}
    return frame


def cost_per(spend: FloatArray, credit: FloatArray) -> FloatArray:
    """Return spend per credit: infinite where money brought none, NaN where there is neither."""
    costs = np.where(spend > 0, np.inf, np.nan)
    costs[np.isnan(credit)] = np.nan
    with np.errstate(over="ignore"):
        return np.asarray(np.divide(spend, credit, out=costs, where=credit > 0))


def return_on(spend: FloatArray, value: FloatArray) -> FloatArray:
    """Return value per unit of spend; NaN where nothing was spent."""
    return np.asarray(np.divide(value, spend, out=np.full(len(spend), np.nan), where=spend > 0))


def _averages(paid: FloatArray, credit: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    conversions, value = credit["conversions"], credit.get("value")
    columns = {"conversions": conversions}
    if value is not None:
        columns["value"] = value
    columns["cpa"] = cost_per(paid, conversions)
    if value is not None:
        columns["roas"] = return_on(paid, value)
        columns["roi"] = return_on(paid, value - paid)
    columns |= {"spend_share": share(paid), "conversions_share": share(conversions)}
    if value is not None:
        columns["value_share"] = share(value)
    return columns


def _ends(paid: FloatArray, credit: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the ends of intervals: the least cost comes with the most credit."""
    columns = {}
    for end, other in (("low", "high"), ("high", "low")):
        if f"conversions_{other}" in credit:
            columns[f"cpa_{end}"] = cost_per(paid, credit[f"conversions_{other}"])
    for end in ("low", "high"):
        if f"value_{end}" in credit:
            columns[f"roas_{end}"] = return_on(paid, credit[f"value_{end}"])
    for end in ("low", "high"):
        if f"value_{end}" in credit:
            columns[f"roi_{end}"] = return_on(paid, credit[f"value_{end}"] - paid)
    return columns


def _marginals(
    curves: Mapping[str, Curve], spend: Spend, channels: list[str]
) -> dict[str, FloatArray]:
    """Return what the next unit of money does, by the curve of each channel that has one."""
    if isinstance(curves, CurveFit) and curves.period != spend.period:
        raise InputError(
            f"The curves are per period {curves.period!r}, spend is per {spend.period!r}. Hint: "
            "give the spend that the curves were fitted to."
        )
    for name in curves:
        if name not in channels:
            raise InputError(
                f"The curve of {name!r} is of no channel of spend or credit."
                f"{nearest(str(name), channels)} Hint: curves of campaigns do not join channels."
            )
    slopes = {of: np.full(len(channels), np.nan) for of in ("conversions", "value")}
    for place, channel in enumerate(channels):
        if channel in curves:
            curve = curves[channel]
            require_plain(channel, curve)
            slopes[curve.of][place] = curve.marginal(spend.today.get(channel, 0.0))
    columns = {}
    known = {of: slope for of, slope in slopes.items() if not np.isnan(slope).all()}
    if "conversions" in known:
        columns["marginal_cpa"] = cost_per(np.ones(len(channels)), known["conversions"])
    if "value" in known:
        columns["marginal_roas"] = known["value"]
        columns["marginal_roi"] = known["value"] - 1.0
    return columns


def _total(attribution: Attribution, spend: Spend) -> dict[str, float]:
    """Return the sums, and the averages of all credit."""
    paid = np.array([spend.total])
    conversions = np.array([attribution.conversions.sum()])
    total = {
        "spend": spend.total,
        "conversions": conversions.item(),
        "unattributed": attribution.unattributed,
        "baseline": attribution.baseline or 0.0,
        "total_conversions": attribution.total_conversions,
        "cpa": cost_per(paid, conversions).item(),
    }
    if attribution.values is not None:
        value = np.array([attribution.values.sum()])
        total |= {
            "value": value.item(),
            "unattributed_value": attribution.unattributed_value or 0.0,
            "baseline_value": attribution.baseline_value or 0.0,
            "total_value": attribution.total_value or 0.0,
            "roas": return_on(paid, value).item(),
            "roi": return_on(paid, value - paid).item(),
        }
    return total


def _placed(names: tuple[str, ...], column: FloatArray, channels: list[str]) -> FloatArray:
    """Put a column by name in the places of channels; 0 for those without."""
    amounts = dict(zip(names, column.tolist(), strict=True))
    return np.array([amounts.get(channel, 0.0) for channel in channels])


def _require_currency(spend: str | None, value: str | None) -> None:
    if None not in (spend, value) and spend != value:
        raise InputError(
            f"Spend is in {spend}, value in {value}. Hint: convert one of them first; returns are "
            "of one currency."
        )


def _warn_of_other_time(attribution: Attribution, spend: Spend) -> None:
    """Warn where spend and the reporting window begin or end more than a day apart."""
    if attribution.period is None or spend.starts is None or spend.period is None:
        return
    last = int(spend.starts[-1])
    ends = int(spend.starts[0]), int(edges(last, last, spend.period, spend.tz)[-1])
    pairs = zip(ends, attribution.period, strict=True)
    if any(end is not None and abs(end - own) > MICROSECONDS_PER_DAY for own, end in pairs):
        warn(
            f"Spend is of {_span(ends, spend.tz)}, the attribution of "
            f"{_span(attribution.period, spend.tz)}, so costs and returns compare different "
            "times. Hint: take the spend of the reporting window (report_from, report_until), or "
            "the window of the spend."
        )


def _span(ends: tuple[int | None, int | None], tz: str) -> str:
    """Write a stretch of time; an end is the last day, not the one after it."""
    first, last = ends
    begin = "the first event" if first is None else _day(first, tz)
    return f"{begin} to {'the last' if last is None else _day(last - 1, tz)}"


def _day(moment: int, tz: str) -> str:
    return f"{timestamps(np.array([moment]), tz)[0]:%Y-%m-%d}"
