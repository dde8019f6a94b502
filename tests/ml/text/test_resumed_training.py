"""A killed fine-tuning continues after its last whole epoch, to the weights of one that was not killed."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.text import remembered_training
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.sentence_encoder import SentenceEncoder
from tests.ml.text.tiny_bert import write_tiny_bert

WORDS = ["lost", "my", "card", "refund", "money", "late", "where", "parcel"]


class KilledError(Exception):
    """Stands for the end of the process."""


class KeptStorage:
    """Keeps files and checkpoints in memory; the process ends after saving the checkpoint number `last`."""

    def __init__(self, last: int = 99) -> None:
        self.last, self.saved, self.loaded = last, 0, 0
        self.checkpoints: dict[str, bytes] = {}
        self.kept: dict[str, Mapping[str, bytes]] = {}

    def files(self, key: str, compute: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key]

    def load_checkpoint(self, key: str) -> bytes | None:
        self.loaded += key in self.checkpoints
        return self.checkpoints.get(key)

    def save_checkpoint(self, key: str, make: Callable[[], bytes]) -> None:
        self.checkpoints[key] = make()
        self.saved += 1
        if self.saved == self.last:
            raise KilledError


def draw(seed: int, rows: int) -> Dataset:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    words = [[*rng.choice(WORDS, 3), WORDS[2 * t + rng.integers(0, 2)]] for t in truth]
    frame = pd.DataFrame({"message": pd.Series(map(" ".join, words), dtype="str")})
    units = np.arange(rows, dtype=np.uint64)
    return Dataset(frame, pd.Series(truth, dtype="float64"), units, text_columns=("message",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "bert", WORDS, hidden=16)


@pytest.mark.parametrize("last", [1, 2])
def test_killed_fit_continues_to_the_same_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    # A rate so high that the last epoch is not the best one, whose weights have to be kept apart.
    candidate = FineTunedEncoder(str(folder), epochs=3, learning_rate=3e-2)
    train, valid = draw(0, 100), draw(1, 40)
    monkeypatch.setattr(remembered_training, "MAX_KEPT", 0)
    whole = candidate.fit(train, valid, FitResources(3))
    storage, progress = KeptStorage(last), []
    with pytest.raises(KilledError):
        candidate.fit(train, valid, FitResources(3, storage=storage))
    storage.last = 99
    resumed = candidate.fit(train, valid, FitResources(3, storage=storage, log_progress=progress.append))
    assert progress[0] == f"continues after epoch {last}"
    assert progress[1].startswith(f"epoch {last + 1}:")
    assert resumed.files() == whole.files()
    # Another fit has other checkpoints.
    candidate.fit(train, valid, FitResources(4, storage=storage))
    assert storage.loaded == 1
    assert len(storage.checkpoints) == 2


def test_embeddings_are_stored_once_for_all_candidates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.text.embedding_cache.MAX_BYTES", 0)
    calls = []
    embed = SentenceEncoder._embed
    monkeypatch.setattr(
        SentenceEncoder, "_embed", lambda self, *arguments: calls.append(1) or embed(self, *arguments)
    )
    train, valid = draw(0, 300), draw(1, 200)
    storage = KeptStorage()
    first = FrozenEncoder(str(folder)).fit(train, valid, FitResources(storage=storage))
    assert len(calls) == 1
    other = FrozenEncoder(str(folder), inverse_penalties=(1.0,))
    other.fit(train, valid, FitResources(storage=storage))
    assert len(calls) == 1
    assert first.files() == FrozenEncoder(str(folder)).fit(train, valid, FitResources()).files()
    # Neither a text nor its tokens are stored, only a vector for each distinct message.
    for files in storage.kept.values():
        assert not any(word.encode() in b"".join(files.values()) for word in train.frame["message"])
    # Another encoder has other vectors.
    FrozenEncoder(str(folder), max_tokens=4).fit(train, valid, FitResources(storage=storage))
    assert len(storage.kept) == 2
