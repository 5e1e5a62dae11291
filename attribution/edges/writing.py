"""Transitions of a chain as an edge table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attribution.errors import InputError
from attribution.export import overlaps
from attribution.ingest.checks import MARKERS
from attribution.statistics import TransitionCounts

if TYPE_CHECKING:
    import pandas as pd

START, CONVERSION, NULL = MARKERS


def state_labels(counts: TransitionCounts, *, separator: str = " > ") -> list[str]:
    """Return the states as text, in their order: channels joined by the separator.

    Raises
    ------
    InputError
        If a channel could not be read back: it contains the separator, is called like the start
        or an end, or begins or ends with white space.
    """
    mark = mark_of(separator)
    for name in counts.channels:
        if mark in name or overlaps(name, separator):
            raise InputError(
                f"Channel {name!r} contains the separator {mark!r}. Hint: rename the channel with "
                "transforms.rename; an edge table also takes another separator=."
            )
        if name in MARKERS:
            raise InputError(
                f"Channel {name!r} is called like the start or an end of every journey. Hint: "
                "leave it out with transforms.without, or rename it with transforms.rename."
            )
        if name != name.strip() or not name:
            raise InputError(
                f"Channel {name!r} is empty or has white space around it. Hint: rename it with "
                "transforms.rename."
            )
    return [joined(counts, state, separator) for state in counts.states.tolist()]


def edges_frame(counts: TransitionCounts, separator: str = " > ") -> pd.DataFrame:
    """Return the transitions of a chain as an edge table.

    States, channels and rows that stand for no journey, and journeys without touches, leave no
    edge.

    Parameters
    ----------
    counts
        Of a chain of any order, from `Markov(order=...).summarize(journeys)`.
    separator
        What stands between the channels of a state.

    Returns
    -------
    pandas.DataFrame
        Columns source, target, count, and value where it was given; sorted by source (the start,
        then the states), then by target (the states, then the conversion, then null).

    Raises
    ------
    InputError
        If a channel contains the separator or is called like the start or an end.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution import Journeys, Markov
    >>> table = pd.DataFrame({"path": ["a > b > b", "b"], "conversions": [2, 0], "nulls": [1, 4]})
    >>> counts = Markov().summarize(Journeys.from_paths(table, nulls="nulls"))
    >>> edges_frame(counts)
        source        target  count
    0  (start)             a    3.0
    1  (start)             b    4.0
    2        a             b    3.0
    3        b             b    3.0
    4        b  (conversion)    2.0
    5        b        (null)    5.0
    """
    import pandas as pd

    n = len(counts.states)
    labels = [START, *state_labels(counts, separator=separator), CONVERSION, NULL]
    states, start = np.arange(1, n + 1), np.zeros(n, dtype=np.int64)
    source = np.concatenate([start, counts.sources + 1, states, states])
    target = np.concatenate([states, counts.targets + 1, start + n + 1, start + n + 2])
    count = np.concatenate([counts.starts, counts.counts, counts.conversions, counts.nulls])
    order = np.lexsort((target, source))
    order = order[count[order] > 0]
    names = np.array(labels, dtype=object)
    frame = {"source": names[source[order]], "target": names[target[order]], "count": count[order]}
    if counts.values is not None:
        elsewhere = np.zeros(n + len(counts.counts))
        frame["value"] = np.concatenate([elsewhere, counts.values, np.zeros(n)])[order]
    return pd.DataFrame(frame)


def mark_of(separator: str) -> str:
    """Return what a separator is searched by: itself without white space, if that leaves any."""
    if not separator:
        raise InputError("separator='' is empty. Hint: separator=' > '.")
    return separator.strip() or separator


def joined(counts: TransitionCounts, state: list[int], separator: str) -> str:
    """Return the channels of one state as text."""
    return separator.join([counts.channels[code] for code in state if code >= 0])
