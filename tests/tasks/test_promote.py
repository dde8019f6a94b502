"""Verdicts on challengers, and the ledger: each decision once, in order, also after crashes and concurrent runs."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.errors import QualityGateError, UsageError
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.evaluation.ranking_evaluator import RankingEvaluator
from tasks.ledger import (
    CHAMPION_UNUSABLE,
    INCONCLUSIVE,
    KEEP_CHAMPION,
    PROMOTE,
    Alias,
    AliasMovedError,
    Ledger,
    Verdict,
    commit_verdict,
    reconcile_alias,
    rollback,
)
from tasks.promote import MIN_UNITS, compare_with_champion, quality_gate

ROOT = Path(__file__).resolve().parents[2]

# --- verdicts ----------------------------------------------------------------------------------------------------


def dataset(rows: int = 400) -> Dataset:
    truth = pd.Series(np.arange(rows) % 2, dtype="float64")
    return Dataset(pd.DataFrame({"x": truth}), truth, np.arange(rows, dtype=np.uint64))


def predictions(test: Dataset, noise: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"probability": 1 / (1 + np.exp(-test.truth - noise * rng.normal(size=len(test.truth))))}
    )


def compare(test: Dataset, challenger: float, champion: float, left_out: int = 0) -> Verdict:
    """Compare models by the noise in their predictions."""
    return compare_with_champion.fn(
        BinaryEvaluator(), test, predictions(test, challenger), predictions(test, champion), left_out
    )


def test_a_better_challenger_is_promoted() -> None:
    verdict = compare(dataset(), 0.3, 3.0)
    assert verdict.verdict == PROMOTE
    assert verdict.difference
    assert verdict.difference["low"] > 0
    assert (verdict.units, verdict.reason[:25]) == (400, "better than the champion ")
    assert "roc_auc, 400 units" in verdict.reason


def test_a_worse_challenger_is_not_promoted() -> None:
    verdict = compare(dataset(), 3.0, 0.3)
    assert (verdict.verdict, verdict.reason[:23]) == (KEEP_CHAMPION, "worse than the champion")


def test_equal_predictions_keep_the_champion() -> None:
    verdict = compare(dataset(), 1.0, 1.0)
    assert (verdict.verdict, verdict.reason[:11]) == (KEEP_CHAMPION, "no better t")
    assert verdict.difference
    assert verdict.difference["value"] == 0


def test_an_advantage_that_is_not_significant_keeps_the_champion() -> None:
    """The challenger is better on average, on too few rows."""
    verdict = compare(dataset(MIN_UNITS), 3.0, 3.1)
    assert verdict.verdict == KEEP_CHAMPION
    assert verdict.difference
    assert verdict.difference["low"] <= 0


def test_too_few_units_are_inconclusive() -> None:
    """Units are counted, not rows."""
    verdict = compare(dataset(MIN_UNITS - 1), 0.3, 3.0)
    assert (verdict.verdict, verdict.units, verdict.difference) == (INCONCLUSIVE, MIN_UNITS - 1, None)
    rows = dataset(400)
    grouped = Dataset(rows.frame, rows.truth, rows.units // 10)
    assert compare(grouped, 0.3, 3.0).verdict == INCONCLUSIVE
    assert compare(dataset(MIN_UNITS), 0.1, 9.0).verdict == PROMOTE


def test_a_test_dataset_with_one_target_value_is_inconclusive() -> None:
    rows = dataset()
    verdict = compare(rows.take(np.flatnonzero(rows.truth == 1)), 0.3, 3.0)
    assert (verdict.verdict, verdict.units) == (INCONCLUSIVE, 200)
    assert "the same target value" in verdict.reason


@pytest.mark.parametrize("rows", [400, 10])
def test_the_reason_counts_rows_that_the_champion_was_trained_on(rows: int) -> None:
    assert "; 7 rows left out that the champion was trained on" in compare(dataset(rows), 1.0, 1.0, 7).reason
    assert "left out" not in compare(dataset(rows), 1.0, 1.0).reason


def test_recommendations_are_compared_by_user() -> None:
    users = pd.Series([f"U{n}" for n in range(80)], dtype="str")
    frame = pd.DataFrame({"user": users, "items": [[]] * 80, "times": [[]] * 80})
    test = Dataset(frame, pd.Series([["a"]] * 80, dtype=object), np.arange(80, dtype=np.uint64))

    def recommend(item: str) -> pd.DataFrame:
        return pd.DataFrame({"user": users, "rank": 1, "item": item, "score": 1.0})

    better = compare_with_champion.fn(RankingEvaluator(), test, recommend("a"), recommend("b"), 0)
    worse = compare_with_champion.fn(RankingEvaluator(), test, recommend("b"), recommend("a"), 0)
    assert (better.verdict, worse.verdict) == (PROMOTE, KEEP_CHAMPION)


EVALUATION: Any = {
    "primary": "roc_auc",
    "low": 0.8,
    "high": 0.88,
    "metrics": {"roc_auc": 0.85, "calibration_error": 0.03},
    "intervals": {"calibration_error": {"low": 0.02}},
    "groups": [],
}


def test_the_quality_gate_returns_all_checks() -> None:
    checks = quality_gate.fn(
        QualityThresholds(min_primary=0.8, max_calibration_error=0.02), EVALUATION, 1.0, 2.0
    )
    assert [c["check"] for c in checks] == [
        "lower limit of roc_auc at least",
        "calibration error beyond chance at most",
        "size in MB at most",
        "milliseconds for one row at most",
    ]
    assert all(c["passed"] for c in checks)


def test_a_quality_error_has_all_checks() -> None:
    with pytest.raises(
        QualityGateError, match=r"roc_auc at least 0.9; size in MB at most 1; got 0.8; 2"
    ) as error:
        quality_gate.fn(QualityThresholds(min_primary=0.9, max_megabytes=1.0), EVALUATION, 2.0, 2.0)
    assert [c["passed"] for c in error.value.facts["checks"]] == [False, False, True]


def test_too_few_test_rows_are_named_as_such() -> None:
    """A good model of a small table and a bad one of a large table are refused for different reasons."""
    with pytest.raises(QualityGateError, match=r"got 0.8 \(too few test rows to tell\)"):
        quality_gate.fn(QualityThresholds(min_primary=0.82), EVALUATION, 1.0, 2.0)
    with pytest.raises(QualityGateError, match=r"got 0.8;"):
        quality_gate.fn(QualityThresholds(min_primary=0.89), EVALUATION, 1.0, 2.0)


def test_few_units_of_one_class_are_inconclusive() -> None:
    """The normal interval of a difference of two AUCs is too narrow with few positives."""
    rows = dataset()
    positive = np.flatnonzero(rows.truth == 1)
    few = np.concatenate([positive[:9], np.flatnonzero(rows.truth == 0)])
    verdict = compare(rows.take(few), 0.3, 3.0)
    assert verdict.verdict == INCONCLUSIVE
    assert "9 units of the rarer class to compare on, fewer than 10" in verdict.reason
    assert compare(rows, 0.3, 3.0).verdict != INCONCLUSIVE


# --- ledger ------------------------------------------------------------------------------------------------------


@dataclass
class FileAlias:
    """An alias in a file, so that processes can share it."""

    path: Path

    def read(self) -> int | None:
        return int(self.path.read_text()) if self.path.exists() else None

    def move(self, version: int) -> None:
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text(str(version))
        temporary.replace(self.path)

    def alias(self, move: Callable[[int], None] | None = None) -> Alias:
        return Alias(self.read, move or self.move)


class RegisteredModel:
    """A ledger and an alias."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.champion = Ledger(folder, "loans.small"), FileAlias(folder / "alias")

    def decide(
        self, version: int, verdict: str = PROMOTE, test: str = "t", **options: Any
    ) -> tuple[dict[str, Any], bool]:
        details = {"model_digest": f"m{version}", "test_digest": test}
        expected = options.pop("expected", self.champion.read())
        alias = self.champion.alias(options.pop("move", None))
        return commit_verdict(self.ledger, alias, Verdict(verdict, "a reason"), version, expected, details)

    def roll_back(self) -> dict[str, Any]:
        return rollback(self.ledger, self.champion.alias(), "bad predictions")

    def history(self) -> list[tuple[str, int | None, int | None]]:
        entries = self.ledger.entries()
        assert [entry["line"] for entry in entries] == list(range(1, len(entries) + 1))
        return [(entry["verdict"], entry["before"], entry["champion"]) for entry in entries]


