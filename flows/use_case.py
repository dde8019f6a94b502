"""use_case."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ml.estimator import Candidate
from ml.evaluation.evaluator import Evaluator
from ml.evaluation.quality_gate import QualityThresholds
from tasks.split import SplitFunction
from tasks.train import Finalise, keep


@dataclass(frozen=True)
class UseCase:
    """A question and how it is answered. Candidates go from simple to complex; the first is the baseline."""

    name: str
    question: str
    split: SplitFunction
    candidates: Mapping[str, Candidate]
    evaluator: Evaluator
    thresholds: QualityThresholds
    final_fit: Finalise = keep


@dataclass(frozen=True)
class RunParameters:
    """What a run was asked for. With `as_of` (UTC), rows from after it are left out, as nobody knew them then.

    With `only_new_data`, a run ends at once when the last one that was decided knew all of this already.
    """

    data: str = "simulated"
    contract: str | None = None
    seed: int = 0
    time_budget: float = 120.0
    trials: int = 0
    fresh: bool = False
    as_of: datetime | None = None
    only_new_data: bool = False
