"""Assign rows to stratified cross-validation folds that keep units whole."""

import numpy as np


def assign_folds(units: np.ndarray, truth: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return a fold (int64, 0 to `folds` - 1) for each row, shape (rows,).

    All rows of a unit (`units`: uint64, one per row) get the same fold. `truth` (rows,) has the classes 0 and 1 to be
    stratified, or one constant value for no stratification. Folds depend on the content of each unit, its hash and
    the seed, never on the order of rows. Every fold gets both classes. Raises ValueError where the units do not allow
    that, or are fewer than the folds.
    """
    unit_hashes, unit_of_row = np.unique(units, return_inverse=True)
    positives = np.bincount(unit_of_row, weights=truth).astype(np.int64)
    negatives = np.bincount(unit_of_row).astype(np.int64) - positives
    possible = _max_folds(positives, negatives)
    if not 2 <= folds <= possible:
        raise ValueError(
            f"expected at least 2 folds that each have both classes, got {folds} folds of units for {possible}; "
            "use fewer folds or more data"
        )
    # Largest units first, as they are the hardest to balance; random order among equals.
    order = np.lexsort((mix_hashes(unit_hashes, seed), -(positives + negatives)))
    fold_of_unit = np.full(len(unit_hashes), -1)
    _place_first_units(fold_of_unit, order, positives, negatives, folds)
    _place_remaining_units(fold_of_unit, order[positives[order] > 0], positives, folds)
    _place_remaining_units(fold_of_unit, order[positives[order] == 0], negatives, folds)
    return fold_of_unit[unit_of_row]


def max_folds(units: np.ndarray, truth: np.ndarray) -> int:
    """Count the folds that could each have both classes; the number of units where `truth` is constant."""
    unit_of_row = np.unique(units, return_inverse=True)[1]
    positives = np.bincount(unit_of_row, weights=truth).astype(np.int64)
    return _max_folds(positives, np.bincount(unit_of_row).astype(np.int64) - positives)


def _max_folds(positives: np.ndarray, negatives: np.ndarray) -> int:
    if not positives.any() or not negatives.any():
        return len(positives)
    pairs_of_pure_units = min(int((negatives == 0).sum()), int((positives == 0).sum()))
    return int(((positives > 0) & (negatives > 0)).sum()) + pairs_of_pure_units


def _place_first_units(
    fold_of_unit: np.ndarray, order: np.ndarray, positives: np.ndarray, negatives: np.ndarray, folds: int
) -> None:
    """Give each fold one unit of both classes or, where these run out, one unit of each class."""
    if not positives.any() or not negatives.any():
        return
    both = order[(positives[order] > 0) & (negatives[order] > 0)][:folds]
    fold_of_unit[both] = np.arange(len(both))
    folds_left = folds - len(both)
    for other_class in (negatives, positives):
        fold_of_unit[order[other_class[order] == 0][:folds_left]] = np.arange(len(both), folds)


def _place_remaining_units(
    fold_of_unit: np.ndarray, order: np.ndarray, weights: np.ndarray, folds: int
) -> None:
    """Place the units of `order` that have no fold yet so that the sums of `weights` by fold become even.

    Units of equal weight are placed together, which is fast for many units of one row.
    """
    placed = fold_of_unit >= 0
    loads = np.bincount(fold_of_unit[placed], weights=weights[placed], minlength=folds)
    remaining = order[~placed[order]]
    for weight in np.unique(weights[remaining])[::-1]:
        equal = remaining[weights[remaining] == weight]
        fold_of_unit[equal] = _least_loaded_folds(loads, int(weight), len(equal))
        loads += weight * np.bincount(fold_of_unit[equal], minlength=folds)


def _least_loaded_folds(loads: np.ndarray, weight: int, count: int) -> np.ndarray:
    """Choose the folds of `count` units of one weight, so that the highest load stays lowest; shape (count,)."""
    # List each fold as often as it may be needed, with the load that the n-th unit would find; take the lowest loads.
    needed = np.ceil((loads.max() - loads) / weight).astype(np.int64) + count // len(loads) + 1
    needed = np.minimum(needed, count)
    fold = np.repeat(np.arange(len(loads)), needed)
    nth = np.arange(len(fold)) - np.repeat(np.cumsum(needed) - needed, needed)
    return fold[np.lexsort((fold, loads[fold] + nth * weight))[:count]]


def mix_hashes(values: np.ndarray, seed: int) -> np.ndarray:
    """Hash to 64 bits with the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    step = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    mixed = values.astype(np.uint64) + np.uint64(step)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
