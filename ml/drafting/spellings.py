"""Rare categories that are probably other spellings of frequent ones."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ml.contract.values import MAX_WORD
from ml.drafting.columns import Column

# A misspelling is at most this frequent, relative to the right spelling.
MAX_SHARE = 0.05
MIN_RIGHT_ROWS = 10
# Shorter words differ by one letter and mean something else.
MIN_LENGTH = 4
MAX_LABELS = 2_000
# Why a spelling is one of another: the letters are the same and case or blanks differ, some letters differ from those
# of one frequent spelling, or of several.
SAME_LETTERS, OTHER_LETTERS, AMBIGUOUS = "case or blanks", "letters", "letters of several"
# Columns with more values have names and codes, which may differ in case or by a letter.
MAX_REPAIRED_LABELS = 200
# A spelling with other letters is repaired up to this share of the rows of the right one, or where it is in few rows.
MAX_REPAIRED_SHARE = 0.005
MAX_LETTER_REPAIRS = 20
# Beginnings and ends by which words mean the opposite, or something else, though they differ by two letters.
OPPOSITES = (("hyper", "hypo"), ("inter", "intra"), ("macro", "micro"), ("over", "under"), ("post", "pre"))
OTHER_ENDS = (("itis", "osis"), ("ectomy", "otomy"), ("ful", "less"), ("ate", "ite"), ("ide", "ine"))
WORDS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True)
class Misspelling:
    """A spelling, the frequent one that is probably meant, and the rows of both."""

    wrong: str
    right: str
    rows: int
    right_rows: int
    why: str


def find_misspellings(column: Column) -> list[Misspelling]:
    """Return spellings that differ from a much more frequent one in case, blanks, or one or two letters."""
    counts = column.counts
    if column.kind != "category" or not 2 <= len(counts) <= MAX_LABELS:
        return []
    found = []
    frequent = {str(label): int(n) for label, n in counts.items() if n >= MIN_RIGHT_ROWS}
    plain: dict[str, str] = {}
    for label in frequent:
        plain.setdefault(_plain(label), label)
    for label, rows in _rare(counts):
        same = plain.get(_plain(label))
        if same is not None and same != label:
            found.append(Misspelling(label, same, rows, frequent[same], SAME_LETTERS))
            continue
        near = _nearest(label, rows, frequent)
        if near:
            why = OTHER_LETTERS if len(near) == 1 else AMBIGUOUS
            found.append(Misspelling(label, near[0], rows, frequent[near[0]], why))
    return found


def find_repairs(column: Column, given: Collection[str] = ()) -> list[Misspelling]:
    """Return the misspellings that a draft repairs: all in another case, and those with other letters that are sure.

    Values in `given` were named by a person, and are right.
    """
    if not column.name or column.distinct > MAX_REPAIRED_LABELS:
        return []
    usable = [
        error
        for error in find_misspellings(column)
        if error.wrong not in given and max(len(error.wrong), len(error.right)) <= MAX_WORD
    ]
    if _are_codes(column):
        return [error for error in usable if error.why == SAME_LETTERS]
    letters = [error for error in usable if error.why == OTHER_LETTERS and is_typing_error(error)]
    return [error for error in usable if error.why == SAME_LETTERS] + letters[:MAX_LETTER_REPAIRS]


def is_typing_error(error: Misspelling) -> bool:
    """Return whether a rare spelling is one word written wrong, and no code and no other word.

    The first letter of a word is hardly ever wrong: a Gambian is no Zambian, and atypical is not typical. The same
    holds for the last one of a short word, such as Iran, unless a letter is missing or was written twice.
    """
    if error.rows > max(MIN_RIGHT_ROWS - 1, MAX_REPAIRED_SHARE * error.right_rows):
        return False
    wrong, right = WORDS.findall(error.wrong.casefold()), WORDS.findall(error.right.casefold())
    different = [(a, b) for a, b in zip(wrong, right, strict=False) if a != b]
    if len(wrong) != len(right) or len(different) != 1 or _mixes_digits(error.right):
        return False
    ((a, b),) = different
    if a[0] != b[0] or min(len(a), len(b)) < MIN_LENGTH or not a.isalpha():
        return False
    if len(a) == len(b) <= 5 and sorted(a) != sorted(b):
        return False
    return not (_differ_by(a, b, OPPOSITES, str.startswith) or _differ_by(a, b, OTHER_ENDS, str.endswith))


def _differ_by(a: str, b: str, pairs: Sequence[tuple[str, str]], has: Callable[[str, str], bool]) -> bool:
    return any((has(a, x) and has(b, y)) or (has(a, y) and has(b, x)) for x, y in pairs)


def _mixes_digits(label: str) -> bool:
    """Return whether letters and digits are side by side, as in a code."""
    return re.search(r"[^\W\d_]\d|\d[^\W\d_]", label) is not None


def _are_codes(column: Column) -> bool:
    """Return whether the frequent values of a column are all of one length, in capitals and digits."""
    frequent = [str(label) for label, n in column.counts.items() if n >= MIN_RIGHT_ROWS]
    same = len({len(label) for label in frequent}) == 1 and len(frequent) > 2
    return same and all(label == label.upper() for label in frequent)


def _rare(counts: pd.Series) -> list[tuple[str, int]]:
    most = int(counts.iloc[0])
    return [(str(label), int(n)) for label, n in counts.items() if n <= MAX_SHARE * most]


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()


def _nearest(label: str, rows: int, frequent: Mapping[str, int]) -> list[str]:
    """Return the frequent labels that differ by one letter, or by two of ten, the most frequent first."""
    # The work grows with the square of the length.
    if not MIN_LENGTH <= len(label) <= MAX_WORD or not any(c.isalpha() for c in label):
        return []
    allowed = 1 if len(label) < 10 else 2
    # Digits count or name: Grade 1 is no misspelling of Grade 2.
    near = [
        right
        for right in frequent
        if right != label
        and _digits(label) == _digits(right)
        and edit_distance(label.casefold(), right.casefold(), allowed) <= allowed
    ]
    return near if near and rows <= MAX_SHARE * frequent[near[0]] else []


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
