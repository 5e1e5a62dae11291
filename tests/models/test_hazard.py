import random
from datetime import timedelta
from itertools import pairwise
from math import exp, log

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_oracles import Hazard, Row, as_journeys, channels_of, tables

from attribution import AttributionWarning, InputError, Journeys, compare
from attribution.models import AdditiveHazard, Linear, bounded, hazard_fit
from attribution.models.hazard_fit import SHORTEST, Likelihood
from attribution.models.records import watched

pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
)

HALF_LIFE = 2.0
FIXED = AdditiveHazard(half_life="2D")
FREE = AdditiveHazard()
few = settings(max_examples=40)


def journeys_of(rows):
    return as_journeys(rows, ages=True)


def learned(result):
    """What a result has learned, as the oracle."""
    names = result.channels
    effects = dict(zip(names, result.extra["effect"].tolist(), strict=True))
    rates = dict(zip(names, (np.log(2) / result.extra["half_life"]).tolist(), strict=True))
    rates = {name: 1.0 if rate != rate else rate for name, rate in rates.items()}
    return Hazard(result.details["baseline_rate"], effects, rates, result.details["resolution"])


def same_half_life(rows, mu, effect):
    channels = channels_of(rows)
    rates = dict.fromkeys(channels, log(2) / HALF_LIFE)
    return Hazard(mu, dict.fromkeys(channels, effect), rates)


# --- the likelihood ------------------------------------------------------------------------


@pytest.mark.parametrize("model", [FIXED, FREE], ids=lambda model: model.name)
@few
@given(rows=tables())
def test_log_likelihood_and_credit_are_those_of_plain_loops(model, rows):
    result = model.attribute(journeys_of(rows))
    oracle = learned(result)
    assert result.details["log_likelihood"] == pytest.approx(
        oracle.log_likelihood(rows), rel=1e-9, abs=1e-9
    )
    for of in ("conversions", "value"):
        if any(row.conversions and row.path for row in rows):
            expected = oracle.credit(rows, of)
            baseline = result.baseline if of == "conversions" else result.baseline_value
            assert baseline == pytest.approx(expected.pop(None), rel=1e-9, abs=1e-9)
            assert result.to_frame()[of].to_dict() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@few
@given(rows=tables(converting=True), data=st.data())
def test_gradient_and_hessian_are_those_of_differences(rows, data):
    touched = [row for row in rows if row.path]
    journeys, channels = journeys_of(touched), channels_of(rows)
    n, total = len(channels), sum(row.conversions for row in touched)
    problem = Likelihood.of(
        journeys.codes,
        journeys.ages,
        journeys.offsets,
        watched(journeys)[1],
        journeys.conversions,
        journeys.nulls,
        n,
        SHORTEST,
    )
    numbers = st.floats(0.2, 2)
    x = np.array(data.draw(st.lists(numbers, min_size=2 * n + 1, max_size=2 * n + 1)))
    x[n + 1 :] = np.log(x[n + 1 :] / 3)
    units = np.array(data.draw(st.lists(numbers, min_size=n + 1, max_size=n + 1)))

    def plain(x):
        mu, *effects = (x[: n + 1] * units).tolist()
        rates = np.exp(x[n + 1 :]).tolist()
        named = (dict(zip(channels, each, strict=True)) for each in (effects, rates))
        return -Hazard(mu, *named).log_likelihood(rows) / total

    value, gradient, hessian = problem.evaluate(x, units, 2)
    assert value == pytest.approx(plain(x), rel=1e-11, abs=1e-11)
    step = 1e-5 * np.eye(len(x))
    scale = max(1.0, abs(value), np.abs(gradient).max(), np.abs(hessian).max())
    for i, along in enumerate(step):
        # Central differences of step h err by h^2 and by rounding / h: some 1e-9 of the terms.
        slope = (plain(x + along) - plain(x - along)) / 2e-5
        assert gradient[i] == pytest.approx(slope, abs=1e-7 * scale)
        ahead, behind = (problem.evaluate(x + s * along, units, 1)[1] for s in (1, -1))
        np.testing.assert_allclose(hessian[i], (ahead - behind) / 2e-5, atol=1e-7 * scale)


# --- its maximum ---------------------------------------------------------------------------


