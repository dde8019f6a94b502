"""Inject the fault of every gate into a real flow, and check that nothing after the gate ran."""

import json
import re
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
from flows.recording.outcome import RunOutcome
from flows.use_case import RunParameters, UseCase
from ml.contract.schema import Contract
from ml.errors import DataGateError, DriftError, LeakageError, PackagingError, QualityGateError
from ml.evaluation.quality_gate import QualityThresholds
from ml.recommenders.content_based import ContentBased
from ml.recommenders.popularity import Popularity
from ml.simulators import SIMULATORS
from ml.tabular.constant import Constant, ConstantModel
from ml.tabular.gradient_boosting import GradientBoosting
from tasks import packaging
from tasks.ledger import LedgerError
from tasks.settings import load
from tasks.split import Datasets, split_rows
from tasks.tracking import connection, registry

QUICK = replace(
    fintech_risk.CASE,
    candidates={"constant": Constant(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(min_primary=0.5),
)
FIRST_DECISION = (
    b'{"line": 1, "at": "2026-01-01T00:00:00+00:00", "model": "fintech-risk.simulated", "verdict": "promote",'
    b' "reason": "the first champion", "version": 1, "before": null, "champion": 1}\n'
)
pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")


def run_flow(case: UseCase, params: RunParameters | None = None) -> State[Any]:
    """Run a use case as a flow and return its final state."""
    return flow(name=case.name)(lambda: run(case, params or RunParameters()))(return_state=True)


def finished_tasks(state: State[Any]) -> list[str]:
    """List the tasks that ran, from the Prefect server."""
    with get_client(sync_client=True) as client:
        only = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        return sorted({r.name.split("-")[0] for r in client.read_task_runs(flow_run_filter=only)})


def assert_stopped(state: State[Any], error: type[Exception], ran: list[str], message: str) -> None:
    """Check: Failed in Prefect with this error and only the tasks `ran`, FAILED in MLflow, nothing registered."""
    assert state.is_failed()
    with pytest.raises(error, match=message):
        state.result()
    assert finished_tasks(state) == sorted(ran)
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert [r.info.status for r in parents] == ["FAILED"]
    assert parents[0].data.tags["steward.verdict"] == "rejected"
    assert client.search_registered_models() == []
    assert not list(load().state_dir.glob("ledger/*.jsonl"))
    report = Path(parents[0].info.artifact_uri.removeprefix("file://")) / "report.html"
    assert "rejected" in report.read_text().lower()


def changed_loans(change: Callable[[pd.DataFrame], pd.DataFrame], folder: Path) -> RunParameters:
    """Write the simulated applications with a fault to a file, and return the parameters of a run on it."""
    path = folder / "loans.parquet"
    change(SIMULATORS["lender"](1500, 0).rows).to_parquet(path)
    return RunParameters(data=str(path), contract="simulated")


def edit_contract(contracts: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = contracts / "fintech_risk" / "simulated.json"
    contract = json.loads(path.read_text())
    change(contract)
    path.write_text(json.dumps(contract))


def test_a_damaged_ledger_stops_a_run_before_it_trains(home: Path) -> None:
    """Also the ledger beside an MLflow database that was lost: that one knows no version of the champion."""
    ledger = home / "ledger" / "fintech-risk.simulated.jsonl"
    ledger.parent.mkdir()
    for content, problem in (
        (b"null\n", "line 1 is not an entry"),
        (FIRST_DECISION, "is not in MLflow's registry"),
    ):
        ledger.write_bytes(content)
        state = run_flow(QUICK)
        assert state.is_failed()
        with pytest.raises(
            LedgerError, match=f"expected the ledger of fintech-risk.simulated .*; got .*{problem}"
        ):
            state.result()
        assert finished_tasks(state) == []
        client = connection.connect(load())
        experiment = client.get_experiment_by_name("fintech-risk")
        assert experiment
        last, *_ = client.search_runs([experiment.experiment_id])
        assert (last.info.status, last.data.tags["steward.verdict"]) == ("FAILED", "rejected")
        assert problem in last.data.tags["steward.reason"]
        assert ledger.read_bytes() == content
    assert client.search_registered_models() == []


def test_contract_gate_stops_data_with_too_many_quarantined_rows(tmp_path: Path) -> None:
    params = changed_loans(
        lambda rows: rows.assign(age=rows["age"].where(rows.index % 10 != 0, -1)), tmp_path
    )
    assert_stopped(run_flow(QUICK, params), DataGateError, ["source", "validate"], "max_quarantined_share")


def test_contract_gate_stops_a_rule_that_crashes(contracts: Path) -> None:
    def as_text(contract: dict[str, Any]) -> None:
        contract["meta"]["read"]["columns"]["utilisation"] = "category"

    edit_contract(contracts, as_text)
    assert_stopped(run_flow(QUICK), DataGateError, ["source", "validate"], "crashed")


def test_split_gate_stops_a_feature_that_reveals_the_target(tmp_path: Path, contracts: Path) -> None:
    params = changed_loans(lambda rows: rows.assign(collections=rows["defaulted"] * 3.0), tmp_path)
    edit_contract(contracts, lambda c: c["meta"]["read"]["columns"].update(collections="number"))
    assert_stopped(
        run_flow(QUICK, params),
        LeakageError,
        ["drift", "source", "split", "summarize", "validate"],
        "collections",
    )


def test_split_gate_stops_rows_from_the_future(tmp_path: Path) -> None:
    params = changed_loans(
        lambda rows: rows.assign(applied_on=rows["applied_on"] + pd.DateOffset(years=50)), tmp_path
    )
    assert_stopped(
        run_flow(QUICK, params),
        LeakageError,
        ["drift", "source", "split", "summarize", "validate"],
        "applied_on after now",
    )


def overlapping(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, dict[str, Any]]:
    """Split with a fault: the test rows are train rows."""
    from ml.data.leakage import shared_entities

    parts, facts = split_rows(rows, contract)
    parts["test"] = parts["train"].take(np.arange(len(parts["train"].frame) // 2))
    return parts, facts | {"checks": {"shared_entities": shared_entities(parts)}}


def test_split_gate_stops_entities_in_two_datasets() -> None:
    state = run_flow(replace(QUICK, split=overlapping))
    assert_stopped(
        state,
        LeakageError,
        ["drift", "source", "split", "summarize", "validate"],
        "no entity in two datasets",
    )


TRAINED = [
    "build leaderboard",
    "drift",
    "evaluate",
    "package",
    "source",
    "split",
    "summarize",
    "train LightGBM",
    "train constant",
    "validate",
]


def test_packaging_gate_stops_a_model_that_predicts_differently_after_reloading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The clean process runs the model's own code, which is not patched.
    predict = ConstantModel.predict
    monkeypatch.setattr(ConstantModel, "predict", lambda self, frame: predict(self, frame) + 1e-9)
    state = run_flow(replace(QUICK, candidates={"constant": Constant()}))
    ran = [t for t in TRAINED if t != "train LightGBM"]
    assert_stopped(state, PackagingError, ran, "same probability after reloading")


@pytest.mark.usefixtures("known_results")
def test_packaging_gate_stops_a_model_without_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "infer_signature", lambda *_: None)
    assert_stopped(run_flow(QUICK), PackagingError, TRAINED, "a signature")


@pytest.mark.usefixtures("known_results")
@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (QualityThresholds(min_primary=0.99), "ROC AUC at least 0.99"),
        (QualityThresholds(min_primary=0.5, max_megabytes=0.001), "size in MB"),
    ],
    ids=["minimum", "size"],
)
def test_quality_gate_stops_a_model_beyond_its_bounds(thresholds: QualityThresholds, message: str) -> None:
    assert_stopped(
        run_flow(replace(QUICK, thresholds=thresholds)), QualityGateError, [*TRAINED, "quality gate"], message
    )


def split_with_harmed_women(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, dict[str, Any]]:
    """Split with a fault: among the women of the test rows, it is the others that default."""
    parts, facts = split_rows(rows, contract)
    truth, sex = parts["test"].truth, parts["test"].metadata["sex"]
    parts["test"] = replace(parts["test"], truth=truth.where(sex != "female", 1.0 - truth))
    return parts, facts


@pytest.mark.usefixtures("known_results")
def test_quality_gate_stops_a_model_that_harms_a_group() -> None:
    thresholds = QualityThresholds(min_primary=0.0, max_subgroup_gap=0.03, max_subgroup_shift=0.25)
    state = run_flow(replace(QUICK, split=split_with_harmed_women, thresholds=thresholds))
    ran = [*TRAINED, "quality gate"]
    message = "ROC AUC of sex=female below that of the rest, beyond its mix of cases, by at most 0.03"
    assert_stopped(state, QualityGateError, ran, message)


def split_with_shifted_target(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, dict[str, Any]]:
    """Split with a fault: test rows default far more often than training rows."""
    parts, facts = split_rows(rows, contract)
    truth = parts["test"].truth.copy()
    truth.iloc[::3] = 1.0
    parts["test"] = replace(parts["test"], truth=truth)
    return parts, facts


@pytest.mark.usefixtures("known_results")
def test_quality_gate_stops_a_model_that_is_miscalibrated_beyond_chance() -> None:
    thresholds = QualityThresholds(min_primary=0.5, max_calibration_error=0.05)
    state = run_flow(replace(QUICK, split=split_with_shifted_target, thresholds=thresholds))
    ran = [*TRAINED, "quality gate"]
    assert_stopped(state, QualityGateError, ran, "calibration error beyond chance at most 0.05")


@pytest.mark.usefixtures("known_results")
def test_promotion_keeps_a_champion_that_is_not_beaten(tmp_path: Path) -> None:
    from flows.champions import decisions

    first = run_flow(QUICK).result()
    second = run_flow(replace(QUICK, candidates={"constant": Constant()})).result()
    assert (first.verdict, first.version, first.candidate) == ("promote", 1, "LightGBM")
    assert (second.verdict, second.version, second.candidate) == ("keep_champion", 1, "LightGBM")
    # The metrics are the champion's, on the same test rows.
    assert second.value == pytest.approx(first.value, abs=1e-9)

    # The last accepted batch is that of the second run. A damaged one is stopped, and may be accepted with a reason.
    # Some of its rows have a later date than before: they are test rows now, and the champion was trained on them.
    latest = SIMULATORS["lender"](1500, 0).rows["applied_on"].max()
    damaged = changed_loans(
        lambda rows: rows.assign(
            savings_balance=rows["savings_balance"] * 100,
            applied_on=rows["applied_on"].where(rows.index % 33 != 0, latest),
        ),
        tmp_path,
    )
    state = run_flow(QUICK, damaged)
    with pytest.raises(
        DriftError, match=r"the batch of version 2; got savings_balance: unit change, .* 100 times"
    ):
        state.result()
    assert finished_tasks(state) == ["drift", "source", "summarize", "validate"]
    client = connection.connect(load())
    assert len(client.search_model_versions("name = 'fintech-risk.simulated'")) == 2
    constant = replace(QUICK, candidates={"constant": Constant()})
    accepted = run_flow(constant, replace(damaged, accept_drift="pence since June")).result()
    assert accepted.gates == ["contract", "drift", "split", "packaging", "quality", "promotion"]
    assert decisions("fintech-risk", "simulated")[-1]["accepted_drift"] == "pence since June"
    tags = client.get_run(decisions("fintech-risk", "simulated")[-1]["run_id"]).data.tags
    assert tags["steward.accepted_drift"] == "pence since June"
    page = Path(accepted.report).read_text()
    assert "pence since June" in page.replace("Pence", "pence")
    # Champion and baseline are those of the same rows.
    facts = json.loads(Path(accepted.report).with_name("facts.json").read_text())
    estimate, rows = facts["champion_estimate"], facts["evaluation"]["rows"]
    assert rows * 0.8 < estimate["rows"] < rows
    assert (accepted.value, accepted.baseline) == (estimate["value"], estimate["baseline"]["value"])
    assert f"ROC AUC on {estimate['rows']} of {rows} rows that the champion was not trained on" in page
    # The constant is not ahead on validation rows, by which the champion was selected: the test rows judge nothing.
    champion, constant_entry, again = decisions("fintech-risk", "simulated")
    assert champion["selected_by"]
    assert champion["recipe"] != constant_entry["recipe"] == again["recipe"]
    for entry in (champion, constant_entry, again):
        assert "look" not in entry
        assert entry["difference"] is None
    assert "validation" not in champion
    metrics = client.get_run(again["run_id"]).data.metrics
    assert metrics["verdict.validation_p"] == again["validation"]["p_value"] > 0.5
    assert "verdict.look" not in metrics
    assert "was not compared on the test rows, and no look was used" in page
    assert accepted.reason.startswith("not ahead of the champion on validation rows: -0.")


@pytest.mark.usefixtures("known_results")
def test_a_better_model_is_promoted_and_a_rollback_is_not_undone() -> None:
    from flows.champions import decisions, roll_back

    simple = run_flow(replace(QUICK, candidates={"constant": Constant()})).result()
    assert simple.version == 1
    better = run_flow(QUICK).result()
    assert (better.verdict, better.version) == ("promote", 2)
    entry = decisions("fintech-risk", "simulated")[-1]
    assert (entry["look"]["number"], entry["look"]["is_new_recipe"], entry["look"]["lead"]) == (
        1,
        True,
        "clear",
    )
    metrics = connection.connect(load()).get_run(entry["run_id"]).data.metrics
    assert (metrics["verdict.look"], metrics["verdict.level"]) == (1, entry["look"]["level"])
    assert "look 1 on these rows, at level" in Path(better.report).read_text()
    assert roll_back("fintech-risk", "simulated", "too  new\nfor us")["champion"] == 1
    # MLflow shows it at once, on the pages of the model and of both versions.
    client, name = connection.connect(load()), "fintech-risk.simulated"
    rollback = r"\*\*Rollback .*: version 1 replaced version 2.\*\* Reason: too new for us \(ledger entry 3\)"
    page = client.get_registered_model(name).description
    assert re.search(rollback, page)
    assert "Champion: version 1" in page
    assert "Champion: version 2" not in page
    for number, decided in (("1", "the first champion"), ("2", "better than the champion")):
        assert re.match(rf"{rollback}\n\n.*{decided}", client.get_model_version(name, number).description)
    assert client.get_model_version(name, "2").tags["steward.rolled_back"] == "too  new\nfor us"

    # This model was decided about on these rows before: a scheduled run does not undo a rollback.
    again = run_flow(QUICK).result()
    assert (again.verdict, again.version, again.candidate) == ("keep_champion", 1, "constant")
    assert [line["verdict"] for line in decisions("fintech-risk", "simulated")] == [
        "promote",
        "promote",
        "rollback",
    ]
    # Table and report have the numbers of the champion, not of the model that it replaced.
    assert (again.value, again.low, again.high) == (simple.value, simple.low, simple.high)
    assert again.value != better.value
    assert again.reason.startswith(
        "already decided about this model on the same test rows (ledger entry 2), and"
    )
    assert "rolled back since (entry 3): too  new" in again.reason
    report = Path(again.report)
    facts = json.loads(report.with_name("facts.json").read_text())
    assert facts["champion_estimate"]["value"] == simple.value
    assert facts["verdict"]["difference"]["value"] == pytest.approx(better.value - simple.value)
    page = " ".join(re.sub("<[^>]*>", " ", report.read_text()).split())
    assert f"Champion on test, ROC AUC {simple.value:.4f}" in page
    assert f"This run's model on test, ROC AUC {better.value:.4f}" in page
    assert re.search(rollback, client.get_registered_model(name).description)

    # A run that a gate stops says nothing about the champion: the page tells of the rollback still.
    with pytest.raises(QualityGateError):
        run_flow(replace(QUICK, thresholds=QualityThresholds(min_primary=0.99))).result()
    page = client.get_registered_model(name).description
    assert re.search(rollback, page)
    assert "Champion: version 1" in page
    assert "**rejected**" in page


@pytest.mark.usefixtures("known_results")
def test_a_skipped_candidate_is_no_failed_task() -> None:
    few = {"popularity": Popularity(), "content": ContentBased()}
    final_state = run_flow(
        replace(ecommerce_recommendation.CASE, candidates=few, thresholds=QualityThresholds(min_primary=0.0))
    )
    assert final_state.is_completed()
    with get_client(sync_client=True) as client:
        only = FlowRunFilter(id=FlowRunFilterId(any_=[final_state.state_details.flow_run_id]))
        states = {r.name: r.state for r in client.read_task_runs(flow_run_filter=only)}
    assert all(state is not None and state.is_completed() for state in states.values())
    skipped = states["train content"]
    assert skipped is not None
    assert (skipped.name, "attributes of items" in str(skipped.message)) == ("Skipped", True)
    trained = states["train popularity"]
    assert trained is not None
    assert trained.name == "Completed"


@pytest.mark.usefixtures("known_results")
def test_quality_gate_stops_a_recommender() -> None:
    few = {"popularity": Popularity(), "popularity (7 d)": Popularity(popularity_days=7)}
    case = replace(
        ecommerce_recommendation.CASE, candidates=few, thresholds=QualityThresholds(min_primary=0.9)
    )
    state = run_flow(case)
    assert state.is_failed()
    assert "quality gate" in finished_tasks(state)
    with pytest.raises(QualityGateError, match="nothing was registered"):
        state.result()


@pytest.mark.usefixtures("known_results")
def test_a_recommender_is_compared_with_all_lists_of_the_champion() -> None:
    """A champion of which only some lists were compared would look worse than it is, and be replaced."""

    def run_with(days: float) -> RunOutcome:
        case = replace(
            ecommerce_recommendation.CASE,
            candidates={"popularity": Popularity(popularity_days=days)},
            thresholds=QualityThresholds(min_primary=0.0),
        )
        outcome: RunOutcome = run_flow(case).result()
        return outcome

    first, again = run_with(30.0), run_with(1.0)
    assert (first.verdict, again.verdict) == ("promote", "keep_champion")
    # `value` is the champion's, on the same test users.
    assert again.value == pytest.approx(first.value)


@pytest.mark.usefixtures("known_results")
def test_a_champion_needs_no_code_of_today_and_all_of_its_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose class no longer exists is compared with; one that lost a file is unusable, and stays."""
    from flows.champions import decisions

    champion = run_flow(QUICK).result()
    assert (champion.verdict, champion.candidate) == ("promote", "LightGBM")
    monkeypatch.delattr("ml.tabular.gradient_boosting.GradientBoostingModel")
    constant = replace(
        QUICK, candidates={"constant": Constant()}, thresholds=QualityThresholds(min_primary=0.4)
    )
    outcome = run_flow(constant).result()
    assert (outcome.verdict, outcome.version) == ("keep_champion", champion.version)
    assert "cannot predict" not in outcome.reason

    client, name = connection.connect(load()), "fintech-risk.simulated"
    version = registry.get_champion(client, name)
    assert version
    Path(registry.artifact_location(client, version).removeprefix("file://"), "MLmodel").unlink()
    # The same constant again: that it was decided about while the champion could predict does not hide the damage.
    outcome = run_flow(constant, RunParameters(seed=1)).result()
    assert (outcome.verdict, outcome.version, outcome.value) == ("champion_unusable", champion.version, None)
    assert outcome.reason.startswith(
        "the champion cannot predict on this table: expected exactly the files that were registered; "
        "got missing: 'MLmodel'"
    )
    page = " ".join(re.sub("<[^>]*>", " ", Path(outcome.report).read_text()).split())
    assert (
        f"Champion unusable The champion cannot be evaluated on this table: version {version.number}" in page
    )
    assert "exactly the files that were registered" in page
    last = decisions("fintech-risk", "simulated")[-1]
    assert (last["verdict"], last["before"], last["champion"]) == ("champion_unusable", 1, 1)
    assert (last["difference"], "look" in last) == (None, False)
    assert registry.get_champion(client, name) == version
