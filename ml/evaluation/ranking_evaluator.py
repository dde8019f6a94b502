"""How lists of recommendations are judged: see `ml.evaluation.evaluator`."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.digest import row_hashes
from ml.estimator import Model
from ml.evaluation import beyond_accuracy, ranking_metrics, slices
from ml.evaluation import confidence_intervals as intervals
from ml.evaluation.confidence_intervals import Difference, Interval
from ml.evaluation.evaluator import Decision
from ml.explanations.user_examples import shoppers
from ml.interactions import order_diagnostics
from ml.interactions.catalogue import Catalogue


@dataclass(frozen=True)
class RankingEvaluator:
    """Lists of items for users, over the full catalogue; ties count as half. Paired over users.

    Measures are named with their depth, as in `ndcg_at_10`. `leading` is the one that chooses and promotes.
    """

    k: int = 10
    leading: str = "ndcg"
    chance: float = 0.0

    @property
    def primary(self) -> str:
        return f"{self.leading}_at_{self.k}"

    def decision(self, part: Dataset, prediction: pd.DataFrame) -> Decision:
        return {}

    def metrics(self, part: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        histories, users = part.frame["items"], len(part.frame)
        popular = beyond_accuracy.owners(histories)
        shown, taken = _within(prediction, self.k), part.truth.explode().dropna()
        # What is listed below the depth is known to the catalogue as well.
        catalogue = len(set(popular.index) | set(taken) | set(prediction["item"]))
        ranks = ranking_metrics.ranks(part.truth, part.frame["user"], prediction)
        beside = {
            "coverage": ranking_metrics.coverage(prediction, catalogue, self.k),
            "novelty": ranking_metrics.novelty(
                prediction, {str(item): int(n) for item, n in popular.items()}, users, self.k
            ),
            "gini": beyond_accuracy.gini(shown.value_counts().to_numpy(), catalogue),
            "diversity": beyond_accuracy.diversity(prediction, histories, self.k),
            "serendipity": beyond_accuracy.serendipity(ranks, histories, popular, self.k, part.allow_repeats),
            "popularity": beyond_accuracy.mean_popularity(shown, popular, users),
        }
        found = {
            **{str(name): float(value) for name, value in self._per_user(part, prediction).mean().items()},
            **{f"{name}_at_{self.k}": value for name, value in beside.items()},
            "popularity_taken": beyond_accuracy.mean_popularity(taken, popular, users),
        }
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def primary_interval(self, part: Dataset, prediction: pd.DataFrame) -> Interval:
        return intervals.mean_interval(self._per_user(part, prediction)[self.primary].to_numpy())

    def metric_intervals(
        self, part: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        values = self._per_user(part, prediction)
        return {str(name): intervals.mean_interval(values[name].to_numpy()) for name in values.columns}

    def paired_difference(
        self, part: Dataset, one: pd.DataFrame, other: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        mine, theirs = (self._per_user(part, p)[self.primary].to_numpy() for p in (one, other))
        return intervals.mean_difference(mine, theirs, level=level)

    def curves(self, part: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """The primary measure by length of history and by other slices, and who is shown and taken by popularity."""

        def measured(some: Dataset) -> np.ndarray:
            values: np.ndarray = self._per_user(some, prediction)[self.primary].to_numpy()
            return values

        popular = beyond_accuracy.owners(part.frame["items"])
        shown, taken = _within(prediction, self.k), part.truth.explode().dropna()
        return {
            "history_length": slices.by_length(part, measured(part)),
            "slices": slices.by_popularity(part, measured, popular)
            + slices.by_newness(part, measured, popular),
            "popularity": beyond_accuracy.by_popularity(shown, taken, popular),
        }

    def data_diagnostics(self, part: Dataset) -> dict[str, Any]:
        """`order`: whether the order of events is the users' own."""
        if not part.frame["items"].map(len).any():
            return {}
        return {"order": order_diagnostics.evidence(Catalogue.of(part.frame).sequences(part.frame))}

    def user_examples(self, part: Dataset, prediction: pd.DataFrame, model: Model) -> list[dict[str, Any]]:
        """Three shoppers; see `ml.explanations.user_examples`."""
        return shoppers(part, prediction, model)

    def training_keys(self, part: Dataset) -> np.ndarray:
        """Pairs of user and item: a user's next item may be asked for as long as it was not learned."""
        return np.unique(_pairs(part.units, part.frame["items"])[1])

    def rows_not_trained_on(self, part: Dataset, learned: np.ndarray) -> np.ndarray:
        rows, pairs = _pairs(part.units, part.truth)
        return np.setdiff1d(np.arange(len(part.units)), rows[np.isin(pairs, learned)])

    def _per_user(self, part: Dataset, prediction: pd.DataFrame) -> pd.DataFrame:
        values = ranking_metrics.per_user(part.truth, part.frame["user"], prediction, self.k)
        return values.add_suffix(f"_at_{self.k}")


def _within(prediction: pd.DataFrame, k: int) -> pd.Series:
    """The items that are shown, as often as they are."""
    return prediction.loc[prediction["rank"] <= k, "item"]


def _pairs(units: np.ndarray, items: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """For each item of each list: the position of its row, and a hash of user and item."""
    rows = np.repeat(np.arange(len(units)), items.map(len).to_numpy(np.int64))
    flat = items.explode().dropna().astype("str")
    return rows, row_hashes(pd.DataFrame({"unit": units[rows], "item": flat.to_numpy()}))
