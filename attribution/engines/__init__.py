"""Where the events lie when they are larger than memory; each engine in a module of its own.

An engine carries and partitions events; the journeys are cut by the same kernel as in memory.
"""
