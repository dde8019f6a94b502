"""What every recommender does, on logs made for the purpose."""

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
from ml.interactions import catalogue as histories
from ml.interactions.catalogue import LIST_LENGTH, Catalogue
from ml.recommenders import content_based, ease
from ml.recommenders.als import ALS, ALSModel
from ml.recommenders.approximate_search import Approximate, Exact
from ml.recommenders.content_based import Content, ContentModel, tfidf
from ml.recommenders.ease import EASE, EASEModel
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.markov import Markov, MarkovModel, transitions
from ml.recommenders.popularity import Popularity, PopularityModel
from ml.recommenders.repeat_consumption import Habit, HabitModel

Recommender = Popularity | Habit | ItemKNN | Markov | EASE | ALS | Content
Recommendations = (
    PopularityModel | HabitModel | ItemKNNModel | MarkovModel | EASEModel | ALSModel | ContentModel
)
# Two factors for two tastes, so that there is one optimum and all starts lead to it.
TWO_FACTORS = ALS(factors=2, iterations=40)
PERSONAL: list[Recommender] = [
    ItemKNN(),
    ItemKNN(decay=None),
    Markov(),
    EASE(penalty=300.0),
    TWO_FACTORS,
    replace(TWO_FACTORS, decay=None),
    Content(),
    Content(decay=None),
]
CANDIDATES: list[Recommender] = [Popularity(), Popularity(days=2.5), Habit(), *PERSONAL]
DAY = 86_400.0

every_candidate = pytest.mark.parametrize("candidate", CANDIDATES, ids=str)
every_personal = pytest.mark.parametrize("candidate", PERSONAL, ids=str)


def frame_of(lists: dict[str, list[str]]) -> pd.DataFrame:
    """The events of a user are a day apart."""
    times = [[DAY * t for t in range(len(items))] for items in lists.values()]
    columns = {"items": list(lists.values()), "times": times}
    users = pd.Series(list(lists), dtype="str")
    return pd.DataFrame({"user": users, **{name: pd.Series(c, dtype=object) for name, c in columns.items()}})


def part(
    frame: pd.DataFrame, repeat: bool = False, attributes: dict[str, tuple[str, ...]] | None = None
) -> Dataset:
    """By default, the attributes of an item are its taste and, within it, its shelf: the first two of three letters."""
    if attributes is None:
        named = {item: item[-3:] for items in frame["items"] for item in items}
        attributes = {item: (f"taste={name[:1]}", f"shelf={name[:2]}") for item, name in named.items()}
    truth = pd.Series([[]] * len(frame), dtype=object)
    units = np.arange(len(frame), dtype=np.uint64)
    return Dataset(frame, truth, units, allow_repeats=repeat, item_attributes=attributes)


def fitted(
    candidate: Recommender, frame: pd.DataFrame, threads: int = 1, repeat: bool = False
) -> Recommendations:
    nothing = part(frame.iloc[:0])
    return candidate.fit(part(frame, repeat), nothing, FitResources(seed=7, threads=threads))


@cache
def clusters() -> pd.DataFrame:
    """Sixty users, each with half of the sixteen items of one taste, a or b, low numbers more often."""
    rng = np.random.default_rng(0)
    weight = np.arange(16.0, 0.0, -1.0) + 4.0
    lists = {}
    for user in range(60):
        taste = "ab"[user % 2]
        chosen = rng.choice(16, size=8, replace=False, p=weight / weight.sum())
        lists[f"user-{user:02}"] = [f"{taste}{item:02}" for item in chosen]
    return frame_of(lists)


@cache
def model_of(candidate: Recommender) -> Recommendations:
    return fitted(candidate, clusters())


def newcomers() -> pd.DataFrame:
    return frame_of({"v1": ["a03", "a00", "a07"], "v2": ["b01"], "v3": [], "v4": ["b15", "b02"], "v5": ["?"]})


def lists(prediction: pd.DataFrame) -> dict[str, list[str]]:
    return {str(user): rows["item"].tolist() for user, rows in prediction.groupby("user", sort=False)}


