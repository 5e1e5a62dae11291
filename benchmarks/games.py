"""Shapley values of games: exact beside one pass over memory, sampled beside plain sampling.

One run prints three markdown tables: `shapley_values` for 16 to 24 players in units of one
``np.add.reduce`` over 2**20 float64, with peak memory; the same beside shapiq's exact computer;
and the error of `sample_shapley_values` against its budget, beside plain random permutations and
permutations paired with their reverse.

    python benchmarks/games.py [--repeats 7] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from measure import apart, environment, markdown, peak_memory

if TYPE_CHECKING:
    import numpy as np

TARGETS = {20: 15, 24: 400}
PLAYERS = 16
BUDGETS = [1_024, 3_200, 6_400, 25_600]


def seconds(function: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# Exact


def exact_row(n: int, repeats: int) -> list[str]:
    """Time one size beside the pass, in turns, after one run of each to warm up."""
    import numpy as np

    from attribution.models.games import shapley_values

    rng = np.random.default_rng(n)
    million = rng.random(2**20)
    worths = np.empty(2**n)
    rng.random(out=worths)
    worths[0] = 0.0
    before = peak_memory()

    def one_pass() -> Any:
        return np.add.reduce(million)

    def ours() -> Any:
        return shapley_values(worths)

    ours()
    times = []
    for _ in range(repeats):
        one_pass()  # brings the array back into the cache: the strictest unit
        times.append((seconds(one_pass), seconds(ours)))
    unit, took = (median(column) for column in zip(*times, strict=True))
    arrays = 1 + (peak_memory() - before) * 1e6 / worths.nbytes
    target = f"<= {TARGETS[n]}" if n in TARGETS else "-"
    memory = [f"{worths.nbytes / 1e6:,.1f}", f"{peak_memory():,.0f}", f"{arrays:.2f}"]
    return [f"{n}", f"{unit * 1e3:.3f}", f"{took * 1e3:.2f}", f"{took / unit:.1f}", target, *memory]


def shapiq_row(n: int, repeats: int) -> list[str]:
    """Time both from the array of worths to values, in turns; compare the values."""
    import numpy as np

    from attribution.models.games import shapley_values

    try:
        from shapiq import ExactComputer
    except ImportError:
        return [f"{n}", *["not installed"] * 4]
    worths = np.random.default_rng(n).random(2**n)
    worths[0] = 0.0
    bits = 1 << np.arange(n)

    def theirs() -> Any:
        computer = ExactComputer(lambda rows: worths[rows.astype(np.int64) @ bits], n_players=n)
        return computer("SV", order=1)

    def ours() -> Any:
        return shapley_values(worths)

    found = theirs()
    difference = np.abs([found[(i,)] for i in range(n)] - ours()).max()
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    a, b = (median(column) for column in zip(*times, strict=True))
    return [f"{n}", f"{a * 1e3:.2f}", f"{b * 1e3:,.1f}", f"{b / a:,.0f}", f"{difference:.0e}"]


# Sampled


def rates() -> np.ndarray:
    """Return conversion rates of the journeys within each set: 4,000, some channels rare."""
    import numpy as np

    from attribution.models.games import subset_sums

    rng = np.random.default_rng(1)
    popularity = 1 / np.arange(1, PLAYERS + 1)
    touched = rng.choice(PLAYERS, (4_000, 3), p=popularity / popularity.sum())
    chance = rng.uniform(0.02, 0.2, PLAYERS)
    converts = rng.random(4_000) < 1 - (1 - chance[touched]).prod(axis=1)
    journeys = np.bitwise_or.reduce(1 << touched, axis=1)
    within = subset_sums(np.bincount(journeys, minlength=2**PLAYERS))
    converted = subset_sums(np.bincount(journeys[converts], minlength=2**PLAYERS))
    return np.divide(converted, within, out=np.zeros(len(within)), where=within > 0)


def synergies() -> np.ndarray:
    """Return worths with 40 synergies, positive or negative, of 2 to 5 players."""
    import numpy as np

    from attribution.models.games import subset_sums

    rng = np.random.default_rng(2)
    amounts = np.zeros(2**PLAYERS)
    amounts[1 << np.arange(PLAYERS)] = rng.random(PLAYERS)
    for _ in range(40):
        group = rng.choice(PLAYERS, rng.integers(2, 6), replace=False)
        amounts[(1 << group).sum()] += rng.normal()
    return subset_sums(amounts)


def saturating() -> np.ndarray:
    """Return the probability that at least one player of the set succeeds."""
    import numpy as np

    chance = np.random.default_rng(3).uniform(0.05, 0.5, PLAYERS)
    member = np.arange(2**PLAYERS)[:, None] >> np.arange(PLAYERS) & 1
    return 1 - (1 - chance * member).prod(axis=1)


GAMES = {"rate": rates, "synergies": synergies, "saturating": saturating}


def sampling_rows(game: str, budgets: list[int], repeats: int) -> list[list[str]]:
    """Return root mean square errors over players and repeats, in % of the worth of all."""
    import numpy as np

    from attribution.models.games import shapley_values
    from attribution.models.sampling import sample_shapley_values

    worths = GAMES[game]()
    exact = shapley_values(worths)

    def marginals(orders: np.ndarray) -> np.ndarray:
        joined = worths[np.bitwise_or.accumulate(1 << orders, axis=1)]
        by_player = np.empty(orders.shape)
        np.put_along_axis(by_player, orders, np.diff(joined, axis=1, prepend=0.0), axis=1)
        return by_player

    def orders(rng: np.random.Generator, number: int) -> np.ndarray:
        return rng.permuted(np.tile(np.arange(PLAYERS), (number, 1)), axis=1)

    rows = []
    for budget in budgets:
        plain, pairs, ours, reported = [], [], [], []
        for repeat in range(repeats):
            rng = np.random.default_rng(repeat)
            plain.append(marginals(orders(rng, budget)).mean(axis=0))
            half = orders(rng, budget // 2)
            pairs.append(marginals(np.concatenate((half, half[:, ::-1]))).mean(axis=0))
            sampled = sample_shapley_values(
                marginals, PLAYERS, max_permutations=budget, random_state=repeat
            )
            ours.append(sampled.values)
            reported.append(sampled.standard_errors)
        squares = [((np.array(found) - exact) ** 2).mean() for found in (plain, pairs, ours)]
        squares.append((np.array(reported) ** 2).mean())
        shown = [f"{100 * np.sqrt(square) / abs(worths[-1]):.3f}" for square in squares]
        relative = [f"{square / squares[0]:.2f}" for square in squares[1:3]]
        rows.append([game, f"{budget:,}", *shown, *relative])
    return rows


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="timed runs")
    parser.add_argument("--quick", action="store_true", help="small inputs, to see that it runs")
    options = parser.parse_args()
    repeats = options.repeats
    sizes = [16, 20] if options.quick else [16, 20, 22, 24]
    budgets = BUDGETS[:2] if options.quick else BUDGETS

    exact = [apart(exact_row, n, repeats) for n in sizes]
    beside = [apart(shapiq_row, n, repeats) for n in ((12,) if options.quick else (12, 13, 14))]
    runs = 20 if options.quick else 100
    sampled = [row for game in GAMES for row in apart(sampling_rows, game, budgets, runs)]

    print(environment(["multitouch-attribution", "numpy", "shapiq"]), end="\n\n")
    print("Exact. Medians in turns; one pass is np.add.reduce over 2**20 float64, in the cache as")
    print("far as it fits. Arrays: the worths, and by how much the peak of the process grew beyond")
    print("them, over their size.\n")
    header = ["players", "one pass, ms", "shapley_values, ms", "ratio", "target"]
    print(markdown([*header, "worths, MB", "peak of process, MB", "arrays (<= 3)"], exact))
    print("\nExact, from the array of worths to the values.\n")
    header = ["players", "ours, ms", "shapiq, ms", "ratio", "largest difference"]
    print(markdown(header, beside))
    print(f"\nSampled, {PLAYERS} players, {runs} repeats. Root mean square error over players and")
    print("repeats, in % of the worth of all players; variance over that of plain sampling.\n")
    header = ["game", "permutations", "plain", "with reverse", "ours", "ours, as reported"]
    print(markdown([*header, "variance, with reverse", "variance, ours"], sampled))


if __name__ == "__main__":
    main()
