from itertools import product

import numpy as np
import pytest
from allocation_oracle import random_curve
from hypothesis import given
from hypothesis import strategies as st

from attribution import AttributionWarning, InputError
from attribution.budget.allocation import allocate, allocate_by_credit
from attribution.budget.cents import whole_units
from attribution.budget.curves import HillEnvelope, PowerCurve

EXACT = 1e-11  # outcomes of plans whose steps tie differ by rounding
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*end below the point"),
    pytest.mark.filterwarnings("ignore:.*is not spent"),
]


def exhaustive(curves, budget, step, *, bounds, groups, fixed, weight=None, cost=0.0, roas=0.0):
    """The best outcome of all plans in whole steps, by trying each; None where there is none."""
    lines = list(curves)
    choices = []
    for line in lines:
        if line in fixed:
            choices.append([fixed[line]])
            continue
        low, high = bounds.get(line, (None, None))
        every = step * np.arange(int(budget / step + 1e-9) + 1)
        choices.append([x for x in every if (low or 0) <= x <= (high or np.inf)])
    plans = np.array(list(product(*choices)))
    kept = plans.sum(axis=1) <= budget + 1e-9
    for members, low, high in groups.values():
        spent = plans[:, [line in members for line in lines]].sum(axis=1)
        kept &= (spent >= (low or 0) - 1e-9) & (spent <= (high or np.inf) + 1e-9)
    each = np.column_stack([c.value(x) for c, x in zip(curves.values(), plans.T, strict=True)])
    kept &= each.sum(axis=1) >= roas * plans.sum(axis=1) - 1e-9
    if not kept.any():
        return None
    weight = np.ones(len(lines)) if weight is None else weight
    return float((each @ weight - cost * plans.sum(axis=1))[kept].max())


def stepped_problem(rng, of="conversions"):
    """Four lines, limits that are no whole steps, one of them fixed at times, nested groups."""
    curves = {f"l{i}": random_curve(rng, of) for i in range(4)}
    if rng.random() < 0.3:
        curves["l1"] = curves["l0"]
    bounds = {"l0": (rng.uniform(0, 0.5), None), "l2": (None, rng.uniform(0.6, 3.0))}
    fixed = {"l3": 0.37} if rng.random() < 0.4 else {}
    groups = {}
    if rng.random() < 0.7:
        groups["three"] = (["l0", "l1", "l3"], rng.uniform(0.5, 1.2), rng.uniform(1.9, 3.0))
    if rng.random() < 0.7:
        groups["two"] = (["l0", "l1"], rng.uniform(0.0, 0.5), rng.uniform(1.0, 2.0))
    options = {"bounds": bounds, "fixed": fixed, "groups": groups}
    return curves, rng.uniform(2.5, 4.0), 0.25, options


