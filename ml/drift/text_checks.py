"""Compare each column of texts of a batch with its summary: missing texts, lengths, scripts, words, lost letters."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ml.drift.columns import compare_distribution, compare_missing
from ml.drift.finding import Finding, judge
from ml.drift.limits import Noise, share_difference_low, total_variation_noise
from ml.drift.numeric import MIN_ROWS
from ml.drift.summary import BatchColumns, BatchSummary
from ml.drift.texts import MAX_TEXTS, TextMeasures, TextSummary, script_distance


def compare_texts(reference: BatchSummary, batch: BatchColumns, noise: Noise) -> Iterator[Finding]:
    """Yield the findings of all columns of texts that batch and reference have."""
    for column in batch.texts:
        if column in reference.texts:
            measured = TextMeasures.of(batch.sample[column])
            yield from _compare(column, reference.texts[column], measured, noise)


def _compare(column: str, reference: TextSummary, measured: TextMeasures, noise: Noise) -> Iterator[Finding]:
    texts = len(measured.lengths)
    noise = Noise(
        min(noise.reference_units, MAX_TEXTS), min(noise.batch_units, max(measured.rows, 1)), noise.level
    )
    yield from compare_missing(column, reference.missing, texts, measured.rows, noise)
    if texts < MIN_ROWS or reference.lengths.values < MIN_ROWS:
        return
    noise = Noise(
        min(noise.reference_units, reference.lengths.values), min(noise.batch_units, texts), noise.level
    )
    for found in compare_distribution("distribution", column, reference.lengths, measured.lengths, noise):
        yield replace(
            found, text=f"the lengths of the texts differ by {found.effect:.2f} (Kolmogorov-Smirnov)"
        )
    distance = script_distance(reference, measured)
    shares = [*reference.scripts.values(), max(1.0 - sum(reference.scripts.values()), 0.0)]
    text = f"the shares of scripts, such as Latin, differ by {distance:.2f} (total variation)"
    low = distance - total_variation_noise(np.array(shares), noise)
    yield from judge("category_shares", column, distance, low, text)
    unknown = measured.unknown_share(reference.known_words)
    yield from judge(
        "unknown_words",
        column,
        unknown - reference.unknown,
        share_difference_low(reference.unknown, unknown, noise),
        f"{unknown:.0%} of the words of a text are rare or unknown, before {reference.unknown:.0%}",
    )
    if reference.lost_letters is None:
        return
    lost = measured.lost_letters
    yield from judge(
        "lost_letters",
        column,
        lost - reference.lost_letters,
        share_difference_low(reference.lost_letters, lost, noise),
        f"{lost:.1%} of the texts have question marks within words, before {reference.lost_letters:.1%}: letters lost "
        "in another encoding?",
    )
