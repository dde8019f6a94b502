"""`steward contract`: draft a contract from a file, and print what to look at."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate.console import case_module, console_logging
from operate.new_file import require_new, write_new

if TYPE_CHECKING:
    import pandas as pd

    from ml.contract.schema import Contract
    from ml.drafting.draft import Draft
    from ml.drafting.request import CaseKind, DraftRequest

SHOWN_DOUBTS = 15


def contract(
    file: Annotated[
        Path, typer.Argument(help="The file, of any format that is read; with --diff, the new contract.")
    ],
    case: Annotated[str | None, typer.Option(help="The use case that the data are for.")] = None,
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
    review: Annotated[
        bool, typer.Option("--review", help="Ask about each doubtful point before the contract is written.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option(help="Write a page about columns and rules too, FILE.html.")
    ] = None,
    diff: Annotated[
        Path | None, typer.Option(help="Print how the contract FILE differs from this one; draft nothing.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """Draft a contract from a file: types, roles, codes and rules, each with its evidence; print what to look at."""
    from ml.errors import UsageError

    if diff is not None:
        _print_differences(diff, file, as_json)
        return
    if case is None:
        raise UsageError("--case CASE", "none", "name the use case; see `steward data`")
    path = output or Path(f"{_name(file)}.json")
    require_new(path, [".json"])
    if page is not None:
        require_new(page, [".html"])
    if not file.is_file():
        raise UsageError("a file that can be read", str(file), "name one")
    with console_logging(progress=True):
        rows, request = read_cells(file, case_kind(case))
        classes = () if positive is None else (positive,)
        drafted = draft_cells(rows, replace(request, target=target, positive=classes))
    source = review_points(drafted) if review else drafted.source
    write_new(path, json.dumps(source, indent=2, ensure_ascii=False) + "\n")
    if page is not None:
        write_new(page, _page(drafted, source, rows))
    command = shlex.join(["steward", "run", case, "--data", str(file), "--contract", str(path)])
    if as_json:
        typer.echo(json.dumps(_summary(drafted, path)))
    else:
        _print(drafted, path, command)


def review_points(draft: "Draft") -> dict[str, Any]:
    """Ask about each doubtful point, the most doubtful first; return the contract as it was decided."""
    from ml.drafting.review import drop, keep, open_points
    from ml.errors import ContractError

    source = dict(draft.source)
    order = {(doubt.place, doubt.reason): number for number, doubt in enumerate(draft.doubts)}
    left: set[tuple[str, str]] = set()
    while points := [p for p in open_points(source) if (p.place, p.reason) not in left]:
        point = min(points, key=lambda p: order.get((p.place, p.reason), len(order)))
        choices = "[k]eep, [d]rop, [l]ater, [q]uit" if point.can_drop else "[k]eep, [l]ater, [q]uit"
        typer.echo(f"\n{point.place} ({len(points)} left)\n    {point.reason}", err=True)
        answer = typer.prompt(choices, default="l", show_default=False, err=True).strip().lower()[:1]
        if answer == "q":
            break
        if answer == "k":
            source = keep(source, point)
        elif answer == "d" and point.can_drop:
            try:
                source = drop(source, point)
            except ContractError as error:
                typer.echo(f"    that is impossible: {error}", err=True)
                left.add((point.place, point.reason))
        else:
            left.add((point.place, point.reason))
    return source


def _print_differences(old: Path, new: Path, as_json: bool) -> None:
    from ml.contract.differences import describe_differences

    differences = describe_differences(_read_contract(old), _read_contract(new))
    if as_json:
        typer.echo(json.dumps({"old": str(old), "new": str(new), "differences": differences}))
    else:
        typer.echo("\n".join(differences) if differences else "no difference")


def _read_contract(path: Path) -> "Contract":
    from ml.contract.json_text import read_json_file
    from ml.contract.parser import parse
    from ml.errors import UsageError

    if not path.is_file():
        raise UsageError("a contract", f"{path}, which is no file", "name two contracts: --diff OLD NEW")
    with path.open("rb") as file:
        return parse(read_json_file(file, str(path)))


def _page(draft: "Draft", source: Mapping[str, Any], rows: "pd.DataFrame") -> str:
    from ml.drafting.summary import summarize
    from tasks.reporting.contract_page import render_contract

    return render_contract(source, summarize(draft, rows), draft.alarms.describe())


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

    use_case = case_module(case).CASE
    target = use_case.evaluator.target
    return CaseKind(
        case,
        is_log=target is None,
        several_classes=target == "multiclass",
        numbers=target == "numeric" or "numeric" in use_case.other_targets,
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


def _summary(draft: "Draft", path: Path) -> dict[str, Any]:
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
