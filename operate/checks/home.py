"""The home and the other folders of the settings."""

import os
from collections.abc import Iterator

from operate.checks.finding import Finding, Look
from operate.checks.machine import standing

# What runs write in the home.
PARTS = ("mlflow.db", "mlflow.lock", "artifacts", "store", "ledger", "running", "prefect", "cache")


def home(look: Look) -> Iterator[Finding]:
    """Whether runs can write where they remember. RunParameters of the system: nothing is tried."""
    fix = "set STEWARD_HOME to a folder that this user can write"
    above = standing(look.home)
    if not above.is_dir():
        yield Finding("home", "bad", f"{above} is no folder", fix)
        return
    if above != look.home:
        if _writable(above):
            yield Finding("home", "warn", f"{look.home} is not there yet", "the first run makes it: make run")
        else:
            yield Finding("home", "bad", f"{look.home} is not to be seen, and {above} cannot be written", fix)
        return
    parts = [part for name in PARTS if os.access(part := look.home / name, os.F_OK)]
    closed = (
        [str(part) for part in parts if not _writable(part)] if _writable(look.home) else [str(look.home)]
    )
    if closed:
        owner = f"; or give it to this user: chown -R {os.geteuid()} {look.home}"
        yield Finding("home", "bad", f"cannot be written: {', '.join(closed)}", fix + owner)
    else:
        yield Finding("home", "ok", f"{look.home} can be written")


def _writable(path: "os.PathLike[str]") -> bool:
    return os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0))  # noqa: PTH112


def folders(look: Look) -> Iterator[Finding]:
    """The other folders that settings name."""
    named = {"STEWARD_DATA_DIR": look.settings.data_dir, "STEWARD_CONTRACTS": look.settings.contracts}
    for variable, folder in named.items():
        if folder is None:
            yield Finding("folders", "ok", f"{variable} is not set: simulated data and files by path only")
        elif folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
            yield Finding("folders", "ok", f"{variable}: {folder} can be read")
        else:
            yield Finding(
                "folders", "bad", f"{variable}: {folder} is no folder that can be read", f"correct {variable}"
            )
