"""Outer folds of a benchmark, and the file with the result of each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.data.dataset import Dataset


@dataclass(frozen=True)
class OuterFold:
    """One outer fold: positions of its training and test rows."""

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


def outer_folds(dataset: Dataset, grouped: bool, folds: int, repeats: int) -> Iterator[OuterFold]:
    """Yield stratified folds of each repeat, whose number is the seed; with `grouped`, units stay in one fold."""
    for repeat in range(repeats):
        for fold, (train, test) in enumerate(_stratified(dataset, grouped, folds, seed=repeat)):
            yield OuterFold(repeat, fold, train, test)


def _stratified(
    dataset: Dataset, grouped: bool, folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = StratifiedGroupKFold if grouped else StratifiedKFold
    groups = dataset.units if grouped else None
    splits: Iterator[tuple[np.ndarray, np.ndarray]] = splitter(folds, shuffle=True, random_state=seed).split(
        dataset.frame, dataset.truth, groups
    )
    return splits


class ResultFile:
    """Results by their key, in memory and, with a path, as JSON lines that are written at once."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.results = path, dict[str, dict[str, Any]]()
        text = path.read_text() if path and path.exists() else ""
        if path and text and not text.endswith("\n"):
            # A run was killed while it wrote: drop the incomplete last line.
            text = text[: text.rfind("\n") + 1]
            path.write_text(text)
        for result in map(json.loads, text.splitlines()):
            self.results[result["key"]] = result

    def add(self, result: dict[str, Any]) -> None:
        self.results[result["key"]] = result
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(result) + "\n")
