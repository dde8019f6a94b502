"""Simulate purchases in a fictitious shop, with the ranking by the users' true utilities."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.simulators.draws import (
    Floats,
    Ints,
    draw_categories,
    draw_from_tables,
    identifiers,
    names_of_codes,
    spawn_generators,
)
from ml.simulators.simulation import Simulation

_FIRST_DAY = np.datetime64("2025-01-01", "s")
_DAYS = 365  # up to and including 2025-12-31
_WEEKS = 53
_DAY = 86_400  # seconds
_LAST_FIFTH = 292 * _DAY  # 2025-10-20T00:00:00, in seconds since the first day
_CLUSTERS = 16
_AGE_BANDS = ("18-29", "30-44", "45-59", "60+")
_ORACLE_ITEMS = 100
_MAX_PURCHASES = 500


@dataclass(frozen=True)
class SimulatedWorld:
    """The true parameters of a simulation, for I items, U users, G taste clusters and W weeks.

    launch_weeks: (I,), the week from which an item can be bought. item_weights: (W, G, I), the preference of a cluster
    for an item in a week, 0 before its launch, summing to 1 over the items. tastes: (U, G), summing to 1 over the
    clusters. age_bands: (U,), indexes of age bands. arrival_seconds: (U,), seconds since the first day.
    """

    launch_weeks: Ints
    item_weights: Floats
    tastes: Floats
    age_bands: Ints
    arrival_seconds: Floats

    def purchase_probabilities(self, users: Ints, week: int) -> Floats:
        """Return the probability of each item (columns) to be the next purchase of each user (rows) in a week.

        Its logarithm is the utility: a purchase is the item with the highest utility plus Gumbel noise.
        """
        probabilities: Floats = self.tastes[users] @ self.item_weights[week]
        return probabilities


def simulate(rows: int, seed: int) -> Simulation:
    """Simulate one row per purchase in 2025, by time, of about rows / 25 users and rows / 60 items (50 to 5000).

    Users buy by utility and chance, and no item twice. Utility is a user's mixture of tastes over clusters of items,
    each with a few popular items; popularity drifts from week to week and is highest after the launch. `age_band`
    affects tastes and the channel, and nothing else.

    `oracle` has `user`, `rank`, `item` and `score`: for each user the 100 items of highest utility (the log probability
    of the next purchase; fewer where fewer were launched) at 2025-10-20T00:00:00, the start of the last fifth of the
    year. It includes items that the user already has, and excludes items that are launched later.
    """
    world_rng, counts_rng, times_rng, items_rng, details_rng = spawn_generators(rows, seed, 5)
    world = _draw_world(world_rng, rows)
    max_purchases = _max_purchases(len(world.launch_weeks))
    counts = _purchase_counts(counts_rng, rows, users=len(world.tastes), max_purchases=max_purchases)
    user = np.repeat(np.arange(len(counts)), counts)
    seconds = _purchase_seconds(times_rng, user, world.arrival_seconds)
    item = _purchased_items(items_rng, world, user, seconds)
    return Simulation(_table(details_rng, world, user, item, seconds), _oracle(world))


def simulated_world(rows: int, seed: int) -> SimulatedWorld:
    """Return the world that `simulate(rows, seed)` draws from; users and items are in order of identifier."""
    return _draw_world(spawn_generators(rows, seed, 1)[0], rows)


def _draw_world(rng: np.random.Generator, rows: int) -> SimulatedWorld:
    n_items = int(np.clip(rows // 60, 50, 5000))
    # Users of a small shop buy less, so that they never run out of items.
    n_users = int(np.ceil(rows / min(25, n_items // 4)))
    n_new = n_items // 6
    launch_weeks = np.concatenate(
        [np.zeros(n_items - n_new, np.int64), np.sort(rng.integers(1, _WEEKS, n_new))]
    )
    age_bands = rng.choice(len(_AGE_BANDS), size=n_users, p=[0.3, 0.35, 0.2, 0.15])
    # Half of the users arrive on the first day, the others evenly over the year.
    arrival_seconds = np.where(rng.random(n_users) < 0.5, 0.0, np.floor(rng.random(n_users) * _DAYS * _DAY))
    return SimulatedWorld(
        launch_weeks=launch_weeks,
        item_weights=_item_weights(rng, launch_weeks),
        tastes=_tastes(rng, age_bands),
        age_bands=age_bands,
        arrival_seconds=arrival_seconds,
    )


def _tastes(rng: np.random.Generator, age_bands: Ints) -> Floats:
    """Draw Dirichlet mixtures, users x clusters: few clusters dominate a user, some more likely in an age band."""
    by_band = rng.gamma(2.0, 0.5, (len(_AGE_BANDS), _CLUSTERS))
    gamma = rng.standard_gamma(0.12 * by_band[age_bands] + 0.02) + 1e-12
    tastes: Floats = 0.95 * gamma / gamma.sum(axis=1, keepdims=True) + 0.05 / _CLUSTERS
    return tastes


def _item_weights(rng: np.random.Generator, launch_weeks: Ints) -> Floats:
    """Draw W x G x I weights: Zipf popularity (exponent 0.8), home cluster, drift over the year, novelty (10 weeks)."""
    n_items = len(launch_weeks)
    zipf = -0.8 * np.log(4.0 + rng.permutation(n_items))
    home = rng.integers(_CLUSTERS, size=n_items)
    preference = 0.6 * rng.standard_normal((_CLUSTERS, n_items)) + 4.5 * (
        np.arange(_CLUSTERS)[:, None] == home
    )
    week = np.arange(_WEEKS)[:, None]
    age = week - launch_weeks
    drift = 1.2 * rng.standard_normal(n_items) * (week / _WEEKS - 0.5)
    novelty = np.where(launch_weeks > 0, 1.5 * np.exp(-np.maximum(age, 0) / 10.0), 0.0)
    utility = zipf + preference + (drift + novelty)[:, None, :]
    weights: Floats = np.where((age >= 0)[:, None, :], np.exp(utility), 0.0)
    weights /= weights.sum(axis=2, keepdims=True)
    return weights


def _max_purchases(n_items: int) -> int:
    """Return half of the items; as five in six are launched at the start, a user always has one left to buy."""
    return min(n_items // 2, _MAX_PURCHASES)


def _purchase_counts(rng: np.random.Generator, rows: int, users: int, max_purchases: int) -> Ints:
    """Draw long-tailed numbers of purchases per user, from 1 to `max_purchases`, with the sum `rows`."""
    share = np.exp(1.0 * rng.standard_normal(users))
    counts = 1 + rng.multinomial(rows - users, share / share.sum())
    kept = np.minimum(counts, max_purchases)
    # Purchases beyond the bound are moved to free places, all equally likely.
    moved = rng.multivariate_hypergeometric(max_purchases - kept, (counts - kept).sum(), method="marginals")
    return kept + moved


def _purchase_seconds(rng: np.random.Generator, user: Ints, arrival_seconds: Floats) -> Floats:
    """Draw seconds since the first day, ascending within a user."""
    fraction = rng.random(len(user))
    fraction = fraction[np.lexsort((fraction, user))]
    start = arrival_seconds[user]
    return np.floor(start + fraction * (_DAYS * _DAY - start))


def _purchased_items(rng: np.random.Generator, world: SimulatedWorld, user: Ints, seconds: Floats) -> Ints:
    """Draw the item of each row by utility among items that the user lacks; rows are in order of user and time.

    An item that an earlier row of the user has is drawn again. As the earlier row stays, the final draw of each row has
    the true probabilities given all rows before it (Luce, 1959; Plackett, 1975).
    """
    n_items = len(world.launch_weeks)
    week = (seconds // (7 * _DAY)).astype(np.int64)
    item = np.full(len(user), -1)
    pending = np.arange(len(user))
    while pending.size:
        cluster = draw_from_tables(rng, world.tastes, user[pending])
        item[pending] = draw_from_tables(
            rng, world.item_weights.reshape(-1, n_items), week[pending] * _CLUSTERS + cluster
        )
        # Only users with a new draw can have a new repetition.
        rows = np.flatnonzero(np.isin(user, user[pending]))
        first = np.unique(user[rows] * n_items + item[rows], return_index=True)[1]
        pending = np.delete(rows, first)
    return item


def _table(
    rng: np.random.Generator, world: SimulatedWorld, user: Ints, item: Ints, seconds: Floats
) -> pd.DataFrame:
    order = np.lexsort((user, seconds))
    user, item, seconds = user[order], item[order], seconds[order]
    youth = (1.5 - world.age_bands[user]) / 1.5
    return pd.DataFrame(
        {
            "user": identifiers("U", user + 1),
            "item": identifiers("I", item + 1),
            "bought_at": _FIRST_DAY + seconds.astype("timedelta64[s]"),
            "quantity": rng.geometric(0.75, len(user)),
            "channel": draw_categories(
                rng, len(user), {"web": 0.5, "app": 0.8 * youth, "store": -0.3 - 0.5 * youth}
            ),
            "age_band": names_of_codes(_AGE_BANDS, world.age_bands[user]),
        }
    )


def _oracle(world: SimulatedWorld) -> pd.DataFrame:
    n_users, n_items = len(world.tastes), len(world.launch_weeks)
    week = _LAST_FIFTH // (7 * _DAY)
    length = min(_ORACLE_ITEMS, int((world.launch_weeks <= week).sum()))
    blocks = np.array_split(np.arange(n_users), n_users // 1000 + 1)
    rankings = [_ranking(world, block, week, length) for block in blocks]
    items = np.concatenate([item for item, _ in rankings])
    user_names = list(identifiers("U", np.arange(1, n_users + 1)))
    item_names = list(identifiers("I", np.arange(1, n_items + 1)))
    return pd.DataFrame(
        {
            "user": names_of_codes(user_names, np.repeat(np.arange(n_users), length)),
            "rank": np.tile(np.arange(1, length + 1), n_users),
            "item": names_of_codes(item_names, items),
            "score": np.concatenate([score for _, score in rankings]),
        }
    )


def _ranking(world: SimulatedWorld, users: Ints, week: int, length: int) -> tuple[Ints, Floats]:
    """Return the best items of each user and their utilities, best first, both flat: users x `length` entries."""
    probabilities = world.purchase_probabilities(users, week)
    top = np.argpartition(-probabilities, length - 1, axis=1)[:, :length]
    top_probabilities = np.take_along_axis(probabilities, top, axis=1)
    order = np.argsort(-top_probabilities, axis=1, kind="stable")
    items = np.take_along_axis(top, order, axis=1)
    return items.ravel(), np.log(np.take_along_axis(top_probabilities, order, axis=1)).ravel()
