"""What a model is: options in a frozen dataclass, and four verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import ClassVar, Literal, Protocol, TypeVar, get_args, runtime_checkable
from zlib import crc32

import numpy as np

from attribution.arrays import FloatArray, IntArray
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.results import Attribution
from attribution.segments import sum_by
from attribution.statistics import ChannelCredit, Statistic
from attribution.sums import add_up

Outcome = Literal["conversions", "value"]
Kind = Literal["rule", "data"]
T = TypeVar("T")
S = TypeVar("S", bound=Statistic)


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A rule or a method that says how much of each conversion each channel earned.

    Attributes
    ----------
    key
        Name in `MODELS`.
    kind
        "rule": credit follows from the order of touches alone. "data": it depends on how often
        journeys with and without a channel convert.
    separable
        Whether the credit of touches sums to the outcome of each journey, and not by channel only.
    needs
        What the journeys must have: "ages".
    """

    key: ClassVar[str]
    needs: ClassVar[tuple[Literal["ages"], ...]] = ()

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """See the attributes of the class."""

    @property
    @abstractmethod
    def separable(self) -> bool:
        """See the attributes of the class."""

    @property
    def name(self) -> str:
        """The key, with the options that differ from their defaults.

        Examples
        --------
        >>> from attribution import Markov
        >>> Markov().name, Markov(order=2).name
        ('markov', 'markov(order=2)')
        """
        changed = [
            f"{field.name}={_short(getattr(self, field.name))}"
            for field in fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        ]
        return f"{self.key}({', '.join(changed)})" if changed else self.key

    @property
    def lack_of_credit(self) -> str | None:
        """Why the result holds raw figures but no credit, and the way out; None where it does."""
        return None

    def require_credit(self) -> None:
        """Raise `InputError` if the model gives no credit."""
        if self.lack_of_credit is not None:
            raise InputError(f"{self.name} gives no credit: {self.lack_of_credit}")

    def unmet(self, journeys: Journeys) -> str | None:
        """Return what the journeys lack for this model and the way out, or None."""
        if "ages" in self.needs and not journeys.has_ages:
            return (
                f"{type(self).__name__} needs the age of each touch; these journeys have none. "
                "Hint: build them with from_events, or use PositionBased."
            )
        return None

    def require(self, journeys: Journeys) -> None:
        """Raise `InputError` if these are no journeys, or lack what the model needs."""
        lack = self.unmet(require_journeys(journeys))
        if lack is not None:
            raise InputError(lack)

    @abstractmethod
    def summarize(self, journeys: Journeys) -> Statistic:
        """Return the additive statistic of the journeys."""

    @abstractmethod
    def solve(self, statistic: Statistic) -> Attribution:
        """Return the credit per channel from a statistic of any size."""

    def attribute(self, journeys: Journeys | Iterable[Journeys] | Partitioned) -> Attribution:
        """Return the credit per channel.

        Parameters
        ----------
        journeys
            Journeys, an iterable of disjoint parts of them that is read once, or what an engine
            has scanned.

        Raises
        ------
        InputError
            If the journeys lack what the model needs, or there is no part.
        """
        return self.solve(summarize_parts(self, journeys))

    @abstractmethod
    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Return the credit of each touch in units of the outcome, shape (n_touches,).

        Parameters
        ----------
        journeys
            Any journeys; with `attribution` perhaps a part of those it is from.
        attribution
            This model's result for all journeys; solved from `journeys` where None. Without it a
            part is solved by itself: alike for rules and the Shapley game of conversions only.
        of
            The outcome.

        Returns
        -------
        numpy.ndarray
            By channel it sums to the attribution; for separable models it also sums to the
            outcome within each row that has touches.
        """


def summarize_parts(
    model: Model, journeys: Journeys | Iterable[Journeys] | Partitioned
) -> Statistic:
    """Return the statistic of journeys, or of an iterable of disjoint parts of them.

    Raises
    ------
    InputError
        If the journeys lack what the model needs, or there is no part.
    """

    def summarize(part: Journeys) -> Statistic:
        model.require(part)
        return model.summarize(part)

    return sum_over(journeys, summarize)


def _short(option: object) -> str:
    """Write an option in a name: functions by theirs, tables by their length and a checksum."""
    if isinstance(option, Model):
        return option.name
    if callable(option):
        return getattr(option, "__name__", type(option).__name__)
    if isinstance(option, tuple):
        return f"table of {len(option)} #{crc32(repr(option).encode()):08x}"
    return repr(option)


@runtime_checkable
class Partitioned(Protocol):
    """Journeys that lie elsewhere, in partitions by user: on disk or on other machines."""

    def sum_of(self, function: Callable[[Journeys], T]) -> T:
        """Return the sum of an additive function of the journeys of each partition."""


@runtime_checkable
class Predictor(Protocol):
    """A model that also says how likely a journey converts."""

    def predict(self, statistic: Statistic, journeys: Journeys) -> FloatArray:
        """Return the probability that a journey with the touches of each row converts.

        Parameters
        ----------
        statistic
            Of this model, from `summarize`; what is learned is learned from it alone.
        journeys
            The rows to predict. Their outcomes are not looked at (but a hazard looks at how long a
            row was observed, which a conversion ends). Channels that the statistic does not know
            are let pass.

        Returns
        -------
        numpy.ndarray
            Shape (n_rows,), from 0 to 1; NaN for rows without touches, which no model learns from,
            and where there is nothing to learn from.
        """


@runtime_checkable
class Response(Protocol):
    """How often journeys convert that touch only some channels: the worth of sets of channels."""

    def __call__(self, channels: frozenset[str]) -> float:
        """Return the rate with these channels less the rate with none."""

    def worths(self) -> FloatArray:
        """Return the same for every set of the n channels, shape (2**n,); bit i is channel i."""


@runtime_checkable
class Responsive(Protocol):
    """A model that can say what would happen without some channels."""

    def response(self, statistic: Statistic) -> Response:
        """Return the fitted response of the journeys behind a statistic of this model."""


def sum_over(
    journeys: Journeys | Iterable[Journeys] | Partitioned, function: Callable[[Journeys], T]
) -> T:
    """Return the sum of an additive function of the parts of journeys, wherever they lie.

    Raises
    ------
    InputError
        If there is no part.
    """
    if isinstance(journeys, Partitioned):
        whole: T = journeys.sum_of(partial(sum_over, function=function))
        return whole
    total: T | None = add_up(map(function, parts_of(journeys)))
    if total is None:
        raise InputError("There are no journeys: the iterable is empty.")
    return total


def parts_of(journeys: Journeys | Iterable[Journeys]) -> Iterable[Journeys]:
    """Return the parts of `wholes_of`, small enough for fast memory."""
    return (part for each in wholes_of(journeys) for part in each.parts())


def wholes_of(journeys: Journeys | Iterable[Journeys]) -> Iterable[Journeys]:
    """Return the parts of a stream as they are, or journeys in memory as the only one.

    Raises
    ------
    InputError
        If it is neither, or a part (once it is read) is something else.
    """
    no_stream = not isinstance(journeys, Iterable) or isinstance(journeys, str)
    if isinstance(journeys, Journeys) or no_stream or hasattr(journeys, "iloc"):
        return [require_journeys(journeys)]
    return map(require_journeys, journeys)


def checked_statistic(model: Model, needed: type[S], got: object) -> S:
    """Return a statistic of the kind that a model needs, or raise `InputError`."""
    if not isinstance(got, needed):
        raise other_statistic(model, needed, got)
    return got


def other_statistic(model: Model, needed: type[Statistic], got: object) -> InputError:
    """Return the error that a model cannot solve this statistic."""
    return InputError(
        f"{model.name} needs {needed.__name__}, not {type(got).__name__}. Hint: summarize of the "
        "same model counts it."
    )


def codes_among(channels: tuple[str, ...], journeys: Journeys) -> IntArray:
    """Return the place among some channels of each touch, -1 for others, shape (n_touches,)."""
    place = {name: i for i, name in enumerate(channels)}
    known = np.array([place.get(name, -1) for name in journeys.channels], dtype=np.intp)
    return known[journeys.codes]


def require_journeys(part: object) -> Journeys:
    """Return journeys, or raise `InputError` if it is something else."""
    if not isinstance(part, Journeys):
        raise InputError(
            f"Got a {type(part).__name__}, not Journeys. Hint: Journeys.from_events(...) or "
            "Journeys.from_paths(...) builds them from a table, Journeys.from_journeys(...) from "
            "objects; what takes no stream takes its parts one by one, such as "
            "sum(map(model.summarize, parts))."
        )
    return part


def require_outcome(of: object) -> None:
    """Raise `InputError` unless this is "conversions" or "value"."""
    if of not in get_args(Outcome):
        raise InputError(f"of={of!r} is not one of {get_args(Outcome)}.")


def outcome_of(journeys: Journeys, of: Outcome) -> FloatArray:
    """Return conversions or value of each row, shape (n_rows,).

    Raises
    ------
    InputError
        If `of` is neither, or there are no values.
    """
    require_outcome(of)
    if of == "conversions":
        return require_journeys(journeys).conversions
    if journeys.values is None:
        raise InputError("These journeys have no value. Hint: name its column with value=.")
    return journeys.values


def channel_index(
    model: Model, journeys: Journeys, attribution: Attribution, of: Outcome
) -> IntArray:
    """Return where the journeys' channels stand in a result of the same model.

    Raises
    ------
    InputError
        If the result is another model's, or lacks a channel or value.
    """
    if attribution.model != model.name:
        raise InputError(
            f"The attribution is of {attribution.model}, not of {model.name}. Hint: pass the "
            "result of this model."
        )
    missing = sorted(set(journeys.channels) - set(attribution.channels))
    if missing:
        raise InputError(f"The attribution lacks channel {missing[0]!r}.")
    if of == "value" and attribution.values is None:
        raise InputError("The attribution has no value. Hint: name its column with value=.")
    place = {name: i for i, name in enumerate(attribution.channels)}
    return np.array([place[name] for name in journeys.channels], dtype=np.intp)


class SeparableModel(Model):
    """A model that is no more than the weight of each touch within its journey."""

    @property
    def separable(self) -> bool:
        """True: see `Model`."""
        return True

    @abstractmethod
    def weights(self, journeys: Journeys) -> FloatArray:
        """Return each touch's share of its journey, shape (n_touches,); each row sums to 1."""

    def channel_credit(self, journeys: Journeys) -> tuple[FloatArray, FloatArray | None]:
        """Add up credit over the journeys that convert.

        Returns
        -------
        conversions, values
            Shape (n_channels,); values None where none were given.
        """
        rows = journeys.converting
        weights = self.weights(rows)
        n = len(journeys.channels)

        def total(outcome: FloatArray) -> FloatArray:
            return sum_by(rows.codes, weights * np.repeat(outcome, rows.lengths), n)

        return total(rows.conversions), None if rows.values is None else total(rows.values)

    def summarize(self, journeys: Journeys) -> Statistic:
        """Return the credit per channel as a statistic."""
        self.require(journeys)
        conversions, values = self.channel_credit(journeys)
        return ChannelCredit.of(self, journeys, conversions=conversions, values=values)

    def solve(self, statistic: Statistic) -> Attribution:
        """Name the sums."""
        statistic = checked_statistic(self, ChannelCredit, statistic)
        return Attribution.of(
            statistic,
            model=self.name,
            conversions=statistic.conversions,
            values=statistic.values,
        )

    def credit(
        self,
        journeys: Journeys,
        attribution: Attribution | None = None,
        of: Outcome = "conversions",
    ) -> FloatArray:
        """Return weight times outcome of each touch; see `Model.credit`."""
        self.require(journeys)
        return self.weights(journeys) * np.repeat(outcome_of(journeys, of), journeys.lengths)
