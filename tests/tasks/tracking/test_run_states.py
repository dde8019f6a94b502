"""States of runs, with a real MLflow: dead runs and their child runs get a final status."""

from pathlib import Path

import pytest

from tasks.locks.run_lock import HOST_TAG, LOCK_TAG
from tasks.settings import Settings
from tasks.state_dir_id import state_dir_id
from tasks.tracking import connection, run_states
from tasks.tracking.run import MlflowRun, start_run
from tasks.tracking.run_history import run_status
from tasks.tracking.run_states import RunningRun


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(state_dir=home)


@pytest.fixture
def run(settings: Settings) -> MlflowRun:
    tags = {LOCK_TAG: "lock-1", HOST_TAG: "this-host", "steward.case": "toy", "steward.data": "rows"}
    return start_run(connection.connect(settings), settings, "toy", "a run", tags, [])


def tags_of(run: MlflowRun) -> dict[str, str]:
    tags: dict[str, str] = run.client.get_run(run.run_id).data.tags
    return tags


def test_a_dead_run_and_its_children_get_the_final_status(run: MlflowRun, settings: Settings) -> None:
    client, host = run.client, "this-host"
    child = client.create_run(run.experiment_id, tags={"mlflow.parentRunId": run.run_id}).info.run_id
    running = RunningRun(run.run_id, "lock-1", state_dir_id(settings), "toy", "rows")
    assert run_states.running_runs(client, host) == [running]
    assert run_states.run_by_lock(client, "lock-1") == run.run_id
    run_states.end_run(client, run.run_id, "KILLED", "its process died")
    assert [run_status(client, run_id) for run_id in (run.run_id, child)] == ["KILLED", "KILLED"]
    tags = tags_of(run)
    assert (tags["steward.verdict"], tags["steward.reason"]) == ("killed", "its process died")
    assert run_states.running_runs(client, host) == []


def test_a_failed_run_keeps_the_verdict_that_it_wrote(run: MlflowRun) -> None:
    run.log(tags={"steward.verdict": "rejected", "steward.reason": "too few rows"})
    run_states.end_run(run.client, run.run_id, "FAILED", "its end could not be written")
    tags = tags_of(run)
    assert (tags["steward.verdict"], tags["steward.reason"]) == ("rejected", "too few rows")


def test_children_left_open_below_an_ended_run_are_found_by_state_directory(
    run: MlflowRun, settings: Settings
) -> None:
    own = state_dir_id(settings)
    with pytest.raises(TypeError, match="real number"):
        run.log_child_run("trees", {"seconds": "no number"}, {})  # type: ignore[dict-item]
    # The child that could not be logged is not left running.
    assert run_states.parents_with_open_children(run.client, own) == {}
    tags = {"mlflow.parentRunId": run.run_id, "steward.state_dir": own}
    child = run.client.create_run(run.experiment_id, tags=tags).info.run_id
    assert run_states.parents_with_open_children(run.client, own) == {}  # the parent is running too
    run.finish("FAILED")
    assert run_states.parents_with_open_children(run.client, own) == {run.run_id: "FAILED"}
    assert run_states.parents_with_open_children(run.client, "another") == {}
    assert run_states.end_child_runs(run.client, run.run_id, "FAILED") == 1
    assert run_status(run.client, child) == "FAILED"
