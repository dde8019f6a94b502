"""Lineage of the stages: what each left in the content store, from the registered model back to the table."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from flows.lineage.model_version import ModelVersionRecord, VerifiedFolder, VerifiedResult
from flows.lineage.step import MODIFIED, UNVERIFIED, LineageStep
from ml.data.digest import json_digest
from tasks.dropped_columns import describe_dropped_columns


def stage_steps(record: ModelVersionRecord) -> Iterator[LineageStep]:
    """Yield the registered fit, the golden rows, the other fits, then features, split, validation and table."""
    yield _model(record)
    yield _golden(record)
    registered = _registered_fit(record)
    for name, entry in record.stages.items():
        if name.startswith(("train ", "refit ")) and entry["digest"] != registered:
            yield _stage_step("fit", entry, record.stored_object(entry["digest"]), name)
    for name, describe in (
        ("features", _features),
        ("split", _split),
        ("validate", _validation),
        ("source", _table),
    ):
        if name in record.stages:
            entry = record.stages[name]
            yield describe(record, entry, record.stored_object(entry["digest"]))


def _is_nested(value: Any) -> bool:
    """Whether a hyperparameter is a list of candidates: too long to print."""
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _model(record: ModelVersionRecord) -> LineageStep:
    """Describe the fit that the package was made from."""
    name, digest = record.version.tags.get("candidate", ""), _registered_fit(record)
    if not digest:
        reason = "neither the package nor the facts are available to identify the fit"
        return LineageStep("model", name, UNVERIFIED, (reason,))
    stage, fit = record.stages.get(f"train {name}", {}), record.stored_object(digest)
    parameters = fit.manifest["facts"]["parameters"] if fit.path else stage.get("parameters", {})
    shown = ", ".join(f"{k}={v}" for k, v in parameters.items() if k != "candidate" and not _is_nested(v))
    summary = f"{digest[:12]}, {name}" + (f" ({shown})" if shown else "")
    entries = record.facts.get("leaderboard", [])
    others = [entry["candidate"] for entry in entries if not entry["leads"]]
    is_out_of_fold = any(entry.get("out_of_fold") for entry in entries)
    rows = "train and valid, out of fold," if is_out_of_fold else "the validation split"
    skipped = record.facts.get("skipped", [])
    details = ["refitted on train and valid data"] if stage and digest != stage["digest"] else []
    details += [f"selected on {rows} over {', '.join(others)}"] if others else []
    details += [f"{entry['candidate']} was skipped: {entry['reason']}" for entry in skipped]
    recorded = {"candidate": name, "parameters": parameters, "digest": digest, "path": str(fit.path or "")}
    return LineageStep("model", summary, fit.status, (*_reason(fit), *details), recorded)


def _registered_fit(record: ModelVersionRecord) -> str:
    """Return the digest of the fit inside the package: identified by content, whichever stage made it."""
    prefix, files = "model/", record.package.manifest.get("files", {})
    inside = {name.removeprefix(prefix): sha for name, sha in files.items() if name.startswith(prefix)}
    if inside:
        return json_digest({"tables": {}, "files": inside})
    return str(record.stages.get(f"train {record.version.tags.get('candidate')}", {}).get("digest", ""))


def _golden(record: ModelVersionRecord) -> LineageStep:
    golden = record.golden_rows()
    rows = _row_counts(golden, ["golden"]).get("golden")
    summary = f"{rows or 'the'} rows of the packaging gate, with their predictions"
    return LineageStep("golden", summary, golden.status, _reason(golden), {"path": str(golden.path or "")})


def _features(record: ModelVersionRecord, entry: Mapping[str, Any], stored: VerifiedResult) -> LineageStep:
    """Describe the columns that were computed, and compare the sizes of their datasets with those of the split."""
    facts = record.facts["features"]
    derived = [f"{feature['name']}: {feature['description']}" for feature in facts["declared"]]
    derived += [f"{text['column']}: {text['topics']} topics and two lengths" for text in facts["texts"]]
    sizes = {name: size["rows"] for name, size in record.facts["split"]["datasets"].items()}
    step = _stage_step("features", entry, stored, f"{len(derived)} computed", facts)
    return _with_miscounts(step, _miscounts(sizes, _row_counts(stored, list(sizes))), tuple(derived))


def _split(record: ModelVersionRecord, entry: Mapping[str, Any], stored: VerifiedResult) -> LineageStep:
    """Compare the sizes of the datasets with the stored tables."""
    facts = record.facts["split"]
    sizes = {name: size["rows"] for name, size in facts["datasets"].items()}
    policy = ", ".join(f"{name} {value}" for name, value in facts.get("policy", {}).items() if value)
    # Runs before 0.2.0 stored the dataset train_valid as `refit`.
    legacy = {"train_valid": "refit"} if "refit" in stored.manifest.get("tables", {}) else {}
    counted = _row_counts(stored, [legacy.get(name, name) for name in sizes])
    counted = {new: counted[old] for new, old in ((n, legacy.get(n, n)) for n in sizes) if old in counted}
    summary = ", ".join(f"{name} {rows:,}" for name, rows in sizes.items())
    step = _stage_step("split", entry, stored, summary, facts)
    return _with_miscounts(step, _miscounts(sizes, counted), (policy,) if policy else ())


def _validation(record: ModelVersionRecord, entry: Mapping[str, Any], stored: VerifiedResult) -> LineageStep:
    """Compare the counts of the contract gate with the stored tables, and list the rules that removed rows."""
    facts = record.facts["validate"]
    details = [
        f"{rule['action']} {rule['violations']:,} of {rule['rows']:,} by {rule['rule']}: {rule['reason']}"
        for rule in facts["rules"]
        if rule["violations"] and rule["action"] in ("quarantine", "exclude")
    ]
    counted = _row_counts(stored, ["clean"])
    for count, table in (("quarantined", "quarantine"), ("excluded", "excluded")):
        if stored.path:
            counted[count] = int(stored.table(table)["row"].nunique())
            details += [f"{count} rows: {stored.path / table}.parquet"] if facts[count] else []
    counts = ", ".join(f"{facts[k]:,} {k}" for k in ("clean", "quarantined", "excluded"))
    summary = f"{facts['rows']:,} rows = {counts}"
    step = _stage_step("validate", entry, stored, summary, facts)
    return _with_miscounts(step, _miscounts(facts, counted), tuple(details))


def _table(record: ModelVersionRecord, entry: Mapping[str, Any], stored: VerifiedResult) -> LineageStep:
    """Compare the number of rows that were read with the stored table."""
    facts = record.facts["source"]
    dropped = describe_dropped_columns(facts["dropped_columns"])
    step = _stage_step("table", entry, stored, f"{facts['rows']:,} rows", facts)
    details = (f"dropped: {dropped}",) if dropped else ()
    return _with_miscounts(step, _miscounts(facts, _row_counts(stored, ["rows"])), details)


def _row_counts(stored: VerifiedResult, tables: list[str]) -> dict[str, int]:
    """Count the rows of stored tables; empty where the object cannot be used."""
    return {table: stored.row_count(table) for table in tables} if stored.path else {}


def _miscounts(facts: Mapping[str, Any], counted: Mapping[str, int]) -> tuple[str, ...]:
    differ = [name for name, rows in counted.items() if facts[name] != rows]
    return tuple(f"{name}: {facts[name]} in facts.json, {counted[name]} in the store" for name in differ)


def _stage_step(
    name: str,
    entry: Mapping[str, Any],
    stored: VerifiedFolder,
    summary: str,
    facts: Mapping[str, Any] | None = None,
) -> LineageStep:
    """Describe a stage's object of the store."""
    recorded = {"stage": entry["stage"], "digest": entry["digest"], "path": str(stored.path or "")}
    return LineageStep(
        name,
        f"{entry['digest'][:12]}, {summary}",
        stored.status,
        _reason(stored),
        {**recorded, **(facts or {})},
    )


def _with_miscounts(step: LineageStep, miscounts: tuple[str, ...], details: tuple[str, ...]) -> LineageStep:
    """Add details to a step; miscounts are details that mark it as modified."""
    status = MODIFIED if miscounts else step.status
    return replace(step, status=status, details=(*step.details, *miscounts, *details))


def _reason(folder: VerifiedFolder) -> tuple[str, ...]:
    return (folder.reason,) if folder.reason else ()
