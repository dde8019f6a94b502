"""Evaluators: metrics of predictions, their confidence intervals, and paired comparisons of two models.

An evaluator uses nothing but a dataset (truth, units) and predictions for it. Comparisons are advantages: above 0 the
first model is better, also where a lower metric is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.target import Target
from ml.estimator import Model
from ml.evaluation import auc_intervals, binary_metrics, bootstrap_intervals, influence
from ml.evaluation.confidence_intervals import Difference, Interval, unit_codes
from ml.evaluation.influence import RowMeasures
from ml.evaluation.recalibration import recalibration_intervals
from ml.evaluation.weighted_metrics import WeightedBinaryMetrics
from ml.explanations.user_examples import UserExample

BOOTSTRAP_RESAMPLES = 500
# Points of a chart's curve; more cannot be seen.
MAX_CURVE_POINTS = 200
# What is chosen on validation rows besides the candidate, such as {"threshold": 0.4}.
Decision = Mapping[str, float]


class Evaluator(Protocol):
    """Metrics for one kind of target: `primary` is the metric that selects candidates and promotes challengers."""

    @property
    def target(self) -> Target | None:
        """Kind of target of a table; None for lists of recommendations."""
        ...

    @property
    def primary(self) -> str:
        """Name of the primary metric."""
        ...

    @property
    def group_metric(self) -> str:
        """Name of the metric that groups are compared by: what `row_measures` measures. Higher is better."""
        ...

    @property
    def chance_level(self) -> float | None:
        """Value of the primary metric for uninformative predictions; None where it depends on the rows."""
        ...

    def decision(
        self, dataset: Dataset, prediction: pd.DataFrame, of_none: pd.DataFrame | None = None
    ) -> Decision:
        """Choose decision parameters, such as the threshold, on validation rows; empty if there are none.

        `of_none` are predictions for validation rows of none of the classes, which only a target with several can have.
        """
        ...

    def metrics(self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        """Compute all metrics by name; undefined ones may be left out."""
        ...

    def primary_interval(self, dataset: Dataset, prediction: pd.DataFrame) -> Interval:
        """Compute the primary metric with its 95 % interval over units."""
        ...

    def metric_intervals(
        self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        """Compute 95 % intervals by name, for the metrics that have one."""
        ...

    def paired_difference(
        self, dataset: Dataset, first: pd.DataFrame, second: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        """Compute by how much `first` is better than `second` in the primary metric, paired, with limits at `level`.

        That is the metric of `first` minus that of `second`, or the reverse where a lower one is better.
        """
        ...

    def row_measures(self, dataset: Dataset, prediction: pd.DataFrame) -> RowMeasures:
        """Return what groups of the rows are compared by."""
        ...

    def log_losses(self, dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray | None:
        """Compute the log loss of each row; None where predictions are no probabilities."""
        ...

    def curves(self, dataset: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Compute the data of the report's charts as JSON values: aggregates, never rows."""
        ...

    def data_diagnostics(self, dataset: Dataset) -> dict[str, Any]:
        """Diagnose properties of the data that limit how far its metrics can be trusted: aggregates, never rows."""
        ...

    def user_examples(self, dataset: Dataset, prediction: pd.DataFrame, model: Model) -> list[UserExample]:
        """Show predictions for a few pseudonymous users with explanations; empty if rows are personal data."""
        ...

    def training_keys(self, dataset: Dataset) -> np.ndarray:
        """Hash what a model trained on `dataset` has seen (uint64, sorted), to exclude it from later evaluations."""
        ...

    def rows_not_trained_on(self, dataset: Dataset, training_keys: np.ndarray) -> np.ndarray:
        """Return the positions of the rows that a model with these `training_keys` has not seen."""
        ...


