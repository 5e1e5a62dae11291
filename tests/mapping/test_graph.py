import json
import math
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from model_oracles import Chain, Row, as_journeys, tables

import attribution
from attribution import InputError, Markov
from attribution.edges import edges_frame
from attribution.mapping import transition_graph, transition_matrix

SOLVED = {"rel": 1e-9, "abs": 1e-11}  # a system of some tens of well-conditioned equations
ROUNDED = {"rel": 1e-12, "abs": 1e-12}  # a quotient, or a sum of some quotients
orders = st.integers(1, 4)
START, CONVERSION, NULL = "(start)", "(conversion)", "(null)"
MAPS = [transition_graph, transition_matrix]


def label(state):
    return " > ".join(state)


def probabilities(rows, order):
    """Transition probabilities of all pairs that journeys walk, by label."""
    chain = Chain(rows, order)
    converted, missed = chain.reward, Chain(rows, order, "nulls").reward
    return {
        **{(START, label(state)): p for state, p in chain.start.items()},
        **{(label(i), label(j)): p for (i, j), p in chain.step.items()},
        **{(label(state), CONVERSION): p for state, p in converted.items() if p},
        **{(label(state), NULL): p for state, p in missed.items() if p},
    }


def walking(rows):
    return [row for row in rows if row.path and row.conversions + row.nulls]


# --- against a chain built step by step -------------------------------------------------


@given(rows=tables(), order=orders)
def test_probabilities_of_the_graph_are_those_of_the_journeys(rows, order):
    assume(walking(rows))
    graph = transition_graph(as_journeys(rows), order=order)
    found = {(i, j): p for i, j, p in graph.edges(data="probability")}
    assert found == pytest.approx(probabilities(rows, order), **ROUNDED)


@given(rows=tables(), order=orders)
def test_probabilities_of_the_matrix_are_those_of_the_journeys(rows, order):
    assume(walking(rows))
    matrix = transition_matrix(as_journeys(rows), order=order)
    expected = pd.DataFrame(0.0, index=matrix.index, columns=matrix.columns)
    for (i, j), probability in probabilities(rows, order).items():
        expected.loc[i, j] = probability
    pd.testing.assert_frame_equal(matrix, expected, rtol=1e-12, atol=0)


@given(rows=tables(), order=orders)
def test_matrix_is_labelled_by_the_start_the_states_and_the_ends(rows, order):
    matrix = transition_matrix(as_journeys(rows), order=order)
    walks = [
        row.path[i : i + order]
        for row in rows
        if row.path
        for i in range(max(1, len(row.path) - order + 1))
    ]
    states = [label(state) for state in sorted(set(walks))]
    assert matrix.index.tolist() == [START, *states]
    assert matrix.columns.tolist() == [*states, CONVERSION, NULL]
    assert (matrix.index.name, matrix.columns.name) == ("source", "target")


@given(rows=tables(), order=orders)
def test_the_matrix_is_the_adjacency_of_the_graph(rows, order):
    journeys = as_journeys(rows)
    graph, matrix = (each(journeys, order=order) for each in MAPS)
    whole = nx.to_pandas_adjacency(graph, weight="probability")
    assert whole.loc[matrix.index, matrix.columns].to_numpy().tolist() == matrix.to_numpy().tolist()
    assert not whole[START].any()
    assert not whole.loc[[CONVERSION, NULL]].to_numpy().any()


@given(rows=tables(), order=orders)
def test_visits_are_the_expected_visits_of_the_chain(rows, order):
    assume(walking(rows))
    graph, chain = transition_graph(as_journeys(rows), order=order), Chain(rows, order)
    n_journeys = sum(row.conversions + row.nulls for row in rows if row.path)
    visits = {v: n / n_journeys for v, n in graph.nodes(data="visits") if n}
    expected = dict(zip(map(label, chain.states), chain.visits(), strict=True))
    ends = {
        CONVERSION: sum(row.conversions for row in rows if row.path) / n_journeys,
        NULL: sum(row.nulls for row in rows if row.path) / n_journeys,
    }
    expected |= {START: 1, **{end: share for end, share in ends.items() if share}}
    assert visits == pytest.approx(expected, **SOLVED)


