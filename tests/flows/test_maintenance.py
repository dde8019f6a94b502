"""Maintenance: what is past its retention goes; what an alias, the ledger or a run at work needs stays."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

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
from flows.housekeeping import prefect_runs as flow_runs
from flows.housekeeping.retention import MARGIN, spared_since
from flows.maintenance import Housekeeping, maintenance, survey
from flows.pipeline import run
from flows.recording.outcome import RunOutcome
from flows.scoring import score
from flows.use_case import RunParameters
from ml.errors import DataGateError, UsageError
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Prior
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.ledger import Ledger
from tasks.locks.model_lock import LockTimeoutError, model_lock
from tasks.locks.run_lock import HOST_TAG, RunLock
from tasks.settings import ROOT, Settings, load
from tasks.storage.content_store import StageResult, Store
from tasks.tracking import connection, registry, run_history
from tasks.tracking.run import MlflowRun, start_run

QUICK = replace(
    fintech_risk.CASE,
    candidates={"prior": Prior(), "LightGBM": GradientBoosting(max_rounds=20)},
    thresholds=QualityThresholds(minimum=0.5),
)
NAME = "fintech-risk.simulated"
LONG_AGO = timedelta(hours=3)
pytestmark = pytest.mark.usefixtures("prefect_api", "home", "contracts")


@pytest.fixture(autouse=True)
def _no_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that ended, and everything in the store, is past its retention."""
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "0")
    monkeypatch.setenv("STEWARD_STORE_DAYS", "0")


def ended(asked: RunParameters) -> RunOutcome:
    return flow(name=QUICK.name)(lambda: run(QUICK, asked))()


def age(home: Path, by: timedelta = LONG_AGO) -> None:
    """Everything in the store was last used so long ago."""
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


def of_kind(done: Housekeeping, kind: str) -> list[str]:
    return [one.name.split()[0] for one in done.gone if one.kind == kind]


def versions(client: connection.Client) -> list[int]:
    return sorted(one.version.number for one in registry.registered_versions(client))


def runs(client: connection.Client) -> set[str]:
    return {one.run_id for one in run_history.past(client, datetime.now(UTC) + timedelta(days=1))}


def register(client: connection.Client, home: Path, source: MlflowRun) -> int:
    """A version that nobody decided about; its number."""
    tags = {"steward.digest": "d" * 64}
    return int(client.create_model_version(NAME, (home / "model").as_uri(), source.run_id, tags=tags).version)


def test_what_is_needed_stays_and_all_else_goes_as_the_dry_run_said(tmp_path: Path, home: Path) -> None:
    assert ended(RunParameters()).verdict == "promote"
    assert ended(RunParameters(seed=1)).verdict in ("keep", "inconclusive")
    client = connection.connect(load())
    registry.move_alias(client, NAME, 2)  # by hand, so that there is a way back
    died = start_run(client, load(), QUICK.name, "died before the decision", {}, [])
    died.write("facts.json", "{}")
    died.finish("KILLED")
    register(client, home, died)
    loans = tmp_path / "loans.parquet"
    SIMULATORS["lender"](300, 5).rows.assign(defaulted=7).to_parquet(loans)
    with pytest.raises(DataGateError):
        ended(RunParameters(data=str(loans), contract="simulated"))
    killed = home / "store" / "objects" / ".writing-x"
    killed.mkdir()
    (killed / "rows.parquet").write_bytes(b"half")
    age(home)

    kept = {registry.get_version(client, NAME, number).run_id for number in (1, 2)}
    before, told = tree(home), survey(load())
    assert tree(home) == before
    assert of_kind(told, "version") == [NAME]
    assert len(of_kind(told, "run")) == 2
    assert not kept & set(of_kind(told, "run"))
    assert of_kind(told, "left over") == ["objects/.writing-x"]

    sizes = [bytes_of(home, "store"), bytes_of(home, "store", "artifacts")]
    done = maintenance()
    assert done.gone == told.gone
    assert sizes[0] - bytes_of(home, "store") == sum(
        one.bytes for one in done.gone if one.kind in ("result", "left over")
    )
    assert sizes[1] - bytes_of(home, "store", "artifacts") == sum(one.bytes for one in done.gone) > 0
    assert done.store_bytes == bytes_of(home, "store")
    # What went is what was named, and what was named went.
    taken = set(before) - set(tree(home))
    names = [*of_kind(done, "result"), *of_kind(done, "left over"), *of_kind(done, "run")]
    objects = {path.split("/")[2] for path in taken if path.startswith("store/objects/")}
    assert objects == {*of_kind(done, "result"), ".writing-x"}
    assert all(any(name in path for path in taken) for name in names)
    assert versions(client) == [1, 2]
    assert runs(client) == kept
    with get_client(sync_client=True) as server:
        pointed_at = [client.get_run(one).data.tags["prefect.flow_run_id"] for one in kept]
        assert not set(pointed_at) & set(of_kind(done, "flow run"))
        assert all(server.read_flow_run(UUID(one)).state.is_completed() for one in pointed_at)
    assert len(list((home / "artifacts" / QUICK.name / "models").iterdir())) == 2
    assert {one.kind for one in survey(load()).gone} <= {"flow run"}  # that of the maintenance itself

    # Everything that anybody may ask for still works.
    goldens = [p.parent for p in home.glob("store/objects/*/golden.parquet")]
    assert len(goldens) == 2
    again = ended(RunParameters(seed=1))
    assert set(again.reused) >= {"source", "validate", "split", "train prior", "train LightGBM"}
    # No decision was made about it again; but its report is shown as long as nothing is new.
    assert of_kind(survey(load()), "run") == []
    unlabelled = tmp_path / "new.parquet"
    SIMULATORS["lender"](50, 1).rows.drop(columns="defaulted").to_parquet(unlabelled)
    assert roll_back(QUICK.name, "simulated", "complaints")["champion"] == 1
    assert score(QUICK.name, str(unlabelled), str(tmp_path / "scores.parquet"))["version"] == 1
    assert pd.read_parquet(tmp_path / "scores.parquet")["probability"].notna().all()


