"""Whether the rows in quarantine differ from those that stay: then what is learned from these is biased.

Amounts with thousands separators, for example, are no numbers, and always the largest. Numbers are compared by the
probability that a row in quarantine has a higher value (the AUC of Mann and Whitney), categories by the total variation
distance and the chi-squared test of Pearson, a target by the share of its positive class.
"""

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm, rankdata

# Fewer rows in quarantine may differ by chance.
MIN_ROWS = 10
# Differences below these bounds are not reported, however certain.
MIN_AUC_DISTANCE, MIN_SHARE_DISTANCE, MIN_CATEGORY_DISTANCE = 0.2, 0.05, 0.2
# Rarer categories are compared together: the test needs this many expected rows in quarantine.
MIN_EXPECTED = 2.0
# Probability that a batch whose rows are quarantined at random is remarked on.
LEVEL = 0.01
# More rows that stay tell nothing new.
MAX_KEPT = 100_000
GROUP_MARKS = r"[\s,'\u2019]"


def readable_numbers(cells: pd.Series) -> pd.Series:
    """Read numbers as far as possible, also with marks between groups of three digits."""
    text = cells.astype("str").str.replace(GROUP_MARKS, "", regex=True)
    return pd.to_numeric(text, errors="coerce").astype("float64")


def number_difference(column: str, removed: np.ndarray, kept: np.ndarray, tests: int) -> str | None:
    """Describe how numbers of rows in quarantine differ from those that stay, None where they do not.

    `tests` is the number of comparisons of the batch.
    """
    removed, kept = removed[~np.isnan(removed)], kept[~np.isnan(kept)]
    if len(removed) < MIN_ROWS or len(kept) < MIN_ROWS:
        return None
    kept = kept[:: max(len(kept) // MAX_KEPT, 1)]
    n, m = len(removed), len(kept)
    ranks = rankdata(np.concatenate([removed, kept]))
    auc = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    noise = norm.isf(LEVEL / (2 * tests)) * np.sqrt((n + m + 1) / (12 * n * m))
    if abs(auc - 0.5) - noise <= MIN_AUC_DISTANCE:
        return None
    side, share = ("higher", auc) if auc > 0.5 else ("lower", 1.0 - auc)
    return f"{column}: {side} in quarantine than in rows that stay, in {share:.0%} of all pairs"


def share_difference(column: str, removed: np.ndarray, kept: np.ndarray, tests: int) -> str | None:
    """Describe how the share of the positive class (1, else 0) differs, None where it does not."""
    if len(removed) < MIN_ROWS or len(kept) < MIN_ROWS:
        return None
    first, second = float(removed.mean()), float(kept.mean())
    pooled = float(np.concatenate([removed, kept]).mean())
    noise = norm.isf(LEVEL / (2 * tests)) * np.sqrt(
        pooled * (1 - pooled) * (1 / len(removed) + 1 / len(kept))
    )
    if abs(first - second) <= max(noise, MIN_SHARE_DISTANCE):
        return None
    return f"{column}: {first:.0%} of the rows in quarantine are positive, {second:.0%} of those that stay"


def category_difference(column: str, removed: pd.Series, kept: pd.Series, tests: int) -> str | None:
    """Describe how the categories of rows in quarantine differ from those that stay, None where they do not.

    A missing value is a category.
    """
    if len(removed) < MIN_ROWS or len(kept) < MIN_ROWS:
        return None
    kept = kept.iloc[:: max(len(kept) // MAX_KEPT, 1)]
    counts = category_counts(removed, kept)
    if counts.shape[1] < 2 or chi_squared_p(counts) > LEVEL / tests:
        return None
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = 0.5 * float(np.abs(shares[0] - shares[1]).sum())
    if distance <= MIN_CATEGORY_DISTANCE:
        return None
    return f"{column}: other categories in quarantine than in rows that stay, in {distance:.0%} of the rows"


def category_counts(removed: pd.Series, kept: pd.Series) -> np.ndarray:
    """Count the categories (columns) in quarantine and outside (rows); rare ones are counted together."""
    codes, _ = pd.factorize(pd.concat([removed, kept], ignore_index=True), use_na_sentinel=False)
    parts = (codes[: len(removed)], codes[len(removed) :])
    counts = np.stack([np.bincount(part, minlength=codes.max() + 1) for part in parts])
    is_rare = counts.sum(axis=0) * len(removed) / len(codes) < MIN_EXPECTED
    rare = counts[:, is_rare].sum(axis=1, keepdims=True)
    return np.hstack([counts[:, ~is_rare], rare]) if rare.any() else counts[:, ~is_rare]


def chi_squared_p(counts: np.ndarray) -> float:
    """Return the p-value of Pearson's chi-squared test of independence of the rows and columns of a table of counts."""
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, (counts.shape[0] - 1) * (counts.shape[1] - 1)))
