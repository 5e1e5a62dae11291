"""Errors that hang together over time: taking them out of a regression, and standard errors.

**Whitening** (Prais and Winsten). If e_t = rho e_(t-1) + noise, every row of the regression becomes
row_t - rho row_(t-1), and the first sqrt(1 - rho^2) row_1; the errors of these rows are noise.
Where periods are missing, so that row t is d periods from the one before, it becomes
(row_t - rho^d row_(t-1)) sqrt((1 - rho^2) / (1 - rho^(2 d))).

**The sandwich** (Newey and West) asks less of errors: they may be of different size, and hang
together over a few lags. With scores s_t = x_t e_t it replaces sigma^2 X'X in the middle of the
covariance (X'X)^-1 (.) (X'X)^-1 by

    sum_t s_t s_t' + sum_l (1 - l / (lags + 1)) sum_t (s_t s_(t-l)' + s_(t-l) s_t').

A missing period has the score 0.

Sources: Prais and Winsten (1954), Trend estimators and serial correlation; Newey and West (1987),
A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance
matrix; Newey and West (1994), Automatic lag selection in covariance matrix estimation.
"""

from __future__ import annotations

import numpy as np

from attribution.arrays import FloatArray, IntArray


def newey_west(scores: FloatArray, lags: int) -> FloatArray:
    """Return the sum over lags of Bartlett weights times the scores' cross products.

    Parameters
    ----------
    scores
        Shape (n, k); regressors times residual, in the order of time.
    lags
        Lag l has the weight 1 - l / (lags + 1).

    Returns
    -------
    numpy.ndarray
        Shape (k, k); symmetric, positive semi-definite.

    Examples
    --------
    >>> newey_west(np.array([[1.0], [2.0]]), 1).tolist()
    [[7.0]]
    """
    meat = scores.T @ scores
    for lag in range(1, min(lags, len(scores) - 1) + 1):
        cross = scores[lag:].T @ scores[:-lag]
        meat = meat + (1.0 - lag / (lags + 1.0)) * (cross + cross.T)
    return np.asarray(meat)


def lags_of(n: int) -> int:
    """Return the lags for n periods, 4 (n / 100)^(2/9) rounded down."""
    return int(4.0 * (n / 100.0) ** (2.0 / 9.0))


def whitened(columns: FloatArray, rho: float, apart: FloatArray) -> FloatArray:
    """Take the autoregression out of columns.

    Parameters
    ----------
    columns
        Shape (..., n, k).
    rho
        From 0 to below 1.
    apart
        Shape (n,); periods from the row before, infinite for the first; see `steps`.
    """
    kept = rho ** apart[:, None]
    white = columns.copy()
    white[..., 1:, :] -= kept[1:] * columns[..., :-1, :]
    white *= np.sqrt((1.0 - rho**2) / (1.0 - kept**2))
    return white


def steps(periods: IntArray) -> FloatArray:
    """Return how far each of increasing periods is from the one before, inf for the first."""
    return np.append(np.inf, np.diff(periods))[: len(periods)]


def with_gaps(rows: FloatArray, periods: IntArray) -> FloatArray:
    """Return rows, shape (n, k), in the place of their periods, with 0 in missing periods."""
    full = np.zeros((int(np.ptp(periods)) + 1, rows.shape[1]))
    full[periods - periods[0]] = rows
    return full
