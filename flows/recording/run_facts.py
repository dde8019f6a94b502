"""Make the facts of a run: those known at its start, one entry per stage, and the outcome at its end."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from flows.recording.code_version import CodeVersion
from flows.recording.endings import ERROR, REJECTED, STOPPED
from flows.recording.environment import contract_path, data_interval, environment_facts, prefect_context
from flows.recording.outcome import RunOutcome
from flows.use_case import RunParameters, UseCase
from tasks.data_access.locate import DatasetSource
from tasks.dropped_columns import describe_dropped_columns
from tasks.facts import CANCELLED, RUN_FACTS_VERSION, SUSPENDED, ChampionEstimate, LeaderboardEntry, RunFacts
from tasks.fit_plan import PlannedFit
from tasks.run_entries import SkippedCandidate, StageEntry, TimeBudgetFacts
from tasks.settings import Settings
from tasks.storage.content_store import StoredResult

NOT_MEASURED: ChampionEstimate = {"value": None, "low": None, "high": None}
# Names in place of a gate's, for runs that somebody ended.
INTERRUPTIONS = (CANCELLED, SUSPENDED)


@dataclass(frozen=True)
class ChampionSummary:
    """The champion at the end of a run, with its estimate on the run's test rows."""

    version: int | None
    candidate: str
    estimate: ChampionEstimate = field(default_factory=lambda: NOT_MEASURED)


def initial_facts(
    case: UseCase, params: RunParameters, source: DatasetSource, settings: Settings, code: CodeVersion
) -> RunFacts:
    """Return the facts that are known before the first stage; the MLflow run is added by the recorder."""
    contract = source.contract
    facts = {
        "facts_version": RUN_FACTS_VERSION,
        "case": case.name,
        "question": case.question,
        "metric": case.evaluator.primary,
        "data": source.data,
        "contract": contract.name,
        "publication": dict(contract.publication),
        "descriptions": dict(contract.roles.descriptions),
        "nouns": asdict(case.nouns),
        "sensitive_inputs": [name for name in contract.roles.sensitive if name in contract.inputs],
        "params": {name: _as_json(value) for name, value in asdict(params).items()},
        "files": [str(path.resolve()) for path in source.all_files],
        "contract_file": contract_path(params.contract),
        **environment_facts(settings, code),
        "prefect": prefect_context(),
        "stages": [],
        "gates": [],
        "skipped": [],
    }
    return cast(RunFacts, facts)


def _as_json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | list) else str(value)


def initial_tags(facts: RunFacts, params: RunParameters, code: CodeVersion) -> dict[str, str]:
    """Return the MLflow tags that are known before the first stage."""
    tags = {
        "steward.case": facts["case"],
        "steward.data": facts["data"],
        "steward.contract": facts["contract"],
    }
    tags |= {f"prefect.{name}": str(value) for name, value in facts["prefect"].items() if value}
    if interval := data_interval(params.as_of):
        tags["steward.interval"] = interval
    if code.commit:
        tags |= {"mlflow.source.git.commit": code.commit, "mlflow.source.git.dirty": str(code.dirty)}
    return tags


def stage_entry(name: str, result: StoredResult) -> StageEntry:
    """Return the entry of a finished stage; hyperparameters are kept so that the fit can be reproduced."""
    entry: StageEntry = {
        "stage": name,
        "digest": result.digest,
        "object": result.folder.name,
        "reused": result.reused,
        "seconds": result.facts.get("seconds"),
    }
    if "parameters" in result.facts:
        entry["parameters"] = result.facts["parameters"]
        entry["time_limit"] = result.facts["time_limit"]
    if result.facts.get("stopped_by"):
        entry["stopped_by"] = result.facts["stopped_by"]
    return entry


