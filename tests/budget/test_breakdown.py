import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import InputError, Journeys, Linear, Markov
from attribution.arrays import Coded
from attribution.budget import PowerCurve, allocate, allocate_by_credit
from attribution.budget.breakdown import break_down, shrunk_rates, strength
from attribution.datasets import load_events

BY = ("campaign", "kind")
CHANNELS = ("a", "b", "c")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(CHANNELS),
        st.sampled_from(["x", "y", "z", None]),
        st.sampled_from(["click", "view"]),
        st.sampled_from([0.0, 0.25, 1.0, 1.5, 40.0]),
    ),
    min_size=1,
    max_size=25,
)
PLANS = st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0]), min_size=3, max_size=3).filter(any)


def journeys_of(events, rows):
    """Build journeys of (places of events, converted, value); an event may stand in several."""
    touches = [events[i % len(events)] for row in rows for i in row[0]]
    used = tuple(sorted({touch[0] for touch in touches}))
    converted = np.array([row[1] for row in rows], dtype=float)
    return Journeys(
        channels=used,
        codes=np.array([used.index(touch[0]) for touch in touches], dtype=np.int32),
        offsets=np.cumsum([0, *(len(row[0]) for row in rows)]),
        conversions=converted,
        nulls=1 - converted,
        values=np.array([row[2] for row in rows], dtype=float) * converted,
        touch_ids=np.array([i % len(events) for row in rows for i in row[0]], dtype=np.int64),
        touch_attributes={
            "campaign": Coded.of([touch[1] for touch in touches]),
            "kind": Coded.of([touch[2] for touch in touches]),
            "cost": Coded.of([touch[3] for touch in touches]),
        },
    )


ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, 24), max_size=5), st.integers(0, 1), st.integers(0, 9)),
    min_size=1,
    max_size=15,
).filter(lambda rows: any(row[0] for row in rows))


def plan_of(weights, budget=1234.56):
    """Return a plan by credit that gives the channels money in proportion to weights."""
    return allocate_by_credit(dict(zip(CHANNELS, weights, strict=True)), budget)


def curve_plan(budget=1000.0, of="conversions"):
    curves = {name: PowerCurve(1.0 + i, 0.5, of=of) for i, name in enumerate(CHANNELS)}
    return allocate(curves, budget, objective=of)


def one_campaign_each(counts, channel="a"):
    """Return journeys of one touch: conversions and cost in units of 1 by campaign."""
    events, rows = [], []
    for name, (conversions, cost) in counts.items():
        for i in range(max(conversions, 1)):
            events.append((channel, name, "click", cost if i == 0 else 0.0))
            rows.append(([len(events) - 1], int(conversions > 0), 1))
    return journeys_of(events, rows)


# The oracle: a tree of dicts, walked from the top, with the formulas of the module written out.


def tree_of(events, rows, by, value=False):
    """Return {path: [cost, credit]} of the leaves."""
    leaves, seen = {}, set()
    for places, converted, worth in rows:
        for place in places:
            event = events[place % len(events)]
            parts = {"campaign": event[1] or "(none)", "kind": event[2]}
            leaf = leaves.setdefault((event[0], *(parts[name] for name in by)), [0.0, 0.0])
            if place % len(events) not in seen:
                leaf[0] += event[3]
                seen.add(place % len(events))
            leaf[1] += converted * (worth if value else 1) / len(places)
    return leaves


def sums_below(leaves, path):
    below = [leaf for key, leaf in leaves.items() if key[: len(path)] == path]
    return math.fsum(cost for cost, _ in below), math.fsum(credit for _, credit in below)


def slow_strength(counts, costs):
    whole = math.fsum(costs)
    mean = math.fsum(counts) / whole
    spread = math.fsum(c * (y / c - mean) ** 2 for y, c in zip(counts, costs, strict=True))
    variance_times = spread - (len(costs) - 1) * mean
    if len(costs) == 1 or variance_times <= 0:
        return math.inf
    variance = variance_times / (whole - math.fsum(c * c for c in costs) / whole)
    return max(1.0, mean**2 / variance)


