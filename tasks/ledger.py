"""Record promotion decisions in an append-only ledger, and keep the champion alias consistent with it.

The ledger of a registered model is a file with one JSON object per line. The entry is written first and the alias
moved afterwards, so that the next run completes what a crash in between left undone. Keys of an entry:

    line        number of the entry, from 1
    at, model   time (UTC) and name of the registered model
    verdict     promote, keep_champion, inconclusive, champion_unusable, rollback, or external (the alias was moved by
                other means); `keep` and `incomparable` in entries of version 0.1 are read as keep_champion and
                champion_unusable
    reason      a sentence
    before      version of the champion before the decision, or null
    champion    version of the champion after it, or null

Entries about a challenger also have its `version`, its `model_digest` (of the package), its `artifact_digest` (of the
list of all files of the registered model, tasks/tracking/model_folder.py), the `test_digest` it was evaluated on, and
the `difference` from the champion.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from ml.errors import PackagingError, UsageError
from tasks.facts_upgrade import FORMER_VERDICTS
from tasks.tracking.model_folder import ModelDigests

PROMOTE, KEEP_CHAMPION = "promote", "keep_champion"
INCONCLUSIVE, CHAMPION_UNUSABLE = "inconclusive", "champion_unusable"
ROLLBACK, EXTERNAL = "rollback", "external"


@dataclass(frozen=True)
class Verdict:
    """The decision about a challenger, and the reason.

    `difference` is the challenger's advantage over the champion (value, low, high, p_value) on `units` shared units.
    """

    verdict: str
    reason: str
    difference: Mapping[str, float] | None = None
    units: int | None = None


class Ledger:
    """The decisions about one registered model, oldest first; entries are only ever appended."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.jsonl"
        self.name = name

    def entries(self) -> list[dict[str, Any]]:
        """Read all entries; an incomplete last line from a crash is no entry."""
        if not self.path.exists():
            return []
        return [entry for line in self.path.read_text().splitlines() if (entry := _parse_entry(line))]

    def lock(self) -> FileLock:
        """Return the lock that must be held to append."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    def append(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Append an entry and return it with number and time; it is on disk when this returns. Hold the lock."""
        numbered = {
            "line": len(self.entries()) + 1,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": self.name,
            **entry,
        }
        incomplete = (
            self.path.exists() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
        )
        with self.path.open("a", encoding="utf-8") as file:
            # An incomplete last line from a crash is ended first.
            file.write(("\n" if incomplete else "") + json.dumps(numbered) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return numbered

    def find_model_digests(self, version: int) -> ModelDigests | None:
        """Return the digests of a version as the first decision about it recorded them, if there is one.

        Entries of earlier releases lack the digest of the list of files.
        """
        for entry in self.entries():
            if entry.get("version") == version and isinstance(entry.get("model_digest"), str):
                return ModelDigests(entry["model_digest"], str(entry.get("artifact_digest") or ""))
        return None

    def model_digests(self, version: int) -> ModelDigests:
        """Return the recorded digests of a version whose code is to be run. Raises PackagingError."""
        digests = self.find_model_digests(version)
        if digests is None:
            raise PackagingError(
                f"a ledger entry about {self.name} version {version}",
                "none",
                f"restore {self.path} from a backup, or roll back to a version that it knows",
            )
        return digests

    def find_decision(self, model_digest: str, test_digest: str) -> dict[str, Any] | None:
        """Return the last entry about this model on this test dataset, if any."""
        matches = [
            entry
            for entry in self.entries()
            if entry.get("model_digest") == model_digest and entry.get("test_digest") == test_digest
        ]
        return matches[-1] if matches else None


def _parse_entry(line: str) -> dict[str, Any] | None:
    """Parse a line of the ledger; None if it is incomplete (no proper prefix of a JSON object is valid JSON)."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    if isinstance(entry, dict) and entry.get("verdict") in FORMER_VERDICTS:
        entry["verdict"] = FORMER_VERDICTS[entry["verdict"]]
    return entry


@dataclass(frozen=True)
class Alias:
    """Read and move the champion alias of one registered model; None means that there is no champion."""

    read: Callable[[], int | None]
    move: Callable[[int], None]


class AliasMovedError(Exception):
    """Another run moved the alias since the comparison: compare again, with the new champion."""


def reconcile_alias(ledger: Ledger, alias: Alias) -> int | None:
    """Make ledger and alias agree, and return the version of the champion. The caller holds the ledger's lock.

    An alias that was not moved yet, because of a crash, is moved; one that was moved by other means is recorded.
    """
    entries, current = ledger.entries(), alias.read()
    if not entries:
        return current
    last = entries[-1]
    if current == last["champion"]:
        return current
    if current == last["before"]:
        alias.move(last["champion"])
        return int(last["champion"])
    ledger.append(
        {
            "verdict": EXTERNAL,
            "reason": "the alias was moved outside of the ledger",
            "before": last["champion"],
            "champion": current,
        }
    )
    return current


def commit_verdict(
    ledger: Ledger,
    alias: Alias,
    verdict: Verdict,
    challenger: int,
    expected: int | None,
    details: Mapping[str, Any],
) -> tuple[dict[str, Any], bool]:
    """Record a verdict and move the alias, if the champion is still the `expected` version (compare and set).

    `details` has `model_digest` and `test_digest`: there is one decision for each pair. Returns the entry, and whether
    it is new. Raises AliasMovedError.
    """
    with ledger.lock():
        current = reconcile_alias(ledger, alias)
        previous = ledger.find_decision(details["model_digest"], details["test_digest"])
        if previous:
            return previous, False
        if current != expected:
            raise AliasMovedError
        champion = challenger if verdict.verdict == PROMOTE else current
        entry = ledger.append(
            {
                "verdict": verdict.verdict,
                "reason": verdict.reason,
                "version": challenger,
                "before": current,
                "champion": champion,
                "difference": verdict.difference,
                **details,
            }
        )
        if champion is not None and champion != current:
            alias.move(champion)
        return entry, True


def rollback(ledger: Ledger, alias: Alias, reason: str) -> dict[str, Any]:
    """Make the previous champion the champion again. Raises UsageError if there is none."""
    with ledger.lock():
        current = reconcile_alias(ledger, alias)
        champions = _champion_history(ledger.entries())
        previous = champions if current is None else champions[:-1]
        if not previous:
            raise UsageError(
                f"a champion of {ledger.name} before the present one", "none in the ledger", "see --history"
            )
        version = previous[-1]
        entry = ledger.append({"verdict": ROLLBACK, "reason": reason, "before": current, "champion": version})
        alias.move(version)
        return entry


def _champion_history(entries: list[dict[str, Any]]) -> list[int]:
    """Return the successive champions; a rollback removes those after the champion that it returns to."""
    champions: list[int] = []
    for entry in (e for e in entries if e["champion"] not in (None, e["before"])):
        if entry["verdict"] == ROLLBACK:
            while champions[-1] != entry["champion"]:
                champions.pop()
        else:
            champions.append(int(entry["champion"]))
    return champions
