"""Absorbing chains: what is lost when states are removed.

With counts from the journeys

    Q_ij = n_ij / n_i    b_i = conversions from i / n_i    s_i = starts in i / journeys

the expected visits are v = s N with N = (I - Q)^-1, the probability of converting from i is
h = N b, and of converting at all P = s h. Sending every state of a set G to null lowers P by

    loss = v_G . (N_GG)^-1 . h_G

(by block inversion; for a single state v_i h_i / N_ii). One factorisation serves every set, and
with value per visit in place of b the same formula gives the loss of value. Because every journey
that enters a state leaves it, v and P follow from the counts alone, without a solve. The removal
effect is loss / P; effects do not sum to 1. Self-loops of the chain change nothing.

A factorisation costs n_states^3 operations whatever the chain. A chain whose journeys are short
for its size is walked step by step instead, for all sets at once and with a bound on the error.
(Sparse factorisation is no help: the chains of real journeys fill in.)

Source: Kemeny and Snell (1960), Finite Markov chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.progress import progress
from attribution.statistics import TransitionCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ALWAYS_DENSE, DENSE_STATES = 500, 12_000  # milliseconds; a matrix of 1.2 GB
SPARSE_PENALTY = 25  # cost of a sparse operation in dense ones
TOLERANCE = 1e-12
BLOCK = 256


@dataclass(frozen=True)
class Chain:
    """An absorbing chain, in units of journeys.

    Attributes
    ----------
    transitions
        Q, shape (n_states, n_states), sparse.
    starts, visits
        s and v times the number of journeys, shape (n_states,).
    reward
        Expected reward per visit, shape (n_states, n_rewards): conversions, and value.
    ceiling
        Largest reward that can still be expected from any state, shape (n_rewards,).
    """

    transitions: csr_array[Any]
    starts: FloatArray
    visits: FloatArray
    reward: FloatArray
    ceiling: FloatArray

    @classmethod
    def of(cls, statistic: TransitionCounts) -> Chain:
        """Return the chain of the counts; it rewards conversions, and value where given."""
        from scipy.sparse import csr_array

        n_states, visits = len(statistic.states), statistic.visits
        each = np.divide(1.0, visits, out=np.zeros(n_states), where=visits > 0)
        entries = statistic.counts * each[statistic.sources]
        index = (statistic.sources, statistic.targets)
        rewards = [statistic.conversions]
        if statistic.values is not None:
            rewards.append(statistic.values)
        reward = np.stack(rewards, axis=1)
        per_conversion = np.divide(
            reward,
            reward[:, :1],
            out=np.zeros_like(reward),
            where=reward[:, :1] > 0,
        )
        return cls(
            transitions=csr_array((entries, index), shape=(n_states, n_states)),
            starts=statistic.starts,
            visits=visits,
            reward=reward * each[:, None],
            ceiling=per_conversion.max(axis=0, initial=0.0),
        )


def removal_effects(chain: Chain, groups: Sequence[IntArray]) -> tuple[FloatArray, str]:
    """Return the share of each reward that is lost when a group of states leads to null.

    Parameters
    ----------
    chain
        The chain.
    groups
        Sets of states, each an integer index; may be empty.

    Returns
    -------
    effects, solver
        Shape (n_groups, n_rewards), from 0 to 1, 0 where the total reward is 0; and how they
        were found: "dense" factorisation or "iterative", whichever should be faster.
    """
    total = chain.visits @ chain.reward
    n_states = len(chain.visits)
    step = 2 * chain.transitions.nnz * len(groups) * SPARSE_PENALTY
    longest = 8 / 3 * n_states**3 / max(step, 1) if n_states <= DENSE_STATES else np.inf
    steps = None if n_states <= ALWAYS_DENSE else walking_steps(chain, longest)
    if steps is None:
        losses, solver = dense_losses(chain, groups), "dense"
    else:
        losses, solver = iterative_losses(chain, groups, steps), "iterative"
    effects = np.zeros((len(groups), len(total)))
    np.divide(losses, total, out=effects, where=total > 0)
    return np.clip(effects, 0.0, 1.0), solver


def dense_losses(chain: Chain, groups: Sequence[IntArray]) -> FloatArray:
    """Return v_G . (N_GG)^-1 . h_G for each group of states G, from one factorisation of I - Q.

    Returns
    -------
    numpy.ndarray
        Shape (n_groups, n_rewards); in units of the reward.
    """
    from scipy.linalg import lu_factor, lu_solve

    n_states = len(chain.visits)
    losses = np.zeros((len(groups), chain.reward.shape[1]))
    if not n_states:
        return losses
    matrix = chain.transitions.toarray()
    np.negative(matrix, out=matrix)
    matrix[np.diag_indices(n_states)] += 1.0
    factors = lu_factor(matrix, overwrite_a=True, check_finite=False)
    h = lu_solve(factors, chain.reward)
    for start, members in _blocks(groups):
        states, column = _members(members)
        unit = np.zeros((n_states, len(states)))
        unit[states, np.arange(len(states))] = 1.0
        n_columns = lu_solve(factors, unit, overwrite_b=True, check_finite=False)
        for i, group_states in enumerate(members):
            block = n_columns[np.ix_(group_states, column == i)]
            losses[start + i] = chain.visits[group_states] @ np.linalg.solve(block, h[group_states])
    return losses


def walking_steps(chain: Chain, longest: float = np.inf) -> int | None:
    """Return after how many steps too little is left to matter, or None after more than `longest`.

    After k steps the mass still walking bounds what further steps can add: mass times
    `Chain.ceiling`. It must fall below TOLERANCE times the total reward. Removed states only
    shrink the mass, so one bound serves every removal.
    """
    jumps, _ = _without_loops(chain)
    backward = jumps.T.tocsr()
    small = TOLERANCE * (chain.visits @ chain.reward)
    steps, mass = 0, chain.starts
    while (mass.sum() * chain.ceiling > small).any():
        if steps >= longest:
            return None
        mass = backward @ mass
        steps += 1
    return steps


def iterative_losses(chain: Chain, groups: Sequence[IntArray], steps: int) -> FloatArray:
    """Return what journeys earn from their first visit to each group of states G on.

    The mass of all journeys walks, stops where it first meets G, and is worth h there. Only
    positive numbers are added, so small losses are as precise as large ones.

    Parameters
    ----------
    chain, groups
        See `removal_effects`.
    steps
        See `walking_steps`.

    Returns
    -------
    numpy.ndarray
        Shape (n_groups, n_rewards); in units of the reward.
    """
    jumps, reward = _without_loops(chain)
    backward = jumps.T.tocsr()
    h = reward
    for _ in range(steps):
        h = jumps @ h + reward
    losses = np.zeros((len(groups), reward.shape[1]))
    for start, members in progress(list(_blocks(groups)), None, "removals"):
        states, column = _members(members)
        met = np.zeros(len(states))
        mass = np.repeat(chain.starts[:, None], len(members), axis=1)
        for _ in range(steps + 1):
            met += mass[states, column]
            mass[states, column] = 0.0
            mass = backward @ mass
        for j in range(reward.shape[1]):
            gained = np.bincount(column, met * h[states, j], len(members))
            losses[start : start + len(members), j] = gained
    return losses


def _without_loops(chain: Chain) -> tuple[csr_array[Any], FloatArray]:
    """Return transitions and rewards of the chain that counts each stay in a state once."""
    leave = 1.0 / (1.0 - chain.transitions.diagonal())
    jumps = chain.transitions.copy()
    jumps.setdiag(0.0)
    return jumps.multiply(leave[:, None]).tocsr(), chain.reward * leave[:, None]


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


def _members(groups: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Return all states of the groups, and the group of each."""
    sizes = [len(members) for members in groups]
    return np.concatenate(groups), np.repeat(np.arange(len(groups)), sizes)


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
