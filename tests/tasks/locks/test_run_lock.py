"""Run lock: a run is active while its process lives, and found dead after any other end than leaving the context."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tasks.locks.run_lock import COMMANDS, RunLock, active_runs, dead_runs, lock_folder, reconcile
from tasks.settings import Settings

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import sys
from pathlib import Path
from tasks.locks.run_lock import RunLock
from tasks.settings import Settings
with RunLock(Settings(state_dir=Path(sys.argv[1])), sys.argv[2], {"case": "fintech-risk"}) as run_lock:
    run_lock.update_metadata(mlflow_run_id="m1")
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "home")


def start_child(settings: Settings, identity: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(settings.state_dir), identity],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "locked\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def ids(runs: list[dict[str, str]]) -> list[str]:
    return [run["id"] for run in runs]


def test_a_run_is_active_until_it_ends(settings: Settings) -> None:
    assert active_runs(settings) == dead_runs(settings) == []
    process = start_child(settings, RUN_ID)
    (metadata,) = active_runs(settings)
    assert (metadata["id"], metadata["case"], metadata["mlflow_run_id"], metadata["pid"]) == (
        RUN_ID,
        "fintech-risk",
        "m1",
        process.pid,
    )
    assert dead_runs(settings) == []
    process.communicate("\n")
    assert active_runs(settings) == dead_runs(settings) == list(lock_folder(settings).iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_killed_run_is_dead_until_it_is_reconciled(settings: Settings, sent: signal.Signals) -> None:
    process = start_child(settings, RUN_ID)
    with start_child(settings, f"{RUN_ID}-2") as other:
        process.send_signal(sent)
        process.communicate()
        assert ids(active_runs(settings)) == [f"{RUN_ID}-2"]
        assert [(run["id"], run["mlflow_run_id"]) for run in dead_runs(settings)] == [(RUN_ID, "m1")]
        with reconcile(settings, f"{RUN_ID}-2") as is_dead:
            assert not is_dead
        with reconcile(settings, RUN_ID) as is_dead:
            assert is_dead
        with reconcile(settings, RUN_ID) as is_dead:
            assert not is_dead
        assert ids(active_runs(settings)) == [f"{RUN_ID}-2"]
        assert dead_runs(settings) == []
        other.communicate("\n")


def test_a_failed_reconciliation_keeps_the_run_for_the_next(settings: Settings) -> None:
    kill(start_child(settings, RUN_ID))
    with pytest.raises(OSError, match="no server"), reconcile(settings, RUN_ID):
        raise OSError("no server")
    assert ids(dead_runs(settings)) == [RUN_ID]


def test_two_processes_never_reconcile_the_same_run(settings: Settings) -> None:
    kill(start_child(settings, RUN_ID))
    with reconcile(settings, RUN_ID) as first, reconcile(settings, RUN_ID) as second:
        assert (first, second) == (True, False)
    assert dead_runs(settings) == []


def test_a_run_that_died_while_writing_metadata_is_known_by_its_id(settings: Settings) -> None:
    kill(start_child(settings, RUN_ID))
    (lock_folder(settings) / f"{RUN_ID}.json").write_text("{")
    assert dead_runs(settings) == [{"id": RUN_ID}]


def test_an_exception_releases_the_lock(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt), RunLock(settings, RUN_ID, {}):
        raise KeyboardInterrupt
    assert list(lock_folder(settings).iterdir()) == []


@pytest.mark.parametrize("ending", ["FINISHED", "FAILED", "KILLED"])
def test_an_abandoned_lock_is_dead_and_says_how_the_run_ended(settings: Settings, ending: str) -> None:
    lock = RunLock(settings, RUN_ID, {"case": "fintech-risk"})
    lock.acquire()
    lock.record_ending(ending)
    assert dead_runs(settings) == []
    lock.abandon()
    (dead,) = dead_runs(settings)
    assert (dead["id"], dead["case"], dead["ending"]) == (RUN_ID, "fintech-risk", ending)
    with reconcile(settings, RUN_ID) as is_dead:
        assert is_dead
    assert list(lock_folder(settings).iterdir()) == []


def test_locks_of_commands_are_no_runs(settings: Settings) -> None:
    lock = RunLock(settings, "c1", {"case": "score"}, COMMANDS)
    lock.acquire()
    assert active_runs(settings) == []
    lock.abandon()
    assert dead_runs(settings) == []
    assert ids(dead_runs(settings, COMMANDS)) == ["c1"]
