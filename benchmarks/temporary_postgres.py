"""A PostgreSQL server of a benchmark's own, in a temporary folder; its binaries must be on the PATH."""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2


@contextmanager
def temporary_postgres() -> Iterator[str | None]:
    """Yield the address of an empty database; None where PostgreSQL is not installed."""
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        yield None
        return
    folder, password = Path(tempfile.mkdtemp(prefix="steward-benchmark-")), secrets.token_hex(8)
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.getuid() == 0 else getpass.getuser()
    (folder / "password").write_text(password)
    shutil.chown(folder, user)
    shutil.chown(folder / "password", user)
    initdb = f"initdb -U steward -A scram-sha-256 --pwfile={folder}/password -E UTF8 --no-locale --no-sync"
    subprocess.run(
        [*initdb.split(), "-D", folder / "data"], user=user, cwd=folder, check=True, capture_output=True
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["postgres", "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F", "-D", f"{folder}/data"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
    url = f"postgresql://steward:{password}@127.0.0.1:{port}/postgres"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        shutil.rmtree(folder)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(url).close()
            return
        except psycopg2.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
