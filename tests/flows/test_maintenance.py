"""Maintenance deletes what is past its retention, and keeps what an alias, the ledger or an active run needs."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pandas as pd
import pytest
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows import fintech_risk
from flows.champions import roll_back
from flows.housekeeping import prefect_runs
from flows.housekeeping.retention import CLOCK_MARGIN, protected_since
from flows.maintenance import MaintenanceReport, maintenance, preview
from flows.pipeline import run
from flows.recording.outcome import RunOutcome
from flows.scoring import score
from flows.use_case import RunParameters
from ml.errors import DataGateError, StewardError
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.locks.model_lock import LockTimeoutError, model_lock
from tasks.locks.run_lock import HOST_TAG, RunLock
from tasks.settings import ROOT, Settings, load
from tasks.storage.content_store import StageResult, Store
from tasks.tracking import connection, registry, run_history
from tasks.tracking.run import MlflowRun, start_run

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"

QUICK = replace(
    fintech_risk.CASE,
    candidates={"constant": Constant(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(min_primary=0.5),
)
NAME = "fintech-risk.simulated"
LONG_AGO = timedelta(hours=3)
pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")


@pytest.fixture(autouse=True)
def _no_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set all retention to zero, so that everything that ended is past it."""
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "0")
    monkeypatch.setenv("STEWARD_STORE_DAYS", "0")


def run_flow(params: RunParameters) -> RunOutcome:
    return flow(name=QUICK.name)(lambda: run(QUICK, params))()


def age(home: Path, by: timedelta = LONG_AGO) -> None:
    """Set the last use of everything in the store to the past."""
    then = time.time() - by.total_seconds()
    for path in [*home.glob("store/objects/*"), *home.glob("store/*/*"), *home.glob("store/objects/*/*")]:
        os.utime(path, (then, then))


def tree(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file()
    }


def bytes_of(home: Path, *folders: str) -> int:
    return sum(p.stat().st_size for f in folders for p in (home / f).rglob("*") if p.is_file())


def deleted_names(report: MaintenanceReport, kind: str) -> list[str]:
    return [item.name.split()[0] for item in report.deleted if item.kind == kind]


def versions(client: connection.Client) -> list[int]:
    return sorted(item.version.number for item in registry.list_all_versions(client))


def runs(client: connection.Client) -> set[str]:
    return {
        run.run_id for run in run_history.runs_ended_before(client, datetime.now(UTC) + timedelta(days=1))
    }


def register(client: connection.Client, home: Path, source: MlflowRun) -> int:
    """Register a version without a decision, and return its number."""
    tags = {"steward.digest": "d" * 64}
    return int(client.create_model_version(NAME, (home / "model").as_uri(), source.run_id, tags=tags).version)


