import datetime
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import Attribution, AttributionWarning, InputError, Journeys, Linear
from attribution.budget.curves import ExponentialCurve, PowerCurve
from attribution.budget.descriptive import descriptive_curves
from attribution.budget.over_time import attribute_by
from attribution.budget.returns import cost_per, return_on, returns
from attribution.budget.spend import Spend
from attribution.datasets import load_events, load_spend
from attribution.uncertainty import intervals

NAMES = ("a", "b", "c", "d / x", "e")
AMOUNTS = st.sampled_from([0.0, 0.0, 1.0, 2.5, 40.0])
CREDIT = st.dictionaries(st.sampled_from(NAMES), st.tuples(AMOUNTS, AMOUNTS))
LINES = ("a", "a / 1", "a / 2", "b", "c / 1", "d / x", "d / x / 1", "f", "f / 1")
CHANNELS = dict(zip(LINES, ("a", "a", "a", "b", "c", "d / x", "d / x", "f", "f"), strict=True))
MONEY = st.dictionaries(
    st.sampled_from(LINES), st.lists(AMOUNTS, min_size=2, max_size=2), min_size=1
)


def attributed(credit, **changes):
    """An attribution of (conversions, value) by channel."""
    channels = tuple(sorted(credit))
    columns = np.array([credit[name] for name in channels], dtype=float).reshape(-1, 2)
    conversions, value = columns.T
    return Attribution(
        **{
            "model": "linear",
            "channels": channels,
            "conversions": conversions,
            "values": value,
            "total_conversions": float(conversions.sum()) + 3.0,
            "total_value": float(value.sum()) + 5.0,
            "unattributed": 1.0,
            "unattributed_value": 5.0,
            "baseline": 2.0,
            "baseline_value": 0.0,
            **changes,
        }
    )


def moment(text):
    return round(datetime.datetime.fromisoformat(text + "+00:00").timestamp()) * 10**6


def money(amounts, **changes):
    """Spend of amounts per week by line, from Monday 2024-01-01 on."""
    lines = tuple(sorted(amounts))
    rows = np.array([amounts[line] for line in lines], dtype=float).T
    starts = moment("2024-01-01") + np.arange(len(rows)) * 7 * 86_400 * 10**6
    of = tuple(CHANNELS.get(line, line) for line in lines)
    fields = {"lines": lines, "channels": of, "amounts": rows, "starts": starts, "period": "W"}
    return Spend(**{**fields, **changes})


def owner(line, channels):
    """The line itself where it is a channel of the attribution, else its own channel."""
    return line if line in channels else CHANNELS[line]


def per(a, b):
    return a / b if b > 0 else math.inf if a > 0 else math.nan


def slow(credit, spent):
    """One row per channel in plain numbers."""
    paid = {}
    for line, amounts in spent.items():
        name = owner(line, credit)
        paid[name] = paid.get(name, 0.0) + sum(amounts)
    money_sum = sum(paid.values())
    sums = [sum(each[i] for each in credit.values()) for i in (0, 1)]
    rows = {}
    for name in sorted({*credit, *paid}):
        s, (c, v) = paid.get(name, 0.0), credit.get(name, (0.0, 0.0))
        rows[name] = {
            "spend": s,
            "conversions": c,
            "value": v,
            "cpa": per(s, c),
            "roas": v / s if s else math.nan,
            "roi": (v - s) / s if s else math.nan,
            "spend_share": s / money_sum if money_sum else math.nan,
            "conversions_share": c / sums[0] if sums[0] else math.nan,
            "value_share": v / sums[1] if sums[1] else math.nan,
        }
    return rows


@given(CREDIT, MONEY)
def test_every_figure_is_that_of_a_walk_over_channels(credit, spent):
    frame = returns(attributed(credit), money(spent))
    expected = pd.DataFrame.from_dict(slow(credit, spent), orient="index")
    assert list(frame.columns) == list(expected.columns)
    assert frame.index.tolist() == expected.index.tolist()
    assert frame.index.name == "channel"
    # a sum of a few numbers in another order
    np.testing.assert_allclose(frame.to_numpy(), expected.to_numpy(), rtol=1e-12)


