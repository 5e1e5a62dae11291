"""The local minimum of a smooth function within bounds, to as many digits as rounding leaves.

Projected Newton: entries that lie on a bound and are pulled beyond it stay there; the others take
a Newton step, in which eigenvalues of the Hessian count by their absolute values, so that it leads
down also where the function is not convex. The step is cut off at the bounds, and halved until the
function falls. L-BFGS-B does without a Hessian and stops earlier.

Source: Bertsekas (1982), Projected Newton methods for optimization problems with simple
constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attribution.arrays import FloatArray

NEWTON_STEPS = 200
# The scaled gradient; it is a mean over conversions, whose rounding is about 1e-16 for each. Where
# curvature is 1e-3 of the largest, credit then is right to 1e-9.
PRECISION = 1e-12
ENOUGH = 1e-7  # a scaled gradient this small is no reason for a warning
FLAT = 1e-9  # eigenvalues below this share of the largest count as this share
TINY = 1e-300

Function = Callable[[FloatArray, int], Any]
"""Of x and an order: value and gradient (1), and the Hessian as well (2)."""

Minimum = tuple[FloatArray, float, int, float]


def newton(function: Function, x: FloatArray, low: FloatArray, high: FloatArray) -> Minimum:
    """Minimise within bounds by projected Newton steps.

    Returns
    -------
    x, value, n_iterations, gap
        The gap is the largest entry of x - projection of (x - gradient): 0 at a stationary point.
    """
    value, gradient, hessian = function(x, 2)
    best = (np.inf, x, value, gradient)
    idle = n_steps = 0
    for n_steps in range(NEWTON_STEPS + 1):
        gap = float(np.max(np.abs(x - np.clip(x - gradient, low, high))))
        idle = 0 if gap < 0.5 * best[0] else idle + 1
        if gap < best[0]:
            best = (gap, x, value, gradient)
        if gap <= PRECISION or (idle >= 5 and best[0] <= ENOUGH) or n_steps == NEWTON_STEPS:
            break
        free = ~(((x <= low) & (gradient >= 0)) | ((x >= high) & (gradient <= 0)))
        step = np.zeros(len(x))
        size, axes = np.linalg.eigh(hessian[np.ix_(free, free)])
        size = np.maximum(np.abs(size), FLAT * max(np.abs(size).max(), TINY))
        step[free] = -axes @ ((axes.T @ gradient[free]) / size)
        found = _search(function, x, value, gradient, step, low, high)
        if found is None:
            found = _search(function, x, value, gradient, -gradient * free, low, high)
        if found is None:
            break
        x = found
        value, gradient, hessian = function(x, 2)
    gap, x, value, gradient = best
    # What is next to a bound and pulled towards it would have come to lie on it.
    x = np.where((x - low < PRECISION) & (gradient > ENOUGH), low, x)
    return x, value, n_steps, gap


def _search(
    function: Function,
    x: FloatArray,
    value: float,
    gradient: FloatArray,
    step: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> FloatArray | None:
    """Halve a step until it lowers the value, but for rounding; None where no part of it does."""
    slack = 1e-15 * max(1.0, abs(value))
    for halvings in range(50):
        there = np.clip(x + step * 0.5**halvings, low, high)
        fall = float(gradient @ (there - x))
        if fall <= 0 and function(there, 1)[0] <= value + 1e-4 * fall + slack:
            return np.asarray(there)
    return None


def climb(function: Function, x: FloatArray, low: FloatArray, high: FloatArray) -> Minimum:
    """Minimise within bounds by L-BFGS-B, for too many channels for a Hessian."""
    from scipy import optimize

    found: Any = optimize.minimize(  # type: ignore[call-overload]
        lambda at: function(at, 1),
        x,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([low, high], axis=1),
        options={"maxiter": 5_000, "maxfun": 10_000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 20},
    )
    gap = float(np.max(np.abs(found.x - np.clip(found.x - found.jac, low, high))))
    return np.asarray(found.x), float(found.fun), int(found.nit), gap
