"""Yesterday's statistics plus today's events: models that stay up to date without the past.

`update` adds the events of a day (or an hour, or a week) to a state; the result equals one run over
all events up to the same `observed_until`: counts exactly, value to 1e-11 (`update` states the one
exception, ids of sessions that come back). Two files hold a state:

- the statistics of closed journeys, which nothing later can change: no personal data;
- the events of journeys still open (younger than one lookback, or than the pause that ends a
  journey), beside it in a file of their own, `NAME.open-...`: personal data, under the 64-bit key
  of each user; `forget` removes people from it.

The statistics are written last and name their file of open journeys, so that a killed update
leaves the state of before.
"""

from attribution.daily.state import State, forget, load
from attribution.daily.updating import update

__all__ = ["State", "forget", "load", "update"]
