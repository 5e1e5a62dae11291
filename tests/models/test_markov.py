import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import (
    Chain,
    Row,
    as_journeys,
    redistributed_removal_effect,
    removal_effects,
    tables,
)

from attribution import (
    Attribution,
    AttributionWarning,
    InputError,
    Markov,
    MarkovPathLevel,
    Shapley,
    compare,
    transforms,
)

# Random tables often have no journey without conversion, or none longer than the order; the
# warnings have tests of their own.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)

# Both sides solve a system of at most some tens of well-conditioned equations.
SOLVED = {"rel": 1e-9, "abs": 1e-11}
orders = st.integers(1, 5)


EFFECT = {"conversions": "removal_effect", "value": "removal_effect_value"}


def frame_of(rows, order=1):
    return Markov(order=order).attribute(as_journeys(rows)).to_frame()


def effects_of(rows, order=1):
    return frame_of(rows, order)["removal_effect"].to_dict()


def credit_of(rows, order=1):
    return frame_of(rows, order)["conversions"].to_dict()


# --- against one linear solve per removed channel ---------------------------------------


@settings(max_examples=150)
@given(rows=tables(), order=orders)
def test_removal_effects_equal_one_solve_per_removed_channel(rows, order):
    frame = frame_of(rows, order)
    for of, effect in EFFECT.items():
        expected = removal_effects(rows, order, of)
        assert frame[effect].to_dict() == pytest.approx(expected, **SOLVED)


@given(rows=tables(converting=True), order=orders)
def test_credit_is_the_total_in_proportion_to_removal_effects(rows, order):
    frame = frame_of(rows, order)
    for of in EFFECT:
        effects = removal_effects(rows, order, of)
        total = sum(getattr(row, of) for row in rows if row.path)
        expected = {c: total * effect / sum(effects.values()) for c, effect in effects.items()}
        assert frame[of].to_dict() == pytest.approx(expected, **SOLVED)


@given(rows=tables(converting=True), order=orders)
def test_flow_balance_gives_base_rate_and_visits_without_a_solve(rows, order):
    chain, statistic = Chain(rows, order), Markov(order=order).summarize(as_journeys(rows))
    result = Markov(order=order).solve(statistic)
    assert result.details["base_rate"] == pytest.approx(chain.yield_per_journey(), **SOLVED)
    names = [[statistic.channels[c] for c in state if c >= 0] for state in statistic.states]
    visits = dict(zip(map(tuple, names), statistic.visits / statistic.n_journeys, strict=True))
    expected = dict(zip(chain.states, chain.visits(), strict=True))
    walked = {state: count for state, count in visits.items() if count}
    assert walked == pytest.approx(expected, **SOLVED)


@given(rows=tables(converting=True, max_length=5), extra=st.integers(0, 2))
def test_order_of_the_longest_path_gives_the_share_of_outcome_that_a_channel_touches(rows, extra):
    order = max(len(row.path) for row in rows) + extra
    channels = {channel for row in rows for channel in row.path}
    frame = frame_of(rows, order)
    for of, effect in EFFECT.items():
        total = sum(getattr(row, of) for row in rows if row.path)
        share = {c: sum(getattr(r, of) for r in rows if c in r.path) / total for c in channels}
        assert frame[effect].to_dict() == pytest.approx(share, **SOLVED)


@given(rows=tables())
def test_collapsing_repeats_changes_nothing_at_order_1(rows):
    journeys = as_journeys(rows)
    collapsed = Markov().attribute(transforms.collapse_repeats(journeys)).to_frame()
    for name, column in Markov().attribute(journeys).to_frame().items():
        assert collapsed[name].tolist() == pytest.approx(column.tolist(), **SOLVED, nan_ok=True)


def test_collapsing_repeats_changes_order_2():
    rows = [Row(("b", "a", "a", "c"), 1, 0), Row(("d", "a", "a", "e"), 0, 1)]
    # State "a a" forgets where it came from, so half of those from d go on to convert.
    assert effects_of(rows, 2) == pytest.approx({"a": 1, "b": 0.5, "c": 1, "d": 0.5, "e": 0})
    collapsed = transforms.collapse_repeats(as_journeys(rows))
    frame = Markov(order=2).attribute(collapsed).to_frame()
    assert frame["removal_effect"].tolist() == pytest.approx([1, 1, 1, 0, 0])


# --- redistribution: effects without credit -----------------------------------------------


