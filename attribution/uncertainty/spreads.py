"""A statistic with what each bucket adds to its sums; additive, like the statistic itself.

Every sum of a statistic, of a channel, a state, a transition or a set of channels, is linear in the
journeys. With E the rows' entries in it (n_rows, size) and M the outcome of each row in each bucket
(n_buckets, n_rows), what the buckets add is M E, and a resample with weights w of the buckets has
the sums w M E: no journey is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models.base import Model, SeparableModel
from attribution.models.coalitions import sets_of
from attribution.models.records import PathCounts, TimedPaths
from attribution.models.transitions import steps_of
from attribution.segments import group, group_paths, offsets_of
from attribution.statistics import (
    ChannelCredit,
    CoalitionCounts,
    PathLevelCounts,
    Statistic,
    TransitionCounts,
    aligned,
)
from attribution.uncertainty.buckets import Buckets, compact

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Columns = dict[str, IntArray]


@dataclass(frozen=True)
class Spread:
    """A statistic, and its sums by bucket.

    Attributes
    ----------
    whole
        The statistic of all buckets together.
    parts
        By name of a field of it: sparse, shape (n_buckets, size of the field); or the spread of a
        statistic within it.
    """

    whole: Statistic
    parts: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model, whole: Statistic, journeys: Journeys, buckets: Buckets) -> Spread:
        """Return the statistic that a model has made of journeys, spread over buckets."""
        if isinstance(whole, ChannelCredit) and isinstance(model, SeparableModel):
            return cls(whole, _of_credit(model, journeys, buckets))
        return _of_counts(whole, journeys, buckets)

    @classmethod
    def of_reach(cls, journeys: Journeys, buckets: Buckets) -> Spread:
        """Return the journeys that each channel is part of, named conversions, over buckets."""
        code, offsets = sets_of(journeys)
        part = buckets.journeys @ _entries(
            np.ones(len(code)), code, offsets, len(journeys.channels)
        )
        whole = ChannelCredit.of(
            "reach", journeys, conversions=np.asarray(part.sum(axis=0)), values=None
        )
        return cls(whole, {"conversions": part})

    def __add__(self, other: Spread) -> Spread:
        """Return the spread of both parts over the same buckets."""
        whole = self.whole + other.whole
        mine, theirs = _columns_in(whole, self), _columns_in(whole, other)
        if isinstance(self.whole, TimedPaths):
            n_rows = len(self.whole.conversions)
            theirs = {name: column + n_rows for name, column in theirs.items()}
        parts: dict[str, Any] = {}
        for name, part in self.parts.items():
            added = other.parts[name]
            if isinstance(part, Spread):
                parts[name] = part + added
                continue
            size = len(getattr(whole, name))
            parts[name] = _moved(part, mine[name], size) + _moved(added, theirs[name], size)
        return Spread(whole, parts)

    def map(self, function: Callable[[csr_array[Any]], Any]) -> Spread:
        """Return the spread with a function applied to the sums by bucket."""
        items = self.parts.items()
        return Spread(
            self.whole,
            {k: p.map(function) if isinstance(p, Spread) else function(p) for k, p in items},
        )

    def statistic(self, number: int) -> Statistic:
        """Return the statistic whose sums are those of one row, of a bucket or a resample."""
        sums: dict[str, Any] = {
            name: part.statistic(number) if isinstance(part, Spread) else part[number]
            for name, part in self.parts.items()
        }
        return replace(self.whole, **sums)

    def __len__(self) -> int:
        part = next(iter(self.parts.values()))
        return len(part) if isinstance(part, Spread) else int(part.shape[0])

    @property
    def size(self) -> int:
        """Number of sums."""
        return sum(p.size if isinstance(p, Spread) else p.shape[1] for p in self.parts.values())


def _entries(data: FloatArray, column: IntArray, offsets: IntArray, size: int) -> Any:
    """Return the rows' entries in a sum, sparse, shape (n_rows, size)."""
    from scipy.sparse import csr_array

    bound = max(len(data), size)
    index = (data, compact(column, bound), compact(offsets, bound))
    return csr_array(index, shape=(len(offsets) - 1, size))


def _of_credit(model: SeparableModel, journeys: Journeys, buckets: Buckets) -> dict[str, Any]:
    rows = journeys.converting
    converts = (journeys.conversions > 0) & (journeys.lengths > 0)
    offsets = offsets_of(np.where(converts, journeys.lengths, 0))
    entries = _entries(model.weights(rows), rows.codes, offsets, len(journeys.channels))
    values = {} if buckets.values is None else {"values": buckets.values @ entries}
    return {"conversions": buckets.conversions @ entries, **values}


def _of_counts(whole: Statistic, journeys: Journeys, buckets: Buckets) -> Spread:
    """Spread counts of transitions, of sets of channels, or of both."""
    parts: dict[str, Any]
    if isinstance(whole, TransitionCounts):
        parts = _of_transitions(whole, journeys, buckets)
    elif isinstance(whole, CoalitionCounts | PathCounts | TimedPaths):
        parts = _of_rows(whole, journeys, buckets)
    elif isinstance(whole, PathLevelCounts):
        names = ("transitions", "coalitions")
        parts = {name: _of_counts(getattr(whole, name), journeys, buckets) for name in names}
    else:
        raise InputError(
            f"{whole.model.name} makes a {type(whole).__name__}, which cannot be spread over "
            "buckets. Hint: a model that is a weight of each touch (SeparableModel), or one that "
            "counts transitions, paths or sets of channels."
        )
    return Spread(whole, parts)


