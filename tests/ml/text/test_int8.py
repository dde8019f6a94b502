"""Layers in 8-bit integers: the sums that NumPy computes, near float32, the same whatever messages are beside."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.text.encoder_files import read_encoder
from ml.text.encoder_model import EncoderModel
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.int8_linear import Int8Linear
from ml.text.sentence_encoder import SentenceEncoder
from tests.ml.text.tiny_bert import write_tiny_bert

WORDS = ["lost", "my", "card", "refund", "money"]


def test_layer_is_the_product_of_rounded_numbers() -> None:
    rng = np.random.default_rng(0)
    linear = torch.nn.Linear(40, 24, bias=False)
    W = linear.weight.detach().numpy()
    X = rng.normal(size=(3, 5, 40)).astype(np.float32)
    # An empty row, and one that is much larger than the others, which keeps its scale to itself.
    X[0, 0], X[1, 2] = 0.0, 1e4 * X[1, 2]
    scale_w = np.abs(W).max(axis=1) / 127
    scale_x = np.maximum(np.abs(X).max(axis=2, keepdims=True), 1e-12) / 127
    integers = np.round(X / scale_x).astype(np.int64) @ np.round(W.T / scale_w).astype(np.int64)
    with torch.inference_mode():
        outputs = Int8Linear(linear)(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(outputs, integers * (scale_x * scale_w), rtol=1e-5)
    size = np.linalg.norm(X, axis=2, keepdims=True) * np.linalg.norm(W, axis=1)
    assert (np.abs(outputs - X @ W.T) <= 0.02 * size).all()


def test_vectors_are_near_those_of_float32_and_do_not_depend_on_neighbours(tmp_path: Path) -> None:
    files = read_encoder(str(write_tiny_bert(tmp_path / "bert", WORDS)))
    plain, int8 = (SentenceEncoder.from_files(files, 32, int8) for int8 in (False, True))
    messages = ["lost my card", "refund my money", "card", "my money my money"]
    vectors = int8.embed(messages)
    differences = np.linalg.norm(plain.embed(messages) - vectors, axis=1)
    assert (differences < 0.1).all()
    assert (differences > 1e-6).any()
    np.testing.assert_allclose(np.vstack([int8.embed([message]) for message in messages]), vectors, atol=1e-6)
    assert plain.digest != int8.digest


def test_model_is_loaded_with_its_precision(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "bert", WORDS)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 80)
    frame = pd.DataFrame({"text": [f"{rng.choice(WORDS)} {WORDS[t]}" for t in truth]}, dtype="str")
    rows = Dataset(
        frame, pd.Series(truth, dtype="float64"), np.arange(80, dtype=np.uint64), text_columns=("text",)
    )
    model = FrozenEncoder(str(folder), int8=True).fit(rows, rows, FitResources())
    loaded = EncoderModel.from_files(model.files())
    assert loaded.encoder.int8
    pd.testing.assert_frame_equal(loaded.predict(frame), model.predict(frame))
