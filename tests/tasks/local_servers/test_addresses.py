"""Which variables a command takes from a running `steward up`: its secret is for its own server only."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.local_servers import addresses, api_secret

OWN, FOREIGN = "http://127.0.0.1:9/api", "http://127.0.0.1:8/api"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """Yield a state directory whose lock is held, with the addresses and the secret of the servers."""
    servers = {"pid": 1, "prefect": "http://127.0.0.1:9", "mlflow": "", "own_database": False}
    (tmp_path / addresses.SERVER_INFO).write_text(json.dumps(servers))
    api_secret.ensure_api_secret(tmp_path)
    with (tmp_path / addresses.SERVER_LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


@pytest.mark.parametrize(
    "environment",
    [{}, {"PREFECT_API_URL": OWN}, {"PREFECT_API_URL": f"{OWN}/"}, {"PREFECT_API_AUTH_STRING": "ann:other"}],
)
def test_own_server_gets_the_secret(running: Path, environment: dict[str, str]) -> None:
    secret = api_secret.read_api_secret(running)
    variables = addresses.running_server_env(running, environment)
    assert variables == {"PREFECT_API_URL": OWN, "PREFECT_API_AUTH_STRING": f"steward:{secret}"}


@pytest.mark.parametrize("environment", [{}, {"PREFECT_API_AUTH_STRING": "ann:other"}])
def test_server_of_the_user_keeps_the_login_of_the_user(running: Path, environment: dict[str, str]) -> None:
    assert addresses.running_server_env(running, {"PREFECT_API_URL": FOREIGN, **environment}) == {}


def test_server_without_a_secret_is_used_without_one(running: Path) -> None:
    (running / api_secret.FILE_NAME).unlink()
    assert addresses.running_server_env(running, {}) == {"PREFECT_API_URL": OWN}
