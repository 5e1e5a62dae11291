"""The models, and the only registry of them."""

from __future__ import annotations

from attribution.models.base import Model
from attribution.models.markov import Markov, MarkovPathLevel
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
}
DEFAULT_MODELS = tuple(MODELS)[:7]

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "FirstClick",
    "LastClick",
    "LastNonDirect",
    "Linear",
    "Markov",
    "MarkovPathLevel",
    "Model",
    "PositionBased",
    "Shapley",
    "TimeDecay",
]