# --- what must hold of any map ----------------------------------------------------------


@given(rows=tables(), order=orders)
def test_every_node_is_left_as_often_as_it_is_entered(rows, order):
    graph = transition_graph(as_journeys(rows), order=order)
    entered, left = dict(graph.in_degree(weight="count")), dict(graph.out_degree(weight="count"))
    for node, data in graph.nodes(data=True):
        assert data["kind"] == "start" or entered[node] == data["visits"]
        assert data["kind"] in ("conversion", "null") or left[node] == data["visits"]
    assert (entered[START], left[CONVERSION], left[NULL]) == (0, 0, 0)
    assert entered[CONVERSION] + entered[NULL] == left[START] == graph.graph["n_journeys"]


@given(rows=tables(), order=orders)
def test_probabilities_sum_to_1_where_journeys_pass(rows, order):
    graph = transition_graph(as_journeys(rows), order=order)
    left = dict(graph.out_degree(weight="probability"))
    expected = {
        node: float(data["visits"] > 0 and data["kind"] in ("start", "state"))
        for node, data in graph.nodes(data=True)
    }
    assert left == pytest.approx(expected, **ROUNDED)
    sums = transition_matrix(as_journeys(rows), order=order).sum(axis=1)
    assert sums.to_dict() == pytest.approx({node: expected[node] for node in sums.index}, **ROUNDED)


@given(rows=tables(), order=orders)
def test_the_probability_of_being_absorbed_in_the_conversion_is_the_base_rate(rows, order):
    assume(walking(rows))
    graph = transition_graph(as_journeys(rows), order=order)
    moving = [node for node, kind in graph.nodes(data="kind") if kind in ("start", "state")]
    every = nx.to_numpy_array(graph, [*moving, CONVERSION, NULL], weight="probability")
    n = len(moving)
    absorbed = np.linalg.solve(np.eye(n) - every[:n, :n], every[:n, n:])
    converted = sum(row.conversions for row in rows if row.path)
    rate = converted / sum(row.conversions + row.nulls for row in rows if row.path)
    assert absorbed[moving.index(START)] == pytest.approx([rate, 1 - rate], **SOLVED)


@given(rows=tables(), order=orders)
def test_value_stands_on_the_edges_to_the_conversion_and_is_all_that_has_touches(rows, order):
    graph = transition_graph(as_journeys(rows), order=order)
    edges = graph.edges(data="value")
    assert all(value == 0 for _, target, value in edges if target != CONVERSION)
    assert sum(value for *_, value in edges) == sum(row.value for row in rows if row.path)


@given(rows=tables(), order=orders)
def test_edges_and_their_counts_are_those_of_the_edge_table(rows, order):
    journeys = as_journeys(rows)
    frame = edges_frame(Markov(order=order).summarize(journeys))
    graph = transition_graph(journeys, order=order)
    found = {(i, j): (data["count"], data["value"]) for i, j, data in graph.edges(data=True)}
    lines = frame.itertuples(index=False, name=None)
    assert found == {(i, j): (count, value) for i, j, count, value in lines}


@given(rows=tables(max_rows=4, max_length=4), order=st.integers(1, 2))
def test_the_shortest_path_by_distance_is_the_most_probable_one(rows, order):
    assume(any(row.conversions for row in walking(rows)))
    graph = transition_graph(as_journeys(rows), order=order)

    def probability(path):
        return math.prod(graph.edges[pair]["probability"] for pair in nx.utils.pairwise(path))

    shortest = nx.shortest_path(graph, START, CONVERSION, weight="distance")
    best = max(map(probability, nx.all_simple_paths(graph, START, CONVERSION)))
    assert probability(shortest) == pytest.approx(best, **ROUNDED)
    length = nx.shortest_path_length(graph, START, CONVERSION, weight="distance")
    assert length == pytest.approx(-math.log(best), **ROUNDED)


