"""The two stages of the reranker: candidate pools, pair features, and trees that never see their targets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scipy.stats import rankdata

from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import Candidate, FitResources
from ml.evaluation import beyond_accuracy
from ml.explanations.history_attribution import event_contributions
from ml.explanations.user_examples import user_examples
from ml.interactions.catalogue import LIST_LENGTH
from ml.interactions.holdout import training_queries
from ml.interactions.sparse_matrices import top_entries_sparse
from ml.recommenders import ease
from ml.recommenders.content_based import ContentBased, tfidf
from ml.recommenders.ease import EASE
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.markov import Markov
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import RepeatConsumption
from ml.recommenders.transformer.model import Transformer
from ml.reranking.candidate_pool import CatalogueAdapter, FirstStage
from ml.reranking.pair_features import PairFeatures
from ml.reranking.reranker import Reranker
from ml.reranking.reranker_model import RerankerModel

DAY = 86_400.0
MODELS: dict[str, Candidate] = {"popularity": Popularity(), "kNN": ItemKNN(), "Markov": Markov()}
WITH_CONTENT: dict[str, Candidate] = {**MODELS, "content": ContentBased()}
FAST = Reranker(MODELS, depth=12, rounds=20)


def dataset_of(lists: dict[str, list[str]], allow_repeats: bool = False, timed: bool = True) -> Dataset:
    """Return histories where the n-th event of each user is on day n."""
    times = [[DAY * t if timed else np.nan for t in range(len(items))] for items in lists.values()]
    frame = pd.DataFrame(
        {
            "user": pd.Series(list(lists), dtype="str"),
            "items": pd.Series(list(lists.values()), dtype=object),
            "times": pd.Series(times, dtype=object),
        }
    )
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), allow_repeats=allow_repeats)


def walks(users: int = 300, seed: int = 0, length: int = 8) -> dict[str, list[str]]:
    """Return walks along a ring of forty items, one or two steps at a time."""
    rng = np.random.default_rng(seed)
    lists = {}
    for user in range(users):
        position = rng.integers(40) + np.cumsum(rng.choice([1, 2], length, p=[0.8, 0.2]))
        lists[f"u{user:03}"] = [f"i{item:02}" for item in position % 40]
    return lists


def shelves(users: int = 300, seed: int = 0) -> Dataset:
    """Return users with four items of one of thirty shelves, then two items that no other user has.

    One more item of each shelf has the attribute of the shelf and no interactions.
    """
    rng = np.random.default_rng(seed)
    shelf_of = {f"u{user:03}": user % 30 for user in range(users)}
    lists = {
        user: [*(f"s{n:02}-{k}" for k in rng.permutation(6)[:4]), f"s{n:02}-{user}a", f"s{n:02}-{user}b"]
        for user, n in shelf_of.items()
    }
    items = {item for items in lists.values() for item in items} | {f"s{n:02}-new" for n in range(30)}
    attributes = {item: (item[:3], "thing") for item in items}
    return replace(dataset_of(lists, timed=False), item_attributes=attributes)


def fitted_first_stage(train: Dataset, **models: Candidate) -> FirstStage:
    return Reranker(MODELS, depth=5)._fit_first_stage(models or MODELS, train, FitResources())[1]


class TestCandidatePool:
    def test_the_pool_is_the_union_of_the_best_items_of_each_model(self) -> None:
        train = dataset_of(walks())
        first_stage = fitted_first_stage(train)
        histories = first_stage.catalogue.encode(train.frame.iloc[:20])
        pool = first_stage.candidate_pool(histories)
        expected = set()
        for model in first_stage.models.values():
            scores = np.array(model.scores(histories), np.float32)
            scores[histories.users, histories.items] = -np.inf
            for user, row in enumerate(scores):
                # Of ties at the boundary, all or none are included.
                best = [value for value in np.unique(row) if (row >= value).sum() <= 5]
                expected |= {(user, code) for code in np.flatnonzero(np.isin(row, best))}
        pairs = list(zip(pool.user.tolist(), pool.code.tolist(), strict=True))
        assert sorted(pairs) == sorted(expected)
        history_pairs = set(zip(histories.users.tolist(), histories.items.tolist(), strict=True))
        assert not history_pairs & set(pairs)
        assert np.isfinite(pool.features).all()

    def test_the_features_of_models_are_score_gap_and_rank(self) -> None:
        train = dataset_of(walks())
        first_stage = fitted_first_stage(train)
        histories = first_stage.catalogue.encode(train.frame.iloc[:5])
        pool = first_stage.candidate_pool(histories)
        for n, model in enumerate(first_stage.models.values()):
            score, gap, rank = pool.features[:, 3 * n : 3 * n + 3].T
            expected = np.array(model.scores(histories))[pool.user, pool.code]
            np.testing.assert_allclose(score, expected, rtol=1e-5)
            for user in range(5):
                rows = pool.user == user
                np.testing.assert_allclose(gap[rows], score[rows].max() - score[rows], atol=1e-5)
                np.testing.assert_array_equal(rank[rows], rankdata(-score[rows]))

    def test_without_distinguishing_scores_the_pool_is_the_most_popular_items(self) -> None:
        """Two items have two users each, three have one; the only user of z has no other item."""
        train = dataset_of({"u": ["x", "y"], "v": ["x", "y"], "w": ["z"], "o": ["a"], "p": ["b"]})
        first_stage = fitted_first_stage(train, kNN=ItemKNN(), Markov=Markov())
        frame = dataset_of({"with z": ["z"], "new": []}).frame
        pool = first_stage.candidate_pool(first_stage.catalogue.encode(frame))
        items = np.array([first_stage.catalogue.items[code] for code in pool.code])
        assert set(items[pool.user == 0]) == {"x", "y", "a", "b"}
        assert set(items[pool.user == 1]) == {"x", "y", "z", "a", "b"}
        assert np.isfinite(pool.features).all()

    def test_the_candidates_of_a_user_do_not_depend_on_other_users(self) -> None:
        train = dataset_of(walks())
        first_stage = fitted_first_stage(train)
        several = first_stage.candidate_pool(first_stage.catalogue.encode(train.frame.iloc[:4]))
        single = first_stage.candidate_pool(first_stage.catalogue.encode(train.frame.iloc[[2]]))
        rows = several.user == 2
        np.testing.assert_array_equal(several.code[rows], single.code)
        np.testing.assert_allclose(several.features[rows], single.features, rtol=1e-6)

    def test_pair_features_by_hand(self) -> None:
        train = dataset_of({"u": ["x", "y", "z"], "v": ["x", "y"], "w": ["z"]})
        catalogue = fitted_first_stage(train).catalogue
        histories = catalogue.encode(dataset_of({"a": ["z", "x"]}).frame)
        pair_features = PairFeatures.from_histories(catalogue.encode(train.frame))
        features = pair_features.features(histories, np.array([0, 0]), np.array([1, 2]))
        log_count, _, _, first, last, position, transition_share = features[:, :7].T
        np.testing.assert_allclose(log_count, np.log1p([2, 2]), rtol=1e-6)
        # Days 0, 0, 0, 1, 1, 2: the mean rank of the events of one day, as a share.
        np.testing.assert_allclose(first, [4.5 / 6, 2 / 6], rtol=1e-6)
        np.testing.assert_allclose(last, [4.5 / 6, 1.0], rtol=1e-6)
        np.testing.assert_allclose(position, [(2 / 3 + 1) / 2, 1.0], rtol=1e-6)
        # y followed x twice; y and z have one user in common, 1 / (sqrt(2 * 2) + 2).
        np.testing.assert_allclose(transition_share, [2 / 4, 0.0], rtol=1e-6)
        similarity = features[:, 9:12].T
        np.testing.assert_allclose(similarity, [[2 / 4, 1 / 4], [1 / 4, 2 / 4], [0, 0]], rtol=1e-6)


class TestNewItems:
    def test_new_items_are_candidates_for_users_of_similar_items(self) -> None:
        train = shelves()
        catalogue = fitted_first_stage(train, **WITH_CONTENT).catalogue
        assert {f"s{n:02}-new" for n in range(30)} < set(catalogue.items)
        reranker = Reranker(WITH_CONTENT, depth=30)
        _, first_stage = reranker._fit_first_stage(WITH_CONTENT, train, FitResources())
        pool = first_stage.candidate_pool(catalogue.encode(train.frame.iloc[:40]))
        is_new = np.array([item.endswith("new") for item in catalogue.items])[pool.code]
        pairs = {
            (user, catalogue.items[code])
            for user, code in zip(pool.user[is_new], pool.code[is_new], strict=True)
        }
        assert pairs == {(user, f"s{user % 30:02}-new") for user in range(40)}

    def test_blocked_items_are_no_candidates(self) -> None:
        blocked = ("s03-new", "s04-0")
        train = replace(shelves(), never_recommend=blocked)
        first_stage = fitted_first_stage(train, **WITH_CONTENT)
        assert first_stage.catalogue.blocked_items == blocked
        pool = first_stage.candidate_pool(first_stage.catalogue.encode(train.frame.iloc[:40]))
        assert not set(blocked) & {first_stage.catalogue.items[code] for code in pool.code}
        model = ContentBased().fit(train, train, FitResources())
        assert not set(blocked) & set(model.predict(train.frame)["item"])

    def test_models_are_not_extended_and_score_as_before(self) -> None:
        train = shelves()
        extended = fitted_first_stage(train, **WITH_CONTENT)
        plain = fitted_first_stage(replace(train, item_attributes={}))
        histories, plain_histories = (
            first_stage.catalogue.encode(train.frame.iloc[:40]) for first_stage in (extended, plain)
        )
        in_plain = np.isin(extended.catalogue.items, plain.catalogue.items)
        assert (~in_plain).sum() == 30
        for name, model in plain.models.items():
            assert extended.models[name].files() == model.files()  # type: ignore[attr-defined]
            adapter = extended.scorers[name]
            assert isinstance(adapter, CatalogueAdapter)
            scores, expected = adapter.scores(histories), np.array(model.scores(plain_histories), np.float32)
            np.testing.assert_array_equal(scores[:, in_plain], expected)
            # Items without interactions never score above items with some.
            assert (scores[:, ~in_plain] == expected.min(axis=1)[:, None]).all()
        assert extended.scorers["content"] is extended.models["content"]

    def test_users_with_only_new_items_are_scored_by_attributes_or_popularity(self) -> None:
        first_stage = fitted_first_stage(shelves(), **WITH_CONTENT)
        history = first_stage.catalogue.encode(dataset_of({"n": ["s07-new"]}).frame)
        assert history.lengths.tolist() == [1]
        content_scores = first_stage.scorers["content"].scores(history)[0]
        by_content = np.array(first_stage.catalogue.items)[np.argsort(-content_scores)]
        assert {item[:3] for item in by_content[:20]} == {"s07"}
        popularity = np.array(first_stage.scorers["kNN"].catalogue.popularity)
        np.testing.assert_array_equal(first_stage.scorers["kNN"].scores(history)[0], popularity)
        assert np.isfinite(first_stage.candidate_pool(history).features).all()

    def test_contributions_of_an_adapter_are_those_of_its_model(self) -> None:
        first_stage = fitted_first_stage(shelves(), **WITH_CONTENT)
        adapter = first_stage.scorers["kNN"]
        assert isinstance(adapter, CatalogueAdapter)
        frame = dataset_of({"n": ["s07-0", "s07-new", "s07-1"]}).frame
        history, model_history = first_stage.catalogue.encode(frame), adapter.model.catalogue.encode(frame)
        code = first_stage.catalogue.items.index("s07-2")
        model_code = adapter.model.catalogue.items.index("s07-2")
        contributions = event_contributions(adapter, history, code)
        expected = event_contributions(adapter.model, model_history, model_code)
        np.testing.assert_array_equal(contributions, [expected[0], 0.0, expected[1]])
        assert contributions.sum() == pytest.approx(adapter.scores(history)[0, code], rel=1e-6)
        new_code = first_stage.catalogue.items.index("s07-new")
        assert not event_contributions(adapter, history, new_code).any()

    def test_new_items_are_recommended_where_held_out_items_were_new(self) -> None:
        """All held-out items had no other user, so the trees learn to follow the attributes."""
        train = shelves()
        model = Reranker(WITH_CONTENT, depth=30, rounds=30).fit(train, train, FitResources(seed=3))
        lists = {f"n{n:02}": [f"s{n:02}-{k}" for k in (0, 3, 2, 5)] for n in range(30)}
        frame = dataset_of(lists).frame
        listed = model.predict(frame)
        new = listed[listed["item"].str.endswith("new")]
        assert set(zip(new["user"], new["item"], strict=True)) >= {
            (f"n{n:02}", f"s{n:02}-new") for n in range(30)
        }
        without_content = Reranker(MODELS, depth=30, rounds=30).fit(train, train, FitResources(seed=3))
        assert not without_content.predict(frame)["item"].str.endswith("new").any()
        back = RerankerModel.from_files(model.files())
        pd.testing.assert_frame_equal(back.predict(frame), listed, check_exact=True)
        history = model.catalogue.encode(frame.iloc[[3]])
        code = model.catalogue.items.index("s03-new")
        assert model.first_stage.best_scorer(history, code) == "content"
        assert (model.contributions(history, code) > 0).all()

    def test_attribute_similarity_to_the_last_items_by_hand(self) -> None:
        """x has the attributes a and b, y has b, z has a, w has none; the last user has no history."""
        attributes = {"x": ("a", "b"), "y": ("b",), "z": ("a",)}
        train = replace(dataset_of({"u": ["w", "x", "y"], "v": ["z"]}), item_attributes=attributes)
        first_stage = fitted_first_stage(train)
        pair_features = first_stage.pair_features
        plain = fitted_first_stage(replace(train, item_attributes={})).pair_features
        frame = dataset_of({"n": ["y", "x", "w"], "m": ["z", "y"], "o": []}).frame
        histories = first_stage.catalogue.encode(frame)
        w, x, y, z = range(4)
        user, code = np.array([0, 0, 0, 1, 1, 2]), np.array([z, y, w, x, y, x])
        features = pair_features.features(histories, user, code)
        # Each attribute belongs to two of four items, so x has two equal components.
        half = np.sqrt(0.5)
        np.testing.assert_allclose(features[:, -2], [0, 0, 0, half, 1, 0], rtol=1e-6)
        means = [half / 2, (half + 1) / 2, 0, half, 1 / 2, 0]
        np.testing.assert_allclose(features[:, -1], means, rtol=1e-6)
        np.testing.assert_array_equal(features[:, :-2], plain.features(histories, user, code))
        back = PairFeatures.from_files(pair_features.files())
        assert back.files() == pair_features.files()
        np.testing.assert_array_equal(back.features(histories, user, code), features)

    def test_attribute_similarity_agrees_with_dense_rows(self) -> None:
        train = shelves()
        first_stage = fitted_first_stage(train, **WITH_CONTENT)
        histories = first_stage.catalogue.encode(train.frame.iloc[:40])
        pool = first_stage.candidate_pool(histories)
        rows = tfidf(first_stage.catalogue.items, train.item_attributes).toarray()
        last_items = histories.last_items(3)[pool.user]
        expected = np.einsum("ra,rka->rk", rows[pool.code], rows[last_items])
        np.testing.assert_allclose(pool.features[:, -2], expected[:, 0], atol=1e-6)
        np.testing.assert_allclose(pool.features[:, -1], expected.mean(axis=1), atol=1e-6)

    def test_without_attributes_a_content_model_changes_no_bit(self) -> None:
        train = dataset_of(walks())
        with_content = replace(FAST, models=WITH_CONTENT).fit(train, train, FitResources(seed=3))
        assert with_content.files() == FAST.fit(train, train, FitResources(seed=3)).files()


@given(hnp.arrays(np.float64, (6, 9), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])), st.integers(1, 9))
def test_top_entries_of_rows_are_the_largest(dense: np.ndarray, n: int) -> None:
    found = top_entries_sparse(sparse.csr_array(dense), n).toarray()
    for row, kept in zip(dense, found, strict=True):
        order = [column for column in np.argsort(-row, kind="stable") if row[column] > 0][:n]
        expected = np.zeros(9)
        expected[order] = row[order]
        np.testing.assert_array_equal(kept, expected)


class TestReranker:
    def fitted(self, train: Dataset, candidate: Reranker = FAST) -> RerankerModel:
        return candidate.fit(train, train, FitResources(seed=3))

    def hit_rate(self, model: RerankerModel, lists: dict[str, list[str]], k: int) -> float:
        """Return the share of users whose last item is among the first k, predicted from the items before it."""
        frame = dataset_of({user: items[:-1] for user, items in lists.items()}).frame
        listed = model.predict(frame)
        best = listed[listed["rank"] <= k].groupby("user")["item"].agg(set)
        return float(np.mean([items[-1] in best[user] for user, items in lists.items()]))

    def test_the_trees_learn_which_model_to_follow(self) -> None:
        model = self.fitted(dataset_of(walks()))
        assert self.hit_rate(model, walks(seed=1), 2) > 0.9

    def test_first_stage_models_never_see_the_targets(self) -> None:
        """A marker item that every user has last would be predicted by any model that had seen it."""
        train = dataset_of({user: [*items, "marker"] for user, items in walks().items()}, timed=False)
        queries = training_queries(train, "last", 0.2, 0, 2)
        assert all(items == ["marker"] for items in queries[1][1])
        _, first_stage = FAST._fit_first_stage(MODELS, queries[0][0], FitResources())
        assert "marker" not in first_stage.catalogue.items
        # The marker is in no pool, so the second queries have no groups with a target.
        assert list(FAST._query_groups(first_stage, *queries[1], FitResources())) == []
        assert list(FAST._query_groups(first_stage, *queries[0], FitResources())) != []

    def test_pools_and_features_do_not_depend_on_the_targets(self) -> None:
        original = walks()
        changed = {user: [*items[:-1], "i00"] for user, items in original.items()}
        pools = []
        for lists in (original, changed):
            (first, _), (last, _) = training_queries(dataset_of(lists, timed=False), "last", 0.2, 0, 2)
            _, first_stage = FAST._fit_first_stage(MODELS, first, FitResources())
            pools.append(first_stage.candidate_pool(first_stage.catalogue.encode(last.frame)))
        np.testing.assert_array_equal(pools[0].code, pools[1].code)
        np.testing.assert_array_equal(pools[0].features, pools[1].features)

    def test_without_training_queries_it_still_predicts(self) -> None:
        model = self.fitted(dataset_of({"u": ["x"], "v": ["y"], "w": ["z"]}))
        assert set(model.predict(dataset_of({"n": ["x"], "e": []}).frame)["user"]) == {"n", "e"}

    def test_the_model_does_not_depend_on_threads_and_round_trips(self) -> None:
        train = dataset_of(walks())
        model = self.fitted(train)
        other = FAST.fit(train, train, FitResources(seed=3, threads=2))
        assert other.files() == model.files()
        back = RerankerModel.from_files(model.files())
        frame = dataset_of(walks(seed=2)).frame
        pd.testing.assert_frame_equal(back.predict(frame), model.predict(frame), check_exact=True)
        assert not any(b"u000" in content for content in model.files().values())

    def test_lists_are_ranked_unique_and_without_the_history(self) -> None:
        train = dataset_of(walks(users=400, length=10))
        model = self.fitted(train, Reranker(MODELS, depth=30, rounds=10))
        frame = dataset_of({"one": ["i01", "i02"], "none": [], "unknown": ["?"], "two": ["i05"]}).frame
        listed = model.predict(frame)
        assert list(listed.columns) == ["user", "rank", "item", "score"]
        for _, rows in listed.groupby("user"):
            assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
            assert rows["score"].is_monotonic_decreasing
            assert rows["item"].is_unique
            assert len(rows) <= LIST_LENGTH
        assert not set(listed[listed["user"] == "one"]["item"]) & {"i01", "i02"}
        assert model.catalogue.count_unknown_events(frame) == 1

    def test_items_of_the_history_are_recommended_where_repeats_are_allowed(self) -> None:
        lists = {f"u{n}": [f"own{n % 9}", "milk"] * 6 for n in range(120)}
        models: dict[str, Candidate] = {
            "popularity": Popularity(),
            "repeat purchases": RepeatConsumption(),
            "EASE": EASE(penalty=5.0),
        }
        model = self.fitted(dataset_of(lists, allow_repeats=True), Reranker(models, depth=5, rounds=20))
        listed = model.predict(dataset_of({"n": ["own3", "milk", "own3"]}).frame)
        assert set(listed["item"][:2]) == {"milk", "own3"}

    def test_models_with_decay_score_a_second_time_without_it(self) -> None:
        """Models without decay have no long-term variant; files have each model once."""
        models: dict[str, Candidate] = {
            **MODELS,
            "short kNN": ItemKNN(decay=0.5),
            "open": ItemKNN(decay=None),
        }
        candidate = Reranker(models, depth=12, rounds=5, long_term=("kNN", "short kNN", "open"))
        model = self.fitted(dataset_of(walks()), candidate)
        assert model.first_stage.models["open"].decay < 1.0  # type: ignore[attr-defined]
        assert model.first_stage.long_term == ("short kNN", "open")
        assert list(model.first_stage.scorers) == [*models, "short kNN, long-term", "open, long-term"]
        histories = model.catalogue.encode(dataset_of(walks(5, seed=1)).frame)
        pool = model.first_stage.candidate_pool(histories)
        score = dict(zip(model.first_stage.scorers, pool.features[:, ::3].T, strict=False))
        np.testing.assert_array_equal(score["short kNN, long-term"], score["kNN"])
        assert not np.array_equal(score["short kNN"], score["kNN"])
        back, frame = RerankerModel.from_files(model.files()), dataset_of(walks(seed=2)).frame
        pd.testing.assert_frame_equal(back.predict(frame), model.predict(frame), check_exact=True)
        plain = self.fitted(dataset_of(walks()), replace(candidate, long_term=()))
        assert set(model.files()) == set(plain.files())

    def test_a_network_continues_from_its_first_fit(self) -> None:
        messages: list[str] = []
        network = Transformer(
            dim=8, ffn_dim=8, max_length=6, batch_tokens=256, max_epochs=3, max_warm_start_epochs=1
        )
        candidate = Reranker({**MODELS, "network": network}, depth=12, rounds=5)
        train = dataset_of(walks())
        model = candidate.fit(train, train, FitResources(seed=3, log_progress=messages.append))
        epochs = [message.split(":")[0] for message in messages if message.startswith("epoch")]
        assert epochs == ["epoch 1", "epoch 2", "epoch 3", "epoch 1"]
        assert model.first_stage.models["network"].catalogue.items == model.catalogue.items

    def test_blocked_items_are_never_recommended(self) -> None:
        train = replace(dataset_of(walks()), never_recommend=("i11", "i12"))
        model = self.fitted(train)
        listed = model.predict(dataset_of({"n": ["i30", "i10"], "none": []}).frame)
        assert not {"i11", "i12"} & set(listed["item"])
        assert set(listed["user"]) == {"n", "none"}
        assert model.catalogue.popularity[model.catalogue.items.index("i11")] > 0

    def test_diversity_changes_the_order_and_keeps_the_best_item(self) -> None:
        train = dataset_of(walks())
        plain = self.fitted(train)
        diverse = self.fitted(train, replace(FAST, diversity=0.5))
        assert diverse.trees == plain.trees
        frame = dataset_of(walks(seed=2)).frame
        listed, diversified = plain.predict(frame), diverse.predict(frame)
        histories = train.frame["items"]
        gain = beyond_accuracy.diversity(diversified, histories, 5) - beyond_accuracy.diversity(
            listed, histories, 5
        )
        assert gain > 0.02
        best, diversified_best = (
            table[table["rank"] == 1]["item"].tolist() for table in (listed, diversified)
        )
        assert best == diversified_best
        pairs, diversified_pairs = (
            set(zip(table["user"], table["item"], strict=True)) for table in (listed, diversified)
        )
        assert pairs == diversified_pairs
        back = RerankerModel.from_files(diverse.files())
        pd.testing.assert_frame_equal(back.predict(frame), diversified, check_exact=True)

    def test_contributions_are_those_of_the_scorer_with_the_best_rank(self) -> None:
        model = self.fitted(dataset_of(walks()))
        history = model.catalogue.encode(dataset_of({"n": ["i30", "i10"]}).frame)
        code = model.catalogue.items.index("i11")
        name = model.first_stage.best_scorer(history, code)
        assert name in ("kNN", "Markov")
        contributions = model.contributions(history, code)
        expected = model.first_stage.models[name].contributions(history, code)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(contributions, expected)
        assert contributions.argmax() == 1
        item_of_history = int(history.items[0])
        assert model.first_stage.best_scorer(history, item_of_history) is None
        assert not model.contributions(history, item_of_history).any()

    def test_user_examples_have_explanations(self) -> None:
        model = self.fitted(dataset_of(walks()))
        test = replace(dataset_of(walks(users=30, seed=5)), truth=pd.Series([["i00"]] * 30, dtype=object))
        examples = user_examples(test, model.predict(test.frame), model)
        explanations = [entry["explanation"] for example in examples for entry in example["recommended"]]
        assert len(examples) == 3
        assert len(explanations) == 15
        assert all(explanation is not None for explanation in explanations)
        assert sum(map(bool, explanations)) >= 10

    def test_models_that_do_not_suit_the_data_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ease, "MAX_ITEMS", 5)
        messages: list[str] = []
        train = dataset_of(walks())
        candidate = Reranker({**MODELS, "EASE": EASE()}, depth=12, rounds=5)
        model = candidate.fit(train, train, FitResources(log_progress=messages.append))
        assert list(model.first_stage.models) == list(MODELS)
        assert "EASE: left out, expected a catalogue of at most 5 items for EASE; got 40" in messages[3]
        with pytest.raises(CandidateSkipped, match="at least one model"):
            Reranker({"EASE": EASE()}).fit(train, train, FitResources())

    def test_it_is_skipped_below_its_minimum_time_budget(self) -> None:
        train = dataset_of(walks())
        slow = replace(FAST, min_seconds=600.0)
        message = (
            r"at least 600 s .* got 179 s left of the time budget; raise --time-budget by at least 421 s"
        )
        with pytest.raises(CandidateSkipped, match=message):
            slow.fit(train, train, FitResources(seconds=179.0))
        in_time = slow.fit(train, train, FitResources(seconds=600.0))
        assert in_time.trees == FAST.fit(train, train, FitResources()).trees

    def test_without_time_for_trees_ranks_are_fused(self) -> None:
        train = dataset_of(walks())
        model = FAST.fit(train, train, FitResources(seconds=0.0))
        assert model.stopped_by == "budget"
        assert RerankerModel.from_files(model.files()).stopped_by == "budget"
        assert self.hit_rate(model, walks(seed=1), 3) > 0.6

    def test_a_dataset_without_times_read_from_parquet_gives_the_same_model(self, tmp_path: Path) -> None:
        train = dataset_of(walks(), timed=False)
        train.to_table().to_parquet(tmp_path / "train.parquet")
        back = Dataset.from_table(pd.read_parquet(tmp_path / "train.parquet"))
        assert self.fitted(back).files() == self.fitted(train).files()
