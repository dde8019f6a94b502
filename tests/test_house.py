"""README, deployments, contracts and code agree, and `steward --help` stays fast."""

import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from operate.console import case_module
from tasks.use_cases import use_case_names

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


def test_garbage_is_collected_again_once_a_use_case_is_imported() -> None:
    assert case_module("fintech-risk").CASE.name == "fintech-risk"
    assert gc.isenabled()


@pytest.mark.parametrize("case", use_case_names())
def test_use_case_has_the_same_stem_everywhere(case: str) -> None:
    stem = case.replace("-", "_")
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    entrypoints = {d["name"]: d["entrypoint"] for d in deployments}
    assert entrypoints[case] == f"flows.{stem}.{stem}"
    row = re.search(rf"^\| `{case}` \|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert row
    for contract in (ROOT / "expectations" / stem).glob("*.json"):
        assert f"`{contract.stem}`" in row[0]


def test_settings_named_in_the_readme_exist() -> None:
    from tasks.settings import Settings

    named = set(re.findall(r"STEWARD_[A-Z_]+", (ROOT / "README.md").read_text()))
    assert named <= {
        f"STEWARD_{str(field.validation_alias or name).upper()}"
        for name, field in Settings.model_fields.items()
    }
