"""Rules of a contract about how its data are split."""

from collections.abc import Collection, Iterator

from ml.contract.problems import Problem, listed, quoted
from ml.contract.roles import Roles
from ml.contract.split_policy import LOG_SPLITS, ROW_SPLITS, SplitPolicy


def check_split(split: SplitPolicy, roles: Roles) -> Iterator[Problem]:
    """Check that the data can be split as the policy says."""
    policy = split.completed(roles)
    if roles.user is not None:
        yield from _check_log_split(policy, split.model_fields_set, roles)
    else:
        yield from _check_row_split(policy, roles)
    has_shares = LOG_SPLITS[policy.by][1] if policy.by in LOG_SPLITS else policy.by != "column"
    if policy.by == "column" and not policy.valid_values and not 0 < policy.valid < 1:
        yield Problem("valid above 0 in meta.split", f"{policy.valid:g}", "or name meta.split.valid_values")
    if has_shares and not 0 < policy.test + policy.valid < 1:
        yield Problem(
            "test + valid above 0 and below 1 in meta.split",
            f"{policy.test + policy.valid:g}",
            "leave rows to train on",
        )


def _check_row_split(policy: SplitPolicy, roles: Roles) -> Iterator[Problem]:
    if policy.by not in ROW_SPLITS:
        yield Problem(
            f"one of {', '.join(ROW_SPLITS)} in meta.split.by",
            quoted(policy.by),
            "choose one, or name the user and item of a log in meta.roles",
        )
    if policy.by == "site" and not policy.sites:
        yield Problem("meta.split.sites to hold out", "none", "name the sites of the test")
    yield from _check_column(policy, roles)
    yield from _check_late_outcomes(policy, roles)
    if policy.by in ("time", "site") and getattr(roles, policy.by) is None:
        yield Problem(f"a column with the role {policy.by}", "none", f"set meta.roles.{policy.by}")
    if policy.by == "stratified" and roles.target_kind not in ("binary", "multiclass"):
        yield Problem(
            "classes to stratify by in meta.split.by",
            "a numeric target",
            "split by hash, or set positive, above or labels in meta.roles.target",
        )


def _check_late_outcomes(policy: SplitPolicy, roles: Roles) -> Iterator[Problem]:
    """Check that it is clear when outcomes were known, and after which time."""
    if roles.known_at and policy.horizon is not None:
        yield Problem(
            "either the role known_at or meta.split.horizon", "both", "keep known_at, which is more exact"
        )
    if (roles.known_at or policy.horizon is not None) and roles.time is None:
        given = "known_at" if roles.known_at else "meta.split.horizon"
        yield Problem(f"a column with the role time beside {given}", "none", "set meta.roles.time")


def _check_column(policy: SplitPolicy, roles: Roles) -> Iterator[Problem]:
    """Check a split by a column: it is named with its values, and no feature."""
    given = [key for key in ("column", "test_values", "valid_values") if getattr(policy, key) is not None]
    if policy.by != "column":
        if given:
            yield Problem(
                "by column beside these keys in meta.split", listed(given), "set meta.split.by to column"
            )
        return
    if policy.column is None or policy.test_values is None:
        yield Problem(
            "meta.split.column and meta.split.test_values to split by column",
            listed(given) if given else "neither",
            "name the column, and its values that are the test",
        )
        return
    if policy.column not in (*roles.ignored, roles.site):
        yield Problem(
            "meta.split.column among meta.roles.ignored, as it says nothing about a new row",
            quoted(policy.column),
            "list it there",
        )
    if both := sorted({*policy.test_values} & {*(policy.valid_values or ())}):
        yield Problem("other values in meta.split.valid_values than in test_values", listed(both), "keep one")


def _check_log_split(policy: SplitPolicy, given: Collection[str], roles: Roles) -> Iterator[Problem]:
    """Check a split of a log: the next events are predicted from earlier ones only where their order is known."""
    if policy.by not in LOG_SPLITS:
        yield Problem(f"one of {', '.join(LOG_SPLITS)} in meta.split.by", quoted(policy.by), "choose one")
        return
    required, has_shares = LOG_SPLITS[policy.by]
    if required and not any(getattr(roles, role) for role in required):
        yield Problem(
            f"the roles user, item and {' or '.join(required)} to split by {policy.by}",
            f"no {' and no '.join(required)}",
            "set one in meta.roles, or choose another meta.split.by",
        )
    if not required and (roles.time or roles.event_order):
        yield Problem(
            f"no order of events to split by {policy.by} in meta.split",
            "the role time or event_order",
            "split by last, or remove the role from meta.roles",
        )
    keys = ("by", "test", "valid") if has_shares else ("by",)
    if unknown := sorted(set(given) - set(keys)):
        yield Problem(
            f"only the keys {', '.join(keys)} in meta.split by {policy.by}", listed(unknown), "remove them"
        )
