"""Nothing leaves the machine: a complete run connects to loopback only and looks up no other name."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.use_cases import use_case_names

ROOT = Path(__file__).resolve().parents[1]
# Records the connections of Python processes that read PYTHONPATH. The namespace counts the packets of all others.
HOOK = """
import os, sys

LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")

def note(*words):
    with open(os.environ["CALLS"], "ab", buffering=0) as calls:
        calls.write(" ".join(map(repr, words)).encode() + b"\\n")

def hook(event, arguments):
    if event in LOOKUPS:
        note("to", arguments[0])
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        note("to", arguments[1][0])

note("started", sys.orig_argv)
sys.addaudithook(hook)
"""
# Runs a command in a network namespace that has only loopback; the kernel counts packets without a route.
ISOLATED = """
import fcntl, pathlib, socket, struct, subprocess, sys
SIOCSIFFLAGS, UP_LOOPBACK_RUNNING = 0x8914, 0x49
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", UP_LOOPBACK_RUNNING))
code = subprocess.run(sys.argv[2:]).returncode
four = [line.split() for line in open("/proc/net/snmp") if line.startswith("Ip:")]
six = dict(line.split() for line in open("/proc/net/snmp6"))
lost = int(dict(zip(*four))["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])
pathlib.Path(sys.argv[1]).write_text(str(lost))
sys.exit(code)
"""
LOOPBACK = ("127.0.0.1", "::1", "localhost", "None")


def isolation_command() -> list[str] | None:
    """Return a command that runs another one without network; None if this user cannot create a namespace."""
    for flags in ("-n", "-rn"):
        command = ["unshare", flags, "--", sys.executable, "-c", ISOLATED]
        if shutil.which("unshare"):
            done = subprocess.run([*command, os.devnull, "true"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


def run_watched(
    folder: Path, command: Sequence[str], isolation: Sequence[str] | None
) -> tuple["subprocess.CompletedProcess[str]", list[str], int]:
    """Run a command; return its result, the calls recorded by the hook, and the number of packets without a route."""
    (folder / "hook").mkdir(parents=True, exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    calls, lost = folder / "calls", folder / "lost"
    calls.touch()
    lost.write_text("0")
    # Without variables by which libraries detect a test or CI, in which they send no usage data.
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG") or k.startswith("STEWARD_")}
    done = subprocess.run(
        [*isolation, str(lost), *command] if isolation else command,
        env={
            **environment,
            "HOME": str(folder),
            "PYTHONPATH": f"{folder / 'hook'}{os.pathsep}{ROOT}",
            "CALLS": str(calls),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done, calls.read_text().splitlines(), int(lost.read_text())


def external_hosts(calls: Sequence[str]) -> list[str]:
    hosts = [match[1] for call in calls if (match := re.fullmatch(r"'to' b?'?([^']*)'?", call))]
    return [host for host in hosts if host not in LOOPBACK]


@pytest.mark.usefixtures("home_of_a_server", "contracts")
def test_run_of_all_use_cases_connects_to_loopback_only(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "steward"), "run", "all", "--time-budget", "2", "--json"]
    done, calls, lost = run_watched(tmp_path / "watch", command, isolation_command())
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(use_case_names("simulated"))
    started = [call for call in calls if call.startswith("'started'")]
    # The hook was active in Steward's process and in Prefect's server, to which it connected.
    assert any("'run', 'all'" in call for call in started)
    assert any("uvicorn" in call or "prefect" in call for call in started)
    assert "'to' '127.0.0.1'" in calls
    assert external_hosts(calls) == []
    assert lost == 0


@pytest.mark.parametrize(
    ("statement", "host"),
    [
        ("socket.socket().connect(('192.0.2.1', 80))", "192.0.2.1"),
        ("socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))", "2001:db8::1"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", "192.0.2.1"),
        ("socket.getaddrinfo('telemetry.invalid', 443)", "telemetry.invalid"),
    ],
)
def test_hook_records_external_connections_of_child_processes(
    tmp_path: Path, statement: str, host: str
) -> None:
    isolation = isolation_command()
    child = f"import socket; {statement}"
    # A child process, as Steward starts them.
    command = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])",
    ]
    if isolation:
        done, calls, _ = run_watched(tmp_path, command, isolation)
        assert external_hosts(calls) == [host], done.stderr
        return
    pytest.skip("without a network namespace, the child would connect to the Internet")


def test_namespace_counts_packets_of_processes_without_the_hook(tmp_path: Path) -> None:
    isolation = isolation_command()
    if isolation is None:
        pytest.skip("no network namespace for this user")
    connect = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    _, calls, lost = run_watched(tmp_path, [sys.executable, "-I", "-c", connect], isolation)
    assert external_hosts(calls) == []
    assert lost == 1
