"""The simple probabilistic model: conversion rates of channels and of pairs of channels.

With P(y|i) the share of journeys containing channel i that convert, and P(y|i,j) that of journeys
containing both, a channel of a journey whose distinct channels are S contributes

    C(i) = P(y|i) + 1 / (2 (|S| - 1)) * sum over j in S, j != i of
               (P(y|i,j) - P(y|i) - P(y|j)),

and P(y|i) where it is alone. A half of what a pair adds to its parts goes to either side. Over a
journey C adds up to the sum of P(y|i,j) over its pairs / (|S| - 1), which is positive where it
converts. Each journey's conversions (value) are shared in proportion to max(C, 0).

Source: Shao and Li (2011), Data-driven multi-touch attribution models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.journeys import Journeys
from attribution.models.base import (
    Kind,
    Model,
    Outcome,
    checked_statistic,
)
from attribution.models.coalitions import coalitions_of, sets_of
from attribution.models.markov import warn_of_certain_conversion
from attribution.models.spread import (
    basis_of_credit,
    credit_of_rows,
    shares_within,
    spread_over_touches,
)
from attribution.results import Attribution
from attribution.segments import offsets_of, row_index, sum_by
from attribution.statistics import CoalitionCounts, Statistic

PAIRS_AT_ONCE = 2**21


@dataclass(frozen=True, kw_only=True)
class Probabilistic(Model):
    """Each journey's conversions in proportion to the rates of its channels and of their pairs.

    It looks at journeys that fail, but not at order or repetition, and at no more than two channels
    at a time. The rate of a channel is that of the journeys it occurs in, whatever else they hold:
    a channel that accompanies good ones looks good itself. Where a pair converts less often than
    its parts together, a contribution can be negative: it counts as 0. `details` holds the rates
    of all pairs that occur together.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a", "b", "a > b"], "conversions": [1, 1, 6], "nulls": [9, 3, 4]
    ... })
    >>> result = Probabilistic().attribute(Journeys.from_paths(table, nulls="nulls"))
    >>> result.to_frame()[["conversions", "conversion_rate"]].round(3)
             conversions  conversion_rate
    channel
    a               3.25             0.35
    b               4.75             0.50
    """

    key: ClassVar[str] = "probabilistic"
    kind: ClassVar[Kind] = "data"
    separable: ClassVar[bool] = True

    def summarize(self, journeys: Journeys) -> CoalitionCounts:
        """Count the journeys of each set of channels."""
        self.require(journeys)
        return coalitions_of(self, journeys)

    def solve(self, statistic: Statistic) -> Attribution:
        """Take the rates and share out each set of channels by itself."""
        statistic = checked_statistic(self, CoalitionCounts, statistic)
        warn_of_certain_conversion(statistic.conversions, statistic.nulls)
        rates = Rates.of(statistic)
        shares = rates.shares(statistic.members, statistic.offsets)
        n = len(statistic.channels)

        def credit(outcome: FloatArray) -> FloatArray:
            return credit_of_rows(statistic.members, statistic.offsets, shares, outcome, n)

        return Attribution.of(
            statistic,
            model=self.name,
            conversions=credit(statistic.conversions),
            values=None if statistic.values is None else credit(statistic.values),
            extra={"conversion_rate": rates.single},
            details={"pair_rates": rates.pair_details()},
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Share out each journey by the rates of the result; see `Model.credit`."""
        outcome, attribution, index = basis_of_credit(self, journeys, attribution, of)
        rates = Rates.from_result(attribution)
        code, offsets = sets_of(journeys)
        share = rates.shares(index[code], offsets)
        return spread_over_touches(journeys, share) * np.repeat(outcome, journeys.lengths)


@dataclass(frozen=True, eq=False)
class Rates:
    """Conversion rates.

    Attributes
    ----------
    single
        Shape (n_channels,); of journeys that contain the channel; NaN where there is none.
    keys, pairs
        Shape (n_pairs,); i * n_channels + j of each ordered pair i != j that occurs together,
        sorted, and its rate.
    """

    single: FloatArray
    keys: IntArray
    pairs: FloatArray

    @classmethod
    def of(cls, counts: CoalitionCounts) -> Rates:
        """Return the rates of the counts."""
        from scipy.sparse import csr_array

        n, n_sets = len(counts.channels), len(counts.offsets) - 1
        # The real part counts journeys, the imaginary part conversions: one product for both.
        counted = counts.conversions + counts.nulls + 1j * counts.conversions
        ones = np.ones(len(counts.members))
        each = np.repeat(counted, np.diff(counts.offsets))
        holds, weighted = (
            csr_array((entries, counts.members, counts.offsets), shape=(n_sets, n))
            for entries in (ones, each)
        )
        together: Any = (holds.T @ weighted).tocsr()
        together.sort_indices()
        row, column = np.repeat(np.arange(n), np.diff(together.indptr)), together.indices
        off = (row != column) & (together.data.real > 0)
        rate = together.data.imag[off] / together.data.real[off]
        alone, single = together.diagonal(), np.full(n, np.nan)
        np.divide(alone.imag, alone.real, out=single, where=alone.real > 0)
        return cls(single, row[off].astype(np.int64) * n + column[off], rate)

    @classmethod
    def from_result(cls, attribution: Attribution) -> Rates:
        """Read the rates of a result."""
        n, kept = len(attribution.channels), attribution.details["pair_rates"]
        first, second = (np.array(kept[name], dtype=np.int64) for name in ("first", "second"))
        keys = np.concatenate([first * n + second, second * n + first])
        order, rate = np.argsort(keys), np.array(kept["rate"], dtype=np.float64)
        return cls(attribution.extra["conversion_rate"], keys[order], np.tile(rate, 2)[order])

    def pair_details(self) -> dict[str, list[Any]]:
        """Return the rates of pairs, each once, by the places of its channels; ready for JSON."""
        n = max(1, len(self.single))
        first, second = self.keys // n, self.keys % n
        once = first < second
        return {
            "first": first[once].tolist(),
            "second": second[once].tolist(),
            "rate": self.pairs[once].tolist(),
        }

    def shares(self, members: IntArray, offsets: IntArray) -> FloatArray:
        """Return each member's share of its set, shape (n_members,).

        What stands for a pair without a rate does not matter: its journeys are none.
        """
        sizes = np.diff(offsets)
        own = np.nan_to_num(self.single[members])
        added = np.zeros(len(members))
        for one, other in _pairs(offsets):
            i, j = members[one], members[other]
            key = i.astype(np.int64) * len(self.single) + j
            at = np.searchsorted(self.keys, key)
            rate = np.append(self.pairs, 0.0)[at]
            added += sum_by(one, rate - own[one] - own[other], len(members))
        others = np.repeat(np.maximum(sizes - 1, 1), sizes)
        return shares_within(np.maximum(own + added / (2 * others), 0.0), offsets)


def _pairs(offsets: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the ordered pairs of different entries of each row, in blocks of bounded size."""
    sizes = np.diff(offsets)
    n_others = np.repeat(sizes - 1, sizes)
    start = np.repeat(offsets[:-1], sizes)
    cuts = offsets_of(n_others)
    entry = 0
    while entry < len(n_others):
        last = int(np.searchsorted(cuts, cuts[entry] + PAIRS_AT_ONCE, side="right")) - 1
        last = max(entry + 1, last)
        block = offsets_of(n_others[entry:last])
        one = entry + row_index(block)
        step = np.arange(len(one)) - np.repeat(block[:-1], np.diff(block))
        other = start[one] + step
        yield one, other + (other >= one)
        entry = last
