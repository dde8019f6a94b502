"""Register the challenger, compare it with the champion on the same test rows, and move the champion alias."""

import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flows.comparison import Circumstances, Contender, compare, one_by_one
from flows.housekeeping.ledgers import open_ledger
from flows.recording.outcome import RunOutcome
from flows.recording.registered_model import log_comparison, log_registered_model
from flows.recording.run_facts import NOT_MEASURED, ChampionSummary
from flows.recording.run_recorder import RunRecorder
from flows.run_context import RunContext, build_package
from ml.data.digest import json_digest
from ml.errors import PackagingError
from ml.evaluation.looks import sketch_rows
from ml.package import Package, read_training_entities
from tasks import activity, packaging
from tasks import promote as promotion
from tasks.clean_process import predict_tables
from tasks.decisions import AliasMovedError, commit_verdict, earlier_looks, start_ledger
from tasks.evaluate import FinalFit, load_fitted_model, to_estimate
from tasks.facts import ChampionEstimate, EvaluationFacts
from tasks.ledger import (
    CHAMPION_UNUSABLE,
    KEEP_CHAMPION,
    PROMOTE,
    ROLLBACK,
    Ledger,
    Verdict,
    find_proven_digests,
    proven_digests,
)
from tasks.ledger_chain import Entry
from tasks.metric_descriptions import format_estimate
from tasks.storage.content_store import StoredResult
from tasks.stored_datasets import load_dataset
from tasks.tracking import registry
from tasks.tracking.model_folder import PACKAGE_PATH, ModelDigests
from tasks.tracking.registry import ModelVersion
from tasks.train import FinalFitPolicy

TrainingContext = RunContext[RunRecorder]


@dataclass(frozen=True)
class Challenger:
    """A registered version with the package that it was registered from, and its evaluation on the test split.

    `selected_by` is the sketch of the validation rows; empty where the model was fitted to them.
    """

    version: ModelVersion
    package: Package
    evaluation: EvaluationFacts
    baseline: StoredResult
    recipe: str
    selected_by: str

    @property
    def estimate(self) -> ChampionEstimate:
        """The primary metric on all test rows, should this version be the champion."""
        evaluation = self.evaluation
        return {
            "value": evaluation["value"],
            "low": evaluation["low"],
            "high": evaluation["high"],
            "rows": evaluation["rows"],
            "baseline": evaluation["baseline"],
        }


@dataclass(frozen=True)
class ChampionComparison:
    """The verdict about a challenger, the champion's estimate on the rows compared on, and the sketch of these rows."""

    verdict: Verdict
    estimate: ChampionEstimate
    rows: str


def register(
    context: TrainingContext,
    final: FinalFit,
    evaluation: EvaluationFacts,
    splits: StoredResult,
    datasets: StoredResult,
    summary: StoredResult,
) -> Challenger:
    """Pass the packaging gate and the quality gate, then register a version. Raises QualityGateError.

    `datasets` are those of the split as models see them: the packaging gate computes them again from the split.
    """
    recorder, case = context.listener, context.case
    package = build_package(context, final, datasets, summary)
    test = load_dataset(splits, "test")
    with tempfile.TemporaryDirectory() as scratch:
        activity.begin("packaging gate")
        packaged = packaging.package_model(package, test, Path(scratch) / "model", context.store)
        recorder.log_package(packaged)
        checks = promotion.quality_gate(
            case.thresholds, evaluation, packaged.megabytes, packaged.latency.ratio
        )
        recorder.log_quality_checks(checks)
        activity.begin("registration in MLflow")
        tags = {
            "candidate": final.candidate,
            "data_digest": recorder.digest("source"),
            "seed": str(context.params.seed),
            "data": context.source.data,
            "metric": format_estimate(evaluation["primary"], evaluation),
        }
        version = registry.register(
            recorder.client, context.contract.name, recorder.run_id, packaged, tags, case.question
        )
    log_registered_model(recorder.mlflow_run, version, final, recorder.facts)
    start_ledger(*open_ledger(context.settings, recorder.client, version.name))
    is_fitted_to_valid = final.is_out_of_fold or case.final_fit is not FinalFitPolicy.KEEP_SELECTED
    selected_by = "" if is_fitted_to_valid else sketch_rows(load_dataset(splits, "valid"))
    recipe = _recipe_digest(context, final)
    return Challenger(version, package, evaluation, final.baseline, recipe, selected_by)


def _recipe_digest(context: TrainingContext, final: FinalFit) -> str:
    """Digest what the model is made by: candidate, hyperparameters, columns and code, without data and seed."""
    contract = context.contract
    recipe = {
        "candidate": final.model.facts["parameters"],
        "columns": list(contract.inputs),
        "features": str(contract.declared_features),
        "code": context.listener.facts["code"]["digests"]["ml"],
    }
    return json_digest(recipe)


