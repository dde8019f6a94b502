"""Lineage of the inputs: contract, source files or simulator, code and libraries, as recorded and as they are now."""

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flows.lineage.model_version import ModelVersionRecord
from flows.lineage.step import MISSING, MODIFIED, OK, UNVERIFIED, LineageStep, worst_status
from flows.recording import code_version
from ml.contract.json_text import read_json_file
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import ContractError
from ml.simulators import SIMULATORS
from tasks.data_access.extracts import FOLDER
from tasks.storage.content_store import StageResult, Store

CONTRACT = "contract.json"


@dataclass(frozen=True)
class SourceFile:
    """A file that the run read: its recorded sha256, and where a file of that name is now, if anywhere."""

    name: str
    sha256: str
    status: str
    path: Path | None


def source_files(record: ModelVersionRecord) -> list[SourceFile]:
    """Find the files that the run read, at their recorded paths and in today's folder of data sets."""
    files = record.facts["source"]["origin"].get("files", {})
    return [_find_file(record, name, sha256) for name, sha256 in files.items()]


def _find_file(record: ModelVersionRecord, name: str, sha256: str) -> SourceFile:
    facts, data_dir = record.facts, record.settings.data_dir
    paths = [Path(path) for path in facts.get("files", [facts["params"]["data"]])]
    # A contract may name a folder that differs from the name of the data set.
    folders = dict.fromkeys([facts["data"], *(path.parent.name for path in paths)])
    paths += [data_dir / folder / name for folder in folders] if data_dir else []
    # What came from a database.
    paths.append(record.settings.state_dir.resolve() / "store" / FOLDER / name)
    # Where several files have one name, the recorded name has their folders too.
    existing = [path for path in paths if f"/{path.as_posix()}".endswith(f"/{name}") and path.is_file()]
    same = next((path for path in existing if _sha256(path) == sha256), None)
    if same:
        return SourceFile(name, sha256, OK, same)
    return SourceFile(name, sha256, MODIFIED if existing else MISSING, existing[0] if existing else None)


def source(record: ModelVersionRecord) -> LineageStep:
    """Compare source files by their sha256, or a simulator by the table that it generates now."""
    facts, publication = record.facts["source"], record.facts.get("publication", {})
    origin = facts["origin"]
    fields = ("publisher", "url", "licence")
    published = tuple(f"{field}: {publication[field]}" for field in fields if publication.get(field))
    recorded = {**origin, **{field: publication.get(field) for field in fields}}
    if "simulator" in origin:
        summary = f"simulator {origin['simulator']}, {origin['rows']:,} rows from seed {origin['seed']}"
        return LineageStep("source", summary, _simulated(record, origin), published, recorded)
    files = source_files(record)
    details = tuple(f"{file.path or file.name}: sha256 {file.sha256[:12]}, {file.status}" for file in files)
    recorded["found"] = {file.name: {"status": file.status, "path": str(file.path)} for file in files}
    status = worst_status(*(file.status for file in files))
    return LineageStep("source", f"{len(files)} file(s)", status, details + published, recorded)


def _simulated(record: ModelVersionRecord, origin: dict[str, Any]) -> str:
    """Return whether the simulator still generates the recorded table."""
    if origin["simulator"] not in SIMULATORS:
        return MISSING
    generated = SIMULATORS[origin["simulator"]](origin["rows"], origin["seed"])
    with tempfile.TemporaryDirectory() as scratch:
        stored = Store(Path(scratch)).get_or_compute(
            "simulated", lambda: StageResult({"rows": generated.rows, "oracle": generated.oracle}, {})
        )
    return OK if stored.digest == record.stages["source"]["digest"] else MODIFIED


