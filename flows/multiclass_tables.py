"""How tables are answered whose target has several classes, in every use case with tables."""

from flows.use_case import TargetMethods
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.class_prior import ClassPrior
from ml.tabular.multiclass_boosting import MulticlassBoosting
from ml.tabular.multiclass_linear import MulticlassLinear

MULTICLASS_TABLES = TargetMethods(
    candidates={
        "class prior": ClassPrior(),
        "logistic regression": MulticlassLinear(),
        "LightGBM": MulticlassBoosting(),
    },
    evaluator=MulticlassEvaluator(),
    thresholds=QualityThresholds(
        min_primary=0.5, max_calibration_error=0.1, max_subgroup_gap=0.03, max_subgroup_shift=0.25
    ),
)
