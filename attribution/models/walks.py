"""Walks over a chain step by step, with a certificate of what is still missing.

Mass x (a row vector) stands in the states of a chain with transitions Q and reward b per visit.
What it will ever earn is x N b with N = (I - Q)^-1: it earns x b, moves on to x Q, and so forth.
In journeys the mass soon shrinks by nearly the same factor q in every two steps (two, because it
may swing between two sets of states). For any q < 1

    x N = (x + x Q) / (1 - q) + (x Q^2 - q x) / (1 - q) N,

so two steps may earn (x + x Q) b / (1 - q) at once and go on with (x Q^2 - q x) / (1 - q): exact
for any q, and with the q that fits little mass is left. It may be negative in places; whatever it
is, it can earn at most its sum of absolute values times the most that is expected from any one
state. That bound certifies the result when a walk stops.

Source: the extrapolation is that of Lyusternik (1947) for the power method, applied to residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attribution.arrays import FloatArray
from attribution.progress import progress

if TYPE_CHECKING:
    from scipy.sparse import csr_array

COLUMNS = 32  # walks side by side: about as many as stay in fast memory
PERIOD = 8  # steps from one extrapolation to the next, its own two included
MAX_STEPS = 20_000
THREADS = 2


class Steps(NamedTuple):
    """The sum of x + x Q + x Q^2 + ... and how much of it is missing.

    Attributes
    ----------
    total
        Shape (n_states, n_walks).
    left
        Shape (n_walks,); sum of the absolute mass still walking, before it was scaled.
    steps
        Steps taken.
    """

    total: FloatArray
    left: FloatArray
    steps: int


class Walk(NamedTuple):
    """What walks side by side have earned.

    Attributes
    ----------
    earned
        Shape (n_walks, n_rewards).
    left, steps
        See `Steps`.
    """

    earned: FloatArray
    left: FloatArray
    steps: int


def walk(
    backward: csr_array[Any],
    reward: FloatArray,
    start: FloatArray,
    scale: FloatArray,
    small: float,
    max_steps: float = MAX_STEPS,
) -> Walk:
    """Walk from `start` until no more than `small` mass is left in any walk.

    Parameters
    ----------
    backward
        Q transposed, shape (n_states, n_states).
    reward
        b, shape (n_states, n_rewards).
    start
        Mass in each state, shape (n_states, n_walks).
    scale
        Factor on what arrives in each state, shape (n_states, n_walks): 0 where walks end.
    small
        Mass that no longer matters.
    max_steps
        Stop here in any case (up to one period later).
    """
    visits, left, steps = sum_of_steps(backward, start, scale, small, max_steps)
    return Walk(visits.T @ reward, left, steps)


def sum_of_steps(
    matrix: csr_array[Any],
    start: FloatArray,
    scale: FloatArray | float,
    small: float,
    max_steps: float = MAX_STEPS,
) -> Steps:
    """Return (I - S M)^-1 S x for columns x by steps; S scales the rows of each column.

    With Q transposed for M these are the visits of walks from x. See `walk` for the parameters.
    Mass must not grow: of the rows that are not scaled to 0, no column of M S may sum to more than
    1. Then what is left only falls, extrapolated or not.
    """
    unscaled = np.divide(1.0, scale, out=np.zeros(np.shape(scale)), where=np.asarray(scale) > 0)

    def mass_of(scaled: FloatArray) -> FloatArray:
        return np.asarray((np.abs(scaled) * unscaled).sum(axis=0))

    def step(mass: FloatArray) -> FloatArray:
        moved: FloatArray = matrix @ mass
        moved *= scale
        return moved

    mass = start * scale
    total = np.zeros_like(mass)
    left, steps = mass_of(mass), 0
    while left.max(initial=0.0) > small and steps < max_steps:
        for _ in range(PERIOD - 2):
            total += mass
            mass = step(mass)
        moved = step(mass)
        after = step(moved)
        q = _factor(mass, after)
        ahead = (after - q * mass) / (1.0 - q)
        left, plainly = mass_of(ahead), mass_of(after)
        worse = np.flatnonzero(left > plainly)
        q[worse], left[worse] = 0.0, plainly[worse]
        ahead[:, worse] = after[:, worse]
        total += (mass + moved) / (1.0 - q)
        mass = ahead
        steps += PERIOD
    return Steps(total, left, steps)


def _factor(mass: FloatArray, after: FloatArray) -> FloatArray:
    """Return for each walk the factor q in [0, 1) for which after - q mass is smallest."""
    square = np.einsum("ij,ij->j", mass, mass)
    product = np.einsum("ij,ij->j", mass, after)
    q = np.divide(product, square, out=np.zeros_like(square), where=square > 0)
    return np.asarray(np.clip(q, 0.0, 0.9999))


def in_blocks(
    n_walks: int, block: Callable[[range], Walk], what: str
) -> tuple[FloatArray, FloatArray]:
    """Do walks in blocks of COLUMNS, side by side in threads.

    Parameters
    ----------
    n_walks
        At least one.
    block
        Does the walks of the given numbers.
    what
        Label of the progress bar.

    Returns
    -------
    earned, left
        Of all walks in order; see `Walk`.
    """
    n_blocks = -(-n_walks // COLUMNS)
    n_blocks = min(n_walks, THREADS * -(-n_blocks // THREADS))
    cuts = [n_walks * i // n_blocks for i in range(n_blocks + 1)]
    ranges = list(map(range, cuts, cuts[1:]))
    with ThreadPoolExecutor(THREADS) as pool:
        walks: Sequence[Walk] = list(progress(pool.map(block, ranges), len(ranges), what))
    earned = np.concatenate([each.earned for each in walks])
    left = np.concatenate([each.left for each in walks])
    return earned, left
