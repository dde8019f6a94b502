"""The choice among candidates: the simplest model that nothing beats wins, however many are tried."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.judge import BinaryJudge
from ml.model import Part
from tasks.evaluate import contest

JUDGE = BinaryJudge()
ROWS = 400


def held(columns: Mapping[str, np.ndarray], truth: np.ndarray) -> tuple[str, dict[str, dict[str, Any]]]:
    """The contest of models that answer with these columns, in their order."""
    part = Part(pd.DataFrame(index=range(ROWS)), pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    return contest({n: pd.DataFrame({"probability": p}) for n, p in columns.items()}, part, JUDGE)


def drawn(rng: np.random.Generator) -> np.ndarray:
    return (rng.random(ROWS) < 0.4).astype(float)


def scores(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probabilities that tell something of the truth."""
    return 1.0 / (1.0 + np.exp(-(truth + rng.normal(size=ROWS))))


def test_the_simplest_that_nothing_beats_leads() -> None:
    rng = np.random.default_rng(0)
    truth = drawn(rng)
    good = scores(truth, rng)
    leader, others = held({"flat": np.full(ROWS, 0.5), "good": good, "same": good, "bad": 1 - good}, truth)
    assert leader == "good"
    assert {name: line["candidate"] for name, line in others.items()} == {
        "good": "flat",
        "same": "good",
        "bad": "good",
    }
    assert [line["level"] for line in others.values()] == pytest.approx([1.0 - 0.1 / 3] * 3)


def test_one_candidate_leads_unopposed() -> None:
    truth = drawn(np.random.default_rng(0))
    assert held({"only": np.full(ROWS, 0.5)}, truth) == ("only", {})


def test_an_advantage_within_the_chance_of_all_comparisons_does_not_lead() -> None:
    """The same two candidates, alone and among others: what one comparison would believe, four do not."""
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        truth = drawn(rng)
        plain = scores(truth, rng)
        lucky = scores(truth, rng)
        leader, others = held({"plain": plain, "lucky": lucky}, truth)
        if leader == "lucky" and others["lucky"]["p_value"] > 0.1 / 4:
            break
    else:
        pytest.fail("no seed gave an advantage of that size")
    rest = {name: np.full(ROWS, 0.5) for name in ("first", "second", "third")}
    among, more = held({"plain": plain, **rest, "lucky": lucky}, truth)
    assert among == "plain"
    assert more["lucky"]["p_value"] == pytest.approx(others["lucky"]["p_value"])
    assert more["lucky"]["low"] < 0 < others["lucky"]["low"]


def test_chance_leads_in_no_more_runs_than_promised() -> None:
    """Five models that are worth the same: the first stays in front in at least 95 of 100 runs."""
    runs, wrong = 400, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = drawn(rng)
        wrong += held({f"m{n}": scores(truth, rng) for n in range(5)}, truth)[0] != "m0"
    # 20 are promised; a rate of 5 % gives more than 32 with a chance of .003 (binomial), one without the
    # correction far more: about one of eight.
    assert 0 < wrong <= 32
