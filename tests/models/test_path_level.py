import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, path_level_credit, removal_effects, tables

from attribution import InputError, Markov, MarkovPathLevel
from attribution.models import removals

# Random tables often have no journey without conversion, or none longer than the order;
# test_markov holds the warnings.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)

# Both sides solve a system of at most some tens of well-conditioned equations.
SOLVED = {"rel": 1e-9, "abs": 1e-9}
OUTCOMES = {"conversions": "removal_effect", "value": "removal_effect_value"}
orders = st.integers(1, 3)


@given(rows=tables(), order=orders)
def test_each_journey_is_shared_out_by_the_effects_of_its_own_channels(rows, order):
    result = MarkovPathLevel(order=order).attribute(as_journeys(rows))
    for of, column in OUTCOMES.items():
        assert result.to_frame()[of].to_dict() == pytest.approx(
            path_level_credit(rows, order, of), **SOLVED
        )
        effects = dict(zip(result.channels, result.extra[column].tolist(), strict=True))
        assert effects == pytest.approx(removal_effects(rows, order, of), **SOLVED)


@given(rows=tables(), order=orders)
def test_credit_of_single_touches_is_the_share_of_their_channel_in_equal_parts(rows, order):
    journeys, model = as_journeys(rows), MarkovPathLevel(order=order)
    for of in OUTCOMES:
        effects = removal_effects(rows, order, of)
        expected = []
        for row in rows:
            whole = sum(effects[channel] for channel in set(row.path))
            for channel in row.path:
                outcome = getattr(row, of)
                share = effects[channel] / row.path.count(channel) / whole if outcome else 0.0
                expected.append(outcome * share)
        assert model.credit(journeys, of=of).tolist() == pytest.approx(expected, **SOLVED)


@given(rows=tables(), order=orders)
def test_credit_of_touches_sums_to_the_outcome_of_each_journey(rows, order):
    journeys, model = as_journeys(rows), MarkovPathLevel(order=order)
    for of in OUTCOMES:
        by_row = np.bincount(journeys.rows, model.credit(journeys, of=of), len(rows))
        expected = [getattr(row, of) if row.path else 0 for row in rows]
        np.testing.assert_allclose(by_row, expected, rtol=1e-12)


@given(rows=tables(), order=orders)
def test_no_channel_earns_more_than_the_journeys_it_took_part_in(rows, order):
    frame = MarkovPathLevel(order=order).attribute(as_journeys(rows)).to_frame()
    for of in OUTCOMES:
        for channel, credit in frame[of].items():
            took_part = sum(getattr(row, of) for row in rows if channel in row.path)
            assert 0 <= credit <= took_part * (1 + 1e-12)


def test_globally_a_channel_may_earn_more_than_the_journeys_it_took_part_in():
    # Every journey that converts goes over "hub"; without "a" one of four would be lost.
    rows = [Row(("a", "hub"), 1, 0), Row(("hub",), 3, 0), Row(("b", "hub"), 0, 4)]
    journeys = as_journeys(rows)
    whole, own = (m().attribute(journeys).to_frame() for m in (Markov, MarkovPathLevel))
    # Half of all journeys at the hub convert: a 1/8, b 4/8 of all visits, so 1/8, 1/2 of the yield.
    expected = {"a": 1 / 8, "b": 1 / 2, "hub": 1}
    assert whole["removal_effect"].to_dict() == pytest.approx(expected)
    assert own["removal_effect"].to_dict() == pytest.approx(expected)
    shares = {channel: 4 * effect / (13 / 8) for channel, effect in expected.items()}
    assert whole["conversions"].to_dict() == pytest.approx(shares)
    assert whole.loc["b", "conversions"] > 1  # of the 0 conversions that b took part in
    assert own["conversions"].to_dict() == pytest.approx({"a": 1 / 9, "b": 0, "hub": 3 + 8 / 9})


@given(first=tables(), second=tables(names=("b", "x", "direct", "y")), order=orders)
def test_parts_of_a_stream_agree_with_the_whole(first, second, order):
    model = MarkovPathLevel(order=order)
    parts = [as_journeys(first), as_journeys(second)]
    whole = model.attribute(as_journeys(first + second))
    result = model.attribute(iter(parts))
    assert result.channels == whole.channels
    for of in OUTCOMES:
        np.testing.assert_allclose(
            result.to_frame()[of], whole.to_frame()[of], rtol=1e-11, atol=1e-11
        )
        joined = np.concatenate([model.credit(part, result, of=of) for part in parts])
        by_whole = model.credit(as_journeys(first + second), whole, of=of)
        np.testing.assert_allclose(joined, by_whole, rtol=1e-11, atol=1e-11)