def test_deletes_what_the_preview_listed_and_keeps_what_is_needed(tmp_path: Path, home: Path) -> None:
    assert run_flow(RunParameters()).verdict == "promote"
    assert run_flow(RunParameters(seed=1)).verdict in ("keep_champion", "inconclusive")
    client = connection.connect(load())
    registry.set_champion(client, NAME, 2)  # by hand, so that there is a way back
    died = start_run(client, load(), QUICK.name, "died before the decision", {}, [])
    died.log_text("facts.json", "{}")
    died.finish("KILLED")
    register(client, home, died)
    loans = tmp_path / "loans.parquet"
    SIMULATORS["lender"](300, 5).rows.assign(defaulted=7).to_parquet(loans)
    with pytest.raises(DataGateError):
        run_flow(RunParameters(data=str(loans), contract="simulated"))
    killed = home / "store" / "objects" / ".writing-x"
    killed.mkdir()
    (killed / "rows.parquet").write_bytes(b"half")
    age(home)

    kept = {registry.get_version(client, NAME, number).run_id for number in (1, 2)}
    before, report = tree(home), preview(load())
    assert tree(home) == before
    assert deleted_names(report, "version") == [NAME]
    assert len(deleted_names(report, "run")) == 2
    assert not kept & set(deleted_names(report, "run"))
    assert deleted_names(report, "orphaned") == ["objects/.writing-x"]

    sizes = [bytes_of(home, "store"), bytes_of(home, "store", "artifacts")]
    done = maintenance()
    assert done.deleted == report.deleted
    assert sizes[0] - bytes_of(home, "store") == sum(
        item.bytes for item in done.deleted if item.kind in ("result", "orphaned")
    )
    assert sizes[1] - bytes_of(home, "store", "artifacts") == sum(item.bytes for item in done.deleted) > 0
    assert done.store_bytes == bytes_of(home, "store")
    # What was deleted is what was reported.
    deleted = set(before) - set(tree(home))
    names = [*deleted_names(done, "result"), *deleted_names(done, "orphaned"), *deleted_names(done, "run")]
    objects = {path.split("/")[2] for path in deleted if path.startswith("store/objects/")}
    assert objects == {*deleted_names(done, "result"), ".writing-x"}
    assert all(any(name in path for path in deleted) for name in names)
    assert versions(client) == [1, 2]
    assert runs(client) == kept
    with get_client(sync_client=True) as server:
        flow_runs = [client.get_run(run_id).data.tags["prefect.flow_run_id"] for run_id in kept]
        assert not set(flow_runs) & set(deleted_names(done, "flow run"))
        assert all(server.read_flow_run(UUID(run_id)).state.is_completed() for run_id in flow_runs)
    assert len(list((home / "artifacts" / QUICK.name / "models").iterdir())) == 2
    assert {item.kind for item in preview(load()).deleted} <= {"flow run"}  # that of the maintenance itself

    # Every later use still works.
    goldens = [p.parent for p in home.glob("store/objects/*/golden.parquet")]
    assert len(goldens) == 2
    for golden in goldens:
        (golden / "golden.parquet").write_bytes(b"PAR1")
    again = run_flow(RunParameters(seed=1))
    facts = json.loads(Path(again.report).with_name("facts.json").read_text())
    assert facts["damaged_results"] == [{"stage": "golden rows", "damage": "the table golden was changed"}]
    assert set(again.reused) >= {"source", "validate", "split", "train constant", "train LightGBM"}
    # The run made no new decision, but its report is shown as long as inputs are unchanged.
    assert deleted_names(preview(load()), "run") == []
    unlabelled = tmp_path / "new.parquet"
    SIMULATORS["lender"](50, 1).rows.drop(columns="defaulted").to_parquet(unlabelled)
    assert roll_back(QUICK.name, "simulated", "complaints")["champion"] == 1
    assert score(QUICK.name, str(unlabelled), str(tmp_path / "scores.parquet"))["version"] == 1
    assert pd.read_parquet(tmp_path / "scores.parquet")["probability"].notna().all()


