"""Small Markov chains of many resamples, solved side by side as stacks of dense matrices.

The equations are those of `attribution.models.removals`; every array has one more axis in front,
the resamples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attribution.arrays import FloatArray
from attribution.models.base import Model
from attribution.models.chains import states_of_channels
from attribution.models.markov import EFFECT_COLUMNS, Markov, MarkovPathLevel
from attribution.models.removals import ALWAYS_DENSE
from attribution.segments import row_index
from attribution.statistics import CoalitionCounts, PathLevelCounts, Statistic, TransitionCounts
from attribution.uncertainty.spreads import Spread

Sums = Mapping[str, FloatArray]


def stacks_of_chains(model: Model, whole: Statistic) -> bool:
    """Tell whether resamples of this model are chains that are small enough to stack."""
    if isinstance(whole, PathLevelCounts):
        return type(model) is MarkovPathLevel and len(whole.transitions.states) <= ALWAYS_DENSE
    if isinstance(whole, TransitionCounts) and type(model) is Markov:
        return model.lack_of_credit is None and len(whole.states) <= ALWAYS_DENSE
    return False


def stack_size(spread: Spread) -> int:
    """Return how many numbers of one kind a resample takes."""
    whole = spread.whole
    if isinstance(whole, PathLevelCounts):
        return max(stack_size(spread.parts["transitions"]), len(whole.coalitions.members))
    assert isinstance(whole, TransitionCounts)
    return max(spread.size, len(whole.states) ** 2)


def solve_stack(stack: Spread) -> dict[str, FloatArray]:
    """Return credit and removal effects, shape (n_resamples, n_channels) each, by name.

    Parameters
    ----------
    stack
        Sums of resamples of `Markov` or `MarkovPathLevel`.
    """
    whole = stack.whole
    if isinstance(whole, PathLevelCounts):
        effects, _ = stacked_effects(whole.transitions, stack.parts["transitions"].parts)
        sums = stack.parts["coalitions"].parts
        names = [name for name in ("conversions", "values") if name in sums]
        draws = {
            name: _within(effects[i], whole.coalitions, sums[name]) for i, name in enumerate(names)
        }
    else:
        assert isinstance(whole, TransitionCounts)
        effects, totals = stacked_effects(whole, stack.parts)
        credit = np.nan_to_num(shares(effects)) * totals[:, :, None]
        draws = dict(zip(("conversions", "values"), credit, strict=False))
    return draws | dict(zip(EFFECT_COLUMNS, effects, strict=False))


def stacked_effects(whole: TransitionCounts, sums: Sums) -> tuple[FloatArray, FloatArray]:
    """Return removal effects of the channels of many chains, and what each chain earns.

    Parameters
    ----------
    whole
        Whose states and transitions the chains have.
    sums
        "counts" of shape (n_resamples, n_edges); "conversions", "nulls" and perhaps "values" of
        shape (n_resamples, n_states).

    Returns
    -------
    effects, totals
        Shapes (n_rewards, n_resamples, n_channels) and (n_rewards, n_resamples).
    """
    n, n_states = len(sums["nulls"]), len(whole.states)
    moves = whole.sources != whole.targets
    chain = np.zeros((n, n_states, n_states))
    chain[:, whole.sources[moves], whole.targets[moves]] = -sums["counts"][:, moves]
    visits = sums["conversions"] + sums["nulls"] - chain.sum(axis=2)
    seen = np.where(visits > 0, visits, 1.0)
    chain /= seen[:, :, None]
    chain[:, np.arange(n_states), np.arange(n_states)] = 1.0
    rewards = [sums[name] for name in ("conversions", "values") if name in sums]
    totals = np.stack([reward.sum(axis=1) for reward in rewards])
    inverse = np.linalg.inv(chain)
    h = inverse @ (np.stack(rewards, axis=2) / seen[:, :, None])
    groups = states_of_channels(whole.states, len(whole.channels))
    effects = np.zeros((len(rewards), n, len(groups)))
    for channel, states in enumerate(groups):
        if not len(states):
            continue
        inside = inverse[:, states[:, None], states]
        meet = np.linalg.solve(inside, h[:, states]) if len(states) > 1 else h[:, states] / inside
        loss = (visits[:, states, None] * meet).sum(axis=1)
        np.divide(loss.T, totals, out=effects[:, :, channel], where=totals > 0)
    return np.clip(effects, 0.0, 1.0, out=effects), totals


def shares(credit: FloatArray) -> FloatArray:
    """Return credit over its sum along the last axis; NaN where the sum is 0."""
    whole = credit.sum(axis=-1, keepdims=True)
    result = np.full_like(credit, np.nan)
    np.divide(credit, whole, out=result, where=whole != 0)
    return result


def _within(effects: FloatArray, sets: CoalitionCounts, outcome: FloatArray) -> FloatArray:
    """Share out the outcome of each set by the effects of its channels, alike where all are 0.

    Parameters
    ----------
    effects
        Shape (n_resamples, n_channels).
    sets
        Whose members the outcome is of.
    outcome
        Shape (n_resamples, n_sets).
    """
    from scipy.sparse import csr_array

    if not len(sets.members):
        return np.zeros_like(effects)
    set_of, own = row_index(sets.offsets), effects[:, sets.members]
    whole = np.add.reduceat(own, sets.offsets[:-1], axis=1)
    alike = whole <= 0
    per_effect = np.divide(outcome, whole, out=np.zeros_like(outcome), where=~alike)
    per_member = np.where(alike, outcome / np.diff(sets.offsets), 0.0)
    part = own * per_effect[:, set_of] + per_member[:, set_of]
    index = (np.ones(len(set_of)), sets.members, np.arange(len(set_of) + 1))
    return np.asarray(part @ csr_array(index, shape=(len(set_of), effects.shape[1])))