def contract(record: ModelVersionRecord) -> LineageStep:
    """Compare the contract inside the package with the file of that name."""
    digest = record.package.manifest.get("files", {}).get(CONTRACT, "")
    name = record.facts.get("params", {}).get("contract") or record.facts.get("data", record.data)
    path = Path(record.facts.get("contract_file") or name)
    if path.suffix != ".json":
        path = record.settings.contracts / record.case.replace("-", "_") / f"{name}.json"
    recorded = {"digest": digest, "file": str(path)}
    if not digest:
        summary, reason = f"{record.version.name}, {path}", "no package to compare with"
        return LineageStep("contract", summary, UNVERIFIED, (reason,), recorded)
    summary = f"{record.version.name} {digest[:12]}, {path}"
    if not path.is_file():
        return LineageStep("contract", summary, MISSING, ("the package contains a copy",), recorded)
    try:
        with path.open("rb") as file:
            current, packaged = read_json_file(file, str(path)), record.package.contract
        # The order of the columns has a meaning, white space has none.
        if json.dumps(current) == json.dumps(packaged):
            return LineageStep("contract", summary, OK, (), recorded)
        if _effect(parse(current)) == _effect(parse(packaged)):
            details = ("the file has other texts or key names, and the same rules",)
            return LineageStep("contract", summary, OK, details, recorded)
    except (ValueError, ContractError):
        pass
    details = ("the file has changed; the package contains the recorded contract",)
    return LineageStep("contract", summary, MODIFIED, details, recorded)


def _effect(contract: Contract) -> tuple[Any, ...]:
    """Return everything of a contract that has an effect on data and models: all but reasons and descriptions."""
    first_row = contract.first_row_per
    return (
        contract.name,
        [(rule.type, rule.kwargs, rule.action) for rule in contract.rules],
        list(contract.read.columns),
        contract.read,
        contract.roles.model_copy(update={"descriptions": {}}),
        contract.split,
        contract.max_quarantined_share,
        first_row and (first_row.entity, first_row.order_by),
        set(contract.leakage_exceptions),
        contract.copy_exception is not None,
        contract.sentinel_values,
        set(contract.never_recommend),
        contract.event_weight_by_value,
        contract.decay,
        contract.item_attributes,
    )


def code(record: ModelVersionRecord) -> LineageStep:
    """Check that the recorded code still exists: in the working tree, or as a commit of this repository."""
    then, now = record.facts.get("code", {}), code_version.current_code()
    commit, dirty = record.facts.get("commit"), then.get("dirty")
    digests = then.get("digests", {})
    changed = [folder for folder, digest in digests.items() if now.digests.get(folder) != digest]
    summary = (f"commit {commit[:12]}" if commit else "no commit") + (
        " and uncommitted changes" if dirty else ""
    )
    recorded = {"then": dict(then), "now": {"commit": now.commit, "dirty": now.dirty, "digests": now.digests}}
    if digests and not changed:
        return LineageStep("code", f"{summary}, matches the working tree", OK, (), recorded)
    details = [f"changed since: {', '.join(changed)}"] if changed else []
    details += ["uncommitted changes at that time were not recorded"] if commit and dirty is None else []
    exists = code_version.commit_exists(commit) if commit else None
    if commit and exists and not dirty:
        return LineageStep("code", f"{summary}, in this repository", OK, tuple(details), recorded)
    if not digests and exists is None:
        return LineageStep("code", summary, UNVERIFIED, tuple(details), recorded)
    details += ["the package contains its own copy of ml/"]
    return LineageStep("code", summary, MISSING, tuple(details), recorded)


def libraries(record: ModelVersionRecord) -> LineageStep:
    """Compare the recorded versions of Python and of the libraries with the installed ones."""
    versions = list(library_versions(record))
    differ = [f"{name} {then} then, {now} now" for name, then, now in versions if then != now]
    recorded = {name: {"then": then, "now": now} for name, then, now in versions}
    outcome = f"{len(differ)} differ" if differ else "all unchanged"
    summary = f"{len(recorded)} versions, {outcome}"
    return LineageStep("libraries", summary, MODIFIED if differ else OK, tuple(differ), recorded)


def library_versions(record: ModelVersionRecord) -> Iterator[tuple[str, str, str]]:
    """Yield name, recorded version and installed version of each library and of Python.

    The project's own version is left out: its code is compared by digest.
    """
    then = {name: number for name, number in record.facts["versions"].items() if name != "steward"}
    for name, number in then.items():
        try:
            yield name, number, version(name)
        except PackageNotFoundError:
            yield name, number, "none"
    python = record.facts.get("machine", {}).get("python")
    if python:
        yield "python", python, platform.python_version()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
