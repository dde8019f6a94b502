"""Comparisons of runs as of an instant: rows, lead and look are those that a run at that instant would have had."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.comparison import Circumstances, Comparison, Contender, compare, one_by_one
from ml.data.dataset import Dataset
from ml.estimator import FitResources, Model
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.looks import CLEAR, sketch_rows
from ml.tabular.constant import Constant
from ml.tabular.linear import Linear
from tasks.ledger import INCONCLUSIVE, PROMOTE
from tasks.split import split_rows
from tasks.validate import apply_contract
from tests.tasks.test_late_outcomes import as_it_was, cells, loans, make_contract

pytestmark = pytest.mark.usefixtures("prefect_api")
EVALUATOR = BinaryEvaluator()
JUNE, DECEMBER = datetime(2024, 6, 15), datetime(2024, 12, 15)


class Run:
    """The datasets of a run as of an instant, a simple model of them and a better one."""

    def __init__(self, table: pd.DataFrame, instant: datetime | None) -> None:
        clean, *_ = apply_contract(cells(table), make_contract(), as_of=instant)
        self.datasets, _ = split_rows(clean, make_contract())
        train, valid = self.datasets["train"], self.datasets["valid"]
        self.simple, self.better = (each.fit(train, valid, FitResources()) for each in (Constant(), Linear()))
        self.known = np.union1d(*(EVALUATOR.training_keys(each) for each in (train, valid)))
        self.selected_by = sketch_rows(valid)

    def decide(self, champion_run: "Run", champion: Model, asked: list[pd.DataFrame]) -> Comparison:
        """Compare the better model of this run with the champion of another; `asked` gets what that predicts."""

        def predict(frames: Sequence[pd.DataFrame]) -> Sequence[pd.DataFrame]:
            asked.extend(frames)
            return [champion.predict(frame) for frame in frames]

        parts: tuple[Dataset, Dataset] = (self.datasets["test"], self.datasets["valid"])
        ours = Contender(one_by_one(self.better.predict), self.selected_by)
        theirs = Contender(predict, champion_run.selected_by)
        return compare(EVALUATOR, parts, ours, theirs, champion_run.known, Circumstances("recipe"))


def test_a_backfilled_lead_rests_on_rows_whose_outcome_was_known_then() -> None:
    """Outcomes take 60 to 90 days; the table has them all, and a run in December saw those until December."""
    table = loans()
    june, december = Run(table, JUNE), Run(table, DECEMBER)
    asked: list[pd.DataFrame] = []
    compared = december.decide(june, june.simple, asked)
    verdict = compared.verdict
    assert verdict.look
    assert verdict.validation
    assert (verdict.verdict, verdict.look["number"], verdict.look["lead"]) == (PROMOTE, 1, CLEAR)
    # Test rows and validation rows, none of which the champion was fitted to, and none from after the instant.
    assert [len(frame) for frame in asked] == [verdict.units, verdict.validation["units"]]
    for frame, name in zip(asked, ("test", "valid"), strict=True):
        ids = december.datasets[name].metadata.loc[frame.index, "id"].astype(int)
        assert table.set_index("id").loc[ids, "closed"].max() <= DECEMBER
    assert not np.isin(compared.shared.units, june.known).any()
    # The same as in December, when later loans did not exist and running ones had no outcome.
    then = Run(as_it_was(table, DECEMBER), None)
    again: Any = then.decide(Run(as_it_was(table, JUNE), None), june.simple, []).verdict
    assert (again.difference, again.validation, again.look) == (
        verdict.difference,
        verdict.validation,
        verdict.look,
    )


def test_a_run_as_of_a_time_before_the_champion_decides_nothing() -> None:
    """The champion was trained on its rows: neither test rows nor validation rows are predicted, no look is used."""
    table, asked = loans(), list[pd.DataFrame]()
    verdict = Run(table, JUNE).decide(december := Run(table, DECEMBER), december.simple, asked).verdict
    assert (verdict.verdict, verdict.look, verdict.validation, asked) == (INCONCLUSIVE, None, None, [])
    assert "the champion was trained on" in verdict.reason
