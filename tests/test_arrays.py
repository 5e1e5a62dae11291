import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field

import numpy as np
import pytest

from attribution.arrays import Coded, FrozenDict, Immutable, label_order, own, read_only, same


@dataclass(frozen=True, eq=False)
class Thing(Immutable):
    numbers: np.ndarray
    columns: Mapping = field(default_factory=dict)
    note: float = 0.0


@pytest.fixture
def thing():
    return Thing(np.array([1.0, np.nan]), {"x": np.arange(3)}, float("nan"))


def test_an_array_that_somebody_can_write_to_is_copied():
    mine = np.arange(3)
    assert own(mine) is not mine
    view = read_only(mine[:2])
    assert own(view) is not view
    assert not own(mine).flags.writeable


def test_an_array_that_nobody_can_write_to_is_not_copied():
    fixed = read_only(np.arange(3))
    assert own(fixed) is fixed


def test_changing_the_source_changes_nothing():
    source = np.array([1.0, 2.0])
    thing = Thing(source)
    source[0] = 99
    assert thing.numbers.tolist() == [1, 2]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
)
def test_immutable_stays_equal_and_read_only_when_copied(thing, again):
    other = again(thing)
    assert other.equals(thing)
    assert not other.numbers.flags.writeable
    with pytest.raises(TypeError):
        other.columns["x"] = 1
    with pytest.raises(FrozenInstanceError):
        other.note = 1.0


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_arrays_in_a_frozen_mapping_stay_read_only_when_copied(again):
    mapping = FrozenDict({"x": read_only(np.arange(3)), "y": "text"})
    other = again(mapping)
    assert dict(other).keys() == {"x", "y"}
    with pytest.raises(ValueError, match="read-only"):
        other["x"][0] = 7


def test_frozen_mapping_does_not_follow_its_source():
    source = {"x": 1}
    mapping = FrozenDict(source)
    source["x"] = 2
    assert (mapping["x"], len(mapping), list(mapping), repr(mapping)) == (1, 1, ["x"], "{'x': 1}")


def test_equals_sees_every_field(thing):
    assert thing.equals(Thing(np.array([1.0, np.nan]), {"x": np.arange(3)}, float("nan")))
    assert not thing.equals(Thing(np.array([1.0, 2.0]), {"x": np.arange(3)}, float("nan")))
    assert not thing.equals(Thing(np.array([1.0, np.nan]), {"x": np.arange(4)}, float("nan")))
    assert not thing.equals(Thing(np.array([1.0, np.nan]), {"y": np.arange(3)}, float("nan")))
    assert not thing.equals(Thing(np.array([1.0, np.nan]), {"x": np.arange(3)}, 0.0))
    assert not thing.equals("thing")


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.array([1]), np.array([1.0]), False),
        (np.array([1.0]), np.array([1.0 + 2**-52]), False),
        (np.array([1, 2]), np.array([1]), False),
        (1, 1.0, False),
        (float("nan"), float("nan"), True),
        ({"a": 1}, FrozenDict({"a": 1}), True),
        ({"a": 1}, {"a": 2}, False),
        (None, 0, False),
    ],
)
def test_same_is_equality_to_the_last_bit_and_of_types(a, b, equal):
    assert same(a, b) is equal


def test_coded_sorts_labels_and_marks_what_is_missing():
    coded = Coded.of(["b", None, "a", float("nan"), "b"])
    assert coded.labels == ("a", "b")
    assert coded.codes.tolist() == [1, -1, 0, -1, 1]
    assert coded.to_numpy().tolist() == ["b", None, "a", None, "b"]
    assert len(coded) == 5


def test_coded_sorts_numbers_as_numbers_before_text():
    assert Coded.of([10, 9, "a", 2.5]).labels == (2.5, 9, 10, "a")
    assert sorted(["b", 3, "a", 1], key=label_order) == [1, 3, "a", "b"]


@pytest.mark.parametrize("index", [np.array([2, 0]), np.array([True, False, True])])
def test_coded_takes_entries_by_index_or_mask(index):
    coded = Coded.of(["x", "y", "z"])
    expected = np.array(["x", "y", "z"])[index].tolist()
    assert coded.take(index).to_numpy().tolist() == expected
    assert not coded.take(index).codes.flags.writeable


@pytest.mark.parametrize("parts", [(["b", None], ["b", "b"]), (["b", None], ["a", "c", None])])
def test_coded_columns_join(parts):
    joined = Coded.concat([Coded.of(part) for part in parts])
    values = [value for part in parts for value in part]
    assert joined.equals(Coded.of(values))


def test_coded_of_nothing_is_empty():
    assert Coded.of([]).to_numpy().tolist() == []
