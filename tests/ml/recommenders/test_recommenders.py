"""Behaviour that all recommenders share, and the formulas of each, on small synthetic logs."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import FitResources
from ml.explanations.history_attribution import ExplainableModel
from ml.interactions import histories
from ml.interactions.catalogue import LIST_LENGTH, Catalogue
from ml.recommenders import content_based, ease
from ml.recommenders.als import ALS, ALSModel
from ml.recommenders.approximate_search import ExactIndex, IVFIndex
from ml.recommenders.content_based import ContentBased, ContentBasedModel, tfidf
from ml.recommenders.ease import EASE, EASEModel
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.markov import Markov, MarkovModel, transition_counts
from ml.recommenders.popularity import Popularity
from ml.recommenders.recommender_model import RecommenderModel
from ml.recommenders.repeat_consumption import RepeatConsumption, RepeatConsumptionModel

Recommender = Popularity | RepeatConsumption | ItemKNN | Markov | EASE | ALS | ContentBased
# Two factors for two tastes, so that there is one optimum and all starts lead to it.
TWO_FACTORS = ALS(factors=2, iterations=40)
PERSONALISED: list[Recommender] = [
    ItemKNN(),
    ItemKNN(decay=None),
    Markov(),
    EASE(penalty=300.0),
    TWO_FACTORS,
    replace(TWO_FACTORS, decay=None),
    ContentBased(),
    ContentBased(decay=None),
]
CANDIDATES: list[Recommender] = [
    Popularity(),
    Popularity(popularity_days=2.5),
    RepeatConsumption(),
    *PERSONALISED,
]
DAY = 86_400.0

each_candidate = pytest.mark.parametrize("candidate", CANDIDATES, ids=str)
each_personalised = pytest.mark.parametrize("candidate", PERSONALISED, ids=str)


def frame_of(lists: dict[str, list[str]]) -> pd.DataFrame:
    """Histories by user name; the events of a user are a day apart."""
    times = [[DAY * t for t in range(len(items))] for items in lists.values()]
    columns = {"items": list(lists.values()), "times": times}
    users = pd.Series(list(lists), dtype="str")
    return pd.DataFrame({"user": users, **{name: pd.Series(c, dtype=object) for name, c in columns.items()}})


def dataset_of(
    frame: pd.DataFrame, repeat: bool = False, attributes: dict[str, tuple[str, ...]] | None = None
) -> Dataset:
    """Item attributes are by default the first letter of an item's name (taste) and its first two letters (shelf)."""
    if attributes is None:
        names = {item: item[-3:] for items in frame["items"] for item in items}
        attributes = {item: (f"taste={name[:1]}", f"shelf={name[:2]}") for item, name in names.items()}
    truth = pd.Series([[]] * len(frame), dtype=object)
    units = np.arange(len(frame), dtype=np.uint64)
    return Dataset(frame, truth, units, allow_repeats=repeat, item_attributes=attributes)


def fit(
    candidate: Recommender, frame: pd.DataFrame, threads: int = 1, repeat: bool = False
) -> RecommenderModel:
    empty = dataset_of(frame.iloc[:0])
    return candidate.fit(dataset_of(frame, repeat), empty, FitResources(seed=7, threads=threads))


@cache
def clusters() -> pd.DataFrame:
    """Sixty users, each with 8 of the 16 items of one taste, a or b; low numbers are more frequent."""
    rng = np.random.default_rng(0)
    weight = np.arange(16.0, 0.0, -1.0) + 4.0
    lists = {}
    for user in range(60):
        taste = "ab"[user % 2]
        chosen = rng.choice(16, size=8, replace=False, p=weight / weight.sum())
        lists[f"user-{user:02}"] = [f"{taste}{item:02}" for item in chosen]
    return frame_of(lists)


@cache
def fitted_model(candidate: Recommender) -> RecommenderModel:
    return fit(candidate, clusters())


def new_users() -> pd.DataFrame:
    return frame_of({"v1": ["a03", "a00", "a07"], "v2": ["b01"], "v3": [], "v4": ["b15", "b02"], "v5": ["?"]})


def lists_by_user(prediction: pd.DataFrame) -> dict[str, list[str]]:
    return {str(user): rows["item"].tolist() for user, rows in prediction.groupby("user", sort=False)}


