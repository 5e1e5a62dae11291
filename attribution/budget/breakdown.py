"""From a plan for channels to campaigns and further down: `break_down`.

A campaign with two conversions on little cost looks far better, or worse, than it is. So the rates
of the children of one parent are pulled together, the more the less is known of a child. With the
credit y_i and the cost c_i > 0 of child i, and R the parent's rate:

    y_i ~ Poisson(theta_i c_i)                  theta_i the true credit per unit of money
    theta_i ~ Gamma(mean R, shape a)            children vary about their parent, by R / sqrt(a)
    E[theta_i | y_i] = (y_i + a) / (c_i + a / R)                  the shrunk rate

The shape a counts like conversions seen before. It comes from the n children themselves, by the
method of moments. With m = sum y_i / sum c_i and C = sum c_i,

    E[sum c_i (y_i / c_i - m)^2] = (n - 1) R + (C - sum c_i^2 / C) Var(theta)
    Var = (sum c_i (y_i / c_i - m)^2 - (n - 1) m) / (C - sum c_i^2 / C)
    a = m^2 / Var

Where children vary no more than chance lets them, Var is 0 or less: then a is infinite, and all
have the parent's rate. Few children tell little about a, and a small a trusts a single conversion:
a is at least 1. The rate of a channel is credit by cost; below, each level is pulled towards the
shrunk rate of the one above. Children without cost have no rate: R is then the parent's rate times
the share of the credit that the children with cost have.

Money of a parent goes to its children in proportion to c_i times the shrunk rate, in whole units,
so that every level adds up. Outcome goes in proportion to that times the shrunk rate once more:
what the money brings at that rate. Value is no count. Its credit is divided by
sum v^2 / sum v of the orders, which gives it the variance of a count (compound Poisson).

Credit by cost is an average: it says neither what more money would bring nor what it causes.

Source: Clayton and Kaldor (1987), Empirical Bayes estimates of age-standardized relative risks;
Marshall (1991), Mapping disease and mortality rates using empirical Bayes estimators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import Coded, FloatArray, IntArray
from attribution.budget.cents import in_money, largest_remainders, whole_units
from attribution.budget.plan import Plan, figures
from attribution.budget.touches import (
    JOINT,
    first_of_events,
    joined,
    touch_attribute,
    touch_costs,
)
from attribution.compare import choose
from attribution.errors import InputError, nearest, require_rows
from attribution.journeys import Journeys
from attribution.models.base import Model, Outcome, outcome_of, require_journeys
from attribution.results import Attribution
from attribution.segments import group, sum_by

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "(unknown)"  # below a channel that the journeys do not have
LEAST_STRENGTH = 1.0
NOISE = 1e-9  # of all credit; what is less below 0 is rounding


def break_down(
    plan: Plan,
    journeys: Journeys,
    model: str | Model = "linear",
    *,
    by: str | Sequence[str] = ("campaign",),
    cost: str = "cost",
    unit: float = 0.01,
    attribution: Attribution | None = None,
) -> pd.DataFrame:
    """Break a plan for channels down to campaigns, and further to attributes of touches.

    Credit per cost decides, shrunk towards the parent's where counts are small; see the module. The
    plan decides between channels, this only within them.

    Parameters
    ----------
    plan
        Its lines are channels; channels of the journeys that it does not have are left out.
    journeys
        From from_events(..., attributes=[cost, *by]), rows of one journey each, in memory. An
        event's cost counts once, its credit in every journey.
    model
        A model or its name. Its credit is of what the plan counts.
    by
        Touch attributes, the highest level first.
    cost
        Touch attribute with the cost of each touch.
    unit
        Money is in whole units; 0.01 for cents.
    attribution
        The model's result, where `journeys` are a part of those it is from.

    Returns
    -------
    pandas.DataFrame
        One row per leaf, sorted; index channel and `by`, "(none)" where the attribute is missing
        and "(unknown)" below a channel without touches. Columns cost and credit in the journeys;
        rate (credit / cost) and shrunk_rate, both NaN without cost; spend and outcome per period.
        `groupby(level=...)` adds up to every level. Spend of a channel is that of the plan, rounded
        to units of the whole; outcome is NaN for a plan by credit.

        Children without cost get no money, as nobody knows what they cost. If all are such, money
        goes in proportion to credit, and equally if there is none; where there is cost but no
        credit, in proportion to cost.

    Raises
    ------
    InputError
        If the plan is of campaigns or has no channel of the journeys, these lack an attribute or
        the outcome, a cost is missing or negative, credit is negative, or an option does not fit.

    Examples
    --------
    >>> import pandas as pd
    >>> from attribution.budget.allocation import allocate_by_credit
    >>> n = {("brand", 1): 40, ("brand", 0): 60, ("new", 1): 2, ("new", 0): 2}
    >>> rows = [key for key, count in n.items() for _ in range(count)]
    >>> events = pd.DataFrame(rows, columns=["campaign", "converted"])
    >>> events = events.assign(timestamp="2025-03-01", channel="search", cost=0.5)
    >>> events["user_id"] = range(len(events))
    >>> journeys = Journeys.from_events(events, attributes=["campaign", "cost"])
    >>> plan = allocate_by_credit({"search": 1.0}, 1000)
    >>> break_down(plan, journeys).round(3)
                     cost  credit  rate  shrunk_rate   spend  outcome
    channel campaign
    search  brand    50.0    40.0   0.8        0.808  961.54      NaN
            new       2.0     2.0   1.0        0.808   38.46      NaN
    """
    names = _levels(by)
    (chosen,) = choose([model], None).values()
    chosen.require_credit()
    chosen.require(require_journeys(journeys))
    _require_channels(plan, journeys)
    attributes = [_named(touch_attribute(journeys, name)) for name in names]
    paid = touch_costs(journeys, cost)
    credit = chosen.credit(journeys, attribution, plan.of)
    leaves = _leaves(plan, journeys, attributes, paid, credit)
    size = _size(journeys, plan.of)
    nodes = _channels(plan, leaves, unit, size)
    for depth in range(2, len(leaves.columns) + 1):
        nodes = _children(nodes, leaves, depth, unit, size)
    return _frame(leaves, nodes, ["channel", *names], size)


NEAR = 1e-4  # so close to a whole number of units is one


@dataclass(frozen=True, eq=False)
class _Leaves:
    """The lowest level, sorted by its columns: one column per level, cost and credit, (n,) each."""

    columns: list[Coded]
    cost: FloatArray
    credit: FloatArray

    def nodes(self, depth: int) -> tuple[IntArray, IntArray]:
        """Return the first leaf of each node of a level, and the node of each leaf."""
        return group([column.codes for column in self.columns[:depth]])


@dataclass(frozen=True, eq=False)
class _Nodes:
    """One level, shape (n_nodes,) each, and the node of each leaf; rates are of counts."""

    of_leaf: IntArray
    credit: FloatArray
    rate: FloatArray
    spend: FloatArray
    outcome: FloatArray


def strength(credit: FloatArray, cost: FloatArray) -> float:
    """Return the shape a of the prior of siblings, by the method of moments; see the module.

    Parameters
    ----------
    credit, cost
        Shape (n,); counts, and money above 0.

    Returns
    -------
    float
        At least 1; infinite where siblings vary no more than chance lets them.

    Examples
    --------
    >>> round(strength(np.array([60.0, 40.0]), np.array([100.0, 100.0])), 2)
    16.67
    >>> strength(np.array([6.0, 4.0]), np.array([100.0, 100.0]))
    inf
    """
    whole = cost.sum()
    mean = credit.sum() / whole
    room = whole - (cost**2).sum() / whole
    excess = (cost * (credit / cost - mean) ** 2).sum() - (len(cost) - 1) * mean
    if len(cost) < 2 or not excess > 0:
        return np.inf
    return float(max(mean**2 * room / excess, LEAST_STRENGTH))


def shrunk_rates(credit: FloatArray, cost: FloatArray, rate: float) -> FloatArray:
    """Return the rates of siblings, pulled towards their mean; see the module.

    Parameters
    ----------
    credit, cost
        Shape (n,); counts, and money; 0 or more.
    rate
        R, the mean rate to pull towards.

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN without cost.

    Examples
    --------
    >>> shrunk_rates(np.array([60.0, 40.0, 5.0]), np.array([100.0, 100.0, 0.0]), 0.5).round(3)
    array([0.575, 0.425,   nan])
    """
    found = np.full(len(cost), np.nan)
    priced = cost > 0
    y, c = credit[priced], cost[priced]
    a = strength(y, c) if priced.any() else np.inf
    found[priced] = rate if np.isinf(a) or rate == 0 else (y + a) / (c + a / rate)
    return found


def _levels(by: str | Sequence[str]) -> list[str]:
    names = [by] if isinstance(by, str) else list(by)
    if not names or len({"channel", *names}) <= len(names):
        raise InputError(
            f"by={by!r} is empty, or names a level twice. Hint: touch attributes below the "
            "channel, such as by=('campaign', 'touch_type')."
        )
    return names


def _require_channels(plan: Plan, journeys: Journeys) -> None:
    if not isinstance(plan, Plan):
        raise InputError(f"plan is a {type(plan).__name__}, not a Plan. Hint: allocate(...).")
    known = set(journeys.channels)
    for line in plan.lines:
        parts = line.split(JOINT)
        prefixes = (JOINT.join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        channel = next((each for each in prefixes if each in known), None)
        if line not in known and channel is not None and channel not in plan.lines:
            raise InputError(
                f"The plan's line {line!r} is a campaign of {channel!r}, not a channel. Hint: "
                "break down a plan of channels."
            )
    if known.isdisjoint(plan.lines):
        raise InputError(
            f"The journeys have no channel of the plan, such as {plan.lines[0]!r}."
            f"{nearest(plan.lines[0], known)} Hint: use one set of names."
        )


def _leaves(
    plan: Plan,
    journeys: Journeys,
    attributes: list[Coded],
    paid: FloatArray,
    credit: FloatArray,
) -> _Leaves:
    """Add up cost and credit of the plan's channels; those without touches get a leaf too."""
    labels = tuple(sorted(plan.lines))
    place = {name: i for i, name in enumerate(labels)}
    channel = np.array([place.get(name, -1) for name in journeys.channels])[journeys.codes]
    kept = channel >= 0
    once = np.zeros(len(kept), dtype=bool)
    once[first_of_events(journeys)] = True
    absent = np.setdiff1d(np.arange(len(labels)), channel)
    levels = [Coded(np.append(channel[kept], absent).astype(np.int32), labels)]
    for column in attributes:
        below = Coded(np.zeros(len(absent), dtype=np.int32), (UNKNOWN,))
        levels.append(Coded.concat([column.take(kept), below]))
    first, leaf = group([column.codes for column in levels])
    leaf, n = leaf[: kept.sum()], len(first)
    sums = sum_by(leaf, credit[kept], n)
    columns = [column.take(first) for column in levels]
    require_rows(
        sums < -NOISE * np.abs(sums).sum(),
        "negative credit in the breakdown",
        "leave refunds out, or use a model without negative credit.",
        joined(columns).to_numpy(),
    )
    return _Leaves(columns, sum_by(leaf, (paid * once)[kept], n), np.maximum(sums, 0.0))


