"""Many models, one pass over the journeys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from attribution.errors import InputError, nearest, warn
from attribution.journeys import Journeys
from attribution.models import DEFAULT_MODELS, MODELS
from attribution.models.base import Model, parts_of
from attribution.results import Comparison
from attribution.statistics import Statistic


def compare(
    journeys: Journeys | Iterable[Journeys],
    models: Sequence[str | Model] = DEFAULT_MODELS,
    exclude: Collection[str] | None = None,
) -> Comparison:
    """Attribute the same journeys under several models.

    Parameters
    ----------
    journeys
        Journeys, or an iterable of disjoint parts of them that is read once.
    models
        Names from `MODELS`, or instances with options of their own.
    exclude
        Names to leave out; a name from `MODELS` leaves out all models of that kind.

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
    chosen = choose(models, exclude)
    statistics: dict[str, Statistic] = {}
    skipped: dict[str, str] = {}
    empty = True
    for part in parts_of(journeys):
        if empty:
            _warn_of_types(part)
        empty = False
        for name, model in chosen.items():
            lack = None if name in skipped else model.lack_of_credit or model.unmet(part)
            if lack is not None:
                skipped[name] = lack
                statistics.pop(name, None)
            if name in skipped:
                continue
            statistic = model.summarize(part)
            statistics[name] = statistics[name] + statistic if name in statistics else statistic
    if empty:
        raise InputError("There are no journeys: the iterable is empty.")
    for name, reason in skipped.items():
        if not statistics:
            raise InputError(f"No model is left to compare. {name} is skipped: {reason}")
        warn(f"{name} is skipped: {reason}")
    return Comparison(
        attributions={name: chosen[name].solve(s) for name, s in statistics.items()},
        kinds={name: chosen[name].kind for name in statistics},
        skipped=skipped,
    )


def _warn_of_types(journeys: Journeys) -> None:
    types = journeys.conversion_types
    if types is not None and len(np.unique(types.codes)) > 1:
        warn(
            f"Journeys towards {' and '.join(map(repr, types.labels))} are compared as one kind, "
            f"so each touch counts for each. Hint: journeys.of_type({types.labels[0]!r})."
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
