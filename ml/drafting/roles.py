"""What columns are for: identifiers, entities, times, sites, sensitive columns, texts, and columns without use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ml.drafting import names
from ml.drafting.columns import Column
from ml.drafting.proposals import Proposal

# Share of missing cells from which on a column is left out.
MAX_MISSING = 0.95
# Entities have this many different values at least, and fewer than rows.
MIN_ENTITIES, MAX_ENTITY_SHARE = 20, 0.98
MAX_SITES = 100
MAX_SENSITIVE_VALUES = 150
# Sentences: characters of the median cell, and share of different ones.
MIN_TEXT_LENGTH, MIN_UNSPACED_TEXT_LENGTH, MIN_TEXT_DISTINCT = 30, 10, 0.5
CHINESE = "[\u3040-\u30ff\u4e00-\u9fff]"


@dataclass
class RoleDraft:
    """The roles of a table's columns, without the target, and the evidence of each."""

    roles: dict[str, Any] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)

    def assign(self, role: str, column: str, reason: str, doubt: float = 0.0) -> None:
        """Give a role of one column."""
        self.roles[role] = column
        self.proposals.append(Proposal(f"roles.{role}", f"{column!r}: {reason}", doubt))

    def add(self, role: str, column: str, reason: str, doubt: float = 0.0) -> None:
        """Add a column to a role of several."""
        self.roles.setdefault(role, []).append(column)
        self.proposals.append(Proposal(f"roles.{role}.{column}", reason, doubt))

    @property
    def used(self) -> set[str]:
        """Return the columns that are no features."""
        single = {self.roles[role] for role in ("id", "group", "time", "site") if role in self.roles}
        return single | {*self.roles.get("ignored", ()), *self.roles.get("text", ())}


def draft_roles(columns: Sequence[Column], target: str, reads_texts: bool) -> RoleDraft:
    """Return roles for all columns but the target; columns without a role are features."""
    draft = RoleDraft()
    features = [column for column in columns if column.name != target]
    _ignore_useless(features, draft)
    _find_identifier([c for c in features if not (reads_texts and _has_words(c))], draft)
    _find_group(features, draft)
    _find_times(features, draft)
    _find_texts(features, draft, reads_texts)
    _find_site(features, draft)
    _find_sensitive(features, draft)
    _ignore_equal(features, draft)
    return draft


def _ignore_useless(columns: Sequence[Column], draft: RoleDraft) -> None:
    for column in columns:
        if column.distinct == 0:
            draft.add("ignored", column.name, "has no value")
        elif column.distinct == 1 and column.n_missing == 0:
            draft.add("ignored", column.name, "has one value in all rows")
        elif column.n_missing > MAX_MISSING * column.rows:
            reason = f"{column.n_missing / column.rows:.1%} of the cells are missing"
            draft.add("ignored", column.name, reason, 0.4)


def _find_identifier(columns: Sequence[Column], draft: RoleDraft) -> None:
    candidates = []
    for column in columns:
        if column.name in draft.used or column.n_missing or column.distinct < column.rows or column.rows < 2:
            continue
        counts_rows = column.counts_rows
        parts = names.words(column.name)
        if not column.name or (counts_rows and (not parts or names.ROW_NUMBER & {*parts})):
            draft.add("ignored", column.name, "numbers the rows of the file", 0.2)
            continue
        named = names.has_word(column.name, names.IDENTIFIER) or column.name.lower().endswith("id")
        is_code = (
            column.kind == "category" and column.counts.index.str.len().max() <= 64 and not _is_text(column)
        )
        if named or counts_rows or is_code:
            candidates.append((named, counts_rows, -column.position, column))
    if candidates:
        named, counts_rows, _, column = max(candidates, key=lambda entry: entry[:3])
        why = (
            " and its name is one of identifiers" if named else " and counts the rows" if counts_rows else ""
        )
        draft.assign("id", column.name, f"differs in all {column.rows:,} rows{why}", 0.1 if named else 0.5)
        for *_, other in candidates:
            if other is not column:
                draft.add("ignored", other.name, "differs in all rows, as the id does", 0.4)


