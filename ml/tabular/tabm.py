"""A network in the manner of TabM (Gorishniy, Kotelnikov and Babenko, 2025): many small networks that share weights.

Each member scales what goes into a shared layer and what comes out of it by numbers of its own (BatchEnsemble: Wen,
Tran and Ba, 2020). Their losses are averaged in training, their answers in prediction. Numbers go in as
piecewise-linear encodings over quantile bins (Gorishniy, Rubachev and Babenko, 2022). Torch trains; numpy answers.
"""

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from scipy import special

from ml.data.dataset import Dataset
from ml.data.target import EDGE, PREDICTION, Target, checked_truth, training_truth
from ml.device import Device, torch_of_our_own
from ml.encoding.columns import Row
from ml.encoding.one_hot import OneHot
from ml.estimator import FitResources

if TYPE_CHECKING:
    import torch

StoppedBy = Literal["valid", "epochs", "budget"]

# Rows that are answered at once: more fill the memory, and are no faster.
BLOCK = 256
# Rows that contributions are measured on.
MEASURED = 2000


@dataclass(frozen=True)
class Inputs:
    """What goes into the network, less its mean over the training rows.

    A number gives its place within each of its bins, from 0 to 1, and flags of being missing and of each special code;
    what is no quantity has the mean place. A category gives a flag of each code. `kept` are the inputs that vary over
    the training rows, of which alone something can be learned; `means` are theirs.
    """

    encoding: OneHot
    kept: tuple[int, ...]
    means: tuple[float, ...]

    @classmethod
    def learn(cls, train: Dataset, bins: int, min_count: int, max_categories: int) -> Self:
        """Bins and categories as in `OneHot.learn`; errors as in `Columns.of`."""
        encoding = OneHot.learn(train.frame, bins, min_count, max_categories, train.sentinel_values)
        every = cls(encoding, (), ())._every(*_cells(encoding, train.frame))
        known = np.where(np.isnan(every).all(axis=0), 0.0, every)
        kept = np.flatnonzero(np.nanmax(known, axis=0) > np.nanmin(known, axis=0))
        return cls(encoding, tuple(kept.tolist()), tuple(np.nanmean(every[:, kept], axis=0).tolist()))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(OneHot.from_json(state["encoding"]), tuple(state["kept"]), tuple(state["means"]))

    @cached_property
    def owners(self) -> np.ndarray:
        """The place in `encoding.columns.names` of the column that each input comes from, shape (inputs,)."""
        flags = [len(bins.special) for bins in self.encoding.bins]
        widths = [len(knots) + more for knots, more in zip(self._knots, flags, strict=True)]
        widths += [len(codes) for codes in self.encoding.codes]
        return np.asarray(np.repeat(np.arange(len(widths)), widths)[self._kept])

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Shape (rows, inputs), float64; errors as in `Columns`."""
        self.encoding.columns.check(frame)
        return self._centred(self._every(*_cells(self.encoding, frame)))

    def encode_row(self, values: Row) -> np.ndarray:
        """As `encode`, of one row, shape (1, inputs); errors as in `Columns.row`."""
        numbers, strings = self.encoding.columns.row(values)
        codes = [one.code(text) for one, text in zip(self.encoding.codes, strings, strict=True)]
        return self._centred(self._every(np.array([numbers]), np.array([codes], np.int64)))

    @cached_property
    def _kept(self) -> np.ndarray:
        return np.array(self.kept, np.int64)

    @cached_property
    def _means(self) -> np.ndarray:
        return np.array(self.means)

    @cached_property
    def _knots(self) -> list[np.ndarray]:
        return [np.unique([bins.low, *bins.edges, bins.high]) for bins in self.encoding.bins]

    def _centred(self, every: np.ndarray) -> np.ndarray:
        return np.asarray(np.nan_to_num(every[:, self._kept] - self._means))

    def _every(self, numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Of numbers (rows, numeric columns) and codes (rows, categorical columns), NaN where there is no place."""
        parts = [np.empty((len(numbers), 0))]
        for values, knots, bins in zip(numbers.T, self._knots, self.encoding.bins, strict=True):
            flags = np.column_stack([np.isnan(values), *(values == code for code in bins.special)])
            clipped = np.clip(values, knots[0], knots[-1])
            places = np.clip((clipped[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)
            places[flags.any(axis=1)] = np.nan
            parts += [places, flags]
        parts += [codes[:, [at]] == np.arange(len(one)) for at, one in enumerate(self.encoding.codes)]
        return np.hstack(parts)


def _cells(encoding: OneHot, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, and codes of categories, each of shape (rows, columns of the kind)."""
    codes = np.empty((len(frame), len(encoding.codes)), np.int64)
    for at, (one, texts) in enumerate(zip(encoding.codes, encoding.columns.strings(frame), strict=True)):
        codes[:, at] = one.encode(texts)
    return encoding.columns.numbers(frame), codes


@dataclass(frozen=True)
class NetworkModel:
    """Float32 weights by name: of the hidden layer number l `in`l (members, inputs), `weight`l (inputs, outputs),
    `out`l and `bias`l (members, outputs); of the last one `head` (members, inputs) and `head_bias` (members,).

    A member says how far it is from `base`: in log odds, or in `scale`s of the target. `contributions` are told by
    `importance`. `epochs` are those of the best loss of `valid`, whose weights these are.
    """

    target: Target
    inputs: Inputs
    weights: Mapping[str, np.ndarray] = field(repr=False)
    base: float
    scale: float
    contributions: tuple[float, ...]
    epochs: int
    stopped_by: StoppedBy

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The mean of the members' probabilities or numbers; errors as in `Inputs.encode`."""
        X = self.inputs.encode(frame)
        answers = [self._answer(X[at : at + BLOCK]) for at in range(0, len(X), BLOCK)]
        return pd.DataFrame(
            {PREDICTION[self.target]: np.concatenate([np.empty(0), *answers])}, index=frame.index
        )

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        return float(self._answer(self.inputs.encode_row(values))[0])

    def importance(self) -> pd.Series:
        """Gradient times input (Shrikumar et al., 2016) on training rows: the mean absolute sum over a column's inputs.

        A share by column name, summing to 1 (all 0 where no column matters).
        """
        raw = pd.Series(self.contributions, index=list(self.inputs.encoding.columns.names), dtype="float64")
        return raw / (raw.sum() or 1.0)

    def _answer(self, X: np.ndarray) -> np.ndarray:
        # (rows, members, inputs): numpy multiplies the matrix of each row by itself, so no other row rounds it.
        H = X[:, None, :]
        for at in range(self._depth):
            H = (H * self._wide[f"in{at}"]) @ self._wide[f"weight{at}"]
            H = np.maximum(H * self._wide[f"out{at}"] + self._wide[f"bias{at}"], 0.0)
        score = (H * self._wide["head"]).sum(axis=2) + self._wide["head_bias"]
        if self.target == "binary":
            return np.asarray(special.expit(self.base + score).mean(axis=1))
        return np.asarray(self.base + self.scale * score.mean(axis=1))

    @cached_property
    def _wide(self) -> dict[str, np.ndarray]:
        return {name: one.astype(np.float64) for name, one in self.weights.items()}

    @cached_property
    def _depth(self) -> int:
        return sum(name.startswith("weight") for name in self.weights)

    def files(self) -> dict[str, bytes]:
        """`weights.npy`, all weights one after the other, and `model.json`, which has their names and shapes."""
        own = {
            "target": self.target,
            "inputs": asdict(self.inputs),
            "shapes": {name: one.shape for name, one in self.weights.items()},
            "base": self.base,
            "scale": self.scale,
            "contributions": self.contributions,
            "epochs": self.epochs,
            "stopped_by": self.stopped_by,
        }
        flat = io.BytesIO()
        np.save(flat, np.concatenate([one.ravel() for one in self.weights.values()]), allow_pickle=False)
        return {"model.json": json.dumps(own).encode(), "weights.npy": flat.getvalue()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        own = json.loads(files["model.json"])
        shapes: dict[str, list[int]] = own.pop("shapes")
        flat = np.lib.format.read_array(io.BytesIO(files["weights.npy"]), allow_pickle=False)
        pieces = np.split(flat, np.cumsum([np.prod(shape, dtype=np.int64) for shape in shapes.values()])[:-1])
        own["weights"] = {
            name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        own["inputs"] = Inputs.from_json(own["inputs"])
        own["contributions"] = tuple(own["contributions"])
        return cls(**own)


@dataclass(frozen=True)
class Network:
    """`members` networks of `depth` hidden layers of `width`, trained by AdamW (Loshchilov and Hutter, 2019).

    Training ends after `patience` epochs without a gain in the log loss (binary) or squared error (numeric) of
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
    bins: int = 8
    min_count: int = 10
    max_categories: int = 255

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> NetworkModel:
        """Train until `valid` stops improving, or the epochs or the time are over (at least one epoch).

        One thread is used whatever `resources` allow: sums over rows hang on how many threads share them. Raises
        ValueError as in `training_truth` and `Columns.of`.
        """
        deadline = time.monotonic() + resources.seconds
        truth = training_truth(train.truth, self.target)
        valid_truth = checked_truth(valid.truth, self.target)
        inputs = Inputs.learn(train, self.bins, self.min_count, self.max_categories)
        base, scale = float(truth.mean()), float(truth.std()) or 1.0
        if self.target == "binary":
            base, scale = float(special.logit(base)), 1.0
        else:
            truth, valid_truth = (truth - base) / scale, (valid_truth - base) / scale
        arrays = (inputs.encode(train.frame), truth, inputs.encode(valid.frame), valid_truth)
        with torch_of_our_own(resources.seed, resources.device):
            training = _Training(self, base if self.target == "binary" else 0.0, arrays, resources.device)
            epochs, stopped_by = training.run(deadline)
            contributions = _by_column(inputs, training.contributions())
            weights = {name: one.detach().cpu().numpy() for name, one in training.weights.items()}
        return NetworkModel(self.target, inputs, weights, base, scale, contributions, epochs, stopped_by)


class _Training:
    """Weights, and the rows that change them and that say when to stop."""

    def __init__(self, of: Network, base: float, arrays: tuple[np.ndarray, ...], device: Device) -> None:
        import torch

        self.of, self.base = of, base
        self.X, self.truth, self.valid_X, self.valid_truth = (
            torch.tensor(one, dtype=torch.float32, device=device) for one in arrays
        )
        first = self._first_weights(self.X.shape[1])
        self.weights = {name: one.to(device).requires_grad_() for name, one in first.items()}

    def _first_weights(self, size: int) -> dict[str, "torch.Tensor"]:
        """As in TabM: members differ by signs of the first inputs and by biases, and all other scales are 1."""
        import torch

        of = self.of
        weights = {}
        for layer in range(of.depth):
            bound = 1.0 / max(size, 1) ** 0.5
            signs = torch.randint(0, 2, (of.members, size)).float() * 2.0 - 1.0
            weights[f"in{layer}"] = signs if layer == 0 else torch.ones(of.members, size)
            weights[f"weight{layer}"] = torch.empty(size, of.width).uniform_(-bound, bound)
            weights[f"out{layer}"] = torch.ones(of.members, of.width)
            weights[f"bias{layer}"] = torch.empty(of.members, of.width).uniform_(-bound, bound)
            size = of.width
        weights["head"] = torch.empty(of.members, size).uniform_(-(size**-0.5), size**-0.5)
        weights["head_bias"] = torch.zeros(of.members)
        return weights

    def run(self, deadline: float) -> tuple[int, StoppedBy]:
        """Train, and go back to the best weights: their epoch, and what ended the training."""
        import torch

        of = self.of
        if not self.X.shape[1]:
            for one in self.weights.values():
                one.data.zero_()
            return 0, "valid"
        biases = [one for name, one in self.weights.items() if "bias" in name]
        others = [one for name, one in self.weights.items() if "bias" not in name]
        groups = [
            {"params": others, "weight_decay": of.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=of.learning_rate, fused=True)
        best, best_loss, best_epoch = dict[str, torch.Tensor](), float("inf"), 0
        stopped_by: StoppedBy = "epochs"
        for epoch in range(1, of.max_epochs + 1):
            for rows in self._batches():
                optimizer.zero_grad(set_to_none=True)
                score = self._score(self.X[rows], of.dropout)
                self._loss(score, self.truth[rows, None].expand_as(score)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            loss = self._valid_loss()
            if loss < best_loss or not best:
                best_loss, best_epoch = loss, epoch
                best = {name: one.detach().clone() for name, one in self.weights.items()}
            if time.monotonic() > deadline:
                stopped_by = "budget"
                break
            if epoch - best_epoch >= of.patience:
                stopped_by = "valid"
                break
        for name, one in best.items():
            self.weights[name].data.copy_(one)
        return best_epoch, stopped_by

    def _batches(self) -> Iterator["torch.Tensor"]:
        import torch

        batch = min(self.of.batch_size, len(self.X))
        # On the CPU, so that chance is the same on any device.
        order = torch.randperm(len(self.X)).to(self.X.device)
        for at in range(0, len(order), batch):
            rows = order[at : at + batch]
            # A rest of few rows would pull as hard as a batch.
            if len(rows) >= batch // 2:
                yield rows

    def _score(self, X: "torch.Tensor", dropout: float = 0.0) -> "torch.Tensor":
        """Of each member, shape (rows, members); `X` is (rows, inputs)."""
        import torch

        own = self.weights
        H = X[:, None, :]
        for at in range(self.of.depth):
            H = (H * own[f"in{at}"]) @ own[f"weight{at}"]
            H = torch.relu(torch.addcmul(own[f"bias{at}"], H, own[f"out{at}"]))
            H = torch.nn.functional.dropout(H, dropout, training=dropout > 0.0)
        return (H * own["head"]).sum(dim=2) + own["head_bias"] + self.base

    def _loss(self, score: "torch.Tensor", truth: "torch.Tensor") -> "torch.Tensor":
        from torch.nn import functional

        if self.of.target == "numeric":
            return functional.mse_loss(score, truth)
        return functional.binary_cross_entropy_with_logits(score, truth)

    def _valid_loss(self) -> float:
        """Of the answer, which is the mean of the members'."""
        import torch

        with torch.no_grad():
            blocks = [self.valid_X[at : at + BLOCK] for at in range(0, len(self.valid_X), BLOCK)]
            score = torch.cat([self._score(X) for X in blocks]).double()
            truth = self.valid_truth.double()
            if self.of.target == "numeric":
                return float(self._loss(score.mean(dim=1), truth))
            probability = torch.sigmoid(score).mean(dim=1).clamp(EDGE, 1.0 - EDGE)
            return float(torch.nn.functional.binary_cross_entropy(probability, truth))

    def contributions(self) -> np.ndarray:
        """Gradient times input of up to `MEASURED` training rows, shape (rows, inputs)."""
        import torch

        X = self.X[:MEASURED].clone().requires_grad_()
        (slopes,) = torch.autograd.grad(self._score(X).mean(dim=1).sum(), X)
        return (slopes * X.detach()).double().cpu().numpy()


def _by_column(inputs: Inputs, shares: np.ndarray) -> tuple[float, ...]:
    """The mean over rows of the absolute sum of each column's `shares`."""
    total = np.zeros((len(inputs.encoding.columns.names), len(shares)))
    np.add.at(total, inputs.owners, shares.T)
    return tuple(np.abs(total).mean(axis=1).tolist())
