"""Counts of n-grams of words and characters, weighted by how rare they are (TF-IDF; Salton and Buckley, 1988)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse

Unit = Literal["words", "characters", "characters of words"]

# A word, or one sign that is neither a letter nor a digit.
_TOKEN = re.compile(r"\w+|[^\w\s]")
# Words whose n-grams are kept while messages are counted; the text of a stranger may have any number of them.
_MAX_KNOWN_WORDS = 200_000


@dataclass(frozen=True)
class NGramWeights:
    """Weights of n-grams of one unit with `shortest` to `longest` parts; unknown n-grams do not count.

    The unit "characters of words" takes n-grams within words and their spaces, "characters" from the whole message. A
    row is (1 + log count) times the inverse document frequency log((1 + messages) / (1 + messages with it)) + 1, scaled
    to length 1.
    """

    unit: Unit
    shortest: int
    longest: int
    vocabulary: tuple[str, ...] = field(repr=False)
    inverse_frequency: np.ndarray = field(repr=False)

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        unit: Unit,
        lengths: tuple[int, int],
        min_messages: int,
        max_ngrams: int,
    ) -> Self:
        """Collect the n-grams of at least `min_messages` texts, the most frequent `max_ngrams` of them."""
        codes: dict[str, int] = {}
        counts = _count(texts, unit, lengths, codes, grow=True)
        frequency = np.bincount(counts.indices, minlength=len(codes))
        names = np.array(list(codes), dtype=object)
        kept = np.flatnonzero(frequency >= min_messages)
        if len(kept) > max_ngrams:
            # Of equally frequent ones the first in the alphabet, so that the order of the texts does not matter.
            kept = np.array(
                sorted(kept, key=lambda code: (-frequency[code], names[code]))[:max_ngrams], np.int64
            )
        kept = np.array(sorted(kept, key=lambda code: str(names[code])), np.int64)
        inverse = np.log((1.0 + len(texts)) / (1.0 + frequency[kept])) + 1.0
        return cls(unit, *lengths, tuple(names[kept].tolist()), inverse.astype(np.float32))

    def encode(self, texts: Sequence[str]) -> sparse.csr_array:
        """Weigh the n-grams of texts, shape (texts, n-grams), float32; a text without known ones is a row of 0."""
        matrix = _count(texts, self.unit, (self.shortest, self.longest), self._codes, grow=False)
        matrix.data = (1.0 + np.log(matrix.data)) * self.inverse_frequency[matrix.indices]
        lengths = np.sqrt(np.add.reduceat(np.append(matrix.data**2, 0.0), matrix.indptr[:-1]))
        lengths = np.where(np.diff(matrix.indptr) > 0, lengths, 1.0)
        matrix.data = (matrix.data / np.repeat(lengths, np.diff(matrix.indptr))).astype(np.float32)
        return matrix

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {ngram: code for code, ngram in enumerate(self.vocabulary)}

    def to_json(self) -> dict[str, Any]:
        """Return all but `inverse_frequency` as JSON values."""
        return {
            "unit": self.unit,
            "shortest": self.shortest,
            "longest": self.longest,
            "vocabulary": self.vocabulary,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any], inverse_frequency: np.ndarray) -> Self:
        """Restore from the JSON of `to_json`."""
        vocabulary = tuple(state["vocabulary"])
        return cls(state["unit"], state["shortest"], state["longest"], vocabulary, inverse_frequency)


def _count(
    texts: Iterable[str], unit: Unit, lengths: tuple[int, int], codes: dict[str, int], grow: bool
) -> sparse.csr_array:
    """Count the n-grams of texts, float32 with sorted indices; with `grow`, new ones are added to `codes`."""
    indices: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    starts = [0]
    words: dict[str, list[int]] = {}

    def encode(ngrams: Iterable[str]) -> list[int]:
        if grow:
            return [codes.setdefault(ngram, len(codes)) for ngram in ngrams]
        return [code for ngram in ngrams if (code := codes.get(ngram)) is not None]

    def encode_word(word: str) -> list[int]:
        if word not in words:
            if len(words) >= _MAX_KNOWN_WORDS:
                words.clear()
            words[word] = encode(_character_ngrams(f" {word} ", lengths))
        return words[word]

    for text in texts:
        text = text.lower()
        if unit == "words":
            row = encode(_word_ngrams(_TOKEN.findall(text), lengths))
        elif unit == "characters":
            row = encode(_character_ngrams(text, lengths))
        else:
            row = [code for word in text.split() for code in encode_word(word)]
        distinct, count = np.unique(np.array(row, np.int64), return_counts=True)
        indices.append(distinct)
        counts.append(count)
        starts.append(starts[-1] + len(distinct))
    arrays = (
        np.concatenate([*counts, np.empty(0)]).astype(np.float32),
        np.concatenate([*indices, np.empty(0, np.int64)]).astype(np.int32),
        np.array(starts, np.int32),
    )
    return sparse.csr_array(arrays, shape=(len(starts) - 1, max(len(codes), 1)))


def _word_ngrams(tokens: Sequence[str], lengths: tuple[int, int]) -> Iterable[str]:
    for length in range(lengths[0], lengths[1] + 1):
        for start in range(len(tokens) - length + 1):
            yield " ".join(tokens[start : start + length])


def _character_ngrams(text: str, lengths: tuple[int, int]) -> Iterable[str]:
    for length in range(lengths[0], min(lengths[1], len(text)) + 1):
        for start in range(len(text) - length + 1):
            yield text[start : start + length]
