import datetime
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from attribution import Attribution, AttributionWarning, InputError
from attribution.calibration import Lift, _taken, calibrate

# The priors as they are documented, written out once more.
MEAN = stats.norm(-0.125, 0.5)
SPREAD = stats.truncnorm(0.05 / 0.5, 1.5 / 0.5, scale=0.5)

DAY = 86_400_000_000
JANUARY = (20089 * DAY, 20120 * DAY)  # 2025-01-01, 2025-02-01
few = settings(max_examples=15, deadline=None)


def attributed(credit, **changes):
    """An attribution with ample baseline, so that factors above 1 fit."""
    amounts = np.array([credit[name] for name in sorted(credit)], dtype=float)
    figures = {
        "model": "markov",
        "channels": tuple(sorted(credit)),
        "conversions": amounts,
        "values": None,
        "baseline": 1e3 * float(np.abs(amounts).sum()),
        "total_value": None,
        "unattributed": 7.0,
        "unattributed_value": None,
        **changes,
    }
    came_in = float(amounts.sum()) + figures["unattributed"] + (figures["baseline"] or 0.0)
    return Attribution(**{"total_conversions": came_in, **figures})


def lift(channel="a", incremental=40.0, standard_error=10.0, **more):
    return Lift(channel=channel, incremental=incremental, standard_error=standard_error, **more)


def column(result, name="conversions"):
    return result.to_frame()[name].to_dict()


# --- oracles -------------------------------------------------------------------------------


def by_quadrature(best, error, tau):
    """E of f_1 and of an untested f for one or two tested channels and a fixed tau.

    With log M integrated out by hand, the log factors are jointly normal with a common part.
    """
    n = len(best)
    shared, own = 0.25, tau**2
    prior = stats.multivariate_normal(
        np.full(n, -0.125 - own / 2), shared * np.ones((n, n)) + own * np.eye(n)
    )

    def density(x):
        return prior.pdf(x) * np.prod(stats.norm.pdf(best, np.exp(x), error))

    def expected_mean_factor(x):
        weight = shared / (own + n * shared)
        center = -0.125 + weight * np.sum(x + own / 2 + 0.125)
        return np.exp(center + (shared - weight * n * shared) / 2)

    def total(of):
        if n == 1:
            return integrate.quad(
                lambda x: of(np.array([x])), -8, 3, points=[-2, -1, 0], limit=200
            )[0]
        return integrate.dblquad(lambda y, x: of(np.array([x, y])), -9, 2, -9, 2, epsrel=1e-7)[0]

    mass = total(density)
    return (
        total(lambda x: np.exp(x[0]) * density(x)) / mass,
        total(lambda x: expected_mean_factor(x) * density(x)) / mass,
    )


def by_dense_grid(best, error, tau=None):
    """Mean, sd, 5 % and 95 % of each tested f, then of an untested one, on plain dense grids.

    The factor on a natural scale, log M and tau evenly spaced, Simpson everywhere.
    """
    taus = np.linspace(0.05, 1.5, 61) if tau is None else np.array([tau])
    means = np.linspace(-4.125, 3.875, 161)
    factor = np.geomspace(1e-5, 1e6, 3001)  # of the untested channel
    near_0 = np.geomspace(1e-5, 0.1, 400, endpoint=False)
    tested = [
        np.append(near_0, np.linspace(0.1, b + 9 * e, 801))
        for b, e in zip(best, error, strict=True)
    ]
    likelihood = [stats.norm.pdf(b, f, e) for f, b, e in zip(tested, best, error, strict=True)]
    slices = []
    for t in taus:
        given = [stats.lognorm.pdf(f, t, scale=np.exp(means[:, None] - t**2 / 2)) for f in tested]
        joint = [g * like for g, like in zip(given, likelihood, strict=True)]
        alone = np.array(
            [integrate.simpson(j, x=f, axis=1) for j, f in zip(joint, tested, strict=True)]
        )
        weight = MEAN.pdf(means) * alone.prod(axis=0)
        shares = [j / np.maximum(a, 1e-300)[:, None] for j, a in zip(joint, alone, strict=True)]
        free = stats.lognorm.pdf(factor, t, scale=np.exp(means[:, None] - t**2 / 2))
        slices.append(
            [integrate.simpson(weight[:, None] * d, x=means, axis=0) for d in (*shares, free)]
        )
    densities = slices[0]
    if tau is None:
        prior = SPREAD.pdf(taus)
        densities = [
            integrate.simpson(np.array(each) * prior[:, None], x=taus, axis=0)
            for each in zip(*slices, strict=True)
        ]
    return np.array([moments(f, d) for f, d in zip([*tested, factor], densities, strict=True)])


