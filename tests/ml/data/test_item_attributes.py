"""Item attributes: each format is read as the contract describes it, and files of other formats are rejected."""

import json
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.read_options import ItemTable
from ml.data.item_attributes import attributes_by_item, read_attribute_table, read_title_table
from ml.errors import ContractError, DataGateError

SECRET = "a-cell-4711"
FILMS = ItemTable(
    file="films.dat",
    separator="::",
    header=False,
    columns=("id", "title", "genres"),
    item="id",
    attributes=("genres",),
    list_separator="|",
)


def read(data: str, source: ItemTable) -> dict[str, tuple[str, ...]]:
    return attributes_by_item(read_attribute_table(data.encode(source.encoding), source))


def test_json_lists_of_attributes() -> None:
    source = ItemTable(file="items.json", format="json")
    rows = read_attribute_table(b'{"7": [3, "b", 3], "5": [], "6": [1]}', source)
    assert rows["item"].tolist() == ["7", "7", "5", "6"]
    assert rows["attribute"].isna().tolist() == [False, False, True, False]
    assert attributes_by_item(rows) == {"6": ("1",), "7": ("3", "b")}


def test_list_cells_with_separator_of_two_characters() -> None:
    source = ItemTable(**{**vars(FILMS), "encoding": "latin-1"})
    # U+0085 ends a line for `str.splitlines`.
    text = '1::"Caf\xe9 \x85 (1995)::Comedy|Drama\r\n2::Heat::\n\n3::Saw::Horror'
    assert read(text, source) == {"1": ("genres=Comedy", "genres=Drama"), "3": ("genres=Horror",)}


def test_titles_are_read_beside_the_attributes() -> None:
    source = ItemTable(**{**vars(FILMS), "title": "title"})
    data = b"1::Heat (1995)::Drama\n2::::Comedy\n3::Saw::Horror"
    assert read(data.decode(), source)["1"] == ("genres=Drama",)
    assert read_title_table(data, source).to_numpy().tolist() == [["1", "Heat (1995)"], ["3", "Saw"]]
    unknown = ItemTable(file="x.csv", item="id", attributes=("genre",), title="name")
    with pytest.raises(DataGateError, match="not each of the columns id, genre, name once in its header"):
        read("id,genre\n1,Drama", unknown)


def test_flag_columns_with_missing_values() -> None:
    source = ItemTable(
        file="u.item",
        separator="|",
        header=False,
        columns=("id", "title", "Action", "War"),
        item="id",
        attributes=("Action", "War"),
        missing=("", "0"),
    )
    assert read("1|A|1|0\n2|B|1|1\n3|C|0|0\n", source) == {"1": ("Action=1",), "2": ("Action=1", "War=1")}


def test_header_quotes_and_several_lines_of_one_item() -> None:
    source = ItemTable(file="c.csv", item="item", attributes=("kind", "colour"))
    text = '\ufeffcolour,item,more,kind\nred,"a,1",?,x\nred,"a,1",?,y\n"dark ""blue""",b,?,\n'
    assert read(text, source) == {
        "a,1": ("colour=red", "kind=x", "kind=y"),
        "b": ('colour=dark "blue"',),
    }


