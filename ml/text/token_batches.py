"""Batches of messages of similar length, so that little is computed for padding."""

from collections.abc import Sequence

import numpy as np

# Messages and tokens of a batch, at most.
BATCH_MESSAGES, BATCH_TOKENS = 32, 4096
# Batches whose messages are sorted together in training: enough for similar lengths, few enough for chance.
BUCKET_BATCHES = 50


def length_sorted_batches(lengths: Sequence[int]) -> list[np.ndarray]:
    """Divide rows into batches in descending order of length."""
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    return _cut(order, np.asarray(lengths), BATCH_MESSAGES)


def training_batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide rows in random order into batches of at most `size` rows of similar length, in random order."""
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), size * BUCKET_BATCHES):
        bucket = order[start : start + size * BUCKET_BATCHES]
        descending = np.argsort(-np.asarray(lengths)[bucket], kind="stable")
        batches += _cut(bucket[descending], np.asarray(lengths), size)
    return [batches[number] for number in rng.permutation(len(batches))]


def _cut(order: np.ndarray, lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut rows in descending order of length into batches of at most `size` rows and `BATCH_TOKENS` tokens."""
    batches, start = [], 0
    while start < len(order):
        rows = max(1, min(size, BATCH_TOKENS // max(int(lengths[order[start]]), 1)))
        batches.append(order[start : start + rows])
        start += rows
    return batches
