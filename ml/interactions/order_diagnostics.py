"""Whether the order of events in histories is the users', or comes from how the log was written."""

from typing import Any

import numpy as np

from ml.interactions.histories import Histories

# From this share on, an order is too regular to be believed unseen; half is chance.
SUSPICIOUS = 0.75
# Up to this share there is hardly any order at all.
NEAR_CHANCE = 0.6
# Pairs of items that have to meet twice, or foretold transitions, before a share is read.
ENOUGH = 30
# Below this share of simultaneous events, what their order is can change little.
SOME = 0.05


def evidence(histories: Histories) -> dict[str, Any]:
    """Shares that tell a real order from an artefact, and `meaning`, a sentence; a share of too little is None.

    `simultaneous`: of adjacent events, those with equal times (None where no times are known). `kept`: how probably
    two meetings of the same two items, adjacent in histories, were in one direction; the same for the events at one
    instant (`kept_simultaneous`) and at different ones (`kept_apart`). `foretold`: of the last transitions of users,
    those that the transitions before them, of all users, foretell better forward than reversed; ties count as half.
    Half is chance for all but the first. `pairs` is how many pairs of items met twice.
    """
    first, second, together, last = _adjacent(histories)
    kept, pairs = _kept(first, second, histories.catalogue)
    within, _ = _kept(first[together], second[together], histories.catalogue)
    apart, _ = _kept(first[~together], second[~together], histories.catalogue)
    timed = not np.isnan(histories.times).any()
    found = {
        "simultaneous": float(together.mean()) if timed and len(first) else None,
        "kept": kept,
        "kept_simultaneous": within if timed else None,
        "kept_apart": apart if timed else None,
        "foretold": _foretold(first, second, last, histories.catalogue),
        "pairs": pairs,
    }
    return {**found, **_read(found)}


def _adjacent(histories: Histories) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of adjacent events with different items: both items, whether at one instant, and whether a user's last ones."""
    at = np.flatnonzero(histories.users[1:] == histories.users[:-1])
    at = at[histories.items[at] != histories.items[at + 1]]
    together = histories.times[at] == histories.times[at + 1]
    return histories.items[at], histories.items[at + 1], together, histories.since[at + 1] == 0


def _kept(first: np.ndarray, second: np.ndarray, catalogue: int) -> tuple[float | None, int]:
    """Mean over meetings of the share of the other meetings of the same items in the same direction; pairs of items.

    With f of n meetings forward, two of them agree with the chance (f(f - 1) + b(b - 1)) / n(n - 1), b = n - f, whose
    mean is 1/2 where directions are drawn: unlike the share of the more frequent direction, it needs no large n.
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    _, pair, met = np.unique(low * catalogue + high, return_inverse=True, return_counts=True)
    forward = np.bincount(pair, first < second, minlength=len(met))[met > 1]
    met = met[met > 1]
    agree = forward * (forward - 1) + (met - forward) * (met - forward - 1)
    if len(met) < ENOUGH:
        return None, len(met)
    return float(np.average(agree / (met * (met - 1)), weights=met)), len(met)


def _foretold(first: np.ndarray, second: np.ndarray, last: np.ndarray, catalogue: int) -> float | None:
    seen, times = np.unique(first[~last] * catalogue + second[~last], return_counts=True)

    def count(keys: np.ndarray) -> np.ndarray:
        at = np.minimum(np.searchsorted(seen, keys), max(len(seen) - 1, 0))
        return np.where(seen[at] == keys, times[at], 0) if len(seen) else np.zeros(len(keys))

    forward = count(first[last] * catalogue + second[last])
    reversed_ = count(second[last] * catalogue + first[last])
    known = forward + reversed_ > 0
    if known.sum() < ENOUGH:
        return None
    return float((np.sign(forward - reversed_)[known].mean() + 1) / 2)


def _read(found: dict[str, Any]) -> dict[str, Any]:
    """`suspicious`, and what it means."""
    simultaneous, within, apart = (
        found[name] for name in ("simultaneous", "kept_simultaneous", "kept_apart")
    )
    if (simultaneous or 0) >= SOME and (within or 0) >= SUSPICIOUS:
        return {
            "suspicious": True,
            "meaning": f"{simultaneous:.0%} of adjacent events have equal times, and yet {within:.0%} of meetings of "
            "the same two items there keep one direction, where half would be chance: the log was written in an order "
            "of its own, and a part of every score may be that order, above all of models that learn what follows what",
        }
    kept = apart if apart is not None else found["kept"]
    if kept is None:
        return {
            "suspicious": False,
            "meaning": f"only {found['pairs']} pairs of items followed one another twice: too few to tell whether the "
            "order of events is the users' own",
        }
    said = f"{kept:.0%} of meetings of the same two items keep one direction, where half would be chance"
    if kept >= SUSPICIOUS:
        return {
            "suspicious": True,
            "meaning": f"{said}: either one thing truly leads to the other, or items were offered or written down in a "
            "fixed order, and models that learn what follows what may owe their score to it",
        }
    if kept >= NEAR_CHANCE:
        return {
            "suspicious": False,
            "meaning": f"{said}: some order, as habits and what is new make it, and a fixed order of items in the "
            "source would",
        }
    return {
        "suspicious": False,
        "meaning": f"{said}: no sign that the order of events comes from how the log was written",
    }
