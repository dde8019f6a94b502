"""Side tables of items: each format is read as the contract says, and a file that is another one is refused."""

import json
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.schema import ItemTable
from ml.data.item_attributes import attributes, table
from ml.errors import ContractError, DataGateError

SECRET = "a-cell-4711"
FILMS = ItemTable(
    "films.dat",
    separator="::",
    header=False,
    columns=("id", "title", "genres"),
    item="id",
    attributes=("genres",),
    list_separator="|",
)


def read(data: str, how: ItemTable) -> dict[str, tuple[str, ...]]:
    return attributes(table(data.encode(how.encoding), how))


def test_lists_of_attributes() -> None:
    how = ItemTable("items.json", format="json")
    listed = table(b'{"7": [3, "b", 3], "5": [], "6": [1]}', how)
    assert listed["item"].tolist() == ["7", "7", "5", "6"]
    assert listed["attribute"].isna().tolist() == [False, False, True, False]
    assert attributes(listed) == {"6": ("1",), "7": ("3", "b")}


def test_cells_that_hold_several_between_separators_of_two_characters() -> None:
    how = ItemTable(**{**vars(FILMS), "encoding": "latin-1"})
    # The character that ends lines for some readers is a letter of nobody's title.
    text = '1::"Caf\xe9 \x85 (1995)::Comedy|Drama\r\n2::Heat::\n\n3::Saw::Horror'
    assert read(text, how) == {"1": ("genres=Comedy", "genres=Drama"), "3": ("genres=Horror",)}


def test_flags_and_what_says_none() -> None:
    how = ItemTable(
        "u.item",
        separator="|",
        header=False,
        columns=("id", "title", "Action", "War"),
        item="id",
        attributes=("Action", "War"),
        missing=("", "0"),
    )
    assert read("1|A|1|0\n2|B|1|1\n3|C|0|0\n", how) == {"1": ("Action=1",), "2": ("Action=1", "War=1")}


def test_a_header_and_quotes_and_several_lines_of_an_item() -> None:
    how = ItemTable("c.csv", item="item", attributes=("kind", "colour"))
    text = '\ufeffcolour,item,more,kind\nred,"a,1",?,x\nred,"a,1",?,y\n"dark ""blue""",b,?,\n'
    assert read(text, how) == {
        "a,1": ("colour=red", "kind=x", "kind=y"),
        "b": ('colour=dark "blue"',),
    }


@pytest.mark.parametrize(
    ("how", "text", "reason"),
    [
        (ItemTable("f", format="json"), "[1]", "no object of item"),
        (ItemTable("f", format="json"), f'{{"{SECRET}": 3}}', "no list of strings"),
        (ItemTable("f", format="json"), f'{{"1": ["x"], "{SECRET}": [true]}}', "for item 2 of the file"),
        (ItemTable("f", format="json"), f'{{"{SECRET}": [1.5]}}', "no list of strings"),
        (ItemTable("f", format="json"), f'{{"{SECRET}"', "Expecting"),
        (ItemTable("f", format="json"), '{"1": []}', "none of 1 items"),
        (ItemTable("f", format="json"), "{}", "none of 0 items"),
        (FILMS, f"1::A::B\n{SECRET}::A", "2 cells instead of 3 in line 2"),
        (FILMS, f"::{SECRET}::B", "no item in line 1"),
        (FILMS, "", "none of 0 items"),
        (ItemTable("f", item="i", attributes=("a",)), f"i,b\n{SECRET},2", "columns i, a once in its header"),
        (ItemTable("f", item="i", attributes=("a",)), f"i,a,a\n{SECRET},2,3", "once in its header"),
        (ItemTable("f", item="i", attributes=("a",)), f'i,a\n1,"{SECRET}', "unexpected end of data"),
        (ItemTable("f", encoding="wrong", item="i", attributes=("a",)), "i,a", "unknown encoding"),
    ],
)
def test_another_file_is_refused_without_its_cells(how: ItemTable, text: str, reason: str) -> None:
    with pytest.raises(DataGateError, match=reason) as refused:
        table(text.encode("utf-8"), how)
    assert SECRET not in str(refused.value)
    assert "meta.items" in str(refused.value)


def test_text_in_another_encoding_is_refused() -> None:
    with pytest.raises(DataGateError, match="utf-8"):
        table("1::é::x".encode("latin-1"), FILMS)


def contract(items: Any, roles: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
    columns = {"who": "category", "what": "category", "at": "integer"}
    roles = roles or {"user": "who", "item": "what", "position": "at"}
    read = {"files": ["log.csv"], "columns": columns, **how}
    return {"name": "shop.log", "expectations": [], "meta": {"read": read, "roles": roles, "items": items}}


CSV: dict[str, Any] = {"file": "f", "item": "i", "attributes": ["a"]}


def test_the_contract_says_how() -> None:
    told = json.loads(json.dumps({**vars(FILMS), "missing": [""]}))
    assert parse(contract(told)).items == FILMS
    assert parse(contract({"file": "f", "format": "json"})).items == ItemTable("f", format="json")
    assert parse(contract(CSV)).items == ItemTable("f", item="i", attributes=("a",))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], r"an object in meta\.items"),
        ({}, r"the key 'file' in meta\.items"),
        ({"file": ""}, r"a file of its own in meta\.items\.file; got ''"),
        ({"file": "log.csv", "format": "json"}, r"a file of its own"),
        ({"file": 3}, r"a string in meta\.items\.file"),
        ({"file": "f", "format": "xml"}, r"one of csv, json in meta\.items\.format; got 'xml'"),
        ({"file": "f", "format": "json", "separator": ","}, r"only the keys file, format, encoding"),
        ({"file": "f"}, r"item, attributes, and separators that are no empty text"),
        ({**CSV, "attributes": []}, r"item, attributes, and separators"),
        ({**CSV, "separator": ""}, r"item, attributes, and separators"),
        ({**CSV, "list_separator": ""}, r"item, attributes, and separators"),
        ({**CSV, "header": False}, r"the names of all columns.*got header false and 0 columns"),
        ({**CSV, "columns": ["i", "a"]}, r"the names of all columns.*got header true and 2 columns"),
        ({**CSV, "header": False, "columns": ["i", "b"]}, r"columns of the file.*got \['a'\]"),
        ({**CSV, "header": False, "columns": ["i", "a", "a"]}, r"each once; got \['a'\]"),
        ({**CSV, "attributes": ["a", "i"]}, r"each once; got \['i'\]"),
        ({**CSV, "lists": "|"}, r"only the keys file.*got \['lists'\]"),
    ],
)
def test_what_the_contract_may_not_say(items: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse(contract(items))


def test_only_a_log_in_files_has_items() -> None:
    with pytest.raises(ContractError, match=r"the roles user and item.*got no such roles"):
        parse(contract(CSV, roles={"target": {"column": "at"}}))
    with pytest.raises(ContractError, match=r"files in meta\.read.*got none that are read"):
        parse(contract(CSV, files=[], simulator="shop", rows=5))
