"""Leakage checks of a split: entities shared by its datasets, and single features that reveal the target."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ml.data.dataset import Dataset

# A single feature with a higher AUC is assumed to be derived from the target, until the contract says otherwise.
LEAKAGE_AUC = 0.99


def shared_entities(datasets: dict[str, Dataset]) -> dict[str, int]:
    """Count the entities that each pair of datasets shares, by "train and test"; pairs that share none are left out."""
    names = list(datasets)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    counts = {f"{a} and {b}": len(np.intersect1d(datasets[a].units, datasets[b].units)) for a, b in pairs}
    return {pair: count for pair, count in counts.items() if count}


def single_feature_auc(train: Dataset, valid: Dataset) -> dict[str, float]:
    """Measure how well each feature alone predicts the target of the valid rows, from 0.5 to 1, by column name.

    The measure is the ROC AUC of a binary target, in the better direction, and (1 + |Spearman's rho|) / 2 for a numeric
    target. Numeric features are used as they are (missing values below all others), categories as the mean target of
    their train rows.
    """
    truth = valid.truth.to_numpy()
    return {str(c): _auc(_feature_score(c, train, valid), truth) for c in train.frame.columns}


def _feature_score(column: str, train: Dataset, valid: Dataset) -> np.ndarray:
    values = valid.frame[column]
    if pd.api.types.is_numeric_dtype(values):
        return values.fillna(-np.inf).to_numpy()
    means = train.truth.groupby(train.frame[column], dropna=False).mean()
    return values.map(means).fillna(train.truth.mean()).astype("float64").to_numpy()


def _auc(score: np.ndarray, truth: np.ndarray) -> float:
    ranks = rankdata(score)
    if len(np.unique(truth)) == 2:
        positive = truth == truth.max()
        n, m = int(positive.sum()), int((~positive).sum())
        auc = (ranks[positive].sum() - n * (n + 1) / 2) / (n * m)
        return float(max(auc, 1 - auc))
    if len(np.unique(ranks)) == 1 or len(np.unique(truth)) == 1:
        return 0.5
    return float((1 + abs(np.corrcoef(ranks, rankdata(truth))[0, 1])) / 2)
