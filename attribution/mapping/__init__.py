"""The customer journey as a map: which channel leads to which, and where journeys end."""

from attribution.mapping.graph import transition_graph, transition_matrix

__all__ = ["transition_graph", "transition_matrix"]