class TestSteps:
    @given(st.integers(0, 2**32 - 1))
    def test_are_the_best_of_all(self, seed):
        curves, budget, step, options = stepped_problem(np.random.default_rng(seed))
        plan = allocate(curves, budget, step=step, **options)
        assert plan.totals["outcome"] == pytest.approx(
            exhaustive(curves, budget, step, **options), rel=EXACT
        )
        free = np.array([line not in options["fixed"] for line in curves])
        np.testing.assert_allclose(plan.spend[free] % step, 0, atol=1e-12)
        for members, low, high in options["groups"].values():
            spent = sum(plan.spend[plan.lines.index(line)] for line in members)
            assert low - 1e-9 <= spent <= high + 1e-9

    @given(st.integers(0, 2**32 - 1))
    def test_of_profit_are_the_best_of_all(self, seed):
        rng = np.random.default_rng(seed)
        curves, budget, step, options = stepped_problem(rng, of="value")
        weight = rng.uniform(0.2, 1.0, 4)
        margin = dict(zip(curves, weight, strict=True))
        plan = allocate(curves, budget, step=step, objective="profit", margin=margin, **options)
        expected = exhaustive(curves, budget, step, weight=weight, cost=1.0, **options)
        assert plan.totals["profit"] == pytest.approx(expected, rel=EXACT, abs=EXACT)

    @given(st.integers(0, 2**32 - 1), st.booleans())
    def test_with_a_return_are_the_best_of_all(self, seed, profit):
        rng = np.random.default_rng(seed)
        curves, budget, step, options = stepped_problem(rng, of="value")
        if rng.random() < 0.3:  # steps that tie
            curves["l0"] = curves["l1"] = PowerCurve(1.2, 1.0, of="value")
        weight, cost, more = np.ones(4), 0.0, {"objective": "value"}
        if profit:
            weight, cost, more = np.full(4, 0.7), 1.0, {"objective": "profit", "margin": 0.7}
        before = allocate(curves, budget, step=step, **more, **options)
        roas = before.totals["outcome"] / before.totals["spend"] * rng.uniform(0.9, 1.3)
        expected = exhaustive(curves, budget, step, weight=weight, cost=cost, roas=roas, **options)
        if expected is None:
            with pytest.raises(InputError, match="No plan within the limits returns"):
                allocate(curves, budget, step=step, min_roas=roas, **more, **options)
            return
        plan = allocate(curves, budget, step=step, min_roas=roas, **more, **options)
        reached = plan.totals["profit" if profit else "outcome"]
        assert reached == pytest.approx(expected, rel=EXACT, abs=EXACT)

    def test_that_tie_go_in_the_order_of_lines(self):
        curves = {name: PowerCurve(1.0, 0.5) for name in "abc"}
        plan = allocate(curves, 50, step=10)
        assert plan.spend.tolist() == [20, 20, 10]
        assert plan.bound == ("step",) * 3

    def test_on_the_straight_part_of_an_envelope_fill_one_line_first(self):
        curves = {"a": HillEnvelope(10.0, 40.0, 2.0), "b": HillEnvelope(10.0, 40.0, 2.0)}
        assert allocate(curves, 60, step=20).spend.tolist() == [40, 20]

    def test_that_do_not_fill_the_budget_leave_the_rest(self, recwarn):
        plan = allocate({"a": PowerCurve(1.0, 0.5), "b": PowerCurve(1.0, 0.5)}, 105, step=10)
        assert plan.unspent == pytest.approx(5)
        assert not recwarn.list

    def test_price_is_the_gain_of_the_next_step(self):
        curve = PowerCurve(1.0, 0.5)
        plan = allocate({"a": curve, "b": PowerCurve(0.1, 0.5)}, 40, step=10)
        assert plan.spend.tolist() == [40, 0]
        assert plan.shadow_price == pytest.approx((curve.value(50) - curve.value(40)) / 10)

    def test_by_credit_give_a_step_to_each_line_first(self):
        plan = allocate_by_credit({"a": 96, "b": 2, "c": 2, "d": 0}, 100, step=10)
        assert plan.spend.tolist() == [80, 10, 10, 0]

    def test_that_no_limit_leaves_room_for(self):
        curves = {"a": PowerCurve(1.0, 0.5), "b": PowerCurve(1.0, 0.5)}
        with pytest.raises(InputError, match="step=10 has no multiple for 'a' in 12 to 18"):
            allocate(curves, 100, step=10, bounds={"a": (12, 18)})

    def test_of_which_there_are_very_many_do_not_overspend(self):
        curves = {name: PowerCurve(1.0, 0.5) for name in "abc"}
        plan = allocate(curves, 1e7, step=0.01)
        assert np.rint(plan.spend * 100).sum() == 10**9
        plan = allocate(curves, 1e7, step=0.01, bounds={"a": (None, 100.0), "b": (0, 200.0)})
        assert np.rint(plan.spend * 100).tolist() == [10_000, 20_000, 10**9 - 30_000]
        plan = allocate(curves, 2e7, step=0.01, groups={"g": (["a"], 1e7 - 0.005, 1e7 + 0.006)})
        assert np.rint(plan.spend[0] * 100) == 10**9
        plan = allocate({"a": curves["a"]}, 2e7, step=0.01, bounds={"a": (None, 1e7 - 0.004)})
        assert np.rint(plan.spend[0] * 100) == 10**9 - 1

    def test_of_which_very_many_tie_with_a_return(self):
        curves = {"a": PowerCurve(4.0, 0.5, of="value"), "b": PowerCurve(1.0, 1.0, of="value")}
        options = {"objective": "value", "min_roas": 1.000001, "step": 0.01}
        plan = allocate(curves, 1e9, **options)  # a gives 4 beyond its spend, b just its spend
        assert plan.totals["outcome"] >= 1.000001 * plan.totals["spend"] * (1 - 1e-12)
        assert plan.spend.sum() == pytest.approx(4e6, rel=1e-5)

    def test_of_which_there_are_very_many_keep_floors_and_budget_apart(self):
        curves = {name: PowerCurve(1.0, 0.5) for name in "ab"}
        with pytest.raises(
            InputError, match=r"budget=10,000,000 is below the floors, 10,000,000\.01"
        ):
            allocate(curves, 1e7, step=0.01, bounds={"a": (1e7 + 0.01, None)})
        message = (
            "Group 'g' must spend 10,000,000.01 on its free lines, but they can take 10,000,000 "
        )
        with pytest.raises(InputError, match=message):
            allocate(
                *(curves, 3e7),
                **{
                    "step": 0.01,
                    "bounds": {"a": (0, 1e7)},
                    "groups": {"g": (["a"], 1e7 + 0.01, None)},
                },
            )

    def test_ceilings_hold(self):
        curves = {"a": PowerCurve(1.0, 0.5), "b": PowerCurve(1.0, 0.5)}
        with pytest.warns(AttributionWarning, match="70 of the budget of 100 is not spent"):
            plan = allocate(curves, 100, step=10, bounds={"a": (0, 15), "b": (0, 29)})
        assert plan.spend.tolist() == [10, 20]
        assert plan.bound == ("ceiling", "ceiling")