@given(CREDIT, MONEY)
def test_nothing_is_lost(credit, spent):
    spend, attribution = money(spent), attributed(credit)
    frame = returns(attribution, spend)
    total = frame.attrs["total"]
    assert frame["spend"].sum() == pytest.approx(spend.total, rel=1e-12)
    assert total["spend"] == pytest.approx(spend.total, rel=1e-12)
    for of in ("conversions", "value"):
        rest = "unattributed" if of == "conversions" else "unattributed_value"
        base = "baseline" if of == "conversions" else "baseline_value"
        came_in = frame[of].sum() + total[rest] + total[base]
        assert came_in == pytest.approx(total[f"total_{of}"], rel=1e-12)
    c, v = (sum(each[i] for each in credit.values()) for i in (0, 1))
    blended = [per(spend.total, c), v / spend.total if spend.total else math.nan]
    np.testing.assert_allclose([total["cpa"], total["roas"]], blended, rtol=1e-12)
    np.testing.assert_allclose(total["roi"], blended[1] - 1, rtol=0, atol=1e-12)


def test_what_only_one_side_has():
    credit = {"email": (5.0, 50.0), "idle": (0.0, 0.0), "tv": (4.0, 80.0)}
    frame = returns(attributed(credit), money({"idle": [0, 0], "radio": [10, 0], "tv": [20, 20]}))
    assert frame["cpa"].to_dict() == pytest.approx(
        {"email": 0.0, "idle": math.nan, "radio": math.inf, "tv": 10.0}, nan_ok=True
    )
    assert frame["roas"].to_dict() == pytest.approx(
        {"email": math.nan, "idle": math.nan, "radio": 0.0, "tv": 2.0}, nan_ok=True
    )
    assert frame["roi"].to_dict() == pytest.approx(
        {"email": math.nan, "idle": math.nan, "radio": -1.0, "tv": 1.0}, nan_ok=True
    )


def test_without_value_there_are_costs_only():
    credit = attributed({"tv": (4.0, 0.0)}, values=None, total_value=None, unattributed_value=None)
    frame = returns(credit, money({"tv": [20, 20]}))
    assert list(frame) == ["spend", "conversions", "cpa", "spend_share", "conversions_share"]
    assert set(frame.attrs["total"]) == {
        "spend", "conversions", "unattributed", "baseline", "total_conversions", "cpa"
    }  # fmt: skip
    assert frame.attrs["model"] == "linear"


def test_a_model_without_baseline_has_none_in_the_total():
    credit = attributed({"tv": (4.0, 8.0)}, baseline=None, baseline_value=None)
    total = returns(credit, money({"tv": [20, 20]})).attrs["total"]
    assert (total["baseline"], total["baseline_value"]) == (0.0, 0.0)


def test_the_least_cost_comes_with_the_most_credit():
    columns = {
        "conversions_low": np.array([2.0, 0.0, np.nan]),
        "conversions_high": np.array([5.0, 1.0, np.nan]),
        "value_low": np.array([20.0, 0.0, np.nan]),
        "value_high": np.array([60.0, 9.0, np.nan]),
    }
    credit = attributed({"a": (4.0, 40.0), "b": (0.5, 3.0), "c": (1.0, 1.0)}, extra=columns)
    frame = returns(credit, money({"a": [6, 4], "b": [6, 4], "c": [6, 4], "z": [6, 4]}))
    expected = {
        "cpa_low": [2.0, 10.0, np.nan, np.inf],
        "cpa_high": [5.0, np.inf, np.nan, np.inf],
        "roas_low": [2.0, 0.0, np.nan, 0.0],
        "roas_high": [6.0, 0.9, np.nan, 0.0],
        "roi_low": [1.0, -1.0, np.nan, -1.0],
        "roi_high": [5.0, -0.1, np.nan, -1.0],
    }
    for name, column in expected.items():
        np.testing.assert_allclose(frame[name], column, rtol=1e-12)
    plain = returns(replace(credit, extra={}), money({"a": [6, 4]}))
    assert not [name for name in plain if name.endswith(("_low", "_high"))]


