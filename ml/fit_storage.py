"""What a fit may keep outside of its process: files of its steps, and checkpoints that a killed fit continues from."""

from collections.abc import Callable, Mapping
from typing import Protocol


class FitStorage(Protocol):
    """Keeps bytes by key. A key of files says everything that they depend on, besides the code and the libraries."""

    def files(self, key: str, compute: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """Return the files under `key`, or else keep and return those that `compute` returns."""
        ...

    def load_checkpoint(self, key: str) -> bytes | None:
        """Return the checkpoint that an earlier run of the same fit saved last, unless it is damaged."""
        ...

    def save_checkpoint(self, key: str, make: Callable[[], bytes]) -> None:
        """Keep the checkpoint that `make` returns in place of the earlier one, until the fit is stored."""
        ...


class NoStorage:
    """Keeps nothing."""

    def files(self, key: str, compute: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """Compute the files."""
        return compute()

    def load_checkpoint(self, key: str) -> bytes | None:
        """Return None."""
        return None

    def save_checkpoint(self, key: str, make: Callable[[], bytes]) -> None:
        """Do nothing."""


NO_STORAGE = NoStorage()
