"""Read numbers with marks for decimals and thousands, and times in other formats than ISO 8601, from cells of text."""

import re

import pandas as pd

from ml.contract.read_options import ReadOptions

NUMERIC = ("number", "integer", "epoch")


def from_written(values: pd.Series, column_type: str, options: ReadOptions) -> pd.Series:
    """Return the cells as `cast_columns` reads them; a cell that is not written as the contract says is missing.

    Cells that are no text, such as numbers and times of Parquet files, are as they are.
    """
    if not isinstance(values.dtype, pd.StringDtype):
        return values
    if column_type in NUMERIC and (options.decimal != "." or options.thousands):
        return _plain_numbers(values, options)
    date_format = options.date_formats.get(str(values.name)) if column_type == "time" else None
    if date_format:
        return pd.to_datetime(values.str.strip(), format=date_format, errors="coerce", utc=True)
    return values


def number_pattern(decimal: str, thousands: str) -> str:
    """Return the regular expression of a number that is written with these marks, without its ends."""
    digits = rf"(?:\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+|\d+)" if thousands else r"\d+"
    return rf"[+-]?(?:{digits}(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+)(?:[eE][+-]?\d+)?"


def _plain_numbers(values: pd.Series, options: ReadOptions) -> pd.Series:
    text = values.str.strip()
    # 1.5 would else be read as one and a half where the comma is the decimal mark.
    fits = (
        text.str.fullmatch(number_pattern(options.decimal, options.thousands)).astype("boolean").fillna(False)
    )
    plain = text.str.replace(options.thousands, "", regex=False) if options.thousands else text
    return plain.str.replace(options.decimal, ".", regex=False).where(fits.to_numpy(bool))
