"""How well every order predicts journeys held out; `attribution.orders` has the formulas."""

from __future__ import annotations

import numpy as np

from attribution.arrays import FloatArray
from attribution.errors import warn
from attribution.models.walks import sum_of_steps
from attribution.orders.contexts import Level, counts_of
from attribution.orders.folds import Folds
from attribution.progress import progress
from attribution.segments import sum_by

SCORES = ("log_likelihood", "auc", "brier")
TIE = 9  # forecasts that agree to so many decimals tie: their errors are far smaller
SMALL = 1e-12  # journeys; bounds the error of a forecast, but for returns to its context


def score_orders(folds: Folds, levels: list[Level]) -> dict[str, FloatArray]:
    """Hold out each fold in turn and score every order on it.

    Returns
    -------
    dict
        "log_likelihood", "auc" and "brier", shape (n_folds, max_order) each; NaN where undefined.
    """
    n_folds = folds.conversions.shape[1]
    scores = {name: np.full((n_folds, len(levels)), np.nan) for name in SCORES}
    long = np.diff(folds.offsets) >= len(levels)
    conversions, nulls = folds.conversions[long], folds.nulls[long]
    both = bool(conversions.any() and nulls.any())
    for fold in progress(range(n_folds), n_folds, "folds"):
        held = np.arange(n_folds) == fold
        train = counts_of(folds, levels, ~held)
        test = counts_of(folds, levels, held)
        n_journeys = float((folds.conversions + folds.nulls)[:, fold].sum())
        fitted = smoothed(levels, train, folds.n_channels)
        for i, (count, probability) in enumerate(zip(test, fitted, strict=True)):
            fit = float((count * np.log(probability)).sum())
            scores["log_likelihood"][fold, i] = fit / n_journeys
        if not both:
            continue
        base = folds.conversions[:, ~held].sum() / (folds.conversions + folds.nulls)[:, ~held].sum()
        outcome = (conversions[:, fold], nulls[:, fold])
        for i, forecast in enumerate(forecasts(levels, train, float(base), folds.n_channels)):
            scores["auc"][fold, i] = area_under_curve(forecast, *outcome)
            scores["brier"][fold, i] = brier_score(forecast, *outcome)
    return scores


def smoothed(levels: list[Level], counts: list[FloatArray], n_channels: int) -> list[FloatArray]:
    """Return p_k of every event of every level, shape (n_events,) each.

    Parameters
    ----------
    levels, counts
        The training counts of each level.
    n_channels
        Number of channels.
    """
    first = levels[0]
    symbols = sum_by(first.symbol, counts[0], n_channels + 2)
    n, t = symbols.sum(), np.count_nonzero(symbols)
    bottom = (symbols + t / len(symbols)) / (n + t)
    lower = bottom[first.symbol]
    lower[first.context == 0] /= bottom[:n_channels].sum()
    result: list[FloatArray] = []
    for level, count in zip(levels, counts, strict=True):
        if result:
            lower = result[-1][levels[level.order - 2].event]
        share, trust = _shares(level, count)
        result.append(trust * share + (1 - trust) * lower)
    return result


def _shares(level: Level, count: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ML_k and lambda of every event; lambda is 0 where k adds nothing to k - 1."""
    n = sum_by(level.context, count, len(level.fresh))
    t = sum_by(level.context, count > 0, len(level.fresh))
    trust = np.divide(n, n + t, out=np.zeros(len(n)), where=level.fresh & (n > 0))
    share = np.divide(count, n[level.context], out=np.zeros(len(count)), where=count > 0)
    return share, trust[level.context]


def forecasts(
    levels: list[Level], counts: list[FloatArray], base: float, n_channels: int
) -> list[FloatArray]:
    """Return f_k after the first max_order touches of each path of so many, shape (n_long,) each.

    Parameters
    ----------
    levels, counts
        The training counts of each level.
    base
        The share of training journeys that convert.
    n_channels
        Number of channels.
    """
    forecast = np.full(len(levels[0].moment), base)
    result = []
    for level, count in zip(levels, counts, strict=True):
        trust = np.zeros(len(level.fresh))
        trust[level.context] = _shares(level, count)[1]
        here = trust[level.moment]
        probability = conversion_probability(level, count, n_channels)[level.moment]
        forecast = here * probability + (1 - here) * forecast
        result.append(forecast)
    return result


def conversion_probability(level: Level, count: FloatArray, n_channels: int) -> FloatArray:
    """Return P(conversion before null) from every context of a chain, shape (n_contexts,).

    Contexts without journeys have no meaningful value.
    """
    from scipy.sparse import csr_array

    size = len(level.fresh)
    leaving = np.flatnonzero((count > 0) & (level.target != level.context))
    source, symbol, target = level.context[leaving], level.symbol[leaving], level.target[leaving]
    times = count[leaving]
    visits, converts = (
        sum_by(source, each, size) for each in (times, times * (symbol == n_channels))
    )
    touch = symbol < n_channels
    # h_i n_i = conversions_i + sum_j n_ij / n_j h_j n_j: as n_j covers what enters j, steps shrink.
    back = csr_array(
        (times[touch] / visits[target[touch]], (source[touch], target[touch])), shape=(size, size)
    )
    expected, left, steps = sum_of_steps(back, converts[:, None], 1.0, SMALL)
    if left[0] > SMALL:
        warn(
            f"Some forecasts of order {level.order} are uncertain: journeys do not end within "
            f"{steps:,} steps of the chain. Hint: leave out journeys of very many touches (bots)."
        )
    return np.divide(expected[:, 0], visits, out=np.zeros(size), where=visits > 0)


def area_under_curve(forecast: FloatArray, conversions: FloatArray, nulls: FloatArray) -> float:
    """Return the share of pairs of a conversion and a null that the forecast ranks rightly.

    Ties count one half; forecasts tie that agree to nine decimals. All arguments have shape (n,),
    the last two hold counts. NaN without a conversion or without a null.
    """
    _, rank = np.unique(np.round(forecast, TIE), return_inverse=True)
    positive, negative = sum_by(rank, conversions, 0), sum_by(rank, nulls, 0)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / pairs) if pairs else np.nan


def brier_score(forecast: FloatArray, conversions: FloatArray, nulls: FloatArray) -> float:
    """Return the mean squared error of the forecasts; see `area_under_curve`. NaN without any."""
    total = conversions.sum() + nulls.sum()
    error = conversions * (1 - forecast) ** 2 + nulls * forecast**2
    return float(error.sum() / total) if total else np.nan