def slow_shares(leaves, path, rate, size):
    """Return {child: (share of money, shrunk rate of counts, share of outcome)}."""
    children = sorted({key[: len(path) + 1] for key in leaves if key[: len(path)] == path})
    sums = {child: sums_below(leaves, child) for child in children}
    priced = [child for child in children if sums[child][0] > 0]
    if not priced:
        whole = math.fsum(credit for _, credit in sums.values())
        shares = {c: sums[c][1] / whole if whole else 1 / len(children) for c in children}
        return {child: (share, math.nan, share) for child, share in shares.items()}
    counts = [sums[child][1] / size for child in priced]
    costs = [sums[child][0] for child in priced]
    a = slow_strength(counts, costs)
    own = sums_below(leaves, path)[1]
    rate *= math.fsum(counts) * size / own if own else 1.0
    rates = dict.fromkeys(children, math.nan)
    for child, y, c in zip(priced, counts, costs, strict=True):
        rates[child] = rate if rate == 0 or a == math.inf else (y + a) / (c + a / rate)
    money = {c: sums[c][0] * (rates[c] if rate else 1.0) for c in priced}
    outcome = {c: money[c] * (rates[c] if rate else 1.0) for c in priced}
    return {
        child: (
            money.get(child, 0.0) / math.fsum(money.values()),
            rates[child],
            outcome.get(child, 0.0) / math.fsum(outcome.values()),
        )
        for child in children
    }


def hold_against(frame, leaves, plan, size):
    """Compare every level with the oracle, each given the money that its parent really has."""
    n_levels = frame.index.nlevels

    def below(path):
        mine = frame[[key[: len(path)] == path for key in frame.index]]
        return mine["spend"].sum(), mine["outcome"].sum(min_count=1)

    def walk(path, rate):
        if len(path) == n_levels:
            row = frame.loc[path]
            assert row["shrunk_rate"] == pytest.approx(rate * size, rel=1e-9, nan_ok=True)
            return
        spend, outcome = below(path)
        for child, (share, lower, part) in slow_shares(leaves, path, rate, size).items():
            got = below(child)
            # whole cents move no amount by more than one, and sums of floats by far less
            assert abs(got[0] - share * spend) < 0.01 + 1e-9
            assert got[1] == pytest.approx(part * outcome, rel=1e-9, abs=1e-12, nan_ok=True)
            walk(child, lower)

    for channel in plan.lines:
        cost, credit = sums_below(leaves, (channel,))
        if any(key[0] == channel for key in leaves):
            walk((channel,), credit / size / cost if cost else math.nan)


def cents(amounts):
    return [round(100 * amount) for amount in amounts]


@given(EVENTS, ROWS, PLANS, st.sampled_from([("campaign",), ("kind",), BY, BY[::-1]]))
def test_each_level_is_that_of_the_oracle(events, rows, weights, by):
    journeys, plan = journeys_of(events, rows), plan_of(weights)
    frame = break_down(plan, journeys, by=by)
    leaves = tree_of(events, rows, by)
    unknown = {
        (name, *["(unknown)"] * len(by)) for name in CHANNELS if name not in journeys.channels
    }
    assert frame.index.tolist() == sorted({*leaves, *unknown})
    assert frame.index.names == ["channel", *by]
    for key, (cost, credit) in leaves.items():
        assert frame.loc[key, "cost"] == cost
        assert frame.loc[key, "credit"] == pytest.approx(credit, rel=1e-12)
        rate = credit / cost if cost else math.nan
        assert frame.loc[key, "rate"] == pytest.approx(rate, rel=1e-12, nan_ok=True)
    hold_against(frame, leaves, plan, 1.0)
    assert frame["outcome"].isna().all()


@given(EVENTS, ROWS)
def test_value_is_shrunk_as_a_compound_count(events, rows):
    journeys, plan = journeys_of(events, rows), curve_plan(of="value")
    frame = break_down(plan, journeys, by=BY)
    worth = [value for _, converted, value in rows if converted]
    size = sum(v * v for v in worth) / sum(worth) if sum(worth) else 1.0
    hold_against(frame, tree_of(events, rows, BY, value=True), plan, size)


