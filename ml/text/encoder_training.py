"""Training of an encoder with its head: AdamW, layer-wise learning rates, one cycle, early stopping on valid rows.

This module imports torch, so import it where it is used.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ml.deadline import Deadline
from ml.device import Device
from ml.estimator import FitResources
from ml.text.encoder_network import mean_of_tokens, to_tensors
from ml.text.token_batches import length_sorted_batches, training_batches
from ml.text.worker_threads import run_all

StoppedBy = Literal["epochs", "valid", "budget"]

# Parts of a batch that are computed by one thread each: always as many, so that sums are the same for any threads.
PARTS = 2
# The share of the steps in which learning rates rise, and the share of the highest that is left at the end.
WARMUP_SHARE, LAST_SHARE = 0.1, 0.01
MAX_GRADIENT_NORM = 1.0
# Steps between looks at the pace, and the share of the remaining seconds that steps may use; the rest is for
# evaluation.
PACE_STEPS, TRAINING_SHARE = 10, 0.9
# The length of the first weights of the head, which are the means of the vectors of each class.
PROTOTYPE_SCALE = 20.0


@dataclass(frozen=True)
class TrainingSettings:
    """Hyperparameters of training; see `ml.text.fine_tuned_encoder.FineTunedEncoder`."""

    epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    layer_decay: float
    label_smoothing: float
    weight_decay: float


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Tokens of messages, and the positions of their classes."""

    ids: list[list[int]]
    codes: np.ndarray

    @property
    def lengths(self) -> list[int]:
        """Count the tokens of each message."""
        return [len(tokens) for tokens in self.ids]


class StepPlan:
    """Steps of a training; fewer than planned where the seconds would not suffice for all at the pace so far."""

    def __init__(self, steps: int, deadline: Deadline) -> None:
        self.planned, self.steps, self.is_shortened = steps, 0, False
        self._deadline, self._start = deadline, deadline.elapsed

    @property
    def position(self) -> float:
        """The share of the steps that is made."""
        return self.steps / self.planned

    @property
    def is_done(self) -> bool:
        """Whether all steps are made that time suffices for."""
        return self.steps >= self.planned

    def count_step(self) -> None:
        """Count a step, and look at the pace every `PACE_STEPS` steps."""
        self.steps += 1
        if self.steps % PACE_STEPS == 0 or self._deadline.passed:
            seconds = (self._deadline.elapsed - self._start) / self.steps
            affordable = max(self._deadline.remaining * TRAINING_SHARE / max(seconds, 1e-9), 0.0)
            if self.steps + affordable < self.planned:
                self.planned, self.is_shortened = self.steps + int(affordable), True


