"""The report shows everything that was recorded, and nothing else."""

import copy
import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import DataGateError
from tasks.facts import RunFacts
from tasks.reporting import report
from tasks.tracking.registry import ModelVersion

# Its fixtures take long, and would be made by each worker.
pytestmark = pytest.mark.xdist_group("report")

REQUIRED = {"case", "question", "data", "contract", "stages", "gates"}


def estimate(value: float, width: float = 0.012345) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def rule(name: str, action: str, reason: str, violations: int, verdict: str) -> dict[str, Any]:
    return {
        "rule": name,
        "action": action,
        "reason": reason,
        "violations": violations,
        "rows": 12345,
        "verdict": verdict,
    }


def render(facts: dict[str, Any]) -> str:
    return report.render(cast(RunFacts, facts))


METRICS = {
    "accuracy": 0.80416, "recall": 0.47967, "precision": 0.34028, "f1": 0.39819, "roc_auc": 0.76191,
    "gini": 0.52382, "ks": 0.4, "lift": 3.25,
    "average_precision": 0.37921, "log_loss": 0.33913, "brier": 0.10144, "calibration_error": 0.01237,
}  # fmt: skip
GATES = ("contract", "drift", "split", "packaging", "quality", "promotion")
RUN: dict[str, Any] = {
    "case": "fintech-risk",
    "question": "Will this applicant default?",
    "data": "lender",
    "contract": "fintech-risk.lender",
    "publication": {"description": "Loans.", "publisher": "A lender", "licence": "CC0-1.0", "sha256": {"a.csv": "1a"}},
    "descriptions": {"income": "pounds a year"},
    "nouns": {"cases": "applicants", "positives": "defaulters"},
    "sensitive_inputs": ["sex", "age"],
    "params": {"data": "lender", "contract": None, "seed": 7, "time_budget": 120.0},
    "started": "2026-01-02T03:04:05+00:00",
    "commit": "0123abc",
    "versions": {"numpy": "2.4.6"},
    "mlflow": {"run_id": "run-one", "experiment_id": "1"},
    "prefect": {"flow_run_id": "flow-one", "flow_run_name": "calm-owl", "url": "http://127.0.0.1:4200/runs/flow-one"},
    "stages": [
        {"stage": "source", "digest": "d" * 64, "reused": True, "seconds": 0.5},
        {"stage": "validate", "digest": "e" * 64, "reused": False, "seconds": None},
    ],
    "gates": [{"gate": g, "passed": True, "summary": "promote" if g == "promotion" else ""} for g in GATES],
    "skipped": [
        {"candidate": "network", "reason": "the time budget was spent"},
        {"candidate": "stump", "reason": "got the same prediction for all rows", "constant": True},
    ],
    "source": {
        "origin": {"files": {"a.csv": "1a", "b.csv": "2b"}, "url": "https://example.org/data"},
        "differs_from_published": ["b.csv"],
        "file_notes": ["the last line of b.csv has no line break"],
        "rows": 12345,
        "dropped_columns": {"count": 1, "positions": {"loans.csv": [7]}},
    },
    "validate": {
        "rows": 12345,
        "clean": 12000,
        "quarantined": 45,
        "excluded": 300,
        "rules": [
            rule("column_values_to_be_between(age)", "quarantine", "lending is to adults", 45, "applied"),
            rule("column_values_to_not_be_null(income)", "fail", "a few may be missing", 40, "applied"),
            rule("column_values_to_be_between(debt)", "warn", "rare", 3, "warned"),
            rule("exact_copy", "quarantine", "a copy", 0, "passed"),
            rule("max_quarantined_share", "fail", "at most 2%", 0, "passed"),
        ],
        "profile": [
            {"column": "income", "type": "number", "missing": 0.0312, "distinct": 987, "low": 8100.0, "median": 31200.0,
             "high": 118000.0, "notes": []},
            {"column": "purpose", "type": "category", "missing": 0.0, "distinct": 6, "low": None, "median": None,
             "high": None, "notes": ["2 values are spelt in several ways"]},
        ],
    },
    "split": {
        "datasets": {d: {"rows": 4000, "units": 3999, "mean": 0.1351} for d in ("train", "valid", "test")},
        "purged": 17,
        "checks": {
            "shared_entities": {},
            "single_feature_leaks": {},
            "pair_leaks": [],
            "columns": [{"column": "income", **estimate(0.6836)}],
            "copies": {"pairs": 9, "copied_share": 0.0612, "exposed_share": 0.0345, "correlation": 0.1, "limit": 0.0,
                       "is_leak": False},
            "warnings": ["6.1% of the rows have a copy"],
        },
    },
    "metric": "roc_auc",
    "leaderboard": [
        {"candidate": "constant", **estimate(0.5, 0.0), "seconds": 0.001, "stopped_by": None, "leads": False},
        {
            "candidate": "linear", **estimate(0.7429), "seconds": 1.5, "stopped_by": "grid", "leads": True,
            "reused": True,
            "decision": {"threshold": 0.2119},
            "compared_with": {"candidate": "constant", **estimate(0.2429), "p_value": 1e-9, "level": 0.975},
        },
        {
            "candidate": "trees", **estimate(0.7404), "seconds": 12.34, "stopped_by": "valid", "leads": False,
            "compared_with": {"candidate": "linear", **estimate(-0.0025), "p_value": 0.5746, "level": 0.975},
            "shapes": [{"column": "income", "x": [1.0, 2.0], "effect": [-0.5, 0.25], "missing": 0.125}],
            "megabytes": 3.456,
            "milliseconds_per_1000": 78.91,
            "composition": {
                "calibrator": "platt",
                "trials": [
                    {"parameters": {"num_leaves": 7}, "loss": 0.4312, "seconds": 30.25, "pruned": False},
                    {"parameters": {"num_leaves": 60}, "loss": 0.4111, "seconds": 4.0, "pruned": True},
                ],
                "members": [
                    {"name": "small trees", "weight": 0.6125, "models": 8, "roc_auc": 0.7412, "seconds": 61.0},
                    {"name": "extra trees", "weight": 0.0, "models": 0, "roc_auc": None, "seconds": None},
                ],
            },
        },
    ],
    "evaluation": {
        "rows": 4000,
        "primary": "roc_auc",
        **estimate(0.76191),
        "metrics": METRICS,
        "intervals": {name: estimate(value) for name, value in METRICS.items()},
        "curves": {
            "roc": {"x": [0.0, 0.2, 1.0], "y": [0.0, 0.7, 1.0]},
            "precision_recall": {"x": [0.0, 0.5, 1.0], "y": [1.0, 0.4, 0.13]},
            "reliability": {"predicted": [0.1, 0.3], "observed": [0.12, 0.28], "low": [0.1, 0.2], "high": [0.2, 0.3]},
            "calibration_slope": 1.0884,
        },
        "groups": [
            {"column": "sex", "group": "female", "rows": 2000, "evaluated": True, **estimate(0.77), "observed": 0.13,
             "predicted": 0.14, "selected": 0.2, "ratio": estimate(0.93, 0.1), "false_positives": estimate(0.2, 0.1),
             "false_negatives": estimate(0.4, 0.1), "gap": {**estimate(0.01, 0.02), "error": 0.01},
             "unexplained": {**estimate(0.005, 0.02), "error": 0.01}},
            {"column": "sex", "group": "other", "rows": 9, "evaluated": False, "reason": "fewer than 100 units"},
        ],
        "groups_note": "1 of 2 groups not evaluated: sex=other (fewer than 100 units)",
        "importance": {"income": 0.5, "age": 0.3, "debt": 0.15, "purpose": 0.05},
        "rank_correlations": {"income": -0.7, "age": 0.05, "debt": 0.2},
        "confusion": {"true_positives": 240, "false_positives": 360, "false_negatives": 260, "true_negatives": 3140},
        "baseline": estimate(0.5, 0.0),
        "simulated_optimum": 0.8265,
        "share_of_optimum": 0.8019,
    },
    "package": {"megabytes": 0.2254, "milliseconds": 5.1287, "digest": "f" * 64, "requirements": ["numpy==2.4.6"]},
    "checks": [{"check": "roc_auc at least", "bound": 0.55, "got": 0.76191, "passed": True},
               {"check": "roc_auc of sex=female below that of the rest, beyond its mix of cases, by at most",
                "family": "metric", "column": "sex", "group": "female", "bound": 0.03, "got": 0.005, "low": -0.02,
                "passed": True, "detectable": 0.062}],
    "verdict": {"verdict": "promote", "reason": "better than the champion",
                "difference": {**estimate(0.02), "p_value": 0.003}, "units": 3999, "version": 2, "champion": 2,
                "look": {"number": 3, "level": 0.0067, "is_new_recipe": True, "unrecorded": 2, "confidence": 0.9867,
                         "lead": "clear"},
                "validation": {**estimate(0.015), "p_value": 0.004, "units": 2001},
                "loss": {**estimate(-0.01), "margin": 0.0042},
                "groups": {"note": "1 of 2 groups not evaluated: sex=other (few)",
                "checks": [{"check": "roc_auc of sex=female below that of the champion by at most", "family": "metric",
                            "column": "sex", "group": "female", "bound": 0.03, "got": -0.01, "low": -0.02,
                            "passed": True, "detectable": 0.041}]}},
    "champion_estimate": estimate(0.76191),
    "ledger_entry": 5,
    "seconds": 7.06,
}  # fmt: skip


