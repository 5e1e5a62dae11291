"""What is lost when states are removed from a chain.

Symbols are those of `attribution.models.chains`. The removal effect is loss / P; effects do not sum
to 1.

**Null.** Journeys that reach a state of the set G are lost. Of P that takes away
v_G . (N_GG)^-1 . h_G (`attribution.models.factors`), and the same loss is what journeys earn in G
itself and, going on from there, until they are back in G:

    loss = v_G b_G + (v_G Q_GR) (I - Q_RR)^-1 b_R,    R: all states but G,

a walk over the chain for every set, in which only positive terms are added
(`attribution.models.walks`). Walks cost little where journeys are short. Of a dense factorisation,
a sparse one and walks the one with the least work is chosen.

**Redistribute.** Transitions into G are deleted and the remaining ones of each state, and of the
start, rescaled to sum to 1; a state left with none leads to null. The effect 1 - P' / P is signed.

(Linking the predecessors of a removed state to its successors would leave every conversion
probability as it is: with N' for the inverse of I - Q_GG,

    (I - Q_RR - Q_RG N' Q_GR)^-1

is the block N_RR of N.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray
from attribution.errors import InputError, warn
from attribution.models.chains import TOLERANCE, Chain
from attribution.models.factors import dense_losses, narrow_order, sparse_losses
from attribution.models.walks import MAX_STEPS, Walk, in_blocks, walk

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ALWAYS_DENSE, DENSE_STATES = 500, 12_000  # milliseconds; a matrix of 1.2 GB
WALK_PENALTY, SPARSE_PENALTY = 10, 30  # cost of an operation in dense ones


Removal = Literal["null", "redistribute"]


class Effects(NamedTuple):
    """Removal effects and how they were found.

    Attributes
    ----------
    effects
        Shape (n_groups, n_rewards); share of each reward that is lost, 0 where there is none.
    solver
        "dense" or "sparse" factorisation, or "iterative".
    error_bound
        Largest error of an iterative effect, certified up to rounding; None for a factorisation.
    """

    effects: FloatArray
    solver: str
    error_bound: float | None


def null_effects(chain: Chain, groups: Sequence[IntArray]) -> Effects:
    """Return the share of each reward that is lost when a group of states leads to null.

    Parameters
    ----------
    chain
        The chain.
    groups
        Sets of states, each an integer index; may be empty.
    """
    solver, losses_of = _cheapest(chain, groups)
    if losses_of is None:
        losses, bound = walked_losses(chain, groups)
    else:
        losses, bound = losses_of(chain, groups), None
    return Effects(np.clip(_shares(losses, chain.total), 0.0, 1.0), solver, bound)


def _shares(parts: FloatArray, total: FloatArray) -> FloatArray:
    return np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)


def _cheapest(
    chain: Chain, groups: Sequence[IntArray]
) -> tuple[str, Callable[[Chain, Sequence[IntArray]], FloatArray] | None]:
    """Return the solver of least work by name, and its function where it is a factorisation."""
    sizes = np.array([len(members) for members in groups], dtype=np.float64)
    n_states, columns = len(chain.visits), sizes.sum()
    if n_states <= ALWAYS_DENSE:
        return "dense", dense_losses
    dense = sparse = np.inf
    if n_states <= DENSE_STATES:
        dense = 2 / 3 * n_states**3 + 2.0 * columns * n_states**2
    _, rows = narrow_order(chain.transitions)
    if max(rows.sum(), (sizes**2).max(initial=0.0)) <= DENSE_STATES**2:
        sparse = SPARSE_PENALTY * (2.0 * (rows**2).sum() + 4.0 * columns * (rows.sum() + n_states))
    dense, sparse = (work + 2 / 3 * (sizes**3).sum() for work in (dense, sparse))
    step = 2.0 * WALK_PENALTY * (chain.transitions.nnz + 4 * n_states) * max(1, len(groups))
    longest = min(dense / step, sparse / step, MAX_STEPS)
    if np.isinf(min(dense, sparse)) or steps_of_journeys(chain, longest) <= longest:
        return "iterative", None
    return ("dense", dense_losses) if dense <= sparse else ("sparse", sparse_losses)


def steps_of_journeys(chain: Chain, longest: float = MAX_STEPS) -> int:
    """Return after how many steps too little mass is left to matter; at most about `longest`.

    Removed states only shorten journeys.
    """
    start = chain.starts[:, None]
    backward = chain.transitions.T.tocsr()
    return walk(backward, chain.reward, start, np.ones_like(start), chain.small, longest + 1).steps


def walked_losses(chain: Chain, groups: Sequence[IntArray]) -> tuple[FloatArray, float]:
    """Return what journeys earn in each group and from there until they are back.

    Returns
    -------
    losses, bound
        Shape (n_groups, n_rewards), in units of the reward; and the largest error of a loss,
        relative to the total.
    """
    backward, small = chain.transitions.T.tocsr(), chain.small
    of_states = chain.visits[:, None] * chain.reward

    def some(numbers: range) -> Walk:
        start = np.zeros((len(chain.visits), len(numbers)))
        scale = np.ones_like(start)
        for column, number in enumerate(numbers):
            members = groups[number]
            start[members, column] = chain.visits[members]
            scale[members, column] = 0.0
        return walk(backward, chain.reward, backward @ start, scale, small)

    if not len(groups):
        return np.zeros((0, chain.reward.shape[1])), 0.0
    earned, left = in_blocks(len(groups), some, "removals")
    own = np.array([of_states[members].sum(axis=0) for members in groups])
    return own + earned, _certificate(chain, left)


def _certificate(chain: Chain, left: FloatArray) -> float:
    """Return the largest error that the mass left can mean; warn where it matters."""
    bound = float(left.max()) * chain.worth_of_mass
    if bound > 10 * TOLERANCE:
        warn(
            f"Journeys in this chain are so long that {MAX_STEPS:,} steps do not end them; removal "
            f"effects are certain to {bound:.1e} only."
        )
    return bound


def redistributed_effects(chain: Chain, groups: Sequence[IntArray]) -> Effects:
    """Return 1 - P' / P when a group's inflow is rescaled over the other transitions.

    Signed: without the group conversions may become more likely. Solved set by set, densely for
    few states or long journeys and by walks otherwise.
    """
    n_states, total = len(chain.visits), chain.total
    if not len(groups) or not n_states:
        return Effects(np.zeros((len(groups), len(total))), "dense", None)
    forward, backward = chain.transitions, chain.transitions.T.tocsr()

    def without(members: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return start and scale; 0 where no conversion can follow, so that every walk ends."""
        rest = np.ones(n_states)
        rest[members] = 0.0
        stays = forward @ rest + chain.ends
        lives = _reach_conversion(forward, chain.reward, rest > 0.0)
        scale = np.divide(1.0, stays, out=np.zeros(n_states), where=lives)
        kept = chain.starts * rest
        whole = kept.sum()
        return (kept * (chain.starts.sum() / whole) if whole > 0 else kept), scale

    if _dense_is_faster(chain):
        rest = np.array([_dense_yield(chain, *without(members)) for members in groups])
        return Effects(np.where(total > 0, 1.0 - _shares(rest, total), 0.0), "dense", None)

    def some(numbers: range) -> Walk:
        columns = [without(groups[number]) for number in numbers]
        start = np.stack([start for start, _ in columns], axis=1)
        scale = np.stack([scale for _, scale in columns], axis=1)
        return walk(backward, chain.reward, start, scale, chain.small)

    rest, left = in_blocks(len(groups), some, "removals")
    effects = np.where(total > 0, 1.0 - _shares(rest, total), 0.0)
    return Effects(effects, "iterative", _certificate(chain, left))


