"""Metrics of ranked lists, against the full catalogue.

A prediction is a frame with the columns `user`, `rank` (1, 2, ... for each user), `item` (once per user), `score`
(never rising with rank); anything else raises ValueError.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def per_user_metrics(
    truth: pd.Series, users: pd.Series | np.ndarray, prediction: pd.DataFrame, k: int
) -> pd.DataFrame:
    """Compute NDCG, hit rate, reciprocal rank and recall at `k` of each user, binary relevance, index as `truth`.

    `truth` holds lists of distinct target items, `users` the user of each list. Ties count half: an item's rank is its
    expectation when ties are broken at random, 1 + items above + half the other items of its score, and an item is
    found if that rank is at most `k`. With r the ranks of the items found: `ndcg` is the sum of 1/log2(1 + r) over its
    value when min(len(truth), k) targets come first (Järvelin and Kekäläinen, 2002), `mrr` is 1 / min(r), `recall` the
    share found. Items not listed and users without a prediction count 0.

    Lists need at least 2k rows, or the whole catalogue. The result is then exact, although a tie may continue past the
    end of the list: one that starts at s >= 1 and is cut after row N >= 2k has the rank (s + N) / 2 > k here, and a
    higher one in full, so that it is not found either way.

    Raises ValueError if `k` is below 1, `users` does not fit `truth`, or a user has no target.
    """
    _require_depth(k)
    targets = target_ranks(truth, users, prediction)
    rank = targets["rank"].where(targets["rank"] <= k, np.inf).to_numpy()
    row = targets["row"].to_numpy()
    relevant = np.bincount(row)
    hits = np.bincount(row, np.isfinite(rank))
    best = np.full(len(truth), np.inf)
    np.minimum.at(best, row, rank)
    ideal = np.cumsum(_discount(np.arange(1, k + 1)))[np.minimum(relevant, k) - 1]
    return pd.DataFrame(
        {
            "ndcg": np.bincount(row, _discount(rank)) / ideal,
            "hit_rate": (hits > 0).astype(np.float64),
            "mrr": 1.0 / best,
            "recall": hits / relevant,
        },
        index=truth.index,
    )


def target_ranks(truth: pd.Series, users: pd.Series | np.ndarray, prediction: pd.DataFrame) -> pd.DataFrame:
    """Find the expected rank of each target item: `row` (position in `truth`), `user`, `item`, `rank`.

    Ties and errors are as in `per_user_metrics`; the rank of an item that is not listed is infinite.
    """
    targets = _flat_targets(truth, users)
    listed_keys, target_keys = _pair_keys(prediction, targets)
    expected = expected_ranks(prediction)
    listed = pd.Index(listed_keys)
    if not listed.is_unique:
        raise ValueError(
            f"expected each item once per user, got {int(listed.duplicated().sum())} repeats; drop them"
        )
    position = listed.get_indexer(pd.Index(target_keys))
    rank = np.full(len(position), np.inf)
    rank[position >= 0] = expected[position[position >= 0]]
    return targets.assign(rank=rank)


def coverage(prediction: pd.DataFrame, catalogue_size: int, k: int) -> float:
    """Compute the share of the catalogue's items that are recommended to anyone within rank `k`.

    Raises ValueError if the catalogue is empty or has fewer items than are recommended.
    """
    recommended = _top(prediction, k)["item"].nunique()
    if catalogue_size < max(recommended, 1):
        raise ValueError(
            f"expected a catalogue of at least the {max(recommended, 1)} items recommended, got "
            f"{catalogue_size}; pass the size of the catalogue that the model was fitted on"
        )
    return recommended / catalogue_size


def novelty(prediction: pd.DataFrame, popularity: Mapping[str, int], users: int, k: int) -> float:
    """Average the self-information, -log2(share of users who had the item), in bits, over the items within rank `k`.

    Vargas and Castells (2011). `popularity` counts the users who had each item, out of `users`; an item that nobody
    had counts as had by one user. Raises ValueError for an empty prediction or an item with more users than there are.
    """
    recommended = _top(prediction, k)["item"].value_counts()
    if recommended.empty:
        raise ValueError("expected at least one prediction, got none; check the users to predict for")
    count = np.array([max(popularity.get(item, 1), 1) for item in recommended.index])
    if count.max() > users:
        raise ValueError(
            f"expected items had by at most the {users} users, got {count.max()}; "
            "pass the number of users that popularity was counted over"
        )
    return float(np.average(-np.log2(count / users), weights=recommended))


def drop_seen(prediction: pd.DataFrame, seen: pd.Series) -> pd.DataFrame:
    """Drop the items that their user has seen, and renumber the ranks.

    `seen` has a list of items for each user of its index; users not in it keep all items. The lists get shorter: for N
    rows per user, predict N + the length of the history.
    """
    history = pd.DataFrame({"user": seen.index, "item": seen.to_numpy()}).explode("item").dropna()
    listed_keys, seen_keys = _pair_keys(prediction, history)
    unseen = prediction.loc[~np.isin(listed_keys, seen_keys)].reset_index(drop=True)
    return unseen.assign(rank=unseen.groupby("user")["rank"].rank(method="first").astype(np.int64))


def _flat_targets(truth: pd.Series, users: pd.Series | np.ndarray) -> pd.DataFrame:
    """Return one row per target item: `row` (position in `truth`), `user`, `item`."""
    if len(users) != len(truth) or (isinstance(users, pd.Series) and not users.index.equals(truth.index)):
        raise ValueError(
            f"expected one user for each of {len(truth)} lists of truth, got {len(users)} or another index; "
            "take both from one frame"
        )
    lengths = truth.map(len).to_numpy(np.int64)
    if not lengths.all():
        raise ValueError(
            f"expected truth for every user, got {int((lengths == 0).sum())} empty lists; drop those users"
        )
    row = np.repeat(np.arange(len(truth)), lengths)
    items = [item for targets in truth for item in targets]
    flat = pd.DataFrame({"row": row, "user": np.asarray(users, dtype=object)[row], "item": items})
    return flat.drop_duplicates(["row", "item"])


def _pair_keys(*tables: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Return an int64 for each row of each table, equal for equal pairs of user and item in all tables."""
    user = pd.factorize(_concatenate([table["user"] for table in tables]), use_na_sentinel=False)[0]
    item, items = pd.factorize(_concatenate([table["item"] for table in tables]), use_na_sentinel=False)
    ends = np.cumsum([len(table) for table in tables])
    return tuple(np.split(user * max(len(items), 1) + item, ends[:-1]))