class RowEvaluator:
    """Evaluate rows that are one case each: training keys are units, and no row is shown as an example."""

    primary: str

    @property
    def group_metric(self) -> str:
        return self.primary

    def log_losses(self, dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray | None:
        return None

    def data_diagnostics(self, dataset: Dataset) -> dict[str, Any]:
        return {}

    def user_examples(self, dataset: Dataset, prediction: pd.DataFrame, model: Model) -> list[UserExample]:
        return []

    def training_keys(self, dataset: Dataset) -> np.ndarray:
        return np.unique(dataset.units)

    def rows_not_trained_on(self, dataset: Dataset, training_keys: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~np.isin(dataset.units, training_keys))


@dataclass(frozen=True)
class BinaryEvaluator(RowEvaluator):
    """Probabilities of the positive class. ROC AUC by DeLong's variance, clustered if units have several rows."""

    target: ClassVar[Target] = "binary"
    primary: str = "roc_auc"
    chance_level: float = 0.5

    def decision(
        self, dataset: Dataset, prediction: pd.DataFrame, of_none: pd.DataFrame | None = None
    ) -> Decision:
        return {"threshold": binary_metrics.f1_threshold(dataset.truth.to_numpy(), _probability(prediction))}

    def metrics(self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        truth, probability = dataset.truth.to_numpy(), _probability(prediction)
        metrics = binary_metrics.compute_binary_metrics(truth, probability, decision["threshold"])
        return metrics | {
            name: interval.value for name, interval in recalibration_intervals(truth, probability).items()
        }

    def primary_interval(self, dataset: Dataset, prediction: pd.DataFrame) -> Interval:
        return auc_intervals.auc_interval(
            dataset.truth.to_numpy(), _probability(prediction), units_of_several_rows(dataset)
        )

    def metric_intervals(
        self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        truth, probability, units = dataset.truth.to_numpy(), _probability(prediction), dataset.units
        metrics = WeightedBinaryMetrics(truth, probability, decision["threshold"])
        auc = self.primary_interval(dataset, prediction)
        return {
            "roc_auc": auc,
            "gini": Interval(*(2.0 * limit - 1.0 for limit in (auc.value, auc.low, auc.high))),
            **bootstrap_intervals.bootstrap_intervals(metrics, units, seed, BOOTSTRAP_RESAMPLES),
            "calibration_error": bootstrap_intervals.calibration_interval(truth, probability, units, seed),
            **recalibration_intervals(truth, probability, units),
        }

    def paired_difference(
        self, dataset: Dataset, first: pd.DataFrame, second: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        truth, units = dataset.truth.to_numpy(), units_of_several_rows(dataset)
        return auc_intervals.auc_difference(truth, _probability(first), _probability(second), units, level)

    def row_measures(self, dataset: Dataset, prediction: pd.DataFrame) -> RowMeasures:
        truth, probability = dataset.truth.to_numpy(), _probability(prediction)
        codes = unit_codes(dataset.units, len(truth))
        return RowMeasures(
            primary=lambda rows: influence.auc(truth[rows], probability[rows], codes[rows]),
            expected=lambda rows: influence.auc(probability[rows], probability[rows], codes[rows]),
            certainty=(truth, probability),
        )

    def log_losses(self, dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray | None:
        return binary_metrics.log_losses(dataset.truth.to_numpy(), _probability(prediction))

    def curves(self, dataset: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Compute ROC, precision-recall and reliability curves, and the calibration slope."""
        from sklearn.metrics import precision_recall_curve, roc_curve

        truth, probability = dataset.truth.to_numpy(), _probability(prediction)
        false_positives, true_positives, _ = roc_curve(truth, probability)
        precision, recall, _ = precision_recall_curve(truth, probability)
        return {
            "roc": _thinned_curve(false_positives, true_positives),
            "precision_recall": _thinned_curve(recall[::-1], precision[::-1]),
            "reliability": binary_metrics.reliability_curve(truth, probability).to_dict(orient="list"),
            "calibration_slope": _calibration_slope(truth, probability),
        }


def units_of_several_rows(dataset: Dataset) -> np.ndarray | None:
    """Return the units if any has several rows, else None, which means the same and is faster."""
    return dataset.units if len(np.unique(dataset.units)) < len(dataset.units) else None


def _probability(prediction: pd.DataFrame) -> np.ndarray:
    return prediction["probability"].to_numpy()


def _thinned_curve(x: np.ndarray, y: np.ndarray) -> dict[str, list[float]]:
    kept = np.unique(np.linspace(0, len(x) - 1, min(MAX_CURVE_POINTS, len(x))).astype(int))
    return {"x": x[kept].tolist(), "y": y[kept].tolist()}


def _calibration_slope(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """Return None for an undefined slope: the report leaves it out, and the run goes on."""
    try:
        return binary_metrics.calibration_slope(truth, probability)
    except binary_metrics.UndefinedMetricError:
        return None