SLICES = [
    {"by": "popularity", "slice": "head", "users": 321, **estimate(0.2512), "items": 17},
    {"by": "user", "slice": "no history", "users": 45, **estimate(0.1005)},
]
POPULARITY = [
    {"decile": "1", "recommended_share": 0.75, "target_share": 0.5},
    {"decile": "new", "recommended_share": 0.25, "target_share": 0.5},
]
ORDER = {
    "simultaneous": 0.4321,
    "direction_agreement": 0.9123,
    "direction_agreement_simultaneous": 0.9312,
    "direction_agreement_distinct_times": None,
    "forward_predictability": 0.8771,
    "item_pairs": 99,
    "suspicious": True,
    "interpretation": "the log was written in a fixed order",
}
USER_EXAMPLES = [
    {
        "user": "A",
        "events": 89,
        "history": ["socks", "shoes"],
        "chosen": ["laces", "hat"],
        "more_chosen": 3,
        "recommended": [
            {
                "item": "laces",
                "chosen": True,
                "explanation": [{"item": "shoes", "weight": 0.5}],
                "other_items_weight": 0.125,
                "earlier_items_weight": 0.375,
            },
            {"item": "polish", "chosen": False, "explanation": [], "earlier_items_weight": 1.0},
            {"item": "bag", "chosen": False, "explanation": [], "earlier_items_weight": 0.0},
        ],
    },
    {
        "user": "B",
        "events": 2,
        "history": ["hat", "coat"],
        "chosen": ["scarf"],
        "more_chosen": 0,
        "recommended": [
            {"item": "gloves", "chosen": False, "explanation": None, "earlier_items_weight": 0.0}
        ],
    },
]


