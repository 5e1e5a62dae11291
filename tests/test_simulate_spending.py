import pickle
from dataclasses import replace
from math import exp, log, pi, sin, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from simulate_oracle import DAY
from simulate_oracle import rates as rates_one_by_one

from attribution import InputError
from attribution.simulate import (
    SPEND_WORLDS,
    SpendChannel,
    SpendTruth,
    SpendWorld,
    World,
    simulate_spend,
)
from attribution.simulate import spend_draws as draws
from attribution.simulate.spend_truth import incremental_per_day
from attribution.simulate.spend_worlds import PAST_WEEKS

START = np.datetime64("2024-01-01", "us").astype(np.int64)
PAST_DAYS = 7 * PAST_WEEKS
calm = {"season": 0.0, "trend": 0.0, "demand_sd": 0.0}
few = settings(max_examples=25)


@st.composite
def channels(draw, name):
    return SpendChannel(
        name=name,
        cost=draw(st.sampled_from([0.5, 3.0])),
        spend=draw(st.sampled_from([0.0, 2.0, 10.0])),
        effect=draw(st.sampled_from([0.0, 0.5, 8.0])),
        variation=draw(st.sampled_from([0.0, 0.5])),
        follows_demand=draw(st.sampled_from([0.0, 1.5])),
        half_life=draw(st.sampled_from([0.3, 2.0, 9.5])),
        targeting=draw(st.sampled_from([0.0, 0.5, 1.5])),
        weight=draw(st.sampled_from([0.4, 1.0, 3.0])),
        delay=draw(st.integers(0, 3)),
    )


@st.composite
def worlds(draw):
    names = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
    return SpendWorld(
        channels=[draw(channels(name)) for name in names],
        base_rate=draw(st.sampled_from([0.02, 0.2])),
        n_weeks=draw(st.integers(1, 3)),
        n_people=draw(st.integers(1, 5)),
        intent_spread=draw(st.sampled_from([0.0, 0.7])),
        demand_persistence=draw(st.sampled_from([0.0, 0.8])),
    )


def lived(world, seed):
    """Intent, demand, spend, touches and conversions, as `simulate_spend` draws them."""
    people, plan, media, buying = draws.generators(seed, 4)
    intent = draws.draw_intent(world, people)
    shock, spend = draws.draw_plan(world, plan)
    demand = draws.demand_of(world, shock)
    touches = draws.draw_touches(world, intent, spend, media)
    conversions = draws.draw_conversions(world, intent, demand, touches, buying)
    return intent, demand, spend, touches, conversions


@few
@given(worlds(), st.integers(0, 9))
def test_rates_equal_those_of_people_one_by_one(world, seed):
    intent, demand, _, touches, _ = lived(world, seed)
    fast = np.array(list(draws.rates(world, intent, demand, touches)))
    plain = world.hazard_world()
    assert isinstance(plain, World)
    for person in range(world.n_people):
        own = [(world.names[c], int(t)) for p, c, t in zip(*touches, strict=True) if p == person]
        slow = np.array(rates_one_by_one(plain, intent[person], own))
        slow += world.base_rate * intent[person] * (demand - 1)
        # The recursion of the stock and the sum of powers round differently.
        np.testing.assert_allclose(fast[:, person], slow, rtol=1e-9)


@few
@given(worlds(), st.integers(0, 9))
def test_journeys_show_the_weeks_of_the_log_and_nothing_else(world, seed):
    *_, touches, conversions = lived(world, seed)
    shown = [
        (int(p), int(t) - PAST_DAYS * DAY, world.names[c])
        for p, c, t in zip(*touches, strict=True)
        if t >= PAST_DAYS * DAY
    ]
    bought = [(int(p), int(t) - PAST_DAYS * DAY) for p, _, t in zip(*conversions, strict=True)]
    if not shown or not bought:
        with pytest.raises(InputError, match=f"{len(shown)} touches and {len(bought)} conv"):
            simulate_spend(world, seed)
        return
    simulated = simulate_spend(world, seed)
    journeys = simulated.journeys
    users, times = journeys.users[journeys.rows], journeys.times - START
    names = [journeys.channels[code] for code in journeys.codes]
    in_journeys = zip(users.tolist(), times.tolist(), names, strict=True)
    assert sorted(in_journeys) == sorted(shown)
    rows = journeys.conversions > 0
    ends = (journeys.ends[rows] - START).tolist()
    assert sorted(zip(journeys.users[rows].tolist(), ends, strict=True)) == sorted(bought)
    assert journeys.conversions.sum() == len(bought)
    assert all(0 <= end < 7 * world.n_weeks * DAY for end in ends)
    credited = sum(has_touch(shown, bought, person, end) for person, end in bought)
    assert journeys.conversions[journeys.lengths > 0].sum() == credited


