"""Find rows that are copies or near copies of one another, by their content: ids and targets play no role.

Two rows match in a column if their categories are equal, or their numbers differ by at most 3 % of the interquartile
range. Rows that match in all columns but a few are a pair, unless the columns carry so little information that pairs
of a table of this size often match by chance.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

TOLERANCE = 0.03
# Expected number of pairs per row that match by chance, up to which the matches of a table mean something.
CHANCE_PAIRS_PER_ROW = 0.001
# Share of the columns in which near copies may differ; of fewer than five columns, all must match.
MAX_DIFFERENT_SHARE = 0.15
ROUNDS = 12
RANDOM_PAIRS = 100_000
MAX_COPIES_OF_ROW = 3.0
# Columns that few pairs match in count as independent with the weight of this many pairs.
PRIOR_PAIRS = 20.0


@dataclass(frozen=True)
class ContentMatrix:
    """The columns of a table as numbers, (rows, columns), with the difference up to which two rows match in each."""

    values: np.ndarray
    tolerance: np.ndarray

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Read the columns that vary; missing values match one another."""
        columns, tolerances = [], []
        for name in frame.columns:
            values = frame[name]
            if pd.api.types.is_numeric_dtype(values):
                numbers = values.to_numpy(np.float64, na_value=np.nan)
                column, tolerance = numbers, _tolerance(numbers)
            else:
                column, tolerance = pd.factorize(values)[0].astype(np.float64), 0.0
            present = column[~np.isnan(column)]
            if len(present) and (len(present) < len(column) or present.min() < present.max()):
                columns.append(column)
                tolerances.append(tolerance)
        if not columns:
            return cls(np.empty((len(frame), 0)), np.empty(0))
        return cls(np.column_stack(columns), np.array(tolerances))

    def matches(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return for pairs of row positions in which columns they match, shape (pairs, columns)."""
        a, b = self.values[first], self.values[second]
        with np.errstate(invalid="ignore"):
            return np.asarray((np.abs(a - b) <= self.tolerance) | (np.isnan(a) & np.isnan(b)))


def find_copies(frame: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """Return pairs of row positions with (nearly) equal content, shape (pairs, 2); of many copies, neighbours only."""
    rng = np.random.default_rng(seed)
    content = ContentMatrix.from_frame(frame)
    rows, columns = content.values.shape
    none = np.empty((0, 2), dtype=np.int64)
    if rows < 2 or columns < 2:
        return none
    different = max(round(MAX_DIFFERENT_SHARE * columns), 1) if columns >= 5 else 0
    bits, extra = match_information(content, different, rng)
    needed = np.log2((rows - 1) / 2.0 / CHANCE_PAIRS_PER_ROW)
    if (bits + extra).sum() < needed:
        return none
    pairs = _candidates(content, bits, rng)
    matches = content.matches(pairs[:, 0], pairs[:, 1])
    unmatched = columns - matches.sum(axis=1)
    equal = np.array(
        [
            np.array_equal(content.values[i], content.values[j], equal_nan=True)
            for i, j in pairs[unmatched == 0]
        ],
        dtype=bool,
    )
    information = matches @ bits - unmatched * np.log2(columns)
    information[np.flatnonzero(unmatched == 0)[equal]] += extra.sum()
    return np.asarray(pairs[(unmatched <= different) & (information >= needed)])


def match_information(
    content: ContentMatrix, different: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the information of a match in each column in bits, beyond its best predecessor, and that of equality.

    Measured on random pairs of rows that are no copies. A column that always matches when another one does adds
    nothing. The second array is what exact equality of a number adds to a match.
    """
    rows, columns = content.values.shape
    first, second = rng.integers(0, rows, (2, RANDOM_PAIRS))
    kept = first != second
    matches = content.matches(first[kept], second[kept])
    alike = matches.sum(axis=1) >= columns - different
    # Pairs that copies can account for say nothing about chance; more are no copies but a table of few different rows.
    if alike.mean() <= MAX_COPIES_OF_ROW / rows:
        matches = matches[~alike]
    matches = matches.astype(np.float32)
    total = len(matches) + 1.0
    joint = (matches.T @ matches).astype(np.float64)
    marginal = (np.diag(joint) + 0.5) / total
    bits, extra = np.zeros(columns), np.zeros(columns)
    done: list[int] = []
    for column in np.argsort(marginal, kind="stable"):
        conditional = [
            (joint[column, k] + PRIOR_PAIRS * marginal[column]) / (joint[k, k] + PRIOR_PAIRS) for k in done
        ]
        probability = min(max([marginal[column], *conditional]), 1.0)
        bits[column] = -np.log2(probability)
        if probability < 0.5:
            extra[column] = max(np.log2(marginal[column] / _equal_share(content.values[:, column])), 0.0)
        done.append(int(column))
    return bits, extra


def copy_groups(pairs: np.ndarray, rows: int) -> np.ndarray:
    """Return a number for each row, shape (rows,), equal for rows that pairs connect directly or indirectly."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def _candidates(content: ContentMatrix, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pairs of rows that are neighbours in a table sorted by random columns, rounded to random bins.

    Each round takes just enough columns for few pairs to agree in all by chance.
    """
    rows, columns = content.values.shape
    wanted = np.log2(rows) + 2.0
    found = []
    for _ in range(ROUNDS):
        key = np.zeros(rows, dtype=np.uint64)
        information = 0.0
        for column in rng.permutation(columns):
            if information < wanted and bits[column] > 0.05:
                key = mix_bits(key ^ _bins(content, int(column), rng))
                # Bins are four times as wide as the range of matching numbers.
                information += (
                    max(bits[column] - 2.0, 0.5) if content.tolerance[column] > 0.0 else bits[column]
                )
        order = np.argsort(key, kind="stable")
        same = key[order[1:]] == key[order[:-1]]
        found.append(np.column_stack([order[:-1][same], order[1:][same]]))
    pairs = np.sort(np.concatenate(found), axis=1)
    unique = np.unique(pairs[:, 0] * rows + pairs[:, 1])
    return np.column_stack([unique // rows, unique % rows])


def _bins(content: ContentMatrix, column: int, rng: np.random.Generator) -> np.ndarray:
    values, tolerance = content.values[:, column], content.tolerance[column]
    if tolerance > 0.0:
        values = np.floor(values / (8.0 * tolerance) + rng.random())
    values = np.where(np.isnan(values), np.inf, values + 0.0)
    return np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)


def mix_bits(key: np.ndarray) -> np.ndarray:
    """Scramble the bits of each key (the finaliser of SplitMix64)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)))


def _tolerance(numbers: np.ndarray) -> float:
    present = numbers[np.isfinite(numbers)]
    if not len(present):
        return 0.0
    low, first, third, high = np.quantile(present, [0.01, 0.25, 0.75, 0.99])
    return float(TOLERANCE * ((third - first) or (high - low)))


def _equal_share(values: np.ndarray) -> float:
    """Return the probability that two random rows have exactly the same value, at least 1 / rows²."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    n = len(values)
    return float(max((counts * (counts - 1)).sum() / (n * (n - 1.0)), 1.0 / n**2))
