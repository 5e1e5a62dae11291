"""What every model in `MODELS` promises, whatever it computes."""

import pickle
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, tables

from attribution import (
    MODELS,
    InputError,
    Journeys,
    Markov,
    MarkovPathLevel,
    PositionBased,
    TimeDecay,
)
from attribution.models import AdditiveHazard, BaggedLogistic

# Random tables often have no journey without conversion, or none longer than the order;
# test_markov holds the warnings.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
    "ignore:.*no fit of:attribution.AttributionWarning",
    "ignore:No fit of:attribution.AttributionWarning",
)
ALL = [
    *(model() for model in MODELS.values() if model is not BaggedLogistic),
    BaggedLogistic(n_models=5),  # what is promised does not depend on their number
    BaggedLogistic(sample_share=1, channel_share=1),
    AdditiveHazard(half_life="1D"),
    PositionBased.j_shaped(),
    TimeDecay(half_life="1min"),
    Markov(order=2),
    Markov(order=3),
    MarkovPathLevel(order=2),
]
RULES = [model for model in ALL if model.kind == "rule"]
SEPARABLE = [model for model in ALL if model.separable]
UNTIMED = [model for model in ALL if not model.needs]
BASELINE = [model for model in ALL if isinstance(model, AdditiveHazard | BaggedLogistic)]
NO_BASELINE = [model for model in ALL if model not in BASELINE]
# Counts decide which journeys a sample holds.
UNSAMPLED = [model for model in ALL if model != BaggedLogistic(n_models=5)]
ONE_OUTCOME = ("conversions", "value")

few = settings(max_examples=12)  # for each of the models


def each(models):
    return pytest.mark.parametrize("model", models, ids=lambda model: model.name)


every_model = each(ALL)


def journeys_of(rows):
    return as_journeys(rows, ages=True)


def credit(model, journeys, of="conversions"):
    return model.attribute(journeys).to_frame()[of].to_dict()


def near(expected, rel=1e-9):
    """Equal but for rounding, which is relative to the largest figure, not to each."""
    scale = max([1e-12, *map(abs, expected.values())])
    return pytest.approx(expected, rel=rel, abs=rel * scale)


def baseline_of(result, of="conversions"):
    """The baseline, 0 where the model has none."""
    baseline = result.baseline if of == "conversions" else result.baseline_value
    return 0.0 if baseline is None else baseline


def total(rows, of):
    return sum(getattr(row, of) for row in rows)


SAMPLE = [
    Row(("a", "b", "a", "c"), 3, 2, 30.5, (9, 8, 2, 0)),
    Row(("direct",), 1, 4, 7.0, (1,)),
    Row(("b", "direct"), 2, 1, 11.25, (40, 3)),
    Row((), 2, 1, 5.0),
    Row(("c", "c", "b"), 0, 6, 0.0, (5, 4, 3)),
    Row(("d",), 0, 2, 0.0, (0,)),
]


def test_the_registry_is_keyed_by_the_names_of_its_models():
    assert {name: model.key for name, model in MODELS.items()} == {name: name for name in MODELS}


# --- the outcome is shared out, all of it --------------------------------------------------


@every_model
@few
@given(rows=tables(converting=True))
def test_conserves_conversions_and_value_and_is_never_negative(model, rows):
    result = model.attribute(journeys_of(rows))
    attributed = result.conversions.sum() + baseline_of(result)
    assert attributed + result.unattributed == pytest.approx(total(rows, "conversions"), rel=1e-9)
    attributed = result.values.sum() + baseline_of(result, "value")
    assert attributed + result.unattributed_value == pytest.approx(total(rows, "value"), rel=1e-9)
    assert result.conversions.min() >= 0
    assert result.values.min() >= 0
    assert min(baseline_of(result), baseline_of(result, "value")) >= 0


@every_model
def test_models_with_a_baseline_say_so_for_every_outcome_there_is(model):
    result = model.attribute(journeys_of(SAMPLE))
    has = model in BASELINE
    assert (result.baseline is not None, result.baseline_value is not None) == (has, has)
    bare = model.attribute(as_journeys(SAMPLE, values=False, ages=True))
    assert (bare.baseline is not None, bare.baseline_value) == (has, None)


@each(BASELINE)
@few
@given(rows=tables())
def test_beside_a_baseline_no_journey_is_given_more_than_it_has(model, rows):
    journeys = journeys_of(rows)
    for of in ONE_OUTCOME:
        by_row = np.bincount(journeys.rows, model.credit(journeys, of=of), len(rows))
        most = np.array([getattr(row, of) if row.path else 0.0 for row in rows])
        assert (by_row <= most * (1 + 1e-12)).all()
        rest = (most - by_row).sum()
        assert rest == pytest.approx(baseline_of(model.attribute(journeys), of), abs=1e-9)


