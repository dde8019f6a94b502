"""What orchestration and validation cost: `python -m benchmarks.overhead`, printed as parts and ratios of one run.

The flow on Give Me Some Credit (needs STEWARD_DATA_DIR) against a bare script that reads the same file, splits it,
fits and evaluates the same candidates with nothing of Prefect, MLflow and Great Expectations; each in a process of its
own, in turn, with an empty memory. The same flow with Prefect switched off; the cost of a task; the way from a trigger
to the first task under a server and a worker; what a run costs that goes on after a kill at each of its stages. And the
contract gate on 1,000,000 rows, 22 columns and 40 rules.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 3
SEED = 0
LIBRARIES = ("prefect", "mlflow", "great-expectations", "lightgbm", "scikit-learn", "pandas", "numpy")

# The candidates that the bare script has too.
THREE = """
from dataclasses import replace
from flows import fintech_risk as module
names = ("prior", "logistic regression", "LightGBM")
module.CASE = replace(module.CASE, candidates={name: module.CASE.candidates[name] for name in names})
"""

# Imports that a run makes only when it comes to them are made first, so that they count as imports.
FLOW = """
import json, sys, time
begun = time.perf_counter()
from flows.fintech_risk import fintech_risk
import implicit, jinja2, lightgbm, matplotlib.figure, mlflow.pyfunc, sklearn.linear_model
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from tasks import settings
from tasks.tracking import connection as tracking
imported = time.perf_counter()
# Prefect starts its temporary server with the first flow of a process.
flow(name="nothing")(lambda: None)()
started = time.perf_counter()
# MLflow makes and migrates its database once.
tracking.connect(settings.load())
connected = time.perf_counter()
outcome = fintech_risk(data="give_me_some_credit", seed=int(sys.argv[1]))
ended = time.perf_counter()
with get_client(sync_client=True) as client:
    # The server hears of the ends of tasks a little later.
    runs = client.read_task_runs()
    while any(run.state_type != StateType.COMPLETED for run in runs):
        time.sleep(0.2)
        runs = client.read_task_runs()
tasks = {run.name.rsplit("-", 1)[0]: run.total_run_time.total_seconds() for run in runs}
parts = {"imports": imported - begun, "server start": started - imported,
         "database, once": connected - started, "flow": ended - connected}
print(json.dumps({**parts, "tasks": tasks, "auc": outcome.value, "candidate": outcome.candidate}))
"""

# The same, tasks and flow being plain functions: no server, no states, no logs of Prefect's.
OFF = """
import json, sys, time
begun = time.perf_counter()
from flows.fintech_risk import fintech_risk
import implicit, jinja2, lightgbm, matplotlib.figure, mlflow.pyfunc, sklearn.linear_model
from prefect import Task
from tasks import settings
from tasks.tracking import connection as tracking
Task.__call__ = lambda self, *arguments, **options: self.fn(*arguments, **options)
tracking.connect(settings.load())
connected = time.perf_counter()
outcome = fintech_risk.fn(data="give_me_some_credit", seed=int(sys.argv[1]))
print(json.dumps({"flow": time.perf_counter() - connected, "auc": outcome.value}))
"""

TASKS = """
import json, time
from prefect import flow, task

@task
def nothing():
    pass

@flow
def tasks(number):
    begun = time.perf_counter()
    for _ in range(number):
        nothing()
    return time.perf_counter() - begun

tasks(1)
print(json.dumps({"task": tasks(200) / 200}))
"""

# As an operator does it: a server, deployments, a worker, and a run that is asked for over the API.
TRIGGERED = """
import json, os, subprocess, sys, time
from pathlib import Path
import flows
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, temporary_settings

def prefect(*arguments):
    return [str(Path(sys.executable).parent / "prefect"), *arguments]

server = SubprocessASGIServer()
server.start(timeout=120)
os.environ["PREFECT_API_URL"] = server.api_url
with temporary_settings({PREFECT_API_URL: server.api_url}), get_client(sync_client=True) as client:
    quiet = {"check": True, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(prefect("work-pool", "create", "steward", "--type", "process"), **quiet)
    subprocess.run(prefect("deploy", "--all"), **quiet)
    quiet.pop("check")
    worker = subprocess.Popen(prefect("worker", "start", "--pool", "steward"), **quiet)
    # A worker that has just started is no part of the way.
    while not client._client.post("/work_pools/steward/workers/filter", json={}).json():
        time.sleep(0.2)
    deployment = client.read_deployment_by_name("fintech-risk/fintech-risk")
    asked = client.create_flow_run_from_deployment(
        deployment.id, parameters={"data": "give_me_some_credit", "seed": int(sys.argv[1]), "budget": 1}
    )
    run = client.read_flow_run(asked.id)
    while not run.state.is_final():
        time.sleep(0.2)
        run = client.read_flow_run(asked.id)
    assert run.state.is_completed(), run.state
    tasks = []
    # The last task of a run; the server hears of it a little later.
    while not any(t.name.startswith("quality gate") and t.end_time for t in tasks):
        tasks = client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id])))
        time.sleep(0.2)
    # A worker that was asked to end waits for who knows what; nothing of it is needed any more.
    worker.kill()
    worker.wait()
