"""The result of a fit: one response curve per line, its draws, and what it can and cannot say.

Curves of a channel are of three kinds, and only the last two speak of what spend causes:

- "descriptive": attributed credit against spend. Credit is a split of what happened.
- "calibrated credit": the same credit, scaled to what experiments say the channel caused.
- "incremental": the outcome of all periods against the spend of all lines at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from attribution.arrays import FloatArray, FrozenDict, Immutable
from attribution.budget.curves import Curve
from attribution.budget.panel import Panel
from attribution.budget.shapes import FamilyName
from attribution.errors import InputError, nearest
from attribution.models.base import Outcome
from attribution.uncertainty.bounds import require_confidence

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["descriptive", "calibrated credit", "incremental"]

STATEMENTS: dict[Kind, str] = {
    "descriptive": (
        "Descriptive: credit is a split of what happened and rises with exposure even for a "
        "channel without effect. These curves say how credit went with spend, not what spend "
        "causes."
    ),
    "calibrated credit": (
        "Calibrated credit: levels are what experiments say the channels caused, and as sound as "
        "those. The shapes still follow credit, which is a split of what happened."
    ),
    "incremental": (
        "Incremental: the outcome of all periods against the spend of all lines. It is what spend "
        "causes as far as spend moved for reasons of its own; spend that follows demand looks "
        "better than it is, unless lift tests correct it."
    ),
}


@dataclass(frozen=True, eq=False, repr=False)
class CurveFit(Immutable, Mapping[str, Curve]):
    """Response curves by line; a mapping from line to `Curve`.

    Attributes
    ----------
    kind
        What the curves stand for; see the module.
    of
        What they count.
    family
        Their form.
    curves
        The best fit of each line.
    draws
        By line, one object for n_draws curves. Draw i of all lines belong together.
    today
        Mean spend per period of each line, of all periods; pass today= to `allocate` where spend
        has changed since.
    observed
        Least and largest spend of a period, by line. Elsewhere a curve is extrapolated.
    period
        "D", "W", "MS", "QS" or "YS".
    quality
        n_periods, n_left_out (incomplete periods), n_unmatched (periods that spend or outcome
        lacks), r2, residual_sd, autocorrelation of neighbouring residuals, durbin_watson (2 where
        there is none), hac_lags; see `to_frame` for lines.
    lines
        By line: informed, the share of the doubt about the shape that the data have taken away
        (near 0 the shape is that of the prior); r2 of the line where lines are fitted one by one.
    statement
        What kind of curves these are and what they cannot say.
    """

    kind: Kind
    of: Outcome
    family: FamilyName
    curves: Mapping[str, Curve]
    draws: Mapping[str, Curve]
    today: Mapping[str, float]
    observed: Mapping[str, tuple[float, float]]
    period: str
    quality: Mapping[str, float]
    lines: Mapping[str, Mapping[str, float]]
    statement: str

    def __getitem__(self, line: str) -> Curve:
        if line not in self.curves:
            raise KeyError(f"There is no line {line!r}.{nearest(line, self.curves)}")
        return self.curves[line]

    def __iter__(self) -> Iterator[str]:
        return iter(self.curves)

    def __len__(self) -> int:
        return len(self.curves)

    def __repr__(self) -> str:
        return (
            f"<CurveFit: {self.kind}, {self.of} by {self.family} curves, "
            f"{self.quality['n_periods']:.0f} periods {self.period!r}>\n"
            f"{self.to_frame().to_string()}\n{self.statement}"
        )

    def to_frame(
        self, spend: Mapping[str, float] | None = None, confidence: float = 0.9
    ) -> pd.DataFrame:
        """Return what each line brings at a spend.

        Parameters
        ----------
        spend
            Per period, where to read the curves; lines left out, and None, are read at `today`.
        confidence
            Of the intervals; between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            Index line; columns: the parameters of the curve, today, spend, value (per period),
            marginal (what one more unit of money per period brings) with its _low, _high and _se
            over the draws (infinite where draws are, as of power curves at 0), average (value /
            spend, NaN at 0), then those of `lines`. `attrs` hold kind, of, confidence and the
            statement.

        Raises
        ------
        InputError
            If a line is unknown, spend is negative, or confidence is not between 0 and 1.
        """
        import pandas as pd

        require_confidence(confidence)
        for line in spend or {}:
            if line not in self.curves:
                raise InputError(f"There is no line {line!r}.{nearest(str(line), self.curves)}")
        where = {**self.today, **(spend or {})}
        rows = [self._row(line, where[line], confidence) for line in self]
        frame = pd.DataFrame(rows, index=pd.Index(list(self), name="line"))
        frame.attrs |= {"kind": self.kind, "of": self.of, "confidence": confidence}
        frame.attrs |= {"statement": self.statement}
        return frame

    def _row(self, line: str, spend: float, confidence: float) -> dict[str, Any]:
        curve = self.curves[line]
        value, marginals = float(curve.value(spend)), self.draws[line].marginal(spend)
        finite = bool(np.isfinite(marginals).all())
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.quantile(marginals, ends, method="linear" if finite else "inverted_cdf")
        return {
            **{name: getattr(curve, name) for name in curve.parameters},
            "today": self.today[line],
            "spend": spend,
            "value": value,
            "marginal": float(curve.marginal(spend)),
            "marginal_low": low,
            "marginal_high": high,
            "marginal_se": marginals.std() if finite else np.inf,
            "average": value / spend if spend else np.nan,
            **self.lines[line],
        }

    def valued(self, value_per_conversion: float) -> Self:
        """Return the same curves in money: every conversion is worth so much.

        Raises
        ------
        InputError
            If the curves are of value already, or the value of a conversion is not above 0.
        """
        worth = value_per_conversion
        curves = {line: curve.valued(worth) for line, curve in self.curves.items()}
        return replace(
            self,
            of="value",
            curves=curves,
            draws={line: curve.valued(worth) for line, curve in self.draws.items()},
            quality={**self.quality, "residual_sd": self.quality["residual_sd"] * worth},
        )

    def take(self, lines: Sequence[str]) -> Self:
        """Return the curves of some lines, in this order; quality stays that of the whole fit.

        Raises
        ------
        InputError
            If there is no such line, or none is asked for.
        """
        if isinstance(lines, str) or not len(lines):
            raise InputError(f"lines={lines!r} is no list of lines. Hint: [{next(iter(self))!r}].")
        for line in lines:
            if line not in self.curves:
                raise InputError(f"There is no line {line!r}.{nearest(str(line), self.curves)}")
        return replace(
            self,
            curves={line: self.curves[line] for line in lines},
            draws={line: self.draws[line] for line in lines},
            today={line: self.today[line] for line in lines},
            observed={line: self.observed[line] for line in lines},
            lines={line: self.lines[line] for line in lines},
        )


def quality_of(
    panel: Panel, outcome: FloatArray, residuals: FloatArray, lags: int
) -> FrozenDict[float]:
    """Summarise residuals, shape (n_periods, n_series) as the outcome; series are pooled."""
    n, squares = len(outcome), float((residuals**2).sum())
    spread = float(((outcome - outcome.mean(axis=0)) ** 2).sum())
    neighbours = np.diff(panel.rows) == 1
    paired = squares * float(neighbours.mean())
    one, next_one = residuals[:-1][neighbours], residuals[1:][neighbours]
    along, steps = float((one * next_one).sum()), float(((next_one - one) ** 2).sum())
    return FrozenDict(
        {
            "n_periods": float(n),
            "n_left_out": float(panel.n_left_out),
            "n_unmatched": float(panel.n_unmatched),
            "r2": 1.0 - squares / spread if spread else np.nan,
            "residual_sd": float(np.sqrt(squares / residuals.size)),
            "autocorrelation": along / paired if paired else 0.0,
            "durbin_watson": steps / paired if paired else 2.0,
            "hac_lags": float(lags),
        }
    )
