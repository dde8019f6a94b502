"""How quality, time and memory grow with the rows: `python -m benchmarks.scale`, on simulated applicants.

Each size is learned by each candidate in a process of its own and judged on the same 100,000 rows, next to the true
probabilities. The exponent is that of seconds over rows between the two largest sizes: 1 is linear. With `--plot`, a
picture of both: quality and cost.
"""

import argparse
import json
import math
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import fits
from ml.data.dataset import Dataset
from ml.evaluation.binary_metrics import roc_auc
from ml.simulators import SIMULATORS

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
JUDGED, SEED = 100_000, 0
LIBRARIES = ("lightgbm", "scikit-learn", "numpy", "pandas")
# No features: who, when, and the answer.
LEFT_OUT = ("application_id", "applied_on", "defaulted")


def part_of(rows: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Applicants as a part, and their true probabilities, in the order of the part."""
    simulated = SIMULATORS["lender"](rows, seed)
    table = simulated.rows.reset_index(drop=True)
    frame = table.drop(columns=list(LEFT_OUT))
    numbers = frame.select_dtypes("number").columns
    frame = frame.astype(
        dict.fromkeys(numbers, "float64") | dict.fromkeys(frame.columns.difference(numbers), "str")
    )
    truth = table["defaulted"].astype("float64")
    return Dataset(frame, truth, np.arange(rows, dtype="uint64")), np.asarray(simulated.oracle["probability"])


def measure(candidate: str, rows: int, run: fits.Fits, asked: argparse.Namespace) -> dict[str, Any]:
    """What one fit is worth and costs; a fifth of the rows is its valid part where it wants one."""
    train, _ = part_of(rows, SEED)
    test, _ = part_of(JUDGED, SEED + 1)
    parts = {"train": train, "test": test}
    if fits.entry(candidate).wants_valid:
        fifth = np.arange(rows) % 5 == 0
        parts |= {"train": train.take(np.flatnonzero(~fifth)), "valid": train.take(np.flatnonzero(fifth))}
    spec = {
        "candidate": candidate,
        "seed": SEED,
        "threads": asked.threads,
        "seconds": asked.seconds,
        "special": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "spec.json").write_text(json.dumps(spec))
        for name, part in parts.items():
            part.to_table().to_parquet(folder / f"{name}.parquet", index=False)
        if run.run(folder) != 0:
            raise SystemExit(
                f"expected {candidate} of {rows:,} rows to end well; see above for why it did not"
            )
        probability = np.load(folder / "probability.npy")
        costs: dict[str, Any] = json.loads((folder / "costs.json").read_text())
    return {
        "candidate": candidate,
        "rows": rows,
        "roc_auc": roc_auc(test.truth.to_numpy(), probability),
        **costs,
    }


def plot(lines: pd.DataFrame, best: float, path: Path) -> None:
    """Quality on the left, seconds and memory on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    titles = {"roc_auc": "ROC AUC", "wall_seconds": "seconds to fit", "peak_mb": "peak memory, MB"}
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for name, mine in lines.groupby("candidate", sort=False):
            ax.plot(mine["rows"], mine[column], marker="o", markersize=4, label=name)
        ax.set(xscale="log", xlabel="rows", title=title, yscale="linear" if column == "roc_auc" else "log")
        ax.grid(alpha=0.3)
    axes[0].axhline(best, color="grey", linestyle=":", label="true probabilities")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a line for each fit, then how cost grows."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--candidates", default="logistic regression,gradient boosting,ensemble")
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--seconds", type=float, default=600.0, help="that a fit may take; by default 600")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    candidates, sizes = asked.candidates.split(","), [int(size) for size in asked.sizes.split(",")]
    print(
        f"python {platform.python_version()}, {asked.threads} of {os.cpu_count()} cores, {platform.machine()}"
    )
    print(
        ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + f"; seed {SEED}, at most {asked.seconds:g} s a fit"
    )
    test, true_probability = part_of(JUDGED, SEED + 1)
    best = roc_auc(test.truth.to_numpy(), true_probability)
    print(f"judged on {JUDGED:,} rows, whose true probabilities have an AUC of {best:.4f}")
    lines = []
    with fits.Fits(candidates, asked.threads) as run:
        for name in candidates:
            for rows in sizes:
                line = measure(name, rows, run, asked)
                lines.append(line)
                print(
                    f"  {name:<20} {rows:>10,} rows  AUC {line['roc_auc']:.4f}  {line['wall_seconds']:8.1f} s"
                    f"  {line['cpu_seconds']:8.1f} CPU s  {line['peak_mb']:8.0f} MB  ended by {line['stopped_by']}",
                    flush=True,
                )
    table = pd.DataFrame(lines)
    for name, mine in table.groupby("candidate", sort=False):
        if len(mine) > 1:
            (few, one), (many, other) = mine[["rows", "wall_seconds"]].tail(2).to_numpy()
            print(
                f"  {name!s}: seconds grow as rows to the {math.log(other / one) / math.log(many / few):.2f}"
            )
    if asked.plot:
        plot(table, best, asked.plot)
        print(f"plotted to {asked.plot}", file=sys.stderr)


if __name__ == "__main__":
    main()
