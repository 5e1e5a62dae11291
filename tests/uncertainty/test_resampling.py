"""Intervals hold against resampling journey by journey, against formulas, and on every way in."""

import copy
import pickle
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attribution import (
    MODELS,
    Attribution,
    AttributionWarning,
    InputError,
    Journeys,
    Linear,
    Markov,
    Shapley,
    compare,
    simulate,
)
from attribution.datasets import load_events
from attribution.engines import duckdb
from attribution.uncertainty import intervals, resample

TABLE = pd.DataFrame(
    {
        "path": ["a > b", "b", "c > a", "a", "c > b > a", "c"],
        "conversions": [60, 150, 40, 200, 25, 30],
        "nulls": [300, 250, 350, 200, 300, 400],
    }
)
SEEDS = range(60)


@pytest.fixture(scope="module")
def paths():
    return Journeys.from_paths(TABLE, nulls="nulls")


@pytest.fixture(scope="module")
def log():
    return Journeys.from_events(load_events(), value="value")


def mean_error(model, journeys, **options):
    """Return the root mean square of the standard errors over many ways to spread."""
    errors = [
        intervals(model, journeys, n_resamples=300, random_state=seed, **options).columns[
            "conversions_se"
        ]
        for seed in SEEDS
    ]
    return np.sqrt((np.array(errors) ** 2).mean(axis=0))


def journey_by_journey(journeys, draw, n=1_500):
    """Draw as many journeys as there are, each by itself, and attribute what was drawn."""
    rng = np.random.default_rng(9)
    kinds = np.concatenate([journeys.conversions, journeys.nulls])
    drawn = rng.multinomial(int(kinds.sum()), kinds / kinds.sum(), size=n).astype(float)
    rows = len(journeys)
    return np.array([draw(each[:rows], each[rows:]) for each in drawn])


def test_standard_error_is_that_of_single_journeys_for_a_chain(paths):
    def draw(conversions, nulls):
        return Markov().attribute(replace(paths, conversions=conversions, nulls=nulls)).conversions

    expected = journey_by_journey(paths, draw).std(axis=0)
    # 60 spreads over 200 buckets know it to 1 %, 1,500 draws to 1.8 %
    np.testing.assert_allclose(mean_error("markov", paths), expected, rtol=0.05)


def test_standard_error_is_the_formula_for_a_rule(paths):
    """A sum of x over n independent journeys has variance n var(x)."""
    n = paths.n_journeys
    share = np.zeros((len(paths), 3))
    for row, journey in enumerate(paths):
        for touch in journey.touchpoints:
            channel = paths.channels.index(touch.channel)
            share[row, channel] += 1 / len(journey.touchpoints)
    mean = paths.conversions @ share / n
    expected = np.sqrt(paths.conversions @ share**2 - n * mean**2)
    np.testing.assert_allclose(mean_error("linear", paths), expected, rtol=0.05)
    np.testing.assert_allclose(mean_error("linear", paths, method="jackknife"), expected, rtol=0.05)


def test_rows_are_not_resampled_as_a_whole(paths):
    """The same journeys in one row or in many rows have the same standard error."""
    split = TABLE.loc[TABLE.index.repeat(5)]
    split = split.assign(conversions=split["conversions"] / 5, nulls=split["nulls"] / 5)
    apart = Journeys.from_paths(split, nulls="nulls")
    np.testing.assert_allclose(mean_error("linear", apart), mean_error("linear", paths), rtol=0.05)


def test_a_fixed_number_of_users_is_not_left_to_chance():
    """Of people who nearly all convert the total hardly varies; Poisson weights lose that."""
    rng = np.random.default_rng(1)
    n = 5_000
    converts = rng.random(n) < 0.95
    journeys = Journeys(
        channels=("a",),
        codes=np.zeros(n, dtype=np.int32),
        offsets=np.arange(n + 1),
        conversions=converts.astype(float),
        nulls=(~converts).astype(float),
        users=np.arange(n),
    )
    share = converts.mean()
    exact = np.sqrt(n * share * (1 - share))
    found = np.mean(
        [
            intervals("linear", journeys, random_state=seed).columns["conversions_se"]
            for seed in SEEDS
        ]
    )
    assert found == pytest.approx(exact, rel=0.05)
    poisson = rng.poisson(1.0, size=(4_000, n)) @ converts.astype(float)
    assert poisson.std() > 4 * found


