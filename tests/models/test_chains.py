from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_oracles import Chain, Row, as_journeys, tables
from scipy.sparse import csr_array
from scipy.sparse.linalg import splu

from attribution import AttributionWarning, Markov
from attribution.models import chains, factors, removals, walks

# Random tables often have no journey without conversion, or none longer than the order;
# test_markov holds the warnings.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)

# Both sides solve a system of at most some tens of well-conditioned equations.
SOLVED = {"rel": 1e-9, "abs": 1e-11}
ROUNDING = 1e-12
orders = st.integers(1, 5)


def walked_losses(chain, groups):
    losses, bound = removals.walked_losses(chain, groups)
    assert bound <= chains.TOLERANCE
    return losses


SOLVERS = [factors.dense_losses, factors.sparse_losses, walked_losses]


def chain_and_groups(rows, order):
    statistic = Markov(order=order).summarize(as_journeys(rows))
    groups = chains.states_of_channels(statistic.states, len(statistic.channels))
    return chains.Chain.of(statistic), groups


@st.composite
def chains_with_groups(draw):
    """Chains of orders 1 to 5, with the states of each channel and of three random sets."""
    chain, groups = chain_and_groups(draw(tables(converting=True)), draw(orders))
    n = len(chain.visits)
    masks = draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=3, max_size=3))
    return chain, [*groups, *map(np.flatnonzero, masks)]


def exact_losses(chain, groups):
    """Earned in all less what is earned where the groups lead to null; one dense solve each."""
    q, reward, n = chain.transitions.toarray(), chain.reward, len(chain.visits)
    losses = []
    for members in groups:
        lives = np.ones(n)
        lives[members] = 0.0
        h = np.linalg.solve(np.eye(n) - lives[:, None] * q, lives[:, None] * reward)
        losses.append(chain.total - chain.starts @ h)
    return np.array(losses)


# --- three solvers, one solution ----------------------------------------------------------


@pytest.mark.parametrize("losses", SOLVERS)
@given(drawn=chains_with_groups())
def test_losses_of_any_states_equal_one_solve_per_group(losses, drawn):
    chain, groups = drawn
    np.testing.assert_allclose(
        losses(chain, groups) / chain.total, exact_losses(chain, groups) / chain.total, atol=1e-11
    )


@given(drawn=chains_with_groups())
def test_the_three_solvers_agree(drawn):
    chain, groups = drawn
    dense, sparse, walked = (losses(chain, groups) / chain.total for losses in SOLVERS)
    # Steps end when less than chains.TOLERANCE of the total can still be missing.
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=3e-12)
    np.testing.assert_allclose(walked, dense, rtol=0, atol=3e-12)


@given(rows=tables(converting=True), order=orders)
def test_several_states_are_removed_jointly_by_the_same_formula(rows, order):
    statistic = Markov(order=order).summarize(as_journeys(rows))
    pair = range(min(2, len(statistic.channels)))
    jointly = np.flatnonzero(np.isin(statistic.states, pair).any(axis=1))
    effect = removals.null_effects(chains.Chain.of(statistic), [jointly]).effects
    names = [statistic.channels[i] for i in pair]
    assert effect[0, 0] == pytest.approx(Chain(rows, order).removal_effect(*names), **SOLVED)