def moments(factor, density):
    below = integrate.cumulative_trapezoid(density, factor, initial=0)
    density = density / below[-1]
    mean = integrate.trapezoid(factor * density, factor)
    sd = np.sqrt(integrate.trapezoid((factor - mean) ** 2 * density, factor))
    return [mean, sd, *np.interp([0.05, 0.95], below / below[-1], factor)]


def calibrated(best, error, tau):
    """The same figures by the library, with credits of 100, 200 ... and half of each covered."""
    credit = {f"c{i}": 100.0 * (i + 1) for i in range(len(best))}
    lifts = [
        lift(name, b * credit[name] / 2, e * credit[name] / 2, coverage=0.5)
        for name, b, e in zip(credit, best, error, strict=True)
    ]
    frame = calibrate(attributed({**credit, "z": 10.0}), lifts, prior_sd=tau).to_frame()
    names = ["conversions", "conversions_se", "conversions_low", "conversions_high"]
    return frame[names].to_numpy() / frame[["credit"]].to_numpy()


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.2])
@pytest.mark.parametrize(
    ("best", "error"),
    [([0.4], [0.1]), ([-0.1], [0.2]), ([1.3], [0.6]), ([0.4, 0.9], [0.1, 0.3])],
)
def test_means_agree_with_adaptive_quadrature(best, error, tau):
    found = calibrated(best, error, tau)
    expected = by_quadrature(np.array(best), np.array(error), tau)
    # dblquad is asked for 1e-7
    assert [found[0, 0], found[-1, 0]] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("best", "error"),
    [
        ([0.4], [0.1]),
        ([0.0], [0.3]),
        ([0.3, 1.1], [0.1, 0.4]),
        ([0.25, 0.8, 0.5, 0.1], [0.05, 0.3, 0.2, 0.1]),
        ([0.5, 0.5, 0.5, 0.5], [0.05, 0.05, 0.05, 0.05]),
    ],
)
def test_moments_and_intervals_agree_with_dense_grids(best, error):
    # Plain trapezoids over 1,500 factors are good to about 1e-4; the intervals of both are
    # interpolated.
    expected = by_dense_grid(best, error)
    np.testing.assert_allclose(calibrated(best, error, None), expected, rtol=5e-4)


@pytest.mark.parametrize("tau", [0.3, 1.0])
def test_intervals_under_a_fixed_spread_agree_with_dense_grids(tau):
    best, error = [0.3, 0.9], [0.1, 0.3]
    expected = by_dense_grid(best, error, tau)
    np.testing.assert_allclose(calibrated(best, error, tau), expected, rtol=5e-4)


def test_slope_of_the_mean_is_the_variance():
    """Tweedie: the mean moves with the lift by posterior variance over the lift's variance."""
    before, after = (
        calibrate(attributed({"a": 100, "b": 50}), [lift(incremental=y)]) for y in (39.9, 40.1)
    )
    middle = calibrate(attributed({"a": 100, "b": 50}), [lift(incremental=40.0)])
    slope = (after.conversions[0] - before.conversions[0]) / 0.2
    # a central difference over 0.02 standard errors errs by about 1e-4
    assert slope == pytest.approx(middle.extra["conversions_se"][0] ** 2 / 10.0**2, rel=1e-3)


