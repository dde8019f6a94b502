"""Report: one page about one run, made from the recorded facts and nothing else."""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Template
from markupsafe import Markup

from ml.contract.schema import ROW_EXPECTATION
from ml.evaluation.confidence_intervals import Interval
from tasks.reporting import charts

Facts = Mapping[str, Any]
TEMPLATE = Path(__file__).with_name("report.html.j2")
NOTHING = "—"
MOST_FEATURES = 15

# The gates in their order: what a passed and a refusing one are called in the facts, and what each is about.
GATES = {
    "contract": ("data", "may these data enter?"),
    "split": ("split", "is the exam fair?"),
    "packaging": ("packaging", "is the package the model that was judged?"),
    "quality": ("quality", "is the model good enough?"),
    "promotion": ("promotion", "is it better than the champion?"),
}
# Rules of validation that are no expectations but still judge rows one by one.
ROW_RULES = ("type(", "present(", "exact_copy", "one_row_per(", "keep_first(")
VERDICTS = {
    "promote": ("good", "✓", "Promoted", "Version {version} is the champion now."),
    "keep": ("calm", "=", "Kept", "Version {champion} stays the champion."),
    "inconclusive": (
        "warn",
        "?",
        "Inconclusive",
        "Nothing could be decided: version {champion} stays the champion.",
    ),
    "incomparable": (
        "warn",
        "≠",
        "Incomparable",
        "The champion cannot be judged on this table: version {champion} stays.",
    ),
}
# Name, which way is better, meaning.
MEASURES = {
    "roc_auc": (
        "ROC AUC",
        "higher",
        "chance that a positive case is scored above a negative one; 0.5 is guessing",
    ),
    "average_precision": ("Average precision", "higher", "precision, averaged over the steps of recall"),
    "accuracy": ("Accuracy", "higher", "share of decisions that are right"),
    "recall": ("Recall", "higher", "share of the positive cases that the decision finds"),
    "precision": ("Precision", "higher", "share of the positive decisions that are right"),
    "f1": ("F1", "higher", "harmonic mean of precision and recall"),
    "log_loss": ("Log loss", "lower", "mean surprise of the answers given the probabilities, in nats"),
    "brier": ("Brier score", "lower", "mean squared error of the probability"),
    "calibration_error": ("Calibration error", "lower", "mean gap between predicted and observed share"),
    "r2": ("R²", "higher", "share of the variance explained; 0 is as good as the mean"),
    "mse": ("Mean squared error", "lower", "in squared units of the answer"),
    "mae": ("Mean absolute error", "lower", "in units of the answer"),
    "ndcg": ("NDCG", "higher", "how far up the list the wanted items stand; 1 is first of all"),
    "hit_rate": ("Hit rate", "higher", "share of users who were shown at least one wanted item"),
    "mrr": ("Mean reciprocal rank", "higher", "mean of 1 / rank of the first wanted item"),
    "coverage": ("Coverage", "wider", "share of the catalogue that anyone is shown"),
    "novelty": ("Novelty", "rarer", "mean self-information of what is shown, in bits: rare items have more"),
    "gini": (
        "Gini of exposure",
        "evener",
        "how unequally items are shown; 0 is all alike, 1 is one item only",
    ),
    "diversity": (
        "Diversity",
        "more varied",
        "mean of 1 - cosine between the items of a list, by the users they share",
    ),
    "serendipity": (
        "Serendipity",
        "higher",
        "share of the hits that a list of the most popular would not have held",
    ),
    "popularity": (
        "Popularity shown",
        "near taken",
        "mean share of the users who had a shown item before",
    ),
    "popularity_taken": ("Popularity taken", "", "the same of the items that were taken next"),
}
# What a measure at a depth of the list means where that is not what it means of decisions.
OF_LISTS = {"recall": ("Recall", "higher", "share of the wanted items that were shown")}