@pytest.mark.parametrize("losses", SOLVERS)
@given(drawn=chains_with_groups(), block=st.integers(1, 5))
def test_losses_do_not_depend_on_how_many_states_are_solved_at_once(losses, drawn, block):
    chain, groups = drawn
    whole = losses(chain, groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "BLOCK", block)
        patch.setattr(walks, "COLUMNS", block)
        np.testing.assert_allclose(losses(chain, groups), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("losses", SOLVERS)
@given(rows=tables(converting=True), order=orders)
def test_removing_no_state_loses_nothing_and_removing_all_loses_everything(losses, rows, order):
    chain, _ = chain_and_groups(rows, order)
    nothing, everything = losses(chain, [np.arange(0), np.arange(len(chain.visits))])
    total = chain.total
    np.testing.assert_allclose(nothing / total, 0, atol=3e-12)
    np.testing.assert_allclose(everything / total, 1, atol=3e-12)


@given(rows=tables(converting=True), order=orders, touches=st.integers(1, 3))
def test_stays_are_left_out_and_change_nothing(rows, order, touches):
    stayed = [row._replace(path=row.path[:1] * order * touches + row.path) for row in rows]
    counts = Markov(order=order).summarize(as_journeys(stayed))
    chain = chains.Chain.of(counts)
    assert not chain.transitions.diagonal().any()
    # With every stay in its place: probabilities from all counts, solved as they are.
    full = np.zeros(chain.transitions.shape)
    full[counts.sources, counts.targets] = counts.counts
    left = np.maximum(full.sum(axis=1) + counts.conversions + counts.nulls, 1e-300)
    h = np.linalg.solve(np.eye(len(left)) - full / left[:, None], counts.conversions / left)
    np.testing.assert_allclose(chain.starts @ h, chain.total[0], rtol=1e-9)
    mine = np.linalg.solve(np.eye(len(left)) - chain.transitions.toarray(), chain.reward[:, 0])
    np.testing.assert_allclose(mine, h, rtol=1e-9, atol=1e-12)


@given(rows=tables(converting=True), order=orders)
def test_what_is_earned_on_a_visit_of_every_state_is_what_journeys_earn_from_their_start(
    rows, order
):
    chain, _ = chain_and_groups(rows, order)
    h = np.linalg.solve(np.eye(len(chain.visits)) - chain.transitions.toarray(), chain.reward)
    np.testing.assert_allclose(chain.starts @ h, chain.total, rtol=1e-9)
    flow = chain.starts + chain.transitions.T @ chain.visits
    np.testing.assert_allclose(flow, chain.visits, rtol=1e-12)


@given(rows=tables(converting=True), order=orders, data=st.data())
def test_linking_predecessors_to_successors_leaves_every_conversion_probability(rows, order, data):
    chain, _ = chain_and_groups(rows, order)
    n = len(chain.visits)
    removed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
    gone, rest = np.flatnonzero(removed), np.flatnonzero(~removed)
    q, b = chain.transitions.toarray(), chain.reward
    bypass = np.linalg.inv(np.eye(len(gone)) - q[np.ix_(gone, gone)])
    linked = q[np.ix_(rest, rest)] + q[np.ix_(rest, gone)] @ bypass @ q[np.ix_(gone, rest)]
    earned = b[rest] + q[np.ix_(rest, gone)] @ bypass @ b[gone]
    h = np.linalg.solve(np.eye(n) - q, b)
    without = np.linalg.solve(np.eye(len(rest)) - linked, earned)
    np.testing.assert_allclose(without, h[rest], rtol=1e-9, atol=1e-12)
    start = chain.starts[rest] + chain.starts[gone] @ bypass @ q[np.ix_(gone, rest)]
    total = start @ without + chain.starts[gone] @ bypass @ b[gone]
    np.testing.assert_allclose(1 - total / chain.total, 0, atol=1e-12)


# --- the certificate of walks that stop early ---------------------------------------------


@settings(max_examples=80)
@given(
    drawn=chains_with_groups(),
    tolerance=st.sampled_from([1e-1, 1e-3, 1e-6]),
    period=st.integers(2, 7),
)
def test_error_bound_holds_for_walks_that_stop_early(drawn, tolerance, period):
    chain, groups = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "TOLERANCE", tolerance)
        patch.setattr(removals, "TOLERANCE", tolerance)
        patch.setattr(walks, "PERIOD", period)
        losses, bound = removals.walked_losses(chain, groups)
    error = np.abs(losses - exact_losses(chain, groups)) / chain.total
    assert error.max() <= bound + ROUNDING
    assert bound <= tolerance


