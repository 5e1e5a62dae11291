import pickle
import random
import re
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import (
    Row,
    all_subsets,
    as_journeys,
    channels_of,
    exact_set_worth,
    markov_worth,
    rate_worth,
    shapley_values,
    tables,
)

from attribution import (
    AttributionWarning,
    InputError,
    Linear,
    Markov,
    MarkovPathLevel,
    Shapley,
    compare,
)
from attribution.interplay import coalition_worths
from attribution.models import shapley
from attribution.results import Attribution

# Both warnings have tests of their own below.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:There are no journeys without:attribution.AttributionWarning"
    ),
    pytest.mark.filterwarnings(
        "ignore:The game does not know volume:attribution.AttributionWarning"
    ),
]

# Sums of 64 rates, or solves of six well-conditioned equations, with weights of some digits.
EXACT = {"rel": 1e-12, "abs": 1e-12}
OUTCOMES = {"conversions": "shapley_value", "value": "shapley_value_of_value"}
ORACLES = {"rate": rate_worth, "markov": markov_worth}
each_game = pytest.mark.parametrize("worth", ["rate", "markov"])
few, some = settings(max_examples=12), settings(max_examples=30)  # for each of the models


def root_of_size(members):
    return len(members) ** 0.5


def scattered(members):
    """A worth without any structure; 0 for the empty set, never 0 otherwise."""
    return float(sum(map(ord, "".join(sorted(members)))) % 17 + bool(members))


def frame_of(model, rows):
    return model.attribute(as_journeys(rows)).to_frame()


def as_floats(values):
    return {name: float(value) for name, value in values.items()}


def near(expected, rel=1e-9):
    """Equal but for rounding, which is relative to the largest figure, not to each."""
    scale = max([1e-12, *map(abs, expected.values())])
    return pytest.approx(expected, rel=rel, abs=rel * scale)


SAMPLE = [
    Row(("a", "b", "a", "c"), 3, 2, 30.5),
    Row(("direct",), 1, 4, 7.0),
    Row(("b", "direct"), 2, 1, 11.25),
    Row((), 2, 1, 5.0),
    Row(("c", "c", "b"), 0, 6, 0.0),
    Row(("d",), 0, 2, 0.0),
]
# In the rate game a is worth far more than the four conversions it has: a rate knows no volume.
SMALL_BUT_GOOD = [Row(("a",), 4, 0, 8.0), Row(("b",), 40, 156, 80.0), Row(("b", "c"), 56, 144, 9.0)]


# --- raw values are the definition ------------------------------------------------------


@each_game
@given(rows=tables(converting=True))
def test_raw_values_are_the_definition_over_all_subsets(worth, rows):
    frame = frame_of(Shapley(worth=worth), rows)
    for of, column in OUTCOMES.items():
        expected = shapley_values(channels_of(rows), ORACLES[worth](rows, of))
        assert frame[column].to_dict() == pytest.approx(as_floats(expected), **EXACT)


@given(rows=tables(converting=True))
def test_functions_and_tables_have_the_values_of_the_definition(rows):
    channels = channels_of(rows)
    expected = as_floats(shapley_values(channels, scattered))
    table = {tuple(s): scattered(s) for s in all_subsets(channels) if s}
    for worth in (scattered, table, pd.Series(table.values(), [frozenset(k) for k in table])):
        frame = frame_of(Shapley(worth=worth), rows)
        assert frame["shapley_value"].to_dict() == pytest.approx(expected, **EXACT)
        assert "shapley_value_of_value" not in frame


@given(rows=tables(converting=True))
def test_values_add_up_to_the_worth_of_all_channels(rows):
    everyone = set(channels_of(rows))
    for worth, oracle in {**ORACLES, scattered: lambda *_: scattered}.items():
        frame = frame_of(Shapley(worth=worth), rows)
        total = float(oracle(rows, "conversions")(everyone))
        assert frame["shapley_value"].sum() == pytest.approx(total, **EXACT)
        if worth != scattered:
            value = float(oracle(rows, "value")(everyone))
            assert frame["shapley_value_of_value"].sum() == pytest.approx(value, **EXACT)


@each_game
@given(rows=tables(converting=True), bare=st.integers(1, 9))
def test_rows_without_touches_are_in_no_game(worth, rows, bare):
    touched = [row for row in rows if row.path]
    frame = frame_of(Shapley(worth=worth, scale="total"), touched)
    more = frame_of(Shapley(worth=worth, scale="total"), [*touched, Row((), bare, 3, 7.0)])
    assert more.equals(frame)


def test_journeys_without_value_have_one_column_of_values():
    result = Shapley(worth="rate").attribute(as_journeys(SAMPLE, values=False))
    assert list(result.extra) == ["shapley_value"]
    assert result.values is None


@each_game
@some
@given(rows=tables(converting=True))
def test_a_game_without_value_is_the_same_game_of_conversions(worth, rows):
    model = Shapley(worth=worth)
    bare = model.attribute(as_journeys(rows, values=False)).extra["shapley_value"]
    both = model.attribute(as_journeys(rows)).extra["shapley_value"]
    assert bare.tolist() == pytest.approx(both.tolist(), **EXACT)


@some
@given(rows=tables(converting=True))
def test_the_table_behind_the_rate_game_is_the_rate_game(rows):
    listed = coalition_worths(as_journeys(rows), "rate")["worth"]
    of_table = frame_of(Shapley(worth=listed), rows)["shapley_value"]
    of_rates = frame_of(Shapley(worth="rate"), rows)["shapley_value"]
    assert of_table.to_dict() == pytest.approx(of_rates.to_dict(), **EXACT)


