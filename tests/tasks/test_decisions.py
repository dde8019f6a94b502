"""Decisions about champions: each once, in order, also after crashes, manual changes and concurrent runs."""

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml.errors import UsageError
from ml.evaluation.looks import EarlierLook
from tasks.decisions import (
    AliasMovedError,
    commit_verdict,
    earlier_looks,
    reconcile_champion,
    rollback,
    start_ledger,
)
from tasks.ledger import CHAMPION_UNUSABLE, INCONCLUSIVE, KEEP_CHAMPION, PROMOTE, Ledger, Verdict, read_state
from tasks.ledger_chain import Head, RecordState, sha256
from tasks.tracking.model_folder import ModelDigests
from tests.guard import GUARD

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class FileRecord:
    """What MLflow holds about a model, in a file, so that processes can share it; MLflow itself: test_ledger.py."""

    path: Path
    state_dir_id: str = "a"
    # Called before each step that writes.
    before_step: Callable[[str], None] = field(default=lambda name: None)

    def _load(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return loaded

    def _save(self, name: str, value: object, step: str | None = None) -> None:
        self.before_step(step or name)
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({**self._load(), name: value}))
        temporary.replace(self.path)

    def read(self) -> RecordState:
        found = self._load()
        head = found.get("head")
        return RecordState(found.get("champion"), Head.parse(head) if head else None, found.get("pending"))

    def versions(self) -> set[int]:
        return set(range(1, 100))

    def digests(self, version: int) -> ModelDigests:
        return ModelDigests(f"m{version}", "")

    def create(self) -> None:
        pass

    def move_champion(self, version: int | None) -> None:
        self._save("champion", version)

    def write_head(self, head: Head) -> None:
        self._save("head", str(head))

    def write_pending(self, digest: str | None) -> None:
        self._save("pending", digest, "pending" if digest else "cleared")