def by_pair(prediction: pd.DataFrame) -> pd.Series:
    return prediction.set_index(["user", "item"])["score"].sort_index()


def lands() -> pd.DataFrame:
    """The users of `clusters`: who likes a lives in A, who likes b in B, but for three of whom nothing is known."""
    frame = clusters()
    return frame.assign(segment=[None if row < 3 else "AB"[row % 2] for row in range(len(frame))])


@pytest.mark.parametrize("candidate", [Popularity(by_segment=True), *CANDIDATES], ids=str)
def test_who_is_new_gets_what_is_popular_in_the_own_segment(candidate: Recommender) -> None:
    frame = lands()
    model = fitted(candidate, frame)
    new = frame_of({"from a": [], "from b": ["?"], "from afar": [], "unknown": []})
    asked = new.assign(segment=["A", "B", "C", None])
    found = lists(model.predict(asked))
    assert {item[0] for item in found["from a"][:5]} == {"a"}
    assert {item[0] for item in found["from b"][:5]} == {"b"}
    everyone = lists(fitted(candidate, frame).predict(new))
    assert everyone["from a"] == found["from afar"] == found["unknown"]
    pd.testing.assert_frame_equal(
        type(model).from_files(model.files()).predict(asked), model.predict(asked), check_exact=True
    )
    if isinstance(candidate, Popularity) and candidate.by_segment:
        return
    # Whoever has a history is recommended the same, wherever they are from.
    known = newcomers().iloc[[0, 1, 3]]
    pd.testing.assert_frame_equal(
        model.predict(known.assign(segment=["B", "A", None])), model_of(candidate).predict(known)
    )


def test_popularity_by_segment_is_refused_where_there_is_none() -> None:
    with pytest.raises(CandidateSkipped, match=r"name a column of the log in meta\.roles\.segment"):
        fitted(Popularity(by_segment=True), clusters())


