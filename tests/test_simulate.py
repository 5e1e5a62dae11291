import pickle
import subprocess
import sys
from math import exp, expm1, inf, sqrt
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_oracle import DAY, conversion, rates

from attribution import InputError
from attribution.simulate import (
    WORLDS,
    Channel,
    Response,
    Simulation,
    Truth,
    World,
    draws,
    expected_conversions,
    simulate,
)
from attribution.simulate.draws import chunks_of, draw
from attribution.simulate.hazard import Hazard
from attribution.simulate.simulation import live

START = np.datetime64("2025-01-01", "us").astype(np.int64)
CONFOUNDED = [name for name in WORLDS if name != "random exposure"]
WITHOUT_EFFECT = {
    "random exposure": "affiliate",
    "retargeting": "direct",
    "brand search": "direct",
    "long consideration": "comparison_site",
    "B2B": "direct",
}
few = settings(max_examples=40)


@st.composite
def worlds(draw):
    n = draw(st.integers(1, 4))
    names = draw(st.permutations(["a", "b", "c", "d"]))[:n]
    channels = [
        Channel(
            name=name,
            touches=draw(st.sampled_from([0.0, 0.7, 3.0])),
            effect=draw(st.sampled_from([0.0, 0.5, 8.0])),
            half_life=draw(st.sampled_from([0.3, 2.0, 7.5, inf])),
            targeting=draw(st.sampled_from([0.0, 0.5, 1.5])),
            after=draw(st.sampled_from([None, names[0]])) if name != names[0] else None,
            weight=draw(st.sampled_from([0.4, 1.0, 3.0])),
            delay=draw(st.integers(0, 3)),
            click_rate=draw(st.sampled_from([0.0, 0.3, 1.0])),
        )
        for name in names
    ]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    return World(
        channels=channels,
        base_rate=draw(st.sampled_from([0.001, 0.02, 0.2])),
        n_days=draw(st.integers(1, 12)),
        intent_spread=draw(st.sampled_from([0.0, 0.6, 1.5])),
        synergies={pair: draw(st.sampled_from([0.0, 1.0, 6.0])) for pair in pairs},
        people_per_account=draw(st.sampled_from([1, 1, 3])),
    )


def people(world, n_people, seed, max_scale=1.0):
    """Intent, threshold and touches (name, time, mark, clicked, person) of each account."""
    for n, child in chunks_of(world, n_people, seed):
        drawn = draw(world, n, child, max_scale)
        for i in range(len(drawn.intent)):
            touches = [
                (world.names[c], int(t), float(m), bool(k), int(p))
                for a, c, t, m, k, p in zip(
                    drawn.account,
                    drawn.channel,
                    drawn.time,
                    drawn.mark,
                    drawn.clicked,
                    drawn.person,
                    strict=True,
                )
                if a == i
            ]
            yield float(drawn.intent[i]), float(drawn.threshold[i]), touches


@few
@given(worlds(), st.integers(1, 25), st.integers(0, 9), st.sampled_from([6, 1000]))
def test_simulation_equals_people_one_by_one(world, n_people, seed, chunk):
    with patch.object(draws, "CHUNK", chunk):
        simulated = simulate(world, n_people, seed)
        persons = list(people(world, n_people, seed))
    check_against(world, persons, simulated)


