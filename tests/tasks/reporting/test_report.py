"""The page says what was recorded, all of it, and nothing else."""

import copy
import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.reporting.report import figure, percent, render, seconds, span

NEEDED = {"case", "question", "data", "contract", "stages", "gates"}


def estimate(value: float, width: float = 0.012345) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def rule(name: str, action: str, reason: str, bad: int, verdict: str) -> dict[str, Any]:
    return {"rule": name, "action": action, "reason": reason, "bad": bad, "rows": 12345, "verdict": verdict}


METRICS = {
    "accuracy": 0.80416, "recall": 0.47967, "precision": 0.34028, "f1": 0.39819, "roc_auc": 0.76191,
    "average_precision": 0.37921, "log_loss": 0.33913, "brier": 0.10144, "calibration_error": 0.01237,
}  # fmt: skip
GATES = ("contract", "split", "packaging", "quality", "promotion")
RUN: dict[str, Any] = {
    "case": "fintech-risk",
    "question": "Will this applicant default?",
    "data": "lender",
    "contract": "fintech-risk.lender",
    "about": {"description": "Loans.", "publisher": "A lender", "licence": "CC0-1.0", "sha256": {"a.csv": "1a"}},
    "descriptions": {"income": "pounds a year"},
    "asked": {"data": "lender", "contract": None, "seed": 7, "budget": 120.0},
    "begun": "2026-01-02T03:04:05+00:00",
    "commit": "0123abc",
    "versions": {"numpy": "2.4.6"},
    "mlflow": {"run_id": "run-one", "experiment_id": "1"},
    "prefect": {"flow_run_id": "flow-one", "flow_run_name": "calm-owl", "url": "http://127.0.0.1:4200/runs/flow-one"},
    "stages": [
        {"stage": "source", "digest": "d" * 64, "reused": True, "seconds": 0.5},
        {"stage": "validate", "digest": "e" * 64, "reused": False, "seconds": None},
    ],
    "gates": [{"gate": g, "passed": True, "said": "promote" if g == "promotion" else ""} for g in GATES],
    "skipped": [{"candidate": "network", "why": "the budget was spent"}],
    "source": {
        "origin": {"files": {"a.csv": "1a", "b.csv": "2b"}, "url": "https://example.org/data"},
        "unlike_published": ["b.csv"],
        "rows": 12345,
        "dropped_columns": ["postcode"],
    },
    "validate": {
        "rows": 12345,
        "clean": 12000,
        "quarantined": 45,
        "excluded": 300,
        "rules": [
            rule("column_values_to_be_between(age)", "quarantine", "lending is to adults", 45, "acted"),
            rule("column_values_to_not_be_null(income)", "refuse", "a few may be missing", 40, "acted"),
            rule("column_values_to_be_between(debt)", "warn", "rare", 3, "warned"),
            rule("exact_copy", "quarantine", "a copy", 0, "passed"),
            rule("budget", "refuse", "at most 2%", 0, "passed"),
        ],
    },
    "split": {
        "parts": {p: {"rows": 4000, "units": 3999, "mean": 0.1351} for p in ("train", "valid", "test")},
        "purged": 17,
        "checks": {"shared_entities": {}, "foretelling": {}},
    },
    "metric": "roc_auc",
    "leaderboard": [
        {"candidate": "prior", **estimate(0.5, 0.0), "seconds": 0.001, "stopped_by": None, "leads": False},
        {
            "candidate": "linear", **estimate(0.7429), "seconds": 1.5, "stopped_by": "grid", "leads": True,
            "reused": True,
            "decision": {"threshold": 0.2119},
            "against": {"candidate": "prior", **estimate(0.2429), "p_value": 1e-9, "level": 0.975},
        },
        {
            "candidate": "trees", **estimate(0.7404), "seconds": 12.34, "stopped_by": "valid", "leads": False,
            "against": {"candidate": "linear", **estimate(-0.0025), "p_value": 0.5746, "level": 0.975},
            "megabytes": 3.456,
            "milliseconds_per_1000": 78.91,
            "made_of": {
                "calibrator": "platt",
                "trials": [
                    {"parameters": {"num_leaves": 7}, "loss": 0.4312, "seconds": 30.25, "pruned": False},
                    {"parameters": {"num_leaves": 60}, "loss": 0.4111, "seconds": 4.0, "pruned": True},
                ],
                "members": [
                    {"name": "small trees", "weight": 0.6125, "models": 8, "roc_auc": 0.7412, "seconds": 61.0},
                    {"name": "forest", "weight": 0.0, "models": 0, "roc_auc": None, "seconds": None},
                ],
            },
        },
    ],
    "test": {
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
            {"column": "sex", "group": "female", "rows": 2000, "judged": True, **estimate(0.77), "observed": 0.13,
             "predicted": 0.14, "selected": 0.2},
            {"column": "sex", "group": "other", "rows": 9, "judged": False},
        ],
        "importance": {"income": 0.75, "age": 0.25},
        "baseline": estimate(0.5, 0.0),
        "achievable": 0.8265,
        "achieved": 0.8019,
    },
    "package": {"megabytes": 0.2254, "milliseconds": 5.1287, "digest": "f" * 64, "requirements": ["numpy==2.4.6"]},
    "checks": [{"check": "roc_auc at least", "bound": 0.55, "got": 0.76191, "passed": True}],
    "verdict": {"verdict": "promote", "reason": "better than the champion",
                "difference": {**estimate(0.02), "p_value": 0.003}, "units": 3999, "version": 2, "champion": 2},
    "standing": estimate(0.76191),
    "ledger_line": 5,
    "seconds": 7.06,
}  # fmt: skip


