"""States of runs in MLflow: find runs that are shown as running, and set the final status of dead ones."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient as Client
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tasks.locks.run_lock import HOST_TAG, LOCK_TAG, STATE_DIR_TAG
from tasks.tracking.run_history import run_status, search

# Tags of a run for its verdict and reason; `killed` and `stopped` are the verdicts of runs that reached none.
VERDICT_TAG, REASON_TAG = "steward.verdict", "steward.reason"
VERDICTS = {"KILLED": "killed", "FAILED": "stopped"}


@dataclass(frozen=True)
class RunningRun:
    """A parent run that MLflow shows as running. Fields are empty where the run has no such tag.

    `lock_id` is that of its run lock, `state_dir` the identity of its state directory (none up to version 0.2).
    """

    run_id: str
    lock_id: str
    state_dir: str
    case: str
    data: str


def running_runs(client: Client, host: str) -> list[RunningRun]:
    """Return our parent runs that MLflow shows as running on a machine."""
    runs = search(client, f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{host}'")
    return [_running(run) for run in runs]


def _running(run: Run) -> RunningRun:
    tags: Mapping[str, str] = run.data.tags
    lock_id, state_dir = tags.get(LOCK_TAG, ""), tags.get(STATE_DIR_TAG, "")
    return RunningRun(
        run.info.run_id, lock_id, state_dir, tags.get("steward.case", ""), tags.get("steward.data", "")
    )


def run_by_lock(client: Client, identity: str) -> str | None:
    """Return the id of the run that was started under this run lock, if any."""
    runs = search(client, f"tags.`{LOCK_TAG}` = '{identity}'")
    return runs[0].info.run_id if runs else None


def end_run(client: Client, run_id: str, status: str, reason: str) -> None:
    """Set the final status of a run whose process died, and of its child runs that are still running.

    A killed run gets `reason`, also where it had written a verdict; a failed one where it could not write its own.
    """
    end_child_runs(client, run_id, status)
    has_verdict = VERDICT_TAG in client.get_run(run_id).data.tags
    if status == "KILLED" or (status == "FAILED" and not has_verdict):
        client.set_tag(run_id, VERDICT_TAG, VERDICTS[status])
        client.set_tag(run_id, REASON_TAG, reason)
    client.set_terminated(run_id, status)


def end_child_runs(client: Client, run_id: str, status: str) -> int:
    """Set the final status of the child runs that are still running; return their number."""
    children = search(client, f"attributes.status = 'RUNNING' and tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'")
    for child in children:
        client.set_terminated(child.info.run_id, status)
    return len(children)


def parents_with_open_children(client: Client, state_dir: str) -> dict[str, str]:
    """Return the final status, by run id, of the ended runs of a state directory with running child runs."""
    runs = search(client, f"attributes.status = 'RUNNING' and tags.`{STATE_DIR_TAG}` = '{state_dir}'")
    parents = {run.data.tags.get(MLFLOW_PARENT_RUN_ID) for run in runs}
    statuses = {parent: run_status(client, parent) for parent in parents if parent}
    return {parent: status for parent, status in statuses.items() if status not in (None, "RUNNING")}
