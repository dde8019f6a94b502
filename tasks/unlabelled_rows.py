"""Write rows of a data set as a file that a champion scores: without the target, as the contract reads it."""

from pathlib import Path

import pandas as pd

from ml.contract.read_options import TWO_COLUMN_FORMATS
from ml.contract.schema import Contract
from ml.errors import UsageError
from tasks.private_folder import user_file_mode

SUFFIXES = (".csv", ".parquet")
# Chooses the rows.
SEED = 0


def select_rows(rows: pd.DataFrame, contract: Contract, count: int) -> pd.DataFrame:
    """Return up to `count` rows in their order, without the target and the columns that the reader adds.

    Of a log these are all events of some users, so that their histories are whole: of one user in any case.
    """
    if contract.is_recommendation:
        sizes = rows.groupby(contract.roles.user, observed=True).size().sample(frac=1, random_state=SEED)
        users = sizes.index[: max(1, int((sizes.cumsum() <= count).sum()))]
        chosen = rows[rows[contract.roles.user].isin(users)]
    else:
        chosen = rows.sample(min(count, len(rows)), random_state=SEED).sort_index()
    read, roles = contract.read, contract.roles
    unknown = (roles.target, roles.known_at, read.source_column, read.row_column)
    left_out = [column for column in unknown if column in chosen]
    return chosen.drop(columns=left_out)


def write_rows(rows: pd.DataFrame, contract: Contract, path: Path) -> None:
    """Write a Parquet or CSV file, by the ending of its name. Raises UsageError where the contract reads no CSV."""
    read = contract.read
    if path.suffix == ".parquet":
        rows.to_parquet(path, index=False)
    elif read.format in TWO_COLUMN_FORMATS or len(read.separator) > 1:
        raise UsageError(
            f"a Parquet file for {contract.name}, whose text files are not CSV",
            path.name,
            f"name it {path.with_suffix('.parquet').name}",
        )
    else:
        # Files without a header have all columns; that of the target has no values.
        columns = list(rows.columns) if read.header else list(read.file_columns)
        rows.reindex(columns=columns).to_csv(
            path,
            sep=read.separator,
            header=read.header,
            index=False,
            na_rep=read.missing[0] if read.missing else "",
            encoding=read.encoding,
        )
    path.chmod(user_file_mode())
