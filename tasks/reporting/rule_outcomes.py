"""The words for what a rule of a contract led to, in reports and in the terminal."""

from collections.abc import Mapping
from typing import Any

from ml.contract.expectations import EXPECTATIONS

# Rules of the validation that are not GX expectations but also apply row by row.
ROW_RULES = ("type(", "present(", "exact_copy", "one_row_per(", "first_row_per(")
OUTCOMES = {"failed": "rejected the batch", "warned": "warned", "passed": "passed"}
# Of a rule that was applied to the rows that break it.
APPLIED = {"quarantine": "quarantined", "exclude": "excluded", "fail": "within tolerance"}


def describe_outcome(rule: Mapping[str, Any]) -> str:
    """Describe what a rule led to, such as "quarantined" or "within tolerance"."""
    return OUTCOMES.get(rule["verdict"]) or APPLIED.get(rule["action"], str(rule["verdict"]))


def is_row_rule(rule: str) -> bool:
    """Return whether a rule judges each row by itself, and not the batch as a whole."""
    expectation = EXPECTATIONS.get(f"expect_{str(rule).partition('(')[0]}")
    return (expectation is not None and expectation.finds_rows) or str(rule).startswith(ROW_RULES)
