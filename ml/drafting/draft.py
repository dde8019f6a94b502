"""A drafted contract: its JSON, which is checked as any other, and what is doubtful about it."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.json_text import MAX_BYTES
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.contract.values import MAX_RULES
from ml.drafting.held_out import FalseAlarms
from ml.drafting.proposals import SUM, DraftRule, Proposal
from ml.drafting.request import DraftRequest
from ml.errors import UsageError

# Rows from which a draft is made; of more, a random part.
MAX_SAMPLE = 60_000
MAX_QUARANTINED = 0.05
SHOWN_FILES = 10


@dataclass(frozen=True)
class Draft:
    """A drafted contract with the evidence of its points and rules, and its expected false alarms."""

    source: Mapping[str, Any]
    contract: Contract
    proposals: Sequence[Proposal]
    rules: Sequence[DraftRule]
    alarms: FalseAlarms

    @property
    def doubts(self) -> list[Proposal]:
        """Return what to look at, the most doubtful first."""
        points = [*self.proposals, *(Proposal(rule.name, rule.reason, rule.doubt) for rule in self.rules)]
        return sorted((point for point in points if point.review), key=lambda point: -point.doubt)


def assemble(
    request: DraftRequest,
    meta: Mapping[str, Any],
    proposals: Sequence[Proposal],
    rules: Sequence[DraftRule],
    alarms: FalseAlarms,
) -> Draft:
    """Return the draft with its JSON. Rules beyond the bound of a contract are left out, the last ones first."""
    kept = rules[:MAX_RULES]
    meta, stacked = _with_source_column(meta)
    proposals = [*proposals, *stacked]
    sums = {"sums": found} if (found := [rule.to_json() for rule in kept if rule.type == SUM]) else {}
    points = [proposal.to_json() for proposal in proposals]
    source = {
        "name": f"{request.case.name}.{request.name}",
        "expectations": [rule.to_json() for rule in kept if rule.type != SUM],
        "meta": {"schema_version": 2, **meta, **sums, "proposals": points},
    }
    if len(json.dumps(source, indent=2, ensure_ascii=False).encode()) > MAX_BYTES:
        raise UsageError(
            f"a table whose contract has at most {MAX_BYTES // 2**20} MB",
            "more: names, classes or categories are too long",
            "shorten them, or leave columns out of the file",
        )
    return Draft(source, parse(source), proposals, kept, alarms)


def _with_source_column(meta: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Proposal]]:
    """Let stacked files have a column with the name of each, which a contract of several needs and no model uses."""
    read, roles = meta["read"], meta["roles"]
    files = read["files"]
    if len(files) < 2 or "join" in read:
        return meta, []
    taken = {*read["columns"], read.get("row_column")}
    numbered = (f"file_{number}" for number in itertools.count(1))
    name = next(n for n in itertools.chain(["file"], numbered) if n not in taken)
    shown = ", ".join(files[:SHOWN_FILES]) + (
        f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
    )
    reason = f"the rows of {len(files)} files are stacked: {shown}; {name!r} says which, and is no feature"
    changed = {
        **meta,
        "description": f"{meta['description'].removesuffix('.')} of {len(files)} files: {shown}.",
        "read": {**read, "columns": {**read["columns"], name: "category"}, "source_column": name},
        "roles": {**roles, "ignored": [*roles.get("ignored", ()), name]},
    }
    return changed, [Proposal("read.source_column", reason, 0.1)]


def sample_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return all rows of a small table, and a random part of a large one in its order; the index has their places."""
    numbered = frame.reset_index(drop=True)
    if len(frame) <= MAX_SAMPLE:
        return numbered
    rows = np.random.default_rng(0).permutation(len(frame))[:MAX_SAMPLE]
    return numbered.iloc[np.sort(rows)]
