"""Exact search against a full sort of all inner products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from ml.recommenders import exact_search
from ml.recommenders.exact_search import top_k


def brute_force(
    users: np.ndarray, items: np.ndarray, k: int, seen: sparse.csr_array | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sort all products, computed in float64 and rounded to float32."""
    products = np.einsum("uf,if->uif", users.astype(np.float64), items.astype(np.float64)).sum(axis=2)
    products = products.astype(np.float32)
    if seen is not None:
        stored = seen.tocoo()
        products[stored.coords] = -np.inf
    codes = np.argsort(-products, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(products, codes, axis=1)
    missing = ((0, 0), (0, k - codes.shape[1]))
    codes = np.pad(np.where(scores == -np.inf, -1, codes), missing, constant_values=-1)
    return codes, np.pad(scores, missing, constant_values=-np.inf)


def assert_equal_lists(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def mask(shape: tuple[int, int], share: float, seed: int = 0) -> sparse.csr_array:
    return sparse.csr_array(np.random.default_rng(seed).random(shape) < share)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(
    users=st.integers(0, 9),
    items=st.integers(0, 40),
    factors=st.integers(1, 5),
    k=st.integers(1, 50),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    levels=st.sampled_from([0, 1, 2, 1000]),
    threads=st.integers(1, 3),
    block_products=st.sampled_from([1, 7, 64, 2**18]),
    seed=st.integers(0, 2**32 - 1),
)
def test_lists_match_a_full_sort(
    users: int,
    items: int,
    factors: int,
    k: int,
    share: float,
    levels: int,
    threads: int,
    block_products: int,
    seed: int,
) -> None:
    """With few levels nearly all products are ties; with few products per block, a chunk has a single item."""
    rng = np.random.default_rng(seed)
    left, right = (rng.integers(-levels, levels + 1, (n, factors)) / np.float32(8) for n in (users, items))
    seen = mask((users, items), share, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_search, "MAX_BLOCK_PRODUCTS", block_products)
        patch.setattr(exact_search, "MAX_BLOCK_USERS", 4)
        patch.setattr(exact_search, "PAIRS_PER_BATCH", 16)
        found = top_k(left.astype(np.float32), right.astype(np.float32), k, seen, threads)
    assert_equal_lists(found, brute_force(left, right, k, seen))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_lists_match_a_full_sort_at_any_scale(dtype: type, scale: float) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((300, 16)).astype(dtype), rng.standard_normal((3000, 16)).astype(dtype)
    seen = mask((300, 3000), 0.01)
    users, items = users * dtype(scale), items * dtype(scale)
    assert_equal_lists(top_k(users, items, 20, seen), brute_force(users, items, 20, seen))


@pytest.mark.parametrize("order", [1, -1], ids=["best last", "best first"])
def test_lists_match_when_items_are_sorted_by_score(order: int) -> None:
    users, items = (
        np.abs(normal(300, 8)),
        np.abs(normal(1, 8)) * np.linspace(1, 2, 5000, dtype=np.float32)[:, None],
    )
    assert_equal_lists(top_k(users, items[::order], 20), brute_force(users, items[::order], 20))


def test_equal_items_are_ties_at_any_position() -> None:
    """BLAS rounds the last columns of a product differently from the first ones."""
    items = np.repeat(normal(1, 63), 2049, axis=0)
    codes, scores = top_k(normal(257, 63, seed=1), items, 30)
    assert (codes == np.arange(30)).all()
    assert (scores == scores[:, :1]).all()


def test_users_without_factors_get_the_first_items() -> None:
    codes, scores = top_k(np.zeros((2, 4), np.float32), normal(5000, 4), 3)
    assert codes.tolist() == [[0, 1, 2]] * 2
    assert (scores == 0).all()


def test_large_norm_items_do_not_hide_others() -> None:
    users, items = normal(20, 8), normal(4000, 8, seed=1)
    items[2000] *= 1e5
    assert_equal_lists(top_k(users, items, 10), brute_force(users, items, 10))


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 600])
def test_bits_do_not_depend_on_threads_or_other_users(rows: int) -> None:
    users, items, seen = normal(600, 10), normal(3000, 10, seed=1), mask((600, 3000), 0.02)
    whole = top_k(users, items, 15, seen)
    for threads in (1, 2, 5):
        found = top_k(users[:rows], items, 15, seen[:rows], threads)
        assert_equal_lists(found, (whole[0][:rows], whole[1][:rows]))


def test_lists_are_padded_where_items_are_missing() -> None:
    users, items = normal(3, 4), normal(2, 4)
    codes, scores = top_k(users, items, 5, mask((3, 2), 1.1))
    assert codes.shape == scores.shape == (3, 5)
    assert codes.dtype == np.int64
    assert scores.dtype == np.float32
    assert (codes == -1).all()
    assert (scores == -np.inf).all()
    assert (top_k(users, items, 5)[0][:, 2:] == -1).all()


def test_empty_inputs_give_empty_lists() -> None:
    assert top_k(normal(0, 4), normal(3, 4), 2)[0].shape == (0, 2)
    assert (top_k(normal(3, 4), normal(0, 4), 2)[0] == -1).all()


def test_stored_zeros_count_as_seen() -> None:
    stored_zero = sparse.csr_array((np.zeros(1), np.array([1]), np.array([0, 1])), shape=(1, 3))
    codes, _ = top_k(np.ones((1, 1)), np.array([[1.0], [3.0], [2.0]]), 3, stored_zero)
    assert codes.tolist() == [[2, 0, -1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k and threads of at least 1; got k 0"),
        ({"threads": 0}, "got k 2 and threads 0"),
        ({"user_factors": normal(3, 5)}, r"same number of factors; got shapes \(3, 5\) and \(6, 4\)"),
        ({"item_factors": normal(4)}, "same number of factors"),
        ({"seen": mask((6, 3), 0.5)}, r"seen items of shape \(3, 6\); got \(6, 3\)"),
        ({"user_factors": np.full((3, 4), np.nan)}, "finite user factors"),
        ({"item_factors": np.full((6, 4), np.inf)}, "finite item factors"),
        ({"item_factors": np.full((6, 4), -np.inf)}, "finite item factors"),
        ({"user_factors": np.full((3, 4), 1e30), "item_factors": np.full((6, 4), 1e30)}, "fit float32"),
        ({"user_factors": np.full((3, 4), 1e200), "item_factors": np.zeros((6, 4))}, "fit float32"),
    ],
)
def test_invalid_arguments_raise_value_errors(change: dict[str, object], message: str) -> None:
    arguments = {"user_factors": normal(3, 4), "item_factors": normal(6, 4), "k": 2} | change
    with pytest.raises(ValueError, match=message):
        top_k(**arguments)  # type: ignore[arg-type]
