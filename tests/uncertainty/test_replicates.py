"""Every resample equals the model on journeys that are weighted one by one."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journey_tables import tables

from attribution import (
    MODELS,
    AttributionWarning,
    BaggedLogistic,
    InputError,
    Journeys,
    Markov,
    Shapley,
)
from attribution.uncertainty import intervals
from attribution.uncertainty.bucketed import bucketed
from attribution.uncertainty.buckets import Plan
from attribution.uncertainty.replicates import bootstrap_weights, jackknife_weights, replicates

PLAN = Plan(20, 11)
MODELS_TO_TRY = {
    model.name: model
    for model in [
        *(model() for key, model in MODELS.items() if key != "bagged_logistic"),
        BaggedLogistic(n_models=3),
        Markov(order=2),
        Shapley(worth="rate", scale="total"),
        Shapley(worth="markov", scale="total"),
    ]
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        yield


def by_hand(model, journeys, weight_of_row):
    """Attribute journeys whose counts are multiplied by a weight per row."""
    weighted = replace(
        journeys,
        conversions=journeys.conversions * weight_of_row,
        nulls=journeys.nulls * weight_of_row,
        values=journeys.values * weight_of_row,
    )
    try:
        result = model.attribute(weighted)
    except InputError:
        return None
    columns = dict(result.columns)
    for name in ("baseline", "baseline_value"):
        if getattr(result, name) is not None:
            columns[name] = np.array([getattr(result, name)])
    return columns


def hold(model, journeys, sums, weights, rows):
    """Compare some resamples with weighted journeys."""
    draws = replicates(model, sums.spreads[model.name], sums.totals, weights)
    for number in rows:
        expected = by_hand(model, journeys, weights[number][bucket_of_rows(journeys, sums)])
        if expected is None:
            assert all(np.isnan(column[number]).all() for column in draws.values())
            continue
        for name, column in draws.items():
            scale = max(1.0, np.nanmax(np.abs(expected[name]), initial=0.0))
            np.testing.assert_allclose(column[number], expected[name], rtol=0, atol=1e-9 * scale)


def bucket_of_rows(journeys, sums):
    if sums.labels is None:
        return sums.plan.bucket_of(journeys.users)
    return np.searchsorted(sums.labels, journeys.users)


@pytest.mark.parametrize("name", MODELS_TO_TRY)
@settings(max_examples=25)
@given(tables(), st.integers(0, 99))
def test_resamples_of_few_users(name, journeys, seed):
    model = MODELS_TO_TRY[name]
    sums = bucketed({name: model}, journeys, PLAN)
    units = sums.totals[:, 0]
    weights = bootstrap_weights(units, 3, np.random.default_rng(seed))
    hold(model, journeys, sums, weights, range(3))


def large(n=4_000, users=1_500, seed=5):
    """Return journeys of more users than buckets, some without touches."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 5, size=n)
    ends = rng.integers(10**9, 10**12, size=n)
    touches = lengths.sum()
    converts = rng.random(n) < 0.3
    before = np.sort(rng.integers(1, 10**8, size=touches))[::-1]
    return Journeys(
        channels=("Direct", "a", "b", "c", "d"),
        codes=rng.integers(0, 5, size=touches),
        offsets=np.append(0, np.cumsum(lengths)),
        conversions=np.where(converts, rng.integers(1, 3, size=n), 0).astype(float),
        nulls=np.where(converts, 0.0, 1.0),
        values=np.where(converts, rng.integers(1, 50, size=n), 0).astype(float),
        times=np.repeat(ends, lengths) - before,
        ends=ends,
        users=rng.integers(0, users, size=n),
    )


@pytest.mark.parametrize("name", MODELS_TO_TRY)
def test_resamples_of_many_users(name):
    model, journeys = MODELS_TO_TRY[name], large()
    sums = bucketed({name: model}, journeys, PLAN)
    assert sums.labels is None
    weights = bootstrap_weights(sums.totals[:, 0], 40, np.random.default_rng(1))
    hold(model, journeys, sums, weights, (0, 39))


@pytest.mark.parametrize("name", MODELS_TO_TRY)
@settings(max_examples=25)
@given(tables(min_size=2), st.integers(1, 7))
def test_parts_add_up_to_the_whole(name, journeys, cut):
    """Also where a user is in several parts, and more users in the whole than in each."""
    model = MODELS_TO_TRY[name]
    cut = min(cut, len(journeys) - 1)
    plan = Plan(3, 1)
    parts = [journeys.select(np.arange(cut)), journeys.select(np.arange(cut, len(journeys)))]
    whole = bucketed({name: model}, journeys, plan)
    added = bucketed({name: model}, iter(parts), plan)
    np.testing.assert_allclose(added.totals, whole.totals, rtol=1e-12)
    weights = np.random.default_rng(cut).random((2, len(whole.totals)))
    first, second = (
        replicates(model, each.spreads[name], each.totals, weights) for each in (whole, added)
    )
    for column, expected in first.items():
        scale = max(1.0, np.nanmax(np.abs(expected), initial=0.0))
        np.testing.assert_allclose(second[column], expected, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("name", MODELS_TO_TRY)
def test_channels_without_touches_have_no_credit(name):
    """Channels of the log that a period or an empty part lacks."""
    model, journeys = MODELS_TO_TRY[name], large(n=200, users=60)
    wider = replace(journeys, channels=("Direct", "a", "b", "c", "d", "unused"))
    found = intervals(model, wider, n_resamples=5).to_frame()
    assert found.loc["unused", "conversions_high"] == 0
    if model.key == "bagged_logistic":
        return  # draws other subsets of more channels
    expected = intervals(model, journeys, n_resamples=5).to_frame()
    narrow = found.drop(index="unused")[["conversions", "conversions_low", "conversions_se"]]
    pd.testing.assert_frame_equal(narrow, expected[narrow.columns], rtol=1e-7)
    empty = wider.select(np.array([], dtype=int))
    again = intervals(model, iter([empty, wider, empty]), n_resamples=5).to_frame()
    pd.testing.assert_frame_equal(again, found, rtol=1e-7)


def test_bootstrap_weights_hold_the_number_of_users():
    units = np.array([3.0, 1.0, 7.0, 2.0])
    weights = bootstrap_weights(units, 500, np.random.default_rng(0))
    np.testing.assert_allclose(weights @ units, 13.0)
    drawn = weights / (weights @ np.ones(4))[:, None] * 4  # undo the scaling: counts of buckets
    np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-9)
    assert abs(drawn.mean(axis=0) - 1).max() < 4 * np.sqrt(0.75 / 500)


def test_jackknife_weights_leave_one_bucket_out():
    weights = jackknife_weights(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(weights, [[0, 6 / 5, 6 / 5], [6 / 4, 0, 6 / 4], [2, 2, 0]])
    assert jackknife_weights(np.array([1.0, 0.0, 3.0])).shape == (2, 3)


def test_a_resample_without_any_user_is_unknown():
    weights = bootstrap_weights(np.array([5.0, 0.0]), 50, np.random.default_rng(0))
    nobody = np.isnan(weights).any(axis=1)
    assert 0 < nobody.sum() < 50
    assert (weights[~nobody] @ [5.0, 0.0] == 5.0).all()


def test_an_empty_world_has_no_draws():
    assert bootstrap_weights(np.zeros(0), 5, np.random.default_rng(0)).shape == (5, 0)