@pytest.mark.filterwarnings("ignore:In .* journeys the first")
def test_intervals_of_the_library_are_taken_over():
    journeys = Journeys.from_events(load_events(), value="value", channel_missing="drop")
    credit = intervals("linear", journeys, n_resamples=50)
    frame = returns(credit, Spend.from_frame(load_spend(), period="week"))
    paid = frame[frame["spend"] > 0]
    assert len(paid) == 8
    for figure in ("cpa", "roas", "roi"):
        assert (paid[f"{figure}_low"] < paid[figure]).all()
        assert (paid[figure] < paid[f"{figure}_high"]).all()


def test_credit_that_is_negative_or_unknown():
    spend = np.array([10.0, 10.0, 0.0, 0.0, 0.0])
    credit = np.array([-1.0, np.nan, -1.0, np.nan, 2.0])
    np.testing.assert_array_equal(cost_per(spend, credit), [np.inf, np.nan, np.nan, np.nan, 0.0])
    np.testing.assert_array_equal(return_on(spend, credit), [-0.1, np.nan, np.nan, np.nan, np.nan])


# At the margin


def test_marginals_are_read_at_the_mean_spend_per_period():
    credit = attributed({"a": (4.0, 40.0), "b": (2.0, 9.0), "c": (1.0, 2.0)})
    spend = money({"a / 1": [100, 300], "a / 2": [100, 300], "b": [0, 50], "z": [9, 0]})
    curves = {"a": PowerCurve(10.0, 0.5), "z": ExponentialCurve(0.0, 1.0)}
    frame = returns(credit, spend, curves=curves)
    # 10 x^(1/2) at x = 400 a week: the slope is 5 / 20
    assert frame["marginal_cpa"].tolist() == pytest.approx(
        [4.0, math.nan, math.nan, math.inf], nan_ok=True
    )
    assert "marginal_roas" not in frame
    worth = {"b": ExponentialCurve(80.0, 25.0, of="value")}
    frame = returns(credit, spend, curves=worth)
    slope = 80.0 * math.log(2.0) / 25.0 / 2.0  # at half of the scale it is half of that at 0
    nothing = [math.nan, math.nan]
    assert frame["marginal_roas"].tolist() == pytest.approx(
        [math.nan, slope, *nothing], nan_ok=True
    )
    assert frame["marginal_roi"].tolist() == pytest.approx(
        [math.nan, slope - 1, *nothing], nan_ok=True
    )
    assert "marginal_cpa" not in frame
    assert "statement" not in frame.attrs


def test_the_first_conversion_on_a_power_curve_costs_nothing():
    frame = returns(
        attributed({"a": (1.0, 1.0)}), money({"a": [0, 0]}), curves={"a": PowerCurve(3.0, 0.5)}
    )
    assert frame["marginal_cpa"].tolist() == [0.0]


@given(st.floats(1.0, 1e4), st.floats(1.0, 1e4), st.floats(1.0, 1e4))
def test_the_next_conversion_never_costs_less_than_the_mean_one(scale, half, spent):
    curve = ExponentialCurve(scale, half)
    credit = attributed({"a": (float(curve.value(spent)), 0.0)})
    spend = money({"a": [spent]})
    frame = returns(credit, spend, curves={"a": curve})
    assert frame["marginal_cpa"].item() >= frame["cpa"].item() * (1 - 1e-12)


@pytest.fixture(scope="module")
def fitted():
    journeys = Journeys.from_events(load_events(), value="value", channel_missing="drop")
    spend = Spend.from_frame(load_spend(), period="week", currency="EUR")
    curves = descriptive_curves(attribute_by(journeys, "linear", by="touch"), spend, n_draws=20)
    return Linear().attribute(journeys), spend, curves


