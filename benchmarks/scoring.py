"""What the package costs beside the bare estimator: `python -m benchmarks.scoring`, as ratios of one run.

1,000,000 rows of 20 numbers, and of 16 numbers and 4 categories, through `mlflow.pyfunc` and the package, against what
LightGBM alone needs for the same rows as a matrix; for one model and for a bag of five. And one row through the package
without a frame, against LightGBM's own call for one row.
"""

import argparse
import cProfile
import logging
import os
import platform
import pstats
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import tables
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.ensemble.bagging import Bagged, BaggedModel
from ml.estimator import FitResources
from ml.package import Package, read, write
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel
from tasks.packaging import save_mlflow_model

ROWS, TRAINED_ON, SEED, REPEATS, SINGLES = 1_000_000, 20_000, 0, 3, 2000
LIBRARIES = ("mlflow", "lightgbm", "pandas", "numpy")
# Seconds of the package for each second of the bare estimator.
BOUND = 1.2
# Milliseconds for one row of one model.
ONE_ROW = 0.3


def numbers_only() -> Contract:
    """Twenty columns of numbers."""
    columns = dict.fromkeys((f"number_{i:02}" for i in range(20)), "number")
    read_as = {
        "files": ["table.parquet"],
        "format": "parquet",
        "columns": {**columns, "defaulted": "integer"},
    }
    roles = {"target": {"column": "defaulted", "positive": ["1"]}}
    return parse(
        {"name": "fintech-risk.numbers", "expectations": [], "meta": {"read": read_as, "roles": roles}}
    )


def rows_of(contract: Contract, rows: int, seed: int) -> pd.DataFrame:
    """The features of so many rows."""
    if contract.name.endswith(".table"):
        return tables.table(rows, seed)[list(contract.features)]
    generator = np.random.default_rng(seed)
    return pd.DataFrame({name: generator.normal(size=rows) for name in contract.features})


def fitted(candidate: Any, contract: Contract) -> Any:
    """A model of 300 trees each: how many there are decides what scoring costs."""
    frame = rows_of(contract, TRAINED_ON, SEED + 1)
    numbers = frame.select_dtypes("number").fillna(0.0).to_numpy()
    noise = np.random.default_rng(SEED).normal(size=len(frame))
    truth = pd.Series((numbers[:, 0] * numbers[:, 1] + numbers[:, 2] + noise > 1).astype("float64"))
    part = Dataset(frame, truth, np.arange(len(frame), dtype="uint64"))
    return candidate.fit(part, part.take(np.arange(0, len(frame), 5)), FitResources(SEED, cores()))


def cores() -> int:
    return len(os.sched_getaffinity(0))


def bare(model: Any, frame: pd.DataFrame) -> Callable[[], object]:
    """LightGBM's own predictions of the encoded rows, one booster after the other."""
    models = model.models if isinstance(model, BaggedModel) else (model,)
    boosting = [one for one in models if isinstance(one, GradientBoostingModel)]
    X = boosting[0].encoding.encode(frame)
    return lambda: [one._booster.predict(X, num_threads=cores()) for one in boosting]


def seconds(*calls: Callable[[], object]) -> list[float]:
    """The median of each, in turn."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, times in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
    return [median(times) for times in taken]


def elsewhere(call: Callable[[], object]) -> list[tuple[float, str]]:
    """The three dearest functions of a call besides LightGBM, with their share of its time."""
    profile = cProfile.Profile()
    profile.runcall(call)
    stats: dict[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    whole = sum(entry[2] for entry in stats.values())
    own = [(entry[2] / whole, f"{Path(f).name}:{name}") for (f, _, name), entry in stats.items()]
    return sorted(
        (line for line in own if "lightgbm" not in line[1] and "basic.py" not in line[1]), reverse=True
    )[:3]


def measure(contract: Contract, candidates: dict[str, Any], rows: int) -> None:
    """Batch and single rows of each candidate."""
    import mlflow.pyfunc

    frame = rows_of(contract, rows, SEED + 2)
    print(
        f"\n{rows:,} x {frame.shape[1]} rows of {contract.name}, medians of {REPEATS} in turn, seed {SEED}, seconds"
    )
    for name, candidate in candidates.items():
        model = fitted(candidate, contract)
        packed = Package(model, contract.source, {"threshold": 0.5}, np.empty(0, "uint64"))
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch) / "package"
            data.mkdir()
            write(packed, data)
            save_mlflow_model(packed, data, Path(scratch) / "model")
            loaded = mlflow.pyfunc.load_model(str(Path(scratch) / "model"))
            again = read(data)
        alone, package, all_of_it = seconds(
            bare(model, frame), partial(again.predict, frame), partial(loaded.predict, frame)
        )
        told = f"package {package:.2f} ({package / alone:.2f}), mlflow.pyfunc {all_of_it:.2f} ({all_of_it / alone:.2f})"
        print(f"  {name:<10} LightGBM {alone:.2f}, {told}; at most {BOUND}")
        shares = ", ".join(f"{share:.1%} {what}" for share, what in elsewhere(partial(again.predict, frame)))
        print(f"             besides LightGBM: {shares}")
        print(f"             {one_row(again, model, frame)}")


def one_row(package: Package, model: Any, frame: pd.DataFrame) -> str:
    """Milliseconds for one row without a frame."""
    some = frame.head(100).astype(object).where(frame.head(100).notna(), None)
    cells: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in some.to_dict("records")]
    single = bare(model, frame.head(1))
    times = []
    for call in (single, lambda: package.predict_row(cells[0])):
        begun = time.perf_counter()
        for _ in range(SINGLES):
            call()
        times.append(1000 * (time.perf_counter() - begun) / SINGLES)
    return f"one row: LightGBM {times[0]:.3f} ms, package {times[1]:.3f} ms; at most {ONE_ROW} for one model"


def main() -> None:
    """Print everything, with what it was measured on."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    print(f"python {platform.python_version()}, {cores()} cores, {platform.machine()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    # Trees are not stopped early: rows of the training part are their valid part.
    one = GradientBoosting(max_rounds=300, patience=300)
    candidates = {"one model": one, "bag of 5": Bagged(replace(one), folds=5)}
    for contract in (numbers_only(), tables.contract()):
        measure(contract, candidates, asked.rows)


if __name__ == "__main__":
    main()