@pytest.mark.filterwarnings("ignore:Journeys in this chain are so long")
@settings(max_examples=80)
@given(drawn=chains_with_groups(), max_steps=st.integers(0, 6), period=st.integers(2, 4))
def test_error_bound_holds_for_walks_that_run_out_of_steps(drawn, max_steps, period):
    chain, groups = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removals, "walk", partial(walks.walk, max_steps=max_steps))
        patch.setattr(walks, "PERIOD", period)
        losses, bound = removals.walked_losses(chain, groups)
        redistributed = only_walked(patch, chain, groups)
    error = np.abs(losses - exact_losses(chain, groups)) / chain.total
    assert error.max() <= bound + ROUNDING
    exact = removals.redistributed_effects(chain, groups)
    assert exact.error_bound is None
    error = np.abs(redistributed.effects - exact.effects)
    assert error.max() <= redistributed.error_bound + ROUNDING


def only_walked(patch, chain, groups):
    patch.setattr(removals, "ALWAYS_DENSE", 0)
    patch.setattr(removals, "DENSE_STATES", 0)
    return removals.redistributed_effects(chain, groups)


def test_error_bound_is_reached_where_all_that_walks_will_convert(monkeypatch):
    path = tuple(f"c{i:02}" for i in range(40))
    chain, groups = chain_and_groups([Row(path, 1, 0, 2.0)], 1)
    monkeypatch.setattr(removals, "walk", partial(walks.walk, max_steps=6))
    warning = r"so long that 20,000 steps do not end them.*certain to 1\.0e\+00 only"
    with pytest.warns(AttributionWarning, match=warning):
        losses, bound = removals.walked_losses(chain, groups[:1])
    # After a period the journey is still on its way to convert: all is missing.
    assert losses.tolist() == [[0, 0]]
    assert bound == 1


def test_bound_of_value_counts_the_most_that_one_conversion_is_worth(monkeypatch):
    path = tuple(f"c{i:02}" for i in range(40))
    rows = [Row(path, 1, 0, 900.0), Row(("x",), 9, 0, 100.0)]
    chain, groups = chain_and_groups(rows, 1)
    monkeypatch.setattr(removals, "walk", partial(walks.walk, max_steps=6))
    with pytest.warns(AttributionWarning, match=r"9\.0e-01 only"):
        losses, bound = removals.walked_losses(chain, groups[:1])
    assert losses.tolist() == [[0, 0]]  # and is 1 of 10 conversions, 900 of 1,000 in value
    assert bound == pytest.approx(0.9)


def test_chain_without_conversions_is_solved_at_once_and_surely():
    chain, groups = chain_and_groups([Row(tuple("abcab"), 0, 3)], 1)
    losses, bound = removals.walked_losses(chain, groups)
    assert not losses.any()
    assert bound == 0
    assert not removals.null_effects(chain, groups).effects.any()


# --- walks over any substochastic matrix --------------------------------------------------