def require_stationary(oracle, rows, model, longest):
    """Hold the fit to the conditions of a maximum within bounds (Karush, Kuhn, Tucker)."""
    by_mu, by_effect, by_rate = oracle.gradient(rows)
    total = sum(row.conversions for row in rows if row.path)
    time = sum((r.conversions + r.nulls) * max(r.ages[0], SHORTEST) for r in rows if r.path)
    # In units in which H is 1 per conversion, the stopping rule is 1e-12, or 1e-7 if rounding
    # allows no less.
    assert by_mu * oracle.mu == pytest.approx(0, abs=1e-6 * total)
    assert by_mu <= 1e-6 * time
    for channel, slope in by_effect.items():
        assert slope * oracle.effects[channel] == pytest.approx(0, abs=1e-6 * total)
        exposure = sum(r.conversions + r.nulls for r in rows if channel in r.path)
        if oracle.effects[channel] or model is FIXED:
            assert slope <= 1e-6 * max(1, exposure, total)
        if oracle.effects[channel] and model is FREE:
            half_life, climb = log(2) / oracle.rates[channel], by_rate[channel]
            slack = 1e-6 * total
            if half_life > SHORTEST * (1 + 1e-9):
                assert climb <= slack  # no gain from fading faster
            if half_life < longest * (1 - 1e-9):
                assert climb >= -slack  # nor from fading slower


@pytest.mark.parametrize("model", [FIXED, FREE], ids=lambda model: model.name)
@given(rows=tables(converting=True))
def test_fit_meets_the_conditions_of_a_maximum(model, rows):
    result = model.attribute(journeys_of(rows))
    longest = max(SHORTEST, *(row.ages[0] for row in rows if row.path))
    require_stationary(learned(result), rows, model, longest)
    assert result.details["converged"]


@few
@given(rows=tables(converting=True))
def test_for_a_given_half_life_em_ends_at_the_same_likelihood(rows):
    best = FIXED.attribute(journeys_of(rows)).details["log_likelihood"]
    oracle = same_half_life(rows, 0.1, 0.1)
    before = oracle.log_likelihood(rows)
    for _ in range(300):
        oracle = oracle.em_step(rows, fixed_rates=True)
    reached = oracle.log_likelihood(rows)
    assert before - 1e-9 <= reached <= best + 1e-9 * max(1, abs(best))
    # EM is slow where the maximum lies on a bound: after 300 steps, some 1 / 300 per channel.
    assert best - reached <= 0.05 * sum(row.conversions for row in rows if row.path)


@few
@given(rows=tables(converting=True), seed=st.integers(0, 10**6))
def test_for_a_given_half_life_no_other_parameters_are_better(rows, seed):
    result = FIXED.attribute(journeys_of(rows))
    best, oracle, rng = result.details["log_likelihood"], learned(result), random.Random(seed)
    for size in (1e-4, 1e-2, 1, 10):
        effects = {c: max(0, x + size * rng.uniform(-1, 1)) for c, x in oracle.effects.items()}
        mu = max(0, oracle.mu + size * rng.uniform(-1, 1))
        other = Hazard(mu, effects, oracle.rates).log_likelihood(rows)
        assert other <= best + 1e-9 * max(1, abs(best))


@few
@given(rows=tables(converting=True), seed=st.integers(0, 10**6))
def test_with_half_lives_free_em_and_small_changes_do_no_better(rows, seed):
    result = FREE.attribute(journeys_of(rows))
    best, oracle, rng = result.details["log_likelihood"], learned(result), random.Random(seed)
    slack = 1e-9 * max(1, abs(best))
    longest = max(SHORTEST, *(row.ages[0] for row in rows if row.path))
    bounds = log(2) / longest, log(2) / SHORTEST

    def bounded(hazard):
        rates = {c: min(max(x, bounds[0]), bounds[1]) for c, x in hazard.rates.items()}
        return Hazard(hazard.mu, hazard.effects, rates)

    stepped = oracle.em_step(rows, fixed_rates=True)
    assert stepped.log_likelihood(rows) <= best + slack
    for _ in range(5):
        near = [1 + 1e-4 * rng.uniform(-1, 1) for _ in range(1 + 2 * len(oracle.effects))]
        mu = oracle.mu * near.pop()
        effects = {c: x * near.pop() for c, x in oracle.effects.items()}
        rates = {c: x * near.pop() for c, x in oracle.rates.items()}
        assert bounded(Hazard(mu, effects, rates)).log_likelihood(rows) <= best + slack


