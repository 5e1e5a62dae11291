"""Markov chains: credit in proportion to how much conversion is lost without a channel.

A journey walks over states: the channel last touched (order 1), or the last k touches (order k),
from a start until it converts or not (null). This module counts the transitions and shares out;
`attribution.models.chains` solves the chain.

Source: Anderl, Becker, von Wangenheim and Schumann (2016), Mapping the customer journey.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError, warn
from attribution.journeys import Journeys
from attribution.models.base import Kind, Model, Outcome, credit_totals, outcome_of
from attribution.models.chains import Chain, removal_effects, states_of_channels
from attribution.models.shapley import Shapley, split_equally
from attribution.results import Attribution
from attribution.segments import count_keys, group, offsets_of, ranges, sum_by
from attribution.statistics import Statistic, Totals, TransitionCounts


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
        If `order` is not a positive whole number; on use, if there is negative value.

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
        if isinstance(self.order, bool) or not isinstance(self.order, Integral) or self.order < 1:
            raise InputError(f"order={self.order!r} is not a positive whole number. Hint: order=1.")
        object.__setattr__(self, "order", int(self.order))

    def unmet(self, journeys: Journeys) -> str | None:
        """Refuse negative value; see `Model.unmet`."""
        if journeys.values is not None and (journeys.values < 0).any():
            return (
                "A Markov chain cannot share out negative value (refunds). Hint: attribute refunds "
                "separately."
            )
        return super().unmet(journeys)

    def summarize(self, journeys: Journeys) -> TransitionCounts:
        """Count the transitions.

        Raises
        ------
        InputError
            If there is negative value.
        """
        self.require(journeys)
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
        if statistic.conversions.any() and not statistic.nulls.any():
            warn(
                "There are no journeys without conversion, so the chain always converts (base rate "
                "1). Hint: name their column with nulls=, or keep events of people who never "
                "convert."
            )
        groups = states_of_channels(statistic.states, len(statistic.channels))
        effects, solver = removal_effects(Chain.of(statistic), groups)
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
