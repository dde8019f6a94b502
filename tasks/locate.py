"""locate."""

import json
from dataclasses import dataclass
from pathlib import Path

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import ContractError, UsageError
from ml.simulators import SIMULATORS
from tasks.settings import Settings

SUFFIXES = (".csv", ".zip", ".parquet", ".data", ".txt", ".tsv")


@dataclass(frozen=True)
class DatasetSource:
    """What a run reads: the contract and the files that it was found to be about (none when simulated).

    `items` is the side table of items, where the contract speaks of one; who only asks a model needs none.
    """

    data: str
    contract: Contract
    files: tuple[Path, ...]
    item_attributes_file: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.files, self.item_attributes_file) if self.item_attributes_file else self.files


def find_dataset(case: str, data: str, contract: str | None, settings: Settings) -> DatasetSource:
    """Find contract and files; nothing is read of the data, nothing is written.

    `data` is the name of a data set that has a contract, or a file; `contract` is a name or a file, by default the
    one named as the data. A side table of items lies beside the file, or else where the contract's files do. Raises
    UsageError or ContractError.
    """
    as_file = Path(data) if Path(data).suffix in SUFFIXES or "/" in data else None
    loaded = load_contract(case, contract or (as_file.stem if as_file else data), settings)
    if as_file:
        given = _existing(as_file, "give the path of a file that can be read")
        return DatasetSource(as_file.stem, loaded, (given,), _side_table(loaded, as_file.parent, settings))
    if loaded.read.simulator:
        return DatasetSource(data, loaded, ())
    if settings.data_dir is None:
        raise UsageError(
            f"STEWARD_DATA_DIR with a folder {loaded.read.folder or data}/",
            "no such variable",
            "set it, or give a file with --data",
        )
    folder = settings.data_dir / (loaded.read.folder or data)
    todo = f"put the file there ({loaded.about.get('url', 'see the contract')}), or set STEWARD_DATA_DIR"
    files = tuple(_existing(folder / name, todo) for name in loaded.read.files)
    return DatasetSource(data, loaded, files, _side_table(loaded, folder, settings))


def _side_table(contract: Contract, beside: Path, settings: Settings) -> Path | None:
    """The side table of the contract, if it has one; else UsageError."""
    if contract.items is None:
        return None
    path = beside / contract.items.file
    if not path.is_file() and settings.data_dir:
        own = contract.read.folder or contract.name.partition(".")[2]
        path = settings.data_dir / own / contract.items.file
    url = contract.about.get("url", "see the contract")
    return _existing(path, f"put the file that lists the items there ({url}), or remove meta.items")


def load_contract(case: str, contract: str, settings: Settings) -> Contract:
    """Read and check a contract, by its file or by its name in the case's folder."""
    folder = settings.contracts / case.replace("-", "_")
    path = Path(contract) if contract.endswith(".json") else folder / f"{contract}.json"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.json"))
        raise UsageError(
            f"a data set of {case} ({', '.join(known)}) or a file with --contract",
            contract,
            f"or write {path.name}",
        )
    try:
        loaded = parse(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ContractError(f"JSON in {path}", str(error), "correct the file") from None
    if not loaded.name.startswith(f"{case}."):
        raise ContractError(f"a contract of {case} in {path}", loaded.name, f"name it {case}.<data set>")
    if loaded.read.simulator and loaded.read.simulator not in SIMULATORS:
        raise ContractError(
            f"a simulator of {sorted(SIMULATORS)}", repr(loaded.read.simulator), "name one of them"
        )
    return loaded


def _existing(path: Path, todo: str) -> Path:
    if not path.is_file():
        raise UsageError(f"a file {path}", "none", todo)
    return path
