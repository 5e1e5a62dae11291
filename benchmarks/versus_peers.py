"""Compare this library with ChannelAttribution, marketing-attribution-models (MAM) and mta.

One run prints three markdown tables: seconds and ratios, peak memory, and the largest relative
error against results computed here by other means (dense linear solves for the Markov chain, a
plain loop for the rules). The clock covers the way from a pandas DataFrame of path strings in
memory to the table of results.

    python benchmarks/versus_peers.py [--repeats 5] [--quick]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Figures, Measurement, Side, apart, environment, markdown, measure

if TYPE_CHECKING:
    import pandas as pd

FOUR = ["first_click", "last_click", "linear", "markov"]
SIX = ["first_click", "last_click", "linear", "position_based", "shapley", "markov"]
FIVE = ["first_click", "last_click", "linear", "position_based", "markov"]
PEER = "ChannelAttribution"
RULES = ["first_click", "last_click", "linear"]
PACKAGES = [
    "multitouch-attribution",
    "numpy",
    "pandas",
    "pyarrow",
    "ChannelAttribution",
    "marketing_attribution_models",
    "mta",
]


# The data


def write_paths(file: str, n_channels: int, n_journeys: int) -> int:
    """Write a table of distinct paths: path, conversions, value, nulls. Return its rows.

    Journeys are walks of a first-order chain: popular channels come first in the names, a touch
    often repeats the channel before it, lengths are geometric (mean 4, at most 40). Each touch
    has its chance to convert; a conversion is worth a price in cents.
    """
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(20)
    popularity = 1 / np.arange(1, n_channels + 1)
    popularity /= popularity.sum()
    steps = rng.gamma(2.0, size=(n_channels, n_channels)) * popularity
    steps /= steps.sum(axis=1, keepdims=True)
    cumulative = (0.9 * steps + 0.1 * np.eye(n_channels)).cumsum(axis=1)
    chance = rng.uniform(0.005, 0.04, size=n_channels)

    lengths = np.minimum(rng.geometric(0.25, n_journeys), 40)
    offsets = np.concatenate(([0], lengths.cumsum()))
    codes = np.empty(offsets[-1], dtype=np.int64)
    walking = np.arange(n_journeys)
    state = rng.choice(n_channels, size=n_journeys, p=popularity)
    step = 0
    while len(walking):
        codes[offsets[walking] + step] = state
        step += 1
        goes_on = lengths[walking] > step
        walking, before = walking[goes_on], state[goes_on]
        draw = rng.random(len(walking))
        state = np.empty_like(before)
        for channel in range(n_channels):
            here = before == channel
            state[here] = np.searchsorted(cumulative[channel, :-1], draw[here])

    miss = np.exp(np.add.reduceat(np.log1p(-chance)[codes], offsets[:-1]))
    converted = rng.random(n_journeys) > miss
    price = np.where(converted, rng.lognormal(4.0, 0.8, n_journeys).round(2), 0.0)

    names = [f"channel {i:03d}" for i in range(n_channels)]
    touches = [names[code] for code in codes.tolist()]
    ends = offsets.tolist()
    journeys = pd.DataFrame(
        {
            "path": [" > ".join(touches[a:b]) for a, b in pairwise(ends)],
            "conversions": converted.astype(np.int64),
            "value": price,
            "nulls": (~converted).astype(np.int64),
        }
    )
    table = journeys.groupby("path", sort=False, as_index=False).sum()
    table.to_parquet(file, index=False)
    return len(table)


# The sides


class Ours:
    """The library itself, with the models asked for."""

    def __init__(self, data: str, *, models: Sequence[str]) -> None:
        import pandas as pd

        import attribution

        self.attribution = attribution
        self.models = models
        self.frame = pd.read_parquet(data)

    def run(self) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
        """Go from path strings to the tables of conversions and of value."""
        journeys = self.attribution.Journeys.from_paths(
            self.frame,
            path="path",
            conversions="conversions",
            value="value",
            nulls="nulls",
            separator=">",
        )
        comparison = self.attribution.compare(journeys, models=list(self.models))
        return comparison, comparison.to_frame(of="conversions"), comparison.to_frame(of="value")

    def figures(self, result: tuple[Any, pd.DataFrame, pd.DataFrame]) -> Figures:
        """Return every model's credit, and the removal effects."""
        comparison, conversions, value = result
        figures: dict[str, Any] = {}
        for model in self.models:
            figures[f"{model} conversions"] = conversions[model].to_dict()
            figures[f"{model} value"] = value[model].to_dict()
        if "markov" in self.models:
            effects = comparison["markov"].to_frame()["removal_effect"]
            figures["removal effect"] = effects.to_dict()
        return figures