@pytest.mark.parametrize("seed", range(4))
def test_with_half_lives_free_em_of_the_paper_ends_below(seed):
    journeys, truth = simulated(800, seed)
    rows = rows_with_ages(journeys)
    result = FREE.attribute(journeys)
    oracle = Hazard(0.01, dict.fromkeys("abc", 0.1), dict.fromkeys("abc", log(2) / 3))
    for _ in range(60):
        oracle = oracle.em_step(rows, fixed_rates=False)
    best = result.details["log_likelihood"]
    assert oracle.log_likelihood(rows) <= best + 1e-9 * abs(best)
    assert truth.log_likelihood(rows) <= best


# --- by hand -------------------------------------------------------------------------------


def test_conversions_on_the_touch_and_long_after_it():
    # Half-life 1 hour. 2 convert on the touch, 3 after 10 days, when nothing is left of it (2^-240)
    # and 5 are seen for 10 days without. Per touch the exposure is 1, or 1/2 after the hour that
    # counts at least, so E = 9; time at risk R = 80 + 2 / 24. The maximum has
    #   2 omega / (mu + beta omega) = E,   3 / mu + 2 / (mu + beta omega) = R.
    rows = [Row(("a",), 2, 0, 8.0, (0,)), Row(("a",), 3, 5, 3.0, (10,))]
    result = AdditiveHazard(half_life="1h").attribute(journeys_of(rows))
    omega = 24 * log(2)
    mu = 3 / (80 + 2 / 24 - 9 / omega)
    at_once = 2 * omega / 9
    assert result.details["baseline_rate"] == pytest.approx(mu, rel=1e-9)
    assert result.extra["effect"].tolist() == pytest.approx([(at_once - mu) / omega], rel=1e-9)
    assert result.baseline == pytest.approx(3 + 2 * mu / at_once, rel=1e-9)
    assert result.conversions.tolist() == pytest.approx([2 - 2 * mu / at_once], rel=1e-9)
    assert result.baseline_value == pytest.approx(3 + 8 * mu / at_once, rel=1e-9)
    likelihood = 2 * log(at_once) + 3 * log(mu) - 5  # H is 1 per conversion at a maximum
    assert result.details["log_likelihood"] == pytest.approx(likelihood, rel=1e-9)


def test_conversions_at_any_time_are_all_baseline():
    # 3 of 5 convert after 10 days: 3 / 50 per day; the touch of an hour's half-life explains none.
    result = AdditiveHazard(half_life="1h").attribute(journeys_of([Row(("a",), 3, 2, 3.0, (10,))]))
    assert result.details["baseline_rate"] == pytest.approx(3 / 50)
    assert (result.baseline, result.baseline_value) == pytest.approx((3, 3))
    assert result.extra["effect"].tolist() == result.conversions.tolist() == [0]
    # With half-lives free the touch could mimic a constant rate only by half-lives without end.
    free = FREE.attribute(journeys_of([Row(("a",), 3, 2, 3.0, (10,))]))
    assert free.baseline == pytest.approx(3)
    assert np.isnan(free.extra["half_life"]).all()


def test_conversions_on_the_touch_alone_are_all_its_own():
    # Nothing but instants: an hour counts, and half-lives go to their least, an hour. Exposure is
    # 1/2 per touch: beta = 2 y / (y + z).
    rows = [Row(("a",), 3, 5, 6.0, (0,)), Row(("b",), 1, 3, 2.0, (0,))]
    result = FREE.attribute(journeys_of(rows))
    assert result.extra["half_life"].tolist() == pytest.approx([1 / 24] * 2)
    assert result.extra["effect"].tolist() == pytest.approx([2 * 3 / 8, 2 * 1 / 4])
    assert result.conversions.tolist() == pytest.approx([3, 1])
    assert result.baseline == pytest.approx(0, abs=1e-9)


# --- degenerate data -----------------------------------------------------------------------


@pytest.mark.parametrize("model", [FIXED, FREE], ids=lambda model: model.name)
def test_no_conversions(model):
    rows = [Row(("a", "b"), 0, 4, 0.0, (3, 1))]
    result = model.attribute(journeys_of(rows))
    assert (result.baseline, result.baseline_value) == (0, 0)
    assert result.details["baseline_rate"] == result.details["log_likelihood"] == 0
    assert result.extra["effect"].tolist() == [0, 0]
    assert model.predict(model.summarize(journeys_of(rows)), journeys_of(rows)).tolist() == [0]