@pytest.mark.parametrize(
    ("source", "text", "reason"),
    [
        (ItemTable(file="f", format="json"), "[1]", "no JSON object"),
        (ItemTable(file="f", format="json"), f'{{"{SECRET}": 3}}', "no list of strings"),
        (ItemTable(file="f", format="json"), f'{{"1": ["x"], "{SECRET}": [true]}}', "for item 2 of the file"),
        (ItemTable(file="f", format="json"), f'{{"{SECRET}": [1.5]}}', "no list of strings"),
        (ItemTable(file="f", format="json"), f'{{"{SECRET}"', "Expecting"),
        (ItemTable(file="f", format="json"), '{"1": []}', "none for any of 1 items"),
        (ItemTable(file="f", format="json"), "{}", "none for any of 0 items"),
        (FILMS, f"1::A::B\n{SECRET}::A", "2 cells instead of 3 in line 2"),
        (FILMS, f"::{SECRET}::B", "no item in line 1"),
        (FILMS, "", "none for any of 0 items"),
        (
            ItemTable(file="f", item="i", attributes=("a",)),
            f"i,b\n{SECRET},2",
            "columns i, a once in its header",
        ),
        (ItemTable(file="f", item="i", attributes=("a",)), f"i,a,a\n{SECRET},2,3", "once in its header"),
        (ItemTable(file="f", item="i", attributes=("a",)), f'i,a\n1,"{SECRET}', "unexpected end of data"),
    ],
)
def test_invalid_file_is_rejected_without_quoting_cells(source: ItemTable, text: str, reason: str) -> None:
    with pytest.raises(DataGateError, match=reason) as caught:
        read_attribute_table(text.encode("utf-8"), source)
    assert SECRET not in str(caught.value)
    assert "meta.item_attributes" in str(caught.value)


def test_wrong_encoding_is_rejected() -> None:
    with pytest.raises(DataGateError, match="utf-8"):
        read_attribute_table("1::é::x".encode("latin-1"), FILMS)


def contract(items: Any, roles: dict[str, Any] | None = None, **read_options: Any) -> dict[str, Any]:
    columns = {"who": "category", "what": "category", "at": "integer"}
    roles = roles or {"user": "who", "item": "what", "event_order": "at"}
    read = {"files": ["log.csv"], "columns": columns, **read_options}
    meta = {"schema_version": 2, "read": read, "roles": roles, "item_attributes": items}
    return {"name": "shop.log", "expectations": [], "meta": meta}


CSV: dict[str, Any] = {"file": "f", "item": "i", "attributes": ["a"]}


def test_contract_is_parsed() -> None:
    state = json.loads(json.dumps({**vars(FILMS), "missing": [""]}))
    assert parse(contract(state)).item_attributes == FILMS
    assert parse(contract({"file": "f", "format": "json"})).item_attributes == ItemTable(
        file="f", format="json"
    )
    assert parse(contract(CSV)).item_attributes == ItemTable(file="f", item="i", attributes=("a",))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], r"an object in meta\.item_attributes"),
        ({}, r"the key 'file' in meta\.item_attributes"),
        ({"file": ""}, r"the name of a file .* in meta\.item_attributes\.file; got ''"),
        ({"file": "log.csv", "format": "json"}, r"a file of its own"),
        ({"file": 3}, r"a string in meta\.item_attributes\.file"),
        ({"file": "f", "format": "xml"}, r"one of csv, json in meta\.item_attributes\.format; got 'xml'"),
        ({"file": "f", "format": "json", "separator": ","}, r"only the keys file, format, encoding"),
        ({"file": "f"}, r"item, attributes, and separators that are not empty"),
        ({**CSV, "attributes": []}, r"item, attributes, and separators"),
        ({**CSV, "separator": ""}, r"item, attributes, and separators"),
        ({**CSV, "list_separator": ""}, r"item, attributes, and separators"),
        ({**CSV, "header": False}, r"the names of all columns.*got header false and 0 columns"),
        ({**CSV, "columns": ["i", "a"]}, r"the names of all columns.*got header true and 2 columns"),
        ({**CSV, "header": False, "columns": ["i", "b"]}, r"columns of the file.*got \['a'\]"),
        ({**CSV, "header": False, "columns": ["i", "a", "a"]}, r"each once; got \['a'\]"),
        ({**CSV, "attributes": ["a", "i"]}, r"each once; got \['i'\]"),
        ({**CSV, "lists": "|"}, r"only the keys file.*got 'lists'"),
    ],
)
def test_invalid_contract_is_rejected(items: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse(contract(items))


def test_item_attributes_need_an_event_log_in_files() -> None:
    with pytest.raises(ContractError, match=r"the roles user and item.*got no such roles"):
        parse(contract(CSV, roles={"target": {"column": "at"}}))
    with pytest.raises(ContractError, match=r"files in meta\.read.*got no files"):
        parse(contract(CSV, files=[], simulator="shop", rows=5))
