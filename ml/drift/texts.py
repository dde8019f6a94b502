"""Columns with sentences: a summary of a sample, without any word, and how far another sample is from it."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.near_duplicates import normalised
from ml.data.text_faults import SCRIPTS, main_scripts
from ml.drift.numeric import MIN_ROWS, NumericSummary, summarize_numeric

# Texts that are summarised or compared, a random sample of more.
MAX_TEXTS = 20_000
MAX_WORDS = 20_000
# Words of scripts without spaces are single characters; all digits are one.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\W\\d_]+|0+"
)
_DIGIT = re.compile(r"\d")
# Question marks within a word of Latin letters, as where a letter was lost in an encoding that has no sign for it.
_LOST_LETTER = re.compile("[A-Za-z\u00c0-\u024f]\\?{1,4}[a-z\u00df-\u024f]")


@dataclass(frozen=True)
class TextSummary:
    """Texts by their lengths in characters, their scripts and their words.

    `scripts` are the shares of texts by the script of most letters; those of fewer than 10 texts are left out.
    `known_words` are checksums of the words that at least 10 texts have, `unknown` the mean share of other words in a
    text, as a text that is not among them would have it. `lost_letters` is the share of texts with question marks
    within a word, None in summaries of earlier releases.
    """

    missing: float
    lengths: NumericSummary
    scripts: Mapping[str, float]
    known_words: tuple[int, ...]
    unknown: float
    lost_letters: float | None = None


@dataclass(frozen=True)
class TextMeasures:
    """What is measured of each text that is present: length (float), number of the script, checksums of the words.

    `lost_letters` is the share of texts with question marks within a word.
    """

    rows: int
    lengths: np.ndarray
    scripts: np.ndarray
    words: tuple[tuple[int, ...], ...]
    lost_letters: float

    @classmethod
    def of(cls, column: pd.Series) -> "TextMeasures":
        """Measure a column of texts."""
        sample = column.iloc[:MAX_TEXTS]
        texts = sample.dropna().tolist()
        return cls(
            rows=len(sample),
            lengths=np.array([len(text) for text in texts], np.float64),
            scripts=main_scripts(texts),
            words=tuple(_checksums(texts)),
            lost_letters=float(np.mean([bool(_LOST_LETTER.search(text)) for text in texts]))
            if texts
            else 0.0,
        )

    @property
    def missing(self) -> float:
        """Return the share of missing texts."""
        return 1.0 - len(self.lengths) / self.rows if self.rows else 0.0

    def script_shares(self) -> dict[str, float]:
        """Return the share of texts of each script, also of texts without letters."""
        names = [*SCRIPTS, "none"]
        counts = np.bincount(np.where(self.scripts < 0, len(SCRIPTS), self.scripts), minlength=len(names))
        return {name: float(count / counts.sum()) for name, count in zip(names, counts, strict=True) if count}

    def unknown_share(self, known: Iterable[int]) -> float:
        """Return the mean share of words that are not known, over the texts with words."""
        known = frozenset(known)
        shares = [np.mean([word not in known for word in words]) for words in self.words if words]
        return float(np.mean(shares)) if shares else 0.0


def summarize_texts(column: pd.Series) -> TextSummary:
    """Summarise a column of texts, whose rows are in random order."""
    measured = TextMeasures.of(column)
    counts = Counter(word for words in measured.words for word in set(words))
    frequent = [word for word, count in counts.most_common(MAX_WORDS) if count >= MIN_ROWS]
    # To a text that is left out, a word with 10 texts has only 9.
    others = {word for word in frequent if counts[word] > MIN_ROWS}
    number = len(measured.lengths)
    return TextSummary(
        missing=measured.missing,
        lengths=summarize_numeric(np.append(measured.lengths, np.full(measured.rows - number, np.nan))),
        scripts={
            name: share for name, share in measured.script_shares().items() if share * number >= MIN_ROWS
        },
        known_words=tuple(sorted(frequent)),
        unknown=measured.unknown_share(others),
        lost_letters=measured.lost_letters,
    )


def script_distance(reference: TextSummary, measured: TextMeasures) -> float:
    """Return the total variation distance of the scripts, with those that the reference does not know as one."""
    shares = measured.script_shares()
    differences = [abs(share - shares.get(name, 0.0)) for name, share in reference.scripts.items()]
    rest = sum(share for name, share in shares.items() if name not in reference.scripts)
    return 0.5 * (sum(differences) + abs(1.0 - sum(reference.scripts.values()) - rest))


def _checksums(texts: Iterable[str]) -> Iterator[tuple[int, ...]]:
    """Yield the checksum of each word of each text."""
    known: dict[str, int] = {}
    for text in texts:
        words = _WORD.findall(_DIGIT.sub("0", normalised(text)))
        for word in words:
            if word not in known:
                known[word] = zlib.crc32(word.encode("utf-8", "replace"))
        yield tuple(known[word] for word in words)