def check_against(world, persons, simulated):
    journeys, truth = simulated.journeys, simulated.truth
    rows = iter(range(len(journeys)))
    lost = dict.fromkeys(world.names, 0)
    organic = unseen = 0
    for user, (intent, threshold, touches) in enumerate(persons):
        dated = [(name, time) for name, time, *_ in touches]
        moment = conversion(world, intent, threshold, dated)
        end = world.n_days * DAY if moment is None else moment
        shown = sorted((t for t in touches if t[1] < end), key=lambda touch: touch[1])
        if moment is None and not shown:
            unseen += 1
            continue
        row = next(rows)
        assert journeys.users[row] == user
        assert (journeys.conversions[row], journeys.nulls[row]) == (
            (0, 1) if moment is None else (1, 0)
        )
        # A microsecond from rounding down, the rest from sums in another order.
        assert abs(journeys.ends[row] - START - end) <= 2
        points = journeys[row].touchpoints
        assert [p.channel for p in points] == [t[0] for t in shown]
        first, last = journeys.offsets[row], journeys.offsets[row + 1]
        assert (journeys.times[first:last] - START).tolist() == [t[1] for t in shown]
        types = ["click" if t[3] else "view" for t in shown]
        assert [p.attributes["touch_type"] for p in points] == types
        if world.people_per_account > 1:
            assert [p.attributes["person"] for p in points] == [t[4] for t in shown]
        if moment is not None:
            for name in world.names:
                lost[name] += conversion(world, intent, threshold, dated, {name}) is None
            organic += conversion(world, intent, threshold, dated, world.names) is not None
    assert next(rows, None) is None
    assert simulated.n_unseen == unseen
    assert dict(zip(truth.channels, truth.incremental.tolist(), strict=True)) == lost
    assert truth.organic == organic
    assert truth.total == journeys.conversions.sum() == truth.joint + organic


def drawn_of(world, n_people, seed=1):
    """All people of a world in one chunk."""
    with patch.object(draws, "CHUNK", n_people):
        [(n, child)] = chunks_of(world, n_people, seed)
        return draw(world, n, child)


def counts_of(world, drawn):
    """Touches drawn per account and channel, shape (n_accounts, n_channels)."""
    cells = drawn.account * len(world.channels) + drawn.channel
    n = len(drawn.intent) * len(world.channels)
    return np.bincount(cells, minlength=n).reshape(-1, len(world.channels))


def near(values, expected):
    """Whether the mean lies within four of its standard errors of the expectation."""
    return abs(np.mean(values) - expected) < 4 * np.std(values) / sqrt(len(values))


def within(n_hits, n, probability):
    """Whether a binomial count lies within four standard deviations of its mean."""
    return abs(n_hits - n * probability) < 4 * sqrt(n * probability * (1 - probability))


def tv(**options):
    return Channel(**{"name": "tv", "touches": 1.0, "effect": 5.0} | options)


def test_without_advertising_all_conversions_are_organic():
    truth = simulate(World(channels=[tv(touches=0)], base_rate=0.004), 50_000).truth
    assert within(truth.total, 50_000, -expm1(-0.004 * 60))
    assert truth.organic == truth.total
    assert truth.incremental.tolist() == [0]


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_intent_without_advertising_follows_the_laplace_transform(spread):
    # A gamma intent of mean 1 has E exp(-H i) = (1 + spread^2 H)^(-1 / spread^2).
    world = World(channels=[tv(effect=0)], base_rate=0.01, intent_spread=spread)
    share = 1 - (1 + spread**2 * 0.6) ** (-1 / spread**2)
    simulated = simulate(world, 50_000)
    assert within(simulated.truth.total, 50_000, share)
    response = Response(world, 50_000)
    assert abs(response({}) - share) < 4 * sqrt(share * (1 - share) / 50_000)


def share_converting(world, scale=1.0):
    """Exact, for one channel whose first touch saturates its stock for ever.

    With h = touches / n_days per day, the first touch falls on day D with probability
    exp(-h D) (1 - exp(-h)), and the effect lasts for the days from D + 1 + delay on.
    """
    [channel] = world.channels
    per_day = scale * channel.touches / world.n_days
    share, n = 0.0, world.n_days
    for day in range(n + 1):
        probability = exp(-per_day * day) * (-expm1(-per_day) if day < n else 1)
        exposed = max(0, n - 1 - channel.delay - day)
        share += probability * -expm1(-world.base_rate * (n + channel.effect * exposed))
    return share