def scores_by_pair(prediction: pd.DataFrame) -> pd.Series:
    return prediction.set_index(["user", "item"])["score"].sort_index()


def clusters_with_segments() -> pd.DataFrame:
    """The users of `clusters`: those of taste a are in segment A, those of b in B, but three have no segment."""
    frame = clusters()
    return frame.assign(segment=[None if row < 3 else "AB"[row % 2] for row in range(len(frame))])


@pytest.mark.parametrize("candidate", [Popularity(by_segment=True), *CANDIDATES], ids=str)
def test_new_users_are_recommended_what_is_popular_in_their_segment(candidate: Recommender) -> None:
    frame = clusters_with_segments()
    model = fit(candidate, frame)
    new = frame_of({"in A": [], "in B": ["?"], "in C": [], "without": []})
    with_segments = new.assign(segment=["A", "B", "C", None])
    found = lists_by_user(model.predict(with_segments))
    assert {item[0] for item in found["in A"][:5]} == {"a"}
    assert {item[0] for item in found["in B"][:5]} == {"b"}
    without_segments = lists_by_user(fit(candidate, frame).predict(new))
    assert without_segments["in A"] == found["in C"] == found["without"]
    pd.testing.assert_frame_equal(
        type(model).from_files(model.files()).predict(with_segments),
        model.predict(with_segments),
        check_exact=True,
    )
    if isinstance(candidate, Popularity) and candidate.by_segment:
        return
    # Recommendations for users with a history do not depend on their segment.
    known = new_users().iloc[[0, 1, 3]]
    pd.testing.assert_frame_equal(
        model.predict(known.assign(segment=["B", "A", None])), fitted_model(candidate).predict(known)
    )


def test_popularity_by_segment_is_skipped_without_segments() -> None:
    with pytest.raises(CandidateSkipped, match=r"name a column of the log in meta\.roles\.segment"):
        fit(Popularity(by_segment=True), clusters())


