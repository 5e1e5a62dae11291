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
from attribution.models.base import Model, Partitioned, wholes_of
from attribution.sums import add_up
from attribution.uncertainty.buckets import Buckets, Plan, keys_of, matrix, pieces_of
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
    users
        Distinct keys, sorted, where a user may be in several parts; None where parts are by user.
    of_users
        Whether journeys have users; if not, each is a unit of its own.
    """

    plan: Plan
    labels: IntArray | None
    totals: FloatArray
    spreads: Mapping[str, Spread]
    summaries: Summaries
    users: IntArray | None
    of_users: bool

    @classmethod
    def of(
        cls,
        chosen: Mapping[str, Model],
        plan: Plan,
        with_reach: bool,
        journeys: Journeys,
        number: int | None = None,
    ) -> Bucketed:
        """Summarize one part of the journeys for several models.

        Parameters
        ----------
        number
            Of the part, where other parts may hold the same users, or none; None where parts are
            by user.
        """
        if number is None and journeys.users is None:
            raise InputError(
                "The partitions hold no users, so journeys cannot be told apart. Hint: pass an "
                "iterable of parts."
            )
        buckets = Buckets.of(journeys, plan, number or 0)
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
            None if number is None or journeys.users is None else keys_of(journeys.users),
            journeys.users is not None,
        )

    def __add__(self, other: Bucketed) -> Bucketed:
        mine, theirs = over_same_buckets(self, other)
        summaries = self.summaries + other.summaries
        totals, users = mine.totals + theirs.totals, None
        if self.users is not None and other.users is not None:
            users = np.union1d(self.users, other.users)
            own = mine.labels is not None
            totals[:, 0] = 1.0 if own else self.plan.units_of(users)
        return Bucketed(
            self.plan,
            mine.labels,
            totals,
            {
                name: spread + theirs.spreads[name]
                for name, spread in mine.spreads.items()
                if name not in summaries.skipped
            },
            summaries,
            users,
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
    parts = (part for each in wholes_of(journeys) for part in pieces_of(each, plan.n_buckets))
    total: Bucketed | None = add_up(one(part, number) for number, part in enumerate(parts))
    if total is None:
        raise InputError("There are no journeys: the iterable is empty.")
    return total
