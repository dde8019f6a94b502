"""Identifiers that differ only in case or white space: probably the same person, written in two ways."""

import pandas as pd


def count_alike(identifiers: pd.Series) -> int:
    """Count the distinct identifiers that equal another one but for case and white space; 0 for numbers."""
    if pd.api.types.is_numeric_dtype(identifiers) or pd.api.types.is_datetime64_any_dtype(identifiers):
        return 0
    distinct = pd.Series(identifiers.dropna().unique(), dtype="object").astype(str)
    plain = distinct.str.casefold().str.split().str.join("")
    return int(plain.duplicated(keep=False).sum())


def identifier_warnings(rows: pd.DataFrame, columns: tuple[str | None, ...]) -> list[str]:
    """Describe the columns, of those named, that have such identifiers."""
    found = {column: count_alike(rows[column]) for column in dict.fromkeys(columns) if column in rows}
    return [
        f"{count:,} values of {column} differ from another one in case or white space only: they count as different"
        for column, count in found.items()
        if count
    ]
