"""The JSON of a contract: one clear error for what a reader would drop silently, or end at."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.contract.json_text import MAX_BYTES, MAX_DEPTH, MAX_VALUES, read_json, read_json_file
from ml.contract.parser import parse
from ml.errors import ContractError

TEXT = (Path(__file__).parent / "examples" / "loans.json").read_text()


def error_of(data: bytes | str) -> ContractError:
    with pytest.raises(ContractError) as error:
        read_json(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data, "x.json")
    assert error.value.next_step
    assert len(str(error.value)) < 5_000
    return error.value


def test_a_contract_is_read_as_by_python() -> None:
    assert read_json(TEXT.encode()) == json.loads(TEXT)
    assert list(read_json(TEXT.encode())["meta"]["read"]["columns"]) == list(
        json.loads(TEXT)["meta"]["read"]["columns"]
    )
    assert read_json(json.dumps({"a": "ü\U0001f600"}).encode()) == {"a": "ü\U0001f600"}


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"meta": {\n    "schema_version"', '"expectations": [], "meta": {"schema_version"', "the contract"),
        ('"split": {', '"split": {"by": "hash", ', "meta.split"),
        ('"kwargs": {', '"kwargs": {"column": "x", "column": "y", ', "expectations[0].kwargs"),
    ],
)
def test_a_key_twice_is_refused_at_every_level(old: str, new: str, place: str) -> None:
    """The last one wins for other readers: a second `expectations` dropped all rules."""
    changed = TEXT.replace(old, new, 1)
    assert changed != TEXT
    json.loads(changed)
    error = error_of(changed)
    assert error.expected == f"each key once in {place}"
    assert "more than once" in error.got


def test_all_keys_that_are_there_twice_are_named_at_once() -> None:
    text = str(
        error_of('{"name": 1, "name": 2, "meta": {"read": 1, "read": 2, "roles": [{"a": 1, "a": 1}]}}')
    )
    for place in ("the contract; got ['name']", "in meta; got ['read']", "got ['a']"):
        assert place in text


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused_before_parsing(levels: int, brackets: tuple[str, str]) -> None:
    error = error_of(brackets[0] * levels + "1" + brackets[1] * levels)
    assert error.expected == f"at most {MAX_DEPTH} nested values in x.json"


def test_brackets_in_texts_are_no_nesting() -> None:
    assert read_json(json.dumps({"a": '[[{"' * 100}).encode()) == {"a": '[[{"' * 100}
    deepest = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert read_json(deepest.encode())


@pytest.mark.parametrize(
    "text", ['"' + r"\"" * 2_000_000, '"' + "a" * 4_000_000, '{"a": "' + r"\"" * 1_000_000 + "\\"]
)
def test_texts_without_end_take_linear_time(text: str) -> None:
    assert error_of(text).expected == "JSON in x.json"


def test_size_is_bounded() -> None:
    assert error_of(b" " * (MAX_BYTES + 1)).expected == "at most 4 MB in x.json"
    assert error_of("[" + "1," * (MAX_VALUES + 1) + "1]").expected == "at most 100,000 values in x.json"
    with pytest.raises(ContractError, match="at most 4 MB"):
        read_json_file(io.BytesIO(b" " * 2 * MAX_BYTES), "x.json")
    assert read_json_file(io.BytesIO(TEXT.encode()), "x.json") == json.loads(TEXT)


@pytest.mark.parametrize(
    ("number", "got"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("9" * 10_000, "10,000 digits"),
        ("0." + "1" * 10_000, "10,002 digits"),
    ],
)
def test_numbers_are_finite_and_short(number: str, got: str) -> None:
    error = error_of('{"meta": {"max_quarantined_share": ' + number + "}}")
    assert error.expected == "a finite number of at most 40 digits in meta.max_quarantined_share"
    assert error.got == got


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbf{}", "UTF-8 text in x.json"),
        ("{}".encode("utf-16"), "UTF-8 text in x.json"),
        ('{"a": "ü"}'.encode("latin-1"), "UTF-8 text in x.json"),
        ('{"a": "\ud800"}', "UTF-8 text in x.json"),
        (r'{"name": "\ud800"}', "valid Unicode in name"),
        (r'{"meta": {"\udc00x": 1}}', "valid Unicode in the keys of meta"),
        (b"", "JSON in x.json"),
        (b"{", "JSON in x.json"),
        (b"{} {}", "JSON in x.json"),
        (b"{'a': 1}", "JSON in x.json"),
        (b'{"a": 1,}', "JSON in x.json"),
        (b"]" * 50, "JSON in x.json"),
        (b"\x00", "JSON in x.json"),
        (b"[]", "an object in x.json"),
        (b"3", "an object in x.json"),
        (b"null", "an object in x.json"),
        (b"NaN", "an object in x.json"),
    ],
)
def test_other_text_is_one_clear_error(data: bytes | str, expected: str) -> None:
    assert error_of(data).expected == expected


@given(st.binary(max_size=60) | st.text('{}[]",:\\aN1e.-', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value: Any = read_json(data)
        parse(value)
    except ContractError as error:
        assert error.next_step  # noqa: PT017
