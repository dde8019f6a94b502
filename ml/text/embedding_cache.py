"""Keep the embeddings of lists of messages in the process and in the storage of fits: several candidates need them."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from ml.fit_storage import FitStorage
from ml.serialization import from_safetensors, to_safetensors

FILE, VECTORS = "embeddings.safetensors", "vectors"
MAX_BYTES = 256 * 2**20
# Shorter lists are embedded again: a server answers few messages at a time, and has no use for earlier ones.
MIN_MESSAGES = 64
_kept: OrderedDict[str, np.ndarray] = OrderedDict()
_lock = Lock()


def cached_embeddings(
    key: tuple[str, ...],
    messages: Sequence[str],
    compute: Callable[[list[str]], np.ndarray],
    storage: FitStorage,
) -> np.ndarray:
    """Return vectors of messages; `compute` embeds each distinct one, unless the same list was before.

    Whole lists are kept, not messages: a vector depends in its last bits on the messages beside it, and the same call
    must have the same result whatever was computed before. `key` identifies encoder and device. Nothing but vectors and
    digests is stored.
    """
    distinct = list(dict.fromkeys(messages))
    if len(distinct) < MIN_MESSAGES:
        return _in_order(messages, distinct, compute(distinct))
    digest = hashlib.sha256()
    for message in distinct:
        digest.update(hashlib.sha256(message.encode()).digest())
    entry = " ".join((*key, digest.hexdigest()))
    with _lock:
        vectors = _kept.get(entry)
        if vectors is not None:
            _kept.move_to_end(entry)
    if vectors is None:
        files = storage.files(
            f"embeddings {entry}", lambda: {FILE: to_safetensors({VECTORS: compute(distinct)})}
        )
        vectors = from_safetensors(files[FILE])[VECTORS]
        with _lock:
            _kept[entry] = vectors
            while sum(kept.nbytes for kept in _kept.values()) > MAX_BYTES:
                _kept.popitem(last=False)
    return _in_order(messages, distinct, vectors)


def _in_order(messages: Sequence[str], distinct: list[str], vectors: np.ndarray) -> np.ndarray:
    """Return a copy of the vectors of distinct messages, one for each of `messages`."""
    positions = {message: row for row, message in enumerate(distinct)}
    return np.asarray(vectors[[positions[message] for message in messages]])
