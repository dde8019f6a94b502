"""Patterns are found where Python's `re.search` finds them, and evil ones take linear time."""

import json
import random
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.regular_expression import UnsupportedPatternError, check_pattern
from ml.data.pattern_matches import pattern_matches
from tasks.settings import ROOT

CHARACTERS = "abcABx019 \t\n\x0b\x1c\x85éß\uff11٣Kk.-_]中½²Ⅷ\r\u2028I"
OF_CONTRACTS = sorted(
    {
        rule["kwargs"]["regex"]
        for path in (ROOT / "expectations").glob("*/*.json")
        for rule in json.loads(path.read_text())["expectations"]
        if "regex" in rule["kwargs"]
    }
)
PATTERNS = [
    *OF_CONTRACTS, r"\d+", r"^\w+$", r"\s", r"\S\s", r"[^\d]", r"[-\W]x", r"a.c$", r"(?i)ß|k", r"[a-f\d]{2,3}?$",
    r"^(?:ab|c)*\Z", r"(?s)a.b", r"(?P<x>a)b", r"[^abc]", r"^$", r"a|b$|^c", r"\D\W", r"[\s\d]+$", r"x{0}y",
    r"(?i:AB)c", r"[^\n]$", r"\.", r"[]]", r"[\]\-]", r"^I\d", r"^", r"",
]  # fmt: skip


def cells(count: int, ascii_only: bool) -> list[str]:
    draw = random.Random(0)
    characters = [c for c in CHARACTERS if c.isascii() or not ascii_only]
    texts = ["".join(draw.choice(characters) for _ in range(draw.randrange(6))) for _ in range(count)]
    return [*texts, "ab\n", "123456789\n", "12345A", "A1234567", "I1234567 "]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_patterns_are_found_as_by_python(ascii_only: bool) -> None:
    texts = cells(2000, ascii_only)
    found = pattern_matches(pd.Series(texts, dtype="str"), PATTERNS)
    for position, pattern in enumerate(PATTERNS):
        expected = [bool(re.search(pattern, text)) for text in texts]
        different = [t for t, e, f in zip(texts, expected, found[:, position], strict=True) if e != f]
        assert different == [], pattern


ATOMS = st.sampled_from(
    ["a", "b", ".", r"\d", r"\w", r"\s", r"\D", "[ab]", "[^a]", "^", "$", r"\Z", "é", r"[a\d]"]
)
GENERATED = st.recursive(
    ATOMS,
    lambda part: (
        st.tuples(part, part).map("".join)
        | st.tuples(part, part).map(lambda p: f"(?:{p[0]}|{p[1]})")
        | st.tuples(part, st.sampled_from(["*", "+", "?", "{1,2}", "*?"])).map(lambda p: f"({p[0]}){p[1]}")
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(GENERATED, st.lists(st.text("ab1 é", max_size=5), min_size=1, max_size=5))
def test_generated_patterns_are_found_as_by_python(pattern: str, texts: list[str]) -> None:
    try:
        check_pattern(pattern)
    except UnsupportedPatternError:
        return
    found = pattern_matches(pd.Series(texts, dtype="str"), [pattern])[:, 0]
    assert found.tolist() == [bool(re.search(pattern, text)) for text in texts]


EVIL = [
    "(a+)+$",
    "(a|a)*b",
    "(a|aa)+$",
    "(.*a){20}",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    "(a*)*b",
    "a?" * 40 + "a" * 40,
]


@pytest.mark.parametrize("pattern", EVIL, ids=lambda pattern: pattern[:20])
def test_evil_patterns_end(pattern: str) -> None:
    """Python's own matcher takes hours for each of these cells."""
    texts = ["a" * 200 + "!", "a" * 39 + "!", "x" * 200, "aA" * 100]
    found = pattern_matches(pd.Series(texts, dtype="str"), [pattern])
    assert found.shape == (4, 1)


def test_missing_cells_and_numbers() -> None:
    assert pattern_matches(pd.Series(["a", None], dtype="str"), ["", "a"]).tolist() == [
        [True] * 2,
        [False] * 2,
    ]
    assert pattern_matches(pd.Series([1.0, np.nan]), [r"^1\.0$"]).tolist() == [[True], [False]]
    assert pattern_matches(pd.Series([], dtype="str"), ["a"]).shape == (0, 1)