class RegisteredModel:
    """A ledger and what MLflow holds about its model."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.record = Ledger(folder, "loans.small"), FileRecord(folder / "record.json")

    @property
    def champion(self) -> int | None:
        return self.record.read().champion

    def decide(
        self, version: int, verdict: str = PROMOTE, test: str = "t", **options: Any
    ) -> tuple[dict[str, Any], bool]:
        details = {"model_digest": f"m{version}", "test_digest": test}
        expected = options.pop("expected", self.champion)
        return commit_verdict(
            self.ledger, self.record, Verdict(verdict, "a reason"), version, expected, details
        )

    def roll_back(self) -> dict[str, Any]:
        return rollback(self.ledger, self.record, "bad predictions")

    def history(self) -> list[tuple[str, int | None, int | None]]:
        assert not read_state(self.ledger, self.record).problems
        entries = self.ledger.entries()
        assert [entry["line"] for entry in entries] == list(range(1, len(entries) + 1))
        return [(entry["verdict"], entry["before"], entry["champion"]) for entry in entries]

    def kill_before(self, step: str, decision: Callable[[], object]) -> None:
        """Kill a process that decides, right before a step: pending, append, champion, head or cleared."""

        def kill(name: str) -> None:
            if name == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def child() -> None:
            self.record.before_step = kill
            if step == "append":
                self.ledger.append = lambda content: kill("append")  # type: ignore[method-assign]
            decision()

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(GUARD)
        assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def model(tmp_path: Path) -> RegisteredModel:
    return RegisteredModel(tmp_path)


def test_a_decision_is_one_entry_and_moves_the_alias(model: RegisteredModel) -> None:
    assert model.ledger.entries() == []
    first, new = model.decide(1)
    assert new
    assert model.champion == 1
    model.decide(2, KEEP_CHAMPION)
    assert model.champion == 1
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (KEEP_CHAMPION, 1, 1), (PROMOTE, 1, 3)]
    assert model.champion == 3
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
    assert model.champion == 2


def test_a_model_that_was_compared_with_another_champion_is_decided_about_anew(
    model: RegisteredModel,
) -> None:
    """Version 3 was kept from the place of version 2, which was rolled back: it may be better than version 1."""
    model.decide(1)
    model.decide(2)
    kept, _ = model.decide(3, KEEP_CHAMPION)
    assert model.decide(3) == (kept, False)
    model.roll_back()
    entry, is_new = model.decide(3)
    assert (is_new, entry["before"], model.champion) == (True, 1, 3)
    # What was rolled back stays so.
    assert not model.decide(2)[1]
    # A champion that could not predict may have been repaired since.
    model.decide(4, CHAMPION_UNUSABLE)
    assert model.decide(4)[1]
    assert model.champion == 4
    # One that cannot predict any more is recorded as such, also where the model was decided about while it could.
    kept, _ = model.decide(5, KEEP_CHAMPION)
    unusable, is_new = model.decide(5, CHAMPION_UNUSABLE)
    assert (is_new, unusable["verdict"], model.champion) == (True, CHAMPION_UNUSABLE, 4)
    assert model.decide(5) == (kept, False)


def test_only_a_promotion_makes_a_first_champion(model: RegisteredModel) -> None:
    entry, _ = model.decide(1, INCONCLUSIVE)
    assert (entry["before"], entry["champion"], model.champion) == (None, None, None)
    model.decide(2)
    assert model.champion == 2


def test_a_decision_after_the_alias_moved_is_an_error(model: RegisteredModel) -> None:
    model.decide(1)
    model.decide(2)
    for expected in (None, 1):
        with pytest.raises(AliasMovedError):
            model.decide(3, expected=expected)
    assert (model.champion, len(model.ledger.entries())) == (2, 2)


def test_an_incomplete_last_line_is_ignored_and_numbers_have_no_gap(model: RegisteredModel) -> None:
    """The line is cut at many bytes, also after the brace of a nested object; it is pending, since a crash cut it."""
    model.decide(1)
    whole, before = model.ledger.path.read_bytes(), model.record.path.read_bytes()
    verdict = Verdict(KEEP_CHAMPION, "a reason", {"value": 0.1, "low": -0.1, "high": 0.3})
    details = {"model_digest": "m2", "test_digest": "t"}
    commit_verdict(model.ledger, model.record, verdict, 2, 1, details)
    last = model.ledger.path.read_bytes()[len(whole) : -2]
    assert b"}" in last
    for end in (*range(0, len(last), 20), last.index(b"}") + 1, len(last)):
        model.record.path.write_bytes(before)
        model.record.write_pending(sha256(last + b"}"))
        model.ledger.path.write_bytes(whole + last[:end])
        assert len(model.ledger.entries()) == 1
        model.decide(3, KEEP_CHAMPION)
        assert model.history() == [(PROMOTE, None, 1), (KEEP_CHAMPION, 1, 1)]
        assert model.ledger.path.read_bytes().count(b"\n") == 2


def test_a_last_line_without_line_end_is_complete(model: RegisteredModel) -> None:
    model.decide(1)
    model.ledger.path.write_bytes(model.ledger.path.read_bytes()[:-1])
    model.decide(2)
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2)]


@pytest.mark.parametrize(
    ("former", "present"),
    [("keep", KEEP_CHAMPION), ("incomparable", CHAMPION_UNUSABLE), ("promote", PROMOTE)],
)
def test_verdicts_of_version_0_1_are_read_as_the_present_ones_and_begin_the_chain(
    model: RegisteredModel, former: str, present: str, caplog: pytest.LogCaptureFixture
) -> None:
    common = {"at": "2026-01-01T00:00:00+00:00", "model": "loans.small", "reason": "better"}
    lines = [
        {"line": 1, "verdict": "promote", "before": None, "champion": 1, **common},
        {"line": 2, "verdict": former, "before": 1, "champion": 1, **common},
    ]
    written = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    model.ledger.path.write_bytes(written)
    model.record.move_champion(1)
    caplog.set_level(logging.INFO, logger="steward")
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (present, 1, 1), (PROMOTE, 1, 3)]
    assert f"the chain of the ledger of loans.small starts after its {len(written)} bytes" in caplog.text
    # The ledger is append-only: what was written stays as it is, and is part of the chain.
    assert model.ledger.path.read_bytes().startswith(written)
    assert model.ledger.entries()[-1]["previous"] == sha256(written)
    model.ledger.path.write_bytes(model.ledger.path.read_bytes().replace(b"better", b"batter", 1))
    assert read_state(model.ledger, model.record).problems == (
        "one of the lines 1 to 2 was changed, moved or added after it was written",
    )


# --- crashes, manual changes and concurrent processes ------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "appended", "moved"),
    [("pending", 0, 1), ("append", 0, 1), ("champion", 1, 1), ("head", 1, 2), ("cleared", 1, 2)],
)
def test_the_next_call_completes_a_decision_after_a_crash(
    model: RegisteredModel, step: str, appended: int, moved: int
) -> None:
    model.decide(1)
    model.kill_before(step, lambda: model.decide(2))
    assert (len(model.ledger.entries()), model.champion) == (1 + appended, moved)
    # The killed run is repeated: its decision is kept, and the alias is moved. Its lock was released.
    _, new = model.decide(2, expected=1)
    assert new == (not appended)
    assert model.champion == 2
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2)]
    assert model.record.read().pending is None
    model.decide(3)
    assert model.history()[2:] == [(PROMOTE, 2, 3)]


@pytest.mark.parametrize("step", ["pending", "append", "champion", "head", "cleared"])
def test_a_crash_of_the_first_promotion_is_completed(model: RegisteredModel, step: str) -> None:
    start_ledger(model.ledger, model.record)
    model.kill_before(step, lambda: model.decide(1))
    with model.ledger.lock():
        state = reconcile_champion(model.ledger, model.record)
    made = step not in ("pending", "append")
    assert state.record.champion == model.champion == (1 if made else None)
    model.decide(2)
    assert model.champion == 2


@pytest.mark.parametrize("step", ["pending", "append", "champion", "head", "cleared"])
def test_a_crash_of_a_rollback_is_completed(model: RegisteredModel, step: str) -> None:
    model.decide(1)
    model.decide(2)
    model.kill_before(step, model.roll_back)
    if step in ("pending", "append"):
        model.roll_back()
    else:
        with pytest.raises(AliasMovedError):
            model.decide(3, expected=2)
    assert model.champion == 1
    model.decide(3)
    assert model.history() == [(PROMOTE, None, 1), (PROMOTE, 1, 2), ("rollback", 2, 1), (PROMOTE, 1, 3)]


@pytest.mark.parametrize("step", ["append", "head", "cleared"])
def test_an_alias_moved_by_hand_after_a_crash_is_respected(model: RegisteredModel, step: str) -> None:
    model.decide(1)
    model.kill_before(step, lambda: model.decide(2))
    model.record.move_champion(7)
    model.decide(3, KEEP_CHAMPION)
    before = [] if step == "append" else [(PROMOTE, 1, 2)]
    expected = 1 if step == "append" else 2
    assert model.history() == [
        (PROMOTE, None, 1),
        *before,
        ("external", expected, 7),
        (KEEP_CHAMPION, 7, 7),
    ]


# Waits for a line, then commits its first version as the first champion, if there is none yet, then all its versions.
CHILD = """
import runpy, sys
from pathlib import Path

