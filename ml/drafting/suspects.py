"""Columns that may be known only after the outcome: too good alone, or with such a name."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ml.data.signal_share import measure_signal_share
from ml.data.target_leaks import ColumnAuc, correlation, measure_columns, sample_rows
from ml.drafting import names
from ml.drafting.columns import Column
from ml.drafting.proposals import Proposal
from ml.drafting.targets import TargetDraft

# A column is left out from this AUC on, and from the lower one where its name is one of things after the outcome.
MAX_AUC, MAX_AUC_OF_NAMED = 0.97, 0.75
# A column with this share of all signal is a doubtful point.
NOTABLE_AUC = 0.85
MAX_COLUMNS = 300


def find_suspects(
    columns: Sequence[Column], draft: TargetDraft, target: Column, used: Collection[str]
) -> tuple[list[str], list[Proposal]]:
    """Return the columns to leave out, and a proposal about each suspect.

    Of several classes the most frequent one counts. `used` are columns that are no features.
    """
    features = [column for column in columns if column.name != target.name and column.name not in used][
        :MAX_COLUMNS
    ]
    labelled = target.typed.notna().to_numpy()
    truth, is_binary = _truth(draft, target)[labelled].astype(float), not draft.is_number
    if not features or len(np.unique(truth)) < 2:
        return [], []
    rows = sample_rows(truth, is_binary, 0)
    frame = pd.DataFrame({c.name: c.typed[labelled].iloc[rows].to_numpy() for c in features})
    for column in features:  # the kinds that are measured: numbers and texts
        frame[column.name] = column.typed[labelled].iloc[rows].reset_index(drop=True)
    measured = measure_columns(frame, truth[rows], is_binary)
    share = measure_signal_share(frame, truth[rows], is_binary, measured)
    ignored, proposals = [], []
    for found in measured:
        by_name = names.has_word(found.column, names.AFTER_OUTCOME) or _is_follow_up(
            found.column, target.name
        )
        is_leak = found.is_leak or (share is not None and share.is_leak and share.column == found.column)
        proposal, leave_out = _suspect(replace(found, is_leak=is_leak), by_name, is_binary)
        if proposal:
            proposals.append(proposal)
            ignored += [found.column] * leave_out
    return ignored, proposals


def _truth(draft: TargetDraft, target: Column) -> np.ndarray:
    if draft.is_number:
        return target.typed.to_numpy(np.float64, na_value=np.nan)
    positive = draft.is_positive(target)
    return positive if positive is not None else (target.typed == target.present.mode().iloc[0]).to_numpy()


def _is_follow_up(column: str, target: str) -> bool:
    """Return whether a column is the time to an event that the target is about."""
    event = {"death", "died", "die", "event", "survived", "survival", "relapse", "failure"}
    return names.words(column) in (("time",), ("days",), ("months",)) and bool({*names.words(target)} & event)


def _suspect(found: ColumnAuc, by_name: bool, is_binary: bool) -> tuple[Proposal | None, bool]:
    auc = f"AUC {found.auc:.2f} alone (95 % interval {found.low:.2f} to {found.high:.2f})"
    if not is_binary:
        auc = f"rank correlation {correlation(found.auc):.2f} alone"
    place = f"roles.ignored.{found.column}"
    if found.is_leak or found.low > MAX_AUC:
        return Proposal(place, f"left out, as it nearly determines the target: {auc}", 0.95), True
    if by_name and found.low > MAX_AUC_OF_NAMED:
        return Proposal(
            place, f"left out: by its name it is known only after the outcome, and {auc}", 0.9
        ), True
    if by_name:
        reason = f"kept: is it known before the outcome? By its name it may not be; {auc}"
        return Proposal(f"roles.features.{found.column}", reason, 0.7), False
    if found.low > NOTABLE_AUC:
        return Proposal(
            f"roles.features.{found.column}", f"kept: is it known before the outcome? {auc}", 0.75
        ), False
    return None, False
