import copy
import math
import pickle
from collections import defaultdict
from dataclasses import FrozenInstanceError, replace
from functools import partial

import numpy as np
import order_oracle as oracle
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import Chain, Row, as_journeys, tables

from attribution import AttributionWarning, InputError
from attribution.models.walks import sum_of_steps
from attribution.orders import one_standard_error_rule, scores, select_order
from attribution.orders.contexts import counts_of, levels_of
from attribution.orders.folds import Folds, split_counts, split_into_folds
from attribution.orders.scores import (
    area_under_curve,
    brier_score,
    conversion_probability,
    score_orders,
    smoothed,
)

# Random paths are often shorter than the order; the warning has a test of its own.
pytestmark = pytest.mark.filterwarnings(
    "ignore:max_order=. is longer than every path:attribution.AttributionWarning"
)

small = tables(names=("a", "b", "c"), max_rows=8)
max_orders = st.integers(1, 4)


def usable(rows):
    return [row for row in rows if row.path and row.conversions + row.nulls]


@st.composite
def folded_rows(draw):
    """Two or three lists of rows with touches, none empty."""
    n_folds = draw(st.integers(2, 3))
    rows = draw(small.map(usable).filter(lambda rows: len(rows) >= n_folds))
    more = draw(st.lists(st.integers(0, n_folds - 1), min_size=len(rows), max_size=len(rows)))
    assigned = [*range(n_folds), *more][: len(rows)]
    return [[r for r, f in zip(rows, assigned, strict=True) if f == i] for i in range(n_folds)]


def folds_of(rows_by_fold):
    """The folds as the fast code takes them."""
    counts = defaultdict(lambda: np.zeros((2, len(rows_by_fold))))
    for fold, rows in enumerate(rows_by_fold):
        for row in rows:
            counts[row.path][:, fold] += row.conversions, row.nulls
    channels = sorted({channel for path in counts for channel in path})
    table = np.array(list(counts.values()))
    return Folds(
        codes=np.array([channels.index(channel) for path in counts for channel in path]),
        offsets=np.cumsum([0, *map(len, counts)]),
        conversions=table[:, 0],
        nulls=table[:, 1],
        n_channels=len(channels),
    )


def scored(rows_by_fold, max_order):
    folds = folds_of(rows_by_fold)
    return score_orders(folds, levels_of(folds, max_order))


# --- against the formulas in plain Python -----------------------------------------------


@settings(max_examples=150)
@given(rows_by_fold=folded_rows(), max_order=max_orders)
def test_scores_equal_the_formulas_in_plain_python(rows_by_fold, max_order):
    expected = oracle.scores(rows_by_fold, max_order)
    for name, score in scored(rows_by_fold, max_order).items():
        np.testing.assert_allclose(score, expected[name], rtol=1e-10, atol=1e-11, err_msg=name)


def test_two_equal_journeys_by_hand():
    journey = [Row(("a",), 1, 0)]
    # Three symbols. p_0(conversion) = 1/2 * 1/2 + 1/2 * 1/3 = 5/12; the touch is certain. After a
    # (n = t = 1) p_1 = 1/2 + 1/2 * 5/12 and after start and a p_2 = 1/2 + 1/2 * 17/24.
    fit = scored([journey, journey], 3)["log_likelihood"]
    expected = np.log([17 / 24, 41 / 48, 41 / 48])
    np.testing.assert_allclose(fit, [expected, expected], rtol=1e-14)


def test_forecasts_by_hand():
    train = [Row(("a",), 1, 0), Row(("b",), 1, 3)]
    # Base rate 2/5. Before the end a is seen once with one outcome, b 4 times with two.
    a, b = 1 / 2 * 1 + 1 / 2 * 2 / 5, 2 / 3 * 1 / 4 + 1 / 3 * 2 / 5
    brier = scored([[Row(("a",), 0, 1), Row(("b",), 1, 0)], train], 1)["brier"]
    assert brier[0, 0] == pytest.approx((a**2 + (1 - b) ** 2) / 2)