@some
@given(rows=tables(converting=True))
def test_the_table_of_all_markov_worths_is_the_markov_game(rows):
    listed = coalition_worths(as_journeys(rows), "markov", min_journeys=0)["worth"]
    of_table = frame_of(Shapley(worth=listed), rows)["shapley_value"]
    of_chain = frame_of(Shapley(worth="markov"), rows)["shapley_value"]
    assert of_table.to_dict() == pytest.approx(of_chain.to_dict(), **EXACT)


@some
@given(rows=tables(converting=True))
def test_the_conversions_within_each_set_as_a_table_are_the_default_game(rows):
    listed = coalition_worths(as_journeys(rows), "conversions", min_journeys=0)["worth"]
    of_table = frame_of(Shapley(worth=listed), rows)["shapley_value"].to_dict()
    assert of_table == near(frame_of(Shapley(), rows)["conversions"].to_dict(), 1e-12)


def test_a_rate_game_by_hand():
    frame = frame_of(Shapley(worth="rate"), SMALL_BUT_GOOD)
    a, b, c, ab, ac = 1, Fraction(40, 196), 0, Fraction(44, 200), 1
    bc, abc = Fraction(96, 396), Fraction(100, 400)
    expected = {
        "a": (2 * a + (ab - b) + (ac - c) + 2 * (abc - bc)) / 6,
        "b": (2 * b + (ab - a) + (bc - c) + 2 * (abc - ac)) / 6,
        "c": (2 * c + (ac - a) + (bc - b) + 2 * (abc - ab)) / 6,
    }
    assert frame["shapley_value"].to_dict() == pytest.approx(as_floats(expected), **EXACT)


# --- sampling ---------------------------------------------------------------------------


def many_rows(n_channels=6, n_rows=60, seed=1):
    rng = random.Random(seed)
    names = [f"c{i:02}" for i in range(n_channels)]
    rows = [Row((name,), rng.randint(0, 3), rng.randint(1, 5), 2.0) for name in names]
    rows += [
        Row(tuple(rng.choices(names, k=rng.randint(2, 5))), rng.randint(0, 4), rng.randint(0, 4))
        for _ in range(n_rows)
    ]
    return [row._replace(value=1.25 * row.conversions * len(row.path)) for row in rows]


def games_of(rows):
    table = {tuple(s): scattered(s) for s in all_subsets(channels_of(rows)) if s}
    return {"rate": "rate", "markov": "markov", "function": scattered, "table": table}


@pytest.mark.parametrize("name", ["rate", "markov", "function", "table"])
def test_sampled_values_are_within_some_standard_errors_of_the_exact_ones(name):
    rows = many_rows()
    worth = games_of(rows)[name]
    exact = frame_of(Shapley(worth=worth), rows)
    sampled = frame_of(Shapley(worth=worth, method="sampling", tolerance=None), rows)
    for column in OUTCOMES.values():
        if column not in exact:
            continue
        errors = sampled[f"{column}_se"]
        total = exact[column].sum()
        assert (errors > 0).all()
        assert errors.max() < 0.02 * total
        # Of some ten estimates none is five standard errors off, but for one seed in 100,000.
        assert (abs(sampled[column] - exact[column]) < 5 * errors).all()
        assert sampled[column].sum() == pytest.approx(total, rel=1e-12)


def test_exact_results_have_no_standard_errors_and_say_how_they_were_found():
    rows = many_rows()
    exact = Shapley(worth="rate").attribute(as_journeys(rows))
    assert list(exact.extra) == ["shapley_value", "shapley_value_of_value"]
    assert {k: v for k, v in exact.details.items() if k != "spread"} == {
        "method": "exact",
        "unobserved_coalitions": 0,
    }
    sampled = Shapley(worth="rate", method="sampling", max_permutations=1000, tolerance=None)
    details = sampled.attribute(as_journeys(rows)).details
    assert (details["method"], details["n_permutations"], details["converged"]) == (
        "sampling",
        996,  # blocks of 2 x 6
        True,
    )
    assert "unobserved_coalitions" not in details


N = 26
NAMES_26 = [f"c{i:02}" for i in range(N)]


def rates_of_single_touches():
    """Four journeys per channel, of which i % 5 convert; values in closed form.

    The worth of S is the mean rate of its members. With s others in, channel i adds r_i / (s + 1)
    and takes from each of them r_j (1 / s - 1 / (s + 1)), s uniform over 0 .. n - 1.
    """
    rows = [Row((name,), i % 5, 4 - i % 5, 0.0) for i, name in enumerate(NAMES_26)]
    rates = [Fraction(i % 5, 4) for i in range(N)]
    harmonic = sum(Fraction(1, s) for s in range(1, N + 1))
    own, others = harmonic / N, (harmonic - 1) / (N * (N - 1))
    return rows, {
        name: rate * own - (sum(rates) - rate) * others
        for name, rate in zip(NAMES_26, rates, strict=True)
    }


def chain_without_loops():
    """Half of the channels lead to the other half, each at rates of its own.

    The worth is a sum over walks of their probability, each a unanimity game of its channels.
    """
    rows, half = [], N // 2
    for i in range(half):
        rows.append(Row((NAMES_26[i],), 1 + i % 3, 2))
        rows += [Row((NAMES_26[i], NAMES_26[half + j]), 1 + (i + j) % 4, 1) for j in range(0, 9, 4)]
    rows += [Row((NAMES_26[half + j],), 1, j % 3) for j in range(half)]
    n_journeys = sum(row.conversions + row.nulls for row in rows)

    def share(of, where, among):
        total = sum(row.conversions + row.nulls for row in rows if among(row))
        return Fraction(sum(of(row) for row in rows if where(row)), total)

    def ends(channel):
        return share(
            lambda row: row.conversions,
            lambda row: row.path[-1] == channel,
            lambda row: channel in row.path,
        )

    def weight(row):
        return row.conversions + row.nulls

    values = dict.fromkeys(NAMES_26, Fraction(0))
    for i, name in enumerate(NAMES_26):
        start = Fraction(sum(weight(row) for row in rows if row.path[0] == name), n_journeys)
        values[name] += start * ends(name)
        for later in NAMES_26[half:] if i < half else []:
            step = share(
                weight,
                lambda row, a=name, b=later: row.path == (a, b),
                lambda r, a=name: a in r.path,
            )
            for each in (name, later):
                values[each] += start * step * ends(later) / 2
    return rows, values


