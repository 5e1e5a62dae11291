"""How the number of conversions responds to exposure.

The expected conversions of a person with cumulated hazard H are 1 - exp(-H): the threshold is
integrated out. People and touches are drawn once, max_scale times as many touches as the world
has, each with a uniform mark u. Under a scale x those with u < x / max_scale exist: again a
Poisson process (thinning; Lewis and Shedler 1979), and one that contains that of any smaller
scale. With these common random numbers (Glasserman and Yao 1992) the response never falls in any
scale, and differences between scales are far more accurate than the response itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError
from attribution.simulate.draws import chunks_of, draw
from attribution.simulate.hazard import Arrivals, Hazard, weighted_sum
from attribution.simulate.simulation import world_of
from attribution.simulate.world import World, require_channel, require_number
from attribution.threads import ahead

MAX_SCALE = 4.0


class Response:
    """Expected conversions per person as a function of the scale of each channel's touches.

    Drawn once, evaluated often: to find the best budget of a world whose truth is known.

    Parameters
    ----------
    world
        A name in `WORLDS`, or a world of your own.
    n_people
        People to average over.
    random_state
        Seed. None: seed 0.
    max_scale
        The largest scale that can be asked for.

    Examples
    --------
    >>> from attribution.simulate import Response
    >>> response = Response("random exposure", n_people=1000)
    >>> response({"email": 0.5}) < response({}) < response({"email": 2.0})
    True
    >>> response({"affiliate": 0.0}) == response({})
    True
    """

    def __init__(
        self,
        world: str | World,
        n_people: int = 20_000,
        random_state: int | None = None,
        max_scale: float = MAX_SCALE,
    ) -> None:
        require_number(max_scale, "max_scale")
        if max_scale < 1:
            raise InputError(
                f"max_scale is {max_scale!r}. Hint: it is at least 1, today's touches."
            )
        self.world = world_of(world)
        self.n_people = n_people
        self.max_scale = float(max_scale)
        self._hazard = Hazard.of(self.world)
        chunks = chunks_of(self.world, n_people, random_state)
        self._groups = list(ahead(lambda chunk: self._draw(*chunk), chunks))

    def __call__(self, scale: Mapping[str, float] | npt.ArrayLike) -> float:
        """Return the expected conversions per person.

        Parameters
        ----------
        scale
            Factors on the touches of each channel, from 0 to `max_scale`: a mapping, in which
            a channel left out keeps its touches, or an array of shape (n_channels,) in the order
            of `world.channels`, which is that of their names.

        Raises
        ------
        InputError
            If a channel is unknown or a factor out of range.
        """
        limits = self._factors(scale) / self.max_scale
        parts = ahead(lambda group: self._expected(group, limits), self._groups)
        return float(sum(parts) / self.n_people)

    def _factors(self, scale: Any) -> FloatArray:
        names = self.world.names
        if isinstance(scale, Mapping):
            for name in scale:
                require_channel(name, names, "scale")
            factors = [scale.get(name, 1.0) for name in names]
        else:
            factors = list(np.asarray(scale).ravel())
            if len(factors) != len(names):
                raise InputError(
                    f"scale has {len(factors)} factors for {len(names)} channels. Hint: give one "
                    f"for each of {', '.join(map(repr, names))}."
                )
        for name, factor in zip(names, factors, strict=True):
            require_number(factor, f"scale of {name!r}")
            if factor > self.max_scale:
                raise InputError(
                    f"scale of {name!r} is {factor!r}, above {self.max_scale:g}. Hint: "
                    "Response(..., max_scale=...) draws more touches."
                )
        return np.array(factors, dtype=np.float64)

    def _draw(self, n_people: int, seed: np.random.SeedSequence) -> _Group:
        """Draw a chunk of people; keep those whom a channel with an effect can reach."""
        drawn = draw(self.world, n_people, seed, self.max_scale)
        base = self.world.base_rate * drawn.intent
        acts = self._hazard.row[drawn.channel] >= 0
        touched = np.bincount(drawn.account[acts], minlength=len(base)) > 0
        unit = (np.cumsum(touched) - 1)[drawn.account]
        n_units = int(np.count_nonzero(touched))
        arrivals, touch = self._hazard.arrivals(unit, drawn.channel, drawn.time, n_units)
        organic = -np.expm1(-base[~touched] * self.world.n_days).sum()
        return _Group(
            base[touched], arrivals, drawn.channel[touch], drawn.mark[touch], float(organic)
        )

    def _expected(self, group: _Group, limits: FloatArray) -> float:
        """Return the expected conversions of a group."""
        arrivals = group.arrivals.keep(group.mark < limits[group.channel])
        cumulated = np.full(len(group.base), float(self.world.n_days))
        for terms in self._hazard.days(arrivals, len(group.base)):
            cumulated += weighted_sum(self._hazard.strengths, terms)
        return group.organic - float(np.expm1(-group.base * cumulated).sum())


@dataclass(frozen=True, eq=False)
class _Group:
    """People of a chunk.

    Attributes
    ----------
    base
        Shape (n_units,); hazard per day without advertising of those who can be reached.
    arrivals
        What can reach their stocks.
    channel, mark
        Shape (n_arrivals,).
    organic
        Expected conversions of all others.
    """

    base: FloatArray
    arrivals: Arrivals
    channel: IntArray
    mark: FloatArray
    organic: float


def expected_conversions(
    world: str | World,
    scale: Mapping[str, float] | npt.ArrayLike,
    n_people: int = 20_000,
    random_state: int | None = None,
) -> float:
    """Return the expected conversions per person at scaled exposure, up to four times.

    For one value; to ask for many, build one `Response`.

    Examples
    --------
    >>> from attribution.simulate import Channel, World, expected_conversions
    >>> world = World(channels=[Channel(name="tv", touches=0, effect=0)], base_rate=0.01)
    >>> round(expected_conversions(world, {}), 6) == round(1 - 2.718281828459045 ** -0.6, 6)
    True
    """
    return Response(world, n_people, random_state)(scale)