@given(rows=tables(), order=orders, cut=st.integers(0, 10))
def test_a_stream_of_parts_gives_the_map_of_the_whole(rows, order, cut):
    parts = [as_journeys(rows[:cut]), as_journeys(rows[cut:])]
    graph, matrix = (each(as_journeys(rows), order=order) for each in MAPS)
    streamed = transition_graph(iter(parts), order=order)
    assert nx.utils.graphs_equal(streamed, graph)
    assert list(streamed.edges) == list(graph.edges)
    pd.testing.assert_frame_equal(
        transition_matrix(iter(parts), order=order), matrix, check_exact=True
    )


# --- known maps -------------------------------------------------------------------------

# ../shared/cases/markov_order2_channelattribution.json: ChannelAttribution 2.2.5 on four paths
FOUR_PATHS = [
    Row(("C1", "C2", "C3"), 1, 0),
    Row(("C1",), 0, 1),
    Row(("C2", "C3"), 0, 1),
    Row(("C1", "C1", "C2", "C1"), 1, 0),
]
PUBLISHED = {
    (START, "C1 > C2"): 0.25,
    (START, "C1"): 0.25,
    (START, "C2 > C3"): 0.25,
    (START, "C1 > C1"): 0.25,
    ("C1 > C2", "C2 > C3"): 0.5,
    ("C1 > C2", "C2 > C1"): 0.5,
    ("C2 > C3", CONVERSION): 0.5,
    ("C2 > C3", NULL): 0.5,
    ("C1", NULL): 1,
    ("C1 > C1", "C1 > C2"): 1,
    ("C2 > C1", CONVERSION): 1,
}


def test_published_transitions_of_channelattribution_at_order_2():
    journeys = as_journeys(FOUR_PATHS)
    graph = transition_graph(journeys, order=2)
    assert {(i, j): p for i, j, p in graph.edges(data="probability")} == PUBLISHED
    cells = transition_matrix(journeys, order=2).stack()
    assert cells[cells != 0].to_dict() == PUBLISHED


def test_nodes_say_what_they_are():
    graph = transition_graph(as_journeys(FOUR_PATHS), order=2)
    assert dict(graph.nodes(data=True)) == {
        START: {"visits": 4, "channel": "", "kind": "start"},
        "C1": {"visits": 1, "channel": "C1", "kind": "state"},
        "C1 > C1": {"visits": 1, "channel": "C1", "kind": "state"},
        "C1 > C2": {"visits": 2, "channel": "C2", "kind": "state"},
        "C2 > C1": {"visits": 1, "channel": "C1", "kind": "state"},
        "C2 > C3": {"visits": 2, "channel": "C3", "kind": "state"},
        CONVERSION: {"visits": 2, "channel": "", "kind": "conversion"},
        NULL: {"visits": 2, "channel": "", "kind": "null"},
    }
    assert graph.graph == {"order": 2, "n_journeys": 4}


def test_attributes_are_plain_numbers_that_other_tools_can_read():
    graph = transition_graph(as_journeys([Row(("a", "b"), 1, 0, 2.0)]))
    assert json.loads(json.dumps([dict(graph.edges[edge]) for edge in graph.edges])) == [
        {"count": 1.0, "value": value, "probability": 1.0, "distance": 0.0} for value in (0, 0, 2)
    ]
    assert json.loads(json.dumps(graph.nodes["a"])) == {
        "visits": 1.0,
        "channel": "a",
        "kind": "state",
    }
    assert json.loads(json.dumps(graph.graph)) == {"order": 1, "n_journeys": 1.0}


