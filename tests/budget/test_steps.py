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

    def test_ceilings_hold(self):
        curves = {"a": PowerCurve(1.0, 0.5), "b": PowerCurve(1.0, 0.5)}
        with pytest.warns(AttributionWarning, match="70 of the budget of 100 is not spent"):
            plan = allocate(curves, 100, step=10, bounds={"a": (0, 15), "b": (0, 29)})
        assert plan.spend.tolist() == [10, 20]
        assert plan.bound == ("ceiling", "ceiling")


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
            ([0.0], {"total": 5.0}, "sum to 0"),
        ],
    )
    def test_refuse(self, amounts, options, message):
        with pytest.raises(InputError, match=message):
            whole_units(amounts, **options)
