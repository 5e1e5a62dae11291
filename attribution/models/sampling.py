"""Shapley values of games with too many players for an array of all worths.

The Shapley value of a player is its marginal worth in an order in which the players join,
averaged over all n! orders (see `attribution.models.games`). An average over random orders
estimates it, and one order yields the marginal worths of all players at once, which add up to the
worth of all players, v(N).

Orders are drawn in *blocks* of 2 n. With two random permutations p and q of 0 .. n - 1, order r of
a block puts at place c the player

    p[(r + q[c]) mod n],    r = 0 .. n - 1,

and the block ends with the same n orders reversed. Each order taken by itself is uniformly random,
so the mean of a block is unbiased. Within a block each player stands twice at each place, which
takes out the variance between places: most of it where worth saturates or is a rate. Reversal
takes out what is antisymmetric: a game with synergies of pairs only comes out exact. Shuffling
the places by q keeps the players that come before one another from being the same in order after
order, as they are in plain cyclic shifts, which can be worse than no design at all in games of
synergies.

Blocks are independent and identically distributed, so the spread of their means m_1 .. m_k yields
the standard error of the estimate, sqrt(sum (m_j - mean)^2 / (k (k - 1))).

Variance over that of independent orders, for the same number of orders of 16 players, as printed
by `benchmarks/games.py`: about 0.65 for conversion rates, 0.3 where groups of two to five players
have synergies, 0.03 where worth saturates; permutations merely paired with their reverse reach
0.9, 0.5 and 0.4. No design is best everywhere: where worth jumps once, as in a vote, it need not
help.

Sources: Castro, Gomez and Tejada (2009), Polynomial calculation of the Shapley value based on
sampling; Mitchell, Cooper, Frank and Holmes (2022), Sampling permutations for Shapley value
estimation (reversal); McKay, Beckman and Conover (1979) for the idea of Latin designs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from attribution.arrays import FloatArray, Immutable, IntArray
from attribution.errors import InputError
from attribution.progress import progress

Marginals = Callable[[IntArray], FloatArray]

SEED = 0
MIN_BLOCKS = 32  # the standard error of 32 block means is itself uncertain by an eighth
DEFAULT_BLOCKS = 200
GROWTH = 1.5
BATCH_ENTRIES = 2**17


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledValues(Immutable):
    """Estimated Shapley values.

    Attributes
    ----------
    values
        Shape (n,), in units of worth; sum to the worth of all players, up to rounding.
    standard_errors
        Shape (n,), in units of worth: standard deviation of the estimates about the exact values.
    n_permutations
        Orders evaluated.
    converged
        False if a tolerance was asked for and not reached.
    """

    values: FloatArray
    standard_errors: FloatArray
    n_permutations: int
    converged: bool


def sample_shapley_values(
    marginals: Marginals,
    n: int,
    *,
    tolerance: float | None = None,
    max_permutations: int | None = None,
    random_state: int | np.random.Generator | None = None,
) -> SampledValues:
    """Estimate the Shapley value of each player from random orders, with standard errors.

    For games of more players than `shapley_values` can take. Up to 3 players the result is exact.

    Parameters
    ----------
    marginals
        Takes orders, an integer array of shape (n_orders, n) whose rows say which player joins
        first, second and so on; returns the marginal worths, a float array of shape
        (n_orders, n), column i for player i (not for place i).
    n
        Number of players.
    tolerance
        Stop as soon as the largest standard error is at most this share of |v(N)|, the worth of
        all players: 0.01 asks for standard errors of at most 1 % of the total. Looked at after 32
        blocks of 2 n orders and each time their number has grown by half, so that stopping hardly
        favours errors that happen to look small. None: use all permutations.
    max_permutations
        The most orders to evaluate, rounded down to blocks of 2 n; at least 64 n. None: 400 n.
    random_state
        Seed, or a generator to go on from. None: seed 0, so that the same input gives the same
        output.

    Returns
    -------
    SampledValues
        Values, standard errors, the number of permutations, and whether the tolerance was reached.

    Raises
    ------
    InputError
        If an option does not fit, or the marginal worths have another shape, are not numbers or
        not finite.

    Notes
    -----
    Castro, Gomez and Tejada (2009); the design of the orders is described in the module.

    Examples
    --------
    The worth of a set is the square root of its size; every player is equal.

    >>> def marginals(orders):
    ...     n = orders.shape[1]
    ...     gains = np.diff(np.sqrt(np.arange(n + 1)))
    ...     return gains[np.argsort(orders, axis=1)]
    >>> sampled = sample_shapley_values(marginals, 30, tolerance=0.001)
    >>> round(float(sampled.values.sum()), 9) == round(30**0.5, 9), sampled.converged
    (True, True)
    """
    require_options(tolerance, max_permutations, random_state)
    blocks = _blocks_allowed(n, max_permutations)
    rng = generator_of(random_state)
    sample = _Sample(n)
    look = MIN_BLOCKS
    batch = min(MIN_BLOCKS, max(1, BATCH_ENTRIES // (2 * n * n)))
    starts = range(0, blocks, batch)
    for start in progress(starts, len(starts), "permutations"):
        orders = draw_orders(rng, n, min(batch, blocks - start))
        sample.add(_checked(marginals(orders), orders).reshape(-1, 2 * n, n).mean(axis=1))
        if tolerance is not None and sample.count >= look:
            if sample.reached(tolerance):
                break
            look = int(np.ceil(GROWTH * sample.count))
    return SampledValues(
        values=sample.mean,
        standard_errors=sample.standard_errors,
        n_permutations=sample.count * 2 * n,
        converged=tolerance is None or sample.reached(tolerance),
    )


def draw_orders(rng: np.random.Generator, n: int, blocks: int) -> IntArray:
    """Return random orders of n players in independent blocks of 2 n; see the module.

    Returns
    -------
    numpy.ndarray
        Shape (2 n * blocks, n), the orders of a block one after the other.
    """
    identity = np.tile(np.arange(n), (blocks, 1))
    players, places = rng.permuted(identity, axis=1), rng.permuted(identity, axis=1)
    shifted = (np.arange(n)[:, None] + places[:, None, :]) % n
    forward = players[np.arange(blocks)[:, None, None], shifted]
    return np.concatenate((forward, forward[:, :, ::-1]), axis=1).reshape(-1, n)


class _Sample:
    """Mean and spread of block means, updated in batches (Chan, Golub and LeVeque 1983)."""

    def __init__(self, n: int) -> None:
        self.count = 0
        self.mean = np.zeros(n)
        self._squares = np.zeros(n)

    def add(self, means: FloatArray) -> None:
        """Add block means, shape (n_blocks, n)."""
        added, count = len(means), self.count + len(means)
        mean = means.mean(axis=0)
        step = mean - self.mean
        self._squares += ((means - mean) ** 2).sum(axis=0) + step**2 * self.count * added / count
        self.mean = self.mean + step * (added / count)
        self.count = count

    @property
    def standard_errors(self) -> FloatArray:
        return np.sqrt(self._squares / (self.count * (self.count - 1)))

    def reached(self, tolerance: float) -> bool:
        """Tell whether all standard errors are within the tolerance times |v(N)|."""
        return bool(self.standard_errors.max() <= tolerance * abs(self.mean.sum()))


def require_options(tolerance: Any, max_permutations: Any, random_state: Any) -> None:
    """Raise `InputError` for options of `sample_shapley_values` that fit no game."""
    number = isinstance(tolerance, Real) and not isinstance(tolerance, bool)
    if tolerance is not None and not (number and 0 < tolerance < np.inf):
        raise InputError(
            f"tolerance={tolerance!r} is not a positive number. Hint: 0.01 asks for standard "
            "errors of at most 1 % of the worth of all players; None uses all permutations."
        )
    if max_permutations is not None and not (_is_whole(max_permutations) and max_permutations > 0):
        raise InputError(
            f"max_permutations={max_permutations!r} is not a positive whole number. Hint: None "
            "takes 400 for each player."
        )
    generator_of(random_state)


def _blocks_allowed(n: int, max_permutations: int | None) -> int:
    """Check the number of players and the budget; return the budget in blocks."""
    if not _is_whole(n) or n < 1:
        raise InputError(f"n={n!r} is not a number of players. Hint: a whole number from 1 on.")
    if max_permutations is None:
        return DEFAULT_BLOCKS
    least = MIN_BLOCKS * 2 * n
    if not _is_whole(max_permutations) or max_permutations < least:
        raise InputError(
            f"max_permutations={max_permutations!r} is not a whole number of at least {least:,} "
            f"({MIN_BLOCKS} blocks of 2 x {n} orders). Hint: fewer give no standard error to rely "
            "on; games of up to 24 players can be solved exactly by shapley_values."
        )
    return int(max_permutations) // (2 * n)


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def generator_of(random_state: int | np.random.Generator | None) -> np.random.Generator:
    """Return the generator of a seed (None: SEED), or raise `InputError` if it is none."""
    try:
        return np.random.default_rng(SEED if random_state is None else random_state)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"random_state={random_state!r} is no seed. Hint: a whole number from 0 on, or a "
            "numpy Generator."
        ) from error


def _checked(worths: FloatArray, orders: IntArray) -> FloatArray:
    """Return the marginal worths as floats, or raise if they do not fit the orders."""
    array = np.asarray(worths)
    if array.shape != orders.shape or array.dtype.kind not in "biuf":
        raise InputError(
            f"marginals returned an array of shape {array.shape} and type {array.dtype} for orders "
            f"of shape {orders.shape}. Hint: return one number per order and player, column i for "
            "player i."
        )
    bad = ~np.isfinite(array)
    if bad.any():
        row, player = np.argwhere(bad)[0]
        raise InputError(
            f"marginals returned {array[row, player]} for player {player} in order "
            f"{orders[row].tolist()}. Hint: every coalition needs a finite worth; give those that "
            "were never observed a worth of 0."
        )
    return array.astype(np.float64, copy=False)
