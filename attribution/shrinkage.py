"""Factors of several channels from estimates with errors, partly pooled.

    y_c ~ Normal(f_c, error_c^2)
    log f_c ~ Normal(log M - tau^2 / 2, tau^2)        channels vary about the mean factor M
    log M ~ Normal(-1/8, (1/2)^2)                     E[M] = 1, 90 % in 0.4 ... 2.0
    tau ~ HalfNormal(0.5), cut to 0.05 ... 1.5        or fixed

The posterior is integrated numerically, nothing is sampled: a Gauss-Legendre rule in log tau, for
each tau a uniform grid of mu = log M - tau^2 / 2, for each channel a uniform grid of log f; the
last two end where nothing is left, so that the plain sum converges exponentially.

Source: Gelman et al., Bayesian Data Analysis (3rd ed., 2013), chapter 5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attribution.arrays import FloatArray

MEAN_SD = 0.5
SPREAD = 0.5
SPREADS = (0.05, 1.5)
COVERED = (0.05, 0.95)
_FINE = 0.6
_POINTS = 41


class Posterior(NamedTuple):
    """Mean, sd, low and high of factors: shapes (n_tested, 4) and (4,); means of mu and tau."""

    tested: FloatArray
    pooled: FloatArray
    mu: float
    tau: float


def posterior_of_factors(best: FloatArray, error: FloatArray, prior_sd: float | None) -> Posterior:
    """Integrate over log f of each channel, mu and tau.

    Parameters
    ----------
    best, error
        Shape (n_tested,); estimate of each factor and its standard error, above 0.
    prior_sd
        Fixes tau; None estimates it.
    """
    spreads, log_prior = _spreads(prior_sd, len(best))
    ends = _ends(best, error, spreads)
    x = _nodes(best, error, spreads, ends)
    log_likelihood = -0.5 * ((np.exp(x) - best[:, None]) / error[:, None]) ** 2
    slices = [_given_spread(x, log_likelihood, tau, ends) for tau in spreads]
    tops = np.array([each.log.max() for each in slices]) + log_prior
    weights = [
        np.exp(each.log - each.log.max() + top - tops.max())
        for each, top in zip(slices, tops, strict=True)
    ]
    mass = sum(
        np.einsum("m,mcj->cj", weight, each.nodes)
        for weight, each in zip(weights, slices, strict=True)
    )
    weight = np.concatenate(weights) / sum(float(each.sum()) for each in weights)
    mu = np.concatenate([each.mu for each in slices])
    tau = np.repeat(spreads, [len(each.mu) for each in slices])
    tested = np.array([_summary(*each) for each in zip(x, np.asarray(mass), strict=True)])
    return Posterior(tested, _predictive(mu, tau, weight), float(mu @ weight), float(tau @ weight))


def _spreads(prior_sd: float | None, n_tested: int) -> tuple[FloatArray, FloatArray]:
    """Return values of tau and their log prior weights; more of both where more is known."""
    if prior_sd is not None:
        return np.array([prior_sd]), np.zeros(1)
    z, weight = np.polynomial.legendre.leggauss(24 + int(2 * np.sqrt(n_tested)))
    low, high = np.log(SPREADS)
    tau = np.exp(low + (high - low) * (z + 1) / 2)
    return tau, np.log(weight * tau) - 0.5 * (tau / SPREAD) ** 2


def _ends(best: FloatArray, error: FloatArray, spreads: FloatArray) -> tuple[float, float]:
    """Return between which values log f and mu may lie, also where weighted by f^2."""
    sd = float(np.sqrt(MEAN_SD**2 + spreads.max() ** 2))
    edge = np.log(np.where(best > error, best, error / (1 + np.maximum(-best / error, 0))))
    lowest = min(-0.5 * sd**2, float(edge.min())) - 7 * sd
    highest = max(1.5 * sd**2, float(edge[best > error].max(initial=-np.inf))) + 7 * sd
    return lowest, highest


def _nodes(
    best: FloatArray, error: FloatArray, spreads: FloatArray, ends: tuple[float, float]
) -> FloatArray:
    """Return values of log f, shape (n_tested, n), evenly spaced over all that matters."""
    reach = 30 if len(spreads) == 1 else 12  # standard errors; a fixed spread may pull that far
    narrow = best > reach * error * 1.001
    low = np.where(narrow, np.log(np.where(narrow, best - reach * error, 1)), ends[0])
    high = np.minimum(np.log(np.maximum(best, 0) + reach * error), ends[1])
    step = _FINE * np.minimum(spreads.min(), 1 / np.maximum(best / error, 4))
    n = int(((high - low) / step).max()) + 2
    return np.linspace(low, high, n, axis=1)


def _log_prior(mu: FloatArray, tau: float) -> FloatArray:
    return np.asarray(-0.5 * ((mu + tau**2 / 2) / MEAN_SD + MEAN_SD / 2) ** 2)


class _Given(NamedTuple):
    """For one tau: mu (n_mu,), its log posterior with the step, and the nodes of f given mu."""

    mu: FloatArray
    log: FloatArray
    nodes: FloatArray


def _given_spread(
    x: FloatArray, log_likelihood: FloatArray, tau: float, ends: tuple[float, float]
) -> _Given:
    """Zoom in on the values of mu that matter, given tau."""
    low, high = ends
    while True:
        mu = np.linspace(low, high, _POINTS)
        terms = log_likelihood - 0.5 * ((x - mu[:, None, None]) / tau) ** 2
        top = terms.max(axis=2, keepdims=True)
        nodes = np.exp(terms - top)
        total = nodes.sum(axis=2, keepdims=True)
        log = (np.log(total / tau) + top).sum(axis=(1, 2)) + _log_prior(mu, tau)
        kept, step = mu[log > log.max() - 30], mu[1] - mu[0]
        low, high = kept[0] - step, kept[-1] + step
        if high - low > 0.7 * (mu[-1] - mu[0]):
            return _Given(mu, log + np.log(step), nodes / total)


def _summary(x: FloatArray, mass: FloatArray) -> FloatArray:
    """Return mean, sd, low and high of f from the posterior of log f at even steps."""
    from scipy.interpolate import CubicSpline

    factor, share = np.exp(x), mass / mass.sum()
    mean = factor @ share
    below = CubicSpline(np.arange(len(x)), share).antiderivative()
    place = np.linspace(0, len(x) - 1, 16 * len(x))
    grown = np.maximum.accumulate(below(place))
    at = np.interp(np.array(COVERED) * grown[-1], grown, place)
    low, high = np.exp(x[0] + (x[1] - x[0]) * at)
    return np.array([mean, np.sqrt((factor - mean) ** 2 @ share), low, high])


def _predictive(mu: FloatArray, tau: FloatArray, weight: FloatArray) -> FloatArray:
    """Return mean, sd, low and high of f of a channel without a test."""
    from scipy.special import ndtr

    mean = np.exp(mu + tau**2 / 2) @ weight
    square = np.exp(2 * mu + 2 * tau**2) @ weight
    low = np.full(2, (mu - 9 * tau).min())
    high = np.full(2, (mu + 9 * tau).max())
    for _ in range(60):
        middle = (low + high) / 2
        under = ndtr((middle[:, None] - mu) / tau) @ weight < np.array(COVERED)
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.array([mean, np.sqrt(np.maximum(square - mean**2, 0)), *np.exp((low + high) / 2)])
