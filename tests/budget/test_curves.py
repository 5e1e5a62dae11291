import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial import ConvexHull

from attribution import InputError
from attribution.budget.curves import (
    Curve,
    ExponentialCurve,
    HillCurve,
    HillEnvelope,
    PowerCurve,
    carried_over,
)

scales = st.floats(0.1, 1e4)
halves = st.floats(0.01, 1e4)
spends = st.floats(0.0, 1e5)
above_0 = st.floats(1e-3, 1e5)

power = st.builds(PowerCurve, scales, st.floats(0.05, 1.0))
exponential = st.builds(ExponentialCurve, scales, halves)
hill = st.builds(HillCurve, scales, halves, st.floats(0.05, 1.0))
envelope = st.builds(HillEnvelope, scales, halves, st.floats(1.05, 8.0))
curves = st.one_of(power, exponential, hill, envelope)


def plain(curve, x):
    """The formula of the module, term by term; the envelope by its own definition."""
    s = curve.scale
    if isinstance(curve, PowerCurve):
        return s * x**curve.exponent
    k = curve.half_saturation
    if isinstance(curve, ExponentialCurve):
        return s * (1 - 2 ** (-x / k))
    h = curve.exponent
    if isinstance(curve, HillEnvelope):
        end = k * (h - 1) ** (1 / h)
        if x < end:
            return s * end**h / (k**h + end**h) / end * x
    return s * x**h / (k**h + x**h)


class TestValue:
    @given(curves, spends)
    def test_is_the_plain_formula(self, curve, x):
        # 1 - 2^(-x/k) loses digits where x is far below k
        small = 1e-16 * curve.scale
        assert curve.value(x) == pytest.approx(plain(curve, x), rel=1e-9, abs=small)

    @given(curves, above_0, above_0, st.floats(0, 1))
    def test_is_concave_and_rises(self, curve, one, other, share):
        middle = share * one + (1 - share) * other
        chord = share * curve.value(one) + (1 - share) * curve.value(other)
        assert curve.value(middle) >= chord * (1 - 1e-12)
        assert curve.value(max(one, other)) >= curve.value(min(one, other))

    @given(curves)
    def test_is_0_without_spend(self, curve):
        assert curve.value(0.0) == 0.0

    @given(st.one_of(exponential, hill))
    def test_has_half_of_its_scale_at_half_saturation(self, curve):
        assert curve.value(curve.half_saturation) == pytest.approx(curve.scale / 2)

    @given(scales, halves, st.floats(1.05, 8.0))
    def test_of_an_envelope_is_the_concave_hull_of_the_curve(self, s, k, h):
        x = np.concatenate([[0.0], k * np.geomspace(1e-3, 30, 3000)])
        y = s * x**h / (k**h + x**h)
        corners = ConvexHull(np.column_stack([x / k, y / s])).vertices
        upper = np.sort(corners[(y / s)[corners] >= (x / k)[corners] * (y[-1] / s) / (x[-1] / k)])
        hull = np.interp(x, x[upper], y[upper])
        found = HillEnvelope(s, k, h).value(x)
        assert (found >= y - 1e-12 * s).all()
        np.testing.assert_allclose(found, hull, atol=2e-5 * s)  # the grid is no finer

    def test_survives_what_overflows(self):
        assert HillCurve(2.0, 1e-10, 1.0).value(1e300) == 2.0
        assert HillEnvelope(2.0, 1e-3, 150.0).value(1e3) == 2.0
        assert ExponentialCurve(2.0, 1.0).value(1e6) == 2.0


class TestMarginal:
    @given(curves, above_0)
    def test_is_the_derivative(self, curve, x):
        step = 1e-5 * x
        rise = (curve.value(x + step) - curve.value(x - step)) / (2 * step)
        # differences lose digits where the curve is nearly level
        noise = 1e-15 * curve.value(x) / step
        assert curve.marginal(x) == pytest.approx(rise, rel=1e-4, abs=4 * noise)

    def test_at_0(self):
        assert PowerCurve(1.0, 0.5).marginal(0.0) == np.inf
        assert PowerCurve(0.0, 0.5).marginal(0.0) == 0.0
        assert PowerCurve(3.0, 1.0).marginal(0.0) == 3.0
        assert HillCurve(6.0, 2.0, 1.0).marginal(0.0) == 3.0
        assert HillCurve(6.0, 2.0, 0.5).marginal(0.0) == np.inf
        assert HillEnvelope(6.0, 2.0, 2.0).marginal(0.0) == 1.5  # 3 at the tangent point of 2


