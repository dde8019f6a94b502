"""The folder of a registered model: listed file by file when it is registered, and verified before it is used.

`file_digests.json` inside the folder has the SHA-256 and the size of every other file; the ledger has the SHA-256 of
that list. A model is loaded from a private copy that has nothing but verified files, so that neither a file that
somebody added, nor bytecode, nor a change between verification and loading has an effect.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ml.errors import PackagingError
from tasks.storage.regular_files import open_regular, read_regular

FILE_LIST, FILE_LIST_FORMAT = "file_digests.json", 1
# The folder of our package inside `data/`.
PACKAGE_FOLDER = "package"
PACKAGE_PATH, CODE_PATH = f"data/{PACKAGE_FOLDER}", "code/ml"
MLMODEL, MLMODEL_FLAVOR = "MLmodel", "python_function"
LOADER = {"loader_module": "ml.package", "code": "code", "data": PACKAGE_PATH}
# Keys of the flavor that run no code besides `LOADER`.
FLAVOR_KEYS = {*LOADER, "env", "python_version", "streamable"}
# Files that MLflow writes beside ours. They describe environment and examples; none is needed to predict.
DESCRIPTIONS = {
    "conda.yaml",
    "python_env.yaml",
    "requirements.txt",
    "input_example.json",
    "serving_input_example.json",
}
# Python and MLflow write these into the folder when somebody loads the model there. They are never copied.
BYTECODE_FOLDER, DOWNLOAD_NOTE = "__pycache__", "registered_model_meta"
MAX_LIST_BYTES, MAX_MLMODEL_BYTES, MAX_FILES = 2**24, 2**23, 10_000
CHUNK_BYTES = 2**20
RESTORE = "restore the model's artifacts"


@dataclass(frozen=True)
class ModelDigests:
    """Recorded digests of a registered version: of its package, and of the list of all its files.

    `file_list` is empty for a version that an earlier release registered: only its package and its code can be verified
    by digest, and only these are used.
    """

    package: str
    file_list: str = ""


def write_file_list(folder: Path) -> str:
    """List all files of a new model folder with their digests; return the digest of the list."""
    files = {}
    for name in _file_names(folder):
        data = (folder / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    content = json.dumps({"format": FILE_LIST_FORMAT, "files": files}, indent=1, sort_keys=True).encode()
    (folder / FILE_LIST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def copy_verified(source: Path, target: Path, digests: ModelDigests) -> None:
    """Copy the files of a model into an empty private folder, and verify the copy by the recorded digests.

    Nothing of the model is imported, and MLflow does not read it. Raises PackagingError.
    """
    names = _file_names(source)
    if digests.file_list:
        _copy_listed(source, target, names, digests.file_list)
    else:
        check_names(names)
        _check_mlmodel(source / MLMODEL)
        _copy_files(source, target, {name: None for name in names if name not in DESCRIPTIONS})
    check_structure(target)


def check_structure(folder: Path) -> None:
    """Raise PackagingError unless a folder has only what Steward packages, and MLflow would load it with our loader."""
    check_names(_file_names(folder))
    _check_mlmodel(folder / MLMODEL)


def check_names(names: list[str]) -> None:
    """Raise PackagingError for a file that Steward does not package, or for a missing MLmodel."""
    unknown = [name for name in names if not _is_packaged(name)]
    if unknown:
        raise PackagingError("only files that Steward packages", f"unknown: {_shown(unknown)}", RESTORE)
    if MLMODEL not in names:
        raise PackagingError(f"a model with {MLMODEL}", "none", RESTORE)


def _is_packaged(name: str) -> bool:
    path = PurePosixPath(name)
    if path.is_relative_to(CODE_PATH):
        return path.suffix == ".py"
    return path.is_relative_to(PACKAGE_PATH) or name in {MLMODEL, FILE_LIST, *DESCRIPTIONS}


def _file_names(folder: Path) -> list[str]:
    """List the files of a folder and its sub-folders, without bytecode. Raises PackagingError for any other kind."""
    names: list[str] = []
    pending = [""]
    while pending:
        inside = pending.pop()
        for entry in _entries(folder / inside):
            name = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                pending += [f"{name}/"] if entry.name != BYTECODE_FOLDER else []
            elif not entry.is_file(follow_symlinks=False):
                kind = "a symbolic link" if entry.is_symlink() else "a special file"
                raise PackagingError(
                    "only files and folders in a model", f"{kind}: {_shown([name])}", RESTORE
                )
            elif name != DOWNLOAD_NOTE:
                names.append(name)
        if len(names) + len(pending) > MAX_FILES:
            raise PackagingError(f"at most {MAX_FILES:,} files in a model", "more", RESTORE)
    return sorted(names)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise PackagingError(
            "a folder of a model that can be read", error.strerror or type(error).__name__, RESTORE
        ) from None


def _copy_listed(source: Path, target: Path, names: list[str], list_digest: str) -> None:
    """Copy exactly the files of the list that has this digest."""
    content = _read(source, FILE_LIST, MAX_LIST_BYTES) if FILE_LIST in names else b""
    if hashlib.sha256(content).hexdigest() != list_digest:
        got = "another list" if content else f"no {FILE_LIST}"
        raise PackagingError(f"the list of files {list_digest[:12]} that was registered", got, RESTORE)
    files: Mapping[str, Any] = json.loads(content)["files"]
    present = set(names) - {FILE_LIST}
    differences = {"missing": files.keys() - present, "unknown": present - files.keys()}
    got = "; ".join(f"{kind}: {_shown(sorted(found))}" for kind, found in differences.items() if found)
    if got:
        raise PackagingError("exactly the files that were registered", got, RESTORE)
    _copy_files(source, target, files)
    (target / FILE_LIST).write_bytes(content)


def _copy_files(source: Path, target: Path, files: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Copy files, and compare those that have a digest while they are copied."""
    try:
        sizes = {name: (source / name).lstat().st_size for name in files}
        for name, expected in files.items():
            if expected is not None and expected["size"] != sizes[name]:
                raise _changed(name)
        if sum(sizes.values()) > shutil.disk_usage(target).free:
            needed = f"{sum(sizes.values()):,} bytes to copy"
            raise PackagingError(f"space for a copy of the model in {target.parent}", needed, "set TMPDIR")
        for name, expected in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            sha256 = _copy(source / name, target / name, sizes[name])
            if expected is not None and sha256 != expected["sha256"]:
                raise _changed(name)
    except OSError as error:
        raise PackagingError(
            "files of a model that can be copied", error.strerror or type(error).__name__, RESTORE
        ) from None


