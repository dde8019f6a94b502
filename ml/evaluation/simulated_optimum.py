"""What the simulator's truth would have scored: the most that any model could reach."""

import math

import pandas as pd

from ml.data.dataset import Dataset
from ml.evaluation.ranking_metrics import drop_seen


def align(oracle: pd.DataFrame, part: Dataset) -> pd.DataFrame:
    """The oracle's answers for the rows or users of a part, in the shape of a model's prediction."""
    if "user" in oracle.columns:
        mine = oracle[oracle["user"].isin(set(part.frame["user"]))]
        return drop_seen(mine, part.frame.set_index("user")["items"])
    identity = str(oracle.columns[0])
    answers = oracle.set_index(identity).loc[part.metadata[identity]]
    return answers.set_axis(part.frame.index)


def achieved(value: float, chance: float, achievable: float) -> float:
    """The share of the achievable that was reached: 0 for chance, 1 for the oracle; NaN where there is only chance."""
    return (value - chance) / (achievable - chance) if achievable != chance else math.nan
