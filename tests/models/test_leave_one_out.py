import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_oracles import (
    Row,
    as_journeys,
    leave_one_out_credit,
    leave_one_out_shares,
    path_rates,
    tables,
)

from attribution import AttributionWarning, InputError
from attribution.models import LeaveOneOut, Linear, leave_one_out
from attribution.segments import offsets_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
)
EXACT = {"rel": 1e-12, "abs": 1e-12}  # the oracle adds fractions
few_names = tables(max_rows=30, max_length=4, names=("a", "b", "c"))


@given(rows=few_names)
def test_credit_is_that_of_the_definition(rows):
    frame = LeaveOneOut().attribute(as_journeys(rows)).to_frame()
    for of in ("conversions", "value"):
        expected = {c: float(x) for c, x in leave_one_out_credit(rows, of).items()}
        assert frame[of].to_dict() == pytest.approx(expected, **EXACT)


@given(rows=few_names)
def test_credit_of_single_touches_is_that_of_their_path(rows):
    expected = [
        float(share * row.conversions)
        for row in rows
        if row.path
        for share in leave_one_out_shares(rows, row.path)
    ]
    assert LeaveOneOut().credit(as_journeys(rows)).tolist() == pytest.approx(expected, **EXACT)


@given(
    paths=st.lists(st.lists(st.integers(0, 2), max_size=7).map(tuple), max_size=40, unique=True),
    data=st.data(),
)
def test_paths_without_a_touch_are_found_among_all(paths, data):
    offsets = offsets_of(np.array([len(path) for path in paths], dtype=np.int64))
    codes = np.array([code for path in paths for code in path], dtype=np.int64)
    filled = [i for i, path in enumerate(paths) if path]
    chosen = np.array(data.draw(st.permutations(filled)), dtype=np.int64)
    number = {path: i for i, path in enumerate(paths)}
    expected = [
        number.get(paths[i][:j] + paths[i][j + 1 :], -1)
        for i in chosen.tolist()
        for j in range(len(paths[i]))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out, "ENTRIES_AT_ONCE", data.draw(st.integers(1, 9)))
        assert leave_one_out.without_each(codes, offsets, chosen).tolist() == expected


def test_equal_numbers_of_other_paths_are_told_apart(monkeypatch):
    # Numbers that say the length only: every shorter path seems to be the one that is sought.
    def poor(codes, offsets):
        zeros = np.zeros(len(codes) + 1, dtype=np.uint64)
        return zeros, np.uint64(1), zeros[: len(offsets) - 1]

    monkeypatch.setattr(leave_one_out, "_hashes", poor)
    codes, offsets = np.array([1, 0, 2]), np.array([0, 1, 3])
    # "1" is neither "0 2" without 0 nor without 2.
    assert leave_one_out.without_each(codes, offsets, np.array([1])).tolist() == [-1, -1]


def thue_morse(n):
    return np.array([i.bit_count() % 2 for i in range(n)])


def test_paths_that_collide_modulo_every_power_of_two_are_told_apart():
    # The sequence of Thue and Morse and its complement, 1,024 touches each: their polynomials
    # differ by the product of 1 - B^(2^i) for i < 10, which 2^64 divides for every odd B.
    path = thue_morse(1024)
    codes = np.concatenate([path, 1 - path, path[1:]])
    offsets = np.array([0, 1024, 2048, 3071])
    found = leave_one_out.without_each(codes, offsets, np.array([0, 1]))
    # Only the first path begins 0 1: without that 0 it is the third.
    assert found.tolist() == [2] + [-1] * 2047


@given(
    paths=st.lists(
        st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=20, unique=True
    )
)
def test_paths_written_out_are_those_of_numbers(paths):
    offsets = offsets_of(np.array([len(path) for path in paths], dtype=np.int64))
    codes = np.array([code for path in paths for code in path], dtype=np.int64)
    chosen = np.arange(len(paths))
    expected = leave_one_out.without_each(codes, offsets, chosen).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out, "DRAWS", 0)  # as if every draw had shown paths alike
        patch.setattr(leave_one_out, "ENTRIES_AT_ONCE", 7)
        assert leave_one_out.without_each(codes, offsets, chosen).tolist() == expected


