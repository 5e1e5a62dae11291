"""Cooperative games of few players: every worth in one array.

A game of n players gives each set of them, a coalition S, a worth v(S). Here it is an array of
length 2**n: entry m is the worth of the players whose bits are set in m, player i being bit i; so
entry 0 is the empty coalition and the last entry all players.

The *Shapley value* of player i is the marginal worth v(S + i) - v(S), averaged over all orders in
which the players can join,

    phi_i = sum over S without i of w_|S| (v(S + i) - v(S)),    w_s = s! (n - s - 1)! / n!

and the values add up to v(all) - v(empty). As w_s = 1 / (n C(n - 1, s)), a coalition enters phi_i
with a weight that depends on its size and on whether i is in it, nothing else. So view the worths
as a table whose rows are the coalitions of the high players and whose columns those of the low
ones. Rows of high coalitions of the same size share their weights: their sum, weighted once, holds
all that concerns the low players; the weighted sum of each row holds all that concerns the high
ones. That is one pass over the worths, and no second array of their length.

The *Shapley interaction index* of players i and j is the value of j once i is in, less the value
of j in a game without i:

    I_ij = sum over S without i, j of u_|S| (v(S + i + j) - v(S + i) - v(S + j) + v(S)),

u_s = s! (n - s - 2)! / (n - 1)!. That is the Shapley value of j in the game v(S + i) - v(S) of the
n - 1 others. Positive: complements; negative: substitutes.

Sums run over all coalitions, so results are exact up to some units in the last place of the
largest worth: a player who adds nothing may come out as 1e-17 instead of 0.

Sources: Shapley (1953), A value for n-person games; Grabisch and Roubens (1999), An axiomatic
approach to the concept of interaction among players in cooperative games; Yates (1937), The design
and analysis of factorial experiments (subset sums).
"""

from __future__ import annotations

from math import comb

import numpy as np
import numpy.typing as npt

from attribution.arrays import Array, FloatArray, IntArray
from attribution.errors import InputError

EXACT_PLAYERS = 24
"""The largest game to be held in one array: 128 MiB of worths."""

LOW_PLAYERS = 13  # such a row and its weights stay in the cache; longer products go into threads


def shapley_values(worths: npt.ArrayLike) -> FloatArray:
    """Return the Shapley value of each player.

    Exact up to rounding, in about one pass over the worths. For more than about 24 players,
    whose worths fit no memory, see `attribution.models.sampling`.

    Parameters
    ----------
    worths
        Shape (2**n,); entry m is the worth of the players whose bits are set in m. Whole numbers
        and other floats are converted to float64.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in units of the worths; sums to worths[-1] - worths[0].

    Raises
    ------
    InputError
        If the worths are not numbers, not one-dimensional, not finite, or their number is no
        power of two.

    Notes
    -----
    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)); Shapley (1953).

    Examples
    --------
    Player 0 alone is worth 1, player 1 alone nothing, both together 4:

    >>> shapley_values([0, 1, 0, 4]).tolist()
    [2.5, 1.5]
    """
    return _values(np.ascontiguousarray(_checked(worths, "worths"), dtype=np.float64))


def interaction_values(worths: npt.ArrayLike) -> FloatArray:
    """Return the Shapley interaction index of each pair of players.

    Positive where two players are worth more together than their parts (complements), negative
    where one does what the other does (substitutes). Takes about n / 2 times as long as
    `shapley_values`, and memory for half as many worths again.

    Parameters
    ----------
    worths
        Shape (2**n,); see `shapley_values`.

    Returns
    -------
    numpy.ndarray
        Shape (n, n), in units of the worths; symmetric, with zeros on the diagonal.

    Raises
    ------
    InputError
        As for `shapley_values`.

    Notes
    -----
    I_ij = sum over S without i, j of |S|! (n - |S| - 2)! / (n - 1)!
    (v(S + i + j) - v(S + i) - v(S + j) + v(S)); Grabisch and Roubens (1999).

    Examples
    --------
    >>> interaction_values([0, 1, 0, 4]).tolist()
    [[0.0, 3.0], [3.0, 0.0]]
    """
    game = np.ascontiguousarray(_checked(worths, "worths"), dtype=np.float64)
    n = n_players(game)
    result = np.zeros((n, n))
    for i in range(n):
        pairs = game.reshape(-1, 2, 2**i)
        of_others = _values((pairs[:, 1] - pairs[:, 0]).reshape(-1))
        result[i, np.arange(n) != i] = of_others
    return (result + result.T) / 2


