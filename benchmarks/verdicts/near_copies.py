"""Near copies: HMEQ with its rows divided at random, and with relatives together.

Three folds, without and with `group_near_copies`; LightGBM and the logistic regression of the flow. A model that gains
from relatives in training remembers them.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.outer_folds import outer_folds
from benchmarks.tabular_datasets import load_table
from benchmarks.verdicts.figures import Figure, shown
from flows.fintech_risk import CASE
from ml.data.relatives import group_relatives
from ml.estimator import FitResources
from ml.evaluation.binary_metrics import roc_auc

CANDIDATES = ("logistic regression", "LightGBM")


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Evaluate both ways to divide the rows."""
    rows = load_table("hmeq").dataset
    found = group_relatives(rows.frame, rows.units)
    yield shown(3, "share of the rows of hmeq with a relative among the others", found.rows / len(rows.truth))
    yield shown(3, "rows of the largest group of relatives", f"{found.largest}")
    together = replace(rows, units=found.units)
    for text, dataset in (("at random", rows), ("with relatives together", together)):
        folds = list(outer_folds(dataset, text != "at random", 3, 1))
        for name in CANDIDATES:
            aucs = []
            for fold in folds:
                train, test = dataset.take(fold.train), dataset.take(fold.test)
                model = CASE.candidates[name].fit(train, test, FitResources(seed))
                probability = model.predict(test.frame)["probability"].to_numpy()
                aucs.append(roc_auc(test.truth.to_numpy(), probability))
            yield shown(3, f"AUC of {name}, rows divided {text}", f"{np.mean(aucs):.4f}")
