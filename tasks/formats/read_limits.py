"""Limits on what is read from a file, so that no file can fill memory or disk; checked while reading, not after.

Each limit has a setting; the error that a limit raises names it.
"""

import io
from dataclasses import dataclass
from typing import IO

from typing_extensions import Buffer

from ml.errors import DataGateError

Readable = IO[bytes] | io.BufferedIOBase
GIGABYTE = 10**9
# Smaller archives are harmless, whatever their compression ratio.
MIN_BYTES_FOR_RATIO = 10_000_000


@dataclass(frozen=True)
class ReadLimits:
    """The largest file that is read. Lengths of cells are in characters, of lines in bytes."""

    file_bytes: int = 4 * GIGABYTE
    unpacked_bytes: int = 4 * GIGABYTE
    compression_ratio: float = 200.0
    rows: int = 50_000_000
    columns: int = 2_000
    cell_length: int = 1_000_000
    line_length: int = 4_000_000

    def check_file_size(self, name: str, size: int) -> None:
        """Raise DataGateError for a file of more than `file_bytes`."""
        if size > self.file_bytes:
            raise limit_error(
                f"at most {_gigabytes(self.file_bytes)} in {name}", _gigabytes(size), "MAX_FILE_GIGABYTES"
            )

    def check_unpacked_size(self, name: str, unpacked: int, packed: int) -> None:
        """Raise DataGateError where `packed` bytes of a file are `unpacked` bytes of data, and these are too many."""
        if unpacked > self.unpacked_bytes:
            limit = _gigabytes(self.unpacked_bytes)
            raise limit_error(
                f"at most {limit} of data in {name}", f"more than {limit}", "MAX_UNPACKED_GIGABYTES"
            )
        if unpacked > max(MIN_BYTES_FOR_RATIO, self.compression_ratio * packed):
            raise limit_error(
                f"data that are at most {self.compression_ratio:g} times as large as the archive {name}",
                f"more than {unpacked // max(packed, 1)} times",
                "MAX_COMPRESSION_RATIO",
            )

    def check_rows(self, name: str, rows: int) -> None:
        """Raise DataGateError for more than `rows` rows."""
        if rows > self.rows:
            raise limit_error(f"at most {self.rows:,} rows in {name}", f"more than {self.rows:,}", "MAX_ROWS")

    def check_columns(self, name: str, columns: int) -> None:
        """Raise DataGateError for more than `columns` columns."""
        if columns > self.columns:
            raise limit_error(f"at most {self.columns:,} columns in {name}", f"{columns:,}", "MAX_COLUMNS")

    def check_cell_length(self, name: str, longest: int) -> None:
        """Raise DataGateError for a text of more than `cell_length` characters."""
        if longest > self.cell_length:
            raise limit_error(
                f"at most {self.cell_length:,} characters in a cell of {name}",
                f"{longest:,}",
                "MAX_CELL_LENGTH",
            )

    def line_error(self, name: str) -> DataGateError:
        """Return the error for a line of more than `line_length` bytes."""
        return limit_error(
            f"at most {self.line_length:,} bytes in a line of {name}", "a longer one", "MAX_LINE_LENGTH"
        )


def limit_error(expected: str, got: str, setting: str) -> DataGateError:
    """Return the error of a limit, which names its setting."""
    return DataGateError(expected, got, f"correct or divide the file, or raise STEWARD_{setting}")


class LimitedFile(io.RawIOBase):
    """A binary file, or a member of an archive of `packed` bytes, that raises DataGateError past the limits.

    Without `zeros`, it also does so for bytes of 0 that are not at its end, which no text has.
    """

    def __init__(
        self, file: Readable, name: str, packed: int, limits: ReadLimits, zeros: bool = True
    ) -> None:
        self._file, self._name, self._packed, self._limits = file, name, packed, limits
        self._bytes_read = 0
        self._zeros, self._first_zero = zeros, -1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._file.read(len(view))
        view[: len(data)] = data
        if not self._zeros:
            self._check_zeros(data)
        self._bytes_read += len(data)
        self._limits.check_unpacked_size(self._name, self._bytes_read, self._packed)
        return len(data)

    def _check_zeros(self, data: bytes) -> None:
        if self._first_zero < 0 and (found := data.find(0)) >= 0:
            self._first_zero = self._bytes_read + found
        # Zeros at the end are those of a file that was cut short.
        text = data.rstrip(b"\0") if self._first_zero >= 0 else b""
        if text and self._first_zero < self._bytes_read + len(text):
            raise DataGateError(
                f"text in {self._name}",
                f"a byte of 0 at byte {self._first_zero + 1:,}",
                "correct the file; it may be damaged, no text, or in utf-16: then set meta.read.encoding",
            )

    def close(self) -> None:
        self._file.close()
        super().close()


def _gigabytes(size: int) -> str:
    return f"{size / GIGABYTE:.3g} GB"
