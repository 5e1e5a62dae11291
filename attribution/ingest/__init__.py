"""A user's table of events or paths becomes `Journeys`."""
