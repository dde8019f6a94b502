"""Train LightGBM trees with early stopping and a time limit, and predict with them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml.data.target import Target
from ml.deadline import Deadline
from ml.device import available_cores
from ml.estimator import FitResources

if TYPE_CHECKING:
    import lightgbm

OBJECTIVES: Mapping[Target, str] = {"binary": "binary", "multiclass": "multiclass", "numeric": "regression"}
LOSSES: Mapping[Target, str] = {"binary": "binary_logloss", "multiclass": "multi_logloss", "numeric": "l2"}
StoppedBy = Literal["valid", "rounds", "budget"]

# With fewer rows, waking threads for every leaf costs more time than they save: on two idle virtual cores, two threads
# took 1.6 s instead of 0.5 s for 20,000 rows of Give Me Some Credit, and 3.0 s instead of 1.5 s for 89,000.
MIN_MULTITHREAD_TRAINING_ROWS = 100_000
MAX_SINGLE_THREAD_PREDICTION_ROWS = 1000


@dataclass(frozen=True)
class StoppingRule:
    """End training after `max_rounds`, after `patience` rounds without improvement, or at `deadline`.

    The deadline is checked after each round, so at least one round is trained.
    """

    max_rounds: int
    patience: int
    deadline: Deadline


def predict_booster(booster: "lightgbm.Booster", X: np.ndarray) -> np.ndarray:
    """Predict a probability or a number for each row of `X`, shape (rows,); of several classes (rows, classes)."""
    # LightGBM raises an error for a matrix without rows.
    if not len(X):
        return np.empty(0)
    threads = 1 if len(X) <= MAX_SINGLE_THREAD_PREDICTION_ROWS else available_cores()
    return np.asarray(booster.predict(X, num_threads=threads))


def base_params(target: Target, resources: FitResources) -> dict[str, Any]:
    """Build the LightGBM parameters of every model: its loss, and the same trees for any number of threads."""
    return {
        "objective": OBJECTIVES[target],
        "metric": [LOSSES[target]],
        "seed": resources.seed,
        "num_threads": resources.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def train_until_early_stop(
    train: tuple[np.ndarray, np.ndarray],
    stopping_rows: tuple[np.ndarray, np.ndarray],
    categorical: list[int],
    params: dict[str, Any],
    stopping: StoppingRule,
) -> tuple[str, StoppedBy]:
    """Train trees and return the model text up to the best round on `stopping_rows`, and what ended the training.

    `train` and `stopping_rows` are a matrix (rows, columns) and the truth (rows,), `categorical` the positions of
    columns that contain category codes. The best round has the lowest value of the first `metric` of `params`; where
    the AUC is the second metric, the best round is that of the highest AUC if it comes later. Improvement, for the
    patience of `stopping`, is measured by the last metric.
    """
    import lightgbm

    if len(train[0]) < MIN_MULTITHREAD_TRAINING_ROWS:
        params = {**params, "num_threads": 1}
    data = lightgbm.Dataset(*train, categorical_feature=categorical, params=params)
    loss, *ranking = params["metric"]
    # LightGBM's early stopping uses the first metric of the list.
    params = {**params, "metric": [*ranking, loss]}
    curves: dict[str, dict[str, list[float]]] = {}
    time_limit = _TimeLimit(stopping.deadline)
    booster = lightgbm.train(
        params,
        data,
        stopping.max_rounds,
        valid_sets=[data.create_valid(*stopping_rows)],
        valid_names=["valid"],
        # Otherwise LightGBM drops the trees after the best round of the metric that it stops on.
        keep_training_booster=True,
        callbacks=[
            lightgbm.record_evaluation(curves),
            lightgbm.early_stopping(stopping.patience, first_metric_only=True, verbose=False),
            time_limit,
        ],
    )
    curve = curves["valid"][loss]
    best = int(np.argmin(curve))
    if ranking:
        # On noisy rows the AUC may be highest long before the probabilities are calibrated.
        best = max(best, int(np.argmax(curves["valid"]["auc"])))
    text = strip_training_metadata(booster.model_to_string(num_iteration=best + 1))
    if time_limit.exceeded:
        return text, "budget"
    return text, "rounds" if len(curve) == stopping.max_rounds else "valid"


class _TimeLimit:
    """LightGBM callback that ends training after the round in which the deadline passed."""

    def __init__(self, deadline: Deadline) -> None:
        self.order = 40  # after recording (20) and early stopping (30)
        self.deadline = deadline
        self.exceeded = False

    def __call__(self, env: "lightgbm.callback.CallbackEnv") -> None:
        from lightgbm.callback import EarlyStopException

        if self.deadline.passed:
            self.exceeded = True
            raise EarlyStopException(env.iteration, env.evaluation_result_list or [])


def strip_training_metadata(text: str) -> str:
    """Remove from a LightGBM model text what prediction does not use: the thread count and each column's extremes.

    The smallest and largest value of a column belong to two people, and must not be stored in the model.
    """
    text = re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 0]", text, flags=re.MULTILINE)
    head, name, rest = text.partition("\nfeature_infos=")
    infos, newline, rest = rest.partition("\n")
    return head + name + re.sub(r"\[[^\]]*\]", "[-inf:inf]", infos) + newline + rest
