"""What MLflow holds for the ledger of a registered model: the champion alias, and the head as tags of the model.

The names of the tags contain the identity of the state directory, as several may share one tracking server.
"""

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.ledger_chain import Head, RecordState
from tasks.settings import Settings
from tasks.state_dir_id import read_state_dir_id, state_dir_id
from tasks.tracking import registry
from tasks.tracking.model_folder import ModelDigests

# MLflow's errors for a model that does not exist, and for a name that no model can have.
NO_SUCH_MODEL = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MlflowModelRecord:
    """Champion alias and ledger tags of one registered model, for one state directory."""

    def __init__(self, client: MlflowClient, name: str, state_dir_id: str) -> None:
        self.client = client
        self.name = name
        self.state_dir_id = state_dir_id
        self._head_tag = f"steward.ledger.head.{state_dir_id}"
        self._pending_tag = f"steward.ledger.pending.{state_dir_id}"

    def read(self) -> RecordState:
        """Read champion, head and pending digest; all are None where there is no such model."""
        try:
            model = self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code in NO_SUCH_MODEL:
                return RecordState(None, None, None)
            raise
        champion, head = model.aliases.get(registry.CHAMPION_ALIAS), model.tags.get(self._head_tag)
        return RecordState(
            int(champion) if champion is not None else None,
            Head.parse(head) if head is not None else None,
            model.tags.get(self._pending_tag),
        )

    def versions(self) -> set[int]:
        """Return the numbers of all versions."""
        return set(registry.list_versions(self.client, self.name))

    def digests(self, version: int) -> ModelDigests:
        """Return the digests of a version in MLflow's tags."""
        return registry.get_version(self.client, self.name, version).digests

    def create(self) -> None:
        """Create the registered model where there is none."""
        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def move_champion(self, version: int) -> None:
        """Point the champion alias to a version."""
        registry.set_champion(self.client, self.name, version)

    def write_head(self, head: Head) -> None:
        """Write the head of the ledger."""
        self.client.set_registered_model_tag(self.name, self._head_tag, str(head))

    def write_pending(self, digest: str | None) -> None:
        """Write the digest of the line that is about to be appended; None removes it."""
        if digest is None:
            self.client.delete_registered_model_tag(self.name, self._pending_tag)
        else:
            self.client.set_registered_model_tag(self.name, self._pending_tag, digest)


def model_record(
    client: MlflowClient, name: str, settings: Settings, read_only: bool = False
) -> MlflowModelRecord:
    """Return the record of a model; with `read_only`, a state directory without identity gets none."""
    identity = read_state_dir_id(settings) if read_only else state_dir_id(settings)
    return MlflowModelRecord(client, name, identity or "none")
