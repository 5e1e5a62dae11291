"""How far every model is from the truth, in five simulated worlds.

python benchmarks/truth.py [--people 20000] [--repetitions 20]
"""

from __future__ import annotations

import argparse
import warnings

from measure import environment, markdown

from attribution import MODELS, AttributionWarning, evaluate, simulate


def main() -> None:
    """Print one table per measure: models down, worlds across."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--models", default=",".join(MODELS), help="joined by commas")
    parser.add_argument("--worlds", default=",".join(simulate.WORLDS), help="joined by commas")
    arguments = parser.parse_args()
    models, worlds = arguments.models.split(","), arguments.worlds.split(",")
    warnings.simplefilter("ignore", AttributionWarning)
    found = evaluate(worlds, models, n_people=arguments.people, n_repetitions=arguments.repetitions)
    frame = found.to_frame()
    print(environment(["numpy", "scipy", "scikit-learn"]), "\n")
    for measure in ("share_error", "scale_error", "rank_correlation", "budget_regret"):
        table = frame[measure].unstack("world")[worlds].loc[models].round(2)
        ascending = measure != "rank_correlation"
        table = table.sort_values(worlds[0], ascending=ascending, kind="stable")
        rows = [
            [name, *(f"{x:.2f}" for x in row)]
            for name, row in zip(table.index, table.to_numpy(), strict=True)
        ]
        print(markdown([measure.replace("_", " "), *table.columns], rows), "\n")
    errors = frame["share_error_se"].max()
    print(f"largest standard error of a mean share error: {errors:.3f}\n")
    if "random exposure" not in worlds:
        return
    place = found.channels["random exposure"].index("affiliate")
    useless = found.shares["random exposure"][:, :, place]
    rows = [
        [name, f"{100 * column.mean():.1f} %", f"{100 * column.max():.1f} %"]
        for name, column in zip(found.models, useless.T, strict=True)
    ]
    print(markdown(["share of the channel without effect", "mean", "largest"], rows))


if __name__ == "__main__":
    main()
