from datetime import timedelta
from fractions import Fraction

import model_oracles as oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, tables

from attribution import (
    FirstClick,
    InputError,
    LastClick,
    LastNonDirect,
    Linear,
    PositionBased,
    TimeDecay,
)
from attribution.models.rules import decay_weights

# Two roundings per touch, some tens of touches, and the sums: well within 1e-12.
EXACT = {"rel": 1e-12, "abs": 1e-12}


def credit_of(model, rows, of="conversions"):
    frame = model.attribute(as_journeys(rows, ages=True)).to_frame()
    return frame[of].to_dict()


def weights_of(model, path, ages=()):
    return model.weights(as_journeys([Row(tuple(path), 1, ages=tuple(ages))], ages=True)).tolist()


@pytest.mark.parametrize(
    ("model", "weigh"),
    [
        (FirstClick(), oracle.first),
        (LastClick(), oracle.last),
        (LastNonDirect(), oracle.last_non_direct),
        (Linear(), oracle.linear),
        (PositionBased(), oracle.position(0.4, 0.4)),
        (PositionBased.j_shaped(), oracle.position(0.2, 0.6)),
        (PositionBased.inverse_j_shaped(), oracle.position(0.6, 0.2)),
        (PositionBased(first=0, last=1), oracle.position(0, 1)),
        (PositionBased(first=0.1, last=0), oracle.position(0.1, 0)),
        (TimeDecay(half_life="1D"), oracle.decay(1)),
    ],
    ids=str,
)
@given(rows=tables())
def test_rule_equals_plain_loops_over_fractions(model, weigh, rows):
    frame = model.attribute(as_journeys(rows, ages=True)).to_frame()
    for of in ("conversions", "value"):
        expected = {name: float(x) for name, x in oracle.rule_credit(rows, weigh, of).items()}
        assert frame[of].to_dict() == pytest.approx(expected, **EXACT)


# --- published cases: github.com/eeghor/mta, tests/test_heuristic_models.py -------------

MTA = [
    Row(("direct",), 2, 1),
    Row(("search", "email"), 3, 2),
    Row(("search", "social", "email"), 5, 4),
]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (FirstClick(), {"direct": 2, "search": 8, "email": 0, "social": 0}),
        (LastClick(), {"direct": 2, "search": 0, "email": 8, "social": 0}),
        (Linear(), {"direct": 2, "search": 19 / 6, "email": 19 / 6, "social": 5 / 3}),
        (PositionBased(), {"direct": 2, "search": 3.5, "email": 3.5, "social": 1}),
    ],
    ids=str,
)
def test_published_rules_of_mta(model, expected):
    assert credit_of(model, MTA) == pytest.approx(expected, **EXACT)


def test_published_ends_of_30_and_70_on_two_touches():
    assert weights_of(PositionBased(first=0.3, last=0.7), "ab") == pytest.approx([0.3, 0.7])


def test_published_linear_counts_repeated_touches_each():
    assert credit_of(Linear(), [Row(("a", "a", "b"), 6)]) == pytest.approx({"a": 4, "b": 2})


# Adobe (analytics.en), Salesforce and mta on position-based weights by number of touches.
@pytest.mark.parametrize(
    ("model", "path", "expected"),
    [
        (PositionBased.u_shaped(), "abcd", [0.4, 0.1, 0.1, 0.4]),
        (PositionBased.u_shaped(), "ab", [0.5, 0.5]),
        (PositionBased.u_shaped(), "a", [1]),
        (PositionBased.j_shaped(), "ab", [0.25, 0.75]),
        (PositionBased.inverse_j_shaped(), "ab", [0.75, 0.25]),
        (PositionBased(first=0, last=1), "abc", [0, 0, 1]),
    ],
)
def test_published_position_weights(model, path, expected):
    assert weights_of(model, path) == pytest.approx(expected, **EXACT)


# Adobe Experience League, attribution components: $50, to the cent.
ADOBE = [Row(("paid search", "social", "email", "display"), 1, 0, 50.0, (9, 6, 0, 0))]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (FirstClick(), [50, 0, 0, 0]),
        (Linear(), [12.5, 12.5, 12.5, 12.5]),
        (PositionBased.j_shaped(), [10, 5, 5, 30]),
        (TimeDecay(half_life="7D"), [6.92, 9.32, 16.88, 16.88]),
    ],
    ids=str,
)
def test_published_50_dollars_of_adobe(model, expected):
    published = dict(zip(ADOBE[0].path, expected, strict=True))
    assert credit_of(model, ADOBE, "value") == pytest.approx(published, abs=0.005)


# PostHog pull request 74333: half-life of one day, touches a day apart.
def test_published_sevenths_of_posthog():
    weights = weights_of(TimeDecay(half_life="1D"), "abc", (3, 2, 1))
    assert weights == pytest.approx([1 / 7, 2 / 7, 4 / 7], **EXACT)


# --- each rule's own corners ------------------------------------------------------------


def test_last_non_direct_knows_direct_in_any_case_and_spelling():
    path = ("a", "(Direct)", "DIRECT", "(direct) / (none)")
    assert weights_of(LastNonDirect(), path) == [1, 0, 0, 0]


