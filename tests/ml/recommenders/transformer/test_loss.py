"""The losses of the sequence transformer against torch's cross-entropy and its gradients."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from ml.recommenders.transformer import loss


def positions() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (50, 8), embeddings of 30 items, and targets."""
    generator = torch.Generator().manual_seed(1)
    H, E = (torch.randn(rows, 8, generator=generator) for rows in (50, 30))
    return H, E, torch.randint(30, (50,), generator=generator)


def reference(
    H: torch.Tensor, E: torch.Tensor, targets: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor]:
    h, e = H.clone().requires_grad_(), E.clone().requires_grad_()
    mean_loss = functional.cross_entropy(h @ e.T, targets)
    dH, dE = torch.autograd.grad(mean_loss, [h, e])
    return float(mean_loss.detach()), dH, dE


def assert_close(actual: loss.Gradients, expected: loss.Gradients, tolerance: float) -> None:
    assert actual[0] == pytest.approx(expected[0], abs=tolerance)
    for gradient, expected_gradient in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=tolerance)


@pytest.mark.parametrize("max_logits", [1, 200, 2**20])
def test_the_loss_in_slices_is_cross_entropy(max_logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "MAX_LOGITS", max_logits)
    assert_close(loss.full_cross_entropy(*positions(), torch.float32), reference(*positions()), 1e-6)


def test_bfloat16_products_are_close() -> None:
    assert_close(loss.full_cross_entropy(*positions(), torch.bfloat16), reference(*positions()), 0.02)


@pytest.mark.parametrize("max_logits", [1, 2**20])
def test_with_all_items_as_negatives_the_sampled_loss_is_the_full_one(
    max_logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "MAX_LOGITS", max_logits)

    def every(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(30).repeat(rows, 1), torch.zeros(rows, 30)

    assert_close(loss.sampled_cross_entropy(*positions(), every), reference(*positions()), 1e-6)


def test_the_correction_removes_the_bias_of_frequent_negatives() -> None:
    frequency = torch.arange(1.0, 31.0) / 465

    def uneven(rows: int, corrected: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        items = torch.multinomial(frequency, rows * 20_000, replacement=True).view(rows, -1)
        return items, torch.log(20_000 * (frequency if corrected else torch.full((30,), 1 / 30)))[items]

    H, E, targets = positions()
    E = E + frequency[:, None]
    draws: list[Callable[[int], tuple[torch.Tensor, torch.Tensor]]] = [
        uneven,
        lambda rows: uneven(rows, False),
    ]
    torch.manual_seed(0)
    corrected, wrong = (loss.sampled_cross_entropy(H, E, targets, draw)[0] for draw in draws)
    expected = reference(H, E, targets)[0]
    assert corrected == pytest.approx(expected, rel=0.01)
    assert abs(wrong - expected) > 3 * abs(corrected - expected)
