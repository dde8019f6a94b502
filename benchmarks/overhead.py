"""Costs of orchestration and validation: `python -m benchmarks.overhead`.

Give Me Some Credit (needs STEWARD_DATA_DIR) is run through the flow and through a plain script that reads, splits, fits
and evaluates the same candidates without Prefect, MLflow and Great Expectations; each in a process of its own, in turn,
with an empty state directory. Also measured: the same flow without Prefect, the cost of a task, the time from a trigger
to the first task under a server and a worker, and what a run costs that resumes after a kill at each of its stages; and
the contract gate on 1,000,000 rows, 22 columns and 40 rules.
"""

import argparse
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


def run_script(name: str) -> dict[str, Any]:
    """Run a script of `benchmarks.overhead_scripts` in a process with an empty state directory; return its JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            **os.environ,
            "STEWARD_HOME": f"{scratch}/state",
            "PYTHONPATH": str(ROOT),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        for variable in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "STEWARD_TRACKING_URI"):
            environment.pop(variable, None)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.overhead_scripts", name, str(SEED)]
        process = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise SystemExit(
                f"expected a result of {name}; got exit code {process.returncode}:\n{process.stderr[-3000:]}"
            )
        result: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
        return result


def median_of(runs: list[dict[str, Any]], name: str) -> float:
    return float(median(run[name] for run in runs))


def compare_flow() -> None:
    """Compare the flow with the plain script."""
    pairs = [(run_script("flow_run"), run_script("plain_script")) for _ in range(REPEATS)]
    flows, scripts = [flow for flow, _ in pairs], [script for _, script in pairs]
    flow, script = median_of(flows, "flow"), median_of(scripts, "script")
    print(f"\nGive Me Some Credit, medians of {REPEATS} runs in turn, seed {SEED}, seconds")
    for name in ("imports", "server start", "database, once"):
        print(f"  {name:<28}{median_of(flows, name):8.2f}")
    print(f"  {'flow':<28}{flow:8.2f}   AUC {median_of(flows, 'auc'):.4f}")
    for task in sorted(flows[0]["tasks"], key=lambda task: -flows[0]["tasks"][task]):
        print(f"    {task:<26}{median(run['tasks'].get(task, 0.0) for run in flows):8.2f}")
    print(f"  {'imports of the script':<28}{median_of(scripts, 'imports'):8.2f}")
    print(f"  {'script':<28}{script:8.2f}   AUC {median_of(scripts, 'auc'):.4f}")
    overhead = median(flow["flow"] - script["script"] for flow, script in pairs)
    print(f"  {'flow less script':<28}{overhead:8.2f}   at most 8; flow / script = {flow / script:.1f}")


def measure_operation() -> None:
    """Measure what Prefect costs, with and without a server, and what a killed run costs."""
    off, resumed = run_script("flow_without_prefect"), run_script("resumed_runs")
    task, triggered = run_script("task_call"), run_script("triggered_run")
    print(f"\nOperation, one run each, seed {SEED}, seconds")
    print(f"  {'flow without Prefect':<28}{off['flow']:8.2f}   AUC {off['auc']:.4f}")
    print(f"  {'under a server, around tasks':<28}{triggered['around tasks']:8.2f}   time budget 1 s")
    print(f"  {'from trigger to flow':<28}{triggered['to the flow']:8.2f}")
    print(f"  {'from trigger to first task':<28}{triggered['to the first task']:8.2f}")
    print(f"  {'one task':<28}{task['task']:8.4f}")
    print(f"  whole run: {resumed['whole']:.1f} s; resuming after a kill takes this share of it:")
    for stage, share in resumed["shares"].items():
        print(f"    {stage:<26}{share:8.2f}")


def measure_validation() -> None:
    """Measure the contract gate on a large table."""
    runs = [run_script("contract_gate") for _ in range(REPEATS)]
    first = runs[0]
    size = f"1,000,000 x {first['columns']} rows, {first['rules']} rules"
    print(f"\nContract gate, {size}, {first['quarantined']:,} rows quarantined, medians of {REPEATS} runs")
    print(f"  seconds                     {median_of(runs, 'seconds'):8.2f}   at most 2")
    ratio = median(run["peak"] / run["table"] for run in runs)
    print(f"  peak memory / table         {ratio:8.2f}   at most 3; the table is {first['table']:.0f} MB")


def main() -> None:
    """Print all measurements with versions and hardware."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
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