@given(rows=tables(), order=st.integers(1, 3))
def test_redistributed_effects_equal_one_rescaled_solve_per_removed_channel(rows, order):
    result = Markov(order=order, removal="redistribute").attribute(as_journeys(rows))
    for of, effect in EFFECT.items():
        expected = {c: redistributed_removal_effect(rows, order, c, of) for c in result.channels}
        found = dict(zip(result.channels, result.extra[effect].tolist(), strict=True))
        assert found == pytest.approx(expected, **SOLVED)
        assert all(effect <= 1 + 1e-12 for effect in found.values())


# Half of the journeys go from "a" to "bad", which loses all of them; the other half converts.
# Without "a" no journey would begin; without "bad" all would convert.
HARMFUL = [Row(("a", "good"), 2, 0, 8.0), Row(("a", "bad"), 0, 2)]


def test_removing_a_harmful_channel_raises_conversion():
    result = Markov(removal="redistribute").attribute(as_journeys(HARMFUL))
    for effect in EFFECT.values():
        assert result.to_frame()[effect].to_dict() == pytest.approx({"a": 1, "bad": -1, "good": 1})
    null = Markov().attribute(as_journeys(HARMFUL)).to_frame()
    assert null["removal_effect"].to_dict() == pytest.approx({"a": 1, "bad": 0, "good": 1})


def test_redistributed_effects_are_no_credit():
    journeys, model = as_journeys(HARMFUL), Markov(removal="redistribute")
    result = model.attribute(journeys)
    assert result.model == "markov(removal='redistribute')"
    assert np.isnan(result.conversions).all()
    assert np.isnan(result.values).all()
    assert result.to_frame()["conversions_share"].isna().all()
    assert (result.details["solver"], result.details["base_rate"]) == ("dense", 0.5)
    assert Attribution.from_json(result.to_json()).equals(result)
    assert "removal_effect" in repr(result)
    for given_result in (None, result):
        with pytest.raises(InputError, match=r"gives no credit.*signed.*Hint: removal='null'"):
            model.credit(journeys, given_result)


def test_compare_skips_effects_without_credit_and_says_why():
    models = ["linear", Markov(removal="redistribute")]
    with pytest.warns(AttributionWarning, match="skipped: its effects are signed") as caught:
        comparison = compare(as_journeys(HARMFUL), models)
    assert len(caught) == 1
    assert list(comparison.attributions) == ["linear"]
    reason = comparison.skipped["markov(removal='redistribute')"]
    assert reason.endswith("without credit. Hint: removal='null'.")


# --- published cases --------------------------------------------------------------------

# Sergey Bryl, Marketing Multi-Channel Attribution model with R (part 1), analyzecore.com
BRYL = [Row(("C1", "C2", "C3"), 1, 0), Row(("C1",), 0, 1), Row(("C2", "C3"), 0, 1)]
# The same with one path more, for orders 1 and 2; closed form beside ChannelAttribution 2.2.5
FOUR_PATHS = [*BRYL, Row(("C1", "C1", "C2", "C1"), 1, 0)]
# do-attribution 0.0.2 (PyPI), README quick start; Aaron Goodin
DO_ATTRIBUTION = [
    Row(("Email", "Social"), 1, 0),
    Row(("Search", "Email"), 1, 0),
    Row(("Social",), 1, 0),
    Row(("Email", "Search"), 0, 1),
    Row(("Search", "Social", "Email"), 1, 0),
    Row(("Direct",), 1, 0),
    Row(("Email", "Social"), 0, 1),
    Row(("Search", "Email", "Social"), 1, 0),
    Row(("Social", "Email"), 1, 0),
    Row(("Search",), 0, 1),
]
# github.com/jmwoloso/pychattr, README; its simulation gives 0.5067, the closed form 1/2
PYCHATTR = [Row(tuple("ABABBA"), 1), Row(tuple("ABBAA"), 1), Row(tuple("AA"), 1)]


def test_published_c1_c2_c3_of_bryl():
    valued = [row._replace(value=1000.0 * row.conversions) for row in BRYL]
    result = Markov().attribute(as_journeys(valued))
    assert result.details["base_rate"] == pytest.approx(1 / 3)
    frame = result.to_frame()
    assert frame["removal_effect"].tolist() == pytest.approx([0.5, 1, 1])
    assert frame["conversions"].tolist() == pytest.approx([0.2, 0.4, 0.4])
    assert frame["value"].tolist() == pytest.approx([200, 400, 400])


