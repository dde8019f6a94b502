"""A candidate that averages the probabilities of several models of messages."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import CostedCandidate, FitResources, TabularModel, files_digest
from ml.text.blend_model import BlendMember, BlendModel, class_probabilities, logarithms
from ml.text.blend_weights import fit_weights
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.message_columns import MessageColumns
from ml.text.temperature import fit_scale, log_loss
from ml.text.tfidf_linear import TfidfLinear
from ml.text.training_messages import TrainingMessages
from ml.time_budget import FREE, FitCost


class DividedCandidate(Protocol):
    """A candidate for messages that sets some training rows aside, as `ml.text.training_messages` does."""

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> TabularModel:
        """Fit as `ml.estimator.Candidate.fit`."""
        ...

    def fit_parts(self, train: Dataset, resources: FitResources) -> tuple[TabularModel, TabularModel]:
        """Return a model that is not fitted to the rows set aside, and the one that predicts."""
        ...


def spaced_members() -> dict[str, DividedCandidate]:
    """Return the members of a blend for scripts with spaces between words, simple ones first."""
    return {
        "tf-idf": TfidfLinear(),
        "frozen encoder": FrozenEncoder(),
        "fine-tuned encoder": FineTunedEncoder(),
    }


def unspaced_members() -> dict[str, DividedCandidate]:
    """Return the members of a blend for scripts without spaces, for which no weights are installed."""
    longer = TfidfLinear(unspaced_lengths=(1, 5), by_class_ratio=True, inverse_penalties=(1.0, 3.0, 10.0))
    return {"tf-idf": TfidfLinear(), "tf-idf by class ratio": longer}


@dataclass(frozen=True)
class Blend:
    """`members` by name, fitted in order, simple ones first; a member that the time does not suffice for is left out.

    Weights are those with the lowest log loss on the rows set aside, of models that are not fitted to these, shrunk
    towards equal ones; then a temperature is chosen there.
    """

    members: Mapping[str, DividedCandidate] = field(default_factory=spaced_members)

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> BlendModel:
        """Fit members, then weights and temperature; `valid` is not used.

        Raises the last member's CandidateSkipped where none can be.
        """
        deadline = resources.deadline()
        parts: dict[str, TabularModel] = {}
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
                fitted = member.fit_parts(train, replace(resources, seconds=max(left, 0.0)))
            except CandidateSkipped as skipped:
                if name == list(self.members)[-1] and not models:
                    raise
                summaries[name] = BlendMember(name, reason=str(skipped))
                continue
            parts[name], models[name] = fitted
            summaries[name] = BlendMember(name, seconds=time.perf_counter() - started)
            resources.log_progress(f"{name}: {summaries[name].seconds:.0f} s")
        return self._combine(train, resources.seed, parts, models, summaries)

    def _combine(
        self,
        train: Dataset,
        seed: int,
        parts: Mapping[str, TabularModel],
        models: Mapping[str, TabularModel],
        summaries: dict[str, BlendMember],
    ) -> BlendModel:
        target = ClassTarget.fit(train)
        rows = TrainingMessages.collect(train, MessageColumns.fit(train), target, seed)
        choice = rows.part(rows.is_choice)
        probabilities = [
            class_probabilities(model, target, choice.frame)[:, target.seen_classes]
            for model in parts.values()
        ]
        weights = fit_weights(probabilities, choice.codes)
        average = np.asarray(sum(weight * each for weight, each in zip(weights, probabilities, strict=True)))
        for name, weight, each in zip(models, weights, probabilities, strict=True):
            loss = log_loss(logarithms(each), choice.codes) if len(choice.codes) else None
            summaries[name] = replace(summaries[name], weight=weight, loss=loss)
        cut = any(getattr(model, "stopped_by", "") == "budget" for model in models.values())
        is_whole = len(models) == len(self.members) and not cut
        return BlendModel(
            target,
            tuple(models.values()),
            weights,
            fit_scale(logarithms(average), choice.codes),
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
