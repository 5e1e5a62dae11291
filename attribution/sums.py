"""Adding up what is additive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def add_up(items: Iterable[Any]) -> Any:
    """Return the sum of the items, or None if there are none.

    Sums of equally many items are added to each other: where adding costs as much as what is
    added holds, n items cost n log n and not n^2. The order of additions depends on n alone.

    Examples
    --------
    >>> add_up([1, 2, 3, 4, 5])
    15
    """
    sums: list[tuple[int, Any]] = []
    for item in items:
        size = 1
        while sums and sums[-1][0] == size:
            item = sums.pop()[1] + item
            size *= 2
        sums.append((size, item))
    total = None
    for _, part in reversed(sums):
        total = part if total is None else part + total
    return total