def render(facts: Facts) -> str:
    """A self-contained HTML page of the facts that `flows.recording.run_record` writes; what they lack, it leaves out.

    The same facts give the same bytes.
    """
    known = dict(facts)
    known.setdefault("split", facts.get("refused_split"))
    known.setdefault("checks", (facts.get("refused_quality") or {}).get("checks"))
    return _template().render(
        facts=known, banner=_banner(known), gates=_gates(known), drawn=_drawn(known), leader=_leader(known)
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=ChainableUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "figure": figure,
        "signed": lambda value: figure(value, "+"),
        "span": span,
        "count": lambda value: f"{value:,}" if _number(value) else NOTHING,
        "percent": percent,
        # 95 % where runs of before comparisons were counted; 97.5 % for four of them.
        "level": lambda value: f"{100 * value if _number(value) else 95:.4g} %",
        "gate_name": _gate_name,
        "seconds": seconds,
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}." if text else "",
        "probability": lambda p: "p < 0.0001" if _number(p) and p < 1e-4 else f"p = {figure(p)}",
        "is_link": lambda value: str(value).startswith(("https://", "http://")),
        "measure": lambda name: measure(name)[0] if name else "",
        "better": lambda name: measure(name)[1],
        "meaning": lambda name: measure(name)[2],
        "tells_rows": lambda r: bool(ROW_EXPECTATION.match(f"expect_{r}")) or str(r).startswith(ROW_RULES),
    }
    return environment.get_template(TEMPLATE.name)


def measure(name: str) -> tuple[str, str, str]:
    """How a measure is called, which way is better, and its meaning: `ndcg_at_10` is NDCG@10."""
    known, _, depth = name.partition("_at_")
    label, better, meaning = (OF_LISTS if depth else {}).get(known) or MEASURES.get(known, (known, "", ""))
    return (f"{label}@{depth}" if depth else label), better, meaning


def figure(value: Any, sign: str = "") -> str:
    """Four decimals; a dash for what is not there."""
    if isinstance(value, float) and not math.isfinite(value):
        return "undefined"
    return f"{value:{sign},.4f}" if _number(value) else NOTHING


def span(estimate: Any, sign: str = "") -> str:
    """A value and its interval, as in `0.8648 [0.8560, 0.8732]`; without limits, the value."""
    if not isinstance(estimate, Mapping):
        return NOTHING
    low, high = estimate.get("low"), estimate.get("high")
    limits = f" [{figure(low, sign)}, {figure(high, sign)}]" if _number(low) and _number(high) else ""
    return figure(estimate.get("value"), sign) + limits


def percent(share: Any) -> str:
    if not _number(share):
        return NOTHING
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def seconds(value: Any) -> str:
    if not _number(value):
        return NOTHING
    return "< 0.01 s" if value < 0.01 else f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _banner(facts: Facts) -> dict[str, str]:
    """Tone, sign, word and sentence of how the run ended."""
    refused, verdict = facts.get("refused"), facts.get("verdict") or {}
    if refused and refused["gate"] == "error":
        said = "An error stopped the run" + (
            f", after the verdict “{verdict['verdict']}”." if verdict else "."
        )
        return {"tone": "bad", "sign": "!", "word": "Stopped by an error", "said": said}
    if refused:
        gate = _gate_name(refused["gate"])
        said = f"The {gate} gate stopped the run: nothing after it ran, and no model was registered."
        return {"tone": "bad", "sign": "✕", "word": "Refused", "said": said}
    if verdict.get("verdict") not in VERDICTS:
        return {
            "tone": "warn",
            "sign": "?",
            "word": "No verdict",
            "said": "No verdict was recorded for this run.",
        }
    tone, sign, word, said = VERDICTS[verdict["verdict"]]
    numbers = {name: verdict.get(name, "(not recorded)") for name in ("version", "champion")}
    return {"tone": tone, "sign": sign, "word": word, "said": said.format(**numbers)}


def _gates(facts: Facts) -> list[dict[str, str]]:
    """Every gate in order: passed, stopped the run, or never reached."""
    found = {gate["gate"]: gate for gate in facts.get("gates", [])}
    lines = []
    for name, (refusing, question) in GATES.items():
        gate = found.get(refusing) or found.get(name) or {}
        state, said = ("passed", "passed") if gate.get("passed") else ("stopped", "stopped the run here")
        if not gate:
            state, said = "never", "never reached"
        if name == "promotion" and gate.get("said"):
            said = f"decided: {gate['said']}"
        lines.append({"gate": name, "question": question, "state": state, "said": said})
    return lines


def _gate_name(refusing: str) -> str:
    """The gate's name on the page, by its name in a refusal."""
    return next((name for name, (known, _) in GATES.items() if known == refusing), refusing)


def _leader(facts: Facts) -> Mapping[str, Any] | None:
    return next((line for line in facts.get("leaderboard") or [] if line.get("leads")), None)


def _interval(line: Facts) -> Interval | None:
    """What a chart can show: nothing where a figure is missing or undefined."""
    values: list[Any] = [line.get(name) for name in ("value", "low", "high")]
    return Interval(*values) if all(_number(v) and math.isfinite(v) for v in values) else None


def _estimates(lines: Iterable[Facts], label: str) -> dict[str, Interval]:
    found = {label.format(**line): _interval(line) for line in lines}
    return {name: interval for name, interval in found.items() if interval}


