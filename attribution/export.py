"""Journeys as tables for people and other tools."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from attribution.journeys import Journeys

OTHER = "(other)"


def journeys_frame(journeys: Journeys) -> pd.DataFrame:
    """Return one line per row; see `Journeys.to_frame`."""
    import pandas as pd

    names = np.array([*journeys.channels, None], dtype=object)[:-1][journeys.codes]
    columns: dict[str, Any] = {"path": _lists(names, journeys)}
    columns["conversions"] = journeys.conversions
    columns["nulls"] = journeys.nulls
    if journeys.values is not None:
        columns["value"] = journeys.values
    if journeys.users is not None:
        columns["user"] = journeys.users
    if journeys.conversion_types is not None:
        columns["conversion_type"] = journeys.conversion_types.to_numpy()
    if journeys.ends is not None:
        columns["end"] = pd.to_datetime(journeys.ends, unit="us", utc=True)
    if journeys.times is not None:
        times = pd.to_datetime(journeys.times, unit="us", utc=True).to_numpy()
        columns["times"] = _lists(times, journeys)
    attributes: list[tuple[str, Any]] = [
        *((name, coded.to_numpy()) for name, coded in journeys.journey_attributes.items()),
        *((k, _lists(c.to_numpy(), journeys)) for k, c in journeys.touch_attributes.items()),
    ]
    for name, column in attributes:
        if name in columns:
            raise InputError(
                f"Two columns would be named {name!r}. Hint: rename the attribute before ingestion."
            )
        columns[name] = column
    return pd.DataFrame(columns)


def paths_frame(journeys: Journeys, min_count: float | None, separator: str) -> pd.DataFrame:
    """Return the aggregated path table; see `Journeys.to_paths`."""
    import pandas as pd

    mark = separator.strip() or separator
    for name in journeys.channels:
        if mark in name or overlaps(name, separator):
            raise InputError(
                f"Channel {name!r} contains the separator {mark!r}. Hint: choose another one with "
                "separator=, or rename the channel."
            )
    merged = journeys.compress()
    names = merged.channels
    codes, offsets = merged.codes.tolist(), merged.offsets.tolist()
    paths = [separator.join([names[c] for c in codes[i:j]]) for i, j in pairwise(offsets)]
    frame = pd.DataFrame({"path": paths, "conversions": merged.conversions})
    if merged.values is not None:
        frame["value"] = merged.values
    frame["nulls"] = merged.nulls
    count = frame["conversions"] + frame["nulls"]
    if min_count is not None:
        if OTHER in merged.channels:
            raise InputError(f"There is a channel {OTHER!r} already. Hint: rename it.")
        stays = (count >= min_count) | (frame["path"] == "")
        frame["path"] = frame["path"].where(stays, OTHER)
        frame = frame.groupby("path", as_index=False).sum()
        count = frame["conversions"] + frame["nulls"]
    order = np.lexsort((frame["path"].to_numpy(dtype=object).astype(str), -count.to_numpy()))
    return frame.iloc[order].reset_index(drop=True)


def overlaps(name: str, separator: str) -> bool:
    """Tell whether a separator could be read a letter too early or too late beside the name."""
    if separator != separator.strip() or len(separator) == 1:
        return False
    return (name + separator).find(separator) < len(name) or separator in (separator + name)[1:]


def _lists(values: Any, journeys: Journeys) -> list[Any]:
    """Cut per-touch values into one list per row."""
    listed = values.tolist() if values.dtype == object else list(values)
    offsets = journeys.offsets.tolist()
    return [listed[i:j] for i, j in pairwise(offsets)]
