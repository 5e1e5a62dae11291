"""Time a plan for 10,000 lines against one evaluation of their curves.

python benchmarks/allocation.py [--repeats 15] [--lines 10000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measure import Figures, environment, markdown, measure

EVALUATIONS = 20  # per timed run; one is too short for the clock
FAMILIES = ("power", "exponential", "hill", "envelope")
OPTIONS = ("plain", "steps of 5", "100 groups")


class Case:
    """Random curves of one family; the data file names it, the options and the number of lines."""

    def __init__(self, data: str) -> None:
        import numpy as np

        from attribution.budget import allocation, curves

        family, options, n = json.loads(Path(data).read_text())
        rng = np.random.default_rng(0)
        scale, half = rng.lognormal(5, 1, n), rng.lognormal(5, 1, n)
        self.curves: Any = {
            "power": lambda: curves.PowerCurve(rng.lognormal(2, 1, n), rng.uniform(0.2, 0.9, n)),
            "exponential": lambda: curves.ExponentialCurve(scale, half),
            "hill": lambda: curves.HillCurve(scale, half, rng.uniform(0.3, 1.0, n)),
            "envelope": lambda: curves.HillEnvelope(scale, half, rng.uniform(1.1, 3.0, n)),
        }[family]()
        self.spend = rng.uniform(1, 100, n)
        self.budget = 50.0 * n
        self.allocate = allocation.allocate
        size = n // 100
        groups = {
            f"g{i}": ([str(line) for line in range(i * size, (i + 1) * size)], None, 45.0 * size)
            for i in range(100)
        }
        self.options: Any = {
            "plain": {},
            "steps of 5": {"step": 5.0},
            "100 groups": {"groups": groups},
        }[options]

    def figures(self, result: Any) -> Figures:
        """Return nothing; the tests check the plan."""
        return {}


class Evaluated(Case):
    """Evaluate all curves, several times."""

    def run(self) -> Any:
        """Return the outcome of each line."""
        for _ in range(EVALUATIONS):
            outcome = self.curves.value(self.spend)
        return outcome


class Allocated(Case):
    """Split a budget over all lines."""

    def run(self) -> Any:
        """Return the plan."""
        import warnings

        with warnings.catch_warnings():  # of lines inside the straight part of an envelope
            warnings.simplefilter("ignore")
            return self.allocate(self.curves, self.budget, **self.options)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15, help="timed runs of each side")
    parser.add_argument("--lines", type=int, default=10_000, help="number of lines")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.json"
        for family in FAMILIES:
            for options in OPTIONS:
                file.write_text(json.dumps([family, options, arguments.lines]))
                sides = {"value": Evaluated, "allocate": Allocated}
                found = measure(sides, str(file), repeats=arguments.repeats)
                value = found["value"].median / EVALUATIONS
                plan = found["allocate"].median
                row = [f"{family}, {options}", f"{1e3 * value:.3f}", f"{1e3 * plan:.1f}"]
                rows.append([*row, f"{plan / value:.0f}x"])
    print(environment(["numpy", "scipy"]), "\n")
    print(markdown([f"{arguments.lines:,} lines", "value ms", "allocate ms", "ratio"], rows))


if __name__ == "__main__":
    main()
