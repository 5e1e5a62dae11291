"""Amounts of memory as whole bytes."""

from __future__ import annotations

import re

from attribution.errors import InputError

UNITS = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGT", 1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}

Size = str | int


def n_bytes(size: Size, name: str) -> int:
    """Return a size such as "2GB", "500MiB" or a number of bytes as whole bytes.

    Raises
    ------
    InputError
        If it cannot be read or is not positive.

    Examples
    --------
    >>> n_bytes("2GB", "memory_limit")
    2000000000
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    units = {unit.upper(): factor for unit, factor in UNITS.items()}
    if isinstance(size, bool) or found is None or found[2].upper() not in units:
        raise InputError(f"{name}={size!r} is no size. Hint: write {name}='2GB' or '500MB'.")
    total = int(float(found[1]) * units[found[2].upper()])
    if total <= 0:
        raise InputError(f"{name}={size!r} is not positive. Hint: write {name}='2GB'.")
    return total
