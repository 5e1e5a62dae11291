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
    StorageError,
)
from attribution.ingest.identity import Identity
from attribution.interplay import coalition_worths, ordered_shapley, shapley_interactions
from attribution.journeys import Journeys
from attribution.mapping import transition_graph, transition_matrix
from attribution.models import (
    DEFAULT_MODELS,
    MODELS,
    FirstClick,
    LastClick,
    LastNonDirect,
    Linear,
    Markov,
    MarkovPathLevel,
    PositionBased,
    Shapley,
    TimeDecay,
)
from attribution.models.games import shapley_values
from attribution.orders import OrderSelection, select_order
from attribution.removal import removal_effects
from attribution.results import Attribution, Comparison
from attribution.statistics import TransitionCounts
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
    "Identity",
    "InputError",
    "Journey",
    "Journeys",
    "LastClick",
    "LastNonDirect",
    "Linear",
    "Markov",
    "MarkovPathLevel",
    "MissingDependencyError",
    "OrderSelection",
    "PositionBased",
    "Shapley",
    "StorageError",
    "TimeDecay",
    "Touchpoint",
    "TransitionCounts",
    "coalition_worths",
    "compare",
    "datasets",
    "ordered_shapley",
    "removal_effects",
    "select_order",
    "shapley_interactions",
    "shapley_values",
    "transition_graph",
    "transition_matrix",
]
