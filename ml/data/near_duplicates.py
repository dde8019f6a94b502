"""Find texts that are the same or nearly so: their sets of character sequences have a Jaccard similarity of 0.8.

MinHash with banding (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3) finds
candidates, whose similarity is then computed exactly. Time grows with the number of characters and of similar pairs;
memory is about 300 bytes for each text. Sequences are of characters, not of words, so that a typing error changes
little, and scripts without spaces are read in the same way.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.copies import copy_groups, mix_bits

SIMILARITY = 0.8
# Characters of a sequence: of letters, and of scripts without spaces, whose characters are syllables or words.
LETTERS, SYLLABLES = 4, 2
# With 20 bands of 6 hashes, a pair of similarity 0.8 is a candidate with a probability of 0.998, of 0.5 of 0.27.
BANDS, ROWS_OF_BAND = 20, 6
HASHES = BANDS * ROWS_OF_BAND
# Share of equal hashes below which a candidate cannot have the similarity: four standard errors less.
MIN_EQUAL_HASHES = 0.65
# Texts of one band that are all compared with one another; of more, each with its next ones.
MAX_ALL_PAIRS = 24
NEXT_TEXTS = 8
BLOCK_CHARACTERS = 500_000
SEQUENCE_BITS = np.uint64(40)
_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai and Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Japanese syllables
    (0x3400, 0x9FFF),  # Chinese characters
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True)
class NearDuplicates:
    """Which texts are the same or nearly so.

    `groups` has a number for each text, shape (texts,), equal for texts that similar pairs connect. `exact` counts the
    texts that equal an earlier one but for case, signs and white space, `near` those that another text is similar to.
    """

    groups: np.ndarray
    exact: int
    near: int

    @property
    def rows(self) -> int:
        """Count the texts in groups of several."""
        sizes = np.bincount(self.groups) if len(self.groups) else np.empty(0, np.int64)
        return int(sizes[sizes > 1].sum())

    @property
    def largest(self) -> int:
        """Count the texts of the largest group; 0 without any."""
        return int(np.bincount(self.groups).max()) if len(self.groups) else 0


def find_near_duplicates(texts: Sequence[str]) -> NearDuplicates:
    """Group texts that are the same or nearly so; a text of spaces and signs only is like no other."""
    spellings = [normalised(text) for text in texts]
    if not spellings:
        return NearDuplicates(np.empty(0, np.int64), 0, 0)
    codes, distinct = pd.factorize(np.array(spellings, dtype=object))
    pairs = similar_pairs(list(distinct))
    groups = copy_groups(pairs, len(distinct))[codes].astype(np.int64)
    blank = np.array([not spelling for spelling in spellings], dtype=bool)
    groups[blank] = len(distinct) + np.arange(int(blank.sum()))
    counted = codes[~blank]
    near = np.isin(counted, np.unique(pairs)).sum()
    return NearDuplicates(pd.factorize(groups)[0], len(counted) - len(np.unique(counted)), int(near))


def normalised(text: str) -> str:
    """Reduce a text to its letters, digits and symbols in lower case, with one space between words."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_KEPT).split())


class _KeptCharacters(dict[int, str]):
    """What each character becomes: signs and control characters a space, invisible ones nothing."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        self[code] = "" if category == "Cf" else " " if category[0] in "ZPC" else character
        return self[code]


_KEPT = _KeptCharacters()


def similar_pairs(texts: Sequence[str], similarity: float = SIMILARITY) -> np.ndarray:
    """Return pairs of positions of distinct texts with at least this similarity, shape (pairs, 2), smaller one first.

    Texts that pairs found earlier connect are not compared again, so that of many similar texts not all pairs are
    found, but the groups are the same.
    """
    none = np.empty((0, 2), np.int64)
    if len(texts) < 2:
        return none
    bands, small = _signatures(texts)
    found = none
    groups = np.arange(len(texts))
    for band in range(BANDS):
        pairs = _bucket_pairs(bands[:, band])
        pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        equal = np.array([], dtype=bool)
        if len(pairs):
            equal = np.concatenate(
                [(small[a] == small[b]).mean(axis=1) >= MIN_EQUAL_HASHES for a, b in _parts(pairs)]
            )
        pairs = pairs[equal]
        pairs = pairs[_similarities(texts, pairs) >= similarity] if len(pairs) else pairs
        if len(pairs):
            found = np.concatenate([found, pairs])
            groups = copy_groups(found, len(texts))
    return found


def _parts(pairs: np.ndarray, size: int = 20_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size, 0], pairs[start : start + size, 1]


def _bucket_pairs(keys: np.ndarray) -> np.ndarray:
    """Return pairs of positions with equal keys: all pairs of few, neighbours of many, smaller position first."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(keys)])
    size_of_place = np.repeat(sizes, sizes)
    found = []
    for distance in range(1, int(min(sizes.max(), MAX_ALL_PAIRS))):
        same = ordered[distance:] == ordered[:-distance]
        same &= (size_of_place[distance:] <= MAX_ALL_PAIRS) | (distance <= NEXT_TEXTS)
        found.append(np.column_stack([order[:-distance][same], order[distance:][same]]))
    return np.sort(np.concatenate(found), axis=1) if found else np.empty((0, 2), np.int64)


