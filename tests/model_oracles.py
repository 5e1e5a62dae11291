"""Slow, obviously correct attribution of journeys written as plain rows, and random such rows."""

from collections import defaultdict
from fractions import Fraction
from itertools import combinations, pairwise
from math import exp, factorial, inf, log
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from attribution import Journeys


class Row(NamedTuple):
    """Journeys that share one path; ages in whole days, oldest touch first."""

    path: tuple[str, ...]
    conversions: float = 0
    nulls: float = 0
    value: float = 0.0
    ages: tuple[int, ...] = ()


def as_journeys(rows, values=True, ages=False):
    """Columnar journeys of the rows; every row that has no ages gets n - 1, ..., 1, 0."""
    channels = tuple(sorted({channel for row in rows for channel in row.path}))
    place = {channel: code for code, channel in enumerate(channels)}
    age = [a for row in rows for a in (row.ages or range(len(row.path) - 1, -1, -1))]
    return Journeys(
        channels=channels,
        codes=np.array([place[c] for row in rows for c in row.path], dtype=np.int32),
        offsets=np.cumsum([0, *(len(row.path) for row in rows)]),
        conversions=np.array([row.conversions for row in rows], dtype=float),
        nulls=np.array([row.nulls for row in rows], dtype=float),
        values=np.array([row.value for row in rows], dtype=float) if values else None,
        given_ages=np.array(age, dtype=float) if ages else None,
    )


def rows_of(journeys):
    """Plain rows of columnar journeys; without a value column each value is 0."""
    names, cuts = journeys.channels, journeys.offsets.tolist()
    codes = journeys.codes.tolist()
    values = [0.0] * len(journeys) if journeys.values is None else journeys.values.tolist()
    counts = zip(journeys.conversions.tolist(), journeys.nulls.tolist(), values, strict=True)
    return [
        Row(tuple(names[c] for c in codes[cuts[i] : cuts[i + 1]]), *each)
        for i, each in enumerate(counts)
    ]


# --- rules ------------------------------------------------------------------------------


def first(row):
    return [Fraction(i == 0) for i in range(len(row.path))]


def last(row):
    return first(row)[::-1]


def last_non_direct(row):
    direct = ("direct", "(direct)", "(direct) / (none)")
    others = [i for i, channel in enumerate(row.path) if channel.lower() not in direct]
    chosen = others[-1] if others else len(row.path) - 1
    return [Fraction(i == chosen) for i in range(len(row.path))]


def linear(row):
    return [Fraction(1, len(row.path)) for _ in row.path]


def position(share_first, share_last):
    share_first, share_last = Fraction(share_first), Fraction(share_last)

    def weigh(row):
        n = len(row.path)
        if n == 1:
            return [Fraction(1)]
        if n == 2:
            ends = share_first + share_last
            return [share_first / ends, share_last / ends]
        middle = (1 - share_first - share_last) / (n - 2)
        return [share_first, *[middle] * (n - 2), share_last]

    return weigh


