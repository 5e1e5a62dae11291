"""What must be known of a whole log before the events of any user can be cut; additive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attribution.arrays import label_order
from attribution.errors import ColumnNotFoundError, InputError
from attribution.ingest.reading import FRACTIONS, INTEGERS

Labels = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a log is made of; the facts of two parts add up to those of both.

    Attributes
    ----------
    source
        What the table is called in messages.
    n_touches, n_conversions
        Number of rows of each kind.
    first, last
        Earliest and latest event; None where there is none.
    channels, types
        Names that occur; types that a conversion has (None: there is no such column).
    order_kind, order_labels
        What orders simultaneous touches, and by what labels it is coded; see `Reader.order_keys`.
    attributes
        Labels of each attribute; None where the table lacks it.
    hashed, aware, session_hashed
        Whether user ids are text, times have a zone, session ids are text; None where there is
        nothing to tell by.
    audit
        What was read and dropped.
    """

    source: str
    n_touches: int
    n_conversions: int
    first: int | None
    last: int | None
    channels: tuple[str, ...]
    types: tuple[str, ...] | None
    order_kind: str | None
    order_labels: Labels | None
    attributes: dict[str, Labels | None]
    hashed: bool | None
    aware: bool | None
    session_hashed: bool | None
    audit: dict[str, float]

    def __add__(self, other: Facts) -> Facts:
        _refuse_different_kinds(self, other)
        firsts = [f for f in (self.first, other.first) if f is not None]
        lasts = [f for f in (self.last, other.last) if f is not None]
        keys = dict.fromkeys([*self.audit, *other.audit])
        return Facts(
            source=self.source,
            n_touches=self.n_touches + other.n_touches,
            n_conversions=self.n_conversions + other.n_conversions,
            first=min(firsts, default=None),
            last=max(lasts, default=None),
            channels=tuple(sorted({*self.channels, *other.channels})),
            types=_union(self.types, other.types),
            order_kind=_joint_order(self.order_kind, other.order_kind),
            order_labels=_union(self.order_labels, other.order_labels),
            attributes={k: _union(v, other.attributes[k]) for k, v in self.attributes.items()},
            hashed=other.hashed if self.hashed is None else self.hashed,
            aware=other.aware if self.aware is None else self.aware,
            session_hashed=(
                other.session_hashed if self.session_hashed is None else self.session_hashed
            ),
            audit={k: self.audit.get(k, 0.0) + other.audit.get(k, 0.0) for k in keys},
        )

    def require_attributes(self) -> None:
        """Raise `ColumnNotFoundError` for an attribute that no table has."""
        for name, labels in self.attributes.items():
            if labels is None:
                raise ColumnNotFoundError(
                    f"Neither events nor conversion_events has a column {name!r}."
                )


def _union(a: Labels | None, b: Labels | None) -> Any:
    if a is None or b is None or a == b:
        return b if a is None else a
    return tuple(sorted({*a, *b}, key=label_order))


def _refuse_different_kinds(a: Facts, b: Facts) -> None:
    """Refuse ids, times or orders that cannot be compared between two tables."""
    if None not in (a.hashed, b.hashed) and a.hashed != b.hashed:
        kinds = ["text" if facts.hashed else "integers" for facts in (a, b)]
        raise InputError(
            f"User ids are {kinds[0]} in {a.source} and {kinds[1]} in {b.source}. "
            "Hint: convert one column to the type of the other."
        )
    if None not in (a.aware, b.aware) and a.aware != b.aware:
        kinds = ["with" if facts.aware else "without" for facts in (a, b)]
        raise InputError(
            f"Times are {kinds[0]} a zone in {a.source} and {kinds[1]} one in {b.source}. "
            "Hint: bring both to UTC."
        )
    if None not in (a.session_hashed, b.session_hashed) and a.session_hashed != b.session_hashed:
        kinds = ["text" if facts.session_hashed else "integers" for facts in (a, b)]
        raise InputError(
            f"Session ids are {kinds[0]} in {a.source} and {kinds[1]} in {b.source}. "
            "Hint: convert one column to the type of the other."
        )
    orders = {a.order_kind, b.order_kind} - {None}
    if len(orders) > 1 and orders != {INTEGERS, FRACTIONS}:
        raise InputError(
            f"The order of touches is {a.order_kind} in {a.source} and {b.order_kind} in "
            f"{b.source}. Hint: convert one column to the type of the other."
        )


def _joint_order(a: str | None, b: str | None) -> str | None:
    """Return the kind in which both compare: integers among fractions become such."""
    if a is None or b is None or a == b:
        return b if a is None else a
    return FRACTIONS
