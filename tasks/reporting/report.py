"""Report: an HTML page about one run, rendered from its recorded facts and nothing else."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Template

from ml.data.value_kinds import describe_kinds
from ml.errors import DataGateError
from tasks.dropped_columns import describe_dropped_columns
from tasks.facts import CANCELLED, SUSPENDED, RunFacts
from tasks.metric_descriptions import describe_metric, label_metrics
from tasks.reporting import formatting
from tasks.reporting.report_charts import MAX_FEATURES, draw_charts, leader, shape_source
from tasks.reporting.rule_outcomes import describe_outcome, is_row_rule
from tasks.tracking.registry import ModelVersion

TEMPLATES = Path(__file__).parent
TEMPLATE, REFUSAL = "report.html.j2", "refusal.html.j2"

# The gates in order: the name of each in the facts where it stopped the run, and the question that it answers.
GATES = {
    "contract": ("data", "does the data meet the contract?"),
    "drift": ("drift", "is the batch like the last accepted one?"),
    "split": ("split", "is the split free of leakage?"),
    "features": ("features", "can every feature be computed?"),
    "packaging": ("packaging", "does the package predict what was evaluated?"),
    "quality": ("quality", "does the model meet the thresholds?"),
    "promotion": ("promotion", "is the model better than the champion?"),
}


class Banner(NamedTuple):
    """How the run ended: a tone (a CSS class), a symbol, a heading and a sentence."""

    tone: str
    symbol: str
    heading: str
    sentence: str


BASELINE_LEADS = Banner(
    "warn",
    "=",
    "Nothing beat the baseline",
    "Version {version} is the new champion, but no candidate is significantly better than the baseline ({baseline}).",
)
VERDICTS = {
    "promote": Banner("good", "✓", "Promoted", "Version {version} is the new champion."),
    "keep_champion": Banner("calm", "=", "Champion kept", "Version {champion} remains the champion."),
    "inconclusive": Banner(
        "warn",
        "?",
        "Inconclusive",
        "The comparison could not be decided: version {champion} remains the champion.",
    ),
    "champion_unusable": Banner(
        "warn",
        "≠",
        "Champion unusable",
        "The champion cannot be evaluated on this table: version {champion} remains the champion.",
    ),
}
INTERRUPTIONS = {
    CANCELLED: Banner("warn", "■", "Cancelled", "The run was asked to end{after}."),
    SUSPENDED: Banner("warn", "‖", "Suspended", "The run waits in Prefect until it is resumed{after}."),
}


def render(facts: RunFacts) -> str:
    """Render a self-contained HTML page, without the sections that the facts lack; equal facts give equal bytes."""
    shown = cast(RunFacts, {**facts, **_found_by_gate(facts)})
    return _template(TEMPLATE).render(
        facts=shown,
        banner=_banner(shown),
        gates=_gates(shown),
        drawn=draw_charts(shown),
        leader=leader(shown),
        shape_source=shape_source(shown),
    )


def render_refusal(error: DataGateError, file: str, champion: ModelVersion, found: Mapping[str, Any]) -> str:
    """Render a page about a file that `champion` did not score; `found` is what the gates have found of it."""
    case, _, data = champion.name.partition(".")
    facts = cast(RunFacts, {"case": case, "data": data, "contract": champion.name, **found})
    return _template(REFUSAL).render(
        facts=facts, file=file, version=champion.number, stopped=error, drawn=draw_charts(facts)
    )


def _found_by_gate(facts: RunFacts) -> dict[str, Any]:
    """Return what the gate that stopped the run had found, under the keys of a run that passed the gate."""
    stopped = facts.get("stopped")
    found = (stopped.get("found") if stopped else None) or {}
    if stopped and stopped["gate"] == "split" and "split" not in facts:
        return {"split": found}
    if stopped and stopped["gate"] == "quality" and "checks" not in facts:
        return {"checks": found.get("checks")}
    return {}


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["MAX_FEATURES"] = MAX_FEATURES
    environment.filters |= {
        "number": formatting.format_number,
        "quantity": formatting.format_quantity,
        "signed": lambda value: formatting.format_number(value, "+"),
        "interval": formatting.format_interval,
        "count": formatting.format_count,
        "percent": formatting.format_share,
        "level": formatting.format_level,
        "seconds": formatting.format_seconds,
        "sentence": formatting.format_sentence,
        "p_value": formatting.format_p_value,
        "per_hundred": formatting.format_per_hundred,
        "hundredths": formatting.format_whole,
        "hit_rate": lambda metrics: next((v for k, v in metrics.items() if k.startswith("hit_rate")), None),
        "label_metrics": lambda text: label_metrics(str(text)),
        "gate_name": _gate_name,
        "is_link": lambda value: str(value).startswith(("https://", "http://")),
        "dropped_columns": describe_dropped_columns,
        "kinds": describe_kinds,
        "metric_label": lambda name: describe_metric(name).label if name else "",
        "describe_metric": describe_metric,
        "is_row_rule": is_row_rule,
        "rule_outcome": describe_outcome,
    }
    return environment.get_template(name)


def _banner(facts: RunFacts) -> Banner:
    stopped = facts.get("stopped")
    verdict: Mapping[str, Any] = facts.get("verdict") or {}
    after = f", after the verdict “{verdict['verdict']}”" if verdict.get("verdict") else ""
    if stopped and stopped["gate"] in INTERRUPTIONS:
        banner = INTERRUPTIONS[stopped["gate"]]
        return banner._replace(sentence=banner.sentence.format(after=after))
    if stopped and stopped["gate"] == "error":
        return Banner("bad", "!", "Stopped by an error", f"An error stopped the run{after}.")
    if stopped:
        gate = _gate_name(stopped["gate"])
        sentence = f"The {gate} gate stopped the run: nothing after it ran, and no model was registered."
        return Banner("bad", "✕", "Rejected", sentence)
    if verdict.get("verdict") not in VERDICTS:
        return Banner("warn", "?", "No verdict", "No verdict was recorded for this run.")
    banner = VERDICTS[verdict["verdict"]]
    words = {name: verdict.get(name, "(not recorded)") for name in ("version", "champion")}
    selected, leaderboard = leader(facts), facts.get("leaderboard") or []
    # The first candidate is the baseline.
    if verdict["verdict"] == "promote" and selected and selected is leaderboard[0]:
        banner, words = BASELINE_LEADS, {**words, "baseline": selected["candidate"]}
    return banner._replace(sentence=banner.sentence.format(**words))


def _gates(facts: RunFacts) -> list[dict[str, str]]:
    """Return every gate in order: passed, stopped the run, or never reached."""
    recorded = {gate["gate"]: gate for gate in facts.get("gates", [])}
    gates = []
    for name, (failing_name, question) in GATES.items():
        gate = recorded.get(failing_name) or recorded.get(name)
        if not gate and name == "features":
            # Most runs compute none.
            continue
        if not gate:
            state, outcome = "never", "never reached"
        elif gate.get("passed"):
            state, outcome = "passed", "passed"
        else:
            state, outcome = "stopped", "stopped the run here"
        if gate and name == "promotion" and gate.get("summary"):
            outcome = f"decided: {gate['summary']}"
        if state == "passed" and name == "drift":
            state, outcome = _drift_outcome(facts)
        gates.append({"gate": name, "question": question, "state": state, "outcome": outcome})
    return gates


def _drift_outcome(facts: RunFacts) -> tuple[str, str]:
    """Return state and outcome of the drift gate where it let the batch pass: it may have had nothing to compare."""
    drift = facts.get("drift")
    if drift and not drift["compared"]:
        return "never", "nothing to compare with"
    if drift and "accepted" in drift:
        return "passed", "accepted for a reason"
    return "passed", "passed"


def _gate_name(failing_name: str) -> str:
    """Return the name of a gate on the page, by its name in the facts where it stopped the run."""
    return next((name for name, (known_name, _) in GATES.items() if known_name == failing_name), failing_name)
