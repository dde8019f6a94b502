"""Score an unlabelled file with a champion."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from flows.batch_reference import require_reason, scoring_reference
from flows.housekeeping.ledgers import open_ledger
from flows.recording import notifications, prefect_run
from flows.recording.process_locks import flow_run_lock
from flows.recording.refusal_report import refusal_report
from flows.temporary_server import local_flow
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.drift.compare import Scope
from ml.errors import UsageError
from ml.package import REASONS_PARAMETER, read_contract
from tasks import activity
from tasks import score as scoring
from tasks.accepted_batch import read_summary
from tasks.clean_process import predict_in_clean_process
from tasks.data_access.data_paths import file_labels
from tasks.data_access.database_url import DatabaseQuery
from tasks.data_access.locate import DatasetSource, find_rows
from tasks.drift import compare_batch, drift_summary, require_no_damage
from tasks.error_boundary import redact_errors
from tasks.ledger import proven_digests
from tasks.settings import load
from tasks.source import read_source
from tasks.storage.content_store import Store
from tasks.tracking import connection, registry
from tasks.tracking.model_folder import PACKAGE_PATH
from tasks.use_cases import use_case_names
from tasks.validate import apply_contract

CaseName = Annotated[str, Field(json_schema_extra={"enum": list(use_case_names())})]
# Champions that were packaged before 0.2.0 name these columns otherwise.
COLUMNS_BEFORE_0_2 = {"because": "explanation_items", "shares": "explanation_weights"}
log = logging.getLogger("steward")
ReasonCount = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class ScoringRequest:
    """What to score, with which champion, and where to: files, or the query of a database."""

    case: str
    contract: str
    files: tuple[Path, ...]
    database: DatabaseQuery | None
    target: Path
    reasons: int
    accept_drift: str | None

    @property
    def label(self) -> str:
        """What the rows come from, for people."""
        return f"the query of {self.database.url}" if self.database else ", ".join(file_labels(self.files))


@local_flow("score", prefect_run.current_run_name)
@redact_errors
def score(
    case: CaseName,
    data: str | list[str],
    out: str,
    contract: str = "simulated",
    reasons: ReasonCount = 0,
    accept_drift: str | None = None,
    query: str | None = None,
) -> dict[str, Any]:
    """Score a file with the champion of one use case and data set.

    The contract inside the champion's package says how the file is read and which rows are accepted.

    Args:
        case: The use case, such as fintech-risk.
        data: What to score: the path of a file, a folder of parts or a wildcard, or several of them; or the address of
            a database, without password. Target columns are not needed and not read.
        out: The file to write, .parquet or .csv; it appears whole or not at all.
        contract: The data set whose champion scores.
        reasons: For a recommender, the number of top items per user that are explained by items of the history;
            for texts, the number of words per row that speak for the predicted class.
        accept_drift: Reason to score a file although it differs severely from the champion's training batch.
        query: The SELECT that reads the rows, where `data` is the address of a database or a SQLite file.
    """
    require_reason(accept_drift)
    settings = load()
    files, database = find_rows(data, query)
    target = Path(out)
    if not target.resolve().parent.is_dir() or target.suffix not in scoring.SUFFIXES:
        expected = "--out FILE.parquet or FILE.csv in a folder that exists"
        raise UsageError(expected, out, "name such a file")
    settings.create_state_dir()
    prefect_run.add_tags(*prefect_run.subject_tags(case, contract))
    request = ScoringRequest(case, contract, files, database, target, reasons, accept_drift)
    with flow_run_lock(settings, case, contract):
        return _score(request)


def _score(request: ScoringRequest) -> dict[str, Any]:
    settings = load()
    client = connection.connect(settings)
    case, contract, reasons = request.case, request.contract, request.reasons
    champion = registry.get_champion(client, f"{case}.{contract}")
    if champion is None:
        raise UsageError(
            f"a champion of {case}.{contract}", "none", f"run `steward run {case} --data {contract}` first"
        )
    digests = proven_digests(*open_ledger(settings, client, champion.name), champion.number)
    with registry.verified_copy(client, champion, digests) as folder:
        rules = _scoring_contract(folder / PACKAGE_PATH, digests.package, request.files)
        if reasons < 0 or (reasons and not (rules.is_recommendation or rules.roles.text)):
            raise UsageError(
                "reasons of a recommender or of texts, 0 or more of them",
                f"{reasons} of {case}",
                "leave --reasons out",
            )
        dataset = DatasetSource(
            contract, rules, request.files, limits=settings.read_limits, database=request.database
        )
        with refusal_report(request.label, request.target, champion) as found:
            raw = read_source(dataset, Store(settings.state_dir.resolve() / "store"))
            activity.begin("validate")
            clean, quarantine, excluded, validation = apply_contract(raw.table("rows"), rules, scoring=True)
            found["validate"] = validation
            reference = scoring_reference(champion.number, read_summary(folder, digests.package))
            # A file to score has no labels, and may have any number of rows of any time.
            drift = compare_batch(clean, rules, reference, Scope(labels=False, rows=False))
            log.info("  drift: %s", drift_summary(drift))
            require_no_damage(drift, request.accept_drift)
        if request.accept_drift and any(finding["action"] == "refuse" for finding in drift["findings"]):
            drift["accepted"] = request.accept_drift.strip()
        activity.begin("predict")
        params = {REASONS_PARAMETER: reasons} if reasons else None
        prediction, _ = predict_in_clean_process(folder, scoring.model_inputs(clean, rules), params)
    prediction = prediction.rename(columns=COLUMNS_BEFORE_0_2)
    if reasons and not {"explanation_items", "reason_words"} & set(prediction):
        raise UsageError(
            "a champion that can explain its answers",
            f"version {champion.number}, which was packaged before that was possible",
            f"run `steward run {case} --data {contract} --fresh`, or leave --reasons out",
        )
    not_scored = scoring.rows_not_scored(quarantine, excluded)
    scores = scoring.score_table(clean, prediction, rules, not_scored)
    scoring.write_scores(scores.assign(**{scoring.VERSION_COLUMN: champion.number}), request.target)
    counts = scoring.count_rows(clean, quarantine, excluded)
    subject = {"case": case, "contract": champion.name, "data": contract}
    result = {"version": champion.number, **counts, "out": str(request.target)}
    notifications.emit_champion_event(notifications.SCORED, subject, **result)
    removing = [
        rule
        for rule in validation["rules"]
        if rule["violations"] and rule["action"] in ("quarantine", "exclude")
    ]
    return {"case": case, "champion": champion.name, **result, "drift": drift, "rules": removing}


def _scoring_contract(package: Path, digest: str, files: tuple[Path, ...]) -> Contract:
    """Return the champion's contract, reading `files` instead of its files or simulator."""
    contract = parse(read_contract(package, digest))
    return replace(
        contract,
        read=contract.read.model_copy(update={"files": file_labels(files), "simulator": None}),
    )