@pytest.fixture
def model(tmp_path: Path) -> RegisteredModel:
    return RegisteredModel(tmp_path)


def test_a_decision_is_one_entry_and_moves_the_alias(model: RegisteredModel) -> None:
    assert model.ledger.entries() == []
    first, new = model.decide(1)
    assert new
    assert model.champion.read() == 1
    model.decide(2, KEEP_CHAMPION)
    assert model.champion.read() == 1
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (KEEP_CHAMPION, 1, 1), (PROMOTE, 1, 3)]
    assert model.champion.read() == 3
    assert model.ledger.entries()[0] == first
    assert first["model"] == "loans.small"
    assert (first["version"], first["reason"], first["model_digest"]) == (1, "a reason", "m1")
    assert first["at"].endswith("+00:00")


def test_entries_are_only_appended(model: RegisteredModel) -> None:
    before = b""
    for version in range(1, 6):
        model.decide(version, PROMOTE if version % 2 else KEEP_CHAMPION)
        after = model.ledger.path.read_bytes()
        assert after.startswith(before)
        assert after.count(b"\n") == version
        before = after
    model.roll_back()
    assert model.ledger.path.read_bytes().startswith(before)


def test_a_model_has_one_decision_per_test_dataset(model: RegisteredModel) -> None:
    first, _ = model.decide(1)
    assert model.decide(1, KEEP_CHAMPION, expected=None) == (first, False)
    model.decide(2)
    assert model.decide(1) == (first, False)
    assert len(model.ledger.entries()) == 2
    _, new = model.decide(1, KEEP_CHAMPION, test="another")
    assert new
    assert model.champion.read() == 2


