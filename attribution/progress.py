"""A progress bar for long work: on a terminal or in a notebook, after two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
DELAY = 2


def progress(items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Iterate and show how far it is; silent where nobody looks."""
    from tqdm import tqdm

    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    yield from tqdm(items, total=total, desc=what, delay=DELAY, leave=False, disable=not watched)
