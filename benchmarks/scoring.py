"""Overhead of scoring through a model package: `python -m benchmarks.scoring`.

1,000,000 rows of 20 numbers, and of 16 numbers and 4 categories, are scored by the package and through `mlflow.pyfunc`,
and by LightGBM alone on the same rows as a matrix; for one model and for a bag of five. And one row is scored by the
package without a frame, and by LightGBM's own call for one row.
"""

import argparse
import cProfile
import logging
import platform
import pstats
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import synthetic_table
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.device import available_cores
from ml.ensemble.bagging import CrossValidatedBag, CrossValidatedBagModel
from ml.estimator import FitResources
from ml.package import Package, read, write
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel
from tasks.packaging import save_mlflow_model

ROWS, TRAINING_ROWS, SEED, REPEATS, SINGLE_ROW_CALLS = 1_000_000, 20_000, 0, 3, 2000
LIBRARIES = ("mlflow", "lightgbm", "pandas", "numpy")
# Seconds of the package per second of LightGBM alone.
MAX_RATIO = 1.2
# Milliseconds for one row of one model.
MAX_SINGLE_ROW_MS = 0.3


def numeric_contract() -> Contract:
    """Create a contract of twenty numeric columns."""
    columns = dict.fromkeys((f"number_{i:02}" for i in range(20)), "number")
    read_as = {
        "files": ["table.parquet"],
        "format": "parquet",
        "columns": {**columns, "defaulted": "integer"},
    }
    roles = {"target": {"column": "defaulted", "positive": ["1"]}}
    return parse(
        {
            "name": "fintech-risk.numbers",
            "expectations": [],
            "meta": {"schema_version": 2, "read": read_as, "roles": roles},
        }
    )


def create_features(contract: Contract, rows: int, seed: int) -> pd.DataFrame:
    """Create the feature columns of the contract."""
    if contract.name.endswith(".table"):
        return synthetic_table.create_table(rows, seed)[list(contract.features)]
    generator = np.random.default_rng(seed)
    return pd.DataFrame({name: generator.normal(size=rows) for name in contract.features})


def fit(candidate: Any, contract: Contract) -> Any:
    """Fit a candidate on synthetic rows."""
    frame = create_features(contract, TRAINING_ROWS, SEED + 1)
    numbers = frame.select_dtypes("number").fillna(0.0).to_numpy()
    noise = np.random.default_rng(SEED).normal(size=len(frame))
    truth = pd.Series((numbers[:, 0] * numbers[:, 1] + numbers[:, 2] + noise > 1).astype("float64"))
    train = Dataset(frame, truth, np.arange(len(frame), dtype="uint64"))
    valid = train.take(np.arange(0, len(frame), 5))
    return candidate.fit(train, valid, FitResources(SEED, available_cores()))


def lightgbm_call(model: Any, frame: pd.DataFrame) -> Callable[[], object]:
    """Return a function that predicts the encoded rows with LightGBM alone, one booster after the other."""
    models = model.models if isinstance(model, CrossValidatedBagModel) else (model,)
    boosting = [model for model in models if isinstance(model, GradientBoostingModel)]
    X = boosting[0].encoding.encode(frame)
    return lambda: [member._booster.predict(X, num_threads=available_cores()) for member in boosting]


def median_seconds(*calls: Callable[[], object]) -> list[float]:
    """Time the calls in turn, and return the median of each."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, times in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return [median(times) for times in seconds]


def slowest_functions(call: Callable[[], object]) -> list[tuple[float, str]]:
    """Return the three slowest functions of a call besides LightGBM, with their share of its time."""
    profile = cProfile.Profile()
    profile.runcall(call)
    stats: dict[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(entry[2] for entry in stats.values())
    shares = [(entry[2] / total, f"{Path(file).name}:{name}") for (file, _, name), entry in stats.items()]
    others = [entry for entry in shares if "lightgbm" not in entry[1] and "basic.py" not in entry[1]]
    return sorted(others, reverse=True)[:3]


def measure(contract: Contract, candidates: dict[str, Any], rows: int) -> None:
    """Time batches and single rows of each candidate."""
    import mlflow.pyfunc

    frame = create_features(contract, rows, SEED + 2)
    print(
        f"\n{rows:,} x {frame.shape[1]} rows of {contract.name}, medians of {REPEATS} in turn, seed {SEED}, seconds"
    )
    for name, candidate in candidates.items():
        model = fit(candidate, contract)
        package = Package(model, contract.source, {"threshold": 0.5}, np.empty(0, "uint64"))
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch) / "package"
            data.mkdir()
            write(package, data)
            save_mlflow_model(package, data, Path(scratch) / "model")
            pyfunc = mlflow.pyfunc.load_model(str(Path(scratch) / "model"))
            loaded = read(data)
        lightgbm_seconds, package_seconds, pyfunc_seconds = median_seconds(
            lightgbm_call(model, frame), partial(loaded.predict, frame), partial(pyfunc.predict, frame)
        )
        print(
            f"  {name:<10} LightGBM {lightgbm_seconds:.2f}, "
            f"package {package_seconds:.2f} ({package_seconds / lightgbm_seconds:.2f}), "
            f"mlflow.pyfunc {pyfunc_seconds:.2f} ({pyfunc_seconds / lightgbm_seconds:.2f}); at most {MAX_RATIO}"
        )
        functions = slowest_functions(partial(loaded.predict, frame))
        shares = ", ".join(f"{share:.1%} {function}" for share, function in functions)
        print(f"             besides LightGBM: {shares}")
        print(f"             {single_row(loaded, model, frame)}")


def single_row(package: Package, model: Any, frame: pd.DataFrame) -> str:
    """Time the prediction of one row without a frame, in milliseconds."""
    first = frame.head(1).astype(object).where(frame.head(1).notna(), None)
    cells: dict[str, Any] = {str(name): value for name, value in first.iloc[0].items()}
    call_lightgbm = lightgbm_call(model, frame.head(1))
    times = []
    for call in (call_lightgbm, lambda: package.predict_row(cells)):
        started = time.perf_counter()
        for _ in range(SINGLE_ROW_CALLS):
            call()
        times.append(1000 * (time.perf_counter() - started) / SINGLE_ROW_CALLS)
    return (
        f"one row: LightGBM {times[0]:.3f} ms, package {times[1]:.3f} ms; "
        f"at most {MAX_SINGLE_ROW_MS} for one model"
    )


def main() -> None:
    """Print all measurements with versions and hardware."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    print(f"python {platform.python_version()}, {available_cores()} cores, {platform.machine()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    # Never stopped early, as the validation rows are training rows: all models have 300 trees per booster.
    boosting = GradientBoosting(max_rounds=300, patience=300)
    candidates = {"one model": boosting, "bag of 5": CrossValidatedBag(boosting, folds=5)}
    for contract in (numeric_contract(), synthetic_table.create_contract()):
        measure(contract, candidates, options.rows)


if __name__ == "__main__":
    main()
