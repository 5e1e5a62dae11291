"""Users and journeys spread over buckets: nothing is lost, and users stay whole."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journey_tables import tables

from attribution import Journeys
from attribution.uncertainty.buckets import TOTALS, Buckets, Plan, hashed

PLAN = Plan(20, 7)

counts = st.one_of(st.integers(0, 4).map(float), st.floats(0, 60), st.integers(100, 10_000))
pairs = st.lists(st.tuples(counts, counts), min_size=1, max_size=6)


def path_table(rows):
    return Journeys(
        channels=("a", "b"),
        codes=np.zeros(len(rows), dtype=np.int32),
        offsets=np.arange(len(rows) + 1),
        conversions=np.array([conversions for conversions, _ in rows], dtype=float),
        nulls=np.array([nulls for _, nulls in rows], dtype=float),
        values=np.array([3.0 * conversions for conversions, _ in rows]),
    )


@given(pairs)
def test_journeys_of_a_path_table_are_spread_without_loss(rows):
    journeys = path_table(rows)
    buckets = Buckets.of(journeys, PLAN)
    for name in ("conversions", "nulls", "values"):
        spread = getattr(buckets, name).sum(axis=0)
        np.testing.assert_allclose(spread, getattr(journeys, name), rtol=1e-12, atol=1e-12)
    assert buckets.units.sum() == pytest.approx(journeys.n_journeys, rel=1e-12)


@given(pairs)
def test_a_few_journeys_have_a_bucket_each(rows):
    journeys = path_table([(conversions % 2, nulls % 2) for conversions, nulls in rows[:4]])
    buckets = Buckets.of(journeys, PLAN)
    pieces = np.ceil(np.concatenate([journeys.conversions, journeys.nulls])).sum()
    assert len(buckets.units) == pieces
    assert (buckets.units <= 1).all()
    assert len(set(buckets.labels.tolist())) == pieces


def test_a_row_is_thrown_journey_by_journey():
    """Multinomial: the mean is count / m, the variance count (1 / m) (1 - 1 / m)."""
    count, m = 50_000, 200
    for of_row in (count, 150):  # dealt out by a multinomial draw, or one by one
        rows = [(of_row, 0.0)] * (count // of_row)
        heaps = Buckets.of(path_table(rows), Plan(m, 1)).units
        total = of_row * len(rows)
        z = (heaps - total / m) / np.sqrt(total / m * (1 - 1 / m))
        assert abs(z.var() - 1) < 4 * np.sqrt(2 / m)


def test_parts_of_a_path_table_are_spread_independently():
    journeys = path_table([(900.0, 900.0)])
    first, second = (Buckets.of(journeys, PLAN, number) for number in (0, 1))
    assert not np.array_equal(first.conversions.toarray(), second.conversions.toarray())


@given(tables())
def test_a_user_has_one_bucket(journeys):
    journeys = replace(journeys, users=journeys.users - 2)  # negative keys, too
    buckets = Buckets.of(journeys, PLAN)
    assert buckets.labels.tolist() == sorted(set(journeys.users.tolist()))
    assert (buckets.units == 1).all()
    for row, user in enumerate(journeys.users):
        if journeys.conversions[row]:
            (bucket,) = np.flatnonzero(buckets.conversions.toarray()[:, row])
            assert buckets.labels[bucket] == user


def many_users(n):
    rng = np.random.default_rng(3)
    users = np.repeat(rng.integers(-(2**63), 2**63 - 1, size=n), 2)
    return Journeys(
        channels=("a",),
        codes=np.zeros(2 * n, dtype=np.int32),
        offsets=np.arange(2 * n + 1),
        conversions=np.ones(2 * n),
        nulls=np.zeros(2 * n),
        users=users,
    )


def test_many_users_are_hashed_evenly_and_alike_in_every_part():
    journeys = many_users(20_000)
    plan = Plan(100, 5)
    buckets = Buckets.of(journeys, plan)
    assert buckets.labels is None
    assert buckets.units.sum() == 20_000
    chi_square = ((buckets.units - 200) ** 2 / 200).sum()
    assert abs(chi_square - 99) < 4 * np.sqrt(2 * 99)
    half = journeys.select(np.arange(len(journeys)) % 2 == 0)
    assert np.array_equal(Buckets.of(half, plan).units, buckets.units)
    assert not np.array_equal(Buckets.of(journeys, Plan(100, 6)).units, buckets.units)


def test_hash_is_that_of_the_literature():
    """First numbers of splitmix64 with seed 0: each is the finalizer of a multiple of the gamma."""
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert hashed(np.array([1, 2, 3]), 0).tolist() == known


def test_totals_name_what_each_bucket_holds():
    table = pd.DataFrame(
        {
            "path": ["a > b", "", "b"],
            "conversions": [2, 3, 0],
            "value": [8, 9, 0],
            "nulls": [1, 0, 4],
        }
    )
    journeys = Journeys.from_paths(table, value="value", nulls="nulls", empty="unattributed")
    totals = Buckets.of(journeys, PLAN).totals(journeys).sum(axis=0)
    expected = {"units": 10, "conversions": 5, "nulls": 5, "unattributed": 3, "value": 17}
    expected["unattributed_value"] = 9
    assert dict(zip(TOTALS, totals.tolist(), strict=True)) == pytest.approx(expected)
