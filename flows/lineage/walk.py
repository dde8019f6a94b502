"""Lineage: from a decision back to the data, link by link, each held against what lies there now."""

import math
from collections.abc import Iterator
from typing import Any

from flows.lineage import provenance, stored_stages
from flows.lineage.link import CHANGED, GONE, OK, UNCHECKED, Link
from flows.lineage.model_version import TOLD, Trace
from flows.recording.prefect_state import ENDS, UNKNOWN, UNREACHABLE, state_of
from tasks.tracking.run_history import FACTS_DIGEST


def walk(trace: Trace) -> Iterator[Link]:
    """From the decision down to the data. Where the facts are gone, what only they tell is left out."""
    yield _decision(trace)
    yield _run(trace)
    yield from _prefect(trace)
    yield _facts(trace)
    yield _package(trace)
    yield from stored_stages.links(trace)
    yield provenance.contract(trace)
    if trace.facts:
        yield provenance.source(trace)
        yield provenance.code(trace)
        yield provenance.libraries(trace)


def _decision(trace: Trace) -> Link:
    """The ledger's line about the version, the ledger without gaps, and the alias where its last line says."""
    number, line = trace.version.number, trace.decision
    numbers = [entry.get("line") for entry in trace.ledger]
    wrong = []
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"lines are missing from the ledger: it has {', '.join(map(str, numbers))}")
    if trace.ledger and trace.ledger[-1]["champion"] != trace.champion:
        wrong.append(f"MLflow's champion is {trace.champion}, the ledger's {trace.ledger[-1]['champion']}")
    if line and line["model_digest"] != trace.version.digest:
        wrong.append(f"the ledger speaks of the package {line['model_digest'][:12]}")
    later = [
        f"line {entry['line']}, {entry['at']}: {entry['verdict']}, {entry['reason']}"
        for entry in trace.ledger
        if entry is not line and (entry.get("version") == number or _crowned(entry) == number)
    ]
    if line is None:
        said = f"no line of the ledger decided about version {number}"
        return Link("decision", said, GONE, tuple(wrong + later))
    before = f"version {line['before']}" if line["before"] else "none"
    said = (
        f"line {line['line']}, {line['at']}: {line['verdict']}, {line['reason']}; champion before: {before}"
    )
    return Link("decision", said, CHANGED if wrong else OK, tuple(wrong + later), dict(line))


def _crowned(entry: dict[str, Any]) -> int | None:
    """The version that a line made champion."""
    return entry["champion"] if entry["champion"] != entry["before"] else None


def _run(trace: Trace) -> Link:
    run, version = trace.run, trace.version
    if run is None:
        return Link("run", f"MLflow knows no run {version.run_id} any more", GONE)
    asked = " ".join(f"{k}={v}" for k, v in run.parameters.items() if v not in ("None", "False"))
    other = f"registered by the run {version.run_id}, which ended before it decided"
    return Link(
        "run",
        f"MLflow {run.run_id}, {run.status}; asked for {asked}",
        OK if run.status == "FINISHED" else CHANGED,
        () if run.run_id == version.run_id else (other,),
        {"mlflow_run_id": run.run_id, "status": run.status, "asked": dict(run.parameters)},
    )


def _prefect(trace: Trace) -> Iterator[Link]:
    """The flow run, if it was one. A server that no longer knows it keeps its history for a time only."""
    recorded = trace.facts.get("prefect", {})
    identity, url = recorded.get("flow_run_id"), recorded.get("url") or ""
    if not identity or not trace.run:
        return
    state = state_of(identity)
    asked = state not in (UNREACHABLE, UNKNOWN)
    agrees = OK if ENDS.get(state) == trace.run.status else CHANGED
    told = {UNREACHABLE: "no server to ask", UNKNOWN: "not in its history"}.get(state, state)
    yield Link(
        "prefect",
        f"flow run {recorded['flow_run_name']} {identity}, {told}",
        agrees if asked else UNCHECKED,
        (url,) if url.startswith("http") else (),
        {"flow_run_id": identity, "url": url, "state": state},
    )


def _facts(trace: Trace) -> Link:
    """facts.json and report.html, the first held against everything that MLflow and the ledger say as well."""
    run = trace.run
    if run is None or run.facts is None or run.report is None:
        missing = "facts.json" if run is None or run.facts is None else "report.html"
        where = f" from {run.artifacts}" if run else ""
        return Link("facts", f"{missing} is gone{where}", GONE)
    if not trace.facts:
        lacking = ", ".join(name for name in TOLD if name not in run.facts)
        return Link("facts", f"facts.json in {run.artifacts} lacks {lacking}", CHANGED)
    wrong = tuple(contradictions(trace))
    said = f"facts.json and report.html in {run.artifacts}"
    return Link("facts", said, CHANGED if wrong else OK, wrong, {"artifacts": run.artifacts})


def contradictions(trace: Trace) -> Iterator[str]:
    """What facts.json says otherwise than MLflow and the ledger."""
    facts, run, tags = trace.facts, trace.run, trace.version.tags
    assert run
    said = {f"asked {name}": str(value) for name, value in facts.get("asked", {}).items()}
    elsewhere = {f"asked {name}": value for name, value in run.parameters.items()}
    measured = facts.get("test", {}).get("metrics", {})
    said |= {f"test {name}": str(value) for name, value in measured.items() if math.isfinite(value)}
    elsewhere |= {f"test {name}": str(run.metrics.get(f"test.{name}")) for name in measured}
    said |= {f"digest of {name}": line["digest"][:36] for name, line in trace.stages.items()}
    prefix = f"{trace.version.name}."
    elsewhere |= {f"digest of {name.removeprefix(prefix)}": digest for name, digest in run.inputs.items()}
    said |= {"package": facts.get("package", {}).get("digest", "none"), "commit": str(facts.get("commit"))}
    elsewhere |= {"package": trace.version.digest, "commit": str(run.tags.get("mlflow.source.git.commit"))}
    said["the file"], elsewhere["the file"] = run.facts_digest, run.tags.get(FACTS_DIGEST, run.facts_digest)
    leader = [line["candidate"] for line in facts.get("leaderboard", []) if line["leads"]]
    said |= {"candidate": ", ".join(leader), "seed": str(facts.get("asked", {}).get("seed"))}
    elsewhere |= {name: tags[name] for name in ("candidate", "seed") if name in tags}
    if trace.decision:
        said["test rows"] = trace.stages.get("split", {}).get("digest", "none")
        elsewhere["test rows"] = trace.decision["test_digest"]
    for name in sorted(said.keys() & elsewhere.keys()):
        if said[name] != elsewhere[name]:
            yield f"{name}: facts.json says {said[name]}, MLflow or the ledger {elsewhere[name]}"


def _package(trace: Trace) -> Link:
    package, digest = trace.package, trace.version.digest
    code = package.manifest.get("code", "")
    said = f"{digest[:12]}" + (
        f", {len(package.manifest['files'])} files, its code {code[:12]}" if package.path else ""
    )
    return Link(
        "package",
        said,
        package.status,
        (package.why,) if package.why else (),
        {"digest": digest, "code": code, "path": str(package.path) if package.path else None},
    )
