"""What lists are worth besides being right: who is shown, how varied, how surprising, how popular.

A prediction is as in `ml.evaluation.ranking_metrics`; `histories` has a list of items for each user who was
asked about, and only the
items within rank `k` are looked at. A measure that nothing is there for is NaN.
"""

import math

import numpy as np
import pandas as pd
from scipy import sparse

from ml.interactions.sparse_matrices import blocks


def owners(histories: pd.Series) -> pd.Series:
    """How many users had each item (int64, index item), the most popular first, ties by name."""
    had = histories.map(lambda items: list(dict.fromkeys(items))).explode().dropna()
    counts = had.value_counts().rename_axis("item").reset_index(name="users").astype({"item": "str"})
    ranked = counts.sort_values(["users", "item"], ascending=[False, True])
    return ranked.set_index("item")["users"].astype(np.int64)


def gini(shown: np.ndarray, catalogue: int) -> float:
    """Gini coefficient of how often each of n items in a `catalogue` was shown: 0 for all alike, 1 - 1/n for one only.

    `shown` has the counts of those that were, shape (at most n,). With x the counts in rising order, the sum of
    (2i - n - 1) x_i over n times the sum of x_i, i from 1 (Fleder and Hosanagar, 2009).
    """
    rising = np.zeros(catalogue)
    rising[catalogue - len(shown) :] = np.sort(shown)
    if not rising.sum():
        return math.nan
    return float((2 * np.arange(1, catalogue + 1) - catalogue - 1) @ rising / (catalogue * rising.sum()))


def diversity(prediction: pd.DataFrame, histories: pd.Series, k: int) -> float:
    """Mean over users of the mean of 1 - cosine between the items of a list, each pair once (Ziegler et al., 2005).

    An item is the vector of the users who had it, 1 or 0 each: the cosine of two is n_ij / sqrt(n_i n_j). Nothing is
    similar to an item that nobody had. Lists of fewer than two items are left out.
    """
    listed = prediction.loc[prediction["rank"] <= k].sort_values(["user", "rank"])
    user = pd.factorize(listed["user"])[0]
    code, items = pd.factorize(listed["item"])
    apart = [np.flatnonzero(user[gap:] == user[:-gap]) for gap in range(1, min(k, len(user)))]
    first = np.concatenate([np.empty(0, np.int64), *apart])
    second = first + np.repeat(np.arange(1, len(apart) + 1), [len(at) for at in apart])
    if not len(first):
        return math.nan
    unlike = 1.0 - _cosines(code[first], code[second], _vectors(histories, pd.Index(items)))
    pairs = np.bincount(user[first])
    return float((np.bincount(user[first], unlike)[pairs > 0] / pairs[pairs > 0]).mean())


def serendipity(
    ranks: pd.DataFrame, histories: pd.Series, popular: pd.Series, k: int, repeat: bool = False
) -> float:
    """The share of hits that a list of the `k` most popular items would not have held for their users.

    `ranks` is what `ml.evaluation.ranking_metrics.ranks` gave, `popular` what `owners` did; ties of popularity
    go by name. A user's own
    items are not in that list unless they may `repeat`.
    """
    hits = ranks.loc[ranks["rank"] <= k]
    if hits.empty:
        return math.nan
    place = {item: at for at, item in enumerate(popular.index)}
    surprising = 0
    for row, item in zip(hits["row"], hits["item"], strict=True):
        own = set() if repeat else set(histories.iloc[row]) - {item}
        above = sum(place.get(i, len(place)) < place.get(item, len(place)) for i in own)
        surprising += place.get(item, math.inf) - above >= k
    return surprising / len(hits)


def mean_popularity(items: pd.Series, popular: pd.Series, users: int) -> float:
    """The mean share of the `users` that had an item, over `items` as often as they come."""
    return float(popular.reindex(items).fillna(0).mean() / users) if len(items) else math.nan


def by_popularity(shown: pd.Series, taken: pd.Series, popular: pd.Series) -> list[dict[str, float | str]]:
    """The share of `shown` and of `taken` (items, as often as they come) that each tenth of the items holds.

    Tenths are of the items of `popular`, `1` the most popular; `new` are items that nobody had. A tenth of a catalogue
    of fewer than ten items may be empty and is left out.
    """
    tenths = pd.Series(np.arange(len(popular)) * 10 // max(len(popular), 1) + 1, index=popular.index)
    groups = [str(tenth) for tenth in sorted(set(tenths))] + ["new"]

    def shares(items: pd.Series) -> pd.Series:
        of = tenths.reindex(items).map(lambda tenth: "new" if pd.isna(tenth) else str(int(tenth)))
        return of.value_counts(normalize=True)

    of_shown, of_taken = shares(shown), shares(taken)
    return [
        {"items": name, "shown": float(of_shown.get(name, 0.0)), "taken": float(of_taken.get(name, 0.0))}
        for name in groups
    ]


def _vectors(histories: pd.Series, items: pd.Index) -> sparse.csr_array:
    """For each item the users who had it, as a vector of length 1 (of 0 where nobody did), shape (items, users)."""
    lengths = histories.map(len).to_numpy(np.int64)
    flat = items.get_indexer(pd.Index([item for of in histories for item in of], dtype=object))
    user = np.repeat(np.arange(len(lengths)), lengths)[flat >= 0]
    cells = (np.ones(len(user)), (flat[flat >= 0], user))
    had = sparse.coo_array(cells, (len(items), len(lengths))).tocsr().sign()
    length = np.sqrt(np.maximum(np.diff(had.indptr), 1))
    had.data /= np.repeat(length, np.diff(had.indptr))
    return had


def _cosines(one: np.ndarray, other: np.ndarray, vectors: sparse.csr_array) -> np.ndarray:
    """Of the pairs of items `one` and `other`, shape (pairs,), a block of items at a time."""
    cosines = np.empty(len(one))
    order = np.argsort(one, kind="stable")
    for rows in blocks(vectors.shape[0], vectors.shape[0]):
        mine = order[slice(*np.searchsorted(one[order], [rows.start, rows.stop]))]
        near = (vectors[rows] @ vectors.T).toarray()
        cosines[mine] = near[one[mine] - rows.start, other[mine]]
    return cosines
