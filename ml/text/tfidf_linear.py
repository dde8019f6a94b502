"""Logistic regression on TF-IDF weights of words and characters, with calibrated probabilities."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.encoding.columns import RowValues
from ml.estimator import FitResources
from ml.serialization import from_safetensors, to_safetensors
from ml.text.class_ratios import class_ratios
from ml.text.costs import linear_cost
from ml.text.message_columns import MessageColumns
from ml.text.ngrams import NGramWeights, Unit
from ml.text.normalization import separates_words
from ml.text.softmax_regression import SoftmaxRegression
from ml.text.training_messages import TrainingMessages
from ml.time_budget import FitCost

# Coefficients in memory: n-grams times classes.
MAX_COEFFICIENTS = 50_000_000


@dataclass(frozen=True)
class TfidfLinearModel:
    """N-grams by unit, and the coefficients of their weights and of the other columns.

    `contributions` is, for the message and for each other column, the mean absolute deviation of its part of the scores
    over the training rows.
    """

    requirements: ClassVar[tuple[str, ...]] = ("safetensors",)
    target: ClassTarget
    columns: MessageColumns
    ngrams: tuple[NGramWeights, ...] = field(repr=False)
    regression: SoftmaxRegression
    contributions: tuple[float, ...]

    @property
    def stopped_by(self) -> str:
        """Whether the grid of penalties or the budget ended the fit."""
        return self.regression.stopped_by

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in `MessageColumns.messages` and `OneHotEncoding.encode`."""
        X = _matrix(self.ngrams, self.columns, self.columns.messages(frame), frame)
        return self.target.predictions(self.regression.probabilities(X), frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row of a binary target; errors as in `MessageColumns.row_frame` and `row_probability`."""
        return self.target.row_probability(self.predict(self.columns.row_frame(values)))

    def importance(self) -> pd.Series:
        """Return `contributions` as shares by column name."""
        return self.columns.shares(self.contributions[0], np.array(self.contributions[1:]))

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json` and `weights.safetensors`."""
        state = {
            "target": asdict(self.target),
            "columns": asdict(self.columns),
            "ngrams": [weights.to_json() for weights in self.ngrams],
            "contributions": self.contributions,
            **self.regression.to_json(),
        }
        arrays = self.regression.arrays()
        arrays |= {
            f"inverse_frequency{n}": weights.inverse_frequency for n, weights in enumerate(self.ngrams)
        }
        return {
            "model.json": json.dumps(state, ensure_ascii=False).encode(),
            "weights.safetensors": to_safetensors(arrays),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state, arrays = json.loads(files["model.json"]), from_safetensors(files["weights.safetensors"])
        return cls(
            ClassTarget.from_json(state["target"]),
            MessageColumns.from_json(state["columns"]),
            tuple(
                NGramWeights.from_json(weights, arrays[f"inverse_frequency{n}"])
                for n, weights in enumerate(state["ngrams"])
            ),
            SoftmaxRegression.from_json(state, arrays),
            tuple(state["contributions"]),
        )


@dataclass(frozen=True)
class TfidfLinear:
    """Words and pairs of words, and characters within words; characters alone where a script has no spaces.

    The lengths are those of the n-grams. An n-gram of fewer than `min_messages` messages is left out, as it may be the
    name of a person. `inverse_penalties` are the values of C, tried in order while they lower the loss on a tenth of
    the rows. With `by_class_ratio`, n-grams count by how differently often the classes use them
    (`ml.text.class_ratios`).
    """

    word_lengths: tuple[int, int] = (1, 2)
    character_lengths: tuple[int, int] = (2, 5)
    unspaced_lengths: tuple[int, int] = (1, 3)
    min_messages: int = 2
    max_ngrams: int = 300_000
    inverse_penalties: tuple[float, ...] = (3.0, 10.0, 30.0)
    by_class_ratio: bool = False
    max_classes: int = 1000

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> TfidfLinearModel:
        """Fit as `fit_parts`, and return the model that is fitted to all rows; `valid` is not used."""
        return self.fit_parts(train, resources)[1]

    def fit_parts(self, train: Dataset, resources: FitResources) -> tuple[TfidfLinearModel, TfidfLinearModel]:
        """Fit weights of n-grams to `train`, and the coefficients for each C until time is up (at least one).

        Return a model that is not fitted to the rows set aside by `TrainingMessages`, and one with the same C and
        temperature that is. Uses one thread whatever `resources` allow. Raises CandidateSkipped for a table without
        sentences, with one class or with too many, and ValueError as `ClassTarget.codes`.
        """
        deadline = resources.deadline()
        target, columns = ClassTarget.fit(train), MessageColumns.fit(train)
        target.check_learnable(self.max_classes)
        rows = TrainingMessages.collect(train, columns, target, resources.seed)
        max_ngrams = min(self.max_ngrams, MAX_COEFFICIENTS // target.count)
        ngrams = tuple(
            NGramWeights.fit(rows.messages, unit, lengths, self.min_messages, max_ngrams)
            for unit, lengths in self._units(rows.messages)
        )
        X = _matrix(ngrams, columns, rows.messages, rows.frame)
        text_width = sum(len(weights.vocabulary) for weights in ngrams)

        def weigh(X: sparse.csr_array, codes: np.ndarray) -> np.ndarray:
            others = np.ones(X.shape[1] - text_width, np.float32)
            return np.concatenate([class_ratios(X[:, :text_width], codes), others])

        part, regression = SoftmaxRegression.fit(
            X,
            rows.codes,
            rows.is_choice,
            self.inverse_penalties,
            deadline,
            weigh if self.by_class_ratio else None,
        )
        contributions = regression.contributions(X, [text_width, *columns.other_widths])
        model = TfidfLinearModel(target, columns, ngrams, regression, contributions)
        return replace(model, regression=part), model

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of the whole grid and of the fit to all rows."""
        return linear_cost(train, len(self.inverse_penalties) + 1)

    def _units(self, messages: list[str]) -> list[tuple[Unit, tuple[int, int]]]:
        if separates_words(messages):
            return [("words", self.word_lengths), ("characters of words", self.character_lengths)]
        return [("characters", self.unspaced_lengths)]


def _matrix(
    ngrams: tuple[NGramWeights, ...], columns: MessageColumns, messages: list[str], frame: pd.DataFrame
) -> sparse.csr_array:
    parts = [weights.encode(messages) for weights in ngrams]
    if columns.others is not None:
        parts.append(columns.encode_others(frame))
    return sparse.csr_array(sparse.hstack(parts, format="csr"))
