import numpy as np
import pytest
from hypothesis import given
from model_oracles import Row, as_journeys, journeys_that_hold, probabilistic_credit, tables

from attribution import InputError
from attribution.models import Linear, Probabilistic, probabilistic

pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
)
EXACT = {"rel": 1e-12, "abs": 1e-12}  # the oracle adds fractions


@given(rows=tables())
def test_credit_is_that_of_the_definition(rows):
    frame = Probabilistic().attribute(as_journeys(rows)).to_frame()
    for of in ("conversions", "value"):
        expected = {c: float(x) for c, x in probabilistic_credit(rows, of).items()}
        assert frame[of].to_dict() == pytest.approx(expected, **EXACT)


@given(rows=tables())
def test_rates_are_those_of_the_journeys_that_hold_the_channel(rows):
    frame = Probabilistic().attribute(as_journeys(rows)).to_frame()
    for channel, rate in frame["conversion_rate"].items():
        converting, journeys = journeys_that_hold(rows, channel)
        assert rate == pytest.approx(float(converting / journeys) if journeys else np.nan, nan_ok=1)


def test_by_hand():
    rows = [Row(("a",), 1, 9, 2.0), Row(("b",), 1, 3, 3.0), Row(("a", "b", "a"), 6, 4, 12.0)]
    # P(a) = 7/20, P(b) = 7/14, P(a,b) = 6/10; half of 0.6 - 0.35 - 0.5 = -0.25 to either side:
    # C(a) = 0.225, C(b) = 0.375, shares 3/8 and 5/8.
    result = Probabilistic().attribute(as_journeys(rows))
    assert result.conversions.tolist() == pytest.approx([1 + 6 * 3 / 8, 1 + 6 * 5 / 8])
    assert result.values.tolist() == pytest.approx([2 + 12 * 3 / 8, 3 + 12 * 5 / 8])
    touches = Probabilistic().credit(as_journeys(rows))
    assert touches.tolist() == pytest.approx([1, 1, 9 / 8, 15 / 4, 9 / 8])


def test_a_negative_contribution_counts_as_nothing():
    rows = [Row(("b",), 81, 1), Row(("a", "b"), 9, 9), Row(("a",), 0, 82)]
    result = Probabilistic().attribute(as_journeys(rows))
    assert result.extra["conversion_rate"].tolist() == pytest.approx([0.09, 0.9])
    # P(a,b) = 1/2, so C(a) = 0.09 + (0.5 - 0.99) / 2 = -0.155 and C(b) = 0.655.
    assert result.conversions.tolist() == pytest.approx([0, 90])


@given(first=tables(), second=tables(names=("b", "x", "direct", "y")))
def test_pairs_in_blocks_give_the_same(first, second):
    journeys = as_journeys(first + second)
    whole = Probabilistic().attribute(journeys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probabilistic, "PAIRS_AT_ONCE", 3)
        blocks = Probabilistic().attribute(journeys)
    np.testing.assert_allclose(blocks.conversions, whole.conversions, rtol=1e-12, atol=1e-15)


def test_the_result_read_from_json_still_shares_out_journeys():
    journeys = as_journeys([Row(("a", "b"), 2, 1), Row(("b", "c"), 1, 4), Row(("c",), 0, 1)])
    result = Probabilistic().attribute(journeys)
    again = type(result).from_json(result.to_json())
    expected = Probabilistic().credit(journeys)
    assert Probabilistic().credit(journeys, again).tolist() == expected.tolist()


def test_another_statistic_is_refused():
    with pytest.raises(InputError, match="needs CoalitionCounts, not ChannelCredit"):
        Probabilistic().solve(Linear().summarize(as_journeys([Row(("a",), 1, 1)])))
