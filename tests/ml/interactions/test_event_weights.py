"""Event weights: they stay with their events, and one heavy event outweighs several light ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources, Model
from ml.explanations.history_attribution import (
    ExplainableModel,
    ItemScorer,
    explain_recommendations,
    occlusion_contributions,
)
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.holdout import HoldoutPolicy, hold_out
from ml.recommenders.als import ALS, ALSModel
from ml.recommenders.ease import EASE, EASEModel
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.markov import Markov
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import RepeatConsumption
from ml.recommenders.transformer.batches import leave_last_out, sorted_by_content
from ml.reranking.pair_features import PairFeatures
from ml.reranking.reranker import Reranker

FIRST_STAGE: dict[str, Candidate] = {"item-kNN": ItemKNN(), "Markov": Markov()}
SINGLE_FIT: list[Candidate] = [
    Popularity(),
    RepeatConsumption(),
    ItemKNN(decay=0.8),
    Markov(),
    EASE(decay=0.9),
    ALS(factors=4, decay=0.8),
]
CANDIDATES = [
    *SINGLE_FIT,
    ItemKNN(decay=None),
    ALS(factors=4, decay=None),
    Reranker(FIRST_STAGE, rounds=10),
]


def frame_of(lists: list[list[str]], weights: list[list[float]] | None = None) -> pd.DataFrame:
    users = pd.Series([f"u{n:02}" for n in range(len(lists))], dtype="str")
    times = [[float(t) for t in range(len(items))] for items in lists]
    columns = {"items": lists, "times": times} | ({} if weights is None else {"weights": weights})
    return pd.DataFrame({"user": users, **{name: pd.Series(c, dtype=object) for name, c in columns.items()}})


def dataset_of(frame: pd.DataFrame, allow_repeats: bool = False) -> Dataset:
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), allow_repeats=allow_repeats)


def fitted(candidate: Candidate, frame: pd.DataFrame, allow_repeats: bool = False) -> Model:
    train = dataset_of(frame, allow_repeats)
    return candidate.fit(train, train, FitResources(seed=3))


def scores(model: Model, items: list[str], weights: list[float] | None = None) -> dict[str, float]:
    """Return the score of each item of the catalogue for one history."""
    assert isinstance(model, ItemScorer)
    frame = frame_of([items], None if weights is None else [weights])
    found = model.scores(model.catalogue.encode(frame))[0]
    return dict(zip(model.catalogue.items, map(float, found), strict=True))


def two_tastes() -> list[list[str]]:
    """Return sixty histories of two tastes; some have an item several times."""
    rng = np.random.default_rng(4)
    return [[f"{'ab'[n % 2]}{i:02}" for i in rng.choice(12, 7)] for n in range(60)]


def random_weights(lists: list[list[str]]) -> list[list[float]]:
    rng = np.random.default_rng(5)
    return [rng.choice([0.25, 0.5, 1.0, 3.0], len(items)).tolist() for items in lists]


# --- histories ---------------------------------------------------------------------------------------------------


def weighted_histories() -> Histories:
    """Return histories of three users; the catalogue lacks one item of the first one."""
    catalogue = Catalogue(("a", "b"), (1, 1))
    frame = frame_of([["a", "?", "b"], [], ["b", "b", "a"]], [[1.0, 2.0, 3.0], [], [4.0, 5.0, 6.0]])
    return catalogue.encode(frame)


def test_weights_stay_with_their_events() -> None:
    histories = weighted_histories()
    assert histories.weights.tolist() == [1, 3, 4, 5, 6]
    assert histories.slice_users(slice(1, 3)).weights.tolist() == [4, 5, 6]
    assert histories.filter_events(histories.items == 1).weights.tolist() == [3, 4, 5]
    assert histories.decayed_weights(0.5).tolist() == [0.5, 3, 1, 2.5, 6]
    ordered = sorted_by_content(histories)
    assert sorted(zip(ordered.items, ordered.weights, strict=True)) == sorted(
        zip(histories.items, histories.weights, strict=True)
    )
    rest, _, targets = leave_last_out(
        Catalogue(("a",), (1,)).encode(frame_of([["a"] * 4] * 4, [[1.0, 2.0, 3.0, 4.0]] * 4)),
        np.random.default_rng(0),
    )
    assert (targets >= 0).sum() == 1
    assert sorted(rest.weights) == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 3


def test_without_weights_each_event_has_weight_one() -> None:
    histories = Catalogue(("a", "b"), (1, 1)).encode(frame_of([["a", "b"], ["b"]]))
    assert histories.weights.tolist() == [1, 1, 1]
    assert histories.weights.dtype == np.float64
    assert histories.slice_users(slice(1, 2)).weights.tolist() == [1]
    assert histories.filter_events(np.array([True, False, True])).weights.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0], [1.0]], "lists of other lengths"),
        ([[1.0, 1.0, 1.0], []], "lists of other lengths"),
        ([[1.0, 0.0], [1.0]], "got 1 others"),
        ([[-1.0, np.nan], [np.inf]], "got 3 others"),
    ],
    ids=str,
)
def test_invalid_weights_are_rejected(weights: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Catalogue(("a", "b"), (1, 1)).encode(frame_of([["a", "b"], ["b"]], weights))


weighted_events = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.5, 1.0, 2.0])), max_size=6)


@given(st.lists(weighted_events, max_size=4))
def test_max_weight_mask_marks_the_last_of_the_heaviest_events_of_each_pair(
    users: list[list[tuple[str, float]]],
) -> None:
    frame = frame_of([[item for item, _ in user] for user in users], [[w for _, w in user] for user in users])
    histories = Catalogue(("a", "b"), (1, 1)).encode(frame)
    expected = []
    for user in users:
        best = {
            item: max((weight, n) for n, (other, weight) in enumerate(user) if other == item)[1]
            for item, _ in user
        }
        expected += [n in best.values() for n in range(len(user))]
    assert histories.max_weight_mask(histories.weights).tolist() == expected


@pytest.mark.parametrize("policy", ["last", "time"])
def test_weights_are_held_out_with_their_events(policy: HoldoutPolicy) -> None:
    train = dataset_of(frame_of([["a", "b", "c", "d"], ["a"]], [[1.0, 2.0, 3.0, 4.0], [5.0]]))
    histories, targets = hold_out(train, policy, 0.2, 0)
    assert histories.frame["weights"].tolist() == [[1.0, 2.0, 3.0], [5.0]]
    assert targets.tolist() == [["d"], []]


# --- models by hand ----------------------------------------------------------------------------------------------


def test_repeat_consumption_sums_weights() -> None:
    model = fitted(RepeatConsumption(decay=1.0), frame_of([["a", "b"]]), allow_repeats=True)
    # Both items are equally popular, which is the 0.0001.
    assert scores(model, ["a", "a", "b"]) == pytest.approx({"a": 2.0001, "b": 1.0001})
    assert scores(model, ["a", "a", "b"], [0.5, 0.5, 3.0]) == pytest.approx({"a": 1.0001, "b": 3.0001})


def test_item_knn_weights_similarities() -> None:
    model = fitted(ItemKNN(shrinkage=1.0), frame_of([["x", "y"], ["z", "y"], ["p", "q"]]))
    similarity = 1 / (np.sqrt(2) + 1)
    weighted = scores(model, ["x", "z", "p"], [0.5, 0.5, 3.0])
    assert weighted == pytest.approx({"x": 0, "z": 0, "p": 0, "y": similarity, "q": 3 / 2}, rel=1e-6)
    assert scores(model, ["x", "z", "p"])["y"] == pytest.approx(2 * similarity, rel=1e-6)


def test_item_knn_uses_the_event_of_the_highest_decayed_weight_per_item() -> None:
    """A later light event does not lower a score: 3 x 0.5 counts, and not 1."""
    model = fitted(ItemKNN(shrinkage=1.0, decay=0.5), frame_of([["p", "q"]]))
    assert scores(model, ["p", "p"], [3.0, 1.0])["q"] == 1.5 * 0.5
    assert scores(model, ["p", "p"], [1.5, 1.0])["q"] == 1.0 * 0.5


def test_markov_weights_transitions() -> None:
    model = fitted(Markov(max_lag=1, shrinkage=1.0, decay=0.5), frame_of([["x", "y"], ["p", "q"]]))
    assert scores(model, ["x", "p"]) == {"x": 0, "y": 0.25, "p": 0, "q": 0.5}
    assert scores(model, ["x", "p"], [4.0, 1.0]) == {"x": 0, "y": 1.0, "p": 0, "q": 0.5}


def test_ease_sums_weighted_item_weights() -> None:
    model = fitted(EASE(penalty=2.0, decay=0.5), frame_of(two_tastes()))
    assert isinstance(model, EASEModel)
    item_weights = model.item_weights.toarray()
    a, b = (model.catalogue.items.index(item) for item in ("a01", "b02"))
    expected = 3.0 * 0.5 * item_weights[a] + 0.25 * item_weights[b]
    np.testing.assert_allclose(list(scores(model, ["a01", "b02"], [3.0, 0.25]).values()), expected, rtol=1e-5)


def test_als_treats_weight_two_as_two_events_bit_for_bit() -> None:
    """The same factors and the same scores."""
    once = [list(dict.fromkeys(items)) for items in two_tastes()]
    twice = [[*items, items[0]] for items in once]
    heavy = [[2.0] + [1.0] * (len(items) - 1) for items in once]
    repeated, weighted = (fitted(ALS(factors=3), frame) for frame in (frame_of(twice), frame_of(once, heavy)))
    assert isinstance(repeated, ALSModel)
    assert isinstance(weighted, ALSModel)
    np.testing.assert_array_equal(weighted.item_factors, repeated.item_factors)
    assert scores(weighted, ["a01", "b02"], [1.0, 2.0]) == scores(weighted, ["a01", "b02", "b02"])
    light = fitted(ALS(factors=3), frame_of(once))
    assert isinstance(light, ALSModel)
    assert not np.array_equal(light.item_factors, repeated.item_factors)


def test_als_lets_one_heavy_event_outweigh_three_light_ones() -> None:
    model = fitted(ALS(factors=2, iterations=40), frame_of(two_tastes()))

    def best_taste(weights: list[float]) -> str:
        found = scores(model, ["a01", "a02", "a03", "b02"], weights)
        return max(found, key=lambda item: found[item])[0]

    assert best_taste([1.0, 1.0, 1.0, 1.0]) == "a"
    assert best_taste([0.1, 0.1, 0.1, 3.0]) == "b"


def test_popularity_counts_users_whatever_their_weights() -> None:
    model = fitted(Popularity(), frame_of([["x"], ["y"], ["y"]], [[9.0], [0.1], [0.1]]))
    assert scores(model, ["x"], [5.0]) == {"x": 1, "y": 2}


def test_pair_features_have_the_weight_of_repeats() -> None:
    histories = Catalogue(("a", "b"), (1, 1)).encode(frame_of([["a", "b", "a"]], [[0.5, 1.0, 2.0]]))
    features = PairFeatures.from_histories(histories).features(histories, np.array([0, 0]), np.array([0, 1]))
    assert features[:, -2:].tolist() == [[2.5, 0], [1.0, 1]]


# --- every model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allow_repeats", [False, True], ids=["no repeats", "repeats"])
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: str(candidate)[:40])
def test_weights_of_one_change_no_bit(candidate: Candidate, allow_repeats: bool) -> None:
    lists = two_tastes()
    ones = [[1.0] * len(items) for items in lists]
    plain = fitted(candidate, frame_of(lists), allow_repeats)
    weighted = fitted(candidate, frame_of(lists, ones), allow_repeats)
    assert weighted.files() == plain.files()
    new = [["a01", "a05"], [], ["b02", "b02", "?", "a03"]]
    expected = plain.predict(frame_of(new))
    with_ones = plain.predict(frame_of(new, [[1.0] * len(items) for items in new]))
    pd.testing.assert_frame_equal(with_ones, expected, check_exact=True)


@pytest.mark.parametrize("candidate", SINGLE_FIT[1:], ids=lambda candidate: str(candidate)[:40])
def test_contributions_of_weighted_events_sum_to_the_score(candidate: Candidate) -> None:
    lists = two_tastes()
    model = fitted(candidate, frame_of(lists, random_weights(lists)), allow_repeats=True)
    assert isinstance(model, ExplainableModel)
    assert isinstance(model, ItemScorer)
    for items in (["a01", "a03", "b02"], ["a01", "a01", "a04", "a01"]):
        history = model.catalogue.encode(frame_of([items], random_weights([items])))
        # Repeat consumption adds popularity to every score, whatever the history.
        without_history = model.scores(model.catalogue.encode(frame_of([[]])))[0]
        popularity = without_history * isinstance(candidate, RepeatConsumption)
        for code in range(len(model.catalogue.items)):
            total = model.contributions(history, code).sum()
            score = model.scores(history)[0, code]
            assert total + popularity[code] == pytest.approx(score, rel=1e-5, abs=1e-6)


def test_the_heavier_event_has_the_higher_weight_in_explanations_and_under_occlusion() -> None:
    model = fitted(ItemKNN(shrinkage=1.0), frame_of([["x", "y"], ["z", "y"]]))
    assert isinstance(model, ItemScorer)
    frame = frame_of([["x", "z"]], [[3.0, 1.0]])
    found = explain_recommendations(model, frame, pd.DataFrame({"user": ["u00"], "item": ["y"]}))
    assert [(item, round(weight, 6)) for item, weight in found[0]] == [("x", 0.75), ("z", 0.25)]
    history = model.catalogue.encode(frame)
    occluded = occlusion_contributions(model, history, model.catalogue.items.index("y"))
    assert occluded[0] == pytest.approx(3 * occluded[1], rel=1e-5)


def test_decay_tuning_and_the_reranker_work_with_weights() -> None:
    lists = two_tastes()
    frame = frame_of(lists, random_weights(lists))
    for candidate in (ItemKNN(decay=None), Reranker(FIRST_STAGE, rounds=10)):
        model = fitted(candidate, frame)
        listed = model.predict(frame)
        assert np.isfinite(listed["score"]).all()
        back = type(model).from_files(model.files())
        pd.testing.assert_frame_equal(back.predict(frame), listed, check_exact=True)