server.stop()
first = min(t.start_time for t in tasks)
inside = sum(t.total_run_time.total_seconds() for t in tasks)
print(json.dumps({"to the flow": (run.start_time - run.created).total_seconds(),
                  "to the first task": (first - run.created).total_seconds(),
                  "around tasks": run.total_run_time.total_seconds() - inside}))
"""

# Each run is a forked process; the first of a pair is killed after so many durable steps, the second goes on.
RESUMED = """
import json, os, signal, sys, tempfile, time
from pathlib import Path
from mlflow import MlflowClient
from flows.fintech_risk import fintech_risk
from prefect import Task
import implicit, jinja2, lightgbm, matplotlib.figure, mlflow.pyfunc, sklearn.linear_model

Task.__call__ = lambda self, *arguments, **options: self.fn(*arguments, **options)
NAMES = ["source", "validate", "split", "train prior", "train logistic regression", "train LightGBM",
         "package", "register", "ledger"]

def forked(home, steps):
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        os.environ["STEWARD_HOME"] = home
        left = [steps]
        def counted(function, when=lambda *_: True):
            def wrapped(*arguments, **options):
                result = function(*arguments, **options)
                if when(*arguments):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return result
            return wrapped
        Path.replace = counted(Path.replace, lambda path, target: "/store/keys/" in str(target))
        os.fsync = counted(os.fsync, lambda file: "/ledger/" in os.readlink(f"/proc/self/fd/{file}"))
        MlflowClient.create_model_version = counted(MlflowClient.create_model_version)
        fintech_risk.fn(data="give_me_some_credit", seed=int(sys.argv[1]))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (-9 if steps else 0), code
    return time.perf_counter() - begun

with tempfile.TemporaryDirectory() as scratch:
    whole = forked(f"{scratch}/whole", 0)
    shares = {}
    for number, name in enumerate(NAMES, 1):
        forked(f"{scratch}/{number}", number)
        shares[name] = forked(f"{scratch}/{number}", 0) / whole
print(json.dumps({"whole": whole, "shares": shares}))
"""

BARE = """
import json, os, sys, time
from pathlib import Path
begun = time.perf_counter()
import numpy as np, pandas as pd, lightgbm, sklearn.linear_model
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.data.dataset import Part
from ml.estimator import Resources
from ml.tabular.constant import Prior
imported = time.perf_counter()
folder = Path(os.environ["STEWARD_DATA_DIR"]) / "give_me_some_credit"
rows = pd.read_csv(folder / "cs-training.csv").iloc[:, 1:].drop_duplicates()
rows = rows[rows["age"] >= 18].astype("float64")
truth = rows.pop("SeriousDlqin2yrs")

def part(index):
    return Part(rows.loc[index], truth.loc[index], np.asarray(index, dtype="uint64"))

seed = int(sys.argv[1])
rest, test = train_test_split(rows.index, test_size=0.2, stratify=truth, random_state=seed)
train, valid = train_test_split(rest, test_size=0.25, stratify=truth.loc[rest], random_state=seed)
resources = Resources(seed, len(os.sched_getaffinity(0)))
models = [c.fit(part(train), part(valid), resources) for c in (Prior(), Linear(), GradientBoosting())]
aucs = [roc_auc_score(truth.loc[valid], m.predict(rows.loc[valid])["probability"]) for m in models]
probability = models[int(np.argmax(aucs))].predict(rows.loc[test])["probability"]
for measure in (average_precision_score, brier_score_loss, log_loss):
    measure(truth.loc[test], probability)
auc = roc_auc_score(truth.loc[test], probability)
ended = time.perf_counter()
print(json.dumps({"imports": imported - begun, "script": ended - imported, "auc": auc}))
"""

# Memory is that of the process at its highest while it validates, less what it was before, plus the table itself.
VALIDATION = """
import gc, json, sys, time
from pathlib import Path
import pandas as pd
import flows
from benchmarks.tables import contract, table
from tasks import validate

