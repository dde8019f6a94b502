"""Differences between contracts are named; what has no effect is none."""

import json
from pathlib import Path
from typing import Any

from ml.contract.differences import describe_differences
from ml.contract.parser import parse

LOANS = Path(__file__).parent / "examples" / "loans.json"


def loans() -> dict[str, Any]:
    source: dict[str, Any] = json.loads(LOANS.read_text())
    return source


def test_equal_contracts_and_reviews_differ_in_nothing() -> None:
    new = loans()
    new["meta"]["proposals"] = [{"place": "roles.id", "reason": "unique", "review": True}]
    new["expectations"].reverse()
    assert describe_differences(parse(loans()), parse(new)) == []


def test_columns_rules_and_sections() -> None:
    old, new = loans(), loans()
    name = old["expectations"][0]["kwargs"]["column"]
    new["expectations"][0]["meta"]["action"] = "warn"
    new["expectations"].append(
        {
            "type": "expect_column_values_to_be_unique",
            "kwargs": {"column": name},
            "meta": {"action": "warn", "reason": "x"},
        }
    )
    new["meta"]["read"]["columns"]["colour"] = "category"
    new["meta"]["max_quarantined_share"] = 0.02
    found = describe_differences(parse(old), parse(new))
    assert "column 'colour' is new, of type category" in found
    assert f"rule column_values_to_be_unique({name}) (warn) is new" in found
    assert any(text.startswith("rule ") and "became warn" in text for text in found)
    assert any(text.startswith("meta.max_quarantined_share") and text.endswith("0.02") for text in found)
    gone = describe_differences(parse(new), parse(old))
    assert "column 'colour' is no longer read" in gone
    assert f"rule column_values_to_be_unique({name}) (warn) is gone" in gone
