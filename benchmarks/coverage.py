"""How often 90 % intervals hold the population value, over worlds whose population is known.

A world is `attribution.simulate`d; its log holds a fixed number of users, so a log is a sample of
that size from a population. The population value of a figure is the one of a run 100 times as
large, scaled. Channels count where their population credit is at least 50.
"""

from __future__ import annotations

import argparse
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from measure import environment, markdown

from attribution import AttributionWarning, Journeys
from attribution.simulate import simulate
from attribution.uncertainty import Resamples, resample

PAIRS = (("markov", "linear"), ("shapley", "last_click"), ("time_decay", "first_click"))
CONFIDENCE = 0.9


def log(world: str, n_users: int, seed: int, margin: float) -> Journeys:
    """Simulate a log of exactly so many users."""
    journeys = simulate(world, int(margin * n_users), random_state=seed).journeys
    if len(journeys) < n_users:
        raise ValueError(f"{len(journeys)} users in {world!r}; raise the margin.")
    return journeys.select(np.arange(n_users))


def figures(drawn: Resamples) -> dict[tuple[str, str], np.ndarray]:
    """Return estimate, low and high of every figure, shape (3, n_channels or 1)."""
    found = {}
    for name, result in drawn.intervals(CONFIDENCE).attributions.items():
        for column in ("conversions", "conversions_share"):
            parts = [result.columns[column + end] for end in ("", "_low", "_high")]
            found[name, column] = np.array(parts)
        about = result.details["intervals"]
        ends = [about["total_conversions" + end] for end in ("_low", "_high")]
        found[name, "total"] = np.array([[result.total_conversions], *([end] for end in ends)])
    for first, second in PAIRS:
        frame = drawn.difference(first, second, confidence=CONFIDENCE)
        found[f"{first} - {second}", "difference"] = frame.to_numpy().T[:3]
    return found


def one(world: str, n_users: int, margin: float, options: dict, seed: int):
    """Return the figures of one world."""
    warnings.simplefilter("ignore", AttributionWarning)
    return figures(resample(log(world, n_users, seed, margin), random_state=seed, **options))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="random exposure")
    parser.add_argument("--worlds", type=int, default=500)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--least", type=float, default=50.0, help="population credit, at least")
    parser.add_argument("--most", type=float, default=np.inf, help="population credit, below")
    parser.add_argument("--method", default="bootstrap")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", AttributionWarning)
    probe = simulate(arguments.world, 10_000, random_state=10**6)
    margin = 1.1 * 10_000 / len(probe.journeys)
    times = 100
    large = log(arguments.world, times * arguments.users, 10**6 + 1, margin)
    population = {
        key: parts[0] / (1.0 if key[1] == "conversions_share" else times)
        for key, parts in figures(resample(large, n_resamples=2)).items()
    }
    counted = {key: np.ones(len(value), dtype=bool) for key, value in population.items()}
    for key, _value in population.items():
        name = key[0].split(" - ")
        if key[1] != "total":
            credit = np.array([population[n, "conversions"] for n in name])
            inside = (credit >= arguments.least) & (credit < arguments.most)
            counted[key] = inside.all(axis=0)
    held = {key: np.zeros(len(value)) for key, value in population.items()}
    options = {"method": arguments.method}
    work = partial(one, arguments.world, arguments.users, margin, options)
    with ProcessPoolExecutor(2) as pool:
        for found in pool.map(work, range(arguments.worlds), chunksize=5):
            for key, (_, low, high) in found.items():
                held[key] += (low <= population[key]) & (population[key] <= high)
    print(environment(["numpy", "scipy"]), "\n")
    print(f"{arguments.worlds} worlds of {arguments.world!r}, {arguments.users:,} users each")
    credit = zip(large.channels, population["linear", "conversions"], strict=True)
    print("linear credit in the population:", {name: round(float(x)) for name, x in credit}, "\n")
    rows = []
    for (name, column), hits in held.items():
        shares = hits[counted[name, column]] / arguments.worlds
        if len(shares):
            rows.append(
                [
                    f"{name}: {column}",
                    len(shares),
                    *(f"{100 * x:.1f} %" for x in (shares.mean(), shares.min(), shares.max())),
                ]
            )
    print(markdown(["figure", "channels", "pooled", "lowest", "highest"], rows))


if __name__ == "__main__":
    main()
