"""Reasons for a decision about a message: the words that spoke for its class, and against it.

The contribution of a word is by how much the log odds of the class fall when the word is taken out (occlusion; Zeiler
and Fergus, 2014). This asks any model only for predictions, and tells the same for coefficients and for encoders; for a
linear model of words it is near the sum of the coefficients of the n-grams that the word is in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.target import PREDICTION_COLUMN, class_columns
from ml.errors import UsageError
from ml.estimator import TabularModel
from ml.text.normalization import normalize, separates_words
from ml.text.tfidf_linear import TfidfLinearModel

# Units of a message that are taken out at most: more would cost a prediction each.
MAX_UNITS = 256
# Characters that are taken out together where words are not separated.
UNSPACED_UNIT = 2
_MIN_PROBABILITY = 1e-9


@dataclass(frozen=True)
class WordReason:
    """A part of a normalised message, from character `start` to `end`, and its contribution to the log odds."""

    start: int
    end: int
    contribution: float


def words_of(message: str) -> list[tuple[int, int]]:
    """Return start and end of each word of a normalised message; of pairs of characters where words have no spaces."""
    if separates_words([message]):
        spans = [match.span() for match in re.finditer(r"\w+", message)]
    else:
        spans = [
            (start, min(start + UNSPACED_UNIT, match.end()))
            for match in re.finditer(r"\w+", message)
            for start in range(*match.span(), UNSPACED_UNIT)
        ]
    return spans[:MAX_UNITS]


def without(message: str, spans: Sequence[tuple[int, int]]) -> str:
    """Take parts out of a message; a space stays, so that their neighbours are not joined to a word."""
    kept, end = [], 0
    for start, stop in sorted(spans):
        kept.append(message[end:start])
        end = max(stop, end)
    return normalize(" ".join([*kept, message[end:]]))


def word_reasons(model: TabularModel, row: pd.DataFrame, column: str, label: str = "") -> list[WordReason]:
    """Return the words of `column` in a table of one row with their contributions to the class, the largest first.

    `label` names one of several classes, by default the most probable one; for a binary target the class is the
    positive one. Raises UsageError for more rows, or a label that the model does not predict.
    """
    if len(row) != 1:
        raise UsageError("one row", f"{len(row)}", "ask for each row")
    cell = row[column].iloc[0]
    message = normalize(cell) if isinstance(cell, str) else ""
    spans = words_of(message)
    variants = [message, *(without(message, [span]) for span in spans)]
    log_odds = _log_odds(model, row, column, variants, label)
    reasons = [
        WordReason(*span, float(log_odds[0] - value)) for span, value in zip(spans, log_odds[1:], strict=True)
    ]
    return sorted(reasons, key=lambda reason: -reason.contribution)


def _log_odds(
    model: TabularModel, row: pd.DataFrame, column: str, messages: Sequence[str], label: str
) -> np.ndarray:
    """Predict the row with each of the messages; return the log odds of the class."""
    frame = row.loc[row.index.repeat(len(messages))].reset_index(drop=True)
    frame[column] = pd.Series(list(messages), dtype="str")
    predictions = model.predict(frame)
    if len(predictions.columns) > 1:
        name = class_columns([label])[0] if label else str(predictions.iloc[0].idxmax())
        if name not in predictions.columns:
            raise UsageError("a label that the model predicts", "another one", "name a class of the contract")
        predictions = predictions[[name]]
    P = np.clip(predictions.to_numpy()[:, 0], _MIN_PROBABILITY, 1.0 - _MIN_PROBABILITY)
    return np.asarray(np.log(P) - np.log1p(-P))


def ngram_coefficients(model: TfidfLinearModel, label: str, count: int) -> list[tuple[str, float]]:
    """Return the n-grams with the largest coefficients for a class, over all messages, the largest first."""
    target, classes = model.target, model.target.classes or ("0", "1")
    if label not in classes or not target.seen[classes.index(label)]:
        raise UsageError("a label of the training rows", "another one", "name a class of the contract")
    position = int(np.flatnonzero(target.seen_classes == classes.index(label))[0])
    names = [ngram for weights in model.ngrams for ngram in weights.vocabulary]
    coefficients = model.regression.coefficients[: len(names), position]
    order = np.argsort(-coefficients, kind="stable")[:count]
    return [(names[number], float(coefficients[number])) for number in order]


def add_word_reasons(
    model: TabularModel, frame: pd.DataFrame, prediction: pd.DataFrame, columns: Sequence[str], count: int
) -> pd.DataFrame:
    """Return the prediction with the columns `reason_words` and `reason_weights`, lists of equal length.

    They hold at most `count` words of the sentences in `columns` that speak for the predicted class, the strongest
    first; empty lists where no word does.
    """
    words, weights = [], []
    binary = PREDICTION_COLUMN["binary"]
    for position in range(len(frame)):
        row = frame.iloc[[position]]
        # Of two classes, contributions are those to the positive one.
        is_negative = binary in prediction and prediction[binary].iloc[position] < 0.5
        sign = -1.0 if is_negative else 1.0
        found: list[tuple[float, str]] = []
        for column in columns:
            message = normalize(row[column].iloc[0]) if isinstance(row[column].iloc[0], str) else ""
            found += [
                (sign * reason.contribution, message[reason.start : reason.end])
                for reason in word_reasons(model, row, column)
                if sign * reason.contribution > 0.0
            ]
        strongest = sorted(found, key=lambda each: -each[0])[:count]
        words.append([word for _, word in strongest])
        weights.append([weight for weight, _ in strongest])
    reasons = {
        "reason_words": pd.Series(words, dtype=object),
        "reason_weights": pd.Series(weights, dtype=object),
    }
    return prediction.assign(**{name: values.set_axis(prediction.index) for name, values in reasons.items()})