@given(x=st.integers(0, 2**61 - 2), y=st.integers(0, 2**61 - 2))
def test_arithmetic_modulo_the_prime(x, y):
    p, (a, b) = leave_one_out.PRIME, np.array([[x], [y]], dtype=np.uint64)
    assert leave_one_out._times(a, b).tolist() == [x * y % p]
    assert leave_one_out._less(a, b).tolist() == [(x - y) % p]
    many = np.repeat(a, 50)
    assert leave_one_out._prefix_sums(many).tolist() == [i * x % p for i in range(51)]


def test_conversions_alone_warn():
    with pytest.warns(AttributionWarning, match="no journeys without conversion"):
        LeaveOneOut().attribute(as_journeys([Row(("a", "b"), 1, 0)]))


def test_by_hand():
    rows = [
        Row(("a",), 1, 9, 5.0),
        Row(("b",), 3, 7, 3.0),
        Row(("a", "b"), 4, 4, 8.0),
        Row(("b", "a"), 1, 9, 2.0),
        Row(("a", "b", "a"), 3, 1, 6.0),
    ]
    # a > b: 0.5; without a 0.3, without b 0.1: lost 0.2 and 0.4. b > a: 0.1; without b 0.1,
    # without a 0.3: nothing lost, the last touch gets all. a > b > a: 0.75; without the first 0.1
    # (b > a), without b "a > a", which nobody took: 0; without the last 0.5: 0.65, 0.75, 0.25.
    result = LeaveOneOut().attribute(as_journeys(rows))
    assert result.conversions.tolist() == pytest.approx(
        [1 + 4 / 3 + 1 + 3 * 0.9 / 1.65, 3 + 8 / 3 + 3 * 0.75 / 1.65]
    )
    assert result.values.tolist() == pytest.approx(
        [5 + 8 / 3 + 2 + 6 * 0.9 / 1.65, 3 + 16 / 3 + 6 * 0.75 / 1.65]
    )
    # Of 9 touches, the only ones of "a" and of "b", and the middle one of a > b > a.
    assert result.details["unobserved_share"] == pytest.approx(3 / 9)


def test_rows_without_touches_do_not_make_the_empty_path_observed():
    alone = [Row(("a",), 1, 9)]
    result = LeaveOneOut().attribute(as_journeys([*alone, Row((), 99, 1)]))
    assert (result.conversions.tolist(), result.unattributed) == ([1], 99)
    assert result.details["n_paths"] == 1


def test_a_converting_path_that_the_result_does_not_know_goes_to_its_last_touch():
    known = as_journeys([Row(("a", "b"), 1, 1), Row(("a",), 1, 3)])
    result = LeaveOneOut().attribute(known)
    assert LeaveOneOut().credit(as_journeys([Row(("b", "a"), 4, 0)]), result).tolist() == [0, 4]


@given(rows=few_names)
def test_prediction_is_the_rate_of_the_path(rows):
    model, journeys = LeaveOneOut(), as_journeys(rows)
    rates = path_rates(rows)
    touched = [row for row in rows if row.path]
    whole = sum(row.conversions + row.nulls for row in touched)
    base = sum(row.conversions for row in touched) / whole if whole else np.nan
    expected = [float(rates.get(row.path, base)) if row.path else np.nan for row in rows]
    predicted = model.predict(model.summarize(journeys), journeys)
    np.testing.assert_allclose(predicted, expected, rtol=1e-12)


def test_long_paths_take_memory_by_their_length_not_its_square():
    # 20,000 touches, no two alike: a table of what is left would have 4e8 entries.
    n = 20_000
    codes, offsets = np.arange(n), np.array([0, n])
    assert (leave_one_out.without_each(codes, offsets, np.array([0])) == -1).all()


def test_another_statistic_is_refused():
    with pytest.raises(InputError, match="needs PathCounts, not ChannelCredit"):
        LeaveOneOut().solve(Linear().summarize(as_journeys([Row(("a",), 1, 1)])))
