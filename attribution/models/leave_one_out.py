"""Leave one out, path by path: what a path's conversion rate loses without a touch.

Take a path p of conversion rate r(p), and p without its touch i: another path, observed or not. The
contribution of the touch is

    max(0, r(p) - r(p without i)),

where r of a path that no journey took is 0. All conversions (value) of a path are shared over its
touches in proportion; where no touch contributes, the last one gets all. What a single touch is
compared with (the empty path, which no journey takes) makes no difference: it gets all either way.

Paths are looked up by a number, h(p) = sum over k of x(code of touch k) * B^k modulo the prime
2^61 - 1, with random x and B: two given paths of n touches share it with probability n / 2^61 at
most. (Modulo 2^64 some share it for every odd B, such as the sequence of Thue and Morse and its
complement.) From prefix sums of its terms, h of p without each of its touches takes a step per
touch, so that no path is ever written out; a match is then compared touch by touch. Should paths
share a number all the same, others are drawn; after a few draws paths are written out.

The rule is known from fractribution, where it goes by the name of Shapley values; it looks at one
removal per touch, not at all sets of touches, and is named here for what it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray
from attribution.journeys import Journeys
from attribution.models.base import (
    Kind,
    Model,
    Outcome,
    checked_statistic,
    codes_among,
)
from attribution.models.markov import warn_of_certain_conversion
from attribution.models.records import PathCounts
from attribution.models.sampling import generator_of
from attribution.models.spread import basis_of_credit, credit_of_rows
from attribution.results import Attribution
from attribution.segments import (
    group_paths,
    offsets_of,
    reduce_rows,
    row_index,
    sum_by,
    take_rows,
)
from attribution.statistics import Statistic

ENTRIES_AT_ONCE = 2**21
PRIME = 2**61 - 1
DRAWS = 8


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Model):
    """Each path's conversions by how much its rate exceeds that of the path without a touch.

    It needs many journeys per path: most paths of a real log occur once or twice, the path without
    a touch often not at all, and then every touch gets an equal part of the path. Collapse repeats
    first, or group channels. Order matters, ages do not. The statistic is the table of distinct
    paths and grows with the data, and so does `details` of the result, which holds the weights of
    the paths that convert.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a", "b", "a > b"], "conversions": [1, 3, 4], "nulls": [9, 7, 4]
    ... })
    >>> result = LeaveOneOut().attribute(Journeys.from_paths(table, nulls="nulls"))
    >>> result.to_frame()["conversions"].round(3).to_dict()  # of a > b: 0.5 - 0.3, 0.5 - 0.1
    {'a': 2.333, 'b': 5.667}
    """

    key: ClassVar[str] = "leave_one_out"
    kind: ClassVar[Kind] = "data"
    separable: ClassVar[bool] = True

    def summarize(self, journeys: Journeys) -> PathCounts:
        """Count the journeys of each distinct path."""
        self.require(journeys)
        return PathCounts.of_journeys(self, journeys)

    def solve(self, statistic: Statistic) -> Attribution:
        """Share out each path by itself."""
        paths = checked_statistic(self, PathCounts, statistic)
        warn_of_certain_conversion(paths.conversions, paths.nulls)
        converting = np.flatnonzero((paths.conversions > 0) | (_or_zero(paths.values) != 0))
        weights, missing = path_weights(paths, converting)
        touches, offsets = take_rows(paths.offsets, converting)
        codes, sizes = paths.codes[touches], np.diff(offsets)

        def credit(outcome: FloatArray) -> FloatArray:
            n = len(paths.channels)
            return credit_of_rows(codes, offsets, weights, outcome[converting], n)

        return Attribution.of(
            statistic,
            model=self.name,
            conversions=credit(paths.conversions),
            values=None if paths.values is None else credit(paths.values),
            details={
                "n_paths": len(paths.offsets) - 1,
                "unobserved_share": float(missing.mean()) if len(missing) else None,
                "codes": codes.tolist(),
                "lengths": sizes.tolist(),
                "weights": weights.tolist(),
            },
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Share out each journey by the weights of its path; see `Model.credit`."""
        outcome, attribution, index = basis_of_credit(self, journeys, attribution, of)
        codes = index[journeys.codes]
        kept = attribution.details
        known = np.array(kept["codes"], dtype=np.int64)
        offsets = offsets_of(np.array(kept["lengths"], dtype=np.int64))
        weights = np.array(kept["weights"], dtype=np.float64)
        place = _places(known, offsets, codes, journeys.offsets)
        share = np.zeros(len(codes))
        found = np.repeat(place >= 0, journeys.lengths)
        share[found] = weights[take_rows(offsets, place[place >= 0])[0]]
        share[(journeys.offsets[1:] - 1)[(place < 0) & (journeys.lengths > 0)]] = 1.0
        return share * np.repeat(outcome, journeys.lengths)

    def predict(self, statistic: Statistic, journeys: Journeys) -> FloatArray:
        """Return the conversion rate of the path of each row.

        The base rate for a path that no journey took; see `attribution.models.base.Predictor`.
        """
        paths = checked_statistic(self, PathCounts, statistic)
        whole = paths.conversions + paths.nulls
        base = paths.conversions.sum() / whole.sum() if whole.any() else np.nan
        rates = np.full(len(journeys), base)
        codes = codes_among(paths.channels, journeys)
        place = _places(paths.codes, paths.offsets, codes, journeys.offsets)
        place[place >= 0] = np.where(whole[place[place >= 0]] > 0, place[place >= 0], -1)
        rates[place >= 0] = (paths.conversions / np.maximum(whole, 1e-300))[place[place >= 0]]
        rates[journeys.lengths == 0] = np.nan
        return rates


