"""What would be lost without channels, sets of channels or sequences of them.

The effects are those of a Markov chain; `attribution.models.chains` says how they are defined and
solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.arrays import IntArray
from attribution.errors import InputError, nearest
from attribution.models.chains import Chain, states_of_channels, states_of_sequence
from attribution.models.markov import effect_columns
from attribution.models.removals import EFFECTS, Removal, require_removal
from attribution.statistics import PathLevelCounts, TransitionCounts

if TYPE_CHECKING:
    import pandas as pd

Group = str | AbstractSet[str] | tuple[str, ...]


def removal_effects(
    statistic: TransitionCounts | PathLevelCounts,
    groups: Mapping[str, Group] | Iterable[Group] | Group | None = None,
    *,
    removal: Removal = "null",
) -> pd.DataFrame:
    """Return the share of conversions, and of value, that is lost without each group.

    Parameters
    ----------
    statistic
        Transitions, from `Markov(order=k).summarize(journeys)`; of a stream
        `sum(map(Markov(order=k).summarize, parts))`.
    groups
        A list or mapping (by name) of what to remove: a channel; a set of channels, which all
        stop; or a tuple, a sequence of channels touched one right after the other, of at most k.
        One such group may stand alone. None: each channel by itself.
    removal
        "null": journeys that reach what is removed are lost. "redistribute": they go where the
        others go from there; effects are signed. See `Markov` (whose own option is not read).

    Returns
    -------
    pandas.DataFrame
        Index group; columns removal_effect (and removal_effect_value where there is value),
        conversion_probability (what is left of the base rate), conversions_lost (and value_lost).
        `.attrs` has base_rate, solver and error_bound. Effects of groups do not add up.

    Raises
    ------
    InputError
        If the statistic is of another kind, a channel is unknown, a sequence is longer than the
        order or never occurs, a group is empty, or two groups have one name.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution import Journeys, Markov
    >>> table = pd.DataFrame({
    ...     "path": ["email > search", "search > email", "social", "search"],
    ...     "conversions": [3, 1, 2, 1], "nulls": [1, 4, 3, 5],
    ... })
    >>> counts = Markov(order=2).summarize(Journeys.from_paths(table, nulls="nulls"))
    >>> groups = ["search", {"email", "social"}, ("email", "search")]
    >>> removal_effects(counts, groups)[["removal_effect", "conversions_lost"]].round(3)
                    removal_effect  conversions_lost
    group
    search                   0.714               5.0
    email + social           0.857               6.0
    email > search           0.429               3.0
    """
    import pandas as pd

    if isinstance(statistic, PathLevelCounts):
        statistic = statistic.transitions
    if not isinstance(statistic, TransitionCounts):
        raise InputError(
            f"Got a {type(statistic).__name__}, not TransitionCounts. Hint: "
            "Markov(order=...).summarize(journeys) counts them."
        )
    require_removal(removal)
    named = _named(list(statistic.channels) if groups is None else groups)
    by_channel = states_of_channels(statistic.states, len(statistic.channels))
    code = {channel: i for i, channel in enumerate(statistic.channels)}
    members = [_states(statistic, group, code, by_channel) for group in named.values()]
    chain = Chain.of(statistic)
    found = EFFECTS[removal](chain, members)
    journeys = statistic.n_journeys
    base = float(statistic.conversions.sum()) / journeys if journeys else np.nan
    columns: dict[str, Any] = effect_columns(found.effects)
    columns["conversion_probability"] = base * (1.0 - found.effects[:, 0])
    lost = found.effects * chain.total
    for i, name in enumerate(("conversions_lost", "value_lost")[: lost.shape[1]]):
        columns[name] = lost[:, i]
    frame = pd.DataFrame(columns, index=pd.Index(list(named), name="group", dtype="str"))
    frame.attrs = {"base_rate": base, "solver": found.solver, "error_bound": found.error_bound}
    return frame


def _named(groups: Mapping[str, Group] | Iterable[Group]) -> dict[str, Group]:
    """Return the groups by name: their own, or what they consist of."""
    if isinstance(groups, str | AbstractSet | tuple):
        groups = [groups]
    if not isinstance(groups, Iterable):
        raise InputError(
            f"groups={groups!r} holds no groups. Hint: a list of channels, sets and tuples, or a "
            "mapping from names to them."
        )
    if isinstance(groups, Mapping):
        pairs: Iterable[tuple[Any, Group]] = groups.items()
    else:
        pairs = ((_name(group), group) for group in groups)
    named: dict[str, Group] = {}
    for given, group in pairs:
        name = str(given)
        if name in named:
            raise InputError(
                f"Group {name!r} is given twice. Hint: name them apart with a mapping."
            )
        named[name] = group
    return named


def _name(group: Any) -> str:
    if isinstance(group, str):
        return group
    if isinstance(group, tuple):
        return " > ".join(map(str, group))
    if isinstance(group, AbstractSet):
        return " + ".join(sorted(map(str, group)))
    raise InputError(
        f"{group!r} is no group. Hint: a channel's name, a set of channels that all stop, or a "
        "tuple of channels touched one right after the other."
    )


def _states(
    statistic: TransitionCounts, group: Group, code: Mapping[str, int], by_channel: list[IntArray]
) -> IntArray:
    """Return the states that a group removes."""
    name = _name(group)
    channels = [group] if isinstance(group, str) else list(group)
    if not channels:
        raise InputError("A group is empty. Hint: leave it out.")
    for channel in channels:
        if not isinstance(channel, str):
            raise InputError(
                f"{channel!r} in group {name!r} is no channel's name. Hint: sets and tuples hold "
                "names only; give each of them as a group of its own."
            )
    for channel in sorted(channels):
        if channel not in code:
            some = ", ".join(map(repr, statistic.channels[:10]))
            raise InputError(
                f"No channel {channel!r}.{nearest(channel, statistic.channels)} Hint: there are "
                f"{len(code)}, such as {some}."
            )
    codes = np.array([code[channel] for channel in channels])
    if not isinstance(group, tuple):
        return np.unique(np.concatenate([by_channel[each] for each in codes]))
    order = statistic.states.shape[1]
    if len(codes) > order:
        raise InputError(
            f"The sequence {name!r} has {len(codes)} touches, but the chain remembers {order}. "
            f"Hint: Markov(order={len(codes)}).summarize(journeys)."
        )
    found = states_of_sequence(statistic.states, codes)
    if not len(found):
        raise InputError(
            f"No journey has the sequence {name!r}. Hint: a sequence is touched one right after "
            "the other; transforms.collapse_repeats(journeys) takes out repeats in between."
        )
    return found
