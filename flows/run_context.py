"""What the steps of one run share, and the steps that training and reproduction have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from prefect import Task

from flows.use_case import RunParameters, UseCase
from ml.contract.schema import Contract
from ml.estimator import Candidate, FitResources
from ml.evaluation.cross_fit import can_cross_fit
from ml.package import Package
from tasks.data_access.locate import DatasetSource
from tasks.drift import SUMMARY_FILE
from tasks.evaluate import FinalFit, load_fitted_model
from tasks.features import compute_features, fitted_features, replaced_texts
from tasks.settings import Settings
from tasks.split import split
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import TRAIN_VALID, load_dataset
from tasks.train import FinalFitPolicy, refit
from tasks.validate import validate


class StageListener(Protocol):
    """Receives the result of every stage that has ended."""

    def stage_completed(self, name: str, result: StoredResult) -> None:
        """Handle the result of a stage, such as "split" or "train LightGBM"."""
        ...


Listener = TypeVar("Listener", bound=StageListener, covariant=True)


@dataclass(frozen=True)
class RunContext(Generic[Listener]):
    """What every step of one run shares, and nothing that a step produces.

    Stages run as Prefect tasks, or as plain functions where `as_tasks` is false.
    """

    case: UseCase
    params: RunParameters
    source: DatasetSource
    settings: Settings
    store: Store
    listener: Listener
    as_tasks: bool = True

    @property
    def contract(self) -> Contract:
        """The contract of the data set."""
        return self.source.contract

    def fit_resources(self, seconds: float = float("inf"), trials: int | None = None) -> FitResources:
        """Return the resources of one fit; `trials` defaults to the run's parameter."""
        params, settings = self.params, self.settings
        count = params.trials if trials is None else trials
        return FitResources(params.seed, settings.threads, seconds, count, settings.device)

    def run_stage(self, name: str, stage: Task[..., StoredResult], *arguments: Any) -> StoredResult:
        """Run a stage on the run's store and report its result to the listener. Raises the errors of its gate."""
        result: StoredResult = self.plain(stage)(*arguments, self.store)
        self.listener.stage_completed(name, result)
        return result

    def plain(self, stage: Task[..., Any]) -> Callable[..., Any]:
        """Return the stage itself, or its function where stages do not run as Prefect tasks."""
        return stage if self.as_tasks else stage.fn


def validate_batch(context: RunContext[Listener], raw: StoredResult) -> StoredResult:
    """Apply the contract gate; return the clean rows. Raises DataGateError."""
    return context.run_stage("validate", validate, raw, context.contract, context.params.as_of)


def split_batch(context: RunContext[Listener], clean: StoredResult) -> StoredResult:
    """Apply the leakage gate; return the datasets of the split. Raises LeakageError."""
    now = datetime.now(UTC)
    return context.run_stage("split", split, clean, context.contract, context.case.split, now)


def prepare_features(context: RunContext[Listener], splits: StoredResult) -> StoredResult:
    """Return the datasets as models see them: those of the split where no feature is computed. Raises FeatureError."""
    texts = replaced_texts(context.contract, context.case.reads_texts)
    if not texts and not context.contract.declared_features:
        return splits
    return context.run_stage("features", compute_features, splits, context.contract, texts)


def rows_to_fit(context: RunContext[Listener], datasets: StoredResult) -> str:
    """Return the dataset that candidates are fitted to: `train_valid` where they are compared out of fold.

    That is so on small tables with two classes or numbers. Those that are divided by time, or by values of a column
    that may mean time, are not: folds would mix past and future.
    """
    policy = context.contract.split
    is_ordered = policy.by == "time" or policy.valid_values or TRAIN_VALID in datasets.table_names
    if context.case.reads_texts or is_ordered:
        return "train"
    return TRAIN_VALID if can_cross_fit(load_dataset(datasets, TRAIN_VALID)) else "train"


def final_model(
    context: RunContext[Listener], name: str, candidate: Candidate, fitted: StoredResult, splits: StoredResult
) -> StoredResult:
    """Return the fit to evaluate on the test split, fitted again where the use case says so."""
    if context.case.final_fit is FinalFitPolicy.KEEP_SELECTED:
        return fitted
    result: StoredResult = context.plain(refit)(
        name, candidate, splits, context.fit_resources(), context.store
    )
    if result.digest != fitted.digest:
        context.listener.stage_completed(f"refit {name}", result)
    return result


def build_package(
    context: RunContext[Listener], final: FinalFit, datasets: StoredResult, summary: StoredResult | None
) -> Package:
    """Combine model, contract, decision rule, training entities as hashes, summary of the batch, and fitted features.

    `datasets` are those of `prepare_features`.
    """
    names = [name for name in ("train", "valid", "train_valid") if name in datasets.table_names]
    keys = [context.case.evaluator.training_keys(load_dataset(datasets, name)) for name in names]
    entities = np.unique(np.concatenate(keys))
    decision: Mapping[str, float] = final.decision
    reference = summary.file(SUMMARY_FILE) if summary else b""
    return Package(
        load_fitted_model(final.model),
        context.contract.source,
        decision,
        entities,
        reference,
        fitted_features(datasets),
    )
