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
from attribution.journeys import Journeys
from attribution.segments import offsets_of, row_index, sum_by
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
    """Every row that has touches, with their ages; grows with the data.

    Attributes
    ----------
    codes, ages
        Shape (n_touches,); channel, and age at the end of the journey in days.
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
    conversions: FloatArray
    nulls: FloatArray
    values: FloatArray | None

    @classmethod
    def of_journeys(cls, model: Any, journeys: Journeys) -> Self:
        """Return the rows of journeys that have ages as the statistic of a model."""
        rows = journeys if (journeys.lengths > 0).all() else journeys.select(journeys.lengths > 0)
        return cls.of(
            model,
            journeys,
            codes=rows.codes,
            ages=rows.ages,
            offsets=rows.offsets,
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
        names = ("codes", "ages", "conversions", "nulls", "values")
        joined = {name: _joined(getattr(self, name), getattr(other, name)) for name in names}
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return replace(self, offsets=offsets, **joined)


def _joined(mine: Any, theirs: Any) -> Any:
    return None if mine is None or theirs is None else np.concatenate([mine, theirs])
