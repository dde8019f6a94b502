"""The picture of a champion's history."""

import re
from typing import Any
from xml.etree import ElementTree

from tasks.reporting.champion_chart import champion_chart


def entry(verdict: str, before: int | None, champion: int | None, **decided: Any) -> dict[str, Any]:
    return {"verdict": verdict, "before": before, "champion": champion, **decided}


HISTORY = [
    entry("promote", None, 1, version=1, value=0.71, primary="roc_auc"),
    entry("keep_champion", 1, 1, version=2, value=0.70, primary="roc_auc"),
    entry("promote", 1, 3, version=3, value=0.73, primary="roc_auc"),
    entry("rollback", 3, 1),
    # The alias was moved by hand, to a version that no run decided about.
    entry("external", 1, 9),
]


def dots(svg: str, gid: str) -> int:
    group = re.search(rf'<g id="history-{gid}">(.*?)</g>\s*</g>', svg, re.DOTALL)
    return len(re.findall("<use ", group[1])) if group else 0


def test_each_decision_is_a_dot_and_each_champion_is_named() -> None:
    svg = champion_chart("fintech-risk.simulated", HISTORY)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == (
        "Champions of fintech-risk.simulated: ROC AUC on the test split, by decision"
    )
    assert (dots(svg, "promoted"), dots(svg, "not-promoted")) == (2, 1)
    texts = [(text.text or "").strip() for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text.startswith("v")] == ["v1", "v3", "v1 (rollback)"]
    assert 'id="history-champion"' in svg
    # It shows the colours of a theme without a page.
    assert "prefers-color-scheme: dark" in svg


def test_entries_without_a_value_are_drawn_without_a_dot() -> None:
    svg = champion_chart("a.b", [entry("promote", None, 1, version=1)])
    ElementTree.fromstring(svg)
    assert dots(svg, "promoted") == 0
