"""The JSON Schema and docs/contract.md are those of the typed model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ml.contract.json_schema import json_schema
from ml.contract.parser import parse
from ml.contract.read_options import COLUMN_TYPES
from ml.contract.split_policy import LOG_SPLITS, ROW_SPLITS
from ml.contract.version_1 import NEW_NAMES

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "expectations" / "contract.schema.json"
CONTRACTS = sorted((ROOT / "expectations").glob("*/*.json"))
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.json"))
DOCUMENT = (ROOT / "docs" / "contract.md").read_text()
BLOCKS = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)


def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(json_schema()))


def test_schema_file_is_up_to_date() -> None:
    command = f"python -c 'from ml.contract.json_schema import *; print(json_schema(), end=\"\")' > {SCHEMA}"
    assert SCHEMA.read_text() == json_schema(), f"run: {command}"
    Draft202012Validator.check_schema(json.loads(json_schema()))


@pytest.mark.parametrize("path", [*CONTRACTS, *EXAMPLES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_contracts_validate_against_the_schema(path: Path) -> None:
    assert list(validator().iter_errors(json.loads(path.read_text()))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("meta", "schema_version"), 1),
        (("meta", "notes"), "x"),
        (("meta", "roles", "weight"), "x"),
        (("meta", "max_quarantined_share"), 1),
        (("meta", "split", "by"), "any"),
        (("meta", "sentinel_values", "age"), {"x": "unknown"}),
        (("meta", "sentinel_values", "age"), {}),
        (("meta", "roles", "target"), {"column": "bad", "positive": [True]}),
        (("meta", "leakage_exceptions", "age"), " "),
        (("name",), "loans"),
        (("expectations",), {}),
    ],
    ids=str,
)
def test_schema_refuses_what_the_parser_refuses(path: tuple[str, ...], value: Any) -> None:
    (source,) = (json.loads(p.read_text()) for p in EXAMPLES if p.stem == "loans")
    place = source
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(validator().iter_errors(source))


def test_every_key_has_a_description_in_the_schema() -> None:
    schema = json.loads(json_schema())
    for section in [schema, *schema["$defs"].values()]:
        for key, value in section["properties"].items():
            assert "description" in value or "$ref" in value, key


def keys(schema: Any) -> set[str]:
    return {key for section in [schema, *schema["$defs"].values()] for key in section["properties"]}


def test_document_explains_every_key_and_word() -> None:
    words = keys(json.loads(json_schema())) | {*COLUMN_TYPES, *ROW_SPLITS, *LOG_SPLITS}
    words |= {
        "fail",
        "quarantine",
        "exclude",
        "warn",
        "csv",
        "parquet",
        "sequences",
        "baskets",
        "intents",
        "json",
    }
    assert [word for word in sorted(words) if f"`{word}`" not in DOCUMENT] == []


def test_document_has_valid_examples_of_a_table_and_a_log() -> None:
    contracts = [parse(json.loads(block)) for block in BLOCKS if '"expectations"' in block]
    assert [contract.is_recommendation for contract in contracts] == [False, True]
    for block in BLOCKS:
        json.loads(block)
    for contract in contracts:
        assert list(validator().iter_errors(dict(contract.source))) == []


def test_document_lists_the_names_of_version_1() -> None:
    # The former name of leakage_exceptions is no word of this project any more: only the reader has it.
    for old, new in NEW_NAMES.items():
        if new != "leakage_exceptions":
            assert re.search(rf"`{old}`.*`{new}`", DOCUMENT), old
