"""Event-order diagnostics: whether histories are in the order of the users' actions or in that of the log's writer."""

from typing import TypedDict

import numpy as np

from ml.interactions.histories import Histories

# Direction agreement (chance: 0.5) from which an order is too regular to be trusted without inspection.
SUSPICIOUS_AGREEMENT = 0.75
# Direction agreement up to which there is hardly any order.
NEAR_CHANCE_AGREEMENT = 0.6
# Item pairs, or transitions, that an estimate needs.
MIN_PAIRS = 30
# Share of simultaneous events below which their order can change scores only a little.
MIN_SIMULTANEOUS_SHARE = 0.05


class OrderEstimates(TypedDict):
    """Estimates about adjacent events of different items; None where there is too little data.

    simultaneous: share of adjacent events with equal times (None without times).
    direction_agreement: probability that two occurrences of the same adjacent item pair have the same direction.
    direction_agreement_simultaneous, direction_agreement_distinct_times: the same among events at one instant, and
    among events at different instants (None without times).
    forward_predictability: share of the users' last transitions that are more frequent among all earlier transitions
    than their reverse is; ties count as half.
    item_pairs: number of item pairs that are adjacent more than once.

    Chance is 0.5 for all shares but `simultaneous`.
    """

    simultaneous: float | None
    direction_agreement: float | None
    direction_agreement_simultaneous: float | None
    direction_agreement_distinct_times: float | None
    forward_predictability: float | None
    item_pairs: int


class OrderDiagnostics(OrderEstimates):
    """The estimates, whether they are suspicious, and a sentence that interprets them."""

    suspicious: bool
    interpretation: str


def order_diagnostics(histories: Histories) -> OrderDiagnostics:
    """Estimate whether the order of events is an artefact of the log, which sequence models would exploit."""
    first, second, simultaneous, last = _transitions(histories)
    n_items = histories.n_items
    agreement, item_pairs = _direction_agreement(first, second, n_items)
    within, _ = _direction_agreement(first[simultaneous], second[simultaneous], n_items)
    apart, _ = _direction_agreement(first[~simultaneous], second[~simultaneous], n_items)
    timed = not np.isnan(histories.times).any()
    estimates: OrderEstimates = {
        "simultaneous": float(simultaneous.mean()) if timed and len(first) else None,
        "direction_agreement": agreement,
        "direction_agreement_simultaneous": within if timed else None,
        "direction_agreement_distinct_times": apart if timed else None,
        "forward_predictability": _forward_predictability(first, second, last, n_items),
        "item_pairs": item_pairs,
    }
    suspicious, interpretation = _interpret(estimates)
    return {**estimates, "suspicious": suspicious, "interpretation": interpretation}


def _transitions(histories: Histories) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return adjacent events of different items: both items, whether simultaneous, whether the user's last events."""
    position = np.flatnonzero(histories.users[1:] == histories.users[:-1])
    position = position[histories.items[position] != histories.items[position + 1]]
    simultaneous = histories.times[position] == histories.times[position + 1]
    last = histories.events_after[position + 1] == 0
    return histories.items[position], histories.items[position + 1], simultaneous, last


def _direction_agreement(first: np.ndarray, second: np.ndarray, n_items: int) -> tuple[float | None, int]:
    """Return the agreement of directions, averaged over occurrences, and the number of repeated item pairs.

    Of n occurrences of a pair, f in one direction and b = n - f in the other, two agree with the probability
    (f(f - 1) + b(b - 1)) / n(n - 1). For random directions its mean is 1/2 whatever n is, unlike that of the share of
    the more frequent direction.
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    _, pair, occurrences = np.unique(low * n_items + high, return_inverse=True, return_counts=True)
    forward = np.bincount(pair, first < second, minlength=len(occurrences))[occurrences > 1]
    occurrences = occurrences[occurrences > 1]
    agreeing = forward * (forward - 1) + (occurrences - forward) * (occurrences - forward - 1)
    if len(occurrences) < MIN_PAIRS:
        return None, len(occurrences)
    agreement = np.average(agreeing / (occurrences * (occurrences - 1)), weights=occurrences)
    return float(agreement), len(occurrences)


def _forward_predictability(
    first: np.ndarray, second: np.ndarray, last: np.ndarray, n_items: int
) -> float | None:
    earlier, counts = np.unique(first[~last] * n_items + second[~last], return_counts=True)

    def count(transitions: np.ndarray) -> np.ndarray:
        position = np.minimum(np.searchsorted(earlier, transitions), max(len(earlier) - 1, 0))
        if not len(earlier):
            return np.zeros(len(transitions))
        return np.where(earlier[position] == transitions, counts[position], 0)

    forward = count(first[last] * n_items + second[last])
    backward = count(second[last] * n_items + first[last])
    comparable = forward + backward > 0
    if comparable.sum() < MIN_PAIRS:
        return None
    return float((np.sign(forward - backward)[comparable].mean() + 1) / 2)


def _interpret(estimates: OrderEstimates) -> tuple[bool, str]:
    """Return whether the order is suspicious, and why."""
    simultaneous = estimates["simultaneous"] or 0.0
    within = estimates["direction_agreement_simultaneous"] or 0.0
    if simultaneous >= MIN_SIMULTANEOUS_SHARE and within >= SUSPICIOUS_AGREEMENT:
        return True, (
            f"{simultaneous:.0%} of adjacent events have equal times, and {within:.0%} of the repeated item pairs "
            "among them keep one direction (chance: 50%): the log was written in a fixed order, which scores may "
            "reward, most of all those of sequence models"
        )
    agreement = estimates["direction_agreement_distinct_times"]
    if agreement is None:
        agreement = estimates["direction_agreement"]
    if agreement is None:
        return False, (
            f"only {estimates['item_pairs']} item pairs are adjacent more than once: too few to tell whether the order "
            "of events is that of the users' actions"
        )
    finding = f"{agreement:.0%} of repeated item pairs keep one direction (chance: 50%)"
    if agreement >= SUSPICIOUS_AGREEMENT:
        return True, (
            f"{finding}: either one item leads to the other, or items were offered or recorded in a fixed order, which "
            "sequence models exploit"
        )
    if agreement >= NEAR_CHANCE_AGREEMENT:
        return False, (
            f"{finding}: some order, as habits and new items cause it, and as a fixed order in the source would"
        )
    return False, f"{finding}: no sign that the order of events comes from how the log was written"
