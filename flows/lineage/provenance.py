"""Origins: what a model came from, as recorded and as it is now: contract, source, code, libraries."""

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flows.lineage.link import CHANGED, GONE, OK, UNCHECKED, Link, worst
from flows.lineage.model_version import Trace
from flows.recording import code_version
from ml.simulators import SIMULATORS
from tasks.storage.content_store import StageResult, Store

CONTRACT = "contract.json"


@dataclass(frozen=True)
class File:
    """A file that was read: its sha256 then, and where a file of that name lies now, if anywhere."""

    name: str
    sha256: str
    status: str
    path: Path | None


def files(trace: Trace) -> list[File]:
    """The files that the run read, each looked for where it was and in today's folder of data sets."""
    return [
        _found(trace, name, sha) for name, sha in trace.facts["source"]["origin"].get("files", {}).items()
    ]


def _found(trace: Trace, name: str, sha: str) -> File:
    facts, folder = trace.facts, trace.settings.data_dir
    places = [Path(path) for path in (*facts.get("files", []), facts["asked"]["data"])]
    # A contract may name another folder than its own.
    folders = dict.fromkeys([facts["data"], *(path.parent.name for path in places)])
    places += [folder / one / name for one in folders] if folder else []
    there = [path for path in places if path.name == name and path.is_file()]
    same = next((path for path in there if _sha256(path) == sha), None)
    if same:
        return File(name, sha, OK, same)
    return File(name, sha, CHANGED if there else GONE, there[0] if there else None)


def source(trace: Trace) -> Link:
    """Files by their sha256, or a simulator by what it makes now; with what the publisher is recorded to say."""
    facts, about = trace.facts["source"], trace.facts.get("about", {})
    origin = facts["origin"]
    published = tuple(f"{k}: {about[k]}" for k in ("publisher", "url", "licence") if about.get(k))
    recorded = {**origin, **{k: about.get(k) for k in ("publisher", "url", "licence")}}
    if "simulator" in origin:
        said = f"simulator {origin['simulator']}, {origin['rows']:,} rows from seed {origin['seed']}"
        return Link("source", said, _simulated(trace, origin), published, recorded)
    found = files(trace)
    each = tuple(f"{one.path or one.name}: sha256 {one.sha256[:12]}, {one.status}" for one in found)
    recorded["found"] = {one.name: {"status": one.status, "path": str(one.path)} for one in found}
    return Link(
        "source", f"{len(found)} file(s)", worst(*(one.status for one in found)), each + published, recorded
    )


def _simulated(trace: Trace, origin: dict[str, Any]) -> str:
    """Whether the simulator still makes those rows."""
    if origin["simulator"] not in SIMULATORS:
        return GONE
    made = SIMULATORS[origin["simulator"]](origin["rows"], origin["seed"])
    with tempfile.TemporaryDirectory() as scratch:
        again = Store(Path(scratch)).get_or_compute(
            "simulated", lambda: StageResult({"rows": made.rows, "oracle": made.oracle}, {})
        )
    return OK if again.digest == trace.stages["source"]["digest"] else CHANGED


def contract(trace: Trace) -> Link:
    """The contract inside of the package, and the file of that name now."""
    digest = trace.package.manifest.get("files", {}).get(CONTRACT, "")
    asked = trace.facts.get("asked", {}).get("contract") or trace.facts.get("data", trace.data)
    path = Path(trace.facts.get("contract_file") or asked)
    if path.suffix != ".json":
        path = trace.settings.contracts / trace.case.replace("-", "_") / f"{asked}.json"
    said, recorded = f"{trace.version.name}, {path}", {"digest": digest, "file": str(path)}
    if not digest:
        return Link(
            "contract",
            said,
            UNCHECKED,
            ("the package, which tells what it was, is not there to compare",),
            recorded,
        )
    said = f"{trace.version.name} {digest[:12]}, {path}"
    if not path.is_file():
        return Link("contract", said, GONE, ("the package still holds it",), recorded)
    try:
        # The order of the columns has a meaning, white space has none.
        same = json.dumps(json.loads(path.read_bytes())) == json.dumps(trace.package.json(CONTRACT))
    except ValueError:
        same = False
    details = () if same else ("the file says something else now; the package still holds what was",)
    return Link("contract", said, OK if same else CHANGED, details, recorded)


def code(trace: Trace) -> Link:
    """Whether the code of then can still be found: here as it lies, or by its commit."""
    then, now = trace.facts.get("code", {}), code_version.code()
    commit, dirty = trace.facts.get("commit"), then.get("dirty")
    digests = then.get("digests", {})
    other = [folder for folder, digest in digests.items() if now.digests.get(folder) != digest]
    said = (f"commit {commit[:12]}" if commit else "no commit") + (
        " and uncommitted changes" if dirty else ""
    )
    recorded = {"then": dict(then), "now": {"commit": now.commit, "dirty": now.dirty, "digests": now.digests}}
    if digests and not other:
        return Link("code", f"{said}, as it lies here", OK, (), recorded)
    details = [f"other code here now: {', '.join(other)}"] if other else []
    details += ["whether that commit was all is not recorded"] if commit and dirty is None else []
    known = code_version.knows(commit) if commit else None
    if commit and known and not dirty:
        return Link("code", f"{said}, known to this repository", OK, tuple(details), recorded)
    if not digests and known is None:
        return Link("code", said, UNCHECKED, tuple(details), recorded)
    return Link("code", said, GONE, (*details, "the package still holds its `ml`"), recorded)


def libraries(trace: Trace) -> Link:
    """Versions then and now; our own is told by the code."""
    differ = [f"{name} {then} then, {now} now" for name, then, now in versions(trace) if then != now]
    recorded = {name: {"then": then, "now": now} for name, then, now in versions(trace)}
    said = (
        f"{len(recorded)} versions, {len(differ)} differ"
        if differ
        else f"{len(recorded)} versions, the same now"
    )
    return Link("libraries", said, CHANGED if differ else OK, tuple(differ), recorded)


def versions(trace: Trace) -> Iterator[tuple[str, str, str]]:
    """Name, version then, version now, of Python and of each library that is recorded."""
    then = {name: number for name, number in trace.facts["versions"].items() if name != "steward"}
    for name, number in then.items():
        try:
            yield name, number, version(name)
        except PackageNotFoundError:
            yield name, number, "none"
    python = trace.facts.get("machine", {}).get("python")
    if python:
        yield "python", python, platform.python_version()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
