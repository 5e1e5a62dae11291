"""The likelihood of an additive hazard of touches over a baseline, and its maximum.

A journey is under observation from its first touch to its end T, a time D in days (less what
`attribution.models.records.watched` leaves out). Touch i of channel c, of age a_i at T (at most the
lookback), adds a hazard that fades away; on top stands a constant baseline mu:

    lambda(t) = mu + sum over touches i before t of beta_c omega_c exp(-omega_c (t - t_i)).

beta_c >= 0 is the number of conversions that a touch causes in the long run, omega_c = ln 2 / its
half-life in days. y conversions and z nulls of a row have the log-likelihood

    y log lambda(T) - (y + z) H,   H = mu D + sum over touches of beta_c (1 - exp(-omega_c a_i)).

Logs often have the conversion on the very instant of a touch: there is no time at risk, and the
likelihood has no bound. So in H, and nowhere else, ages and D count at least the shortest
half-life that is allowed (`resolution`): a touch and what follows at once are that far apart.

For fixed omega the log-likelihood is concave in mu and beta. The EM iteration

    mu <- sum of y mu / lambda / sum of (y + z) D,
    beta_c <- sum of y beta_c k_i / lambda / sum of (y + z) (1 - exp(-omega_c a_i)),

k_i = omega_c exp(-omega_c a_i), never leaves mu, beta >= 0 and climbs fast at first. Its best
result over a few common half-lives is the start. From there projected Newton steps go over all of
mu, beta and log omega at once; eigenvalues of the Hessian count by their absolute values, which
makes every step an ascent also where the likelihood is not concave. A channel whose beta has come
down to 0 is then tried at other half-lives: where the likelihood rises with its beta, the climb
goes on from there. Like any climb it finds a local maximum.

Sources: Zhang, Wei and Ren (2014), Multi-touch attribution in online advertising with survival
theory (hazard and EM, without baseline); Bertsekas (1982), Projected Newton methods.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.models.bounded import ENOUGH, climb, newton
from attribution.segments import row_index, sum_by, take_rows

SHORTEST = 1 / 24  # days
STARTS = 8
EM_STEPS = 30
ROUNDS = 10
DENSE_CHANNELS = 3_000  # their Hessian has 36 million entries
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class HazardFit:
    """What was learned.

    Attributes
    ----------
    baseline_rate
        mu, per day.
    effects, rates
        beta and omega; shape (n_channels,). omega is NaN where beta is 0 and no half-life given.
    log_likelihood
        At the maximum.
    n_iterations, converged
        Of the Newton steps, or of L-BFGS-B.
    resolution
        Shortest age that counts in H, in days.
    """

    baseline_rate: float
    effects: FloatArray
    rates: FloatArray
    log_likelihood: float
    n_iterations: int
    converged: bool
    resolution: float

    def hazards(self, codes: IntArray, ages: FloatArray) -> FloatArray:
        """Return beta omega exp(-omega age) of each touch, per day; 0 for negative codes."""
        effect, rate = np.append(self.effects, 0.0)[codes], np.append(self.rates, 0.0)[codes]
        rate = np.where(effect > 0, rate, 0.0)
        return np.asarray(effect * rate * np.exp(-rate * ages))

    def cumulated(self, codes: IntArray, ages: FloatArray) -> FloatArray:
        """Return beta (1 - exp(-omega age)) of each touch; 0 for negative codes."""
        effect, rate = np.append(self.effects, 0.0)[codes], np.append(self.rates, 0.0)[codes]
        rate = np.where(effect > 0, rate, 0.0)
        return np.asarray(-effect * np.expm1(-rate * np.maximum(ages, self.resolution)))

    def baseline_cumulated(self, days: FloatArray) -> FloatArray:
        """Return mu D of each row."""
        return np.asarray(self.baseline_rate * np.maximum(days, self.resolution))


def fit_hazard(
    codes: IntArray,
    ages: FloatArray,
    offsets: IntArray,
    days: FloatArray,
    conversions: FloatArray,
    nulls: FloatArray,
    n_channels: int,
    half_life: float | None = None,
) -> HazardFit:
    """Maximise the likelihood.

    Parameters
    ----------
    codes, ages, offsets
        Touches of rows, none of them empty; ages in days.
    days, conversions, nulls
        Shape (n_rows,); days are D.
    n_channels
        Number of channels.
    half_life
        Of all channels, in days. None: one for each channel, between an hour and the longest
        age: what fades more slowly than that cannot be told from the baseline.
    """
    resolution = SHORTEST if half_life is None else min(SHORTEST, half_life)
    total = float(conversions.sum())
    if not total:
        rates = np.full(n_channels, np.nan if half_life is None else np.log(2) / half_life)
        return HazardFit(0.0, np.zeros(n_channels), rates, 0.0, 0, True, resolution)
    problem = Likelihood.of(codes, ages, offsets, days, conversions, nulls, n_channels, resolution)
    if half_life is None:
        longest = max(float(ages.max()), SHORTEST)
        bounds = np.log(np.log(2) / np.array([longest, SHORTEST]))
        grid = np.linspace(bounds[1], bounds[0], STARTS)
    else:
        bounds = np.full(2, np.log(np.log(2) / half_life))
        grid = bounds[:1]
    starts = [problem.start(log_rate) for log_rate in grid]
    best = min(range(len(starts)), key=lambda i: (starts[i][0], i))
    start, units = starts[best][1:]
    low, high = np.zeros(2 * n_channels + 1), np.full(2 * n_channels + 1, np.inf)
    low[n_channels + 1 :], high[n_channels + 1 :] = bounds

    def scaled(x: FloatArray, order: int) -> Any:
        return problem.evaluate(x, units, order)

    minimum = newton if n_channels <= DENSE_CHANNELS else climb
    x, value, n_iterations, gap = minimum(scaled, start, low, high)
    for _ in range(ROUNDS if half_life is None else 0):
        better = problem.revived(x, units, value, bounds)
        if better is None:
            break
        x, value, n_more, gap = minimum(scaled, better, low, high)
        n_iterations += n_more
    mu, beta, omega = problem.unscale(x, units)
    return HazardFit(
        baseline_rate=mu,
        effects=beta,
        rates=omega if half_life is not None else np.where(beta > 0, omega, np.nan),
        log_likelihood=-total * value,
        n_iterations=n_iterations,
        converged=gap <= ENOUGH,
        resolution=resolution,
    )


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The negative log-likelihood per conversion.

    Parameters x = (mu, beta_1 .. beta_n, log omega_1 .. log omega_n); mu and beta are in units that
    make H 1 per conversion, so that x is of the order of 1 and so is every derivative.

    Attributes
    ----------
    n
        Number of channels.
    codes, ages, weights
        Of all touches; ages at least the resolution, weights (y + z) / total conversions.
    row_codes, row_ages, offsets, shares
        Of the rows that convert: true ages; shares y / total conversions.
    risk
        Sum of (y + z) D / total conversions.
    """

    n: int
    codes: IntArray
    ages: FloatArray
    weights: FloatArray
    row_codes: IntArray
    row_ages: FloatArray
    offsets: IntArray
    shares: FloatArray
    risk: float

    @classmethod
    def of(
        cls,
        codes: IntArray,
        ages: FloatArray,
        offsets: IntArray,
        days: FloatArray,
        conversions: FloatArray,
        nulls: FloatArray,
        n_channels: int,
        resolution: float,
    ) -> Likelihood:
        """Return the likelihood of rows, some of which convert."""
        total = conversions.sum()
        weights = (conversions + nulls) / total
        at_least = np.maximum(ages, resolution)
        touches, cuts = take_rows(offsets, conversions > 0)
        return cls(
            n=n_channels,
            codes=codes,
            ages=at_least,
            weights=np.repeat(weights, np.diff(offsets)),
            row_codes=codes[touches],
            row_ages=ages[touches],
            offsets=cuts,
            shares=conversions[conversions > 0] / total,
            risk=float(weights @ np.maximum(days, resolution)),
        )

    def exposures(self, omega: FloatArray, order: int = 0) -> list[FloatArray]:
        """Return sum of weight (1 - exp(-omega age)) by channel, and derivatives by log omega."""
        scaled = omega[self.codes] * self.ages
        left = np.exp(-scaled)
        parts = [-np.expm1(-scaled), scaled * left, scaled * (1.0 - scaled) * left]
        return [sum_by(self.codes, self.weights * part, self.n) for part in parts[: order + 1]]

    def start(self, log_rate: float) -> tuple[float, FloatArray, FloatArray]:
        """Climb by EM at a common omega; return the value, x, and the units of mu and beta."""
        omega = np.full(self.n, np.exp(log_rate))
        exposure = self.exposures(omega)[0]
        units = 1.0 / np.append(self.risk, np.where(exposure > 0, exposure, np.inf))
        kernel = omega[self.row_codes] * np.exp(-omega[self.row_codes] * self.row_ages)
        kernel *= units[1:][self.row_codes]
        row, alone = row_index(self.offsets), float(units[0])
        x = np.full(self.n + 1, 1.0 / (self.n + 1))
        for step in range(EM_STEPS + 1):
            part = x[1:][self.row_codes] * kernel
            hazard = np.maximum(x[0] * alone + sum_by(row, part, len(self.shares)), TINY)
            if step == EM_STEPS:
                break
            per_hazard = self.shares / hazard
            x[0] *= alone * per_hazard.sum()
            x[1:] = sum_by(self.row_codes, part * per_hazard[row], self.n)
        value = float(x.sum() - self.shares @ np.log(hazard))
        return value, np.concatenate([x, np.full(self.n, log_rate)]), units

    def revived(
        self, x: FloatArray, units: FloatArray, value: float, bounds: FloatArray
    ) -> FloatArray | None:
        """Return a better x, of value below the one given, in which a beta of 0 is positive.

        None where no beta of 0 is worth raising at any of some half-lives within the bounds.
        """
        n = self.n
        mu, beta, omega = self.unscale(x, units)
        some = np.flatnonzero((beta == 0) & (units[1:] > 0))
        if not len(some):
            return None
        row, code = row_index(self.offsets), self.row_codes
        kernel = omega[code] * np.exp(-omega[code] * self.row_ages)
        hazard = np.maximum(mu + sum_by(row, beta[code] * kernel, len(self.shares)), TINY)
        pull = (self.shares / hazard)[row]
        idle = np.zeros(n, dtype=bool)
        idle[some] = True
        own = replace(
            self,
            codes=self.codes[idle[self.codes]],
            ages=self.ages[idle[self.codes]],
            weights=self.weights[idle[self.codes]],
        )
        code, ages, pull = code[idle[code]], self.row_ages[idle[code]], pull[idle[code]]
        gain, log_rates = np.zeros(n), x[n + 1 :].copy()
        for log_rate in np.linspace(bounds[0], bounds[1], 4 * STARTS):
            rate = np.full(n, np.exp(log_rate))
            rise = sum_by(code, pull * rate[0] * np.exp(-rate[0] * ages), n)
            exposure = own.exposures(rate)[0]
            ratio = np.divide(rise, exposure, out=np.zeros(n), where=exposure > 0) - 1.0
            log_rates = np.where(ratio > gain, log_rate, log_rates)
            gain = np.maximum(gain, ratio)
        chosen = np.flatnonzero(gain > ENOUGH)
        there = x.copy()
        there[n + 1 + chosen] = log_rates[chosen]
        for halvings in range(6, 30) if len(chosen) else ():
            there[1 + chosen] = 0.5**halvings
            if self.evaluate(there, units, 1)[0] < value - 1e-13 * max(1.0, abs(value)):
                return there
        return None

    def unscale(self, x: FloatArray, units: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Return mu, beta and omega."""
        real = x[: self.n + 1] * units
        return float(real[0]), real[1:], np.exp(x[self.n + 1 :])

    def evaluate(self, x: FloatArray, units: FloatArray, order: int) -> Any:
        """Return value and gradient (order 1), and the Hessian as well (order 2)."""
        n, m = self.n, len(self.shares)
        mu, beta, omega = self.unscale(x, units)
        by_rate = self.exposures(omega, order)
        row, code = row_index(self.offsets), self.row_codes
        scaled = omega[code] * self.row_ages
        kernel = omega[code] * np.exp(-scaled)
        bent = kernel * (1.0 - scaled)
        hazard = np.maximum(mu + sum_by(row, beta[code] * kernel, m), TINY)
        value = float(mu * self.risk + beta @ by_rate[0] - self.shares @ np.log(hazard))
        pull = self.shares / hazard
        touch_pull = pull[row]
        bent_sum = sum_by(code, touch_pull * bent, n)
        gradient = np.concatenate(
            [
                [(self.risk - pull.sum()) * units[0]],
                (by_rate[0] - sum_by(code, touch_pull * kernel, n)) * units[1:],
                beta * (by_rate[1] - bent_sum),
            ]
        )
        if order == 1:
            return value, gradient
        from scipy.sparse import csr_array

        scale = np.sqrt(self.shares) / hazard
        columns = np.concatenate([[0], 1 + code, 1 + n + code])
        entries = np.concatenate([kernel * units[1:][code], beta[code] * bent])
        rows = np.concatenate([row, row])
        slopes = csr_array((entries * scale[rows], (rows, columns[1:])), shape=(m, 2 * n + 1))
        hessian = (slopes.T @ slopes).toarray()
        first = slopes.T @ (scale * units[0])
        hessian[0, :] += first
        hessian[:, 0] += first
        hessian[0, 0] += float(scale @ scale) * units[0] ** 2
        each = np.arange(n)
        twist = kernel * (1.0 - 3.0 * scaled + scaled**2)
        mixed = (by_rate[1] - bent_sum) * units[1:]
        hessian[1 + each, 1 + n + each] += mixed
        hessian[1 + n + each, 1 + each] += mixed
        hessian[1 + n + each, 1 + n + each] += beta * (
            by_rate[2] - sum_by(code, touch_pull * twist, n)
        )
        return value, gradient, hessian
