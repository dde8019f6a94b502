"""promotion."""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flows.recording.outcome import RunOutcome
from flows.recording.run_record import Record
from flows.use_case import UseCase
from ml.data.dataset import Dataset
from ml.errors import PackagingError
from ml.package import Package, read_entities
from tasks import packaging, promote
from tasks.evaluate import load_fitted_model
from tasks.ledger import (
    CHAMPION_UNUSABLE,
    KEEP_CHAMPION,
    PROMOTE,
    Alias,
    AliasMovedError,
    Ledger,
    Verdict,
    commit,
)
from tasks.locate import DatasetSource
from tasks.settings import Settings
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import load_dataset
from tasks.tracking import registry


def _register(
    case: UseCase,
    located: DatasetSource,
    leader: Mapping[str, Any],
    final: StoredResult,
    parts: StoredResult,
    judged: Mapping[str, Any],
    settings: Settings,
    store: Store,
    record: Record,
) -> RunOutcome:
    """Through the packaging gate, the quality gate and the comparison with the champion, into the registry."""
    name = located.contract.name
    test = load_dataset(parts, "test")
    learned = [load_dataset(parts, p) for p in ("train", "valid", "refit") if p in parts.table_names]
    entities = np.unique(np.concatenate([case.evaluator.training_keys(part) for part in learned]))
    packed = Package(load_fitted_model(final), located.contract.source, leader["decision"], entities)
    with tempfile.TemporaryDirectory() as scratch:
        packaged = packaging.package_model(packed, test, Path(scratch) / "model", store)
        record.packaged(packaged)
        checks = promote.quality_gate(case.thresholds, judged, packaged.megabytes, packaged.milliseconds)
        record.checks(checks)
        tags = {
            "candidate": leader["candidate"],
            "data_digest": record.digests["source"],
            "seed": str(record.seed),
        }
        version = registry.register(record.client, name, record.run_id, packaged, tags, case.question)
    return _promote(case, name, version, packed, parts, test, judged, settings, record)


def _promote(
    case: UseCase,
    name: str,
    version: registry.ModelVersion,
    packed: Package,
    parts: StoredResult,
    test: Dataset,
    judged: Mapping[str, Any],
    settings: Settings,
    record: Record,
) -> RunOutcome:
    """Decide, and decide again if another run moved the alias in between."""
    client = record.client
    ledger = Ledger(settings.ledger, name)
    alias = Alias(*registry.alias_of(client, name))
    about = {
        "model_digest": version.digest,
        "test_digest": parts.digest,
        "run_id": record.run_id,
        "primary": judged["primary"],
        "value": judged["value"],
    }
    while True:
        champion = registry.champion(client, name)
        verdict, standing = _compare(case, champion, version, packed, test, judged, client)
        with suppress(AliasMovedError):
            expected = champion.number if champion else None
            line, new = commit(ledger, alias, verdict, version.number, expected, about)
            break
    if not new and line["champion"] is not None:
        reason = (
            f"this model was decided about before, on the same test rows (line {line['line']} of the ledger)"
        )
        verdict = Verdict(KEEP_CHAMPION, reason)
    holder = registry.champion(client, name)
    candidate = holder.tags.get("candidate", "") if holder else ""
    return record.decided(verdict, version, holder.number if holder else None, candidate, standing, line)


def _compare(
    case: UseCase,
    champion: registry.ModelVersion | None,
    version: registry.ModelVersion,
    packed: Package,
    test: Dataset,
    judged: Mapping[str, Any],
    client: Any,
) -> tuple[Verdict, dict[str, Any]]:
    """The verdict on the new version, and the standing (value, low, high) of whoever is champion after it."""
    own = {k: judged[k] for k in ("value", "low", "high")}
    if champion is None:
        return Verdict(PROMOTE, "the first champion: there is none to compare with"), own
    if champion.digest == version.digest:
        return Verdict(KEEP_CHAMPION, "this model is the champion already"), own
    try:
        folder = registry.download_verified(client, champion)
        known = read_entities(folder / "data" / registry.DATA, champion.digest)
        rows = case.evaluator.rows_not_trained_on(test, known)
        exam = test.take(rows)
        answers, _ = packaging.predict_in_clean_process(folder, exam.frame)
        verdict = promote.compare_with_champion(
            case.evaluator, exam, packed.predict(exam.frame), answers, len(test.frame) - len(rows)
        )
        if verdict.verdict == PROMOTE:
            return verdict, own
        standing = (
            asdict(case.evaluator.primary_interval(exam, answers))
            if verdict.difference
            else dict.fromkeys(own)
        )
        return verdict, standing
    except PackagingError as refused:
        reason = f"the champion cannot answer on this table: {refused}"
        return Verdict(CHAMPION_UNUSABLE, reason), dict.fromkeys(own)
