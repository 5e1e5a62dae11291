import warnings

import pytest
from model_oracles import Row, as_journeys

from attribution import (
    DEFAULT_MODELS,
    MODELS,
    AttributionWarning,
    InputError,
    Journey,
    Journeys,
    Linear,
    Markov,
    PositionBased,
    Shapley,
    TimeDecay,
    Touchpoint,
    compare,
)

ROWS = [Row(("a", "b"), 2, 1, 3.0), Row(("b", "c"), 1, 3, 5.0), Row(("a",), 0, 2)]
REFUND = [Row(("a", "b"), 1, 1, -4.0), Row(("a",), 1, 1, 1.0)]


def timed(rows=ROWS):
    return as_journeys(rows, ages=True)


def test_the_default_is_seven_models_in_their_order():
    assert list(compare(timed())) == [
        "first_click",
        "last_click",
        "linear",
        "time_decay",
        "position_based",
        "shapley",
        "markov",
    ]
    assert set(MODELS) - set(DEFAULT_MODELS) == {
        "last_non_direct",
        "markov_path_level",
        "probabilistic",
        "bagged_logistic",
        "additive_hazard",
        "leave_one_out",
    }


def test_each_result_is_that_of_the_model_alone():
    comparison = compare(timed(), list(MODELS))
    assert list(comparison) == list(MODELS)
    for name, model in MODELS.items():
        assert comparison[name].equals(model().attribute(timed()))


def test_kinds_say_which_are_rules():
    kinds = dict(compare(timed()).kinds)
    assert kinds.pop("markov") == "data"
    assert set(kinds.values()) == {"rule"}


@pytest.mark.filterwarnings("ignore:No journey has more than 2 touches")
def test_names_and_instances_mix():
    comparison = compare(timed(), ["linear", Markov(), Markov(order=2), PositionBased.j_shaped()])
    assert list(comparison) == [
        "linear",
        "markov",
        "markov(order=2)",
        "position_based(first=0.2, last=0.6)",
    ]
    assert comparison["markov(order=2)"].equals(Markov(order=2).attribute(timed()))


@pytest.mark.parametrize("one", ["linear", Linear()])
def test_one_model_need_not_be_in_a_list(one):
    assert list(compare(timed(), one)) == ["linear"]


@pytest.mark.parametrize("exclude", ["markov", ["markov"], {"markov", "last_non_direct"}])
def test_exclude_leaves_models_out(exclude):
    assert list(compare(timed(), exclude=exclude)) == list(DEFAULT_MODELS[:-1])


def test_exclude_takes_the_name_of_an_instance():
    comparison = compare(timed(), ["markov", Markov(order=2)], exclude=["markov(order=2)"])
    assert list(comparison) == ["markov"]


@pytest.mark.parametrize(
    "models",
    [["linear", "linear"], ["linear", Linear()], [TimeDecay(), TimeDecay(half_life="7D")]],
)
def test_a_model_given_twice_is_refused(models):
    with pytest.raises(InputError, match="is given twice"):
        compare(timed(), models)


def test_an_unknown_name_gets_the_nearest_and_all():
    with pytest.raises(InputError, match=r"No model 'markow'. Did you mean 'markov'\? There are "):
        compare(timed(), ["markow"])


def test_excluding_an_unknown_name_is_refused():
    with pytest.raises(InputError, match=r"Cannot exclude 'shaply'. Did you mean 'shapley'\?"):
        compare(timed(), exclude=["shaply"])


@pytest.mark.parametrize("models", [[3], [None], [Linear]])
def test_what_is_no_model_is_refused(models):
    with pytest.raises(InputError, match=r"is no model. Hint: give a name or an instance"):
        compare(timed(), models)


@pytest.mark.parametrize(("models", "exclude"), [([], None), (["linear"], ["linear"])])
def test_no_model_left_is_refused(models, exclude):
    with pytest.raises(InputError, match=r"No model is left to compare. There are first_click"):
        compare(timed(), models, exclude)


