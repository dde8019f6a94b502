"""The checkout: which code runs here, by commit and by content."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from ml.package import code_digest
from tasks.settings import ROOT

# The folders that a run's numbers hang on.
FOLDERS = ("ml", "tasks", "flows")


@dataclass(frozen=True)
class Code:
    """`commit` is None outside of a Git checkout; `dirty` is whether `FOLDERS` held other code than the commit's.

    `digests` has the SHA-256 of all Python files of each folder: it tells the code where no commit does.
    """

    commit: str | None
    dirty: bool | None
    digests: dict[str, str]


def code(root: Path = ROOT) -> Code:
    """The code as it lies there now."""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *FOLDERS) if commit else None
    digests = {folder: code_digest(root / folder) for folder in FOLDERS}
    return Code(commit, None if changes is None else bool(changes), digests)


def knows(commit: str, root: Path = ROOT) -> bool | None:
    """Whether the commit can still be checked out here; None outside of a Git checkout."""
    if _git(root, "rev-parse", "--git-dir") is None:
        return None
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _git(root: Path, *arguments: str) -> str | None:
    """What Git says; None where it says no, or is not there. Takes no lock, so that it disturbs nobody."""
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