# --- limits --------------------------------------------------------------------------------


def test_one_lift_of_4000_within_1000_moves_10000_close_to_it():
    result = attributed({"a": 10_000}, extra={"conversions_se": np.array([150.0])})
    found = calibrate(result, [lift("a", 4_000, 1_000)], prior_sd=0.5)
    assert 4_000 < found.conversions[0] < 4_700


@pytest.mark.parametrize(
    ("prior_sd", "relative"),
    [(None, 1e-3), (None, 1e-6), (0.01, 1e-6), (0.5, 1e-3), (0.5, 1e-6), (2.0, 1e-9)],
)
def test_exact_lift_is_reproduced_with_its_own_error(prior_sd, relative):
    lifts = [lift("a", 40, 40 * relative), lift("b", 90, 90 * relative)]
    frame = calibrate(attributed({"a": 100, "b": 50, "c": 9}), lifts, prior_sd=prior_sd).to_frame()
    for name, y in (("a", 40), ("b", 90)):
        row, error = frame.loc[name], y * relative
        assert row["conversions"] == pytest.approx(y, abs=0.1 * error)
        assert row["conversions_se"] == pytest.approx(error, rel=0.02)
        reach = (row["conversions_high"] - row["conversions_low"]) / 2
        assert reach == pytest.approx(stats.norm.ppf(0.95) * row["conversions_se"], rel=0.001)


@pytest.mark.parametrize("incremental", [0.0, -50.0])
def test_exact_lift_of_nothing_brings_the_channel_to_nothing(incremental):
    found = calibrate(attributed({"a": 100, "b": 50}), [lift("a", incremental, 1e-4)])
    assert 0 < found.conversions[0] < 1e-3


@pytest.mark.parametrize("prior_sd", [None, 0.5])
def test_lift_that_says_nothing_leaves_credit_as_it_is(prior_sd):
    lifts = [lift("a", 40, 1e8), lift("b", -3, 1e8)]
    found = calibrate(attributed({"a": 100, "b": 50, "c": 9}), lifts, prior_sd=prior_sd)
    # the lift moves the factor by about its variance over the squared relative error, 1e-12
    assert found.conversions == pytest.approx([100, 50, 9], rel=1e-6)


@pytest.mark.parametrize("prior_sd", [None, 0.5])
def test_a_lift_that_says_nothing_takes_the_pooled_factor_of_the_others(prior_sd):
    credit = {"a": 100, "b": 50, "c": 80, "d": 20}
    known = [lift("a", 40, 10), lift("b", 10, 5)]
    without = calibrate(attributed(credit), known, prior_sd=prior_sd).to_frame()
    found = calibrate(attributed(credit), [*known, lift("c", 5, 80e6)], prior_sd=prior_sd)
    assert column(found) == pytest.approx(without["conversions"].to_dict(), rel=1e-6)
    names = ["factor", "factor_low", "factor_high"]
    frame = found.to_frame()[names]
    assert without.loc["c", names].equals(without.loc["d", names])
    np.testing.assert_allclose(frame.loc["c"], frame.loc["d"], rtol=1e-4)


def test_channels_alike_make_the_pooled_factor_surer_than_channels_apart():
    credit = dict.fromkeys("abcdz", 100)
    alike = [lift(name, 50, 2) for name in "abcd"]
    apart = [lift(name, y, 2) for name, y in zip("abcd", (20, 40, 90, 130), strict=True)]
    sds = [
        calibrate(attributed(credit), lifts).extra["conversions_se"][-1] for lifts in (alike, apart)
    ]
    assert sds[0] < sds[1] / 2


# --- properties ----------------------------------------------------------------------------


