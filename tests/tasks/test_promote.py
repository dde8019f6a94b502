"""Verdicts on challengers, and the ledger: every decision once, in order, whatever dies or comes in between."""

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
    INCONCLUSIVE,
    KEEP_CHAMPION,
    PROMOTE,
    Alias,
    AliasMovedError,
    Ledger,
    Verdict,
    commit,
    reconcile_alias,
    rollback,
)
from tasks.promote import MIN_UNITS, compare_with_champion, quality_gate

ROOT = Path(__file__).resolve().parents[2]

# --- verdicts ----------------------------------------------------------------------------------------------------


def exam(rows: int = 400) -> Dataset:
    truth = pd.Series(np.arange(rows) % 2, dtype="float64")
    return Dataset(pd.DataFrame({"x": truth}), truth, np.arange(rows, dtype=np.uint64))


def answers(part: Dataset, noise: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"probability": 1 / (1 + np.exp(-part.truth - noise * rng.normal(size=len(part.truth))))}
    )


def verdict(part: Dataset, challenger: float, champion: float, left_out: int = 0) -> Verdict:
    return compare_with_champion.fn(
        BinaryEvaluator(), part, answers(part, challenger), answers(part, champion), left_out
    )


def test_who_is_better_is_promoted() -> None:
    found = verdict(exam(), 0.3, 3.0)
    assert found.verdict == PROMOTE
    assert found.difference
    assert found.difference["low"] > 0
    assert (found.units, found.reason[:25]) == (400, "better than the champion ")
    assert "roc_auc, 400 units" in found.reason


def test_who_is_worse_is_not() -> None:
    found = verdict(exam(), 3.0, 0.3)
    assert (found.verdict, found.reason[:23]) == (KEEP_CHAMPION, "worse than the champion")


def test_a_tie_keeps_the_champion() -> None:
    found = verdict(exam(), 1.0, 1.0)
    assert (found.verdict, found.reason[:11]) == (KEEP_CHAMPION, "no better t")
    assert found.difference
    assert found.difference["value"] == 0


def test_an_advantage_that_may_be_chance_keeps_the_champion() -> None:
    """Better, but not by enough rows to be sure."""
    part = exam(MIN_UNITS)
    one, other = answers(part, 3.0), answers(part, 3.1)
    found = compare_with_champion.fn(BinaryEvaluator(), part, one, other, 0)
    assert found.verdict == KEEP_CHAMPION
    assert found.difference
    assert found.difference["low"] <= 0


