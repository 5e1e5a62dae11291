"""Amounts of money in whole cents that keep their sum.

Rounding each amount by itself moves the sum. The largest remainder method rounds all of them down
and gives what is left, one unit each, to those that lost most. No amount moves by a whole unit.

Source: Hamilton (1792), as described by Balinski and Young (1982), Fair Representation.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray
from attribution.errors import InputError

NOISE, MOST_NOISE = 1e-9, 1e-4  # so close to whole units, relative and at most, it is whole


def whole_units(
    amounts: npt.ArrayLike, unit: float = 0.01, total: float | None = None
) -> FloatArray:
    """Round amounts to whole units such that they sum to the total, itself rounded.

    Ties go to the first. An amount that is whole already stays.

    Parameters
    ----------
    amounts
        Shape (n,).
    unit
        What every amount becomes a multiple of; above 0.
    total
        What the amounts are scaled to first; their own sum where None.

    Returns
    -------
    numpy.ndarray
        Shape (n,).

    Raises
    ------
    InputError
        If an amount is not finite, the unit not above 0, or amounts that sum to 0 have a total.

    Examples
    --------
    >>> whole_units([10 / 3, 10 / 3, 10 / 3]).tolist()
    [3.34, 3.33, 3.33]
    >>> whole_units([1.0, 1.0, 0.0], 1.0, total=5.0).tolist()
    [3.0, 2.0, 0.0]
    """
    given = np.asarray(amounts, dtype=np.float64)
    if not np.isfinite(given).all():
        first = int(np.argmin(np.isfinite(given)))
        raise InputError(f"amounts has {given[first]} in row {first}. Hint: finite numbers.")
    if not (math.isfinite(unit) and unit > 0):
        raise InputError(f"unit={unit!r} is not above 0. Hint: 0.01 for cents.")
    whole = math.fsum(given)
    if total is not None and total != whole:
        if whole == 0:
            raise InputError(f"The amounts sum to 0 and cannot be scaled to total={total!r}.")
        given = given * (total / whole)
    counts = given / unit
    near = np.rint(counts)
    noise = np.minimum(NOISE * np.maximum(1.0, np.abs(near)), MOST_NOISE)
    down = np.where(np.abs(counts - near) <= noise, near, np.floor(counts))
    left = round((whole if total is None else total) / unit) - round(math.fsum(down))
    order = np.argsort(down - counts, kind="stable")
    if left >= 0:
        down[order[:left]] += 1.0
    else:
        down[order[left:]] -= 1.0
    per_one = round(1.0 / unit)
    return down / per_one if math.isclose(per_one * unit, 1.0, rel_tol=1e-12) else down * unit