@pytest.mark.parametrize(("touches", "delay"), [(1.5, 0), (6.0, 3), (20.0, 0)])
def test_lasting_effect_has_a_closed_form(touches, delay):
    channel = tv(touches=touches, delay=delay, half_life=inf, weight=60)
    world = World(channels=[channel], base_rate=0.002, n_days=20)
    truth = simulate(world, 100_000).truth
    organic = -expm1(-0.002 * 20)
    assert within(truth.total, 100_000, share_converting(world))
    assert within(truth.organic, 100_000, organic)
    assert truth.incremental.tolist() == [truth.joint]
    response = Response(world, 100_000)
    for scale in (0.0, 0.3, 1.0, 3.0):
        expected = share_converting(world, scale)
        # The spread of probabilities is less than that of their outcomes.
        assert abs(response([scale]) - expected) < 4 * sqrt(expected / 100_000) + 1e-12
    assert response([0]) == pytest.approx(organic, rel=1e-12)


def test_channel_without_effect_loses_exactly_nothing():
    idle = Channel(name="idle", touches=3, effect=0)
    active = [tv(), Channel(name="radio", touches=1, effect=3)]
    world = World(channels=[idle, *active], base_rate=0.01, synergies={("idle", "tv"): 0.0})
    truth = simulate(world, 20_000).truth
    assert truth.channels == ("idle", "radio", "tv")
    assert truth.incremental[0] == 0
    assert (truth.incremental[1:] > 100).all()


def test_synergy_needs_both_channels():
    channels = [tv(effect=0), Channel(name="radio", touches=1, effect=0)]
    world = World(channels=channels, base_rate=0.01, synergies={("tv", "radio"): 20})
    truth = simulate(world, 20_000).truth
    assert truth.incremental.tolist() == [truth.joint] * 2
    assert truth.joint > 1000


@few
@given(worlds(), st.integers(0, 9))
def test_nobody_gains_from_less_hazard(world, seed):
    drawn = drawn_of(world, 60, seed)
    outcome = live(world, Hazard.of(world), drawn)
    alone, none = outcome.converted_without[:-1], outcome.converted_without[-1]
    assert not (alone & ~outcome.converted).any()
    assert not (none & ~alone).any()


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_same_seed_same_bits_for_any_number_of_threads(cores, monkeypatch):
    monkeypatch.setattr(draws, "CHUNK", 500)
    expected = simulate("B2B", 6_000, 3)
    response = Response("B2B", 6_000, 3)({"event": 2})
    monkeypatch.setattr("attribution.threads.os.cpu_count", lambda: cores)
    assert simulate("B2B", 6_000, 3).equals(expected)
    assert Response("B2B", 6_000, 3)({"event": 2}) == response
    assert not simulate("B2B", 6_000, 4).journeys.equals(expected.journeys)


def test_no_seed_is_seed_zero():
    assert simulate(n_people=300).equals(simulate("random exposure", 300, 0))


def test_simulation_survives_pickling_and_cannot_change():
    simulated = simulate("brand search", 500)
    assert isinstance(simulated, Simulation)
    again = pickle.loads(pickle.dumps(simulated))
    assert again.equals(simulated)
    with pytest.raises(ValueError, match="read-only"):
        again.truth.incremental[0] = 1


@pytest.mark.parametrize("name", WORLDS)
def test_log_shows_one_row_per_account_and_no_touch_after_its_end(name):
    world = WORLDS[name]
    simulated = simulate(name, 20_000)
    journeys = simulated.journeys
    assert (np.diff(journeys.users) > 0).all()
    assert (journeys.conversions + journeys.nulls == 1).all()
    assert len(journeys) + simulated.n_unseen == 20_000 // world.people_per_account
    assert journeys.ages.min() > 0
    assert journeys.times.min() >= START
    assert journeys.ends.max() == START + world.n_days * DAY
    same_row = np.diff(journeys.rows) == 0
    assert (np.diff(journeys.times)[same_row] >= 0).all()
    assert ("person" in journeys.touch_attributes) == (world.people_per_account > 1)


