"""A causal transformer over histories in the manner of SASRec (Kang and McAuley, 2018), trained by cross-entropy.

Blocks are normed before they compute (Xiong et al., 2020); the vectors of items are those of the input and of the
output. Every place of a history says what comes next, over the whole catalogue where that is small: with binary losses
on few negatives, as in the paper, the same network ranks worse (Klenitskiy and Vasilev, 2023).
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.device import torch_of_our_own
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import from_npy, to_npy
from ml.recommenders.transformer.batches import in_own_order
from ml.recommenders.transformer.network import _last_states
from ml.recommenders.transformer.training import _Training

if TYPE_CHECKING:
    import torch

    Weights = Mapping[str, torch.Tensor]


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

    def scores(self, histories: Histories) -> np.ndarray:
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

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> TransformerModel:
        """Train until held-out events stop gaining, or the epochs or the time are over (at least one step).

        `valid` is not looked at. One thread is used whatever `resources` allow: sums hang on how many threads share
        them. The model is the same for any order or names of the users. Items begin from random vectors in the order
        of the catalogue: named otherwise, they may end elsewhere. So may they on a machine of another kind, as
        products with the catalogue are of bfloat16 where the processor has instructions for it. A fit that was killed
        begins anew. Raises ValueError as in `Catalogue.of`.
        """
        return self._fit(train, resources, None, self.max_epochs)

    def continued(self, model: TransformerModel, train: Dataset, resources: FitResources) -> TransformerModel:
        """As `fit`, but from the weights of a model of a part of `train`, for at most `more_epochs`."""
        return self._fit(train, resources, model, self.more_epochs)

    def _fit(
        self, train: Dataset, resources: FitResources, begun: TransformerModel | None, epochs: int
    ) -> TransformerModel:
        deadline = time.monotonic() + resources.seconds
        catalogue = Catalogue.of(train.frame, self.days, train.never_recommend)
        histories = in_own_order(catalogue.sequences(train.frame))
        with torch_of_our_own(resources.seed, resources.device):
            first = self.first_weights(len(catalogue.items))
            if begun:
                _take_over(first, catalogue, begun)
            training = _Training(self, histories, train.allow_repeats, resources, first, begun is not None)
            best = training.run(deadline, epochs)
            weights = {name: one.detach().cpu().numpy() for name, one in training.best.items()}
        return TransformerModel(catalogue, weights, self.heads, best, train.allow_repeats)

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
