"""The two stages: what is in the pool, that the ranker never sees what it predicts, that a marker gives it away."""

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
from ml.explanations.history_attribution import contributions
from ml.explanations.user_examples import shoppers
from ml.interactions.catalogue import LIST_LENGTH
from ml.interactions.holdout import HoldOut, held_out, lessons, usual
from ml.interactions.sparse_matrices import pruned
from ml.recommenders import ease
from ml.recommenders.content_based import Content, tfidf
from ml.recommenders.ease import EASE
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.markov import Markov
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import Habit
from ml.recommenders.transformer.model import Transformer
from ml.reranking.candidate_pool import FirstStage, Widened
from ml.reranking.pair_features import Evidence
from ml.reranking.reranker import Reranked, RerankedModel

DAY = 86_400.0
SIMPLE: dict[str, Candidate] = {"popularity": Popularity(), "kNN": ItemKNN(), "Markov": Markov()}
FAST = Reranked(SIMPLE, depth=12, rounds=20)


def part_of(lists: dict[str, list[str]], repeat: bool = False, known: bool = True) -> Dataset:
    """The n-th event of everybody is on day n."""
    times = [[DAY * t if known else np.nan for t in range(len(items))] for items in lists.values()]
    frame = pd.DataFrame(
        {
            "user": pd.Series(list(lists), dtype="str"),
            "items": pd.Series(list(lists.values()), dtype=object),
            "times": pd.Series(times, dtype=object),
        }
    )
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), allow_repeats=repeat)


def walks(users: int = 300, seed: int = 0, length: int = 8) -> dict[str, list[str]]:
    """Each user walks along a ring of forty items, one or two steps at a time."""
    rng = np.random.default_rng(seed)
    found = {}
    for user in range(users):
        at = rng.integers(40) + np.cumsum(rng.choice([1, 2], length, p=[0.8, 0.2]))
        found[f"u{user:03}"] = [f"i{item:02}" for item in at % 40]
    return found


def shelves(users: int = 300, seed: int = 0) -> Dataset:
    """Each user takes four things of one of thirty shelves, then two that nobody else takes.

    One more thing of each shelf is known only by standing there.
    """
    rng = np.random.default_rng(seed)
    shelf = {f"u{user:03}": user % 30 for user in range(users)}
    lists = {
        user: [*(f"s{at:02}-{n}" for n in rng.permutation(6)[:4]), f"s{at:02}-{user}a", f"s{at:02}-{user}b"]
        for user, at in shelf.items()
    }
    items = {item for items in lists.values() for item in items} | {f"s{at:02}-new" for at in range(30)}
    return replace(part_of(lists, known=False), item_attributes={item: (item[:3], "thing") for item in items})


def first_stage(part: Dataset, **models: Candidate) -> FirstStage:
    return Reranked(SIMPLE, depth=5)._first(models or SIMPLE, part, FitResources())[1]