@pytest.mark.parametrize("candidate", [ItemKNN(), EASE(penalty=300.0)], ids=str)
def test_of_a_history_without_end_the_last_events_make_pairs(
    candidate: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program's hundred thousand events would make as many pairs as all shoppers of a year."""
    frame = clusters()
    short = frame.assign(
        items=frame["items"].map(lambda items: items[-6:]), times=frame["times"].map(lambda t: t[-6:])
    )
    expected, whole = fitted(candidate, short), model_of(candidate)
    monkeypatch.setattr(histories, "PAIRED", 6)
    found = fitted(candidate, frame)
    assert found.catalogue == whole.catalogue
    assert found.catalogue.items == expected.catalogue.items
    of = {
        name: [one for key, one in model.files().items() if key.endswith("data.npy")]
        for name, model in (("found", found), ("expected", expected), ("whole", whole))
    }
    assert of["found"] == of["expected"] != of["whole"]


@every_candidate
def test_lists_have_their_form(candidate: Recommender) -> None:
    prediction = model_of(candidate).predict(newcomers())
    assert list(prediction.columns) == ["user", "rank", "item", "score"]
    assert list(lists(prediction)) == newcomers()["user"].tolist()
    for _, rows in prediction.groupby("user"):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["score"].is_monotonic_decreasing
        assert rows["item"].is_unique
    assert np.isfinite(prediction["score"]).all()


@every_candidate
@pytest.mark.parametrize("repeat", [False, True], ids=["no repeats", "repeats"])
def test_blocked_items_are_never_listed_and_all_others_as_without(
    candidate: Recommender, repeat: bool
) -> None:
    """They still tell of tastes: v2 has nothing but a blocked item."""
    if isinstance(candidate, ItemKNN | EASE | ALS) and candidate.decay is None:
        # What is listed has a say in which decay is chosen.
        candidate = replace(candidate, decay=0.9)
    frame, asked = clusters(), newcomers()
    blocked = ("b01", "a03", "a04", "never sold")
    open_, barred = (
        candidate.fit(
            replace(part(frame, repeat), never_recommend=of), part(frame.iloc[:0]), FitResources(seed=7)
        )
        for of in ((), blocked)
    )
    assert barred.catalogue.blocked == ("a03", "a04", "b01")
    found, expected = barred.predict(asked), open_.predict(asked)
    assert not set(found["item"]) & set(blocked)
    kept = expected[~expected["item"].isin(blocked)].groupby("user")["item"].agg(list)
    for user, items in lists(found).items():
        assert items[: len(kept[user])] == kept[user]
    back = type(barred).from_files(barred.files())
    pd.testing.assert_frame_equal(back.predict(asked), found, check_exact=True)


@every_candidate
def test_where_everything_is_blocked_there_is_nothing_to_learn(candidate: Recommender) -> None:
    everything = replace(part(frame_of({"u": ["x", "y"]})), never_recommend=("x", "y"))
    with pytest.raises(ValueError, match=r"items, all of them blocked; look at meta\.blocked"):
        candidate.fit(everything, everything, FitResources())


@every_personal
def test_tastes_are_told_apart(candidate: Recommender) -> None:
    listed = lists(model_of(candidate).predict(newcomers()))
    assert {item[0] for item in listed["v1"][:13]} == {"a"}
    assert {item[0] for item in listed["v2"][:15]} == {"b"}
    assert {item[0] for item in listed["v4"][:14]} == {"b"}


def test_popularity_is_the_number_of_users() -> None:
    frame = frame_of({"u": ["x", "y", "x"], "v": ["y"], "w": ["y", "z"], "t": ["x"]})
    prediction = fitted(Popularity(), frame).predict(frame_of({"new": [], "seen": ["y"]}))
    assert lists(prediction) == {"new": ["y", "x", "z"], "seen": ["x", "z"]}
    assert prediction["score"].tolist() == [3, 2, 1, 2, 1]


def test_recent_popularity_forgets() -> None:
    frame = frame_of({"u": ["x", "y", "z"], "v": ["x"], "w": ["x", "z", "y", "q"]})
    prediction = fitted(Popularity(days=1.5), frame).predict(frame_of({"new": []}))
    # The last event is on day 3: days 2 and 3 have z of u, y and q of w.
    assert prediction["item"].tolist() == ["q", "y", "z", "x"]
    assert prediction["score"].tolist() == [1, 1, 1, 0]


def test_item_similarities_worked_out_by_hand() -> None:
    frame = frame_of({"u": ["x", "y"], "v": ["x", "y", "z"], "w": ["x"], "t": ["x", "z", "z"]})
    prediction = fitted(ItemKNN(shrink=2.0), frame).predict(frame_of({"one": ["y"], "two": ["x", "z", "x"]}))
    xy, yz = 2 / (np.sqrt(4 * 2) + 2), 1 / (np.sqrt(2 * 2) + 2)
    assert lists(prediction) == {"one": ["x", "z"], "two": ["y"]}
    np.testing.assert_allclose(prediction["score"], [xy, yz, xy + yz], rtol=1e-6)


@pytest.mark.parametrize("repeat", [False, True])
def test_item_neighbours_agree_with_a_dense_computation(repeat: bool) -> None:
    model = fitted(ItemKNN(neighbours=5, shrink=3.0), clusters(), repeat=repeat)
    assert isinstance(model, ItemKNNModel)
    had = (model.catalogue.counts(clusters()).toarray() > 0).astype(float)
    root = np.sqrt(had.sum(axis=0))
    cosine = had.T @ had / (np.outer(root, root) + 3.0)
    if not repeat:
        np.fill_diagonal(cosine, 0.0)
    kept = np.argsort(-cosine, axis=1, kind="stable")[:, :5]
    expected = np.zeros_like(cosine)
    np.put_along_axis(expected, kept, np.take_along_axis(cosine, kept, axis=1), axis=1)
    np.testing.assert_allclose(model.similarity.toarray(), expected, rtol=1e-6)


def test_history_without_neighbours_gets_what_is_popular() -> None:
    frame = frame_of({"u": ["lonely"], "v": ["x", "y"], "w": ["y"]})
    prediction = fitted(ItemKNN(), frame).predict(frame_of({"new": ["lonely"]}))
    assert prediction["item"].tolist() == ["y", "x"]
    assert prediction["score"].tolist() == [2, 1]


def test_user_factors_agree_with_implicit() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    model = model_of(ALS(factors=8))
    assert isinstance(model, ALSModel)
    counts = model.catalogue.counts(frame_of({"u": ["a01", "a01", "a02"], "v": ["b03"], "w": []}))
    with threadpool_limits(1, "blas"):
        reference = AlternatingLeastSquares(factors=8, regularization=0.1, alpha=10.0)
        reference.item_factors = model.item_factors
        expected = reference.recalculate_user(np.arange(3), sparse.csr_matrix(counts))
    np.testing.assert_allclose(model.user_factors(counts), expected, rtol=1e-3, atol=1e-4)


def test_user_factors_minimise_the_weighted_loss() -> None:
    """The gradient of Hu, Koren and Volinsky's objective, summed over all items, is nil."""
    model = model_of(ALS(factors=8))
    assert isinstance(model, ALSModel)
    counts = model.catalogue.counts(newcomers())
    X, Y, had = model.user_factors(counts), model.item_factors.astype(np.float64), counts.toarray()
    confidence = np.where(had > 0, model.alpha * had, 1.0)
    gradient = (confidence * ((had > 0) - X @ Y.T)) @ Y - model.regularization * X
    np.testing.assert_allclose(gradient, 0.0, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 40.0])