SLICES = [
    {"by": "popularity", "slice": "head", "users": 321, **estimate(0.2512), "items": 17},
    {"by": "user", "slice": "no history", "users": 45, **estimate(0.1005)},
]
POPULARITY = [{"items": "1", "shown": 0.75, "taken": 0.5}, {"items": "new", "shown": 0.25, "taken": 0.5}]
ORDER = {
    "simultaneous": 0.4321,
    "kept": 0.9123,
    "kept_simultaneous": 0.9312,
    "kept_apart": None,
    "foretold": 0.8771,
    "pairs": 99,
    "suspicious": True,
    "meaning": "the log was written in an order of its own",
}
SHOPPERS = [
    {
        "shopper": "A",
        "events": 89,
        "history": ["socks", "shoes"],
        "taken": ["laces", "hat"],
        "more": 3,
        "recommended": [
            {
                "item": "laces",
                "taken": True,
                "because": [{"item": "shoes", "share": 0.5}],
                "others": 0.125,
                "earlier": 0.375,
            },
            {"item": "polish", "taken": False, "because": [], "earlier": 1.0},
            {"item": "bag", "taken": False, "because": [], "earlier": 0.0},
        ],
    },
    {
        "shopper": "B",
        "events": 2,
        "history": ["hat", "coat"],
        "taken": ["scarf"],
        "more": 0,
        "recommended": [{"item": "gloves", "taken": False, "because": None, "earlier": 0.0}],
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
        "popularity_taken": 0.0144,
    }
    histories = [{"history": h, "users": 100, **estimate(0.14)} for h in ("none", "1 to 4")]
    facts["metric"] = "ndcg_at_10"
    facts["test"] |= {
        "primary": "ndcg_at_10", "metrics": metrics, "intervals": {"ndcg_at_10": estimate(0.1388)},
        "groups": [], "importance": {}, "about_data": {"order": ORDER}, "shoppers": SHOPPERS,
        "curves": {"history_length": histories, "slices": SLICES, "popularity": POPULARITY},
    }  # fmt: skip
    facts["split"] = {
        "parts": {"train": {"rows": 9, "units": 9}, "refit": {"rows": 9, "units": 9}},
        "cuts": ["2015-08-20 00:00:00", "2015-09-03 00:00:00"],
        "catalogue": 1234,
        "simultaneous_events": 0.03,
        "items": {"listed": 1300, "with_attributes": 1250, "new": 30, "had_without": 14},
        "blocked": [f"b{n:02}" for n in range(12)],
        "checks": {"histories_reaching_into_the_test": 0},
    }
    return facts


def regression() -> dict[str, Any]:
    facts = copy.deepcopy(RUN)
    facts["metric"] = "r2"
    metrics = {"mse": 1523456.7891, "mae": 812.3456, "r2": 0.61}
    curves = {"tenths": {"predicted": [100.0, 900.0], "observed": [120.0, 880.0]}}
    facts["test"] |= {"primary": "r2", "metrics": metrics, "intervals": {}, "curves": curves}
    return facts


def refused(gate: str, passed: int, without: set[str], **found: Any) -> dict[str, Any]:
    """A run that this gate stopped after so many others had let it pass."""
    facts = {
        k: v
        for k, v in copy.deepcopy(RUN).items()
        if k not in without | {"verdict", "standing", "ledger_line"}
    }
    told = {"expected": "something good", "got": "something bad", "todo": "make it good"}
    facts["refused"] = {
        "gate": gate,
        "why": "expected something good; got something bad; make it good",
        **told,
    }
    facts["gates"] = [*facts["gates"][:passed], {"gate": gate, "passed": False, "said": "why"}]
    return {**facts, **found}


AFTER_DATA = {"split", "leaderboard", "test", "package", "checks"}
FAILED = {"checks": [{"check": "brier at most", "bound": 0.05, "got": 0.081, "passed": False}]}
LEAK = {"checks": {"shared_entities": {"train and test": 3}, "foretelling": {"paid_back": 0.9991}}}
REFUSALS = {
    "contract, with rules": refused("data", 0, AFTER_DATA, validate={"rows": 20, "rules": [
        rule("columns_present", "refuse", "the contract names them", 1, "refused")]}),
    "contract, unreadable file": refused("data", 0, AFTER_DATA | {"source"}, validate={}),
    "split, known leak": refused("split", 1, AFTER_DATA, refused_split=LEAK),
    "split, future": refused("split", 1, AFTER_DATA, refused_split={}),
    "packaging": refused("packaging", 2, {"package", "checks"}, refused_packaging={}),
    "quality": refused("quality", 3, {"checks"}, refused_quality=FAILED),
}  # fmt: skip
KINDS = {"binary": RUN, "recommendation": recommendation(), "regression": regression(), **REFUSALS}


class Reader(HTMLParser):
    """Text, and everything that a browser would fetch."""

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
        given = dict(attrs)
        self.handle_endtag(tag)
        self.ids += [i for i in (given.get("id"),) if i]
        if tag in self.FETCHES or given.get("src") or given.get("srcset"):
            self.fetched.append(tag)
        target = given.get("href") or given.get("xlink:href") or ""
        if tag == "a":
            self.links.append(target)
        elif target and not target.startswith("#"):
            self.fetched.append(target)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.INLINE:
            self.text.append(" ")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


@cache
def page_of(kind: str) -> str:
    return render(KINDS[kind])


def words(page: str) -> str:
    """What a person reads, its blocks divided by single spaces."""
    return " ".join("".join(read(page).text).split())


def with_verdict(verdict: str, **more: Any) -> dict[str, Any]:
    return {**RUN, "verdict": {**RUN["verdict"], "verdict": verdict, "version": 3, "champion": 2, **more}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fetches_nothing_and_repeats_no_id(kind: str) -> None:
    page = page_of(kind)
    reader = read(page)
    assert reader.fetched == []
    assert not re.search(r"@import|url\((?!#)|javascript:", page)
    assert len(reader.ids) == len(set(reader.ids))
    assert {a[1:] for a in reader.links if a.startswith("#")} <= set(reader.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_facts_give_the_same_bytes_also_after_json(kind: str) -> None:
    assert page_of(kind) == render(json.loads(json.dumps(KINDS[kind])))


def test_every_measure_stands_as_recorded() -> None:
    text = words(page_of("binary"))
    for value in METRICS.values():
        assert f"{value:.4f} [{value - 0.012345:.4f}, {value + 0.012345:.4f}]" in text


def test_measures_without_interval_and_large_ones() -> None:
    shown = words(page_of("recommendation"))
    assert all(f"{v:.4f}" in shown for v in recommendation()["test"]["metrics"].values())
    assert "NDCG@10" in shown  # no figure without its depth
    assert "wanted items that were shown" in shown  # recall means another thing here
    assert "1,523,456.7891" in words(page_of("regression"))


def test_the_banner_gives_champion_baseline_and_the_share_of_the_achievable() -> None:
    text = words(page_of("binary"))
    assert "Promoted Version 2 is the champion now." in text
    assert "Champion on test, ROC AUC 0.7619 [0.7496, 0.7743]" in text
    assert "Baseline (prior) 0.5000 [0.5000, 0.5000]" in text
    assert "80.2%" in text


def test_shoppers_are_shown_with_their_reasons() -> None:
    text = words(page_of("recommendation"))
    assert "Shopper A Last 2 of 89 events socks → shoes" in text
    assert "Took next laces ✓, hat and 3 more (1 of the 3 below)" in text
    assert "1 laces ✓ taken shoes 50.0%, others 12.5%, earlier items 37.5%" in text
    assert "2 polish \N{EN DASH} earlier items 100.0%" in text
    assert "3 bag \N{EN DASH} popular with others" in text
    assert "Shopper B History hat → coat Took next scarf (none of the 1 below)" in text
    assert "1 gloves \N{EN DASH} the model cannot tell" in text
    assert "no more than its last 8 items are shown" in text
    assert 'id="shoppers"' not in page_of("binary")


def test_side_tables_and_blocked_items_are_told() -> None:
    text = words(page_of("recommendation"))
    assert "1,250 items with attributes, 30 of them had by nobody; 14 items of the log without" in text
    assert (
        "12 items are never recommended: b00, b01, b02, b03, b04, b05, b06, b07, b08, b09 and others" in text
    )
    facts = recommendation()
    facts["split"] = {k: v for k, v in facts["split"].items() if k not in ("items", "blocked")}
    assert "Side table" not in words(render(facts))
    assert "Blocked" not in words(render(facts))


def test_slices_and_popularity_bias_are_drawn() -> None:
    page = page_of("recommendation")
    assert 'id="slices-whiskers"' in page
    for bar in ("first-0", "first-1", "second-0", "second-1"):
        assert f'id="popularity-{bar}"' in page
    text = words(page)
    assert "popularity: head (17 items) 321 0.2512 [0.2389, 0.2635]" in text
    assert "user: no history 45 0.1005" in text
    assert "popularity-first" not in page_of("binary")


def test_the_order_of_events_is_shown_with_its_meaning() -> None:
    text = words(page_of("recommendation"))
    assert "✕ suspicious: the log was written in an order of its own." in text
    assert "Equal times 43.2% of adjacent events" in text
    assert "91.2% of meetings of the same two items; 93.1% of those at one instant (chance: 50%)" in text
    assert "87.7% of last transitions are foretold better forward than reversed" in text
    assert "Can the order" not in words(page_of("binary"))


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("keep", "Kept Version 2 stays the champion."),
        ("inconclusive", "Inconclusive Nothing could be decided: version 2 stays the champion."),
        ("incomparable", "Incomparable The champion cannot be judged on this table: version 2 stays."),
    ],
)
def test_each_verdict_that_changes_nothing(verdict: str, said: str) -> None:
    unknown = dict.fromkeys(("value", "low", "high"))
    text = words(
        render({**with_verdict(verdict, difference=None, units=None, reason="so it is"), "standing": unknown})
    )
    assert said in text
    assert "So it is." in text
    assert "Champion on test, ROC AUC not known" in text
    assert "This run's model on test, ROC AUC 0.7619" in text
    assert "No difference was measured: so it is." in text


def test_the_comparison_shows_its_difference() -> None:
    text = words(page_of("binary"))
    assert "+0.0200 [+0.0077, +0.0323]" in text
    assert "p = 0.0030" in text
    assert 'id="difference-whiskers"' in page_of("binary")


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_what_was_expected_what_came_and_what_to_do(kind: str) -> None:
    facts, text = REFUSALS[kind], words(page_of(kind))
    gate = facts["refused"]["gate"].replace("data", "contract")
    assert f"The {gate} gate stopped the run" in text
    assert "Expected something good Got something bad What to do next make it good" in text
    assert text.count("stopped the run here") == 1
    assert text.count("never reached") == 5 - len(facts["gates"])
    assert "Champion on test" not in text


def test_refusals_show_what_their_gate_had_found() -> None:
    columns = words(page_of("contract, with rules"))
    assert "✕ refused the batch columns_present the contract names them the batch as a whole" in columns
    leak = words(page_of("split, known leak"))
    assert "train and test: 3" in leak
    assert "paid_back: AUC 0.9991" in leak
    assert "✕ failed brier at most 0.05 0.0810" in words(page_of("quality"))


def test_an_error_is_no_gate_and_hides_no_verdict() -> None:
    text = words(render({**RUN, "refused": {"gate": "error", "why": "KeyboardInterrupt"}}))
    assert "Stopped by an error" in text
    assert "after the verdict “promote”" in text
    assert "Kind of error KeyboardInterrupt" in text
    assert "stopped the run here" not in text


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_what_was_not_recorded_is_left_out(kind: str, data: st.DataObject) -> None:
    """Without any one of its optional keys, and one key inside another, there is still a page."""
    facts = KINDS[kind]
    gone = data.draw(st.sampled_from(sorted(set(facts) - NEEDED)))
    less = {k: v for k, v in facts.items() if k != gone}
    inside = data.draw(st.sampled_from(sorted(k for k, v in less.items() if isinstance(v, dict) and v)))
    inner = data.draw(st.sampled_from(["", *sorted(set(less[inside]) - {"gate", "why"})]))
    less[inside] = {k: v for k, v in less[inside].items() if k != inner}
    assert facts["question"] in words(render(less))


def test_words_from_outside_stay_words() -> None:
    hostile = "<script>alert('x')</script>"
    facts = copy.deepcopy(RUN)
    facts["about"] = dict.fromkeys(("description", "publisher", "licence", "citation"), hostile)
    facts["source"]["dropped_columns"] = [hostile]
    facts["source"]["origin"] = {"files": {hostile: hostile}, "url": "javascript:alert(1)"}
    facts["validate"]["rules"] = [rule(hostile, "quarantine", hostile, 1, "acted")]
    facts["test"]["importance"] = {hostile: 1.0}
    facts["test"]["groups"][0] |= {"column": hostile, "group": hostile}
    facts["descriptions"] = {hostile: hostile}
    facts["leaderboard"][1]["candidate"] = hostile
    facts["verdict"]["reason"] = hostile
    shopper = {"shopper": hostile, "events": 9, "history": [hostile], "taken": [hostile], "more": 0}
    line = {"item": hostile, "taken": True, "because": [{"item": hostile, "share": 1.0}], "earlier": 0.0}
    facts["test"]["shoppers"] = [shopper | {"recommended": [line]}]
    facts["test"]["about_data"] = {"order": ORDER | {"meaning": hostile}}
    facts["test"]["curves"] |= {
        "slices": [{"by": hostile, "slice": hostile, "users": 2, **estimate(0.5)}],
        "popularity": [{"items": hostile, "shown": 0.5, "taken": 0.5}],
    }
    facts["prefect"]["url"] = "javascript:alert(1)"
    page = render(facts)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not [link for link in read(page).links if not link.startswith("#")]


def test_rules_that_acted_come_first_and_the_rest_is_folded() -> None:
    page = page_of("binary")
    shown, folded = page.split("<details>")
    assert "45 of 12,345" in shown
    assert "quarantined</span>" in shown
    assert "! warned" in shown
    assert "✓ within tolerance" in shown
    assert "2 rules that passed" in words(folded)
    assert "exact_copy" not in shown


def test_groups_too_small_are_listed_and_not_judged() -> None:
    page = page_of("binary")
    assert "sex: other 9 too few to judge" in words(page)
    section = page[page.index('<section id="groups">') :]
    drawn, listed = section.split("</svg>", 1)
    assert "sex: female" in drawn
    assert "sex: other" not in drawn
    assert "sex: other" in listed


def test_files_are_compared_with_what_was_published() -> None:
    text = words(page_of("binary"))
    assert "a.csv ✓ as published sha256 1a" in text
    assert "b.csv ! unlike the published file sha256 2b" in text
    assert "Dropped columns postcode" in text


def test_candidates_that_lost_or_were_skipped_are_told() -> None:
    text = words(page_of("binary"))
    assert "linear leads: its ROC AUC on the same valid rows is above that of prior by +0.2429" in text
    assert "These intervals are at 97.5 % (Bonferroni)" in text
    assert "does not beat linear, p = 0.5746" in text
    assert "✓ beats prior" in text
    assert "network skipped: the budget was spent" in text


def test_a_candidate_is_shown_with_its_price_and_with_what_it_is_made_of() -> None:
    text = words(page_of("binary"))
    assert "78.9 ms 3.46 MB" in text
    assert "What trees is made of" in text
    assert "Calibration: platt." in text
    assert "small trees 0.6125 8 0.7412 61.0 s" in text
    assert "forest 0.0000 0 — not fitted" in text
    assert "2 trials of other hyperparameters for its boosted trees, in 34.2 s; ended early: 1." in text
    assert "Best mean loss out of fold: 0.4312." in text
    assert text.count("is made of") == 1


def test_lineage_names_every_stage_and_the_run() -> None:
    text = words(page_of("binary"))
    assert f"source reused 0.50 s {'d' * 64}" in text
    assert f"validate computed — {'e' * 64}" in text
    assert "seed=7" in text
    assert "contract=" not in text
    assert "line 5 of fintech-risk.lender" in text
    assert "http://127.0.0.1:4200/runs/flow-one" in read(page_of("binary")).links


def test_figures_by_hand() -> None:
    assert span({"value": 0.86484, "low": 0.85604, "high": 0.87319}) == "0.8648 [0.8560, 0.8732]"
    assert span({"value": -0.5, "low": None, "high": None}, "+") == "-0.5000"
    assert (span(None), figure(None), percent(None), seconds(None)) == ("—",) * 4
    assert (figure(float("nan")), figure(1234.5), figure(True)) == ("undefined", "1,234.5000", "—")
    assert (percent(0.0), percent(0.0001), percent(0.0005), percent(0.12345)) == (
        "0.0%",
        "< 0.1%",
        "0.1%",
        "12.3%",
    )
    assert (seconds(0.001), seconds(1.234), seconds(1234.56)) == ("< 0.01 s", "1.23 s", "1,234.6 s")


def test_undefined_figures_are_said_to_be_undefined() -> None:
    facts = copy.deepcopy(RUN)
    facts["leaderboard"][2] |= estimate(float("nan"))
    facts["test"]["intervals"]["roc_auc"] = estimate(float("nan"))
    text = words(render(facts))
    assert "undefined [undefined, undefined]" in text


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("last", "the last event of each user judges"),
        ("any", "picked by a hash, as the log has no order"),
        ("session", "of each session of the last 20.0% of the time"),
        ("time", "the last 20.0% judge"),
    ],
)
def test_says_how_a_log_was_divided(by: str, said: str) -> None:
    facts = recommendation()
    facts["split"] |= {
        "policy": {"by": by, "test": 0.2, "valid": 0.2, "sites": [], "unit": "user"},
        "reaches_past_the_answers": by in ("last", "any"),
        "nothing_new": {"valid": 3, "test": 1234},
        "checks": {"answers_in_their_histories": 0},
    }
    page = words(render(facts))
    assert said in page
    assert ("a real shop would know less" in page) == (by in ("last", "any"))
    assert "1,234 who judge took nothing new" in page
    assert "none is in its own history" in page
