"""Approximate search against exact search. Most tests need faiss, which is optional."""

import numpy as np
import pytest
from scipy import sparse

from ml.recommenders.approximate_search import ExactIndex, IVFIndex, build_item_index
from ml.recommenders.exact_search import top_k

K = 10


def factors(rows: int, seed: int) -> np.ndarray:
    """Vectors around twenty centroids."""
    centroids = np.random.default_rng(0).standard_normal((20, 16))
    rng = np.random.default_rng(seed)
    vectors = centroids[rng.integers(0, 20, rows)] + 0.5 * rng.standard_normal((rows, 16))
    return np.asarray(vectors, dtype=np.float32)


ITEMS, USERS = factors(4000, 1), factors(300, 2)


def build_index(recall: float = 0.95) -> IVFIndex:
    pytest.importorskip("faiss", reason="the index library is optional")
    found = build_item_index(ITEMS, factors(200, 3), K, recall, max_exact_items=3999)
    assert isinstance(found, IVFIndex)
    return found


def test_search_is_exact_up_to_max_exact_items() -> None:
    found = build_item_index(ITEMS, USERS, K, max_exact_items=4000)
    assert isinstance(found, ExactIndex)
    assert found.recall == 1.0
    for actual, expected in zip(found.top_k(USERS, K), top_k(USERS, ITEMS, K), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_recall_holds_for_other_users() -> None:
    approximate = build_index()
    found, expected = approximate.top_k(USERS, K)[0], top_k(USERS, ITEMS, K)[0]
    recall = (expected[:, :, None] == found[:, None, :]).any(axis=2).mean()
    assert approximate.recall >= 0.9
    assert recall == pytest.approx(approximate.recall, abs=0.05)
    assert approximate.nprobe < 63


def test_searching_all_cells_is_exact_and_never_finds_seen_items() -> None:
    approximate = build_index(recall=2.0)
    share = np.random.default_rng(0).random((300, 1)) ** 4
    share[:3, 0] = 0, 1, 0.999
    seen = sparse.csr_array(np.random.default_rng(1).random((300, 4000)) < share)
    codes, scores = approximate.top_k(USERS, K, seen, threads=2)
    expected = top_k(USERS, ITEMS, K, seen)
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-5)


def test_lists_have_the_shapes_and_padding_of_exact_ones() -> None:
    codes, scores = build_index().top_k(USERS[:0], K)
    assert codes.shape == scores.shape == (0, K)
    codes, scores = build_index().top_k(USERS[:2], 5000)
    assert codes.shape == (2, 5000)
    assert (codes[:, 4000:] == -1).all()
    assert (scores[codes < 0] == -np.inf).all()


def test_invalid_arguments_raise_value_errors() -> None:
    with pytest.raises(ValueError, match="k and threads of at least 1"):
        build_index().top_k(USERS, 0)
    with pytest.raises(ValueError, match="finite user factors"):
        build_index().top_k(np.full((1, 16), np.nan), K)
    with pytest.raises(ValueError, match=r"seen items of shape \(300, 4000\)"):
        build_index().top_k(USERS, K, sparse.csr_array((300, 3999)))
    with pytest.raises(ValueError, match="two users or more"):
        build_item_index(ITEMS, USERS[:1], K, max_exact_items=10)
