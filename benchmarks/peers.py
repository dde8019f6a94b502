"""Peers to compare with: LightGBM with its defaults, and AutoGluon in an environment of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import FitResources


@dataclass(frozen=True)
class LightGBMDefaultsModel:
    """LightGBM's booster, and the categories of each column in the training rows."""

    booster: Any
    categories: Mapping[str, pd.CategoricalDtype]

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        # Categories that are not in the training rows count as missing.
        cleaned = {c: frame[c].where(frame[c].isin(dtype.categories)) for c, dtype in self.categories.items()}
        probability = self.booster.predict(frame.assign(**cleaned).astype(dict(self.categories)))
        return pd.DataFrame({"probability": probability}, index=frame.index)

    def files(self) -> dict[str, bytes]:
        return {"model.txt": self.booster.model_to_string().encode()}


@dataclass(frozen=True)
class LightGBMDefaults:
    """LightGBM with 100 rounds, its own categorical splits and no early stopping."""

    rounds: int = 100

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> LightGBMDefaultsModel:
        """Train the booster; `valid` is ignored."""
        import lightgbm

        columns = [str(name) for name in train.frame if isinstance(train.frame[name].dtype, pd.StringDtype)]
        categories = {
            name: pd.CategoricalDtype(sorted(train.frame[name].dropna().unique())) for name in columns
        }
        data = lightgbm.Dataset(train.frame.astype(dict(categories)), train.truth)
        params = {"objective": "binary", "seed": resources.seed, "num_threads": resources.threads}
        booster = lightgbm.train({**params, "deterministic": True, "verbose": -1}, data, self.rounds)
        return LightGBMDefaultsModel(booster, categories)


# Run by the interpreter of AutoGluon's environment on a folder as in `benchmarks.fit_server`; `unit` is no feature.
AUTOGLUON = """
import json, resource, sys, time
from pathlib import Path
import numpy as np, pandas as pd
import catboost, lightgbm, torch, xgboost
from autogluon.tabular import TabularPredictor

folder = Path(sys.argv[1])
spec = json.loads((folder / "spec.json").read_text())

def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

def peak_mb():
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in status if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024

def table(name):
    frame = pd.read_parquet(folder / f"{name}.parquet").drop(columns="unit")
    return frame.astype({c: "category" for c in frame if not pd.api.types.is_numeric_dtype(frame[c])})

train, test = table("train"), table("test")
train["truth"] = train["truth"].astype(int)
started, cpu_started = time.perf_counter(), cpu_seconds()
predictor = TabularPredictor(
    label="truth", problem_type="binary", eval_metric="roc_auc", path=str(folder / "autogluon"), verbosity=1
)
predictor.fit(
    train, presets="best_quality", time_limit=spec["seconds"], num_cpus=spec["threads"], num_gpus=0
)
fitted, cpu_fitted = time.perf_counter(), cpu_seconds()
probability = predictor.predict_proba(test.drop(columns="truth"))[1].to_numpy()
costs = {
    "cpu_seconds": cpu_fitted - cpu_started,
    "wall_seconds": fitted - started,
    "predict_seconds": time.perf_counter() - fitted,
    "peak_mb": peak_mb(),
    "bytes": sum(p.stat().st_size for p in (folder / "autogluon").rglob("*") if p.is_file()),
    "stopped_by": None,
    "composition": {"models": predictor.model_names(), "best": predictor.model_best},
}
np.save(folder / "probability.npy", probability.astype(np.float64))
(folder / "costs.json").write_text(json.dumps(costs))
"""
