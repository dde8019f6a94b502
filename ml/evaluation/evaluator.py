"""How answers are judged: which measures, what interval, and whether one model beats another.

A judge sees a part (truth, units) and predictions for it, nothing else. Of each primary measure, higher is better.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import Model
from ml.evaluation import binary_metrics, regression_metrics
from ml.evaluation import confidence_intervals as intervals
from ml.evaluation.confidence_intervals import Difference, Interval
from ml.evaluation.weighted_metrics import CountedBinary, CountedNumeric

RESAMPLES = 500
Decision = Mapping[str, float]


class Evaluator(Protocol):
    """`primary` chooses and promotes; `chance` is what it is for a model that knows nothing."""

    @property
    def primary(self) -> str: ...

    @property
    def chance(self) -> float: ...

    def decision(self, part: Dataset, prediction: pd.DataFrame) -> Decision:
        """What valid rows choose besides the candidate, such as the threshold of a decision."""
        ...

    def metrics(self, part: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        """Every measure by its name, those without a value left out."""
        ...

    def primary_interval(self, part: Dataset, prediction: pd.DataFrame) -> Interval:
        """The primary measure with its 95 % interval over units."""
        ...

    def metric_intervals(
        self, part: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        """Every measure that has an interval, with it."""
        ...

    def paired_difference(
        self, part: Dataset, one: pd.DataFrame, other: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        """The primary measure of `one` less that of `other` on the same units, paired; limits at `level`."""
        ...

    def curves(self, part: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Points of the report's charts: aggregates, never rows."""
        ...

    def data_diagnostics(self, part: Dataset) -> dict[str, Any]:
        """What the part's own data say of how far any measure on them can be trusted; aggregates, never rows."""
        ...

    def user_examples(self, part: Dataset, prediction: pd.DataFrame, model: Model) -> list[dict[str, Any]]:
        """A few answers with their reasons, of nobody who could be named; none where a row is a person's."""
        ...

    def training_keys(self, part: Dataset) -> np.ndarray:
        """Hashes (uint64, sorted) of what a model that learned from this part can no longer be asked about."""
        ...

    def rows_not_trained_on(self, part: Dataset, learned: np.ndarray) -> np.ndarray:
        """Positions of the rows that a model which `learned` these may still be judged on."""
        ...


def _groups(part: Dataset) -> np.ndarray | None:
    """The units where some hold several rows, else None: then every row stands for itself."""
    return part.units if len(np.unique(part.units)) < len(part.units) else None


class _RowEvaluator:
    """Where a row is one case, what was learned is its entity, and no row is an example for others to read."""

    def data_diagnostics(self, part: Dataset) -> dict[str, Any]:
        return {}

    def user_examples(self, part: Dataset, prediction: pd.DataFrame, model: Model) -> list[dict[str, Any]]:
        return []

    def training_keys(self, part: Dataset) -> np.ndarray:
        return np.unique(part.units)

    def rows_not_trained_on(self, part: Dataset, learned: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~np.isin(part.units, learned))


def _points(x: np.ndarray, y: np.ndarray, most: int = 200) -> dict[str, list[float]]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).astype(int))
    return {"x": x[keep].tolist(), "y": y[keep].tolist()}


@dataclass(frozen=True)
class BinaryEvaluator(_RowEvaluator):
    """Probabilities of the positive class. ROC AUC by DeLong, clustered where units hold several rows."""

    primary: str = "roc_auc"
    chance: float = 0.5

    def decision(self, part: Dataset, prediction: pd.DataFrame) -> Decision:
        return {"threshold": binary_metrics.f1_threshold(part.truth.to_numpy(), _probability(prediction))}

    def metrics(self, part: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        return binary_metrics.binary_metrics(
            part.truth.to_numpy(), _probability(prediction), decision["threshold"]
        )

    def primary_interval(self, part: Dataset, prediction: pd.DataFrame) -> Interval:
        return intervals.auc_interval(part.truth.to_numpy(), _probability(prediction), _groups(part))

    def metric_intervals(
        self, part: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        truth, probability = part.truth.to_numpy(), _probability(prediction)
        measures = CountedBinary(truth, probability, decision["threshold"])
        return {
            "roc_auc": self.primary_interval(part, prediction),
            **intervals.bootstrap_intervals(measures, part.units, seed, RESAMPLES),
            "calibration_error": intervals.calibration_interval(truth, probability, part.units, seed),
        }

    def paired_difference(
        self, part: Dataset, one: pd.DataFrame, other: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        return intervals.auc_difference(
            part.truth.to_numpy(), _probability(one), _probability(other), _groups(part), level
        )

    def curves(self, part: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        from sklearn.metrics import precision_recall_curve, roc_curve

        truth, probability = part.truth.to_numpy(), _probability(prediction)
        false_positives, true_positives, _ = roc_curve(truth, probability)
        precision, recall, _ = precision_recall_curve(truth, probability)
        return {
            "roc": _points(false_positives, true_positives),
            "precision_recall": _points(recall[::-1], precision[::-1]),
            "reliability": binary_metrics.reliability(truth, probability).to_dict(orient="list"),
            "calibration_slope": _slope(truth, probability),
        }


def _slope(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """None where the probabilities are constant or separate the classes: a curve to leave out, no reason to stop."""
    try:
        return binary_metrics.calibration_slope(truth, probability)
    except binary_metrics.UndefinedMeasureError:
        return None


def _probability(prediction: pd.DataFrame) -> np.ndarray:
    return prediction["probability"].to_numpy()


@dataclass(frozen=True)
class NumericEvaluator(_RowEvaluator):
    """Numbers. R² by bootstrap over units."""

    primary: str = "r2"
    chance: float = 0.0

    def decision(self, part: Dataset, prediction: pd.DataFrame) -> Decision:
        return {}

    def metrics(self, part: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        return regression_metrics.regression_metrics(part.truth.to_numpy(), prediction["value"].to_numpy())

    def primary_interval(self, part: Dataset, prediction: pd.DataFrame) -> Interval:
        return self.metric_intervals(part, prediction, {}, 0)["r2"]

    def metric_intervals(
        self, part: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        measures = CountedNumeric(part.truth.to_numpy(), prediction["value"].to_numpy())
        return intervals.bootstrap_intervals(measures, part.units, seed, RESAMPLES)

    def paired_difference(
        self, part: Dataset, one: pd.DataFrame, other: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        def r2_of(prediction: pd.DataFrame) -> Callable[[np.ndarray], float]:
            measures = CountedNumeric(part.truth.to_numpy(), prediction["value"].to_numpy())
            return lambda counts: measures(counts)["r2"]

        return intervals.bootstrap_difference(
            r2_of(one), r2_of(other), part.units, seed=0, resamples=1000, level=level
        )

    def curves(self, part: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Mean truth by tenths of the prediction."""
        truth, value = part.truth.to_numpy(), prediction["value"].to_numpy()
        tenth = pd.Series(value).rank(method="first", pct=True).mul(10).apply(np.ceil).to_numpy()
        means = pd.DataFrame({"predicted": value, "observed": truth}).groupby(tenth).mean()
        return {"tenths": means.to_dict(orient="list")}
