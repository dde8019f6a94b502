"""What a network does besides what every tabular candidate does."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ml.data.dataset import Dataset
from ml.errors import UsageError
from ml.estimator import FitResources
from ml.tabular.tabm import Inputs, Network, NetworkModel

ROOT = Path(__file__).resolve().parents[3]
QUICK = Network(members=4, width=16, max_epochs=5)


def part(rows: int, seed: int) -> Dataset:
    """A number that matters where it is known, a code in it, and a name."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    x[rng.random(rows) < 0.1] = -9.0
    name = pd.Series(rng.choice(["a", "b"], rows), dtype="str")
    truth = pd.Series((rng.random(rows) < 1 / (1 + np.exp(-2 * np.nan_to_num(x)))).astype(float))
    units = np.arange(rows, dtype=np.uint64)
    return Dataset(pd.DataFrame({"x": x, "name": name}), truth, units, sentinel_values={"x": (-9.0,)})


def test_numbers_become_places_within_bins_and_what_is_no_quantity_becomes_a_flag() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 4.0, np.nan, -9.0]})
    learned = Dataset(
        frame, pd.Series(np.zeros(6)), np.arange(6, dtype=np.uint64), sentinel_values={"x": (-9.0,)}
    )
    inputs = Inputs.learn(learned, bins=8, min_count=1, max_categories=9)
    # Bins end half way between the values: 0 to .5, 1.5, 3 and 4.
    places = np.array([[0, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1 / 3, 0], [1, 1, 1, 1]])
    X = inputs.encode(frame)
    np.testing.assert_allclose(X[:4, :4], places - places.mean(axis=0))
    np.testing.assert_array_equal(X[4:, :4], 0.0)
    np.testing.assert_allclose(X[:, 4:] + 1 / 6, np.vstack([np.zeros((4, 2)), np.eye(2)]), atol=1e-12)
    np.testing.assert_array_equal(inputs.owners, np.zeros(6))
    beyond = inputs.encode(pd.DataFrame({"x": [-np.inf, np.inf]}))
    np.testing.assert_array_equal(beyond, X[[0, 3]])


def test_numpy_answers_what_torch_has_learned() -> None:
    train = part(400, 1)
    model = QUICK.fit(train, part(200, 2), FitResources())
    own = {name: torch.tensor(one) for name, one in model.weights.items()}
    H = torch.tensor(model.inputs.encode(train.frame), dtype=torch.float32)[:, None, :]
    for at in range(QUICK.depth):
        H = torch.relu((H * own[f"in{at}"]) @ own[f"weight{at}"] * own[f"out{at}"] + own[f"bias{at}"])
    score = (H * own["head"]).sum(dim=2) + own["head_bias"] + model.base
    expected = torch.sigmoid(score).mean(dim=1).numpy()
    np.testing.assert_allclose(model.predict(train.frame)["probability"], expected, rtol=1e-4)


def test_a_model_answers_where_torch_is_not_installed(tmp_path: Path) -> None:
    model = QUICK.fit(part(200, 1), part(100, 2), FitResources())
    for name, data in model.files().items():
        (tmp_path / name).write_bytes(data)
    script = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from ml.serialization import load_model
files = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
print(repr(load_model("ml.tabular.tabm:NetworkModel", files).predict_row({"x": 0.5, "name": "a"})))
"""
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert float(said) == model.predict_row({"x": 0.5, "name": "a"})


def test_no_epoch_is_better_than_those_whose_weights_are_kept() -> None:
    train, valid = part(400, 1), part(200, 2)

    def loss(model: NetworkModel) -> float:
        probability = model.predict(valid.frame)["probability"].to_numpy()
        return float(-np.log(np.where(valid.truth == 1, probability, 1 - probability)).mean())

    whole = replace(QUICK, max_epochs=30, learning_rate=0.03, patience=5).fit(train, valid, FitResources())
    shorter = [
        replace(QUICK, max_epochs=n, learning_rate=0.03).fit(train, valid, FitResources()) for n in (1, 2, 5)
    ]
    assert whole.stopped_by == "valid"
    assert loss(whole) <= min(map(loss, shorter)) + 1e-6


def test_torch_is_left_as_it_was_found() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    QUICK.fit(part(100, 1), part(100, 2), FitResources(seed=5, threads=2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_any_fit() -> None:
    with pytest.raises(
        UsageError, match="expected a GPU, as the device cuda was asked for; got none"
    ) as told:
        FitResources(device="cuda")
    assert "ask for the device cpu" in str(told.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_same_model_each_time_and_one_like_that_of_the_cpu() -> None:
    train, valid = part(400, 1), part(200, 2)
    one, two, cpu = (QUICK.fit(train, valid, FitResources(device=d)) for d in ("cuda", "cuda", "cpu"))  # type: ignore[arg-type]
    assert one.files() == two.files()
    answers = [model.predict(valid.frame)["probability"] for model in (one, cpu)]
    assert np.corrcoef(*answers)[0, 1] > 0.9
