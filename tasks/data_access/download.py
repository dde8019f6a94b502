"""Download the published files of a data set, for a user who asks for it; nothing else in the project does."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pooch
import requests
from urllib3.exceptions import ReadTimeoutError

from ml.contract.schema import Contract
from ml.errors import UsageError
from tasks.storage.regular_files import file_sha256

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16


def download_files(
    contract: Contract, folder: Path, max_bytes: int, timeout: float = TIMEOUT
) -> Iterator[tuple[Path, int]]:
    """Download each file of a data set that the folder lacks; yield its path and size in bytes.

    A file gets its name only when its SHA-256 is that of the contract. `timeout` is in seconds without a byte. Raises
    UsageError, and leaves no part of a file behind.
    """
    addresses = contract.publication.get("downloads") or {}
    digests = contract.publication.get("sha256") or {}
    names = [*contract.read.files]
    if contract.item_attributes:
        names.append(contract.item_attributes.file)
    without = [name for name in names if name not in addresses]
    if without:
        raise UsageError(
            f"an address of {', '.join(without)} in meta.downloads of {contract.name}",
            "none: its publisher wants a login, an agreement or a conversion",
            f"get it from {contract.publication.get('url', 'its publisher')} and put it into {folder}",
        )
    for name in dict.fromkeys(names):
        path = folder / name
        if path.exists():
            _require_published(path, digests[name])
        else:
            _download(path, addresses[name], digests[name], _Reader(max_bytes, timeout))
        yield path, path.stat().st_size


def _require_published(path: Path, digest: str) -> None:
    """Raise UsageError if a file that exists is not the published one."""
    if file_sha256(path, path.stat().st_size) != digest:
        raise UsageError(f"no file {path}, or the published one", "another one", "move it away")


def _download(path: Path, address: str, digest: str, reader: "_Reader") -> None:
    next_step = f"get the file by hand and put it there: {path}"
    pooch.get_logger().setLevel(logging.WARNING)  # the caller prints what was downloaded
    try:
        pooch.retrieve(
            address, known_hash=f"sha256:{digest}", fname=path.name, path=path.parent, downloader=reader
        )
    except requests.HTTPError as error:
        response = error.response
        raise UsageError(
            f"a file at {address}", f"{response.status_code} {response.reason}", next_step
        ) from None
    except requests.RequestException as error:
        # Between two parts of a file, requests raises ConnectionError for a timeout, too.
        if isinstance(error, requests.Timeout) or any(
            isinstance(cause, ReadTimeoutError) for cause in error.args
        ):
            expected = f"data from {address} every {reader.timeout:g} s"
            raise UsageError(expected, "none", next_step) from None
        kind = type(error).__name__
        raise UsageError(f"a whole file from {address}", f"a lost connection ({kind})", next_step) from None
    except ValueError:
        raise UsageError(
            f"a file with SHA-256 {digest[:12]}... at {address}",
            "another file",
            "look at what its publisher changed; then correct meta.sha256, or put the former file there",
        ) from None


class _Reader:
    """Write what a server sends to a file, up to a number of bytes."""

    def __init__(self, max_bytes: int, timeout: float) -> None:
        self.max_bytes = max_bytes
        self.timeout = timeout

    def __call__(self, url: str, output_file: str, client: object) -> None:
        with (
            requests.get(url, stream=True, timeout=self.timeout) as response,
            Path(output_file).open("wb") as file,
        ):
            response.raise_for_status()
            self._copy(response, file, url)

    def _copy(self, response: requests.Response, file: BinaryIO, url: str) -> None:
        size = 0
        for chunk in response.iter_content(CHUNK):
            size += len(chunk)
            if size > self.max_bytes:
                raise UsageError(
                    f"at most {self.max_bytes:,} bytes from {url}",
                    "more",
                    "set STEWARD_MAX_FILE_GIGABYTES, if it is the right file",
                )
            file.write(chunk)