def has_touch(shown, bought, person, end):
    """Whether a touch at most 30 days old came after the conversion before this one."""
    before = max((t for p, t in bought if p == person and t < end), default=-1)
    return any(p == person and max(before + 1, end - 30 * DAY) <= t <= end for p, t, _ in shown)


def test_intents_have_mean_1_and_the_spread_asked_for():
    world = replace(SPEND_WORLDS["random spend"], n_people=20_000, intent_spread=0.7)
    (rng,) = draws.generators(0, 1)
    intent = draws.draw_intent(world, rng)
    assert intent.mean() == pytest.approx(1.0, rel=1e-12)
    # The standard deviation of a gamma sample of this size is known to about 1 %.
    assert intent.std() == pytest.approx(0.7, rel=0.04)


ACTING = SpendChannel(
    name="acting", cost=1.0, spend=60.0, effect=4.0, half_life=3.0, weight=1.5, delay=2
)


@pytest.mark.parametrize("targeting", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("half_life", [0.5, 9.0])
def test_closed_form_is_the_mean_over_touches(targeting, half_life):
    """Every week, for each channel by itself: same people and spend, touches drawn again."""
    channel = replace(ACTING, targeting=targeting, half_life=half_life)
    other = replace(ACTING, name="other", effect=0.0, spend=20.0)
    world = SpendWorld(channels=[channel, other], base_rate=0.01, n_weeks=3, n_people=60)
    people, plan, media = draws.generators(5, 3)
    intent = draws.draw_intent(world, people)
    shock, spend = draws.draw_plan(world, plan)
    demand = draws.demand_of(world, shock)
    drawn = []
    for _ in range(150):
        touches = draws.draw_touches(world, intent, spend, media)
        daily = np.array([rate.sum() for rate in draws.rates(world, intent, demand, touches)])
        drawn.append((daily - world.base_rate * demand * intent.sum()).reshape(-1, 7).sum(axis=1))
    expected = incremental_per_day(world, intent, spend).reshape(-1, 7, 2).sum(axis=1)
    assert (expected[:, 1] == 0).all()
    error = np.std(drawn, axis=0, ddof=1) / sqrt(len(drawn))
    assert (error[1:] > 0).all()
    assert (np.abs(np.mean(drawn, axis=0) - expected[:, 0]) <= 4 * error).all()


def test_channels_add_up_without_interaction():
    world = SPEND_WORLDS["random spend"]
    world = replace(world, n_weeks=4)
    people, plan = draws.generators(1, 2)
    intent = draws.draw_intent(world, people)
    _, spend = draws.draw_plan(world, plan)
    whole = incremental_per_day(world, intent, spend)
    for place, name in enumerate(world.names):
        off = [c if c.name == name else replace(c, effect=0.0) for c in world.channels]
        alone = incremental_per_day(replace(world, channels=off), intent, spend)
        assert np.array_equal(alone[:, place], whole[:, place])
        assert not np.delete(alone, place, axis=1).any()


@pytest.mark.parametrize("follows", [0.0, 2.0])
def test_conversions_are_as_many_as_the_truth_expects(follows):
    base = {"cost": 1.0, "half_life": 4.0, "weight": 2.0, "follows_demand": follows}
    world = SpendWorld(
        channels=[
            SpendChannel(name="a", spend=100.0, effect=1.0, **base),
            SpendChannel(name="b", spend=50.0, effect=0.7, targeting=1.0, **base),
        ],
        base_rate=0.01,
        n_weeks=6,
        n_people=100,
    )
    gaps = []
    for seed in range(120):
        simulated = simulate_spend(world, seed)
        truth, journeys = simulated.truth, simulated.journeys
        week = (journeys.ends - START) // (7 * DAY)
        counted = np.bincount(week, journeys.conversions, minlength=world.n_weeks)
        gaps.append(counted - truth.baseline - truth.incremental.sum(axis=1))
    error = np.std(gaps, axis=0, ddof=1) / sqrt(len(gaps))
    assert (np.abs(np.mean(gaps, axis=0)) <= 4 * error).all()


def test_spend_is_the_expected_cost_of_the_touches():
    for name in SPEND_WORLDS:
        world = replace(SPEND_WORLDS[name], n_weeks=30, n_people=400)
        *_, spend, touches, _ = lived(world, 3)
        week = touches.time // (7 * DAY)
        for code, channel in enumerate(world.channels):
            own = touches.channel == code
            counted = np.bincount(week[own], minlength=len(spend))
            expected = spend[:, code] / channel.cost
            # Poisson: the sum of squared deviations over the mean is chi-squared, per week.
            distance = ((counted - expected) ** 2 / expected).sum()
            assert stats.chi2(len(spend)).sf(distance) > 1e-4
            assert abs(counted.sum() - expected.sum()) < 4 * sqrt(expected.sum())


def test_touches_go_to_people_by_intent():
    channel = SpendChannel(name="a", cost=0.01, spend=70.0, effect=0.0, targeting=1.5)
    world = SpendWorld(channels=[channel], base_rate=0.01, n_weeks=2, n_people=20)
    intent, _, _, touches, _ = lived(world, 1)
    counted = np.bincount(touches.person, minlength=20)
    expected = len(touches.person) * intent**1.5 / (intent**1.5).sum()
    assert stats.chisquare(counted, expected).pvalue > 1e-4


def area(channel):
    """The sum of g_k in plain Python."""
    total = day = 0
    while (left := channel.weight * 0.5 ** (day / channel.half_life)) > 1e-14:
        total += 1 - exp(-left)
        day += 1
    return total


@few
@given(channels("a"), st.floats(0, 500), st.integers(1, 40))
def test_random_exposure_has_an_exponential_curve(channel, spend, n_people):
    channel = replace(channel, targeting=0.0)
    world = SpendWorld(
        channels=[channel], base_rate=0.1, n_weeks=1, n_people=n_people, intent_spread=0.5
    )
    truth = truth_of(world)
    scale = 7 * n_people * 0.1 * channel.effect
    half = 7 * channel.cost * n_people * log(2) / area(channel)
    assert truth.scale[0] == pytest.approx(scale, rel=1e-12)
    assert truth.half_saturation[0] == pytest.approx(half, rel=1e-9)
    expected = scale * (1 - 2 ** (-spend / half))
    assert truth.value([spend])[0] == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)
    slope = scale * log(2) / half * 2 ** (-spend / half)
    assert truth.marginal([spend])[0] == pytest.approx(slope, rel=1e-9)