@pytest.mark.parametrize("model", [FIXED, FREE], ids=lambda model: model.name)
@pytest.mark.parametrize(
    "rows",
    [
        [Row(("a", "b"), 4, 0, 4.0, (3, 1)), Row(("b",), 2, 0, 1.0, (7,))],
        [Row(("a", "b"), 4, 0, 4.0, (3, 1)), Row(("c",), 0, 3, 0.0, (7,))],
        [Row(("a",), 1, 0, 4.0, (0,))],
        [Row(("a",) * 5, 1, 1, 4.0, (9000, 9000, 9000, 1, 0))],
        [Row(("a",), 1e12, 1, 4.0, (5,)), Row(("b",), 1e-9, 1e9, 4.0, (1,))],
        [Row(("a",), 0, 0, 0.0, (5,)), Row(("b",), 2, 2, 4.0, (1,))],
    ],
    ids=["no nulls", "one never converts", "one instant", "years", "scales", "no journeys"],
)
def test_odd_data_converge_and_conserve(model, rows):
    result = model.attribute(journeys_of(rows))
    total = sum(row.conversions for row in rows)
    assert result.conversions.sum() + result.baseline == pytest.approx(total, rel=1e-12)
    assert result.details["converged"]
    if "c" in result.channels:
        assert result.extra["effect"][2] == result.conversions[2] == 0


def test_a_fit_that_does_not_converge_warns_and_still_conserves(monkeypatch):
    monkeypatch.setattr(bounded, "NEWTON_STEPS", 0)
    journeys, _ = simulated(300, 0)
    with pytest.warns(AttributionWarning, match=r"not reached its maximum after 0.*Hint"):
        result = FREE.attribute(journeys)
    assert not result.details["converged"]
    assert result.conversions.sum() + result.baseline == pytest.approx(result.total_conversions)


def test_many_channels_are_climbed_without_a_hessian(monkeypatch):
    journeys, _ = simulated(800, 1)
    newton = FREE.attribute(journeys)
    monkeypatch.setattr(hazard_fit, "DENSE_CHANNELS", 0)
    climbed = FREE.attribute(journeys)
    best = newton.details["log_likelihood"]
    assert climbed.details["log_likelihood"] == pytest.approx(best, rel=1e-10)
    # L-BFGS-B stops at a gradient of 1e-9 or where the value no longer moves (1e-16 of it): some
    # 1e-7 in the parameters.
    np.testing.assert_allclose(climbed.conversions, newton.conversions, rtol=1e-5)


# --- what is known comes back --------------------------------------------------------------

TRUE = Hazard(0.004, {"a": 0.12, "b": 0.05, "c": 0.0}, {"a": log(2), "b": log(2) / 6, "c": 1.0})


def simulated(n, seed, seen=40.0):
    """Journeys of the true hazard: every cause has a first time of its own, the earliest counts."""
    rng = np.random.default_rng(seed)
    lengths = 1 + rng.poisson(2, n)
    offsets = np.cumsum([0, *lengths])
    codes = rng.integers(0, 3, offsets[-1])
    times = np.concatenate([[0, *np.sort(rng.uniform(0, 30, k - 1))] for k in lengths])
    effect = np.array([TRUE.effects[c] for c in "abc"])[codes]
    rate = np.array([TRUE.rates[c] for c in "abc"])[codes]
    # A touch has caused a conversion by s with 1 - exp(-beta (1 - exp(-omega s))).
    draw = rng.exponential(size=len(codes))
    inside = draw < effect
    wait = np.full(len(codes), np.inf)
    wait[inside] = -np.log1p(-draw[inside] / effect[inside]) / rate[inside]
    ends = np.minimum(np.minimum.reduceat(times + wait, offsets[:-1]), rng.exponential(250, n))
    converts, ends = ends < seen, np.minimum(ends, seen)
    end = np.repeat(ends, lengths)
    keep = times < end
    kept = np.cumsum([0, *np.add.reduceat(keep, offsets[:-1])])
    journeys = Journeys(
        channels=("a", "b", "c"),
        codes=codes[keep],
        offsets=kept,
        conversions=converts.astype(float),
        nulls=(~converts).astype(float),
        given_ages=(end - times)[keep],
    )
    return journeys, TRUE