EFFECTS = {"null": null_effects, "redistribute": redistributed_effects}


def require_removal(removal: object) -> None:
    """Raise `InputError` if this is no kind of removal."""
    if removal not in tuple(EFFECTS):
        raise InputError(
            f"removal={removal!r} is not one of {tuple(EFFECTS)}. Hint: removal='null' is the "
            "definition of the removal effect."
        )


def _dense_is_faster(chain: Chain) -> bool:
    """Tell whether a dense solution for a set takes less work than its walk."""
    n_states = len(chain.visits)
    if not ALWAYS_DENSE < n_states <= DENSE_STATES:
        return n_states <= ALWAYS_DENSE
    step = 2.0 * WALK_PENALTY * (chain.transitions.nnz + 4 * n_states)
    longest = min(2 / 3 * n_states**3 / step, MAX_STEPS)
    return steps_of_journeys(chain, longest) > longest


def _dense_yield(chain: Chain, start: FloatArray, scale: FloatArray) -> FloatArray:
    """Return what the start earns over the states of positive scale, shape (n_rewards,)."""
    lives = np.flatnonzero(scale)
    inside = np.eye(len(lives)) - scale[lives, None] * chain.transitions[lives][:, lives].toarray()
    h = np.linalg.solve(inside, scale[lives, None] * chain.reward[lives])
    return np.asarray(start[lives] @ h)


def _reach_conversion(forward: csr_array[Any], reward: FloatArray, alive: BoolArray) -> BoolArray:
    """Return the states from which a conversion can follow over living states, as a mask."""
    reached = alive & (reward[:, 0] > 0)
    front = reached
    while front.any():
        front = alive & ~reached & (forward @ front.astype(np.float64) > 0)
        reached = reached | front
    return reached
