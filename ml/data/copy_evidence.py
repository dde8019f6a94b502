"""Judge whether copies of rows give targets away: whether the evaluation can be passed by remembering rows.

What a model of the other rows gets wrong about a row says nothing about another row, unless the second is a copy of the
first. So the evidence is the correlation of the residuals of both rows of a pair: about 0 where equal content is a
coincidence, 1 for copies, also where the targets of the originals were random.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.copies import copy_groups, find_copies
from ml.data.quick_model import out_of_fold_prediction

# Share of what is not known about the test rows that copies give away, above which the evaluation measures memory.
GIVEN_AWAY_BOUND = 0.03
# Share of rows with a copy from which on a report mentions it.
NOTABLE_SHARE = 0.05
# Fewer pairs cannot show a correlation.
MIN_PAIRS = 10
MAX_MODEL_ROWS = 20_000
PERMUTATIONS = 400
ERROR_RATE = 0.005


@dataclass(frozen=True)
class CopyEvidence:
    """What (nearly) equal rows of different entities reveal.

    `copied_share` of all rows have a copy, `exposed_share` of the test rows have one in another dataset. `correlation`
    is that of the residuals of the `pairs`, `limit` its lower confidence limit times `exposed_share`: the share of the
    unknown that is given away.
    """

    pairs: int
    copied_share: float
    exposed_share: float
    correlation: float
    limit: float

    @property
    def is_leak(self) -> bool:
        """Whether it is certain that copies give away more than the bound."""
        return self.limit > GIVEN_AWAY_BOUND

    @property
    def is_notable(self) -> bool:
        """Whether many rows have a copy, whether or not it gives the target of a test row away."""
        return max(self.copied_share, self.exposed_share) > NOTABLE_SHARE


NO_COPIES = CopyEvidence(0, 0.0, 0.0, 0.0, 0.0)


def judge_copies(
    frame: pd.DataFrame, truth: np.ndarray, units: np.ndarray, in_test: np.ndarray, seed: int = 0
) -> CopyEvidence:
    """Find copies among all rows of a split and judge them; `in_test` is the mask of the test rows, (rows,).

    The truth has the classes 0 and 1, or numbers. Copies of one entity (`units`) do not count: they are in one dataset.
    """
    pairs = find_copies(frame, seed)
    pairs = pairs[units[pairs[:, 0]] != units[pairs[:, 1]]]
    if not len(pairs) or len(np.unique(truth)) < 2:
        return NO_COPIES
    copied = len(np.unique(pairs)) / len(frame)
    groups = copy_groups(pairs, len(frame))
    outside = np.bincount(groups, ~in_test, minlength=int(groups.max()) + 1)
    exposed = float((outside[groups[in_test]] > 0).mean()) if in_test.any() else 0.0
    # One pair of each group: others share its rows.
    _, first = np.unique(groups[pairs[:, 0]], return_index=True)
    if len(first) < MIN_PAIRS:
        return CopyEvidence(len(pairs), copied, exposed, 0.0, 0.0)
    kept = _sample_groups(pairs[first], groups, seed)
    residual = np.full(len(frame), np.nan)
    residual[kept] = truth[kept] - out_of_fold_prediction(frame.iloc[kept], truth[kept], groups[kept], seed)
    a, b = residual[pairs[first]].T
    inside = np.isfinite(a) & np.isfinite(b)
    correlation, limit = _correlation(a[inside], b[inside], seed)
    return CopyEvidence(len(pairs), copied, exposed, correlation, max(exposed * limit, 0.0))


def _sample_groups(pairs: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return positions of about `MAX_MODEL_ROWS` rows, whole groups, half of them with a copy where there are many."""
    if len(groups) <= MAX_MODEL_ROWS:
        return np.arange(len(groups))
    sizes = np.bincount(groups)
    rng = np.random.default_rng(seed)
    copied = rng.permutation(groups[pairs[:, 0]])
    copied = copied[np.cumsum(sizes[copied]) <= MAX_MODEL_ROWS // 2]
    others = rng.permutation(np.flatnonzero(sizes == 1))[: MAX_MODEL_ROWS - int(sizes[copied].sum())]
    return np.flatnonzero(np.isin(groups, np.concatenate([copied, others])))


def _correlation(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the correlation (about 0) of two arrays, and how far it is above what random pairs of them reach."""
    scale = float(np.sqrt((a @ a) * (b @ b)))
    if scale == 0.0:
        return 0.0, 0.0
    correlation = float(a @ b) / scale
    rng = np.random.default_rng(seed)
    by_chance = [float(a @ rng.permutation(b)) / scale for _ in range(PERMUTATIONS)]
    return correlation, correlation - max(float(np.quantile(by_chance, 1.0 - ERROR_RATE)), 0.0)