def _find_group(columns: Sequence[Column], draft: RoleDraft) -> None:
    """Find an entity with several rows: its rows must be in one dataset of the split."""
    for column in columns:
        if column.name in draft.used or column.kind in ("time", "epoch") or column.has_decimals:
            continue
        parts = {*names.words(column.name)}
        joined = "".join(names.words(column.name))
        named = bool(parts & names.ENTITY) and bool(parts & names.IDENTIFIER or parts <= names.ENTITY)
        named = named or any(joined == f"{entity}id" for entity in names.ENTITY)
        if named and MIN_ENTITIES <= column.distinct < MAX_ENTITY_SHARE * column.rows:
            reason = f"{column.distinct:,} values in {column.rows:,} rows: an entity with several rows, by its name"
            draft.assign("group", column.name, reason, 0.2 if column.distinct < 0.95 * column.rows else 0.5)
            return


def _find_times(columns: Sequence[Column], draft: RoleDraft) -> None:
    found = [c for c in columns if c.kind in ("time", "epoch") and c.name not in draft.used]
    times = [c for c in found if c.name and c.distinct > 2]
    for column in found:
        if not (column.name and column.distinct > 2):
            reason = f"few different times ({column.distinct}) or no name: models take no times as they are"
            draft.add("ignored", column.name, reason, 0.3)
    if not times:
        return
    complete = [column for column in times if not column.n_missing] or times
    chosen = complete[0]
    others = [column.name for column in times if column is not chosen]
    reason = "has times" + (f"; so have {', '.join(map(repr, others))}" if others else "")
    draft.assign("time", chosen.name, reason, 0.6 if others or chosen.n_missing else 0.2)
    for name in others:
        draft.add("ignored", name, "another time: it may be after the outcome", 0.6)


def _find_texts(columns: Sequence[Column], draft: RoleDraft, reads_texts: bool) -> None:
    texts = [column for column in columns if column.name not in draft.used and _is_text(column)]
    if not texts and reads_texts:
        known = [c for c in columns if c.kind == "category" and c.name not in draft.used and c.distinct > 2]
        texts = sorted(known, key=lambda c: -float(c.counts.index.str.len().to_series().median()))[:1]
    for column in texts:
        length = float(column.counts.index.str.len().to_series().median())
        draft.add(
            "text", column.name, f"sentences: half of the cells have more than {length:.0f} characters", 0.1
        )


def _is_text(column: Column) -> bool:
    if column.kind != "category" or column.distinct < 10:
        return False
    if column.distinct < MIN_TEXT_DISTINCT * (column.rows - column.n_missing):
        return False
    sample = column.counts.index.to_series().iloc[:: max(1, column.distinct // 1_000)]
    length = sample.str.len().median()
    spaced = (sample.str.count(r"\s") >= 4).mean() > 0.5
    unspaced = sample.str.contains(CHINESE).mean() > 0.5
    return bool((spaced and length >= MIN_TEXT_LENGTH) or (unspaced and length >= MIN_UNSPACED_TEXT_LENGTH))


def _has_words(column: Column) -> bool:
    """Return whether most cells have several words: short messages differ in all rows too, but are no identifiers."""
    return (
        column.kind == "category"
        and column.distinct > 2
        and column.counts.index.str.contains(r"\S\s+\S").mean() > 0.5
    )


def _find_site(columns: Sequence[Column], draft: RoleDraft) -> None:
    for column in columns:
        if column.name in draft.used or not names.has_word(column.name, names.SITE):
            continue
        if column.kind == "category" and 2 <= column.distinct <= MAX_SITES:
            draft.assign("site", column.name, f"{column.distinct} values, by its name", 0.4)
            return


def _find_sensitive(columns: Sequence[Column], draft: RoleDraft) -> None:
    for column in columns:
        is_usable = column.is_numeric or 2 <= column.distinct <= MAX_SENSITIVE_VALUES
        if column.name not in draft.used and is_usable and names.has_word(column.name, names.SENSITIVE):
            draft.add("sensitive", column.name, "by its name: subgroups are compared by it", 0.15)


def _ignore_equal(columns: Sequence[Column], draft: RoleDraft) -> None:
    """Leave out columns whose cells are all equal to those of an earlier one."""
    seen: dict[int, list[Column]] = {}
    for column in columns:
        if column.name in draft.used or column.distinct < 2:
            continue
        key = int(pd.util.hash_pandas_object(column.typed, index=False).sum())
        equal = next((other for other in seen.get(key, []) if other.typed.equals(column.typed)), None)
        if equal is None:
            seen.setdefault(key, []).append(column)
        elif column.name not in draft.roles.get("sensitive", ()):
            draft.add("ignored", column.name, f"equal to {equal.name!r} in all rows", 0.3)