class EncoderTraining:
    """An encoder, its head, and the weights that were best on validation rows."""

    def __init__(
        self, network: nn.Module, padding_id: int, settings: TrainingSettings, resources: FitResources
    ) -> None:
        self.settings, self.padding_id = settings, padding_id
        self.device: Device = resources.device
        self.threads, self.log_progress = resources.threads, resources.log_progress
        self.rng = np.random.default_rng(resources.seed)
        self.network = network.to(self.device)
        # Without dropout: draws in two threads would depend on their order, and few epochs do not need it.
        self.network.eval()
        self.mixed_precision = _has_bfloat16(self.device)

    def run(self, train: TokenRows, valid: TokenRows, deadline: Deadline) -> tuple[int, StoppedBy]:
        """Train from the means of the classes on; return the epoch whose weights the network and the head now have.

        Where the machine is slower than planned, fewer steps are made, over which the learning rates fall to their end;
        at least one.
        """
        self._start(train)
        plan = StepPlan(self.settings.epochs * math.ceil(len(train.ids) / self.settings.batch_size), deadline)
        best: tuple[float, int, dict[str, Tensor], Tensor, Tensor] | None = None
        epoch, stopped_by = 0, "epochs"
        while not plan.is_done:
            epoch += 1
            losses = []
            for rows in training_batches(train.lengths, self.settings.batch_size, self.rng):
                self._set_learning_rates(plan.position)
                losses.append(self._step([train.ids[row] for row in rows], train.codes[rows]))
                plan.count_step()
                if plan.is_done:
                    break
            if not len(valid.ids):
                continue
            loss, accuracy = self._evaluate(valid)
            self.log_progress(
                f"epoch {epoch}: loss {np.mean(losses):.4f}, on validation {loss:.4f}, accuracy {accuracy:.4f}"
            )
            if best is None or loss < best[0]:
                best = (loss, epoch, *self._copy())
            elif not plan.is_done:
                stopped_by = "valid"
                break
        if best is not None:
            self._restore(*best[2:])
        return (best[1] if best else epoch), "budget" if plan.is_shortened else stopped_by  # type: ignore[return-value]

    def vectors(self, ids: list[list[int]]) -> np.ndarray:
        """Embed messages with the current weights, float32, shape (messages, hidden size)."""
        batches = length_sorted_batches([len(tokens) for tokens in ids])

        def compute(rows: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return self._embed([ids[row] for row in rows]).cpu().numpy()

        parts = run_all(compute, batches, self.threads)
        vectors = np.empty((len(ids), parts[0].shape[1]), np.float32)
        for rows, part in zip(batches, parts, strict=True):
            vectors[rows] = part
        return vectors

    def _start(self, train: TokenRows) -> None:
        vectors = torch.from_numpy(self.vectors(train.ids)).to(self.device)
        codes = torch.from_numpy(train.codes).to(self.device)
        means = torch.zeros((int(codes.max()) + 1, vectors.shape[1]), device=self.device)
        for code in range(len(means)):  # a sum of fixed order
            means[code] = vectors[codes == code].mean(dim=0)
        self.weight = nn.Parameter(PROTOTYPE_SCALE * nn.functional.normalize(means, dim=1))
        self.bias = nn.Parameter(torch.zeros(len(means), device=self.device))
        groups = [{"params": [self.weight, self.bias], "highest": self.settings.head_learning_rate}]
        groups += [
            {"params": parameters, "highest": self.settings.learning_rate * self.settings.layer_decay**depth}
            for depth, parameters in self._layers()
        ]
        self.parameters = [parameter for group in groups for parameter in group["params"]]  # type: ignore[attr-defined]
        self.optimizer = torch.optim.AdamW(
            groups, lr=0.0, betas=(0.9, 0.98), weight_decay=self.settings.weight_decay, fused=True
        )

    def _layers(self) -> Iterator[tuple[int, list[nn.Parameter]]]:
        """Yield depth below the top and weights of each layer; embeddings lie lowest, a pooler is not trained."""
        by_layer: dict[int, list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            match = re.search(r"\blayers?\.(\d+)\.", name)
            is_pooler = name.startswith("pooler.")
            parameter.requires_grad_(not is_pooler)
            if not is_pooler:
                by_layer.setdefault(int(match[1]) if match else -1, []).append(parameter)
        top = max(by_layer)
        for layer, parameters in sorted(by_layer.items()):
            yield top - layer, parameters

    def _set_learning_rates(self, position: float) -> None:
        if position < WARMUP_SHARE:
            share = max(position / WARMUP_SHARE, LAST_SHARE)
        else:
            angle = math.pi * min((position - WARMUP_SHARE) / (1.0 - WARMUP_SHARE), 1.0)
            share = LAST_SHARE + (1.0 - LAST_SHARE) * (1.0 + math.cos(angle)) / 2.0
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["highest"]

    def _step(self, ids: list[list[int]], codes: np.ndarray) -> float:
        """Update the weights; the parts of the batch are computed side by side, and summed in order."""
        rows = [np.arange(part, len(ids), PARTS) for part in range(min(PARTS, len(ids)))]

        def gradients(part: np.ndarray) -> tuple[float, tuple[Tensor | None, ...]]:
            vectors = self._embed([ids[row] for row in part])
            scores = vectors @ self.weight.T + self.bias
            targets = torch.from_numpy(codes[part]).to(self.device)
            loss = nn.functional.cross_entropy(
                scores, targets, reduction="sum", label_smoothing=self.settings.label_smoothing
            ) / len(ids)
            return float(loss.detach()), torch.autograd.grad(loss, self.parameters, allow_unused=True)

        results = run_all(gradients, rows, self.threads)
        for number, parameter in enumerate(self.parameters):
            parts = [gradient[number] for _, gradient in results if gradient[number] is not None]
            parameter.grad = None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]  # type: ignore[operator]
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
        self.optimizer.step()
        return sum(loss for loss, _ in results)

    def _embed(self, ids: list[list[int]]) -> Tensor:
        batch = to_tensors(ids, self.padding_id, self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.mixed_precision):
            return mean_of_tokens(self.network, *batch)

    def _evaluate(self, valid: TokenRows) -> tuple[float, float]:
        """Compute log loss and accuracy."""
        with torch.inference_mode():
            scores = torch.from_numpy(self.vectors(valid.ids)).to(self.device) @ self.weight.T + self.bias
            targets = torch.from_numpy(valid.codes).to(self.device)
            loss = nn.functional.cross_entropy(scores, targets)
            return float(loss), float((scores.argmax(dim=1) == targets).float().mean())

    def _copy(self) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return state, self.weight.detach().clone(), self.bias.detach().clone()

    def _restore(self, state: dict[str, Tensor], weight: Tensor, bias: Tensor) -> None:
        self.network.load_state_dict(state)
        self.weight.data, self.bias.data = weight, bias


def _has_bfloat16(device: Device) -> bool:
    """Check for hardware instructions on bfloat16; without them it is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return device == "cuda" or bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
