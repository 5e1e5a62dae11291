"""`python -m attribution budget`: what is spent today against what is proposed, per channel."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from attribution.budget import (
    CreditOverTime,
    CurveFit,
    Plan,
    Spend,
    allocate,
    allocate_by_credit,
    attribute_by,
    descriptive_curves,
    incremental_curves,
    robustness,
)
from attribution.budget.calendar import NAMES, timestamps
from attribution.budget.over_time import By
from attribution.commands import spending
from attribution.commands.files import opened, sample
from attribution.commands.options import EVENTS, add_event_options, chosen_among
from attribution.commands.proposal import Proposal
from attribution.compare import choose
from attribution.errors import InputError, warn
from attribution.models.base import Outcome
from attribution.scratch import written_whole

DESCRIPTION = (
    "Propose how to spend a budget. Without EVENTS, on the sample data and its spend. Spend is per "
    "channel and period; with --curves none it may be per channel only."
)
MODEL = "linear"
SHOWN = 5


def describe(command: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    command.add_argument(
        "file", nargs="?", metavar="EVENTS", help="event log: CSV, Parquet or JSON lines; or a glob"
    )
    command.add_argument("--value", metavar="COLUMN", help="value of the conversions in EVENTS")
    spending.describe(command)
    curves = command.add_argument_group("curves and output")
    curves.add_argument(
        "--curves",
        choices=("incremental", "descriptive", "none"),
        default="incremental",
        help="from all conversions on all spend; from each channel's credit on its own spend; or "
        "none: money in proportion to credit",
    )
    curves.add_argument(
        "--family",
        choices=("exponential", "hill", "power"),
        help="of the curves (default: exponential for incremental, power for descriptive)",
    )
    curves.add_argument(
        "--of", choices=("conversions", "value"), default="conversions", help="what"
    )
    curves.add_argument(
        "--model", metavar="NAME", help=f"of credit, for descriptive and none (default {MODEL})"
    )
    curves.add_argument(
        "--output",
        metavar="FILE",
        default="budget.csv",
        help="where the plan is saved: .csv or .csv.gz",
    )
    add_event_options(command)


def run(options: argparse.Namespace) -> str:
    """Plan, save the plan, and return what to print."""
    given = vars(options)
    spending.require_sound(given)
    spend = spending.read_spend(given)
    n_periods = given.get("periods", len(spend.amounts))
    limits = spending.limits_of(given, spend, n_periods)
    source: Any = nullcontext(sample())
    if "file" in given:
        source = opened(given["file"], chosen_among(EVENTS, given))
    with source as journeys:
        fit, credit = _fitted(journeys, spend, given)
    budget = given.get("total", sum(spend.today.values()) * n_periods) / n_periods
    with _per_period(spend, n_periods):
        plan = _planned(fit, credit, budget, given["of"], limits)
    proposal = Proposal(
        plan=plan,
        spend=spend,
        curves=given["curves"],
        of=given["of"],
        n_periods=n_periods,
        credit=credit,
        fit=fit,
        sure=None if fit is None else robustness(plan, fit),
    )
    _save(proposal, given["output"])
    return f"{proposal.text()}\n\nsaved to {given['output']}"


def _fitted(
    journeys: Any, spend: Spend, given: Mapping[str, Any]
) -> tuple[CurveFit | None, dict[str, float]]:
    """Return the curves, if there are to be any, and the credit of channels."""
    of, model = given["of"], given.get("model", MODEL)
    how = {"of": of, **{name: given[name] for name in ("family",) if name in given}}

    def by_period(model: str, by: By) -> CreditOverTime:
        assert spend.period is not None
        return attribute_by(journeys, model, by=by, period=spend.period, tz=spend.tz)

    if given["curves"] == "none":
        (chosen,) = choose([model], None).values()
        credit = chosen.attribute(journeys).to_frame()[of].to_dict()
        _require_match(spend, credit)
        if spend.period is not None:
            _require_same_time(spend, by_period("last_click", "conversion"))
        return None, credit
    if given["curves"] == "descriptive":
        found = by_period(model, "touch")
        credit = _sums(found, of)
        _require_match(spend, credit)
        return descriptive_curves(found, spend, **how), credit
    found = by_period("last_click", "conversion")  # whose totals count, whatever the model
    credit = _sums(found, of)
    _warn_of([line for line in spend.lines if line not in credit], credit)
    return incremental_curves(found, spend, **how), credit


def _sums(found: CreditOverTime, of: Outcome) -> dict[str, float]:
    return dict(zip(found.channels, found.credit(of).sum(axis=0).tolist(), strict=True))


def _require_match(spend: Spend, credit: Mapping[str, float]) -> None:
    """Warn of lines of the spend without credit, or raise `InputError` if none has any."""
    idle = [line for line in spend.lines if not credit.get(line, 0.0) > 0]
    if len(idle) == len(spend.lines):
        shown = ", ".join(map(repr, [*credit][:SHOWN])) or "none"
        near = spending.near(idle[0], credit)
        raise InputError(
            f"No channel with spend, such as {idle[0]!r}, has credit.{near} "
            f"Hint: use the names of the log, such as {shown}."
        )
    _warn_of(idle, credit)


def _warn_of(idle: Sequence[str], credit: Mapping[str, float]) -> None:
    for line in idle[:SHOWN]:
        warn(f"spend without credit: {line!r}.{spending.near(line, credit)}")
    if len(idle) > SHOWN:
        warn(f"spend without credit: {len(idle) - SHOWN:,} more channels.")


def _require_same_time(spend: Spend, log: CreditOverTime) -> None:
    """Raise `InputError` if spend and log have no period in common."""
    assert spend.starts is not None
    if np.isin(spend.starts, log.starts).any():
        return
    first, last, start, end = (
        f"{timestamps(each.starts, spend.tz)[place]:%Y-%m-%d}"  # type: ignore[arg-type]
        for each in (spend, log)
        for place in (0, -1)
    )
    raise InputError(
        f"The spend is of {NAMES[log.period]}s from {first} to {last}, the log of those from "
        f"{start} to {end}: none in common. Hint: give both for the same time."
    )


def _planned(
    fit: CurveFit | None,
    credit: Mapping[str, float],
    budget: float,
    of: Outcome,
    limits: Mapping[str, Any],
) -> Plan:
    if fit is not None:
        return allocate(fit, budget, objective=of, **limits)
    matched = {line: credit.get(line, 0.0) for line in limits["today"]}
    return allocate_by_credit(matched, budget, **limits)


@contextmanager
def _per_period(spend: Spend, n_periods: int) -> Iterator[None]:
    """Say in errors and warnings of a plan that their money is not what was typed."""
    unit = "period" if spend.period is None else NAMES[spend.period]
    prefix = f"(money per {unit}, 1/{n_periods} of the totals) " if n_periods > 1 else ""
    try:
        with warnings.catch_warnings(record=True) as said:
            yield
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
    for each in said:
        text = f"{prefix}{each.message}"
        warnings.warn_explicit(text, each.category, each.filename, each.lineno)


def _save(proposal: Proposal, output: str) -> None:
    zipped = {"method": "gzip", "mtime": 0} if output.lower().endswith(".gz") else None
    try:
        with written_whole(output) as file:
            proposal.to_frame().to_csv(file, compression=zipped)
    except PermissionError as error:
        raise InputError(f"--output {output!r} cannot be written: {error.strerror}.") from error
