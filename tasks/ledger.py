"""ledger."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from ml.errors import UsageError

PROMOTE, KEEP_CHAMPION, INCONCLUSIVE, CHAMPION_UNUSABLE = "promote", "keep", "inconclusive", "incomparable"


@dataclass(frozen=True)
class Verdict:
    """What happens to the challenger and why; the figures are the champion's-to-be on the rows of the comparison."""

    verdict: str
    reason: str
    difference: Mapping[str, float] | None = None
    units: int | None = None


class Ledger:
    """One JSON line per decision about one registered model; lines are only ever appended."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.jsonl"
        self.name = name

    def entries(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [entry for line in self.path.read_text().splitlines() if (entry := _entry(line))]

    def lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    def append(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Append under the lock; on the disk before this returns. A torn last line of a crash is ended first."""
        number = len(self.entries()) + 1
        entry = {
            "line": number,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": self.name,
            **line,
        }
        torn = self.path.exists() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return entry

    def decision(self, model: str, test: str) -> dict[str, Any] | None:
        """The line that decided about this model on this test part, if there is one."""
        found = [
            ln for ln in self.entries() if ln.get("model_digest") == model and ln.get("test_digest") == test
        ]
        return found[-1] if found else None


def _entry(line: str) -> dict[str, Any] | None:
    """None for a line that a crash tore: no beginning of a JSON object is one."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry


@dataclass(frozen=True)
class Alias:
    """Reads and moves the champion alias of one registered model; None is no champion."""

    read: Callable[[], int | None]
    move: Callable[[int], None]


class AliasMovedError(Exception):
    """Another run moved the alias since the comparison was made: compare again, with the new champion."""


def reconcile_alias(ledger: Ledger, alias: Alias) -> int | None:
    """Finish what a crash left between ledger and alias, and take note of a move by hand; the champion's version.

    The caller holds the ledger's lock.
    """
    lines, now = ledger.entries(), alias.read()
    if not lines:
        return now
    last = lines[-1]
    if now == last["champion"]:
        return now
    if now == last["before"]:
        alias.move(last["champion"])
        return int(last["champion"])
    ledger.append(
        {
            "verdict": "external",
            "reason": "the alias was moved outside of the ledger",
            "before": last["champion"],
            "champion": now,
        }
    )
    return now


def commit(
    ledger: Ledger,
    alias: Alias,
    verdict: Verdict,
    challenger: int,
    expected: int | None,
    about: Mapping[str, Any],
) -> tuple[dict[str, Any], bool]:
    """Compare and set: write the decision and move the alias, if the champion still is the `expected` one.

    Gives the ledger's line, and whether it is a new one. `about` has
    `model_digest` and `test_digest`, by which a decision is made once. Raises AliasMovedError.
    """
    with ledger.lock():
        now = reconcile_alias(ledger, alias)
        known = ledger.decision(about["model_digest"], about["test_digest"])
        if known:
            return known, False
        if now != expected:
            raise AliasMovedError
        after = challenger if verdict.verdict == PROMOTE else now
        line = {
            "verdict": verdict.verdict,
            "reason": verdict.reason,
            "version": challenger,
            "before": now,
            "champion": after,
            "difference": verdict.difference,
            **about,
        }
        entry = ledger.append(line)
        if after is not None and after != now:
            alias.move(after)
        return entry, True


def rollback(ledger: Ledger, alias: Alias, reason: str) -> dict[str, Any]:
    """The champion before the present one becomes champion again. Raises UsageError where there is none."""
    with ledger.lock():
        now = reconcile_alias(ledger, alias)
        champions = _champions(ledger.entries())
        earlier = champions if now is None else champions[:-1]
        if not earlier:
            raise UsageError(
                f"a champion of {ledger.name} before the present one", "none in the ledger", "see --history"
            )
        before = earlier[-1]
        entry = ledger.append({"verdict": "rollback", "reason": reason, "before": now, "champion": before})
        alias.move(before)
        return entry


def _champions(lines: list[dict[str, Any]]) -> list[int]:
    """The champions that followed one another; a rollback takes off those after the one that it goes back to."""
    champions: list[int] = []
    for line in (ln for ln in lines if ln["champion"] not in (None, ln["before"])):
        if line["verdict"] == "rollback":
            while champions[-1] != line["champion"]:
                champions.pop()
        else:
            champions.append(int(line["champion"]))
    return champions
