"""The pages about a run in MLflow (run and version) and in Prefect (artifacts and tags of the run)."""

import re
from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from flows.recording import prefect_run
from flows.recording.report_address import ReportAddress
from flows.recording.run_facts import constants_note, outcome_sentence, outcome_verdict
from tasks.facts import RunFacts
from tasks.metric_descriptions import describe_metric, format_estimate, label_metrics
from tasks.tracking import registry
from tasks.tracking.connection import Client
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run import MlflowRun


def describe_run(run: MlflowRun, facts: RunFacts, report: str) -> None:
    """Write outcome and links into the description of the MLflow run; `report` is Markdown."""
    lines = [f"**{label_metrics(outcome_sentence(facts))}**", f"Report: {report}"]
    budget = facts.get("time_budget", {}).get("note")
    lines[1:1] = filter(None, (budget, constants_note(facts)))
    if facts["prefect"]["url"]:
        lines.append(f"Prefect: [{facts['prefect']['flow_run_name']}]({facts['prefect']['url']})")
    run.set_note("\n\n".join(lines))


def report_markdown(report: ReportAddress) -> str:
    """Return a link that works in every MLflow UI, and the file."""
    return f"[report.html]({report.route}), `{report.path}`"


def describe_version(
    client: Client, version: ModelVersion, facts: RunFacts, entry: Mapping[str, Any], report: ReportAddress
) -> None:
    """Describe a version by the ledger entry about it, if this run made that: later runs do not change it."""
    if entry["run_id"] != facts["mlflow"]["run_id"]:
        return
    evaluation = facts["evaluation"]
    text = (
        f"**{entry['verdict']}: {label_metrics(entry['reason'])}**\n\n{version.tags.get('candidate', '')}:"
        f" {format_estimate(evaluation['primary'], evaluation)} on {evaluation['rows']:,} test rows of {facts['data']}"
        f"\n\nReport: {report_markdown(report)}"
    )
    registry.describe(client, version.name, text, version.number)
    registry.tag_version(client, version, {"verdict": entry["verdict"]})


def describe_flow_run(facts: RunFacts, report: ReportAddress) -> None:
    """Attach report, leaderboard and verdict to the flow run. Keys of artifacts contain the name of the data set."""
    if not flow_run.id:
        return
    key = re.sub(r"[^a-z0-9]+", "-", facts["contract"].lower()).strip("-")
    summary = label_metrics(outcome_sentence(facts))
    if report.page:
        create_link_artifact(link=report.page, link_text="report", key=f"{key}-report", description=summary)
    else:
        # Browsers open no file:// link of a page.
        create_markdown_artifact(f"{summary}\n\nReport: `{report.path}`", f"{key}-report", summary)
    if "leaderboard" in facts:
        primary = describe_metric(facts["metric"]).label
        table = [
            {
                "candidate": entry["candidate"],
                primary: round(entry["value"], 4),
                "low": round(entry["low"], 4),
                "high": round(entry["high"], 4),
                "seconds": round(entry["seconds"], 4),
                "megabytes": round(entry["megabytes"], 4),
                "leads": entry["leads"],
            }
            for entry in facts["leaderboard"]
        ]
        create_table_artifact(table, key=f"{key}-leaderboard", description=facts["question"])
    prefect_run.add_tags(f"verdict:{outcome_verdict(facts)}")
