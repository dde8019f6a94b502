"""Check that nobody else can use the servers of `steward up`: the file of the secret, and what the servers let in."""

from collections.abc import Iterator

from operate.checks.finding import CheckContext, Finding
from tasks.local_servers import api_secret
from tasks.local_servers.addresses import running_servers

TIMEOUT = 5  # seconds
RESTART = "stop `steward up` and start it again"
# Paths that demand the secret, although they hold none.
VERSION_PATHS = {"prefect": "/api/admin/version", "mlflow": "/version"}


def access(context: CheckContext) -> Iterator[Finding]:
    """Check the permissions of the secret, and that running servers refuse a request without it."""
    file = context.state_dir / api_secret.FILE_NAME
    if problem := api_secret.privacy_problem(context.state_dir):
        message = f"the secret of the servers, {file}, {problem}"
        yield Finding("access", "bad", message, f"{RESTART}: it then generates another one")
    elif not file.exists():
        yield Finding("access", "ok", "no secret yet: `steward up` generates it")
    else:
        yield Finding("access", "ok", f"{file} is readable by this user only")
    servers = running_servers(context.state_dir) or {}
    for name, path in VERSION_PATHS.items():
        if name in servers and _lets_everyone_in(f"{servers[name]}{path}"):
            message = f"{servers[name]} of the running `steward up` answers requests without the secret"
            yield Finding("access", "bad", message, f"{RESTART}, with this version of Steward")


def _lets_everyone_in(url: str) -> bool:
    """Tell whether a request without the secret succeeds; False if nothing answers, which `server` reports."""
    import httpx

    try:
        return httpx.get(url, timeout=TIMEOUT).is_success
    except httpx.HTTPError:
        return False