@pytest.mark.filterwarnings("ignore")
def test_a_fit_says_what_its_figures_mean(fitted):
    credit, spend, curves = fitted
    frame = returns(credit, spend, curves=curves)
    assert frame.attrs["kind"] == "descriptive"
    assert frame.attrs["statement"] == curves.statement
    assert frame.attrs["currency"] == "EUR"
    for line, curve in curves.items():
        slope = curve.marginal(spend.today[line])
        assert frame.loc[line, "marginal_cpa"] == pytest.approx(1 / slope, rel=1e-12)
    assert frame.loc[sorted({*frame.index} - {*curves}), "marginal_cpa"].isna().all()
    in_money = returns(credit, spend, curves=curves.valued(30.0))
    expected = 30.0 / frame["marginal_cpa"]
    pd.testing.assert_series_equal(in_money["marginal_roas"], expected, check_names=False)


def test_a_curve_of_no_channel_is_named():
    curves = {"radoi": PowerCurve(10.0, 0.5)}
    with pytest.raises(InputError, match=r"'radoi' is of no channel .* Did you mean 'radio'"):
        returns(attributed({"tv": (4.0, 40.0)}), money({"radio": [10, 20]}), curves=curves)


def test_curves_must_be_of_the_periods_of_the_spend(fitted):
    credit, _, curves = fitted
    once = Spend.from_frame(load_spend())
    with pytest.raises(InputError, match=r"curves are per period 'W', spend is per None\. Hint:"):
        returns(credit, once, curves=curves)


def test_a_stack_of_curves_is_refused():
    stack = PowerCurve(np.array([1.0, 2.0]), 0.5)
    with pytest.raises(InputError, match=r"The curve of 'a' has an array as scale"):
        returns(attributed({"a": (1.0, 1.0)}), money({"a": [1, 1]}), curves={"a": stack})


# Units and times


def test_money_of_two_currencies_is_not_divided():
    credit, spend = attributed({"a": (1.0, 1.0)}), money({"a": [1, 1]}, currency="EUR")
    with pytest.raises(InputError, match=r"Spend is in EUR, value in USD\. Hint: convert"):
        returns(credit, spend, currency="USD")
    assert returns(credit, spend, currency="EUR").attrs["currency"] == "EUR"
    assert returns(credit, replace(spend, currency=None), currency="USD").attrs["currency"] == "USD"
    assert returns(credit, replace(spend, currency=None)).attrs["currency"] is None


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (("2024-01-01", "2024-01-15"), None),
        (("2024-01-02", "2024-01-14"), None),  # a day is let pass
        ((None, None), None),
        ((None, "2024-01-15"), None),
        (("2024-01-08", "2024-01-15"), "2024-01-08 to 2024-01-14"),
        (("2023-12-01", "2024-01-15"), "2023-12-01 to 2024-01-14"),
        (("2024-01-01", "2024-02-01"), "2024-01-01 to 2024-01-31"),
        ((None, "2024-01-08"), "the first event to 2024-01-07"),
        (("2025-01-01", None), "2025-01-01 to the last"),
    ],
)
def test_spend_of_another_time_is_told(window, told):
    period = tuple(None if end is None else moment(end) for end in window)
    credit, spend = attributed({"a": (1.0, 1.0)}, period=period), money({"a": [1, 1]})
    if told is None:
        returns(credit, spend)  # warnings are errors
        return
    text = f"Spend is of 2024-01-01 to 2024-01-14, the attribution of {told}, so"
    with pytest.warns(AttributionWarning, match=text):
        returns(credit, spend)
    returns(credit, replace(spend, starts=None, period=None))
    returns(replace(credit, period=None), spend)


def test_days_are_told_by_the_clock_of_the_spend():
    paid = pd.DataFrame({"channel": ["a"] * 2, "spend": [1.0, 1.0], "day": ["2024-05-01"] * 2})
    spend = Spend.from_frame(paid, period="day", freq="D", tz="Asia/Tokyo")
    credit = attributed({"a": (1.0, 1.0)}, period=(moment("2024-04-01"), None))
    with pytest.warns(AttributionWarning, match="Spend is of 2024-05-01 to 2024-05-01"):
        returns(credit, spend)


def test_a_table_is_no_spend():
    with pytest.raises(InputError, match=r"spend is a DataFrame\. Hint: Spend.from_frame"):
        returns(attributed({"a": (1.0, 1.0)}), load_spend())
