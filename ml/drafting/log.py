"""Draft the contract of a log of events: who, which item, when, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.read_options import LINE_FORMATS
from ml.drafting import names
from ml.drafting.columns import Column, part_of, without_missing
from ml.drafting.draft import Draft, assemble
from ml.drafting.proposals import DraftRule, Proposal
from ml.drafting.request import DraftRequest
from ml.drafting.sample import take_sample
from ml.drafting.table_rules import RuleContext, draft_rules
from ml.errors import UsageError

MIN_EVENTS = 40
# Users and items are in several events, and there are several of them.
MIN_ENTITIES = 5
# A share of events without user, above which they are no faults but events outside of the question.
MAX_MISSING = 0.005
MAX_MISSING_USER = 0.9
MAX_COPIES = 0.01
# A share of events that repeat an earlier item of their user, from which on repeats are recommended.
REPEATS = 0.1
# Share of neighbouring events of a user that are in the order of their items, from which on that is the order of the
# file; without it, half of them are.
SORTED = 0.9
MAX_RATINGS = 20
ROW_COLUMN = "row"


@dataclass
class _Log:
    """The roles of a log's columns as they are found."""

    roles: dict[str, Any] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)

    def assign(self, role: str, column: str, reason: str, doubt: float = 0.0) -> None:
        self.roles[role] = column
        self.proposals.append(Proposal(f"roles.{role}", f"{column!r}: {reason}", doubt))

    @property
    def used(self) -> set[str]:
        return {value for value in self.roles.values() if isinstance(value, str)} | {
            *self.roles.get("ignored", ())
        }


def draft_log(frame: pd.DataFrame, request: DraftRequest) -> Draft:
    """Draft a contract from the events as they came. Raises UsageError where there is no user or no item."""
    if len(frame) < MIN_EVENTS or len(frame.columns) < 2:
        got = f"{len(frame)} rows of {len(frame.columns)} columns"
        raise UsageError(f"a log with at least {MIN_EVENTS} rows of user and item", got, "bring more rows")
    sample = take_sample(frame, request)
    columns = sample.columns
    log = _Log()
    _find_user_and_item(columns, log)
    _find_times(columns, log)
    _find_others(columns, log)
    read = sample.read_options(_types(columns, log))
    user, item = str(log.roles["user"]), str(log.roles["item"])
    # Order and repeats are those of whole histories.
    events = pd.DataFrame(
        {c: without_missing(frame[c], read.get("missing", [""])).astype("str") for c in (user, item)}
    ).dropna()
    split = _find_order(events, request, read, log)
    _find_repeats(events, log)
    columns = [column for column in columns if column.name in read["columns"]]
    excluded, columns = _excluded(columns, (user, item), log)
    meta: dict[str, Any] = {
        "description": f"Drafted by steward from {len(frame):,} events.",
        "read": read,
        "roles": log.roles,
        "split": split,
    }
    copies = _copies(columns, log, meta)
    proposals = [*sample.proposals, *log.proposals, *copies]
    # Ranges of identifiers mean nothing.
    without_rules = log.used | {column.name for column in columns if _is_identifier(column)}
    context = RuleContext(None, without_rules, {}, bool(copies), (user, item))
    rules, alarms = draft_rules(columns, context, log.roles.get("time"), len(frame))
    return assemble(request, meta, proposals, [*excluded, *rules], alarms)


