"""Simulate a world: the journeys that a log shows, and the truth that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import BoolArray, Coded, FloatArray, Immutable, IntArray, read_only
from attribution.durations import MICROSECONDS_PER_DAY, moment
from attribution.journeys import Journeys
from attribution.segments import offsets_of
from attribution.simulate.draws import Drawn, chunks_of, draw
from attribution.simulate.hazard import Hazard, Outcome, decide
from attribution.simulate.presets import WORLDS
from attribution.simulate.world import World, named_world
from attribution.threads import ahead

if TYPE_CHECKING:
    import pandas as pd

FIRST_DAY = "2025-01-01"
TOUCH_TYPES = ("click", "view")


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth(Immutable):
    """What the channels caused, in conversions, for the simulated people.

    Attributes
    ----------
    channels
        The n_channels names, sorted.
    incremental
        Shape (n_channels,); conversions that are lost when that channel alone has no effect. A
        synergy counts for both of its channels, and what several channels could each have brought
        about counts for none: they need not add up to `joint`.
    joint
        Conversions that are lost when no channel has an effect.
    organic
        Conversions when no channel has an effect.
    """

    channels: tuple[str, ...]
    incremental: IntArray
    joint: int
    organic: int

    @property
    def total(self) -> int:
        """Conversions: joint + organic."""
        return self.joint + self.organic

    @property
    def share(self) -> FloatArray:
        """Incremental conversions over their sum, shape (n_channels,); NaN if none has any."""
        total = self.incremental.sum()
        return self.incremental / total if total else np.full(len(self.channels), np.nan)

    def to_frame(self) -> pd.DataFrame:
        """Return a table of `incremental` and `share`, indexed by channel."""
        import pandas as pd

        index = pd.Index(self.channels, name="channel")
        return pd.DataFrame({"incremental": self.incremental, "share": self.share}, index=index)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Simulation(Immutable):
    """Simulated people.

    Attributes
    ----------
    world
        The world they live in.
    n_people
        How many people were watched.
    journeys
        One row per person (account) with a touch or a conversion, sorted by user: its touches
        before the conversion or the end of the watch. The users are numbers from 0 on. The touch
        attribute "touch_type" is "click" or "view"; in a world of accounts "person" counts the
        people within theirs.
    truth
        What the channels caused.
    n_unseen
        People (accounts) with neither a touch nor a conversion, who have no row.
    """

    world: World
    n_people: int
    journeys: Journeys
    truth: Truth
    n_unseen: int

    def __repr__(self) -> str:
        return (
            f"<Simulation: {self.n_people:,} people, {len(self.journeys.codes):,} touches, "
            f"{self.truth.total:,} conversions, {self.truth.organic:,} of them organic>"
        )


def simulate(
    world: str | World = "random exposure",
    n_people: int = 100_000,
    random_state: int | None = None,
) -> Simulation:
    """Simulate people and what advertising really does to them.

    `attribution.simulate` states the model. No attribution can be better than the data allow: in
    all worlds but "random exposure" exposure and intent go together.

    Parameters
    ----------
    world
        A name in `WORLDS`, or a world of your own.
    n_people
        People to watch.
    random_state
        Seed. None: seed 0, so that the same input gives the same output. It does not depend on
        the number of threads.

    Returns
    -------
    Simulation
        Journeys and truth.

    Raises
    ------
    InputError
        If there is no such world, or a number does not fit.

    Notes
    -----
    With threshold E and cumulated hazard H(t), a person converts at the first t with H(t) >= E
    (Bender, Augustin and Blettner 2005). `incremental` of channel c counts H(T) >= E > H(T) without
    c, with T the end of the watch.

    Examples
    --------
    >>> from attribution.simulate import simulate
    >>> simulated = simulate("random exposure", n_people=1000)
    >>> truth = simulated.truth
    >>> bool(truth.total == simulated.journeys.conversions.sum())
    True
    >>> int(truth.incremental[truth.channels.index("affiliate")])
    0
    """
    chosen = world_of(world)
    chunks = chunks_of(chosen, n_people, random_state)
    run = partial(_run, chosen, Hazard.of(chosen))
    parts = list(ahead(lambda chunk: run(*chunk), chunks))

    shown, first, users = [], 0, []
    for part in parts:
        users.append(first + part.rows)
        first += part.n_accounts
    for name in ("codes", "times", "clicked", "person", "lengths", "ends", "converted"):
        shown.append(np.concatenate([getattr(part, name) for part in parts]))
    codes, times, clicked, person, lengths, ends, converted = shown

    attributes = {"touch_type": Coded(read_only(1 - clicked.astype(np.int32)), TOUCH_TYPES)}
    if chosen.people_per_account > 1:
        labels = tuple(range(chosen.people_per_account))
        attributes["person"] = Coded(read_only(person.astype(np.int32)), labels)
    start = moment(FIRST_DAY, "FIRST_DAY")
    journeys = Journeys(
        channels=chosen.names,
        codes=read_only(codes.astype(np.int32)),
        offsets=read_only(offsets_of(lengths)),
        conversions=read_only(converted.astype(np.float64)),
        nulls=read_only((~converted).astype(np.float64)),
        times=read_only(start + times),
        ends=read_only(start + ends),
        users=read_only(np.concatenate(users)),
        touch_attributes=attributes,
    )
    lost = np.sum([part.lost for part in parts], axis=0)
    n_conversions = int(np.count_nonzero(converted))
    truth = Truth(
        channels=chosen.names,
        incremental=lost[:-1],
        joint=int(lost[-1]),
        organic=n_conversions - int(lost[-1]),
    )
    return Simulation(
        world=chosen,
        n_people=int(n_people),
        journeys=journeys,
        truth=truth,
        n_unseen=first - len(journeys),
    )


def world_of(world: str | World) -> World:
    """Return the world of a name in `WORLDS`, or the world itself."""
    return named_world(world, WORLDS, World)


@dataclass(frozen=True, eq=False)
class _Part:
    """The rows and the losses of one chunk; columns as in `Journeys`, times from the first day."""

    n_accounts: int
    rows: IntArray
    codes: IntArray
    times: IntArray
    clicked: BoolArray
    person: IntArray
    lengths: IntArray
    ends: IntArray
    converted: BoolArray
    lost: IntArray


def _run(world: World, hazard: Hazard, n_people: int, seed: np.random.SeedSequence) -> _Part:
    """Draw a chunk of people and let them live."""
    drawn = draw(world, n_people, seed)
    outcome = live(world, hazard, drawn)
    ends = np.floor(outcome.day * MICROSECONDS_PER_DAY).astype(np.int64)
    seen = np.flatnonzero(drawn.time < ends[drawn.account])
    lengths = np.bincount(drawn.account[seen], minlength=len(ends))
    rows = np.flatnonzero((lengths > 0) | outcome.converted)
    return _Part(
        n_accounts=len(ends),
        rows=rows,
        codes=drawn.channel[seen],
        times=drawn.time[seen],
        clicked=drawn.clicked[seen],
        person=drawn.person[seen],
        lengths=lengths[rows],
        ends=ends[rows],
        converted=outcome.converted[rows],
        lost=np.count_nonzero(outcome.converted & ~outcome.converted_without, axis=1),
    )


def live(world: World, hazard: Hazard, drawn: Drawn) -> Outcome:
    """Decide about all accounts of a chunk.

    The days are gone through only for those with a touch; the others have a constant hazard.
    """
    with np.errstate(divide="ignore", over="ignore"):
        need = drawn.threshold / (world.base_rate * drawn.intent)  # infinite without intent
    converted = need <= world.n_days
    outcome = Outcome(
        np.where(converted, need, world.n_days),
        converted,
        np.repeat(converted[None], len(world.channels) + 1, axis=0),
    )
    touched = np.bincount(drawn.account, minlength=len(need)) > 0
    unit = (np.cumsum(touched) - 1)[drawn.account]
    n_units = int(np.count_nonzero(touched))
    arrivals, _ = hazard.arrivals(unit, drawn.channel, drawn.time, n_units)
    decided = decide(hazard, arrivals, need[touched])
    outcome.day[touched] = decided.day
    outcome.converted[touched] = decided.converted
    outcome.converted_without[:, touched] = decided.converted_without
    return outcome
