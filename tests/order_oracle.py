"""Slow, obviously correct scores of the order of a chain: the formulas read as they stand."""

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
from model_oracles import Chain

ENDS = ("(conversion)", "(null)")


def context(prefix, order):
    """The last touches, or all of them and that they are the start."""
    if len(prefix) < order:
        return ("(start)", *prefix)
    return tuple(prefix[len(prefix) - order :])


def steps(row):
    """Every touch and end of the journeys of a row, with what came before and how often."""
    for j, channel in enumerate(row.path):
        yield row.path[:j], channel, row.conversions + row.nulls
    for end, count in zip(ENDS, (row.conversions, row.nulls), strict=True):
        if count:
            yield row.path, end, count


class Smoothed:
    """Witten-Bell interpolation of all orders, by recursion."""

    def __init__(self, rows, channels):
        self.rows, self.channels = rows, channels
        self.seen = defaultdict(Counter)
        for row in rows:
            for prefix, symbol, count in steps(row):
                for order in range(len(row.path) + 3):
                    self.seen[order, context(prefix, order)][symbol] += count

    def trust(self, order, where):
        after = self.seen.get((order, where), {})
        n, t = sum(after.values()), len(after)
        return Fraction(n, n + t) if n else Fraction(0)

    def mix(self, order, where, symbol, lower):
        trust = self.trust(order, where)
        if not trust:
            return lower
        after = self.seen[order, where]
        return trust * Fraction(after[symbol], sum(after.values())) + (1 - trust) * lower

    def bottom(self, symbol):
        return self.mix(0, (), symbol, Fraction(1, len(self.channels) + 2))

    def probability(self, order, prefix, symbol):
        if order == 0:
            if prefix:
                return self.bottom(symbol)
            return self.bottom(symbol) / sum(map(self.bottom, self.channels))
        where = context(prefix, order)
        lower = self.probability(order - 1, prefix, symbol)
        if where == context(prefix, order - 1):
            return lower
        return self.mix(order, where, symbol, lower)

    def log_likelihood(self, order, rows):
        journeys = sum(row.conversions + row.nulls for row in rows)
        return (
            sum(
                count * math.log(self.probability(order, prefix, symbol))
                for row in rows
                for prefix, symbol, count in steps(row)
            )
            / journeys
        )

    def forecast(self, order, prefix):
        if order == 0:
            journeys = sum(row.conversions + row.nulls for row in self.rows)
            return sum(row.conversions for row in self.rows) / journeys
        lower = self.forecast(order - 1, prefix)
        where = context(prefix, order)
        trust = float(self.trust(order, where))
        if not trust:
            return lower
        chain = Chain(self.rows, order)
        _, q, b = chain.matrix()
        h = dict(zip(chain.states, np.linalg.solve(np.eye(len(b)) - q, b), strict=True))
        return trust * h[where] + (1 - trust) * lower


def area_under_curve(forecasts, conversions, nulls):
    """Share of all pairs of a conversion and a null that are ranked rightly, ties one half."""
    right = pairs = 0
    for f, c in zip(forecasts, conversions, strict=True):
        for g, m in zip(forecasts, nulls, strict=True):
            tie = abs(f - g) < 1e-10
            right += c * m * (0.5 if tie else f > g)
            pairs += c * m
    return right / pairs if pairs else math.nan


def brier_score(forecasts, conversions, nulls):
    """Mean squared distance of the forecast from what happened."""
    errors = [
        error
        for f, c, m in zip(forecasts, conversions, nulls, strict=True)
        for error in [(1 - f) ** 2] * c + [f**2] * m
    ]
    return sum(errors) / len(errors) if errors else math.nan


def scores(folds, max_order):
    """For each fold, a list of rows, held out: the three scores of each order."""
    channels = sorted({channel for rows in folds for row in rows for channel in row.path})
    long = [row for rows in folds for row in rows if len(row.path) >= max_order]
    both = any(row.conversions for row in long) and any(row.nulls for row in long)
    result = {"log_likelihood": [], "auc": [], "brier": []}
    for i, held in enumerate(folds):
        model = Smoothed([row for rows in folds[:i] + folds[i + 1 :] for row in rows], channels)
        judged = [row for row in held if both and len(row.path) >= max_order]
        outcome = [row.conversions for row in judged], [row.nulls for row in judged]
        for name in result:
            result[name].append([])
        for order in range(1, max_order + 1):
            forecasts = [model.forecast(order, row.path[:max_order]) for row in judged]
            result["log_likelihood"][i].append(model.log_likelihood(order, held))
            result["auc"][i].append(area_under_curve(forecasts, *outcome))
            result["brier"][i].append(brier_score(forecasts, *outcome))
    return result
