"""Put the contents of several files together: stacked, or joined on a key; in pandas, with one copy of each column."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from ml.data.casting import TEXT_DTYPE
from ml.errors import DataGateError


@dataclass
class FilePart:
    """The table of one file; `label` is its short name."""

    label: str
    table: pa.Table


def stack(parts: list[FilePart]) -> pd.DataFrame:
    """Return the rows of all parts in their order; the parts are given up.

    Raises DataGateError, which names the part, where one has other columns or other types than the first.
    """
    tables = _with_one_schema(parts)
    parts.clear()
    stacked = [pa.concat_tables(tables)]
    del tables
    return to_frame(stacked)


def join(parts: Sequence[FilePart], key: str) -> pd.DataFrame:
    """Return the rows of the first part in their order, with the columns of the others."""
    rows, *others = (to_frame([part.table]) for part in parts)
    try:
        for other in others:
            with_key = other.dropna(subset=[key])
            rows = rows.merge(with_key, "left", on=key, suffixes=(None, None), validate="many_to_one")
    except (KeyError, ValueError):
        raise DataGateError(
            f"{key!r} in every file, each value once after the first file, and no other column twice",
            "files that cannot be joined so",
            "correct the files, or meta.read.join",
        ) from None
    return rows


def to_frame(holder: list[pa.Table]) -> pd.DataFrame:
    """Convert the columns of a table one by one, each released when it is converted.

    The table is taken out of its list, so that nobody else holds it: memory never has two whole tables.
    """
    table = holder.pop()
    columns: dict[str, pd.Series] = {}
    n_rows = table.num_rows
    for name in table.column_names:
        # A column with a missing value would become float, where ids above 2^53 are no longer distinct.
        keeps_integers = table[name].type == pa.int64() and table[name].null_count
        mapper = {pa.int64(): pd.Int64Dtype()}.get if keeps_integers else _text_type
        # Pandas metadata in a Parquet file would make a column the index.
        columns[name] = table.select([name]).to_pandas(ignore_metadata=True, types_mapper=mapper)[name]
        table = table.drop_columns([name])
    return pd.DataFrame({name: column.array for name, column in columns.items()}, range(n_rows), copy=False)


def _text_type(kind: pa.DataType) -> pd.StringDtype | None:
    return TEXT_DTYPE if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _with_one_schema(parts: Sequence[FilePart]) -> list[pa.Table]:
    first = parts[0]
    kinds: dict[str, pa.DataType] = {}
    for part in parts:
        if other := sorted(set(part.table.column_names) ^ set(first.table.column_names)):
            raise _differs(part, first, f"{', '.join(map(repr, other))} in one of them only")
        for field in part.table.schema:
            kind = kinds.get(field.name, pa.null())
            # A column without any value in one part has the type that it has in others.
            if pa.types.is_null(kind) or (_text_type(kind) and pa.types.is_large_string(field.type)):
                kinds[field.name] = field.type
    for part in parts:
        for field in part.table.schema:
            kind = kinds[field.name]
            if field.type not in (kind, pa.null()) and not (_text_type(field.type) and _text_type(kind)):
                raise _differs(part, first, f"{field.name!r} as {_named(field.type)} and as {_named(kind)}")
    schema = pa.schema([(name, kinds[name]) for name in first.table.column_names])
    return [part.table.select(schema.names).replace_schema_metadata(None).cast(schema) for part in parts]


def _named(kind: pa.DataType) -> str:
    return "text" if _text_type(kind) else str(kind)


def _differs(part: FilePart, first: FilePart, got: str) -> DataGateError:
    return DataGateError(
        f"the same columns, of the same types, in {part.label} as in {first.label}", got, "correct the files"
    )
