"""Journeys with every column as hypothesis strategies, and read back row by row."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from attribution import Journeys
from attribution.arrays import Coded

CHANNELS = ("Direct", "a", "b", "c")
DEVICES = ("laptop", "phone", None)
REGIONS = ("EU", "US", None)
TYPES = ("lead", "purchase", None)
MONTH = 30 * 86_400_000_000

touches = st.tuples(st.sampled_from(CHANNELS), st.sampled_from(DEVICES))
rows = st.fixed_dictionaries(
    {
        "touches": st.lists(touches, max_size=7),
        "conversions": st.integers(0, 3),
        "nulls": st.integers(0, 3),
        "value": st.integers(0, 9),
        "user": st.integers(0, 4),
        "end": st.integers(1_000, MONTH),
        "type": st.sampled_from(TYPES),
        "region": st.sampled_from(REGIONS),
    }
)


def build(table):
    """Turn rows into journeys; every touch has an id of its own, and times rise in each row."""
    touched = [touch for row in table for touch in row["touches"]]
    lengths = [len(row["touches"]) for row in table]
    before = [
        row["end"] - len(row["touches"]) + i for row in table for i in range(len(row["touches"]))
    ]
    used = tuple(sorted({channel for channel, _ in touched}))
    return Journeys(
        channels=used,
        codes=np.array([used.index(channel) for channel, _ in touched], dtype=np.int32),
        offsets=np.cumsum([0, *lengths]),
        conversions=np.array([row["conversions"] for row in table], dtype=float),
        nulls=np.array([row["nulls"] for row in table], dtype=float),
        values=np.array([row["value"] * (row["conversions"] > 0) for row in table], dtype=float),
        times=np.array(before, dtype=np.int64),
        touch_ids=np.arange(len(touched)),
        ends=np.array([row["end"] for row in table], dtype=np.int64),
        users=np.array([row["user"] for row in table], dtype=np.int64),
        conversion_types=Coded.of([row["type"] for row in table]),
        touch_attributes={"device": Coded.of([device for _, device in touched])},
        journey_attributes={"region": Coded.of([row["region"] for row in table])},
        audit={"rows_read": float(len(table))},
    )


def tables(min_size=1):
    """Draw journeys of some rows."""
    return st.lists(rows, min_size=min_size, max_size=8).map(build)


def touches_of(journeys):
    """Return for each row its touches as (channel, device, time, id)."""
    devices = journeys.touch_attributes["device"].to_numpy()
    names = [journeys.channels[code] for code in journeys.codes]
    columns = zip(names, devices, journeys.times.tolist(), journeys.touch_ids.tolist(), strict=True)
    listed = list(columns)
    cuts = journeys.offsets.tolist()
    return [listed[i:j] for i, j in pairwise(cuts)]


def paths_of(journeys):
    """Return for each row its channels."""
    return [[touch.channel for touch in journey.touchpoints] for journey in journeys]


def facts_of(journeys):
    """Return for each row everything that does not belong to a touch."""
    columns = (
        journeys.conversions,
        journeys.nulls,
        journeys.values,
        journeys.users,
        journeys.ends,
        journeys.conversion_types.to_numpy(),
        journeys.journey_attributes["region"].to_numpy(),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))