def truth_of(world, seed=0):
    people, plan = draws.generators(seed, 2)
    intent = draws.draw_intent(world, people)
    _, spend = draws.draw_plan(world, plan)
    n = world.n_weeks
    return SpendTruth(
        world=world,
        intent=intent,
        weeks=START + 7 * DAY * np.arange(n),
        spend=spend[PAST_WEEKS:],
        incremental=np.zeros((n, len(world.names))),
        baseline=np.zeros(n),
    )


@pytest.mark.parametrize("targeting", [0.5, 1.0, 2.0])
def test_targeted_response_is_the_integral_over_gamma_intents(targeting):
    channel = replace(ACTING, targeting=targeting)
    n = 200_000
    world = SpendWorld(channels=[channel], base_rate=0.01, n_weeks=1, n_people=n, intent_spread=0.7)
    truth = truth_of(world)
    gamma = stats.gamma(1 / 0.49, scale=0.49)
    power = integrate.quad(lambda i: i**targeting * gamma.pdf(i), 0, np.inf)[0]
    for reach in (0.3, 1.0, 3.0):
        spend = reach * 7 * channel.cost * n / area(channel)
        mean = integrate.quad(
            lambda i, reach=reach: i * -np.expm1(-reach * i**targeting / power) * gamma.pdf(i),
            0,
            np.inf,
        )[0]
        # The mean over people has a standard error of at most 1 / sqrt(n) = 0.0022.
        assert truth.value([spend])[0] / truth.scale[0] == pytest.approx(mean, abs=0.009)


