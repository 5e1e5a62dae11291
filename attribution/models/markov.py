"""Markov chains: how much conversion is lost when a channel is removed.

A journey walks over states: the channel last touched (order 1), or the last k touches (order k),
from a start until it converts or not (null). With counts from the journeys

    Q_ij = n_ij / n_i    b_i = conversions from i / n_i    s_i = starts in i / journeys

the expected visits are v = s N with N = (I - Q)^-1, the probability of converting from i is
h = N b, and of converting at all P = s h. Removing a channel sends every state of the set G that
contains it to null, which lowers P by

    loss = v_G . (N_GG)^-1 . h_G

(by block inversion; at order 1 simply v_i h_i / N_ii). One factorisation serves every channel,
and with value per visit in place of b the same formula gives the loss of value. Because every
journey that enters a state leaves it, v and P follow from the counts alone, without a solve.

The removal effect is loss / P. Effects do not sum to 1; credit is the total in proportion to
them. Self-loops change nothing at order 1.

Source: Anderl, Becker, von Wangenheim and Schumann (2016), Mapping the customer journey.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError, warn
from attribution.journeys import Journeys
from attribution.models.base import Kind, Model, Outcome, credit_totals, outcome_of
from attribution.models.shapley import Shapley, split_equally
from attribution.results import Attribution
from attribution.segments import count_keys, group, offsets_of, ranges, sum_by
from attribution.statistics import Statistic, Totals, TransitionCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DENSE_STATES = 2_000
BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Markov(Model):
    """Credit in proportion to exact removal effects, separately for conversions and value.

    Use it on journeys with and without conversion: without any null journey the chain always
    converts (base rate 1) and a warning says so. Credit is global: the split of one journey
    depends on all. Negative value is refused.

    Parameters
    ----------
    order
        How many touches the chain remembers. A journey's first state is its first `order`
        touches (all, if fewer).

    Raises
    ------
    InputError
        If `order` is not a positive whole number; on solving, if there is negative value.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["C1 > C2 > C3", "C1", "C2 > C3"], "conversions": [1, 0, 0], "nulls": [0, 1, 1]
    ... })
    >>> result = Markov().attribute(Journeys.from_paths(table, nulls="nulls"))
    >>> result.to_frame()[["conversions", "removal_effect"]].round(3)
             conversions  removal_effect
    channel
    C1               0.2             0.5
    C2               0.4             1.0
    C3               0.4             1.0
    """

    key: ClassVar[str] = "markov"
    kind: ClassVar[Kind] = "data"
    separable: ClassVar[bool] = False
    order: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.order, bool) or not isinstance(self.order, int) or self.order < 1:
            raise InputError(f"order={self.order!r} is not a positive whole number. Hint: order=1.")

    def summarize(self, journeys: Journeys) -> TransitionCounts:
        """Count the transitions."""
        conversions, values = split_equally(journeys)
        weight = np.repeat(journeys.conversions + journeys.nulls, journeys.lengths)
        return TransitionCounts(
            model=self,
            channels=journeys.channels,
            totals=Totals.of(journeys),
            spec=journeys.spec,
            transforms=journeys.transforms,
            split_conversions=conversions,
            split_values=values,
            touches=sum_by(journeys.codes, weight, len(journeys.channels)),
            **count_transitions(
                journeys.codes,
                journeys.offsets,
                journeys.conversions,
                journeys.nulls,
                journeys.values,
                self.order,
            ),
        )

    def solve(self, statistic: Statistic) -> Attribution:
        """Solve the chain and share out conversions and value."""
        if not isinstance(statistic, TransitionCounts):
            raise InputError(f"{self.name} needs TransitionCounts, not {type(statistic).__name__}.")
        totals = statistic.totals
        if statistic.values is not None and (statistic.values < 0).any():
            raise InputError(
                "A Markov chain cannot share out negative value (refunds). Hint: attribute refunds "
                "separately, or leave this model out with exclude=['markov']."
            )
        if statistic.conversions.any() and not statistic.nulls.any():
            warn(
                "There are no journeys without conversion, so the chain always converts (base rate "
                "1). Hint: name their column with nulls=, or keep events of people who never "
                "convert."
            )
        rewards = [statistic.conversions]
        if statistic.values is not None:
            rewards.append(statistic.values)
        solver = "dense" if len(statistic.states) <= DENSE_STATES else "sparse"
        groups = states_of_channels(statistic.states, len(statistic.channels))
        effects = removal_effects(statistic, groups, np.stack(rewards, axis=1))
        attributed = totals.conversions - totals.unattributed
        values, extra = None, {"removal_effect": effects[:, 0]}
        if statistic.values is not None:
            extra["removal_effect_value"] = effects[:, 1]
            values = _share_out(effects[:, 1], float(statistic.values.sum()))
        journeys = statistic.n_journeys
        return Attribution.of(
            totals,
            model=self.name,
            channels=statistic.channels,
            conversions=_share_out(effects[:, 0], attributed),
            values=values,
            extra=extra,
            details={
                "base_rate": float(statistic.conversions.sum() / journeys) if journeys else None,
                "n_states": len(statistic.states),
                "n_transitions": len(statistic.counts),
                "solver": solver,
                "spread": _spread(statistic),
            },
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Spread each channel's total over its touches; see `Model.credit`.

        In proportion to the equal split over the distinct channels of each journey (the
        `Shapley` credit of the touch); over all touches of a channel that stands in no
        converting journey. Sums by channel, not by journey.
        """
        outcome = outcome_of(journeys, of)
        if attribution is None:
            attribution = self.attribute(journeys)
        total = credit_totals(self, journeys, attribution, of)
        spread = attribution.details["spread"]
        place = {name: i for i, name in enumerate(attribution.channels)}
        index = [place[name] for name in journeys.channels]
        split = np.array(spread[of], dtype=np.float64)[index]
        touches = np.array(spread["touches"], dtype=np.float64)[index]
        by_split = np.divide(total, split, out=np.zeros(len(total)), where=split > 0)
        evenly = (split <= 0) & (touches > 0)
        by_touch = np.divide(total, touches, out=np.zeros(len(total)), where=evenly)
        share = Shapley().weights(journeys) * np.repeat(outcome, journeys.lengths)
        weight = np.repeat(journeys.conversions + journeys.nulls, journeys.lengths)
        return by_split[journeys.codes] * share + by_touch[journeys.codes] * weight