def test_the_store_is_reduced_to_its_maximum_size(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(home / "store")
    for hours in (5, 4, 3):
        result = store.get_or_compute(
            f"{hours}", lambda hours=hours: StageResult({}, {"hours": hours}, {"x": bytes(9000)})
        )
        last_used = time.time() - 3600 * hours
        os.utime(result.folder / "manifest.json", (last_used, last_used))
    monkeypatch.setenv("STEWARD_STORE_DAYS", "30")
    assert deleted_names(preview(load()), "result") == []
    monkeypatch.setenv("STEWARD_STORE_GIGABYTES", "10000e-9")
    assert len(deleted_names(maintenance(), "result")) == 2
    assert bytes_of(home, "store") <= 10000
    assert store.lookup("3")


def test_versions_with_an_alias_or_a_decision_are_kept_with_their_runs(
    home: Path, write_ledger: Callable[..., None]
) -> None:
    settings = load()
    client = connection.connect(settings)
    client.create_registered_model(NAME)
    started = [
        start_run(client, settings, QUICK.name, name, {}, [])
        for name in ("shadow", "kept", "nobody", "again")
    ]
    for source in started:
        source.finish("KILLED")
        assert started.index(source) == 3 or register(client, home, source)
    client.set_registered_model_alias(NAME, "shadow", "1")
    decision = {"verdict": "keep_champion", "before": None, "champion": None}
    write_ledger(NAME, {**decision, "version": 2, "run_id": started[3].run_id})
    assert deleted_names(maintenance(), "run") == [started[2].run_id]
    assert versions(client) == [1, 2]
    assert runs(client) == {started[0].run_id, started[1].run_id, started[3].run_id}


def test_results_of_a_champion_are_kept_where_only_a_resumed_run_has_the_facts(home: Path) -> None:
    """The run that registered and decided was killed before it wrote facts; another resumed it."""
    assert run_flow(RunParameters()).verdict == "promote"
    client = connection.connect(load())
    first = registry.get_version(client, NAME, 1).run_id
    assert run_flow(RunParameters()).verdict == "keep_champion"
    client.set_terminated(first, "KILLED")
    artifacts = Path(str(client.get_run(first).info.artifact_uri).removeprefix("file://"))
    (artifacts / "facts.json").unlink()
    maker = run_history.registering_run(client, NAME, first, registry.get_version(client, NAME, 1).digest)
    assert maker is not None
    assert maker.run_id != first
    assert maker.facts is not None
    objects = {home / "store" / "objects" / stage["object"] for stage in maker.facts["stages"]}
    assert all(path.is_dir() for path in objects)
    age(home)
    maintenance()
    assert all(path.is_dir() for path in objects)
    assert {first, maker.run_id} <= runs(client)


def test_runs_are_kept_until_they_are_past_their_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    client = connection.connect(load())
    past = start_run(client, load(), QUICK.name, "past", {}, [])
    past.finish("FINISHED")
    own = flow(name="score")(lambda: str(flow_run.id))()
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "1")
    assert preview(load()).deleted == []
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "0")
    report = preview(load())
    assert deleted_names(report, "run") == [past.run_id]
    assert own in deleted_names(report, "flow run")


def test_active_runs_and_foreign_runs_are_kept() -> None:
    client = connection.connect(load())
    resumed = start_run(client, load(), QUICK.name, "resumed", {}, [])
    resumed.finish("FAILED")
    client.update_run(resumed.run_id, "RUNNING")
    client.set_tag(resumed.run_id, HOST_TAG, "another")  # on another machine
    others = client.create_run("0")
    client.set_terminated(others.info.run_id)
    assert client.get_run(resumed.run_id).info.end_time
    assert deleted_names(maintenance(), "run") == []
    assert run_history.run_status(client, resumed.run_id) == "RUNNING"


ACTIVE_RUN = """
import sys
from pathlib import Path
from tasks.tracking import run_history as history, connection as tracking
from tasks.locks.run_lock import LOCK_TAG, RunLock
from tasks.settings import load
from tasks.tracking.run import start_run
settings = load()
with RunLock(settings, "RUN_ID", {"case": "fintech-risk", "data": "simulated", "started": sys.argv[1]}) as lock:
    run = start_run(tracking.connect(settings), settings, "fintech-risk", "alive", {LOCK_TAG: "RUN_ID"}, [])
    lock.update_metadata(mlflow_run_id=run.run_id)
    print(run.run_id, flush=True)
    sys.stdin.readline()
""".replace("RUN_ID", RUN_ID)


