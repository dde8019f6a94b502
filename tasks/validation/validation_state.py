"""Hold the state of one validation: its rows, which of them were removed by which rule, and the result of each rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.value_kinds import describe_kinds
from tasks.data_facts import RuleResult, RuleVerdict, ValidationFacts

# The column of clean rows with their number in the source, from 0.
ROW_COLUMN = "_row"
# Rules that a message names; the report shows all.
MAX_CULPRITS = 5


@dataclass
class ValidationState:
    """One validation in progress.

    `rows` are typed, `cells` as they were read. `invalid_cells` has, for columns with such cells, a mask of the rows
    whose cell does not fit its type. `in_population` is a mask of the rows that no rule has excluded. With `scoring`
    there is no target column.
    """

    contract: Contract
    rows: pd.DataFrame
    cells: pd.DataFrame
    invalid_cells: Mapping[str, np.ndarray]
    scoring: bool
    in_population: np.ndarray = field(init=False)
    results: list[RuleResult] = field(default_factory=list)
    removed: list[tuple[str, pd.DataFrame]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.in_population = np.ones(len(self.rows), dtype=bool)

    def add_result(
        self, rule: str, action: str, reason: str, violations: int, rows: int, failed: bool = False
    ) -> None:
        """Record a rule that was applied to `rows` rows, of which `violations` broke it."""
        verdict: RuleVerdict = (
            "failed"
            if failed
            else "passed"
            if not violations
            else "warned"
            if action == "warn"
            else "applied"
        )
        self.results.append(
            {
                "rule": rule,
                "action": action,
                "reason": reason,
                "violations": violations,
                "rows": rows,
                "verdict": verdict,
            }
        )

    def remove_rows(self, rows: np.ndarray, rule: str, action: str, reason: str) -> None:
        """Remove rows (numbers in the source, from 0) by the action `quarantine` or `exclude`."""
        self.removed.append((action, pd.DataFrame({"row": rows, "rule": rule, "reason": reason})))
        if action == "exclude":
            self.in_population[rows] = False

    def add_kinds(self, kinds: Mapping[str, int]) -> None:
        """Add to the last result what kinds of values broke the rule, if any did."""
        if kinds := {kind: count for kind, count in kinds.items() if count}:
            self.results[-1]["kinds"] = kinds

    def set_aside(self, rule: str, mask: np.ndarray, action: str, reason: str) -> np.ndarray:
        """Record the rows of the population that are in `mask` and return their numbers; `warn` removes none."""
        rows = np.flatnonzero(mask & self.in_population)
        self.add_result(rule, action, reason, len(rows), int(self.in_population.sum()))
        if action != "warn":
            self.remove_rows(rows, rule, action, reason)
        return rows

    def quarantine(self, rule: str, mask: np.ndarray, reason: str, kind: str = "") -> np.ndarray:
        """Quarantine the rows of the population that are in `mask`, record it, and return their numbers."""
        rows = self.set_aside(rule, mask, "quarantine", reason)
        if kind:
            self.add_kinds({kind: len(rows)})
        return rows

    def removed_rows(self, action: str) -> pd.DataFrame:
        """Return the rows that were removed by an action: one line per row and rule (row, rule, reason)."""
        tables = [table for taken, table in self.removed if taken == action and len(table)]
        if tables:
            return pd.concat(tables, ignore_index=True)
        empty = pd.DataFrame({"row": np.empty(0, dtype=np.int64), "rule": "", "reason": ""})
        return empty.astype({"rule": "str", "reason": "str"})

    def facts(self) -> ValidationFacts:
        """Count the rows: clean + quarantined + excluded = rows."""
        excluded = self.removed_rows("exclude")["row"].nunique()
        quarantined = self.removed_rows("quarantine")["row"].nunique()
        return {
            "rows": len(self.rows),
            "clean": len(self.rows) - excluded - quarantined,
            "quarantined": quarantined,
            "excluded": excluded,
            "rules": self.results,
        }


def describe_result(result: RuleResult) -> str:
    """Describe a rule that refused the batch: its reason, and for a rule about single rows how many and what kinds."""
    text = f"{result['rule']}: {result['reason']}"
    if "kinds" not in result:
        return text
    return f"{text} ({result['violations']:,} of {result['rows']:,} rows: {describe_kinds(result['kinds'])})"


def describe_culprits(results: Iterable[RuleResult], *actions: str) -> str:
    """Name the rules that removed rows by `actions`, those of most rows first, with the kinds of values."""
    culprits = [r for r in results if r["action"] in actions and r["violations"]]
    culprits.sort(key=lambda result: -result["violations"])
    more = len(culprits) - MAX_CULPRITS
    named = [
        f"{r['rule']} {r['violations']:,} row{'s' if r['violations'] > 1 else ''}"
        f" ({describe_kinds(r['kinds']) if 'kinds' in r else r['reason']})"
        for r in culprits[:MAX_CULPRITS]
    ]
    return ", ".join([*named, *([f"and {more} more rules"] if more > 0 else [])])