def test_few_units_decide_nothing() -> None:
    """Rows of one unit are one witness."""
    found = verdict(exam(MIN_UNITS - 1), 0.3, 3.0)
    assert (found.verdict, found.units, found.difference) == (INCONCLUSIVE, MIN_UNITS - 1, None)
    part = exam(400)
    grouped = Dataset(part.frame, part.truth, part.units // 10)
    assert verdict(grouped, 0.3, 3.0).verdict == INCONCLUSIVE
    assert verdict(exam(MIN_UNITS), 0.1, 9.0).verdict == PROMOTE


def test_an_exam_with_one_answer_decides_nothing() -> None:
    part = exam()
    found = verdict(part.take(np.flatnonzero(part.truth == 1)), 0.3, 3.0)
    assert (found.verdict, found.units) == (INCONCLUSIVE, 200)
    assert "one answer" in found.reason


@pytest.mark.parametrize("rows", [400, 10])
def test_rows_that_the_champion_has_learned_from_are_named(rows: int) -> None:
    assert "; 7 rows left out that the champion learned from" in verdict(exam(rows), 1.0, 1.0, 7).reason
    assert "left out" not in verdict(exam(rows), 1.0, 1.0).reason


def test_recommendations_are_compared_user_by_user() -> None:
    users = pd.Series([f"U{n}" for n in range(80)], dtype="str")
    frame = pd.DataFrame({"user": users, "items": [[]] * 80, "times": [[]] * 80})
    part = Dataset(frame, pd.Series([["a"]] * 80, dtype=object), np.arange(80, dtype=np.uint64))

    def lists(best: str) -> pd.DataFrame:
        return pd.DataFrame({"user": users, "rank": 1, "item": best, "score": 1.0})

    found = compare_with_champion.fn(RankingEvaluator(), part, lists("a"), lists("b"), 0)
    assert found.verdict == PROMOTE
    assert (
        compare_with_champion.fn(RankingEvaluator(), part, lists("b"), lists("a"), 0).verdict == KEEP_CHAMPION
    )


JUDGED = {
    "primary": "roc_auc",
    "metrics": {"roc_auc": 0.8, "calibration_error": 0.03},
    "intervals": {"calibration_error": {"low": 0.02}},
    "groups": [],
}


def test_the_quality_gate_gives_every_check() -> None:
    checks = quality_gate.fn(QualityThresholds(minimum=0.8, calibration_error=0.02), JUDGED, 1.0, 2.0)
    assert [c["check"] for c in checks] == [
        "roc_auc at least",
        "calibration error beyond chance at most",
        "size in MB at most",
        "milliseconds for one row at most",
    ]
    assert all(c["passed"] for c in checks)


def test_a_refusal_of_quality_carries_all_checks() -> None:
    with pytest.raises(
        QualityGateError, match=r"roc_auc at least 0.9; size in MB at most 1; got 0.8; 2"
    ) as refusal:
        quality_gate.fn(QualityThresholds(minimum=0.9, megabytes=1.0), JUDGED, 2.0, 2.0)
    assert [c["passed"] for c in refusal.value.facts["checks"]] == [False, False, True]


# --- ledger ------------------------------------------------------------------------------------------------------


@dataclass
class InFile:
    """An alias that processes share, and that dies or fails where a test says so."""

    path: Path

    def read(self) -> int | None:
        return int(self.path.read_text()) if self.path.exists() else None

    def move(self, version: int) -> None:
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text(str(version))
        temporary.replace(self.path)

    def alias(self, move: Callable[[int], None] | None = None) -> Alias:
        return Alias(self.read, move or self.move)


class Model:
    """One registered model: a ledger and an alias."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.champion = Ledger(folder, "loans.small"), InFile(folder / "alias")

    def decide(
        self, version: int, verdict: str = PROMOTE, test: str = "t", **how: Any
    ) -> tuple[dict[str, Any], bool]:
        about = {"model_digest": f"m{version}", "test_digest": test}
        expected = how.pop("expected", self.champion.read())
        alias = self.champion.alias(how.pop("move", None))
        return commit(self.ledger, alias, Verdict(verdict, "because"), version, expected, about)

    def back(self) -> dict[str, Any]:
        return rollback(self.ledger, self.champion.alias(), "it misbehaves")

    def history(self) -> list[tuple[str, int | None, int | None]]:
        lines = self.ledger.entries()
        assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
        return [(line["verdict"], line["before"], line["champion"]) for line in lines]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


def test_a_decision_is_one_line_and_the_alias_follows(model: Model) -> None:
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
    assert (first["version"], first["reason"], first["model_digest"]) == (1, "because", "m1")
    assert first["at"].endswith("+00:00")


def test_lines_are_only_ever_appended(model: Model) -> None:
    before = b""
    for version in range(1, 6):
        model.decide(version, PROMOTE if version % 2 else KEEP_CHAMPION)
        after = model.ledger.path.read_bytes()
        assert after.startswith(before)
        assert after.count(b"\n") == version
        before = after
    model.back()
    assert model.ledger.path.read_bytes().startswith(before)


def test_a_model_is_decided_about_once_on_one_test(model: Model) -> None:
    first, _ = model.decide(1)
    assert model.decide(1, KEEP_CHAMPION, expected=None) == (first, False)
    model.decide(2)
    assert model.decide(1) == (first, False)
    assert len(model.ledger.entries()) == 2
    _, new = model.decide(1, KEEP_CHAMPION, test="another")
    assert new
    assert model.champion.read() == 2


def test_no_champion_stays_none_without_a_promotion(model: Model) -> None:
    line, _ = model.decide(1, INCONCLUSIVE)
    assert (line["before"], line["champion"], model.champion.read()) == (None, None, None)
    model.decide(2)
    assert model.champion.read() == 2


def test_an_alias_that_moved_since_the_comparison_is_refused(model: Model) -> None:
    model.decide(1)
    model.decide(2)
    for expected in (None, 1):
        with pytest.raises(AliasMovedError):
            model.decide(3, expected=expected)
    assert (model.champion.read(), len(model.ledger.entries())) == (2, 2)


def test_every_torn_last_line_is_passed_over_and_numbers_have_no_gap(model: Model) -> None:
    """The line is cut at every byte, also behind a brace that ends something inside it."""
    model.decide(1)
    whole = model.ledger.path.read_bytes()
    line = Verdict(KEEP_CHAMPION, "because", {"value": 0.1, "low": -0.1, "high": 0.3})
    commit(model.ledger, model.champion.alias(), line, 2, 1, {"model_digest": "m2", "test_digest": "t"})
    torn = model.ledger.path.read_bytes()[len(whole) : -2]
    assert b"}" in torn
    for end in range(len(torn) + 1):
        model.ledger.path.write_bytes(whole + torn[:end])
        assert len(model.ledger.entries()) == 1
        model.ledger.append({"verdict": KEEP_CHAMPION, "before": 1, "champion": 1})
        assert model.history() == [(PROMOTE, None, 1), (KEEP_CHAMPION, 1, 1)]


def test_a_line_that_lost_only_its_end_is_whole(model: Model) -> None:
    model.decide(1)
    model.ledger.path.write_bytes(model.ledger.path.read_bytes()[:-1])
    model.decide(2)
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2)]


# --- crashes, hands and other processes --------------------------------------------------------------------------


def in_process(work: Callable[[], object]) -> Any:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def die(version: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_crash_between_ledger_and_alias_is_settled_by_the_next_call(model: Model) -> None:
    model.decide(1)
    child = in_process(lambda: model.decide(2, move=die))
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert (model.champion.read(), model.history()[-1]) == (1, (PROMOTE, 1, 2))
    # The killed run comes back: its decision stands, and now the alias follows. The lock died with it.
    _, new = model.decide(2)
    assert not new
    assert model.champion.read() == 2
    assert len(model.ledger.entries()) == 2


def test_a_crash_of_the_first_promotion_is_settled(model: Model) -> None:
    in_process(lambda: model.decide(1, move=die)).join(60)
    assert model.champion.read() is None
    with model.ledger.lock():
        assert reconcile_alias(model.ledger, model.champion.alias()) == 1
    assert model.champion.read() == 1


def test_a_crash_of_a_rollback_is_settled(model: Model) -> None:
    model.decide(1)
    model.decide(2)
    in_process(lambda: rollback(model.ledger, model.champion.alias(die), "it misbehaves")).join(60)
    assert model.champion.read() == 2
    with pytest.raises(AliasMovedError):
        model.decide(3)
    assert model.champion.read() == 1
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2), ("rollback", 2, 1), (PROMOTE, 1, 3)]


# At the word, its first version as the first champion, if there is none yet; then all, each over whoever is champion.
CHILD = """
import os, sys
from pathlib import Path
from tasks.ledger import PROMOTE, Alias, AliasMovedError, Ledger, Verdict, commit

folder, versions = Path(sys.argv[1]), [int(v) for v in sys.argv[2:]]
file = folder / "alias"

def read():
    return int(file.read_text()) if file.exists() else None

def move(version):
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(str(version))
    temporary.replace(file)

def committed(version, expected):
    about = {"model_digest": f"m{version}", "test_digest": "t"}
    verdict = Verdict(PROMOTE, "because")
    try:
        commit(Ledger(folder, "loans.small"), Alias(read, move), verdict, version, expected, about)
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


def test_eight_processes_at_once_lose_nothing_and_follow_one_another(model: Model) -> None:
    folder = model.ledger.path.parent
    versions = [[10 * child + n for n in range(5)] for child in range(1, 9)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as running:
        children = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), *map(str, mine)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for mine in versions
        ]
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        said = [child.communicate() for child in children]
    assert [(child.returncode, err) for child, (_, err) in zip(children, said, strict=True)] == [(0, "")] * 8
    assert sorted(out for out, _ in said) == ["first\n"] + ["late\n"] * 7
    verdicts, befores, champions = zip(*model.history(), strict=True)
    assert set(verdicts) == {PROMOTE}
    assert sorted(champions) == [v for mine in versions for v in mine]
    assert befores == (None, *champions[:-1])
    assert model.champion.read() == champions[-1]


