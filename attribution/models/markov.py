"""Markov chains: credit in proportion to how much conversion is lost without a channel.

A journey walks over states: the channel last touched (order 1), or the last k touches (order k),
from a start until it converts or not (null). `attribution.models.transitions` counts the steps,
`attribution.models.chains` solves the chain; this module shares out.

`Markov` shares out the total of all journeys in proportion to the removal effects.
`MarkovPathLevel` shares out each journey in proportion to the effects of its own channels. In the
global split a channel of large effect also earns on journeys it was never part of, and the credit
of a channel may exceed the conversions it took part in; path by path neither can happen.

Source: Anderl, Becker, von Wangenheim and Schumann (2016), Mapping the customer journey.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from attribution.arrays import FloatArray
from attribution.errors import InputError, warn
from attribution.journeys import Journeys
from attribution.models.base import (
    Kind,
    Model,
    Outcome,
    checked_statistic,
    codes_among,
)
from attribution.models.chains import Chain, states_of_channels
from attribution.models.coalitions import coalitions_of, sets_of
from attribution.models.removals import EFFECTS, Effects, Removal, null_effects, require_removal
from attribution.models.spread import (
    basis_of_credit,
    credit_of_rows,
    share_out,
    shares_within,
    split_equally,
    spread_credit,
    spread_details,
    spread_over_touches,
    touches_of,
)
from attribution.models.transitions import count_transitions, rates_at_end
from attribution.results import Attribution
from attribution.statistics import (
    PathLevelCounts,
    Statistic,
    TransitionCounts,
)

LONGEST_ORDER = 1_000
EFFECT_COLUMNS = ("removal_effect", "removal_effect_value")


@dataclass(frozen=True, kw_only=True)
class Markov(Model):
    """Credit in proportion to exact removal effects, separately for conversions and value.

    Use it on journeys with and without conversion: without any null journey the chain always
    converts (base rate 1) and a warning says so. Credit is global: the split of one journey
    depends on all. Negative value is refused. `details` says how the chain was solved and, for
    an iterative solution, the largest error it can have but for rounding (`error_bound`).

    Parameters
    ----------
    order
        How many touches the chain remembers. A journey's first state is its first `order`
        touches (all, if fewer). An order as long as the longest path makes the removal effect the
        share of conversions whose path contains the channel; a warning says so.
    removal
        "null": journeys that reach a removed channel are lost. "redistribute": they go where the
        others go from there. Those effects are signed, a diagnostic without credit: the
        conversions and value of the result are NaN.

    Raises
    ------
    InputError
        If an option is out of range; on use, if there is negative value.

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
    removal: Removal = "null"

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", checked_order(self.order))
        require_removal(self.removal)

    @property
    def lack_of_credit(self) -> str | None:
        """See `Model.lack_of_credit`."""
        if self.removal == "null":
            return None
        return "its effects are signed, a diagnostic without credit. Hint: removal='null'."

    def unmet(self, journeys: Journeys) -> str | None:
        """Refuse negative value; see `Model.unmet`."""
        return refused_value(journeys, "A Markov chain") or super().unmet(journeys)

    def summarize(self, journeys: Journeys) -> TransitionCounts:
        """Count the transitions.

        Raises
        ------
        InputError
            If there is negative value.
        """
        self.require(journeys)
        return transitions_of(self, journeys, self.order)

    def solve(self, statistic: Statistic) -> Attribution:
        """Solve the chain and share out conversions and value."""
        statistic = checked_statistic(self, TransitionCounts, statistic)
        require_order(statistic, self.order)
        warn_of_certain_conversion(statistic.conversions, statistic.nulls)
        warn_of_long_order(statistic)
        groups = states_of_channels(statistic.states, len(statistic.channels))
        chain, totals = Chain.of(statistic), statistic.totals
        found = EFFECTS[self.removal](chain, groups)

        def credit(column: int, total: float) -> FloatArray:
            if self.lack_of_credit:
                return np.full(len(groups), np.nan)
            return share_out(found.effects[:, column], total)

        values = statistic.values
        return Attribution.of(
            statistic,
            model=self.name,
            conversions=credit(0, totals.conversions - totals.unattributed),
            values=None if values is None else credit(1, float(values.sum())),
            extra=effect_columns(found.effects),
            details={
                **chain_details(statistic, found),
                "spread": spread_details(
                    statistic.split_conversions, statistic.split_values, statistic.touches
                ),
            },
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Spread each channel's total over its touches; see `attribution.models.spread`."""
        return spread_credit(self, journeys, attribution, of)

    def predict(self, statistic: Statistic, journeys: Journeys) -> FloatArray:
        """Return the share that converts of the journeys that end as each row does.

        A row ends in its last `order` touches. Where no journey ended so, it is the base rate; see
        `attribution.models.base.Predictor`.
        """
        statistic = checked_statistic(self, TransitionCounts, statistic)
        require_order(statistic, self.order)
        return rates_at_end(statistic, codes_among(statistic.channels, journeys), journeys.offsets)


@dataclass(frozen=True, kw_only=True)
class MarkovPathLevel(Model):
    """Each journey's conversions in proportion to the removal effects of its own channels.

    The effects are those of `Markov`. A repeated channel counts once; its part is shared equally
    over its touches. Credit sums to the outcome of each journey, so no channel earns more than
    the conversions it took part in. On the sample paths (`attribution.datasets.load_paths`) 12 %
    of all credit stands elsewhere than under `Markov`: `affiliate`, in few journeys, has 54
    conversions instead of 108, `paid_search`, in many, 382 instead of 251.

    Parameters
    ----------
    order
        How many touches the chain remembers; see `Markov`.

    Raises
    ------
    InputError
        If `order` is not a positive whole number; on use, if there is negative value.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a > b", "b", "b > a"], "conversions": [2, 1, 0], "nulls": [1, 1, 2]
    ... })
    >>> journeys = Journeys.from_paths(table, nulls="nulls")
    >>> frame = MarkovPathLevel().attribute(journeys).to_frame().round(3)
    >>> frame[["conversions", "removal_effect"]]
             conversions  removal_effect
    channel
    a                0.6           0.429
    b                2.4           1.000
    """

    key: ClassVar[str] = "markov_path_level"
    kind: ClassVar[Kind] = "data"
    separable: ClassVar[bool] = True
    order: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", checked_order(self.order))

    def unmet(self, journeys: Journeys) -> str | None:
        """Refuse negative value; see `Model.unmet`."""
        return refused_value(journeys, "A Markov chain") or super().unmet(journeys)

    def summarize(self, journeys: Journeys) -> PathLevelCounts:
        """Count the transitions, and the journeys of each set of channels.

        Raises
        ------
        InputError
            If there is negative value.
        """
        self.require(journeys)
        return path_level_counts(self, journeys, self.order)

    def solve(self, statistic: Statistic) -> Attribution:
        """Solve the chain and share out each set of channels by itself."""
        statistic = checked_statistic(self, PathLevelCounts, statistic)
        counts, sets = statistic.transitions, statistic.coalitions
        require_order(counts, self.order)
        warn_of_certain_conversion(counts.conversions, counts.nulls)
        warn_of_long_order(counts)
        groups = states_of_channels(counts.states, len(counts.channels))
        found = null_effects(Chain.of(counts), groups)

        def credit(effects: FloatArray, outcome: FloatArray) -> FloatArray:
            shares = shares_within(effects[sets.members], sets.offsets)
            return credit_of_rows(sets.members, sets.offsets, shares, outcome, len(groups))

        values = None if sets.values is None else credit(found.effects[:, 1], sets.values)
        return Attribution.of(
            statistic,
            model=self.name,
            conversions=credit(found.effects[:, 0], sets.conversions),
            values=values,
            extra=effect_columns(found.effects),
            details=chain_details(counts, found),
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Share out each journey by the effects of the result; see `Model.credit`."""
        outcome, attribution, index = basis_of_credit(self, journeys, attribution, of)
        column = "removal_effect" if of == "conversions" else "removal_effect_value"
        effects = attribution.extra[column][index]
        code, offsets = sets_of(journeys)
        share = shares_within(effects[code], offsets)
        return spread_over_touches(journeys, share) * np.repeat(outcome, journeys.lengths)


def checked_order(order: Any) -> int:
    """Return the order as an int.

    Raises
    ------
    InputError
        If it is not a positive whole number, or absurdly large.
    """
    if isinstance(order, bool) or not isinstance(order, Integral) or order < 1:
        raise InputError(f"order={order!r} is not a positive whole number. Hint: order=1.")
    if int(order) > LONGEST_ORDER:
        raise InputError(
            f"order={order} is more than {LONGEST_ORDER:,}. Hint: an order beyond the longest path "
            "adds nothing; select_order compares small ones."
        )
    return int(order)


def require_order(statistic: TransitionCounts, order: int) -> None:
    """Raise `InputError` if the transitions are of another order."""
    counted = statistic.states.shape[1]
    if counted != order:
        raise InputError(
            f"These transitions are of order {counted}, not {order}. Hint: count them with "
            "summarize of the same model."
        )


def refused_value(journeys: Journeys, who: str) -> str | None:
    """Return why negative value cannot be shared out, or None where there is none."""
    if journeys.values is not None and (journeys.values < 0).any():
        return (
            f"{who} cannot share out negative value (refunds). Hint: attribute refunds separately."
        )
    return None


def transitions_of(model: Model, journeys: Journeys, order: int) -> TransitionCounts:
    """Return the transitions of the journeys as the statistic of a model."""
    conversions, values = split_equally(journeys)
    return TransitionCounts.of(
        model,
        journeys,
        split_conversions=conversions,
        split_values=values,
        touches=touches_of(journeys),
        **count_transitions(
            journeys.codes,
            journeys.offsets,
            journeys.conversions,
            journeys.nulls,
            journeys.values,
            order,
        ),
    )


def path_level_counts(model: Model, journeys: Journeys, order: int) -> PathLevelCounts:
    """Return transitions and sets of channels of the journeys as the statistic of a model."""
    return PathLevelCounts.of(
        model,
        journeys,
        transitions=transitions_of(model, journeys, order),
        coalitions=coalitions_of(model, journeys),
    )


def warn_of_certain_conversion(conversions: FloatArray, nulls: FloatArray) -> None:
    """Warn where no journey fails, so that rates are 1 wherever something was observed."""
    if conversions.any() and not nulls.any():
        warn(
            "There are no journeys without conversion, so one always converts (base rate 1). "
            "Hint: name their column with nulls=, or keep events of people who never convert."
        )


def warn_of_long_order(statistic: TransitionCounts) -> None:
    """Warn where no journey is longer than a state, so that the chain never takes a step."""
    order = statistic.states.shape[1]
    if order > 1 and statistic.n_journeys and not len(statistic.counts):
        warn(
            f"No journey has more than {order} touches: the chain has no transitions, and removal "
            "effects are the share of conversions whose path contains the channel. Hint: a lower "
            "order."
        )


def effect_columns(effects: FloatArray) -> dict[str, FloatArray]:
    """Name the columns of removal effects."""
    return {name: effects[:, i] for i, name in enumerate(EFFECT_COLUMNS[: effects.shape[1]])}


def chain_details(statistic: TransitionCounts, found: Effects) -> dict[str, Any]:
    """Return what is worth knowing of a chain and its solution."""
    journeys = statistic.n_journeys
    return {
        "base_rate": float(statistic.conversions.sum() / journeys) if journeys else None,
        "n_states": len(statistic.states),
        "n_transitions": len(statistic.counts),
        "solver": found.solver,
        "error_bound": found.error_bound,
    }
