"""The command line: reads arguments, calls flows, prints.

Everything heavy is imported where it is used, so that `steward --help` answers at once.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate.backfill import backfill
from operate.console import OTHER, CaseName, exit_code, flow_module, known_case, quiet, say
from operate.doctor import doctor
from operate.lineage import lineage
from operate.maintain import maintain
from operate.reproduce import reproduce
from operate.up import up

if TYPE_CHECKING:
    from flows.recording.outcome import RunOutcome

JSON_FIELDS = [
    "case",
    "data",
    "champion",
    "version",
    "verdict",
    "metric",
    "value",
    "low",
    "high",
    "baseline",
    "rows",
    "quarantined",
    "excluded",
    "seconds",
    "reused",
    "report",
]

# Bytes that are left where a disk is full: databases write in pages, files in blocks.
FULL = 2**20

app = typer.Typer(
    help="From raw tables to trusted, registered, watched models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Data = Annotated[str, typer.Option(help="A data set that has a contract, or the path of a file.")]
Contract = Annotated[
    str | None, typer.Option(help="Name or file of the contract; by default the one of the data.")
]
Verbose = Annotated[bool, typer.Option(help="Show what Prefect and the other libraries log.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line per case on stdout, all else on stderr.")]


def main() -> None:
    """Run the command line; every refusal becomes one message and an exit code of its own."""
    from ml.errors import StewardError

    try:
        app()
    except StewardError as refusal:
        say(f"{refusal.gate}: {refusal}")
        sys.exit(exit_code(refusal))


@app.command()
def run(
    case: Annotated[str, typer.Argument(help="A use case, or `all`.")],
    data: Data = "simulated",
    contract: Contract = None,
    seed: Annotated[int, typer.Option(help="Seed of training; the test rows do not depend on it.")] = 0,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds of training, over all candidates.", show_default="the use case's"),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="Trials that may refine the ensemble, in what time is left.")
    ] = 0,
    fresh: Annotated[bool, typer.Option(help="Compute everything again.")] = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Validate, split, train, judge and promote, for one use case or all of them."""
    from tasks.use_cases import cases

    names = cases() if case == "all" else [case]
    with quiet(verbose):
        # Whatever is wrong with any of them is said before the first one starts.
        given: dict[str, Any] = {"data": data, "contract": contract, "seed": seed, "trials": trials}
        given |= {} if budget is None else {"budget": budget}
        loaded = [_load(name, given) for name in names]
        # A use case whose flow has no trials takes none.
        asked = {name: value for name, value in given.items() if name != "trials" or value} | {"fresh": fresh}
        ended = [_run_one(name, flow, asked, verbose) for name, flow in zip(names, loaded, strict=True)]
    _print_outcomes([outcome for outcome, _ in ended if outcome], as_json)
    sys.exit(next((code for _, code in ended if code), 0))


def _run_one(
    name: str, flow: Callable[..., "RunOutcome"], asked: dict[str, Any], verbose: bool
) -> tuple["RunOutcome | None", int]:
    """The outcome, or none and the exit code that says why; the other cases still get their turn."""
    from ml.errors import StewardError

    try:
        return flow(**asked), 0
    except StewardError as refusal:
        say(f"{name}: {refusal}")
        return refusal.outcome, exit_code(refusal)
    except Exception as error:
        if verbose:
            raise
        say(f"{name}: {_told(error)} (--verbose shows where)")
        return None, OTHER


def _told(error: Exception) -> str:
    """An error in one line: the kind and the first words of libraries' pages, or what all of them mean by it."""
    from tasks import settings

    known = settings.load()
    if known.free < FULL:
        return f"no space is left in {known.home}: free some and run again; what was done until then is kept"
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"