def test_the_store_comes_under_its_size(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(home / "store")
    for hours in (5, 4, 3):
        made = store.get_or_compute(
            f"{hours}", lambda hours=hours: StageResult({}, {"hours": hours}, {"x": bytes(9000)})
        )
        then = time.time() - 3600 * hours
        os.utime(made.folder / "manifest.json", (then, then))
    monkeypatch.setenv("STEWARD_STORE_DAYS", "30")
    assert of_kind(survey(load()), "result") == []
    monkeypatch.setenv("STEWARD_STORE_GIGABYTES", "10000e-9")
    assert len(of_kind(maintenance(), "result")) == 2
    assert bytes_of(home, "store") <= 10000
    assert store.lookup("3")


def test_versions_with_an_alias_or_a_decision_stay_and_so_do_their_runs(home: Path) -> None:
    settings = load()
    client = connection.connect(settings)
    client.create_registered_model(NAME)
    made = [
        start_run(client, settings, QUICK.name, name, {}, [])
        for name in ("shadow", "kept", "nobody", "again")
    ]
    for one in made:
        one.finish("KILLED")
        assert made.index(one) == 3 or register(client, home, one)
    client.set_registered_model_alias(NAME, "shadow", "1")
    settings.ledger.mkdir()
    line = {"verdict": "keep", "before": None, "champion": None, "version": 2, "run_id": made[3].run_id}
    Ledger(settings.ledger, NAME).append(line)
    assert of_kind(maintenance(), "run") == [made[2].run_id]
    assert versions(client) == [1, 2]
    assert runs(client) == {made[0].run_id, made[1].run_id, made[3].run_id}


def test_what_a_champion_was_made_from_stays_where_only_a_third_run_tells_it(home: Path) -> None:
    """The run that registered it and decided was killed before it could write facts; another went on."""
    assert ended(RunParameters()).verdict == "promote"
    client = connection.connect(load())
    first = registry.get_version(client, NAME, 1).run_id
    assert ended(RunParameters()).verdict == "keep"
    client.set_terminated(first, "KILLED")
    artifacts = Path(str(client.get_run(first).info.artifact_uri).removeprefix("file://"))
    (artifacts / "facts.json").unlink()
    maker = run_history.maker(client, NAME, first, registry.get_version(client, NAME, 1).digest)
    assert maker is not None
    assert maker.run_id != first
    assert maker.facts is not None
    objects = {home / "store" / "objects" / stage["object"] for stage in maker.facts["stages"]}
    assert all(path.is_dir() for path in objects)
    age(home)
    maintenance()
    assert all(path.is_dir() for path in objects)
    assert {first, maker.run_id} <= runs(client)


def test_runs_stay_until_they_are_past_their_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    client = connection.connect(load())
    past = start_run(client, load(), QUICK.name, "past", {}, [])
    past.finish("FINISHED")
    own = flow(name="score")(lambda: str(flow_run.id))()
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "1")
    assert survey(load()).gone == []
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "0")
    told = survey(load())
    assert of_kind(told, "run") == [past.run_id]
    assert own in of_kind(told, "flow run")


