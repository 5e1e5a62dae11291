"""Headline figures of journeys, and how far the data can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import FloatArray, FrozenDict
from attribution.audit import MEANING
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.journeys import Journeys
from attribution.segments import group_paths, sum_by
from attribution.transforms import is_direct

if TYPE_CHECKING:
    import pandas as pd

LONG = 100


@dataclass(frozen=True, eq=False)
class Summary:
    """What `Journeys.summary` returns; prints as a table.

    Attributes
    ----------
    figures
        journeys, conversions, conversion_rate, value (NaN where none was given), touches (from
        an event log each event once, whatever its conversion counts for; else once per journey),
        touches_per_journey (once per journey always).
    quality
        `days_without_events` between the first and the last (NaN without times),
        `duplicate_events`, `first_touch_ties` and `last_touch_ties` as ingestion counted them
        (for tables of paths `duplicate_rows`: rows whose path an earlier row has),
        `long_journeys` (over 100 touches) and `long_journey_touch_share`,
        and the shares of journeys with a `single_touch_share`, of touches that are direct
        (`direct_touch_share`) and of conversions without touches (`unattributed_share`).
    channels
        Index channel; columns touches and journeys (that contain the channel).
    audit
        `Journeys.audit`: what ingestion read, used and dropped; `attribution.audit.MEANING` says
        what each count means.
    """

    figures: Mapping[str, float]
    quality: Mapping[str, float]
    channels: pd.DataFrame
    audit: Mapping[str, float]

    def to_frame(self) -> pd.DataFrame:
        """Return figures, quality and audit with their meaning, indexed by group and name."""
        import pandas as pd

        groups = {"figures": self.figures, "quality": self.quality, "audit": self.audit}
        rows = {(g, name): v for g, items in groups.items() for name, v in items.items()}
        index = pd.MultiIndex.from_tuples(list(rows), names=["group", "name"])
        meaning = [MEANING.get(name, "") for _, name in rows]
        return pd.DataFrame({"value": list(rows.values()), "meaning": meaning}, index=index)

    def __repr__(self) -> str:
        lines = []
        for title, items in (
            ("journeys", self.figures),
            ("data quality", self.quality),
            ("audit", self.audit),
        ):
            lines.append(title)
            for name, value in items.items():
                line = f"  {name:<36}{value:>16,.6g}  {MEANING.get(name, '')}"
                lines.append(line.rstrip())
        return "\n".join([*lines, "channels", self.channels.to_string()])

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html() + self.channels.to_html())


def summarize(journeys: Journeys) -> Summary:
    """Summarise journeys; see `Journeys.summary`."""
    import pandas as pd

    weight = journeys.conversions + journeys.nulls
    lengths = journeys.lengths
    n_journeys = float(weight.sum())
    conversions = float(journeys.conversions.sum())
    touches, reached = _per_channel(journeys, weight)
    n_touches = float(touches.sum())
    figures = {
        "journeys": n_journeys,
        "conversions": conversions,
        "conversion_rate": _ratio(conversions, n_journeys),
        "value": np.nan if journeys.values is None else float(journeys.values.sum()),
        "touches": n_touches,
        "touches_per_journey": _ratio(float((weight * lengths).sum()), n_journeys),
    }
    direct = np.array([is_direct(name) for name in journeys.channels], dtype=bool)
    long = lengths > LONG
    quality = {
        "days_without_events": _days_without_events(journeys),
        **_repetitions(journeys),
        "long_journeys": float(weight[long].sum()),
        "long_journey_touch_share": _ratio(
            float((weight * lengths)[long].sum()), float((weight * lengths).sum())
        ),
        "single_touch_share": _ratio(float(weight[lengths == 1].sum()), n_journeys),
        "direct_touch_share": _ratio(float(touches[direct].sum()), n_touches),
        "unattributed_share": _ratio(float(journeys.conversions[lengths == 0].sum()), conversions),
    }
    index = pd.Index(journeys.channels, name="channel", dtype=object)
    channels = pd.DataFrame({"touches": touches, "journeys": reached}, index=index)
    return Summary(FrozenDict(figures), FrozenDict(quality), channels, journeys.audit)


def _repetitions(journeys: Journeys) -> dict[str, float]:
    """Return duplicates and ties that ingestion counted; for path tables, repeated paths."""
    counted = ("duplicate_events", "first_touch_ties", "last_touch_ties")
    if any(name in journeys.audit for name in counted):
        return {name: journeys.audit[name] for name in counted}
    paths = group_paths(journeys.codes, journeys.offsets)
    return {"duplicate_rows": float(len(journeys) - len(np.unique(paths)))}


def _per_channel(journeys: Journeys, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return touches (an event counts once) and journeys containing each channel."""
    n = len(journeys.channels)
    key = np.unique(journeys.rows * np.int64(max(1, n)) + journeys.codes)
    reached = sum_by(key % max(1, n), weight[key // max(1, n)], n)
    if journeys.times is None and journeys.touch_ids is None:
        per_touch = np.repeat(weight, journeys.lengths)
        return sum_by(journeys.codes, per_touch, n), reached
    codes = journeys.codes
    if journeys.touch_ids is not None:
        codes = codes[np.unique(journeys.touch_ids, return_index=True)[1]]
    return sum_by(codes, np.ones(len(codes)), n), reached


def _days_without_events(journeys: Journeys) -> float:
    """Count the UTC days between the first and last event on which nothing happened."""
    if journeys.times is None:
        return np.nan
    moments = [journeys.times]
    if journeys.ends is not None:
        moments.append(journeys.ends[journeys.conversions > 0])
    days = np.unique(np.concatenate([times // MICROSECONDS_PER_DAY for times in moments]))
    return float(days[-1] - days[0] + 1 - len(days)) if len(days) else 0.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan
