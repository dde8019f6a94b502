"""Published files are downloaded from a server, and stored only when they are the ones of the contract."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steward
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import ContractError, UsageError
from tasks.data_access.download import download_files
from tasks.use_cases import use_case_names

ROOT = Path(__file__).resolve().parents[3]
CONTENT = b"age,income\n" + b"30,2000\n" * 20_000
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a server that sends the file well, cut off, not at all, and never to the end; return its address."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = self.path.strip("/").partition(".")[0]
            if kind == "missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if kind == "cut":
                self.wfile.write(CONTENT[:1000])
                self.close_connection = True
            elif kind == "slow":
                self.wfile.write(CONTENT[:1000])
                self.wfile.flush()
                is_over.wait()
            else:
                self.wfile.write(CONTENT)

        def log_message(self, *arguments: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    is_over.set()
    running.shutdown()
    thread.join()
    running.server_close()


def contract_of(address: str, digest: str = hashlib.sha256(CONTENT).hexdigest()) -> Contract:
    file = json.loads((ROOT / "expectations" / "fintech_risk" / "simulated.json").read_text())
    read = file["meta"]["read"]
    for key in ("simulator", "rows", "seed"):
        read.pop(key, None)
    read["files"] = ["good.csv"]
    file["meta"] |= {
        "downloads": {"good.csv": address},
        "sha256": {"good.csv": digest},
        "url": "https://bank.example",
    }
    return parse(file)


def test_a_file_is_downloaded_once(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "loans"
    for address in (f"{server}/good.csv", f"{server}/missing.csv"):
        # The second time, the server is not asked.
        assert list(download_files(contract_of(address), folder, LIMIT)) == [
            (folder / "good.csv", len(CONTENT))
        ]
    assert (folder / "good.csv").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("good.csv", {"digest": "a" * 64}, "a file with SHA-256 aaaaaaaaaaaa... at .*; got another file"),
        ("missing.csv", {}, "got 404 Not Found; get the file by hand and put it there"),
        ("cut.csv", {}, r"expected a whole file .*; got a lost connection"),
        ("slow.csv", {"timeout": 0.3}, r"expected data from .* every 0.3 s; got none"),
        ("good.csv", {"max_bytes": 1000}, "at most 1,000 bytes .*; got more"),
    ],
)
def test_other_answers_are_errors_and_leave_no_file(
    path: str, options: dict[str, object], message: str, server: str, tmp_path: Path
) -> None:
    given = {"max_bytes": LIMIT} | {key: value for key, value in options.items() if key != "digest"}
    contract = contract_of(f"{server}/{path}", **{k: v for k, v in options.items() if k == "digest"})
    with pytest.raises(UsageError, match=message):
        list(download_files(contract, tmp_path, **given))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a lost connection"):
        list(download_files(contract_of("http://127.0.0.1:9/good.csv"), tmp_path, LIMIT))


def test_a_file_of_the_user_is_not_replaced(server: str, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("mine")
    with pytest.raises(UsageError, match="got another one; move it away"):
        list(download_files(contract_of(f"{server}/good.csv"), tmp_path, LIMIT))
    assert (tmp_path / "good.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": {}}, "a digest of good.csv in meta.sha256"),
        ({"downloads": {"good.csv": "file:///etc/passwd"}}, "an address that begins with https://"),
    ],
)
def test_contracts_verify_what_they_download(changes: dict[str, object], message: str) -> None:
    file = json.loads((ROOT / "expectations" / "fintech_risk" / "simulated.json").read_text())
    file["meta"] |= {"downloads": {"good.csv": "https://bank.example/good.csv"}, "sha256": {"good.csv": "a"}}
    with pytest.raises(ContractError, match=message):
        parse({**file, "meta": {**file["meta"], **changes}})


def test_command_downloads_and_says_where_other_sets_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    contracts = tmp_path / "contracts"
    for case in use_case_names():
        (contracts / case.replace("-", "_")).mkdir(parents=True)
    file = json.loads((ROOT / "expectations" / "fintech_risk" / "german_credit.json").read_text())
    name = file["meta"]["read"]["files"][0]
    assert file["meta"]["downloads"][name].startswith("https://archive.ics.uci.edu/")
    file["meta"]["downloads"] = {name: f"{server}/good.csv"}
    file["meta"]["sha256"] = {name: hashlib.sha256(CONTENT).hexdigest()}
    (contracts / "fintech_risk" / "german_credit.json").write_text(json.dumps(file))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(contracts))
    monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path / "data"))

    def command(*arguments: str) -> str:
        return CliRunner().invoke(steward.app, ["data", *arguments], catch_exceptions=False).stdout

    with pytest.raises(UsageError, match=r"steward data --download fintech-risk\.german_credit"):
        CliRunner().invoke(
            steward.app, ["validate", "fintech-risk", "--data", "german_credit"], catch_exceptions=False
        )
    printed = command("--download", "german_credit")
    assert f"{tmp_path / 'data' / 'german_credit' / name}: 160,011 bytes, verified" in printed
    assert "licence: CC BY 4.0" in printed
    del file["meta"]["downloads"]
    (contracts / "fintech_risk" / "german_credit.json").write_text(json.dumps(file))
    with pytest.raises(
        UsageError, match=r"get it from https://archive\.ics\.uci\.edu/dataset/144 and put it into"
    ):
        command("--download", "german_credit")
