"""`steward doctor` on state directories that are missing, moved or damaged."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from prefect import flow

from flows import fintech_risk
from flows.housekeeping.ledgers import open_ledger
from flows.pipeline import run
from flows.scoring import score
from flows.use_case import RunParameters
from ml.errors import UsageError
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from operate.checks.finding import Finding
from operate.doctor import CHECKS, Check, run_checks
from tasks.decisions import commit_verdict
from tasks.ledger import Ledger, Verdict
from tasks.settings import load
from tasks.tracking import connection, registry, run_history

# Its fixtures take long, and would be made by each worker.
pytestmark = pytest.mark.xdist_group("doctor")

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"

QUICK = replace(
    fintech_risk.CASE,
    candidates={"constant": Constant(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(min_primary=0.5),
)
NAME = "fintech-risk.simulated"
LOAD_MODEL = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.pyfunc.load_model(sys.argv[2])"


def file_states(home: Path) -> dict[str, tuple[int, ...]]:
    """Return inode, size and times of every file, which change when something is written."""
    states = {str(p): p.stat() for p in (home, *home.rglob("*"))}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in states.items()}


def doctor(*arguments: str, prefix: Sequence[str] = (), **environment: str) -> tuple[int, list[Finding]]:
    """Run the command in its own process, started by `prefix`; return exit code and findings."""
    done = subprocess.run(
        [*prefix, Path(sys.executable).parent / "steward", "doctor", "--json", *arguments],
        env={k: v for k, v in os.environ.items() if k not in ("PREFECT_HOME", "MPLCONFIGDIR")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, [Finding(**json.loads(line)) for line in done.stdout.splitlines()]


def bad_checks(findings: list[Finding]) -> list[str]:
    return [finding.check for finding in findings if finding.status == "bad"]


def selected_checks(*names: str, fix: bool = False) -> list[Finding]:
    return list(run_checks(fix, checks=[check for check in CHECKS if check.name in names]))


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "loans.parquet"
    SIMULATORS["lender"](1500, 0).rows.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def original_state_dir(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, prefect_api: str, loans: Path
) -> Path:
    """Create a state directory with one run, and move it."""
    home = tmp_path_factory.mktemp("there") / "home"
    home.mkdir()
    shutil.copy(empty_database, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(home))
        flow(name=QUICK.name)(lambda: run(QUICK, RunParameters(str(loans), "simulated")))()
    return home.rename(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def moved(original_state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy it to a folder whose name is quoted in URLs and is a pattern in SQL."""
    home = shutil.copytree(original_state_dir, tmp_path / "it's_a home%")
    monkeypatch.setenv("STEWARD_HOME", str(home))
    return home


def test_moved_state_directory_is_reported_and_repaired(moved: Path, loans: Path, tmp_path: Path) -> None:
    before = file_states(moved)
    code, findings = doctor()
    assert code == 1
    assert bad_checks(findings) == ["artifacts", "ledger"]
    assert all(finding.fix for finding in findings if finding.status != "ok")
    (artifacts,) = [finding.message for finding in findings if finding.check == "artifacts"]
    assert "the state directory was moved" in artifacts
    (ledger_message,) = [
        finding.message for finding in findings if (finding.check, finding.status) == ("ledger", "bad")
    ]
    assert f"champion {NAME} version 1 does not load" in ledger_message
    assert file_states(moved) == before

    # A run would write to the former folder.
    with pytest.raises(UsageError, match="steward doctor --fix"):
        flow(name=QUICK.name)(lambda: run(QUICK, RunParameters(str(loans), "simulated")))()
    assert len(list((moved / "artifacts" / "fintech-risk").iterdir())) == 2  # one run, and models

    fixed, artifacts_finding, ledger = selected_checks("artifacts", "ledger", fix=True)
    assert fixed.message.startswith("repaired: rewrote ")
    assert artifacts_finding.message.endswith("all in this state directory")
    assert ledger.status == "ok"
    (copy,) = moved.glob("mlflow.db.*.before-doctor")
    assert str(copy) in fixed.message
    assert copy.read_bytes()[:16] == b"SQLite format 3\0"

    uri = load().mlflow_uri
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD_MODEL, uri, f"models:/{NAME}@champion"], check=True
    )
    client = connection.connect(load())
    (first,) = run_history.finished_runs(client, NAME)
    recorded = run_history.read_run(client, first)
    assert recorded is not None
    assert recorded.facts is not None
    scored = score("fintech-risk", str(loans), str(tmp_path / "scores.parquet"))
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == scored["rows"] == 1500
    # The next run keeps the champion.
    again = flow(name=QUICK.name)(lambda: run(QUICK, RunParameters(str(loans), "simulated")))()
    assert (again.verdict, again.version) == ("keep_champion", 1)
    assert bad_checks(selected_checks("artifacts", "ledger", "runs", "database")) == []


def test_missing_state_directory_is_not_created(tmp_path: Path) -> None:
    code, findings = doctor(STEWARD_HOME=str(tmp_path / "home"), HOME=str(tmp_path))
    assert code == 0
    # Disk and versions depend on the machine.
    portable = [finding for finding in findings if finding.check not in ("disk", "versions")]
    assert [finding.check for finding in portable if finding.status != "ok"] == ["state_dir"]
    assert {"database", "telemetry", "server", "runs", "ledger", "contracts"} <= {f.check for f in portable}
    assert list(tmp_path.iterdir()) == []


