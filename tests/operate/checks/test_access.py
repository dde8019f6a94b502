"""The check of who can use the servers of `steward up`."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

from operate.checks.finding import Finding
from tasks.local_servers import addresses, api_secret

RunChecks = Callable[..., list[Finding]]


def test_secret_that_others_can_read_is_bad(home: Path, check: RunChecks) -> None:
    assert [finding.status for finding in check("access")] == ["ok"]
    secret = api_secret.ensure_api_secret(home)
    assert check("access") == [
        Finding("access", "ok", f"{home / 'api_secret'} is readable by this user only")
    ]
    (home / "api_secret").chmod(0o640)
    (finding,) = check("access")
    assert finding.status == "bad"
    assert "can be used by others (mode 0640" in finding.message
    assert finding.fix.startswith("stop `steward up` and start it again")
    assert secret not in finding.message + finding.fix


def test_running_server_without_protection_is_bad(home: Path, check: RunChecks, prefect_api: str) -> None:
    url = prefect_api.removesuffix("/api")
    servers = {"pid": 1, "prefect": url, "mlflow": "http://127.0.0.1:9", "own_database": False}
    (home / addresses.SERVER_INFO).write_text(json.dumps(servers))
    with (home / addresses.SERVER_LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ok, bad = check("access")
    assert (ok.status, bad.status) == ("ok", "bad")
    assert bad.message == f"{url} of the running `steward up` answers requests without the secret"
