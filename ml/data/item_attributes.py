"""Side tables of items: what each item is, as a table of one attribute a row and as models take it."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ml.contract.schema import ItemTable
from ml.data.casting import TEXT
from ml.errors import DataGateError


def table(data: bytes, how: ItemTable) -> pd.DataFrame:
    """One row an attribute: `item` and `attribute` (str; missing for an item without any), as the file has them.

    An attribute is named `column=value` (csv), or as the file does (json). Several lines of one item add up. Raises
    DataGateError for a file that is not what the contract says; cells are not quoted.
    """
    try:
        text = data.decode(how.encoding).removeprefix("\ufeff")
        found = _json(text) if how.format == "json" else _csv(text, how)
        listed: dict[str, dict[str, None]] = {}
        for item, names in found:
            listed.setdefault(item, {}).update(dict.fromkeys(names))
    except (ValueError, LookupError, csv.Error) as error:
        reason = str(error).split(":")[0]
        raise DataGateError(
            f"{how.file} as the contract's meta.items says ({how.format}, {how.encoding})",
            reason,
            "correct the file, or meta.items",
        ) from None
    if not any(listed.values()):
        raise DataGateError(
            f"attributes of items in {how.file}", f"none of {len(listed)} items", "correct meta.items"
        )
    each: list[tuple[str, list[str | None]]] = [(item, [*names] or [None]) for item, names in listed.items()]
    items = [item for item, names in each for _ in names]
    named = [name for _, names in each for name in names]
    return pd.DataFrame({"item": pd.Series(items, dtype=TEXT), "attribute": pd.Series(named, dtype=TEXT)})


def attributes(listed: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """What `table` gave as `ml.estimator.Part` takes it: items with at least one attribute, sorted."""
    known = listed.dropna().sort_values(["item", "attribute"])
    item, named = known["item"].to_numpy(object), known["attribute"].to_numpy(object)
    starts = np.flatnonzero(np.r_[True, item[1:] != item[:-1]]) if len(item) else np.empty(0, np.int64)
    ends = np.r_[starts[1:], len(item)].astype(np.int64)
    return {item[a]: tuple(named[a:b]) for a, b in zip(starts, ends, strict=True)}


def _json(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    listed = json.loads(text)
    if not isinstance(listed, Mapping):
        raise ValueError("no object of item: list of attributes")
    for at, (item, names) in enumerate(listed.items(), 1):
        if not isinstance(names, list) or any(
            isinstance(n, bool) or not isinstance(n, str | int) for n in names
        ):
            raise ValueError(f"no list of strings or whole numbers for item {at} of the file")
        yield item, [str(name) for name in names]


def _csv(text: str, how: ItemTable) -> Iterator[tuple[str, Sequence[str]]]:
    lines = _lines(text, how.separator)
    columns = next(lines, []) if how.header else list(how.columns)
    wanted = (how.item, *how.attributes)
    if any(columns.count(column) != 1 for column in wanted):
        raise ValueError(f"not each of the columns {', '.join(wanted)} once in its header")
    key, *places = (columns.index(column) for column in wanted)
    for number, cells in enumerate(lines, 2 if how.header else 1):
        if len(cells) != len(columns):
            raise ValueError(f"{len(cells)} cells instead of {len(columns)} in line {number}")
        if cells[key] in how.missing:
            raise ValueError(f"no item in line {number}")
        yield (
            cells[key],
            [
                f"{columns[place]}={value}"
                for place in places
                for value in (
                    cells[place].split(how.list_separator) if how.list_separator else [cells[place]]
                )
                if value not in how.missing
            ],
        )


def _lines(text: str, separator: str) -> Iterator[list[str]]:
    """The cells of each line, those without any passed over."""
    if len(separator) == 1:
        found: Iterator[list[str]] = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, strict=True
        )
    else:
        # Not splitlines: text has other characters that count as ends of lines there.
        found = (line.rstrip("\r").split(separator) for line in text.split("\n"))
    return (cells for cells in found if cells not in ([], [""]))