class TestPool:
    def test_is_the_union_of_the_best_of_each_model(self) -> None:
        part = part_of(walks())
        first = first_stage(part)
        histories = first.catalogue.sequences(part.frame.iloc[:20])
        pool = first.pool(histories)
        expected = set()
        for model in first.models.values():
            scores = np.array(model.scores(histories), np.float32)
            scores[histories.users, histories.items] = -np.inf
            for user, row in enumerate(scores):
                # Ties at the edge come all or none.
                best = [value for value in np.unique(row) if (row >= value).sum() <= 5]
                expected |= {(user, code) for code in np.flatnonzero(np.isin(row, best))}
        listed = list(zip(pool.user.tolist(), pool.code.tolist(), strict=True))
        assert sorted(listed) == sorted(expected)
        own = set(zip(histories.users.tolist(), histories.items.tolist(), strict=True))
        assert not own & set(listed)
        assert np.isfinite(pool.features).all()

    def test_features_of_models_are_score_gap_and_rank(self) -> None:
        part = part_of(walks())
        first = first_stage(part)
        histories = first.catalogue.sequences(part.frame.iloc[:5])
        pool = first.pool(histories)
        for at, model in enumerate(first.models.values()):
            score, gap, rank = pool.features[:, 3 * at : 3 * at + 3].T
            np.testing.assert_allclose(
                score, np.array(model.scores(histories))[pool.user, pool.code], rtol=1e-5
            )
            for user in range(5):
                mine = pool.user == user
                np.testing.assert_allclose(gap[mine], score[mine].max() - score[mine], atol=1e-5)
                np.testing.assert_array_equal(rank[mine], rankdata(-score[mine]))

    def test_where_no_model_tells_items_apart_it_is_what_is_popular(self) -> None:
        """Two items had by two users each, and three by one: who has only the third tells nothing."""
        part = part_of({"u": ["x", "y"], "v": ["x", "y"], "w": ["z"], "o": ["a"], "p": ["b"]})
        first = first_stage(part, kNN=ItemKNN(), Markov=Markov())
        pool = first.pool(first.catalogue.sequences(part_of({"asked": ["z"], "new": []}).frame))
        items = [first.catalogue.items[code] for code in pool.code]
        assert {item for item, user in zip(items, pool.user, strict=True) if user == 0} == {
            "x",
            "y",
            "a",
            "b",
        }
        assert {item for item, user in zip(items, pool.user, strict=True) if user == 1} == {
            "x",
            "y",
            "z",
            "a",
            "b",
        }
        assert np.isfinite(pool.features).all()

    def test_users_do_not_hang_on_their_company(self) -> None:
        part = part_of(walks())
        first = first_stage(part)
        together = first.pool(first.catalogue.sequences(part.frame.iloc[:4]))
        alone = first.pool(first.catalogue.sequences(part.frame.iloc[[2]]))
        mine = together.user == 2
        np.testing.assert_array_equal(together.code[mine], alone.code)
        np.testing.assert_allclose(together.features[mine], alone.features, rtol=1e-6)

    def test_evidence_worked_out_by_hand(self) -> None:
        part = part_of({"u": ["x", "y", "z"], "v": ["x", "y"], "w": ["z"]})
        first = first_stage(part)
        histories = first.catalogue.sequences(part_of({"a": ["z", "x"]}).frame)
        evidence = Evidence.of(first.catalogue.sequences(part.frame))
        found = evidence.features(histories, np.array([0, 0]), np.array([1, 2]))
        count, _, _, first_seen, last_seen, position, follows = found[:, :7].T
        np.testing.assert_allclose(count, np.log1p([2, 2]), rtol=1e-6)
        # Days 0, 0, 0, 1, 1, 2: the mean rank of those of one day, as a share.
        np.testing.assert_allclose(first_seen, [4.5 / 6, 2 / 6], rtol=1e-6)
        np.testing.assert_allclose(last_seen, [4.5 / 6, 1.0], rtol=1e-6)
        np.testing.assert_allclose(position, [(2 / 3 + 1) / 2, 1.0], rtol=1e-6)
        # After x came y twice; y and z have a cosine of 1 of sqrt(2 * 2), shrunk by 2.
        np.testing.assert_allclose(follows, [2 / 4, 0.0], rtol=1e-6)
        together = found[:, 9:12].T
        np.testing.assert_allclose(together, [[2 / 4, 1 / 4], [1 / 4, 2 / 4], [0, 0]], rtol=1e-6)


WITH_CONTENT: dict[str, Candidate] = {**SIMPLE, "content": Content()}


