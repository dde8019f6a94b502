"""Where the report of a run can be opened."""

from dataclasses import dataclass
from urllib.parse import unquote, urlparse

from tasks.local_servers.addresses import running_servers
from tasks.settings import Settings
from tasks.tracking.run import MlflowRun

REPORT = "report.html"


@dataclass(frozen=True)
class ReportAddress:
    """`uri` is the artifact, `route` its page inside any MLflow UI, `server` the address of one that runs, if any."""

    uri: str
    route: str
    server: str | None

    @property
    def path(self) -> str:
        """The file, where the artifact is one: browsers open no file:// link of a page."""
        return unquote(urlparse(self.uri).path) if self.uri.startswith("file:") else self.uri

    @property
    def page(self) -> str | None:
        """The page of the report in the MLflow server that runs."""
        return f"{self.server}/{self.route}" if self.server else None


def run_route(experiment_id: str, run_id: str) -> str:
    """Return the page of a run inside any MLflow UI."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def report_address(run: MlflowRun, settings: Settings) -> ReportAddress:
    """Return where the report of a run is."""
    servers = running_servers(settings.state_dir.resolve())
    route = f"{run_route(run.experiment_id, run.run_id)}/artifacts/{REPORT}"
    return ReportAddress(run.artifact_uri(REPORT), route, servers["mlflow"] if servers else None)