def test_settling_nothing_writes_nothing(model: Model) -> None:
    with model.ledger.lock():
        assert reconcile_alias(model.ledger, model.champion.alias()) is None
        model.champion.move(4)
        assert reconcile_alias(model.ledger, model.champion.alias()) == 4
    assert model.ledger.entries() == []


def test_a_move_by_hand_is_noted_and_stands(model: Model) -> None:
    model.decide(1)
    model.decide(2)
    model.champion.move(7)
    model.decide(3, KEEP_CHAMPION)
    assert model.history()[2:] == [("external", 2, 7), (KEEP_CHAMPION, 7, 7)]
    assert model.champion.read() == 7
    assert model.back()["champion"] == 2


def test_a_rollback_goes_back_through_all_champions(model: Model) -> None:
    for version in (1, 2, 3, 4):
        model.decide(version, KEEP_CHAMPION if version == 3 else PROMOTE)
    assert [model.back()["champion"] for _ in range(2)] == [2, 1]
    assert model.champion.read() == 1
    with pytest.raises(UsageError, match=r"a champion of loans\.small before the present one"):
        model.back()
    assert model.champion.read() == 1
    # What was rolled back may come again, on another exam, and be rolled back again.
    model.decide(4, test="another")
    line = model.back()
    assert (line["verdict"], line["reason"], line["before"], line["champion"]) == (
        "rollback",
        "it misbehaves",
        4,
        1,
    )


def test_without_a_champion_there_is_nothing_to_go_back_to(model: Model) -> None:
    with pytest.raises(UsageError):
        model.back()
    model.decide(1, INCONCLUSIVE)
    with pytest.raises(UsageError):
        model.back()
    assert len(model.ledger.entries()) == 1


def test_a_champion_that_was_taken_away_by_hand_comes_back(model: Model) -> None:
    for version in (1, 2, 3):
        model.decide(version)
    model.champion.path.unlink()
    assert [model.back()["champion"] for _ in range(3)] == [3, 2, 1]
    assert model.history()[3] == ("external", 3, None)
