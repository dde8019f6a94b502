"""Contracts survive the Open Data Contract Standard, and contracts of other projects become ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.errors import ContractError
from ml.exchange.open_data_contract import Target, export_contract, import_contract
from ml.exchange.quality_rules import from_quality, to_quality

CONTRACTS = sorted((Path(__file__).resolve().parents[3] / "expectations").glob("*/*.json"))
FOREIGN = """
apiVersion: v3.1.0
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
version: 1.4.0
status: active
description: {purpose: Loans and how they ended.}
schema:
- name: loans
  properties:
  - name: loan
    logicalType: string
    primaryKey: true
  - name: amount
    logicalType: number
    required: true
    logicalTypeOptions: {minimum: 1, exclusiveMaximum: 100000}
  - name: opened
    logicalType: date
    logicalTypeOptions: {minimum: 2020-01-01}
  - name: country
    logicalType: string
    logicalTypeOptions: {minLength: 2, maxLength: 2, pattern: '^[A-Z]+$'}
    quality:
    - metric: invalidValues
      arguments: {validValues: [AT, DE]}
      mustBeLessThan: 5
      unit: percent
      description: we lend in two countries
    - {type: text, description: checked by the branch}
  - name: defaulted
    logicalType: integer
    quality:
    - type: custom
      engine: great-expectations
      implementation: {type: expect_column_values_to_be_in_set, kwargs: {column: defaulted, value_set: [0, 1]}}
  - name: payments
    logicalType: array
  quality:
  - {metric: rowCount, mustBeGreaterThan: 100}
  - {type: sql, query: 'DROP TABLE loans', mustBe: 0}
"""


def rules_of(source: Mapping[str, Any]) -> list[str]:
    return sorted(json.dumps(rule, sort_keys=True) for rule in source["expectations"])


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_export_and_import_give_the_same_contract(path: Path) -> None:
    contract = parse(json.loads(path.read_text()))
    exported = export_contract(contract)
    imported = import_contract(exported.encode(), contract.name.partition(".")[0])
    assert imported.left_out == ()
    assert imported.source["name"] == contract.name
    assert imported.source["meta"] == contract.source["meta"]
    assert list(imported.source["meta"]["read"]["columns"]) == list(contract.read.columns)
    assert rules_of(imported.source) == rules_of(contract.source)


def test_exported_files_have_what_the_standard_requires() -> None:
    contract = parse(json.loads(next(p for p in CONTRACTS if p.stem == "german_credit").read_text()))
    document = yaml.safe_load(export_contract(contract))
    assert document.keys() >= {"version", "apiVersion", "kind", "id", "status"}
    (table,) = document["schema"]
    assert len(table["properties"]) == 21
    status = table["properties"][0]
    assert (status["name"], status["logicalType"]) == ("status", "string")
    # Other tools can check these two rules.
    assert [(q["metric"], q["mustBe"]) for q in status["quality"]] == [
        ("invalidValues", 0),
        ("nullValues", 0),
    ]
    assert status["quality"][0]["arguments"] == {"validValues": ["A11", "A12", "A13", "A14"]}


def test_a_contract_of_another_project_becomes_one_of_ours() -> None:
    imported = import_contract(FOREIGN.encode(), "fintech-risk", Target("defaulted", ["1"]))
    contract = parse(imported.source)
    assert contract.name == "fintech-risk.loans"
    assert contract.publication["description"] == "Loans and how they ended."
    assert dict(contract.read.columns) == {
        "loan": "category",
        "amount": "number",
        "opened": "time",
        "country": "category",
        "defaulted": "integer",
    }
    found = {(rule["type"], json.dumps(rule["kwargs"])) for rule in imported.source["expectations"]}
    country = {"column": "country"}
    assert found == {
        (f"expect_{name}", json.dumps(kwargs))
        for name, kwargs in (
            ("column_values_to_be_unique", {"column": "loan"}),
            ("column_values_to_not_be_null", {"column": "amount"}),
            (
                "column_values_to_be_between",
                {"column": "amount", "min_value": 1, "max_value": 100000, "strict_max": True},
            ),
            ("column_values_to_be_between", {"column": "opened", "min_value": "2020-01-01"}),
            ("column_value_lengths_to_be_between", {**country, "min_value": 2, "max_value": 2}),
            ("column_values_to_match_regex", {**country, "regex": "^[A-Z]+$"}),
            ("column_values_to_be_in_set", {**country, "value_set": ["AT", "DE"], "mostly": 0.95}),
            ("column_values_to_be_in_set", {"column": "defaulted", "value_set": [0, 1]}),
            ("table_row_count_to_be_between", {"min_value": 101}),
        )
    }
    assert imported.left_out == (
        "a rule of country (text): it has no expectation",
        "column payments: its type array is not of a table",
        "a rule of the table (sql): it has no expectation",
        "opened: times, ignored until one has the role time",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [1", "YAML without aliases; got an error at line"),
        (b"a: &a [1]\nb: *a", "YAML without aliases"),
        (b"!!python/object/apply:os.system [id]", "YAML without aliases"),
        (b"[" * 5000, "YAML without aliases"),
        (b"- 1", "kind: DataContract"),
        (b"kind: DataContract\napiVersion: v2.2.0", r"apiVersion of v3\.0\.0"),
        (b"kind: DataContract\napiVersion: v3.1.0", "one table in schema; got 0"),
        (b" " * (4 * 2**20 + 1), "at most 4 MB"),
        (FOREIGN.encode(), "a target for a contract that another project wrote"),
    ],
)
def test_other_files_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        import_contract(text, "fintech-risk")


def test_what_an_imported_file_says_is_checked_like_any_contract() -> None:
    hostile = FOREIGN.replace("expect_column_values_to_be_in_set", "unexpected_rows_expectation")
    with pytest.raises(ContractError, match="a contract runs no SQL"):
        import_contract(hostile.encode(), "fintech-risk", Target("defaulted", ["1"]))
    with pytest.raises(ContractError, match="nonsense"):
        import_contract(FOREIGN.encode(), "fintech-risk", Target("nonsense", ["1"]))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "a", "value_set": [1]}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a", "mostly": 0.9}},
            {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["a", "b"]}},
            {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1, "max_value": 1}},
            {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1, "max_value": 9}},
        ]
    ),
    st.sampled_from(["fail", "quarantine", "exclude", "warn"]),
    st.text(min_size=1),
)
def test_rules_come_back_as_they_were(rule: dict[str, Any], action: str, reason: str) -> None:
    whole = {**rule, "meta": {"action": action, "reason": reason}}
    assert from_quality(to_quality(whole), rule["kwargs"].get("column")) == whole
