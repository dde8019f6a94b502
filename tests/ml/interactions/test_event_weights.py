"""What an event counts: weights stay with their events, and a heavy event outweighs several light ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources, Model
from ml.explanations.history_attribution import Explained, Scorer, occlusion, reasons
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.holdout import HoldOut, held_out
from ml.recommenders.als import ALS, ALSModel
from ml.recommenders.ease import EASE, EASEModel
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.markov import Markov
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import Habit
from ml.recommenders.transformer.batches import hold_out, in_own_order
from ml.reranking.pair_features import Evidence
from ml.reranking.reranker import Reranked

SIMPLE: dict[str, Candidate] = {"item-kNN": ItemKNN(), "Markov": Markov()}
ONE_BY_ONE: list[Candidate] = [
    Popularity(),
    Habit(),
    ItemKNN(decay=0.8),
    Markov(),
    EASE(decay=0.9),
    ALS(factors=4, decay=0.8),
]
CANDIDATES = [*ONE_BY_ONE, ItemKNN(decay=None), ALS(factors=4, decay=None), Reranked(SIMPLE, rounds=10)]


def frame_of(lists: list[list[str]], weights: list[list[float]] | None = None) -> pd.DataFrame:
    users = pd.Series([f"u{n:02}" for n in range(len(lists))], dtype="str")
    times = [[float(t) for t in range(len(items))] for items in lists]
    columns = {"items": lists, "times": times} | ({} if weights is None else {"weights": weights})
    return pd.DataFrame({"user": users, **{name: pd.Series(c, dtype=object) for name, c in columns.items()}})


def part_of(frame: pd.DataFrame, repeat: bool = False) -> Dataset:
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), allow_repeats=repeat)


def fitted(candidate: Candidate, frame: pd.DataFrame, repeat: bool = False) -> Model:
    part = part_of(frame, repeat)
    return candidate.fit(part, part, FitResources(seed=3))


def scores(model: Model, items: list[str], weights: list[float] | None = None) -> dict[str, float]:
    """Of each item of the catalogue, for one history."""
    assert isinstance(model, Scorer)
    frame = frame_of([items], None if weights is None else [weights])
    found = model.scores(model.catalogue.sequences(frame))[0]
    return dict(zip(model.catalogue.items, map(float, found), strict=True))


def shoppers() -> list[list[str]]:
    """Sixty users of two tastes; some have an item several times."""
    rng = np.random.default_rng(4)
    return [[f"{'ab'[n % 2]}{i:02}" for i in rng.choice(12, 7)] for n in range(60)]


def uneven(lists: list[list[str]]) -> list[list[float]]:
    rng = np.random.default_rng(5)
    return [rng.choice([0.25, 0.5, 1.0, 3.0], len(items)).tolist() for items in lists]


# --- histories ---------------------------------------------------------------------------------------------------


def weighted() -> Histories:
    """Of three users; the catalogue lacks one item of the first one."""
    catalogue = Catalogue(("a", "b"), (1, 1))
    frame = frame_of([["a", "?", "b"], [], ["b", "b", "a"]], [[1.0, 2.0, 3.0], [], [4.0, 5.0, 6.0]])
    return catalogue.sequences(frame)


def test_weights_stay_with_their_events() -> None:
    events = weighted()
    assert events.weights.tolist() == [1, 3, 4, 5, 6]
    assert events.block(slice(1, 3)).weights.tolist() == [4, 5, 6]
    assert events.where(events.items == 1).weights.tolist() == [3, 4, 5]
    assert events.aged(0.5).tolist() == [0.5, 3, 1, 2.5, 6]
    ordered = in_own_order(events)
    assert sorted(zip(ordered.items, ordered.weights, strict=True)) == sorted(
        zip(events.items, events.weights, strict=True)
    )
    rest, _, wanted = hold_out(
        Catalogue(("a",), (1,)).sequences(frame_of([["a"] * 4] * 4, [[1.0, 2.0, 3.0, 4.0]] * 4)),
        np.random.default_rng(0),
    )
    assert (wanted >= 0).sum() == 1
    assert sorted(rest.weights) == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 3


def test_without_weights_each_event_counts_one() -> None:
    events = Catalogue(("a", "b"), (1, 1)).sequences(frame_of([["a", "b"], ["b"]]))
    assert events.weights.tolist() == [1, 1, 1]
    assert events.weights.dtype == np.float64
    assert events.block(slice(1, 2)).weights.tolist() == [1]
    assert events.where(np.array([True, False, True])).weights.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0], [1.0]], "other numbers of them"),
        ([[1.0, 1.0, 1.0], []], "other numbers of them"),
        ([[1.0, 0.0], [1.0]], "got 1 others"),
        ([[-1.0, np.nan], [np.inf]], "got 3 others"),
    ],
    ids=str,
)
def test_what_is_no_weight_is_refused(weights: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Catalogue(("a", "b"), (1, 1)).sequences(frame_of([["a", "b"], ["b"]], weights))


events_of = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.5, 1.0, 2.0])), max_size=6)


@given(st.lists(events_of, max_size=4))
def test_the_heaviest_event_of_each_pair_is_marked_and_of_equals_the_last(
    users: list[list[tuple[str, float]]],
) -> None:
    frame = frame_of([[item for item, _ in of] for of in users], [[w for _, w in of] for of in users])
    events = Catalogue(("a", "b"), (1, 1)).sequences(frame)
    expected = []
    for of in users:
        best = {item: max((w, at) for at, (i, w) in enumerate(of) if i == item)[1] for item, _ in of}
        expected += [at in best.values() for at in range(len(of))]
    assert events.heaviest(events.weights).tolist() == expected


@pytest.mark.parametrize("how", ["last", "time"])
def test_what_is_held_out_takes_its_weight_with_it(how: HoldOut) -> None:
    part = part_of(frame_of([["a", "b", "c", "d"], ["a"]], [[1.0, 2.0, 3.0, 4.0], [5.0]]))
    before, after = held_out(part, how, 0.2, 0)
    assert before.frame["weights"].tolist() == [[1.0, 2.0, 3.0], [5.0]]
    assert after.tolist() == [["d"], []]


# --- models by hand ----------------------------------------------------------------------------------------------


def test_one_purchase_is_more_of_a_habit_than_two_looks() -> None:
    model = fitted(Habit(decay=1.0), frame_of([["a", "b"]]), repeat=True)
    # Both items are equally popular, which is the 0.0001.
    assert scores(model, ["a", "a", "b"]) == pytest.approx({"a": 2.0001, "b": 1.0001})
    assert scores(model, ["a", "a", "b"], [0.5, 0.5, 3.0]) == pytest.approx({"a": 1.0001, "b": 3.0001})


def test_neighbours_of_a_purchase_come_before_those_of_two_looks() -> None:
    model = fitted(ItemKNN(shrink=1.0), frame_of([["x", "y"], ["z", "y"], ["p", "q"]]))
    close = 1 / (np.sqrt(2) + 1)
    looked = scores(model, ["x", "z", "p"], [0.5, 0.5, 3.0])
    assert looked == pytest.approx({"x": 0, "z": 0, "p": 0, "y": close, "q": 3 / 2}, rel=1e-6)
    assert scores(model, ["x", "z", "p"])["y"] == pytest.approx(2 * close, rel=1e-6)


def test_one_more_look_makes_no_purchase_smaller() -> None:
    """An item counts by the event with it that weighs most at its age: 3 x 0.5 and not the later 1."""
    model = fitted(ItemKNN(shrink=1.0, decay=0.5), frame_of([["p", "q"]]))
    assert scores(model, ["p", "p"], [3.0, 1.0])["q"] == 1.5 * 0.5
    assert scores(model, ["p", "p"], [1.5, 1.0])["q"] == 1.0 * 0.5


def test_what_follows_a_purchase_comes_before_what_follows_a_look() -> None:
    model = fitted(Markov(lags=1, shrink=1.0, decay=0.5), frame_of([["x", "y"], ["p", "q"]]))
    assert scores(model, ["x", "p"]) == {"x": 0, "y": 0.25, "p": 0, "q": 0.5}
    assert scores(model, ["x", "p"], [4.0, 1.0]) == {"x": 0, "y": 1.0, "p": 0, "q": 0.5}


def test_an_autoencoder_adds_up_what_events_tell_by_weight() -> None:
    model = fitted(EASE(penalty=2.0, decay=0.5), frame_of(shoppers()))
    assert isinstance(model, EASEModel)
    tells = model.weights.toarray()
    a, b = (model.catalogue.items.index(item) for item in ("a01", "b02"))
    expected = 3.0 * 0.5 * tells[a] + 0.25 * tells[b]
    np.testing.assert_allclose(list(scores(model, ["a01", "b02"], [3.0, 0.25]).values()), expected, rtol=1e-5)


def test_for_factors_an_event_of_weight_two_is_two_events() -> None:
    """To the bit, in what is learned and in what is answered."""
    once = [list(dict.fromkeys(items)) for items in shoppers()]
    twice = [[*items, items[0]] for items in once]
    heavy = [[2.0] + [1.0] * (len(items) - 1) for items in once]
    had, weighed = (fitted(ALS(factors=3), frame) for frame in (frame_of(twice), frame_of(once, heavy)))
    assert isinstance(had, ALSModel)
    assert isinstance(weighed, ALSModel)
    np.testing.assert_array_equal(weighed.item_factors, had.item_factors)
    assert scores(weighed, ["a01", "b02"], [1.0, 2.0]) == scores(weighed, ["a01", "b02", "b02"])
    light = fitted(ALS(factors=3), frame_of(once))
    assert isinstance(light, ALSModel)
    assert not np.array_equal(light.item_factors, had.item_factors)


def test_a_purchase_outweighs_looks_for_factors() -> None:
    model = fitted(ALS(factors=2, iterations=40), frame_of(shoppers()))

    def best(weights: list[float]) -> str:
        found = scores(model, ["a01", "a02", "a03", "b02"], weights)
        return max(found, key=lambda item: found[item])[0]

    assert best([1.0, 1.0, 1.0, 1.0]) == "a"
    assert best([0.1, 0.1, 0.1, 3.0]) == "b"


def test_for_popularity_one_user_is_one_user() -> None:
    model = fitted(Popularity(), frame_of([["x"], ["y"], ["y"]], [[9.0], [0.1], [0.1]]))
    assert scores(model, ["x"], [5.0]) == {"x": 1, "y": 2}


def test_the_second_stage_is_told_what_the_own_events_with_an_item_weigh() -> None:
    histories = Catalogue(("a", "b"), (1, 1)).sequences(frame_of([["a", "b", "a"]], [[0.5, 1.0, 2.0]]))
    features = Evidence.of(histories).features(histories, np.array([0, 0]), np.array([0, 1]))
    assert features[:, -2:].tolist() == [[2.5, 0], [1.0, 1]]


# --- every model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [False, True], ids=["no repeats", "repeats"])
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: str(candidate)[:40])
def test_weights_of_one_change_no_bit(candidate: Candidate, repeat: bool) -> None:
    lists = shoppers()
    ones = [[1.0] * len(items) for items in lists]
    plain, weighed = (fitted(candidate, frame, repeat) for frame in (frame_of(lists), frame_of(lists, ones)))
    assert weighed.files() == plain.files()
    new = [["a01", "a05"], [], ["b02", "b02", "?", "a03"]]
    expected = plain.predict(frame_of(new))
    told = plain.predict(frame_of(new, [[1.0] * len(items) for items in new]))
    pd.testing.assert_frame_equal(told, expected, check_exact=True)


@pytest.mark.parametrize("candidate", ONE_BY_ONE[1:], ids=lambda candidate: str(candidate)[:40])
def test_contributions_of_weighted_events_sum_to_the_score(candidate: Candidate) -> None:
    lists = shoppers()
    model = fitted(candidate, frame_of(lists, uneven(lists)), repeat=True)
    assert isinstance(model, Explained)
    assert isinstance(model, Scorer)
    for history in (["a01", "a03", "b02"], ["a01", "a01", "a04", "a01"]):
        events = model.catalogue.sequences(frame_of([history], uneven([history])))
        # Habits add to every score what is popular, whatever the history.
        trend = model.scores(model.catalogue.sequences(frame_of([[]])))[0] * isinstance(candidate, Habit)
        for code in range(len(model.catalogue.items)):
            told = model.contributions(events, code).sum()
            assert told + trend[code] == pytest.approx(model.scores(events)[0, code], rel=1e-5, abs=1e-6)


def test_the_reason_is_the_heavier_event_told_or_found_by_leaving_it_out() -> None:
    model = fitted(ItemKNN(shrink=1.0), frame_of([["x", "y"], ["z", "y"]]))
    assert isinstance(model, Scorer)
    asked = frame_of([["x", "z"]], [[3.0, 1.0]])
    found = reasons(model, asked, pd.DataFrame({"user": ["u00"], "item": ["y"]}))
    assert [(item, round(share, 6)) for item, share in found[0]] == [("x", 0.75), ("z", 0.25)]
    events = model.catalogue.sequences(asked)
    code = model.catalogue.items.index("y")
    left_out = occlusion(model, events, code)
    assert left_out[0] == pytest.approx(3 * left_out[1], rel=1e-5)


def test_the_decay_is_chosen_and_the_second_stage_learned_with_weights() -> None:
    lists = shoppers()
    frame = frame_of(lists, uneven(lists))
    for candidate in (ItemKNN(decay=None), Reranked(SIMPLE, rounds=10)):
        model = fitted(candidate, frame)
        listed = model.predict(frame)
        assert np.isfinite(listed["score"]).all()
        back = type(model).from_files(model.files())
        pd.testing.assert_frame_equal(back.predict(frame), listed, check_exact=True)
