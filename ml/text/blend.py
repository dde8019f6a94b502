"""A weighted average of the probabilities of several models of messages."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.encoding.columns import RowValues
from ml.errors import CandidateSkipped
from ml.estimator import Candidate, CostedCandidate, FitResources, TabularModel, files_digest, requirements_of
from ml.serialization import class_name, models_from_files, models_to_files
from ml.text.blend_weights import fit_weights
from ml.text.class_target import ClassTarget
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.temperature import fit_scale, log_loss, softmax
from ml.text.tfidf_linear import TfidfLinear
from ml.time_budget import FREE, FitCost

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
        parts = [_probabilities(model, self.target, frame) for model in self.models]
        average = sum(weight * part for weight, part in zip(self.weights, parts, strict=True))
        seen = np.asarray(average)[:, self.target.seen_classes]
        return self.target.predictions(softmax(_logarithms(seen), self.scale), frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row of a binary target; errors as in the members' `predict_row`."""
        rows = np.array([[model.predict_row(values)] for model in self.models])
        average = float(np.array(self.weights) @ rows[:, 0])
        scores = _logarithms(np.array([[1.0 - average, average]]))
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


def spaced_members() -> dict[str, Candidate]:
    """Return the members of a blend for scripts with spaces between words, simple ones first."""
    return {
        "tf-idf": TfidfLinear(),
        "frozen encoder": FrozenEncoder(),
        "fine-tuned encoder": FineTunedEncoder(),
    }


def unspaced_members() -> dict[str, Candidate]:
    """Return the members of a blend for scripts without spaces, for which no weights are installed."""
    longer = TfidfLinear(unspaced_lengths=(1, 5), by_class_ratio=True, inverse_penalties=(1.0, 3.0, 10.0))
    return {"tf-idf": TfidfLinear(), "tf-idf by class ratio": longer}


@dataclass(frozen=True)
class Blend:
    """`members` by name, fitted in order, simple ones first; a member that the time does not suffice for is left out.

    Weights are those with the lowest log loss on `valid`, shrunk towards equal ones; then a temperature is chosen.
    """

    members: Mapping[str, Candidate] = field(default_factory=spaced_members)

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> BlendModel:
        """Fit members, then weights and temperature. Raises the last member's CandidateSkipped where none can be."""
        deadline = resources.deadline()
        target = ClassTarget.fit(train)
        models: dict[str, TabularModel] = {}
        summaries: dict[str, BlendMember] = {}
        for name, member in self.members.items():
            left = deadline.remaining
            cost = member.cost(train, resources) if isinstance(member, CostedCandidate) else FREE
            if models and cost.minimum > left:
                summaries[name] = BlendMember(name, reason="too little time")
                continue
            started = time.perf_counter()
            try:
                model = member.fit(train, valid, replace(resources, seconds=max(left, 0.0)))
            except CandidateSkipped as skipped:
                if name == list(self.members)[-1] and not models:
                    raise
                summaries[name] = BlendMember(name, reason=str(skipped))
                continue
            models[name] = model  # type: ignore[assignment]
            summaries[name] = BlendMember(name, seconds=time.perf_counter() - started)
            resources.log_progress(f"{name}: {summaries[name].seconds:.0f} s")
        return self._combine(target, models, summaries, valid)

    def _combine(
        self,
        target: ClassTarget,
        models: Mapping[str, TabularModel],
        summaries: dict[str, BlendMember],
        valid: Dataset,
    ) -> BlendModel:
        codes = target.positions_of_seen(target.codes(valid))
        rows = np.flatnonzero(codes >= 0)
        parts = [
            _probabilities(model, target, valid.frame)[np.ix_(rows, target.seen_classes)]
            for model in models.values()
        ]
        weights = fit_weights(parts, codes[rows])
        average = np.asarray(sum(weight * part for weight, part in zip(weights, parts, strict=True)))
        for name, weight, part in zip(models, weights, parts, strict=True):
            loss = log_loss(_logarithms(part), codes[rows]) if len(rows) else None
            summaries[name] = replace(summaries[name], weight=weight, loss=loss)
        cut = any(getattr(model, "stopped_by", "") == "budget" for model in models.values())
        is_whole = len(models) == len(self.members) and not cut
        return BlendModel(
            target,
            tuple(models.values()),
            weights,
            fit_scale(_logarithms(average), codes[rows]),
            tuple(summaries[name] for name in self.members),
            "members" if is_whole else "budget",
        )

    def files_digest(self) -> str:
        """Combine the digests of the members' files; errors as those of the members."""
        digests = [files_digest(member) for member in self.members.values()]
        return hashlib.sha256("".join(digests).encode()).hexdigest() if any(digests) else ""

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Add up the costs of the members; the first one alone is a blend too."""
        costs = [
            member.cost(train, resources) if isinstance(member, CostedCandidate) else FREE
            for member in self.members.values()
        ]
        return FitCost(costs[0].minimum, sum(cost.full for cost in costs))


def _probabilities(model: TabularModel, target: ClassTarget, frame: pd.DataFrame) -> np.ndarray:
    """Return the probabilities of all classes, shape (rows, classes)."""
    values = model.predict(frame).to_numpy()
    return np.asarray(values if target.classes else np.hstack([1.0 - values, values]))


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(probabilities, MIN_PROBABILITY)))
