"""Event-order diagnostics distinguish an order that the log imposes from a random one."""

from itertools import combinations

import numpy as np
import pytest

from ml.interactions.histories import Histories
from ml.interactions.order_diagnostics import order_diagnostics

ITEMS, USERS, EVENTS = 12, 300, 6


def histories_of(lists: list[list[int]], times: list[list[float]]) -> Histories:
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])])
    items = np.concatenate(lists).astype(np.int64)
    return Histories(offsets, items, np.concatenate(times).astype(float), ITEMS)


def ascending_times(lists: list[list[int]]) -> list[list[float]]:
    return [list(map(float, range(len(items)))) for items in lists]


def random_histories(sort: bool, simultaneous: bool) -> Histories:
    """Draw random items, sorted as a file may sort them if `sort`; all at one instant, or one after another."""
    rng = np.random.default_rng(0)
    lists = [rng.choice(ITEMS, EVENTS, replace=False).tolist() for _ in range(USERS)]
    times = [[0.0] * EVENTS for _ in lists] if simultaneous else ascending_times(lists)
    return histories_of([sorted(items) if sort else items for items in lists], times)


def test_random_order_has_no_direction() -> None:
    for simultaneous in (False, True):
        found = order_diagnostics(random_histories(sort=False, simultaneous=simultaneous))
        assert found["direction_agreement"] == pytest.approx(0.5, abs=0.05)
        assert found["forward_predictability"] == pytest.approx(0.5, abs=0.1)
        assert found["simultaneous"] == float(simultaneous)
        assert not found["suspicious"]
        assert "no sign" in found["interpretation"] or "too few" in found["interpretation"]


def test_a_sorted_file_is_detected_by_its_simultaneous_events() -> None:
    found = order_diagnostics(random_histories(sort=True, simultaneous=True))
    assert found["simultaneous"] == 1
    assert found["direction_agreement"] == 1
    assert found["direction_agreement_simultaneous"] == 1
    assert found["direction_agreement_distinct_times"] is None
    assert found["forward_predictability"] == 1
    assert found["suspicious"]
    assert "equal times" in found["interpretation"]


def test_a_real_sequence_is_suspicious_for_another_reason() -> None:
    found = order_diagnostics(random_histories(sort=True, simultaneous=False))
    assert found["simultaneous"] == 0
    assert found["direction_agreement_simultaneous"] is None
    assert found["direction_agreement_distinct_times"] == 1
    assert found["suspicious"]
    assert "leads to the other" in found["interpretation"]


@pytest.mark.parametrize(
    ("sorted_share", "expected"), [(0.0, "no sign"), (0.6, "some order"), (0.95, "leads to the other")]
)
def test_the_interpretation_depends_on_the_strength_of_the_order(sorted_share: float, expected: str) -> None:
    rng = np.random.default_rng(1)
    lists = [rng.choice(ITEMS, EVENTS, replace=False).tolist() for _ in range(USERS)]
    lists = [sorted(items) if rng.random() < sorted_share else items for items in lists]
    found = order_diagnostics(histories_of(lists, ascending_times(lists)))
    assert expected in found["interpretation"]
    assert found["suspicious"] == (sorted_share == 0.95)


def test_without_times_only_the_order_is_diagnosed() -> None:
    timed = random_histories(sort=True, simultaneous=False)
    found = order_diagnostics(Histories(timed.offsets, timed.items, np.full(len(timed.items), np.nan), ITEMS))
    assert found["simultaneous"] is None
    assert found["direction_agreement_simultaneous"] is None
    assert found["direction_agreement_distinct_times"] is None
    assert found["direction_agreement"] == 1
    assert found["suspicious"]


def test_estimates_agree_with_loops() -> None:
    rng = np.random.default_rng(2)
    lists = [rng.integers(0, ITEMS, rng.integers(1, 9)).tolist() for _ in range(200)]
    times = [np.sort(rng.integers(0, 4, len(items))).astype(float).tolist() for items in lists]
    found = order_diagnostics(histories_of(lists, times))

    directions: dict[tuple[int, int], list[bool]] = {}
    simultaneous, adjacent, earlier, last = 0, 0, [], []
    for items, seconds in zip(lists, times, strict=True):
        for position in range(len(items) - 1):
            a, b = items[position : position + 2]
            if a == b:
                continue
            adjacent += 1
            simultaneous += seconds[position] == seconds[position + 1]
            directions.setdefault((min(a, b), max(a, b)), []).append(a < b)
            (last if position == len(items) - 2 else earlier).append((a, b))
    agreements = [
        (len(pair), np.mean([x == y for x, y in combinations(pair, 2)]))
        for pair in directions.values()
        if len(pair) > 1
    ]
    weight, agreement = (np.array(side) for side in zip(*agreements, strict=True))
    assert found["item_pairs"] == len(agreements)
    assert found["direction_agreement"] == pytest.approx((weight * agreement).sum() / weight.sum())
    assert found["simultaneous"] == pytest.approx(simultaneous / adjacent)
    counts = [(earlier.count((a, b)), earlier.count((b, a))) for a, b in last]
    signs = [np.sign(forward - backward) for forward, backward in counts if forward + backward]
    assert found["forward_predictability"] == pytest.approx((np.mean(signs) + 1) / 2)


def test_too_few_pairs_give_no_estimate() -> None:
    few = order_diagnostics(histories_of([[0, 1], [0, 1], [2]], [[0.0, 0.0], [0.0, 0.0], [1.0]]))
    assert (few["direction_agreement"], few["forward_predictability"]) == (None, None)
    assert (few["item_pairs"], few["suspicious"]) == (1, False)
    assert "only 1 item pairs" in few["interpretation"]
    none = order_diagnostics(histories_of([[0], [1]], [[0.0], [0.0]]))
    assert (none["simultaneous"], none["direction_agreement"], none["item_pairs"]) == (None, None, 0)