def test_what_runs_and_what_is_not_ours_stays() -> None:
    client = connection.connect(load())
    resumed = start_run(client, load(), QUICK.name, "resumed", {}, [])
    resumed.finish("FAILED")
    client.update_run(resumed.run_id, "RUNNING")
    client.set_tag(resumed.run_id, HOST_TAG, "another")  # whose reaper is not here
    others = client.create_run("0")
    client.set_terminated(others.info.run_id)
    assert client.get_run(resumed.run_id).info.end_time
    assert of_kind(maintenance(), "run") == []
    assert run_history.status(client, resumed.run_id) == "RUNNING"


AT_WORK = """
import sys
from pathlib import Path
from tasks.tracking import run_history as history, connection as tracking
from tasks.locks.run_lock import LOCK_TAG, RunLock
from tasks.settings import load
from tasks.tracking.run import start_run
settings = load()
with RunLock(settings, "r1", {"case": "fintech-risk", "data": "simulated", "began": sys.argv[1]}) as presence:
    run = start_run(tracking.connect(settings), settings, "fintech-risk", "alive", {LOCK_TAG: "r1"}, [])
    presence.update_metadata(mlflow_run_id=run.run_id)
    print(run.run_id, flush=True)
    sys.stdin.readline()
"""


def test_a_run_at_work_keeps_what_it_uses(home: Path) -> None:
    store = Store(home / "store")
    for key in ("before it", "of it"):
        store.get_or_compute(key, lambda key=key: StageResult({}, {"key": key}))
    age(home)
    os.utime(
        store.get_or_compute("of it", lambda: StageResult({}, {})).folder / "manifest.json",
        (time.time() - 7200,) * 2,
    )
    began = (datetime.now(UTC) - timedelta(hours=1, minutes=30)).isoformat()
    child = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, began],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout
    run_id = child.stdout.readline().strip()
    client = connection.connect(load())

    done = maintenance()
    assert len(of_kind(done, "result")) == 1
    assert store.lookup("of it")
    assert not store.lookup("before it")
    assert run_history.status(client, run_id) == "RUNNING"

    child.send_signal(signal.SIGKILL)
    child.communicate()
    os.utime(
        store.get_or_compute("of it", lambda: StageResult({}, {})).folder / "manifest.json",
        (time.time() - 7200,) * 2,
    )
    done = maintenance()
    # First the dead run is put right; then it is as any other that ended.
    assert ["KILLED" in told for told in done.put_right] == [True]
    assert of_kind(done, "run") == [run_id]
    assert not store.lookup("of it")
    assert run_history.status(client, run_id) is None


def test_a_run_that_says_nothing_yet_spares_everything(home: Path) -> None:
    settings = load()
    now = datetime.now(UTC)
    assert spared_since(settings) <= datetime.now(UTC) - MARGIN
    with RunLock(settings, "r1", {}):
        assert abs(spared_since(settings) - (now - MARGIN)) < timedelta(minutes=1)
        assert spared_since(settings, "r1") >= now - MARGIN
        (home / "running" / "r1.json").write_text("{")
        assert spared_since(settings) == datetime.fromtimestamp(0, UTC)
        Store(home / "store").get_or_compute("key", lambda: StageResult({}, {}))
        age(home)
        assert of_kind(survey(load()), "result") == []
    assert len(of_kind(survey(load()), "result")) == 1


@pytest.mark.parametrize("lost", ["version", "facts"])
def test_nothing_is_taken_where_the_record_of_a_champion_is_lost(home: Path, lost: str) -> None:
    settings = load()
    ledger = Ledger(settings.ledger, NAME)
    settings.ledger.mkdir()
    client = connection.connect(settings)
    kept = start_run(client, settings, QUICK.name, "kept", {}, [])
    kept.finish("FINISHED")
    other = start_run(client, settings, QUICK.name, "other", {}, [])
    other.finish("FINISHED")
    Store(home / "store").get_or_compute("key", lambda: StageResult({}, {}))
    age(home)
    about = {"verdict": "promote", "before": None, "version": 1, "run_id": kept.run_id}
    ledger.append({**about, "champion": 1})
    if lost == "facts":
        client.create_registered_model(NAME)
        register(client, home, kept)
    before = tree(home)
    said = "version 1 of fintech-risk.simulated with its facts"
    with pytest.raises(UsageError, match=said):
        survey(settings)
    with pytest.raises(UsageError, match=said):
        maintenance()
    assert {k for k in before if not k.startswith("turns/")} <= set(tree(home))
    assert runs(client) == {kept.run_id, other.run_id}
    if lost == "facts":
        kept.write("facts.json", '{"stages": []}')
        assert of_kind(maintenance(), "run") == [other.run_id]


