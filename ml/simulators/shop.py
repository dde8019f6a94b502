"""Purchases in a made-up shop, with the ranking that knows every shopper's taste."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.simulators.draws import Floats, Ints, category, choose, generators, identifiers, named
from ml.simulators.simulation import Simulation

_FIRST_DAY = np.datetime64("2025-01-01", "s")
_DAYS = 365  # up to and including 2025-12-31
_WEEKS = 53
_DAY = 86_400  # seconds
_LAST_FIFTH = 292 * _DAY  # 2025-10-20T00:00:00, in seconds since the first day
_CLUSTERS = 16
_AGE_BANDS = ("18-29", "30-44", "45-59", "60+")
_BEST = 100
_MOST_PURCHASES = 500


@dataclass(frozen=True)
class World:
    """The truth behind a simulation, for I items, U users, G clusters of taste and W weeks.

    launched: I, the week from which an item can be bought. weight: W x G x I, how strongly a cluster wants an
    item in a week, 0 before its launch, summing to 1 over the items. taste: U x G, summing to 1 over the
    clusters. band: U, the index of the age band. arrived: U, seconds since the first day.
    """

    launched: Ints
    weight: Floats
    taste: Floats
    band: Ints
    arrived: Floats

    def probability(self, users: Ints, week: int) -> Floats:
        """Of each item (columns) being what each of the users (rows) buys next in that week; rows sum to 1.

        Its logarithm is the users' utility: a purchase is the item of highest utility plus Gumbel noise.
        """
        probability: Floats = self.taste[users] @ self.weight[week]
        return probability


def simulate(rows: int, seed: int) -> Simulation:
    """One row per purchase in 2025, in order of time: about rows / 25 users and rows / 60 items (50 to 5000).

    A user buys what utility and chance say, and nothing twice. Utility is a user's mixture of tastes over
    clusters of items, within which a few items are popular; popularity drifts from week to week and is
    highest after the launch. `age_band` moves taste and the channel, and has no other effect.

    `oracle` holds `user`, `rank`, `item` and `score`: for each user the 100 items of highest utility (the
    log probability of being bought next; fewer where fewer were launched) at 2025-10-20T00:00:00, when the
    last fifth of the year begins. It includes what the user already has, and leaves out what was launched
    later.
    """
    truth, counting, timing, buying, details = generators(rows, seed, 5)
    shop = _world(truth, rows)
    counts = _activity(counting, rows, users=len(shop.taste), most=_most_purchases(len(shop.launched)))
    user = np.repeat(np.arange(len(counts)), counts)
    moment = _moments(timing, user, shop.arrived)
    item = _purchases(buying, shop, user, moment)
    return Simulation(_table(details, shop, user, item, moment), _oracle(shop))


def world(rows: int, seed: int) -> World:
    """The truth that `simulate(rows, seed)` draws from; users and items are in order of identifier."""
    return _world(generators(rows, seed, 1)[0], rows)


def _world(rng: np.random.Generator, rows: int) -> World:
    items = int(np.clip(rows // 60, 50, 5000))
    # In a small shop a user buys less, so that what is left to buy never runs out.
    users = int(np.ceil(rows / min(25, items // 4)))
    new = items // 6
    launched = np.concatenate([np.zeros(items - new, np.int64), np.sort(rng.integers(1, _WEEKS, new))])
    band = rng.choice(len(_AGE_BANDS), size=users, p=[0.3, 0.35, 0.2, 0.15])
    # Existing customers are there on the first day; the others come evenly over the year.
    arrived = np.where(rng.random(users) < 0.5, 0.0, np.floor(rng.random(users) * _DAYS * _DAY))
    return World(
        launched=launched,
        weight=_weights(rng, launched),
        taste=_tastes(rng, band),
        band=band,
        arrived=arrived,
    )


def _tastes(rng: np.random.Generator, band: Ints) -> Floats:
    """A Dirichlet mixture per user: one or two clusters take most of it, some likelier in an age band."""
    by_band = rng.gamma(2.0, 0.5, (len(_AGE_BANDS), _CLUSTERS))
    gamma = rng.standard_gamma(0.12 * by_band[band] + 0.02) + 1e-12
    taste: Floats = 0.95 * gamma / gamma.sum(axis=1, keepdims=True) + 0.05 / _CLUSTERS
    return taste


def _weights(rng: np.random.Generator, launched: Ints) -> Floats:
    """W x G x I: Zipf popularity (exponent 0.8) x home cluster x yearly drift x novelty (ten weeks)."""
    items = len(launched)
    zipf = -0.8 * np.log(4.0 + rng.permutation(items))
    home = rng.integers(_CLUSTERS, size=items)
    liking = 0.6 * rng.standard_normal((_CLUSTERS, items)) + 4.5 * (np.arange(_CLUSTERS)[:, None] == home)
    week = np.arange(_WEEKS)[:, None]
    age = week - launched
    drift = 1.2 * rng.standard_normal(items) * (week / _WEEKS - 0.5)
    novelty = np.where(launched > 0, 1.5 * np.exp(-np.maximum(age, 0) / 10.0), 0.0)
    utility = zipf + liking + (drift + novelty)[:, None, :]
    weight: Floats = np.where((age >= 0)[:, None, :], np.exp(utility), 0.0)
    weight /= weight.sum(axis=2, keepdims=True)
    return weight


def _most_purchases(items: int) -> int:
    """Five in six items are there from the start, so half of them leaves a user something to buy."""
    return min(items // 2, _MOST_PURCHASES)


def _activity(rng: np.random.Generator, rows: int, users: int, most: int) -> Ints:
    """Purchases per user: at least 1, at most `most`, long-tailed, `rows` in all."""
    share = np.exp(1.0 * rng.standard_normal(users))
    counts = 1 + rng.multinomial(rows - users, share / share.sum())
    kept = np.minimum(counts, most)
    # What a user has beyond the most goes to places still free, each as likely as the next.
    moved = rng.multivariate_hypergeometric(most - kept, (counts - kept).sum(), method="marginals")
    return kept + moved


def _moments(rng: np.random.Generator, user: Ints, arrived: Floats) -> Floats:
    """Seconds since the first day, ascending within a user."""
    moment = rng.random(len(user))
    moment = moment[np.lexsort((moment, user))]
    start = arrived[user]
    return np.floor(start + moment * (_DAYS * _DAY - start))


def _purchases(rng: np.random.Generator, shop: World, user: Ints, moment: Floats) -> Ints:
    """The item of each row, rows being in order of user and time: drawn by utility among what the user lacks.

    An item that an earlier row of the user has is drawn again. As the earlier row stays, each row ends with a
    draw from the true probabilities given all rows before it (Luce, 1959; Plackett, 1975).
    """
    week = (moment // (7 * _DAY)).astype(np.int64)
    item = np.full(len(user), -1)
    pending = np.arange(len(user))
    while pending.size:
        cluster = choose(rng, shop.taste, user[pending])
        item[pending] = choose(
            rng, shop.weight.reshape(-1, len(shop.launched)), week[pending] * _CLUSTERS + cluster
        )
        # Only users with a new draw can have a new repetition.
        rows = np.flatnonzero(np.isin(user, user[pending]))
        first = np.unique(user[rows] * len(shop.launched) + item[rows], return_index=True)[1]
        pending = np.delete(rows, first)
    return item


def _table(rng: np.random.Generator, shop: World, user: Ints, item: Ints, moment: Floats) -> pd.DataFrame:
    order = np.lexsort((user, moment))
    user, item, moment = user[order], item[order], moment[order]
    young = (1.5 - shop.band[user]) / 1.5
    return pd.DataFrame(
        {
            "user": identifiers("U", user + 1),
            "item": identifiers("I", item + 1),
            "bought_at": _FIRST_DAY + moment.astype("timedelta64[s]"),
            "quantity": rng.geometric(0.75, len(user)),
            "channel": category(
                rng, len(user), {"web": 0.5, "app": 0.8 * young, "store": -0.3 - 0.5 * young}
            ),
            "age_band": named(_AGE_BANDS, shop.band[user]),
        }
    )


def _oracle(shop: World) -> pd.DataFrame:
    users, week = len(shop.taste), _LAST_FIFTH // (7 * _DAY)
    best = min(_BEST, int((shop.launched <= week).sum()))
    ranked = [
        _ranking(shop, block, week, best) for block in np.array_split(np.arange(users), users // 1000 + 1)
    ]
    items = np.concatenate([item for item, _ in ranked])
    return pd.DataFrame(
        {
            "user": named(list(identifiers("U", np.arange(1, users + 1))), np.repeat(np.arange(users), best)),
            "rank": np.tile(np.arange(1, best + 1), users),
            "item": named(list(identifiers("I", np.arange(1, len(shop.launched) + 1))), items),
            "score": np.concatenate([score for _, score in ranked]),
        }
    )


def _ranking(shop: World, users: Ints, week: int, best: int) -> tuple[Ints, Floats]:
    """Items and utilities of the users' best, user by user, best first: flat, users x `best` entries."""
    probability = shop.probability(users, week)
    top = np.argpartition(-probability, best - 1, axis=1)[:, :best]
    chance = np.take_along_axis(probability, top, axis=1)
    order = np.argsort(-chance, axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1).ravel(), np.log(
        np.take_along_axis(chance, order, axis=1)
    ).ravel()
