"""Shapley values of the games that journeys play.

A game gives each set S of channels a worth v(S); the Shapley value of channel c is its marginal
worth v(S + c) - v(S), averaged over all orders in which channels can join. Take for v(S) the
conversions of the journeys all of whose channels lie in S. Each journey is then a game of its
own, worth its conversions as soon as all of its d distinct channels are in: a unanimity game,
whose Shapley value is 1 / d for each of them. Values add up over games, so

    phi_c = sum over journeys that contain c of conversions / d,

in time linear in the touches and for any number of channels. This is a rule, not evidence: it
does not look at journeys that fail to convert. `attribution.models.worths` has games that do; they
are solved over all 2**n sets up to 24 channels, and by sampled orders beyond.

Sources: Shapley (1953), A value for n-person games; Zhao, Mahboobi and Bagheri (2018), Shapley
value methods for attribution modeling in online advertising.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from reprlib import repr as short
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from attribution.arrays import FloatArray
from attribution.errors import InputError, nearest, warn
from attribution.journeys import Journeys
from attribution.models.base import (
    Kind,
    Model,
    Outcome,
    Responsive,
    SeparableModel,
    other_statistic,
)
from attribution.models.coalitions import coalitions_of
from attribution.models.games import EXACT_PLAYERS, shapley_values
from attribution.models.markov import (
    path_level_counts,
    refused_value,
    require_order,
    warn_of_certain_conversion,
)
from attribution.models.records import TimedPaths
from attribution.models.responses import ResponseGame
from attribution.models.sampling import require_options, sample_shapley_values
from attribution.models.spread import (
    equal_weights,
    share_out,
    split_equally,
    spread_credit,
    spread_details,
    unanimity_values,
)
from attribution.models.worths import (
    Game,
    MarkovGame,
    NamedGame,
    RateGame,
    Worth,
    is_table,
    table_of_worths,
)
from attribution.results import Attribution
from attribution.segments import sum_by
from attribution.statistics import CoalitionCounts, PathLevelCounts, Statistic

GAMES = ("conversions", "rate", "markov")


@dataclass(frozen=True, kw_only=True)
class Shapley(SeparableModel):
    """Shapley values, by default each journey's conversions in equal parts to its channels.

    By default the worth of a set of channels is the conversions of journeys within it. That game
    has the closed form above: the result differs from `Linear` only in counting a repeated channel
    once, and being a rule it cannot tell a channel that convinces from one that is merely present.

    Other games look at journeys that fail as well. Their values are in units of the worth
    (`shapley_value`, and `shapley_value_of_value` where there is value); conversions and value are
    NaN unless `scale` asks for credit. Negative value is refused.

    Parameters
    ----------
    worth
        "conversions"; "rate", the conversion rate of journeys within the set; "markov", the
        conversion probability of the chain of order 1 without the other channels; a function of a
        frozenset of channels (never asked for the empty set, which is worth 0); a table, a
        mapping (or Series) from channels to worth in which missing sets are worth 0; or a model
        that can say what would happen without some channels, `BaggedLogistic` or
        `AdditiveHazard`: the rate it expects with the set less that with no channel. See
        `attribution.models.worths`.
    scale
        "total" shares out conversions (and value) in proportion to the values. A rate knows no
        volume, so a channel can be given more conversions than it took part in, or less than
        none: a warning names each. With a function, table or model, value is shared out in the
        same proportions.
    method
        "exact" over all 2**n sets, "sampling" of orders with standard errors, or "auto": exact up
        to 24 channels. A function is called for every set: from about 14 channels on sampling is
        faster.
    tolerance, max_permutations, random_state
        Of sampling; see `attribution.models.sampling.sample_shapley_values`.

    Raises
    ------
    InputError
        If an option is out of range, an exact game is too large, all channels together are worth
        nothing, or a worth is not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({
    ...     "path": ["a", "a > b > a", "b"], "conversions": [4, 6, 0], "nulls": [4, 2, 4]
    ... })
    >>> journeys = Journeys.from_paths(table, nulls="nulls")
    >>> Shapley().attribute(journeys).to_frame()["conversions"].tolist()
    [7.0, 3.0]
    >>> Shapley(worth="rate").attribute(journeys).to_frame()["shapley_value"].tolist()
    [0.5, 0.0]
    """

    key: ClassVar[str] = "shapley"
    worth: Literal["conversions", "rate", "markov"] | Worth | Mapping[Any, float] | Model = (
        "conversions"
    )
    scale: Literal["total"] | None = None
    method: Literal["auto", "exact", "sampling"] = "auto"
    tolerance: float | None = 0.005
    max_permutations: int | None = None
    random_state: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.worth, str):
            if self.worth not in GAMES:
                raise InputError(
                    f"worth={self.worth!r} is not one of {GAMES}.{nearest(self.worth, GAMES)}"
                )
        elif isinstance(self.worth, Model):
            if not isinstance(self.worth, Responsive):
                raise InputError(
                    f"worth={self.worth.name} cannot say what would happen without some channels. "
                    "Hint: BaggedLogistic() or AdditiveHazard()."
                )
        elif hasattr(self.worth, "columns"):
            raise InputError(
                "worth= is a whole table. Hint: pass its column of worths, such as "
                "coalition_worths(journeys, 'rate')['worth']."
            )
        elif hasattr(self.worth, "items"):
            object.__setattr__(self, "worth", table_of_worths(self.worth))
        elif not callable(self.worth) and not is_table(self.worth):
            raise InputError(
                f"worth={short(self.worth)} is no game. Hint: one of {GAMES}, a function of a "
                "frozenset of channels, or a mapping from channels to worth; shapley_values takes "
                "arrays."
            )
        if self.scale not in (None, "total"):
            raise InputError(f"scale={self.scale!r} is not 'total' or None.")
        if self.method not in ("auto", "exact", "sampling"):
            raise InputError(f"method={self.method!r} is not one of ('auto', 'exact', 'sampling').")
        require_options(self.tolerance, self.max_permutations, self.random_state)

    @property
    def kind(self) -> Kind:
        """A rule by default, driven by data for every other worth."""
        return "rule" if self._splits else "data"

    @property
    def separable(self) -> bool:
        """Whether the worth is conversions."""
        return self._splits

    @property
    def _splits(self) -> bool:
        return self.worth == "conversions"

    @property
    def _needed(self) -> type[Statistic]:
        if self.worth == "markov":
            return PathLevelCounts
        timed = isinstance(self.worth, Model) and "ages" in self.worth.needs
        return TimedPaths if timed else CoalitionCounts

    @property
    def lack_of_credit(self) -> str | None:
        """See `Model.lack_of_credit`."""
        if self._splits or self.scale:
            return None
        return "its values are worths, not conversions. Hint: scale='total'."

    def unmet(self, journeys: Journeys) -> str | None:
        """Refuse negative value for every worth but conversions; see `Model.unmet`."""
        refused = None if self._splits else refused_value(journeys, "A Shapley game")
        lack = self.worth.unmet(journeys) if isinstance(self.worth, Model) else None
        return refused or lack or super().unmet(journeys)

    def weights(self, journeys: Journeys) -> FloatArray:
        """Return 1 / (distinct channels of the row x touches of this channel in the row)."""
        return equal_weights(journeys)

    def channel_credit(self, journeys: Journeys) -> tuple[FloatArray, FloatArray | None]:
        """Add up credit from the distinct channels of each row, without weights of touches."""
        return split_equally(journeys)

    def summarize(self, journeys: Journeys) -> Statistic:
        """Count what the game needs: journeys by their set of channels, and transitions."""
        if self._splits:
            return super().summarize(journeys)
        self.require(journeys)
        if self.worth == "markov":
            return path_level_counts(self, journeys, 1)
        if isinstance(self.worth, Model):
            return replace(self.worth.summarize(journeys), model=self)
        return coalitions_of(self, journeys)

    def solve(self, statistic: Statistic) -> Attribution:
        """Solve the game, and share out where `scale` asks for it."""
        if self._splits:
            return super().solve(statistic)
        sets: Statistic = statistic
        if isinstance(statistic, PathLevelCounts | TimedPaths):
            sets = statistic.coalitions
        if not isinstance(statistic, self._needed) or not isinstance(sets, CoalitionCounts):
            raise other_statistic(self, self._needed, statistic)
        if isinstance(self.worth, str | Model):
            warn_of_certain_conversion(sets.conversions, sets.nulls)
        game = game_of(self.worth, statistic)
        solutions = self._solutions(game)
        split = [_split(sets, sets.conversions)]
        if sets.values is not None:
            split.append(_split(sets, sets.values))
        credit = [np.full(game.n, np.nan) for _ in split]
        if self.scale:
            _require_positive(float(solutions[0].values.sum()))
            credit = [
                share_out(solutions[min(i, game.n_outcomes - 1)].values, float(parts.sum()))
                for i, parts in enumerate(split)
            ]
            _warn_of_excess(sets, credit[0])
        extra, details = {}, dict(solutions[0].details)
        for name, solution in zip(("", "_of_value"), solutions, strict=False):
            extra[f"shapley_value{name}"] = solution.values
            if solution.errors is not None:
                extra[f"shapley_value{name}_se"] = solution.errors
                details |= {f"{key}{name}": each for key, each in solution.details.items()}
        values = None if sets.values is None else split[1]
        return Attribution.of(
            statistic,
            model=self.name,
            conversions=credit[0],
            values=None if values is None else credit[1],
            extra=extra,
            details={
                "method": "exact" if solutions[0].errors is None else "sampling",
                **details,
                "spread": spread_details(split[0], values, sets.touches),
            },
        )

    def _solutions(self, game: Game) -> list[Solution]:
        """Return the values for each outcome."""
        if not game.n:
            return [Solution(np.zeros(0), None, {})] * game.n_outcomes
        exact = self.method == "exact" or (self.method == "auto" and game.n <= EXACT_PLAYERS)
        solutions = self._exact(game) if exact else self._sampled(game)
        values = solutions[0].values
        if abs(values.sum()) <= 1e-12 * abs(values).max():
            raise InputError(
                "All channels together are worth 0, so there is nothing to share. Hint: the worth "
                "of the set of all channels must not be 0: journeys must convert, and a table of "
                "worths must hold that set (coalition_worths of kind='rate' does, of kind="
                "'exact_rate' seldom)."
            )
        return solutions

    def _exact(self, game: Game) -> list[Solution]:
        if game.n > EXACT_PLAYERS:
            size = f"{2.0 ** (game.n + 3) / 1e9:,.3g}" if game.n < 60 else f"2**{game.n - 27}"
            raise InputError(
                f"{game.n} channels have 2**{game.n} sets, whose worths take {size} GB; an exact "
                f"game has at most {EXACT_PLAYERS} channels. Hint: method='sampling', "
                "worth='conversions' (any number of channels), or fewer channels by "
                "transforms.regroup."
            )

        def solved(outcome: int) -> Solution:
            worths, unobserved = game.worths(outcome)
            return Solution(shapley_values(worths), None, {"unobserved_coalitions": unobserved})

        return [solved(outcome) for outcome in range(game.n_outcomes)]

    def _sampled(self, game: Game) -> list[Solution]:
        solutions = []
        for outcome in range(game.n_outcomes):
            sampled = sample_shapley_values(
                game.marginals(outcome),
                game.n,
                tolerance=self.tolerance,
                max_permutations=self.max_permutations,
                random_state=self.random_state,
            )
            if not sampled.converged:
                reached = sampled.standard_errors.max() / abs(sampled.values.sum())
                warn(
                    f"After {sampled.n_permutations:,} permutations the largest standard error of "
                    f"{('conversions', 'value')[outcome]} is {reached:.2g} of the worth of all "
                    f"channels, above tolerance={self.tolerance}. Hint: raise max_permutations or "
                    "tolerance."
                )
            details = {
                "n_permutations": sampled.n_permutations,
                "converged": sampled.converged,
            }
            solutions.append(Solution(sampled.values, sampled.standard_errors, details))
        return solutions

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Return the credit of each touch; see `Model.credit` and `attribution.models.spread`."""
        if self._splits:
            return super().credit(journeys, attribution, of)
        return spread_credit(self, journeys, attribution, of)


