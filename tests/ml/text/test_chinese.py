"""A Chinese BERT from a folder, of the layout that bert-base-chinese is published in, and its documented example."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.text.blend import Blend, unspaced_members
from ml.text.encoder_model import EncoderModel
from ml.text.fine_tuned_encoder import FineTunedEncoder
from tests.ml.text.tiny_bert import write_tiny_bert

GOOD, BAD = "很好吃快送喜欢", "差慢冷难退投诉"
ROOT = Path(__file__).resolve().parents[3]


def make_reviews(rows: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    sentences = ["".join(rng.choice(list(GOOD if good else BAD), 4)) + "你好世界！" for good in truth]
    frame = pd.DataFrame({"review": pd.Series(sentences, dtype="str")})
    units = np.arange(rows, dtype=np.uint64)
    return Dataset(frame, pd.Series(truth, dtype="float64"), units, text_columns=("review",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "bert-base-chinese", [*GOOD, *BAD, *"你好世界！"])


def test_chinese_bert_from_a_folder_is_fine_tuned(folder: Path) -> None:
    candidate = FineTunedEncoder(str(folder), learning_rate=1e-3, batch_size=16)
    model = candidate.fit(make_reviews(200, 1), make_reviews(100, 2), FitResources())
    assert isinstance(model, EncoderModel)
    tokens = model.encoder.tokenizer.encode("你好，世界！").tokens
    assert tokens == ["[CLS]", "你", "好", "[UNK]", "世", "界", "！", "[SEP]"]
    frame = pd.DataFrame({"review": pd.Series(["很好吃", "太慢了，退"], dtype="str")})
    good, bad = model.predict(frame)["probability"]
    assert good > 0.8
    assert bad < 0.2


def test_blend_without_weights_learns_from_characters() -> None:
    model = Blend(unspaced_members()).fit(make_reviews(200, 1), make_reviews(100, 2), FitResources())
    held_out = make_reviews(100, 3)
    assert ((model.predict(held_out.frame)["probability"] > 0.5) == held_out.truth).mean() > 0.95
    assert model.requirements == ("safetensors",)


def test_documented_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "text.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder.parent)
    names: dict[str, object] = {}
    exec(code, names)
    probabilities = names["probabilities"]
    assert isinstance(probabilities, pd.DataFrame)
    assert list(probabilities.columns) == ["probability of complaint", "probability of greeting"]
    assert probabilities.iloc[0, 1] > 0.5
