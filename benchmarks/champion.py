"""A whole run on a large file, from the file to a champion: `python -m benchmarks.champion`.

Applicants are simulated, and random numbers are added until there are `--columns` features; the contract of the
simulated lender is extended by them. `steward run fintech-risk` then runs in an empty state directory. Prints the
seconds of each stage, the wall time of the command, and the peak resident memory of its largest process.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ml.simulators import SIMULATORS

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
LIBRARIES = ("prefect", "mlflow", "great-expectations", "lightgbm", "scikit-learn", "pandas", "numpy")
# Bounds for 1,000,000 rows on two cores.
MAX_MINUTES, MAX_GIGABYTES = 15, 6


def write(folder: Path, rows: int, columns: int) -> tuple[Path, Path]:
    """Write the table and its contract, and return their paths."""
    contract: dict[str, Any] = json.loads((ROOT / "expectations/fintech_risk/simulated.json").read_text())
    read, roles = contract["meta"]["read"], contract["meta"]["roles"]
    table = SIMULATORS["lender"](rows, SEED).rows
    other_columns = {roles["target"]["column"], roles["id"], roles["time"], *roles["ignored"]}
    features = [name for name in read["columns"] if name not in other_columns]
    if columns < len(features):
        raise SystemExit(f"expected at least {len(features)} columns; got {columns}; raise --columns")
    generator = np.random.default_rng(SEED)
    noise = [f"noise_{i:02}" for i in range(columns - len(features))]
    table = table.assign(**{name: generator.normal(size=rows) for name in noise})
    contract["name"] = "fintech-risk.large"
    contract["meta"]["read"] = {
        "files": ["large.parquet"],
        "format": "parquet",
        "columns": {**read["columns"], **dict.fromkeys(noise, "number")},
    }
    table.to_parquet(folder / "large.parquet", index=False)
    (folder / "large.json").write_text(json.dumps(contract))
    return folder / "large.parquet", folder / "large.json"


def main() -> None:
    """Write the table, run the command, print its costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument(
        "--time-budget", type=float, default=600.0, help="seconds of training; by default 600"
    )
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"python {platform.python_version()}, {cores} cores, {platform.machine()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    print(
        f"{options.rows:,} x {options.columns} features, seed {SEED}, time budget {options.time_budget:g} s"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data, contract = write(folder, options.rows, options.columns)
        command = [str(Path(sys.executable).with_name("steward")), "run", "fintech-risk", "--json"]
        command += [
            "--data",
            str(data),
            "--contract",
            str(contract),
            "--time-budget",
            f"{options.time_budget}",
        ]
        started = time.perf_counter()
        process = subprocess.run(
            command,
            env={**os.environ, "STEWARD_HOME": str(folder / "state")},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
        if process.returncode:
            raise SystemExit(f"expected a champion; got exit code {process.returncode}; see the log above")
        outcome = json.loads(process.stdout)
        facts = json.loads(Path(outcome["report"]).with_name("facts.json").read_text())
    for stage in facts["stages"]:
        print(f"  {stage['stage']:<26} {stage['seconds'] or 0.0:8.1f} s")
    for entry in facts["leaderboard"]:
        estimate = f"{entry['value']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]"
        print(f"  {entry['candidate']:<26} {facts['metric']} {estimate}{' leads' if entry['leads'] else ''}")
    print(f"  {outcome['verdict']}: {facts['metric']} {outcome['value']:.4f} on test rows")
    print(
        f"  {seconds / 60:.1f} minutes (at most {MAX_MINUTES}), {gigabytes:.1f} GB (at most {MAX_GIGABYTES})"
    )


if __name__ == "__main__":
    main()
