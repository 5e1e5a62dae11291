from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from attribution import Attribution, Lift
from attribution.budget.curves import ExponentialCurve, HillCurve, PowerCurve
from attribution.budget.descriptive import descriptive_curves
from attribution.budget.fit import STATEMENTS, CurveFit, quality_of
from attribution.budget.incremental import incremental_curves
from attribution.budget.over_time import CreditOverTime
from attribution.budget.panel import Panel
from attribution.budget.shapes import acting, half_life_of
from attribution.budget.spend import Spend
from attribution.errors import AttributionWarning, InputError

WEEK = 7 * 86_400_000_000
MONDAY = 1_704_067_200_000_000  # 2024-01-01
LINES = ("search", "social", "tv")


def spend_of(amounts: np.ndarray, lines: tuple[str, ...] = LINES, **options: object) -> Spend:
    starts = MONDAY + np.arange(len(amounts)) * WEEK
    return replace(Spend(lines=lines, amounts=amounts, starts=starts, period="W"), **options)


def credit_of(
    conversions: np.ndarray,
    channels: tuple[str, ...] = LINES,
    totals: np.ndarray | None = None,
    **options: object,
) -> CreditOverTime:
    n = len(conversions)
    credit = CreditOverTime(
        model="linear",
        by="touch",
        period="W",
        tz="UTC",
        starts=MONDAY + np.arange(n) * WEEK,
        channels=channels,
        conversions=conversions,
        values=None,
        unattributed=np.zeros(n),
        unattributed_values=None,
        totals=conversions.sum(axis=1) if totals is None else totals,
        total_values=None,
        complete=np.ones(n, dtype=bool),
    )
    return replace(credit, **options)


