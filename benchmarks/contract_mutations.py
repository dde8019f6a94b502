"""Hostile contracts, from a seed: changed contracts of this project, random JSON, and damaged text."""

import json
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from ml.contract.expectations import EXPECTATIONS, REFUSED

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "expectations/fintech_risk",
    "expectations/health_prediction",
    "expectations/ecommerce_recommendation",
)
# Programs that leave a file behind if they run. MARKER is replaced by its path.
PROGRAMS = (
    "@pd.io.common.os.system('touch MARKER')==0",
    "@__import__('os').system('touch MARKER') == 0",
    "__import__('os').system('touch MARKER') == 0",
    "age.map(__import__('os').system('touch MARKER')).notnull()",
    "(lambda: open('MARKER', 'w'))() == 1",
    "a == 1; import os; os.system('touch MARKER')",
    "{0.__class__.__init__.__globals__}",
    "${open('MARKER', 'w')}",
    "`a`.__class__.__mro__[1].__subclasses__() == 1",
    "$(touch MARKER)",
    "'; DROP TABLE rows; --",
)
EVIL_PATTERNS = (
    "(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*a){20}", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y", "(a*)*b",
    "a?" * 40 + "a" * 40, "(?=a)b", r"(a)\1", "(" * 900, r"\w{1,50}", r"(?:\w{0,9}){9}", "[", "(?#", "a{1,999999}",
    "((((((a{0,9}){0,9}){0,9}){0,9}){0,9}){0,9})", "(?i)" + "[^a-z]*" * 80 + "!", r"(\d+\.?)*$", "(?x)" + " " * 900,
)  # fmt: skip
CONDITIONS = (
    "{c} == 1", "{c} is null", "{c} > '2024-01-01'", "{c} in ('x', 'y')", "not ({c} != 'x')", "{c} == {c}",
    "1 <= {c} < 5", "{c}.notnull() and {c} >= 0", 'col("{c}").isNull() or {c} < 0',
)  # fmt: skip
PATHS = (
    "/etc/passwd", "../canary.csv", "../../canary.csv", "a/../../canary.csv", "C:\\x.csv", "\\\\host\\x", "~/x.csv",
    "x\0.csv", "file:///etc/passwd", "/proc/self/environ", ".", "..", "", "link.csv", "/dev/zero",
)  # fmt: skip
TEXTS = (
    *PROGRAMS, *PATHS, "\u202e", "\ud800", "\x00", "x" * 100_000, "NaN", "__proto__", "constructor", "${HOME}",
    "%s%n%x", "{{7*7}}", "<script>alert(1)</script>", "punycode", "unicode_escape", "1e999", "-0", "null",
)  # fmt: skip
NUMBERS = (0, -1, 1, 0.5, 1e308, -1e308, 2**63, 10**39, 10**41, 1e-320, float("nan"), float("inf"), True)
ARGUMENTS: Mapping[str, tuple[Any, ...]] = {
    "column_list": (["COLUMN", "COLUMN"], ["COLUMN"], []),
    "column_set": (["COLUMN"],),
    "mostly": (0.5, 1, 0, 2, {"$PARAMETER": "x"}),
    "value_set": ([1, 2], ["x", "y"], [None, True], [], [[1]], {"$PARAMETER": "x"}),
    "value_pairs_set": ([[1, 2]], [["x", None]], [[1]]),
    "regex": (*EVIL_PATTERNS, "^x", r"^\d+$"),
    "regex_list": (["^x", "y$"], list(EVIL_PATTERNS), []),
    "row_condition": (*PROGRAMS, *(text.format(c="COLUMN") for text in CONDITIONS)),
    "condition_parser": ("pandas", "python", "great_expectations"),
    "strftime_format": ("%Y-%m-%d", "%c", "%Y" * 40, "{0.__class__}", "%"),
    "min_value": (0, 1.5, "2024-01-01", "2024-01-01T00:00:00", -1e308),
    "max_value": (10, 1e308, "2030-01-01", "x"),
    "strict_min": (True, False),
    "match_on": ("any", "all", "none"),
    "ignore_row_if": ("both_values_are_missing", "never", "1 == 1"),
    "type_": ("float64", "str", "ExcelFile", "io.common.os"),
    "type_list": (["float64", "str"], ["HDFStore"]),
    "quantile_ranges": (
        {"quantiles": [0.5], "value_ranges": [[None, 3]]},
        {"quantiles": [2], "value_ranges": []},
    ),
    "partition_object": (
        {"values": ["x", "y"], "weights": [0.5, 0.5]},
        {"bins": [0, 1, 2], "weights": [0.5, 0.5], "tail_weights": [0, 0]},
        {"weights": []},
    ),
    "value": (1, 2.5, -1),
    "threshold": (0, 3, -1),
    "sum_total": (0, 1e308),
    "method": ("iqr", "std", "eval"),
    "column_index": (0, -1, 10**12),
    "allow_relative_error": (False, "linear", True),
}


