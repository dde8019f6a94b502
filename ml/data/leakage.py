"""Entities that the datasets of a split share."""

import numpy as np

from ml.data.dataset import Dataset


def shared_entities(datasets: dict[str, Dataset]) -> dict[str, int]:
    """Count the entities that each pair of datasets shares, by "train and test"; pairs that share none are left out."""
    names = list(datasets)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    counts = {f"{a} and {b}": len(np.intersect1d(datasets[a].units, datasets[b].units)) for a, b in pairs}
    return {pair: count for pair, count in counts.items() if count}
