"""The chain of a ledger, with MLflow's own registry: damage and forgeries stop decisions, and can be accepted."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import steward
from flows.housekeeping.ledgers import open_ledger, require_intact_ledgers
from ml.errors import UsageError
from operate.checks.finding import Finding
from operate.doctor import CHECKS, run_checks
from tasks.decisions import accept_ledger, commit_verdict, rollback, start_ledger
from tasks.ledger import (
    KEEP_CHAMPION,
    PROMOTE,
    Ledger,
    LedgerError,
    ModelRecord,
    Verdict,
    proven_digests,
    read_state,
)
from tasks.ledger_chain import sha256
from tasks.settings import Settings, load
from tasks.tracking import connection

NAME = "fintech-risk.simulated"
Damage = Callable[[list[bytes]], bytes | None]


def decide(ledger: Ledger, record: ModelRecord, version: int, verdict: str = PROMOTE) -> dict[str, Any]:
    details = {"model_digest": f"m{version}", "test_digest": "t"}
    expected = record.read().champion
    entry, _ = commit_verdict(ledger, record, Verdict(verdict, "a reason"), version, expected, details)
    return entry


def register(client: connection.Client, versions: int) -> None:
    client.create_registered_model(NAME)
    for _ in range(versions):
        client.create_model_version(NAME, source="file:///no-such-folder/model", tags={"steward.digest": "d"})


@pytest.fixture(scope="module")
def decided_home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Create a state directory with the decisions: version 1 promoted, 2 kept out, 3 promoted."""
    folder = tmp_path_factory.mktemp("decided")
    shutil.copy(empty_database, folder / "mlflow.db")
    settings = Settings(state_dir=folder)
    client = connection.connect(settings)
    register(client, 4)
    ledger, record = open_ledger(settings, client, NAME)
    for version, verdict in ((1, PROMOTE), (2, KEEP_CHAMPION), (3, PROMOTE)):
        decide(ledger, record, version, verdict)
    return folder


@pytest.fixture
def decided(decided_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ledger, ModelRecord]]:
    """Return the ledger and the record of that state directory; the file is restored after the test."""
    monkeypatch.setenv("STEWARD_HOME", str(decided_home))
    ledger, record = open_ledger(load(), connection.connect(load()), NAME)
    data = ledger.read_bytes()
    yield ledger, record
    ledger.path.write_bytes(data)
    assert read_state(ledger, record).problems == ()


@pytest.fixture
def own_home(
    decided_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Ledger, ModelRecord]:
    """Return the ledger and the record of a copy of that state directory, which the test may change."""
    shutil.copytree(decided_home, tmp_path / "own")
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "own"))
    return open_ledger(load(), connection.connect(load()), NAME)


def check_ledgers(fix: bool = False) -> list[Finding]:
    findings = run_checks(fix, checks=[check for check in CHECKS if check.name == "ledger"])
    # The versions of these tests have no files.
    return [finding for finding in findings if "does not load" not in finding.message]


def forged_line(lines: list[bytes]) -> bytes:
    """A fourth line that continues the chain and makes version 1 champion."""
    entry = {**json.loads(lines[2]), "line": 4, "before": 3, "champion": 1, "previous": sha256(lines[2])}
    return json.dumps(entry).encode()


def replaced(lines: list[bytes], number: int, line: bytes) -> bytes:
    return b"".join(kept + b"\n" for kept in [*lines[: number - 1], line, *lines[number:]])


def edited(lines: list[bytes], number: int) -> bytes:
    return replaced(lines, number, lines[number - 1].replace(b"a reason", b"b reason"))