@st.composite
def cases(draw):
    """Credit of up to five channels, lifts of some of them, and a spread or none."""
    names = [f"c{i}" for i in range(draw(st.integers(1, 5)))]
    credit = {name: draw(st.floats(1, 1e5)) for name in names}
    tested = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    lifts = []
    for name in tested:
        covered = draw(st.sampled_from([1.0, 0.5, 0.03]))
        scale = credit[name] * covered
        y, error = draw(st.floats(-0.5, 2)), draw(st.sampled_from([0.01, 0.1, 0.3, 2.0]))
        lifts.append(lift(name, y * scale, error * scale, coverage=covered))
    return credit, lifts, draw(st.sampled_from([None, 0.1, 0.5]))


def close(found, expected, rel=1e-7):
    """Both sides are the same quadrature; grids and the order of sums differ by rounding."""
    assert found == pytest.approx(expected, rel=rel)


@few
@given(cases(), st.floats(0, 50), st.booleans())
@pytest.mark.filterwarnings("ignore::attribution.AttributionWarning")
def test_conserves(case, baseline, keep_total):
    credit, lifts, prior_sd = case
    before = attributed(credit, baseline=baseline)
    found = calibrate(before, lifts, prior_sd=prior_sd, keep_total=keep_total)
    total = found.conversions.sum() + found.baseline + found.unattributed
    assert total == pytest.approx(before.total_conversions, rel=1e-9)
    assert found.total_conversions == before.total_conversions
    assert found.baseline >= 0
    scaled = found.details["scale"] * found.extra["factor"] * found.extra["credit"]
    taken = scaled - found.conversions
    assert taken.sum() == pytest.approx(found.details["excess"], rel=1e-9, abs=1e-9 * scaled.sum())
    assert (taken >= -1e-9 * scaled.sum()).all()
    assert (found.conversions >= 0).all()


@few
@given(cases(), st.floats(0.05, 3))
def test_credit_is_monotone_in_the_lift(case, step):
    credit, lifts, prior_sd = case
    more = replace(lifts[0], incremental=lifts[0].incremental + step * lifts[0].standard_error)
    low = column(calibrate(attributed(credit), lifts, prior_sd=prior_sd))
    high = column(calibrate(attributed(credit), [more, *lifts[1:]], prior_sd=prior_sd))
    assert low[more.channel] < high[more.channel]
    if prior_sd is not None:  # with tau known, factors are positively associated
        assert all(low[name] <= high[name] * (1 + 1e-9) for name in credit)


@few
@given(cases(), st.randoms(use_true_random=False))
def test_renaming_channels_and_shuffling_lifts_changes_nothing_else(case, random):
    credit, lifts, prior_sd = case
    names = [f"x{i}" for i in range(len(credit))]
    random.shuffle(names)
    new = dict(zip(credit, names, strict=True))
    renamed = [replace(each, channel=new[each.channel]) for each in lifts]
    random.shuffle(renamed)
    found = calibrate(attributed(credit), lifts, prior_sd=prior_sd).to_frame()
    other = calibrate(
        attributed({new[name]: amount for name, amount in credit.items()}),
        renamed,
        prior_sd=prior_sd,
    ).to_frame()
    np.testing.assert_allclose(other.loc[list(new.values())], found.loc[list(new)], rtol=1e-7)


@few
@given(cases(), st.floats(1e-3, 1e3))
def test_scaling_credit_and_lifts_scales_the_result(case, by):
    credit, lifts, prior_sd = case
    larger = [
        replace(e, incremental=e.incremental * by, standard_error=e.standard_error * by)
        for e in lifts
    ]
    found = calibrate(attributed(credit), lifts, prior_sd=prior_sd)
    other = calibrate(
        attributed({name: amount * by for name, amount in credit.items()}),
        larger,
        prior_sd=prior_sd,
    )
    close(other.conversions, by * found.conversions)
    close(other.extra["conversions_high"], by * found.extra["conversions_high"])


