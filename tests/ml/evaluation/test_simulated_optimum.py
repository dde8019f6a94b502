"""The truth's own answers fall to the right rows, and measure what was reached of what can be."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.dataset import Dataset
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.evaluation.simulated_optimum import achieved, align


def cases(ids: list[int], truth: dict[int, float]) -> Dataset:
    index = pd.Index([7 * n for n in ids])
    about = pd.DataFrame({"town": "N", "id": [f"A{n}" for n in ids]}, index=index)
    return Dataset(
        pd.DataFrame({"x": 0.0}, index=index),
        pd.Series([truth[n] for n in ids], index=index),
        np.array(ids, dtype=np.uint64),
        about,
    )


@given(st.permutations(range(12)), st.permutations(range(12)), st.integers(1, 12))
def test_rows_are_found_by_id_whatever_the_order(known: list[int], asked: list[int], count: int) -> None:
    ids = asked[:count]
    part = cases(ids, dict.fromkeys(range(12), 0.0))
    oracle = pd.DataFrame({"id": [f"A{n}" for n in known], "probability": [n / 12 for n in known]})
    aligned = align(oracle, part)
    assert list(aligned.columns) == ["probability"]
    assert aligned["probability"].tolist() == [n / 12 for n in ids]
    pd.testing.assert_index_equal(aligned.index, part.frame.index)


def test_a_row_that_the_oracle_does_not_know_is_an_error() -> None:
    oracle = pd.DataFrame({"id": ["A1"], "probability": [0.5]})
    with pytest.raises(KeyError, match="A2"):
        align(oracle, cases([1, 2], {1: 0.0, 2: 1.0}))


def ranked(lists: dict[str, str]) -> pd.DataFrame:
    """For each user the items of a word, best first."""
    frame = pd.DataFrame([(u, n, i, 9.0 - n) for u, items in lists.items() for n, i in enumerate(items, 1)])
    return frame.set_axis(["user", "rank", "item", "score"], axis=1)


def users(histories: dict[str, str], following: dict[str, str], as_arrays: bool = False) -> Dataset:
    kind = (lambda word: np.array(list(word), dtype=object)) if as_arrays else list
    frame = pd.DataFrame({"user": pd.Series(list(histories), dtype="str")})
    frame["items"] = pd.Series([kind(word) for word in histories.values()], dtype=object)
    truth = pd.Series([list(following[user]) for user in histories], dtype=object)
    return Dataset(frame, truth, np.arange(len(histories), dtype=np.uint64))


@pytest.mark.parametrize("as_arrays", [False, True], ids=["lists", "arrays, as Parquet gives them"])
def test_lists_of_users_are_theirs_without_what_they_had(as_arrays: bool) -> None:
    oracle = ranked({"v": "abcd", "u": "cadb", "w": "dcba"})
    aligned = align(oracle, users({"u": "az", "v": ""}, {"u": "d", "v": "b"}, as_arrays))
    expected = ranked({"v": "abcd", "u": "c.db"})
    expected = expected[expected["item"] != "."].assign(rank=[1, 2, 3, 4, 1, 2, 3])
    pd.testing.assert_frame_equal(aligned, expected.reset_index(drop=True))


def test_who_had_everything_is_not_listed() -> None:
    aligned = align(ranked({"u": "ab", "v": "ab"}), users({"u": "ba", "v": "b"}, {"u": "c", "v": "a"}))
    assert aligned[["user", "rank", "item"]].to_numpy().tolist() == [["v", 1, "a"]]


def test_chance_achieves_nothing_and_the_oracle_all() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(400)
    truth = dict(enumerate((rng.random(400) < probability).astype(float)))
    part, judge = cases(list(rng.permutation(400)), truth), BinaryEvaluator()
    oracle = align(pd.DataFrame({"id": [f"A{n}" for n in truth], "probability": probability}), part)
    blurred = oracle.sub(0.5).mul(rng.uniform(-0.2, 1.0, (400, 1))).add(0.5)

    def value(prediction: pd.DataFrame) -> float:
        return judge.metrics(part, prediction, {"threshold": 0.5})["roc_auc"]

    best = value(oracle)
    assert best > 0.75
    assert achieved(best, judge.chance, best) == 1.0
    assert achieved(value(oracle * 0), judge.chance, best) == 0.0
    assert 0.3 < achieved(value(blurred), judge.chance, best) < 0.95
    # The opposite of the truth is as far below chance as the truth is above.
    assert achieved(value(1 - oracle), judge.chance, best) == pytest.approx(-1.0)


def test_a_ranking_oracle_that_lists_what_comes_next_has_ndcg_one() -> None:
    part, judge = users({"u": "a", "v": "bc"}, {"u": "c", "v": "a"}), RankingEvaluator(k=3)
    best = judge.metrics(part, align(ranked({"u": "ac", "v": "cba"}), part), {})[judge.primary]
    nothing = judge.metrics(part, ranked({"u": "x", "v": "x"}), {})[judge.primary]
    assert (best, achieved(nothing, judge.chance, best)) == (1.0, 0.0)


def test_where_even_the_oracle_guesses_there_is_no_share() -> None:
    assert math.isnan(achieved(0.5, 0.5, 0.5))
