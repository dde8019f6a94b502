"""Checkpoints: read back whole or not at all, replaced, of one fit each, gone once the fit is stored."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.errors import UsageError
from ml.estimator import FitResources
from ml.tabular.constant import Constant, ConstantModel
from tasks.storage.checkpoints import Checkpoints
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.storage.garbage_collection import CHECKPOINT_AGE, delete_orphaned_files, orphaned_files
from tasks.train import fit


def test_last_checkpoint_of_a_key_is_read_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "fit")
    assert checkpoints.load("a") is None
    for content in (b"first", b"second"):
        checkpoints.save("a", content)
    checkpoints.save("../b", b"")
    assert (checkpoints.load("a"), checkpoints.load("../b")) == (b"second", b"")
    assert Checkpoints(tmp_path, "other").load("a") is None
    assert checkpoints.folder.stat().st_mode & 0o077 == 0
    assert len(list(checkpoints.folder.iterdir())) == 2
    checkpoints.delete()
    assert checkpoints.load("a") is None
    checkpoints.delete()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("damage", [truncate, change, empty, link])
def test_damaged_checkpoint_counts_as_none(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    checkpoints = Checkpoints(tmp_path, "fit")
    checkpoints.save("a", b"content")
    damage(next(checkpoints.folder.iterdir()))
    assert checkpoints.load("a") is None
    checkpoints.save("a", b"content")
    assert checkpoints.load("a") == b"content"


@dataclass(frozen=True)
class Interrupted:
    """Saves a checkpoint and fails, unless it finds one."""

    found: ClassVar[list[bytes | None]] = []
    computed: ClassVar[list[int]] = []

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ConstantModel:
        self.found.append(resources.storage.load_checkpoint("epoch"))
        if self.found[-1] is None:
            resources.storage.save_checkpoint("epoch", lambda: b"half")
            raise UsageError("a process that lives", "the end of it", "run it again")
        assert resources.storage.files("step", self._step) == {"vectors": b"123"}
        return Constant().fit(train, valid, resources)

    def _step(self) -> dict[str, bytes]:
        self.computed.append(1)
        return {"vectors": b"123"}


@pytest.fixture
def splits(tmp_path: Path) -> StoredResult:
    rows = Dataset(pd.DataFrame({"x": [1.0, 2.0]}), pd.Series([0.0, 1.0]), np.arange(2, dtype=np.uint64))
    tables = {name: rows.to_table() for name in ("train", "valid")}
    return Store(tmp_path).get_or_compute("split", lambda: StageResult(tables, {}))


def test_repeated_fit_finds_its_checkpoint_until_it_is_stored(tmp_path: Path, splits: StoredResult) -> None:
    store, found = Store(tmp_path), Interrupted.found
    found.clear()
    Interrupted.computed.clear()
    for _ in range(2):
        with pytest.raises(UsageError):
            # Computed anew where the user asks for it.
            fit("name", Interrupted(), splits, FitResources(), Store(tmp_path, fresh=True))
    assert found == [None, None]
    fit("name", Interrupted(), splits, FitResources(), store)
    assert found == [None, None, b"half"]
    assert not list((tmp_path / "checkpoints").iterdir())
    # Files of a step are there for other fits.
    with pytest.raises(UsageError):
        fit("name", Interrupted(), splits, FitResources(seed=1), store)
    assert not fit("name", Interrupted(), splits, FitResources(seed=1), store).reused
    assert len(Interrupted.computed) == 1


def test_full_disk_costs_the_checkpoint_and_not_the_fit(
    tmp_path: Path, splits: StoredResult, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder has to be")
    with pytest.raises(UsageError, match="a process that lives"):
        fit("name", Interrupted(), splits, FitResources(), Store(tmp_path))
    assert "no checkpoint could be saved" in caplog.text


def test_checkpoints_are_deleted_a_week_after_the_fit_was_killed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "fit")
    checkpoints.save("a", b"content")
    written = max(path.stat().st_mtime_ns for path in (checkpoints.folder, *checkpoints.folder.iterdir()))
    assert orphaned_files(tmp_path, written + CHECKPOINT_AGE) == []
    orphans = orphaned_files(tmp_path, written + CHECKPOINT_AGE + 1)
    assert [orphan.path for orphan in orphans] == [checkpoints.folder]
    delete_orphaned_files(tmp_path, orphans)
    assert not os.path.lexists(checkpoints.folder)
