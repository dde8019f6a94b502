"""Replace texts by a few numbers: lengths, and topics (latent semantic analysis; Deerwester et al., 1990)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.rare_values import MIN_PEOPLE
from ml.text.ngrams import NGramWeights, Unit
from ml.text.normalization import normalize, separates_words

TOPICS = 16
MAX_NGRAMS = 2000
# Texts that directions are computed from, evenly spaced among all of them.
MAX_TEXTS = 50_000
# Directions with less than this share of the largest variance are rounding errors.
MIN_VARIANCE = 1e-9
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TextTopics:
    """The topics of one column: weights of n-grams, and the directions that the texts of train vary in most.

    `directions` is float64, shape (n-grams, topics); both are 0 where no n-gram is in the texts of enough people.
    """

    column: str
    weights: NGramWeights = field(repr=False)
    directions: np.ndarray = field(repr=False)

    @classmethod
    def fit(cls, texts: pd.Series, units: np.ndarray) -> Self:
        """Fit to the texts of train. `units` are the people that wrote them (uint64), one per text.

        An n-gram counts that is in the texts of at least 10 of them: a rarer one may name a person.
        """
        messages = _messages(texts)
        known = [message for message in messages if message is not None]
        owners = np.asarray(units)[[message is not None for message in messages]]
        unit: Unit = "words" if separates_words(known) else "characters"
        lengths = (1, 1) if unit == "words" else (1, 2)
        weights = NGramWeights.fit(known, unit, lengths, MIN_PEOPLE, MAX_NGRAMS)
        weights = _with_enough_people(weights, known, owners)
        sample = (
            [known[n] for n in np.unique(np.linspace(0, len(known) - 1, MAX_TEXTS).astype(int))]
            if known
            else []
        )
        return cls(str(texts.name), weights, _directions(weights, sample))

    @property
    def names(self) -> tuple[str, ...]:
        """List the columns that replace the texts."""
        topics = (f"{self.column}: topic {n}" for n in range(1, self.directions.shape[1] + 1))
        return (*topics, f"{self.column}: characters", f"{self.column}: words")

    def transform(self, texts: pd.Series) -> pd.DataFrame:
        """Return the columns `names` as float64, same index; all of them are NaN where there is no text.

        Each row depends on its own text only. Raises ValueError for values that are no texts.
        """
        messages = _messages(texts)
        present = np.array([message is not None for message in messages], dtype=bool)
        known = [message for message in messages if message is not None]
        values = np.full((len(messages), len(self.names)), np.nan)
        if known:
            topics = (
                self.weights.encode(known).astype(np.float64) @ self.directions
                if self.weights.vocabulary
                else 0
            )
            values[present, :-2] = topics
            values[present, -2] = [len(message) for message in known]
            values[present, -1] = [len(_WORD.findall(message)) for message in known]
        return pd.DataFrame(values, texts.index, self.names)

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays as JSON values."""
        return {"column": self.column, "weights": self.weights.to_json()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {"directions": self.directions, "inverse_frequency": self.weights.inverse_frequency}

    @classmethod
    def from_json(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore from the results of `to_json` and `arrays`. Raises ValueError where they do not belong together."""
        weights = NGramWeights.from_json(state["weights"], arrays["inverse_frequency"])
        count = len(weights.vocabulary)
        if arrays["directions"].shape[:1] != (count,) or len(weights.inverse_frequency) != count:
            raise ValueError(
                f"expected arrays for {count} n-grams, got others; restore the files of the model"
            )
        return cls(state["column"], weights, arrays["directions"])


def _messages(texts: pd.Series) -> list[str | None]:
    """Normalise texts; None where there is none, or nothing that can be seen."""
    cells = texts.astype(object).to_numpy()
    other = {type(c).__name__ for c in cells if not isinstance(c, str) and c is not None and c == c}
    if other:
        raise ValueError(
            f"expected text in {texts.name!r}, got {', '.join(sorted(other))}; cast it to str as in training"
        )
    return [normalize(cell) or None if isinstance(cell, str) else None for cell in cells]


def _with_enough_people(weights: NGramWeights, texts: Sequence[str], units: np.ndarray) -> NGramWeights:
    """Leave out n-grams of fewer than 10 people, who may have several texts each."""
    people, codes = np.unique(units, return_inverse=True)
    if len(people) == len(units) or not weights.vocabulary:
        return weights
    occurs = weights.encode(texts)
    owner = sparse.csr_array((np.ones(len(texts)), (codes, np.arange(len(texts)))), (len(people), len(texts)))
    counts = np.bincount((owner @ occurs).tocsr().indices, minlength=len(weights.vocabulary))
    kept = np.flatnonzero(counts >= MIN_PEOPLE)
    vocabulary = tuple(weights.vocabulary[n] for n in kept)
    return replace(weights, vocabulary=vocabulary, inverse_frequency=weights.inverse_frequency[kept])


def _directions(weights: NGramWeights, texts: Sequence[str]) -> np.ndarray:
    """Compute the right singular vectors of the weighted n-grams with the largest singular values, largest first.

    The sign of each is such that its largest part is positive.
    """
    # Prediction does not need it.
    from threadpoolctl import threadpool_limits

    if not weights.vocabulary:
        return np.empty((0, 0))
    matrix = weights.encode(texts).astype(np.float64)
    gram = (matrix.T @ matrix).toarray()
    # On one thread the bits do not depend on the machine's number of threads.
    with threadpool_limits(1):
        values, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(values > MIN_VARIANCE * values[-1])[::-1][:TOPICS]
    directions = vectors[:, kept]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(len(kept))])
    return np.ascontiguousarray(directions * signs)
