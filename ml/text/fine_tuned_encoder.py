"""A pretrained encoder of sentences that is trained further, together with its head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.device import deterministic_torch
from ml.estimator import FitResources
from ml.text.costs import LOADING_SECONDS, epoch_seconds, training_tokens
from ml.text.encoder_files import DEFAULT_ENCODER, WEIGHTS, encoder_digest, layer_weights, read_encoder
from ml.text.encoder_model import EncoderModel
from ml.text.message_columns import MessageColumns
from ml.text.remembered_training import TrainedEncoder, remember, remembered, training_key
from ml.text.sentence_encoder import SentenceEncoder
from ml.text.softmax_regression import SoftmaxRegression
from ml.text.temperature import fit_scale
from ml.text.training_messages import TrainingMessages
from ml.time_budget import FitCost

# Epochs at most where few messages make few steps.
MAX_EPOCHS = 20


@dataclass(frozen=True)
class FineTunedEncoder:
    """Up to `epochs` of AdamW (Loshchilov and Hutter, 2019), as many as the seconds suffice for.

    Few messages are repeated in more epochs, so that there are `min_steps`.

    The head begins with the means of the classes. The learning rate of the layers is that of the highest one times
    `layer_decay` for each layer below. Training ends early after two epochs without a lower loss on a tenth of
    the rows. Columns other than sentences do not count. `encoder` and `max_tokens` are as in
    `ml.text.frozen_encoder.FrozenEncoder`.
    """

    encoder: str = DEFAULT_ENCODER
    max_tokens: int = 128
    epochs: int = 4
    min_steps: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = 2e-2
    layer_decay: float = 0.9
    label_smoothing: float = 0.05
    weight_decay: float = 0.01
    max_classes: int = 1000

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EncoderModel:
        """Train encoder and head, keep the epoch that is best on the rows set aside, and choose the temperature there.

        These are those of `TrainingMessages`; `valid` is not used. The same for any number of threads. Another kind of
        machine may give another model, because layers are computed in bfloat16 where the processor has instructions for
        it. A killed fit continues after its last whole epoch. Errors as `ml.text.frozen_encoder.FrozenEncoder.fit`.
        """
        return self.fit_parts(train, resources)[1]

    def fit_parts(self, train: Dataset, resources: FitResources) -> tuple[EncoderModel, EncoderModel]:
        """Fit as `fit`; return the model twice, as it is not fitted to the rows set aside, and training is long."""
        model = self.fit_encoder(lambda messages: read_encoder(self.encoder), train, resources)
        return model, model

    def fit_encoder(
        self,
        encoder_files: Callable[[list[str]], Mapping[str, bytes]],
        train: Dataset,
        resources: FitResources,
    ) -> EncoderModel:
        """Fit as `fit`, with the files of an encoder that are given for the training messages."""
        deadline = resources.deadline()
        target, columns = ClassTarget.fit(train), MessageColumns.fit(train)
        target.check_learnable(self.max_classes)
        collected = TrainingMessages.collect(train, columns, target, resources.seed)
        encoder = SentenceEncoder.from_files(encoder_files(collected.messages), self.max_tokens)
        rows, choice = (collected.part(mask) for mask in (~collected.is_choice, collected.is_choice))
        trained = self._train(encoder, rows, choice, replace(resources, seconds=deadline.remaining))
        tuned = SentenceEncoder({**encoder.files, WEIGHTS: trained.weights}, self.max_tokens)
        regression = SoftmaxRegression(trained.coefficients, trained.intercepts)
        if choice.messages:
            vectors = tuned.embed(choice.messages, resources.threads, resources.device)
            regression = replace(regression, scale=fit_scale(regression.scores(vectors), choice.codes))
        contributions = (1.0, *[0.0] * (len(columns.names) - len(columns.text)))
        return EncoderModel(
            target, columns, tuned, regression, contributions, trained.epochs, trained.stopped_by
        )

    def _train(
        self,
        encoder: SentenceEncoder,
        rows: TrainingMessages,
        choice: TrainingMessages,
        resources: FitResources,
    ) -> TrainedEncoder:
        """Train, or return the result of the same training before in this process."""
        from ml.text.encoder_network import save_weights
        from ml.text.encoder_training import EncoderTraining, TokenRows, TrainingSettings

        train_rows = TokenRows(encoder.token_ids(rows.messages), rows.codes)
        choice_rows = TokenRows(encoder.token_ids(choice.messages), choice.codes)
        tokens = sum(train_rows.lengths)
        settings = TrainingSettings(
            self._affordable_epochs(tokens, encoder.layer_weights, len(rows.codes), resources),
            self.batch_size,
            self.learning_rate,
            self.head_learning_rate,
            self.layer_decay,
            self.label_smoothing,
            self.weight_decay,
        )
        identity = (encoder.digest, settings, resources.seed, resources.device)
        key = training_key(identity, (rows.messages, rows.codes), (choice.messages, choice.codes))
        if (kept := remembered(key)) is not None:
            return kept
        with deterministic_torch(resources.seed, resources.device):
            training = EncoderTraining(encoder.network, encoder.padding_id, settings, resources, key)
            epochs, stopped_by = training.run(train_rows, choice_rows, resources.deadline())
            trained = TrainedEncoder(
                save_weights(training.network.cpu()),
                np.ascontiguousarray(training.weight.detach().cpu().numpy().T),
                training.bias.detach().cpu().numpy(),
                epochs,
                stopped_by,
            )
        if stopped_by != "budget":
            remember(key, trained)
        return trained

    def files_digest(self) -> str:
        """Compute the digest of the encoder's files; errors as in `read_encoder`."""
        return encoder_digest(self.encoder)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of one epoch, and of all."""
        tokens = training_tokens(train, self.max_tokens)
        epoch = epoch_seconds(tokens, layer_weights(self.encoder), resources.threads)
        epochs = self._planned_epochs(len(train.frame))
        return FitCost(LOADING_SECONDS + epoch, LOADING_SECONDS + epochs * epoch)

    def _affordable_epochs(self, tokens: float, weights: int, messages: int, resources: FitResources) -> int:
        """Plan as many epochs as the seconds suffice for by the estimate, at least one."""
        planned = self._planned_epochs(messages)
        epoch = epoch_seconds(tokens, weights, resources.threads)
        return int(np.clip(resources.seconds / epoch, 1, planned))

    def _planned_epochs(self, messages: int) -> int:
        """Return `epochs`, or more where so few messages make fewer than `min_steps`."""
        steps_per_epoch = -(-messages // self.batch_size)
        return max(self.epochs, min(-(-self.min_steps // max(steps_per_epoch, 1)), MAX_EPOCHS))
