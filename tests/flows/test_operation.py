"""Unchanged inputs, locks, runs as of an instant, events and notifications."""

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from prefect import flow
from prefect.artifacts import Artifact
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.worker import EventsWorker
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow as run_in_engine
from prefect.flow_runs import suspend_flow_run

from flows import fintech_risk, pipeline
from flows.champions import roll_back
from flows.housekeeping.reconciliation import reconcile_dead_runs
from flows.pipeline import run
from flows.recording import notifications
from flows.recording.outcome import RunOutcome
from flows.training_flow import training_flow
from flows.use_case import RunParameters, UseCase
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.errors import QualityGateError, UsageError
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.settings import load
from tasks.tracking import connection
from tests.guard import GUARD

QUICK = replace(
    fintech_risk.CASE,
    candidates={"constant": Constant(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(min_primary=0.5),
)
pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")


def run_flow(params: RunParameters, case: UseCase = QUICK) -> RunOutcome:
    return flow(name=case.name)(lambda: run(case, params))()


def parent_runs() -> list[Any]:
    """List the MLflow runs of flows, newest first."""
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [r for r in runs if "mlflow.parentRunId" not in r.data.tags]


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    path = tmp_path / "loans.parquet"
    SIMULATORS["lender"](1500, 0).rows.to_parquet(path)
    return path


def test_trials_are_child_runs(loans: Path) -> None:
    members = {"trees": GradientBoosting(num_leaves=3, learning_rate=0.01, max_rounds=20)}
    mixed = replace(
        QUICK,
        candidates={"constant": Constant(), "ensemble": Ensemble(presets=(Preset(math.inf, 2, 1, members),))},
    )
    outcome = run_flow(RunParameters(str(loans), "simulated", trials=3), mixed)
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    trials = [trial for trial in runs if "trial" in trial.info.run_name]
    assert sorted(trial.info.run_name for trial in trials) == [f"ensemble, trial {n}" for n in (1, 2, 3)]
    for trial in trials:
        assert trial.info.status == "FINISHED"
        assert trial.data.tags["mlflow.parentRunId"] == parent_runs()[0].info.run_id
        assert trial.data.metrics["out_of_fold.loss"] > 0
        assert {"num_leaves", "learning_rate", "pruned"} <= set(trial.data.params)
    assert "3 tuning trials of its gradient-boosted trees" in Path(outcome.report).read_text()


def test_unchanged_inputs_end_a_run_and_changed_inputs_do_not(loans: Path) -> None:
    params = RunParameters(str(loans), "simulated", only_new_data=True)
    first = run_flow(params)
    again = run_flow(params)
    assert (first.verdict, again.verdict) == ("promote", "unchanged")
    same = ("version", "value", "low", "high", "rows", "champion", "candidate", "report")
    assert all(getattr(first, name) == getattr(again, name) for name in same)
    # Nothing was trained, evaluated or registered, and both UIs show that.
    newest = parent_runs()[0]
    assert (newest.info.status, newest.data.tags["steward.verdict"]) == ("FINISHED", "unchanged")
    assert first.report in newest.data.tags["mlflow.note.content"]
    client = connection.connect(load())
    assert len(client.search_runs([newest.info.experiment_id])) == 4  # two flows, two candidates
    assert len((load().ledger_dir / "fintech-risk.simulated.jsonl").read_text().splitlines()) == 1

    # Triggered by hand or with `fresh`, a run is made in full.
    assert run_flow(replace(params, only_new_data=False)).verdict == "keep_champion"
    assert run_flow(replace(params, fresh=True)).verdict == "keep_champion"
    # The version's page describes the run that decided about it; the model's page also the last run.
    version = client.get_model_version("fintech-risk.simulated", "1")
    assert version.description.startswith("**promote: the first champion")
    assert first.report in version.description
    page = client.get_registered_model("fintech-risk.simulated").description
    assert "**Champion: version 1** (alias `champion`): LightGBM, ROC AUC 0." in page
    assert "Last decision about version 1 (ledger entry 1" in page
    # The last runs, newest first, each with a link.
    rows = [row for row in page.splitlines() if row.startswith("- [")]
    assert [row.split("**")[1] for row in rows] == ["keep_champion", "keep_champion", "unchanged", "promote"]
    assert "already decided about this model" in rows[0]
    assert f"(#/experiments/{newest.info.experiment_id}/runs/{newest.info.run_id}) loans: " in rows[2]
    assert_mlflow_shows_the_model(client, version)
    # Another seed, other candidates and other data are changed inputs.
    assert run_flow(replace(params, seed=1)).verdict != "unchanged"
    fewer = replace(QUICK, candidates={"constant": Constant()})
    assert run_flow(params, fewer).verdict != "unchanged"
    SIMULATORS["lender"](1600, 0).rows.to_parquet(loans)
    assert run_flow(params).verdict != "unchanged"


def assert_mlflow_shows_the_model(client: MlflowClient, version: ModelVersion) -> None:
    """The experiment is one of model training; the logged model has candidate, parameters, metrics and version."""
    run = client.get_run(version.run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.tags["mlflow.note.content"] == "Will this applicant default?"
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert model.name == version.tags["candidate"] == run.data.params["model.candidate"] == "LightGBM"
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": version.name, "version": "1"}]
    assert model.params["max_rounds"] == run.data.params["model.max_rounds"] == "20"
    (metric,) = (metric for metric in model.metrics if metric.key == "test.roc_auc")
    assert metric.value == run.data.metrics["test.roc_auc"]
    assert (metric.dataset_name, metric.dataset_digest) in {
        (entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs
    }
    # One measurement, not two.
    assert len(client.get_metric_history(run.info.run_id, "test.roc_auc")) == 1
    assert run.info.run_name == version.tags["data"] == "loans"
    assert version.tags["verdict"] == "promote"
    assert version.tags["metric"] == f"ROC AUC {metric.value:.4f} [{version.tags['metric'].partition('[')[2]}"


def test_a_run_after_a_rollback_or_a_rejection_is_made_in_full(loans: Path) -> None:
    params = RunParameters(str(loans), "simulated", only_new_data=True)
    strict = replace(QUICK, thresholds=QualityThresholds(min_primary=0.99))
    for _ in range(2):
        with pytest.raises(QualityGateError):
            run_flow(params, strict)
    run_flow(params, replace(QUICK, candidates={"constant": Constant()}))
    assert run_flow(params).verdict == "promote"
    roll_back("fintech-risk", "simulated", "complaints")
    again = run_flow(params)
    assert (again.verdict, again.version) == ("keep_champion", 1)


def test_as_of_leaves_out_later_rows(loans: Path) -> None:
    rows = pd.read_parquet(loans)
    instant = datetime(2025, 6, 30, tzinfo=UTC)
    later = int((rows["applied_on"] > instant.replace(tzinfo=None)).sum())
    assert 100 < later < 1400
    params = RunParameters(str(loans), "simulated", as_of=instant)
    then = run_flow(params)
    assert (then.rows, then.excluded, then.quarantined) == (1500, later, 0)
    assert parent_runs()[0].data.tags["steward.interval"] == "2025-06-30T00:00:00+00:00"
    # The same as a run on the data of that day.
    known = loans.with_name("then.parquet")
    rows[rows["applied_on"] <= instant.replace(tzinfo=None)].to_parquet(known)
    assert run_flow(RunParameters(str(known), "simulated")).value == then.value


def test_as_of_needs_a_time_column(contracts: Path) -> None:
    path = contracts / "fintech_risk" / "simulated.json"
    contract = json.loads(path.read_text())
    contract["meta"]["roles"].pop("time")
    contract["meta"]["roles"]["ignored"] = ["applied_on"]
    contract["meta"]["split"] = {"by": "hash"}
    path.write_text(json.dumps(contract))
    with pytest.raises(UsageError, match="a column with the role time"):
        run_flow(RunParameters(as_of=datetime(2025, 6, 30, tzinfo=UTC)))
    assert parent_runs() == []


def test_a_suspended_run_is_shown_as_such_and_goes_on_when_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, pool = training_flow(QUICK), f"pool-{uuid4()}"
    compare = pipeline.compare_with_accepted_batch
    monkeypatch.setattr(pipeline, "compare_with_accepted_batch", lambda *_: suspend_flow_run())
    with get_client(sync_client=True) as server:
        server.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        deployment = server.create_deployment(server.create_flow(train), pool, work_pool_name=pool)
        flow_run = server.create_flow_run_from_deployment(deployment)

        with pytest.raises(Pause):
            run_in_engine(train, flow_run)
        (suspended,) = parent_runs()
        reason = "suspended in Prefect; resume it there: finished stages are reused"
        assert suspended.info.status == "KILLED"
        assert (suspended.data.tags["steward.verdict"], suspended.data.tags["steward.reason"]) == (
            "suspended",
            reason,
        )
        # Nothing is left to reconcile, also not by a monitor that looks while the run waits.
        assert list((load().state_dir / "running").iterdir()) == []
        reconcile_dead_runs(connection.connect(load()), load())
        assert server.read_flow_run(flow_run.id).state_name == "Suspended"

        monkeypatch.setattr(pipeline, "compare_with_accepted_batch", compare)
        server.resume_flow_run(flow_run.id)
        outcome = run_in_engine(train, server.read_flow_run(flow_run.id))
        assert (outcome.verdict, outcome.reused) == ("promote", ["source", "validate"])
        assert server.read_flow_run(flow_run.id).state_name == "Completed"
    assert [run.info.status for run in parent_runs()] == ["FINISHED", "KILLED"]


class Webhook(HTTPServer):
    """Receives notifications as a team's chat would."""

    received: list[dict[str, str]]


@pytest.fixture
def webhook(prefect_api: str) -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.received.append(json.loads(body))  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep stderr empty."""

    server = Webhook(("127.0.0.1", 0), Handler)
    server.received = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    block = CustomWebhookNotificationBlock(
        name="chat",
        url=f"http://127.0.0.1:{server.server_port}/secret-path",
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    block.save("chat", overwrite=True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def events(name: str, number: int) -> list[dict[str, Any]]:
    """Wait for a number of events of one name from this test's runs; newest first."""
    EventsWorker.drain_all(timeout=GUARD)
    deadline = time.monotonic() + GUARD
    found: list[dict[str, Any]] = []
    with get_client(sync_client=True) as client:
        while len(found) < number and time.monotonic() < deadline:
            response = client._client.post("/events/filter", json={"filter": {"event": {"name": [name]}}})
            own_reports = f"file://{load().state_dir}"
            found = [e for e in response.json()["events"] if e["payload"]["report"].startswith(own_reports)]
    return found


def assert_prefect_shows_the_run(outcome: RunOutcome) -> None:
    """Without an MLflow server the report is a path, as browsers open no file:// link; numbers have four digits."""
    report = Artifact.get("fintech-risk-simulated-report")
    assert report
    assert (report.type, f"`{outcome.report}`" in str(report.data)) == ("markdown", True)
    leaderboard = Artifact.get("fintech-risk-simulated-leaderboard")
    assert leaderboard
    rows = json.loads(str(leaderboard.data))
    assert [row["candidate"] for row in rows] == list(QUICK.candidates)
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert numbers
    assert all(value == round(value, 4) for value in numbers)
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
    assert {"steward", "case:fintech-risk", "data:simulated", "verdict:promote"} <= set(run.tags)


@pytest.mark.usefixtures("known_results")
def test_champions_and_rejections_are_notified_and_emitted(
    webhook: Webhook,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert_prefect_shows_the_run(run_flow(RunParameters()))
    assert webhook.received == []  # silent unless configured
    monkeypatch.setenv("STEWARD_NOTIFY", "custom-webhook/chat, slack-webhook/of-nobody")
    run_flow(RunParameters())  # a tie is not notified
    assert webhook.received == []
    with pytest.raises(QualityGateError):
        run_flow(RunParameters(), replace(QUICK, thresholds=QualityThresholds(min_primary=0.99)))
    (message,) = webhook.received
    assert message["subject"] == "Steward: fintech-risk on simulated: rejected"
    assert "rejected by the quality gate: expected lower limit of ROC AUC at least 0.99" in message["body"]
    assert "report.html" in message["body"]
    assert f"run: {prefect_api.removesuffix('/api')}/runs/flow-run/" in message["body"]
    # The model's page lists the run that was refused as well.
    page = connection.connect(load()).get_registered_model("fintech-risk.simulated").description
    assert ") simulated: **rejected**, LightGBM, ROC AUC 0." in page
    # A block that cannot be used is named, without the address of the others.
    err = capfd.readouterr().err
    assert "secret-path" not in err
    (champion,) = events(notifications.CHAMPION_PROMOTED, 1)
    assert champion["resource"]["prefect.resource.id"] == "steward.champion.fintech-risk.simulated"
    assert (champion["payload"]["version"], champion["resource"]["steward.data"]) == (1, "simulated")
    (rejection,) = events(notifications.MODEL_REJECTED, 1)
    assert "ROC AUC at least 0.99" in rejection["payload"]["reason"]
