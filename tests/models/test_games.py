import tracemalloc
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import InputError
from attribution.models.games import (
    EXACT_PLAYERS,
    interaction_values,
    n_players,
    shapley_values,
    subset_sums,
)

# Some hundreds of products and sums of numbers up to the largest worth in absolute value.
ROUNDING = 1e-14

FUNCTIONS = [shapley_values, interaction_values, subset_sums]


@st.composite
def games(draw, min_players=0, max_players=6):
    """Worths in quarters, so that floats hold them exactly; the empty set may be worth something"""
    n = draw(st.integers(min_players, max_players))
    quarters = st.integers(-40, 40)
    return np.array(draw(st.lists(quarters, min_size=2**n, max_size=2**n))) / 4.0


def random_game(n, seed=0):
    worths = np.random.default_rng(seed).normal(size=2**n)
    worths[0] = 0.0
    return worths


def near(expected, worths):
    return pytest.approx(expected, rel=0, abs=ROUNDING * max(1.0, np.abs(worths).max()))


def members(coalition, n):
    return [i for i in range(n) if coalition >> i & 1]


def mask(players):
    return sum(1 << i for i in players)


# --- the definitions, in exact numbers ----------------------------------------------------


def by_permutations(worths):
    n = n_players(worths)
    values = [Fraction(0)] * n
    for order in permutations(range(n)):
        for place, player in enumerate(order):
            gained = Fraction(worths[mask(order[: place + 1])]) - Fraction(
                worths[mask(order[:place])]
            )
            values[player] += gained / factorial(n)
    return values


def others_of(n, excluded):
    rest = [i for i in range(n) if i not in excluded]
    return [mask(s) for size in range(len(rest) + 1) for s in combinations(rest, size)]


@cache
def weight(size, n, together):
    return Fraction(factorial(size) * factorial(n - size - together), factorial(n - together + 1))


def by_subsets(worths):
    n, v = n_players(worths), [Fraction(worth) for worth in worths]
    return [
        sum(weight(s.bit_count(), n, 1) * (v[s | 1 << i] - v[s]) for s in others_of(n, {i}))
        for i in range(n)
    ]


def interactions_by_subsets(worths):
    n, v = n_players(worths), [Fraction(worth) for worth in worths]
    result = [[Fraction(0)] * n for _ in range(n)]
    for i, j in permutations(range(n), 2):
        for s in others_of(n, {i, j}):
            change = v[s | 1 << i | 1 << j] - v[s | 1 << i] - v[s | 1 << j] + v[s]
            result[i][j] += weight(s.bit_count(), n, 2) * change
    return result


def as_floats(rows):
    return np.array(rows, dtype=object).astype(float)


@given(worths=games())
def test_values_are_the_mean_marginal_worth_over_all_orders(worths):
    assert shapley_values(worths).tolist() == near(
        [float(x) for x in by_permutations(worths)], worths
    )


@given(worths=games())
def test_values_are_the_weighted_sum_over_subsets(worths):
    assert shapley_values(worths).tolist() == near([float(x) for x in by_subsets(worths)], worths)


@given(worths=games(max_players=5))
def test_interactions_are_the_weighted_sum_over_subsets(worths):
    n = n_players(worths)
    expected = as_floats(interactions_by_subsets(worths)).reshape(n, n)
    assert interaction_values(worths) == near(expected, worths)


@pytest.mark.parametrize("n", range(11))
def test_every_number_of_players_is_the_definition(n):
    worths = random_game(n)
    values = shapley_values(worths)
    assert values.shape == (n,)
    assert values == near(as_floats(by_subsets(worths)).reshape(n), worths)


@pytest.mark.parametrize("n", range(8))
def test_every_number_of_players_has_the_interactions_of_the_definition(n):
    worths = random_game(n)
    interactions = interaction_values(worths)
    assert interactions.shape == (n, n)
    assert interactions == near(as_floats(interactions_by_subsets(worths)).reshape(n, n), worths)


def unanimity(carrier, n):
    return np.array([float(m & carrier == carrier) for m in range(2**n)])


@pytest.mark.parametrize("n", range(1, 19))
def test_random_sums_of_unanimity_games_have_their_closed_form_at_every_size(n):
    rng = np.random.default_rng(n)
    dividends = np.zeros(2**n)
    values, pairs = np.zeros(n), np.zeros((n, n))
    for carrier in rng.integers(1, 2**n, 20).tolist():
        amount = rng.normal()
        dividends[carrier] += amount
        inside = members(carrier, n)
        values[inside] += amount / len(inside)
        if len(inside) > 1:
            pairs[np.ix_(inside, inside)] += amount / (len(inside) - 1)
    np.fill_diagonal(pairs, 0.0)
    worths = subset_sums(dividends)
    assert shapley_values(worths) == near(values, worths)
    assert interaction_values(worths) == near(pairs, worths)


