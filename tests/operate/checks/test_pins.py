"""Installed packages are compared with constraints.txt."""

from importlib.metadata import version
from pathlib import Path

import pytest

from operate.checks import pins
from operate.checks.pins import compare_with_pins
from tasks.settings import ROOT


def test_installed_packages_are_as_pinned() -> None:
    compared = compare_with_pins(ROOT / "constraints.txt")
    assert compared.different == ()
    assert {"pandas", "prefect", "mlflow", "torch"} <= set(compared.same)


def test_other_versions_and_packages_that_are_not_pinned_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    constraints = tmp_path / "constraints.txt"
    pandas, torch = version("pandas"), version("torch").partition("+")[0]
    constraints.write_text(
        f"typer==0.0.1\nTypes_PyYAML==1\npandas=={pandas}\ntorch=={torch}\nnot-installed==1\n"
    )
    compared = compare_with_pins(constraints)
    assert compared.same == ("pandas", "torch")
    names = [line.partition(" ")[0] for line in compared.different]
    assert names == ["typer", "types-pyyaml"]
    assert compared.different[0].endswith(" instead of 0.0.1")
    assert "numpy" in compared.unknown
    assert not {"pip", "steward", "not-installed"} & set(compared.unknown)
    monkeypatch.setattr(pins, "ROOT", tmp_path)
    assert pins.main() == 1
    assert f"not as in constraints.txt: {compared.different[0]}" in capsys.readouterr().out


def test_only_torch_may_have_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def __init__(self, name: str, number: str) -> None:
            self.name, self.version = name, number

    monkeypatch.setattr(
        pins, "distributions", lambda: [Installed("torch", "2+cpu"), Installed("numpy", "2+own")]
    )
    (tmp_path / "constraints.txt").write_text("torch==2\nnumpy==2\n")
    compared = compare_with_pins(tmp_path / "constraints.txt")
    assert (compared.same, compared.different) == (("torch",), ("numpy 2+own instead of 2",))
