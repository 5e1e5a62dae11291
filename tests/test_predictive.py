"""Forecasts of journeys held out: what is held out, and the scores by hand."""

import numpy as np
import pandas as pd
import pytest

from attribution import InputError, Journeys, Markov
from attribution.models.base import Predictor
from attribution.predictive import BASE, calibration_error, predictive_checks, split
from attribution.simulate import simulate


def path_table():
    return Journeys.from_paths(
        pd.DataFrame(
            {
                "path": ["a > b", "b > b", "b > a", "b > c"],
                "conversions": [300, 100, 30, 0],
                "nulls": [100, 300, 270, 100],
            }
        ),
        nulls="nulls",
    )


def test_halves_of_a_path_table_add_up():
    journeys = path_table()
    train, test = split(journeys, 1)
    for name in ("conversions", "nulls"):
        both = getattr(train, name) + getattr(test, name)
        assert both.tolist() == getattr(journeys, name).tolist()
        assert (getattr(test, name) == np.round(getattr(test, name))).all()
    held = test.n_journeys / journeys.n_journeys
    assert abs(held - 0.5) < 4 * 0.5 / np.sqrt(journeys.n_journeys)


def test_parts_of_journeys_are_not_lost():
    table = pd.DataFrame({"path": ["a > b"] * 40, "conversions": [0.7] * 40, "nulls": [2.4] * 40})
    journeys = Journeys.from_paths(table, nulls="nulls")
    train, test = split(journeys, 1)
    for name in ("conversions", "nulls"):
        np.testing.assert_allclose(
            getattr(train, name) + getattr(test, name), getattr(journeys, name)
        )
        assert set((getattr(test, name) % 1).round(9)) == {
            0.0,
            round(getattr(journeys, name)[0] % 1, 9),
        }


def test_users_are_held_out_whole():
    journeys = simulate("random exposure", 4_000, 3).journeys
    doubled = Journeys.concat([journeys, journeys])
    train, test = split(doubled, 1)
    assert not set(train.users.tolist()) & set(test.users.tolist())
    touched = journeys.users[journeys.lengths > 0]
    assert {*train.users.tolist(), *test.users.tolist()} == set(touched.tolist())
    assert abs(len(test) / len(touched) - 1) < 4 / np.sqrt(len(touched))


def test_scores_by_hand():
    """A chain forecasts the rate of the last channel: what is scored can be counted."""
    journeys = path_table()
    train, test = split(journeys, 0)
    table = predictive_checks(journeys, ["markov"], random_state=0)
    last = ["b", "b", "a", "c"]
    rate = {}
    for name in "abc":
        rows = [i for i in range(4) if last[i] == name]
        converted = train.conversions[rows].sum()
        rate[name] = converted / (converted + train.nulls[rows].sum())
    forecast = np.clip([rate[name] for name in last], 1e-6, 1 - 1e-6)
    conversions, nulls = test.conversions, test.nulls
    loss = -(conversions * np.log(forecast) + nulls * np.log(1 - forecast)).sum()
    assert table.loc["markov", "log_loss"] == pytest.approx(loss / test.n_journeys)
    pairs = right = 0.0
    for i in range(4):
        for j in range(4):
            n = conversions[i] * nulls[j]
            pairs += n
            right += n * ((forecast[i] > forecast[j]) + 0.5 * (forecast[i] == forecast[j]))
    assert table.loc["markov", "auc"] == pytest.approx(right / pairs)
    assert table.loc[BASE, "auc"] == 0.5
    base = train.conversions.sum() / train.n_journeys
    observed = test.conversions.sum() / test.n_journeys
    assert table.loc[BASE, "calibration"] == pytest.approx(abs(base - observed))
    assert table.loc["markov", "log_loss"] < table.loc[BASE, "log_loss"]


def test_calibration_error_by_hand():
    """Twenty journeys in ten groups of two: 0.1 expected, then 1 of 2 and 0 of 2 and so on."""
    forecast = np.linspace(0.0, 0.95, 20)
    conversions = np.tile([1.0, 0.0], 10)
    pairs = forecast.reshape(10, 2).mean(axis=1)
    expected = np.abs(pairs - 0.5).mean()
    assert calibration_error(forecast, conversions, 1 - conversions) == pytest.approx(expected)
    certain = np.array([0.0, 1.0])
    assert calibration_error(certain, certain * 5, (1 - certain) * 7) == 0
    assert calibration_error(np.full(3, 0.5), np.ones(3), np.zeros(3)) == 0.5


def test_all_models_that_predict_are_scored():
    journeys = simulate("random exposure", 3_000, 1).journeys
    table = predictive_checks(journeys)
    assert {BASE, "markov", "bagged_logistic", "additive_hazard", "leave_one_out"} == set(
        table.index
    )
    assert table.notna().all(axis=None)
    without_times = predictive_checks(path_table())
    assert "additive_hazard" not in without_times.index
    again = predictive_checks(journeys)
    pd.testing.assert_frame_equal(table, again)
    assert not predictive_checks(journeys, random_state=1).equals(table)


def test_nothing_to_score():
    journeys = path_table().select(np.array([], dtype=int))
    assert predictive_checks(journeys, ["markov"]).isna().all(axis=None)


def test_what_does_not_predict():
    assert not isinstance(Journeys, Predictor)
    with pytest.raises(InputError, match=r"linear does not predict\. Hint: markov, "):
        predictive_checks(path_table(), ["linear"])
    with pytest.raises(InputError, match="AdditiveHazard needs the age of each touch"):
        predictive_checks(path_table(), ["additive_hazard"])
    with pytest.raises(InputError, match="Got a list, not Journeys"):
        predictive_checks([path_table()], [Markov()])
