"""The network of the sequence transformer: causal self-attention over the items of histories.

SASRec (Kang and McAuley, 2018) with layer norms before each layer (Xiong et al., 2020). This module imports torch, so
it is only imported where a network is fitted or predicts.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.interactions.histories import Histories
from ml.recommenders.transformer.batches import last_windows
from ml.recommenders.transformer.config import TransformerConfig

# Positions that are computed at once in predictions.
MAX_BATCH_TOKENS = 2**13
# Standard deviation of initial embeddings.
EMBEDDING_DEVIATION = 0.02

Dropout = Callable[[Tensor], Tensor]


def identity(X: Tensor) -> Tensor:
    """Return `X`: no dropout."""
    return X


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer; each has a layer norm before it and is added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.attn_norm = nn.LayerNorm(dim)
        self.attn_in = nn.Linear(dim, 3 * dim)
        self.attn_out = nn.Linear(dim, dim, bias=False)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = nn.Linear(dim, config.ffn_dim)
        self.ffn_out = nn.Linear(config.ffn_dim, dim)

    def forward(self, X: Tensor, dropout: Dropout) -> Tensor:
        """Transform hidden states, shape (users, positions, dim)."""
        users, positions, dim = X.shape
        Y = self.attn_in(self.attn_norm(X))
        query, key, value = Y.view(users, positions, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        Y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        X = X + dropout(self.attn_out(Y.transpose(1, 2).reshape(users, positions, dim)))
        Y = functional.relu(self.ffn_in(self.ffn_norm(X)))
        return X + dropout(self.ffn_out(Y))


class SequenceNetwork(nn.Module):
    """Embeddings of items and positions, blocks, and a layer norm. The item embeddings also score the output."""

    def __init__(self, items: int, config: TransformerConfig) -> None:
        super().__init__()
        self.items = nn.Embedding(items, config.dim)
        self.positions = nn.Parameter(torch.empty(config.max_length, config.dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, items: Tensor, dropout: Dropout = identity) -> Tensor:
        """Compute hidden states, shape (users, positions, dim), from `items` (users, positions).

        A position sees only itself and earlier ones, so padding at the end changes nothing.
        """
        embedded = self.items(items) * math.sqrt(self.positions.shape[1])
        X = dropout(embedded + self.positions[: items.shape[1]])
        for block in self.blocks:
            X = block(X, dropout)
        normed: Tensor = self.norm(X)
        return normed


def initial_network(items: int, config: TransformerConfig) -> SequenceNetwork:
    """Create a network with small normal weights, drawn from torch's generator.

    The deviation of the last layer of each branch is smaller by the root of the number of branches.
    """
    dim = config.dim
    branch_deviation = EMBEDDING_DEVIATION / math.sqrt(2 * max(config.blocks, 1))

    def normal(*shape: int, deviation: float = EMBEDDING_DEVIATION) -> Tensor:
        return torch.randn(shape) * deviation

    weights = {"items.weight": normal(items, dim), "positions": normal(config.max_length, dim)}
    for number in range(config.blocks):
        block = {
            "attn_norm.weight": torch.ones(dim),
            "attn_norm.bias": torch.zeros(dim),
            "attn_in.weight": normal(3 * dim, dim, deviation=dim**-0.5),
            "attn_in.bias": torch.zeros(3 * dim),
            "attn_out.weight": normal(dim, dim, deviation=branch_deviation),
            "ffn_norm.weight": torch.ones(dim),
            "ffn_norm.bias": torch.zeros(dim),
            "ffn_in.weight": normal(config.ffn_dim, dim, deviation=dim**-0.5),
            "ffn_in.bias": torch.zeros(config.ffn_dim),
            "ffn_out.weight": normal(dim, config.ffn_dim, deviation=branch_deviation),
            "ffn_out.bias": torch.zeros(dim),
        }
        weights |= {f"blocks.{number}.{name}": weight for name, weight in block.items()}
    return _network(items, config, weights | {"norm.weight": torch.ones(dim), "norm.bias": torch.zeros(dim)})


def load_network(weights: Mapping[str, np.ndarray], heads: int) -> SequenceNetwork:
    """Create a network with weights by name, as `SequenceNetwork.state_dict` names them; sizes follow from shapes."""
    items, dim = weights["items.weight"].shape
    ffn_widths = [len(bias) for name, bias in weights.items() if name.endswith(".ffn_in.bias")]
    config = TransformerConfig(
        dim=dim,
        heads=heads,
        blocks=len(ffn_widths),
        ffn_dim=max(ffn_widths, default=0),
        max_length=len(weights["positions"]),
    )
    return _network(items, config, {name: torch.from_numpy(weight) for name, weight in weights.items()})


def _network(items: int, config: TransformerConfig, weights: Mapping[str, Tensor]) -> SequenceNetwork:
    # On the device "meta", modules neither allocate weights nor draw random ones.
    with torch.device("meta"):
        network = SequenceNetwork(items, config)
    network.load_state_dict(weights, assign=True)
    return network


def last_states(network: SequenceNetwork, histories: Histories) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield batches of users that have a history, and the hidden state at the end of it, shape (users, dim)."""
    device = network.positions.device
    for users, items, last in last_windows(histories, len(network.positions), MAX_BATCH_TOKENS):
        states = network(torch.from_numpy(items).to(device))
        yield users, states[torch.arange(len(users), device=device), torch.from_numpy(last).to(device)]
