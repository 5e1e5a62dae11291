"""How much a Markov chain should remember: the order, chosen by what it predicts held out.

A journey x_1 .. x_n is followed by an end, conversion or null. After the touches h = x_1 .. x_j the
context of order k is the last k touches; while j < k it is all of them, and that they are the
start. (This is the chain of `Markov(order=k)`, whose first state is the first k touches.) With
counts from the training journeys, the next symbol x has probability

    p_k(x | h) = lambda ML_k(x | h) + (1 - lambda) p_{k-1}(x | h)        lambda = n / (n + t)

where n counts the context, t the different symbols seen after it and ML_k(x | h) is the share of x
among the n (Witten-Bell). A context without training journeys has lambda = 0. While j < k - 1 the
contexts of order k and k - 1 are one, and p_k = p_{k-1}. At the bottom p_0 is the share of x among
all symbols, interpolated in the same manner with the uniform distribution over the channels and
both ends; before the first touch it is rescaled to the channels, as no journey is empty.

The forecast of order k after some touches h of the probability to convert is

    f_k(h) = lambda P(conversion before null | last k touches) + (1 - lambda) f_{k-1}(h)

with the same lambda, P from the training chain of order k (h = Q h + b, self-loops taken out), and
f_0 the share of training journeys that convert.

Sources: Witten and Bell (1991), The zero-frequency problem, IEEE Trans. Inf. Theory 37(4); Chen and
Goodman (1999), An empirical study of smoothing techniques for language modeling, Computer Speech &
Language 13(4); for the rule Hastie, Tibshirani and Friedman (2009), The Elements of Statistical
Learning, 7.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from attribution.arrays import FloatArray, FrozenDict, Immutable, own
from attribution.errors import InputError, warn
from attribution.journeys import Journeys
from attribution.orders.contexts import levels_of
from attribution.orders.folds import split_into_folds
from attribution.orders.scores import SCORES, score_orders

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OrderSelection(Immutable):
    """The order that `select_order` chose, and how every order did; immutable.

    Attributes
    ----------
    best
        The lowest order whose log-likelihood is within one standard error of the highest.
    columns
        Columns of `to_frame`, shape (max_order,) each; entry i is order i + 1.
    n_folds
        Number of folds.
    n_forecast
        Number of journeys with at least max_order touches, on which `auc` and `brier` rest.
    """

    best: int
    columns: Mapping[str, FloatArray]
    n_folds: int
    n_forecast: float

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = {name: own(np.asarray(column)) for name, column in self.columns.items()}
        object.__setattr__(self, "columns", FrozenDict(columns))

    def __repr__(self) -> str:
        return f"<OrderSelection: order {self.best}>\n{self.to_frame().to_string()}\n{self._why()}"

    def _repr_html_(self) -> str:
        return f"{self.to_frame().to_html()}<p>{self._why()}</p>"

    def _why(self) -> str:
        fit, error = self.columns["log_likelihood"], self.columns["log_likelihood_se"]
        top = int(np.argmax(fit))
        return (
            f"Order {self.best} is the lowest whose log-likelihood ({fit[self.best - 1]:.6g}) is "
            f"within one standard error ({error[top]:.2g}) of the highest ({fit[top]:.6g} at order "
            f"{top + 1}); {self.n_folds} folds. auc and brier: {self.n_forecast:,.10g} journeys "
            f"after their first {len(fit)} touches. A better fit is not a truer effect."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return how every order did on journeys held out.

        Returns
        -------
        pandas.DataFrame
            Index order; columns `log_likelihood` (nats per journey, higher is better), `auc`
            (0.5 is chance, 1 is perfect) and `brier` (mean squared error, lower is better), each
            with its standard error over folds (`log_likelihood_se` ...), and `n_states` of the
            chain of that order over all journeys.
        """
        import pandas as pd

        orders = range(1, len(self.columns["log_likelihood"]) + 1)
        index = pd.Index(orders, name="order", dtype="int64")
        return pd.DataFrame(dict(self.columns), index=index).astype({"n_states": "int64"})


