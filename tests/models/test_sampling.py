import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import InputError
from attribution.models.games import shapley_values, subset_sums
from attribution.models.sampling import draw_orders, sample_shapley_values

BLOCK = 2  # orders in a block, per player


def table_marginals(worths):
    """Marginal worths by looking up each set that builds up along an order."""

    def marginals(orders):
        joined = worths[np.bitwise_or.accumulate(1 << orders, axis=1)]
        gained = np.diff(joined, axis=1, prepend=worths[0])
        by_player = np.empty(orders.shape)
        np.put_along_axis(by_player, orders, gained, axis=1)
        return by_player

    return marginals


def loop_marginals(worths):
    """The same in plain Python."""

    def marginals(orders):
        rows = np.zeros(orders.shape)
        for row, order in zip(rows, orders.tolist(), strict=True):
            coalition = 0
            for player in order:
                row[player] = worths[coalition | 1 << player] - worths[coalition]
                coalition |= 1 << player
        return rows

    return marginals


def rate_game(n, seed=0):
    """Conversion rate of journeys within each set, from 2,000 random journeys."""
    rng = np.random.default_rng(seed)
    journeys = np.bitwise_or.reduce(1 << rng.integers(0, n, (2_000, 3)), axis=1)
    counts = np.bincount(journeys, minlength=2**n).astype(float)
    conversions = rng.binomial(counts.astype(int), rng.uniform(0, 0.5, 2**n)).astype(float)
    within = subset_sums(counts)
    return np.divide(subset_sums(conversions), within, out=np.zeros(2**n), where=within > 0)


def random_game(n, seed=0):
    return np.random.default_rng(seed).normal(size=2**n)


@pytest.fixture(scope="module")
def rates():
    return rate_game(16)


def test_both_ways_to_marginal_worths_agree():
    worths, orders = random_game(5), draw_orders(np.random.default_rng(1), 5, 3)
    assert (table_marginals(worths)(orders) == loop_marginals(worths)(orders)).all()


# --- the orders ---------------------------------------------------------------------------


@given(n=st.integers(1, 12), blocks=st.integers(1, 4), seed=st.integers(0, 1000))
def test_in_a_block_each_player_stands_twice_at_each_place_and_orders_come_reversed(
    n, blocks, seed
):
    orders = draw_orders(np.random.default_rng(seed), n, blocks)
    assert orders.shape == (blocks * BLOCK * n, n)
    assert (np.sort(orders, axis=1) == np.arange(n)).all()
    for block in orders.reshape(blocks, BLOCK * n, n):
        for place in block.T:
            assert np.bincount(place, minlength=n).tolist() == [2] * n
        assert (block[n:] == block[:n, ::-1]).all()


def test_every_row_of_a_block_is_any_permutation_equally_often():
    blocks, n = 24_000, 4
    orders = draw_orders(np.random.default_rng(0), n, blocks).reshape(blocks, BLOCK * n, n)
    for row in range(BLOCK * n):
        _, counts = np.unique(orders[:, row] @ [64, 16, 4, 1], return_counts=True)
        assert len(counts) == 24
        # 24,000 independent draws of 24 permutations: 1,000 each; 5 standard deviations.
        assert np.abs(counts - 1_000).max() < 5 * np.sqrt(1_000 * 23 / 24)


# --- values and their standard errors -----------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_up_to_three_players_every_block_is_exact(n):
    worths = random_game(n)
    sampled = sample_shapley_values(table_marginals(worths), n)
    assert sampled.values == pytest.approx(shapley_values(worths), abs=1e-14)
    assert sampled.standard_errors == pytest.approx(np.zeros(n), abs=1e-14)


@pytest.mark.parametrize("n", [4, 7, 10])
def test_games_of_pairs_are_exact(n):
    rng = np.random.default_rng(n)
    small = np.bitwise_count(np.arange(2**n)) <= 2
    worths = subset_sums(rng.normal(size=2**n) * small)
    worths -= worths[0]
    sampled = sample_shapley_values(table_marginals(worths), n, tolerance=1e-9)
    assert sampled.values == pytest.approx(shapley_values(worths), abs=1e-12)
    assert sampled.converged
    assert sampled.n_permutations == 32 * BLOCK * n


