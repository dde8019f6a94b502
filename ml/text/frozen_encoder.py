"""Logistic regression on the vectors of a pretrained encoder of sentences."""

from dataclasses import dataclass, replace

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.text.costs import encoding_cost
from ml.text.encoder_files import DEFAULT_ENCODER, encoder_digest, layer_weights, read_encoder
from ml.text.encoder_model import EncoderModel, encoder_matrix
from ml.text.message_columns import MessageColumns
from ml.text.sentence_encoder import SentenceEncoder
from ml.text.softmax_regression import SoftmaxRegression
from ml.text.training_messages import TrainingMessages
from ml.time_budget import FitCost


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder of sentences as it is, and a regression with a penalty that a tenth of the rows chooses.

    `encoder` is an installed package of weights, a path, or `hub:owner/name@commit`
    (`ml.text.encoder_files.read_encoder`). Of a message, the first `max_tokens` count. With `int8` the linear layers of
    the encoder are computed in 8-bit integers: faster, with vectors that differ a little.
    """

    encoder: str = DEFAULT_ENCODER
    max_tokens: int = 256
    inverse_penalties: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0)
    max_classes: int = 1000
    int8: bool = False

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EncoderModel:
        """Fit as `fit_parts`, and return the model that is fitted to all rows; `valid` is not used."""
        return self.fit_parts(train, resources)[1]

    def fit_parts(self, train: Dataset, resources: FitResources) -> tuple[EncoderModel, EncoderModel]:
        """Embed the messages, and fit the regression for each C until time is up (at least one).

        Return a model that is not fitted to the rows set aside by `TrainingMessages`, and one with the same C and
        temperature that is. Raises CandidateSkipped for a table without sentences, with one class or with too many,
        ValueError as `ClassTarget.codes`, and UsageError as `read_encoder` and `SentenceEncoder.from_files`.
        """
        deadline = resources.deadline()
        target, columns = ClassTarget.fit(train), MessageColumns.fit(train)
        target.check_learnable(self.max_classes)
        encoder = SentenceEncoder.from_files(read_encoder(self.encoder), self.max_tokens, self.int8)
        rows = TrainingMessages.collect(train, columns, target, resources.seed)
        vectors = encoder.embed(rows.messages, resources.threads, resources.device, resources.storage)
        X = encoder_matrix(vectors, columns, rows.frame)
        part, regression = SoftmaxRegression.fit(
            X, rows.codes, rows.is_choice, self.inverse_penalties, deadline
        )
        width = int(encoder.config["hidden_size"])
        contributions = regression.contributions(X, [width, *columns.other_widths])
        model = EncoderModel(
            target, columns, encoder, regression, contributions, epochs=0, stopped_by=regression.stopped_by
        )
        return replace(model, regression=part), model

    def files_digest(self) -> str:
        """Compute the digest of the encoder's files; errors as in `read_encoder`."""
        return encoder_digest(self.encoder)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of embedding all messages, of the whole grid and of the fit to all rows."""
        return encoding_cost(
            train,
            layer_weights(self.encoder),
            self.max_tokens,
            len(self.inverse_penalties) + 1,
            resources.threads,
        )
