"""Reproduction: train a version again from what is recorded, in a memory of its own, and compare.

Nothing of Prefect or of the home is touched: stages run as the functions that they are, on a store that is thrown away.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from flows.lineage import provenance
from flows.lineage.link import OK
from flows.lineage.model_version import Trace
from flows.lineage.walk import contradictions
from flows.recording import code_version
from flows.use_case import UseCase
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.errors import DataGateError, PackagingError, StewardError, UsageError
from ml.estimator import Candidate, FitResources
from ml.package import MANIFEST, Package, to_files
from ml.simulators import SIMULATORS
from tasks import packaging
from tasks.evaluate import choose, load_fitted_model
from tasks.locate import DatasetSource
from tasks.source import read
from tasks.split import split
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import load_dataset
from tasks.tracking import registry
from tasks.train import fit, rebuilt
from tasks.validate import validate

TRAIN, REFIT = "train ", "refit "
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Compared:
    """One thing that was made again: what it was then and is now, mostly a digest."""

    what: str
    same: bool
    then: str
    now: str


def reproduce(trace: Trace, case: UseCase) -> Iterator[Compared]:
    """Each stage, each file of the package and last the predictions, made again and compared.

    Raises UsageError where the facts are gone, PackagingError where the package is broken, and DataGateError where a
    source file is gone or another. A gate that stops the run now is a difference, and ends it.
    """
    if not trace.facts:
        raise UsageError(
            f"the facts of {trace.version.name} version {trace.version.number}",
            "none",
            "see `steward lineage`; restore MLflow's artifacts",
        )
    if trace.package.path is None:
        raise PackagingError(
            "the package that was registered", trace.package.why, "restore the model's artifacts"
        )
    contract = parse(trace.package.json(provenance.CONTRACT))
    simulator = contract.read.simulator
    if simulator and simulator not in SIMULATORS:
        raise DataGateError(f"the simulator {simulator}", "none of that name", "check out the code of then")
    files = list(_files(trace))
    items = next((file for file in files if contract.items and file.name == contract.items.file), None)
    located = DatasetSource(trace.facts["data"], contract, tuple(f for f in files if f is not items), items)
    with tempfile.TemporaryDirectory(prefix="steward-reproduce-") as scratch:
        try:
            yield from _run(trace, case, located, Store(Path(scratch)))
        except StewardError as refused:
            yield Compared(f"gate {refused.gate}", False, "passed", str(refused))


def _files(trace: Trace) -> Iterator[Path]:
    for file in provenance.files(trace):
        if file.status != OK or file.path is None:
            raise DataGateError(
                f"{file.name} with the sha256 {file.sha256[:12]}",
                f"another file {file.path}" if file.path else "none",
                "put the file back where it was, or in STEWARD_DATA_DIR",
            )
        yield file.path


def _run(trace: Trace, case: UseCase, located: DatasetSource, store: Store) -> Iterator[Compared]:
    contract, asked = located.contract, trace.facts["asked"]
    raw = read(located, store)
    yield _stage(trace, "source", raw)
    as_of = datetime.fromisoformat(asked["as_of"]) if asked["as_of"] else None
    clean = validate.fn(raw, contract, as_of, store)
    yield _stage(trace, "validate", clean)
    parts = split.fn(clean, contract, case.split, datetime.now(UTC), store)
    yield _stage(trace, "split", parts)
    fitted: dict[str, StoredResult] = {}
    for name, resources in _turns(trace):
        candidate = _candidate(trace, case, name)
        fitted[name] = fit(name, candidate, parts, resources, asked["budget"], store)
        yield _stage(trace, f"{TRAIN}{name}", fitted[name])
    leader = next(line for line in choose.fn(fitted, parts, case.evaluator) if line["leads"])
    name, chosen = leader["candidate"], trace.version.tags["candidate"]
    yield Compared("choice", name == chosen, chosen, name)
    settings, trials = trace.settings, asked.get("trials", 0)
    resources = FitResources(asked["seed"], settings.threads, trials=trials, device=settings.device)
    again = [stage.removeprefix(REFIT) for stage in trace.stages if stage.startswith(REFIT)]
    finals: dict[str, StoredResult] = {}
    for final in dict.fromkeys((*again, name)):
        # The task without Prefect around it; a plain function where nothing is fitted again.
        finalise = getattr(case.final_fit, "fn", case.final_fit)
        finals[final] = finalise(
            final, _candidate(trace, case, final), fitted[final], parts, resources, store
        )
        if f"{REFIT}{final}" in trace.stages:
            yield _stage(trace, f"{REFIT}{final}", finals[final])
    learned = [load_dataset(parts, p) for p in ("train", "valid", "refit") if p in parts.table_names]
    entities = np.unique(np.concatenate([case.evaluator.training_keys(part) for part in learned]))
    packed = Package(load_fitted_model(finals[name]), contract.source, leader["decision"], entities)
    yield from _package(trace, packed)
    yield _predictions(trace, packed, load_dataset(parts, "test"))


def _stage(trace: Trace, name: str, made: StoredResult) -> Compared:
    then = str(trace.stages[name]["digest"])
    return Compared(name, made.digest == then, then, made.digest)


def _turns(trace: Trace) -> Iterator[tuple[str, FitResources]]:
    """The candidates that were fitted then, in their order, each with the time that it had.

    The clock stops only those that it stopped then: a slower machine is no other model.
    """
    asked, spent = trace.facts["asked"], 0.0
    boards = {line["candidate"]: line for line in trace.facts["leaderboard"]}
    for stage, line in trace.stages.items():
        if stage.startswith(TRAIN):
            name = stage.removeprefix(TRAIN)
            left = asked["budget"] - spent if boards[name]["stopped_by"] == "budget" else float("inf")
            # The trials that time allowed then.
            trials = len(boards[name].get("made_of", {}).get("trials", ()))
            settings = trace.settings
            yield name, FitResources(asked["seed"], settings.threads, left, trials, settings.device)
            spent += line["seconds"]


def _candidate(trace: Trace, case: UseCase, name: str) -> Candidate:
    """The candidate as it was told then; today's of that name where that is not recorded."""
    told = trace.stages[f"{TRAIN}{name}"].get("parameters", {})
    kind = told.get("candidate", "")
    if not kind.startswith("ml."):
        return case.candidates[name]
    try:
        made: Candidate = rebuilt(told)
    except (ImportError, AttributeError, TypeError):
        raise PackagingError(
            f"{name} as {kind} of {sorted(set(told) - {'candidate'})}",
            "code that has no such",
            "check out the code of then",
        ) from None
    return made


