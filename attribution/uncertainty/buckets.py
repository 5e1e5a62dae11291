"""Users spread over buckets, so that resampling needs a statistic per bucket and not per user.

A user, with all journeys, goes into the bucket that a salted hash of the key names: alike in every
part of a log, on every engine, in every period. Where journeys have no users, as in a path table,
every journey is a unit of its own: a row of count c is c journeys, each thrown into a bucket at
random. Where there are no more units than buckets, each has a bucket to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray, IntArray
from attribution.errors import require_rows
from attribution.ingest.cutting import changes
from attribution.journeys import Journeys
from attribution.segments import sum_by

AT_ONCE = 2**22
ROUNDING = 1e-9

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Plan(NamedTuple):
    """How units are spread, alike for all parts of a log.

    Attributes
    ----------
    n_buckets
        At most so many buckets.
    salt
        Another salt spreads them in another way.
    """

    n_buckets: int
    salt: int

    def bucket_of(self, keys: IntArray) -> IntArray:
        """Return the bucket of each key."""
        high = hashed(keys, self.salt) >> np.uint64(32)
        return ((high * np.uint64(self.n_buckets)) >> np.uint64(32)).astype(np.int64)

    def units_of(self, keys: IntArray) -> FloatArray:
        """Return how many of the distinct keys each bucket holds, shape (n_buckets,)."""
        return sum_by(self.bucket_of(keys), np.ones(len(keys)), self.n_buckets)


@dataclass(frozen=True)
class Buckets:
    """Which journeys of each row lie in which bucket.

    Attributes
    ----------
    labels
        Shape (n_buckets,); sorted keys of the units where each has a bucket to itself; None where
        buckets are those of the plan.
    units
        Shape (n_buckets,); users, or journeys where there are no users.
    conversions, nulls
        Sparse, shape (n_buckets, n_rows); they sum to those of each row.
    values
        Likewise, or None; the value of a row is shared out in proportion to its conversions.
    """

    labels: IntArray | None
    units: FloatArray
    conversions: csr_array[Any]
    nulls: csr_array[Any]
    values: csr_array[Any] | None

    @classmethod
    def of(cls, journeys: Journeys, plan: Plan, number: int = 0) -> Buckets:
        """Spread journeys; `number` tells apart parts of journeys without users."""
        if journeys.users is not None:
            return _of_users(journeys, journeys.users, plan)
        return _of_journeys(journeys, plan, number)

    @cached_property
    def journeys(self) -> csr_array[Any]:
        """Conversions plus nulls. Computed once."""
        both: csr_array[Any] = self.conversions + self.nulls
        return both

    def totals(self, journeys: Journeys) -> FloatArray:
        """Return units and sums per bucket, shape (n_buckets, len(TOTALS)); see `TOTALS`."""
        bare = (journeys.lengths == 0).astype(np.float64)
        every = np.ones(len(journeys))
        none = np.zeros(len(self.units))
        values = self.values
        return np.stack(
            [
                self.units,
                self.conversions @ every,
                self.nulls @ every,
                self.conversions @ bare,
                none if values is None else values @ every,
                none if values is None else values @ bare,
            ],
            axis=1,
        )


TOTALS = ("units", "conversions", "nulls", "unattributed", "value", "unattributed_value")


def hashed(keys: IntArray, salt: int) -> npt.NDArray[np.uint64]:
    """Return 64 well mixed bits for each key and salt.

    Source: Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.
    """
    bits = keys.astype(np.int64).view(np.uint64) ^ np.uint64(salt)
    bits = bits * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def compact(index: IntArray, bound: int) -> IntArray:
    """Return an index in the type that sparse matrices work fastest with."""
    return index.astype(np.int32) if bound < 2**31 else index.astype(np.int64)


def matrix(
    data: FloatArray, row: IntArray, column: IntArray, shape: tuple[int, int]
) -> csr_array[Any]:
    """Return a sparse matrix of sums of entries."""
    from scipy.sparse import coo_array

    index = (compact(row, max(shape)), compact(column, max(shape)))
    summed: csr_array[Any] = coo_array((data, index), shape=shape).tocsr()
    return summed


def keys_of(users: IntArray) -> IntArray:
    """Return the distinct users, sorted."""
    keys = np.sort(users[changes(users)])
    return np.asarray(keys[changes(keys)])


def pieces_of(journeys: Journeys, n_buckets: int) -> Iterator[Journeys]:
    """Cut journeys without users into rows of which not too many single journeys are thrown."""
    if journeys.users is not None:
        yield journeys
        return
    thrown = np.minimum(journeys.conversions, n_buckets) + np.minimum(journeys.nulls, n_buckets)
    cuts = np.flatnonzero(np.diff(np.cumsum(thrown) // AT_ONCE)) + 1
    for rows in np.split(np.arange(len(journeys)), cuts):
        yield journeys if not len(cuts) else journeys.select(rows)


def _of_users(journeys: Journeys, users: IntArray, plan: Plan) -> Buckets:
    keys = keys_of(users)
    labels: IntArray | None = None
    bucket: IntArray
    if len(keys) <= plan.n_buckets:
        labels, bucket, units = keys, np.searchsorted(keys, users), np.ones(len(keys))
    else:
        bucket, units = plan.bucket_of(users), plan.units_of(keys)
    shape = (len(units), len(journeys))

    def of(outcome: FloatArray) -> csr_array[Any]:
        rows = np.flatnonzero(outcome)
        return matrix(outcome[rows], bucket[rows], rows, shape)

    values = None if journeys.values is None else of(journeys.values)
    return Buckets(labels, units, of(journeys.conversions), of(journeys.nulls), values)


def _of_journeys(journeys: Journeys, plan: Plan, number: int) -> Buckets:
    """Throw each journey into a bucket."""
    rng = np.random.default_rng((plan.salt, number))
    counts = np.concatenate([journeys.conversions, journeys.nulls])
    require_rows(
        journeys.conversions + journeys.nulls > 2**53,
        "more journeys than floats can count, 2**53",
        "give counts in thousands.",
        journeys.conversions + journeys.nulls,
    )
    n_rows, n_buckets = len(journeys), plan.n_buckets
    whole = np.floor(counts)
    part_row, part, journey = _joined_parts(counts - whole)
    n_joined = int(journey.max(initial=-1)) + 1
    labels: IntArray | None = None
    few = whole <= n_buckets
    row = np.repeat(np.arange(len(counts)), np.where(few, whole, 0).astype(np.int64))
    if whole.sum() + n_joined <= n_buckets:
        n_buckets = len(row) + n_joined
        bucket = np.arange(n_buckets)
        labels = np.sort(hashed(bucket, int(rng.integers(2**62))).view(np.int64))
    else:
        bucket = rng.integers(n_buckets, size=len(row) + n_joined)
    amount = np.append(np.ones(len(row)), part)
    bucket = np.append(bucket[: len(row)], bucket[len(row) :][journey])
    row = np.append(row, part_row)
    if not few.all():
        heaps = rng.multinomial(whole[~few].astype(np.int64), [1 / n_buckets] * n_buckets)
        at, where = np.nonzero(heaps)
        row = np.append(row, np.flatnonzero(~few)[at])
        bucket, amount = np.append(bucket, where), np.append(amount, heaps[at, where])
    both = matrix(amount, bucket, row, (n_buckets, 2 * n_rows))
    conversions, nulls = both[:, :n_rows], both[:, n_rows:]
    values = None
    if journeys.values is not None:
        each = np.divide(
            journeys.values,
            journeys.conversions,
            out=np.zeros(n_rows),
            where=journeys.conversions > 0,
        )
        values = conversions.copy()
        values.data = values.data * each[values.indices]
    return Buckets(labels, both @ np.ones(2 * n_rows), conversions, nulls, values)


def _joined_parts(rest: FloatArray) -> tuple[IntArray, FloatArray, IntArray]:
    """Join what is left of counts that are not whole to journeys, in the order of the counts.

    Returns
    -------
    row, part, journey
        Each piece of a rest: of which count, how much, and of which journey it is a part.
    """
    row = np.flatnonzero(rest > 0)
    end = np.cumsum(rest[row])
    start = end - rest[row]
    first = np.floor(start + ROUNDING).astype(np.int64)
    over = end - (first + 1)  # what no longer fits into the journey begun
    over[over < ROUNDING] = 0.0
    begun, spilt = rest[row] - over, np.flatnonzero(over > 0)
    return (
        np.append(row, row[spilt]),
        np.append(begun, over[spilt]),
        np.append(first, first[spilt] + 1),
    )