@given(n=st.integers(1, 8), seed=st.integers(0, 1000))
def test_values_add_up_to_the_worth_of_all_players(n, seed):
    worths = random_game(n, seed)
    sampled = sample_shapley_values(table_marginals(worths), n, max_permutations=64 * n)
    assert sampled.values.sum() == pytest.approx(worths[-1] - worths[0], abs=1e-13)


@pytest.mark.parametrize("game", [rate_game, random_game])
def test_many_permutations_come_close_to_the_exact_values(game):
    n = 9
    worths = game(n)
    sampled = sample_shapley_values(table_marginals(worths), n, max_permutations=100_000)
    error = np.abs(sampled.values - shapley_values(worths))
    # 9 players in 2 games, each beyond 4.5 standard errors with probability 7e-6.
    assert (error < 4.5 * sampled.standard_errors).all()
    assert (sampled.standard_errors < 0.01 * np.ptp(worths)).all()


def test_standard_errors_are_those_of_the_block_means():
    n, blocks = 6, 50
    marginals = table_marginals(random_game(n))
    rng = np.random.default_rng(7)
    sampled = sample_shapley_values(marginals, n, max_permutations=blocks * 12, random_state=7)
    # Batches of 32 and 18 blocks, from the same generator.
    orders = np.concatenate([draw_orders(rng, n, 32), draw_orders(rng, n, 18)])
    means = loop_marginals(random_game(n))(orders).reshape(blocks, 12, n).mean(axis=1)
    assert sampled.values == pytest.approx(means.mean(axis=0), rel=1e-12)
    expected = means.std(axis=0, ddof=1) / np.sqrt(blocks)
    assert sampled.standard_errors == pytest.approx(expected, rel=1e-12)


def coverage(worths, repeats, **options):
    """How often the exact value of each player lies within 1 and 2 standard errors."""
    n = worths.size.bit_length() - 1
    exact, marginals = shapley_values(worths), table_marginals(worths)
    within = np.zeros((2, n))
    for repeat in range(repeats):
        sampled = sample_shapley_values(marginals, n, random_state=repeat, **options)
        error = np.abs(sampled.values - exact)
        within += error <= np.outer([1, 2], sampled.standard_errors)
    return within / repeats


def assert_nominal(rates, repeats):
    """Repeats are independent, so the rate of each player is binomial; players are correlated.

    The mean over players varies no more than the rate of one, however they are correlated: it is
    held to 2 binomial standard deviations. Each of 32 rates is held to 4 (together beyond it with
    probability 0.2 %).
    """
    for rate, nominal in zip(rates, (0.6827, 0.9545), strict=True):
        deviation = np.sqrt(nominal * (1 - nominal) / repeats)
        assert abs(rate.mean() - nominal) < 2 * deviation
        assert (np.abs(rate - nominal) < 4 * deviation).all()


def test_standard_errors_cover_the_exact_values_at_their_nominal_rate(rates):
    # At the default budget of 200 blocks Student's distribution, of which the nominal rates are
    # the limit, has 68.1 and 95.3 %: short by a fifth of a binomial standard deviation at most.
    assert_nominal(coverage(rates, 1_000), 1_000)


def test_stopping_at_a_tolerance_leaves_the_coverage_nominal(rates):
    assert_nominal(coverage(rates, 400, tolerance=0.012), 400)


# --- stopping -----------------------------------------------------------------------------


def test_it_stops_at_the_tolerance_and_says_so(rates):
    marginals, total = table_marginals(rates), rates[-1]
    loose = sample_shapley_values(marginals, 16, tolerance=0.02)
    tight = sample_shapley_values(marginals, 16, tolerance=0.005, max_permutations=100_000)
    for sampled, tolerance in ((loose, 0.02), (tight, 0.005)):
        assert sampled.converged
        assert sampled.standard_errors.max() <= tolerance * total
    assert 1_024 <= loose.n_permutations < tight.n_permutations < 100_000


