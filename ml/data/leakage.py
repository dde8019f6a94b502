"""Three ways in which an exam is given away: known entities, the future, and an answer among the questions."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ml.data.dataset import Dataset

# A single column that tells the answers this well is, until shown otherwise, made from the answer.
FORETELLS = 0.99


def shared_entities(parts: dict[str, Dataset]) -> dict[str, int]:
    """How many entities each pair of parts shares, for the pairs that share any."""
    names = list(parts)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    counts = {f"{a} and {b}": len(np.intersect1d(parts[a].units, parts[b].units)) for a, b in pairs}
    return {pair: count for pair, count in counts.items() if count}


def foretelling(train: Dataset, valid: Dataset) -> dict[str, float]:
    """How well each column alone tells the answer of the valid rows: ROC AUC, or its like for numbers, in .5..1.

    Numbers are taken as they are (missing ones below all others); categories as the mean answer of their train rows.
    For a numeric target it is Kendall-like concordance: (1 + |Spearman's rho|) / 2.
    """
    return {
        str(c): _concordance(_single(c, train, valid), valid.truth.to_numpy()) for c in train.frame.columns
    }


def _single(column: str, train: Dataset, valid: Dataset) -> np.ndarray:
    values = valid.frame[column]
    if pd.api.types.is_numeric_dtype(values):
        return values.fillna(-np.inf).to_numpy()
    means = train.truth.groupby(train.frame[column], dropna=False).mean()
    return values.map(means).fillna(train.truth.mean()).astype("float64").to_numpy()


def _concordance(score: np.ndarray, truth: np.ndarray) -> float:
    ranks = rankdata(score)
    if len(np.unique(truth)) == 2:
        positive = truth == truth.max()
        n, m = int(positive.sum()), int((~positive).sum())
        auc = (ranks[positive].sum() - n * (n + 1) / 2) / (n * m)
        return float(max(auc, 1 - auc))
    if len(np.unique(ranks)) == 1 or len(np.unique(truth)) == 1:
        return 0.5
    return float((1 + abs(np.corrcoef(ranks, rankdata(truth))[0, 1])) / 2)
