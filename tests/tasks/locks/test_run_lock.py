"""RunLock: a run is there while its process lives, and found gone after any end but its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.locks.run_lock import RunLock, active_runs, dead_runs, folder, reconcile
from tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import sys
from pathlib import Path
from tasks.locks.run_lock import RunLock
from tasks.settings import Settings
with RunLock(Settings(home=Path(sys.argv[1])), sys.argv[2], {"case": "fintech-risk"}) as presence:
    presence.update_metadata(mlflow_run_id="m1")
    print("here", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def child(settings: Settings, identity: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(settings.home), identity],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    return process


def ids(found: list[dict[str, str]]) -> list[str]:
    return [one["id"] for one in found]


def test_a_run_is_present_until_it_ends(settings: Settings) -> None:
    assert active_runs(settings) == dead_runs(settings) == []
    process = child(settings, "r1")
    (told,) = active_runs(settings)
    assert (told["id"], told["case"], told["mlflow_run_id"], told["pid"]) == (
        "r1",
        "fintech-risk",
        "m1",
        process.pid,
    )
    assert dead_runs(settings) == []
    process.communicate("\n")
    assert active_runs(settings) == dead_runs(settings) == list(folder(settings).iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_killed_run_is_absent_until_it_is_put_right(settings: Settings, how: signal.Signals) -> None:
    process = child(settings, "r1")
    with child(settings, "r2") as other:
        process.send_signal(how)
        process.communicate()
        assert ids(active_runs(settings)) == ["r2"]
        assert [(told["id"], told["mlflow_run_id"]) for told in dead_runs(settings)] == [("r1", "m1")]
        with reconcile(settings, "r2") as gone:
            assert not gone
        with reconcile(settings, "r1") as gone:
            assert gone
        with reconcile(settings, "r1") as gone:
            assert not gone
        assert ids(active_runs(settings)) == ["r2"]
        assert dead_runs(settings) == []
        other.communicate("\n")


def test_who_fails_to_put_a_run_right_leaves_it(settings: Settings) -> None:
    process = child(settings, "r1")
    process.kill()
    process.communicate()
    with pytest.raises(OSError, match="no server"), reconcile(settings, "r1"):
        raise OSError("no server")
    assert ids(dead_runs(settings)) == ["r1"]


def test_two_never_put_the_same_run_right(settings: Settings) -> None:
    process = child(settings, "r1")
    process.kill()
    process.communicate()
    with reconcile(settings, "r1") as first, reconcile(settings, "r1") as second:
        assert (first, second) == (True, False)
    assert dead_runs(settings) == []


def test_a_run_that_died_before_it_said_anything_has_a_name(settings: Settings) -> None:
    process = child(settings, "r1")
    process.kill()
    process.communicate()
    (folder(settings) / "r1.json").write_text("{")
    assert dead_runs(settings) == [{"id": "r1"}]


def test_an_exception_ends_presence_too(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt), RunLock(settings, "r1", {}):
        raise KeyboardInterrupt
    assert list(folder(settings).iterdir()) == []