@given(EVENTS, ROWS, st.sampled_from([0.01, 1.0, 5.0]), st.integers(1, 10**8))
def test_money_adds_up_to_the_unit_and_outcome_to_rounding(events, rows, unit, budget):
    plan = curve_plan(budget / 100)
    frame = break_down(plan, journeys_of(events, rows), by=BY, unit=unit)
    in_units = frame["spend"] / unit
    # a quotient of two floats is off by less than 1e-15 of itself
    assert np.abs(in_units - in_units.round()).max() <= 1e-15 * in_units.max()
    whole = in_units.round().astype(int)
    assert whole.min() >= 0
    assert whole.sum() == int(plan.spend.sum() / unit + 1e-4)  # rounded down, as the plan is
    by_channel = whole.groupby(level="channel").sum()
    rounded = plan.to_frame(unit=unit)["outcome"]
    for name, spend, outcome in zip(plan.lines, plan.spend, rounded, strict=True):
        assert abs(by_channel[name] - spend / unit) < 1
        assert frame.loc[name, "outcome"].sum() == pytest.approx(outcome, rel=1e-9)
    assert by_channel.tolist() == _rounded(plan.to_frame(unit=unit)["spend"] / unit)
    deeper = whole.groupby(level=["channel", "campaign"]).sum()
    assert deeper.groupby(level="channel").sum().equals(by_channel)


def _rounded(amounts):
    return amounts.round().astype(int).tolist()


@given(EVENTS, ROWS, st.randoms(use_true_random=False))
def test_the_order_of_journeys_and_names_do_not_matter(events, rows, random):
    plan = curve_plan()
    frame = break_down(plan, journeys_of(events, rows), by=BY)
    new = {"x": "r", "y": "q", "z": "p", None: None}
    renamed = [(channel, new[name], kind, cost) for channel, name, kind, cost in events]
    other = break_down(plan, journeys_of(renamed, random.sample(rows, len(rows))), by=BY)
    other = other.rename({v: k for k, v in new.items() if k}, level="campaign").sort_index()
    spend = frame.pop("spend") - other.pop("spend")
    pd.testing.assert_frame_equal(frame, other, rtol=1e-9, atol=1e-9)
    # which of two equal children gets the odd cent is decided by name, once per level
    assert np.abs(spend).max() < 0.02 + 1e-9


def test_the_shape_is_found_from_many_siblings():
    rng = np.random.default_rng(0)
    cost = rng.uniform(5, 50, 50_000)
    credit = rng.poisson(rng.gamma(4.0, 0.3 / 4.0, 50_000) * cost).astype(float)
    # 1 / a has a standard error near 1.5 % here
    assert strength(credit, cost) == pytest.approx(4.0, rel=0.06)


def test_siblings_alike_but_for_chance_have_no_finite_shape():
    assert strength(np.array([5.0, 5.0]), np.array([1.0, 1.0])) == math.inf
    assert strength(np.array([5.0]), np.array([1.0])) == math.inf
    assert strength(np.array([0.0, 0.0]), np.array([1.0, 2.0])) == math.inf


def test_one_conversion_does_not_take_it_all():
    # by its own rate, x would take all the money
    frame = break_down(plan_of([1, 0, 0], 100), one_campaign_each({"x": (1, 1.0), "y": (0, 100.0)}))
    frame = frame.loc[["a"]]
    assert frame.loc[("a", "x"), "rate"] == 1.0
    # a = 1: (1 + 1) / (1 + 101) and (0 + 1) / (100 + 101)
    assert frame["shrunk_rate"].tolist() == pytest.approx([2 / 102, 1 / 201], rel=1e-12)
    assert frame.loc[("a", "y"), "spend"] > 95


def test_huge_counts_keep_their_own_rate_and_tiny_ones_take_the_mean():
    rates = np.array([0.2, 0.5, 0.8])
    large = shrunk_rates(rates * 1e9, np.full(3, 1e9), 0.5)
    assert large == pytest.approx(rates, rel=1e-7)  # a is near 3, of 2e8 conversions
    credit, cost = np.append(rates * 1e3, 1e-6), np.append(np.full(3, 1e3), 1e-9)
    assert shrunk_rates(credit, cost, 0.5)[3] == pytest.approx(0.5, rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=6))
def test_a_shrunk_rate_lies_between_its_own_and_the_mean(counts):
    credit, cost = np.array(counts, dtype=float).T
    rate = credit.sum() / cost.sum()
    shrunk = shrunk_rates(credit, cost, rate)
    low, high = np.minimum(credit / cost, rate), np.maximum(credit / cost, rate)
    assert (shrunk >= low * (1 - 1e-12)).all()
    assert (shrunk <= high * (1 + 1e-12)).all()


