"""The results of all candidates on one data set as text, with paired differences to reference candidates."""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.tabular_datasets import BenchmarkTable
from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.mean_intervals import cross_validation_difference, cross_validation_interval

REFERENCES = ("logistic regression", "LightGBM defaults", "AutoGluon")
COSTS = {
    "cpu_seconds": "CPU s",
    "wall_seconds": "wall s",
    "predict_seconds": "predict s",
    "peak_mb": "peak MB",
}


def format_results(data: BenchmarkTable, results: list[dict[str, Any]], folds: int) -> str:
    """Format a heading, a line for each candidate, and one for each pair of a candidate and a reference."""
    table = pd.DataFrame(results)
    candidates = list(dict.fromkeys(table["candidate"]))
    by_candidate = {
        name: table[table["candidate"] == name].set_index(["repeat", "fold"]).sort_index()
        for name in candidates
    }
    test_per_train = 1.0 / (folds - 1)
    width = max(map(len, candidates))
    costs = "".join(f"  {name:>9}" for name in COSTS.values())
    lines = [
        _heading(data, int(table["repeat"].nunique()), folds),
        f"  {'':<{width}}  {'AUC':<24}  {'Brier':>6}  {'log loss':>8}  {'slope':>5}  {'cal. error':>10}{costs}",
    ]
    lines += [
        f"  {name:<{width}}  {_candidate_line(splits, test_per_train)}"
        for name, splits in by_candidate.items()
    ]
    compared: set[frozenset[str]] = set()
    for reference in (name for name in REFERENCES if name in by_candidate):
        for name in candidates:
            pair = frozenset((name, reference))
            if len(pair) == 2 and pair not in compared:
                compared.add(pair)
                difference = _difference(by_candidate[name], by_candidate[reference], test_per_train)
                lines.append(f"  {name} less {reference}: {difference}")
    return "\n".join(lines)


def _heading(data: BenchmarkTable, repeats: int, folds: int) -> str:
    rows, columns = data.dataset.frame.shape
    kind = "stratified, groups kept whole" if data.grouped else "stratified"
    return (
        f"\n{data.name}: {rows:,} rows, {columns} columns, {data.dataset.truth.mean():.2%} positive; "
        f"{repeats} x {folds} {kind} folds; data {data.digest[:12]}"
    )


def _candidate_line(splits: pd.DataFrame, test_per_train: float) -> str:
    """Format means over splits, the AUC with its interval. Splits without a calibration slope are left out of it."""
    auc = splits["roc_auc"].to_numpy(np.float64)
    auc_text = f"{auc.mean():.4f}"
    if len(auc) > 1:
        interval = cross_validation_interval(auc, test_per_train)
        auc_text += f" [{interval.low:.4f}, {interval.high:.4f}]"
    slope = splits["calibration_slope"].astype("float64").mean()
    costs = "".join(f"  {splits[cost].mean():>9.{0 if cost == 'peak_mb' else 2}f}" for cost in COSTS)
    return (
        f"{auc_text:<24}  {splits['brier_score'].mean():.4f}  {splits['log_loss'].mean():>8.4f}  {slope:>5.2f}  "
        f"{splits['calibration_error'].mean():>10.4f}{costs}"
    )


def _difference(splits: pd.DataFrame, reference: pd.DataFrame, test_per_train: float) -> str:
    """Format differences of AUC and Brier score on common splits, and the ratio of CPU seconds."""
    common = splits.index.intersection(reference.index)
    differences = []
    for column, name in (("roc_auc", "AUC"), ("brier_score", "Brier")):
        values, reference_values = (
            frame.loc[common, column].to_numpy(np.float64) for frame in (splits, reference)
        )
        try:
            found = cross_validation_difference(values, reference_values, test_per_train)
        except UndefinedMetricError:
            differences.append(f"{name} {float((values - reference_values).mean()):+.4f}")
            continue
        differences.append(
            f"{name} {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p {found.p_value:.3f}"
        )
    cpu_seconds = max(reference.loc[common, "cpu_seconds"].mean(), 1e-9)
    factor = splits.loc[common, "cpu_seconds"].mean() / cpu_seconds
    return f"{'; '.join(differences)}; {factor:.2g} times its CPU seconds"