@given(rows=small.map(usable).filter(bool), max_order=max_orders)
def test_probabilities_of_all_that_can_follow_a_context_add_up_to_1(rows, max_order):
    channels = sorted({channel for row in rows for channel in row.path})
    prefixes = {row.path[:j] for row in rows for j in range(len(row.path) + 1)}
    anything = [Row((*prefix, c), 1, 1) for prefix in sorted(prefixes) for c in channels]
    anything += [Row(prefix, 1, 1) for prefix in sorted(prefixes) if prefix]
    folds = folds_of([rows, anything])
    levels = levels_of(folds, max_order)
    train = counts_of(folds, levels, np.array([True, False]))
    fitted = smoothed(levels, train, len(channels))
    for level, probability in zip(levels, fitted, strict=True):
        possible = np.bincount(level.context)
        total = np.bincount(level.context, probability)
        assert possible[0] == len(channels)
        whole = possible == len(channels) + 2
        whole[0] = True
        assert whole.sum() >= len({oracle.context(prefix, level.order) for prefix in prefixes})
        np.testing.assert_allclose(total[whole], 1, rtol=1e-13)


@given(rows=small.map(usable).filter(bool), max_order=max_orders)
def test_number_of_states_is_that_of_the_chain(rows, max_order):
    levels = levels_of(folds_of([rows]), max_order)
    assert [level.n_states for level in levels] == [
        len(Chain(rows, order).states) for order in range(1, max_order + 1)
    ]


# --- the chain that forecasts ------------------------------------------------------------


def solved_directly(level, count, n_channels):
    """P(conversion before null) from every context with journeys, by one dense solve."""
    n = len(level.fresh)
    left = np.bincount(level.context, count, n)
    step, convert = np.zeros((n, n)), np.zeros(n)
    events = zip(level.context, level.symbol, level.target, count, strict=True)
    for context, symbol, target, times in events:
        if symbol == n_channels:
            convert[context] += times / left[context] if times else 0.0
        elif symbol < n_channels:
            step[context, target] += times / left[context] if times else 0.0
    return np.linalg.solve(np.eye(n) - step, convert)[left > 0], left > 0


@given(rows=small.map(usable).filter(bool), order=max_orders)
def test_probability_to_convert_is_that_of_a_direct_solve(rows, order):
    folds = folds_of([rows])
    level = levels_of(folds, order)[-1]
    (count,) = counts_of(folds, [level], np.array([True]))
    expected, known = solved_directly(level, count, folds.n_channels)
    walked = conversion_probability(level, count, folds.n_channels)[known]
    # Steps end when 1e-12 is left, which a context of these paths is visited some times at most.
    np.testing.assert_allclose(walked, expected, rtol=0, atol=1e-10)


def test_chain_that_does_not_end_in_the_steps_allowed_is_said_to_be_uncertain(monkeypatch):
    monkeypatch.setattr(scores, "sum_of_steps", partial(sum_of_steps, max_steps=12))
    journeys = as_journeys([Row(("a", "b", "c") * 200, 4, 4), Row(("b", "c", "a") * 200, 4, 4)])
    with pytest.warns(AttributionWarning, match=r"order 1 are uncertain.*16 steps.*Hint"):
        select_order(journeys, 1, n_folds=2)


def test_repeated_touches_take_no_steps(monkeypatch):
    monkeypatch.setattr(scores, "sum_of_steps", partial(sum_of_steps, max_steps=12))
    journeys = as_journeys([Row(("a",) * 3000 + ("b",), 6, 0), Row(("a",), 0, 6)])
    frame = select_order(journeys, 1).to_frame()  # without a warning
    assert frame["brier"].notna().all()


# --- AUC and Brier score -----------------------------------------------------------------

counts = st.integers(0, 3)
forecast_tables = st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.9]), counts, counts))


@given(table=forecast_tables)
def test_auc_and_brier_score_equal_their_definitions_over_pairs_and_journeys(table):
    columns = list(zip(*table, strict=True)) or [(), (), ()]
    arrays = [np.array(column, dtype=float) for column in columns]
    for name in ("area_under_curve", "brier_score"):
        expected = getattr(oracle, name)(*columns)
        assert getattr(scores, name)(*arrays) == pytest.approx(expected, nan_ok=True), name


def test_published_auc_and_brier_score():
    # The examples of roc_auc_score and brier_score_loss in the documentation of scikit-learn.
    ones = np.array([0.0, 0, 1, 1])
    assert area_under_curve(np.array([0.1, 0.4, 0.35, 0.8]), ones, 1 - ones) == 0.75
    happened = np.array([0.0, 1, 1, 0])
    forecast = np.array([0.1, 0.9, 0.8, 0.3])
    assert brier_score(forecast, happened, 1 - happened) == pytest.approx(0.0375)


def test_forecasts_that_differ_by_rounding_tie():
    forecast = np.array([0.3, 0.1 + 0.2])
    assert forecast[0] != forecast[1]
    assert area_under_curve(forecast, np.array([1.0, 0]), np.array([0.0, 1])) == 0.5


