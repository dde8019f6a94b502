"""What README, deployments, contracts and code say of one another."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.use_cases import cases

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("prefect", "mlflow", "great_expectations", "torch", "sklearn", "pandas")


def test_help_imports_nothing_heavy() -> None:
    script = f"""
import sys
sys.argv = ["steward", "--help"]
import steward
try:
    steward.main()
except SystemExit:
    pass
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "score" in done.stdout


@pytest.mark.parametrize("case", cases())
def test_a_use_case_has_one_stem_everywhere(case: str) -> None:
    stem = case.replace("-", "_")
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    entrypoints = {d["name"]: d["entrypoint"] for d in deployments}
    assert entrypoints[case] == f"flows.{stem}.{stem}"
    row = re.search(rf"^\| `{case}` \|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert row
    for contract in (ROOT / "expectations" / stem).glob("*.json"):
        assert f"`{contract.stem}`" in row[0]


def test_every_setting_is_in_the_readme() -> None:
    from tasks.settings import Settings

    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"STEWARD_[A-Z_]+", text))
    assert named == {f"STEWARD_{name.upper()}" for name in Settings.model_fields}
