"""Rules of a contract about how its files are read. Each function yields every mistake that it finds."""

from collections.abc import Collection, Iterator

from ml.contract.problems import Problem, listed, quoted
from ml.contract.read_options import LINE_FORMATS, ReadOptions


def check_read(read: ReadOptions) -> Iterator[Problem]:
    """Check how files are found and put together."""
    if read.row_column is not None:
        yield from unknown_columns([read.row_column], read, "meta.read.row_column")
        if (
            read.columns.get(read.row_column, "integer") != "integer"
            or read.row_column == read.source_column
            or read.simulator
        ):
            yield Problem(
                "a column of type integer that no file has, for rows of files, in meta.read.row_column",
                quoted(read.row_column),
                "name a column that only counts rows, or remove the key",
            )
    yield from _check_written_values(read)
    yield from _check_replacements(read)
    if read.format in LINE_FORMATS:
        yield from _check_line_format(read)
    if read.format == "intents" and len(read.file_columns) != 2:
        place = "for the format intents in meta.read"
        yield Problem(f"two columns, intent and text, {place}", listed(read.file_columns), "name these two")
    if read.source_column and read.join is not None:
        yield Problem(
            "files that are either stacked or joined",
            "both meta.read.source_column and meta.read.join",
            "keep one of them",
        )
    if bool(read.simulator) == bool(read.files):
        yield Problem(
            "either meta.read.files or meta.read.simulator", "both" if read.files else "neither", "keep one"
        )
    if len(read.files) > 1 and read.source_column is None and read.join is None:
        yield Problem(
            "meta.read.source_column or meta.read.join for several files",
            "neither",
            "stack the files with source_column, or join them on a key",
        )
    if read.simulator and read.rows < 1:
        yield Problem("at least one row in meta.read.rows", f"{read.rows}", "set how many rows to simulate")


def _check_line_format(read: ReadOptions) -> Iterator[Problem]:
    place = f"for the format {read.format} in meta.read"
    if read.header:
        yield Problem(f"header false {place}", "true", "set it to false: lines of items have no header")
    if len(read.file_columns) != 2:
        yield Problem(f"two columns, user and item, {place}", listed(read.file_columns), "name these two")
    if not read.separator:
        yield Problem(f"a separator {place}", "an empty text", "set the text between two items")
    if read.format == "baskets" and len(read.files) > 1:
        yield Problem(
            f"one file {place}",
            f"{len(read.files)}",
            "put them into one file: the number of the line is the user, and must be unique",
        )


def _check_written_values(read: ReadOptions) -> Iterator[Problem]:
    """Check marks of numbers and formats of dates."""
    if read.decimal == read.thousands:
        yield Problem(
            "different marks in meta.read.decimal and meta.read.thousands",
            quoted(read.decimal),
            "correct one of them",
        )
    yield from unknown_columns(read.date_formats, read, "meta.read.date_formats")
    if others := sorted(c for c in read.date_formats if read.columns.get(c, "time") != "time"):
        yield Problem(
            "columns of type time in meta.read.date_formats",
            listed(others),
            "give them the type time, or remove them",
        )


def _check_replacements(read: ReadOptions) -> Iterator[Problem]:
    """Check that repairs are those of categories, and change something once."""
    yield from unknown_columns(read.replace, read, "meta.read.replace")
    if others := sorted(c for c in read.replace if read.columns.get(c, "category") != "category"):
        yield Problem(
            "columns of type category in meta.read.replace",
            listed(others),
            "use meta.read.missing for words without a value, meta.sentinel_values for codes of numbers",
        )
    for column, values in read.replace.items():
        if again := sorted({new for new in values.values() if new is not None and new in values}):
            yield Problem(
                f"new values that are not replaced themselves in meta.read.replace[{quoted(column)}]",
                listed(again),
                "write the last value at once",
            )


def unknown_columns(columns: Collection[str], read: ReadOptions, place: str) -> Iterator[Problem]:
    """Check that columns are among those that are read."""
    if unknown := sorted(set(columns) - set(read.columns)):
        yield Problem(
            f"columns of meta.read.columns in {place}",
            listed(unknown),
            f"use one of {listed(sorted(read.columns))}",
        )