def test_a_chunk_without_the_result_of_the_whole_has_a_chain_of_its_own():
    # By itself the chunk knows a and b alike; the rest says that b is rare.
    chunk, rest = as_journeys([Row(("a", "b"), 2, 1)]), as_journeys([Row(("a",), 4, 1)])
    model = MarkovPathLevel()
    assert model.credit(chunk).tolist() == pytest.approx([1, 1])
    result = model.attribute([chunk, rest])
    # Of 8 visits to a 3 go on to b, of which 2 convert; 4 convert at a: b loses 2 of 6.
    assert result.extra["removal_effect"].tolist() == pytest.approx([1, 1 / 3])
    assert model.credit(chunk, result).tolist() == pytest.approx([3 / 2, 1 / 2])


def test_value_goes_by_effects_on_value():
    # Journeys over x convert as often as those over y, but are worth three times as much.
    rows = [Row(("x", "z"), 1, 1, 3.0), Row(("y", "z"), 1, 1, 1.0), Row(("x",), 1, 0, 3.0)]
    frame = MarkovPathLevel().attribute(as_journeys(rows)).to_frame()
    # z: 2 conversions in 4 visits, worth 4. x: 3 visits, 1 ends worth 3, 2 go on to z.
    assert frame["removal_effect"].to_dict() == pytest.approx({"x": 2 / 3, "y": 1 / 3, "z": 2 / 3})
    value = {"x": (3 + 2) / 7, "y": 2 / 7, "z": 4 / 7}
    assert frame["removal_effect_value"].to_dict() == pytest.approx(value)
    credit = {"x": 3 + 3 * 5 / 9, "y": 1 * 2 / 6, "z": 3 * 4 / 9 + 1 * 4 / 6}
    assert frame["value"].to_dict() == pytest.approx(credit)


def test_solver_and_its_bound_are_said_and_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        Row(tuple(f"c{c}" for c in rng.integers(8, size=rng.integers(1, 9))), i % 3, 1, i % 3)
        for i in range(300)
    ]
    journeys, model = as_journeys(rows), MarkovPathLevel(order=2)
    dense = model.attribute(journeys)
    assert (dense.details["solver"], dense.details["error_bound"]) == ("dense", None)
    monkeypatch.setattr(removals, "ALWAYS_DENSE", 0)
    monkeypatch.setattr(removals, "DENSE_STATES", 0)
    walked = model.attribute(journeys)
    assert walked.details["solver"] == "iterative"
    assert walked.details["error_bound"] <= 1e-10
    np.testing.assert_allclose(walked.conversions, dense.conversions, rtol=1e-10)
    np.testing.assert_allclose(walked.values, dense.values, rtol=1e-10)


def test_rows_without_touches_are_unattributed():
    result = MarkovPathLevel().attribute(as_journeys([Row(("a",), 2, 1, 4.0), Row((), 3, 1, 5.0)]))
    assert (result.conversions.tolist(), result.unattributed) == ([2], 3)
    assert (result.values.tolist(), result.unattributed_value) == ([4], 5)


def test_negative_value_is_refused_with_the_way_out():
    journeys = as_journeys([Row(("a", "b"), 1, 1, -5.0)])
    for use in (MarkovPathLevel().attribute, MarkovPathLevel().summarize):
        with pytest.raises(InputError, match=r"negative value.*Hint: attribute refunds separately"):
            use(journeys)


@pytest.mark.parametrize("order", [0, -1, 1.5, 2.0, True, "2", None])
def test_order_is_a_positive_whole_number(order):
    with pytest.raises(InputError, match=r"order=.* is not a positive whole number. Hint"):
        MarkovPathLevel(order=order)


def test_result_of_the_global_model_is_refused():
    journeys = as_journeys([Row(("a", "b"), 1, 1)])
    with pytest.raises(InputError, match="is of markov, not of markov_path_level"):
        MarkovPathLevel().credit(journeys, Markov().attribute(journeys))


def test_statistic_of_the_global_model_is_refused():
    journeys = as_journeys([Row(("a", "b"), 1, 1)])
    with pytest.raises(InputError, match="needs PathLevelCounts, not TransitionCounts"):
        MarkovPathLevel().solve(Markov().summarize(journeys))
