"""Time Markov chains of higher order, beside ChannelAttribution and beside counting them.

One run prints three markdown tables. The first has the way from path strings to the table of
results at order 3 over 20 channels, for this library and for ChannelAttribution at its defaults.
The second has large chains: the time to solve them as a multiple of the time to count their
transitions, and whether ChannelAttribution finishes within a limit. The third has the largest error
of a removal effect against plain fixed-point iterations, one per removed channel, done here.

    python benchmarks/chains.py [--repeats 5] [--limit 75] [--quick]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from measure import Figures, Measurement, apart, environment, markdown, measure
from versus_peers import PACKAGES, PEER, ChannelAttribution, ratio, seconds, write_paths


class Ours:
    """The library, from path strings to the table of results."""

    def __init__(self, data: str, *, order: int) -> None:
        import pandas as pd

        import attribution

        self.attribution = attribution
        self.model = attribution.Markov(order=order)
        self.frame = pd.read_parquet(data)

    def journeys(self) -> Any:
        """Read the paths."""
        return self.attribution.Journeys.from_paths(
            self.frame, value="value", nulls="nulls", separator=">"
        )

    def run(self) -> Any:
        """Go from path strings to the table."""
        result = self.model.attribute(self.journeys())
        return result, result.to_frame()

    def figures(self, result: Any) -> Figures:
        """Return the removal effects, and what is known of the solution."""
        attribution, frame = result
        details = attribution.details
        return {
            "removal effect": frame["removal_effect"].to_dict(),
            "details": {
                "states": details["n_states"],
                "transitions": details["n_transitions"],
                "error bound": details["error_bound"] or 0.0,
            },
        }


class Counting(Ours):
    """Only the counting of transitions; the journeys are there."""

    def __init__(self, data: str, *, order: int) -> None:
        super().__init__(data, order=order)
        self.read = self.journeys()

    def run(self) -> Any:
        """Count part by part, as `attribute` does."""
        return sum(self.model.summarize(part) for part in self.read.parts())

    def figures(self, result: Any) -> Figures:
        """Nothing to check."""
        return {}


class Solving(Counting):
    """Only the solution; the transitions are counted."""

    def __init__(self, data: str, *, order: int) -> None:
        super().__init__(data, order=order)
        self.counts = super().run()

    def run(self) -> Any:
        """Solve the chain and make the table."""
        result = self.model.solve(self.counts)
        return result, result.to_frame()

    def figures(self, result: Any) -> Figures:
        """See `Ours`."""
        return Ours.figures(self, result)


class Peer(ChannelAttribution):
    """ChannelAttribution's Markov model at its defaults, of a given order."""

    def __init__(self, data: str, *, order: int) -> None:
        super().__init__(data)
        self.order = order

    def run(self) -> Any:
        """Run it."""
        return self.markov(order=self.order)

    def figures(self, result: Any) -> Figures:
        """Return the removal effects, asked for apart from the clock."""
        more = self.markov(order=self.order, out_more=True)["removal_effects"]
        effects = more.set_index("channel_name")["removal_effects_conversion"]
        return {"removal effect": effects.to_dict()}


def _run_peer(data: str, order: int) -> None:
    Peer(data, order=order).run()


def within(limit: float, data: str, order: int) -> str:
    """Say after how many seconds the peer finished, or that it did not within the limit."""
    process = multiprocessing.get_context("spawn").Process(target=_run_peer, args=(data, order))
    start = time.perf_counter()
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return f"> {limit:.0f}"
    taken = time.perf_counter() - start
    return f"{taken:.1f}" if process.exitcode == 0 else f"failed (exit code {process.exitcode})"


