"""`steward ledger`: show the decisions about a champion and verify their chain, or accept a damaged ledger."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.errors import UsageError
from operate.console import EXIT_FAILURE, CaseArgument, ModelDataOption, console_logging, require_case
from operate.printing import print_ledger_entry

if TYPE_CHECKING:
    from tasks.ledger import LedgerState


def ledger(
    case: CaseArgument,
    data: ModelDataOption = "simulated",
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Accept a damaged ledger: its chain starts anew with an entry about it."
        ),
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is accepted; required with --accept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")] = False,
) -> None:
    """Show the decisions about a champion, and verify that the ledger is as it was written.

    Exit code 1: it is not.
    """
    if accept and not (reason or "").strip():
        raise UsageError("--reason TEXT with --accept", "none", "give the reason; the ledger keeps it")
    with console_logging():
        require_case(case)
        from flows.champions import accept_damaged_ledger, inspect_ledger

        if accept and reason:
            accept_damaged_ledger(case, data, reason)
        state = inspect_ledger(case, data)
    if as_json:
        typer.echo(json.dumps(_summary(case, data, state)))
    else:
        _print_state(case, data, state)
    raise typer.Exit(EXIT_FAILURE if state.problems else 0)


def _summary(case: str, data: str, state: "LedgerState") -> dict[str, Any]:
    head = state.record.head
    return {
        "case": case,
        "data": data,
        "entries": [line.entry for line in state.chain.lines if line.entry is not None],
        "problems": list(state.problems),
        "head": {"line": head.line, "digest": head.digest} if head else None,
        "champion": state.record.champion,
    }


def _print_state(case: str, data: str, state: "LedgerState") -> None:
    for line in state.chain.lines:
        if line.entry is None:
            typer.echo(f"line {line.number} is not an entry")
        else:
            print_ledger_entry(line.entry)
    lines, head = len(state.chain.lines), state.record.head
    if not state.problems:
        link = "the head in MLflow is the last one"
        if head is None:
            link = "written by an earlier version; the next decision starts their chain"
        typer.echo(f"{lines} lines, as they were written; {link}")
        return
    typer.echo(f"\n{lines} lines; head in MLflow: {f'line {head.line}' if head else 'none'}")
    for problem in state.problems:
        typer.echo(f"problem: {problem}")
    command = f"steward ledger {case} --data {data} --accept --reason TEXT"
    typer.echo(
        "Until this is solved, no model of this name is promoted or rolled back. Restore the file or MLflow's database"
        f" from a backup.\nIf that is impossible, and the champion in MLflow is the right one: {command}"
    )
