"""The quality gate: each bound holds at its edge and not beyond it, and what is no number passes nothing."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ml.data.dataset import Dataset
from ml.evaluation.evaluator import BinaryEvaluator, NumericEvaluator
from ml.evaluation.quality_gate import QualityThresholds, check_quality
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.evaluation.subgroups import FEWEST_IN_GROUP, FEWEST_OF_A_CLASS, subgroups

BOUNDS = QualityThresholds(
    minimum=0.7, calibration_error=0.05, subgroup_gap=0.1, megabytes=10.0, milliseconds=5.0
)


def group(high: float, judged: bool = True) -> dict[str, Any]:
    return {"column": "sex", "group": "f", "judged": judged, "high": high}


def failed(
    value: float = 0.7,
    calibration: tuple[float, float] = (0.2, 0.05),
    high: float = 0.6,
    megabytes: float = 10.0,
    milliseconds: float = 5.0,
    gates: QualityThresholds = BOUNDS,
) -> list[str]:
    """Names of the checks that say no; without arguments everything is right on its bound."""
    metrics = {"roc_auc": value, "calibration_error": calibration[0]}
    intervals = {"calibration_error": {"low": calibration[1]}}
    lines = check_quality(gates, "roc_auc", metrics, intervals, [group(high)], megabytes, milliseconds)
    return [line["check"] for line in lines if not line["passed"]]


def test_bounds_are_part_of_what_is_allowed() -> None:
    assert failed() == []


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"value": 0.6999}, "roc_auc at least"),
        ({"calibration": (0.2, 0.0501)}, "calibration error beyond chance at most"),
        ({"high": 0.5999}, "roc_auc of sex=f below everyone's by at most"),
        ({"megabytes": 10.1}, "size in MB at most"),
        ({"milliseconds": 5.1}, "milliseconds for one row at most"),
    ],
)
def test_one_step_beyond_a_bound_is_refused(wrong: dict[str, Any], check: str) -> None:
    assert failed(**wrong) == [check]
    (argument,) = wrong
    nothing = (math.nan, math.nan) if argument == "calibration" else math.nan
    assert check in failed(**{argument: nothing})


def test_bounds_can_be_switched_off() -> None:
    gates = QualityThresholds(minimum=0.0)
    assert failed(calibration=(0.9, 0.9), high=0.0, gates=gates) == []
    assert len(check_quality(gates, "roc_auc", {"roc_auc": 0.5}, {}, [], 0.0, 0.0)) == 3


def test_a_group_that_was_not_judged_refuses_nothing() -> None:
    lines = check_quality(BOUNDS, "roc_auc", {"roc_auc": 0.9}, {"calibration_error": {"low": 0.0}},
                          [group(0.1, judged=False)], 1.0, 1.0)  # fmt: skip
    assert all(line["passed"] for line in lines)
    assert not any("sex" in line["check"] for line in lines)


def exam(rows: int = 4000) -> tuple[Dataset, pd.DataFrame]:
    """Old people (a third) get answers at random; region 9 has 30 rows, region 8 has rows but too few positives."""
    generator = np.random.default_rng(0)
    truth = (generator.random(rows) < 0.3).astype(float)
    age = generator.uniform(18, 90, size=rows)
    region = generator.choice(["1", "2"], size=rows).astype(object)
    region[:30] = "9"
    few = np.arange(30, 300)
    region[few] = "8"
    truth[few] = 0.0
    truth[few[: FEWEST_OF_A_CLASS - 1]] = 1.0
    region[300:600] = np.nan
    score = np.where(
        age < 66, np.clip(truth * 0.3 + generator.random(rows) * 0.7, 0, 1), generator.random(rows)
    )
    about = pd.DataFrame({"age": age, "region": pd.Series(region).astype("str")})
    part = Dataset(pd.DataFrame({"x": score}), pd.Series(truth), np.arange(rows, dtype=np.uint64), about)
    return part, pd.DataFrame({"probability": score})


def test_groups_are_measured_as_if_they_were_alone() -> None:
    part, prediction = exam()
    lines = subgroups(part, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("age", "region"))
    by_name = {(line["column"], line["group"]): line for line in lines}
    one = (part.metadata["region"] == "1").to_numpy()
    truth, score = part.truth[one], prediction["probability"][one]
    found = by_name["region", "1"]
    assert found["value"] == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
    assert (found["rows"], found["observed"]) == (one.sum(), pytest.approx(truth.mean()))
    assert (found["predicted"], found["selected"]) == pytest.approx((score.mean(), (score >= 0.5).mean()))
    # Numbers are judged in four bands, of as many rows each; nobody is left out.
    bands = [line for line in lines if line["column"] == "age"]
    assert [line["rows"] for line in bands] == [1000] * 4
    assert sum(line["rows"] for line in lines if line["column"] == "region") == len(part.frame)
    assert by_name["region", "missing"]["rows"] == 300


def test_groups_too_small_to_judge_are_shown_and_not_judged() -> None:
    part, prediction = exam()
    lines = subgroups(part, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("region",))
    unjudged = {line["group"]: line["rows"] for line in lines if not line["judged"]}
    assert unjudged == {"9": 30, "8": 270}
    assert FEWEST_IN_GROUP > 30
    # Copies of a patient's row make no larger group.
    copies = Dataset(part.frame, part.truth, np.repeat(np.arange(80, dtype=np.uint64), 50), part.metadata)
    assert not any(
        line["judged"] for line in subgroups(copies, prediction, BinaryEvaluator(), {}, ("region",))
    )


def test_a_harmed_group_is_refused_and_an_unlucky_one_is_not() -> None:
    part, prediction = exam()
    value = BinaryEvaluator().primary_interval(part, prediction).value
    lines = subgroups(part, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("age", "region"))
    intervals = {"calibration_error": {"low": 0.0}}
    checks = check_quality(
        QualityThresholds(minimum=0.5, subgroup_gap=0.05),
        "roc_auc",
        {"roc_auc": value},
        intervals,
        lines,
        1.0,
        1.0,
    )
    harmed = [check["check"] for check in checks if not check["passed"]]
    assert harmed
    assert all("of age=" in name for name in harmed)
    assert any("to 9" in name or "to 8" in name for name in harmed)


def test_numbers_and_lists_have_groups_too() -> None:
    rows = 400
    generator = np.random.default_rng(1)
    about = pd.DataFrame({"sex": np.where(np.arange(rows) % 2, "f", "m")})
    units = np.arange(rows, dtype=np.uint64)
    truth = pd.Series(generator.normal(size=rows))
    numeric = Dataset(pd.DataFrame({"x": truth}), truth, units, about)
    lines = subgroups(numeric, pd.DataFrame({"value": truth}), NumericEvaluator(), {}, ("sex",))
    assert [(line["group"], line["judged"], line["value"]) for line in lines] == [
        ("f", True, 1.0),
        ("m", True, 1.0),
    ]
    users = [f"u{i}" for i in range(rows)]
    frame = pd.DataFrame({"user": users, "items": [[]] * rows, "times": [[]] * rows})
    wanted = pd.Series([["a"] if i % 2 else ["b"] for i in range(rows)])
    shown = pd.DataFrame({"user": users, "rank": 1, "item": "a", "score": 1.0})
    shown = pd.concat([shown, shown.assign(rank=2, item="b", score=0.5)]).sort_values(["user", "rank"])
    lists = subgroups(Dataset(frame, wanted, units, about), shown, RankingEvaluator(k=1), {}, ("sex",))
    assert [(line["group"], line["value"]) for line in lists] == [("f", 1.0), ("m", 0.0)]
