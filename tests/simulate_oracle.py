"""One person at a time in plain Python; `attribution.simulate` states the model."""

from math import exp

DAY = 86_400_000_000


def stock(channel, times, day):
    """The sum of what is left of each touch at the start of a day."""
    arrivals = [time // DAY + 1 + channel.delay for time in times]
    ages = [day - arrival for arrival in arrivals if arrival <= day]
    return sum(channel.weight * 0.5 ** (age / channel.half_life) for age in ages)


def rates(world, intent, touches, off=()):
    """The hazard on every day; touches are (name, microseconds), channels in `off` do nothing."""
    result = []
    for day in range(world.n_days):
        saturated = {}
        for channel in world.channels:
            times = [time for name, time in touches if name == channel.name]
            on = channel.name not in off
            saturated[channel.name] = 1 - exp(-stock(channel, times, day)) if on else 0.0
        lift = sum(channel.effect * saturated[channel.name] for channel in world.channels)
        for (a, b), strength in world.synergies.items():
            lift += strength * saturated[a] * saturated[b]
        result.append(world.base_rate * intent * (1 + lift))
    return result


def conversion(world, intent, threshold, touches, off=()):
    """The moment of conversion in microseconds, or None."""
    hazard = 0.0
    for day, rate in enumerate(rates(world, intent, touches, off)):
        if hazard + rate >= threshold:
            return (day + (threshold - hazard) / rate) * DAY
        hazard += rate
    return None