def _share_out(effects: FloatArray, total: float) -> FloatArray:
    """Return the total in proportion to the effects; zeros where no effect is positive."""
    whole = float(effects.sum())
    return effects * (total / whole) if whole > 0 else np.zeros(len(effects))


def _spread(statistic: TransitionCounts) -> dict[str, Any]:
    """Return what `Markov.credit` needs to agree between chunks and the whole."""
    spread = {
        "conversions": statistic.split_conversions.tolist(),
        "touches": statistic.touches.tolist(),
    }
    if statistic.split_values is not None:
        spread["value"] = statistic.split_values.tolist()
    return spread


def count_transitions(
    codes: IntArray,
    offsets: IntArray,
    conversions: FloatArray,
    nulls: FloatArray,
    values: FloatArray | None,
    order: int,
) -> dict[str, Any]:
    """Count starts, transitions and ends over the states of an order-k chain.

    Parameters
    ----------
    codes, offsets
        Paths; shapes (n_touches,) and (n_rows + 1,).
    conversions, nulls, values
        Shape (n_rows,); values may be None.
    order
        Touches per state.

    Returns
    -------
    dict
        The arrays of `TransitionCounts` by name. Rows without touches do not enter.
    """
    lengths = np.diff(offsets)
    if (lengths == 0).any():
        filled = lengths > 0
        offsets = np.append(offsets[:-1][filled], offsets[-1])
        conversions, nulls, lengths = conversions[filled], nulls[filled], lengths[filled]
        values = None if values is None else values[filled]
    columns, steps = _windows(codes, offsets, order)
    first, state = group(columns)
    n_states = len(first)
    at = offsets_of(steps)
    begin, end = state[at[:-1]], state[at[1:] - 1]
    weight = np.repeat(conversions + nulls, steps)
    weight[at[1:] - 1] = 0.0
    keys, counts = count_keys(state[:-1] * n_states + state[1:], weight[:-1], n_states**2)
    return {
        "states": np.stack([column[first] for column in columns], axis=1),
        "starts": sum_by(begin, conversions + nulls, n_states),
        "conversions": sum_by(end, conversions, n_states),
        "nulls": sum_by(end, nulls, n_states),
        "values": None if values is None else sum_by(end, values, n_states),
        "sources": keys // max(1, n_states),
        "targets": keys % max(1, n_states),
        "counts": counts,
    }


