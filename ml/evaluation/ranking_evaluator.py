"""Evaluate lists of recommendations, as an `ml.evaluation.evaluator.Evaluator`."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.digest import row_hashes
from ml.estimator import Model
from ml.evaluation import beyond_accuracy, influence, mean_intervals, ranking_metrics, slices
from ml.evaluation.confidence_intervals import Difference, Interval, unit_codes
from ml.evaluation.evaluator import Decision
from ml.evaluation.influence import RowMeasures
from ml.explanations.user_examples import UserExample, user_examples
from ml.interactions import order_diagnostics
from ml.interactions.catalogue import Catalogue


@dataclass(frozen=True)
class RankingEvaluator:
    """Lists of items for users, ranked over the full catalogue; ties count half; comparisons are paired by user.

    Metrics are named with the depth `k` of the lists, as in `ndcg_at_10`; `primary_metric` is the name without it.
    """

    target: ClassVar[None] = None
    k: int = 10
    primary_metric: str = "ndcg"
    chance_level: float = 0.0

    @property
    def primary(self) -> str:
        """Name of the primary metric."""
        return f"{self.primary_metric}_at_{self.k}"

    @property
    def group_metric(self) -> str:
        """Name of the metric that groups are compared by."""
        return self.primary

    def decision(
        self, dataset: Dataset, prediction: pd.DataFrame, of_none: pd.DataFrame | None = None
    ) -> Decision:
        return {}

    def metrics(self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        histories, n_users = dataset.frame["items"], len(dataset.frame)
        popularity = beyond_accuracy.user_counts(histories)
        recommended, targets = _recommended_items(prediction, self.k), dataset.truth.explode().dropna()
        # Items recommended below the depth are in the catalogue as well.
        catalogue_size = len(set(popularity.index) | set(targets) | set(prediction["item"]))
        ranks = ranking_metrics.target_ranks(dataset.truth, dataset.frame["user"], prediction)
        counts_by_item = {str(item): int(count) for item, count in popularity.items()}
        without_depth = {
            "coverage": ranking_metrics.coverage(prediction, catalogue_size, self.k),
            "novelty": ranking_metrics.novelty(prediction, counts_by_item, n_users, self.k),
            "gini": beyond_accuracy.gini(recommended.value_counts().to_numpy(), catalogue_size),
            "diversity": beyond_accuracy.diversity(prediction, histories, self.k),
            "serendipity": beyond_accuracy.serendipity(
                ranks, histories, popularity, self.k, dataset.allow_repeats
            ),
            "popularity": beyond_accuracy.mean_popularity(recommended, popularity, n_users),
        }
        user_means = self._per_user_metrics(dataset, prediction).mean()
        metrics = {
            **{str(name): float(value) for name, value in user_means.items()},
            **{f"{name}_at_{self.k}": value for name, value in without_depth.items()},
            "target_popularity": beyond_accuracy.mean_popularity(targets, popularity, n_users),
        }
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def primary_interval(self, dataset: Dataset, prediction: pd.DataFrame) -> Interval:
        return mean_intervals.mean_interval(self._primary_per_user(dataset, prediction))

    def metric_intervals(
        self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        values = self._per_user_metrics(dataset, prediction)
        return {str(name): mean_intervals.mean_interval(values[name].to_numpy()) for name in values.columns}

    def paired_difference(
        self, dataset: Dataset, first: pd.DataFrame, second: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        a, b = (self._primary_per_user(dataset, prediction) for prediction in (first, second))
        return mean_intervals.mean_difference(a, b, level=level)

    def row_measures(self, dataset: Dataset, prediction: pd.DataFrame) -> RowMeasures:
        values = self._primary_per_user(dataset, prediction)
        codes = unit_codes(dataset.units, len(values))
        return RowMeasures(lambda rows: influence.mean(values[rows], codes[rows]), is_relative=True)

    def log_losses(self, dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray | None:
        return None

    def curves(self, dataset: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Compute the primary metric by slices of users and of items, and recommendation shares by popularity."""

        def per_user_metric(dataset: Dataset) -> np.ndarray:
            return self._primary_per_user(dataset, prediction)

        popularity = beyond_accuracy.user_counts(dataset.frame["items"])
        recommended, targets = _recommended_items(prediction, self.k), dataset.truth.explode().dropna()
        return {
            "history_length": slices.by_history_length(dataset, per_user_metric(dataset)),
            "slices": slices.by_popularity(dataset, per_user_metric, popularity)
            + slices.by_cold_start(dataset, per_user_metric, popularity),
            "popularity": beyond_accuracy.popularity_deciles(recommended, targets, popularity),
        }

    def data_diagnostics(self, dataset: Dataset) -> dict[str, Any]:
        """Diagnose under `order` whether the recorded order of events is that of the users' actions."""
        if not dataset.frame["items"].map(len).any():
            return {}
        histories = Catalogue.from_frame(dataset.frame).encode(dataset.frame)
        return {"order": order_diagnostics.order_diagnostics(histories)}

    def user_examples(self, dataset: Dataset, prediction: pd.DataFrame, model: Model) -> list[UserExample]:
        """Show recommendations for a few pseudonymous users; see `ml.explanations.user_examples`."""
        return user_examples(dataset, prediction, model)

    def training_keys(self, dataset: Dataset) -> np.ndarray:
        """Hash the events of all histories, each by user, item, time, and number of earlier events with equal ones."""
        history = _events(dataset.units, dataset.frame["items"], dataset.frame["times"])
        return np.unique(_event_hashes(history, history.groupby("hash").cumcount()))

    def rows_not_trained_on(self, dataset: Dataset, training_keys: np.ndarray) -> np.ndarray:
        """Return the users none of whose target events is known: an item that is bought again is another event."""
        history = _events(dataset.units, dataset.frame["items"], dataset.frame["times"])
        targets = _events(dataset.units, dataset.truth, dataset.truth_times)
        earlier = targets["hash"].map(history["hash"].value_counts()).fillna(0)
        known = np.isin(_event_hashes(targets, earlier), training_keys)
        return np.setdiff1d(np.arange(len(dataset.units)), targets["row"][known])

    def _primary_per_user(self, dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray:
        values: np.ndarray = self._per_user_metrics(dataset, prediction)[self.primary].to_numpy()
        return values

    def _per_user_metrics(self, dataset: Dataset, prediction: pd.DataFrame) -> pd.DataFrame:
        metrics = ranking_metrics.per_user_metrics(dataset.truth, dataset.frame["user"], prediction, self.k)
        return metrics.add_suffix(f"_at_{self.k}")


def _recommended_items(prediction: pd.DataFrame, k: int) -> pd.Series:
    """Return the item of each recommendation within rank `k`."""
    return prediction.loc[prediction["rank"] <= k, "item"]


def _events(units: np.ndarray, items: pd.Series, times: pd.Series | None) -> pd.DataFrame:
    """Return for each item of each list the position of its row, and a hash of user, item and time if it is known."""
    rows = np.repeat(np.arange(len(units)), items.map(len).to_numpy(np.int64))
    events = pd.DataFrame({"unit": units[rows], "item": items.explode().dropna().astype("str").to_numpy()})
    # Not `dropna`: an unknown time is NaN as well.
    seconds = np.nan if times is None else times[times.map(len) > 0].explode().to_numpy(np.float64)
    return pd.DataFrame({"row": rows, "hash": row_hashes(events.assign(time=seconds).fillna({"time": 0.0}))})


def _event_hashes(events: pd.DataFrame, earlier: pd.Series) -> np.ndarray:
    """Hash events once more with the number of earlier ones that are equal, as where times are unknown or coarse."""
    return row_hashes(events[["hash"]].assign(earlier=earlier.astype("int64")))
