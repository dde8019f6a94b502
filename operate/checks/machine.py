"""Checks of the machine: free disk, package versions, telemetry, clock."""

import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from operate.checks.finding import CheckBlockedError, CheckContext, Finding, NoRunsYetError
from operate.checks.pins import compare_with_pins
from tasks.library_variables import enabled_telemetry
from tasks.settings import ROOT

GIGABYTE = 10**9
MIN_FREE_BYTES, LOW_FREE_BYTES, LOW_FREE_SHARE = GIGABYTE, 5 * GIGABYTE, 0.10
MIN_FREE_INODES = 10_000
# Packages that a message names.
MAX_NAMES = 10
# Seconds by which two clocks may differ.
MAX_CLOCK_DIFFERENCE = 60


def disk(context: CheckContext) -> Iterator[Finding]:
    """Check free bytes and inodes for the state directory and for temporary files."""
    purposes = {
        existing_parent(context.state_dir): "the state directory",
        Path(tempfile.gettempdir()): "temporary files",
    }
    devices: set[int] = set()
    for folder, purpose in purposes.items():
        if folder.stat().st_dev in devices:
            continue
        devices.add(folder.stat().st_dev)
        usage, inodes = shutil.disk_usage(folder), os.statvfs(folder)
        share = usage.free / usage.total
        message = f"{usage.free / GIGABYTE:.1f} GB free ({share:.0%}) for {purpose} in {folder}"
        fix = f"free some, for example with `steward maintain`, or move {purpose} to a larger disk"
        if inodes.f_files > 0 and inodes.f_favail < MIN_FREE_INODES:
            message = f"room for {inodes.f_favail:,} more files for {purpose} in {folder}"
            yield Finding("disk", "bad", message, fix)
        elif usage.free < MIN_FREE_BYTES:
            yield Finding("disk", "bad", message, fix)
        elif usage.free < LOW_FREE_BYTES or share < LOW_FREE_SHARE:
            yield Finding("disk", "warn", message, fix)
        else:
            yield Finding("disk", "ok", message)


def existing_parent(path: Path) -> Path:
    """Return the path itself, or its nearest parent that exists and is visible to this user."""
    return next(p for p in (path, *path.parents) if os.access(p, os.F_OK))


def versions(context: CheckContext) -> Iterator[Finding]:
    """Compare installed packages with the versions in constraints.txt."""
    compared = compare_with_pins(ROOT / "constraints.txt")
    missing = sorted(name for name in _requirements(ROOT / "pyproject.toml") if not _is_installed(name))
    fix = f"PIP_CONSTRAINT=constraints.txt {sys.executable} -m pip install -e . (in {ROOT})"
    unknown = f"; not named there: {_shortened(compared.unknown)}" if compared.unknown else ""
    if missing:
        yield Finding("versions", "bad", f"not installed: {', '.join(missing)}", fix)
    if compared.different:
        message = f"not as in constraints.txt: {', '.join(compared.different)}{unknown}"
        yield Finding("versions", "warn", message, fix)
    if not missing and not compared.different:
        yield Finding("versions", "ok", f"{len(compared.same)} packages as in constraints.txt{unknown}")


def _shortened(names: tuple[str, ...]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _requirements(project: Path) -> list[str]:
    requirements = tomllib.loads(project.read_text())["project"]["dependencies"]
    return [re.split(r"[^\w.-]", line.strip())[0] for line in requirements]


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def telemetry(context: CheckContext) -> Iterator[Finding]:
    """Check that no environment variable allows a library to send usage data."""
    enabled = enabled_telemetry()
    for name, value in enabled.items():
        message = f"{name}={value} allows a library to send usage data"
        yield Finding("telemetry", "bad", message, f"unset {name}")
    if not enabled:
        yield Finding("telemetry", "ok", "disabled in Prefect, MLflow, Great Expectations and Hugging Face")


def clock(context: CheckContext) -> Iterator[Finding]:
    """Compare this machine's clock with the times recorded here, and with the database server's clock."""
    now = time.time()
    latest, source = max(_recorded_times(context), default=(now, ""))
    fix = (
        "set the clock, for example with `timedatectl set-ntp true`;"
        " records with a future date are in order again after that date"
    )
    if latest - now > MAX_CLOCK_DIFFERENCE:
        yield Finding("clock", "bad", f"{_duration(latest - now)} behind {source}", fix)
    server_time = _database_server_time(context)
    difference = abs(server_time - time.time()) if server_time is not None else 0.0
    if difference > MAX_CLOCK_DIFFERENCE:
        message = f"differs by {_duration(difference)} from the clock of the database server"
        yield Finding("clock", "bad", message, fix)
    if latest - now <= MAX_CLOCK_DIFFERENCE and difference <= MAX_CLOCK_DIFFERENCE:
        server = "" if server_time is None else ", same time as the database server"
        yield Finding("clock", "ok", f"not behind any time recorded here{server}")


def _recorded_times(context: CheckContext) -> Iterator[tuple[float, str]]:
    """Yield times of the last writes (seconds since 1970), each with what was written."""
    from sqlalchemy import text

    from tasks.ledger import Ledger

    folder, file = context.settings.ledger_dir, context.database_file
    for path in sorted(folder.glob("*.jsonl")):
        yield path.stat().st_mtime, f"the file {path.name}"
        for entry in Ledger(folder, path.stem).entries()[-1:]:
            if isinstance(entry, dict) and "at" in entry:
                yield datetime.fromisoformat(entry["at"]).timestamp(), f"the last entry of {path.name}"
    if file and os.access(file, os.F_OK):
        yield file.stat().st_mtime, f"the file {file.name}"
    try:
        with context.open_database() as connection:
            milliseconds = connection.execute(text("SELECT max(start_time) FROM runs")).scalar()
    except (CheckBlockedError, NoRunsYetError):
        return
    if milliseconds:
        yield milliseconds / 1000, "MLflow's last run"


def _database_server_time(context: CheckContext) -> float | None:
    from sqlalchemy import text

    if context.database_file:
        return None
    try:
        with context.open_database() as connection:
            return float(connection.execute(text("SELECT extract(epoch FROM now())")).scalar_one())
    except (CheckBlockedError, NoRunsYetError):
        return None


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds / 60:.0f} minutes"
