"""Shapley values of games whose worths a model has learned."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from model_oracles import Row, as_journeys, channels_of, shapley_values, tables

from attribution import AttributionWarning, InputError, Linear, Markov, Shapley
from attribution.models import AdditiveHazard, BaggedLogistic, Responsive

pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:The game does not know volume:attribution.AttributionWarning",
)
PLAIN = BaggedLogistic(sample_share=1, channel_share=1)
HAZARD = AdditiveHazard(half_life="2D")
each_worth = pytest.mark.parametrize("worth", [PLAIN, HAZARD], ids=lambda model: model.name)

ROWS = [
    Row(("a", "b"), 6, 4, 12.0, (3, 0)),
    Row(("a",), 2, 8, 4.0, (0,)),
    Row(("c", "a"), 1, 9, 2.0, (5, 4)),
    Row(("b", "c"), 3, 7, 1.0, (2, 1)),
    Row(("c",), 1, 19, 1.0, (9,)),
    Row((), 5, 1, 3.0),
]


def journeys_of(rows):
    return as_journeys(rows, ages=True)


@each_worth
@settings(max_examples=25)
@given(rows=tables(converting=True))
def test_values_are_those_of_the_definition(worth, rows):
    journeys = journeys_of(rows)
    response = worth.response(worth.summarize(journeys))
    channels = channels_of(rows)
    assume(abs(response(frozenset(channels))) > 1e-6)
    expected = shapley_values(channels, lambda members: response(frozenset(members)))
    result = Shapley(worth=worth).attribute(journeys)
    got = dict(zip(result.channels, result.extra["shapley_value"].tolist(), strict=True))
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


@each_worth
def test_values_are_raw_unless_credit_is_asked_for(worth):
    journeys = journeys_of(ROWS)
    raw = Shapley(worth=worth)
    assert "values are worths" in raw.lack_of_credit
    assert np.isnan(raw.attribute(journeys).conversions).all()
    result = Shapley(worth=worth, scale="total").attribute(journeys)
    assert result.conversions.sum() + result.unattributed == pytest.approx(18)
    assert result.values.sum() + result.unattributed_value == pytest.approx(23)
    shares = result.extra["shapley_value"] / result.extra["shapley_value"].sum()
    np.testing.assert_allclose(result.conversions / 13, shares)
    touches = Shapley(worth=worth, scale="total").credit(journeys, result)
    by_channel = np.bincount(journeys.codes, touches, 3)
    np.testing.assert_allclose(by_channel, result.conversions)


@each_worth
def test_parts_and_sampling_agree_with_the_whole(worth):
    model = Shapley(worth=worth)
    whole = model.attribute(journeys_of(ROWS))
    parts = model.attribute([journeys_of(ROWS[:2]), journeys_of(ROWS[2:])])
    values = whole.extra["shapley_value"]
    np.testing.assert_allclose(parts.extra["shapley_value"], values, rtol=1e-9)
    # Up to 3 players sampling goes through all orders.
    sampled = Shapley(worth=worth, method="sampling").attribute(journeys_of(ROWS))
    np.testing.assert_allclose(sampled.extra["shapley_value"], values, rtol=1e-9, atol=1e-15)


def test_by_hand():
    # Odds are 3/2 for a, 1/4 for b and 6 for both. The regression multiplies: odds of nothing are
    # 3/2 x 1/4 / 6 = 1/16, p(empty) = 1/17, and all three sets are fitted exactly.
    rows = [Row(("a",), 42, 28), Row(("b",), 14, 56), Row(("a", "b"), 60, 10)]
    result = Shapley(worth=PLAIN).attribute(as_journeys(rows))
    a, b, both = 0.6 - 1 / 17, 0.2 - 1 / 17, 6 / 7 - 1 / 17
    expected = [(a + both - b) / 2, (b + both - a) / 2]
    # The penalty of 1e-6 moves coefficients by about 1e-4.
    assert result.extra["shapley_value"].tolist() == pytest.approx(expected, abs=1e-4)


def test_sixteen_channels_at_once():
    rng = np.random.default_rng(0)
    names = [f"c{i:02}" for i in range(16)]
    rows = [
        Row(
            tuple(names[i] for i in rng.integers(0, 16, rng.integers(1, 8))),
            int(rng.integers(0, 3)),
            int(rng.integers(1, 9)),
        )
        for _ in range(500)
    ]
    journeys = journeys_of(rows)
    response = HAZARD.response(HAZARD.summarize(journeys))
    worths = response.worths()
    assert len(worths) == 2**16
    for mask in (1, 5, 2**16 - 1, 43690):
        inside = frozenset(name for i, name in enumerate(names) if mask >> i & 1)
        assert worths[mask] == pytest.approx(response(inside), abs=1e-12)


def test_names_tell_the_worth():
    assert Shapley(worth=BaggedLogistic()).name == "shapley(worth=bagged_logistic)"
    assert Shapley(worth=HAZARD).name == "shapley(worth=additive_hazard(half_life='2D'))"
    assert Shapley(worth=HAZARD).kind == "data"


def test_only_models_that_respond_are_worths():
    assert isinstance(PLAIN, Responsive)
    for model in (Linear(), Markov()):
        assert not isinstance(model, Responsive)
        with pytest.raises(InputError, match=rf"worth={model.name} cannot say.*Hint"):
            Shapley(worth=model)


def test_what_the_worth_needs_the_game_needs():
    journeys = as_journeys(ROWS)
    assert "needs the age" in Shapley(worth=HAZARD).unmet(journeys)
    with pytest.raises(InputError, match="needs the age of each touch"):
        Shapley(worth=HAZARD).attribute(journeys)
    refunds = journeys_of([Row(("a",), 1, 1, -5.0)])
    with pytest.raises(InputError, match="negative value"):
        Shapley(worth=PLAIN).attribute(refunds)


@each_worth
def test_the_statistic_of_another_game_is_refused(worth):
    other = Shapley(worth="markov").summarize(journeys_of(ROWS))
    with pytest.raises(InputError, match=r"needs \w+, not PathLevelCounts"):
        Shapley(worth=worth).solve(other)


def test_certain_conversion_leaves_nothing_to_share():
    with (
        pytest.warns(AttributionWarning, match="no journeys without conversion"),
        pytest.raises(InputError, match="All channels together are worth 0"),
    ):
        Shapley(worth=PLAIN).attribute(as_journeys([Row(("a",), 1, 0), Row(("b",), 2, 0)]))
