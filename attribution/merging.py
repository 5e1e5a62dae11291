"""Put journeys together: equal paths of one table, and several tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attribution.arrays import Coded, read_only
from attribution.errors import InputError, nearest
from attribution.fields import PER_ROW, PER_TOUCH
from attribution.journeys import Journeys
from attribution.segments import group, group_paths, offsets_of, sum_by, take_rows


def compress(journeys: Journeys, keep: Sequence[str]) -> Journeys:
    """Merge rows with equal paths; see `Journeys.compress`."""
    columns = [group_paths(journeys.codes, journeys.offsets)]
    kept: dict[str, Any] = {}
    attributes: dict[str, Coded] = {}
    for name in keep:
        column: Any
        if name in ("users", "conversion_types") and getattr(journeys, name) is not None:
            column = kept[name] = getattr(journeys, name)
        elif name in journeys.journey_attributes:
            column = attributes[name] = journeys.journey_attributes[name]
        else:
            raise InputError(
                f"Nothing to keep under {name!r}.{nearest(name, journeys.journey_attributes)}"
            )
        columns.append(column.codes if isinstance(column, Coded) else column)
    first, inverse = group(columns)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    inverse, first = place[inverse], first[order]
    touches, offsets = take_rows(journeys.offsets, first)
    sums: dict[str, Any] = {
        name: read_only(sum_by(inverse, getattr(journeys, name), len(first)))
        for name in ("conversions", "nulls", "values")
        if getattr(journeys, name) is not None
    }
    rows: dict[str, Any] = {
        k: v.take(first) if isinstance(v, Coded) else v[first] for k, v in kept.items()
    }
    return Journeys(
        channels=journeys.channels,
        codes=journeys.codes[touches],
        offsets=offsets,
        journey_attributes={k: v.take(first) for k, v in attributes.items()},
        spec=journeys.spec,
        transforms=journeys.transforms,
        audit=journeys.audit,
        **sums,
        **rows,
    )


def concat(parts: Sequence[Journeys]) -> Journeys:
    """Join journeys one after the other; see `Journeys.concat`.

    Raises
    ------
    InputError
        If there are none, they come from different options, or only some have value.
    """
    if not parts:
        raise InputError("There are no journeys to join.")
    require_same_origin(parts)
    channels = tuple(sorted({name for part in parts for name in part.channels}))
    place = {name: code for code, name in enumerate(channels)}
    columns: dict[str, Any] = {}
    for name in (*PER_TOUCH, *PER_ROW):
        found = [getattr(part, name) for part in parts]
        if name == "values" and 0 < sum(column is None for column in found) < len(found):
            raise InputError(
                "Some journeys have value and some have none. Hint: name the value column for all."
            )
        if any(column is None for column in found):
            continue
        if name == "codes":
            lookups = [np.array([place[c] for c in p.channels], dtype=np.int32) for p in parts]
            found = [lookup[c] for lookup, c in zip(lookups, found, strict=True)]
        if name == "touch_ids":
            sizes = [int(ids.max(initial=-1)) + 1 for ids in found]
            found = [
                ids + base for ids, base in zip(found, np.cumsum([0, *sizes[:-1]]), strict=True)
            ]
        if isinstance(found[0], Coded):
            columns[name] = Coded.concat(found)
        else:
            columns[name] = read_only(np.concatenate(found))
    audit: dict[str, float] = {}
    for part in parts:
        for key, count in part.audit.items():
            audit[key] = audit.get(key, 0.0) + count
    return Journeys(
        channels=channels,
        offsets=offsets_of(np.concatenate([part.lengths for part in parts])),
        touch_attributes=_shared([part.touch_attributes for part in parts]),
        journey_attributes=_shared([part.journey_attributes for part in parts]),
        spec=parts[0].spec,
        transforms=parts[0].transforms,
        audit=audit,
        **columns,
    )


def require_same_origin(parts: Sequence[Any]) -> None:
    """Refuse journeys or statistics that come from different options of ingestion or transforms.

    Raises
    ------
    InputError
        If they do, naming the first option that differs.
    """
    first = parts[0]
    for part in parts[1:]:
        mine = {} if first.spec is None else first.spec.journey_options
        other = {} if part.spec is None else part.spec.journey_options
        for name in {**mine, **other}:
            if mine.get(name) != other.get(name):
                raise InputError(
                    f"Journeys of different options cannot be added: {name} is "
                    f"{mine.get(name)!r} and {other.get(name)!r}."
                )
        if first.transforms != part.transforms:
            raise InputError(
                f"Journeys of different transforms cannot be added: {list(first.transforms)} "
                f"and {list(part.transforms)}."
            )


def _shared(parts: Sequence[Mapping[str, Coded]]) -> dict[str, Coded]:
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: Coded.concat([part[name] for part in parts]) for name in names}