def test_a_model_that_needs_ages_is_skipped_with_a_warning():
    with pytest.warns(AttributionWarning, match="time_decay is skipped: .*age of each") as caught:
        comparison = compare(as_journeys(ROWS))
    assert [warning.filename for warning in caught] == [__file__]
    assert list(comparison) == [name for name in DEFAULT_MODELS if name != "time_decay"]
    assert list(comparison.skipped) == ["time_decay"]
    with pytest.raises(InputError, match="time_decay was skipped: TimeDecay needs the age"):
        comparison["time_decay"]


def test_no_model_left_because_all_are_skipped_is_refused():
    with pytest.raises(InputError, match=r"No model is left.*shapley.*scale='total'"):
        compare(timed(), [Shapley(worth="rate")])


def test_functions_of_one_name_are_told_how_to_differ():
    games = [Shapley(worth=lambda s, n=n: len(s) ** n, scale="total") for n in (1, 2)]
    with pytest.raises(InputError, match=r"is given twice. Hint: functions.*names.*def"):
        compare(timed(), games)


def test_a_model_left_out_is_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare(as_journeys(ROWS), exclude=["time_decay"])
    assert not comparison.skipped


@pytest.mark.parametrize("aged_first", [True, False])
def test_a_part_without_ages_skips_the_model_for_all(aged_first):
    parts = [as_journeys(ROWS, ages=aged_first), as_journeys(ROWS, ages=not aged_first)]
    with pytest.warns(AttributionWarning, match="time_decay is skipped"):
        comparison = compare(parts, ["linear", "time_decay"])
    assert list(comparison) == ["linear"]
    assert comparison["linear"].total_conversions == 6


def test_parts_are_read_once_and_add_up():
    whole = compare(timed())
    parts = compare(timed([row]) for row in ROWS)
    for name in whole:
        expected = whole[name].to_frame()["conversions"].to_dict()
        assert parts[name].to_frame()["conversions"].to_dict() == pytest.approx(expected)


def test_no_parts_are_refused():
    with pytest.raises(InputError, match="the iterable is empty"):
        compare(iter([]))


@pytest.mark.parametrize("what", ["paths.csv", 3, None, ["a > b"], list(timed())])
def test_what_are_no_journeys_is_refused(what):
    with pytest.raises(InputError, match=r"Got a \w+, not Journeys. Hint"):
        compare(what)


def test_a_data_frame_is_no_journeys():
    with pytest.raises(InputError, match="Got a DataFrame, not Journeys"):
        compare(timed().to_frame())


def test_markov_is_skipped_on_negative_value_with_the_way_out():
    with pytest.warns(AttributionWarning, match="markov is skipped.*negative value.*Hint"):
        comparison = compare(timed(REFUND))
    assert list(comparison.skipped) == ["markov"]
    assert len(comparison) == 6


def test_a_name_excludes_every_model_of_that_kind():
    comparison = compare(timed(), ["linear", "markov", Markov(order=2)], exclude=["markov"])
    assert list(comparison) == ["linear"]


def test_comparing_several_types_of_conversion_warns():
    both = [
        Journey([Touchpoint("a")], 1, conversion_type="lead"),
        Journey([Touchpoint("b")], 1, conversion_type="purchase"),
    ]
    journeys = Journeys.from_journeys(both)
    with pytest.warns(AttributionWarning, match=r"'lead' and 'purchase'.*of_type\('lead'\)"):
        compare(journeys, ["linear"])
    assert compare(journeys.of_type("lead"), ["linear"])["linear"].total_conversions == 1


def test_separable_models_accept_negative_value():
    comparison = compare(timed(REFUND), exclude=["markov"])
    assert len(comparison) == 6
    for name in comparison:
        assert comparison[name].values.sum() == pytest.approx(-3)


def test_instances_of_one_class_with_other_options_stand_side_by_side():
    frame = compare(timed(), [TimeDecay(), TimeDecay(half_life="1h"), Shapley()]).to_frame()
    assert list(frame) == ["time_decay", "time_decay(half_life='1h')", "shapley"]