class ChannelAttribution:
    """ChannelAttribution at its defaults, with value and nulls, without its prints."""

    def __init__(self, data: str) -> None:
        import ChannelAttribution
        import pandas as pd

        self.package = ChannelAttribution
        self.frame = pd.read_parquet(data)

    def markov(self, **options: Any) -> Any:
        """Run its Markov model of order 1."""
        return self.package.markov_model(
            self.frame,
            "path",
            "conversions",
            var_value="value",
            var_null="nulls",
            verbose=False,
            flg_pro=False,
            **options,
        )

    def run(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run its three rules in one call and its Markov model in another."""
        rules = self.package.heuristic_models(
            self.frame, "path", "conversions", var_value="value", flg_pro=False
        )
        return rules, self.markov()

    def figures(self, result: tuple[pd.DataFrame, pd.DataFrame]) -> Figures:
        """Return its credit under our names, and its removal effects."""
        rules, markov = (frame.set_index("channel_name") for frame in result)
        # Asked for apart from the clock; the same seed gives the same simulation.
        effects = self.markov(out_more=True)["removal_effects"].set_index("channel_name")
        figures = {
            "markov conversions": markov["total_conversions"].to_dict(),
            "markov value": markov["total_conversion_value"].to_dict(),
            "removal effect": effects["removal_effects_conversion"].to_dict(),
        }
        for model, name in zip(RULES, ("first_touch", "last_touch", "linear_touch"), strict=True):
            figures[f"{model} conversions"] = rules[f"{name}_conversions"].to_dict()
            figures[f"{model} value"] = rules[f"{name}_value"].to_dict()
        return figures


class Mam:
    """marketing-attribution-models: one row per path and outcome, its five models of `FIVE`.

    The table is brought into its "grouped journey" format before the clock starts. It takes one
    outcome at a time; here it counts conversions.
    """

    def __init__(self, data: str) -> None:
        import mam
        import pandas as pd

        self.package = mam
        table = pd.read_parquet(data)
        parts = []
        for column, converted in (("conversions", True), ("nulls", False)):
            part = table.loc[table[column] > 0, ["path", column]]
            part = part.rename(columns={column: "occurrences"})
            parts.append(part.assign(converted=converted))
        self.frame = pd.concat(parts, ignore_index=True)

    def run(self) -> dict[str, Any]:
        """Run the five models."""
        models = self.package.MAM(
            self.frame,
            format_type="grouped_journey",
            channels_colname="path",
            journey_with_conv_colname="converted",
            occurrences_colname="occurrences",
        )
        return {
            "first_click": models.run_first_click(),
            "last_click": models.run_last_click(),
            "linear": models.run_linear(),
            "position_based": models.run_position_based(),
            "markov": models.run_markov(),
        }

    def figures(self, result: dict[str, Any]) -> Figures:
        """Return its credit under our names, and its removal effects."""
        figures = {}
        for model in RULES:
            credit = result[model].to_pandas().astype({"channels": str}).set_index("channels")
            figures[f"{model} conversions"] = credit["attribution"].to_dict()
        # Its Markov credit is spread within each journey: another quantity, not compared.
        effects = result["markov"].metadata["removal_effect"]["removal_effect"]
        figures["removal effect"] = effects.to_dict()
        return figures


class Mta:
    """mta: loops kept and no times made up, so that it does the same five models.

    Its Markov model without simulation adds up the probabilities of the observed paths only.
    """

    def __init__(self, data: str) -> None:
        import mta
        import pandas as pd

        self.package = mta
        names = {"conversions": "total_conversions", "nulls": "total_null"}
        self.frame = pd.read_parquet(data).rename(columns=names)

    def run(self) -> Any:
        """Run the five models."""
        models = self.package.MTA(self.frame, allow_loops=True, add_timepoints=False)
        models.first_touch(normalize=False).last_touch(normalize=False)
        models.linear(share="proportional", normalize=False)
        models.position_based(normalize=False)
        return models.markov(sim=False, normalize=False)

    def figures(self, result: Any) -> Figures:
        """Return its credit under our names, and its removal effects."""
        found = result.attribution
        theirs = zip(RULES, ("first_touch", "last_touch", "linear"), strict=True)
        figures = {f"{model} conversions": dict(found[name]) for model, name in theirs}
        figures["removal effect"] = dict(found["markov"])
        return figures


# The exact results


def exact(data: str) -> Figures:
    """Compute first, last, linear and Markov (order 1) credit by other means than the library.

    The rules come from a plain loop over the rows. The chain is built from the same loop; its
    conversion and value per journey, whole and without each channel, come from one dense solve
    each. A channel's credit is its share of the sum of removal effects, times the total.
    """
    import numpy as np
    import pandas as pd

    parts: dict[str, dict[str, list[float]]] = {
        f"{model} {of}": defaultdict(list) for model in RULES for of in ("conversions", "value")
    }
    steps: dict[tuple[str, str], float] = defaultdict(float)
    visits: dict[str, float] = defaultdict(float)
    starts: dict[str, float] = defaultdict(float)
    table = pd.read_parquet(data)
    columns = [table[name].tolist() for name in ("path", "conversions", "value", "nulls")]
    for path, conversions, value, nulls in zip(*columns, strict=True):
        touches = path.split(" > ")
        for of, amount in (("conversions", conversions), ("value", value)):
            parts[f"first_click {of}"][touches[0]].append(amount)
            parts[f"last_click {of}"][touches[-1]].append(amount)
            for touch in touches:
                parts[f"linear {of}"][touch].append(amount / len(touches))
        n = conversions + nulls
        starts[touches[0]] += n
        for touch in touches:
            visits[touch] += n
        for pair in pairwise(touches):
            steps[pair] += n
    figures: Figures = {
        column: {channel: math.fsum(amounts) for channel, amounts in by_channel.items()}
        for column, by_channel in parts.items()
    }

    channels = sorted(visits)
    position = {channel: i for i, channel in enumerate(channels)}
    chain = np.zeros((len(channels), len(channels)))
    for (before, after), n in steps.items():
        chain[position[before], position[after]] = n / visits[before]
    start = np.array([starts[channel] for channel in channels]) / sum(starts.values())
    for of in ("conversions", "value"):
        last = figures[f"last_click {of}"]  # what each channel hands over to the end
        reward = np.array([last.get(channel, 0.0) / visits[channel] for channel in channels])
        total = float(table[of].sum())

        def worth(keep: np.ndarray, reward: np.ndarray = reward) -> float:
            inside = np.eye(len(keep)) - chain[np.ix_(keep, keep)]
            return float(start[keep] @ np.linalg.solve(inside, reward[keep]))

        everything = np.arange(len(channels))
        base = worth(everything)
        effects = [1 - worth(np.delete(everything, i)) / base for i in everything]
        credit = total * np.array(effects) / sum(effects)
        figures[f"markov {of}"] = dict(zip(channels, credit.tolist(), strict=True))
        if of == "conversions":
            figures["removal effect"] = dict(zip(channels, effects, strict=True))
    return figures


def relative_error(found: float, true: float) -> float:
    """Return the relative error; infinite for NaN, and for anything where zero is true."""
    if math.isnan(found):
        return math.inf
    if true == 0:
        return 0.0 if found == 0 else math.inf
    return abs(found - true) / abs(true)


def largest_error(found: Figures, truth: Figures, columns: Sequence[str]) -> str:
    """Return the largest relative error over the channels and the columns that were found."""
    errors = [
        relative_error(found[column].get(channel, 0.0), true)
        for column in columns
        if column in found
        for channel, true in truth[column].items()
    ]
    return f"{max(errors):.1e}" if errors else "-"


def misplaced(found: Figures, truth: Figures, column: str) -> str:
    """Return the share of the total credit that stands at a wrong channel."""
    if column not in found:
        return "-"
    wrong = sum(abs(found[column].get(name, 0.0) - n) for name, n in truth[column].items()) / 2
    return f"{wrong / sum(truth[column].values()):.1e}"


# The tables


def seconds(measurement: Measurement) -> str:
    """Write the median, or how the side failed."""
    return measurement.error or f"{measurement.median:.3f}"


def ratio(numerator: Measurement, denominator: Measurement) -> str:
    """Write how many times the median of the second side the first side took."""
    value = numerator.median / denominator.median
    return "-" if math.isnan(value) else f"{value:.2f}" if value < 10 else f"{value:.0f}"


class Report:
    """Collects the rows of the three tables."""

    def __init__(self) -> None:
        self.times: list[list[str]] = []
        self.memory: list[list[str]] = []
        self.errors: list[list[str]] = []

    def compare(
        self, job: str, data: str, sides: dict[str, Measurement], a: str, b: str, target: str
    ) -> None:
        """One job: seconds of both sides and how many times longer b took than a."""
        quotient = ratio(sides[b], sides[a])
        self.times.append([job, data, a, seconds(sides[a]), b, seconds(sides[b]), quotient, target])

    def describe(self, data: str, sides: dict[str, Measurement], truth: Figures) -> None:
        """Memory and accuracy of the sides that came through."""
        for side, measurement in sides.items():
            if measurement.error is not None:
                continue
            numbers = [f"{measurement.baseline:.0f}", f"{measurement.peak:.0f}"]
            self.memory.append([side, data, *numbers])
            found = measurement.figures
            both = ("conversions", "value")
            rules = [f"{model} {of}" for model in RULES for of in both]
            credit = [f"markov {of}" for of in both]
            errors = [
                largest_error(found, truth, columns)
                for columns in (rules, ["removal effect"], credit)
            ]
            self.errors.append([side, data, *errors, misplaced(found, truth, credit[0])])

    def __str__(self) -> str:
        times = ["job", "input", "A", "A, s", "B", "B, s", "B / A", "target"]
        memory = ["side", "input", "imports and data, MB", "peak, MB"]
        errors = ["side", "input", "rules", "removal effect", "Markov credit", "misplaced share"]
        return "\n\n".join(
            [
                "Time: medians",
                markdown(times, self.times),
                "Peak memory of each side's process",
                markdown(memory, self.memory),
                "Largest relative error over the channels, and Markov credit at a wrong channel",
                markdown(errors, self.errors),
            ]
        )


def main() -> None:
    """Run all jobs and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--quick", action="store_true", help="small inputs, to see that it runs")
    options = parser.parse_args()
    repeats = options.repeats
    n_journeys = 20_000 if options.quick else 1_000_000

    def ours(*models: str) -> Callable[[str], Side]:
        return partial(Ours, models=models)

    report = Report()
    sides: dict[str, Callable[[str], Side]]
    with tempfile.TemporaryDirectory() as folder:
        for n_channels, target in ((20, ">= 10"), (200, ">= 50")):
            file = str(Path(folder) / f"{n_channels}.parquet")
            n_rows = apart(write_paths, file, n_channels, n_journeys)
            data = f"{n_channels} channels, {n_rows:,} paths"
            truth = apart(exact, file)

            sides = {"ours, four": ours(*FOUR), "ours, six": ours(*SIX), PEER: ChannelAttribution}
            found = measure(sides, file, repeats=repeats)
            report.compare("a. four models", data, found, "ours, four", PEER, target)
            report.compare("b. six models", data, found, "ours, six", PEER, ">= 7")
            report.describe(data, found, truth)

            if n_channels == 20:
                sides = {"ours, five": ours(*FIVE), "MAM": Mam, "mta": Mta}
                found = measure(sides, file, repeats=repeats)
                for peer in ("MAM", "mta"):
                    report.compare("d. five models", data, found, "ours, five", peer, "-")
                report.describe(data, found, truth)
            else:
                sides = {"ours, linear": ours("linear"), "ours, shapley": ours("shapley")}
                found = measure(sides, file, repeats=repeats)
                report.compare("c. Shapley", data, found, "ours, linear", "ours, shapley", "<= 1.5")

    print(environment(PACKAGES), end="\n\n")
    print(report)


if __name__ == "__main__":
    main()
