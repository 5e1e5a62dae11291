"""Counting journeys by the set of channels they touch."""

from __future__ import annotations

import numpy as np

from attribution.arrays import IntArray
from attribution.journeys import Journeys
from attribution.models.base import Model
from attribution.models.spread import touches_of
from attribution.statistics import CoalitionCounts


def sets_of(journeys: Journeys) -> tuple[IntArray, IntArray]:
    """Return the distinct channels of each row: codes, and the offsets that cut them into rows."""
    row, code = journeys.distinct
    return code, np.searchsorted(row, np.arange(len(journeys) + 1))


def coalitions_of(model: Model, journeys: Journeys) -> CoalitionCounts:
    """Return the sets of channels of the journeys as the statistic of a model."""
    return CoalitionCounts.of(
        model,
        journeys,
        touches=touches_of(journeys),
        **CoalitionCounts.merged_sets(
            *sets_of(journeys),
            journeys.conversions,
            journeys.nulls,
            journeys.values,
        ),
    )
