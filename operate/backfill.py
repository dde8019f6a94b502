"""`steward backfill`: catch up with a schedule that was missed, one run for each of its instants."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from operate.console import ROOT, CaseName, exit_code, flow_module, quiet, say


def backfill(
    case: CaseName,
    since: Annotated[datetime, typer.Option("--from", help="The first instant that may be caught up, UTC.")],
    until: Annotated[datetime, typer.Option("--to", help="The last one, UTC.")],
    data: Annotated[str, typer.Option(help="The data set.")] = "simulated",
    cron: Annotated[str | None, typer.Option(help="The schedule; by default the deployment's own.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per interval on stdout.")] = False,
) -> None:
    """Run a use case for each instant of its schedule that has no finished run yet; rows from after it are left out."""
    from filelock import FileLock, Timeout

    from flows.pipeline import preflight
    from flows.use_case import RunParameters
    from ml.errors import UsageError
    from tasks import settings
    from tasks.tracking import connection, run_history

    known = settings.load()
    module = flow_module(case)
    flow = getattr(module, case.replace("-", "_"))
    if until < since:
        raise UsageError("--to at or after --from", f"{until:%Y-%m-%d} before {since:%Y-%m-%d}", "swap them")
    located = preflight(module.CASE, RunParameters(data, as_of=since), known)
    instants = _instants(case, cron, since, until)
    lock = FileLock(known.home.resolve() / f"backfill-{located.contract.name}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            "no other backfill of this champion", "one that is at work", "wait for it to end"
        ) from None
    with quiet(), held:
        done = run_history.intervals(connection.connect(known), case, located.data)
        codes = []
        for instant in instants:
            when = instant.isoformat(timespec="seconds")
            line: dict[str, Any] = {"case": case, "data": located.data, "interval": when}
            if when in done:
                line["verdict"] = "done before"
            elif dry_run:
                line["verdict"] = "would run"
            else:
                verdict, code = _run(flow, data, instant)
                line["verdict"] = verdict
                codes.append(code)
            typer.echo(json.dumps(line) if as_json else f"{when}  {line['verdict']}")
    if not instants:
        say(f"the schedule has no instant between {since:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M} UTC")
    raise typer.Exit(next((code for code in codes if code), 0))


def _run(flow: Callable[..., Any], data: str, instant: datetime) -> tuple[str, int]:
    """The verdict on one interval, and the exit code that it means; the others still get their turn."""
    from ml.errors import StewardError

    try:
        return flow(data=data, as_of=instant).verdict, 0
    except StewardError as refusal:
        say(f"{instant:%Y-%m-%d %H:%M}: {refusal}")
        return "refused", exit_code(refusal)


def _instants(case: str, cron: str | None, since: datetime, until: datetime) -> list[datetime]:
    """The schedule's instants in the interval, both ends included, UTC.

    Raises UsageError where there is no schedule, or none that can be read.
    """
    import asyncio

    from prefect.server.schemas.schedules import CronSchedule

    from flows.recording.environment import as_utc
    from ml.errors import UsageError

    schedule = {"cron": cron, "timezone": "UTC"} if cron else _deployed(case)
    first, last = as_utc(since), as_utc(until)
    try:
        clock = CronSchedule.model_validate(schedule)
    except ValueError:
        raise UsageError(
            "a cron expression of five fields", repr(schedule["cron"]), "correct --cron"
        ) from None
    dates = asyncio.run(clock.get_dates(start=first, end=last))
    return sorted({date.astimezone(UTC) for date in dates if first <= date <= last})


def _deployed(case: str) -> dict[str, Any]:
    """Cron and time zone of the case's training deployment."""
    import yaml

    from ml.errors import UsageError

    path = ROOT / "prefect.yaml"
    known = yaml.safe_load(path.read_text()) if path.is_file() else {"deployments": []}
    for deployment in known["deployments"]:
        for schedule in deployment.get("schedules") or []:
            if deployment["name"] == case and "cron" in schedule:
                return {"cron": schedule["cron"], "timezone": schedule.get("timezone", "UTC")}
    raise UsageError(f"a schedule of {case} in {path.name}", "none", "give one with --cron '0 3 * * 1'")
