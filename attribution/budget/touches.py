"""Touches as things that cost money: each event once, its cost, and names joined of attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attribution.arrays import Coded, FloatArray, IntArray
from attribution.errors import InputError, require_rows
from attribution.journeys import Journeys
from attribution.segments import group

JOINT = " / "  # between channel and campaign in the name of a line


def first_of_events(journeys: Journeys) -> IntArray:
    """Return one touch of each event, in order: touches of one id are one event."""
    if journeys.touch_ids is None:
        return np.arange(len(journeys.codes))
    return np.sort(np.unique(journeys.touch_ids, return_index=True)[1])


def touch_attribute(journeys: Journeys, name: str) -> Coded:
    """Return an attribute of the touches.

    Raises
    ------
    InputError
        If it was not kept.
    """
    if name not in journeys.touch_attributes:
        known = ", ".join(map(repr, journeys.touch_attributes)) or "none"
        raise InputError(
            f"The touches have no attribute {name!r}, but {known}. Hint: keep it with "
            f"from_events(..., attributes=[{name!r}])."
        )
    return journeys.touch_attributes[name]


def touch_costs(journeys: Journeys, name: str) -> FloatArray:
    """Return the cost of each touch, shape (n_touches,).

    Raises
    ------
    InputError
        If a cost is missing, negative or no number.
    """
    column = touch_attribute(journeys, name)
    try:
        labels = np.array([*map(float, column.labels), np.nan])
    except (TypeError, ValueError):
        raise InputError(f"The attribute {name!r} holds what is no number.") from None
    costs = labels[column.codes]
    require_money(costs, f"attribute {name!r}", "touch")
    return np.asarray(costs)


def joined(columns: Sequence[Coded]) -> Coded:
    """Return one column of the values of several, joined by " / "; missing ones as "(none)"."""
    first, place = group([column.codes for column in columns])
    parts = [[*map(str, column.labels), "(none)"] for column in columns]
    names = [
        JOINT.join(part[column.codes[i]] for part, column in zip(parts, columns, strict=True))
        for i in first
    ]
    joint = Coded.of(names)
    return Coded(joint.codes[place], joint.labels)


def require_money(amounts: FloatArray, where: str, what: str) -> None:
    """Raise `InputError` for amounts that are missing or negative."""
    hint = f"give 0 where nothing was spent; refunds lower the {what} they belong to."
    require_rows(~np.isfinite(amounts), f"no finite amount in {where}", hint, amounts)
    require_rows(amounts < 0, f"negative spend in {where}", hint, amounts)
