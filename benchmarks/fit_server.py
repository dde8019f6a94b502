"""A server that runs each fit in a process of its own, so that CPU seconds and peak memory are those of the fit.

A fit reads a folder with spec.json, train.parquet and test.parquet. It writes probability.npy and costs.json to the
folder. Libraries are imported before the clock starts.
"""

import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import FitResources

# What numbers are in a regression: bins and a line, the line alone, or a line and a cubic spline.
LINEAR: dict[str, dict[str, Any]] = {
    "logistic regression": {},
    "straight lines": {"max_bins": 1},
    "splines": {"max_knots": 4},
}
CANDIDATES = (*LINEAR, "LightGBM defaults", "gradient boosting", "ensemble")


def benchmark_candidate(name: str) -> Any:
    """Create the candidate of that name in `CANDIDATES` (`ml.estimator.Candidate`); imports only what it needs.

    The model of a peer cannot be loaded from its files.
    """
    if name in LINEAR:
        from ml.tabular.linear import Linear

        return Linear(**LINEAR[name])
    if name == "gradient boosting":
        from ml.tabular.gradient_boosting import GradientBoosting

        return GradientBoosting()
    if name == "ensemble":
        from ml.ensemble.stacked_ensemble import Ensemble

        return Ensemble()
    from benchmarks.peers import LightGBMDefaults

    assert name == "LightGBM defaults", name
    return LightGBMDefaults()


def _cpu_seconds() -> float:
    """Read user and system time of this process and its ended children; finer than the ticks of os.times."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mb() -> float:
    """Read the peak resident memory of this process; getrusage would include that of its parent before the fork."""
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in status if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024


def fit(folder: Path) -> None:
    """Fit, predict, and write predictions and costs."""
    spec = json.loads((folder / "spec.json").read_text())
    sentinel_values = {column: tuple(codes) for column, codes in spec["sentinel_values"].items()}
    datasets = {
        name: replace(
            Dataset.from_table(pd.read_parquet(folder / f"{name}.parquet")), sentinel_values=sentinel_values
        )
        for name in ("train", "test")
    }
    candidate = benchmark_candidate(spec["candidate"])
    nothing = datasets["train"].take(np.arange(0))
    resources = FitResources(spec["seed"], spec["threads"], spec["seconds"])
    started, cpu_started = time.perf_counter(), _cpu_seconds()
    model = candidate.fit(datasets["train"], nothing, resources)
    fitted, cpu_fitted = time.perf_counter(), _cpu_seconds()
    probability = model.predict(datasets["test"].frame)["probability"].to_numpy()
    costs = {
        "cpu_seconds": cpu_fitted - cpu_started,
        "wall_seconds": fitted - started,
        "predict_seconds": time.perf_counter() - fitted,
        "peak_mb": _peak_mb(),
        "bytes": sum(map(len, model.files().values())),
        "stopped_by": getattr(model, "stopped_by", None),
        "composition": model.composition() if hasattr(model, "composition") else {},
    }
    np.save(folder / "probability.npy", probability)
    (folder / "costs.json").write_text(json.dumps(costs))


def main() -> None:
    """Fork a process for each folder on stdin, and print its exit code. Arguments: the candidates."""
    # Imported once, so that no fit pays for it.
    import lightgbm  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch  # noqa: F401

    # Their code is loaded now, so that a file that is changed during the benchmark changes no result.
    for name in sys.argv[1:]:
        benchmark_candidate(name)
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


class FitServer:
    """A process that forks one for each fit: libraries are loaded once, and no fit uses memory of another one."""

    def __init__(self, candidates: Sequence[str], threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.environment = {**os.environ, **dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.fit_server", *candidates],
            env=self.environment,
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fit(self, folder: Path) -> int:
        """Run the fit of a folder and return its exit code; its traceback is printed to stderr."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline() or 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


if __name__ == "__main__":
    main()
