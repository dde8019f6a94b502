"""The ledgers of a state directory, each with what MLflow holds about its model."""

from tasks.ledger import Ledger, ModelRecord, require_intact
from tasks.settings import Settings
from tasks.tracking import connection, registry
from tasks.tracking.model_record import model_record


def open_ledger(
    settings: Settings, client: connection.Client, name: str, read_only: bool = False
) -> tuple[Ledger, ModelRecord]:
    """Return the ledger of a registered model and what MLflow holds about it; `read_only` creates nothing."""
    return Ledger(settings.ledger_dir, name), model_record(client, name, settings, read_only)


def ledger_names(settings: Settings, client: connection.Client) -> list[str]:
    """Return the names of the models that have a ledger or a version: a ledger may have been deleted."""
    registered = {item.version.name for item in registry.list_all_versions(client)}
    return sorted(registered | {path.stem for path in settings.ledger_dir.glob("*.jsonl")})


def require_intact_ledgers(settings: Settings, client: connection.Client) -> None:
    """Raise LedgerError where any ledger is not as it was written: others depend on what it refers to."""
    for name in ledger_names(settings, client):
        require_intact(*open_ledger(settings, client, name, read_only=True))