def _of_transitions(
    whole: TransitionCounts, journeys: Journeys, buckets: Buckets
) -> dict[str, csr_array[Any]]:
    states, state, at = steps_of(journeys.codes, journeys.offsets, whole.states.shape[1])
    n_states, filled = len(states), offsets_of((journeys.lengths > 0).astype(np.int64))
    one = np.ones(filled[-1])
    has_steps = np.diff(at) > 0
    first = _entries(one, state[at[:-1][has_steps]], filled, n_states)
    last = _entries(one, state[at[1:][has_steps] - 1], filled, n_states)
    counted, steps = journeys.conversions + journeys.nulls > 0, np.diff(at)
    goes_on = np.repeat(counted, steps)
    goes_on[at[1:][has_steps] - 1] = False
    source = np.flatnonzero(goes_on)
    edge = np.searchsorted(
        whole.sources * n_states + whole.targets, state[source] * n_states + state[source + 1]
    )
    moves = offsets_of(np.where(counted, np.maximum(steps - 1, 0), 0))
    edges = _entries(np.ones(len(edge)), edge, moves, len(whole.counts))
    values = {} if buckets.values is None else {"values": buckets.values @ last}
    journeys_in = buckets.journeys
    return {
        "starts": journeys_in @ first,
        "conversions": buckets.conversions @ last,
        "nulls": buckets.nulls @ last,
        "counts": journeys_in @ edges,
        **values,
    }


def _of_rows(
    whole: CoalitionCounts | PathCounts | TimedPaths, journeys: Journeys, buckets: Buckets
) -> dict[str, csr_array[Any]]:
    """Spread counts to which each row with touches adds in one place."""
    filled = journeys.lengths > 0
    column: IntArray
    if isinstance(whole, TimedPaths):
        column = np.arange(int(filled.sum()))
    elif isinstance(whole, PathCounts):
        column = _places(whole.codes, whole.offsets, journeys.codes, journeys.offsets)[filled]
    else:
        column = _places(whole.members, whole.offsets, *sets_of(journeys))[filled]
    entries = _entries(
        np.ones(len(column)), column, offsets_of(filled.astype(np.int64)), len(whole.conversions)
    )
    values = {} if buckets.values is None else {"values": buckets.values @ entries}
    return {
        "conversions": buckets.conversions @ entries,
        "nulls": buckets.nulls @ entries,
        **values,
    }


def _places(
    known: IntArray, known_offsets: IntArray, codes: IntArray, offsets: IntArray
) -> IntArray:
    """Return where rows of codes stand among distinct known ones; an empty row anywhere."""
    n = len(known_offsets) - 1
    number = group_paths(
        np.concatenate([known, codes]),
        np.concatenate([known_offsets, offsets[1:] + known_offsets[-1]]),
    )
    place: IntArray = np.zeros(int(number.max(initial=0)) + 1, dtype=np.int64)
    place[number[:n]] = np.arange(n)
    return np.asarray(place[number[n:]])


def _columns_in(whole: Statistic, spread: Spread) -> Columns:
    """Return by field where the columns of a spread stand in the sum that it became part of."""
    part = aligned(spread.whole, whole.channels)
    if isinstance(whole, ChannelCredit):
        number = {name: i for i, name in enumerate(whole.channels)}
        place: IntArray = np.array([number[name] for name in spread.whole.channels])
        return dict.fromkeys(spread.parts, place)
    if isinstance(whole, TransitionCounts):
        n = len(whole.states)
        first, inverse = group(list(np.concatenate([whole.states, part.states]).T))
        place = np.zeros(len(first), dtype=np.int64)
        place[inverse[:n]] = np.arange(n)
        state = place[inverse[n:]]
        known = whole.sources * n + whole.targets
        edge = np.searchsorted(known, state[part.sources] * n + state[part.targets])
        return {name: edge if name == "counts" else state for name in spread.parts}
    if isinstance(whole, CoalitionCounts):
        place = _places(whole.members, whole.offsets, part.members, part.offsets)
        return dict.fromkeys(spread.parts, place)
    if isinstance(whole, PathCounts):
        place = _places(whole.codes, whole.offsets, part.codes, part.offsets)
        return dict.fromkeys(spread.parts, place)
    if isinstance(whole, TimedPaths):
        return dict.fromkeys(spread.parts, np.arange(len(part.conversions)))
    return {}


def _moved(part: csr_array[Any], column: IntArray, size: int) -> csr_array[Any]:
    """Return sums by bucket in other columns."""
    from scipy.sparse import csr_array

    index = (part.data, column[part.indices].astype(part.indptr.dtype), part.indptr)
    return csr_array(index, shape=(part.shape[0], size))
