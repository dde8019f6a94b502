"""Find the contract and the files of a dataset, by name or by path."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ml.contract.json_text import read_json_file
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import ContractError, UsageError
from ml.simulators import SIMULATORS
from tasks.data_access.data_paths import Data, data_name, find_files, is_file
from tasks.data_access.database_url import SQLITE_ENDINGS, DatabaseQuery, database_query, is_database
from tasks.data_access.databases import check_query
from tasks.formats.read_limits import ReadLimits
from tasks.settings import Settings


@dataclass(frozen=True)
class DatasetSource:
    """What a run reads: the name of the dataset, its contract and its files (none when simulated or in a database).

    `item_attributes_file` is the side table of items, where the contract has one; scoring needs none. `limits` bound
    what is read from the files.
    """

    data: str
    contract: Contract
    files: tuple[Path, ...]
    item_attributes_file: Path | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)
    database: DatabaseQuery | None = None

    @property
    def all_files(self) -> tuple[Path, ...]:
        return (*self.files, self.item_attributes_file) if self.item_attributes_file else self.files


def find_dataset(
    case: str, data: Data, contract: str | None, settings: Settings, query: str | None = None
) -> DatasetSource:
    """Find contract and files of a dataset; no data is read and nothing is written.

    `data` is the name of a dataset that has a contract, a file, a folder, a wildcard, several files, or the address of
    a database, of which `query` selects the rows; `contract` is a
    name or a file, by default the one with the name of the data. A side table of items is looked for beside the first
    file, then in the folder of the contract. Raises UsageError or ContractError.
    """
    if query is not None or is_database(data):
        return _in_database(case, data, contract, settings, query)
    given = find_files(data) if is_file(data) else ()
    if not contract and given and not data_name(data, ""):
        raise _no_contract()
    loaded = load_contract(case, contract or data_name(data, ""), settings)
    if given:
        name = data_name(data, loaded.name.partition(".")[2])
        side_table = _find_side_table(loaded, given[0].parent, settings)
        return DatasetSource(name, loaded, _in_order(given, loaded), side_table, settings.read_limits)
    assert isinstance(data, str)  # several are files
    if loaded.read.simulator:
        return DatasetSource(data, loaded, ())
    if settings.data_dir is None:
        raise UsageError(
            f"STEWARD_DATA_DIR with a folder {loaded.read.folder or data}/",
            "no such variable",
            "set it, or give a file with --data",
        )
    folder = settings.data_dir / (loaded.read.folder or data)
    next_step = f"put the file there ({_download_address(loaded)}), or set STEWARD_DATA_DIR"
    files = tuple(_require_file(_inside(folder, name, settings), next_step) for name in loaded.read.files)
    side_table = _find_side_table(loaded, folder, settings)
    return DatasetSource(data, loaded, files, side_table, settings.read_limits)


def find_rows(data: Data, query: str | None) -> tuple[tuple[Path, ...], DatabaseQuery | None]:
    """Return the files that `data` names, or the query of a database; nothing is read. Raises UsageError."""
    if query is not None or is_database(data):
        return (), _database_query(data, query)
    return find_files(data), None


def _in_database(
    case: str, data: Data, contract: str | None, settings: Settings, query: str | None
) -> DatasetSource:
    database = _database_query(data, query)
    if not contract:
        raise _no_contract()
    loaded = load_contract(case, contract, settings)
    name = loaded.name.partition(".")[2]
    return DatasetSource(name, loaded, (), limits=settings.read_limits, database=database)


def _database_query(data: Data, query: str | None) -> DatabaseQuery:
    if not isinstance(data, str) or not (is_database(data) or Path(data).suffix.lower() in SQLITE_ENDINGS):
        raise UsageError(
            "the address of one database as --data with --query",
            "none" if isinstance(data, str) else "several",
            "write DIALECT://USER@HOST/DATABASE, or the path of a SQLite file",
        )
    database = database_query(data, query)
    check_query(database)
    return database


def _no_contract() -> UsageError:
    return UsageError("--contract beside such data", "none", "name the contract that describes them")


def _in_order(given: tuple[Path, ...], contract: Contract) -> tuple[Path, ...]:
    """Return the given files in the order of the contract. Raises UsageError where one that is joined is missing."""
    names = contract.read.files
    if contract.read.join is None:
        return given
    if len(given) != len(names):
        raise UsageError(
            f"{len(names)} files with --data, as {contract.name} joins {', '.join(names)}",
            f"{len(given)}",
            "give --data for each of them",
        )
    by_name = {file.name: file for file in given}
    return (
        tuple(by_name[Path(name).name] for name in names)
        if {*by_name} == {Path(n).name for n in names}
        else given
    )


def load_contract(case: str, contract: str, settings: Settings) -> Contract:
    """Read and check a contract, by its file or by its name in the case's folder."""
    folder = settings.contracts / case.replace("-", "_")
    path = Path(contract) if contract.endswith(".json") else folder / f"{contract}.json"
    if not path.is_file():
        raise _unknown_contract(case, contract, settings)
    with path.open("rb") as file:
        loaded = parse(read_json_file(file, str(path)))
    if not loaded.name.startswith(f"{case}."):
        raise ContractError(f"a contract of {case} in {path}", loaded.name, f"name it {case}.<data set>")
    if loaded.read.simulator and loaded.read.simulator not in SIMULATORS:
        raise ContractError(
            f"a simulator of {sorted(SIMULATORS)}", repr(loaded.read.simulator), "name one of them"
        )
    return loaded


