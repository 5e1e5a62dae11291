"""Users and journeys spread over buckets: nothing is lost, and users stay whole."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journey_tables import tables

from attribution import InputError, Journeys
from attribution.uncertainty.buckets import AT_ONCE, TOTALS, Buckets, Plan, hashed, pieces_of

PLAN = Plan(20, 7)

parts = st.integers(0, 600).map(lambda tenths: tenths / 10)
counts = st.one_of(st.integers(0, 4).map(float), parts, st.integers(100, 10_000))
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
    counts = np.concatenate([journeys.conversions, journeys.nulls])
    n = int(np.ceil(counts.sum() - 1e-9))
    assert buckets.units.tolist() == pytest.approx(
        [1.0] * (n - 1) + [counts.sum() - (n - 1)] * (n > 0)
    )
    assert len(set(buckets.labels.tolist())) == n


def test_parts_of_counts_are_joined_to_journeys():
    """Rows of 0.3 and 0.9: whole journeys, and their parts together."""
    journeys = path_table([(0.3, 0.0), (0.9, 0.0), (0.8, 1.0)])
    buckets = Buckets.of(journeys, PLAN)
    spread = buckets.conversions.toarray()
    # journey 1 is 0.3 of the first row and 0.7 of the second, journey 2 what is left of both
    assert sorted(map(tuple, spread.round(9).tolist())) == [(0, 0, 0), (0, 0.2, 0.8), (0.3, 0.7, 0)]


def test_fractional_counts_are_as_uncertain_as_whole_ones():
    halves, wholes = (path_table([(size, size)] * int(4_000 / size)) for size in (0.5, 1.0))
    deviations = [
        np.mean([Buckets.of(each, Plan(200, s)).totals(each)[:, 1].std() for s in range(30)])
        for each in (halves, wholes)
    ]
    assert deviations[0] == pytest.approx(deviations[1], rel=0.05)


def test_large_tables_are_cut_into_pieces():
    journeys = path_table([(1e9, 3.0)] * 50_000)
    pieces = list(pieces_of(journeys, 200))
    assert len(pieces) > 1
    assert sum(map(len, pieces)) == 50_000
    for piece in pieces:
        assert np.minimum(piece.conversions, 200).sum() + piece.nulls.sum() < 1.1 * AT_ONCE
    assert next(pieces_of(many_users(5), 200)).users is not None


def test_more_journeys_than_can_be_counted():
    with pytest.raises(InputError, match="more journeys than floats can count"):
        Buckets.of(path_table([(1.0, 0.0), (1e19, 0.0)]), PLAN)


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