test = runpy.run_path(sys.argv[1])
versions = [int(v) for v in sys.argv[3:]]
model = test["RegisteredModel"](Path(sys.argv[2]))

def committed(version, **options):
    try:
        model.decide(version, **options)
    except test["AliasMovedError"]:
        return False
    return True

print("ready", flush=True)
sys.stdin.readline()
print("first" if committed(versions[0], expected=None) else "late")
for version in versions:
    while not committed(version):
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
                    [
                        sys.executable,
                        "-W",
                        "ignore",
                        "-c",
                        CHILD,
                        __file__,
                        str(folder),
                        *map(str, child_versions),
                    ],
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
    assert model.champion == champions[-1]


def test_reconciling_an_empty_ledger_writes_nothing(model: RegisteredModel) -> None:
    with model.ledger.lock():
        assert reconcile_champion(model.ledger, model.record).record.champion is None
        model.record.move_champion(4)
        assert reconcile_champion(model.ledger, model.record).record.champion == 4
    assert model.ledger.entries() == []


def test_an_external_move_of_the_alias_is_recorded_and_kept(model: RegisteredModel) -> None:
    model.decide(1)
    model.decide(2)
    model.record.move_champion(7)
    model.decide(3, KEEP_CHAMPION)
    assert model.history()[2:] == [("external", 2, 7), (KEEP_CHAMPION, 7, 7)]
    assert model.champion == 7
    assert model.roll_back()["champion"] == 2


