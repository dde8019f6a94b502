"""The simulated optimum: true probabilities are matched to rows, and the share of the optimum is scaled correctly."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.dataset import Dataset
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.evaluation.simulated_optimum import align_oracle, share_of_optimum


def tabular_dataset(ids: list[int], truth: dict[int, float]) -> Dataset:
    index = pd.Index([7 * n for n in ids])
    metadata = pd.DataFrame({"town": "N", "id": [f"A{n}" for n in ids]}, index=index)
    return Dataset(
        pd.DataFrame({"x": 0.0}, index=index),
        pd.Series([truth[n] for n in ids], index=index),
        np.array(ids, dtype=np.uint64),
        metadata,
    )


@given(st.permutations(range(12)), st.permutations(range(12)), st.integers(1, 12))
def test_rows_are_matched_by_id_in_any_order(oracle_ids: list[int], ids: list[int], count: int) -> None:
    dataset = tabular_dataset(ids[:count], dict.fromkeys(range(12), 0.0))
    oracle = pd.DataFrame({"id": [f"A{n}" for n in oracle_ids], "probability": [n / 12 for n in oracle_ids]})
    aligned = align_oracle(oracle, dataset)
    assert list(aligned.columns) == ["probability"]
    assert aligned["probability"].tolist() == [n / 12 for n in ids[:count]]
    pd.testing.assert_index_equal(aligned.index, dataset.frame.index)


def test_a_row_that_the_oracle_lacks_is_an_error() -> None:
    oracle = pd.DataFrame({"id": ["A1"], "probability": [0.5]})
    with pytest.raises(KeyError, match="A2"):
        align_oracle(oracle, tabular_dataset([1, 2], {1: 0.0, 2: 1.0}))


def to_prediction(lists: dict[str, str]) -> pd.DataFrame:
    """Build a prediction from the letters of a word for each user, best first."""
    frame = pd.DataFrame([(u, n, i, 9.0 - n) for u, items in lists.items() for n, i in enumerate(items, 1)])
    return frame.set_axis(["user", "rank", "item", "score"], axis=1)


def ranking_dataset(histories: dict[str, str], targets: dict[str, str], as_arrays: bool = False) -> Dataset:
    to_items = (lambda word: np.array(list(word), dtype=object)) if as_arrays else list
    frame = pd.DataFrame({"user": pd.Series(list(histories), dtype="str")})
    frame["items"] = pd.Series([to_items(word) for word in histories.values()], dtype=object)
    truth = pd.Series([list(targets[user]) for user in histories], dtype=object)
    return Dataset(frame, truth, np.arange(len(histories), dtype=np.uint64))


@pytest.mark.parametrize("as_arrays", [False, True], ids=["lists", "arrays, as Parquet gives them"])
def test_oracle_lists_are_selected_by_user_without_their_history(as_arrays: bool) -> None:
    oracle = to_prediction({"v": "abcd", "u": "cadb", "w": "dcba"})
    dataset = ranking_dataset({"u": "az", "v": ""}, {"u": "d", "v": "b"}, as_arrays)
    expected = to_prediction({"v": "abcd", "u": "c.db"})
    expected = expected[expected["item"] != "."].assign(rank=[1, 2, 3, 4, 1, 2, 3])
    pd.testing.assert_frame_equal(align_oracle(oracle, dataset), expected.reset_index(drop=True))


def test_a_user_who_had_all_items_has_no_list() -> None:
    oracle = to_prediction({"u": "ab", "v": "ab"})
    dataset = ranking_dataset({"u": "ba", "v": "b"}, {"u": "c", "v": "a"})
    aligned = align_oracle(oracle, dataset)
    assert aligned[["user", "rank", "item"]].to_numpy().tolist() == [["v", 1, "a"]]


def test_share_of_optimum_is_zero_for_chance_and_one_for_the_oracle() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(400)
    truth = dict(enumerate((rng.random(400) < probability).astype(float)))
    dataset, evaluator = tabular_dataset(list(rng.permutation(400)), truth), BinaryEvaluator()
    true_probabilities = pd.DataFrame({"id": [f"A{n}" for n in truth], "probability": probability})
    oracle = align_oracle(true_probabilities, dataset)
    blurred = oracle.sub(0.5).mul(rng.uniform(-0.2, 1.0, (400, 1))).add(0.5)

    def value(prediction: pd.DataFrame) -> float:
        return evaluator.metrics(dataset, prediction, {"threshold": 0.5})["roc_auc"]

    optimum = value(oracle)
    assert optimum > 0.75
    assert share_of_optimum(optimum, evaluator.chance_level, optimum) == 1.0
    assert share_of_optimum(value(oracle * 0), evaluator.chance_level, optimum) == 0.0
    assert 0.3 < share_of_optimum(value(blurred), evaluator.chance_level, optimum) < 0.95
    # Inverted probabilities are as far below chance as the true ones are above.
    assert share_of_optimum(value(1 - oracle), evaluator.chance_level, optimum) == pytest.approx(-1.0)


def test_an_oracle_that_lists_the_targets_first_has_an_ndcg_of_one() -> None:
    dataset = ranking_dataset({"u": "a", "v": "bc"}, {"u": "c", "v": "a"})
    evaluator = RankingEvaluator(k=3)
    oracle = align_oracle(to_prediction({"u": "ac", "v": "cba"}), dataset)
    optimum = evaluator.metrics(dataset, oracle, {})[evaluator.primary]
    without_hits = evaluator.metrics(dataset, to_prediction({"u": "x", "v": "x"}), {})[evaluator.primary]
    assert optimum == 1.0
    assert share_of_optimum(without_hits, evaluator.chance_level, optimum) == 0.0


def test_share_of_optimum_is_nan_if_the_optimum_is_chance() -> None:
    assert math.isnan(share_of_optimum(0.5, 0.5, 0.5))
