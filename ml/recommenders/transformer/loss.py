"""Cross-entropy of the next item over a catalogue, with its gradients, a few positions at a time.

The logits of a position are H E': the inner products of its state with the vectors of the items. Their gradients are
worked out with them, so that no more than `CELLS` of them are ever in memory.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Logits at a time: as many as stay in the cache of a core.
CELLS = 2**20

Gradients = tuple[float, "torch.Tensor", "torch.Tensor"]


def full(H: "torch.Tensor", E: "torch.Tensor", targets: "torch.Tensor", dtype: "torch.dtype") -> Gradients:
    """The mean of -log softmax(H E')[target], and its gradients by `H` (positions, dim) and `E` (items, dim).

    Products are computed in `dtype`; the gradients are float32.
    """
    import torch

    step = max(1, CELLS // len(E))
    h, e = H.to(dtype), E.to(dtype)
    loss, dH, dE = 0.0, torch.empty_like(H), torch.zeros_like(E)
    for rows in _slices(len(H), step):
        wanted = targets[rows, None]
        logits = h[rows] @ e.T
        p = torch.softmax(logits, dim=1)
        loss -= float(p.gather(1, wanted).float().clamp_min(1e-30).log().sum())
        p[torch.arange(len(p), device=p.device), targets[rows]] -= 1.0
        dH[rows] = (p @ e).float()
        dE += (p.T @ h[rows]).float()
    return loss / len(H), dH / len(H), dE / len(H)


def sampled(
    H: "torch.Tensor",
    E: "torch.Tensor",
    targets: "torch.Tensor",
    draw: Callable[[int], tuple["torch.Tensor", "torch.Tensor"]],
) -> Gradients:
    """As `full`, the sum over the catalogue being estimated from negatives of each position's own.

    `draw` gives, for so many positions, negatives (positions, negatives) and the logarithm of how often each was to be
    expected among them. With that taken from the logits (Bengio and Senécal, 2008), and the target left out of the
    negatives, the mean of the estimated sum is the sum itself.
    """
    import torch

    dim = E.shape[1]
    loss, dH, dE = 0.0, torch.empty_like(H), torch.zeros_like(E)
    negatives = draw(1)[0].shape[1]
    for rows in _slices(len(H), max(1, CELLS // (negatives * dim))):
        wanted = targets[rows, None]
        items, log_expected = draw(len(wanted))
        log_expected = log_expected.masked_fill(items == wanted, float("inf"))
        items = torch.cat([wanted, items], dim=1)
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
    return [slice(at, min(at + step, rows)) for at in range(0, rows, step)]
