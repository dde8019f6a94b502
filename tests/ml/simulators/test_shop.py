"""The shop's world: nothing bought twice or too early, and a truth that beats popularity."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.simulators import Simulation, shop

ROWS, SEED = 20_000, 0
START = pd.Timestamp("2025-01-01")
LAST_FIFTH = pd.Timestamp("2025-10-20")
WEEK = 7 * 24 * 3600


@pytest.fixture(scope="module")
def bought() -> Simulation:
    return shop.simulate(ROWS, SEED)


@pytest.fixture(scope="module")
def world() -> shop.World:
    return shop.world(ROWS, SEED)


def number(identifiers: pd.Series) -> np.ndarray:
    """Position of an identifier in the arrays of the world."""
    return identifiers.str[1:].astype(int).to_numpy() - 1


def ndcg(items: list[str], wanted: set[str]) -> float:
    """NDCG@10 with binary gains (Järvelin and Kekäläinen, 2002)."""
    discount = 1 / np.log2(np.arange(2, 12))
    gains = np.isin(items[:10], list(wanted))
    return float((discount[: len(gains)] * gains).sum() / discount[: min(10, len(wanted))].sum())


def test_sizes_follow_the_rows(bought: Simulation, world: shop.World) -> None:
    assert len(world.taste) == bought.rows["user"].nunique() == ROWS // 25
    assert len(world.launched) == ROWS // 60
    assert world.weight.shape == (53, world.taste.shape[1], len(world.launched))


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4000), seed=st.integers(0, 2**32))
def test_no_user_buys_an_item_twice_or_before_launch_or_arrival(rows: int, seed: int) -> None:
    table, truth = shop.simulate(rows, seed).rows, shop.world(rows, seed)
    assert len(table) == rows
    assert not table.duplicated(["user", "item"]).any()
    seconds = (table["bought_at"] - START).dt.total_seconds().to_numpy()
    assert (seconds >= truth.launched[number(table["item"])] * WEEK).all()
    assert (seconds >= truth.arrived[number(table["user"])]).all()
    assert table["bought_at"].is_monotonic_increasing
    assert table["bought_at"].max() < pd.Timestamp("2026-01-01")
    assert table["user"].nunique() == len(truth.taste)


def test_activity_has_a_long_tail(bought: Simulation) -> None:
    purchases = bought.rows["user"].value_counts()
    assert purchases.max() > 5 * purchases.median()
    assert purchases.min() >= 1
    assert purchases.max() <= len(bought.rows) // 120


def test_popularity_has_a_long_tail(bought: Simulation) -> None:
    sold = bought.rows["item"].value_counts()
    assert sold.max() > 5 * sold.median()
    assert sold.iloc[: len(sold) // 10].sum() > 0.25 * ROWS


def test_columns_hold_what_they_say(bought: Simulation, world: shop.World) -> None:
    rows = bought.rows
    assert rows["quantity"].min() == 1
    assert set(rows["channel"]) == {"web", "app", "store"}
    assert (rows.groupby("user")["age_band"].nunique() == 1).all()
    assert set(rows["age_band"]) == {"18-29", "30-44", "45-59", "60+"}
    on_app = (rows["channel"] == "app").groupby(rows["age_band"]).mean()
    assert on_app["18-29"] > on_app["60+"] + 0.1
    assert world.taste.sum(axis=1) == pytest.approx(1)
    assert world.weight.sum(axis=2) == pytest.approx(1)


def test_age_bands_differ_in_taste(world: shop.World) -> None:
    mean = np.stack([world.taste[world.band == band].mean(axis=0) for band in range(4)])
    assert np.abs(mean[0] - mean[3]).max() > 0.03


def test_first_purchases_follow_the_true_probabilities() -> None:
    """Pearson's chi-squared over first purchases: they are drawn when nothing is taken yet."""
    many, truth = shop.simulate(60_000, 4).rows, shop.world(60_000, 4)
    first = many.drop_duplicates("user")
    week = ((first["bought_at"] - START).dt.total_seconds() // WEEK).astype(int).to_numpy()
    users, items = number(first["user"]), number(first["item"])
    expected = np.zeros(len(truth.launched))
    for at in np.unique(week):
        expected += truth.probability(users[week == at], at).sum(axis=0)
    seen = np.bincount(items, minlength=len(expected))
    often = expected >= 5
    statistic = ((seen - expected)[often] ** 2 / expected[often]).sum()
    # Draws of unlike users vary less than multinomial ones, so only the upper side is a fault.
    assert statistic < often.sum() + 4 * np.sqrt(2 * often.sum())


def test_the_oracle_ranks_the_items_of_its_instant_by_true_utility(
    bought: Simulation, world: shop.World
) -> None:
    week = int((LAST_FIFTH - START).total_seconds() // WEEK)
    user = bought.oracle[bought.oracle["user"] == "U0000005"]
    truth = np.log(np.maximum(world.probability(np.array([4]), week)[0], 1e-300))
    assert user["rank"].tolist() == list(range(1, 101))
    assert number(user["item"]).tolist() == np.argsort(-truth, kind="stable")[:100].tolist()
    assert user["score"].to_numpy() == pytest.approx(np.sort(truth)[::-1][:100])
    assert world.launched[number(bought.oracle["item"])].max() <= week


def test_the_oracle_lists_each_user_in_order(bought: Simulation) -> None:
    oracle = bought.oracle
    assert not oracle.duplicated(["user", "item"]).any()
    assert not oracle.duplicated(["user", "rank"]).any()
    assert (oracle.groupby("user")["rank"].max() == 100).all()
    assert (oracle.groupby("user")["score"].diff().dropna() <= 0).all()


def test_the_oracle_and_neighbours_beat_popularity(bought: Simulation) -> None:
    rows = bought.rows
    past, future = rows[rows["bought_at"] < LAST_FIFTH], rows[rows["bought_at"] >= LAST_FIFTH]
    seen = past.groupby("user")["item"].agg(set)
    wanted = future.groupby("user")["item"].agg(set)
    judged = [user for user in wanted.index if len(seen.get(user, ())) >= 5]
    bought_by = pd.crosstab(past["user"], past["item"]).astype(float)
    sold = bought_by.sum()
    together = bought_by.T @ bought_by / (np.sqrt(np.outer(sold, sold)) + 5)
    together *= 1 - np.eye(len(sold))
    near = bought_by.loc[judged] @ together
    best = bought.oracle.groupby("user")["item"].agg(list)

    def mean_ndcg(ranking: dict[str, list[str]]) -> float:
        unseen = {user: [item for item in ranking[user] if item not in seen[user]] for user in judged}
        return float(np.mean([ndcg(unseen[user], wanted[user]) for user in judged]))

    popular = mean_ndcg(dict.fromkeys(judged, sold.sort_values(ascending=False).index.tolist()))
    neighbours = mean_ndcg(
        {user: near.loc[user].sort_values(ascending=False).index.tolist() for user in judged}
    )
    oracle = mean_ndcg(best.to_dict())
    assert neighbours > popular + 0.02
    assert oracle > neighbours + 0.02
