"""Fit response curves to an outcome over time: penalised nonlinear least squares, and its doubt.

The outcome y_t of a period is a baseline plus what each line brings (`attribution.budget.shapes`):

    y_t = B_t gamma + sum_c beta_c g(a_ct; u_c) + e_t,    a_ct = acting(z_ct; v_c),   beta_c >= 0.

with e_t = rho e_(t-1) + noise of standard deviation sigma. The autoregression is taken out of all
rows (`attribution.budget.autocorrelation`), with rho the correlation of neighbouring residuals of a
first fit, 0 ... 0.9, and the baseline is projected out (Frisch and Waugh). What remains is least
squares in beta, u and v:

    | y - G(u, v) beta |^2 / sigma^2 + tests + priors,

where a test of line c, which found `incremental` with a standard error, adds the row
(sum_t weight_t beta_c g(a_ct) - incremental) / standard error, and a prior the row
(u - mean) / sd. sigma^2 is the sum of squares over n less the effective number of parameters.

**What came in.** Where there is a baseline, curves that bring more in all rows than the outcome's
sum ask for one that is negative on average, which is impossible. The row

    max(0, brought - came in) / (SLACK came in)

joins the optimum, and draws that bring more than came in are left out, as a prior would that knows
of it. Where fewer than FEW of the draws remain, all are kept: so few would say little of the doubt.

**Draws.** For given shapes (u, v) the model is linear. Shapes are drawn from the normal
approximation at the optimum and weighed by exp(-objective / 2), with the best beta of those
shapes; weights are flattened (powers below 1) where few draws would carry all. Given shapes, beta
is its least squares estimate plus an error of the covariance of least squares, with Student's t
for the unknown sigma, which is taken over n less all parameters here: a fit that chose among curves
looks better than it is (but at most twice as wide in variance). Its standard deviations are those
of the sandwich, times n over n less parameters, or those of plain least squares where larger: with
a hundred periods the sandwich alone comes out too small.

No beta may be negative. Where the data ask for one, its draws are moved until they centre at 0;
then all below 0 become 0. So a line without effect has an interval that begins at exactly 0, and
one that covers a true 0 in about 95 % of cases at 90 % confidence. Draws speak of every line at
once; their average lies above the estimate where many are cut.

Sources: Golub and Pereyra (1973), The differentiation of pseudo-inverses and nonlinear least
squares problems whose variables separate; Rubin (1988), Using the SIR algorithm to simulate
posterior distributions; Andrews and Monahan (1992), An improved heteroskedasticity and
autocorrelation consistent covariance matrix estimator (whiten first).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.budget.autocorrelation import lags_of, newey_west, whitened, with_gaps
from attribution.budget.panel import Data
from attribution.budget.shapes import acting, acting_slope
from attribution.errors import InputError

PROPOSALS = 4  # shapes drawn for each draw that is kept
WORTH = 0.05  # weighted proposals are worth at least this share of as many unweighted ones
MAX_RHO = 0.9
ROUNDS = 4  # of sigma
EXACT = 1e-6  # of the largest outcome: the least sigma
CLOSE = 0.02  # relative change of sigma that ends them
BATCH_ENTRIES = 2**20
SLACK = 0.01  # share of what came in, by which more costs as much as one standard deviation
FEW = 0.05  # share of draws that is too few to stand for all


class Estimate(NamedTuple):
    """The optimum, and draws about it.

    Attributes
    ----------
    beta, u, v
        Shape (n_lines,).
    beta_draws, u_draws, v_draws
        Shape (n_draws, n_lines).
    residuals
        Shape (n,); of the outcome, not whitened.
    lags
        Of the sandwich.
    held
        Whether the optimum would bring more than came in.
    kept
        Share of the draws that bring no more than came in.
    """

    beta: FloatArray
    u: FloatArray
    v: FloatArray
    beta_draws: FloatArray
    u_draws: FloatArray
    v_draws: FloatArray
    residuals: FloatArray
    lags: int
    held: bool
    kept: float


def estimate(data: Data, n_draws: int, rng: np.random.Generator) -> Estimate:
    """Fit and draw; see the module."""
    fitted = fit(data)
    beta_draws, shapes, kept = draw(fitted, n_draws, rng)
    split = data.n_lines
    return Estimate(
        beta=fitted.beta,
        u=fitted.shapes[:split],
        v=fitted.shapes[split:],
        beta_draws=beta_draws,
        u_draws=shapes[:, :split],
        v_draws=shapes[:, split:],
        residuals=raw_residuals(fitted),
        lags=lags_of(len(data.outcome)),
        held=fitted.held,
        kept=kept,
    )


def nothing(data: Data, n_draws: int) -> Estimate:
    """Return the estimate of lines that bring nothing, with the shapes of the prior."""
    mean, split, n = data.prior[0], data.n_lines, len(data.outcome)
    zero = np.zeros((n_draws, split))
    u, v = mean[:split], mean[split:]
    return Estimate(zero[0], u, v, zero, zero + u, zero + v, np.zeros(n), lags_of(n), False, 1.0)


class Rows:
    """The rows of the least squares at given rho and sigma: data, tests, then what came in.

    The last, where there is one, only counts as far as it is exceeded.
    """

    def __init__(self, data: Data, rho: float, sigma: float) -> None:
        self.data, self.rho, self.sigma = data, rho, sigma
        self._q = np.linalg.qr(whitened(data.baseline, rho, data.apart))[0]
        found = [test.incremental / test.standard_error for test in data.tests]
        self.n_plain = len(data.outcome) + len(found)
        found += [1.0 / SLACK] if data.came_in else []
        self.target = np.append(self._scaled(data.outcome[:, None])[:, 0], found)

    def _scaled(self, columns: FloatArray) -> FloatArray:
        white = whitened(columns, self.rho, self.data.apart)
        return np.asarray((white - self._q @ (self._q.T @ white)) / self.sigma)

    def of(self, columns: FloatArray) -> FloatArray:
        """Turn columns over all periods, (..., n_periods, n_lines), into rows of the same lines."""
        rows = np.zeros((*columns.shape[:-2], len(self.target), columns.shape[-1]))
        n = len(self.data.rows)
        rows[..., :n, :] = self._scaled(columns[..., self.data.rows, :])
        for i, test in enumerate(self.data.tests):
            brought = columns[..., test.line] @ test.weights
            rows[..., n + i, test.line] = brought / test.standard_error
        if self.data.came_in:
            rows[..., -1, :] = columns[..., self.data.rows, :].sum(axis=-2)
            rows[..., -1, :] /= SLACK * self.data.came_in
        return rows

    def excess(self, fits: FloatArray) -> FloatArray:
        """Return fitted rows less their target; that of what came in only if it is exceeded."""
        left = fits - self.target
        left[self.n_plain :] = np.maximum(left[self.n_plain :], 0.0)
        return np.asarray(left)

    def design(self, shapes: FloatArray) -> FloatArray:
        """Return the rows of one unit of beta, (n_sets, n_rows, n_lines), for sets of u, v."""
        lines, family = self.data.n_lines, self.data.family
        a = acting(self.data.spend, shapes[:, lines:])
        return self.of(family.basis(a, shapes[:, None, :lines])[0])

    def slopes(self, shapes: FloatArray) -> FloatArray:
        """Return `design` and its derivatives by u and v, shape (3, n_rows, n_lines)."""
        u, v = shapes[: self.data.n_lines], shapes[self.data.n_lines :]
        a = acting(self.data.spend, v[None])[0]
        g, by_a, by_u = self.data.family.basis(a, u)
        return self.of(np.stack([g, by_u, by_a * acting_slope(self.data.spend, v)]))


class Fitted(NamedTuple):
    """The optimum.

    Attributes
    ----------
    rows
        Of the least squares.
    beta
        Shape (n_lines,).
    shapes
        Shape (2 n_lines,); all u, then all v.
    residuals
        Shape (n + n_tests,).
    design
        Shape (n + n_tests, n_lines).
    root
        Upper triangular, over the free shapes: their covariance is (root' root)^-1.
    parameters
        Effective number, the baseline's among them.
    held
        Whether it would bring more than came in.
    """

    rows: Rows
    beta: FloatArray
    shapes: FloatArray
    residuals: FloatArray
    design: FloatArray
    root: FloatArray
    parameters: float
    held: bool

    @property
    def freedom(self) -> float:
        """Periods less all parameters, or half of those that are left to the effective ones."""
        data = self.rows.data
        counted = data.baseline.shape[1] + len(self.beta) + int(data.prior[2].sum())
        n = len(data.outcome)
        return max(float(n - counted), (n - self.parameters) / 2.0)


def fit(data: Data) -> Fitted:
    """Minimise the objective, and settle rho and sigma."""
    mean, n = data.prior[0], len(data.outcome)
    plain = Rows(data, 0.0, 1.0)
    design, target = plain.design(mean[None])[0, : plain.n_plain], plain.target[: plain.n_plain]
    beta = np.linalg.lstsq(design, target, rcond=None)[0]
    sigma = _sigma(plain, target - design @ beta, data.baseline.shape[1] + data.n_lines)
    fitted = _optimum(Rows(data, 0.0, sigma), np.maximum(beta, 0.1 * sigma), mean)
    left = fitted.residuals[:n]
    neighbours = data.apart[1:] == 1.0
    along = float((left[1:] * left[:-1])[neighbours].sum())
    squares = float(left @ left * neighbours.mean())
    rho = min(max(along / squares, 0.0), MAX_RHO) if squares else 0.0
    sigma = _sigma(fitted.rows, fitted.residuals, fitted.parameters) * np.sqrt(1.0 - rho**2)
    for _ in range(ROUNDS):
        fitted = _optimum(Rows(data, rho, sigma), fitted.beta, fitted.shapes)
        before, sigma = sigma, _sigma(fitted.rows, fitted.residuals, fitted.parameters)
        if abs(sigma / before - 1.0) < CLOSE:
            break
    return fitted


def _sigma(rows: Rows, residuals: FloatArray, parameters: float) -> float:
    """Return the standard deviation of the noise; data are never taken as exact."""
    n = len(rows.data.outcome)
    squares = float(residuals[:n] @ residuals[:n])
    least = EXACT * float(np.abs(rows.data.outcome).max(initial=0.0))
    return max(rows.sigma * float(np.sqrt(squares / (n - parameters))), least)


def _optimum(rows: Rows, beta: FloatArray, shapes: FloatArray) -> Fitted:
    from scipy.optimize import least_squares

    mean, sd, free = rows.data.prior
    lines, n = len(beta), rows.n_plain
    pull = np.hstack([np.zeros((free.sum(), lines)), np.diag(1.0 / sd[free])])

    def unpacked(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        full = mean.copy()
        full[free] = theta[lines:]
        return theta[:lines], full

    def residuals(theta: FloatArray) -> FloatArray:
        beta, full = unpacked(theta)
        fits = rows.design(full[None])[0] @ beta
        return np.append(rows.excess(fits), (full[free] - mean[free]) / sd[free])

    def jacobian(theta: FloatArray) -> FloatArray:
        beta, full = unpacked(theta)
        g, by_u, by_v = rows.slopes(full)
        columns = np.hstack([g, np.hstack([by_u * beta, by_v * beta])[:, free]])
        columns[n:] *= rows.excess(g @ beta)[n:, None] > 0
        return np.vstack([columns, pull])

    start = np.append(np.maximum(beta, 0.0), shapes[free])
    low = np.append(np.zeros(lines), np.full(free.sum(), -np.inf))
    solved = least_squares(residuals, start, jacobian, bounds=(low, np.inf), x_scale="jac")
    beta, full = unpacked(solved.x)
    beta = np.where(solved.active_mask[:lines] < 0, 0.0, beta)
    theta = np.append(beta, solved.x[lines:])
    left, slopes = residuals(theta), np.delete(jacobian(theta), np.s_[n : len(rows.target)], axis=0)
    triangle = np.linalg.qr(slopes)[1]
    used = float((np.linalg.solve(triangle.T, slopes[:n].T) ** 2).sum())
    return Fitted(
        rows=rows,
        beta=beta,
        shapes=full,
        residuals=-left[:n],
        design=slopes[:n, :lines],
        root=triangle[lines:, lines:],
        parameters=rows.data.baseline.shape[1] + used,
        held=bool((left[n : len(rows.target)] > 0).any()),
    )


def draw(
    fitted: Fitted, n_draws: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """Return draws of beta (n_draws, n_lines), of u and v (n_draws, 2 n_lines), and share kept."""
    limited = bool(fitted.rows.data.came_in)
    drawn = PROPOSALS * n_draws if limited else n_draws
    shapes, beta, gram, totals = _weighted_shapes(fitted, drawn, PROPOSALS * n_draws, rng)
    lines, n = beta.shape[1], len(fitted.rows.data.outcome)
    upper = np.swapaxes(np.linalg.cholesky(gram), 1, 2)
    errors = np.linalg.solve(upper, rng.standard_normal((drawn, lines, 1)))[..., 0]
    freedom = fitted.freedom
    errors *= np.sqrt((n - fitted.parameters) / rng.chisquare(freedom, drawn))[:, None]
    raw = beta + errors * _inflation(fitted)
    raw = np.maximum(raw + np.maximum(-np.median(raw, axis=0), 0.0), 0.0)
    possible = (raw * totals).sum(axis=1) <= 1.0 / SLACK if limited else np.ones(drawn, dtype=bool)
    kept = float(possible.mean())
    chosen = np.resize(np.flatnonzero(possible | (kept < FEW)), n_draws)
    return raw[chosen], shapes[chosen], kept


def _weighted_shapes(
    fitted: Fitted, n_draws: int, proposals: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Draw shapes; return them, the best beta, the Gram matrix, and the row of what came in."""
    rows = fitted.rows
    mean, sd, free = rows.data.prior
    steps = rng.standard_normal((proposals, int(free.sum())))
    shapes = np.tile(mean, (proposals, 1))
    shapes[:, free] = fitted.shapes[free] + np.linalg.solve(fitted.root, steps.T).T
    batch = max(1, BATCH_ENTRIES // rows.data.spend.size)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [_solved(rows, shapes[i : i + batch]) for i in range(0, proposals, batch)]
    beta, gram, totals, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    pulls = (((shapes[:, free] - mean[free]) / sd[free]) ** 2).sum(axis=1)
    squares *= fitted.freedom / (len(rows.data.outcome) - fitted.parameters)
    chosen = _resampled(-(squares + pulls - (steps**2).sum(axis=1)) / 2.0, n_draws, rng)
    return shapes[chosen], beta[chosen], gram[chosen], totals[chosen]


def _solved(rows: Rows, shapes: FloatArray) -> tuple[FloatArray, ...]:
    """Return best beta, Gram matrix, last row of the design, sum of squares less that of beta 0."""
    whole = rows.design(shapes)
    design, target = whole[:, : rows.n_plain], rows.target[: rows.n_plain]
    across = np.swapaxes(design, 1, 2)
    gram, moment = across @ design, across @ target
    beta = np.linalg.solve(gram, moment[..., None])[..., 0]
    return beta, gram, whole[:, -1], -(beta * moment).sum(axis=1)


def _resampled(log_weights: FloatArray, n_draws: int, rng: np.random.Generator) -> IntArray:
    """Choose n_draws of the proposals by weight, in random order, flattening weights if need be.

    Proposals whose weight is not finite, where shapes went beyond what numbers hold, are left out.
    """
    usable = np.flatnonzero(np.isfinite(log_weights))
    if not len(usable):
        raise InputError(
            "No draw of the curves is finite. Hint: outcome and spend are too large or too small "
            "to compute with."
        )
    logs, power = log_weights[usable] - log_weights[usable].max(), 1.0
    while True:
        weights = np.exp(power * logs)
        weights /= weights.sum()
        if 1.0 / (weights @ weights) >= WORTH * len(weights):
            break
        power *= 0.8
    places = (np.arange(n_draws) + rng.random()) / n_draws
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)
    return rng.permutation(usable[chosen])


def _inflation(fitted: Fitted) -> FloatArray:
    """Return how much the sandwich widens the standard errors of beta, at least 1, (n_lines,)."""
    n, design, residuals = len(fitted.rows.data.outcome), fitted.design, fitted.residuals
    bread = np.linalg.inv(design.T @ design)
    scores = design[:n] * residuals[:n, None]
    scores = with_gaps(scores, fitted.rows.data.rows)
    meat = newey_west(scores, lags_of(n)) * n / (n - fitted.parameters)
    meat += design[n:].T @ design[n:]
    ratio = np.diag(bread @ meat @ bread) / np.diag(bread)
    return np.sqrt(np.maximum(ratio, 1.0))


def raw_residuals(fitted: Fitted) -> FloatArray:
    """Return the residuals of the outcome itself, shape (n,)."""
    data, rho, apart = fitted.rows.data, fitted.rows.rho, fitted.rows.data.apart
    lines = data.n_lines
    a = acting(data.spend, fitted.shapes[None, lines:])[0]
    left = data.outcome - (data.family.basis(a, fitted.shapes[:lines])[0] @ fitted.beta)[data.rows]
    white = whitened(left[:, None], rho, apart)[:, 0]
    gamma = np.linalg.lstsq(whitened(data.baseline, rho, apart), white, rcond=None)[0]
    return np.asarray(left - data.baseline @ gamma)