@st.composite
def matrices(draw, leaks=(1e-3, 0.01, 0.1, 0.5)):
    """Substochastic Q: random, a cycle, two weakly linked blocks; spectral radius 1 - leak.

    No factor shortens a cycle, so its leak is at least 0.01.
    """
    n = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    kind = draw(st.sampled_from(["random", "sparse", "cycle", "blocks"]))
    q = rng.random((n, n))
    if kind == "sparse":
        q *= rng.random((n, n)) < 2 / n
    elif kind == "cycle":
        q = np.roll(np.eye(n), 1, axis=1)
    elif kind == "blocks":
        q[: n // 2, n // 2 :] *= 1e-3
        q[n // 2 :, : n // 2] *= 1e-3
    whole = q.sum(axis=1, keepdims=True)
    q = np.divide(q, whole, out=np.zeros_like(q), where=whole > 0)
    q *= 1 - max(draw(st.sampled_from(leaks)), 0.01 * (kind in ("cycle", "sparse")))
    b = (1 - q.sum(axis=1, keepdims=True)) * rng.random((n, 2))
    start = rng.random((n, 3)) * (rng.random((n, 3)) < 0.5)
    scale = np.ones((n, 3))
    scale[rng.integers(n), 1] = 0.0
    scale[:, 2] = rng.random(n)
    return q, b, start, scale


def earned_exactly(q, b, start, scale):
    """Of each column: the start over the chain whose arrivals are scaled."""
    columns = zip(start.T, scale.T, strict=True)
    inverse = [(s * c) @ np.linalg.solve(np.eye(len(q)) - q * c, b) for s, c in columns]
    return np.array(inverse)


def most_expected(q, b, scale):
    h = [np.linalg.solve(np.eye(len(q)) - q * c, b).max() for c in scale.T]
    return np.array(h)[:, None]


def unscaled(mass, scale):
    return np.divide(mass, scale, out=np.zeros_like(mass), where=scale > 0)


def walk(q, b, start, scale, small, **options):
    return walks.walk(csr_array(q.T), b, start, scale, small, **options)


@settings(max_examples=80)
@given(drawn=matrices())
def test_walks_give_what_a_dense_solve_gives(drawn):
    result = walk(*drawn, 1e-13)
    assert result.left.max() <= 1e-13
    assert result.steps <= walks.MAX_STEPS
    # Rounding of a system whose condition is 1 / leak <= 1000.
    np.testing.assert_allclose(result.earned, earned_exactly(*drawn), rtol=1e-11, atol=1e-12)


@settings(max_examples=80)
@given(drawn=matrices(), max_steps=st.integers(0, 60), period=st.integers(2, 7))
def test_sums_of_steps_and_the_mass_left_are_exact_wherever_they_stop(drawn, max_steps, period):
    q, _, start, scale = drawn
    start = start - 0.3  # mass may be negative
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walks, "PERIOD", period)
        found = walks.sum_of_steps(csr_array(q.T), start, scale, 0.0, max_steps)
    for i, factor in enumerate(scale.T):
        inside = np.eye(len(q)) - factor[:, None] * q.T
        exact = np.linalg.solve(inside, factor * start[:, i])
        # What is missing from x N is y N with the mass y that still walks, so y is known from it.
        still = unscaled(inside @ (exact - found.total[:, i]), factor)
        assert found.left[i] == pytest.approx(np.abs(still).sum(), rel=1e-9, abs=1e-10)


@given(drawn=matrices())
def test_steps_back_from_the_reward_give_what_is_expected_from_each_state(drawn):
    q, b, start, _ = drawn
    visits = np.linalg.solve(np.eye(len(q)) - q.T, start[:, 0] + 0.1)[:, None]
    # In units of visits mass does not grow on its way back either.
    found = walks.sum_of_steps(csr_array(visits * q / visits.T), visits * b, 1.0, 1e-16)
    expected = np.linalg.solve(np.eye(len(q)) - q, b)
    np.testing.assert_allclose(found.total / visits, expected, rtol=1e-10, atol=1e-12)


@given(drawn=matrices(), seed=st.integers(0, 1000), max_steps=st.integers(0, 60))
def test_mass_only_falls_where_rows_are_rescaled(drawn, seed, max_steps):
    q, b, start, _ = drawn
    removed = np.random.default_rng(seed).random(len(q)) < 0.5
    stays = np.where(removed, 0.0, q).sum(axis=1) + 1 - q.sum(axis=1)
    scale = np.where(removed, 0.0, 1 / stays)[:, None]
    lefts = [
        walk(q, b, start[:, :1], scale, 0.0, max_steps=n * walks.PERIOD).left[0] for n in range(12)
    ]
    assert (np.diff(lefts) <= 1e-15).all()
    result = walk(q, b, start[:, :1], scale, 1e-13)
    expected = earned_exactly(q, b, start[:, :1], scale)
    np.testing.assert_allclose(result.earned, expected, rtol=1e-9, atol=1e-11)


@given(drawn=matrices(), max_steps=st.integers(0, 60))
def test_mass_left_bounds_what_is_missing(drawn, max_steps):
    q, b, _, scale = drawn
    result = walk(*drawn, 0.0, max_steps=max_steps)
    missing = np.abs(result.earned - earned_exactly(*drawn))
    assert (missing <= result.left[:, None] * most_expected(q, b, scale) + 1e-11).all()


@given(drawn=matrices())
def test_an_extrapolation_never_leaves_more_mass_than_a_plain_step(drawn):
    q, _, start, scale = drawn
    plain = start * scale
    for _ in range(walks.PERIOD):
        plain = (q.T @ plain) * scale
    left = walk(*drawn, 0.0, max_steps=1).left
    assert (left <= unscaled(plain, scale).sum(axis=0) * (1 + 1e-12)).all()
    lefts = [walk(*drawn, 0.0, max_steps=n * walks.PERIOD).left for n in range(12)]
    assert (np.diff(lefts, axis=0) <= 1e-15).all()


def test_extrapolation_saves_most_of_the_steps_of_a_slow_chain():
    rng = np.random.default_rng(3)
    q = rng.random((30, 30))
    q *= 0.999 / q.sum(axis=1, keepdims=True)
    b = np.full((30, 1), 0.001)
    result = walk(q, b, np.ones((30, 1)), np.ones((30, 1)), 1e-12)
    # Plain steps multiply the mass of 30 by 0.999 each: log(1e-12 / 30) / log(0.999) of them.
    assert result.steps < 31_000 / 100
    np.testing.assert_allclose(result.earned, [[30]], rtol=1e-12)


def test_a_cycle_that_no_factor_shortens_ends_by_plain_steps():
    q = 0.99 * np.roll(np.eye(7), 1, axis=1)
    start = np.zeros((7, 1))
    start[0] = 1.0
    result = walk(q, np.full((7, 1), 0.01), start, np.ones((7, 1)), 1e-13)
    np.testing.assert_allclose(result.earned, [[1]], rtol=1e-12)


def test_walks_stop_at_the_steps_allowed_and_say_what_is_left():
    result = walk(np.eye(1) * 0.5, np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), 0.0)
    assert result.left == 0  # one extrapolation is exact for a single state
    assert result.earned == 2
    cycle = np.roll(np.eye(50), 1, axis=1)
    start = np.eye(50)[:, :1]
    stopped = walk(cycle, np.zeros((50, 1)), start, np.ones((50, 1)), 0.5, max_steps=20)
    assert (stopped.steps, stopped.left.tolist()) == (24, [1])


