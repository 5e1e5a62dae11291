"""Games whose worths a model has learned: v(S) = its rate with the channels of S less with none."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.arrays import FloatArray
from attribution.models.base import Response
from attribution.models.worths import NamedGame


@dataclass(frozen=True, eq=False)
class ResponseGame(NamedGame):
    """Worths by a fitted response, all of them at once where every set is asked for.

    Sampled orders ask for one set after the other, as of any function.
    """

    worth: Response

    def worths(self, outcome: int) -> tuple[FloatArray, int]:
        """See `Game.worths`."""
        return self.worth.worths(), 0
