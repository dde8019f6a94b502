"""Training of an encoder with its head: layer-wise learning rates, one cycle, early stopping on rows set aside.

This module imports torch, so import it where it is used.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from ml.deadline import Deadline
from ml.device import Device
from ml.estimator import FitResources
from ml.text.encoder_network import mean_of_tokens, to_tensors
from ml.text.temperature import fit_scale, log_loss
from ml.text.token_batches import length_sorted_batches, training_batches
from ml.text.training_checkpoint import TrainingCheckpoint, optimizer_tensors, restore_optimizer
from ml.text.training_steps import StepPlan, has_bfloat16, make_optimizer, make_step
from ml.text.worker_threads import run_all

StoppedBy = Literal["epochs", "valid", "budget"]

# Epochs without improvement that end training: while the learning rate is high, one alone says little.
PATIENCE = 2
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


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights after an epoch, with their loss on the rows set aside."""

    loss: float
    epoch: int
    network: dict[str, Tensor]
    head: Tensor
    bias: Tensor

    def groups(self, prefix: str) -> dict[str, dict[str, Tensor]]:
        """Return the tensors as groups of a checkpoint."""
        return {f"{prefix}network": self.network, f"{prefix}head": {"weight": self.head, "bias": self.bias}}

    @classmethod
    def from_groups(
        cls, groups: Mapping[str, Mapping[str, Tensor]], prefix: str, epoch: int, loss: float
    ) -> Self:
        """Restore from `groups`."""
        head = groups[f"{prefix}head"]
        return cls(loss, epoch, {**groups[f"{prefix}network"]}, head["weight"].clone(), head["bias"].clone())

    def to(self, device: Device) -> Self:
        """Move the tensors to a device."""
        network = {name: tensor.to(device) for name, tensor in self.network.items()}
        return replace(self, network=network, head=self.head.to(device), bias=self.bias.to(device))


