"""Resamples of buckets, solved together.

**Bootstrap.** A resample draws as many buckets as there are, with replacement, so that the number
of buckets never varies (weights are multinomial). Buckets hold different numbers of users: the
weights are scaled to give the number of users observed. (Poisson weights would leave that number
to chance, and all figures would swing with it.)

**Jackknife.** One bucket is left out at a time and the others are scaled to the number of users:
with m buckets, se^2 = (m - 1) / m * sum of (replicate - their mean)^2.

Markov chains of few states are solved side by side as one stack of dense matrices, rules are sums
already; whatever else is solved one by one.

Sources: Efron and Tibshirani (1993), An introduction to the bootstrap; Kunsch (1989) on resampling
blocks rather than single observations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from operator import matmul
from typing import Literal

import numpy as np

from attribution.arrays import BoolArray, FloatArray
from attribution.errors import InputError, quiet
from attribution.models.base import Model, SeparableModel
from attribution.progress import progress
from attribution.statistics import ChannelCredit, Statistic, Totals
from attribution.threads import ahead
from attribution.uncertainty.buckets import TOTALS
from attribution.uncertainty.chains import shares, solve_stack, stack_size, stacks_of_chains
from attribution.uncertainty.spreads import Spread

Method = Literal["bootstrap", "jackknife"]
Draws = dict[str, FloatArray]
AT_ONCE = 2**20  # numbers of one kind that a stack of resamples holds


def bootstrap_weights(units: FloatArray, n_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return the weights of the buckets in each resample, shape (n_resamples, n_buckets).

    Parameters
    ----------
    units
        Shape (n_buckets,); users of each bucket, whose weighted sum is the same in all resamples.
    n_resamples
        How many.
    rng
        Source of the draws.
    """
    n_buckets = len(units)
    drawn = rng.integers(max(1, n_buckets), size=(n_resamples, n_buckets))
    key = drawn + n_buckets * np.arange(n_resamples)[:, None]
    counts = np.bincount(key.ravel(), minlength=n_resamples * n_buckets)
    return _scaled(counts.reshape(n_resamples, n_buckets).astype(np.float64), units)


def jackknife_weights(units: FloatArray, filled: BoolArray | None = None) -> FloatArray:
    """Return weights that leave out one bucket at a time, shape (n_filled, n_buckets).

    Parameters
    ----------
    units
        Shape (n_buckets,).
    filled
        Which buckets to leave out; those that hold anybody where None. Without any, one resample
        of which nothing is known.
    """
    filled = units > 0 if filled is None else filled
    if not filled.any():
        return np.full((1, len(units)), np.nan)
    return _scaled((1.0 - np.eye(len(units)))[filled], units)


def _scaled(weights: FloatArray, units: FloatArray) -> FloatArray:
    """Scale the weights of each resample to the number of units that there are; NaN if none is."""
    drawn, whole = weights @ units, units.sum()
    factor = np.full(len(drawn), np.nan if whole else 0.0)
    np.divide(whole, drawn, out=factor, where=drawn > 0)
    return np.asarray(weights * factor[:, None])


def replicates(model: Model, spread: Spread, totals: FloatArray, weights: FloatArray) -> Draws:
    """Return the columns of the attribution of every resample, shape (n_resamples, n_channels).

    Parameters
    ----------
    model
        The model.
    spread
        Its statistic over buckets.
    totals
        Shape (n_buckets, len(TOTALS)).
    weights
        Shape (n_resamples, n_buckets).

    Returns
    -------
    dict
        By name of the column, as in `Attribution.to_frame`; "baseline" and "baseline_value" of
        shape (n_resamples, 1) where the model has one. NaN where a resample has no user or cannot
        be solved.
    """
    lost = np.isnan(weights.sum(axis=1)) if weights.shape[1] else np.zeros(len(weights), dtype=bool)
    draws = _draws(model, spread, totals, np.where(lost[:, None], 0.0, weights))
    for column in draws.values():
        column[lost] = np.nan
    return draws


def _draws(model: Model, spread: Spread, totals: FloatArray, weights: FloatArray) -> Draws:
    whole = spread.whole
    if isinstance(model, SeparableModel) and isinstance(whole, ChannelCredit):
        draws = {name: weights @ part for name, part in spread.parts.items()}
    elif stacks_of_chains(model, whole):
        solved = list(ahead(solve_stack, _stacks(spread, weights, stack_size(spread))))
        draws = {name: np.concatenate([each[name] for each in solved]) for name in solved[0]}
    else:
        return _one_by_one(model, spread, totals, weights)
    named = {"conversions": draws.pop("conversions")}
    if "values" in draws:
        named["value"] = draws.pop("values")
    for name in list(named):
        named[f"{name}_share"] = shares(named[name])
    return {**named, **draws}


def _stacks(spread: Spread, weights: FloatArray, size: int) -> Iterator[Spread]:
    """Yield the sums of some resamples at a time, dense, in order."""
    step = max(1, AT_ONCE // max(1, size))
    for start in range(0, len(weights), step):
        some = weights[start : start + step]
        yield spread.map(partial(matmul, some))


def _one_by_one(model: Model, spread: Spread, totals: FloatArray, weights: FloatArray) -> Draws:
    """Return the columns of every resample, each solved by the model itself."""
    whole, drawn = spread.whole, weights @ totals
    statistics = (
        stack.statistic(row)
        for stack in _stacks(spread, weights, spread.size)
        for row in range(len(stack))
    )

    def solve(pair: tuple[Statistic, FloatArray]) -> Draws:
        return _solved(model, replace(pair[0], totals=_totals(pair[1], whole.totals)))

    pairs = progress(zip(statistics, drawn, strict=True), len(drawn), f"resamples: {model.name}")
    solved = list(ahead(solve, pairs))
    known = next((each for each in solved if each), {})
    missing = {name: np.full_like(column, np.nan) for name, column in known.items()}
    return {name: np.stack([(each or missing)[name] for each in solved]) for name in known}


def _totals(drawn: FloatArray, whole: Totals) -> Totals:
    """Return the totals of a resample."""
    sums = dict(zip(TOTALS[1:], drawn[1:].tolist(), strict=True))
    if whole.value is None:
        sums |= {"value": None, "unattributed_value": None}
    return Totals(**sums)


def _solved(model: Model, statistic: Statistic) -> Draws:
    """Return the columns of one resample; none where it cannot be solved."""
    try:
        with quiet():  # what there is to say has been said of the whole
            result = model.solve(statistic)
    except InputError:
        return {}
    columns = {name: column for name, column in result.columns.items() if name[-3:] != "_se"}
    for name in ("baseline", "baseline_value"):
        if getattr(result, name) is not None:
            columns[name] = np.array([getattr(result, name)])
    return columns