def test_last_non_direct_gives_direct_the_credit_where_there_is_nothing_else():
    assert weights_of(LastNonDirect(), ("direct", "(direct)")) == [0, 1]


def test_last_non_direct_looks_no_further_than_its_own_journey():
    rows = [Row(("a", "b"), 1), Row(("direct",), 1)]
    assert credit_of(LastNonDirect(), rows) == {"a": 0, "b": 1, "direct": 1}


def test_position_presets_are_what_their_names_say():
    assert PositionBased.u_shaped() == PositionBased(first=0.4, last=0.4) == PositionBased()
    assert PositionBased.j_shaped() == PositionBased(first=0.2, last=0.6)
    assert PositionBased.inverse_j_shaped() == PositionBased(first=0.6, last=0.2)


@pytest.mark.parametrize(
    ("first", "last"),
    [(-0.1, 0.5), (0.5, -0.1), (1.1, 0), (0.6, 0.5), (float("nan"), 0.4), ("0.4", 0.4), (None, 0)],
)
def test_position_refuses_what_are_no_shares(first, last):
    with pytest.raises(InputError, match=r"are no shares\. Hint: both from 0 to 1"):
        PositionBased(first=first, last=last)


@given(first=st.integers(0, 100))
def test_position_without_a_middle_gives_the_middle_nothing_and_never_less(first):
    model = PositionBased(first=first / 100, last=(100 - first) / 100)
    # 1 - first - last may round to one unit in the last place of 1.
    assert weights_of(model, "abc")[1] == pytest.approx(0, abs=3e-16)
    assert weights_of(model, "abc")[1] >= 0


def test_position_with_no_ends_splits_two_touches_in_half():
    assert weights_of(PositionBased(first=0, last=0), "ab") == [0.5, 0.5]


@pytest.mark.parametrize(
    ("half_life", "complaint"),
    [
        ("7", "has no unit"),
        ("+7", "has no unit"),
        (7, "has no unit"),
        (7.5, "has no unit"),
        ("-1D", "is not positive"),
        ("0D", "is not positive"),
        (timedelta(0), "is not positive"),
        ("500ns", "is shorter than a microsecond"),
        ("abc", "is not a length of time"),
        ("1 month", "is not a length of time"),
    ],
)
def test_time_decay_refuses_a_half_life_that_is_none(half_life, complaint):
    with pytest.raises(InputError, match=f"half_life=.*{complaint}.*Hint"):
        TimeDecay(half_life=half_life)


def test_time_decay_reads_text_and_timedelta_alike():
    path, ages = "abc", (9, 5, 1)
    by_text = weights_of(TimeDecay(half_life="36h"), path, ages)
    assert by_text == weights_of(TimeDecay(half_life=timedelta(hours=36)), path, ages)


def test_time_decay_of_a_minute_works_on_ages_of_months():
    minute = 1 / (24 * 60)
    ages = np.array([200.0, 100 + 2 * minute, 100 + minute, 100.0])
    weights = decay_weights(ages, np.array([0, 4]), minute)
    # 100 days in minutes is 1.4e5, so a difference of one minute keeps 1e-10 of itself.
    np.testing.assert_allclose(weights, [0, 1 / 7, 2 / 7, 4 / 7], rtol=1e-9, atol=0)


@given(rows=tables(), days=st.integers(0, 3650))
def test_time_decay_cares_only_for_differences_of_age(rows, days):
    older = [row._replace(ages=tuple(age + days for age in row.ages)) for row in rows]
    model = TimeDecay(half_life="11h")
    assert credit_of(model, older) == credit_of(model, rows)


def test_time_decay_of_a_long_half_life_is_linear():
    row = Row(("a", "b", "c"), 1, ages=(30, 20, 0))
    # 2^(-30 / 1e5) is 1 but for 2e-4.
    assert credit_of(TimeDecay(half_life="100000D"), [row]) == pytest.approx(
        credit_of(Linear(), [row]), rel=3e-4
    )


def test_time_decay_of_a_short_half_life_is_last_click():
    row = Row(("a", "b", "c"), 1, ages=(30, 20, 10))
    assert credit_of(TimeDecay(half_life="1s"), [row]) == credit_of(LastClick(), [row])


def test_time_decay_without_ages_says_what_to_do():
    journeys = as_journeys([Row(("a",), 1)])
    model = TimeDecay()
    for ask in (model.attribute, model.credit, model.weights):
        with pytest.raises(InputError, match=r"needs the age of each touch.*Hint: .*from_events"):
            ask(journeys)


@given(rows=tables())
def test_weights_of_a_journey_do_not_depend_on_its_neighbours(rows):
    model = PositionBased()
    apart = [weight for row in rows for weight in model.weights(as_journeys([row]))]
    assert model.weights(as_journeys(rows)).tolist() == apart


def test_oracle_of_time_decay_is_the_formula():
    row = Row(("a", "b"), 1, ages=(14, 0))
    assert oracle.decay(7)(row) == [Fraction(1, 5), Fraction(4, 5)]
