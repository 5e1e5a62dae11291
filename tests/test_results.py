import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
from model_oracles import Row, as_journeys

from attribution import Attribution, Comparison, InputError, Linear, Markov, compare
from attribution.results import SCHEMA

ROWS = [Row(("a", "b"), 2, 1, 0.1), Row(("b",), 1, 3, 2 / 3), Row((), 1, 0, 4.0)]
HOSTILE = "<script>alert('x')</script>"


def plain(**changes):
    figures = {
        "model": "linear",
        "channels": ("a", "b"),
        "conversions": np.array([1.0, 3.0]),
        "values": None,
        "total_conversions": 5.0,
        "total_value": None,
        "unattributed": 1.0,
        "unattributed_value": None,
    }
    return Attribution(**{**figures, **changes})


def valued(**changes):
    return plain(values=np.array([10.0, 0.0]), total_value=12.0, unattributed_value=2.0, **changes)


@pytest.fixture
def result():
    return Markov().attribute(as_journeys(ROWS))


@pytest.fixture
def comparison():
    return compare(as_journeys(ROWS, ages=True))


# --- tables --------------------------------------------------------------------------------


def test_columns_are_credit_then_shares():
    frame = plain().to_frame()
    assert frame.index.name == "channel"
    assert frame.to_dict("index") == {
        "a": {"conversions": 1, "conversions_share": 0.25},
        "b": {"conversions": 3, "conversions_share": 0.75},
    }


def test_columns_with_value_and_of_the_model_come_in_the_documented_order():
    frame = valued(extra={"z": np.array([1, 2]), "a": np.array([3, 4])}).to_frame()
    assert list(frame) == [
        "conversions",
        "value",
        "conversions_share",
        "value_share",
        "z",
        "a",
    ]
    assert frame["value_share"].tolist() == [1, 0]


def test_columns_of_markov_end_in_its_removal_effects(result):
    assert list(result.to_frame())[4:] == ["removal_effect", "removal_effect_value"]


def test_shares_of_no_credit_are_nan():
    frame = plain(conversions=np.zeros(2)).to_frame()
    assert frame["conversions_share"].isna().all()


def test_repr_shows_model_credit_and_what_is_unattributed():
    text = repr(valued())
    for part in ("linear", "conversions_share", "5 conversions, 1 unattributed", "value 12, 2 un"):
        assert part in text


# --- immutability --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        lambda result: result,
        copy.deepcopy,
        lambda result: pickle.loads(pickle.dumps(result)),
        lambda result: Attribution.from_json(result.to_json()),
    ],
    ids=["new", "deepcopy", "pickle", "json"],
)
def test_arrays_are_read_only(result, again):
    other = again(result)
    assert other.equals(result)
    for column in (other.conversions, other.values, *other.extra.values()):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 7
    with pytest.raises(TypeError):
        other.extra["removal_effect"] = column
    with pytest.raises(FrozenInstanceError):
        other.model = "mine"


def test_result_does_not_follow_the_arrays_it_was_made_of():
    source = np.array([1.0, 3.0])
    result = plain(conversions=source, extra={"effect": source})
    source[0] = 99
    assert result.conversions[0] == result.extra["effect"][0] == 1


def test_changing_the_frame_does_not_change_the_result(result):
    before = result.conversions.tolist()
    frame = result.to_frame()
    frame.loc["a", "conversions"] = 99.0
    assert result.conversions.tolist() == before