def _named(column: Coded) -> Coded:
    """Return a column of touches with text for labels, "(none)" where it is missing."""
    codes = np.append(np.arange(len(column.labels)), -1)
    names = joined([Coded(codes, column.labels)])
    return Coded(names.codes[column.codes], names.labels)


def _size(journeys: Journeys, of: Outcome) -> float:
    """Return by what credit is divided so that it varies as a count does."""
    outcome = outcome_of(journeys, of)
    if of == "conversions" or not outcome.sum() > 0:
        return 1.0
    return float((outcome**2).sum() / outcome.sum())


def _channels(plan: Plan, leaves: _Leaves, unit: float, size: float) -> _Nodes:
    """Return the highest level, as the plan has it."""
    order = np.argsort(np.array(plan.lines, dtype=object), kind="stable")
    _, of_leaf = leaves.nodes(1)
    n = len(order)
    cost, credit = sum_by(of_leaf, leaves.cost, n), sum_by(of_leaf, leaves.credit, n)
    rate = np.divide(credit, size * cost, out=np.full(n, np.nan), where=cost > 0)
    money = plan.rounded(unit)
    outcome, _ = figures(plan.problem, money, plan.objective)
    least = np.floor(money / unit + NEAR)  # below what is spent where a fixed line is no whole unit
    total = math.floor(money.sum() / unit + NEAR)
    counts = largest_remainders(money / unit, least, np.ceil(money / unit - NEAR), total)
    return _Nodes(of_leaf, credit, rate, in_money(counts, unit)[order], outcome[order])


