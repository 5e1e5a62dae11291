"""Absorbing chains of journeys.

With counts from the journeys (stays in one state left out: they change nothing)

    Q_ij = n_ij / n_i    b_i = conversions from i / n_i    s_i = starts in i

the expected visits are v = s N with N = (I - Q)^-1, what a visit will ever earn is h = N b, and
what all journeys earn P = s h. Because every journey that enters a state leaves it, v and
P = v b follow from the counts alone, without a solve. Value per visit in place of b gives the
same for value.

Source: Kemeny and Snell (1960), Finite Markov chains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.statistics import TransitionCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TOLERANCE = 1e-12


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
