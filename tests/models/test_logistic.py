import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import Row, all_subsets, as_journeys, channels_of, tables
from sklearn.linear_model import LogisticRegression

from attribution import MODELS, AttributionWarning, InputError, MissingDependencyError, compare
from attribution.models import BaggedLogistic, Linear, logistic
from attribution.models.logistic import drawn_journeys, intercept_of
from attribution.predictive import predictive_checks
from attribution.simulate import simulate

pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:.*no fit of:attribution.AttributionWarning",
    "ignore:No fit of:attribution.AttributionWarning",
)
PLAIN = BaggedLogistic(sample_share=1, channel_share=1)
few = settings(max_examples=25)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def unrolled(rows):
    """Presence of channels and outcome of each single journey."""
    channels = channels_of(rows)
    presence, outcome = [], []
    for row in rows:
        if row.path:
            for y, count in ((1, row.conversions), (0, row.nulls)):
                presence += [[c in row.path for c in channels]] * count
                outcome += [y] * count
    return np.array(presence, dtype=float).reshape(len(outcome), len(channels)), np.array(outcome)


def shared_out(rows, coefficients, intercept, of="conversions"):
    """Credit by channel, and of the baseline under None, one journey after the other."""
    credit = dict.fromkeys([*channels_of(rows), None], 0.0)
    for row in rows:
        if not row.path or not getattr(row, of):
            continue
        channels = set(row.path)
        positive = {c: max(coefficients[c], 0.0) for c in channels}
        rate = sigmoid(intercept + sum(coefficients[c] for c in channels))
        whole = sum(positive.values())
        baseline = min(1.0, sigmoid(intercept) / rate) if whole else 1.0
        credit[None] += getattr(row, of) * baseline
        for c in channels if whole else ():
            credit[c] += getattr(row, of) * (1 - baseline) * positive[c] / whole
    return credit


def learned(result):
    names = result.channels
    return dict(zip(names, result.extra["coefficient"].tolist(), strict=True))


# --- the plain regression ------------------------------------------------------------------


@few
@given(rows=tables())
def test_all_channels_and_all_journeys_give_the_plain_regression(rows):
    presence, outcome = unrolled(rows)
    if len(set(outcome.tolist())) < 2:
        return
    result = PLAIN.attribute(as_journeys(rows))
    got = np.array([result.details["intercept"], *result.extra["coefficient"]])
    # The solution of the equations that define the minimum, on single journeys.
    rate = sigmoid(got[0] + presence @ got[1:])
    slope = presence.T @ (rate - outcome) / len(outcome) + PLAIN.penalty * got[1:]
    varies = np.ptp(presence, axis=0) > 0
    assert np.abs(slope[varies]).max(initial=0) < 1e-9
    assert (rate - outcome).mean() == pytest.approx(0, abs=1e-9)
    assert (got[1:][~varies] == 0).all()


def test_agrees_with_scikit_learn_on_single_journeys():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(200):
        path = tuple("abcd"[i] for i in np.flatnonzero(rng.random(4) < 0.5))
        if path:
            yes = int(rng.random() < sigmoid(-1 + ("a" in path) - 0.5 * ("b" in path)))
            rows.append(Row(path, yes, 1 - yes))
    presence, outcome = unrolled(rows)
    # Summed, not mean, loss: the penalty is per journey.
    plain = LogisticRegression(C=1 / (PLAIN.penalty * len(outcome)), tol=1e-12, max_iter=10_000)
    plain.fit(presence, outcome)
    result = PLAIN.attribute(as_journeys(rows))
    # lbfgs stops some 1e-6 before the minimum.
    np.testing.assert_allclose(result.extra["coefficient"], plain.coef_[0], atol=1e-4)
    assert result.details["intercept"] == pytest.approx(plain.intercept_[0], abs=1e-4)


