"""What was measured of each candidate on one data set, as a table, with paired differences to the references."""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.datasets import BenchmarkTable
from ml.evaluation.binary_metrics import UndefinedMeasureError
from ml.evaluation.confidence_intervals import resampled_difference, resampled_interval

REFERENCES = ("logistic regression", "LightGBM defaults", "AutoGluon")
COSTS = {
    "cpu_seconds": "CPU s",
    "wall_seconds": "wall s",
    "predict_seconds": "predict s",
    "peak_mb": "peak MB",
}


def text(data: BenchmarkTable, lines: list[dict[str, Any]], folds: int) -> str:
    """A heading, a line for each candidate, and one for each pair of a candidate and a reference."""
    table = pd.DataFrame(lines)
    candidates = list(dict.fromkeys(table["candidate"]))
    of = {
        name: table[table["candidate"] == name].set_index(["repeat", "fold"]).sort_index()
        for name in candidates
    }
    # Each fold judges one row for every folds - 1 that teach.
    ratio = 1.0 / (folds - 1)
    width = max(map(len, candidates))
    costs = "".join(f"  {name:>9}" for name in COSTS.values())
    said = [
        _heading(data, int(table["repeat"].nunique()), folds),
        f"  {'':<{width}}  {'AUC':<24}  {'Brier':>6}  {'log loss':>8}  {'slope':>5}  {'cal. error':>10}{costs}",
    ]
    said += [f"  {name:<{width}}  {_line(mine, ratio)}" for name, mine in of.items()]
    told: set[frozenset[str]] = set()
    for reference in (name for name in REFERENCES if name in of):
        for name in candidates:
            pair = frozenset((name, reference))
            if len(pair) == 2 and pair not in told:
                told.add(pair)
                said.append(f"  {name} less {reference}: {_difference(of[name], of[reference], ratio)}")
    return "\n".join(said)


def _heading(data: BenchmarkTable, repeats: int, folds: int) -> str:
    rows, columns = data.part.frame.shape
    how = "stratified, groups kept whole" if data.grouped else "stratified"
    return (
        f"\n{data.name}: {rows:,} rows, {columns} columns, {data.part.truth.mean():.2%} positive; "
        f"{repeats} x {folds} {how} folds; data {data.digest[:12]}"
    )


def _line(mine: pd.DataFrame, ratio: float) -> str:
    """Means over the splits; the AUC with its interval. A slope that no split has is left out."""
    auc = mine["roc_auc"].to_numpy(np.float64)
    said = f"{auc.mean():.4f}"
    if len(auc) > 1:
        found = resampled_interval(auc, ratio)
        said += f" [{found.low:.4f}, {found.high:.4f}]"
    slope = mine["calibration_slope"].astype("float64").mean()
    costs = "".join(f"  {mine[cost].mean():>9.{0 if cost == 'peak_mb' else 2}f}" for cost in COSTS)
    return (
        f"{said:<24}  {mine['brier'].mean():.4f}  {mine['log_loss'].mean():>8.4f}  {slope:>5.2f}  "
        f"{mine['calibration_error'].mean():>10.4f}{costs}"
    )


def _difference(one: pd.DataFrame, other: pd.DataFrame, ratio: float) -> str:
    """AUC and Brier score on the splits that both have, and how many times the CPU seconds."""
    both = one.index.intersection(other.index)
    told = []
    for column, name in (("roc_auc", "AUC"), ("brier", "Brier")):
        mine, theirs = (frame.loc[both, column].to_numpy(np.float64) for frame in (one, other))
        try:
            found = resampled_difference(mine, theirs, ratio)
        except UndefinedMeasureError:
            told.append(f"{name} {float((mine - theirs).mean()):+.4f}")
            continue
        told.append(f"{name} {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p {found.p_value:.3f}")
    factor = one.loc[both, "cpu_seconds"].mean() / max(other.loc[both, "cpu_seconds"].mean(), 1e-9)
    return f"{'; '.join(told)}; {factor:.2g} times its CPU seconds"
