"""What happens around a run: nothing new, one at a time, an instant of the past, events and messages."""

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

import pandas as pd
import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker

from flows import fintech_risk
from flows.champions import roll_back
from flows.pipeline import run
from flows.recording import notifications
from flows.recording.outcome import RunOutcome
from flows.use_case import RunParameters, UseCase
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.errors import QualityGateError, UsageError
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Prior
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.locks.model_lock import LockTimeoutError, model_lock
from tasks.settings import load
from tasks.tracking import connection

QUICK = replace(
    fintech_risk.CASE,
    candidates={"prior": Prior(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(minimum=0.5),
)
pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")


def ended(asked: RunParameters, case: UseCase = QUICK) -> RunOutcome:
    return flow(name=case.name)(lambda: run(case, asked))()


def parents() -> list[Any]:
    """Runs of flows in MLflow, newest first."""
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [r for r in runs if "mlflow.parentRunId" not in r.data.tags]


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    path = tmp_path / "loans.parquet"
    SIMULATORS["lender"](1500, 0).rows.to_parquet(path)
    return path


def test_trials_are_runs_below_the_run(loans: Path) -> None:
    members = {"trees": GradientBoosting(num_leaves=3, learning_rate=0.01, max_rounds=20)}
    mixed = replace(
        QUICK, candidates={"prior": Prior(), "ensemble": Ensemble(presets=(Preset(math.inf, 2, 1, members),))}
    )
    outcome = ended(RunParameters(str(loans), "simulated", trials=3), mixed)
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    trials = [one for one in runs if "trial" in one.info.run_name]
    assert sorted(one.info.run_name for one in trials) == [f"ensemble, trial {n}" for n in (1, 2, 3)]
    for one in trials:
        assert one.info.status == "FINISHED"
        assert one.data.tags["mlflow.parentRunId"] == parents()[0].info.run_id
        assert one.data.metrics["out_of_fold.loss"] > 0
        assert {"num_leaves", "learning_rate", "pruned"} <= set(one.data.params)
    assert "3 trials of other hyperparameters" in Path(outcome.report).read_text()


def test_unchanged_data_are_no_news_and_changed_ones_are(loans: Path) -> None:
    asked = RunParameters(str(loans), "simulated", only_new_data=True)
    first = ended(asked)
    again = ended(asked)
    assert (first.verdict, again.verdict) == ("promote", "nothing new")
    same = ("version", "value", "low", "high", "rows", "champion", "candidate", "report")
    assert all(getattr(first, name) == getattr(again, name) for name in same)
    # Nothing was trained, judged or registered, and both UIs say so.
    newest = parents()[0]
    assert (newest.info.status, newest.data.tags["steward.verdict"]) == ("FINISHED", "nothing new")
    assert first.report in newest.data.tags["mlflow.note.content"]
    client = connection.connect(load())
    assert len(client.search_runs([newest.info.experiment_id])) == 4  # two flows, two candidates
    assert len((load().ledger / "fintech-risk.simulated.jsonl").read_text().splitlines()) == 1

    # By hand, and when asked afresh, everything is looked at again.
    assert ended(replace(asked, only_new_data=False)).verdict == "keep"
    assert ended(replace(asked, fresh=True)).verdict == "keep"
    # The version's page keeps the word of the run that decided about it; the model's page tells of the last run too.
    version = client.get_model_version("fintech-risk.simulated", "1")
    assert version.description.startswith("**promote: the first champion")
    assert first.report in version.description
    page = client.get_registered_model("fintech-risk.simulated").description
    assert "Champion: version 1" in page
    assert "line 1 of the ledger" in page
    assert "Last run" in page
    assert "keep: this model was decided about before" in page
    # Another seed, other candidates, other data are news.
    assert ended(replace(asked, seed=1)).verdict != "nothing new"
    fewer = replace(QUICK, candidates={"prior": Prior()})
    assert ended(asked, fewer).verdict != "nothing new"
    SIMULATORS["lender"](1600, 0).rows.to_parquet(loans)
    assert ended(asked).verdict != "nothing new"


def test_after_a_rollback_and_after_a_refusal_a_run_looks_again(loans: Path) -> None:
    asked = RunParameters(str(loans), "simulated", only_new_data=True)
    strict = replace(QUICK, thresholds=QualityThresholds(minimum=0.99))
    for _ in range(2):
        with pytest.raises(QualityGateError):
            ended(asked, strict)
    ended(asked, replace(QUICK, candidates={"prior": Prior()}))
    assert ended(asked).verdict == "promote"
    roll_back("fintech-risk", "simulated", "complaints")
    again = ended(asked)
    assert (again.verdict, again.version) == ("keep", 1)


def test_as_of_leaves_out_what_nobody_knew_then(loans: Path) -> None:
    rows = pd.read_parquet(loans)
    instant = datetime(2025, 6, 30, tzinfo=UTC)
    later = int((rows["applied_on"] > instant.replace(tzinfo=None)).sum())
    assert 100 < later < 1400
    asked = RunParameters(str(loans), "simulated", as_of=instant)
    then = ended(asked)
    assert (then.rows, then.excluded, then.quarantined) == (1500, later, 0)
    assert parents()[0].data.tags["steward.interval"] == "2025-06-30T00:00:00+00:00"
    # It is the run that would have been made from the data of that day.
    known = loans.with_name("then.parquet")
    rows[rows["applied_on"] <= instant.replace(tzinfo=None)].to_parquet(known)
    assert ended(RunParameters(str(known), "simulated")).value == then.value


def test_as_of_needs_times(contracts: Path) -> None:
    path = contracts / "fintech_risk" / "simulated.json"
    contract = json.loads(path.read_text())
    contract["meta"]["roles"].pop("time")
    contract["meta"]["roles"]["ignored"] = ["applied_on"]
    contract["meta"]["split"] = {"by": "hash"}
    path.write_text(json.dumps(contract))
    with pytest.raises(UsageError, match="a column with the role time"):
        ended(RunParameters(as_of=datetime(2025, 6, 30, tzinfo=UTC)))
    assert parents() == []


def test_a_run_waits_for_its_turn_and_says_so_if_it_does_not_come() -> None:
    settings = load()
    with model_lock(settings, "fintech-risk.simulated"), model_lock(settings, "fintech-risk.other"):
        refused = pytest.raises(
            LockTimeoutError, match=r"another run of fintech-risk\.simulated that is still at work"
        )
        with refused, model_lock(settings, "fintech-risk.simulated", timeout_seconds=0.01):
            raise AssertionError
    with model_lock(settings, "fintech-risk.simulated", timeout_seconds=0.0):
        pass


class Webhook(HTTPServer):
    """What a team's chat would hear."""

    heard: list[dict[str, str]]


@pytest.fixture
def webhook(prefect_api: str) -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.heard.append(json.loads(body))  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    server = Webhook(("127.0.0.1", 0), Handler)
    server.heard = []
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
    """The events of one name that this test's runs gave, newest first, once so many have arrived."""
    EventsWorker.drain_all(timeout=10)
    deadline = time.monotonic() + 60
    found: list[dict[str, Any]] = []
    with get_client(sync_client=True) as client:
        while len(found) < number and time.monotonic() < deadline:
            answer = client._client.post("/events/filter", json={"filter": {"event": {"name": [name]}}})
            ours = f"file://{load().home}"
            found = [e for e in answer.json()["events"] if e["payload"]["report"].startswith(ours)]
    return found


def test_people_and_automations_hear_of_champions_and_refusals(
    webhook: Webhook,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended(RunParameters())
    assert webhook.heard == []  # silent unless asked
    monkeypatch.setenv("STEWARD_NOTIFY", "custom-webhook/chat, slack-webhook/of-nobody")
    ended(RunParameters())  # a tie is no news
    assert webhook.heard == []
    with pytest.raises(QualityGateError):
        ended(RunParameters(), replace(QUICK, thresholds=QualityThresholds(minimum=0.99)))
    (heard,) = webhook.heard
    assert heard["subject"] == "Steward: fintech-risk on simulated: refused"
    assert "refused by the gate quality: expected roc_auc at least 0.99" in heard["body"]
    assert "report.html" in heard["body"]
    assert f"run: {prefect_api.removesuffix('/api')}/runs/flow-run/" in heard["body"]
    # Who cannot be told is named, without the address of the others.
    err = capfd.readouterr().err
    assert "secret-path" not in err
    (champion,) = events(notifications.CHAMPION, 1)
    assert champion["resource"]["prefect.resource.id"] == "steward.champion.fintech-risk.simulated"
    assert (champion["payload"]["version"], champion["resource"]["steward.data"]) == (1, "simulated")
    (refused,) = events(notifications.STOPPED, 1)
    assert "roc_auc at least 0.99" in refused["payload"]["why"]
