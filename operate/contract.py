"""`steward contract`: draft a contract from a file, and print what to look at."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate.console import case_module, console_logging
from operate.new_file import require_new, write_new
from operate.review import review_points

if TYPE_CHECKING:
    import pandas as pd

    from ml.contract.schema import Contract
    from ml.drafting.draft import Draft
    from ml.drafting.request import CaseKind, DraftRequest

SHOWN_DOUBTS = 15


def contract(
    file: Annotated[
        list[str],
        typer.Argument(
            help="The file, of any format that is read, or several, a folder of parts or a wildcard; "
            "with --diff, the new contract."
        ),
    ],
    case: Annotated[str | None, typer.Option(help="The use case that the data are for.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Column to predict. Default: the one that looks most like a target.")
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(help="Value of the positive class. Default: by its word, else the rarer one."),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(
            help="Numbers of the target above this one are the positive class, the others the negative one."
        ),
    ] = None,
    classes: Annotated[
        bool, typer.Option("--classes", help="Predict each class of the target, not one against the others.")
    ] = False,
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
        if len(file) != 1:
            raise UsageError("two contracts: --diff OLD NEW", f"{len(file) + 1}", "name two")
        _print_differences(diff, Path(file[0]), as_json)
        return
    if case is None:
        raise UsageError("--case CASE", "none", "name the use case; see `steward data`")
    path = output or Path(f"{_name(file)}.json")
    require_new(path, [".json"])
    if page is not None:
        require_new(page, [".html"])
    with console_logging(progress=True):
        rows, request = read_cells(file, requested_kind(case, classes, positive))
        given = () if positive is None else (positive,)
        request = replace(request, target=target, positive=given, above=above)
        drafted = draft_cells(rows, request)
    source = dict(drafted.source)
    if review:
        drafted, source = review_points(drafted, lambda given: draft_cells(rows, with_target(request, given)))
    write_new(path, json.dumps(source, indent=2, ensure_ascii=False) + "\n")
    if page is not None:
        write_new(page, _page(drafted, source, rows))
    data = [part for name in file for part in ("--data", name)]
    command = shlex.join(["steward", "run", case, *data, "--contract", str(path)])
    if as_json:
        typer.echo(json.dumps(_summary(drafted, path)))
    else:
        _print(drafted, path, command)


def with_target(request: "DraftRequest", given: Mapping[str, str]) -> "DraftRequest":
    """Return the request with what a review has chosen: another target has other classes. Raises UsageError."""
    from ml.drafting.threshold import parse_threshold

    positive = (given["positive"],) if "positive" in given else ()
    above = parse_threshold(given["above"]) if "above" in given else None
    return replace(request, target=given.get("target", request.target), positive=positive, above=above)


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
    """Draft the contract of a log or a table, as the use case needs it. Raises UsageError."""
    from ml.drafting.log import draft_log
    from ml.drafting.table import draft_table
    from ml.errors import UsageError

    given = (request.target, *request.positive, request.above)
    if request.case.is_log and any(value is not None for value in given):
        case = request.case.name
        raise UsageError(
            f"no column to predict for {case}, which reads logs", "one", "leave out what names it"
        )
    return draft_log(rows, request) if request.case.is_log else draft_table(rows, request)


def read_cells(
    data: str | Sequence[str], kind: "CaseKind", name: str = ""
) -> tuple["pd.DataFrame", "DraftRequest"]:
    """Return every cell of one or several files as it came, and how they are read.

    Raises UsageError or DataGateError.
    """
    from ml.drafting.request import DraftRequest
    from tasks.data_access.data_paths import find_files
    from tasks.data_access.sample_files import read_sample_files
    from tasks.settings import load

    found = read_sample_files(find_files(data), kind.is_log, load().read_limits)
    return found.rows, DraftRequest(kind, name or _name(data), found.read, found.doubts)


def requested_kind(case: str, classes: bool, positive: str | None) -> "CaseKind":
    """Return what kind of data a draft is for; with `classes`, of a target of several. Raises UsageError."""
    from ml.errors import UsageError

    if classes and positive is not None:
        raise UsageError("--classes or --positive, which names one class", "both", "leave one of them out")
    kind = case_kind(case)
    return kind.with_classes() if classes else kind


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
        classes_on_request="multiclass" in use_case.other_targets,
    )


def _name(data: str | Sequence[str]) -> str:
    """Return the name of the data set: that of the first file or folder, as far as names of data sets allow."""
    from tasks.formats.file_names import plain_name

    first = data if isinstance(data, str) else data[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain_name(Path(first).name)).strip("_")[:100] or "data"


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
        points = f"{len(doubts)} points, the most doubtful first" if len(doubts) > 1 else "this point"
        typer.echo(f"\nLook at {points}:")
    for number, doubt in enumerate(doubts[:SHOWN_DOUBTS], 1):
        typer.echo(f"{number:3}. {doubt.place}: {doubt.reason}")
    if len(doubts) > SHOWN_DOUBTS:
        typer.echo(f'     and {len(doubts) - SHOWN_DOUBTS} more, marked with "review": true in the file')
    typer.echo(f"\n{draft.alarms.describe()}\n    {command}")