def _package(trace: Trace, packed: Package) -> Iterator[Compared]:
    """Each file of the package by its sha256, and the code that reads them."""
    files = to_files(packed)
    now = json.loads(files[MANIFEST])
    then = trace.package.manifest
    for name in sorted({*then["files"], *now["files"]}):
        before, after = then["files"].get(name, "none"), now["files"].get(name, "none")
        yield Compared(name, before == after, before, after)
    yield Compared("code of the package", then["code"] == now["code"], then["code"], now["code"])


def _predictions(trace: Trace, packed: Package, test: Dataset) -> Compared:
    """The answers to the golden rows, within 1e-12; where those are gone, to the first test rows."""
    golden = trace.golden()
    if golden.path:
        rows = pd.read_parquet(golden.path / "golden.parquet")
        then = pd.read_parquet(golden.path / "predictions.parquet")
        what = f"{PREDICTIONS} for {len(rows)} golden rows"
    else:
        rows = test.frame.head(packaging.GOLDEN_ROWS).reset_index(drop=True)
        folder = registry.download_verified(trace.client, trace.version)
        then, _ = packaging.predict_in_clean_process(folder, rows)
        what = f"{PREDICTIONS} for {len(rows)} test rows (the golden ones are gone)"
    now = packed.predict(rows)
    try:
        packaging.assert_same_predictions(then, now)
    except PackagingError as refused:
        return Compared(what, False, refused.expected, refused.got + _apart(then, now))
    return Compared(what, True, "within 1e-12", "within 1e-12")


def _apart(then: pd.DataFrame, now: pd.DataFrame) -> str:
    """How far the numbers are apart, where they can be held against one another."""
    if then.shape != now.shape:
        return ""
    numbers = list(then.select_dtypes("float"))
    gap = np.abs(then[numbers].to_numpy() - now[numbers].to_numpy())
    return f", up to {gap.max():.3g} apart" if gap.size else ""


def conditions(trace: Trace) -> list[str]:
    """What is not as it was then, of all that could make a difference."""
    facts, settings = trace.facts, trace.settings
    found = [f"{name} {now}, then {then}" for name, then, now in provenance.versions(trace) if then != now]
    then, now = facts.get("code", {}).get("digests", {}), code_version.code().digests
    then = then or {"ml": trace.package.manifest["code"]}
    found += [f"other code in {folder}/" for folder in then if then[folder] != now[folder]]
    threads = facts.get("machine", {}).get("threads", settings.threads)
    found += [f"{settings.threads} threads, then {threads}"] if threads != settings.threads else []
    stopped = [line["candidate"] for line in facts["leaderboard"] if line["stopped_by"] == "budget"]
    found += [f"the clock stopped {name}, where it stood then" for name in stopped]
    return found + [f"the record contradicts itself: {said}" for said in contradictions(trace)]


def skipped(trace: Trace) -> Mapping[str, str]:
    """Candidates that had no turn then and get none now, and why."""
    return {line["candidate"]: line["why"] for line in trace.facts.get("skipped", [])}
