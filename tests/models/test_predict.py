"""How likely journeys convert, by Markov; other models have it in their own tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, tables

from attribution import InputError, Linear, Markov
from attribution.models import (
    MODELS,
    AdditiveHazard,
    BaggedLogistic,
    LeaveOneOut,
    Predictor,
)


def rate(rows):
    whole = sum(row.conversions + row.nulls for row in rows)
    return sum(row.conversions for row in rows) / whole if whole else np.nan


@given(rows=tables(), others=tables(names=("a", "b", "new")), order=st.integers(1, 3))
def test_markov_predicts_the_rate_of_journeys_that_end_alike(rows, others, order):
    touched, expected = [row for row in rows if row.path], []
    for other in others:
        alike = [row for row in touched if row.path[-order:] == other.path[-order:]]
        known = sum(row.conversions + row.nulls for row in alike)
        expected.append(rate(alike if known else touched) if other.path else np.nan)
    model = Markov(order=order)
    predicted = model.predict(model.summarize(as_journeys(rows)), as_journeys(others))
    np.testing.assert_allclose(predicted, expected, rtol=1e-12)


def test_markov_by_hand():
    rows = [Row(("a", "b"), 1, 3), Row(("b",), 1, 0), Row(("b", "a"), 2, 0), Row((), 7, 0)]
    statistic = Markov(order=2).summarize(as_journeys(rows))
    asked = [Row(("c", "a", "b")), Row(("b",)), Row(("a",)), Row(("b", "c")), Row(())]
    predicted = Markov(order=2).predict(statistic, as_journeys(asked))
    # "a" alone and "b > c" were never seen: 4 of 7.
    np.testing.assert_allclose(predicted, [1 / 4, 1, 4 / 7, 4 / 7, np.nan])


@pytest.mark.parametrize("model", [Markov(), BaggedLogistic(), AdditiveHazard(), LeaveOneOut()])
def test_predictors_are_probabilities_and_look_at_no_outcome(model):
    rows = [Row(("a", "b"), 2, 3, 1.0, (4, 1)), Row(("b",), 1, 5, 1.0, (3,)), Row((), 1, 1)]
    statistic = model.summarize(as_journeys(rows, ages=True))
    asked = [row._replace(conversions=0, nulls=1, value=0.0) for row in rows]
    predicted = model.predict(statistic, as_journeys(asked, ages=True))
    assert predicted.shape == (3,)
    assert ((predicted[:2] > 0) & (predicted[:2] < 1)).all()
    assert np.isnan(predicted[2])
    turned = [row._replace(conversions=1, nulls=0, value=9.0) for row in rows]
    again = model.predict(statistic, as_journeys(turned, ages=True))
    assert np.array_equal(predicted, again, equal_nan=True)
    with pytest.raises(InputError, match=r"needs \w+, not ChannelCredit"):
        model.predict(Linear().summarize(as_journeys(rows)), as_journeys(asked, ages=True))


def test_the_protocol_tells_predictors():
    predictors = {name for name, model in MODELS.items() if isinstance(model(), Predictor)}
    assert predictors == {"markov", "bagged_logistic", "additive_hazard", "leave_one_out"}