# --- axioms -------------------------------------------------------------------------------

sizes = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


@given(n=sizes, seed=seeds, empty=st.floats(-5, 5))
def test_values_share_out_what_all_players_are_worth_beyond_none(n, seed, empty):
    worths = random_game(n, seed)
    worths[0] = empty
    assert shapley_values(worths).sum() == near(worths[-1] - empty, worths * n)


@given(n=sizes, seed=seeds, data=st.data())
def test_players_keep_their_values_when_they_are_renumbered(n, seed, data):
    place = data.draw(st.permutations(range(n)))
    worths = random_game(n, seed)
    renumbered = np.empty_like(worths)
    renumbered[[mask(place[i] for i in members(m, n)) for m in range(2**n)]] = worths
    assert shapley_values(renumbered)[place] == near(shapley_values(worths), worths)
    moved = interaction_values(renumbered)[np.ix_(place, place)]
    assert moved == near(interaction_values(worths), worths)


@given(n=st.integers(2, 12), seed=seeds)
def test_players_who_can_be_swapped_get_the_same(n, seed):
    worths = random_game(n, seed)
    swapped = [m & ~(1 | 1 << n - 1) | (m & 1) << n - 1 | m >> n - 1 for m in range(2**n)]
    alike = worths + worths[swapped]
    values = shapley_values(alike)
    assert values[0] == near(values[-1], alike)


@given(n=sizes, seed=seeds, own=st.floats(-5, 5), data=st.data())
def test_a_player_who_adds_only_its_own_worth_gets_that_and_interacts_with_nobody(
    n, seed, own, data
):
    player = data.draw(st.integers(0, n - 1))
    others = random_game(n, seed)
    coalition = np.arange(2**n)
    worths = others[coalition & ~(1 << player)] + own * (coalition >> player & 1)
    assert shapley_values(worths)[player] == near(own, worths)
    assert interaction_values(worths)[player] == near(np.zeros(n), worths)


@given(n=sizes, seed=seeds, factor=st.floats(-5, 5))
def test_values_and_interactions_add_up_over_games(n, seed, factor):
    one, other = random_game(n, seed), random_game(n, seed + 1)
    both = one + factor * other
    for solve in (shapley_values, interaction_values):
        assert solve(both) == near(
            solve(one) + factor * solve(other), np.abs(one) + 5 * np.abs(other)
        )


@given(n=sizes, seed=seeds)
def test_players_who_always_add_worth_get_some(n, seed):
    # Sums over subsets of positive amounts: each player adds at least its own amount.
    worths = subset_sums(np.random.default_rng(seed).uniform(0.1, 1, 2**n))
    assert (shapley_values(worths) > 0.1 - ROUNDING * worths[-1]).all()


@given(n=sizes, seed=seeds)
def test_interactions_are_symmetric_with_a_zero_diagonal(n, seed):
    interactions = interaction_values(random_game(n, seed))
    assert (interactions == interactions.T).all()
    assert (interactions.diagonal() == 0).all()


# --- known games --------------------------------------------------------------------------


def test_a_pair_that_is_worth_something_only_together_complements_fully():
    worths = unanimity(0b1010, 4)
    expected = np.zeros((4, 4))
    expected[1, 3] = expected[3, 1] = 1.0
    assert interaction_values(worths) == near(expected, worths)
    assert shapley_values(worths) == near([0, 0.5, 0, 0.5], worths)


def test_players_who_do_the_same_are_substitutes():
    either = np.array([float(m > 0) for m in range(8)])
    # I_ij = sum over S of u_|S| x change: only S = {} changes, by 1 - 1 - 1 + 0, with u_0 = 1/2.
    assert interaction_values(either) == near((np.eye(3) - 1) / 2, either)
    assert shapley_values(either) == near([1 / 3] * 3, either)


def test_worths_that_only_add_have_no_interactions():
    worths = np.array([sum(i + 1.0 for i in members(m, 7)) for m in range(2**7)])
    assert interaction_values(worths) == near(np.zeros((7, 7)), worths)
    assert shapley_values(worths) == near(np.arange(1.0, 8.0), worths)


def test_the_glove_game():
    # Player 0 has the left glove, players 1 and 2 have right ones (Shapley and Shubik).
    worths = np.array([0, 0, 0, 1, 0, 1, 0, 1])
    assert shapley_values(worths) == near([2 / 3, 1 / 6, 1 / 6], worths)


def test_no_players_have_no_values():
    assert shapley_values([3.0]).shape == (0,)
    assert interaction_values([3.0]).shape == (0, 0)
    assert subset_sums([3.0]).tolist() == [3.0]


# --- shapiq -------------------------------------------------------------------------------


