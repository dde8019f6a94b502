"""Ports of loopback: whether one is free, and who has it."""

import socket
from contextlib import suppress
from pathlib import Path

HOST = "127.0.0.1"
LISTENING = "0A"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """The process that listens on a port, as far as /proc tells this user."""
    sockets = _listening(port)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    if handle.readlink().name in sockets:
                        # Its name and no arguments: those may hold secrets.
                        return f"{(process / 'comm').read_text().strip()}, process {process.name}"
    return None


def _listening(port: int) -> set[str]:
    """The sockets that listen on a port, as links in /proc name them."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
