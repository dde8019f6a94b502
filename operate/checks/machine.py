"""The machine: free disk, versions, telemetry, clock."""

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

from operate.checks.finding import BlockedError, Finding, Look, NothingYetError
from tasks.settings import ROOT, reporting

GIGABYTE = 10**9
WARN, BAD, WARN_SHARE = 5 * GIGABYTE, GIGABYTE, 0.10
FEWEST_FILES = 10_000
# Seconds that two clocks may differ.
TOLERANCE = 60


def disk(look: Look) -> Iterator[Finding]:
    """Room for what runs write: in the home, and where temporary files go."""
    places = {standing(look.home): "the home", Path(tempfile.gettempdir()): "temporary files"}
    seen: set[int] = set()
    for place, what in places.items():
        if place.stat().st_dev in seen:
            continue
        seen.add(place.stat().st_dev)
        usage, files = shutil.disk_usage(place), os.statvfs(place)
        share = usage.free / usage.total
        found = f"{usage.free / GIGABYTE:.1f} GB free ({share:.0%}) for {what} in {place}"
        fix = f"free some, as with `steward maintain`, or move {what} to a larger disk"
        if files.f_files > 0 and files.f_favail < FEWEST_FILES:
            yield Finding("disk", "bad", f"room for {files.f_favail:,} more files for {what} in {place}", fix)
        elif usage.free < BAD:
            yield Finding("disk", "bad", found, fix)
        elif usage.free < WARN or share < WARN_SHARE:
            yield Finding("disk", "warn", found, fix)
        else:
            yield Finding("disk", "ok", found)


def standing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there and that this user may know of."""
    return next(p for p in (path, *path.parents) if os.access(p, os.F_OK))


def versions(look: Look) -> Iterator[Finding]:
    """The packages that are installed, against those that this project was tested with."""
    pinned, direct = _pinned(ROOT / "constraints.txt"), _direct(ROOT / "pyproject.toml")
    installed = {name: _installed(name) for name in pinned}
    missing = sorted(name for name in direct if not _installed(name))
    other = [f"{n} {v} instead of {pinned[n]}" for n, v in sorted(installed.items()) if v and v != pinned[n]]
    fix = f"PIP_CONSTRAINT=constraints.txt {sys.executable} -m pip install -e . (in {ROOT})"
    if missing:
        yield Finding("versions", "bad", f"not installed: {', '.join(missing)}", fix)
    if other:
        yield Finding("versions", "warn", f"not as in constraints.txt: {', '.join(other)}", fix)
    if not missing and not other:
        known = sum(1 for v in installed.values() if v)
        yield Finding("versions", "ok", f"{known} packages as in constraints.txt")


def _pinned(constraints: Path) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in constraints.read_text().splitlines())
    return {name: number for name, _, number in (line.partition("==") for line in lines if line)}


def _direct(project: Path) -> list[str]:
    wanted = tomllib.loads(project.read_text())["project"]["dependencies"]
    return [re.split(r"[^\w.-]", line.strip())[0] for line in wanted]


def _installed(name: str) -> str | None:
    try:
        # A local label, as in 2.13.0+cpu, tells how the same release was built.
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def telemetry(look: Look) -> Iterator[Finding]:
    """Whether a variable lets a library report to its makers."""
    on = reporting()
    for name, value in on.items():
        yield Finding(
            "telemetry", "bad", f"{name}={value} lets a library report to its makers", f"unset {name}"
        )
    if not on:
        yield Finding("telemetry", "ok", "off in Prefect, MLflow, Great Expectations and Hugging Face")


def clock(look: Look) -> Iterator[Finding]:
    """This machine's clock against its own past, and against the database server's."""
    now = time.time()
    past = list(_past(look))
    latest, what = max(past, default=(now, ""))
    fix = "set the clock, as with `timedatectl set-ntp true`; then what is dated too late is in order again in time"
    if latest - now > TOLERANCE:
        yield Finding("clock", "bad", f"{_apart(latest - now)} behind {what}", fix)
    server = _database_time(look)
    apart = abs(server - time.time()) if server is not None else 0.0
    if apart > TOLERANCE:
        yield Finding("clock", "bad", f"{_apart(apart)} away from the clock of the database's server", fix)
    if latest - now <= TOLERANCE and apart <= TOLERANCE:
        with_server = "" if server is None else ", and as the database's server"
        yield Finding("clock", "ok", f"not behind anything written here{with_server}")


def _past(look: Look) -> Iterator[tuple[float, str]]:
    """When something was last written here (seconds since 1970), and what."""
    from sqlalchemy import text

    from tasks.ledger import Ledger

    for path in sorted(look.settings.ledger.glob("*.jsonl")):
        yield path.stat().st_mtime, f"the file {path.name}"
        for line in Ledger(look.settings.ledger, path.stem).entries()[-1:]:
            if isinstance(line, dict) and "at" in line:
                yield datetime.fromisoformat(line["at"]).timestamp(), f"the last line of {path.name}"
    if look.file and os.access(look.file, os.F_OK):
        yield look.file.stat().st_mtime, f"the file {look.file.name}"
    try:
        with look.reading() as connection:
            begun = connection.execute(text("SELECT max(start_time) FROM runs")).scalar()
    except (BlockedError, NothingYetError):
        return
    if begun:
        yield begun / 1000, "MLflow's last run"


def _database_time(look: Look) -> float | None:
    from sqlalchemy import text

    if look.file:
        return None
    try:
        with look.reading() as connection:
            return float(connection.execute(text("SELECT extract(epoch FROM now())")).scalar_one())
    except (BlockedError, NothingYetError):
        return None


def _apart(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds / 60:.0f} minutes"