def _windows(codes: IntArray, offsets: IntArray, order: int) -> tuple[list[IntArray], IntArray]:
    """Return the sliding windows of each row, one column per place (-1: none), and their number.

    A row no longer than the order has one window, itself.
    """
    lengths = np.diff(offsets)
    if order == 1:
        return [codes], lengths
    steps = np.maximum(lengths - order + 1, 1)
    position = ranges(offsets[:-1], offsets[:-1] + steps)
    stop = np.repeat(offsets[1:], steps)
    columns = []
    for j in range(min(order, int(lengths.max(initial=1)))):
        inside = position + j < stop
        columns.append(np.where(inside, codes[np.minimum(position + j, len(codes) - 1)], -1))
    columns += [np.full(len(position), -1)] * (order - len(columns))
    return columns, steps


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


def removal_effects(
    statistic: TransitionCounts, groups: Sequence[IntArray], rewards: FloatArray
) -> FloatArray:
    """Return the share of each reward that is lost when a group of states leads to null.

    Parameters
    ----------
    statistic
        The chain.
    groups
        Sets of states, each an integer index; may be empty.
    rewards
        Shape (n_states, n_rewards); conversions and value that leave from each state.

    Returns
    -------
    numpy.ndarray
        Shape (n_groups, n_rewards); from 0 to 1; 0 where the total reward is 0.
    """
    from scipy.sparse import csr_array

    n_states = len(statistic.states)
    visits = statistic.visits
    each = np.divide(1.0, visits, out=np.zeros(n_states), where=visits > 0)
    shape = (n_states, n_states)
    entries = (statistic.counts * each[statistic.sources], (statistic.sources, statistic.targets))
    q = csr_array(entries, shape=shape)
    lost = removal_losses(q, visits, rewards * each[:, None], groups)
    total = rewards.sum(axis=0)
    share = np.zeros_like(lost)
    np.divide(lost, total, out=share, where=total > 0)
    return share


def removal_losses(
    q: csr_array[Any], visits: FloatArray, reward: FloatArray, groups: Sequence[IntArray]
) -> FloatArray:
    """Return v_G . (N_GG)^-1 . h_G for each group of states G.

    Parameters
    ----------
    q
        Shape (n_states, n_states); transition probabilities between transient states.
    visits
        Shape (n_states,); v, in units of journeys.
    reward
        Shape (n_states, n_rewards); expected reward per visit.
    groups
        Sets of states.

    Returns
    -------
    numpy.ndarray
        Shape (n_groups, n_rewards); in units of the reward.
    """
    losses = np.zeros((len(groups), reward.shape[1]))
    if not q.shape[0]:
        return losses
    solve = _factorise(q)
    h = np.maximum(solve(reward), 0.0)
    for start, columns in _blocks(groups):
        states = np.concatenate(columns)
        unit = np.zeros((q.shape[0], len(states)))
        unit[states, np.arange(len(states))] = 1.0
        n_columns = solve(unit)
        place = 0
        for i, members in enumerate(columns, start):
            block = n_columns[members, place : place + len(members)]
            place += len(members)
            if len(members):
                losses[i] = visits[members] @ np.linalg.solve(block, h[members])
    return losses


def _blocks(groups: Sequence[IntArray]) -> Iterable[tuple[int, Sequence[IntArray]]]:
    """Cut the groups into runs of at most BLOCK states (or one group), with their first number."""
    start = size = 0
    for i, members in enumerate(groups):
        if size and size + len(members) > BLOCK:
            yield start, groups[start:i]
            start, size = i, 0
        size += len(members)
    if start < len(groups):
        yield start, groups[start:]


def _factorise(q: csr_array[Any]) -> Any:
    """Return a function that solves (I - Q) x = y for columns y."""
    from scipy import sparse
    from scipy.linalg import lu_factor, lu_solve
    from scipy.sparse.linalg import splu

    n = q.shape[0]
    if n <= DENSE_STATES:
        factors = lu_factor(np.eye(n) - q.toarray())
        return lambda y: lu_solve(factors, y)
    return splu((sparse.eye_array(n, format="csc") - q).tocsc()).solve
