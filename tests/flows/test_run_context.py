"""Steps that training and reproduction share: the model that is evaluated on the test dataset."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import fintech_risk
from flows.run_context import RunContext, final_model
from flows.use_case import RunParameters
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.tabular.linear import Linear
from tasks.data_access.locate import load_contract
from tasks.settings import ROOT, Settings
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.train import FinalFitPolicy, fit


class Listener:
    def __init__(self) -> None:
        self.stages: list[tuple[str, StoredResult]] = []

    def stage_completed(self, name: str, result: StoredResult) -> None:
        self.stages.append((name, result))


def rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=count)})
    truth = pd.Series((frame["x"] + rng.normal(size=count) > 0).astype(float))
    return Dataset(frame, truth, np.arange(count, dtype=np.uint64)).to_table()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def splits(store: Store) -> StoredResult:
    tables = {"train": rows(200, 1), "valid": rows(100, 2), "train_valid": rows(300, 3)}
    return store.get_or_compute("split", lambda: StageResult(tables, {}))


def make_context(policy: FinalFitPolicy, store: Store, tmp_path: Path) -> RunContext[Listener]:
    case = replace(fintech_risk.CASE, final_fit=policy)
    source: Any = None  # not read here
    settings = Settings(state_dir=tmp_path)
    return RunContext(case, RunParameters(), source, settings, store, Listener(), as_tasks=False)


def test_the_selected_fit_is_kept(store: Store, splits: StoredResult, tmp_path: Path) -> None:
    fitted = fit("linear", Linear(), splits, FitResources(), store)
    context = make_context(FinalFitPolicy.KEEP_SELECTED, store, tmp_path)
    assert final_model(context, "linear", Linear(), fitted, splits) is fitted
    assert context.listener.stages == []


def test_the_selected_candidate_is_fitted_again(store: Store, splits: StoredResult, tmp_path: Path) -> None:
    fitted = fit("linear", Linear(), splits, FitResources(), store)
    context = make_context(FinalFitPolicy.REFIT_ON_TRAIN_VALID, store, tmp_path)
    final = final_model(context, "linear", Linear(), fitted, splits)
    assert final.digest != fitted.digest
    assert context.listener.stages == [("refit linear", final)]


def test_a_contract_may_word_the_question_and_keeps_the_rest_of_the_use_case() -> None:
    settings = Settings(contracts=ROOT / "expectations")
    worded = fintech_risk.CASE.for_contract(load_contract("fintech-risk", "telco_churn", settings))
    assert worded.question == "Will this customer leave?"
    assert (worded.nouns.cases, worded.nouns.positives) == ("customers", "customers who leave")
    assert (
        replace(worded, question=fintech_risk.CASE.question, nouns=fintech_risk.CASE.nouns)
        == fintech_risk.CASE
    )
    assert (
        fintech_risk.CASE.for_contract(load_contract("fintech-risk", "hmeq", settings)) == fintech_risk.CASE
    )
