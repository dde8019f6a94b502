"""An order that a log made is told from one that chance made."""

from itertools import combinations

import numpy as np
import pytest

from ml.interactions.histories import Histories
from ml.interactions.order_diagnostics import evidence

ITEMS, USERS, EVENTS = 12, 300, 6


def sequences(lists: list[list[int]], times: list[list[float]]) -> Histories:
    start = np.concatenate([[0], np.cumsum([len(of) for of in lists])])
    return Histories(
        start, np.concatenate(lists).astype(np.int64), np.concatenate(times).astype(float), ITEMS
    )


def drawn(sort: bool, instant: bool) -> Histories:
    """Items at random; sorted as a file may sort them; at one instant for all, or at an instant for each."""
    rng = np.random.default_rng(0)
    lists = [rng.choice(ITEMS, EVENTS, replace=False).tolist() for _ in range(USERS)]
    times = [[0.0] * EVENTS if instant else list(map(float, range(EVENTS))) for _ in lists]
    return sequences([sorted(of) if sort else of for of in lists], times)


def test_chance_keeps_no_direction() -> None:
    for instant in (False, True):
        found = evidence(drawn(sort=False, instant=instant))
        assert found["kept"] == pytest.approx(0.5, abs=0.05)
        assert found["foretold"] == pytest.approx(0.5, abs=0.1)
        assert found["simultaneous"] == float(instant)
        assert not found["suspicious"]
        assert "no sign" in found["meaning"] or "too few" in found["meaning"]


def test_a_sorted_file_is_found_out_by_its_simultaneous_events() -> None:
    found = evidence(drawn(sort=True, instant=True))
    assert (found["simultaneous"], found["kept"], found["kept_simultaneous"]) == (1, 1, 1)
    assert found["kept_apart"] is None
    assert found["foretold"] == 1
    assert found["suspicious"]
    assert "equal times" in found["meaning"]


def test_a_real_sequence_is_suspicious_for_another_reason() -> None:
    found = evidence(drawn(sort=True, instant=False))
    assert (found["simultaneous"], found["kept_simultaneous"], found["kept_apart"]) == (0, None, 1)
    assert found["suspicious"]
    assert "truly leads" in found["meaning"]


@pytest.mark.parametrize(
    ("sorted_share", "said"), [(0.0, "no sign"), (0.6, "some order"), (0.95, "truly leads")]
)
def test_the_more_order_the_more_is_said(sorted_share: float, said: str) -> None:
    rng = np.random.default_rng(1)
    lists = [rng.choice(ITEMS, EVENTS, replace=False).tolist() for _ in range(USERS)]
    lists = [sorted(of) if rng.random() < sorted_share else of for of in lists]
    found = evidence(sequences(lists, [list(map(float, range(EVENTS))) for _ in lists]))
    assert said in found["meaning"]
    assert found["suspicious"] == (sorted_share == 0.95)


def test_without_times_only_the_order_speaks() -> None:
    of = drawn(sort=True, instant=False)
    found = evidence(Histories(of.start, of.items, np.full(len(of.items), np.nan), ITEMS))
    assert (found["simultaneous"], found["kept_simultaneous"], found["kept_apart"]) == (None, None, None)
    assert found["kept"] == 1
    assert found["suspicious"]


def test_shares_agree_with_loops() -> None:
    rng = np.random.default_rng(2)
    lists = [rng.integers(0, ITEMS, rng.integers(1, 9)).tolist() for _ in range(200)]
    times = [np.sort(rng.integers(0, 4, len(of))).astype(float).tolist() for of in lists]
    found = evidence(sequences(lists, times))

    meetings: dict[tuple[int, int], list[bool]] = {}
    same, adjacent, earlier, last = 0, 0, [], []
    for items, moments in zip(lists, times, strict=True):
        for at in range(len(items) - 1):
            a, b = items[at : at + 2]
            if a == b:
                continue
            adjacent += 1
            same += moments[at] == moments[at + 1]
            meetings.setdefault((min(a, b), max(a, b)), []).append(a < b)
            (last if at == len(items) - 2 else earlier).append((a, b))
    agreements = [
        (len(of), np.mean([x == y for x, y in combinations(of, 2)]))
        for of in meetings.values()
        if len(of) > 1
    ]
    weight, agree = (np.array(side) for side in zip(*agreements, strict=True))
    assert found["pairs"] == len(agreements)
    assert found["kept"] == pytest.approx((weight * agree).sum() / weight.sum())
    assert found["simultaneous"] == pytest.approx(same / adjacent)
    signs = [np.sign(earlier.count((a, b)) - earlier.count((b, a))) for a, b in last]
    known = [
        s for s, (a, b) in zip(signs, last, strict=True) if earlier.count((a, b)) + earlier.count((b, a))
    ]
    assert found["foretold"] == pytest.approx((np.mean(known) + 1) / 2)


def test_too_few_meetings_give_no_share() -> None:
    few = evidence(sequences([[0, 1], [0, 1], [2]], [[0.0, 0.0], [0.0, 0.0], [1.0]]))
    assert (few["kept"], few["foretold"], few["pairs"], few["suspicious"]) == (None, None, 1, False)
    assert "only 1 pairs" in few["meaning"]
    none = evidence(sequences([[0], [1]], [[0.0], [0.0]]))
    assert (none["simultaneous"], none["kept"], none["pairs"]) == (None, None, 0)
