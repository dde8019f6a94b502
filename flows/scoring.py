"""Scoring: an unlabelled file in, the champion's answers out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow

from flows.recording import notifications
from ml.contract.parser import parse
from ml.errors import UsageError
from ml.package import REASONS, read_contract
from tasks import packaging
from tasks import score as scoring
from tasks.locate import DatasetSource
from tasks.settings import load
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.tracking import connection, registry
from tasks.validate import examine


@flow(name="score", persist_result=False)
def score(case: str, data: str, out: str, contract: str = "simulated", reasons: int = 0) -> dict[str, Any]:
    """Score a file with the champion of one use case and data set.

    The champion's own contract, which travels inside its package, says how the file is read and which rows may enter.

    Args:
        case: The use case, such as fintech-risk.
        data: The file to score: CSV, zipped CSV or Parquet. Target columns are not needed and not read.
        out: The Parquet file to write; it appears whole or not at all.
        contract: The data set whose champion scores.
        reasons: Of a recommender, for how many of each user's best items to say what of the history speaks for them.
    """
    settings = load()
    source, target = Path(data), Path(out)
    if not source.is_file():
        raise UsageError(f"a file {source}", "none", "give the path of a file that can be read")
    if not target.resolve().parent.is_dir() or target.suffix != ".parquet":
        raise UsageError("--out FILE.parquet in a folder that exists", out, "name such a file")
    settings.prepare()
    client = connection.connect(settings)
    champion = registry.champion(client, f"{case}.{contract}")
    if champion is None:
        raise UsageError(
            f"a champion of {case}.{contract}", "none", f"run `steward run {case} --data {contract}` first"
        )
    folder = registry.download_verified(client, champion)
    own = parse(read_contract(folder / "data" / registry.DATA, champion.digest))
    if reasons < 0 or (reasons and not own.is_recommendation):
        raise UsageError(
            "reasons of a recommender, 0 or more of them", f"{reasons} of {case}", "leave --reasons out"
        )
    # A file that is given takes the place of those that the contract names, or of the simulator.
    own = replace(own, read=replace(own.read, files=(source.name,), simulator=None))

    raw = read_files(DatasetSource(contract, own, (source,)), Store(settings.home.resolve() / "store"))
    clean, quarantine, excluded, _ = examine(raw.table("rows"), own, scoring=True)
    prediction, _ = packaging.predict_in_clean_process(
        folder, scoring.questions(clean, own), {REASONS: reasons} if reasons else None
    )
    if reasons and "because" not in prediction:
        raise UsageError(
            "a champion that tells reasons",
            f"version {champion.number}, which was packaged before they could",
            f"run `steward run {case} --data {contract} --fresh`, or leave --reasons out",
        )
    left = scoring.left_out(quarantine, excluded)
    scoring.write(scoring.answers(clean, prediction, own, left), target)
    facts = scoring.counts(clean, quarantine, excluded)
    announced = {"case": case, "contract": champion.name, "data": contract}
    notifications.event(notifications.SCORED, announced, version=champion.number, out=str(target), **facts)
    return {"case": case, "champion": champion.name, "version": champion.number, **facts, "out": str(target)}