@pytest.mark.parametrize("candidate", [ItemKNN(), EASE(penalty=300.0)], ids=str)
def test_only_the_last_events_of_very_long_histories_make_pairs(
    candidate: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot's hundred thousand events would make as many pairs as all users of a year."""
    frame = clusters()
    short = frame.assign(
        items=frame["items"].map(lambda items: items[-6:]), times=frame["times"].map(lambda t: t[-6:])
    )
    expected, unlimited = fit(candidate, short), fitted_model(candidate)
    monkeypatch.setattr(histories, "MAX_PAIR_EVENTS", 6)
    found = fit(candidate, frame)
    assert found.catalogue == unlimited.catalogue
    assert found.catalogue.items == expected.catalogue.items
    entries = {
        name: [data for file, data in model.files().items() if file.endswith("data.npy")]
        for name, model in (("found", found), ("expected", expected), ("unlimited", unlimited))
    }
    assert entries["found"] == entries["expected"] != entries["unlimited"]


@each_candidate
def test_predictions_have_ranked_lists_for_all_users(candidate: Recommender) -> None:
    prediction = fitted_model(candidate).predict(new_users())
    assert list(prediction.columns) == ["user", "rank", "item", "score"]
    assert list(lists_by_user(prediction)) == new_users()["user"].tolist()
    for _, rows in prediction.groupby("user"):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["score"].is_monotonic_decreasing
        assert rows["item"].is_unique
    assert np.isfinite(prediction["score"]).all()


@each_candidate
@pytest.mark.parametrize("repeat", [False, True], ids=["no repeats", "repeats"])
def test_blocked_items_are_never_listed_and_others_keep_their_order(
    candidate: Recommender, repeat: bool
) -> None:
    """Blocked items still count in histories: v2 has only a blocked item."""
    if isinstance(candidate, ItemKNN | EASE | ALS) and candidate.decay is None:
        # The decay is tuned on lists, which change with blocked items.
        candidate = replace(candidate, decay=0.9)
    frame, users = clusters(), new_users()
    blocked = ("b01", "a03", "a04", "never sold")
    unblocked_model, blocked_model = (
        candidate.fit(
            replace(dataset_of(frame, repeat), never_recommend=never_recommend),
            dataset_of(frame.iloc[:0]),
            FitResources(seed=7),
        )
        for never_recommend in ((), blocked)
    )
    assert blocked_model.catalogue.blocked_items == ("a03", "a04", "b01")
    found, expected = blocked_model.predict(users), unblocked_model.predict(users)
    assert not set(found["item"]) & set(blocked)
    kept = expected[~expected["item"].isin(blocked)].groupby("user")["item"].agg(list)
    for user, items in lists_by_user(found).items():
        assert items[: len(kept[user])] == kept[user]
    loaded = type(blocked_model).from_files(blocked_model.files())
    pd.testing.assert_frame_equal(loaded.predict(users), found, check_exact=True)


@each_candidate
def test_a_log_of_blocked_items_only_is_an_error(candidate: Recommender) -> None:
    dataset = replace(dataset_of(frame_of({"u": ["x", "y"]})), never_recommend=("x", "y"))
    with pytest.raises(ValueError, match=r"items, all of them blocked; check meta\.never_recommend"):
        candidate.fit(dataset, dataset, FitResources())


@each_personalised
def test_users_are_recommended_items_of_their_taste(candidate: Recommender) -> None:
    listed = lists_by_user(fitted_model(candidate).predict(new_users()))
    assert {item[0] for item in listed["v1"][:13]} == {"a"}
    assert {item[0] for item in listed["v2"][:15]} == {"b"}
    assert {item[0] for item in listed["v4"][:14]} == {"b"}


def test_popularity_counts_users() -> None:
    frame = frame_of({"u": ["x", "y", "x"], "v": ["y"], "w": ["y", "z"], "t": ["x"]})
    prediction = fit(Popularity(), frame).predict(frame_of({"new": [], "seen": ["y"]}))
    assert lists_by_user(prediction) == {"new": ["y", "x", "z"], "seen": ["x", "z"]}
    assert prediction["score"].tolist() == [3, 2, 1, 2, 1]


def test_recent_popularity_ignores_older_events() -> None:
    frame = frame_of({"u": ["x", "y", "z"], "v": ["x"], "w": ["x", "z", "y", "q"]})
    prediction = fit(Popularity(popularity_days=1.5), frame).predict(frame_of({"new": []}))
    # The last event is on day 3: on days 2 and 3, u had z, and w had y and q.
    assert prediction["item"].tolist() == ["q", "y", "z", "x"]
    assert prediction["score"].tolist() == [1, 1, 1, 0]


def test_item_similarities_match_a_hand_calculation() -> None:
    frame = frame_of({"u": ["x", "y"], "v": ["x", "y", "z"], "w": ["x"], "t": ["x", "z", "z"]})
    prediction = fit(ItemKNN(shrinkage=2.0), frame).predict(frame_of({"one": ["y"], "two": ["x", "z", "x"]}))
    xy, yz = 2 / (np.sqrt(4 * 2) + 2), 1 / (np.sqrt(2 * 2) + 2)
    assert lists_by_user(prediction) == {"one": ["x", "z"], "two": ["y"]}
    np.testing.assert_allclose(prediction["score"], [xy, yz, xy + yz], rtol=1e-6)


@pytest.mark.parametrize("repeat", [False, True])
def test_item_neighbours_match_a_dense_computation(repeat: bool) -> None:
    model = fit(ItemKNN(neighbours=5, shrinkage=3.0), clusters(), repeat=repeat)
    assert isinstance(model, ItemKNNModel)
    binary = (model.catalogue.encode(clusters()).count_matrix().toarray() > 0).astype(float)
    norms = np.sqrt(binary.sum(axis=0))
    cosine = binary.T @ binary / (np.outer(norms, norms) + 3.0)
    if not repeat:
        np.fill_diagonal(cosine, 0.0)
    kept = np.argsort(-cosine, axis=1, kind="stable")[:, :5]
    expected = np.zeros_like(cosine)
    np.put_along_axis(expected, kept, np.take_along_axis(cosine, kept, axis=1), axis=1)
    np.testing.assert_allclose(model.similarity.toarray(), expected, rtol=1e-6)


def test_histories_without_neighbours_are_recommended_what_is_popular() -> None:
    frame = frame_of({"u": ["lonely"], "v": ["x", "y"], "w": ["y"]})
    prediction = fit(ItemKNN(), frame).predict(frame_of({"new": ["lonely"]}))
    assert prediction["item"].tolist() == ["y", "x"]
    assert prediction["score"].tolist() == [2, 1]


def test_user_factors_match_implicit() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    model = fitted_model(ALS(factors=8))
    assert isinstance(model, ALSModel)
    counts = model.catalogue.encode(
        frame_of({"u": ["a01", "a01", "a02"], "v": ["b03"], "w": []})
    ).count_matrix()
    with threadpool_limits(1, "blas"):
        reference = AlternatingLeastSquares(factors=8, regularization=0.1, alpha=10.0)
        reference.item_factors = model.item_factors
        expected = reference.recalculate_user(np.arange(3), sparse.csr_matrix(counts))
    np.testing.assert_allclose(model.user_factors(counts), expected, rtol=1e-3, atol=1e-4)


def test_user_factors_minimise_the_weighted_loss() -> None:
    """The gradient of the objective of Hu, Koren and Volinsky, summed over all items, is 0."""
    model = fitted_model(ALS(factors=8))
    assert isinstance(model, ALSModel)
    counts = model.catalogue.encode(new_users()).count_matrix()
    X, Y, count_matrix = model.user_factors(counts), model.item_factors.astype(np.float64), counts.toarray()
    confidence = np.where(count_matrix > 0, model.alpha * count_matrix, 1.0)
    gradient = (confidence * ((count_matrix > 0) - X @ Y.T)) @ Y - model.regularization * X
    np.testing.assert_allclose(gradient, 0.0, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 40.0])
