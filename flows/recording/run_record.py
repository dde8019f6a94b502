"""What a run leaves behind: facts, from which MLflow, Prefect, the report and the outcome are all made."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlparse

from flows.recording import code_version, notifications
from flows.recording.environment import _interval, _resolved, _surroundings, prefect_context
from flows.recording.outcome import RunOutcome
from ml.contract.schema import Contract
from ml.errors import StewardError
from tasks.ledger import Verdict
from tasks.locate import DatasetSource
from tasks.locks.run_lock import LOCK_TAG, RunLock
from tasks.reporting import report
from tasks.settings import Settings
from tasks.storage.content_store import StoredResult
from tasks.tracking import connection, registry
from tasks.tracking.registry import ModelVersion, PackagedModel
from tasks.tracking.run import MlflowRun, start_run
from tasks.tracking.run_history import FACTS, FACTS_DIGEST

log = logging.getLogger("steward")
NOTHING_NEW = "nothing new"
REPORT = "report.html"
# Trials of a candidate that become runs of their own.
MOST_TRIALS = 10


@dataclass
class Record:
    """The facts of one run, gathered stage by stage. As a context it ends the MLflow run truthfully."""

    settings: Settings
    tracked: MlflowRun
    facts: dict[str, Any]
    begun: float

    @classmethod
    def begin(
        cls,
        client: connection.Client,
        settings: Settings,
        case: str,
        question: str,
        metric: str,
        located: DatasetSource,
        asked: Mapping[str, Any],
        presence: RunLock,
    ) -> Self:
        contract: Contract = located.contract
        prefect = prefect_context()
        tags = {"steward.case": case, "steward.data": located.data, "steward.contract": contract.name}
        tags |= {f"prefect.{name}": str(value) for name, value in prefect.items() if value}
        tags[LOCK_TAG] = presence.identity
        interval = _interval(asked)
        if interval:
            tags["steward.interval"] = interval
        code = code_version.code()
        if code.commit:
            tags |= {"mlflow.source.git.commit": code.commit, "mlflow.source.git.dirty": str(code.dirty)}
        name = prefect["flow_run_name"] or f"{located.data}"
        tracked = start_run(client, settings, case, name, tags, [str(p) for p in located.paths])
        presence.update_metadata(mlflow_run_id=tracked.run_id)
        facts: dict[str, Any] = {
            "case": case,
            "question": question,
            "metric": metric,
            "data": located.data,
            "contract": contract.name,
            "about": dict(contract.about),
            "descriptions": dict(contract.roles.descriptions),
            "asked": {
                k: v if v is None or isinstance(v, bool | int | float) else str(v) for k, v in asked.items()
            },
            "files": [str(path.resolve()) for path in located.paths],
            "contract_file": _resolved(asked["contract"]),
            **_surroundings(settings, code),
            "mlflow": {"run_id": tracked.run_id, "experiment_id": tracked.experiment_id},
            "prefect": prefect,
            "stages": [],
            "gates": [],
            "skipped": [],
        }
        record = cls(settings, tracked, facts, time.perf_counter())
        tracked.record(params=facts["asked"])
        log.info("%s on %s", case, located.data)
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """FINISHED, FAILED or KILLED, with a report of whatever was found out until then."""
        if error is None:
            self.tracked.finish("FINISHED")
            return
        try:
            self._stopped(error)
        finally:
            self.tracked.finish("FAILED" if isinstance(error, Exception) else "KILLED")

    @property
    def run_id(self) -> str:
        return self.tracked.run_id

    @property
    def client(self) -> connection.Client:
        return self.tracked.client

    @property
    def seed(self) -> int:
        return int(self.facts["asked"]["seed"])

    @property
    def digests(self) -> dict[str, str]:
        return {line["stage"]: line["digest"] for line in self.facts["stages"]}

    def stage(self, name: str, stored: StoredResult) -> StoredResult:
        """A stage is done: its digest, its facts, and whether it was there before."""
        facts = dict(stored.facts)
        line = {
            "stage": name,
            "digest": stored.digest,
            "object": stored.folder.name,
            "reused": stored.reused,
            "seconds": facts.get("seconds"),
        }
        if "parameters" in facts:  # what a candidate was told, for whoever fits it again
            line["parameters"] = facts["parameters"]
        self.facts["stages"].append(line)
        if name in ("source", "validate", "split"):
            self.facts[name] = facts
            digests = {name: stored.digest}
            self.tracked.datasets(digests, self.facts["contract"], self.facts.get("source", facts)["origin"])
        if name in ("validate", "split"):
            self._gate({"validate": "contract", "split": "split"}[name], True)
        if name == "validate":
            self.tracked.record({f"rows.{k}": facts[k] for k in ("rows", "clean", "quarantined", "excluded")})
        log.info("  %s: %s%s", name, _told(name, facts), " (reused)" if stored.reused else "")
        return stored

    def skipped(self, candidate: str, why: str) -> None:
        self.facts["skipped"].append({"candidate": candidate, "why": why})
        log.info("  %s: skipped, %s", candidate, why)

    def leaderboard(self, board: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.facts["leaderboard"] = board
        for line in board:
            costs = {k: line[k] for k in ("seconds", "megabytes", "milliseconds_per_1000")}
            metrics = {f"valid.{k}": v for k, v in line["metrics"].items()} | costs
            self.tracked.child(
                line["candidate"], metrics, {"candidate": line["candidate"], **line["decision"]}
            )
            self._trials(line)
        leader = next(line for line in board if line["leads"])
        log.info(
            "  %s leads on valid rows: %s %.4f", leader["candidate"], self.facts["metric"], leader["value"]
        )
        return board

    def _trials(self, line: Mapping[str, Any]) -> None:
        """The best trials of a candidate as runs of their own: more would bury the candidates."""
        trials = list(enumerate(line["made_of"].get("trials", ()), 1))
        for number, trial in sorted(trials, key=lambda one: (one[1]["pruned"], one[1]["loss"]))[:MOST_TRIALS]:
            self.tracked.child(
                f"{line['candidate']}, trial {number}",
                {"out_of_fold.loss": trial["loss"], "seconds": trial["seconds"]},
                {"candidate": line["candidate"], "pruned": trial["pruned"], **trial["parameters"]},
            )

    def judged(self, judged: dict[str, Any]) -> dict[str, Any]:
        self.facts["test"] = judged
        names = ("low", "high", "achievable", "achieved")
        own = {f"test.{judged['primary']}.{name}": judged[name] for name in names if name in judged}
        self.tracked.record({**{f"test.{k}": v for k, v in judged["metrics"].items()}, **own})
        return judged

    def packaged(self, packaged: PackagedModel) -> None:
        measured = {"megabytes": packaged.megabytes, "milliseconds": packaged.milliseconds}
        self.facts["package"] = {
            **measured,
            "digest": packaged.digest,
            "requirements": list(packaged.requirements),
        }
        self.tracked.record({f"package.{k}": v for k, v in measured.items()})
        self._gate("packaging", True)

    def checks(self, checks: list[dict[str, Any]]) -> None:
        self.facts["checks"] = checks
        self._gate("quality", all(c["passed"] for c in checks))

    def decided(
        self,
        verdict: Verdict,
        challenger: ModelVersion,
        champion: int | None,
        champion_candidate: str,
        standing: Mapping[str, Any],
        line: Mapping[str, Any],
    ) -> RunOutcome:
        """The end of a run that no gate stopped."""
        self.facts["verdict"] = {**asdict(verdict), "version": challenger.number, "champion": champion}
        self.facts["standing"] = dict(standing)
        self.facts["ledger_line"] = line["line"]
        self._gate("promotion", True, verdict.verdict)
        self.tracked.record(tags={"steward.verdict": verdict.verdict, "steward.reason": verdict.reason})
        seconds = time.perf_counter() - self.begun
        self.facts["seconds"] = seconds
        path = self._publish()
        notifications.in_registry(
            self.client, challenger, champion, self.facts, line, self.tracked.uri(REPORT)
        )
        log.info("  verdict: %s, %s", verdict.verdict, verdict.reason)
        return self._outcome(verdict.verdict, verdict.reason, champion, champion_candidate, standing, path)

    def _outcome(
        self,
        verdict: str,
        reason: str,
        champion: int | None,
        candidate: str,
        standing: Mapping[str, Any],
        report_path: str,
    ) -> RunOutcome:
        counts, judged = self.facts.get("validate", {}), self.facts.get("test", {})
        return RunOutcome(
            case=self.facts["case"],
            data=self.facts["data"],
            champion=self.facts["contract"],
            version=champion,
            verdict=verdict,
            metric=self.facts["metric"],
            value=standing.get("value"),
            low=standing.get("low"),
            high=standing.get("high"),
            baseline=judged.get("baseline", {}).get("value"),
            rows=counts.get("rows", self.facts.get("source", {}).get("rows")),
            quarantined=counts.get("quarantined"),
            excluded=counts.get("excluded"),
            seconds=round(self.facts["seconds"], 1),
            reused=[line["stage"] for line in self.facts["stages"] if line["reused"]],
            report=report_path,
            gates=[gate["gate"] for gate in self.facts["gates"] if gate["passed"]],
            reason=reason,
            candidate=candidate,
        )

    def _gate(self, gate: str, passed: bool, said: str = "") -> None:
        self.facts["gates"].append({"gate": gate, "passed": passed, "said": said})

    def _stopped(self, error: BaseException) -> None:
        """A gate's refusal is told in full; of any other error only its kind, as its text may quote data."""
        told = str(error) if isinstance(error, StewardError) else type(error).__name__
        gate = error.gate if isinstance(error, StewardError) else notifications.ERROR
        self.facts["refused"] = {"gate": gate, "why": told}
        if isinstance(error, StewardError):
            self.facts["refused"] |= {"expected": error.expected, "got": error.got, "todo": error.next_step}
            self.facts.setdefault("validate" if gate == "data" else f"refused_{gate}", error.facts)
            self.facts["gates"].append({"gate": gate, "passed": False, "said": told})
        self.facts["seconds"] = time.perf_counter() - self.begun
        verdict = "refused" if isinstance(error, StewardError) else "stopped"
        self.tracked.record(tags={"steward.verdict": verdict, "steward.reason": told})
        path = self._publish()
        log.info(
            "  stopped by %s; report: %s", told if gate == notifications.ERROR else f"the gate {gate}", path
        )
        if isinstance(error, StewardError):
            holder = registry.champion(self.client, self.facts["contract"])
            version = holder.number if holder else None
            candidate = holder.tags.get("candidate", "") if holder else ""
            error.outcome = self._outcome("refused", str(error), version, candidate, {}, path)

    def nothing_new(self, known: Mapping[str, Any]) -> RunOutcome:
        """The end of a run that had nothing to find out: the champion and the figures are those of the last one."""
        reason = f"data, contract, code and candidates are those of the last decision ({known['verdict']})"
        self.facts["verdict"] = {"verdict": NOTHING_NEW, "reason": reason, "report": known["report"]}
        self.tracked.record(tags={"steward.verdict": NOTHING_NEW, "steward.reason": reason})
        notifications.in_mlflow(self.tracked, self.facts, known["report"])
        self._write_facts()
        log.info("  verdict: %s, %s", NOTHING_NEW, reason)
        seconds = round(time.perf_counter() - self.begun, 1)
        told = {**known, "verdict": NOTHING_NEW, "reason": reason, "seconds": seconds}
        return RunOutcome(**{**told, "reused": ["source", "everything after it"], "gates": []})

    def _write_facts(self) -> None:
        """With their digest beside them: who changes the file has to change MLflow's database too."""
        text = json.dumps(self.facts, indent=1, default=str)
        self.tracked.write(FACTS, text)
        self.tracked.record(tags={FACTS_DIGEST: hashlib.sha256(text.encode()).hexdigest()})

    def _publish(self) -> str:
        """Facts and report into MLflow, and the news to all who want to hear them; the path of the report."""
        self._write_facts()
        self.tracked.write(REPORT, report.render(self.facts))
        uri = self.tracked.uri(REPORT)
        notifications.in_mlflow(self.tracked, self.facts, uri)
        notifications.in_prefect(self.facts, uri)
        notifications.as_events(self.facts, uri)
        notifications.to_people(self.settings, self.facts, uri)
        return unquote(urlparse(uri).path) if uri.startswith("file:") else uri


def _told(stage: str, facts: Mapping[str, Any]) -> str:
    """A stage's result in a few words."""
    if stage == "validate":
        counts = ", ".join(f"{facts[k]:,} {k}" for k in ("clean", "quarantined", "excluded"))
        return f"{facts['rows']:,} rows = {counts}"
    if stage == "split":
        return ", ".join(f"{name} {size['rows']:,}" for name, size in facts["parts"].items())
    if stage == "source":
        dropped = facts["dropped_columns"]
        return f"{facts['rows']:,} rows" + (
            f", dropped columns {', '.join(map(repr, dropped))}" if dropped else ""
        )
    return f"{facts['seconds']:.1f} s"
