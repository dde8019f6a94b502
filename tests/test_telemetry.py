"""Nothing leaves the machine: a whole run tries no connection and no name look-up but loopback."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.use_cases import cases

ROOT = Path(__file__).resolve().parents[1]
# Every Python process that reads PYTHONPATH writes down where it wants to. One with -I does not: the namespace sees it.
HOOK = """
import os, sys

LOOKS_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")

def note(*words):
    with open(os.environ["CALLS"], "ab", buffering=0) as calls:
        calls.write(" ".join(map(repr, words)).encode() + b"\\n")

def hook(event, arguments):
    if event in LOOKS_UP:
        note("to", arguments[0])
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        note("to", arguments[1][0])

note("began", sys.orig_argv)
sys.addaudithook(hook)
"""
# In a network namespace of its own: loopback and nothing else; the kernel counts what finds no way out.
ALONE = """
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


def namespace() -> list[str] | None:
    """The command that starts another without a network; None where this machine has none for this user."""
    for flags in ("-n", "-rn"):
        command = ["unshare", flags, "--", sys.executable, "-c", ALONE]
        if shutil.which("unshare"):
            done = subprocess.run([*command, os.devnull, "true"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


def watched(
    folder: Path, command: Sequence[str], alone: Sequence[str] | None
) -> tuple["subprocess.CompletedProcess[str]", list[str], int]:
    """What the command said, where it and its children wanted to (by the hook), and what found no way out."""
    (folder / "hook").mkdir(parents=True, exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    calls, lost = folder / "calls", folder / "lost"
    calls.touch()
    lost.write_text("0")
    # A person's environment: libraries report nothing where they see a test or a CI, or what this process has set.
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG") or k.startswith("STEWARD_")}
    done = subprocess.run(
        [*alone, str(lost), *command] if alone else command,
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


def outside(calls: Sequence[str]) -> list[str]:
    wanted = [match[1] for call in calls if (match := re.fullmatch(r"'to' b?'?([^']*)'?", call))]
    return [host for host in wanted if host not in LOOPBACK]


def test_a_run_of_everything_keeps_to_itself(home: Path, contracts: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "steward"), "run", "all", "--budget", "5", "--json"]
    done, calls, lost = watched(tmp_path / "watch", command, namespace())
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(cases())
    began = [call for call in calls if call.startswith("'began'")]
    # The guard was there in Steward's own process and in that of Prefect's server, which it talked to.
    assert any("'run', 'all'" in call for call in began)
    assert any("uvicorn" in call or "prefect" in call for call in began)
    assert "'to' '127.0.0.1'" in calls
    assert outside(calls) == []
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
def test_the_guard_sees_who_wants_out(tmp_path: Path, statement: str, host: str) -> None:
    alone = namespace()
    child = f"import socket; {statement}"
    # As Steward's own process starts others.
    command = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])",
    ]
    if alone:
        done, calls, _ = watched(tmp_path, command, alone)
        assert outside(calls) == [host], done.stderr
        return
    pytest.skip("without a network namespace, the child would reach out")


def test_the_namespace_sees_who_evades_the_hook(tmp_path: Path) -> None:
    alone = namespace()
    if alone is None:
        pytest.skip("no network namespace for this user")
    connect = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    _, calls, lost = watched(tmp_path, [sys.executable, "-I", "-c", connect], alone)
    assert outside(calls) == []
    assert lost == 1
