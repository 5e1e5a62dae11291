"""How well models predict journeys that they have not seen.

Half of the users are held out: a model learns from the others and says how likely each journey held
out converts. A good forecast is no proof of good attribution (a channel that only ever accompanies
buyers predicts well and causes nothing), but what does not even predict has learned nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray
from attribution.compare import choose
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models import MODELS
from attribution.models.base import Model, Predictor, require_journeys
from attribution.models.sampling import generator_of
from attribution.orders.scores import area_under_curve
from attribution.uncertainty.buckets import hashed

if TYPE_CHECKING:
    import pandas as pd

BASE = "(base rate)"
LEAST = 1e-6  # a forecast of 0 that fails would cost everything
GROUPS = 10


def predictive_checks(
    journeys: Journeys,
    models: Sequence[str | Model] | None = None,
    *,
    random_state: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Hold out half of the users, and score what each model predicts for their journeys.

    Journeys without users are held out one by one. Those without touches are left out: nothing can
    be said of them. `AdditiveHazard` knows how long each journey was watched, the others do not;
    and as a conversion ends a journey, its length tells of the outcome. So compare it with care.

    Parameters
    ----------
    journeys
        With and without conversions.
    models
        Models that predict, or their names; by default all that do and whose needs are met.
    random_state
        Seed; None is a fixed one.

    Returns
    -------
    pandas.DataFrame
        Index model, with the share of journeys that convert as "(base rate)"; log_loss (mean
        negative log-likelihood per journey, forecasts kept within 1e-6 of 0 and 1), auc (share of
        pairs of a conversion and a null ranked rightly), calibration (mean distance of forecast
        and rate over ten groups of equal size by forecast).

    Raises
    ------
    InputError
        If a model does not predict, or lacks what it needs.

    Examples
    --------
    >>> from attribution.simulate import simulate
    >>> journeys = simulate("random exposure", 5_000).journeys
    >>> predictive_checks(journeys, ["markov"])["auc"].round(2).to_dict()
    {'(base rate)': 0.5, 'markov': 0.6}
    """
    import pandas as pd

    train, test = split(require_journeys(journeys), random_state)
    if models is None:
        every = [model() for model in MODELS.values()]
        models = [m for m in every if isinstance(m, Predictor) and m.unmet(journeys) is None]
    chosen = choose(models, None)
    rows = {BASE: _scores(np.full(len(test), _base_rate(train)), test)}
    for name, model in chosen.items():
        if not isinstance(model, Predictor):
            known = [key for key, each in MODELS.items() if isinstance(each(), Predictor)]
            raise InputError(f"{name} does not predict. Hint: {', '.join(known)} do.")
        model.require(journeys)
        rows[name] = _scores(model.predict(model.summarize(train), test), test)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(SCORES))
    return frame.rename_axis("model")


SCORES = ("log_loss", "auc", "calibration")


def split(
    journeys: Journeys, random_state: int | np.random.Generator | None
) -> tuple[Journeys, Journeys]:
    """Return two halves of the users (of the journeys, where there are none) with touches."""
    rng = generator_of(random_state)
    journeys = journeys.select(journeys.lengths > 0)
    if journeys.users is not None:
        held = hashed(journeys.users, int(rng.integers(2**62))) < np.uint64(2**63)
        return journeys.select(~held), journeys.select(held)
    held_out: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for name in ("conversions", "nulls"):
        count: FloatArray = getattr(journeys, name)
        whole = np.floor(count)
        part = (count - whole) * (rng.random(len(count)) < 0.5)
        held_out[name] = rng.binomial(whole.astype(np.int64), 0.5) + part
        kept[name] = count - held_out[name]
    bare = replace(journeys, values=None)
    return replace(bare, **kept), replace(bare, **held_out)


def _base_rate(journeys: Journeys) -> float:
    n = journeys.n_journeys
    return float(journeys.conversions.sum() / n) if n else np.nan


def _scores(forecast: FloatArray, test: Journeys) -> list[float]:
    """Return SCORES of the forecasts of rows; NaN where there is nothing to score."""
    known = ~np.isnan(forecast)
    p = forecast[known]
    conversions, nulls = test.conversions[known], test.nulls[known]
    journeys = conversions + nulls
    if not journeys.sum():
        return [np.nan] * len(SCORES)
    kept = np.clip(p, LEAST, 1.0 - LEAST)
    loss = -(conversions * np.log(kept) + nulls * np.log1p(-kept)).sum() / journeys.sum()
    auc = area_under_curve(p, conversions, nulls)
    return [float(loss), auc, calibration_error(p, conversions, nulls)]


def calibration_error(forecast: FloatArray, conversions: FloatArray, nulls: FloatArray) -> float:
    """Return the mean distance of forecast and rate over ten groups of journeys by forecast.

    Journeys of one forecast stay in one group.

    Parameters
    ----------
    forecast, conversions, nulls
        Shape (n,).
    """
    values, rank = np.unique(forecast, return_inverse=True)
    n = np.bincount(rank, conversions + nulls)
    converted = np.bincount(rank, conversions)
    middle = (np.cumsum(n) - n / 2) / n.sum()
    group = np.minimum((middle * GROUPS).astype(np.int64), GROUPS - 1)
    expected, observed = (np.bincount(group, each) for each in (n * values, converted))
    return float(np.abs(expected - observed).sum() / n.sum())
