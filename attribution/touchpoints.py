"""Touchpoints and journeys as people write and read them; never used in computation."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Touchpoint:
    """One contact of a customer with a channel.

    Attributes
    ----------
    channel
        Name of the channel.
    time
        When; without a zone it is read as UTC.
    attributes
        Anything else known of it: campaign, device, medium, stage, cost ...
    """

    channel: str
    time: datetime.datetime | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Journey:
    """One customer's path of touchpoints, and how it ended. For input by hand and for looking.

    Attributes
    ----------
    touchpoints
        In order.
    conversions
        How often it converted; 0 is a journey without conversion.
    value
        Total value of the conversions, in units of currency.
    customer
        Identifier of the customer: an integer or text.
    end
        Time of the conversion; for a journey without one, when observation stopped.
    conversion_type
        Such as "lead" or "purchase".
    attributes
        Anything else known of the journey.
    nulls
        How many journeys alike did not convert; None is one where `conversions` is 0, else none.
    """

    touchpoints: Sequence[Touchpoint]
    conversions: float = 0
    value: float | None = None
    customer: int | str | None = None
    end: datetime.datetime | None = None
    conversion_type: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    nulls: float | None = None
