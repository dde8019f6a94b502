"""Outer folds of a benchmark, and the file of what was measured on each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.data.dataset import Dataset


@dataclass(frozen=True)
class Split:
    """One outer fold: positions of the rows that teach and of those that judge."""

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


def splits(part: Dataset, grouped: bool, folds: int, repeats: int) -> Iterator[Split]:
    """Stratified folds, repeat by repeat, whose number is the seed; with `grouped`, rows of a unit stay together."""
    for repeat in range(repeats):
        for fold, (train, test) in enumerate(_divided(part, grouped, folds, seed=repeat)):
            yield Split(repeat, fold, train, test)


def valid_fifth(part: Dataset, grouped: bool, seed: int) -> tuple[Dataset, Dataset]:
    """Four fifths to learn from and one to choose on, divided as the outer folds are."""
    teach, choose = next(_divided(part, grouped, 5, seed))
    return part.take(teach), part.take(choose)


def _divided(part: Dataset, grouped: bool, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    units = part.units if grouped else None
    cut: Iterator[tuple[np.ndarray, np.ndarray]] = kind(folds, shuffle=True, random_state=seed).split(
        part.frame, part.truth, units
    )
    return cut


class Results:
    """JSON lines by their key, in memory and, with a path, on disk as soon as they are there."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.known = path, dict[str, dict[str, Any]]()
        text = path.read_text() if path and path.exists() else ""
        if path and text and not text.endswith("\n"):
            # A run was killed while it wrote: half a line is no result, and the next one starts anew.
            text = text[: text.rfind("\n") + 1]
            path.write_text(text)
        for line in map(json.loads, text.splitlines()):
            self.known[line["key"]] = line

    def add(self, line: dict[str, Any]) -> None:
        self.known[line["key"]] = line
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
