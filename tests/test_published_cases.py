"""The worked examples and the path table that lie beside the repository, where they do.

Figures called computed_exact were checked by two independent computations and are held to
rounding; those called expected are as published, or printed by another tool, and are held to
their stated tolerance. The small cases stand in tests/models with their figures.
"""

import json
from pathlib import Path

import model_oracles as oracle
import numpy as np
import pandas as pd
import pytest
from model_oracles import Row, as_journeys, rows_of
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import spsolve

from attribution import (
    FirstClick,
    Journeys,
    LastClick,
    Linear,
    Markov,
    MarkovPathLevel,
    PositionBased,
    Shapley,
    TimeDecay,
)
from attribution.datasets import load_paths

SHARED = Path(__file__).parents[1] / ".." / "shared"
CASES = SHARED / "cases"
# The exact figures come from other orders of summation: some units in the last place.
EXACT = {"rel": 1e-12, "abs": 1e-12}
# The same over 10,000 rows, whose roundings add up.
SUMMED = {"rel": 1e-10, "abs": 1e-10}

RULES = {
    "first": FirstClick(),
    "last": LastClick(),
    "linear": Linear(),
    "position": PositionBased(),
}

# Without nulls given, the chain of the pychattr case warns, and so does an order as long as the
# longest path; test_markov holds the warnings.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)


def case(name):
    path = CASES / f"{name}.json"
    if not path.exists():
        pytest.skip("the worked examples (../shared/cases) are not here")
    return json.loads(path.read_text(encoding="utf-8"))


def rows_in(listed):
    return [Row(tuple(each["path"]), each["conversions"], each["nulls"]) for each in listed]


def credit(model, rows, of="conversions"):
    return model.attribute(as_journeys(rows, ages=True)).to_frame()[of].to_dict()


def effects(rows, order=1):
    frame = Markov(order=order).attribute(as_journeys(rows)).to_frame()
    return frame["removal_effect"].to_dict()


def present(figures):
    """Published tables leave out channels without credit."""
    return {channel: x for channel, x in figures.items() if x}


def test_every_case_has_a_test():
    if not CASES.exists():
        pytest.skip("the worked examples (../shared/cases) are not here")
    tested = Path(__file__).read_text(encoding="utf-8")
    elsewhere = {"path_transforms_fractribution"}  # tests of the transforms
    names = {path.stem for path in CASES.glob("*.json")} - elsewhere
    assert names
    assert not [name for name in names if f'case("{name}")' not in tested]


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_mta(rule):
    given = case("heuristics_eeghor_tests")
    result = credit(RULES[rule], rows_in(given["input"]))
    assert result == pytest.approx(given["computed_exact"][rule], **EXACT)
    expected = pytest.approx(given["expected"][rule], rel=given["tolerance"])
    assert present(result) == expected


def test_position_weights():
    given = case("position_weights_table")
    models = {
        "u_4_touches": (PositionBased.u_shaped(), 4),
        "u_2": (PositionBased.u_shaped(), 2),
        "u_1": (PositionBased.u_shaped(), 1),
        "j_2": (PositionBased.j_shaped(), 2),
        "invj_2": (PositionBased.inverse_j_shaped(), 2),
        "ends_30_70_2": (PositionBased(first=0.3, last=0.7), 2),
        "all_last_3": (PositionBased(first=0, last=1), 3),
    }
    assert list(models) == given["input"]
    for name, (model, n) in models.items():
        weights = model.weights(as_journeys([Row(tuple("abcd"[:n]), 1)])).tolist()
        assert weights == pytest.approx(given["computed_exact"][name], **EXACT)
        assert weights == pytest.approx(given["expected"][name], abs=given["tolerance"])


def test_50_dollars_of_adobe():
    given = case("adobe_50usd_journey")
    touches, value = given["input"]["touches"], given["input"]["value"]
    path = tuple(touch["channel"] for touch in touches)
    rows = [Row(path, 1, 0, value, tuple(touch["days_before"] for touch in touches))]
    models = {
        "first": FirstClick(),
        "linear": Linear(),
        "j_shaped": PositionBased.j_shaped(),
        "time_decay_7d": TimeDecay(half_life="7D"),
    }
    for name, model in models.items():
        result = present(credit(model, rows, "value"))
        assert result == pytest.approx(given["expected"][name], abs=given["tolerance"])
        if name in given["computed_exact"]:
            assert result == pytest.approx(given["computed_exact"][name], **EXACT)