CHANGED = "was changed, moved or added after it was written"
NOT_WRITTEN = "was not written by a decision: MLflow's head is line 3 (or MLflow's database is an older one)"
# What is done to the lines, what is found, and whether the champion (version 3, by line 3) is still proven.
DAMAGES: dict[str, tuple[Damage, str, bool]] = {
    "reason of line 1 edited": (lambda x: edited(x, 1), f"line 1 {CHANGED}", True),
    "reason of line 2 edited": (lambda x: edited(x, 2), f"line 2 {CHANGED}", True),
    "reason of the last line edited": (lambda x: edited(x, 3), f"line 3 {CHANGED}", False),
    "forged line": (lambda x: replaced(x, 3, x[2] + b"\n" + forged_line(x)), f"line 4 {NOT_WRITTEN}", True),
    "file deleted": (lambda x: None, "the file is missing or empty", False),
    "file emptied": (lambda x: b"", "the file is missing or empty", False),
    "last line cut off": (
        lambda x: b"\n".join(x[:2]) + b"\n",
        "line 3, the last one by MLflow, is missing: the file ends with line 2",
        False,
    ),
    "last line cut": (lambda x: b"\n".join(x)[:-9], "is missing: the file ends with line 2", False),
    "line [] added": (lambda x: b"\n".join([*x, b"[]", b""]), f"line 4 {NOT_WRITTEN}", True),
    "line null added": (lambda x: b"\n".join([*x, b"null", b""]), f"line 4 {NOT_WRITTEN}", True),
    "line 2 is a text": (lambda x: replaced(x, 2, b'"x"'), "line 2 is not an entry", True),
    "line 2 lacks keys": (lambda x: replaced(x, 2, b'{"line": 2}'), "line 2 is not an entry", True),
    "line 3 is null": (lambda x: replaced(x, 3, b"null"), "line 3 is not an entry", False),
    "line 2 is nested deeply": (lambda x: replaced(x, 2, b"[" * 99999), "line 2 is not an entry", True),
    "bytes added": (lambda x: b"\n".join([*x, b"\xff\x00"]), "ends with 2 bytes after line 3", True),
    "line 2 twice": (lambda x: replaced(x, 2, x[1] + b"\n" + x[1]), "line 3 does not continue line 2", False),
    "last line twice": (lambda x: replaced(x, 3, x[2] + b"\n" + x[2]), f"line 4 {NOT_WRITTEN}", True),
    "lines in another order": (lambda x: b"\n".join([x[1], x[0], x[2], b""]), f"line 2 {CHANGED}", True),
    "link removed": (
        lambda x: replaced(x, 1, json.dumps({**json.loads(x[0]), "previous": None}).encode()),
        f"line 1 {CHANGED}",
        True,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_stops_decisions_with_one_message(
    decided: tuple[Ledger, ModelRecord], damage: str
) -> None:
    ledger, record = decided
    change, message, is_proven = DAMAGES[damage]
    data = change(ledger.read_bytes().splitlines())
    if data is None:
        ledger.path.unlink()
    else:
        ledger.path.write_bytes(data)
    (problem,) = read_state(ledger, record).problems
    assert message in problem
    for decision in (
        lambda: decide(ledger, record, 4),
        lambda: rollback(ledger, record, "a reason"),
        lambda: require_intact_ledgers(load(), connection.connect(load())),
    ):
        with pytest.raises(LedgerError) as stopped:
            decision()
        assert str(stopped.value) == (
            f"expected the ledger of {NAME} as it was written, {ledger.path}; got {problem}; restore it or MLflow's"
            f" database from a backup; or look at it (steward ledger fintech-risk --data simulated) and accept it:"
            f" steward ledger fintech-risk --data simulated --accept --reason TEXT"
        )
    assert record.read().champion == 3
    assert ledger.read_bytes() == (data or b"")
    # Scoring uses a champion whose digests the head still vouches for.
    if is_proven:
        assert proven_digests(ledger, record, 3).package == "m3"
    else:
        with pytest.raises(LedgerError):
            proven_digests(ledger, record, 3)
    (finding,) = check_ledgers(fix=True)
    assert (finding.status, problem in finding.message) == ("bad", True)
    assert "--accept --reason TEXT" in finding.fix
    assert ledger.read_bytes() == (data or b"")


def test_an_old_entry_that_was_edited_is_no_proof_of_its_champion(
    decided: tuple[Ledger, ModelRecord],
) -> None:
    ledger, record = decided
    ledger.path.write_bytes(edited(ledger.read_bytes().splitlines(), 1))
    with pytest.raises(LedgerError):
        proven_digests(ledger, record, 1)


def test_an_unreadable_ledger_is_one_message(own_home: tuple[Ledger, ModelRecord]) -> None:
    ledger, record = own_home
    ledger.path.unlink()
    ledger.path.mkdir()
    with pytest.raises(LedgerError, match="got Is a directory; restore it"):
        decide(ledger, record, 4)
    (finding,) = check_ledgers()
    assert (finding.status, finding.message) == ("bad", f"{NAME}: Is a directory")


def test_a_ledger_forged_before_the_first_decision_is_found(
    own_home: tuple[Ledger, ModelRecord], home: Path
) -> None:
    line = own_home[0].read_bytes().splitlines()[0]
    client = connection.connect(load())
    register(client, 1)
    ledger, record = open_ledger(load(), client, NAME)
    start_ledger(ledger, record)
    ledger.path.write_bytes(line + b"\n")
    with pytest.raises(LedgerError, match="line 1 was not written by a decision: MLflow's head is line 0"):
        decide(ledger, record, 1)
    ledger.path.unlink()
    assert decide(ledger, record, 1)["champion"] == 1


def test_a_lost_database_is_found_and_no_first_champion_is_made(
    own_home: tuple[Ledger, ModelRecord], empty_database: Path
) -> None:
    ledger, _ = own_home
    lost = ledger.path.parents[1] / "mlflow.db"
    lost.unlink()
    # A file of another name, since MLflow keeps the connections to the deleted one.
    settings = load(tracking_uri=f"sqlite:///{lost.with_name('new.db')}")
    shutil.copy(empty_database, lost.with_name("new.db"))
    client = connection.connect(settings)
    state = read_state(*open_ledger(settings, client, NAME))
    assert state.problems == (
        "MLflow holds no head of it: its database is not the one that belongs to this state directory",
        "version 3, the champion by the last entry, is not in MLflow's registry",
    )
    register(client, 1)
    new = open_ledger(settings, client, NAME)
    with pytest.raises(LedgerError, match="version 3, the champion by the last entry, is not in MLflow's"):
        decide(*new, 1)
    with pytest.raises(LedgerError):
        proven_digests(*new, 1)
    # The way out is recorded; the earlier entries stay, but no rollback goes to a version that was lost.
    assert accept_ledger(*new, "no backup")["champion"] is None
    assert decide(*new, 1)["champion"] == 1
    require_intact_ledgers(settings, client)
    with pytest.raises(UsageError, match="none in the ledger"):
        rollback(*new, "a reason")


def test_an_older_database_is_found(own_home: tuple[Ledger, ModelRecord], tmp_path: Path) -> None:
    ledger, record = own_home
    shutil.copy(ledger.path.parents[1] / "mlflow.db", tmp_path / "backup.db")
    decide(ledger, record, 4)
    settings = load(tracking_uri=f"sqlite:///{tmp_path / 'backup.db'}")
    with pytest.raises(LedgerError, match=r"line 4 .* \(or MLflow's database is an older one\)"):
        decide(*open_ledger(settings, connection.connect(settings), NAME), 4)


def test_the_ledger_of_another_model_or_state_directory_is_found(
    own_home: tuple[Ledger, ModelRecord],
) -> None:
    ledger, record = own_home
    other = Settings(state_dir=ledger.path.parents[2] / "other", tracking_uri=load().mlflow_uri)
    stranger, new = open_ledger(other, connection.connect(load()), NAME)
    stranger.path.parent.mkdir(parents=True)
    shutil.copy(ledger.path, stranger.path)
    with pytest.raises(LedgerError, match="MLflow holds no head of it"):
        decide(stranger, new, 4)
    # Two state directories on one server have a ledger each; to one, the decision of the other is an alias moved.
    stranger.path.unlink()
    assert decide(stranger, new, 4)["before"] == 3
    decide(ledger, record, 4, KEEP_CHAMPION)
    assert [entry["verdict"] for entry in ledger.entries()[3:]] == ["external", KEEP_CHAMPION]
    assert read_state(stranger, new).problems == read_state(ledger, record).problems == ()


@pytest.mark.parametrize("moved_to", [4, 1, None])
def test_an_alias_moved_by_hand_is_reported_recorded_and_respected(
    own_home: tuple[Ledger, ModelRecord], moved_to: int | None
) -> None:
    ledger, record = own_home
    client = connection.connect(load())
    if moved_to is None:
        client.delete_registered_model_alias(NAME, "champion")
    else:
        client.set_registered_model_alias(NAME, "champion", str(moved_to))
    (finding,) = check_ledgers()
    now = f"version {moved_to}" if moved_to else "none"
    assert finding.message == f"{NAME}: {now} is champion in MLflow, version 3 in the ledger"
    fixed, intact = check_ledgers(fix=True)
    assert fixed.message == f"repaired: champion of {NAME}: {now} before, {now} now, as in the ledger"
    assert intact.message == f"{NAME}: champion {now} in MLflow and ledger"
    last = ledger.entries()[-1]
    assert (last["verdict"], last["before"], last["champion"]) == ("external", 3, moved_to)
    assert record.read().champion == moved_to


def test_an_old_ledger_is_adopted_with_its_bytes_and_never_moves_the_champion(
    own_home: tuple[Ledger, ModelRecord], home: Path
) -> None:
    client = connection.connect(load())
    register(client, 3)
    ledger, record = open_ledger(load(), client, NAME)
    ledger.path.parent.mkdir()
    entries = [{k: v for k, v in entry.items() if k != "previous"} for entry in own_home[0].entries()]
    written = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    # A line that a crash of an earlier version cut, and which that version ended.
    written += b'{"line": 4, "at\n'
    ledger.path.write_bytes(written)
    record.move_champion(1)
    incomplete, moved = check_ledgers()
    assert incomplete.message.endswith("incomplete entry (line 4) from a crash; ignored")
    assert moved.message == f"{NAME}: version 1 is champion in MLflow, version 3 in the ledger"
    # Without a chain, a crash cannot be distinguished from a forged line: MLflow's champion counts.
    decide(ledger, record, 3, KEEP_CHAMPION)
    assert record.read().champion == 1
    (external,) = ledger.entries()[3:]
    assert (external["verdict"], external["previous"]) == ("external", sha256(written))
    ledger.path.write_bytes(ledger.read_bytes().replace(b'"champion": 3', b'"champion": 2'))
    with pytest.raises(LedgerError, match="one of the lines 1 to 4 was changed"):
        decide(ledger, record, 2)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"line": 7}, "the entries are not numbered from 1 to 3"),
        ({"before": 2}, "entry 2 starts from another champion than the entry before left"),
        ({"model": "other.model"}, "entry 2 is about other.model"),
        ({"champion": "1"}, "line 2 is not an entry"),
        ({"champion": True}, "line 2 is not an entry"),
    ],
)
def test_a_damaged_old_ledger_is_not_adopted(
    own_home: tuple[Ledger, ModelRecord], home: Path, change: dict[str, object], problem: str
) -> None:
    client = connection.connect(load())
    register(client, 3)
    ledger, record = open_ledger(load(), client, NAME)
    ledger.path.parent.mkdir()
    entries = [{k: v for k, v in entry.items() if k != "previous"} for entry in own_home[0].entries()]
    entries[1] |= change
    ledger.path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with pytest.raises(LedgerError) as stopped:
        decide(ledger, record, 3)
    assert problem in stopped.value.got


