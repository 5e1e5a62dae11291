"""Chains as edge tables: one row per transition, to keep, to look at, and to bring from elsewhere.

A chain of order k walks from a start over states (the last k channels) to a conversion or to null.
Its edge table has a row for each pair that journeys walked:

- source: "(start)" or a state, its channels joined by the separator ("email > search");
- target: a state, "(conversion)" or "(null)";
- count: how many journeys walked it (once for each time they did);
- value: of the conversions, on the rows to "(conversion)", 0 elsewhere; only where it is known.

What a chain does follows from these counts n_ij alone. In a table of counts every state i is left
as often as it is entered,

    starts_i + sum_j n_ji = sum_j n_ij + conversions_i + nulls_i,

which a table of probabilities or one that lacks rows does not fulfil: flow balance is therefore
checked when a table is read.
"""

from attribution.edges.reading import counts_from_edges
from attribution.edges.writing import edges_frame, state_labels

__all__ = ["counts_from_edges", "edges_frame", "state_labels"]
