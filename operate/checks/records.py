"""Memory: what earlier runs left, and whether its parts agree: runs, ledger, champions, content store."""

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from ml.errors import PackagingError
from operate.checks.finding import Finding, Look, NothingYetError
from tasks.ledger import Alias, Ledger, reconcile_alias

# What every line of a ledger has.
KEYS = {"line", "at", "model", "verdict", "reason", "before", "champion"}
# How many objects are read again at each look: those that were written last.
SAMPLE = 10


def runs(look: Look) -> Iterator[Finding]:
    """Runs that are shown as running and are not."""
    from tasks.locks.run_lock import active_runs

    if not os.access(look.home, os.F_OK):
        raise NothingYetError
    client = look.client
    from flows.housekeeping.dead_runs import stray
    from flows.recording.prefect_state import UNREACHABLE

    found = stray(client, look.settings)
    for one in found:
        said = f"Prefect: {one.prefect_state}, MLflow: {one.mlflow_status or 'no run'}"
        name = f"a run of {one.case} on {one.data} is gone, its process ended ({said}; {one.id})"
        if one.prefect_state == UNREACHABLE and one.mlflow_status != "RUNNING":
            fix = "nothing to do here: the next run that reaches Prefect's server puts it right there"
            yield Finding("runs", "warn", name, fix)
        else:
            fix = f"any run puts it right, as does: steward doctor --fix ({one.done})"
            yield Finding("runs", "bad", name, fix)
    if not found:
        yield Finding(
            "runs", "ok", f"{len(active_runs(look.settings))} at work, none that ended without a word"
        )


def mend_runs(look: Look) -> Iterator[str]:
    """Say for runs that are gone how they ended, in Prefect and in MLflow."""
    if not os.access(look.home, os.F_OK):
        return
    client = look.client
    from flows.housekeeping.dead_runs import reap

    for one in reap(client, look.settings):
        yield f"a run of {one.case} on {one.data}: {one.done}"


def ledger(look: Look) -> Iterator[Finding]:
    """Whether each ledger can be read, is without gaps, and says the same champion as the alias."""
    from tasks.tracking import registry

    ledgers = {path.stem: path for path in sorted(look.settings.ledger.glob("*.jsonl"))}
    for path in ledgers.values():
        yield from _lines(path)
    client = look.client
    named = {one.version.name for one in registry.registered_versions(client)}
    for name in sorted({*named, *ledgers}):
        book = Ledger(look.settings.ledger, name)
        holder = registry.champion(client, name) if name in named else None
        lines = [line for line in book.entries() if isinstance(line, dict) and line.keys() >= KEYS]
        yield from _agrees(name, lines[-1] if lines else None, holder.number if holder else None)
        if holder:
            try:
                registry.download_verified(client, holder)
            except PackagingError as refused:
                fix = f"restore {look.settings.artifacts} from a backup; or: steward champion --rollback"
                found = f"champion {name} version {holder.number} does not load: {refused.got}"
                yield Finding("ledger", "bad", found, f"see `artifacts`; {fix}")


def mend_ledger(look: Look) -> Iterator[str]:
    """Finish what a crash left between ledger and alias."""
    from tasks.tracking import registry

    client = look.client
    for path in sorted(look.settings.ledger.glob("*.jsonl")):
        book = Ledger(look.settings.ledger, path.stem)
        alias = Alias(*registry.alias_of(client, path.stem))
        with book.lock():
            before = alias.read()
            after = reconcile_alias(book, alias)
        if before != after:
            yield f"champion of {path.stem}: version {before} before, {after} now, as the ledger says"


def _lines(path: Path) -> Iterator[Finding]:
    """Whether a ledger is what was appended to it, and nothing else."""
    read: list[dict[str, Any]] = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError:
            found = f"{path} has half a line ({number}): a crash tore it, and that decision was not made"
            yield Finding("ledger", "warn", found, "nothing to do: every reader leaves it out")
            continue
        if not isinstance(line, dict) or not line.keys() >= KEYS:
            fix = f"restore {path} from a backup, or take out that line"
            yield Finding("ledger", "bad", f"{path} has a line ({number}) that is no decision", fix)
            return
        read.append(line)
    fix = f"restore {path} from a backup: lines are only ever appended"
    if [line["line"] for line in read] != list(range(1, len(read) + 1)):
        yield Finding("ledger", "bad", f"{path}: its lines are not numbered from 1 to {len(read)}", fix)
    for one, other in pairwise(read):
        if other["before"] != one["champion"]:
            found = (
                f"{path}: line {other['line']} begins with another champion than the line before ended with"
            )
            yield Finding("ledger", "bad", found, fix)


def _agrees(name: str, last: dict[str, Any] | None, alias: int | None) -> Iterator[Finding]:
    """The four cases of `settle`."""
    if last is None:
        if alias is not None:
            found = f"{name}: version {alias} is champion, and no ledger says why"
            yield Finding("ledger", "warn", found, f"restore {name}.jsonl from a backup")
    elif alias == last["champion"]:
        yield Finding("ledger", "ok", f"{name}: champion {_version(alias)} in MLflow and ledger")
    elif alias == last["before"]:
        found = f"{name}: {_version(last['champion'])} won, and a crash left {_version(alias)} as champion"
        yield Finding("ledger", "bad", found, "the next run moves it, as does: steward doctor --fix")
    else:
        found = f"{name}: {_version(alias)} is champion in MLflow, {_version(last['champion'])} in the ledger"
        fix = "steward doctor --fix takes note of it in the ledger; to go back: steward champion --rollback"
        yield Finding("ledger", "bad", found, fix)


def _version(number: int | None) -> str:
    return f"version {number}" if number is not None else "none"


def store(look: Look) -> Iterator[Finding]:
    """Whether keys and objects of the content store are whole; the newest objects, or all, are read again."""
    from tasks.storage.content_store import find_damage

    folder = look.home / "store"
    objects = [path for path in (folder / "objects").glob("[!.]*") if path.is_dir()]
    whole = [path for path in objects if (path / "manifest.json").is_file()]
    whole.sort(key=lambda path: (path / "manifest.json").stat().st_mtime_ns)
    read = whole if look.deep else whole[-SAMPLE:]
    wrong = dict.fromkeys(set(objects) - set(whole), "it has no manifest")
    wrong |= {path: said for path in read if (said := find_damage(path))}
    wrong |= {path: "it is no key" for path in (folder / "keys").glob("[!.]*.json") if not _is_key(path)}
    for path, said in sorted(wrong.items()):
        yield Finding("store", "bad", f"{path}: {said}", f"rm -r {path}: it is computed again")
    if not wrong:
        rest = "" if len(read) == len(whole) else "; all with --deep"
        yield Finding(
            "store", "ok", f"{len(whole):,} objects; {len(read):,} read again, each as its digest{rest}"
        )


def _is_key(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text())["object"], str)
    except (ValueError, KeyError, TypeError, OSError):
        return False