def random_spend(seed: int = 0, n: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.lognormal(0.0, 0.6, (n, 3)) * np.array([1000.0, 2000.0, 4000.0])


CURVES = (
    ExponentialCurve(60.0, 1200.0),
    ExponentialCurve(80.0, 1500.0),
    ExponentialCurve(90.0, 6000.0),
)


def sold_of(amounts: np.ndarray, noise: float = 3.0, seed: int = 1) -> np.ndarray:
    brought = sum(curve.value(amounts[:, i]) for i, curve in enumerate(CURVES))
    return 200.0 + brought + noise * np.random.default_rng(seed).standard_normal(len(amounts))


@pytest.fixture(scope="module")
def fitted() -> CurveFit:
    amounts = random_spend()
    return incremental_curves(sold_of(amounts), spend_of(amounts), carry_over=0.0)


# incremental


def test_exact_curves_are_recovered() -> None:
    amounts = random_spend()
    curves = incremental_curves(sold_of(amounts, 0.0), spend_of(amounts), carry_over=0.0)
    assert list(curves) == list(LINES)
    for line, truth in zip(LINES, CURVES, strict=True):
        # the least sigma is a millionth of the outcome, so that priors weigh next to nothing
        assert curves[line].scale == pytest.approx(truth.scale, rel=1e-3)
        assert curves[line].half_saturation == pytest.approx(truth.half_saturation, rel=1e-3)


def test_exact_carry_over_is_recovered() -> None:
    amounts = random_spend()
    shares = np.array([0.1, 0.4, 0.6])
    a = acting(amounts, half_life_of(shares)[None])[0]
    sold = 200.0 + sum(curve.value(a[:, i]) for i, curve in enumerate(CURVES))
    curves = incremental_curves(sold, spend_of(amounts))
    found = [curves[line].carry_over for line in LINES]
    assert found == pytest.approx(shares, abs=1e-3)


def test_the_fit_says_what_it_is(fitted: CurveFit) -> None:
    assert fitted.kind == "incremental"
    assert fitted.statement.startswith(STATEMENTS["incremental"])
    assert "2 harmonics" in fitted.statement
    assert "0 lift tests" in fitted.statement
    assert fitted.statement in repr(fitted)
    assert fitted.to_frame().attrs["statement"] == fitted.statement
    assert set(STATEMENTS) == {"descriptive", "calibrated credit", "incremental"}


def test_frame_reads_the_curves(fitted: CurveFit) -> None:
    frame = fitted.to_frame({"tv": 9000.0}, confidence=0.8)
    row, curve, draws = frame.loc["tv"], fitted["tv"], fitted.draws["tv"]
    marginals = draws.marginal(9000.0)
    assert row["value"] == curve.value(9000.0)
    assert row["average"] == curve.value(9000.0) / 9000.0
    assert row["marginal"] == curve.marginal(9000.0)
    assert row["marginal_low"] == np.quantile(marginals, 0.1)
    assert row["marginal_se"] == marginals.std()
    assert row["today"] == fitted.today["tv"]
    assert frame.loc["search", "spend"] == fitted.today["search"]
    assert (frame["marginal_low"] < frame["marginal_high"]).all()
    assert np.isnan(fitted.to_frame({"tv": 0.0}).loc["tv", "average"])


def test_frame_refuses_what_it_does_not_know(fitted: CurveFit) -> None:
    with pytest.raises(InputError, match=r"no line 'tvv'\. Did you mean 'tv'"):
        fitted.to_frame({"tvv": 1.0})
    with pytest.raises(InputError, match="confidence"):
        fitted.to_frame(confidence=1.5)
    with pytest.raises(InputError, match="negative"):
        fitted.to_frame({"tv": -1.0})
    with pytest.raises(KeyError, match="Did you mean 'tv'"):
        fitted["tvv"]


def test_frame_of_power_curves_at_0_has_ends(fitted: CurveFit) -> None:
    amounts = random_spend()
    curves = descriptive_curves(credit_of(2.0 * np.sqrt(amounts)), spend_of(amounts))
    scale = np.append(np.zeros(30), np.ones(70))
    mixed = replace(curves, draws={**curves.draws, "tv": PowerCurve(scale, 0.5)})
    for fit, low in ((curves, np.inf), (mixed, 0.0)):
        row = fit.to_frame({"tv": 0.0}).loc["tv"]
        assert (row["marginal_low"], row["marginal_high"]) == (low, np.inf)
        assert row["marginal_se"] == np.inf


def test_some_lines_are_the_same_fit(fitted: CurveFit) -> None:
    some = fitted.take(["tv", "search"])
    assert list(some) == ["tv", "search"]
    assert (some.kind, some.statement, some.period) == ("incremental", fitted.statement, "W")
    assert some.quality == fitted.quality
    assert some.to_frame().equals(fitted.to_frame().loc[["tv", "search"]])
    assert some.draws["tv"].equals(fitted.draws["tv"])
    assert list(some.observed) == ["tv", "search"]
    with pytest.raises(InputError, match=r"no line 'tvv'\. Did you mean 'tv'"):
        fitted.take(["search", "tvv"])
    for wrong in ("tv", []):
        with pytest.raises(InputError, match=r"is no list of lines\. Hint"):
            fitted.take(wrong)


def test_valued_multiplies_curves_and_draws(fitted: CurveFit) -> None:
    worth = fitted.valued(50.0)
    assert worth.of == "value"
    assert worth["tv"].value(3000.0) == pytest.approx(50 * fitted["tv"].value(3000.0), rel=1e-12)
    expected = 50 * fitted.draws["tv"].marginal(3000.0)
    assert worth.draws["tv"].marginal(3000.0) == pytest.approx(expected, rel=1e-12)
    assert worth.quality["residual_sd"] == 50 * fitted.quality["residual_sd"]
    assert worth.quality["r2"] == fitted.quality["r2"]
    for wrong in (0.0, -1.0, np.nan, np.inf, "50", True):
        with pytest.raises(InputError, match=r"value_per_conversion=.* is not a number above 0"):
            fitted.valued(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="of value already"):
        worth.valued(2.0)


def test_same_input_same_bits(fitted: CurveFit) -> None:
    amounts = random_spend()
    again = incremental_curves(sold_of(amounts), spend_of(amounts), carry_over=0.0)
    assert fitted.equals(again)
    other = incremental_curves(sold_of(amounts), spend_of(amounts), carry_over=0.0, random_state=7)
    assert other["tv"].equals(fitted["tv"])
    assert not other.draws["tv"].equals(fitted.draws["tv"])
    assert pickle.loads(pickle.dumps(fitted)).equals(fitted)
    assert copy.deepcopy(fitted).equals(fitted)


def test_names_and_order_of_lines_do_not_matter(fitted: CurveFit) -> None:
    amounts = random_spend()
    turned = spend_of(amounts[:, ::-1], ("a", "b", "c"))  # tv, social, search
    curves = incremental_curves(sold_of(amounts), turned, carry_over=0.0)
    for line, name in zip(("a", "b", "c"), LINES[::-1], strict=True):
        # the same minimum, found to the tolerance of the solver
        assert curves[line].scale == pytest.approx(fitted[name].scale, rel=1e-3)
    low, high = (fit.to_frame()["marginal_se"].to_numpy() for fit in (fitted, curves))
    # 500 draws tell a standard deviation to 3 %
    assert high[::-1] == pytest.approx(low, rel=0.2)


def test_the_unit_of_money_does_not_matter(fitted: CurveFit) -> None:
    amounts = random_spend()
    cents = incremental_curves(sold_of(amounts), spend_of(100 * amounts), carry_over=0.0)
    for line in LINES:
        marginal = fitted[line].marginal(fitted.today[line])
        assert cents[line].marginal(cents.today[line]) == pytest.approx(marginal / 100, rel=1e-5)


def test_a_line_without_effect_stays_near_0_with_its_end_at_0() -> None:
    amounts = random_spend(4)
    sold = 200.0 + CURVES[0].value(amounts[:, 0])
    sold += 5.0 * np.random.default_rng(2).standard_normal(len(sold))
    frame = incremental_curves(sold, spend_of(amounts)).to_frame()
    assert frame.loc["search", "marginal_low"] > 0
    assert frame.loc[["social", "tv"], "marginal_low"].tolist() == [0.0, 0.0]
    truth = CURVES[0].marginal(amounts[:, 0].mean())
    assert frame.loc["tv", "marginal_high"] < truth / 3


def test_incomplete_periods_are_left_out_and_counted() -> None:
    amounts = random_spend()
    sold, whole = sold_of(amounts), np.ones(80, dtype=bool)
    whole[[0, 79]] = False
    sold_wrong = np.where(whole, sold, 1e6)
    credit = credit_of(np.zeros((80, 3)), totals=sold_wrong, complete=whole)
    curves = incremental_curves(credit, spend_of(amounts), carry_over=0.0)
    assert curves.quality["n_periods"] == 78
    assert curves.quality["n_left_out"] == 2
    assert curves["tv"].value(4000.0) == pytest.approx(CURVES[2].value(4000.0), rel=0.3)


def test_outcome_is_matched_by_period() -> None:
    amounts = random_spend()
    sold = sold_of(amounts)
    shifted = credit_of(
        np.zeros((70, 3)), totals=sold[10:], starts=MONDAY + np.arange(10, 80) * WEEK
    )
    with pytest.warns(AttributionWarning, match="10 periods .* of the spend without outcome"):
        curves = incremental_curves(shifted, spend_of(amounts), carry_over=0.0, season=0)
    assert curves.quality["n_periods"] == 70
    # spend before the first outcome is known; without carry-over it changes only the mean
    short = incremental_curves(sold[10:], spend_of(amounts[10:]), carry_over=0.0, season=0)
    value = short["tv"].value(4000.0)
    assert curves["tv"].value(4000.0) == pytest.approx(value, rel=0.02)


def test_periods_that_one_side_lacks_are_counted_and_named() -> None:
    amounts = random_spend()
    credit = credit_of(0.01 * amounts, totals=sold_of(amounts))
    whole = np.ones(80, dtype=bool)
    whole[79] = False  # incomplete: would be left out with spend as well
    late = replace(credit, starts=credit.starts + 3 * WEEK, complete=whole)
    match = (
        r"Left out of the fit: 3 periods \(from 2024-01-01 to 2024-01-15\) of the spend without "
        r"outcome; 2 periods \(from 2025-07-14 to 2025-07-21\) of the outcome without spend\. Hint"
    )
    for fit_curves in (incremental_curves, descriptive_curves):
        with pytest.warns(AttributionWarning, match=match):
            quality = fit_curves(late, spend_of(amounts), carry_over=0.0, n_draws=10).quality
        assert (quality["n_periods"], quality["n_unmatched"], quality["n_left_out"]) == (77, 5, 0)
    short = spend_of(amounts[:79])
    with pytest.warns(AttributionWarning, match=r"1 period \(2025-07-07\) of the outcome without"):
        incremental_curves(credit, short, carry_over=0.0, n_draws=10)


def test_array_and_series_are_alike(fitted: CurveFit) -> None:
    amounts = random_spend()
    series = pd.Series(sold_of(amounts), index=np.arange(80) + 5)
    assert incremental_curves(series, spend_of(amounts), carry_over=0.0).equals(fitted)


def test_a_series_with_dates_has_those_of_the_spend(fitted: CurveFit) -> None:
    amounts = random_spend()
    dates = pd.date_range("2024-01-01", periods=80, freq="7D")
    sold = pd.Series(sold_of(amounts), index=dates)
    for same in (sold, sold.tz_localize("UTC"), sold.tz_localize("UTC").tz_convert("Asia/Tokyo")):
        assert incremental_curves(same, spend_of(amounts), carry_over=0.0).equals(fitted)
    match = (
        r"other dates than the spend in 80 of 80 periods, first 2024-01-02.* for 2024-01-01.* row 0"
    )
    with pytest.raises(InputError, match=match):
        incremental_curves(sold.shift(freq="1D"), spend_of(amounts))
    swapped = sold.iloc[[0, 2, 1, *range(3, 80)]]
    with pytest.raises(InputError, match=r"in 2 of 80 periods, first 2024-01-15.* in row 1"):
        incremental_curves(swapped, spend_of(amounts))


@pytest.mark.parametrize(("n", "harmonics"), [(40, 0), (52, 1), (78, 2), (104, 2)])
def test_season_follows_the_span(n: int, harmonics: int) -> None:
    amounts = random_spend(n=n)
    curves = incremental_curves(sold_of(amounts), spend_of(amounts), carry_over=0.0, n_draws=10)
    word = {0: "no season", 1: "1 harmonic of", 2: "2 harmonics of"}[harmonics]
    assert word in curves.statement


def test_season_and_trend_are_taken_out() -> None:
    amounts, t = random_spend(n=104), np.arange(104)
    wave = 60 * np.sin(2 * np.pi * t * 7 / 365.25) + 20 * np.cos(4 * np.pi * t * 7 / 365.25) + t
    with_wave = incremental_curves(sold_of(amounts) + wave, spend_of(amounts), carry_over=0.0)
    plain = incremental_curves(sold_of(amounts), spend_of(amounts), carry_over=0.0)
    for line in LINES:
        assert with_wave[line].scale == pytest.approx(plain[line].scale, rel=1e-3)


def test_weekdays_are_taken_out_of_days() -> None:
    # clocks of the spend are 13 hours ahead: its Monday begins on Sunday at 11:00 UTC
    rng, tz = np.random.default_rng(0), "Pacific/Tongatapu"
    dates = pd.date_range("2024-01-01", periods=365, freq="D", tz=tz)
    busy = np.isin(dates.day_of_week, [4, 5]).astype(float)  # shops sell more, and spend more
    amounts = 1000.0 * np.exp(1.0 * busy + 0.4 * rng.standard_normal(365))[:, None]
    truth = ExponentialCurve(60.0, 2000.0)
    sold = 200.0 + 150.0 * busy + truth.value(amounts[:, 0]) + 5.0 * rng.standard_normal(365)
    starts = dates.as_unit("us").asi8
    spend = spend_of(amounts, ("tv",), starts=starts, period="D", tz=tz)
    curves = incremental_curves(sold, spend, carry_over=0.0)
    today = amounts.mean()
    low, high = np.quantile(curves.draws["tv"].marginal(today), [0.05, 0.95])
    assert low < truth.marginal(today) < high
    assert high < 2 * truth.marginal(today)
    assert "and a level for each weekday; 0 lift tests" in curves.statement
    few = spend_of(amounts[:10], ("tv",), starts=starts[:10], period="D", tz=tz)
    # intercept, trend and six weekdays; scale and shape of the line
    with pytest.raises(InputError, match=r"10 periods for 10 parameters \(8 of the baseline"):
        incremental_curves(sold[:10], few, carry_over=0.0)


def test_quality_by_hand() -> None:
    outcome = np.array([[1.0], [2.0], [6.0], [5.0]])
    left, rows = np.array([[1.0], [-1.0], [0.5], [3.0]]), np.array([0, 1, 2, 4])
    panel = Panel(spend_of(random_spend(n=5)), rows, rows, 4, 1)
    quality = quality_of(panel, outcome, left, 2)
    assert quality["r2"] == pytest.approx(1 - 11.25 / 17)
    assert quality["residual_sd"] == pytest.approx(np.sqrt(11.25 / 4))
    # the last two are no neighbours: two of three pairs, and as much of the squares
    assert quality["autocorrelation"] == pytest.approx(-1.5 / (11.25 * 2 / 3))
    assert quality["durbin_watson"] == pytest.approx((4 + 2.25) / (11.25 * 2 / 3))
    assert (quality["n_periods"], quality["n_left_out"], quality["hac_lags"]) == (4, 4, 2)
    assert quality["n_unmatched"] == 1


# lifts


def confounded(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Spend on social follows demand; it brings nothing."""
    amounts = random_spend(seed)
    demand = np.random.default_rng(seed).standard_normal(80)
    amounts[:, 1] = 2000.0 * np.exp(0.3 * demand)
    sold = 200.0 + 30.0 * demand + CURVES[0].value(amounts[:, 0]) + CURVES[2].value(amounts[:, 2])
    return amounts, sold + 3.0 * np.random.default_rng(9).standard_normal(80)


def test_a_lift_mends_confounding() -> None:
    amounts, sold = confounded()
    wrong = incremental_curves(sold, spend_of(amounts))
    assert wrong.to_frame().loc["social", "marginal_low"] > 0
    lift = Lift(channel="social", incremental=0.0, standard_error=20.0)
    mended = incremental_curves(sold, spend_of(amounts), lifts=[lift])
    assert mended.to_frame().loc["social", "marginal_low"] == 0
    assert mended["social"].value(2000.0) < 0.1 * wrong["social"].value(2000.0)
    assert "1 lift test joined" in mended.statement


def test_a_wide_lift_is_not_outvoted_by_confounded_periods() -> None:
    amounts, sold = confounded()
    today = amounts[:, 1].mean()
    lift = Lift(channel="social", incremental=0.0, standard_error=80 * 10.0)
    fits = [incremental_curves(sold, spend_of(amounts), lifts=lifts) for lifts in ([], [lift])]
    alone, tested = (np.quantile(fit.draws["social"].value(today), [0.05, 0.95]) for fit in fits)
    assert alone[0] > 2 * 10.0 * 1.64  # the periods are sure of what the test rules out
    assert tested[0] == 0
    assert tested[1] < 2.5 * 10.0 * 1.64  # the error of the test, with that of the shape


def test_a_lift_counts_its_periods_and_coverage() -> None:
    amounts = random_spend()
    spend, sold = spend_of(amounts), sold_of(amounts, 30.0)
    truth = float(CURVES[1].value(amounts[4:12, 1]).sum())
    lift = Lift(
        channel="social",
        incremental=0.25 * truth,
        standard_error=1e-3,
        period="2024-01-29/2024-03-25",
        coverage=0.25,
    )
    curves = incremental_curves(sold, spend, carry_over=0.0, lifts=[lift])
    # so sure a lift is met, whatever the noise says
    assert curves["social"].value(amounts[4:12, 1]).sum() == pytest.approx(truth, rel=1e-4)


def test_a_lift_lets_a_constant_line_in() -> None:
    amounts = random_spend()
    amounts[:, 1] = 2000.0
    lift = Lift(channel="social", incremental=80 * 40.0, standard_error=80.0)
    curves = incremental_curves(sold_of(amounts), spend_of(amounts), lifts=[lift])
    assert curves["social"].value(2000.0) == pytest.approx(40.0, abs=3.0)
    low, high = np.quantile(curves.draws["social"].value(2000.0), [0.05, 0.95])
    assert low < 40.0 < high


def test_lifts_that_do_not_fit() -> None:
    amounts = random_spend()
    spend, sold = spend_of(amounts), sold_of(amounts)

    def fit_with(**fields: object) -> None:
        lift = Lift(**{"channel": "tv", "incremental": 5.0, "standard_error": 1.0, **fields})
        incremental_curves(sold, spend, lifts=[lift])

    with pytest.raises(InputError, match=r"'tvv' is of no line.*Did you mean 'tv'"):
        fit_with(channel="tvv")
    for period in ("2024-01-09/2024-02-05", "2024-01-08/2024-02-06", "2023-12-25/2024-01-08"):
        with pytest.raises(InputError, match=r"whole periods 'W'.*2024-01-0"):
            fit_with(period=period)
    lift = Lift(channel="tv", incremental=5.0, standard_error=1.0)
    with pytest.raises(InputError, match=r"lifts count conversions\. Hint: .*\.valued\("):
        incremental_curves(sold, spend, lifts=[lift], of="value")
    with pytest.raises(InputError, match="lifts holds a str"):
        incremental_curves(sold, spend, lifts=["tv"])  # type: ignore[list-item]


# errors


def test_spend_that_shows_nothing() -> None:
    amounts = random_spend()
    sold = sold_of(amounts)
    with pytest.raises(InputError, match="no periods"):
        incremental_curves(sold, spend_of(amounts[:1], starts=None, period=None))
    with pytest.raises(InputError, match="spend is a ndarray"):
        incremental_curves(sold, amounts)  # type: ignore[arg-type]
    idle = amounts * [1.0, 0.0, 1.0]
    with pytest.raises(InputError, match="'social' has no spend"):
        incremental_curves(sold, spend_of(idle))
    steady = amounts.copy()
    steady[:, 2] = 4000.0
    with pytest.raises(
        InputError, match=r"'tv' never varied: it is 4,000.*lift.*allocate_by_credit"
    ):
        incremental_curves(sold, spend_of(steady))
    with pytest.raises(InputError, match="'tv' never varied: it is 4,000"):
        descriptive_curves(credit_of(amounts), spend_of(steady))
    steady[:, 2] = 4000.0 + np.arange(80)
    with pytest.raises(InputError, match="'tv' never varied but with trend and season"):
        incremental_curves(sold, spend_of(steady))


def test_lines_that_move_together() -> None:
    amounts = random_spend()
    sold = sold_of(amounts)
    amounts[:, 2] = 2 * amounts[:, 1]
    with pytest.raises(InputError, match=r"'social' and of 'tv'.*correlation 1\.000"):
        incremental_curves(sold, spend_of(amounts))
    both = [Lift(channel=c, incremental=3000.0, standard_error=200.0) for c in ("social", "tv")]
    with pytest.raises(InputError, match="moved together"):
        incremental_curves(sold, spend_of(amounts), lifts=both[:1])
    tested = incremental_curves(sold, spend_of(amounts), lifts=both)
    for line in ("social", "tv"):
        assert tested[line].over_time(amounts[:, 1]).sum() > 0
    amounts[:, 2] += 300 * np.random.default_rng(0).uniform(size=80)
    amounts[:, 2] *= np.exp(0.15 * np.random.default_rng(1).standard_normal(80))
    with pytest.warns(AttributionWarning, match=r"'social' and of 'tv'.*hardly be told apart"):
        incremental_curves(sold, spend_of(amounts))


def test_too_few_periods_says_how_many_are_needed() -> None:
    amounts = random_spend(n=11)
    with pytest.raises(InputError, match=r"11 periods for 11 parameters.*at least 12 periods"):
        incremental_curves(sold_of(amounts), spend_of(amounts))
    # ten parameters; half of the draws of one degree of freedom bring more than came in
    with pytest.warns(AttributionWarning, match="spend varied too little"):
        incremental_curves(sold_of(amounts), spend_of(amounts), carry_over=0.5, n_draws=10)
    for by, needed in (("touch", 2), ("conversion", 3)):
        credit, spend = credit_of(amounts[:needed], by=by), spend_of(amounts[:needed])
        with pytest.raises(InputError, match=f"{needed} periods for {needed} parameters"):
            descriptive_curves(credit, spend)


def test_curves_that_bring_more_than_came_in_are_named() -> None:
    # a slope that holds around the mean, with nothing left of the outcome where spend is low
    amounts = np.random.default_rng(5).uniform(900.0, 1100.0, (80, 1))
    sold = 10.0 + 0.09 * (amounts[:, 0] - 1000.0)
    with pytest.warns(AttributionWarning, match=r"100 % of the draws .* varied too little .*stand"):
        curves = incremental_curves(
            sold - sold.mean() + 10.2, spend_of(amounts, ("tv",)), carry_over=0.0
        )
    assert curves["tv"].value(amounts[:, 0]).mean() < 1.1 * 10.2
    noisy = sold + 12.0 * np.random.default_rng(0).standard_normal(80)
    spend, level = spend_of(amounts, ("tv",)), 40.0 - noisy.mean()
    with pytest.warns(AttributionWarning, match=r"They are left out\. Hint: vary it on purpose"):
        curves = incremental_curves(noisy + level, spend, carry_over=0.0)
    brought = [curves.draws["tv"].take(i).value(amounts[:, 0]).mean() for i in range(500)]
    assert max(brought) < 40.0 * (1 + 1e-9)


def test_outcomes_that_do_not_fit() -> None:
    amounts = random_spend()
    spend, sold = spend_of(amounts), sold_of(amounts)
    with pytest.raises(InputError, match=r"shape \(79,\), the spend 80 periods"):
        incremental_curves(sold[1:], spend)
    with pytest.raises(InputError, match="outcome has nan in period 7"):
        incremental_curves(np.where(np.arange(80) == 7, np.nan, sold), spend)
    with pytest.raises(InputError, match=r"outcome is 0 in all 80 periods.*Hint"):
        incremental_curves(np.zeros(80), spend)
    with pytest.raises(InputError, match=r"no number \(.*'many'\)\. Hint"):
        incremental_curves(["many"] * 80, spend)
    credit = credit_of(np.ones((80, 3)), totals=sold)
    with pytest.raises(InputError, match="by 'W' in UTC, the outcome by 'MS'"):
        incremental_curves(replace(credit, period="MS"), spend)
    with pytest.raises(InputError, match="none in common"):
        incremental_curves(replace(credit, starts=credit.starts + 200 * WEEK), spend)
    with pytest.raises(InputError, match="no value"):
        incremental_curves(credit, spend, of="value")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"family": "hil"}, "Did you mean 'hill'"),
        ({"of": "clicks"}, "of='clicks'"),
        ({"n_draws": 1}, "n_draws=1"),
        ({"carry_over": 1.0}, r"carry_over=1.0 of 'search'"),
        ({"carry_over": {"tvv": 0.5}}, "no line 'tvv'"),
        ({"season": -1}, "season=-1"),
        ({"season": 30}, "at most 25 harmonics"),
        ({"random_state": -1}, "no seed"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], match: str) -> None:
    amounts = random_spend()
    with pytest.raises(InputError, match=match):
        incremental_curves(sold_of(amounts), spend_of(amounts), **options)  # type: ignore[arg-type]


# descriptive


@pytest.mark.parametrize(
    ("family", "truth"),
    [
        ("power", PowerCurve(3.0, 0.4)),
        ("exponential", ExponentialCurve(50.0, 1500.0)),
        ("hill", HillCurve(50.0, 1500.0, 1.0)),
    ],
)
def test_exact_credit_is_recovered(family: str, truth: PowerCurve) -> None:
    amounts = random_spend()
    credit = credit_of(truth.value(amounts))
    curves = descriptive_curves(credit, spend_of(amounts), family=family, carry_over=0.0)  # type: ignore[arg-type]
    for line in LINES:
        for name in truth.parameters:
            found, expected = getattr(curves[line], name), getattr(truth, name)
            assert found == pytest.approx(expected, rel=1e-3), (line, name)
    frame = curves.to_frame()
    assert frame["r2"].tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert (frame["informed"] > 0.99).all()


def test_credit_by_touch_date_carries_nothing_over() -> None:
    amounts, truth, held = random_spend(), PowerCurve(2.0, 0.5), []
    today = amounts.mean(axis=0)
    for seed in range(40):
        noise = 8.0 * np.random.default_rng(seed).standard_normal(amounts.shape)
        credit = credit_of(truth.value(amounts) + noise)
        curves = descriptive_curves(credit, spend_of(amounts), n_draws=200)
        for line, spent in zip(LINES, today, strict=True):
            assert curves[line].carry_over == 0
            low, high = np.quantile(curves.draws[line].marginal(spent), [0.05, 0.95])
            held.append(low <= truth.marginal(spent) <= high)
    # 90 % of 120 with a standard deviation of 2.7 %, and three of them
    assert 0.82 <= np.mean(held) <= 0.98
    late = descriptive_curves(replace(credit, by="conversion"), spend_of(amounts), n_draws=10)
    assert all(late[line].carry_over > 0 for line in LINES)
    known = descriptive_curves(credit, spend_of(amounts), carry_over={"tv": 0.4}, n_draws=10)
    assert [known[line].carry_over for line in LINES] == [0.0, 0.0, pytest.approx(0.4)]


def test_a_useless_channel_has_a_rising_descriptive_curve_and_no_incremental_one() -> None:
    amounts = random_spend(5)
    sold = 300.0 + 5.0 * np.random.default_rng(3).standard_normal(80)
    touched = 0.002 * amounts  # what it reached of those who would have bought anyway
    credit = credit_of(touched, totals=sold)
    described = descriptive_curves(credit, spend_of(amounts))
    caused = incremental_curves(credit, spend_of(amounts))
    assert (described.to_frame()["marginal_low"] > 0.001).all()
    assert (caused.to_frame()["marginal_low"] == 0).all()
    assert described.kind == "descriptive"
    assert described.statement == STATEMENTS["descriptive"]


def test_lines_without_credit_get_a_curve_of_0_and_channels_without_spend_none() -> None:
    amounts = random_spend()
    credit = credit_of(0.01 * amounts[:, :2], ("search", "email"))
    curves = descriptive_curves(credit, spend_of(amounts))
    assert list(curves) == list(LINES)
    assert curves["tv"].value(5000.0) == 0
    assert (curves.draws["tv"].marginal(5000.0) == 0).all()
    assert curves.lines["tv"]["informed"] == 0
    assert curves.statement.endswith("No credit at all: 'social', 'tv'.")


def test_each_line_is_fitted_by_itself() -> None:
    amounts = random_spend()
    noise = np.random.default_rng(0).uniform(0.8, 1.2, amounts.shape)
    all_lines = descriptive_curves(credit_of(0.01 * amounts * noise), spend_of(amounts))
    alone = descriptive_curves(
        credit_of(0.01 * (amounts * noise)[:, [2]], ("tv",)), spend_of(amounts[:, [2]], ("tv",))
    )
    # the draws differ, as each line takes its own in turn; the optimum, to the solver's tolerance
    assert all_lines["tv"].value(3000.0) == pytest.approx(alone["tv"].value(3000.0), rel=1e-6)


def calibrated(channels: tuple[str, ...], factor: np.ndarray) -> Attribution:
    ones = np.ones(len(channels))
    columns = {"factor": factor, "factor_low": factor / 2, "factor_high": factor * 2}
    return Attribution(
        model="linear, calibrated",
        channels=channels,
        conversions=100.0 * ones,
        values=None,
        total_conversions=100.0 * ones.sum(),
        total_value=None,
        unattributed=0.0,
        unattributed_value=None,
        extra=columns,
    )


def test_calibrated_credit_is_scaled_and_its_doubt_joins_the_draws() -> None:
    amounts = random_spend()
    credit = credit_of(0.01 * amounts)
    factors = calibrated((*LINES, "unpaid"), np.array([0.2, 0.5, 1.5, 1.0]))
    plain = descriptive_curves(credit, spend_of(amounts), n_draws=2000)
    scaled = descriptive_curves(credit, spend_of(amounts), calibrated=factors, n_draws=2000)
    assert scaled.kind == "calibrated credit"
    assert scaled.statement == STATEMENTS["calibrated credit"]
    for line, factor in zip(LINES, (0.2, 0.5, 1.5), strict=True):
        value = factor * plain[line].value(1000.0)
        assert scaled[line].value(1000.0) == pytest.approx(value, rel=1e-12)
        ends = np.quantile(scaled.draws[line].value(1000.0), [0.05, 0.95])
        # exact credit: all doubt is the factor's; 2,000 draws tell an end of 90 % to 3 %
        assert ends == pytest.approx([value / 2, value * 2], rel=0.08)


def test_credit_and_factors_that_do_not_fit() -> None:
    amounts = random_spend()
    credit, spend = credit_of(0.01 * amounts), spend_of(amounts)
    with pytest.raises(InputError, match="'tv' has spend, but is no channel"):
        descriptive_curves(credit, spend, calibrated=calibrated(LINES[:2], np.ones(2)))
    no_factor = replace(calibrated(LINES, np.ones(3)), extra={})
    with pytest.raises(InputError, match="no factors"):
        descriptive_curves(credit, spend, calibrated=no_factor)
    other = replace(calibrated(LINES, np.ones(3)), model="last_click, calibrated")
    with pytest.raises(InputError, match=r"'linear', the factors are of 'last_click, calibrated'"):
        descriptive_curves(credit, spend, calibrated=other)
    with pytest.raises(InputError, match=r"No line of the spend.*'search'.*'a'"):
        descriptive_curves(credit_of(amounts, ("a", "b", "c")), spend)
    with pytest.raises(InputError, match="credit is a ndarray"):
        descriptive_curves(amounts, spend)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no value"):
        descriptive_curves(credit, spend, of="value")
    assert descriptive_curves(replace(credit, values=9 * amounts), spend, of="value").of == "value"
