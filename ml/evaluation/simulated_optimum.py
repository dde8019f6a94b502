"""Metrics relative to the simulator's true probabilities, which no model can beat by more than chance."""

import math

import pandas as pd

from ml.data.dataset import Dataset
from ml.evaluation.ranking_metrics import drop_seen


def align_oracle(oracle: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Select the true probabilities of the rows or users of `dataset`, in the format of a model's prediction.

    Raises KeyError for a row that `oracle` does not have.
    """
    if "user" in oracle.columns:
        selected = oracle[oracle["user"].isin(set(dataset.frame["user"]))]
        return drop_seen(selected, dataset.frame.set_index("user")["items"])
    id_column = str(oracle.columns[0])
    selected = oracle.set_index(id_column).loc[dataset.metadata[id_column]]
    return selected.set_axis(dataset.frame.index)


def share_of_optimum(value: float, chance_level: float, optimum: float) -> float:
    """Scale a metric so that 0 is the chance level and 1 the optimum; NaN if both are equal."""
    return (value - chance_level) / (optimum - chance_level) if optimum != chance_level else math.nan