def subset_sums(amounts: npt.ArrayLike) -> FloatArray:
    """Return for each coalition the sum of the amounts of all its subsets, itself included.

    Where `amounts` holds the conversions of journeys by the exact set of their channels, the
    result holds the conversions of journeys within each set.

    Parameters
    ----------
    amounts
        Shape (2**n,); entry m belongs to the players whose bits are set in m.

    Returns
    -------
    numpy.ndarray
        Shape (2**n,), a new array, in units of the amounts.

    Raises
    ------
    InputError
        As for `shapley_values`.

    Notes
    -----
    The zeta transform: result[m] = sum of amounts[k] over k with k & m == k, in n 2**(n - 1)
    additions; Yates (1937).

    Examples
    --------
    >>> subset_sums([0, 1, 2, 4]).tolist()
    [0.0, 1.0, 2.0, 7.0]
    """
    sums = np.array(_checked(amounts, "amounts"), dtype=np.float64, order="C")
    for i in range(n_players(sums)):
        pairs = sums.reshape(-1, 2, 2**i)
        pairs[:, 1] += pairs[:, 0]
    return sums


def n_players(worths: Array) -> int:
    """Return n of a game of 2**n worths.

    Examples
    --------
    >>> n_players(np.zeros(8))
    3
    """
    return worths.size.bit_length() - 1


def _values(worths: FloatArray) -> FloatArray:
    """Return the Shapley values of contiguous, checked worths."""
    n = n_players(worths)
    low = min(n, LOW_PLAYERS)
    table = worths.reshape(-1, 2**low)
    weight = np.array([1 / (n * comb(n - 1, size)) for size in range(n)])
    if_in, if_out = np.append(0.0, weight), np.append(weight, 0.0)
    low_sizes, high_sizes = _sizes(2**low), _sizes(len(table))
    low_in, low_out = np.zeros(2**low), np.zeros(2**low)
    high_in, high_out = np.zeros(len(table)), np.zeros(len(table))
    for size in range(n - low + 1):
        row_in, row_out = if_in[size:][low_sizes], if_out[size:][low_sizes]
        total = np.zeros(2**low)
        for high in np.flatnonzero(high_sizes == size):
            row = table[high]
            total += row
            high_in[high] = np.dot(row, row_in)
            high_out[high] = np.dot(row, row_out)
        low_in += row_in * total
        low_out += row_out * total
    return np.append(_member_sums(low_in, low_out), _member_sums(high_in, high_out))


def _member_sums(inside: FloatArray, outside: FloatArray) -> FloatArray:
    """Return for each player the sum over coalitions with it, less that over those without it.

    Parameters
    ----------
    inside, outside
        Shape (2**k,); weighted worths, to be added where a player is in, subtracted where not.

    Returns
    -------
    numpy.ndarray
        Shape (k,).
    """
    sums = np.zeros(n_players(inside))
    for i in range(len(sums)):
        sums[i] = inside.reshape(-1, 2, 2**i)[:, 1].sum() - outside.reshape(-1, 2, 2**i)[:, 0].sum()
    return sums


def _sizes(n_coalitions: int) -> IntArray:
    """Return the number of players in each coalition."""
    return np.bitwise_count(np.arange(n_coalitions)).astype(np.intp)


def _checked(worths: npt.ArrayLike, name: str) -> Array:
    """Return the worths as an array, or raise if they are no game."""
    try:
        array = np.asarray(worths)
    except ValueError as error:
        raise InputError(f"{name} is no array: {error}. Hint: pass 2**n numbers.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{name} has type {array.dtype}, not numbers. Hint: convert it, such as with "
            "astype(float)."
        )
    if array.ndim != 1:
        raise InputError(
            f"{name} has shape {array.shape}, not one dimension. Hint: pass 2**n numbers, entry m "
            "for the players whose bits are set in m."
        )
    if array.size == 0 or array.size & (array.size - 1):
        raise InputError(
            f"{name} has length {array.size:,}, which is no power of two; nearest: "
            f"{_nearest_lengths(array.size)}. Hint: n players have 2**n coalitions, the empty one "
            "included."
        )
    first = _first_not_finite(array)
    if first is not None:
        raise InputError(
            f"{name} has {array[first]} at index {first} (bits {first:0{n_players(array)}b}, the "
            "last one for player 0). Hint: every coalition needs a finite worth; give those that "
            "were never observed a worth of 0."
        )
    return array


def _first_not_finite(array: Array) -> int | None:
    """Return the index of the first NaN or infinity; a finite sum says quickly there is none."""
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(array.sum()):
            return None
    finite = np.isfinite(array)
    return None if finite.all() else int(np.argmin(finite))


def _nearest_lengths(length: int) -> str:
    """Name the powers of two below and above a length."""
    n = max(length.bit_length() - 1, 0)
    lengths = [(2**k, k) for k in ((n, n + 1) if length else (0,))]
    return " and ".join(f"{number:,} (n = {players})" for number, players in lengths)
