"""A fitted blend: the weighted average of the probabilities of several models of messages."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.class_target import ClassTarget
from ml.encoding.columns import RowValues
from ml.estimator import TabularModel, requirements_of
from ml.serialization import class_name, models_from_files, models_to_files
from ml.text.temperature import softmax

MIN_PROBABILITY = 1e-9


@dataclass(frozen=True)
class BlendMember:
    """What the leaderboard shows of a member; it has no weight where it was not fitted.

    `seconds` is None in a model loaded from files, which do not hold it.
    """

    name: str
    weight: float = 0.0
    loss: float | None = None
    seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class BlendModel:
    """Fitted models, their weights, which sum to 1, and the scale of the logarithm of their average."""

    target: ClassTarget
    models: tuple[TabularModel, ...] = field(repr=False)
    weights: tuple[float, ...]
    scale: float
    members: tuple[BlendMember, ...]
    stopped_by: str

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its models need to predict."""
        return requirements_of(self.models)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in the members' `predict`."""
        parts = [class_probabilities(model, self.target, frame) for model in self.models]
        average = sum(weight * part for weight, part in zip(self.weights, parts, strict=True))
        seen = np.asarray(average)[:, self.target.seen_classes]
        return self.target.predictions(softmax(logarithms(seen), self.scale), frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row of a binary target; errors as in the members' `predict_row`."""
        rows = np.array([[model.predict_row(values)] for model in self.models])
        average = float(np.array(self.weights) @ rows[:, 0])
        scores = logarithms(np.array([[1.0 - average, average]]))
        return self.target.row_probability(
            self.target.predictions(softmax(scores, self.scale), pd.RangeIndex(1))
        )

    def importance(self) -> pd.Series:
        """Average the importance over the models by column, weighted, summing to 1."""
        pairs = zip(self.weights, self.models, strict=True)
        total = sum(weight * model.importance() for weight, model in pairs)
        assert isinstance(total, pd.Series)
        return total / (total.sum() or 1.0)

    def composition(self) -> dict[str, Any]:
        """Describe calibrator and members as JSON values, for the leaderboard."""
        return {"calibrator": "temperature", "members": [asdict(member) for member in self.members]}

    def files(self) -> dict[str, bytes]:
        """Serialise the models to numbered files, and the rest to `blend.json`."""
        state = {
            "target": asdict(self.target),
            "models": [class_name(model) for model in self.models],
            "weights": self.weights,
            "scale": self.scale,
            "members": [asdict(replace(member, seconds=None)) for member in self.members],
            "stopped_by": self.stopped_by,
        }
        return {"blend.json": json.dumps(state).encode(), **models_to_files(self.models)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a blend that `files` serialised."""
        state = json.loads(files["blend.json"])
        return cls(
            ClassTarget.from_json(state["target"]),
            models_from_files(state["models"], files),
            tuple(state["weights"]),
            state["scale"],
            tuple(BlendMember(**member) for member in state["members"]),
            state["stopped_by"],
        )


def class_probabilities(model: TabularModel, target: ClassTarget, frame: pd.DataFrame) -> np.ndarray:
    """Return the probabilities of all classes, shape (rows, classes)."""
    values = model.predict(frame).to_numpy()
    return np.asarray(values if target.classes else np.hstack([1.0 - values, values]))


def logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithms of probabilities, of 0 a finite one."""
    return np.asarray(np.log(np.maximum(probabilities, MIN_PROBABILITY)))
