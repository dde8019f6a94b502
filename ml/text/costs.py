"""Estimate what fits to messages cost from their number and length, in processor seconds per thread.

The constants are rounded from fits to banking77 with the encoder MiniLM; estimates are within a factor of about three.
They decide which fits a time budget suffices for, so they must not depend on the machine.
"""

from ml.data.dataset import Dataset
from ml.time_budget import FitCost

# A fit to a part of the penalties is as useful as one to all: C matters little.
USEFUL_SHARE = 0.3
# Seconds of a solution for a character of the training messages and a class; and for weighing a character.
CHARACTER_CLASS_SECONDS, CHARACTER_SECONDS = 1e-7, 3e-6
# Seconds of a solution for a vector and a class.
VECTOR_CLASS_SECONDS = 5e-6
# Characters of a token of an encoder in scripts with spaces, and the tokens that frame each message.
CHARACTERS_PER_TOKEN, FRAME_TOKENS = 4.0, 2.0
# Seconds until the libraries and the weights of an encoder are loaded.
LOADING_SECONDS = 10.0
# Floating point operations of one core in a second; and those of a token, for each weight of the layers: forwards, and
# in training also backwards.
OPERATIONS_PER_SECOND = 6e10
FORWARD_OPERATIONS, TRAINING_OPERATIONS = 2.0, 6.0


def message_lengths(dataset: Dataset) -> list[int]:
    """Count the characters of the sentences of each row."""
    total = [0] * len(dataset.frame)
    for name in dataset.text_columns:
        lengths = dataset.frame[name].str.len().fillna(0).astype(int)
        total = [a + b for a, b in zip(total, lengths, strict=True)]
    return total


def linear_cost(train: Dataset, solutions: int) -> FitCost:
    """Return the cost of weighing n-grams and solving for their coefficients `solutions` times."""
    characters = sum(message_lengths(train))
    classes = max(len(train.classes), 2)
    full = 0.5 + characters * (CHARACTER_SECONDS + solutions * CHARACTER_CLASS_SECONDS * classes)
    return FitCost(USEFUL_SHARE * full, full)


def training_tokens(
    train: Dataset, max_tokens: int, characters_per_token: float = CHARACTERS_PER_TOKEN
) -> float:
    """Estimate the tokens of the training messages, each cut after `max_tokens`."""
    return sum(
        min(length / characters_per_token + FRAME_TOKENS, max_tokens) for length in message_lengths(train)
    )


def encoding_cost(
    train: Dataset, layer_weights: int, max_tokens: int, solutions: int, threads: int
) -> FitCost:
    """Return the cost of embedding all messages and of solving for a regression on the vectors."""
    operations = FORWARD_OPERATIONS * layer_weights * training_tokens(train, max_tokens)
    classes = max(len(train.classes), 2)
    embedding = LOADING_SECONDS + operations / OPERATIONS_PER_SECOND / threads
    full = embedding + solutions * VECTOR_CLASS_SECONDS * len(train.frame) * classes
    return FitCost(embedding, full)


def epoch_seconds(tokens: float, layer_weights: int, threads: int) -> float:
    """Return the cost of one epoch of training an encoder."""
    return TRAINING_OPERATIONS * layer_weights * tokens / OPERATIONS_PER_SECOND / threads
