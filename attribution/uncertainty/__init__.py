"""How sure attributed credit is, by resampling users through the additive statistic."""

from attribution.uncertainty.bounds import require_confidence
from attribution.uncertainty.periods import compare_periods
from attribution.uncertainty.resampling import Resamples, intervals, resample

__all__ = ["Resamples", "compare_periods", "intervals", "require_confidence", "resample"]
