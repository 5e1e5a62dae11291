"""Changes between periods: exact parts, paired users."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import InputError, Journeys, compare
from attribution.datasets import load_events
from attribution.uncertainty import compare_periods
from attribution.uncertainty.periods import split_change

PARTS = ["volume", "mix", "effect"]
numbers = st.lists(st.floats(-9, 9), min_size=3, max_size=3)


@given(numbers, numbers)
def test_parts_are_the_mean_over_all_orders(before, after):
    expected = [0.0, 0.0, 0.0]
    for order in permutations(range(3)):
        now = list(before)
        for changed in order:
            step = list(now)
            step[changed] = after[changed]
            expected[changed] += (np.prod(step) - np.prod(now)) / 6
            now = step
    found = split_change(list(map(np.float64, before)), list(map(np.float64, after)))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert sum(found) == pytest.approx(np.prod(after) - np.prod(before), abs=1e-9)


def paths(conversions, nulls, names=("a > b", "b", "c > a")):
    table = {"path": names, "conversions": conversions, "nulls": nulls}
    return Journeys.from_paths(pd.DataFrame(table), nulls="nulls")


def test_more_of_the_same_is_volume():
    before, after = paths([5, 6, 7], [50, 40, 30]), paths([10, 12, 14], [100, 80, 60])
    for model in ("linear", "markov", "shapley"):
        frame = compare_periods(before, after, model, n_resamples=5)
        np.testing.assert_allclose(frame["volume"], frame["before"])
        np.testing.assert_allclose(frame[["mix", "effect"]], 0, atol=1e-12)


def test_better_conversion_is_effect_and_other_channels_are_mix():
    frame = compare_periods(
        paths([5, 6, 7], [55, 54, 53]), paths([10, 12, 14], [50, 48, 46]), "linear"
    )
    np.testing.assert_allclose(frame["effect"], frame["change"])
    before, after = paths([5, 5, 5], [45, 45, 45]), paths([8, 2, 5], [72, 18, 45])
    frame = compare_periods(before, after, "last_click")
    np.testing.assert_allclose(frame["volume"], 0, atol=1e-12)
    # c closes nothing; a closes one path in three and is part of two, so its effect falls
    assert frame.loc["c", PARTS].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert frame.loc["a", "mix"] > 0


def test_a_channel_of_one_period_has_no_change_of_effect():
    before = paths([5, 6], [50, 40], ("a > b", "b"))
    after = paths([5, 6], [50, 40], ("a > b", "d > d"))
    frame = compare_periods(before, after, "linear")
    assert frame.loc["d", "before"] == 0
    assert frame.loc["d", "effect"] == 0
    assert frame.loc["d", "mix"] == frame.loc["d", "change"] == 6
    frame = compare_periods(before, after, "markov", n_resamples=20)
    np.testing.assert_allclose(frame[PARTS].sum(axis=1), frame["change"], atol=1e-9)


@pytest.fixture(scope="module")
def log():
    return Journeys.from_events(load_events(), value="value")


def test_parts_add_up_in_the_log(log):
    half = np.median(log.ends)
    before, after = log.select(log.ends < half), log.select(log.ends >= half)
    for of in ("conversions", "value"):
        frame = compare_periods(before, after, "markov", of=of, n_resamples=40)
        np.testing.assert_allclose(frame[PARTS].sum(axis=1), frame["change"], rtol=1e-9)
        for side, name in ((before, "before"), (after, "after")):
            expected = compare(side, ["markov"])["markov"].to_frame()[of]
            pd.testing.assert_series_equal(frame[name], expected, check_names=False)
        assert (frame["change_low"] <= frame["change_high"]).all()


def test_users_of_both_periods_are_paired(log):
    """A period compared with itself does not differ, for sure; without users it might."""
    frame = compare_periods(log, log, "linear", n_resamples=30)
    assert np.abs(frame[["change", "change_low", "change_high", "change_se"]]).max(axis=None) < 1e-9
    bare = replace(log, users=None)
    apart = compare_periods(bare, bare, "linear", n_resamples=300)
    single = compare([bare], ["linear"], confidence=0.9)["linear"].to_frame()["conversions_se"]
    # two independent samples: sqrt(2) times the error of one; 300 resamples know it to 4 %,
    # and each 200 buckets to 5 %
    ratio = apart["change_se"] / single
    assert ratio.mean() == pytest.approx(np.sqrt(2), rel=0.1)


def test_few_users_meet_many(log):
    """One period with fewer users than buckets, the other with more."""
    users = np.unique(log.users)
    few = log.select(np.isin(log.users, users[:50]))
    many = log.select(np.isin(log.users, users[:800]))
    frame = compare_periods(few, many, "linear", n_resamples=20)
    assert (frame["change"] >= 0).all()
    one = compare_periods(log.select(log.users == users[0]), many, "linear", n_resamples=20)
    assert one[["change_low", "volume_se"]].isna().all(axis=None)  # one user: nothing is known
    both = compare_periods(few, few.select(few.users != few.users[0]), "linear", n_resamples=20)
    assert (both["change"] <= 0).all()


def test_the_jackknife_leaves_out_users_of_both_periods(log):
    """Fewer users than buckets, and more; some buckets hold users of one period only."""
    users = np.unique(log.users)
    for first, second in ((users[:50], users[30:90]), (users[:300], users[100:500])):
        before, after = (log.select(np.isin(log.users, each)) for each in (first, second))
        frames = [
            compare_periods(before, after, "linear", method=method, n_resamples=2_000)
            for method in ("jackknife", "bootstrap")
        ]
        errors = [frame["change_se"].to_numpy() for frame in frames]
        # 2,000 resamples know an error to 1.6 %; few users make the bootstrap skew
        assert np.median(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.06)


def test_what_cannot_be_compared(log):
    bare = replace(log, users=None, values=None)
    with pytest.raises(InputError, match="method='bootstrap'"):
        compare_periods(bare, bare, "linear", method="jackknife")
    with pytest.raises(InputError, match="of='revenue' is not one of"):
        compare_periods(log, log, "linear", of="revenue")
    with pytest.raises(InputError, match="confidence=2 is not between"):
        compare_periods(iter([]), iter([]), "linear", confidence=2)
    with pytest.raises(InputError, match="These journeys have no value"):
        compare_periods(bare, bare, "linear", of="value", n_resamples=5)