def time_budget_facts(
    planned: Mapping[str, PlannedFit], leaderboard: Iterable[LeaderboardEntry], params: Mapping[str, Any]
) -> TimeBudgetFacts:
    """Return what a time budget left out, parts of candidates as "EASE in reranker", and what it cut short."""
    seconds, left_out = params["time_budget"], list[SkippedCandidate]()
    for name, plan in planned.items():
        if plan.reason:
            left_out.append({"candidate": name, "reason": plan.reason})
        left_out += [{"candidate": f"{part} in {name}", "reason": r} for part, r in plan.left_out.items()]
    cut_short = [entry["candidate"] for entry in leaderboard if entry["stopped_by"] == "budget"]
    named = {"left out": [entry["candidate"] for entry in left_out], "cut short": cut_short}
    parts = [f"{text} {', '.join(names)}" for text, names in named.items() if names]
    note = f"The time budget of {seconds:g} s {' and '.join(parts)}; --time-budget sets a longer one."
    return {"seconds": seconds, "left_out": left_out, "cut_short": cut_short, "note": note if parts else ""}


def constants_note(facts: RunFacts) -> str:
    """Name the candidates that were left out because they predict the same for every row; empty without any."""
    names = [entry["candidate"] for entry in facts["skipped"] if entry.get("constant")]
    return f"Left out, because every row gets the same prediction: {', '.join(names)}." if names else ""


def stage_summary(stage: str, facts: Mapping[str, Any]) -> str:
    """Describe a stage's result in a few words, for the log."""
    if stage == "validate":
        counts = ", ".join(f"{facts[k]:,} {k}" for k in ("clean", "quarantined", "excluded"))
        differing = "".join(f"\n    ! {text}" for text in facts.get("quarantine_differences", ()))
        return f"{facts['rows']:,} rows = {counts}{differing}"
    if stage == "split":
        return ", ".join(f"{name} {size['rows']:,}" for name, size in facts["datasets"].items())
    if stage == "features":
        texts = [entry["column"] for entry in facts["texts"]]
        return f"{len(facts['declared'])} declared" + (
            f", texts of {', '.join(texts)} as numbers" if texts else ""
        )
    if stage == "source":
        dropped = describe_dropped_columns(facts["dropped_columns"])
        return f"{facts['rows']:,} rows" + (f", without {dropped}" if dropped else "")
    return f"{facts['seconds']:.1f} s"


def outcome_verdict(facts: RunFacts) -> str:
    """Return how the run ended: the verdict, or how it was stopped."""
    if "stopped" not in facts:
        return str(facts["verdict"]["verdict"])
    gate = facts["stopped"]["gate"]
    return gate if gate in INTERRUPTIONS else STOPPED if gate == ERROR else REJECTED


def outcome_sentence(facts: RunFacts) -> str:
    """Describe the end of the run in one sentence."""
    if "stopped" in facts:
        gate, reason = facts["stopped"]["gate"], facts["stopped"]["reason"]
        if gate in INTERRUPTIONS:
            return reason
        return f"stopped by an error: {reason}" if gate == ERROR else f"rejected by the {gate} gate: {reason}"
    return f"{facts['verdict']['verdict']}: {facts['verdict']['reason']}"


def run_outcome(
    facts: RunFacts, verdict: str, reason: str, champion_summary: ChampionSummary, report: str
) -> RunOutcome:
    """Return the outcome of a run that has ended."""
    counts: Mapping[str, Any] = facts.get("validate", {})
    estimate = champion_summary.estimate
    # Where the champion was evaluated on some of the rows, so is the baseline beside it.
    evaluation: Mapping[str, Any] = facts.get("evaluation", {})
    baseline: Mapping[str, Any] = estimate.get("baseline") or evaluation.get("baseline", {})
    source: Mapping[str, Any] = facts.get("source", {})
    return RunOutcome(
        case=facts["case"],
        data=facts["data"],
        champion=facts["contract"],
        version=champion_summary.version,
        verdict=verdict,
        metric=facts["metric"],
        value=estimate["value"],
        low=estimate["low"],
        high=estimate["high"],
        baseline=baseline.get("value"),
        rows=counts.get("rows", source.get("rows")),
        quarantined=counts.get("quarantined"),
        excluded=counts.get("excluded"),
        seconds=round(facts["seconds"], 1),
        reused=[entry["stage"] for entry in facts["stages"] if entry["reused"]],
        report=report,
        time_budget_note=budget["note"] if (budget := facts.get("time_budget")) else "",
        groups_note=evaluation.get("groups_note", ""),
        constants_note=constants_note(facts),
        gates=[gate["gate"] for gate in facts["gates"] if gate["passed"]],
        reason=reason,
        candidate=champion_summary.candidate,
    )
