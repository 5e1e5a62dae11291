"""Multi-touch attribution: how much of each conversion each channel earned.

Events or paths become `Journeys`; a model attributes them; `compare` puts models side by side.
"""

from attribution import datasets
from attribution.compare import compare
from attribution.errors import (
    AttributionError,
    AttributionWarning,
    ColumnNotFoundError,
    InputError,
    MissingDependencyError,
)
from attribution.journeys import Journeys
from attribution.models import (
    DEFAULT_MODELS,
    MODELS,
    FirstClick,
    LastClick,
    LastNonDirect,
    Linear,
    Markov,
    PositionBased,
    Shapley,
    TimeDecay,
)
from attribution.results import Attribution, Comparison
from attribution.touchpoints import Journey, Touchpoint

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "Attribution",
    "AttributionError",
    "AttributionWarning",
    "ColumnNotFoundError",
    "Comparison",
    "FirstClick",
    "InputError",
    "Journey",
    "Journeys",
    "LastClick",
    "LastNonDirect",
    "Linear",
    "Markov",
    "MissingDependencyError",
    "PositionBased",
    "Shapley",
    "TimeDecay",
    "Touchpoint",
    "compare",
    "datasets",
]
