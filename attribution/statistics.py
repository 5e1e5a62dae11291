"""Additive statistics: all that a model needs of the journeys, small enough to keep.

The statistic of two disjoint sets of journeys is the sum of their statistics, so data in memory,
chunks, partitions of a cluster and yesterday plus today are one computation. Statistics of
different channels align by name; those of different options refuse to merge. Counts add exactly;
other sums agree to 1e-11 relative under any partition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from attribution.arrays import FloatArray, Immutable, IntArray
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.merging import require_same_origin
from attribution.segments import count_keys, group, group_paths, sum_by, take_rows
from attribution.spec import EventSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Conversions, journeys without, and value of everything that was read.

    `unattributed` counts the conversions of rows without touches. Values are None where none
    were given.
    """

    conversions: float
    nulls: float
    value: float | None
    unattributed: float
    unattributed_value: float | None

    @classmethod
    def of(cls, journeys: Journeys) -> Totals:
        """Return the totals of journeys."""
        bare, values = journeys.lengths == 0, journeys.values
        return cls(
            conversions=float(journeys.conversions.sum()),
            nulls=float(journeys.nulls.sum()),
            value=None if values is None else float(values.sum()),
            unattributed=float(journeys.conversions[bare].sum()),
            unattributed_value=None if values is None else float(values[bare].sum()),
        )

    def __add__(self, other: Totals) -> Totals:
        if (self.value is None) != (other.value is None):
            raise InputError(
                "One part has values and the other has none. Hint: name the value column for both."
            )
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        sums: dict[str, Any] = {k: None if a is None else a + b for k, (a, b) in pairs.items()}
        return Totals(**sums)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Statistic(Immutable, ABC):
    """What all statistics share.

    Attributes
    ----------
    model
        The model that made it, with its options.
    channels
        The n_channels names, sorted.
    totals
        Of the journeys behind it.
    spec, transforms
        Of the journeys behind it; parts of different ones do not merge.
    """

    model: Any
    channels: tuple[str, ...]
    totals: Totals
    spec: EventSpec | None = None
    transforms: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Any, journeys: Journeys, **arrays: Any) -> Self:
        """Return the statistic that a model made of journeys, with its own arrays by name."""
        return cls(
            model=model,
            channels=journeys.channels,
            totals=Totals.of(journeys),
            spec=journeys.spec,
            transforms=journeys.transforms,
            **arrays,
        )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.model.name}: "
            f"{self.totals.conversions + self.totals.nulls:,.15g} journeys, "
            f"{len(self.channels):,} channels, {self.totals.conversions:,.15g} conversions>"
        )

    def __add__(self, other: Self) -> Self:
        """Return the statistic of both parts; `sum` adds many."""
        if type(self) is not type(other) or self.model != other.model:
            raise InputError(
                f"Statistics of different models cannot be added: {self.model} and "
                f"{getattr(other, 'model', other)}."
            )
        require_same_origin([self, other])
        channels = tuple(sorted({*self.channels, *other.channels}))
        merged: Self = aligned(self, channels)._merge(aligned(other, channels))
        return replace(merged, totals=self.totals + other.totals)

    def __radd__(self, other: Any) -> Self:
        """Let `sum` start from 0."""
        if other == 0:
            return self
        return NotImplemented

    def save(self, path: str | Path) -> None:
        """Write the statistic to a Parquet file; see `attribution.storage.save_statistics`."""
        from attribution.storage import save_statistics

        save_statistics(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the only statistic of a file; see `attribution.storage.load_statistics`.

        Raises
        ------
        InputError
            If the file holds several or another kind.
        """
        from attribution.storage import load_statistics

        found = list(load_statistics(path).values())
        if len(found) != 1:
            raise InputError(
                f"{str(path)!r} holds {len(found)} statistics, not one. "
                "Hint: attribution.storage.load_statistics."
            )
        if not isinstance(found[0], cls):
            kind = type(found[0]).__name__
            raise InputError(f"{str(path)!r} holds {kind}, not {cls.__name__}. Hint: {kind}.load.")
        return found[0]

    @abstractmethod
    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        """Return the statistic over more channels; channel i is now number place[i]."""

    @abstractmethod
    def _merge(self, other: Self) -> Self:
        """Add a statistic over the same channels (totals are added elsewhere)."""


def aligned(statistic: Statistic, channels: tuple[str, ...]) -> Any:
    """Return the statistic over more channels, all of its own among them."""
    if statistic.channels == channels:
        return statistic
    number = {name: i for i, name in enumerate(channels)}
    place = np.array([number[name] for name in statistic.channels], dtype=np.int64)
    return statistic._realign(channels, place)


def _scatter(values: FloatArray, place: IntArray, size: int) -> FloatArray:
    """Move entry i to place[i] of a longer array of zeros."""
    result = np.zeros(size)
    result[place] = values
    return result


def _plus(a: FloatArray | None, b: FloatArray | None) -> FloatArray | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ChannelCredit(Statistic):
    """Credit per channel, final up to addition.

    Attributes
    ----------
    conversions, values
        Shape (n_channels,); values None where none were given.
    """

    conversions: FloatArray
    values: FloatArray | None

    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        n = len(channels)
        conversions = _scatter(self.conversions, place, n)
        values = None if self.values is None else _scatter(self.values, place, n)
        return replace(self, channels=channels, conversions=conversions, values=values)

    def _merge(self, other: Self) -> Self:
        return replace(
            self,
            conversions=self.conversions + other.conversions,
            values=_plus(self.values, other.values),
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TransitionCounts(Statistic):
    """Counts of the transitions of a chain whose states are the last `order` touches.

    Attributes
    ----------
    states
        Shape (n_states, order); codes of the channels, -1 after the last of a shorter path;
        sorted. Only observed states exist.
    starts, conversions, nulls
        Shape (n_states,); journeys that begin in a state, and that leave it by converting or not.
    values
        Shape (n_states,); value of the conversions from each state; None where none were given.
    sources, targets, counts
        Shape (n_edges,); transitions between states, sorted by source, then target.
    split_conversions, split_values, touches
        Shape (n_channels,); conversions (value) split equally over the distinct channels of each
        journey, and touches: over these a channel's credit is spread to single touches.
    """

    states: IntArray
    starts: FloatArray
    conversions: FloatArray
    nulls: FloatArray
    values: FloatArray | None
    sources: IntArray
    targets: IntArray
    counts: FloatArray
    split_conversions: FloatArray
    split_values: FloatArray | None
    touches: FloatArray

    @property
    def n_journeys(self) -> float:
        """Number of journeys with touches."""
        return float(self.starts.sum())

    @classmethod
    def from_frame(cls, table: Any, *, order: int = 1, separator: str = " > ") -> TransitionCounts:
        """Read an edge table; see `attribution.edges.counts_from_edges`."""
        from attribution.edges import counts_from_edges

        return counts_from_edges(table, order=order, separator=separator)

    def to_frame(self, separator: str = " > ") -> pd.DataFrame:
        """Return an edge table; see `attribution.edges.edges_frame`."""
        from attribution.edges import edges_frame

        return edges_frame(self, separator)

    @property
    def visits(self) -> FloatArray:
        """How often each state is left, shape (n_states,); equals how often it is entered."""
        inner = np.bincount(self.sources, self.counts, len(self.states))
        return np.asarray(inner + self.conversions + self.nulls)

    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        n, values = len(channels), self.split_values
        return replace(
            self,
            channels=channels,
            states=np.append(place, -1)[self.states],
            split_conversions=_scatter(self.split_conversions, place, n),
            split_values=None if values is None else _scatter(values, place, n),
            touches=_scatter(self.touches, place, n),
        )

    def _merge(self, other: Self) -> Self:
        columns = np.concatenate([self.states, other.states])
        first, inverse = group(list(columns.T))
        n_states, half = len(first), len(self.states)

        def add(name: str) -> FloatArray | None:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None or theirs is None:
                return None
            return sum_by(inverse, np.concatenate([mine, theirs]), n_states)

        sums: Any = {name: add(name) for name in ("starts", "conversions", "nulls", "values")}
        sources = np.concatenate([inverse[:half][self.sources], inverse[half:][other.sources]])
        targets = np.concatenate([inverse[:half][self.targets], inverse[half:][other.targets]])
        both = np.concatenate([self.counts, other.counts])
        keys, counts = count_keys(sources * n_states + targets, both, n_states**2)
        return replace(
            self,
            states=columns[first],
            sources=keys // max(1, n_states),
            targets=keys % max(1, n_states),
            counts=counts,
            split_conversions=self.split_conversions + other.split_conversions,
            split_values=_plus(self.split_values, other.split_values),
            touches=self.touches + other.touches,
            **sums,
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CoalitionCounts(Statistic):
    """Journeys counted by the set of channels they touch.

    Attributes
    ----------
    members, offsets
        Shapes (n_members,) and (n_sets + 1,); sorted codes of each set, smaller sets first.
        Journeys without touches belong to no set.
    conversions, nulls
        Shape (n_sets,).
    values
        Shape (n_sets,); None where none were given.
    touches
        Shape (n_channels,); over these a channel's credit is spread to single touches.
    """

    members: IntArray
    offsets: IntArray
    conversions: FloatArray
    nulls: FloatArray
    values: FloatArray | None
    touches: FloatArray

    @staticmethod
    def merged_sets(
        members: IntArray,
        offsets: IntArray,
        conversions: FloatArray,
        nulls: FloatArray,
        values: FloatArray | None,
    ) -> dict[str, Any]:
        """Return the arrays of distinct sets by name; equal sets are added, empty ones left out.

        Parameters
        ----------
        members, offsets
            Sets in any order, equal ones perhaps repeated, each with sorted codes.
        conversions, nulls, values
            Per set; values may be None.
        """
        number = group_paths(members, offsets)
        distinct, first = np.unique(number, return_index=True)
        filled = np.diff(offsets)[first] > 0
        index, cuts = take_rows(offsets, first[filled])

        def add(outcome: FloatArray) -> FloatArray:
            return sum_by(number, outcome, len(distinct))[filled]

        return {
            "members": members[index],
            "offsets": cuts,
            "conversions": add(conversions),
            "nulls": add(nulls),
            "values": None if values is None else add(values),
        }

    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        return replace(
            self,
            channels=channels,
            members=place[self.members],
            touches=_scatter(self.touches, place, len(channels)),
        )

    def _merge(self, other: Self) -> Self:
        def join(name: str) -> Any:
            mine, theirs = getattr(self, name), getattr(other, name)
            return None if mine is None or theirs is None else np.concatenate([mine, theirs])

        sets = self.merged_sets(
            join("members"),
            np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            join("conversions"),
            join("nulls"),
            join("values"),
        )
        return replace(self, touches=self.touches + other.touches, **sets)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PathLevelCounts(Statistic):
    """The transitions of a chain, and the sets of channels whose journeys share its effects out.

    Attributes
    ----------
    transitions, coalitions
        Of the same journeys.
    """

    transitions: TransitionCounts
    coalitions: CoalitionCounts

    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        return replace(
            self,
            channels=channels,
            transitions=self.transitions._realign(channels, place),
            coalitions=self.coalitions._realign(channels, place),
        )

    def _merge(self, other: Self) -> Self:
        return replace(
            self,
            transitions=self.transitions + other.transitions,
            coalitions=self.coalitions + other.coalitions,
        )