class TestNewItems:
    def test_they_are_in_the_pool_of_whoever_has_their_like(self) -> None:
        part = shelves()
        first = first_stage(part, **WITH_CONTENT)
        assert {f"s{at:02}-new" for at in range(30)} < set(first.catalogue.items)
        pool = (
            Reranked(WITH_CONTENT, depth=30)
            ._first(WITH_CONTENT, part, FitResources())[1]
            .pool(first.catalogue.sequences(part.frame.iloc[:40]))
        )
        new = np.array([item.endswith("new") for item in first.catalogue.items])[pool.code]
        pairs = {
            (user, first.catalogue.items[code])
            for user, code in zip(pool.user[new], pool.code[new], strict=True)
        }
        assert pairs == {(user, f"s{user % 30:02}-new") for user in range(40)}

    def test_blocked_ones_stay_out(self) -> None:
        blocked = ("s03-new", "s04-0")
        part = replace(shelves(), never_recommend=blocked)
        first = first_stage(part, **WITH_CONTENT)
        assert first.catalogue.blocked == blocked
        pool = first.pool(first.catalogue.sequences(part.frame.iloc[:40]))
        assert not set(blocked) & {first.catalogue.items[code] for code in pool.code}
        model = Content().fit(part, part, FitResources())
        assert not set(blocked) & set(model.predict(part.frame)["item"])

    def test_models_do_not_grow_and_score_as_before(self) -> None:
        part = shelves()
        first, plain = first_stage(part, **WITH_CONTENT), first_stage(replace(part, item_attributes={}))
        histories, before = (of.catalogue.sequences(part.frame.iloc[:40]) for of in (first, plain))
        known = np.isin(first.catalogue.items, plain.catalogue.items)
        assert (~known).sum() == 30
        for name, model in plain.models.items():
            assert first.models[name].files() == model.files()  # type: ignore[attr-defined]
            wide = first.scorers[name]
            assert isinstance(wide, Widened)
            scores, expected = wide.scores(histories), np.array(model.scores(before), np.float32)
            np.testing.assert_array_equal(scores[:, known], expected)
            # What nobody had never stands above what somebody had.
            assert (scores[:, ~known] == expected.min(axis=1)[:, None]).all()
        assert first.scorers["content"] is first.models["content"]

    def test_who_has_only_new_items_is_scored_by_what_they_are_or_else_by_popularity(self) -> None:
        part = shelves()
        first = first_stage(part, **WITH_CONTENT)
        history = first.catalogue.sequences(part_of({"n": ["s07-new"]}).frame)
        assert history.lengths.tolist() == [1]
        by_content = np.array(first.catalogue.items)[np.argsort(-first.scorers["content"].scores(history)[0])]
        assert {item[:3] for item in by_content[:20]} == {"s07"}
        popularity = np.array(first.scorers["kNN"].catalogue.popularity)
        np.testing.assert_array_equal(first.scorers["kNN"].scores(history)[0], popularity)
        assert np.isfinite(first.pool(history).features).all()

    def test_reasons_of_a_widened_model_are_its_own(self) -> None:
        part = shelves()
        first = first_stage(part, **WITH_CONTENT)
        wide = first.scorers["kNN"]
        assert isinstance(wide, Widened)
        items = ["s07-0", "s07-new", "s07-1"]
        history = first.catalogue.sequences(part_of({"n": items}).frame)
        own = wide.model.catalogue.sequences(part_of({"n": items}).frame)
        code = first.catalogue.items.index("s07-2")
        told = contributions(wide, history, code)
        expected = contributions(wide.model, own, wide.model.catalogue.items.index("s07-2"))
        np.testing.assert_array_equal(told, [expected[0], 0.0, expected[1]])
        assert told.sum() == pytest.approx(wide.scores(history)[0, code], rel=1e-6)
        assert not contributions(wide, history, first.catalogue.items.index("s07-new")).any()

    def test_they_are_recommended_where_new_ones_were_taken_before(self) -> None:
        """What came last was new to everybody each time, so the ranker has learned to follow what it is."""
        part = shelves()
        model = Reranked(WITH_CONTENT, depth=30, rounds=30).fit(part, part, FitResources(seed=3))
        asked = part_of({f"n{at:02}": [f"s{at:02}-{n}" for n in (0, 3, 2, 5)] for at in range(30)}).frame
        listed = model.predict(asked)
        new = listed[listed["item"].str.endswith("new")]
        assert set(zip(new["user"], new["item"], strict=True)) >= {
            (f"n{at:02}", f"s{at:02}-new") for at in range(30)
        }
        without = Reranked(SIMPLE, depth=30, rounds=30).fit(part, part, FitResources(seed=3))
        assert not without.predict(asked)["item"].str.endswith("new").any()
        back = RerankedModel.from_files(model.files())
        pd.testing.assert_frame_equal(back.predict(asked), listed, check_exact=True)
        history = model.catalogue.sequences(asked.iloc[[3]])
        code = model.catalogue.items.index("s03-new")
        assert model.first.placed_by(history, code) == "content"
        assert (model.contributions(history, code) > 0).all()

    def test_likeness_to_the_last_items_worked_out_by_hand(self) -> None:
        """x is of a and b, y of b, z of a; w has no attributes, nor has what is not there."""
        attributes = {"x": ("a", "b"), "y": ("b",), "z": ("a",)}
        part = replace(part_of({"u": ["w", "x", "y"], "v": ["z"]}), item_attributes=attributes)
        first = first_stage(part)
        evidence = first.evidence
        plain = first_stage(replace(part, item_attributes={})).evidence
        histories = first.catalogue.sequences(part_of({"n": ["y", "x", "w"], "m": ["z", "y"], "o": []}).frame)
        w, x, y, z = range(4)
        user, code = np.array([0, 0, 0, 1, 1, 2]), np.array([z, y, w, x, y, x])
        found = evidence.features(histories, user, code)
        # Both attributes are those of two of four items.
        half = np.sqrt(0.5)
        np.testing.assert_allclose(found[:, -2], [0, 0, 0, half, 1, 0], rtol=1e-6)
        means = [half / 2, (half + 1) / 2, 0, half, 1 / 2, 0]
        np.testing.assert_allclose(found[:, -1], means, rtol=1e-6)
        np.testing.assert_array_equal(found[:, :-2], plain.features(histories, user, code))
        back = Evidence.from_files(evidence.files())
        assert back.files() == evidence.files()
        np.testing.assert_array_equal(back.features(histories, user, code), found)

    def test_features_agree_with_dense_rows(self) -> None:
        part = shelves()
        first = first_stage(part, **WITH_CONTENT)
        histories = first.catalogue.sequences(part.frame.iloc[:40])
        pool = first.pool(histories)
        rows = tfidf(first.catalogue.items, part.item_attributes).toarray()
        latest = histories.last(3)[pool.user]
        expected = np.einsum("ra,rka->rk", rows[pool.code], rows[latest])
        np.testing.assert_allclose(pool.features[:, -2], expected[:, 0], atol=1e-6)
        np.testing.assert_allclose(pool.features[:, -1], expected.mean(axis=1), atol=1e-6)

    def test_without_attributes_nothing_changes_to_the_last_bit(self) -> None:
        part = part_of(walks())
        with_content = replace(FAST, models=WITH_CONTENT).fit(part, part, FitResources(seed=3))
        assert with_content.files() == FAST.fit(part, part, FitResources(seed=3)).files()


