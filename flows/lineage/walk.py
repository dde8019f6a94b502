"""Walk the lineage of a model version: from the decision back to the data, each record compared with what exists."""

import math
from collections.abc import Iterator
from typing import Any

from flows.lineage import provenance, stored_stages
from flows.lineage.model_version import REQUIRED_FACTS, ModelVersionRecord
from flows.lineage.step import MISSING, MODIFIED, OK, UNVERIFIED, LineageStep
from flows.recording.prefect_state import MLFLOW_STATUS, UNKNOWN, UNREACHABLE, flow_run_state
from tasks.tracking.run_history import FACTS_DIGEST_TAG


def walk(record: ModelVersionRecord) -> Iterator[LineageStep]:
    """Yield the steps from the decision to the libraries; those that need the run's facts only where these exist."""
    yield _decision(record)
    yield _run(record)
    yield from _prefect(record)
    yield _facts(record)
    yield _package(record)
    yield from stored_stages.stage_steps(record)
    yield provenance.contract(record)
    if record.facts:
        yield provenance.source(record)
        yield provenance.code(record)
        yield provenance.libraries(record)


def _decision(record: ModelVersionRecord) -> LineageStep:
    """Check the ledger entry about the version, the chain of the ledger, and the registry alias against the ledger."""
    number, decision = record.version.number, record.decision
    problems = [f"the ledger: {problem}" for problem in record.ledger_problems]
    if record.ledger and record.ledger[-1]["champion"] != record.champion:
        problems.append(
            f"champion in MLflow: {record.champion}, in the ledger: {record.ledger[-1]['champion']}"
        )
    if decision and decision["model_digest"] != record.version.digest:
        problems.append(f"the ledger names another package: {decision['model_digest'][:12]}")
    others = [
        f"entry {entry['line']}, {entry['at']}: {entry['verdict']}, {entry['reason']}"
        for entry in record.ledger
        if entry is not decision and (entry.get("version") == number or _new_champion(entry) == number)
    ]
    if decision is None:
        summary = f"version {number} has no ledger entry"
        return LineageStep("decision", summary, MISSING, tuple(problems + others))
    before = f"version {decision['before']}" if decision["before"] else "none"
    summary = (
        f"entry {decision['line']}, {decision['at']}: {decision['verdict']}, {decision['reason']};"
        f" champion before: {before}"
    )
    status = MODIFIED if problems else OK
    return LineageStep("decision", summary, status, tuple(problems + others), dict(decision))


def _new_champion(entry: dict[str, Any]) -> int | None:
    """Return the version that an entry made champion."""
    return entry["champion"] if entry["champion"] != entry["before"] else None


def _run(record: ModelVersionRecord) -> LineageStep:
    run, version = record.run, record.version
    if run is None:
        return LineageStep("run", f"MLflow has no run {version.run_id}", MISSING)
    params = " ".join(f"{k}={v}" for k, v in run.params.items() if v not in ("None", "False"))
    registered_by = f"registered by the run {version.run_id}, which ended before it decided"
    return LineageStep(
        "run",
        f"MLflow {run.run_id}, {run.status}; parameters {params}",
        OK if run.status == "FINISHED" else MODIFIED,
        () if run.run_id == version.run_id else (registered_by,),
        {"mlflow_run_id": run.run_id, "status": run.status, "params": dict(run.params)},
    )


def _prefect(record: ModelVersionRecord) -> Iterator[LineageStep]:
    """Compare the state of the flow run, if it was one; a server keeps its history for a limited time only."""
    recorded = record.facts.get("prefect", {})
    identity, url = recorded.get("flow_run_id"), recorded.get("url") or ""
    if not identity or not record.run:
        return
    state = flow_run_state(identity)
    status = OK if MLFLOW_STATUS.get(state) == record.run.status else MODIFIED
    if state in (UNREACHABLE, UNKNOWN):
        status = UNVERIFIED
    label = {UNREACHABLE: "no server reachable", UNKNOWN: "not in the server's history"}.get(state, state)
    yield LineageStep(
        "prefect",
        f"flow run {recorded['flow_run_name']} {identity}, {label}",
        status,
        (url,) if url.startswith("http") else (),
        {"flow_run_id": identity, "url": url, "state": state},
    )


