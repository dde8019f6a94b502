"""Evaluate: select the leader on the rows that no candidate was fitted to, and estimate the final model's quality on
the test dataset.

Both are stages whose results are stored: the same models, rows and settings are evaluated once.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import rarer_class_units
from ml.data.row_split import OUT_OF_SCOPE_TEST, OUT_OF_SCOPE_VALID
from ml.estimator import Model
from ml.evaluation.answers import rejection_metrics
from ml.evaluation.binary_metrics import confusion_counts
from ml.evaluation.confidence_intervals import Interval
from ml.evaluation.evaluator import Decision, Evaluator
from ml.evaluation.multiclass_evaluator import class_probabilities
from ml.evaluation.simulated_optimum import align_oracle, share_of_optimum
from ml.evaluation.subgroup_tests import describe_not_evaluated
from ml.evaluation.subgroups import subgroup_metrics
from ml.explanations.item_titles import example_titles
from ml.explanations.shapes import rank_correlations, shape_curves
from ml.serialization import class_name, load_model
from ml.tabular.additive import AdditiveModel
from tasks.error_boundary import redact_errors
from tasks.facts import Estimate, EvaluationFacts, LeaderboardEntry
from tasks.selection import reason_to_leave_out, select_leader
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.stored_datasets import TRAIN_VALID, load_dataset, stored_settings

CODE = (
    "tasks/evaluate.py",
    "tasks/selection.py",
    "tasks/error_boundary.py",
    "tasks/stored_datasets.py",
    "ml",
)
# Those that models predict with and that metrics are computed with.
LIBRARIES = (
    "lightgbm", "scikit-learn", "implicit", "torch", "transformers", "tokenizers", "numpy", "scipy", "pandas"
)  # fmt: skip
LEADERBOARD_FILE, EVALUATION_FILE = "leaderboard.json", "evaluation.json"


@dataclass(frozen=True)
class FinalFit:
    """The selected candidate as it is evaluated on test: its final fit, the baseline's, and the decision rule.

    Where it was selected out of fold, it was fitted to train and valid.
    """

    candidate: str
    model: StoredResult
    baseline: StoredResult
    decision: Decision
    is_out_of_fold: bool = False


@dataclass(frozen=True)
class EvaluationSettings:
    """How a run evaluates: its evaluator, the sensitive columns, and the seed of bootstrap resampling."""

    evaluator: Evaluator
    sensitive: tuple[str, ...] = ()
    seed: int = 0


def load_fitted_model(fitted: StoredResult) -> Model:
    """Load the model that a fit stored."""
    return load_model(fitted.facts["model"], fitted.files())


@task(name="build leaderboard", cache_policy=NO_CACHE)
@redact_errors
def build_leaderboard(
    fitted: Mapping[str, StoredResult],
    predicted: Mapping[str, StoredResult],
    splits: StoredResult,
    evaluator: Evaluator,
    store: Store,
) -> StoredResult:
    """Store the evaluation of the candidates, in their order, with the leader marked; `leaderboard_entries` reads it.

    It is that of the validation dataset or, where `predicted` has the out-of-fold predictions of each candidate, of the
    rows of train and valid. Facts are the processor time of predictions and `left_out`, the reasons by name for those
    after the first that predict the same for every row.
    """
    key = key_of(
        "leaderboard",
        CODE,
        LIBRARIES,
        fits=[[name, *_fit_inputs(fit)] for name, fit in fitted.items()],
        predicted=[[name, result.digest] for name, result in predicted.items()],
        splits=splits.digest,
        **stored_settings(splits),
        evaluator=_evaluator_inputs(evaluator),
    )
    return store.get_or_compute(
        key, lambda: _build_leaderboard(fitted, predicted, splits, evaluator), "leaderboard"
    )


def _build_leaderboard(
    fitted: Mapping[str, StoredResult],
    predicted: Mapping[str, StoredResult],
    splits: StoredResult,
    evaluator: Evaluator,
) -> StageResult:
    began = time.perf_counter()
    # The rows that candidates are compared on.
    valid = load_dataset(splits, TRAIN_VALID if predicted else "valid")
    has_rows_of_none = OUT_OF_SCOPE_VALID in splits.table_names
    of_none = load_dataset(splits, OUT_OF_SCOPE_VALID) if has_rows_of_none else None
    entries: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    predictions: dict[str, pd.DataFrame] = {}
    milliseconds: dict[str, float] = {}
    for name, stored in fitted.items():
        model = load_fitted_model(stored)
        started = time.process_time()
        prediction = model.predict(valid.frame)
        milliseconds[name] = 1000 * (time.process_time() - started)
        constant_folds = name in predicted and predicted[name].facts["is_constant"]
        # The first is the baseline, which may be a constant.
        if entries and (reason := reason_to_leave_out(prediction, constant_folds)):
            left_out[name] = reason
            continue
        predictions[name] = prediction
        if predicted:
            predictions[name] = predicted[name].table("predictions")
        prediction_of_none = model.predict(of_none.frame) if of_none else None
        decision = evaluator.decision(valid, predictions[name], prediction_of_none)
        entry: dict[str, Any] = {
            "candidate": name,
            **to_estimate(evaluator.primary_interval(valid, predictions[name])),
            "metrics": evaluator.metrics(valid, predictions[name], decision),
            "decision": dict(decision),
            "out_of_fold": bool(predicted),
        }
        if isinstance(model, AdditiveModel):
            by_importance = pd.Series(stored.facts["importance"]).sort_values(ascending=False)
            entry["shapes"] = shape_curves(model.shape_functions(), valid.frame, by_importance.index)
        entries.append(entry)
    leader, comparisons = select_leader(predictions, valid, evaluator)
    for entry in entries:
        entry["leads"] = entry["candidate"] == leader
        if entry["candidate"] in comparisons:
            entry["compared_with"] = comparisons[entry["candidate"]]
    facts = {
        "left_out": left_out,
        "milliseconds_per_1000": {name: 1000 * m / len(valid.frame) for name, m in milliseconds.items()},
        "seconds": time.perf_counter() - began,
    }
    return StageResult({}, facts, {LEADERBOARD_FILE: _to_json(entries)})


def leaderboard_entries(stored: StoredResult, fitted: Mapping[str, StoredResult]) -> list[LeaderboardEntry]:
    """Return the entries of a stored leaderboard with what this run knows of each fit.

    `reused` is about the fit. `milliseconds_per_1000` is processor time for 1,000 rows, measured when the leaderboard
    was computed.
    """
    entries: list[LeaderboardEntry] = []
    for entry in json.loads(stored.file(LEADERBOARD_FILE)):
        fit = fitted[entry["candidate"]]
        entry |= {name: fit.facts[name] for name in ("seconds", "stopped_by", "composition")}
        entry["megabytes"] = fit.size_bytes / 1e6
        entry["milliseconds_per_1000"] = stored.facts["milliseconds_per_1000"][entry["candidate"]]
        entry["reused"] = fit.reused
        entries.append(entry)
    return entries


@task(name="evaluate", cache_policy=NO_CACHE)
@redact_errors
def evaluate_on_test(
    final: FinalFit, splits: StoredResult, raw: StoredResult, settings: EvaluationSettings, store: Store
) -> StoredResult:
    """Store the evaluation of the final model and the baseline on the test dataset.

    It was used neither to fit nor to select. `raw` is the result of the source stage: it may have the true
    probabilities, and titles of items. `evaluation_facts` reads the result.
    """
    key = key_of(
        "evaluate",
        CODE,
        LIBRARIES,
        model=_fit_inputs(final.model),
        baseline=_fit_inputs(final.baseline),
        decision=dict(final.decision),
        splits=splits.digest,
        **stored_settings(splits),
        raw=raw.digest,
        evaluator=_evaluator_inputs(settings.evaluator),
        sensitive=settings.sensitive,
        seed=settings.seed,
    )

    def compute() -> StageResult:
        started = time.perf_counter()
        data = _to_json(_evaluate_on_test(final, splits, raw, settings))
        return StageResult({}, {"seconds": time.perf_counter() - started}, {EVALUATION_FILE: data})

    return store.get_or_compute(key, compute, "evaluation on the test split")


def evaluation_facts(stored: StoredResult) -> EvaluationFacts:
    """Return a stored evaluation on the test dataset."""
    facts: EvaluationFacts = json.loads(stored.file(EVALUATION_FILE))
    return facts


def _evaluate_on_test(
    final: FinalFit, splits: StoredResult, raw: StoredResult, settings: EvaluationSettings
) -> EvaluationFacts:
    evaluator = settings.evaluator
    test, model = load_dataset(splits, "test"), load_fitted_model(final.model)
    prediction = model.predict(test.frame)
    estimate = evaluator.primary_interval(test, prediction)
    metrics = evaluator.metrics(test, prediction, final.decision)
    intervals = evaluator.metric_intervals(test, prediction, final.decision, settings.seed)
    baseline_prediction = load_fitted_model(final.baseline).predict(test.frame)
    sensitive = settings.sensitive
    groups = subgroup_metrics(test, prediction, evaluator, final.decision, sensitive, baseline_prediction)
    evaluation: EvaluationFacts = {
        "rows": len(test.frame),
        "primary": evaluator.primary,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "metrics": metrics,
        "intervals": {name: to_estimate(interval) for name, interval in intervals.items()},
        "curves": evaluator.curves(test, prediction),
        "groups": groups,
        "groups_note": describe_not_evaluated(groups),
        "importance": dict(final.model.facts["importance"]),
        "baseline": to_estimate(evaluator.primary_interval(test, baseline_prediction)),
    }
    if (rarer := rarer_class_units(test)) is not None:
        evaluation["rarer_class"] = rarer
    if "threshold" in final.decision:
        truth, probability = test.truth.to_numpy(), prediction["probability"].to_numpy()
        evaluation["confusion"] = confusion_counts(truth, probability, final.decision["threshold"])
    if OUT_OF_SCOPE_TEST in splits.table_names:
        of_none = model.predict(load_dataset(splits, OUT_OF_SCOPE_TEST).frame)
        evaluation["out_of_scope"] = rejection_metrics(
            class_probabilities(prediction, test.classes),
            class_probabilities(of_none, test.classes),
            final.decision["min_probability"],
        )
    if evaluation["importance"] and not test.classes:
        evaluation["rank_correlations"] = rank_correlations(test.frame, prediction.iloc[:, 0])
    if data_diagnostics := evaluator.data_diagnostics(test):
        evaluation["data_diagnostics"] = data_diagnostics
    if user_examples := evaluator.user_examples(test, prediction, model):
        evaluation["user_examples"] = user_examples
        if "titles" in raw.table_names:
            evaluation["item_titles"] = example_titles(user_examples, raw.table("titles"))
    if evaluator.group_metric != evaluator.primary:
        evaluation["group_metric"] = evaluator.group_metric
    if "oracle" in raw.table_names and evaluator.chance_level is not None:
        optimum = evaluator.primary_interval(test, align_oracle(raw.table("oracle"), test)).value
        evaluation["simulated_optimum"] = optimum
        evaluation["share_of_optimum"] = share_of_optimum(
            metrics[evaluator.primary], evaluator.chance_level, optimum
        )
    return evaluation


def _fit_inputs(fit: StoredResult) -> list[Any]:
    """Return what an evaluation depends on of a fit: its files, and those of its facts that no file has."""
    return [fit.digest, fit.facts["model"], fit.facts["importance"]]


def _evaluator_inputs(evaluator: Any) -> list[Any]:
    return [class_name(evaluator), asdict(evaluator)]


def _to_json(value: Any) -> bytes:
    """Write facts as JSON; numbers of NumPy become plain numbers."""
    return json.dumps(value, indent=1, default=np.generic.item).encode()


def to_estimate(interval: Interval) -> Estimate:
    """Return value and limits of an interval as facts."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}
