"""How tables are answered whose target is no choice of two: several classes, or a number. All use cases with tables
answer them alike."""

from collections.abc import Mapping

from flows.use_case import TargetMethods
from ml.data.target import Target
from ml.ensemble.stacked_ensemble import Ensemble
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.additive import Additive
from ml.tabular.class_prior import ClassPrior
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.multiclass_boosting import MulticlassBoosting
from ml.tabular.multiclass_linear import MulticlassLinear

TABLE_TARGETS: Mapping[Target, TargetMethods] = {
    "multiclass": TargetMethods(
        candidates={
            "class prior": ClassPrior(),
            "logistic regression": MulticlassLinear(),
            "LightGBM": MulticlassBoosting(),
        },
        evaluator=MulticlassEvaluator(),
        thresholds=QualityThresholds(
            min_primary=0.5, max_calibration_error=0.1, max_subgroup_gap=0.03, max_subgroup_shift=0.25
        ),
    ),
    "numeric": TargetMethods(
        candidates={
            "mean": Constant("numeric"),
            "ridge regression": Linear("numeric"),
            "additive": Additive("numeric"),
            "LightGBM": GradientBoosting(target="numeric"),
            "ensemble": Ensemble("numeric"),
        },
        evaluator=NumericEvaluator(),
        # Certainly better than the mean.
        thresholds=QualityThresholds(
            min_primary=0.0, bounded="r2", max_subgroup_gap=0.03, max_subgroup_shift=0.25
        ),
    ),
}