@few
@given(rows=tables())
def test_credit_is_what_the_coefficients_say(rows):
    for model in (PLAIN, BaggedLogistic(n_models=3)):
        result = model.attribute(as_journeys(rows))
        if result.details["intercept"] is None:
            assert not result.conversions.any()
            continue
        for of in ("conversions", "value"):
            expected = shared_out(rows, learned(result), result.details["intercept"], of)
            baseline = result.baseline if of == "conversions" else result.baseline_value
            assert baseline == pytest.approx(expected.pop(None), rel=1e-9, abs=1e-9)
            assert result.to_frame()[of].to_dict() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_by_hand():
    # Odds 3 with a, 1/3 without: the intercept is -log 3, a has 2 log 3, b and c nothing.
    rows = [Row(("a", "b", "a"), 9, 3, 18.0), Row(("a",), 9, 3, 9.0)]
    rows += [Row(("b",), 3, 9, 6.0), Row(("c",), 3, 9, 3.0)]
    result = PLAIN.attribute(as_journeys(rows))
    # The penalty of 1e-6 moves coefficients by about 1e-5.
    assert result.details["intercept"] == pytest.approx(-np.log(3), abs=1e-4)
    assert result.extra["coefficient"].tolist() == pytest.approx([2 * np.log(3), 0, 0], abs=1e-4)
    # p(empty) / p(a) = (1/4) / (3/4): a third of 18 conversions, worth 27, is baseline.
    assert result.conversions.tolist() == pytest.approx([12, 0, 0], abs=1e-3)
    assert (result.baseline, result.baseline_value) == pytest.approx((12, 18), abs=1e-3)
    touches = PLAIN.credit(as_journeys(rows))
    assert touches.tolist() == pytest.approx([3, 0, 3, 6, 0, 0], abs=1e-3)


def test_a_channel_that_puts_off_takes_nothing_and_can_make_all_baseline():
    rows = [Row(("a",), 1, 9), Row(("b",), 9, 1), Row(("a", "b"), 5, 5)]
    result = PLAIN.attribute(as_journeys(rows))
    # Log-odds -log 9, log 9 and 0: intercept 0 fits all three.
    assert result.extra["coefficient"].tolist() == pytest.approx([-np.log(9), np.log(9)], abs=1e-4)
    # a alone does worse than nobody; of a > b, p(empty) / p(S) = 1. b: 9 (1 - 0.5 / 0.9) = 4.
    assert result.conversions.tolist() == pytest.approx([0, 4], abs=1e-3)
    assert result.baseline == pytest.approx(11, abs=1e-3)


@pytest.mark.parametrize(("yes", "no"), [(3, 0), (0, 3)])
def test_one_outcome_alone_teaches_nothing(yes, no):
    rows = [Row(("a",), yes, no), Row(("a", "b"), 2 * yes, no)]
    model, journeys = BaggedLogistic(), as_journeys(rows)
    result = model.attribute(journeys)
    assert not result.conversions.any()
    assert (result.baseline, result.details["intercept"]) == (3 * yes, None)
    predicted = model.predict(model.summarize(journeys), journeys)
    assert predicted.tolist() == [float(yes > 0)] * 2


# --- bagging -------------------------------------------------------------------------------


def test_a_coefficient_is_the_mean_over_the_fits_that_hold_the_channel():
    rows = [Row(("a",), 3, 5), Row(("b",), 2, 9), Row(("a", "b"), 7, 4)]
    sets = BaggedLogistic(channel_share=0.5, sample_share=1, n_models=40)
    result = sets.attribute(as_journeys(rows))
    # Alone in a fit, a is the difference of log-odds with and without it, and so is b.
    alone = [np.log(10 / 9) - np.log(2 / 9), np.log(9 / 13) - np.log(3 / 5)]
    assert result.extra["coefficient"].tolist() == pytest.approx(alone, abs=1e-4)


def test_expected_conversions_are_those_observed():
    rows = [Row(("a",), 3, 5), Row(("b",), 2, 9), Row(("a", "b"), 7, 4), Row(("c",), 1, 7)]
    model, journeys = BaggedLogistic(n_models=10), as_journeys(rows)
    rates = model.predict(model.summarize(journeys), journeys)
    assert rates @ (journeys.conversions + journeys.nulls) == pytest.approx(13, rel=1e-12)


