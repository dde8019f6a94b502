"""`steward up` as an operator uses it: deployments triggered by hand and by schedule, seen in Prefect and in MLflow."""

import inspect
import json
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from ml.simulators import SIMULATORS
from operate.local_stack import automations
from tasks.settings import Settings
from tasks.tracking import connection, registry
from tasks.use_cases import cases

ROOT = Path(__file__).resolve().parents[1]
# One server, deployed to once.
pytestmark = pytest.mark.xdist_group("deployments")
OURS = {"Crash runs that show no sign of life", "Cancel runs that take longer than 12 hours"}


@dataclass
class Server:
    """The REST API, as a stranger's script would use it."""

    up: Any
    named: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The answer; a server on SQLite that is busy asks to be asked again."""
        answers: list[httpx.Response] = []

        def is_answered() -> bool:
            answers.append(httpx.request(method, f"{self.up.api}{path}", json=body, timeout=60))
            return answers[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

        self.until(is_answered)
        return answers[-1]

    def until(self, ready: Callable[[], object]) -> None:
        """Wait for what the server says, without keeping it busy."""
        self.up.until(ready, every=0.5)

    def trigger(self, deployment: str, **parameters: Any) -> httpx.Response:
        path = f"/deployments/{self.named[deployment]['id']}/create_flow_run"
        return self.ask("POST", path, {"parameters": parameters, "state": {"type": "SCHEDULED"}})

    def schedule(self, deployment: str, **parameters: Any) -> str:
        """A few times in the next minute; the schedule's path."""
        rule = f"DTSTART:{datetime.now(UTC):%Y%m%dT%H%M%SZ}\nRRULE:FREQ=SECONDLY;INTERVAL=5;COUNT=12"
        schedule = {"rrule": rule, "timezone": "UTC"}
        path = f"/deployments/{self.named[deployment]['id']}/schedules"
        made = self.ask("POST", path, [{"active": True, "schedule": schedule, "parameters": parameters}])
        assert made.status_code == 201, made.text
        return f"{path}/{made.json()[0]['id']}"

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", filters).json()
        return found

    def ended(self, identities: list[str]) -> list[dict[str, Any]]:
        """The runs, when all of them have ended."""
        asked = {"flow_runs": {"id": {"any_": identities}}}
        ends = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        self.until(lambda: all(run["state"]["type"] in ends for run in self.runs(**asked)))
        return sorted(self.runs(**asked), key=lambda run: identities.index(run["id"]))

    def first_of(self, schedule: str, deployment: str) -> dict[str, Any]:
        """The first run of a schedule that was not cancelled, when it has ended; the schedule is taken away."""
        asked = {
            "deployments": {"id": {"any_": [self.named[deployment]["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}},
            "sort": "START_TIME_ASC",
        }

        def found() -> list[dict[str, Any]]:
            return [run for run in self.runs(**asked) if run["auto_scheduled"]]

        self.until(found)
        self.ask("DELETE", schedule)
        return found()[0]


@pytest.fixture(scope="module")
def server(steward_up: Callable[..., Any]) -> Server:
    server = Server(steward_up().ready())
    server.named = {one["name"]: one for one in server.ask("POST", "/deployments/filter", {}).json()}
    return server


@pytest.fixture(scope="module")
def memory(server: Server) -> Settings:
    return Settings(home=server.up.home)


@pytest.fixture(scope="module")
def trained(server: Server) -> dict[str, dict[str, Any]]:
    """A run of each use case, all triggered together, and one of fintech-risk that came while another was at work."""
    asked = [server.trigger(case).json()["id"] for case in cases()]
    first = {"flow_runs": {"id": {"any_": asked}, "state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
    server.until(lambda: len(server.runs(**first)) == len(asked))
    asked.append(server.trigger("fintech-risk").json()["id"])
    return dict(zip([*cases(), "too many"], server.ended(asked), strict=True))


@pytest.fixture(scope="module")
def later(
    server: Server, trained: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What happens once there are champions, at the same time."""
    folder = tmp_path_factory.mktemp("scoring")
    SIMULATORS["lender"](200, 1).rows.drop(columns="defaulted").to_csv(folder / "new.csv", index=False)
    files = {"data": str(folder / "new.csv"), "out": str(folder / "scores.parquet")}
    asked = {
        "scored": server.trigger("fintech-risk-score", **files),
        "unknown data": server.trigger("health-prediction", data="no_such_set"),
        "maintained": server.trigger("maintenance", dry_run=True),
    }
    nightly = server.schedule("fintech-risk")
    impossible = server.schedule("ecommerce-recommendation", budget=-1)
    runs = {
        "scheduled": server.first_of(nightly, "fintech-risk"),
        "impossible": server.first_of(impossible, "ecommerce-recommendation"),
    }
    ended = server.ended([answer.json()["id"] for answer in asked.values()])
    return {**runs, **dict(zip(asked, ended, strict=True))}


def test_the_server_has_what_the_file_says(server: Server) -> None:
    said = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert set(server.named) == set(said) == {*cases(), *(f"{case}-score" for case in cases()), "maintenance"}
    here = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    for name, one in server.named.items():
        for key in ("entrypoint", "description", "parameters", "tags"):
            assert one[key] == said[name][key], (name, key)
        assert (one["work_pool_name"], one["pull_steps"]) == ("steward", here)
        schedules = [(s["slug"], s["schedule"]["cron"], s["schedule"]["timezone"]) for s in one["schedules"]]
        assert schedules == [(s["slug"], s["cron"], s["timezone"]) for s in said[name]["schedules"]]
        limit = said[name].get("concurrency_limit")
        assert (one["global_concurrency_limit"] or {}).get("limit") == (limit["limit"] if limit else None)
        strategy = (one["concurrency_options"] or {}).get("collision_strategy")
        assert strategy == (limit["collision_strategy"] if limit else None)


def test_what_is_scheduled_is_told_in_advance(server: Server) -> None:
    """For each schedule of the file, at the wall-clock hour of its time zone."""
    scheduled = {name for name, one in server.named.items() if one["schedules"]}
    assert scheduled == {*cases(), "maintenance"}

    def ahead(name: str) -> list[dict[str, Any]]:
        deployment = {"id": {"any_": [server.named[name]["id"]]}}
        return server.runs(deployments=deployment, flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})

    server.until(lambda: all(ahead(name) for name in scheduled))


@pytest.mark.parametrize("case", cases())
def test_the_form_says_what_each_parameter_is(case: str, server: Server) -> None:
    stem = case.replace("-", "_")
    flow = getattr(import_module(f"flows.{stem}"), stem)
    form: dict[str, dict[str, Any]] = server.named[case]["parameter_openapi_schema"]["properties"]
    assert list(form) == list(inspect.signature(flow.fn).parameters)
    told = " ".join((inspect.getdoc(flow.fn) or "").split())
    for name, entry in form.items():
        assert all("type" in kind for kind in entry.get("anyOf", [entry])), name
        assert f" {name}: {entry['description']}" in told


@pytest.mark.parametrize(
    ("deployment", "parameters", "why"),
    [
        ("fintech-risk", {"seed": "many"}, "'many' is not of type 'integer'"),
        ("fintech-risk", {"budget": None}, "None is not of type 'number'"),
        ("fintech-risk", {"sed": 1}, "'sed' was unexpected"),
        ("fintech-risk-score", {"data": "new.csv"}, "'out' is a required property"),
        ("maintenance", {"dry_run": "perhaps"}, "'perhaps' is not of type 'boolean'"),
    ],
)
def test_the_server_refuses_what_the_form_forbids(
    server: Server, deployment: str, parameters: dict[str, Any], why: str
) -> None:
    answer = server.trigger(deployment, **parameters)
    assert answer.status_code == 409
    assert why in answer.json()["detail"]


@pytest.mark.parametrize("case", cases())
def test_a_triggered_run_ends_with_a_champion(
    case: str, server: Server, trained: dict[str, dict[str, Any]], memory: Settings
) -> None:
    ran = trained[case]
    assert (ran["state"]["type"], ran["state"]["message"]) == ("COMPLETED", None)
    mlflow = connection.connect(memory)
    champion = registry.champion(mlflow, f"{case}.simulated")
    assert champion is not None
    run = mlflow.get_run(mlflow.get_model_version(champion.name, str(champion.number)).run_id)
    tags = run.data.tags
    assert (run.info.status, tags["steward.verdict"]) == ("FINISHED", "promote")
    assert (tags["prefect.flow_run_id"], tags["prefect.flow_run_name"]) == (ran["id"], ran["name"])
    assert re.match(rf"http://127\.0\.0\.1:{server.up.port}/\S+/flow-run/{ran['id']}$", tags["prefect.url"])

    asked = {"artifacts": {"flow_run_id": {"any_": [ran["id"]]}}}
    artifacts = server.ask("POST", "/artifacts/filter", asked).json()
    shown = {artifact["key"]: str(artifact["data"]) for artifact in artifacts}
    assert {f"{case}-report", f"{case}-leaderboard"} <= set(shown)
    report = f"{run.info.artifact_uri}/report.html"
    assert report in shown[f"{case}-report"]
    assert case in Path(report.removeprefix("file://")).read_text()


def test_a_second_run_at_the_same_time_is_cancelled(trained: dict[str, dict[str, Any]]) -> None:
    state = trained["too many"]["state"]
    assert (state["type"], state["message"]) == ("CANCELLED", "Deployment concurrency limit reached.")


def test_a_scheduled_run_on_known_data_finds_nothing_new(
    later: dict[str, dict[str, Any]], memory: Settings
) -> None:
    ran = later["scheduled"]
    assert (ran["auto_scheduled"], ran["state"]["type"]) == (True, "COMPLETED")
    mlflow = connection.connect(memory)
    (run,) = mlflow.search_runs(
        [mlflow.get_experiment_by_name("fintech-risk").experiment_id],
        f"tags.`prefect.flow_run_id` = '{ran['id']}'",
    )
    assert (run.info.status, run.data.tags["steward.verdict"]) == ("FINISHED", "nothing new")


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("impossible", "expected a budget of more than 0 seconds; got -1; give --budget SECONDS"),
        ("unknown data", "expected a data set of health-prediction (cardio_70k, diabetes_130_hospitals, "),
    ],
)
def test_what_cannot_be_done_fails_with_one_message(
    which: str, why: str, server: Server, later: dict[str, dict[str, Any]]
) -> None:
    state = later[which]["state"]
    assert state["type"] == "FAILED"
    assert f"UsageError: {why}" in state["message"]
    run = f"{later[which]['name']}  Failed: "
    server.up.until(lambda: run in server.up.said)
    # A schedule may have come around once more, and failed as well.
    (told,) = [line for line in server.up.said.splitlines() if run in line]
    assert why in told


def test_a_file_is_scored(later: dict[str, dict[str, Any]]) -> None:
    assert later["scored"]["state"]["type"] == "COMPLETED"
    scores = pd.read_parquet(later["scored"]["parameters"]["out"])
    assert len(scores) == 200
    assert scores["probability"].between(0, 1).all()


def test_maintenance_runs(later: dict[str, dict[str, Any]]) -> None:
    assert later["maintained"]["state"]["type"] == "COMPLETED", later["maintained"]["state"]["message"]


def test_the_operator_reads_a_line_for_what_matters(server: Server, later: dict[str, dict[str, Any]]) -> None:
    up = server.up
    up.until(lambda: f"fintech-risk-score {later['scored']['name']}  Completed" in up.said)
    head, _, told = up.said.partition("Ctrl-C ends all of them.\n")
    assert f"http://127.0.0.1:{up.port}\n" in head
    assert f"http://127.0.0.1:{up.mlflow_port}\n" in head
    # A time, or the rest of the line above; of what libraries say, nothing.
    assert all(re.match(r"\d\d:\d\d:\d\d  [\w-]+ [\w-]+  | {10}http", line) for line in told.splitlines()), (
        told
    )
    assert "verdict: promote" in told
    assert len(told.splitlines()) == len(set(told.splitlines()))


def test_automations_are_there_once(server: Server) -> None:
    automations.ensure(SyncPrefectClient(server.up.api))
    known = server.ask("POST", "/automations/filter", {}).json()
    assert sorted(one["name"] for one in known) == sorted(OURS)
    assert all(one["enabled"] for one in known)


def test_ctrl_c_ends_a_run_truthfully_and_leaves_nothing(server: Server) -> None:
    """The last test of this file: it ends the servers."""
    up = server.up
    asked = server.trigger("health-prediction", fresh=True, only_new_data=False).json()["id"]
    # That run, and not one more of a schedule.
    told = up.home / "running" / f"{asked}.json"
    up.until(lambda: told.exists() and bool(json.loads(told.read_text()).get("mlflow_run_id")))
    assert up.end(signal.SIGINT) == 0, up.said
    assert up.left == []
    assert up.said.endswith("all ended\n")
    assert not (up.home / "up.json").exists()
    with closing(sqlite3.connect(up.home / "prefect" / "prefect.db")) as prefect:
        states = prefect.execute(
            "SELECT flow_run.id, type, message FROM flow_run JOIN flow_run_state AS state ON state_id = state.id"
        ).fetchall()
    # Its own words: it was asked to end, and not killed.
    assert (asked, "CRASHED", "Execution was aborted by a termination signal.") in states
    assert not {"PENDING", "RUNNING"} & {kind for _, kind, _ in states}
    with closing(sqlite3.connect(up.home / "mlflow.db")) as mlflow:
        ((status,),) = mlflow.execute(
            "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'prefect.flow_run_id' AND value = ?",
            [asked],
        ).fetchall()
        running = mlflow.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    assert (status, running) == ("KILLED", (0,))
