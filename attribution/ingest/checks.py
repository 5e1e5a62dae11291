"""What every way of ingestion checks: rows that do not fit, and names and totals that surprise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import Array, BoolArray
from attribution.errors import require_rows, warn

if TYPE_CHECKING:
    from attribution.journeys import Journeys

MARKERS = ("(start)", "(conversion)", "(null)")


class RowFilter:
    """Refuse bad rows: an error, or a count in the audit and a row less.

    Parameters
    ----------
    n_rows
        Number of rows of the table.
    drop
        Drop and count instead of raising.
    audit
        Where the counts go.
    first_row
        Number of the first row in its file or table.
    """

    def __init__(
        self, n_rows: int, drop: bool, audit: dict[str, float], first_row: int = 0
    ) -> None:
        self.keep = np.ones(n_rows, dtype=bool)
        self.drop = drop
        self.audit = audit
        self.first_row = first_row

    def refuse(
        self, bad: BoolArray, key: str, what: str, hint: str, values: Array | None = None
    ) -> None:
        """Raise for bad rows, or count them under `key` and drop them (each row once)."""
        if self.drop:
            bad = bad & self.keep
            if bad.any():
                self.audit[key] = self.audit.get(key, 0.0) + float(bad.sum())
                self.keep &= ~bad
        else:
            require_rows(bad, what, hint, values, self.first_row)


def warn_about(journeys: Journeys) -> Journeys:
    """Warn of channels that look like end markers and of data without conversions."""
    warn_of_contents(journeys.channels, bool(journeys.conversions.any()))
    return journeys


def warn_of_contents(channels: Sequence[str], converts: bool) -> None:
    """Warn of channels that look like end markers and of data without conversions."""
    found = [name for name in channels if name in MARKERS]
    if found:
        warn(
            f"Channels named {', '.join(found)} look like the end markers of exported paths; they "
            "are treated as channels. Hint: strip them from the paths first."
        )
    if not converts:
        warn("There are no conversions: every model will give zero credit.")