def costs_of_an_airport(members):
    """The worth is the largest member's."""
    return float(max((int(name[1:]) + 1) ** 2 for name in members)) if members else 0.0


def airport():
    """Each step of the runway is shared by those who need it (Littlechild and Owen 1973)."""
    steps = [Fraction(2 * i + 1, N - i) for i in range(N)]
    return {name: sum(steps[: i + 1]) for i, name in enumerate(NAMES_26)}


@pytest.mark.parametrize("name", ["rate", "markov", "function"])
def test_more_than_24_channels_are_sampled_by_themselves(name):
    rows, expected = {"rate": rates_of_single_touches, "markov": chain_without_loops}.get(
        name, lambda: (rates_of_single_touches()[0], airport())
    )()
    worth = {"function": costs_of_an_airport}.get(name, name)
    result = Shapley(worth=worth, tolerance=0.002).attribute(as_journeys(rows, values=False))
    total = float(sum(expected.values()))
    errors = result.extra["shapley_value_se"]
    off = result.extra["shapley_value"] - np.array([float(expected[c]) for c in result.channels])
    assert (result.details["method"], result.details["converged"]) == ("sampling", True)
    assert 0 < errors.max() <= 0.002 * total
    assert (abs(off) <= 5 * errors + 1e-12).all()
    assert result.extra["shapley_value"].sum() == pytest.approx(total, rel=1e-12)


def test_the_limit_of_exact_games_decides_the_method(monkeypatch):
    journeys, model = as_journeys(many_rows()), Shapley(worth="rate", tolerance=None)
    for limit, method in ((6, "exact"), (5, "sampling")):
        monkeypatch.setattr(shapley, "EXACT_PLAYERS", limit)
        assert model.attribute(journeys).details["method"] == method


def test_sampling_is_reproducible_and_depends_on_the_seed():
    journeys = as_journeys(many_rows())
    model = Shapley(worth="rate", method="sampling", tolerance=None)
    again = model.attribute(journeys)
    assert again.equals(model.attribute(journeys))
    assert again.extra["shapley_value"].tolist() == (
        replace(model, random_state=0).attribute(journeys).extra["shapley_value"].tolist()
    )
    other = replace(model, random_state=1).attribute(journeys)
    assert other.extra["shapley_value"].tolist() != again.extra["shapley_value"].tolist()


def test_a_tolerance_that_is_not_reached_warns_with_the_way_out():
    model = Shapley(worth="rate", method="sampling", tolerance=1e-9, max_permutations=500)
    with pytest.warns(
        AttributionWarning, match=r"After 492 permutations.*1e-09.*Hint: raise max_permutations"
    ) as caught:
        result = model.attribute(as_journeys(many_rows()))
    assert {warning.filename for warning in caught} == {__file__}
    assert result.details["converged"] is False


def test_sampled_values_give_credit_too():
    rows = many_rows()
    model = Shapley(worth="markov", method="sampling", scale="total")
    result = model.attribute(as_journeys(rows))
    assert result.conversions.sum() == pytest.approx(sum(r.conversions for r in rows), rel=1e-12)
    expected = result.extra["shapley_value"] / result.extra["shapley_value"].sum()
    assert (result.conversions / result.conversions.sum()).tolist() == pytest.approx(expected)


# --- without scale there is no credit ---------------------------------------------------


UNSCALED = [Shapley(worth=worth) for worth in ("rate", "markov", root_of_size)]
each_unscaled = pytest.mark.parametrize("model", UNSCALED, ids=lambda model: model.name)


@each_unscaled
def test_without_scale_conversions_value_and_shares_are_nan(model):
    journeys = as_journeys(SAMPLE)
    result = model.attribute(journeys)
    frame = result.to_frame()
    credit = frame[["conversions", "value", "conversions_share", "value_share"]]
    assert credit.isna().all(axis=None)
    assert frame["shapley_value"].notna().all()
    assert (result.total_conversions, result.unattributed) == (8, 2)
    assert Attribution.from_json(result.to_json()).equals(result)


@each_unscaled
def test_without_scale_credit_of_touches_is_refused(model):
    journeys = as_journeys(SAMPLE)
    for given_result in (None, model.attribute(journeys)):
        with pytest.raises(InputError, match=r"gives no credit: .*worths.*Hint: scale='total'"):
            model.credit(journeys, given_result)


@each_unscaled
def test_compare_skips_games_without_credit_with_the_reason(model):
    with pytest.warns(AttributionWarning, match=r"is skipped: its values are worths.*Hint: scale"):
        comparison = compare(as_journeys(SAMPLE), ["linear", model])
    assert list(comparison.skipped) == [model.name]
    assert "scale='total'" in comparison.skipped[model.name]
    assert list(comparison.attributions) == ["linear"]


@each_game
def test_compare_takes_games_with_credit(worth):
    model = Shapley(worth=worth, scale="total")
    comparison = compare(as_journeys(SAMPLE), ["shapley", model])
    expected = model.attribute(as_journeys(SAMPLE)).conversions.tolist()
    assert comparison[model.name].conversions.tolist() == expected
    assert dict(comparison.kinds) == {"shapley": "rule", model.name: "data"}


