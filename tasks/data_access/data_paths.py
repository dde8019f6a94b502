"""Find the files that `--data` names: files, folders of parts, and wildcards; nothing is read."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ml.errors import ContractError, UsageError
from tasks.data_access.extracts import is_extract
from tasks.formats.file_names import ENDINGS, plain_name

MAX_FILES = 10_000
# Beginnings of names that programs give to files beside the parts, such as `_SUCCESS` and `.part-0.crc`.
BESIDE_PARTS = (".", "_")
Data = str | Sequence[str]


def is_file(data: Data) -> bool:
    """Return whether `data` are paths of files or folders, not the name of a dataset."""
    if not isinstance(data, str):
        return True
    return Path(data).suffix.lower() in ENDINGS or "/" in data or data == "~" or glob.has_magic(data)


def find_files(data: Data) -> tuple[Path, ...]:
    """Return the files in their order: as they are given, those of a folder or wildcard by their names.

    Raises UsageError where one is missing, given twice or cannot be listed, and ContractError for a link that leads out
    of a folder.
    """
    names = [data] if isinstance(data, str) else list(data)
    files = [file for name in names for file in _find(name)]
    if len(files) > MAX_FILES:
        raise UsageError(f"at most {MAX_FILES:,} files", f"{len(files):,}", "put their rows into fewer files")
    if not files:
        raise UsageError("a file with --data", "none", "give the path of a file that can be read")
    if repeated := [str(file) for file, count in Counter(files).items() if count > 1]:
        raise UsageError("each file once", f"{repeated[0]} twice", "give it once")
    return tuple(files)


def data_name(data: Data, default: str) -> str:
    """Return the name of the data for people: that of the one file or folder, else `default`."""
    if isinstance(data, str) and not (glob.has_magic(data) or "://" in data or is_extract(Path(data))):
        return plain_name(Path(data).name) or default
    return default


def file_labels(files: Sequence[Path]) -> tuple[str, ...]:
    """Return a short name of each file: its own, with its folders as far as files have equal names."""
    labels = [file.name for file in files]
    depth = 1
    while len(set(labels)) < len(labels) and depth < max(len(file.parts) for file in files):
        depth += 1
        labels = ["/".join(file.parts[-depth:]) for file in files]
    return tuple(labels)


def source_names(files: Sequence[Path]) -> tuple[str, ...]:
    """Return what `meta.read.source_column` gets for each file: its name without ending.

    Files that differ in their endings or folders only keep these: `adult.data` and `adult.test`.
    """
    names = [plain_name(file.name) for file in files]
    counts = Counter(names)
    labels = file_labels(files)
    return tuple(n if counts[n] == 1 else label for n, label in zip(names, labels, strict=True))


def _find(name: str) -> list[Path]:
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise UsageError(f"a file {name}", "no such user", "give the path of a file") from None
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            return _parts(path)
    except PermissionError:
        raise _unreadable(path) from None
    if glob.has_magic(name):
        return _matches(str(path))
    raise UsageError(f"a file {path}", "none", "give the path of a file that can be read")


def _parts(folder: Path) -> list[Path]:
    """Return the data files of a folder, which are of one format."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        raise _unreadable(folder) from None
    entries = [entry for entry in entries if not entry.name.startswith(BESIDE_PARTS)]
    if folders := [entry.name for entry in entries if entry.is_dir()]:
        raise UsageError(
            f"only files in {folder}",
            f"{len(folders)} folders",
            f"name the files of all folders by a wildcard, such as '{folder}/*/*.parquet'",
        )
    files = [Path(entry.path) for entry in entries if Path(entry.name).suffix.lower() in ENDINGS]
    endings = sorted({file.suffix.lower() for file in files})
    if len(endings) > 1:
        raise UsageError(
            f"files of one format in {folder}",
            ", ".join(endings),
            f"name those of one format by a wildcard, such as '{folder}/*{endings[0]}'",
        )
    if not files:
        raise UsageError(
            f"data files in {folder}", "none", f"put files there that end in {', '.join(ENDINGS)}"
        )
    return _inside(folder, files)


def _matches(pattern: str) -> list[Path]:
    # The folders before the first wildcard.
    fixed = Path(pattern[: min(pattern.index(sign) for sign in "*?[" if sign in pattern)] + "x").parent
    files = sorted(file for file in fixed.glob(os.path.relpath(pattern, fixed)) if file.is_file())
    if not files:
        raise UsageError(f"files that match {pattern}", "none", "correct the wildcard")
    return _inside(fixed, files)


def _inside(folder: Path, files: list[Path]) -> list[Path]:
    root = folder.resolve()
    if any(not file.resolve().is_relative_to(root) for file in files):
        raise ContractError(
            f"only files inside {folder}",
            "a link that leads out of it",
            "copy the file there, or name it itself",
        )
    return files


def _unreadable(path: Path) -> UsageError:
    return UsageError(
        f"a file or folder {path} that can be read", "no permission", "change its mode or owner"
    )