def test_user_factors_solve_the_normal_equation_of_each_user(alpha: float) -> None:
    """Histories have fewer or more items than factors, and some items several times."""
    rng = np.random.default_rng(5)
    lengths = [0, 1, 1, 7, 8, 9, 3, 30, 9]
    frame = frame_of({f"u{u}": [f"{i:02}" for i in rng.integers(0, 50, n)] for u, n in enumerate(lengths)})
    catalogue = Catalogue.from_frame(frame)
    item_factors = rng.standard_normal((len(catalogue.items), 8)).astype(np.float32)
    model = ALSModel(catalogue, False, item_factors, regularization=0.1, alpha=alpha, decay=1.0)
    counts, Y = catalogue.encode(frame).count_matrix().toarray(), item_factors.astype(np.float64)
    for row, found in zip(counts, model.user_factors(catalogue.encode(frame).count_matrix()), strict=True):
        confidence = np.where(row > 0, alpha * row, 1.0)
        expected = np.linalg.solve((Y.T * confidence) @ Y + 0.1 * np.eye(8), Y.T @ (alpha * row))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("repeat", [False, True])
def test_als_lists_equal_those_of_its_scores(repeat: bool) -> None:
    model, frame = fit(ALS(factors=8), clusters(), repeat=repeat), pd.concat([clusters(), new_users()])
    assert isinstance(model, ALSModel)
    expected = model.catalogue.recommend(frame, model.scores, repeat)
    pd.testing.assert_frame_equal(model.predict(frame), expected, check_exact=True)


@pytest.mark.parametrize("blocked", [(), ("i0001", "i0900")], ids=["all", "some blocked"])
def test_als_uses_an_index_for_a_large_catalogue_and_logs_its_recall(
    monkeypatch: pytest.MonkeyPatch, blocked: tuple[str, ...]
) -> None:
    pytest.importorskip("faiss", reason="the index library is optional")
    monkeypatch.setattr("ml.recommenders.als.MAX_EXACT_ITEMS", 900)
    rng = np.random.default_rng(0)
    frame = frame_of(
        {
            f"u{n:03}": [f"i{i:04}" for i in rng.choice(250, 12, replace=False) + 250 * (n % 4)]
            for n in range(400)
        }
    )
    log: list[str] = []
    train = replace(dataset_of(frame), never_recommend=blocked)
    candidate = ALS(factors=8)
    model = candidate.fit(train, train, FitResources(seed=7, log_progress=log.append))
    assert isinstance(model.index, IVFIndex)
    assert log == [f"search index over {len(model.catalogue.items)} items: recall {model.index.recall:.1%}"]
    prediction = model.predict(frame)
    exact = model.catalogue.recommend(frame, model.scores, False)
    assert not set(prediction["item"]) & set(blocked)
    both = prediction.merge(exact, on=["user", "item"], suffixes=("", " exact"))
    # The sample of the index is drawn from the same users.
    assert len(both) / len(exact) == pytest.approx(model.index.recall, abs=0.05)
    np.testing.assert_allclose(both["score"], both["score exact"], rtol=1e-5)
    loaded = ALSModel.from_files(model.files())
    pd.testing.assert_frame_equal(loaded.predict(frame), prediction, check_exact=True)
    # The index does not depend on the order of users.
    shuffled = replace(train, frame=frame.iloc[::-1].reset_index(drop=True))
    again = candidate.fit(shuffled, shuffled, FitResources(seed=7))
    assert again.files()["index_sample.npy"] == model.files()["index_sample.npy"]
    monkeypatch.setattr("ml.recommenders.als.MAX_EXACT_ITEMS", 1000)
    assert isinstance(candidate.fit(train, train, FitResources(seed=7)).index, ExactIndex)


