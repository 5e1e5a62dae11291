import time

import numpy as np
import pytest

from attribution import InputError
from attribution.budget.allocation import allocate, allocate_by_credit
from attribution.budget.curves import ExponentialCurve, HillCurve, PowerCurve
from attribution.budget.robustness import robustness

N_DRAWS = 40
TODAY = {"a": 10.0, "b": 10.0, "c": 4.0}
LIMITS = {"bounds": {"a": (2.0, None)}, "groups": {"g": (["b", "c"], None, 12.0)}}


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(0)

    def about(centre):
        return centre * rng.lognormal(0, 0.3, N_DRAWS)

    return {
        "a": HillCurve(about(9.0), about(5.0), rng.uniform(0.5, 1, N_DRAWS), of="value"),
        "b": PowerCurve(about(3.0), rng.uniform(0.3, 0.7, N_DRAWS), of="value"),
        "c": ExponentialCurve(about(8.0), 4.0, of="value"),
    }


def middle(draws):
    return {
        "a": HillCurve(9.0, 5.0, 0.75, of="value"),
        "b": PowerCurve(3.0, 0.5, of="value"),
        "c": ExponentialCurve(8.0, 4.0, of="value"),
    }


def each(draws, i):
    """The curves of one draw, one by one."""
    hill, power, exponential = draws.values()
    return {
        "a": HillCurve(hill.scale[i], hill.half_saturation[i], hill.exponent[i], of="value"),
        "b": PowerCurve(power.scale[i], power.exponent[i], of="value"),
        "c": ExponentialCurve(exponential.scale[i], 4.0, of="value"),
    }


@pytest.mark.filterwarnings("ignore:.*is not spent")  # of profit, held by the group
@pytest.mark.parametrize(
    "options",
    [
        {"objective": "value", **LIMITS},
        {"objective": "value", "step": 1.5, **LIMITS},
        {"objective": "profit", "margin": {"a": 0.9, "b": 0.9, "c": 0.95}, **LIMITS},
    ],
)
def test_is_the_plan_of_each_draw(draws, options):
    plan = allocate(middle(draws), 24.0, today=TODAY, **options)
    found = robustness(plan, draws, confidence=0.8)
    plans = [allocate(each(draws, i), 24.0, **options) for i in range(N_DRAWS)]
    spend = np.array([one.spend for one in plans])
    np.testing.assert_allclose(found.spend, spend, rtol=1e-8)

    kept = np.sort(np.minimum(spend, plan.spend), axis=0)
    at = 0.2 * (N_DRAWS - 1)  # linear between the order statistics
    low = kept[int(at)] + (at % 1) * (kept[int(at) + 1] - kept[int(at)])
    np.testing.assert_allclose(found.to_frame()["robust"], low / plan.spend, rtol=1e-6)

    weight = np.array(list(options.get("margin", dict.fromkeys("abc", 1.0)).values()))
    cost = 1.0 if "margin" in options else 0.0

    def brings(spend, i):
        curves = each(draws, i).values()
        value = np.array([c.value(x) for c, x in zip(curves, spend, strict=True)])
        return weight @ value - cost * spend.sum()

    today = np.array(list(TODAY.values()))
    outcome = np.array(
        [[brings(x, i) for x in (plan.spend, today, spend[i])] for i in range(N_DRAWS)]
    )
    summary = found.summary()
    means = summary["mean"]
    assert means["outcome"] == pytest.approx(outcome[:, 0].mean())
    assert means["outcome_today"] == pytest.approx(outcome[:, 1].mean())
    assert means["gain"] == pytest.approx((outcome[:, 0] - outcome[:, 1]).mean(), abs=1e-9)
    regret = outcome[:, 2] - outcome[:, 0]
    assert means["regret"] == pytest.approx(regret.mean(), rel=1e-6)
    assert summary.loc["regret", "high"] == pytest.approx(np.quantile(regret, 0.9), rel=1e-6)
    assert summary.loc["regret", "low"] >= -1e-9
    nothing = outcome[:, 2] - outcome[:, 1]
    assert means["regret_of_doing_nothing"] == pytest.approx(nothing.mean(), rel=1e-6)
    share = np.minimum(spend, plan.spend).sum(axis=1) / plan.spend.sum()
    assert means["robust_share"] == pytest.approx(share.mean())
    assert found.robust_share == pytest.approx(share.mean())


def test_draws_that_do_not_differ_leave_no_doubt(draws):
    curves = middle(draws)
    plan = allocate(curves, 24.0, objective="value", **LIMITS)
    same = {
        "a": HillCurve(np.full(5, 9.0), 5.0, 0.75, of="value"),
        "b": PowerCurve(np.full(5, 3.0), 0.5, of="value"),
        "c": ExponentialCurve(np.full(5, 8.0), 4.0, of="value"),
    }
    found = robustness(plan, same)
    np.testing.assert_allclose(found.robust, 1.0, rtol=1e-9)
    assert found.summary().loc["regret", "mean"] == pytest.approx(0, abs=1e-9)
    assert np.isnan(found.summary().loc["gain", "mean"])  # today is not known


def test_reads_the_draws_of_a_fit(draws):
    class Fit(dict):
        pass

    fit = Fit(middle(draws))
    fit.draws = draws
    plan = allocate(fit, 24.0, objective="value")
    np.testing.assert_array_equal(robustness(plan, fit).spend, robustness(plan, draws).spend)


class Fit(dict):
    """What `allocate` and `robustness` read of a fit of curves."""

    def __init__(self, draws, kind="incremental", period="W", statement="Of last year."):
        super().__init__(middle(draws))
        self.draws, self.kind, self.period, self.statement = draws, kind, period, statement


