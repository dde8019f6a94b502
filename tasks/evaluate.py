"""Evaluate: select the leader on the validation dataset, and estimate the final model's quality on the test dataset."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import Dataset, rarer_class_units
from ml.estimator import Model
from ml.evaluation.binary_metrics import confusion_counts
from ml.evaluation.confidence_intervals import Interval
from ml.evaluation.evaluator import Decision, Evaluator
from ml.evaluation.simulated_optimum import align_oracle, share_of_optimum
from ml.evaluation.subgroups import subgroup_metrics
from ml.explanations.item_titles import example_titles
from ml.explanations.shapes import rank_correlations, shape_curves
from ml.serialization import load_model
from ml.tabular.additive import AdditiveModel
from tasks import activity
from tasks.error_boundary import redact_errors
from tasks.facts import Comparison, Estimate, EvaluationFacts, LeaderboardEntry
from tasks.storage.content_store import StoredResult
from tasks.stored_datasets import load_dataset

# The share of runs in which a candidate may lead by chance alone.
FAMILY_ERROR_RATE = 0.05


@dataclass(frozen=True)
class FinalFit:
    """The selected candidate as it is evaluated on test: its final fit, the baseline's, and the decision rule."""

    candidate: str
    model: StoredResult
    baseline: StoredResult
    decision: Decision


def load_fitted_model(fitted: StoredResult) -> Model:
    """Load the model that a fit stored."""
    return load_model(fitted.facts["model"], fitted.files())


def select_leader(
    predictions: Mapping[str, pd.DataFrame], valid: Dataset, evaluator: Evaluator
) -> tuple[str, dict[str, Comparison]]:
    """Return the leading candidate, and for each candidate but the first its comparison with the leader at that time.

    Candidates are compared in the order of `predictions`. One takes the lead only if the paired interval of its
    advantage over the leader is above 0: the simplest that nothing beats leads. The level of each comparison is at
    least 95 % and such that in at most 5 % of runs any candidate leads by chance (Bonferroni; only the lower limit of
    an interval can make a leader).
    """
    level = max(1.0 - FAMILY_ERROR_RATE, 1.0 - 2.0 * FAMILY_ERROR_RATE / max(len(predictions) - 1, 1))
    leader, *others = predictions
    comparisons: dict[str, Comparison] = {}
    for name in others:
        difference = evaluator.paired_difference(valid, predictions[name], predictions[leader], level)
        comparisons[name] = {
            "candidate": leader,
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
            "p_value": difference.p_value,
            "level": level,
        }
        leader = name if difference.low > 0 else leader
    return leader, comparisons


@task(name="build leaderboard", cache_policy=NO_CACHE)
@redact_errors
def build_leaderboard(
    fitted: Mapping[str, StoredResult], splits: StoredResult, evaluator: Evaluator
) -> list[LeaderboardEntry]:
    """Evaluate the candidates on the validation dataset, in their order, and mark the leader.

    `milliseconds_per_1000` is processor time for 1,000 rows.
    """
    activity.begin("leaderboard")
    valid = load_dataset(splits, "valid")
    entries: list[LeaderboardEntry] = []
    predictions: dict[str, pd.DataFrame] = {}
    for name, stored in fitted.items():
        model = load_fitted_model(stored)
        started = time.process_time()
        predictions[name] = model.predict(valid.frame)
        milliseconds = 1000 * (time.process_time() - started)
        decision = evaluator.decision(valid, predictions[name])
        estimate = evaluator.primary_interval(valid, predictions[name])
        entry: LeaderboardEntry = {
            "candidate": name,
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "metrics": evaluator.metrics(valid, predictions[name], decision),
            "decision": dict(decision),
            "seconds": stored.facts["seconds"],
            "stopped_by": stored.facts["stopped_by"],
            "composition": stored.facts["composition"],
            "megabytes": stored.size_bytes / 1e6,
            "milliseconds_per_1000": 1000 * milliseconds / len(valid.frame),
            "reused": stored.reused,
            "leads": False,
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
    return entries


@task(name="evaluate", cache_policy=NO_CACHE)
@redact_errors
def evaluate_on_test(
    final: FinalFit,
    splits: StoredResult,
    raw: StoredResult,
    evaluator: Evaluator,
    sensitive: tuple[str, ...],
    seed: int,
) -> EvaluationFacts:
    """Evaluate the final model and the baseline on the test dataset, which was used neither to fit nor to select.

    `raw` is the result of the source stage: it may have the true probabilities, and titles of items.
    """
    activity.begin("evaluation on the test split")
    test, model = load_dataset(splits, "test"), load_fitted_model(final.model)
    prediction = model.predict(test.frame)
    estimate = evaluator.primary_interval(test, prediction)
    metrics = evaluator.metrics(test, prediction, final.decision)
    intervals = evaluator.metric_intervals(test, prediction, final.decision, seed)
    baseline_prediction = load_fitted_model(final.baseline).predict(test.frame)
    evaluation: EvaluationFacts = {
        "rows": len(test.frame),
        "primary": evaluator.primary,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "metrics": metrics,
        "intervals": {name: to_estimate(interval) for name, interval in intervals.items()},
        "curves": evaluator.curves(test, prediction),
        "groups": subgroup_metrics(test, prediction, evaluator, final.decision, sensitive),
        "importance": dict(final.model.facts["importance"]),
        "baseline": to_estimate(evaluator.primary_interval(test, baseline_prediction)),
    }
    if (rarer := rarer_class_units(test)) is not None:
        evaluation["rarer_class"] = rarer
    if "threshold" in final.decision:
        truth, probability = test.truth.to_numpy(), prediction["probability"].to_numpy()
        evaluation["confusion"] = confusion_counts(truth, probability, final.decision["threshold"])
    if evaluation["importance"] and not test.classes:
        evaluation["rank_correlations"] = rank_correlations(test.frame, prediction.iloc[:, 0])
    if data_diagnostics := evaluator.data_diagnostics(test):
        evaluation["data_diagnostics"] = data_diagnostics
    if user_examples := evaluator.user_examples(test, prediction, model):
        evaluation["user_examples"] = user_examples
        if "titles" in raw.table_names:
            evaluation["item_titles"] = example_titles(user_examples, raw.table("titles"))
    if "oracle" in raw.table_names:
        optimum = evaluator.primary_interval(test, align_oracle(raw.table("oracle"), test)).value
        evaluation["simulated_optimum"] = optimum
        evaluation["share_of_optimum"] = share_of_optimum(
            metrics[evaluator.primary], evaluator.chance_level, optimum
        )
    return evaluation


def to_estimate(interval: Interval) -> Estimate:
    """Return value and limits of an interval as facts."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}