def test_als_does_not_depend_on_the_number_of_threads() -> None:
    single_thread, two_threads = (fit(ALS(factors=8), clusters(), threads) for threads in (1, 2))
    assert single_thread.files() == two_threads.files()


def test_als_stops_after_one_iteration_when_time_is_up() -> None:
    train = dataset_of(clusters())
    stopped = ALS(factors=8).fit(train, train, FitResources(seed=7, seconds=0.0))
    one_iteration = ALS(factors=8, iterations=1).fit(train, train, FitResources(seed=7))
    assert stopped.files() == one_iteration.files()


@each_candidate
def test_items_of_the_history_are_listed_only_if_repeats_are_allowed(candidate: Recommender) -> None:
    frame = clusters()
    histories = frame.set_index("user")["items"]
    for user, items in lists_by_user(fitted_model(candidate).predict(frame)).items():
        assert len(items) == 24
        assert not set(items) & set(histories[user])
    for items in lists_by_user(fit(candidate, frame, repeat=True).predict(frame)).values():
        assert len(items) == 32


def test_with_repeats_an_item_is_its_own_nearest_neighbour() -> None:
    model = fit(ItemKNN(), clusters(), repeat=True)
    listed = lists_by_user(model.predict(frame_of({"new": ["b05", "b04"]})))
    assert set(listed["new"][:2]) == {"b05", "b04"}


@each_candidate
def test_equal_inputs_give_equal_models(candidate: Recommender) -> None:
    assert fit(candidate, clusters()).files() == fitted_model(candidate).files()


@each_candidate
def test_predictions_do_not_depend_on_order_or_other_users(candidate: Recommender) -> None:
    model, frame = fitted_model(candidate), clusters()
    expected = lists_by_user(model.predict(frame))
    shuffled = frame.sample(frac=1.0, random_state=1)
    prediction = model.predict(shuffled)
    assert list(lists_by_user(prediction)) == shuffled["user"].tolist()
    assert lists_by_user(prediction) == expected
    pd.testing.assert_series_equal(scores_by_pair(prediction), scores_by_pair(model.predict(frame)))
    for row in range(3):
        assert lists_by_user(model.predict(frame.iloc[[row]])) == {
            frame["user"][row]: expected[frame["user"][row]]
        }


@each_candidate
def test_models_do_not_depend_on_the_order_of_training_rows(candidate: Recommender) -> None:
    shuffled = fit(candidate, clusters().sample(frac=1.0, random_state=2)).predict(new_users())
    expected = fitted_model(candidate).predict(new_users())
    pd.testing.assert_series_equal(scores_by_pair(shuffled), scores_by_pair(expected), check_exact=True)


@each_candidate
@pytest.mark.parametrize("reverse", [False, True], ids=["same order", "other order"])
def test_scores_do_not_depend_on_names(candidate: Recommender, reverse: bool) -> None:
    """Renamed users and items keep their scores; ties keep their order where items do."""

    def renamed(name: str) -> str:
        return "item " + ("".join(chr(0xFFFF - ord(letter)) for letter in name) if reverse else name)

    def rename(frame: pd.DataFrame, user: Callable[[str], str]) -> pd.DataFrame:
        items = pd.Series([[renamed(item) for item in items] for items in frame["items"]], dtype=object)
        return frame.assign(user=frame["user"].map(user), items=items)

    model = fit(candidate, rename(clusters(), lambda user: user[::-1]))
    prediction = model.predict(rename(new_users(), str.upper))
    expected = fitted_model(candidate).predict(new_users())
    as_expected = expected.assign(user=expected["user"].str.upper(), item=expected["item"].map(renamed))
    if not reverse:
        pd.testing.assert_frame_equal(prediction, as_expected)
    # ALS starts from other random factors and ends near the same optimum.
    tolerance = 1e-3 if isinstance(candidate, ALS) else 1e-6
    pd.testing.assert_series_equal(
        scores_by_pair(prediction), scores_by_pair(as_expected), rtol=tolerance, atol=tolerance
    )


