"""Pre-training on messages: the tokenizer of characters, and masked tokens that are predicted."""

import numpy as np
import pytest

from ml.deadline import Deadline
from ml.device import deterministic_torch
from ml.estimator import FitResources
from ml.text.character_tokenizer import SPECIAL_TOKENS, fit_character_tokenizer
from ml.text.masked_language_model import _mask, pretrain
from ml.text.token_batches import BATCH_TOKENS, length_sorted_batches, training_batches
from ml.text.training_steps import StepPlan

MESSAGES = ["很快好吃", "好吃很快", "不好吃", "iPhone 很好", "iphone 不好"] * 3


def test_characters_are_tokens_and_rare_ones_unknown() -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(fit_character_tokenizer([*MESSAGES, "秘密"], 2, 1000))
    assert tokenizer.encode("不好吃 iPhone").tokens == [
        *("[CLS]", "不", "好", "吃", "i", "##p", "##h", "##o", "##n", "##e", "[SEP]")
    ]
    assert tokenizer.encode("秘好").tokens == ["[CLS]", "[UNK]", "好", "[SEP]"]


def test_vocabulary_is_the_same_for_any_order_of_messages() -> None:
    first = fit_character_tokenizer(MESSAGES, 2, 12)
    assert fit_character_tokenizer(MESSAGES[::-1], 2, 12) == first
    from tokenizers import Tokenizer

    assert Tokenizer.from_buffer(first).get_vocab_size() == 12


def test_masks_spare_special_tokens_and_predict_one_of_each_message() -> None:
    messages = [[2, 10, 11, 12, 3], [2, 13, 3]] * 200
    inputs, targets = _mask(messages, 4, 20, np.random.default_rng(0))
    for message, masked, target in zip(messages, inputs, targets, strict=True):
        assert masked[0] == 2
        assert masked[-1] == 3
        assert any(token >= 0 for token in target[1:-1])
        assert all(t in (-1, token) for t, token in zip(target, message, strict=True))
        assert all(m == token for m, token, t in zip(masked, message, target, strict=True) if t < 0)
    predicted = np.concatenate(
        [np.array(masked)[np.array(t) >= 0] for masked, t in zip(inputs, targets, strict=True)]
    )
    assert 0.7 < (predicted == 4).mean() < 0.9


def test_pretraining_learns_to_predict_and_is_the_same_for_any_number_of_threads() -> None:
    import torch

    # Every token follows from its neighbour.
    ids = [[2, *([5, 6, 7] if number % 2 else [8, 9, 10]), 3] for number in range(64)]
    config = {
        "model_type": "bert",
        "vocab_size": 11,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 8,
    }
    weights = []
    for threads in (1, 2):
        losses: list[str] = []
        resources = FitResources(3, threads, log_progress=losses.append)
        with deterministic_torch(3, "cpu"):
            weights.append(pretrain(ids, config, 4, (20, 16, 1e-2), resources).state_dict())
        first, last = (float(message.rsplit(" ", 1)[1]) for message in (losses[0], losses[-1]))
        assert last < 0.5 * first
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_steps_are_cut_to_the_seconds_and_end_at_a_low_rate() -> None:
    plan = StepPlan(1000, Deadline(float("inf")))
    shares = []
    while not plan.is_done:
        shares.append(plan.learning_rate_share)
        plan.count_step()
    assert not plan.is_shortened
    assert plan.steps == 1000
    assert max(shares) == pytest.approx(1.0)
    assert shares[-1] < 0.011
    late = StepPlan(1000, Deadline(-1.0))
    late.count_step()
    assert late.is_done
    assert late.is_shortened


def test_batches_hold_each_row_once_and_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 500).tolist()
    for batches in (
        length_sorted_batches(lengths),
        training_batches(lengths, 16, np.random.default_rng(0)),
    ):
        assert sorted(np.concatenate(batches)) == list(range(500))
        padded = [len(rows) * max(lengths[row] for row in rows) for rows in batches]
        assert max(padded) <= BATCH_TOKENS
        assert sum(padded) < 1.2 * sum(lengths)
    assert length_sorted_batches([]) == []
    assert [len(rows) for rows in length_sorted_batches([10 * BATCH_TOKENS, 1])] == [1, 1]


def test_mask_is_the_token_of_its_position() -> None:
    assert SPECIAL_TOKENS.index("[MASK]") == 4