@every_model
@few
@given(rows=tables())
def test_credit_of_touches_sums_by_channel(model, rows):
    journeys = journeys_of(rows)
    result = model.attribute(journeys)
    for of in ONE_OUTCOME:
        touches = model.credit(journeys, result, of=of)
        assert touches.shape == journeys.codes.shape
        by_channel = np.bincount(journeys.codes, touches, len(journeys.channels))
        expected = result.to_frame()[of].to_numpy()
        np.testing.assert_allclose(by_channel, expected, rtol=1e-9, atol=1e-9 * total(rows, of))


@each(SEPARABLE)
@few
@given(rows=tables())
def test_credit_of_touches_sums_to_the_outcome_of_each_journey(model, rows):
    for of in ONE_OUTCOME:
        journeys = journeys_of(rows)
        touches = model.credit(journeys, of=of)
        by_row = np.bincount(journeys.rows, touches, len(rows))
        expected = [getattr(row, of) if row.path else 0.0 for row in rows]
        np.testing.assert_allclose(by_row, expected, rtol=1e-12)


@every_model
def test_rows_without_touches_are_unattributed_and_change_no_credit(model):
    with_touches = [row for row in SAMPLE if row.path]
    result = model.attribute(journeys_of(SAMPLE))
    assert (result.unattributed, result.unattributed_value) == (2, 5)
    for of in ONE_OUTCOME:
        assert credit(model, journeys_of(SAMPLE), of) == credit(
            model, journeys_of(with_touches), of
        )


@every_model
def test_only_rows_without_touches_leave_everything_unattributed(model):
    result = model.attribute(journeys_of([Row((), 2, 1, 5.0)]))
    assert (result.unattributed, result.unattributed_value) == (2, 5)
    assert len(result.channels) == len(result.conversions) == len(result.to_frame()) == 0
    assert all(len(column) == 0 for column in result.extra.values())


# --- simple journeys have one answer -------------------------------------------------------


@each(NO_BASELINE)
def test_journeys_of_one_touch_give_it_all(model):
    rows = [Row(("a",), 3, 2, 9.0), Row(("b",), 1, 5, 4.0), Row(("c",), 0, 1)]
    assert credit(model, journeys_of(rows)) == near({"a": 3, "b": 1, "c": 0})
    assert credit(model, journeys_of(rows), "value") == near({"a": 9, "b": 4, "c": 0})


@each(NO_BASELINE)
def test_one_channel_gets_all_however_often_it_is_touched(model):
    rows = [Row(("a",) * 7, 2, 1, 6.0), Row(("a",), 1, 3, 1.5), Row(("a", "a"), 0, 1)]
    assert credit(model, journeys_of(rows)) == near({"a": 3})
    assert credit(model, journeys_of(rows), "value") == near({"a": 7.5})


@every_model
def test_channels_that_take_turns_in_loops_share_equally(model):
    rows = [Row(("a", "b", "a", "b"), 4, 1, 8.0), Row(("b", "a", "b", "a"), 4, 1, 8.0)]
    result = model.attribute(journeys_of(rows))
    half = (8 - baseline_of(result)) / 2
    assert credit(model, journeys_of(rows)) == near({"a": half, "b": half})
    assert credit(model, journeys_of(rows), "value") == near({"a": 2 * half, "b": 2 * half})


@every_model
def test_no_conversions_give_zero_credit_and_shares_that_are_nan(model):
    frame = model.attribute(journeys_of([Row(("a", "b"), 0, 3), Row(("b",), 0, 1)])).to_frame()
    assert frame["conversions"].tolist() == frame["value"].tolist() == [0, 0]
    assert frame[["conversions_share", "value_share"]].isna().all(axis=None)


@every_model
def test_journeys_without_value_have_none_in_the_result(model):
    result = model.attribute(as_journeys(SAMPLE, values=False, ages=True))
    assert (result.values, result.total_value, result.unattributed_value) == (None, None, None)
    with pytest.raises(InputError, match=r"have no value.*value="):
        model.credit(as_journeys(SAMPLE, values=False, ages=True), of="value")


@every_model
def test_conversions_of_no_value_share_out_no_value(model):
    rows = [Row(("a", "b"), 2, 1, 0.0)]
    assert credit(model, journeys_of(rows), "value") == {"a": 0, "b": 0}
    result = model.attribute(journeys_of(rows))
    assert result.conversions.sum() + baseline_of(result) == pytest.approx(2)


