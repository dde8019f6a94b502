"""The shop simulator: no item is simulation twice or before its launch, and the oracle beats popularity."""

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
def simulation() -> Simulation:
    return shop.simulate(ROWS, SEED)


@pytest.fixture(scope="module")
def world() -> shop.SimulatedWorld:
    return shop.simulated_world(ROWS, SEED)


def number(identifiers: pd.Series) -> np.ndarray:
    """Return the positions of identifiers in the arrays of the world."""
    return identifiers.str[1:].astype(int).to_numpy() - 1


def ndcg(items: list[str], wanted: set[str]) -> float:
    """Compute NDCG@10 with binary gains (Järvelin and Kekäläinen, 2002)."""
    discount = 1 / np.log2(np.arange(2, 12))
    gains = np.isin(items[:10], list(wanted))
    return float((discount[: len(gains)] * gains).sum() / discount[: min(10, len(wanted))].sum())


def test_numbers_of_users_and_items_follow_from_the_rows(
    simulation: Simulation, world: shop.SimulatedWorld
) -> None:
    assert len(world.tastes) == simulation.rows["user"].nunique() == ROWS // 25
    assert len(world.launch_weeks) == ROWS // 60
    assert world.item_weights.shape == (53, world.tastes.shape[1], len(world.launch_weeks))


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4000), seed=st.integers(0, 2**32))
def test_no_user_buys_an_item_twice_or_before_launch_or_arrival(rows: int, seed: int) -> None:
    table, truth = shop.simulate(rows, seed).rows, shop.simulated_world(rows, seed)
    assert len(table) == rows
    assert not table.duplicated(["user", "item"]).any()
    seconds = (table["bought_at"] - START).dt.total_seconds().to_numpy()
    assert (seconds >= truth.launch_weeks[number(table["item"])] * WEEK).all()
    assert (seconds >= truth.arrival_seconds[number(table["user"])]).all()
    assert table["bought_at"].is_monotonic_increasing
    assert table["bought_at"].max() < pd.Timestamp("2026-01-01")
    assert table["user"].nunique() == len(truth.tastes)


def test_activity_has_a_long_tail(simulation: Simulation) -> None:
    purchases = simulation.rows["user"].value_counts()
    assert purchases.max() > 5 * purchases.median()
    assert purchases.min() >= 1
    assert purchases.max() <= len(simulation.rows) // 120


def test_popularity_has_a_long_tail(simulation: Simulation) -> None:
    sold = simulation.rows["item"].value_counts()
    assert sold.max() > 5 * sold.median()
    assert sold.iloc[: len(sold) // 10].sum() > 0.25 * ROWS


def test_columns_have_their_values(simulation: Simulation, world: shop.SimulatedWorld) -> None:
    rows = simulation.rows
    assert rows["quantity"].min() == 1
    assert set(rows["channel"]) == {"web", "app", "store"}
    assert (rows.groupby("user")["age_band"].nunique() == 1).all()
    assert set(rows["age_band"]) == {"18-29", "30-44", "45-59", "60+"}
    on_app = (rows["channel"] == "app").groupby(rows["age_band"]).mean()
    assert on_app["18-29"] > on_app["60+"] + 0.1
    assert world.tastes.sum(axis=1) == pytest.approx(1)
    assert world.item_weights.sum(axis=2) == pytest.approx(1)


def test_age_bands_differ_in_tastes(world: shop.SimulatedWorld) -> None:
    mean = np.stack([world.tastes[world.age_bands == band].mean(axis=0) for band in range(4)])
    assert np.abs(mean[0] - mean[3]).max() > 0.03


def test_first_purchases_follow_the_true_probabilities() -> None:
    """Test first purchases, before which users have no items, by Pearson's chi-squared statistic."""
    rows, world = shop.simulate(60_000, 4).rows, shop.simulated_world(60_000, 4)
    first = rows.drop_duplicates("user")
    week = ((first["bought_at"] - START).dt.total_seconds() // WEEK).astype(int).to_numpy()
    users, items = number(first["user"]), number(first["item"])
    expected = np.zeros(len(world.launch_weeks))
    for each_week in np.unique(week):
        expected += world.purchase_probabilities(users[week == each_week], each_week).sum(axis=0)
    observed = np.bincount(items, minlength=len(expected))
    frequent = expected >= 5
    statistic = ((observed - expected)[frequent] ** 2 / expected[frequent]).sum()
    # Draws of different users vary less than multinomial ones, so only high values are errors.
    assert statistic < frequent.sum() + 4 * np.sqrt(2 * frequent.sum())


def test_the_oracle_ranks_the_launched_items_by_true_utility(
    simulation: Simulation, world: shop.SimulatedWorld
) -> None:
    week = int((LAST_FIFTH - START).total_seconds() // WEEK)
    user = simulation.oracle[simulation.oracle["user"] == "U0000005"]
    truth = np.log(np.maximum(world.purchase_probabilities(np.array([4]), week)[0], 1e-300))
    assert user["rank"].tolist() == list(range(1, 101))
    assert number(user["item"]).tolist() == np.argsort(-truth, kind="stable")[:100].tolist()
    assert user["score"].to_numpy() == pytest.approx(np.sort(truth)[::-1][:100])
    assert world.launch_weeks[number(simulation.oracle["item"])].max() <= week


def test_the_oracle_has_one_ordered_list_per_user(simulation: Simulation) -> None:
    oracle = simulation.oracle
    assert not oracle.duplicated(["user", "item"]).any()
    assert not oracle.duplicated(["user", "rank"]).any()
    assert (oracle.groupby("user")["rank"].max() == 100).all()
    assert (oracle.groupby("user")["score"].diff().dropna() <= 0).all()


def test_the_oracle_beats_neighbours_and_neighbours_beat_popularity(simulation: Simulation) -> None:
    rows = simulation.rows
    past, future = rows[rows["bought_at"] < LAST_FIFTH], rows[rows["bought_at"] >= LAST_FIFTH]
    seen = past.groupby("user")["item"].agg(set)
    wanted = future.groupby("user")["item"].agg(set)
    test_users = [user for user in wanted.index if len(seen.get(user, ())) >= 5]
    user_items = pd.crosstab(past["user"], past["item"]).astype(float)
    sold = user_items.sum()
    similarity = user_items.T @ user_items / (np.sqrt(np.outer(sold, sold)) + 5)
    similarity *= 1 - np.eye(len(sold))
    neighbour_scores = user_items.loc[test_users] @ similarity
    best = simulation.oracle.groupby("user")["item"].agg(list)

    def mean_ndcg(ranking: dict[str, list[str]]) -> float:
        unseen = {user: [item for item in ranking[user] if item not in seen[user]] for user in test_users}
        return float(np.mean([ndcg(unseen[user], wanted[user]) for user in test_users]))

    popularity = mean_ndcg(dict.fromkeys(test_users, sold.sort_values(ascending=False).index.tolist()))
    neighbours = mean_ndcg(
        {user: neighbour_scores.loc[user].sort_values(ascending=False).index.tolist() for user in test_users}
    )
    oracle = mean_ndcg(best.to_dict())
    assert neighbours > popularity + 0.02
    assert oracle > neighbours + 0.02
