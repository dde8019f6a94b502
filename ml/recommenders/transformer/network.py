"""network."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ml.interactions.histories import Histories
from ml.recommenders.transformer.batches import tails

if TYPE_CHECKING:
    import torch

    Weights = Mapping[str, torch.Tensor]


# Places that are answered at once.
TOKENS = 2**13


def as_it_is(X: "torch.Tensor") -> "torch.Tensor":
    """No dropout."""
    return X


def states(
    weights: "Weights",
    heads: int,
    items: "torch.Tensor",
    drop: "Callable[[torch.Tensor], torch.Tensor]" = as_it_is,
) -> "torch.Tensor":
    """What the network makes of each place, shape (users, places, dim); `items` is (users, places).

    A place sees itself and those before it, so that filler at the end changes nothing.
    """
    from torch.nn import functional

    own, dim = weights, weights["norm"].shape[0]
    users, places = items.shape
    X = functional.embedding(items, own["items"]) * math.sqrt(dim) + own["places"][:places]
    X = drop(X)
    at = 0
    while f"hidden{at}" in own:
        Y = functional.layer_norm(X, (dim,), own[f"attention_norm{at}"], own[f"attention_norm_bias{at}"])
        Y = functional.linear(Y, own[f"attention{at}"], own[f"attention_bias{at}"])
        query, key, value = Y.view(users, places, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
        Y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        Y = Y.transpose(1, 2).reshape(users, places, dim)
        X = X + drop(functional.linear(Y, own[f"attended{at}"]))
        Y = functional.layer_norm(X, (dim,), own[f"hidden_norm{at}"], own[f"hidden_norm_bias{at}"])
        Y = functional.relu(functional.linear(Y, own[f"hidden{at}"], own[f"hidden_bias{at}"]))
        X = X + drop(functional.linear(Y, own[f"shown{at}"], own[f"shown_bias{at}"]))
        at += 1
    return functional.layer_norm(X, (dim,), own["norm"], own["norm_bias"])


def _last_states(
    weights: "Weights", heads: int, histories: Histories
) -> Iterator[tuple[np.ndarray, "torch.Tensor"]]:
    """Users that have a history, and the state at the end of it, shape (users, dim)."""
    import torch

    device = weights["items"].device
    for users, items, last in tails(histories, len(weights["places"]), TOKENS):
        every = states(weights, heads, torch.from_numpy(items).to(device))
        yield users, every[torch.arange(len(users), device=device), torch.from_numpy(last).to(device)]
