"""The command line: parses arguments, calls flows, prints.

Heavy libraries are imported where they are used, so that `steward --help` is fast.
"""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate import printing
from operate.backfill import BackfillRequest, run_backfill
from operate.command_line import StrictTyper
from operate.compare import compare
from operate.console import (
    EXIT_FAILURE,
    CaseArgument,
    case_module,
    console_logging,
    describe_unexpected,
    exit_code,
    exit_on_sigterm,
    print_message,
    require_case,
)
from operate.contract import contract as contract_command
from operate.convert import convert
from operate.data import data
from operate.doctor import doctor
from operate.killed_runs import end_killed_runs, recorded_command
from operate.ledger import ledger
from operate.lineage import lineage
from operate.maintain import maintain
from operate.options import (
    AcceptDriftOption,
    ContractOption,
    DataOption,
    JsonLinesOption,
    QueryOption,
    VerboseOption,
    given_data,
)
from operate.quarantine import quarantine
from operate.reproduce import reproduce
from operate.up import up

if TYPE_CHECKING:
    from flows.recording.outcome import RunOutcome

app = StrictTyper(
    help="Train, evaluate, register and monitor models from raw tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
NOTEBOOK_FUNCTIONS = ("champion", "contract", "report", "run", "score")


def __getattr__(name: str) -> Any:
    """Return what notebooks import from here; it is loaded only then, and the commands of these names print instead."""
    if name not in NOTEBOOK_FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from operate import notebook

    return getattr(notebook, name)


def main() -> None:
    """Run the command line; any error is printed as one message and sets the exit code."""
    from ml.errors import StewardError

    exit_on_sigterm()
    try:
        app()
    except StewardError as error:
        print_message(f"{error.gate}: {error}")
        sys.exit(exit_code(error))
    except Exception as error:
        print_message(describe_unexpected(error))
        sys.exit(EXIT_FAILURE)


@app.command("run")
def run_command(
    case: Annotated[str, typer.Argument(help="A use case, or `all`.")],
    data: DataOption = None,
    contract: ContractOption = None,
    query: QueryOption = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of training. The test rows do not depend on it.")
    ] = 0,
    time_budget: Annotated[
        float | None,
        typer.Option(
            help="Processor seconds per thread for training all candidates together.",
            show_default="set by the use case",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="Maximum number of tuning trials of the ensemble within the time budget.")
    ] = 0,
    fresh: Annotated[bool, typer.Option(help="Recompute every stage instead of reusing results.")] = False,
    accept_drift: AcceptDriftOption = None,
    verbose: VerboseOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Validate, split, train, evaluate and promote, for one use case or all of them."""
    from tasks.use_cases import use_case_names

    given = given_data(data)
    names = use_case_names(given if isinstance(given, str) else None) if case == "all" else [case]
    params: dict[str, Any] = {
        "data": given,
        "contract": contract,
        "query": query,
        "seed": seed,
        "trials": trials,
        "accept_drift": accept_drift,
    }
    if time_budget is not None:
        params["time_budget"] = time_budget
    with console_logging(verbose, progress=True):
        # Errors of any case are reported before the first one starts.
        flows = [_checked_flow(name, params) for name in names]
        with recorded_command("run"):
            results = [
                _run_case(name, flow, {**params, "fresh": fresh})
                for name, flow in zip(names, flows, strict=True)
            ]
    printing.print_outcomes([outcome for outcome, _ in results if outcome], as_json)
    sys.exit(next((code for _, code in results if code), 0))


def _run_case(
    name: str, flow: Callable[..., "RunOutcome"], params: Mapping[str, Any]
) -> tuple["RunOutcome | None", int]:
    """Return outcome and exit code of one case; an error does not stop the other cases."""
    from ml.errors import StewardError

    try:
        return flow(**params), 0
    except StewardError as error:
        print_message(f"{name}: {error}")
        return error.outcome, exit_code(error)
    except Exception as error:
        print_message(f"{name}: {describe_unexpected(error)}")
        return None, EXIT_FAILURE


def _checked_flow(case: str, params: Mapping[str, Any]) -> Any:
    """Return the flow of a use case. Raises UsageError or ContractError for parameters that a run would reject."""
    module = case_module(case)
    from flows.pipeline import check_before_run
    from flows.use_case import RunParameters
    from tasks.settings import load

    check_before_run(module.CASE, RunParameters(**params), load())
    return getattr(module, case.replace("-", "_"))


@app.command()
def validate(
    case: CaseArgument,
    data: DataOption = None,
    contract: ContractOption = None,
    query: QueryOption = None,
    verbose: VerboseOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Check data against their contract and stop."""
    given = given_data(data)
    with console_logging(verbose, progress=True):
        _checked_flow(case, {"data": given, "contract": contract, "query": query})
        end_killed_runs()
        from flows.pipeline import validate_only

        facts = validate_only(case, given, contract, query)
    if as_json:
        typer.echo(json.dumps({"case": case, "data": given, **facts}))
    else:
        printing.print_rules(facts)


@app.command("score")
def score_command(
    case: CaseArgument,
    data: Annotated[
        list[str],
        typer.Option(help="What to score, without the target: as for `run`, but no name."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write, .parquet or .csv.")],
    contract: Annotated[str, typer.Option(help="Data set whose champion scores the file.")] = "simulated",
    reasons: Annotated[
        int,
        typer.Option(
            help="Explain this many top items of each user, or show this many words of a text that speak for its class."
        ),
    ] = 0,
    accept_drift: AcceptDriftOption = None,
    query: QueryOption = None,
    verbose: VerboseOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Score an unlabelled file with the champion; rows that fail the contract are returned with the reason."""
    with console_logging(verbose, progress=True):
        require_case(case)
        end_killed_runs()
        from flows.scoring import score as flow

        with recorded_command("score"):
            facts = flow(
                case=case,
                data=given_data(data),
                out=str(out),
                contract=contract,
                reasons=reasons,
                accept_drift=accept_drift,
                query=query,
            )
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        printing.print_scores(facts)


@app.command("champion")
def champion_command(
    case: CaseArgument,
    data: Annotated[str, typer.Option(help="Data set of the champion.")] = "simulated",
    history: Annotated[bool, typer.Option(help="Show all decisions, not only the last one.")] = False,
    chart: Annotated[
        Path | None, typer.Option(help="Draw the champion's metric by decision into this .svg file.")
    ] = None,
    rollback: Annotated[bool, typer.Option(help="Restore the previous champion.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why the champion is rolled back; required with --rollback.")
    ] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Show the champion and the last decision about it, or roll back to the previous one."""
    from ml.errors import UsageError

    if rollback and not (reason or "").strip():
        raise UsageError("--reason TEXT with --rollback", "none", "give the reason; the ledger keeps it")
    if chart and (chart.suffix != ".svg" or not chart.resolve().parent.is_dir()):
        raise UsageError("--chart FILE.svg in a folder that exists", str(chart), "name such a file")
    with console_logging():
        require_case(case)
        end_killed_runs()
        from flows.champions import decisions, roll_back

        entries = [roll_back(case, data, reason)] if rollback and reason else decisions(case, data)
        if chart:
            from tasks.reporting.champion_chart import champion_chart

            chart.write_text(champion_chart(f"{case}.{data}", decisions(case, data)), encoding="utf-8")
            print_message(f"chart: {chart}")
    for entry in entries if history or rollback else entries[-1:]:
        if as_json:
            typer.echo(json.dumps(entry))
        else:
            printing.print_ledger_entry(entry)


@app.command()
def backfill(
    case: CaseArgument,
    start: Annotated[datetime, typer.Option("--from", help="First scheduled time, UTC.")],
    end: Annotated[datetime, typer.Option("--to", help="Last scheduled time, UTC.")],
    data: Annotated[str, typer.Option(help="The data set.")] = "simulated",
    cron: Annotated[
        str | None, typer.Option(help="The schedule. Default: the schedule of the deployment.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run; run nothing.")] = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Run a use case for each scheduled time without a finished run; rows from after that time are excluded."""
    request = BackfillRequest(case, data, start, end, cron)
    raise typer.Exit(run_backfill(request, dry_run, as_json))


app.command()(compare)
app.command("contract")(contract_command)
app.command()(convert)
app.command()(data)
app.command()(doctor)
app.command()(ledger)
app.command()(lineage)
app.command()(quarantine)
app.command()(reproduce)
app.command()(maintain)
app.command()(up)


if __name__ == "__main__":
    main()
