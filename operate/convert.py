"""`steward convert`: write a contract as a file of the Open Data Contract Standard, or read one."""

import json
from pathlib import Path
from typing import Annotated

import typer

from operate.new_file import require_new, write_new

CONTRACT, STANDARD = (".json",), (".yaml", ".yml")


def convert(
    file: Annotated[
        Path, typer.Argument(help="A contract, .json, or a file of the Open Data Contract Standard 3, .yaml.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new file, of the other kind.")],
    case: Annotated[
        str | None, typer.Option(help="With FILE.yaml, the use case that the data are for.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With FILE.yaml of another project, the column to predict.")
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="With --target, a value of the positive class; several times for several."),
    ] = None,
) -> None:
    """Write a contract as a file of the Open Data Contract Standard, or such a file as a contract."""
    from ml.contract.json_text import read_json_file
    from ml.contract.parser import parse
    from ml.errors import UsageError
    from ml.exchange.open_data_contract import export_contract

    if file.suffix not in (*CONTRACT, *STANDARD) or not file.is_file():
        raise UsageError("FILE.json or FILE.yaml that exists", str(file), "name a contract")
    is_export = file.suffix in CONTRACT
    require_new(output, STANDARD if is_export else CONTRACT)
    if is_export:
        if case or target or positive:
            raise UsageError(
                "no --case, --target or --positive for a contract", "one of them", "leave it out"
            )
        with file.open("rb") as opened:
            contract = parse(read_json_file(opened, str(file)))
        write_new(output, export_contract(contract))
        typer.echo(f"{output}: {contract.name}, {len(contract.rules)} rules")
    else:
        _import(file, output, case, target, positive or [])


def _import(file: Path, output: Path, case: str | None, target: str | None, positive: list[str]) -> None:
    from ml.errors import UsageError
    from ml.exchange.open_data_contract import MAX_BYTES, Target, import_contract
    from operate.console import case_module

    if case is None:
        raise UsageError("--case with FILE.yaml", "none", "name the use case that the data are for")
    case_module(case)
    if (target is None) != (not positive):
        raise UsageError("--target and --positive together", "one of them", "give both, or none")
    with file.open("rb") as opened:
        text = opened.read(MAX_BYTES + 1)
    imported = import_contract(text, case, Target(target, positive) if target else None)
    write_new(output, json.dumps(imported.source, indent=2, ensure_ascii=False) + "\n")
    typer.echo(f"{output}: {imported.source['name']}, {len(imported.source['expectations'])} rules")
    for note in imported.left_out:
        typer.echo(f"    not imported: {note}")
