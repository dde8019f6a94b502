"""Read the side table of item attributes: one row per item and attribute, then attributes by item for models."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ml.contract.read_options import ItemTable
from ml.data.casting import TEXT_DTYPE
from ml.errors import DataGateError


def read_attribute_table(data: bytes, source: ItemTable) -> pd.DataFrame:
    """Parse a file into one row per attribute: `item` and `attribute` (str; missing for an item without attributes).

    Attributes are named `column=value` (csv) or as in the file (json). Several rows of one item are merged. Raises
    DataGateError for a file that does not have the format of the contract; the message quotes no cells.
    """
    try:
        text = data.decode(source.encoding).removeprefix("\ufeff")
        parsed = _parse_json(text) if source.format == "json" else _parse_csv(text, source)
        attributes: dict[str, dict[str, None]] = {}
        for item, names in parsed:
            attributes.setdefault(item, {}).update(dict.fromkeys(names))
    except (ValueError, LookupError, csv.Error) as error:
        # What follows a colon may quote the file.
        reason = str(error).split(":")[0]
        raise DataGateError(
            f"{source.file} in the format of meta.item_attributes ({source.format}, {source.encoding})",
            reason,
            "correct the file, or meta.item_attributes in the contract",
        ) from None
    if not any(attributes.values()):
        raise DataGateError(
            f"item attributes in {source.file}",
            f"none for any of {len(attributes)} items",
            "correct meta.item_attributes in the contract",
        )
    rows = [(item, name) for item, names in attributes.items() for name in names or (None,)]
    items, attribute_names = [item for item, _ in rows], [name for _, name in rows]
    return pd.DataFrame(
        {
            "item": pd.Series(items, dtype=TEXT_DTYPE),
            "attribute": pd.Series(attribute_names, dtype=TEXT_DTYPE),
        }
    )


def read_title_table(data: bytes, source: ItemTable) -> pd.DataFrame:
    """Parse a file that `read_attribute_table` accepts into `item` and `title`, one row for each item with a title."""
    titles: dict[str, str] = {}
    if source.title:
        text = data.decode(source.encoding).removeprefix("\ufeff")
        for item, (title,) in _csv_rows(text, source, (source.title,)):
            if title not in source.missing:
                titles.setdefault(item, title)
    return pd.DataFrame({"item": [*titles], "title": [*titles.values()]}, dtype=TEXT_DTYPE)


def attributes_by_item(attribute_table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Group the rows of `read_attribute_table` for `Dataset.item_attributes`: items with attributes, both sorted."""
    rows = attribute_table.dropna().sort_values(["item", "attribute"])
    items, names = rows["item"].to_numpy(object), rows["attribute"].to_numpy(object)
    starts = np.flatnonzero(np.r_[True, items[1:] != items[:-1]]) if len(items) else np.empty(0, np.int64)
    ends = np.r_[starts[1:], len(items)].astype(np.int64)
    return {items[start]: tuple(names[start:end]) for start, end in zip(starts, ends, strict=True)}


def _parse_json(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    attributes = json.loads(text)
    if not isinstance(attributes, Mapping):
        raise ValueError("no JSON object with a list of attributes for each item")
    for number, (item, names) in enumerate(attributes.items(), 1):
        if not isinstance(names, list) or any(
            isinstance(name, bool) or not isinstance(name, str | int) for name in names
        ):
            raise ValueError(f"no list of strings or whole numbers for item {number} of the file")
        yield item, [str(name) for name in names]


def _parse_csv(text: str, source: ItemTable) -> Iterator[tuple[str, Sequence[str]]]:
    for item, cells in _csv_rows(text, source, source.attributes):
        yield (
            item,
            [
                f"{column}={value}"
                for column, cell in zip(source.attributes, cells, strict=True)
                for value in _split_cell(cell, source.list_separator)
                if value not in source.missing
            ],
        )


def _csv_rows(text: str, source: ItemTable, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield item and cells of the named columns of each row; ValueError for a file that has another form."""
    rows = _split_rows(text, source.separator)
    columns = next(rows, []) if source.header else list(source.columns)
    required = list(dict.fromkeys((source.item, *source.attributes, *filter(None, [source.title]))))
    if any(columns.count(column) != 1 for column in required):
        raise ValueError(f"not each of the columns {', '.join(required)} once in its header")
    item_position, *positions = (columns.index(column) for column in (source.item, *names))
    for line, cells in enumerate(rows, 2 if source.header else 1):
        if len(cells) != len(columns):
            raise ValueError(f"{len(cells)} cells instead of {len(columns)} in line {line}")
        if cells[item_position] in source.missing:
            raise ValueError(f"no item in line {line}")
        yield cells[item_position], [cells[position] for position in positions]


def _split_cell(cell: str, list_separator: str | None) -> list[str]:
    return cell.split(list_separator) if list_separator else [cell]


def _split_rows(text: str, separator: str) -> Iterator[list[str]]:
    """Split the text into cells, without empty lines; only cells between separators of one character may be quoted."""
    if len(separator) == 1:
        rows: Iterator[list[str]] = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, strict=True
        )
    else:
        # Not splitlines, which also splits at other characters, such as U+0085.
        rows = (line.rstrip("\r").split(separator) for line in text.split("\n"))
    return (cells for cells in rows if cells not in ([], [""]))
