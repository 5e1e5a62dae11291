"""`python -m attribution budget`: what is spent today against what is proposed, per channel."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from attribution import datasets
from attribution.budget import (
    Plan,
    Robustness,
    Spend,
    allocate,
    allocate_by_credit,
    attribute_by,
    descriptive_curves,
    incremental_curves,
    robustness,
)
from attribution.budget.cents import whole_units
from attribution.commands.files import opened, read_table, sample
from attribution.commands.options import EVENTS, add_event_options, chosen_among, refuse
from attribution.compare import choose
from attribution.errors import InputError
from attribution.scratch import written_whole

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = (
    "Propose how to spend a budget. Without EVENTS, on the sample data and its spend. Spend is per "
    "channel and period; with --curves none it may be per channel only."
)
PERIODS = ("period", "week", "month", "date", "day")
CENT = 0.01


def describe(command: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    command.add_argument(
        "file", nargs="?", metavar="EVENTS", help="event log: CSV, Parquet or JSON lines; or a glob"
    )
    command.add_argument("--value", metavar="COLUMN", help="value of the conversions in EVENTS")
    money = command.add_argument_group("money")
    money.add_argument("--spend", metavar="FILE", help="spend per channel and period")
    money.add_argument(
        "--spend-column", metavar="COLUMN", help="amount of money in it (default spend)"
    )
    money.add_argument("--spend-channel", metavar="COLUMN", help="channel in it (default channel)")
    money.add_argument(
        "--spend-period",
        metavar="COLUMN",
        help=f"start of the period in it (default: {', '.join(PERIODS)}, the first there is)",
    )
    money.add_argument(
        "--total",
        type=float,
        metavar="MONEY",
        help="budget of all periods together (default: what was spent)",
    )
    money.add_argument(
        "--periods", type=int, metavar="N", help="periods to plan for (default: those of the spend)"
    )
    money.add_argument(
        "--max-change",
        type=float,
        metavar="X",
        help="largest change of a channel against today, such as 0.3",
    )
    money.add_argument(
        "--bounds", metavar="LIMITS", help="least and most per channel: tv=1000:5000,email=:200"
    )
    money.add_argument(
        "--step", type=float, metavar="MONEY", help="spend whole steps per channel and period"
    )
    curves = command.add_argument_group("curves and output")
    curves.add_argument(
        "--curves",
        choices=("incremental", "descriptive", "none"),
        default="incremental",
        help="from all conversions on all spend; from each channel's credit on its own spend; or "
        "none: money in proportion to credit",
    )
    curves.add_argument("--family", choices=("exponential", "hill", "power"), help="of the curves")
    curves.add_argument(
        "--of", choices=("conversions", "value"), default="conversions", help="what"
    )
    curves.add_argument(
        "--model", metavar="NAME", default="linear", help="of credit, for descriptive and none"
    )
    curves.add_argument(
        "--output", metavar="FILE", default="budget.csv", help="where the plan is saved"
    )
    add_event_options(command)


def run(options: argparse.Namespace) -> str:
    """Plan, save the plan, and return what to print."""
    given = vars(options)
    spend = _spend(given)
    if "file" in given:
        source: Any = opened(given["file"], chosen_among(EVENTS, given))
    else:
        refuse(EVENTS | {"spend"}, given, "needs EVENTS.")
        source = nullcontext(sample())
    n_periods = given.get("periods", len(spend.amounts))
    if n_periods < 1:
        raise InputError(f"--periods {n_periods} is not a whole number of at least 1.")
    total = given.get("total", spend.total / len(spend.amounts) * n_periods)
    limits = _limits(given, n_periods)
    with source as journeys:
        plan, sureness = _plan(journeys, spend, total / n_periods, given, limits)
    frame = _of_all_periods(plan, n_periods)
    with written_whole(given["output"]) as file:
        frame.assign(curves=given["curves"]).to_csv(file)
    return _text(plan, frame, sureness, n_periods, given)


def _spend(given: Mapping[str, Any]) -> Spend:
    """Read the spend, or that of the sample."""
    if "file" not in given:
        return Spend.from_frame(datasets.load_spend(), period="week")
    if "spend" not in given:
        raise InputError(
            "What was spent? Hint: --spend FILE, a table of channel, period and spend."
        )
    channel = given.get("spend_channel", "channel")
    table = read_table(given["spend"], text=[channel])
    found = [name for name in PERIODS if name in table.column_names]
    period = given.get("spend_period", found[0] if found else None)
    if period is None and given["curves"] != "none":
        raise InputError(
            f"{given['spend']!r} has none of the columns {', '.join(PERIODS)}: curves need spend "
            "per period. Hint: name the column with --spend-period, or --curves none."
        )
    return Spend.from_frame(
        table, channel=channel, spend=given.get("spend_column", "spend"), period=period
    )


def _limits(given: Mapping[str, Any], n_periods: int) -> dict[str, Any]:
    """Return the options of `allocate`, per period."""
    limits: dict[str, Any] = {}
    if "max_change" in given:
        limits["max_change"] = given["max_change"]
    if "step" in given:
        limits["step"] = given["step"] / n_periods
    if "bounds" in given:
        limits["bounds"] = dict(_bounds(given["bounds"], n_periods))
    return limits


def _bounds(text: str, n_periods: int) -> Iterable[tuple[str, tuple[float | None, float | None]]]:
    for part in text.split(","):
        line, _, ends = part.rpartition("=")
        low, colon, high = ends.partition(":")
        try:
            numbers = [float(end) / n_periods if end.strip() else None for end in (low, high)]
        except ValueError:
            colon = ""
        if not line or not colon:
            raise InputError(f"--bounds {part!r} is no limit. Hint: tv=1000:5000 or tv=:5000.")
        yield line.strip(), (numbers[0], numbers[1])


def _plan(
    journeys: Any, spend: Spend, budget: float, given: Mapping[str, Any], limits: dict[str, Any]
) -> tuple[Plan, str]:
    """Return the plan per period, and what is known of how sure it is."""
    of, model = given["of"], given["model"]
    limits["today"] = dict(spend.today)
    if given["curves"] == "none":
        (chosen,) = choose([model], None).values()
        result = chosen.attribute(journeys)
        credit = result.to_frame()[of].reindex(spend.lines, fill_value=0.0)
        return allocate_by_credit(credit.to_dict(), budget, **limits), ""
    how: dict[str, Any] = {"of": of}
    if "family" in given:
        how["family"] = given["family"]
    assert spend.period is not None
    by_period = partial(attribute_by, journeys, period=spend.period, tz=spend.tz)
    if given["curves"] == "descriptive":
        fit = descriptive_curves(by_period(model, by="touch"), spend, **how)
    else:
        fit = incremental_curves(by_period("last_click", by="conversion"), spend, **how)
    plan = allocate(fit, budget, objective=of, **limits)
    return plan, _sureness(robustness(plan, fit))


def _sureness(found: Robustness) -> str:
    """Say in a sentence whether the plan is likely to be better than today."""
    rows = found.summary().to_dict("index")
    gain, alike = rows["gain"], rows["robust_share"]["mean"]
    text = (
        f"gain of the plan over today: {gain['mean']:,.1f} per period, 90 % interval "
        f"{gain['low']:,.1f} to {gain['high']:,.1f}; {alike:.0%} of the money would be spent alike "
        "under other estimates of the same curves"
    )
    if gain["low"] > 0:
        return text
    return (
        f"{text}. It may be no better than today: these data do not tell the channels apart well "
        "enough. Hint: vary spend on purpose, test channels, move in small steps (--max-change)."
    )


def _of_all_periods(plan: Plan, n_periods: int) -> pd.DataFrame:
    """Return the plan's table in money and outcome of all periods, in cents that add up."""
    frame = plan.to_frame()
    for name in ("today", "spend", "outcome_today", "outcome"):
        frame[name] *= n_periods
    for name in ("today", "spend"):
        frame[name] = whole_units(frame[name].to_numpy(), CENT)
    frame["change"] = (frame["spend"] - frame["today"]).round(2) + 0.0  # no -0.00
    return frame


def _text(
    plan: Plan, frame: pd.DataFrame, sureness: str, n_periods: int, given: Mapping[str, Any]
) -> str:
    """Return a readable table with its total, and what it stands on."""
    shown = frame.copy()
    if "beyond_data" in shown:
        shown["beyond_data"] = shown["beyond_data"].map({True: "yes", False: ""})
    amounts = ["today", "spend", "change", "outcome_today", "outcome"]
    shown.loc["total", amounts] = frame[amounts].sum().round(2) + 0.0
    shown["held_by"] = shown["held_by"].fillna("")
    lines = [
        f"{plan.objective} of {plan.budget * n_periods:,.2f} over {n_periods} periods, "
        f"{plan.budget:,.2f} each; {plan.unspent * n_periods:,.2f} unspent",
        "",
        shown.to_string(float_format="{:,.2f}".format, na_rep=""),
        "",
        plan.basis,
    ]
    if sureness:
        lines += ["", sureness]
    return "\n".join([*lines, "", f"saved to {given['output']}"])
