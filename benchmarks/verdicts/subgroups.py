"""Subgroups: models that harm a group are refused, models that do not are not, and small groups say what they show."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from benchmarks.verdicts.figures import Figure, at_least, at_most, shown
from flows.fintech_risk import CASE
from ml.data.dataset import Dataset
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.quality_gate import check_quality, stops
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.evaluation.subgroup_tests import check_harm
from ml.evaluation.subgroups import compare_groups, subgroup_metrics

REPETITIONS = 400
AUC = 0.75
# The shipped bound of the harm of a group.
BOUND = float(CASE.thresholds.max_subgroup_gap or 0.0)
EVALUATOR = BinaryEvaluator()
Checks = list[dict[str, Any]]


@dataclass(frozen=True)
class Population:
    """Groups of people with a score that is normal in each class; the first group may be harmed.

    `harm` is what its AUC lacks, and `shift` what its log odds have too much. With `knows_it` the probabilities are
    true in spite of the lower AUC, as where the cases of the group are harder to tell apart.
    """

    sizes: tuple[int, ...] = (1000,) * 5
    positives: float = 0.2
    harm: float = 0.0
    shift: float = 0.0
    knows_it: bool = False

    def draw(self, generator: np.random.Generator) -> tuple[Dataset, np.ndarray, np.ndarray]:
        """Draw people, their log odds by a model without the harm, and those by the model."""
        group = np.repeat(np.arange(len(self.sizes)), self.sizes)
        truth = (generator.random(len(group)) < self.positives).astype(float)
        usual, worse = (np.sqrt(2.0) * stats.norm.ppf(auc) for auc in (AUC, AUC - self.harm))
        distance = np.where(group == 0, worse, usual)
        noise = generator.normal(size=len(group))
        assumed = distance if self.knows_it else np.full(len(group), usual)
        offset = special.logit(self.positives)
        harmed = offset + assumed * (noise + distance * truth) - assumed**2 / 2.0
        harmless = offset + usual * (noise + usual * truth) - usual**2 / 2.0
        metadata = pd.DataFrame({"group": [f"group {number}" for number in group]})
        units = np.arange(len(group), dtype=np.uint64)
        dataset = Dataset(pd.DataFrame({"x": noise}), pd.Series(truth), units, metadata)
        return dataset, harmless, harmed + np.where(group == 0, self.shift, 0.0)


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Simulate the quality gate with the shipped bounds, and the comparison of a challenger with the champion."""
    repetitions = max(round(REPETITIONS * scale), 20)

    def rates(population: Population, judge: Callable[..., Checks]) -> dict[str, float]:
        generator = np.random.default_rng(seed)
        judged = [judge(generator, *population.draw(generator)) for _ in range(repetitions)]
        of_group = [[check for check in checks if check.get("group") == "group 0"] for checks in judged]
        shows = [c["detectable"] for checks in of_group for c in checks if c["family"] == "metric"]
        return {
            "any": float(np.mean([any(map(stops, checks)) for checks in judged])),
            "group": float(np.mean([any(map(stops, checks)) for checks in of_group])),
            "warned": float(np.mean([any(check.get("warns") for check in checks) for checks in of_group])),
            "shows": float(np.mean(shows)) if shows else float("nan"),
        }

    usual = rates(Population(), quality_checks)
    yield at_most(5, "refused without a harm, 5 groups of 1,000 rows", usual["any"], 0.05)
    small = rates(Population((150,) * 10), quality_checks)
    yield at_most(5, "refused without a harm, 10 groups of 150 rows, 30 of them positive", small["any"], 0.05)
    yield shown(5, "smallest AUC harm that a group of 1,000 rows shows in 80 % of cases", usual["shows"])
    yield shown(5, "the same for 150 rows", small["shows"])
    for sizes, name in (((1000,) * 5, "5 groups of 1,000"), ((1000, 1000), "2 groups of 1,000")):
        found = rates(Population(sizes, harm=0.10), quality_checks)
        yield at_least(5, f"refused where the AUC of a group is lower by .10, {name}", found["group"], 0.8)
    for shift, positives in ((1.0, 0.2), (1.0, 0.1), (-1.0, 0.1)):
        found = rates(Population((500,) * 5, positives, shift=shift), quality_checks)
        subject = f"refused where the log odds of 500 rows are off by {shift:+g}, {positives:.0%} positive"
        yield at_least(5, subject, found["group"], 0.8)
    known = rates(Population(harm=0.10, knows_it=True), quality_checks)
    yield at_most(5, "refused where the mix of cases explains an AUC lower by .10", known["group"], 0.05)
    yield at_least(5, "the same, warned of", known["warned"], 0.8)
    for count, size in ((5, 1000), (10, 150)):
        equal = rates(Population((size,) * count), harm_checks)
        subject = f"refused where the challenger harms nobody, {count} groups of {size:,}"
        yield at_most(5, subject, equal["any"], 0.05)
    for knows_it in (False, True):
        found = rates(Population(harm=0.10, knows_it=knows_it), harm_checks)
        subject = "refused where the challenger's AUC of 1,000 rows is lower by .10 than the champion's"
        yield at_least(5, subject + (", as it knows" if knows_it else ""), found["group"], 0.8)
    generator, few = np.random.default_rng(seed), max(repetitions // 4, 20)
    for size, hits, loss in ((300, 0.1, 0.0), (1000, 0.3, 0.3)):
        judged = [list_checks(generator, (size,) * 5, hits, loss) for _ in range(few)]
        refused = float(np.mean([any(map(stops, checks)) for checks in judged]))
        if loss:
            yield at_least(5, f"refused where 1,000 users like {loss:.0%} fewer lists", refused, 0.8)
        else:
            yield at_most(5, "refused where lists are as good, 5 groups of 300 users, 30 hits", refused, 0.05)


def quality_checks(
    generator: np.random.Generator, dataset: Dataset, harmless: np.ndarray, model: np.ndarray
) -> Checks:
    """Return the checks of the quality gate of the model."""
    prediction = pd.DataFrame({"probability": special.expit(model)})
    evaluation = {
        "primary": EVALUATOR.primary,
        "low": 1.0,
        "high": 1.0,
        "intervals": {"calibration_error": {"low": 0.0}},
        "groups": subgroup_metrics(dataset, prediction, EVALUATOR, {}, ("group",)),
    }
    return check_quality(CASE.thresholds, evaluation, 0.0, 0.0)


def harm_checks(
    generator: np.random.Generator, dataset: Dataset, harmless: np.ndarray, model: np.ndarray
) -> Checks:
    """Return the checks of the model against a champion that errs in other cases, and harms nobody."""
    challenger, champion = (
        pd.DataFrame({"probability": special.expit(odds + generator.normal(scale=0.5, size=len(odds)))})
        for odds in (model, harmless)
    )
    groups = compare_groups(dataset, challenger, champion, EVALUATOR, ("group",))
    return check_harm(EVALUATOR.primary, groups, BOUND)


def list_checks(generator: np.random.Generator, sizes: tuple[int, ...], hits: float, loss: float) -> Checks:
    """Return the checks of lists of one item, which the first group likes less often by a share of `loss`."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    users = pd.Series([f"user {number}" for number in range(len(group))])
    shares = np.where(group == 0, hits * (1.0 - loss), hits)
    challenger, champion = (
        pd.DataFrame({"user": users, "rank": 1, "item": np.where(found, "liked", "other"), "score": 1.0})
        for found in (generator.random(len(group)) < share for share in (shares, hits))
    )
    nothing: list[list[str]] = [[]] * len(group)
    frame = pd.DataFrame({"user": users, "items": nothing, "times": nothing})
    units = np.arange(len(group), dtype=np.uint64)
    metadata = pd.DataFrame({"group": [f"group {number}" for number in group]})
    dataset = Dataset(frame, pd.Series([["liked"]] * len(group)), units, metadata)
    evaluator = RankingEvaluator(k=1)
    groups = compare_groups(dataset, challenger, champion, evaluator, ("group",))
    return check_harm(evaluator.primary, groups, BOUND)
