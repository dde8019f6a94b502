"""What a training that is repeated today does not have as recorded, and which candidates the recorded one skipped."""

from collections.abc import Mapping

from flows.lineage import provenance
from flows.lineage.model_version import ModelVersionRecord
from flows.lineage.walk import contradictions
from flows.recording import code_version


def changed_conditions(record: ModelVersionRecord) -> list[str]:
    """List everything recorded that could change the result and differs now."""
    facts, settings = record.facts, record.settings
    versions = provenance.library_versions(record)
    found = [f"{name} {now}, then {then}" for name, then, now in versions if then != now]
    recorded = facts.get("code", {}).get("digests", {}) or {"ml": record.package.manifest["code"]}
    current = code_version.current_code().digests
    found += [f"other code in {folder}/" for folder in recorded if recorded[folder] != current[folder]]
    threads = facts.get("machine", {}).get("threads", settings.threads)
    found += [f"{settings.threads} threads, then {threads}"] if threads != settings.threads else []
    stopped = [entry["candidate"] for entry in facts["leaderboard"] if entry["stopped_by"] == "budget"]
    found += [f"{name} was stopped by the time budget" for name in stopped]
    return found + [f"the record contradicts itself: {text}" for text in contradictions(record)]


def skipped_candidates(record: ModelVersionRecord) -> Mapping[str, str]:
    """Return the candidates that were skipped in the recorded run, and are skipped again, with the reasons."""
    return {entry["candidate"]: entry["reason"] for entry in record.facts.get("skipped", [])}
