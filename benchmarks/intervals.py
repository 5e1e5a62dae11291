"""Time 1,000 resamples against one plain fit, both from path strings to the table of results.

The table has 10,000 paths: the first ones of the generator of versus_peers.py (20 channels), and
any other given with `--paths` (columns path, total_conversions, total_null).

    python benchmarks/intervals.py [--repeats 9] [--paths FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from measure import Figures, apart, environment, markdown, measure
from versus_peers import ratio, write_paths

RULES = ("first_click", "last_click", "linear", "position_based", "shapley", "last_non_direct")


class Plain:
    """Attribute once."""

    def __init__(self, data: str, *, models: tuple[str, ...]) -> None:
        import pandas as pd

        import attribution

        self.attribution, self.models = attribution, list(models)
        self.frame = pd.read_parquet(data)

    def journeys(self) -> Any:
        """Read the paths."""
        return self.attribution.Journeys.from_paths(self.frame, nulls="nulls")

    def run(self) -> Any:
        """Go from path strings to the table."""
        return self.attribution.compare(self.journeys(), self.models).to_frame()

    def figures(self, result: Any) -> Figures:
        """Return the credit."""
        return {name: result[name].to_dict() for name in self.models}


class Resampled(Plain):
    """Attribute with intervals from 1,000 resamples."""

    def run(self) -> Any:
        """Go from path strings to the table."""
        comparison = self.attribution.compare(self.journeys(), self.models, confidence=0.9)
        return comparison.to_frame(intervals=True)

    def figures(self, result: Any) -> Figures:
        """Return the standard errors."""
        return {name: result[name, "se"].to_dict() for name in self.models}


def write_generated(file: str) -> None:
    """Write the first 10,000 paths of the generator."""
    import pandas as pd

    write_paths(file, 20, 100_000)
    frame = pd.read_parquet(file).head(10_000)
    frame["path"] = frame["path"].str.replace(">", " > ")
    frame.to_parquet(file)


def write_given(file: str, source: str) -> None:
    """Write a table of one's own under the names of the generator."""
    import pandas as pd

    names = {"total_conversions": "conversions", "total_null": "nulls"}
    pd.read_csv(source).rename(columns=names).to_parquet(file)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each side")
    parser.add_argument("--paths", help="a path table as CSV")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tables = {"generated": str(Path(folder) / "generated.parquet")}
        apart(write_generated, tables["generated"])
        if arguments.paths:
            tables["given"] = str(Path(folder) / "given.parquet")
            apart(write_given, tables["given"], arguments.paths)
        for table, file in tables.items():
            for what, models in (("Markov, order 1", ("markov",)), ("6 rules", RULES)):
                sides = {
                    "plain": partial(Plain, models=models),
                    "resampled": partial(Resampled, models=models),
                }
                found = measure(sides, file, repeats=arguments.repeats)
                plain, resampled = found["plain"], found["resampled"]
                rows.append(
                    [
                        f"{table}: {what}",
                        f"{1e3 * plain.median:.1f}",
                        f"{1e3 * resampled.median:.1f}",
                        ratio(resampled, plain),
                        f"{plain.peak - plain.baseline:.0f}",
                        f"{resampled.peak - resampled.baseline:.0f}",
                    ]
                )
    print(environment(["numpy", "scipy", "pandas"]), "\n")
    header = ["10,000 paths", "fit ms", "1,000 resamples ms", "ratio", "fit MB", "resamples MB"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
