"""A pretrained encoder of sentences that is trained further, together with its head."""

from dataclasses import dataclass, replace

import numpy as np

from ml.data.dataset import Dataset
from ml.device import deterministic_torch
from ml.estimator import FitResources
from ml.text.class_target import ClassTarget
from ml.text.costs import training_cost
from ml.text.encoder_files import DEFAULT_ENCODER, WEIGHTS, encoder_digest, layer_weights, read_encoder
from ml.text.encoder_model import EncoderModel
from ml.text.message_columns import MessageColumns
from ml.text.remembered_training import TrainedEncoder, remember, remembered, training_key
from ml.text.sentence_encoder import SentenceEncoder
from ml.text.softmax_regression import SoftmaxRegression
from ml.text.temperature import fit_scale
from ml.text.training_messages import TrainingMessages
from ml.time_budget import FitCost


@dataclass(frozen=True)
class FineTunedEncoder:
    """Up to `epochs` of AdamW (Loshchilov and Hutter, 2019), as many as the seconds suffice for.

    The head begins with the means of the classes. The learning rate of the layers is that of the highest one times
    `layer_decay` for each layer below. Training ends early where the loss on `valid` rises. Other columns than
    sentences do not count. `encoder` and `max_tokens` are as in `ml.text.frozen_encoder.FrozenEncoder`.
    """

    encoder: str = DEFAULT_ENCODER
    max_tokens: int = 128
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = 2e-2
    layer_decay: float = 0.9
    label_smoothing: float = 0.05
    weight_decay: float = 0.01
    max_classes: int = 1000

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EncoderModel:
        """Train encoder and head, keep the epoch that is best on `valid`, and choose the temperature there.

        The same for any number of threads. Another kind of machine may give another model, because layers are computed
        in bfloat16 where the processor has instructions for it. A killed fit starts again from the beginning. Errors
        as `ml.text.frozen_encoder.FrozenEncoder.fit`.
        """
        from ml.text.encoder_network import save_weights
        from ml.text.encoder_training import EncoderTraining, TokenRows, TrainingSettings

        deadline = resources.deadline()
        target, columns = ClassTarget.fit(train), MessageColumns.fit(train)
        target.check_learnable(self.max_classes)
        encoder = SentenceEncoder.from_files(read_encoder(self.encoder), self.max_tokens)
        rows = TrainingMessages.collect(train, columns, target, distinct=True)
        held_out = TrainingMessages.collect(valid, columns, target, distinct=False)
        seen = np.flatnonzero(held_out.codes >= 0)
        train_rows = TokenRows(encoder.token_ids(rows.messages), rows.codes)
        valid_rows = TokenRows(
            encoder.token_ids([held_out.messages[row] for row in seen]), held_out.codes[seen]
        )
        settings = TrainingSettings(
            self._affordable_epochs(train, resources),
            self.batch_size,
            self.learning_rate,
            self.head_learning_rate,
            self.layer_decay,
            self.label_smoothing,
            self.weight_decay,
        )
        identity = (encoder.digest, settings, resources.seed, resources.device)
        key = training_key(identity, (rows.messages, rows.codes), (held_out.messages, held_out.codes))
        trained = remembered(key)
        if trained is None:
            with deterministic_torch(resources.seed, resources.device):
                training = EncoderTraining(encoder.network, encoder.padding_id, settings, resources)
                epochs, stopped_by = training.run(train_rows, valid_rows, deadline)
                trained = TrainedEncoder(
                    save_weights(training.network.cpu()),
                    np.ascontiguousarray(training.weight.detach().cpu().numpy().T),
                    training.bias.detach().cpu().numpy(),
                    epochs,
                    stopped_by,
                )
            if stopped_by != "budget":
                remember(key, trained)
        tuned = SentenceEncoder({**encoder.files, WEIGHTS: trained.weights}, self.max_tokens)
        regression = SoftmaxRegression(trained.coefficients, trained.intercepts)
        if len(seen):
            vectors = tuned.embed([held_out.messages[row] for row in seen], resources.threads)
            scale = fit_scale(regression.scores(vectors), held_out.codes[seen])
            regression = replace(regression, scale=scale)
        contributions = (1.0, *[0.0] * (len(columns.names) - len(columns.text)))
        return EncoderModel(
            target, columns, tuned, regression, contributions, trained.epochs, trained.stopped_by
        )

    def files_digest(self) -> str:
        """Compute the digest of the encoder's files; errors as in `read_encoder`."""
        return encoder_digest(self.encoder)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of one epoch, and of all."""
        return training_cost(
            train, layer_weights(self.encoder), self.max_tokens, self.epochs, resources.threads
        )

    def _affordable_epochs(self, train: Dataset, resources: FitResources) -> int:
        """Plan the epochs that the seconds suffice for by the estimate, at least one."""
        cost = self.cost(train, resources)
        if cost.full <= resources.seconds:
            return self.epochs
        epoch = (cost.full - cost.minimum) / max(self.epochs - 1, 1)
        return int(np.clip(1 + (resources.seconds - cost.minimum) / max(epoch, 1e-9), 1, self.epochs))