def rows_with_ages(journeys):
    cuts = journeys.offsets.tolist()
    return [
        Row(
            tuple(journeys.channels[c] for c in journeys.codes[i:j]),
            float(journeys.conversions[k]),
            float(journeys.nulls[k]),
            0.0,
            tuple(journeys.ages[i:j].tolist()),
        )
        for k, (i, j) in enumerate(pairwise(cuts))
    ]


def standard_errors(journeys, result):
    """From the observed information at the fit, for mu, beta_a, beta_b and log omega_a, omega_b."""
    problem = Likelihood.of(
        journeys.codes,
        journeys.ages,
        journeys.offsets,
        watched(journeys)[1],
        journeys.conversions,
        journeys.nulls,
        3,
        SHORTEST,
    )
    effects, half_life = result.extra["effect"], result.extra["half_life"]
    rates = np.where(effects > 0, log(2) / half_life, 1.0)
    x = np.concatenate([[result.details["baseline_rate"]], effects, np.log(rates)])
    information = journeys.conversions.sum() * problem.evaluate(x, np.ones(4), 2)[2]
    inside = [0, 1, 2, 4, 5]
    return np.sqrt(np.diag(np.linalg.inv(information[np.ix_(inside, inside)])))


def test_known_baseline_effects_and_half_lives_come_back():
    journeys, truth = simulated(60_000, 7)
    result = FREE.attribute(journeys)
    errors = standard_errors(journeys, result)
    effects, half_life = result.extra["effect"], result.extra["half_life"]
    got = [result.details["baseline_rate"], effects[0], effects[1], *np.log(log(2) / half_life[:2])]
    rates = [log(truth.rates[c]) for c in "ab"]
    expected = [truth.mu, truth.effects["a"], truth.effects["b"], *rates]
    assert (np.abs(np.array(got) - expected) < 4 * errors).all()
    # The errors say something: below a tenth of mu and beta, and of a half-life.
    assert (errors[:3] < 0.1 * np.array(expected[:3])).all()
    assert (errors[3:] < 0.15).all()
    # c causes nothing. Its estimate is 0 or a chance above; that of b errs by the same order.
    assert effects[2] < 4 * errors[2]


def test_with_the_true_half_life_effects_come_back():
    rng = np.random.default_rng(5)
    n = 40_000
    # One touch, beta = 0.3 of half-life 2 days, no baseline, seen for 20 days.
    draw = rng.exponential(size=n)
    inside = draw < 0.3
    ages = np.full(n, np.inf)
    ages[inside] = -np.log1p(-draw[inside] / 0.3) / (log(2) / 2)
    converts, ages = ages < 20, np.minimum(ages, 20.0)
    journeys = Journeys(
        channels=("a",),
        codes=np.zeros(n, dtype=np.int32),
        offsets=np.arange(n + 1),
        conversions=converts.astype(float),
        nulls=(~converts).astype(float),
        given_ages=ages,
    )
    result = FIXED.attribute(journeys)
    # Some 10,400 conversions: beta has a standard error of 0.3 / sqrt(10,400) = 0.003 at least;
    # four of them, and as much again for what beta and mu can trade.
    assert result.extra["effect"][0] == pytest.approx(0.3, abs=0.024)
    assert result.baseline < 0.08 * result.total_conversions


def test_a_common_half_life_is_fitted_where_it_is_not_given():
    journeys, _ = simulated(3000, 3)
    free = FREE.attribute(journeys).details["log_likelihood"]
    for half_life in ("3h", "1D", "6D", "60D"):
        fixed = AdditiveHazard(half_life=half_life).attribute(journeys)
        assert fixed.details["log_likelihood"] <= free


# --- no time counts twice ------------------------------------------------------------------

DAY = pd.Timedelta("1D")
START = pd.Timestamp("2025-01-01", tz="UTC")


def events(*rows):
    """Rows of user, day and channel; a conversion has None for a channel."""
    frame = pd.DataFrame(rows, columns=["user_id", "day", "channel"])
    frame["timestamp"] = START + frame.pop("day") * DAY
    frame["converted"] = frame["channel"].isna().astype(int)
    return frame


def logged(frame, until, **options):
    return Journeys.from_events(frame, observed_until=START + until * DAY, **options)


