"""Tables of Python as data: data frames of pandas and polars, and tables of pyarrow, as files that a run reads."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ml.errors import DataGateError
from tasks.data_access.extracts import write_extract

BLOCK_ROWS = 2**17


def is_table(value: Any) -> bool:
    """Return whether a value is a table: any that Arrow can take over."""
    return isinstance(value, pd.DataFrame) or hasattr(value, "__arrow_c_stream__")


def table_file(value: Any, store: Path) -> Path:
    """Write a table to a private file. The index of a pandas data frame is no column.

    Raises DataGateError for a column with cells of several types.
    """
    table = _as_arrow(value)
    return write_extract(store, table.schema, table.to_batches(BLOCK_ROWS))


def _as_arrow(value: Any) -> pa.Table:
    try:
        if isinstance(value, pd.DataFrame):
            value = value.rename(columns=str)
            return pa.Table.from_pandas(value, preserve_index=False).replace_schema_metadata(None)
        return pa.table(value).replace_schema_metadata(None)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Arrow's message quotes the cell.
        raise DataGateError(
            "a table whose columns each have cells of one type",
            "one that Arrow cannot take over",
            "convert the column, such as with frame.astype({column: 'str'})",
        ) from None
