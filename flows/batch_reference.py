"""The batch with which a new one is compared, and the reason for which a damaged one is accepted."""

from ml.errors import UsageError
from tasks.accepted_batch import last_accepted_summary
from tasks.drift import NO_EARLIER_BATCH, Reference
from tasks.ledger import Ledger
from tasks.tracking.connection import Client

MAX_REASON = 500


def training_reference(client: Client, ledger: Ledger) -> Reference:
    """Return the last accepted batch of a model."""
    accepted = last_accepted_summary(client, ledger)
    if accepted is None:
        return NO_EARLIER_BATCH
    number, summary = accepted
    return _reference(f"the batch of version {number}", summary)


def scoring_reference(version: int, summary: bytes | None) -> Reference:
    """Return the batch that the champion was trained on; `summary` is that of its package."""
    return _reference(f"the training batch of version {version}", summary)


def _reference(name: str, summary: bytes | None) -> Reference:
    if summary is None:
        return Reference(f"no comparison: {name} has no summary that can be verified")
    return Reference(name, summary)


def require_reason(accept_drift: str | None) -> None:
    """Raise UsageError for a reason without text, or with too much of it."""
    if accept_drift is not None and not 0 < len(accept_drift.strip()) <= MAX_REASON:
        raise UsageError(
            f"a reason of 1 to {MAX_REASON} characters",
            f"{len(accept_drift.strip())}",
            "say with --accept-drift why this batch is right",
        )