def _unknown_contract(case: str, contract: str, settings: Settings) -> UsageError:
    """Return the error about a name that has no contract; it names the use case that has one, or a similar name."""
    stem = case.replace("-", "_")
    available = sorted(path.stem for path in (settings.contracts / stem).glob("*.json"))
    expected = f"a data set of {case} ({', '.join(available)}) or a file with --contract"
    owners = sorted(path.parent.name for path in settings.contracts.glob("*/*.json") if path.stem == contract)
    if owners:
        owner = owners[0].replace("_", "-")
        return UsageError(
            expected, f"{contract}, a data set of {owner}", f"did you mean {owner} --data {contract}?"
        )
    similar = get_close_matches(contract, available, 1)
    if similar:
        return UsageError(expected, contract, f"did you mean {similar[0]}?")
    return UsageError(expected, contract, f"or write {Path(contract).stem}.json")


def _find_side_table(contract: Contract, folder: Path, settings: Settings) -> Path | None:
    """Return the side table of items, None if the contract has none. Raises UsageError if it is missing."""
    if contract.item_attributes is None:
        return None
    path = _inside(folder, contract.item_attributes.file, settings)
    if not path.is_file() and settings.data_dir:
        contract_folder = settings.data_dir / (contract.read.folder or contract.name.partition(".")[2])
        path = _inside(contract_folder, contract.item_attributes.file, settings)
    address = _download_address(contract)
    return _require_file(
        path, f"put the file that lists the items there ({address}), or remove meta.item_attributes"
    )


def _download_address(contract: Contract) -> str:
    if contract.publication.get("downloads"):
        return f"steward data --download {contract.name}"
    return str(contract.publication.get("url", "see the contract"))


def _inside(folder: Path, name: str, settings: Settings) -> Path:
    """Return the path of a file that a contract names. Raises ContractError for a link that leaves the data folders."""
    path = folder / name
    roots = [folder.resolve()] + ([settings.data_dir.resolve()] if settings.data_dir else [])
    if not any(path.resolve().is_relative_to(root) for root in roots):
        raise ContractError(
            f"a file inside {folder} for {name!r}",
            "a link that leads out of it",
            "copy the file there, or give its path with --data",
        )
    return path


def _require_file(path: Path, next_step: str) -> Path:
    if not path.is_file():
        raise UsageError(f"a file {path}", "none", next_step)
    return path