def test_only_a_promotion_makes_a_first_champion(model: RegisteredModel) -> None:
    entry, _ = model.decide(1, INCONCLUSIVE)
    assert (entry["before"], entry["champion"], model.champion.read()) == (None, None, None)
    model.decide(2)
    assert model.champion.read() == 2


def test_a_decision_after_the_alias_moved_is_an_error(model: RegisteredModel) -> None:
    model.decide(1)
    model.decide(2)
    for expected in (None, 1):
        with pytest.raises(AliasMovedError):
            model.decide(3, expected=expected)
    assert (model.champion.read(), len(model.ledger.entries())) == (2, 2)


def test_an_incomplete_last_line_is_ignored_and_numbers_have_no_gap(model: RegisteredModel) -> None:
    """The line is cut at each byte, also after the brace of a nested object."""
    model.decide(1)
    whole = model.ledger.path.read_bytes()
    verdict = Verdict(KEEP_CHAMPION, "a reason", {"value": 0.1, "low": -0.1, "high": 0.3})
    details = {"model_digest": "m2", "test_digest": "t"}
    commit_verdict(model.ledger, model.champion.alias(), verdict, 2, 1, details)
    last = model.ledger.path.read_bytes()[len(whole) : -2]
    assert b"}" in last
    for end in range(len(last) + 1):
        model.ledger.path.write_bytes(whole + last[:end])
        assert len(model.ledger.entries()) == 1
        model.ledger.append({"verdict": KEEP_CHAMPION, "before": 1, "champion": 1})
        assert model.history() == [(PROMOTE, None, 1), (KEEP_CHAMPION, 1, 1)]


def test_a_last_line_without_line_end_is_complete(model: RegisteredModel) -> None:
    model.decide(1)
    model.ledger.path.write_bytes(model.ledger.path.read_bytes()[:-1])
    model.decide(2)
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2)]


@pytest.mark.parametrize(
    ("former", "present"),
    [("keep", KEEP_CHAMPION), ("incomparable", CHAMPION_UNUSABLE), ("promote", PROMOTE)],
)
def test_verdicts_of_version_0_1_are_read_as_the_present_ones(
    model: RegisteredModel, former: str, present: str
) -> None:
    model.decide(1)
    written = model.ledger.path.read_bytes()
    line = json.dumps({"line": 2, "verdict": former, "before": 1, "champion": 1}).encode() + b"\n"
    model.ledger.path.write_bytes(written + line)
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (present, 1, 1), (PROMOTE, 1, 3)]
    # The ledger is append-only: what was written stays as it is.
    assert model.ledger.path.read_bytes().startswith(written + line)


# --- crashes, manual changes and concurrent processes ------------------------------------------------------------


def start_process(function: Callable[[], object]) -> Any:
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    return process


def kill_self(version: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_next_call_completes_a_decision_after_a_crash(model: RegisteredModel) -> None:
    model.decide(1)
    child = start_process(lambda: model.decide(2, move=kill_self))
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert (model.champion.read(), model.history()[-1]) == (1, (PROMOTE, 1, 2))
    # The killed run is repeated: its decision is kept, and the alias is moved. Its lock was released.
    _, new = model.decide(2)
    assert not new
    assert model.champion.read() == 2
    assert len(model.ledger.entries()) == 2


def test_a_crash_of_the_first_promotion_is_completed(model: RegisteredModel) -> None:
    start_process(lambda: model.decide(1, move=kill_self)).join(60)
    assert model.champion.read() is None
    with model.ledger.lock():
        assert reconcile_alias(model.ledger, model.champion.alias()) == 1
    assert model.champion.read() == 1


def test_a_crash_of_a_rollback_is_completed(model: RegisteredModel) -> None:
    model.decide(1)
    model.decide(2)
    start_process(lambda: rollback(model.ledger, model.champion.alias(kill_self), "bad predictions")).join(60)
    assert model.champion.read() == 2
    with pytest.raises(AliasMovedError):
        model.decide(3)
    assert model.champion.read() == 1
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2), ("rollback", 2, 1), (PROMOTE, 1, 3)]


