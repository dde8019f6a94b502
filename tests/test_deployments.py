"""Deployments on `steward up`, triggered by hand and by schedule, and their traces in Prefect and MLflow."""

import inspect
import json
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml

from flows.recording.prefect_run import is_random_name
from ml.simulators import SIMULATORS
from tasks.settings import Settings
from tasks.tracking import connection, registry
from tasks.use_cases import use_case_names
from tests.guard import GUARD

ROOT = Path(__file__).resolve().parents[1]
# The use cases whose deployments run on simulated data; the others need files.
SIMULATED = use_case_names("simulated")
SHORT = 2  # seconds; longer fits are tested elsewhere
# All tests use one server.
pytestmark = pytest.mark.xdist_group("deployments")


@dataclass
class Server:
    """The REST API of the Prefect server."""

    up: Any
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request; repeat it while a busy server answers that it is unavailable."""
        responses: list[httpx.Response] = []

        def is_available() -> bool:
            url = f"{self.up.api}{path}"
            responses.append(httpx.request(method, url, json=body, timeout=GUARD, auth=self.up.auth))
            return responses[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

        self.wait_until(is_available)
        return responses[-1]

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, with pauses that leave the server time."""
        self.up.wait_until(condition, interval=0.5)

    def trigger(self, deployment: str, **parameters: Any) -> httpx.Response:
        path = f"/deployments/{self.deployments[deployment]['id']}/create_flow_run"
        return self.request("POST", path, {"parameters": parameters, "state": {"type": "SCHEDULED"}})

    def schedule(self, deployment: str, **parameters: Any) -> str:
        """Add a schedule with its first time in 12 s and one every 90 s after it; return its path.

        The server looks at new schedules every few seconds, and at times to come only. It ends in 20 minutes: a busy
        machine may look late. Each run takes seconds of processor time: the first one has begun before the next is due.
        """
        start = datetime.now(UTC) + timedelta(seconds=12)
        rule = f"DTSTART:{start:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=SECONDLY;INTERVAL=90;COUNT=14"
        schedule = {"rrule": rule, "timezone": "UTC"}
        path = f"/deployments/{self.deployments[deployment]['id']}/schedules"
        created = self.request(
            "POST", path, [{"active": True, "schedule": schedule, "parameters": parameters}]
        )
        assert created.status_code == 201, created.text
        return f"{path}/{created.json()[0]['id']}"

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = self.request("POST", "/flow_runs/filter", filters).json()
        return runs

    def wait_for(self, run_ids: list[str]) -> list[dict[str, Any]]:
        """Wait until all of the runs have ended; return them in the given order."""
        query = {"flow_runs": {"id": {"any_": run_ids}}}
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        self.wait_until(lambda: all(run["state"]["type"] in final for run in self.runs(**query)))
        return sorted(self.runs(**query), key=lambda run: run_ids.index(run["id"]))

    def first_run_id(self, schedule: str, deployment: str) -> str:
        """Wait until a run of a schedule has started, end the schedule, and return the identifier of the run.

        Prefect creates all runs ahead and keeps them when their schedule is deleted. Each would need seconds of
        processor time. Those of the next half minute stay, because the worker may hold them already.
        """
        of_deployment = {"id": {"any_": [self.deployments[deployment]["id"]]}}
        query = {
            "deployments": of_deployment,
            "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED", "FAILED", "CRASHED"]}}},
            "sort": "START_TIME_ASC",
        }

        def scheduled_runs() -> list[dict[str, Any]]:
            return [run for run in self.runs(**query) if run["auto_scheduled"]]

        self.wait_until(scheduled_runs)
        (first, *_) = scheduled_runs()
        self.request("DELETE", schedule)
        start, end = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (30, 3600))
        ahead = {"expected_start_time": {"after_": start.isoformat(), "before_": end.isoformat()}}
        for run in self.runs(deployments=of_deployment, flow_runs=ahead):
            self.request("DELETE", f"/flow_runs/{run['id']}")
        return str(first["id"])


@pytest.fixture(scope="module")
def server(shared_up: Callable[[], Any]) -> Server:
    server = Server(shared_up())
    deployments = server.request("POST", "/deployments/filter", {}).json()
    server.deployments = {deployment["name"]: deployment for deployment in deployments}
    return server


