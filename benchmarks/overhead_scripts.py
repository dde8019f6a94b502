"""What `benchmarks.overhead` measures, each in a process of its own: `python -m benchmarks.overhead_scripts NAME SEED`.

Prints a JSON object. Modules are imported inside the functions, because imports are measured too.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

DATA = "give_me_some_credit"
# The candidates that the plain script fits too.
CANDIDATES = ("constant", "logistic regression", "LightGBM")
# The stages of a run that are stored, in order.
STAGES = (
    "source",
    "validate",
    "split",
    *(f"train {name}" for name in CANDIDATES),
    "package",
    "register",
    "ledger",
)


def configure_libraries() -> None:
    """Set the environment variables of Prefect and MLflow, which have to be set before these are imported."""
    import_module("flows")


def create_flow() -> Any:
    """Create the flow of fintech-risk with the three candidates, and import what runs import on demand."""
    configure_libraries()
    from dataclasses import replace

    import implicit  # noqa: F401
    import jinja2  # noqa: F401
    import lightgbm  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import mlflow.pyfunc
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    from flows.fintech_risk import CASE
    from flows.training_flow import training_flow

    return training_flow(replace(CASE, candidates={name: CASE.candidates[name] for name in CANDIDATES}))


def run_tasks_without_prefect() -> None:
    """Make tasks plain functions: no server, no states, no logs of Prefect."""
    from prefect import Task

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        return self.fn(*arguments, **options)

    Task.__call__ = call  # type: ignore[method-assign]


def flow_run(seed: int) -> dict[str, Any]:
    """Time one run of the flow, its tasks, and what comes before it."""
    started = time.perf_counter()
    training = create_flow()
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType

    from tasks.settings import load as load_settings
    from tasks.tracking import connection

    imported = time.perf_counter()
    # Prefect starts its temporary server with the first flow of a process.
    flow(name="empty")(lambda: None)()
    server_started = time.perf_counter()
    # MLflow creates and migrates its database once.
    connection.connect(load_settings())
    connected = time.perf_counter()
    outcome = training(data=DATA, seed=seed)
    ended = time.perf_counter()
    with get_client(sync_client=True) as client:
        # The server receives the ends of tasks with a delay.
        runs = client.read_task_runs()
        while any(run.state_type != StateType.COMPLETED for run in runs):
            time.sleep(0.2)
            runs = client.read_task_runs()
    return {
        "imports": imported - started,
        "server start": server_started - imported,
        "database, once": connected - server_started,
        "flow": ended - connected,
        "tasks": {run.name.rsplit("-", 1)[0]: run.total_run_time.total_seconds() for run in runs},
        "auc": outcome.value,
    }


def flow_without_prefect(seed: int) -> dict[str, Any]:
    """Time the same run without Prefect."""
    training = create_flow()
    from tasks.settings import load as load_settings
    from tasks.tracking import connection

    run_tasks_without_prefect()
    connection.connect(load_settings())
    started = time.perf_counter()
    outcome = training.fn(data=DATA, seed=seed)
    return {"flow": time.perf_counter() - started, "auc": outcome.value}


def task_call(seed: int) -> dict[str, Any]:
    """Time an empty task."""
    configure_libraries()
    from prefect import flow, task

    @task
    def empty() -> None:
        pass

    @flow
    def calls(number: int) -> float:
        started = time.perf_counter()
        for _ in range(number):
            empty()
        return time.perf_counter() - started

    calls(1)
    return {"task": calls(200) / 200}


def triggered_run(seed: int) -> dict[str, Any]:
    """Time a run under a server and a worker that is triggered over the API, as in operation."""
    configure_libraries()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    prefect = str(Path(sys.executable).with_name("prefect"))
    quiet: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    server = SubprocessASGIServer()
    server.start(timeout=120)
    os.environ["PREFECT_API_URL"] = server.api_url
    with temporary_settings({PREFECT_API_URL: server.api_url}), get_client(sync_client=True) as client:
        subprocess.run([prefect, "work-pool", "create", "steward", "--type", "process"], check=True, **quiet)
        subprocess.run([prefect, "deploy", "--all"], check=True, **quiet)
        worker = subprocess.Popen([prefect, "worker", "start", "--pool", "steward"], **quiet)
        # The start of the worker is not measured.
        while not client._client.post("/work_pools/steward/workers/filter", json={}).json():
            time.sleep(0.2)
        deployment = client.read_deployment_by_name("fintech-risk/fintech-risk")
        parameters = {"data": DATA, "seed": seed, "time_budget": 1}
        run_id = client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id
        run = client.read_flow_run(run_id)
        while run.state is None or not run.state.is_final():
            time.sleep(0.2)
            run = client.read_flow_run(run_id)
        assert run.state.is_completed(), run.state
        tasks: list[Any] = []
        of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_id]))
        # The last task of a run; the server receives its end with a delay.
        while not any(task.name.startswith("quality gate") and task.end_time for task in tasks):
            tasks = client.read_task_runs(task_run_filter=of_run)
            time.sleep(0.2)
        # A worker may take long to stop after a signal; it is not needed any more.
        worker.kill()
        worker.wait()
    server.stop()
    assert run.start_time
    assert run.created
    inside_tasks = sum(task.total_run_time.total_seconds() for task in tasks)
    return {
        "to the flow": (run.start_time - run.created).total_seconds(),
        "to the first task": (min(task.start_time for task in tasks) - run.created).total_seconds(),
        "around tasks": run.total_run_time.total_seconds() - inside_tasks,
    }


def resumed_runs(seed: int) -> dict[str, Any]:
    """Time a whole run, and runs that resume after a kill at each stage, as shares of the whole one."""
    training = create_flow()
    run_tasks_without_prefect()
    with tempfile.TemporaryDirectory() as scratch:
        whole = _forked_run(training, seed, f"{scratch}/whole", kill_after=0)
        shares = {}
        for number, stage in enumerate(STAGES, 1):
            _forked_run(training, seed, f"{scratch}/{number}", kill_after=number)
            shares[stage] = _forked_run(training, seed, f"{scratch}/{number}", kill_after=0) / whole
    return {"whole": whole, "shares": shares}


def _forked_run(training: Any, seed: int, state_dir: str, kill_after: int) -> float:
    """Run in a forked process that is killed after so many stored stages (0: not at all); returns its seconds."""
    started = time.perf_counter()
    child = os.fork()
    if not child:
        os.environ["STEWARD_HOME"] = state_dir
        _kill_after(kill_after)
        training.fn(data=DATA, seed=seed)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (-signal.SIGKILL if kill_after else 0), code
    return time.perf_counter() - started


def _kill_after(stages: int) -> None:
    """Kill this process right after so many durable writes: results in the store, a version, a ledger entry."""
    from mlflow import MlflowClient

    remaining = [stages]

    def counted(function: Any, counts: Callable[..., bool] = lambda *_: True) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            if counts(*arguments):
                remaining[0] -= 1
                if remaining[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    patched: Any = Path
    patched.replace = counted(Path.replace, lambda path, target: "/store/keys/" in str(target))
    os.fsync = counted(os.fsync, lambda file: "/ledger/" in str(Path(f"/proc/self/fd/{file}").readlink()))
    patched = MlflowClient
    patched.create_model_version = counted(MlflowClient.create_model_version)


def plain_script(seed: int) -> dict[str, Any]:
    """Time reading, splitting, fitting and evaluating the same candidates without Prefect, MLflow and GX."""
    started = time.perf_counter()
    import lightgbm  # noqa: F401
    import numpy as np
    import pandas as pd
    import sklearn.linear_model  # noqa: F401
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
    from sklearn.model_selection import train_test_split

    from ml.data.dataset import Dataset
    from ml.device import available_cores
    from ml.estimator import FitResources
    from ml.tabular.constant import Constant
    from ml.tabular.gradient_boosting import GradientBoosting
    from ml.tabular.linear import Linear

    imported = time.perf_counter()
    path = Path(os.environ["STEWARD_DATA_DIR"]) / DATA / "cs-training.csv"
    rows = pd.read_csv(path).iloc[:, 1:].drop_duplicates()
    rows = rows[rows["age"] >= 18].astype("float64")
    truth = rows.pop("SeriousDlqin2yrs")

    def dataset(index: pd.Index) -> Dataset:
        return Dataset(rows.loc[index], truth.loc[index], np.asarray(index, dtype="uint64"))

    rest, test = train_test_split(rows.index, test_size=0.2, stratify=truth, random_state=seed)
    train, valid = train_test_split(rest, test_size=0.25, stratify=truth.loc[rest], random_state=seed)
    resources = FitResources(seed, available_cores())
    candidates = (Constant(), Linear(), GradientBoosting())
    models = [candidate.fit(dataset(train), dataset(valid), resources) for candidate in candidates]
    aucs = [
        roc_auc_score(truth.loc[valid], model.predict(rows.loc[valid])["probability"]) for model in models
    ]
    probability = models[int(np.argmax(aucs))].predict(rows.loc[test])["probability"]
    for metric in (average_precision_score, brier_score_loss, log_loss):
        metric(truth.loc[test], probability)
    auc = roc_auc_score(truth.loc[test], probability)
    ended = time.perf_counter()
    return {"imports": imported - started, "script": ended - imported, "auc": auc}


def contract_gate(seed: int) -> dict[str, Any]:
    """Time validation of 1,000,000 rows; its peak memory is that of the process above the start, plus the table."""
    configure_libraries()
    from benchmarks.synthetic_table import create_contract, create_table
    from tasks import validate

    def megabytes(name: str) -> float:
        status = Path("/proc/self/status").read_text().splitlines()
        (line,) = [line for line in status if line.startswith(name)]
        return int(line.split()[1]) / 1024

    rows, contract = create_table(1_000_000, seed), create_contract()
    table_mb = rows.memory_usage(deep=True).sum() / 2**20
    validate.check_rules(contract)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, started = megabytes("VmRSS"), time.perf_counter()
    clean, quarantine, excluded, facts = validate.apply_contract(rows, contract)
    seconds = time.perf_counter() - started
    assert facts["rows"] == len(clean) + quarantine["row"].nunique() + excluded["row"].nunique() == 1_000_000
    return {
        "seconds": seconds,
        "table": table_mb,
        "peak": megabytes("VmHWM") - before + table_mb,
        "rules": len(contract.rules),
        "columns": rows.shape[1],
        "quarantined": facts["quarantined"],
    }


SCRIPTS: dict[str, Callable[[int], dict[str, Any]]] = {
    script.__name__: script
    for script in (
        flow_run,
        flow_without_prefect,
        task_call,
        triggered_run,
        resumed_runs,
        plain_script,
        contract_gate,
    )
}

if __name__ == "__main__":
    print(json.dumps(SCRIPTS[sys.argv[1]](int(sys.argv[2]))))
