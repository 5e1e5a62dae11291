"""Several models' statistics over the same buckets: all that resampling needs; additive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.compare import Summaries, summarize
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models.base import Model, Partitioned, require_journeys, wholes_of
from attribution.sums import add_up
from attribution.uncertainty.buckets import Buckets, Plan, matrix
from attribution.uncertainty.spreads import Spread

if TYPE_CHECKING:
    from scipy.sparse import csr_array

REACH = "(reach)"


@dataclass(frozen=True)
class Bucketed:
    """Statistics of several models over buckets of users; additive over parts of a log.

    Attributes
    ----------
    plan
        How users are spread.
    labels
        See `Buckets`.
    totals
        Shape (n_buckets, len(TOTALS)).
    spreads
        By name of the model; under REACH the journeys that each channel is part of, if asked for.
    summaries
        The same, without buckets.
    of_users
        Whether journeys have users; if not, each is a unit of its own.
    """

    plan: Plan
    labels: IntArray | None
    totals: FloatArray
    spreads: Mapping[str, Spread]
    summaries: Summaries
    of_users: bool

    @classmethod
    def of(
        cls,
        chosen: Mapping[str, Model],
        plan: Plan,
        with_reach: bool,
        journeys: Journeys,
        number: int = 0,
    ) -> Bucketed:
        """Summarize one part of the journeys for several models."""
        buckets = Buckets.of(require_journeys(journeys), plan, number)
        found = summarize(chosen, journeys)
        spreads = {
            name: Spread.of(chosen[name], statistic, journeys, buckets)
            for name, statistic in found.statistics.items()
        }
        if with_reach:
            spreads[REACH] = Spread.of_reach(journeys, buckets)
        return cls(
            plan,
            buckets.labels,
            buckets.totals(journeys),
            spreads,
            found,
            journeys.users is not None,
        )

    def __add__(self, other: Bucketed) -> Bucketed:
        mine, theirs = over_same_buckets(self, other)
        summaries = self.summaries + other.summaries
        return Bucketed(
            self.plan,
            mine.labels,
            mine.totals + theirs.totals,
            {
                name: spread + theirs.spreads[name]
                for name, spread in mine.spreads.items()
                if name not in summaries.skipped
            },
            summaries,
            self.of_users and other.of_users,
        )

    def in_buckets(self, labels: IntArray | None) -> Bucketed:
        """Return the same over other buckets: of more units, or (None) those of the plan."""
        if self.labels is None or labels is self.labels:
            return self
        if labels is None:
            place, size = self.plan.bucket_of(self.labels), self.plan.n_buckets
        else:
            place, size = np.searchsorted(labels, self.labels), len(labels)
        n = len(place)
        moved = matrix(np.ones(n), place, np.arange(n), (size, n))

        def move(part: csr_array[Any]) -> Any:
            return moved @ part

        return replace(
            self,
            labels=labels,
            totals=moved @ self.totals,
            spreads={name: spread.map(move) for name, spread in self.spreads.items()},
        )


def over_same_buckets(a: Bucketed, b: Bucketed) -> tuple[Bucketed, Bucketed]:
    """Return both over buckets in which a user of both has one place."""
    labels = None
    if a.labels is not None and b.labels is not None:
        both = np.union1d(a.labels, b.labels)
        labels = both if len(both) <= a.plan.n_buckets else None
    return a.in_buckets(labels), b.in_buckets(labels)


def bucketed(
    chosen: Mapping[str, Model],
    journeys: Journeys | Iterable[Journeys] | Partitioned,
    plan: Plan,
    with_reach: bool = False,
) -> Bucketed:
    """Summarize journeys for several models in one pass, wherever they lie.

    Raises
    ------
    InputError
        If there is no part.
    """
    one: Callable[..., Bucketed] = partial(Bucketed.of, chosen, plan, with_reach)
    if isinstance(journeys, Partitioned):
        return journeys.sum_of(one)
    parts = enumerate(wholes_of(journeys))
    total: Bucketed | None = add_up(one(part, number) for number, part in parts)
    if total is None:
        raise InputError("There are no journeys: the iterable is empty.")
    return total
