"""The additive hazard as a model: credit by what the hazard at the conversion is made of.

`attribution.models.hazard_fit` has the likelihood. Of a conversion at T, touch i of channel c gets

    beta_c omega_c exp(-omega_c (T - t_i)) / lambda(T),

and the baseline mu / lambda(T).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.durations import MICROSECONDS_PER_DAY, Duration, microseconds
from attribution.errors import warn
from attribution.journeys import Journeys
from attribution.models.base import (
    Kind,
    Model,
    Outcome,
    channel_index,
    checked_statistic,
    codes_among,
    outcome_of,
)
from attribution.models.games import subset_sums
from attribution.models.hazard_fit import HazardFit, fit_hazard
from attribution.models.markov import warn_of_certain_conversion
from attribution.models.records import TimedPaths, watched
from attribution.models.spread import credit_of_rows
from attribution.results import Attribution
from attribution.segments import offsets_of, reduce_rows, row_index, sum_by, take_rows
from attribution.spec import EventSpec
from attribution.statistics import Statistic

ENTRIES_AT_ONCE = 2**22
UNITS = {
    "D": MICROSECONDS_PER_DAY,
    "h": 3_600_000_000,
    "min": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}


@dataclass(frozen=True, kw_only=True)
class AdditiveHazard(Model):
    """Touches that raise the rate of conversion for a while, over a baseline that is always there.

    It tells conversions that would have come anyway from those that touches bring forward, by when
    they come: soon after a touch, or whenever. It needs ages, journeys without conversion, and
    journeys that are observed for some time after their touches. Touches are taken as given: where
    people who are about to buy seek a channel, it will seem to cause what it only precedes.
    Observation starts at the first touch, so a journey is in the baseline only from there. The
    statistic holds every row and grows with the data; fitted half-lives come from a local maximum,
    and mean little for channels of few conversions.

    No time of a person counts twice. Touches older than the lookback before a conversion are a row
    of their own; it is observed only until the next row of the same user and type of conversion
    begins. So the rows of a person must be in one part of a stream. A touch works for the lookback
    at most, and time without a touch that recent is not observed. With lookbacks by type of touch
    the longest counts for all, and rows of a person can interleave: then some time still counts
    twice. Journeys built with `reuse_touches` are refused: their rows share touches. So are those
    whose `inactivity` is shorter than the lookback: rows that do not convert would end too soon.

    A conversion at the very instant of a touch counts for it: times are taken as no finer than an
    hour (or the half-life given, if shorter).

    Parameters
    ----------
    half_life
        Time in which the effect of a touch fades to one half, such as "7D"; for all channels. It is
        kept as text in its longest whole unit: "48h" becomes "2D". None:
        one for each channel is fitted, between an hour and the longest age: what fades more slowly
        cannot be told from the baseline.

    Raises
    ------
    InputError
        If the half-life is not a positive length of time, or the journeys have no ages.

    Notes
    -----
    lambda(t) = mu + sum over earlier touches of beta omega exp(-omega (t - t_i)), omega =
    ln 2 / half-life; mu and beta >= 0 maximise the likelihood. `effect` is beta, conversions per
    touch in the long run; `half_life` (days) is NaN where it is 0. Zhang, Wei and Ren (2014), plus
    a baseline.

    Examples
    --------
    Of 30 journeys over `a`, watched for up to 10 days, 10 convert, mostly within a day. Of 23 over
    `b` 3 convert, at any time:

    >>> from attribution import Journey, Touchpoint
    >>> def seen(channel, days, conversions, nulls):
    ...     touch = Touchpoint(channel, datetime(2025, 3, 1))
    ...     end = datetime(2025, 3, 1) + timedelta(days=days)
    ...     return Journey([touch], conversions, nulls=nulls, end=end)
    >>> from datetime import datetime, timedelta
    >>> rows = [seen(*each) for each in [
    ...     ("a", 0.5, 8, 0), ("a", 3, 1, 0), ("a", 8, 1, 0), ("a", 10, 0, 20),
    ...     ("b", 2, 1, 0), ("b", 5, 1, 0), ("b", 8, 1, 0), ("b", 10, 0, 20),
    ... ]]
    >>> result = AdditiveHazard(half_life="12h").attribute(Journeys.from_journeys(rows))
    >>> result.to_frame()[["conversions", "effect"]].round(2)
             conversions  effect
    channel
    a               7.94    0.31
    b               0.00    0.00
    >>> round(result.baseline, 2)
    5.06
    """

    key: ClassVar[str] = "additive_hazard"
    kind: ClassVar[Kind] = "data"
    separable: ClassVar[bool] = False
    needs: ClassVar = ("ages",)
    half_life: Duration | None = None

    def __post_init__(self) -> None:
        if self.half_life is not None:
            object.__setattr__(self, "half_life", _shortest_text(self.half_life))

    def _days(self) -> float | None:
        if self.half_life is None:
            return None
        return microseconds(self.half_life, "half_life") / MICROSECONDS_PER_DAY

    def unmet(self, journeys: Journeys) -> str | None:
        """Refuse journeys whose times at risk cannot be told; see `Model.unmet`."""
        if journeys.spec is not None and journeys.spec.reuse_touches:
            return (
                "AdditiveHazard needs journeys in which no time of a person counts twice; these "
                "share touches between conversions. Hint: build them with reuse_touches=False."
            )
        if journeys.spec is not None and _stops_early(journeys.spec):
            return (
                "AdditiveHazard needs quiet time to count whether or not it ends in a conversion; "
                "with inactivity shorter than the lookback it counts only where it does. Hint: "
                "leave inactivity out."
            )
        return super().unmet(journeys)

    def summarize(self, journeys: Journeys) -> TimedPaths:
        """Keep the rows that have touches."""
        self.require(journeys)
        return TimedPaths.of_journeys(self, journeys)

    def solve(self, statistic: Statistic) -> Attribution:
        """Maximise the likelihood and share out each row by itself."""
        rows = checked_statistic(self, TimedPaths, statistic)
        warn_of_certain_conversion(rows.conversions, rows.nulls)
        fit = self.fit(rows)
        part, alone = shares_of_hazard(fit, rows.codes, rows.ages, rows.offsets)
        n = len(rows.channels)

        def credit(outcome: FloatArray) -> FloatArray:
            return credit_of_rows(rows.codes, rows.offsets, part, outcome, n)

        return Attribution.of(
            rows,
            model=self.name,
            conversions=credit(rows.conversions),
            values=None if rows.values is None else credit(rows.values),
            baseline=float(alone @ rows.conversions),
            baseline_value=None if rows.values is None else float(alone @ rows.values),
            extra={"effect": fit.effects, "half_life": np.log(2) / fit.rates},
            details={
                "baseline_rate": fit.baseline_rate,
                "log_likelihood": fit.log_likelihood,
                "n_iterations": fit.n_iterations,
                "converged": fit.converged,
                "resolution": fit.resolution,
            },
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Share out each journey, but for its baseline, by the fit of the result."""
        outcome = outcome_of(journeys, of)
        self.require(journeys)
        if attribution is None:
            attribution = self.attribute(journeys)
        index = channel_index(self, journeys, attribution, of)
        effects, half_life = (attribution.extra[name][index] for name in ("effect", "half_life"))
        details = attribution.details
        fit = HazardFit(
            details["baseline_rate"],
            effects,
            np.log(2) / half_life,
            details["log_likelihood"],
            details["n_iterations"],
            details["converged"],
            details["resolution"],
        )
        share, _ = shares_of_hazard(fit, journeys.codes, watched(journeys)[0], journeys.offsets)
        return share * np.repeat(outcome, journeys.lengths)

    def predict(self, statistic: Statistic, journeys: Journeys) -> FloatArray:
        """Return 1 - exp(-H) of each row: that it converts within the time it was observed for.

        That time ends with the conversion where there is one: only rows that are given to the same
        moment tell who is more likely to convert. See `attribution.models.base.Predictor`.
        """
        rows = checked_statistic(self, TimedPaths, statistic)
        self.require(journeys)
        fit, codes = self.fit(rows), codes_among(rows.channels, journeys)
        ages, days = watched(journeys)
        cumulated = fit.baseline_cumulated(days)
        cumulated += reduce_rows(np.add, fit.cumulated(codes, ages), journeys.offsets)
        return np.where(journeys.lengths > 0, -np.expm1(-cumulated), np.nan)

    def response(self, statistic: Statistic) -> HazardResponse:
        """Return the mean of 1 - exp(-H) with touches of S only, less that with none.

        See `attribution.models.base.Responsive`.
        """
        rows = checked_statistic(self, TimedPaths, statistic)
        fit, n = self.fit(rows), max(1, len(rows.channels))
        pairs, pair = np.unique(rows.rows * np.int64(n) + rows.codes, return_inverse=True)
        sizes = np.bincount(pairs // n, minlength=len(rows.offsets) - 1)
        weights = rows.conversions + rows.nulls
        return HazardResponse(
            channels=rows.channels,
            members=pairs % n,
            offsets=offsets_of(sizes),
            cumulated=sum_by(pair, fit.cumulated(rows.codes, rows.ages), len(pairs)),
            baseline=fit.baseline_cumulated(rows.days),
            weights=weights / max(float(weights.sum()), 1e-300),
        )

    def fit(self, rows: TimedPaths) -> HazardFit:
        """Return the fit of the rows, with a warning where it did not converge."""
        fit = fit_hazard(
            rows.codes,
            rows.ages,
            rows.offsets,
            rows.days,
            rows.conversions,
            rows.nulls,
            len(rows.channels),
            self._days(),
        )
        if not fit.converged:
            warn(
                f"The likelihood of {self.name} had not reached its maximum after "
                f"{fit.n_iterations} iterations; the result is the best so far. Hint: give a "
                "half_life, or fewer channels by transforms.regroup."
            )
        return fit


@dataclass(frozen=True, eq=False)
class HazardResponse:
    """Mean conversion probability with some channels less that with none.

    Attributes
    ----------
    channels
        The n names.
    members, offsets
        Distinct channels of each row.
    cumulated
        Shape (n_members,); what the touches of the channel add to H.
    baseline
        Shape (n_rows,); mu D.
    weights
        Shape (n_rows,); share of all journeys.
    """

    channels: tuple[str, ...]
    members: IntArray
    offsets: IntArray
    cumulated: FloatArray
    baseline: FloatArray
    weights: FloatArray

    def __call__(self, channels: frozenset[str]) -> float:
        """Return the rate with these channels less the rate with none."""
        inside = np.array([name in channels for name in self.channels], dtype=bool)
        own = np.where(inside[self.members], self.cumulated, 0.0)
        added = reduce_rows(np.add, own, self.offsets)
        return float((self.weights * np.exp(-self.baseline)) @ -np.expm1(-added))

    def worths(self) -> FloatArray:
        """Return the same for every set, shape (2**n,).

        What a row adds depends on its own channels only: sets of them are worth exp(-mu D) times
        1 - prod of exp(-h_c), whose unique parts (dividends), prod of (exp(-h_c) - 1), are added
        up over the rows; sums over subsets then give all worths.
        """
        n = len(self.channels)
        dividends = np.zeros(2**n)
        sizes = np.diff(self.offsets)
        scale = self.weights * np.exp(-self.baseline)
        for size in np.unique(sizes[sizes > 0]).tolist():
            chosen = np.flatnonzero(sizes == size)
            at_once = max(1, ENTRIES_AT_ONCE >> size)
            for first in range(0, len(chosen), at_once):
                block = chosen[first : first + at_once]
                index, _ = take_rows(self.offsets, block)
                added = np.expm1(-self.cumulated[index]).reshape(-1, size)
                bits = np.int64(1) << self.members[index].reshape(-1, size).astype(np.int64)
                masks, parts = np.zeros((len(block), 1), np.int64), -scale[block][:, None]
                for j in range(size):
                    masks = np.concatenate([masks, masks | bits[:, j, None]], axis=1)
                    parts = np.concatenate([parts, parts * added[:, j, None]], axis=1)
                dividends += np.bincount(masks.ravel(), parts.ravel(), 2**n)
        dividends[0] = 0.0
        return subset_sums(dividends)


def shares_of_hazard(
    fit: HazardFit, codes: IntArray, ages: FloatArray, offsets: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return each touch's share of the hazard at the end of its row, and the baseline's.

    Returns
    -------
    shares, baseline
        Shapes (n_touches,) and (n_rows,); all to baseline where the hazard is 0.
    """
    own = fit.hazards(codes, ages)
    hazard = fit.baseline_rate + reduce_rows(np.add, own, offsets)
    nothing = hazard <= 0
    hazard[nothing] = 1.0
    baseline = np.where(nothing, 1.0, fit.baseline_rate / hazard)
    return own / hazard[row_index(offsets)], baseline


def _stops_early(spec: EventSpec) -> bool:
    """Tell whether a journey without conversion ends while one could still be its own."""
    if spec.inactivity is None:
        return False
    return spec.longest_lookback is None or spec.inactivity < spec.longest_lookback


def _shortest_text(half_life: Duration) -> str:
    """Write a half-life in the longest unit that divides it, so that equal ones are equal."""
    length = microseconds(half_life, "half_life")
    unit = next(name for name, size in UNITS.items() if length % size == 0)
    return f"{length // UNITS[unit]}{unit}"
