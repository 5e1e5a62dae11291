from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.budget.autocorrelation import lags_of, newey_west, steps, whitened, with_gaps
from attribution.budget.curves import LN2
from attribution.budget.least_squares import SLACK, _resampled, draw, estimate, fit
from attribution.budget.panel import Data, LiftRow
from attribution.budget.shapes import (
    FAMILIES,
    HALF_LIFE_SD,
    Family,
    acting,
    acting_slope,
    carry_over_of,
    half_life_of,
)
from attribution.errors import InputError

seeds = st.integers(0, 2**32 - 1)
families = st.sampled_from(sorted(FAMILIES))


def made_data(
    seed: int,
    family: Family,
    *,
    n: int = 60,
    lines: int = 2,
    noise: float = 3.0,
    fixed: bool = False,
) -> Data:
    """A random problem whose lines bring 10 to 40 at mean spend."""
    rng = np.random.default_rng(seed)
    spend = rng.lognormal(0.0, 0.6, (n, lines))
    spend /= spend.mean(axis=0)
    u = family.prior_mean + 0.5 * rng.standard_normal(lines)
    v = -0.3 + 0.4 * rng.standard_normal(lines)
    g = family.basis(acting(spend, v[None])[0], u)[0]
    baseline = np.column_stack([np.ones(n), np.linspace(-1, 1, n)])
    outcome = baseline @ [100.0, 10.0] + g @ rng.uniform(10, 40, lines)
    outcome += noise * rng.standard_normal(n)
    known = np.full(lines, fixed)
    prior = v if fixed else np.full(lines, -0.3)
    return Data(outcome, baseline, spend, np.arange(n), family, prior, known)


def settled(family: Family) -> Family:
    """The same family with a shape that the prior holds fast."""
    return Family(family.basis, family.curve, family.prior_mean, 1e-7)


# autocorrelation


def slow_newey_west(scores: np.ndarray, periods: np.ndarray, lags: int) -> np.ndarray:
    n, k = scores.shape
    meat = np.zeros((k, k))
    for t in range(n):
        for s in range(n):
            apart = abs(periods[t] - periods[s])
            if apart <= lags:
                meat += (1 - apart / (lags + 1)) * np.outer(scores[t], scores[s])
    return meat


