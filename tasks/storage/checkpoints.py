"""Checkpoints of one fit: a folder of files that are replaced as the fit proceeds, and deleted once it is stored.

    checkpoints/<key of the fit>/<digest of the checkpoint's key>

A file begins with the SHA-256 of what follows, and is not read otherwise.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tasks.storage.regular_files import read_regular

FOLDER = "checkpoints"
# Four times the weights of the largest encoder: weights, two moments of each, and the best weights so far.
MAX_BYTES = 16 * 2**30
_DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of the fit with the key `fit_key`, in a folder of the store."""

    def __init__(self, store: Path, fit_key: str) -> None:
        self.folder = store / FOLDER / fit_key

    def load(self, key: str) -> bytes | None:
        """Return the checkpoint with that key; None where there is none, or a damaged one, which is deleted."""
        path = self._path(key)
        try:
            data = read_regular(path, MAX_BYTES + _DIGEST_BYTES)
        except (OSError, ValueError):
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        # As large as the content.
        del data
        if hashlib.sha256(content).digest() == digest:
            return content
        path.unlink(missing_ok=True)
        return None

    def save(self, key: str, content: bytes) -> None:
        """Replace the checkpoint with that key, so that a reader finds the whole earlier or the whole new one."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            Path(temporary).replace(self._path(key))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def delete(self) -> None:
        """Delete all checkpoints of the fit."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()
