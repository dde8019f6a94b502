"""TCP ports of the loopback interface: whether one is free, and which process uses it."""

import socket
from contextlib import suppress

import psutil

from tasks.local_servers.serve import HOST


def is_free(port: int) -> bool:
    """Tell whether a server can be bound to a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def listening_process(port: int) -> str | None:
    """Return name and id of the process that listens on a port; None if it belongs to another user."""
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
            continue
        if connection.laddr.port == port:
            with suppress(psutil.NoSuchProcess):
                # Only the name: arguments may contain secrets.
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    return None