def test_user_factors_solve_the_equation_of_each_user(alpha: float) -> None:
    """Histories shorter and longer than the factors, with items had more than once."""
    rng = np.random.default_rng(5)
    lengths = [0, 1, 1, 7, 8, 9, 3, 30, 9]
    frame = frame_of({f"u{u}": [f"{i:02}" for i in rng.integers(0, 50, n)] for u, n in enumerate(lengths)})
    catalogue = Catalogue.of(frame)
    item_factors = rng.standard_normal((len(catalogue.items), 8)).astype(np.float32)
    model = ALSModel(catalogue, item_factors, 0.1, alpha, 1.0, False)
    counts, Y = catalogue.counts(frame).toarray(), item_factors.astype(np.float64)
    for row, found in zip(counts, model.user_factors(catalogue.counts(frame)), strict=True):
        confidence = np.where(row > 0, alpha * row, 1.0)
        expected = np.linalg.solve((Y.T * confidence) @ Y + 0.1 * np.eye(8), Y.T @ (alpha * row))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("repeat", [False, True])
def test_als_lists_are_those_of_its_scores(repeat: bool) -> None:
    model, frame = fitted(ALS(factors=8), clusters(), repeat=repeat), pd.concat([clusters(), newcomers()])
    assert isinstance(model, ALSModel)
    expected = model.catalogue.recommend(frame, model.scores, repeat)
    pd.testing.assert_frame_equal(model.predict(frame), expected, check_exact=True)


@pytest.mark.parametrize("blocked", [(), ("i0001", "i0900")], ids=["all", "some blocked"])
def test_als_finds_lists_of_a_large_catalogue_with_an_index_and_tells_its_recall(
    monkeypatch: pytest.MonkeyPatch, blocked: tuple[str, ...]
) -> None:
    pytest.importorskip("faiss", reason="the index library is optional")
    monkeypatch.setattr("ml.recommenders.als.LARGE", 900)
    rng = np.random.default_rng(0)
    frame = frame_of(
        {
            f"u{n:03}": [f"i{i:04}" for i in rng.choice(250, 12, replace=False) + 250 * (n % 4)]
            for n in range(400)
        }
    )
    told: list[str] = []
    learned = replace(part(frame), never_recommend=blocked)
    candidate = ALS(factors=8)
    model = candidate.fit(learned, learned, FitResources(seed=7, log_progress=told.append))
    assert isinstance(model.index, Approximate)
    assert told == [
        f"lists of {len(model.catalogue.items)} items: {model.index.recall:.1%} of the exact ones are found"
    ]
    prediction = model.predict(frame)
    exact = model.catalogue.recommend(frame, model.scores, False)
    assert not set(prediction["item"]) & set(blocked)
    both = prediction.merge(exact, on=["user", "item"], suffixes=("", " exact"))
    # The users of the sample are some of these.
    assert len(both) / len(exact) == pytest.approx(model.index.recall, abs=0.05)
    np.testing.assert_allclose(both["score"], both["score exact"], rtol=1e-5)
    back = ALSModel.from_files(model.files())
    pd.testing.assert_frame_equal(back.predict(frame), prediction, check_exact=True)
    # Whoever comes in another order, the index is the same.
    shuffled = replace(learned, frame=frame.iloc[::-1].reset_index(drop=True))
    again = candidate.fit(shuffled, shuffled, FitResources(seed=7))
    assert again.files()["sample.npy"] == model.files()["sample.npy"]
    monkeypatch.setattr("ml.recommenders.als.LARGE", 1000)
    assert isinstance(candidate.fit(learned, learned, FitResources(seed=7)).index, Exact)


