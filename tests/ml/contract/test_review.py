"""Points and rules that are marked for review are listed; their marks change nothing else."""

import json
from pathlib import Path
from typing import Any

from ml.contract.parser import parse
from ml.contract.review import unreviewed

LOANS = Path(__file__).parent / "examples" / "loans.json"


def test_marked_points_and_rules_are_listed() -> None:
    source: dict[str, Any] = json.loads(LOANS.read_text())
    assert unreviewed(parse(source)) == []
    source["meta"]["proposals"] = [
        {"place": "roles.target", "reason": "the last column", "review": True},
        {"place": "roles.id", "reason": "differs in all rows"},
    ]
    source["expectations"][0]["meta"]["review"] = True
    contract = parse(source)
    assert unreviewed(contract) == ["roles.target", contract.rules[0].name]
