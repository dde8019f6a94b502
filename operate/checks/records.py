"""Checks of what earlier runs recorded: run states, ledgers, champions, content store."""

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from ml.errors import PackagingError, StoredResultError
from operate.checks.finding import CheckContext, Finding, NoRunsYetError
from tasks.ledger import Alias, Ledger, reconcile_alias

# Keys of every ledger entry.
REQUIRED_KEYS = {"line", "at", "model", "verdict", "reason", "before", "champion"}
# Number of objects of the store, the newest, that are verified without --deep.
SAMPLE_SIZE = 10


def runs(context: CheckContext) -> Iterator[Finding]:
    """Check for runs that are recorded as running and whose process has ended."""
    from tasks.locks.run_lock import active_runs

    if not os.access(context.state_dir, os.F_OK):
        raise NoRunsYetError
    client = context.client
    from flows.housekeeping.dead_runs import find_dead_runs
    from flows.recording.prefect_state import UNREACHABLE

    dead_runs = find_dead_runs(client, context.settings)
    for run in dead_runs:
        states = f"Prefect: {run.prefect_state}, MLflow: {run.mlflow_status or 'no run'}"
        message = f"run of {run.case} on {run.data} crashed: its process has ended ({states}; {run.id})"
        if run.prefect_state == UNREACHABLE and run.mlflow_status != "RUNNING":
            fix = "the next command repairs the state in Prefect, as does: steward doctor --fix"
            yield Finding("runs", "warn", message, fix)
        else:
            fix = f"the next command repairs it, as does: steward doctor --fix ({run.correction})"
            yield Finding("runs", "bad", message, fix)
    if not dead_runs:
        count = len(active_runs(context.settings))
        yield Finding("runs", "ok", f"no crashed runs; {count} running")


def fix_runs(context: CheckContext) -> Iterator[str]:
    """Set the final state of crashed runs in Prefect and in MLflow."""
    if not os.access(context.state_dir, os.F_OK):
        return
    client = context.client
    from flows.housekeeping.reconciliation import reconcile_dead_runs

    for run in reconcile_dead_runs(client, context.settings):
        yield f"run of {run.case} on {run.data}: {run.correction}"


def ledger(context: CheckContext) -> Iterator[Finding]:
    """Check that each ledger is readable and complete, and has the same champion as MLflow."""
    from tasks.tracking import registry

    folder = context.settings.ledger_dir
    paths = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    for path in paths.values():
        yield from _check_entries(path)
    client = context.client
    registered = {item.version.name for item in registry.list_all_versions(client)}
    for name in sorted({*registered, *paths}):
        champion = registry.get_champion(client, name) if name in registered else None
        entries = [entry for entry in Ledger(folder, name).entries() if _is_decision(entry)]
        last = entries[-1] if entries else None
        yield from _compare_champions(name, last, champion.number if champion else None)
        if champion:
            try:
                digests = Ledger(folder, name).model_digests(champion.number)
                with registry.verified_copy(client, champion, digests):
                    pass
            except PackagingError as error:
                message = (
                    f"champion {name} version {champion.number} does not load:"
                    f" expected {error.expected}; got {error.got}"
                )
                fix = (
                    f"restore {context.settings.artifacts_dir} from a backup; or: steward champion --rollback"
                )
                yield Finding("ledger", "bad", message, f"see `artifacts`; {fix}")


def fix_ledger(context: CheckContext) -> Iterator[str]:
    """Complete a promotion that a crash interrupted between ledger and alias."""
    from tasks.tracking import registry

    client, folder = context.client, context.settings.ledger_dir
    for path in sorted(folder.glob("*.jsonl")):
        model_ledger = Ledger(folder, path.stem)
        alias = Alias(*registry.champion_alias_accessors(client, path.stem))
        with model_ledger.lock():
            before = alias.read()
            after = reconcile_alias(model_ledger, alias)
        if before != after:
            yield f"champion of {path.stem}: {_version(before)} before, {_version(after)} now, as in the ledger"


def _check_entries(path: Path) -> Iterator[Finding]:
    """Check that the lines of a ledger are decisions, numbered and without gaps."""
    entries: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError:
            name = "last entry" if number == len(lines) else "entry"
            message = f"{path}: incomplete {name} (line {number}) from a crash; ignored"
            yield Finding("ledger", "warn", message, "nothing to do: that decision was not made")
            continue
        if not _is_decision(entry):
            fix = f"restore {path} from a backup, or delete that line"
            yield Finding("ledger", "bad", f"{path}: line {number} is not a decision", fix)
            return
        entries.append(entry)
    fix = f"restore {path} from a backup: lines are only ever appended"
    if [entry["line"] for entry in entries] != list(range(1, len(entries) + 1)):
        message = f"{path}: the entries are not numbered from 1 to {len(entries)}"
        yield Finding("ledger", "bad", message, fix)
    for earlier, later in pairwise(entries):
        if later["before"] != earlier["champion"]:
            message = f"{path}: entry {later['line']} starts from another champion than the entry before left"
            yield Finding("ledger", "bad", message, fix)


def _is_decision(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.keys() >= REQUIRED_KEYS


def _compare_champions(name: str, last: dict[str, Any] | None, alias: int | None) -> Iterator[Finding]:
    """Distinguish the four cases of `reconcile_alias`."""
    if last is None:
        if alias is not None:
            message = f"{name}: version {alias} is champion, but there is no ledger entry"
            yield Finding("ledger", "warn", message, f"restore {name}.jsonl from a backup")
    elif alias == last["champion"]:
        yield Finding("ledger", "ok", f"{name}: champion {_version(alias)} in MLflow and ledger")
    elif alias == last["before"]:
        message = f"{name}: {_version(last['champion'])} won, but a crash left {_version(alias)} as champion"
        yield Finding("ledger", "bad", message, "the next run repairs it, as does: steward doctor --fix")
    else:
        message = (
            f"{name}: {_version(alias)} is champion in MLflow, {_version(last['champion'])} in the ledger"
        )
        fix = "steward doctor --fix records the change in the ledger; to undo it: steward champion --rollback"
        yield Finding("ledger", "bad", message, fix)


def _version(number: int | None) -> str:
    return f"version {number}" if number is not None else "none"


def store(context: CheckContext) -> Iterator[Finding]:
    """Check keys and objects of the content store; a deep check verifies the digests of all objects."""
    from tasks.storage.key_file import read_key
    from tasks.storage.object_folder import find_damage

    folder = context.state_dir / "store"
    objects = [path for path in (folder / "objects").glob("[!.]*") if path.is_dir()]
    complete = [path for path in objects if (path / "manifest.json").is_file()]
    complete.sort(key=lambda path: (path / "manifest.json").stat().st_mtime_ns)
    verified = complete if context.deep else complete[-SAMPLE_SIZE:]
    damaged = dict.fromkeys(set(objects) - set(complete), "no manifest")
    damaged |= {path: damage for path in verified if (damage := find_damage(path))}
    for path in (folder / "keys").glob("[!.]*.json"):
        try:
            read_key(path)
        except FileNotFoundError:
            pass  # deleted since it was listed
        except StoredResultError:
            damaged[path] = "not a key of the store"
    for path, damage in sorted(damaged.items()):
        yield Finding("store", "bad", f"{path}: {damage}", f"rm -r {path}: the next run computes it again")
    if not damaged:
        rest = "" if len(verified) == len(complete) else " (all with --deep)"
        message = f"{len(complete):,} objects; {len(verified):,} verified by digest{rest}"
        yield Finding("store", "ok", message)