def recommendation() -> dict[str, Any]:
    facts = copy.deepcopy(RUN)
    metrics = {
        "ndcg_at_10": 0.1388,
        "hit_rate_at_10": 0.2231,
        "mrr_at_10": 0.1194,
        "recall_at_10": 0.1801,
        "coverage_at_10": 0.4402,
        "novelty_at_10": 11.32,
        "gini_at_10": 0.9123,
        "diversity_at_10": 0.8812,
        "serendipity_at_10": 0.4871,
        "popularity_at_10": 0.0312,
        "target_popularity": 0.0144,
    }
    histories = [{"history": h, "users": 100, **estimate(0.14)} for h in ("none", "1 to 4")]
    facts["metric"] = "ndcg_at_10"
    del facts["evaluation"]["confusion"]
    facts["evaluation"] |= {
        "primary": "ndcg_at_10", "metrics": metrics, "intervals": {"ndcg_at_10": estimate(0.1388)},
        "groups": [], "importance": {}, "data_diagnostics": {"order": ORDER}, "user_examples": USER_EXAMPLES,
        "curves": {"history_length": histories, "slices": SLICES, "popularity": POPULARITY},
    }  # fmt: skip
    facts["split"] = {
        "datasets": {"train": {"rows": 9, "units": 9}, "train_valid": {"rows": 9, "units": 9}},
        "cutoffs": ["2015-08-20 00:00:00", "2015-09-03 00:00:00"],
        "catalogue": 1234,
        "simultaneous_events": 0.03,
        "item_attributes": {
            "items": 1300,
            "with_attributes": 1250,
            "without_interactions": 30,
            "interacted_without_attributes": 14,
        },
        "never_recommend": [f"b{n:02}" for n in range(12)],
        "checks": {"histories_with_test_events": 0},
    }
    return facts


def regression() -> dict[str, Any]:
    facts = copy.deepcopy(RUN)
    facts["metric"] = "rmse"
    del facts["evaluation"]["confusion"]
    metrics = {"rmse": 1523456.7891, "mae": 812.3456, "median_error": 640.2, "r2": 0.61}
    metrics |= {"interval_coverage": 0.893, "interval_width": 4000.0}
    means = {"predicted": [100.0, 900.0], "observed": [120.0, 880.0], "absolute_error": [50.0, 300.0]}
    curves = {"deciles": means}
    facts["evaluation"] |= {"primary": "rmse", "metrics": metrics, "intervals": {}, "curves": curves}
    facts["evaluation"]["group_metric"] = "explained_share"
    estimate = {"value": 0.25, "low": 0.1, "high": 0.4}
    group = {
        "column": "sex",
        "group": "f",
        "rows": 300,
        "evaluated": True,
        "value": 90.0,
        "low": 80.0,
        "high": 100.0,
    }
    group |= {
        "gap": estimate,
        "rest": 0.4,
        "below_baseline": estimate,
        "bias": estimate,
        "bias_from_rest": estimate,
    }
    facts["evaluation"]["groups"] = [group]
    return facts


def stopped(gate: str, passed: int, without: set[str], **more: Any) -> dict[str, Any]:
    """A run that this gate stopped after `passed` other gates, without some keys and with others."""
    without = without | {"verdict", "champion_estimate", "ledger_entry"}
    facts = {key: value for key, value in copy.deepcopy(RUN).items() if key not in without}
    parts = {"expected": "something good", "got": "something bad", "next_step": "make it good"}
    reason = "expected something good; got something bad; make it good"
    found = {"found": more.pop("found")} if "found" in more else {}
    facts["stopped"] = {"gate": gate, "reason": reason, **parts, **found}
    facts["gates"] = [*facts["gates"][:passed], {"gate": gate, "passed": False, "summary": reason}]
    return {**facts, **more}


AFTER_DATA = {"split", "leaderboard", "evaluation", "package", "checks"}
DRIFT: dict[str, Any] = {
    "reference": "the batch of version 3",
    "compared": True,
    "rows_before": 11000,
    "findings": [
        {
            "column": "income",
            "kind": "unit_change",
            "text": "the values are 100 times the earlier values",
            "effect": 1.0,
            "bound": 0.5,
            "action": "refuse",
        },
        {
            "column": "",
            "kind": "row_count",
            "text": "5,000 rows, before 11,000",
            "effect": 0.55,
            "bound": 0.5,
            "action": "warn",
        },
    ],
}
FAILED = {"checks": [{"check": "brier at most", "bound": 0.05, "got": 0.081, "passed": False}]}
LEAK = {"checks": {"shared_entities": {"train and test": 3}, "single_feature_leaks": {"paid_back": 0.9991}}}
STOPPED = {
    "contract, with rules": stopped("data", 0, AFTER_DATA, validate={"rows": 20, "rules": [
        rule("columns_present", "fail", "the contract names them", 1, "failed")]}),
    "contract, unreadable file": stopped("data", 0, AFTER_DATA | {"source"}, validate={}),
    "drift": stopped("drift", 1, AFTER_DATA, drift=DRIFT),
    "split, known leak": stopped("split", 2, AFTER_DATA, found=LEAK),
    "split, future": stopped("split", 2, AFTER_DATA, found={}),
    "packaging": stopped("packaging", 3, {"package", "checks"}, found={}),
    "quality": stopped("quality", 4, {"checks"}, found=FAILED),
}  # fmt: skip
KINDS = {"binary": RUN, "recommendation": recommendation(), "regression": regression(), **STOPPED}