def test_more_fits_wander_less():
    rows = [Row(("a",), 30, 50), Row(("b",), 20, 90), Row(("a", "b", "c"), 70, 40)]
    rows += [Row(("c",), 10, 70), Row(("b", "c"), 9, 30)]

    def spread(n_models):
        results = [
            BaggedLogistic(n_models=n_models, random_state=seed).attribute(as_journeys(rows))
            for seed in range(12)
        ]
        return np.std([result.extra["coefficient"] for result in results], axis=0)

    # Nine times as many fits: a third of the spread; 12 seeds tell it to about a fifth.
    assert (spread(45) < 0.7 * spread(5)).all()


def test_seeds_say_what_is_drawn():
    journeys = as_journeys([Row(("a",), 30, 50), Row(("b",), 20, 90), Row(("a", "b"), 7, 40)])
    first = BaggedLogistic(n_models=5).attribute(journeys)
    assert first.equals(BaggedLogistic(n_models=5).attribute(journeys))
    other = BaggedLogistic(n_models=5, random_state=1).attribute(journeys)
    assert other.extra["coefficient"].tolist() != first.extra["coefficient"].tolist()


@given(count=st.floats(0, 1e6), share=st.floats(0.01, 0.99))
def test_drawn_journeys_lie_between_none_and_all(count, share):
    drawn = drawn_journeys(np.full(50, count), share, np.random.default_rng(0))
    rest = share * (count - np.floor(count))
    assert (drawn >= rest - 1e-9).all()
    assert (drawn <= count + 1e-9).all()
    mean, deviation = share * count, np.sqrt(share * (1 - share) * np.floor(count) / 50)
    assert drawn.mean() == pytest.approx(mean, abs=6 * deviation + 1e-9)


@given(
    odds=st.lists(st.floats(-30, 30), min_size=1, max_size=6),
    rate=st.floats(1e-9, 1 - 1e-9),
)
def test_the_intercept_gives_the_rate(odds, rate):
    odds = np.array(odds)
    weights = np.full(len(odds), 1 / len(odds))
    mean = weights @ sigmoid(intercept_of(odds, weights, rate) + odds)
    assert mean == pytest.approx(rate, rel=1e-9)


# --- prediction and response ---------------------------------------------------------------


def test_predictions_follow_the_fit_and_let_unknown_channels_pass():
    model = PLAIN
    statistic = model.summarize(as_journeys([Row(("a",), 6, 4), Row(("b",), 1, 9)]))
    rows = [Row(("a", "a")), Row(("b",)), Row(("a", "zzz")), Row(())]
    predicted = model.predict(statistic, as_journeys(rows))
    np.testing.assert_allclose(predicted, [0.6, 0.1, 0.6, np.nan], atol=1e-4)


@few
@given(rows=tables())
def test_the_response_is_the_difference_of_rates(rows):
    journeys = as_journeys(rows)
    statistic = PLAIN.summarize(journeys)
    result, response = PLAIN.solve(statistic), PLAIN.response(statistic)
    worths, names = response.worths(), journeys.channels
    coefficients, b = learned(result), result.details["intercept"]
    for mask, worth in enumerate(worths.tolist()):
        inside = {name for i, name in enumerate(names) if mask >> i & 1}
        odds = sum(coefficients[c] for c in inside)
        if b is not None:
            assert worth == pytest.approx(sigmoid(b + odds) - sigmoid(b), abs=1e-12)
        assert response(frozenset(inside)) == pytest.approx(worth, abs=1e-12, nan_ok=True)
    assert len(worths) == len(all_subsets(names))