def run_ledger(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(steward.app, ["ledger", "fintech-risk", *options])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_command_shows_the_chain_and_accepts_a_damaged_ledger_with_a_reason(
    own_home: tuple[Ledger, ModelRecord],
) -> None:
    ledger, record = own_home
    code, output = run_ledger()
    assert (code, output.splitlines()[-1]) == (
        0,
        "3 lines, as they were written; the head in MLflow is the last one",
    )
    with pytest.raises(UsageError, match="with something to accept; got one without problems"):
        run_ledger("--accept", "--reason", "none")
    lines = ledger.read_bytes().splitlines()
    ledger.path.write_bytes(replaced(lines, 3, lines[2] + b"\n" + forged_line(lines)))
    damaged = ledger.read_bytes()
    code, output = run_ledger()
    assert code == 1
    assert f"problem: line 4 {NOT_WRITTEN}" in output
    assert output.endswith(": steward ledger fintech-risk --data simulated --accept --reason TEXT\n")
    code, output = run_ledger("--json")
    assert (code, json.loads(output)["problems"]) == (1, [f"line 4 {NOT_WRITTEN}"])
    with pytest.raises(UsageError, match="--reason TEXT with --accept"):
        run_ledger("--accept")

    code, output = run_ledger("--accept", "--reason", "a test")
    assert code == 0
    entry = ledger.entries()[-1]
    assert (entry["verdict"], entry["reason"], entry["champion"], entry["before"]) == (
        "accepted",
        "a test",
        3,
        None,
    )
    assert entry["problems"] == [f"line 4 {NOT_WRITTEN}"]
    assert entry["accepted_by"]
    # Of the champion, MLflow's digests count from now on.
    assert proven_digests(ledger, record, 3).package == entry["model_digest"] == "d"
    assert entry["previous"] == sha256(damaged)
    assert ledger.read_bytes().startswith(damaged)
    # The forged champion is not one that a rollback returns to.
    with pytest.raises(UsageError, match="none in the ledger"):
        rollback(ledger, record, "a reason")
    decide(ledger, record, 4)
    assert rollback(ledger, record, "a reason")["champion"] == 3
    # What was accepted is pinned too.
    ledger.path.write_bytes(ledger.read_bytes().replace(b"a reason", b"b reason", 1))
    (problem,) = read_state(ledger, record).problems
    assert problem == f"one of the lines 1 to 4 {CHANGED}"


def test_a_deleted_ledger_can_be_accepted(own_home: tuple[Ledger, ModelRecord]) -> None:
    ledger, record = own_home
    ledger.path.unlink()
    entry = accept_ledger(ledger, record, "deleted by mistake")
    assert (entry["line"], entry["champion"], entry["previous"]) == (1, 3, sha256(b""))
    assert decide(ledger, record, 4)["before"] == 3
    assert read_state(ledger, record).problems == ()