@pytest.mark.parametrize(
    "change",
    [
        {"model": "markov"},
        {"channels": ("a", "c")},
        {"conversions": np.array([1.0, 3.0 + 2**-51])},
        {"total_conversions": 6.0},
        {"unattributed": 0.5},
        {"baseline": 0.0},
        {"extra": {"effect": np.array([1.0, 2.0])}},
        {"details": {"solver": "dense"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_equals_sees_every_difference(change):
    assert plain().equals(plain())
    assert not plain().equals(plain(**change))
    assert not plain().equals(valued())


# --- JSON ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "original",
    [
        plain(),
        valued(baseline=0.25),
        plain(conversions=np.array([0.1 + 0.2, 1e-308])),
        plain(conversions=np.array([1e300, 5e-324]), total_conversions=1e15 + 1),
        plain(extra={"effect": np.array([np.nan, 1 / 3])}),
        plain(channels=('"quoted"', "ü > ö"), details={"n": 3, "text": None}),
    ],
)
def test_json_round_trip_is_exact(original):
    assert Attribution.from_json(original.to_json()).equals(original)


def test_json_of_a_real_result_round_trips(result):
    assert Attribution.from_json(result.to_json()).equals(result)


def test_json_is_strict_and_writes_nan_as_null():
    def refuse(token):
        raise AssertionError(token)

    text = plain(extra={"effect": np.array([np.nan, 1.0])}).to_json()
    items = json.loads(text, parse_constant=refuse)
    assert items["extra"] == {"effect": [None, 1]}
    assert (items["kind"], items["schema"]) == ("attribution", SCHEMA)


@pytest.mark.filterwarnings("ignore:No journey has more than 2 touches")
def test_comparison_round_trips_through_json():
    with pytest.warns(UserWarning, match="time_decay is skipped"):
        original = compare(as_journeys(ROWS), ["linear", "time_decay", Markov(order=2)])
    again = Comparison.from_json(original.to_json())
    assert again.equals(original)
    assert (list(again), dict(again.skipped)) == (list(original), dict(original.skipped))


@pytest.mark.parametrize(
    ("kind", "cls"), [("attribution", Attribution), ("comparison", Comparison)]
)
def test_json_of_a_newer_schema_is_refused_by_name(kind, cls, result, comparison):
    text = (result if kind == "attribution" else comparison).to_json()
    newer = json.dumps({**json.loads(text), "schema": SCHEMA + 1})
    with pytest.raises(
        InputError, match=rf"{kind} has schema {SCHEMA + 1}, newer than {SCHEMA}\. Hint: update"
    ):
        cls.from_json(newer)


def test_json_of_another_kind_is_refused(result, comparison):
    with pytest.raises(InputError, match="no JSON of kind 'comparison'"):
        Comparison.from_json(result.to_json())
    with pytest.raises(InputError, match="no JSON of kind 'attribution'"):
        Attribution.from_json(comparison.to_json())


@pytest.mark.parametrize("text", ["", "{", "nonsense"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(InputError, match="This is no JSON"):
        Attribution.from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}"])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(InputError, match="no JSON of kind 'attribution'"):
        Attribution.from_json(text)


def test_json_without_a_schema_is_refused():
    with pytest.raises(InputError, match="has no schema version"):
        Attribution.from_json('{"kind": "attribution"}')


# --- notebooks -----------------------------------------------------------------------------


def test_html_escapes_hostile_names_of_channels_and_models():
    html = plain(model=HOSTILE, channels=("a", HOSTILE))._repr_html_()
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") == 2


def test_html_of_a_comparison_escapes_hostile_names():
    one = plain(model=HOSTILE, channels=("a", HOSTILE))
    comparison = Comparison(
        attributions={HOSTILE: one}, kinds={HOSTILE: "rule"}, skipped={"x" + HOSTILE: HOSTILE}
    )
    html = comparison._repr_html_()
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") == 4


# --- comparison ----------------------------------------------------------------------------


def side_by_side():
    linear = valued(model="linear")
    markov = valued(model="markov", conversions=np.array([3.0, 1.0]))
    last = plain(model="last_click", conversions=np.array([0.0, 4.0]))
    return Comparison(
        attributions={
            "linear": linear,
            "markov": markov,
            "last_click": replace(
                last, values=np.array([0.0, 10.0]), total_value=12.0, unattributed_value=2.0
            ),
        },
        kinds={"linear": "rule", "markov": "data", "last_click": "rule"},
        skipped={"time_decay": "no ages"},
    )


def test_frame_of_a_comparison_has_one_column_per_model_and_nothing_else():
    frame = side_by_side().to_frame()
    assert frame.index.name == "channel"
    assert frame.to_dict("list") == {"linear": [1, 3], "markov": [3, 1], "last_click": [0, 4]}
    value = side_by_side().to_frame(of="value")
    assert value.to_dict("list") == {"linear": [10, 0], "markov": [10, 0], "last_click": [0, 10]}


def test_frame_of_a_comparison_gives_shares():
    frame = side_by_side().to_frame(share=True)
    assert frame["linear"].tolist() == [0.25, 0.75]
    assert side_by_side().to_frame(of="value", share=True)["linear"].tolist() == [1, 0]


def test_frame_of_another_outcome_is_refused():
    with pytest.raises(InputError, match="of='clicks' is not one of"):
        side_by_side().to_frame(of="clicks")


def test_frame_of_value_needs_value():
    comparison = Comparison(attributions={"linear": plain()}, kinds={"linear": "rule"})
    with pytest.raises(InputError, match=r"linear has no value. Hint: name its column"):
        comparison.to_frame(of="value")


def test_spread_says_how_far_models_disagree_and_which_are_rules():
    spread = side_by_side().spread()
    expected = pd.DataFrame(
        {
            "lowest": [0, 0.25],
            "highest": [0.75, 1],
            "spread": [0.75, 0.75],
            "lowest_model": ["last_click", "markov"],
            "highest_model": ["markov", "last_click"],
            "rules": [0.125, 0.875],
            "data_driven": [0.75, 0.25],
        },
        index=pd.Index(["a", "b"], name="channel"),
    )
    pd.testing.assert_frame_equal(
        spread, expected, check_dtype=False, check_index_type=False, check_column_type=False
    )


def test_spread_lists_the_widest_disagreement_first():
    rows = [Row(("a", "b", "c"), 4, 1), Row(("c",), 4, 1)]
    spread = compare(as_journeys(rows), ["first_click", "last_click"]).spread()
    assert spread["spread"].tolist() == sorted(spread["spread"], reverse=True)
    assert spread.loc["b", "spread"] == 0
    assert spread["data_driven"].isna().all()


def test_spread_without_any_credit_is_nan():
    comparison = compare(as_journeys([Row(("a",), 0, 3)]), ["linear", "markov"])
    assert comparison.spread()["spread"].isna().all()


def test_item_of_a_comparison_is_the_result_of_that_model(comparison):
    assert comparison["markov"].equals(Markov().attribute(as_journeys(ROWS, ages=True)))
    assert comparison["linear"].equals(Linear().attribute(as_journeys(ROWS, ages=True)))
    assert len(comparison) == 7


def test_item_that_was_skipped_gives_the_reason():
    with pytest.raises(InputError, match="time_decay was skipped: no ages"):
        side_by_side()["time_decay"]


def test_item_that_was_not_compared_gives_the_nearest_name():
    with pytest.raises(InputError, match=r"'markof' was not compared. Did you mean 'markov'\?"):
        side_by_side()["markof"]


def test_repr_of_a_comparison_names_what_was_skipped():
    text = repr(side_by_side())
    assert "<Comparison of 3 models>" in text
    assert "skipped time_decay: no ages" in text


def test_comparison_cannot_be_changed(comparison):
    with pytest.raises(TypeError):
        comparison.attributions["mine"] = None
    again = pickle.loads(pickle.dumps(comparison))
    assert again.equals(comparison)
    with pytest.raises(ValueError, match="read-only"):
        again["markov"].extra["removal_effect"][0] = 1
