"""Cost against size, for logs larger than memory: from Parquet through all seven models.

The lower bound is DuckDB alone writing the same columns partitioned by user, the least that any
out-of-core run must do; the peer is SQL in DuckDB that builds the converting journeys and gives
first-click, last-click and linear credit. One run prints a markdown table: seconds, ratios, the
cost of a touch and the peak memory of each process.

    python benchmarks/scale.py [--touches 1000000 ...] [--repeats 5] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from events import COLUMNS, write_events
from measure import Figures, Measurement, apart, environment, markdown, measure

SIZES = [1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000]
MEMORY = "1GB"
RULES = ("first_click", "last_click", "linear")
SQL = """
WITH events AS (
    SELECT user_id, timestamp AS t, channel, converted, coalesce(value, 0) AS value FROM '{file}'
), conversions AS (
    SELECT user_id, t, count(*) AS n, sum(value) AS value
    FROM events WHERE converted GROUP BY user_id, t
), touches AS (
    SELECT user_id, t, channel, min(t) FILTER (converted) OVER (
        PARTITION BY user_id ORDER BY t RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS conversion FROM events
), claimed AS (
    SELECT *, row_number() OVER journey AS place, count(*) OVER (
        PARTITION BY user_id, conversion
    ) AS length FROM touches WHERE conversion - t <= INTERVAL 90 DAY
    WINDOW journey AS (PARTITION BY user_id, conversion ORDER BY t, channel)
)
SELECT claimed.channel,
    coalesce(sum(n) FILTER (place = 1), 0) AS first_click,
    coalesce(sum(n) FILTER (place = length), 0) AS last_click,
    sum(n / length) AS linear,
    coalesce(sum(conversions.value) FILTER (place = 1), 0) AS first_click_value,
    coalesce(sum(conversions.value) FILTER (place = length), 0) AS last_click_value,
    sum(conversions.value / length) AS linear_value
FROM claimed JOIN conversions
    ON claimed.user_id = conversions.user_id AND claimed.conversion = conversions.t
GROUP BY claimed.channel ORDER BY claimed.channel
"""


class DuckDB:
    """What the sides that use DuckDB alone share: a connection with a memory limit."""

    def __init__(self, data: str) -> None:
        import duckdb

        self.file = data
        self.folder = Path(data).parent / type(self).__name__
        self.folder.mkdir()
        self.connection = duckdb.connect(
            config={"memory_limit": MEMORY, "temp_directory": str(self.folder / "spill")}
        )

    def figures(self, result: Any) -> Figures:
        """Return nothing: most sides are about time and memory."""
        return {}


class Scan(DuckDB):
    """Merely reading: the five columns as Arrow batches that are dropped at once."""

    def run(self) -> int:
        """Read and count the rows."""
        query = f"SELECT {', '.join(COLUMNS)} FROM '{self.file}'"
        reader = self.connection.sql(query).to_arrow_reader(500_000)
        return sum(len(batch) for batch in reader)


class Partition(DuckDB):
    """The lower bound: the five columns written to 16 partitions by user."""

    def run(self) -> None:
        """Write; what the run before wrote is removed first, within the clock."""
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        self.connection.execute(
            f"COPY (SELECT {', '.join(COLUMNS)}, (hash(user_id) % 16)::INT AS part "
            f"FROM '{self.file}') TO '{self.folder / 'parts'}' (FORMAT parquet, "
            "PARTITION_BY (part))"
        )


class Sql(DuckDB):
    """The peer: converting journeys and three rules in SQL."""

    def run(self) -> Any:
        """Return the credit per channel."""
        return self.connection.sql(SQL.format(file=self.file)).to_arrow_table()

    def figures(self, result: Any) -> Figures:
        """Return the credit by rule."""
        table = result.to_pydict()
        columns = [name for rule in RULES for name in (rule, f"{rule}_value")]
        return {
            name: dict(zip(table["channel"], map(float, table[name]), strict=True))
            for name in columns
        }


class Attribution:
    """Ours: scan, seven models, both tables of results."""

    def __init__(self, data: str) -> None:
        import attribution
        from attribution.engines import duckdb

        self.attribution, self.engine, self.file = attribution, duckdb, data

    def run(self) -> Any:
        """Go from the file to the two tables."""
        folder = Path(self.file).parent
        with self.engine.scan(
            self.file, value="value", memory_limit=MEMORY, spill_folder=folder
        ) as journeys:
            comparison = self.attribution.compare(journeys)
        return comparison.to_frame(of="conversions"), comparison.to_frame(of="value")

    def figures(self, result: Any) -> Figures:
        """Return the credit by rule."""
        conversions, values = result
        found = {rule: conversions[rule].to_dict() for rule in RULES}
        return found | {f"{rule}_value": values[rule].to_dict() for rule in RULES}


def difference(a: Figures, b: Figures) -> float:
    """Return the largest relative difference of any figure."""
    return max(
        abs(value - b[column][channel]) / max(abs(value), 1e-300)
        for column, figures in a.items()
        for channel, value in figures.items()
    )


def row(n_touches: int, found: dict[str, Measurement]) -> list[str]:
    """Lay out one row of the table."""
    ours, bound, sql = found["attribution"], found["partition"], found["sql"]
    peer = ["failed: " + sql.error] * 2 if sql.error else None
    return [
        f"{n_touches:,}",
        f"{found['scan'].median:.2f}",
        f"{bound.median:.2f}",
        f"{ours.median:.2f}",
        f"{ours.median / bound.median:.2f}",
        f"{ours.median / n_touches * 1e9:.0f}",
        f"{ours.peak:.0f}",
        f"{bound.peak:.0f}",
        *(peer or [f"{sql.median:.2f}", f"{sql.median / ours.median:.2f}"]),
    ]


def main() -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--touches", type=int, nargs="+", default=SIZES, help="sizes of the log")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--folder", help="where to write the log and what is spilled")
    options = parser.parse_args()

    sides = {"scan": Scan, "partition": Partition, "attribution": Attribution, "sql": Sql}
    rows, differences = [], []
    for n_touches in options.touches:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            file = str(Path(folder) / "events.parquet")
            apart(write_events, file, n_touches, "integers")
            found = measure(sides, file, repeats=options.repeats)
        rows.append(row(n_touches, found))
        ours, sql = found["attribution"].figures, found["sql"].figures
        if ours and sql:
            differences.append(difference(ours, sql))
        print(markdown([""] * 10, rows[-1:]).splitlines()[-1], flush=True)

    print()
    print(environment(["multitouch-attribution", "numpy", "pyarrow", "duckdb"]), end="\n\n")
    print(f"Medians of {options.repeats}, memory_limit {MEMORY} for all. Targets: at 100,000,000")
    print("touches a ratio of at most 2.5 and a peak below 2,000 MB, at 10,000,000 a peak below")
    print("700 MB. A cost per touch that stays the same is growth in proportion.\n")
    header = ["touches", "scan, s", "partition, s", "attribution, s", "attribution / partition"]
    header += ["ns a touch", "attribution, peak MB", "partition, peak MB", "SQL, s"]
    print(markdown([*header, "SQL / attribution"], rows))
    if differences:
        print(f"\nLargest relative difference between SQL and ours: {max(differences):.1e}")


if __name__ == "__main__":
    main()
