"""How channels work together: worths of sets, interactions of pairs, places in the path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attribution.arrays import FloatArray
from attribution.errors import InputError, nearest
from attribution.journeys import Journeys
from attribution.models.base import Outcome, outcome_of, parts_of, summarize_parts
from attribution.models.games import EXACT_PLAYERS, interaction_values
from attribution.models.shapley import Shapley, game_of
from attribution.models.spread import equal_weights
from attribution.models.worths import Worth, within_sets
from attribution.statistics import CoalitionCounts, PathLevelCounts, Statistic

if TYPE_CHECKING:
    import pandas as pd

LISTED_PLAYERS = 16
KINDS = ("exact_rate", "conversions", "rate", "markov")


def coalition_worths(
    journeys: Journeys | Iterable[Journeys],
    kind: Literal["exact_rate", "conversions", "rate", "markov"] = "exact_rate",
    *,
    min_journeys: float = 0,
) -> pd.DataFrame:
    """List what sets of channels are worth: the table behind a Shapley game.

    A diagnostic: it shows on how few journeys most worths rest. With kind="rate" or "markov" and
    all sets listed, its column `worth`, perhaps edited or smoothed, is a game for
    `Shapley(worth=...)`; there, sets that are left out are worth 0.

    Parameters
    ----------
    journeys
        Journeys, or an iterable of disjoint parts of them that is read once.
    kind
        "exact_rate": conversion rate of the journeys whose set of channels is exactly this one;
        sets that occur. The others list all sets of at most 16 channels and count the journeys
        within each: see `Shapley`.
    min_journeys
        Leave out sets of fewer journeys (within them); `.attrs["left_out"]` counts these sets.

    Returns
    -------
    pandas.DataFrame
        Index coalition, tuples of channels, smaller ones first (one row: `.loc[[("a", "b")]]`);
        columns journeys, conversions, worth (a rate, a probability, or conversions).

    Raises
    ------
    InputError
        If the kind is unknown, or there are too many channels to list all sets.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a", "b > a", "a > b"], "conversions": [1, 2, 1], "nulls": [3, 0, 1]
    ... })
    >>> coalition_worths(Journeys.from_paths(table, nulls="nulls"))
               journeys  conversions  worth
    coalition
    (a,)            4.0          1.0   0.25
    (a, b)          4.0          3.0   0.75
    """
    import pandas as pd

    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is not one of {KINDS}.{nearest(str(kind), KINDS)}")
    if (
        isinstance(min_journeys, bool)
        or not isinstance(min_journeys, Real)
        or not min_journeys >= 0
    ):
        raise InputError(f"min_journeys={min_journeys!r} is not a number from 0 on.")
    statistic = _counted(journeys, "markov" if kind == "markov" else "rate")
    sets = _sets(statistic)
    if kind == "exact_rate":
        coalitions = [
            tuple(sets.channels[code] for code in members)
            for members in np.split(sets.members, sets.offsets[1:-1])[: len(sets.conversions)]
        ]
        total, conversions = sets.conversions + sets.nulls, sets.conversions
        worth = np.divide(conversions, total, out=np.zeros(len(total)), where=total > 0)
    else:
        n = len(sets.channels)
        if n > LISTED_PLAYERS:
            raise InputError(
                f"{n} channels have 2**{n} sets, too many to list. Hint: kind='exact_rate' "
                "lists those that occur; transforms.regroup makes fewer channels."
            )
        masks, coalitions = _all_sets(sets.channels)
        total = _within(sets, sets.conversions + sets.nulls)[masks]
        conversions = _within(sets, sets.conversions)[masks]
        worth = _worths(kind, statistic)[masks]
    keep = np.flatnonzero(total >= min_journeys)
    index = pd.Index(coalitions, name="coalition", dtype=object, tupleize_cols=False)
    frame = pd.DataFrame(
        {"journeys": total, "conversions": conversions, "worth": worth}, index=index
    ).iloc[keep]
    frame.attrs["left_out"] = len(total) - len(keep)
    return frame


def shapley_interactions(
    journeys: Journeys | Iterable[Journeys],
    worth: Literal["conversions", "rate", "markov"] | Worth | Mapping[Any, float] = "rate",
) -> pd.DataFrame:
    """Return the Shapley interaction index of each pair of channels.

    Positive: complements, worth more together than apart; negative: substitutes. For
    "conversions" and "markov" it cannot be negative: both worths are sums, over paths, of a weight
    (conversions, or the probability to walk the path and convert) that counts as soon as all
    channels of the path are in the set; in such a game the second one in only ever adds. Rates,
    tables and functions can be of either sign.

    Parameters
    ----------
    journeys
        Journeys, or an iterable of disjoint parts of them that is read once.
    worth
        The game; see `Shapley`.

    Returns
    -------
    pandas.DataFrame
        Shape (n_channels, n_channels), symmetric, in units of the worth; zeros on the diagonal.

    Raises
    ------
    InputError
        If there are more than 24 channels, or the worth is no game.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a", "b", "a > b"], "conversions": [1, 2, 3], "nulls": [9, 8, 2]
    ... })
    >>> shapley_interactions(Journeys.from_paths(table, nulls="nulls")).round(3)
    other       a     b
    channel
    a        0.00 -0.06
    b       -0.06  0.00
    """
    import pandas as pd

    model = Shapley(worth=worth)
    statistic = _counted(journeys, model.worth if model.worth != "conversions" else "rate")
    n = len(statistic.channels)
    if n > EXACT_PLAYERS:
        raise InputError(
            f"{n} channels have 2**{n} sets; interactions are computed for at most {EXACT_PLAYERS} "
            "channels. Hint: fewer channels by transforms.regroup."
        )
    names = pd.Index(statistic.channels, name="channel", dtype="str")
    values = interaction_values(_worths(model.worth, statistic))
    return pd.DataFrame(values, names, names.rename("other"))


def ordered_shapley(
    journeys: Journeys | Iterable[Journeys], of: Outcome = "conversions"
) -> pd.DataFrame:
    """Split the Shapley value of each channel (by conversions) over its positions in the path.

    Each journey is shared equally by its distinct channels; the part of a channel that stands in
    several positions is shared equally over these.

    Parameters
    ----------
    journeys
        Journeys, or an iterable of disjoint parts of them that is read once.
    of
        The outcome.

    Returns
    -------
    pandas.DataFrame
        Index channel; columns position, 1 for the first touch up to the longest converting path.
        Rows sum to the credit of `Shapley()`.

    Raises
    ------
    InputError
        If `of` is unknown, or there is no value.

    Notes
    -----
    Zhao, Mahboobi and Bagheri (2018), section on the ordered Shapley value.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b > a", "b"], "conversions": [8, 1]})
    >>> ordered_shapley(Journeys.from_paths(table))
    position    1    2    3
    channel
    a         2.0  0.0  2.0
    b         1.0  4.0  0.0
    """
    import pandas as pd

    total: pd.DataFrame | None = None
    for part in parts_of(journeys):
        outcome_of(part, of)
        rows = part.converting
        credit = equal_weights(rows) * np.repeat(outcome_of(rows, of), rows.lengths)
        place = np.arange(len(rows.codes)) - np.repeat(rows.offsets[:-1], rows.lengths)
        longest, n = int(rows.lengths.max(initial=0)), len(part.channels)
        sums = np.bincount(rows.codes * longest + place, credit, n * longest)
        frame = pd.DataFrame(
            sums.reshape(n, longest),
            pd.Index(part.channels, name="channel", dtype="str"),
            pd.RangeIndex(1, longest + 1, name="position"),
        )
        total = frame if total is None else total.add(frame, fill_value=0.0).fillna(0.0)
    if total is None:
        raise InputError("There are no journeys: the iterable is empty.")
    return total


def _counted(journeys: Journeys | Iterable[Journeys], worth: Any) -> Statistic:
    parts = (replace(part, values=None) for part in parts_of(journeys))
    return summarize_parts(Shapley(worth=worth), parts)


def _sets(statistic: Statistic) -> CoalitionCounts:
    sets = statistic.coalitions if isinstance(statistic, PathLevelCounts) else statistic
    assert isinstance(sets, CoalitionCounts)
    return sets


def _within(sets: CoalitionCounts, amounts: FloatArray) -> FloatArray:
    return within_sets(sets.members, sets.offsets, amounts, len(sets.channels))


def _worths(worth: Any, statistic: Statistic) -> FloatArray:
    """Return the worths of all sets of channels (conversions, where there is value too)."""
    if worth == "conversions":
        sets = _sets(statistic)
        return _within(sets, sets.conversions)
    return game_of(worth, statistic).worths(0)[0]


def _all_sets(channels: tuple[str, ...]) -> tuple[list[int], list[tuple[str, ...]]]:
    """Return the bit mask and the names of every set but the empty one, smaller ones first."""
    n = len(channels)
    codes = [each for size in range(1, n + 1) for each in combinations(range(n), size)]
    masks = [sum(1 << code for code in each) for each in codes]
    return masks, [tuple(channels[code] for code in each) for each in codes]
