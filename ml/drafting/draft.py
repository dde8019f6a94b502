"""A drafted contract: its JSON, which is checked as any other, and what is doubtful about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.contract.values import MAX_RULES
from ml.drafting.held_out import FalseAlarms
from ml.drafting.proposals import SUM, DraftRule, Proposal
from ml.drafting.request import DraftRequest

# Rows from which a draft is made; of more, a random part.
MAX_SAMPLE = 60_000
MAX_QUARANTINED = 0.05


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
    sums = {"sums": found} if (found := [rule.to_json() for rule in kept if rule.type == SUM]) else {}
    points = [proposal.to_json() for proposal in proposals]
    source = {
        "name": f"{request.case.name}.{request.name}",
        "expectations": [rule.to_json() for rule in kept if rule.type != SUM],
        "meta": {"schema_version": 2, **meta, **sums, "proposals": points},
    }
    return Draft(source, parse(source), proposals, kept, alarms)


def sample_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return all rows of a small table, and a random part of a large one in its order; the index has their places."""
    numbered = frame.reset_index(drop=True)
    if len(frame) <= MAX_SAMPLE:
        return numbered
    rows = np.random.default_rng(0).permutation(len(frame))[:MAX_SAMPLE]
    return numbered.iloc[np.sort(rows)]
