"""Repeated looks: challengers that are no better are not promoted by trying often, and a better one still is.

Scores of models vary between test rows so that the difference of two has a standard error of 1; nights have one
challenger each. The levels come from the function that a run uses. On validation rows scores vary on their own: only
the true advantage is the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.tabular_datasets import load_table
from benchmarks.verdicts.figures import Figure, at_least, at_most, shown
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.looks import (
    CLEAR,
    ERROR_RATE,
    MIN_RECIPES,
    SOME,
    EarlierLook,
    Lead,
    kind_of_lead,
    look_level,
    next_look,
    sketch_rows,
)
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.ledger import PROMOTE, Verdict
from tasks.promote import Demands, compare_with_champion, lead_on_validation

NIGHTS = 365
POWER = 0.75
# The true advantage of a better model, in standard errors.
ADVANTAGE = 3.0
# Trees of the better recipe on Taiwan, and of a weaker one.
BETTER, WEAKER = 50, 12
EVERY = 4
BEFORE = "before looks were counted"
# Leads are measured on as many validation rows as test rows, or on half of them; None: they are unknown.
RATIOS: dict[str, float | None] = {
    "unknown leads": None,
    "leads on as many rows": 1.0,
    "on half of them": 0.5,
}
# The part of their variance that scores of challengers share.
SHARED = {"independent": 0.0, "alike": 0.9}


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Simulate years of nights, then train LightGBM with many seeds."""
    generator, years = np.random.default_rng(seed), max(int(4000 * scale), 50)
    retrained = ["champion"] * NIGHTS
    nights = {
        "one recipe, trained again every night": retrained,
        "another recipe every month": [f"recipe {night // 30}" for night in range(NIGHTS)],
        "another recipe every night": [f"recipe {night}" for night in range(NIGHTS)],
    }
    for described, recipes in nights.items():
        levels = spent_levels([*recipes, "better"])
        for (leads, ratio), (name, shared) in product(RATIOS.items(), SHARED.items()):
            if ratio is None:
                promoted, power = simulate(levels, shared, years, generator)
            else:
                promoted, power = simulate_leads(recipes, ratio, shared, years, generator)
            rate = f"P(any null promotion in {NIGHTS} nights), {described}, {name}, {leads}"
            yield at_most(2, rate, promoted, ERROR_RATE)
            found = f"  then power for +{ADVANTAGE:g} SE by a new recipe"
            # With half of the validation rows the power is that of the bound, within the error of a simulation.
            is_bounded = recipes is retrained and ratio != 0.5
            yield at_least(2, found, power, POWER) if is_bounded else shown(2, found, power)
    yield from _power_by_look()
    yield from _before(years, generator)
    yield _rolling(years, generator)
    yield from _lightgbm(max(int(40 * scale), 4))


def spent_levels(recipes: Sequence[str], units: int = 50, fresh: int = 0) -> np.ndarray:
    """Return the level of each night's look; the champion's recipe is known, and `fresh` units are new every night."""
    earlier = [EarlierLook(_sketch(0, units), "champion", is_look=False)]
    levels = []
    for night, recipe in enumerate(recipes):
        rows = _sketch(night * fresh, units)
        look = next_look(rows, recipe, earlier)
        assert look
        earlier.append(EarlierLook(rows, recipe, True, look.is_new_recipe))
        levels.append(look.level)
    return np.array(levels)


def _sketch(first: int, units: int) -> str:
    truth = pd.Series(np.zeros(units))
    return sketch_rows(
        Dataset(pd.DataFrame({"x": truth}), truth, np.arange(first, first + units, dtype=np.uint64))
    )


