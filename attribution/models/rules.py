"""Rules: credit by the place or the age of a touch in its journey.

A rule is a convention, not evidence: it says how to split a conversion, not what caused it. With
n touches in a journey, i = 1 .. n, each rule is the weight w_i of a touch; the weights of a
journey sum to 1, and repeated touches of a channel count each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.durations import MICROSECONDS_PER_DAY, Duration, microseconds
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models.base import Kind, SeparableModel
from attribution.segments import reduce_rows
from attribution.transforms import is_direct


@dataclass(frozen=True, kw_only=True)
class FirstClick(SeparableModel):
    """All credit to the first touch: w_1 = 1.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b > c"], "conversions": [1]})
    >>> FirstClick().attribute(Journeys.from_paths(table)).to_frame()["conversions"].tolist()
    [1.0, 0.0, 0.0]
    """

    key: ClassVar[str] = "first_click"
    kind: ClassVar[Kind] = "rule"

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return 1 for the first touch of each row."""
        weights = np.zeros(len(journeys.codes))
        weights[journeys.offsets[:-1][journeys.lengths > 0]] = 1.0
        return weights


@dataclass(frozen=True, kw_only=True)
class LastClick(SeparableModel):
    """All credit to the last touch: w_n = 1.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b > c"], "conversions": [1]})
    >>> LastClick().attribute(Journeys.from_paths(table)).to_frame()["conversions"].tolist()
    [0.0, 0.0, 1.0]
    """

    key: ClassVar[str] = "last_click"
    kind: ClassVar[Kind] = "rule"

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return 1 for the last touch of each row."""
        weights = np.zeros(len(journeys.codes))
        weights[journeys.offsets[1:][journeys.lengths > 0] - 1] = 1.0
        return weights


@dataclass(frozen=True, kw_only=True)
class LastNonDirect(SeparableModel):
    """All credit to the last touch that is not direct; to the last where all are.

    Direct is what `attribution.transforms.is_direct` says: "direct" or "(direct)", alone or with
    medium "(none)", in any case. For other channels or other models leave channels out with
    `transforms.without` first.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b > direct"], "conversions": [1]})
    >>> LastNonDirect().attribute(Journeys.from_paths(table)).to_frame()["conversions"].tolist()
    [0.0, 1.0, 0.0]
    """

    key: ClassVar[str] = "last_non_direct"
    kind: ClassVar[Kind] = "rule"

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return 1 for the last touch of each row that is not direct."""
        direct = np.array([is_direct(name) for name in journeys.channels] or [False])
        position = np.where(direct[journeys.codes], 0, np.arange(1, len(journeys.codes) + 1))
        chosen = reduce_rows(np.maximum, position, journeys.offsets)[journeys.lengths > 0] - 1
        last = journeys.offsets[1:][journeys.lengths > 0] - 1
        weights = np.zeros(len(journeys.codes))
        weights[np.where(chosen < 0, last, chosen)] = 1.0
        return weights