def test_an_alias_moved_back_to_the_previous_version_is_recorded_and_kept(model: RegisteredModel) -> None:
    model.decide(1)
    model.decide(2)
    model.record.move_champion(1)
    model.decide(3, KEEP_CHAMPION)
    assert model.history()[2:] == [("external", 2, 1), (KEEP_CHAMPION, 1, 1)]
    assert model.champion == 1
    model.record.move_champion(None)
    model.decide(4, INCONCLUSIVE)
    assert model.history()[4:] == [("external", 1, None), (INCONCLUSIVE, None, None)]
    assert model.champion is None


def test_a_clock_that_is_behind_the_last_decision_changes_no_order(
    model: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "tasks.ledger.datetime", SimpleNamespace(now=lambda zone: datetime(2099, 1, 1, tzinfo=zone))
        )
        model.decide(1, PROMOTE)
    model.decide(2, PROMOTE)
    assert model.roll_back()["champion"] == 1
    entries = model.ledger.entries()
    assert [entry["line"] for entry in entries] == [1, 2, 3]
    assert entries[0]["at"] > entries[1]["at"]
    assert read_state(model.ledger, model.record).problems == ()


def test_rollbacks_return_through_all_champions(model: RegisteredModel) -> None:
    for version in (1, 2, 3, 4):
        model.decide(version, KEEP_CHAMPION if version == 3 else PROMOTE)
    assert [model.roll_back()["champion"] for _ in range(2)] == [2, 1]
    assert model.champion == 1
    with pytest.raises(UsageError, match=r"a champion of loans\.small before the present one"):
        model.roll_back()
    assert model.champion == 1
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
    model.record.move_champion(None)
    assert [model.roll_back()["champion"] for _ in range(3)] == [3, 2, 1]
    assert model.history()[3] == ("external", 3, None)


def test_comparisons_in_a_ledger_are_looks(model: RegisteredModel) -> None:
    """Also those of earlier releases, which recorded no rows; decisions without a comparison only know the recipe."""
    difference = {"value": 0.1, "low": -0.1, "high": 0.3, "p_value": 0.5}
    old = [
        {"verdict": PROMOTE, "version": 1, "difference": None},
        {"verdict": KEEP_CHAMPION, "version": 2, "difference": difference},
        {"verdict": INCONCLUSIVE, "version": 3, "difference": None},
    ]
    assert earlier_looks(old) == [EarlierLook(None, None)]
    judged = {"model_digest": "m", "rows": "0a", "recipe": "r"}
    look = {"number": 2, "level": 0.01, "is_new_recipe": True, "lead": "clear"}
    behind = {**difference, "value": -0.1, "units": 9}
    verdicts = (
        Verdict(PROMOTE, "first"),
        Verdict(KEEP_CHAMPION, "no", difference, 9, look),
        Verdict(KEEP_CHAMPION, "not ahead", validation=behind),
    )
    for number, verdict in enumerate(verdicts, 1):
        details = {**judged, "test_digest": str(number)}
        commit_verdict(model.ledger, model.record, verdict, number, model.champion, details)
    first, second, third = model.ledger.entries()
    assert "look" not in first
    assert second["look"] == look
    assert (third["validation"], "look" in third) == (behind, False)
    assert earlier_looks([*old, first, second, third]) == [
        EarlierLook(None, None),
        EarlierLook("0a", "r", is_look=False),
        EarlierLook("0a", "r", is_look=True, is_new_recipe=True, lead="clear"),
        EarlierLook("0a", "r", is_look=False),
    ]
    # Leads over another champion are no measure, and a line that somebody wrote by hand stops nothing.
    odd = [{**third, "validation": each} for each in ("x", {"value": "x"}, {"value": float("nan")}, None)]
    assert [look.lead_value for look in earlier_looks(odd, 1)] == [None] * 4
    assert [look.lead_value for look in earlier_looks([first, second, third], 1)] == [None, None, -0.1]
    assert [look.lead_value for look in earlier_looks([first, second, third], 2)] == [None] * 3
