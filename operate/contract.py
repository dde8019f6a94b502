"""`steward contract`: draft a contract from a file, and print what to look at."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate.console import case_module, console_logging

if TYPE_CHECKING:
    import pandas as pd

    from ml.drafting.draft import Draft
    from ml.drafting.request import CaseKind, DraftRequest

SHOWN_DOUBTS = 15


def contract(
    file: Annotated[Path, typer.Argument(help="The file, of any format that is read.")],
    case: Annotated[str, typer.Option(help="The use case that the data are for.")],
    target: Annotated[
        str | None, typer.Option(help="Column to predict. Default: the one that looks most like a target.")
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(help="Value of the positive class. Default: by its word, else the rarer one."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The contract to write, FILE.json. Default: named as the data."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """Draft a contract from a file: types, roles, codes and rules, each with its evidence; print what to look at."""
    from ml.errors import UsageError

    path = _new_file(output, file)
    if not file.is_file():
        raise UsageError("a file that can be read", str(file), "name one")
    with console_logging(progress=True):
        drafted = draft_file(file, case_kind(case), target, positive)
    _write(path, drafted.source)
    command = shlex.join(["steward", "run", case, "--data", str(file), "--contract", str(path)])
    if as_json:
        typer.echo(json.dumps(_summary(drafted, path)))
    else:
        _print(drafted, path, command)


def draft_file(
    file: Path, kind: "CaseKind", target: str | None = None, positive: str | None = None
) -> "Draft":
    """Read a file as it is most likely written, and draft its contract. Raises UsageError or DataGateError."""
    from dataclasses import replace

    rows, request = read_cells(file, kind)
    classes = () if positive is None else (positive,)
    return draft_cells(rows, replace(request, target=target, positive=classes))


def draft_cells(rows: "pd.DataFrame", request: "DraftRequest") -> "Draft":
    """Draft the contract of a log or a table, as the use case needs it."""
    from ml.drafting.log import draft_log
    from ml.drafting.table import draft_table

    return draft_log(rows, request) if request.case.is_log else draft_table(rows, request)


def read_cells(file: Path, kind: "CaseKind") -> tuple["pd.DataFrame", "DraftRequest"]:
    """Return every cell of a file as it came, and how the file is read. Raises UsageError or DataGateError."""
    import tempfile

    from ml.contract.read_options import ReadOptions
    from ml.contract.schema import Contract, ContractFile
    from ml.drafting.request import DraftRequest
    from tasks.file_dialect import file_dialect
    from tasks.locate import DatasetSource
    from tasks.settings import load
    from tasks.source import read_source
    from tasks.storage.content_store import Store

    limits = load().read_limits
    name = _name(file)
    dialect = file_dialect(file, kind.is_log, limits)
    read = {"files": [_file_name(file)], **dialect.read}
    # The draft decides what a cell means.
    options = ReadOptions(columns=dict.fromkeys(dialect.columns, "category"), **read)
    meta = {"schema_version": 2, "read": options, "roles": {"target": {"column": dialect.columns[0]}}}
    reading = ContractFile.model_validate({"name": f"{kind.name}.{name}", "expectations": [], "meta": meta})
    source = DatasetSource(name, Contract.from_file(reading, {}), (file,), limits=limits)
    with tempfile.TemporaryDirectory(prefix="steward-contract-") as scratch:
        rows = read_source(source, Store(Path(scratch))).table("rows")
    return rows, DraftRequest(kind, name, read, dialect.doubts)


def case_kind(case: str) -> "CaseKind":
    """Return what kind of data a use case needs. Raises UsageError for an unknown one."""
    from ml.drafting.request import CaseKind
    from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
    from ml.evaluation.ranking_evaluator import RankingEvaluator

    use_case = case_module(case).CASE
    evaluator = use_case.evaluator
    return CaseKind(
        case,
        is_log=isinstance(evaluator, RankingEvaluator),
        several_classes=isinstance(evaluator, MulticlassEvaluator),
        reads_texts=use_case.reads_texts,
    )


def _file_name(file: Path) -> str:
    """Return the name that the contract gives the file: names that could leave a folder are refused there."""
    from ml.contract.values import CONTROL_CHARACTER

    usable = (
        "\\" not in file.name and not file.name.startswith("~") and not CONTROL_CHARACTER.search(file.name)
    )
    return file.name if usable and not re.match(r"[A-Za-z]:", file.name) else f"data{file.suffix}"


def _name(file: Path) -> str:
    """Return the name of the data set: that of the file, as far as names of data sets allow."""
    from tasks.file_names import plain_name

    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain_name(file.name)).strip("_")[:100] or "data"


def _new_file(output: Path | None, file: Path) -> Path:
    """Return the path of the contract. Raises UsageError for one that exists, or that no file can be written to."""
    from ml.errors import UsageError

    path = output or Path(f"{_name(file)}.json")
    if path.suffix != ".json" or not path.resolve().parent.is_dir():
        raise UsageError("-o FILE.json in a folder that exists", str(path), "name such a file")
    if path.exists():
        raise UsageError(
            "a new file for the contract", f"{path}, which exists", "name another with -o FILE.json"
        )
    return path


def _write(path: Path, source: Any) -> None:
    """Write the contract under another name first, so that a full disk leaves no half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(source, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _summary(draft: "Draft", path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    doubts = [asdict(doubt) for doubt in draft.doubts]
    return {
        "contract": str(path),
        "rules": len(draft.rules),
        "review": doubts,
        "alarms": asdict(draft.alarms),
    }


def _print(draft: "Draft", path: Path, command: str) -> None:
    doubts = draft.doubts
    typer.echo(f"{path}: {len(draft.contract.read.columns)} columns, {len(draft.rules)} rules")
    if doubts:
        typer.echo(f"\nLook at {len(doubts)} points, the most doubtful first:")
    for number, doubt in enumerate(doubts[:SHOWN_DOUBTS], 1):
        typer.echo(f"{number:3}. {doubt.place}: {doubt.reason}")
    if len(doubts) > SHOWN_DOUBTS:
        typer.echo(f"     and {len(doubts) - SHOWN_DOUBTS} more: review is true there")
    typer.echo(f"\n{draft.alarms.describe()}\n    {command}")
