"""A use case, and the parameters of one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from ml.contract.schema import Contract
from ml.data.target import Target
from ml.errors import UsageError
from ml.estimator import Candidate
from ml.evaluation.evaluator import Evaluator
from ml.evaluation.quality_gate import QualityThresholds
from tasks.split import SplitFunction
from tasks.train import FinalFitPolicy

# LightGBM takes seeds below 2^31, and folds and repeats add to the seed of a run.
MAX_SEED = 2_000_000_000
# Kinds of targets as messages call them.
TARGET_KINDS: Mapping[Target, str] = {
    "binary": "with two classes (positive or above)",
    "multiclass": "with labels",
    "numeric": "that is a number",
}


@dataclass(frozen=True)
class Nouns:
    """What reports call the cases of a use case, and those of the positive class."""

    cases: str = "cases"
    positives: str = "positive cases"


@dataclass(frozen=True)
class TargetMethods:
    """How a use case answers for one kind of target; candidates are ordered from simple to complex."""

    candidates: Mapping[str, Candidate]
    evaluator: Evaluator
    thresholds: QualityThresholds


@dataclass(frozen=True)
class UseCase:
    """A question and how it is answered.

    Candidates are ordered from simple to complex; the first is the baseline. `other_targets` replaces candidates,
    evaluator and thresholds where the target of the contract is of another kind. `reads_texts`: the candidates read
    columns with texts themselves; for others a few numbers replace each of these columns. `time_budget` is the default
    number of processor seconds per thread for training all candidates of one run.
    """

    name: str
    question: str
    split: SplitFunction
    candidates: Mapping[str, Candidate]
    evaluator: Evaluator
    thresholds: QualityThresholds
    final_fit: FinalFitPolicy = FinalFitPolicy.KEEP_SELECTED
    time_budget: float = 120.0
    nouns: Nouns = Nouns()
    other_targets: Mapping[Target, TargetMethods] = field(default_factory=dict)
    reads_texts: bool = False

    def for_contract(self, contract: Contract) -> Self:
        """Return the use case with the methods for the target of a contract, and with the words of the contract.

        Raises UsageError for a target that the use case has no methods for.
        """
        wording = contract.wording
        return replace(
            self._for_target(contract),
            question=wording.question or self.question,
            nouns=Nouns(wording.cases or self.nouns.cases, wording.positives or self.nouns.positives),
        )

    def _for_target(self, contract: Contract) -> Self:
        kind, own = contract.roles.target_kind, self.evaluator.target
        if kind in (None, own) or own is None:
            return self
        if methods := self.other_targets.get(kind):
            return replace(
                self,
                candidates=methods.candidates,
                evaluator=methods.evaluator,
                thresholds=methods.thresholds,
            )
        answered = (own, *self.other_targets)
        raise UsageError(
            f"a target of {self.name} {' or '.join(TARGET_KINDS[each] for each in answered)}",
            f"one {TARGET_KINDS[kind]} in {contract.name}",
            "correct meta.roles.target, or use the data in another use case",
        )


@dataclass(frozen=True)
class RunParameters:
    """The parameters of one run. The descriptions and limits appear in Prefect's form."""

    data: Annotated[
        str | list[str],
        Field(
            min_length=1,
            description="A data set that has a contract; the path of a file, a folder or a wildcard, or several; or"
            " the address of a database.",
        ),
    ] = "simulated"
    contract: Annotated[
        str | None, Field(description="Name or file of the contract; by default the one named as the data.")
    ] = None
    seed: Annotated[
        int,
        Field(ge=0, le=MAX_SEED, description="Random seed of training. The test rows do not depend on it."),
    ] = 0
    time_budget: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Processor seconds per thread for training all candidates.",
        ),
    ] = 120.0
    trials: Annotated[
        int,
        Field(
            ge=0,
            description="Trials of hyperparameter tuning, for candidates that support it, as time allows.",
        ),
    ] = 0
    fresh: Annotated[bool, Field(description="Compute everything again instead of using cached results.")] = (
        False
    )
    as_of: Annotated[
        datetime | None, Field(description="Leave out rows after this instant (UTC), as if it were then.")
    ] = None
    only_new_data: Annotated[
        bool, Field(description="End at once when data, contract and code are those of the last decision.")
    ] = False
    query: Annotated[
        str | None, Field(description="SELECT that reads the rows, where the data are in a database.")
    ] = None
    accept_drift: Annotated[
        str | None,
        Field(
            description="Reason to accept a batch although it differs severely from the last accepted one."
        ),
    ] = None