def decay(half_life):
    def weigh(row):
        raw = [Fraction(1, 2 ** (age // half_life)) for age in row.ages]
        assert all(age % half_life == 0 for age in row.ages)
        return [weight / sum(raw) for weight in raw]

    return weigh


def distinct(row):
    return [Fraction(1, len(set(row.path)) * row.path.count(channel)) for channel in row.path]


def rule_credit(rows, weigh, of):
    """Credit per channel as exact fractions; `of` is "conversions" or "value"."""
    credit = {channel: Fraction(0) for row in rows for channel in row.path}
    for row in rows:
        for channel, weight in zip(row.path, weigh(row) if row.path else [], strict=True):
            credit[channel] += weight * Fraction(getattr(row, of))
    return credit


# --- games ------------------------------------------------------------------------------


def shapley_values(players, worth):
    """The definition: marginal worths weighed by |S|! (n - |S| - 1)! / n! over all subsets."""
    n = len(players)
    result = {}
    for player in players:
        others = [other for other in players if other != player]
        result[player] = sum(
            Fraction(factorial(size) * factorial(n - size - 1), factorial(n))
            * (worth({*subset, player}) - worth(set(subset)))
            for size in range(n)
            for subset in combinations(others, size)
        )
    return result


def subset_worth(rows, of):
    """Outcome of the journeys all of whose channels lie in S."""

    def worth(members):
        return sum(Fraction(getattr(r, of)) for r in rows if r.path and set(r.path) <= members)

    return worth


def exact_set_worth(rows):
    """Conversions of the journeys whose set of channels is exactly S."""

    def worth(members):
        return sum(Fraction(r.conversions) for r in rows if r.path and set(r.path) == members)

    return worth


# --- chains -----------------------------------------------------------------------------


class Chain:
    """The chain of order k as dictionaries of transition probabilities, built step by step."""

    def __init__(self, rows, order, of="conversions"):
        starts, steps, rewards = defaultdict(float), defaultdict(float), defaultdict(float)
        left = defaultdict(float)
        for row in rows:
            weight = row.conversions + row.nulls
            if not row.path or not weight:
                continue
            n_states = max(1, len(row.path) - order + 1)
            walk = [row.path[i : i + order] for i in range(n_states)]
            starts[walk[0]] += weight
            for state, following in pairwise(walk):
                steps[state, following] += weight
            for state in walk:
                left[state] += weight
            rewards[walk[-1]] += getattr(row, of)
        journeys = sum(starts.values())
        self.states = sorted(left)
        self.start = {state: count / journeys for state, count in starts.items()}
        self.step = {pair: count / left[pair[0]] for pair, count in steps.items()}
        self.reward = {state: total / left[state] for state, total in rewards.items()}

    def matrix(self, removed=frozenset()):
        """Start, transitions and reward when states of removed channels lead to null."""
        place = {state: i for i, state in enumerate(self.states)}
        alive = [not removed & set(state) for state in self.states]
        q, b = np.zeros((len(place), len(place))), np.zeros(len(place))
        s = np.array([self.start.get(state, 0.0) for state in self.states])
        for (state, following), probability in self.step.items():
            q[place[state], place[following]] = probability * alive[place[state]]
        for state, reward in self.reward.items():
            b[place[state]] = reward * alive[place[state]]
        return s, q, b

    def yield_per_journey(self, removed=frozenset()):
        """Expected conversions (or value) of a journey, by one linear solve."""
        s, q, b = self.matrix(frozenset(removed))
        return float(s @ np.linalg.solve(np.eye(len(s)) - q, b))

    def visits(self):
        """Expected visits to each state per journey, by one linear solve."""
        s, q, _ = self.matrix()
        return np.linalg.solve(np.eye(len(s)) - q.T, s)

    def removal_effect(self, *removed):
        """What share of the yield is lost without the channels."""
        base = self.yield_per_journey()
        return 1 - self.yield_per_journey(removed) / base if base else 0.0


def removal_effects(rows, order, of="conversions"):
    """Removal effect of every channel that occurs in the rows."""
    chain = Chain(rows, order, of)
    channels = sorted({channel for row in rows for channel in row.path})
    if not chain.states:
        return dict.fromkeys(channels, 0.0)
    return {channel: chain.removal_effect(channel) for channel in channels}


# --- random rows ------------------------------------------------------------------------

NAMES = ("a", "b", "direct", "Ä ö", "(Direct) / (none)", "z,1")


@st.composite
def tables(draw, max_rows=10, max_length=6, converting=False, names=NAMES):
    """Rows over 1 to 6 channels: loops, empty paths, all-zero rows; values in quarters.

    With `converting` at least one row with touches converts and has value.
    """
    channel = st.sampled_from(draw(st.permutations(names))[: draw(st.integers(1, len(names)))])
    rows = []
    for i in range(draw(st.integers(1, max_rows))):
        sure = converting and i == 0
        path = draw(st.lists(channel, min_size=int(sure), max_size=max_length))
        conversions = draw(st.integers(int(sure), 5))
        value = draw(st.integers(int(sure), 400)) / 4 if conversions else 0.0
        ages = draw(st.lists(st.integers(0, 60), min_size=len(path), max_size=len(path)))
        ages = tuple(sorted(ages, reverse=True))
        rows.append(Row(tuple(path), conversions, draw(st.integers(0, 5)), value, ages))
    return rows


# --- games of journeys ------------------------------------------------------------------


def channels_of(rows):
    """The channels that occur in the rows, sorted."""
    return sorted({channel for row in rows for channel in row.path})


def all_subsets(players):
    """Every set of the players, the empty one first."""
    return [set(s) for size in range(len(players) + 1) for s in combinations(players, size)]


def rate_worth(rows, of="conversions"):
    """Outcome per journey of those whose channels all lie in S; 0 where there is none."""

    def worth(members):
        within = [row for row in rows if row.path and set(row.path) <= members]
        journeys = sum(Fraction(row.conversions) + Fraction(row.nulls) for row in within)
        return sum(Fraction(getattr(row, of)) for row in within) / journeys if journeys else 0

    return worth


def exact_rate_worth(rows):
    """Conversion rate of the journeys whose set of channels is exactly S; 0 without any."""
    return lambda members: rate_worth([r for r in rows if set(r.path) == members])(members)


def markov_worth(rows, of="conversions"):
    """Yield of the chain of order 1 in which all channels but S lead to null; one solve per S."""
    chain, channels = Chain(rows, 1, of), set(channels_of(rows))
    return lambda members: chain.yield_per_journey(channels - members) if chain.states else 0.0


def interaction_index(players, worth):
    """The definition: second differences weighed by |S|! (n - |S| - 2)! / (n - 1)!."""
    n, result = len(players), {}
    for one, other in combinations(players, 2):
        rest = [player for player in players if player not in (one, other)]
        result[one, other] = result[other, one] = sum(
            Fraction(factorial(len(s)) * factorial(n - len(s) - 2), factorial(n - 1))
            * (worth({*s, one, other}) - worth({*s, one}) - worth({*s, other}) + worth(s))
            for s in all_subsets(rest)
        )
    return result


def ordered_shapley(rows, of="conversions"):
    """Exact credit by (channel, position from 1): equal parts by channel, then by position."""
    credit = defaultdict(Fraction)
    for row in rows:
        for position, channel in enumerate(row.path, start=1):
            part = Fraction(1, len(set(row.path)) * row.path.count(channel))
            credit[channel, position] += part * Fraction(getattr(row, of))
    return dict(credit)


# --- removals ---------------------------------------------------------------------------


def holds(state, group):
    """Whether a state holds a channel, any of a set, or a sequence (tuple) without a gap."""
    if isinstance(group, tuple):
        return group in [state[i : i + len(group)] for i in range(len(state) - len(group) + 1)]
    return not set(state).isdisjoint({group} if isinstance(group, str) else group)


def null_removal_effect(chain, group):
    """What share of the yield is lost when the states that hold the group lead to null."""
    s, q, b = chain.matrix()
    base = float(s @ np.linalg.solve(np.eye(len(s)) - q, b))
    lost = [holds(state, group) for state in chain.states]
    q[lost], b[lost] = 0.0, 0.0
    return 1 - float(s @ np.linalg.solve(np.eye(len(s)) - q, b)) / base if base else 0.0


def redistributed_removal_effect(rows, order, group, of="conversions"):
    """What share of the yield is lost when no transition, and no start, leads to the group.

    Counts of the others are taken for the whole; states that can no longer convert earn nothing.
    """
    starts, following, rewards = defaultdict(Fraction), defaultdict(dict), defaultdict(Fraction)
    for row in rows:
        weight = Fraction(row.conversions) + Fraction(row.nulls)
        if not row.path or not weight:
            continue
        walk = [row.path[i : i + order] for i in range(max(1, len(row.path) - order + 1))]
        starts[walk[0]] += weight
        for state, after in pairwise([*walk, "end"]):
            following[state][after] = following[state].get(after, 0) + weight
        rewards[walk[-1]] += Fraction(getattr(row, of))
    base = sum(rewards.values())
    if not base:
        return 0.0
    stays = [state for state in following if not holds(state, group)]
    kept = {
        state: {j: n for j, n in following[state].items() if j == "end" or j in stays}
        for state in stays
    }
    earning = {state for state in stays if rewards[state]}
    for _ in stays:
        earning |= {state for state in stays if earning & set(kept[state])}
    place = {state: i for i, state in enumerate(sorted(earning))}
    q, b, s = np.zeros((len(place), len(place))), np.zeros(len(place)), np.zeros(len(place))
    for state, i in place.items():
        whole = sum(kept[state].values())
        for after in earning & set(kept[state]):
            q[i, place[after]] = kept[state][after] / whole
        b[i] = rewards[state] / whole
        s[i] = starts[state] / sum(starts[state] for state in stays) if starts[state] else 0
    earned = s @ np.linalg.solve(np.eye(len(place)) - q, b)
    return 1 - float(earned) * float(sum(starts.values()) / base)


def path_level_credit(rows, order, of="conversions"):
    """Each row's outcome over its distinct channels in proportion to their removal effects."""
    effects, credit = removal_effects(rows, order, of), dict.fromkeys(channels_of(rows), 0.0)
    for row in rows:
        whole = sum(effects[channel] for channel in set(row.path))
        for channel in set(row.path) if getattr(row, of) else ():
            credit[channel] += getattr(row, of) * effects[channel] / whole
    return credit


# --- learned models ---------------------------------------------------------------------


def journeys_that_hold(rows, *channels):
    """Conversions, and journeys, of the rows that touch all of these channels."""
    held = [row for row in rows if set(channels) <= set(row.path)]
    converting = sum(Fraction(row.conversions) for row in held)
    return converting, converting + sum(Fraction(row.nulls) for row in held)


def probabilistic_credit(rows, of="conversions"):
    """Shao and Li's contributions, one journey and one pair after the other; exact."""

    def rate(*channels):
        converting, journeys = journeys_that_hold(rows, *channels)
        return converting / journeys

    credit = dict.fromkeys(channels_of(rows), Fraction(0))
    for row in rows:
        if not getattr(row, of) or not row.path:
            continue
        channels = sorted(set(row.path))
        part = {}
        for i in channels:
            pairs = [rate(i, j) - rate(i) - rate(j) for j in channels if j != i]
            extra = sum(pairs) / (2 * len(pairs)) if pairs else 0
            part[i] = max(rate(i) + extra, Fraction(0))
        whole = sum(part.values())
        for i in channels:
            share = part[i] / whole if whole else Fraction(1, len(channels))
            credit[i] += share * Fraction(getattr(row, of))
    return credit


def path_rates(rows):
    """Conversion rate of every path that journeys took; exact."""
    counts = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for row in rows:
        counts[row.path][0] += Fraction(row.conversions)
        counts[row.path][1] += Fraction(row.conversions) + Fraction(row.nulls)
    return {path: yes / whole for path, (yes, whole) in counts.items() if path and whole}


def leave_one_out_shares(rows, path):
    """The share of each touch of a path."""
    rates = path_rates(rows)
    own = rates.get(path, Fraction(0))
    lost = [max(own - rates.get(path[:i] + path[i + 1 :], 0), 0) for i in range(len(path))]
    whole = sum(lost)
    return [x / whole for x in lost] if whole else [*[Fraction(0)] * (len(path) - 1), Fraction(1)]


def leave_one_out_credit(rows, of="conversions"):
    """Each row's outcome over its touches by what its rate loses without them; exact."""
    credit = dict.fromkeys(channels_of(rows), Fraction(0))
    for row in rows:
        if row.path:
            for channel, share in zip(row.path, leave_one_out_shares(rows, row.path), strict=True):
                credit[channel] += share * Fraction(getattr(row, of))
    return credit


class Hazard:
    """The additive hazard by plain loops; effects and rates are dictionaries by channel."""

    def __init__(self, mu, effects, rates, resolution=1 / 24):
        self.mu, self.effects, self.rates, self.resolution = mu, effects, rates, resolution

    def parts(self, row):
        """What each touch adds to the hazard at the end."""
        return [
            self.effects[c] * self.rates[c] * exp(-self.rates[c] * age) if self.effects[c] else 0.0
            for c, age in zip(row.path, row.ages, strict=True)
        ]

    def at_end(self, row):
        return self.mu + sum(self.parts(row))

    def cumulated(self, row, channels=None):
        """H of a row, of the touches of some channels only."""
        whole = self.mu * max(row.ages[0], self.resolution)
        for c, age in zip(row.path, row.ages, strict=True):
            if self.effects[c] and (channels is None or c in channels):
                whole += self.effects[c] * (1 - exp(-self.rates[c] * max(age, self.resolution)))
        return whole

    def log_likelihood(self, rows):
        total = 0.0
        for row in rows:
            if row.path:
                if row.conversions:
                    at_end = self.at_end(row)
                    total += row.conversions * log(at_end) if at_end > 0 else -inf
                total -= (row.conversions + row.nulls) * self.cumulated(row)
        return total

    def credit(self, rows, of="conversions"):
        """Credit by channel, and of the baseline under the key None."""
        credit = dict.fromkeys([*channels_of(rows), None], 0.0)
        for row in rows:
            if row.path and getattr(row, of):
                at_end = self.at_end(row)
                credit[None] += getattr(row, of) * self.mu / at_end
                for c, part in zip(row.path, self.parts(row), strict=True):
                    credit[c] += getattr(row, of) * part / at_end
        return credit

    def gradient(self, rows):
        """Derivatives by mu, by each effect, and by the logarithm of each rate."""
        channels = channels_of(rows)
        by_mu, by_effect, by_rate = 0.0, dict.fromkeys(channels, 0.0), dict.fromkeys(channels, 0.0)
        for row in rows:
            if not row.path:
                continue
            weight, at_end = row.conversions + row.nulls, self.at_end(row)
            pull = row.conversions / at_end if row.conversions else 0.0
            by_mu += pull - weight * max(row.ages[0], self.resolution)
            for c, age in zip(row.path, row.ages, strict=True):
                rate, effect, risk = self.rates[c], self.effects[c], max(age, self.resolution)
                by_effect[c] += pull * rate * exp(-rate * age) - weight * (1 - exp(-rate * risk))
                slope = pull * rate * exp(-rate * age) * (1 - rate * age)
                by_rate[c] += effect * (slope - weight * rate * risk * exp(-rate * risk))
        return by_mu, by_effect, by_rate

    def em_step(self, rows, fixed_rates):
        """One of the updates of Zhang, Wei and Ren, with a baseline; rates of age unless fixed."""
        channels = channels_of(rows)
        mine, time = 0.0, 0.0
        caused, exposed = dict.fromkeys(channels, 0.0), dict.fromkeys(channels, 0.0)
        aged = dict.fromkeys(channels, 0.0)
        for row in rows:
            if not row.path:
                continue
            weight = row.conversions + row.nulls
            time += weight * max(row.ages[0], self.resolution)
            at_end = self.at_end(row) if row.conversions else 1.0
            mine += row.conversions * self.mu / at_end
            for c, age, part in zip(row.path, row.ages, self.parts(row), strict=True):
                risk = max(age, self.resolution)
                caused[c] += row.conversions * part / at_end
                exposed[c] += weight * (1 - exp(-self.rates[c] * risk))
                aged[c] += row.conversions * part / at_end * age
                aged[c] += self.effects[c] * weight * risk * exp(-self.rates[c] * risk)
        effects = {c: caused[c] / exposed[c] if exposed[c] else 0.0 for c in channels}
        rates = {c: caused[c] / aged[c] if aged[c] else self.rates[c] for c in channels}
        rates = self.rates if fixed_rates else rates
        return Hazard(mine / time if time else 0.0, effects, rates, self.resolution)
