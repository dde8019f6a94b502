"""Fintech risk: will this applicant default?"""

from datetime import datetime

from prefect import flow

from flows.pipeline import run
from flows.recording.outcome import RunOutcome
from flows.use_case import RunParameters, UseCase
from ml.ensemble.stacked_ensemble import Ensemble
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.additive import Additive
from ml.tabular.constant import Prior
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.split import split_rows

CASE = UseCase(
    name="fintech-risk",
    question="Will this applicant default?",
    split=split_rows,
    candidates={
        "prior": Prior(),
        "logistic regression": Linear(),
        "additive": Additive(),
        "LightGBM": GradientBoosting(),
        "ensemble": Ensemble(),
    },
    evaluator=BinaryEvaluator(primary="roc_auc"),
    thresholds=QualityThresholds(minimum=0.6, calibration_error=0.05, subgroup_gap=0.1),
)


@flow(name=CASE.name, persist_result=False)
def fintech_risk(
    data: str = "simulated",
    contract: str | None = None,
    seed: int = 0,
    budget: float = 120.0,
    trials: int = 0,
    fresh: bool = False,
    as_of: datetime | None = None,
    only_new_data: bool = False,
) -> RunOutcome:
    """Will this applicant default?

    Args:
        data: A data set that has a contract, or the path of a file.
        contract: The contract's name or file; by default the one named as the data.
        seed: Seed of everything random in training. The test rows do not depend on it.
        budget: Seconds of training, over all candidates.
        trials: Trials that may refine a candidate's hyperparameters, where it can, while the budget lasts.
        fresh: Compute everything again instead of reusing what is known.
        as_of: Leave out rows from after this instant (UTC): the run as it would have been then.
        only_new_data: End at once when the last decided run knew all of this already.
    """
    return run(CASE, RunParameters(data, contract, seed, budget, trials, fresh, as_of, only_new_data))
