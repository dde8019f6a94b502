"""Intents left out of training: the others keep their labels, and thresholds are measured on other rows."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.text_datasets import MessageSplit, known_and_unknown
from benchmarks.text_out_of_scope import KnownIntents, measure
from ml.data.dataset import Dataset
from ml.data.target import class_columns

CLASSES = tuple("abcdef")


def create_dataset(codes: np.ndarray) -> Dataset:
    frame = pd.DataFrame({"text": [CLASSES[code] for code in codes]})
    return Dataset(
        frame,
        pd.Series(codes, dtype="float64"),
        np.arange(len(codes), dtype=np.uint64),
        classes=CLASSES,
        text_columns=("text",),
    )


def test_known_intents_keep_their_labels() -> None:
    known, unknown = known_and_unknown(create_dataset(np.arange(60) % 6), np.array([1, 4]))
    assert known.classes == ("a", "c", "d", "f")
    assert [known.classes[int(code)] for code in known.truth] == known.frame["text"].tolist()
    assert set(unknown.frame["text"]) == {"b", "e"}
    assert len(known.frame) + len(unknown.frame) == 60


class Letters:
    """Knows its letters for sure, b hardly, and takes e for its first letter."""

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        rows = []
        for letter in frame["text"]:
            if letter in "acdf":
                rows.append([0.9 if name == letter else 0.1 / 3 for name in "acdf"])
            else:
                rows.append([0.4, 0.2, 0.2, 0.2] if letter == "b" else [0.95, 0.05, 0.0, 0.0])
        return pd.DataFrame(rows, index=frame.index, columns=class_columns(("a", "c", "d", "f")))


def test_shares_left_to_people_by_hand() -> None:
    known, unknown = known_and_unknown(create_dataset(np.arange(240) % 6), np.array([1, 4]))
    data = KnownIntents(MessageSplit(known, known, known, known, 0), unknown, unknown)
    results = {str(result["way"]): result for result in measure(Letters(), data)}  # type: ignore[arg-type]
    for result in results.values():
        assert result["accuracy"] == result["answered"] == result["answered_accuracy"] == 1.0
        assert result["roc_auc"] == pytest.approx(0.5)
    # Of the unknown ones b is left to people, and e, which no threshold stops, is not. A threshold chosen on e alone
    # stops nothing, and one chosen on b alone is measured on e.
    assert {way: result["rejected"] for way, result in results.items()} == {
        "known": 0.5,
        "same": 0.5,
        "other": 0.0,
    }
