"""What can go wrong, said so that the reader knows what to do next.

A message states what happened, the offending value with its count and first row (counted from
0), and a hint. No message holds a user id.
"""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt


class AttributionError(Exception):
    """Base of every error that this library raises on purpose."""


class InputError(AttributionError, ValueError):
    """The data or an option does not fit."""


class ColumnNotFoundError(InputError):
    """A table lacks a column that was asked for."""


class MissingDependencyError(AttributionError, ImportError):
    """An optional dependency is not installed."""


class StorageError(AttributionError, OSError):
    """A disk is full, or a file larger than it may be."""


class AttributionWarning(UserWarning):
    """The result stands, but on something the reader should know."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" for the nearest known name, or an empty string.

    Examples
    --------
    >>> nearest("chanel", ["channel", "user"])
    " Did you mean 'channel'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def require_rows(
    bad: npt.NDArray[np.bool_],
    what: str,
    hint: str,
    values: npt.ArrayLike | None = None,
    first_row: int = 0,
) -> None:
    """Raise `InputError` if any row is bad, naming count, first row and its value.

    Parameters
    ----------
    bad
        Shape (n_rows,); True marks a row that does not fit.
    what
        The complaint, such as "a negative count in column 'conversions'".
    hint
        The way out.
    values
        Shape (n_rows,); where given, the first bad one is shown.
    first_row
        Number of the first row, where the rows are a part of a longer table.

    Raises
    ------
    InputError
        If any entry of `bad` is True.
    """
    if not bad.any():
        return
    first = int(np.argmax(bad))
    shown = "" if values is None else f" ({np.asarray(values)[first]})"
    count = int(bad.sum())
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    raise InputError(f"{rows} {what}, first in row {first_row + first}{shown}. Hint: {hint}")


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Say nothing in this thread where the same warning has been given before."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def warn(message: str) -> None:
    """Issue an `AttributionWarning` that points at the line that called the library."""
    if _quiet.get():
        return
    package = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
    level = 1
    while os.path.abspath(sys._getframe(level).f_code.co_filename).startswith(package):
        level += 1
        if sys._getframe(level).f_back is None:
            break
    warnings.warn(message, AttributionWarning, stacklevel=level + 1)