class Solution(NamedTuple):
    """Shapley values of one outcome, standard errors where sampled, and how they were found."""

    values: FloatArray
    errors: FloatArray | None
    details: dict[str, Any]


def game_of(worth: Any, statistic: Statistic) -> Game:
    """Return the game of a worth (see `Shapley`) on a statistic."""
    if isinstance(statistic, PathLevelCounts) and worth == "markov":
        require_order(statistic.transitions, 1)
        return MarkovGame.of(statistic.transitions)
    if isinstance(statistic, CoalitionCounts) and worth == "rate":
        return RateGame.of(statistic)
    if isinstance(worth, Responsive):
        return ResponseGame(statistic.channels, worth.response(statistic))
    return NamedGame(statistic.channels, dict(worth) if isinstance(worth, tuple) else worth)


def _require_positive(worth: float) -> None:
    """Raise `InputError` if all channels together are worth less than nothing."""
    if worth < 0:
        raise InputError(
            f"All channels together are worth {worth:.6g}, so conversions cannot be shared out in "
            "proportion. Hint: read shapley_value without scale, or give worths that are positive "
            "for the set of all channels."
        )


def _split(sets: CoalitionCounts, outcome: FloatArray) -> FloatArray:
    """Return an outcome split equally over the channels of each set, shape (n_channels,)."""
    sizes = np.diff(sets.offsets)
    row = np.repeat(np.arange(len(sizes)), sizes)
    return unanimity_values(row, sets.members, outcome / np.maximum(sizes, 1), len(sets.channels))


def _warn_of_excess(sets: CoalitionCounts, credit: FloatArray) -> None:
    """Name the channels given more conversions than their journeys have, or less than none."""
    per_member = np.repeat(sets.conversions, np.diff(sets.offsets))
    reached = sum_by(sets.members, per_member, len(sets.channels))
    rounding = 1e-9 * sets.conversions.sum()
    odd = np.flatnonzero((credit > reached + rounding) | (credit < -rounding))
    if len(odd):
        named = [
            f"{sets.channels[i]!r} {credit[i]:,.6g} (took part in {reached[i]:,.6g})" for i in odd
        ]
        warn(
            "The game does not know volume: by its values some channels are credited with more "
            f"conversions than they took part in, or with less than none: {', '.join(named)}. "
            "Hint: read shapley_value, or use worth='conversions'."
        )
