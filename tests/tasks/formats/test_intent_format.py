"""Messages by intent are read from JSON; broken bytes are faults of single messages, another form is an error."""

import json
from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import ContractError, DataGateError
from tasks.data_access.locate import DatasetSource
from tasks.formats import intent_format
from tasks.formats.read_limits import ReadLimits
from tasks.source import read_files
from tasks.storage.content_store import Store

SECRET = "Jane-Doe-4711"


def make_contract(columns: tuple[str, ...] = ("intent", "message"), **read: Any) -> Contract:
    types = dict.fromkeys(columns, "category")
    roles = {"target": {"column": "intent", "labels": ["Play", "Rate"]}, "text": ["message"]}
    read = {"files": ["play.json"], "format": "intents", "columns": types, **read}
    meta = {"schema_version": 2, "read": read, "roles": roles}
    return parse({"name": "voice.small", "expectations": [], "meta": meta})


def read_rows(
    folder: Path, data: bytes, limits: ReadLimits | None = None, name: str = "play.json", **read: Any
) -> list[list[Any]]:
    path = folder / name
    path.write_bytes(data)
    source = DatasetSource("small", make_contract(**read), (path,), limits=limits or ReadLimits())
    rows = read_files(source, Store(folder / "store")).table("rows")
    return rows.astype(object).where(rows.notna(), None).to_numpy().tolist()


def messages(*texts: Any) -> list[dict[str, Any]]:
    return [{"data": [{"text": text}]} for text in texts]


def test_each_message_is_a_row_with_its_intent(tmp_path: Path) -> None:
    parts = {"data": [{"text": "play "}, {"text": "jazz", "entity": "genre"}, {"text": " now"}]}
    value = {"Play": [parts, *messages("stop", "")], "Rate": messages("ünlü 你好")}
    expected = [["Play", "play jazz now"], ["Play", "stop"], ["Play", None], ["Rate", "ünlü 你好"]]
    assert read_rows(tmp_path, json.dumps(value).encode()) == expected
    assert read_rows(tmp_path, b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode()) == expected


def test_the_encoding_is_that_of_the_contract_and_broken_bytes_become_replacement_characters(
    tmp_path: Path,
) -> None:
    text = json.dumps({"Rate": messages("café", "fine")}, ensure_ascii=False).encode("latin-1")
    assert read_rows(tmp_path, text, encoding="latin-1") == [["Rate", "café"], ["Rate", "fine"]]
    assert read_rows(tmp_path, text) == [["Rate", "caf\ufffd"], ["Rate", "fine"]]


def test_lone_surrogates_become_replacement_characters_and_pairs_stay(tmp_path: Path) -> None:
    text = rb'{"Play": [{"data": [{"text": "a \ud83c"}]}, {"data": [{"text": "\ud83c\udf55"}]}]}'
    assert read_rows(tmp_path, text) == [["Play", "a \ufffd"], ["Play", "\U0001f355"]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Play": []}',
        '{"Play": {"data": []}}',
        f'{{"Play": ["{SECRET}"]}}',
        f'{{"Play": [{{"data": ["{SECRET}"]}}]}}',
        '{"Play": [{"data": [{"text": 1}]}]}',
        '{"Play": [{"data": [{"word": "x"}]}]}',
        f'{{"Play": [{{"data": [{{"text": "{SECRET}',
        "[" * 100_000,
    ],
)
def test_json_of_another_form_is_an_error_that_quotes_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataGateError, match=r"play\.json as the contract") as caught:
        read_rows(tmp_path, text.encode())
    assert SECRET not in str(caught.value)


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"Play": messages("one", "a longer one")}).encode()
    with pytest.raises(DataGateError, match="at most 1 rows"):
        read_rows(tmp_path, text, ReadLimits(rows=1))
    with pytest.raises(DataGateError, match="at most 5 characters"):
        read_rows(tmp_path, text, ReadLimits(cell_length=5))
    monkeypatch.setattr(intent_format, "MAX_BYTES", len(text) - 1)
    with pytest.raises(DataGateError, match="parsed as a whole"):
        read_rows(tmp_path, text)


def test_white_space_is_stripped_where_the_contract_says_so(tmp_path: Path) -> None:
    text = json.dumps({"Play": messages(" stop ", "  ")}).encode()
    assert read_rows(tmp_path, text, strip=True) == [["Play", "stop"], ["Play", None]]
    assert read_rows(tmp_path, text) == [["Play", " stop "], ["Play", "  "]]


def test_two_columns_are_required() -> None:
    with pytest.raises(ContractError, match="intent and text"):
        make_contract(columns=("intent", "message", "more"))
    make_contract(columns=("intent", "message", "file"), source_column="file")
