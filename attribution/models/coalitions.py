"""Counting journeys by the set of channels they touch."""

from __future__ import annotations

import numpy as np

from attribution.journeys import Journeys
from attribution.models.base import Model
from attribution.models.spread import touches_of
from attribution.statistics import CoalitionCounts


def coalitions_of(model: Model, journeys: Journeys) -> CoalitionCounts:
    """Return the sets of channels of the journeys as the statistic of a model."""
    row, code = journeys.distinct
    return CoalitionCounts.of(
        model,
        journeys,
        touches=touches_of(journeys),
        **CoalitionCounts.merged_sets(
            code,
            np.searchsorted(row, np.arange(len(journeys) + 1)),
            journeys.conversions,
            journeys.nulls,
            journeys.values,
        ),
    )
