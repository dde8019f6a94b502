"""`steward backfill`: one run for each scheduled time, once."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from filelock import FileLock

import steward
from flows import fintech_risk
from flows.training_flow import training_flow
from ml.tabular.constant import Constant
from ml.tabular.linear import Linear
from operate.console import EXIT_USAGE
from tasks.locks.run_lock import RunLock
from tasks.settings import load
from tasks.tracking import connection, run_history

pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")
QUICK = replace(fintech_risk.CASE, candidates={"constant": Constant(), "linear": Linear()})
ROOT = Path(__file__).resolve().parents[2]
MONTHLY = ["--cron", "0 0 1 * *", "--json"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use two candidates that train fast."""
    monkeypatch.setattr(fintech_risk, "CASE", QUICK)
    monkeypatch.setattr(fintech_risk, "fintech_risk", training_flow(QUICK))


def backfill(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[tuple[str, str]], str]:
    """Run the command; return exit code, interval and verdict of each line, and stderr."""
    original = sys.argv
    sys.argv = ["steward", "backfill", "fintech-risk", *arguments]
    try:
        steward.main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = original
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    return code, [(line["interval"][:10], line["verdict"]) for line in lines], err


def test_each_scheduled_time_runs_once_without_later_rows(capsys: pytest.CaptureFixture[str]) -> None:
    first = ["--from", "2025-10-15", "--to", "2025-11-15", *MONTHLY]
    assert backfill(capsys, *first, "--dry-run")[:2] == (0, [("2025-11-01", "would run")])
    assert run_history.finished_intervals(connection.connect(load()), "fintech-risk", "simulated") == set()
    assert backfill(capsys, *first)[:2] == (0, [("2025-11-01", "promote")])

    wider = ["--from", "2025-11-01", "--to", "2025-12-01", *MONTHLY]
    code, lines, _ = backfill(capsys, *wider)
    assert (code, lines[0]) == (0, ("2025-11-01", "already done"))
    assert lines[1][0] == "2025-12-01"
    assert lines[1][1] in ("promote", "keep_champion", "inconclusive")
    assert [verdict for _, verdict in backfill(capsys, *wider)[1]] == ["already done"] * 2

    client = connection.connect(load())
    experiment = client.get_experiment_by_name("fintech-risk")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], "tags.`steward.interval` != ''")
    excluded = sorted((r.data.tags["steward.interval"], r.data.metrics["rows.excluded"]) for r in runs)
    assert [interval for interval, _ in excluded] == [
        "2025-11-01T00:00:00+00:00",
        "2025-12-01T00:00:00+00:00",
    ]
    # An earlier time excludes more rows.
    assert excluded[0][1] > excluded[1][1] > 0


def test_interval_that_failed_a_gate_is_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    """No row is older than the first application, so the data gate fails."""
    early = ["--from", "2020-01-01", "--to", "2020-01-01", *MONTHLY]
    for _ in range(2):
        code, lines, err = backfill(capsys, *early)
        assert (code, lines) == (3, [("2020-01-01", "refused")]), err
        assert "enough_rows" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "2025-12-01", "--to", "2025-11-01"], "--to at or after --from"),
        (["--from", "2025-11-01", "--to", "2025-11-02", "--cron", "whenever"], "a cron expression"),
    ],
)
def test_invalid_arguments_are_rejected_before_anything_runs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, err = backfill(capsys, *arguments)
    assert (code, lines) == (EXIT_USAGE, [])
    assert message in err


def test_interval_without_scheduled_times_prints_a_message_and_every_line_once() -> None:
    """In a process of its own, as Prefect reads its log level when it is imported."""
    killed = RunLock(load(), f"run-{uuid4()}", {"case": "fintech-risk"})
    killed.acquire()
    killed.abandon()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_LOGGING_")}
    arguments = ["fintech-risk", "--from", "2025-11-02", "--to", "2025-11-03", *MONTHLY]
    done = subprocess.run(
        [sys.executable, "-m", "steward", "backfill", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    # On a busy machine, lines say what is running for long.
    lines = [line for line in done.stderr.splitlines() if "Warning" not in line and " s so far" not in line]
    assert len(lines) == 3, done.stderr
    assert lines[0] == "an earlier run was killed or cancelled: setting its final states"
    assert lines[1].startswith("reconciled a dead run of fintech-risk on ")
    assert lines[2].startswith("no scheduled time between")


def test_schedule_of_the_deployment_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    code, lines, _ = backfill(
        capsys, "--from", f"{now.year - 1}-11-01", "--to", f"{now.year - 1}-11-15", "--dry-run", "--json"
    )
    assert code == 0
    assert lines


def test_second_backfill_at_the_same_time_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with FileLock(load().state_dir / "backfill-fintech-risk.simulated.lock"):
        code, _, err = backfill(capsys, "--from", "2025-10-15", "--to", "2025-11-15", *MONTHLY)
    assert code == EXIT_USAGE
    assert "no other backfill" in err