class TestInverse:
    @given(curves, st.floats(-6, 6))
    def test_is_that_found_by_search(self, curve, log_price):
        price = 10.0**log_price
        found = curve.inverse_marginal(price)

        def excess(log_x):
            slope = curve.marginal(np.exp(log_x))
            return np.log(slope / price) if slope > 0 else -1e3

        if isinstance(curve, PowerCurve) and curve.exponent == 1.0:
            assert found == (np.inf if curve.scale >= price else 0.0)
        elif excess(-200.0) < 0:
            assert found <= np.exp(-200.0)
        elif excess(200.0) > 0:
            assert found >= np.exp(200.0)
        else:
            # the slope changes slowly with spend where a curve is nearly straight
            log_x = brentq(excess, -200, 200, xtol=1e-14, rtol=1e-15)
            near = excess(np.log(found))
            assert near == pytest.approx(0, abs=1e-9) or np.log(found) == pytest.approx(log_x)

    @given(curves, above_0)
    def test_is_the_largest_spend_of_its_slope(self, curve, x):
        price = curve.marginal(x) * (1 - 1e-9)
        if price > 1e-200:
            found = curve.inverse_marginal(price)
            assert found >= x * (1 - 1e-9)
            if np.isfinite(found):
                assert curve.marginal(found * (1 + 1e-6)) < price * (1 + 1e-12)

    def test_where_no_spend_has_the_slope(self):
        assert ExponentialCurve(1.0, 1.0).inverse_marginal(1.0) == 0.0
        assert HillCurve(1.0, 1.0, 1.0).inverse_marginal(1.0) == 0.0
        assert HillEnvelope(6.0, 2.0, 2.0).inverse_marginal(1.6) == 0.0
        assert HillEnvelope(6.0, 2.0, 2.0).inverse_marginal(1.5) == 2.0
        for curve in (PowerCurve(0.0, 0.5), HillCurve(0.0, 1.0, 0.5), HillEnvelope(0.0, 1.0, 2.0)):
            assert curve.inverse_marginal(1e-3) == 0.0

    def test_of_a_straight_line_at_its_own_slope_is_without_end(self):
        assert PowerCurve(3.0, 1.0).inverse_marginal([2.9, 3.0, 3.1]).tolist() == [
            np.inf,
            np.inf,
            0,
        ]
        assert PowerCurve(3.0, np.array([1.0, 0.5])).inverse_marginal(3.0).tolist() == [
            np.inf,
            0.25,
        ]

    @pytest.mark.parametrize("price", [0.0, -1.0, np.nan])
    def test_refuses_a_price_that_is_none(self, price):
        with pytest.raises(InputError, match="is not above 0"):
            PowerCurve(1.0, 0.5).inverse_marginal(price)


class TestCarryOver:
    @given(
        st.lists(st.floats(0, 1e4), min_size=1, max_size=12),
        st.one_of(st.just(0.0), st.floats(0.001, 0.99)),
    )
    def test_is_the_mean_over_the_period_of_a_stock_that_fades(self, series, r):
        # a stock that money flows into and that fades all the time, in small steps; it begins at
        # the level of the first period for good
        steps = 500
        kept, stock, expected = r ** (1 / steps), series[0], []
        for paid in series:
            within = []
            for _ in range(steps):
                after = paid + kept * (stock - paid)
                within.append((stock + after) / 2 if r > 0 else paid)
                stock = after
            expected.append(sum(within) / steps)
        # trapezoids of an exponential: the error is that of the square of a step
        reach = 1e-6 * max(series) * (np.log(r) ** 2 if r else 1)
        np.testing.assert_allclose(carried_over(series, r), expected, rtol=0, atol=reach + 1e-12)

    @given(curves, spends)
    def test_of_steady_spend_changes_nothing(self, curve, x):
        steady = type(curve)(
            *(getattr(curve, name) for name in curve.parameters if name != "carry_over"),
            carry_over=0.6,
        )
        np.testing.assert_allclose(steady.over_time([x] * 4), curve.value(x), rtol=1e-12)

    def test_of_several_lines_at_once(self):
        series = np.array([[8.0, 1.0], [0.0, 1.0]])
        late = [0.5 / np.log(2), 0.75 / np.log(4)]
        np.testing.assert_allclose(
            carried_over(series, np.array([0.5, 0.25])), [[8, 1], [8 * late[0], 1]], rtol=1e-14
        )
        assert series[1, 0] == 0.0


class TestStacks:
    def test_stack_and_take_are_inverse(self):
        parts = [HillCurve(2.0, 3.0, 0.5, carry_over=0.2), HillCurve(4.0, 1.0, 1.0)]
        stacked = HillCurve.stack(parts)
        np.testing.assert_array_equal(
            stacked.value([5.0, 6.0]), [parts[0].value(5.0), parts[1].value(6.0)]
        )
        assert stacked.take(0).equals(parts[0])
        assert stacked.take(1).equals(parts[1])

    def test_numbers_go_with_arrays(self):
        curve = PowerCurve(np.array([1.0, 4.0]), 0.5)
        assert curve.value(4.0).tolist() == [2.0, 8.0]
        assert curve.take([1]).value(4.0).tolist() == [8.0]

    def test_over_time_each_curve_has_its_own_column(self):
        parts = [PowerCurve(2.0, 0.5, carry_over=0.2), PowerCurve(4.0, 0.7, carry_over=0.6)]
        spend = np.array([[4.0, 1.0], [0.0, 2.0], [9.0, 3.0]])
        found = PowerCurve.stack(parts).over_time(spend)
        for i, part in enumerate(parts):
            np.testing.assert_array_equal(found[:, i], part.over_time(spend[:, i]))

    def test_what_is_worth_a_value(self):
        curve = ExponentialCurve(80.0, 1000.0)
        assert curve.valued(2.5).value(1000) == 100.0
        assert curve.valued(2.5).of == "value"
        with pytest.raises(InputError, match="of value already"):
            curve.valued(2.5).valued(2.0)