def _facts(record: ModelVersionRecord) -> LineageStep:
    """Check that facts.json and report.html exist and agree with MLflow and the ledger."""
    run = record.run
    if run is None or run.facts is None or run.report is None:
        missing = "facts.json" if run is None or run.facts is None else "report.html"
        place = f" from {run.artifact_uri}" if run else ""
        return LineageStep("facts", f"{missing} is missing{place}", MISSING)
    if not record.facts:
        lacking = ", ".join(name for name in REQUIRED_FACTS if name not in run.facts)
        return LineageStep("facts", f"facts.json in {run.artifact_uri} lacks {lacking}", MODIFIED)
    problems = tuple(contradictions(record))
    summary = f"facts.json and report.html in {run.artifact_uri}"
    status = MODIFIED if problems else OK
    return LineageStep("facts", summary, status, problems, {"artifacts": run.artifact_uri})


def contradictions(record: ModelVersionRecord) -> Iterator[str]:
    """Yield what differs between facts.json on one side, and MLflow and the ledger on the other."""
    assert record.run
    facts, elsewhere = _recorded_facts(record), _recorded_elsewhere(record)
    for name in sorted(facts.keys() & elsewhere.keys()):
        if facts[name] != elsewhere[name]:
            yield f"{name}: {facts[name]} in facts.json, {elsewhere[name]} in MLflow or the ledger"


def _recorded_facts(record: ModelVersionRecord) -> dict[str, str | None]:
    facts, run = record.facts, record.run
    assert run
    params = facts.get("params", {})
    metrics = facts.get("evaluation", {}).get("metrics", {})
    leaders = [entry["candidate"] for entry in facts.get("leaderboard", []) if entry["leads"]]
    return {
        **{f"parameter {name}": str(value) for name, value in params.items()},
        **{f"test {name}": str(value) for name, value in metrics.items() if math.isfinite(value)},
        **{f"digest of {name}": entry["digest"][:36] for name, entry in record.stages.items()},
        "package": facts.get("package", {}).get("digest", "none"),
        "commit": str(facts.get("commit")),
        "digest of facts.json": run.facts_digest,
        "candidate": ", ".join(leaders),
        "seed": str(params.get("seed")),
        "test rows": record.stages.get("split", {}).get("digest", "none"),
    }


def _recorded_elsewhere(record: ModelVersionRecord) -> dict[str, str | None]:
    run, tags = record.run, record.version.tags
    assert run
    prefix = f"{record.version.name}."
    metrics = record.facts.get("evaluation", {}).get("metrics", {})
    # Runs before 0.2.0 logged the time budget under another name.
    params = {{"budget": "time_budget"}.get(name, name): value for name, value in run.params.items()}
    found: dict[str, str | None] = {
        **{f"parameter {name}": value for name, value in params.items()},
        **{f"test {name}": str(run.metrics.get(f"test.{name}")) for name in metrics},
        **{f"digest of {name.removeprefix(prefix)}": digest for name, digest in run.input_digests.items()},
        "package": record.version.digest,
        "commit": str(run.tags.get("mlflow.source.git.commit")),
        "digest of facts.json": run.tags.get(FACTS_DIGEST_TAG, run.facts_digest),
        **{name: tags[name] for name in ("candidate", "seed") if name in tags},
    }
    if record.decision:
        found["test rows"] = record.decision["test_digest"]
    return found


def _package(record: ModelVersionRecord) -> LineageStep:
    package, digest = record.package, record.version.digest
    code = package.manifest.get("code", "")
    contents = f", {len(package.manifest['files'])} files, code {code[:12]}" if package.path else ""
    return LineageStep(
        "package",
        f"{digest[:12]}{contents}",
        package.status,
        (package.reason,) if package.reason else (),
        {"digest": digest, "code": code, "path": str(package.path) if package.path else None},
    )