def promote(context: TrainingContext, challenger: Challenger, splits: StoredResult) -> RunOutcome:
    """Decide about the challenger, and decide again if another run moved the alias in between. Raises LedgerError."""
    activity.begin("decision about the champion")
    recorder, name = context.listener, context.contract.name
    client, version = recorder.client, challenger.version
    ledger, record = open_ledger(context.settings, client, name)
    details = {
        "model_digest": version.digest,
        "artifact_digest": _verified_digests(context, version).file_list,
        "test_digest": splits.digest,
        "run_id": recorder.run_id,
        "primary": challenger.evaluation["primary"],
        "value": challenger.evaluation["value"],
        "selected_by": challenger.selected_by,
        **recorder.accepted_drift,
    }
    while True:
        champion = registry.get_champion(client, name)
        compared = compare_with_champion(context, challenger, champion, splits)
        verdict, expected = compared.verdict, champion.number if champion else None
        judged = {**details, "rows": compared.rows, "recipe": challenger.recipe}
        with suppress(AliasMovedError):
            entry, is_new = commit_verdict(ledger, record, verdict, version.number, expected, judged)
            break
    if not is_new and entry["champion"] is not None:
        reason = _earlier_decision(ledger, entry)
        earlier = {name: entry.get(name) for name in ("difference", "look", "validation")}
        verdict = replace(verdict, verdict=KEEP_CHAMPION, reason=reason, loss=None, groups=None, **earlier)
    log_comparison(recorder.mlflow_run, verdict)
    champion = registry.get_champion(client, name)
    number = champion.number if champion else None
    # Of the champion after the decision, which is neither of the two where another process moved the alias meanwhile.
    estimates = {expected: compared.estimate, version.number: challenger.estimate}
    candidate = champion.tags.get("candidate", "") if champion else ""
    summary = ChampionSummary(number, candidate, estimates.get(number, NOT_MEASURED))
    return recorder.log_verdict(verdict, version, summary, entry)


def _earlier_decision(ledger: Ledger, decision: Entry) -> str:
    """Describe an earlier decision about this model, and the rollback that has undone it since, if any."""
    reason = f"already decided about this model on the same test rows (ledger entry {decision['line']})"
    later = [entry for entry in ledger.entries() if entry["line"] > decision["line"]]
    for entry in reversed(later):
        if entry["verdict"] == ROLLBACK and entry["before"] == decision["version"]:
            return f"{reason}, and rolled back since (entry {entry['line']}): {entry['reason']}"
    return reason


def _verified_digests(context: TrainingContext, version: ModelVersion) -> ModelDigests:
    """Return the digests that the ledger has of a version; for its first decision, those of its verified folder.

    Raises PackagingError where the registered folder is not what was registered.
    """
    client = context.listener.client
    opened = open_ledger(context.settings, client, version.name)
    recorded = find_proven_digests(*opened, version.number)
    if recorded is None:
        with registry.verified_copy(client, version, version.digests):
            return version.digests
    return recorded


def compare_with_champion(
    context: TrainingContext, challenger: Challenger, champion: ModelVersion | None, splits: StoredResult
) -> ChampionComparison:
    """Decide about the challenger, at the level that earlier looks and the lead on validation rows leave.

    The champion predicts with its own code in a clean process, on rows that it was not trained on. The baseline is
    evaluated on the same rows.
    """
    evaluator, test = context.case.evaluator, load_dataset(splits, "test")
    if champion is None:
        verdict = Verdict(PROMOTE, "the first champion: there is none to compare with")
        return ChampionComparison(verdict, NOT_MEASURED, sketch_rows(test))
    if champion.digest == challenger.version.digest:
        verdict = Verdict(KEEP_CHAMPION, "this model is already the champion")
        return ChampionComparison(verdict, challenger.estimate, sketch_rows(test))
    activity.begin("comparison with the champion")
    ledger, record = open_ledger(context.settings, context.listener.client, champion.name)
    selected_by = _selected_by(ledger, champion.number)
    circumstances = Circumstances(
        challenger.recipe,
        earlier_looks(ledger.entries(), champion.number),
        context.contract.roles.sensitive,
        context.case.thresholds.max_subgroup_gap,
    )
    ours = Contender(one_by_one(challenger.package.predict), challenger.selected_by)
    try:
        digests = proven_digests(ledger, record, champion.number)
        with registry.verified_copy(context.listener.client, champion, digests) as folder:
            entities = read_training_entities(folder / PACKAGE_PATH, digests.package)
            theirs = Contender(lambda frames: predict_tables(folder, frames)[0], selected_by)
            compared = compare(
                evaluator, (test, load_dataset(splits, "valid")), ours, theirs, entities, circumstances
            )
    except PackagingError as error:
        reason = f"the champion cannot predict on this table: {error}"
        verdict = Verdict(CHAMPION_UNUSABLE, reason)
        return ChampionComparison(verdict, NOT_MEASURED, sketch_rows(test))
    if compared.champion is None:
        return ChampionComparison(compared.verdict, NOT_MEASURED, compared.rows)
    baseline, shared = challenger.evaluation["baseline"], compared.shared
    if len(shared.frame) < len(test.frame):
        prediction = load_fitted_model(challenger.baseline).predict(
            challenger.package.model_frame(shared.frame)
        )
        baseline = to_estimate(evaluator.primary_interval(shared, prediction))
    estimate = to_estimate(evaluator.primary_interval(shared, compared.champion))
    measured: ChampionEstimate = {**estimate, "rows": len(shared.frame), "baseline": baseline}
    return ChampionComparison(compared.verdict, measured, compared.rows)


def _selected_by(ledger: Ledger, version: int) -> str:
    """Return the sketch of the validation rows that a version was selected by, and not fitted to; empty if unknown."""
    found = [
        entry["selected_by"]
        for entry in ledger.entries()
        if entry.get("version") == version and "selected_by" in entry
    ]
    return str(found[0]) if found else ""