def test_refuses_a_fit_of_another_kind_or_period(draws):
    plan = allocate(Fit(draws), 24.0, objective="value")
    message = "The plan has period='W', the draws period='MS'"
    with pytest.raises(InputError, match=message):
        robustness(plan, Fit(draws, period="MS"))
    message = "The plan has kind='incremental', the draws kind='descriptive'"
    with pytest.raises(InputError, match=message):
        robustness(plan, Fit(draws, kind="descriptive"))
    as_given = allocate(middle(draws), 24.0, objective="value")
    assert robustness(as_given, Fit(draws)).spend.shape == (N_DRAWS, 3)


def test_refuses_curves_without_draws(draws):
    plan = allocate(middle(draws), 24.0, objective="value")
    with pytest.raises(
        InputError, match=r"one curve, not several draws of it\. Hint: .*fit\.draws"
    ):
        robustness(plan, middle(draws))


def test_says_what_it_stands_on(draws):
    plan = allocate(Fit(draws), 24.0, objective="value")
    found = robustness(plan, draws)
    expected = {
        "kind": "incremental",
        "basis": "Of last year.",
        "objective": "value",
        "of": "value",
        "period": "W",
    }
    assert found.to_frame().attrs == found.summary().attrs == expected
    assert "robust_share" in repr(found)
    assert repr(found).endswith("Of last year.")


@pytest.mark.filterwarnings("ignore:.*is not spent")
def test_a_return_that_a_draw_does_not_reach_takes_the_nearest_plan():
    curves = {"a": PowerCurve(4.0, 0.5, of="value"), "b": PowerCurve(3.0, 0.5, of="value")}
    bounds = {"a": (4.0, None)}
    plan = allocate(curves, 50.0, objective="value", min_roas=1.0, bounds=bounds)
    draws = {
        "a": PowerCurve(np.array([1.0, 4.0]), 0.5, of="value"),
        "b": PowerCurve(np.array([0.5, 3.0]), 0.5, of="value"),
    }
    found = robustness(plan, draws)
    # sum f - r sum x is largest at b = (0.5 / 2)^2, with a at its floor; 25 brings sqrt(25) * 5
    np.testing.assert_allclose(found.spend[0], [4.0, 0.0625], rtol=1e-6)
    assert found.spend[1].sum() == pytest.approx(25.0)
    by_line = allocate(
        curves, 50.0, objective="value", min_roas={"a": 1.0, "b": 1.0}, bounds=bounds
    )
    assert by_line.spend == pytest.approx([16, 9])
    np.testing.assert_allclose(robustness(by_line, draws).spend, [[4, 0.25], [16, 9]], rtol=1e-6)


def test_a_plan_by_credit_has_amounts_only():
    plan = allocate_by_credit({"a": 1, "b": 3}, 100)
    found = robustness(plan, np.array([[1, 1], [1, 3]]))
    np.testing.assert_allclose(found.spend, [[50, 50], [25, 75]])
    assert found.summary().index.tolist() == ["robust_share"]
    assert found.summary().loc["robust_share", "mean"] == pytest.approx((0.75 + 1) / 2)
    other = robustness(plan, {"b": [1, 3], "a": [1, 1]})
    assert other.to_frame().equals(found.to_frame())


def test_a_line_without_money_has_no_share():
    plan = allocate_by_credit({"a": 0, "b": 3}, 100)
    assert np.isnan(robustness(plan, np.ones((2, 2))).robust[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"a": d["a"]}, "draws lacks 2 of 3 lines, first 'b'"),
        (lambda d: 3, "draws is a int"),
        (lambda d: {**d, "a": 3}, "The draws of 'a' are a int"),
        (lambda d: {**d, "a": PowerCurve(np.ones(9), 0.5)}, "'a' are of conversions. Hint"),
        (lambda d: {**d, "a": PowerCurve(np.ones(9), 0.5, of="value")}, r"Lines have \[9, 40\] d"),
    ],
)
def test_refuses_draws_that_do_not_fit(draws, change, message):
    plan = allocate(middle(draws), 24.0, objective="value")
    with pytest.raises(InputError, match=message):
        robustness(plan, change(draws))


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (np.ones((3, 3)), r"shape \(3, 3\). Hint: \(n_draws, 2\)"),
        ([[1, 1], [1, -1]], "1 draws have credit that is negative or NaN, first draw 1"),
        ([[1, 3]], r"shape \(1, 2\). Hint: \(n_draws, 2\), 2 draws or more"),
        ([[1, 3], [0, 0], [0, 0]], "2 draws have no credit for any line, first draw 1"),
        ({"a": [1, 2], "b": [1]}, r"credit of shapes \[\(1,\), \(2,\)\]"),
    ],
)
def test_refuses_credit_that_does_not_fit(draws, message):
    with pytest.raises(InputError, match=message):
        robustness(allocate_by_credit({"a": 1, "b": 3}, 100), draws)


@pytest.mark.parametrize("confidence", [0, 1, "0.9"])
def test_refuses_a_confidence_that_is_none(confidence):
    with pytest.raises(InputError, match="confidence="):
        robustness(allocate_by_credit({"a": 1, "b": 3}, 100), [[1, 2]], confidence=confidence)


def test_500_draws_of_10_lines_take_less_than_3_seconds():
    rng = np.random.default_rng(0)
    curves = {f"l{i}": HillCurve(100.0 * (i + 1), 1000.0, 0.7) for i in range(10)}
    draws = {
        line: HillCurve(
            curve.scale * rng.lognormal(0, 0.2, 500),
            1000.0 * rng.lognormal(0, 0.2, 500),
            rng.uniform(0.5, 1, 500),
        )
        for line, curve in curves.items()
    }
    plan = allocate(curves, 5000)
    began = time.process_time()
    robustness(plan, draws)
    assert time.process_time() - began < 3
