"""Evaluator of predicted numbers, whose primary metric is the root mean squared error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.decisions import HALF_WIDTH, THIRDS, half_widths, third_of
from ml.data.rare_values import MIN_PEOPLE
from ml.data.target import PREDICTION_COLUMN, Target
from ml.evaluation import bootstrap_intervals, influence, regression_metrics
from ml.evaluation.confidence_intervals import Difference, Interval, unit_codes
from ml.evaluation.evaluator import BOOTSTRAP_RESAMPLES, Decision, RowEvaluator, units_of_several_rows
from ml.evaluation.influence import RowMeasures
from ml.evaluation.mean_intervals import mean_difference, mean_interval, share_interval
from ml.evaluation.prediction_intervals import choose_half_widths, covered
from ml.evaluation.weighted_metrics import WeightedRegressionMetrics

# Groups of the rows by prediction that the report shows.
MAX_BINS = 10
# The name that models of version 0.2.0 give to their predictions; one of them may still be champion.
COLUMN_OF_0_2 = "value"


@dataclass(frozen=True)
class NumericEvaluator(RowEvaluator):
    """Numbers. The interval of the RMSE is that of the mean squared error; its comparison is by Student's t."""

    target: ClassVar[Target] = "numeric"
    primary: str = "rmse"
    group_metric: str = "explained_share"
    # The error of the mean depends on the rows.
    chance_level: None = None

    def decision(
        self, dataset: Dataset, prediction: pd.DataFrame, of_none: pd.DataFrame | None = None
    ) -> Decision:
        """Choose half the widths of the intervals of single predictions."""
        return choose_half_widths(_errors(dataset, prediction), _value(prediction), dataset.coverage)

    def metrics(self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        truth, value = dataset.truth.to_numpy(), _value(prediction)
        metrics = regression_metrics.compute_regression_metrics(truth, value)
        if decision.get(HALF_WIDTH):
            half = half_widths(value, decision)
            inside, third = covered(truth, value, half), third_of(value, decision)
            metrics["interval_coverage"] = float(inside.mean())
            metrics["interval_width"] = 2.0 * float(half.mean())
            for number, name in enumerate(THIRDS):
                if third is not None and (third == number).any():
                    metrics[f"interval_coverage_{name}"] = float(inside[third == number].mean())
                    metrics[f"interval_width_{name}"] = 2.0 * decision[f"{HALF_WIDTH}_{name}"]
        return metrics

    def primary_interval(self, dataset: Dataset, prediction: pd.DataFrame) -> Interval:
        squared = mean_interval(np.square(_errors(dataset, prediction)), units_of_several_rows(dataset))
        return Interval(
            *(float(np.sqrt(max(limit, 0.0))) for limit in (squared.value, squared.low, squared.high))
        )

    def metric_intervals(
        self, dataset: Dataset, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        truth, value = dataset.truth.to_numpy(), _value(prediction)
        weighted = WeightedRegressionMetrics(truth, value)
        intervals = {
            **bootstrap_intervals.bootstrap_intervals(weighted, dataset.units, seed, BOOTSTRAP_RESAMPLES),
            "rmse": self.primary_interval(dataset, prediction),
        }
        if decision.get(HALF_WIDTH):
            inside = covered(truth, value, half_widths(value, decision))
            intervals["interval_coverage"] = share_interval(inside, units_of_several_rows(dataset))
        return intervals

    def paired_difference(
        self, dataset: Dataset, first: pd.DataFrame, second: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        """Compute by how much the RMSE of `first` is smaller: the difference of squared errors, paired by unit.

        A difference of mean squares is one of roots times their sum. So test and sign are those of Student's t for the
        squared errors, and the scale of the limits is that of the target.
        """
        better, worse = (np.square(_errors(dataset, prediction)) for prediction in (first, second))
        squared = mean_difference(worse, better, units_of_several_rows(dataset), level)
        roots = float(np.sqrt(better.mean()) + np.sqrt(worse.mean())) or 1.0
        return Difference(squared.value / roots, squared.low / roots, squared.high / roots, squared.p_value)

    def row_measures(self, dataset: Dataset, prediction: pd.DataFrame) -> RowMeasures:
        """Compare groups by squared errors, as shares of the variance of the target in all rows, and by mean errors.

        The variance is that of all rows: that of a group would make its errors large because its members are alike.
        """
        errors, codes = _errors(dataset, prediction), unit_codes(dataset.units, len(dataset.units))
        deviation = float(dataset.truth.to_numpy().std()) or 1.0
        explained, scaled = 1.0 - np.square(errors / deviation), errors / deviation

        def mean_of(values: np.ndarray) -> Callable[[np.ndarray], influence.InfluenceEstimate]:
            return lambda rows: influence.mean(values[rows], codes[rows])

        return RowMeasures(primary=mean_of(explained), bias=mean_of(scaled))

    def curves(self, dataset: Dataset, prediction: pd.DataFrame) -> dict[str, Any]:
        """Compute means by size of the prediction, each of at least ten rows: of prediction, truth and error."""
        value, errors = _value(prediction), _errors(dataset, prediction)
        bins = int(np.clip(len(value) // MIN_PEOPLE, 1, MAX_BINS))
        bin_of_row = pd.Series(value).rank(method="first", pct=True).mul(bins).apply(np.ceil).to_numpy()
        means = pd.DataFrame(
            {
                "predicted": value,
                "observed": value + errors,
                "absolute_error": np.abs(errors),
                "error": errors,
            }
        )
        return {"deciles": means.groupby(bin_of_row).mean().to_dict(orient="list")}


def _value(prediction: pd.DataFrame) -> np.ndarray:
    column = PREDICTION_COLUMN["numeric"]
    return prediction[column if column in prediction else COLUMN_OF_0_2].to_numpy()


def _errors(dataset: Dataset, prediction: pd.DataFrame) -> np.ndarray:
    """Return what the truth exceeds the predictions by."""
    return np.asarray(dataset.truth.to_numpy(np.float64) - _value(prediction))
