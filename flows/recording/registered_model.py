"""What MLflow shows of the model that a run registers: hyperparameters, test metrics, and the dataset of these."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from tasks.evaluate import FinalFit
from tasks.facts import EvaluationFacts, RunFacts
from tasks.ledger import Verdict
from tasks.metric_descriptions import format_estimate
from tasks.tracking.logged_model import DatasetMetrics, describe_logged_model
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run import MlflowRun

log = logging.getLogger("steward")


def test_metrics(evaluation: EvaluationFacts) -> dict[str, float]:
    """Return all metrics on the test split, by the names that they have in MLflow."""
    values: Mapping[str, Any] = evaluation
    names = ("low", "high", "simulated_optimum", "share_of_optimum")
    primary = {f"test.{evaluation['primary']}.{name}": values[name] for name in names if name in evaluation}
    return {f"test.{name}": value for name, value in evaluation["metrics"].items()} | primary


def evaluation_tags(evaluation: EvaluationFacts) -> dict[str, str]:
    """Return the estimate on the test split as a tag, and which groups are too small to be evaluated; log these."""
    tags = {"steward.estimate": format_estimate(evaluation["primary"], evaluation)}
    if note := evaluation.get("groups_note", ""):
        log.warning("  %s", note)
        tags["steward.groups_not_evaluated"] = note
    return tags


def log_comparison(run: MlflowRun, verdict: Verdict) -> None:
    """Log the lead on validation rows, which look at its test rows a comparison was, and at which level."""
    if verdict.look:
        run.log({"verdict.look": verdict.look["number"], "verdict.level": verdict.look["level"]})
    if verdict.validation and "p_value" in verdict.validation:
        value, p_value = verdict.validation["value"], verdict.validation["p_value"]
        run.log({"verdict.validation_lead": value, "verdict.validation_p": p_value})


def log_registered_model(run: MlflowRun, version: ModelVersion, final: FinalFit, facts: RunFacts) -> None:
    """Log what the model is to the run and to MLflow's logged model; a version of an earlier run stays as it is."""
    params = _parameters(final)
    run.log(
        params={f"model.{name}": value for name, value in params.items()},
        tags={"steward.model": f"{final.candidate} (version {version.number})"},
    )
    if version.run_id != run.run_id:
        return
    digest = next(entry["digest"] for entry in facts["stages"] if entry["stage"] == "split")
    metrics = DatasetMetrics(f"{facts['contract']}.split", digest, test_metrics(facts["evaluation"]))
    model_id = version.source.removeprefix("models:/")
    describe_logged_model(run.client, run.run_id, model_id, params, metrics)


def _parameters(final: FinalFit) -> dict[str, Any]:
    """Return hyperparameters and decision parameters; nested ones as JSON."""
    fields = dict(final.model.facts["parameters"])
    fields["class"] = str(fields.pop("candidate", "")).partition(":")[2]
    values = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in fields.items()}
    return {"candidate": final.candidate, **values, **final.decision}