@app.command()
def validate(
    case: CaseName,
    data: Data = "simulated",
    contract: Contract = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Hold data against their contract, and do nothing else."""
    with quiet(verbose):
        _load(case, {"data": data, "contract": contract})
        from flows.pipeline import examine_only

        facts = examine_only(case, data, contract)
    if as_json:
        typer.echo(json.dumps({"case": case, "data": data, **facts}))
        return
    _print_rules(facts)


@app.command()
def score(
    case: CaseName,
    data: Annotated[
        str, typer.Option(help="The file to score: CSV, zipped CSV or Parquet, without the target.")
    ],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    contract: Annotated[
        str, typer.Option(help="Whose champion scores: a data set of the case.")
    ] = "simulated",
    reasons: Annotated[
        int, typer.Option(help="Of a recommender: say of so many of each user's best items why.")
    ] = 0,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Score an unlabelled file with the champion; every row comes back, refused ones with the reason."""
    with quiet(verbose):
        known_case(case)
        from flows.scoring import score as flow

        facts = flow(case=case, data=data, out=str(out), contract=contract, reasons=reasons)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(
        f"{facts['scored']:,} of {facts['rows']:,} rows scored by {facts['champion']} version {facts['version']}"
        f" ({facts['quarantined']:,} quarantined, {facts['excluded']:,} excluded): {facts['out']}"
    )


@app.command()
def champion(
    case: CaseName,
    data: Annotated[str, typer.Option(help="The data set whose champion is meant.")] = "simulated",
    history: Annotated[bool, typer.Option(help="Every decision so far.")] = False,
    rollback: Annotated[bool, typer.Option(help="Make the champion before this one champion again.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why; kept in the ledger. Needed with --rollback.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who is champion and why, or roll back."""
    from ml.errors import UsageError

    if rollback and not (reason or "").strip():
        raise UsageError("--reason TEXT with --rollback", "none", "say why, for those who read the ledger")
    with quiet():
        known_case(case)
        from flows.champions import history_of, roll_back

        lines = [roll_back(case, data, reason)] if rollback and reason else history_of(case, data)
    shown = lines if history or rollback else lines[-1:]
    for line in shown:
        typer.echo(json.dumps(line) if as_json else _decision(line))


@app.command()
def data(as_json: AsJson = False) -> None:
    """List the use cases and the data sets that have a contract, where they come from, and their licence."""
    from tasks import settings
    from tasks.use_cases import cases

    known = settings.load()
    for name in cases():
        for path in sorted((known.contracts / name.replace("-", "_")).glob("*.json")):
            meta = json.loads(path.read_text(encoding="utf-8"))["meta"]
            line = {"case": name, "data": path.stem, **_where(path.stem, meta, known.data_dir)}
            typer.echo(json.dumps(line) if as_json else _described(line))


def _where(name: str, meta: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    read = meta["read"]
    here = "simulated"
    if "simulator" not in read:
        here = "STEWARD_DATA_DIR is not set"
        if folder:
            there = folder / (read.get("folder") or name)
            missing = [f for f in read["files"] if not (there / f).exists()]
            here = f"missing {', '.join(missing)}" if missing else "ready"
    return {"state": here} | {k: meta.get(k, "") for k in ("description", "publisher", "url", "licence")}


def _described(line: dict[str, Any]) -> str:
    source = f"{line['publisher']} {line['url']}".strip()
    return (
        f"{line['case']} --data {line['data']}  ({line['state']})\n"
        f"    {line['description']}\n    from: {source}\n    licence: {line['licence']}"
    )


def _decision(line: dict[str, Any]) -> str:
    moved = f"champion v{line['champion']}" if line["champion"] else "no champion"
    about = f", about v{line['version']}" if line.get("version") else ""
    return f"{line['line']:>4}  {line['at']}  {line['verdict']}{about}: {moved}; {line['reason']}"


def _load(case: str, given: Mapping[str, Any]) -> Any:
    """The flow of a use case, after everything was checked that can be before a run exists."""
    module = flow_module(case)
    from flows.pipeline import preflight
    from flows.use_case import RunParameters
    from tasks import settings

    preflight(module.CASE, RunParameters(**given), settings.load())
    return getattr(module, case.replace("-", "_"))


def _print_outcomes(outcomes: list["RunOutcome"], as_json: bool) -> None:
    if as_json:
        for outcome in outcomes:
            facts = asdict(outcome)
            typer.echo(json.dumps({field: facts[field] for field in JSON_FIELDS}))
        return
    if not outcomes:
        return
    _print_table(outcomes)
    for o in outcomes:
        reused = f"reused: {', '.join(o.reused)}" if o.reused else "reused: nothing"
        typer.echo(f"{o.case}: {o.verdict}, {o.reason}\n    {reused}\n    report: {o.report}")
    _print_interfaces()


def _print_table(outcomes: list["RunOutcome"]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in (
        "case",
        "data",
        "champion",
        "metric [95 %]",
        "baseline",
        "gates passed",
        "verdict",
        "seconds",
        "report",
    ):
        table.add_column(column, overflow="fold")
    for o in outcomes:
        holder = f"v{o.version} {o.candidate}".strip() if o.version else "none"
        value = f"{o.metric} {o.value:.4f}\n[{o.low:.4f}, {o.high:.4f}]" if o.value is not None else "-"
        baseline = f"{o.baseline:.4f}" if o.baseline is not None else "-"
        link = f"[link=file://{o.report}]open[/link]" if sys.stdout.isatty() else "below"
        table.add_row(
            o.case,
            o.data,
            holder,
            Text(value),
            baseline,
            f"all {len(o.gates)}" if o.verdict != "refused" else ", ".join(o.gates) or "none",
            o.verdict,
            f"{o.seconds:.1f}",
            link,
        )
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def _print_interfaces() -> None:
    from tasks import settings
    from tasks.tracking import database

    known = settings.load()
    # Of a password, libpq's own variable is told: the terminal may be a log.
    password = "" if database.file_of(known.mlflow_uri) else "PGPASSWORD=... "
    binaries = Path(sys.executable).parent
    typer.echo(
        "\nBrowse flows, runs and models, and schedule them:\n"
        f"    {binaries}/steward up\n"
        "Browse only the runs and models:\n"
        f"    {password}{binaries}/mlflow ui --backend-store-uri {database.shown(known.mlflow_uri)}\n"
        "Browse only the flows:\n"
        f"    PREFECT_HOME={known.home.resolve() / 'prefect'} {binaries}/prefect server start"
    )


def _print_rules(facts: dict[str, Any]) -> None:
    for rule in facts["rules"]:
        typer.echo(
            f"{rule['verdict']:>8}  {rule['action']:<10}  {rule['bad']:>9,} bad  {rule['rule']}: {rule['reason']}"
        )
    counts = ", ".join(f"{facts[k]:,} {k}" for k in ("clean", "quarantined", "excluded"))
    typer.echo(f"{facts['rows']:,} rows = {counts}")


app.command()(backfill)
app.command()(doctor)
app.command()(lineage)
app.command()(reproduce)
app.command()(maintain)
app.command()(up)


if __name__ == "__main__":
    main()
