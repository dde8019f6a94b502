"""Find the last accepted batch of a model: that of the last run that passed all gates and reached a decision.

Its summary is in the package of the version about which that run decided, where it is verified with the model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml import package
from ml.errors import PackagingError
from tasks.ledger import ROLLBACK, Ledger
from tasks.tracking import registry
from tasks.tracking.connection import Client
from tasks.tracking.model_folder import PACKAGE_PATH


def accepted_versions(entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the versions of decisions, newest first, without those that were champion and were rolled back."""
    versions: list[int] = []
    for entry in entries:
        if entry["verdict"] == ROLLBACK:
            versions = [version for version in versions if version != entry["before"]]
        elif entry.get("version") is not None:
            version = int(entry["version"])
            versions = [*(v for v in versions if v != version), version]
    return versions[::-1]


def last_accepted_summary(client: Client, ledger: Ledger) -> tuple[int, bytes | None] | None:
    """Return the version of the last accepted batch and the summary of the batch, None before the first decision.

    A version that was deleted since is passed over. The summary is None where the package has none, as in version
    0.2.0, or cannot be verified.
    """
    registered = registry.list_versions(client, ledger.name)
    for number in accepted_versions(ledger.entries()):
        if number in registered:
            return number, _verified_summary(client, ledger, registered[number])
    return None


def _verified_summary(client: Client, ledger: Ledger, version: registry.ModelVersion) -> bytes | None:
    digests = ledger.find_model_digests(version.number)
    if digests is None:
        return None
    try:
        with registry.verified_copy(client, version, digests) as folder:
            return read_summary(folder, digests.package)
    except PackagingError:
        return None


def read_summary(model_folder: Path, package_digest: str) -> bytes | None:
    """Return the summary of the training batch from a verified model folder; None where it has none."""
    return package.verify(model_folder / PACKAGE_PATH, package_digest)[1].get(package.REFERENCE)
