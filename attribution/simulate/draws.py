"""What chance decides beforehand: intents, thresholds and touches.

People are drawn in chunks of fixed size, each from a seed of its own, so that the result does not
depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.arrays import BoolArray, FloatArray, IntArray
from attribution.durations import MICROSECONDS_PER_DAY
from attribution.errors import InputError
from attribution.simulate.world import World, require_whole

SEED = 0
CHUNK = 2**13  # people whose stocks fit into a core's cache


@dataclass(frozen=True, eq=False)
class Drawn:
    """People of a chunk and their touches, sorted by account and time.

    Attributes
    ----------
    intent, threshold
        Shape (n_accounts,).
    account, person, channel
        Shape (n_touches,); whose touch it is (the person counted within the account), and of
        which channel.
    time
        Shape (n_touches,); microseconds since the watch began.
    mark
        Shape (n_touches,); uniform in [0, 1): a touch exists in a world with x times the touches
        where mark * max_scale < x.
    clicked
        Shape (n_touches,).
    """

    intent: FloatArray
    threshold: FloatArray
    account: IntArray
    person: IntArray
    channel: IntArray
    time: IntArray
    mark: FloatArray
    clicked: BoolArray


def chunks_of(
    world: World, n_people: int, random_state: int | None
) -> list[tuple[int, np.random.SeedSequence]]:
    """Return the number of people and the seed of every chunk; accounts stay whole."""
    require_whole(n_people, "n_people")
    size = max(1, CHUNK // world.people_per_account) * world.people_per_account
    starts = range(0, n_people, size)
    seeds = seeds_of(random_state, len(starts))
    return [(min(size, n_people - start), s) for start, s in zip(starts, seeds, strict=True)]


def seeds_of(random_state: int | None, n: int) -> list[np.random.SeedSequence]:
    """Return n independent seeds of one (None: SEED), or raise `InputError` if it is none."""
    try:
        seed = np.random.SeedSequence(SEED if random_state is None else random_state)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"random_state={random_state!r} is no seed. Hint: a whole number from 0 on."
        ) from error
    return seed.spawn(n)


def draw(
    world: World, n_people: int, seed: np.random.SeedSequence, max_scale: float = 1.0
) -> Drawn:
    """Draw the people of a chunk and `max_scale` times their touches."""
    rng = np.random.default_rng(seed)
    account_of, person_of = np.divmod(np.arange(n_people), world.people_per_account)
    n_accounts = int(account_of[-1]) + 1
    intent = np.ones(n_accounts)
    if world.intent_spread > 0:
        variance = world.intent_spread**2
        intent = rng.gamma(1.0 / variance, variance, n_accounts)
    threshold = rng.standard_exponential(n_accounts)

    means = world.column("touches") * intent[account_of, None] ** world.column("targeting")
    counts = rng.poisson(max_scale * means)
    owner, channel = np.divmod(
        np.repeat(np.arange(counts.size), counts.ravel()), len(world.channels)
    )
    time = rng.integers(0, world.n_days * MICROSECONDS_PER_DAY, len(owner))
    mark = rng.random(len(owner))
    clicked = rng.random(len(owner)) < world.column("click_rate")[channel]

    possible = _possible(world, n_people, owner, channel, time, mark * max_scale < 1)
    chosen = np.flatnonzero(possible)
    chosen = chosen[np.lexsort((time[chosen], account_of[owner[chosen]]))]
    owner = owner[chosen]
    return Drawn(
        intent,
        threshold,
        account_of[owner],
        person_of[owner],
        channel[chosen],
        time[chosen],
        mark[chosen],
        clicked[chosen],
    )


def _possible(
    world: World,
    n_people: int,
    owner: IntArray,
    channel: IntArray,
    time: IntArray,
    unscaled: BoolArray,
) -> BoolArray:
    """Mark touches that do not come before the touch they must follow.

    That one is taken from the world as it is, whatever the scale: only a channel's own exposure
    is scaled.
    """
    possible = np.ones(len(owner), dtype=bool)
    for code, follower in enumerate(world.channels):
        if follower.after is None:
            continue
        earlier = (channel == world.names.index(follower.after)) & unscaled
        first = np.full(n_people, np.iinfo(np.int64).max)
        np.minimum.at(first, owner[earlier], time[earlier])
        possible &= (channel != code) | (time > first[owner])
    return possible