@every_model
def test_a_hundred_channels_in_turn_get_equal_credit(model):
    names = [f"c{i:02}" for i in range(100)]
    rows = [Row(tuple(names[i:] + names[:i]), 1, 1, 2.0) for i in range(100)]
    each = 1 - baseline_of(model.attribute(journeys_of(rows))) / 100
    assert credit(model, journeys_of(rows)) == near(dict.fromkeys(names, each))
    assert credit(model, journeys_of(rows), "value") == near(dict.fromkeys(names, 2 * each))


# --- names, order and grouping do not matter -----------------------------------------------


def sizes_of_channels(rows):
    """Journeys and conversions over each channel, by which samples are drawn."""
    held = {c: [row for row in rows if c in row.path] for row in rows for c in row.path}
    return [
        (sum(row.conversions + row.nulls for row in some), sum(row.conversions for row in some))
        for some in held.values()
    ]


@every_model
@few
@given(rows=tables(), randomness=st.randoms(use_true_random=False))
def test_renaming_channels_renames_the_credit(model, rows, randomness):
    if model not in UNSAMPLED:  # names decide between channels of equal size
        sizes = sizes_of_channels(rows)
        assume(len(set(sizes)) == len(sizes))
    names = sorted({c for row in rows for c in row.path if "irect" not in c})
    new = [f"new {i}" for i in range(len(names))]
    randomness.shuffle(new)
    name = dict(zip(names, new, strict=True))
    renamed = [row._replace(path=tuple(name.get(c, c) for c in row.path)) for row in rows]
    expected = {name.get(c, c): x for c, x in credit(model, journeys_of(rows)).items()}
    assert credit(model, journeys_of(renamed)) == near(expected)


@every_model
@few
@given(rows=tables(), randomness=st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(model, rows, randomness):
    shuffled = randomness.sample(rows, len(rows))
    for of in ONE_OUTCOME:
        assert credit(model, journeys_of(shuffled), of) == near(
            credit(model, journeys_of(rows), of), 1e-11
        )


@each(UNTIMED)
@few
@given(rows=tables())
def test_compressed_journeys_give_the_same(model, rows):
    twice = journeys_of(rows + rows[::2])
    for of in ONE_OUTCOME:
        assert credit(model, twice.compress(), of) == near(credit(model, twice, of), 1e-11)


# --- any split of the rows adds up ---------------------------------------------------------


@every_model
@few
@given(first=tables(), second=tables(names=("b", "x", "direct", "y")))
def test_parts_of_different_channels_add_up_to_the_whole(model, first, second):
    whole = model.attribute(journeys_of(first + second))
    parts = model.attribute([journeys_of(first), journeys_of(second)])
    assert parts.channels == whole.channels
    for of in ONE_OUTCOME:
        expected, got = whole.to_frame()[of], parts.to_frame()[of]
        # 1e-11 is what statistics promise under any partition.
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11 * expected.max())
    assert parts.unattributed == whole.unattributed
    assert parts.total_value == pytest.approx(whole.total_value, rel=1e-11)


@every_model
def test_a_generator_of_one_row_each_is_read_once(model):
    whole = credit(model, journeys_of(SAMPLE))
    assert credit(model, (journeys_of([row]) for row in SAMPLE)) == near(whole, 1e-11)


@every_model
@few
@given(rows=tables(), cut=st.integers(0, 10))
def test_credit_of_chunks_with_the_result_of_the_whole_adds_up(model, rows, cut):
    journeys = journeys_of(rows)
    result = model.attribute(journeys)
    chunks = [journeys_of(part) for part in (rows[:cut], rows[cut:])]
    for of in ONE_OUTCOME:
        joined = np.concatenate([model.credit(chunk, result, of=of) for chunk in chunks])
        whole = model.credit(journeys, result, of=of)
        np.testing.assert_allclose(joined, whole, rtol=1e-11, atol=1e-12)


@every_model
def test_no_parts_at_all_are_an_error(model):
    with pytest.raises(InputError, match="no journeys: the iterable is empty"):
        model.attribute([])


@every_model
def test_summing_statistics_by_hand_is_what_attribute_does(model):
    parts = [journeys_of(SAMPLE[:2]), journeys_of(SAMPLE[2:])]
    by_hand = model.solve(sum(model.summarize(part) for part in parts))
    assert by_hand.equals(model.attribute(parts))


