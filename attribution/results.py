"""What models return: `Attribution`, and several of them side by side, `Comparison`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from attribution.arrays import FloatArray, FrozenDict, Immutable
from attribution.errors import InputError, nearest
from attribution.statistics import Statistic

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Attribution(Immutable):
    """Credit per channel under one model; immutable.

    Credit plus baseline plus unattributed is what came in, for conversions and for value, unless
    there was no outcome to share out.

    Attributes
    ----------
    model
        Name of the model with its options.
    channels
        The n_channels names, sorted.
    conversions, values
        Shape (n_channels,); credit; values None where none were given.
    total_conversions, total_value
        What came in.
    unattributed, unattributed_value
        Of journeys without touches.
    baseline, baseline_value
        Conversions (value) that the model gives to no channel; None where it has no such notion.
    period
        The reporting window of the journeys, [from, until) in microseconds since 1970 UTC, each
        None where it is open; None where none was asked for.
    extra
        Further columns of the model, shape (n_channels,) each, such as removal_effect.
    details
        Anything else worth knowing, ready for JSON.
    """

    model: str
    channels: tuple[str, ...]
    conversions: FloatArray
    values: FloatArray | None
    total_conversions: float
    total_value: float | None
    unattributed: float
    unattributed_value: float | None
    baseline: float | None = None
    baseline_value: float | None = None
    period: tuple[int | None, int | None] | None = None
    extra: Mapping[str, FloatArray] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        extra = {name: _frozen(column) for name, column in self.extra.items()}
        object.__setattr__(self, "extra", FrozenDict(extra))
        object.__setattr__(self, "details", _freeze(self.details))

    @classmethod
    def of(
        cls,
        statistic: Statistic,
        *,
        model: str,
        conversions: FloatArray,
        values: FloatArray | None,
        baseline: float | None = None,
        baseline_value: float | None = None,
        extra: Mapping[str, FloatArray] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a result with the channels, the totals and the period of a statistic."""
        totals, spec = statistic.totals, statistic.spec
        window = None if spec is None else (spec.report_from, spec.report_until)
        return cls(
            model=model,
            channels=statistic.channels,
            conversions=conversions,
            values=values,
            baseline=baseline,
            baseline_value=baseline_value,
            period=None if window == (None, None) else window,
            total_conversions=totals.conversions,
            total_value=totals.value,
            unattributed=totals.unattributed,
            unattributed_value=totals.unattributed_value,
            extra=extra or {},
            details=details or {},
        )

    def __repr__(self) -> str:
        return f"<Attribution by {self.model}>\n{self.to_frame().to_string()}\n{self._footer()}"

    def _repr_html_(self) -> str:
        return f"{self.to_frame().to_html()}<p>{_escape(self.model)}: {self._footer()}</p>"

    def _footer(self) -> str:
        def rest(baseline: float | None, unattributed: float | None) -> str:
            organic = "" if baseline is None else f"{baseline:,.10g} baseline, "
            return f"{organic}{unattributed:,.10g} unattributed"

        text = f"{self.total_conversions:,.10g} conversions, "
        text += rest(self.baseline, self.unattributed)
        if self.total_value is not None:
            text += f"; value {self.total_value:,.10g}, "
            text += rest(self.baseline_value, self.unattributed_value)
        return text

    def to_frame(self) -> pd.DataFrame:
        """Return the credit per channel.

        Returns
        -------
        pandas.DataFrame
            Index channel; columns conversions, value (where given), conversions_share,
            value_share, then the model's own. Shares are of the credit given, and NaN where
            there is none.
        """
        import pandas as pd

        index = pd.Index(self.channels, name="channel", dtype="str")
        return pd.DataFrame(self.columns, index=index)

    @property
    def columns(self) -> dict[str, FloatArray]:
        """The columns of `to_frame` by name, shape (n_channels,) each."""
        columns: dict[str, FloatArray] = {"conversions": self.conversions}
        if self.values is not None:
            columns["value"] = self.values
        columns["conversions_share"] = share(self.conversions)
        if self.values is not None:
            columns["value_share"] = share(self.values)
        return {**columns, **self.extra}

    def to_json(self) -> str:
        """Return the whole result as JSON text; numbers round-trip exactly, NaN is null."""
        return json.dumps(_envelope("attribution", self._as_dict()), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            If it is something else, or of a newer schema.
        """
        items = _open(text, "attribution")
        with _whole("attribution"):
            return cls._from_dict(items)

    def _as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "channels": list(self.channels),
            "conversions": _numbers(self.conversions),
            "values": None if self.values is None else _numbers(self.values),
            "total_conversions": self.total_conversions,
            "total_value": self.total_value,
            "unattributed": self.unattributed,
            "unattributed_value": self.unattributed_value,
            "baseline": self.baseline,
            "baseline_value": self.baseline_value,
            "period": None if self.period is None else list(self.period),
            "extra": {name: _numbers(column) for name, column in self.extra.items()},
            "details": _thaw(self.details),
        }

    @classmethod
    def _from_dict(cls, items: dict[str, Any]) -> Self:
        values, period = items["values"], items.get("period")
        return cls(
            **{
                **items,
                "period": None if period is None else tuple(period),
                "channels": tuple(items["channels"]),
                "conversions": _array(items["conversions"]),
                "values": None if values is None else _array(values),
                "extra": {name: _array(column) for name, column in items["extra"].items()},
            }
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Comparison(Immutable):
    """Several models on the same journeys, side by side; immutable.

    Attributes
    ----------
    attributions
        Result by name of the model.
    kinds
        "rule" or "data" by name of the model.
    skipped
        Why a model was left out, by name.
    """

    attributions: Mapping[str, Attribution]
    kinds: Mapping[str, str]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Attribution:
        """Return the result of one model.

        Raises
        ------
        InputError
            If it was not compared, with the reason where it was skipped.
        """
        if name in self.skipped:
            raise InputError(f"{name} was skipped: {self.skipped[name]}")
        if name not in self.attributions:
            raise InputError(f"{name!r} was not compared.{nearest(name, self.attributions)}")
        return self.attributions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.attributions)

    def __len__(self) -> int:
        return len(self.attributions)

    def __repr__(self) -> str:
        lines = [f"<Comparison of {len(self)} models>", self.to_frame().to_string()]
        lines += [first._footer() for first in list(self.attributions.values())[:1]]
        lines += [f"skipped {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        skipped = "".join(
            f"<p>skipped {_escape(name)}: {_escape(reason)}</p>"
            for name, reason in self.skipped.items()
        )
        footer = "".join(f"<p>{a._footer()}</p>" for a in list(self.attributions.values())[:1])
        return f"{self.to_frame().to_html()}{footer}{skipped}"

    def to_frame(
        self,
        of: Literal["conversions", "value"] = "conversions",
        share: bool = False,
        *,
        intervals: bool = False,
    ) -> pd.DataFrame:
        """Return one column per model.

        Parameters
        ----------
        of
            The outcome.
        share
            Shares of the credit given instead of amounts.
        intervals
            With the ends of intervals and standard errors, where they were asked for.

        Returns
        -------
        pandas.DataFrame
            Index channel; one column per model and nothing else. With intervals four per model:
            (model, "estimate"), (model, "low"), (model, "high") and (model, "se").

        Raises
        ------
        InputError
            If `of` is neither, or there is no value or no interval.
        """
        import pandas as pd

        if of not in ("conversions", "value"):
            raise InputError(f"of={of!r} is not one of ('conversions', 'value').")
        frames = {name: result.to_frame() for name, result in self.attributions.items()}
        column = f"{of}_share" if share else of
        for name, frame in frames.items():
            if column not in frame:
                raise InputError(f"{name} has no value. Hint: name its column with value=.")
        if not intervals:
            return pd.DataFrame({name: frame[column] for name, frame in frames.items()})
        lacks = [name for name, frame in frames.items() if f"{column}_se" not in frame]
        if lacks:
            raise InputError(f"{lacks[0]} has no intervals. Hint: compare(..., confidence=0.9).")
        ends = {"estimate": "", "low": "_low", "high": "_high", "se": "_se"}
        return pd.DataFrame(
            {
                (name, end): frame[column + tail]
                for name, frame in frames.items()
                for end, tail in ends.items()
            }
        )

    def spread(self, of: Literal["conversions", "value"] = "conversions") -> pd.DataFrame:
        """Say per channel how far the models disagree, in shares of all credit.

        Returns
        -------
        pandas.DataFrame
            Index channel; lowest and highest share and the models that give them, spread (their
            difference), and the mean share of the rules and of the models driven by data (NaN
            where there are none); `kinds` says which are which, as does `.attrs["kinds"]`. Widest
            spread first.
        """
        import pandas as pd

        shares = self.to_frame(of, share=True)
        amounts = shares.fillna(0.0)
        columns: dict[str, Any] = {
            "lowest": shares.min(axis=1),
            "highest": shares.max(axis=1),
            "spread": shares.max(axis=1) - shares.min(axis=1),
            "lowest_model": amounts.idxmin(axis=1),
            "highest_model": amounts.idxmax(axis=1),
        }
        for kind, column in (("rule", "rules"), ("data", "data_driven")):
            names = [name for name in shares if self.kinds[str(name)] == kind]
            columns[column] = shares[names].mean(axis=1) if names else np.nan
        frame = pd.DataFrame(columns, index=shares.index)
        frame = frame.sort_values("spread", ascending=False, kind="stable")
        frame.attrs["kinds"] = dict(self.kinds)
        return frame

    def to_json(self) -> str:
        """Return everything as JSON text; numbers round-trip exactly, NaN is null."""
        items = {
            "attributions": {name: a._as_dict() for name, a in self.attributions.items()},
            "kinds": dict(self.kinds),
            "skipped": dict(self.skipped),
        }
        return json.dumps(_envelope("comparison", items), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            If it is something else, or of a newer schema.
        """
        items = _open(text, "comparison")
        with _whole("comparison"):
            results = items["attributions"].items()
            return cls(
                attributions={name: Attribution._from_dict(each) for name, each in results},
                kinds=items["kinds"],
                skipped=items["skipped"],
            )


def share(credit: FloatArray) -> FloatArray:
    """Return credit over its sum; NaN where the sum is 0."""
    total = credit.sum()
    return credit / total if total else np.full(len(credit), np.nan)


def _frozen(column: FloatArray) -> FloatArray:
    from attribution.arrays import own

    return own(np.asarray(column, dtype=np.float64))


@contextmanager
def _whole(kind: str) -> Iterator[None]:
    """Turn what a missing or wrong entry causes into an error that says so."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"This {kind} is damaged: {error}.") from error


def _freeze(value: Any) -> Any:
    """Make lists tuples and mappings frozen, all the way down."""
    if isinstance(value, Mapping):
        return FrozenDict({name: _freeze(each) for name, each in value.items()})
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def _thaw(value: Any) -> Any:
    """Undo `_freeze` for JSON."""
    if isinstance(value, Mapping):
        return {name: _thaw(each) for name, each in value.items()}
    return list(map(_thaw, value)) if isinstance(value, tuple) else value


def _escape(text: str) -> str:
    import html

    return html.escape(text)


def _numbers(column: FloatArray) -> list[float | None]:
    return [None if x != x else x for x in column.tolist()]


def _array(numbers: list[float | None]) -> FloatArray:
    return np.array([np.nan if x is None else x for x in numbers], dtype=np.float64)


def _envelope(kind: str, items: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "schema": SCHEMA, **items}


def _open(text: str, kind: str) -> dict[str, Any]:
    """Check kind and schema of JSON text and return its items."""
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"This is no JSON: {error}") from error
    if not isinstance(items, dict) or items.get("kind") != kind:
        raise InputError(f"This is no JSON of kind {kind!r}.")
    schema = items.get("schema")
    if not isinstance(schema, int):
        raise InputError(f"This {kind} has no schema version: it is damaged.")
    if schema > SCHEMA:
        raise InputError(
            f"This {kind} has schema {schema}, newer than {SCHEMA}. Hint: update "
            "multitouch-attribution."
        )
    return {name: value for name, value in items.items() if name not in ("kind", "schema")}
