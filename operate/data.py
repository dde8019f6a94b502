"""`steward data`: list the data sets, download one, or write rows of one as a file to score."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from operate.console import console_logging
from operate.printing import print_dataset

if TYPE_CHECKING:
    from ml.contract.read_options import ReadOptions
    from tasks.settings import Settings


def data(
    file: Annotated[
        Path | None, typer.Argument(help="With --export, the new file, .csv or .parquet.")
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            help="Write rows of this data set, without the target, as a file to score; such as hmeq or"
            " fintech-risk.simulated."
        ),
    ] = None,
    download: Annotated[
        str | None,
        typer.Option(
            help="Download the files of this public data set to STEWARD_DATA_DIR, and verify them. Its licence is"
            " printed."
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="With --export, the largest number of rows.")] = 100,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """List use cases and data sets with source and licence; download a data set; or write a file to score."""
    from ml.errors import UsageError
    from tasks.settings import load

    settings = load()
    if (export is None) != (file is None):
        raise UsageError("--export NAME and FILE together", "one of them", "give both, or none for a list")
    if download is not None:
        if export is not None:
            raise UsageError("--download or --export", "both", "give one of them")
        with console_logging(progress=True):
            _download(download, settings, as_json)
    elif export is None or file is None:
        _list(settings, as_json)
    else:
        with console_logging(progress=True):
            _export(export, rows, file, settings, as_json)


def _list(settings: "Settings", as_json: bool) -> None:
    from tasks.locate import load_contract
    from tasks.use_cases import use_case_names

    for case in use_case_names():
        for path in sorted((settings.contracts / case.replace("-", "_")).glob("*.json")):
            contract = load_contract(case, str(path), settings)
            state = _data_state(path.stem, contract.read, settings.data_dir)
            keys = ("description", "publisher", "url", "licence")
            publication = {key: contract.publication.get(key, "") for key in keys}
            dataset = {"case": case, "data": path.stem, "state": state, **publication}
            if as_json:
                typer.echo(json.dumps(dataset))
            else:
                print_dataset(dataset)


def _data_state(name: str, read: "ReadOptions", data_dir: Path | None) -> str:
    """Return whether the files of a data set are on this machine."""
    if read.simulator:
        return "simulated"
    if not data_dir:
        return "STEWARD_DATA_DIR is not set"
    folder = data_dir / (read.folder or name)
    missing = [file for file in read.files if not (folder / file).exists()]
    return f"missing {', '.join(missing)}" if missing else "ready"


def _download(name: str, settings: "Settings", as_json: bool) -> None:
    """Download the files of a data set, print them, its licence and the command that uses them."""
    from ml.errors import UsageError
    from tasks.download import download_files
    from tasks.locate import load_contract

    case, dataset_name = _split_name(name, settings)
    contract = load_contract(case, dataset_name, settings)
    if contract.read.simulator:
        raise UsageError("a data set with files", f"{name}, which is simulated", f"steward run {case}")
    if settings.data_dir is None:
        raise UsageError("STEWARD_DATA_DIR with the folder of data sets", "no such variable", "set it")
    folder = settings.data_dir / (contract.read.folder or dataset_name)
    files = {}
    for path, size in download_files(contract, folder, settings.read_limits.file_bytes):
        files[str(path)] = size
        if not as_json:
            typer.echo(f"{path}: {size:,} bytes, verified")
    publication = {key: contract.publication.get(key, "") for key in ("publisher", "licence", "citation")}
    if as_json:
        typer.echo(json.dumps({"case": case, "data": dataset_name, "files": files, **publication}))
    else:
        for key, value in publication.items():
            typer.echo(f"{key}: {value}")
        typer.echo(f"    steward run {case} --data {dataset_name}")


def _export(name: str, count: int, file: Path, settings: "Settings", as_json: bool) -> None:
    """Write rows of a data set to a new file. Simulated tables get other rows than those that models are trained on."""
    import tempfile

    from ml.errors import UsageError
    from tasks import unlabelled_rows
    from tasks.locate import find_dataset
    from tasks.source import read_source
    from tasks.storage.content_store import Store

    case, dataset_name = _split_name(name, settings)
    if file.suffix not in unlabelled_rows.SUFFIXES or not file.resolve().parent.is_dir():
        expected = "FILE.csv or FILE.parquet in a folder that exists"
        raise UsageError(expected, str(file), "name such a file")
    if file.exists():
        raise UsageError("a new file", f"{file}, which exists", "name another one")
    dataset = find_dataset(case, dataset_name, None, settings)
    contract = dataset.contract
    if contract.read.simulator and not contract.is_recommendation:
        read = contract.read.model_copy(update={"seed": contract.read.seed + 1})
        dataset = replace(dataset, contract=replace(contract, read=read))
    with tempfile.TemporaryDirectory(prefix="steward-export-") as scratch:
        table = read_source(dataset, Store(Path(scratch))).table("rows")
    chosen = unlabelled_rows.select_rows(table, contract, count)
    unlabelled_rows.write_rows(chosen, contract, file)
    command = f"steward score {case} --contract {dataset_name} --data {file} --out scores.csv"
    if as_json:
        written = {"case": case, "data": dataset_name, "rows": len(chosen), "file": str(file)}
        typer.echo(json.dumps({**written, "columns": list(chosen.columns)}))
    else:
        without = f" without {contract.roles.target}" if contract.roles.target else ""
        typer.echo(f"{len(chosen):,} rows of {case}.{dataset_name}{without}: {file}\n    {command}")


def _split_name(name: str, settings: "Settings") -> tuple[str, str]:
    """Return use case and data set of `case.data`, or of a data set that only one use case has. Raises UsageError."""
    from ml.errors import UsageError
    from tasks.use_cases import use_case_names

    case, _, dataset = name.rpartition(".")
    if case in use_case_names():
        return case, dataset
    owners = [
        each
        for each in use_case_names()
        if (settings.contracts / each.replace("-", "_") / f"{name}.json").is_file()
    ]
    if len(owners) != 1:
        qualified = ", ".join(f"{owner}.{name}" for owner in owners)
        got = f"{name}, which {len(owners)} of them have" if owners else name
        next_step = f"name one of {qualified}" if owners else "see `steward data`"
        raise UsageError("a data set of one use case", got, next_step)
    return owners[0], name
