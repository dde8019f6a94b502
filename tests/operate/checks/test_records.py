"""`doctor` on run states, ledgers, the content store and contracts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED, temporary_settings

from operate.checks.finding import Finding
from tasks.settings import ROOT, load
from tasks.storage.content_store import StageResult, Store
from tasks.tracking import connection, run_history, run_states

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"

RunChecks = Callable[..., list[Finding]]
KILLED_RUN = """
import os, signal
from tasks.tracking import connection
from tasks.locks.run_lock import LOCK_TAG, RunLock
from tasks.tracking.run import start_run
from tasks.settings import load
settings = load()
with RunLock(settings, "RUN_ID", {"case": "fintech-risk", "data": "simulated"}) as run_lock:
    tags = {LOCK_TAG: "RUN_ID", "steward.case": "fintech-risk", "steward.data": "simulated"}
    run = start_run(connection.connect(settings), settings, "fintech-risk", "killed", tags, [])
    run_lock.update_metadata(mlflow_run_id=run.run_id)
    os.kill(os.getpid(), signal.SIGKILL)
""".replace("RUN_ID", RUN_ID)


def test_killed_run_is_reported_and_repaired(home: Path, check: RunChecks) -> None:
    (finding,) = check("runs")
    assert (finding.status, finding.message) == ("ok", "no crashed runs; 0 running")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_RUN], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -9
    client = connection.connect(load())
    (run,) = run_states.running_runs(client, os.uname().nodename)
    (bad,) = check("runs")
    assert bad.status == "bad"
    assert "run of fintech-risk on simulated crashed" in bad.message
    assert run_history.run_status(client, run.run_id) == "RUNNING"
    # Without a Prefect server, and where none can be started, only MLflow is repaired.
    no_server = {PREFECT_SERVER_EPHEMERAL_ENABLED: False}
    with temporary_settings(no_server, restore_defaults={PREFECT_API_URL}):
        fixed, rest = check("runs", fix=True)
    assert fixed.message == "repaired: run of fintech-risk on simulated: in MLflow KILLED"
    assert rest.status == "warn"
    assert run_history.run_status(client, run.run_id) == "KILLED"


def decision(number: int, before: int | None, champion: int | None) -> dict[str, object]:
    verdict = {"at": "2026-01-01T00:00:00+00:00", "model": "c.d", "verdict": "promote", "reason": "better"}
    return {"line": number, **verdict, "before": before, "champion": champion}


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([decision(1, None, 1), decision(3, 1, 2)], "not numbered from 1 to 2"),
        ([decision(1, None, 1), decision(2, 2, 3)], "entry 2 starts from another champion"),
        ([5], "line 1 is not an entry"),
        ([{"line": 1}], "line 1 is not an entry"),
    ],
)
def test_edited_ledger_is_bad(home: Path, check: RunChecks, entries: list[object], text: str) -> None:
    (home / "ledger").mkdir()
    (home / "ledger" / "c.d.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    bad = check("ledger")[0]
    assert (bad.status, text in bad.message) == ("bad", True)


def test_incomplete_ledger_entry_is_reported_and_ignored(home: Path, check: RunChecks) -> None:
    (home / "ledger").mkdir()
    complete = json.dumps(decision(1, None, None))
    (home / "ledger" / "c.d.jsonl").write_text(f'{complete}\n{{"line": 2, "at\n')
    incomplete, intact = check("ledger")
    assert incomplete.status == "warn"
    assert incomplete.message.endswith("incomplete entry (line 2) from a crash; ignored")
    assert intact.message == "c.d: champion none in MLflow and ledger"


def store_object(home: Path, number: int) -> Path:
    tables = {"rows": pd.DataFrame({"x": [number]})}
    result = StageResult(tables, {"number": number}, {"note.txt": b"note"})
    return Store(home / "store").get_or_compute(f"key-{number}", lambda: result).folder


def test_newest_objects_of_the_store_are_verified_and_all_with_deep(home: Path, check: RunChecks) -> None:
    folders = [store_object(home, number) for number in range(12)]
    # Fix the order of modification times, independent of the clock's resolution.
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder / "manifest.json", (10**9 - age, 10**9 - age))
    (intact,) = check("store")
    assert intact.message == "12 objects; 10 verified by digest (all with --deep)"
    (folders[0] / "note.txt").write_bytes(b"other")
    assert [finding.status for finding in check("store")] == ["ok"]
    (bad,) = check("store", deep=True)
    assert (bad.status, bad.message) == ("bad", f"{folders[0]}: the file note.txt was changed")


def _modify_rows(folder: Path) -> Path:
    pd.DataFrame({"x": [7]}).to_parquet(folder / "rows.parquet")
    return folder


def _damage_rows(folder: Path) -> Path:
    (folder / "rows.parquet").write_bytes(b"PAR1")
    return folder


def _delete_rows(folder: Path) -> Path:
    (folder / "rows.parquet").unlink()
    return folder


def _delete_manifest(folder: Path) -> Path:
    (folder / "manifest.json").unlink()
    return folder


def _modify_manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"number": 1', '"number": 2'))
    return folder


def _modify_key(folder: Path) -> Path:
    path = folder.parents[1] / "keys" / "key-1.json"
    path.write_text("{}")
    return path


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_modify_rows, "the table rows was changed"),
        (_damage_rows, "the table rows was changed"),
        (_delete_rows, "missing: rows.parquet"),
        (_delete_manifest, "no manifest"),
        (_modify_manifest, "the manifest was changed"),
        (_modify_key, "not a key of the store"),
    ],
)
def test_damage_in_the_store_is_reported_and_can_be_deleted(
    home: Path, check: RunChecks, damage: Callable[[Path], Path], text: str
) -> None:
    damaged = damage(store_object(home, 1))
    (bad,) = check("store")
    assert bad.status == "bad"
    assert bad.message.startswith(f"{damaged}: {text}")
    command, _, _ = bad.fix.partition(":")
    subprocess.run(command.split(), check=True)
    assert [finding.status for finding in check("store")] == ["ok"]
    # As the fix says, it is computed again.
    assert store_object(home, 1).joinpath("manifest.json").exists()


def test_invalid_contracts_are_bad(home: Path, contracts: Path, check: RunChecks) -> None:
    count = len(list(contracts.glob("*/*.json")))
    (valid,) = check("contracts")
    assert valid.message.startswith(f"{count} contracts in ")
    folder = contracts / "fintech_risk"
    contract = json.loads((folder / "simulated.json").read_text())
    contract["expectations"][0]["type"] = "expect_the_impossible"
    (folder / "simulated.json").write_text(json.dumps(contract))
    (folder / "give_me_some_credit.json").write_text("{")
    credit, simulated, rest = check("contracts")
    assert (credit.status, "JSON in" in credit.message) == ("bad", True)
    assert (simulated.status, "a known expectation" in simulated.message) == ("bad", True)
    assert rest.message.startswith(f"{count - 2} contracts in ")