def test_a_row_is_watched_until_the_next_of_its_person_begins():
    log_ = events(("u", 0, "a"), ("u", 60, "a"), ("u", 120, None), ("v", 10, "a"))
    # u: the touch of day 0 works for the lookback, but is watched to day 60 only; v to the end of
    # the lookback.
    found = logged(log_, 200)
    ages, days = watched(found)
    assert sorted(zip(ages.tolist(), days.tolist(), strict=True)) == [(60, 60), (90, 60), (90, 90)]
    # One H for all: 3 touches, and 60 + 60 + 90 days.
    assert AdditiveHazard(half_life="1h").attribute(found).details["baseline_rate"] == (
        pytest.approx(1 / 210)
    )


def test_no_row_is_watched_while_a_conversion_would_have_no_touches():
    # Gaps of 50 days within one row, of which the lookback covers 30 each.
    log_ = events(("u", 0, "a"), ("u", 50, "a"), ("v", 0, "a"), ("v", 10, None))
    found = logged(log_, 200, lookback="30D", inactivity="90D")
    ages, days = watched(found)
    assert sorted(days.tolist()) == [10, 60]
    assert sorted(ages.tolist()) == [10, 30, 30]


def test_an_earlier_row_is_watched_up_to_its_last_touch_and_only_within_its_type():
    us = 86_400_000_000
    journeys = Journeys(
        channels=("a",),
        codes=np.zeros(6, dtype=np.int32),
        offsets=np.array([0, 2, 3, 4, 5, 5, 6]),
        conversions=np.array([0.0, 1, 0, 2, 1, 0]),
        nulls=np.array([1.0, 0, 1, 0, 0, 1]),
        times=np.array([0, 20, 10, 30, 5, 7]) * us,
        ends=np.array([50, 40, 60, 8, 9, 70]) * us,
        users=np.array([1, 1, 1, 2, 2, 2]),
    )
    # User 1: rows begin on days 0, 10 and 30. The first is watched up to its last touch, the one
    # that converts until it does, the last until its end.
    assert watched(journeys)[1].tolist() == [20, 30, 30, 3, 0, 63]


@pytest.mark.parametrize("model", [AdditiveHazard(half_life="3D"), FREE], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "options",
    [{}, {"lookback": "30D"}, {"lookback": "30D", "inactivity": "90D"}, {"lookback": None}],
    ids=str,
)
def test_touches_without_effect_get_next_to_nothing_from_an_event_log(model, options):
    rng, rate, span, n = np.random.default_rng(1), 0.01, 200.0, 3000
    rows = []
    for user in range(n):
        conversion = rng.exponential(1 / rate)
        times = np.cumsum(rng.exponential(5, 100))
        rows += [(user, t, rng.choice(["a", "b"])) for t in times[times < min(conversion, span)]]
        if conversion < span:
            rows.append((user, conversion, None))
    result = model.attribute(logged(events(*rows), span, **options))
    n_conversions = result.total_conversions
    assert n_conversions > 2400
    assert result.conversions.sum() < 0.05 * n_conversions
    # The rate of a Poisson process has a standard error of rate / sqrt(conversions): 2 %. Credit
    # of up to 5 % comes off it.
    error = rate / np.sqrt(n_conversions)
    assert result.details["baseline_rate"] == pytest.approx(rate, abs=4 * error)


def test_shared_touches_are_refused_and_skipped():
    log_ = events(("u", 0, "a"), ("u", 5, None), ("u", 9, None), ("v", 0, "a"))
    found = logged(log_, 100, reuse_touches=True)
    with pytest.raises(InputError, match=r"counts twice.*Hint: .*reuse_touches=False"):
        FREE.summarize(found)
    with pytest.warns(AttributionWarning, match="additive_hazard is skipped"):
        assert "reuse_touches=False" in compare(found, ["linear", FREE]).skipped["additive_hazard"]


@pytest.mark.parametrize("lookback", ["20D", None])
def test_quiet_time_that_counts_only_before_conversions_is_refused(lookback):
    log_ = events(("u", 0, "a"), ("u", 5, None), ("v", 0, "a"))
    with pytest.raises(InputError, match="Hint: leave inactivity out"):
        FREE.attribute(logged(log_, 60, lookback=lookback, inactivity="10D"))
    assert FREE.unmet(logged(log_, 60, lookback="10D", inactivity="10D")) is None


