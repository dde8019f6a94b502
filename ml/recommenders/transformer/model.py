"""A causal transformer over histories in the manner of SASRec (Kang and McAuley, 2018), trained by cross-entropy.

Every position of a history predicts the next item over the whole catalogue where that is small: with a binary loss on
few negatives, as in the paper, the same network ranks worse (Klenitskiy and Vasilev, 2023).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.device import deterministic_torch
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.recommender_model import RecommenderModel
from ml.recommenders.transformer.batches import sorted_by_content
from ml.recommenders.transformer.config import TransformerConfig
from ml.time_budget import FitCost

if TYPE_CHECKING:
    from ml.recommenders.transformer.network import SequenceNetwork


@dataclass(frozen=True, eq=False)
class TransformerModel(RecommenderModel):
    """Float32 weights by name, as in the `state_dict` of `ml.recommenders.transformer.network.SequenceNetwork`.

    `best_epoch` is the epoch after which the weights were best on held-out events; 0 if time was up before.
    """

    requirements: ClassVar[tuple[str, ...]] = ("safetensors", "torch")
    weights: Mapping[str, np.ndarray] = field(repr=False)
    heads: int
    best_epoch: int

    def scores(self, histories: Histories) -> np.ndarray:
        """Compute the logits of the next item, float32, shape (users, items); popularity for users without a history.

        Of histories longer than the network's positions, only the last events count. Users are computed together, so
        other users may change the last bits.
        """
        import torch

        from ml.recommenders.transformer.network import last_states

        scores = self.catalogue.popularity_scores(histories, np.arange(len(histories)))
        with deterministic_torch(0, "cpu"), torch.no_grad():
            for users, states in last_states(self._network, histories):
                scores[users] = (states @ self._network.items.weight.T).numpy()
        return scores

    @cached_property
    def _network(self) -> "SequenceNetwork":
        from ml.recommenders.transformer.network import load_network

        return load_network(self.weights, self.heads)


@dataclass(frozen=True)
class Transformer(TransformerConfig):
    """A transformer that can be fitted, with the hyperparameters of `TransformerConfig`.

    Peak memory above that of `train` with dim 64, measured up to 2,000,000 events (`benchmarks.transformer_memory`):
    about 50 MB + 1,500 bytes per item + 80 bytes per event.
    """

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> TransformerModel:
        """Train until held-out events of `train` stop gaining, or epochs or time are over, at least one step.

        `valid` is ignored. One thread is used whatever `resources` allow, because sums depend on the number of threads.
        The model is the same for any order or names of the users. The random start depends on the order of the
        catalogue, so other item names may give another model; so may another kind of machine, because logits are
        computed in bfloat16 where the processor has instructions for it. A killed fit starts again from the beginning.
        Raises ValueError as `Catalogue.from_frame`.
        """
        return self._fit(train, resources, None, self.max_epochs)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Return no minimum and no end: a fit uses whatever time it gets."""
        return FitCost(0.0, float("inf"))

    def continue_fit(
        self, model: TransformerModel, train: Dataset, resources: FitResources
    ) -> TransformerModel:
        """Train as `fit` does, from the weights of a model of a part of `train`, at most `max_warm_start_epochs`."""
        return self._fit(train, resources, model, self.max_warm_start_epochs)

    def _fit(
        self, train: Dataset, resources: FitResources, earlier: TransformerModel | None, max_epochs: int
    ) -> TransformerModel:
        from ml.recommenders.transformer.network import initial_network
        from ml.recommenders.transformer.training import Trainer

        deadline = resources.deadline()
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        histories = sorted_by_content(catalogue.encode(train.frame))
        with deterministic_torch(resources.seed, resources.device):
            network = initial_network(len(catalogue.items), self)
            if earlier:
                _copy_weights(earlier, network, catalogue)
            trainer = Trainer(
                self, network, histories, train.allow_repeats, resources, is_warm_start=earlier is not None
            )
            best_epoch = trainer.run(deadline, max_epochs)
            weights = {name: weight.cpu().numpy() for name, weight in trainer.best_weights.items()}
        return TransformerModel(catalogue, train.allow_repeats, weights, self.heads, best_epoch)


def _copy_weights(earlier: TransformerModel, network: "SequenceNetwork", catalogue: Catalogue) -> None:
    """Copy the weights of an earlier model, whose items are some of the catalogue's; other items keep theirs."""
    import torch

    codes = pd.Index(catalogue.items, dtype=object).get_indexer(
        pd.Index(earlier.catalogue.items, dtype=object)
    )
    parameters = network.state_dict()
    for name, weights in earlier.weights.items():
        rows = codes if name == "items.weight" else slice(None)
        parameters[name][rows] = torch.from_numpy(weights)
