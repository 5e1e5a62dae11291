"""Bagged logistic regression of conversion on the presence of channels.

The log-odds of conversion of a journey whose channels are S are taken as

    log p(S) / (1 - p(S)) = b_0 + sum of b_c over c in S.

One regression on all channels is unsteady where channels occur together. So many are fitted, each
to a random part of the journeys and of the channels, and the coefficient of a channel is its mean
over the fits that hold it; a channel that was not drawn has no estimate there, and is not counted
as 0. In a single fit the intercept also stands for the channels left out, so it is not averaged:
b_0 is chosen in the end so that expected conversions, sum of p(S) over all journeys, are those
observed. With all channels and all journeys in every fit, that is the plain regression.

A conversion of S would have happened anyway with p(empty) / p(S), at most 1: that part is baseline.
The rest is shared over the channels of S in proportion to max(b_c, 0).

Every fit minimises mean log-loss + penalty / 2 * sum of b_c^2 (b_0 is free), which has one solution
also where channels always occur together or separate the outcomes, and does not depend on the scale
of the counts. A channel in all or none of the drawn journeys has nothing to be compared with: that
fit does not hold it. Where no fit holds a channel its coefficient is 0.

Source: Shao and Li (2011), Data-driven multi-touch attribution models (the bagged regressions;
baseline and shares are of this library).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError, MissingDependencyError, warn
from attribution.journeys import Journeys
from attribution.models.base import (
    Kind,
    Model,
    Outcome,
    checked_statistic,
)
from attribution.models.coalitions import coalitions_of, sets_of
from attribution.models.markov import warn_of_certain_conversion
from attribution.models.records import by_size, presence_table
from attribution.models.sampling import generator_of
from attribution.models.spread import basis_of_credit, credit_of_rows, spread_over_touches
from attribution.results import Attribution
from attribution.segments import reduce_rows, row_index, sum_by
from attribution.statistics import CoalitionCounts, Statistic

PRECISION = 1e-10  # of the gradient of a mean log-loss
DENSE_ENTRIES = 200_000  # of a design that is not worth being sparse


@dataclass(frozen=True, kw_only=True)
class BaggedLogistic(Model):
    """Channels by their mean coefficient in many logistic regressions, beside a baseline.

    It assumes that channels act on the log-odds one by one: no order, no repetition, no joint
    effect. It says how conversion goes along with presence, not what causes it: a channel sought by
    those who buy anyway has a large coefficient. Journeys without conversion are needed; without
    any, all is baseline. Needs scikit-learn: pip install 'multitouch-attribution[learn]'.

    Random parts are drawn over channels ordered by how many journeys hold them, then by conversions
    and, where both are equal, by name: other names give the same result unless there are such ties.

    Parameters
    ----------
    n_models
        Number of regressions.
    sample_share
        Probability with which each journey enters a fit, above 0 and at most 1. The journeys of a
        set of channels are drawn at once, so cost does not grow with their number. What exceeds a
        whole number enters by its share.
    channel_share
        Share of the channels in each fit, above 0 and at most 1, rounded, at least one.
    penalty
        Of squared coefficients, per journey; above 0.
    random_state
        Seed. None: a fixed one, so that the same input gives the same output.

    Raises
    ------
    InputError
        If an option is out of range.
    MissingDependencyError
        If scikit-learn is not installed.

    Examples
    --------
    Three of four journeys over `a` convert, one of four without it, whatever else they hold. So a
    third of the conversions over `a`, and all others, would have come anyway:

    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a > b", "a", "b", "c"], "conversions": [9, 9, 3, 3], "nulls": [3, 3, 9, 9]
    ... })
    >>> model = BaggedLogistic(n_models=20, channel_share=1, sample_share=1)
    >>> result = model.attribute(Journeys.from_paths(table, nulls="nulls"))
    >>> result.to_frame()["conversions"].round(2).to_dict(), round(result.baseline, 2)
    ({'a': 12.0, 'b': 0.0, 'c': 0.0}, 12.0)
    """

    key: ClassVar[str] = "bagged_logistic"
    kind: ClassVar[Kind] = "data"
    separable: ClassVar[bool] = False
    n_models: int = 100
    sample_share: float = 0.5
    channel_share: float = 0.5
    penalty: float = 1e-6
    random_state: int | None = None

    def __post_init__(self) -> None:
        n = self.n_models
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
            raise InputError(f"n_models={n!r} is not a positive whole number. Hint: n_models=100.")
        for name in ("sample_share", "channel_share"):
            share = getattr(self, name)
            if not isinstance(share, Real) or not 0 < share <= 1:
                raise InputError(f"{name}={share!r} is no share. Hint: above 0 and at most 1.")
        if not isinstance(self.penalty, Real) or not 0 < self.penalty < np.inf:
            raise InputError(f"penalty={self.penalty!r} is not positive. Hint: penalty=1e-6.")
        generator_of(self.random_state)

    def unmet(self, journeys: Journeys) -> str | None:
        """Say that scikit-learn is not installed; see `Model.unmet`."""
        return _lack() or super().unmet(journeys)

    def require(self, journeys: Journeys) -> None:
        """Raise `MissingDependencyError` without scikit-learn; see `Model.require`."""
        _require_package()
        super().require(journeys)

    def summarize(self, journeys: Journeys) -> CoalitionCounts:
        """Count the journeys of each set of channels."""
        self.require(journeys)
        return coalitions_of(self, journeys)

    def solve(self, statistic: Statistic) -> Attribution:
        """Fit the regressions and share out each set of channels by itself."""
        sets = checked_statistic(self, CoalitionCounts, statistic)
        warn_of_certain_conversion(sets.conversions, sets.nulls)
        fit = self.fit(sets)
        shares, baseline = shares_of(fit, sets.members, sets.offsets)
        n = len(sets.channels)

        def credit(outcome: FloatArray) -> FloatArray:
            return credit_of_rows(sets.members, sets.offsets, shares, outcome, n)

        return Attribution.of(
            sets,
            model=self.name,
            conversions=credit(sets.conversions),
            values=None if sets.values is None else credit(sets.values),
            baseline=float(baseline @ sets.conversions),
            baseline_value=None if sets.values is None else float(baseline @ sets.values),
            extra={"coefficient": fit.coefficients},
            details={
                "intercept": fit.intercept,
                "base_rate": fit.base_rate,
                "n_fits": fit.n_fits,
            },
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Share out each journey, but for its baseline, by the coefficients of the result."""
        outcome, attribution, index = basis_of_credit(self, journeys, attribution, of)
        details = attribution.details
        fit = Fit(
            attribution.extra["coefficient"][index],
            details["intercept"],
            details["base_rate"],
            details["n_fits"],
        )
        share, _ = shares_of(fit, *sets_of(journeys))
        return spread_over_touches(journeys, share) * np.repeat(outcome, journeys.lengths)

    def predict(self, statistic: Statistic, journeys: Journeys) -> FloatArray:
        """Return p(S) of the channels S of each row; see `attribution.models.base.Predictor`."""
        sets = checked_statistic(self, CoalitionCounts, statistic)
        fit = self.fit(sets)
        coefficient = dict(zip(sets.channels, fit.coefficients.tolist(), strict=True))
        own = np.array([coefficient.get(name, 0.0) for name in journeys.channels])
        row, code = journeys.distinct
        rates = fit.rate(sum_by(row, own[code], len(journeys)))
        return np.where(journeys.lengths > 0, rates, np.nan)

    def response(self, statistic: Statistic) -> LogisticResponse:
        """Return p(S) - p(empty) as a function of S; see `attribution.models.base.Responsive`."""
        sets = checked_statistic(self, CoalitionCounts, statistic)
        return LogisticResponse(sets.channels, self.fit(sets))

    def fit(self, sets: CoalitionCounts) -> Fit:
        """Return the mean coefficients and the intercept that fits them."""
        _require_package()
        n, generator = len(sets.channels), generator_of(self.random_state)
        whole = sets.conversions + sets.nulls
        journeys = float(whole.sum())
        rate = float(sets.conversions.sum() / journeys) if journeys else None
        if not n or not rate or rate == 1:
            return Fit(np.zeros(n), None, rate, 0)
        rank, members, order = by_size(sets)
        table, counts = (
            presence_table(members, sets.offsets, order, n),
            (sets.conversions, sets.nulls),
        )
        n_drawn = min(n, max(1, round(self.channel_share * n)))
        sums, held, n_fits = np.zeros(n), np.zeros(n), 0
        for _ in range(self.n_models if self.sample_share < 1 or n_drawn < n else 1):
            chosen = np.sort(generator.permutation(n)[:n_drawn])
            yes, no = (drawn_journeys(x[order], self.sample_share, generator) for x in counts)
            if not (yes.any() and no.any()):
                continue
            varies, coefficients = self._coefficients(table, chosen, yes, no)
            sums[chosen[varies]] += coefficients
            held[chosen[varies]] += 1
            n_fits += 1
        seen = sum_by(members, np.repeat(whole > 0, np.diff(sets.offsets)), n)
        self._warn_of_gaps(n_fits, held, (seen > 0) & (seen < np.count_nonzero(whole)))
        mean = (sums / np.maximum(held, 1))[rank]
        odds = sum_by(row_index(sets.offsets), mean[sets.members], len(whole))
        return Fit(mean, intercept_of(odds, whole / journeys, rate), rate, n_fits)

    def _warn_of_gaps(self, n_fits: int, held: FloatArray, varies: Any) -> None:
        hint = "Hint: a larger n_models or sample_share."
        if not n_fits:
            warn(f"No fit of {self.name} saw both outcomes, so all is baseline. {hint}")
        elif (varies & (held == 0)).any():
            n = np.count_nonzero(varies & (held == 0))
            warn(f"{n} of {len(held)} channels are in no fit of {self.name}: no credit. {hint}")

    def _coefficients(
        self, table: Any, chosen: IntArray, conversions: FloatArray, nulls: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Fit one regression.

        Returns
        -------
        varies, coefficients
            Which of the chosen channels are in some but not all drawn journeys, and theirs.
        """
        import sklearn
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        drawn = np.flatnonzero(conversions + nulls)
        presence = table[drawn][:, chosen]
        n_sets = np.bincount(presence.indices, minlength=len(chosen))
        varies = np.flatnonzero((n_sets > 0) & (n_sets < len(drawn)))
        if not len(varies):
            return varies, np.zeros(0)
        presence = presence[:, varies]
        yes, no = conversions[drawn], nulls[drawn]
        pull = np.append(presence.T @ (yes - no), (yes - no).sum()) / (2 * (yes + no).sum())
        if np.abs(pull).max() <= PRECISION:
            return varies, np.zeros(len(varies))  # the solution; the solver cannot start there
        converts, fails = yes > 0, no > 0
        weight = np.concatenate([yes[converts], no[fails]])
        outcome = np.repeat([1, 0], [np.count_nonzero(converts), np.count_nonzero(fails)])
        design = sparse.vstack([presence[converts], presence[fails]], format="csr")
        options = {"solver": "newton-cholesky", "tol": PRECISION, "max_iter": 1000}
        regression: Any = LogisticRegression(C=1.0 / self.penalty, **options)
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            small = design.shape[0] * design.shape[1] <= DENSE_ENTRIES
            regression.fit(design.toarray() if small else design, outcome, weight / weight.sum())
        return varies, np.asarray(regression.coef_[0])


class Fit(NamedTuple):
    """What was learned.

    Attributes
    ----------
    coefficients
        Shape (n_channels,); in log-odds.
    intercept
        Log-odds without any channel; None where all journeys convert, or none does.
    base_rate
        Share of all journeys that convert; None where there is none.
    n_fits
        Regressions that saw both outcomes.
    """

    coefficients: FloatArray
    intercept: float | None
    base_rate: float | None
    n_fits: int

    def rate(self, odds: FloatArray) -> FloatArray:
        """Return the rate at what channels add to the log-odds."""
        if self.intercept is None:
            return np.full(len(odds), np.nan if self.base_rate is None else self.base_rate)
        return np.asarray(np.exp(_log_rate(self.intercept + odds)))


@dataclass(frozen=True, eq=False)
class LogisticResponse:
    """p(S) - p(empty) of a fit; see `attribution.models.base.Response`."""

    channels: tuple[str, ...]
    fit: Fit

    def __call__(self, channels: frozenset[str]) -> float:
        """Return the rate with these channels less the rate with none."""
        inside = np.array([name in channels for name in self.channels], dtype=bool)
        rate = self.fit.rate(np.array([self.fit.coefficients[inside].sum(), 0.0]))
        return float(rate[0] - rate[1])

    def worths(self) -> FloatArray:
        """Return the same for every set, shape (2**n,)."""
        odds = np.zeros(1)
        for coefficient in self.fit.coefficients:
            odds = np.concatenate([odds, odds + coefficient])
        rates = self.fit.rate(odds)
        return np.asarray(rates - rates[0])


def shares_of(fit: Fit, members: IntArray, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return each member's share of the conversions of its set, and the baseline's.

    Returns
    -------
    shares, baseline
        Shapes (n_members,) and (n_sets,); they sum to 1 over each set and its baseline.
    """
    if fit.intercept is None:
        return np.zeros(len(members)), np.ones(len(offsets) - 1)
    sizes, own = np.diff(offsets), fit.coefficients[members]
    positive = np.maximum(own, 0.0)
    odds, whole = (reduce_rows(np.add, each, offsets) for each in (own, positive))
    log_ratio = _log_rate(np.float64(fit.intercept)) - _log_rate(fit.intercept + odds)
    baseline = np.where(whole > 0, np.exp(np.minimum(log_ratio, 0.0)), 1.0)
    scale = (1.0 - baseline) / np.where(whole > 0, whole, 1.0)
    return positive * np.repeat(scale, sizes), baseline


def drawn_journeys(counts: FloatArray, share: float, generator: np.random.Generator) -> FloatArray:
    """Draw journeys, each with the same probability; what exceeds a whole number by its share."""
    if share == 1:
        return counts
    whole = np.floor(np.minimum(counts, 2.0**62))
    return generator.binomial(whole.astype(np.int64), share) + share * (counts - whole)


def intercept_of(odds: FloatArray, weights: FloatArray, rate: float) -> float:
    """Return the b at which the weighted mean of 1 / (1 + exp(-b - odds)) is the rate.

    By Newton steps, halved into the bracket where they leave it: the mean rises with b.
    """
    start = np.log(rate) - np.log1p(-rate)
    low, high = start - odds.max(), start - odds.min()
    b = float(np.clip(start - weights @ odds, low, high))
    for _ in range(200):
        p = np.exp(_log_rate(b + odds))
        excess, slope = float(weights @ p) - rate, float(weights @ (p * (1.0 - p)))
        low, high = (low, min(high, b)) if excess > 0 else (max(low, b), high)
        step = b - excess / slope if slope > 0 else np.nan
        step = float(step if low <= step <= high else (low + high) / 2)
        if abs(step - b) <= 4e-16 * abs(b):
            break
        b = step
    return b


def _log_rate(odds: Any) -> Any:
    return -np.logaddexp(0.0, -odds)


def _require_package() -> None:
    lack = _lack()
    if lack is not None:
        raise MissingDependencyError(lack)


def _lack() -> str | None:
    """Return that scikit-learn is not installed, or None."""
    try:
        import sklearn.linear_model  # noqa: F401
    except ImportError:
        hint = "Hint: pip install 'multitouch-attribution[learn]'."
        return f"BaggedLogistic needs scikit-learn. {hint}"
    return None
