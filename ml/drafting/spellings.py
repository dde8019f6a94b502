"""Rare categories that are probably other spellings of frequent ones."""

from dataclasses import dataclass

import pandas as pd

from ml.drafting.columns import Column

# A misspelling is at most this frequent, relative to the right spelling.
MAX_SHARE = 0.05
MIN_RIGHT_ROWS = 10
# Shorter words differ by one letter and mean something else.
MIN_LENGTH = 4
MAX_LABELS = 2_000
# Why a spelling is one of another: the letters are the same, case or blanks differ.
SAME_LETTERS = "case or blanks"


@dataclass(frozen=True)
class Misspelling:
    """A spelling, the frequent one that is probably meant, and its rows."""

    wrong: str
    right: str
    rows: int
    why: str


def find_misspellings(column: Column) -> list[Misspelling]:
    """Return spellings that differ from a much more frequent one in case, blanks, or one or two letters."""
    counts = column.counts
    if column.kind != "category" or not 2 <= len(counts) <= MAX_LABELS:
        return []
    found = []
    frequent = [(str(label), int(n)) for label, n in counts.items() if n >= MIN_RIGHT_ROWS]
    plain: dict[str, str] = {}
    for label, _ in frequent:
        plain.setdefault(_plain(label), label)
    for label, rows in _rare(counts):
        same = plain.get(_plain(label))
        if same is not None and same != label:
            found.append(Misspelling(label, same, rows, SAME_LETTERS))
            continue
        near = _nearest(label, rows, frequent)
        if near:
            found.append(Misspelling(label, near, rows, "letters"))
    return found


def _rare(counts: pd.Series) -> list[tuple[str, int]]:
    most = int(counts.iloc[0])
    return [(str(label), int(n)) for label, n in counts.items() if n <= MAX_SHARE * most]


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()


def _nearest(label: str, rows: int, frequent: list[tuple[str, int]]) -> str | None:
    """Return the most frequent label that differs by one letter, or by two of ten."""
    if len(label) < MIN_LENGTH or not any(c.isalpha() for c in label):
        return None
    allowed = 1 if len(label) < 10 else 2
    for right, n in frequent:
        # Digits count or name: Grade 1 is no misspelling of Grade 2.
        is_candidate = right != label and rows <= MAX_SHARE * n and _digits(label) == _digits(right)
        if is_candidate and edit_distance(label.casefold(), right.casefold(), allowed) <= allowed:
            return right
    return None


def _digits(label: str) -> str:
    return "".join(c for c in label if c.isdigit())


def edit_distance(a: str, b: str, most: int) -> int:
    """Return the number of insertions, deletions, replacements and swaps of neighbours; `most` + 1 for more."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            best = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, before[j - 2] + 1)
            current.append(best)
        if min(current) > most:
            return most + 1
        before, previous = previous, current
    return previous[-1]
