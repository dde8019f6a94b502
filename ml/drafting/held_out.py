"""Hold drafted rules against other rows: loosen or drop what raises alarms there, and measure the rest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.data.limits import wilson_lower_limit
from ml.drafting import column_rules
from ml.drafting.columns import Column
from ml.drafting.proposals import DraftRule
from ml.drafting.spellings import Misspelling
from ml.drafting.violations import violations

# Share of rows that one rule, and all rules together, may quarantine of rows of the same kind.
MAX_OF_RULE, MAX_OF_ALL = 0.002, 0.01
MAX_WARNED = 0.01
WIDE_MARGIN = 2.0
BATCHES = 200
# Rows of a resampled batch: the share of refused ones changes little beyond.
MAX_BATCH_ROWS = 20_000


@dataclass(frozen=True)
class FalseAlarms:
    """What the rules do to rows that neither drafted nor loosened them.

    `quarantined` is the share of `rows`, with its upper 95 % limit; `refused` is the share of resampled batches of
    `batch_rows` rows that are refused.
    """

    rows: int
    quarantined: float
    upper: float
    batch_rows: int
    refused: float

    def describe(self) -> str:
        """Return the sentence that the command prints."""
        return (
            f"expected false alarms per batch of {self.batch_rows:,} rows: {self.quarantined * self.batch_rows:,.0f} "
            f"rows in quarantine ({self.quarantined:.2%}; below {self.upper:.2%} with 95 % confidence), and "
            f"{self.refused:.1%} of batches refused; measured on {self.rows:,} rows that drafted no rule"
        )


@dataclass(frozen=True)
class Evidence:
    """What rules are loosened with: the columns of both halves, codes and misspellings by column."""

    both: Mapping[str, Column]
    codes: Mapping[str, Sequence[float]]
    misspelt: Mapping[str, Sequence[Misspelling]]


def loosen(rules: Sequence[DraftRule], held_out: pd.DataFrame, evidence: Evidence) -> list[DraftRule]:
    """Return the rules without those that raise alarms on held-out rows; a few are loosened, or only warn."""
    kept = [found for rule in rules if (found := _loosened(rule, held_out, evidence)) is not None]
    while True:
        masks = {i: violations(rule, held_out) for i, rule in enumerate(kept) if rule.action == "quarantine"}
        if not masks or np.logical_or.reduce([*masks.values()]).mean() <= MAX_OF_ALL:
            return kept
        worst = max(masks, key=lambda i: int(masks[i].sum()))
        kept[worst] = _warning(kept[worst], int(masks[worst].sum()), len(held_out))


def _loosened(rule: DraftRule, held_out: pd.DataFrame, evidence: Evidence) -> DraftRule | None:
    broken = int(violations(rule, held_out).sum())
    rows = len(held_out)
    if rule.action == "fail":
        return lowered(rule, broken / max(rows, 1))
    if broken <= _allowed(rows):
        return rule
    column = rule.columns[0]
    is_numeric = evidence.both[column].is_numeric
    if rule.type == column_rules.BETWEEN or (rule.type == column_rules.IN_SET and is_numeric):
        again = column_rules.range_rules(evidence.both[column], evidence.codes.get(column, ()), WIDE_MARGIN)
    elif rule.type == column_rules.IN_SET:
        again = column_rules.category_rules(evidence.both[column], evidence.misspelt.get(column, ()))
    else:
        again = []
    for wider in again:
        left = int(violations(wider, held_out).sum())
        if left <= _allowed(rows):
            reason = f"{wider.reason}; loosened, as a narrower rule raised {broken:,} alarms on {rows:,} other rows"
            return replace(wider, action=rule.action, reason=reason, doubt=max(rule.doubt, 0.4))
    return _warning(rule, broken, rows) if broken <= MAX_WARNED * rows else None


def lowered(rule: DraftRule, missing: float) -> DraftRule | None:
    """Return a rule about missing cells that a batch with this share of them passes; None where nothing is left."""
    present, mostly = 1.0 - missing, float(rule.kwargs["mostly"])
    if present - 0.5 * column_rules.MISSING_MARGIN >= mostly:
        return rule
    lower = math.floor((present - column_rules.MISSING_MARGIN) * 100) / 100
    return replace(rule, kwargs={**rule.kwargs, "mostly": lower}) if lower > 0 else None


def _allowed(rows: int) -> float:
    """Return how many alarms a rule may raise: of few rows, one is no evidence."""
    return max(1.0, MAX_OF_RULE * rows)


def _warning(rule: DraftRule, broken: int, rows: int) -> DraftRule:
    reason = f"{rule.reason}; only a warning, as it raised {broken:,} alarms on {rows:,} other rows"
    return replace(rule, action="warn", reason=reason, doubt=max(rule.doubt, 0.5))


def measure(
    rules: Sequence[DraftRule],
    frame: pd.DataFrame,
    broken_by_type: np.ndarray,
    batch_rows: int,
    budget: float,
) -> FalseAlarms:
    """Measure false alarms on rows that no rule has seen; `broken_by_type` are rows that are quarantined anyway.

    Batches are drawn from the rows with replacement. One is refused where more than `budget` is in quarantine, or a
    rule with the action fail is broken.
    """
    quarantined = broken_by_type.copy()
    failing = []
    for rule in rules:
        mask = violations(rule, frame) if rule.action in ("quarantine", "fail") else None
        if mask is not None and rule.action == "quarantine":
            quarantined |= mask
        elif mask is not None:
            failing.append((mask, float(rule.kwargs.get("mostly", 1.0))))
    rows = len(frame)
    share = float(quarantined.mean()) if rows else 0.0
    size = min(batch_rows, MAX_BATCH_ROWS)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(BATCHES if rows else 0):
        drawn = rng.integers(0, rows, size)
        refused += quarantined[drawn].mean() > budget or any(
            1 - mask[drawn].mean() < mostly for mask, mostly in failing
        )
    return FalseAlarms(rows, share, _upper_limit(int(quarantined.sum()), rows), batch_rows, refused / BATCHES)


def _upper_limit(count: int, rows: int) -> float:
    """Return the upper 95 % limit of a share (Wilson, 1927)."""
    return 1.0 - float(wilson_lower_limit(rows - count, rows, 0.05)) if rows else 1.0
