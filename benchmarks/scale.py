"""Growth of quality, time and memory with the number of rows, on simulated applicants: `python -m benchmarks.scale`.

Each candidate is fitted on each size in a process of its own and tested on the same 100,000 rows, as are the true
probabilities. The exponent is that of seconds over rows between the two largest sizes: 1 is linear. `--plot` draws
quality and costs.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.fit_server import FitServer
from ml.data.dataset import Dataset
from ml.evaluation.binary_metrics import roc_auc
from ml.simulators import SIMULATORS

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
TEST_ROWS, SEED = 100_000, 0
LIBRARIES = ("lightgbm", "scikit-learn", "numpy", "pandas")
# The id, the time and the target are no features.
NO_FEATURES = ("application_id", "applied_on", "defaulted")


def simulate(rows: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Simulate applicants; returns their dataset and true probabilities in the same order."""
    simulated = SIMULATORS["lender"](rows, seed)
    table = simulated.rows.reset_index(drop=True)
    frame = table.drop(columns=list(NO_FEATURES))
    numbers = frame.select_dtypes("number").columns
    frame = frame.astype(
        dict.fromkeys(numbers, "float64") | dict.fromkeys(frame.columns.difference(numbers), "str")
    )
    truth = table["defaulted"].astype("float64")
    return Dataset(frame, truth, np.arange(rows, dtype="uint64")), np.asarray(simulated.oracle["probability"])


def measure(candidate: str, rows: int, server: FitServer, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the AUC and costs of one fit."""
    train, _ = simulate(rows, SEED)
    test, _ = simulate(TEST_ROWS, SEED + 1)
    datasets = {"train": train, "test": test}
    spec = {
        "candidate": candidate,
        "seed": SEED,
        "threads": options.threads,
        "seconds": options.seconds,
        "sentinel_values": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "spec.json").write_text(json.dumps(spec))
        for name, dataset in datasets.items():
            dataset.to_table().to_parquet(folder / f"{name}.parquet", index=False)
        if server.fit(folder) != 0:
            raise SystemExit(
                f"expected a fit of {candidate} on {rows:,} rows; got an error; see its traceback above"
            )
        probability = np.load(folder / "probability.npy")
        costs: dict[str, Any] = json.loads((folder / "costs.json").read_text())
    return {
        "candidate": candidate,
        "rows": rows,
        "roc_auc": roc_auc(test.truth.to_numpy(), probability),
        **costs,
    }


def plot(results: pd.DataFrame, true_auc: float, path: Path) -> None:
    """Plot the AUC on the left, seconds and memory on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    titles = {"roc_auc": "ROC AUC", "wall_seconds": "seconds to fit", "peak_mb": "peak memory, MB"}
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for name, sizes in results.groupby("candidate", sort=False):
            ax.plot(sizes["rows"], sizes[column], marker="o", markersize=4, label=name)
        ax.set(xscale="log", xlabel="rows", title=title, yscale="linear" if column == "roc_auc" else "log")
        ax.grid(alpha=0.3)
    axes[0].axhline(true_auc, color="grey", linestyle=":", label="true probabilities")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a line for each fit, then the growth of costs."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--candidates", default="logistic regression,gradient boosting,ensemble")
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit of a fit; by default 600")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    candidates, sizes = options.candidates.split(","), [int(size) for size in options.sizes.split(",")]
    print(
        f"python {platform.python_version()}, {options.threads} of {os.cpu_count()} cores, {platform.machine()}"
    )
    print(
        ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + f"; seed {SEED}, at most {options.seconds:g} s a fit"
    )
    test, true_probability = simulate(TEST_ROWS, SEED + 1)
    true_auc = roc_auc(test.truth.to_numpy(), true_probability)
    print(f"tested on {TEST_ROWS:,} rows, whose true probabilities have an AUC of {true_auc:.4f}")
    results = []
    with FitServer(candidates, options.threads) as server:
        for name in candidates:
            for rows in sizes:
                result = measure(name, rows, server, options)
                results.append(result)
                print(
                    f"  {name:<20} {rows:>10,} rows  AUC {result['roc_auc']:.4f}  {result['wall_seconds']:8.1f} s"
                    f"  {result['cpu_seconds']:8.1f} CPU s  {result['peak_mb']:8.0f} MB"
                    f"  stopped by {result['stopped_by']}",
                    flush=True,
                )
    table = pd.DataFrame(results)
    for name, sizes_of_candidate in table.groupby("candidate", sort=False):
        if len(sizes_of_candidate) > 1:
            smaller, larger = sizes_of_candidate[["rows", "wall_seconds"]].tail(2).to_numpy()
            row_growth, second_growth = np.log(larger / smaller)
            print(f"  {name!s}: seconds grow as rows to the power {second_growth / row_growth:.2f}")
    if options.plot:
        plot(table, true_auc, options.plot)
        print(f"plotted to {options.plot}", file=sys.stderr)


if __name__ == "__main__":
    main()