# --- which solver -------------------------------------------------------------------------


# All paths of four touches over ten channels, each converting half of the time. At order 1 a
# journey without a channel converts at x = 0.9 (0.25 * 0.5 + 0.75 x). At order 3 each state is
# left for the end half of the time: 0.9^3 y with y = 0.5 * 0.5 + 0.5 * 0.9 y. At order 4 the
# channel is in none of four touches with probability 0.9^4.
@pytest.mark.parametrize(
    ("order", "n_states", "solver", "effect"),
    [
        (1, 10, "dense", 1 - 2 * 0.1125 / 0.325),
        (3, 1000, "iterative", 1 - 2 * 0.9**3 * 0.25 / 0.55),
        (4, 10_000, "iterative", 1 - 0.9**4),
    ],
)
def test_solver_that_is_faster_is_chosen_and_gives_the_known_solution(
    order, n_states, solver, effect
):
    rows = [Row(path, 1, 1, 2.0) for path in product("abcdefghij", repeat=4)]
    result = Markov(order=order).attribute(as_journeys(rows))
    assert (result.details["n_states"], result.details["solver"]) == (n_states, solver)
    if solver == "dense":
        assert result.details["error_bound"] is None
    else:
        assert 0 <= result.details["error_bound"] <= 1e-10
    frame = result.to_frame()
    np.testing.assert_allclose(frame["removal_effect"], effect, rtol=1e-10)
    np.testing.assert_allclose(frame["removal_effect_value"], effect, rtol=1e-10)
    np.testing.assert_allclose(frame["conversions"], 1000, rtol=1e-10)


