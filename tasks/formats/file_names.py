"""What the name of a data file says: its name without endings, what it is packed with, and the kind of its content."""

from pathlib import PurePath

from ml.contract.read_options import TEXT_FORMATS, ReadOptions

# Packed files hold one text file.
PACKED = (".gz", ".bz2", ".zip")
# Endings that are those of one format, whatever `meta.read.format` is.
FORMATS_BY_ENDING = {
    ".parquet": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".xlsx": "excel",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arff": "arff",
}
# Endings of text files, whose format the contract says.
TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".data", ".json")
# Workbooks that are not read: they may have macros, or are of an older format.
OTHER_WORKBOOKS = (".xlsm", ".xlsb", ".xltm", ".xls", ".ods")
ENDINGS = (*TEXT_ENDINGS, *FORMATS_BY_ENDING, *PACKED, *OTHER_WORKBOOKS)


def packing(name: str) -> str:
    """Return the ending of a packed file, such as `.gz`; an empty text for other files."""
    ending = PurePath(name).suffix.lower()
    return ending if ending in PACKED else ""


def plain_name(name: str) -> str:
    """Return the name of a file without its ending and that of its packing: `loans` for `loans.csv.gz`."""
    path = PurePath(name)
    return PurePath(path.stem).stem if packing(name) and has_known_ending(path.stem) else path.stem


def unpacked_name(name: str) -> str:
    """Return the name without the ending of its packing: `loans.csv` for `loans.csv.gz`."""
    return PurePath(name).stem if packing(name) else name


def format_of(name: str, options: ReadOptions) -> str:
    """Return the format of a file that is not packed: by its ending, else as the contract says."""
    ending = PurePath(name).suffix.lower()
    if by_ending := FORMATS_BY_ENDING.get(ending):
        return by_ending
    if ending in TEXT_ENDINGS and options.format not in TEXT_FORMATS:
        return "csv"
    return options.format


def has_known_ending(name: str) -> bool:
    """Return whether a name ends as that of a file whose content can be packed or read."""
    return PurePath(name).suffix.lower() in (*TEXT_ENDINGS, *FORMATS_BY_ENDING)