def test_accounts_share_touches_and_convert_once():
    world = World(channels=[tv(touches=2)], base_rate=1e-9, people_per_account=3)
    simulated = simulate(world, 30_001)  # the last account has one person
    n_accounts = len(simulated.journeys) + simulated.n_unseen
    assert n_accounts == 10_001
    assert near(np.append(simulated.journeys.lengths, np.zeros(simulated.n_unseen)), 2 * 3)
    persons = simulated.journeys.touch_attributes["person"].codes
    for person in range(3):
        assert within(np.count_nonzero(persons == person), len(persons), 1 / 3)
    last = simulated.journeys.rows == np.flatnonzero(simulated.journeys.users == 10_000)
    assert set(persons[last]) == {0}


def test_touches_follow_intent_as_far_as_they_are_targeted():
    exponents = {"a": 0.0, "b": 1.0, "c": 2.0}
    channels = [Channel(name=k, touches=1.5, effect=0, targeting=v) for k, v in exponents.items()]
    world = World(channels=channels, base_rate=1e-6, intent_spread=0.5)
    drawn = drawn_of(world, 100_000)
    counts = counts_of(world, drawn)
    intent = drawn.intent
    assert near(intent, 1)
    assert near((intent - 1) ** 2, 0.25)
    assert abs(np.corrcoef(counts[:, 0], intent)[0, 1]) < 4 / sqrt(100_000)
    # E i^k of the gamma distribution of mean 1 and variance v: 1, 1 + v, (1 + v)(1 + 2 v).
    assert near(counts[:, 0] * intent, 1.5)
    assert near(counts[:, 1] * intent, 1.5 * 1.25)
    assert near(counts[:, 2] * intent, 1.5 * 1.25 * 1.5)


def test_touches_spread_evenly_over_the_watch_and_some_are_clicks():
    world = World(channels=[tv(touches=4, click_rate=0.3)], base_rate=1e-9, n_days=10)
    journeys = simulate(world, 20_000).journeys
    place = (journeys.times - START) / (10 * DAY)
    assert near(place, 1 / 2)
    assert near(place**2, 1 / 3)
    clicks = np.count_nonzero(journeys.touch_attributes["touch_type"].to_numpy() == "click")
    assert within(clicks, len(place), 0.3)


def test_what_comes_after_a_channel_never_comes_before_it():
    channels = [tv(touches=1), Channel(name="retargeting", touches=2, effect=1, after="tv")]
    world = World(channels=channels, base_rate=0.001)
    drawn = drawn_of(world, 20_000)
    seen = set()
    for account, channel in zip(drawn.account.tolist(), drawn.channel.tolist(), strict=True):
        if world.names[channel] == "tv":
            seen.add(account)
        else:
            assert account in seen
    # Of 2 touches the share that falls after the first of a Poisson number of mean 1.
    assert near(counts_of(world, drawn)[:, 0], 2 * exp(-1))


@few
@given(worlds(), st.integers(1, 12), st.data())
def test_response_equals_people_one_by_one(world, n_people, data):
    factors = st.floats(0, 3)
    scale = {name: data.draw(factors) for name in world.names}
    response = Response(world, n_people, 5, max_scale=3)
    expected = 0.0
    for intent, _, touches in people(world, n_people, 5, 3.0):
        kept = [(name, t) for name, t, mark, *_ in touches if mark * 3 < scale[name]]
        expected -= expm1(-sum(rates(world, intent, kept)))
    assert response(scale) == pytest.approx(expected / n_people, rel=1e-10)
    assert response([scale[name] for name in world.names]) == response(scale)


@few
@given(worlds(), st.data())
def test_response_never_falls_in_exposure(world, data):
    response = Response(world, 40)
    n = len(world.names)
    low = np.array(data.draw(st.lists(st.floats(0, 4), min_size=n, max_size=n)))
    more = np.array(data.draw(st.lists(st.floats(0, 4), min_size=n, max_size=n)))
    # Sums of probabilities carry an error of rounding.
    assert response(np.maximum(low, more)) >= response(low) - 1e-14


