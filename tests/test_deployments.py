"""What `prefect deploy --all` gives a server, and one of its deployments run by a worker, as an operator does it."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.responses import DeploymentResponse

import steward
from tasks import registry, tracking
from tasks.settings import load

ROOT = Path(__file__).resolve().parents[1]
# One server, deployed to once.
pytestmark = pytest.mark.xdist_group("deployments")


def prefect(*arguments: str, folder: Path = ROOT) -> str:
    """What Prefect's command line says, with nobody there to answer if it asks."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "prefect"), *arguments],
        cwd=folder,
        env={**os.environ, "PWD": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployed(prefect_api: str) -> dict[str, DeploymentResponse]:
    """The server's deployments after the commands at the head of prefect.yaml, each by its name."""
    prefect("work-pool", "create", "steward", "--type", "process")
    # As at a terminal, where Prefect asks for what is not said.
    prefect("--prompt", "deploy", "--all")
    with get_client(sync_client=True) as client:
        return {one.name: one for one in client.read_deployments()}


def test_the_server_has_what_the_file_says(deployed: dict[str, DeploymentResponse]) -> None:
    said = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert set(deployed) == set(said) == set(steward._cases())
    here = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    for name, one in deployed.items():
        # A path instead of a module would load a second copy of it.
        assert (
            one.entrypoint
            == said[name]["entrypoint"]
            == f"flows.{name.replace('-', '_')}.{name.replace('-', '_')}"
        )
        assert (one.parameters, one.description) == (said[name]["parameters"], said[name]["description"])
        assert (one.work_pool_name, one.tags, one.pull_steps, one.schedules) == (
            "steward",
            ["steward"],
            here,
            [],
        )


@pytest.mark.parametrize("case", steward._cases())
def test_the_form_says_what_each_parameter_is(case: str, deployed: dict[str, DeploymentResponse]) -> None:
    stem = case.replace("-", "_")
    flow = getattr(import_module(f"flows.{stem}"), stem)
    form: dict[str, dict[str, Any]] = deployed[case].parameter_openapi_schema["properties"]
    assert list(form) == list(inspect.signature(flow.fn).parameters)
    told = " ".join((inspect.getdoc(flow.fn) or "").split())
    for name, entry in form.items():
        assert all("type" in kind for kind in entry.get("anyOf", [entry])), name
        assert f" {name}: {entry['description']}" in told


def test_a_worker_runs_a_deployment_to_a_champion(
    tmp_path: Path, home: Path, contracts: Path, deployed: dict[str, DeploymentResponse]
) -> None:
    with get_client(sync_client=True) as client:
        asked = client.create_flow_run_from_deployment(
            deployed["fintech-risk"].id, parameters={"data": "simulated"}
        )
        # It runs what is due, waits for it and ends. Where a worker starts must not matter.
        said = prefect("worker", "start", "--pool", "steward", "--run-once", folder=tmp_path)
        ran = client.read_flow_run(asked.id)
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[asked.id]))
        )
    assert ran.state is not None
    assert ran.state.is_completed(), said

    mlflow = tracking.connect(load())
    champion = registry.champion(mlflow, "fintech-risk.simulated")
    assert champion is not None
    run = mlflow.get_run(mlflow.get_model_version(champion.name, str(champion.number)).run_id)
    tags = run.data.tags
    assert (run.info.status, tags["steward.verdict"]) == ("FINISHED", "promote")
    assert (UUID(tags["prefect.flow_run_id"]), tags["prefect.flow_run_name"]) == (ran.id, ran.name)
    assert str(ran.id) in tags["prefect.url"]

    shown = {artifact.key: str(artifact.data) for artifact in artifacts}
    assert set(shown) == {"fintech-risk-report", "fintech-risk-leaderboard"}
    report = f"{run.info.artifact_uri}/report.html"
    assert shown["fintech-risk-report"] == f"[report]({report})"
    assert "fintech-risk" in Path(report.removeprefix("file://")).read_text()
