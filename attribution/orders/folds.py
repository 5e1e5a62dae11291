"""Journeys shared out over folds, by user where there are users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models.sampling import generator_of
from attribution.segments import group_paths, sum_by, take_rows


@dataclass(frozen=True, eq=False)
class Folds:
    """Distinct paths with at least one touch and their journeys in each fold.

    Attributes
    ----------
    codes, offsets
        The paths; shapes (n_touches,) and (n_paths + 1,).
    conversions, nulls
        Shape (n_paths, n_folds).
    n_channels
        Codes are below it.
    """

    codes: IntArray
    offsets: IntArray
    conversions: FloatArray
    nulls: FloatArray
    n_channels: int


def split_into_folds(
    journeys: Journeys, n_folds: int, random_state: int | np.random.Generator | None
) -> Folds:
    """Share the journeys with touches out over folds, by user where there are users.

    Returns
    -------
    Folds
        Paths by length, then by codes, so that the order of rows does not matter; counts are added
        in order of size for the same reason.

    Raises
    ------
    InputError
        If no journey has touches, or a fold stays empty.
    """
    weight = journeys.conversions + journeys.nulls
    rows = np.flatnonzero((journeys.lengths > 0) & (weight > 0))
    if not len(rows):
        raise InputError(
            "There are no journeys with touches to choose an order from. Hint: check the column of "
            "channels, and that conversions= or nulls= hold counts."
        )
    touches, offsets = take_rows(journeys.offsets, rows)
    path = group_paths(journeys.codes[touches], offsets)
    by_size = np.lexsort((journeys.nulls[rows], journeys.conversions[rows], path))
    rows, path = rows[by_size], path[by_size]
    firsts = np.flatnonzero(np.diff(path, prepend=-1))
    outcomes = (journeys.conversions[rows], journeys.nulls[rows])
    generator = generator_of(random_state)
    users = None if journeys.users is None else journeys.users[rows]
    if users is None:
        totals = [sum_by(path, outcome, len(firsts)) for outcome in outcomes]
        counts = [split_counts(total, n_folds, generator) for total in totals]
    else:
        cell = path * n_folds + _folds_of_users(users, n_folds, generator)
        sums = [sum_by(cell, outcome, len(firsts) * n_folds) for outcome in outcomes]
        counts = [each.reshape(-1, n_folds) for each in sums]
    _require_journeys(counts[0] + counts[1], users)
    touches, offsets = take_rows(journeys.offsets, rows[firsts])
    return Folds(journeys.codes[touches], offsets, counts[0], counts[1], len(journeys.channels))


def _require_journeys(counts: FloatArray, users: IntArray | None) -> None:
    """Refuse folds without journeys."""
    empty = int((counts.sum(axis=0) == 0).sum())
    if empty:
        n = (
            f"{counts.sum():,.10g} journeys"
            if users is None
            else f"{len(np.unique(users)):,} users"
        )
        raise InputError(
            f"n_folds={counts.shape[1]} leaves {empty} without any of the {n} with touches. Hint: "
            "choose fewer folds."
        )


def _folds_of_users(users: IntArray, n_folds: int, generator: np.random.Generator) -> IntArray:
    """Return the fold of each row; folds differ by at most one user."""
    distinct, user = np.unique(users, return_inverse=True)
    return np.asarray(generator.permutation(len(distinct)) % n_folds)[user]


def split_counts(counts: FloatArray, n_folds: int, generator: np.random.Generator) -> FloatArray:
    """Send every journey of a count to a random fold, and what is left of one as a whole.

    Parameters
    ----------
    counts
        Shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n, n_folds); rows add up to the counts.
    """
    whole = np.floor(counts)
    shares = np.full(n_folds, 1.0 / n_folds)
    parts = generator.multinomial(whole.astype(np.int64), shares).astype(np.float64)
    rest = generator.integers(n_folds, size=len(counts))
    parts[np.arange(len(counts)), rest] += counts - whole
    return parts
