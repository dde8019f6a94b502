"""Trees in LightGBM's text format: grown until rows that do not teach no longer gain, or time is up; and asked."""

import re
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml.data.target import Target
from ml.device import cores
from ml.estimator import FitResources

if TYPE_CHECKING:
    import lightgbm

StoppedBy = Literal["valid", "rounds", "budget"]

# Below this many rows, waiting for further threads costs more than they bring.
FEW_ROWS = 5_000
# The same of rows that are asked about.
SMALL_FRAME = 1000


def answers(booster: "lightgbm.Booster", X: np.ndarray) -> np.ndarray:
    """What the trees say of each row, shape (rows,)."""
    # LightGBM refuses a matrix without rows.
    if not len(X):
        return np.empty(0)
    return np.asarray(booster.predict(X, num_threads=1 if len(X) <= SMALL_FRAME else cores()))


def base_params(target: Target, resources: FitResources) -> dict[str, Any]:
    """What every booster of ours asks of LightGBM: the loss of its target, and the same trees on any threads."""
    return {
        "objective": "binary" if target == "binary" else "regression",
        "metric": ["binary_logloss" if target == "binary" else "l2"],
        "seed": resources.seed,
        "num_threads": resources.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def grow(
    train: tuple[np.ndarray, np.ndarray],
    valid: tuple[np.ndarray, np.ndarray],
    categorical: list[int],
    params: dict[str, Any],
    rounds: int,
    patience: int,
    deadline: float,
) -> tuple[str, StoppedBy]:
    """Model text up to the best round on `valid`, and what ended the training.

    `train` and `valid` are a matrix (rows, columns) and truth (rows,), `categorical` the columns that are codes. The
    best round has the lowest of the first `metric` of `params`; with the AUC besides, it is that of the highest AUC if
    this comes later. The training ends after `patience` rounds without a gain in the last metric, after `rounds`, or
    after the round in which `deadline` (of `time.monotonic`) passed, but never before the first.
    """
    import lightgbm

    if len(train[0]) < FEW_ROWS:
        params = {**params, "num_threads": 1}
    data = lightgbm.Dataset(*train, categorical_feature=categorical, params=params)
    loss, *ranking = params["metric"]
    # LightGBM's callback looks at the first one that it is told of.
    params = {**params, "metric": [*ranking, loss]}
    curves: dict[str, dict[str, list[float]]] = {}
    budget = _Budget(deadline)
    booster = lightgbm.train(
        params,
        data,
        rounds,
        valid_sets=[data.create_valid(*valid)],
        valid_names=["valid"],
        # Else LightGBM throws away the trees after the best round of its own choice.
        keep_training_booster=True,
        callbacks=[
            lightgbm.record_evaluation(curves),
            lightgbm.early_stopping(patience, first_metric_only=True, verbose=False),
            budget,
        ],
    )
    curve = curves["valid"][loss]
    best = int(np.argmin(curve))
    if ranking:
        # Of noisy rows the AUC may be highest long before the probabilities are right.
        best = max(best, int(np.argmax(curves["valid"]["auc"])))
    text = without_traces(booster.model_to_string(num_iteration=best + 1))
    if budget.spent:
        return text, "budget"
    return text, "rounds" if len(curve) == rounds else "valid"


class _Budget:
    """A callback that ends the training after the round in which time ran out."""

    def __init__(self, deadline: float) -> None:
        self.order = 40  # after recording (20) and early stopping (30)
        self.deadline = deadline
        self.spent = False

    def __call__(self, env: "lightgbm.callback.CallbackEnv") -> None:
        from lightgbm.callback import EarlyStopException

        if time.monotonic() > self.deadline:
            self.spent = True
            raise EarlyStopException(env.iteration, env.evaluation_result_list or [])


def without_traces(text: str) -> str:
    """The text of the trees without what is no part of the model: the threads, and the extremes of each column.

    LightGBM notes the smallest and largest cell, which are values of two people, and does not predict with them.
    """
    text = re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 0]", text, flags=re.MULTILINE)
    head, name, rest = text.partition("\nfeature_infos=")
    infos, newline, rest = rest.partition("\n")
    return head + name + re.sub(r"\[[^\]]*\]", "[-inf:inf]", infos) + newline + rest