@few
@given(worlds(), st.floats(0.01, 100))
def test_slope_and_half_saturation_belong_to_the_value(world, spend):
    truth = truth_of(world)
    at = np.full(len(world.names), spend)
    step = 1e-4 * spend
    numeric = (truth.value(at + step) - truth.value(at - step)) / (2 * step)
    np.testing.assert_allclose(truth.marginal(at), numeric, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(truth.value(truth.half_saturation), truth.scale / 2, rtol=1e-9)
    np.testing.assert_array_equal(truth.value(np.zeros(len(at))), 0 * truth.scale)
    several = truth.value(np.stack([at, 2 * at]))
    np.testing.assert_array_equal(several, [truth.value(at), truth.value(2 * at)])


def test_steady_spend_ends_in_the_steady_state():
    channel = replace(ACTING, half_life=1.0, variation=0.0)  # forgotten before the log begins
    targeted = replace(channel, name="targeted", targeting=1.0, delay=0)
    world = SpendWorld(channels=[channel, targeted], base_rate=0.01, n_weeks=5, n_people=40, **calm)
    truth = simulate_spend(world).truth
    np.testing.assert_allclose(truth.spend, 60.0, rtol=1e-12)
    steady = np.tile(truth.value([60.0, 60.0]), (5, 1))
    np.testing.assert_allclose(truth.incremental, steady, rtol=1e-9)
    np.testing.assert_allclose(truth.baseline, 7 * 40 * 0.01, rtol=1e-12)


def test_demand_has_a_season_a_trend_and_shocks():
    world = SpendWorld(channels=[ACTING], base_rate=0.01, n_weeks=60, season=0.2, trend=-0.1)
    n_weeks = PAST_WEEKS + 60
    shock = np.linspace(0.5, 1.5, n_weeks)
    demand = draws.demand_of(world, shock)
    middle = 7 * n_weeks / 365.25 / 2
    for day in (0, 6, 7, 100, 7 * n_weeks - 1):
        years = day / 365.25
        level = 1 + 0.2 * sin(2 * pi * years) - 0.1 * (years - middle)
        assert demand[day] == pytest.approx(level * shock[day // 7], rel=1e-12)


def test_spend_and_shocks_have_the_moments_asked_for():
    channel = {"cost": 1.0, "spend": 50.0, "effect": 0.0, "variation": 0.3}
    world = SpendWorld(
        channels=[
            SpendChannel(name="alone", **channel),
            SpendChannel(name="follower", follows_demand=2.0, **channel),
        ],
        base_rate=0.01,
        n_weeks=20_000,
        demand_sd=0.2,
        demand_persistence=0.6,
        trend=0.0,
    )
    (rng,) = draws.generators(0, 1)
    shock, spend = draws.draw_plan(world, rng)
    # An autoregression of 0.6 has a quarter as many independent weeks: 5,000.
    assert shock.mean() == pytest.approx(1.0, abs=4 * 0.2 / sqrt(5000))
    level = np.log(shock)
    assert level.std() == pytest.approx(0.2, rel=4 / sqrt(2 * 5000))
    assert np.corrcoef(level[1:], level[:-1])[0, 1] == pytest.approx(0.6, abs=4 / sqrt(20_000))
    np.testing.assert_allclose(spend.mean(axis=0), 50.0, rtol=4 * 0.55 / sqrt(5000))
    spread = [0.3, sqrt(0.3**2 + 0.4**2)]
    np.testing.assert_allclose(np.log(spend).std(axis=0), spread, rtol=4 / sqrt(2 * 5000))
    tied = [np.corrcoef(level, column)[0, 1] for column in np.log(spend).T]
    np.testing.assert_allclose(tied, [0.0, 0.4 / 0.5], atol=4 / sqrt(5000))


def test_only_the_confounded_world_has_spend_that_follows_demand():
    def tied(name, channel):
        found = []
        for seed in range(4):
            world = SPEND_WORLDS[name]
            (_, plan) = draws.generators(seed, 2)
            shock, spend = draws.draw_plan(world, plan)
            found.append(np.corrcoef(shock, spend[:, world.names.index(channel)])[0, 1])
        return np.mean(found)

    assert tied("spend follows demand", "brand_search") > 0.8
    # 4 x 112 weeks, a quarter of them independent: a standard error of 0.1.
    assert abs(tied("spend follows demand", "social")) < 0.3
    assert abs(tied("random spend", "search")) < 0.3


@pytest.mark.parametrize("name", SPEND_WORLDS)
def test_presets_are_of_the_size_they_promise(name):
    simulated = simulate_spend(name)
    world, truth = SPEND_WORLDS[name], simulated.truth
    assert simulated.truth.world is world
    weekly = truth.baseline + truth.incremental.sum(axis=1)
    assert 300 < weekly.mean() < 550
    assert 0.4 < truth.incremental.sum() / weekly.sum() < 0.6
    ratio = world.column("spend") / truth.half_saturation
    assert np.count_nonzero((ratio > 0.25) & (ratio < 1.5)) >= 5
    effects = dict(zip(world.names, truth.incremental.sum(axis=0), strict=True))
    assert effects["affiliate"] == 0
    if name == "spend follows demand":
        assert 0 < effects["brand_search"] < 0.02 * truth.incremental.sum()
    assert len(simulated.journeys.codes) < 3e6


@pytest.fixture(scope="module")
def small():
    world = replace(SPEND_WORLDS["random spend"], n_weeks=12, n_people=2000)
    return simulate_spend(world, 4)


def test_spend_table(small):
    table, truth = small.spend, small.truth
    assert list(table.columns) == ["week", "channel", "spend"]
    assert str(table["week"].dt.tz) == "UTC"
    assert (table["week"].dt.day_of_week == 0).all()
    wide = table.pivot(index="week", columns="channel", values="spend")
    assert tuple(wide.columns) == truth.channels
    np.testing.assert_array_equal(wide.to_numpy(), truth.spend)
    assert wide.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    np.testing.assert_array_equal(wide.index.as_unit("us").asi8, truth.weeks)
    assert (np.diff(truth.weeks) == 7 * DAY).all()


def test_same_seed_same_world(small):
    world = small.truth.world
    again, other = simulate_spend(world, 4), simulate_spend(world, 5)
    assert again.truth.equals(small.truth)
    assert again.journeys.equals(small.journeys)
    assert not np.array_equal(other.truth.spend, small.truth.spend)
    assert simulate_spend(world).truth.equals(simulate_spend(world, 0).truth)


def test_an_effect_changes_conversions_and_nothing_else(small):
    off = [replace(channel, effect=0.0) for channel in small.truth.world.channels]
    without = simulate_spend(replace(small.truth.world, channels=off), 4)
    np.testing.assert_array_equal(without.truth.spend, small.truth.spend)
    np.testing.assert_array_equal(without.truth.baseline, small.truth.baseline)
    assert not without.truth.incremental.any()
    assert len(without.journeys.codes) == len(small.journeys.codes)
    assert without.journeys.conversions.sum() < 0.7 * small.journeys.conversions.sum()


def test_truth_is_immutable(small):
    truth = small.truth
    copy = pickle.loads(pickle.dumps(truth))
    assert copy.equals(truth)
    np.testing.assert_array_equal(copy.half_saturation, truth.half_saturation)
    for array in (truth.intent, truth.incremental, copy.baseline, copy.half_saturation):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_lift_is_the_truth_with_the_error_it_states(small):
    weeks = range(4, 12)
    true = small.truth.incremental[4:12, small.truth.channels.index("social")].sum()
    found = np.array([small.lift("social", weeks, random_state=seed) for seed in range(800)])
    (error,) = set(found[:, 1])
    scores = (found[:, 0] - true) / error
    assert abs(scores.mean()) < 4 / sqrt(800)
    assert scores.std() == pytest.approx(1.0, abs=4 / sqrt(2 * 800))
    assert small.lift("social", weeks) == small.lift("social", weeks, random_state=0)
    assert small.lift("social", weeks, holdout=0.1)[1] > error
    assert isinstance(small.lift("social", weeks)[0], float)


@pytest.mark.parametrize("holdout", [0.2, 0.5])
def test_error_of_a_lift_is_that_of_holding_people_out_by_lot(holdout):
    channel = SpendChannel(name="a", cost=1.0, spend=3000.0, effect=4.0, weight=2.0)
    n = 1000
    world = SpendWorld(channels=[channel], base_rate=0.01, n_weeks=8, n_people=n)
    simulated = simulate_spend(world)
    intent, demand, _, touches, _ = lived(world, 0)
    exposed = sum(list(draws.rates(world, intent, demand, touches))[PAST_DAYS:])
    unexposed = world.base_rate * intent * demand[PAST_DAYS:].sum()
    assert exposed.sum() > 2 * unexposed.sum()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        order = rng.permutation(n)
        held, others = order[: int(holdout * n)], order[int(holdout * n) :]
        bought = rng.poisson(exposed[others]).mean(), rng.poisson(unexposed[held]).mean()
        found.append(n * (bought[0] - bought[1]))
    estimate, error = simulated.lift("a", range(8), holdout=holdout)
    # 2,000 draws know their spread to 1.6 %; differences in exposure widen it by about 1 %.
    assert np.std(found) == pytest.approx(error, rel=0.06)
    caused = simulated.truth.incremental.sum()
    assert abs(estimate - caused) < 4 * error


def test_journeys_look_back_30_days(small):
    assert 29 < small.journeys.converting.ages.max() <= 30


def fits(**changes):
    good = {"name": "a", "cost": 1.0, "spend": 5.0, "effect": 1.0}
    return SpendChannel(**(good | changes))


def world_with(**changes):
    return SpendWorld(**({"channels": [fits()], "base_rate": 0.1} | changes))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: fits(name=""), "name"),
        (lambda: fits(cost=0.0), "cost of channel 'a'"),
        (lambda: fits(spend=-1.0), "spend of channel 'a'"),
        (lambda: fits(effect=-1.0), "effect of channel 'a'"),
        (lambda: fits(variation=float("nan")), "variation of channel 'a'"),
        (lambda: fits(follows_demand=-1), "follows_demand of channel 'a'"),
        (lambda: fits(half_life=float("inf")), "half_life of channel 'a'"),
        (lambda: fits(half_life=0.0), "half_life of channel 'a'"),
        (lambda: fits(targeting=-0.1), "targeting of channel 'a'"),
        (lambda: fits(weight=0.0), "weight of channel 'a'"),
        (lambda: fits(delay=0.5), "delay of channel 'a'"),
        (lambda: world_with(channels=[]), "Hint: give one SpendChannel"),
        (lambda: world_with(channels=["a"]), "Hint: give one SpendChannel"),
        (lambda: world_with(channels=[fits(), fits()]), "Two channels are named 'a'"),
        (lambda: world_with(base_rate=0.0), "base_rate"),
        (lambda: world_with(n_weeks=0), "n_weeks"),
        (lambda: world_with(n_people=1.5), "n_people"),
        (lambda: world_with(intent_spread=-1.0), "intent_spread"),
        (lambda: world_with(season=1.0), "let demand fall"),
        (lambda: world_with(trend=-0.9, season=0.1), "let demand fall"),
        (lambda: world_with(trend="up"), "trend"),
        (lambda: world_with(trend=float("nan")), "trend"),
        (lambda: world_with(demand_sd=-1.0), "demand_sd"),
        (lambda: world_with(demand_persistence=1.0), "demand_persistence"),
        (lambda: simulate_spend("random spent"), "Did you mean 'random spend'"),
        (lambda: simulate_spend(3), "There is no world 3"),
        (lambda: simulate_spend(world_with(), -1), "random_state=-1 is no seed"),
    ],
)
def test_what_does_not_fit_is_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda s: s.truth.value(1.0), "shape"),
        (lambda s: s.truth.marginal([1.0]), "for 6 channels"),
        (lambda s: s.truth.value(np.full(6, -1.0)), "6 amounts such as -1.0"),
        (lambda s: s.truth.value(np.full(6, np.inf)), "6 amounts"),
        (lambda s: s.lift("tv", range(3)), "no channel 'tv'"),
        (lambda s: s.lift("video", range(0)), "weeks"),
        (lambda s: s.lift("video", range(5, 20)), r"within range\(0, 12\)"),
        (lambda s: s.lift("video", [1, 2]), "weeks"),
        (lambda s: s.lift("video", range(3), holdout=0.0), "holdout"),
        (lambda s: s.lift("video", range(3), holdout=1.0), "holdout"),
        (lambda s: s.lift("video", range(3), random_state="x"), "seed"),
    ],
)
def test_questions_that_do_not_fit_are_refused(small, ask, match):
    with pytest.raises(InputError, match=match):
        ask(small)


def test_reprs_say_what_there_is(small):
    assert repr(small).startswith("<SpendSimulation: 12 weeks, 2,000 people, ")
    assert "n_people=2000" in repr(small.truth.world)
    assert "channels=('affiliate', " in repr(small.truth.world)
