"""Immutable containers of arrays: read-only, also after pickling and deep copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Generic, Self, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

V = TypeVar("V")


def is_number(given: object) -> TypeGuard[float]:
    """Tell whether this is a real number (perhaps NaN or infinite), and no boolean."""
    return isinstance(given, Real) and not isinstance(given, bool)


def read_only(array: Array) -> Array:
    """Make a freshly computed array read-only in place and return it."""
    array.flags.writeable = False
    return array


def own(array: Array) -> Array:
    """Return the array if nobody can write to it, also as a part of another, else a copy."""
    owner = array if array.base is None else array.base
    if isinstance(owner, np.ndarray) and not (array.flags.writeable or owner.flags.writeable):
        return array
    return read_only(np.array(array))


def same(a: object, b: object) -> bool:
    """Tell whether two field values are equal, arrays to the last bit (NaN equals NaN)."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, Immutable) and isinstance(b, Immutable):
        return a.equals(b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float) and isinstance(b, float) and a != a and b != b:
        return True
    return type(a) is type(b) and bool(a == b)


class FrozenDict(Mapping[str, V], Generic[V]):
    """A mapping that cannot change, and can be pickled (unlike `types.MappingProxyType`)."""

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state["_items"].values():
            if isinstance(value, np.ndarray):
                read_only(value)
        self.__dict__.update(state)


class Immutable:
    """Mixin of frozen dataclasses whose fields may be arrays or mappings.

    Arrays become read-only copies (no copy is made where nobody can write to the data), mappings
    become `FrozenDict`.
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, own(value))
            elif isinstance(value, Mapping) and not isinstance(value, FrozenDict):
                object.__setattr__(self, field.name, FrozenDict(value))

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                read_only(value)
            object.__setattr__(self, name, value)

    def equals(self, other: object) -> bool:
        """Tell whether the other object is of the same type with equal fields, bit by bit."""
        if type(self) is not type(other):
            return False
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return all(same(getattr(self, name), getattr(other, name)) for name in names)


@dataclass(frozen=True, eq=False)
class Coded(Immutable):
    """A column of few distinct values as integer codes into labels.

    Attributes
    ----------
    codes
        Shape (n,); int32; -1 where the value is missing.
    labels
        The distinct values, in sorted order (numbers as numbers, others as text).
    """

    codes: IntArray
    labels: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: Array | slice) -> Coded:
        """Return the entries at an integer or boolean index or slice; labels stay."""
        return Coded(read_only(self.codes[index]), self.labels)

    def place_in(self, labels: tuple[Any, ...]) -> IntArray:
        """Return the code in other labels of each label, -1 at the end for a missing value."""
        place = {label: code for code, label in enumerate(labels)}
        return np.array([*(place[label] for label in self.labels), -1], dtype=np.int32)

    def to_numpy(self) -> npt.NDArray[np.object_]:
        """Return the values as an object array, None where missing."""
        lookup = np.empty(len(self.labels) + 1, dtype=object)
        lookup[:-1] = self.labels
        return np.asarray(lookup[self.codes])

    @classmethod
    def of(cls, values: Any) -> Self:
        """Code any sequence of hashable values; None and NaN are missing."""
        listed = [None if value is None or value != value else value for value in values]
        labels = tuple(sorted({v for v in listed if v is not None}, key=label_order))
        position = {label: code for code, label in enumerate(labels)}
        codes = np.array([-1 if v is None else position[v] for v in listed], dtype=np.int32)
        return cls(read_only(codes), labels)

    @classmethod
    def concat(cls, parts: list[Coded]) -> Coded:
        """Join columns one after the other, merging their labels."""
        if all(part.labels == parts[0].labels for part in parts):
            return cls(read_only(np.concatenate([p.codes for p in parts])), parts[0].labels)
        labels = tuple(sorted({v for part in parts for v in part.labels}, key=label_order))
        codes = [part.place_in(labels)[part.codes] for part in parts]
        return cls(read_only(np.concatenate(codes)), labels)


def label_order(value: object) -> tuple[bool, float, str]:
    """Sort key that puts numbers first, by size, then everything else by its text."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, "" if number else str(value))  # type: ignore[arg-type]