def test_als_has_the_same_bits_for_any_number_of_threads() -> None:
    one, two = (fitted(ALS(factors=8), clusters(), threads) for threads in (1, 2))
    assert one.files() == two.files()


def test_als_stops_when_time_is_up() -> None:
    frame = part(clusters())
    stopped = ALS(factors=8).fit(frame, frame, FitResources(seed=7, seconds=0.0))
    once = ALS(factors=8, iterations=1).fit(frame, frame, FitResources(seed=7))
    assert stopped.files() == once.files()


@every_candidate
def test_seen_items_come_back_only_where_they_may(candidate: Recommender) -> None:
    frame = clusters()
    histories = frame.set_index("user")["items"]
    for user, items in lists(model_of(candidate).predict(frame)).items():
        assert len(items) == 24
        assert not set(items) & set(histories[user])
    for items in lists(fitted(candidate, frame, repeat=True).predict(frame)).values():
        assert len(items) == 32


def test_an_item_that_may_be_repeated_is_its_nearest_neighbour() -> None:
    model = fitted(ItemKNN(), clusters(), repeat=True)
    listed = lists(model.predict(frame_of({"new": ["b05", "b04"]})))
    assert set(listed["new"][:2]) == {"b05", "b04"}


@every_candidate
def test_the_same_inputs_give_the_same_model(candidate: Recommender) -> None:
    assert fitted(candidate, clusters()).files() == model_of(candidate).files()


@every_candidate
def test_neither_order_nor_company_of_users_matters(candidate: Recommender) -> None:
    model, frame = model_of(candidate), clusters()
    expected = lists(model.predict(frame))
    shuffled = frame.sample(frac=1.0, random_state=1)
    prediction = model.predict(shuffled)
    assert list(lists(prediction)) == shuffled["user"].tolist()
    assert lists(prediction) == expected
    pd.testing.assert_series_equal(by_pair(prediction), by_pair(model.predict(frame)))
    for row in range(3):
        assert lists(model.predict(frame.iloc[[row]])) == {frame["user"][row]: expected[frame["user"][row]]}


@every_candidate
def test_the_order_of_training_rows_does_not_matter(candidate: Recommender) -> None:
    shuffled = fitted(candidate, clusters().sample(frac=1.0, random_state=2)).predict(newcomers())
    expected = model_of(candidate).predict(newcomers())
    pd.testing.assert_series_equal(by_pair(shuffled), by_pair(expected), check_exact=True)


@every_candidate
@pytest.mark.parametrize("reverse", [False, True], ids=["same order", "other order"])
def test_names_are_only_names(candidate: Recommender, reverse: bool) -> None:
    """Renamed, users and items have the scores they had; where the order of items stays, so do ties."""

    def renamed(name: str) -> str:
        return "item " + ("".join(chr(0xFFFF - ord(letter)) for letter in name) if reverse else name)

    def rename(frame: pd.DataFrame, user: Callable[[str], str]) -> pd.DataFrame:
        items = pd.Series([[renamed(item) for item in items] for items in frame["items"]], dtype=object)
        return frame.assign(user=frame["user"].map(user), items=items)

    model = fitted(candidate, rename(clusters(), lambda user: user[::-1]))
    prediction = model.predict(rename(newcomers(), str.upper))
    expected = model_of(candidate).predict(newcomers())
    as_expected = expected.assign(user=expected["user"].str.upper(), item=expected["item"].map(renamed))
    if not reverse:
        pd.testing.assert_frame_equal(prediction, as_expected)
    # ALS begins elsewhere and comes near the same end.
    tolerance = 1e-3 if isinstance(candidate, ALS) else 1e-6
    pd.testing.assert_series_equal(by_pair(prediction), by_pair(as_expected), rtol=tolerance, atol=tolerance)