@pytest.mark.parametrize("name", WORLDS)
def test_response_agrees_with_simulation(name):
    n = 60_000
    expected = expected_conversions(name, {}, n, 11)
    # Conversions are independent events: their number varies no more than its mean, and the
    # response no more than the number.
    assert abs(simulate(name, n, 12).truth.total / n - expected) < 4 * sqrt(2 * expected / n)
    nothing = dict.fromkeys(WORLDS[name].names, 0.0)
    organic = expected_conversions(name, nothing, n, 11)
    assert abs(simulate(name, n, 12).truth.organic / n - organic) < 4 * sqrt(2 * organic / n)


def test_scaled_response_agrees_with_a_world_of_more_touches():
    half, double = tv(touches=0.5), tv(touches=1.0)
    wide = World(channels=[half], base_rate=0.002, intent_spread=0.5)
    n = 100_000
    total = simulate(World(channels=[double], base_rate=0.002, intent_spread=0.5), n, 3).truth.total
    expected = Response(wide, n)({"tv": 2})
    assert abs(total / n - expected) < 4 * sqrt(2 * expected / n)


def test_scale_of_a_channel_does_not_change_what_comes_after_it():
    visit = Channel(name="visit", touches=0.3, effect=0)
    world = World(channels=[visit, tv(touches=3, after="visit", effect=20)], base_rate=0.005)
    n = 20_000
    total = simulate(world, n, 3).truth.total
    response = Response(world, n)
    assert abs(total / n - response({})) < 4 * sqrt(2 * response({}) / n)
    assert response({"visit": 0}) == response({}) == response({"visit": 4})
    assert response({"tv": 0}) < 0.95 * response({})


def test_response_uses_common_random_numbers():
    response = Response("random exposure", 20_000)
    steps = np.diff([response({"video": x}) for x in np.linspace(0.5, 1.5, 11)])
    # Independent draws would differ by about 0.002 from one to the next, more than a step.
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.min()


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_are_plausible_and_one_channel_does_nothing(name):
    n = 100_000
    world = WORLDS[name]
    simulated = simulate(name, n)
    truth = simulated.truth
    idle = {c for c, x in zip(truth.channels, truth.incremental, strict=True) if x == 0}
    assert idle == {WITHOUT_EFFECT[name]}
    assert 0.02 < truth.total / (n / world.people_per_account) < 0.10
    assert 1 < len(simulated.journeys.codes) / n < 4
    assert truth.share.sum() == pytest.approx(1)


def test_random_exposure_is_a_fifth_organic():
    truth = simulate("random exposure", 200_000).truth
    assert 0.18 < truth.organic / truth.total < 0.22
    assert all(channel.targeting == 0 for channel in WORLDS["random exposure"].channels)


@pytest.mark.parametrize("name", WORLDS)
def test_what_does_nothing_looks_effective_where_exposure_follows_intent(name):
    world = WORLDS[name]
    drawn = drawn_of(world, 100_000)
    converted = live(world, Hazard.of(world), drawn).converted
    touched = counts_of(world, drawn)[:, world.names.index(WITHOUT_EFFECT[name])] > 0
    a, b = converted[touched], converted[~touched]
    error = sqrt(a.var() / len(a) + b.var() / len(b))
    difference = (a.mean() - b.mean()) / error
    assert difference > 10 if name in CONFOUNDED else abs(difference) < 4


def test_truth_as_a_table():
    truth = Truth(channels=("a", "b"), incremental=np.array([3, 1]), joint=5, organic=2)
    frame = truth.to_frame()
    assert frame.loc["a"].tolist() == [3, 0.75]
    assert (frame.index.name, truth.total) == ("channel", 7)
    none = Truth(channels=("a",), incremental=np.array([0]), joint=0, organic=2)
    assert np.isnan(none.share).all()


