"""Metrics of recommendations besides accuracy: exposure, diversity, serendipity, popularity.

A prediction is as in `ml.evaluation.ranking_metrics`. `histories` holds a list of items for each evaluated user. Only
items within rank `k` count. A metric without any row that it is defined for is NaN.
"""

import math

import numpy as np
import pandas as pd
from scipy import sparse

from ml.interactions.sparse_matrices import row_blocks


def user_counts(histories: pd.Series) -> pd.Series:
    """Count the users who had each item (int64, index item), the most popular first, ties by name."""
    distinct = histories.map(lambda items: list(dict.fromkeys(items))).explode().dropna()
    counts = distinct.value_counts().rename_axis("item").reset_index(name="users").astype({"item": "str"})
    ranked = counts.sort_values(["users", "item"], ascending=[False, True])
    return ranked.set_index("item")["users"].astype(np.int64)


def gini(counts: np.ndarray, catalogue_size: int) -> float:
    """Compute the Gini coefficient of recommendation counts: 0 for all equal, 1 - 1/n if only one item of n occurs.

    `counts` are those of the items that occur, shape (at most n,). With x the counts in rising order, zeros included,
    the sum of (2i - n - 1) x_i over n times the sum of x_i, i from 1 (Fleder and Hosanagar, 2009).
    """
    rising = np.zeros(catalogue_size)
    rising[catalogue_size - len(counts) :] = np.sort(counts)
    if not rising.sum():
        return math.nan
    weights = 2 * np.arange(1, catalogue_size + 1) - catalogue_size - 1
    return float(weights @ rising / (catalogue_size * rising.sum()))


def diversity(prediction: pd.DataFrame, histories: pd.Series, k: int) -> float:
    """Average over users the mean of 1 - cosine between the items of a list, each pair once (Ziegler et al., 2005).

    An item is the vector of the users who had it, 1 or 0 each: the cosine of two is n_ij / sqrt(n_i n_j), and 0 for
    items that nobody had. Lists of fewer than two items are left out.
    """
    top = prediction.loc[prediction["rank"] <= k].sort_values(["user", "rank"])
    user = pd.factorize(top["user"])[0]
    code, items = pd.factorize(top["item"])
    # The positions of the first item of each pair whose second follows `gap` rows later in the same list.
    firsts = [np.flatnonzero(user[gap:] == user[:-gap]) for gap in range(1, min(k, len(user)))]
    first = np.concatenate([np.empty(0, np.int64), *firsts])
    second = first + np.repeat(np.arange(1, len(firsts) + 1), [len(rows) for rows in firsts])
    if not len(first):
        return math.nan
    dissimilarity = 1.0 - _cosines(code[first], code[second], _item_vectors(histories, pd.Index(items)))
    pairs = np.bincount(user[first])
    return float((np.bincount(user[first], dissimilarity)[pairs > 0] / pairs[pairs > 0]).mean())


def serendipity(
    ranks: pd.DataFrame, histories: pd.Series, popularity: pd.Series, k: int, allow_repeats: bool = False
) -> float:
    """Compute the share of hits that a list of the `k` most popular items would have missed.

    `ranks` is as of `ml.evaluation.ranking_metrics.target_ranks`, `popularity` as of `user_counts`; ties of popularity
    are broken by name. The list of popular items leaves out a user's history unless `allow_repeats`.
    """
    hits = ranks.loc[ranks["rank"] <= k]
    if hits.empty:
        return math.nan
    position = {item: index for index, item in enumerate(popularity.index)}
    serendipitous = 0
    for row, item in zip(hits["row"], hits["item"], strict=True):
        excluded = set() if allow_repeats else set(histories.iloc[row]) - {item}
        excluded_above = sum(
            position.get(other, len(position)) < position.get(item, len(position)) for other in excluded
        )
        serendipitous += position.get(item, math.inf) - excluded_above >= k
    return serendipitous / len(hits)


def mean_popularity(items: pd.Series, popularity: pd.Series, users: int) -> float:
    """Average the share of the `users` who had an item over `items`, each as often as it occurs."""
    return float(popularity.reindex(items).fillna(0).mean() / users) if len(items) else math.nan


def popularity_deciles(
    recommended: pd.Series, targets: pd.Series, popularity: pd.Series
) -> list[dict[str, float | str]]:
    """Compute the shares of `recommended` and of `targets` (items, repeated) in each decile of item popularity.

    Rows have `decile`, `recommended_share` and `target_share`. Deciles are of the items of `popularity`, `1` the most
    popular; `new` are items that nobody had. Deciles that are empty, as fewer than ten items leave some, are left out.
    """
    deciles = pd.Series(
        np.arange(len(popularity)) * 10 // max(len(popularity), 1) + 1, index=popularity.index
    )
    names = [str(decile) for decile in sorted(set(deciles))] + ["new"]

    def shares(items: pd.Series) -> pd.Series:
        decile = deciles.reindex(items).map(lambda number: "new" if pd.isna(number) else str(int(number)))
        return decile.value_counts(normalize=True)

    recommended_shares, target_shares = shares(recommended), shares(targets)
    return [
        {
            "decile": name,
            "recommended_share": float(recommended_shares.get(name, 0.0)),
            "target_share": float(target_shares.get(name, 0.0)),
        }
        for name in names
    ]


def _item_vectors(histories: pd.Series, items: pd.Index) -> sparse.csr_array:
    """Build each item's vector of users who had it, of length 1 (of 0 if nobody did), shape (items, users)."""
    lengths = histories.map(len).to_numpy(np.int64)
    codes = items.get_indexer(pd.Index([item for history in histories for item in history], dtype=object))
    user = np.repeat(np.arange(len(lengths)), lengths)[codes >= 0]
    cells = (np.ones(len(user)), (codes[codes >= 0], user))
    vectors = sparse.coo_array(cells, (len(items), len(lengths))).tocsr().sign()
    norms = np.sqrt(np.maximum(np.diff(vectors.indptr), 1))
    vectors.data /= np.repeat(norms, np.diff(vectors.indptr))
    return vectors


def _cosines(first: np.ndarray, second: np.ndarray, vectors: sparse.csr_array) -> np.ndarray:
    """Compute the cosines of the pairs of items `first` and `second`, shape (pairs,), one block of items at a time."""
    cosines = np.empty(len(first))
    order = np.argsort(first, kind="stable")
    for rows in row_blocks(vectors.shape[0], vectors.shape[0]):
        pairs = order[slice(*np.searchsorted(first[order], [rows.start, rows.stop]))]
        similarities = (vectors[rows] @ vectors.T).toarray()
        cosines[pairs] = similarities[first[pairs] - rows.start, second[pairs]]
    return cosines