def test_published_four_paths_at_orders_1_and_2():
    assert effects_of(FOUR_PATHS, 1) == pytest.approx({"C1": 5 / 6, "C2": 5 / 8, "C3": 1 / 2})
    assert effects_of(FOUR_PATHS, 2) == pytest.approx({"C1": 3 / 4, "C2": 1, "C3": 1 / 2})


def test_published_transitions_of_channelattribution_at_order_2():
    statistic = Markov(order=2).summarize(as_journeys(FOUR_PATHS))
    names = [" ".join(f"C{c + 1}" for c in state if c >= 0) for state in statistic.states]
    rates = {
        (names[i], names[j]): count / statistic.visits[i]
        for i, j, count in zip(statistic.sources, statistic.targets, statistic.counts, strict=True)
    }
    assert rates == {
        ("C1 C2", "C2 C3"): 0.5,
        ("C1 C2", "C2 C1"): 0.5,
        ("C1 C1", "C1 C2"): 1,
    }
    starts = dict(zip(names, statistic.starts / statistic.n_journeys, strict=True))
    expected = {"C1 C2": 0.25, "C1": 0.25, "C2 C3": 0.25, "C1 C1": 0.25, "C2 C1": 0}
    assert starts == expected
    ends = dict(zip(names, statistic.conversions / statistic.visits, strict=True))
    assert ends == {"C1 C2": 0, "C1": 0, "C2 C3": 0.5, "C1 C1": 0, "C2 C1": 1}


def test_published_shares_of_do_attribution():
    result = Markov().attribute(as_journeys(DO_ATTRIBUTION))
    frame = result.to_frame()
    assert result.details["base_rate"] == pytest.approx(0.7)
    shares = {"Direct": 0.085, "Email": 0.3912, "Search": 0.1913, "Social": 0.3324}
    # Published to four decimals.
    assert frame["conversions_share"].to_dict() == pytest.approx(shares, abs=5e-5)
    effects = {"Direct": 1 / 7, "Email": 23 / 35, "Search": 9 / 28, "Social": 43 / 77}
    assert frame["removal_effect"].to_dict() == pytest.approx(effects)


def test_published_chain_of_pychattr_in_closed_form():
    assert effects_of(PYCHATTR) == pytest.approx({"A": 1, "B": 0.5})
    assert credit_of(PYCHATTR) == pytest.approx({"A": 2, "B": 1})


# --- guards and options -----------------------------------------------------------------


@pytest.mark.parametrize("order", [0, -1, 1.5, 2.0, True, "2", None])
def test_order_is_a_positive_whole_number(order):
    with pytest.raises(InputError, match=r"order=.* is not a positive whole number. Hint"):
        Markov(order=order)


@pytest.mark.parametrize("removal", ["NULL", "link", None, ["null"]])
def test_unknown_removal_is_refused_with_the_way_out(removal):
    with pytest.raises(InputError, match=r"removal=.* is not one of .*Hint: removal='null'"):
        Markov(removal=removal)


@pytest.mark.parametrize("model", [Markov, MarkovPathLevel])
def test_order_that_no_journey_exceeds_works_and_says_so(model):
    rows = [Row(("a", "b"), 1, 1, 2.0), Row(("b",), 3, 1, 6.0), Row(tuple("abab"), 0, 0)]
    assert model(order=1).attribute(as_journeys(rows)).details["n_transitions"] == 1
    for order in (2, 5):
        said = rf"No journey has more than {order} touches.*share of conversions.*Hint: a lower"
        with pytest.warns(AttributionWarning, match=said) as caught:
            result = model(order=order).attribute(as_journeys(rows))
        assert [warning.filename for warning in caught] == [__file__]
        assert result.extra["removal_effect"].tolist() == pytest.approx([1 / 4, 1])
        assert result.extra["removal_effect_value"].tolist() == pytest.approx([1 / 4, 1])


@pytest.mark.filterwarnings("error:No journey has more than")
@pytest.mark.parametrize("model", [Markov, MarkovPathLevel])
def test_nothing_is_said_of_the_order_where_a_step_is_taken_or_nobody_starts(model):
    model(order=2).attribute(as_journeys([Row(tuple("abc"), 1, 1)]))
    model(order=2).attribute(as_journeys([Row((), 1, 1)]))
    model().attribute(as_journeys([Row(("a",), 1, 1)]))


