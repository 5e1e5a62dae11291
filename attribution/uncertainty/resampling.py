"""Intervals, probabilities and differences of attributed credit, by resampling users.

`resample` reads the journeys once and solves every model on every resample; all else is read off
its draws. The same resamples serve all models and columns, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, get_args

import numpy as np

from attribution.arrays import BoolArray, FloatArray, FrozenDict, Immutable, own
from attribution.compare import choose, comparison_of
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models import DEFAULT_MODELS
from attribution.models.base import Model, Outcome, Partitioned
from attribution.models.sampling import generator_of
from attribution.results import Attribution, Comparison
from attribution.uncertainty.bounds import Ends, require_confidence, with_intervals
from attribution.uncertainty.bucketed import Bucketed, bucketed
from attribution.uncertainty.buckets import TOTALS, Plan
from attribution.uncertainty.replicates import (
    Method,
    bootstrap_weights,
    jackknife_weights,
    replicates,
)

if TYPE_CHECKING:
    import pandas as pd

FEWEST_BUCKETS = 20
FIELDS = {  # of an attribution, by name of the total
    "conversions": "total_conversions",
    "value": "total_value",
    "unattributed": "unattributed",
    "unattributed_value": "unattributed_value",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to resample: the options that `resample`, `intervals` and others share, checked.

    Raises
    ------
    InputError
        If one is out of range.
    """

    n_resamples: int = 1000
    method: Method = "bootstrap"
    n_buckets: int = 200
    random_state: int | np.random.Generator | None = None

    def __post_init__(self) -> None:
        for name, least in (("n_resamples", 2), ("n_buckets", FEWEST_BUCKETS)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, Integral) or number < least:
                raise InputError(f"{name}={number!r} is not a whole number of at least {least}.")
        if self.method not in get_args(Method):
            raise InputError(f"method={self.method!r} is not one of {get_args(Method)}.")

    def plan(self) -> tuple[Plan, int]:
        """Return how to spread users, and the seed of the draws."""
        salt, seed = generator_of(self.random_state).integers(2**62, size=2).tolist()
        return Plan(int(self.n_buckets), salt), seed

    def weights(self, units: FloatArray, seed: int, filled: BoolArray | None = None) -> FloatArray:
        """Return the weights of the buckets in every resample; see `jackknife_weights`."""
        if self.method == "jackknife":
            return jackknife_weights(units, filled)
        return bootstrap_weights(units, int(self.n_resamples), np.random.default_rng(seed))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Resamples(Immutable):
    """Models side by side, and what they give on resamples of the users; immutable.

    Attributes
    ----------
    comparison
        Of the journeys themselves.
    draws
        By model, then by column of its table: shape (n_resamples, n_channels). Also
        "total_conversions" and the like, "baseline" and "unattributed": shape (n_resamples, 1).
    method
        "bootstrap" or "jackknife".
    n_units, n_buckets
        Users (journeys, where there are none), and buckets that hold any of them.
    """

    comparison: Comparison
    draws: Mapping[str, Mapping[str, FloatArray]]
    method: Method
    n_units: float
    n_buckets: int

    def __post_init__(self) -> None:
        owned = {
            name: FrozenDict({column: own(draw) for column, draw in draws.items()})
            for name, draws in self.draws.items()
        }
        object.__setattr__(self, "draws", FrozenDict(owned))
        super().__post_init__()

    def __repr__(self) -> str:
        return (
            f"<Resamples of {len(self.draws)} models: {self.method}, {self.n_units:,.15g} units in "
            f"{self.n_buckets} buckets>"
        )

    def intervals(self, confidence: float = 0.9) -> Comparison:
        """Return the comparison with an interval for every figure; see `intervals`."""
        ends = self._ends(confidence)
        found = {
            name: with_intervals(result, self.draws[name], ends, self.n_units)
            for name, result in self.comparison.attributions.items()
        }
        return replace(self.comparison, attributions=found)

    def _ends(self, confidence: float) -> Ends:
        return Ends(confidence=confidence, method=self.method, n_buckets=self.n_buckets)

    def difference(
        self,
        first: str,
        second: str,
        of: Outcome = "conversions",
        *,
        share: bool = False,
        confidence: float = 0.9,
    ) -> pd.DataFrame:
        """Say by how much one model gives each channel more than another.

        Both are solved on the same resamples, so what moves both alike cancels.

        Parameters
        ----------
        first, second
            Names of the models.
        of
            The outcome.
        share
            Of shares instead of amounts.
        confidence
            Of the interval.

        Returns
        -------
        pandas.DataFrame
            Index channel; difference (first minus second), difference_low, _high, _se.

        Raises
        ------
        InputError
            If a model was not compared, or has no such column.
        """
        import pandas as pd

        column = f"{of}_share" if share else of
        (a, drawn_a), (b, drawn_b) = (self._column(name, column) for name in (first, second))
        interval = self._ends(confidence).of(a - b, drawn_a - drawn_b, signed=True)
        index = pd.Index(self.comparison[first].channels, name="channel", dtype="str")
        frame = {f"difference{end}": each for end, each in interval.items()}
        return pd.DataFrame({"difference": a - b, **frame}, index=index)

    def probability_of_more(self, model: str, of: Outcome = "conversions") -> pd.DataFrame:
        """Return the share of resamples in which one channel earns more than another.

        Ties count one half. Read it as the probability, given the data, that the channel of the
        row earns more than the channel of the column under this model; it says nothing on whether
        the model is right.

        Returns
        -------
        pandas.DataFrame
            Shape (n_channels, n_channels).

        Raises
        ------
        InputError
            If the model was not compared, or these are no bootstrap resamples.
        """
        import pandas as pd

        if self.method != "bootstrap":
            raise InputError(f"The {self.method} gives no probabilities. Hint: method='bootstrap'.")
        _, drawn = self._column(model, of)
        names = self.comparison[model].channels
        more = np.full((len(names), len(names)), np.nan)
        for channel, column in enumerate(drawn.T):
            gap = column[:, None] - drawn
            known = ~np.isnan(gap)
            wins = ((gap > 0) + 0.5 * (gap == 0)).sum(axis=0)
            np.divide(wins, known.sum(axis=0), out=more[channel], where=known.any(axis=0))
        index = pd.Index(names, name="channel", dtype="str")
        return pd.DataFrame(more, index=index, columns=index.rename("than"))

    def _column(self, model: str, column: str) -> tuple[FloatArray, FloatArray]:
        """Return a column of a model's table and its draws."""
        known = self.comparison[model].columns
        if column not in known:
            raise InputError(
                f"{model} has no column {column!r}; it has {', '.join(map(repr, known))}."
            )
        return known[column], self.draws[model][column]