def path_weights(paths: PathCounts, chosen: IntArray) -> tuple[FloatArray, BoolArray]:
    """Return the share of each touch of the chosen paths, and whether its removal is unobserved.

    Returns
    -------
    weights, missing
        Shape (n_touches of the chosen paths,), path after path; the weights of each sum to 1.
    """
    whole = paths.conversions + paths.nulls
    rate = np.divide(paths.conversions, whole, out=np.zeros(len(whole)), where=whole > 0)
    other = without_each(paths.codes, paths.offsets, chosen)
    missing = (other < 0) | (whole[other] == 0)
    offsets = take_rows(paths.offsets, chosen)[1]
    sizes = np.diff(offsets)
    lost = np.repeat(rate[chosen], sizes) - np.where(missing, 0.0, rate[other])
    lost = np.maximum(lost, 0.0)
    total = reduce_rows(np.add, lost, offsets)
    lost[(offsets[1:] - 1)[total <= 0]] = 1.0
    return lost / np.repeat(np.where(total > 0, total, 1.0), sizes), missing


def without_each(codes: IntArray, offsets: IntArray, chosen: IntArray) -> IntArray:
    """Find each of the chosen paths without each of its touches among all paths.

    Parameters
    ----------
    codes, offsets
        Distinct paths.
    chosen
        Numbers of paths, none of them empty.

    Returns
    -------
    numpy.ndarray
        Shape (n_touches of the chosen paths,); the number of the path, -1 where it is none.
    """
    n_paths = len(offsets) - 1
    touches, cuts = take_rows(offsets, chosen)
    if not len(touches):
        return np.zeros(0, dtype=np.int64)
    hashes = _hashes(codes, offsets)
    if hashes is None:
        return _written_out(codes, offsets, chosen)
    sums, factor, total = hashes
    order = np.argsort(total, kind="stable")
    start = np.repeat(offsets[:-1][chosen], np.diff(cuts))
    row = np.repeat(chosen, np.diff(cuts))
    before, after = _less(sums[touches], sums[start]), _less(total[row], sums[touches + 1])
    after = _modulo(after + sums[start])
    sought = _modulo(before + _times(after, factor))
    at = np.searchsorted(total[order], sought)
    found = order[np.minimum(at, n_paths - 1)]
    shorter = np.diff(offsets)[found] == np.diff(offsets)[row] - 1
    match = np.flatnonzero((total[found] == sought) & shorter)
    result = np.full(len(touches), -1, dtype=np.int64)
    entries = offsets_of(np.diff(offsets)[found[match]])
    first = 0
    while first < len(match):
        last = int(np.searchsorted(entries, entries[first] + ENTRIES_AT_ONCE, side="right")) - 1
        block = match[first : max(first + 1, last)]
        index, own = take_rows(offsets, found[block])
        step = np.arange(len(index)) - np.repeat(own[:-1], np.diff(own))
        place = np.repeat(touches[block] - start[block], np.diff(own))
        mine = np.repeat(start[block], np.diff(own)) + step + (step >= place)
        unequal = sum_by(row_index(own), codes[index] != codes[mine], len(block))
        result[block[unequal == 0]] = found[block[unequal == 0]]
        first += len(block)
    return result


