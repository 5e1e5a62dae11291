"""Which events of some users later events may still concern.

A journey is settled once nothing later can change it: a conversion at its instant, a journey
without conversion once the next conversion has come, or once both a lookback and the pause that
ends a journey have passed since its last touch. All events from the first touch of a user's first
open journey on are carried over to the next update; cutting them again gives the open journeys as
they were, and of settled ones at most a part, whose end, and so the moment when they were settled,
is the same: they are recognised and left out.
"""

from __future__ import annotations

import numpy as np

from attribution.arrays import BoolArray, IntArray
from attribution.ingest.cutting import FOREVER, Options, changes
from attribution.ingest.events import Block
from attribution.ingest.table import Table
from attribution.segments import group, offsets_of


def carried(
    touches: Table, conversions: Table, block: Block, options: Options
) -> tuple[BoolArray, BoolArray]:
    """Mark the touches and conversions that must be kept for the next update.

    Parameters
    ----------
    touches, conversions
        The events of some users up to `options.observed_until`.
    block
        What was cut from them.
    options
        Those of the kernel.
    """
    now = options.observed_until
    begin = block.times[offsets_of(block.lengths)[:-1][block.settled > now]]
    users, since = _earliest(block.user[block.settled > now], begin)
    if options.reuse_touches:
        later = now - options.longest_lookback + 1
        seen = np.unique(np.concatenate([touches.user, conversions.user]))
        users, since = _earliest(
            np.concatenate([users, seen]), np.concatenate([since, np.full(len(seen), later)])
        )
    if options.sessions or options.session_gap is not None:
        users, since = _with_whole_sessions(touches, users, since, options)
    return _since(touches, users, since), _since(conversions, users, since)


def _earliest(users: IntArray, times: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct users, sorted, and the earliest time of each."""
    order = np.lexsort((times, users))
    first = changes(users[order])
    return users[order][first], times[order][first]


def _since(table: Table, users: IntArray, since: IntArray) -> BoolArray:
    """Mark the events of the users at or after their time."""
    return np.asarray(table.time >= _look_up(table.user, users, since))


def _look_up(keys: IntArray, users: IntArray, since: IntArray) -> IntArray:
    """Return the time of each key's user, `FOREVER` where it is none of them."""
    if not len(users):
        return np.full(len(keys), FOREVER)
    place = np.minimum(np.searchsorted(users, keys), len(users) - 1)
    return np.where(users[place] == keys, since[place], FOREVER)


def _with_whole_sessions(
    touches: Table, users: IntArray, since: IntArray, options: Options
) -> tuple[IntArray, IntArray]:
    """Go back to where the sessions begin that later touches may join, or that are cut.

    A session of given ids is held to be over once none of its touches is younger than a lookback
    and the pause that ends a journey.
    """
    now = options.observed_until
    order = np.lexsort((touches.time, touches.user))
    user, time = touches.user[order], touches.time[order]
    if options.session_gap is not None:
        starts = changes(user)
        starts[1:] |= np.diff(time) > options.session_gap
        session: IntArray = np.cumsum(starts) - 1
        alive = now - options.session_gap
    else:
        _, session = group([user, touches.session[order]])
        alive = now - max(options.inactivity, options.longest_lookback)
    within = touches.session[order] >= 0 if options.sessions else np.ones(len(user), bool)
    n = int(session.max(initial=-1)) + 1
    first, last = np.full(n, FOREVER), np.full(n, -FOREVER)
    np.minimum.at(first, session, time)
    np.maximum.at(last, session, time)
    while True:
        needed = (last[session] > alive) | (last[session] >= _look_up(user, users, since))
        needed &= within
        grown, back = _earliest(
            np.concatenate([users, user[needed]]),
            np.concatenate([since, first[session][needed]]),
        )
        if len(grown) == len(users) and (back == since).all():
            return users, since
        users, since = grown, back