@few
@given(cases())
def test_coverage_is_the_same_as_a_lift_of_all(case):
    credit, lifts, prior_sd = case
    whole = [
        lift(e.channel, e.incremental / e.coverage, e.standard_error / e.coverage) for e in lifts
    ]
    found = calibrate(attributed(credit), lifts, prior_sd=prior_sd)
    close(calibrate(attributed(credit), whole, prior_sd=prior_sd).conversions, found.conversions)


def test_lifts_of_one_channel_combine_as_their_weighted_mean():
    apart = [lift("a", 30, 10), lift("a", 30, 10, coverage=0.5), lift("b", 5, 5)]
    # of all people: 30 within 10 and 60 within 20, weights 4 to 1
    joint = [lift("a", 36, 10 / np.sqrt(1.25)), lift("b", 5, 5)]
    credit = attributed({"a": 100, "b": 50, "c": 9})
    close(calibrate(credit, apart).conversions, calibrate(credit, joint).conversions)


def simulate(random, n_tested, tau):
    """Draw factors and lifts from the model; tell which 90 % intervals hold the truth."""
    credit = dict(zip("abcz", random.uniform(50, 500, 4), strict=True))
    spread = SPREAD.rvs(random_state=random) if tau is None else tau
    center = MEAN.rvs(random_state=random) - spread**2 / 2
    truth = {name: c * np.exp(random.normal(center, spread)) for name, c in credit.items()}
    lifts = []
    for name in "abc"[:n_tested]:
        covered = random.uniform(0.2, 1)
        error = covered * credit[name] * random.uniform(0.05, 0.6)
        y = random.normal(covered * truth[name], error)
        lifts.append(lift(name, y, error, coverage=covered))
    frame = calibrate(attributed(credit), lifts, prior_sd=tau).to_frame()
    inside = frame["conversions_low"] <= pd.Series(truth)
    inside &= pd.Series(truth) <= frame["conversions_high"]
    return [inside[name] for name in "abc"[:n_tested]], inside["z"]


@pytest.mark.parametrize(("n_tested", "tau", "n_draws"), [(3, 0.4, 500), (2, None, 200)])
def test_intervals_cover_what_they_claim(n_tested, tau, n_draws):
    random = np.random.default_rng(7)
    draws = [simulate(random, n_tested, tau) for _ in range(n_draws)]
    # 90 % of 200 draws has a standard error of 2.1 points; the seed is fixed
    assert 0.86 < np.mean([tested for tested, _ in draws]) < 0.94
    assert 0.86 < np.mean([free for _, free in draws]) < 0.94


# --- the result ----------------------------------------------------------------------------

# Lifts so exact that the factors are known: a 0.5, b 0.2.
KNOWN = [lift("a", 50, 1e-7), lift("b", 10, 1e-8)]
VALUED = {
    "values": np.array([1000.0, 100.0]),
    "total_value": 1130.0,
    "unattributed_value": 30.0,
}
EXACT = {"rel": 1e-7}


def test_what_is_not_incremental_joins_the_baseline_in_both_outcomes():
    before = attributed({"a": 100, "b": 50}, baseline=5.0, **VALUED)
    found = calibrate(before, KNOWN)
    assert found.conversions == pytest.approx([50, 10], **EXACT)
    assert found.values == pytest.approx([500, 20], **EXACT)
    assert found.baseline == pytest.approx(5 + 90, **EXACT)
    assert found.baseline_value == pytest.approx(500 + 80, **EXACT)
    assert (found.total_conversions, found.unattributed) == (before.total_conversions, 7)
    assert (found.total_value, found.unattributed_value) == (1130, 30)


def test_without_a_baseline_before_there_is_one_after():
    found = calibrate(attributed({"a": 100, "b": 50}, baseline=None), KNOWN)
    assert found.baseline == pytest.approx(90, **EXACT)
    assert found.baseline_value is None