def _find_user_and_item(columns: Sequence[Column], log: _Log) -> None:
    """Find who interacts and with what: by the names of columns, else by their places."""
    entities = [c for c in columns if _is_entity(c)]
    by_name = {
        role: [c for c in entities if names.has_word(c.name, known) or _ends_with_id(c.name, known)]
        for role, known in (("user", names.USER), ("item", names.ITEM))
    }
    for role in ("item", "user"):
        candidates = [c for c in by_name[role] if c.name not in log.used]
        others = [
            c
            for c in entities
            if c.name not in log.used and c not in by_name["user" if role == "item" else "item"]
        ]
        if candidates:
            # Of a user and a session, the one that more events have.
            chosen = min(candidates, key=lambda c: (c.n_missing, -c.distinct))
            rest = [c.name for c in candidates if c is not chosen]
            doubt = 0.5 if rest else 0.15
            also = f"; {', '.join(map(repr, rest))} could be it too" if rest else ""
            log.assign(role, chosen.name, f"by its name; {chosen.distinct:,} different ones{also}", doubt)
        elif others:
            place = 0 if role == "user" else min(1, len(others) - 1)
            log.assign(
                role, others[place].name, f"by its place; {others[place].distinct:,} different ones", 0.85
            )
    missing = [role for role in ("user", "item") if role not in log.roles]
    if missing:
        named = ", ".join(repr(column.name) for column in columns[:20])
        raise UsageError(
            f"a column with the {' and the '.join(missing)} of each event",
            f"none among {named} that several events share",
            "bring a log with a user and an item in each row, or write the contract: docs/contract.md",
        )


def _is_entity(column: Column) -> bool:
    repeated = MIN_ENTITIES <= column.distinct < column.rows - column.n_missing
    is_code = column.kind in ("category", "integer", "number") and not _is_fraction(column)
    return bool(column.name) and repeated and is_code and column.n_missing < MAX_MISSING_USER * column.rows


def _is_fraction(column: Column) -> bool:
    if not column.is_numeric:
        return bool(column.counts.index.str.count(r"\s").max() > 8)  # sentences
    numbers = column.present.to_numpy(dtype=float)
    return bool((numbers != np.floor(numbers)).any() or (numbers < 0).any() or column.distinct <= MAX_RATINGS)


def _ends_with_id(name: str, known: set[str]) -> bool:
    lower = name.lower().removesuffix("id")
    return lower != name.lower() and lower in known


def _is_identifier(column: Column) -> bool:
    lower = column.name.lower()
    return names.has_word(column.name, names.IDENTIFIER) or lower.endswith(("id", "number"))


def _find_times(columns: Sequence[Column], log: _Log) -> None:
    times = [c for c in columns if c.kind in ("time", "epoch") and c.name and c.name not in log.used]
    for position, column in enumerate(sorted(times, key=lambda c: c.n_missing)):
        if position == 0:
            log.assign("time", column.name, f"{column.distinct:,} times", 0.4 if len(times) > 1 else 0.1)
        else:
            _ignore(log, column.name, "another time", 0.4)


def _find_others(columns: Sequence[Column], log: _Log) -> None:
    """Find the order within a user, the segment, and ratings; other columns have no role in a log."""
    for column in columns:
        if column.name in log.used:
            continue
        if (
            column.kind in ("integer", "number")
            and names.has_word(column.name, names.ORDER)
            and "event_order" not in log.roles
        ):
            log.assign("event_order", column.name, "by its name: the order of a user's events", 0.3)
        elif (
            names.has_word(column.name, names.SEGMENT)
            and 2 <= column.distinct <= 300
            and "segment" not in log.roles
        ):
            log.assign("segment", column.name, f"{column.distinct} groups of users, by its name", 0.3)
        elif column.is_numeric and column.distinct <= MAX_RATINGS and column.kind == "integer":
            _ignore(
                log, column.name, f"{column.distinct} grades, such as ratings: no weight of an event", 0.5
            )


def _ignore(log: _Log, column: str, reason: str, doubt: float) -> None:
    log.roles.setdefault("ignored", []).append(column)
    log.proposals.append(Proposal(f"roles.ignored.{column}", reason, doubt))


def _types(columns: Sequence[Column], log: _Log) -> dict[str, str]:
    """Return the types of the columns that are read: users and items are codes, orders whole numbers."""
    kinds = {column.name: column.kind for column in columns if column.distinct and column.name}
    kinds |= {log.roles[role]: "category" for role in ("user", "item", "segment") if role in log.roles}
    if "event_order" in log.roles:
        kinds[log.roles["event_order"]] = "integer"
    return kinds