def test_children_without_cost_are_listed_and_get_nothing():
    journeys = one_campaign_each({"x": (30, 10.0), "y": (10, 10.0), "z": (40, 0.0)})
    frame = break_down(curve_plan(), journeys)
    row = frame.loc[("a", "z")]
    assert row[["cost", "credit", "spend", "outcome"]].tolist() == [0, 40, 0, 0]
    assert row[["rate", "shrunk_rate"]].isna().all()
    # and do not raise what the others are pulled to: 2, as of 40 by 20
    without = one_campaign_each({"x": (30, 10.0), "y": (10, 10.0)})
    others = break_down(curve_plan(), without).loc["a"]
    pd.testing.assert_frame_equal(frame.loc["a"].drop("z"), others, rtol=1e-12)


def test_without_any_cost_credit_decides_and_without_credit_nobody():
    plan = plan_of([1, 0, 0], 80)
    free = break_down(plan, one_campaign_each({"x": (30, 0.0), "y": (10, 0.0)}))
    assert free.loc["a", "spend"].tolist() == [60, 20]
    nothing = break_down(plan, one_campaign_each({"x": (0, 0.0), "y": (0, 0.0)}))
    assert nothing.loc["a", "spend"].tolist() == [40, 40]
    costly = break_down(plan, one_campaign_each({"x": (0, 3.0), "y": (0, 1.0)}))
    assert costly.loc["a", "spend"].tolist() == [60, 20]
    assert costly.loc["a", "shrunk_rate"].tolist() == [0, 0]


def test_a_channel_without_touches_keeps_its_money():
    journeys = one_campaign_each({"x": (3, 1.0)})
    frame = break_down(curve_plan(), journeys, by=BY)
    assert frame.index.tolist() == [
        ("a", "x", "click"),
        ("b", "(unknown)", "(unknown)"),
        ("c", "(unknown)", "(unknown)"),
    ]
    rounded = curve_plan().to_frame(unit=0.01)["outcome"].tolist()
    assert frame["outcome"].tolist() == pytest.approx(rounded, rel=1e-12)
    assert frame.loc["c", ["cost", "credit"]].sum().sum() == 0
    assert frame.loc["c", ["rate", "shrunk_rate"]].isna().all().all()


def test_channels_that_the_plan_does_not_have_are_left_out():
    events = [("a", "x", "click", 1.0), ("mail", "y", "click", 1.0)]
    frame = break_down(curve_plan(), journeys_of(events, [([0, 1], 1, 1)]))
    assert "mail" not in frame.index.get_level_values("channel")
    assert frame.loc[("a", "x"), "credit"] == 0.5  # a journey is split among all its touches


def test_a_name_alone_is_one_level():
    journeys = one_campaign_each({"x": (3, 1.0)})
    both = (
        break_down(curve_plan(), journeys, by="kind"),
        break_down(curve_plan(), journeys, by=("kind",)),
    )
    pd.testing.assert_frame_equal(*both)


def test_sample_data():
    attributes = ["cost", "campaign", "touch_type"]
    events = load_events()
    journeys = Journeys.from_events(
        events, conversion_type="conversion_type", attributes=attributes, value="value"
    )
    paid = ("paid_search", "podcast", "retargeting", "affiliate")
    curves = {name: PowerCurve(2.0, 0.6, of="value") for name in paid}
    plan = allocate(curves, 1234.57, objective="value")
    frame = break_down(plan, journeys, by=("campaign", "touch_type"))
    assert sum(cents(frame["spend"])) == 123457
    per_channel = frame.groupby(level="channel").sum()
    assert cents(per_channel["spend"]) == cents(plan.to_frame(0.01)["spend"].sort_index())
    outcome = plan.to_frame(unit=0.01)["outcome"].sort_index()
    assert per_channel["outcome"].to_numpy() == pytest.approx(outcome.to_numpy(), rel=1e-9)
    # all the log's cost of these channels, each event once though leads and purchases share it
    log = events[events["channel"].isin(paid)].groupby(["channel", "campaign"])["cost"].sum()
    per_campaign = frame.groupby(level=["channel", "campaign"]).sum()
    assert per_campaign.index.tolist() == log.index.tolist()
    assert per_campaign["cost"].to_numpy() == pytest.approx(log.to_numpy(), rel=1e-9)
    credit = Linear().attribute(journeys).to_frame()["value"]
    assert per_channel["credit"].to_numpy() == pytest.approx(
        credit[per_channel.index].to_numpy(), rel=1e-9
    )