class EncoderTraining:
    """An encoder, its head, and the weights that were best on the rows set aside."""

    def __init__(
        self,
        network: nn.Module,
        padding_id: int,
        settings: TrainingSettings,
        resources: FitResources,
        checkpoint_key: str,
    ) -> None:
        self.settings, self.padding_id = settings, padding_id
        self.device: Device = resources.device
        self.threads, self.log_progress = resources.threads, resources.log_progress
        self.storage, self.checkpoint_key = resources.storage, checkpoint_key
        self.rng = np.random.default_rng(resources.seed)
        # Without dropout: draws in two threads would depend on their order, and few epochs do not need it.
        self.network = network.to(self.device).eval()
        self.mixed_precision = has_bfloat16(self.device)

    def run(self, train: TokenRows, choice: TokenRows, deadline: Deadline) -> tuple[int, StoppedBy]:
        """Train from the means of the classes on; return the epoch whose weights the network and the head now have.

        A training that was killed continues after its last whole epoch, with the same result as one that was not.
        Where the machine is slower than planned, fewer steps are made, over which the learning rates fall to their end;
        at least one.
        """
        plan, epoch, best = self._resume(deadline) or self._begin(train, deadline)
        while not plan.is_done and (best is None or epoch - best.epoch < PATIENCE):
            epoch += 1
            losses = []
            for rows in training_batches(train.lengths, self.settings.batch_size, self.rng):
                losses.append(self._step(plan.learning_rate_share, train, rows))
                plan.count_step()
                if plan.is_done:
                    break
            if len(choice.ids):
                loss, accuracy = self._evaluate(choice)
                self.log_progress(
                    f"epoch {epoch}: loss {np.mean(losses):.4f}, on rows set aside {loss:.4f}, accuracy {accuracy:.4f}"
                )
                if best is None or loss < best.loss:
                    best = self._copy(loss, epoch)
            self._save(plan, epoch, best)
        if best is not None:
            self.network.load_state_dict(best.network)
            self.weight.data, self.bias.data = best.head, best.bias
        stopped_by: StoppedBy = "budget" if plan.is_shortened else "epochs" if plan.is_done else "valid"
        return (best.epoch if best else epoch), stopped_by

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

    def _begin(self, train: TokenRows, deadline: Deadline) -> tuple[StepPlan, int, _Weights | None]:
        vectors = torch.from_numpy(self.vectors(train.ids)).to(self.device)
        codes = torch.from_numpy(train.codes).to(self.device)
        means = torch.zeros((int(codes.max()) + 1, vectors.shape[1]), device=self.device)
        for code in range(len(means)):  # a sum of fixed order
            means[code] = vectors[codes == code].mean(dim=0)
        self.weight = nn.Parameter(PROTOTYPE_SCALE * nn.functional.normalize(means, dim=1))
        self.bias = nn.Parameter(torch.zeros(len(means), device=self.device))
        self._make_optimizer()
        steps = self.settings.epochs * math.ceil(len(train.ids) / self.settings.batch_size)
        return StepPlan(steps, deadline), 0, None

    def _resume(self, deadline: Deadline) -> tuple[StepPlan, int, _Weights | None] | None:
        """Restore what `_save` saved of the same training, if anything."""
        data = self.storage.load_checkpoint(self.checkpoint_key)
        if data is None:
            return None
        checkpoint = TrainingCheckpoint.from_bytes(data)
        groups, state = checkpoint.groups, checkpoint.state
        current = _Weights.from_groups(groups, "", state["epoch"], 0.0).to(self.device)
        self.network.load_state_dict(current.network)
        self.weight, self.bias = nn.Parameter(current.head), nn.Parameter(current.bias)
        self._make_optimizer()
        restore_optimizer(self.optimizer, groups["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        best = None
        if state["best"] is not None:
            # The best weights are kept apart only where they are not the last ones.
            is_last = state["best"]["epoch"] == state["epoch"]
            best = _Weights.from_groups(groups, "" if is_last else "best ", **state["best"]).to(self.device)
        self.log_progress(f"continues after epoch {state['epoch']}")
        used = Deadline(deadline.seconds, self.threads, used=state["plan"]["elapsed"])
        return StepPlan.resume(state["plan"], used), int(state["epoch"]), best

    def _save(self, plan: StepPlan, epoch: int, best: _Weights | None) -> None:
        self.storage.save_checkpoint(self.checkpoint_key, lambda: self._checkpoint(plan, epoch, best))

    def _checkpoint(self, plan: StepPlan, epoch: int, best: _Weights | None) -> bytes:
        # Not copied first: they are serialised before the next step changes them.
        current = _Weights(0.0, epoch, self.network.state_dict(), self.weight.detach(), self.bias.detach())
        groups = {**current.groups(""), "optimizer": optimizer_tensors(self.optimizer)}
        if best is not None and best.epoch != epoch:
            groups |= best.groups("best ")
        state = {
            "epoch": epoch,
            "best": None if best is None else {"epoch": best.epoch, "loss": best.loss},
            "plan": plan.state(),
            "rng": self.rng.bit_generator.state,
        }
        return TrainingCheckpoint(groups, state).to_bytes()

    def _make_optimizer(self) -> None:
        groups = [([self.weight, self.bias], self.settings.head_learning_rate)]
        groups += [
            (parameters, self.settings.learning_rate * self.settings.layer_decay**depth)
            for depth, parameters in self._layers()
        ]
        self.optimizer = make_optimizer(groups, self.settings.weight_decay)

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

    def _step(self, share: float, train: TokenRows, rows: np.ndarray) -> float:
        """Update the weights on a batch; return its mean loss."""

        def loss_of(part: np.ndarray) -> Tensor:
            vectors = self._embed([train.ids[row] for row in rows[part]])
            targets = torch.from_numpy(train.codes[rows[part]]).to(self.device)
            scores = vectors @ self.weight.T + self.bias
            smoothing = self.settings.label_smoothing
            total = nn.functional.cross_entropy(scores, targets, reduction="sum", label_smoothing=smoothing)
            return total / len(rows)

        return make_step(self.optimizer, share, len(rows), loss_of, self.threads)

    def _embed(self, ids: list[list[int]]) -> Tensor:
        batch = to_tensors(ids, self.padding_id, self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.mixed_precision):
            return mean_of_tokens(self.network, *batch)

    def _evaluate(self, choice: TokenRows) -> tuple[float, float]:
        """Compute log loss, at the temperature with the lowest one, and accuracy."""
        weight, bias = (parameter.detach().cpu().numpy() for parameter in (self.weight, self.bias))
        scores = self.vectors(choice.ids) @ weight.T + bias
        loss = log_loss(scores, choice.codes, fit_scale(scores, choice.codes))
        return loss, float((scores.argmax(axis=1) == choice.codes).mean())

    def _copy(self, loss: float, epoch: int) -> _Weights:
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return _Weights(loss, epoch, state, self.weight.detach().clone(), self.bias.detach().clone())
