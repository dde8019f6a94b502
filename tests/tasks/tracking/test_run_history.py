"""Run history, with a real MLflow: facts of any version are read."""

import hashlib
import json
from pathlib import Path

import pytest

from tasks.locks.run_lock import HOST_TAG, LOCK_TAG
from tasks.settings import Settings
from tasks.tracking import connection, run_history
from tasks.tracking.run import MlflowRun, start_run
from tasks.tracking.run_history import FACTS_FILE


@pytest.fixture
def run(home: Path) -> MlflowRun:
    settings = Settings(state_dir=home)
    tags = {LOCK_TAG: "lock-1", HOST_TAG: "this-host", "steward.case": "toy", "steward.data": "rows"}
    return start_run(connection.connect(settings), settings, "toy", "a run", tags, [])


def test_facts_of_version_1_have_the_current_keys_and_the_digest_of_the_file(run: MlflowRun) -> None:
    text = json.dumps(
        {
            "asked": {"seed": 7, "budget": 60.0},
            "test": {"value": 0.5, "achieved": 0.75},
            "skipped": [{"candidate": "trees", "why": "too few rows"}],
            "verdict": {"verdict": "keep"},
        }
    )
    run.log_text(FACTS_FILE, text)
    recorded = run_history.read_run(run.client, run.run_id)
    assert recorded
    assert recorded.facts
    assert recorded.facts["params"] == {"seed": 7, "time_budget": 60.0}
    assert recorded.facts["evaluation"] == {"value": 0.5, "share_of_optimum": 0.75}
    assert recorded.facts["skipped"] == [{"candidate": "trees", "reason": "too few rows"}]
    assert recorded.facts["verdict"] == {"verdict": "keep_champion"}
    assert recorded.facts_digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '{"asked": 1}', '{"gates": 7}', '{"split": null}'])
def test_damaged_facts_are_read_as_missing(run: MlflowRun, text: str) -> None:
    run.log_text(FACTS_FILE, text)
    recorded = run_history.read_run(run.client, run.run_id)
    assert recorded
    assert not recorded.facts


def test_a_run_without_artifacts_has_neither_facts_nor_report(run: MlflowRun) -> None:
    recorded = run_history.read_run(run.client, run.run_id)
    assert recorded
    assert (recorded.facts, recorded.report, recorded.status) == (None, None, "RUNNING")
    assert run_history.read_run(run.client, "no-such-run") is None