def test_only_the_game_of_conversions_is_a_separable_rule():
    assert (Shapley().kind, Shapley().separable, Shapley().lack_of_credit) == ("rule", True, None)
    for model in UNSCALED:
        assert (model.kind, model.separable) == ("data", False)
    scaled = Shapley(scale="total").attribute(as_journeys(SAMPLE))
    assert (
        scaled.conversions.tolist() == Shapley().attribute(as_journeys(SAMPLE)).conversions.tolist()
    )


# --- with scale="total" -----------------------------------------------------------------

SCALED = [Shapley(worth=worth, scale="total") for worth in ("rate", "markov", root_of_size)]
each_scaled = pytest.mark.parametrize("model", SCALED, ids=lambda model: model.name)


@each_scaled
@some
@given(rows=tables(converting=True))
def test_conversions_and_value_are_conserved(model, rows):
    result = model.attribute(as_journeys(rows))
    total = result.conversions.sum() + result.unattributed
    assert total == pytest.approx(sum(row.conversions for row in rows), rel=1e-9)
    value = result.values.sum() + result.unattributed_value
    assert value == pytest.approx(sum(row.value for row in rows), rel=1e-9)


@each_game
@some
@given(rows=tables(converting=True))
def test_credit_is_the_total_in_proportion_to_the_exact_values(worth, rows):
    frame = frame_of(Shapley(worth=worth, scale="total"), rows)
    for of in OUTCOMES:
        values = as_floats(shapley_values(channels_of(rows), ORACLES[worth](rows, of)))
        whole, total = sum(values.values()), sum(getattr(r, of) for r in rows if r.path)
        assert frame[of].to_dict() == near({c: total * x / whole for c, x in values.items()})


@given(rows=tables(converting=True))
def test_value_follows_the_worths_of_a_function_as_conversions_do(rows):
    frame = frame_of(Shapley(worth=scattered, scale="total"), rows)
    value = sum(row.value for row in rows if row.path)
    conversions = sum(row.conversions for row in rows if row.path)
    expected = frame["shapley_value"] / frame["shapley_value"].sum()
    assert (frame["conversions"] / conversions).to_dict() == near(expected.to_dict())
    assert (frame["value"] / value).to_dict() == near(expected.to_dict())


@each_scaled
@some
@given(rows=tables(converting=True))
def test_credit_of_touches_sums_by_channel(model, rows):
    # A function can give credit to a channel that only rows of no journeys have.
    rows = [row for row in rows if row.conversions + row.nulls]
    journeys = as_journeys(rows)
    result = model.attribute(journeys)
    for of in OUTCOMES:
        touches = model.credit(journeys, result, of=of)
        by_channel = np.bincount(journeys.codes, touches, len(journeys.channels))
        expected = result.to_frame()[of].to_numpy()
        scale = abs(expected).max()
        np.testing.assert_allclose(by_channel, expected, rtol=1e-9, atol=1e-9 * scale)
        assert touches.tolist() == model.credit(journeys, of=of).tolist()


@each_scaled
@few
@given(rows=tables(converting=True), cut=st.integers(0, 10))
def test_credit_of_chunks_with_the_result_of_the_whole_agrees_with_the_whole(model, rows, cut):
    journeys = as_journeys(rows)
    result = model.attribute(journeys)
    for of in OUTCOMES:
        whole = model.credit(journeys, result, of=of)
        chunks = [as_journeys(part) for part in (rows[:cut], rows[cut:])]
        joined = np.concatenate([model.credit(chunk, result, of=of) for chunk in chunks])
        np.testing.assert_allclose(joined, whole, rtol=1e-11, atol=1e-12)


def test_credit_goes_over_all_touches_of_a_channel_whose_journeys_never_convert():
    # "z" fails on its own and beside a: a rate gives it negative credit all the same.
    rows = [Row(("a",), 4, 0), Row(("z", "a", "z"), 0, 1), Row(("z",), 0, 3)]
    model, journeys = Shapley(worth="rate", scale="total"), as_journeys(rows)
    frame = model.attribute(journeys).to_frame()
    # v(a) = 1, v(z) = 0, v(az) = 1 / 2: z has -1 / 4, of a total of 1 / 2 that stands for 4.
    assert frame["conversions"].to_dict() == pytest.approx({"a": 6, "z": -2})
    # z is touched five times, three of them in the row of three journeys.
    assert model.credit(journeys).tolist() == pytest.approx([6, -0.4, 0, -0.4, -1.2])


def test_credit_refuses_results_of_other_options():
    journeys = as_journeys(SAMPLE)
    other = Shapley(worth="rate", scale="total").attribute(journeys)
    with pytest.raises(InputError, match=r"is of shapley\(worth='rate'.*not of shapley\(worth='ma"):
        Shapley(worth="markov", scale="total").credit(journeys, other)


