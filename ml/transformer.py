"""A causal transformer over histories in the manner of SASRec (Kang and McAuley, 2018), trained by cross-entropy.

Blocks are normed before they compute (Xiong et al., 2020); the vectors of items are those of the input and of the
output. Every place of a history says what comes next, over the whole catalogue where that is small: with binary losses
on few negatives, as in the paper, the same network ranks worse (Klenitskiy and Vasilev, 2023).
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pandas as pd

from ml import softmax
from ml.device import Device, torch_of_our_own
from ml.histories import Catalogue, Sequences, blocks, from_npy, to_npy
from ml.model import Part, Resources
from ml.sequence_batches import Batch, batches, hold_out, in_own_order, tails

if TYPE_CHECKING:
    import torch

    Weights = Mapping[str, torch.Tensor]

# Places that are answered at once.
TOKENS = 2**13
# Events an item, from which on data are not sparse.
OFTEN = 100
# Batches of an epoch, unless these are smaller than `SMALLEST` places.
STEPS = 64
SMALLEST = 256


@dataclass(frozen=True, eq=False)
class TransformerModel:
    """Float32 weights by name: `items` (items, dim), `places` (longest, dim), `norm` and `norm_bias` (dim,), and those
    of block number l, which `Transformer` tells the shapes of.

    `epochs` says after how many the weights were best for the held-out events.
    """

    requirements: ClassVar[tuple[str, ...]] = ("torch",)
    catalogue: Catalogue = field(repr=False)
    weights: Mapping[str, np.ndarray] = field(repr=False)
    heads: int
    epochs: int
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The score is the logit of being next; lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def scores(self, histories: Sequences) -> np.ndarray:
        """Logits of being next, float32, shape (users, items); without a history, what is popular.

        Histories longer than the model's places count by their last events. Users are computed side by side: company
        may change the last bits.
        """
        import torch

        scores = self.catalogue.common(histories, np.arange(len(histories)))
        with torch_of_our_own(0, "cpu"), torch.no_grad():
            for users, states in _last_states(self._tensors, self.heads, histories):
                scores[users] = (states @ self._tensors["items"].T).numpy()
        return scores

    @cached_property
    def _tensors(self) -> dict[str, "torch.Tensor"]:
        import torch

        return {name: torch.from_numpy(one) for name, one in self.weights.items()}

    def files(self) -> dict[str, bytes]:
        """`model.json`, `catalogue.json`, and a `.npy` of each of the weights."""
        settings = {"heads": self.heads, "epochs": self.epochs, "repeat": self.repeat}
        return {
            "model.json": json.dumps(settings).encode(),
            "catalogue.json": self.catalogue.to_json(),
            **{f"{name}.npy": to_npy(one) for name, one in self.weights.items()},
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        names = [name for name in files if name.endswith(".npy")]
        weights = {name.removesuffix(".npy"): from_npy(files, name) for name in names}
        return cls(Catalogue.from_json(files["catalogue.json"]), weights, **json.loads(files["model.json"]))


@dataclass(frozen=True)
class Transformer:
    """`blocks` blocks of attention with `heads` heads and a hidden layer, on vectors of `dim` numbers.

    Trained by AdamW (Loshchilov and Hutter, 2019) on batches of `batch_tokens` places of histories, which are cut into
    windows of `longest` events. The learning rate rises over the first `warm_up` steps and stays. The model is not the
    last weights but their moving average with memory `average` (Polyak and Juditsky, 1992), which makes up for a rate
    that never falls and is good whenever time runs out.

    Training ends after `patience` epochs without a gain in NDCG@10 of held-out events: the last one of up to 2,000
    users, who keep the others. Catalogues of more than `full_softmax` items are trained against `negatives` of each
    place's own, half of them drawn from the events and half from the catalogue.

    `dropout` None is 0.2 where the catalogue's items have `OFTEN` events or more on average, and 0.4 where data are
    sparse; in the paper it was 0.2 and 0.5. A batch is smaller than `batch_tokens` where an epoch would else have fewer
    than `STEPS` of them.

    Peak memory above that of `train` with dim 64, measured up to 2,000,000 events (`benchmarks.sequence_memory`): about
    50 MB + 1,500 bytes an item + 80 bytes an event.
    """

    dim: int = 64
    blocks: int = 2
    heads: int = 2
    hidden: int = 256
    longest: int = 200
    dropout: float | None = None
    learning_rate: float = 0.003
    warm_up: int = 200
    average: float = 0.998
    weight_decay: float = 0.01
    batch_tokens: int = 4096
    max_epochs: int = 100
    more_epochs: int = 4
    patience: int = 5
    full_softmax: int = 50_000
    negatives: int = 256
    days: float | None = None

    def fit(self, train: Part, valid: Part, resources: Resources) -> TransformerModel:
        """Train until held-out events stop gaining, or the epochs or the time are over (at least one step).

        `valid` is not looked at. One thread is used whatever `resources` allow: sums hang on how many threads share
        them. The model is the same for any order or names of the users. Items begin from random vectors in the order
        of the catalogue: named otherwise, they may end elsewhere. So may they on a machine of another kind, as
        products with the catalogue are of bfloat16 where the processor has instructions for it. A fit that was killed
        begins anew. Raises ValueError as in `Catalogue.of`.
        """
        return self._fit(train, resources, None, self.max_epochs)

    def continued(self, model: TransformerModel, train: Part, resources: Resources) -> TransformerModel:
        """As `fit`, but from the weights of a model of a part of `train`, for at most `more_epochs`."""
        return self._fit(train, resources, model, self.more_epochs)

    def _fit(
        self, train: Part, resources: Resources, begun: TransformerModel | None, epochs: int
    ) -> TransformerModel:
        deadline = time.monotonic() + resources.seconds
        catalogue = Catalogue.of(train.frame, self.days, train.blocked)
        histories = in_own_order(catalogue.sequences(train.frame))
        with torch_of_our_own(resources.seed, resources.device):
            first = self.first_weights(len(catalogue.items))
            if begun:
                _take_over(first, catalogue, begun)
            training = _Training(self, histories, train.repeat, resources, first, begun is not None)
            best = training.run(deadline, epochs)
            weights = {name: one.detach().cpu().numpy() for name, one in training.best.items()}
        return TransformerModel(catalogue, weights, self.heads, best, train.repeat)

    def first_weights(self, items: int) -> dict[str, "torch.Tensor"]:
        """Small normal numbers; each block's branches end in ones that are smaller by the root of their number."""
        import torch

        def normal(*shape: int, deviation: float = 0.02) -> "torch.Tensor":
            return torch.randn(shape) * deviation

        dim, small = self.dim, 0.02 / math.sqrt(2 * max(self.blocks, 1))
        weights = {"items": normal(items, dim), "places": normal(self.longest, dim)}
        for at in range(self.blocks):
            weights |= {
                f"attention_norm{at}": torch.ones(dim),
                f"attention_norm_bias{at}": torch.zeros(dim),
                f"attention{at}": normal(3 * dim, dim, deviation=dim**-0.5),
                f"attention_bias{at}": torch.zeros(3 * dim),
                f"attended{at}": normal(dim, dim, deviation=small),
                f"hidden_norm{at}": torch.ones(dim),
                f"hidden_norm_bias{at}": torch.zeros(dim),
                f"hidden{at}": normal(self.hidden, dim, deviation=dim**-0.5),
                f"hidden_bias{at}": torch.zeros(self.hidden),
                f"shown{at}": normal(dim, self.hidden, deviation=small),
                f"shown_bias{at}": torch.zeros(dim),
            }
        return weights | {"norm": torch.ones(dim), "norm_bias": torch.zeros(dim)}


