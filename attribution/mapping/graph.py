"""Transitions between channels as a labelled matrix and as a graph for networkx.

A journey walks from "(start)" over states, the channel last touched (order 1) or the last k
channels (order k), to "(conversion)" or "(null)". With n_ij the number of times journeys went from
i to j, the transition probability is

    p_ij = n_ij / n_i,    n_i = sum_j n_ij

and the probabilities out of a state sum to 1. States are labelled as in edge tables
(`attribution.edges`): "email > search" at order 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from attribution.edges import edges_frame, state_labels
from attribution.edges.writing import CONVERSION, NULL, START
from attribution.errors import InputError
from attribution.journeys import Journeys
from attribution.models.base import summarize_parts
from attribution.models.markov import Markov
from attribution.statistics import TransitionCounts

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

MATRIX_STATES = 5_000


def transition_matrix(journeys: Journeys | Iterable[Journeys], *, order: int = 1) -> pd.DataFrame:
    """Return the transition probabilities between states as a labelled matrix.

    It holds a number for every pair of at most 5,000 states; `transition_graph` holds the
    observed pairs only.

    Parameters
    ----------
    journeys
        Journeys, or an iterable of disjoint parts of them that is read once.
    order
        Touches per state.

    Returns
    -------
    pandas.DataFrame
        Index source: "(start)", then the states. Columns target: the states, then "(conversion)"
        and "(null)". Rows sum to 1; rows of states that no journey visits are 0.

    Raises
    ------
    InputError
        If `order` is not a positive whole number, there is no part, a channel contains ">" or is
        called like the start or an end, there is negative value, or there are too many states.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b > b", "b"], "conversions": [2, 0], "nulls": [1, 3]})
    >>> transition_matrix(Journeys.from_paths(table, nulls="nulls")).round(2)
    target     a     b  (conversion)  (null)
    source
    (start)  0.5  0.50          0.00    0.00
    a        0.0  1.00          0.00    0.00
    b        0.0  0.33          0.22    0.44
    """
    import pandas as pd

    counts = _counts(journeys, order)
    if len(counts.states) > MATRIX_STATES:
        raise InputError(
            f"A matrix of {len(counts.states):,} states would take "
            f"{8e-9 * len(counts.states) ** 2:,.1f} GB. Hint: transition_graph, or the edge table "
            "Markov(order=...).summarize(journeys).to_frame(), hold observed pairs only."
        )
    edges, labels = _edges(counts), state_labels(counts)
    rows = pd.Index([START, *labels], name="source")
    columns = pd.Index([*labels, CONVERSION, NULL], name="target")
    matrix = np.zeros((len(rows), len(columns)))
    i, j = rows.get_indexer(pd.Index(edges.source)), columns.get_indexer(pd.Index(edges.target))
    matrix[i, j] = edges["probability"]
    return pd.DataFrame(matrix, index=rows, columns=columns)


def transition_graph(journeys: Journeys | Iterable[Journeys], *, order: int = 1) -> nx.DiGraph:
    """Return the transitions between states as a directed graph.

    No edge has an attribute `weight`, because networkx reads it as a length in shortest paths
    and as a strength in PageRank: name the one that is meant. `probability` is a strength;
    `distance` = -log(probability) is a length, and the shortest path by it is the most probable
    one.

    Parameters
    ----------
    journeys
        Journeys, or an iterable of disjoint parts of them that is read once.
    order
        Touches per state.

    Returns
    -------
    networkx.DiGraph
        Nodes "(start)", the states, "(conversion)" and "(null)", with `visits` (number of times
        that journeys pass), `channel` (the one touched last, "" for the others) and `kind`
        ("start", "state", "conversion" or "null"). Edges with `count`, `probability`, `distance`,
        and where value was given `value` (of the conversions, on the edges to "(conversion)"; 0
        elsewhere). Graph attributes `order` and `n_journeys` (those with touches).

    Raises
    ------
    InputError
        If `order` is not a positive whole number, there is no part, a channel contains ">" or is
        called like the start or an end, or there is negative value.

    Examples
    --------
    >>> import networkx as nx
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a > b", "c", "c"], "conversions": [3, 1, 0],
    ...                       "nulls": [0, 0, 6]})
    >>> graph = transition_graph(Journeys.from_paths(table, nulls="nulls"))
    >>> graph.edges["c", "(conversion)"]["probability"]
    0.14285714285714285
    >>> nx.shortest_path(graph, "(start)", "(conversion)")
    ['(start)', 'c', '(conversion)']
    >>> nx.shortest_path(graph, "(start)", "(conversion)", weight="distance")
    ['(start)', 'a', 'b', '(conversion)']
    """
    import networkx as nx

    counts = _counts(journeys, order)
    graph = nx.DiGraph(order=counts.states.shape[1], n_journeys=counts.n_journeys)
    graph.add_node(START, visits=counts.n_journeys, channel="", kind="start")
    states = zip(state_labels(counts), counts.visits.tolist(), counts.states.tolist(), strict=True)
    for label, visits, state in states:
        last = counts.channels[[code for code in state if code >= 0][-1]]
        graph.add_node(label, visits=visits, channel=last, kind="state")
    for end, kind, visits in (
        (CONVERSION, "conversion", float(counts.conversions.sum())),
        (NULL, "null", float(counts.nulls.sum())),
    ):
        graph.add_node(end, visits=visits, channel="", kind=kind)
    edges = _edges(counts)
    attributes = edges.drop(columns=["source", "target"]).to_dict("records")
    graph.add_edges_from(zip(edges["source"], edges["target"], attributes, strict=True))
    return graph


def _counts(journeys: Journeys | Iterable[Journeys], order: int) -> TransitionCounts:
    counts = summarize_parts(Markov(order=order), journeys)
    assert isinstance(counts, TransitionCounts)
    return counts


def _edges(counts: TransitionCounts) -> pd.DataFrame:
    """Return the edge table with the probability of each edge and its -log, the distance."""
    edges = edges_frame(counts)
    left = edges.groupby("source")["count"].transform("sum")
    edges["probability"] = edges["count"] / left
    edges["distance"] = np.log(left / edges["count"])
    return edges
