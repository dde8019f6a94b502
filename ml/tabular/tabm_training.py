"""The training of TabM with torch: initial weights, batches, early stopping, and gradients for the importance."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from ml.data.target import MIN_PROBABILITY
from ml.deadline import Deadline
from ml.device import Device

if TYPE_CHECKING:
    import torch

    from ml.tabular.tabm import TabM

StoppedBy = Literal["valid", "epochs", "budget"]

# Rows predicted at once: larger blocks need more memory and are not faster.
BLOCK_ROWS = 256
# Training rows that the importance of columns is measured on.
MAX_IMPORTANCE_ROWS = 2000


class TabMTraining:
    """The weights in training, and the training and stopping rows as tensors."""

    def __init__(
        self, candidate: "TabM", base: float, arrays: tuple[np.ndarray, ...], device: Device
    ) -> None:
        import torch

        self.candidate, self.base = candidate, base
        self.X, self.truth, self.stopping_X, self.stopping_truth = (
            torch.tensor(array, dtype=torch.float32, device=device) for array in arrays
        )
        initial = self._initial_weights(self.X.shape[1])
        self.weights = {name: weight.to(device).requires_grad_() for name, weight in initial.items()}

    def _initial_weights(self, size: int) -> dict[str, "torch.Tensor"]:
        """Initialise as TabM: members differ in the signs of the first scales and in biases; other scales are 1."""
        import torch

        members, width = self.candidate.members, self.candidate.width
        weights = {}
        for layer in range(self.candidate.depth):
            bound = 1.0 / max(size, 1) ** 0.5
            signs = torch.randint(0, 2, (members, size)).float() * 2.0 - 1.0
            weights[f"in{layer}"] = signs if layer == 0 else torch.ones(members, size)
            weights[f"weight{layer}"] = torch.empty(size, width).uniform_(-bound, bound)
            weights[f"out{layer}"] = torch.ones(members, width)
            weights[f"bias{layer}"] = torch.empty(members, width).uniform_(-bound, bound)
            size = width
        weights["head"] = torch.empty(members, size).uniform_(-(size**-0.5), size**-0.5)
        weights["head_bias"] = torch.zeros(members)
        return weights

    def run(self, deadline: Deadline) -> tuple[int, StoppedBy]:
        """Train, and restore the best weights; return their epoch, and what ended the training."""
        import torch

        candidate = self.candidate
        if not self.X.shape[1]:
            for weight in self.weights.values():
                weight.data.zero_()
            return 0, "valid"
        biases = [weight for name, weight in self.weights.items() if "bias" in name]
        others = [weight for name, weight in self.weights.items() if "bias" not in name]
        groups = [
            {"params": others, "weight_decay": candidate.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=candidate.learning_rate, fused=True)
        best, best_loss, best_epoch = dict[str, torch.Tensor](), float("inf"), 0
        stopped_by: StoppedBy = "epochs"
        for epoch in range(1, candidate.max_epochs + 1):
            for rows in self._batches():
                optimizer.zero_grad(set_to_none=True)
                score = self._score(self.X[rows], candidate.dropout)
                self._loss(score, self.truth[rows, None].expand_as(score)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            loss = self._stopping_loss()
            if loss < best_loss or not best:
                best_loss, best_epoch = loss, epoch
                best = {name: weight.detach().clone() for name, weight in self.weights.items()}
            if deadline.passed:
                stopped_by = "budget"
                break
            if epoch - best_epoch >= candidate.patience:
                stopped_by = "valid"
                break
        for name, weight in best.items():
            self.weights[name].data.copy_(weight)
        return best_epoch, stopped_by

    def _batches(self) -> Iterator["torch.Tensor"]:
        import torch

        batch_size = min(self.candidate.batch_size, len(self.X))
        # Drawn on the CPU, so that the order is the same on any device.
        order = torch.randperm(len(self.X)).to(self.X.device)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            # Skip a small last batch, as its few rows would have the weight of a whole batch.
            if len(rows) >= batch_size // 2:
                yield rows

    def _score(self, X: "torch.Tensor", dropout: float = 0.0) -> "torch.Tensor":
        """Compute the score of each member, shape (rows, members); `X` is (rows, inputs)."""
        import torch

        weights = self.weights
        H = X[:, None, :]
        for layer in range(self.candidate.depth):
            H = (H * weights[f"in{layer}"]) @ weights[f"weight{layer}"]
            H = torch.relu(torch.addcmul(weights[f"bias{layer}"], H, weights[f"out{layer}"]))
            H = torch.nn.functional.dropout(H, dropout, training=dropout > 0.0)
        return (H * weights["head"]).sum(dim=2) + weights["head_bias"] + self.base

    def _loss(self, score: "torch.Tensor", truth: "torch.Tensor") -> "torch.Tensor":
        from torch.nn import functional

        if self.candidate.target == "numeric":
            return functional.mse_loss(score, truth)
        return functional.binary_cross_entropy_with_logits(score, truth)

    def _stopping_loss(self) -> float:
        """Compute the loss of the mean prediction of all members on the stopping rows."""
        import torch

        with torch.no_grad():
            starts = range(0, len(self.stopping_X), BLOCK_ROWS)
            blocks = [self._score(self.stopping_X[start : start + BLOCK_ROWS]) for start in starts]
            score, truth = torch.cat(blocks).double(), self.stopping_truth.double()
            if self.candidate.target == "numeric":
                return float(self._loss(score.mean(dim=1), truth))
            probability = torch.sigmoid(score).mean(dim=1).clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
            return float(torch.nn.functional.binary_cross_entropy(probability, truth))

    def contributions(self) -> np.ndarray:
        """Compute gradient times input of at most `MAX_IMPORTANCE_ROWS` training rows, shape (rows, inputs)."""
        import torch

        X = self.X[:MAX_IMPORTANCE_ROWS].clone().requires_grad_()
        (gradients,) = torch.autograd.grad(self._score(X).mean(dim=1).sum(), X)
        return (gradients * X.detach()).double().cpu().numpy()