# --- numbers of any size -------------------------------------------------------------------


@each(UNSAMPLED)
@pytest.mark.parametrize("factor", [0.1, 1 / 3, 1e-6, 1e15])
def test_counts_may_be_fractions_or_huge(model, factor):
    rows = [row for row in SAMPLE if row.path]
    scaled = [
        row._replace(
            conversions=row.conversions * factor,
            nulls=row.nulls * factor,
            value=row.value * factor,
        )
        for row in rows
    ]
    for of in ONE_OUTCOME:
        expected = {c: x * factor for c, x in credit(model, journeys_of(rows), of).items()}
        assert credit(model, journeys_of(scaled), of) == near(expected)


@every_model
def test_huge_counts_stay_whole(model):
    rows = [Row(("a", "b"), 10**15 + 1, 1, 1e15), Row(("b",), 1, 10**15)]
    result = model.attribute(journeys_of(rows))
    assert result.total_conversions == 10**15 + 2
    attributed = result.conversions.sum() + baseline_of(result)
    assert attributed == pytest.approx(10**15 + 2, rel=1e-15)


@each(RULES)
def test_rules_share_out_refunds_like_sales(model):
    rows = [Row(("a", "b", "a"), 1, 0, -12.0, (3, 2, 0)), Row(("b",), 1, 1, 2.0)]
    sold = [row._replace(value=-row.value) for row in rows]
    expected = {c: -x for c, x in credit(model, journeys_of(sold), "value").items()}
    assert credit(model, journeys_of(rows), "value") == expected
    assert sum(expected.values()) == pytest.approx(-10)


# --- the same bits every time --------------------------------------------------------------


def many_rows():
    rng = random.Random(7)
    rows = []
    for _ in range(400):
        path = tuple(rng.choice(("a", "b", "c", "direct")) for _ in range(rng.randint(0, 9)))
        ages = tuple(sorted((rng.randint(0, 90) for _ in path), reverse=True))
        rows.append(Row(path, rng.random(), rng.random(), rng.random(), ages))
    return journeys_of(rows)


@every_model
def test_repetition_threads_and_pickles_give_the_same_bits(model):
    journeys = many_rows()
    expected = model.attribute(journeys)
    assert expected.equals(model.attribute(many_rows()))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(model.attribute, [journeys] * 8))
    assert all(expected.equals(result) for result in results)
    model_again, journeys_again = pickle.loads(pickle.dumps((model, journeys)))
    assert expected.equals(model_again.attribute(journeys_again))
    statistic = pickle.loads(pickle.dumps(model.summarize(journeys)))
    assert expected.equals(model.solve(statistic))


@every_model
def test_models_are_frozen_and_equal_by_their_options(model):
    assert pickle.loads(pickle.dumps(model)) == model
    with pytest.raises(AttributeError):
        model.order = 5


@every_model
def test_solve_refuses_the_statistic_of_another_kind(model):
    other = MODELS["markov" if model.kind == "rule" else "linear"]().summarize(journeys_of(SAMPLE))
    with pytest.raises(InputError, match=f"needs .*, not {type(other).__name__}"):
        model.solve(other)


@every_model
@pytest.mark.parametrize("what", ["a > b", 5, ["a > b"], {"path": 1}, list(journeys_of(SAMPLE))])
def test_what_are_no_journeys_is_refused(model, what):
    with pytest.raises(InputError, match=r"Got a \w+, not Journeys. Hint: .*from_paths"):
        model.attribute(what)


@every_model
def test_summarize_and_credit_take_no_stream_and_say_what_does(model):
    parts = [journeys_of(SAMPLE[:2]), journeys_of(SAMPLE[2:])]
    for verb in (model.summarize, model.credit):
        with pytest.raises(InputError, match=r"Got a list.*sum\(map\(model.summarize, parts\)\)"):
            verb(parts)


@every_model
def test_credit_of_an_unknown_outcome_is_refused(model):
    with pytest.raises(InputError, match="of='clicks' is not one of"):
        model.credit(journeys_of(SAMPLE), of="clicks")


@every_model
def test_memory_grows_with_touches_not_with_channels_times_journeys(model):
    n = 5000
    journeys = Journeys(
        channels=tuple(f"c{i:04}" for i in range(n)),
        codes=np.arange(n),
        offsets=np.arange(n + 1),
        conversions=np.ones(n),
        nulls=np.ones(n),
        given_ages=np.zeros(n),
    )
    tracemalloc.start()
    model.summarize(journeys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A table of channels by journeys would take 200 MB.
    assert peak < 40e6