def _concatenate(columns: Sequence[pd.Series]) -> np.ndarray:
    return np.concatenate([column.to_numpy(dtype=object) for column in columns])


def expected_ranks(prediction: pd.DataFrame) -> np.ndarray:
    """Average the ranks of the rows with the same user and score, for each row of a prediction, shape (rows,)."""
    user = pd.factorize(prediction["user"])[0]
    rank = prediction["rank"].to_numpy(np.float64)
    order = np.lexsort((rank, user))
    user, rank, score = user[order], rank[order], prediction["score"].to_numpy(np.float64)[order]
    same_user = user[1:] == user[:-1]
    consecutive = np.where(same_user, rank[1:] == rank[:-1] + 1, rank[1:] == 1)
    if len(rank) and not (rank[0] == 1 and consecutive.all()):
        raise ValueError("expected ranks 1, 2, ... for each user, got gaps or repeats; check the model")
    if np.isnan(score).any() or (same_user & (score[1:] > score[:-1])).any():
        raise ValueError(
            "expected scores that never rise with rank, got a rise or a missing score; sort, best first"
        )
    tied = same_user & (score[1:] == score[:-1])
    group = np.cumsum(np.concatenate([[0], ~tied])) if len(rank) else np.zeros(0, np.int64)
    expected = np.empty(len(rank))
    expected[order] = (np.bincount(group, rank) / np.bincount(group))[group]
    return expected


def _discount(rank: np.ndarray) -> np.ndarray:
    return 1.0 / np.log2(1.0 + rank)


def _top(prediction: pd.DataFrame, k: int) -> pd.DataFrame:
    _require_depth(k)
    return prediction.loc[prediction["rank"] <= k]


def _require_depth(k: int) -> None:
    if k < 1:
        raise ValueError(f"expected a depth k of at least 1, got {k}; pass k=10 or so")
