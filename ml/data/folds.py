"""Inner folds: rows of one unit stay together, classes are spread as evenly as units allow."""

import numpy as np


def assign_folds(units: np.ndarray, truth: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold (int64, 0 to `folds` - 1) for each row, shape (rows,).

    `units` (uint64, one per row) stay whole; `truth` (rows,) holds 0 and 1 for classes to be spread, or one constant
    where there are none. The folds depend on what each unit holds, its hash and the seed, never on the order of rows.
    Every fold gets both classes. Raises ValueError where units do not allow that, or are fewer than the folds.
    """
    names, unit_of = np.unique(units, return_inverse=True)
    positives = np.bincount(unit_of, weights=truth).astype(np.int64)
    negatives = np.bincount(unit_of).astype(np.int64) - positives
    most = _most(positives, negatives)
    if not 2 <= folds <= most:
        raise ValueError(
            f"expected units for 2 and more folds that hold both classes, got {folds} folds of units for {most}; "
            "use fewer folds or more data"
        )
    # The largest units first, as they are the hardest to place; chance decides among equals.
    order = np.lexsort((_mixed(names, seed), -(positives + negatives)))
    of_unit = np.full(len(names), -1)
    _seed_folds(of_unit, order, positives, negatives, folds)
    _fill(of_unit, order[positives[order] > 0], positives, folds)
    _fill(of_unit, order[positives[order] == 0], negatives, folds)
    return of_unit[unit_of]


def most_folds(units: np.ndarray, truth: np.ndarray) -> int:
    """How many folds can each hold both classes; the number of units where `truth` is constant."""
    unit_of = np.unique(units, return_inverse=True)[1]
    positives = np.bincount(unit_of, weights=truth).astype(np.int64)
    return _most(positives, np.bincount(unit_of).astype(np.int64) - positives)


def _most(positives: np.ndarray, negatives: np.ndarray) -> int:
    if not positives.any() or not negatives.any():
        return len(positives)
    only_one = min(int((negatives == 0).sum()), int((positives == 0).sum()))
    return int(((positives > 0) & (negatives > 0)).sum()) + only_one


def _seed_folds(
    of_unit: np.ndarray, order: np.ndarray, positives: np.ndarray, negatives: np.ndarray, folds: int
) -> None:
    """Give each fold one unit of both classes or, where these run out, one unit of each class."""
    if not positives.any() or not negatives.any():
        return
    both = order[(positives[order] > 0) & (negatives[order] > 0)][:folds]
    of_unit[both] = np.arange(len(both))
    rest = folds - len(both)
    for one in (negatives, positives):
        of_unit[order[one[order] == 0][:rest]] = np.arange(len(both), folds)


def _fill(of_unit: np.ndarray, order: np.ndarray, weights: np.ndarray, folds: int) -> None:
    """Place the units of `order` that have no fold yet so that the folds' sums of `weights` come out even.

    Units of one weight are placed at once, in turn over the folds that lack most.
    """
    placed = of_unit >= 0
    loads = np.bincount(of_unit[placed], weights=weights[placed], minlength=folds)
    waiting = order[~placed[order]]
    for weight in np.unique(weights[waiting])[::-1]:
        same = waiting[weights[waiting] == weight]
        of_unit[same] = _turns(loads, int(weight), len(same))
        loads += weight * np.bincount(of_unit[same], minlength=folds)


def _turns(loads: np.ndarray, weight: int, number: int) -> np.ndarray:
    """The folds that `number` units of one weight go to, so that the highest load stays lowest."""
    # The n-th unit of a fold is wanted the more, the lower the load that it meets: take the `number` lowest.
    each = np.ceil((loads.max() - loads) / weight).astype(np.int64) + number // len(loads) + 1
    each = np.minimum(each, number)
    fold = np.repeat(np.arange(len(loads)), each)
    nth = np.arange(len(fold)) - np.repeat(np.cumsum(each) - each, each)
    return fold[np.lexsort((fold, loads[fold] + nth * weight))[:number]]


def _mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """64-bit hashes by the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    step = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    mixed = values.astype(np.uint64) + np.uint64(step)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