def _signatures(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of the bands, shape (texts, BANDS), and the last byte of each hash, shape (texts, HASHES)."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2**63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = rng.integers(0, 2**63, HASHES, dtype=np.uint64)
    bands = np.zeros((len(texts), BANDS), np.uint64)
    small = np.zeros((len(texts), HASHES), np.uint8)
    for block in _blocks(texts, range(len(texts))):
        sequences, starts = _sequences([texts[i] for i in block])
        for k in range(HASHES):
            least = np.minimum.reduceat((sequences * factors[k] + offsets[k]) >> np.uint64(32), starts)
            bands[block, k // ROWS_OF_BAND] = mix_bits(bands[block, k // ROWS_OF_BAND] ^ least)
            small[block, k] = (mix_bits(least) & np.uint64(255)).astype(np.uint8)
    return bands, small


def _similarities(texts: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """Return the exact Jaccard similarity of each pair of texts, shape (pairs,)."""
    result = np.empty(len(pairs))
    sizes = np.array([len(text) for text in texts])
    for block in _blocks(sizes[pairs[:, 0]] + sizes[pairs[:, 1]], range(len(pairs))):
        sides = []
        for side in (0, 1):
            sequences, starts = _sequences([texts[i] for i in pairs[block, side]])
            owner = np.repeat(np.arange(len(block), dtype=np.uint64), np.diff(np.r_[starts, len(sequences)]))
            # Sequences of a pair are next to one another, and sorted: their first 40 bits suffice to tell them apart.
            sides.append(_distinct((owner << SEQUENCE_BITS) | (sequences >> np.uint64(24))))
        both = np.sort(np.concatenate(sides))
        common = _pair_sizes(both[1:][both[1:] == both[:-1]], len(block))
        total = _pair_sizes(sides[0], len(block)) + _pair_sizes(sides[1], len(block))
        result[block] = common / (total - common)
    return result


def _distinct(keys: np.ndarray) -> np.ndarray:
    ordered = np.sort(keys)
    return np.asarray(ordered[np.r_[True, ordered[1:] != ordered[:-1]]])


def _pair_sizes(keys: np.ndarray, pairs: int) -> np.ndarray:
    return np.bincount((keys >> SEQUENCE_BITS).astype(np.int64), minlength=pairs)


def _blocks(texts: Sequence[str] | np.ndarray, positions: range) -> Iterator[np.ndarray]:
    """Yield positions of texts (or of their lengths) that have about `BLOCK_CHARACTERS` together."""
    lengths = texts if isinstance(texts, np.ndarray) else np.array([len(text) for text in texts])
    number = (np.cumsum(lengths) - lengths) // BLOCK_CHARACTERS
    for block in np.split(np.asarray(positions), np.flatnonzero(np.diff(number)) + 1):
        if len(block):
            yield block


def _sequences(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return hashes of the character sequences of all texts, and where those of each text begin.

    A sequence begins at each character; those at the end of a text are filled up with spaces.
    """
    padded = [text + " " * LETTERS for text in texts]
    lengths = np.array([len(text) for text in padded])
    characters = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.uint64)
    starts = np.cumsum(lengths) - lengths
    spaceless = np.zeros(len(characters), dtype=bool)
    for low, high in _SPACELESS:
        spaceless |= (characters >= low) & (characters <= high)
    is_syllabic = np.add.reduceat(spaceless.astype(np.int64), starts) * 2 > lengths - LETTERS
    hashes = mix_bits(characters)
    for distance in range(1, LETTERS):
        following = np.r_[characters[distance:], np.zeros(distance, np.uint64)]
        # Texts of syllables have shorter sequences.
        used = np.repeat(~is_syllabic | (distance < SYLLABLES), lengths)
        hashes = np.where(used, mix_bits(hashes ^ following), hashes)
    inside = np.arange(len(characters)) < np.repeat(starts + np.maximum(lengths - LETTERS, 1), lengths)
    counts = np.maximum(lengths - LETTERS, 1)
    return hashes[inside], np.cumsum(counts) - counts