def of_shapiq(worths, index, order):
    """Values by player or pair; shapiq takes coalitions as rows of booleans."""
    computer = pytest.importorskip("shapiq").ExactComputer
    n = n_players(worths)
    bits = 1 << np.arange(n)
    solved = computer(game=lambda rows: worths[rows.astype(np.int64) @ bits], n_players=n)
    return solved(index, order=order)


@pytest.mark.filterwarnings("ignore")  # what shapiq and its dependencies say when imported
@pytest.mark.parametrize("n", range(8, 13))
def test_values_and_interactions_agree_with_shapiq(n):
    worths = random_game(n, seed=n)
    theirs = of_shapiq(worths, "SV", 1)
    assert shapley_values(worths) == near([theirs[(i,)] for i in range(n)], worths * n)
    theirs = of_shapiq(worths, "SII", 2)
    interactions = interaction_values(worths)
    for pair in combinations(range(n), 2):
        assert interactions[pair] == near(theirs[pair], worths * n)


# --- subset sums --------------------------------------------------------------------------


@given(amounts=games())
def test_subset_sums_add_the_amounts_of_every_subset(amounts):
    expected = [sum(amounts[k] for k in range(m + 1) if k & m == k) for m in range(len(amounts))]
    assert subset_sums(amounts).tolist() == expected


def test_subset_sums_leave_the_amounts_alone():
    amounts = np.ones(8)
    subset_sums(amounts)
    assert amounts.tolist() == [1.0] * 8


# --- input, memory, repetition ------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64, bool, ">f8"])
@pytest.mark.parametrize("solve", FUNCTIONS)
def test_other_numbers_are_converted(solve, dtype):
    worths = np.array([0, 1, 0, 1, 1, 1, 0, 1], dtype=dtype)
    assert (solve(worths) == solve(worths.astype(float))).all()
    assert solve(worths).dtype == np.float64
    assert (solve(worths.tolist()) == solve(worths)).all()
    assert (solve(np.repeat(worths, 2)[::2]) == solve(worths)).all()


@pytest.mark.parametrize(
    ("worths", "message"),
    [
        (np.zeros(12), r"length 12, .* nearest: 8 \(n = 3\) and 16 \(n = 4\)"),
        (np.zeros(2**10 + 1), r"length 1,025, .* nearest: 1,024 \(n = 10\) and 2,048"),
        ([], r"length 0, .* nearest: 1 \(n = 0\)\. Hint"),
        (np.zeros((2, 2)), r"shape \(2, 2\), not one dimension"),
        (3.0, r"shape \(\), not one dimension"),
        ([0, 1, np.nan, np.inf], r"nan at index 2 \(bits 10, "),
        ([0, 0, 0, 0, 0, -np.inf, np.nan, 0], r"-inf at index 5 \(bits 101, "),
        ([np.inf], "inf at index 0"),
        (["0", "1"], "type <U1, not numbers"),
        ([0, None], "type object, not numbers"),
        ([0, 1j], "type complex128, not numbers"),
        ([[0], [0, 1]], "is no array"),
    ],
)
@pytest.mark.parametrize("solve", FUNCTIONS)
def test_what_is_no_game_is_refused_by_what_is_wrong_with_it(solve, worths, message):
    with pytest.raises(InputError, match=message) as error:
        solve(worths)
    assert "Hint: " in str(error.value)


def test_worths_whose_sum_overflows_are_still_finite():
    huge = np.array([0.0, 1.7e308, 0.0, 1.7e308])
    assert shapley_values(huge).tolist() == [1.7e308, 0.0]


def test_errors_name_what_was_passed():
    with pytest.raises(InputError, match=r"^worths has"):
        shapley_values([0, np.nan])
    with pytest.raises(InputError, match=r"^amounts has"):
        subset_sums([0, np.nan])


@pytest.mark.parametrize(
    ("solve", "arrays"), [(shapley_values, 0.3), (interaction_values, 0.85), (subset_sums, 1.1)]
)
def test_memory_beside_the_worths(solve, arrays):
    # Worths: 2 MB. Values need some rows of 64 KB, interactions half as many worths besides;
    # the result of subset_sums is one array, and numpy buffers strided additions in 0.2 MB.
    worths = random_game(18)
    tracemalloc.start()
    try:
        solve(worths)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= arrays * worths.nbytes


@pytest.mark.parametrize("solve", FUNCTIONS)
@pytest.mark.parametrize("n", [5, 12, 17])
def test_repetition_and_place_in_memory_change_no_bit(solve, n):
    worths = random_game(n)
    moved = np.empty(2**n + 1)[1:]
    moved[:] = worths
    first = solve(worths).tobytes()
    assert solve(worths).tobytes() == first
    assert solve(moved).tobytes() == first


def test_the_largest_exact_game_takes_128_mib():
    assert 2**EXACT_PLAYERS * np.float64().itemsize == 128 * 2**20