def ring_with_hubs(n=600, touches=2000, n_journeys=100):
    """Long random walks over a ring of channels that now and then touch one of two hubs."""
    rng, rows = np.random.default_rng(0), []
    for i in range(n_journeys):
        steps = np.cumsum(rng.choice([-1, 1], touches)) + rng.integers(n)
        path = [f"c{step % n:03}" for step in steps]
        for j in range(0, touches, 50):
            path[j] = f"hub {rng.integers(2)}"
        rows.append(Row(tuple(path), i % 2, 1 - i % 2, 3.0 * (i % 2)))
    return rows


def random_paths(n=600, touches=100, n_journeys=300):
    rng = np.random.default_rng(0)
    draws = rng.integers(n, size=(n_journeys, touches))
    return [Row(tuple(f"c{c}" for c in path), i % 2, 1) for i, path in enumerate(draws)]


@pytest.mark.parametrize(
    ("rows", "solver"),
    [(ring_with_hubs, "sparse"), (random_paths, "dense")],
    ids=["ring", "random"],
)
def test_chains_of_long_journeys_over_many_channels_are_factored(rows, solver):
    journeys = as_journeys(rows())
    result = Markov().attribute(journeys)
    assert (result.details["solver"], result.details["error_bound"]) == (solver, None)
    statistic = Markov().summarize(journeys)
    some = [0, 7, len(journeys.channels) - 1]
    groups = chains.states_of_channels(statistic.states, len(statistic.channels))
    chain = chains.Chain.of(statistic)
    total = np.where(chain.total > 0, chain.total, 1.0)
    exact = exact_losses(chain, [groups[i] for i in some])[:, 0] / total[0]
    effect = result.extra["removal_effect"][some]
    # Both sides lose about four digits on journeys of some thousand touches.
    np.testing.assert_allclose(effect, exact, rtol=0, atol=1e-10)


def test_steps_of_journeys_are_counted_no_further_than_asked():
    chain, _ = chain_and_groups(ring_with_hubs(n_journeys=10), 1)
    whole = removals.steps_of_journeys(chain)
    assert whole > 1000
    assert 100 < removals.steps_of_journeys(chain, 100) <= 101 + walks.PERIOD
    short, _ = chain_and_groups([Row(("a", "b"), 1, 1)], 1)
    assert removals.steps_of_journeys(short) == walks.PERIOD


def test_a_set_of_more_states_than_a_dense_matrix_may_have_is_walked(monkeypatch):
    chain, groups = chain_and_groups(ring_with_hubs(), 1)
    monkeypatch.setattr(removals, "DENSE_STATES", 100)
    single, large = [groups[0]], [np.arange(0, 602, 2)]
    assert removals.null_effects(chain, single * 600).solver == "sparse"
    found = removals.null_effects(chain, large)
    assert found.solver == "iterative"
    np.testing.assert_allclose(found.effects, exact_losses(chain, large) / chain.total, rtol=1e-10)


@st.composite
def patterns(draw):
    """Transitions whose rows sum to 0.9 at most; few or many entries, a hub or a ring."""
    n = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    q = rng.random((n, n)) * (rng.random((n, n)) < draw(st.sampled_from([0.02, 0.1, 0.5])))
    if draw(st.booleans()):
        q += np.roll(np.eye(n), 1, axis=1)
    if draw(st.booleans()):
        q[:, rng.integers(n)] += rng.random(n)
    np.fill_diagonal(q, 0.0)
    return 0.9 * q / np.maximum(q.sum(axis=1, keepdims=True), 1e-9)


