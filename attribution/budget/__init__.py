"""From credit to budget: spend joined to credit, response curves, and what to spend where."""