def test_users_are_resampled_with_all_their_journeys(paths):
    """Who does everything twice counts as one: the standard error is sqrt(2) times as large."""
    rng = np.random.default_rng(2)
    n = 6_000
    codes = np.repeat(rng.integers(0, 3, size=n), 2)
    converts = np.repeat(rng.random(n) < 0.3, 2)
    twice = Journeys(
        channels=("a", "b", "c"),
        codes=codes,
        offsets=np.arange(2 * n + 1),
        conversions=converts.astype(float),
        nulls=(~converts).astype(float),
        users=np.repeat(np.arange(n), 2),
    )
    of_users, of_journeys = (
        mean_error("linear", each) for each in (twice, replace(twice, users=None))
    )
    np.testing.assert_allclose(of_users / of_journeys, np.sqrt(2), rtol=0.05)


def test_a_user_in_many_parts_of_a_stream_counts_once():
    """Monthly parts, in each of which nearly everybody converts."""
    rng = np.random.default_rng(4)
    n, months = 2_000, rng.integers(1, 13, size=2_000)
    users = np.repeat(np.arange(n), months)
    month = np.concatenate([np.arange(each) for each in months])
    whole = Journeys(
        channels=("a",),
        codes=np.zeros(len(users), dtype=np.int32),
        offsets=np.arange(len(users) + 1),
        conversions=np.ones(len(users)),
        nulls=np.zeros(len(users)),
        users=users,
    )
    parts = [whole.select(month == each) for each in range(12)]
    expected, found = (resample(each, ["linear"], n_resamples=40) for each in (whole, iter(parts)))
    assert found.n_units == expected.n_units == n
    draws = (each.draws["linear"]["conversions"] for each in (found, expected))
    np.testing.assert_allclose(*draws, rtol=1e-12)
    error = intervals("linear", iter(parts)).columns["conversions_se"][0]
    assert error == pytest.approx(np.sqrt(n) * months.std(), rel=0.15)  # one spread knows it to 5 %


def test_partitions_without_users_are_refused(paths):
    class Elsewhere:
        def sum_of(self, function):
            return function(paths)

    with pytest.raises(InputError, match="The partitions hold no users"):
        resample(Elsewhere(), ["linear"])


def test_jackknife_of_single_users_is_the_textbook_formula():
    """m users, one bucket each: the sum is m times a mean, so its se is sqrt(m) * sd."""
    outcome = np.array([0.0, 1, 1, 0, 2, 0, 0, 3, 1, 0, 1, 0])
    m = len(outcome)
    journeys = Journeys(
        channels=("a",),
        codes=np.zeros(m, dtype=np.int32),
        offsets=np.arange(m + 1),
        conversions=outcome,
        nulls=(outcome == 0).astype(float),
        users=np.arange(m),
    )
    frame = intervals("linear", journeys, method="jackknife", confidence=0.8).to_frame()
    error = np.sqrt(m) * outcome.std(ddof=1)
    reach = stats.t.ppf(0.9, m - 1) * error
    found = frame.loc["a", ["conversions_low", "conversions_high", "conversions_se"]].tolist()
    assert found == pytest.approx([9 - reach, 9 + reach, error], rel=1e-12)


def test_the_jackknife_does_not_reach_below_zero():
    journeys = Journeys.from_paths(
        pd.DataFrame({"path": ["a > b", "a > b"], "conversions": [1, 0], "nulls": [0, 30]}),
        nulls="nulls",
    )
    frame = intervals("linear", journeys, method="jackknife").to_frame()
    assert (frame["conversions_low"] == 0).all()
    assert (frame["conversions_high"] > 1).all()