def test_sevenths_of_posthog():
    given = case("time_decay_posthog_sevenths")
    ages = given["input"]["touches_days_before"]
    rows = [Row(tuple("abc"), 1, ages=tuple(ages))]
    weights = TimeDecay(half_life="1D").weights(as_journeys(rows, ages=True)).tolist()
    assert weights == pytest.approx(given["computed_exact"]["weights"], **EXACT)


def test_shapley_of_the_subset_sum_game():
    given = case("shapley_subset_sum_eeghor")
    exact = given["computed_exact"]
    assert credit(Shapley(), rows_in(given["input"])) == pytest.approx(exact["shapley"], **EXACT)
    single = credit(Shapley(), [Row(tuple("abcd"), 10)])
    assert single == pytest.approx(exact["abcd"], **EXACT)


def test_game_of_exact_sets_is_another_game():
    given = case("shapley_exact_set_do_attribution")
    rows, theirs = rows_in(given["input"]), given["computed_exact"]["shapley"]
    by_definition = oracle.shapley_values(sorted(theirs), oracle.exact_set_worth(rows))
    assert {c: float(x) for c, x in by_definition.items()} == pytest.approx(theirs, **EXACT)
    ours = {"Email": 2.166667, "Social": 2.666667, "Search": 1.166667, "Direct": 1.0}
    assert credit(Shapley(), rows) == pytest.approx(ours, abs=1e-6)  # as the remark prints them


def test_markov_of_bryl():
    given = case("markov_bryl_c1c2c3")
    total = given["parameters"]["total_value"]
    rows = [row._replace(value=total * row.conversions) for row in rows_in(given["input"])]
    result = Markov().attribute(as_journeys(rows))
    frame, exact, expected = result.to_frame(), given["computed_exact"], given["expected"]
    assert result.details["base_rate"] == pytest.approx(exact["base"], **EXACT)
    assert frame["removal_effect"].to_dict() == pytest.approx(exact["removal_effects"], **EXACT)
    assert frame["conversions"].to_dict() == pytest.approx(exact["conversions"], **EXACT)
    assert frame["value"].to_dict() == pytest.approx(expected["value"], **EXACT)
    assert credit(LastClick(), rows) == expected["last_touch"]
    without = result.details["base_rate"] * (1 - frame.loc["C1", "removal_effect"])
    published = expected["conversion_probability_without"]["C1"]
    assert without == pytest.approx(published, rel=given["tolerance"])


def test_markov_of_do_attribution():
    given = case("markov_do_attribution_readme")
    result = Markov().attribute(as_journeys(rows_in(given["input"])))
    frame, exact = result.to_frame(), given["computed_exact"]
    assert result.details["base_rate"] == pytest.approx(exact["base"], **EXACT)
    for column, name in (("conversions_share", "shares"), ("removal_effect", "removal_effects")):
        assert frame[column].to_dict() == pytest.approx(exact[name], **EXACT)
        published = pytest.approx(given["expected"][name], abs=given["tolerance"])
        assert frame[column].to_dict() == published


def test_markov_of_pychattr():
    given = case("markov_pychattr_readme")
    rows, exact = rows_in(given["input"]), given["computed_exact"]
    assert effects(rows) == pytest.approx(exact["removal_effects"], **EXACT)
    assert credit(Markov(), rows) == pytest.approx(exact["conversions"], **EXACT)
    assert credit(FirstClick(), rows) == pytest.approx(exact["first"], **EXACT)
    assert credit(Linear(), rows) == pytest.approx(exact["linear"], **EXACT)
    published = given["expected"]
    assert effects(rows) == pytest.approx(published["removal_effects"], abs=given["tolerance"])
    assert credit(Markov(), rows) == pytest.approx(published["conversions"], abs=given["tolerance"])


