"""Steps of training a network: how many, at which learning rate, and with the gradients of which batch.

This module imports torch, so import it where it is used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ml.deadline import Deadline
from ml.device import Device
from ml.text.worker_threads import run_all

# Parts of a batch that are computed by one thread each: always as many, so that sums are the same for any threads.
PARTS = 2
# The share of the steps in which learning rates rise, and the share of the highest that is left at the end.
WARMUP_SHARE, LAST_SHARE = 0.1, 0.01
MAX_GRADIENT_NORM = 1.0
# Steps between looks at the pace, and the share of the remaining seconds that steps may use; the rest is for
# evaluation.
PACE_STEPS, TRAINING_SHARE = 10, 0.9


class StepPlan:
    """Steps of a training; fewer than planned where the seconds would not suffice for all at the pace so far."""

    def __init__(self, steps: int, deadline: Deadline) -> None:
        self.planned, self.steps, self.is_shortened = steps, 0, False
        self._deadline, self._start = deadline, deadline.elapsed

    @classmethod
    def resume(cls, state: Mapping[str, Any], deadline: Deadline) -> Self:
        """Continue a plan that `state` described; `deadline` counts the seconds used until then."""
        plan = cls(int(state["planned"]), deadline)
        plan.steps, plan.is_shortened = int(state["steps"]), bool(state["is_shortened"])
        plan._start = float(state["start"])
        return plan

    def state(self) -> dict[str, Any]:
        """Describe the plan so far, and the seconds used, as JSON values."""
        return {
            "planned": self.planned,
            "steps": self.steps,
            "is_shortened": self.is_shortened,
            "start": self._start,
            "elapsed": self._deadline.elapsed,
        }

    @property
    def is_done(self) -> bool:
        """Whether all steps are made that time suffices for."""
        return self.steps >= self.planned

    @property
    def learning_rate_share(self) -> float:
        """The share of the highest learning rate: it rises, then falls to its end as half a cosine (one cycle)."""
        position = self.steps / self.planned
        if position < WARMUP_SHARE:
            return max(position / WARMUP_SHARE, LAST_SHARE)
        angle = math.pi * min((position - WARMUP_SHARE) / (1.0 - WARMUP_SHARE), 1.0)
        return LAST_SHARE + (1.0 - LAST_SHARE) * (1.0 + math.cos(angle)) / 2.0

    def count_step(self) -> None:
        """Count a step, and look at the pace every `PACE_STEPS` steps."""
        self.steps += 1
        if self.steps % PACE_STEPS == 0 or self._deadline.passed:
            seconds = (self._deadline.elapsed - self._start) / self.steps
            affordable = max(self._deadline.remaining * TRAINING_SHARE / max(seconds, 1e-9), 0.0)
            if self.steps + affordable < self.planned:
                self.planned, self.is_shortened = self.steps + int(affordable), True


def make_optimizer(groups: Sequence[tuple[list[nn.Parameter], float]], weight_decay: float) -> Any:
    """Return AdamW (Loshchilov and Hutter, 2019) for groups of parameters with their highest learning rates."""
    entries = [{"params": parameters, "highest": highest} for parameters, highest in groups]
    return torch.optim.AdamW(entries, lr=0.0, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)


def make_step(
    optimizer: Any, share: float, size: int, loss_of: Callable[[np.ndarray], Tensor], threads: int
) -> float:
    """Update the weights once, and return the loss of the batch.

    `loss_of` computes the part of the loss of some of the `size` rows of the batch. The parts are computed side by side
    and summed in order.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rows = [np.arange(part, size, PARTS) for part in range(min(PARTS, size))]

    def gradients(part: np.ndarray) -> tuple[float, tuple[Tensor | None, ...]]:
        loss = loss_of(part)
        return float(loss.detach()), torch.autograd.grad(loss, parameters, allow_unused=True)

    results = run_all(gradients, rows, threads)
    for number, parameter in enumerate(parameters):
        parts = [gradient for _, all_parts in results if (gradient := all_parts[number]) is not None]
        parameter.grad = None
        for gradient in parts:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
    for group in optimizer.param_groups:
        group["lr"] = share * group["highest"]
    optimizer.step()
    return sum(loss for loss, _ in results)


def has_bfloat16(device: Device) -> bool:
    """Check for hardware instructions on bfloat16; without them it is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return device == "cuda" or bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
