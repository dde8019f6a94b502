"""An ensemble of small neural networks that share weights, like TabM (Gorishniy, Kotelnikov and Babenko, 2025).

Each member scales the inputs and outputs of the shared layers by vectors of its own (BatchEnsemble: Wen, Tran and Ba,
2020). Training averages the losses of the members, prediction their predictions. Torch is needed for training only;
prediction uses numpy.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from scipy import special

from ml.data.dataset import Dataset
from ml.data.target import (
    MIN_PROBABILITY,
    PREDICTION_COLUMN,
    Target,
    validate_training_truth,
    validate_truth,
)
from ml.deadline import Deadline
from ml.device import Device, deterministic_torch
from ml.encoding.columns import RowValues
from ml.encoding.piecewise_linear import PiecewiseLinearEncoding
from ml.estimator import FitResources
from ml.serialization import from_safetensors, to_safetensors

if TYPE_CHECKING:
    import torch

StoppedBy = Literal["valid", "epochs", "budget"]

# Rows predicted at once: larger blocks need more memory and are not faster.
BLOCK_ROWS = 256
# Training rows that the importance of columns is measured on.
MAX_IMPORTANCE_ROWS = 2000


@dataclass(frozen=True)
class TabMModel:
    """Weights of all members, and the encoding of their inputs.

    `weights` are float32 arrays: of hidden layer l, `in{l}` (members, inputs), `weight{l}` (inputs, outputs), `out{l}`
    and `bias{l}` (members, outputs); of the output layer, `head` (members, inputs) and `head_bias` (members,). The
    output of a member is added to `base`, in log odds or in units of `scale`. `contributions` are those of
    `importance`. `epochs` is the epoch with the lowest loss on `valid`, whose weights these are.
    """

    requirements: ClassVar[tuple[str, ...]] = ("safetensors",)
    target: Target
    encoding: PiecewiseLinearEncoding
    weights: Mapping[str, np.ndarray] = field(repr=False)
    base: float
    scale: float
    contributions: tuple[float, ...]
    epochs: int
    stopped_by: StoppedBy

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Average the probabilities or numbers of the members; errors as in `PiecewiseLinearEncoding.encode`."""
        X = self.encoding.encode(frame)
        blocks = [
            self._predict_inputs(X[start : start + BLOCK_ROWS]) for start in range(0, len(X), BLOCK_ROWS)
        ]
        return pd.DataFrame(
            {PREDICTION_COLUMN[self.target]: np.concatenate([np.empty(0), *blocks])}, index=frame.index
        )

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        return float(self._predict_inputs(self.encoding.encode_row(values))[0])

    def importance(self) -> pd.Series:
        """Return gradient times input (Shrikumar et al., 2016) as shares by column name.

        The contribution of a column is the mean over training rows of the absolute sum over its inputs.
        """
        return self.encoding.encoding.columns.shares(self.contributions)

    def _predict_inputs(self, X: np.ndarray) -> np.ndarray:
        weights = self._float64_weights
        # Shape (rows, members, inputs): numpy multiplies each row separately, so that rounding depends on no other row.
        H = X[:, None, :]
        for layer in range(self._depth):
            H = (H * weights[f"in{layer}"]) @ weights[f"weight{layer}"]
            H = np.maximum(H * weights[f"out{layer}"] + weights[f"bias{layer}"], 0.0)
        score = (H * weights["head"]).sum(axis=2) + weights["head_bias"]
        if self.target == "binary":
            return np.asarray(special.expit(self.base + score).mean(axis=1))
        return np.asarray(self.base + self.scale * score.mean(axis=1))

    @cached_property
    def _float64_weights(self) -> dict[str, np.ndarray]:
        return {name: weight.astype(np.float64) for name, weight in self.weights.items()}

    @cached_property
    def _depth(self) -> int:
        return sum(name.startswith("weight") for name in self.weights)

    def files(self) -> dict[str, bytes]:
        """Serialise to `weights.safetensors` and `model.json`."""
        state = {
            "target": self.target,
            "encoding": asdict(self.encoding),
            "base": self.base,
            "scale": self.scale,
            "contributions": self.contributions,
            "epochs": self.epochs,
            "stopped_by": self.stopped_by,
        }
        return {"model.json": json.dumps(state).encode(), "weights.safetensors": to_safetensors(self.weights)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        state["weights"] = from_safetensors(files["weights.safetensors"])
        state["encoding"] = PiecewiseLinearEncoding.from_json(state["encoding"])
        state["contributions"] = tuple(state["contributions"])
        return cls(**state)


@dataclass(frozen=True)
class TabM:
    """`members` networks of `depth` hidden layers of `width` units, trained by AdamW (Loshchilov and Hutter, 2019).

    Training ends after `patience` epochs without improvement of the log loss (binary) or squared error (numeric) on
    `valid`. Bins and categories are as in `Linear`.
    """

    target: Target = "binary"
    members: int = 8
    width: int = 64
    depth: int = 2
    dropout: float = 0.1
    learning_rate: float = 0.006
    weight_decay: float = 0.01
    batch_size: int = 256
    max_epochs: int = 200
    patience: int = 8
    max_bins: int = 8
    min_count: int = 10
    max_categories: int = 255

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> TabMModel:
        """Train until `valid` stops improving, or the epochs or the time are over (at least one epoch).

        Uses one thread whatever `resources` allow, as sums over rows depend on the number of threads. Raises ValueError
        as in `validate_training_truth` and `FeatureColumns.from_frame`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        valid_truth = validate_truth(valid.truth, self.target)
        encoding = PiecewiseLinearEncoding.fit(train, self.max_bins, self.min_count, self.max_categories)
        base, scale = float(truth.mean()), float(truth.std()) or 1.0
        if self.target == "binary":
            base, scale = float(special.logit(base)), 1.0
        else:
            truth, valid_truth = (truth - base) / scale, (valid_truth - base) / scale
        arrays = (encoding.encode(train.frame), truth, encoding.encode(valid.frame), valid_truth)
        with deterministic_torch(resources.seed, resources.device):
            training = _Training(self, base if self.target == "binary" else 0.0, arrays, resources.device)
            epochs, stopped_by = training.run(deadline)
            contributions = _sum_by_column(encoding, training.contributions())
            weights = {name: weight.detach().cpu().numpy() for name, weight in training.weights.items()}
        return TabMModel(self.target, encoding, weights, base, scale, contributions, epochs, stopped_by)


class _Training:
    """The weights in training, and the training and validation rows as tensors."""

    def __init__(self, candidate: TabM, base: float, arrays: tuple[np.ndarray, ...], device: Device) -> None:
        import torch

        self.candidate, self.base = candidate, base
        self.X, self.truth, self.valid_X, self.valid_truth = (
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
            loss = self._valid_loss()
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

    def _valid_loss(self) -> float:
        """Compute the loss of the mean prediction of all members on `valid`."""
        import torch

        with torch.no_grad():
            starts = range(0, len(self.valid_X), BLOCK_ROWS)
            blocks = [self._score(self.valid_X[start : start + BLOCK_ROWS]) for start in starts]
            score, truth = torch.cat(blocks).double(), self.valid_truth.double()
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


def _sum_by_column(encoding: PiecewiseLinearEncoding, contributions: np.ndarray) -> tuple[float, ...]:
    """Average over rows the absolute sum of the contributions (rows, inputs) of each column's inputs."""
    total = np.zeros((len(encoding.encoding.columns.names), len(contributions)))
    np.add.at(total, encoding.source_columns, contributions.T)
    return tuple(np.abs(total).mean(axis=1).tolist())