def test_invalid_settings_are_the_only_finding(tmp_path: Path) -> None:
    code, (only,) = doctor(STEWARD_HOME=str(tmp_path), STEWARD_THREADS="none")
    assert (code, only.check, only.status) == (1, "settings", "bad")
    assert "STEWARD_THREADS" in only.message


def test_unreadable_state_directory_is_bad_and_no_check_fails(home: Path) -> None:
    # Root ignores file modes, unless it drops that capability.
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if powerless and not shutil.which(powerless[0]):
        pytest.skip("as root, this needs setpriv")
    (home / "prefect").mkdir()
    (home / "ledger").mkdir()
    home.chmod(0o000)
    try:
        code, findings = doctor(prefix=powerless, STEWARD_HOME=str(home))
    finally:
        home.chmod(0o700)
    assert code == 1
    assert {"state_dir", "database"} <= set(bad_checks(findings))
    assert not [finding for finding in findings if "the check itself failed" in finding.message]
    assert all(finding.fix for finding in findings if finding.status != "ok")


def test_nothing_is_rewritten_while_a_run_is_running(moved: Path) -> None:
    from tasks.locks.run_lock import RunLock

    with RunLock(load(), RUN_ID, {}):
        before = (moved / "mlflow.db").read_bytes()
        rejected, unchanged = selected_checks("artifacts", fix=True)
        assert "no active run" in rejected.message
        assert unchanged.status == "bad"
        assert (moved / "mlflow.db").read_bytes() == before
    assert [finding.status for finding in selected_checks("artifacts", fix=True)] == ["ok", "ok"]


def test_deleted_artifacts_are_bad(moved: Path) -> None:
    shutil.rmtree(moved / "artifacts")
    before = (moved / "mlflow.db").read_bytes()
    (lost,) = selected_checks("artifacts", fix=True)
    assert (lost.status, "neither that folder nor" in lost.message) == ("bad", True)
    assert (moved / "mlflow.db").read_bytes() == before


def test_copied_state_directory_warns_and_is_not_rewritten(moved: Path) -> None:
    (finding,) = selected_checks("artifacts")
    original = Path(finding.message.split("point to ")[1].split(", which")[0])
    shutil.copytree(moved / "artifacts", original)
    try:
        (warned,) = selected_checks("artifacts", fix=True)
        assert (warned.status, "outside this state directory" in warned.message) == ("warn", True)
        assert f"STEWARD_HOME={original.parent}" in warned.fix
    finally:
        shutil.rmtree(original)


def _crash_before_the_alias(client: connection.Client) -> None:
    def stop(version: int) -> None:
        raise KeyboardInterrupt

    ledger, record = open_ledger(load(), client, NAME)
    record.move_champion = stop  # type: ignore[method-assign]
    details = {"model_digest": "m2", "test_digest": "t"}
    with suppress(KeyboardInterrupt):
        commit_verdict(ledger, record, Verdict("promote", "better"), 2, 1, details)


def _move_alias_by_hand(client: connection.Client) -> None:
    registry.set_champion(client, NAME, 2)


@pytest.mark.parametrize(
    ("change", "message", "champion"),
    [
        (_crash_before_the_alias, "a crash left version 1", 2),
        (_move_alias_by_hand, "version 2 is champion", 2),
    ],
)
def test_difference_between_ledger_and_alias_is_repaired(
    moved: Path, change: Callable[[connection.Client], None], message: str, champion: int
) -> None:
    selected_checks("artifacts", fix=True)
    client = connection.connect(load())
    first = client.get_model_version(NAME, "1")
    client.create_model_version(NAME, first.source, first.run_id, tags=first.tags, model_id=first.model_id)
    change(client)
    finding = selected_checks("ledger")[0]
    assert (finding.status, message in finding.message) == ("bad", True)
    findings = selected_checks("ledger", fix=True)
    # Version 2 is a copy that no run registered: there are no digests to verify it by.
    *agreeing, unverified = [finding for finding in findings if NAME in finding.message]
    assert [finding.status for finding in agreeing] == ["ok"] * (len(findings) - 1)
    assert (unverified.status, f"{NAME} version 2 does not load" in unverified.message) == ("bad", True)
    holder = registry.get_champion(client, NAME)
    assert holder is not None
    assert holder.number == champion == Ledger(load().ledger_dir, NAME).entries()[-1]["champion"]


def test_champion_with_modified_files_is_bad(moved: Path) -> None:
    selected_checks("artifacts", fix=True)
    (model,) = moved.glob("artifacts/fintech-risk/models/*/artifacts/data/package/decision.json")
    model.write_text("{}")
    changed = selected_checks("ledger")[-1]
    assert (changed.status, "does not load: expected" in changed.message) == ("bad", True)


def test_check_that_raises_is_a_finding(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.name: check for check in CHECKS}
    absent = Check("folders", "operate.checks.does_not_exist")
    raising = Check("GIGABYTE", "operate.checks.machine")  # not a function
    failed, missing, ok = run_checks(checks=[raising, absent, checks["state_dir"]])
    assert (failed.check, failed.message) == ("GIGABYTE", "the check itself failed: TypeError")
    assert missing.message == "the check itself failed: ModuleNotFoundError"
    assert ok.status == "ok"
    assert capsys.readouterr().err == ""
    list(run_checks(verbose=True, checks=[raising]))
    assert "Traceback" in capsys.readouterr().err
