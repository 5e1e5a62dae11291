import copy
import math
import pickle

import numpy as np
import pytest
from allocation_oracle import oracle, random_curve, random_problem
from hypothesis import given
from hypothesis import strategies as st

from attribution import AttributionWarning, InputError
from attribution.arrays import Immutable
from attribution.budget.allocation import allocate, allocate_by_credit
from attribution.budget.curves import (
    ExponentialCurve,
    HillCurve,
    HillEnvelope,
    PowerCurve,
)
from attribution.budget.equal_returns import between, price_of

AGREE = 1e-6  # what SLSQP reaches
SLOPES = 1e-8  # the bar for equal marginal returns
pytestmark = pytest.mark.filterwarnings("ignore:.*end below the point")


def same_prices(plan, more):
    """Whether free lines have the price of the whole and more, others the right side of it."""
    prices = plan.shadow_price + more
    for slope, price, held in zip(plan.marginal, prices, plan.bound, strict=True):
        if held == "floor":
            assert slope <= price * (1 + SLOPES)
        elif held == "ceiling":
            assert slope >= price * (1 - SLOPES)
        else:
            assert slope == pytest.approx(price, rel=SLOPES)


class TestOptimum:
    @pytest.mark.parametrize("part", range(4))
    def test_is_that_of_a_general_solver(self, part):
        rng = np.random.default_rng(part)
        for _ in range(50):
            curves, budget, bounds, groups, inside = random_problem(rng)
            plan = allocate(curves, budget, bounds=bounds, groups=groups)
            expected = oracle(curves, budget, bounds, groups, inside)
            assert plan.totals["outcome"] == pytest.approx(expected, rel=AGREE)
            assert plan.spend.sum() == pytest.approx(budget, rel=1e-12)
            for line, spend in zip(plan.lines, plan.spend, strict=True):
                low, high = bounds[line]
                assert (low or 0) <= spend <= (high or np.inf)
            for members, low, high in groups.values():
                spent = sum(plan.spend[plan.lines.index(line)] for line in members)
                assert (low or 0) * (1 - 1e-12) <= spent <= (high or np.inf) * (1 + 1e-12)

    @given(st.integers(0, 2**32 - 1))
    def test_marginal_returns_are_equal(self, seed):
        rng = np.random.default_rng(seed)
        curves, budget, bounds, _, _ = random_problem(rng)
        same_prices(allocate(curves, budget, bounds=bounds), np.zeros(len(curves)))

    @given(st.integers(0, 2**32 - 1))
    def test_marginal_returns_are_equal_within_each_group(self, seed):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 9))
        curves = {f"l{i}": random_curve(rng) for i in range(n)}
        free = allocate(curves, 3.0)
        half = [f"l{i}" for i in range(n // 2)]
        spent = free.spend[: n // 2].sum()
        low, high = (None, 0.7 * spent) if rng.random() < 0.5 else (0.5 * spent + 1.5, None)
        plan = allocate(curves, 3.0, groups={"half": (half, low, high)})
        same_prices(plan, plan.group_prices["half"] * (np.arange(n) < n // 2))
        upwards = 1 if low is None else -1
        assert plan.group_prices["half"] * upwards >= 0

    @pytest.mark.filterwarnings("ignore:.*is not spent")
    @pytest.mark.parametrize("part", range(2))
    def test_of_profit_is_that_of_a_general_solver(self, part):
        rng = np.random.default_rng(part)
        for _ in range(30):
            curves, budget, bounds, groups, inside = random_problem(rng, of="value")
            margin = {line: rng.uniform(0.2, 1.0) for line in curves}
            plan = allocate(
                curves, budget, bounds=bounds, groups=groups, objective="profit", margin=margin
            )
            weight = np.array(list(margin.values()))
            expected = oracle(curves, budget, bounds, groups, inside, weight=weight, cost=1.0)
            assert plan.totals["profit"] == pytest.approx(expected, rel=AGREE, abs=AGREE)

    @pytest.mark.filterwarnings("ignore:.*is not spent")
    @pytest.mark.parametrize("objective", ["value", "profit"])
    def test_with_a_return_is_that_of_a_general_solver(self, objective):
        rng = np.random.default_rng(3)
        held = 0
        for _ in range(40):
            curves, budget, bounds, groups, inside = random_problem(rng, of="value")
            options = {"bounds": bounds, "groups": groups, "objective": objective}
            weight, cost = np.ones(len(curves)), 0.0
            if objective == "profit":
                weight, cost = rng.uniform(0.2, 1.0, len(curves)), 1.0
                options["margin"] = dict(zip(curves, weight, strict=True))
            before = allocate(curves, budget, **options)
            roas = before.totals["outcome"] / before.totals["spend"] * rng.uniform(0.95, 1.1)
            expected = oracle(
                curves, budget, bounds, groups, inside, weight=weight, cost=cost, roas=roas
            )
            try:
                plan = allocate(curves, budget, min_roas=roas, **options)
            except InputError:
                assert expected is None
                continue
            held += plan.totals["spend"] != pytest.approx(before.totals["spend"])
            assert plan.totals["outcome"] >= roas * plan.totals["spend"] * (1 - 1e-12)
            reached = plan.totals["profit" if cost else "outcome"]
            assert reached == pytest.approx(expected, rel=AGREE, abs=AGREE)
        assert held > 5

    def test_does_not_depend_on_the_order_of_lines(self):
        rng = np.random.default_rng(5)
        curves, budget, bounds, groups, _ = random_problem(rng, n=8)
        turned = dict(reversed(curves.items()))
        plan = allocate(curves, budget, bounds=bounds, groups=groups)
        other = allocate(turned, budget, bounds=bounds, groups=groups)
        np.testing.assert_allclose(plan.spend, other.spend[::-1], rtol=1e-9)

    def test_of_one_stacked_curve_is_that_of_its_parts(self):
        rng = np.random.default_rng(6)
        stacked = HillCurve(rng.uniform(1, 5, 30), rng.uniform(1, 5, 30), rng.uniform(0.4, 1, 30))
        plan = allocate(stacked, 40.0, bounds={"7": (3.0, None)})
        parts = {str(i): stacked.take(i) for i in range(30)}
        other = allocate(parts, 40.0, bounds={"7": (3.0, None)})
        assert plan.lines == other.lines
        np.testing.assert_allclose(plan.spend, other.spend, rtol=1e-12)


class TestPrices:
    @pytest.mark.parametrize("seed", range(10))
    def test_are_derivatives_of_the_best_outcome(self, seed):
        rng = np.random.default_rng(seed)
        curves = {f"l{i}": random_curve(rng) for i in range(5)}
        share = allocate(curves, 4.0).spend[:3].sum()
        for low, high in ((None, 0.8 * share), (0.5 * share + 1.95, None)):

            def best(budget, more=0.0, low=low, high=high, curves=curves):
                ends = (low and low + more, high and high + more)
                plan = allocate(curves, budget, groups={"g": (["l0", "l1", "l2"], *ends)})
                return plan, plan.totals["outcome"]

            plan, _ = best(4.0)
            step = 1e-4
            rise = (best(4.0 + step)[1] - best(4.0 - step)[1]) / (2 * step)
            assert plan.shadow_price == pytest.approx(rise, rel=1e-5)
            rise = (best(4.0, step)[1] - best(4.0, -step)[1]) / (2 * step)
            assert plan.group_prices["g"] == pytest.approx(rise, rel=1e-4, abs=1e-6)

    def test_where_the_floors_take_all_is_what_the_best_line_would_bring(self):
        curves = {"a": ExponentialCurve(10.0, 1.0), "b": ExponentialCurve(5.0, 1.0)}
        plan = allocate(curves, 3.0, bounds={"a": (3.0, 3.0), "b": (0.0, None)})
        assert plan.spend.tolist() == [3.0, 0.0]
        assert plan.shadow_price == pytest.approx(curves["b"].marginal(0.0))

    def test_of_a_return_is_that_of_the_whole(self):
        curves = {"a": PowerCurve(4.0, 0.5, of="value"), "b": PowerCurve(2.0, 0.5, of="value")}
        with pytest.warns(AttributionWarning, match="min_roas=2 holds the plan"):
            plan = allocate(curves, 100.0, objective="value", min_roas=2.0)
        assert plan.totals["outcome"] == pytest.approx(2.0 * plan.totals["spend"], rel=1e-12)
        assert plan.totals["spend"] == pytest.approx(5.0)  # sqrt(16 + 4) sqrt(x) = 2 x
        assert plan.shadow_price == 0


class TestEdges:
    def test_no_budget(self):
        plan = allocate({"a": PowerCurve(1.0, 0.5), "b": HillCurve(1.0, 1.0, 1.0)}, 0)
        assert plan.spend.tolist() == [0, 0]
        assert plan.unspent == 0

    def test_one_line_takes_all(self):
        plan = allocate(PowerCurve(1.0, 0.5), 9.0)
        assert plan.spend.tolist() == [9.0]
        assert plan.shadow_price == pytest.approx(1 / 6)

    def test_ceilings_that_leave_money(self):
        curves = {"a": PowerCurve(1.0, 0.5), "b": PowerCurve(1.0, 0.5)}
        why = "70 of the budget of 100 is not spent: ceilings hold 'a', 'b', which would bring more"
        with pytest.warns(AttributionWarning, match=rf"{why}\. Hint: keep it, or raise bounds"):
            plan = allocate(curves, 100, bounds={"a": (0, 10)}, groups={"g": (["b"], None, 20)})
        assert plan.spend.tolist() == [10, 20]
        assert plan.bound == ("ceiling", "g")
        assert (plan.unspent, plan.shadow_price) == (70, 0)
        assert plan.group_prices["g"] == pytest.approx(curves["b"].marginal(20.0))

    def test_lines_that_bring_nothing_get_their_floor(self):
        curves = {"a": PowerCurve(0.0, 0.5), "b": HillCurve(0.0, 1.0, 0.5), "c": PowerCurve(1.0, 1)}
        plan = allocate(curves, 10, bounds={"a": (2, None)})
        assert plan.spend.tolist() == [2, 0, 8]

    def test_nothing_brings_anything(self):
        why = r"10 of the budget of 10 is not spent: no line that is free brings more.*keep it\.$"
        with pytest.warns(AttributionWarning, match=why):
            plan = allocate({"a": PowerCurve(0.0, 0.5), "b": PowerCurve(0.0, 0.5)}, 10)
        assert plan.spend.tolist() == [0, 0]

    def test_a_floor_of_a_group_that_brings_nothing_is_kept(self):
        curves = {"a": PowerCurve(0.0, 0.5), "b": PowerCurve(0.0, 0.5), "c": PowerCurve(1.0, 0.5)}
        plan = allocate(curves, 10, groups={"g": (["a", "b"], 4, None)})
        assert plan.spend[:2].sum() == pytest.approx(4)
        assert plan.spend[2] == pytest.approx(6)
        assert plan.group_prices["g"] == pytest.approx(-plan.shadow_price)

    def test_ties_are_shared_and_the_budget_is_met(self):
        curves = {"a": PowerCurve(2.0, 1.0), "b": PowerCurve(2.0, 1.0), "c": PowerCurve(1.0, 1.0)}
        plan = allocate(curves, 10, bounds={"a": (None, 30)})
        assert plan.spend.sum() == pytest.approx(10, rel=1e-14)
        assert plan.spend[2] == 0
        assert plan.totals["outcome"] == pytest.approx(20)
        assert plan.shadow_price == pytest.approx(2)

    def test_all_lines_fixed(self):
        with pytest.warns(
            AttributionWarning, match="3 of the budget of 10 .*: every line is fixed"
        ):
            plan = allocate({"a": PowerCurve(1.0, 0.5)}, 10, fixed={"a": 7})
        assert plan.bound == ("fixed",)

    def test_a_saturated_line_can_still_take_the_budget(self):
        plan = allocate({"a": ExponentialCurve(1.0, 1.0), "b": PowerCurve(1e-9, 0.1)}, 1e6)
        assert plan.spend.sum() == pytest.approx(1e6, rel=1e-12)

    def test_profit_leaves_money_that_would_not_pay_without_a_warning(self):
        curves = {"a": PowerCurve(10.0, 0.5), "b": PowerCurve(1.0, 1.0)}
        plan = allocate(curves, 1000, objective="profit", margin={"a": 2.0, "b": 0.5})
        assert plan.spend.tolist() == pytest.approx([100.0, 0.0])  # 2 * 10 / (2 sqrt(x)) = 1
        assert plan.unspent == pytest.approx(900)
        assert plan.shadow_price == 0
        assert plan.totals["profit"] == pytest.approx(100)

    def test_a_saturated_line_is_not_said_to_be_held(self):
        curves = {"a": ExponentialCurve(1.0, 1.0), "b": PowerCurve(1.0, 0.5)}
        why = "ceilings hold 'b', which would bring more; no other line that is free brings more"
        with pytest.warns(AttributionWarning, match=why):
            plan = allocate(curves, 1e6, bounds={"b": (None, 10)})
        assert plan.spend[1] == 10

    @pytest.mark.parametrize("step", [None, 5.0])
    def test_profit_says_which_ceilings_hold_money_that_would_pay(self, step):
        curves = {"a": PowerCurve(10.0, 0.5), "b": PowerCurve(0.5, 1.0)}
        options = {"objective": "profit", "margin": 2.0, "step": step}  # a pays up to 100
        why = r"is not spent: ceilings hold 'a', which would bring more\. Hint"
        with pytest.warns(AttributionWarning, match=why):
            allocate(curves, 1000, bounds={"a": (None, 50), "b": (None, 0)}, **options)
        plan = allocate(curves, 1000, bounds={"a": (None, 200), "b": (None, 0)}, **options)
        assert plan.spend[0] == pytest.approx(100, rel=1e-9)

    def test_a_line_return_that_leaves_money_is_named(self):
        curves = {"a": PowerCurve(6.0, 0.5, of="value"), "b": PowerCurve(9.0, 0.5, of="value")}
        why = r"ceilings hold 'b', which would bring more; min_roas holds 'a'\. .*lower min_roas"
        with pytest.warns(AttributionWarning, match=why):
            allocate(
                *(curves, 50),
                **{"objective": "value", "min_roas": {"a": 3.0}, "bounds": {"b": (0, 9)}},
            )

    @pytest.mark.parametrize("budget", [10.0, 1e6, 1e12])
    @pytest.mark.parametrize("scale", [6e-3, 6.0, 6e4])
    def test_a_line_return_does_not_depend_on_the_budget(self, budget, scale):
        curves = {"a": PowerCurve(scale, 0.5, of="value"), "b": PowerCurve(1e-6, 0.5, of="value")}
        plan = allocate(curves, budget, objective="value", min_roas={"a": 3.0})
        ceiling = (scale / 3) ** 2  # scale sqrt(x) = 3 x
        assert plan.spend[0] == pytest.approx(min(ceiling, budget), rel=1e-10)

    def test_a_line_return_is_a_ceiling(self):
        curves = {"a": PowerCurve(6.0, 0.5, of="value"), "b": PowerCurve(9.0, 0.5, of="value")}
        roas = {"a": 3.0}
        plan = allocate(curves, 50, objective="value", min_roas=roas)
        assert plan.spend == pytest.approx([4.0, 46.0])  # 6 sqrt(4) = 3 * 4
        assert plan.bound == ("ceiling", "")

    def test_a_line_that_never_has_its_return_gets_nothing(self):
        curves = {"a": HillCurve(1.0, 10.0, 1.0, of="value"), "b": PowerCurve(9.0, 0.5, of="value")}
        plan = allocate(curves, 50, objective="value", min_roas={"a": 3.0})
        assert plan.spend.tolist() == [0, 50]

    def test_a_plan_inside_the_straight_part_of_an_envelope_warns(self):
        curves = {"a": HillEnvelope(10.0, 10.0, 2.0), "b": PowerCurve(0.1, 0.5)}
        with pytest.warns(
            AttributionWarning, match=r"'a' spends [\d.]+ of 10\. .*least 10 for 'a'"
        ):
            allocate(curves, 5.0)

    def test_max_change_about_today(self):
        curves = {"a": PowerCurve(9.0, 0.5), "b": PowerCurve(1.0, 0.5), "c": PowerCurve(1.0, 0.5)}
        today = {"a": 10.0, "b": 10.0, "c": 5.0, "gone": 3.0}
        plan = allocate(curves, 25.0, max_change=0.3, today=today, fixed={"c": 5.0})
        assert plan.spend == pytest.approx([13.0, 7.0, 5.0])
        assert plan.bound == ("ceiling", "floor", "fixed")
        only = allocate(curves, 25.0, max_change={"a": 0.5}, today=today)
        assert only.spend == pytest.approx([15.0, 5.0, 5.0])


class Fit(dict):
    """What `allocate` reads of a fit of curves."""

    kind = "incremental"
    period = "W"
    statement = "These curves are of last year."
    today = {"a": 3.0, "b": 5.0, "other": 1.0}  # noqa: RUF012
    observed = {"a": (1.0, 4.0), "b": (2.0, 6.0)}  # noqa: RUF012


class TestPlan:
    @pytest.fixture
    def plan(self):
        return allocate(Fit(a=PowerCurve(3.0, 0.5), b=PowerCurve(4.0, 0.5)), 10.0)

    def test_reads_a_fit(self, plan):
        frame = plan.to_frame()
        assert plan.basis == Fit.statement
        assert list(frame.columns) == [
            *("today", "spend", "change", "outcome_today", "outcome", "marginal", "held_by"),
            "beyond_data",
        ]
        assert frame["spend"].tolist() == pytest.approx([3.6, 6.4])  # 9 : 16
        assert frame["change"].tolist() == pytest.approx([0.6, 1.4])
        assert frame["outcome_today"].tolist() == pytest.approx([3 * 3**0.5, 4 * 5**0.5])
        assert frame["beyond_data"].tolist() == [False, True]
        assert plan.totals["spend_today"] == 8.0

    def test_rounds_to_cents_and_keeps_the_sum(self):
        curves = {f"l{i}": PowerCurve(1.0, 0.5) for i in range(3)}
        frame = allocate(curves, 100.0).to_frame(unit=0.01)
        assert frame["spend"].tolist() == [33.34, 33.33, 33.33]
        assert frame["outcome"].tolist() == pytest.approx(np.sqrt(frame["spend"]).tolist())

    def test_frontier_is_solved_anew_for_each_budget(self, plan):
        frontier = plan.frontier()
        assert len(frontier) == 21
        assert frontier["budget"].iloc[[0, -1]].tolist() == [0.0, 20.0]
        # 3 sqrt(a) + 4 sqrt(b) with a + b = B is at most 5 sqrt(B)
        np.testing.assert_allclose(frontier["outcome"], 5 * np.sqrt(frontier["budget"]), rtol=1e-12)
        np.testing.assert_allclose(
            frontier["shadow_price"][1:], 2.5 / np.sqrt(frontier["budget"][1:]), rtol=1e-9
        )
        assert plan.frontier([10.0])["outcome"].item() == plan.totals["outcome"]

    def test_frontier_of_one_budget(self, plan):
        assert plan.frontier(10.0).equals(plan.frontier([10.0]))

    @pytest.mark.parametrize(
        ("budgets", "message"),
        [
            ("all", "budgets='all' are no numbers. Hint"),
            ([], r"budgets has shape \(0,\). Hint"),
            ([[1.0]], r"budgets has shape \(1, 1\). Hint"),
        ],
    )
    def test_frontier_refuses_what_are_no_budgets(self, plan, budgets, message):
        with pytest.raises(InputError, match=message):
            plan.frontier(budgets)

    def test_frontier_refuses_less_than_the_floors(self):
        plan = allocate({"a": PowerCurve(1.0, 0.5)}, 9.0, bounds={"a": (4.0, None)})
        with pytest.raises(InputError, match="budgets has 3 in row 1; floors need 4"):
            plan.frontier([5.0, 3.0])

    def test_frontier_says_where_a_return_cannot_be_had(self):
        curves = {"a": PowerCurve(1.0, 0.5, of="value"), "b": PowerCurve(9.0, 0.5, of="value")}
        options = {"objective": "value", "min_roas": 1.5, "bounds": {"a": (4.0, None)}}
        plan = allocate(curves, 20.0, **options)
        frontier = plan.frontier([4.0, 20.0])
        assert frontier["outcome"].isna().tolist() == [True, False]

    def test_is_immutable_and_survives_pickling(self, plan):
        assert isinstance(plan, Immutable)
        with pytest.raises(ValueError, match="read-only"):
            plan.spend[0] = 1.0
        for array in (plan.problem.weight, plan.problem.limits.low, plan.problem.limits.root.own):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
        other = pickle.loads(pickle.dumps(plan))
        assert other.spend.tolist() == plan.spend.tolist()
        assert other.frontier([12.0]).equals(plan.frontier([12.0]))

    @pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
    def test_equals_its_copies(self, copied):
        curves = {"a": PowerCurve(3.0, 0.5), "b": HillCurve(4.0, 1.0, 0.5), "c": PowerCurve(1, 0.5)}
        groups = {"two": (["a", "b"], 1, 8), "one": (["a"], None, 3)}
        plan, other = (allocate(curves, 10.0, groups=groups, bounds={"a": (x, 9)}) for x in (0, 1))
        assert plan.equals(copied(plan))
        assert not plan.equals(other)
        assert not plan.problem.equals(other.problem)
        with pytest.raises(ValueError, match="read-only"):
            copied(plan).problem.curves.parts[0].at[0] = 1
        by_credit = allocate_by_credit({"a": 1, "b": 3}, 10)
        assert by_credit.equals(copied(by_credit))

    def test_of_other_curves_is_not_equal(self):
        curves = {"a": PowerCurve(3.0, 0.5), "b": HillCurve(4.0, 1.0, 0.5)}
        plan = allocate(curves, 10.0)
        for other in ({**curves, "b": HillCurve(4.0, 1.0, 0.6)}, {**curves, "b": curves["a"]}):
            assert not plan.problem.curves.equals(allocate(other, 10.0).problem.curves)

    def test_tables_say_what_they_stand_on(self, plan):
        expected = {
            "kind": "incremental",
            "basis": Fit.statement,
            "objective": "conversions",
            "of": "conversions",
            "period": "W",
        }
        assert plan.to_frame().attrs == plan.frontier([10.0]).attrs == expected
        given = allocate(dict(Fit(a=PowerCurve(3.0, 0.5))), 10.0).to_frame().attrs
        assert (given["kind"], given["period"]) == ("as given", None)
        by_credit = allocate_by_credit({"a": 1}, 10.0)
        assert by_credit.to_frame().attrs["kind"] == "in proportion to credit"
        assert by_credit.frontier([10.0]).attrs["objective"] == "credit"

    def test_warns_of_a_total_of_many_periods(self, recwarn):
        curves = Fit(a=PowerCurve(3.0, 0.5), b=PowerCurve(4.0, 0.5))
        allocate(curves, 30.0)  # the most of a week is 4 + 6
        assert not recwarn.list
        with pytest.warns(AttributionWarning, match=r"budget=31 is .* 3 times 10, .* of a week in"):
            allocate(curves, 31.0)

    def test_says_what_it_is(self, plan):
        for text in (repr(plan), plan._repr_html_()):
            assert Fit.statement in text
            assert "unspent 0" in text
            assert "shadow price 0.7906" in text  # 2.5 / sqrt(10)
            assert "budget 10 per week: " in text


class TestByCredit:
    def test_is_in_proportion(self):
        plan = allocate_by_credit({"a": 1, "b": 0, "c": 3}, 100)
        assert plan.spend == pytest.approx([25, 0, 75])
        assert "heuristic, not an optimum" in plan.basis
        assert np.isnan(plan.outcome).all()
        assert np.isnan(plan.totals["outcome"])
        assert np.isnan(plan.shadow_price)

    def test_says_nothing_of_outcome(self):
        plan = allocate_by_credit({"a": 1, "b": 3}, 100, today={"a": 1, "b": 2})
        for text in (repr(plan), plan._repr_html_()):
            assert "nan" not in text.lower()
            assert all(name in text for name in ("today", "spend", "change", "budget 100"))
            assert "outcome" not in text.replace(plan.basis, "")
            assert "price" not in text
        assert list(plan.frontier([50.0]).columns) == ["budget", "spend"]

    def test_warns_of_credit_that_cannot_be_bought(self, recwarn):
        credit, today = {"direct": 5, "mail": 3, "none": 0}, {"direct": 0, "mail": 2, "none": 0}
        why = r"^'direct' has credit and no spend today: can it be bought\? .*fixed=\{'direct': 0\}"
        with pytest.warns(AttributionWarning, match=why):
            allocate_by_credit(credit, 100, today=today)
        recwarn.clear()
        allocate_by_credit(credit, 100, today=today, fixed={"direct": 0})
        allocate_by_credit(credit, 2, today=today, max_change=0.5)
        allocate_by_credit(credit, 100)
        assert not recwarn.list
        with pytest.warns(AttributionWarning, match="'a', 'b' have credit .* can they be bought"):
            allocate_by_credit({"a": 5, "b": 3}, 10, today={"a": 0, "b": 0})

    def test_warns_of_lines_that_have_no_credit(self):
        why = "ceilings hold 'a', .*; no other line that is free has credit"
        with pytest.warns(AttributionWarning, match=why):
            allocate_by_credit({"a": 1, "b": 0}, 100, bounds={"a": (None, 10)})

    def test_what_is_free_stays_in_proportion(self):
        credit = {"a": 5, "b": 2, "c": 3, "d": 10}
        plan = allocate_by_credit(
            credit, 200, bounds={"d": (None, 40)}, groups={"g": (["a", "b"], 126, None)}
        )
        assert plan.spend == pytest.approx([90, 36, 34, 40], rel=1e-9)

    def test_reads_an_attribution(self):
        attribution = pytest.importorskip("attribution")
        import pandas as pd

        paths = pd.DataFrame({"path": ["ads > mail", "ads"], "conversions": [8, 2], "v": [80, 0]})
        journeys = attribution.Journeys.from_paths(paths, value="v")
        linear = attribution.Linear().attribute(journeys)
        assert allocate_by_credit(linear, 10).spend == pytest.approx([6, 4])
        assert allocate_by_credit(linear, 10, of="value").spend == pytest.approx([5, 5])

    @pytest.mark.parametrize(
        ("credit", "message"),
        [
            ({"a": -1, "b": 2}, "Credit of 'a' is -1"),
            ({"a": 1, "b": np.nan}, "Credit of 'b' is nan"),
            ({"a": 0, "b": 0}, "All credit is 0"),
            ({"a": "much"}, "no number"),
            ([1, 2], "credit is a list"),
        ],
    )
    def test_refuses(self, credit, message):
        with pytest.raises(InputError, match=message):
            allocate_by_credit(credit, 100)


class TestOptions:
    curves = {"a": PowerCurve(1.0, 0.5), "b": PowerCurve(1.0, 0.5)}  # noqa: RUF012
    worth = {"a": PowerCurve(1.0, 0.5, of="value"), "b": PowerCurve(1.0, 0.5, of="value")}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"objective": "sales"}, "objective='sales' is not one of"),
            ({"objective": "value"}, "the curves are of conversions. Hint: .*valued"),
            ({"objective": "profit"}, "needs a margin"),
            ({"margin": 0.5}, "takes no margin"),
            ({"min_roas": 2.0}, "min_roas needs curves of value"),
            ({"objective": "profit", "margin": {"a": 1}}, "margin lacks 'b'"),
            ({"objective": "profit", "margin": -1}, "margin=-1 does not fit"),
        ],
    )
    def test_that_do_not_fit(self, options, message):
        with pytest.raises(InputError, match=message):
            allocate(self.curves, 10, **options)

    def test_of_value(self):
        with pytest.raises(InputError, match="objective='conversions', but the curves are of valu"):
            allocate(self.worth, 10)
        with pytest.raises(InputError, match="margin=30 is above 1"):
            allocate(self.worth, 10, objective="profit", margin=30)
        with pytest.raises(InputError, match="min_roas of the whole plan, margins by line and ste"):
            allocate(
                *(self.worth, 10),
                **{"objective": "profit", "margin": {"a": 0.2, "b": 0.3}, "min_roas": 1, "step": 1},
            )

    def test_a_return_that_cannot_be_had(self):
        with pytest.raises(InputError, match=r"min_roas=9: the nearest spends 4 and returns 0\.5"):
            allocate(
                self.worth, 10, objective="value", min_roas=9, bounds={"a": (4, 4), "b": (0, 0)}
            )

    @pytest.mark.parametrize(
        ("curves", "message"),
        [
            ({}, "no curve"),
            (PowerCurve(np.zeros(0), 0.5), "no curve"),
            ([PowerCurve(1.0, 0.5)], "a list"),
            ({"a": 3}, "The curve of 'a' is a int"),
            ({"a": PowerCurve(np.ones(2), 0.5)}, "'a' has an array as scale"),
            ({"a": curves["a"], "b": worth["b"]}, "'a' is of conversions, that of 'b' of value"),
        ],
    )
    def test_curves_that_do_not_fit(self, curves, message):
        with pytest.raises(InputError, match=message):
            allocate(curves, 10)


class TestSearch:
    @given(
        st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 5)), min_size=1, max_size=6),
        st.floats(0.01, 0.99),
        st.floats(-20, 20),
    )
    def test_brackets_the_price_of_any_falling_demand(self, jumps, share, start):
        def demand(price):
            return sum(size for log, size in jumps if price <= np.exp(log))

        target = share * demand(0.0)
        places = np.array([log for log, _ in jumps])
        for known in (places[:0], places[::2], places):
            above, below = price_of(demand, target, np.exp(start), np.exp(known))
            assert demand(above) <= target <= demand(below)
            assert below <= above <= below * (1 + 1e-11)

    @given(st.integers(0, 2**32 - 1), st.floats(0, 1))
    def test_shares_what_lies_between(self, seed, share):
        rng = np.random.default_rng(seed)
        few = rng.integers(0, 5, 6).astype(float)
        many = few + rng.integers(0, 3, 6)
        target = round(few.sum() + share * (many - few).sum())
        for whole in (False, True):
            given = between(few, many, target, whole)
            assert given.sum() == pytest.approx(target)
            assert (few <= given).all()
            assert (given <= many).all()
        assert (given == np.rint(given)).all()


def test_ten_thousand_lines():
    rng = np.random.default_rng(0)
    curves = PowerCurve(rng.lognormal(2, 1, 10_000), rng.uniform(0.2, 0.9, 10_000))
    plan = allocate(curves, 500_000.0)
    assert plan.spend.sum() == pytest.approx(500_000, rel=1e-12)
    spent = plan.spend > 0
    np.testing.assert_allclose(plan.marginal[spent], plan.shadow_price, rtol=SLOPES)


@pytest.mark.parametrize("floor", [33.333, 0.001, 999.999])
def test_floors_that_are_no_whole_cents_take_what_is_left_unspent(floor):
    plan = allocate(
        {"a": PowerCurve(2.0, 0.5)},
        1000,
        objective="profit",
        margin=0.001,
        bounds={"a": (floor, None)},
    )
    assert plan.unspent > 0
    assert plan.to_frame(unit=0.01).loc["a", "spend"] == math.ceil(floor * 100) / 100