def test_a_version_stays_while_it_is_young_and_while_its_model_has_a_run_at_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connection.connect(load())
    client.create_registered_model(NAME)
    died = start_run(client, load(), QUICK.name, "died", {}, [])
    died.finish("KILLED")
    assert register(client, home, died) == 1
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "1")
    assert survey(load()).gone == []
    monkeypatch.setenv("STEWARD_RUNS_DAYS", "0")
    with model_lock(load(), NAME):
        assert of_kind(survey(load()), "version") == [NAME]
        done = maintenance()
        assert of_kind(done, "version") == of_kind(done, "run") == []
        assert versions(client) == [1]
    done = maintenance()
    assert of_kind(done, "version") == [NAME]
    assert of_kind(done, "run") == [died.run_id]
    assert (versions(client), runs(client)) == ([], set())
    # The number is never given again.
    assert register(client, home, start_run(client, load(), QUICK.name, "next", {}, [])) == 2


def test_one_maintenance_at_a_time() -> None:
    with (
        model_lock(load(), "maintenance"),
        pytest.raises(LockTimeoutError, match="another run of maintenance"),
    ):
        maintenance()


PURGE = """
import os, signal, sys
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tasks.tracking import run_history as history, connection as tracking
from tasks.settings import load

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

{at} = die
history.purge(tracking.connect(load()), sys.argv[1])
"""


@pytest.mark.parametrize(
    "at",
    ["LocalArtifactRepository.delete_artifacts", "SqlAlchemyStore._hard_delete_run"],
    ids=["files", "rows"],
)
def test_a_purge_killed_in_the_middle_is_ended_by_the_next(home: Path, at: str) -> None:
    settings = load()
    client = connection.connect(settings)
    past = start_run(client, settings, QUICK.name, "past", {}, [])
    past.write("report.html", "x" * 1000)
    past.child("prior", {"a": 1.0}, {})
    model = client.create_logged_model(past.experiment_id, "model", past.run_id).model_id
    (home / "MLmodel").write_text("x" * 500)
    client.log_model_artifact(model, str(home / "MLmodel"))
    past.finish("FAILED")
    assert run_history.weight(client, past.run_id) == 1500
    child = subprocess.run(
        [sys.executable, "-c", PURGE.format(at=at), past.run_id], cwd=ROOT, check=False, capture_output=True
    )
    assert child.returncode == -signal.SIGKILL
    assert client.get_run(past.run_id).info.lifecycle_stage == "deleted"
    assert of_kind(maintenance(), "run") == [past.run_id]
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        for table in ("runs", "metrics", "tags", "logged_models"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert [path.name for path in (home / "artifacts").rglob("*")] == [QUICK.name, "models"]


def test_only_past_runs_of_our_own_flows_go_from_prefect() -> None:
    shown = f"shown-{time.time_ns()}"

    def shows() -> str:
        create_markdown_artifact("here", key=shown)
        return str(flow_run.id)

    ours, others = flow(name="score")(shows)(), flow(name="somebody-elses")(shows)()
    waiting = flow(name="score")(shows)
    with get_client(sync_client=True) as client:
        scheduled = client.create_flow_run(waiting).id
        ended_unborn = client.create_flow_run(waiting).id
        client.set_flow_run_state(ended_unborn, Cancelled())
        many = {one.id for one in flow_runs.past(client, datetime.now(UTC))}
        assert {UUID(ours), ended_unborn} <= many
        assert not {UUID(others), scheduled} & many
        done = maintenance()
        assert {str(one) for one in many} <= set(of_kind(done, "flow run"))
        for gone in many:
            with pytest.raises(ObjectNotFound):
                client.read_flow_run(gone)
        assert {client.read_flow_run(one).id for one in (UUID(others), scheduled)} == {
            UUID(others),
            scheduled,
        }
        left = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[shown])))
        assert [str(one.flow_run_id) for one in left] == [others]


def test_the_database_gets_smaller_where_it_is_worth_it(home: Path) -> None:
    settings = load()
    connection.connect(settings)
    file = home / "mlflow.db"
    assert connection.compact(settings) == 0
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE much AS SELECT zeroblob(5000000) AS x")
        database.execute("DROP TABLE much")
        database.commit()
    before = file.stat().st_size
    done = maintenance()
    assert done.database_bytes == before - file.stat().st_size > 4_000_000
    assert connection.compact(Settings(tracking_uri="postgresql://nobody@127.0.0.1:1/none")) == 0
