"""The models, and the only registry of them."""

from __future__ import annotations

from attribution.models.base import Model, Predictor, Responsive
from attribution.models.hazard import AdditiveHazard
from attribution.models.leave_one_out import LeaveOneOut
from attribution.models.logistic import BaggedLogistic
from attribution.models.markov import Markov, MarkovPathLevel
from attribution.models.probabilistic import Probabilistic
from attribution.models.rules import (
    FirstClick,
    LastClick,
    LastNonDirect,
    Linear,
    PositionBased,
    TimeDecay,
)
from attribution.models.shapley import Shapley

MODELS: dict[str, type[Model]] = {
    "first_click": FirstClick,
    "last_click": LastClick,
    "linear": Linear,
    "time_decay": TimeDecay,
    "position_based": PositionBased,
    "shapley": Shapley,
    "markov": Markov,
    "last_non_direct": LastNonDirect,
    "markov_path_level": MarkovPathLevel,
    "probabilistic": Probabilistic,
    "bagged_logistic": BaggedLogistic,
    "additive_hazard": AdditiveHazard,
    "leave_one_out": LeaveOneOut,
}
DEFAULT_MODELS = tuple(MODELS)[:7]

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "AdditiveHazard",
    "BaggedLogistic",
    "FirstClick",
    "LastClick",
    "LastNonDirect",
    "LeaveOneOut",
    "Linear",
    "Markov",
    "MarkovPathLevel",
    "Model",
    "PositionBased",
    "Predictor",
    "Probabilistic",
    "Responsive",
    "Shapley",
    "TimeDecay",
]
