"""`steward compare`: metrics of two versions on the same rows, and what differs between them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import steward
from ml.errors import UsageError

# The state directory is created once.
pytestmark = pytest.mark.xdist_group("champions")
RunCommand = Callable[..., tuple[int, dict[str, Any]]]


def test_two_versions_are_compared_on_rows_that_neither_was_trained_on(
    champions: Path, run_command: RunCommand
) -> None:
    code, result = run_command("compare", "fintech-risk", "1", "2")
    assert (code, result["first"], result["second"], result["champion"]) == (0, 1, 2, 1)
    metrics, difference = result["metrics"], result["metrics"]["difference"]
    # The first version was trained on all test rows of the second, which is older: those of the first count.
    assert (metrics["rows_of"], metrics["rows_left_out"]) == (1, 0)
    assert metrics["rows"] > 50
    assert metrics["first"].keys() == metrics["second"].keys() >= {"roc_auc", "brier"}
    assert difference["low"] <= difference["value"] <= difference["high"]
    gap = metrics["second"]["roc_auc"] - metrics["first"]["roc_auc"]
    assert difference["value"] == pytest.approx(gap)
    differences = {each["subject"]: each for each in result["differences"]}
    assert list(differences) == ["data", "contract", "code", "candidate", "parameters", "libraries"]
    # The second run left out the rows after June 2025; everything else was the same.
    assert [name for name, each in differences.items() if not each["is_same"]] == ["data", "parameters"]
    assert differences["parameters"]["details"] == ["as_of: none, 2025-06-01 00:00:00"]
    assert any(detail.startswith("rows.excluded: 0, ") for detail in differences["data"]["details"])


def test_the_text_has_both_versions_and_the_interval_within_80_columns(champions: Path) -> None:
    done = CliRunner().invoke(steward.app, ["compare", "fintech-risk", "2", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "fintech-risk.simulated: version 2 and version 1 (champion)"
    assert next(line for line in lines if "difference" in line).split() == [
        *("version", "2", "version", "1"),
        "difference",
    ]
    assert any("ROC AUC, paired: version 1 is better than version 2 by " in line for line in lines)
    assert any(line.startswith("95 % interval [") for line in lines)
    assert "  code        same" in lines
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        (("1", "99"), r"a version of fintech-risk.simulated \(1, 2\); got version 99"),
        (("0", "1"), "got version 0"),
        (("2", "2"), "two different versions; got version 2 twice"),
    ],
)
def test_a_version_that_does_not_exist_is_refused(
    versions: tuple[str, str], message: str, champions: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(steward.app, ["compare", "fintech-risk", *versions], catch_exceptions=False)


def test_the_history_is_drawn_as_a_picture(champions: Path, tmp_path: Path) -> None:
    chart = tmp_path / "history.svg"
    arguments = ["champion", "fintech-risk", "--history", "--chart", str(chart)]
    done = CliRunner().invoke(steward.app, arguments, catch_exceptions=False)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)
    assert f"chart: {chart}" in done.stderr
    assert "Champions of fintech-risk.simulated: ROC AUC on the test split" in chart.read_text()
    with pytest.raises(UsageError, match=r"--chart FILE.svg in a folder that exists; got .*history.png"):
        CliRunner().invoke(
            steward.app, [*arguments[:-1], str(tmp_path / "history.png")], catch_exceptions=False
        )