@each_candidate
def test_files_round_trip_and_contain_no_user_names(candidate: Recommender) -> None:
    model = fitted_model(candidate)
    files = model.files()
    loaded = type(model).from_files(files)
    assert loaded.files() == files
    pd.testing.assert_frame_equal(loaded.predict(new_users()), model.predict(new_users()), check_exact=True)
    pd.testing.assert_frame_equal(loaded.predict(clusters()), model.predict(clusters()), check_exact=True)
    assert b"user" not in b"".join(files.values())


@each_candidate
def test_files_round_trip_keeps_allow_repeats(candidate: Recommender) -> None:
    model = fit(candidate, clusters(), repeat=True)
    loaded = type(model).from_files(model.files())
    pd.testing.assert_frame_equal(loaded.predict(clusters()), model.predict(clusters()), check_exact=True)


@each_candidate
def test_events_with_unknown_items_are_ignored_and_counted(candidate: Recommender) -> None:
    model = fitted_model(candidate)
    known = frame_of({"v": ["a01", "a04"]})
    more = frame_of({"v": ["?", "a01", "never", "a04", "?"]})
    assert model.count_unknown_events(known) == 0
    assert model.count_unknown_events(more) == 3
    pd.testing.assert_frame_equal(model.predict(more), model.predict(known))


