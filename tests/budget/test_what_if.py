import numpy as np
import pandas as pd
import pytest

from attribution import InputError, Journeys, Markov
from attribution.budget import ExponentialCurve, what_if
from attribution.budget.fit import CurveFit
from attribution.removal import removal_effects

TABLE = pd.DataFrame(
    {
        "path": ["tv > search", "search", "tv", "mail > search"],
        "conversions": [6, 3, 2, 4],
        "value": [60.0, 90.0, 20.0, 40.0],
        "nulls": [4, 9, 8, 1],
    }
)
JOURNEYS = Journeys.from_paths(TABLE, nulls="nulls", value="value")
TODAY = {"search": 100.0, "tv": 300.0}


def fit(of="conversions"):
    curves = {
        "search": ExponentialCurve(8.0, 200.0, of=of),
        "tv": ExponentialCurve(4.0, 600.0, of=of),
    }
    draws = {
        name: ExponentialCurve(
            np.array([0.5, 1.0, 1.5]) * curve.scale, np.full(3, curve.half_saturation), of=of
        )
        for name, curve in curves.items()
    }
    return CurveFit(
        kind="incremental",
        of=of,
        family="exponential",
        curves=curves,
        draws=draws,
        today=TODAY,
        observed={name: (0.0, 2 * money) for name, money in TODAY.items()},
        period="W",
        quality={"n_periods": 9.0, "n_left_out": 1.0},
        lines={name: {} for name in curves},
        statement="Curves for a test.",
    )


def test_switching_off_is_the_removal_effect_and_the_whole_curve():
    frame = what_if(None, JOURNEYS, fit())
    assert frame.index.tolist() == ["mail", "search", "tv"]
    effects = removal_effects(Markov().summarize(JOURNEYS))
    lost = effects["conversions_lost"].reindex(frame.index)
    assert frame["markov_change"].to_numpy() == pytest.approx(-lost.to_numpy(), rel=1e-9)
    # ten periods of 8 (1 - 2^-0.5), and of 4 (1 - 2^-0.5)
    gone = 10 * (1 - 2**-0.5)
    assert frame.loc["search", "curves_change"] == pytest.approx(-8 * gone, rel=1e-12)
    assert frame.loc["tv", "curves_change"] == pytest.approx(-4 * gone, rel=1e-12)
    assert frame["spend_change"].tolist()[1:] == [-1000.0, -3000.0]
    assert np.isnan(frame.loc["mail", "spend_change"])
    assert np.isnan(frame.loc["mail", ["curves_change", "curves_low", "curves_high"]]).all()
    assert frame.attrs["outcome"] == 15.0
    assert frame.attrs["statement"] == "Curves for a test."


def test_intervals_are_quantiles_of_the_draws():
    frame = what_if({"off": {"tv": 0.0}}, JOURNEYS, fit(), n_periods=1, confidence=0.5)
    per_scale = 4 * (1 - 2**-0.5)
    assert frame.loc["off", "curves_low"] == pytest.approx(-1.25 * per_scale, rel=1e-12)
    assert frame.loc["off", "curves_high"] == pytest.approx(-0.75 * per_scale, rel=1e-12)


def test_more_than_today_is_beyond_the_chain_but_not_the_curves():
    frame = what_if({"double": {"tv": 2.0}, "both": {"tv": 0.5, "search": 0}}, JOURNEYS, fit())
    assert np.isnan(frame.loc["double", "markov_change"])
    assert frame.loc["double", "curves_change"] == pytest.approx(40 * (2**-0.5 - 0.5), rel=1e-12)
    assert frame.loc["double", "spend_change"] == 3000.0
    # half of the touches of tv: only journeys "tv" remain, and the half of them
    assert frame.loc["both", "markov_change"] == pytest.approx(-(15 - 1), rel=1e-9)


def test_curves_of_value_meet_the_value_of_the_journeys():
    frame = what_if({"off": {"search": 0.0}}, JOURNEYS, fit("value"))
    assert frame.attrs["outcome"] == 210.0
    effect = removal_effects(Markov().summarize(JOURNEYS)).loc["search", "value_lost"]
    assert frame.loc["off", "markov_change"] == pytest.approx(-effect, rel=1e-9)


def test_nothing_changes_where_nothing_is_scaled():
    frame = what_if({"same": {"tv": 1.0, "mail": 1.0}}, JOURNEYS, fit())
    assert frame.loc["same"].tolist() == pytest.approx([0.0] * 5, abs=1e-9)


@pytest.mark.parametrize(
    ("scenarios", "message"),
    [
        ({"x": {"tw": 0}}, "there is no channel 'tw'. Did you mean 'tv'"),
        ({"x": {"tv": -1}}, "the factor -1 on 'tv'"),
        ({"x": {"tv": "0"}}, "the factor '0' on 'tv'"),
        ({"tv": 0}, "Scenario 'tv' is 0"),
    ],
)
def test_scenarios_that_do_not_fit(scenarios, message):
    with pytest.raises(InputError, match=message):
        what_if(scenarios, JOURNEYS, fit())


def test_a_line_without_touches_is_beyond_the_chain():
    renamed = Journeys.from_paths(TABLE.assign(path=TABLE["path"].str.upper()), nulls="nulls")
    frame = what_if(None, renamed, fit())
    assert np.isnan(frame.loc[["search", "tv"], "markov_change"]).all()
    assert frame.loc[["SEARCH", "TV"], "markov_change"].lt(0).all()
    assert np.isnan(frame.loc[["SEARCH", "TV"], "curves_change"]).all()


@pytest.mark.parametrize("n_periods", [0, -5, np.nan, "52"])
def test_periods_that_are_none(n_periods):
    with pytest.raises(InputError, match="n_periods="):
        what_if(None, JOURNEYS, fit(), n_periods=n_periods)


def test_options_of_other_kinds():
    with pytest.raises(InputError, match="curves is a dict, not a CurveFit"):
        what_if(None, JOURNEYS, dict(fit()))
    with pytest.raises(InputError, match="scenarios="):
        what_if(["tv"], JOURNEYS, fit())
    by_numpy = what_if({"off": {"tv": np.int64(0)}}, JOURNEYS, fit())
    assert by_numpy.equals(what_if({"off": {"tv": 0.0}}, JOURNEYS, fit()))


def test_journeys_that_do_not_fit():
    without = Journeys.from_paths(TABLE.drop(columns="value"), nulls="nulls")
    with pytest.raises(InputError, match="have no value, the curves do"):
        what_if(None, without, fit("value"))
    with pytest.raises(InputError, match="Got a list, not Journeys"):
        what_if(None, [JOURNEYS], fit())
