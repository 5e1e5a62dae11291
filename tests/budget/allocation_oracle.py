"""Random problems, and a general solver as the oracle of the fast one."""

import numpy as np
from scipy.optimize import minimize

from attribution.budget.curves import ExponentialCurve, HillCurve, HillEnvelope, PowerCurve

TINY = 1e-9  # spend at which slopes of the oracle are still finite


def random_curve(rng, of="conversions"):
    scale, k = rng.uniform(0.5, 5.0), rng.uniform(0.3, 3.0)
    made = (
        lambda: PowerCurve(scale, rng.uniform(0.3, 0.9), of=of),
        lambda: ExponentialCurve(scale, k, of=of),
        lambda: HillCurve(scale, k, rng.choice([0.4, 0.7, 0.9, 1.0]), of=of),
        lambda: HillEnvelope(scale, k, rng.uniform(1.2, 3.0), of=of),
    )
    return made[rng.integers(4)]()


def random_problem(rng, n=None, of="conversions"):
    """Curves, budget, bounds, and nested groups, which a plan can keep to."""
    n = n or int(rng.integers(3, 7))
    curves = {f"l{i}": random_curve(rng, of) for i in range(n)}
    inside = rng.uniform(0.05, 1.5, n)  # a plan that all limits allow
    bounds = {}
    for i in range(n):
        low = inside[i] * rng.uniform(0, 0.9) if rng.random() < 0.3 else None
        high = inside[i] * rng.uniform(1.1, 2.0) if rng.random() < 0.3 else None
        bounds[f"l{i}"] = (low, high)
    groups, size = {}, n
    while size > 1 and rng.random() < 0.8:
        size = int(rng.integers(1, size))
        total = inside[:size].sum()
        low = total * rng.uniform(0.8, 1.0) if rng.random() < 0.6 else None
        high = total * rng.uniform(1.0, 1.2) if rng.random() < 0.6 else None
        groups[f"g{size}"] = ([f"l{i}" for i in range(size)], low, high)
    if rng.random() < 0.5 and size < n - 1 and not groups:
        groups["rest"] = ([f"l{i}" for i in range(size, n)], 0.9 * inside[size:].sum(), None)
    return curves, float(inside.sum() * rng.uniform(1.0, 1.05)), bounds, groups, inside


def oracle(curves, budget, bounds, groups, start, *, weight=None, cost=0.0, roas=None):
    """The best plan by SLSQP, from several starts; None where it does not converge."""
    names, each = list(curves), list(curves.values())
    weight = np.ones(len(each)) if weight is None else weight

    def value(x):
        return np.array([c.value(max(v, 0.0)) for c, v in zip(each, x, strict=True)])

    def slope(x):
        return np.array([c.marginal(max(v, TINY)) for c, v in zip(each, x, strict=True)])

    limits = [(budget, -np.ones(len(each)))]
    for members, low, high in groups.values():
        row = np.array([float(name in members) for name in names])
        limits += [] if low is None else [(-low, row)]
        limits += [] if high is None else [(high, -row)]
    constraints = [
        {"type": "ineq", "fun": lambda x, a=a, b=b: a + b @ x, "jac": lambda x, b=b: b}
        for a, b in limits
    ]
    if roas is not None:
        constraints.append(
            {
                "type": "ineq",
                "fun": lambda x: float(value(x).sum() - roas * x.sum()),
                "jac": lambda x: slope(x) - roas,
            }
        )
    box = [((bounds.get(n, (0, 0))[0] or 0) + TINY, bounds.get(n, (0, None))[1]) for n in names]
    box = [(low, budget * 2 if high is None else high) for low, high in box]
    best = None
    for share in (1.0, 0.6):
        found = minimize(
            lambda x: -float(weight @ value(x) - cost * x.sum()),
            start * share,
            jac=lambda x: -(weight * slope(x) - cost),
            bounds=box,
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 500},
        )
        kept = all(c["fun"](found.x) > -1e-9 for c in constraints)
        if kept and (best is None or -found.fun > best):
            best = -found.fun
    return best
