"""Pre-training of a small BERT on messages: masked characters are predicted (Devlin et al., 2019).

This module imports torch and transformers, so import it where it is used.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from ml.deadline import Deadline
from ml.estimator import FitResources
from ml.text.encoder_network import make_config, to_tensors
from ml.text.token_batches import training_batches
from ml.text.training_steps import StepPlan, has_bfloat16, make_optimizer, make_step

# The share of tokens to predict; of them, these shares are replaced by the mask and by random tokens.
PREDICTED_SHARE, MASKED_SHARE, RANDOM_SHARE = 0.15, 0.8, 0.1


def pretrain(
    ids: Sequence[Sequence[int]],
    config: dict[str, Any],
    mask_id: int,
    schedule: tuple[int, int, float],
    resources: FitResources,
) -> nn.Module:
    """Return the layers of a BERT that learned to predict masked tokens of messages.

    `ids` are tokens of messages, the first and last of which are special. `schedule` has the epochs, the messages of a
    batch and the highest learning rate. The seconds of `resources` may shorten it. The seed of torch must be set.
    """
    network = transformers.BertForMaskedLM(make_config(config)).to(resources.device).eval()
    rng = np.random.default_rng(resources.seed)
    epochs, batch_size, learning_rate = schedule
    parameters = [parameter for name, parameter in network.named_parameters() if "pooler" not in name]
    optimizer = make_optimizer([(parameters, learning_rate)], weight_decay=0.01)
    rows = [row for row, tokens in enumerate(ids) if len(tokens) > 2]
    lengths = [len(ids[row]) for row in rows]
    plan = StepPlan(
        epochs * math.ceil(len(rows) / batch_size), Deadline(resources.seconds, resources.threads)
    )
    epoch = 0
    while not plan.is_done:
        epoch += 1
        losses = []
        for batch in training_batches(lengths, batch_size, rng):
            messages = [ids[rows[row]] for row in batch]
            masked, targets = _mask(messages, mask_id, int(config["vocab_size"]), rng)

            def loss_of(
                part: np.ndarray, masked: list[list[int]] = masked, targets: list[list[int]] = targets
            ) -> Tensor:
                count = sum(target >= 0 for row in targets for target in row)
                inputs, mask = to_tensors([masked[row] for row in part], 0, resources.device)
                truth, _ = to_tensors([targets[row] for row in part], -1, resources.device)
                with torch.autocast(resources.device, torch.bfloat16, enabled=has_bfloat16(resources.device)):
                    states = network.bert(input_ids=inputs, attention_mask=mask).last_hidden_state
                    # Only masked tokens are predicted, as the vocabulary is large.
                    scores = network.cls(states[truth >= 0]).float()
                return nn.functional.cross_entropy(scores, truth[truth >= 0], reduction="sum") / max(count, 1)

            losses.append(
                make_step(optimizer, plan.learning_rate_share, len(batch), loss_of, resources.threads)
            )
            plan.count_step()
            if plan.is_done:
                break
        resources.log_progress(f"pre-training, epoch {epoch}: loss {np.mean(losses):.4f}")
    layers: nn.Module = network.bert.cpu()
    return layers


def _mask(
    messages: Sequence[Sequence[int]], mask_id: int, vocabulary: int, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """Return tokens with some masked, at least one of each message, and the targets, -1 where none is predicted."""
    inputs, targets = [], []
    for message in messages:
        tokens = np.array(message)
        draws = rng.random(len(tokens))
        draws[[0, -1]] = 1.0
        draws[1 + rng.integers(len(tokens) - 2)] = 0.0
        predicted = draws < PREDICTED_SHARE
        targets.append(np.where(predicted, tokens, -1).tolist())
        kinds = rng.random(len(tokens))
        random_tokens = rng.integers(0, vocabulary, len(tokens))
        tokens = np.where(predicted & (kinds < MASKED_SHARE), mask_id, tokens)
        is_random = predicted & (kinds >= MASKED_SHARE) & (kinds < MASKED_SHARE + RANDOM_SHARE)
        inputs.append(np.where(is_random, random_tokens, tokens).tolist())
    return inputs, targets
