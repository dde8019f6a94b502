"""What housekeeping must never take: what an alias, the ledger or a run at work needs."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ml.errors import UsageError
from tasks.ledger import Ledger
from tasks.locks import run_lock
from tasks.settings import Settings
from tasks.tracking import connection, run_history
from tasks.tracking.registry import ModelVersion, RegisteredVersion

# Not every command that uses the store holds a presence; clocks of two machines, or of one that was set back, differ.
MARGIN = timedelta(hours=1)


@dataclass(frozen=True)
class Decided:
    """What the ledgers name: versions that were ever champion, all versions, and runs. A version is (model, number)."""

    champions: frozenset[tuple[str, int]]
    versions: frozenset[tuple[str, int]]
    runs: frozenset[str]


@dataclass(frozen=True)
class Needed:
    """Digests of what the store must keep, ids of the runs that MLflow must keep, and of those in Prefect."""

    digests: frozenset[str]
    runs: frozenset[str]
    flow_runs: frozenset[str]


def decided(settings: Settings) -> Decided:
    """Everything that any line of any ledger names."""
    lines = [
        (path.stem, line)
        for path in sorted(settings.ledger.glob("*.jsonl"))
        for line in Ledger(settings.ledger, path.stem).entries()
    ]

    def named(*fields: str) -> frozenset[tuple[str, int]]:
        return frozenset(
            (name, int(line[f])) for name, line in lines for f in fields if line.get(f) is not None
        )

    return Decided(
        named("before", "champion"),
        named("before", "champion", "version"),
        frozenset(line["run_id"] for _, line in lines if line.get("run_id")),
    )


def undecided(known: Iterable[RegisteredVersion], named: Decided, before: datetime) -> list[ModelVersion]:
    """Versions made before an instant that no alias and no ledger ever named: their run died before the decision."""
    return [
        one.version
        for one in known
        if not one.aliased
        and (one.version.name, one.version.number) not in named.versions
        and one.created < before
    ]


def needed(
    client: connection.Client, versions: Collection[RegisteredVersion], named: Decided, shown: frozenset[str]
) -> Needed:
    """What the versions that stay, and the runs that the ledgers name, hang on.

    `shown` are the runs whose report is shown where nothing is new: they stay, what they were made from need not.
    Raises UsageError where the record of a champion is nowhere to be found: then all else might be missed as well.
    """
    champions = {(one.version.name, one.version.number) for one in versions if one.aliased} | named.champions
    made = {(one.version.name, one.version.number): one.version for one in versions}
    missing = sorted(champions - set(made))
    if missing:
        raise _unknown(f"version {missing[0][1]} of {missing[0][0]}")
    runs = {version.run_id for version in made.values()} | named.runs
    # Where registering and decision were killed, what a version was made from is told by the run that went on.
    makers = (run_history.maker(client, v.name, v.run_id, v.digest) for v in made.values())
    runs |= {maker.run_id for maker in makers if maker}
    digests = {version.digest for version in made.values()}
    flow_runs = set()
    must_be_known = {made[one].run_id: f"the run of version {one[1]} of {one[0]}" for one in champions}
    for run_id in runs | shown:
        known = run_history.remembered(client, run_id)
        if known is None or known.facts is None:
            # A run that was killed right after its decision wrote no facts.
            if run_id in must_be_known and (known is None or known.status == "FINISHED"):
                raise _unknown(must_be_known[run_id])
            continue
        if run_id in runs:
            # The very object, and if that was made again since, the one that has its content.
            digests |= {line[k] for line in known.facts["stages"] for k in ("object", "digest") if k in line}
        flow_runs.add(known.tags.get("prefect.flow_run_id", ""))
    return Needed(frozenset(digests), frozenset(runs | shown), frozenset(flow_runs))


def _unknown(what: str) -> UsageError:
    return UsageError(
        f"{what} with its facts in MLflow, as the ledger and the registry name it",
        "none",
        "set STEWARD_TRACKING_URI to the database that belongs to this home, or restore it; nothing was taken away",
    )


def at_work(settings: Settings, own: str | None = None) -> list[dict[str, Any]]:
    """The runs that are at work, without `own`, the presence of whoever asks."""
    return [told for told in run_lock.active_runs(settings) if told["id"] != own]


def spared_since(settings: Settings, own: str | None = None) -> datetime:
    """The instant from which on nothing goes that was used: no run that is at work had begun before.

    Where one does not say yet when it began, everything is spared.
    """
    others = at_work(settings, own)
    if any("began" not in told for told in others):
        return datetime.fromtimestamp(0, UTC)
    began = [datetime.fromisoformat(told["began"]) for told in others]
    return min([datetime.now(UTC), *began]) - MARGIN
