"""The hash chain of a ledger: what is wrong with the file, compared with the head that MLflow holds.

Each entry holds `previous`, the SHA-256 of the line before it, without its line end. The first chained entry holds that
of all bytes before it, where these are entries of an earlier version of Steward; in a new ledger that of a fixed text
with the names of the model and of the state directory. An entry with the verdict `accepted` also holds that of all
bytes before it: from there on the chain starts anew. MLflow holds the head (number and SHA-256 of the last line) and,
while a decision is being recorded, the SHA-256 of the line to be appended (pending).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from tasks.facts_upgrade import FORMER_VERDICTS

ACCEPTED = "accepted"
# Keys of every entry with their types; None is allowed where it says so.
REQUIRED_KEYS: dict[str, tuple[type, ...]] = {
    "line": (int,),
    "at": (str,),
    "model": (str,),
    "verdict": (str,),
    "reason": (str,),
    "before": (int, type(None)),
    "champion": (int, type(None)),
}
Entry = dict[str, Any]


@dataclass(frozen=True)
class Head:
    """Number and SHA-256 of the last line; line 0 for a ledger without entries."""

    line: int
    digest: str

    def __str__(self) -> str:
        return f"{self.line}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a head; anything else is a head that no line can match."""
        line, _, digest = text.partition(":")
        return cls(int(line), digest) if line.isdecimal() and len(line) < 12 else cls(0, text)


@dataclass(frozen=True)
class RecordState:
    """What MLflow holds about a registered model: its champion, the head of its ledger, and the pending digest."""

    champion: int | None
    head: Head | None
    pending: str | None


@dataclass(frozen=True)
class Line:
    """A line of the file: its number from 1, the offset of its first byte, and its entry, None where it holds none."""

    number: int
    start: int
    content: bytes
    entry: Entry | None
    is_json: bool

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the line without its line end."""
        return sha256(self.content)

    @property
    def previous(self) -> str | None:
        """The digest that links the line to the one before; None for lines of earlier versions."""
        previous = self.entry.get("previous") if self.entry else None
        return previous if isinstance(previous, str) else None

    @property
    def is_acceptance(self) -> bool:
        """Whether a person accepted everything before this line."""
        return self.entry is not None and self.previous is not None and self.entry["verdict"] == ACCEPTED


@dataclass(frozen=True)
class Chain:
    """The lines of a ledger and what is wrong with them.

    `proven` are the entries that MLflow's head vouches for, oldest first, since the last acceptance. `is_interrupted`:
    the last line is the pending one, so that its decision is still to be completed. `incomplete` are bytes at the end
    that a crash left of a decision which was not made.
    """

    lines: tuple[Line, ...]
    incomplete: bytes
    problems: tuple[str, ...]
    proven: tuple[Entry, ...]
    is_chained: bool
    is_interrupted: bool = False

    @property
    def head(self) -> Head:
        """The head after the last line."""
        return Head(self.lines[-1].number, self.lines[-1].digest)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def first_link(model: str, state_dir_id: str) -> str:
    """Return what the first entry of a new ledger holds as `previous`."""
    return sha256(f"the first entry of the ledger of {model} in the state directory {state_dir_id}".encode())


def split_lines(data: bytes) -> tuple[tuple[Line, ...], bytes]:
    """Split a file into its lines and the incomplete rest; a last entry that only lacks its line end is a line."""
    *complete, rest = data.split(b"\n")
    if rest and _parse(rest)[0] is not None:
        complete, rest = [*complete, rest], b""
    lines, start = [], 0
    for number, content in enumerate(complete, 1):
        lines.append(Line(number, start, content, *_parse(content)))
        start += len(content) + 1
    return tuple(lines), rest


def _parse(content: bytes) -> tuple[Entry | None, bool]:
    """Return the entry of a line, None where it holds none, and whether it is JSON.

    No proper prefix of a JSON object is valid JSON: an incomplete line is never taken for an entry.
    """
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError):
        return None, False
    if not isinstance(entry, dict) or any(
        name not in entry or isinstance(entry[name], bool) or not isinstance(entry[name], kinds)
        for name, kinds in REQUIRED_KEYS.items()
    ):
        return None, True
    entry["verdict"] = FORMER_VERDICTS.get(entry["verdict"], entry["verdict"])
    return entry, True


def check_chain(data: bytes, head: Head | None, pending: str | None, model: str, first: str) -> Chain:
    """Compare the bytes of a ledger with MLflow's head; `first` is the link of the first entry of a new ledger."""
    lines, rest = split_lines(data)
    is_pending = bool(lines) and lines[-1].digest == pending
    if head is None and not is_pending:
        return _check_without_head(lines, rest, model)
    problems, vouched = _compare_with_head(lines, head, is_pending)
    if vouched:
        broken, proven = _follow_links(data, lines[:vouched], first)
        problems += broken
    else:
        proven = ()
    if rest and pending is None and not problems:
        problems.append(f"the file ends with {len(rest)} bytes after line {len(lines)} that are no entry")
    is_interrupted = is_pending and (head is None or head.line != len(lines))
    return Chain(lines, rest, tuple(problems), proven, True, is_interrupted)


