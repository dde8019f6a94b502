"""A small BERT that is pre-trained on the training messages alone, then trained further with its head.

For languages for which no open weights are at hand. Weights that were pre-trained on large texts are better:
`ml.text.fine_tuned_encoder.FineTunedEncoder` takes them from a folder.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ml.data.dataset import Dataset
from ml.device import deterministic_torch
from ml.estimator import FitResources
from ml.text.character_tokenizer import SPECIAL_TOKENS, fit_character_tokenizer
from ml.text.costs import LOADING_SECONDS, epoch_seconds, training_tokens
from ml.text.encoder_files import CONFIG, TOKENIZER, WEIGHTS, count_layer_weights
from ml.text.encoder_model import EncoderModel
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.remembered_training import training_key
from ml.text.sentence_encoder import SentenceEncoder
from ml.time_budget import FitCost

# The share of the seconds that pre-training may use.
PRETRAINING_SHARE = 0.7


@dataclass(frozen=True)
class PretrainedOnMessages:
    """A BERT of `layers` layers of `hidden` units, whose tokens are characters; then `fine_tuning`.

    A character of fewer than `min_messages` messages is unknown to it. Of a message, the first tokens count, as many as
    `fine_tuning` says; its `encoder` is not read.
    """

    layers: int = 3
    hidden: int = 192
    heads: int = 4
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 1e-3
    min_messages: int = 3
    max_vocabulary: int = 6000
    fine_tuning: FineTunedEncoder = field(
        default_factory=lambda: FineTunedEncoder(learning_rate=3e-4, head_learning_rate=1e-2, epochs=3)
    )

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EncoderModel:
        """Pre-train on the messages of `train` without their classes, then fit as `FineTunedEncoder.fit`.

        A killed fit continues after pre-training, and then after the last whole epoch.
        """
        return self.fit_parts(train, resources)[1]

    def fit_parts(self, train: Dataset, resources: FitResources) -> tuple[EncoderModel, EncoderModel]:
        """Fit as `fit`; return the model twice, as `FineTunedEncoder.fit_parts`."""

        def encoder_files(messages: list[str]) -> Mapping[str, bytes]:
            share = replace(resources, seconds=PRETRAINING_SHARE * resources.seconds)
            # The part of the fit that does not depend on the classes is stored for all fits to these messages.
            settings = replace(self, fine_tuning=FineTunedEncoder(max_tokens=self.fine_tuning.max_tokens))
            identity = ("pre-training", settings, share.seed, share.device, share.seconds)
            key = training_key(identity, (messages, np.empty(0)))
            return resources.storage.files(key, lambda: self._pretrain(messages, share))

        model = self.fine_tuning.fit_encoder(encoder_files, train, resources)
        return model, model

    def _pretrain(self, messages: list[str], resources: FitResources) -> dict[str, bytes]:
        from ml.text.encoder_network import save_weights
        from ml.text.masked_language_model import pretrain

        tokenizer = fit_character_tokenizer(messages, self.min_messages, self.max_vocabulary)
        config = self._config(len(json.loads(tokenizer)["model"]["vocab"]))
        files = {CONFIG: json.dumps(config).encode(), TOKENIZER: tokenizer, WEIGHTS: b""}
        ids = SentenceEncoder.from_files(files, self.fine_tuning.max_tokens).token_ids(messages)
        schedule = (self.epochs, self.batch_size, self.learning_rate)
        with deterministic_torch(resources.seed, resources.device):
            network = pretrain(ids, config, SPECIAL_TOKENS.index("[MASK]"), schedule, resources)
            return {**files, WEIGHTS: save_weights(network)}

    def _config(self, vocabulary: int) -> dict[str, object]:
        return {
            "model_type": "bert",
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden,
            "max_position_embeddings": self.fine_tuning.max_tokens + 2,
            "pad_token_id": SPECIAL_TOKENS.index("[PAD]"),
        }

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of a tenth of all epochs, without which the encoder knows nothing, and of all."""
        weights = count_layer_weights({"num_hidden_layers": self.layers, "hidden_size": self.hidden})
        tokens = training_tokens(train, self.fine_tuning.max_tokens, characters_per_token=1.0)
        full = (self.epochs + self.fine_tuning.epochs) * epoch_seconds(tokens, weights, resources.threads)
        return FitCost(LOADING_SECONDS + 0.1 * full, LOADING_SECONDS + full)