@pytest.mark.parametrize("order", [1, 2])
def test_markov_of_channelattribution(order):
    given = case("markov_order2_channelattribution")
    result = effects(rows_in(given["input"]), order)
    assert result == pytest.approx(given["computed_exact"][f"order{order}"], **EXACT)
    simulated = given["expected"][f"order{order}_removal_effects"]
    assert result == pytest.approx(simulated, abs=given["tolerance"])


# --- 10,000 paths --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paths():
    """The path table of ChannelAttribution: 12 channels, 19,785 conversions."""
    table = SHARED / "data" / "paths.csv.gz"
    if not table.exists():
        pytest.skip("the path table (../shared/data) is not here")
    return Journeys.from_paths(
        pd.read_csv(table),
        conversions="total_conversions",
        value="total_conversion_value",
        nulls="total_null",
    )


def test_path_table_is_read_in_full(paths):
    summed = paths.conversions.sum(), paths.nulls.sum(), round(float(paths.values.sum()), 2)
    assert summed == (19_785, 68_602, 74_802.97)
    assert (len(paths), len(paths.channels), len(paths.compress())) == (10_000, 12, 5_408)


@pytest.mark.parametrize("of", ["conversions", "value"])
@pytest.mark.parametrize("rule", ["first", "last", "linear"])
def test_rules_on_the_path_table(paths, rule, of):
    given = case("heuristics_pathdata")
    result = RULES[rule].attribute(paths).to_frame()[of].to_dict()
    assert result == pytest.approx(given["computed_exact"][f"{rule}_{of}"], **SUMMED)
    printed = pytest.approx(given["expected"][f"{rule}_{of}"], abs=given["tolerance"])
    assert result == printed


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (PositionBased(), "position_40_20_40_conversions"),
        (Shapley(), "linear_unique_channel_conversions"),
    ],
)
def test_position_and_shapley_on_the_path_table(paths, model, name):
    exact = case("heuristics_pathdata")["computed_exact"][name]
    result = model.attribute(paths).to_frame()["conversions"].to_dict()
    assert result == pytest.approx(exact, **SUMMED)


def test_markov_on_the_path_table(paths):
    given = case("markov_order1_paths")
    result = Markov().attribute(paths)
    effect = result.to_frame()["removal_effect"].to_dict()
    assert result.details["base_rate"] == pytest.approx(given["computed_exact"]["base"], **EXACT)
    assert effect == pytest.approx(given["computed_exact"]["order1_nulls"], **SUMMED)
    simulated = given["expected"]["order1_nulls_channelattribution_sim"]
    assert effect == pytest.approx(simulated, abs=given["tolerance"]["sim"])


WEIGHTS = [
    (FirstClick(), oracle.first),
    (LastClick(), oracle.last),
    (Linear(), oracle.linear),
    (PositionBased(), oracle.position(0.4, 0.4)),
    (Shapley(), oracle.distinct),
]


def hold_rules_to_oracle(model, weigh, journeys):
    rows, frame = rows_of(journeys), model.attribute(journeys).to_frame()
    for of in ("conversions", "value"):
        exact = {c: float(x) for c, x in oracle.rule_credit(rows, weigh, of).items()}
        assert frame[of].to_dict() == pytest.approx(exact, **SUMMED)


def hold_markov_to_oracle(order, journeys):
    rows, frame = rows_of(journeys), Markov(order=order).attribute(journeys).to_frame()
    for of, column in (("conversions", "removal_effect"), ("value", "removal_effect_value")):
        exact = oracle.removal_effects(rows, order, of)
        # A dense solve of hundreds of equations loses about three digits.
        assert frame[column].to_dict() == pytest.approx(exact, rel=1e-9, abs=1e-12)
        total = sum(getattr(row, of) for row in rows if row.path)
        credited = {c: total * effect / sum(exact.values()) for c, effect in exact.items()}
        assert frame[of].to_dict() == pytest.approx(credited, rel=1e-9)


