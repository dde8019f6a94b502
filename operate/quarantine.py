"""`steward quarantine`: list batches with rows in quarantine, show or export the rows, and put repaired ones back."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from operate.console import EXIT_DATA_GATE, CaseArgument, ModelDataOption, console_logging, require_case

if TYPE_CHECKING:
    from flows.quarantine import QuarantinedBatch
    from tasks.repaired_rows import Release


def quarantine(
    case: CaseArgument,
    data: ModelDataOption = "simulated",
    run: Annotated[
        str | None,
        typer.Option(help="The batch of this run, by the begin of its id. Default: the newest batch."),
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Print this many rows, with their cells.")] = 0,
    export: Annotated[
        Path | None, typer.Option(help="Write the rows, with their cells, to this .csv or .parquet file.")
    ] = None,
    release: Annotated[
        Path | None,
        typer.Option(
            help="Put the repaired rows of this exported file into their batch, where they pass the rules."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --release, the .parquet file for the whole batch; a folder, with `source_column`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")] = False,
) -> None:
    """List batches with rows in quarantine, by rule; show the rows on request; put repaired ones back.

    Exit code 3: none of the repaired rows passes the rules.
    """
    from ml.errors import UsageError

    if (release is None) != (out is None):
        raise UsageError("--release FILE and --out FILE.parquet together", "one of them", "give both")
    with console_logging():
        require_case(case)
        from flows import quarantine as flow

        if not (rows or export or release):
            _print_batches(flow.quarantined_batches(case, data), as_json)
            return
        batch = flow.find_batch(case, data, run)
        if release and out:
            released, files = flow.release(batch, release, out)
            _print_release(released, batch, files, as_json)
            raise typer.Exit(0 if released.released else EXIT_DATA_GATE)
        found = flow.rows_in_quarantine(batch)
        if export:
            flow.write_table(found, export)
    shown = found.head(rows)
    if as_json:
        facts = {"run": batch.run_id, "quarantined": len(found), "file": str(export) if export else None}
        cells = json.loads(shown.to_json(orient="records", date_format="iso"))
        typer.echo(json.dumps({**facts, "rows": cells}))
        return
    if rows:
        typer.echo(shown.to_string(index=False))
    if export:
        typer.echo(
            f"{len(found):,} rows: {export}\n    repair their cells, then: steward quarantine {case} --data {data}"
            f" --run {batch.run_id[:8]} --release {export} --out repaired.parquet"
        )


def _print_batches(batches: "list[QuarantinedBatch]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(batch) for batch in batches]))
        return
    for batch in batches:
        share = batch.quarantined / max(batch.rows, 1)
        typer.echo(
            f"{batch.run_id[:8]}  {batch.started}  {batch.verdict}: {batch.quarantined:,} of {batch.rows:,} rows"
            f" ({share:.2%})"
        )
        for rule in batch.rules:
            typer.echo(f"    {rule['violations']:>8,}  {rule['rule']}: {rule['reason']}")
        for difference in batch.differences:
            typer.echo(f"           !  {difference}")


def _print_release(
    released: "Release", batch: "QuarantinedBatch", files: tuple[Path, ...], as_json: bool
) -> None:
    still = sum(released.remaining.values())
    if as_json:
        written = list(map(str, files))
        facts = {"released": released.released, "remaining": released.remaining, "files": written}
        typer.echo(json.dumps({"run": batch.run_id, **facts}))
        return
    typer.echo(f"{released.released:,} repaired rows pass the rules; {still:,} violations remain")
    for rule, count in released.remaining.items():
        typer.echo(f"    {count:,} by {rule}")
    if files:
        name = batch.contract_file or batch.contract.partition(".")[2]
        given = " ".join(f"--data {file}" for file in files)
        typer.echo(f"    steward run {batch.case} {given} --contract {name}")
