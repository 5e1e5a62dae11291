"""What the command line is told of money: options, the table of spend, and limits of a plan.

On the command line money is of all periods together; `allocate` counts per period.
"""

from __future__ import annotations

import argparse
import glob
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attribution import datasets
from attribution.budget import Spend
from attribution.commands.files import read_table
from attribution.commands.options import EVENTS, listed, refuse
from attribution.errors import InputError, nearest, warn

if TYPE_CHECKING:
    import pyarrow as pa

PERIODS = ("period", "week", "month", "date", "day")
INPUTS = ("spend", "file", "conversion_events")
ENDINGS = (".csv", ".csv.gz")
OF_SPEND = {"spend", "spend_channel", "spend_column", "spend_period", "tz"}


def describe(command: argparse.ArgumentParser) -> None:
    """Describe the options of money."""
    money = command.add_argument_group("money (amounts are of all periods together)")
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
    money.add_argument("--tz", metavar="ZONE", help="time zone of the periods (default UTC)")
    money.add_argument(
        "--total", type=float, metavar="MONEY", help="budget (default: what is spent today)"
    )
    money.add_argument(
        "--periods",
        type=int,
        metavar="N",
        help="periods to plan for (default: those of the spend). Today is the mean spend per "
        "period, over all periods of the spend, times this number",
    )
    money.add_argument(
        "--max-change",
        type=float,
        metavar="X",
        help="largest change of a channel against today, such as 0.3",
    )
    money.add_argument(
        "--bounds",
        metavar="LIMITS",
        help="least and most per channel over all periods: tv=1000:5000,email=:200",
    )
    money.add_argument(
        "--step",
        type=float,
        metavar="MONEY",
        help="each channel spends a multiple of it over all periods",
    )


def require_sound(given: Mapping[str, Any]) -> None:
    """Raise `InputError` for options that do not fit, before any file is read."""
    if "file" not in given:
        refuse(EVENTS | OF_SPEND, given, "needs EVENTS.")
    elif "spend" not in given:
        raise InputError(
            "What was spent? Hint: --spend FILE, a table of channel, period and spend."
        )
    elif given["of"] == "value" and "value" not in given:
        raise InputError("--of value needs --value COLUMN, the value of the conversions.")
    if given["curves"] == "incremental":
        refuse(["model"], given, "goes with --curves descriptive or none.")
    if given["curves"] == "none":
        refuse(["family"], given, "goes with --curves incremental or descriptive.")
    if given.get("periods", 1) < 1:
        raise InputError(f"--periods {given['periods']} is not a whole number of at least 1.")
    for name, least in (("total", "above 0"), ("step", "above 0"), ("max_change", "0 or more")):
        number = given.get(name, 1.0)
        if not (0 < number < math.inf or (number == 0 and least == "0 or more")):
            raise InputError(f"--{name.replace('_', '-')} {number:g} is not {least} and finite.")
    _require_output(given["output"], [given.get(name) for name in INPUTS])


def _require_output(output: str, inputs: list[str | None]) -> None:
    """Raise `InputError` unless a plan can be saved there without harm."""
    what = f"--output {output!r}"
    if not output:
        raise InputError("--output has no name. Hint: --output budget.csv.")
    if os.path.isdir(output):
        raise InputError(f"{what} is a folder. Hint: name a file in it.")
    if not output.lower().endswith(ENDINGS):
        raise InputError(f"{what} does not end in {' or '.join(ENDINGS)}. Hint: budget.csv.")
    folder = os.path.dirname(output)
    if folder and not os.path.isdir(folder):
        raise InputError(f"{what}: there is no folder {folder!r}. Hint: make it first.")
    read = [name for each in inputs if each for name in (each, *glob.glob(each, recursive=True))]
    if os.path.realpath(output) in map(os.path.realpath, read):
        raise InputError(f"{what} is a file that is read here. Hint: another name.")


def read_spend(given: Mapping[str, Any]) -> Spend:
    """Read the spend, or that of the sample; by period where it is needed, or there.

    Raises
    ------
    InputError
        If it does not fit, or an option is of periods that it has not.
    """
    if "file" not in given:
        return Spend.from_frame(datasets.load_spend(), period="week")
    channel = given.get("spend_channel", "channel")
    table = read_table(given["spend"], text=[channel, "currency"])
    columns: dict[str, Any] = {"channel": channel}
    columns["spend"] = given.get("spend_column", "spend")
    if "currency" in table.column_names:
        columns["currency"] = "currency"
    known = (name for name in PERIODS if name in table.column_names)
    period = given.get("spend_period") or next(known, None)
    if period is None:
        spend = Spend.from_frame(table, **columns)
        if given["curves"] != "none":
            raise InputError(
                f"{given['spend']!r} has none of the columns {', '.join(PERIODS)}: curves need "
                "spend per period. Hint: name the column with --spend-period, or --curves none."
            )
        refuse(["tz"], given, "needs spend by period.")
    else:
        spend = _by_period(table, columns, period, given)
    if spend.period is None:
        refuse(["periods"], given, "needs spend by period.")
    return spend


def _by_period(
    table: pa.Table, columns: dict[str, Any], period: str, given: Mapping[str, Any]
) -> Spend:
    """Read spend by period; as a whole where periods do not work and nobody needs them."""
    try:
        return Spend.from_frame(table, **columns, period=period, tz=given.get("tz", "UTC"))
    except InputError as error:
        if given["curves"] != "none" or period not in table.column_names:
            raise
        single = len(table[period].unique()) == 1
        if "spend_period" in given and not single:
            raise
        whole = Spend.from_frame(table, **columns)
        if not single:
            warn(f"The spend is taken as a whole, without its periods: {error}")
        return whole


def limits_of(given: Mapping[str, Any], spend: Spend, n_periods: int) -> dict[str, Any]:
    """Return the options of `allocate`, per period."""
    limits: dict[str, Any] = {"today": dict(spend.today)}
    if "max_change" in given:
        limits["max_change"] = given["max_change"]
    if "step" in given:
        limits["step"] = given["step"] / n_periods
    if "bounds" in given:
        limits["bounds"] = {}
        for line, low, high in _bounds(given["bounds"]):
            if line not in spend.lines:
                raise InputError(
                    f"--bounds names {line!r}, which has no spend.{near(line, spend.lines)}"
                )
            if line in limits["bounds"]:
                raise InputError(f"--bounds names {line!r} twice.")
            limits["bounds"][line] = (low / n_periods, high / n_periods)
    return limits


def _bounds(text: str) -> Iterator[tuple[str, float, float]]:
    for part in listed(text):
        line, _, ends = part.rpartition("=")
        low, colon, high = ends.partition(":")
        try:
            least, most = float(low.strip() or 0.0), float(high.strip() or math.inf)
        except ValueError:
            colon = ""
        if not line or not colon:
            raise InputError(f"--bounds {part!r} is no limit. Hint: tv=1000:5000 or tv=:5000.")
        if not (0 <= least <= most and least < math.inf):
            raise InputError(
                f"--bounds {part!r} is no range of money. Hint: 0 or more, the least first."
            )
        yield line.strip(), least, most


def near(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" for a known name that differs by its case, or a little more."""
    names = list(known)
    if name in names:
        return ""
    alike = [each for each in names if each.casefold() == name.casefold()]
    return f" Did you mean {alike[0]!r}?" if alike else nearest(name, names)
