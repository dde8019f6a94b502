"""All errors of a contract are in one message, readable and of bounded length."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.problems import MAX_PROBLEMS
from ml.errors import ContractError, StewardError

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "examples" / "loans.json").read_text())


def error_of(source: Any) -> ContractError:
    with pytest.raises(ContractError) as error:
        parse(source)
    return error.value


def test_one_error_is_the_message_itself() -> None:
    source = deepcopy(TABLE)
    source["meta"]["read"]["format"] = "xlsx"
    error = error_of(source)
    assert isinstance(error, StewardError)
    assert str(error) == (
        "expected one of csv, jsonl, arff, parquet, feather, excel, sequences, baskets, intents in meta.read.format;"
        " got 'xlsx'; choose one of them"
    )


def test_all_errors_are_reported_at_once_each_with_its_place() -> None:
    """Errors of single values and of rules between keys, in all sections."""
    source = deepcopy(TABLE)
    source["notes"] = 1
    source["expectations"][0]["kwargs"]["column"] = "nowhere"
    source["expectations"][1]["meta"]["reason"] = " "
    source["expectations"][2]["meta"]["action"] = "exclude"
    meta = source["meta"]
    meta["read"] |= {"join": "loan", "files": ["a.csv"]}
    meta["roles"]["group"] = "nobody"
    meta["split"]["test"] = 1.5
    meta["max_quarantined_share"] = "2 %"
    meta["sentinel_values"]["age"]["98"] = "again"
    meta["never_recommend"] = {"7": "recalled"}
    error = error_of(source)
    assert (error.expected, error.got) == ("a contract without errors", "10 errors")
    lines = str(error).split("\n- ")
    assert lines[0].endswith("correct each:")
    assert len(lines) == 11
    for place in (
        "name, expectations, meta in the contract; got 'notes'",
        "in expectations[0]; got ['nowhere']",
        "a reason in expectations[1].meta.reason",
        "fail or warn in expectations[2].meta.action",
        "meta.read.source_column and meta.read.join",
        "in meta.roles; got ['nobody']",
        "a number below 1 in meta.split.test; got 1.5",
        "a number in meta.max_quarantined_share; got '2 %'",
        "different numbers as keys of meta.sentinel_values['age']; got ['-1', '0.50', '98', '98.0']",
        "meta.never_recommend only with a role item",
    ):
        assert sum(place in line for line in lines[1:]) == 1, place
    # Each line says what was expected, what came, and what to do.
    assert all(re.fullmatch(r"expected .+; got .+; .+", line) for line in lines[1:])


def test_sections_with_errors_hide_no_errors_of_others() -> None:
    source = deepcopy(TABLE)
    del source["meta"]["read"]
    source["meta"]["split"] = {"by": "stratified"}
    source["meta"]["roles"]["target"] = {"column": "bad"}
    source["meta"]["decay"] = 0.5
    text = str(error_of(source))
    for expected in ("the key 'read' in meta", "classes to stratify by", "meta.decay only with a role item"):
        assert expected in text
    assert "columns" not in text


def test_fifty_errors_are_one_message_of_bounded_length() -> None:
    source = deepcopy(TABLE)
    rule = {
        "type": "expect_column_values_to_not_be_null",
        "kwargs": {},
        "meta": {"action": "stop", "reason": "x"},
    }
    source["expectations"] = [rule] * 50
    error = error_of(source)
    assert error.got == "50 errors"
    text = str(error)
    assert "expectations[0].meta.action" in text
    assert f"expectations[{MAX_PROBLEMS - 1}].meta.action" in text
    assert f"expectations[{MAX_PROBLEMS}].meta.action" not in text
    assert text.endswith(f"\n- and {50 - MAX_PROBLEMS} more")
    assert len(text) < 4000


def test_unknown_keys_of_one_object_are_named_together() -> None:
    source = deepcopy(TABLE)
    source["meta"] |= {f"key{n}": n for n in range(50)}
    text = str(error_of(source))
    assert "'key0', 'key1', " in text
    assert ", and 38 more]" in text
    assert len(text) < 1500


@pytest.mark.parametrize(
    ("section", "key", "correction"),
    [
        ("read", "seperator", "'seperator' is probably 'separator'"),
        ("roles", "weight", "'weight' is 'event_weight' in schema_version 2"),
        (None, "special", "'special' is 'sentinel_values' in schema_version 2"),
        (None, "xyz", "correct or remove it"),
    ],
)
def test_names_that_were_probably_meant_are_suggested(section: str | None, key: str, correction: str) -> None:
    source = deepcopy(TABLE)
    (source["meta"][section] if section else source["meta"])[key] = "x"
    assert error_of(source).next_step == correction


@pytest.mark.parametrize(("word", "correction"), [("quarantaine", "quarantine"), ("refuse", "fail")])
def test_words_that_were_probably_meant_are_suggested(word: str, correction: str) -> None:
    source = deepcopy(TABLE)
    source["expectations"][0]["meta"]["action"] = word
    assert repr(correction) in error_of(source).next_step


def test_long_values_and_keys_are_shortened() -> None:
    source = deepcopy(TABLE)
    long = "secret" * 10_000
    source["meta"] |= {"url": {"a": long}, long: long, "max_quarantined_share": long}
    source["meta"]["roles"] |= {"id": long, "sensitive": [long] * 100, long: long}
    source["meta"]["read"]["columns"][long] = long
    source["expectations"][0] |= {"type": long, "kwargs": {"column": long, "column_list": [long] * 50}}
    source["expectations"][0]["meta"] = {"action": long, "reason": [long]}
    source["name"] = long
    text = str(error_of(source))
    assert len(text) < 6000
    assert "secret" * 12 not in text