@dataclass(frozen=True, kw_only=True)
class Linear(SeparableModel):
    """Equal credit to every touch: w_i = 1 / n.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > a > b > c"], "conversions": [1]})
    >>> Linear().attribute(Journeys.from_paths(table)).to_frame()["conversions"].tolist()
    [0.5, 0.25, 0.25]
    """

    key: ClassVar[str] = "linear"
    kind: ClassVar[Kind] = "rule"

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return 1 / n for each touch."""
        return np.repeat(1.0 / np.maximum(journeys.lengths, 1), journeys.lengths)


@dataclass(frozen=True, kw_only=True)
class PositionBased(SeparableModel):
    """Fixed shares to the first and last touch, the rest equally to those between.

    w_1 = first, w_n = last, the others (1 - first - last) / (n - 2). A single touch gets all;
    with two, the ends are renormalised to first / (first + last) and last / (first + last)
    (to one half each where both are 0).

    Parameters
    ----------
    first, last
        Shares of the two ends, from 0 to 1, together at most 1. 0.4 and 0.4 is the U shape.

    Raises
    ------
    InputError
        If the shares are out of range.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b > c > d"], "conversions": [1]})
    >>> u = PositionBased().attribute(Journeys.from_paths(table))
    >>> u.to_frame()["conversions"].round(3).tolist()
    [0.4, 0.1, 0.1, 0.4]
    >>> PositionBased.j_shaped()
    PositionBased(first=0.2, last=0.6)
    """

    key: ClassVar[str] = "position_based"
    kind: ClassVar[Kind] = "rule"
    first: float = 0.4
    last: float = 0.4

    def __post_init__(self) -> None:
        numbers = isinstance(self.first, int | float) and isinstance(self.last, int | float)
        if not numbers or not (
            0 <= self.first <= 1 and 0 <= self.last <= 1 and self.first + self.last <= 1
        ):
            raise InputError(
                f"first={self.first!r} and last={self.last!r} are no shares. Hint: both from 0 "
                "to 1, together at most 1."
            )

    @classmethod
    def u_shaped(cls) -> PositionBased:
        """Return 40 / 20 / 40."""
        return cls()

    @classmethod
    def j_shaped(cls) -> PositionBased:
        """Return 20 / 20 / 60: the touch that closes counts most."""
        return cls(first=0.2, last=0.6)

    @classmethod
    def inverse_j_shaped(cls) -> PositionBased:
        """Return 60 / 20 / 20: the touch that opens counts most."""
        return cls(first=0.6, last=0.2)

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return the weight of each touch by its place."""
        lengths = journeys.lengths
        middle = max(0.0, 1 - self.first - self.last) / np.maximum(lengths - 2, 1)
        weights = np.repeat(middle, lengths)
        starts, lasts = journeys.offsets[:-1], journeys.offsets[1:] - 1
        ends = self.first + self.last
        pair = (self.first / ends, self.last / ends) if ends > 0 else (0.5, 0.5)
        for chosen, first, last in (
            (lengths > 2, self.first, self.last),
            (lengths == 2, *pair),
            (lengths == 1, 1.0, 1.0),
        ):
            weights[starts[chosen]] = first
            weights[lasts[chosen]] = last
        return weights


@dataclass(frozen=True, kw_only=True)
class TimeDecay(SeparableModel):
    """More credit to younger touches: w_i proportional to 2^(-age_i / half_life).

    Ages are elapsed time from touch to conversion, continuous. Only differences of ages within a
    journey matter; the youngest is subtracted first, so that half-lives of minutes work with
    ages of months.

    Parameters
    ----------
    half_life
        Age at which a touch counts half as much; a number with a unit or a timedelta.

    Raises
    ------
    InputError
        If the half-life cannot be read or is not positive; on use, if touches have no age.

    Examples
    --------
    >>> from datetime import datetime, timedelta
    >>> from attribution import Journey, Touchpoint
    >>> end = datetime(2025, 3, 10)
    >>> touches = [Touchpoint("a", end - timedelta(days=7)), Touchpoint("b", end)]
    >>> journeys = Journeys.from_journeys([Journey(touches, conversions=3, end=end)])
    >>> TimeDecay().attribute(journeys).to_frame()["conversions"].tolist()
    [1.0, 2.0]
    """

    key: ClassVar[str] = "time_decay"
    kind: ClassVar[Kind] = "rule"
    needs: ClassVar[tuple[Literal["ages"], ...]] = ("ages",)
    half_life: Duration = "7D"

    def __post_init__(self) -> None:
        microseconds(self.half_life, "half_life")

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return the weight of each touch by its age."""
        ages = journeys.ages
        if ages is None:
            raise InputError(self.unmet(journeys))
        half_life = microseconds(self.half_life, "half_life") / MICROSECONDS_PER_DAY
        return decay_weights(ages, journeys.offsets, half_life)


def decay_weights(ages: FloatArray, offsets: IntArray, half_life: float) -> FloatArray:
    """Return 2^(-age / half_life), normalised within each row.

    Parameters
    ----------
    ages
        Shape (n_touches,); in the unit of `half_life`.
    offsets
        Shape (n_rows + 1,); rows of touches.
    half_life
        Positive.

    Returns
    -------
    numpy.ndarray
        Shape (n_touches,); sums to 1 in each row.
    """
    lengths = np.diff(offsets)
    youngest = np.repeat(reduce_rows(np.minimum, ages, offsets), lengths)
    weights = np.exp2((youngest - ages) / half_life)
    return np.asarray(weights / np.repeat(reduce_rows(np.add, weights, offsets), lengths))