def _drawn(facts: Facts) -> dict[str, Markup]:
    """The charts that the facts suffice for, by name."""
    drawn = {**_drawn_of_data(facts), **_drawn_of_comparisons(facts), **_drawn_of_curves(facts)}
    # Charts escape the words they show.
    return {name: Markup(svg) for name, svg in drawn.items()}


def _drawn_of_data(facts: Facts) -> dict[str, str]:
    counts = {k: (facts.get("validate") or {}).get(k) for k in ("clean", "quarantined", "excluded")}
    drawn = {}
    if all(_number(v) for v in counts.values()):
        told = ", ".join(f"{v:,} {k}" for k, v in counts.items())
        drawn["rows"] = charts.stack("rows", f"Rows: {told}", {k: int(v or 0) for k, v in counts.items()})
    importance = (facts.get("test") or {}).get("importance") or {}
    if any(importance.values()):
        first = sorted(importance.items(), key=lambda item: -item[1])[:MOST_FEATURES]
        title = "Share of each column in what the model learned, largest first"
        drawn["importance"] = charts.bars("importance", title, dict(first), facts.get("descriptions") or {})
    return drawn


def _drawn_of_comparisons(facts: Facts) -> dict[str, str]:
    """Dots and whiskers: candidates, groups, slices of users and items, and the difference to the champion."""
    test = facts.get("test") or {}
    primary = facts.get("metric") or test.get("primary") or ""
    axis = measure(primary)[0]
    board, leader = facts.get("leaderboard") or [], _leader(facts) or {}
    overall = (f"all rows {figure(test['value'])}", test["value"]) if _interval(test) else None
    of_users = overall and (overall[0].replace("rows", "users"), overall[1])
    curves = test.get("curves") or {}
    lines = {
        "leaderboard": (_estimates(board, "{candidate}"), f"{axis} on valid rows", None),
        "groups": (
            _estimates(test.get("groups") or [], "{column}: {group}"),
            f"{axis} on test rows",
            overall,
        ),
        "histories": (
            _estimates(curves.get("history_length") or [], "history: {history}"),
            f"{axis} on test users",
            of_users,
        ),
        "slices": (
            _estimates(curves.get("slices") or [], "{by}: {slice}"),
            f"{axis} on test users",
            of_users,
        ),
    }
    behind = [line["candidate"] for line in board if line["candidate"] != leader.get("candidate")]
    drawn = {
        name: charts.whiskers(name, f"{label}, with 95 % intervals", found, label, line, behind)
        for name, (found, label, line) in lines.items()
        if found
    }
    difference = _interval((facts.get("verdict") or {}).get("difference") or {})
    if difference:
        label = f"difference in {axis}"
        drawn["difference"] = charts.whiskers(
            "difference",
            f"{label}, with its 95 % interval",
            {"this model less champion": difference},
            label,
            ("equal", 0.0),
        )
    return drawn


def _drawn_of_curves(facts: Facts) -> dict[str, str]:
    test = facts.get("test") or {}
    curves, metrics = test.get("curves") or {}, test.get("metrics") or {}
    rate: Any = (((facts.get("split") or {}).get("parts") or {}).get("test") or {}).get("mean")
    drawn = {}
    if "roc" in curves:
        axes = ("false positive rate", "true positive rate")
        drawn["roc"] = charts.curve("roc", "ROC curve", curves["roc"], axes, [(0, 0), (1, 1)])
    if "precision_recall" in curves:
        chance = [(0.0, rate), (1.0, rate)] if _number(rate) else []
        decision = (
            (metrics["recall"], metrics["precision"]) if {"recall", "precision"} <= set(metrics) else None
        )
        drawn["precision_recall"] = charts.curve(
            "precision_recall",
            "Precision-recall curve",
            curves["precision_recall"],
            ("recall", "precision"),
            chance,
            decision,
        )
    if curves.get("reliability"):
        drawn["reliability"] = charts.reliability(
            "reliability", "Calibration: observed share by prediction", curves["reliability"]
        )
    if curves.get("popularity"):
        drawn["popularity"] = charts.columns(
            "popularity",
            "Share of what is shown and of what is taken, by popularity of the item",
            {line["items"]: (line["shown"], line["taken"]) for line in curves["popularity"]},
            ("tenths of the items, from the most popular to the rarest", "share"),
        )
    if curves.get("tenths"):
        drawn["tenths"] = charts.agreement(
            "tenths", "Mean truth by tenths of the prediction", curves["tenths"]
        )
    return drawn
