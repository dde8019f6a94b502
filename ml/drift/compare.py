"""Compare a batch with the summary of an earlier one; differences are reported only where chance does not explain them.

The probability that a batch of the same process has any finding is at most 1 %, whatever its size: every check gets an
equal part of it, and an effect must exceed its bound by more than chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.row_split import targets
from ml.drift import columns as column_checks
from ml.drift.classes import class_shares, label_columns, pool_rare, share_angle, share_angle_noise
from ml.drift.finding import BOUNDS, Finding, judge, present
from ml.drift.labels import compare_labels
from ml.drift.limits import Noise
from ml.drift.log_checks import compare_log
from ml.drift.pauses import compare_pauses
from ml.drift.relations import changed_relations, summarize_relations
from ml.drift.summary import BatchColumns, BatchSummary
from ml.drift.text_checks import compare_texts

# The probability of a false alarm of a whole batch, and the checks of one column and of the batch as a whole.
LEVEL = 0.01
CHECKS_OF_COLUMN, CHECKS_OF_BATCH = 6, 10


@dataclass(frozen=True)
class Scope:
    """What is compared: with `labels` the target, and with `rows` the number of rows and the range of times."""

    labels: bool = True
    rows: bool = True


EVERYTHING = Scope()


def compare(
    reference: BatchSummary, rows: pd.DataFrame, contract: Contract, scope: Scope = EVERYTHING
) -> list[Finding]:
    """Return the differences of clean rows from the reference, severe ones first."""
    batch = BatchColumns.of(rows, contract)
    checks = CHECKS_OF_BATCH + CHECKS_OF_COLUMN * (
        len(batch.numbers) + len(batch.categories) + len(batch.texts) + 2 * len(batch.times)
    )
    noise = Noise(min(reference.units, reference.rows), batch.units, LEVEL / checks)
    found = list(column_checks.compare_columns(reference, batch, noise))
    found += compare_texts(reference, batch, noise)
    found = _with_relations(reference, batch, noise, found)
    if scope.rows:
        found += _compare_row_count(reference, len(rows))
        found += column_checks.compare_times(reference, batch, noise)
        if contract.roles.time:
            found += compare_pauses(contract.roles.time, reference.pauses, batch.pauses())
    if scope.labels and not contract.is_recommendation:
        found += _compare_target(reference, batch, noise)
    if reference.log is not None and contract.is_recommendation:
        found += compare_log(reference.log, rows, contract, noise)
    ignored = {kind for kind, action in contract.drift.actions.items() if action == "ignore"}
    exceptions = contract.drift.exceptions
    kept = [f for f in found if f.kind not in ignored and f.column not in exceptions]
    return sorted(kept, key=lambda finding: (not finding.severe, finding.column, finding.kind))


def _with_relations(
    reference: BatchSummary, batch: BatchColumns, noise: Noise, found: list[Finding]
) -> list[Finding]:
    """Add changed relations of columns that have no finding of their own; name swaps that only relations show."""
    # A column whose own values changed has other correlations too, and so have others with it.
    changed = {finding.column for finding in found if finding.severe}
    after = summarize_relations(batch.number_frame().drop(columns=list(changed), errors="ignore"))
    pairs = max(len(after.correlations), 1)
    limits = Noise(
        min(noise.reference_units, reference.relations.rows),
        min(noise.batch_units, after.rows),
        noise.level / pairs,
    )
    relations = changed_relations(reference.relations, after, limits, BOUNDS["column_relations"].moderate)
    for a, b in relations.swaps:
        text = f"has the values of {b!r}, and the other way round: their relations to other columns are exchanged"
        found = [*found, *present("swapped_columns", a, text)]
    named = {name for pair in relations.swaps for name in pair}
    for name, effect, low in zip(relations.columns, relations.effects, relations.lows, strict=True):
        if name not in named:
            text = f"a rank correlation with another column changed by {effect:.2f}"
            found = [*found, *judge("column_relations", name, float(effect), float(low), text)]
    return found


def _compare_row_count(reference: BatchSummary, rows: int) -> list[Finding]:
    lacking = 1.0 - rows / max(reference.rows, 1)
    return judge("row_count", "", lacking, lacking, f"{rows:,} rows, before {reference.rows:,}")


def _compare_target(reference: BatchSummary, batch: BatchColumns, noise: Noise) -> Iterator[Finding]:
    contract = batch.contract
    target = str(contract.roles.target)
    if target not in batch.sample or target in contract.drift.exceptions:
        return
    truth = targets(batch.sample, contract)
    if reference.target is not None:
        values = truth.to_numpy(np.float64)
        yield from column_checks.compare_numbers(target, reference.target, values, noise)
    if reference.classes and len(reference.classes) == len(contract.roles.labels) + 1:
        after = class_shares(truth.to_numpy(np.float64), len(contract.roles.labels))
        yield from _compare_classes(target, reference.classes, after, noise)
    labels = reference.labels
    several = bool(contract.roles.labels)
    if labels is None or (several and not labels.is_binary):
        return
    if labels.is_binary and not several:
        yield from _compare_class_balance(target, labels.mean, float(truth.mean()), noise)
    features, truth = label_columns(batch.features(), truth, contract)
    measured = compare_labels(labels, features, truth, noise.level)
    if measured is None:
        return
    if measured.high < 0.0:
        yield from present(
            "inverted_labels",
            target,
            f"features that predicted the target with an association of {labels.association:+.2f} now predict its"
            f" opposite, {measured.value:+.2f}",
        )
        return
    lost = 1.0 - measured.value / labels.association
    text = f"the association of the features with the target is {measured.value:.2f}, before {labels.association:.2f}"
    yield from judge("label_relation", target, lost, 1.0 - max(measured.high, 0.0) / labels.low, text)


def _compare_class_balance(target: str, before: float, after: float, noise: Noise) -> list[Finding]:
    """Compare shares of the positive class by Cohen's h, whose variance does not depend on them."""
    effect = abs(2 * np.arcsin(np.sqrt(after)) - 2 * np.arcsin(np.sqrt(before)))
    low = effect - noise.deviations * np.sqrt(noise.inverse_units)
    text = f"the positive class has {after:.1%} of the rows, before {before:.1%}"
    return judge("target_shares", target, float(effect), float(low), text)


def _compare_classes(
    target: str, before: tuple[float, ...], after: tuple[float, ...], noise: Noise
) -> list[Finding]:
    shares = pool_rare(before, after, noise)
    effect = share_angle(*shares)
    changes = np.array(after) - np.array(before)
    text = (
        f"the shares of the classes differ by {effect:.2f} (Cohen's h of several classes), that of one by"
        f" {np.abs(changes).max():.1%}"
    )
    return judge("target_shares", target, effect, effect - share_angle_noise(*shares, noise), text)
