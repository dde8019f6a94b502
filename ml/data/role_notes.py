"""Notes about columns with a role: default dates, several values of the negative class, users who are no people."""

import pandas as pd

from ml.contract.roles import Roles
from ml.data.row_split import class_names

# Shares from which on a note is made.
MIN_SHARE = 0.002
MAX_SHARE_OF_USER = 0.05
MAX_COPIED_USERS = 0.01
# Shorter histories are equal by chance.
MIN_HISTORY = 5
# With fewer rows, a test of a fifth of them has one or none.
MIN_ROWS_OF_CLASS = 10


def role_notes(rows: pd.DataFrame, roles: Roles) -> dict[str, list[str]]:
    """Return notes by column, only for columns with notes; `rows` are clean rows with typed columns."""
    notes: dict[str, list[str]] = {}
    if roles.time and len(rows):
        _add(notes, roles.time, _default_dates(rows[roles.time]))
    if roles.target and roles.positive:
        distinct = rows[roles.target].nunique()
        if distinct > 2:
            _add(notes, roles.target, f"{distinct} values: all but the positive ones are the negative class")
    if roles.target and roles.labels and len(rows):
        _add(notes, roles.target, _rare_classes(rows[roles.target], roles))
    if roles.user and roles.item and len(rows):
        shares = rows[roles.user].value_counts(normalize=True)
        if len(shares) > 40 and shares.iloc[0] > MAX_SHARE_OF_USER:
            _add(notes, roles.user, f"one user has {shares.iloc[0]:.0%} of all events: a program?")
        _add(notes, roles.user, _copied_histories(rows, roles))
    return notes


def _add(notes: dict[str, list[str]], column: str, note: str) -> None:
    if note:
        notes.setdefault(column, []).append(note)


def _rare_classes(target: pd.Series, roles: Roles) -> str:
    """Describe classes of the contract with no row, or with too few to be learnt and measured."""
    counts = class_names(target).value_counts().reindex(list(roles.labels), fill_value=0)
    absent, few = int((counts == 0).sum()), int(((counts > 0) & (counts < MIN_ROWS_OF_CLASS)).sum())
    parts = [f"without a row: {absent}"] * (absent > 0)
    parts += [f"with fewer than {MIN_ROWS_OF_CLASS} rows: {few}"] * (few > 0)
    return f"of {len(counts)} classes, {', '.join(parts)}" if parts else ""


def _default_dates(times: pd.Series) -> str:
    present = times.dropna()
    if not len(present):
        return ""
    # Half of the times before 1980 are no default dates.
    if (present < pd.Timestamp("1980-01-01")).mean() > 0.5:
        return ""
    share = float((present < pd.Timestamp("1971-01-01")).mean())
    return f"{share:.1%} of times are before 1971: a default date?" if share >= MIN_SHARE else ""


def _copied_histories(rows: pd.DataFrame, roles: Roles) -> str:
    """Describe users whose items, in their order, are exactly those of another user."""
    order = roles.time or roles.event_order
    keys = [str(roles.user), *([order] if order else [])]
    ordered = rows.sort_values(keys, kind="stable")
    position = ordered.groupby(roles.user).cumcount().to_numpy().astype("uint64")
    hashes = pd.util.hash_pandas_object(ordered[str(roles.item)], index=False).to_numpy()
    mixed = pd.util.hash_pandas_object(pd.Series(hashes ^ (position * 0x9E3779B97F4A7C15)), index=False)
    users = mixed.groupby(ordered[str(roles.user)].to_numpy()).agg(["sum", "size"])
    long = users[users["size"] >= MIN_HISTORY]
    share = float(long.duplicated(keep=False).mean()) if len(long) else 0.0
    if share <= MAX_COPIED_USERS:
        return ""
    return f"{share:.1%} of users with at least {MIN_HISTORY} events have exactly the history of another user"
