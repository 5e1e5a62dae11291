"""Losses of removed states from one factorisation of I - Q, dense or sparse.

By block inversion, sending the states of a set G to null costs v_G . (N_GG)^-1 . h_G (symbols as
in `attribution.models.chains`); for a single state v_i h_i / N_ii. One factorisation serves every
set.

A dense factorisation costs n_states^3 operations whatever the chain, a sparse one little where a
good order of the states leaves few fill-ins.

Source: Cuthill and McKee (1969), Reducing the bandwidth of sparse symmetric matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.models.chains import Chain
from attribution.segments import offsets_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BLOCK = 256


def dense_losses(chain: Chain, groups: Sequence[IntArray]) -> FloatArray:
    """Return v_G . (N_GG)^-1 . h_G for each group of states G, from one factorisation of I - Q.

    Returns
    -------
    numpy.ndarray
        Shape (n_groups, n_rewards); in units of the reward.
    """
    from scipy.linalg import lu_factor, lu_solve

    if not len(chain.visits):
        return np.zeros((len(groups), chain.reward.shape[1]))
    matrix = chain.transitions.toarray()
    np.negative(matrix, out=matrix)
    matrix[np.diag_indices(len(matrix))] += 1.0
    factors = lu_factor(matrix, overwrite_a=True, check_finite=False)
    return _factored_losses(
        chain, groups, lambda right: lu_solve(factors, right, overwrite_b=True, check_finite=False)
    )


def sparse_losses(chain: Chain, groups: Sequence[IntArray]) -> FloatArray:
    """Return the same from a sparse factorisation in the order of `narrow_order`."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import splu

    order, _ = narrow_order(chain.transitions)
    matrix = (eye_array(len(order)) - chain.transitions)[order][:, order].tocsc()
    # I - Q needs no pivots: each is at least the chance to leave for good.
    factors = splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0)
    place = np.argsort(order)
    return _factored_losses(chain, groups, lambda right: factors.solve(right[order])[place])


def _factored_losses(
    chain: Chain, groups: Sequence[IntArray], solve: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    losses = np.zeros((len(groups), chain.reward.shape[1]))
    h = solve(chain.reward.copy())

    def columns(states: IntArray) -> FloatArray:
        unit = np.zeros((len(chain.visits), len(states)))
        unit[states, np.arange(len(states))] = 1.0
        return solve(unit)

    for start, members in _blocks(groups):
        states, cuts = np.concatenate(members), offsets_of(np.array([len(g) for g in members]))
        parts = np.split(states, range(BLOCK, len(states), BLOCK))
        inside = np.hstack([columns(part)[states] for part in parts])
        for i, group in enumerate(members):
            own = slice(cuts[i], cuts[i + 1])
            meet = np.linalg.solve(inside[own, own], h[group])
            losses[start + i] = chain.visits[group] @ meet
    return losses


def _blocks(groups: Sequence[IntArray]) -> Iterator[tuple[int, Sequence[IntArray]]]:
    """Cut the groups into runs of at most BLOCK states (or one group), with their first number."""
    start = size = 0
    for i, members in enumerate(groups):
        if size and size + len(members) > BLOCK:
            yield start, groups[start:i]
            start, size = i, 0
        size += len(members)
    if start < len(groups):
        yield start, groups[start:]


def narrow_order(transitions: csr_array[Any]) -> tuple[IntArray, FloatArray]:
    """Return an order of the states in which a factorisation fills in little.

    States with few neighbours come first, ordered to lie near their neighbours (reverse
    Cuthill-McKee), those with many last. Fill-ins stay between the diagonal and the first entry
    of a row, or of a column; of some limits to "few" the one with the least such space is taken.

    Returns
    -------
    order, rows
        Shape (n_states,); the order, and the length of that space in each row.
    """
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    pattern = (abs(transitions) + abs(transitions).T).tocsr()
    pattern.setdiag(1.0)
    neighbours = np.diff(pattern.indptr)

    def with_last(quantile: float) -> tuple[IntArray, FloatArray]:
        few = neighbours <= np.quantile(neighbours, quantile, method="lower")
        light, heavy = np.flatnonzero(few), np.flatnonzero(~few)
        inner = reverse_cuthill_mckee(pattern[light][:, light].tocsr(), symmetric_mode=True)
        order = np.concatenate([light[inner], heavy])
        place = np.argsort(order)
        first = np.minimum.reduceat(place[pattern.indices], pattern.indptr[:-1])
        return order, (place - first)[order].astype(np.float64)

    return min(map(with_last, (1.0, 0.99, 0.9)), key=lambda found: float(found[1].sum()))
