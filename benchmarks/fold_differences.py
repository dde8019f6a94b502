"""Predictions of each fit in a file, and differences in AUC to a reference within each fold by DeLong's variance.

An interval within a fold is about the two models that were fitted there; an interval over folds is about the two
procedures, and three folds leave it wide.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ml.data.dataset import Dataset
from ml.evaluation.auc_intervals import auc_difference

# The largest difference in AUC that counts as equivalent.
EQUIVALENT = 0.005


def write_predictions(path: Path, test: Dataset, probability: np.ndarray) -> None:
    """Write truth, units and probabilities of the test rows, in their order; the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, truth=test.truth.to_numpy(), units=test.units, probability=probability)
    partial.replace(path)


def format_fold_differences(results: list[dict[str, Any]], folder: Path, reference: str) -> str:
    """Format for each candidate and fold the difference to the reference, and what its interval shows.

    Raises ValueError if two files of a fold do not have the same test rows.
    """
    by_fold = {(result["repeat"], result["fold"], result["candidate"]): result["key"] for result in results}
    lines = []
    for repeat, fold, candidate in by_fold:
        reference_key = by_fold.get((repeat, fold, reference))
        if candidate == reference or reference_key is None:
            continue
        found, other = (
            _read(folder / f"{key}.npz") for key in (by_fold[repeat, fold, candidate], reference_key)
        )
        if any(not np.array_equal(found[name], other[name]) for name in ("truth", "units")):
            raise ValueError(
                f"expected the same test rows in repeat {repeat}, fold {fold}, of {candidate} and {reference}; got "
                f"others; delete {folder} and run the command again"
            )
        difference = auc_difference(
            found["truth"], found["probability"], other["probability"], found["units"]
        )
        lines.append(
            f"  repeat {repeat}, fold {fold}: {candidate} less {reference}: AUC {difference.value:+.4f} "
            f"[{difference.low:+.4f}, {difference.high:+.4f}] p {difference.p_value:.3f}: "
            f"{conclusion(difference.low, difference.high)}"
        )
    return "\n".join(lines)


def conclusion(low: float, high: float) -> str:
    """Name what an interval of a difference shows: ahead or behind, equivalent within `EQUIVALENT`, or undecided.

    A difference may be both beyond chance and within `EQUIVALENT`.
    """
    found = ["ahead"] if low > 0 else ["behind"] if high < 0 else []
    if low >= -EQUIVALENT and high <= EQUIVALENT:
        found.append(f"equivalent within {EQUIVALENT:g}")
    return ", ".join(found) or "undecided"


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in ("truth", "units", "probability")}