def some_of(n: int, seed: int) -> np.ndarray:
    """Half of n periods or more, in order."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, rng.integers((n + 1) // 2, n + 1), replace=False))


@given(seeds, st.integers(1, 15), st.integers(0, 6))
def test_newey_west_is_the_double_sum_over_pairs_of_periods(seed: int, n: int, lags: int) -> None:
    scores = np.random.default_rng(seed).standard_normal((n, 3))
    expected = slow_newey_west(scores, np.arange(n), lags)
    assert newey_west(scores, lags) == pytest.approx(expected, abs=1e-12)


@given(seeds, st.integers(1, 15), st.integers(0, 6))
def test_newey_west_counts_the_periods_of_a_gap(seed: int, n: int, lags: int) -> None:
    periods = 5 + some_of(n, seed)
    scores = np.random.default_rng(seed).standard_normal((len(periods), 3))
    expected = slow_newey_west(scores, periods, lags)
    assert newey_west(with_gaps(scores, periods), lags) == pytest.approx(expected, abs=1e-12)


def test_lags_grow_slowly() -> None:
    assert [lags_of(n) for n in (30, 100, 500)] == [3, 4, 5]


@given(st.floats(0, 0.9), seeds)
def test_whitening_is_a_root_of_the_inverse_covariance(rho: float, seed: int) -> None:
    periods = some_of(8, seed)
    covariance = rho ** np.abs(np.subtract.outer(periods, periods)) / (1 - rho**2)
    one = np.eye(len(periods))
    root = whitened(one, rho, steps(periods))
    assert root @ covariance @ root.T == pytest.approx(one, abs=1e-11)


# shapes


@given(families, st.floats(0.02, 8), st.floats(-2, 2))
def test_basis_has_slope_1_at_mean_spend_and_its_derivatives(name: str, a: float, u: float) -> None:
    basis, step = FAMILIES[name].basis, 1e-6
    at = [np.array(x) for x in (a, u)]
    _, by_a, by_u = basis(*at)
    ahead, behind = basis(at[0] + a * step, at[1])[0], basis(at[0] - a * step, at[1])[0]
    assert by_a == pytest.approx((ahead - behind) / (2 * a * step), rel=1e-5, abs=1e-6)
    ahead, behind = basis(at[0], at[1] + step)[0], basis(at[0], at[1] - step)[0]
    assert by_u == pytest.approx((ahead - behind) / (2 * step), rel=1e-5, abs=1e-5)
    assert basis(np.array(1.0), at[1])[1] == pytest.approx(1.0, rel=1e-12)


@given(families, st.floats(0, 5), st.floats(-2, 2), st.floats(0.1, 1e4))
def test_curve_is_beta_times_the_basis(name: str, z: float, u: float, mean: float) -> None:
    family = FAMILIES[name]
    curve = family.curve(7.0, u, 0.3, mean, "conversions")
    g = family.basis(np.array(z), np.array(u))[0]
    assert curve.value(z * mean) == pytest.approx(7.0 * float(g), rel=1e-9, abs=1e-12)
    assert curve.carry_over == 0.3


@given(seeds, st.floats(-2, 2))
@settings(max_examples=20)
def test_acting_spend_is_the_mean_of_a_stock_that_decays_all_the_time(seed: int, v: float) -> None:
    spend, steps = np.random.default_rng(seed).uniform(0, 2, 8), 2000
    decay = 0.5 ** (1.0 / (np.exp(v) * steps))
    stock, means = spend[0], []
    for amount in spend[1:]:
        path = []
        for _ in range(steps):
            stock = decay * stock + (1 - decay) * amount
            path.append(stock)
        means.append(np.mean(path))
    found = acting(spend[:, None], np.array([[v]]))[0, 1:, 0]
    assert found == pytest.approx(np.array(means), abs=4 / steps)  # one step of the sum


@given(seeds, st.floats(-3, 3))
def test_slope_of_acting_spend(seed: int, v: float) -> None:
    spend, step = np.random.default_rng(seed).uniform(0, 2, (9, 1)), 1e-6
    ahead, behind = (acting(spend, np.array([[v + s]]))[0] for s in (step, -step))
    slope = acting_slope(spend, np.array([v]))
    assert slope == pytest.approx((ahead - behind) / (2 * step), abs=1e-7)


def test_steady_spend_acts_as_it_is_and_none_is_carried_over_at_0() -> None:
    v = np.array([[-np.inf, 1.0]])
    assert acting(np.full((5, 2), 3.0), v)[0] == pytest.approx(np.full((5, 2), 3.0), rel=1e-14)
    spend = np.array([[1.0, 1.0], [5.0, 5.0], [0.0, 0.0]])
    assert acting(spend, v)[0, :, 0].tolist() == [1.0, 5.0, 0.0]


def test_carry_over_and_half_life_are_inverse() -> None:
    shares = np.array([0.0, 0.1, 0.5, 0.99])
    assert carry_over_of(half_life_of(shares)) == pytest.approx(shares, rel=1e-12)
    assert half_life_of(np.array([0.5]))[0] == pytest.approx(0.0, abs=1e-15)


# the optimum


def plain_objective(data: Data, theta: np.ndarray, rho: float, sigma: float) -> float:
    """The objective of the module, by covariance matrix and without projecting anything out."""
    p, c = data.baseline.shape[1], data.n_lines
    gamma, beta, u, v = np.split(theta, [p, p + c, p + 2 * c])
    brought = data.family.basis(acting(data.spend, v[None])[0], u)[0] * beta
    left = data.outcome - data.baseline @ gamma - brought[data.rows].sum(axis=1)
    apart = np.abs(np.subtract.outer(data.rows, data.rows))
    covariance = sigma**2 * rho**apart / (1 - rho**2)
    total = left @ np.linalg.solve(covariance, left)
    for test in data.tests:
        found = test.weights @ brought[:, test.line] - test.incremental
        total += (found / test.standard_error) ** 2
    came_in = data.outcome.sum()
    if len(data.baseline.T) and came_in > 0:
        total += (max(0.0, brought[data.rows].sum() - came_in) / (SLACK * came_in)) ** 2
    total += (((u - data.family.prior_mean) / data.family.prior_sd) ** 2).sum()
    return float(total + (((v - data.v) / HALF_LIFE_SD) ** 2).sum())


def part_of(data: Data, rows: np.ndarray, outcome: np.ndarray) -> Data:
    return replace(data, rows=rows, outcome=outcome[rows], baseline=data.baseline[rows])


@given(seeds, families, st.booleans(), st.booleans())
@settings(max_examples=10, deadline=None)
def test_optimum_is_that_of_the_plain_objective(
    seed: int, name: str, gaps: bool, little: bool
) -> None:
    from scipy.optimize import minimize

    data = made_data(seed, FAMILIES[name])
    tested = LiftRow(0, np.full(60, 0.5), 600.0, 100.0)
    # made lines bring more than 20 a period
    outcome = data.outcome - data.outcome.mean() + 20.0 if little else data.outcome
    rows = some_of(60, seed) if gaps else np.arange(60)
    data = replace(part_of(data, rows, outcome), tests=(tested,))
    found = fit(data)
    assert found.held or not little
    rho, sigma = found.rows.rho, found.rows.sigma
    start = np.concatenate([[100.0, 10.0], found.beta, found.shapes])

    def objective(theta: np.ndarray) -> float:
        return plain_objective(data, theta, rho, sigma)

    bounds = [(None, None)] * 2 + [(0, None)] * 2 + [(None, None)] * 4
    nudged = start + 0.05 * np.random.default_rng(seed).standard_normal(len(start))
    best = minimize(objective, np.maximum(nudged, [-1e9] * 2 + [0] * 2 + [-1e9] * 4),
                    bounds=bounds, options={"maxiter": 5000, "maxfun": 100_000})  # fmt: skip
    gamma = best.x[:2]
    ours = objective(np.concatenate([gamma, found.beta, found.shapes]))
    # L-BFGS ends at a gradient by finite differences; both minima agree far within the noise
    assert ours <= best.fun + 1e-2
    assert found.beta == pytest.approx(best.x[2:4], rel=0.02, abs=0.2)


def gls(data: Data, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and (X' W X)^-1 of the linear regression at the prior's shapes, by hand."""
    u = np.full(data.n_lines, data.family.prior_mean)
    g = data.family.basis(acting(data.spend, data.v[None])[0], u)[0]
    x = np.column_stack([data.baseline, g])
    n = len(x)
    weight = np.linalg.inv(rho ** np.abs(np.subtract.outer(range(n), range(n))) / (1 - rho**2))
    inverse = np.linalg.inv(x.T @ weight @ x)
    return inverse @ x.T @ weight @ data.outcome, inverse


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_with_fixed_shapes_it_is_linear_regression(seed: int) -> None:
    data = made_data(seed, settled(FAMILIES["exponential"]), fixed=True)
    found = fit(data)
    coefficients, inverse = gls(data, found.rows.rho)
    assert found.beta == pytest.approx(coefficients[2:], rel=1e-5)
    assert found.parameters == pytest.approx(4.0, abs=1e-5)
    beta, _, _ = draw(found, 4000, np.random.default_rng(0))
    plain = found.rows.sigma * np.sqrt(np.diag(inverse)[2:])
    # no sandwich makes them narrower; Student's t has a variance of n / (n - 2), and 4,000 draws
    # tell a standard deviation to about 1 %
    assert (beta.std(axis=0) > 0.95 * plain).all()
    assert beta.mean(axis=0) == pytest.approx(found.beta, abs=5 * plain.max() / np.sqrt(4000) * 2)


