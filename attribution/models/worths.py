"""Games that journeys play: the worth v(S) of each set S of channels.

rate
    v(S) = conversions of journeys within S / journeys within S, where a journey is within S if all
    its channels are. Sets that no journey lies within are worth 0. A rate knows no volume: a
    channel of a few journeys that convert well is worth as much as a large one.
markov
    v(S) = conversion probability of the chain of order 1 in which every channel outside S leads to
    null: s_S (I - Q_SS)^-1 b_S. All 2**n of them come from one elimination: with the bordered
    matrix

        [ 0   -s ]
        [ -b  I - Q ]

    eliminating the channels of S leaves -v(S) in the corner. Channels are decided one by one; each
    table of those decided so far branches into one where the channel is struck out and one where it
    is eliminated, while tables shrink by a row and a column. That is about 6 * 2**n steps in all.
a function or a table
    of the worths themselves.
a model
    that has learned how journeys respond to channels: v(S) = expected rate with the channels of S
    less that with none.

v(empty) = 0, and journeys without touches play no game. Where journeys have value, the first two
play a second game of value per journey.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError, nearest
from attribution.models.chains import Chain
from attribution.models.games import subset_sums
from attribution.models.sampling import Marginals
from attribution.progress import progress
from attribution.statistics import CoalitionCounts, TransitionCounts

AT_ONCE = 16  # channels decided in fast memory
ORDERS_AT_ONCE = 8
DENSE_PLAYERS = 2_000

Coalition = tuple[str, ...]
Worth = Callable[[frozenset[str]], float]


class Game(Protocol):
    """Worths of every set of n players, for one outcome or two."""

    @property
    def n(self) -> int:
        """Number of players."""

    @property
    def n_outcomes(self) -> int:
        """1, or 2 where there is value."""

    def worths(self, outcome: int) -> tuple[FloatArray, int]:
        """Return all worths, shape (2**n,), and the number of sets never observed."""

    def marginals(self, outcome: int) -> Marginals:
        """Return the function of orders that `sample_shapley_values` takes."""


@dataclass(frozen=True, eq=False)
class RateGame:
    """Outcome per journey within a set of channels.

    Attributes
    ----------
    n
        Number of channels.
    members, offsets
        The sets of channels of the journeys; see `CoalitionCounts`.
    journeys
        Shape (n_sets,).
    outcomes
        Conversions, and value; shape (n_sets,) each.
    """

    n: int
    members: IntArray
    offsets: IntArray
    journeys: FloatArray
    outcomes: list[FloatArray]

    @classmethod
    def of(cls, counts: CoalitionCounts) -> RateGame:
        """Return the game of the counts."""
        outcomes = [counts.conversions]
        if counts.values is not None:
            outcomes.append(counts.values)
        journeys = counts.conversions + counts.nulls
        return cls(len(counts.channels), counts.members, counts.offsets, journeys, outcomes)

    @property
    def n_outcomes(self) -> int:
        """Conversions, and value."""
        return len(self.outcomes)

    def worths(self, outcome: int) -> tuple[FloatArray, int]:
        """See `Game.worths`."""
        within = within_sets(self.members, self.offsets, self.journeys, self.n)
        sums = within_sets(self.members, self.offsets, self.outcomes[outcome], self.n)
        rates = np.divide(sums, within, out=sums, where=within > 0)
        return rates, int(np.count_nonzero(within == 0)) - 1

    def marginals(self, outcome: int) -> Marginals:
        """See `Game.marginals`. A journey is within the first players once its last one joins."""
        amounts, n = self.outcomes[outcome], self.n
        sizes, first = np.unique(np.diff(self.offsets), return_index=True)
        parts = np.split(self.members, self.offsets[first])[1:]
        by_size = [
            np.ascontiguousarray(part.reshape(-1, size).T, dtype=np.intp)
            for size, part in zip(sizes, parts, strict=True)
        ]

        def of(orders: IntArray) -> FloatArray:
            gains = np.empty(orders.shape)
            place = np.empty(n, dtype=np.min_scalar_type(n))
            for row, order in enumerate(orders):
                place[order] = np.arange(n)
                lasts = [place.take(members).max(axis=0) for members in by_size]
                last = np.concatenate([place[:0], *lasts])
                within = np.bincount(last, self.journeys, n).cumsum()
                sums = np.bincount(last, amounts, n).cumsum()
                rates = np.divide(sums, within, out=np.zeros(n), where=within > 0)
                gains[row, order] = np.diff(rates, prepend=0.0)
            return gains

        return of


@dataclass(frozen=True, eq=False)
class MarkovGame:
    """Outcome per journey of a chain restricted to a set of channels.

    Attributes
    ----------
    bordered
        Shape (n + 1, n_outcomes + n): 0 and -s in the first row, -b and I - Q below.
    n_outcomes
        Conversions, and value.
    """

    bordered: FloatArray
    n_outcomes: int

    @classmethod
    def of(cls, counts: TransitionCounts) -> MarkovGame:
        """Return the game of the counts of a chain of order 1.

        Raises
        ------
        InputError
            If there are more than 2,000 channels.
        """
        chain, n = Chain.of(counts), len(counts.channels)
        if n > DENSE_PLAYERS:
            raise InputError(
                f"The game of a chain takes at most {DENSE_PLAYERS:,} channels, not {n:,}. Hint: "
                "worth='conversions' takes any number; transforms.regroup makes fewer."
            )
        n_outcomes = chain.reward.shape[1]
        state = counts.states[:, 0]
        bordered = np.zeros((n + 1, n_outcomes + n))
        bordered[1:, n_outcomes:] = np.eye(n)
        bordered[0, n_outcomes + state] = -chain.starts / max(counts.n_journeys, 1e-300)
        bordered[1 + state, :n_outcomes] = -chain.reward
        bordered[np.ix_(1 + state, n_outcomes + state)] -= chain.transitions.toarray()
        return cls(bordered, n_outcomes)

    @property
    def n(self) -> int:
        """Number of channels."""
        return len(self.bordered) - 1

    def worths(self, outcome: int) -> tuple[FloatArray, int]:
        """See `Game.worths`."""
        columns = [outcome, *range(self.n_outcomes, self.n_outcomes + self.n)]
        tables = self.bordered[None, :, columns]
        while len(tables[0]) - 1 > AT_ONCE:
            tables = _decide_last(tables)
        worths = np.empty((len(tables), 2 ** (len(tables[0]) - 1)))
        for i, table in enumerate(tables):
            part = table[None]
            while part.shape[1] > 1:
                part = _decide_last(part)
            worths[i] = 0.0 - part[:, 0, 0]
        return worths.reshape(-1), 0

    def marginals(self, outcome: int) -> Marginals:
        """See `Game.marginals`. Players are eliminated in the order in which they join."""

        def of(orders: IntArray) -> FloatArray:
            gains = np.empty(orders.shape)
            for i in range(0, len(orders), ORDERS_AT_ONCE):
                some = slice(i, i + ORDERS_AT_ONCE)
                np.put_along_axis(gains[some], orders[some], joined(orders[some]), axis=1)
            return gains

        def joined(orders: IntArray) -> FloatArray:
            """Return the gains by place."""
            border = np.zeros((len(orders), 1), dtype=orders.dtype)
            rows = np.hstack([orders + 1, border])
            columns = np.hstack([orders + self.n_outcomes, border + outcome])
            tables = self.bordered[rows[:, :, None], columns[:, None, :]]
            gains = np.empty(orders.shape)
            for k in range(self.n):
                row = tables[:, k, None, k + 1 :] / tables[:, k, k, None, None]
                step = tables[:, k + 1 :, k, None] * row
                tables[:, k + 1 :, k + 1 :] -= step
                gains[:, k] = step[:, -1, -1]
            return gains

        return of


def _decide_last(tables: FloatArray) -> FloatArray:
    """Branch every table: its last channel struck out, and eliminated.

    Parameters
    ----------
    tables
        Shape (m, k + 1, k + 1).

    Returns
    -------
    numpy.ndarray
        Shape (2 m, k, k).
    """
    kept = tables[:, :-1, :-1]
    row = tables[:, -1, :-1] / tables[:, -1, -1, None]
    decided = np.empty((len(tables), 2, *kept.shape[1:]))
    decided[:, 0] = kept
    np.multiply(tables[:, :-1, -1, None], row[:, None], out=decided[:, 1])
    np.subtract(kept, decided[:, 1], out=decided[:, 1])
    return decided.reshape(-1, *kept.shape[1:])


@dataclass(frozen=True, eq=False)
class NamedGame:
    """Worths that the user gives by the names of the channels.

    Attributes
    ----------
    channels
        The n names.
    worth
        A function of a set of names, or a table by sorted names; sets that are missing in a table
        are worth 0.
    """

    channels: tuple[str, ...]
    worth: Worth | Mapping[Coalition, float]
    n_outcomes: int = 1

    @property
    def n(self) -> int:
        """Number of channels."""
        return len(self.channels)

    def __post_init__(self) -> None:
        if isinstance(self.worth, Mapping):
            known = set(self.channels)
            for name in sorted({name for names in self.worth for name in names} - known):
                raise InputError(
                    f"The table of worths has channel {name!r}, which no journey has."
                    f"{nearest(name, self.channels)} Hint: leave it out, or name it as the "
                    "journeys do."
                )

    def worths(self, outcome: int) -> tuple[FloatArray, int]:
        """See `Game.worths`."""
        worths = np.zeros(2**self.n)
        if isinstance(self.worth, Mapping):
            bit = {name: 1 << i for i, name in enumerate(self.channels)}
            for coalition, worth in self.worth.items():
                worths[sum(bit[name] for name in coalition)] = worth
            return worths, 2**self.n - len(set(self.worth) | {()})
        for mask in progress(range(1, 2**self.n), 2**self.n - 1, "worths"):
            worths[mask] = self._worth(
                name for i, name in enumerate(self.channels) if mask >> i & 1
            )
        return worths, 0

    def _worth(self, names: Any) -> float:
        if isinstance(self.worth, Mapping):
            return self.worth.get(tuple(sorted(names)), 0.0)
        coalition = frozenset(names)
        worth = self.worth(coalition)
        return finite_worth(worth, tuple(sorted(coalition)))

    def marginals(self, outcome: int) -> Marginals:
        """See `Game.marginals`. Worths are looked up one by one."""

        def of(orders: IntArray) -> FloatArray:
            gains = np.empty(orders.shape)
            for row, order in enumerate(orders.tolist()):
                joined: list[str] = []
                before = 0.0
                for player in order:
                    joined.append(self.channels[player])
                    worth = self._worth(joined)
                    gains[row, player], before = worth - before, worth
            return gains

        return of


def masks_of(members: IntArray, offsets: IntArray) -> IntArray:
    """Return each set as a number whose bits are its members, shape (n_sets,)."""
    if not len(members):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(np.bitwise_or.reduceat(np.int64(1) << members, offsets[:-1]))


def within_sets(members: IntArray, offsets: IntArray, amounts: FloatArray, n: int) -> FloatArray:
    """Return for every set of n channels the amounts of journeys within it, shape (2**n,)."""
    return subset_sums(np.bincount(masks_of(members, offsets), amounts, 2**n))


def finite_worth(worth: Any, coalition: Coalition) -> float:
    """Return a worth as a float.

    Raises
    ------
    InputError
        If it is no finite number.
    """
    try:
        number = float(worth)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(
            f"The worth of {coalition} is {worth!r}, not a finite number. Hint: a set of channels "
            "that was never observed is worth 0."
        )
    return number


def table_of_worths(table: Any) -> tuple[tuple[Coalition, float], ...]:
    """Return the entries of a table of worths, by sorted names of channels.

    Parameters
    ----------
    table
        A mapping, or a pandas Series, from a channel's name or a collection of names to the worth.
        NaN among the names, with which a MultiIndex fills up smaller sets, is left out.

    Raises
    ------
    InputError
        If a key is no set of names, a worth is not finite, a set stands twice, or the empty set is
        worth something.
    """
    worths: dict[Coalition, float] = {}
    for key, worth in table.items():
        names = _names_in(key)
        if names in worths:
            raise InputError(f"The table of worths has {names} twice. Hint: order does not matter.")
        worths[names] = finite_worth(worth, names)
    if worths.get((), 0.0) != 0.0:
        raise InputError(
            f"The table gives no channels at all a worth of {worths[()]}; it must be 0. Hint: "
            "subtract it from every worth."
        )
    return tuple(sorted(worths.items()))


def is_table(worth: object) -> bool:
    """Tell whether this is what `table_of_worths` returns."""
    return isinstance(worth, tuple) and all(
        isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], tuple)
        for entry in worth
    )


def _names_in(key: Any) -> Coalition:
    """Return the sorted names in a key of a table of worths."""
    listed = [key] if isinstance(key, str) or not isinstance(key, Iterable) else key
    names = {name for name in listed if name == name}
    for name in names:
        if not isinstance(name, str):
            raise InputError(
                f"The table of worths has the key {key!r}, which is no set of channels. Hint: use "
                "a name, or a tuple or frozenset of names."
            )
    return tuple(sorted(names))
