"""Amounts of money in whole cents that keep their sum, and a plan's limits.

Rounding each amount by itself moves the sum. The largest remainder method rounds all of them down
and gives what is left, one unit each, to those that lost most. No amount moves by a whole unit.
Within limits, it goes to those that lost most of those that may have more, group by group; where
limits that are no whole units cost many lines a part of one, others may get several.

Source: Hamilton (1792), as described by Balinski and Young (1982), Fair Representation.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray, is_number
from attribution.budget.limits import Group, Limits, inwards
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
        If an amount is not finite, the unit not above 0, the total negative, or amounts that sum
        to 0 have a total.

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
    require_unit(unit)
    if total is not None and not (is_number(total) and 0 <= total < math.inf):
        raise InputError(f"total={total!r} is not a number from 0 on. Hint: an amount of money.")
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
    return in_money(down, unit)


def largest_remainders(
    wanted: FloatArray, least: FloatArray, most: FloatArray, total: float
) -> FloatArray:
    """Return whole numbers from `least` to `most` that sum to a total, near those wanted.

    All get their least; what is left goes, one by one, to those that then lack most.

    Parameters
    ----------
    wanted
        Shape (n,).
    least, most
        Shape (n,); whole numbers.
    total
        A whole number from the sum of `least` to that of `most`.

    Examples
    --------
    >>> ends = np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0])
    >>> largest_remainders(np.array([0.6, 1.5, 1.9]), *ends, 3.0).tolist()
    [1.0, 1.0, 1.0]
    """
    left = round(total - float(least.sum()))
    room = np.rint(np.minimum(most - least, left)).astype(np.int64)
    at = np.repeat(np.arange(len(room)), room)
    nth = np.arange(len(at)) - np.repeat(np.cumsum(room) - room, room)
    lacking = (wanted - least)[at] - nth
    chosen = at[np.argsort(-lacking, kind="stable")[:left]]
    return np.asarray(least + np.bincount(chosen, minlength=len(room)))


def units_within(
    spend: FloatArray, unit: float, limits: Limits, total: float, most_money: float
) -> FloatArray:
    """Round the free lines of a plan to whole units within its limits; fixed ones stay.

    Parameters
    ----------
    spend
        Shape (n,); money of each line.
    unit
        What every free line becomes a multiple of.
    limits
        Of the plan; no floor or ceiling, of a line or of a group, is passed.
    total
        Money for the free lines. They get as many whole units of it as they have room for.
    most_money
        What they may get where floors in whole units need more than the total.

    Returns
    -------
    numpy.ndarray
        Shape (n,).

    Raises
    ------
    InputError
        If no amounts in whole units are within the limits.
    """
    require_unit(unit)
    coarse = replace(limits, step=unit)
    number = float(inwards(total, unit, up=False))
    least, most = _ends(spend, coarse, number)
    fewest, greatest = coarse.reach(coarse.root, least, most)
    wrong = _too_coarse(coarse, least, most)
    number = max(number, min(fewest, float(inwards(most_money, unit, up=False))))
    if wrong is None and fewest > number:
        wrong = f"floors need {fewest * unit:,.10g} of the {most_money:,.10g} that there are"
    if wrong is not None:
        raise InputError(
            f"unit={unit:g} is too coarse for the limits: {wrong}. Hint: a smaller unit, limits "
            f"that are multiples of it, or a plan in whole steps: allocate(..., step={unit:g})."
        )
    counts, wanted = np.zeros(len(spend)), spend / unit

    def fill(group: Group, number: float) -> None:
        own, inner = group.own, list(group.groups.values())
        ends = np.array([coarse.reach(each, least, most) for each in inner]).reshape(-1, 2)
        ask = np.append(wanted[own], [wanted[each.lines].sum() for each in inner])
        low, high = np.append(least[own], ends[:, 0]), np.append(most[own], ends[:, 1])
        given = largest_remainders(ask, low, high, number)
        counts[own] = given[: len(own)]
        for each, amount in zip(inner, given[len(own) :], strict=True):
            fill(each, float(amount))

    fill(coarse.root, min(number, greatest))
    return np.where(limits.free, in_money(counts, unit), spend)


def _ends(spend: FloatArray, limits: Limits, number: float) -> tuple[FloatArray, FloatArray]:
    """Return the least and most units of each line: as near to its spend as the number allows."""
    assert limits.step is not None
    down, up = (inwards(spend, limits.step, up=way) for way in (False, True))
    low, high = limits.units(limits.high)
    fewer = more = 0
    before = (np.inf, -np.inf)
    for _ in range(len(spend).bit_length() + 2):
        least, most = np.maximum(down - fewer, low), np.minimum(up + more, high)
        ends = limits.reach(limits.root, least, most)
        tight = _too_coarse(limits, least, most) is not None
        short, long = ends[0] > number, ends[1] < number
        if not tight and not (short and ends[0] < before[0]) and not (long and ends[1] > before[1]):
            break
        fewer, more = 2 * fewer + (tight or short), 2 * more + (tight or long)
        before = ends
    return least, most


def _too_coarse(limits: Limits, least: FloatArray, most: FloatArray) -> str | None:
    """Say which line or group has no whole number of units within its limits."""
    empty = limits.free & (least > most)
    if empty.any():
        return f"{limits.lines[int(empty.argmax())]!r} has no multiple of it within its own"
    groups = list(limits.root.groups.values())
    while groups:
        group = groups.pop()
        fewest, greatest = limits.reach(group, least, most)
        if fewest > greatest:
            return f"group {group.name!r} has no multiple of it within its own"
        groups += group.groups.values()
    return None


def in_money(counts: FloatArray, unit: float) -> FloatArray:
    """Return so many units of money, to the last bit where one is a whole number of them."""
    per_one = round(1.0 / unit)
    return counts / per_one if math.isclose(per_one * unit, 1.0, rel_tol=1e-12) else counts * unit


def require_unit(unit: object) -> None:
    """Raise `InputError` for what is no unit of money."""
    if not (is_number(unit) and math.isfinite(unit) and unit > 0):
        raise InputError(f"unit={unit!r} is not above 0. Hint: 0.01 for cents.")
