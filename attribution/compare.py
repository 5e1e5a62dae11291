"""Many models, one pass over the journeys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from attribution.errors import InputError, nearest, warn
from attribution.journeys import Journeys
from attribution.models import DEFAULT_MODELS, MODELS
from attribution.models.base import Model, Partitioned, sum_over
from attribution.results import Comparison
from attribution.statistics import Statistic


def compare(
    journeys: Journeys | Iterable[Journeys] | Partitioned,
    models: Sequence[str | Model] = DEFAULT_MODELS,
    exclude: Collection[str] | None = None,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    method: Literal["bootstrap", "jackknife"] = "bootstrap",
    n_buckets: int = 200,
    random_state: int | np.random.Generator | None = None,
) -> Comparison:
    """Attribute the same journeys under several models.

    Parameters
    ----------
    journeys
        Journeys, an iterable of disjoint parts of them that is read once, or what an engine has
        scanned.
    models
        Names from `MODELS`, or instances with options of their own.
    exclude
        Names to leave out; a name from `MODELS` leaves out all models of that kind.
    confidence
        Of an interval for every figure, such as 0.9; None for none. All models are solved on the
        same resamples of the users; `attribution.uncertainty.resample` gives these too.
    n_resamples, method, n_buckets, random_state
        As in `attribution.uncertainty.intervals`; they matter for intervals only.

    Returns
    -------
    Comparison
        A model whose needs the journeys do not meet is in `skipped`, with a warning.

    Raises
    ------
    InputError
        If a name is unknown or given twice, no model is left (also because all are skipped), or
        there are no journeys.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution import Journeys
    >>> table = pd.DataFrame({"path": ["a > b", "b"], "conversions": [2, 0], "nulls": [0, 2]})
    >>> journeys = Journeys.from_paths(table, nulls="nulls")
    >>> compare(journeys, ["first_click", "linear", "markov"]).to_frame().round(3)
             first_click  linear  markov
    channel
    a                2.0     1.0   0.667
    b                0.0     1.0   1.333
    """
    if confidence is not None:
        from attribution.uncertainty import require_confidence, resample

        require_confidence(confidence)
        drawn = resample(
            journeys,
            models,
            exclude,
            n_resamples=n_resamples,
            method=method,
            n_buckets=n_buckets,
            random_state=random_state,
        )
        return drawn.intervals(confidence)
    chosen = choose(models, exclude)
    return comparison_of(chosen, sum_over(journeys, partial(summarize, chosen)))


@dataclass(frozen=True)
class Summaries:
    """The statistics of several models of the same journeys; additive.

    Attributes
    ----------
    statistics
        By name of the model.
    skipped
        Why a model has none.
    types
        The types of conversion that the journeys are towards.
    """

    statistics: Mapping[str, Statistic]
    skipped: Mapping[str, str]
    types: tuple[str, ...] = ()

    def __add__(self, other: Summaries) -> Summaries:
        skipped = {**other.skipped, **self.skipped}
        return Summaries(
            {k: s + other.statistics[k] for k, s in self.statistics.items() if k not in skipped},
            skipped,
            tuple(sorted({*self.types, *other.types})),
        )


def summarize(chosen: Mapping[str, Model], journeys: Journeys) -> Summaries:
    """Return the statistics of several models of one part of the journeys."""
    lacks = {name: model.lack_of_credit or model.unmet(journeys) for name, model in chosen.items()}
    types = journeys.conversion_types
    return Summaries(
        {name: chosen[name].summarize(journeys) for name, lack in lacks.items() if lack is None},
        {name: lack for name, lack in lacks.items() if lack is not None},
        ()
        if types is None
        else tuple(types.labels[code] for code in np.unique(types.codes) if code >= 0),
    )


def comparison_of(chosen: Mapping[str, Model], found: Summaries) -> Comparison:
    """Solve every model that has a statistic; warn of those that have none."""
    if len(found.types) > 1:
        warn(
            f"Journeys towards {' and '.join(map(repr, found.types))} are compared as one kind, "
            f"so each touch counts for each. Hint: journeys.of_type({found.types[0]!r})."
        )
    for name, reason in found.skipped.items():
        if not found.statistics:
            raise InputError(f"No model is left to compare. {name} is skipped: {reason}")
        warn(f"{name} is skipped: {reason}")
    names = [name for name in chosen if name in found.statistics]
    return Comparison(
        attributions={name: chosen[name].solve(found.statistics[name]) for name in names},
        kinds={name: chosen[name].kind for name in names},
        skipped=found.skipped,
    )


def choose(models: Sequence[str | Model], exclude: Collection[str] | None) -> dict[str, Model]:
    """Return the models by name.

    Raises
    ------
    InputError
        If a name is unknown or given twice, or no model is left.
    """
    if isinstance(models, str | Model):
        models = [models]
    chosen: dict[str, Model] = {}
    for each in models:
        model = _named(each) if isinstance(each, str) else each
        if not isinstance(model, Model):
            raise InputError(
                f"{each!r} is no model. Hint: give a name or an instance, such as Markov(order=2)."
            )
        if model.name in chosen:
            raise InputError(
                f"{model.name} is given twice. Hint: functions are told apart by their names, so "
                "define them with def."
            )
        chosen[model.name] = model
    left_out = [exclude] if isinstance(exclude, str) else list(exclude or ())
    for name in left_out:
        if name not in chosen and name not in MODELS:
            raise InputError(f"Cannot exclude {name!r}.{nearest(name, [*chosen, *MODELS])}")
        chosen = {k: model for k, model in chosen.items() if name not in (k, model.key)}
    if not chosen:
        raise InputError(f"No model is left to compare. There are {', '.join(MODELS)}.")
    return chosen


def _named(name: str) -> Model:
    if name not in MODELS:
        raise InputError(
            f"No model {name!r}.{nearest(name, MODELS)} There are {', '.join(MODELS)}."
        )
    return MODELS[name]()
