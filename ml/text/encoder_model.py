"""A fitted model of messages: an encoder of sentences with a softmax regression on its vectors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ml.data.class_target import ClassTarget
from ml.encoding.columns import RowValues
from ml.serialization import from_safetensors, to_safetensors
from ml.text.message_columns import MessageColumns
from ml.text.sentence_encoder import SentenceEncoder
from ml.text.softmax_regression import SoftmaxRegression

# Files of the encoder among those of the model.
ENCODER_PREFIX = "encoder-"


@dataclass(frozen=True)
class EncoderModel:
    """The encoder with its weights and tokenizer, so that predictions need no package of weights.

    The regression reads the vector of a message, then the one-hot matrix of the other columns. `contributions` are as
    in `ml.text.tfidf_linear.TfidfLinearModel`. `epochs` of training have changed the encoder; 0 for a frozen one.
    """

    requirements: ClassVar[tuple[str, ...]] = ("safetensors", "tokenizers", "torch", "transformers")
    target: ClassTarget
    columns: MessageColumns
    encoder: SentenceEncoder
    regression: SoftmaxRegression
    contributions: tuple[float, ...]
    epochs: int
    stopped_by: str

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in `MessageColumns.messages` and `OneHotEncoding.encode`.

        Messages are computed together, so other rows may change the last bits.
        """
        # A head that was trained with its encoder reads no other columns.
        columns = self.columns if self.epochs == 0 else MessageColumns(self.columns.text, None)
        X = encoder_matrix(self.encoder.embed(columns.messages(frame)), columns, frame)
        return self.target.predictions(self.regression.probabilities(X), frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row of a binary target; errors as in `MessageColumns.row_frame` and `row_probability`."""
        return self.target.row_probability(self.predict(self.columns.row_frame(values)))

    def importance(self) -> pd.Series:
        """Return `contributions` as shares by column name."""
        return self.columns.shares(self.contributions[0], np.array(self.contributions[1:]))

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json`, `head.safetensors` and the files of the encoder."""
        state = {
            "target": asdict(self.target),
            "columns": asdict(self.columns),
            "max_tokens": self.encoder.max_tokens,
            "int8": self.encoder.int8,
            "regression": self.regression.to_json(),
            "contributions": self.contributions,
            "epochs": self.epochs,
            "stopped_by": self.stopped_by,
        }
        return {
            "model.json": json.dumps(state, ensure_ascii=False).encode(),
            "head.safetensors": to_safetensors(self.regression.arrays()),
            **{ENCODER_PREFIX + name: data for name, data in self.encoder.files.items()},
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        encoder_files = {
            name.removeprefix(ENCODER_PREFIX): data
            for name, data in files.items()
            if name.startswith(ENCODER_PREFIX)
        }
        return cls(
            ClassTarget.from_json(state["target"]),
            MessageColumns.from_json(state["columns"]),
            SentenceEncoder.from_files(encoder_files, state["max_tokens"], state["int8"]),
            SoftmaxRegression.from_json(state["regression"], from_safetensors(files["head.safetensors"])),
            tuple(state["contributions"]),
            state["epochs"],
            state["stopped_by"],
        )


def encoder_matrix(vectors: np.ndarray, columns: MessageColumns, frame: pd.DataFrame) -> np.ndarray:
    """Put the vectors of messages and the one-hot matrix of the other columns side by side, float32."""
    if columns.others is None:
        return vectors
    return np.hstack([vectors, columns.encode_others(frame).toarray()])