def eliminated(matrix):
    """L and U in one matrix, without pivots."""
    factors = matrix.copy()
    for k in range(len(factors)):
        factors[k + 1 :, k] /= factors[k, k]
        factors[k + 1 :, k + 1 :] -= np.outer(factors[k + 1 :, k], factors[k, k + 1 :])
    return factors


@given(q=patterns())
def test_space_of_the_narrow_order_holds_all_fill_ins(q):
    n = len(q)
    order, rows = factors.narrow_order(csr_array(q))
    assert sorted(order.tolist()) == list(range(n))
    inside = (np.eye(n) - q)[np.ix_(order, order)]
    first = np.arange(n) - rows
    outside = np.arange(n)[None, :] < first[:, None]  # left of the first entry of a row
    lu = eliminated(inside)
    assert not lu[outside].any()
    assert not lu.T[outside].any()
    sparse = splu(csr_array(inside).tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0)
    assert sparse.L.nnz + sparse.U.nnz <= 2 * rows.sum() + 2 * n
    # No order at all needs more than the full triangle; the space is no larger than that.
    assert (rows <= np.arange(n)).all()


@given(q=patterns())
def test_a_first_entry_bounds_the_space_of_each_row(q):
    assume(q.any())
    order, rows = factors.narrow_order(csr_array(q))
    pattern = (q + q.T + np.eye(len(q)))[np.ix_(order, order)] > 0
    assert rows.tolist() == [i - int(np.argmax(line)) for i, line in enumerate(pattern)]


@given(q=patterns())
def test_sparse_factorisation_gives_what_a_dense_solve_gives(q):
    n = len(q)
    starts = np.linspace(1, 2, n)
    chain = chains.Chain(
        transitions=csr_array(q),
        starts=starts,
        visits=np.linalg.solve(np.eye(n) - q.T, starts),
        reward=(1 - q.sum(axis=1, keepdims=True)) * np.array([[0.5, 3.0]]),
        ends=1 - q.sum(axis=1),
    )
    groups = [np.arange(0, n, 2), np.array([n - 1])]
    expected = exact_losses(chain, groups)
    np.testing.assert_allclose(factors.sparse_losses(chain, groups), expected, rtol=1e-11)


# --- which states -------------------------------------------------------------------------


@given(rows=tables(), order=orders)
def test_states_of_a_channel_are_those_that_contain_it(rows, order):
    statistic = Markov(order=order).summarize(as_journeys(rows))
    states = statistic.states.tolist()
    found = chains.states_of_channels(statistic.states, len(statistic.channels))
    assert [each.tolist() for each in found] == [
        [i for i, state in enumerate(states) if channel in state]
        for channel in range(len(statistic.channels))
    ]


@given(rows=tables(), order=orders, data=st.data())
def test_states_of_a_sequence_contain_it_without_a_gap(rows, order, data):
    statistic = Markov(order=order).summarize(as_journeys(rows))
    codes = st.integers(0, max(0, len(statistic.channels) - 1))
    sequence = data.draw(st.lists(codes, min_size=1, max_size=order))
    width = len(sequence)
    expected = [
        i
        for i, state in enumerate(statistic.states.tolist())
        if any(state[j : j + width] == sequence for j in range(order - width + 1))
    ]
    assert chains.states_of_sequence(statistic.states, np.array(sequence)).tolist() == expected


def test_redistribution_over_long_journeys_is_solved_densely():
    # A ring of 501 channels, walked for hundreds of rounds: no walk of the chain ends soon.
    names = [f"c{i:03}" for i in range(501)]
    rows = [Row(tuple(names) * 40, 1, 1), Row(tuple(names[250:] + names[:250]) * 40, 0, 1)]
    chain, groups = chain_and_groups(rows, 1)
    found = removals.redistributed_effects(chain, groups[:2])
    assert (found.solver, found.error_bound) == ("dense", None)