def test_of_two_rows_that_begin_at_once_the_one_that_converts_is_watched():
    us = 86_400_000_000
    rows = {
        "conversions": np.array([0.0, 1.0]),
        "nulls": np.array([1.0, 0.0]),
        "times": np.array([0, 0]) * us,
        "ends": np.array([30, 30]) * us,
        "users": np.array([1, 1]),
    }
    shared = {"channels": ("a",), "codes": np.zeros(2, dtype=np.int32), "offsets": np.arange(3)}
    assert watched(Journeys(**shared, **rows))[1].tolist() == [0, 30]
    turned = {name: column[::-1] for name, column in rows.items()}
    assert watched(Journeys(**shared, **turned))[1].tolist() == [30, 0]


def test_conversions_alone_warn():
    with pytest.warns(AttributionWarning, match="no journeys without conversion"):
        FREE.attribute(journeys_of([Row(("a",), 2, 0, 1.0, (3,))]))


def test_equal_half_lives_are_one_model():
    for text, given_ in [
        ("3D", pd.Timedelta("3D")),
        ("3D", "72h"),
        ("36h", timedelta(days=1.5)),
        ("90min", "1.5h"),
        ("1001ms", "1.001s"),
    ]:
        model = AdditiveHazard(half_life=given_)
        assert model == AdditiveHazard(half_life=text)
        assert model.name == f"additive_hazard(half_life={text!r})"


# --- prediction, response, options ---------------------------------------------------------


@few
@given(rows=tables(converting=True), others=tables(names=("a", "b", "new")))
def test_prediction_is_one_less_the_chance_that_nothing_happens(rows, others):
    statistic = FIXED.summarize(journeys_of(rows))
    oracle = learned(FIXED.solve(statistic))
    for c in channels_of(others):
        oracle.effects.setdefault(c, 0.0)
    expected = [1 - exp(-oracle.cumulated(row)) if row.path else np.nan for row in others]
    predicted = FIXED.predict(statistic, journeys_of(others))
    np.testing.assert_allclose(predicted, expected, rtol=1e-9, atol=1e-12)


def test_prediction_needs_ages():
    statistic = FIXED.summarize(journeys_of([Row(("a",), 1, 1)]))
    with pytest.raises(InputError, match="needs the age of each touch"):
        FIXED.predict(statistic, as_journeys([Row(("a",), 1, 1)]))


@few
@given(rows=tables())
def test_the_response_is_the_mean_over_journeys(rows):
    assume(any(row.path and row.conversions + row.nulls for row in rows))
    statistic = FIXED.summarize(journeys_of(rows))
    oracle, response = learned(FIXED.solve(statistic)), FIXED.response(statistic)
    touched = [row for row in rows if row.path]
    whole = sum(row.conversions + row.nulls for row in touched)

    def mean(channels):
        chances = [
            (row.conversions + row.nulls) * (1 - exp(-oracle.cumulated(row, channels)))
            for row in touched
        ]
        return sum(chances) / whole

    for mask, worth in enumerate(response.worths().tolist()):
        inside = frozenset(c for i, c in enumerate(statistic.channels) if mask >> i & 1)
        # Dividends of 6 channels cancel to about 2^6 rounding errors.
        assert worth == pytest.approx(mean(inside) - mean(()), abs=1e-12)
        assert response(inside) == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize("half_life", ["0D", "-1D", "7", 7, "soon"])
def test_a_half_life_is_a_length_of_time(half_life):
    with pytest.raises(InputError, match="half_life="):
        AdditiveHazard(half_life=half_life)


def test_another_statistic_is_refused():
    with pytest.raises(InputError, match="needs TimedPaths, not ChannelCredit"):
        FREE.solve(Linear().summarize(journeys_of([Row(("a",), 1, 1)])))


def test_a_result_read_from_json_still_shares_out_journeys():
    journeys, _ = simulated(300, 2)
    result = FREE.attribute(journeys)
    again = type(result).from_json(result.to_json())
    assert FREE.credit(journeys, again).tolist() == FREE.credit(journeys).tolist()


def test_order_of_rows_changes_nothing_but_rounding():
    journeys, _ = simulated(2000, 4)
    first, second = journeys.select(np.arange(900)), journeys.select(np.arange(900, 2000))
    there = FREE.attribute([first, second])
    back = FREE.attribute([second, first])
    # Sums of 2,000 terms differ by 1e-14, curvature is above 1e-4 of the largest.
    np.testing.assert_allclose(back.conversions, there.conversions, rtol=1e-8, atol=1e-8)
