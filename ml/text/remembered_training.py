"""Keep the last trained encoders in the process, as a blend needs one that was a candidate of its own before."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

# About 90 MB each.
MAX_KEPT = 2
_kept: "OrderedDict[str, TrainedEncoder]" = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """Weights of an encoder as a file, and of its head: coefficients (hidden size, classes) and intercepts."""

    weights: bytes = field(repr=False)
    coefficients: np.ndarray
    intercepts: np.ndarray
    epochs: int
    stopped_by: str


def training_key(identity: object, *parts: tuple[Sequence[str], np.ndarray]) -> str:
    """Compute the SHA-256 of everything that a training depends on: settings, and messages with their classes."""
    digest = hashlib.sha256(repr(identity).encode())
    for messages, codes in parts:
        digest.update(np.asarray(codes, np.int64).tobytes())
        for message in messages:
            digest.update(hashlib.sha256(message.encode()).digest())
    return digest.hexdigest()


def remembered(key: str) -> TrainedEncoder | None:
    """Return the result of an earlier training with that key, if it is still kept."""
    with _lock:
        return _kept.get(key)


def remember(key: str, trained: TrainedEncoder) -> None:
    """Keep the result of a training that time did not cut short; another one would have the same result."""
    with _lock:
        _kept[key] = trained
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