def test_the_jackknife_of_a_difference_reaches_below_zero(paths):
    frame = resample(paths, ["linear", "markov"], method="jackknife").difference("markov", "linear")
    reach = stats.t.ppf(0.95, 199) * frame["difference_se"]
    np.testing.assert_allclose(frame["difference_low"], frame["difference"] - reach)
    np.testing.assert_allclose(frame["difference_high"], frame["difference"] + reach)


def test_bootstrap_and_jackknife_agree_on_a_log(log):
    found = [
        intervals("markov", log, method=method).columns["conversions_se"]
        for method in ("bootstrap", "jackknife")
    ]
    # 1,000 resamples know a standard error to 2.2 %; the rest is curvature
    np.testing.assert_allclose(*found, rtol=0.1)


def test_estimates_are_those_without_intervals(log):
    models = ["linear", "markov", "markov_path_level", "shapley"]
    plain, sure = compare(log, models), compare(log, models, confidence=0.9, n_resamples=20)
    for name in models:
        frame = sure[name].to_frame()
        pd.testing.assert_frame_equal(frame[plain[name].to_frame().columns], plain[name].to_frame())
        for column in plain[name].columns:
            low, high, error = (frame[f"{column}{end}"] for end in ("_low", "_high", "_se"))
            assert (low <= high).all()
            assert (error >= 0).all()
        about = sure[name].details["intervals"]
        assert about["confidence"] == 0.9
        assert about["total_conversions_low"] <= sure[name].total_conversions
        assert about["total_conversions_high"] >= sure[name].total_conversions
        again = Attribution.from_json(sure[name].to_json())
        assert again.equals(sure[name])


def test_one_table_shows_all_intervals(log):
    comparison = compare(log, ["linear", "markov"], confidence=0.8, n_resamples=20)
    table = comparison.to_frame(of="value", share=True, intervals=True)
    assert list(table.columns.get_level_values(1)) == ["estimate", "low", "high", "se"] * 2
    expected = comparison["markov"].to_frame()["value_share_high"]
    assert table["markov", "high"].tolist() == expected.tolist()
    with pytest.raises(InputError, match=r"linear has no intervals. Hint: compare"):
        compare(log, ["linear"]).to_frame(intervals=True)


def test_same_input_same_bits(paths, log):
    for journeys in (paths, log):
        first, second = (intervals("markov", journeys, n_resamples=50) for _ in range(2))
        assert first.equals(second)
        other = intervals("markov", journeys, n_resamples=50, random_state=1)
        assert not first.equals(other)


def test_a_stream_gives_the_intervals_of_memory(log, tmp_path):
    load_events().to_parquet(tmp_path / "log.parquet")
    models = ["first_click", "time_decay", "markov", "markov_path_level"]
    expected = resample(log, models, n_resamples=30)
    with duckdb.scan(tmp_path / "log.parquet", value="value", partitions=7) as stream:
        engine = resample(stream, models, n_resamples=30)
        parts = resample(iter(stream), models, n_resamples=30)
    for found in (engine, parts):
        assert found.n_units == expected.n_units
        for name in models:
            for column, draws in expected.draws[name].items():
                np.testing.assert_allclose(found.draws[name][column], draws, rtol=1e-9, atol=1e-12)


def test_fewer_users_than_buckets_are_resampled_one_by_one(log):
    few = log.select(np.isin(log.users, np.unique(log.users)[:70]))
    drawn = resample(few, ["linear"], n_resamples=10)
    assert (drawn.n_units, drawn.n_buckets) == (70, 70)


def test_probability_that_one_channel_earns_more():
    """60 against 40 of 100 conversions: their difference has a standard error of 10."""
    table = pd.DataFrame({"path": ["a > a", "b"], "conversions": [60, 40], "nulls": [4_000] * 2})
    drawn = resample(Journeys.from_paths(table, nulls="nulls"), ["linear"], n_resamples=4_000)
    more = drawn.probability_of_more("linear")
    assert more.loc["a", "b"] == pytest.approx(NormalDist().cdf(2.0), abs=0.02)
    np.testing.assert_allclose(more + more.T, np.ones((2, 2)))