def world_with(**options):
    return World(**{"channels": [tv()], "base_rate": 0.01} | options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: simulate("retargetting"), "no world 'retargetting'. Did you mean 'retargeting'"),
        (lambda: simulate(None), "no world None.*choose one of 'random exposure'"),
        (lambda: simulate(n_people=0), "n_people is 0.*whole number from 1"),
        (lambda: simulate(n_people=2.5), "n_people is 2.5"),
        (lambda: simulate(random_state=-1), "random_state=-1 is no seed"),
        (lambda: simulate(random_state="x"), "random_state='x' is no seed"),
        (lambda: tv(name=""), "name='' is no name"),
        (lambda: tv(touches=-1), "touches of channel 'tv' is -1.*from 0 on"),
        (lambda: tv(effect=float("nan")), "effect of channel 'tv' is nan"),
        (lambda: tv(effect=inf), "effect of channel 'tv' is inf.*finite number from 0 on"),
        (lambda: tv(targeting="high"), "targeting of channel 'tv' is 'high'"),
        (lambda: tv(half_life=0), "half_life of channel 'tv' is 0.*number above 0"),
        (lambda: tv(weight=0), "weight of channel 'tv' is 0.*above 0"),
        (lambda: tv(delay=1.5), "delay of channel 'tv' is 1.5.*whole number from 0"),
        (lambda: tv(click_rate=1.2), "click_rate of channel 'tv' is 1.2.*at most 1"),
        (lambda: world_with(base_rate=0), "base_rate is 0.*above 0"),
        (lambda: world_with(n_days=0), "n_days is 0"),
        (lambda: world_with(n_days=True), "n_days is True"),
        (lambda: world_with(intent_spread=-1), "intent_spread is -1"),
        (lambda: world_with(people_per_account=0), "people_per_account is 0"),
        (lambda: world_with(channels=[]), "one Channel or more"),
        (lambda: world_with(channels=None), "channels=.*one Channel or more"),
        (lambda: world_with(synergies=None), "synergies=None"),
        (lambda: Response("retargeting", 10, max_scale=0.5), "max_scale is 0.5"),
        (lambda: world_with(channels=["tv"]), "one Channel or more"),
        (lambda: world_with(channels=[tv(), tv(effect=1)]), "Two channels are named 'tv'"),
        (lambda: world_with(channels=[tv(), tv()]), "Two channels are named 'tv'"),
        (lambda: world_with(channels=[tv(after="vt")]), "no channel 'vt'. Did you mean 'tv'"),
        (lambda: world_with(channels=[tv(after="tv")]), "itself comes after"),
        (lambda: world_with(synergies={("tv", "x"): 1}), "no channel 'x'"),
        (lambda: world_with(synergies={"tv": 1}), "not of two channels"),
        (lambda: world_with(synergies={("tv", "tv"): 1}), "not of two channels"),
        (
            lambda: world_with(
                channels=[tv(), tv(name="x")], synergies={("tv", "x"): 1, ("x", "tv"): 1}
            ),
            "given twice",
        ),
        (
            lambda: world_with(channels=[tv(), tv(name="x")], synergies={("tv", "x"): -1}),
            "synergy of .* is -1",
        ),
        (lambda: Response(world_with(), 10, max_scale=0), "max_scale is 0"),
        (lambda: Response(world_with(), 10)({"tv": 5}), "is 5, above 4"),
        (lambda: Response(world_with(), 10)({"tv": -0.1}), "scale of 'tv' is -0.1"),
        (lambda: Response(world_with(), 10)({"radio": 1}), "no channel 'radio'"),
        (lambda: Response(world_with(), 10)([1, 2]), "2 factors for 1 channels"),
    ],
)
def test_errors_name_the_value_and_the_way_out(build, message):
    with pytest.raises(InputError, match=message) as error:
        build()
    assert "Hint" in str(error.value)


def test_import_loads_no_heavy_part_of_scipy():
    code = (
        "import sys, attribution.simulate; "
        "print({'scipy.stats', 'scipy.optimize'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
