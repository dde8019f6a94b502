"""Evaluator of classifiers with several classes, whose primary metric is the accuracy."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.label_noise import estimate_label_noise
from ml.data.target import Target, class_columns
from ml.evaluation import answers, binary_metrics, bootstrap_intervals, influence, multiclass_metrics
from ml.evaluation.confidence_intervals import Difference, Interval, unit_codes
from ml.evaluation.evaluator import BOOTSTRAP_RESAMPLES, Decision, RowEvaluator, units_of_several_rows
from ml.evaluation.influence import RowMeasures
from ml.evaluation.mean_intervals import mean_difference, share_interval

# Pairs of classes that the report lists, and classes in the picture of what is taken for what.
MAX_CONFUSIONS = 12
MAX_PICTURED = 16
# Classes of which the report lists the metrics: those with the lowest F1.
MAX_CLASSES = 40


@dataclass(frozen=True)
class MulticlassEvaluator(RowEvaluator):
    """Probabilities of several classes. Accuracy by Wilson's interval, its comparison by Student's t."""

    target: ClassVar[Target] = "multiclass"
    primary: str = "accuracy"
    chance_level: float = 0.0

    def decision(
        self, dataset: Dataset, prediction: pd.DataFrame, of_none: pd.DataFrame | None = None
    ) -> Decision:
        """Choose from which probability a row is answered, and from which a label is held possible."""
        truth, probability = _truth(dataset), class_probabilities(prediction, dataset.classes)
        if of_none is None:
            min_probability = answers.answer_threshold(truth, probability)
        else:
            min_probability = answers.balanced_answer_threshold(
                truth, probability, class_probabilities(of_none, dataset.classes), dataset.coverage
            )
        return {
            "min_probability": min_probability,
            "label_probability": answers.label_threshold(truth, probability, dataset.coverage),
        }

    def metrics(self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        truth, probability = _truth(dataset), class_probabilities(prediction, dataset.classes)
        answered = answers.answer_metrics(
            truth, probability, decision["min_probability"], decision["label_probability"]
        )
        return multiclass_metrics.compute_multiclass_metrics(truth, probability) | answered

    def primary_interval(self, dataset: Dataset, prediction: pd.DataFrame) -> Interval:
        return share_interval(_correct(dataset, prediction), units_of_several_rows(dataset))

    def metric_intervals(
        self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        truth, probability = _truth(dataset), class_probabilities(prediction, dataset.classes)
        weighted = multiclass_metrics.WeightedMulticlassMetrics(truth, probability)
        bootstrap = bootstrap_intervals.bootstrap_intervals(
            weighted, dataset.units, seed, BOOTSTRAP_RESAMPLES
        )
        correct, confidence = multiclass_metrics.correctness(truth, probability)
        calibration = bootstrap_intervals.calibration_interval(correct, confidence, dataset.units, seed)
        return {
            **bootstrap,
            "accuracy": self.primary_interval(dataset, prediction),
            "calibration_error": calibration,
        }

    def paired_difference(
        self, dataset: Dataset, first: pd.DataFrame, second: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        units = units_of_several_rows(dataset)
        return mean_difference(_correct(dataset, first), _correct(dataset, second), units, level)

    def row_measures(self, dataset: Dataset, prediction: pd.DataFrame) -> RowMeasures:
        probability = class_probabilities(prediction, dataset.classes)
        correct, confidence = multiclass_metrics.correctness(_truth(dataset), probability)
        codes = unit_codes(dataset.units, len(correct))
        return RowMeasures(
            primary=lambda rows: influence.mean(correct[rows], codes[rows]),
            expected=lambda rows: influence.mean(confidence[rows], codes[rows]),
            certainty=(correct, confidence),
        )

    def log_losses(self, dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray | None:
        probability = class_probabilities(prediction, dataset.classes)
        return multiclass_metrics.log_losses(_truth(dataset), probability)

    def curves(self, dataset: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Compute what is taken for what, the metrics by class, the reliability, and accuracy by share answered."""
        truth, probability = _truth(dataset), class_probabilities(prediction, dataset.classes)
        correct, confidence = multiclass_metrics.correctness(truth, probability)
        pairs = multiclass_metrics.confusions(truth, probability)
        noise = estimate_label_noise(truth, probability)
        return {
            "label_noise": {
                "judged": noise.judged,
                "suspicious": noise.suspicious,
                "share": noise.share,
                "low": noise.low,
                "high": noise.high,
                "is_notable": noise.is_notable,
            },
            "classes": _class_metrics(truth, probability, dataset.classes),
            "confusions": [
                {
                    "truth": dataset.classes[a],
                    "predicted": dataset.classes[b],
                    "rows": int(rows),
                    "share": float(rows / (truth == a).sum()),
                }
                for a, b, rows in pairs[:MAX_CONFUSIONS]
            ],
            "confusion_matrix": _confusion_matrix(truth, probability, pairs, dataset.classes),
            "accuracy_by_coverage": answers.accuracy_by_coverage(truth, probability),
            "reliability": binary_metrics.reliability_curve(correct, confidence).to_dict(orient="list"),
        }


def class_probabilities(prediction: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """Return the probabilities of the classes, shape (rows, classes); 0 for a class that the model does not know.

    What a model gives to classes that are none of these is divided among them in proportion: an older champion is
    compared by the best of the classes that count now.
    """
    probability = prediction.reindex(columns=class_columns(classes)).fillna(0.0).to_numpy(np.float64)
    # A model that gives all of the probability to other classes knows nothing about these.
    total = probability.sum(axis=1, keepdims=True)
    return np.where(total > 0.0, probability / np.where(total > 0.0, total, 1.0), 1.0 / len(classes))


def _truth(dataset: Dataset) -> np.ndarray:
    return dataset.truth.to_numpy(np.float64)


def _correct(dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray:
    probability = class_probabilities(prediction, dataset.classes)
    return multiclass_metrics.correctness(_truth(dataset), probability)[0]


def _class_metrics(
    truth: np.ndarray, probability: np.ndarray, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the metrics of the classes with test rows, those with the lowest F1 first."""
    ones = np.ones(len(truth))
    recall, precision, f1, rows = multiclass_metrics.WeightedMulticlassMetrics(truth, probability).by_class(
        ones
    )
    areas = multiclass_metrics.class_auc(truth, probability)
    present = np.flatnonzero(rows > 0)
    return [
        {
            "label": classes[k],
            "rows": int(rows[k]),
            "recall": float(recall[k]),
            "precision": float(precision[k]),
            "f1": float(f1[k]),
            "roc_auc": None if np.isnan(areas[k]) else float(areas[k]),
        }
        for k in present[np.argsort(f1[present], kind="stable")][:MAX_CLASSES]
    ]


def _confusion_matrix(
    truth: np.ndarray, probability: np.ndarray, pairs: np.ndarray, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the share of rows by true and predicted class, for the classes that are mistaken most."""
    wrong = np.bincount(pairs[:, 0], pairs[:, 2], len(classes)) + np.bincount(
        pairs[:, 1], pairs[:, 2], len(classes)
    )
    counts = np.bincount(truth.astype(np.int64), minlength=len(classes))
    present = np.flatnonzero((counts > 0) | (wrong > 0))
    shown = np.sort(present[np.argsort(-wrong[present], kind="stable")][:MAX_PICTURED])
    predicted = probability.argmax(axis=1)
    shares = [
        [float(((truth == a) & (predicted == b)).sum() / counts[a]) if counts[a] else 0.0 for b in shown]
        for a in shown
    ]
    return {"labels": [classes[k] for k in shown], "shares": shares}
