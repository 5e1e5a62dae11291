"""Reads what the caller asks of a plan into `Limits`, and says what cannot be kept.

A limit that cannot be kept is not loosened. All that is wrong is said in one error, a line for each
conflict, with its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from attribution.arrays import FloatArray, IntArray, is_number
from attribution.budget.limits import HELD, MOST_SLACK, SLACK, Group, Limits
from attribution.errors import InputError, nearest

Bounds = Mapping[str, tuple[float | None, float | None]]
Groups = Mapping[str, tuple[Iterable[str], float | None, float | None]]

SHOWN = 5


@dataclass
class Reader:
    """Reads the limits of a plan, and collects what is wrong with them."""

    lines: Sequence[str]
    budget: float
    step: float | None = None
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.lines)
        self.low, self.high, self.fixed = np.zeros(n), np.full(n, np.inf), np.full(n, np.nan)
        if self.number(self.budget, "budget", "0 or more, money per period") is None:
            self.budget = math.nan
        if self.step is not None:
            self.step = self.number(self.step, "step", "above 0, or None", above=True)

    @cached_property
    def place(self) -> dict[str, int]:
        """The place of each line."""
        return {line: i for i, line in enumerate(self.lines)}

    def number(
        self, value: Any, what: str, hint: str, *, above: bool = False, finite: bool = True
    ) -> float | None:
        """Return a number from 0 on, or None after a complaint."""
        right = is_number(value)
        if right and (value > 0 or (value == 0 and not above)) and (value < math.inf or not finite):
            return float(value)
        self.wrong.append(f"{what}={value!r} does not fit. Hint: {hint}.")
        return None

    def known(self, names: Iterable[Any], what: str) -> Iterator[tuple[str, int]]:
        """Yield names of lines with their places; complain of others."""
        for name in names:
            if name in self.place:
                yield name, self.place[name]
            else:
                near = nearest(str(name), self.place)
                hint = "Hint: lines are those of the curves or the credit."
                self.wrong.append(f"{what} names {name!r}, which is no line.{near} {hint}")

    def mapping(self, given: Any, what: str) -> Mapping[str, Any]:
        """Return a mapping, empty for None or after a complaint."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            self.wrong.append(f"{what} is a {type(given).__name__}. Hint: a mapping by name.")
            return {}
        return given

    def range_of(self, pair: Any, what: str) -> tuple[float, float]:
        """Return (low, high), with None as no limit."""
        pair = pair.tolist() if isinstance(pair, np.ndarray) else pair
        if not (isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2):
            self.wrong.append(
                f"{what}={pair!r} does not fit. Hint: (low, high), either may be None."
            )
            return 0.0, math.inf
        hint = "amounts from 0 on, or None"
        low = 0.0 if pair[0] is None else self.number(pair[0], f"{what}: low", hint)
        high = math.inf
        if pair[1] is not None:
            ceiling = self.number(pair[1], f"{what}: high", hint, finite=False)
            high = math.inf if ceiling is None else ceiling
        low = 0.0 if low is None else low
        if low > high:
            ends = f"the floor {low:,.10g} is above the ceiling {high:,.10g}"
            self.wrong.append(f"{what}: {ends}. Hint: (low, high), low first.")
            return 0.0, math.inf
        return low, high

    def read_bounds(self, bounds: Any) -> None:
        """Read floors and ceilings of lines."""
        given = self.mapping(bounds, "bounds")
        for line, at in self.known(given, "bounds"):
            self.low[at], self.high[at] = self.range_of(given[line], f"bounds of {line!r}")

    def read_today(self, today: Any) -> FloatArray | None:
        """Return today's spend, shape (n,), NaN where it does not fit; more names do no harm."""
        if today is None:
            return None
        given = self.mapping(today, "today")
        amounts = np.full(len(self.lines), np.nan)
        lacking = [line for line in self.lines if line not in given]
        if lacking:
            named = ", ".join(repr(line) for line in lacking[:SHOWN])
            self.wrong.append(
                f"today lacks {len(lacking):,} of {len(self.lines):,} lines: {named}. Hint: give 0 "
                "for a line without spend."
            )
        for at, line in enumerate(self.lines):
            if line in given:
                spent = self.number(given[line], f"today of {line!r}", "an amount from 0 on")
                amounts[at] = np.nan if spent is None else spent
        return amounts

    def read_fixed(self, fixed: Any) -> None:
        """Read amounts of fixed lines; they must lie within bounds."""
        given = self.mapping(fixed, "fixed")
        for line, at in self.known(given, "fixed"):
            amount = self.number(given[line], f"fixed of {line!r}", "an amount from 0 on")
            if amount is None:
                continue
            self.fixed[at] = amount
            if not (self.low[at] * (1 - SLACK) <= amount <= self.high[at] * (1 + SLACK)):
                self.wrong.append(
                    f"{line!r} is fixed at {amount:,.10g}, outside of its bounds "
                    f"{_range(self.low[at], self.high[at])}. Hint: drop one of the two."
                )

    def read_change(self, max_change: Any, today: FloatArray | None) -> None:
        """Narrow limits to a change about today's spend; today has NaN where unknown.

        A number leaves fixed lines alone; a mapping that names one holds it to the change.
        """
        if max_change is None:
            return
        by_line = isinstance(max_change, Mapping)
        if today is None:
            self.wrong.append("max_change needs today's spend. Hint: today={line: spend}.")
            return
        hint = "0.3 for at most 30 % either way"
        if by_line:
            known = list(self.known(max_change, "max_change"))
            shares = [self.number(max_change[x], f"max_change of {x!r}", hint) for x, _ in known]
        else:
            known = [(x, i) for i, x in enumerate(self.lines) if np.isnan(self.fixed[i])]
            shares = [self.number(max_change, "max_change", hint)] * len(known)
        for (line, at), share in zip(known, shares, strict=True):
            if share is not None and not np.isnan(today[at]):
                self._narrow(line, at, float(today[at]), share)

    def _narrow(self, line: str, at: int, today: float, share: float) -> None:
        low, high = today * max(1.0 - share, 0.0), today * (1.0 + share)
        asked = (self.low[at], self.high[at])
        what = "bounds ask for"
        if not np.isnan(self.fixed[at]):
            asked, what = (self.fixed[at], self.fixed[at]), "it is fixed at"
        if asked[0] > high * (1 + SLACK) or asked[1] < low * (1 - SLACK):
            self.wrong.append(
                f"max_change={share:g} lets {line!r} spend {_range(low, high)} (today "
                f"{today:,.10g}), but {what} {_range(*asked)}. Hint: drop one of the two."
            )
            return
        self.low[at] = min(max(self.low[at], low), self.high[at])
        self.high[at] = max(min(self.high[at], high), self.low[at])

    def read_ceilings(self, ceilings: FloatArray, named: IntArray, roas: FloatArray) -> FloatArray:
        """Return ceilings, lowered to those up to which lines have their return, shape (n,)."""
        least = np.where(np.isnan(self.fixed), self.low, self.fixed)
        for at in named[ceilings[named] < least[named] * (1 - SLACK)]:
            self.wrong.append(
                f"{self.lines[at]!r} returns min_roas={roas[at]:g} up to a spend of "
                f"{ceilings[at]:,.10g}, but must spend {least[at]:,.10g}. Hint: ask for less."
            )
        return np.asarray(np.maximum(np.minimum(self.high, ceilings), self.low))

    def finish(self, groups: Any, ceilings: FloatArray | None = None) -> Limits:
        """Return the limits, or raise all that is wrong.

        Raises
        ------
        InputError
            If anything is wrong.
        """
        root = self._tree(self.mapping(groups, "groups"))
        limits = Limits(self.lines, self.fixed, self.low, self.high, root, self.step)
        self._check(limits, self.high if ceilings is None else ceilings)
        if self.wrong:
            raise InputError("\n".join(self.wrong))
        return limits

    def _tree(self, groups: Mapping[str, Any]) -> Group:
        members = self._members(groups)
        order = sorted(members, key=lambda name: -len(members[name]))
        home = np.full(len(self.lines), -1)
        parents: dict[str, int] = {}
        for number, name in enumerate(order):
            at = members[name]
            outer = np.unique(home[at])
            if len(outer) > 1:
                self._overlap(name, order, home, members)
                continue
            parents[name], home[at] = int(outer[0]), number

        def node(name: str, number: int, low: float, high: float) -> Group:
            at = members[name] if number >= 0 else np.arange(len(home))
            inner = [each for each in parents if parents[each] == number]
            within = {each: node(each, order.index(each), *ranges[each]) for each in inner}
            fixed = math.fsum(self.fixed[at][~np.isnan(self.fixed[at])])
            free = at[np.isnan(self.fixed[at])]
            own = np.flatnonzero((home == number) & np.isnan(self.fixed))
            if high < fixed * (1 - SLACK):
                self.wrong.append(
                    f"Group {name!r} may spend {high:,.10g}, but its fixed lines spend "
                    f"{fixed:,.10g}. Hint: raise its ceiling."
                )
            return Group(name, free, own, within, max(low - fixed, 0.0), max(high - fixed, 0))

        ranges = {name: self.range_of(groups[name][1:], f"group {name!r}") for name in parents}
        return node("", -1, 0.0, math.inf)

    def _members(self, groups: Mapping[str, Any]) -> dict[str, IntArray]:
        members = {}
        for name, given in groups.items():
            if name in HELD:
                what = "which says of a line what else holds it"
                self.wrong.append(f"A group is named {name!r}, {what}. Hint: another name.")
                continue
            if not (isinstance(given, Sequence) and len(given) == 3) or isinstance(given[0], str):
                hint = "(lines, low, high), lines a list of names"
                self.wrong.append(f"group {name!r}={given!r} does not fit. Hint: {hint}.")
                continue
            known = list(self.known(given[0], f"group {name!r}"))
            if known:
                members[name] = np.array(sorted({at for _, at in known}))
            else:
                self.wrong.append(f"group {name!r} has no line. Hint: leave it out.")
        return members

    def _overlap(
        self, name: str, order: list[str], home: IntArray, members: dict[str, IntArray]
    ) -> None:
        at = members[name]
        for outer in sorted(set(home[at].tolist()) - {-1}):
            shared = np.intersect1d(at, members[order[outer]])
            if len(shared) < len(at):
                self.wrong.append(
                    f"Groups {order[outer]!r} and {name!r} share {self.lines[shared[0]]!r}, but "
                    "neither holds the other. Hint: groups are nested or have no line in common."
                )
                return

    def _check(self, limits: Limits, ceilings: FloatArray) -> None:
        low, high = limits.units(ceilings)
        unit = self.step or 1.0
        empty = limits.free & (low > high)
        for at in np.flatnonzero(empty)[:SHOWN]:
            self.wrong.append(
                f"step={self.step:g} has no multiple for {self.lines[at]!r} in "
                f"{_range(limits.low[at], ceilings[at])}. Hint: a smaller step, or wider limits."
            )
        low = np.minimum(low, high)
        self._check_groups(limits, limits.root, low, high)
        least, _ = limits.reach(limits.root, low, high)
        needed = limits.spent + least * unit
        if needed - self.budget > self._noise():
            fixed = np.where(limits.free, low * unit, self.fixed)
            largest = [at for at in np.argsort(-fixed, kind="stable")[:SHOWN] if fixed[at] > 0]
            named = ", ".join(f"{self.lines[at]!r} {fixed[at]:,.10g}" for at in largest)
            self.wrong.append(
                f"budget={self.budget:,.10g} is below the floors, {needed:,.10g} in all"
                f"{': ' if named else ''}{named}{self._floors_of(limits)}. "
                "Hint: raise it, or lower floors."
            )

    def _noise(self) -> float:
        """Return by how much the budget may be missed: by rounding, never by a whole step."""
        noise = SLACK * self.budget
        if self.step is None:
            return noise
        return min(noise, MOST_SLACK * self.step) + 4 * float(np.spacing(self.budget))

    def _floors_of(self, limits: Limits) -> str:
        held = [each for each in limits.root.groups.values() if each.low > 0]
        named = ", ".join(f"group {each.name!r} {each.low:,.10g}" for each in held[:SHOWN])
        return f"; {named}" if named else ""

    def _check_groups(
        self, limits: Limits, outer: Group, low: FloatArray, high: FloatArray
    ) -> None:
        unit = self.step or 1.0
        for group in outer.groups.values():
            self._check_groups(limits, group, low, high)
            ends = [limits.reach(each, low, high) for each in group.groups.values()]
            least = float(low[group.own].sum()) + sum(end[0] for end in ends)
            most = float(high[group.own].sum()) + sum(end[1] for end in ends)
            floor, ceiling = limits.span(group)
            if floor > most + (0.5 if self.step else SLACK * most):
                self.wrong.append(
                    f"Group {group.name!r} must spend {floor * unit:,.10g} on its free lines, but "
                    f"they can take {most * unit:,.10g} at most. "
                    "Hint: lower its floor, or raise their ceilings."
                )
            if ceiling < least - (0.5 if self.step else SLACK * least):
                self.wrong.append(
                    f"Group {group.name!r} may spend {ceiling * unit:,.10g} on its free lines, but "
                    f"their floors need {least * unit:,.10g}. "
                    "Hint: raise its ceiling, or lower floors."
                )


def _range(low: float, high: float) -> str:
    if high == math.inf:
        return f"{low:,.10g} or more"
    return f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"
