"""Require a champion's predictions to be comparable: one for each row, of the target in question.

A champion without such predictions would look worse than it is, or stop the run with an error of arithmetic.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.target import CLASS_PROBABILITY, PREDICTION_COLUMN, Target, class_columns
from ml.errors import PackagingError
from ml.evaluation.evaluator import Evaluator
from ml.evaluation.numeric_evaluator import COLUMN_OF_0_2
from ml.evaluation.ranking_metrics import expected_ranks

OLD_COLUMNS: Mapping[Target, tuple[str, ...]] = {"numeric": (COLUMN_OF_0_2,)}
LIST_COLUMNS = ("user", "rank", "item", "score")
# Of predictions of another kind, at most this many columns are named.
MAX_NAMED = 4
# Probabilities of classes are divided by their sum, so rounding is no fault; larger numbers have no finite square.
ROUNDING, MAX_NUMBER = 1e-6, 1e150
REPAIR = "roll back to a champion for this target, or give the new target another contract"


def require_comparable(evaluator: Evaluator, rows: Dataset, predicted: pd.DataFrame) -> None:
    """Raise PackagingError where the champion's predictions are not one for each row, of this target."""
    target = evaluator.target
    got = _wrong_lists(rows, predicted) if target is None else _wrong_rows(target, rows, predicted)
    if got:
        raise PackagingError(f"{_expected(target)}, {len(rows.frame)} of them", got, REPAIR)


def users_without_list(rows: Dataset, predicted: pd.DataFrame) -> int:
    """Count the users to whom nothing is recommended."""
    return int((~rows.frame["user"].isin(set(predicted["user"]))).sum())


def _expected(target: Target | None) -> str:
    return {
        None: "lists of different items for users",
        "binary": "probabilities of the positive class for rows",
        "multiclass": "probabilities of classes for rows",
        "numeric": "numbers for rows",
    }[target]


def _wrong_rows(target: Target, rows: Dataset, predicted: pd.DataFrame) -> str:
    """Say what is wrong with predictions of rows; empty if nothing is."""
    if len(predicted) != len(rows.frame):
        return f"{len(predicted)} predictions"
    names = _prediction_columns(target, predicted)
    if not names or (target == "multiclass" and not set(names) & set(class_columns(rows.classes))):
        return f"the columns {', '.join(map(str, predicted.columns[:MAX_NAMED]))}"
    try:
        numbers = predicted[names].to_numpy(np.float64)
    except (TypeError, ValueError):
        return "values that are no numbers"
    if missing := _count_rows(~np.isfinite(numbers)):
        return f"{missing} rows without one"
    least, most = {
        "binary": (0.0, 1.0),
        "multiclass": (0.0, 1.0 + ROUNDING),
        "numeric": (-MAX_NUMBER, MAX_NUMBER),
    }[target]
    outside = _count_rows((numbers < least) | (numbers > most))
    return f"{outside} rows with one outside {least:g} to {most:g}" if outside else ""


def _count_rows(is_wrong: np.ndarray) -> int:
    return int(is_wrong.any(axis=1).sum())


def _prediction_columns(target: Target, predicted: pd.DataFrame) -> list[str]:
    """Return the columns that are compared; none in predictions for another kind of target."""
    of_classes = [name for name in predicted.columns if str(name).startswith(CLASS_PROBABILITY)]
    if target == "multiclass":
        return of_classes
    # For several classes, `probability` is that of the predicted one.
    names = () if of_classes else (PREDICTION_COLUMN[target], *OLD_COLUMNS.get(target, ()))
    return [name for name in names if name in predicted.columns][:1]


def _wrong_lists(rows: Dataset, predicted: pd.DataFrame) -> str:
    """Say what is wrong with lists; empty if nothing is.

    Some users may have none: who had all items of the champion's catalogue is recommended nothing, which counts as the
    worst, as it does for the challenger. A champion without any list does not predict.
    """
    if missing := [name for name in LIST_COLUMNS if name not in predicted.columns]:
        return f"no {' and no '.join(missing)}"
    if unknown := int((~predicted["user"].isin(rows.frame["user"])).sum()):
        return f"{unknown} items for other users"
    if repeated := int(predicted.duplicated(["user", "item"]).sum()):
        return f"{repeated} items twice"
    if predicted.empty:
        return "none"
    try:
        expected_ranks(predicted)
    except (TypeError, ValueError):
        return "ranks that are not 1, 2, ..., or scores that rise with the rank"
    return ""