def _take_over(first: "dict[str, torch.Tensor]", catalogue: Catalogue, begun: TransformerModel) -> None:
    """Into `first`, the weights of a model whose items are some of the catalogue's; the others stay as they are."""
    import torch

    place = pd.Index(catalogue.items, dtype=object).get_indexer(pd.Index(begun.catalogue.items, dtype=object))
    for name, weights in begun.weights.items():
        where = place if name == "items" else slice(None)
        first[name][where] = torch.from_numpy(weights)


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
    weights: "Weights", heads: int, histories: Sequences
) -> Iterator[tuple[np.ndarray, "torch.Tensor"]]:
    """Users that have a history, and the state at the end of it, shape (users, dim)."""
    import torch

    device = weights["items"].device
    for users, items, last in tails(histories, len(weights["places"]), TOKENS):
        every = states(weights, heads, torch.from_numpy(items).to(device))
        yield users, every[torch.arange(len(users), device=device), torch.from_numpy(last).to(device)]


class _Training:
    """Weights, their average, and the events that change them and that say when to stop."""

    def __init__(
        self,
        of: Transformer,
        histories: Sequences,
        repeat: bool,
        resources: Resources,
        first: "Weights",
        goes_on: bool,
    ) -> None:
        import torch

        self.of, self.repeat, self.device, self.tell = of, repeat, resources.device, resources.tell
        self.rng = np.random.default_rng(resources.seed)
        self.histories, self.asked, self.wanted = hold_out(histories, self.rng)
        self.goes_on = goes_on
        self.weights = {name: one.to(self.device).requires_grad_() for name, one in first.items()}
        self.averages = {name: one.detach().clone() for name, one in self.weights.items()}
        self.best = self.averages
        self.steps = 0
        events = len(self.histories.items)
        sparse = events < OFTEN * histories.catalogue
        self.dropout = of.dropout if of.dropout is not None else 0.4 if sparse else 0.2
        self.batch_tokens = min(of.batch_tokens, max(SMALLEST, events // STEPS))
        self.half = torch.bfloat16 if _has_bfloat16(self.device) else torch.float32
        self.events = torch.from_numpy(self.histories.items).to(self.device)
        often = torch.bincount(self.events, minlength=histories.catalogue) / max(len(self.events), 1)
        self.log_expected = torch.log(of.negatives * (often + 1 / histories.catalogue) / 2)
        plain = [one for one in self.weights.values() if one.ndim == 1]
        matrices = [one for one in self.weights.values() if one.ndim > 1]
        groups = [
            {"params": matrices, "weight_decay": of.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=of.learning_rate, betas=(0.9, 0.98), fused=True)

    def run(self, deadline: float, epochs: int) -> int:
        """Train until `best` are the best weights: their epoch."""
        of, best, best_epoch = self.of, -1.0, 0
        for epoch in range(1, epochs + 1):
            losses = []
            for batch in batches(self.histories, of.longest, self.batch_tokens, self.rng):
                losses.append(self._step(batch))
                if time.monotonic() > deadline:
                    break
            if time.monotonic() > deadline:
                # One more look at the held-out events would be late; before the first one, all there is is the best.
                break
            ndcg = self._held_out_ndcg()
            self.tell(f"epoch {epoch}: loss {np.mean(losses or [0.0]):.4f}, held-out NDCG@10 {ndcg:.4f}")
            if ndcg > best or (self.wanted < 0).all():
                best, best_epoch = ndcg, epoch
                self.best = {name: one.clone() for name, one in self.averages.items()}
            if epoch - best_epoch >= of.patience or not losses:
                break
        return best_epoch

    def _step(self, batch: Batch) -> float:
        import torch

        of, own = self.of, self.weights
        targets = torch.from_numpy(batch.targets).to(self.device)
        known = targets >= 0
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            H = states(own, of.heads, torch.from_numpy(batch.items).to(self.device), self._drop)[known]
        loss, dH, dE = self._loss(H.detach().float(), own["items"].detach(), targets[known])
        self.optimizer.zero_grad(set_to_none=True)
        H.backward(dH.to(H.dtype))  # type: ignore[no-untyped-call]
        assert own["items"].grad is not None
        own["items"].grad += dE
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = of.learning_rate * min(1.0, self.steps / of.warm_up)
        self.optimizer.step()
        # At first the average is over all steps, and not over how it began, unless that was good already.
        memory = of.average if self.goes_on else min(of.average, (self.steps - 1) / (self.steps + 9))
        torch._foreach_lerp_(
            list(self.averages.values()), [one.detach() for one in own.values()], 1.0 - memory
        )
        return loss

    def _drop(self, X: "torch.Tensor") -> "torch.Tensor":
        """Dropout of 1/256 parts, by bytes: torch takes ten times as long for its chance on the CPU."""
        import torch

        if not (parts := round(self.dropout * 256)):
            return X
        chance = torch.frombuffer(bytearray(self.rng.bytes(X.numel())), dtype=torch.uint8)
        return X * (chance.to(self.device) >= parts).view(X.shape) * (256 / (256 - parts))

    def _loss(self, H: "torch.Tensor", E: "torch.Tensor", targets: "torch.Tensor") -> softmax.Gradients:
        if len(E) <= self.of.full_softmax:
            return softmax.full(H, E, targets, self.half)
        return softmax.sampled(H, E, targets, self._negatives)

    def _negatives(self, rows: int) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Half from the events, half from the catalogue, and log of negatives * (frequency + 1 / items) / 2."""
        import torch

        half = self.of.negatives // 2
        # On the CPU, so that chance is the same on any device.
        often = self.events[torch.randint(len(self.events), (rows, half)).to(self.device)]
        any_of = torch.randint(len(self.log_expected), (rows, self.of.negatives - half)).to(self.device)
        items = torch.cat([often, any_of], dim=1)
        return items, self.log_expected[items]

    def _held_out_ndcg(self) -> float:
        """Of the average weights; 0 where nobody is held out."""
        import torch

        total = 0.0
        with torch.no_grad():
            for users, last in _last_states(self.averages, self.of.heads, self.asked):
                for rows in blocks(len(users), self.asked.catalogue):
                    total += self._ndcg(users[rows], last[rows] @ self.averages["items"].T)
        return total / max(int((self.wanted >= 0).sum()), 1)

    def _ndcg(self, users: np.ndarray, scores: "torch.Tensor") -> float:
        """The sum over users of 1 / log2(1 + rank) of what they had next, where the rank is at most 10."""
        import torch

        wanted = torch.from_numpy(self.wanted[users])[:, None].to(self.device)
        score = scores.gather(1, wanted)
        if not self.repeat:
            for row, user in enumerate(users):
                scores[
                    row, self.asked.items[self.asked.start[user] : self.asked.start[user + 1]]
                ] = -torch.inf
        rank = 1 + (scores > score).sum(dim=1)
        return float(torch.where(rank <= 10, 1.0 / torch.log2(1.0 + rank), 0.0).sum())


def _has_bfloat16(device: Device) -> bool:
    import torch

    can = torch.cpu.get_capabilities()
    return device == "cuda" or bool(can.get("avx512_bf16") or can.get("amx_bf16"))
