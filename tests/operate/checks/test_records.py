"""What earlier runs left: runs that are gone, the ledger, the content store, contracts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from operate.checks.finding import Finding
from tasks.settings import ROOT, load
from tasks.storage.content_store import StageResult, Store
from tasks.tracking import connection, run_history

Examine = Callable[..., list[Finding]]
KILLED = """
import os, signal
from tasks.tracking import run_history as history, connection as tracking
from tasks.locks.run_lock import LOCK_TAG, RunLock
from tasks.tracking.run import start_run
from tasks.settings import load
settings = load()
with RunLock(settings, "r1", {"case": "fintech-risk", "data": "simulated"}) as presence:
    tags = {LOCK_TAG: "r1", "steward.case": "fintech-risk", "steward.data": "simulated"}
    run = start_run(tracking.connect(settings), settings, "fintech-risk", "killed", tags, [])
    presence.update_metadata(mlflow_run_id=run.run_id)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed(home: Path, found: Examine) -> None:
    (none,) = found("runs")
    assert (none.state, none.found) == ("ok", "0 at work, none that ended without a word")
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -9
    client = connection.connect(load())
    (run,) = run_history.running(client, os.uname().nodename)
    (bad,) = found("runs")
    assert bad.state == "bad"
    assert "fintech-risk on simulated is gone" in bad.found
    assert run_history.status(client, run["mlflow_run_id"]) == "RUNNING"
    # Without a server nobody can tell Prefect; MLflow is put right all the same.
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        mended, rest = found("runs", fix=True)
    assert mended.found == "put right: a run of fintech-risk on simulated: in MLflow KILLED"
    assert rest.state == "warn"
    assert run_history.status(client, run["mlflow_run_id"]) == "KILLED"


def decision(line: int, before: int | None, champion: int | None) -> dict[str, object]:
    about = {"at": "2026-01-01T00:00:00+00:00", "model": "c.d", "verdict": "promote", "reason": "better"}
    return {"line": line, **about, "before": before, "champion": champion}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([decision(1, None, 1), decision(3, 1, 2)], "not numbered from 1 to 2"),
        ([decision(1, None, 1), decision(2, 2, 3)], "line 2 begins with another champion"),
        ([5], "a line (1) that is no decision"),
        ([{"line": 1}], "a line (1) that is no decision"),
    ],
)
def test_a_ledger_that_somebody_wrote_in(home: Path, found: Examine, lines: list[object], said: str) -> None:
    (home / "ledger").mkdir()
    (home / "ledger" / "c.d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bad = found("ledger")[0]
    assert (bad.state, said in bad.found) == ("bad", True)


def test_half_a_line_is_told_and_does_no_harm(home: Path, found: Examine) -> None:
    (home / "ledger").mkdir()
    whole = json.dumps(decision(1, None, None))
    (home / "ledger" / "c.d.jsonl").write_text(f'{whole}\n{{"line": 2, "at\n')
    torn, sound = found("ledger")
    assert (torn.state, "half a line (2)" in torn.found) == ("warn", True)
    assert sound.found == "c.d: champion none in MLflow and ledger"


def stored(home: Path, number: int) -> Path:
    tables = {"rows": pd.DataFrame({"x": [number]})}
    made = StageResult(tables, {"number": number}, {"note.txt": b"note"})
    return Store(home / "store").get_or_compute(f"key-{number}", lambda: made).folder


def test_the_store_is_read_again(home: Path, found: Examine) -> None:
    folders = [stored(home, number) for number in range(12)]
    # The order in which they were written, whatever the clock's resolution.
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder / "manifest.json", (10**9 - age, 10**9 - age))
    (sound,) = found("store")
    assert sound.found == "12 objects; 10 read again, each as its digest; all with --deep"
    (folders[0] / "note.txt").write_bytes(b"other")
    assert [one.state for one in found("store")] == ["ok"]
    (bad,) = found("store", deep=True)
    assert (bad.state, bad.found) == ("bad", f"{folders[0]}: the file note.txt is another")


def _other_rows(folder: Path) -> Path:
    pd.DataFrame({"x": [7]}).to_parquet(folder / "rows.parquet")
    return folder


def _damaged_rows(folder: Path) -> Path:
    (folder / "rows.parquet").write_bytes(b"PAR1")
    return folder


def _no_rows(folder: Path) -> Path:
    (folder / "rows.parquet").unlink()
    return folder


def _no_manifest(folder: Path) -> Path:
    (folder / "manifest.json").unlink()
    return folder


def _other_manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"number": 1', '"number": 2'))
    return folder


def _no_key(folder: Path) -> Path:
    path = folder.parents[1] / "keys" / "key-1.json"
    path.write_text("{}")
    return path


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_other_rows, "the table rows is another"),
        (_damaged_rows, "cannot be read"),
        (_no_rows, "no file rows.parquet"),
        (_no_manifest, "it has no manifest"),
        (_other_manifest, "its manifest is not the one that it was named after"),
        (_no_key, "it is no key"),
    ],
)
def test_what_is_damaged_in_the_store_can_be_taken_away(
    home: Path, found: Examine, harm: Callable[[Path], Path], said: str
) -> None:
    harmed = harm(stored(home, 1))
    (bad,) = found("store")
    assert bad.state == "bad"
    assert bad.found.startswith(f"{harmed}: {said}")
    command, _, _ = bad.fix.partition(":")
    subprocess.run(command.split(), check=True)
    assert [one.state for one in found("store")] == ["ok"]
    # As the fix says: it is computed again.
    assert stored(home, 1).joinpath("manifest.json").exists()


def test_contracts(home: Path, contracts: Path, found: Examine) -> None:
    known = len(list(contracts.glob("*/*.json")))
    (sound,) = found("contracts")
    assert sound.found.startswith(f"{known} of ")
    folder = contracts / "fintech_risk"
    contract = json.loads((folder / "simulated.json").read_text())
    contract["expectations"][0]["type"] = "expect_the_impossible"
    (folder / "simulated.json").write_text(json.dumps(contract))
    (folder / "give_me_some_credit.json").write_text("{")
    credit, simulated, rest = found("contracts")
    assert (credit.state, "JSON in" in credit.found) == ("bad", True)
    assert (simulated.state, "Great Expectations knows" in simulated.found) == ("bad", True)
    assert rest.found.startswith(f"{known - 2} of ")