class TestRefuses:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: PowerCurve(-1.0, 0.5), r"PowerCurve has scale=-1\.0. Hint: it lies from 0 on"),
            (lambda: PowerCurve(1.0, 1.5), r"exponent=1\.5. Hint: it lies above 0 and at most 1"),
            (lambda: HillCurve(1.0, 1.0, 2.0), r"exponent=2\.0.*HillEnvelope takes more"),
            (lambda: HillEnvelope(1.0, 1.0, 1.0), r"exponent=1\.0.*HillCurve takes less"),
            (lambda: HillCurve(1.0, 0.0, 1.0), r"half_saturation=0\.0. Hint: it lies above 0"),
            (lambda: PowerCurve(np.nan, 0.5), "scale=nan"),
            (lambda: PowerCurve("one", 0.5), "scale=one"),
            (lambda: PowerCurve(1.0, 0.5, carry_over=1.0), r"carry_over=1\.0"),
            (lambda: PowerCurve(np.array([1, -2, -3]), 0.5), r"scale=-2\.0 in 2 curves, first 1"),
            (lambda: PowerCurve(np.ones(2), np.full(3, 0.5)), r"shapes \[\(2,\), \(3,\)\]"),
            (lambda: PowerCurve(np.ones((2, 2)), 0.5), r"shapes \[\(2, 2\)\]"),
            (lambda: PowerCurve(1.0, 0.5, of="sales"), "of='sales' is not one of"),
            (lambda: PowerCurve(1.0, 0.5).value(-1.0), r"spend=-1\.0 is negative"),
            (lambda: PowerCurve(1.0, 0.5).marginal([1.0, -1.0]), r"spend=-1\.0 is negative"),
            (lambda: carried_over([-1.0], 0.5), r"spend=-1\.0 is negative"),
            (lambda: PowerCurve(1.0, 0.5).value([1.0, np.nan]), "spend=nan is no amount"),
            (lambda: carried_over([1.0], 1.0), r"carry_over=1\.0 is no share. Hint"),
            (lambda: carried_over([1.0], -0.1), r"carry_over=-0\.1 is no share"),
            (lambda: carried_over([[1.0, 2.0]], [0.5, np.nan]), "carry_over=nan is no share"),
            (lambda: carried_over(5.0, 0.5), r"spend has the shape \(\)"),
            (lambda: carried_over([1.0, 2.0], [0.5, 0.2]), r"\(2,\) and carry_over \(2,\)"),
            (lambda: PowerCurve(1.0, 0.5).over_time(5.0), r"spend has the shape \(\)"),
            (
                lambda: PowerCurve(np.ones(3), 0.5).over_time([1.0, 2.0, 3.0]),
                r"shape \(3,\) for 3 curves. Hint: one row per period",
            ),
            (
                lambda: PowerCurve(np.ones(3), 0.5).over_time(np.ones((3, 2))),
                r"shape \(3, 2\) for 3 curves",
            ),
            (
                lambda: PowerCurve.stack([PowerCurve(1.0, 0.5), PowerCurve(1.0, 0.5, of="value")]),
                r"Some of the curves are of conversions, others of value. Hint: curve\.valued",
            ),
            (
                lambda: PowerCurve(1.0, 0.5).valued(0.0),
                r"value_per_conversion=0\.0 is not a number",
            ),
            (lambda: PowerCurve(1.0, 0.5).valued(np.nan), "value_per_conversion=nan"),
            (lambda: PowerCurve(1.0, 0.5).valued(np.inf), "value_per_conversion=inf"),
            (lambda: PowerCurve(1.0, 0.5).valued("5"), "value_per_conversion='5'"),
            (lambda: PowerCurve(1.0, 0.5).valued(True), "value_per_conversion=True"),
        ],
    )
    def test_what_does_not_fit(self, make, message):
        with pytest.raises(InputError, match=message):
            make()

    def test_changes(self):
        scale = np.array([1.0, 2.0])
        curve = PowerCurve(scale, 0.5)
        scale[0] = 9.0
        assert curve.scale.tolist() == [1.0, 2.0]
        with pytest.raises(ValueError, match="read-only"):
            curve.scale[0] = 3.0
        with pytest.raises(AttributeError):
            curve.exponent = 0.4
        assert pickle.loads(pickle.dumps(curve)).equals(curve)
        assert isinstance(curve, Curve)