def resample(
    journeys: Journeys | Iterable[Journeys] | Partitioned,
    models: Sequence[str | Model] = DEFAULT_MODELS,
    exclude: Collection[str] | None = None,
    *,
    n_resamples: int = 1000,
    method: Method = "bootstrap",
    n_buckets: int = 200,
    random_state: int | np.random.Generator | None = None,
) -> Resamples:
    """Solve several models on the same resamples of the users; see `intervals`.

    Parameters
    ----------
    journeys, models, exclude
        As in `compare`.
    n_resamples, method, n_buckets, random_state
        As in `intervals`.

    Examples
    --------
    >>> from attribution.datasets import load_events
    >>> journeys = Journeys.from_events(load_events())
    >>> drawn = resample(journeys, ["linear", "markov"], random_state=1)
    >>> drawn.probability_of_more("markov").loc["paid_search", "email"].item()
    1.0
    >>> gap = drawn.difference("markov", "linear").loc["affiliate"]
    >>> [round(gap[name]) for name in ("difference", "difference_low", "difference_high")]
    [70, 48, 98]
    """
    options = Options(
        n_resamples=n_resamples, method=method, n_buckets=n_buckets, random_state=random_state
    )
    chosen = choose(models, exclude)
    plan, seed = options.plan()
    sums = bucketed(chosen, journeys, plan)
    return resamples_of(chosen, sums, options.weights(sums.totals[:, 0], seed), options.method)