# --- the order that made the data ----------------------------------------------------------


def simulated(order, n_rows=3000, seed=1):
    """Journeys over a, b, c that go on as `order` touches ago had it, and convert after a."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        path = list(rng.choice(list("abc"), order))
        while rng.random() < 0.8:
            path.append(path[-order] if rng.random() < 0.7 else str(rng.choice(list("abc"))))
        converts = rng.random() < (0.7 if path[-1] == "a" else 0.1)
        rows.append(Row(tuple(map(str, path)), int(converts), int(not converts)))
    return as_journeys(rows)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_that_made_the_data_is_chosen(order):
    selection = select_order(simulated(order), 4)
    assert selection.best == order
    fit = selection.to_frame()["log_likelihood"]
    assert fit.idxmax() == order


def test_conversion_that_rests_on_two_touches_is_forecast_better_at_order_2():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(3000):
        path = tuple(map(str, rng.choice(list("ab"), 2)))
        converts = rng.random() < (0.8 if path[0] == path[1] else 0.2)
        rows.append(Row(path, int(converts), int(not converts)))
    frame = select_order(as_journeys(rows), 2).to_frame()
    assert frame.loc[1, "auc"] == pytest.approx(0.5, abs=0.04)
    # The best forecast is 0.8 or 0.2: AUC 0.8 (pairs 0.64 right, 0.32 tied), Brier score 0.16.
    assert frame.loc[2, "auc"] == pytest.approx(0.8, abs=0.03)
    assert frame.loc[2, "brier"] == pytest.approx(0.16, abs=0.02)


@pytest.mark.parametrize(
    ("mean", "error", "best"),
    [
        ([-3.0, -2.05, -2.0], [0.1, 0.1, 0.1], 2),
        ([-3.0, -2.05, -2.0], [0.1, 0.1, 0.01], 3),
        ([-3.0, -2.05, -2.0], [2.0, 2.0, 0.01], 3),
        ([-2.0, -2.0, -3.0], [0.0, 0.0, 0.0], 1),
        ([-2.0, -2.5, -3.0], [0.7, 0.0, 0.0], 1),
        ([-2.5, -2.6, -2.0], [0.0, 0.0, 0.5], 1),
    ],
)
def test_one_standard_error_rule_by_hand(mean, error, best):
    assert one_standard_error_rule(np.array(mean), np.array(error)) == best


def test_table_holds_means_and_standard_errors_over_folds():
    journeys = simulated(1, 200)
    folds = split_into_folds(journeys, 4, 7)
    scores = score_orders(folds, levels_of(folds, 2))
    selection = select_order(journeys, 2, n_folds=4, random_state=7)
    frame = selection.to_frame()
    for name, score in scores.items():
        of_folds = pd.DataFrame(score, columns=frame.index)
        assert not of_folds.isna().any(axis=None)
        pd.testing.assert_series_equal(frame[name], of_folds.mean(), check_names=False)
        error = of_folds.std() / 2
        pd.testing.assert_series_equal(frame[f"{name}_se"], error, check_names=False)
    assert frame.index.tolist() == [1, 2]
    assert frame.index.name == "order"
    weight = (journeys.conversions + journeys.nulls)[journeys.lengths >= 2]
    assert selection.n_forecast == weight.sum()


# --- folds ---------------------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(0, 400).map(lambda quarters: quarters / 4), min_size=1),
    n_folds=st.integers(2, 6),
)
def test_no_journey_is_lost_or_cut_when_counts_are_split(counts, n_folds):
    parts = split_counts(np.array(counts), n_folds, np.random.default_rng(0))
    assert parts.shape == (len(counts), n_folds)
    assert (parts >= 0).all()
    assert parts.sum(axis=1).tolist() == counts
    cut = (parts % 1 > 0).sum(axis=1)
    assert cut.tolist() == [int(count % 1 > 0) for count in counts]


def test_every_journey_of_a_count_goes_to_each_fold_alike():
    (parts,) = split_counts(np.array([100_000.0]), 5, np.random.default_rng(0))
    # Five standard deviations of a binomial count.
    np.testing.assert_allclose(parts, 20_000, atol=5 * math.sqrt(100_000 * 0.2 * 0.8))
    assert len(set(parts)) > 1


def test_all_journeys_of_a_user_are_in_one_fold_and_folds_hold_as_many_users():
    # Each user has a channel of his own and four journeys, one of them twice.
    rows = [Row((f"u{u:02d}",) * n, n % 2, (n + 1) % 3) for n in (1, 2, 3, 2) for u in range(23)]
    users = np.array([u * 1000 for _ in range(4) for u in range(23)])
    folds = split_into_folds(replace(as_journeys(rows), users=users), 5, 0)
    total = folds.conversions + folds.nulls
    user = folds.codes[folds.offsets[:-1]]
    per_user = np.array([(total[user == u].sum(axis=0) > 0) for u in range(23)])
    assert per_user.sum(axis=1).tolist() == [1] * 23
    assert sorted(per_user.sum(axis=0)) == [4, 4, 5, 5, 5]
    assert total.sum() == sum(row.conversions + row.nulls for row in rows)


@given(rows=small, users=st.booleans(), seed=st.integers(0, 5))
def test_folds_hold_every_journey_with_touches(rows, users, seed):
    rows = [*rows, Row(("a",), 40, 40), Row(("b",), 1, 1)]
    journeys = as_journeys(rows)
    if users:
        journeys = replace(journeys, users=np.arange(len(rows)) % 2)
    folds = split_into_folds(journeys, 2, seed)
    cuts = folds.offsets
    names = [journeys.channels[code] for code in folds.codes]
    paths = [tuple(names[cuts[i] : cuts[i + 1]]) for i in range(len(cuts) - 1)]
    for kind in ("conversions", "nulls"):
        held = dict(zip(paths, getattr(folds, kind).sum(axis=1), strict=True))
        expected = {row.path: 0 for row in usable(rows)}
        for row in usable(rows):
            expected[row.path] += getattr(row, kind)
        assert held == expected


def tenths(journeys):
    """The journeys with fractional counts, whose sums depend on the order of adding."""
    return replace(journeys, conversions=journeys.conversions * 0.1, nulls=journeys.nulls * 0.1)


@given(data=st.data(), by_user=st.booleans())
def test_order_of_rows_changes_no_bit(data, by_user):
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    rows = [*data.draw(small), *(Row(("a", "b"), n, 4 - n) for n in (1, 2, 3)), Row(("a",), 500, 9)]
    rows += [Row(("b", "c"), 7, 1), Row(("c",), 5, 1)]
    journeys = tenths(as_journeys(rows))
    if by_user:
        users = [user % 3 for user in range(len(rows) - 6)] + [0, 0, 0, 1, 2, 0]
        journeys = replace(journeys, users=np.array(users))
    shuffled = journeys.select(np.array(data.draw(st.permutations(range(len(rows))))))
    options = {"max_order": 2, "n_folds": 3}
    assert select_order(shuffled, **options).equals(select_order(journeys, **options))


def test_rows_with_counts_are_as_good_as_single_journeys():
    rows = [Row(("a", "b"), 9, 6), Row(("b",), 3, 12), Row(("b", "a", "a"), 5, 5)]
    singles = [Row(r.path, 1, 0) for r in rows for _ in range(r.conversions)]
    singles += [Row(r.path, 0, 1) for r in rows for _ in range(r.nulls)]
    whole = select_order(as_journeys(rows), 2)
    assert select_order(as_journeys(singles), 2).equals(whole)


def test_rows_without_touches_and_rows_without_journeys_change_nothing():
    rows = [Row(("a", "b"), 20, 20), Row(("b",), 10, 30)]
    more = [*rows, Row((), 50, 50), Row(("a", "a", "b"), 0, 0)]
    assert select_order(as_journeys(more), 2).equals(select_order(as_journeys(rows), 2))


@pytest.mark.parametrize("by_user", [False, True])
def test_seed_makes_the_folds(by_user):
    journeys = simulated(1, 100)
    if by_user:
        journeys = replace(journeys, users=np.arange(100))
    first = select_order(journeys, 2)
    assert first.equals(select_order(journeys, 2, random_state=0))
    assert not first.equals(select_order(journeys, 2, random_state=1))


# --- guards and what is returned ---------------------------------------------------------


@pytest.mark.parametrize("name", ["max_order", "n_folds"])
@pytest.mark.parametrize("number", [0, -1, 2.0, 1.5, True, "2", None])
def test_options_are_whole_numbers(name, number):
    with pytest.raises(InputError, match=rf"{name}=.* is not a whole number of at least \d. Hint"):
        select_order(as_journeys([Row(("a",), 9, 9)]), **{name: number})


def test_one_fold_is_refused():
    with pytest.raises(InputError, match=r"n_folds=1 is not a whole number of at least 2\. Hint"):
        select_order(as_journeys([Row(("a",), 9, 9)]), n_folds=1)


@pytest.mark.parametrize("seed", [-1, "today", 1.5])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(InputError, match=rf"random_state={seed!r} is no seed. Hint"):
        select_order(as_journeys([Row(("a",), 9, 9)]), random_state=seed)


def test_numpy_integers_are_whole_numbers():
    journeys = as_journeys([Row(("a", "b"), 9, 9)])
    chosen = select_order(journeys, np.int64(2), n_folds=np.int32(2))
    assert chosen.equals(select_order(journeys, 2, n_folds=2))


def test_a_table_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"needs Journeys, not DataFrame. Hint: .*from_paths"):
        select_order(pd.DataFrame({"path": ["a"]}))


@pytest.mark.parametrize("rows", [[], [Row((), 5, 5)], [Row(("a",), 0, 0)]])
def test_no_journey_with_touches_is_an_error(rows):
    with pytest.raises(InputError, match=r"no journeys with touches.*Hint"):
        select_order(as_journeys(rows))


def test_fewer_journeys_than_folds_are_an_error():
    with pytest.raises(InputError, match=r"n_folds=5 leaves \d without any of the 3 journeys"):
        select_order(as_journeys([Row(("a",), 2, 1), Row((), 90, 9)]), 1)


def test_fewer_users_than_folds_are_an_error():
    rows = [Row(("a",), 9, 9)] * 6
    journeys = replace(as_journeys(rows), users=np.array([1, 2, 3, 1, 2, 3]))
    with pytest.raises(InputError, match="n_folds=5 leaves 2 without any of the 3 users"):
        select_order(journeys, 1)


@pytest.mark.parametrize("counts", [(60, 0), (0, 60)])
def test_without_both_outcomes_there_is_a_fit_and_no_forecast_to_judge(counts):
    journeys = as_journeys([Row(("a", "b"), *counts), Row(("b", "b"), *counts)])
    frame = select_order(journeys, 2).to_frame()
    assert np.isfinite(frame["log_likelihood"]).all()
    assert frame[["auc", "auc_se", "brier", "brier_se"]].isna().all(axis=None)


def test_fold_of_one_outcome_has_a_brier_score_and_no_auc():
    scores = scored([[Row(("a",), 2, 0)], [Row(("a",), 1, 1)]], 1)
    assert np.isnan(scores["auc"]).tolist() == [[True], [False]]
    assert not np.isnan(scores["brier"]).any()


def test_order_longer_than_every_path_works_and_says_so():
    journeys = as_journeys([Row(("a", "b"), 30, 20), Row(("b",), 5, 30)])
    with pytest.warns(AttributionWarning, match=r"max_order=6.*at most 2.*Hint: max_order=2") as w:
        selection = select_order(journeys, 6)
    assert w[0].filename == __file__
    frame = selection.to_frame()
    assert frame[["auc", "brier"]].isna().all(axis=None)
    assert selection.n_forecast == 0
    # Order 3 still tells "a, b" at the start from "a, b" anywhere; from there on nothing is new.
    fit = frame["log_likelihood"]
    assert fit.loc[3:].tolist() == pytest.approx([fit[3]] * 4, rel=1e-14)
    assert fit[2] != pytest.approx(fit[3], rel=1e-6)
    assert np.isfinite(frame["log_likelihood"]).all()


def test_result_says_which_order_is_chosen_and_why():
    selection = select_order(simulated(2, 500), 3)
    text, page = repr(selection), selection._repr_html_()
    for each in (text, page):
        assert "Order 2 is the lowest whose log-likelihood" in each
        assert "within one standard error" in each
        assert "5 folds" in each
        assert "after their first 3 touches" in each
        assert "A better fit is not a truer effect." in each
    assert text.startswith("<OrderSelection: order 2>\n")
    assert "<table" in page


def test_result_cannot_be_changed_also_after_a_copy():
    selection = select_order(simulated(1, 100), 2)
    for each in (selection, pickle.loads(pickle.dumps(selection)), copy.deepcopy(selection)):
        assert each.equals(selection)
        with pytest.raises(FrozenInstanceError):
            each.best = 3
        with pytest.raises(ValueError, match="read-only"):
            each.columns["auc"][0] = 1
        with pytest.raises(TypeError):
            each.columns["auc"] = 1
    frame = selection.to_frame()
    frame.loc[1, "auc"] = 7.0
    assert selection.columns["auc"][0] != 7
