"""A missed schedule is caught up with: one run for each instant, once."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from filelock import FileLock

import steward
from flows import fintech_risk
from ml.tabular.constant import Prior
from ml.tabular.linear import Linear
from operate.console import USAGE
from tasks.settings import load
from tasks.tracking import connection, run_history

pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")
QUICK = replace(fintech_risk.CASE, candidates={"prior": Prior(), "linear": Linear()})
MONTHLY = ["--cron", "0 0 1 * *", "--json"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is not what is at stake."""
    monkeypatch.setattr(fintech_risk, "CASE", QUICK)


def backfill(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[tuple[str, str]], str]:
    """Exit code, interval and verdict of each line, and what was said besides."""
    old = sys.argv
    sys.argv = ["steward", "backfill", "fintech-risk", *arguments]
    try:
        steward.main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = old
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    return code, [(line["interval"][:10], line["verdict"]) for line in lines], err


def test_each_instant_runs_once_on_what_was_known_then(capsys: pytest.CaptureFixture[str]) -> None:
    first = ["--from", "2025-10-15", "--to", "2025-11-15", *MONTHLY]
    assert backfill(capsys, *first, "--dry-run")[:2] == (0, [("2025-11-01", "would run")])
    assert run_history.intervals(connection.connect(load()), "fintech-risk", "simulated") == set()
    assert backfill(capsys, *first)[:2] == (0, [("2025-11-01", "promote")])

    wider = ["--from", "2025-11-01", "--to", "2025-12-01", *MONTHLY]
    code, lines, _ = backfill(capsys, *wider)
    assert (code, lines[0]) == (0, ("2025-11-01", "done before"))
    assert lines[1][0] == "2025-12-01"
    assert lines[1][1] in ("promote", "keep", "inconclusive")
    assert [verdict for _, verdict in backfill(capsys, *wider)[1]] == ["done before"] * 2

    client = connection.connect(load())
    experiment = client.get_experiment_by_name("fintech-risk")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], "tags.`steward.interval` != ''")
    known = sorted((r.data.tags["steward.interval"], r.data.metrics["rows.excluded"]) for r in runs)
    assert [interval for interval, _ in known] == ["2025-11-01T00:00:00+00:00", "2025-12-01T00:00:00+00:00"]
    # The earlier the instant, the less was known.
    assert known[0][1] > known[1][1] > 0


def test_a_refused_interval_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first application nothing was known: that is no finished run."""
    early = ["--from", "2020-01-01", "--to", "2020-01-01", *MONTHLY]
    for _ in range(2):
        code, lines, err = backfill(capsys, *early)
        assert (code, lines) == (3, [("2020-01-01", "refused")]), err
        assert "enough_rows" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2025-12-01", "--to", "2025-11-01"], "--to at or after --from"),
        (["--from", "2025-11-01", "--to", "2025-11-02", "--cron", "whenever"], "a cron expression"),
    ],
)
def test_what_makes_no_sense_is_answered_before_anything_runs(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, err = backfill(capsys, *arguments)
    assert (code, lines) == (USAGE, [])
    assert said in err


def test_an_empty_interval_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = backfill(capsys, "--from", "2025-11-02", "--to", "2025-11-03", *MONTHLY)
    assert (code, lines) == (0, [])
    assert "no instant between" in err


def test_the_schedule_of_the_deployment_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    code, lines, _ = backfill(
        capsys, "--from", f"{now.year - 1}-11-01", "--to", f"{now.year - 1}-11-15", "--dry-run", "--json"
    )
    assert code == 0
    assert lines


def test_two_at_once_do_not_run_an_interval_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with FileLock(load().home / "backfill-fintech-risk.simulated.lock"):
        code, _, err = backfill(capsys, "--from", "2025-10-15", "--to", "2025-11-15", *MONTHLY)
    assert code == USAGE
    assert "no other backfill" in err
