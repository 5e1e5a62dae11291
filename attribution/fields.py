"""The fields of `Journeys`: which are per touch and per row, their types, and what must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import Array
from attribution.errors import InputError

if TYPE_CHECKING:
    from attribution.journeys import Journeys

PER_TOUCH = ("codes", "times", "given_ages", "touch_ids")
PER_ROW = ("conversions", "nulls", "values", "ends", "users", "conversion_types")
KINDS = {
    **dict.fromkeys(("conversions", "nulls", "values", "given_ages"), np.float64),
    **dict.fromkeys(("offsets", "times", "touch_ids", "ends", "users"), np.int64),
    "codes": np.int32,
}


def cast(column: Any, name: str) -> Array:
    """Bring a column to its type where nothing is lost but width."""
    kind = KINDS[name]
    try:
        return np.asarray(column).astype(kind, casting="same_kind", copy=False)
    except TypeError as error:
        raise InputError(f"{name} must hold {np.dtype(kind)}.") from error


def check_shapes(j: Journeys) -> None:
    """Refuse columns that do not fit together, and figures that are no counts."""
    if list(j.channels) != sorted(set(j.channels)):
        raise InputError("channels must be sorted and distinct.")
    if len(j.offsets) < 1 or j.offsets[0] != 0 or (j.offsets[1:] < j.offsets[:-1]).any():
        raise InputError("offsets must start at 0 and never fall.")
    if j.offsets[-1] != len(j.codes):
        raise InputError(f"offsets end at {j.offsets[-1]}, but there are {len(j.codes)} codes.")
    if len(j.codes) and not (j.codes.min() >= 0 and j.codes.max() < len(j.channels)):
        raise InputError(f"codes must lie in 0 .. {len(j.channels) - 1}.")
    per_touch = [(n, getattr(j, n)) for n in PER_TOUCH] + list(j.touch_attributes.items())
    per_row = [(n, getattr(j, n)) for n in PER_ROW] + list(j.journey_attributes.items())
    for columns, length in ((per_touch, len(j.codes)), (per_row, len(j))):
        for name, column in columns:
            if column is not None and len(column) != length:
                raise InputError(f"{name} has length {len(column)}, not {length}.")
    for name in ("conversions", "nulls", "values"):
        column = getattr(j, name)
        if column is not None and not np.isfinite(column).all():
            raise InputError(f"{name} must be finite.")
        if column is not None and name != "values" and (column < 0).any():
            raise InputError(f"{name} must not be negative.")
    if j.values is not None and ((j.values != 0) & (j.conversions == 0)).any():
        raise InputError("values must be 0 where there is no conversion.")
