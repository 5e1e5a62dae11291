"""Two periods or segments: how credit changed, by volume, mix and effect.

The credit of a channel is

    credit = journeys * reach * effect,

with reach the share of journeys that the channel is part of, and effect its credit per journey
that it is part of. The change from one period to another is split over the three factors by their
Shapley values: each factor's contribution averaged over the six orders in which the three can
change. The parts add up to the change exactly, and no order is preferred.

Source: Sun (1998), Accounting for the sources of change: the complete decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attribution.arrays import FloatArray
from attribution.compare import choose, comparison_of
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models.base import Model, Outcome, Partitioned, require_outcome
from attribution.uncertainty.bounds import Ends, require_confidence
from attribution.uncertainty.bucketed import REACH, Bucketed, bucketed, over_same_buckets
from attribution.uncertainty.replicates import Method, replicates
from attribution.uncertainty.resampling import Options

if TYPE_CHECKING:
    import pandas as pd

FACTORS = ("volume", "mix", "effect")


def compare_periods(
    before: Journeys | Iterable[Journeys] | Partitioned,
    after: Journeys | Iterable[Journeys] | Partitioned,
    model: str | Model = "markov",
    *,
    of: Outcome = "conversions",
    confidence: float = 0.9,
    n_resamples: int = 1000,
    method: Method = "bootstrap",
    n_buckets: int = 200,
    random_state: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Say per channel how credit differs between two periods or segments, why, and how sure.

    Users of both are resampled together, so that whoever is in both counts as one person. The
    number of users of each is held fixed. Journeys without users are taken as different people.
    Differences of periods also hold what else changed between them, such as the season: they are
    no experiment.

    Parameters
    ----------
    before, after
        Journeys of the two; segments will do as well as periods.
    model
        A model or its name.
    of
        The outcome.
    confidence, n_resamples, method, n_buckets, random_state
        As in `intervals`.

    Returns
    -------
    pandas.DataFrame
        Index channel; before, after, change, and its parts volume (more or fewer journeys), mix
        (a larger or smaller share of journeys with the channel) and effect (more or less credit
        per journey with the channel), which add up to the change; share_change. For change, its
        parts and share_change also _low, _high and _se. A channel that is in one period only
        changes by volume and mix.

    Raises
    ------
    InputError
        If an option is out of range, or the journeys lack what the model needs.

    Examples
    --------
    >>> import pandas as pd
    >>> def journeys(conversions, nulls):
    ...     table = {"path": ["a > a", "b"], "conversions": conversions, "nulls": nulls}
    ...     return Journeys.from_paths(pd.DataFrame(table), nulls="nulls")
    >>> before, after = journeys([20, 30], [80, 70]), journeys([40, 30], [160, 70])
    >>> change = compare_periods(before, after, "linear")
    >>> change[["before", "after", "change", "volume", "mix", "effect"]].round(2)
             before  after  change  volume   mix  effect
    channel
    a          20.0   40.0    20.0   11.67   8.33     0.0
    b          30.0   30.0     0.0   12.50 -12.50     0.0
    """
    import pandas as pd

    require_confidence(confidence)
    require_outcome(of)
    options = Options(
        n_resamples=n_resamples, method=method, n_buckets=n_buckets, random_state=random_state
    )
    chosen = choose([model], None)
    plan, seed = options.plan()
    sums = [bucketed(chosen, journeys, plan, with_reach=True) for journeys in (before, after)]
    paired = sums[0].of_users and sums[1].of_users
    if paired:
        sums = list(over_same_buckets(*sums))
    if method == "jackknife" and not paired:
        raise InputError(
            "The jackknife leaves out users of both periods together; these journeys have no "
            "users. Hint: method='bootstrap'."
        )
    channels = sorted({name for each in sums for name in each.spreads[REACH].whole.channels})
    (only,) = chosen.values()
    units = [each.totals[:, 0] for each in sums]
    either = units[0] + units[1] > 0 if paired else None
    sides = []
    for number, each in enumerate(sums):
        weights = options.weights(units[number], seed if paired else seed + number, either)
        sides.append(_side(only, each, weights, channels, of))
    columns = _columns(*sides)
    if method == "jackknife" and either is not None:
        n_buckets = int(either.sum())
    else:
        filled = [int((each > 0).sum()) for each in units]
        n_buckets = min(filter(None, filled), default=0)
    ends = Ends(confidence=confidence, method=method, n_buckets=n_buckets)
    frame = {name: column[0] for name, column in columns.items()}
    for name in ("change", *FACTORS, "share_change"):
        found = ends.of(columns[name][0], columns[name][1:], signed=True)
        frame |= {f"{name}{end}": each for end, each in found.items()}
    return pd.DataFrame(frame, index=pd.Index(channels, name="channel", dtype="str"))


class _Side(NamedTuple):
    """One period: journeys (n_draws, 1); of each channel those it is part of, credit, its share."""

    journeys: FloatArray
    reached: FloatArray
    credit: FloatArray
    share: FloatArray


def _side(
    model: Model, sums: Bucketed, weights: FloatArray, channels: Sequence[str], of: Outcome
) -> _Side:
    """Return the figures of a period, the first row of it itself and the others of resamples."""
    weights = np.concatenate([np.ones((1, weights.shape[1])), weights])
    comparison_of({model.name: model}, sums.summaries)  # warns, or says why there is no result
    reach = sums.spreads[REACH]
    draws = replicates(model, sums.spreads[model.name], sums.totals, weights)
    if of not in draws:
        raise InputError("These journeys have no value. Hint: name its column with value=.")
    place = np.searchsorted(channels, reach.whole.channels)

    def of_all(draw: FloatArray) -> FloatArray:
        columns = np.zeros((len(draw), len(channels)))
        columns[:, place] = draw
        return columns

    n = weights @ sums.totals
    return _Side(
        (n[:, 1] + n[:, 2])[:, None],
        of_all(weights @ reach.parts["conversions"]),
        of_all(draws[of]),
        of_all(draws[f"{of}_share"]),
    )


def _columns(before: _Side, after: _Side) -> dict[str, FloatArray]:
    """Return the columns of the table, shape (n_draws, n_channels) each."""
    effects = [_ratio(side.credit, side.reached) for side in (before, after)]
    effects = [
        np.where(side.reached > 0, own, other)
        for side, own, other in zip((before, after), effects, effects[::-1], strict=True)
    ]
    factors = [
        (side.journeys, _ratio(side.reached, side.journeys), effect)
        for side, effect in zip((before, after), effects, strict=True)
    ]
    return {
        "before": before.credit,
        "after": after.credit,
        "change": after.credit - before.credit,
        **dict(zip(FACTORS, split_change(*factors), strict=True)),
        "share_change": after.share - before.share,
    }


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.zeros(shape), where=whole > 0)


def split_change(before: Sequence[FloatArray], after: Sequence[FloatArray]) -> list[FloatArray]:
    """Split the change of a product over its factors by their Shapley values.

    Parameters
    ----------
    before, after
        The factors, arrays that broadcast.

    Returns
    -------
    list of numpy.ndarray
        One per factor; they sum to the change of the product.

    Examples
    --------
    >>> [float(part) for part in split_change([np.float64(2), np.float64(3)], [4, 5])]
    [8.0, 6.0]
    """
    orders = list(permutations(range(len(before))))
    parts: list[Any] = [0.0] * len(before)
    for order in orders:
        factors = list(before)
        product = math.prod(factors)
        for changed in order:
            factors[changed] = after[changed]
            parts[changed] = parts[changed] + (math.prod(factors) - product) / len(orders)
            product = math.prod(factors)
    return parts
