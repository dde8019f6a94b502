"""Private copies of rows: whole or not at all, also on a full disk, where the expired ones can still be deleted."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ml.errors import UsageError
from tasks.data_access.extracts import FOLDER, expired_extracts, write_extract

SCHEMA = pa.schema([("amount", pa.float64())])


def blocks(count: int) -> Iterator[pa.RecordBatch]:
    for seed in range(count):
        yield pa.record_batch([np.random.default_rng(seed).random(100_000)], schema=SCHEMA)


def test_a_full_disk_is_one_clear_error_and_expired_copies_can_be_deleted(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path))
    old = write_extract(tmp_path, SCHEMA, blocks(3))
    with pytest.raises(UsageError, match=r"expected space in .*; got a full disk; free some") as error:
        write_extract(tmp_path, SCHEMA, blocks(9))
    assert error.value.__suppress_context__
    assert list((tmp_path / FOLDER).iterdir()) == [old]
    with suppress(OSError), (tmp_path / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(4096))
    with pytest.raises(UsageError, match="got a full disk"):
        write_extract(tmp_path, SCHEMA, blocks(1))
    assert list((tmp_path / FOLDER).iterdir()) == [old]
    # As maintenance does.
    (expired,) = expired_extracts(tmp_path, frozenset(), before=old.stat().st_mtime_ns + 1)
    expired.path.unlink()
    assert write_extract(tmp_path, SCHEMA, blocks(3)) == old