def test_results_used_by_an_active_run_are_kept(home: Path) -> None:
    store = Store(home / "store")
    for key in ("before it", "of it"):
        store.get_or_compute(key, lambda key=key: StageResult({}, {"key": key}))
    age(home)
    os.utime(
        store.get_or_compute("of it", lambda: StageResult({}, {})).folder / "manifest.json",
        (time.time() - 7200,) * 2,
    )
    started = (datetime.now(UTC) - timedelta(hours=1, minutes=30)).isoformat()
    child = subprocess.Popen(
        [sys.executable, "-c", ACTIVE_RUN, started],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout
    run_id = child.stdout.readline().strip()
    client = connection.connect(load())

    done = maintenance()
    assert len(deleted_names(done, "result")) == 1
    assert store.lookup("of it")
    assert not store.lookup("before it")
    assert run_history.run_status(client, run_id) == "RUNNING"

    child.send_signal(signal.SIGKILL)
    child.communicate()
    os.utime(
        store.get_or_compute("of it", lambda: StageResult({}, {})).folder / "manifest.json",
        (time.time() - 7200,) * 2,
    )
    done = maintenance()
    # The dead run is reconciled first; then it is deleted as any other.
    assert ["KILLED" in correction for correction in done.reconciled] == [True]
    assert deleted_names(done, "run") == [run_id]
    assert not store.lookup("of it")
    assert run_history.run_status(client, run_id) is None


def test_an_active_run_without_a_start_time_protects_everything(home: Path) -> None:
    settings = load()
    now = datetime.now(UTC)
    assert protected_since(settings) <= datetime.now(UTC) - CLOCK_MARGIN
    with RunLock(settings, RUN_ID, {}):
        assert abs(protected_since(settings) - (now - CLOCK_MARGIN)) < timedelta(minutes=1)
        assert protected_since(settings, RUN_ID) >= now - CLOCK_MARGIN
        (home / "running" / f"{RUN_ID}.json").write_text("{")
        assert protected_since(settings) == datetime.fromtimestamp(0, UTC)
        Store(home / "store").get_or_compute("key", lambda: StageResult({}, {}))
        age(home)
        assert deleted_names(preview(load()), "result") == []
    assert len(deleted_names(preview(load()), "result")) == 1


@pytest.mark.parametrize("lost", ["version", "facts"])
def test_nothing_is_deleted_when_the_record_of_a_champion_is_missing(
    home: Path, lost: str, write_ledger: Callable[..., None]
) -> None:
    settings = load()
    client = connection.connect(settings)
    kept = start_run(client, settings, QUICK.name, "kept", {}, [])
    kept.finish("FINISHED")
    other = start_run(client, settings, QUICK.name, "other", {}, [])
    other.finish("FINISHED")
    Store(home / "store").get_or_compute("key", lambda: StageResult({}, {}))
    age(home)
    about = {"verdict": "promote", "before": None, "version": 1, "run_id": kept.run_id}
    write_ledger(NAME, {**about, "champion": 1})
    message = "version 1, the champion by the last entry, is not in MLflow's registry"
    if lost == "facts":
        client.create_registered_model(NAME)
        register(client, home, kept)
        message = "version 1 of fintech-risk.simulated with its facts"
    before = tree(home)
    with pytest.raises(StewardError, match=message):
        preview(settings)
    with pytest.raises(StewardError, match=message):
        maintenance()
    assert {k for k in before if not k.startswith("model_locks/")} <= set(tree(home))
    assert runs(client) == {kept.run_id, other.run_id}
    if lost == "facts":
        kept.log_text("facts.json", '{"stages": []}')
        assert deleted_names(maintenance(), "run") == [other.run_id]


def test_a_version_is_kept_while_it_is_recent_or_its_model_is_locked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connection.connect(load())
    client.create_registered_model(NAME)
    died = start_run(client, load(), QUICK.name, "died", {}, [])
    died.finish("KILLED")
    assert register(client, home, died) == 1
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "1")
    assert preview(load()).deleted == []
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "0")
    with model_lock(load(), NAME):
        assert deleted_names(preview(load()), "version") == [NAME]
        done = maintenance()
        assert deleted_names(done, "version") == deleted_names(done, "run") == []
        assert versions(client) == [1]
    done = maintenance()
    assert deleted_names(done, "version") == [NAME]
    assert deleted_names(done, "run") == [died.run_id]
    assert (versions(client), runs(client)) == ([], set())
    # The number is not used again.
    assert register(client, home, start_run(client, load(), QUICK.name, "next", {}, [])) == 2


