"""A log with all that makes engines disagree, and the models whose answers must not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution import (
    DEFAULT_MODELS,
    MODELS,
    Journeys,
    Markov,
    MarkovPathLevel,
    Shapley,
    compare,
)
from attribution.models.base import sum_over

OPTIONS = {"value": "value", "lookback": "20D", "inactivity": "9D"}
CHANNELS = [f"channel {i:02d}" for i in range(70)]
MODELS_ASKED = [*DEFAULT_MODELS, Markov(order=2), Markov(order=3), MarkovPathLevel()]
EXACT = [MODELS["first_click"](), MODELS["last_click"]()]
COUNTED = [Markov(), Markov(order=2), Markov(order=3), Shapley(worth="rate"), MarkovPathLevel()]


def hard_log(n: int = 12_000, seed: int = 4) -> pd.DataFrame:
    """Text ids, tied times, both changes of the clock in a zone, 70 channels, rare ones."""
    rng = np.random.default_rng(seed)
    span = pd.date_range("2025-03-15", "2025-11-15", freq="10min", tz="UTC")
    clock = [
        span.get_indexer([pd.Timestamp(t, tz="UTC")])[0]
        for t in ("2025-03-30 01:00", "2025-10-26 01:00")
    ]
    near = np.concatenate([np.arange(c - 12, c + 12) for c in clock])
    step = np.where(rng.random(n) < 0.3, rng.choice(near, n), rng.integers(0, len(span), n))
    converted = rng.random(n) < 0.08
    weights = 1.0 / np.arange(1, 68)
    return pd.DataFrame(
        {
            "user_id": [f"user-ü{i}" for i in rng.integers(0, n // 5, n)],
            "timestamp": span[step].tz_convert("Europe/Berlin").as_unit("us"),
            "channel": np.where(
                np.arange(n) < n - 3,
                rng.choice(CHANNELS[:67], n, p=weights / weights.sum()),
                np.array(CHANNELS[67:])[np.arange(n) % 3],
            ),
            "converted": converted,
            "value": np.where(converted, rng.lognormal(3, 1, n), np.nan),
        }
    )


def write_parts(folder, log: pd.DataFrame, n_files: int = 4) -> str:
    """Write the log to several files; users span them. Return a glob."""
    for i, rows in enumerate(np.array_split(np.arange(len(log)), n_files)):
        pq.write_table(
            pa.Table.from_pandas(log.iloc[rows], preserve_index=False),
            folder / f"part-{i}.parquet",
            row_group_size=1_000,
        )
    return str(folder / "*.parquet")


def in_memory(log: pd.DataFrame) -> Journeys:
    return Journeys.from_events(log, **OPTIONS)


def assert_same_answers(found, wanted: Journeys) -> None:
    """Hold what an engine says against memory: counts exactly, the rest to 1e-11."""
    ours, theirs = compare(found, MODELS_ASKED), compare(wanted, MODELS_ASKED)
    assert list(ours.attributions) == list(theirs.attributions)
    for name, attribution in theirs.attributions.items():
        other = ours[name]
        assert other.channels == attribution.channels
        assert other.total_conversions == attribution.total_conversions
        assert other.unattributed == attribution.unattributed
        np.testing.assert_allclose(other.conversions, attribution.conversions, rtol=1e-11)
        np.testing.assert_allclose(other.values, attribution.values, rtol=1e-11)
        for column, figures in attribution.extra.items():
            np.testing.assert_allclose(other.extra[column], figures, rtol=1e-11, atol=1e-15)
    for model in EXACT:
        assert (ours[model.name].conversions == theirs[model.name].conversions).all()
    for model in COUNTED:
        assert_same_counts(sum_over(found, model.summarize), sum_over(wanted, model.summarize))


COUNTS = (
    "states",
    "starts",
    "conversions",
    "nulls",
    "sources",
    "targets",
    "counts",
    "touches",
    "members",
    "offsets",
)


def assert_same_counts(found, wanted) -> None:
    """Transitions and coalitions are equal to the last journey."""
    assert type(found) is type(wanted)
    compared = 0
    for name in COUNTS:
        if hasattr(wanted, name):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
            compared += 1
    for name in ("transitions", "coalitions"):
        if hasattr(wanted, name):
            assert_same_counts(getattr(found, name), getattr(wanted, name))
            compared += 1
    assert compared