def test_without_null_journeys_the_chain_warns_that_its_base_rate_is_1():
    journeys = as_journeys([Row(("a", "b"), 2), Row(("b",), 1)])
    with pytest.warns(AttributionWarning, match=r"base rate 1.*Hint.*nulls=") as caught:
        result = Markov().attribute(journeys)
    assert caught[0].filename == __file__
    assert result.details["base_rate"] == 1


def test_negative_value_is_refused_with_the_way_out():
    rows = [Row(("a", "b"), 1, 1, -5.0), Row(("a",), 1, 1, 2.0)]
    with pytest.raises(InputError, match=r"negative value.*Hint: attribute refunds separately"):
        Markov().attribute(as_journeys(rows))


def test_channel_that_only_loses_has_no_effect():
    rows = [Row(("a", "b"), 3, 1), Row(("a", "c"), 0, 4)]
    assert effects_of(rows) == pytest.approx({"a": 1, "b": 1, "c": 0})
    assert credit_of(rows) == pytest.approx({"a": 1.5, "b": 1.5, "c": 0})


def test_rows_that_stand_for_no_journey_change_nothing():
    rows = [Row(("a", "b"), 3, 1), Row(("b",), 1, 2)]
    more = [*rows, Row(("b", "a", "ghost"), 0, 0)]
    assert effects_of(more) == pytest.approx({**effects_of(rows), "ghost": 0})


def test_states_before_a_journey_of_the_full_order_are_padded():
    statistic = Markov(order=3).summarize(as_journeys([Row(("a", "b"), 1), Row(tuple("abba"), 1)]))
    assert statistic.states.tolist() == [[0, 1, -1], [0, 1, 1], [1, 1, 0]]


def test_credit_of_value_of_a_channel_that_never_converts_directly_goes_over_its_touches():
    rows = [Row(("x", "a"), 0, 2), Row(("a",), 2, 0, 8.0)]
    journeys, model = as_journeys(rows), Markov()
    result = model.attribute(journeys)
    assert result.to_frame()["value"]["x"] > 0
    for of in ("conversions", "value"):
        touches = model.credit(journeys, of=of)
        by_channel = np.bincount(journeys.codes, touches, 2)
        assert by_channel.tolist() == pytest.approx(result.to_frame()[of].tolist())


def test_credit_refuses_the_result_of_another_model():
    journeys = as_journeys(FOUR_PATHS)
    other = Markov(order=2).attribute(journeys)
    with pytest.raises(InputError, match=r"is of markov\(order=2\), not of markov"):
        Markov().credit(journeys, other)


def test_credit_refuses_a_result_that_lacks_a_channel():
    part = Markov().attribute(as_journeys(FOUR_PATHS))
    with pytest.raises(InputError, match="lacks channel 'D'"):
        Markov().credit(as_journeys([Row(("C1", "D"), 1)]), part)


def test_credit_of_value_needs_value():
    bare = Markov().attribute(as_journeys(FOUR_PATHS, values=False))
    with pytest.raises(InputError, match="has no value"):
        Markov().credit(as_journeys(FOUR_PATHS), bare, of="value")


def test_credit_of_an_unknown_outcome_is_refused():
    with pytest.raises(InputError, match="of='clicks' is not one of"):
        Markov().credit(as_journeys(FOUR_PATHS), of="clicks")


def test_loops_and_long_journeys_stay_exact():
    rows = [Row(("a",) * 5000 + ("b",), 1, 0), Row(("a",), 0, 1)]
    # a leads to b once in its 5001 visits and to null once: half of the journeys convert.
    result = Markov().attribute(as_journeys(rows))
    assert result.details["base_rate"] == 0.5
    assert result.to_frame()["removal_effect"].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("model", [Markov(), MarkovPathLevel(), Shapley(worth="markov")])
def test_transitions_of_another_order_are_refused(model):
    journeys = as_journeys(FOUR_PATHS)
    counts = MarkovPathLevel(order=2).summarize(journeys)
    statistic = counts.transitions if isinstance(model, Markov) else counts
    with pytest.raises(InputError, match=r"are of order 2, not 1. Hint: .*summarize"):
        model.solve(statistic)


def test_an_absurd_order_is_refused():
    with pytest.raises(InputError, match=r"order=1000000000000 is more than 1,000. Hint"):
        Markov(order=10**12)