def megabytes(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024

rows, rules = table(1_000_000, int(sys.argv[1])), contract()
size = rows.memory_usage(deep=True).sum() / 2**20
validate.check(rules)
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
before, begun = megabytes("VmRSS"), time.perf_counter()
clean, quarantine, excluded, facts = validate.examine(rows, rules)
seconds = time.perf_counter() - begun
assert facts["rows"] == len(clean) + quarantine["row"].nunique() + excluded["row"].nunique() == 1_000_000
peak = megabytes("VmHWM") - before + size
print(json.dumps({"seconds": seconds, "table": size, "peak": peak, "rules": len(rules.rules),
                  "columns": rows.shape[1], "quarantined": facts["quarantined"]}))
"""


def child(script: str) -> dict[str, Any]:
    """What a script prints last, as JSON, run in a process and a memory of its own."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "STEWARD_HOME": f"{home}/home",
            "PYTHONPATH": str(ROOT),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "STEWARD_TRACKING_URI"):
            environment.pop(name, None)
        command = [sys.executable, "-W", "ignore", "-c", script, str(SEED)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"a part of the benchmark failed:\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def with_three(script: str) -> str:
    """The script with the flow's candidates made fewer, before it takes its first time but with what it imports."""
    line = "from flows.fintech_risk import fintech_risk\n"
    head, _, rest = script.partition(line)
    return head + THREE + line + rest


def middle(runs: list[dict[str, Any]], part: str) -> float:
    return float(median(run[part] for run in runs))


def compare_flow() -> None:
    """The flow beside the bare script."""
    pairs = [(child(with_three(FLOW)), child(BARE)) for _ in range(REPEATS)]
    flows, scripts = [flow for flow, _ in pairs], [script for _, script in pairs]
    flow, script = middle(flows, "flow"), middle(scripts, "script")
    print(f"\nGive Me Some Credit, medians of {REPEATS} runs in turn, seed {SEED}, seconds")
    for name in ("imports", "server start", "database, once"):
        print(f"  {name:<28}{middle(flows, name):8.2f}")
    print(f"  {'flow':<28}{flow:8.2f}   AUC {middle(flows, 'auc'):.4f}")
    for task in sorted(flows[0]["tasks"], key=lambda task: -flows[0]["tasks"][task]):
        print(f"    {task:<26}{median(run['tasks'].get(task, 0.0) for run in flows):8.2f}")
    print(f"  {'imports of the script':<28}{middle(scripts, 'imports'):8.2f}")
    print(f"  {'script':<28}{script:8.2f}   AUC {middle(scripts, 'auc'):.4f}")
    overhead = median(flow["flow"] - script["script"] for flow, script in pairs)
    print(f"  {'flow less script':<28}{overhead:8.2f}   at most 8; flow / script = {flow / script:.1f}")


def measure_operation() -> None:
    """Prefect's own cost, under a server and without; what a killed run still costs."""
    off, resumed = child(with_three(OFF)), child(with_three(RESUMED))
    task, triggered = child(TASKS), child(TRIGGERED)
    print(f"\nOperation, one run each, seed {SEED}, seconds")
    print(f"  {'flow, Prefect switched off':<28}{off['flow']:8.2f}   AUC {off['auc']:.4f}")
    print(f"  {'under a server, around tasks':<28}{triggered['around tasks']:8.2f}   budget 1 s")
    print(f"  {'from trigger to flow':<28}{triggered['to the flow']:8.2f}")
    print(f"  {'from trigger to first task':<28}{triggered['to the first task']:8.2f}")
    print(f"  {'one task':<28}{task['task']:8.4f}")
    print(
        f"  the whole run in {resumed['whole']:.1f} s; killed after a stage, going on costs this share of it:"
    )
    for stage, share in resumed["shares"].items():
        print(f"    {stage:<26}{share:8.2f}")


def measure_validation() -> None:
    """The contract gate on a large table."""
    runs = [child(VALIDATION) for _ in range(REPEATS)]
    first = runs[0]
    size, rules = f"1,000,000 x {first['columns']} rows, {first['rules']} rules", first["quarantined"]
    print(f"\nContract gate, {size}, {rules:,} rows quarantined, medians of {REPEATS} runs")
    print(f"  seconds                     {middle(runs, 'seconds'):8.2f}   at most 2")
    ratio = median(run["peak"] / run["table"] for run in runs)
    print(f"  peak memory / table         {ratio:8.2f}   at most 3; the table is {first['table']:.0f} MB")


def main() -> None:
    """Print everything, with what it was measured on."""
    print(f"python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, {platform.machine()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    measure_validation()
    if os.environ.get("STEWARD_DATA_DIR"):
        compare_flow()
        measure_operation()
    else:
        print("\nthe flow was not measured: set STEWARD_DATA_DIR to the folder of public data sets")


if __name__ == "__main__":
    main()