@each_candidate
def test_users_without_known_items_are_recommended_what_is_popular(candidate: Recommender) -> None:
    expected = fitted_model(Popularity(candidate.popularity_days)).predict(frame_of({"v3": [], "v5": []}))
    prediction = fitted_model(candidate).predict(new_users())
    rows = prediction[prediction["user"].isin(["v3", "v5"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected)


@each_personalised
def test_popularity_days_limit_the_fallback_to_recent_events(candidate: Recommender) -> None:
    recent = fit(replace(candidate, popularity_days=2.5), clusters())
    expected = fitted_model(Popularity(2.5)).predict(frame_of({"v3": []}))
    pd.testing.assert_frame_equal(recent.predict(frame_of({"v3": []})), expected)
    with_history = frame_of({"v1": ["a03", "b00"]})
    pd.testing.assert_frame_equal(recent.predict(with_history), fitted_model(candidate).predict(with_history))


@each_candidate
def test_an_empty_frame_gives_an_empty_prediction(candidate: Recommender) -> None:
    prediction = fitted_model(candidate).predict(new_users().iloc[:0])
    full = fitted_model(candidate).predict(new_users())
    pd.testing.assert_series_equal(prediction.dtypes, full.dtypes)
    assert prediction.empty


@each_candidate
def test_users_who_had_everything_get_no_list(candidate: Recommender) -> None:
    all_items = sorted({item for items in clusters()["items"] for item in items})
    prediction = fitted_model(candidate).predict(frame_of({"all": all_items, "most": all_items[1:]}))
    assert lists_by_user(prediction) == {"most": ["a00"]}


@each_candidate
@pytest.mark.parametrize("history", [["x"], ["x", "x"], ["x", "y"]], ids=str)
def test_one_user_and_one_item_are_enough(candidate: Recommender, history: list[str]) -> None:
    prediction = fit(candidate, frame_of({"u": history})).predict(frame_of({"v": ["x"], "w": []}))
    assert lists_by_user(prediction).get("v", []) == sorted(set(history) - {"x"})
    assert set(lists_by_user(prediction)["w"]) == set(history)


@each_candidate
def test_lists_have_at_most_list_length_items(candidate: Recommender) -> None:
    rng = np.random.default_rng(3)
    log = {f"u{user}": [f"{i:03}" for i in rng.choice(200, 30, replace=False)] for user in range(30)}
    prediction = fit(candidate, frame_of(log)).predict(frame_of(log))
    assert (prediction.groupby("user").size() == LIST_LENGTH).all()


@each_candidate
def test_a_log_without_events_is_an_error(candidate: Recommender) -> None:
    with pytest.raises(ValueError, match="at least one event"):
        fit(candidate, frame_of({"u": []}))


def test_ease_matches_its_formula() -> None:
    model = fit(EASE(penalty=5.0, decay=0.5), clusters())
    assert isinstance(model, EASEModel)
    binary = (model.catalogue.encode(clusters()).count_matrix().toarray() > 0).astype(float)
    P = np.linalg.inv(binary.T @ binary + 5.0 * np.eye(binary.shape[1]))
    expected = P / -np.diag(P)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(model.item_weights.toarray(), expected, atol=1e-5)
    history = model.catalogue.encode(frame_of({"u": ["a01", "b02", "a03"]}))
    rows = [model.catalogue.items.index(item) for item in ("a01", "b02", "a03")]
    scores = 0.25 * expected[rows[0]] + 0.5 * expected[rows[1]] + expected[rows[2]]
    np.testing.assert_allclose(model.scores(history)[0], scores, atol=1e-5)


def test_ease_solves_its_ridge_regression() -> None:
    """The gradient of |X - XB|^2 + penalty |B|^2 is 0 outside the diagonal, which is fixed at 0."""
    model = fit(EASE(penalty=5.0, decay=1.0), clusters())
    assert isinstance(model, EASEModel)
    binary, B = (
        (model.catalogue.encode(clusters()).count_matrix().toarray() > 0).astype(float),
        model.item_weights.toarray(),
    )
    gradient = binary.T @ (binary @ B - binary) + 5.0 * B
    np.fill_diagonal(gradient, 0.0)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)


def test_ease_keeps_the_largest_weights() -> None:
    full_model, pruned_model = (fit(EASE(penalty=5.0, neighbours=n), clusters()) for n in (500, 3))
    assert isinstance(full_model, EASEModel)
    assert isinstance(pruned_model, EASEModel)
    dense = np.abs(full_model.item_weights.toarray())
    assert (np.diff(pruned_model.item_weights.indptr) == 3).all()
    third = np.sort(dense, axis=1)[:, -3]
    kept = np.abs(pruned_model.item_weights.toarray())
    assert (np.where(kept > 0, kept, np.inf).min(axis=1) >= third - 1e-6).all()


def test_ease_is_skipped_for_a_catalogue_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MAX_ITEMS", 31)
    with pytest.raises(CandidateSkipped, match="at most 31 items for EASE; got 32; use item-kNN or ALS"):
        fit(EASE(), clusters())


def test_markov_scores_match_a_hand_calculation() -> None:
    frame = frame_of({"u": ["x", "y", "z"], "v": ["x", "y"], "w": ["z"]})
    model = fit(Markov(max_lag=2, lag_decay=0.5, shrinkage=1.0, last_events=2, decay=0.5), frame)
    assert isinstance(model, MarkovModel)
    x, y, z = range(3)
    expected = np.zeros((3, 3))
    expected[x, y], expected[x, z], expected[y, z] = 2.0 / 3.5, 0.5 / 3.5, 1.0 / 2.0
    np.testing.assert_allclose(model.transition_shares.toarray(), expected, rtol=1e-6)
    histories = model.catalogue.encode(frame_of({"u": ["z", "x", "y"]}))
    np.testing.assert_allclose(model.scores(histories)[0], 0.5 * expected[x] + expected[y], rtol=1e-6)


@pytest.mark.parametrize("lags", [1, 3])
def test_transition_counts_match_a_loop(lags: int) -> None:
    model = fitted_model(Markov())
    histories = model.catalogue.encode(clusters())
    expected = np.zeros((32, 32))
    for first, end in pairwise(histories.offsets):
        items = histories.items[first:end]
        for i in range(len(items)):
            for k in range(1, lags + 1):
                if i + k < len(items):
                    expected[items[i], items[i + k]] += 0.7 ** (k - 1)
    np.testing.assert_allclose(transition_counts(histories, lags, 0.7).toarray(), expected)


def test_repeat_consumption_ranks_own_items_by_count_then_others_by_popularity() -> None:
    frame = frame_of({"u": ["x", "y", "z"], "v": ["y"]})
    model = fit(RepeatConsumption(decay=0.9), frame, repeat=True)
    listed = lists_by_user(model.predict(frame_of({"new": ["z", "x", "z", "x", "z"], "later": ["x", "z"]})))
    assert listed == {"new": ["z", "x", "y"], "later": ["z", "x", "y"]}


@pytest.mark.parametrize(
    "candidate",
    [
        RepeatConsumption(),
        ItemKNN(decay=None),
        Markov(),
        EASE(penalty=20.0),
        ALS(factors=4, decay=None),
        ContentBased(decay=0.7),
    ],
    ids=str,
)
def test_contributions_sum_to_the_score(candidate: Recommender) -> None:
    model = fit(candidate, clusters(), repeat=True)
    history = model.catalogue.encode(frame_of({"u": ["a03", "a00", "b07", "a03"]}))
    scores = model.scores(history)[0]
    if isinstance(model, RepeatConsumptionModel):
        scores = scores - model._popularity_scores
    assert isinstance(model, ExplainableModel)
    assert isinstance(model, ExplainableModel)
    for code in (0, 5, 20):
        assert model.contributions(history, code).sum() == pytest.approx(scores[code], abs=1e-5)


FILMS = {
    "alien": ("genre=horror", "genre=space"),
    "moon": ("genre=space",),
    "saw": ("genre=horror",),
    "heat": ("genre=crime",),
    "solaris": ("genre=space",),
    "blank": (),
}


def fit_content(
    decay: float | None = 1.0, attributes: dict[str, tuple[str, ...]] = FILMS
) -> ContentBasedModel:
    """A model of a log with five films; a sixth has attributes only."""
    frame = frame_of({"u": ["alien", "moon"], "v": ["saw", "heat", "blank"], "w": ["heat"]})
    log = dataset_of(frame, attributes=attributes)
    return ContentBased(decay).fit(log, log, FitResources())


def test_rare_attributes_have_higher_weights() -> None:
    rows = tfidf(("alien", "heat", "moon", "nothing", "saw"), FILMS).toarray()
    # Columns in alphabetical order: crime of one item in five, horror of two, space of two.
    half = np.sqrt(0.5)
    expected = [[0, half, half], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    weights = np.log([3 / 2, 3 / 1])
    mixed = tfidf(("x", "y", "z"), {"x": ("all", "a", "b"), "y": ("all", "a"), "z": ("all",)}).toarray()
    np.testing.assert_allclose(mixed[0], [weights[0], 0, weights[1]] / np.hypot(*weights), rtol=1e-12)
    # An attribute of all items has weight 0.
    np.testing.assert_allclose(mixed[1:], [[1, 0, 0], [0, 0, 0]], rtol=1e-12)


def test_content_scores_match_a_hand_calculation() -> None:
    model = fit_content(0.5)
    histories = model.catalogue.encode(frame_of({"n": ["moon", "alien"]}))
    horror, space = np.log(6 / 2), np.log(6 / 3)
    alien = np.array([horror, space]) / np.hypot(horror, space)
    profile = alien + 0.5 * np.array([0, 1])
    found = dict(zip(model.catalogue.items, model.scores(histories)[0], strict=True))
    assert found["saw"] == pytest.approx(profile[0])
    assert found["solaris"] == pytest.approx(profile[1])
    assert found["alien"] == pytest.approx(profile @ alien)
    assert found["heat"] == found["blank"] == 0


def test_items_that_nobody_had_are_recommended_by_their_attributes() -> None:
    model = fit_content()
    assert model.catalogue.items == ("alien", "blank", "heat", "moon", "saw", "solaris")
    assert model.catalogue.popularity == (1, 1, 2, 1, 1, 0)
    prediction = model.predict(frame_of({"n": ["moon"], "fan": ["solaris"], "new": [], "odd": ["blank"]}))
    listed = lists_by_user(prediction)
    assert listed["n"][0] == "solaris"
    assert listed["fan"][0] == "moon"
    # For users scored by popularity, items that nobody had come last.
    assert listed["new"][-1] == listed["odd"][-1] == "solaris"


def test_too_many_attributed_items_leave_out_those_that_nobody_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_based, "MAX_ITEMS", 4)
    assert "solaris" not in fit_content().catalogue.items


@pytest.mark.parametrize("attributes", [{}, {"other": ("genre=crime",)}, {"moon": ()}], ids=str)
@pytest.mark.parametrize("decay", [1.0, None])
def test_content_based_is_skipped_without_attributes(
    attributes: dict[str, tuple[str, ...]], decay: float | None
) -> None:
    with pytest.raises(
        CandidateSkipped, match=r"attributes of items; got none; name a side table.*meta\.item_attributes"
    ):
        fit_content(decay, attributes)
