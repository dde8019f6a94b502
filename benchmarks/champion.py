"""From a large file to a champion: `python -m benchmarks.champion`, through the command that users say.

Applicants are simulated, numbers that mean nothing are added until there are `--columns` features, and the contract of
the simulated lender is extended by them. `steward run fintech-risk` then reads, validates, splits, trains, judges,
packages and registers in an empty memory. Printed: what each stage took, the wall time of the whole command, and the
highest resident memory of the largest of its processes.
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
# What the issue of large tables may cost on two cores.
MINUTES, GIGABYTES = 15, 6


def write(folder: Path, rows: int, columns: int) -> tuple[Path, Path]:
    """The table and its contract."""
    contract: dict[str, Any] = json.loads((ROOT / "expectations/fintech_risk/simulated.json").read_text())
    read, roles = contract["meta"]["read"], contract["meta"]["roles"]
    table = SIMULATORS["lender"](rows, SEED).rows
    no_features = {roles["target"]["column"], roles["id"], roles["time"], *roles["ignored"]}
    known = [name for name in read["columns"] if name not in no_features]
    if columns < len(known):
        raise SystemExit(f"expected at least {len(known)} columns, got {columns}")
    generator = np.random.default_rng(SEED)
    noise = [f"noise_{i:02}" for i in range(columns - len(known))]
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
    """Write the table, run the command, print what it cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of training; by default 600")
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"python {platform.python_version()}, {cores} cores, {platform.machine()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    print(
        f"{asked.rows:,} x {asked.columns} features, seed {SEED}, a budget of {asked.budget:g} s of training"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data, contract = write(folder, asked.rows, asked.columns)
        home = folder / "home"
        command = ["steward", "run", "fintech-risk", "--data", str(data), "--contract", str(contract)]
        begun = time.perf_counter()
        done = subprocess.run(
            [
                Path(sys.executable).with_name("steward"),
                *command[1:],
                "--budget",
                str(asked.budget),
                "--json",
            ],
            env={**os.environ, "STEWARD_HOME": str(home)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - begun
        gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
        if done.returncode:
            raise SystemExit(f"expected a champion, got exit code {done.returncode}; see above for why")
        outcome = json.loads(done.stdout)
        facts = json.loads(Path(outcome["report"]).with_name("facts.json").read_text())
    for line in facts["stages"]:
        print(f"  {line['stage']:<26} {line['seconds'] or 0.0:8.1f} s")
    for line in facts["leaderboard"]:
        told = f"{line['value']:.4f} [{line['low']:.4f}, {line['high']:.4f}]"
        print(f"  {line['candidate']:<26} {facts['metric']} {told}{' leads' if line['leads'] else ''}")
    print(f"  {outcome['verdict']}: {facts['metric']} {outcome['value']:.4f} on test rows")
    print(f"  {seconds / 60:.1f} minutes (at most {MINUTES}), {gigabytes:.1f} GB (at most {GIGABYTES})")


if __name__ == "__main__":
    main()
