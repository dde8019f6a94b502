"""Run an ASGI application on loopback, behind `AccessControl`, until a signal or the end of its parent."""

import os
import signal
import threading
import time
from typing import Any

from tasks.local_servers.access_control import Access, AccessControl

HOST = "127.0.0.1"
# What a server is given in its environment, which only its own user can read.
AUTH_STRING_VARIABLE, LOGIN_TOKEN_VARIABLE = "PREFECT_API_AUTH_STRING", "LOCAL_SERVER_LOGIN_TOKEN"
# Seconds for open connections to end, and for the whole server.
CONNECTIONS_TIMEOUT, STOP_TIMEOUT = 5, 15


def serve(app: Any, port: int, start_page: str = "/", **options: Any) -> None:
    """Serve until SIGTERM, SIGINT, or until standard input closes, which its parent holds open.

    Raises KeyError without the secret in the environment. `options` are uvicorn's.
    """
    import uvicorn

    access = Access(port, os.environ[AUTH_STRING_VARIABLE], os.environ.get(LOGIN_TOKEN_VARIABLE), start_page)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    uvicorn.run(
        AccessControl(app, access),
        host=HOST,
        port=port,
        # Addresses contain the login token.
        access_log=False,
        # Headers of a proxy would be believed, as every client is on this machine.
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=CONNECTIONS_TIMEOUT,
        **options,
    )


def _stop_with_parent() -> None:
    """Wait until standard input closes, however the parent ends; then end this process."""
    # Not by `sys.stdin`, whose lock would hold up the end of the interpreter.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT)
    os._exit(1)
