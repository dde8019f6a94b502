"""Predict whether an applicant defaults."""

from flows.table_targets import TABLE_TARGETS
from flows.training_flow import training_flow
from flows.use_case import Nouns, UseCase
from ml.ensemble.stacked_ensemble import Ensemble
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.additive import Additive
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.split import split_rows

CASE = UseCase(
    name="fintech-risk",
    question="Will this applicant default?",
    split=split_rows,
    candidates={
        "constant": Constant(),
        "logistic regression": Linear(),
        "additive": Additive(),
        "LightGBM": GradientBoosting(),
        "ensemble": Ensemble(),
    },
    evaluator=BinaryEvaluator(primary="roc_auc"),
    thresholds=QualityThresholds(
        min_primary=0.6,
        max_calibration_error=0.05,
        max_calibration_intercept=0.25,
        calibration_slopes=(0.67, 1.5),
        max_subgroup_gap=0.03,
        max_subgroup_shift=0.25,
    ),
    other_targets=TABLE_TARGETS,
    nouns=Nouns("applicants", "defaulters"),
)

fintech_risk = training_flow(CASE)
