"""An ensemble of small neural networks that share weights, like TabM (Gorishniy, Kotelnikov and Babenko, 2025).

Each member scales the inputs and outputs of the shared layers by vectors of its own (BatchEnsemble: Wen, Tran and Ba,
2020). Training averages the losses of the members, prediction their predictions. Torch is needed for training only;
prediction uses numpy.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import special

from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import (
    PREDICTION_COLUMN,
    Target,
    validate_training_truth,
)
from ml.device import deterministic_torch
from ml.encoding.columns import RowValues
from ml.encoding.piecewise_linear import PiecewiseLinearEncoding
from ml.estimator import FitResources
from ml.serialization import from_safetensors, to_safetensors
from ml.tabular.tabm_training import BLOCK_ROWS, StoppedBy, TabMTraining
from ml.time_budget import FitCost

if TYPE_CHECKING:
    pass

# Seconds of one core for a training row until a fit stops early: about 6 s for 10,000 rows and 20 columns.
ROW_SECONDS = 3e-4


@dataclass(frozen=True)
class TabMModel:
    """Weights of all members, and the encoding of their inputs.

    `weights` are float32 arrays: of hidden layer l, `in{l}` (members, inputs), `weight{l}` (inputs, outputs), `out{l}`
    and `bias{l}` (members, outputs); of the output layer, `head` (members, inputs) and `head_bias` (members,). The
    output of a member is added to `base`, in log odds or in units of `scale`. `contributions` are those of
    `importance`. `epochs` is the epoch with the lowest loss on the stopping rows, whose weights these are.
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
    a slice of the training rows. Bins and categories are as in `Linear`.
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
        """Train until the stopping rows stop improving, or the epochs or the time are over (at least one epoch).

        The stopping rows are those of `stopping_split`; `valid` is not used. Uses one thread whatever `resources`
        allow, as sums over rows depend on the number of threads. Raises ValueError as in `validate_training_truth` and
        `FeatureColumns.from_frame`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        encoding = PiecewiseLinearEncoding.fit(train, self.max_bins, self.min_count, self.max_categories)
        base, scale = float(truth.mean()), float(truth.std()) or 1.0
        if self.target == "binary":
            base, scale = float(special.logit(base)), 1.0
        else:
            truth = (truth - base) / scale
        X = encoding.encode(train.frame)
        fit_rows, stopping_rows = stopping_split(train, self.target, resources.seed)
        arrays = (X[fit_rows], truth[fit_rows], X[stopping_rows], truth[stopping_rows])
        with deterministic_torch(resources.seed, resources.device):
            training = TabMTraining(self, base if self.target == "binary" else 0.0, arrays, resources.device)
            epochs, stopped_by = training.run(deadline)
            contributions = _sum_by_column(encoding, training.contributions())
            weights = {name: weight.detach().cpu().numpy() for name, weight in training.weights.items()}
        return TabMModel(self.target, encoding, weights, base, scale, contributions, epochs, stopped_by)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost until early stopping; a fit that is cut short is useless in an ensemble."""
        seconds = ROW_SECONDS * len(train.frame)
        return FitCost(seconds, seconds)


def _sum_by_column(encoding: PiecewiseLinearEncoding, contributions: np.ndarray) -> tuple[float, ...]:
    """Average over rows the absolute sum of the contributions (rows, inputs) of each column's inputs."""
    total = np.zeros((len(encoding.encoding.columns.names), len(contributions)))
    np.add.at(total, encoding.source_columns, contributions.T)
    return tuple(np.abs(total).mean(axis=1).tolist())
