"""Behaviour of TabM besides that of every tabular candidate."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.errors import UsageError
from ml.estimator import FitResources
from ml.tabular.tabm import TabM, TabMModel

ROOT = Path(__file__).resolve().parents[3]
QUICK = TabM(members=4, width=16, max_epochs=5)


def make_dataset(rows: int, seed: int) -> Dataset:
    """Make rows with an informative number that has missing values and a sentinel value, and a random category."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    x[rng.random(rows) < 0.1] = -9.0
    name = pd.Series(rng.choice(["a", "b"], rows), dtype="str")
    truth = pd.Series((rng.random(rows) < 1 / (1 + np.exp(-2 * np.nan_to_num(x)))).astype(float))
    units = np.arange(rows, dtype=np.uint64)
    return Dataset(pd.DataFrame({"x": x, "name": name}), truth, units, sentinel_values={"x": (-9.0,)})


def test_numpy_prediction_agrees_with_torch() -> None:
    train = make_dataset(400, 1)
    model = QUICK.fit(train, make_dataset(200, 2), FitResources())
    weights = {name: torch.tensor(weight) for name, weight in model.weights.items()}
    H = torch.tensor(model.encoding.encode(train.frame), dtype=torch.float32)[:, None, :]
    for layer in range(QUICK.depth):
        hidden = (H * weights[f"in{layer}"]) @ weights[f"weight{layer}"]
        H = torch.relu(hidden * weights[f"out{layer}"] + weights[f"bias{layer}"])
    score = (H * weights["head"]).sum(dim=2) + weights["head_bias"] + model.base
    expected = torch.sigmoid(score).mean(dim=1).numpy()
    np.testing.assert_allclose(model.predict(train.frame)["probability"], expected, rtol=1e-4)


def test_model_predicts_without_torch(tmp_path: Path) -> None:
    model = QUICK.fit(make_dataset(200, 1), make_dataset(100, 2), FitResources())
    for name, data in model.files().items():
        (tmp_path / name).write_bytes(data)
    script = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from ml.serialization import load_model
files = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
print(repr(load_model("ml.tabular.tabm:TabMModel", files).predict_row({"x": 0.5, "name": "a"})))
"""
    output = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert float(output) == model.predict_row({"x": 0.5, "name": "a"})


def test_weights_of_the_best_epoch_are_kept() -> None:
    train = make_dataset(400, 1)
    valid = train.take(stopping_split(train, "binary", 0)[1])

    def loss(model: TabMModel) -> float:
        probability = model.predict(valid.frame)["probability"].to_numpy()
        return float(-np.log(np.where(valid.truth == 1, probability, 1 - probability)).mean())

    early_stopped = replace(QUICK, max_epochs=30, learning_rate=0.03, patience=5).fit(
        train, valid, FitResources()
    )
    shorter = [
        replace(QUICK, max_epochs=n, learning_rate=0.03).fit(train, valid, FitResources()) for n in (1, 2, 5)
    ]
    assert early_stopped.stopped_by == "valid"
    assert loss(early_stopped) <= min(map(loss, shorter)) + 1e-6


def test_state_of_torch_is_restored() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    QUICK.fit(make_dataset(100, 1), make_dataset(100, 2), FitResources(seed=5, threads=2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_unavailable_gpu_raises_before_any_fit() -> None:
    with pytest.raises(UsageError, match="expected a GPU for the device cuda; got none") as caught:
        FitResources(device="cuda")
    assert "set the device to cpu" in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_gpu_is_deterministic_and_agrees_with_cpu() -> None:
    train, valid = make_dataset(400, 1), make_dataset(200, 2)
    first, second, cpu = (QUICK.fit(train, valid, FitResources(device=d)) for d in ("cuda", "cuda", "cpu"))  # type: ignore[arg-type]
    assert first.files() == second.files()
    predictions = [model.predict(valid.frame)["probability"] for model in (first, cpu)]
    assert np.corrcoef(*predictions)[0, 1] > 0.9