@given(hnp.arrays(np.float64, (6, 9), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])), st.integers(1, 9))
def test_pruned_rows_keep_their_largest(dense: np.ndarray, n: int) -> None:
    found = pruned(sparse.csr_array(dense), n).toarray()
    for row, kept in zip(dense, found, strict=True):
        order = [at for at in np.argsort(-row, kind="stable") if row[at] > 0][:n]
        expected = np.zeros(9)
        expected[order] = row[order]
        np.testing.assert_array_equal(kept, expected)


class TestHoldOut:
    def test_the_last_of_each(self) -> None:
        before, after = held_out(part_of({"u": ["x", "y", "x"], "v": ["z"], "w": ["x", "y"]}), "last", 0.2, 0)
        assert before.frame["items"].tolist() == [["x", "y"], ["z"], ["x"]]
        # The second x of u is no news, and who had one thing only keeps it.
        assert after.tolist() == [[], [], ["y"]]
        assert [len(times) for times in before.frame["times"]] == [2, 1, 1]

    def test_lessons_of_several_events_go_from_one_to_the_next(self) -> None:
        part = part_of({"u": ["a", "b", "c", "b"], "v": ["a", "b"], "w": ["z"]})
        (first, second), (third, last) = lessons(part, "last", 0.2, 0, 2)
        assert first.frame["items"].tolist() == [["a", "b"], ["a"], ["z"]]
        assert third.frame["items"].tolist() == [["a", "b", "c"], ["a"], ["z"]]
        assert (second.tolist(), last.tolist()) == ([["c"], [], []], [[], ["b"], []])
        repeating = lessons(replace(part, allow_repeats=True), "last", 0.2, 0, 2)
        assert repeating[1][1].tolist() == [["b"], ["b"], []]

    def test_the_end_of_the_log(self) -> None:
        part = part_of({"u": ["a", "b", "c", "d"], "v": ["a", "b"]})
        before, after = held_out(part, "time", 0.3, 0)
        assert before.frame["items"].tolist() == [["a", "b"], ["a", "b"]]
        assert after.tolist() == [["c", "d"], []]

    def test_lessons_are_like_what_will_be_asked(self) -> None:
        timed, ordered = part_of(walks()), part_of(walks(), known=False)
        found = {
            asked: usual(replace(timed, split_by=asked)) for asked in ("time", "session", "last", "any", None)
        }
        assert found == {"time": "time", "session": "last", "last": "last", "any": "last", None: "time"}
        assert usual(ordered) == usual(replace(ordered, split_by="time")) == "last"

    @pytest.mark.parametrize("how", ["last", "time", "random"])
    def test_nothing_is_lost_and_nothing_that_is_asked_was_told(self, how: HoldOut) -> None:
        part = part_of(walks())
        before, after = held_out(part, how, 0.2, 7)
        for items, left, taken in zip(part.frame["items"], before.frame["items"], after, strict=True):
            assert set(left) | set(taken) == set(items)
            assert not set(left) & set(taken)
        again = held_out(part, how, 0.2, 7)
        assert again[1].tolist() == after.tolist()


