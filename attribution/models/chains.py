"""Absorbing chains: what is lost when states are removed.

With counts from the journeys (stays in one state left out: they change nothing)

    Q_ij = n_ij / n_i    b_i = conversions from i / n_i    s_i = starts in i

the expected visits are v = s N with N = (I - Q)^-1, what a visit will ever earn is h = N b, and
what all journeys earn P = s h. Because every journey that enters a state leaves it, v and
P = v b follow from the counts alone, without a solve. Value per visit in place of b gives
the same for value.

**Null.** Journeys that reach a state of the set G are lost. Of P that takes away

    loss = v_G . (N_GG)^-1 . h_G

by block inversion (for a single state v_i h_i / N_ii), so one factorisation serves every set. The
same loss is what journeys earn in G itself and, going on from there, until they are back in G:

    loss = v_G b_G + (v_G Q_GR) (I - Q_RR)^-1 b_R,    R: all states but G,

a walk over the chain for every set, in which only positive terms are added. The removal effect is
loss / P; effects do not sum to 1.

**Redistribute.** Transitions into G are deleted and the remaining ones of each state, and of the
start, rescaled to sum to 1; a state left with none leads to null. The effect 1 - P' / P is signed.

(Linking the predecessors of a removed state to its successors would leave every conversion
probability as it is: (I - Q_RR - Q_RG N'_GG Q_GR)^-1 is the block N_RR of N.)

A dense factorisation costs n_states^3 operations whatever the chain; a sparse one little where a
good order of the states leaves few fill-ins; walks little where journeys are short. The least
work is chosen.

Sources: Kemeny and Snell (1960), Finite Markov chains; Cuthill and McKee (1969), Reducing the
bandwidth of sparse symmetric matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import warn
from attribution.models.walks import MAX_STEPS, Walk, in_blocks, walk
from attribution.segments import offsets_of
from attribution.statistics import TransitionCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ALWAYS_DENSE, DENSE_STATES = 500, 12_000  # milliseconds; a matrix of 1.2 GB
WALK_PENALTY, SPARSE_PENALTY = 10, 30  # cost of an operation in dense ones
TOLERANCE = 1e-12
BLOCK = 256


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


@dataclass(frozen=True)
class Chain:
    """An absorbing chain, in units of journeys; it never stays in a state.

    Attributes
    ----------
    transitions
        Q, shape (n_states, n_states), sparse.
    starts, visits
        s and v, shape (n_states,); visits in a row count once.
    reward
        b, shape (n_states, n_rewards): conversions, and value.
    ends
        Shape (n_states,); share of the visits after which a journey is over, converted or not.
    """

    transitions: csr_array[Any]
    starts: FloatArray
    visits: FloatArray
    reward: FloatArray
    ends: FloatArray

    @classmethod
    def of(cls, statistic: TransitionCounts) -> Chain:
        """Return the chain of the counts; it rewards conversions, and value where given."""
        from scipy.sparse import csr_array

        n_states, moves = len(statistic.states), statistic.sources != statistic.targets
        sources, targets = statistic.sources[moves], statistic.targets[moves]
        counts = statistic.counts[moves]
        ends = statistic.conversions + statistic.nulls
        visits = np.bincount(sources, counts, n_states) + ends
        each = np.divide(1.0, visits, out=np.zeros(n_states), where=visits > 0)
        rewards = [statistic.conversions]
        if statistic.values is not None:
            rewards.append(statistic.values)
        index = (sources, targets)
        return cls(
            transitions=csr_array((counts * each[sources], index), shape=(n_states, n_states)),
            starts=statistic.starts,
            visits=visits,
            reward=np.stack(rewards, axis=1) * each[:, None],
            ends=ends * each,
        )

    @property
    def total(self) -> FloatArray:
        """P, shape (n_rewards,)."""
        return np.asarray(self.visits @ self.reward)

    @property
    def worth_of_mass(self) -> float:
        """The largest share of P that a unit of mass can still earn, anywhere, of any reward."""
        per_conversion = np.divide(
            self.reward,
            self.reward[:, :1],
            out=np.zeros_like(self.reward),
            where=self.reward[:, :1] > 0,
        )
        total, ceiling = self.total, per_conversion.max(axis=0, initial=0.0)
        return float(np.max(ceiling[total > 0] / total[total > 0], initial=0.0))

    @property
    def small(self) -> float:
        """Mass that can earn no more than TOLERANCE of any total."""
        worth = self.worth_of_mass
        return TOLERANCE / worth if worth > 0 else np.inf


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


# --- factorisation ------------------------------------------------------------------------


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


# --- walks --------------------------------------------------------------------------------


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
    earned, left, _ = in_blocks(len(groups), some, "removals")
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
    few states and by walks otherwise.
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
        lives = _reach_conversion(backward, chain.reward, rest > 0.0)
        scale = np.divide(1.0, stays, out=np.zeros(n_states), where=lives)
        kept = chain.starts * rest
        whole = kept.sum()
        return (kept * (chain.starts.sum() / whole) if whole > 0 else kept), scale

    if n_states <= ALWAYS_DENSE:
        rest = np.array([_dense_yield(chain, *without(members)) for members in groups])
        return Effects(np.where(total > 0, 1.0 - _shares(rest, total), 0.0), "dense", None)

    def some(numbers: range) -> Walk:
        columns = [without(groups[number]) for number in numbers]
        start = np.stack([start for start, _ in columns], axis=1)
        scale = np.stack([scale for _, scale in columns], axis=1)
        return walk(backward, chain.reward, start, scale, chain.small)

    rest, left, _ = in_blocks(len(groups), some, "removals")
    effects = np.where(total > 0, 1.0 - _shares(rest, total), 0.0)
    return Effects(effects, "iterative", _certificate(chain, left))


def _dense_yield(chain: Chain, start: FloatArray, scale: FloatArray) -> FloatArray:
    """Return what the start earns over the states of positive scale, shape (n_rewards,)."""
    lives = np.flatnonzero(scale)
    inside = np.eye(len(lives)) - scale[lives, None] * chain.transitions[lives][:, lives].toarray()
    h = np.linalg.solve(inside, scale[lives, None] * chain.reward[lives])
    return np.asarray(start[lives] @ h)


def _reach_conversion(backward: csr_array[Any], reward: FloatArray, alive: Any) -> Any:
    """Return the states from which a conversion can follow over living states, as a mask."""
    reached = alive & (reward[:, 0] > 0)
    front = reached
    while front.any():
        front = alive & ~reached & (backward.T @ front.astype(np.float64) > 0)
        reached = reached | front
    return reached


# --- which states -------------------------------------------------------------------------


def states_of_channels(states: IntArray, n_channels: int) -> list[IntArray]:
    """Return for each channel the states that contain it.

    Parameters
    ----------
    states
        Shape (n_states, order); codes, -1 for none.
    n_channels
        Number of channels.
    """
    number = np.repeat(np.arange(len(states)), states.shape[1])
    pairs = np.unique(states.ravel().astype(np.int64) * max(1, len(states)) + number)
    pairs = pairs[pairs >= 0]
    channel, state = pairs // max(1, len(states)), pairs % max(1, len(states))
    cuts = np.searchsorted(channel, np.arange(1, n_channels))
    return np.split(state, cuts)[:n_channels]


def states_of_sequence(states: IntArray, sequence: IntArray) -> IntArray:
    """Return the states that contain the channels of the sequence one right after the other."""
    width = len(sequence)
    windows = np.lib.stride_tricks.sliding_window_view(states, width, axis=1)
    return np.flatnonzero((windows == sequence).all(axis=2).any(axis=1))