# Rules of a contract of this project that are kept: each takes some milliseconds to evaluate.
MAX_RULES = 5


@cache
def base_contracts() -> tuple[str, ...]:
    """Return the texts of this project's contracts."""
    return tuple(path.read_text() for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.json")))


class Mutator:
    """Makes one hostile contract; the same seed makes the same one."""

    def __init__(self, seed: int, marker: str) -> None:
        self.draw, self.marker = random.Random(seed), marker
        self.contract: Any = json.loads(self.draw.choice(base_contracts()))
        rules = self.contract["expectations"]
        self.contract["expectations"] = self.draw.sample(rules, min(len(rules), MAX_RULES))

    def make(self) -> tuple[str, bytes]:
        """Return the kind of the contract, and its text."""
        kind = self.draw.choices(tuple(KINDS), [WEIGHTS.get(kind, 1) for kind in KINDS])[0]
        text = KINDS[kind](self)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return kind, data.replace(b"MARKER", self.marker.encode())

    def changed_structure(self) -> str:
        for _ in range(self.draw.choice((1, 1, 1, 2, 4))):
            self.change_one()
        return self.dump()

    def rules(self) -> str:
        """Replace the rules by random ones, with arguments of the right and of wrong types."""
        self.contract["expectations"] = [self.rule() for _ in range(self.draw.choice((1, 1, 2, 5)))]
        return self.dump()

    def valid_rules(self) -> str:
        """Add rules whose arguments fit the expectation, so that many contracts reach the gate."""
        rules = [self.rule(fitting=True) for _ in range(self.draw.choice((1, 2)))]
        self.contract["expectations"] = [*self.contract["expectations"][:2], *rules]
        return self.dump()

    def conditions(self) -> str:
        for rule in self.contract["expectations"]:
            if self.draw.random() < 0.5:
                condition = self.draw.choice((*PROGRAMS, *CONDITIONS, *CONDITIONS, "(" * 500))
                rule["kwargs"]["row_condition"] = condition.replace("{c}", self.column())
                rule["kwargs"]["condition_parser"] = self.draw.choice(("pandas", "great_expectations"))
        return self.dump()

    def patterns(self) -> str:
        kind = self.draw.choice(("match_regex", "not_match_regex"))
        self.contract["expectations"] = [
            {
                "type": f"expect_column_values_to_{kind}",
                "kwargs": {"column": self.column(), "regex": self.pattern()},
                "meta": {"action": "warn", "reason": "x"},
            }
        ]
        return self.dump()

    def repeated_keys(self) -> str:
        text = json.dumps(self.contract)
        key = self.draw.choice(("expectations", "meta", "name", "read", "roles", "split", "kwargs", "type"))
        return text.replace(f'"{key}":', f'"{key}": [], "{key}":', 1)

    def nesting(self) -> str:
        levels = self.draw.choice((20, 33, 900, 5_000, 100_000))
        opening, closing = self.draw.choice((("[", "]"), ('{"a":', "}")))
        nested = opening * levels + "1" + closing * self.draw.choice((levels, levels, 0))
        key = self.draw.choice(("expectations", "meta", "description"))
        return json.dumps(self.contract)[:-1] + f', "{key}2": {nested}' + "}"

    def paths(self) -> str:
        self.contract["meta"]["read"].pop("simulator", None)
        self.contract["meta"]["read"] |= {"files": [self.draw.choice(PATHS)]}
        if self.draw.random() < 0.3:
            self.contract["name"] = self.draw.choice(PATHS)
        if self.draw.random() < 0.3:
            self.contract["meta"]["read"]["folder"] = self.draw.choice(PATHS)
        return self.dump()

    def random_json(self) -> str:
        return json.dumps(self.value(4))

    def damaged_text(self) -> bytes:
        data = bytearray(json.dumps(self.contract).encode())
        for _ in range(self.draw.choice((1, 1, 3, 20))):
            place = self.draw.randrange(len(data))
            data[place : place + self.draw.choice((0, 1, 5))] = self.draw.choice(
                (
                    b"",
                    b'"',
                    b"{",
                    b"]",
                    b"\x00",
                    b"\xff",
                    b"\\",
                    b"9" * 5000,
                    b"NaN",
                    b"\\ud800",
                    b"\xef\xbb\xbf",
                )
            )
        return bytes(data) if self.draw.random() < 0.9 else b"\xef\xbb\xbf" + bytes(data)

    def size(self) -> str:
        many = self.draw.choice((1_001, 20_000, 120_000))
        contract = self.contract
        if self.draw.random() < 0.3:
            contract["expectations"] = [self.rule(fitting=True)] * self.draw.choice((50, many))
        elif self.draw.random() < 0.5:
            contract["meta"]["read"]["columns"] |= {f"c{n}": "number" for n in range(many)}
        else:
            contract["meta"] |= {f"key{n}": n for n in range(many)}
            contract["meta"]["description"] = "x" * self.draw.choice((3_000, 5_000_000))
        return json.dumps(contract)

    def dump(self) -> str:
        return json.dumps(self.contract)

    def column(self) -> str:
        read = self.contract["meta"]["read"] if isinstance(self.contract, dict) else {}
        return str(self.draw.choice(list(read.get("columns", {})) or ["x"]))

    def pattern(self) -> str:
        pieces = (
            "a",
            ".",
            r"\d",
            r"\w",
            "[a-f]",
            "(a|b)",
            "(.*)",
            "^",
            "$",
            "+",
            "*",
            "?",
            "{2,5}",
            "é",
            "|",
            "(",
            ")",
        )
        return self.draw.choice(
            (
                self.draw.choice(EVIL_PATTERNS),
                "".join(self.draw.choices(pieces, k=self.draw.randrange(1, 12))),
            )
        )

    def rule(self, fitting: bool = False) -> dict[str, Any]:
        names = list(EXPECTATIONS) if fitting else [*EXPECTATIONS, *REFUSED, *TEXTS[:12]]
        kind = self.draw.choice(names)
        known = EXPECTATIONS.get(kind)
        arguments = list(known.required) if known else ["column"]
        optional = list(known.optional) if known else []
        arguments += [name for name in optional if self.draw.random() < 0.25]
        if not fitting and self.draw.random() < 0.3:
            arguments.append(self.draw.choice((*ARGUMENTS, "batch_id", "result_format", "windows")))
        kwargs = {name: self.argument(name, fitting) for name in arguments}
        action = "warn" if fitting else self.draw.choice(("warn", "fail", "quarantine", "exclude"))
        return {"type": kind, "kwargs": kwargs, "meta": {"action": action, "reason": "x"}}

    def argument(self, name: str, fitting: bool) -> Any:
        if name in ("column", "column_A", "column_B"):
            return self.column()
        choices = ARGUMENTS.get(name, (True, False))
        value = self.draw.choice(
            choices[:2] if fitting and name not in ("regex", "row_condition") else choices
        )
        if isinstance(value, str):
            return value.replace("COLUMN", self.column())
        return (
            [self.column() if item == "COLUMN" else item for item in value]
            if isinstance(value, list)
            else value
        )

    def change_one(self) -> None:
        """Change one place of the contract: remove, replace, or repeat what is there."""
        parent, key = self.draw.choice(list(_places(self.contract)) or [({"x": 1}, "x")])
        change = self.draw.choice((0, 0, 0, 1, 2, 3))
        if change == 0:
            del parent[key]
        elif change == 1 and isinstance(parent, dict):
            parent[self.draw.choice((*TEXTS, "rows", "seed", "encoding"))] = self.value(2)
        elif change == 2:
            parent[key] = deepcopy(self.draw.choice([value[k] for value, k in _places(self.contract)]))
        else:
            parent[key] = self.value(2)

    def value(self, depth: int) -> Any:
        kind = self.draw.randrange(6 if depth else 4)
        if kind == 0:
            return self.draw.choice(TEXTS)
        if kind == 1:
            return self.draw.choice(NUMBERS)
        if kind in (2, 3):
            return self.draw.choice((None, True, "", "x", "age", "time", "category", 3, EVIL_PATTERNS[0]))
        items = [self.value(depth - 1) for _ in range(self.draw.randrange(4))]
        if kind == 4:
            return items
        keys = ("name", "meta", "expectations", "read", "roles", "$PARAMETER", "type", "kwargs", *TEXTS)
        return {self.draw.choice(keys): item for item in items}


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each list or object with each of its keys, at all levels."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


KINDS: Mapping[str, Callable[[Mutator], str | bytes]] = {
    "changed structure": Mutator.changed_structure,
    "random rules": Mutator.rules,
    "fitting rules": Mutator.valid_rules,
    "row conditions": Mutator.conditions,
    "patterns": Mutator.patterns,
    "repeated keys": Mutator.repeated_keys,
    "deep nesting": Mutator.nesting,
    "paths": Mutator.paths,
    "random JSON": Mutator.random_json,
    "damaged text": Mutator.damaged_text,
    "size": Mutator.size,
}
# Large contracts take the most time.
WEIGHTS = {"size": 0.25}