def exact(data: str, order: int) -> Figures:
    """Compute removal effects by other means: plain loops to count, fixed points to solve.

    For each channel h = Q h + b is iterated with the rows of its states set to 0, until no entry
    changes by more than 1e-15.
    """
    from collections import defaultdict

    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_array

    table = pd.read_parquet(data)
    number: dict[tuple[str, ...], int] = {}
    steps: dict[tuple[int, int], float] = defaultdict(float)
    starts: dict[int, float] = defaultdict(float)
    ends: dict[int, float] = defaultdict(float)
    visits: dict[int, float] = defaultdict(float)
    rows = zip(*(table[name].tolist() for name in ("path", "conversions", "nulls")), strict=True)
    for path, conversions, nulls in rows:
        touches = path.split(" > ")
        grams = [tuple(touches[i : i + order]) for i in range(max(1, len(touches) - order + 1))]
        states = [number.setdefault(gram, len(number)) for gram in grams]
        weight = conversions + nulls
        starts[states[0]] += weight
        ends[states[-1]] += conversions
        for state in states:
            visits[state] += weight
        for before, after in pairwise(states):
            steps[before, after] += weight
    n = len(number)
    rates = np.array([count / visits[before] for (before, _), count in steps.items()])
    index = np.array(list(steps)).T if steps else np.zeros((2, 0), dtype=int)
    chain = csr_array((rates, (index[0], index[1])), shape=(n, n))
    start, reward = np.zeros(n), np.zeros(n)
    start[list(starts)] = np.array(list(starts.values())) / sum(starts.values())
    reward[list(ends)] = [ends[state] / visits[state] for state in ends]

    def earned(alive: Any) -> float:
        h, before = reward * alive, np.full(n, np.inf)
        while np.abs(h - before).max() > 1e-15:
            before, h = h, alive * (chain @ h + reward)
        return float(start @ h)

    base = earned(np.ones(n))
    effects = {}
    for channel in sorted({name for gram in number for name in gram}):
        alive = np.array([float(channel not in gram) for gram in number])
        effects[channel] = 1 - earned(alive) / base
    return {"removal effect": effects}


def largest_error(found: Measurement, truth: Figures) -> str:
    """Return the largest absolute error of a removal effect."""
    effects = found.figures.get("removal effect", {})
    true = truth["removal effect"]
    errors = [abs(effects.get(channel, 0.0) - effect) for channel, effect in true.items()]
    return "-" if found.error else f"{max(errors):.1e}"


def main() -> None:
    """Run all jobs and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--limit", type=float, default=75, help="seconds that the peer is given")
    parser.add_argument("--quick", action="store_true", help="small inputs, to see that it runs")
    options = parser.parse_args()
    n_journeys = 20_000 if options.quick else 1_000_000
    peers: list[list[str]] = []
    solved: list[list[str]] = []
    errors: list[list[str]] = []

    with tempfile.TemporaryDirectory() as folder:
        for n_channels, order, target in ((20, 3, 12), (200, 2, 6), (50, 3, 4)):
            file = str(Path(folder) / f"{n_channels}.parquet")
            apart(write_paths, file, n_channels, n_journeys)
            data = f"{n_channels} channels, order {order}"
            whole = partial(Ours, order=order)
            if n_channels == 20:
                sides = {"ours": whole, PEER: partial(Peer, order=order)}
                found = measure(sides, file, repeats=options.repeats)
                ours, peer = found["ours"], found[PEER]
                quotient = ratio(peer, ours)
                peers.append([data, seconds(ours), seconds(peer), quotient, f">= {target}"])
            else:
                parts = {"count": partial(Counting, order=order)}
                parts |= {"solve": partial(Solving, order=order), "ours": whole}
                found = measure(parts, file, repeats=options.repeats)
                ours, quotient = found["ours"], ratio(found["solve"], found["count"])
                times = [seconds(found[name]) for name in ("count", "solve")]
                details = ours.figures["details"]
                sizes = [f"{details[name]:,.0f}" for name in ("states", "transitions")]
                peer_took = within(options.limit, file, order)
                memory = f"{ours.peak:,.0f}"
                all_of_it = seconds(ours)
                line = [
                    data,
                    *sizes,
                    *times,
                    quotient,
                    f"<= {target}",
                    all_of_it,
                    memory,
                    peer_took,
                ]
                solved.append(line)
            truth = apart(exact, file, order)
            bound = f"{ours.figures['details']['error bound']:.1e}"
            theirs = largest_error(found[PEER], truth) if PEER in found else "-"
            errors.append([data, largest_error(ours, truth), bound, theirs])

    print(environment(PACKAGES), end="\n\n")
    print("From path strings to the table, 1,000,000 journeys: medians\n")
    print(markdown(["input", "ours, s", f"{PEER}, s", "ratio", "target"], peers), end="\n\n")
    print("Large chains: counting and solving\n")
    header = ["input", "states", "transitions", "count, s", "solve, s", "solve / count", "target"]
    header += ["strings to table, s", "peak, MB", f"{PEER}, s"]
    print(markdown(header, solved), end="\n\n")
    print("Largest error of a removal effect\n")
    print(markdown(["input", "ours", "certified bound", PEER], errors))


if __name__ == "__main__":
    main()
