"""A world: its channels, what they do to people, and how they meet them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from attribution.arrays import Array, Immutable
from attribution.errors import InputError, nearest

W = TypeVar("W")


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A channel; the module docstring has the equations.

    Attributes
    ----------
    name
        Its name.
    touches
        Mean number of touches of a person of intent 1 over the watch; 0 or more.
    effect
        What a saturated stock adds to the hazard, in multiples of the base hazard; 0 or more.
    half_life
        Days after which half of the stock is left; above 0, infinity for a stock that stays.
    targeting
        Exponent of the intent in the number of touches; 0 or more. 0 is random exposure, 1 is
        exposure in proportion to intent.
    after
        A channel that comes first: a person has no touches of this one before the first of that
        (retargeting follows a visit), so that there are fewer than `touches` of them. None: at
        any time.
    weight
        What a touch adds to the stock; above 0.
    delay
        Whole days by which a touch reaches the stock later than on the following day.
    click_rate
        Probability that a touch is a click; the others are views. Both have the same effect.
    """

    name: str
    touches: float
    effect: float
    half_life: float = 7.0
    targeting: float = 0.0
    after: str | None = None
    weight: float = 1.0
    delay: int = 0
    click_rate: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"name={self.name!r} is no name of a channel. Hint: give it a text.")
        of = f" of channel {self.name!r}"
        for name in ("touches", "effect", "targeting"):
            require_number(getattr(self, name), name + of)
        require_number(self.half_life, "half_life" + of, above=True, finite=False)
        require_number(self.weight, "weight" + of, above=True)
        require_whole(self.delay, "delay" + of, least=0)
        require_number(self.click_rate, "click_rate" + of)
        if self.click_rate > 1:
            raise InputError(
                f"click_rate{of} is {self.click_rate!r}. Hint: a probability is at most 1."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class World(Immutable):
    """People and the channels that reach them; the module docstring has the equations.

    Attributes
    ----------
    channels
        At least one; kept sorted by name.
    base_rate
        Hazard per day of a person of intent 1 without advertising; above 0.
    n_days
        Days of the watch; at least 1.
    intent_spread
        Standard deviation of intent, whose mean is 1; 0 for equal people.
    synergies
        What two channels do beyond their own effects: ("a", "b") to a multiple of the base
        hazard, 0 or more, that is added when both stocks are saturated.
    people_per_account
        People who share intent, stocks and one conversion.

    Examples
    --------
    >>> from attribution.simulate import Channel, World
    >>> world = World(channels=[Channel(name="tv", touches=2, effect=3)], base_rate=0.001)
    >>> world.n_days, world.channels[0].half_life
    (60, 7.0)
    """

    channels: tuple[Channel, ...]
    base_rate: float
    n_days: int = 60
    intent_spread: float = 0.0
    synergies: Mapping[tuple[str, str], float] = field(default_factory=dict)
    people_per_account: int = 1

    def __post_init__(self) -> None:
        require_number(self.base_rate, "base_rate", above=True)
        require_number(self.intent_spread, "intent_spread")
        require_whole(self.n_days, "n_days")
        require_whole(self.people_per_account, "people_per_account")
        object.__setattr__(self, "channels", _checked_channels(self.channels))
        object.__setattr__(self, "synergies", _checked_synergies(self.synergies, self.names))
        super().__post_init__()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, sorted."""
        return tuple(channel.name for channel in self.channels)

    def column(self, name: str) -> Array:
        """Return one attribute of all channels, shape (n_channels,)."""
        return np.array([getattr(channel, name) for channel in self.channels])

    def __repr__(self) -> str:
        options = {f.name: getattr(self, f.name) for f in fields(self)} | {"channels": self.names}
        return f"<World: {', '.join(f'{name}={value}' for name, value in options.items())}>"


def _checked_channels(channels: Any) -> tuple[Channel, ...]:
    """Return channels sorted by name, or raise if they do not fit together."""
    channels = tuple(channels) if isinstance(channels, Iterable) else ()
    if not channels or not all(isinstance(channel, Channel) for channel in channels):
        raise InputError(f"channels={channels!r}. Hint: give one Channel or more.")
    by_name = {channel.name: channel for channel in channels}
    for channel in channels:
        if by_name[channel.name] is not channel:
            raise InputError(f"Two channels are named {channel.name!r}. Hint: rename one.")
        if channel.after is None:
            continue
        require_channel(channel.after, by_name, f"after={channel.after!r} of {channel.name!r}")
        if by_name[channel.after].after is not None or channel.after == channel.name:
            raise InputError(
                f"Channel {channel.name!r} comes after {channel.after!r}, which itself comes after "
                "another. Hint: name a channel that has no `after`."
            )
    return tuple(sorted(channels, key=lambda channel: channel.name))


def _checked_synergies(synergies: Any, names: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Return synergies by sorted pair in sorted order, or raise if they do not fit."""
    if not isinstance(synergies, Mapping):
        raise InputError(f"synergies={synergies!r}. Hint: {{('a', 'b'): 2.0}}, or leave it out.")
    checked: dict[tuple[str, str], float] = {}
    for key, strength in synergies.items():
        what = f"the synergy of {key!r}"
        if not isinstance(key, tuple) or len(key) != 2 or key[0] == key[1]:
            raise InputError(f"{what} is not of two channels. Hint: write {{('a', 'b'): 2.0}}.")
        for name in key:
            require_channel(name, names, what)
        pair = (min(key), max(key))
        if pair in checked:
            raise InputError(f"{what} is given twice. Hint: the order of the two does not matter.")
        require_number(strength, what)
        checked[pair] = float(strength)
    return dict(sorted(checked.items()))


def named_world(world: Any, worlds: Mapping[str, W], kind: type[W]) -> W:
    """Return the world of a name, or the world itself; `InputError` if there is none."""
    if isinstance(world, kind):
        return world
    if not isinstance(world, str) or world not in worlds:
        raise InputError(
            f"There is no world {world!r}.{nearest(str(world), worlds)} Hint: choose one of "
            f"{', '.join(map(repr, worlds))}, or build a {kind.__name__}."
        )
    return worlds[world]


def require_channel(name: Any, known: Any, what: str) -> None:
    """Raise `InputError` if there is no channel of this name."""
    if name not in known:
        raise InputError(
            f"{what}: there is no channel {name!r}.{nearest(str(name), known)} "
            f"Hint: the channels are {', '.join(map(repr, sorted(known)))}."
        )


def require_number(value: Any, what: str, *, above: bool = False, finite: bool = True) -> None:
    """Raise `InputError` unless the value is a number from 0 on, or above 0."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if (
        not is_number
        or not (value > 0 if above else value >= 0)
        or (finite and not np.isfinite(float(value)))
    ):
        raise InputError(
            f"{what} is {value!r}. Hint: give a {'finite ' * finite}number "
            f"{'above 0' if above else 'from 0 on'}."
        )


def require_whole(value: Any, what: str, *, least: int = 1) -> None:
    """Raise `InputError` unless the value is a whole number from `least` on."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise InputError(f"{what} is {value!r}. Hint: give a whole number from {least} on.")