def messages_of(model, rows):
    """All warnings, whatever the filters at the top of this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.attribute(as_journeys(rows))
    return [str(warning.message) for warning in caught]


def excess_named(model, rows):
    """The channels that the warnings name."""
    messages = [text for text in messages_of(model, rows) if "does not know volume" in text]
    assert len(messages) <= 1
    return re.findall(r"'([^']*)' \S+ \(took part in", "".join(messages))


def test_a_channel_that_is_given_more_than_it_took_part_in_is_named_with_both_figures():
    frame = frame_of(Shapley(worth="rate", scale="total"), SMALL_BUT_GOOD)
    credit = frame.loc["a", "conversions"]
    with pytest.warns(AttributionWarning, match="does not know volume") as caught:
        Shapley(worth="rate", scale="total").attribute(as_journeys(SMALL_BUT_GOOD))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert f": 'a' {credit:,.6g} (took part in 4), " in str(caught[0].message)
    assert "Hint: read shapley_value, or use worth='conversions'." in str(caught[0].message)


@each_game
@some
@given(rows=tables(converting=True))
def test_every_channel_in_excess_is_named_and_no_other(worth, rows):
    values = shapley_values(channels_of(rows), ORACLES[worth](rows))
    whole, total = sum(values.values()), sum(r.conversions for r in rows if r.path)
    reached = {c: sum(r.conversions for r in rows if c in r.path) for c in values}
    # A chain is solved in floats: what is equal there is so but for rounding.
    credit = {c: x / whole * total for c, x in values.items()}
    excess = [c for c, x in credit.items() if x > reached[c] + 1e-8 or x < -1e-8]
    assert excess_named(Shapley(worth=worth, scale="total"), rows) == excess


def test_a_channel_that_is_worth_no_more_than_rounding_is_not_in_excess_of_nothing():
    # The values of z are (0.1 - 0) / 2 and (0.2 - 0.3) / 2, which do not cancel in floats.
    table, rows = {"z": 0.1, "a": 0.3, ("a", "z"): 0.2}, [Row(("a",), 3, 1), Row(("z",), 0, 1)]
    model = Shapley(worth=table, scale="total")
    assert 0 < frame_of(model, rows).loc["z", "conversions"] < 1e-12
    assert excess_named(model, rows) == []


def test_a_channel_with_less_than_nothing_is_named():
    rows = [Row(("a",), 50, 1), Row(("a", "b"), 50, 1)]
    model = Shapley(worth={"a": 1.0, ("a", "b"): 0.8}, scale="total")
    assert frame_of(model, rows)["conversions"].tolist() == pytest.approx([112.5, -12.5])
    assert excess_named(model, rows) == ["a", "b"]


def test_a_small_excess_is_an_excess():
    rows = [Row(("a",), 50, 1), Row(("b",), 50, 1)]
    model = Shapley(worth={"a": 0.5001, "b": 0.4999, ("a", "b"): 1.0}, scale="total")
    assert frame_of(model, rows)["conversions"].tolist() == pytest.approx([50.01, 49.99])
    assert excess_named(model, rows) == ["a"]


def test_a_channel_that_leads_to_others_that_convert_is_in_excess_of_nothing():
    # The chain sends e on to a, from where journeys convert.
    rows = [Row(("a", "b"), 3, 1), Row(("e", "a"), 0, 2)]
    assert "e" in excess_named(Shapley(worth="markov", scale="total"), rows)


def test_without_scale_no_channel_is_in_excess():
    assert excess_named(Shapley(worth="rate"), SMALL_BUT_GOOD) == []


# --- promises of every model, with scale ------------------------------------------------


@each_scaled
@few
@given(rows=tables(converting=True), randomness=st.randoms(use_true_random=False))
def test_renaming_channels_renames_the_credit(model, rows, randomness):
    names = channels_of(rows)
    new = [f"new {i}" for i in range(len(names))]
    randomness.shuffle(new)
    name = dict(zip(names, new, strict=True))
    renamed = [row._replace(path=tuple(name[c] for c in row.path)) for row in rows]
    for of in OUTCOMES:
        expected = {name[c]: x for c, x in frame_of(model, rows)[of].items()}
        assert frame_of(model, renamed)[of].to_dict() == near(expected)


@each_scaled
@few
@given(rows=tables(converting=True), randomness=st.randoms(use_true_random=False))
def test_order_and_grouping_of_rows_do_not_matter(model, rows, randomness):
    twice = rows + rows[::2]
    whole = frame_of(model, twice)
    shuffled = frame_of(model, randomness.sample(twice, len(twice)))
    merged = model.attribute(as_journeys(twice).compress()).to_frame()
    for of in OUTCOMES:
        expected = near(whole[of].to_dict(), 1e-11)
        assert shuffled[of].to_dict() == expected
        assert merged[of].to_dict() == expected


@pytest.mark.parametrize("model", [*SCALED, *UNSCALED], ids=lambda model: model.name)
@few
@given(first=tables(converting=True), second=tables(names=("b", "x", "direct", "y")))
def test_parts_of_different_channels_add_up_to_the_whole(model, first, second):
    whole = model.attribute(as_journeys(first + second))
    parts = model.attribute(iter([as_journeys(first), as_journeys(second)]))
    assert parts.channels == whole.channels
    expected, got = whole.to_frame(), parts.to_frame()
    # 1e-11 is what statistics promise under any partition.
    for column in expected:
        scale = abs(expected[column]).max()
        np.testing.assert_allclose(got[column], expected[column], rtol=1e-11, atol=1e-11 * scale)
    spread, expected_spread = parts.details["spread"], whole.details["spread"]
    for of in (*OUTCOMES, "touches"):
        np.testing.assert_allclose(spread[of], expected_spread[of], rtol=1e-11)
    assert parts.details["unobserved_coalitions"] == whole.details["unobserved_coalitions"]
    assert (parts.unattributed, parts.total_conversions) == (
        whole.unattributed,
        whole.total_conversions,
    )


@each_scaled
def test_a_generator_of_one_row_each_is_read_once(model):
    whole = frame_of(model, SAMPLE)
    parts = model.attribute(as_journeys([row]) for row in SAMPLE).to_frame()
    for of in OUTCOMES:
        assert parts[of].to_dict() == near(whole[of].to_dict(), 1e-11)


@each_scaled
@pytest.mark.parametrize("factor", [0.1, 1 / 3, 1e-6, 1e15])
def test_counts_may_be_fractions_or_huge(model, factor):
    scaled = [
        row._replace(
            conversions=row.conversions * factor, nulls=row.nulls * factor, value=row.value * factor
        )
        for row in SAMPLE
    ]
    for of in OUTCOMES:
        expected = {c: x * factor for c, x in frame_of(model, SAMPLE)[of].items()}
        assert frame_of(model, scaled)[of].to_dict() == near(expected)


@each_scaled
def test_repetition_threads_and_pickles_give_the_same_bits(model):
    journeys = as_journeys(many_rows())
    expected = model.attribute(journeys)
    assert expected.equals(model.attribute(as_journeys(many_rows())))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(model.attribute, [journeys] * 8))
    assert all(expected.equals(result) for result in results)
    model_again, journeys_again = pickle.loads(pickle.dumps((model, journeys)))
    assert expected.equals(model_again.attribute(journeys_again))
    statistic = pickle.loads(pickle.dumps(model.summarize(journeys)))
    assert expected.equals(model.solve(statistic))


@each_scaled
def test_one_channel_gets_all_however_often_it_is_touched(model):
    rows = [Row(("a",) * 7, 2, 1, 6.0), Row(("a",), 1, 3, 1.5), Row(("a", "a"), 0, 1)]
    frame = frame_of(model, rows)
    assert frame["conversions"].to_dict() == pytest.approx({"a": 3})
    assert frame["value"].to_dict() == pytest.approx({"a": 7.5})


@each_scaled
def test_channels_alike_share_equally(model):
    rows = [Row(("a", "b", "a", "b"), 4, 1, 8.0), Row(("b", "a", "b", "a"), 4, 1, 8.0)]
    frame = frame_of(model, rows)
    assert frame["conversions"].to_dict() == near({"a": 4, "b": 4})
    assert frame["value"].to_dict() == near({"a": 8, "b": 8})


@pytest.mark.parametrize("model", [*SCALED, *UNSCALED], ids=lambda model: model.name)
def test_only_rows_without_touches_leave_everything_unattributed(model):
    result = model.attribute(as_journeys([Row((), 2, 1, 5.0)]))
    assert (result.unattributed, result.unattributed_value) == (2, 5)
    assert len(result.channels) == len(result.conversions) == len(result.to_frame()) == 0


@each_scaled
def test_conversions_of_no_value_share_out_no_value(model):
    frame = frame_of(model, [Row(("a", "b"), 2, 1, 0.0), Row(("b",), 1, 1, 0.0)])
    assert frame["value"].tolist() == [0, 0]
    assert frame["conversions"].sum() == pytest.approx(3)


# --- a grand coalition of no worth ------------------------------------------------------

NOTHING = r"All channels together are worth 0, so there is nothing to share. Hint: .*must convert"


@pytest.mark.parametrize("scale", [None, "total"])
@pytest.mark.parametrize("method", ["exact", "sampling"])
@each_game
def test_games_of_journeys_that_never_convert_are_an_error(worth, method, scale):
    rows = [Row(("a", "b"), 0, 3), Row(("b",), 0, 1)]
    with pytest.raises(InputError, match=NOTHING):
        Shapley(worth=worth, method=method, scale=scale).attribute(as_journeys(rows))


def test_a_table_without_the_set_of_all_channels_is_an_error():
    model = Shapley(worth={"a": 1.0, "b": 2.0, ("a", "b"): 3.0})
    assert frame_of(model, [Row(("a", "b"), 1, 1)])["shapley_value"].tolist() == [1, 2]
    with pytest.raises(InputError, match=NOTHING):
        model.attribute(as_journeys([Row(("a", "b"), 1, 1), Row(("c",), 1, 1)]))


# do-attribution 0.0.2 (PyPI), README quick start; Aaron Goodin. Its figures sum to 0.
EXACT_SETS = [
    Row(("Email", "Social"), 2, 1),
    Row(("Search", "Email"), 1, 1),
    Row(("Social",), 1, 0),
    Row(("Search", "Social", "Email"), 2, 0),
    Row(("Direct",), 1, 0),
    Row(("Search",), 0, 1),
]


def test_the_published_game_of_exact_sets_is_an_error_and_not_equal_shares():
    worth = exact_set_worth(EXACT_SETS)
    table = {frozenset(s): worth(s) for s in all_subsets(channels_of(EXACT_SETS)) if worth(s)}
    assert table[frozenset(["Email", "Search", "Social"])] == 2
    values = as_floats(shapley_values(channels_of(EXACT_SETS), worth))
    published = {"Direct": -0.5833, "Email": 0.25, "Search": -0.0833, "Social": 0.4167}
    assert values == pytest.approx(published, abs=5e-5)
    for worths in (table, worth):
        with pytest.raises(InputError, match=NOTHING):
            Shapley(worth=worths).attribute(as_journeys(EXACT_SETS))


def test_the_sampled_game_of_exact_sets_is_an_error_too():
    model = Shapley(worth=exact_set_worth(EXACT_SETS), method="sampling", tolerance=None)
    with pytest.raises(InputError, match=NOTHING):
        model.attribute(as_journeys(EXACT_SETS))


def test_negative_worth_of_all_has_values_but_no_credit():
    table, rows = {"a": -1.0, ("a", "b"): -3.0}, [Row(("a", "b"), 2, 1)]
    assert frame_of(Shapley(worth=table), rows)["shapley_value"].tolist() == [-2, -1]
    with pytest.raises(InputError, match=r"worth -3, so conversions cannot be shared out.*Hint"):
        Shapley(worth=table, scale="total").attribute(as_journeys(rows))


def test_unobserved_sets_are_counted_in_the_details():
    rows = [Row(("a", "b"), 1, 1), Row(("c",), 1, 2)]
    journeys = as_journeys(rows)
    # Nothing lies within a, b; c, ab, ac, bc and abc hold journeys.
    assert Shapley(worth="rate").attribute(journeys).details["unobserved_coalitions"] == 2
    assert Shapley(worth="markov").attribute(journeys).details["unobserved_coalitions"] == 0
    assert Shapley(worth=scattered).attribute(journeys).details["unobserved_coalitions"] == 0
    table = Shapley(worth={("a", "b", "c"): 1.0})
    assert table.attribute(journeys).details["unobserved_coalitions"] == 6


# --- warnings and errors ----------------------------------------------------------------


@each_game
def test_without_null_journeys_games_of_rates_warn(worth):
    journeys = as_journeys([Row(("a", "b"), 2), Row(("b",), 1)])
    with pytest.warns(AttributionWarning, match=r"no journeys without conversion.*Hint.*nulls="):
        Shapley(worth=worth).attribute(journeys)


@pytest.mark.parametrize("worth", [root_of_size, {("a", "b"): 1.0}], ids=["function", "table"])
def test_worths_that_are_given_need_no_null_journeys(worth):
    assert messages_of(Shapley(worth=worth), [Row(("a", "b"), 2), Row(("b",), 1)]) == []


def test_an_unknown_worth_names_the_nearest():
    with pytest.raises(InputError, match=r"worth='rates' is not one of .*Did you mean 'rate'\?"):
        Shapley(worth="rates")


@pytest.mark.parametrize("worth", [3, None, [("a", 1.0)], ("a", "b"), np.zeros(4), {"a", "b"}])
def test_what_is_no_game_is_refused(worth):
    with pytest.raises(InputError, match=r"is no game. Hint: one of .*function.*mapping"):
        Shapley(worth=worth)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "all"}, "scale='all' is not 'total' or None"),
        ({"scale": True}, "scale=True is not 'total' or None"),
        ({"method": "exactly"}, "method='exactly' is not one of .*'auto', 'exact', 'sampling'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Shapley(worth="rate", **options)


@pytest.mark.parametrize("options", [{"tolerance": -1.0}, {"max_permutations": 3}])
def test_options_of_sampling_are_checked_when_it_is_used(options):
    with pytest.raises(InputError, match=f"{next(iter(options))}=.*Hint"):
        Shapley(worth="rate", method="sampling", **options).attribute(as_journeys(SAMPLE))


@pytest.mark.parametrize("bad", [np.nan, None, np.inf, "high"])
@pytest.mark.parametrize("method", ["exact", "sampling"])
def test_a_function_that_returns_no_finite_number_names_the_set(method, bad):
    def worth(members):
        return bad if members == {"b", "direct"} else 1.0

    with pytest.raises(InputError, match=r"worth of \('b', 'direct'\) is .*, not a finite.*Hint"):
        Shapley(worth=worth, method=method).attribute(as_journeys(SAMPLE))


def test_an_error_inside_a_function_is_passed_on():
    def worth(members):
        raise ZeroDivisionError("of the user")

    with pytest.raises(ZeroDivisionError, match="of the user"):
        Shapley(worth=worth).attribute(as_journeys(SAMPLE))


def test_a_function_need_not_know_the_empty_set():
    frame = frame_of(Shapley(worth=lambda members: min(map(len, members))), SAMPLE)
    assert frame["shapley_value"].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({("a", "b"): 1.0, ("b", "a"): 1.0}, r"\('a', 'b'\) twice. Hint"),
        ({(): 1.0, "a": 1.0}, r"no channels at all a worth of 1.0; it must be 0. Hint"),
        ({"a": np.nan}, r"worth of \('a',\) is nan, not a finite number. Hint"),
        ({7: 1.0}, r"key 7, which is no set of channels. Hint"),
    ],
)
def test_bad_tables_are_refused_at_once(table, message):
    with pytest.raises(InputError, match=message):
        Shapley(worth=table)


def test_a_table_with_an_unknown_channel_names_it_and_the_nearest():
    model = Shapley(worth={"a": 1.0, ("a", "derict"): 2.0})
    with pytest.raises(InputError, match=r"'derict', which no journey has. Did you mean 'direct'"):
        model.attribute(as_journeys(SAMPLE))


@pytest.mark.parametrize("worth", ["rate", "markov", root_of_size], ids=str)
def test_an_exact_game_of_too_many_channels_names_its_memory_and_the_way_out(worth):
    rows = [Row((f"c{i:02}",), 1, 1) for i in range(30)]
    # 2**30 worths of 8 bytes
    message = r"30 channels have 2\*\*30 sets, .* take 8.59 GB; .*at most 24.*Hint: method='samp"
    with pytest.raises(InputError, match=message):
        Shapley(worth=worth, method="exact").attribute(as_journeys(rows))


def test_too_many_channels_for_a_float_are_refused_alike():
    rows = [Row((f"c{i}",), 1, 1) for i in range(1_100)]
    # 2**1100 worths of 2**3 bytes, with 2**30 bytes for a GB
    with pytest.raises(InputError, match=r"have 2\*\*1100 sets, .* take 2\*\*1073 GB; .*Hint"):
        Shapley(worth="rate", method="exact").attribute(as_journeys(rows))


def test_a_long_list_of_worths_is_refused_in_short():
    with pytest.raises(InputError, match="is no game") as error:
        Shapley(worth=[0.0] * 2**16)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("worth", ["rate", "markov", root_of_size, {"a": 1.0}], ids=str)
def test_negative_value_is_refused_with_the_way_out(worth):
    rows = [Row(("a", "b"), 1, 1, -5.0), Row(("a",), 1, 1, 2.0)]
    with pytest.raises(
        InputError, match=r"A Shapley game.*negative value.*Hint: attribute refunds"
    ):
        Shapley(worth=worth).attribute(as_journeys(rows))


def test_solve_refuses_the_statistic_of_another_kind():
    journeys = as_journeys(SAMPLE)
    for worth, other in (("rate", "markov"), ("markov", "rate"), (scattered, "markov")):
        statistic = Shapley(worth=other).summarize(journeys)
        name = type(statistic).__name__
        with pytest.raises(InputError, match=f"needs .*Counts, not {name}"):
            Shapley(worth=worth).solve(statistic)
    for model in (Linear(), Markov()):
        with pytest.raises(InputError, match="needs PathLevelCounts, not"):
            Shapley(worth="markov").solve(model.summarize(journeys))


def test_statistics_of_different_games_do_not_add():
    journeys = as_journeys(SAMPLE)
    parts = [Shapley(worth=w).summarize(journeys) for w in ("rate", scattered)]
    with pytest.raises(InputError, match="different models cannot be added"):
        sum(parts)


@each_game
def test_solving_a_summed_statistic_is_what_attribute_does(worth):
    model = Shapley(worth=worth, scale="total")
    parts = [as_journeys(SAMPLE[:2]), as_journeys(SAMPLE[2:])]
    by_hand = model.solve(sum(model.summarize(part) for part in parts))
    assert by_hand.equals(model.attribute(parts))


# --- options, names and pickles ---------------------------------------------------------


def test_tables_are_equal_whatever_their_keys_look_like():
    table = {"a": 1.0, ("a", "b"): 3.0}
    alike = [
        {("b", "a"): 3, ("a",): 1},
        {frozenset("ab"): 3.0, frozenset("a"): 1.0},
        pd.Series([3.0, 1.0], index=[frozenset("ab"), frozenset("a")]),
        pd.Series([1.0, 3.0], index=pd.MultiIndex.from_tuples([("a", np.nan), ("a", "b")])),
    ]
    model = Shapley(worth=table)
    for each in alike:
        assert Shapley(worth=each) == model
        assert hash(Shapley(worth=each)) == hash(model)
    assert Shapley(worth={"a": 1.0, ("a", "b"): 4.0}) != model


@pytest.mark.parametrize("worth", ["rate", "markov", root_of_size, {"a": 1.0}], ids=str)
def test_models_are_frozen_pickled_and_equal_by_their_options(worth):
    model = Shapley(worth=worth, scale="total")
    assert pickle.loads(pickle.dumps(model)) == model
    assert replace(model) == model
    assert replace(model, scale=None) == Shapley(worth=worth)
    assert len({model, Shapley(worth=worth, scale="total"), Shapley(worth=worth)}) == 2
    with pytest.raises(AttributeError):
        model.worth = "rate"


def test_a_table_is_not_changed_by_what_happens_to_the_mapping_later():
    table = {("a", "b"): 1.0}
    model = Shapley(worth=table)
    table["a"] = 5.0
    assert model == Shapley(worth={("a", "b"): 1.0})


def test_names_say_which_game_is_played():
    names = {
        Shapley(): "shapley",
        Shapley(worth="rate"): "shapley(worth='rate')",
        Shapley(worth="markov", scale="total"): "shapley(worth='markov', scale='total')",
        Shapley(worth=root_of_size): "shapley(worth=root_of_size)",
        Shapley(worth=partial(scattered)): "shapley(worth=partial)",
        Shapley(worth="rate", method="sampling"): "shapley(worth='rate', method='sampling')",
    }
    assert {model: model.name for model in names} == names
    tables = [Shapley(worth={"a": 1.0, "b": worth}) for worth in (2.0, 3.0, 2)]
    assert re.fullmatch(r"shapley\(worth=table of 2 #[0-9a-f]{8}\)", tables[0].name)
    assert tables[0].name == tables[2].name != tables[1].name


def test_the_markov_game_counts_the_same_chain_as_path_level_credit():
    journeys = as_journeys(SAMPLE)
    ours = Shapley(worth="markov").summarize(journeys)
    theirs = MarkovPathLevel().summarize(journeys)
    for part in ("transitions", "coalitions"):
        mine, other = getattr(ours, part), getattr(theirs, part)
        assert replace(mine, model=None).equals(replace(other, model=None))


@pytest.mark.parametrize(
    "option",
    [{"tolerance": -1}, {"tolerance": "1%"}, {"max_permutations": 0}, {"random_state": "x"}],
    ids=str,
)
def test_options_of_sampling_are_checked_also_where_nothing_is_sampled(option):
    with pytest.raises(InputError, match=rf"{next(iter(option))}=.*Hint"):
        Shapley(worth="rate", **option)


def test_a_whole_table_is_refused_with_the_column_to_take():
    with pytest.raises(InputError, match=r"a whole table. Hint: .*\['worth'\]"):
        Shapley(worth=coalition_worths(as_journeys(SAMPLE), "rate"))


def test_the_game_of_a_chain_of_too_many_channels_is_refused(monkeypatch):
    monkeypatch.setattr("attribution.models.worths.DENSE_PLAYERS", 2)
    with pytest.raises(InputError, match=r"at most 2 channels, not 3. Hint: worth='conversions'"):
        Shapley(worth="markov").attribute(as_journeys([Row(("a", "b", "c"), 1, 1)]))


@pytest.mark.parametrize("worth", ["rate", "markov"])
def test_an_exact_game_takes_at_most_three_arrays_of_worths(worth):
    n, rng = 19, np.random.default_rng(0)
    names = [f"c{i:02}" for i in range(n)]
    paths = [tuple(rng.choice(names, 3)) for _ in range(500)]
    model = Shapley(worth=worth)
    statistic = model.summarize(as_journeys([Row(path, 1, 3, 2.0) for path in paths]))
    model.solve(statistic)
    tracemalloc.start()
    model.solve(statistic)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # An eighth of an array marks the sets that were observed.
    assert peak <= 3.2 * 8 * 2**n