class TestRounding:
    """`Plan.to_frame(unit=...)` and `Plan.rounded`."""

    curves = {name: PowerCurve(1.0, 0.5) for name in "abc"}  # noqa: RUF012

    def test_never_exceeds_the_budget_nor_moves_a_fixed_line(self):
        plan = allocate(self.curves, 1060, fixed={"a": 250})
        assert plan.to_frame(unit=100)["spend"].tolist() == [250, 400, 400]

    def test_never_passes_a_ceiling(self):
        plan = allocate(self.curves, 160, bounds={"a": (None, 60)})
        assert plan.to_frame(unit=100)["spend"].tolist() == [0, 100, 0]

    def test_never_passes_the_return_of_a_line(self):
        curves = {name: PowerCurve(6.0, 0.5, of="value") for name in "ab"}
        plan = allocate(curves, 18.2, objective="value", min_roas={"a": 2.3})
        assert plan.spend == pytest.approx([(6 / 2.3) ** 2, 11.4], abs=0.01)  # 6.805 at most
        assert plan.rounded(1.0).tolist() == [6, 12]

    def test_limits_that_leave_no_room(self):
        plan = allocate(self.curves, 160, bounds={"a": (60, 70)})
        with pytest.raises(InputError, match=r"unit=100 .*'a' has no multiple.*step=100\)"):
            plan.to_frame(unit=100)
        plan = allocate(self.curves, 160, bounds={"a": (60, None), "b": (60, None)})
        with pytest.raises(InputError, match="floors need 200 of the 160 that there are"):
            plan.to_frame(unit=100)
        plan = allocate(self.curves, 1000, bounds={"a": (464, 1e3), "b": (267, 1e3)})
        assert plan.rounded(50.0).tolist() == [500, 300, 200]
        plan = allocate(self.curves, 160, groups={"g": (["a", "b"], 130, 150)})
        with pytest.raises(InputError, match="group 'g' has no multiple"):
            plan.to_frame(unit=100)

    @pytest.mark.parametrize("unit", [0, -1, np.nan, np.inf, "cents", True])
    def test_refuses_what_is_no_unit(self, unit):
        with pytest.raises(InputError, match=r"unit=.* is not above 0\. Hint"):
            allocate(self.curves, 160).to_frame(unit=unit)

    def test_rounds_today_and_change_too(self):
        today = {"a": 33.333, "b": 33.333, "c": 33.334}
        frame = allocate(self.curves, 200.0, today=today).to_frame(unit=0.01)
        assert frame["today"].tolist() == [33.33, 33.33, 33.34]
        assert frame["change"].tolist() == (frame["spend"] - frame["today"]).tolist()
        outcome = np.sqrt(frame["today"])
        assert frame["outcome_today"].tolist() == pytest.approx(outcome.tolist())

    @given(st.integers(0, 2**32 - 1))
    def test_is_the_most_that_fits(self, seed):
        rng = np.random.default_rng(seed)
        curves, budget, _, options = stepped_problem(rng)
        plan = allocate(curves, budget, **options)
        unit = float(rng.choice([0.25, 0.1, 0.01]))
        kept = rounded_plans(plan, unit, options)
        if not len(kept):
            with pytest.raises(InputError, match="too coarse for the limits"):
                plan.rounded(unit)
            return
        found = plan.rounded(unit)
        fixed = ~plan.problem.limits.free
        assert (found[fixed] == plan.spend[fixed]).all()
        near = np.abs(kept - found).max(axis=1)
        assert near.min() < 1e-9  # allowed
        assert found.sum() == pytest.approx(kept.sum(axis=1).max(), abs=1e-9)
        if not options["groups"]:  # and the nearest of those
            most = kept[kept.sum(axis=1) > found.sum() - 1e-9]
            distance = ((most - plan.spend) ** 2).sum(axis=1)
            assert ((found - plan.spend) ** 2).sum() <= distance.min() + 1e-9

    @given(st.integers(0, 2**32 - 1))
    def test_money_in_cents_adds_up_to_the_cent(self, seed):
        rng = np.random.default_rng(seed)
        curves = {f"l{i}": random_curve(rng) for i in range(6)}
        cents = rng.integers(1, 10 ** rng.integers(3, 12))
        fixed = {"l0": int(rng.integers(0, cents)) / 100}
        plan = allocate(curves, cents / 100, fixed=fixed)
        spend = plan.to_frame(unit=0.01)["spend"]
        assert spend["l0"] == fixed["l0"]
        assert np.rint(spend * 100).sum() == cents
        assert (np.abs(spend - plan.spend) < 0.01 * (1 + 1e-9)).all()

    @given(st.integers(0, 2**32 - 1))
    def test_cents_that_limits_cost_go_to_lines_with_room(self, seed):
        rng = np.random.default_rng(seed)
        curves = {f"l{i}": random_curve(rng) for i in range(40)}
        today = dict(zip(curves, rng.uniform(1, 100, 40), strict=True))
        budget = round(sum(today.values()) * rng.uniform(0.8, 1.2), 2)
        plan = allocate(curves, budget, today=today, max_change=0.3)
        found, now = plan.rounded(0.01), np.array(list(today.values()))
        assert np.rint(found * 100).sum() == pytest.approx(budget * 100)
        assert (found >= 0.7 * now * (1 - 1e-9)).all()
        assert (found <= 1.3 * now * (1 + 1e-9)).all()