def test_graph_can_be_written_as_graphml(tmp_path):
    graph = transition_graph(as_journeys(FOUR_PATHS), order=2)
    nx.write_graphml(graph, tmp_path / "graph.xml")
    again = nx.read_graphml(tmp_path / "graph.xml")
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert {(i, j): e["count"] for i, j, e in again.edges(data=True)} == {
        (i, j): e["count"] for i, j, e in graph.edges(data=True)
    }


def test_matrix_of_too_many_states_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("attribution.mapping.graph.MATRIX_STATES", 2)
    with pytest.raises(InputError, match=r"A matrix of 3 states.*GB. Hint: transition_graph"):
        transition_matrix(as_journeys([Row(("a", "b", "c"), 1, 1)]))


def test_without_value_the_edges_have_none():
    graph = transition_graph(as_journeys(FOUR_PATHS, values=False))
    assert not nx.get_edge_attributes(graph, "value")


def test_no_edge_has_a_weight_that_networkx_would_take_without_being_asked():
    assert not nx.get_edge_attributes(transition_graph(as_journeys(FOUR_PATHS)), "weight")


def test_states_that_no_journey_visits_are_there_without_transitions():
    journeys = as_journeys([Row(("a",), 1, 1), Row(("a", "ghost"), 0, 0)])
    graph, matrix = (each(journeys) for each in MAPS)
    assert graph.nodes["ghost"]["visits"] == 0
    assert graph.degree("ghost") == 0
    assert matrix.loc["ghost"].tolist() == [0, 0, 0, 0]
    assert matrix["ghost"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("rows", [[], [Row((), 2, 3, 1.0)]], ids=["no row", "no touch"])
def test_journeys_without_touches_give_an_empty_map(rows):
    graph = transition_graph(as_journeys(rows))
    assert [*graph.nodes(data="visits")] == [(START, 0), (CONVERSION, 0), (NULL, 0)]
    assert graph.number_of_edges() == graph.graph["n_journeys"] == 0
    matrix = transition_matrix(as_journeys(rows))
    assert matrix.to_dict() == {CONVERSION: {START: 0}, NULL: {START: 0}}


# --- guards -----------------------------------------------------------------------------


@pytest.mark.parametrize("each", MAPS)
@pytest.mark.parametrize("order", [0, 1.5, True, None])
def test_order_is_a_positive_whole_number(each, order):
    with pytest.raises(InputError, match=r"order=.* is not a positive whole number\. Hint"):
        each(as_journeys(FOUR_PATHS), order=order)


@pytest.mark.parametrize("each", MAPS)
def test_a_stream_without_parts_is_refused(each):
    with pytest.raises(InputError, match="There are no journeys: the iterable is empty"):
        each(iter([]))


@pytest.mark.parametrize("each", MAPS)
@pytest.mark.parametrize("wrong", [3, "a > b", pd.DataFrame({"path": ["a"]})], ids=type)
def test_what_are_no_journeys_is_refused(each, wrong):
    with pytest.raises(InputError, match=r"not Journeys\. Hint"):
        each(wrong)


@pytest.mark.parametrize("each", MAPS)
def test_names_that_would_make_two_nodes_one_are_refused(each):
    with pytest.raises(InputError, match=r"Channel 'a > b' contains.*Hint: rename the channel"):
        each(as_journeys([Row(("a > b", "c"), 1)]))
    with pytest.raises(InputError, match=r"Channel '\(null\)' is called like.*Hint: leave it out"):
        each(as_journeys([Row(("(null)", "c"), 1)]))


@pytest.mark.parametrize("each", MAPS)
def test_negative_value_is_refused(each):
    with pytest.raises(InputError, match=r"negative value.*Hint"):
        each(as_journeys([Row(("a",), 1, 0, -1.0)]))


def test_networkx_is_loaded_by_the_graph_alone():
    path = [str(Path(attribution.__file__).parents[1]), *sys.path]
    code = f"import sys; sys.path[:] = {path!r}; import attribution.mapping; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "attribution.mapping.graph" in ran.stdout.split()
    assert "networkx" not in ran.stdout.split()