class TestReranked:
    def fitted(self, part: Dataset, candidate: Reranked = FAST) -> RerankedModel:
        return candidate.fit(part, part, FitResources(seed=3))

    def hit_rate(self, model: RerankedModel, histories: dict[str, list[str]], k: int) -> float:
        frame = part_of({user: items[:-1] for user, items in histories.items()}).frame
        listed = model.predict(frame)
        best = listed[listed["rank"] <= k].groupby("user")["item"].agg(set)
        return float(np.mean([items[-1] in best[user] for user, items in histories.items()]))

    def test_learns_which_model_to_follow(self) -> None:
        model = self.fitted(part_of(walks()))
        assert self.hit_rate(model, walks(seed=1), 2) > 0.9

    def test_never_sees_the_window_that_it_predicts(self) -> None:
        """A marker that everybody takes last would be the best answer of whoever had seen it; here nobody may."""
        part = part_of({user: [*items, "marker"] for user, items in walks().items()}, known=False)
        taught = lessons(part, "last", 0.2, 0, 2)
        assert all(items == ["marker"] for items in taught[1][1])
        inner = FAST._first(SIMPLE, taught[0][0], FitResources())[1]
        assert "marker" not in inner.catalogue.items
        # The window's own item is in no pool, so it has taught nothing.
        assert list(FAST._pools(inner, *taught[1], FitResources())) == []
        assert list(FAST._pools(inner, *taught[0], FitResources())) != []

    def test_pools_and_features_do_not_change_with_the_window(self) -> None:
        """Other items in the window: the same pools, the same features, only other hits."""
        walk = walks()
        other = {user: [*items[:-1], "i00"] for user, items in walk.items()}
        pools = []
        for lists in (walk, other):
            (before, _), (later, _) = lessons(part_of(lists, known=False), "last", 0.2, 0, 2)
            first = FAST._first(SIMPLE, before, FitResources())[1]
            pools.append(first.pool(first.catalogue.sequences(later.frame)))
        np.testing.assert_array_equal(pools[0].code, pools[1].code)
        np.testing.assert_array_equal(pools[0].features, pools[1].features)

    def test_without_a_lesson_it_still_answers(self) -> None:
        model = self.fitted(part_of({"u": ["x"], "v": ["y"], "w": ["z"]}))
        assert set(model.predict(part_of({"n": ["x"], "e": []}).frame)["user"]) == {"n", "e"}

    def test_is_the_same_for_any_threads_and_round_trips(self) -> None:
        part = part_of(walks())
        model = self.fitted(part)
        other = FAST.fit(part, part, FitResources(seed=3, threads=2))
        assert other.files() == model.files()
        back = RerankedModel.from_files(model.files())
        frame = part_of(walks(seed=2)).frame
        pd.testing.assert_frame_equal(back.predict(frame), model.predict(frame), check_exact=True)
        assert not any(b"u000" in data for data in model.files().values())

    def test_lists_have_their_form(self) -> None:
        many = part_of(walks(users=400, length=10))
        model = self.fitted(many, Reranked(SIMPLE, depth=30, rounds=10))
        frame = part_of({"one": ["i01", "i02"], "none": [], "unknown": ["?"], "two": ["i05"]}).frame
        listed = model.predict(frame)
        assert list(listed.columns) == ["user", "rank", "item", "score"]
        for _, rows in listed.groupby("user"):
            assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
            assert rows["score"].is_monotonic_decreasing
            assert rows["item"].is_unique
            assert len(rows) <= LIST_LENGTH
        own = listed[listed["user"] == "one"]
        assert not set(own["item"]) & {"i01", "i02"}
        assert model.unknown(frame) == 1

    def test_items_return_where_they_may(self) -> None:
        lists = {f"u{n}": [f"own{n % 9}", "milk"] * 6 for n in range(120)}
        models: dict[str, Candidate] = {
            "popularity": Popularity(),
            "habit": Habit(),
            "EASE": EASE(penalty=5.0),
        }
        model = self.fitted(part_of(lists, repeat=True), Reranked(models, depth=5, rounds=20))
        listed = model.predict(part_of({"n": ["own3", "milk", "own3"]}).frame)
        assert set(listed["item"][:2]) == {"milk", "own3"}

    def test_what_forgets_scores_a_second_time_without_forgetting(self) -> None:
        """Of models that forget nothing there is no second opinion; files have each model once."""
        models: dict[str, Candidate] = {
            **SIMPLE,
            "short kNN": ItemKNN(decay=0.5),
            "open": ItemKNN(decay=None),
        }
        candidate = Reranked(models, depth=12, rounds=5, lasting=("kNN", "short kNN", "open"))
        model = self.fitted(part_of(walks()), candidate)
        assert model.first.models["open"].decay < 1.0  # type: ignore[attr-defined]
        assert model.first.lasting == ("short kNN", "open")
        assert list(model.first.scorers) == [*models, "short kNN, lasting", "open, lasting"]
        pool = model.first.pool(model.catalogue.sequences(part_of(walks(5, seed=1)).frame))
        score = dict(zip(model.first.scorers, pool.features[:, ::3].T, strict=False))
        np.testing.assert_array_equal(score["short kNN, lasting"], score["kNN"])
        assert not np.array_equal(score["short kNN"], score["kNN"])
        back, frame = RerankedModel.from_files(model.files()), part_of(walks(seed=2)).frame
        pd.testing.assert_frame_equal(back.predict(frame), model.predict(frame), check_exact=True)
        plain = self.fitted(part_of(walks()), replace(candidate, lasting=()))
        assert set(model.files()) == set(plain.files())

    def test_a_network_goes_on_where_its_first_fit_ended(self) -> None:
        told: list[str] = []
        network = Transformer(dim=8, hidden=8, longest=6, batch_tokens=256, max_epochs=3, more_epochs=1)
        candidate = Reranked({**SIMPLE, "network": network}, depth=12, rounds=5)
        part = part_of(walks())
        model = candidate.fit(part, part, FitResources(seed=3, log_progress=told.append))
        assert [line.split(":")[0] for line in told if line.startswith("epoch")] == [
            "epoch 1",
            "epoch 2",
            "epoch 3",
            "epoch 1",
        ]
        assert model.first.models["network"].catalogue.items == model.catalogue.items

    def test_blocked_items_are_not_pooled(self) -> None:
        part = replace(part_of(walks()), never_recommend=("i11", "i12"))
        model = self.fitted(part)
        listed = model.predict(part_of({"n": ["i30", "i10"], "none": []}).frame)
        assert not {"i11", "i12"} & set(listed["item"])
        assert set(listed["user"]) == {"n", "none"}
        assert model.catalogue.popularity[model.catalogue.items.index("i11")] > 0

    def test_diversity_is_bought_with_relevance(self) -> None:
        part = part_of(walks())
        plain = self.fitted(part)
        diverse = self.fitted(part, replace(FAST, diversity=0.5))
        assert diverse.trees == plain.trees
        frame = part_of(walks(seed=2)).frame
        listed, other = plain.predict(frame), diverse.predict(frame)
        histories = part.frame["items"]
        assert (
            beyond_accuracy.diversity(other, histories, 5)
            > beyond_accuracy.diversity(listed, histories, 5) + 0.02
        )
        first, second = (one[one["rank"] == 1]["item"].tolist() for one in (listed, other))
        assert first == second
        assert set(zip(listed["user"], listed["item"], strict=True)) == set(
            zip(other["user"], other["item"], strict=True)
        )
        back = RerankedModel.from_files(diverse.files())
        pd.testing.assert_frame_equal(back.predict(frame), other, check_exact=True)

    def test_reasons_are_those_of_the_model_that_placed_the_item(self) -> None:
        model = self.fitted(part_of(walks()))
        history = model.catalogue.sequences(part_of({"n": ["i30", "i10"]}).frame)
        code = model.catalogue.items.index("i11")
        name = model.first.placed_by(history, code)
        assert name in ("kNN", "Markov")
        told = model.contributions(history, code)
        np.testing.assert_array_equal(told, model.first.models[name].contributions(history, code))  # type: ignore[attr-defined]
        assert told.argmax() == 1
        own = int(history.items[0])
        assert model.first.placed_by(history, own) is None
        assert not model.contributions(history, own).any()

    def test_shoppers_are_told_why(self) -> None:
        model = self.fitted(part_of(walks()))
        asked = part_of(walks(users=30, seed=5))
        exam = replace(asked, truth=pd.Series([["i00"]] * 30, dtype=object))
        told = shoppers(exam, model.predict(exam.frame), model)
        lines = [line for one in told for line in one["recommended"]]
        assert len(told) == 3
        assert len(lines) == 15
        because = [line["because"] for line in lines]
        assert all(found is not None for found in because)
        assert sum(map(bool, because)) >= 10

    def test_models_that_do_not_suit_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ease, "MOST_ITEMS", 5)
        told: list[str] = []
        part = part_of(walks())
        candidate = Reranked({**SIMPLE, "EASE": EASE()}, depth=12, rounds=5)
        model = candidate.fit(part, part, FitResources(log_progress=told.append))
        assert list(model.first.models) == list(SIMPLE)
        assert "EASE: left out, expected a catalogue of at most 5 items for EASE; got 40" in told[3]
        with pytest.raises(CandidateSkipped, match="at least one model"):
            Reranked({"EASE": EASE()}).fit(part, part, FitResources())

    def test_it_is_not_begun_where_it_would_not_end(self) -> None:
        part = part_of(walks())
        slow = replace(FAST, least=600.0)
        with pytest.raises(
            CandidateSkipped, match=r"at least 600 s .* got 179 s left of the budget; raise --budget by 421 s"
        ):
            slow.fit(part, part, FitResources(seconds=179.0))
        assert (
            slow.fit(part, part, FitResources(seconds=600.0)).trees
            == FAST.fit(part, part, FitResources()).trees
        )

    def test_without_time_ranks_are_fused(self) -> None:
        part = part_of(walks())
        model = FAST.fit(part, part, FitResources(seconds=0.0))
        assert model.stopped_by == "budget"
        assert RerankedModel.from_files(model.files()).stopped_by == "budget"
        assert self.hit_rate(model, walks(seed=1), 3) > 0.6

    def test_histories_without_times_come_back_from_a_file(self, tmp_path: Path) -> None:
        part = part_of(walks(), known=False)
        part.to_table().to_parquet(tmp_path / "part.parquet")
        back = Dataset.from_table(pd.read_parquet(tmp_path / "part.parquet"))
        assert self.fitted(back).files() == self.fitted(part).files()
