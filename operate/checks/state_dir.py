"""Checks of the state directory and of the other folders in the settings."""

import os
from collections.abc import Iterator

from operate.checks.finding import CheckContext, Finding, NoRunsYetError
from operate.checks.machine import existing_parent
from tasks.private_folder import STATE_NAMES, excess_mode, restrict


def state_dir(context: CheckContext) -> Iterator[Finding]:
    """Check with `os.access` that the state directory is writable; nothing is written."""
    folder, fix = context.state_dir, "set STEWARD_HOME to a writable folder"
    parent = existing_parent(folder)
    if not parent.is_dir():
        yield Finding("state_dir", "bad", f"{parent} is not a folder", fix)
        return
    if parent != folder:
        if _is_writable(parent):
            message, fix = f"{folder} does not exist yet", "the first run creates it: make run"
            yield Finding("state_dir", "warn", message, fix)
        else:
            message = f"{folder} cannot be accessed, and {parent} is not writable"
            yield Finding("state_dir", "bad", message, fix)
        return
    paths = [folder]
    if _is_writable(folder):
        paths = [path for name in STATE_NAMES if os.access(path := folder / name, os.F_OK)]
    read_only = [str(path) for path in paths if not _is_writable(path)]
    if read_only:
        fix += f"; or make this user its owner: chown -R {os.geteuid()} {folder}"
        yield Finding("state_dir", "bad", f"not writable: {', '.join(read_only)}", fix)
    else:
        yield Finding("state_dir", "ok", f"{folder} is writable")


def _is_writable(path: "os.PathLike[str]") -> bool:
    return os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0))  # noqa: PTH112


def permissions(context: CheckContext) -> Iterator[Finding]:
    """Check that other users cannot read the state directory, which holds tables of people."""
    folder, shared = context.state_dir, context.settings.shared_home
    if not folder.is_dir():
        raise NoRunsYetError
    who = "its owner and its group" if shared else "its owner"
    if excess_mode(folder, shared):
        message = f"others than {who} can use {folder} (mode {folder.stat().st_mode & 0o777:04o})"
        fix = "steward doctor --fix" + (
            "" if shared else ", or STEWARD_SHARED_HOME=true for a group that shares it"
        )
        yield Finding("permissions", "warn", message, fix)
    else:
        yield Finding("permissions", "ok", f"only {who} can use {folder}")


def fix_permissions(context: CheckContext) -> Iterator[str]:
    """Take away what others may do with the state directory; only its owner can."""
    if restrict(context.state_dir, context.settings.shared_home):
        yield f"{context.state_dir} is closed for others"


def folders(context: CheckContext) -> Iterator[Finding]:
    """Check that the folders of data and contracts are readable."""
    settings = context.settings
    variables = {"STEWARD_DATA_DIR": settings.data_dir, "STEWARD_CONTRACTS": settings.contracts}
    for variable, folder in variables.items():
        if folder is None:
            message = f"{variable} is not set: only simulated data, and files given by path"
            yield Finding("folders", "ok", message)
        elif folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
            yield Finding("folders", "ok", f"{variable}: {folder} is readable")
        else:
            message = f"{variable}: {folder} is not a readable folder"
            yield Finding("folders", "bad", message, f"correct {variable}")
