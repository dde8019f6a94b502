"""Drift: compare a batch with the last accepted one, before training and before scoring."""

import time
from dataclasses import dataclass

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract
from ml.drift.compare import EVERYTHING, Scope, compare
from ml.drift.finding import Finding
from ml.drift.summary import from_json, summarize
from ml.errors import DriftError
from tasks.data_facts import DriftFacts, DriftFinding
from tasks.error_boundary import redact_errors
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of

CODE = ("tasks/drift.py", "tasks/error_boundary.py", "ml/contract", "ml/data", "ml/drift", "ml/errors.py")
SUMMARY_FILE = "reference.json"
# Findings that an error names; the report has all of them.
MAX_NAMED = 5


@dataclass(frozen=True)
class Reference:
    """The summary of an earlier batch, as JSON, and the batch's name, such as "the batch of version 3".

    Without `summary` there is nothing to compare with, and `name` says why.
    """

    name: str
    summary: bytes | None = None


NO_EARLIER_BATCH = Reference("no earlier batch")


@task(name="summarize", cache_policy=NO_CACHE)
@redact_errors
def summarize_batch(clean: StoredResult, contract: Contract, store: Store) -> StoredResult:
    """Store the summary of clean rows, with which later batches are compared, as the file `reference.json`."""
    key = key_of(
        "summarize",
        CODE,
        ("numpy", "pandas", "scipy", "pydantic"),
        clean=clean.digest,
        contract=contract.source,
    )

    def make() -> StageResult:
        started = time.perf_counter()
        data = summarize(clean.table("clean"), contract).to_json()
        return StageResult({}, {"seconds": time.perf_counter() - started}, {SUMMARY_FILE: data})

    return store.get_or_compute(key, make, "summarize")


@task(name="drift", cache_policy=NO_CACHE)
@redact_errors
def compare_batch(
    rows: pd.DataFrame,
    contract: Contract,
    reference: Reference,
    scope: Scope = EVERYTHING,
    summary: bytes | None = None,
) -> DriftFacts:
    """Compare clean rows with an earlier batch; `summary` is that of the rows, if it is known.

    Not cached: the reference changes with every decision.
    """
    started = time.perf_counter()
    before = from_json(reference.summary) if reference.summary else None
    facts: DriftFacts = {"reference": reference.name, "compared": False, "findings": [], "seconds": 0.0}
    if reference.summary and before is None:
        facts["reference"] = f"{reference.name}, whose summary this version cannot read"
    elif before is not None:
        facts["rows_before"] = before.rows
        facts["compared"] = True
        if reference.summary == summary:
            facts["unchanged"] = True
        else:
            facts["findings"] = [_described(f, contract) for f in compare(before, rows, contract, scope)]
    facts["seconds"] = time.perf_counter() - started
    return facts


def _described(finding: Finding, contract: Contract) -> DriftFinding:
    action = contract.drift.actions.get(finding.kind, "refuse")
    return {
        "column": finding.column,
        "kind": finding.kind,
        "text": finding.text,
        "effect": finding.effect,
        "bound": finding.bound,
        "action": "refuse" if finding.severe and action == "refuse" else "warn",
    }


def drift_summary(facts: DriftFacts) -> str:
    """Describe a comparison in a few words."""
    if not facts["compared"]:
        return facts["reference"]
    if facts.get("unchanged"):
        return f"the same rows as {facts['reference']}"
    findings = facts["findings"]
    if not findings:
        return f"no difference beyond chance from {facts['reference']}"
    number = "one difference" if len(findings) == 1 else f"{len(findings)} differences"
    return f"{number} from {facts['reference']}: {_named(findings)}"


def require_no_damage(facts: DriftFacts, accepted: str | None) -> None:
    """Raise DriftError for findings that refuse the batch, unless there is a reason to accept it."""
    refusing = [finding for finding in facts["findings"] if finding["action"] == "refuse"]
    if refusing and not accepted:
        raise DriftError(
            f"a batch like {facts['reference']}",
            _named(refusing),
            "correct the data, accept it for once with --accept-drift REASON, or set meta.drift in the contract",
            {"drift": facts},
        )


def _named(findings: list[DriftFinding]) -> str:
    named = [
        f"{f['column'] or 'batch'}: {f['kind'].replace('_', ' ')}, {f['text']}" for f in findings[:MAX_NAMED]
    ]
    more = len(findings) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")