def test_sigma_and_rho_are_those_of_the_errors() -> None:
    data = made_data(5, FAMILIES["exponential"], n=4000, noise=0.0)
    noise, errors = np.random.default_rng(0).standard_normal(4000), np.zeros(4000)
    for t in range(1, 4000):
        errors[t] = 0.6 * errors[t - 1] + 2.0 * noise[t]
    found = fit(Data(data.outcome + errors, data.baseline, data.spend, data.rows, data.family,
                     data.v, data.fixed))  # fmt: skip
    assert found.rows.rho == pytest.approx(0.6, abs=0.05)  # standard error 0.013
    assert found.rows.sigma == pytest.approx(2.0, abs=0.1)  # standard error 0.022


def test_a_gap_is_no_step_to_the_next_period() -> None:
    data, n = made_data(5, FAMILIES["exponential"], n=4000, noise=0.0), np.arange(4000)
    noise, errors = np.random.default_rng(0).standard_normal(4000), np.zeros(4000)
    for t in range(1, 4000):
        errors[t] = 0.6 * errors[t - 1] + 2.0 * noise[t]
    errors *= np.where(n // 4 % 2, 1.0, -1.0)  # the sign turns in every gap
    found = fit(part_of(data, n[n % 4 != 0], data.outcome + errors))
    assert found.rows.rho == pytest.approx(0.6, abs=0.06)  # standard error 0.018; 0.28 over gaps


def test_intervals_are_wider_where_slow_spend_meets_slow_errors() -> None:
    rng = np.random.default_rng(3)
    slow, errors = np.zeros(200), np.zeros(200)
    for t in range(1, 200):
        slow[t] = 0.9 * slow[t - 1] + rng.standard_normal()
        errors[t] = 0.8 * errors[t - 1] + rng.standard_normal()
    spend = np.exp(0.2 * slow)[:, None]
    spend /= spend.mean()
    family, one = settled(FAMILIES["hill"]), np.ones((200, 1))
    widths = []
    for noise in (errors, rng.permutation(errors)):
        outcome = 50.0 + 10.0 * spend[:, 0] + noise
        data = Data(outcome, one, spend, np.arange(200), family, np.array([-np.inf]),
                    np.array([True]))  # fmt: skip
        widths.append(estimate(data, 2000, np.random.default_rng(0)).beta_draws.std())
    # theory for rho 0.8 and 0.9: sqrt((1 + 0.72) / (1 - 0.72)) = 2.5; whitening saves some of it
    assert widths[0] > 1.4 * widths[1]


@given(seeds, st.floats(0.5, 100))
@settings(max_examples=15, deadline=None)
def test_a_lift_joins_by_its_precision(seed: int, error: float) -> None:
    data = made_data(seed, settled(FAMILIES["exponential"]), lines=1, fixed=True)
    u = np.full(1, data.family.prior_mean)
    unit = float(data.family.basis(acting(data.spend, data.v[None])[0], u)[0][10:20, 0].sum())
    weights = np.zeros(60)
    weights[10:20] = 1.0
    tested = LiftRow(0, weights, 300.0, error)
    found = fit(Data(data.outcome, data.baseline, data.spend, data.rows, data.family, data.v,
                     data.fixed, (tested,)))  # fmt: skip
    coefficients, inverse = gls(data, found.rows.rho)
    precisions = np.array([1.0 / (found.rows.sigma**2 * inverse[2, 2]), (unit / error) ** 2])
    expected = precisions @ [coefficients[2], 300.0 / unit] / precisions.sum()
    assert found.beta[0] == pytest.approx(expected, rel=1e-4)


def brought_by(data: Data, beta: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    """What lines bring in the rows, one after the other."""
    each = [
        family_curve.over_time(data.spend[:, i])[data.rows].sum()
        for i in range(data.n_lines)
        for family_curve in [data.family.curve(beta[i], u[i], carry_over_of(v[i]), 1.0, "value")]
    ]
    return float(sum(each))


def narrow(came_in: float) -> Data:
    """One line whose level little of the spend tells, and so much a period that came in."""
    rng = np.random.default_rng(1)
    spend = rng.lognormal(0.0, 0.15, (60, 1))
    spend /= spend.mean()
    outcome = 10.0 * spend[:, 0] + 2.0 * rng.standard_normal(60)
    return Data(outcome - outcome.mean() + came_in, np.ones((60, 1)), spend, np.arange(60),
                FAMILIES["hill"], np.array([-0.3]), np.array([False]))  # fmt: skip


def test_draws_bring_no_more_than_came_in() -> None:
    data = narrow(15.0)
    found = estimate(data, 300, np.random.default_rng(0))
    free = estimate(narrow(1000.0), 300, np.random.default_rng(0))
    assert free.kept == 1.0
    assert 0.2 < found.kept < 0.8
    for estimated, most in ((found, 1.0), (free, np.inf)):
        brought = [brought_by(data, *each) for each in zip(
            estimated.beta_draws, estimated.u_draws, estimated.v_draws, strict=True)]  # fmt: skip
        assert max(brought) <= most * 60 * 15.0 * (1 + 1e-9)
    assert max(brought) > 60 * 15.0  # the same data, but for the level, do not rule it out
    # those that are left are those of the free fit that fit in, in distribution
    inside = free.beta_draws[np.array(brought) <= 60 * 15.0]
    assert np.median(found.beta_draws) == pytest.approx(np.median(inside), rel=0.15)
    assert (
        estimate(replace(data, baseline=np.zeros((60, 0))), 50, np.random.default_rng(0)).kept == 1
    )


def test_the_optimum_stays_at_what_came_in() -> None:
    data = narrow(3.0)
    found = fit(data)
    assert found.held
    brought = brought_by(data, found.beta, found.shapes[:1], found.shapes[1:])
    assert 60 * 3.0 < brought < 60 * 3.0 * (1 + 10 * SLACK)
    assert not fit(narrow(1000.0)).held


def test_draws_stand_where_hardly_one_fits_what_came_in() -> None:
    found = estimate(narrow(0.01), 300, np.random.default_rng(0))
    assert found.kept < 0.05
    assert len(np.unique(found.beta_draws)) > 150


def test_proposals_that_are_no_numbers_are_never_chosen() -> None:
    weights = np.array([0.0, np.nan, 0.0, np.inf, -np.inf])
    chosen = _resampled(weights, 1000, np.random.default_rng(0))
    assert np.bincount(chosen, minlength=5).tolist() == [500, 0, 500, 0, 0]
    one = np.append(np.full(99, -np.inf), 0.0)  # alone it is worth less than WORTH of all
    assert (_resampled(one, 10, np.random.default_rng(0)) == 99).all()
    with pytest.raises(InputError, match=r"No draw of the curves is finite. Hint"):
        _resampled(np.full(3, np.nan), 10, np.random.default_rng(0))


@pytest.mark.parametrize(("effect", "least", "most"), [(0.0, 51, 60), (20.0, 0, 0)])
def test_intervals_begin_at_exactly_0_where_there_is_no_effect(
    effect: float, least: int, most: int
) -> None:
    begins = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        spend = rng.lognormal(0, 0.5, (60, 1))
        spend /= spend.mean()
        outcome = 100 + effect * np.log1p(spend[:, 0]) + 5 * rng.standard_normal(60)
        data = Data(outcome, np.ones((60, 1)), spend, np.arange(60), FAMILIES["exponential"],
                    np.array([-0.3]), np.array([False]))  # fmt: skip
        low, high = np.quantile(estimate(data, 200, rng).beta_draws, [0.05, 0.95])
        begins += low == 0
        assert high > 0
    # no effect: 95 % expected, fewer than 51 of 60 in 0.3 % of cases; an effect of 20 has a slope
    # of 10 at mean spend, with a standard error of about 1.5
    assert least <= begins <= most


def weekly_world(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spend and conversions of 104 weeks, and the true marginals, of four lines; the first idles.

    A touch acts from the day after it, with a weight that halves in `days`, and saturates.
    """
    rng = np.random.default_rng(seed)
    lines, past, n = 4, 10, 104
    days, scale = np.array([4.0, 3.0, 6.0, 10.0]), np.array([0.0, 90.0, 120.0, 110.0])
    spend = rng.lognormal(0.0, 0.5, (past + n, lines)) * [500.0, 900.0, 1500.0, 3000.0]
    mean = spend[past:].mean(axis=0)
    k = mean * rng.uniform(0.7, 3.0, lines)
    t = np.arange(past + n)
    expected = 150.0 * (1 + 0.1 * np.sin(2 * np.pi * t / 52.18))
    for c in range(lines):
        daily = np.repeat(spend[:, c], 7)
        weights = 1 - np.exp(-2.0 * 0.5 ** (np.arange(140) / days[c]))
        acts = np.convolve(daily, np.append(0.0, weights / weights.sum()))[: len(daily)]
        expected += scale[c] * (1 - 2 ** (-acts / k[c])).reshape(-1, 7).mean(axis=1)
    marginal = scale * LN2 / k * 2 ** (-mean / k)
    return spend[past:], rng.poisson(expected[past:]).astype(float), marginal


def test_90_percent_intervals_of_the_marginal_cover_the_truth() -> None:
    covered = []
    t = 2 * np.pi * np.arange(104) / 52.18
    baseline = np.column_stack([np.ones(104), t - t.mean(), np.cos(t), np.sin(t)])
    for seed in range(40):
        spend, sold, truth = weekly_world(seed)
        mean = spend.mean(axis=0)
        data = Data(sold, baseline, spend / mean, np.arange(104), FAMILIES["exponential"],
                    np.full(4, np.log(5 / 7)), np.zeros(4, dtype=bool))  # fmt: skip
        draws = estimate(data, 300, np.random.default_rng(seed)).beta_draws / mean
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        covered.append((low <= truth) & (truth <= high))
    # 160 intervals of four lines that are fitted together: standard error of about 2.5 %
    assert 0.82 <= np.mean(covered) <= 0.975
