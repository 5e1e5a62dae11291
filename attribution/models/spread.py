"""Spreading the total of a channel over its touches.

Where the credit of one journey depends on all journeys, a model gives totals by channel only. They
are spread over single touches in proportion to the equal split of each journey over its distinct
channels; over all touches of a channel alike where none of its journeys converts. The sums of
those weights are additive, so they stand in the statistic and in the result (`details["spread"]`),
and the parts of a stream agree with the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.journeys import Journeys
from attribution.models.base import Model, Outcome, channel_index, outcome_of
from attribution.results import Attribution
from attribution.segments import reduce_rows, sum_by


def equal_weights(journeys: Journeys) -> FloatArray:
    """Return 1 / (distinct channels of the row x touches of this channel in the row) per touch."""
    n = max(1, len(journeys.channels))
    key = journeys.rows * np.int64(n) + journeys.codes
    pairs, touch, repeats = np.unique(key, return_inverse=True, return_counts=True)
    distinct = np.bincount(pairs // n, minlength=len(journeys))
    return np.asarray(1.0 / (repeats * distinct[pairs // n])[touch])


def split_equally(journeys: Journeys) -> tuple[FloatArray, FloatArray | None]:
    """Return conversions and value split over the distinct channels of each journey.

    Returns
    -------
    conversions, values
        Shape (n_channels,); values None where none were given.
    """
    rows = journeys.converting
    row, code = rows.distinct
    size = np.bincount(row, minlength=len(rows))

    def split(outcome: FloatArray) -> FloatArray:
        return unanimity_values(row, code, outcome / np.maximum(size, 1), len(journeys.channels))

    return split(rows.conversions), None if rows.values is None else split(rows.values)


def unanimity_values(row: IntArray, code: IntArray, share: FloatArray, n: int) -> FloatArray:
    """Add the share of each row to every channel in it.

    Parameters
    ----------
    row, code
        Shape (n_pairs,); the distinct channels of each row.
    share
        Shape (n_rows,); worth of the row over its number of distinct channels.
    n
        Number of channels.

    Returns
    -------
    numpy.ndarray
        Shape (n,); the Shapley value of each channel.
    """
    return sum_by(code, share[row], n)


def touches_of(journeys: Journeys) -> FloatArray:
    """Return the touches of each channel, counted once for each journey of the row."""
    weight = np.repeat(journeys.conversions + journeys.nulls, journeys.lengths)
    return sum_by(journeys.codes, weight, len(journeys.channels))


def spread_details(
    conversions: FloatArray, values: FloatArray | None, touches: FloatArray
) -> dict[str, Any]:
    """Return what `spread_credit` needs, ready for `Attribution.details`."""
    spread = {"conversions": conversions.tolist(), "touches": touches.tolist()}
    if values is not None:
        spread["value"] = values.tolist()
    return spread


def basis_of_credit(
    model: Model, journeys: Journeys, attribution: Attribution | None, of: Outcome
) -> tuple[FloatArray, Attribution, IntArray]:
    """Return outcome of the rows, the result, and where in it their channels stand.

    Raises
    ------
    InputError
        If the outcome or the result does not fit.
    """
    outcome = outcome_of(journeys, of)
    if attribution is None:
        attribution = model.attribute(journeys)
    return outcome, attribution, channel_index(model, journeys, attribution, of)


def spread_credit(
    model: Model, journeys: Journeys, attribution: Attribution | None, of: Outcome
) -> FloatArray:
    """Return the credit of each touch, shape (n_touches,); by channel it sums to the result."""
    model.require_credit()
    outcome, attribution, index = basis_of_credit(model, journeys, attribution, of)
    credit = attribution.conversions if of == "conversions" else attribution.values
    total = np.asarray(credit, dtype=np.float64)[index]
    spread = attribution.details["spread"]
    split = np.array(spread[of], dtype=np.float64)[index]
    touches = np.array(spread["touches"], dtype=np.float64)[index]
    by_split = np.divide(total, split, out=np.zeros(len(total)), where=split > 0)
    evenly = (split <= 0) & (touches > 0)
    by_touch = np.divide(total, touches, out=np.zeros(len(total)), where=evenly)
    share = equal_weights(journeys) * np.repeat(outcome, journeys.lengths)
    weight = np.repeat(journeys.conversions + journeys.nulls, journeys.lengths)
    return by_split[journeys.codes] * share + by_touch[journeys.codes] * weight


def share_out(parts: FloatArray, total: float) -> FloatArray:
    """Return the total in proportion to the parts; zeros where their sum is not positive."""
    whole = float(parts.sum())
    return parts * (total / whole) if whole > 0 else np.zeros(len(parts))


def shares_within(parts: FloatArray, offsets: IntArray) -> FloatArray:
    """Return each entry's share of the sum of its row; alike where all of a row are zero."""
    sizes = np.diff(offsets)
    whole = np.repeat(reduce_rows(np.add, parts, offsets), sizes)
    alike = 1.0 / np.repeat(np.maximum(sizes, 1), sizes)
    return np.asarray(np.divide(parts, whole, out=alike, where=whole > 0))


def credit_of_rows(
    codes: IntArray, offsets: IntArray, shares: FloatArray, outcome: FloatArray, n: int
) -> FloatArray:
    """Add up by channel what each entry of a row gets of the row's outcome.

    Parameters
    ----------
    codes, offsets, shares
        Channels of rows, and the share of the outcome that each gets.
    outcome
        Shape (n_rows,).
    n
        Number of channels.

    Returns
    -------
    numpy.ndarray
        Shape (n,).
    """
    return sum_by(codes, shares * np.repeat(outcome, np.diff(offsets)), n)


def spread_over_touches(journeys: Journeys, share: FloatArray) -> FloatArray:
    """Spread a number for each pair of `Journeys.distinct` alike over its touches.

    Returns
    -------
    numpy.ndarray
        Shape (n_touches,).
    """
    row, code = journeys.distinct
    n = max(1, len(journeys.channels))
    pair = np.searchsorted(row * n + code, journeys.rows * n + journeys.codes)
    return np.asarray((share / np.bincount(pair, minlength=len(row)))[pair])