def test_one_maintenance_at_a_time() -> None:
    with (
        model_lock(load(), "maintenance"),
        pytest.raises(LockTimeoutError, match="another run of maintenance"),
    ):
        maintenance()


DELETE_RUN = """
import os, signal, sys
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tasks.tracking import run_history as history, connection as tracking
from tasks.settings import load

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

{at} = die
history.delete_run(tracking.connect(load()), sys.argv[1])
"""


@pytest.mark.parametrize(
    "at",
    ["LocalArtifactRepository.delete_artifacts", "SqlAlchemyStore._hard_delete_run"],
    ids=["files", "rows"],
)
def test_a_deletion_killed_in_the_middle_is_completed_by_the_next(home: Path, at: str) -> None:
    settings = load()
    client = connection.connect(settings)
    past = start_run(client, settings, QUICK.name, "past", {}, [])
    past.log_text("report.html", "x" * 1000)
    past.log_child_run("constant", {"a": 1.0}, {})
    model = client.create_logged_model(past.experiment_id, "model", past.run_id).model_id
    (home / "MLmodel").write_text("x" * 500)
    client.log_model_artifact(model, str(home / "MLmodel"))
    past.finish("FAILED")
    assert run_history.artifact_bytes(client, past.run_id) == 1500
    child = subprocess.run(
        [sys.executable, "-c", DELETE_RUN.format(at=at), past.run_id],
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    assert child.returncode == -signal.SIGKILL
    assert client.get_run(past.run_id).info.lifecycle_stage == "deleted"
    assert deleted_names(maintenance(), "run") == [past.run_id]
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        for table in ("runs", "metrics", "tags", "logged_models"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert [path.name for path in (home / "artifacts").rglob("*")] == [QUICK.name, "models"]


def test_only_ended_runs_of_own_flows_are_deleted_from_prefect() -> None:
    shown = f"shown-{time.time_ns()}"

    def shows() -> str:
        create_markdown_artifact("here", key=shown)
        return str(flow_run.id)

    own_run, foreign_run = flow(name="score")(shows)(), flow(name="somebody-elses")(shows)()
    waiting = flow(name="score")(shows)
    with get_client(sync_client=True) as client:
        scheduled = client.create_flow_run(waiting).id
        cancelled = client.create_flow_run(waiting).id
        client.set_flow_run_state(cancelled, Cancelled())
        ended_runs = {run.id for run in prefect_runs.runs_ended_before(client, datetime.now(UTC))}
        assert {UUID(own_run), cancelled} <= ended_runs
        assert not {UUID(foreign_run), scheduled} & ended_runs
        done = maintenance()
        assert {str(run_id) for run_id in ended_runs} <= set(deleted_names(done, "flow run"))
        for run_id in ended_runs:
            with pytest.raises(ObjectNotFound):
                client.read_flow_run(run_id)
        assert {client.read_flow_run(run_id).id for run_id in (UUID(foreign_run), scheduled)} == {
            UUID(foreign_run),
            scheduled,
        }
        left = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[shown])))
        assert [str(artifact.flow_run_id) for artifact in left] == [foreign_run]


def test_the_database_is_compacted_when_it_saves_space(home: Path) -> None:
    settings = load()
    connection.connect(settings)
    file = home / "mlflow.db"
    assert connection.vacuum_database(settings) == 0
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE much AS SELECT zeroblob(5000000) AS x")
        database.execute("DROP TABLE much")
        database.commit()
    before = file.stat().st_size
    done = maintenance()
    assert done.database_bytes == before - file.stat().st_size > 4_000_000
    assert connection.vacuum_database(Settings(tracking_uri="postgresql://nobody@127.0.0.1:1/none")) == 0
