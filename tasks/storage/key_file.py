"""Key files of the content store: which object a computation resulted in, with a checksum."""

import hashlib
import json
import re
from pathlib import Path

from tasks.storage.object_folder import damaged
from tasks.storage.regular_files import read_regular

OBJECT_NAME = re.compile("[0-9a-f]{64}")
MAX_KEY_BYTES = 2**16


def key_content(key: str, name: str) -> bytes:
    """Return the content of the file of a key that points to an object."""
    return json.dumps({"object": name, "check": _checksum(key, name)}).encode()


def read_key(path: Path) -> str:
    """Read the name of the object that a key file points to. Raises FileNotFoundError and StoredResultError.

    Keys of earlier releases have no checksum.
    """
    try:
        content = json.loads(read_regular(path, MAX_KEY_BYTES))
        name = content["object"]
        checksum = _checksum(path.name.removesuffix(".json"), name)
        is_key = OBJECT_NAME.fullmatch(name) and content.get("check", checksum) == checksum
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_key = None
    if not is_key:
        raise damaged("its key cannot be read")
    return str(name)


def _checksum(key: str, name: str) -> str:
    """Tie a key file to its key, so that a copy of it under another key is recognised."""
    return hashlib.sha256(f"{key} {name}".encode()).hexdigest()
