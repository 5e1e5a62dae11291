import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import InputError, Journeys, Linear, Markov
from attribution.budget.lags import lags, payback
from attribution.budget.spend import Spend
from attribution.datasets import load_events, load_spend
from attribution.errors import AttributionWarning

AGES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, 7.5, 30.0, 80.0, 90.0, 100.0])
TOUCHES = st.lists(st.tuples(st.sampled_from("abc"), AGES), max_size=5)
ROWS = st.lists(st.tuples(TOUCHES, st.integers(0, 2), st.integers(-3, 9)), min_size=1, max_size=8)
WORDS = {"within_1d": 1, "within_7d": 7, "within_30d": 30, "within_90d": 90}


def journeys_of(rows, channels=("a", "b", "c")):
    """Build journeys of (touches, conversions, value) with ages as given."""
    touches = [touch for row in rows for touch in row[0]]
    conversions = np.array([row[1] for row in rows], dtype=float)
    return Journeys(
        channels=channels,
        codes=np.array([channels.index(name) for name, _ in touches], dtype=np.int32),
        offsets=np.cumsum([0, *(len(row[0]) for row in rows)]),
        conversions=conversions,
        nulls=(conversions == 0).astype(float),
        values=np.array([row[2] * (row[1] > 0) for row in rows], dtype=float),
        given_ages=np.array([age for _, age in touches], dtype=float),
    )


def credit_of(rows, channel, values=False):
    """Return (age, linear credit) of each touch of a channel."""
    found = []
    for touches, conversions, value in rows:
        outcome = (value if values else 1) * (conversions > 0) * (1 if values else conversions)
        found += [(age, outcome / len(touches)) for name, age in touches if name == channel]
    return found


def up_to(touches, age):
    return math.fsum(credit for other, credit in touches if other <= age)


@given(ROWS)
def test_lags_are_those_of_each_touch_counted_by_its_credit(rows):
    frame = lags(journeys_of(rows))
    assert frame.index.tolist() == ["a", "b", "c"]
    for channel, row in frame.iterrows():
        touches = credit_of(rows, channel)
        whole = up_to(touches, math.inf)
        assert row["credit"] == pytest.approx(whole, rel=1e-12)
        if whole == 0:
            assert row.drop("credit").isna().all()
            continue
        mean = math.fsum(age * credit for age, credit in touches) / whole
        assert row["mean_days"] == pytest.approx(mean, rel=1e-12)
        for name, q in (("median_days", 0.5), ("p90_days", 0.9)):
            reached = [age for age, _ in touches if up_to(touches, age) >= (q - 1e-9) * whole]
            assert row[name] == min(reached)
        for name, days in WORDS.items():
            assert row[name] == pytest.approx(up_to(touches, days) / whole, rel=1e-12)


@given(ROWS, st.lists(st.integers(0, 12), min_size=3, max_size=3))
def test_payback_is_the_age_from_which_on_value_covers_spend(rows, money):
    table = pd.DataFrame({"channel": ["a", "b", "tv"], "spend": money})
    frame = payback(journeys_of(rows), spend=Spend.from_frame(table))
    assert frame.index.tolist() == ["a", "b", "c", "tv"]
    assert frame["spend"].tolist() == [money[0], money[1], 0, money[2]]
    for channel, row in frame.iterrows():
        touches = credit_of(rows, channel, values=True)
        whole = up_to(touches, math.inf)
        assert row["value"] == pytest.approx(whole, rel=1e-12, abs=1e-12)
        if row["spend"] == 0:
            assert np.isnan(row["days"])
            assert np.isnan(row["paid_share"])
            continue
        assert row["paid_share"] == pytest.approx(whole / row["spend"], rel=1e-12, abs=1e-12)
        ages = sorted({age for age, _ in touches})
        enough = [up_to(touches, age) >= row["spend"] * (1 - 1e-9) for age in ages]
        lasting = [age for i, age in enumerate(ages) if all(enough[i:])]
        assert (row["days"] == min(lasting)) if lasting else np.isnan(row["days"])


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_journeys_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    a, b = lags(journeys_of(rows)), lags(journeys_of(shuffled))
    pd.testing.assert_frame_equal(a, b, rtol=1e-12, atol=1e-12)


def test_renaming_channels_renames_rows():
    rows = [([("a", 3.0), ("b", 1.0), ("a", 0.0)], 1, 5), ([("b", 9.0)], 2, 4)]
    new = {"a": "z", "b": "y"}
    renamed = [([(new[c], age) for c, age in touches], n, value) for touches, n, value in rows]
    frame = lags(journeys_of(rows, ("a", "b"))).rename(new).sort_index()
    pd.testing.assert_frame_equal(lags(journeys_of(renamed, ("y", "z"))), frame, rtol=1e-12)


def test_refunds_lower_value_at_the_age_of_their_touches():
    # back after 1, 2 and 5 days: 10, 4, 12
    rows = [([("a", 1.0)], 1, 10), ([("a", 2.0)], 1, -6), ([("a", 5.0)], 1, 8)]

    def days(money):
        table = pd.DataFrame({"channel": ["a"], "spend": [money]})
        frame = payback(journeys_of(rows, ("a",)), spend=Spend.from_frame(table))
        return frame.loc["a", "days"]

    assert [days(4), days(5), days(10), days(12)] == [1, 5, 5, 5]
    assert np.isnan(days(12.01))