def resamples_of(
    chosen: Mapping[str, Model], sums: Bucketed, weights: FloatArray, method: Method
) -> Resamples:
    """Return what models give on resamples of given weights, shape (n_resamples, n_buckets)."""
    comparison = comparison_of(chosen, sums.summaries)
    drawn = weights @ sums.totals
    totals = {FIELDS[name]: drawn[:, [i]] for i, name in enumerate(TOTALS) if name in FIELDS}
    return Resamples(
        comparison=comparison,
        draws={
            name: replicates(chosen[name], sums.spreads[name], sums.totals, weights) | totals
            for name in comparison
        },
        method=method,
        n_units=float(sums.totals[:, 0].sum()),
        n_buckets=int((sums.totals[:, 0] > 0).sum()),
    )


def intervals(
    model: str | Model,
    journeys: Journeys | Iterable[Journeys] | Partitioned,
    *,
    confidence: float = 0.9,
    n_resamples: int = 1000,
    method: Method = "bootstrap",
    n_buckets: int = 200,
    random_state: int | np.random.Generator | None = None,
) -> Attribution:
    """Attribute, and say how sure every figure is.

    Users are resampled with all their journeys; the model is solved anew on each resample. An
    interval says how far the figure would move with other people from the same population. It
    says nothing on whether the model is right about causes: a wrong model can be very sure.

    A path table carries no users: there every journey is resampled by itself, and intervals are
    too narrow where people come back, the more the more often they do. Value is spread over the
    journeys of a row in proportion to their conversions, so that of a path table is surer than it
    should be, too.

    Rules and small Markov chains are solved as one batch; other models anew on each resample, which
    takes two minutes for `AdditiveHazard` on 20,000 journeys: fewer `n_resamples` or the jackknife
    will do.

    Over 500 simulated worlds 90 % intervals hold the population value in 88 to 90 % for channels of
    50 conversions and more, in 87 to 89 % for those of 3 to 6 (single ones down to 79 %: of a
    channel without any conversion in the log nothing is known, and its interval is [0, 0]).
    Rare large orders are beyond resampling: with 100 orders of lognormal value 90 % intervals of
    value hold in 89, 86, 82 and 69 % for a log-scale deviation of 0.5, 1, 1.5 and 2.

    Parameters
    ----------
    model
        A model or its name.
    journeys
        As in `compare`; also a stream that is read once, or what an engine has scanned. Where parts
        of a stream share users, their keys are held in memory, 8 bytes each.
    confidence
        Of the intervals, between 0 and 1.
    n_resamples
        Of the bootstrap.
    method
        "bootstrap": ends are quantiles of the resamples, widened for the finite number of buckets.
        "jackknife": one bucket at a time is left out; ends lie a multiple of the standard error to
        both sides, cut at 0 for what cannot be negative. It takes `n_buckets` solutions instead of
        `n_resamples`.
    n_buckets
        Users are spread over so many buckets, which are what is resampled; one bucket per user
        where there are fewer. More give smoother intervals of heavy tails and cost more.
    random_state
        Seed; None is a fixed one, so the same journeys give the same intervals.

    Returns
    -------
    Attribution
        As from `model.attribute`, with three more columns for each: such as conversions_low,
        conversions_high and conversions_se (which takes the place of an error of sampled orders).
        `details["intervals"]` has the settings, how many resamples could not be solved, and the
        intervals of the totals.

    Raises
    ------
    InputError
        If an option is out of range, or the journeys lack what the model needs.

    Notes
    -----
    The source of the method is Efron and Tibshirani (1993), An introduction to the bootstrap; see
    `attribution.uncertainty.replicates` and `attribution.uncertainty.bounds`.

    Examples
    --------
    >>> from attribution.datasets import load_events
    >>> journeys = Journeys.from_events(load_events())
    >>> frame = intervals("linear", journeys).to_frame()
    >>> columns = ["conversions", "conversions_low", "conversions_high", "conversions_se"]
    >>> frame.loc["email", columns].round(0).tolist()
    [213.0, 196.0, 232.0, 11.0]
    """
    require_confidence(confidence)
    drawn = resample(
        journeys,
        [model],
        n_resamples=n_resamples,
        method=method,
        n_buckets=n_buckets,
        random_state=random_state,
    )
    result: Attribution = next(iter(drawn.intervals(confidence).attributions.values()))
    return result
