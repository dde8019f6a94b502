"""The ledger of a registered model: a file with one JSON object per line, one for each decision about its champion.

Keys of an entry:

    line        number of the entry, from 1
    at, model   time (UTC) and name of the registered model
    verdict     promote, keep_champion, inconclusive, champion_unusable, rollback, external (the alias was moved by
                other means), or accepted (a person accepted a damaged ledger); `keep` and `incomparable` in entries of
                version 0.1 are read as keep_champion and champion_unusable
    reason      a sentence
    before      version of the champion before the decision, or null
    champion    version of the champion after it, or null
    previous    the link to the line before (tasks/ledger_chain.py)

Entries about a challenger also have what counts looks (`ml.evaluation.looks`): `rows`, a sketch of the test rows, and
`recipe`, a digest of what the model was made by; where models were compared, `look` has the number of the look on these
rows and its level. `validation` is the lead over the champion on validation rows, and its p-value `among` the leads of
so many other `recipes`; without a `difference`, it was too small for a look. `selected_by` is a sketch of the
validation rows, empty where the model was fitted to them. They also have its `version`, its `model_digest` (of the
package), its `artifact_digest` (of the list of all files of the registered model, tasks/tracking/model_folder.py), the
`test_digest` it was evaluated on, and the `difference` from the champion. An acceptance has the same of the champion.

A decision is recorded in four steps: its digest is written to MLflow as pending; the entry is appended; the alias is
moved; the digest becomes the head in MLflow. This distinguishes a crash between two steps from a forged line, which
MLflow does not know, and from an alias moved by hand, which leaves nothing pending (tasks/decisions.py).
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from ml.errors import PackagingError, StewardError
from tasks.ledger_chain import Chain, Entry, Head, RecordState, check_chain, first_link, sha256, split_lines
from tasks.tracking.model_folder import ModelDigests

log = logging.getLogger("steward")
PROMOTE, KEEP_CHAMPION = "promote", "keep_champion"
INCONCLUSIVE, CHAMPION_UNUSABLE = "inconclusive", "champion_unusable"
ROLLBACK, EXTERNAL = "rollback", "external"
# A ledger of this size would hold more than ten thousand decisions, of 4 to 5 kB each.
MAX_BYTES = 64 * 2**20
# Reads that a decision of another process may interrupt before the last one counts.
MAX_READS = 5


class LedgerError(StewardError):
    """The ledger, or what MLflow holds about it, is not as it was written; no champion was changed."""

    gate = "ledger"


@dataclass(frozen=True)
class Verdict:
    """The decision about a challenger, and the reason.

    `difference` is the challenger's advantage over the champion (value, low, high, p_value) on `units` shared units,
    with limits at the confidence of the `look` (`ml.evaluation.looks.Look`). `loss` is how much larger its log loss is
    (value, low, high), and the `margin` that the upper limit must not exceed. `groups` has the `checks` of sensitive
    groups (`ml.evaluation.subgroup_tests.check_harm`), and a `note` about groups that are too small. `validation` is
    the lead on validation rows (value, low, high, one-sided p_value, units; with many recipes `recipes`, `among`), or a
    `note` why there is none to compare.
    """

    verdict: str
    reason: str
    difference: Mapping[str, float] | None = None
    units: int | None = None
    look: Mapping[str, Any] | None = None
    loss: Mapping[str, float] | None = None
    groups: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None


class ModelRecord(Protocol):
    """Read and write what MLflow holds about one registered model, for the ledger of one state directory."""

    @property
    def state_dir_id(self) -> str: ...
    def read(self) -> RecordState: ...
    def versions(self) -> set[int]: ...
    def digests(self, version: int) -> ModelDigests: ...
    def create(self) -> None: ...
    def move_champion(self, version: int) -> None: ...
    def write_head(self, head: Head) -> None: ...
    def write_pending(self, digest: str | None) -> None: ...


class Ledger:
    """The decisions about one registered model, oldest first; entries are only ever appended."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.jsonl"
        self.name = name

    def read_bytes(self) -> bytes:
        """Read the file; empty where there is none. Raises LedgerError where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ledger_error(self, error.strerror or type(error).__name__) from None
        if len(data) > MAX_BYTES:
            raise ledger_error(self, f"more than {MAX_BYTES >> 20} MB")
        return data

    def entries(self) -> list[Entry]:
        """Read all entries, unchecked and for display; lines that hold none are left out. Raises LedgerError."""
        lines, _ = split_lines(self.read_bytes())
        return [line.entry for line in lines if line.entry is not None]

    def lock(self) -> FileLock:
        """Return the lock that must be held to record a decision."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    def append(self, content: bytes) -> None:
        """Append bytes to the file; they are on disk when this returns. Hold the lock."""
        with self.path.open("ab") as file:
            size = file.tell()
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # A full disk: what was written of them is removed.
                self.truncate(size)
                raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def truncate(self, size: int) -> None:
        """Remove what follows the first `size` bytes: the rest of a line that was not completed. Hold the lock."""
        os.truncate(self.path, size)

    def find_model_digests(self, version: int) -> ModelDigests | None:
        """Return the digests of a version as the first entry about it recorded them, unchecked and for display."""
        return _find_digests(self.entries(), version)