def simulate(
    levels: np.ndarray, shared: float, years: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return how often any challenger of all nights but the last is promoted, none of which is better, and the last.

    The last one is better by `ADVANTAGE`. Each score has a variance of .5; challengers share a part of it, as those do
    that are trained on nearly the same rows. A promoted challenger is the champion from then on, with its luck.
    """
    limits = stats.norm.isf(levels)
    promoted = better = 0
    for _ in range(years):
        scores = np.sqrt(0.5 * (1.0 - shared)) * generator.normal(size=len(levels))
        scores += np.sqrt(0.5 * shared) * generator.normal()
        champion = first = np.sqrt(0.5) * generator.normal()
        for night in np.flatnonzero(scores - first > limits):
            if night < len(levels) - 1 and scores[night] - champion > limits[night]:
                champion = scores[night]
        promoted += champion != first
        better += scores[-1] + ADVANTAGE - champion > limits[-1]
    return promoted / years, better / years


def simulate_leads(
    recipes: Sequence[str], ratio: float, shared: float, years: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the same where each challenger is compared on validation rows first, `ratio` times as many as test rows.

    A recipe is known from its second night on, and the champion's from the first.
    """

    common = np.sqrt(0.5 * shared) * generator.normal(size=(2, years))
    champion = np.sqrt(0.5) * generator.normal(size=(2, years))
    counts = {is_new: {CLEAR: np.zeros(years, int), SOME: np.zeros(years, int)} for is_new in (True, False)}
    advantage = np.array([[ADVANTAGE], [ADVANTAGE * np.sqrt(ratio)]])
    known, promoted, power = {"champion"}, np.zeros(years, bool), 0.0
    recorded = RecordedLeads(years)
    for night, recipe in enumerate([*recipes, "better"]):
        is_new, is_last = recipe not in known, night == len(recipes)
        known.add(recipe)
        scores = common + np.sqrt(0.5 * (1.0 - shared)) * generator.normal(size=(2, years))
        scores += advantage * is_last
        leads = scores[1] - champion[1]
        before = counts[is_new]
        is_first = before[CLEAR] + before[SOME] == 0
        kinds = _kinds(stats.norm.sf(leads), recorded.p_among(recipe, leads), is_first)
        levels = np.array(
            [_level(is_new, *each) for each in zip(kinds, before[CLEAR], before[SOME], strict=True)]
        )
        better = scores[0] - champion[0] > stats.norm.isf(levels)
        if is_last:
            power = float(better.mean())
            break
        for lead, count in before.items():
            count += kinds == lead
        promoted |= better
        champion = np.where(better, scores, champion)
        recorded.add(recipe, np.where(better, np.nan, leads), better)
    return float(promoted.mean()), power


class RecordedLeads:
    """The last lead of each recipe over the present champion, in each year, as `ml.evaluation.looks` uses them."""

    def __init__(self, years: int) -> None:
        self._leads: dict[str, np.ndarray] = {}
        self._sums = np.zeros((3, years))

    def add(self, recipe: str, leads: np.ndarray, is_over: np.ndarray) -> None:
        """Record leads; NaN for none. Where a champion `is_over`, those over it are dropped."""
        self._sums -= _powers(self._leads.get(recipe, np.full(len(leads), np.nan)))
        self._leads[recipe] = leads
        self._sums += _powers(leads)
        if is_over.any():
            for each in self._leads.values():
                each[is_over] = np.nan
            self._sums[:, is_over] = 0.0

    def p_among(self, recipe: str, leads: np.ndarray) -> np.ndarray:
        """Return `p_among` of each year, NaN where it is not known."""
        own = self._leads.get(recipe, np.full(len(leads), np.nan))
        count, total, squares = self._sums - _powers(own)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            variance = (squares / count - mean**2) * count / (count - 1.0)
            t = (leads - mean) / np.sqrt(variance * (1.0 + 1.0 / count))
            return np.where(count >= MIN_RECIPES, stats.t.sf(t, count - 1.0), np.nan)


def _powers(values: np.ndarray) -> np.ndarray:
    """Return what is summed for count, mean and variance; nothing for NaN."""
    is_known = ~np.isnan(values)
    filled = np.where(is_known, values, 0.0)
    return np.stack([is_known.astype(float), filled, filled**2])


def _kinds(lead_p: np.ndarray, among: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    return np.array(
        [
            kind_of_lead(Lead(p, None if np.isnan(other) else other), first) or ""
            for p, other, first in zip(lead_p, among, is_first, strict=True)
        ]
    )


@cache
def _level(is_new: bool, lead: str, clear: int, some: int) -> float:
    return look_level(is_new, lead, {CLEAR: clear, SOME: some}) if lead else 0.0


def _power_by_look() -> Iterator[Figure]:
    for number in (1, 2, 5, 12, 30):
        level = spent_levels([f"recipe {each}" for each in range(number)])[-1]
        power = stats.norm.sf(stats.norm.isf(level) - ADVANTAGE)
        advantage = stats.norm.isf(level) + stats.norm.isf(1.0 - POWER)
        text = f"level {level:.2g}: power for +{ADVANTAGE:g} SE; {POWER:g} is reached at +{advantage:.1f} SE"
        subject = f"new recipe number {number} on the same rows, {text}"
        yield at_least(2, subject, power, POWER) if number == 1 else shown(2, subject, power)


def _before(years: int, generator: np.random.Generator) -> Iterator[Figure]:
    """Show the rule that this replaced, and what no rule can exceed that knows only scores on the same rows."""
    for nights in (30, NIGHTS):
        promoted, power = simulate(np.full(nights + 1, 0.025), 0.0, years, generator)
        yield shown(2, f"{BEFORE}: P(any null promotion in {nights} nights)", promoted)
        yield shown(2, f"{BEFORE}: power for +{ADVANTAGE:g} SE after {nights} nights", power)
    champion = np.sqrt(0.5) * generator.normal(size=(years, 1))
    others = np.sqrt(0.5) * generator.normal(size=(years, NIGHTS)) - champion
    limit = np.quantile(others.max(axis=1), 1.0 - ERROR_RATE)
    subject = f"power for +{ADVANTAGE:g} SE of one limit for {NIGHTS} independent nights, known in advance"
    for evidence, ratio in (("test rows", 0.0), ("validation rows too", 1.0), ("half as many too", 0.5)):
        # The sum of two independent scores, weighted by their advantages, is the best evidence for a given advantage.
        yield shown(2, f"{subject}, {evidence}", stats.norm.sf(limit - ADVANTAGE * np.sqrt(1.0 + ratio)))


def _rolling(years: int, generator: np.random.Generator) -> Figure:
    """Replace a fiftieth of the rows every night; a score changes with its rows."""
    nights, units = NIGHTS, 50
    limits = stats.norm.isf(spent_levels(["champion"] * nights, units, fresh=1))
    promoted = 0
    window = np.ones(units) / np.sqrt(units)
    for _ in range(max(years // 4, 50)):
        # Row effects are shared by a model's nights: the champion's roll with the rows, each challenger has its own.
        champion = np.convolve(generator.normal(size=nights + units - 1), window, "valid")
        differences = np.sqrt(0.5) * (generator.normal(size=nights) - champion)
        promoted += (differences > limits).any()
    subject = f"P(any null promotion in {nights} nights), a fiftieth of the rows new every night"
    return at_most(2, subject, promoted / max(years // 4, 50), ERROR_RATE)


def _lightgbm(seeds: int) -> Iterator[Figure]:
    """Train one recipe with many seeds on Taiwan: every `EVERY`-th is once the champion, and all others challenge."""
    table = load_table("taiwan_credit_default").dataset
    parts = np.random.default_rng(0).permutation(len(table.frame))
    train, valid, test = (table.take(rows) for rows in np.split(parts, [18_000, 24_000]))
    resources = [FitResources(seed, 1, float("inf"), 0, "cpu") for seed in range(seeds)]
    recipe = GradientBoosting(
        learning_rate=0.1, num_leaves=15, feature_fraction=0.5, bagging_fraction=0.7, max_rounds=BETTER
    )
    fitted = [recipe.fit(train, valid, each) for each in resources]
    fitted.append(replace(recipe, max_rounds=WEAKER).fit(train, valid, resources[0]))
    predicted = [model.predict(test.frame) for model in fitted]
    on_valid = [model.predict(valid.frame) for model in fitted]
    evaluator, rows = BinaryEvaluator(), sketch_rows(test)
    sequences, with_promotion = len(range(0, seeds, EVERY)), {True: 0, False: 0}
    better = looks = 0

    def judge(challenger: int, champion: int, recipe: str, earlier: list[EarlierLook]) -> Verdict:
        lead = lead_on_validation(evaluator, valid, on_valid[challenger], on_valid[champion])
        look = next_look(rows, recipe, earlier, Lead(lead["p_value"]))
        if look:
            earlier.append(EarlierLook(rows, recipe, True, look.is_new_recipe, look.lead))
        predictions = (predicted[challenger], predicted[champion])
        return compare_with_champion.fn(evaluator, test, *predictions, 0, Demands(look, validation=lead))

    for start in range(0, seeds, EVERY):
        champion, earlier = start, [EarlierLook(rows, "recipe", is_look=False)]
        promotions = {True: False, False: False}
        for challenger in [*range(start + 1, seeds), *range(start)]:
            difference = evaluator.paired_difference(test, predicted[challenger], predicted[champion])
            promotions[False] |= difference.value > 0 and difference.p_value < 0.05
            verdict = judge(challenger, champion, "recipe", earlier)
            promotions[True] |= verdict.verdict == PROMOTE
            champion = challenger if verdict.verdict == PROMOTE else champion
        for counted, found in promotions.items():
            with_promotion[counted] += found
        looks += len(earlier) - 1
        # The better model meets a weaker champion after all these looks, by a recipe of its own.
        better += judge(start, seeds, "another", earlier).verdict == PROMOTE
    named = f"LightGBM on Taiwan, {seeds} seeds of one recipe, {sequences} champions: sequences with any promotion"
    yield at_most(2, named, with_promotion[True] / sequences, ERROR_RATE)
    yield shown(2, f"the same, {BEFORE}", with_promotion[False] / sequences)
    yield shown(2, f"  looks of the {seeds - 1} nights of a sequence", looks / sequences)
    gained = [evaluator.paired_difference(test, model, predicted[seeds]) for model in predicted[:seeds]]
    value = np.mean([each.value for each in gained])
    errors = np.mean([1.96 * each.value / (each.high - each.value) for each in gained])
    text = f"{BETTER} trees promoted over {WEAKER} (+{value:.4f} AUC, +{errors:.1f} SE) after these looks"
    yield shown(2, text, better / sequences)
