"""Prefect's server behind access control: `python -m tasks.local_servers.prefect_server PORT`.

As `prefect server start`, which has no check of the host, asks for the password in a form, and does not end with the
process that needs it. Prefect's own check of a password is switched off, as it knows no cookie.
"""

import os
import sys


def main(port: int) -> None:
    """Serve API and UI. With Prefect's variables for a temporary server, only the API."""
    os.environ.pop("PREFECT_SERVER_API_AUTH_STRING", None)

    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    from tasks.local_servers.busy_database import BusyDatabase
    from tasks.local_servers.serve import serve

    server = get_current_settings().server
    app = create_app(final=True)
    url = server.database.connection_url
    is_sqlite = url is None or url.get_secret_value().startswith("sqlite")
    serve(
        BusyDatabase(app) if is_sqlite else app,
        port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