def test_a_model_that_spreads_channel_totals():
    journeys = Journeys.from_events(load_events(), attributes=["cost", "campaign"])
    plan = allocate_by_credit({"paid_search": 1.0, "podcast": 2.0}, 900)
    result = Markov().attribute(journeys)
    frame = break_down(plan, journeys, "markov")
    given_result = break_down(plan, journeys, "markov", attribution=result)
    pd.testing.assert_frame_equal(frame, given_result, rtol=1e-12)
    sums = frame["credit"].groupby(level="channel").sum()
    credit = result.to_frame()["conversions"][sums.index]
    assert sums.to_numpy() == pytest.approx(credit.to_numpy(), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": ()}, r"by=\(\) is empty"),
        ({"by": ("kind", "kind")}, "names a level twice.*Hint"),
        ({"by": ("channel",)}, "names a level twice"),
        ({"by": "device"}, "no attribute 'device'.*Hint"),
        ({"cost": "price"}, "no attribute 'price'.*Hint"),
        ({"cost": "kind"}, "'kind' holds what is no number"),
        ({"unit": 0.0}, "unit=0.0 is not above 0.*Hint"),
        ({"model": "liner"}, "No model 'liner'"),
        ({"plan": {"a": 1.0}}, "plan is a dict, not a Plan.*Hint"),
        ({"journeys": "log"}, "Got a str, not Journeys"),
        ({"plan": allocate_by_credit({"a / x": 1.0}, 9)}, "'a / x' is a campaign of 'a'.*Hint"),
        ({"plan": allocate_by_credit({"aa": 1.0}, 9)}, "no channel of the plan.*'aa'.*mean 'a'"),
    ],
)
def test_what_does_not_fit(change, message):
    options = {"plan": curve_plan(), "journeys": one_campaign_each({"x": (3, 1.0)}), **change}
    with pytest.raises(InputError, match=message):
        break_down(options.pop("plan"), options.pop("journeys"), **options)


def test_costs_and_credit_must_not_be_negative():
    events = [("a", "x", "click", 1.0), ("a", "y", "view", -2.0)]
    with pytest.raises(InputError, match=r"1 row has negative spend.*row 1 \(-2.0\).*Hint"):
        break_down(curve_plan(), journeys_of(events, [([0, 1], 1, 1)]))
    events = [("a", "x", "click", 1.0), ("a", "y", "view", 2.0)]
    refund = journeys_of(events, [([0], 1, 9), ([1], 1, -4)])
    with pytest.raises(InputError, match=r"1 row has negative credit .*row 1 \(a / y\).*Hint"):
        break_down(curve_plan(of="value"), refund)


def test_value_needs_values():
    journeys = Journeys.from_events(load_events(), attributes=["cost", "campaign"])
    plan = allocate({"podcast": PowerCurve(1.0, 0.5, of="value")}, 10, objective="value")
    with pytest.raises(InputError, match=r"no value.*Hint"):
        break_down(plan, journeys)


def test_fixed_lines_that_are_no_whole_cents_keep_the_sum():
    events = [(name, "x", "click", 1.0) for name in ("a", "b", "c")]
    rows = [([i], True, 0.0) for i in range(3)]
    fixed = {"a": 333.335, "b": 333.335}
    plan = allocate_by_credit({"a": 1, "b": 1, "c": 1}, 1000, fixed=fixed)
    frame = break_down(plan, journeys_of(events, rows), by=("campaign",))
    assert sorted((100 * frame["spend"]).round().astype(int)) == [33333, 33333, 33334]


def test_a_channel_of_a_joint_name_is_no_campaign():
    events = [("tv", "x", "click", 1.0)]
    plan = allocate_by_credit({"tv": 1, "tv / offline": 1}, 10)
    frame = break_down(plan, journeys_of(events, [([0], True, 0.0)]), by=("campaign",))
    assert frame["spend"].to_dict() == {("tv", "x"): 5.0, ("tv / offline", "(unknown)"): 5.0}
    with pytest.raises(InputError, match="'tv / x' is a campaign of 'tv'"):
        break_down(
            allocate_by_credit({"mail": 1, "tv / x": 1}, 10),
            journeys_of(events, [([0], True, 0.0)]),
            by=("campaign",),
        )