def test_columns_of_sampling_give_way_and_others_stay():
    old = {"conversions_low": 1.0, "conversions_high": 2.0, "removal_effect_se": 3.0}
    old |= {"value_se": 4.0, "removal_effect": 0.25}
    before = attributed(
        {"a": 100, "b": 50},
        extra={name: np.full(2, value) for name, value in old.items()},
        details={"solver": "dense", "intervals": {"level": 0.8}},
        **VALUED,
    )
    found = calibrate(before, KNOWN[:1], prior_sd=0.5)
    assert found.model == "markov, calibrated"
    assert set(found.extra) == {
        *(f"{of}_{end}" for of in ("conversions", "value") for end in ("low", "high", "se")),
        *("factor", "factor_low", "factor_high", "tested", "credit", "removal_effect"),
    }
    assert column(found, "tested") == {"a": 1, "b": 0}
    assert column(found, "credit") == {"a": 100, "b": 50}
    assert column(found, "removal_effect") == {"a": 0.25, "b": 0.25}
    ratio = found.extra["value_high"] / found.extra["conversions_high"]
    assert ratio == pytest.approx([10, 2])
    assert set(found.details) == {
        "solver",
        "mu",
        "tau",
        "n_lifts",
        "keep_total",
        "scale",
        "scale_value",
        "excess",
        "excess_value",
    }
    assert (found.details["tau"], found.details["n_lifts"]) == (pytest.approx(0.5), 1)
    assert Attribution.from_json(found.to_json()).equals(found)


def test_sampling_error_of_credit_is_ignored():
    plain = attributed({"a": 100, "b": 50})
    noisy = replace(plain, extra={"conversions_se": np.array([90.0, 90.0])})
    assert calibrate(noisy, KNOWN).equals(calibrate(plain, KNOWN))


def test_interval_of_negative_credit_is_in_order():
    found = calibrate(attributed({"a": 100, "b": -50, "c": 0}), [lift()])
    low, high = found.extra["conversions_low"], found.extra["conversions_high"]
    assert low[1] < found.conversions[1] < high[1] < 0
    assert (low[2], found.conversions[2], high[2]) == (0, 0, 0)
    assert found.extra["conversions_se"][1] > 0


def test_factors_that_ask_for_more_than_came_in_give_way_with_a_warning():
    """Two lifts of one error: each gives half of the 200 that are too many."""
    before = attributed({"a": 100, "b": 50}, baseline=50.0)
    lifts = [lift("a", 300, 1e-6), lift("b", 100, 1e-6)]
    with pytest.warns(AttributionWarning, match="ask for 400 in conversions, but only 200 came"):
        found = calibrate(before, lifts)
    assert found.conversions == pytest.approx([200, 0], **EXACT, abs=1e-4)
    assert found.baseline == 0
    assert found.extra["factor"] == pytest.approx([3, 2], **EXACT)
    assert found.details["excess"] == pytest.approx(200, **EXACT)


@pytest.mark.parametrize("incremental", [100, 130])
@pytest.mark.filterwarnings("ignore:Factors ask for")
def test_an_exact_lift_is_reproduced_where_others_must_give_way(incremental):
    before = attributed({"a": 100, "b": 600, "c": 300}, baseline=None)
    found = calibrate(before, [lift("a", incremental, 1e-3)])
    assert found.conversions[0] == pytest.approx(incremental, rel=1e-4)
    total = found.conversions.sum() + found.baseline
    assert total == pytest.approx(1_000, rel=1e-9)
    assert (found.extra["conversions_high"] <= 1_000).all()
    assert (found.extra["conversions_low"] >= 0).all()