def test_difference_of_models_is_paired(paths):
    """Two models that are the same on these paths differ by nothing, for sure."""
    single = paths.select(paths.lengths == 1)
    drawn = resample(single, ["linear", "first_click"], n_resamples=50)
    assert (drawn.difference("linear", "first_click").to_numpy() == 0).all()
    drawn = resample(paths, ["linear", "first_click"], n_resamples=200)
    frame = drawn.difference("linear", "first_click", share=True, confidence=0.5)
    gap = (
        drawn.draws["linear"]["conversions_share"] - drawn.draws["first_click"]["conversions_share"]
    )
    wider = np.sqrt(200 / 199)
    tail = NormalDist().cdf(wider * stats.t.ppf(0.25, 199))
    np.testing.assert_allclose(frame["difference_low"], np.quantile(gap, tail, axis=0))
    np.testing.assert_allclose(frame["difference_se"], wider * gap.std(axis=0))


def test_resamples_without_conversion_are_left_out():
    table = pd.DataFrame({"path": ["a > b", "b"], "conversions": [1, 0], "nulls": [12, 12]})
    journeys = Journeys.from_paths(table, nulls="nulls")
    frame = intervals("markov", journeys, n_resamples=200).to_frame()
    assert (frame["conversions_low"] == 0).all()
    assert (frame["conversions_high"] > 0).all()
    assert frame["conversions_share_low"].notna().all()


def test_one_user_says_nothing_of_others(log):
    frame = intervals("linear", log.select(log.users == log.users[0])).to_frame()
    assert frame[["conversions_low", "conversions_high", "conversions_se"]].isna().all(axis=None)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_of_no_journeys_nothing_is_known(log, model, method):
    result = intervals(model, log.select([]), method=method, n_resamples=3)
    frame = result.to_frame()
    assert (frame["conversions"] == 0).all()
    assert frame["conversions_se"].isna().all()


def test_journeys_without_touches_are_solved(log):
    bare = log.select(log.lengths == 0)
    about = intervals("linear", replace(bare, channels=())).details["intervals"]
    assert about["n_unsolved"] == 0
    assert about["unattributed_se"] > 0


def test_unknown_intervals_go_to_json_and_back(log):
    result = intervals("linear", log.select(log.users == log.users[0]))
    assert result.details["intervals"]["total_conversions_se"] is None
    assert Attribution.from_json(result.to_json()).equals(result)


def test_resamples_are_immutable(log):
    drawn = resample(log, ["linear"], n_resamples=5)
    for each in (drawn, pickle.loads(pickle.dumps(drawn)), copy.deepcopy(drawn)):
        with pytest.raises(ValueError, match="read-only"):
            each.draws["linear"]["conversions"][0, 0] = 1.0
        with pytest.raises(TypeError):
            each.draws["linear"]["x"] = 1.0
        assert each.equals(drawn)


def test_few_users_have_wider_intervals(log):
    """Means of 12 normal users: 90 % intervals hold the truth in about 90 % of samples."""
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(600):
        amounts = rng.normal(100.0, 10.0, size=12)
        journeys = Journeys(
            channels=("a",),
            codes=np.zeros(12, dtype=np.int32),
            offsets=np.arange(13),
            conversions=np.ones(12),
            nulls=np.zeros(12),
            values=amounts,
            users=np.arange(12),
        )
        frame = intervals("linear", journeys, n_resamples=400).to_frame()
        held += frame.loc["a", "value_low"] <= 1_200 <= frame.loc["a", "value_high"]
    assert abs(held / 600 - 0.9) < 4 * np.sqrt(0.09 / 600)


GAME = Shapley(worth="rate", scale="total")


