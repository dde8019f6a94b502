"""Tests run on real Prefect and MLflow, in temporary folders and on free ports; nothing of the checkout is touched."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test module imports Prefect, which reads its home once.
_SESSION = Path(tempfile.mkdtemp(prefix="steward-tests-"))
os.environ["STEWARD_HOME"] = str(_SESSION / "home")
os.environ["PREFECT_HOME"] = str(_SESSION / "prefect")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
# As in tasks/settings.py, for tests that import LightGBM before any flow: two workers share the cores.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parents[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on real data, so that a suite without them cannot be mistaken for one with them."""
    ended = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    ran = [report for report in ended if "test_real_data.py" in report.nodeid]
    given = "is set" if os.environ.get("STEWARD_DATA_DIR") else "is not set"
    terminalreporter.write_line(f"real data: {len(ran)} tests ran; STEWARD_DATA_DIR {given}")


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """A Prefect server on a free port with a database of its own; its API's address."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server = SubprocessASGIServer()
    server.start(timeout=120)
    os.environ["PREFECT_API_URL"] = server.api_url
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield server.api_url
        # What is still on its way to the server arrives before it stops.
        EventsWorker.drain_all(timeout=10)
        APILogWorker.drain_all(timeout=10)
    del os.environ["PREFECT_API_URL"]
    server.stop()


@pytest.fixture(scope="session")
def migrated() -> Path:
    """An empty MLflow database, migrated once."""
    from tasks import tracking
    from tasks.settings import Settings

    folder = _SESSION / "migrated"
    tracking.connect(Settings(home=folder))
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty memory for one test."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    monkeypatch.setenv("STEWARD_HOME", str(folder))
    return folder


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the contracts that a test may change, with fewer simulated rows."""
    rows = {"fintech_risk": 1500, "health_prediction": 1500, "ecommerce_recommendation": 3000}
    folder = tmp_path / "contracts"
    for path in (ROOT / "expectations").glob("*/*.json"):
        contract = json.loads(path.read_text())
        if "simulator" in contract["meta"]["read"]:
            contract["meta"]["read"]["rows"] = rows[path.parent.name]
        target = folder / path.relative_to(ROOT / "expectations")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(contract))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(folder))
    return folder