def select_order(
    journeys: Journeys,
    max_order: int = 5,
    *,
    n_folds: int = 5,
    random_state: int | np.random.Generator | None = 0,
) -> OrderSelection:
    """Choose the order of a Markov chain by cross-validation.

    Each fold in turn is held out and predicted from the others, transitions smoothed by
    interpolation with the next lower order (`attribution.orders` has the formula). A better fit is
    not a truer effect: the order that predicts journeys best need not tell better what a channel
    causes, and no order separates a channel that causes conversions from one that meets people who
    would have converted anyway. Use the order to describe journeys, an experiment to learn effects.

    Parameters
    ----------
    journeys
        Rows without touches do not enter.
    max_order
        The orders 1 .. max_order are compared. `auc` and `brier` judge the forecast made after the
        first max_order touches, the earliest moment at which no two orders know the same, and so on
        the same journeys for all: those with at least so many touches (`n_forecast`). Where few
        journeys are that long, choose a lower max_order.
    n_folds
        Number of folds, at least 2. All journeys of a user are in one fold; without `users` every
        single journey of a row goes to a random fold (a fraction of a journey goes as one).
    random_state
        Seed of the folds, or a generator to go on from. None: seed 0. The order of rows changes
        nothing.

    Returns
    -------
    OrderSelection
        Scores are means over folds with standard error sd / sqrt(folds). A fold without conversion
        or null among the forecasts has no AUC, one without forecasts no Brier score, and is left
        out of the mean. Both are NaN if no such journey converts, or all do.

    Raises
    ------
    InputError
        If an option does not fit, no journey has touches, or a fold would be empty.

    Warns
    -----
    AttributionWarning
        If max_order exceeds the longest path.

    Notes
    -----
    The one-standard-error rule prefers the simpler chain. The error is that of one order's mean; it
    holds what makes folds differ for all orders alike, such as the length of their journeys, and so
    the rule is cautious: on few journeys it returns a low order. The table shows how close it was.

    Examples
    --------
    >>> from attribution import datasets
    >>> paths = datasets.load_paths()
    >>> journeys = Journeys.from_paths(paths, nulls="nulls", empty="unattributed")
    >>> selection = select_order(journeys, 3)
    >>> selection.best
    1
    >>> selection.to_frame()[["log_likelihood", "log_likelihood_se", "n_states"]].round(3)
           log_likelihood  log_likelihood_se  n_states
    order
    1              -9.834              0.231        12
    2              -9.865              0.233       156
    3             -10.212              0.245      1842
    """
    _require(journeys, max_order, n_folds)
    folds = split_into_folds(journeys, int(n_folds), random_state)
    longest = int(np.diff(folds.offsets).max())
    if max_order > longest:
        warn(
            f"max_order={max_order} is longer than every path (at most {longest} touches): higher "
            "orders know nothing more, and there is no forecast to judge (auc and brier are NaN). "
            f"Hint: max_order={longest}."
        )
    levels = levels_of(folds, int(max_order))
    scores = score_orders(folds, levels)
    columns: dict[str, FloatArray] = {}
    for name in SCORES:
        columns[name], columns[f"{name}_se"] = _mean_and_error(scores[name])
    columns["n_states"] = np.array([level.n_states for level in levels], dtype=np.float64)
    forecast = np.diff(folds.offsets) >= max_order
    return OrderSelection(
        best=one_standard_error_rule(columns["log_likelihood"], columns["log_likelihood_se"]),
        columns=columns,
        n_folds=int(n_folds),
        n_forecast=float((folds.conversions + folds.nulls)[forecast].sum()),
    )


def _require(journeys: object, max_order: object, n_folds: object) -> None:
    """Refuse arguments that cannot work."""
    if not isinstance(journeys, Journeys):
        raise InputError(
            f"select_order needs Journeys, not {type(journeys).__name__}. Hint: build them with "
            "Journeys.from_events or Journeys.from_paths."
        )
    for name, number, least in (("max_order", max_order, 1), ("n_folds", n_folds, 2)):
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        if not whole or number < least:  # type: ignore[operator]
            raise InputError(
                f"{name}={number!r} is not a whole number of at least {least}. Hint: {name}=5."
            )


def one_standard_error_rule(mean: FloatArray, error: FloatArray) -> int:
    """Return the lowest order whose mean is within the best order's error of the best mean."""
    top = int(np.argmax(mean))
    return int(np.argmax(mean >= mean[top] - error[top])) + 1


def _mean_and_error(scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard error over the folds (rows) in which a score is not NaN."""
    means, errors = np.full((2, scores.shape[1]), np.nan)
    for i, column in enumerate(scores.T):
        known = column[~np.isnan(column)]
        if len(known):
            means[i] = known.mean()
        if len(known) > 1:
            errors[i] = known.std(ddof=1) / np.sqrt(len(known))
    return means, errors
