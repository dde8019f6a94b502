"""Cross-entropy of the next item over a catalogue, with its gradients, computed for a few positions at a time.

The logits of positions are H E': the inner products of hidden states with item embeddings. Loss and gradients are
computed together, so that at most `MAX_LOGITS` logits are in memory.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Logits that are computed at once: as many as fit into the cache of a core.
MAX_LOGITS = 2**20

# The mean loss, and its gradients by hidden states (positions, dim) and by embeddings (items, dim).
Gradients = tuple[float, Tensor, Tensor]


def full_cross_entropy(H: Tensor, E: Tensor, targets: Tensor, dtype: torch.dtype) -> Gradients:
    """Compute the mean of -log softmax(H E')[target] and its gradients by `H` (positions, dim) and `E` (items, dim).

    Products are computed in `dtype`; the gradients are float32.
    """
    step = max(1, MAX_LOGITS // len(E))
    h, e = H.to(dtype), E.to(dtype)
    loss, dH, dE = 0.0, torch.empty_like(H), torch.zeros_like(E)
    for rows in _slices(len(H), step):
        logits = h[rows] @ e.T
        p = torch.softmax(logits, dim=1)
        loss -= float(p.gather(1, targets[rows, None]).float().clamp_min(1e-30).log().sum())
        p[torch.arange(len(p), device=p.device), targets[rows]] -= 1.0
        dH[rows] = (p @ e).float()
        dE += (p.T @ h[rows]).float()
    return loss / len(H), dH / len(H), dE / len(H)


def sampled_cross_entropy(
    H: Tensor, E: Tensor, targets: Tensor, draw: Callable[[int], tuple[Tensor, Tensor]]
) -> Gradients:
    """Estimate `full_cross_entropy` by sampled negatives of each position.

    `draw` returns, for a number of positions, negatives (positions, negatives) and the logarithm of how often each is
    expected among them. With that subtracted from the logits (Bengio and Senécal, 2008) and the target left out of the
    negatives, the expectation of the estimated softmax denominator is the denominator itself.
    """
    dim = E.shape[1]
    loss, dH, dE = 0.0, torch.empty_like(H), torch.zeros_like(E)
    negatives = draw(1)[0].shape[1]
    for rows in _slices(len(H), max(1, MAX_LOGITS // (negatives * dim))):
        target = targets[rows, None]
        items, log_expected = draw(len(target))
        log_expected = log_expected.masked_fill(items == target, float("inf"))
        items = torch.cat([target, items], dim=1)
        e = E[items]
        logits = torch.bmm(e, H[rows, :, None])[:, :, 0]
        logits[:, 1:] -= log_expected
        p = torch.softmax(logits, dim=1)
        loss -= float(p[:, 0].clamp_min(1e-30).log().sum())
        p[:, 0] -= 1.0
        dH[rows] = torch.bmm(p[:, None, :], e)[:, 0]
        dE.index_add_(0, items.ravel(), (p[:, :, None] * H[rows, None, :]).reshape(-1, dim))
    return loss / len(H), dH / len(H), dE / len(H)


def _slices(rows: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
