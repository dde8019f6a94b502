"""Contracts of version 1, as in old model packages, are read as the same contracts of version 2."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.version_1 import NEW_NAMES, upgrade
from ml.errors import ContractError

EXAMPLES = Path(__file__).parent / "examples"

LOANS: dict[str, Any] = {
    "name": "fintech-risk.loans",
    "expectations": [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "age", "min_value": 18},
            "meta": {"action": "quarantine", "reason": "borrowers are adults"},
        },
        {
            "type": "expect_compound_columns_to_be_unique",
            "kwargs": {"column_list": ["loan", "region"]},
            "meta": {"action": "exclude", "reason": "one row per loan and region"},
        },
        {
            "type": "expect_table_row_count_to_be_between",
            "kwargs": {"min_value": 5},
            "meta": {"action": "refuse", "reason": "a day has more loans"},
        },
    ],
    "meta": {
        "description": "Loans.",
        "publisher": "A bank",
        "licence": "CC0",
        "citation": "none",
        "url": "https://example.org",
        "sha256": {"a.csv": "00"},
        "read": {
            "columns": {
                "loan": "category",
                "day": "time",
                "age": "integer",
                "region": "category",
                "branch": "category",
                "client": "category",
                "amount": "number",
                "note": "category",
                "bad": "category",
            },
            "files": ["a.csv", "b.csv"],
            "folder": "branches",
            "format": "csv",
            "encoding": "latin-1",
            "separator": ";",
            "header": False,
            "missing": ["", "?"],
            "strip": True,
            "source_column": "branch",
        },
        "roles": {
            "target": {"column": "bad", "positive": ["1", 2]},
            "id": "loan",
            "time": "day",
            "group": "client",
            "site": "branch",
            "sensitive": ["region"],
            "ignored": ["note"],
            "descriptions": {"age": "years"},
        },
        "split": {"by": "site", "test": 0.3, "valid": 0.1, "sites": ["b", 7]},
        "budget": 0.01,
        "keep_first": {"per": "client", "by": "day", "reason": "later loans depend on the first"},
        "foretelling": {"amount": "small loans are always repaid"},
        "special": {"age": {"98.0": "unknown", "-1": "answer refused", "0.50": "a child"}},
    },
}

BASKETS: dict[str, Any] = {
    "name": "shop.baskets",
    "expectations": [],
    "meta": {
        "read": {
            "columns": {"basket": "category", "product": "category", "kind": "category", "line": "integer"},
            "files": ["a.csv"],
        },
        "roles": {"user": "basket", "item": "product", "position": "line", "weight": "kind", "repeat": True},
        "weights": {"look": 0.25, "buy": 3},
        "split": {"by": "last"},
        "blocked": {"7": "recalled"},
        "decay": 0.9,
        "items": {"file": "products.csv", "item": "product", "attributes": ["brand"]},
    },
}
BASKETS_IN_VERSION_2: dict[str, Any] = {
    "name": "shop.baskets",
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": BASKETS["meta"]["read"],
        "roles": {
            "user": "basket",
            "item": "product",
            "event_order": "line",
            "event_weight": "kind",
            "allow_repeat_recommendations": True,
        },
        "event_weight_by_value": {"look": 0.25, "buy": 3},
        "split": {"by": "last"},
        "never_recommend": {"7": "recalled"},
        "decay": 0.9,
        "item_attributes": {"file": "products.csv", "item": "product", "attributes": ["brand"]},
    },
}

UNORDERED: dict[str, Any] = {
    "name": "shop.sets",
    "expectations": [],
    "meta": {
        "read": {"columns": {"u": "category", "i": "category"}, "files": ["a.csv"]},
        "roles": {"user": "u", "item": "i"},
        "split": {"by": "any"},
    },
}


def test_upgraded_table_is_the_contract_of_version_2() -> None:
    new = json.loads((EXAMPLES / "loans.json").read_text())
    assert upgrade(LOANS) == new
    assert replace(parse(LOANS), source=new) == parse(new)
    # The order of columns says which is which in a file without header.
    assert list(parse(LOANS).read.columns) == list(LOANS["meta"]["read"]["columns"])


def test_upgraded_log_is_the_contract_of_version_2() -> None:
    assert upgrade(BASKETS) == BASKETS_IN_VERSION_2
    assert replace(parse(BASKETS), source=BASKETS_IN_VERSION_2) == parse(BASKETS_IN_VERSION_2)


def test_split_by_any_is_random_last_out() -> None:
    assert parse(UNORDERED).split.by == "random_last_out"


def test_examples_have_every_old_name() -> None:
    text = json.dumps([LOANS, BASKETS, UNORDERED])
    assert all(f'"{old}"' in text for old in NEW_NAMES)


def test_source_of_an_old_contract_stays_as_given() -> None:
    source = deepcopy(LOANS)
    assert parse(source).source is source
    assert source == LOANS


def test_schema_version_1_may_be_given() -> None:
    source = {**BASKETS, "meta": {**BASKETS["meta"], "schema_version": 1}}
    assert parse(source).never_recommend == {"7": "recalled"}


def test_upgrade_keeps_the_order_of_keys() -> None:
    assert list(upgrade(BASKETS)["meta"]) == [
        "schema_version",
        "read",
        "roles",
        "event_weight_by_value",
        "split",
        "never_recommend",
        "decay",
        "item_attributes",
    ]


@pytest.mark.parametrize(
    "meta",
    [
        [],
        None,
        "x",
        {"roles": []},
        {"roles": None, "split": "any"},
        {"split": {"by": ["any"]}},
        {"keep_first": 3},
    ],
    ids=str,
)
def test_values_of_other_types_are_left_to_validation(meta: Any) -> None:
    source = {"name": "toy.rows", "expectations": [3, {"meta": 3}, {"meta": {"action": []}}], "meta": meta}
    assert upgrade(source)["expectations"] == source["expectations"]
    with pytest.raises(ContractError):
        parse(source)


def test_errors_of_an_old_contract_mention_that_names_are_new() -> None:
    with pytest.raises(ContractError) as error:
        parse({**LOANS, "meta": {**LOANS["meta"], "special": {"age": [98]}}})
    assert "meta.sentinel_values['age']" in str(error.value)
    assert error.value.next_step.endswith("(in the names of schema_version 2)")


@pytest.mark.parametrize("key", ["never_recommend", "special"])
def test_unknown_keys_of_an_old_contract_are_refused(key: str) -> None:
    source = {**LOANS, "meta": {**LOANS["meta"], key: {}, "other": 1}}
    with pytest.raises(ContractError):
        parse(source)
