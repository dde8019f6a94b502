"""How the files of a data set are read: the table or log itself, and the side table of its items."""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field

from ml.contract.values import (
    MAX_COLUMNS,
    MAX_FILES,
    MAX_REPLACEMENTS,
    Bool,
    ColumnName,
    Columns,
    DateFormat,
    DecimalMark,
    Encoding,
    FileName,
    Folder,
    Section,
    ThousandsMark,
    WholeNumber,
    Word,
)

ColumnType = Literal["number", "integer", "category", "time", "epoch"]
COLUMN_TYPES: tuple[str, ...] = get_args(ColumnType)
MAX_SIMULATED_ROWS = 10_000_000
MAX_SKIPPED_LINES = 10_000
WIDE_ENCODINGS = ("utf-16", "utf-32", "utf16", "utf32", "u16", "u32")
# Formats with one history per line: lines have different lengths, so the file cannot name its columns.
LINE_FORMATS = ("sequences", "baskets")
TWO_COLUMN_FORMATS = (*LINE_FORMATS, "intents")
# Formats of text files, which may be packed.
TEXT_FORMATS = ("csv", "jsonl", "arff", *TWO_COLUMN_FORMATS)

Replacements = Annotated[Mapping[Word, Word | None], Field(min_length=1, max_length=MAX_REPLACEMENTS)]


class ReadOptions(Section):
    """How the files are read. Readers guess nothing."""

    columns: Annotated[Mapping[ColumnName, ColumnType], Field(max_length=MAX_COLUMNS)]
    """Every column that is read, with its type; other columns are dropped. In a file without header, in its order."""
    files: Annotated[tuple[FileName, ...], Field(max_length=MAX_FILES)] = ()
    """Names of the files, in their folder."""
    folder: Folder | None = None
    """Folder of the files below STEWARD_DATA_DIR; by default it has the name of the contract."""
    format: Literal[
        "csv", "jsonl", "arff", "parquet", "feather", "excel", "sequences", "baskets", "intents"
    ] = "csv"
    """Format of files whose ending does not say it. `jsonl`: an object in each line. `sequences`: a line is a user,
    then the items. `baskets`: a line is the items of one user, its number the user. Each item becomes a row with the
    first two columns. `intents`: JSON with lists of messages by intent; each message becomes a row with the first two
    columns, intent and text."""
    encoding: Encoding = "utf-8"
    """Encoding of a text file, by a name that Python knows."""
    separator: Word = ","
    """Text between two cells."""
    header: Bool = True
    """Whether the first line has the names of the columns."""
    missing: Annotated[tuple[Word, ...], Field(max_length=MAX_FILES)] = ("",)
    """Words that mean that a cell has no value."""
    strip: Bool = False
    """Whether white space is taken off both ends of each cell of a text file, before `missing` is looked up."""
    strip_header: Bool = False
    """Whether white space is taken off both ends of each name in the header."""
    skip_lines: Annotated[WholeNumber, Field(ge=0, le=MAX_SKIPPED_LINES)] = 0
    """Lines before the header, or before the first row, that are not read; of a workbook, rows."""
    ragged_lines: Annotated[WholeNumber, Field(ge=0, le=MAX_SKIPPED_LINES)] = 0
    """Lines of a CSV or ARFF file that may be left out because they have too many cells, or too few. The report counts
    them; one more stops the run."""
    sheet: Word | None = None
    """Sheet of an Excel workbook; by default the only one that has cells."""
    decimal: DecimalMark = "."
    """Mark before the fraction of a number that is written as text."""
    thousands: ThousandsMark = ""
    """Mark between groups of three digits of a number that is written as text; none by default."""
    date_formats: Mapping[ColumnName, DateFormat] = Field(default_factory=dict)
    """How times are written as text, by column of type `time`, such as `%d/%m/%Y`; ISO 8601 by default."""
    replace: Mapping[ColumnName, Replacements] = Field(default_factory=dict)
    """Values that are repaired, by column: each with the value that takes its place, `null` for a missing one. The
    report counts them."""
    source_column: ColumnName | None = None
    """Column that gets the name of the file without its ending, unless several then have the same name; several files
    are stacked."""
    row_column: ColumnName | None = None
    """Column that gets the number of the row, from 1 and over all files, where a log has no other order."""
    join: ColumnName | None = None
    """Key column on which several files are joined, instead of stacked."""
    simulator: Word | None = None
    """Name of a simulator that makes the rows, instead of files."""
    rows: Annotated[WholeNumber, Field(le=MAX_SIMULATED_ROWS)] = 0
    """Number of rows that the simulator makes."""
    seed: Annotated[WholeNumber, Field(ge=0)] = 0
    """Seed of the simulator."""

    @property
    def encoding_is_wide(self) -> bool:
        """Return whether characters have several bytes, of which some are 0."""
        return self.encoding.lower().replace("_", "-").startswith(WIDE_ENCODINGS)

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Return the columns that files have, without those that the reader adds."""
        return tuple(c for c in self.columns if c not in (self.source_column, self.row_column))


class ItemTable(Section):
    """A side table with attributes of items, also of items without interactions; in a file beside those of the log."""

    file: FileName
    """Name of the file, in the folder of the others."""
    format: Literal["csv", "json"] = "csv"
    """`json`: an object of item to list of attributes (strings or whole numbers)."""
    encoding: Encoding = "utf-8"
    """Encoding of the file."""
    separator: Word = ","
    """Text between two cells of a CSV file. Cells may be quoted where it is one character long."""
    header: Bool = True
    """Whether the first line of a CSV file has the names of the columns."""
    columns: Columns = ()
    """Names of all columns in their order, where a CSV file has no header."""
    item: ColumnName = ""
    """Column of a CSV file that has the item."""
    attributes: Columns = ()
    """Columns of a CSV file that have the attributes."""
    title: ColumnName | None = None
    """Column of a CSV file that has the title of the item, which reports show beside the item."""
    list_separator: Word | None = None
    """Text between the attributes of one cell, where a cell has several."""
    missing: Annotated[tuple[Word, ...], Field(max_length=MAX_FILES)] = ("",)
    """Words that mean that a cell has no attribute."""
