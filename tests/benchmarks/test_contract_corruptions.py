"""Every contract of tables and logs removes rows of its own data that are corrupted, by the rule that is meant."""

from pathlib import Path

import pytest

from benchmarks.contract_corruptions import CORRUPTIONS
from benchmarks.corruption import CORRUPTED_ROWS, rows_caught, sample_rows
from tasks.data_access.locate import find_dataset
from tasks.settings import ROOT, load

TEXTS = ("customer_service", "product_reviews", "symptom_triage")


def test_every_contract_without_texts_has_three_corruptions() -> None:
    names = {
        f"{path.parent.name.replace('_', '-')}.{path.stem}"
        for path in (ROOT / "expectations").glob("*/*.json")
        if path.parent.name not in TEXTS
    }
    assert names == set(CORRUPTIONS)
    assert min(len({c.name for c in corruptions}) for corruptions in CORRUPTIONS.values()) >= 3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupted_rows_are_removed_by_the_rule_that_is_meant(name: str, tmp_path: Path) -> None:
    settings = load()
    if settings.data_dir is None and not name.endswith(".simulated"):
        pytest.skip("real data: none, because STEWARD_DATA_DIR names no folder")
    case, _, data = name.partition(".")
    source = find_dataset(case, data, None, settings)
    counts = rows_caught(sample_rows(source, tmp_path), source.contract, CORRUPTIONS[name])
    caught = {c.name: count for c, count in zip(CORRUPTIONS[name], counts, strict=True)}
    assert caught == dict.fromkeys(caught, (CORRUPTED_ROWS, CORRUPTED_ROWS))