def test_it_says_when_the_tolerance_is_not_reached(rates):
    sampled = sample_shapley_values(
        table_marginals(rates), 16, tolerance=1e-6, max_permutations=2_000
    )
    assert not sampled.converged
    assert sampled.n_permutations == 1_984  # 62 blocks of 32


def test_without_a_tolerance_the_whole_budget_is_used(rates):
    marginals = table_marginals(rates)
    assert sample_shapley_values(marginals, 16).n_permutations == 6_400
    fixed = sample_shapley_values(marginals, 16, max_permutations=1_024)
    assert fixed.n_permutations == 1_024
    assert fixed.converged


def test_players_worth_nothing_together_never_reach_a_tolerance():
    worths = random_game(5)
    worths[0] = worths[-1]
    sampled = sample_shapley_values(table_marginals(worths), 5, tolerance=0.5)
    assert not sampled.converged


def test_batches_stay_small_for_many_players():
    seen = []

    def marginals(orders):
        seen.append(orders.size)
        return np.ones(orders.shape)

    sampled = sample_shapley_values(marginals, 100, max_permutations=64 * 100)
    assert sampled.values.tolist() == [1.0] * 100
    assert sum(seen) == 6_400 * 100
    assert max(seen) <= 2**17


# --- random state, immutability -----------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_none_is_seed_0():
    marginals = table_marginals(random_game(6))

    def run(random_state):
        return sample_shapley_values(marginals, 6, random_state=random_state)

    assert run(None).equals(run(None))
    assert run(None).equals(run(0))
    assert run(5).equals(run(np.random.default_rng(5)))
    assert not run(5).equals(run(6))


def test_a_generator_is_moved_on():
    marginals, rng = table_marginals(random_game(6)), np.random.default_rng(0)
    first = sample_shapley_values(marginals, 6, random_state=rng)
    assert not first.equals(sample_shapley_values(marginals, 6, random_state=rng))


def test_results_cannot_be_changed():
    sampled = sample_shapley_values(table_marginals(random_game(4)), 4)
    with pytest.raises(ValueError, match="read-only"):
        sampled.values[0] = 1.0
    with pytest.raises(AttributeError):
        sampled.converged = False


# --- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0 is not"),
        ({"n": 2.0}, r"n=2\.0 is not"),
        ({"n": True}, "n=True is not"),
        ({"tolerance": 0}, "tolerance=0 is not"),
        ({"tolerance": "1%"}, "tolerance='1%' is not"),
        ({"tolerance": -0.1}, r"tolerance=-0\.1 is not"),
        ({"tolerance": float("nan")}, "tolerance=nan is not"),
        ({"tolerance": float("inf")}, "tolerance=inf is not"),
        ({"max_permutations": 255}, "max_permutations=255 is not a whole number of at least 256"),
        ({"max_permutations": 1e4}, r"max_permutations=10000\.0 is not"),
        ({"random_state": "today"}, "random_state='today' is no seed"),
        ({"random_state": -1}, "random_state=-1 is no seed"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    marginals = table_marginals(random_game(4))
    with pytest.raises(InputError, match=message) as error:
        sample_shapley_values(marginals, **{"n": 4, **options})
    assert "Hint: " in str(error.value)


@pytest.mark.parametrize(
    ("marginals", "message"),
    [
        (lambda orders: np.zeros((len(orders), 3)), r"shape \(256, 3\) .* of shape \(256, 4\)"),
        (lambda orders: np.zeros(orders.shape, dtype=object), "type object"),
        (lambda _: None, r"shape \(\) and type object"),
        (lambda orders: np.where(orders == 2, np.nan, 0.0), r"nan for player \d in order \["),
    ],
)
def test_marginal_worths_that_do_not_fit_are_refused(marginals, message):
    with pytest.raises(InputError, match=message) as error:
        sample_shapley_values(marginals, 4)
    assert "Hint: " in str(error.value)