def _children(parents: _Nodes, leaves: _Leaves, depth: int, unit: float, size: float) -> _Nodes:
    """Return the next level down."""
    first, of_leaf = leaves.nodes(depth)
    n = len(first)
    cost, credit = sum_by(of_leaf, leaves.cost, n), sum_by(of_leaf, leaves.credit, n)
    rate, spend, outcome = np.full(n, np.nan), np.zeros(n), np.zeros(n)
    cuts = np.searchsorted(parents.of_leaf[first], np.arange(len(parents.spend) + 1))
    for p in range(len(parents.spend)):
        own = slice(cuts[p], cuts[p + 1])
        y, c = credit[own], cost[own]
        priced_share = y[c > 0].sum() / parents.credit[p] if parents.credit[p] > 0 else 1.0
        rate[own] = shrunk_rates(y / size, c, parents.rate[p] * priced_share)
        share = _shares(y, c, rate[own])
        spend[own] = whole_units(share, unit, total=float(parents.spend[p]))
        outcome[own] = parents.outcome[p] * _in_proportion(share * rate[own], share)
    return _Nodes(of_leaf, credit, rate, spend, outcome)


def _shares(credit: FloatArray, cost: FloatArray, rate: FloatArray) -> FloatArray:
    """Return the share of their parent's money that children get, shape (n,)."""
    if (cost > 0).any():
        return _in_proportion(cost * rate, cost)
    return _in_proportion(credit, np.ones(len(credit)))


def _in_proportion(weight: FloatArray, otherwise: FloatArray) -> FloatArray:
    """Return weights (NaN is 0) as shares of their sum; the others where all are 0."""
    weight = np.nan_to_num(weight)
    weight = weight if weight.sum() > 0 else otherwise
    return np.asarray(weight / weight.sum())


def _frame(leaves: _Leaves, nodes: _Nodes, names: list[str], size: float) -> pd.DataFrame:
    import pandas as pd

    index = pd.MultiIndex.from_arrays(
        [pd.array(column.to_numpy(), dtype="str") for column in leaves.columns], names=names
    )
    cost, credit = leaves.cost, leaves.credit
    columns = {
        "cost": cost,
        "credit": credit,
        "rate": np.divide(credit, cost, out=np.full(len(cost), np.nan), where=cost > 0),
        "shrunk_rate": nodes.rate * size,
        "spend": nodes.spend,
        "outcome": nodes.outcome,
    }
    return pd.DataFrame(columns, index=index)