class PageParser(HTMLParser):
    """Collects the text, the links and everything that a browser would fetch."""

    FETCHES = frozenset(
        {"script", "link", "img", "iframe", "object", "embed", "source", "video", "audio", "base"}
    )

    INLINE = frozenset({"b", "span", "code", "small", "a", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.handle_endtag(tag)
        self.ids += [i for i in (attributes.get("id"),) if i]
        if tag in self.FETCHES or attributes.get("src") or attributes.get("srcset"):
            self.fetched.append(tag)
        target = attributes.get("href") or attributes.get("xlink:href") or ""
        if tag == "a":
            self.links.append(target)
        elif target and not target.startswith("#"):
            self.fetched.append(target)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.INLINE:
            self.text.append(" ")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(page: str) -> PageParser:
    parser = PageParser()
    parser.feed(page)
    parser.close()
    return parser


@cache
def page_of(kind: str) -> str:
    return render(KINDS[kind])


def text_of(page: str) -> str:
    """The visible text, its blocks separated by single spaces."""
    return " ".join("".join(parse(page).text).split())


def with_verdict(verdict: str, **more: Any) -> dict[str, Any]:
    return {**RUN, "verdict": {**RUN["verdict"], "verdict": verdict, "version": 3, "champion": 2, **more}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fetches_nothing_and_has_unique_ids(kind: str) -> None:
    page = page_of(kind)
    parsed = parse(page)
    assert parsed.fetched == []
    assert not re.search(r"@import|url\((?!#)|javascript:", page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {a[1:] for a in parsed.links if a.startswith("#")} <= set(parsed.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_facts_give_equal_bytes_also_after_json(kind: str) -> None:
    assert page_of(kind) == render(json.loads(json.dumps(KINDS[kind])))


def test_every_metric_is_shown_as_recorded() -> None:
    text = text_of(page_of("binary"))
    for value in METRICS.values():
        assert f"{value:.4f} [{value - 0.012345:.4f}, {value + 0.012345:.4f}]" in text


def test_metrics_without_interval_and_large_ones_are_shown() -> None:
    shown = text_of(page_of("recommendation"))
    assert all(f"{v:.4f}" in shown for v in recommendation()["evaluation"]["metrics"].values())
    assert "NDCG@10" in shown  # with the depth of the list
    assert "share of the target items that are in the list" in shown  # recall is another metric here
    assert "1,523,456.8" in text_of(page_of("regression"))


def test_the_banner_shows_champion_baseline_and_share_of_the_optimum() -> None:
    text = text_of(page_of("binary"))
    assert "Promoted Version 2 is the new champion." in text
    assert "Champion on test, ROC AUC 0.7619 [0.7496, 0.7743]" in text
    assert "Baseline (constant) 0.5000 [0.5000, 0.5000]" in text
    assert "Share of the simulated optimum 80.2% the true probabilities reach 0.8265" in text


def test_consequences_come_before_everything_else() -> None:
    text = text_of(page_of("binary"))
    section = text[text.index("Of 100 defaulters") : text.index("Publisher A lender")]
    assert "Of 100 defaulters, 48 are found and 52 are missed." in section
    assert (
        "Of 100 applicants, 15 are flagged. Of 100 who are flagged, 40 are defaulters and 60 are not."
        in section
    )
    assert "defaulters 240 ✓ found 260 ✕ missed others 360 ✕ false alarms 3,140 ✓ left alone" in section
    assert "Gini 0.5238, KS 0.4000" in section
    assert "has 3.2 times as many defaulters as all together" in section
    assert "Of 100 applicants, 22 find something in their list that they choose next." in text_of(
        page_of("recommendation")
    )
    numbers = text_of(page_of("regression"))
    assert "Half of the predictions are within 640.2 of the true number" in numbers
    assert "on average they are off by 812.3." in numbers
    assert "an interval that reaches 2,000 to each side: for 89 of 100 applicants it has the true" in numbers
    assert "61 % of the differences between applicants are explained" in numbers
    assert "sex: f +0.250 ± 0.150" in numbers[numbers.index("Mean error by group") :]


def test_sensitive_columns_that_are_inputs_are_remarked_on() -> None:
    text = text_of(page_of("binary"))
    assert "! sensitive inputs The models use sex, age, which the contract marks as sensitive." in text
    assert "sensitive inputs" not in text_of(render({**RUN, "sensitive_inputs": []}))
    # A run that was stopped before training has no models that could use them.
    untrained = {name: value for name, value in RUN.items() if name not in ("leaderboard", "evaluation")}
    assert "sensitive inputs" not in text_of(render(untrained))


def test_a_draft_that_nobody_has_reviewed_is_remarked_on() -> None:
    facts = copy.deepcopy(RUN)
    facts["validate"]["unreviewed"] = ["roles.target", "roles.ignored.<b>"]
    page = render(facts)
    remark = "! a draft: nobody has reviewed 2 of its points, among them roles.target, roles.ignored.<b>"
    assert remark in text_of(page)
    assert "roles.ignored.&lt;b&gt;" in page
    assert "a draft" not in text_of(render(RUN))


def test_a_baseline_that_nothing_beat_is_not_shown_as_a_success() -> None:
    facts = copy.deepcopy(RUN)
    for entry in facts["leaderboard"]:
        entry["leads"] = entry["candidate"] == "constant"
    page = render(facts)
    assert 'class="banner warn"' in page
    assert (
        "Nothing beat the baseline Version 2 is the new champion,"
        " but no candidate is significantly better than the baseline (constant)."
    ) in text_of(page)
    assert "Promoted" not in text_of(page)


def test_a_candidate_that_is_significantly_worse_is_called_worse() -> None:
    facts = copy.deepcopy(RUN)
    facts["leaderboard"][2]["compared_with"] |= {**estimate(-0.03), "p_value": 0.01}
    facts["verdict"] |= {"verdict": "keep_champion", "difference": {**estimate(-0.03), "p_value": 0.01}}
    text = text_of(render(facts))
    assert "✕ worse than linear, p = 0.0100" in text
    assert "This run's model is worse." in text


def test_a_metric_has_one_name_on_the_whole_page() -> None:
    facts = copy.deepcopy(RUN)
    facts["verdict"] |= {"verdict": "keep_champion", "reason": "worse: -0.0200 roc_auc, 3999 units"}
    text = text_of(render(facts))
    assert "Worse: -0.0200 ROC AUC, 3999 units." in text
    assert "✓ passed ROC AUC at least" in text
    assert "roc_auc" not in text
    assert "ndcg_at_10" not in text_of(page_of("recommendation"))


def test_influence_has_direction_and_curves() -> None:
    page = page_of("binary")
    text = text_of(page)
    labels = [f"{name}</text>" for name in ("age ↕", "debt ↑", "purpose")]
    assert all(label in page for label in labels)
    assert "income ↓<tspan" in page
    assert "Influence of the most important features in trees linear has no such curves" in text
    assert "pounds a year. Missing: +0.12." in text
    assert 'id="shape0-curve"' in page


def test_items_have_titles_where_they_are_known() -> None:
    facts = recommendation()
    facts["evaluation"]["item_titles"] = {"laces": "Laces, 120 cm", "shoes": "<b>Shoes</b>"}
    page = render(facts)
    text = text_of(page)
    assert "History socks → <b>Shoes</b> shoes" in text or "socks → <b>Shoes</b> shoes" in text
    assert "1 Laces, 120 cm laces ✓ chosen <b>Shoes</b> shoes 50.0%" in text
    assert "<b>Shoes" not in page


def test_charts_and_tables_fit_narrow_screens() -> None:
    page = page_of("binary")
    style = page[: page.index("</style>")]
    assert "min-width: 29rem" not in style
    assert "table.cards td[data-label]::before" in style
    # A heading such as "on training and validation rows, out of fold" in one line is wider than the page.
    assert "table.cards thead th { white-space: normal; }" in style
    leaderboard = page[page.index('<section id="leaderboard">') : page.index('<section id="test">')]
    assert '<table class="cards">' in leaderboard
    assert 'data-label="Paired advantage"' in leaderboard


def test_user_examples_are_shown_with_explanations() -> None:
    text = text_of(page_of("recommendation"))
    assert "User A Last 2 of 89 events socks → shoes" in text
    assert "Chosen next laces ✓, hat and 3 more (1 of the 3 below)" in text
    assert "1 laces ✓ chosen shoes 50.0%, other items 12.5%, earlier items 37.5%" in text
    assert "2 polish \N{EN DASH} earlier items 100.0%" in text
    assert "3 bag \N{EN DASH} popular with other users" in text
    assert "User B History hat → coat Chosen next scarf (none of the 1 below)" in text
    assert "1 gloves \N{EN DASH} not available for this model" in text
    assert "no more than its last 8 items are shown" in text
    assert 'id="examples"' not in page_of("binary")


def test_item_attributes_and_items_never_recommended_are_shown() -> None:
    text = text_of(page_of("recommendation"))
    assert "items with attributes: 1,250 (30 without interactions)" in text
    assert "14 interacted items without attributes" in text
    assert "Never recommended 12 items: b00, b01, b02, b03, b04, b05, b06, b07, b08, b09 and others" in text
    facts = recommendation()
    omitted = ("item_attributes", "never_recommend")
    facts["split"] = {key: value for key, value in facts["split"].items() if key not in omitted}
    assert "Item attributes" not in text_of(render(facts))
    assert "Never recommended" not in text_of(render(facts))


def test_slices_and_popularity_bias_have_charts() -> None:
    page = page_of("recommendation")
    assert 'id="slices-whiskers"' in page
    for bar in ("first-0", "first-1", "second-0", "second-1"):
        assert f'id="popularity-{bar}"' in page
    text = text_of(page)
    assert "popularity: head (17 items) 321 0.2512 [0.2389, 0.2635]" in text
    assert "user: no history 45 0.1005" in text
    assert "popularity-first" not in page_of("binary")


def test_order_diagnostics_are_shown_with_their_interpretation() -> None:
    text = text_of(page_of("recommendation"))
    assert "✕ suspicious: the log was written in a fixed order." in text
    assert "Simultaneous 43.2% of adjacent events" in text
    assert (
        "91.2% of repeated item pairs keep one direction; 93.1% among simultaneous events (chance: 50%)"
        in text
    )
    assert "87.7% of last transitions are more frequent forward than reversed" in text
    assert "Event-order diagnostics" not in text_of(page_of("binary"))


@pytest.mark.parametrize(
    ("verdict", "banner"),
    [
        ("keep_champion", "Champion kept Version 2 remains the champion."),
        ("inconclusive", "Inconclusive The comparison could not be decided: version 2 remains the champion."),
        (
            "champion_unusable",
            "Champion unusable The champion cannot be evaluated on this table: version 2 remains the champion.",
        ),
    ],
)
def test_each_verdict_without_promotion_has_its_banner(verdict: str, banner: str) -> None:
    unknown = dict.fromkeys(("value", "low", "high"))
    facts = with_verdict(verdict, difference=None, units=None, reason="there is a reason")
    text = text_of(render({**facts, "champion_estimate": unknown}))
    assert banner in text
    assert "There is a reason." in text
    assert "Champion on test, ROC AUC not known" in text
    assert "This run's model on test, ROC AUC 0.7619" in text
    assert "No difference was measured: there is a reason." in text


def test_champion_and_baseline_are_shown_on_the_same_rows() -> None:
    facts = with_verdict("keep_champion", difference=None, units=None, reason="there is a reason")
    some_rows = {**estimate(0.71), "rows": 3500, "baseline": estimate(0.52)}
    text = text_of(render({**facts, "champion_estimate": some_rows}))
    assert (
        "Champion on test, ROC AUC on 3,500 of 4,000 rows that the champion was not trained on 0.7100" in text
    )
    assert "Baseline (constant) on the same rows 0.5200" in text
    text = text_of(
        render({**facts, "champion_estimate": {**some_rows, "rows": 4000, "baseline": estimate(0.5)}})
    )
    assert "Champion on test, ROC AUC 0.7100" in text
    assert "on the same rows" not in text


def test_rows_in_quarantine_that_differ_from_the_others_are_remarked_on() -> None:
    assert "rows in quarantine differ" not in text_of(page_of("binary"))
    difference = "amount: higher in quarantine than in rows that stay, in 99% of all pairs"
    validated = {**RUN["validate"], "quarantine_differences": [difference]}
    text = text_of(render({**RUN, "validate": validated}))
    assert "The rows in quarantine differ from those that stay" in text
    assert difference in text


def test_the_profile_shows_odd_columns_first_with_robust_ranges() -> None:
    page = page_of("binary")
    section = text_of(page[page.index('<section id="profile">') : page.index('<section id="rules">')])
    assert "something looks odd in 1 of 2 columns" in section
    assert section.index("purpose") < section.index("income")
    assert "! 2 values are spelt in several ways" in section
    assert "8,100 to 118,000" in section
    assert "0.6836" in section
    assert "One file does not show whether its labels, units and population are right" in section
    assert "the last line of b.csv has no line break" in text_of(page)


def test_warnings_of_the_leakage_gate_and_notes_of_quality_checks_are_shown() -> None:
    text = text_of(page_of("binary"))
    assert "6.1% of the rows have a copy" in text
    assert "copies of rows do not reveal test targets" in text
    noted = {
        "check": "lower limit of roc_auc at least",
        "bound": 0.6,
        "got": 0.4,
        "passed": False,
        "note": "too few",
    }
    assert "! too few" in text_of(render({**RUN, "checks": [noted]}))


def test_the_comparison_with_the_champion_shows_the_difference() -> None:
    text = text_of(page_of("binary"))
    assert "+0.0200 [+0.0077, +0.0323]" in text
    assert "p = 0.0030" in text
    assert 'id="difference-whiskers"' in page_of("binary")


def test_the_look_at_the_test_rows_is_shown_with_its_level() -> None:
    page = page_of("binary")
    text = text_of(page)
    assert "This was look 3 on these rows, at level 0.0067" in text
    assert "this one was new." in text
    assert (
        "model over the previous champion is +0.0150 [+0.0027, +0.0273] in ROC AUC (one-sided p = 0.004)"
        in text
    )
    assert "a clear lead" in text
    assert "2 earlier decisions are from before looks were counted: each counts as one look" in text
    assert "with its 98.67 % interval" in text
    assert "an upper limit of at most 0.0042, 1 % of the champion's log loss: it is above" not in text
    facts = with_verdict("keep_champion", loss={**estimate(0.01), "margin": 0.0042})
    assert "1 % of the champion's log loss: it is above." in text_of(render(facts))
    behind = {**estimate(-0.01), "p_value": 0.8, "units": 2001, "recipes": 41, "among": 0.3}
    facts = with_verdict(
        "keep_champion", difference=None, look=None, loss=None, groups=None, validation=behind
    )
    assert "(one-sided p = 0.8; p = 0.3 among the leads of 41 other recipes)" in text_of(render(facts))
    assert "was not compared on the test rows, and no look was used" in text_of(render(facts))
    facts = with_verdict("keep_champion", validation={"note": "the champion was trained on them"})
    assert "validation rows could not show a lead: the champion was trained on them" in text_of(render(facts))
    facts = with_verdict("keep_champion", look=None, loss=None)
    assert "on these rows, at level" not in text_of(render(facts))
    assert "with its 95 % interval" in text_of(render(facts))


@pytest.mark.parametrize("kind", STOPPED)
def test_a_stopped_run_shows_what_was_expected_what_came_and_the_next_step(kind: str) -> None:
    facts, text = STOPPED[kind], text_of(page_of(kind))
    gate = facts["stopped"]["gate"].replace("data", "contract")
    assert f"The {gate} gate stopped the run" in text
    assert "Expected something good Got something bad Next step make it good" in text
    assert text.count("stopped the run here") == 1
    assert text.count("never reached") == 6 - len(facts["gates"])
    assert "Champion on test" not in text


def test_a_stopped_run_shows_what_the_gate_had_found() -> None:
    columns = text_of(page_of("contract, with rules"))
    assert "✕ rejected the batch columns_present the contract names them the batch as a whole" in columns
    leak = text_of(page_of("split, known leak"))
    assert "train and test: 3" in leak
    assert "paid_back: AUC 0.9991" in leak
    assert "✕ failed brier at most 0.05 0.0810" in text_of(page_of("quality"))


def test_an_error_is_not_shown_as_a_gate_and_hides_no_verdict() -> None:
    text = text_of(render({**RUN, "stopped": {"gate": "error", "reason": "KeyboardInterrupt"}}))
    assert "Stopped by an error" in text
    assert "after the verdict “promote”" in text
    assert "Type of error KeyboardInterrupt" in text
    assert "stopped the run here" not in text


@pytest.mark.parametrize("gate", ["cancelled", "suspended"])
def test_a_request_to_end_is_shown_neither_as_an_error_nor_as_a_gate(gate: str) -> None:
    text = text_of(render({**RUN, "stopped": {"gate": gate, "reason": f"{gate} by somebody"}}))
    assert f"{gate.title()} " in text
    assert f"{gate.title()} by somebody." in text
    assert "after the verdict “promote”" in text
    phrases = ("Stopped by an error", "Type of error", "Why the run stopped", "stopped the run here")
    assert not any(phrase in text for phrase in phrases)


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_facts_that_were_not_recorded_are_left_out(kind: str, data: st.DataObject) -> None:
    """Without any one of its optional keys, and without one key of another, the page is still rendered."""
    facts = KINDS[kind]
    omitted = data.draw(st.sampled_from(sorted(set(facts) - REQUIRED)))
    remaining = {key: value for key, value in facts.items() if key != omitted}
    dictionaries = sorted(k for k, value in remaining.items() if isinstance(value, dict) and value)
    outer = data.draw(st.sampled_from(dictionaries))
    inner = data.draw(st.sampled_from(["", *sorted(set(remaining[outer]) - {"gate", "reason"})]))
    remaining[outer] = {key: value for key, value in remaining[outer].items() if key != inner}
    assert facts["question"] in text_of(render(remaining))


def test_text_from_outside_is_escaped() -> None:
    hostile = "<script>alert('x')</script>"
    facts = copy.deepcopy(RUN)
    facts["publication"] = dict.fromkeys(("description", "publisher", "licence", "citation"), hostile)
    facts["source"]["dropped_columns"] = {"count": 2, "positions": {hostile: [1], "b": [2]}}
    facts["source"]["origin"] = {"files": {hostile: hostile}, "url": "javascript:alert(1)"}
    facts["validate"]["rules"] = [rule(hostile, "quarantine", hostile, 1, "applied")]
    facts["evaluation"]["importance"] = {hostile: 1.0}
    facts["evaluation"]["groups"][0] |= {"column": hostile, "group": hostile}
    facts["descriptions"] = {hostile: hostile}
    facts["leaderboard"][1]["candidate"] = hostile
    facts["verdict"]["reason"] = hostile
    example = {"user": hostile, "events": 9, "history": [hostile], "chosen": [hostile], "more_chosen": 0}
    explanation = [{"item": hostile, "weight": 1.0}]
    recommendation = {
        "item": hostile,
        "chosen": True,
        "explanation": explanation,
        "earlier_items_weight": 0.0,
    }
    facts["evaluation"]["user_examples"] = [example | {"recommended": [recommendation]}]
    facts["evaluation"]["data_diagnostics"] = {"order": ORDER | {"interpretation": hostile}}
    facts["evaluation"]["curves"] |= {
        "slices": [{"by": hostile, "slice": hostile, "users": 2, **estimate(0.5)}],
        "popularity": [{"decile": hostile, "recommended_share": 0.5, "target_share": 0.5}],
    }
    facts["prefect"]["url"] = "javascript:alert(1)"
    page = render(facts)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not [link for link in parse(page).links if not link.startswith("#")]


def test_a_refused_file_has_a_page_with_rules_and_kinds_of_values() -> None:
    refusing = rule("type(income)", "quarantine", "the cell is not a valid number", 12, "applied")
    refusing["kinds"] = {"text where a number is expected": 9, "empty text": 3}
    error = DataGateError("data that satisfy the contract", "<b>too many</b>", "correct the data")
    champion = ModelVersion("fintech-risk.lender", 3, "digest", "source", {})
    found = {"validate": {"rules": [refusing], "rows": 20, "clean": 8, "quarantined": 12, "excluded": 0}}
    page = report.render_refusal(error, "new.csv", champion, found)
    text = text_of(page)
    assert "new.csv was not scored fintech-risk on lender · version 3 of fintech-risk.lender" in text
    assert "The contract gate refused the file: no row of it was scored." in text
    assert (
        "Expected data that satisfy the contract; got <b>too many</b>. Next step: correct the data." in text
    )
    assert "found: text where a number is expected (9), empty text (3) 12 of 12,345" in text
    assert "8 clean 12 quarantined as faulty" in text
    assert page.count("<b>too many") == 0


def test_rules_with_violations_come_first_and_the_others_are_folded() -> None:
    page = page_of("binary")
    shown, folded = page.split("<details>")
    assert "45 of 12,345" in shown
    assert "quarantined</span>" in shown
    assert "! warned" in shown
    assert "✓ within tolerance" in shown
    assert "2 rules without violations" in text_of(folded)
    assert "exact_copy" not in shown


def test_groups_are_shown_beside_the_champion() -> None:
    text = text_of(page_of("binary"))
    assert (
        "! not evaluated 1 of 2 groups not evaluated: sex=other (few). Of them this comparison says nothing"
        in text
    )
    assert "✓ passed sex: female -0.010 -0.020 0.03 0.041" in text


def test_groups_that_are_too_small_are_listed_without_a_value() -> None:
    page = page_of("binary")
    text = text_of(page)
    assert "! not evaluated 1 of 2 groups not evaluated: sex=other (fewer than 100 units)" in text
    assert "sex: other 9 ! not evaluated fewer than 100 units" in text
    assert "+0.010 ± 0.020 +0.005 ± 0.020 0.062" in text
    assert "0.93 [0.83, 1.03] — — 20.0% 20.0% [10, 30]" in text
    section = page[page.index('<section id="groups">') :]
    drawn, listed = section.split("</svg>", 1)
    assert "sex: female" in drawn
    assert "sex: other" not in drawn
    assert "sex: other" in listed


def test_files_are_compared_with_the_published_digests() -> None:
    text = text_of(page_of("binary"))
    assert "a.csv ✓ as published sha256 1a" in text
    assert "b.csv ! differs from the published file sha256 2b" in text
    assert "Dropped columns 1 column that the contract does not name, at position 7" in text


def test_widths_of_intervals_are_shown_for_all_or_by_third_of_the_predictions() -> None:
    facts = regression()
    leader = next(entry for entry in facts["leaderboard"] if entry["leads"])
    leader["decision"] = {"half_width": 250.5}
    assert "reaches 250.5 to each side, a quantile of the errors" in text_of(render(facts))
    ends = {"low_until": 300.5, "middle_until": 700.5}
    leader["decision"] |= ends | {
        "half_width_low": 80.5,
        "half_width_middle": 200.5,
        "half_width_high": 900.5,
    }
    facts["evaluation"]["metrics"] |= {"interval_width_low": 160.0, "interval_coverage_low": 0.91}
    text = text_of(render(facts))
    assert (
        "reaches 80.5 to each side where 300.5 or less is predicted, 200.5 up to 700.5, and 900.5 above"
        in text
    )
    assert "right for the wanted share of each third" in text
    assert "Coverage of intervals, low predictions" in text
    assert "to each side on average: for 89 of 100" in text


def test_candidates_that_lost_or_were_skipped_are_shown() -> None:
    text = text_of(page_of("binary"))
    assert (
        "linear leads: on the same validation rows, its ROC AUC is better than that of constant by +0.2429"
        in text
    )
    assert "These intervals are at 97.5 % (Bonferroni)" in text
    assert "not better than linear, p = 0.5746" in text
    assert "✓ better than constant" in text
    assert "network skipped: the time budget was spent" in text
    assert "stump left out: got the same prediction for all rows" in text


def test_a_candidate_is_shown_with_its_costs_and_composition() -> None:
    text = text_of(page_of("binary"))
    assert "78.9 ms 3.46 MB" in text
    assert "Composition of trees" in text
    assert "Calibration: platt." in text
    assert "small trees 0.6125 8 0.7412 61.0 s" in text
    assert "extra trees 0.0000 0 — not fitted" in text
    assert "2 tuning trials of its gradient-boosted trees in 34.2 s, 1 of them pruned." in text
    assert "Best mean out-of-fold loss: 0.4312." in text
    assert text.count("Composition of") == 1


def test_lineage_names_every_stage_and_the_run() -> None:
    text = text_of(page_of("binary"))
    assert f"source cached 0.50 s {'d' * 64}" in text
    assert f"validate computed — {'e' * 64}" in text
    assert "seed=7" in text
    assert "contract=" not in text
    assert "entry 5 of fintech-risk.lender" in text
    assert "http://127.0.0.1:4200/runs/flow-one" in parse(page_of("binary")).links


def test_undefined_numbers_are_shown_as_undefined() -> None:
    facts = copy.deepcopy(RUN)
    facts["leaderboard"][2] |= estimate(float("nan"))
    facts["evaluation"]["intervals"]["roc_auc"] = estimate(float("nan"))
    text = text_of(render(facts))
    assert "undefined [undefined, undefined]" in text


@pytest.mark.parametrize(
    ("by", "policy"),
    [
        ("last", "test: the last event of each user"),
        ("random_last_out", "selected by a hash, as the log has no order"),
        ("session", "of each session in the last 20.0% of the time"),
        ("time", "test: the last 20.0%"),
    ],
)
def test_the_split_policy_of_a_log_is_shown(by: str, policy: str) -> None:
    facts = recommendation()
    facts["split"] |= {
        "policy": {"by": by, "test": 0.2, "valid": 0.2, "sites": [], "unit": "user"},
        "train_includes_later_events": by in ("last", "random_last_out"),
        "users_without_new_items": {"valid": 3, "test": 1234},
        "checks": {"targets_in_history": 0},
    }
    page = text_of(render(facts))
    assert policy in page
    assert ("a live shop would know less" in page) == (by in ("last", "random_last_out"))
    assert "3 in valid and 1,234 in test" in page
    assert "no target item is already in its history" in page


def test_differences_from_the_last_accepted_batch_are_a_table() -> None:
    text = text_of(page_of("drift"))
    assert "2 differences beyond chance from the batch of version 3, which has 11,000 rows" in text
    assert "income unit change the values are 100 times the earlier values 1.0000 0.5000 ✕ refused" in text
    assert "whole batch row count 5,000 rows, before 11,000 0.5500 0.5000 ! warned" in text


def test_accepted_differences_are_shown_with_the_reason() -> None:
    text = text_of(render({**RUN, "drift": {**DRIFT, "accepted": "pence since June"}}))  # type: ignore[typeddict-item]
    assert "✓ accepted for a reason" in text
    assert "! accepted Pence since June." in text
    assert "✕ refused" not in text
    first = {"reference": "no earlier batch", "compared": False, "findings": [], "seconds": 0.0}
    text = text_of(render({**RUN, "drift": first}))  # type: ignore[typeddict-item]
    assert "No earlier batch." in text
    assert "nothing to compare with is the batch like" in text


def test_computed_features_are_described_where_there_are_any() -> None:
    features = {
        "declared": [{"name": "debt_share", "description": "debt / income", "missing": 0.125}],
        "texts": [{"column": "note", "topics": 16, "ngrams": 812, "unit": "words"}],
    }
    text = text_of(render({**RUN, "features": features}))
    assert "Feature debt_share debt / income (12.5% missing)" in text
    assert "Features of note the texts are replaced by 16 topics" in text
    assert "(812 words, each in the texts of at least ten units of train" in text
    assert "can every feature be computed?" not in text_of(page_of("binary"))
    stopped = {"gate": "features", "reason": "expected a value; got none; correct it"}
    gates = [*RUN["gates"], {"gate": "features", "passed": False, "summary": "expected a value"}]
    assert "features ✕ stopped the run here can every feature be computed?" in text_of(
        render({**RUN, "gates": gates, "stopped": stopped})
    )
