"""`steward backfill`: run a use case for each past time of its schedule that has no finished run."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import typer

from operate.console import ROOT, case_module, console_logging, exit_code, print_message
from operate.killed_runs import end_killed_runs, recorded_command


@dataclass(frozen=True)
class BackfillRequest:
    """Scheduled times from `start` to `end` (UTC, inclusive); `cron` None is the schedule of the deployment."""

    case: str
    data: str
    start: datetime
    end: datetime
    cron: str | None = None


def run_backfill(request: BackfillRequest, dry_run: bool, as_json: bool) -> int:
    """Run each scheduled time that has no finished run, without rows from after it; return the first failure's code.

    Prints one line per scheduled time. Raises UsageError, also if another backfill of this champion is running.
    """
    # First of all: Prefect, which logs the same lines to its own console, reads the level of that once.
    with console_logging(progress=True):
        return _run_times(request, dry_run, as_json)


def _run_times(request: BackfillRequest, dry_run: bool, as_json: bool) -> int:
    from filelock import FileLock, Timeout

    from flows.pipeline import check_before_run
    from flows.use_case import RunParameters
    from ml.errors import UsageError
    from tasks.settings import load
    from tasks.tracking import connection, run_history

    settings, start, end = load(), request.start, request.end
    module = case_module(request.case)
    flow = getattr(module, request.case.replace("-", "_"))
    if end < start:
        raise UsageError("--to at or after --from", f"{end:%Y-%m-%d} before {start:%Y-%m-%d}", "swap them")
    dataset = check_before_run(module.CASE, RunParameters(request.data, as_of=start), settings)
    times = _scheduled_times(request)
    lock = FileLock(settings.state_dir.resolve() / f"backfill-{dataset.contract.name}.lock")
    try:
        acquired = lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            "no other backfill of this champion", "one that is running", "wait until it ends"
        ) from None
    codes = []
    recorded = nullcontext() if dry_run else recorded_command("backfill")
    with acquired, recorded:
        if not dry_run:
            end_killed_runs()
        finished = run_history.finished_intervals(connection.connect(settings), request.case, dataset.data)
        for time in times:
            interval = time.isoformat(timespec="seconds")
            if interval in finished:
                verdict = "already done"
            elif dry_run:
                verdict = "would run"
            else:
                verdict, code = _run(flow, request.data, time)
                codes.append(code)
            result = {"case": request.case, "data": dataset.data, "interval": interval, "verdict": verdict}
            typer.echo(json.dumps(result) if as_json else f"{interval}  {verdict}")
    if not times:
        print_message(f"no scheduled time between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC")
    return next((code for code in codes if code), 0)


def _run(flow: Callable[..., Any], data: str, time: datetime) -> tuple[str, int]:
    """Return verdict and exit code of one run; a gate that stops it does not stop the backfill."""
    from ml.errors import StewardError

    try:
        return flow(data=data, as_of=time).verdict, 0
    except StewardError as error:
        print_message(f"{time:%Y-%m-%d %H:%M}: {error}")
        return "refused", exit_code(error)


def _scheduled_times(request: BackfillRequest) -> list[datetime]:
    """Return the times of the schedule in the interval, in UTC. Raises UsageError."""
    import asyncio

    from prefect.server.schemas.schedules import CronSchedule

    from flows.recording.environment import as_utc
    from ml.errors import UsageError

    cron = request.cron
    schedule = {"cron": cron, "timezone": "UTC"} if cron else _deployed_schedule(request.case)
    first, last = as_utc(request.start), as_utc(request.end)
    try:
        clock = CronSchedule.model_validate(schedule)
    except ValueError:
        raise UsageError(
            "a cron expression of five fields", repr(schedule["cron"]), "correct --cron"
        ) from None
    dates = asyncio.run(clock.get_dates(start=first, end=last))
    return sorted({date.astimezone(UTC) for date in dates if first <= date <= last})


def _deployed_schedule(case: str) -> dict[str, Any]:
    """Read cron expression and time zone of the training deployment."""
    import yaml

    from ml.errors import UsageError

    path = ROOT / "prefect.yaml"
    project = yaml.safe_load(path.read_text()) if path.is_file() else {"deployments": []}
    for deployment in project["deployments"]:
        for schedule in deployment.get("schedules") or []:
            if deployment["name"] == case and "cron" in schedule:
                return {"cron": schedule["cron"], "timezone": schedule.get("timezone", "UTC")}
    raise UsageError(f"a schedule of {case} in {path.name}", "none", "give one with --cron '0 3 * * 1'")
