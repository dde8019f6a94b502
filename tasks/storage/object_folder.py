"""One object of the content store: a folder of tables and files, verified against its manifest on every read.

The name of the folder is the digest of the manifest, and the manifest has the digests of everything else. What is
parsed are the bytes that were verified: a file is read once, compared, and never opened again.

Keys of the manifest: `digest` (of `tables` and `files`), `tables` (digests of the contents of tables, in whatever
format they are stored), `files` (SHA-256), `facts` (JSON) and `stored_files`, the SHA-256 and the size of every file in
the folder. Objects of earlier releases lack `stored_files`; their tables are verified by content.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pandas as pd
import pyarrow.parquet as pq

from ml.data.digest import json_digest, table_digest
from ml.errors import StoredResultError
from tasks.storage.regular_files import file_sha256, read_regular

MANIFEST_FILE = "manifest.json"
# Far above what any stage writes: a damaged file of any size must not fill the memory.
MAX_MANIFEST_BYTES, MAX_FILE_BYTES = 2**26, 2**36


class StoredFile(TypedDict):
    """The SHA-256 and the size in bytes of one file."""

    sha256: str
    size: int


class Manifest(TypedDict):
    """The content of `manifest.json`."""

    digest: str
    tables: dict[str, str]
    files: dict[str, str]
    facts: dict[str, Any]
    stored_files: NotRequired[dict[str, StoredFile]]


def write_object(
    folder: Path, tables: Mapping[str, pd.DataFrame], files: Mapping[str, bytes], facts: Mapping[str, Any]
) -> str:
    """Write an object into an empty folder, the manifest last; return the name that the folder must get.

    The name covers the facts too: computations with equal tables may have different facts.
    """
    content = {
        "tables": {name: table_digest(frame) for name, frame in tables.items()},
        "files": {name: sha256(data) for name, data in files.items()},
    }
    stored_files: dict[str, StoredFile] = {}
    for name, frame in tables.items():
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        stored_files[f"{name}.parquet"] = _write_file(folder / f"{name}.parquet", buffer.getbuffer())
    for name, data in files.items():
        stored_files[name] = _write_file(folder / name, data)
    manifest = {"digest": json_digest(content), **content, "facts": facts, "stored_files": stored_files}
    text = json.dumps(manifest, indent=1)
    (folder / MANIFEST_FILE).write_text(text)
    # Of the manifest as it will be read: in JSON, keys that are numbers become text and have another order.
    return json_digest(json.loads(text))


def _write_file(path: Path, data: bytes | memoryview) -> StoredFile:
    path.write_bytes(data)
    return {"sha256": sha256(data), "size": len(data)}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest and compare it with the name of the folder. Raises StoredResultError."""
    try:
        data = read_regular(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise damaged(f"missing: {MANIFEST_FILE}") from None
    except (OSError, ValueError) as error:
        raise damaged(f"{MANIFEST_FILE} cannot be read ({type(error).__name__})") from None
    try:
        manifest = json.loads(data)
        content = {"tables": dict(manifest["tables"]), "files": dict(manifest["files"])}
        is_intact = json_digest(manifest) == folder.name and json_digest(content) == manifest["digest"]
        is_intact = is_intact and isinstance(manifest["facts"], dict) and _is_complete(manifest)
    except (ValueError, TypeError, KeyError, RecursionError):
        is_intact = False
    if not is_intact:
        raise damaged("the manifest was changed")
    verified: Manifest = manifest
    return verified


def _is_complete(manifest: Manifest) -> bool:
    """Return whether all names are those of files inside the folder, and each has its SHA-256 and size."""
    names = _file_names(manifest)
    stored_files = manifest.get("stored_files", dict.fromkeys(names, StoredFile(sha256="", size=0)))
    return set(names) == set(stored_files) and all(
        Path(name).name == name and isinstance(stored["sha256"], str) and isinstance(stored["size"], int)
        for name, stored in stored_files.items()
    )


def _file_names(manifest: Manifest) -> list[str]:
    return [*(f"{table}.parquet" for table in manifest["tables"]), *manifest["files"]]


def read_table(folder: Path, manifest: Manifest, name: str) -> pd.DataFrame:
    """Read a table of an object whose manifest was verified. Raises StoredResultError."""
    data = _read_verified(folder, manifest, f"{name}.parquet", f"the table {name}")
    try:
        frame = pd.read_parquet(io.BytesIO(data))
        # Objects of earlier releases have no digest of the file itself.
        is_intact = "stored_files" in manifest or table_digest(frame) == manifest["tables"][name]
    except Exception as error:  # readers fail on damaged files with many kinds of errors
        raise damaged(f"the table {name} cannot be read ({type(error).__name__})") from None
    if not is_intact:
        raise damaged(f"the table {name} was changed")
    return frame


def count_rows(folder: Path, manifest: Manifest, name: str) -> int:
    """Count the rows of a table without reading its cells, as `read_table` verifies them. Raises StoredResultError."""
    if "stored_files" not in manifest:
        return len(read_table(folder, manifest, name))
    data = _read_verified(folder, manifest, f"{name}.parquet", f"the table {name}")
    return int(pq.read_metadata(io.BytesIO(data)).num_rows)


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read a file of an object whose manifest was verified. Raises StoredResultError."""
    return _read_verified(folder, manifest, name, f"the file {name}")


def find_damage(folder: Path) -> str:
    """Describe how an object differs from its name and manifest, after computing all digests again; "" if intact.

    Tables are parsed only where the manifest lacks the digests of their files.
    """
    try:
        manifest = read_manifest(folder)
        if missing := [name for name in _file_names(manifest) if not (folder / name).exists()]:
            return f"missing: {', '.join(missing)}"
        for table in manifest["tables"]:
            if "stored_files" in manifest:
                _verify_file(folder, manifest, f"{table}.parquet", f"the table {table}")
            else:
                read_table(folder, manifest, table)
        for name in manifest["files"]:
            if "stored_files" in manifest:
                _verify_file(folder, manifest, name, f"the file {name}")
            else:
                read_file(folder, manifest, name)
    except StoredResultError as error:
        return error.got
    except OSError as error:
        return f"cannot be read ({type(error).__name__})"
    return ""


def sha256(data: bytes | memoryview) -> str:
    """Compute the SHA-256 of a file's content."""
    return hashlib.sha256(data).hexdigest()


def damaged(description: str) -> StoredResultError:
    """Return the error for a result that must not be used."""
    return StoredResultError(
        "an intact result in the content store",
        description,
        "repeat the command: it computes the result again",
    )


def _verify_file(folder: Path, manifest: Manifest, name: str, subject: str) -> None:
    """Compare a file with its digest, in parts that need little memory."""
    expected = manifest["stored_files"][name]
    try:
        digest = file_sha256(folder / name, expected["size"])
    except OSError as error:
        raise damaged(f"{subject} cannot be read ({type(error).__name__})") from None
    if digest != expected["sha256"]:
        raise damaged(f"{subject} was changed")


def _read_verified(folder: Path, manifest: Manifest, name: str, subject: str) -> bytes:
    """Read a file into memory and compare these bytes with their digest, where the manifest has one."""
    expected = manifest.get("stored_files", {}).get(name)
    digest = expected["sha256"] if expected else manifest["files"].get(name)
    try:
        data = read_regular(folder / name, expected["size"] if expected else MAX_FILE_BYTES)
    except FileNotFoundError:
        raise damaged(f"missing: {name}") from None
    except ValueError:
        raise damaged(f"{subject} was changed") from None
    except OSError as error:
        raise damaged(f"{subject} cannot be read ({type(error).__name__})") from None
    if digest is not None and sha256(data) != digest:
        raise damaged(f"{subject} was changed")
    return data
