"""What if a channel stops, or is scaled: two answers side by side.

**Markov removal.** Touches of the channel are lost and with each of them the journey
(`attribution.models.thinning`). Nobody finds another way, so that it says how many conversions pass
through the channel rather than how many it causes. More touches than today are beyond it.

**Curves.** The outcome at the scaled spend less that at today's: sum_c f_c(scale_c x_c) - f_c(x_c).
As good as the curves are: descriptive ones share in the weakness of credit, see
`attribution.budget.fit`. Channels without spend have no curve, and no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, is_number
from attribution.budget.curves import Curve
from attribution.budget.fit import CurveFit
from attribution.errors import InputError, nearest
from attribution.journeys import Journeys
from attribution.models.markov import Markov
from attribution.models.thinning import thinning_losses
from attribution.statistics import TransitionCounts
from attribution.uncertainty.bounds import require_confidence

if TYPE_CHECKING:
    import pandas as pd

Scenarios = Mapping[str, Mapping[str, float]]


def what_if(
    scenarios: Scenarios | None,
    journeys: Journeys | TransitionCounts,
    curves: CurveFit,
    *,
    n_periods: float | None = None,
    confidence: float = 0.9,
) -> pd.DataFrame:
    """Say what changes when channels are switched off or scaled, by chain and by curves.

    Parameters
    ----------
    scenarios
        By name: factors on the touches and the spend of channels, such as {"no tv": {"tv": 0.0}};
        channels left out stay as they are. None: every channel by itself is switched off.
    journeys
        Journeys, or transitions from `Markov(order=k).summarize(journeys)`.
    curves
        A fit, which also says what is spent today.
    n_periods
        Periods that the journeys cover, so that both answers are about the same time. None: those
        of the fit.
    confidence
        Of the intervals of the curves' answer.

    Returns
    -------
    pandas.DataFrame
        Index scenario. spend_change, NaN where a scaled channel is not in the fit; markov_change,
        the change in the outcome by the chain, NaN where a factor is above 1 or a scaled channel
        has no touches; curves_change with _low and _high, NaN where a scaled channel has no curve.
        All are sums over the `n_periods`. `.attrs` has outcome (of the journeys with touches), of,
        n_periods, kind and statement of the curves.

    Raises
    ------
    InputError
        If a channel is unknown, a factor negative, an option does not fit, or the journeys lack
        the outcome.
    """
    import pandas as pd

    require_confidence(confidence)
    if not isinstance(curves, CurveFit):
        raise InputError(
            f"curves is a {type(curves).__name__}, not a CurveFit. Hint: incremental_curves(...)."
        )
    counts = Markov().summarize(journeys) if isinstance(journeys, Journeys) else journeys
    if not isinstance(counts, TransitionCounts):
        raise InputError(
            f"Got a {type(counts).__name__}, not Journeys. Hint: Journeys.from_events(...), or "
            "Markov(order=...).summarize(...)."
        )
    known = sorted({*counts.channels, *curves})
    chosen = {name: {name: 0.0} for name in known} if scenarios is None else scenarios
    if not isinstance(chosen, Mapping):
        raise InputError(f"scenarios={scenarios!r}. Hint: {{'no tv': {{'tv': 0.0}}}}, or None.")
    for name, factors in chosen.items():
        _check(name, factors, known)
    total = _total(counts, curves.of)
    length = _periods(curves) if n_periods is None else n_periods
    if not (is_number(length) and 0 < length < np.inf):
        raise InputError(f"n_periods={length!r} is not a number above 0.")
    rows = {
        name: {
            "spend_change": length * _by_spend(curves, each),
            "markov_change": total * _by_chain(counts, each, curves.of),
            **_by_curves(curves, each, length, confidence),
        }
        for name, each in chosen.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("scenario")
    frame.attrs = {
        "outcome": total,
        "of": curves.of,
        "n_periods": length,
        "kind": curves.kind,
        "statement": curves.statement,
    }
    return frame


def _check(scenario: str, factors: Any, known: list[str]) -> None:
    if not isinstance(factors, Mapping):
        raise InputError(
            f"Scenario {scenario!r} is {factors!r}. Hint: a mapping from channels to factors, such "
            "as {'no tv': {'tv': 0.0}}."
        )
    for channel, factor in factors.items():
        if channel not in known:
            raise InputError(
                f"Scenario {scenario!r}: there is no channel {channel!r}."
                f"{nearest(str(channel), known)} Hint: there are {', '.join(map(repr, known))}."
            )
        if not (is_number(factor) and 0 <= factor < np.inf):
            raise InputError(
                f"Scenario {scenario!r} has the factor {factor!r} on {channel!r}. Hint: 0 switches "
                "it off, 1 leaves it as it is, 2 doubles it."
            )


def _total(counts: TransitionCounts, of: str) -> float:
    if of == "conversions":
        return float(counts.conversions.sum())
    if counts.values is None:
        raise InputError("The journeys have no value, the curves do. Hint: name it with value=.")
    return float(counts.values.sum())


def _periods(curves: CurveFit) -> float:
    return curves.quality["n_periods"] + curves.quality["n_left_out"]


def _by_spend(curves: CurveFit, factors: Mapping[str, float]) -> float:
    scaled = {channel: factor for channel, factor in factors.items() if factor != 1}
    return float(sum((f - 1) * curves.today.get(c, np.nan) for c, f in scaled.items()))


def _by_chain(counts: TransitionCounts, factors: Mapping[str, float], of: str) -> float:
    """Return the change as a share of the outcome; NaN where the chain cannot know."""
    scaled = {channel: factor for channel, factor in factors.items() if factor != 1}
    if any(f > 1 or c not in counts.channels for c, f in scaled.items()):
        return np.nan
    kept = np.array([factors.get(channel, 1.0) for channel in counts.channels])
    return -float(thinning_losses(counts, kept)[0 if of == "conversions" else 1])


def _by_curves(
    curves: CurveFit, factors: Mapping[str, float], length: float, confidence: float
) -> dict[str, float]:
    """Return the change and its interval over all periods."""
    scaled = {channel: factor for channel, factor in factors.items() if factor != 1}
    if any(channel not in curves for channel in scaled):
        return dict.fromkeys(("curves_change", "curves_low", "curves_high"), np.nan)

    def change(lines: Mapping[str, Curve]) -> Any:
        return sum(
            lines[c].value(f * curves.today[c]) - lines[c].value(curves.today[c])
            for c, f in scaled.items()
        )

    drawn: FloatArray = length * np.asarray(change(curves.draws), dtype=np.float64)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {
        "curves_change": float(length * change(curves)),
        "curves_low": float(low),
        "curves_high": float(high),
    }
