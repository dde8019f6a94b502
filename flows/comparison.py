"""Compare a challenger with the champion on rows that neither was fitted to, at the level that earlier looks leave.

Predictions are aligned with rows by position, those of lists by user.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from flows.comparable_predictions import require_comparable, users_without_list
from ml.data.dataset import Dataset
from ml.evaluation.evaluator import Evaluator
from ml.evaluation.looks import (
    EarlierLook,
    Lead,
    leads_of_others,
    next_look,
    p_among,
    rows_not_fitted_to,
    sketch_rows,
)
from tasks import promote as promotion
from tasks.ledger import INCONCLUSIVE, Verdict

# Predicts several tables at once, which for a model in a process of its own costs about as much as one.
Predict = Callable[[Sequence[pd.DataFrame]], Sequence[pd.DataFrame]]


@dataclass(frozen=True)
class Contender:
    """A model in a comparison: what it predicts, and the sketch of the validation rows that it was selected by.

    The sketch is empty where the model was fitted to them, or where none was recorded.
    """

    predict: Predict
    selected_by: str


@dataclass(frozen=True)
class Circumstances:
    """What a comparison depends on besides the two models: recipe of the challenger, earlier looks, and groups.

    No group of the `sensitive` columns may be worse off by more than `max_group_harm` (`tasks.promote.Demands`).
    """

    recipe: str
    earlier: Sequence[EarlierLook] = ()
    sensitive: tuple[str, ...] = ()
    max_group_harm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The verdict, the sketch of the rows that judged, these rows, and the champion's predictions for them.

    There are no predictions where the rows decide nothing.
    """

    verdict: Verdict
    rows: str
    shared: Dataset
    champion: pd.DataFrame | None = None


def one_by_one(predict: Callable[[pd.DataFrame], pd.DataFrame]) -> Predict:
    """Return a function that predicts several tables, one after another."""
    return lambda frames: [predict(frame) for frame in frames]


def compare(
    evaluator: Evaluator,
    parts: tuple[Dataset, Dataset],
    challenger: Contender,
    champion: Contender,
    entities: np.ndarray,
    circumstances: Circumstances,
) -> Comparison:
    """Decide about a challenger on `parts`, the test and the validation rows, without the champion's `entities`.

    The champion predicts only where the rows can decide. Raises PackagingError where what it predicts cannot be
    compared.
    """
    test, valid = parts
    rows = evaluator.rows_not_trained_on(test, entities)
    shared, left_out = test.take(rows), len(test.frame) - len(rows)
    judged = sketch_rows(shared)
    if promotion.too_few_rows(shared, left_out, "test"):
        return Comparison(promotion.inconclusive(shared, left_out), judged, shared)
    fair, note = _fair_rows(evaluator, valid, challenger, champion, entities)
    on_test, *on_fair = _predictions(evaluator, [shared] if note else [shared, fair], champion)
    validation: dict[str, Any] = {"note": note}
    recipe, earlier, lead = circumstances.recipe, circumstances.earlier, None
    if not note:
        (on_valid,) = challenger.predict([fair.frame])
        validation = promotion.lead_on_validation(evaluator, fair, on_valid, *on_fair)
        others = leads_of_others(judged, recipe, earlier)
        lead = Lead(validation["p_value"], p_among(validation["value"], others))
        if lead.among is not None:
            validation |= {"recipes": len(others), "among": lead.among}
    look = next_look(judged, recipe, earlier, lead)
    demands = promotion.Demands(look, circumstances.sensitive, circumstances.max_group_harm, validation)
    (ours,) = challenger.predict([shared.frame])
    verdict = promotion.compare_with_champion(evaluator, shared, ours, on_test, left_out, demands)
    if evaluator.target is None and verdict.difference and (missing := users_without_list(shared, on_test)):
        served = f"the champion has no list for {missing:,} of {len(shared.frame):,} users, which counts as 0"
        verdict = replace(verdict, reason=f"{verdict.reason}; {served}")
    return Comparison(verdict, judged, shared, None if verdict.verdict == INCONCLUSIVE else on_test)


def _fair_rows(
    evaluator: Evaluator, valid: Dataset, challenger: Contender, champion: Contender, entities: np.ndarray
) -> tuple[Dataset, str]:
    """Return the validation rows that neither model was fitted to, and why they cannot show a lead, if so."""
    if not challenger.selected_by:
        # It would lead on them whether or not it is better.
        return valid, "this run's model was fitted to them"
    unseen = evaluator.rows_not_trained_on(valid, entities)
    fair = valid.take(rows_not_fitted_to(valid, unseen, champion.selected_by))
    return fair, promotion.too_few_rows(fair, len(valid.frame) - len(fair.frame), "validation")


def _predictions(
    evaluator: Evaluator, parts: Sequence[Dataset], champion: Contender
) -> Sequence[pd.DataFrame]:
    """Return the champion's predictions. Raises PackagingError where they are not one for each row, of this target."""
    predicted = champion.predict([part.frame for part in parts])
    for part, predictions in zip(parts, predicted, strict=True):
        require_comparable(evaluator, part, predictions)
    return predicted