def test_what_gives_way_is_what_normal_estimates_give_when_their_sum_is_known():
    """Minimise sum (x - m)^2 / v subject to sum x = room, x >= 0."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        amounts, variances = rng.gamma(2.0, 10.0, 5), rng.gamma(1.0, 4.0, 5)
        room = 0.6 * amounts.sum()
        found = amounts - _taken(amounts, variances, amounts.sum() - room)
        best = optimize.minimize(
            lambda x, m=amounts, v=variances: ((x - m) ** 2 / v).sum(),
            np.full(5, room / 5),
            bounds=[(0, None)] * 5,
            constraints={"type": "eq", "fun": lambda x, r=room: x.sum() - r},
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(found, best.x, atol=1e-3)


def test_value_that_does_not_fit_gives_way_by_itself():
    before = attributed({"a": 100, "b": 50}, baseline=None, **VALUED)
    lifts = [lift("a", 110, 1e-6), lift("b", 10, 1e-6)]  # of value: 1,100 + 20 of 1,100
    with pytest.warns(AttributionWarning, match="ask for 1,120 in value, but only 1,100 came"):
        found = calibrate(before, lifts)
    assert found.conversions == pytest.approx([110, 10], **EXACT)
    assert found.baseline == pytest.approx(30, **EXACT)
    # 10 and 2 of value per conversion: variances as 100 to 4
    assert found.values == pytest.approx([1100 - 20 * 100 / 104, 20 - 20 * 4 / 104], **EXACT)
    assert found.baseline_value == 0


def test_factors_above_one_that_fit_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibrate(
            attributed({"a": 100, "b": 50}, baseline=0.0), [KNOWN[0], lift("b", 60, 1e-7)]
        )
    assert found.conversions == pytest.approx([50, 60], **EXACT)
    assert found.baseline == pytest.approx(40, **EXACT)


@pytest.mark.parametrize("baseline", [None, 5.0])
def test_keep_total_scales_to_what_the_model_gave_and_says_so(baseline):
    before = attributed({"a": 100, "b": 50}, baseline=baseline, **VALUED)
    with pytest.warns(AttributionWarning, match="totals are not incremental"):
        found = calibrate(before, KNOWN, keep_total=True)
    assert found.conversions == pytest.approx([125, 25], **EXACT)
    assert found.values == pytest.approx([1100 * 500 / 520, 1100 * 20 / 520], **EXACT)
    assert (found.baseline, found.baseline_value) == (baseline, None)
    assert found.details["keep_total"] is True
    assert found.details["scale"] == pytest.approx(2.5, **EXACT)


# --- lifts as tables -----------------------------------------------------------------------

ROWS = [
    {"channel": "a", "incremental": 20, "standard_error": 5.0, "coverage": 0.5},
    {"channel": "b", "incremental": -3, "standard_error": 4.0, "coverage": None},
]


@pytest.mark.parametrize(
    "table",
    [list, tuple, pd.DataFrame, pl.DataFrame, pa.Table.from_pylist],
    ids=["list", "tuple", "pandas", "polars", "pyarrow"],
)
def test_a_table_is_as_good_as_lifts(table):
    before = attributed({"a": 100, "b": 50})
    lifts = [lift("a", 20, 5, coverage=0.5), lift("b", -3, 4)]
    assert calibrate(before, table(ROWS)).equals(calibrate(before, lifts))


def test_a_table_may_hold_periods_as_text():
    before = attributed({"a": 100, "b": 50}, period=JANUARY)
    table = pd.DataFrame(ROWS).assign(period=["2025-01-01/2025-02-01", None])
    assert calibrate(before, table).equals(calibrate(before, ROWS))


@pytest.mark.parametrize(
    ("lifts", "message"),
    [
        ([], "no lifts"),
        (pd.DataFrame(columns=["channel", "incremental", "standard_error"]), "no lifts"),
        ([{**ROWS[0], "coverge": 1}], "column 'coverge'. Did you mean 'coverage'"),
        ([{"channel": "a", "incremental": 3}], "no column 'standard_error'"),
        (pd.DataFrame([{**ROWS[0], "standard_error": None}]), "standard_error=None"),
        (["a"], "lifts holds a str"),
        (lift(), "lifts is a Lift, not a table"),
    ],
)
def test_lifts_that_cannot_be_read_are_refused(lifts, message):
    with pytest.raises(InputError, match=message):
        calibrate(attributed({"a": 100, "b": 50}), lifts)


# --- what does not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("standard_error", value) for value in (0, -1.0, np.nan, np.inf, None, "wide")],
        *[("coverage", value) for value in (0, -0.1, 1.01, np.nan)],
        *[("incremental", value) for value in (np.nan, -np.inf, None)],
        *[("period", value) for value in (("2025-02-01", "2025-01-01"), ("2025-01-01",), 7)],
    ],
)
def test_figures_out_of_range_are_refused_by_name_and_value(field, value):
    with pytest.raises(InputError, match=rf"lift of 'tv' has {field}=.*Hint"):
        Lift(**{"channel": "tv", "incremental": 1, "standard_error": 1, field: value})


def test_a_channel_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"'serch' is of no channel.* Did you mean 'search'"):
        calibrate(attributed({"search": 1, "mail": 1}), [lift("serch")])


@pytest.mark.parametrize("credit", [0, -2])
def test_a_tested_channel_needs_credit(credit):
    with pytest.raises(InputError, match=rf"'a' was tested, but its credit is {credit}.*Hint"):
        calibrate(attributed({"a": credit, "b": 1}), [lift()])


def test_a_model_without_credit_is_refused():
    with pytest.raises(InputError, match="markov gave no credit"):
        calibrate(attributed({"a": 1, "b": np.nan}, total_conversions=1.0), [lift()])


@pytest.mark.parametrize("prior_sd", [0, -1, 0.009, 2.1, np.nan, "0.5", True])
def test_a_spread_out_of_range_is_refused(prior_sd):
    with pytest.raises(InputError, match=r"prior_sd=.* is not a number in 0.01 ... 2.0"):
        calibrate(attributed({"a": 100}), [lift()], prior_sd=prior_sd)


@pytest.mark.parametrize(
    "period",
    [
        ("2025-01-01", "2025-02-01"),
        "2025-01-01/2025-02-01",
        (datetime.date(2025, 1, 1), pd.Timestamp("2025-02-01 01:00", tz="Europe/Berlin")),
    ],
)
def test_a_lift_of_the_period_of_the_attribution_is_taken(period):
    before = attributed({"a": 100, "b": 50}, period=JANUARY)
    found = calibrate(before, [lift(period=period), lift("b")])
    assert found.period == JANUARY
    assert found.equals(calibrate(before, [lift(), lift("b")]))


@pytest.mark.parametrize(
    ("period", "have"),
    [
        (None, "no period"),
        ((JANUARY[0], JANUARY[1] + 1), "another period"),
        ((JANUARY[0], None), "another period"),
    ],
)
def test_a_lift_of_another_period_is_refused_with_the_way_out(period, have):
    match = rf"'2025-01-01', '2025-02-01'.* has {have}.*from_events\(report_from="
    with pytest.raises(InputError, match=match):
        calibrate(
            attributed({"a": 100}, period=period), [lift(period=("2025-01-01", "2025-02-01"))]
        )


def test_lifts_of_different_periods_are_refused():
    lifts = [lift(period="2025-01-01/2025-02-01"), lift("b", period="2025-01-01/2025-02-02")]
    with pytest.raises(InputError, match=r"different periods: 'a' .* 'b' .*each period by itself"):
        calibrate(attributed({"a": 100, "b": 50}, period=JANUARY), lifts)


def test_what_is_no_attribution_and_what_is_calibrated_already():
    with pytest.raises(InputError, match="Got a DataFrame, not an Attribution"):
        calibrate(attributed({"a": 100}).to_frame(), [lift()])
    once = calibrate(attributed({"a": 100, "b": 50}), [lift()])
    with pytest.raises(InputError, match="markov, calibrated is calibrated already"):
        calibrate(once, [lift()])
