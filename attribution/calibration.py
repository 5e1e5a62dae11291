"""Calibration: what experiments say about the credit that a model gives.

A model shares out all conversions of journeys with touches; a lift test says how many of them a
channel caused. The factor f of a channel is the share of its credit that is incremental:

    incremental_c = f_c credit_c                      credit is taken as known
    y ~ Normal(coverage f_c credit_c, standard_error^2)          each lift
    log f_c ~ Normal(log M - tau^2 / 2, tau^2)        channels vary about the mean factor M

Before any test each factor has mean 1, so that a lift which says nothing leaves the credit as it
is. The priors are the same however many channels were tested; with one or two they decide how far
a test speaks for other channels, with many they hardly matter. No two channels are taken to be
more alike than 5 %. Estimates are means, not medians: only means add up to what was incremental.

`attribution.shrinkage` has the priors of M and tau, and integrates over them.

Source: Gelman et al., Bayesian Data Analysis (3rd ed., 2013), chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from attribution.arrays import FloatArray
from attribution.durations import Moment, moment
from attribution.errors import InputError, nearest, warn
from attribution.ingest.columns import as_table, readable, table_columns
from attribution.results import Attribution
from attribution.shrinkage import Posterior, posterior_of_factors

FIXED = (0.01, 2.0)
_COLUMNS = ("channel", "incremental", "standard_error", "period", "coverage")
_INTERVAL = ("_low", "_high", "_se")


@dataclass(frozen=True, kw_only=True)
class Lift:
    """What one experiment says about one channel.

    Parameters
    ----------
    channel
        Its name in the attribution.
    incremental
        Conversions that the channel caused among those covered; may be negative.
    standard_error
        Of `incremental`; positive.
    period
        [from, until) of the experiment, as moments or as text "from/until"; None if unstated.
    coverage
        Share of the people, or of the spend, that the experiment covered, in (0, 1].

    Raises
    ------
    InputError
        If a figure is out of its range.
    """

    channel: str
    incremental: float
    standard_error: float
    period: tuple[Moment, Moment] | str | None = None
    coverage: float = 1.0

    def __post_init__(self) -> None:
        for name in ("incremental", "standard_error", "coverage"):
            object.__setattr__(self, name, self._number(name))
        if not self.standard_error > 0:
            raise self._wrong("standard_error", "give that of the experiment, above 0.")
        if not 0 < self.coverage <= 1:
            raise self._wrong("coverage", "give a share above 0, at most 1.")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise self._wrong("period", "it ends before it begins.")

    def _number(self, name: str) -> float:
        try:
            number = float(getattr(self, name))
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self._wrong(name, "give a finite number.")
        return number

    def _wrong(self, name: str, hint: str) -> InputError:
        return InputError(
            f"The lift of {self.channel!r} has {name}={getattr(self, name)!r}. Hint: {hint}"
        )

    @property
    def window(self) -> tuple[int, int] | None:
        """The period in microseconds since 1970 UTC."""
        if self.period is None:
            return None
        ends = self.period.split("/") if isinstance(self.period, str) else self.period
        if not isinstance(ends, Sequence) or len(ends) != 2:
            raise self._wrong("period", "give (from, until), or text such as '2025-01/2025-02'.")
        return moment(ends[0], "period"), moment(ends[1], "period")


def calibrate(
    attribution: Attribution,
    lifts: Any,
    prior_sd: float | None = None,
    keep_total: bool = False,
) -> Attribution:
    """Turn credit into incremental conversions with the help of experiments.

    A lift corrects its own channel, the more so the smaller its standard error; channels without
    a test take the pooled factor with all its uncertainty, see the module for the equations. Credit
    is taken as known: its sampling error is no part of the model. Factors are positive, so a lift
    of 0 or less brings a channel towards 0, not below. Give all lifts in one call.

    Parameters
    ----------
    attribution
        What a model gave, for the period of the experiments.
    lifts
        Lifts, or a table of their fields (pandas, polars, pyarrow or a list of dicts); several of
        one channel combine.
    prior_sd
        Fixes tau, how much log f varies between channels, in 0.01 ... 2; None estimates it. Above
        1 the mean factor of untested channels lies far above the typical one.
    keep_total
        Scale the result to the total that the model gave; the baseline stays as it was. For
        shares of a budget; such totals are not incremental and warn so.

    Returns
    -------
    Attribution
        Conversions are posterior means, value goes by the same factor, and what is not incremental
        joins the baseline. Columns `_low`, `_high` (90 % interval) and `_se` of both replace those
        of the model, which spoke of sampling; factor, its `_low` and `_high`, tested (1 or 0) and
        credit (before) join them. details: mu, tau (means), n_lifts, keep_total, scale (1
        unless the total was kept) and excess: conversions are scale * factor * credit, less what
        exceeds all that came in.

    Warns
    -----
    AttributionWarning
        If the total is kept, or the factors ask for more than came in: estimates then give way in
        proportion to their variance, so that what is untested goes first, and nothing is left as
        baseline; intervals move along, within what came in.

    Raises
    ------
    InputError
        If lifts, their channels or their periods do not fit the attribution, or a tested channel
        has no credit.

    Examples
    --------
    >>> from attribution import Journeys, Linear
    >>> paths = [{"path": "ads > mail", "conversions": 800}, {"path": "ads", "conversions": 200}]
    >>> import pandas as pd
    >>> linear = Linear().attribute(Journeys.from_paths(pd.DataFrame(paths)))
    >>> lift = Lift(channel="ads", incremental=300, standard_error=30)
    >>> result = calibrate(linear, [lift], prior_sd=0.5)
    >>> result.to_frame()[["credit", "conversions", "conversions_low", "conversions_high"]].round()
             credit  conversions  conversions_low  conversions_high
    channel
    ads       600.0        300.0            251.0             349.0
    mail      400.0        301.0             91.0             684.0
    """
    if not isinstance(attribution, Attribution):
        raise InputError(
            f"Got a {type(attribution).__name__}, not an Attribution. Hint: compare(...)['markov']."
        )
    if "n_lifts" in attribution.details:
        raise InputError(
            f"{attribution.model} is calibrated already. Hint: give all lifts in one call."
        )
    number = isinstance(prior_sd, int | float) and not isinstance(prior_sd, bool)
    if prior_sd is not None and not (number and FIXED[0] <= prior_sd <= FIXED[1]):
        raise InputError(f"prior_sd={prior_sd!r} is not a number in {FIXED[0]} ... {FIXED[1]}.")
    given = _lifts(lifts)
    _require_period(attribution, given)
    tested = _require_channels(attribution, given)
    posterior = posterior_of_factors(*_combine(attribution, given, tested), prior_sd)
    factor = np.tile(posterior.pooled, (len(attribution.channels), 1))
    factor[tested] = posterior.tested
    return _result(attribution, factor, tested, posterior, len(given), keep_total)


def _lifts(lifts: Any) -> list[Lift]:
    """Read a sequence or a table of lifts."""
    listed = isinstance(lifts, Sequence) and not isinstance(lifts, str)
    rows = lifts if listed else _rows(lifts)
    if not len(rows):
        raise InputError("There are no lifts. Hint: give at least one, or keep the attribution.")
    return [row if isinstance(row, Lift) else _lift(row) for row in rows]


def _rows(table: Any) -> list[dict[str, Any]]:
    frame = readable(table, "lifts")
    if not len(frame):
        return []
    rows: list[dict[str, Any]] = as_table(frame, table_columns(frame), "lifts").to_pylist()
    return rows


def _lift(row: Any) -> Lift:
    if not isinstance(row, dict):
        raise InputError(f"lifts holds a {type(row).__name__}. Hint: give Lift(...) or a table.")
    for name in row:
        if name not in _COLUMNS:
            raise InputError(f"lifts has a column {name!r}.{nearest(str(name), _COLUMNS)}")
    for name in _COLUMNS[:3]:
        if name not in row:
            raise InputError(f"lifts has no column {name!r}.")
    return Lift(**{k: v for k, v in row.items() if v is not None or k in _COLUMNS[:3]})


def _require_period(attribution: Attribution, lifts: list[Lift]) -> None:
    windows = {lift.window: lift for lift in lifts if lift.window is not None}
    if len(windows) > 1:
        first, second = list(windows.values())[:2]
        raise InputError(
            f"Lifts are of different periods: {first.channel!r} {first.period!r}, "
            f"{second.channel!r} {second.period!r}. Hint: calibrate each period by itself."
        )
    for window, lift in windows.items():
        if attribution.period != window:
            have = "no period" if attribution.period is None else "another period"
            raise InputError(
                f"The lift of {lift.channel!r} is of the period {lift.period!r}, the attribution "
                f"has {have}. Hint: attribute the journeys of that period: "
                "from_events(report_from=..., report_until=...)."
            )


def _require_channels(attribution: Attribution, lifts: list[Lift]) -> list[int]:
    """Return the places of the tested channels, in order."""
    if not np.isfinite(attribution.conversions).all():
        raise InputError(
            f"{attribution.model} gave no credit (NaN). Hint: attribute journeys with conversions."
        )
    place = {channel: i for i, channel in enumerate(attribution.channels)}
    for lift in lifts:
        if lift.channel not in place:
            raise InputError(
                f"The lift of {lift.channel!r} is of no channel of the attribution."
                f"{nearest(str(lift.channel), place)} Hint: use its names."
            )
        credit = float(attribution.conversions[place[lift.channel]])
        if credit <= 0:
            raise InputError(
                f"{lift.channel!r} was tested, but its credit is {credit:g}: no factor brings it "
                "to the lift. Hint: leave its lift out, or use a model that credits it."
            )
    return sorted({place[lift.channel] for lift in lifts})


def _combine(
    attribution: Attribution, lifts: list[Lift], tested: list[int]
) -> tuple[FloatArray, FloatArray]:
    """Return estimate and standard error of the factor of each tested channel, all lifts in one."""
    best, error = np.empty(len(tested)), np.empty(len(tested))
    for i, place in enumerate(tested):
        own = [lift for lift in lifts if lift.channel == attribution.channels[place]]
        covered = np.array([lift.coverage for lift in own]) * attribution.conversions[place]
        errors = np.array([lift.standard_error for lift in own]) / covered
        weight = (errors.min() / errors) ** 2
        estimates = np.array([lift.incremental for lift in own]) / covered
        best[i] = weight @ estimates / weight.sum()
        error[i] = errors.min() / np.sqrt(weight.sum())
    return best, error


def _result(
    attribution: Attribution,
    factor: FloatArray,
    tested: list[int],
    posterior: Posterior,
    n_lifts: int,
    keep_total: bool,
) -> Attribution:
    """Apply factors (n_channels, 4) to both outcomes."""
    credit, values = attribution.conversions, attribution.values
    conversions = _outcome(credit, factor, attribution.baseline, keep_total)
    value = None
    if values is not None:
        value = _outcome(values, factor, attribution.baseline_value, keep_total)
    _warn_of_totals(conversions, value, keep_total)
    columns = conversions.columns("conversions")
    columns |= {} if value is None else value.columns("value")
    columns |= {"factor": factor[:, 0], "factor_low": factor[:, 2], "factor_high": factor[:, 3]}
    is_tested = np.zeros(len(credit))
    is_tested[tested] = 1
    columns |= {"tested": is_tested, "credit": credit}
    kept = {name: c for name, c in attribution.extra.items() if not name.endswith(_INTERVAL)}
    details = {name: d for name, d in attribution.details.items() if name != "intervals"}
    details |= {"mu": posterior.mu, "tau": posterior.tau, "n_lifts": n_lifts}
    details |= {"keep_total": keep_total, "scale": conversions.scale}
    details |= {"excess": conversions.excess}
    details |= {} if value is None else {"scale_value": value.scale, "excess_value": value.excess}
    return replace(
        attribution,
        model=f"{attribution.model}, calibrated",
        conversions=conversions.mean,
        values=None if value is None else value.mean,
        baseline=conversions.baseline,
        baseline_value=None if value is None else value.baseline,
        extra=columns | {name: column for name, column in kept.items() if name not in columns},
        details=details,
    )


class _Outcome(NamedTuple):
    """Calibrated amounts, shape (n_channels,) each, and what no channel brought."""

    mean: FloatArray
    sd: FloatArray
    low: FloatArray
    high: FloatArray
    scale: float
    excess: float
    baseline: float | None

    def columns(self, name: str) -> dict[str, FloatArray]:
        return {f"{name}_low": self.low, f"{name}_high": self.high, f"{name}_se": self.sd}


def _outcome(
    amounts: FloatArray, factor: FloatArray, baseline: float | None, keep_total: bool
) -> _Outcome:
    whole, asked = float(amounts.sum()), float(factor[:, 0] @ amounts)
    room = whole + (baseline or 0.0)
    rest: float | None = room - asked
    scale, excess = 1.0, 0.0
    if keep_total:
        scale, rest = whole / asked if asked else 1.0, baseline
    elif asked > room >= 0:
        excess, rest = asked - room, 0.0
    mean, sd, one, other = scale * factor.T * amounts
    low, high = np.minimum(one, other), np.maximum(one, other)  # swapped where credit is negative
    if excess:
        taken = _taken(mean, sd**2, excess)
        low = np.where(mean > 0, np.maximum(low - taken, 0.0), low)
        mean, high = mean - taken, np.minimum(high - taken, np.where(mean > 0, room, np.inf))
    return _Outcome(mean, np.abs(sd), low, high, scale, excess, rest)


def _taken(amounts: FloatArray, variances: FloatArray, excess: float) -> FloatArray:
    """Return what each amount gives of an excess, by its variance, but no more than it has.

    It is what normal estimates of these variances give when their sum is known.
    """
    taken = np.zeros(len(amounts))
    for _ in amounts:
        left = excess - taken.sum()
        weights = np.where((amounts > 0) & (taken < amounts), variances, 0.0)
        if left <= 1e-12 * excess or not weights.sum():
            break
        taken = np.minimum(taken + left * weights / weights.sum(), np.maximum(amounts, 0.0))
    return taken


def _warn_of_totals(conversions: _Outcome, value: _Outcome | None, keep_total: bool) -> None:
    if keep_total:
        warn(
            "keep_total=True scales credit to what the model gave: totals are not incremental. "
            "Hint: use the shares only."
        )
        return
    for name, outcome in (("conversions", conversions), ("value", value)):
        if outcome is None or outcome.excess <= 1e-6 * abs(outcome.mean).sum():
            continue
        room = float(outcome.mean.sum())
        warn(
            f"Factors ask for {room + outcome.excess:,.10g} in {name}, but only {room:,.10g} came "
            "in with touches: estimates give way in proportion to their variance, and nothing is "
            "left as baseline. Hint: check that lifts count the same conversions and period."
        )