def _changed(name: str) -> PackagingError:
    return PackagingError(f"{_shown([name])} as it was registered", "a changed file", RESTORE)


def _copy(source: Path, target: Path, size: int) -> str:
    """Copy a regular file, little more than `size` bytes of it; return their SHA-256."""
    digest, copied = hashlib.sha256(), 0
    with open_regular(source) as reader, target.open("xb") as writer:
        while copied <= size and (chunk := reader.read(CHUNK_BYTES)):
            digest.update(chunk)
            copied += writer.write(chunk)
    return digest.hexdigest()


def _check_mlmodel(path: Path) -> None:
    """Raise PackagingError unless MLflow would load the model with `ml.package` and no other code."""
    import yaml

    data = _read(path.parent, path.name, MAX_MLMODEL_BYTES)
    try:
        # Without aliases: a few of them can stand for any number of values.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(data)):
            raise ValueError("aliases")
        flavors = {**yaml.safe_load(data)["flavors"]}
        flavor = {**flavors[MLMODEL_FLAVOR]}
    except Exception as error:
        raise PackagingError(
            f"a readable {MLMODEL}", f"{type(error).__name__} while reading it", RESTORE
        ) from None
    if set(flavors) != {MLMODEL_FLAVOR} or not flavor.keys() <= FLAVOR_KEYS or flavor.get("streamable"):
        raise PackagingError(f"only our loader in {MLMODEL}", "other flavors or options", RESTORE)
    if different := [key for key, value in LOADER.items() if flavor.get(key) != value]:
        raise PackagingError(
            f"our loader in {MLMODEL}", f"another value of {', '.join(different)}", "do not load this model"
        )


def _read(folder: Path, name: str, max_bytes: int) -> bytes:
    try:
        return read_regular(folder / name, max_bytes)
    except (OSError, ValueError) as error:
        raise PackagingError(f"a readable {name}", type(error).__name__, RESTORE) from None


def _shown(names: list[str]) -> str:
    """Show a few names; characters that a terminal would act on are escaped."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(ascii(name) for name in names[:3]) + rest