def test_resamples_that_cannot_be_solved_are_counted():
    table = pd.DataFrame({"path": ["a > b", "b"], "conversions": [1, 0], "nulls": [4, 5]})
    journeys = Journeys.from_paths(table, nulls="nulls")
    found = intervals(GAME, journeys, n_resamples=300)
    about = found.details["intervals"]
    # nine of ten journeys drawn with replacement miss the only conversion with (9/10)^10 = 0.35
    assert about["n_resamples"] == 300
    assert about["n_unsolved"] / 300 == pytest.approx(0.349, abs=0.12)
    assert (found.to_frame()["conversions_se"] > 0).all()
    frame = intervals(GAME, journeys, method="jackknife").to_frame()
    assert frame["conversions_se"].isna().all()
    more = resample(journeys, [GAME], n_resamples=300).probability_of_more(GAME.name)
    np.testing.assert_allclose(more + more.T, np.ones((2, 2)))


def test_no_conversions_at_all():
    table = pd.DataFrame({"path": ["a > b", "b"], "conversions": [0, 0], "nulls": [1, 1]})
    with pytest.warns(AttributionWarning, match="There are no conversions"):
        journeys = Journeys.from_paths(table, nulls="nulls")
    frame = intervals("linear", journeys).to_frame()
    assert (frame[["conversions_low", "conversions_high", "conversions_se"]] == 0).all(axis=None)
    assert frame[["conversions_share_low", "conversions_share_se"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 90}, "confidence=90 is not between 0 and 1"),
        ({"confidence": True}, "confidence=True is not"),
        ({"n_resamples": 1}, "n_resamples=1 is not a whole number of at least 2"),
        ({"n_buckets": 10}, "n_buckets=10 is not a whole number of at least 20"),
        ({"method": "poisson"}, "method='poisson' is not one of"),
        ({"random_state": "x"}, "random_state='x' is no seed"),
    ],
)
def test_bad_options(paths, options, message):
    with pytest.raises(InputError, match=message):
        intervals("linear", paths, **options)


def test_what_cannot_be_asked(paths):
    drawn = resample(paths, ["linear"], method="jackknife")
    with pytest.raises(InputError, match="The jackknife gives no probabilities"):
        drawn.probability_of_more("linear")
    with pytest.raises(InputError, match="linear has no column 'value'; it has 'conversions'"):
        drawn.difference("linear", "linear", of="value")
    with pytest.raises(InputError, match="'markov' was not compared"):
        drawn.difference("linear", "markov")
    with pytest.raises(InputError, match="Got a DataFrame, not Journeys"):
        intervals("linear", TABLE)
    with pytest.raises(InputError, match="There are no journeys"):
        intervals("linear", iter([]))


def test_warnings_come_once(log):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sure = log.select(log.conversions > 0)
        intervals("markov_path_level", sure, n_resamples=5)
    assert [w.category for w in caught] == [AttributionWarning]


def test_threads_do_not_silence_each_other(log):
    """Warnings of resamples are held back without touching the filters of the process."""
    sure = log.select(log.conversions > 0)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(3) as pool:
        warnings.simplefilter("always")
        during = list(warnings.filters)
        work = [pool.submit(intervals, "probabilistic", sure, n_resamples=20) for _ in range(6)]
        assert all(each.result() for each in work)
        assert warnings.filters == during
    assert warnings.filters == before
    assert len(caught) == 6


def test_a_custom_weight_of_touches_has_intervals(paths):
    class Middle(Linear):
        key = "middle"

    found = intervals(Middle(), paths, n_resamples=40).columns
    expected = intervals("linear", paths, n_resamples=40).columns
    assert found["conversions_low"].tolist() == expected["conversions_low"].tolist()


@pytest.mark.parametrize("model", ["time_decay", "markov", "markov_path_level", "leave_one_out"])
def test_memory_does_not_grow_with_journeys_times_resamples(model):
    """2,000 resamples of 30,000 journeys would be 480 MB."""
    journeys = simulate.simulate("random exposure", 31_500, 1).journeys
    assert len(journeys) > 30_000
    tracemalloc.start()
    intervals(model, journeys, n_resamples=2_000 if model != "leave_one_out" else 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6
