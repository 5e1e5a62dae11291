"""What is lost when a chain loses a part of the touches of its channels.

Every touch of channel c is lost with probability 1 - f_c, independently, and with it the journey.
With the symbols of `attribution.models.chains`, but stays in a state kept (a touch that repeats its
predecessor can be lost, too), a state survives its newest touch with probability phi, and the first
state of a journey all its touches with probability phi_0. What a journey still earns from a state
on, h, and in all, P', are

    h = b + Q (phi h),    P' = s (phi_0 h),    loss = 1 - P' / P.

With f_c = 0 the loss is the removal effect of c, with f = 1 it is 0. A chain does not know what
more touches would do: f is at most 1.
"""

from __future__ import annotations

import numpy as np

from attribution.arrays import FloatArray
from attribution.errors import InputError
from attribution.statistics import TransitionCounts


def thinning_losses(statistic: TransitionCounts, factors: FloatArray) -> FloatArray:
    """Return the share of conversions, and of value, that is lost.

    Parameters
    ----------
    statistic
        Transitions, from `Markov(order=k).summarize(journeys)`.
    factors
        f, shape (n_channels,); the share of its touches that each channel keeps, from 0 to 1.

    Returns
    -------
    numpy.ndarray
        Shape (n_rewards,): of conversions, and of value where given; 0 where there is none.

    Raises
    ------
    InputError
        If a factor is out of range.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution import Journeys, Markov
    >>> table = pd.DataFrame({"path": ["a", "a > b", "b"], "conversions": [4, 4, 8]})
    >>> counts = Markov().summarize(Journeys.from_paths(table))
    >>> thinning_losses(counts, np.array([0.5, 1.0])).tolist()  # half of the 8 with an "a"
    [0.25]
    """
    from scipy.sparse import csr_array, diags_array, eye_array
    from scipy.sparse.linalg import spsolve

    kept = np.asarray(factors, dtype=np.float64)
    if kept.shape != (len(statistic.channels),) or not ((kept >= 0) & (kept <= 1)).all():
        raise InputError(
            f"factors={factors!r} are not {len(statistic.channels)} numbers from 0 to 1."
        )
    rewards = [statistic.conversions]
    if statistic.values is not None:
        rewards.append(statistic.values)
    reward = np.stack(rewards, axis=1)
    total = reward.sum(axis=0)
    n_states = len(statistic.states)
    if not n_states:
        return np.zeros(len(total))
    ends = statistic.conversions + statistic.nulls
    visits = np.bincount(statistic.sources, statistic.counts, n_states) + ends
    each = np.divide(1.0, visits, out=np.zeros(n_states), where=visits > 0)
    moves = csr_array(
        (statistic.counts * each[statistic.sources], (statistic.sources, statistic.targets)),
        shape=(n_states, n_states),
    )
    of_touches = np.append(kept, 1.0)[statistic.states]  # code -1: no touch
    newest = (statistic.states >= 0).sum(axis=1) - 1
    phi = of_touches[np.arange(n_states), newest]
    system = (eye_array(n_states) - moves @ diags_array(phi)).tocsc()
    earned = spsolve(system, reward * each[:, None]).reshape(n_states, len(total))
    left = (statistic.starts * of_touches.prod(axis=1)) @ earned
    share = np.divide(left, total, out=np.ones_like(total), where=total > 0)
    return np.asarray(np.clip(1.0 - share, 0.0, 1.0))