def test_a_refund_and_an_order_at_one_age_are_one():
    rows = [([("a", 1.0)], 1, 10), ([("a", 2.0)], 1, -6), ([("a", 2.0)], 1, 6)]
    table = pd.DataFrame({"channel": ["a"], "spend": [7.0]})
    frame = payback(journeys_of(rows, ("a",)), spend=Spend.from_frame(table))
    assert frame.loc["a", "days"] == 1


def test_channels_with_negative_credit_have_no_lags():
    rows = [([("a", 1.0), ("b", 1.0)], 1, 10), ([("a", 2.0)], 1, -2)]
    with pytest.warns(AttributionWarning, match="1 channels have .* first 'a'.*Hint"):
        frame = lags(journeys_of(rows, ("a", "b")), of="value")
    assert frame.loc["a", "credit"] == 3.0
    assert frame.loc["a"].drop("credit").isna().all()
    assert frame.loc["b", "mean_days"] == 1.0


def test_a_conversion_may_be_worth_a_fixed_amount():
    rows = [([("a", 1.0)], 1, 0), ([("a", 4.0)], 1, 0)]
    spend = Spend.from_frame(pd.DataFrame({"channel": ["a"], "spend": [30.0]}))
    frame = payback(journeys_of(rows, ("a",)), spend=spend, value_per_conversion=20)
    assert frame.loc["a"].tolist() == [30.0, 40.0, 4.0, pytest.approx(4 / 3)]


def test_campaigns_add_up_to_their_channel_whatever_its_name():
    channels = ("google", "google / cpc", "mail")
    rows = [([(name, 1.0) for name in channels], 1, 30)]
    table = pd.DataFrame(
        {
            "channel": ["google / cpc", "google / cpc", "google", "mail", "radio"],
            "campaign": ["brand", "tv", "shopping", "a / b", "x"],
            "spend": [1.0, 2.0, 4.0, 8.0, 16.0],
        }
    )
    spend = Spend.from_frame(table, campaign="campaign")
    frame = payback(journeys_of(rows, channels), spend=spend)
    assert frame["spend"].to_dict() == {
        "google": 4.0,
        "google / cpc": 3.0,
        "mail": 8.0,
        "radio": 16.0,
    }


def test_sample_data():
    journeys = Journeys.from_events(load_events(), value="value")
    spend = Spend.from_frame(load_spend(), period="week", campaign="campaign")
    frame = lags(journeys, "markov")
    result = Markov().attribute(journeys)
    assert frame["credit"].to_numpy() == pytest.approx(result.conversions, rel=1e-9)
    assert (frame["median_days"] <= frame["p90_days"]).all()
    assert (frame["p90_days"] <= 90).all()
    # the lookback is 90 days; sums of thousands of credits
    assert frame["within_90d"].to_numpy() == pytest.approx(1, rel=1e-9)
    paid = payback(journeys, spend=spend)
    assert paid["spend"].sum() == pytest.approx(spend.total, rel=1e-12)
    assert paid["value"].to_numpy() == pytest.approx(Linear().attribute(journeys).values, rel=1e-9)
    assert (paid["days"].notna() == (paid["paid_share"] >= 1)).all()


def test_a_part_takes_the_result_of_the_whole():
    journeys = Journeys.from_events(load_events())
    parts = [journeys.select(np.arange(i, len(journeys), 2)) for i in (0, 1)]
    result = Markov().attribute(journeys)
    credit = sum(lags(part, "markov", attribution=result)["credit"] for part in parts)
    assert credit.to_numpy() == pytest.approx(result.conversions, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spend": {"a": 1.0}}, "spend is a dict.*Hint"),
        ({"value_per_conversion": 0}, "value_per_conversion=0 is not above 0.*Hint"),
        ({"value_per_conversion": True}, "value_per_conversion=True"),
        ({"value_per_conversion": "9"}, "value_per_conversion='9'"),
        ({"value_per_conversion": math.nan}, "value_per_conversion=nan"),
        ({"model": "liner"}, "No model 'liner'"),
    ],
)
def test_options_that_do_not_fit(change, message):
    spend = Spend.from_frame(pd.DataFrame({"channel": ["a"], "spend": [1.0]}))
    journeys = journeys_of([([("a", 1.0)], 1, 2)], ("a",))
    with pytest.raises(InputError, match=message):
        payback(journeys, **{"spend": spend, **change})


def test_journeys_must_have_ages_and_the_outcome():
    journeys = Journeys.from_paths(pd.DataFrame({"path": ["a > b"], "conversions": [1]}))
    spend = Spend.from_frame(pd.DataFrame({"channel": ["a"], "spend": [1.0]}))
    with pytest.raises(InputError, match=r"no ages.*Hint"):
        lags(journeys)
    with pytest.raises(InputError, match="not Journeys"):
        lags([journeys])
    events = load_events().head(500)
    with pytest.raises(InputError, match=r"no value.*Hint"):
        payback(Journeys.from_events(events), spend=spend)
    with pytest.raises(InputError, match="of='clicks' is not one of"):
        lags(Journeys.from_events(events), of="clicks")


def test_campaigns_that_are_channels_of_the_log_stay_as_they_are():
    rows = [([("tv / a", 1.0)], 1, 30)]
    table = pd.DataFrame({"channel": ["tv", "tv"], "campaign": ["a", "b"], "spend": [10.0, 5.0]})
    spend = Spend.from_frame(table, campaign="campaign")
    frame = payback(journeys_of(rows, ("tv / a",)), spend=spend)
    assert frame["spend"].to_dict() == {"tv": 5.0, "tv / a": 10.0}
    assert frame.loc["tv / a", "paid_share"] == 3.0
