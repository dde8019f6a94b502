"""Record one run: its facts, from which MLflow, Prefect, the report and the outcome are all made."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from flows.recording import code_version, notifications, pages, prefect_run
from flows.recording.candidate_runs import log_candidates
from flows.recording.endings import REJECTED, describe_ending
from flows.recording.model_page import describe_model
from flows.recording.outcome import RunOutcome
from flows.recording.registered_model import evaluation_tags, test_metrics
from flows.recording.report_address import REPORT, report_address
from flows.recording.run_facts import (
    ChampionSummary,
    initial_facts,
    initial_tags,
    outcome_verdict,
    run_outcome,
    stage_entry,
    stage_summary,
    time_budget_facts,
)
from flows.use_case import RunParameters, UseCase
from ml.errors import StewardError
from tasks.data_access.locate import DatasetSource
from tasks.data_facts import DriftFacts
from tasks.drift import drift_summary, require_no_damage
from tasks.facts import EvaluationFacts, LeaderboardEntry, RunFacts
from tasks.fit_plan import PlannedFit
from tasks.ledger import Ledger, Verdict
from tasks.locks.run_lock import LOCK_TAG, RunLock
from tasks.metric_descriptions import format_estimate
from tasks.reporting import report
from tasks.settings import Settings
from tasks.storage.content_store import StoredResult, log_damage
from tasks.tracking import connection, registry
from tasks.tracking.logged_model import PackagedModel
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run import MlflowRun, describe_experiment, start_run
from tasks.tracking.run_history import FACTS_DIGEST_TAG, FACTS_FILE

log = logging.getLogger("steward")
UNCHANGED = "unchanged"


@dataclass
class RunRecorder:
    """Collects the facts of one run stage by stage. As a context manager it sets the final status in MLflow."""

    settings: Settings
    mlflow_run: MlflowRun
    facts: RunFacts
    started: float
    lock: RunLock

    @classmethod
    def start(
        cls,
        client: connection.Client,
        settings: Settings,
        case: UseCase,
        params: RunParameters,
        source: DatasetSource,
        lock: RunLock,
    ) -> Self:
        """Start the MLflow run and write its id into the run lock."""
        code = code_version.current_code()
        facts = initial_facts(case.for_contract(source.contract), params, source, settings, code)
        tags = initial_tags(facts, params, code) | {LOCK_TAG: lock.identity}
        name = prefect_run.run_name(facts["params"])
        # From here the run lock stays until the final status is in MLflow.
        lock.is_settled = False
        try:
            run = start_run(client, settings, case.name, name, tags, [str(path) for path in source.all_files])
        except StewardError:
            lock.is_settled = True
            raise
        lock.update_metadata(mlflow_run_id=run.run_id)
        facts["mlflow"] = {"run_id": run.run_id, "experiment_id": run.experiment_id}
        run.log(params=facts["params"])
        describe_experiment(client, run.experiment_id, case.question)
        prefect_run.add_tags(*prefect_run.subject_tags(case.name, source.data))
        log.info("%s on %s", case.name, source.data)
        return cls(settings, run, facts, time.perf_counter(), lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Set FINISHED, FAILED or KILLED; after an error, publish a report of what was recorded until then.

        FINISHED is the last thing that a run writes to MLflow. Where a failed run can write nothing, because the disk
        is full or the database lost, its error is the one to show, and the next command sets its states.
        """
        if error is None:
            self._finish("FINISHED")
            return
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        self.lock.record_ending(status)
        try:
            self._log_error(error)
        except Exception as problem:
            log.warning("  no report of the failed run: %s", type(problem).__name__)
        try:
            self._finish(status)
        except Exception as problem:
            log.warning("  the run is RUNNING in MLflow until the next command: %s", type(problem).__name__)

    def _finish(self, status: str) -> None:
        self.mlflow_run.finish(status)
        self.lock.is_settled = True

    @property
    def run_id(self) -> str:
        """The id of the MLflow run."""
        return self.mlflow_run.run_id

    @property
    def client(self) -> connection.Client:
        """The MLflow client of the run."""
        return self.mlflow_run.client

    def digest(self, stage: str) -> str:
        """Return the digest of a finished stage."""
        return next(entry["digest"] for entry in self.facts["stages"] if entry["stage"] == stage)

    def stage_completed(self, name: str, result: StoredResult) -> None:
        """Record a stage that has ended, and the gate inside it that has passed."""
        facts: Any = dict(result.facts)
        self.facts["stages"].append(stage_entry(name, result))
        if name in ("source", "validate", "split", "features"):
            self.facts[name] = facts  # type: ignore[literal-required]
        if name == "validate":
            self._add_gate("contract", True)
            counts = ("rows", "clean", "quarantined", "excluded")
            self.mlflow_run.log({f"rows.{count}": facts[count] for count in counts})
        elif name == "split":
            self._add_gate("split", True)
        elif name == "features":
            self._add_gate("features", True)
        if name in ("source", "validate", "split"):
            origin = self.facts["source"]["origin"]
            self.mlflow_run.log_datasets({name: result.digest}, self.facts["contract"], origin)
        log.info("  %s: %s%s", name, stage_summary(name, facts), " (reused)" if result.reused else "")

    def result_damaged(self, stage: str, damage: str) -> None:
        """Record a stored result that was damaged, and is computed again."""
        self.facts.setdefault("damaged_results", []).append({"stage": stage, "damage": damage})
        log_damage(stage, damage)

    def log_drift(self, drift: DriftFacts, accepted: str | None) -> None:
        """Record the comparison with the last accepted batch. Raises DriftError unless the batch may be used.

        `accepted` is the reason to use it although it differs severely; it counts only where that is so.
        """
        self.facts["drift"] = drift
        log.info("  drift: %s", drift_summary(drift))
        refusing = [finding for finding in drift["findings"] if finding["action"] == "refuse"]
        self.mlflow_run.log({"drift.findings": len(drift["findings"]), "drift.severe": len(refusing)})
        require_no_damage(drift, accepted)
        if refusing and accepted:
            drift["accepted"] = accepted.strip()
            self.mlflow_run.log(tags={"steward.accepted_drift": drift["accepted"]})
            log.warning("  drift: accepted, %s", drift["accepted"])
        self._add_gate("drift", True, drift_summary(drift))

    @property
    def accepted_drift(self) -> dict[str, str]:
        """The entry of the ledger about severe differences that were accepted; empty where there were none."""
        accepted = self.facts.get("drift", {}).get("accepted")
        return {"accepted_drift": accepted} if accepted else {}

    def candidate_skipped(self, candidate: str, reason: str, constant: bool = False) -> None:
        """Record a candidate that was not fitted, or is not compared because its fit is a constant."""
        self.facts["skipped"].append({"candidate": candidate, "reason": reason, "constant": constant})
        log.info("  %s: skipped, %s", candidate, reason)

    def log_leaderboard(self, leaderboard: list[LeaderboardEntry], planned: Mapping[str, PlannedFit]) -> None:
        """Record the candidates, each as a child run in MLflow, and how the time budget limited them."""
        self.facts["leaderboard"] = leaderboard
        self.facts["time_budget"] = time_budget_facts(planned, leaderboard, self.facts["params"])
        if note := self.facts["time_budget"]["note"]:
            log.warning("  %s", note)
        log_candidates(self.mlflow_run, leaderboard)
        leader = next(entry for entry in leaderboard if entry["leads"])
        self.mlflow_run.log(tags={"steward.model": leader["candidate"]})
        rows = "train and valid, out of fold" if leader.get("out_of_fold") else "the validation split"
        estimate = format_estimate(self.facts["metric"], leader)
        log.info("  %s leads on %s: %s", leader["candidate"], rows, estimate)

    def log_evaluation(self, evaluation: EvaluationFacts) -> None:
        """Record the evaluation on the test split."""
        self.facts["evaluation"] = evaluation
        self.mlflow_run.log(test_metrics(evaluation), tags=evaluation_tags(evaluation))

    def log_package(self, packaged: PackagedModel) -> None:
        """Record the packaged model, which has passed the packaging gate."""
        measured = {"megabytes": packaged.megabytes, "milliseconds": packaged.latency.milliseconds}
        requirements = list(packaged.requirements)
        self.facts["package"] = {**measured, "digest": packaged.digest, "requirements": requirements}
        self.mlflow_run.log({f"package.{name}": value for name, value in measured.items()})
        self._add_gate("packaging", True)

    def log_quality_checks(self, checks: list[dict[str, Any]]) -> None:
        """Record the checks of the quality gate."""
        self.facts["checks"] = checks
        self._add_gate("quality", True)

    def log_verdict(
        self,
        verdict: Verdict,
        challenger: ModelVersion,
        champion_summary: ChampionSummary,
        entry: Mapping[str, Any],
    ) -> RunOutcome:
        """Record the end of a run that no gate stopped, with its ledger entry, and publish everything."""
        self.facts["verdict"] = {
            **asdict(verdict),
            "version": challenger.number,
            "champion": champion_summary.version,
        }
        self.facts["champion_estimate"] = champion_summary.estimate
        self.facts["ledger_entry"] = entry["line"]
        self._add_gate("promotion", True, verdict.verdict)
        path = self._publish(verdict.reason)
        address = report_address(self.mlflow_run, self.settings)
        pages.describe_version(self.client, challenger, self.facts, entry, address)
        log.info("  verdict: %s, %s", verdict.verdict, verdict.reason)
        return run_outcome(self.facts, verdict.verdict, verdict.reason, champion_summary, path)

    def log_unchanged(self, previous: Mapping[str, Any]) -> RunOutcome:
        """Record the end of a run whose inputs have not changed; champion and metrics are those of the last outcome."""
        reason = f"data, contract, code and candidates are those of the last decision ({previous['verdict']})"
        self.facts["verdict"] = {"verdict": UNCHANGED, "reason": reason, "report": previous["report"]}
        self.mlflow_run.log(tags={"steward.verdict": UNCHANGED, "steward.reason": reason})
        pages.describe_run(self.mlflow_run, self.facts, f"`{previous['report']}`")
        prefect_run.add_tags(f"verdict:{UNCHANGED}")
        self._write_facts()
        log.info("  verdict: %s, %s", UNCHANGED, reason)
        seconds = round(time.perf_counter() - self.started, 1)
        changes = {"verdict": UNCHANGED, "reason": reason, "seconds": seconds, "gates": []}
        return RunOutcome(**{**previous, **changes, "reused": ["source", "everything after it"]})

    def _add_gate(self, gate: str, passed: bool, summary: str = "") -> None:
        self.facts["gates"].append({"gate": gate, "passed": passed, "summary": summary})

    def _log_error(self, error: BaseException) -> None:
        """Record what ended the run."""
        _, gate, reason, summary = describe_ending(error)
        self.facts["stopped"] = {"gate": gate, "reason": reason}
        if isinstance(error, StewardError):
            self._add_stopping_gate(error)
        path = self._publish(reason)
        log.info("  %s; report: %s", summary, path)
        if isinstance(error, StewardError):
            champion = registry.get_champion(self.client, self.facts["contract"])
            candidate = champion.tags.get("candidate", "") if champion else ""
            champion_summary = ChampionSummary(champion.number if champion else None, candidate)
            error.outcome = run_outcome(self.facts, REJECTED, reason, champion_summary, path)

    def _add_stopping_gate(self, error: StewardError) -> None:
        """Add what the gate expected and got, and what it had found when it stopped the run."""
        stopped = self.facts["stopped"]
        stopped["expected"], stopped["got"], stopped["next_step"] = error.expected, error.got, error.next_step
        found: Any = error.facts
        if error.gate == "data":
            self.facts.setdefault("validate", found)
        else:
            stopped["found"] = found
        self._add_gate(error.gate, False, str(error))

    def _write_facts(self) -> None:
        """Write facts.json, and its digest as a tag: a change of the file alone is detected by the lineage."""
        text = json.dumps(self.facts, indent=1, default=str)
        self.mlflow_run.log_text(FACTS_FILE, text)
        self.mlflow_run.log(tags={FACTS_DIGEST_TAG: hashlib.sha256(text.encode()).hexdigest()})

    def _publish(self, reason: str) -> str:
        """Write verdict, facts and report into MLflow and notify everybody; return the path of the report."""
        self.facts["seconds"] = time.perf_counter() - self.started
        self.mlflow_run.log(tags={"steward.verdict": outcome_verdict(self.facts), "steward.reason": reason})
        self._write_facts()
        self.mlflow_run.log_text(REPORT, report.render(self.facts))
        address = report_address(self.mlflow_run, self.settings)
        pages.describe_run(self.mlflow_run, self.facts, pages.report_markdown(address))
        ledger = Ledger(self.settings.ledger_dir, self.facts["contract"])
        describe_model(self.client, ledger, self.facts["question"])
        pages.describe_flow_run(self.facts, address)
        notifications.emit_run_events(self.facts, address.uri)
        notifications.notify(self.settings, self.facts, address.page or address.path)
        return address.path
