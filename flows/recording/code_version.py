"""Identify the running code, by Git commit and by content."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from ml.package import code_digest
from tasks.settings import ROOT

# The folders that the numbers of a run depend on.
FOLDERS = ("ml", "tasks", "flows")


@dataclass(frozen=True)
class CodeVersion:
    """The commit (None outside of a Git checkout), and whether `FOLDERS` had uncommitted changes.

    `digests` has the SHA-256 of all Python files of each folder, which identify the code without Git too.
    """

    commit: str | None
    dirty: bool | None
    digests: dict[str, str]


def current_code(root: Path = ROOT) -> CodeVersion:
    """Return the version of the code in the working tree."""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *FOLDERS) if commit else None
    digests = {folder: code_digest(root / folder) for folder in FOLDERS}
    return CodeVersion(commit, None if changes is None else bool(changes), digests)


def commit_exists(commit: str, root: Path = ROOT) -> bool | None:
    """Return whether the commit can be checked out here; None outside of a Git checkout."""
    if _git(root, "rev-parse", "--git-dir") is None:
        return None
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _git(root: Path, *arguments: str) -> str | None:
    """Run Git without taking locks; None where it fails or is not installed."""
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
