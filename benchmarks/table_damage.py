"""Ways to damage one table or its file; each returns a function of a clean table and a generator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.fault_cases import Damage

BLOCK = 4096
Rng = np.random.Generator
# The original of each copied row is drawn from the table.
Change = Callable[[pd.DataFrame, Rng], pd.DataFrame]


def text(frame: pd.DataFrame) -> bytes:
    """Return the table as the bytes of a CSV file."""
    return frame.to_csv(index=False).encode()


def with_copies(share: float, ids: tuple[str, ...], *changes: Change) -> Damage:
    """Append copies of random rows under new values of `ids`, changed by all `changes`, then shuffle."""

    def damage(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        picked = rng.integers(0, len(frame), int(share * len(frame)))
        copies = frame.iloc[picked].reset_index(drop=True)
        for column in ids:
            first = str(frame[column].iloc[0])
            if first[0].isupper():  # a letter and seven digits, as contracts require
                copies[column] = [f"{first[0]}{9_000_000 + i}" for i in range(len(copies))]
            else:
                copies[column] = [f"{first}-{i}" for i in range(len(copies))]
        for change in changes:
            copies = change(copies, rng)
        both = pd.concat([frame, copies], ignore_index=True)
        order = rng.permutation(len(both))
        dated = [c for c in both.columns if c.endswith("_on")]
        return both.iloc[order].sort_values(dated, kind="stable") if dated else both.iloc[order]

    return damage


def jitter(columns: tuple[str, ...], size: float) -> Change:
    """Multiply numbers by 1 plus a normal error of this size."""

    def change(copies: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        errors = {c: copies[c] * (1.0 + rng.normal(0.0, size, len(copies))) for c in columns}
        return copies.assign(**errors)

    return change


def shuffled(column: str) -> Change:
    """Give the copies the values of one another in one column."""
    return lambda copies, rng: copies.assign(**{column: rng.permutation(copies[column].to_numpy())})


def random_labels(column: str, then: Damage) -> Damage:
    """Shuffle the labels, so that there is nothing to learn, and damage the result."""
    return lambda frame, rng: then(frame.assign(**{column: rng.permutation(frame[column].to_numpy())}), rng)


def set_column(column: str, values: Callable[[pd.DataFrame, Rng], Any]) -> Damage:
    """Replace one column by what `values` makes of the table."""
    return lambda frame, rng: frame.assign(**{column: values(frame, rng)})


def set_part(column: str, share: float, values: Callable[[pd.Series], pd.Series]) -> Damage:
    """Replace a random share of the cells of one column."""

    def damage(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        chosen = rng.random(len(frame)) < share
        changed = frame[column].astype(object)
        changed[chosen] = values(frame[column])[chosen].astype(object)
        return frame.assign(**{column: changed})

    return damage


def flipped(truth: pd.Series, share: float, rng: Rng) -> np.ndarray:
    """Return a truth of 0 and 1 with a share of errors."""
    values = truth.to_numpy()
    return np.where(rng.random(len(values)) < share, 1 - values, values)


def on_text(change: Callable[[bytes], bytes]) -> Damage:
    """Change the bytes of the CSV file."""
    return lambda frame, rng: change(text(frame))


def cut_at_block(frame: pd.DataFrame, rng: Rng) -> bytes:
    """Cut the file after a whole cell at a whole number of blocks; only the line break is missing."""
    lines = text(frame).splitlines(keepends=True)
    whole = b"".join(lines[: len(lines) // 2]).rstrip(b"\n")
    # Lengthen one category so that the size is right.
    padding = -len(whole) % BLOCK
    return whole.replace(b"city 0", b"city 0" + b"x" * padding, 1)


def shifted_cells(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Move the cells of a third of the rows one column to the right, from the second column on."""
    cells = frame.astype(object).to_numpy()
    rows = rng.random(len(frame)) < 0.33
    cells[rows, 2:] = cells[rows, 1:-1]
    return pd.DataFrame(cells, columns=frame.columns)


def swapped_names(first: str, second: str) -> Damage:
    """Exchange the names of two columns."""
    return lambda frame, rng: frame.rename(columns={first: second, second: first})


def copied_users(share: float) -> Damage:
    """Append the histories of random users under new names."""

    def damage(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        counts = frame["user"].value_counts()
        active = counts.index[counts >= 5].to_numpy()
        chosen = rng.choice(active, max(int(share * len(active)), 1), replace=False)
        copies = [frame[frame["user"] == user].assign(user=f"U9{i:06d}") for i, user in enumerate(chosen)]
        together: pd.DataFrame = pd.concat([frame, *copies])
        return together.sort_values("bought_at", kind="stable")

    return damage


def one_bot(share: float) -> Damage:
    """Give a share of all events to one user."""
    return lambda frame, rng: frame.assign(
        user=frame["user"].where(rng.random(len(frame)) >= share, "U9999999")
    )