@dataclass(frozen=True)
class LedgerState:
    """A ledger compared with what MLflow holds about it; `problems` is empty where both are as they were written."""

    data: bytes
    chain: Chain
    record: RecordState
    problems: tuple[str, ...]

    @property
    def last(self) -> Entry | None:
        """The last entry; None without entries."""
        return self.chain.proven[-1] if self.chain.proven else None


def ledger_error(ledger: Ledger, *problems: str) -> LedgerError:
    """Return the error that stops every decision about the model of a damaged ledger."""
    case, _, data = ledger.name.partition(".")
    command = f"steward ledger {case} --data {data}"
    return LedgerError(
        f"the ledger of {ledger.name} as it was written, {ledger.path}",
        "; ".join(problems),
        f"restore it or MLflow's database from a backup; or look at it ({command}) and accept it:"
        f" {command} --accept --reason TEXT",
    )


def read_state(ledger: Ledger, record: ModelRecord) -> LedgerState:
    """Compare the ledger with MLflow at one moment, as another process may be deciding. Raises LedgerError."""
    for _ in range(MAX_READS):
        before, data, state = record.read(), ledger.read_bytes(), record.read()
        if (before.head, before.pending) == (state.head, state.pending):
            break
    first = first_link(ledger.name, record.state_dir_id)
    chain = check_chain(data, state.head, state.pending, ledger.name, first)
    return LedgerState(data, chain, state, (*chain.problems, *_missing_champion(chain, record, state)))


def _missing_champion(chain: Chain, record: ModelRecord, state: RecordState) -> list[str]:
    """Find a champion that MLflow does not know. Where MLflow holds the head, its database is the right one."""
    entries = [line.entry for line in chain.lines if line.entry is not None]
    champion = entries[-1]["champion"] if entries and state.head is None else None
    if champion is None or chain.is_interrupted or champion in record.versions():
        return []
    return [f"version {champion}, the champion by the last entry, is not in MLflow's registry"]


def require_intact(ledger: Ledger, record: ModelRecord) -> LedgerState:
    """Return the state of a ledger without problems. Raises LedgerError."""
    state = read_state(ledger, record)
    if state.problems:
        raise ledger_error(ledger, *state.problems)
    return state


def find_proven_digests(ledger: Ledger, record: ModelRecord, version: int) -> ModelDigests | None:
    """Return the digests of a version from an entry that the chain proves, if there is one.

    A forged line after the head, for example, says nothing about the champion, which can still be used. Raises
    LedgerError where the ledger has problems that leave no proof about the version.
    """
    state = read_state(ledger, record)
    digests = _find_digests(state.chain.proven, version)
    if digests is None and state.problems:
        raise ledger_error(ledger, *state.problems)
    if state.problems:
        log.warning("  the ledger of %s has problems: %s", ledger.name, "; ".join(state.problems))
    return digests


def proven_digests(ledger: Ledger, record: ModelRecord, version: int) -> ModelDigests:
    """Return the digests of a version whose code is to be run. Raises LedgerError, and PackagingError without any."""
    digests = find_proven_digests(ledger, record, version)
    if digests is None:
        raise PackagingError(
            f"a ledger entry about {ledger.name} version {version}",
            "none",
            f"restore {ledger.path} from a backup, or roll back to a version that it knows",
        )
    return digests


def _find_digests(entries: Iterable[Entry], version: int) -> ModelDigests | None:
    """Return the digests in the first entry about a version; earlier releases recorded none of the list of files."""
    for entry in entries:
        if entry.get("version") == version and isinstance(entry.get("model_digest"), str):
            return ModelDigests(entry["model_digest"], str(entry.get("artifact_digest") or ""))
    return None


def record_entry(
    ledger: Ledger,
    record: ModelRecord,
    state: LedgerState,
    entry: Mapping[str, Any],
    moves_champion: bool = False,
) -> Entry:
    """Record an entry in four steps and return it with number, time and link. The caller holds the lock.

    `state` is that of the ledger now; where it has problems, the entry is an acceptance of these.
    """
    chain, data = state.chain, state.data
    base = data if not data or data.endswith(b"\n") else data + b"\n"
    continues = chain.is_chained and not state.problems
    if continues and chain.lines:
        previous = chain.head.digest
    else:
        previous = sha256(base) if base or state.problems else first_link(ledger.name, record.state_dir_id)
    numbered = {
        "line": sum(line.entry is not None for line in chain.lines) + 1,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": ledger.name,
        **entry,
        "previous": previous,
    }
    if base and not continues:
        log.info("  the chain of the ledger of %s starts after its %d bytes", ledger.name, len(base))
    line = json.dumps(numbered).encode()
    record.write_pending(sha256(line))
    ledger.append(base[len(data) :] + line + b"\n")
    if moves_champion:
        record.move_champion(numbered["champion"])
    record.write_head(Head(base.count(b"\n") + 1, sha256(line)))
    record.write_pending(None)
    return numbered
