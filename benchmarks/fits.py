"""Fits, each in a process of its own, so that CPU seconds and peak memory are its own.

A fit reads a folder with spec.json, train.parquet, test.parquet and, where the candidate wants one, valid.parquet, and
writes probability.npy and costs.json to it. Imports come before the clock starts.
"""

import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import FitResources

NAMES = ("logistic regression", "LightGBM defaults", "gradient boosting", "ensemble")


@dataclass(frozen=True)
class Entry:
    """A candidate (`ml.estimator.Candidate`, but a peer's model is never read back).

    Where it wants a valid part, this is a stratified fifth of the training rows; else it learns from all of them.
    """

    candidate: Any
    wants_valid: bool


def entry(name: str) -> Entry:
    """What one of `NAMES` stands for; imports only what it needs."""
    if name == "logistic regression":
        from ml.tabular.linear import Linear

        return Entry(Linear(), wants_valid=True)
    if name == "gradient boosting":
        from ml.tabular.gradient_boosting import GradientBoosting

        return Entry(GradientBoosting(), wants_valid=True)
    if name == "ensemble":
        from ml.ensemble.stacked_ensemble import Ensemble

        return Entry(Ensemble(), wants_valid=False)
    from benchmarks.peers import LightGBMDefaults

    assert name == "LightGBM defaults", name
    return Entry(LightGBMDefaults(), wants_valid=False)


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended, user and system; finer than the ticks of os.times."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mb() -> float:
    """Highest resident memory of this process; what getrusage tells begins with that of the process that started it."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def fit(folder: Path) -> None:
    """Fit, predict, and write down both answer and costs."""
    spec = json.loads((folder / "spec.json").read_text())
    special = {column: tuple(codes) for column, codes in spec["special"].items()}
    parts = {
        name: replace(
            Dataset.from_table(pd.read_parquet(folder / f"{name}.parquet")), sentinel_values=special
        )
        for name in ("train", "valid", "test")
        if (folder / f"{name}.parquet").exists()
    }
    candidate = entry(spec["candidate"]).candidate
    valid = parts.get("valid", parts["train"].take(np.arange(0)))
    resources = FitResources(spec["seed"], spec["threads"], spec["seconds"])
    wall, cpu = time.perf_counter(), _cpu_seconds()
    model = candidate.fit(parts["train"], valid, resources)
    fitted, used = time.perf_counter(), _cpu_seconds()
    probability = model.predict(parts["test"].frame)["probability"].to_numpy()
    costs = {
        "cpu_seconds": used - cpu,
        "wall_seconds": fitted - wall,
        "predict_seconds": time.perf_counter() - fitted,
        "peak_mb": _peak_mb(),
        "bytes": sum(map(len, model.files().values())),
        "stopped_by": getattr(model, "stopped_by", None),
        "described": model.described() if hasattr(model, "described") else {},
    }
    np.save(folder / "probability.npy", probability)
    (folder / "costs.json").write_text(json.dumps(costs))


def main() -> None:
    """For each folder on stdin a fit in a process of its own, its exit code on stdout. Arguments: the candidates."""
    # Once, and not part of a fit: whoever fits twice in a process pays for them once.
    import lightgbm  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch  # noqa: F401

    # Their code is read now, so that a file that is changed meanwhile changes no result.
    for name in sys.argv[1:]:
        entry(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                fit(Path(line.rstrip("\n")))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Fits:
    """The process that forks one for each fit: libraries are read once, and no fit sees another's memory."""

    def __init__(self, candidates: Sequence[str], threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.environment = {**os.environ, **dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}
        self.server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.fits", *candidates],
            env=self.environment,
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path) -> int:
        """The exit code of the fit of this folder; what went wrong stands on stderr."""
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(f"{folder}\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline() or 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait()


if __name__ == "__main__":
    main()
