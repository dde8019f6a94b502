"""The doctor as an operator calls it: on a home that is not there, on one that was moved, on broken ones."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from prefect import flow

from flows import fintech_risk
from flows.pipeline import run
from flows.scoring import score
from flows.use_case import RunParameters
from ml.errors import UsageError
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Prior
from ml.tabular.gradient_boosting import GradientBoosting
from operate.checks.finding import Finding
from operate.doctor import CHECKS, Check, examine
from tasks.ledger import Ledger
from tasks.settings import load
from tasks.tracking import connection, registry, run_history

QUICK = replace(
    fintech_risk.CASE,
    candidates={"prior": Prior(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(minimum=0.5),
)
NAME = "fintech-risk.simulated"
LOADS = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.pyfunc.load_model(sys.argv[2])"


def trace(home: Path) -> dict[str, tuple[int, ...]]:
    """What tells that something was written: every file's inode, size and times."""
    seen = {str(p): p.stat() for p in (home, *home.rglob("*"))}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in seen.items()}


def doctor(*arguments: str, before: Sequence[str] = (), **environment: str) -> tuple[int, list[Finding]]:
    """Exit code and findings of the command, in a process of its own; what stands `before` starts it."""
    done = subprocess.run(
        [*before, Path(sys.executable).parent / "steward", "doctor", "--json", *arguments],
        env={k: v for k, v in os.environ.items() if k not in ("PREFECT_HOME", "MPLCONFIGDIR")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, [Finding(**json.loads(line)) for line in done.stdout.splitlines()]


def bad(found: list[Finding]) -> list[str]:
    return [finding.check for finding in found if finding.state == "bad"]


def look(*names: str, fix: bool = False) -> list[Finding]:
    return list(examine(fix, checks=[check for check in CHECKS if check.name in names]))


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "loans.parquet"
    SIMULATORS["lender"](1500, 0).rows.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def taken_away(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, prefect_api: str, loans: Path
) -> Path:
    """The home of one run, which was made somewhere else."""
    home = tmp_path_factory.mktemp("there") / "home"
    home.mkdir()
    shutil.copy(migrated, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(home))
        flow(name=QUICK.name)(lambda: run(QUICK, RunParameters(str(loans), "simulated")))()
    return home.rename(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def moved(taken_away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in a folder whose name must be quoted in an address, and is a pattern in SQL."""
    home = shutil.copytree(taken_away, tmp_path / "it's_a home%")
    monkeypatch.setenv("STEWARD_HOME", str(home))
    return home


def test_a_moved_home_is_told_and_put_right(moved: Path, loans: Path, tmp_path: Path) -> None:
    before = trace(moved)
    code, told = doctor()
    assert code == 1
    assert bad(told) == ["artifacts", "ledger"]
    assert all(finding.fix for finding in told if finding.state != "ok")
    (why,) = [finding.found for finding in told if finding.check == "artifacts"]
    assert "this home was moved" in why
    (lost,) = [finding.found for finding in told if (finding.check, finding.state) == ("ledger", "bad")]
    assert f"champion {NAME} version 1 does not load" in lost
    assert trace(moved) == before

    # A run would write to where the home was.
    with pytest.raises(UsageError, match="steward doctor --fix"):
        flow(name=QUICK.name)(lambda: run(QUICK, RunParameters(str(loans), "simulated")))()
    assert len(list((moved / "artifacts" / "fintech-risk").iterdir())) == 2  # one run, and models

    mended, sound, ledger = look("artifacts", "ledger", fix=True)
    assert mended.found.startswith("put right: rewrote ")
    assert sound.found.endswith("all in this home")
    assert ledger.state == "ok"
    (copy,) = moved.glob("mlflow.db.*.before-doctor")
    assert str(copy) in mended.found
    assert copy.read_bytes()[:16] == b"SQLite format 3\0"

    uri = load().mlflow_uri
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOADS, uri, f"models:/{NAME}@champion"], check=True)
    client = connection.connect(load())
    (first,) = run_history.finished(client, NAME)
    remembered = run_history.remembered(client, first)
    assert remembered is not None
    assert remembered.facts is not None
    scored = score("fintech-risk", str(loans), str(tmp_path / "scores.parquet"))
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == scored["rows"] == 1500
    # And the next run stands by the one before.
    again = flow(name=QUICK.name)(lambda: run(QUICK, RunParameters(str(loans), "simulated")))()
    assert (again.verdict, again.version) == ("keep", 1)
    assert bad(look("artifacts", "ledger", "runs", "database")) == []


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, told = doctor(STEWARD_HOME=str(tmp_path / "home"), HOME=str(tmp_path))
    assert code == 0
    # Of this machine nothing is known here.
    ours = [finding for finding in told if finding.check not in ("disk", "versions")]
    assert [finding.check for finding in ours if finding.state != "ok"] == ["home"]
    assert {"database", "telemetry", "server", "runs", "ledger", "contracts"} <= {f.check for f in ours}
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_the_only_finding(tmp_path: Path) -> None:
    code, (only,) = doctor(STEWARD_HOME=str(tmp_path), STEWARD_THREADS="none")
    assert (code, only.check, only.state) == (1, "settings", "bad")
    assert "STEWARD_THREADS" in only.found


def test_a_home_that_this_user_may_not_look_into(home: Path) -> None:
    # Root may do what modes forbid, unless that right is taken from it.
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if powerless and not shutil.which(powerless[0]):
        pytest.skip("as root, this needs setpriv")
    (home / "prefect").mkdir()
    (home / "ledger").mkdir()
    home.chmod(0o000)
    try:
        code, told = doctor(before=powerless, STEWARD_HOME=str(home))
    finally:
        home.chmod(0o700)
    assert code == 1
    assert {"home", "database"} <= set(bad(told))
    assert not [finding for finding in told if "failed itself" in finding.found]
    assert all(finding.fix for finding in told if finding.state != "ok")


def test_while_a_run_is_at_work_nothing_is_rewritten(moved: Path) -> None:
    from tasks.locks.run_lock import RunLock

    with RunLock(load(), "r1", {}):
        before = (moved / "mlflow.db").read_bytes()
        refused, moved_still = look("artifacts", fix=True)
        assert "no run at work" in refused.found
        assert moved_still.state == "bad"
        assert (moved / "mlflow.db").read_bytes() == before
    assert [finding.state for finding in look("artifacts", fix=True)] == ["ok", "ok"]


def test_artifacts_that_are_nowhere(moved: Path) -> None:
    shutil.rmtree(moved / "artifacts")
    before = (moved / "mlflow.db").read_bytes()
    (lost,) = look("artifacts", fix=True)
    assert (lost.state, "neither that nor" in lost.found) == ("bad", True)
    assert (moved / "mlflow.db").read_bytes() == before


def test_a_copy_beside_the_original(moved: Path) -> None:
    (where,) = look("artifacts")
    there = Path(where.found.split("lead to ")[1].split(", which")[0])
    shutil.copytree(moved / "artifacts", there)
    try:
        (warned,) = look("artifacts", fix=True)
        assert (warned.state, "outside of this home" in warned.found) == ("warn", True)
        assert f"STEWARD_HOME={there.parent}" in warned.fix
    finally:
        shutil.rmtree(there)


def _crash_before_the_alias(client: connection.Client) -> None:
    ledger = Ledger(load().ledger, NAME)
    ledger.append({"verdict": "promote", "reason": "better", "before": 1, "champion": 2})


def _moved_by_hand(client: connection.Client) -> None:
    registry.move_alias(client, NAME, 2)


@pytest.mark.parametrize(
    ("happened", "said", "champion"),
    [(_crash_before_the_alias, "a crash left version 1", 2), (_moved_by_hand, "version 2 is champion", 2)],
)
def test_ledger_and_alias_that_differ(
    moved: Path, happened: Callable[[connection.Client], None], said: str, champion: int
) -> None:
    look("artifacts", fix=True)
    client = connection.connect(load())
    one = client.get_model_version(NAME, "1")
    client.create_model_version(NAME, one.source, one.run_id, tags=one.tags, model_id=one.model_id)
    happened(client)
    differ = look("ledger")[0]
    assert (differ.state, said in differ.found) == ("bad", True)
    mended = look("ledger", fix=True)
    assert [finding.state for finding in mended if NAME in finding.found] == ["ok"] * len(mended)
    holder = registry.champion(client, NAME)
    assert holder is not None
    assert holder.number == champion == Ledger(load().ledger, NAME).entries()[-1]["champion"]


def test_a_champion_whose_files_were_changed(moved: Path) -> None:
    look("artifacts", fix=True)
    (model,) = moved.glob("artifacts/fintech-risk/models/*/artifacts/data/package/decision.json")
    model.write_text("{}")
    changed = look("ledger")[-1]
    assert (changed.state, "does not load: a changed file" in changed.found) == ("bad", True)


def test_a_check_that_fails_is_a_finding(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "ledger" / "s3cret.jsonl").mkdir(parents=True)
    known = {check.name: check for check in CHECKS}
    absent = Check("folders", "operate.checks.nowhere")
    failed, missing, sound = examine(checks=[known["ledger"], absent, known["home"]])
    assert (failed.check, failed.found) == ("ledger", "this check failed itself: IsADirectoryError")
    assert missing.found == "this check failed itself: ModuleNotFoundError"
    assert sound.state == "ok"
    assert capsys.readouterr().err == ""
    list(examine(verbose=True, checks=[known["ledger"]]))
    assert "Traceback" in capsys.readouterr().err