def _compare_with_head(lines: Sequence[Line], head: Head | None, is_pending: bool) -> tuple[list[str], int]:
    """Return what is wrong, and the number of the last line that MLflow vouches for, 0 for none."""
    if is_pending and (head is None or lines[-1].is_acceptance):
        return [], len(lines)
    assert head
    if head.line > len(lines):
        ending = f"the file ends with line {len(lines)}" if lines else "the file is missing or empty"
        return [f"line {head.line}, the last one by MLflow, is missing: {ending}"], 0
    if head.line and lines[head.line - 1].digest != head.digest:
        return [_changed(lines, head.line)], 0
    expected = head.line + 1 if is_pending else head.line
    if len(lines) <= expected:
        return [], len(lines)
    return [
        f"line {head.line + 1} was not written by a decision: MLflow's head is line {head.line}"
        " (or MLflow's database is an older one)"
    ], head.line


def _changed(lines: Sequence[Line], last: int) -> str:
    """Say which line was changed, where the last one is not what MLflow holds."""
    for before, line in pairwise(lines[:last]):
        if before.previous is not None and line.previous != before.digest:
            if line.entry is None:
                return f"line {line.number} is not an entry"
            return (
                f"line {line.number} does not continue line {before.number}: one was changed, moved or added"
            )
    return _describe_change(lines[last - 1])


def _describe_change(line: Line) -> str:
    if line.entry is None:
        return f"line {line.number} is not an entry"
    return f"line {line.number} was changed, moved or added after it was written"


def _follow_links(data: bytes, lines: Sequence[Line], first: str) -> tuple[list[str], tuple[Entry, ...]]:
    """Follow the links from the last line, which MLflow vouches for, back to the start of the chain.

    Returns what is wrong, and the entries up to the first broken link.
    """
    starts = [line for line in lines if line.previous is not None]
    start = next((line for line in reversed(starts) if line.is_acceptance), starts[0] if starts else None)
    if start is None:
        return ["no line belongs to a chain"], ()
    chained = lines[start.number - 1 :]
    for before, line in reversed(list(pairwise(chained))):
        if line.previous != before.digest:
            return [_describe_change(before)], tuple(_entries(lines[line.number - 1 :]))
    is_first = start.number == 1 and not start.is_acceptance
    if start.previous == (first if is_first else sha256(data[: start.start])):
        return [], tuple(_entries(chained if start.is_acceptance else lines))
    if start.number == 1:
        return ["line 1 belongs to another model or state directory"], ()
    where = "line 1" if start.number == 2 else f"one of the lines 1 to {start.number - 1}"
    return [f"{where} was changed, moved or added after it was written"], tuple(_entries(chained))


def _check_without_head(lines: Sequence[Line], rest: bytes, model: str) -> Chain:
    """Check a ledger of an earlier version, or an empty one."""
    entries = tuple(_entries(lines))
    if any(line.previous is not None for line in lines):
        problem = (
            "MLflow holds no head of it: its database is not the one that belongs to this state directory"
        )
        return Chain(tuple(lines), rest, (problem,), (), True)
    problems = [f"line {line.number} is not an entry" for line in lines if line.is_json and not line.entry]
    problems += [f"entry {e['line']} is about {e['model']}" for e in entries if e["model"] != model]
    if [entry["line"] for entry in entries] != list(range(1, len(entries) + 1)):
        problems.append(f"the entries are not numbered from 1 to {len(entries)}")
    problems += [
        f"entry {later['line']} starts from another champion than the entry before left"
        for earlier, later in pairwise(entries)
        if later["before"] != earlier["champion"]
    ]
    return Chain(tuple(lines), rest, tuple(problems), () if problems else entries, False)


def _entries(lines: Sequence[Line]) -> Iterator[Entry]:
    return (line.entry for line in lines if line.entry is not None)