# --- options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n_models": 0}, "n_models=0 is not a positive whole number"),
        ({"n_models": 2.5}, "n_models=2.5 is not"),
        ({"n_models": True}, "n_models=True is not"),
        ({"sample_share": 0}, "sample_share=0 is no share"),
        ({"channel_share": 1.1}, "channel_share=1.1 is no share"),
        ({"channel_share": "half"}, "channel_share='half' is no share"),
        ({"penalty": 0}, "penalty=0 is not positive"),
        ({"penalty": float("nan")}, "penalty=nan is not positive"),
        ({"random_state": -1}, "random_state=-1 is no seed"),
    ],
)
def test_options_out_of_range_are_refused(options, complaint):
    with pytest.raises(InputError, match=rf"{complaint}.*Hint"):
        BaggedLogistic(**options)


def test_another_statistic_is_refused():
    with pytest.raises(InputError, match="needs CoalitionCounts, not ChannelCredit"):
        PLAIN.solve(Linear().summarize(as_journeys([Row(("a",), 1, 1)])))


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingDependencyError, match=r"multitouch-attribution\[learn\]"):
        PLAIN.attribute(as_journeys([Row(("a",), 1, 1)]))


def test_without_scikit_learn_a_comparison_skips_it_and_direct_use_says_so(monkeypatch):
    model, journeys = BaggedLogistic(), as_journeys([Row(("a",), 3, 2), Row(("b",), 1, 2)])
    statistic = model.summarize(journeys)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.warns(AttributionWarning, match=r"skipped"):
        found = compare(journeys, list(MODELS))
    assert "scikit-learn. Hint: pip install" in found.skipped["bagged_logistic"]
    for verb, what in (
        (model.attribute, journeys),
        (model.summarize, journeys),
        (model.solve, statistic),
    ):
        with pytest.raises(MissingDependencyError, match=r"multitouch-attribution\[learn\]"):
            verb(what)


def test_evaluations_leave_it_out_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    journeys = simulate("random exposure", 2000).journeys
    assert "markov" in predictive_checks(journeys).index
    assert "bagged_logistic" not in predictive_checks(journeys).index


@few
@given(rows=tables())
def test_sparse_and_dense_designs_give_the_same(rows):
    model, journeys = BaggedLogistic(n_models=3), as_journeys(rows)
    dense = model.attribute(journeys).extra["coefficient"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logistic, "DENSE_ENTRIES", 0)
        sparse = model.attribute(journeys).extra["coefficient"]
    # Gradients of 1e-10, and a curvature that may be as low as the penalty of 1e-6.
    np.testing.assert_allclose(sparse, dense, atol=1e-3)


def test_fits_that_see_nothing_warn():
    rare = [Row(("a",), 1, 0), Row(("b",), 0, 1)]
    with pytest.warns(AttributionWarning, match=r"No fit of .* all is baseline. Hint: .*n_models"):
        result = BaggedLogistic(n_models=3, sample_share=1e-9).attribute(as_journeys(rare))
    assert (result.details["n_fits"], result.baseline) == (0, 1)
    rows = [Row(("a",), 5, 9), Row(("b",), 3, 9), Row(("a", "c"), 4, 4)]
    one = BaggedLogistic(n_models=1, sample_share=1, channel_share=0.3)
    with pytest.warns(AttributionWarning, match=r"2 of 3 channels are in no fit of .*sample_share"):
        one.attribute(as_journeys(rows))


def test_a_fit_in_which_a_channel_is_in_no_journey_does_not_count_for_it():
    # One journey over a, and half of the fits miss it. Where it is seen it converts and the others
    # convert in half of the cases: its coefficient there is the same in each, and so is the mean.
    rows = [Row(("a",), 1, 0), Row(("b",), 10**6, 10**6)]
    model = BaggedLogistic(n_models=20, channel_share=1, penalty=1e-3)
    whole = BaggedLogistic(n_models=1, sample_share=1, channel_share=1, penalty=1e-3)
    seen = model.attribute(as_journeys(rows)).extra["coefficient"][0]
    # With n journeys drawn out of two million, shares of weight are doubled: 2e-6 / 2 / penalty.
    alone = whole.attribute(as_journeys(rows)).extra["coefficient"][0]
    assert seen == pytest.approx(2 * alone, rel=0.02)


def test_the_library_loads_without_scikit_learn():
    code = "import sys, attribution.models; print('sklearn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
