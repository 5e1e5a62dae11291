"""The kernel: one block of users' events, as plain arrays, becomes rows of journeys.

`attribution.spec` states the conventions. Everything here is a pure function of its arrays, so
blocks of users can be cut one by one, in threads or on other machines, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from attribution.arrays import Array, BoolArray, FloatArray, IntArray
from attribution.segments import group, keep_entries, offsets_of, ranges

FOREVER = np.int64(2**62)
HASH_BITS = 16  # at least so many of a user's hash are sorted with the time


@dataclass(frozen=True)
class Options:
    """What the kernel needs of the options, in microseconds; `FOREVER` where there is no limit."""

    inactivity: int
    observed_until: int
    longest_lookback: int
    reuse_touches: bool
    session_gap: int | None
    sessions: bool
    by_type: bool


@dataclass(frozen=True)
class Events:
    """Touches and conversions of a block of users, one entry each, in any order.

    All of shape (n_events,) except `attributes`, (n_attributes, n_events). For a conversion
    `code` is its type, for a touch its channel; `order`, `session` and `window` (the lookback of
    its type) describe touches, `count` and `value` conversions.
    """

    user: IntArray
    time: IntArray
    is_conversion: BoolArray
    code: IntArray
    count: FloatArray
    value: FloatArray
    order: IntArray
    session: IntArray
    window: IntArray
    attributes: IntArray

    def take(self, index: IntArray | BoolArray) -> Events:
        """Return the events at an index or mask."""
        return Events(*(pick(getattr(self, field.name), index) for field in fields(self)))


@dataclass(frozen=True)
class Rows:
    """Journeys cut from events; touches of row r are offsets[r] : offsets[r + 1].

    `touch` and `event` point into the sorted events; `event` is the one that ends the journey (its
    conversion, for a null journey its last touch). `settled` is the moment up to which the log
    must be known for the row to be final: later events cannot change it. `touches_too_old` counts
    the touches that a conversion follows, but not within their lookback.
    """

    touch: IntArray
    offsets: IntArray
    user: IntArray
    end: IntArray
    count: FloatArray
    value: FloatArray
    type_code: IntArray
    event: IntArray
    settled: IntArray
    touches_too_old: float


def pick(column: Array, index: IntArray | BoolArray) -> Array:
    """Index the last axis; a constant column stays one without memory of its own."""
    if column.strides == (0,):
        size = int(np.count_nonzero(index)) if index.dtype == bool else len(index)
        return np.broadcast_to(column[:1].sum(), size)
    return column[..., index]


def sort_events(events: Events) -> Events:
    """Sort by user, time, touch before conversion, order, name and attributes.

    Users come in the order of a hash. Only simultaneous events are sorted by the rest, at last by
    lookback, count and value: no order of the input shows.
    """
    index, starts = by_user_and_time(events.user, events.time)
    _sort_ties(index, starts, [events.is_conversion])
    starts |= changes(events.is_conversion[index])
    rest = [events.window, events.value, events.count, *events.attributes[::-1]]
    _sort_ties(index, starts, [*rest, events.code, events.order])
    return events.take(index)


def _sort_ties(index: IntArray, starts: BoolArray, keys: list[Array]) -> None:
    """Sort the index in place by keys, the last first, within each run from start to start."""
    tied = np.flatnonzero(~starts | np.append(~starts[1:], False))
    if len(tied):
        among = index[tied]
        varying = [key[among] for key in keys if key.strides != (0,)]
        index[tied] = among[np.lexsort([*varying, np.cumsum(starts)[tied]])]


def by_user_and_time(user: IntArray, time: IntArray) -> tuple[IntArray, BoolArray]:
    """Sort by some hash of the user, user and time.

    One integer holds as much of the hash as fits beside the time and is sorted at once; users
    that share it, and times too far apart to fit, are then sorted with care.

    Returns
    -------
    index, starts
        The sorting index, and a mask of the sorted events that have another user or time than
        the one before.
    """
    if not len(user):
        return np.zeros(0, dtype=np.int64), np.ones(0, dtype=bool)
    since = time - time.min()
    time_bits = min(int(since.max()).bit_length(), 63 - HASH_BITS)
    coarse = max(0, int(since.max()).bit_length() - time_bits)
    spread = mixed(user)  # users of one block share its highest bits: spread once more
    spread = (spread ^ (spread >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    place = (spread >> np.uint64(1 + time_bits)).view(np.int64)
    key = (place << time_bits) | (since >> coarse)
    index = np.argsort(key)
    key, sorted_user = key[index], user[index]
    starts, alone = changes(key), changes(key >> time_bits)
    wrong = ~alone & changes(sorted_user)
    if coarse:
        wrong[1:] |= ~alone[1:] & (np.diff(time[index]) < 0)
    if coarse or wrong.any():
        run = np.cumsum(alone)
        again = np.flatnonzero((np.bincount(run[wrong], minlength=run[-1] + 1) > 0)[run])
        among = index[again]
        index[again] = among[np.lexsort((time[among], user[among], run[again]))]
        starts = changes(user[index]) | changes(time[index])
    return index, starts


def mixed(user: IntArray) -> npt.NDArray[np.uint64]:
    """Spread the keys of users over all 64 bits, the highest bits best."""
    return user.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def first_of_sessions(events: Events, options: Options) -> BoolArray:
    """Mark what stays when each session keeps its first touch per channel and lookback."""
    keep = np.ones(len(events.user), dtype=bool)
    touches = np.flatnonzero(~events.is_conversion)
    if not len(touches):
        return keep
    user, time = events.user[touches], events.time[touches]
    if options.sessions:
        session = events.session[touches]
    else:
        assert options.session_gap is not None
        starts = changes(user) | (np.diff(time, prepend=time[0]) > options.session_gap)
        session = np.cumsum(starts)
    without = session < 0
    first, _ = group([user, session, events.code[touches], events.window[touches]])
    keep[touches] = without
    keep[touches[first]] = True
    return keep


def changes(values: Array) -> BoolArray:
    """Mark every entry that differs from the one before; the first always."""
    marks = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=marks[1:])
    return marks


def ends_of(events: Events, type_code: int, options: Options) -> tuple[IntArray, BoolArray]:
    """Return the conversions of a type, and which are the first of their user and instant."""
    is_end = events.is_conversion
    if options.by_type:
        is_end = is_end & (events.code == type_code)
    ends = np.flatnonzero(is_end)
    return ends, changes(events.user[ends]) | changes(events.time[ends])


def cut(events: Events, type_code: int, options: Options) -> Rows:
    """Cut sorted events into the journeys towards one type of conversion.

    Returns
    -------
    Rows
        In order of user and time of the row's last event.
    """
    ends, opens = ends_of(events, type_code, options)
    opening = np.zeros(len(events.user), dtype=np.int64)
    opening[ends] = opens
    n_before = np.cumsum(opening)
    first_end, firsts = ends[opens], np.flatnonzero(opens)
    end_user, end_time = events.user[first_end], events.time[first_end]
    if len(firsts):
        count = np.add.reduceat(events.count[ends], firsts)
        value = np.add.reduceat(events.value[ends], firsts)
    else:
        count = value = np.zeros(0)

    touches = np.flatnonzero(~events.is_conversion)
    following = n_before[touches]
    has_end = np.zeros(len(touches), dtype=bool)
    within = following < len(first_end)
    has_end[within] = end_user[following[within]] == events.user[touches[within]]
    wait = np.full(len(touches), FOREVER)
    wait[has_end] = end_time[following[has_end]] - events.time[touches[has_end]]
    claimed = has_end & (wait <= events.window[touches])

    free, after = touches[~claimed], following[~claimed]
    starts = changes(events.user[free]) | changes(after)
    starts[1:] |= np.diff(events.time[free]) > options.inactivity
    null_row = np.cumsum(starts) - 1
    last = np.flatnonzero(np.append(starts[1:], np.ones(min(len(free), 1), dtype=bool)))
    null_last = free[last]
    limit = np.full(len(last), FOREVER)
    known = has_end[~claimed][last]
    limit[known] = end_time[after[last][known]]
    null_end = np.minimum(events.time[null_last] + options.inactivity, limit)
    null_end = np.minimum(null_end, options.observed_until)
    horizon = max(options.inactivity, options.longest_lookback)
    chain_end = _ends_of_chains(events.user[touches], events.time[touches], following, options)
    null_settled = np.minimum(limit, chain_end[~claimed][last] + horizon)

    n_ends, n_rows = len(first_end), len(first_end) + len(last)
    event = np.concatenate([first_end, null_last])
    ends_row = np.zeros(len(events.user), dtype=np.int64)
    ends_row[event] = 1
    place = np.cumsum(ends_row)[event] - 1
    order = np.empty(n_rows, dtype=np.int64)
    order[place] = np.arange(n_rows)
    if options.reuse_touches:
        end, touch = lookback_pairs(events, touches, first_end, options)
        row = place[np.concatenate([end, n_ends + null_row])]
        touch = np.concatenate([touch, free])
        in_order = np.argsort(touch, kind="stable")
        touch, row = touch[in_order], row[in_order]
    else:
        row, touch = np.empty(len(touches), dtype=np.int64), touches
        row[claimed] = place[following[claimed]]
        row[~claimed] = place[n_ends + null_row]
    if (row[1:] < row[:-1]).any():
        by_row = np.argsort(row, kind="stable")
        touch, row = touch[by_row], row[by_row]
    zeros = np.zeros(len(last))
    return Rows(
        touch=touch,
        offsets=offsets_of(np.bincount(row, minlength=n_rows)),
        user=events.user[event][order],
        end=np.concatenate([end_time, null_end])[order],
        count=np.concatenate([count, zeros])[order],
        value=np.concatenate([value, zeros])[order],
        type_code=np.full(n_rows, type_code, dtype=np.int32),
        event=event[order],
        settled=np.concatenate([end_time, null_settled])[order],
        touches_too_old=float((has_end & ~claimed).sum()),
    )


def _ends_of_chains(
    user: IntArray, time: IntArray, following: IntArray, options: Options
) -> IntArray:
    """Return for each touch the last one of its chain: no pause is long enough to end a journey.

    Until the conversion that cuts it is known, a chain is one journey.
    """
    ends = np.ones(len(time), dtype=bool)
    ends[:-1] = (user[1:] != user[:-1]) | (following[1:] != following[:-1])
    ends[:-1] |= np.diff(time) > options.inactivity
    last = np.flatnonzero(ends)
    return np.repeat(time[last], np.diff(last, prepend=-1))


def lookback_pairs(
    events: Events, touches: IntArray, first_end: IntArray, options: Options
) -> tuple[IntArray, IntArray]:
    """Pair each conversion with every touch of its user in the window before it.

    Returns
    -------
    end, touch
        Index into `first_end` and into the events, one entry per pair.
    """
    time = events.time[touches]
    position = np.searchsorted(touches, first_end)
    user_start = np.flatnonzero(changes(events.user))
    start = user_start[np.searchsorted(user_start, first_end, side="right") - 1]
    earliest = events.time[first_end] - options.longest_lookback
    low = lower_bound(time, earliest, np.searchsorted(touches, start), position)
    end = np.repeat(np.arange(len(first_end)), position - low)
    touch = touches[ranges(low, position)]
    inside = events.time[first_end][end] - events.time[touch] <= events.window[touch]
    return end[inside], touch[inside]


def lower_bound(values: IntArray, targets: IntArray, low: IntArray, high: IntArray) -> IntArray:
    """Return, per target, the first i in low .. high with values[i] >= target (high if none)."""
    low, high = low.copy(), high.copy()
    while True:
        searching = low < high
        if not searching.any():
            return low
        middle = (low + high) // 2
        below = searching.copy()
        below[searching] = values[middle[searching]] < targets[searching]
        low = np.where(below, middle + 1, low)
        high = np.where(searching & ~below, middle, high)


def count_ties(events: Events, rows: Rows) -> tuple[float, float]:
    """Count the rows whose first, and whose last, touch is decided by the name of its channel."""
    inner = np.diff(rows.offsets) > 1
    first, last = rows.offsets[:-1][inner], rows.offsets[1:][inner] - 1

    def tied(one: IntArray, next_one: IntArray) -> BoolArray:
        a, b = rows.touch[one], rows.touch[next_one]
        return np.asarray((events.time[a] == events.time[b]) & (events.order[a] == events.order[b]))

    some = tied(first, first + 1) | tied(last - 1, last)
    first, last = first[some], last[some]
    touch = rows.touch[ranges(first, last + 1)]
    begin = offsets_of(last + 1 - first)[:-1]
    final = begin + last - first
    starts = changes(events.time[touch]) | changes(events.order[touch])
    starts[begin] = True
    runs = np.append(np.flatnonzero(starts), len(touch))
    first_run_end = runs[np.searchsorted(runs, begin, side="right")] - 1
    last_run_start = runs[np.searchsorted(runs, final, side="right") - 1]
    code = events.code[touch]
    first_ties = code[begin] != code[first_run_end]
    last_ties = code[final] != code[last_run_start]
    return float(first_ties.sum()), float(last_ties.sum())


def count_duplicates(events: Events) -> float:
    """Count events that equal the one before in everything but their row (sorted events)."""
    same = ~(changes(events.user) | changes(events.time) | changes(events.is_conversion))
    for column in (events.code, events.order, events.count, events.value, *events.attributes):
        same &= ~changes(column)
    return float(same.sum())


def count_cut_off(events: Events, rows: Rows, type_code: int, options: Options) -> float:
    """Count conversions left without touches only because an earlier conversion claimed them."""
    bare = (np.diff(rows.offsets) == 0) & (rows.count > 0)
    if options.reuse_touches or not bare.any():
        return 0.0
    ends, opens = ends_of(events, type_code, options)
    first_end = ends[opens]
    touches = np.flatnonzero(~events.is_conversion)
    converted = np.flatnonzero(rows.count > 0)
    bare_ends = first_end[bare[converted]]
    end, _ = lookback_pairs(events, touches, bare_ends, options)
    return float(rows.count[converted[bare[converted]]][np.unique(end)].sum())


def filter_rows(rows: Rows, keep: BoolArray) -> Rows:
    """Return only the marked rows."""
    touches = np.repeat(keep, np.diff(rows.offsets))
    offsets = keep_entries(rows.offsets, touches)
    return Rows(
        touch=rows.touch[touches],
        offsets=np.append(offsets[:-1][keep], offsets[-1]),
        touches_too_old=rows.touches_too_old,
        **{
            name: getattr(rows, name)[keep]
            for name in ("user", "end", "count", "value", "type_code", "event", "settled")
        },
    )