def _written_out(codes: IntArray, offsets: IntArray, chosen: IntArray) -> IntArray:
    """Do what `without_each` does by writing out each path without each touch."""
    sizes = np.diff(offsets)[chosen]
    block = np.cumsum(sizes * sizes) // ENTRIES_AT_ONCE
    places: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    for number in np.unique(block).tolist():
        rows = chosen[block == number]
        size = np.repeat(np.diff(offsets)[rows], np.diff(offsets)[rows])  # of each touch's path
        path = np.repeat(rows, np.diff(offsets)[rows])
        place = take_rows(offsets, rows)[0] - offsets[path]
        index, cuts = take_rows(offsets, path)
        left = index - offsets[np.repeat(path, size)] != np.repeat(place, size)
        places.append(_places(codes, offsets, codes[index[left]], offsets_of(np.diff(cuts) - 1)))
    return np.concatenate(places)


def _hashes(codes: IntArray, offsets: IntArray) -> tuple[Any, Any, Any] | None:
    """Return prefix sums of the terms of h, 1 / B, and h of each path; all below PRIME.

    None where two paths share a number in every draw: they would hide one another.
    """
    generator, n = generator_of(None), int(codes.max(initial=0)) + 1
    sizes = np.diff(offsets)
    step = np.arange(len(codes)) - np.repeat(offsets[:-1], sizes)
    for _ in range(DRAWS):
        drawn = generator.integers(1, PRIME, n + 1, dtype=np.uint64)
        base, values = drawn[0], drawn[1:]
        powers = np.ones(1, dtype=np.uint64)
        while len(powers) < sizes.max(initial=0):
            powers = np.append(powers, _times(powers, _times(powers[-1:], base)))
        sums = _prefix_sums(_times(values[codes], powers[step]))
        total = _less(sums[offsets[1:]], sums[offsets[:-1]])
        if len(np.unique(total)) == len(total):
            return sums, np.uint64(pow(int(base), -1, PRIME)), total
    return None


def _modulo(x: Any) -> Any:
    """Return x modulo PRIME, for any x of 64 bits."""
    x = (x >> np.uint64(61)) + (x & np.uint64(PRIME))
    return np.where(x >= PRIME, x - np.uint64(PRIME), x)


def _less(x: Any, y: Any) -> Any:
    """Return x - y modulo PRIME, for x and y below it."""
    return _modulo(x + (np.uint64(PRIME) - y))


def _times(x: Any, y: Any) -> Any:
    """Return x * y modulo PRIME, for x and y below it, from halves of 31 bits.

    With x = x1 2^31 + x0, y alike and m = x1 y0 + x0 y1, 2^61 = 1 makes 2^62 x1 y1 = 2 x1 y1 and
    2^31 m = (m >> 30) + (m mod 2^30) 2^31; the sum of all is below 2^64.
    """
    half, low = np.uint64(31), np.uint64(2**31 - 1)
    x1, x0, y1, y0 = x >> half, x & low, y >> half, y & low
    mixed = x1 * y0 + x0 * y1
    folded = (mixed >> np.uint64(30)) + ((mixed & np.uint64(2**30 - 1)) << half)
    return _modulo(np.uint64(2) * x1 * y1 + folded + x0 * y0)


def _prefix_sums(terms: Any) -> Any:
    """Return sums of the first terms modulo PRIME, from none to all; halves cannot overflow."""
    half, low = np.uint64(31), np.uint64(2**31 - 1)
    sums = np.zeros(len(terms) + 1, dtype=np.uint64)
    high = _modulo(np.cumsum(terms >> half))
    sums[1:] = _modulo(_times(high, np.uint64(2**31)) + _modulo(np.cumsum(terms & low)))
    return sums


def _places(codes: IntArray, offsets: IntArray, others: IntArray, cuts: IntArray) -> IntArray:
    """Return the number of the equal path for each of other rows, -1 where there is none."""
    number = group_paths(
        np.concatenate([codes, others]), np.concatenate([offsets, cuts[1:] + offsets[-1]])
    )
    n = len(offsets) - 1
    place = np.full(int(number.max(initial=-1)) + 1, -1, dtype=np.int64)
    place[number[:n]] = np.arange(n)
    return place[number[n:]]


def _or_zero(values: FloatArray | None) -> FloatArray:
    return np.zeros(1) if values is None else values
