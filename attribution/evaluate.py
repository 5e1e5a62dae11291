"""How far attribution is from the truth, in worlds whose truth is known.

In a simulated world it is known what each channel caused (`attribution.simulate`). Four figures say
how far the credit of a model is from it:

share error
    half the sum over channels of |credit share - truth share|: the part of all credit that stands
    in the wrong place, from 0 to 1. Truth shares are those of the conversions that are lost when
    each channel alone is off.
scale error
    total credit over what all channels together caused. A model without baseline shares out organic
    conversions, too: it is above 1.
rank correlation
    Spearman's, of credit and truth over channels.
budget regret
    the share of the incremental conversions of the best plan that is lost when the same budget goes
    to channels in proportion to credit. All touches cost the same; the budget buys as many as
    people see today.

Why the classical models are wrong even where exposure is random: who converts early stops
collecting touches, so journeys without conversion are long for a reason that has nothing to do with
channels (time at risk); conversions that would have come anyway are shared out like all others; and
a rule gives a touch credit for being there. Where exposure follows the intent to buy, channels get
credit for the intent (confounding), and no model of journeys alone can know better: calibrate with
an experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from attribution.arrays import FloatArray, FrozenDict, Immutable, own
from attribution.compare import choose, compare
from attribution.errors import InputError
from attribution.models import MODELS
from attribution.models.base import Model, Predictor
from attribution.models.sampling import generator_of
from attribution.predictive import SCORES, predictive_checks
from attribution.progress import progress
from attribution.results import Comparison, share
from attribution.simulate import WORLDS, Response, Simulation, Truth, World, simulate
from attribution.simulate.simulation import world_of

if TYPE_CHECKING:
    import pandas as pd

ERRORS = ("share_error", "scale_error", "rank_correlation")
MEASURES = (*ERRORS, "budget_regret", *SCORES)
BUDGET_PEOPLE = 4_000
STEPS, FINEST = 20, 1e-3  # of the search for the best plan, in shares of the budget


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Evaluation(Immutable):
    """Models against the truth of simulated worlds; immutable.

    Attributes
    ----------
    models
        The n_models names.
    channels
        By world: its n_channels names.
    measures
        By world: shape (n_repetitions, n_models, len(MEASURES)); NaN where one does not apply.
    shares
        By world: shares of credit, shape (n_repetitions, n_models, n_channels).
    truth
        By world: true shares, shape (n_repetitions, n_channels).
    """

    models: tuple[str, ...]
    channels: Mapping[str, tuple[str, ...]]
    measures: Mapping[str, FloatArray]
    shares: Mapping[str, FloatArray]
    truth: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        for name in ("measures", "shares", "truth"):
            owned = {world: own(array) for world, array in getattr(self, name).items()}
            object.__setattr__(self, name, FrozenDict(owned))
        super().__post_init__()

    def __repr__(self) -> str:
        return f"<Evaluation>\n{self.to_frame().round(3).to_string()}"

    def _repr_html_(self) -> str:
        return str(self.to_frame().round(3).to_html())

    def to_frame(self) -> pd.DataFrame:
        """Say which model to trust in which world.

        Returns
        -------
        pandas.DataFrame
            Index (world, model), the smallest share error first within each world; the mean of
            every measure over the repetitions, and share_error_se, the standard error of its mean.
        """
        import pandas as pd

        frames = {}
        for world, measures in self.measures.items():
            index = pd.Index(self.models, name="model")
            mean, error = _mean_and_error(measures)
            frame = pd.DataFrame(mean, index=index, columns=list(MEASURES))
            frame.insert(1, "share_error_se", error[:, 0])
            frames[world] = frame.sort_values("share_error", kind="stable")
        return pd.concat(frames, names=["world"])

    def agreement(self) -> pd.DataFrame:
        """Say how far models are from each other and from the truth; see `agreement`.

        Returns
        -------
        pandas.DataFrame
            Shape (n_models + 1, n_models + 1); share errors between them, averaged over worlds
            and repetitions in which neither was skipped.
        """
        gaps = [
            _distances(np.vstack([credit, truth]))
            for world, shares in self.shares.items()
            for credit, truth in zip(shares, self.truth[world], strict=True)
        ]
        return _square([*self.models, "(truth)"], _mean_and_error(np.array(gaps))[0])


def evaluate(
    worlds: str | World | Sequence[str | World] = tuple(WORLDS),
    models: Sequence[str | Model] = tuple(MODELS),
    *,
    n_people: int = 20_000,
    n_repetitions: int = 5,
    random_state: int | np.random.Generator | None = None,
) -> Evaluation:
    """Attribute in simulated worlds and hold the credit against the truth.

    Parameters
    ----------
    worlds
        Names in `attribution.simulate.WORLDS`, or worlds of your own.
    models
        Names in `MODELS`, or instances.
    n_people
        People in each world.
    n_repetitions
        How often each world is simulated anew.
    random_state
        Seed; None is a fixed one.

    Returns
    -------
    Evaluation
        `to_frame()` is the table of all measures.

    Raises
    ------
    InputError
        If a name is unknown or a number out of range.

    Examples
    --------
    >>> found = evaluate("random exposure", ["linear", "additive_hazard"], n_repetitions=2)
    >>> found.to_frame().loc["random exposure", ["share_error", "scale_error"]].round(2)
                     share_error  scale_error
    model
    additive_hazard         0.04         1.03
    linear                  0.21         1.18
    """
    chosen = choose(models, None)
    named = _named([worlds] if isinstance(worlds, str | World) else list(worlds))
    if isinstance(n_repetitions, bool) or not isinstance(n_repetitions, int) or n_repetitions < 1:
        raise InputError(f"n_repetitions={n_repetitions!r} is not a whole number of at least 1.")
    rng = generator_of(random_state)
    seeds = rng.integers(2**31, size=(len(named), n_repetitions)).tolist()
    work = [
        (name, seed) for name, own_seeds in zip(named, seeds, strict=True) for seed in own_seeds
    ]
    markets: dict[str, Market] = {}
    runs: dict[str, list[_Run]] = {name: [] for name in named}
    for name, seed in progress(work, len(work), "simulated worlds"):
        if name not in markets:
            markets[name] = Market(named[name])
        runs[name].append(_run(simulate(named[name], n_people, seed), chosen, markets[name], seed))
    return Evaluation(
        models=tuple(chosen),
        channels={name: named[name].names for name in named},
        measures={name: np.stack([run.measures for run in done]) for name, done in runs.items()},
        shares={name: np.stack([run.shares for run in done]) for name, done in runs.items()},
        truth={name: np.stack([run.truth for run in done]) for name, done in runs.items()},
    )


class _Run(NamedTuple):
    """One simulated world: shapes (n_models, n_measures), (n_models, n_channels), (n_channels,)."""

    measures: FloatArray
    shares: FloatArray
    truth: FloatArray


def _run(simulated: Simulation, chosen: Mapping[str, Model], market: Market, seed: int) -> _Run:
    """Attribute in a simulated world, and measure; NaN for a model that is skipped."""
    comparison = compare(simulated.journeys, list(chosen.values()))
    frame = truth_errors(comparison, simulated.truth)
    credit = _shares_of(comparison, simulated.truth.channels)
    frame["budget_regret"] = [market.regret(each) for each in credit]
    predicting = [m for k, m in chosen.items() if k in comparison and isinstance(m, Predictor)]
    if predicting:
        checks = predictive_checks(simulated.journeys, predicting, random_state=seed)
        frame = frame.join(checks)
    shares = np.full((len(chosen), credit.shape[1]), np.nan)
    shares[[list(chosen).index(name) for name in comparison]] = credit
    measures = frame.reindex(index=list(chosen), columns=list(MEASURES)).to_numpy(np.float64)
    return _Run(measures, shares, simulated.truth.share)


def truth_errors(comparison: Comparison, truth: Truth) -> pd.DataFrame:
    """Hold the credit of models against the truth of a simulated world.

    Returns
    -------
    pandas.DataFrame
        Index model; share_error, scale_error, rank_correlation; see `attribution.evaluate`.
    """
    import pandas as pd

    known = {*truth.channels}
    others = {name for each in comparison.attributions.values() for name in each.channels} - known
    credit = _shares_of(comparison, [*truth.channels, *sorted(others)])
    nothing = np.zeros(len(others))
    true_share = np.append(truth.share, nothing)
    incremental = np.append(truth.incremental.astype(np.float64), nothing)
    given = [float(result.conversions.sum()) for result in comparison.attributions.values()]
    rows = [
        [
            float(np.abs(each - true_share).sum() / 2),
            total / truth.joint if truth.joint else np.nan,
            rank_correlation(each, incremental),
        ]
        for each, total in zip(credit, given, strict=True)
    ]
    return pd.DataFrame(rows, index=pd.Index(list(comparison), name="model"), columns=list(ERRORS))


def agreement(comparison: Comparison) -> pd.DataFrame:
    """Say how far models are from each other.

    Returns
    -------
    pandas.DataFrame
        Shape (n_models, n_models); half the sum over channels of the distance of shares of credit:
        the part of all credit that two models place differently, from 0 to 1.
    """
    credit = np.array([share(each.conversions) for each in comparison.attributions.values()])
    return _square(list(comparison), _distances(credit))


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Return Spearman's rank correlation; NaN where one of the two does not vary."""
    from scipy.stats import rankdata

    ranks = rankdata(np.stack([a, b]), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt((ranks**2).sum(axis=1).prod())
    return float(ranks.prod(axis=0).sum() / scale) if scale else np.nan


class Market:
    """What a budget does in a world: plans are shares of it by channel.

    Parameters
    ----------
    world
        A world, or its name.
    """

    def __init__(self, world: str | World) -> None:
        lived = world_of(world)
        self.touches = lived.column("touches").astype(np.float64)
        budget = self.touches.sum()
        self._scale = np.divide(
            budget, self.touches, out=np.zeros(len(self.touches)), where=self.touches > 0
        )
        self._response = Response(lived, BUDGET_PEOPLE, max_scale=max(1.0, self._scale.max()))
        self.nothing = self.conversions(np.zeros(len(self.touches)))
        self.best = self._best_plan()
        self.most = self.conversions(self.best)

    def conversions(self, plan: FloatArray) -> float:
        """Return the expected conversions per person under a plan."""
        return self._response(np.minimum(plan * self._scale, self._response.max_scale))

    def regret(self, plan: FloatArray) -> float:
        """Return the share of the best plan's incremental conversions that a plan loses."""
        gain = self.most - self.nothing
        spent = np.maximum(plan, 0.0)
        if not gain > 0 or not spent.sum() > 0:
            return np.nan
        return float((self.most - self.conversions(spent / spent.sum())) / gain)

    def _best_plan(self) -> FloatArray:
        """Spend step by step where it adds most, then move ever smaller amounts while it helps."""
        n = len(self.touches)
        plan = np.zeros(n)
        for _ in range(STEPS):
            plan = max((plan + each for each in np.eye(n) / STEPS), key=self.conversions)
        amount, most, found = 1.0 / STEPS, self.conversions(plan), False
        while amount > FINEST:
            amount, found = (amount if found else amount / 2), False
            for source, target in permutations(range(n), 2):
                moved = plan.copy()
                moved[[source, target]] += [-amount, amount]
                if moved[source] >= 0 and (reached := self.conversions(moved)) > most:
                    plan, most, found = moved, reached, True
        return plan


def _named(worlds: Sequence[str | World]) -> dict[str, World]:
    """Return worlds by name; those of one's own are numbered.

    Raises
    ------
    InputError
        If there is none, one is unknown, or one is named twice.
    """
    if not worlds:
        raise InputError(f"There are no worlds. Hint: {', '.join(map(repr, WORLDS))}.")
    named: dict[str, World] = {}
    for i, world in enumerate(worlds):
        if not isinstance(world, World) and world not in WORLDS:
            raise InputError(f"{world!r} is no world. There are {', '.join(map(repr, WORLDS))}.")
        name = world if isinstance(world, str) else f"world {i}"
        if name in named:
            raise InputError(f"{name!r} is named twice. Hint: n_repetitions simulates it anew.")
        named[name] = WORLDS[name] if isinstance(world, str) else world
    return named


def _shares_of(comparison: Comparison, channels: Sequence[str]) -> FloatArray:
    """Return shares of credit, shape (n_models, n_channels); 0 for channels without journeys."""
    rows = []
    for result in comparison.attributions.values():
        credit = dict(zip(result.channels, share(result.conversions).tolist(), strict=True))
        rows.append([credit.get(name, 0.0) for name in channels])
    return np.array(rows, dtype=np.float64).reshape(-1, len(channels))


def _mean_and_error(runs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard error of what is known over runs, the first axis; NaN if nothing."""
    known = ~np.isnan(runs)
    n = known.sum(axis=0)
    mean, error = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    np.divide(np.nansum(runs, axis=0), n, out=mean, where=n > 0)
    squares = np.where(known, (runs - mean) ** 2, 0.0).sum(axis=0)
    np.divide(squares, n * np.maximum(n - 1.0, 1.0), out=error, where=n > 1)
    return mean, np.sqrt(error)


def _distances(shares: FloatArray) -> FloatArray:
    """Return half the sum of distances between rows, shape (n, n)."""
    return np.asarray(np.abs(shares[:, None] - shares[None]).sum(axis=2) / 2)


def _square(names: Sequence[str], gaps: FloatArray) -> pd.DataFrame:
    import pandas as pd

    index = pd.Index(list(names), name="model")
    return pd.DataFrame(gaps, index=index, columns=list(names))
