"""Documentation and code agree: commands, options, settings, links and the words that are not used."""

import re
import subprocess
from pathlib import Path

import pytest
import typer

import steward
from tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "mlruns" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(steward.app).commands  # type: ignore[attr-defined]
# Words of a former private vocabulary. Only the readers of version-1 files may name what they translate.
# Written so that the pattern does not match itself.
UNUSED_WORDS = r"foret(ell|old|elling)|less[o]ns?|t[a]ught|t[o]ld|s[a]id|unb[e]gun|obitu[a]ry|m[e]nds?"
READERS_OF_VERSION_1 = (
    "ml/contract/version_1.py",
    "tasks/facts_upgrade.py",
    "tests/ml/contract/test_version_1.py",
    "tests/tasks/test_facts_upgrade.py",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    section = re.search(rf"^## `steward {name}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, name
    options = [p.opts[0] for p in COMMANDS[name].params if p.param_type_name == "option" and p.name != "help"]
    assert [option for option in options if f"`{option}" not in section[0]] == []
    documented = re.findall(r"^\| `(--[a-z-]+)", section[0], re.MULTILINE)
    assert sorted(documented) == sorted(options)


def test_every_command_of_the_readme_exists() -> None:
    used = set(
        re.findall(r"^ +(?:\.venv/bin/)?steward ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    assert used
    assert used <= set(COMMANDS)


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    documented = set(re.findall(r"^\| `(STEWARD_[A-Z_]+)`", page, re.MULTILINE))
    fields = Settings.model_fields.items()
    names = {f"STEWARD_{str(field.validation_alias or name).upper()}" for name, field in fields}
    assert documented == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_path_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:flows|tasks|ml|operate|tests|benchmarks)/[\w./-]*\.(?:py|j2))`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_words_of_the_former_vocabulary_are_not_used() -> None:
    command = ["git", "grep", "-nwiE", UNUSED_WORDS, "--", "*.py", "*.json", "*.j2", "*.md"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert [line for line in found.splitlines() if line.partition(":")[0] not in READERS_OF_VERSION_1] == []