# Waits for a line, then commits its first version as the first champion, if there is none yet, then all its versions.
CHILD = """
import os, sys
from pathlib import Path
from tasks.ledger import PROMOTE, Alias, AliasMovedError, Ledger, Verdict, commit_verdict

folder, versions = Path(sys.argv[1]), [int(v) for v in sys.argv[2:]]
file = folder / "alias"

def read():
    return int(file.read_text()) if file.exists() else None

def move(version):
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(str(version))
    temporary.replace(file)

def committed(version, expected):
    details = {"model_digest": f"m{version}", "test_digest": "t"}
    verdict = Verdict(PROMOTE, "a reason")
    try:
        commit_verdict(Ledger(folder, "loans.small"), Alias(read, move), verdict, version, expected, details)
    except AliasMovedError:
        return False
    return True

print("ready", flush=True)
sys.stdin.readline()
print("first" if committed(versions[0], None) else "late")
for version in versions:
    while not committed(version, read()):
        pass
"""


def test_decisions_of_eight_concurrent_processes_are_a_chain(model: RegisteredModel) -> None:
    folder = model.ledger.path.parent
    versions = [[10 * child + n for n in range(5)] for child in range(1, 9)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as running:
        children = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), *map(str, child_versions)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for child_versions in versions
        ]
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        outputs = [child.communicate() for child in children]
    assert [(child.returncode, err) for child, (_, err) in zip(children, outputs, strict=True)] == [
        (0, "")
    ] * 8
    assert sorted(out for out, _ in outputs) == ["first\n"] + ["late\n"] * 7
    verdicts, previous, champions = zip(*model.history(), strict=True)
    assert set(verdicts) == {PROMOTE}
    assert sorted(champions) == [version for child_versions in versions for version in child_versions]
    assert previous == (None, *champions[:-1])
    assert model.champion.read() == champions[-1]


def test_reconciling_an_empty_ledger_writes_nothing(model: RegisteredModel) -> None:
    with model.ledger.lock():
        assert reconcile_alias(model.ledger, model.champion.alias()) is None
        model.champion.move(4)
        assert reconcile_alias(model.ledger, model.champion.alias()) == 4
    assert model.ledger.entries() == []


def test_an_external_move_of_the_alias_is_recorded_and_kept(model: RegisteredModel) -> None:
    model.decide(1)
    model.decide(2)
    model.champion.move(7)
    model.decide(3, KEEP_CHAMPION)
    assert model.history()[2:] == [("external", 2, 7), (KEEP_CHAMPION, 7, 7)]
    assert model.champion.read() == 7
    assert model.roll_back()["champion"] == 2


def test_rollbacks_return_through_all_champions(model: RegisteredModel) -> None:
    for version in (1, 2, 3, 4):
        model.decide(version, KEEP_CHAMPION if version == 3 else PROMOTE)
    assert [model.roll_back()["champion"] for _ in range(2)] == [2, 1]
    assert model.champion.read() == 1
    with pytest.raises(UsageError, match=r"a champion of loans\.small before the present one"):
        model.roll_back()
    assert model.champion.read() == 1
    # A version that was rolled back may be promoted again, on another test dataset, and rolled back again.
    model.decide(4, test="another")
    entry = model.roll_back()
    assert (entry["verdict"], entry["reason"], entry["before"], entry["champion"]) == (
        "rollback",
        "bad predictions",
        4,
        1,
    )


def test_a_rollback_without_an_earlier_champion_is_an_error(model: RegisteredModel) -> None:
    with pytest.raises(UsageError):
        model.roll_back()
    model.decide(1, INCONCLUSIVE)
    with pytest.raises(UsageError):
        model.roll_back()
    assert len(model.ledger.entries()) == 1


def test_a_rollback_restores_a_removed_alias(model: RegisteredModel) -> None:
    for version in (1, 2, 3):
        model.decide(version)
    model.champion.path.unlink()
    assert [model.roll_back()["champion"] for _ in range(3)] == [3, 2, 1]
    assert model.history()[3] == ("external", 3, None)