def rounded_plans(plan, unit, options):
    """All plans in whole units about a plan of four lines that are within the limits."""
    choices = []
    for line, spend in zip(plan.lines, plan.spend, strict=True):
        if line in options["fixed"]:
            choices.append([spend])
            continue
        low, high = options["bounds"].get(line, (None, None))
        near = unit * np.arange(np.floor(spend / unit) - 4, np.ceil(spend / unit) + 5)
        choices.append([x for x in near if (low or 0) - 1e-9 <= x <= (high or np.inf) + 1e-9])
    plans = np.array(list(product(*choices))).reshape(-1, len(plan.lines))
    kept = plans.sum(axis=1) <= plan.spend.sum() + 1e-9
    for members, low, high in options["groups"].values():
        spent = plans[:, [line in members for line in plan.lines]].sum(axis=1)
        kept &= (spent >= low - 1e-9) & (spent <= high + 1e-9)
    return plans[kept]


class TestWholeUnits:
    @given(
        st.lists(st.floats(0, 1e7), min_size=1, max_size=20),
        st.sampled_from([0.01, 0.05, 1.0, 100.0, 0.3]),
    )
    def test_keep_the_sum_and_move_less_than_a_unit(self, amounts, unit):
        found = whole_units(np.array(amounts), unit)
        counts = found / unit
        np.testing.assert_allclose(counts, np.rint(counts), atol=1e-6)
        assert np.rint(counts).sum() == pytest.approx(np.sum(amounts) / unit, abs=0.5 + 1e-6)
        assert (np.abs(found - amounts) < unit * (1 + 1e-9)).all()
        assert (found >= 0).all()
        assert (found[np.array(amounts) == 0] == 0).all()

    @given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
    def test_whole_cents_stay_to_the_last_bit(self, cents):
        amounts = np.array(cents) / 100
        assert whole_units(amounts).tolist() == amounts.tolist()

    def test_units_go_to_the_largest_remainders_ties_to_the_first(self):
        assert whole_units([1.2, 1.4, 1.4], 1.0).tolist() == [1, 2, 1]
        assert whole_units([0.5, 0.5, 0.5, 0.5], 1.0).tolist() == [1, 1, 0, 0]

    def test_scale_to_a_total(self):
        assert whole_units([1.0, 2.0], 0.01, total=100.0).tolist() == [33.33, 66.67]

    @pytest.mark.parametrize(
        ("amounts", "options", "message"),
        [
            ([1.0, np.nan], {}, "nan in row 1"),
            ([1.0], {"unit": 0}, "unit=0 is not above 0"),
            ([1.0], {"unit": "cents"}, "unit='cents' is not above 0"),
            ([0.0], {"total": 5.0}, "sum to 0"),
            ([1.0], {"total": -5.0}, "total=-5.0 is not a number from 0 on"),
            ([1.0], {"total": "5"}, "total='5' is not a number"),
        ],
    )
    def test_refuse(self, amounts, options, message):
        with pytest.raises(InputError, match=message):
            whole_units(amounts, **options)
