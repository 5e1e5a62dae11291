"""How near response curves come to the truth, and what budgets by them are worth.

python benchmarks/budget.py [--worlds 200] [--weeks 104]

Worlds are drawn around the two presets of `attribution.simulate.SPEND_WORLDS`: effects, half-lives,
costs, spend, its variation, and demand. Incremental curves see weekly conversions and spend,
descriptive ones weekly credit and spend. The true marginal return at today's mean spend is known
in closed form, and so is what a plan really brings. The best plan is that of the true curves.

Where curves take tests, two channels were held out for half of the people each, for twelve weeks.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from measure import environment, markdown

from attribution import Attribution, AttributionWarning, Lift, Linear, calibrate
from attribution.budget.allocation import allocate
from attribution.budget.curves import Curve, ExponentialCurve
from attribution.budget.descriptive import descriptive_curves
from attribution.budget.fit import CurveFit
from attribution.budget.incremental import incremental_curves
from attribution.budget.over_time import attribute_by
from attribution.budget.spend import Spend
from attribution.simulate import (
    SPEND_WORLDS,
    SpendSimulation,
    SpendTruth,
    SpendWorld,
    simulate_spend,
)

CONFIDENCE = 0.9
LITTLE = 0.1  # effect up to which a channel is not pooled with the others
TESTED = ("brand_search", "social")
TEST_WEEKS = 12  # from the middle of the log on


def varied(world: SpendWorld, n_weeks: int, rng: np.random.Generator) -> SpendWorld:
    """Draw a world around a preset."""

    def about(value: float, spread: float) -> float:
        return float(value * rng.lognormal(0.0, spread))

    channels = [
        replace(
            channel,
            effect=about(channel.effect, 0.4),
            half_life=float(np.clip(about(channel.half_life, 0.3), 1.0, 14.0)),
            cost=about(channel.cost, 0.2),
            spend=about(channel.spend, 0.3),
            variation=about(channel.variation, 0.2),
        )
        for channel in world.channels
    ]
    return replace(
        world,
        channels=channels,
        n_weeks=n_weeks,
        season=rng.uniform(0.05, 0.25),
        trend=rng.uniform(-0.1, 0.15),
        demand_sd=about(world.demand_sd, 0.2),
        demand_persistence=rng.uniform(0.3, 0.8),
    )


def tests_of(simulated: SpendSimulation, seed: int) -> list[Lift]:
    """Return what the tests of a world report."""
    starts = pd.to_datetime(simulated.truth.weeks, unit="us", utc=True)
    weeks = range(len(starts) // 2, len(starts) // 2 + TEST_WEEKS)
    period = (starts[weeks[0]], starts[weeks[-1]] + pd.Timedelta("7D"))
    found = []
    for number, channel in enumerate(TESTED):
        incremental, error = simulated.lift(channel, weeks, random_state=10**6 + 10 * seed + number)
        found.append(
            Lift(channel=channel, incremental=incremental, standard_error=error, period=period)
        )
    return found


def calibrated(simulated: SpendSimulation, tests: list[Lift]) -> Attribution:
    """Return the linear credit of the weeks of the tests, calibrated by them."""
    journeys, (begin, end) = simulated.journeys, tests[0].window
    inside = journeys.select((journeys.ends >= begin) & (journeys.ends < end))
    return calibrate(Linear().attribute(inside), [replace(test, period=None) for test in tests])


def curves_of(name: str, simulated: SpendSimulation, spend: Spend, seed: int) -> CurveFit:
    """Fit the curves of one kind."""
    linear = partial(attribute_by, simulated.journeys, "linear", period="W")
    if name == "incremental":
        return incremental_curves(linear(by="conversion"), spend)
    if name == "descriptive":
        return descriptive_curves(linear(by="touch"), spend)
    tests = tests_of(simulated, seed)
    if name == "incremental, 2 tests":
        return incremental_curves(linear(by="conversion"), spend, lifts=tests)
    return descriptive_curves(linear(by="touch"), spend, calibrated=calibrated(simulated, tests))


KINDS = {
    "random spend": ("incremental", "descriptive"),
    "spend follows demand": (
        "incremental",
        "incremental, 2 tests",
        "descriptive",
        "calibrated credit",
    ),
}


def one(world: str, n_weeks: int, seed: int) -> dict[str, np.ndarray]:
    """Return the figures of one world: columns low, estimate, high by kind; worths of plans."""
    warnings.simplefilter("ignore", AttributionWarning)
    rng = np.random.default_rng([seed, len(world)])
    simulated = simulate_spend(varied(SPEND_WORLDS[world], n_weeks, rng), seed)
    truth = simulated.truth
    spend = Spend.from_frame(simulated.spend, period="week", freq="W")
    today = truth.spend.mean(axis=0)
    true = [ExponentialCurve(s, k) for s, k in zip(truth.scale, truth.half_saturation, strict=True)]
    best = worth(truth, dict(zip(truth.channels, true, strict=True)), today.sum())
    found = {"truth": truth.marginal(today), "today": truth.value(today).sum() / best}
    for name in KINDS[world]:
        begin = time.perf_counter()
        fit = curves_of(name, simulated, spend, seed)
        found[name, "seconds"] = time.perf_counter() - begin
        found[name] = marginals(fit, truth.channels, today)
        found[name, "worth"] = worth(truth, fit, today.sum()) / best
    return found


def marginals(fit: CurveFit, channels: tuple[str, ...], today: np.ndarray) -> np.ndarray:
    """Return low, estimate and high of the marginal returns, shape (3, n_channels)."""
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    columns = []
    for name, amount in zip(channels, today, strict=True):
        low, high = np.quantile(fit.draws[name].marginal(amount), tails)
        columns.append([low, fit[name].marginal(amount), high])
    return np.array(columns).T


def worth(truth: SpendTruth, curves: Mapping[str, Curve], budget: float) -> float:
    """Return what the plan by these curves really brings."""
    plan = allocate(curves, budget=budget)
    by_line = dict(zip(plan.lines, plan.spend, strict=True))
    return float(truth.value([by_line[name] for name in truth.channels]).sum())


def report(world: str, found: list[dict]) -> None:
    """Print the tables of a world."""
    kinds, channels = KINDS[world], SPEND_WORLDS[world].names
    pooled = SPEND_WORLDS[world].column("effect") > LITTLE
    true = np.array([each["truth"] for each in found])
    rows, covered, typical, plans = [], [], [], []
    for name in kinds:
        low, estimate, high = np.moveaxis(np.array([each[name] for each in found]), 1, 0)
        held = ((low <= true) & (true <= high)).mean(axis=0)
        ratio, width = (part[:, pooled] / true[:, pooled] for part in (estimate, high - low))
        figures = [*np.quantile(ratio, [0.5, 0.05, 0.95]), np.median(width)]
        seconds = np.median([each[name, "seconds"] for each in found])
        shown = [f"{x:.2f}" for x in (*figures, seconds)]
        rows.append([name, f"{100 * held[pooled].mean():.1f} %", *shown])
        covered.append([name, *(f"{100 * x:.0f} %" for x in held)])
        typical.append([name, *(f"{1000 * x:.1f}" for x in np.median(estimate, axis=0))])
    typical.append(["truth", *(f"{1000 * x:.1f}" for x in np.median(true, axis=0))])
    for name, key in (*((kind, (kind, "worth")) for kind in kinds), ("today", "today")):
        share = np.array([each[key] for each in found])
        shown = (share.mean(), np.quantile(share, 0.05), share.min())
        plans.append([name, *(f"{100 * x:.1f} %" for x in shown)])
    print(f"## {world}: {len(found)} worlds\n\nMarginal return at today's mean spend, pooled over")
    print(f"{', '.join(np.array(channels)[pooled])}:\n")
    header = ["curves", "covered by 90 %", "estimate / truth", "5 %", "95 %", "width / truth"]
    print(markdown([*header, "seconds"], rows), "\n\nCovered, by channel:\n")
    print(markdown(["curves", *channels], covered), "\n\nMedian, conversions per 1,000:\n")
    print(markdown(["curves", *channels], typical), "\n")
    print("What today's budget brings, of the best possible:\n")
    print(markdown(["split by", "mean", "5 % quantile", "least"], plans), "\n")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--weeks", type=int, default=104)
    arguments = parser.parse_args()
    print(environment(["numpy", "scipy"]), "\n")
    with ProcessPoolExecutor(2) as pool:
        for world in SPEND_WORLDS:
            work = partial(one, world, arguments.weeks)
            report(world, list(pool.map(work, range(arguments.worlds))))


if __name__ == "__main__":
    main()
