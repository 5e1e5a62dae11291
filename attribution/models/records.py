"""Statistics that grow with the data, for models that channel sums and sets cannot serve.

`PathCounts` holds every distinct path once. `TimedPaths` holds every row: ages hardly repeat, so
there is nothing to merge. Neither holds a user id or a date.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.journeys import Journeys
from attribution.segments import group_paths, offsets_of, reduce_rows, row_index, sum_by, take_rows
from attribution.statistics import CoalitionCounts, Statistic


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PathCounts(Statistic):
    """Journeys counted by their whole path; grows with the number of distinct paths.

    Attributes
    ----------
    codes, offsets
        Shapes (n_codes,) and (n_paths + 1,); the distinct paths, shorter ones first, then sorted
        by code. Journeys without touches have none.
    conversions, nulls
        Shape (n_paths,).
    values
        Shape (n_paths,); None where none were given.
    """

    codes: IntArray
    offsets: IntArray
    conversions: FloatArray
    nulls: FloatArray
    values: FloatArray | None

    @classmethod
    def of_journeys(cls, model: Any, journeys: Journeys) -> Self:
        """Return the paths of journeys as the statistic of a model."""
        paths = CoalitionCounts.merged_sets(
            journeys.codes,
            journeys.offsets,
            journeys.conversions,
            journeys.nulls,
            journeys.values,
        )
        return cls.of(model, journeys, codes=paths.pop("members"), **paths)

    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        codes = place[self.codes].astype(self.codes.dtype)
        return replace(self, channels=channels, codes=codes)

    def _merge(self, other: Self) -> Self:
        def join(name: str) -> Any:
            return _joined(getattr(self, name), getattr(other, name))

        paths = CoalitionCounts.merged_sets(
            join("codes"),
            np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            join("conversions"),
            join("nulls"),
            join("values"),
        )
        return replace(self, codes=paths.pop("members"), **paths)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TimedPaths(Statistic):
    """Every row that has touches, with its times; grows with the data.

    Attributes
    ----------
    codes, ages
        Shape (n_touches,); channel, and the days it was at work (see `watched`).
    days
        Shape (n_rows,); how long the row was observed.
    offsets
        Shape (n_rows + 1,).
    conversions, nulls
        Shape (n_rows,).
    values
        Shape (n_rows,); None where none were given.
    """

    codes: IntArray
    ages: FloatArray
    offsets: IntArray
    days: FloatArray
    conversions: FloatArray
    nulls: FloatArray
    values: FloatArray | None

    @classmethod
    def of_journeys(cls, model: Any, journeys: Journeys) -> Self:
        """Return the rows of journeys that have ages as the statistic of a model."""
        filled = journeys.lengths > 0
        rows = journeys if filled.all() else journeys.select(filled)
        ages, days = watched(rows)
        return cls.of(
            model,
            journeys,
            codes=rows.codes,
            ages=ages,
            offsets=rows.offsets,
            days=days,
            conversions=rows.conversions,
            nulls=rows.nulls,
            values=rows.values,
        )

    @property
    def rows(self) -> IntArray:
        """Row of each touch, shape (n_touches,)."""
        return row_index(self.offsets)

    @cached_property
    def coalitions(self) -> CoalitionCounts:
        """The same journeys counted by their set of channels. Computed once."""
        n, rows = max(1, len(self.channels)), self.rows
        pairs = np.unique(rows * np.int64(n) + self.codes)
        sizes = np.bincount(pairs // n, minlength=len(self.offsets) - 1)
        weight = np.repeat(self.conversions + self.nulls, np.diff(self.offsets))
        return CoalitionCounts(
            model=self.model,
            channels=self.channels,
            totals=self.totals,
            spec=self.spec,
            transforms=self.transforms,
            touches=sum_by(self.codes, weight, len(self.channels)),
            **CoalitionCounts.merged_sets(
                pairs % n, offsets_of(sizes), self.conversions, self.nulls, self.values
            ),
        )

    def _realign(self, channels: tuple[str, ...], place: IntArray) -> Self:
        codes = place[self.codes].astype(self.codes.dtype)
        return replace(self, channels=channels, codes=codes)

    def _merge(self, other: Self) -> Self:
        names = ("codes", "ages", "days", "conversions", "nulls", "values")
        joined = {name: _joined(getattr(self, name), getattr(other, name)) for name in names}
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return replace(self, offsets=offsets, **joined)


def watched(journeys: Journeys) -> tuple[FloatArray, FloatArray]:
    """Return how long each touch was at work and each row under observation, in days.

    A touch works until its row ends, but no longer than the (longest) lookback: then no conversion
    could be its own. A row is observed from its first touch to its end. Without conversion it is
    not observed beyond the first touch of the next row of the same user and conversion type (by
    first touch; of two, the one that converts), from where a conversion would be that row's, but
    always up to its last touch; and
    not when its latest touch is older than the lookback: a conversion would have had no touches.
    Journeys without users, times or ends are observed as long as their first touch is old.

    Returns
    -------
    ages, days
        Shapes (n_touches,) and (n_rows,); 0 for rows without touches.
    """
    ages, times, ends = journeys.ages, journeys.times, journeys.ends
    if ages is None:
        return np.zeros(0), np.zeros(len(journeys))
    window = None if journeys.spec is None else journeys.spec.longest_lookback
    at_work = ages if window is None else np.minimum(ages, window / MICROSECONDS_PER_DAY)
    if journeys.given_ages is not None or times is None or ends is None or journeys.users is None:
        return at_work, reduce_rows(np.maximum, ages, journeys.offsets)
    rows = np.flatnonzero(journeys.lengths > 0)
    coded = journeys.conversion_types
    kind = np.zeros(len(rows), dtype=np.int64) if coded is None else coded.codes[rows]
    converts = journeys.conversions[rows] > 0
    order = np.lexsort((converts, times[journeys.offsets[:-1][rows]], kind, journeys.users[rows]))
    rows, kind = rows[order], kind[order]
    user, last = journeys.users[rows], journeys.offsets[1:][rows] - 1
    next_row = times[journeys.offsets[:-1][rows]][1:]
    cut = (user[1:] == user[:-1]) & (kind[1:] == kind[:-1])
    cut &= journeys.conversions[rows[:-1]] == 0
    until = ends[rows]
    limit = np.maximum(next_row, times[last[:-1]])
    until[:-1] = np.where(cut, np.minimum(until[:-1], limit), until[:-1])
    following = np.append(times[1:], 0)
    following[last] = until
    observed = following - times
    if window is not None:
        observed = np.minimum(observed, window)
    return at_work, reduce_rows(np.add, observed, journeys.offsets) / MICROSECONDS_PER_DAY


def by_size(sets: CoalitionCounts) -> tuple[IntArray, IntArray, IntArray]:
    """Order channels by the journeys that hold them, and sets by these channels.

    Returns
    -------
    rank, members, order
        Place of each channel (by journeys, conversions, name), shape (n_channels,); places instead
        of codes, shape (n_members,); sets by size and then by places, shape (n_sets,).
    """
    n, sizes = len(sets.channels), np.diff(sets.offsets)
    counts = [
        _ten_digits(sum_by(sets.members, np.repeat(count, sizes), n))
        for count in (sets.conversions, sets.conversions + sets.nulls)
    ]
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort([np.arange(n), *counts])] = np.arange(n)
    members = rank[sets.members]
    members = members[np.lexsort([members, row_index(sets.offsets)])]
    return rank, members, np.argsort(group_paths(members, sets.offsets), kind="stable")


def _ten_digits(x: FloatArray) -> FloatArray:
    """Round, so that sums in another order are the same."""
    mantissa, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.round(mantissa * 2.0**34), exponent - 34))


def presence_table(members: IntArray, offsets: IntArray, order: IntArray, n_channels: int) -> Any:
    """Return which set (in this order) holds which channel, as a sparse matrix of 0 and 1."""
    from scipy.sparse import csr_array

    index, cuts = take_rows(offsets, order)
    return csr_array((np.ones(len(index)), members[index], cuts), shape=(len(order), n_channels))


def _joined(mine: Any, theirs: Any) -> Any:
    return None if mine is None or theirs is None else np.concatenate([mine, theirs])
