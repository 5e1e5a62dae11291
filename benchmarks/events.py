"""From an event log in a Parquet file to seven models, beside merely reading the file.

The lower bound is ``pyarrow.parquet.read_table`` of the five columns; the other side reads the
same columns, builds the journeys, runs the default models and makes the tables of results. One
run prints a markdown table: seconds, their ratio, the cost of a touch and the peak memory.

    python benchmarks/events.py [--touches 1000000 3000000 10000000] [--repeats 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Figures, Measurement, apart, environment, markdown, measure

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ["user_id", "timestamp", "channel", "converted", "value"]
DAY = 86_400_000_000  # microseconds


def write_events(file: str, n_touches: int, ids: str) -> int:
    """Write an event log in order of time. Return its number of users.

    A user has four touches on average (geometric), the first within a year, exponential gaps of
    five days on average, one of 20 channels each. About 6 % of the touches convert and have a
    value; it is null elsewhere. ``ids`` is "strings" or "integers".
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rng = np.random.default_rng(10)
    n_users = n_touches // 4
    firsts = np.concatenate(([0], 1 + rng.choice(n_touches - 1, n_users - 1, replace=False)))
    firsts.sort()
    users = np.zeros(n_touches, dtype=np.int64)
    users[firsts] = 1
    np.cumsum(users, out=users)
    times = rng.exponential(5 * DAY, n_touches).astype(np.int64)
    times[firsts] = 0
    np.cumsum(times, out=times)
    starts = rng.integers(0, 365 * DAY, n_users) - times[firsts]
    times += starts[users - 1]
    order = np.argsort(times)

    popularity = 1 / np.arange(1, 21)
    popularity /= popularity.sum()
    names = pa.array([f"channel {i:02d}" for i in range(20)])
    begin = np.datetime64("2024-01-01", "us").astype(np.int64)
    writer = None
    for start in range(0, n_touches, 1 << 20):
        rows = order[start : start + (1 << 20)]
        user = pa.array(users[rows])
        if ids == "strings":
            digits = pc.utf8_lpad(user.cast(pa.string()), width=9, padding="0")
            user = pc.binary_join_element_wise("user-", digits, "")
        converted = rng.random(len(rows)) < 0.06
        value = rng.lognormal(4.0, 0.8, len(rows)).round(2)
        chunk = pa.table(
            {
                "user_id": user,
                "timestamp": pa.array(begin + times[rows]).cast(pa.timestamp("us")),
                "channel": names.take(pa.array(rng.choice(20, len(rows), p=popularity))),
                "converted": pa.array(converted),
                "value": pa.array(value, mask=~converted),
            }
        )
        writer = writer or pq.ParquetWriter(file, chunk.schema)
        writer.write_table(chunk)
    if writer is not None:
        writer.close()
    return n_users


class Read:
    """The lower bound: the five columns in memory."""

    def __init__(self, data: str) -> None:
        import pyarrow.parquet

        self.parquet = pyarrow.parquet
        self.file = data

    def run(self) -> pa.Table:
        """Read."""
        return self.parquet.read_table(self.file, columns=COLUMNS)

    def figures(self, result: Any) -> Figures:
        """Return nothing: this benchmark is about time and memory."""
        return {}


class Attribute(Read):
    """Read, build the journeys, run the default models, make both tables."""

    def __init__(self, data: str) -> None:
        super().__init__(data)
        import attribution

        self.attribution = attribution

    def run(self) -> Any:
        """Go from the file to the two tables."""
        journeys = self.attribution.Journeys.from_events(
            super().run(),
            user="user_id",
            time="timestamp",
            channel="channel",
            conversion="converted",
            value="value",
        )
        comparison = self.attribution.compare(journeys)
        return comparison.to_frame(of="conversions"), comparison.to_frame(of="value")


def row(ids: str, n_touches: int, found: dict[str, Measurement]) -> list[str]:
    """Lay out one row of the table."""
    read, ours = found["read"], found["attribute"]
    failed = read.error or ours.error
    if failed:
        return [ids, f"{n_touches:,}", f"{read.median:.3f}", failed, *["-"] * 4]
    return [
        ids,
        f"{n_touches:,}",
        f"{read.median:.3f}",
        f"{ours.median:.3f}",
        f"{ours.median / read.median:.1f}",
        f"{ours.median / n_touches * 1e9:.0f}",
        f"{read.peak:.0f}",
        f"{ours.peak:.0f}",
    ]


def main() -> None:
    """Measure every size in both variants and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    sizes = [1_000_000, 3_000_000, 10_000_000]
    parser.add_argument("--touches", type=int, nargs="+", default=sizes, help="sizes of the log")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    options = parser.parse_args()

    rows = []
    for n_touches in options.touches:
        for ids in ("integers", "strings"):
            with tempfile.TemporaryDirectory() as folder:
                file = str(Path(folder) / "events.parquet")
                apart(write_events, file, n_touches, ids)
                sides = {"read": Read, "attribute": Attribute}
                found = measure(sides, file, repeats=options.repeats)
            rows.append(row(ids, n_touches, found))

    print(environment(["multitouch-attribution", "numpy", "pandas", "pyarrow"]), end="\n\n")
    print("Medians; the targets at 10,000,000 touches are a ratio of at most 12 and a peak below")
    print("3,000 MB. A cost per touch that stays the same is growth in proportion.\n")
    header = ["ids", "touches", "read, s", "read and attribute, s", "ratio", "ns a touch"]
    print(markdown([*header, "read, peak MB", "read and attribute, peak MB"], rows))


if __name__ == "__main__":
    main()
