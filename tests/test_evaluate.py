"""Credit against a known truth: figures by hand, budgets by brute force, the bar for the hazard."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from attribution import AttributionWarning, InputError, Journeys, Linear, compare
from attribution.evaluate import (
    MEASURES,
    Market,
    agreement,
    evaluate,
    rank_correlation,
    truth_errors,
)
from attribution.simulate import Channel, Response, Truth, World, simulate


@pytest.fixture
def comparison():
    table = pd.DataFrame(
        {"path": ["a > b", "b", "c > c"], "conversions": [4, 2, 4], "nulls": [9] * 3}
    )
    return compare(
        Journeys.from_paths(table, nulls="nulls"), ["first_click", "last_click", "linear"]
    )


def truth(incremental, joint, organic=0):
    return Truth(
        channels=("a", "b", "c"), incremental=np.array(incremental), joint=joint, organic=organic
    )


def test_errors_by_hand(comparison):
    """First click gives 4, 2, 4; last click 0, 6, 4; linear 2, 4, 4. The truth is .5, .5, 0."""
    table = truth_errors(comparison, truth([3, 3, 0], 5, 5))
    assert table["share_error"].to_dict() == pytest.approx(
        {"first_click": 0.4, "last_click": 0.5, "linear": 0.4}
    )
    assert table["scale_error"].tolist() == [2.0] * 3
    assert table.loc["first_click", "rank_correlation"] == pytest.approx(
        spearmanr([4, 2, 4], [3, 3, 0]).statistic
    )
    perfect = truth_errors(comparison, truth([4, 2, 4], 10)).loc["first_click"]
    assert perfect.tolist() == pytest.approx([0.0, 1.0, 1.0])


def test_a_world_without_effects_has_no_shares(comparison):
    table = truth_errors(comparison, truth([0, 0, 0], 0, 9))
    assert table.isna().all(axis=None)


def test_a_channel_without_journeys_has_no_credit(comparison):
    wider = Truth(
        channels=("a", "b", "c", "d"), incremental=np.array([0, 0, 0, 5]), joint=5, organic=0
    )
    assert (truth_errors(comparison, wider)["share_error"] == 1.0).all()


def test_credit_of_channels_that_the_truth_does_not_know_is_wrong(comparison):
    """Linear gives a 2, b 4, c 4 of 10; a world of a and b alone holds none of the 4 for c."""
    narrow = Truth(channels=("a", "b"), incremental=np.array([5, 5]), joint=10, organic=0)
    assert truth_errors(comparison, narrow).loc["linear", "share_error"] == pytest.approx(0.4)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, size=(2, 8)).astype(float)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))


def test_agreement_by_hand(comparison):
    table = agreement(comparison)
    assert table.loc["first_click", "last_click"] == pytest.approx(0.4)
    assert table.loc["linear", "first_click"] == pytest.approx(0.2)
    assert (np.diag(table) == 0).all()


WORLD = World(
    channels=[
        Channel(name="email", touches=1.0, effect=4.0),
        Channel(name="none", touches=1.0, effect=0.0),
        Channel(name="tv", touches=1.0, effect=6.0),
    ],
    base_rate=0.0004,
    n_days=30,
)


def test_the_best_plan_is_that_of_a_grid():
    market = Market(WORLD)
    assert market.best[1] == pytest.approx(0.0, abs=0.01)
    grid = [
        market.conversions(np.array([x, y, 1 - x - y]))
        for x in np.linspace(0, 1, 26)
        for y in np.linspace(0, 1 - x, 6)
    ]
    # 4,000 people make the response a little rough; plans are found to 0.1 % of the budget
    assert market.most == pytest.approx(max(grid), rel=2e-3)


def test_regret():
    market = Market(WORLD)
    assert market.regret(market.best * 7) == pytest.approx(0.0, abs=1e-12)
    assert market.regret(np.array([0.0, 5.0, 0.0])) == pytest.approx(1.0)
    today = market.regret(np.ones(3))
    response = Response(WORLD, 4_000, max_scale=3.0)
    gain = market.most - response(np.zeros(3))
    assert today == pytest.approx((market.most - response(np.ones(3))) / gain)
    assert np.isnan(market.regret(np.full(3, np.nan)))
    assert np.isnan(market.regret(np.zeros(3)))


def test_one_table_for_all_worlds():
    models = ["linear", "markov", "additive_hazard"]
    found = evaluate(["retargeting", WORLD], models, n_people=3_000, n_repetitions=2)
    table = found.to_frame()
    assert list(table.columns) == [MEASURES[0], "share_error_se", *MEASURES[1:]]
    assert set(table.index) == {(w, m) for w in ("retargeting", "world 1") for m in models}
    for world in ("retargeting", "world 1"):
        assert table.loc[world]["share_error"].is_monotonic_increasing
    errors = found.measures["retargeting"][:, models.index("linear"), 0]
    row = table.loc[("retargeting", "linear")]
    assert row["share_error"] == pytest.approx(errors.mean())
    assert row["share_error_se"] == pytest.approx(errors.std(ddof=1) / np.sqrt(2))
    gaps = np.abs(found.shares["retargeting"] - found.truth["retargeting"][:, None]).sum(axis=2) / 2
    np.testing.assert_allclose(found.measures["retargeting"][:, :, 0], gaps)
    assert table["log_loss"].isna().tolist() == [m == "linear" for _, m in table.index]
    again = evaluate(["retargeting", WORLD], models, n_people=3_000, n_repetitions=2)
    pd.testing.assert_frame_equal(table, again.to_frame())
    assert "retargeting" in repr(found)
    assert "<table" in found._repr_html_()
    for each in (found, pickle.loads(pickle.dumps(found))):
        assert each.equals(found)
        with pytest.raises(ValueError, match="read-only"):
            each.measures["retargeting"][0, 0, 0] = 0.0


def test_a_model_that_is_skipped_has_no_figures():
    class Elsewhere(Linear):
        key = "elsewhere"

        def unmet(self, journeys):
            return "it needs something else."

    with pytest.warns(AttributionWarning, match="elsewhere is skipped"):
        found = evaluate(WORLD, ["linear", Elsewhere()], n_people=500, n_repetitions=1)
    table = found.to_frame()
    assert table.loc[("world 0", "elsewhere")].isna().all()
    gaps = found.agreement()
    assert gaps["elsewhere"].isna().all()
    assert gaps.loc["linear", "(truth)"] == table.loc[("world 0", "linear"), "share_error"]
    assert table.loc[("world 0", "linear"), "share_error"] >= 0


def test_agreement_over_worlds_is_the_mean():
    found = evaluate(WORLD, ["linear", "first_click"], n_people=2_000, n_repetitions=3)
    table = found.agreement()
    truth_gap = found.measures["world 0"][:, 0, 0].mean()
    assert table.loc["linear", "(truth)"] == pytest.approx(truth_gap)
    assert table.loc["linear", "first_click"] == table.loc["first_click", "linear"] > 0


def test_hazard_with_baseline_finds_the_truth_under_random_exposure():
    simulated = simulate("random exposure", 100_000, 5)
    models = ["additive_hazard", "last_click", "linear", "markov", "shapley"]
    comparison = compare(simulated.journeys, models)
    table = truth_errors(comparison, simulated.truth)
    assert table.loc["additive_hazard", "share_error"] <= 0.10
    assert comparison["additive_hazard"].to_frame().loc["affiliate", "conversions_share"] <= 0.02
    assert (table["share_error"].drop("additive_hazard") > 0.10).all()
    organic = simulated.truth.organic
    assert (simulated.truth.total - organic) / simulated.truth.total == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"worlds": "mars"}, "'mars' is no world. There are 'random exposure'"),
        ({"worlds": []}, "There are no worlds"),
        ({"worlds": ["B2B", "B2B"]}, "'B2B' is named twice"),
        ({"n_repetitions": 0}, "n_repetitions=0 is not a whole number"),
        ({"models": ["magic"]}, "No model 'magic'"),
        ({"n_people": 0}, "n_people"),
    ],
)
def test_what_cannot_be_evaluated(arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate(**arguments)
