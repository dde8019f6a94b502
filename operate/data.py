"""`steward data`: list the data sets, download one, or write rows of one as a file to score."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate.console import console_logging
from operate.new_file import require_new
from operate.printing import print_dataset

if TYPE_CHECKING:
    from ml.contract.read_options import ReadOptions
    from tasks.settings import Settings


@dataclass(frozen=True)
class _Export:
    """What was written to a file, and the command that uses it."""

    facts: dict[str, Any]
    note: str
    command: str


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
    fault: Annotated[
        str | None,
        typer.Option(
            help="With --export of simulated data, write a batch with this fault, and with its target."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --fault, the seed of the fault.")] = 0,
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
    if fault and not export:
        raise UsageError(
            "--export NAME with --fault", "none", "name simulated data, such as fintech-risk.simulated"
        )
    if download is not None:
        if export is not None:
            raise UsageError("--download or --export", "both", "give one of them")
        with console_logging(progress=True):
            _download(download, settings, as_json)
        return
    if export is None or file is None:
        _list(settings, as_json)
        return
    with console_logging(progress=True):
        if fault:
            written = _export_with_fault(export, rows, file, settings, (fault, seed))
        else:
            written = _export(export, rows, file, settings)
    if as_json:
        typer.echo(json.dumps(written.facts))
    else:
        rows_of = f"{written.facts['rows']:,} rows of {written.facts['case']}.{written.facts['data']}"
        typer.echo(f"{rows_of} {written.note}".rstrip() + f": {file}\n    {written.command}")


def _list(settings: "Settings", as_json: bool) -> None:
    from tasks.data_access.locate import load_contract
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
    from tasks.data_access.download import download_files
    from tasks.data_access.locate import load_contract

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


def _export(name: str, count: int, file: Path, settings: "Settings") -> _Export:
    """Write rows of a data set to a new file. Simulated tables get other rows than those that models are trained on."""
    import tempfile

    from tasks import unlabelled_rows
    from tasks.data_access.locate import find_dataset
    from tasks.source import read_source
    from tasks.storage.content_store import Store

    case, dataset_name = _split_name(name, settings)
    require_new(file, unlabelled_rows.SUFFIXES)
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
    facts = {"case": case, "data": dataset_name, "rows": len(chosen), "file": str(file)}
    note = f"without {contract.roles.target}" if contract.roles.target else ""
    return _Export({**facts, "columns": list(chosen.columns)}, note, command)


def _export_with_fault(
    name: str, count: int, file: Path, settings: "Settings", seeded_fault: tuple[str, int]
) -> _Export:
    """Write a simulated batch with a fault to a new CSV file, as a run would receive it. Raises UsageError."""
    from ml.errors import UsageError
    from ml.simulators import SIMULATORS
    from ml.simulators.faults import FAULTS, faulty_file
    from tasks.data_access.locate import load_contract

    fault, seed = seeded_fault
    case, dataset_name = _split_name(name, settings)
    read = load_contract(case, dataset_name, settings).read
    if read.simulator is None:
        expected = f"data of a simulator with faults ({', '.join(FAULTS)})"
        raise UsageError(expected, "files", "leave --fault out")
    if fault not in FAULTS[read.simulator]:
        known = ", ".join(sorted(FAULTS[read.simulator]))
        raise UsageError(f"a fault ({known})", repr(fault), "name one of them")
    require_new(file, (".csv",))
    rows = SIMULATORS[read.simulator](count, read.seed + 1).rows
    file.write_bytes(faulty_file(rows, read.simulator, fault, seed))
    facts = {"case": case, "data": dataset_name, "rows": count, "file": str(file), "fault": fault}
    command = f"steward run {case} --contract {dataset_name} --data {file}"
    return _Export(facts, f"with the fault {fault}", command)


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
