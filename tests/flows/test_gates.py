"""Every gate: its fault is injected into a real flow, and nothing after the gate ran."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.states import State

from flows import ecommerce_recommendation, fintech_risk
from flows.pipeline import run
from flows.use_case import RunParameters, UseCase
from ml.contract.schema import Contract
from ml.errors import DataGateError, LeakageError, PackagingError, QualityGateError
from ml.evaluation.quality_gate import QualityThresholds
from ml.recommenders.content_based import Content
from ml.recommenders.popularity import Popularity
from ml.tabular.constant import Prior, PriorModel
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.settings import load
from tasks.split import Parts, split_rows
from tasks.tracking import connection, registry

QUICK = replace(
    fintech_risk.CASE,
    candidates={"prior": Prior(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(minimum=0.5),
)
pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")


def ended(case: UseCase, asked: RunParameters | None = None) -> State[Any]:
    """Run a use case as a flow; its final state."""
    return flow(name=case.name)(lambda: run(case, asked or RunParameters()))(return_state=True)


def tasks_of(state: State[Any]) -> list[str]:
    """The tasks that ran, as the Prefect server remembers them."""
    with get_client(sync_client=True) as client:
        only = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        return sorted({r.name.split("-")[0] for r in client.read_task_runs(flow_run_filter=only)})


def assert_stopped(state: State[Any], refusal: type[Exception], ran: list[str], said: str) -> None:
    """Failed in Prefect with this refusal and no task but those that `ran`, FAILED in MLflow, nothing registered."""
    assert state.is_failed()
    with pytest.raises(refusal, match=said):
        state.result()
    assert tasks_of(state) == sorted(ran)
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert [r.info.status for r in parents] == ["FAILED"]
    assert parents[0].data.tags["steward.verdict"] == "refused"
    assert client.search_registered_models() == []
    assert not list(load().home.glob("ledger/*.jsonl"))
    report = Path(parents[0].info.artifact_uri.removeprefix("file://")) / "report.html"
    assert "refused" in report.read_text().lower()


def changed_data(change: Callable[[pd.DataFrame], pd.DataFrame], folder: Path) -> RunParameters:
    """The simulated applications with a fault in them, as a file."""
    from ml.simulators import SIMULATORS

    path = folder / "loans.parquet"
    change(SIMULATORS["lender"](1500, 0).rows).to_parquet(path)
    return RunParameters(data=str(path), contract="simulated")


def edit(contracts: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = contracts / "fintech_risk" / "simulated.json"
    contract = json.loads(path.read_text())
    change(contract)
    path.write_text(json.dumps(contract))


def test_contract_gate_stops_data_over_their_budget(tmp_path: Path) -> None:
    asked = changed_data(lambda rows: rows.assign(age=rows["age"].where(rows.index % 10 != 0, -1)), tmp_path)
    assert_stopped(ended(QUICK, asked), DataGateError, ["source", "validate"], "budget")


def test_contract_gate_stops_a_rule_that_crashes(contracts: Path) -> None:
    def as_text(contract: dict[str, Any]) -> None:
        contract["meta"]["read"]["columns"]["utilisation"] = "category"

    edit(contracts, as_text)
    assert_stopped(ended(QUICK), DataGateError, ["source", "validate"], "crashed")


def test_split_gate_stops_a_feature_that_is_the_answer(tmp_path: Path, contracts: Path) -> None:
    asked = changed_data(lambda rows: rows.assign(collections=rows["defaulted"] * 3.0), tmp_path)
    edit(contracts, lambda c: c["meta"]["read"]["columns"].update(collections="number"))
    assert_stopped(ended(QUICK, asked), LeakageError, ["source", "split", "validate"], "collections")


def test_split_gate_stops_rows_from_the_future(tmp_path: Path) -> None:
    asked = changed_data(
        lambda rows: rows.assign(applied_on=rows["applied_on"] + pd.DateOffset(years=50)), tmp_path
    )
    assert_stopped(ended(QUICK, asked), LeakageError, ["source", "split", "validate"], "applied_on after now")


def overlapping(rows: pd.DataFrame, contract: Contract) -> tuple[Parts, dict[str, Any]]:
    """A split with a fault: its test rows are train rows."""
    from ml.data.leakage import shared_entities

    parts, facts = split_rows(rows, contract)
    parts["test"] = parts["train"].take(np.arange(len(parts["train"].frame) // 2))
    return parts, facts | {"checks": {"shared_entities": shared_entities(parts)}}


def test_split_gate_stops_entities_in_two_parts() -> None:
    state = ended(replace(QUICK, split=overlapping))
    assert_stopped(state, LeakageError, ["source", "split", "validate"], "no entity in two parts")


TRAINED = ["choose", "judge", "package", "source", "split", "train LightGBM", "train prior", "validate"]


def test_packaging_gate_stops_a_model_that_answers_otherwise_after_reloading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The model's own code, which the clean process runs, knows nothing of this.
    honest = PriorModel.predict
    monkeypatch.setattr(PriorModel, "predict", lambda self, frame: honest(self, frame) + 1e-9)
    state = ended(replace(QUICK, candidates={"prior": Prior()}))
    ran = [t for t in TRAINED if t != "train LightGBM"]
    assert_stopped(state, PackagingError, ran, "same probability after reloading")


def test_packaging_gate_stops_a_model_without_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "infer_signature", lambda *_: None)
    assert_stopped(ended(QUICK), PackagingError, TRAINED, "a signature")


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (QualityThresholds(minimum=0.99), "roc_auc at least 0.99"),
        (QualityThresholds(minimum=0.5, subgroup_gap=-1.0), "below everyone's by at most"),
        (QualityThresholds(minimum=0.5, megabytes=0.001), "size in MB"),
        (QualityThresholds(minimum=0.5, milliseconds=1e-6), "milliseconds for one row"),
    ],
    ids=["minimum", "subgroup", "size", "latency"],
)
def test_quality_gate_stops_a_model_beyond_its_bounds(gates: QualityThresholds, said: str) -> None:
    assert_stopped(
        ended(replace(QUICK, thresholds=gates)), QualityGateError, [*TRAINED, "quality gate"], said
    )


def worse_times(rows: pd.DataFrame, contract: Contract) -> tuple[Parts, dict[str, Any]]:
    """A split whose test rows default far more often than those that the model learned from."""
    parts, facts = split_rows(rows, contract)
    truth = parts["test"].truth.copy()
    truth.iloc[::3] = 1.0
    parts["test"] = replace(parts["test"], truth=truth)
    return parts, facts


def test_quality_gate_stops_a_model_that_is_miscalibrated_beyond_chance() -> None:
    gates = QualityThresholds(minimum=0.5, calibration_error=0.05)
    state = ended(replace(QUICK, split=worse_times, thresholds=gates))
    ran = [*TRAINED, "quality gate"]
    assert_stopped(state, QualityGateError, ran, "calibration error beyond chance at most 0.05")


def test_promotion_gate_keeps_the_champion_that_nothing_beats() -> None:
    first = ended(QUICK).result()
    second = ended(replace(QUICK, candidates={"prior": Prior()})).result()
    assert (first.verdict, first.version, first.candidate) == ("promote", 1, "LightGBM")
    assert (second.verdict, second.version, second.candidate) == ("keep", 1, "LightGBM")
    # The figures are the champion's, on the same test rows.
    assert second.value == pytest.approx(first.value, abs=1e-9)


def test_promotion_gate_lets_a_better_model_through_and_a_champion_be_restored() -> None:
    from flows.champions import history_of, roll_back

    assert ended(replace(QUICK, candidates={"prior": Prior()})).result().version == 1
    better = ended(QUICK).result()
    assert (better.verdict, better.version) == ("promote", 2)
    assert roll_back("fintech-risk", "simulated", "too new")["champion"] == 1
    # The decision about this model on these rows was made: a scheduled run does not undo what a person did.
    again = ended(QUICK).result()
    assert (again.verdict, again.version) == ("keep", 1)
    assert [line["verdict"] for line in history_of("fintech-risk", "simulated")] == [
        "promote",
        "promote",
        "rollback",
    ]


def test_who_does_not_suit_is_left_out_and_nothing_is_said_to_have_failed() -> None:
    few = {"popularity": Popularity(), "content": Content()}
    state = ended(
        replace(ecommerce_recommendation.CASE, candidates=few, thresholds=QualityThresholds(minimum=0.0))
    )
    assert state.is_completed()
    with get_client(sync_client=True) as client:
        only = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        states = {r.name: r.state for r in client.read_task_runs(flow_run_filter=only)}
    assert all(one is not None and one.is_completed() for one in states.values())
    left = states["train content"]
    assert left is not None
    assert (left.name, "attributes of items" in str(left.message)) == ("Left out", True)
    trained = states["train popularity"]
    assert trained is not None
    assert trained.name == "Completed"


def test_a_recommender_is_stopped_by_the_quality_gate_as_well() -> None:
    case = replace(ecommerce_recommendation.CASE, thresholds=QualityThresholds(minimum=0.9))
    state = ended(case)
    assert state.is_failed()
    assert "quality gate" in tasks_of(state)
    with pytest.raises(QualityGateError, match="nothing was registered"):
        state.result()


def test_a_champion_whose_class_no_longer_exists_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    champion = ended(QUICK).result()
    assert (champion.verdict, champion.candidate) == ("promote", "LightGBM")
    monkeypatch.delattr("ml.tabular.gradient_boosting.GradientBoostingModel")
    constant = replace(QUICK, candidates={"prior": Prior()}, thresholds=QualityThresholds(minimum=0.4))
    outcome = ended(constant).result()
    assert (outcome.verdict, outcome.version) == ("keep", champion.version)
    assert "cannot answer" not in outcome.reason