def _find_order(
    events: pd.DataFrame, request: DraftRequest, read: dict[str, Any], log: _Log
) -> dict[str, Any]:
    """Return the split. Where no column has an order, that of the rows counts, unless it is that of the items."""
    user = str(log.roles["user"])
    if "time" in log.roles:
        is_session = names.has_word(user, {"session", "sessionid"})
        return {"by": "session" if is_session else "time", "test": 0.2, "valid": 0.2}
    if "event_order" in log.roles:
        return {"by": "last"}
    share, pairs = sorted_share(events[user].to_numpy(), events[str(log.roles["item"])].to_numpy())
    if request.read.get("format") == "baskets":
        log.proposals.append(Proposal("split.by", "the items of a basket have no order", 0.1))
        return {"by": "random_last_out"}
    if share >= SORTED or share <= 1.0 - SORTED or pairs < MIN_EVENTS:
        found = (
            f"{max(share, 1 - share):.0%} of {pairs:,} neighbouring events are in the order of their items"
        )
        reason = f"{found}: the order of the rows is not that of time, and no column has one"
        log.proposals.append(Proposal("split.by", reason, 0.9))
        return {"by": "random_last_out"}
    name = next(
        n for n in (ROW_COLUMN, *(f"{ROW_COLUMN}_{i}" for i in range(99))) if n not in read["columns"]
    )
    read["row_column"], read["columns"][name] = name, "integer"
    is_sequence = request.read.get("format") in LINE_FORMATS
    source = "items in a line" if is_sequence else "rows"
    reason = (
        f"the order of the {source} is taken for that of time, without evidence: {share:.0%} of {pairs:,} neighbouring "
        "events of a user are in the order of their items, and without any order half of them would be"
    )
    log.assign("event_order", name, reason, 0.5 if is_sequence else 0.85)
    return {"by": "last"}


def sorted_share(users: np.ndarray, items: np.ndarray) -> tuple[float, int]:
    """Return the share of neighbouring events of a user, of different items, whose items ascend, and their number."""
    codes, _ = pd.factorize(users)
    ranks = _ranks(items)
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    steps = np.diff(ranks[order])[same]
    steps = steps[steps != 0]
    return (float((steps > 0).mean()), len(steps)) if len(steps) else (0.5, 0)


def _ranks(items: np.ndarray) -> np.ndarray:
    """Return the place of each item among all, as numbers where all are numbers, else as texts."""
    numbers = pd.to_numeric(pd.Series(items), errors="coerce")
    if numbers.notna().all():
        return numbers.to_numpy(dtype=float)
    _, places = np.unique(items.astype(str), return_inverse=True)
    return np.asarray(places, dtype=float)


def _find_repeats(events: pd.DataFrame, log: _Log) -> None:
    share = float(events.duplicated().mean()) if len(events) else 0.0
    allowed = share >= REPEATS
    log.roles["allow_repeat_recommendations"] = allowed
    reason = f"{share:.1%} of the events are of an item that their user had before"
    log.proposals.append(
        Proposal("roles.allow_repeat_recommendations", reason, 0.4 if share > REPEATS / 4 else 0.1)
    )


def _excluded(
    columns: Sequence[Column], required: Sequence[str], log: _Log
) -> tuple[list[DraftRule], list[Column]]:
    """Return rules that exclude events without user or item, where these are no rare faults, and the other events."""
    rules = []
    kept = np.ones(columns[0].rows, dtype=bool)
    for column in columns:
        share = column.n_missing / column.rows
        if column.name in required and share > MAX_MISSING:
            kwargs = {"column": column.name}
            reason = f"{share:.1%} of the events have none: nothing can be learned from them"
            rules.append(DraftRule("expect_column_values_to_not_be_null", kwargs, "exclude", reason, 0.6))
            kept &= column.typed.notna().to_numpy()
    rows = np.flatnonzero(kept)
    return rules, [part_of(column, rows) for column in columns] if rules else list(columns)


def _copies(columns: Sequence[Column], log: _Log, meta: dict[str, Any]) -> list[Proposal]:
    if "row_column" in meta["read"]:
        return []
    share = float(pd.DataFrame({column.name: column.typed for column in columns}).duplicated().mean())
    if share <= MAX_COPIES:
        return []
    reason = f"{share:.1%} of the events equal an earlier one: kept and counted, as so many are hardly faults"
    meta["copies"] = {"action": "warn", "reason": reason}
    return [Proposal("copies", reason, 0.8)]
