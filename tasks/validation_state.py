"""Hold the state of one validation: its rows, which of them were removed by which rule, and the result of each rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from tasks.data_facts import RuleResult, RuleVerdict, ValidationFacts

# The column of clean rows with their number in the source, from 0.
ROW_COLUMN = "_row"


@dataclass
class ValidationState:
    """One validation in progress.

    `rows` are typed; `invalid_cells` has, for columns with such cells, a mask of the rows whose cell does not fit its
    type. `in_population` is a mask of the rows that no rule has excluded. With `scoring` there is no target column.
    """

    contract: Contract
    rows: pd.DataFrame
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

    def quarantine(self, rule: str, mask: np.ndarray, reason: str) -> None:
        """Quarantine the rows of the population that are in `mask`, and record it."""
        rows = np.flatnonzero(mask & self.in_population)
        self.add_result(rule, "quarantine", reason, len(rows), int(self.in_population.sum()))
        self.remove_rows(rows, rule, "quarantine", reason)

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
