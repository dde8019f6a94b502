"""Options of the command line that several commands have."""

from typing import Annotated

import typer

DataOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A data set that has a contract; or a file, a folder of parts or a wildcard, several times for several.",
        show_default="simulated",
    ),
]
ContractOption = Annotated[
    str | None, typer.Option(help="Name or file of the contract. Default: the contract named as the data.")
]
QueryOption = Annotated[
    str | None,
    typer.Option(
        help="SELECT that reads the rows, where --data is the address of a database or a SQLite file."
    ),
]
AcceptDriftOption = Annotated[
    str | None,
    typer.Option(help="Reason to accept data that differ severely from the last accepted batch."),
]
VerboseOption = Annotated[
    bool, typer.Option(help="Show the details of fits, and what Prefect and other libraries log.")
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="Print JSON lines to stdout, everything else to stderr.")
]


def given_data(data: list[str] | None) -> str | list[str]:
    """Return the values of --data: one, without a password, or several paths."""
    values = data or ["simulated"]
    if len(values) == 1 and "://" in values[0]:
        from tasks.data_access.database_url import without_password

        return without_password(values[0])
    return values[0] if len(values) == 1 else values
