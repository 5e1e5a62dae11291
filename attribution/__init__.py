"""Multi-touch attribution: how much of each conversion each channel earned.

Events or paths become `Journeys`; a model attributes them; `compare` puts models side by side.
"""

from attribution import budget, datasets, simulate
from attribution.calibration import Lift, calibrate
from attribution.compare import compare
from attribution.errors import (
    AttributionError,
    AttributionWarning,
    ColumnNotFoundError,
    InputError,
    MissingDependencyError,
    StorageError,
)
from attribution.evaluate import Evaluation, agreement, evaluate, truth_errors
from attribution.ingest.identity import Identity
from attribution.interplay import coalition_worths, ordered_shapley, shapley_interactions
from attribution.journeys import Journeys
from attribution.mapping import transition_graph, transition_matrix
from attribution.models import (
    DEFAULT_MODELS,
    MODELS,
    AdditiveHazard,
    BaggedLogistic,
    FirstClick,
    LastClick,
    LastNonDirect,
    LeaveOneOut,
    Linear,
    Markov,
    MarkovPathLevel,
    PositionBased,
    Probabilistic,
    Shapley,
    TimeDecay,
)
from attribution.models.games import shapley_values
from attribution.orders import OrderSelection, select_order
from attribution.predictive import predictive_checks
from attribution.removal import removal_effects
from attribution.results import Attribution, Comparison
from attribution.statistics import TransitionCounts
from attribution.touchpoints import Journey, Touchpoint
from attribution.uncertainty import Resamples, compare_periods, intervals, resample

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "AdditiveHazard",
    "Attribution",
    "AttributionError",
    "AttributionWarning",
    "BaggedLogistic",
    "ColumnNotFoundError",
    "Comparison",
    "Evaluation",
    "FirstClick",
    "Identity",
    "InputError",
    "Journey",
    "Journeys",
    "LastClick",
    "LastNonDirect",
    "LeaveOneOut",
    "Lift",
    "Linear",
    "Markov",
    "MarkovPathLevel",
    "MissingDependencyError",
    "OrderSelection",
    "PositionBased",
    "Probabilistic",
    "Resamples",
    "Shapley",
    "StorageError",
    "TimeDecay",
    "Touchpoint",
    "TransitionCounts",
    "agreement",
    "budget",
    "calibrate",
    "coalition_worths",
    "compare",
    "compare_periods",
    "datasets",
    "evaluate",
    "intervals",
    "ordered_shapley",
    "predictive_checks",
    "removal_effects",
    "resample",
    "select_order",
    "shapley_interactions",
    "shapley_values",
    "simulate",
    "transition_graph",
    "transition_matrix",
    "truth_errors",
]
