"""Journeys to journeys: leave out, merge, rename or choose touches and rows.

Counts and value stay with their rows, so nothing is lost: a row that loses its last touch keeps
its conversions, which are then unattributed. Channels without touches stay, with zero credit. Each
transform is noted in `Journeys.transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from attribution.arrays import BoolArray, Coded, IntArray, read_only
from attribution.durations import Moment, moment
from attribution.errors import InputError, nearest
from attribution.journeys import Journeys
from attribution.segments import reduce_rows, sum_by

DIRECT, NO_MEDIUM = ("direct", "(direct)"), ("", "none", "(none)")


def is_direct(channel: str) -> bool:
    """Tell whether a channel name means direct traffic: direct, perhaps without medium, any case.

    Examples
    --------
    >>> is_direct("(Direct) / (none)")
    True
    """
    source, _, medium = channel.strip().lower().partition(" / ")
    return source in DIRECT and medium in NO_MEDIUM


def without(
    journeys: Journeys,
    channel: str | Iterable[str],
    *,
    keep_if_only: bool = True,
    tail_only: bool = False,
) -> Journeys:
    """Leave out the touches of some channels.

    Parameters
    ----------
    journeys
        Any journeys.
    channel
        A name or several; all must exist.
    keep_if_only
        Leave journeys untouched that have no other channel.
    tail_only
        Leave out only touches at the end of a journey that no other channel follows.

    Raises
    ------
    InputError
        If a channel does not exist.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > direct", "direct"], "conversions": [1, 1]})
    >>> without(Journeys.from_paths(table), "direct").to_paths()["path"].tolist()
    ['a', 'direct']
    """
    names = {channel} if isinstance(channel, str) else set(channel)
    codes = _find(journeys, names)
    out = np.isin(journeys.codes, codes)
    position = np.arange(len(out))
    last_other = reduce_rows(np.maximum, np.where(out, -1, position), journeys.offsets)
    last_other = np.repeat(last_other, journeys.lengths)
    if keep_if_only:
        out &= last_other >= 0
    if tail_only:
        out &= position > last_other
    note = f"without({sorted(names)}, keep_if_only={keep_if_only}, tail_only={tail_only})"
    return _noted(journeys.keep_touches(~out), note)


def collapse_repeats(journeys: Journeys) -> Journeys:
    """Merge each run of one channel into its first touch: a > a > b > a becomes a > b > a."""
    starts = np.ones(len(journeys.codes), dtype=bool)
    starts[1:] = journeys.codes[1:] != journeys.codes[:-1]
    starts[journeys.offsets[:-1][journeys.lengths > 0]] = True
    return _noted(journeys.keep_touches(starts), "collapse_repeats")


def first_occurrences(journeys: Journeys) -> Journeys:
    """Keep the first touch of each channel in a journey: a > b > a becomes a > b."""
    key = journeys.rows * np.int64(max(1, len(journeys.channels))) + journeys.codes
    keep = np.zeros(len(key), dtype=bool)
    keep[np.unique(key, return_index=True)[1]] = True
    return _noted(journeys.keep_touches(keep), "first_occurrences")


def last_n_touches(journeys: Journeys, n: int) -> Journeys:
    """Keep the last n touches of each journey.

    Raises
    ------
    InputError
        If n is not a positive whole number.
    """
    if not isinstance(n, int) or n < 1:
        raise InputError(f"n={n!r} is not a positive whole number of touches.")
    from_end = np.repeat(journeys.offsets[1:], journeys.lengths) - np.arange(len(journeys.codes))
    return _noted(journeys.keep_touches(from_end <= n), f"last_n_touches({n})")


def rename(journeys: Journeys, names: Mapping[str, str] | Callable[[str], str]) -> Journeys:
    """Rename channels, by a mapping (others stay) or a function; equal names merge.

    Raises
    ------
    InputError
        If the mapping names a channel that does not exist, or a new name is empty or no text.
    """
    if isinstance(names, Mapping):
        _find(journeys, set(names))
        new = [names.get(name, name) for name in journeys.channels]
    else:
        new = [names(name) for name in journeys.channels]
    for old, name in zip(journeys.channels, new, strict=True):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"The new name of channel {old!r} is {name!r}, not text.")
    changed = sorted((o, n) for o, n in zip(journeys.channels, new, strict=True) if o != n)
    return _noted(_recoded(journeys, new), f"rename({dict(changed)})")


def regroup(journeys: Journeys, *, min_touches: float, other: str = "other") -> Journeys:
    """Merge rare channels into one.

    Parameters
    ----------
    journeys
        Any journeys.
    min_touches
        Channels with fewer touches (counted once per journey that a row stands for) are rare.
    other
        Name of the merged channel.
    """
    weight = np.repeat(journeys.conversions + journeys.nulls, journeys.lengths)
    touches = sum_by(journeys.codes, weight, len(journeys.channels))
    new = [
        c if n >= min_touches else other for c, n in zip(journeys.channels, touches, strict=True)
    ]
    return _noted(_recoded(journeys, new), f"regroup({min_touches}, {other!r})")


def where(
    journeys: Journeys,
    *,
    touches: Literal["keep", "journeys"] = "journeys",
    since: Moment | None = None,
    until: Moment | None = None,
    **attributes: Any,
) -> Journeys:
    """Choose by attribute, segment or time.

    Parameters
    ----------
    journeys
        Any journeys.
    touches
        What a condition on an attribute of touches keeps: "keep", the touches that meet it;
        "journeys", the whole journeys with at least one such touch.
    since, until
        Keep journeys that end in this window (from inclusive, until exclusive).
    **attributes
        Name of an attribute of touches or journeys, or "conversion_type", and the value or the
        values (list, tuple, set) to keep; None keeps the missing ones.

    Raises
    ------
    InputError
        If there is no such attribute, no such value, or no times.

    Examples
    --------
    >>> from attribution import Journey, Touchpoint
    >>> one = Journey([Touchpoint("email", attributes={"device": "phone"})], 1)
    >>> two = Journey([Touchpoint("email", attributes={"device": "laptop"})], 1)
    >>> len(where(Journeys.from_journeys([one, two]), device="phone"))
    1
    """
    if touches not in ("keep", "journeys"):
        raise InputError(f"touches={touches!r} is not one of ('keep', 'journeys').")
    rows = np.ones(len(journeys), dtype=bool)
    marked = np.ones(len(journeys.codes), dtype=bool)
    for name, wanted in attributes.items():
        if name in journeys.touch_attributes:
            marked &= _matches(journeys.touch_attributes[name], name, wanted)
        elif name in journeys.journey_attributes:
            rows &= _matches(journeys.journey_attributes[name], name, wanted)
        elif name == "conversion_type" and journeys.conversion_types is not None:
            rows &= _matches(journeys.conversion_types, name, wanted)
        else:
            known = [*journeys.touch_attributes, *journeys.journey_attributes]
            raise InputError(
                f"No attribute {name!r}.{nearest(name, known)} Hint: keep it with "
                "from_events(..., attributes=[...]) or journey_attributes=[...]."
            )
    if since is not None or until is not None:
        if journeys.ends is None:
            raise InputError("These journeys have no times. Hint: build them with from_events.")
        if since is not None:
            rows &= journeys.ends >= moment(since, "since")
        if until is not None:
            rows &= journeys.ends < moment(until, "until")
    by_touch = any(name in journeys.touch_attributes for name in attributes)
    if by_touch and touches == "journeys":
        rows &= reduce_rows(np.add, marked.astype(np.float64), journeys.offsets) > 0
    elif by_touch:
        journeys = journeys.keep_touches(marked)
    chosen = {**attributes, **({} if since is None else {"since": since})}
    chosen |= {} if until is None else {"until": until}
    return _noted(journeys.select(rows), f"where({chosen}, touches={touches!r})")


def _noted(journeys: Journeys, note: str) -> Journeys:
    return replace(journeys, transforms=(*journeys.transforms, note))


def _find(journeys: Journeys, names: set[str]) -> IntArray:
    """Return the codes of channels that must exist."""
    for name in sorted(names):
        if name not in journeys.channels:
            raise InputError(f"No channel {name!r}.{nearest(str(name), journeys.channels)}")
    return np.array([i for i, name in enumerate(journeys.channels) if name in names])


def _recoded(journeys: Journeys, new: Sequence[str]) -> Journeys:
    """Give every channel a new name, merging equal ones."""
    channels = tuple(sorted(set(new)))
    place = {name: code for code, name in enumerate(channels)}
    lookup = np.array([place[name] for name in new], dtype=np.int32)
    codes = read_only(lookup[journeys.codes] if len(new) else journeys.codes.copy())
    return replace(journeys, channels=channels, codes=codes)


def _matches(column: Coded, name: str, wanted: Any) -> BoolArray:
    """Mark the entries whose label is wanted."""
    values = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    for value in values:
        if value is not None and value not in column.labels:
            near = nearest(str(value), map(str, column.labels))
            raise InputError(f"Attribute {name!r} has no value {value!r}.{near}")
    codes = [code for code, label in enumerate(column.labels) if label in values]
    codes += [-1] * (None in values)
    return np.isin(column.codes, codes)