@pytest.mark.parametrize(("model", "weigh"), WEIGHTS, ids=[model.name for model, _ in WEIGHTS])
def test_path_table_agrees_with_plain_loops_over_fractions(paths, model, weigh):
    hold_rules_to_oracle(model, weigh, paths)


@pytest.mark.parametrize("order", [1, 2])
def test_path_table_agrees_with_one_solve_per_removed_channel(paths, order):
    hold_markov_to_oracle(order, paths)


def sparse_removal_effects(rows, order, of):
    """What oracle.removal_effects gives, by one sparse solve per removed channel."""
    chain = oracle.Chain(rows, order, of)
    place = {state: i for i, state in enumerate(chain.states)}
    index = np.array([(place[one], place[other]) for one, other in chain.step]).T
    q = csr_array((list(chain.step.values()), index), shape=(len(place), len(place)))
    s = np.array([chain.start.get(state, 0.0) for state in chain.states])
    b = np.array([chain.reward.get(state, 0.0) for state in chain.states])

    def earned(channel):
        lives = np.array([channel not in state for state in chain.states], dtype=float)
        alive = diags_array(lives)
        return s @ spsolve((eye_array(len(s)) - alive @ q).tocsc(), lives * b)

    base = earned(None)
    return {channel: 1 - earned(channel) / base for channel in oracle.channels_of(rows)}


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_path_table_agrees_with_one_sparse_solve_per_removed_channel(paths, order):
    rows = rows_of(paths.compress())
    frame = Markov(order=order).attribute(paths).to_frame()
    for of, column in (("conversions", "removal_effect"), ("value", "removal_effect_value")):
        exact = sparse_removal_effects(rows, order, of)
        # Sums over 10,000 rows, then a solve of thousands of equations.
        assert frame[column].to_dict() == pytest.approx(exact, rel=1e-9, abs=1e-12)


def hold_path_level_to_oracle(order, journeys):
    rows, frame = rows_of(journeys), MarkovPathLevel(order=order).attribute(journeys).to_frame()
    for of in ("conversions", "value"):
        exact = oracle.path_level_credit(rows, order, of)
        assert frame[of].to_dict() == pytest.approx(exact, rel=1e-9)


def test_path_table_agrees_with_each_row_shared_out_by_effects(paths):
    hold_path_level_to_oracle(1, paths)


@pytest.mark.parametrize("order", [1, 2])
def test_shipped_paths_agree_with_each_row_shared_out_by_effects(shipped, order):
    hold_path_level_to_oracle(order, shipped)


def test_path_level_moves_an_eighth_of_the_credit_of_the_shipped_paths(shipped):
    own, whole = (model().attribute(shipped).to_frame() for model in (MarkovPathLevel, Markov))
    moved = (own["conversions"] - whole["conversions"]).abs().sum() / 2
    # As the docstring of MarkovPathLevel says.
    assert moved / whole["conversions"].sum() == pytest.approx(0.12, abs=0.005)


@pytest.fixture(scope="module")
def shipped():
    """The sample that ships with the package, so that the project can stand alone."""
    return Journeys.from_paths(load_paths(), value="value", nulls="nulls", empty="unattributed")


@pytest.mark.parametrize(("model", "weigh"), WEIGHTS, ids=[model.name for model, _ in WEIGHTS])
def test_shipped_paths_agree_with_plain_loops_over_fractions(shipped, model, weigh):
    hold_rules_to_oracle(model, weigh, shipped)


@pytest.mark.parametrize("order", [1, 2])
def test_shipped_paths_agree_with_one_solve_per_removed_channel(shipped, order):
    hold_markov_to_oracle(order, shipped)


def test_long_orders_on_the_path_table_approach_the_share_of_touched_conversions(paths):
    rows = rows_of(paths)
    longest = max(len(row.path) for row in rows)
    result = Markov(order=longest).attribute(paths).to_frame()["removal_effect"]
    total = sum(row.conversions for row in rows)
    for i, channel in enumerate(paths.channels):
        touched = np.unique(paths.rows[paths.codes == i])
        assert result.iloc[i] == pytest.approx(paths.conversions[touched].sum() / total), channel