@pytest.fixture(scope="module")
def settings(server: Server) -> Settings:
    return Settings(state_dir=server.up.state_dir)


@pytest.fixture(scope="module")
def training_runs(server: Server) -> dict[str, dict[str, Any]]:
    """Run all use cases at once, and fintech-risk twice: the worker gets both runs of it together."""
    cases = ["fintech-risk", "fintech-risk", *(case for case in SIMULATED if case != "fintech-risk")]
    triggered = [server.trigger(case, time_budget=SHORT).json()["id"] for case in cases]
    runs = server.wait_for(triggered)
    # Whichever of the two came second.
    runs[:2] = sorted(runs[:2], key=lambda run: str(run["state"]["type"]))
    return dict(zip(["concurrent", *cases[1:]], runs, strict=True))


@pytest.fixture(scope="module")
def later_runs(
    server: Server, training_runs: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Run everything that needs champions, at the same time."""
    folder = tmp_path_factory.mktemp("scoring")
    SIMULATORS["lender"](200, 1).rows.drop(columns="defaulted").to_csv(folder / "new.csv", index=False)
    files = {"data": str(folder / "new.csv"), "out": str(folder / "scores.parquet")}
    responses = {
        "scoring": server.trigger("fintech-risk-score", **files),
        "unknown data": server.trigger("health-prediction", data="no_such_set"),
        "maintenance": server.trigger("maintenance", dry_run=True),
    }
    nightly = server.schedule("fintech-risk", time_budget=SHORT)
    invalid = server.schedule("ecommerce-recommendation", time_budget=-1)
    run_ids = {name: response.json()["id"] for name, response in responses.items()}
    run_ids["scheduled"] = server.first_run_id(nightly, "fintech-risk")
    run_ids["invalid time budget"] = server.first_run_id(invalid, "ecommerce-recommendation")
    return dict(zip(run_ids, server.wait_for(list(run_ids.values())), strict=True))


def test_server_has_the_deployments_of_prefect_yaml(server: Server) -> None:
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    expected = {deployment["name"]: deployment for deployment in project["deployments"]}
    assert (
        set(server.deployments)
        == set(expected)
        == {*use_case_names(), *(f"{case}-score" for case in use_case_names()), "maintenance"}
    )
    pull_steps = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    for name, deployment in server.deployments.items():
        for key in ("entrypoint", "description", "parameters", "tags"):
            assert deployment[key] == expected[name][key], (name, key)
        assert (deployment["work_pool_name"], deployment["pull_steps"]) == ("steward", pull_steps)
        schedules = [
            (s["slug"], s["schedule"]["cron"], s["schedule"]["timezone"]) for s in deployment["schedules"]
        ]
        assert schedules == [(s["slug"], s["cron"], s["timezone"]) for s in expected[name]["schedules"]]
        limit = expected[name].get("concurrency_limit")
        assert (deployment["global_concurrency_limit"] or {}).get("limit") == (
            limit["limit"] if limit else None
        )
        strategy = (deployment["concurrency_options"] or {}).get("collision_strategy")
        assert strategy == (limit["collision_strategy"] if limit else None)


def test_every_schedule_has_future_runs(server: Server) -> None:
    scheduled = {name for name, deployment in server.deployments.items() if deployment["schedules"]}
    assert scheduled == {*SIMULATED, "maintenance"}

    def future_runs(name: str) -> list[dict[str, Any]]:
        deployment = {"id": {"any_": [server.deployments[name]["id"]]}}
        return server.runs(deployments=deployment, flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})

    server.wait_until(lambda: all(future_runs(name) for name in scheduled))


@pytest.mark.parametrize("case", use_case_names())
def test_form_describes_every_parameter(case: str, server: Server) -> None:
    stem = case.replace("-", "_")
    flow = getattr(import_module(f"flows.{stem}"), stem)
    form: dict[str, dict[str, Any]] = server.deployments[case]["parameter_openapi_schema"]["properties"]
    assert list(form) == list(inspect.signature(flow.fn).parameters)
    documentation = " ".join((inspect.getdoc(flow.fn) or "").split())
    for name, entry in form.items():
        assert all("type" in kind for kind in entry.get("anyOf", [entry])), name
        assert f" {name}: {entry['description']}" in documentation


@pytest.mark.parametrize(
    ("deployment", "parameters", "message"),
    [
        ("fintech-risk", {"seed": "many"}, "'many' is not of type 'integer'"),
        ("fintech-risk", {"time_budget": None}, "None is not of type 'number'"),
        ("fintech-risk", {"time_budget": -1}, "-1 is less than or equal to the minimum of 0"),
        ("fintech-risk", {"sed": 1}, "'sed' was unexpected"),
        ("fintech-risk-score", {"data": "new.csv"}, "'out' is a required property"),
        ("maintenance", {"dry_run": "perhaps"}, "'perhaps' is not of type 'boolean'"),
    ],
)
def test_server_rejects_parameters_that_the_form_forbids(
    server: Server, deployment: str, parameters: dict[str, Any], message: str
) -> None:
    response = server.trigger(deployment, **parameters)
    assert response.status_code == 409
    assert message in response.json()["detail"]


@pytest.mark.parametrize("case", SIMULATED)
def test_triggered_run_registers_a_champion(
    case: str, server: Server, training_runs: dict[str, dict[str, Any]], settings: Settings
) -> None:
    flow_run = training_runs[case]
    assert (flow_run["state"]["type"], flow_run["state"]["message"]) == ("COMPLETED", None)
    mlflow = connection.connect(settings)
    champion = registry.get_champion(mlflow, f"{case}.simulated")
    assert champion is not None
    run = mlflow.get_run(mlflow.get_model_version(champion.name, str(champion.number)).run_id)
    tags = run.data.tags
    assert (run.info.status, tags["steward.verdict"]) == ("FINISHED", "promote")
    assert (tags["prefect.flow_run_id"], tags["prefect.flow_run_name"]) == (flow_run["id"], flow_run["name"])
    assert re.match(
        rf"http://127\.0\.0\.1:{server.up.port}/\S+/flow-run/{flow_run['id']}$", tags["prefect.url"]
    )

    query = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}}
    artifacts = server.request("POST", "/artifacts/filter", query).json()
    data = {artifact["key"]: str(artifact["data"]) for artifact in artifacts}
    assert {f"{case}-simulated-report", f"{case}-simulated-leaderboard"} <= set(data)
    # A browser opens no file:// link of a page, but that of the MLflow server beside it.
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report.html"
    assert f"(http://127.0.0.1:{server.up.mlflow_port}/{page})" in data[f"{case}-simulated-report"]
    assert page in run.data.tags["mlflow.note.content"]
    assert case in Path(run.info.artifact_uri.removeprefix("file://"), "report.html").read_text()
    assert {"steward", f"case:{case}", "data:simulated", "verdict:promote"} <= set(flow_run["tags"])


def test_every_run_is_named_by_its_parameters(
    later_runs: dict[str, dict[str, Any]], training_runs: dict[str, dict[str, Any]], server: Server
) -> None:
    names = {key: run["name"] for key, run in {**training_runs, **later_runs}.items()}
    assert {names[case] for case in SIMULATED} == {"simulated"}
    assert (names["scoring"], names["maintenance"]) == ("simulated: new", "preview")
    # Also those that wait, and those that never started.
    server.wait_until(lambda: not [run for run in server.runs() if is_random_name(run["name"])])


def test_concurrent_run_of_a_deployment_is_cancelled(training_runs: dict[str, dict[str, Any]]) -> None:
    state = training_runs["concurrent"]["state"]
    assert (state["type"], state["message"]) == ("CANCELLED", "Deployment concurrency limit reached.")


def test_scheduled_run_on_unchanged_data_is_unchanged(
    later_runs: dict[str, dict[str, Any]], settings: Settings
) -> None:
    flow_run = later_runs["scheduled"]
    assert (flow_run["auto_scheduled"], flow_run["state"]["type"]) == (True, "COMPLETED")
    mlflow = connection.connect(settings)
    (run,) = mlflow.search_runs(
        [mlflow.get_experiment_by_name("fintech-risk").experiment_id],
        f"tags.`prefect.flow_run_id` = '{flow_run['id']}'",
    )
    assert (run.info.status, run.data.tags["steward.verdict"]) == ("FINISHED", "unchanged")


@pytest.mark.parametrize(
    ("name", "deployment", "message"),
    [
        ("invalid time budget", "ecommerce-recommendation", "invalid parameters"),
        ("invalid time budget", "ecommerce-recommendation", "time_budget: Input should be greater than 0"),
        (
            "unknown data",
            "health-prediction",
            "UsageError: expected a data set of health-prediction (cardio_70k, chronic_kidney_disease, ",
        ),
    ],
)
def test_impossible_run_fails_with_one_message(
    name: str, deployment: str, message: str, server: Server, later_runs: dict[str, dict[str, Any]]
) -> None:
    state = later_runs[name]["state"]
    assert state["type"] == "FAILED"
    assert message in state["message"]
    # By any name: one that Prefect made of random words is replaced when `up` sees the run.
    label = rf"\d  {deployment} \S+  Failed: "
    server.up.wait_until(lambda: re.search(label, server.up.output))
    # Several runs of a schedule may have started before it ended.
    lines = [line for line in server.up.output.splitlines() if re.search(label, line)]
    assert all(message in line for line in lines)


def test_scoring_deployment_writes_scores(later_runs: dict[str, dict[str, Any]]) -> None:
    assert later_runs["scoring"]["state"]["type"] == "COMPLETED"
    scores = pd.read_parquet(later_runs["scoring"]["parameters"]["out"])
    assert len(scores) == 200
    assert scores["probability"].between(0, 1).all()


def test_maintenance_deployment_completes(later_runs: dict[str, dict[str, Any]]) -> None:
    assert later_runs["maintenance"]["state"]["type"] == "COMPLETED", later_runs["maintenance"]["state"][
        "message"
    ]


def test_output_has_a_line_per_event_and_nothing_of_libraries(
    server: Server, later_runs: dict[str, dict[str, Any]]
) -> None:
    up = server.up
    up.wait_until(lambda: f"fintech-risk-score {later_runs['scoring']['name']}  Completed" in up.output)
    head, _, events = up.output.partition("Ctrl-C stops all of them.\n")
    assert f"http://127.0.0.1:{up.port}/open?token=" in head
    assert f"http://127.0.0.1:{up.mlflow_port}/open?token=" in head
    # Each line starts with a time, or is the link that belongs to the line before.
    assert all(
        re.match(r"\d\d:\d\d:\d\d  [\w-]+ [\w-]+(: [\w.]+)?  | {10}http", line)
        for line in events.splitlines()
    ), events
    assert "verdict: promote" in events
    # Two runs of a schedule may be cancelled, or fail, in the same second.
    repeated = ("Cancelled", "invalid parameters")
    lines = [line for line in events.splitlines() if not any(words in line for words in repeated)]
    assert len(lines) == len(set(lines))
    # Nothing that acts on runs without a look at their state, and so fails.
    assert server.request("POST", "/automations/filter", {}).json() == []


def test_ctrl_c_records_the_end_of_a_run_and_leaves_no_process(server: Server) -> None:
    """Run last in this file, since it stops the servers."""
    up = server.up
    run_id = server.trigger("health-prediction", fresh=True, only_new_data=False).json()["id"]
    # This run, not one of a schedule.
    metadata = up.state_dir / "running" / f"{run_id}.json"
    up.wait_until(lambda: metadata.exists() and bool(json.loads(metadata.read_text()).get("mlflow_run_id")))
    assert up.stop(signal.SIGINT) == 0, up.output
    assert up.processes == []
    assert up.output.endswith("all stopped\n")
    assert not (up.state_dir / "up.json").exists()
    with closing(sqlite3.connect(up.state_dir / "prefect" / "prefect.db")) as prefect:
        states = prefect.execute(
            "SELECT flow_run.id, type, message FROM flow_run JOIN flow_run_state AS state ON state_id = state.id"
        ).fetchall()
    # The run recorded that it was asked to end, not killed.
    assert (run_id, "CANCELLED", "Steward: cancelled by a request to end (SIGTERM)") in states
    assert not {"PENDING", "RUNNING"} & {kind for _, kind, _ in states}
    with closing(sqlite3.connect(up.state_dir / "mlflow.db")) as mlflow:
        ((status,),) = mlflow.execute(
            "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'prefect.flow_run_id' AND value = ?",
            [run_id],
        ).fetchall()
        running = mlflow.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    assert (status, running) == ("KILLED", (0,))
