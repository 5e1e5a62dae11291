"""What to spend where: the best split of a budget by response curves, or one by credit.

With f_i the response of line i and x_i its spend per period, `allocate` makes sum f_i(x_i) (or the
profit, sum m_i f_i(x_i) - x_i) as large as it can be within the budget and all limits. The curves
are concave, so this is not a search among many good plans: there is one best value, and equal
marginal returns tell it. `equal_returns` has the theory, `limits` and `reader` what may be asked,
`problem` returns on spend, `whole_steps` money in steps, and `remarks` what a plan is warned of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from attribution.arrays import FloatArray
from attribution.budget.curves import Curve
from attribution.budget.equal_returns import Families, require_plain
from attribution.budget.heuristic import CreditCurve, read_credit
from attribution.budget.plan import Plan, figures
from attribution.budget.problem import Objective, Problem, ceilings_of
from attribution.budget.reader import Bounds, Groups, Reader
from attribution.budget.remarks import warn_of_rest, warn_of_scale, warn_of_turns, warn_of_unpaid
from attribution.errors import InputError
from attribution.models.base import Outcome
from attribution.results import Attribution

BY_CREDIT = (
    "A heuristic, not an optimum: money goes in proportion to credit. Nothing is known on what "
    "more money would bring."
)


def allocate(
    curves: Mapping[str, Curve] | Curve,
    budget: float,
    *,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    groups: Groups | None = None,
    max_change: float | Mapping[str, float] | None = None,
    today: Mapping[str, float] | None = None,
    min_roas: float | Mapping[str, float] | None = None,
    objective: Objective = "conversions",
    margin: float | Mapping[str, float] | None = None,
    step: float | None = None,
) -> Plan:
    """Split a budget so that it brings the most.

    The plan is as good as its curves: see what kind they are in `basis`. All of the budget is
    spent, unless ceilings, a least return or profit hold it back; see `unspent`.

    Parameters
    ----------
    curves
        Response of each line, of plain numbers and all of one outcome; or a `CurveFit`; or one
        curve with parameters of shape (n,), whose lines are named "0" to "n - 1".
    budget
        Money per period, in all, fixed lines included.
    bounds
        (floor, ceiling) of lines, money per period; None for none.
    fixed
        Spend of lines that are not to be decided on.
    groups
        (lines, floor, ceiling) by the name of the group. Groups are nested or disjoint.
    max_change
        Share of today's spend by which every line may go up or down, 0.3 for 30 %; or by line. A
        single number leaves fixed lines alone, and a line without spend today at 0.
    today
        Spend per period as it is, of every line. Where None that of a `CurveFit`, which is the
        mean over all of its periods: give today's where spend has changed since.
    min_roas
        The least value per unit of money, of the whole plan; or by line, of that line. Of value
        curves only.
    objective
        What is to be as large as possible: the outcome of the curves, or profit: margin times
        outcome, less spend.
    margin
        For profit, one number or by line: the share of value that is profit, with curves of
        value; the money that one conversion earns, with curves of conversions.
    step
        Every line that is not fixed spends a multiple of it, limits rounded inwards.

    Returns
    -------
    Plan
        A best one. Where several are, ties are shared in proportion, or given in the order of
        lines with `step`.

    Warns
    -----
    AttributionWarning
        If a part of the budget is left because ceilings or min_roas hold it or because no line
        brings more (for profit, only if ceilings or min_roas hold money that would pay); if a
        line ends inside the straight part of a `HillEnvelope`; if the budget is more than three
        times the largest observed spends of a period, as a yearly total against weekly curves.

    Raises
    ------
    InputError
        If an option does not fit, or limits conflict; every conflict is named, by its numbers.

    Examples
    --------
    >>> from attribution.budget.curves import HillCurve, PowerCurve
    >>> curves = {"search": HillCurve(800.0, 2000.0, 1.0), "social": PowerCurve(4.0, 0.5)}
    >>> plan = allocate(curves, 10_000, bounds={"social": (None, 2500)})
    >>> plan.to_frame().round(3)
            spend  outcome  marginal  held_by
    line
    search  7500.0  631.579     0.018
    social  2500.0  200.000     0.040  ceiling
    >>> round(plan.shadow_price, 3)
    0.018
    """
    lines, families, of = _read_curves(curves)
    _require_objective(objective, of, margin, min_roas)
    reader = Reader(lines, budget, step)
    known = getattr(curves, "today", None) if today is None else today
    spent = reader.read_today(known)
    _read(reader, bounds, fixed, max_change, spent)
    roas, by_line = _returns(reader, min_roas)
    ceilings = None
    if by_line is not None and not np.isnan(reader.budget):
        found = ceilings_of(families, by_line, reader.budget)
        ceilings = reader.read_ceilings(found, np.flatnonzero(~np.isnan(by_line)), by_line)
    weight = _weight(reader, margin, of) if objective == "profit" else np.ones(families.n)
    limits = reader.finish(groups, ceilings)
    if roas is not None and step is not None and len(np.unique(weight)) > 1:
        raise InputError(
            "min_roas of the whole plan, margins by line and step do not go together. "
            "Hint: give one margin, or round a plan without step: to_frame(unit=...)."
        )
    cost = 1.0 if objective == "profit" else 0.0
    problem = Problem(limits, families, objective, weight, cost, roas, by_line)
    plan = _plan(problem, reader.budget, of, spent, _source(curves, families, lines))
    for remark in (warn_of_scale, warn_of_rest, warn_of_turns):
        remark(plan)
    return plan


def allocate_by_credit(
    credit: Attribution | Mapping[str, float],
    budget: float,
    *,
    of: Outcome = "conversions",
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    groups: Groups | None = None,
    max_change: float | Mapping[str, float] | None = None,
    today: Mapping[str, float] | None = None,
    step: float | None = None,
) -> Plan:
    """Split a budget in proportion to credit, for when there is too little data for curves.

    A heuristic: within limits, what is free stays in proportion to credit. Credit does not say
    what more money would bring, so the plan has no outcome; a line without credit gets its floor.
    Credit does not say either what can be bought: leave out lines such as direct visits.

    Parameters
    ----------
    credit
        An attribution, or credit by line; 0 or more.
    budget
        Money per period, in all, fixed lines included.
    of
        Which credit of an attribution.
    bounds, fixed, groups, max_change, today, step
        As in `allocate`.

    Returns
    -------
    Plan
        Its outcome and marginal are NaN.

    Warns
    -----
    AttributionWarning
        If ceilings leave a part of the budget unspent, or a line with credit and no spend today
        gets money.

    Raises
    ------
    InputError
        If credit is negative, NaN, or 0 for all, or limits conflict.

    Examples
    --------
    >>> plan = allocate_by_credit({"mail": 10, "search": 60, "tv": 30}, 1000, fixed={"tv": 500})
    >>> plan.spend.round(2).tolist()
    [71.43, 428.57, 500.0]
    """
    lines, amounts = read_credit(credit, of)
    families = Families.of(CreditCurve(amounts, of=of))
    reader = Reader(lines, budget, step)
    spent = reader.read_today(today)
    _read(reader, bounds, fixed, max_change, spent)
    limits = reader.finish(groups)
    problem = Problem(limits, families, "credit", np.ones(families.n), 0.0, None, None)
    source = {"kind": "in proportion to credit", "basis": BY_CREDIT}
    plan = _plan(problem, reader.budget, of, spent, source | {"period": None, "observed": None})
    warn_of_unpaid(plan, amounts)
    warn_of_rest(plan)
    return plan


def _read_curves(curves: Any) -> tuple[tuple[str, ...], Families, Outcome]:
    if isinstance(curves, Curve) and all(np.size(getattr(curves, p)) for p in curves.parameters):
        whole = Families.of(curves)
        return tuple(map(str, range(whole.n))), whole, curves.of
    if not isinstance(curves, Mapping) or not len(curves):
        empty = isinstance(curves, Mapping | Curve)
        what = "no curve" if empty else f"a {type(curves).__name__}"
        raise InputError(f"curves has {what}. Hint: {{line: curve}}, or one stacked curve.")
    for line, curve in curves.items():
        if not isinstance(curve, Curve):
            raise InputError(f"The curve of {line!r} is a {type(curve).__name__}. Hint: a Curve.")
        require_plain(line, curve)
    first, listed = next(iter(curves)), list(curves.values())
    for line, curve in curves.items():
        if curve.of != listed[0].of:
            raise InputError(
                f"The curve of {first!r} is of {listed[0].of}, that of {line!r} of {curve.of}. "
                "Hint: curve.valued(value_per_conversion)."
            )
    return tuple(curves), Families.of(listed), listed[0].of


def _require_objective(objective: Any, of: Outcome, margin: Any, min_roas: Any) -> None:
    if objective not in get_args(Objective):
        raise InputError(f"objective={objective!r} is not one of {get_args(Objective)}.")
    if objective != "profit" and objective != of:
        raise InputError(
            f"objective={objective!r}, but the curves are of {of}. Hint: objective={of!r}"
            f"{', or curve.valued(value_per_conversion)' if of == 'conversions' else ''}."
        )
    if (margin is None) == (objective == "profit"):
        what = "needs a margin" if margin is None else "takes no margin"
        raise InputError(f"objective={objective!r} {what}. Hint: a margin is for profit.")
    if min_roas is not None and of != "value":
        raise InputError(
            "min_roas needs curves of value; these are of conversions. "
            "Hint: curve.valued(value_per_conversion)."
        )


def _read(
    reader: Reader, bounds: Any, fixed: Any, max_change: Any, today: FloatArray | None
) -> None:
    reader.read_bounds(bounds)
    reader.read_fixed(fixed)
    reader.read_change(max_change, today)


def _returns(reader: Reader, min_roas: Any) -> tuple[float | None, FloatArray | None]:
    """Return the return asked of the whole plan, and those of lines, shape (n,)."""
    hint = "value per unit of money, 0 or more"
    if min_roas is None:
        return None, None
    if not isinstance(min_roas, Mapping):
        return reader.number(min_roas, "min_roas", hint), None
    returns = np.full(len(reader.lines), np.nan)
    for line, at in reader.known(min_roas, "min_roas"):
        asked = reader.number(min_roas[line], f"min_roas of {line!r}", hint)
        returns[at] = np.nan if asked is None else asked
    return None, returns


def _weight(reader: Reader, margin: Any, of: Outcome) -> FloatArray:
    """Return the margin of each line, shape (n,)."""
    by_line = isinstance(margin, Mapping)
    if by_line:
        list(reader.known(margin, "margin"))
        lacking = [line for line in reader.lines if line not in margin]
        if lacking:
            reader.wrong.append(f"margin lacks {lacking[0]!r}. Hint: give it for every line.")
            margin = {**dict.fromkeys(lacking, 0.0), **margin}
    weight = np.zeros(len(reader.lines))
    for at, line in enumerate(reader.lines if by_line else ["all lines"]):
        what = f"margin of {line!r}" if by_line else "margin"
        number = reader.number(margin[line] if by_line else margin, what, "0 or more") or 0.0
        if of == "value" and number > 1:
            reader.wrong.append(f"{what}={number:g} is above 1. Hint: 0.3 for 30 % of value.")
        weight[at if by_line else slice(None)] = number
    return weight


def _source(curves: Any, families: Families, lines: tuple[str, ...]) -> dict[str, Any]:
    """Return what is known of curves, where they are a fit."""
    names = ", ".join(sorted({type(part.curve).__name__ for part in families.parts}))
    unknown = f"Curves as given ({names}); what they stand on is not known."
    seen = getattr(curves, "observed", None)
    return {
        "kind": getattr(curves, "kind", "as given"),
        "basis": getattr(curves, "statement", unknown),
        "period": getattr(curves, "period", None),
        "observed": None if seen is None else np.array([seen[x] for x in lines], dtype=float),
    }


def _plan(
    problem: Problem,
    budget: float,
    of: Outcome,
    today: FloatArray | None,
    source: dict[str, Any],
) -> Plan:
    solved = problem.solve(budget)
    if not solved.reaches:
        value = float(problem.curves.value(solved.spend).sum())
        raise InputError(
            f"No plan within the limits returns min_roas={problem.roas:g}: the nearest spends "
            f"{solved.spend.sum():,.10g} and returns {value / solved.spend.sum():.4g} per unit of "
            "money. Hint: lower min_roas, or the floors."
        )
    outcome, marginal = figures(problem, solved.spend, problem.wanted)
    return Plan(
        lines=problem.limits.lines,
        spend=solved.spend,
        outcome=outcome,
        marginal=marginal,
        today=today,
        outcome_today=None if today is None else figures(problem, today, problem.wanted)[0],
        budget=budget,
        objective=problem.wanted,
        of=of,
        shadow_price=np.nan if problem.wanted == "credit" else solved.price,
        group_prices={} if problem.wanted == "credit" else solved.group_prices,
        held=solved.held,
        problem=problem,
        **source,
    )
