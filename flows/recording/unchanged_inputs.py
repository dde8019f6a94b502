"""News: whether there is anything that the last decided run of a champion did not know."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.recording.code_version import FOLDERS
from ml.contract.schema import Contract
from ml.package import code_digest
from ml.serialization import class_name
from tasks.settings import ROOT
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.train import LIBRARIES


def question(case: Any, contract: Contract, source: StoredResult, asked: Mapping[str, Any]) -> str:
    """The key of everything that an outcome hangs on: data, contract, use case, what was asked, code and libraries."""
    return key_of(
        "decided",
        Path(__file__),
        (*LIBRARIES, "great_expectations", "pandas"),
        source=source.digest,
        contract=contract.source,
        case=case.name,
        candidates={name: [class_name(c), asdict(c)] for name, c in case.candidates.items()},
        judge=[class_name(case.judge), asdict(case.judge)],
        gates=asdict(case.gates),
        split=case.split.__name__,
        finalise=case.finalise.__name__,
        asked={name: str(asked[name]) for name in ("seed", "budget", "trials", "as_of")},
        all_code=[code_digest(ROOT / folder) for folder in FOLDERS],
    )


def decided(store: Store, key: str) -> Mapping[str, Any] | None:
    """What the run that was decided on this question came to; None where there was none."""
    known = store.lookup(key)
    return known.facts if known else None


def remember(store: Store, key: str, outcome: Mapping[str, Any]) -> None:
    """From now on the question is no news; an answer with another champion takes the place of an earlier one."""
    known = decided(store, key)
    if not known or known["version"] != outcome["version"]:
        Store(store.folder, fresh=True).get_or_compute(key, lambda: StageResult({}, outcome))
