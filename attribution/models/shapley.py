"""Shapley values of the game that conversions play.

A game gives each set S of channels a worth v(S); the Shapley value of channel c is its marginal
worth v(S + c) - v(S), averaged over all orders in which channels can join. Take for v(S) the
conversions of the journeys all of whose channels lie in S. Each journey is then a game of its
own, worth its conversions as soon as all of its d distinct channels are in: a unanimity game,
whose Shapley value is 1 / d for each of them. Values add up over games, so

    phi_c = sum over journeys that contain c of conversions / d,

in time linear in the touches and for any number of channels. This is a rule, not evidence: it
does not look at journeys that fail to convert.

Sources: Shapley (1953), A value for n-person games; Zhao, Mahboobi and Bagheri (2018), Shapley
value methods for attribution modeling in online advertising.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.journeys import Journeys
from attribution.models.base import Kind, SeparableModel
from attribution.segments import sum_by


@dataclass(frozen=True, kw_only=True)
class Shapley(SeparableModel):
    """Each journey's conversions in equal parts to its distinct channels.

    The exact Shapley value where the worth of a set of channels is the conversions of journeys
    within it (see the module). It differs from `Linear` only in counting a repeated channel
    once. Being a rule, it cannot tell a channel that convinces from one that is merely present.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a", "a > b > a"], "conversions": [4, 6]})
    >>> Shapley().attribute(Journeys.from_paths(table)).to_frame()["conversions"].tolist()
    [7.0, 3.0]
    """

    key: ClassVar[str] = "shapley"
    kind: ClassVar[Kind] = "rule"

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return 1 / (distinct channels of the row x touches of this channel in the row)."""
        n = max(1, len(journeys.channels))
        key = journeys.rows * np.int64(n) + journeys.codes
        pairs, touch, repeats = np.unique(key, return_inverse=True, return_counts=True)
        distinct = np.bincount(pairs // n, minlength=len(journeys))
        return np.asarray(1.0 / (repeats * distinct[pairs // n])[touch])

    def channel_credit(self, journeys: Journeys) -> tuple[FloatArray, FloatArray | None]:
        """Add up credit from the distinct channels of each row, without weights of touches."""
        return split_equally(journeys)


def split_equally(journeys: Journeys) -> tuple[FloatArray, FloatArray | None]:
    """Return conversions and value split over the distinct channels of each journey.

    Returns
    -------
    conversions, values
        Shape (n_channels,); values None where none were given.
    """
    rows = journeys.converting
    row, code = rows.distinct
    size = np.bincount(row, minlength=len(rows))

    def split(outcome: FloatArray) -> FloatArray:
        return unanimity_values(row, code, outcome / np.maximum(size, 1), len(journeys.channels))

    return split(rows.conversions), None if rows.values is None else split(rows.values)


def unanimity_values(row: IntArray, code: IntArray, share: FloatArray, n: int) -> FloatArray:
    """Add the share of each row to every channel in it.

    Parameters
    ----------
    row, code
        Shape (n_pairs,); the distinct channels of each row.
    share
        Shape (n_rows,); worth of the row over its number of distinct channels.
    n
        Number of channels.

    Returns
    -------
    numpy.ndarray
        Shape (n,); the Shapley value of each channel.
    """
    return sum_by(code, share[row], n)
