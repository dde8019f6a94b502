"""Checks of what earlier runs recorded: run states, ledgers, champions, content store."""

import os
from collections.abc import Iterator
from contextlib import suppress

from ml.errors import PackagingError, StoredResultError
from operate.checks.finding import CheckContext, Finding, NoRunsYetError
from tasks.ledger import Ledger, LedgerError, LedgerState, ledger_error, proven_digests, read_state

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
    """Check that each ledger is as it was written, and has the same champion as MLflow."""
    from flows.housekeeping.ledgers import ledger_names, open_ledger
    from tasks.tracking import registry

    client, settings = context.client, context.settings
    for name in ledger_names(settings, client):
        opened = open_ledger(settings, client, name, read_only=True)
        try:
            state = read_state(*opened)
        except LedgerError as error:
            yield Finding("ledger", "bad", f"{name}: {error.got}", error.next_step)
            continue
        yield from _describe_state(opened[0], state)
        champion = registry.get_champion(client, name)
        if champion:
            try:
                digests = proven_digests(*opened, champion.number)
                with registry.verified_copy(client, champion, digests):
                    pass
            except LedgerError:
                continue  # reported above
            except PackagingError as error:
                message = (
                    f"champion {name} version {champion.number} does not load:"
                    f" expected {error.expected}; got {error.got}"
                )
                fix = f"restore {settings.artifacts_dir} from a backup; or: steward champion --rollback"
                yield Finding("ledger", "bad", message, f"see `artifacts`; {fix}")


def fix_ledger(context: CheckContext) -> Iterator[str]:
    """Complete a decision that a crash interrupted, and record an alias that was moved; accept nothing."""
    from flows.housekeeping.ledgers import ledger_names, open_ledger
    from tasks.decisions import reconcile_champion

    client, settings = context.client, context.settings
    for name in ledger_names(settings, client):
        model_ledger, record = open_ledger(settings, client, name)
        with suppress(LedgerError), model_ledger.lock():
            before = read_state(model_ledger, record)
            after = reconcile_champion(model_ledger, record)
            if (before.record, before.data) != (after.record, after.data):
                was, now = _version(before.record.champion), _version(after.record.champion)
                yield f"champion of {name}: {was} before, {now} now, as in the ledger"


def _describe_state(model_ledger: Ledger, state: LedgerState) -> Iterator[Finding]:
    """Report problems; otherwise distinguish the cases of `reconcile_champion`."""
    name, path = model_ledger.name, model_ledger.path
    last, alias = state.last, state.record.champion
    if state.problems:
        error = ledger_error(model_ledger, *state.problems)
        yield Finding("ledger", "bad", f"{path}: {error.got}", error.next_step)
        return
    for number in _incomplete_lines(state):
        message = f"{path}: incomplete entry (line {number}) from a crash; ignored"
        yield Finding("ledger", "warn", message, "nothing to do: that decision was not made")
    repair = "the next decision repairs it, as does: steward doctor --fix"
    if state.chain.is_interrupted and last:
        message = f"{name}: {_version(last['champion'])} won, but a crash left {_version(alias)} as champion"
        if alias == last["champion"]:
            message = f"{name}: a crash left the decision about {_version(alias)} incomplete in MLflow"
        yield Finding("ledger", "bad", message, repair)
    elif last is None:
        if alias is not None:
            message = f"{name}: version {alias} is champion, but there is no ledger entry"
            yield Finding("ledger", "warn", message, f"restore {name}.jsonl from a backup")
    elif alias == last["champion"]:
        yield Finding("ledger", "ok", f"{name}: champion {_version(alias)} in MLflow and ledger")
    else:
        message = (
            f"{name}: {_version(alias)} is champion in MLflow, {_version(last['champion'])} in the ledger"
        )
        fix = "steward doctor --fix records the change in the ledger; to undo it: steward champion --rollback"
        yield Finding("ledger", "bad", message, fix)


def _incomplete_lines(state: LedgerState) -> Iterator[int]:
    """Yield the numbers of lines that a crash cut short, which earlier versions left in the file."""
    yield from (line.number for line in state.chain.lines if not line.is_json and not state.chain.is_chained)
    if state.chain.incomplete:
        yield len(state.chain.lines) + 1


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