@every_candidate
def test_files_round_trip_and_name_no_user(candidate: Recommender) -> None:
    model = model_of(candidate)
    files = model.files()
    back = type(model).from_files(files)
    assert back.files() == files
    pd.testing.assert_frame_equal(back.predict(newcomers()), model.predict(newcomers()), check_exact=True)
    pd.testing.assert_frame_equal(back.predict(clusters()), model.predict(clusters()), check_exact=True)
    assert b"user" not in b"".join(files.values())


@every_candidate
def test_round_trip_keeps_repeat(candidate: Recommender) -> None:
    model = fitted(candidate, clusters(), repeat=True)
    back = type(model).from_files(model.files())
    pd.testing.assert_frame_equal(back.predict(clusters()), model.predict(clusters()), check_exact=True)


@every_candidate
def test_unknown_items_are_skipped_and_counted(candidate: Recommender) -> None:
    model = model_of(candidate)
    known = frame_of({"v": ["a01", "a04"]})
    more = frame_of({"v": ["?", "a01", "never", "a04", "?"]})
    assert model.unknown(known) == 0
    assert model.unknown(more) == 3
    pd.testing.assert_frame_equal(model.predict(more), model.predict(known))


@every_candidate
def test_without_a_known_item_what_is_popular_comes(candidate: Recommender) -> None:
    days = candidate.days
    expected = model_of(Popularity(days)).predict(frame_of({"v3": [], "v5": []}))
    prediction = model_of(candidate).predict(newcomers())
    rows = prediction[prediction["user"].isin(["v3", "v5"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected)


@every_personal
def test_what_is_popular_may_be_recent(candidate: Recommender) -> None:
    recent = fitted(replace(candidate, days=2.5), clusters())
    expected = model_of(Popularity(2.5)).predict(frame_of({"v3": []}))
    pd.testing.assert_frame_equal(recent.predict(frame_of({"v3": []})), expected)
    some = frame_of({"v1": ["a03", "b00"]})
    pd.testing.assert_frame_equal(recent.predict(some), model_of(candidate).predict(some))


@every_candidate
def test_no_users_get_no_rows(candidate: Recommender) -> None:
    prediction = model_of(candidate).predict(newcomers().iloc[:0])
    full = model_of(candidate).predict(newcomers())
    pd.testing.assert_series_equal(prediction.dtypes, full.dtypes)
    assert prediction.empty


@every_candidate
def test_who_has_everything_gets_nothing(candidate: Recommender) -> None:
    everything = sorted({item for items in clusters()["items"] for item in items})
    prediction = model_of(candidate).predict(frame_of({"all": everything, "most": everything[1:]}))
    assert lists(prediction) == {"most": ["a00"]}


@every_candidate
@pytest.mark.parametrize("history", [["x"], ["x", "x"], ["x", "y"]], ids=str)
def test_a_single_user_and_a_single_item_will_do(candidate: Recommender, history: list[str]) -> None:
    prediction = fitted(candidate, frame_of({"u": history})).predict(frame_of({"v": ["x"], "w": []}))
    assert lists(prediction).get("v", []) == sorted(set(history) - {"x"})
    assert set(lists(prediction)["w"]) == set(history)


@every_candidate
def test_lists_of_a_large_catalogue_are_cut(candidate: Recommender) -> None:
    rng = np.random.default_rng(3)
    many = {f"u{user}": [f"{i:03}" for i in rng.choice(200, 30, replace=False)] for user in range(30)}
    prediction = fitted(candidate, frame_of(many)).predict(frame_of(many))
    assert (prediction.groupby("user").size() == LIST_LENGTH).all()


@every_candidate
def test_nothing_to_learn_from_is_refused(candidate: Recommender) -> None:
    with pytest.raises(ValueError, match="at least one event"):
        fitted(candidate, frame_of({"u": []}))


def test_ease_agrees_with_its_formula() -> None:
    model = fitted(EASE(penalty=5.0, decay=0.5), clusters())
    assert isinstance(model, EASEModel)
    had = (model.catalogue.counts(clusters()).toarray() > 0).astype(float)
    P = np.linalg.inv(had.T @ had + 5.0 * np.eye(had.shape[1]))
    expected = P / -np.diag(P)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(model.weights.toarray(), expected, atol=1e-5)
    one = model.catalogue.sequences(frame_of({"u": ["a01", "b02", "a03"]}))
    rows = [model.catalogue.items.index(item) for item in ("a01", "b02", "a03")]
    scores = 0.25 * expected[rows[0]] + 0.5 * expected[rows[1]] + expected[rows[2]]
    np.testing.assert_allclose(model.scores(one)[0], scores, atol=1e-5)


def test_ease_solves_the_regression_that_it_stands_for() -> None:
    """The gradient of |X - XB|^2 + penalty |B|^2 is nil but on the diagonal, which is held at 0."""
    model = fitted(EASE(penalty=5.0, decay=1.0), clusters())
    assert isinstance(model, EASEModel)
    had, B = (model.catalogue.counts(clusters()).toarray() > 0).astype(float), model.weights.toarray()
    gradient = had.T @ (had @ B - had) + 5.0 * B
    np.fill_diagonal(gradient, 0.0)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)


def test_ease_keeps_the_largest_weights() -> None:
    whole, few = (fitted(EASE(penalty=5.0, neighbours=n), clusters()) for n in (500, 3))
    assert isinstance(whole, EASEModel)
    assert isinstance(few, EASEModel)
    dense = np.abs(whole.weights.toarray())
    assert (np.diff(few.weights.indptr) == 3).all()
    third = np.sort(dense, axis=1)[:, -3]
    kept = np.abs(few.weights.toarray())
    assert (np.where(kept > 0, kept, np.inf).min(axis=1) >= third - 1e-6).all()


def test_ease_refuses_a_catalogue_whose_matrix_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MOST_ITEMS", 31)
    with pytest.raises(CandidateSkipped, match="at most 31 items for EASE; got 32; use item-kNN or ALS"):
        fitted(EASE(), clusters())


def test_transitions_worked_out_by_hand() -> None:
    frame = frame_of({"u": ["x", "y", "z"], "v": ["x", "y"], "w": ["z"]})
    model = fitted(Markov(lags=2, lag_decay=0.5, shrink=1.0, last=2, decay=0.5), frame)
    assert isinstance(model, MarkovModel)
    x, y, z = range(3)
    expected = np.zeros((3, 3))
    expected[x, y], expected[x, z], expected[y, z] = 2.0 / 3.5, 0.5 / 3.5, 1.0 / 2.0
    np.testing.assert_allclose(model.follows.toarray(), expected, rtol=1e-6)
    histories = model.catalogue.sequences(frame_of({"u": ["z", "x", "y"]}))
    np.testing.assert_allclose(model.scores(histories)[0], 0.5 * expected[x] + expected[y], rtol=1e-6)


@pytest.mark.parametrize("lags", [1, 3])
def test_transitions_agree_with_a_loop(lags: int) -> None:
    model = model_of(Markov())
    histories = model.catalogue.sequences(clusters())
    expected = np.zeros((32, 32))
    for first, end in pairwise(histories.start):
        items = histories.items[first:end]
        for i in range(len(items)):
            for k in range(1, lags + 1):
                if i + k < len(items):
                    expected[items[i], items[i + k]] += 0.7 ** (k - 1)
    np.testing.assert_allclose(transitions(histories, lags, 0.7).toarray(), expected)


def test_habits_come_by_number_then_by_what_is_popular() -> None:
    frame = frame_of({"u": ["x", "y", "z"], "v": ["y"]})
    model = fitted(Habit(decay=0.9), frame, repeat=True)
    listed = lists(model.predict(frame_of({"new": ["z", "x", "z", "x", "z"], "later": ["x", "z"]})))
    assert listed == {"new": ["z", "x", "y"], "later": ["z", "x", "y"]}


@pytest.mark.parametrize(
    "candidate",
    [
        Habit(),
        ItemKNN(decay=None),
        Markov(),
        EASE(penalty=20.0),
        ALS(factors=4, decay=None),
        Content(decay=0.7),
    ],
    ids=str,
)
def test_contributions_of_the_history_sum_to_the_score(candidate: Recommender) -> None:
    model = fitted(candidate, clusters(), repeat=True)
    history = model.catalogue.sequences(frame_of({"u": ["a03", "a00", "b07", "a03"]}))
    scores = model.scores(history)[0]
    if isinstance(model, HabitModel):
        scores = scores - model._trend
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


def content_of(decay: float | None = 1.0, attributes: dict[str, tuple[str, ...]] = FILMS) -> ContentModel:
    """Of a log of five films; one more is known by its attributes only."""
    frame = frame_of({"u": ["alien", "moon"], "v": ["saw", "heat", "blank"], "w": ["heat"]})
    log = part(frame, attributes=attributes)
    return Content(decay).fit(log, log, FitResources())


def test_attributes_weigh_by_how_few_have_them() -> None:
    rows = tfidf(("alien", "heat", "moon", "nothing", "saw"), FILMS).toarray()
    # Crime of one in five; horror of two and space of two: the attributes in alphabetical order.
    half = np.sqrt(0.5)
    expected = [[0, half, half], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    weights = np.log([3 / 2, 3 / 1])
    mixed = tfidf(("x", "y", "z"), {"x": ("all", "a", "b"), "y": ("all", "a"), "z": ("all",)}).toarray()
    np.testing.assert_allclose(mixed[0], [weights[0], 0, weights[1]] / np.hypot(*weights), rtol=1e-12)
    # What is said of all tells nothing.
    np.testing.assert_allclose(mixed[1:], [[1, 0, 0], [0, 0, 0]], rtol=1e-12)


def test_likeness_worked_out_by_hand() -> None:
    model = content_of(0.5)
    histories = model.catalogue.sequences(frame_of({"n": ["moon", "alien"]}))
    horror, space = np.log(6 / 2), np.log(6 / 3)
    alien = np.array([horror, space]) / np.hypot(horror, space)
    taste = alien + 0.5 * np.array([0, 1])
    found = dict(zip(model.catalogue.items, model.scores(histories)[0], strict=True))
    assert found["saw"] == pytest.approx(taste[0])
    assert found["solaris"] == pytest.approx(taste[1])
    assert found["alien"] == pytest.approx(taste @ alien)
    assert found["heat"] == found["blank"] == 0


def test_an_item_that_nobody_had_is_found_by_its_attributes() -> None:
    model = content_of()
    assert model.catalogue.items == ("alien", "blank", "heat", "moon", "saw", "solaris")
    assert model.catalogue.popularity == (1, 1, 2, 1, 1, 0)
    prediction = model.predict(frame_of({"n": ["moon"], "fan": ["solaris"], "new": [], "odd": ["blank"]}))
    listed = lists(prediction)
    assert listed["n"][0] == "solaris"
    assert listed["fan"][0] == "moon"
    # Who is scored by popularity is offered first what somebody had.
    assert listed["new"][-1] == listed["odd"][-1] == "solaris"


def test_a_stock_list_is_no_shop_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_based, "MOST_ITEMS", 4)
    assert "solaris" not in content_of().catalogue.items


@pytest.mark.parametrize("attributes", [{}, {"other": ("genre=crime",)}, {"moon": ()}], ids=str)
@pytest.mark.parametrize("decay", [1.0, None])
def test_without_attributes_content_is_left_out(
    attributes: dict[str, tuple[str, ...]], decay: float | None
) -> None:
    with pytest.raises(
        CandidateSkipped, match=r"attributes of items; got none; name a side table.*meta\.items"
    ):
        content_of(decay, attributes)
